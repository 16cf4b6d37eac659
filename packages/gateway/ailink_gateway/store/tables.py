"""The tables, as SQLAlchemy Core knows them. Data only; ``migrations`` makes them, and a test keeps the two equal.

Times are Unix seconds, money is nano-dollars, latencies are milliseconds. NULL is what is unknown or does not apply.
"""

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Double,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    UniqueConstraint,
    text,
)

metadata = MetaData(naming_convention={
    "pk": "pk_%(table_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
})

_NOT_DELETED = text("deleted_at IS NULL")
_NOT_REVOKED = text("revoked_at IS NULL")

# One row. It counts the changes to what tokens may do; a grant that remembers an older number is stale.
generation = Table(
    "generation", metadata,
    Column("id", Integer, primary_key=True),
    Column("number", BigInteger, nullable=False),
)

# Facts about this database as a whole, by name, such as the sealed root key.
meta = Table(
    "meta", metadata,
    Column("name", String, primary_key=True),
    Column("value", LargeBinary, nullable=False),
)

projects = Table(
    "projects", metadata,
    Column("id", String, primary_key=True),
    Column("name", String, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("deleted_at", Double),
    Index("ix_projects_name", "name", unique=True, sqlite_where=_NOT_DELETED),
    Index("ix_projects_created_at_id", "created_at", "id"),
)

# A deleted credential keeps its row, for the records that name it, but loses its secret.
credentials = Table(
    "credentials", metadata,
    Column("id", String, primary_key=True),
    Column("project_id", ForeignKey("projects.id"), nullable=False),
    Column("name", String, nullable=False),
    Column("provider", String, nullable=False),
    Column("injection", String),
    Column("header_name", String),
    Column("query_name", String),
    Column("sealed", LargeBinary),
    Column("key_id", String),
    Column("created_at", Double, nullable=False),
    Column("rotated_at", Double),
    Column("deleted_at", Double),
    UniqueConstraint("project_id", "id"),
    Index("ix_credentials_project_id_name", "project_id", "name", unique=True, sqlite_where=_NOT_DELETED),
    Index("ix_credentials_created_at_id", "created_at", "id"),
)

# The two-column key to credentials keeps a token from ever reaching another project's.
tokens = Table(
    "tokens", metadata,
    Column("id", String, primary_key=True),
    Column("project_id", ForeignKey("projects.id"), nullable=False),
    Column("name", String, nullable=False),
    Column("fingerprint", LargeBinary, nullable=False),
    Column("credential_id", String),
    Column("upstream_url", String),
    Column("default_model", String),
    Column("allowed_models", JSON, nullable=False),
    Column("scopes", JSON, nullable=False),
    Column("policy_ids", JSON, nullable=False),
    Column("raw_paths", Boolean, nullable=False),
    Column("allow_upstream_key", Boolean, nullable=False),
    Column("strict_parameters", Boolean, nullable=False),
    Column("circuit_breaker", JSON, nullable=False),
    Column("is_active", Boolean, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("expires_at", Double),
    Column("rotated_at", Double),
    Column("revoked_at", Double),
    ForeignKeyConstraint(["project_id", "credential_id"], ["credentials.project_id", "credentials.id"]),
    Index("ix_tokens_fingerprint", "fingerprint", unique=True),
    Index("ix_tokens_project_id_name", "project_id", "name", unique=True, sqlite_where=_NOT_REVOKED),
    Index("ix_tokens_credential_id", "credential_id"),
    Index("ix_tokens_created_at_id", "created_at", "id"),
)

# The audit rows. ``sequence`` is the order in which they arrived here, ``created_at`` the moment the call began.
# No foreign keys: what happened is kept, whatever became of the token.
records = Table(
    "records", metadata,
    Column("sequence", Integer, primary_key=True, autoincrement=True),
    Column("id", String, nullable=False),
    Column("request_id", String, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("finished_at", Double),
    Column("token_id", String),
    Column("project_id", String),
    Column("method", String, nullable=False),
    Column("path", String, nullable=False),
    Column("operation", String),
    Column("dialect", String),
    Column("outcome", String, nullable=False),
    Column("status", Integer),
    Column("upstream_status", Integer),
    Column("error_code", String),
    Column("response_latency_ms", Double),
    Column("first_byte_ms", Double),
    Column("attempts", Integer),
    Column("agent_name", String),
    Column("session_id", String),
    Column("parent_span_id", String),
    Column("model", String),
    Column("requested_model", String),
    Column("provider", String),
    Column("upstream", String),
    Column("prompt_tokens", Integer),
    Column("completion_tokens", Integer),
    Column("cache_read_tokens", Integer),
    Column("cache_write_tokens", Integer),
    Column("reasoning_tokens", Integer),
    Column("usage_estimated", Boolean),
    Column("cost_nano", BigInteger),
    Column("policy_result", String),
    Column("shadow_violations", JSON(none_as_null=True)),
    Column("cache_hit", Boolean),
    Column("is_streaming", Boolean),
    Column("finish_reason", String),
    Index("ix_records_id", "id", unique=True),
    Index("ix_records_created_at_id", "created_at", "id"),
    *(
        Index(f"ix_records_{name}_created_at_id", name, "created_at", "id", sqlite_where=text(f"{name} IS NOT NULL"))
        for name in ("session_id", "parent_span_id", "agent_name", "token_id", "model", "status")
    ),
    sqlite_autoincrement=True,
)

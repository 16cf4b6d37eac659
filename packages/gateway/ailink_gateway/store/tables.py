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
_EMPTY_LIST = text("'[]'")

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
    Column("policy_ids", JSON, nullable=False, server_default=_EMPTY_LIST),
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

# The two-column key to credentials keeps a token from ever reaching another project's. ``upstreams`` are further
# places for its calls, each {url, credential_id, weight, priority}. A limit that is NULL is the gateway's default one,
# 0 is none. ``log_level`` is metadata, redacted or full.
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
    Column("upstreams", JSON, nullable=False, server_default=_EMPTY_LIST),
    Column("requests_per_minute", Integer),
    Column("tokens_per_minute", Integer),
    Column("concurrent_requests", Integer),
    Column("log_level", String, nullable=False, server_default=text("'metadata'")),
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
    Column("service", String),
    Column("policy_name", String),
    Column("approval_id", String),
    Column("trace_id", String),
    Column("span_id", String),
    Column("tags", JSON(none_as_null=True)),
    Column("chain", String),
    Column("chain_sequence", BigInteger),
    Column("chain_code", LargeBinary),
    Index("ix_records_chain_chain_sequence", "chain", "chain_sequence", unique=True),
    Index("ix_records_id", "id", unique=True),
    Index("ix_records_created_at_id", "created_at", "id"),
    *(
        Index(f"ix_records_{name}_created_at_id", name, "created_at", "id", sqlite_where=text(f"{name} IS NOT NULL"))
        for name in ("session_id", "parent_span_id", "agent_name", "token_id", "model", "status")
    ),
    sqlite_autoincrement=True,
)

# What a call carried, sealed, for tokens whose ``log_level`` keeps it; it goes when ``expires_at`` has passed.
record_bodies = Table(
    "record_bodies", metadata,
    Column("record_id", String, primary_key=True),
    Column("project_id", String, nullable=False),
    Column("sealed", LargeBinary, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("expires_at", Double, nullable=False),
    Index("ix_record_bodies_expires_at", "expires_at"),
)

# Where an audit chain stood when it was signed. ``kind`` is tail (so many rows were written, so that none can be cut
# off) or pruned (the rows up to here were removed on purpose); each moves on.
checkpoints = Table(
    "checkpoints", metadata,
    Column("chain", String, primary_key=True),
    Column("kind", String, primary_key=True),
    Column("chain_sequence", BigInteger, nullable=False),
    Column("chain_code", LargeBinary, nullable=False),
    Column("signature", LargeBinary, nullable=False),
)

# What the records of a session add up to, changed with each that is inserted. A session is one project's: the same
# name elsewhere is another. ``created_at`` is the moment of its first call, ``last_at`` of its latest.
sessions = Table(
    "sessions", metadata,
    Column("id", String, primary_key=True),
    Column("project_id", String, primary_key=True),
    Column("created_at", Double, nullable=False),
    Column("last_at", Double, nullable=False),
    Column("requests", BigInteger, nullable=False),
    Column("errors", BigInteger, nullable=False),
    Column("prompt_tokens", BigInteger, nullable=False),
    Column("completion_tokens", BigInteger, nullable=False),
    Column("cost_nano", BigInteger, nullable=False),
    Index("ix_sessions_created_at_id_project_id", "created_at", "id", "project_id"),
    Index("ix_sessions_project_id_created_at_id", "project_id", "created_at", "id"),
    Index("ix_sessions_last_at", "last_at"),
)

policies = Table(
    "policies", metadata,
    Column("id", String, primary_key=True),
    Column("project_id", ForeignKey("projects.id"), nullable=False),
    Column("name", String, nullable=False),
    Column("mode", String, nullable=False),
    Column("phase", String, nullable=False),
    Column("rules", JSON, nullable=False),
    Column("retry", JSON(none_as_null=True)),
    Column("version", Integer, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("updated_at", Double, nullable=False),
    Column("deleted_at", Double),
    Index("ix_policies_project_id_name", "project_id", "name", unique=True, sqlite_where=_NOT_DELETED),
    Index("ix_policies_created_at_id", "created_at", "id"),
)

# Every version that a policy had, the present one included.
policy_versions = Table(
    "policy_versions", metadata,
    Column("policy_id", ForeignKey("policies.id"), primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("document", JSON, nullable=False),
    Column("created_at", Double, nullable=False),
)

services = Table(
    "services", metadata,
    Column("id", String, primary_key=True),
    Column("project_id", ForeignKey("projects.id"), nullable=False),
    Column("name", String, nullable=False),
    Column("base_url", String, nullable=False),
    Column("description", String, nullable=False),
    Column("service_type", String, nullable=False),
    Column("credential_id", String),
    Column("methods", JSON, nullable=False),
    Column("allowed_paths", JSON, nullable=False),
    Column("denied_paths", JSON, nullable=False),
    Column("is_active", Boolean, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("deleted_at", Double),
    ForeignKeyConstraint(["project_id", "credential_id"], ["credentials.project_id", "credentials.id"]),
    Index("ix_services_project_id_name", "project_id", "name", unique=True, sqlite_where=_NOT_DELETED),
    Index("ix_services_created_at_id", "created_at", "id"),
)

# How much may be spent. ``scope`` is token or project, ``period`` daily, monthly or lifetime.
spend_limits = Table(
    "spend_limits", metadata,
    Column("scope", String, primary_key=True),
    Column("scope_id", String, primary_key=True),
    Column("period", String, primary_key=True),
    Column("limit_nano", BigInteger, nullable=False),
    Column("created_at", Double, nullable=False),
)

# How much was: changed with each row of ``records`` that is inserted, in the same transaction. ``period`` is
# "lifetime", a month ("2026-11") or a day ("2026-11-24"), in UTC.
spend_totals = Table(
    "spend_totals", metadata,
    Column("scope", String, primary_key=True),
    Column("scope_id", String, primary_key=True),
    Column("period", String, primary_key=True),
    Column("spent_nano", BigInteger, nullable=False),
    Column("requests", BigInteger, nullable=False),
    Column("tokens", BigInteger, nullable=False),
)

# Prices that replace or add to the published ones. ``rates`` are USD a million tokens, as decimal text, by kind.
prices = Table(
    "prices", metadata,
    Column("id", String, primary_key=True),
    Column("provider", String, nullable=False),
    Column("model", String, nullable=False),
    Column("rates", JSON, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("deleted_at", Double),
    Index("ix_prices_provider_model", "provider", "model", unique=True, sqlite_where=_NOT_DELETED),
    Index("ix_prices_created_at_id", "created_at", "id"),
)

# ``status`` is pending, approved, rejected or expired; ``execution`` none, running, done, failed or unknown. What is
# asked (``sealed_about``), the request and its answer are sealed, the last two only for a while; ``request_hash`` is a
# keyed one. ``kind`` is model (its call waits) or api; ``token_id`` is null for callers without one. ``claimed_by`` is
# the boot that sends the request.
approvals = Table(
    "approvals", metadata,
    Column("id", String, primary_key=True),
    Column("project_id", String, nullable=False),
    Column("token_id", String),
    Column("kind", String, nullable=False),
    Column("policy_names", JSON, nullable=False),
    Column("rules", JSON, nullable=False),
    Column("status", String, nullable=False),
    Column("execution", String, nullable=False),
    Column("reason", String),
    Column("request_hash", LargeBinary, nullable=False),
    Column("sealed_about", LargeBinary, nullable=False),
    Column("sealed_request", LargeBinary),
    Column("sealed_response", LargeBinary),
    Column("created_at", Double, nullable=False),
    Column("expires_at", Double, nullable=False),
    Column("decided_at", Double),
    Column("decided_by", String),
    Column("claimed_by", String),
    Column("executed_at", Double),
    Index("ix_approvals_created_at_id", "created_at", "id"),
    Index("ix_approvals_status_expires_at", "status", "expires_at"),
    Index("ix_approvals_execution", "execution", sqlite_where=text("status = 'approved'")),
)

# Each attempt to tell someone of an approval. ``target`` is where, as far as it may be shown; ``message`` numbers what
# was told to whom.
deliveries = Table(
    "deliveries", metadata,
    Column("id", String, primary_key=True),
    Column("approval_id", ForeignKey("approvals.id"), nullable=False),
    Column("channel", String, nullable=False),
    Column("message", String, nullable=False),
    Column("target", String, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("status", String, nullable=False),
    Column("detail", String),
    Column("created_at", Double, nullable=False),
    Index("ix_deliveries_approval_id", "approval_id"),
)

# Claims on idempotency keys. ``state`` is claimed (by ``claimed_by``, a boot of a node), done or unknown.
claims = Table(
    "claims", metadata,
    Column("token_id", String, primary_key=True),
    Column("key_hash", LargeBinary, primary_key=True),
    Column("request_hash", LargeBinary, nullable=False),
    Column("state", String, nullable=False),
    Column("claimed_by", String, nullable=False),
    Column("approval_id", String),
    Column("sealed_response", LargeBinary),
    Column("created_at", Double, nullable=False),
    Column("expires_at", Double, nullable=False),
    Index("ix_claims_expires_at", "expires_at"),
)

# Keys of the control plane beside the operator's own. Only a fingerprint is kept; ``scopes`` say what each may do.
admin_keys = Table(
    "admin_keys", metadata,
    Column("id", String, primary_key=True),
    Column("name", String, nullable=False),
    Column("fingerprint", LargeBinary, nullable=False),
    Column("scopes", JSON, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("expires_at", Double),
    Column("revoked_at", Double),
    Index("ix_admin_keys_fingerprint", "fingerprint", unique=True),
    Index("ix_admin_keys_name", "name", unique=True, sqlite_where=_NOT_REVOKED),
    Index("ix_admin_keys_created_at_id", "created_at", "id"),
)

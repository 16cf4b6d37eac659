"""Projects, credentials, tokens and records, and the project ``default``."""

from time import time

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_RECORD_FILTERS = ("session_id", "parent_span_id", "agent_name", "token_id", "model", "status")


def upgrade() -> None:
    """Make the first tables."""
    _singletons()
    _projects()
    _credentials()
    _tokens()
    _records()


def _singletons() -> None:
    generation = op.create_table(
        "generation",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("number", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_generation"),
    )
    op.bulk_insert(generation, [{"id": 1, "number": 1}])
    op.create_table(
        "meta",
        sa.Column("name", sa.String, nullable=False),
        sa.Column("value", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_meta"),
    )


def _projects() -> None:
    projects = op.create_table(
        "projects",
        sa.Column("id", sa.String, nullable=False),
        sa.Column("name", sa.String, nullable=False),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.Column("deleted_at", sa.Double),
        sa.PrimaryKeyConstraint("id", name="pk_projects"),
    )
    op.create_index("ix_projects_name", "projects", ["name"], unique=True, sqlite_where=sa.text("deleted_at IS NULL"))
    op.create_index("ix_projects_created_at_id", "projects", ["created_at", "id"])
    op.bulk_insert(projects, [{"id": "default", "name": "default", "created_at": time(), "deleted_at": None}])


def _credentials() -> None:
    op.create_table(
        "credentials",
        sa.Column("id", sa.String, nullable=False),
        sa.Column("project_id", sa.String, nullable=False),
        sa.Column("name", sa.String, nullable=False),
        sa.Column("provider", sa.String, nullable=False),
        sa.Column("injection", sa.String),
        sa.Column("header_name", sa.String),
        sa.Column("query_name", sa.String),
        sa.Column("sealed", sa.LargeBinary),
        sa.Column("key_id", sa.String),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.Column("rotated_at", sa.Double),
        sa.Column("deleted_at", sa.Double),
        sa.PrimaryKeyConstraint("id", name="pk_credentials"),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name="fk_credentials_project_id"),
        sa.UniqueConstraint("project_id", "id", name="uq_credentials_project_id_id"),
    )
    op.create_index("ix_credentials_project_id_name", "credentials", ["project_id", "name"], unique=True,
                    sqlite_where=sa.text("deleted_at IS NULL"))
    op.create_index("ix_credentials_created_at_id", "credentials", ["created_at", "id"])


def _tokens() -> None:
    op.create_table(
        "tokens",
        sa.Column("id", sa.String, nullable=False),
        sa.Column("project_id", sa.String, nullable=False),
        sa.Column("name", sa.String, nullable=False),
        sa.Column("fingerprint", sa.LargeBinary, nullable=False),
        sa.Column("credential_id", sa.String),
        sa.Column("upstream_url", sa.String),
        sa.Column("default_model", sa.String),
        sa.Column("allowed_models", sa.JSON, nullable=False),
        sa.Column("scopes", sa.JSON, nullable=False),
        sa.Column("policy_ids", sa.JSON, nullable=False),
        sa.Column("raw_paths", sa.Boolean, nullable=False),
        sa.Column("allow_upstream_key", sa.Boolean, nullable=False),
        sa.Column("strict_parameters", sa.Boolean, nullable=False),
        sa.Column("circuit_breaker", sa.JSON, nullable=False),
        sa.Column("is_active", sa.Boolean, nullable=False),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.Column("expires_at", sa.Double),
        sa.Column("rotated_at", sa.Double),
        sa.Column("revoked_at", sa.Double),
        sa.PrimaryKeyConstraint("id", name="pk_tokens"),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name="fk_tokens_project_id"),
        sa.ForeignKeyConstraint(["project_id", "credential_id"], ["credentials.project_id", "credentials.id"],
                                name="fk_tokens_project_id_credential_id"),
    )
    op.create_index("ix_tokens_fingerprint", "tokens", ["fingerprint"], unique=True)
    op.create_index("ix_tokens_project_id_name", "tokens", ["project_id", "name"], unique=True,
                    sqlite_where=sa.text("revoked_at IS NULL"))
    op.create_index("ix_tokens_credential_id", "tokens", ["credential_id"])
    op.create_index("ix_tokens_created_at_id", "tokens", ["created_at", "id"])


def _records() -> None:
    op.create_table(
        "records",
        sa.Column("sequence", sa.Integer, nullable=False, autoincrement=True),
        sa.Column("id", sa.String, nullable=False),
        sa.Column("request_id", sa.String, nullable=False),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.Column("finished_at", sa.Double),
        sa.Column("token_id", sa.String),
        sa.Column("project_id", sa.String),
        sa.Column("method", sa.String, nullable=False),
        sa.Column("path", sa.String, nullable=False),
        sa.Column("operation", sa.String),
        sa.Column("dialect", sa.String),
        sa.Column("outcome", sa.String, nullable=False),
        sa.Column("status", sa.Integer),
        sa.Column("upstream_status", sa.Integer),
        sa.Column("error_code", sa.String),
        sa.Column("response_latency_ms", sa.Double),
        sa.Column("first_byte_ms", sa.Double),
        sa.Column("attempts", sa.Integer),
        sa.Column("agent_name", sa.String),
        sa.Column("session_id", sa.String),
        sa.Column("parent_span_id", sa.String),
        sa.Column("model", sa.String),
        sa.Column("requested_model", sa.String),
        sa.Column("provider", sa.String),
        sa.Column("upstream", sa.String),
        sa.Column("prompt_tokens", sa.Integer),
        sa.Column("completion_tokens", sa.Integer),
        sa.Column("cache_read_tokens", sa.Integer),
        sa.Column("cache_write_tokens", sa.Integer),
        sa.Column("reasoning_tokens", sa.Integer),
        sa.Column("usage_estimated", sa.Boolean),
        sa.Column("cost_nano", sa.BigInteger),
        sa.Column("policy_result", sa.String),
        sa.Column("shadow_violations", sa.JSON),
        sa.Column("cache_hit", sa.Boolean),
        sa.Column("is_streaming", sa.Boolean),
        sa.Column("finish_reason", sa.String),
        sa.PrimaryKeyConstraint("sequence", name="pk_records"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_records_id", "records", ["id"], unique=True)
    op.create_index("ix_records_created_at_id", "records", ["created_at", "id"])
    for name in _RECORD_FILTERS:
        # Most calls name no session, span or agent: those rows cost these indexes nothing.
        op.create_index(
            f"ix_records_{name}_created_at_id", "records", [name, "created_at", "id"],
            sqlite_where=sa.text(f"{name} IS NOT NULL"),
        )

"""What decides about calls: policies, limits, spend, approvals, services, claims, admin keys; and the audit chain."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

_EMPTY_LIST = sa.text("'[]'")
_NOT_DELETED = sa.text("deleted_at IS NULL")


def upgrade() -> None:
    """Add columns to what is there, then the new tables."""
    _columns()
    _audit()
    _policies()
    _services()
    _spend()
    _approvals()
    _claims()
    _admin_keys()


def _columns() -> None:
    op.add_column("projects", sa.Column("policy_ids", sa.JSON, nullable=False, server_default=_EMPTY_LIST))
    for column in (
        sa.Column("upstreams", sa.JSON, nullable=False, server_default=_EMPTY_LIST),
        sa.Column("requests_per_minute", sa.Integer),
        sa.Column("tokens_per_minute", sa.Integer),
        sa.Column("concurrent_requests", sa.Integer),
        sa.Column("log_level", sa.String, nullable=False, server_default=sa.text("'metadata'")),
    ):
        op.add_column("tokens", column)
    for column in (
        sa.Column("service", sa.String),
        sa.Column("policy_name", sa.String),
        sa.Column("approval_id", sa.String),
        sa.Column("trace_id", sa.String),
        sa.Column("span_id", sa.String),
        sa.Column("tags", sa.JSON),
        sa.Column("chain", sa.String),
        sa.Column("chain_sequence", sa.BigInteger),
        sa.Column("chain_code", sa.LargeBinary),
    ):
        op.add_column("records", column)
    op.create_index("ix_records_chain_chain_sequence", "records", ["chain", "chain_sequence"], unique=True)


def _audit() -> None:
    op.create_table(
        "record_bodies",
        sa.Column("record_id", sa.String, nullable=False),
        sa.Column("project_id", sa.String, nullable=False),
        sa.Column("sealed", sa.LargeBinary, nullable=False),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.Column("expires_at", sa.Double, nullable=False),
        sa.PrimaryKeyConstraint("record_id", name="pk_record_bodies"),
    )
    op.create_index("ix_record_bodies_expires_at", "record_bodies", ["expires_at"])
    op.create_table(
        "checkpoints",
        sa.Column("chain", sa.String, nullable=False),
        sa.Column("kind", sa.String, nullable=False),
        sa.Column("chain_sequence", sa.BigInteger, nullable=False),
        sa.Column("chain_code", sa.LargeBinary, nullable=False),
        sa.Column("signature", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("chain", "kind", name="pk_checkpoints"),
    )
    op.create_table(
        "sessions",
        sa.Column("id", sa.String, nullable=False),
        sa.Column("project_id", sa.String, nullable=False),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.Column("last_at", sa.Double, nullable=False),
        sa.Column("requests", sa.BigInteger, nullable=False),
        sa.Column("errors", sa.BigInteger, nullable=False),
        sa.Column("prompt_tokens", sa.BigInteger, nullable=False),
        sa.Column("completion_tokens", sa.BigInteger, nullable=False),
        sa.Column("cost_nano", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("id", "project_id", name="pk_sessions"),
    )
    op.create_index("ix_sessions_created_at_id_project_id", "sessions", ["created_at", "id", "project_id"])
    op.create_index("ix_sessions_project_id_created_at_id", "sessions", ["project_id", "created_at", "id"])
    op.create_index("ix_sessions_last_at", "sessions", ["last_at"])


def _policies() -> None:
    op.create_table(
        "policies",
        sa.Column("id", sa.String, nullable=False),
        sa.Column("project_id", sa.String, nullable=False),
        sa.Column("name", sa.String, nullable=False),
        sa.Column("mode", sa.String, nullable=False),
        sa.Column("phase", sa.String, nullable=False),
        sa.Column("rules", sa.JSON, nullable=False),
        sa.Column("retry", sa.JSON),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.Column("updated_at", sa.Double, nullable=False),
        sa.Column("deleted_at", sa.Double),
        sa.PrimaryKeyConstraint("id", name="pk_policies"),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name="fk_policies_project_id"),
    )
    op.create_index("ix_policies_project_id_name", "policies", ["project_id", "name"], unique=True,
                    sqlite_where=_NOT_DELETED)
    op.create_index("ix_policies_created_at_id", "policies", ["created_at", "id"])
    op.create_table(
        "policy_versions",
        sa.Column("policy_id", sa.String, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("document", sa.JSON, nullable=False),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.PrimaryKeyConstraint("policy_id", "version", name="pk_policy_versions"),
        sa.ForeignKeyConstraint(["policy_id"], ["policies.id"], name="fk_policy_versions_policy_id"),
    )


def _services() -> None:
    op.create_table(
        "services",
        sa.Column("id", sa.String, nullable=False),
        sa.Column("project_id", sa.String, nullable=False),
        sa.Column("name", sa.String, nullable=False),
        sa.Column("base_url", sa.String, nullable=False),
        sa.Column("description", sa.String, nullable=False),
        sa.Column("service_type", sa.String, nullable=False),
        sa.Column("credential_id", sa.String),
        sa.Column("methods", sa.JSON, nullable=False),
        sa.Column("allowed_paths", sa.JSON, nullable=False),
        sa.Column("denied_paths", sa.JSON, nullable=False),
        sa.Column("is_active", sa.Boolean, nullable=False),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.Column("deleted_at", sa.Double),
        sa.PrimaryKeyConstraint("id", name="pk_services"),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name="fk_services_project_id"),
        sa.ForeignKeyConstraint(["project_id", "credential_id"], ["credentials.project_id", "credentials.id"],
                                name="fk_services_project_id_credential_id"),
    )
    op.create_index("ix_services_project_id_name", "services", ["project_id", "name"], unique=True,
                    sqlite_where=_NOT_DELETED)
    op.create_index("ix_services_created_at_id", "services", ["created_at", "id"])


def _spend() -> None:
    op.create_table(
        "spend_limits",
        sa.Column("scope", sa.String, nullable=False),
        sa.Column("scope_id", sa.String, nullable=False),
        sa.Column("period", sa.String, nullable=False),
        sa.Column("limit_nano", sa.BigInteger, nullable=False),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.PrimaryKeyConstraint("scope", "scope_id", "period", name="pk_spend_limits"),
    )
    op.create_table(
        "spend_totals",
        sa.Column("scope", sa.String, nullable=False),
        sa.Column("scope_id", sa.String, nullable=False),
        sa.Column("period", sa.String, nullable=False),
        sa.Column("spent_nano", sa.BigInteger, nullable=False),
        sa.Column("requests", sa.BigInteger, nullable=False),
        sa.Column("tokens", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("scope", "scope_id", "period", name="pk_spend_totals"),
    )
    op.create_table(
        "prices",
        sa.Column("id", sa.String, nullable=False),
        sa.Column("provider", sa.String, nullable=False),
        sa.Column("model", sa.String, nullable=False),
        sa.Column("rates", sa.JSON, nullable=False),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.Column("deleted_at", sa.Double),
        sa.PrimaryKeyConstraint("id", name="pk_prices"),
    )
    op.create_index("ix_prices_provider_model", "prices", ["provider", "model"], unique=True, sqlite_where=_NOT_DELETED)
    op.create_index("ix_prices_created_at_id", "prices", ["created_at", "id"])


def _approvals() -> None:
    op.create_table(
        "approvals",
        sa.Column("id", sa.String, nullable=False),
        sa.Column("project_id", sa.String, nullable=False),
        sa.Column("token_id", sa.String),
        sa.Column("kind", sa.String, nullable=False),
        sa.Column("policy_names", sa.JSON, nullable=False),
        sa.Column("rules", sa.JSON, nullable=False),
        sa.Column("status", sa.String, nullable=False),
        sa.Column("execution", sa.String, nullable=False),
        sa.Column("reason", sa.String),
        sa.Column("request_hash", sa.LargeBinary, nullable=False),
        sa.Column("sealed_about", sa.LargeBinary, nullable=False),
        sa.Column("sealed_request", sa.LargeBinary),
        sa.Column("sealed_response", sa.LargeBinary),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.Column("expires_at", sa.Double, nullable=False),
        sa.Column("decided_at", sa.Double),
        sa.Column("decided_by", sa.String),
        sa.Column("claimed_by", sa.String),
        sa.Column("executed_at", sa.Double),
        sa.PrimaryKeyConstraint("id", name="pk_approvals"),
    )
    op.create_index("ix_approvals_created_at_id", "approvals", ["created_at", "id"])
    op.create_index("ix_approvals_status_expires_at", "approvals", ["status", "expires_at"])
    op.create_index("ix_approvals_execution", "approvals", ["execution"], sqlite_where=sa.text("status = 'approved'"))
    op.create_table(
        "deliveries",
        sa.Column("id", sa.String, nullable=False),
        sa.Column("approval_id", sa.String, nullable=False),
        sa.Column("channel", sa.String, nullable=False),
        sa.Column("message", sa.String, nullable=False),
        sa.Column("target", sa.String, nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("status", sa.String, nullable=False),
        sa.Column("detail", sa.String),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_deliveries"),
        sa.ForeignKeyConstraint(["approval_id"], ["approvals.id"], name="fk_deliveries_approval_id"),
    )
    op.create_index("ix_deliveries_approval_id", "deliveries", ["approval_id"])


def _claims() -> None:
    op.create_table(
        "claims",
        sa.Column("token_id", sa.String, nullable=False),
        sa.Column("key_hash", sa.LargeBinary, nullable=False),
        sa.Column("request_hash", sa.LargeBinary, nullable=False),
        sa.Column("state", sa.String, nullable=False),
        sa.Column("claimed_by", sa.String, nullable=False),
        sa.Column("approval_id", sa.String),
        sa.Column("sealed_response", sa.LargeBinary),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.Column("expires_at", sa.Double, nullable=False),
        sa.PrimaryKeyConstraint("token_id", "key_hash", name="pk_claims"),
    )
    op.create_index("ix_claims_expires_at", "claims", ["expires_at"])


def _admin_keys() -> None:
    op.create_table(
        "admin_keys",
        sa.Column("id", sa.String, nullable=False),
        sa.Column("name", sa.String, nullable=False),
        sa.Column("fingerprint", sa.LargeBinary, nullable=False),
        sa.Column("scopes", sa.JSON, nullable=False),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.Column("expires_at", sa.Double),
        sa.Column("revoked_at", sa.Double),
        sa.PrimaryKeyConstraint("id", name="pk_admin_keys"),
    )
    op.create_index("ix_admin_keys_fingerprint", "admin_keys", ["fingerprint"], unique=True)
    op.create_index("ix_admin_keys_name", "admin_keys", ["name"], unique=True,
                    sqlite_where=sa.text("revoked_at IS NULL"))
    op.create_index("ix_admin_keys_created_at_id", "admin_keys", ["created_at", "id"])

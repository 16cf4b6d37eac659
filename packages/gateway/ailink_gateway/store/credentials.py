"""The queries on credentials. Secrets pass through sealed; deleting one erases it."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import ColumnElement, Connection, String, cast, insert, select, update

from ailink_gateway.store import rows
from ailink_gateway.store.projects import refer_to_project
from ailink_gateway.store.rows import Row
from ailink_gateway.store.tables import credentials, services, tokens
from ailink_provider.errors import Failure

_PRESENT = credentials.c.deleted_at.is_(None)
_NAMED_AT_MOST = 5


def insert_credential(connection: Connection, row: Mapping[str, Any]) -> Row:
    """Add a credential and return it. Raises ``Failure`` if its project does not exist or its name is taken there."""
    refer_to_project(connection, row["project_id"])
    rows.claim_name(connection, credentials, row["name"], [_PRESENT, credentials.c.project_id == row["project_id"]])
    connection.execute(insert(credentials).values(**row))
    return find_credential(connection, row["id"])


def find_credential(connection: Connection, credential_id: str) -> Row:
    """Return a credential that is not deleted. Raises ``Failure`` (``not_found``)."""
    row = rows.find(connection, credentials, credential_id)
    if row is None or row["deleted_at"] is not None:
        raise Failure("not_found", f"There is no credential {credential_id!r}.", param="id")
    return row


def list_credentials(
    connection: Connection, limit: int, after: str | None, project_id: str | None, provider: str | None,
) -> tuple[list[Row], bool]:
    """Return one page, as ``rows.page`` does, of all or of one project's or one provider's."""
    conditions: list[ColumnElement[bool]] = [_PRESENT]
    if project_id is not None:
        conditions.append(credentials.c.project_id == project_id)
    if provider is not None:
        conditions.append(credentials.c.provider == provider)
    return rows.page(connection, credentials, conditions, limit, after)


def update_credential(connection: Connection, credential_id: str, fields: Mapping[str, Any]) -> Row:
    """Change a credential and return it. Raises ``Failure`` if there is none, or if its new name is taken."""
    row = find_credential(connection, credential_id)
    if "name" in fields:
        others = [_PRESENT, credentials.c.project_id == row["project_id"], credentials.c.id != credential_id]
        rows.claim_name(connection, credentials, fields["name"], others)
    if fields:
        connection.execute(update(credentials).where(credentials.c.id == credential_id).values(**fields))
    return find_credential(connection, credential_id)


def delete_credential(connection: Connection, credential_id: str, now: float) -> None:
    """Delete a credential and erase its secret. Raises ``Failure`` if there is none or tokens or services use it."""
    row = find_credential(connection, credential_id)
    for table, gone, kind in ((tokens, tokens.c.revoked_at, "tokens"), (services, services.c.deleted_at, "services")):
        query = select(table.c.name, table.c.id).where(table.c.credential_id == credential_id, gone.is_(None))
        users = [f"{name} ({user_id})" for name, user_id in connection.execute(query.order_by(table.c.created_at))]
        if table is tokens:
            users += _users_by_upstreams(connection, row["project_id"], credential_id)
        if users:
            named = ", ".join(users[:_NAMED_AT_MOST]) + ("" if len(users) <= _NAMED_AT_MOST else ", ...")
            message = f"{len(users)} {kind} use the credential: {named}. Give them another or remove them first."
            raise Failure("conflict", message)
    connection.execute(
        update(credentials).where(credentials.c.id == credential_id).values(deleted_at=now, sealed=None, key_id=None)
    )


def _users_by_upstreams(connection: Connection, project_id: str, credential_id: str) -> list[str]:
    """Return the tokens that name the credential in their further upstreams alone."""
    query = select(tokens.c.name, tokens.c.id, tokens.c.upstreams).where(
        tokens.c.project_id == project_id, tokens.c.revoked_at.is_(None),
        tokens.c.credential_id.is_distinct_from(credential_id), cast(tokens.c.upstreams, String) != "[]",
    )
    return [
        f"{name} ({token_id})" for name, token_id, upstreams in connection.execute(query)
        if any(upstream["credential_id"] == credential_id for upstream in upstreams)
    ]


def refer_to_credential(connection: Connection, project_id: str, credential_id: str | None) -> None:
    """Raise ``Failure`` (``validation_error``) if a row of this project cannot name the credential: it must be its own.
    """
    if credential_id is None:
        return
    row = rows.find(connection, credentials, credential_id)
    if row is None or row["project_id"] != project_id or row["deleted_at"] is not None:
        message = f"The project {project_id!r} has no credential {credential_id!r}: create it first."
        raise Failure("validation_error", message, param="credential_id")


def list_sealed(connection: Connection, other_than: str, limit: int) -> list[Row]:
    """Return up to ``limit`` credentials whose secrets are sealed under another master key than ``other_than``."""
    query = select(credentials).where(_PRESENT, credentials.c.key_id != other_than).limit(limit)
    return [dict(row) for row in connection.execute(query).mappings()]


def replace_sealed(connection: Connection, credential_id: str, sealed: bytes, key_id: str) -> None:
    """Store the same secret sealed under another master key."""
    connection.execute(
        update(credentials).where(credentials.c.id == credential_id).values(sealed=sealed, key_id=key_id)
    )

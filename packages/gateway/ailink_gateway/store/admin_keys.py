"""The queries on admin keys. Only fingerprints are here; a revoked key stays in lists."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, insert, select, update

from ailink_gateway.store import rows
from ailink_gateway.store.rows import Row
from ailink_gateway.store.tables import admin_keys
from ailink_provider.errors import Failure

_PRESENT = admin_keys.c.revoked_at.is_(None)


def insert_admin_key(connection: Connection, row: Mapping[str, Any]) -> Row:
    """Add an admin key and return it. Raises ``Failure`` if its name is taken."""
    rows.claim_name(connection, admin_keys, row["name"], [_PRESENT])
    connection.execute(insert(admin_keys).values(**row))
    return find_admin_key(connection, row["id"])


def find_admin_key(connection: Connection, key_id: str) -> Row:
    """Return an admin key, revoked or not. Raises ``Failure`` (``not_found``)."""
    row = rows.find(connection, admin_keys, key_id)
    if row is None:
        raise Failure("not_found", f"There is no admin key {key_id[:40]!r}.", param="id")
    return row


def usable_by_fingerprint(connection: Connection, fingerprint: bytes, now: float) -> Row | None:
    """Return the key with this fingerprint if it may be used now."""
    row = connection.execute(select(admin_keys).where(admin_keys.c.fingerprint == fingerprint)).mappings().one_or_none()
    return dict(row) if row is not None and _usable(dict(row), now) else None


def usable_by_id(connection: Connection, key_id: str, now: float) -> Row | None:
    """Return the key with this id if it may be used now."""
    row = rows.find(connection, admin_keys, key_id)
    return row if row is not None and _usable(row, now) else None


def list_admin_keys(connection: Connection, limit: int, after: str | None) -> tuple[list[Row], bool]:
    """Return one page, as ``rows.page`` does, revoked ones included."""
    return rows.page(connection, admin_keys, [], limit, after)


def update_admin_key(connection: Connection, key_id: str, fields: Mapping[str, Any]) -> Row:
    """Change a key and return it. Raises ``Failure`` if there is none, it is revoked or its new name is taken."""
    row = find_admin_key(connection, key_id)
    if row["revoked_at"] is not None:
        raise Failure("conflict", f"The admin key {key_id!r} is revoked for good: create another.")
    if "name" in fields:
        rows.claim_name(connection, admin_keys, fields["name"], [_PRESENT, admin_keys.c.id != key_id])
    if fields:
        connection.execute(update(admin_keys).where(admin_keys.c.id == key_id).values(**fields))
    return find_admin_key(connection, key_id)


def revoke_admin_key(connection: Connection, key_id: str, now: float) -> None:
    """Revoke a key for good; again is no error. Raises ``Failure`` if there is none."""
    find_admin_key(connection, key_id)
    connection.execute(update(admin_keys).where(admin_keys.c.id == key_id, _PRESENT).values(revoked_at=now))


def _usable(row: Row, now: float) -> bool:
    return row["revoked_at"] is None and (row["expires_at"] is None or row["expires_at"] > now)

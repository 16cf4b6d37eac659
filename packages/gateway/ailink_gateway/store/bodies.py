"""The queries on kept bodies: what a call carried, sealed. Opens nothing, and decides no expiry."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, LargeBinary, cast, delete, func, literal, select, update
from sqlalchemy.dialects.sqlite import insert

from ailink_gateway.store.rows import Row
from ailink_gateway.store.tables import record_bodies

_KEY_ID = func.substr(record_bodies.c.sealed, 2, 8)


def insert_bodies(connection: Connection, batch: Sequence[Mapping[str, Any]]) -> None:
    """Add bodies; one that is there already stays."""
    connection.execute(insert(record_bodies).on_conflict_do_nothing(), batch)


def find_body(connection: Connection, record_id: str, now: float) -> Row | None:
    """Return what is kept of a call and has not expired, or None."""
    query = select(record_bodies).where(record_bodies.c.record_id == record_id, record_bodies.c.expires_at > now)
    row = connection.execute(query).mappings().one_or_none()
    return dict(row) if row else None


def expire_bodies(connection: Connection, now: float, limit: int) -> int:
    """Remove up to ``limit`` bodies that have expired, and return how many."""
    old = select(record_bodies.c.record_id).where(record_bodies.c.expires_at <= now).limit(limit)
    return connection.execute(delete(record_bodies).where(record_bodies.c.record_id.in_(old))).rowcount


def list_sealed_bodies(connection: Connection, other_than: str, after: str, limit: int) -> list[Row]:
    """Return up to ``limit`` bodies, by record id, that are sealed under another master key than ``other_than``."""
    key_id = cast(literal(bytes.fromhex(other_than)), LargeBinary)
    query = select(record_bodies).where(record_bodies.c.record_id > after, key_id != _KEY_ID)
    return [dict(row) for row in connection.execute(query.order_by(record_bodies.c.record_id).limit(limit)).mappings()]


def replace_sealed_body(connection: Connection, record_id: str, sealed: bytes) -> None:
    """Store the same body sealed under another master key."""
    connection.execute(update(record_bodies).where(record_bodies.c.record_id == record_id).values(sealed=sealed))

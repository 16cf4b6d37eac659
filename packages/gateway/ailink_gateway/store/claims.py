"""The queries on claims: which idempotency keys are taken, by which request, and what was answered.

A claim is ``claimed`` while its request is under way, then ``done`` with a sealed answer, or ``unknown`` where nobody
can say what became of it. Each is forgotten when ``expires_at`` has passed.
"""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, delete, select, update
from sqlalchemy.dialects.sqlite import insert

from ailink_gateway.store.rows import Row
from ailink_gateway.store.tables import claims


def claim(connection: Connection, row: Mapping[str, Any], now: float) -> Row | None:
    """Take a key for a request: return None if it was free, else the claim that holds it."""
    connection.execute(delete(claims).where(claims.c.expires_at <= now))
    taken = connection.execute(insert(claims).values(**row).on_conflict_do_nothing())
    if taken.rowcount:
        return None
    query = select(claims).where(_is(row["token_id"], row["key_hash"]))
    return dict(connection.execute(query).mappings().one())


def change_claim(connection: Connection, token_id: str, key_hash: bytes, fields: Mapping[str, Any]) -> None:
    """Write down what became of a claim."""
    connection.execute(update(claims).where(_is(token_id, key_hash)).values(**fields))


def release_claim(connection: Connection, token_id: str, key_hash: bytes) -> None:
    """Set a key free, as its request had no effect."""
    connection.execute(delete(claims).where(_is(token_id, key_hash)))


def _is(token_id: str, key_hash: bytes) -> ColumnElement[bool]:
    return and_(claims.c.token_id == token_id, claims.c.key_hash == key_hash)

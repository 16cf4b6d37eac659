"""The queries on sessions: what the calls of one ``X-Session-ID`` add up to, and those calls in order.

The totals change with the records that are inserted, in the same transaction, so that no list has to add them up.
"""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, case, delete, select, tuple_
from sqlalchemy.dialects.sqlite import insert

from ailink_gateway.record import Record
from ailink_gateway.store.rows import Row
from ailink_gateway.store.tables import records, sessions
from ailink_provider.errors import Failure

_SUMS = ("requests", "errors", "prompt_tokens", "completion_tokens", "cost_nano")
_ORDER = (sessions.c.created_at, sessions.c.id, sessions.c.project_id)
FIRST_ERROR = 400


def add_to_sessions(connection: Connection, batch: Sequence[Record]) -> None:
    """Add records that were just inserted to their sessions, those that have one."""
    totals: dict[tuple[str, str], Row] = {}
    for record in batch:
        if record.session_id is not None:
            key = record.session_id, record.project_id or ""
            one = _one(record)
            totals[key] = _together(totals[key], one) if key in totals else one
    if not totals:
        return
    statement = insert(sessions)
    new = statement.excluded
    # SQLite's min() and max() of two values are called so; SQLAlchemy's are for a whole column.
    earlier = case((new.created_at < sessions.c.created_at, new.created_at), else_=sessions.c.created_at)
    later = case((new.last_at > sessions.c.last_at, new.last_at), else_=sessions.c.last_at)
    connection.execute(
        statement.on_conflict_do_update(
            index_elements=["id", "project_id"],
            set_={
                "created_at": earlier, "last_at": later,
                **{name: sessions.c[name] + new[name] for name in _SUMS},
            },
        ),
        [{"id": key[0], "project_id": key[1], **total} for key, total in totals.items()],
    )


def list_sessions(
    connection: Connection, limit: int, after: str | None, project_id: str | None,
) -> tuple[list[Row], bool]:
    """Return one page, newest first by their first call, and whether there are more.

    ``after`` is the id of the last session of the page before, or ``project/id`` where several projects have one of
    that id. Raises ``Failure`` if there is no such session, or if it has to be said whose it is.
    """
    conditions: list[ColumnElement[bool]] = []
    if project_id is not None:
        conditions.append(sessions.c.project_id == project_id)
    query = select(sessions).where(*conditions)
    if after is not None:
        query = query.where(tuple_(*_ORDER) < tuple_(*_place(connection, after, conditions)))
    query = query.order_by(*(column.desc() for column in _ORDER)).limit(limit + 1)
    found = [dict(row) for row in connection.execute(query).mappings()]
    return found[:limit], len(found) > limit


def find_session(connection: Connection, session_id: str, project_id: str | None) -> Row:
    """Return the totals of a session; ``project_id`` None means that of any project, their calls together.

    Raises ``Failure`` (``not_found``).
    """
    query = select(sessions).where(sessions.c.id == session_id)
    if project_id is not None:
        query = query.where(sessions.c.project_id == project_id)
    found = [dict(row) for row in connection.execute(query.order_by(sessions.c.project_id)).mappings()]
    if not found:
        raise Failure("not_found", f"There is no session {session_id!r}; it shows once a call has ended.", param="id")
    total = found[0]
    for other in found[1:]:
        total = {**total, **_together(total, other)}
    return {**total, "project_id": found[0]["project_id"] if len(found) == 1 else None}


def list_steps(
    connection: Connection, limit: int, after: str | None, session_id: str, project_id: str | None,
) -> tuple[list[Row], bool]:
    """Return up to ``limit`` records of a session in the order of their beginning, and whether there are more.

    ``after`` is the id of the last record of the page before. Raises ``Failure`` if there is no such record.
    """
    order = (records.c.created_at, records.c.id)
    query = select(records).where(records.c.session_id == session_id)
    if project_id is not None:
        query = query.where(records.c.project_id == project_id)
    if after is not None:
        place = connection.execute(select(*order).where(records.c.id == after)).one_or_none()
        if place is None:
            raise _nowhere(after)
        query = query.where(tuple_(*order) > tuple_(*place))
    found = [dict(row) for row in connection.execute(query.order_by(*order).limit(limit + 1)).mappings()]
    return found[:limit], len(found) > limit


def prune_sessions(connection: Connection, before: float, limit: int) -> int:
    """Remove up to ``limit`` sessions whose last call began before this moment, and return how many."""
    old = select(sessions.c.id, sessions.c.project_id).where(sessions.c.last_at < before).limit(limit)
    return connection.execute(
        delete(sessions).where(tuple_(sessions.c.id, sessions.c.project_id).in_(old))
    ).rowcount


def _one(record: Record) -> Row:
    failed = record.error_code is not None or (record.status or 0) >= FIRST_ERROR
    return {
        "created_at": record.created_at, "last_at": record.created_at, "requests": 1, "errors": int(failed),
        "prompt_tokens": record.prompt_tokens or 0, "completion_tokens": record.completion_tokens or 0,
        "cost_nano": record.cost_nano or 0,
    }


def _together(one: Row, other: Row) -> Row:
    return {
        "created_at": min(one["created_at"], other["created_at"]), "last_at": max(one["last_at"], other["last_at"]),
        **{name: one[name] + other[name] for name in _SUMS},
    }


def _place(connection: Connection, after: str, conditions: Sequence[ColumnElement[bool]]) -> tuple[Any, ...]:
    query = select(*_ORDER).where(*conditions)
    places = connection.execute(query.where(sessions.c.id == after)).all()
    if not places and "/" in after:
        project_id, _, session_id = after.partition("/")
        places = connection.execute(
            query.where(sessions.c.id == session_id, sessions.c.project_id == project_id)
        ).all()
    if len(places) > 1:
        message = f"Several projects have a session {after!r}: give starting_after as project/id, or a project_id."
        raise Failure("invalid_request", message, param="starting_after")
    if not places:
        raise _nowhere(after)
    return tuple(places[0])


def _nowhere(after: str) -> Failure:
    message = f"There is no {after!r} to start after: give an id from the page before."
    return Failure("invalid_request", message, param="starting_after")

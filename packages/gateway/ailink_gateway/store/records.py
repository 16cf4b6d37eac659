"""The audit rows: inserted in batches, each once, and read by filter or in the order of arrival. Never changed."""

import json
from collections.abc import Iterable, Mapping, Sequence
from operator import itemgetter
from typing import Any

from sqlalchemy import ColumnElement, Connection, func, select, tuple_

from ailink_gateway.store import rows
from ailink_gateway.store.rows import Row
from ailink_gateway.store.spend import add_to_totals
from ailink_gateway.store.tables import records
from ailink_provider.errors import Failure

# The filters that have an index. ``since`` and ``until`` are on created_at, the first inclusive, the second not.
FILTERS = ("session_id", "parent_span_id", "agent_name", "token_id", "model", "status")
_ALL = frozenset(column.name for column in records.columns if column.name != "sequence")
_ENCODED = ("chain_code", "shadow_violations", "tags")
_COLUMNS = ("request_id", *sorted(_ALL - {"request_id", *_ENCODED}), *_ENCODED)
_NOTHING = dict.fromkeys(_COLUMNS)
_IDS_AT_ONCE = 1000
_pick = itemgetter(*_COLUMNS)
# Written out for the driver: every call of the data plane passes here, and this takes half the time.
_INSERT = (
    f"INSERT INTO records ({', '.join(_COLUMNS)}) VALUES ({', '.join('?' * len(_COLUMNS))}) "  # noqa: S608 - no values
    "ON CONFLICT (id) DO NOTHING"
)


def insert_records(connection: Connection, batch: Iterable[Mapping[str, Any]]) -> int:
    """Insert those rows whose ids are not there yet, add them to what was spent, and return how many that were.

    A row has a key for each column it knows, at least id, created_at, method, path and outcome; ``chain_code`` is hex.
    Keys of no column are left out; a missing ``request_id`` is the id.
    """
    new = _not_there(connection, batch)
    if not new:
        return 0
    add_to_totals(connection, new)
    return connection.exec_driver_sql(_INSERT, [_values(row) for row in new]).rowcount


def known_ids(connection: Connection, ids: Sequence[str]) -> frozenset[str]:
    """Return those of the ids that are there."""
    known: set[str] = set()
    for start in range(0, len(ids), _IDS_AT_ONCE):
        some = records.c.id.in_(ids[start : start + _IDS_AT_ONCE])
        known.update(connection.scalars(select(records.c.id).where(some)))
    return frozenset(known)


def find_record(connection: Connection, record_id: str) -> Row:
    """Return one row. Raises ``Failure`` (``not_found``)."""
    row = rows.find(connection, records, record_id)
    if row is None:
        raise Failure("not_found", f"There is no record {record_id!r}; a call shows once it has ended.", param="id")
    return row


def list_records(
    connection: Connection, limit: int, after: str | None, filters: Mapping[str, Any],
) -> tuple[list[Row], bool]:
    """Return one page, as ``rows.page`` does, of the rows that fit all filters (``FILTERS``, ``since``, ``until``)."""
    return rows.page(connection, records, _conditions(filters), limit, after)


def records_in_order(
    connection: Connection, after: tuple[float, str] | None, limit: int, filters: Mapping[str, Any],
) -> list[Row]:
    """Return up to ``limit`` rows that fit, oldest first; ``after`` is the created_at and id of the last one before."""
    order = (records.c.created_at, records.c.id)
    query = select(records).where(*_conditions(filters))
    if after is not None:
        query = query.where(tuple_(*order) > tuple_(*after))
    return [dict(row) for row in connection.execute(query.order_by(*order).limit(limit)).mappings()]


def records_after(
    connection: Connection, sequence: int, limit: int, filters: Mapping[str, Any],
) -> tuple[list[Row], int]:
    """Return up to ``limit`` rows that arrived after this sequence number and fit, and the number to go on from."""
    query = select(records).where(records.c.sequence > sequence, *_conditions(filters))
    found = [dict(row) for row in connection.execute(query.order_by(records.c.sequence).limit(limit)).mappings()]
    return found, found[-1]["sequence"] if len(found) == limit else max(sequence, last_sequence(connection))


def last_sequence(connection: Connection) -> int:
    """Return the sequence number of the row that arrived last, 0 if there is none."""
    number: int = connection.execute(select(func.coalesce(func.max(records.c.sequence), 0))).scalar_one()
    return number


def _not_there(connection: Connection, batch: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    by_id: dict[str, Mapping[str, Any]] = {}
    for row in batch:
        by_id.setdefault(row["id"], row)
    known = known_ids(connection, list(by_id))
    return [row for row_id, row in by_id.items() if row_id not in known] if known else list(by_id.values())


def _values(row: Mapping[str, Any]) -> tuple[Any, ...]:
    values: tuple[Any, ...] = _pick({**_NOTHING, "request_id": row["id"], **row})
    code, violations, tags = values[-3:]
    return (
        *values[:-3],
        None if code is None else bytes.fromhex(code),
        None if violations is None else json.dumps(violations),
        None if tags is None else json.dumps(tags),
    )


def _conditions(filters: Mapping[str, Any]) -> Sequence[ColumnElement[bool]]:
    conditions = [records.c[name] == filters[name] for name in FILTERS if filters.get(name) is not None]
    if filters.get("since") is not None:
        conditions.append(records.c.created_at >= filters["since"])
    if filters.get("until") is not None:
        conditions.append(records.c.created_at < filters["until"])
    return conditions

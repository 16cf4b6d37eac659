"""The audit rows: inserted in batches, each once, and read by filter or in the order of arrival. Never changed."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from msgspec.structs import astuple
from sqlalchemy import ColumnElement, Connection, func, select, tuple_

from ailink_gateway.record import FLAGS, Record
from ailink_gateway.store import rows
from ailink_gateway.store.rows import Row
from ailink_gateway.store.sessions import add_to_sessions
from ailink_gateway.store.spend import add_to_totals
from ailink_gateway.store.tables import records
from ailink_provider.errors import Failure

# The filters that have an index. ``since`` and ``until`` are on created_at, the first inclusive, the second not.
FILTERS = ("session_id", "parent_span_id", "agent_name", "token_id", "model", "status")
_IDS_AT_ONCE = 1000
# How a column's values are given to the driver. It knows no lists, and takes ten times as long for a bool as for an
# int and four times as long for bytes as for a bytearray.
_BOUND: Mapping[str, Callable[[Any], Any]] = {
    **dict.fromkeys(FLAGS, int), "chain_code": bytearray.fromhex, "shadow_violations": json.dumps, "tags": json.dumps,
}


def insert_records(connection: Connection, batch: Sequence[Record]) -> int:
    """Insert those rows whose ids are not there yet, add them to their sessions and to what was spent, and return how
    many that were.
    """
    if not batch:
        return 0
    columns = _columns(batch)
    # Written out for the driver, as every call of the data plane passes here.
    statement = (
        f"INSERT INTO records ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))}) "  # noqa: S608 - no values
        "ON CONFLICT (id) DO NOTHING"
    )
    inserted = connection.exec_driver_sql(statement, list(zip(*columns.values(), strict=True))).rowcount
    new = batch if inserted == len(batch) else _last(connection, inserted, batch)
    add_to_totals(connection, new)
    add_to_sessions(connection, new)
    return inserted


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


def _columns(batch: Sequence[Record]) -> dict[str, Sequence[Any]]:
    """Return the values by column. Columns in which no row has one are left out: to bind None takes as long as to bind
    ten numbers, and a call leaves a dozen fields empty.
    """
    columns: dict[str, Sequence[Any]] = {}
    for name, values in zip(Record.__struct_fields__, zip(*map(astuple, batch), strict=True), strict=True):
        if values[0] is None and values.count(None) == len(values):
            continue
        bound = _BOUND.get(name)
        columns[name] = values if bound is None else [None if value is None else bound(value) for value in values]
    return columns


def _last(connection: Connection, count: int, batch: Sequence[Record]) -> list[Record]:
    """Return those of the batch that are the last ``count`` rows to arrive. Of several with one id it is the first."""
    arrived = select(records.c.id).order_by(records.c.sequence.desc()).limit(count)
    ids = frozenset(connection.scalars(arrived))
    return list({record.id: record for record in reversed(batch) if record.id in ids}.values())


def _conditions(filters: Mapping[str, Any]) -> Sequence[ColumnElement[bool]]:
    conditions = [records.c[name] == filters[name] for name in FILTERS if filters.get(name) is not None]
    if filters.get("since") is not None:
        conditions.append(records.c.created_at >= filters["since"])
    if filters.get("until") is not None:
        conditions.append(records.c.created_at < filters["until"])
    return conditions

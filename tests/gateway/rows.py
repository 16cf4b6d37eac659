"""Audit rows for tests that do not come by them through calls: named by their columns, with little in them."""

from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import Connection

from ailink_gateway.record import FLAGS, Record
from ailink_gateway.store import chains, records

_NOTHING = dict.fromkeys(Record.__struct_fields__) | dict.fromkeys(FLAGS, False)


def record(row: Mapping[str, Any]) -> Record:
    """Return the record with these fields. None is what is not given, and the request's id is the record's."""
    return Record(**{**_NOTHING, "request_id": row["id"], **row})


def insert_records(connection: Connection, rows: Iterable[Mapping[str, Any]]) -> int:
    """Insert rows as the gateway does."""
    return records.insert_records(connection, [record(row) for row in rows])


def insert_chained(connection: Connection, rows: Iterable[Mapping[str, Any]], sign: Any) -> int:
    """Insert rows of chains as the gateway does."""
    return chains.insert_chained(connection, [record(row) for row in rows], sign)

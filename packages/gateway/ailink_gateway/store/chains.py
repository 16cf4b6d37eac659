"""The audit chains as they are stored: rows in the order of their chain, checkpoints, and the removal of old rows.

Proves nothing itself: signatures are made and checked by whoever calls.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, delete, func, select

from ailink_gateway.chain import FIELDS, PRUNED, TAIL, Checkpoint, Kind
from ailink_gateway.record import Record
from ailink_gateway.store.records import insert_records
from ailink_gateway.store.rows import Row
from ailink_gateway.store.tables import checkpoints, record_bodies, records

Sign = Callable[[str, Kind, int, bytes], Checkpoint]

_READ = ("id", "created_at", *(name for name in FIELDS if name not in ("id", "created_at")), "chain_code")
_ROWS = (
    f"SELECT {', '.join(_READ)} FROM records "  # noqa: S608 - no values
    "WHERE chain = ? AND chain_sequence > ? ORDER BY chain_sequence LIMIT ?"
)
_KEEP = (
    "INSERT INTO checkpoints (chain, kind, chain_sequence, chain_code, signature) VALUES (?, ?, ?, ?, ?) "
    "ON CONFLICT (chain, kind) DO UPDATE SET chain_sequence = excluded.chain_sequence, "
    "chain_code = excluded.chain_code, signature = excluded.signature WHERE chain_sequence < excluded.chain_sequence"
)
_JSON = ("shadow_violations", "tags")


def insert_chained(connection: Connection, batch: Sequence[Record], sign: Sign) -> int:
    """Insert rows as ``insert_records`` does, and move the tail checkpoints of their chains, in whose order they are.
    """
    inserted = insert_records(connection, batch)
    last = {record.chain: record for record in batch}
    for chain, record in last.items():
        if chain is not None and record.chain_sequence is not None and record.chain_code is not None:
            code = bytes.fromhex(record.chain_code)
            keep_checkpoint(connection, sign(chain, TAIL, record.chain_sequence, code))
    return inserted


def keep_checkpoint(connection: Connection, checkpoint: Checkpoint) -> None:
    """Put a checkpoint in the place of an earlier one of its chain and kind; a later one stays."""
    connection.exec_driver_sql(_KEEP, checkpoint)


def list_chains(connection: Connection) -> list[str]:
    """Return the names of all chains that have a row or a checkpoint."""
    # A look-up for each chain: to group the rows would be to read all of them.
    found = {name for (name,) in connection.execute(select(checkpoints.c.chain).distinct())}
    name = connection.scalar(select(func.min(records.c.chain)))
    while name is not None:
        found.add(name)
        name = connection.scalar(select(func.min(records.c.chain)).where(records.c.chain > name))
    return list(found)


def find_checkpoints(connection: Connection, chain: str) -> dict[str, Checkpoint]:
    """Return a chain's checkpoints by kind."""
    query = select(checkpoints).where(checkpoints.c.chain == chain)
    return {
        row.kind: Checkpoint(row.chain, row.kind, row.chain_sequence, row.chain_code, row.signature)
        for row in connection.execute(query)
    }


def count_unchained(connection: Connection) -> int:
    """Return how many rows stand in no chain."""
    return connection.scalar(select(func.count()).where(records.c.chain.is_(None))) or 0


def rows_of_chain(connection: Connection, chain: str, after: int, limit: int) -> list[Row]:
    """Return up to ``limit`` rows of a chain after this place, in its order; what cannot be decoded is as stored."""
    found = connection.exec_driver_sql(_ROWS, (chain, after, limit))
    rows = [dict(zip(_READ, values, strict=True)) for values in found]
    for row in rows:
        for name in _JSON:
            if row[name] is not None:
                row[name] = _decoded(row[name])
    return rows


def prune_chain(connection: Connection, checkpoint: Checkpoint, ids: Iterable[str]) -> None:
    """Remove a chain's rows up to a checkpoint of the kind pruned, which is kept; ``ids`` are theirs."""
    keep_checkpoint(connection, checkpoint)
    connection.execute(
        delete(records).where(
            records.c.chain == checkpoint.chain, records.c.chain_sequence <= checkpoint.sequence
        )
    )
    connection.execute(delete(record_bodies).where(record_bodies.c.record_id.in_(list(ids))))


def last_boot(connection: Connection, node: str) -> int:
    """Return the number of the last boot of a node that a checkpoint is of, 0 if there is none."""
    query = select(checkpoints.c.chain).where(
        checkpoints.c.kind == TAIL, checkpoints.c.chain.startswith(f"{node}-", autoescape=True)
    )
    return max((boot_of(chain) for (chain,) in connection.execute(query)), default=0)


def boot_of(chain: str) -> int:
    """Return the boot in a chain's name, 0 if it is no such name."""
    number = chain.rpartition("-")[2]
    return int(number) if number.isdecimal() else 0


def first_kept(found: Mapping[str, Checkpoint]) -> int:
    """Return how many rows of a chain were pruned."""
    return found[PRUNED].sequence if PRUNED in found else 0


def _decoded(text: Any) -> Any:
    try:
        return json.loads(text)
    except (TypeError, ValueError):
        return text

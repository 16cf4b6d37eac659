"""Removes what is kept no longer: audit rows and sessions by the operator's setting, bodies when they expire.

Rows go from the beginning of their chain, each proved before it goes, up to a signed checkpoint from which what is left
can be proved. A chain that is broken is left as it is, for whoever looks into it.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable

from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from ailink_gateway.chain import PRUNED, ChainKey, body_of
from ailink_gateway.store import chains
from ailink_gateway.store.bodies import expire_bodies
from ailink_gateway.store.sessions import prune_sessions
from ailink_gateway.store.store import Store, StoreUnavailable

logger = logging.getLogger("ailink.retention")

BATCH = 250
SWEEP_SECONDS = 600.0
DAY = 86_400.0


class Retention:
    """Sweeps in the background, in batches that hold the store for a moment each.

    Args:
        days: how long rows are kept, in days; None keeps them for good.
    """

    def __init__(self, store: Store, key: ChainKey, days: float | None, now: Callable[[], float]) -> None:
        self._store, self._key, self._days, self._now = store, key, days, now
        self._stop = asyncio.Event()
        self._broken: set[str] = set()

    async def run(self) -> None:
        """Sweep now and then until ``stop``."""
        while not self._stop.is_set():
            try:
                await self.sweep()
            except (StoreUnavailable, SQLAlchemyError) as error:
                logger.warning("old rows were not removed, which is tried again later: %s", type(error).__name__)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stop.wait(), SWEEP_SECONDS)

    def stop(self) -> None:
        """Let ``run`` end after the batch that it is at."""
        self._stop.set()

    async def sweep(self) -> None:
        """Remove everything that is too old now."""
        await self._all(expire_bodies, self._now())
        if self._days is None:
            return
        before = self._now() - self._days * DAY
        for chain in await self._store.read(chains.list_chains):
            await self._all(self._prune, chain, before)
        await self._all(prune_sessions, before)

    async def _all(self, remove: Callable[..., int], *arguments: object) -> None:
        while not self._stop.is_set() and await self._store.write(remove, *arguments, BATCH) == BATCH:
            pass

    def _prune(self, connection: Connection, chain: str, before: float, limit: int) -> int:
        """Remove up to ``limit`` rows from the beginning of a chain, and return how many."""
        found = chains.find_checkpoints(connection, chain)
        start = found.get(PRUNED)
        if not all(map(self._key.proves, found.values())):
            return self._leave(chain, None)
        sequence, code = (start.sequence, start.code) if start is not None else (0, self._key.origin(chain))
        gone: list[str] = []
        for row in chains.rows_of_chain(connection, chain, sequence, limit):
            if row["created_at"] >= before:
                break
            body = body_of(row)
            proved = body is not None and self._key.code(code, body) == row["chain_code"]
            if not proved or row["chain_sequence"] != sequence + 1:
                self._leave(chain, row["id"])
                break
            sequence, code = row["chain_sequence"], row["chain_code"]
            gone.append(row["id"])
        if gone:
            chains.prune_chain(connection, self._key.sign(chain, PRUNED, sequence, code), gone)
        return len(gone)

    def _leave(self, chain: str, record_id: str | None) -> int:
        if chain not in self._broken:
            self._broken.add(chain)
            where = f"at row {record_id}" if record_id else "at a checkpoint"
            logger.error("audit chain %s is broken %s, so it is kept: run `ailink audit verify`", chain, where)
        return 0

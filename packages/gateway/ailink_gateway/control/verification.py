"""Proves the audit chains of a database: names the first row that was altered, is missing or stands in another's place.

Works in steps of bounded size, so that it holds neither a connection nor more than a few rows, however many there are.
Changes nothing.
"""

import asyncio
from collections.abc import Iterator
from typing import NamedTuple

from sqlalchemy import Connection

from ailink_gateway.chain import PRUNED, TAIL, ChainKey, Checkpoint, Node, body_of
from ailink_gateway.store import chains
from ailink_gateway.store.rows import Row
from ailink_gateway.store.store import Store
from ailink_gateway.vault import AUDIT_CHAIN, Vault
from ailink_provider.errors import Failure

STEP = 1000


class Fault(NamedTuple):
    """What is wrong, and where. ``kind`` is altered, missing, moved, unchained or checkpoint."""

    kind: str
    message: str
    chain: str | None = None
    sequence: int | None = None
    record_id: str | None = None


class Verification:
    """One verification, from the first chain to the last. Stops at the first fault.

    Args:
        key: what the chains were made with.
        writer: the last boot of the data directory's node; that many boots must have left a chain.

    ``rows`` is how many were proved, ``chains`` how many chains there are.
    """

    def __init__(self, key: ChainKey, writer: Node | None) -> None:
        self._key, self._writer = key, writer
        self.rows = self.chains = 0
        self._pruned: dict[str, int] = {}
        self.fault: Fault | None = None
        self._left: list[str] | None = None
        self._walk: _Walk | None = None

    @property
    def pruned(self) -> int:
        """How many rows were removed on purpose."""
        return sum(self._pruned.values())

    def step(self, connection: Connection) -> bool:
        """Prove some more rows; return whether there is more to do."""
        if self._left is None:
            self._begin(connection)
        elif self._walk is not None:
            self.fault = self._go_on(connection, self._walk)
        elif self._left:
            self._walk = self._open(connection, self._left.pop())
        return self.fault is None and bool(self._left or self._walk)

    def _begin(self, connection: Connection) -> None:
        names = chains.list_chains(connection)
        self._left = sorted(names, key=lambda name: (name.rpartition("-")[0], chains.boot_of(name)), reverse=True)
        self.chains = len(names)
        self.fault = next(_boots_missing(names, self._writer), None)
        if self.fault is None and (count := chains.count_unchained(connection)):
            self.fault = Fault("unchained", f"{count} rows stand in no chain: the gateway did not write them so.")

    def _open(self, connection: Connection, chain: str) -> "_Walk | None":
        """Check a chain's checkpoints and return where its rows begin."""
        found = chains.find_checkpoints(connection, chain)
        for checkpoint in found.values():
            if not self._key.proves(checkpoint):
                message = f"The {checkpoint.kind} checkpoint of chain {chain} was altered."
                self.fault = Fault("checkpoint", message, chain, checkpoint.sequence)
                return None
        if TAIL not in found:
            self.fault = Fault("checkpoint", f"Chain {chain} has no tail checkpoint: it was removed.", chain)
            return None
        pruned = found.get(PRUNED)
        self._pruned[chain] = pruned.sequence if pruned else 0
        if pruned is not None and pruned.sequence > found[TAIL].sequence:
            self.fault = Fault("checkpoint", f"Chain {chain} has an older tail checkpoint than what was pruned.", chain)
            return None
        if pruned is not None:
            return _Walk(chain, found[TAIL], pruned.sequence, pruned.code)
        return _Walk(chain, found[TAIL], 0, self._key.origin(chain))

    def _go_on(self, connection: Connection, walk: "_Walk") -> Fault | None:
        rows = chains.rows_of_chain(connection, walk.chain, walk.sequence, STEP)
        for row in rows:
            fault = walk.pass_row(self._key, row)
            if fault is not None:
                # A chain may be pruned while it is walked: then its rows begin later than they did.
                found = chains.find_checkpoints(connection, walk.chain)
                if fault.kind == "missing" and chains.first_kept(found) > walk.sequence:
                    self._walk = self._open(connection, walk.chain)
                    return self.fault
                return self._explained(connection, walk, fault)
            self.rows += 1
        if len(rows) == STEP:
            return None
        self._walk = None
        return walk.end()

    def _explained(self, connection: Connection, walk: "_Walk", fault: Fault) -> Fault:
        """Look whether the row that belongs here stands elsewhere in the chain."""
        place = walk.sequence + 1
        for row in _rows(connection, walk.chain, place):
            body = body_of({**row, "chain_sequence": place})
            if body is not None and self._key.code(walk.code, body) == row["chain_code"]:
                message = (
                    f"Row {row['id']} was moved: it belongs at place {place} of chain {walk.chain} and stands at "
                    f"{row['chain_sequence']}."
                )
                return Fault("moved", message, walk.chain, place, row["id"])
        return fault


class _Walk:
    """Where a walk along one chain has come: the place and code of the last row that was proved."""

    def __init__(self, chain: str, tail: Checkpoint, sequence: int, code: bytes) -> None:
        self.chain, self._tail, self.sequence, self.code = chain, tail, sequence, code

    def pass_row(self, key: ChainKey, row: Row) -> Fault | None:
        """Go on by one row, or say what is wrong with it."""
        place = self.sequence + 1
        if row["chain_sequence"] != place:
            return self._missing(place, row["chain_sequence"] - 1)
        body = body_of(row)
        code = None if body is None else key.code(self.code, body)
        if code is None or code != row["chain_code"]:
            message = f"Row {row['id']} was altered; it stands at place {place} of chain {self.chain}."
            return Fault("altered", message, self.chain, place, row["id"])
        if place == self._tail.sequence and code != self._tail.code:
            return Fault("checkpoint", f"The tail checkpoint of chain {self.chain} does not fit its row.", self.chain,
                         place, row["id"])
        self.sequence, self.code = place, code
        return None

    def end(self) -> Fault | None:
        """Say what is wrong with a chain that ends here."""
        return self._missing(self.sequence + 1, self._tail.sequence) if self.sequence < self._tail.sequence else None

    def _missing(self, first: int, last: int) -> Fault:
        which = f"The row at place {first} is" if first == last else f"The rows at places {first} to {last} are"
        return Fault("missing", f"{which} missing from chain {self.chain}.", self.chain, first)


def _rows(connection: Connection, chain: str, after: int) -> Iterator[Row]:
    while rows := chains.rows_of_chain(connection, chain, after, STEP):
        yield from rows
        after = rows[-1]["chain_sequence"]


def _boots_missing(names: list[str], writer: Node | None) -> Iterator[Fault]:
    """Yield a fault for every boot of a node that left nothing behind."""
    boots: dict[str, set[int]] = {}
    for name in names:
        boots.setdefault(name.rpartition("-")[0], set()).add(chains.boot_of(name))
    if writer is not None:
        boots.setdefault(writer.name, set()).add(0)
    for node, found in boots.items():
        last = max(*found, writer.boot if writer is not None and writer.name == node else 0)
        for boot in range(1, last + 1):
            if boot not in found:
                chain = Node(node, boot).chain
                yield Fault("missing", f"Chain {chain} is missing, with all of its rows and its checkpoint.", chain)


class Auditor:
    """Proves the audit of a running gateway, once at a time.

    Args:
        vault: unlocked before the first proof.
        writer: the boot that writes now.
    """

    def __init__(self, vault: Vault, writer: Node | None) -> None:
        self._vault, self._writer = vault, writer
        self._running = asyncio.Lock()

    async def verify(self, store: Store) -> Verification:
        """Return a finished verification. Raises ``Failure`` (``rate_limit_exceeded``) while another one runs."""
        if self._running.locked():
            raise Failure("rate_limit_exceeded", "The audit is being verified already: wait for that.", retry_after=10)
        async with self._running:
            verification = Verification(ChainKey(self._vault.derive(AUDIT_CHAIN)), self._writer)
            while await store.read(verification.step):
                pass
            return verification

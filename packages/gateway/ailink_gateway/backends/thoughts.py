"""Turns of models in this process's memory, each found by its owner and the id of a tool call. Nothing is written down.

Bounded in turns, bytes and time: the turn that was not asked for longest goes first. What is lost is only lost to
clients that do not send their model's thoughts back.
"""

import sys
from collections import OrderedDict
from collections.abc import Callable
from time import monotonic

from msgspec import Struct

from ailink_gateway.thoughts import Called, Turn
from ailink_provider.chat import Thinking

TURNS = 50_000
TOTAL_BYTES = 64 * 1024 * 1024
TURN_BYTES = 1024 * 1024
IDLE_SECONDS = 24 * 3600.0
_OVERHEAD = 400  # bytes of the objects around a piece and its place in the indices


class _Entry(Struct, eq=False, gc=False):
    tenant: str
    turn: Turn
    size: int
    used_at: float


class MemoryThoughts:
    """Turns by (tenant, tool call).

    Args:
        turns, total_bytes: how many are kept, and how many bytes of them.
        turn_bytes: a larger turn is not kept.
        idle_seconds: how long one is kept that is not asked for.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        *,
        turns: int = TURNS,
        total_bytes: int = TOTAL_BYTES,
        turn_bytes: int = TURN_BYTES,
        idle_seconds: float = IDLE_SECONDS,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._turns, self._total_bytes, self._turn_bytes = turns, total_bytes, turn_bytes
        self._idle_seconds, self._clock = idle_seconds, clock
        self._by_call: dict[tuple[str, str], _Entry] = {}
        self._by_use: OrderedDict[_Entry, None] = OrderedDict()  # longest unused first
        self._size = 0

    def keep(self, tenant: str, turn: Turn) -> None:
        """Keep a turn of this tenant. A call that is known already is its newest turn's from now on."""
        for call in turn.calls:
            if (known := self._by_call.get((tenant, call))) is not None:
                self._drop(known)
        size = sum(map(_size, turn.pieces))
        if size > self._turn_bytes:
            return
        now = self._clock()
        entry = _Entry(tenant, turn, size, now)
        for call in turn.calls:
            self._by_call[tenant, call] = entry
        self._by_use[entry] = None
        self._size += size
        self._shrink(now)

    def find(self, tenant: str, call_id: str) -> Turn | None:
        """Return the turn of this tenant that made a tool call."""
        entry = self._by_call.get((tenant, call_id))
        if entry is None:
            return None
        now = self._clock()
        if entry.used_at < now - self._idle_seconds:
            self._drop(entry)
            return None
        entry.used_at = now
        self._by_use.move_to_end(entry)
        return entry.turn

    def _shrink(self, now: float) -> None:
        while self._by_use:
            oldest = next(iter(self._by_use))
            kept = len(self._by_use) <= self._turns and self._size <= self._total_bytes
            if kept and oldest.used_at >= now - self._idle_seconds:
                return
            self._drop(oldest)

    def _drop(self, entry: _Entry) -> None:
        del self._by_use[entry]
        self._size -= entry.size
        for call in entry.turn.calls:
            if self._by_call.get((entry.tenant, call)) is entry:
                del self._by_call[entry.tenant, call]


def _size(piece: object) -> int:
    if isinstance(piece, Thinking):
        texts: tuple[str | None, ...] = (piece.text, piece.signature, piece.redacted)
    elif isinstance(piece, Called):
        texts = (piece.id, piece.signature)
    else:
        return _OVERHEAD
    return _OVERHEAD + sum(sys.getsizeof(text) for text in texts if text is not None)

"""Canonical parts, written as blocks that follow one another. Knows no wire: what a block looks like is told by each.

Parts may be open side by side, while clients of some wires take the blocks of a stream one after the other: what
belongs to a part that is not the open one waits, but text gives way, since text can go on in a block of its own.
"""

from abc import ABC, abstractmethod
from typing import Any

from msgspec import Struct, field

from ailink_provider.chat import Finish, Part, PartDelta, PartEnd, PartStart, Refusal, Text, Thinking, ToolCall


class Track(Struct):
    """A part: what it is, what waits to be written of it, citations that wait for the text they are about, whether
    writing has begun, whether arguments were written, whether it has ended."""

    part: Part
    waiting: list[PartDelta] = field(default_factory=list)
    citations: list[dict[str, Any]] = field(default_factory=list)
    started: bool = False
    filled: bool = False
    ended: bool = False

    @property
    def yields(self) -> bool:
        """Whether its block may be closed before its end: not a call's, nor a thought's that is yet to be signed."""
        part = self.part
        return isinstance(part, Text | Refusal) or (isinstance(part, Thinking) and part.signed_by is None)


class BlockWriter(ABC):
    """What the writers of such streams have in common. ``_blocks`` counts the blocks that are closed; ``_in_block``
    is set by the wire when it begins one. Once ``_finish`` is known nothing more begins."""

    def __init__(self) -> None:
        self._tracks: dict[int, Track] = {}
        self._open: int | None = None
        self._blocks = 0
        self._in_block = False
        self._finish: Finish | None = None

    @abstractmethod
    def _opening(self, track: Track) -> bytes:
        """Write what is known of a part from its start."""

    @abstractmethod
    def _content(self, track: Track, event: PartDelta) -> bytes:
        """Write a delta of the open part."""

    @abstractmethod
    def _stop(self) -> bytes:
        """Write the end of the open block."""

    def _start(self, event: PartStart) -> bytes:
        if self._finish is not None:
            return b""
        self._tracks[event.index] = Track(event.part)
        return self._give_way() + self._resume()

    def _delta(self, event: PartDelta) -> bytes:
        track = self._tracks.get(event.index)
        if track is None or self._finish is not None:
            return b""
        if self._open == event.index:
            return self._content(track, event)
        track.waiting.append(event)
        return self._give_way() + self._resume()

    def _end(self, event: PartEnd) -> bytes:
        track = self._tracks.get(event.index)
        if track is None:
            return b""
        track.ended = True
        return self._close() + self._resume() if self._open == event.index else b""

    def _end_all(self) -> bytes:
        """Write all that waits: nothing more will come."""
        written = self._close()
        for track in self._tracks.values():
            track.ended = True
        return written + self._resume()

    def _give_way(self) -> bytes:
        """Close the open block if it is one that can go on later in another."""
        if self._open is not None and self._tracks[self._open].yields:
            return self._close()
        return b""

    def _resume(self) -> bytes:
        """Write what waits, part by part, until one is found that has not ended: that one stays open."""
        written = b""
        for index, track in self._tracks.items():
            if self._open is None and (track.waiting or not track.started):
                written += self._enter(index, track)
                written += self._close() if track.ended else b""
        return written

    def _enter(self, index: int, track: Track) -> bytes:
        """Make a part the open one and write what is known of it."""
        self._open = index
        first, track.started = not track.started, True
        waiting, track.waiting = track.waiting, []
        written = self._opening(track) if first else b""
        return written + b"".join([self._content(track, event) for event in waiting])

    def _close(self) -> bytes:
        """Close the open part's block."""
        if self._open is None:
            return b""
        track = self._tracks[self._open]
        self._open = None
        if not self._in_block:
            return b""
        # A call without arguments is a call with none, not with unreadable ones.
        empty = isinstance(track.part, ToolCall) and not track.filled
        written = (self._content(track, PartDelta(0, "{}")) if empty else b"") + self._stop()
        self._in_block = False
        self._blocks += 1
        return written

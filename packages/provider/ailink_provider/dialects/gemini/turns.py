"""The parts of one answer, which Gemini chops as it likes, made into canonical events.

Neighbouring pieces of text, or of a thought, are one part; a signature belongs to the very piece that it came with, so
a signed text is never joined with another. Whole replies, streams and the model's turns in a history are all read
this way, and so agree. Nothing here reads a body.
"""

from collections.abc import Iterable
from typing import Any

from ailink_provider.chat import Collector, Event, Part, PartDelta, PartEnd, PartStart, Text, Thinking, ToolCall
from ailink_provider.dialects.gemini.citations import annotations_of
from ailink_provider.dialects.gemini.names import call_id
from ailink_provider.dialects.gemini.parts import Piece
from ailink_provider.dialects.gemini.signatures import mark, unseal


class Turn:
    """One choice as it grows. ``seed`` makes the ids of calls that came without one: the same for the same answer."""

    def __init__(self, choice: int, seed: str) -> None:
        self.called = False
        self._choice = choice
        self._seed = seed
        self._next = 0
        self._open: type[Part] | None = None
        self._text: int | None = None
        self._notes: dict[str, Any] = {}

    @property
    def last(self) -> int:
        """The index of the newest part, 0 before there is one."""
        return max(self._next - 1, 0)

    def note(self, notes: dict[str, Any]) -> None:
        """Keep what was said about the text (sources, citations); it is told at the end, of the last text."""
        self._notes.update(notes)

    def add(self, piece: Piece) -> list[Event]:
        """Return the events of one more piece."""
        part, signature = piece
        if isinstance(part, Text) and signature is None:
            return self._grow(part)
        if isinstance(part, Thinking):
            events = self._grow(part)
            return events + self._close() if part.signature is not None else events
        events = self._close()
        if signature is not None:
            events += self._whole(mark(signature))
        if isinstance(part, Text):
            return events + (self._begin(part) + self._close() if part.text else [])
        if isinstance(part, ToolCall):
            self.called = True
            part.id = part.id or call_id(self._seed, self._choice, self._next)
        return events + self._whole(part)

    def end(self) -> list[Event]:
        """Return the events that end the choice."""
        notes: list[Event] = []
        if self._text is not None:
            notes += [
                PartDelta(self._text, annotation=annotation, choice=self._choice)
                for annotation in annotations_of(self._notes)
            ]
        return notes + self._close()

    def _close(self) -> list[Event]:
        """Return the event that ends the part that is open, if one is."""
        if self._open is None:
            return []
        self._open = None
        return [PartEnd(self.last, self._choice)]

    def _grow(self, part: Text | Thinking) -> list[Event]:
        signature = part.signature if isinstance(part, Thinking) else None
        if not part.text and signature is None:
            return []
        if self._open is not type(part):
            return self._close() + self._begin(part)
        return [PartDelta(self.last, part.text, signature=signature, choice=self._choice)]

    def _begin(self, part: Part) -> list[Event]:
        self._open = type(part)
        self._next += 1
        if isinstance(part, Text):
            self._text = self.last
        return [PartStart(self.last, part, self._choice)]

    def _whole(self, part: Part) -> list[Event]:
        return [*self._begin(part), *self._close()]


def join_pieces(pieces: Iterable[Piece], seed: str) -> list[Part]:
    """Return the parts of a turn that a client sends back, joined again and with foreign signatures unsealed."""
    turn = Turn(0, seed)
    collector = Collector()
    for piece in pieces:
        for event in turn.add(piece):
            collector.feed(event)
    for event in turn.end():
        collector.feed(event)
    parts = [part for choice in collector.reply.choices for part in choice.parts]
    for part in parts:
        unseal(part)
    return parts

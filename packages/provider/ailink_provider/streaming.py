"""Streams of a reply: from what a handler yields to canonical events, and from events to plain text.

Nothing is buffered: each piece becomes events as it comes. Whoever iterates closes what is iterated.
"""

from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator
from contextlib import asynccontextmanager
from typing import TypeAlias, TypeVar, get_args

from msgspec.structs import replace

from ailink_provider.chat import (
    Event,
    Finish,
    MessageDelta,
    MessageEnd,
    MessageError,
    MessageStart,
    PartDelta,
    PartEnd,
    PartStart,
    Text,
    ToolCall,
)
from ailink_provider.errors import Failure

Piece: TypeAlias = str | Event
T = TypeVar("T")
_EVENTS: tuple[type, ...] = get_args(Event)


async def as_events(pieces: AsyncIterable[Piece], model: str) -> AsyncGenerator[Event, None]:
    """Yield the events of a reply of ``model`` for the texts, or the events, that a handler yields.

    What a handler leaves out is filled in: the start, the text's part, the finish, the end. Texts may be mixed with
    events of the message (``MessageDelta`` brings usage), not with events of parts. Raises the failure of a
    ``MessageError``, and ``Failure`` (``internal_error``) for a piece that is neither text nor event.
    """
    filler = _Filler(model)
    async with closing(pieces) as source:
        async for piece in source:
            if isinstance(piece, MessageEnd):
                break
            for event in filler.feed(piece):
                yield event
    for event in filler.close():
        yield event


async def text_of(events: AsyncIterable[Event]) -> AsyncGenerator[str, None]:
    """Yield the text of a reply's first choice as it comes. Raises the failure of a reply that breaks."""
    said: set[int] = set()
    async with closing(events) as source:
        async for event in source:
            if isinstance(event, MessageError):
                raise event.failure
            if isinstance(event, PartStart) and isinstance(event.part, Text) and event.choice == 0:
                said.add(event.index)
                if event.part.text:
                    yield event.part.text
            elif isinstance(event, PartDelta) and event.choice == 0 and event.index in said and event.text:
                yield event.text


@asynccontextmanager
async def closing(source: AsyncIterable[T]) -> AsyncIterator[AsyncIterable[T]]:
    """Close ``source`` at the end if it can be closed, as generators can: what it holds is let go at once."""
    try:
        yield source
    finally:
        close = getattr(source, "aclose", None)
        if close is not None:
            await close()


class _Filler:
    """Fills in the events that a handler left out."""

    def __init__(self, model: str) -> None:
        self._model = model
        self._started = False
        self._texts = False
        self._parts = False
        self._finish: Finish | None = Finish("stop")

    def feed(self, piece: Piece) -> list[Event]:
        """Return the events that ``piece`` becomes."""
        if isinstance(piece, MessageError):
            raise piece.failure
        opening = self._open(piece)
        if isinstance(piece, MessageStart) and not piece.model:
            piece = replace(piece, model=self._model)
        if isinstance(piece, str):
            return [*opening, *self._say(piece)]
        if not isinstance(piece, _EVENTS):
            raise _misuse(f"yielded {type(piece).__name__}")
        if isinstance(piece, PartStart):
            self._parts = True
            self._check()
            if isinstance(piece.part, ToolCall) and self._finish is not None:
                self._finish = Finish("tool_calls")
        elif isinstance(piece, MessageDelta) and piece.finish is not None:
            self._finish = None
        return [*opening, piece]

    def close(self) -> list[Event]:
        """Return the events that end the reply."""
        events = self._open(None)
        if self._texts:
            events.append(PartEnd(0))
        if self._finish is not None:
            events.append(MessageDelta(self._finish))
        return [*events, MessageEnd()]

    def _open(self, piece: Piece | None) -> list[Event]:
        missing = not self._started and not isinstance(piece, MessageStart)
        self._started = True
        return [MessageStart(model=self._model)] if missing else []

    def _say(self, text: str) -> list[Event]:
        events: list[Event] = [] if self._texts else [PartStart(0, Text(""))]
        self._texts = True
        self._check()
        return [*events, PartDelta(0, text)] if text else events

    def _check(self) -> None:
        if self._texts and self._parts:
            raise _misuse("yielded texts as well as parts")


def _misuse(what: str) -> Failure:
    return Failure("internal_error", f"A stream function {what}: it must yield texts, or canonical events.")

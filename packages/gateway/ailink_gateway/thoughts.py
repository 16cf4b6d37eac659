"""What a model thought before it called tools: noted when it replies, put back when its turn comes again without it.

Some models refuse a history in which their signed thoughts are missing, and clients of some wire formats cannot send
them back. Pure functions and one small state machine: where turns are kept, and for whom, is not known here. Thoughts
go back to where they came from alone; what no such model can use is left to the dialects, which drop it.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from typing import NamedTuple, TypeAlias

from msgspec import Struct
from msgspec.structs import replace

from ailink_provider.chat import Chat, Event, Message, MessageEnd, Part, PartDelta, PartStart, Reply, Thinking, ToolCall


class Said(Struct, frozen=True):
    """Something that the client has and sends back: it only holds a place in the order of the turn."""


class Called(Struct, frozen=True):
    """A tool call that the client sends back; its signature may be missing then."""

    id: str
    signature: str | None = None


Piece: TypeAlias = Thinking | Called | Said
_SAID = Said()


class Turn(Struct, frozen=True):
    """A turn of a model that called tools, as far as a client may lose it. ``pieces`` are in the model's order; each
    thought among them carries its proof. ``dialect`` and ``model`` are those that were asked.
    """

    dialect: str
    model: str
    pieces: tuple[Piece, ...]

    @property
    def calls(self) -> list[str]:
        """The ids of its tool calls, by which it is found again."""
        return [piece.id for piece in self.pieces if isinstance(piece, Called)]


Find: TypeAlias = Callable[[str], Turn | None]


# --- out: what a reply brings --------------------------------------------------------------------


class Notes:
    """Takes notes of a stream of events. Texts are not kept, nor the arguments of calls."""

    def __init__(self, dialect: str, model: str) -> None:
        self._dialect, self._model = dialect, model
        self._parts: dict[int, dict[int, Part]] = {}
        self._texts: dict[tuple[int, int], list[str]] = {}

    def feed(self, event: Event) -> list[Turn]:
        """Take one event; return the turns worth keeping, which the last event of a whole reply brings."""
        if isinstance(event, PartDelta):
            self._delta(event)
        elif isinstance(event, PartStart):
            self._start(event)
        elif isinstance(event, MessageEnd):
            return self._turns()
        return []

    def _start(self, event: PartStart) -> None:
        part = event.part
        if isinstance(part, Thinking):
            self._texts[event.choice, event.index] = [part.text]
            part = Thinking("", part.signature, part.redacted, part.signed_by)
        elif isinstance(part, ToolCall):
            part = ToolCall(part.id, part.name, signature=part.signature, signed_by=part.signed_by)
        self._parts.setdefault(event.choice, {})[event.index] = part

    def _delta(self, event: PartDelta) -> None:
        if event.text and (texts := self._texts.get((event.choice, event.index))) is not None:
            texts.append(event.text)
        if event.signature is not None:
            part = self._parts.get(event.choice, {}).get(event.index)
            if isinstance(part, Thinking | ToolCall):
                part.signature = event.signature

    def _turns(self) -> list[Turn]:
        for (choice, index), texts in self._texts.items():
            thought = self._parts[choice][index]
            assert isinstance(thought, Thinking)
            thought.text = "".join(texts)
        choices = [[part for _, part in sorted(parts.items())] for parts in self._parts.values()]
        return [turn for parts in choices if (turn := turn_of(parts, self._dialect, self._model)) is not None]


def turns_of(reply: Reply, dialect: str, model: str) -> list[Turn]:
    """Return the turns of a whole reply that are worth keeping: of each choice that called tools, signed."""
    turns = (turn_of(choice.parts, dialect, model) for choice in reply.choices)
    return [turn for turn in turns if turn is not None]


def turn_of(parts: Sequence[Part], dialect: str, model: str) -> Turn | None:
    """Return what is to be kept of a turn, None if it calls no tool or has no proof that ``dialect`` can use."""
    if not any(isinstance(part, ToolCall) for part in parts):
        return None
    pieces = tuple(_pieces(parts, dialect))
    if not any(isinstance(piece, Thinking) or (isinstance(piece, Called) and piece.signature) for piece in pieces):
        return None
    return Turn(dialect, model, pieces)


def _pieces(parts: Sequence[Part], dialect: str) -> Iterator[Piece]:
    for part in parts:
        if isinstance(part, ToolCall):
            yield Called(part.id, part.signature if part.signed_by == dialect else None)
        elif not isinstance(part, Thinking):
            yield _SAID
        elif _is_proven(part, dialect):
            yield part


def _is_proven(part: Part, dialect: str) -> bool:
    return isinstance(part, Thinking) and part.signed_by == dialect and bool(part.signature or part.redacted)


# --- in: what a history lacks --------------------------------------------------------------------


class _Placed(NamedTuple):
    """A part and the message that it stands in."""

    message: Message
    part: Part


def restore(chat: Chat, dialect: str, find: Find) -> None:
    """Put back, in place, what the model's turns in ``chat`` lack. What the client has sent back itself stays as it is.

    ``find`` returns the turn that made a call, if it is one whose thoughts the model that is asked now can use.
    """
    for role, run in groupby(chat.messages, key=lambda message: message.role):
        if role == "assistant":
            _restore(list(run), dialect, find)


def _restore(messages: list[Message], dialect: str, find: Find) -> None:
    """Restore one turn, which a client may have cut into several messages."""
    turns: list[Turn] = []
    for message in messages:
        for part in message.parts:
            if isinstance(part, ToolCall) and (turn := find(part.id)) is not None:
                _sign(part, turn)
                if not any(turn is known for known in turns):
                    turns.append(turn)
    pieces = [piece for turn in turns for piece in turn.pieces]
    if not any(isinstance(piece, Thinking) for piece in pieces):
        return
    if any(_is_proven(part, dialect) for message in messages for part in message.parts):
        return
    woven = _weave(pieces, [_Placed(message, part) for message in messages for part in message.parts])
    for message in messages:
        message.parts = [placed.part for placed in woven if placed.message is message]


def _sign(call: ToolCall, turn: Turn) -> None:
    if call.signature is None:
        kept = next(piece for piece in turn.pieces if isinstance(piece, Called) and piece.id == call.id)
        call.signature, call.signed_by = kept.signature, turn.dialect if kept.signature else None


def _weave(pieces: list[Piece], sent: list[_Placed]) -> list[_Placed]:
    """Return what the client sent with the thoughts among it, each in front of what it once stood before.

    Thoughts that the client sent go: they have lost their proof, or are their text once more.
    """
    rest = [placed for placed in sent if not isinstance(placed.part, Thinking)]
    woven: list[_Placed] = []
    waiting: list[Thinking] = []

    def take(count: int) -> None:
        for placed in rest[:count]:
            woven.extend(_Placed(placed.message, thought) for thought in waiting)
            waiting.clear()
            woven.append(placed)
        del rest[:count]

    for piece in pieces:
        if isinstance(piece, Thinking):
            waiting.append(replace(piece))
        elif isinstance(piece, Called):
            take(next((index for index, placed in enumerate(rest, 1) if _is_call(placed.part, piece.id)), 0))
        elif rest and not isinstance(rest[0].part, ToolCall):
            take(1)
    take(len(rest))
    return woven


def _is_call(part: Part, call_id: str) -> bool:
    return isinstance(part, ToolCall) and part.id == call_id

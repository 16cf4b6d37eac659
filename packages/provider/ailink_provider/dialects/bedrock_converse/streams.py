"""The service's stream, read into canonical events. Writes nothing; the other direction is in ``stream_writer``.

Source: `ConverseStreamOutput` of the Amazon Bedrock Runtime API. Only calls announce their block; a text or a thought
begins with its first words. The last event is ``metadata``, behind ``messageStop``. Events that nobody knows are passed
over.
"""

from base64 import b64decode, b64encode
from collections.abc import Callable
from typing import Any

import msgspec
from msgspec import Struct, field

from ailink_provider.chat import (
    Event,
    MessageDelta,
    MessageEnd,
    MessageError,
    MessageStart,
    Native,
    Part,
    PartDelta,
    PartEnd,
    PartStart,
    Text,
    Thinking,
    ToolCall,
)
from ailink_provider.dialects import Sent
from ailink_provider.dialects.arguments import free_text
from ailink_provider.dialects.bedrock_converse.citations import read_citation
from ailink_provider.dialects.bedrock_converse.errors import failure_in
from ailink_provider.dialects.bedrock_converse.eventstream import Frame, Frames
from ailink_provider.dialects.bedrock_converse.parts import IN_MESSAGES
from ailink_provider.dialects.bedrock_converse.replies import Closing, unreadable
from ailink_provider.dialects.bedrock_converse.words import NAME
from ailink_provider.errors import Failure

CUT_SHORT = "The upstream's stream ended before its message did."


class _ToolUse(Struct, rename="camel"):
    tool_use_id: str = ""
    name: str = ""
    type: str | None = None


class _Start(Struct, rename="camel"):
    tool_use: _ToolUse | None = None
    tool_result: dict[str, Any] | None = None
    image: dict[str, Any] | None = None


class _Input(Struct):
    input: str = ""


class _Reasoning(Struct, rename="camel"):
    text: str = ""
    signature: str | None = None
    redacted_content: str | None = None


class _Delta(Struct, rename="camel"):
    text: str | None = None
    tool_use: _Input | None = None
    reasoning_content: _Reasoning | None = None
    citation: dict[str, Any] | None = None
    tool_result: list[dict[str, Any]] | None = None
    image: dict[str, Any] | None = None


class _Event(Closing, rename="camel"):
    content_block_index: int = 0
    start: _Start | None = None
    delta: _Delta | None = None


class _Open(Struct):
    """A block that has begun. ``pieces`` wait where the part can only be said as a whole: as the ``kind`` of block
    that they make, or as the free text of a call."""

    index: int
    part: Part
    kind: str | None = None
    pieces: list[Any] = field(default_factory=list)


class _Words(Struct, forbid_unknown_fields=True, gc=False):
    text: str


class _Ordinary(Struct, rename="camel", gc=False):
    """What nearly every event of a stream is: more of a text."""

    content_block_index: int
    delta: _Words


_ordinary = msgspec.json.Decoder(_Ordinary).decode
_DECODER = msgspec.json.Decoder(_Event)
_FREE = "free text"


class Reader:
    """Reads one stream."""

    def __init__(self, sent: Sent) -> None:
        self._sent = sent
        self._frames = Frames()
        self._blocks: dict[int, _Open] = {}
        self._closing: _Event | None = None
        self._begun = False
        self._parts = 0
        self._called = False
        self._done = False

    def feed(self, chunk: bytes) -> list[Event]:
        """Return the events that these bytes complete."""
        events: list[Event] = []
        if self._done:
            return events
        try:
            for frame in self._frames.feed(chunk):
                self._read(frame, events)
        except Failure as failure:
            events.append(self._fail(failure))
        return events

    def close(self) -> list[Event]:
        """Return the last events; a stream that did not come to its end is an error."""
        if self._done:
            return []
        if self._closing is None:
            return [self._fail(Failure("upstream_failed", CUT_SHORT))]
        events: list[Event] = []
        try:
            self._end(_Event(), events)
        except Failure as failure:
            events.append(self._fail(failure))
        return events

    def _fail(self, failure: Failure) -> MessageError:
        self._done = True
        return MessageError(failure)

    def _read(self, frame: Frame, events: list[Event]) -> None:
        if self._more(frame, events):
            return
        kind, name = frame.word(":message-type"), frame.word(":event-type")
        if kind in ("exception", "error"):
            raise failure_in(frame)
        handler = _HANDLERS.get(name)
        if self._done or handler is None or (self._closing is not None and name != "metadata"):
            return
        try:
            event = _DECODER.decode(frame.payload)
        except (ValueError, RecursionError) as error:
            raise unreadable(f"{error}.") from None
        if not self._begun:
            self._begun = True
            events.append(MessageStart())
        handler(self, event, events)

    def _more(self, frame: Frame, events: list[Event]) -> bool:
        """Take an event that brings more of a text; return whether it is one."""
        headers = frame.headers
        if headers.get(":event-type") != "contentBlockDelta" or headers.get(":message-type") != "event":
            return False
        if self._done or self._closing is not None:
            return False
        try:
            more = _ordinary(frame.payload)
        except (ValueError, RecursionError):
            return False  # another event: a closer look follows
        block = self._blocks.get(more.content_block_index)
        if block is None or block.kind is not None or type(block.part) is not Text:
            return False
        events.append(PartDelta(block.index, more.delta.text))
        return True

    # --- events ----------------------------------------------------------------------------------

    def _block_start(self, event: _Event, events: list[Event]) -> None:
        start = event.start or _Start()
        call = start.tool_use
        if start.image is not None:
            self._open(event, Native(NAME, start.image), events, "image")
        elif start.tool_result is not None:
            self._open(event, Native(NAME, start.tool_result), events, "toolResult")
        elif call is not None and call.type is not None:
            called = {"toolUseId": call.tool_use_id, "name": call.name, "type": call.type}
            self._open(event, Native(NAME, called), events, "toolUse")
        elif call is not None and call.name == self._sent.schema_tool:
            self._open(event, Text(""), events)
        elif call is not None:
            self._called = True
            name, custom = self._sent.names.get(call.name, call.name), call.name in self._sent.custom
            self._open(event, ToolCall(call.tool_use_id, name, custom=custom), events, _FREE if custom else None)

    def _block_delta(self, event: _Event, events: list[Event]) -> None:
        delta = event.delta or _Delta()
        thought = delta.reasoning_content
        if delta.tool_use is not None:
            self._input(event, delta.tool_use.input, events)
        elif thought is not None and thought.redacted_content is not None:
            self._piece(event, Thinking(), "redactedContent", thought.redacted_content, events)
        elif thought is not None:
            block = self._ensure(event, Thinking(signed_by=NAME), events)
            events.append(PartDelta(block.index, thought.text, signature=thought.signature or None))
        elif delta.tool_result is not None:
            self._piece(event, Native(NAME, {}), "toolResult", delta.tool_result, events)
        elif delta.image is not None:
            self._piece(event, Native(NAME, {}), "image", delta.image, events)
        elif delta.text is not None or delta.citation is not None:
            block = self._ensure(event, Text(""), events)
            note = read_citation(delta.citation) if delta.citation is not None else None
            events.append(PartDelta(block.index, delta.text or "", annotation=note))

    def _block_stop(self, event: _Event, events: list[Event]) -> None:
        block = self._blocks.pop(event.content_block_index, None)
        if block is None:
            return
        if block.kind == _FREE:
            events.append(PartDelta(block.index, free_text("".join(block.pieces))))
        elif block.kind is not None:
            events.append(PartStart(block.index, _whole(block)))
        events.append(PartEnd(block.index))

    def _message_stop(self, event: _Event, events: list[Event]) -> None:
        # How it ended is told once the trace is known that may explain it.
        self._closing = event
        for index in list(self._blocks):
            self._block_stop(_Event(content_block_index=index), events)

    def _end(self, event: _Event, events: list[Event]) -> None:
        closing = self._closing
        if closing is None:
            raise Failure("upstream_failed", CUT_SHORT)
        self._done = True
        closing.trace = event.trace
        usage = event.usage.canonical() if event.usage is not None else None
        events.append(MessageDelta(closing.finish(self._sent, self._called), usage, service_tier=event.tier()))
        events.append(MessageEnd())

    def _message_start(self, event: _Event, events: list[Event]) -> None:
        """The start of the message is told with whatever event comes first."""

    # --- blocks ----------------------------------------------------------------------------------

    def _open(self, event: _Event, part: Part, events: list[Event], kind: str | None = None) -> _Open:
        """Begin a block; another one under the same number ends."""
        self._block_stop(event, events)
        block = self._blocks[event.content_block_index] = _Open(self._parts, part, kind)
        self._parts += 1
        if kind in (None, _FREE):
            events.append(PartStart(block.index, part))
        return block

    def _ensure(self, event: _Event, part: Part, events: list[Event]) -> _Open:
        """Return the open block for words like ``part``'s."""
        block = self._blocks.get(event.content_block_index)
        if block is not None and block.kind is None and type(block.part) is type(part):
            return block
        return self._open(event, part, events)

    def _piece(self, event: _Event, part: Part, kind: str, piece: Any, events: list[Event]) -> None:
        block = self._blocks.get(event.content_block_index)
        if block is None or block.kind != kind:
            block = self._open(event, part, events, kind)
        block.pieces.append(piece)

    def _input(self, event: _Event, text: str, events: list[Event]) -> None:
        block = self._blocks.get(event.content_block_index)
        if block is None:
            raise unreadable(f"it goes on with a call in block {event.content_block_index}, which it never began.")
        if block.kind is not None:
            block.pieces.append(text)
        elif text:
            events.append(PartDelta(block.index, text))


_HANDLERS: dict[str, Callable[[Reader, _Event, list[Event]], None]] = {
    "messageStart": Reader._message_start,
    "contentBlockStart": Reader._block_start,
    "contentBlockDelta": Reader._block_delta,
    "contentBlockStop": Reader._block_stop,
    "messageStop": Reader._message_stop,
    "metadata": Reader._end,
}


def _whole(block: _Open) -> Part:
    """Return the part that the pieces of a block make together."""
    if isinstance(block.part, Thinking):
        return Thinking(redacted=_joined(block.pieces), signed_by=NAME)
    value: dict[str, Any] = block.part.value if isinstance(block.part, Native) else {}
    if block.kind == "image":
        for piece in block.pieces:
            value = value | piece
        source = value.get("source")
        chunks = [piece["source"].get("bytes") for piece in block.pieces if isinstance(piece.get("source"), dict)]
        if isinstance(source, dict) and all(isinstance(chunk, str) for chunk in chunks) and chunks:
            value = value | {"source": {"bytes": _joined(chunks)}}
        try:
            return IN_MESSAGES["image"](value, "content")
        except Failure:
            return Native(NAME, {"image": value})
    if block.kind == "toolUse":
        return Native(NAME, {"toolUse": value | {"input": _decoded("".join(map(str, block.pieces)))}})
    content = [item for piece in block.pieces if isinstance(piece, list) for item in piece]
    return Native(NAME, {"toolResult": value | {"content": content}})


def _joined(chunks: list[str]) -> str:
    """Return base64 of the bytes that several pieces of base64 are."""
    if len(chunks) == 1:
        return chunks[0]
    try:
        return b64encode(b"".join(b64decode(chunk, validate=True) for chunk in chunks)).decode()
    except ValueError:
        raise unreadable("its bytes are no base64.") from None


def _decoded(text: str) -> Any:
    try:
        return msgspec.json.decode(text) if text.strip() else {}
    except (ValueError, RecursionError):
        raise unreadable("it called a tool of the service's own with what is not JSON.") from None

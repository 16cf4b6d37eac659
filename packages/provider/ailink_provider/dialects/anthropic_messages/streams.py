"""The vendor's stream, read into canonical events. Writes nothing; the other direction is in ``stream_writer``.

Source: the streaming guide. Events are known by the ``type`` in their data, so a missing ``event:`` line does no harm;
pings and types that nobody knows are passed over.
"""

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
    ToolCall,
)
from ailink_provider.dialects import Sent
from ailink_provider.dialects.anthropic_messages.errors import failure_of
from ailink_provider.dialects.anthropic_messages.replies import Ending, WireMessage, read_block
from ailink_provider.dialects.anthropic_messages.usage import WireUsage
from ailink_provider.dialects.arguments import free_text
from ailink_provider.dialects.halves import decode
from ailink_provider.errors import Failure
from ailink_provider.sse import Frame, Frames

CUT_SHORT = "The upstream's stream ended before its message did."
_HEADLESS = "The upstream's stream does not begin with the start of a message."
_RESTARTED = "The upstream began another message in the middle of its answer."


class _Delta(Struct):

    type: str = ""
    text: str = ""
    thinking: str = ""
    partial_json: str = ""
    signature: str | None = None
    citation: dict[str, Any] | None = None


class _Frame(Struct):
    type: str = ""
    index: int = 0
    message: WireMessage | None = None
    content_block: dict[str, Any] | None = None
    delta: dict[str, Any] | None = None
    usage: WireUsage | None = None
    error: Any = None


class _TextDelta(Struct, tag="text_delta", forbid_unknown_fields=True, gc=False):
    text: str


class _ThinkingDelta(Struct, tag="thinking_delta", forbid_unknown_fields=True, gc=False):
    text: str = field(name="thinking")


class _InputDelta(Struct, tag="input_json_delta", forbid_unknown_fields=True, gc=False):
    text: str = field(name="partial_json")


class _Ordinary(Struct, tag="content_block_delta", gc=False):
    """What nearly every event of a stream is: more of a block's words."""

    index: int
    delta: _TextDelta | _ThinkingDelta | _InputDelta


class _Kind(Struct):
    type: str = ""


class _Open(Struct):
    """A block that has begun. ``whole`` is the input or text it began with, used if nothing follows; ``fragments``
    wait where the part can only be said as a whole."""

    index: int
    part: Part
    whole: str = ""
    began: bool = False
    fragments: list[str] = field(default_factory=list)

    @property
    def grows(self) -> bool:
        """Whether the part is told in pieces."""
        return not isinstance(self.part, Native) and not (isinstance(self.part, ToolCall) and self.part.custom)


_ordinary = msgspec.json.Decoder(_Ordinary).decode
_DECODER = msgspec.json.Decoder(_Frame)
_KIND = msgspec.json.Decoder(_Kind)


class Reader:
    """Reads one stream."""

    def __init__(self, sent: Sent) -> None:
        self._sent = sent
        self._frames = Frames()
        self._usage = WireUsage()
        self._blocks: dict[int, _Open] = {}
        self._id: str | None = None
        self._parts = 0
        self._called = False
        self._done = False

    def feed(self, chunk: bytes) -> list[Event]:
        """Return the events that these bytes complete."""
        events: list[Event] = []
        try:
            for frame in self._frames.feed(chunk):
                if frame.event != b"content_block_delta" or not self._more(frame, events):
                    events += self._read(frame)
        except Failure as failure:
            self._done = True
            events.append(MessageError(failure))
        return events

    def close(self) -> list[Event]:
        """Return the last events; a stream that did not come to its end is an error."""
        events: list[Event] = []
        try:
            for frame in self._frames.close():
                events += self._read(frame)
            if not self._done:
                raise Failure("upstream_failed", CUT_SHORT)
        except Failure as failure:
            self._done = True
            events.append(MessageError(failure))
        return events

    def _more(self, frame: Frame, events: list[Event]) -> bool:
        """Take an event that brings more words of a block that grows by them; return whether it is one."""
        if self._done or frame.data is None:
            return False
        try:
            more = _ordinary(frame.data)
        except (ValueError, RecursionError):
            return False  # another event: a closer look follows
        block = self._blocks.get(more.index)
        if block is None or not block.grows:
            return False
        if more.delta.text:
            block.began = True
            events.append(PartDelta(block.index, more.delta.text))
        return True

    def _read(self, frame: Frame) -> list[Event]:
        if self._done or not frame.data or frame.data == b"[DONE]":
            return []
        try:
            decoded = decode(frame.data, _DECODER.decode)
        except (ValueError, RecursionError) as error:
            if _is_unknown(frame.data):
                return []
            raise Failure("upstream_failed", f"The upstream sent an event that cannot be read: {error}.") from None
        handler = _HANDLERS.get(decoded.type or frame.event.decode("latin-1"))
        if handler is None:
            return []
        if self._id is None and handler not in _OPENERS:
            raise Failure("upstream_failed", _HEADLESS)
        return handler(self, decoded)

    def _message_start(self, frame: _Frame) -> list[Event]:
        message = frame.message or WireMessage()
        first = self._id is None
        if not first and message.id != self._id and self._parts:
            # What was sent cannot be taken back, and the two halves are no answer together.
            raise Failure("upstream_failed", _RESTARTED)
        self._id = message.id
        if message.usage is not None:
            self._usage.update(message.usage)
        if not first:
            return []
        return [MessageStart(message.id, message.model, usage=self._usage.canonical() if message.usage else None,
                             service_tier=self._usage.tier())]

    def _block_start(self, frame: _Frame) -> list[Event]:
        part = read_block(frame.content_block or {}, self._sent)
        block = self._blocks[frame.index] = _Open(self._parts, part)
        self._parts += 1
        if isinstance(part, Native):
            # Said when it is whole: a part that is carried unread cannot be added to.
            block.part = Native(part.dialect, dict(part.value))
            return []
        if isinstance(part, ToolCall):
            self._called = True
            block.whole, part.arguments = part.arguments, ""
        elif isinstance(part, Text) and (frame.content_block or {}).get("type") == "tool_use":
            block.whole, part.text = part.text, ""
        return [PartStart(block.index, part)]

    def _block_delta(self, frame: _Frame) -> list[Event]:
        block, raw = self._blocks.get(frame.index), frame.delta or {}
        if block is None:
            raise Failure("upstream_failed", f"The upstream continued block {frame.index}, which it never began.")
        try:
            delta = msgspec.convert(raw, _Delta)
        except msgspec.ValidationError as error:
            raise Failure("upstream_failed", f"The upstream sent a delta that cannot be read: {error}.") from None
        if isinstance(block.part, Native):
            _add(block.part, block.fragments, delta.partial_json, raw)
            return []
        if isinstance(block.part, ToolCall) and block.part.custom:
            block.fragments.append(delta.partial_json)
            return []
        text = delta.text or delta.thinking or delta.partial_json
        if not text and delta.signature is None and delta.citation is None:
            return []
        block.began = block.began or bool(text)
        return [PartDelta(block.index, text, signature=delta.signature or None, annotation=delta.citation)]

    def _block_stop(self, frame: _Frame) -> list[Event]:
        block = self._blocks.pop(frame.index, None)
        if block is None:
            return []
        events: list[Event] = []
        if isinstance(block.part, Native):
            events.append(PartStart(block.index, _whole(block.part, block.fragments)))
        elif block.fragments:
            events.append(PartDelta(block.index, free_text("".join(block.fragments))))
        elif block.whole and not block.began:
            events.append(PartDelta(block.index, block.whole))
        return [*events, PartEnd(block.index)]

    def _message_delta(self, frame: _Frame) -> list[Event]:
        try:
            ending = msgspec.convert(frame.delta or {}, Ending)
        except msgspec.ValidationError as error:
            raise Failure("upstream_failed", f"The upstream sent an ending that cannot be read: {error}.") from None
        if frame.usage is not None:
            self._usage.update(frame.usage)
        return [MessageDelta(ending.finish(self._sent, self._called),
                             self._usage.canonical() if frame.usage is not None else None)]

    def _message_stop(self, _: _Frame) -> list[Event]:
        events = [event for index in list(self._blocks) for event in self._block_stop(_Frame(index=index))]
        self._done = True
        return [*events, MessageEnd()]

    def _error(self, frame: _Frame) -> list[Event]:
        raise failure_of(frame.error)


_HANDLERS: dict[str, Callable[[Reader, _Frame], list[Event]]] = {
    "message_start": Reader._message_start,
    "content_block_start": Reader._block_start,
    "content_block_delta": Reader._block_delta,
    "content_block_stop": Reader._block_stop,
    "message_delta": Reader._message_delta,
    "message_stop": Reader._message_stop,
    "error": Reader._error,
}
_OPENERS = (Reader._message_start, Reader._error)


def _is_unknown(data: bytes) -> bool:
    """Whether an event that could not be read is of a type that need not be."""
    try:
        return _KIND.decode(data).type not in _HANDLERS
    except (ValueError, RecursionError):
        return False


def _add(native: Native, fragments: list[str], partial_json: str, delta: dict[str, Any]) -> None:
    """Add to a block that is carried unread: its input is JSON in pieces, any other text grows."""
    if partial_json:
        fragments.append(partial_json)
        return
    for key, value in delta.items():
        if key not in ("type", "partial_json"):
            had = native.value.get(key)
            native.value[key] = had + value if isinstance(had, str) and isinstance(value, str) else value


def _whole(native: Native, fragments: list[str]) -> Native:
    if fragments:
        try:
            native.value["input"] = msgspec.json.decode("".join(fragments))
        except (ValueError, RecursionError):
            raise Failure("upstream_failed", "The upstream sent a tool input that is not JSON.") from None
    return native

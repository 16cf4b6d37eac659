"""Streams, read into canonical events and written from them.

The reader takes what an item brought in pieces, and from the item itself, when it is done, all that did not come; so it
needs no more of a service that resembles OpenAI than the items. Events it does not know are passed over.
"""

from collections.abc import Callable
from typing import Any

import msgspec
from msgspec import Struct

from ailink_provider.chat import (
    Chat,
    Event,
    MessageDelta,
    MessageEnd,
    MessageError,
    MessageStart,
    Part,
    PartDelta,
    PartEnd,
    PartStart,
    Refusal,
    Text,
    Thinking,
    ToolCall,
)
from ailink_provider.dialects import Sent
from ailink_provider.dialects.failures import UNREADABLE
from ailink_provider.dialects.halves import decode
from ailink_provider.dialects.members import as_count, as_object, as_objects, as_text
from ailink_provider.dialects.openai_responses import errors, figures, replies
from ailink_provider.dialects.openai_responses.answer import Answer
from ailink_provider.dialects.openai_responses.fields import NAME
from ailink_provider.dialects.openai_responses.items import CALLS
from ailink_provider.errors import Failure
from ailink_provider.sse import Frame, Frames

NOT_JSON = "The upstream sent an event that is not JSON."
CUT_SHORT = "The upstream's stream ended before it was complete."

# Events that come before the model has done anything. An error after them can still be another upstream's to mend.
OPENING = frozenset({"response.created", "response.queued", "response.in_progress"})
TERMINAL = frozenset({"response.completed", "response.incomplete", "response.failed", "response.cancelled"})

_SECTION_BREAK = "\n\n"


class _Open:
    """A part that is being streamed: its canonical index, how much of its text and citations came, and the section of
    a thought that the last of it belongs to."""

    def __init__(self, index: int, part: Part) -> None:
        self.index = index
        self.part = part
        self.length = 0
        self.citations = 0
        self.section: tuple[str, int] | None = None


class _Spoken(Struct, tag="response.output_text.delta", gc=False):
    """What nearly every event of a stream is: more of a text."""

    output_index: int
    content_index: int
    delta: str
    logprobs: list[Any] | None = None


_spoken = msgspec.json.Decoder(_Spoken).decode


class Reader:
    """Reads an upstream's stream."""

    def __init__(self, sent: Sent) -> None:
        self._frames = Frames()
        self._sent = sent
        self._events: list[Event] = []
        self._opening: dict[str, Any] = {}
        self._started = False
        self._ended = False
        self._called = False
        self._count = 0
        self._open: dict[tuple[int, int], _Open] = {}
        self._done: set[int] = set()

    def feed(self, chunk: bytes) -> list[Event]:
        """Return the events that these bytes complete."""
        if not self._ended:
            try:
                self._read(self._frames.feed(chunk))
            except Failure as failure:
                self._fail(failure)
        return self._taken()

    def close(self) -> list[Event]:
        """The upstream closed: return what was pending, and the error if the stream was not complete."""
        if not self._ended:
            try:
                self._read(self._frames.close())
            except Failure as failure:
                self._fail(failure)
        if not self._ended:
            self._fail(Failure("upstream_failed", CUT_SHORT))
        return self._taken()

    def _taken(self) -> list[Event]:
        events, self._events = self._events, []
        return events

    def _read(self, frames: list[Frame]) -> None:
        for frame in frames:
            if self._ended:
                return
            if frame.event == b"response.output_text.delta" and self._spoke(frame.data or b""):
                continue
            if frame.data is None or not (data := frame.data.strip()) or data == b"[DONE]":
                continue
            try:
                event = as_object(decode(data))
            except UNREADABLE:
                raise Failure("upstream_failed", NOT_JSON) from None
            kind = as_text(event.get("type"))
            if kind == "error" or frame.event == b"error" or (event.get("error") and not kind):
                raise errors.refusal_of(event)
            self._event(kind, event)

    def _spoke(self, data: bytes) -> bool:
        """Take an event that brings more of a text that is open; return whether it is one."""
        try:
            more = _spoken(data)
        except UNREADABLE:
            return False  # another event, or one of another shape: a closer look follows
        opened = self._open.get((more.output_index, more.content_index))
        if opened is None or more.logprobs:
            return False
        self._more(opened, more.delta)
        return True

    def _event(self, kind: str, event: dict[str, Any]) -> None:
        if kind in OPENING:
            self._opening = as_object(event.get("response")) or self._opening
        elif kind in TERMINAL:
            self._end({"status": kind.removeprefix("response.")} | as_object(event.get("response")))
        elif (handler := _HANDLERS.get(kind)) is not None:
            self._start(self._opening)
            handler(self, event, as_count(event.get("output_index")))

    def _start(self, response: dict[str, Any]) -> None:
        if not self._started:
            self._started = True
            self._events.append(MessageStart(
                as_text(response.get("id")), as_text(response.get("model")), replies.created_at(response),
                service_tier=as_text(response.get("service_tier")) or None))

    def _fail(self, failure: Failure) -> None:
        self._ended = True
        self._events.append(MessageError(failure))

    # --- items ---------------------------------------------------------------------------------------

    def _begin(self, key: tuple[int, int], part: Part) -> _Open:
        """Return the part at ``key``, opened as ``part`` if it is not open yet."""
        opened = self._open.get(key)
        if opened is None:
            opened = self._open[key] = _Open(self._count, part)
            self._count += 1
            self._called = self._called or isinstance(part, ToolCall)
            self._events.append(PartStart(opened.index, part))
        return opened

    def _more(self, opened: _Open, text: str) -> None:
        if text:
            opened.length += len(text)
            self._events.append(PartDelta(opened.index, text))

    def _item_added(self, event: dict[str, Any], place: int) -> None:
        item = as_object(event.get("item"))
        kind = as_text(item.get("type"))
        if kind in CALLS:
            call = replies.read_call(item, self._sent)
            call.arguments = ""
            self._begin((place, 0), call)
        elif kind == "reasoning":
            self._begin((place, 0), Thinking(signed_by=NAME))

    def _part_added(self, event: dict[str, Any], place: int) -> None:
        said = replies.read_said(as_object(event.get("part")))
        if said is not None:
            self._begin((place, as_count(event.get("content_index"))), type(said)(""))

    def _said(self, event: dict[str, Any], place: int, part: Text | Refusal) -> None:
        opened = self._begin((place, as_count(event.get("content_index"))), part)
        self._more(opened, as_text(event.get("delta")))
        if logprobs := figures.read_logprobs(event.get("logprobs")):
            self._events.append(PartDelta(opened.index, logprobs=logprobs))

    def _text(self, event: dict[str, Any], place: int) -> None:
        self._said(event, place, Text(""))

    def _refusal(self, event: dict[str, Any], place: int) -> None:
        self._said(event, place, Refusal(""))

    def _citation(self, event: dict[str, Any], place: int) -> None:
        if annotation := as_object(event.get("annotation")):
            self._cite(self._begin((place, as_count(event.get("content_index"))), Text("")), [annotation])

    def _cite(self, opened: _Open, annotations: list[dict[str, Any]]) -> None:
        for annotation in annotations:
            opened.citations += 1
            self._events.append(PartDelta(opened.index, annotation=annotation))

    def _arguments(self, event: dict[str, Any], place: int) -> None:
        opened = self._open.get((place, 0))
        if opened is not None and isinstance(opened.part, ToolCall):
            self._more(opened, as_text(event.get("delta")))

    def _thought(self, event: dict[str, Any], place: int) -> None:
        opened = self._begin((place, 0), Thinking(signed_by=NAME))
        section = as_text(event.get("type")), as_count(event.get("summary_index", event.get("content_index")))
        text = as_text(event.get("delta"))
        if text and opened.section not in (None, section):
            text = _SECTION_BREAK + text
        opened.section = section if text else opened.section
        self._more(opened, text)

    def _item_done(self, event: dict[str, Any], place: int) -> None:
        self._finish(as_object(event.get("item")), place)

    def _finish(self, item: dict[str, Any], place: int) -> None:
        """Bring what of an item has not come in pieces, and end its parts."""
        if place in self._done:
            return
        self._done.add(place)
        for index, part in replies.read_item(item, self._sent):
            opened = self._open.pop((place, index), None)
            if opened is None:
                opened = self._begin((place, index), part)
                del self._open[place, index]
            else:
                self._fill(opened, part)
            self._events.append(PartEnd(opened.index))
        self._close(place)

    def _fill(self, opened: _Open, part: Part) -> None:
        if isinstance(part, Text | Refusal | Thinking):
            self._more(opened, part.text[opened.length :])
        elif isinstance(part, ToolCall):
            self._more(opened, part.arguments[opened.length :])
        if isinstance(part, Text):
            self._cite(opened, (part.annotations or [])[opened.citations :])
        elif isinstance(part, Thinking):
            self._events.append(PartDelta(opened.index, signature=part.signature))

    def _close(self, place: int | None = None) -> None:
        """End the parts that are open, of one item or of all."""
        for key in [key for key in self._open if place in (None, key[0])]:
            self._events.append(PartEnd(self._open.pop(key).index))

    def _end(self, response: dict[str, Any]) -> None:
        unseen = [] if self._count else as_objects(response.get("output"))
        called = self._called or any(as_text(item.get("type")) in CALLS for item in unseen)
        finish = replies.read_finish(response, called)
        self._start(self._opening | response)
        for place, item in enumerate(unseen):
            self._finish(item, place)
        self._close()
        self._events.append(MessageDelta(finish, figures.read_usage(response.get("usage")),
                                         service_tier=as_text(response.get("service_tier")) or None))
        self._ended = True
        self._events.append(MessageEnd())


_HANDLERS: dict[str, Callable[[Reader, dict[str, Any], int], None]] = {
    "response.output_item.added": Reader._item_added,
    "response.output_item.done": Reader._item_done,
    "response.content_part.added": Reader._part_added,
    "response.output_text.delta": Reader._text,
    "response.output_text.annotation.added": Reader._citation,
    "response.refusal.delta": Reader._refusal,
    "response.function_call_arguments.delta": Reader._arguments,
    "response.custom_tool_call_input.delta": Reader._arguments,
    "response.reasoning_summary_text.delta": Reader._thought,
    "response.reasoning_text.delta": Reader._thought,
}


class Writer:
    """Writes a client's stream, its events numbered."""

    content_type = "text/event-stream"

    def __init__(self, chat: Chat, request_id: str = "") -> None:
        self._request_id = request_id
        self._answer = Answer(chat)
        self._number = 0

    def write(self, event: Event) -> bytes:
        """Return the bytes that this event becomes."""
        if (type(event) is PartDelta and event.annotation is None and event.logprobs is None
                and (around := self._answer.says(event)) is not None):
            number, self._number = self._number, self._number + 1
            return b"%b%b%b%d}\n\n" % (around[0], msgspec.json.encode(event.text), around[1], number)
        if isinstance(event, MessageError):
            return errors.broken(event.failure, self._answer.partial(), self._number, self._request_id)
        written = []
        for made in self._answer.take(event):
            written.append(errors.frame(made | {"sequence_number": self._number}))
            self._number += 1
        return b"".join(written)

"""Streams: the chunks of ``streamGenerateContent``, to and from canonical events.

A chunk is a reply with a piece of each candidate; there is no terminal one, so a stream is whole if every candidate
that was seen has finished. Written chunks hold a function call whole, and the last one every finish with the usage.
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
    MessageStart,
    Part,
    PartDelta,
    PartEnd,
    PartStart,
    Refusal,
    Text,
    Thinking,
    ToolCall,
    Usage,
)
from ailink_provider.dialects import Sent
from ailink_provider.dialects.gemini.citations import write_notes
from ailink_provider.dialects.gemini.errors import write_error
from ailink_provider.dialects.gemini.framing import Chunks
from ailink_provider.dialects.gemini.replies import (
    Answer,
    thoughts_shown,
    write_candidate,
    write_end,
    write_logprobs,
    write_malformed,
    write_part,
    write_tier,
)
from ailink_provider.dialects.gemini.usage import UsageMetadata, write_usage
from ailink_provider.dialects.halves import decode
from ailink_provider.errors import Failure
from ailink_provider.sse import Frame


class _Part(Struct, forbid_unknown_fields=True, gc=False):
    text: str


class _Content(Struct, forbid_unknown_fields=True, gc=False):
    parts: tuple[_Part]
    role: str = ""


class _Candidate(Struct, forbid_unknown_fields=True, gc=False):
    content: _Content
    index: int = 0


class _Ordinary(Struct, forbid_unknown_fields=True, rename="camel", gc=False):
    """What nearly every chunk of a stream is: more of one candidate's text, and the usage so far."""

    candidates: tuple[_Candidate]
    usage_metadata: UsageMetadata | None = None
    model_version: str = ""
    response_id: str = ""


_ordinary = msgspec.json.Decoder(_Ordinary).decode


class Reader:
    """An upstream's stream, to canonical events; framed as events or as a JSON array."""

    def __init__(self, sent: Sent) -> None:
        self._chunks = Chunks()
        self._answer = Answer(sent)

    def feed(self, chunk: bytes) -> list[Event]:
        """Return the events that these bytes complete."""
        return self._cut(lambda: self._chunks.feed(chunk))

    def close(self) -> list[Event]:
        """The upstream closed: return the end of the reply, or the error if it was cut short."""
        return self._cut(self._chunks.close) + self._answer.end()

    def _cut(self, frames: Callable[[], list[Frame]]) -> list[Event]:
        events: list[Event] = []
        if self._answer.broken:
            return events
        try:
            for frame in frames():
                if frame.data is not None and not self._answer.broken and not self._more(frame.data, events):
                    events += self._answer.chunk(decode(frame.data))
        except (ValueError, RecursionError):
            events.append(self._answer.fail(Failure("upstream_failed", "The upstream sent a chunk that is not JSON.")))
        except Failure as failure:
            events.append(self._answer.fail(failure))
        return events


    def _more(self, data: bytes, events: list[Event]) -> bool:
        """Take a chunk that brings more of a text; return whether it is one."""
        if not self._answer.begun:
            return False
        try:
            chunk = _ordinary(data)
        except (ValueError, RecursionError):
            return False  # another chunk: a closer look follows
        candidate = chunk.candidates[0]
        return self._answer.more(candidate.index, candidate.content.parts[0].text, chunk.usage_metadata, events)


class _Held:
    """A part that is written when it has ended, with what was added to it."""

    def __init__(self, part: Part) -> None:
        self.part = part
        self.signature: str | None = None
        self.fragments: list[str] = []
        self.ended = False

    def whole(self) -> Part:
        """Return the part with all its text; the event's own stays as it was."""
        words = "".join(self.fragments)
        if isinstance(self.part, Thinking):
            return msgspec.structs.replace(self.part, text=words, signature=self.signature or self.part.signature)
        if isinstance(self.part, ToolCall):
            return msgspec.structs.replace(self.part, arguments=words, signature=self.signature or self.part.signature)
        return self.part


def _words(part: Part) -> str:
    if isinstance(part, Thinking):
        return part.text
    return part.arguments if isinstance(part, ToolCall) else ""


class Writer:
    """Canonical events, to server-sent events as Gemini frames them."""

    content_type = "text/event-stream"

    def __init__(self, request: Chat, request_id: str = "") -> None:
        self._request_id = request_id
        self._shown = thoughts_shown(request)
        self._stamp: dict[str, Any] = {"modelVersion": request.model}
        self._open: dict[tuple[int, int], _Held] = {}
        self._choices: set[int] = set()
        self._ends: dict[int, dict[str, Any]] = {}
        self._notes: dict[int, list[dict[str, Any]]] = {}
        self._around: dict[int, tuple[bytes, bytes]] = {}
        self._usage: Usage | None = None
        self._tier: str | None = None

    def write(self, event: Event) -> bytes:
        """Return the chunk that this event becomes, or b""."""
        if isinstance(event, PartDelta):
            return self._delta(event)
        if isinstance(event, PartStart):
            return self._start(event)
        if isinstance(event, PartEnd):
            return self._end(event.choice, event.index)
        if isinstance(event, MessageStart):
            self._stamp = {
                "modelVersion": event.model or self._stamp["modelVersion"],
                **({"responseId": event.id} if event.id else {}),
            }
            self._around.clear()
            self._usage, self._tier = event.usage or self._usage, event.service_tier
            return b""
        if isinstance(event, MessageDelta):
            if event.finish is not None:
                self._ends.setdefault(event.choice, write_end(event.finish))
            self._usage = event.usage or self._usage
            self._tier = event.service_tier or self._tier
            return b""
        if isinstance(event, MessageEnd):
            return self._finish()
        return self._close(write_error(event.failure, self._request_id)[1])

    def _start(self, event: PartStart) -> bytes:
        part = event.part
        self._choices.add(event.choice)
        if isinstance(part, Text):
            self._notes.setdefault(event.choice, []).extend(part.annotations or ())
        if isinstance(part, Text | Refusal):
            return self._candidate(event.choice, write_part(part, self._shown))
        held = self._open[event.choice, event.index] = _Held(part)
        return self._grow(event.choice, held, begun) if (begun := _words(part)) else b""

    def _delta(self, event: PartDelta) -> bytes:
        if event.annotation is not None:
            self._notes.setdefault(event.choice, []).append(event.annotation)
        held = self._open.get((event.choice, event.index))
        if held is not None:
            held.signature = event.signature or held.signature
            return self._grow(event.choice, held, event.text)
        if event.logprobs:
            return self._candidate(
                event.choice, {"text": event.text}, {"logprobsResult": write_logprobs(event.logprobs)}
            )
        return self._text(event.choice, event.text) if event.text else b""

    def _text(self, choice: int, text: str) -> bytes:
        """Return a chunk of text alone: nearly every chunk is one, and all else in it stays the same."""
        around = self._around.get(choice)
        if around is None:
            chunk = msgspec.json.encode(self._chunk(choice, {"text": ""}))
            before, _, after = chunk.partition(b'"text":""')
            around = self._around[choice] = before + b'"text":', after
        return self._framed(around[0] + msgspec.json.encode(text) + around[1])

    def _grow(self, choice: int, held: "_Held", text: str) -> bytes:
        held.fragments.append(text)
        if not (isinstance(held.part, Thinking) and self._shown and text):
            return b""
        return self._candidate(choice, {"text": text, "thought": True})

    def _end(self, choice: int, index: int) -> bytes:
        ended = self._open.get((choice, index))
        if ended is None:
            return b""
        ended.ended = True
        written = b""
        # A call that ends before an earlier one waits for it: which of them comes first matters to Gemini.
        calls = [place for place, held in self._open.items() if place[0] == choice and isinstance(held.part, ToolCall)]
        for place in calls if isinstance(ended.part, ToolCall) else [(choice, index)]:
            if not self._open[place].ended:
                break
            written += self._whole(choice, self._open.pop(place))
        return written

    def _whole(self, choice: int, held: "_Held") -> bytes:
        part = held.whole()
        try:
            wire = write_part(part, self._shown)
        except Failure as failure:
            self._ends[choice] = write_malformed(failure)
            return b""
        if isinstance(part, Thinking) and self._shown and part.text and wire is not None:
            # Its text went out as it came; what is left is its signature.
            wire = {**wire, "text": ""} if "thoughtSignature" in wire else None
        return self._candidate(choice, wire)

    def _candidate(self, choice: int, part: dict[str, Any] | None, more: dict[str, Any] | None = None) -> bytes:
        return b"" if part is None else self._frame(self._chunk(choice, part, more))

    def _chunk(self, choice: int, part: dict[str, Any], more: dict[str, Any] | None = None) -> dict[str, Any]:
        return {"candidates": [{**write_candidate(choice, [part]), **(more or {})}], **self._stamp}

    def _finish(self) -> bytes:
        unsaid = write_end(None)
        left = b"".join([self._end(*place) for place in list(self._open)])
        last = [
            {**write_candidate(choice, []), **self._ends.get(choice, unsaid),
             **write_notes(self._notes.get(choice, []))}
            for choice in sorted(self._choices | self._ends.keys()) or [0]  # one that said nothing has ended, too
        ]
        body = {"candidates": last, **self._stamp}
        if self._usage is not None:
            body["usageMetadata"] = {**write_usage(self._usage), **write_tier(self._tier)}
        return left + self._close(body)

    def _frame(self, body: dict[str, Any]) -> bytes:
        return self._framed(msgspec.json.encode(body))

    def _framed(self, chunk: bytes) -> bytes:
        return b"data: %b\r\n\r\n" % chunk

    def _close(self, body: dict[str, Any]) -> bytes:
        return self._frame(body)


class ArrayWriter(Writer):
    """The same chunks as one JSON array, for a client that asked without ``alt=sse``."""

    content_type = "application/json"

    def __init__(self, request: Chat, request_id: str = "") -> None:
        super().__init__(request, request_id)
        self._before = b"["

    def _framed(self, chunk: bytes) -> bytes:
        before, self._before = self._before, b"\n,\r\n"
        return before + chunk

    def _close(self, body: dict[str, Any]) -> bytes:
        return self._frame(body) + b"\n]\n"

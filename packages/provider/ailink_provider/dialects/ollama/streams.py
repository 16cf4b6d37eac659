"""Streams, read into canonical events and written from them: JSON lines, the last of which says ``done``.

A tool call is written whole, in one line, when it ends: its arguments are an object here.
"""

from collections.abc import Callable
from typing import Any

import msgspec
from msgspec import Struct

from ailink_provider.chat import (
    Chat,
    Event,
    Finish,
    MessageDelta,
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
    Usage,
)
from ailink_provider.dialects import Sent
from ailink_provider.dialects.failures import UNREADABLE
from ailink_provider.dialects.halves import decode
from ailink_provider.dialects.ollama import errors, replies
from ailink_provider.dialects.ollama.framing import Lines
from ailink_provider.errors import Failure


class _Message(Struct, forbid_unknown_fields=True, gc=False):
    content: str
    role: str = ""


class _Ordinary(Struct, gc=False):
    """What nearly every line of a stream is: more of the text, and nothing else."""

    message: _Message
    done: bool
    done_reason: None = None
    logprobs: None = None
    error: None = None


_ordinary = msgspec.json.Decoder(_Ordinary).decode


class ChatReader:
    """Reads an upstream's stream."""

    def __init__(self, sent: Sent) -> None:
        self._lines = Lines()
        self._answer = replies.Answer(sent)

    def feed(self, chunk: bytes) -> list[Event]:
        """Return the events that these bytes complete."""
        return self._read(lambda: self._lines.feed(chunk))

    def close(self) -> list[Event]:
        """The upstream closed: return what was pending, and the error if the stream was not complete."""
        return self._read(self._lines.close) + self._answer.fail(Failure("upstream_failed", replies.CUT_SHORT))

    def _read(self, lines: Callable[[], list[bytes]]) -> list[Event]:
        events: list[Event] = []
        try:
            for line in lines():
                if self._answer.ended:
                    break
                if line.strip() and not self._more(line, events):
                    events += self._answer.line(decode(line))
        except UNREADABLE:
            events += self._answer.fail(Failure("upstream_failed", replies.NOT_JSON))
        except Failure as failure:
            events += self._answer.fail(failure)
        return events


    def _more(self, line: bytes, events: list[Event]) -> bool:
        """Take a line that says more of the text that is open; return whether it is one."""
        if not self._answer.saying:
            return False
        try:
            more = _ordinary(line)
        except UNREADABLE:
            return False  # another line: a closer look follows
        if more.done:
            return False
        self._answer.more(more.message.content, events)
        return True


class ChatWriter:
    """Writes a client's stream. Only the first choice has a place in it."""

    content_type = "application/x-ndjson"

    def __init__(self, request: Chat, request_id: str = "") -> None:
        self._request_id = request_id
        self._shown = replies.thoughts_shown(request)
        self._model = request.model
        self._head = replies.head(request.model, 0)
        self._parts: dict[int, Part] = {}
        self._calls: dict[int, list[str]] = {}
        self._called: set[int] = set()
        self._finish: Finish | None = None
        self._usage: Usage | None = None
        self._broken = False

    def write(self, event: Event) -> bytes:
        """Return the bytes that this event becomes."""
        if self._broken:
            return b""
        try:
            return self._write(event)
        except Failure as failure:
            self._broken = True
            return errors.write_stream_error(failure, self._request_id)

    def _write(self, event: Event) -> bytes:
        if isinstance(event, PartStart | PartDelta | PartEnd):
            return self._part(event) if event.choice == 0 else b""
        if isinstance(event, MessageStart):
            self._head = replies.head(event.model or self._model, event.created)
            self._usage = event.usage
            return b""
        if isinstance(event, MessageDelta):
            self._finish = self._finish or (event.finish if event.choice == 0 else None)
            self._usage = event.usage or self._usage
            return b""
        if isinstance(event, MessageError):
            raise event.failure
        return self._end()

    def _part(self, event: PartStart | PartDelta | PartEnd) -> bytes:
        if isinstance(event, PartEnd):
            return self._close(event.index)
        if isinstance(event, PartDelta):
            return self._delta(event)
        self._parts[event.index] = event.part
        if isinstance(event.part, ToolCall):
            self._calls[event.index] = [event.part.arguments]
            return b""
        return self._line(replies.write_part(event.part, self._shown))

    def _delta(self, event: PartDelta) -> bytes:
        if event.index in self._calls:
            self._calls[event.index].append(event.text)
            return b""
        beside = {"logprobs": replies.write_logprobs(event.logprobs)} if event.logprobs else {}
        part = self._parts.get(event.index)
        more: Part = Thinking(event.text) if isinstance(part, Thinking) else Text(event.text)
        return self._line(replies.write_part(more, self._shown), beside)

    def _close(self, index: int) -> bytes:
        """Write the calls that are whole, but none before one that began earlier: clients go by their order."""
        self._called.add(index)
        written = b""
        while (first := next(iter(self._calls), None)) in self._called and first is not None:
            whole = msgspec.structs.replace(self._parts[first], arguments="".join(self._calls.pop(first)))
            written += self._line(replies.write_part(whole, self._shown))
        return written

    def _line(self, members: dict[str, Any], beside: dict[str, Any] | None = None) -> bytes:
        if not members and not beside:
            return b""
        message = {"role": "assistant", "content": ""} | members
        return self._encode(self._head | {"message": message, "done": False} | (beside or {}))

    def _end(self) -> bytes:
        left = b"".join([self._close(index) for index in list(self._calls)])
        explanation = replies.unsaid_refusal(self._finish, list(self._parts.values()))
        left += self._line(replies.write_part(Refusal(explanation), self._shown))
        last = {"message": {"role": "assistant", "content": ""}} | replies.write_end(self._finish, self._usage)
        return left + self._encode(self._head | last)

    def _encode(self, line: dict[str, Any]) -> bytes:
        return msgspec.json.encode(line) + b"\n"

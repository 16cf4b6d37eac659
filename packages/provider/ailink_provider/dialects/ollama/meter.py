"""Reads usage off replies that pass through untouched, whole or streamed. Changes no byte of what it lets through.

Of each line only what is counted is decoded. Whatever type a member has, it is counted if it can be and never refused.
"""

from typing import Any

import msgspec
from msgspec import Struct

from ailink_provider.chat import Usage
from ailink_provider.dialects import Measured
from ailink_provider.dialects.failures import UNREADABLE
from ailink_provider.dialects.members import as_count, as_object, as_objects, as_text
from ailink_provider.dialects.ollama import errors, replies
from ailink_provider.dialects.ollama.framing import Lines
from ailink_provider.errors import Failure


class _Line(Struct, gc=False):
    """A line or a whole reply, of either operation."""

    model: Any = None
    message: Any = None
    done: Any = None
    done_reason: Any = None
    prompt_eval_count: Any = None
    eval_count: Any = None
    embeddings: msgspec.Raw = msgspec.Raw()
    error: Any = None


_decode = msgspec.json.Decoder(_Line).decode


class StreamMeter:
    """Meters a stream. An error is forwarded in the gateway's own words, and only after something else was."""

    def __init__(self, request_id: str = "") -> None:
        self._request_id = request_id
        self.measured = Measured()
        self._lines = Lines()
        self._called = False
        self._forwarding = False

    def feed(self, chunk: bytes) -> bytes:
        """Return the bytes to forward: whole lines only, none from an error that comes first."""
        try:
            lines = self._lines.feed(chunk)
        except Failure as failure:
            return self.fail(failure)
        return b"".join([self._forward(line) for line in lines])

    def close(self) -> bytes:
        """The upstream closed: return what is left to forward, and the error if the stream was not complete."""
        rest = b"".join([self._forward(line + b"\n") for line in self._lines.close()])
        if not self.measured.complete:
            rest += self.fail(Failure("upstream_failed", replies.CUT_SHORT))
        return rest

    def fail(self, failure: Failure) -> bytes:
        """The stream broke: return the error that tells the client, if anything was forwarded and none was told."""
        if self.measured.failure is not None:
            return b""
        self.measured.failure = failure
        return errors.write_stream_error(failure, self._request_id) if self._forwarding else b""

    def _forward(self, raw: bytes) -> bytes:
        if self.measured.failure is not None or not raw.strip():
            return b""
        try:
            line = _decode(raw)
        except UNREADABLE:
            return self.fail(Failure("upstream_failed", replies.NOT_JSON))
        if line.error:
            return self.fail(errors.stream_error({"error": line.error}))
        self._called = _tally(self.measured, line, self._called)
        self._forwarding = True
        return raw


def measure(body: bytes) -> Measured:
    """Read usage off a whole reply. Never raises: what is not understood is not counted."""
    measured = Measured()
    try:
        reply = _decode(body)
    except UNREADABLE:
        return measured
    if reply.error:
        measured.failure = errors.stream_error({"error": reply.error})
        return measured
    _tally(measured, reply, called=False)
    measured.complete = isinstance(reply.message, dict) or bytes(reply.embeddings) not in (b"", b"null", b"[]")
    if not measured.complete:
        measured.failure = Failure("upstream_failed", "The upstream's answer holds no reply.")
    return measured


def _tally(measured: Measured, line: _Line, called: bool) -> bool:
    """Add what a line or a whole reply brings; return whether a tool was called in it or before."""
    if measured.model is None:
        measured.model = as_text(line.model) or None
    message = as_object(line.message)
    measured.characters += len(as_text(message.get("content"))) + len(as_text(message.get("thinking")))
    for call in as_objects(message.get("tool_calls")):
        called = True
        measured.characters += len(msgspec.json.encode(as_object(call.get("function")).get("arguments")))
    if line.done is True:
        measured.complete = True
        measured.finish = replies.read_finish(as_text(line.done_reason), called).reason
    if line.prompt_eval_count is not None or line.eval_count is not None:
        measured.usage = Usage(as_count(line.prompt_eval_count), as_count(line.eval_count))
    return called

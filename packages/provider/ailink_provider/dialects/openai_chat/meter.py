"""Reads usage off replies that pass through untouched, whole or streamed. Changes no byte of what it lets through.

It costs about a microsecond an event, so it decodes only what it needs; an event that tells of more than was produced,
or is of another shape than OpenAI's, gets a closer look.
"""

from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import Raw, Struct

from ailink_provider.dialects import Measured
from ailink_provider.dialects.failures import UNREADABLE
from ailink_provider.dialects.halves import decode
from ailink_provider.dialects.members import as_object, as_objects, as_text
from ailink_provider.dialects.openai_chat import errors, reasoning, replies
from ailink_provider.dialects.openai_chat.streams import CUT_SHORT, DONE, NOT_JSON, is_error
from ailink_provider.dialects.openai_chat.usage import Counted, read_usage
from ailink_provider.errors import Failure
from ailink_provider.sse import Frame, Frames, ordinary

_NULL = Raw(b"null")


class _Function(Struct, gc=False):
    arguments: str | None = None


class _Custom(Struct, gc=False):
    input: str | None = None


class _Call(Struct, gc=False):
    function: _Function | None = None
    custom: _Custom | None = None


class _Said(Struct, gc=False):
    """A delta or a whole message."""

    content: str | None = None
    tool_calls: list[_Call] | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    refusal: str | None = None
    function_call: _Function | None = None


class _Choice(Struct, gc=False):
    delta: _Said | None = None
    finish_reason: str | None = None
    text: str | None = None
    message: _Said | None = None


class _Body(Struct, gc=False):
    """A chunk or a whole reply, of any of the three operations."""

    choices: list[_Choice] | None = None
    usage: Counted | None = None
    error: Any = None
    object: str | None = None
    model: str | None = None
    service_tier: str | None = None
    data: Raw = _NULL


class _Saying(Struct, gc=False):
    delta: _Said
    finish_reason: None = None
    text: None = None


class _Spoken(Struct, gc=False):
    """What nearly every chunk of a stream is: more of one choice, and nothing else that is read."""

    choices: tuple[_Saying]
    usage: None = None
    error: None = None
    service_tier: str | None = None


_decode = msgspec.json.Decoder(_Body).decode
_spoken = msgspec.json.Decoder(_Spoken).decode


class StreamMeter:
    """Meters a stream of chunks.

    ``hides_usage``: whether the chunk that brings usage alone, which the gateway always asks for, is kept from a client
    that did not. An error is forwarded in the gateway's own words: an upstream's may quote the key it was given.
    """

    def __init__(self, request_id: str = "", hides_usage: bool = False) -> None:
        self._request_id = request_id
        self.measured = Measured()
        self._hides_usage = hides_usage
        self._frames = Frames()
        self._forwarding = False

    def feed(self, chunk: bytes) -> bytes:
        """Return the bytes to forward: whole frames only, none from an error that comes first."""
        if self._counts(chunk):
            return chunk
        try:
            frames = self._frames.feed(chunk)
        except Failure as failure:
            return self.fail(failure)
        return b"".join([self._forward(frame) for frame in frames])

    def close(self) -> bytes:
        """The upstream closed: return what is left to forward, and the error if the stream was not complete.

        Some services end without ``[DONE]``, which is added where the reply has said why it ended.
        """
        rest = b"".join([self._forward(frame) for frame in self._frames.close()])
        if rest:
            rest = rest.rstrip(b"\r\n") + b"\n\n"
        if not self.measured.complete and self.measured.failure is None and self.measured.finish:
            self.measured.complete = True
            rest += b"data: " + DONE + b"\n\n"
        if not self.measured.complete:
            rest += self.fail(Failure("upstream_failed", CUT_SHORT))
        return rest

    def fail(self, failure: Failure) -> bytes:
        """The stream broke: return the error that tells the client, if anything was forwarded and none was told."""
        if self.measured.failure is not None:
            return b""
        self.measured.failure = failure
        return errors.write_stream_error(failure, self._request_id) if self._forwarding else b""

    def _counts(self, chunk: bytes) -> bool:
        """Count a chunk of whole events that only bring more of a choice; return whether it is one."""
        measured = self.measured
        if measured.model is None or measured.failure is not None or self._frames.pending:
            return False
        events = ordinary(chunk)
        if not events:
            return False
        produced, tier = 0, measured.service_tier
        try:
            for name, data in events:
                if name == b"error":
                    return False
                spoken = _spoken(data)
                produced += _length(spoken.choices[0].delta)
                tier = spoken.service_tier or tier
        except UNREADABLE:
            return False  # there is another event in it: a closer look follows
        measured.characters += produced
        measured.service_tier = tier
        self._forwarding = True
        return True

    def _forward(self, frame: Frame) -> bytes:
        """Read one event; return what of it is to be forwarded."""
        data = frame.data
        if data is None or self.measured.failure is not None:
            # A comment keeps a connection alive; before the first event it would only commit us to this upstream.
            return frame.raw if self._forwarding and self.measured.failure is None else b""
        try:
            body = _decode(data)
        except UNREADABLE:
            return self._forward_oddity(frame, data)
        if body.error or body.object == "error" or frame.event == b"error":
            return self.fail(errors.stream_error(msgspec.json.decode(data)))
        _tally(self.measured, body)
        if self._hides_usage and body.usage is not None and not body.choices:
            return b""
        self._forwarding = True
        return frame.raw

    def _forward_oddity(self, frame: Frame, data: bytes) -> bytes:
        """Read what is not a chunk, or one in which something is not of OpenAI's type."""
        data = data.strip()
        if not data:
            return b""
        if data == DONE:
            self.measured.complete = self._forwarding = True
            return frame.raw
        try:
            chunk = as_object(decode(data))
        except UNREADABLE:
            return self.fail(Failure("upstream_failed", NOT_JSON))
        if frame.event == b"error" or is_error(chunk):
            return self.fail(errors.stream_error(chunk))
        _tally_leniently(self.measured, chunk)
        if self._hides_usage and not chunk.get("choices") and chunk.get("usage"):
            return b""
        self._forwarding = True
        return frame.raw


def measure(body: bytes) -> Measured:
    """Read usage off a whole reply. Never raises: what is not understood is not counted."""
    measured = Measured()
    try:
        reply = _decode(body)
        _tally(measured, reply)
        measured.complete = bool(reply.choices) or bytes(reply.data) not in (b"null", b"[]")
    except UNREADABLE:
        try:
            odd = as_object(msgspec.json.decode(body))
        except UNREADABLE:
            return measured
        _tally_leniently(measured, odd)
        measured.complete = bool(as_objects(odd.get("choices")))
    if not measured.complete:
        measured.failure = errors.stream_error(msgspec.json.decode(body))
    return measured


def asks_for_usage(body: Mapping[str, Raw]) -> bool:
    """Return whether the client's own body asks for usage in its stream."""
    try:
        options = as_object(msgspec.json.decode(body.get("stream_options", _NULL)))
    except UNREADABLE:
        return False
    return options.get("include_usage") is True


def _tally(measured: Measured, body: _Body) -> None:
    """Add what a chunk or a whole reply brings."""
    if measured.model is None:
        measured.model = body.model
    for choice in body.choices or ():
        said = choice.delta or choice.message
        if said is not None:
            measured.characters += _length(said)
        if choice.text is not None:
            measured.characters += len(choice.text)
        if choice.finish_reason is not None:
            measured.finish = choice.finish_reason
    if body.service_tier is not None:
        measured.service_tier = body.service_tier
    if body.usage is not None:
        measured.usage = body.usage.canonical() or measured.usage


def _length(said: _Said) -> int:
    length = len(said.content or "") + len(said.reasoning_content or said.reasoning or "") + len(said.refusal or "")
    if said.function_call is not None:
        length += len(said.function_call.arguments or "")
    for call in said.tool_calls or ():
        if call.function is not None:
            length += len(call.function.arguments or "")
        elif call.custom is not None:
            length += len(call.custom.input or "")
    return length


def _tally_leniently(measured: Measured, body: dict[str, Any]) -> None:
    """The same for a chunk or a whole reply of any shape."""
    measured.model = measured.model or as_text(body.get("model")) or None
    for choice in as_objects(body.get("choices")):
        said = as_object(choice.get("delta")) or as_object(choice.get("message"))
        texts = [part.text for part in (*reasoning.pieces(said), *replies.spoken(said))]
        texts += [replies.call_pieces(call)[2] for call in as_objects(said.get("tool_calls"))]
        measured.characters += sum(map(len, texts)) + len(as_text(choice.get("text")))
        measured.finish = as_text(choice.get("finish_reason")) or measured.finish
    measured.usage = read_usage(body.get("usage")) or measured.usage
    measured.service_tier = as_text(body.get("service_tier")) or measured.service_tier

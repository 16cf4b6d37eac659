"""Replies that pass through: what is read off them. Changes no byte of them but an error's, and never raises.

Of an event only its type, its delta and, where it has one, the response are decoded.
"""

from typing import Any

import msgspec
from msgspec import Raw, Struct

from ailink_provider.dialects import Measured
from ailink_provider.dialects.failures import UNREADABLE
from ailink_provider.dialects.halves import decode
from ailink_provider.dialects.members import as_object, as_objects, as_text
from ailink_provider.dialects.openai_responses import errors, figures, replies
from ailink_provider.dialects.openai_responses.items import CALLS
from ailink_provider.dialects.openai_responses.streams import CUT_SHORT, NOT_JSON, OPENING, TERMINAL
from ailink_provider.errors import Failure
from ailink_provider.sse import Frame, Frames, ordinary


class _Event(Struct, gc=False):
    type: str = ""
    delta: Any = None
    sequence_number: Any = None
    response: Raw = Raw()
    error: Any = None


class _Spoken(Struct, tag="response.output_text.delta", gc=False):
    """What nearly every event of a stream is."""

    delta: str
    sequence_number: int
    error: None = None


_decode = msgspec.json.Decoder(_Event).decode
_spoken = msgspec.json.Decoder(_Spoken).decode
_SOUND = "response.audio.delta"


class StreamMeter:
    """Meters a stream of events.

    What comes before the model's first word is held: an error there can still be answered by another upstream. An error
    is forwarded in the gateway's own words: an upstream's may quote the key it was given.
    """

    def __init__(self, request_id: str = "") -> None:
        self._request_id = request_id
        self.measured = Measured()
        self._frames = Frames()
        self._held: list[bytes] | None = []
        self._response = Raw()
        self._number = 0

    def feed(self, chunk: bytes) -> bytes:
        """Return the bytes to forward: whole frames only, none from an error that comes first."""
        if self._spoken(chunk):
            return chunk
        try:
            frames = self._frames.feed(chunk)
        except Failure as failure:
            return self.fail(failure)
        return b"".join([self._forward(frame) for frame in frames])

    def close(self) -> bytes:
        """The upstream closed: return what is left to forward, and the error if the stream was not complete."""
        rest = b"".join([self._forward(frame) for frame in self._frames.close()])
        if rest:
            rest = rest.rstrip(b"\r\n") + b"\n\n"
        if not self.measured.complete:
            rest += self.fail(Failure("upstream_failed", CUT_SHORT))
        return rest

    def fail(self, failure: Failure) -> bytes:
        """The stream broke: return the error that tells the client, if anything was forwarded and none was told."""
        if self.measured.failure is not None:
            return b""
        self.measured.failure = failure
        if self._held is not None:
            return b""
        return errors.broken(failure, _response(self._response), self._number, self._request_id)

    def _spoken(self, chunk: bytes) -> bool:
        """Count a chunk of nothing but words; return whether it is one."""
        events = ordinary(chunk) if self._held is None and not self._frames.pending else None
        if events is None or self.measured.failure is not None:
            return False
        produced = number = 0
        try:
            for name, data in events:
                event = _spoken(data)
                if name == b"error":
                    return False
                produced += len(event.delta)
                number = event.sequence_number
        except UNREADABLE:
            return False  # there is another event in it: a closer look follows
        self.measured.characters += produced
        self._number = number + 1
        return True

    def _forward(self, frame: Frame) -> bytes:
        """Read one event; return what of it is to be forwarded."""
        if self.measured.failure is not None:
            return b""
        if frame.data is None or not frame.data.strip() or frame.data.strip() == b"[DONE]":
            return frame.raw if self._held is None else b""
        try:
            event = _read_event(frame.data)
        except UNREADABLE:
            return self.fail(Failure("upstream_failed", NOT_JSON))
        if event.type in ("error", "response.failed") or frame.event == b"error" or (event.error and not event.type):
            return self.fail(_failure(event, frame.data))
        if event.type in OPENING and self._held is not None:
            self._response = event.response
            self._held.append(frame.raw)
            return b""
        self._count(event)
        held, self._held = self._held, None
        return b"".join([*held, frame.raw]) if held else frame.raw

    def _count(self, event: _Event) -> None:
        if isinstance(event.sequence_number, int):
            self._number = event.sequence_number + 1
        if isinstance(event.delta, str) and event.type != _SOUND:
            self.measured.characters += len(event.delta)
        elif event.type in TERMINAL:
            _read(self.measured, _response(event.response))


def _read_event(data: bytes) -> _Event:
    try:
        return decode(data, _decode)
    except msgspec.ValidationError:
        return _Event()  # JSON, but nothing of the API's


def _failure(event: _Event, data: bytes) -> Failure:
    if event.type == "response.failed":
        return errors.refusal_of(as_object(_response(event.response).get("error")))
    return errors.refusal_of(as_object(decode(data)))


def _response(raw: Raw) -> dict[str, Any]:
    return as_object(decode(bytes(raw) or b"{}"))


def measure(body: bytes) -> Measured:
    """Read usage off a whole reply. Never raises: what is not understood is not counted."""
    measured = Measured()
    try:
        response = as_object(msgspec.json.decode(body))
    except UNREADABLE:
        response = {}
    _read(measured, response)
    if response.get("error") or as_text(response.get("status")) == "failed":
        measured.failure = errors.refusal_of(response)
    elif not isinstance(response.get("output"), list):
        measured.failure = Failure("upstream_failed", "The upstream's answer has no output.")
    else:
        measured.characters = sum(map(_length, as_objects(response["output"])))
    measured.complete = measured.failure is None
    return measured


def _read(measured: Measured, response: dict[str, Any]) -> None:
    """Take what the last event of a stream, or a whole reply, says."""
    measured.complete = True
    measured.model = as_text(response.get("model")) or measured.model
    measured.usage = figures.read_usage(response.get("usage")) or measured.usage
    measured.service_tier = as_text(response.get("service_tier")) or None
    called = any(as_text(item.get("type")) in CALLS for item in as_objects(response.get("output")))
    try:
        measured.finish = replies.read_finish(response, called).reason
    except Failure:
        measured.finish = None  # it was cancelled, or is still to be fetched


def _length(item: dict[str, Any]) -> int:
    said = (*as_objects(item.get("content")), *as_objects(item.get("summary")))
    texts = (item.get("arguments"), item.get("input"), *(part.get("text", part.get("refusal")) for part in said))
    return sum(len(text) for text in texts if isinstance(text, str))

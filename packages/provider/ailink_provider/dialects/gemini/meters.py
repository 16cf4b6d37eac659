"""Reading usage off replies that pass through untouched: decoding no more of each chunk than is counted.

Frames go on byte for byte. Only an error that comes before anything else is held back, and a stream that ends before
its candidates have finished gets Gemini's in-stream error, so that its reader sees that it broke.
"""

from typing import Any

import msgspec
from msgspec import Raw, Struct

from ailink_provider.dialects import Measured
from ailink_provider.dialects.gemini.errors import read_error_object, write_error
from ailink_provider.dialects.gemini.finishes import reason_for
from ailink_provider.dialects.gemini.framing import Chunks
from ailink_provider.dialects.gemini.requests import TIER_WORDS
from ailink_provider.dialects.gemini.usage import UsageMetadata, read_usage
from ailink_provider.dialects.halves import decode
from ailink_provider.errors import Failure

_ABSENT = Raw()
_EMPTY = (b"", b"null")


class _Part(Struct, rename="camel", gc=False):
    text: str | None = None
    function_call: Raw = _ABSENT


class _Content(Struct, gc=False):
    parts: list[_Part] | None = None


class _Candidate(Struct, rename="camel", gc=False):
    content: _Content | None = None
    finish_reason: str | None = None
    index: int | None = None


class _Feedback(Struct, rename="camel", gc=False):
    block_reason: str | None = None


class _Chunk(Struct, rename="camel", gc=False):
    candidates: list[_Candidate] | None = None
    usage_metadata: UsageMetadata | None = None
    prompt_feedback: _Feedback | None = None
    model_version: str | None = None
    error: Any = None


_decode = msgspec.json.Decoder(_Chunk).decode


class Tally:
    """What the chunks of one answer add up to."""

    def __init__(self) -> None:
        self.measured = Measured()
        self._called: set[int] = set()
        self._ended: dict[int, str] = {}
        self._seen: set[int] = set()

    def add(self, data: bytes) -> bool:
        """Count one chunk; return whether it was understood. One that was not counts nothing."""
        try:
            chunk = decode(data, _decode)
        except (ValueError, RecursionError):
            return False
        measured = self.measured
        if chunk.error:
            measured.failure = read_error_object(chunk.error)
            return True
        measured.model = chunk.model_version or measured.model
        if chunk.usage_metadata is not None:
            measured.usage = read_usage(chunk.usage_metadata)
            measured.service_tier = TIER_WORDS.get(chunk.usage_metadata.service_tier or "") or measured.service_tier
        for position, candidate in enumerate(chunk.candidates or ()):
            self._candidate(candidate, position if candidate.index is None else candidate.index)
        if chunk.prompt_feedback is not None and chunk.prompt_feedback.block_reason and not self._seen:
            measured.finish, measured.complete = "content_filter", True
        return True

    def _candidate(self, candidate: _Candidate, choice: int) -> None:
        self._seen.add(choice)
        content = candidate.content
        for part in (content.parts if content is not None else None) or ():
            if part.text is not None:
                self.measured.characters += len(part.text)
            if part.function_call is not _ABSENT and (call := bytes(part.function_call)) not in _EMPTY:
                self._called.add(choice)
                self.measured.characters += len(call)
        if candidate.finish_reason:
            self._ended[choice] = candidate.finish_reason
        if not self._ended:
            return
        self.measured.complete = self._ended.keys() == self._seen
        first = min(self._seen)
        if first in self._ended:
            self.measured.finish = reason_for(self._ended[first], first in self._called)


class Meter:
    """Reads usage off a stream that passes through."""

    def __init__(self, request_id: str = "") -> None:
        self._request_id = request_id
        self._chunks = Chunks()
        self._tally = Tally()
        self.measured = self._tally.measured
        self._forwarded = False
        self._told = False

    def feed(self, chunk: bytes) -> bytes:
        """Return the whole frames that these bytes complete, none from an error that comes first."""
        raw: list[bytes] = []
        measured = self.measured
        try:
            for frame in self._chunks.feed(chunk):
                if frame.data is not None:
                    self._count(frame.data)
                if measured.failure is None or self._told:
                    raw.append(frame.raw)
        except Failure as failure:
            return b"".join(raw) + self.fail(failure)
        return b"".join(raw)

    def close(self) -> bytes:
        """Return what is left, and after a stream that was cut short the error that says so."""
        rest = b""
        for frame in self._chunks.close():  # a chunk that was cut in two is of no use to anyone
            whole = not frame.raw.strip() if frame.data is None else self._count(frame.data)
            if whole and (self.measured.failure is None or self._told):
                rest += frame.raw
        if self.measured.failure is None and not self.measured.complete:
            self.measured.failure = Failure("upstream_failed", "The upstream's answer was cut short.")
        return rest + self._tell()

    def fail(self, failure: Failure) -> bytes:
        """The stream broke: return the error that tells the client, if anything was forwarded and none was told."""
        self.measured.failure = self.measured.failure or failure
        return self._tell()

    def _count(self, data: bytes) -> bool:
        understood = self._tally.add(data)
        if self.measured.failure is None:
            self._forwarded = True
        else:
            self._told = self._forwarded
        return understood

    def _tell(self) -> bytes:
        failure = self.measured.failure
        if failure is None or not self._forwarded or self._told:
            return b""
        self._told = True
        body = msgspec.json.encode(write_error(failure, self._request_id)[1])
        if self._chunks.is_array:
            return b"\n,\r\n" + body + b"\n]\n"
        return b"\r\n\r\ndata: " + body + b"\r\n\r\n"  # the last frame may lack its blank line


def measure(body: bytes) -> Measured:
    """Read usage off a whole reply. Never raises."""
    tally = Tally()
    tally.add(body)
    return tally.measured

"""Reading usage off a reply that passes through untouched. Changes no byte of it and never raises.

Only what is counted is decoded: usage, the reason to stop, how many characters were produced, and exceptions.
"""

from typing import Any

import msgspec
from msgspec import Struct

from ailink_provider.dialects import Measured
from ailink_provider.dialects.bedrock_converse.errors import error_frame, failure_in
from ailink_provider.dialects.bedrock_converse.eventstream import Frame, Frames
from ailink_provider.dialects.bedrock_converse.streams import CUT_SHORT
from ailink_provider.dialects.bedrock_converse.usage import WireUsage
from ailink_provider.dialects.bedrock_converse.words import FINISH
from ailink_provider.errors import Failure


class _Call(Struct):
    input: Any = None


class _Produced(Struct, rename="camel"):
    """A block or a delta, as far as it is counted; a thought is one within it."""

    text: Any = None
    reasoning_content: "_Produced | None" = None
    reasoning_text: "_Produced | None" = None
    tool_use: _Call | None = None

    def characters(self) -> int:
        words = self.text if isinstance(self.text, str) else ""
        call = self.tool_use.input if self.tool_use is not None else ""
        called = call if isinstance(call, str) else msgspec.json.encode(call)
        inner = (part.characters() for part in (self.reasoning_content, self.reasoning_text) if part is not None)
        return len(words) + len(called) + sum(inner)


class _Message(Struct):
    content: list[_Produced] = []


class _Output(Struct):
    message: _Message | None = None


class _Read(Struct, rename="camel"):
    """A whole reply, or the payload of an event."""

    output: _Output | None = None
    delta: _Produced | None = None
    stop_reason: str | None = None
    usage: WireUsage | None = None

    def finish(self) -> str | None:
        return None if self.stop_reason is None else FINISH.get(self.stop_reason, self.stop_reason)


_DECODER = msgspec.json.Decoder(_Read)


class Meter:
    """Reads one stream."""

    def __init__(self, request_id: str = "") -> None:
        self._request_id = request_id
        self.measured = Measured()
        self._frames = Frames()
        self._forwarded = False

    def feed(self, chunk: bytes) -> bytes:
        """Return the frames to forward, byte for byte; nothing after an exception, nor one that comes first."""
        forward: list[bytes] = []
        if self.measured.failure is not None:
            return b""
        try:
            for frame in self._frames.feed(chunk):
                if frame.word(":message-type") in ("exception", "error"):
                    self.measured.failure = failure_in(frame)
                    forward += [frame.raw] if self._forwarded else []
                    break
                self._read(frame)
                self._forwarded = True
                forward.append(frame.raw)
        except Failure as failure:
            forward.append(self.fail(failure))
        return b"".join(forward)

    def close(self) -> bytes:
        """Return the exception that tells the client of a stream that was cut short."""
        measured = self.measured
        if measured.failure is not None:
            return b""
        # The stream is whole once its reason to stop was told, even if the usage behind it got lost.
        measured.complete = measured.complete or measured.finish is not None
        return b"" if measured.complete else self.fail(Failure("upstream_failed", CUT_SHORT))

    def fail(self, failure: Failure) -> bytes:
        """The stream broke: return the error that tells the client, if anything was forwarded and none was told."""
        if self.measured.failure is not None:
            return b""
        self.measured.failure = failure
        return error_frame(failure, self._request_id) if self._forwarded else b""

    def _read(self, frame: Frame) -> None:
        event = frame.word(":event-type")
        try:
            read = _DECODER.decode(frame.payload)
        except (ValueError, RecursionError):
            return
        if event == "contentBlockDelta" and read.delta is not None:
            self.measured.characters += read.delta.characters()
        elif event == "messageStop":
            self.measured.finish = read.finish()
        elif event == "metadata":
            self.measured.usage = read.usage.canonical() if read.usage is not None else None
            self.measured.complete = True


def measure(body: bytes) -> Measured:
    """Read usage off a whole reply."""
    try:
        read = _DECODER.decode(body)
    except msgspec.ValidationError:
        return Measured(complete=True)
    except (ValueError, RecursionError):
        return Measured(failure=Failure("upstream_failed", "The upstream's answer is not a reply."))
    content = read.output.message.content if read.output is not None and read.output.message is not None else []
    return Measured(
        usage=read.usage.canonical() if read.usage is not None else None, finish=read.finish(),
        characters=sum(block.characters() for block in content), complete=True)

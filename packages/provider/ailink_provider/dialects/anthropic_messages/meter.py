"""Reading usage off a reply that passes through untouched. Changes no byte of it and never raises.

Only what is counted is decoded: usage, the reason to stop, how many characters were produced, and errors.
"""

from typing import Any

import msgspec
from msgspec import Struct, field

from ailink_provider.dialects import Measured
from ailink_provider.dialects.anthropic_messages.errors import error_event, failure_of
from ailink_provider.dialects.anthropic_messages.streams import CUT_SHORT
from ailink_provider.dialects.anthropic_messages.usage import WireUsage
from ailink_provider.dialects.anthropic_messages.words import FINISH
from ailink_provider.errors import Failure
from ailink_provider.sse import Frame, Frames, ordinary


class _Produced(Struct):
    """A block or a delta, as far as it is counted. Blocks of the vendor's own tools use the same names otherwise."""

    text: Any = None
    thinking: Any = None
    partial_json: Any = None
    input: msgspec.Raw = msgspec.Raw()
    stop_reason: str | None = None

    def characters(self) -> int:
        words = (self.text, self.thinking, self.partial_json)
        return sum(len(word) for word in words if isinstance(word, str)) + len(bytes(self.input))


class _Message(Struct):
    model: str | None = None
    content: list[_Produced] = []
    stop_reason: str | None = None
    usage: WireUsage | None = None
    error: Any = None


class _Frame(Struct):
    type: str = ""
    message: _Message | None = None
    delta: _Produced | None = None
    usage: WireUsage | None = None
    error: Any = None


class _Text(Struct, tag="text_delta", gc=False):
    text: str


class _Thinking(Struct, tag="thinking_delta", gc=False):
    text: str = field(name="thinking")


class _Input(Struct, tag="input_json_delta", gc=False):
    text: str = field(name="partial_json")


class _Spoken(Struct, tag="content_block_delta", gc=False):
    """What nearly every event of a stream is."""

    delta: _Text | _Thinking | _Input


_spoken = msgspec.json.Decoder(_Spoken).decode
_FRAME = msgspec.json.Decoder(_Frame)
_MESSAGE = msgspec.json.Decoder(_Message)


class Meter:
    """Reads one stream."""

    def __init__(self, request_id: str = "") -> None:
        self._request_id = request_id
        self.measured = Measured()
        self._frames = Frames()
        self._usage = WireUsage()
        # Until the message begins nothing is forwarded: an error there can still be answered by another upstream.
        self._held: list[bytes] | None = []

    def feed(self, chunk: bytes) -> bytes:
        """Return the frames to forward, byte for byte; nothing after an error."""
        if self.measured.failure is not None:
            return b""
        if self._held is None and not self._frames.pending and (events := ordinary(chunk)) is not None:
            produced = 0
            try:
                for _, data in events:
                    produced += len(_spoken(data).delta.text)
            except (ValueError, RecursionError):
                pass  # there is another event in it: a closer look follows
            else:
                self.measured.characters += produced
                return chunk
        try:
            frames = self._frames.feed(chunk)
        except Failure as failure:
            return self.fail(failure)
        return b"".join([self._forward(frame) for frame in frames])

    def close(self) -> bytes:
        """Return what is left to forward, and the error that tells the client of a stream that was cut short."""
        rest = b"".join([self._forward(frame) for frame in self._frames.close()])
        if self.measured.complete or self.measured.failure is not None:
            return rest
        return rest + self.fail(Failure("upstream_failed", CUT_SHORT))

    def fail(self, failure: Failure) -> bytes:
        """The stream broke: return the error that tells the client, if anything was forwarded and none was told."""
        if self.measured.failure is not None:
            return b""
        self.measured.failure = failure
        return b"" if self._held is not None else error_event(failure, self._request_id)

    def _forward(self, frame: Frame) -> bytes:
        if self.measured.failure is not None:
            return b""
        broken = self._read(frame)
        if self._held is None:
            return frame.raw
        if broken:
            return b""
        self._held.append(frame.raw)
        if frame.data is None or frame.event == b"ping":
            return b""
        held, self._held = self._held, None
        return b"".join(held)

    def _read(self, frame: Frame) -> bool:
        """Count what a frame holds; return whether it is an error."""
        try:
            read = _FRAME.decode(frame.data or b"{}")
        except (ValueError, RecursionError):
            return False
        measured = self.measured
        match read.type:
            case "content_block_delta" if read.delta is not None:
                measured.characters += read.delta.characters()
            case "message_start" if read.message is not None:
                measured.model = read.message.model
                self._count(read.message.usage)
            case "message_delta":
                self._count(read.usage)
                word = read.delta.stop_reason if read.delta is not None else None
                measured.finish = measured.finish if word is None else FINISH.get(word, word)
            case "message_stop":
                measured.complete = True
            case "error":
                measured.failure = failure_of(read.error)
                return True
        return False

    def _count(self, usage: WireUsage | None) -> None:
        if usage is not None:
            self._usage.update(usage)
            self.measured.usage = self._usage.canonical()
            self.measured.service_tier = self._usage.tier()


def measure(body: bytes) -> Measured:
    """Read usage off a whole reply."""
    try:
        message = _MESSAGE.decode(body)
    except msgspec.ValidationError:
        return Measured(complete=True)
    except (ValueError, RecursionError):
        return Measured(failure=Failure("upstream_failed", "The upstream's answer is not a message."))
    if message.error is not None:
        return Measured(failure=failure_of(message.error))
    word, usage = message.stop_reason, message.usage
    return Measured(
        model=message.model, usage=usage.canonical() if usage is not None else None,
        service_tier=usage.tier() if usage is not None else None,
        finish=None if word is None else FINISH.get(word, word),
        characters=sum(block.characters() for block in message.content), complete=True)

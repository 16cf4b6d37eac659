"""What a test wants the mock to answer, and how it wants the answer to break. Plain data; nothing acts here.

Words are vendor-neutral: each vendor's replies write them in its own wire format.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from json import dumps
from typing import Any, Literal, TypeAlias

from ailink_provider.chat import ToolCall, Usage

Kind: TypeAlias = Literal[
    "status", "context", "quota", "html", "cut", "reset", "hang", "delay", "error_event", "eof", "malformed", "drip",
    "noise",
]
Call: TypeAlias = ToolCall | tuple[str, Mapping[str, Any] | str]

DEFAULT_USAGE = Usage(input_tokens=11, output_tokens=7)


@dataclass(frozen=True, slots=True)
class Fault:
    """One way for an answer to go wrong. ``at`` is the event of a stream before which it happens, from 0.

    | kind | what the client sees |
    |---|---|
    | status | the vendor's own error for ``status`` (``message`` and ``retry_after`` seconds where given) |
    | context, quota | the vendor's own error for a prompt that is too long, for an account out of credit |
    | html | a proxy's HTML page with ``status`` (502) |
    | cut | the connection closes: without a byte of answer, before event ``at``, or halfway through a whole body |
    | reset | the connection is reset before a byte of answer |
    | hang | nothing more, before the head or before event ``at``, until ``MockUpstream.release`` |
    | delay | the head comes ``seconds`` late |
    | error_event | an error inside the stream at event ``at`` (0), the vendor's own for ``status`` (overloaded) |
    | eof | a proper end of the body, but without the last event, or with ``at`` events only |
    | malformed | bytes that are not JSON, as the whole body or as event ``at`` (0) |
    | drip | the body in writes of a single byte |
    | noise | a stream with CRLF, comments and ``data:`` without its space, or what its framing has of that kind |
    """

    kind: Kind
    at: int | None = None
    status: int | None = None
    message: str | None = None
    retry_after: float | None = None
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Answer:
    """One scripted answer. Without any content it is "echo: " and the last thing the caller said.

    ``chunks`` are the pieces in which a stream brings the text (words if None). ``finish`` is one of the words of
    ``chat.FinishReason``, or a word of the vendor's own. ``interleave`` mixes the deltas of parallel tool calls,
    where the vendor's format can. ``status``, ``headers`` and ``body`` replace the vendor's answer altogether.
    """

    text: str | None = None
    chunks: Sequence[str] | None = None
    tool_calls: tuple[ToolCall, ...] = ()
    thinking: str | None = None
    refusal: str | None = None
    usage: Usage = field(default_factory=lambda: DEFAULT_USAGE)
    finish: str | None = None
    interleave: bool = False
    status: int | None = None
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes | None = None
    fault: Fault | None = None

    @property
    def empty(self) -> bool:
        """Whether nothing was scripted to be said."""
        return self.text is None and self.refusal is None and self.chunks is None and not self.tool_calls

    def pieces(self, echo: str) -> list[str]:
        """Return the text in the pieces that a stream brings it in, [] if there is none. ``echo`` is what the
        caller said last."""
        if self.chunks is not None:
            return list(self.chunks)
        text = f"echo: {echo}" if self.empty else self.text or ""
        return split_words(text)


def split_words(text: str) -> list[str]:
    """Cut ``text`` before each space that starts a word: joined again it is the same."""
    pieces: list[str] = []
    for word in text.split(" "):
        pieces.append(f" {word}" if pieces else word)
    return [piece for piece in pieces if piece]


def read_calls(calls: Iterable[Call]) -> tuple[ToolCall, ...]:
    """Return scripted calls in their canonical form: arguments as JSON text (a string is kept as it is), id ""
    where the vendor is to make one."""
    return tuple(
        call if isinstance(call, ToolCall)
        else ToolCall(id="", name=call[0], arguments=call[1] if isinstance(call[1], str) else dumps(call[1]))
        for call in calls
    )

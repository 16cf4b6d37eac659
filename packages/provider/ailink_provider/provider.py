"""The words of the provider SDK: what a provider is, what it is asked and what it answers. No behaviour but views.

A request is a canonical ``Chat`` and a response a canonical ``Reply`` (module ``chat``). The classes here put the short
words of the simple case on top of them and hold nothing beside them, so that the two can never disagree.
"""

import re
from collections.abc import AsyncIterator, Collection, Sequence
from decimal import Decimal
from enum import StrEnum
from typing import Any, Protocol, Self, get_args, runtime_checkable

from msgspec import Struct
from msgspec.structs import force_setattr, replace

from ailink_provider.chat import (
    Chat,
    Choice,
    Event,
    Finish,
    FinishReason,
    Message,
    Native,
    Part,
    Reply,
    Text,
    Tool,
    ToolCall,
    ToolChoice,
    Usage,
    WebSearch,
)
from ailink_provider.errors import Failure

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_NANO = Decimal(1_000_000_000)


class Capability(StrEnum):
    """What a provider can be asked for. A provider may name others in plain strings."""

    CHAT = "chat"
    COMPLETION = "completion"
    STREAMING = "streaming"
    VISION = "vision"
    FUNCTION_CALLING = "function_calling"
    EMBEDDINGS = "embeddings"
    CODE_GENERATION = "code_generation"
    LONG_CONTEXT = "long_context"


class HealthStatus(StrEnum):
    """How a provider fares. ``UNKNOWN`` is one that nobody has looked at."""

    HEALTHY = "healthy"
    DEGRADED = "degraded"
    UNHEALTHY = "unhealthy"
    UNKNOWN = "unknown"


class HealthCheckResult(Struct, frozen=True):
    """What a health check found. ``latency`` is in seconds, ``last_checked`` in Unix seconds, both 0 where unknown;
    ``message`` is for people and never holds a secret."""

    status: HealthStatus
    message: str = ""
    latency: float = 0.0
    last_checked: float = 0.0
    consecutive_failures: int = 0


class CostEstimate(Struct, frozen=True):
    """What a request would cost at most: integer nano-dollars, for so many tokens of input and output."""

    nano_usd: int
    input_tokens: int = 0
    output_tokens: int = 0

    @property
    def usd(self) -> Decimal:
        """The same in US dollars, exact."""
        return self.nano_usd / _NANO


class UsageStats(Struct, frozen=True):
    """Tokens of one call. A ``total_tokens`` that is not given is the sum of the other two."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    total_tokens: int = 0

    def __post_init__(self) -> None:
        if not self.total_tokens:
            force_setattr(self, "total_tokens", self.prompt_tokens + self.completion_tokens)


class CompletionRequest:
    """A request for one reply; ``chat`` is all of it.

    Args:
        prompt: what the user says, after ``messages``.
        messages: the turns before it, or the whole conversation.
        system_prompt: what the model is told before everything else.
        model: "" asks the provider's default model.
        max_tokens: the most tokens of output; None leaves it to the provider.
        stop: texts that end the reply.
        stream: whether it was asked as a stream. ``complete`` and ``stream`` set it themselves.
        metadata: the caller's own labels.
    """

    __slots__ = ("chat",)

    def __init__(
        self, prompt: str = "", *, messages: Sequence[Message] = (), system_prompt: str = "", model: str = "",
        max_tokens: int | None = None, temperature: float | None = None, top_p: float | None = None,
        top_k: int | None = None, stop: str | Sequence[str] = (), tools: Sequence[Tool | WebSearch | Native] = (),
        tool_choice: ToolChoice | None = None, stream: bool = False, metadata: dict[str, str] | None = None,
    ) -> None:
        turns = [Message("system", [Text(system_prompt)])] if system_prompt else []
        turns += messages
        turns += [Message("user", [Text(prompt)])] if prompt else []
        self.chat = Chat(
            model, turns, max_tokens=max_tokens, temperature=temperature, top_p=top_p, top_k=top_k,
            stop=[stop] if isinstance(stop, str) else [*stop], tools=[*tools], tool_choice=tool_choice, stream=stream,
            metadata=metadata,
        )

    @classmethod
    def of(cls, chat: Chat) -> Self:
        """Return the request that ``chat`` is."""
        request = cls.__new__(cls)
        request.chat = chat
        return request

    def replace(self, **changes: Any) -> Self:
        """Return the same request with other values for fields of its ``chat``."""
        return self.of(replace(self.chat, **changes))

    @property
    def prompt(self) -> str:
        """The text of the user's last message, "" if there is none."""
        return next((_text(message) for message in reversed(self.chat.messages) if message.role == "user"), "")

    @property
    def system_prompt(self) -> str:
        """The texts of all system and developer messages, a line each."""
        return "\n".join(_text(message) for message in self.chat.messages if message.role in ("system", "developer"))

    @property
    def messages(self) -> list[Message]:
        """The whole conversation, system prompt and prompt included."""
        return self.chat.messages

    @property
    def model(self) -> str:
        """The model that is asked, never "" where a handler sees it and the provider has a default."""
        return self.chat.model

    @property
    def max_tokens(self) -> int | None:
        """The most tokens of output."""
        return self.chat.max_tokens

    @property
    def temperature(self) -> float | None:
        """The sampling temperature."""
        return self.chat.temperature

    @property
    def top_p(self) -> float | None:
        """The share of probability that is sampled from."""
        return self.chat.top_p

    @property
    def top_k(self) -> int | None:
        """How many of the likeliest tokens are sampled from."""
        return self.chat.top_k

    @property
    def stop(self) -> list[str]:
        """The texts that end the reply."""
        return self.chat.stop

    @property
    def tools(self) -> list[Tool | WebSearch | Native]:
        """What the model may call."""
        return self.chat.tools

    @property
    def tool_choice(self) -> ToolChoice | None:
        """Whether it may, must or must not."""
        return self.chat.tool_choice

    @property
    def stream(self) -> bool:
        """Whether the reply is wanted as a stream."""
        return self.chat.stream

    @property
    def metadata(self) -> dict[str, str]:
        """The caller's labels."""
        return self.chat.metadata or {}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, CompletionRequest) and self.chat == other.chat

    __hash__ = None  # type: ignore[assignment]  # as every mutable value

    def __repr__(self) -> str:
        return f"CompletionRequest({self.chat!r})"


class CompletionResponse:
    """A whole reply; ``reply`` is all of it.

    Args:
        content: the text.
        model: who wrote it; "" becomes the model that was asked.
        usage: the tokens used; None if nobody counted.
        finish_reason: why it ended; left out, "tool_calls" if there are some, else "stop". Raises ``Failure``
            (``invalid_request``) for a word that is not one of ``chat.FinishReason``.
        tool_calls: what the model wants called.
        id: the upstream's name for this reply.
    """

    __slots__ = ("reply",)

    def __init__(
        self, content: str = "", *, model: str = "", usage: UsageStats | Usage | None = None,
        finish_reason: FinishReason | None = None, tool_calls: Sequence[ToolCall] = (), id: str = "",
    ) -> None:
        reason: FinishReason = finish_reason or ("tool_calls" if tool_calls else "stop")
        if reason not in get_args(FinishReason):
            known = ", ".join(get_args(FinishReason))
            raise Failure("invalid_request", f"A reply ends for one of these reasons: {known}.", param="finish_reason")
        parts: list[Part] = [Text(content)] if content else []
        parts += tool_calls
        self.reply = Reply(id, model, choices=[Choice(parts, Finish(reason))], usage=_canonical(usage))

    @classmethod
    def of(cls, reply: Reply) -> Self:
        """Return the response that ``reply`` is."""
        response = cls.__new__(cls)
        response.reply = reply
        return response

    @property
    def content(self) -> str:
        """The text of the first choice."""
        return "".join(part.text for part in self._parts() if isinstance(part, Text))

    @property
    def model(self) -> str:
        """The model that answered."""
        return self.reply.model

    @property
    def usage(self) -> UsageStats | None:
        """The tokens used, None if nobody counted. ``reply.usage`` tells cached and reasoning tokens apart."""
        usage = self.reply.usage
        return UsageStats(usage.input_tokens, usage.output_tokens) if usage is not None else None

    @property
    def finish_reason(self) -> FinishReason:
        """Why the first choice ended."""
        finish = self.reply.choices[0].finish if self.reply.choices else None
        return finish.reason if finish is not None else "stop"

    @property
    def tool_calls(self) -> list[ToolCall]:
        """What the first choice wants called."""
        return [part for part in self._parts() if isinstance(part, ToolCall)]

    @property
    def id(self) -> str:
        """The upstream's name for this reply."""
        return self.reply.id

    def _parts(self) -> list[Any]:
        return list(self.reply.choices[0].parts) if self.reply.choices else []

    def __eq__(self, other: object) -> bool:
        return isinstance(other, CompletionResponse) and self.reply == other.reply

    __hash__ = None  # type: ignore[assignment]  # as every mutable value

    def __repr__(self) -> str:
        return f"CompletionResponse({self.reply!r})"


@runtime_checkable
class Provider(Protocol):
    """Whatever answers completion requests. Calls may overlap; cancelling one gives it up at once.

    A provider may have ``async def close()`` as well: a registry calls it when it lets the provider go.
    """

    @property
    def name(self) -> str:
        """What routes, logs and records call this instance: see ``check_name``."""

    @property
    def type(self) -> str:
        """What kind of provider it is: the name of its factory."""

    async def complete(self, request: CompletionRequest) -> CompletionResponse:
        """Return the whole reply. Raises ``Failure`` or ``APIError`` for a request that is not answered."""

    def stream(self, request: CompletionRequest) -> AsyncIterator[Event]:
        """Yield the reply as canonical events, from ``MessageStart`` to ``MessageEnd``; one that cannot stream yields
        what ``complete`` returns. Raises as ``complete`` does."""

    async def health_check(self) -> HealthCheckResult:
        """Look whether requests would be answered. Takes seconds at most; costs little or nothing."""

    def capabilities(self) -> Collection[str]:
        """Return what it can be asked for: values of ``Capability``, or words of its own."""

    def supports_streaming(self) -> bool:
        """Whether a stream comes in pieces, not all at once."""

    def estimate_cost(self, request: CompletionRequest) -> CostEstimate | None:
        """Return what ``request`` would cost at most, None where the price is not known. Does no I/O."""


def check_name(name: str, param: str = "name") -> None:
    """Raise ``Failure`` (``invalid_request``) unless ``name`` can stand in a route, a log line and a metric."""
    if not _NAME.fullmatch(name):
        raise Failure(
            "invalid_request",
            f"The {param} of a provider is 1 to 64 letters, digits, dots, hyphens and underscores, "
            "and starts with a letter or digit.",
            param=param,
        )


def _text(message: Message) -> str:
    return "".join(part.text for part in message.parts if isinstance(part, Text))


def _canonical(usage: UsageStats | Usage | None) -> Usage | None:
    return Usage(usage.prompt_tokens, usage.completion_tokens) if isinstance(usage, UsageStats) else usage

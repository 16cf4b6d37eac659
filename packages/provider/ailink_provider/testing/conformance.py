"""What every ``Provider`` promises, checked on a live one: for the tests of whoever writes a provider.

    async def test_it_keeps_its_promises() -> None:
        await check_provider(my_provider, secrets=["sk-my-key"])

It asks the provider a few short questions, so point the provider at a mock (``MockUpstream``) or at a cheap model.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from typing import Any, TypeVar, get_args

from ailink_provider.chat import Event, FinishReason, MessageEnd, MessageError, MessageStart, collect
from ailink_provider.contain import contained
from ailink_provider.errors import Failure
from ailink_provider.provider import (
    Capability,
    CompletionRequest,
    CompletionResponse,
    CostEstimate,
    HealthCheckResult,
    HealthStatus,
    Provider,
    check_name,
)
from ailink_provider.resilience import APIError

T = TypeVar("T")
_KEY_LIKE = re.compile(r"\b(?:sk|pk|gsk|xai)[-_][\w-]{8,}|\bAIza[\w-]{8,}")
_QUESTION = CompletionRequest("Say hello.", max_tokens=64, temperature=0.0)
_IMPOSSIBLE = CompletionRequest(max_tokens=-1, model="there-is-no-such-model")


async def check_provider(
    provider: Any, *, request: CompletionRequest = _QUESTION, secrets: Iterable[str] = (), repeatable: bool = True,
    patience: float = 10.0,
) -> None:
    """Raise ``AssertionError`` listing every promise that ``provider`` breaks.

    Args:
        provider: what should be a ``Provider``.
        request: what it is asked.
        secrets: what must not be seen in anything that the provider shows.
        repeatable: whether the same request gets the same text, so that a stream can be compared word by word.
        patience: seconds that a single step may take.
    """
    if not isinstance(provider, Provider):
        wanted = [name for name in dir(Provider) if not name.startswith("_")]
        lacking = ", ".join(name for name in wanted if not hasattr(provider, name))
        raise AssertionError(f"{type(provider).__name__} is not a Provider: it has no {lacking}")
    check = _Check(provider, request, list(secrets), repeatable, patience)
    for step in (check.names, check.words, check.completion, check.stream, check.cancellation, check.errors,
                 check.health, check.cost, check.secrecy):
        await check.attempt(step.__name__, step, None)
    if check.broken:
        raise AssertionError("\n".join([f"{provider!r} breaks its promises:", *(f"- {what}" for what in check.broken)]))


class _Check:
    """The steps, in their order; ``broken`` gathers what was found."""

    def __init__(
        self, provider: Provider, request: CompletionRequest, secrets: list[str], repeatable: bool, patience: float,
    ) -> None:
        self.broken: list[str] = []
        self._provider, self._request = provider, request
        self._secrets, self._repeatable, self._patience = secrets, repeatable, patience
        self._answer: CompletionResponse | None = None
        self._shown = [repr(provider), str(provider)]

    def _expect(self, kept: bool, promise: str) -> bool:
        if not kept:
            self.broken.append(promise)
        return kept

    async def attempt(self, what: str, step: Callable[[], Awaitable[T]], patience: float | None) -> T | None:
        """Return what ``step`` returns; None, and a broken promise, if it raises or takes too long."""
        try:
            async with asyncio.timeout(patience):
                with contained(what):
                    return await step()
        except TimeoutError:
            self.broken.append(f"{what} takes longer than {patience:g} s")
        except Failure as failure:
            self._shown += [str(failure), str(failure.__cause__)]
            self.broken.append(f"{what} raises {failure!r}")
        return None

    async def _ask(self, what: str, step: Callable[[], Awaitable[T]]) -> T | None:
        return await self.attempt(what, step, self._patience)

    async def names(self) -> None:
        """The name and the type can stand in routes and logs, and stay the same."""
        for word in ("name", "type"):
            value = getattr(self._provider, word)
            try:
                check_name(value, word)
            except (Failure, TypeError):
                self.broken.append(f"{word} is {value!r}: it must be 1 to 64 letters, digits, '.', '-' and '_'")
            self._expect(getattr(self._provider, word) == value, f"{word} changes between two looks")

    async def words(self) -> None:
        """What it declares about itself fits together."""
        capabilities = set(self._provider.capabilities())
        self._expect(all(isinstance(word, str) for word in capabilities), "capabilities() holds what is not text")
        streaming = self._provider.supports_streaming()
        self._expect(isinstance(streaming, bool), "supports_streaming() is not a bool")
        self._expect((Capability.STREAMING in capabilities) == streaming,
                     "capabilities() and supports_streaming() disagree about streaming")

    async def completion(self) -> None:
        """``complete`` returns a whole response."""
        answer = await self._ask("complete", lambda: self._provider.complete(self._request))
        if answer is None:
            return
        if not self._expect(isinstance(answer, CompletionResponse),
                            f"complete returns {type(answer).__name__}, not a CompletionResponse"):
            return
        self._answer = answer
        self._expect(bool(answer.content or answer.tool_calls), "complete answers without text and without tool calls")
        self._expect(bool(answer.model), "complete does not say which model answered")
        self._expect(answer.finish_reason in get_args(FinishReason), f"the finish is {answer.finish_reason!r}")
        usage = answer.reply.usage
        if usage is not None:
            counts = [getattr(usage, name) for name in usage.__struct_fields__]
            self._expect(all(isinstance(count, int) and count >= 0 for count in counts), "usage has a count below 0")
            self._expect(usage.output_tokens > 0 or not answer.content, "usage says that a text took no tokens")
            self._expect(usage.cache_read_tokens + usage.cache_write_tokens <= usage.input_tokens,
                         "usage counts more cached tokens than input")

    async def stream(self) -> None:
        """``stream`` is well formed and says what ``complete`` says."""
        events = await self._ask("stream", self._events)
        if events is None:
            return
        self._expect(bool(events) and isinstance(events[0], MessageStart), "a stream does not begin with MessageStart")
        self._expect(bool(events) and isinstance(events[-1], MessageEnd), "a stream does not end with MessageEnd")
        self._expect(sum(isinstance(event, MessageStart) for event in events) <= 1, "a stream begins twice")
        if any(isinstance(event, MessageError) for event in events) or self._answer is None:
            return
        streamed, whole = CompletionResponse.of(collect(events)), self._answer
        self._expect(bool(streamed.content) == bool(whole.content), "only one of stream and complete brings text")
        self._expect(streamed.finish_reason == whole.finish_reason,
                     f"a stream finishes with {streamed.finish_reason!r}, complete with {whole.finish_reason!r}")
        self._expect(streamed.usage is not None or whole.usage is None, "complete counts tokens and a stream does not")
        if self._repeatable:
            self._expect(streamed.content == whole.content,
                         f"a stream says {streamed.content!r}, complete says {whole.content!r}")

    async def _events(self) -> list[Event]:
        return [event async for event in self._provider.stream(self._request)]

    async def cancellation(self) -> None:
        """A cancelled completion and an abandoned stream end at once."""
        await self._ask("a cancelled completion", self._cancel)
        await self._ask("an abandoned stream", self._abandon)

    async def _cancel(self) -> None:
        task = asyncio.ensure_future(self._provider.complete(self._request))
        await asyncio.sleep(0)
        if not task.done():
            task.cancel()
            await asyncio.wait([task])
            self._expect(task.cancelled() or task.exception() is not None,
                         "complete swallows its cancellation and answers")

    async def _abandon(self) -> None:
        events: AsyncIterator[Event] = aiter(self._provider.stream(self._request))
        await anext(events, None)
        close = getattr(events, "aclose", None)
        if self._expect(close is not None, "what stream returns cannot be closed: make it an asynchronous generator"):
            await close()  # type: ignore[misc]  # it is there

    async def errors(self) -> None:
        """What cannot be answered is a ``Failure`` or an ``APIError``."""
        await self._ask("an impossible request, which must get a Failure or an APIError,", self._impossible)

    async def _impossible(self) -> None:
        try:
            await self._provider.complete(_IMPOSSIBLE)
        except (Failure, APIError) as error:
            self._shown.append(f"{error} {error!r}")

    async def health(self) -> None:
        """A health check says how it is."""
        found = await self._ask("health_check", self._provider.health_check)
        if found is None:
            return
        if self._expect(isinstance(found, HealthCheckResult), f"health_check returns {type(found).__name__}"):
            self._shown.append(repr(found))
            self._expect(found.status in HealthStatus, f"health_check says {found.status!r}")
            self._expect(found.latency >= 0, "health_check took less than no time")

    async def cost(self) -> None:
        """An estimate is an estimate, or None."""
        found = self._provider.estimate_cost(self._request)
        if found is not None and self._expect(isinstance(found, CostEstimate),
                                              f"estimate_cost returns {type(found).__name__}"):
            self._expect(isinstance(found.nano_usd, int) and found.nano_usd >= 0, "estimate_cost is below 0")

    async def secrecy(self) -> None:
        """Nothing that it showed holds a secret."""
        for text in self._shown:
            leaked = any(secret in text for secret in self._secrets if secret) or _KEY_LIKE.search(text)
            if not self._expect(not leaked, "its repr, an error or its health shows a secret"):
                return

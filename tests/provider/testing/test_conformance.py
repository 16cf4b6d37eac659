"""The conformance check passes who keeps every promise, and names each one that is broken."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest

from ailink_provider import (
    CompletionRequest,
    CompletionResponse,
    CostEstimate,
    HealthCheckResult,
    HealthStatus,
    ProviderBuilder,
    UsageStats,
)
from ailink_provider.builtin import providers
from ailink_provider.chat import Event, MessageDelta, MessageStart, PartEnd, PartStart, Text, Usage, unfold
from ailink_provider.errors import Failure
from ailink_provider.factory import open_provider
from ailink_provider.testing import KEYS, MockUpstream
from ailink_provider.testing.conformance import check_provider


class Good:
    """Keeps every promise; what is wrong with its children is in them alone."""

    name = "good"
    type = "custom"

    async def complete(self, request: CompletionRequest) -> Any:
        await asyncio.sleep(0)
        if request.max_tokens == -1:
            raise Failure("invalid_request", "max_tokens must be 1 or more.", param="max_tokens")
        return CompletionResponse("Hello.", model="m", usage=UsageStats(5, 2))

    async def stream(self, request: CompletionRequest) -> AsyncIterator[Any]:
        for event in unfold((await self.complete(request)).reply):
            yield event

    async def health_check(self) -> Any:
        return HealthCheckResult(HealthStatus.HEALTHY, "fine", 0.1)

    def capabilities(self) -> Any:
        return ["chat"]

    def supports_streaming(self) -> Any:
        return False

    def estimate_cost(self, request: CompletionRequest) -> Any:
        return CostEstimate(10)


async def test_who_keeps_every_promise_passes() -> None:
    await check_provider(Good(), secrets=["sk-secret"])


@pytest.mark.parametrize(("name", "model"), [
    ("openai", ""), ("anthropic", ""), ("gemini", ""), ("bedrock", "amazon.nova-pro-v1:0"), ("ollama", "qwen3:8b")])
async def test_the_built_in_providers_pass(name: str, model: str) -> None:
    key = KEYS.get(name, "")
    request = CompletionRequest("Say hello.", max_tokens=64, model=model)
    async with (
        MockUpstream() as upstream,
        open_provider(providers()[name], key, endpoint=upstream.url()) as provider,
    ):
        await check_provider(provider, secrets=[key], request=request)
        assert sum(b"stream" in exchange.target.encode() + exchange.body for exchange in upstream.requests) >= 2


async def test_a_built_provider_passes() -> None:
    async def words(request: CompletionRequest) -> AsyncIterator[str | Event]:
        for word in request.prompt.split():
            await asyncio.sleep(0)
            yield word
        yield MessageDelta(usage=Usage(3, 3))

    await check_provider(ProviderBuilder("x", "custom").with_model("m").with_stream_func(words).build())


async def test_what_is_no_provider_is_told_what_it_lacks() -> None:
    with pytest.raises(AssertionError, match="health_check"):
        await check_provider(object())


class Nameless(Good):
    name = "not a name"


class Restless(Good):
    count = 0

    @property
    def type(self) -> str:  # type: ignore[override]
        self.count += 1
        return f"type-{self.count}"


class Boasting(Good):
    def capabilities(self) -> Any:
        return ["chat", "streaming", 5]


class Dumb(Good):
    async def complete(self, request: CompletionRequest) -> Any:
        return CompletionResponse("")


class Wordy(Good):
    async def complete(self, request: CompletionRequest) -> Any:
        return "Hello."


class Raising(Good):
    async def complete(self, request: CompletionRequest) -> Any:
        raise KeyError("choices")


class Slow(Good):
    async def complete(self, request: CompletionRequest) -> Any:
        await asyncio.Event().wait()


class Stubborn(Good):
    async def complete(self, request: CompletionRequest) -> Any:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(0)
        return await super().complete(request)


class Miscounting(Good):
    async def complete(self, request: CompletionRequest) -> Any:
        return CompletionResponse("Hello.", model="m", usage=Usage(-5, 0, cache_read_tokens=3))


class Disagreeing(Good):
    async def stream(self, request: CompletionRequest) -> AsyncIterator[Any]:
        for event in unfold(CompletionResponse("Bye.", finish_reason="length").reply):
            yield event


class Malformed(Good):
    async def stream(self, request: CompletionRequest) -> AsyncIterator[Any]:
        yield PartStart(0, Text("Hello."))
        yield PartEnd(0)
        yield MessageStart()
        yield MessageStart()


class Unclosable(Good):
    def stream(self, request: CompletionRequest) -> Any:
        inner = Good.stream(self, request)

        class Plain:
            def __aiter__(self) -> Any:
                return self

            def __anext__(self) -> Any:
                return anext(inner)

        return Plain()


class Ill(Good):
    async def health_check(self) -> Any:
        return True


class Fainting(Good):
    async def health_check(self) -> Any:
        raise OSError("no route")


class Free(Good):
    def estimate_cost(self, request: CompletionRequest) -> Any:
        return CostEstimate(-1)


class Priceless(Good):
    def estimate_cost(self, request: CompletionRequest) -> Any:
        return 5


class Showing(Good):
    def __repr__(self) -> str:
        return "Showing(key='my-own-secret')"


class Telling(Good):
    async def complete(self, request: CompletionRequest) -> Any:
        if request.max_tokens == -1:
            raise Failure("upstream_auth", "Incorrect API key: sk-abcdefghijkl")
        return await super().complete(request)


@pytest.mark.parametrize(("provider", "promises"), [
    (Nameless(), ["name is 'not a name'"]), (Restless(), ["type changes"]),
    (Boasting(), ["what is not text", "disagree about streaming"]),
    (Dumb(), ["without text", "which model answered"]), (Wordy(), ["complete returns str"]),
    (Raising(), ["complete raises", "an impossible request"]),
    (Slow(), ["complete takes longer", "stream takes longer", "impossible request"]),
    (Stubborn(), ["swallows its cancellation"]),
    (Miscounting(), ["below 0", "took no tokens", "more cached tokens"]),
    (Disagreeing(), ["finishes with 'length'", "'Bye.'", "counts tokens and a stream does not"]),
    (Malformed(), ["begin with MessageStart", "end with MessageEnd", "begins twice"]),
    (Unclosable(), ["cannot be closed"]), (Ill(), ["health_check returns bool"]), (Fainting(), ["health_check raises"]),
    (Free(), ["estimate_cost is below 0"]), (Priceless(), ["estimate_cost returns int"]),
    (Showing(), ["shows a secret"]), (Telling(), ["shows a secret"]),
], ids=lambda value: type(value).__name__ if isinstance(value, Good) else "")
async def test_every_broken_promise_is_named(provider: Good, promises: list[str]) -> None:
    with pytest.raises(AssertionError) as caught:
        await check_provider(provider, secrets=["my-own-secret"], patience=0.05)
    listed = str(caught.value).splitlines()[1:]
    for promise in promises:
        assert any(promise in line for line in listed), (promise, listed)


async def test_words_need_not_repeat_where_a_model_is_asked() -> None:
    class Moody(Good):
        async def stream(self, request: CompletionRequest) -> AsyncIterator[Any]:
            for event in unfold(CompletionResponse("Hi!", model="m", usage=UsageStats(5, 2)).reply):
                yield event

    await check_provider(Moody(), repeatable=False)
    with pytest.raises(AssertionError, match="Hi!"):
        await check_provider(Moody())

"""The builder: what it makes answers, what is amiss is named, and limits hold around calls."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from ailink_provider import (
    APIError,
    APIKeyAuth,
    Capability,
    CircuitBreaker,
    CompletionRequest,
    CompletionResponse,
    CostEstimate,
    HealthCheckResult,
    HealthStatus,
    Provider,
    ProviderBuilder,
    RateLimiter,
    RetryConfig,
    UsageStats,
)
from ailink_provider.chat import Event, MessageEnd, MessageStart, PartDelta, PartStart, Text, collect
from ailink_provider.endpoint import Endpoint
from ailink_provider.errors import Failure
from ailink_provider.streaming import text_of
from ailink_provider.testing import KEYS, Fault, MockUpstream
from ailink_provider.transport import Request, Response

QUICK = RetryConfig(max_retries=3, initial_backoff=0.0)
ASK = CompletionRequest("Hello, world!", max_tokens=100)


async def echo(request: CompletionRequest) -> CompletionResponse:
    return CompletionResponse(f"echo: {request.prompt}", model=request.model, usage=UsageStats(10, 20))


async def words(request: CompletionRequest) -> AsyncIterator[str]:
    for word in request.prompt.split():
        yield f"{word} "


def custom() -> ProviderBuilder:
    return ProviderBuilder("my-provider", "custom")


def failing(*errors: Exception) -> tuple[Callable[[CompletionRequest], Any], list[CompletionRequest]]:
    """Return a handler that raises ``errors`` one after the other before it answers, and the requests it saw."""
    seen: list[CompletionRequest] = []
    left = list(errors)

    async def handler(request: CompletionRequest) -> CompletionResponse:
        seen.append(request)
        if left:
            raise left.pop(0)
        return await echo(request)

    return handler, seen


class Nowhere:
    """A carrier that is never used."""

    async def send(self, request: Request, deadline: float | None = None) -> Response:
        raise AssertionError("nothing is sent")


# --- what it makes -------------------------------------------------------------------------------


async def test_the_documents_example() -> None:
    provider = (
        ProviderBuilder("my-provider", "custom")
        .with_model("my-model-v1")
        .with_endpoint("https://api.myprovider.com/v1")
        .with_auth(APIKeyAuth("sk-very-secret"))
        .with_rate_limiter(RateLimiter(100, 100))
        .with_retry(RetryConfig())
        .with_complete_func(echo)
        .build()
    )
    reply = await provider.complete(CompletionRequest(prompt="Hello, world!", max_tokens=100))
    assert (reply.content, reply.model) == ("echo: Hello, world!", "my-model-v1")
    assert reply.usage is not None and reply.usage.total_tokens == 30
    assert isinstance(provider, Provider)
    assert (provider.name, provider.type, provider.model) == ("my-provider", "custom", "my-model-v1")
    assert provider.capabilities() == {Capability.CHAT, Capability.COMPLETION}
    assert not provider.supports_streaming()
    assert "sk-very-secret" not in repr(provider) and "my-model-v1" in repr(provider)


async def test_a_mock_needs_one_call() -> None:
    async def mock(request: CompletionRequest) -> CompletionResponse:
        return CompletionResponse(content="mock response")

    reply = await ProviderBuilder("test", "custom").with_complete_func(mock).build().complete(
        CompletionRequest(prompt="test", model="asked")
    )
    assert (reply.content, reply.model) == ("mock response", "asked")


async def test_defaults_fill_what_a_request_leaves_out() -> None:
    handler, seen = failing()
    provider = custom().with_model("default").with_max_tokens(7).with_complete_func(handler).build()
    await provider.complete(CompletionRequest("x"))
    await provider.complete(CompletionRequest("x", model="own", max_tokens=0))
    assert [(request.model, request.max_tokens) for request in seen] == [("default", 7), ("own", 0)]


async def test_a_handler_may_be_given_the_endpoint() -> None:
    async def handler(request: CompletionRequest, endpoint: Endpoint) -> CompletionResponse:
        body = await endpoint.post("/completions", {"prompt": request.prompt})
        return CompletionResponse(body["text"])

    async def pieces(request: CompletionRequest, endpoint: Endpoint) -> AsyncIterator[str]:
        yield endpoint.url

    async with MockUpstream(keys={"rest": "sk-1"}) as upstream:
        upstream.script(status=200, headers=[("content-type", "application/json")], body=b'{"text": "well"}')
        url = upstream.url("/api")
        builder = custom().with_endpoint(url).with_auth(APIKeyAuth("sk-1"))
        async with builder.with_complete_func(handler).with_stream_func(pieces).build() as provider:
            assert (await provider.complete(ASK)).content == "well"
            assert [text async for text in text_of(provider.stream(ASK))] == [url]
        upstream.assert_clean()
        assert upstream.requests[0].json == {"prompt": "Hello, world!"}


async def test_what_is_built_stays_as_it_was() -> None:
    builder = custom().with_model("first").with_complete_func(echo)
    provider = builder.build()
    builder.with_model("second")
    assert provider.model == "first"


# --- streams -------------------------------------------------------------------------------------


async def test_a_stream_function_answers_both_ways() -> None:
    provider = custom().with_model("m").with_stream_func(words).build()
    assert provider.supports_streaming() and Capability.STREAMING in provider.capabilities()
    assert [text async for text in text_of(provider.stream(ASK))] == ["Hello, ", "world! "]
    whole = await provider.complete(ASK)
    assert (whole.content, whole.model, whole.finish_reason) == ("Hello, world! ", "m", "stop")


async def test_without_one_a_stream_is_the_whole_reply() -> None:
    provider = custom().with_complete_func(echo).build()
    events = [event async for event in provider.stream(ASK)]
    assert isinstance(events[0], MessageStart) and isinstance(events[-1], MessageEnd)
    assert collect(events) == (await provider.complete(ASK)).reply


async def test_handlers_are_told_whether_they_stream() -> None:
    told: list[bool] = []

    async def complete(request: CompletionRequest) -> CompletionResponse:
        told.append(request.stream)
        return CompletionResponse("x")

    async def stream(request: CompletionRequest) -> AsyncIterator[str]:
        told.append(request.stream)
        yield "x"

    both = custom().with_complete_func(complete).with_stream_func(stream).build()
    await both.complete(CompletionRequest("x", stream=True))
    [event async for event in both.stream(ASK)]
    assert told == [False, True]


async def test_streaming_can_be_switched_off() -> None:
    provider = custom().with_dialect("openai_chat").with_endpoint("https://x.example").with_streaming(False).build()
    assert not provider.supports_streaming() and Capability.STREAMING not in provider.capabilities()


async def test_an_abandoned_stream_lets_its_source_go() -> None:
    closed = asyncio.Event()

    async def endless(request: CompletionRequest) -> AsyncIterator[str]:
        try:
            while True:
                yield "x"
        finally:
            closed.set()

    stream = custom().with_stream_func(endless).build().stream(ASK)
    await anext(stream)
    await stream.aclose()
    assert closed.is_set()


async def test_nothing_is_repeated_once_a_stream_has_begun() -> None:
    starts = 0

    async def breaks(request: CompletionRequest) -> AsyncIterator[str]:
        nonlocal starts
        starts += 1
        yield "one"
        raise APIError(503, "gone")

    seen: list[Event] = []
    with pytest.raises(APIError):
        async for event in custom().with_retry(QUICK).with_stream_func(breaks).build().stream(ASK):
            seen.append(event)
    assert starts == 1
    assert seen[-2:] == [PartStart(0, Text("")), PartDelta(0, "one")]


async def test_the_start_of_a_stream_is_retried() -> None:
    left = [APIError(503, "busy"), APIError(429, "slow")]

    async def stumbles(request: CompletionRequest) -> AsyncIterator[str]:
        if left:
            raise left.pop()
        yield "well"

    provider = custom().with_retry(QUICK).with_stream_func(stumbles).build()
    assert [text async for text in text_of(provider.stream(ASK))] == ["well"]


# --- a dialect instead of code -------------------------------------------------------------------


@pytest.mark.parametrize(("dialect", "key", "header", "model"), [
    ("openai_chat", "sk-mock-openai-key", None, "gpt-4o"),
    ("anthropic_messages", "sk-ant-mock-key", "x-api-key", "claude-haiku-4-5"),
    ("gemini", "AIza-mock-gemini-key", "x-goog-api-key", "gemini-2.5-flash"),
])
async def test_a_dialect_needs_no_code(dialect: str, key: str, header: str | None, model: str) -> None:
    async with MockUpstream() as upstream:
        builder = custom().with_dialect(dialect).with_endpoint(upstream.url("")).with_model(model)
        async with builder.with_auth(APIKeyAuth(key, header=header)).build() as provider:
            whole = await provider.complete(ASK)
            assert whole.content == "echo: Hello, world!"
            assert whole.usage == UsageStats(11, 7)
            streamed = collect([event async for event in provider.stream(ASK)])
            assert CompletionResponse.of(streamed).content == whole.content
            assert CompletionResponse.of(streamed).usage == whole.usage
        upstream.assert_clean()


async def test_an_error_of_the_upstream_is_a_failure_of_its_dialect() -> None:
    async with MockUpstream() as upstream:
        builder = custom().with_dialect("openai_chat").with_endpoint(upstream.url("/v1")).with_model("gpt-4o")
        async with builder.with_auth(APIKeyAuth("sk-wrong")).build() as provider:
            with pytest.raises(Failure) as caught:
                await provider.complete(ASK)
            assert caught.value.code == "upstream_auth"
            upstream.script(fault=Fault("status", status=429, retry_after=3))
            upstream.keys["openai"] = None
            with pytest.raises(Failure) as caught:
                [event async for event in provider.stream(ASK)]
            assert (caught.value.code, caught.value.retry_after) == ("rate_limit_exceeded", 3)


async def test_an_answer_that_is_no_object_is_a_failure() -> None:
    async with MockUpstream(keys={"openai": None}) as upstream:
        upstream.script(status=200, body=b"[1]")
        builder = custom().with_dialect("openai_chat").with_endpoint(upstream.url("/v1")).with_model("gpt-4o")
        async with builder.build() as provider:
            with pytest.raises(Failure, match="not a JSON object"):
                await provider.complete(ASK)


async def test_what_a_dialect_cannot_say_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    async with MockUpstream() as upstream:
        builder = custom().with_dialect("openai_chat").with_endpoint(upstream.url("/v1")).with_model("gpt-4o")
        async with builder.with_auth(APIKeyAuth("sk-mock-openai-key")).build() as provider:
            await provider.complete(CompletionRequest("x", top_k=3))
    assert any("top_k" in record.getMessage() for record in caplog.records)


async def test_cancelling_closes_the_upstreams_connection() -> None:
    async with MockUpstream() as upstream:
        upstream.script(text="never", fault=Fault("hang"))
        builder = custom().with_dialect("openai_chat").with_endpoint(upstream.url("/v1"))
        async with builder.with_auth(APIKeyAuth("sk-mock-openai-key")).build() as provider:
            task = asyncio.create_task(provider.complete(ASK))
            await upstream.received()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await upstream.disconnected()


# --- limits around a call ------------------------------------------------------------------------


async def test_what_may_pass_is_tried_again() -> None:
    handler, seen = failing(APIError(503, "busy"), ConnectionResetError())
    provider = custom().with_retry(QUICK).with_complete_func(handler).build()
    assert (await provider.complete(ASK)).content == "echo: Hello, world!"
    assert len(seen) == 3


async def test_what_will_not_pass_is_raised_as_it_is() -> None:
    error = APIError(400, "no")
    handler, seen = failing(error)
    with pytest.raises(APIError) as caught:
        await custom().with_retry(QUICK).with_complete_func(handler).build().complete(ASK)
    assert caught.value is error and len(seen) == 1


async def test_without_a_retry_there_is_one_attempt() -> None:
    handler, seen = failing(APIError(503, "busy"))
    with pytest.raises(APIError):
        await custom().with_complete_func(handler).build().complete(ASK)
    assert len(seen) == 1


async def test_every_attempt_waits_for_the_limiter() -> None:
    handler, _ = failing(APIError(503, "busy"))
    limiter = RateLimiter(0, 5)
    await custom().with_rate_limiter(limiter).with_retry(QUICK).with_complete_func(handler).build().complete(ASK)
    assert limiter.available() == 3


async def test_a_timeout_ends_complete_and_the_wait_for_a_stream() -> None:
    never = asyncio.Event()

    async def hangs(request: CompletionRequest) -> CompletionResponse:
        await never.wait()
        raise AssertionError

    async def silent(request: CompletionRequest) -> AsyncIterator[str]:
        await never.wait()
        yield ""

    provider = custom().with_timeout(0.01).with_retry(QUICK).with_complete_func(hangs).with_stream_func(silent).build()
    with pytest.raises(Failure) as caught:
        await provider.complete(ASK)
    assert caught.value.code == "upstream_timeout"
    with pytest.raises(Failure):
        await anext(provider.stream(ASK))


async def test_a_stream_that_has_begun_has_all_the_time() -> None:
    go_on = asyncio.Event()

    async def slow(request: CompletionRequest) -> AsyncIterator[str]:
        yield "one"
        await go_on.wait()
        yield "two"

    stream = text_of(custom().with_timeout(0.01).with_stream_func(slow).build().stream(ASK))
    assert await anext(stream) == "one"
    asyncio.get_running_loop().call_later(0.03, go_on.set)
    assert await anext(stream) == "two"
    await stream.aclose()


async def test_outages_open_the_breaker_and_it_fails_fast() -> None:
    handler, seen = failing(*[APIError(500, "down")] * 3)
    breaker = CircuitBreaker(2, 60)
    provider = custom().with_circuit_breaker(breaker).with_retry(QUICK).with_complete_func(handler).build()
    with pytest.raises(Failure) as caught:
        await provider.complete(ASK)
    assert caught.value.code == "circuit_open" and caught.value.retry_after is not None
    assert len(seen) == 2
    assert (await provider.health_check()).status is HealthStatus.UNHEALTHY


async def test_a_timeout_is_an_outage_and_a_refusal_is_none() -> None:
    never = asyncio.Event()

    async def hangs(request: CompletionRequest) -> CompletionResponse:
        await never.wait()
        raise AssertionError

    breaker = CircuitBreaker(9, 60)
    with pytest.raises(Failure):
        await custom().with_circuit_breaker(breaker).with_timeout(0.01).with_complete_func(hangs).build().complete(ASK)
    assert breaker.failures == 1
    handler, _ = failing(APIError(400, "no"))
    with pytest.raises(APIError):
        await custom().with_circuit_breaker(breaker).with_complete_func(handler).build().complete(ASK)
    assert breaker.failures == 0


async def test_wrong_answers_and_broken_streams_are_outages() -> None:
    async def wrong(request: CompletionRequest) -> Any:
        return {"content": "x"}

    async def breaks(request: CompletionRequest) -> AsyncIterator[Any]:
        yield "half a "
        yield object()

    breaker = CircuitBreaker(3, 60)
    provider = custom().with_circuit_breaker(breaker).with_complete_func(wrong).with_stream_func(breaks).build()
    for count in (1, 2):
        with pytest.raises(Failure, match="object"):
            [event async for event in provider.stream(ASK)]
        assert breaker.failures == count, "that it began is no success"
    with pytest.raises(Failure, match="dict"):
        await provider.complete(ASK)
    with pytest.raises(Failure) as caught:
        [event async for event in provider.stream(ASK)]
    assert caught.value.code == "circuit_open"


async def test_a_stream_that_ends_or_is_left_went_well() -> None:
    breaker = CircuitBreaker(3, 60)
    provider = custom().with_circuit_breaker(breaker).with_stream_func(words).build()
    breaker.record_failure()
    events = provider.stream(ASK)
    await anext(events)
    assert breaker.failures == 1
    await events.aclose()
    assert breaker.failures == 0
    breaker.record_failure()
    [event async for event in provider.stream(ASK)]
    assert breaker.failures == 0


async def test_what_a_dialect_asks_at_its_paths_may_lie_elsewhere() -> None:
    async with MockUpstream() as upstream:
        async with (
            ProviderBuilder("moved", "custom")
            .with_dialect("gemini")
            .with_endpoint(upstream.url())
            .with_moved_paths("/v1beta/", "/v1/")
            .with_auth(APIKeyAuth(KEYS["gemini"], header="x-goog-api-key"))
            .with_model("gemini-2.5-flash")
            .build()
        ) as provider:
            assert (await provider.complete(ASK)).content
        assert upstream.requests[0].path == "/v1/models/gemini-2.5-flash:generateContent"
        upstream.assert_clean()


async def test_who_leaves_tells_the_breaker_nothing() -> None:
    started = asyncio.Event()

    async def hangs(request: CompletionRequest) -> CompletionResponse:
        started.set()
        await asyncio.Event().wait()
        raise AssertionError

    breaker = CircuitBreaker(9, 60)
    provider = custom().with_circuit_breaker(breaker).with_timeout(60).with_complete_func(hangs).build()
    task = asyncio.create_task(provider.complete(ASK))
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert breaker.failures == 0


async def test_failed_attempts_are_logged_without_their_words(caplog: pytest.LogCaptureFixture) -> None:
    handler, _ = failing(APIError(503, "sk-secret"))
    logger = logging.getLogger("mine")
    await custom().with_logger(logger).with_retry(QUICK).with_complete_func(handler).build().complete(ASK)
    assert [(record.name, record.getMessage()) for record in caplog.records] == [
        ("mine", "provider my-provider: complete failed: upstream_overloaded")
    ]


@pytest.mark.parametrize("returned", [5, "text", {"content": "x"}])
@pytest.mark.parametrize("asynchronous", [True, False])
async def test_a_handler_that_returns_something_else_is_told_so(returned: Any, asynchronous: bool) -> None:
    async def handler(request: CompletionRequest) -> Any:
        return returned

    def blocking(request: CompletionRequest) -> Any:
        return returned

    with pytest.raises(Failure) as caught:
        await custom().with_complete_func(handler if asynchronous else blocking).build().complete(ASK)
    assert caught.value.code == "internal_error" and type(returned).__name__ in caught.value.message


# --- what it says of itself ----------------------------------------------------------------------


async def test_what_it_says_can_be_set() -> None:
    async def checker() -> HealthCheckResult:
        return HealthCheckResult(HealthStatus.DEGRADED, "slow")

    provider = (
        custom().with_complete_func(echo).with_model("m").with_capabilities("chat", "poetry")
        .with_health_checker(checker)
        .with_cost_estimator(lambda request: CostEstimate(len(request.model)))
        .build()
    )
    assert provider.capabilities() == {"chat", "poetry"}
    assert (await provider.health_check()).status is HealthStatus.DEGRADED
    assert provider.estimate_cost(ASK) == CostEstimate(1)


async def test_without_anything_to_look_at_health_is_unknown() -> None:
    provider = custom().with_complete_func(echo).build()
    assert (await provider.health_check()).status is HealthStatus.UNKNOWN
    assert provider.estimate_cost(ASK) is None
    assert provider.endpoint == ""
    await provider.close()


async def test_health_is_whether_the_endpoint_answers() -> None:
    async with MockUpstream() as upstream:
        builder = custom().with_endpoint(upstream.url("/v1")).with_auth(APIKeyAuth("sk-1")).with_complete_func(echo)
        async with builder.build() as provider:
            upstream.script(status=404)
            found = await provider.health_check()
            assert found.status is HealthStatus.HEALTHY and found.last_checked > 0
            assert "authorization" not in upstream.requests[0].headers
            upstream.script(status=503)
            assert (await provider.health_check()).status is HealthStatus.UNHEALTHY
            upstream.script(fault=Fault("reset"))
            upstream.script(fault=Fault("reset"))
            assert (await provider.health_check()).status is HealthStatus.UNHEALTHY


# --- what is amiss -------------------------------------------------------------------------------


async def two(request: CompletionRequest, endpoint: Endpoint) -> CompletionResponse:
    raise AssertionError


def three(one: int, two: int, three: int) -> None:
    """No handler."""


URL = "https://api.example.com"
AMISS: list[tuple[ProviderBuilder, str]] = [
    (custom(), "with_complete_func"),
    (custom().with_model("m"), "with_complete_func"),
    (custom().with_dialect("openai_chat"), "with_endpoint"),
    (custom().with_dialect("klingon").with_endpoint(URL), "with_dialect"),
    (custom().with_dialect("openai_chat").with_endpoint(URL).with_complete_func(echo), "with_dialect"),
    (custom().with_dialect("openai_chat").with_endpoint(URL).with_stream_func(words), "with_dialect"),
    (custom().with_complete_func(three), "with_complete_func"),  # type: ignore[arg-type]
    (custom().with_complete_func("handler"), "with_complete_func"),  # type: ignore[arg-type]
    (custom().with_complete_func(dict), "with_complete_func"),  # type: ignore[arg-type]
    (custom().with_stream_func(three), "with_stream_func"),  # type: ignore[arg-type]
    (custom().with_complete_func(words), "with_complete_func"),  # type: ignore[arg-type]
    (custom().with_stream_func(echo), "with_stream_func"),  # type: ignore[arg-type]
    (custom().with_complete_func(two), "with_endpoint"),
    (custom().with_complete_func(echo).with_auth(APIKeyAuth("sk-1")), "with_endpoint"),
    (custom().with_complete_func(echo).with_http_client(Nowhere()), "with_endpoint"),
    (custom().with_complete_func(echo).with_endpoint("ftp://x"), "with_endpoint"),
    (custom().with_dialect("gemini").with_endpoint("not a url"), "with_endpoint"),
    (custom().with_complete_func(echo).with_streaming(), "with_streaming"),
    (custom().with_stream_func(words).with_streaming(False), "with_streaming"),
    (custom().with_complete_func(echo).with_capabilities("chat", "streaming"), "with_capabilities"),
    (custom().with_complete_func(echo).with_timeout(0), "with_timeout"),
    (custom().with_complete_func(echo).with_timeout(float("nan")), "with_timeout"),
    (custom().with_complete_func(echo).with_max_tokens(0), "with_max_tokens"),
    (ProviderBuilder("", "custom").with_complete_func(echo), "name"),
    (ProviderBuilder("x", "a b").with_complete_func(echo), "type"),
]


@pytest.mark.parametrize(("builder", "call"), AMISS, ids=[f"{number}-{call}" for number, (_, call) in enumerate(AMISS)])
def test_build_names_the_call_at_fault(builder: ProviderBuilder, call: str) -> None:
    with pytest.raises(Failure) as caught:
        builder.build()
    assert caught.value.param == call
    assert call in caught.value.message


@pytest.mark.parametrize(("dialect", "given", "called"), [
    ("openai_chat", "http://localhost:11434", "http://localhost:11434/v1"),
    ("openai_chat", "https://api.groq.com/openai/v1/", "https://api.groq.com/openai/v1"),
    ("anthropic_messages", "https://api.anthropic.com/v1", "https://api.anthropic.com"),
    ("gemini", "https://host/v1beta", "https://host"), ("gemini", "https://host/proxy", "https://host/proxy"),
])
def test_a_dialects_version_may_be_left_out(dialect: str, given: str, called: str) -> None:
    assert custom().with_dialect(dialect).with_endpoint(given).build().endpoint == called

"""Who is let in: calls a minute, calls at once, tokens a minute."""

import asyncio
import tracemalloc
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from msgspec import structs

from ailink_gateway.backends.limiter import MemoryLimiter
from ailink_gateway.exchange import Exchange
from ailink_gateway.grant import Grant, Service, Upstream
from ailink_gateway.stages.admit import MEDIUM_TOKENS, OUTPUT_TOKENS, estimate
from ailink_provider.errors import Failure
from ailink_provider.transport import Request, Response

Call = Callable[..., Awaitable[Any]]
MakeUpstream = Callable[..., Upstream]
MakeExchange = Callable[..., Exchange]

CHAT = b'{"model":"gpt-4o","messages":[{"role":"user","content":"hi"}]}'


def reply(prompt: int = 11, completion: int = 7) -> Response:
    body = (
        b'{"id":"c","object":"chat.completion","model":"gpt-4o","choices":[{"index":0,"message":{"role":"assistant",'
        b'"content":"ok"},"finish_reason":"stop"}],"usage":{"prompt_tokens":%d,"completion_tokens":%d,'
        b'"total_tokens":%d}}'
    )
    return Response(200, [], body % (prompt, completion, prompt + completion))


@pytest.fixture
def grant(make_upstream: MakeUpstream) -> Grant:
    return Grant("tok", "t", "p", own=make_upstream("openai"))


@pytest.fixture
def chat(call: Call, listener: Any) -> Call:
    async def ask(grant: Grant, body: bytes = CHAT, **more: Any) -> Any:
        if not listener.answers:
            listener.answers = [reply()]
        return await call(grant, "POST", "/v1/chat/completions", body, **more)

    return ask


class TestRequests:
    async def test_so_many_a_minute_and_no_more(self, chat: Call, grant: Grant, clock: Any, listener: Any) -> None:
        grant = structs.replace(grant, requests_per_minute=3)
        answers = []
        for _ in range(4):
            answers.append(await chat(grant))
            clock.now += 10
        assert [answer.status for answer in answers] == [200, 200, 200, 429]
        limits = [[answer.headers[f"x-ratelimit-{word}"] for word in ("limit", "remaining", "reset")]
                  for answer in answers]
        assert limits == [["3", "2", "60"], ["3", "1", "50"], ["3", "0", "40"], ["3", "0", "30"]]
        refused = answers[3]
        assert refused.headers["x-ailink-error"] == "rate_limit_exceeded"
        assert refused.headers["retry-after"] == "30"
        assert b'"detail":"Rate limit exceeded"' in refused.body
        assert len(listener.asked) == 3
        clock.now += 20
        assert (await chat(grant)).status == 200

    async def test_600_for_who_has_no_limit_of_its_own(self, chat: Call, grant: Grant) -> None:
        assert (await chat(grant)).headers["x-ratelimit-limit"] == "600"

    @pytest.mark.parametrize("fields", [{"requests_per_minute": 0}, {"own_rate_limit": True}])
    async def test_none(self, chat: Call, grant: Grant, fields: dict[str, Any], limiter: MemoryLimiter) -> None:
        assert "x-ratelimit-limit" not in (await chat(structs.replace(grant, **fields))).headers
        assert len(limiter) == 0

    async def test_a_limit_of_its_own_stands_beside_a_policys(self, chat: Call, grant: Grant) -> None:
        grant = structs.replace(grant, own_rate_limit=True, requests_per_minute=5)
        assert (await chat(grant)).headers["x-ratelimit-limit"] == "5"

    async def test_errors_count_and_tell_too(self, chat: Call, grant: Grant, listener: Any) -> None:
        listener.answers = [Response(500, [], b"{}")]
        answer = await chat(grant)
        assert (answer.status, answer.headers["x-ratelimit-remaining"]) == (502, "599")
        assert (await chat(grant, body=b"{")).headers["x-ratelimit-remaining"] == "598"

    async def test_tokens_have_nothing_to_do_with_each_other(self, chat: Call, grant: Grant) -> None:
        one = structs.replace(grant, requests_per_minute=1)
        assert (await chat(one)).status == 200
        assert (await chat(structs.replace(one, token_id="other"))).status == 200
        assert (await chat(one)).status == 429

    async def test_a_new_limit_counts_what_was_before(self, chat: Call, grant: Grant) -> None:
        for _ in range(3):
            await chat(grant)
        assert (await chat(structs.replace(grant, requests_per_minute=3))).status == 429
        assert (await chat(structs.replace(grant, requests_per_minute=4))).status == 200

    async def test_who_has_no_token_is_known_by_address(self, chat: Call, grant: Grant) -> None:
        nobody = structs.replace(grant, token_id=None, requests_per_minute=1)

        def at(address: str) -> Callable[[Exchange], None]:
            return lambda exchange: setattr(exchange, "client_ip", address)

        assert (await chat(nobody, prepare=at("10.0.0.1"))).status == 200
        assert (await chat(nobody, prepare=at("10.0.0.1"))).status == 429
        assert (await chat(nobody, prepare=at("10.0.0.2"))).status == 200

    async def test_an_apis_own_limits_are_not_shown_for_ours(
        self, call: Call, listener: Any, make_upstream: MakeUpstream
    ) -> None:
        listener.answers = [Response(200, [(b"x-ratelimit-limit", b"9"), (b"x-ratelimit-scope", b"s"), (b"x", b"y")])]
        grant = Grant("tok", "t", "p", own=make_upstream(None, "https://api.example", generic=True))
        headers = (await call(grant, "GET", "/things")).headers
        assert (headers["x-ratelimit-limit"], headers["x"]) == ("600", "y")
        assert "x-ratelimit-scope" not in headers


class Gate:
    """An upstream that answers when it is told to."""

    def __init__(self) -> None:
        self.asked = 0
        self.arrived = asyncio.Condition()
        self.open = asyncio.Event()

    async def send(self, request: Request, deadline: float | None = None) -> Response:
        async with self.arrived:
            self.asked += 1
            self.arrived.notify_all()
        await self.open.wait()
        return reply()

    async def has(self, count: int) -> None:
        async with self.arrived:
            await self.arrived.wait_for(lambda: self.asked >= count)


class TestAtOnce:
    @pytest.fixture
    def gate(self) -> Gate:
        return Gate()

    @pytest.fixture
    def narrow(self, grant: Grant, gate: Gate) -> Grant:
        assert grant.own is not None
        return structs.replace(grant, own=structs.replace(grant.own, sender=gate), concurrent_requests=2)

    async def test_so_many_at_once(self, chat: Call, narrow: Grant, gate: Gate, limiter: MemoryLimiter) -> None:
        running = [asyncio.create_task(chat(narrow)) for _ in range(2)]
        await gate.has(2)
        refused = await chat(narrow)
        assert (refused.status, refused.headers["retry-after"]) == (429, "1")
        assert b"concurrent_requests" in refused.body
        gate.open.set()
        assert [(await each).status for each in running] == [200, 200]
        assert (await chat(narrow)).status == 200
        assert limiter._inside == {}

    async def test_a_refused_call_counts_for_nothing(self, chat: Call, narrow: Grant, gate: Gate) -> None:
        running = [asyncio.create_task(chat(narrow)) for _ in range(2)]
        await gate.has(2)
        for _ in range(5):
            await chat(narrow)
        gate.open.set()
        for each in running:
            await each
        assert (await chat(narrow)).headers["x-ratelimit-remaining"] == "597"

    async def test_a_call_that_is_cut_off_leaves_its_place(
        self, chat: Call, narrow: Grant, gate: Gate, limiter: MemoryLimiter
    ) -> None:
        running = asyncio.create_task(chat(narrow))
        await gate.has(1)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert limiter._inside == {}

    @pytest.mark.parametrize("problem", [Failure("upstream_failed", "no"), Response(500, [], b"{}")])
    async def test_a_call_that_fails_leaves_its_place(
        self, chat: Call, grant: Grant, listener: Any, limiter: MemoryLimiter, problem: Any
    ) -> None:
        listener.answers = [problem]
        assert (await chat(structs.replace(grant, concurrent_requests=1))).status == 502
        assert limiter._inside == {}


class TestTokens:
    """An estimate is taken before a call, and corrected by what it used."""

    @pytest.fixture
    def metered(self, grant: Grant) -> Grant:
        return structs.replace(grant, tokens_per_minute=3000, requests_per_minute=0)

    async def test_what_was_used_counts_and_not_what_was_estimated(
        self, chat: Call, metered: Grant, listener: Any
    ) -> None:
        estimated = OUTPUT_TOKENS + len(CHAT) // 4
        first = await chat(metered)
        assert first.headers["x-ratelimit-limit-tokens"] == "3000"
        assert first.headers["x-ratelimit-remaining-tokens"] == str(3000 - estimated)
        listener.answers = [reply(1500, 400)]
        assert (await chat(metered)).headers["x-ratelimit-remaining-tokens"] == str(3000 - 18 - estimated)
        third = await chat(metered)
        assert third.headers["x-ratelimit-remaining-tokens"] == str(3000 - 18 - 1900 - estimated)

    async def test_what_is_over_the_estimate_keeps_later_calls_out(
        self, chat: Call, metered: Grant, listener: Any, clock: Any
    ) -> None:
        listener.answers = [reply(1000, 4000)]
        assert (await chat(metered)).status == 200
        clock.now += 20
        refused = await chat(metered)
        assert (refused.status, refused.headers["x-ratelimit-remaining-tokens"]) == (429, "0")
        assert b"tokens_per_minute" in refused.body
        assert refused.headers["retry-after"] == "40"
        clock.now += 40
        assert (await chat(metered)).status == 200

    async def test_a_call_that_brought_nothing_uses_nothing(
        self, chat: Call, metered: Grant, listener: Any
    ) -> None:
        full = (await chat(metered)).headers["x-ratelimit-remaining-tokens"]
        for _ in range(20):
            listener.answers = [Response(400, [], b"{}")]
            assert (await chat(metered)).status == 400
        assert int((await chat(metered)).headers["x-ratelimit-remaining-tokens"]) == int(full) - 18

    async def test_one_that_is_estimated_at_more_than_all_passes_alone(
        self, chat: Call, metered: Grant, listener: Any
    ) -> None:
        tight = structs.replace(metered, tokens_per_minute=50)
        assert (await chat(tight)).status == 200
        assert (await chat(tight)).status == 429, "18 are used, and it is estimated at all 50"

    async def test_an_apis_calls_use_none(self, call: Call, make_upstream: MakeUpstream) -> None:
        own = make_upstream(None, "https://api.example", generic=True)
        grant = Grant("tok", "t", "p", own=own, tokens_per_minute=5, requests_per_minute=0)
        for _ in range(3):
            answer = await call(grant, "POST", "/things", b"x" * 1000)
            assert answer.status == 200
            assert "x-ratelimit-limit-tokens" not in answer.headers

    async def test_what_a_model_uses_by_way_of_a_service_counts(
        self, call: Call, metered: Grant, listener: Any, make_upstream: MakeUpstream
    ) -> None:
        services = {"s": Service(upstream=make_upstream("openai"), serves_models=True)}
        grant = structs.replace(metered, own=None, services=services)
        listener.answers = [reply(2000, 990), reply(11, 7)]
        path = "/v1/proxy/services/s/v1/chat/completions"
        answers = [await call(grant, "POST", path, CHAT) for _ in range(3)]
        assert [answer.status for answer in answers] == [200, 200, 429]


@pytest.mark.parametrize(
    ("path", "body", "tokens"),
    [
        ("/v1/chat/completions", b'{"max_tokens":100}', 4 + 100),
        ("/v1/chat/completions", b'{"max_completion_tokens":64000}', 7 + OUTPUT_TOKENS),
        ("/v1/chat/completions", b'{"max_tokens":"many"}', 5 + OUTPUT_TOKENS),
        ("/v1/responses", b'{"max_output_tokens":5}', 5 + 5),
        ("/v1beta/models/m:generateContent", b'{"generationConfig":{"maxOutputTokens":9}}', 10 + 9),
        ("/v1/embeddings", b'{"input":"abcd"}', 4),
        ("/v1/messages/count_tokens", b"{}", 1),
        ("/v1/messages", b"not JSON", 2 + OUTPUT_TOKENS),
        ("/v1/messages", b'"' + b"A" * 100_000 + b'"', MEDIUM_TOKENS + OUTPUT_TOKENS),
        ("/v1/messages", b'"' + b"words " * 1000 + b'"', 1500 + OUTPUT_TOKENS),
        ("/v1/messages", b'"' + "世界".encode() * 1000 + b'"', 1500 + OUTPUT_TOKENS),
        ("/v1/messages", b'"' + rb"\u4e16" * 1000 + b'"', 1500 + OUTPUT_TOKENS),
        ("/v1/proxy/services/s/v1/messages", b"x" * 1000, 1),
    ],
)
def test_estimates(make_exchange: MakeExchange, path: str, body: bytes, tokens: int) -> None:
    exchange = make_exchange("POST", path)
    exchange.body = body
    assert estimate(exchange) == tokens


def test_an_estimate_takes_no_memory_however_many_texts_there_are(make_exchange: MakeExchange) -> None:
    exchange = make_exchange("POST", "/v1/messages")
    exchange.body = b'"aa' * 1_000_000
    tracemalloc.start()
    try:
        estimate(exchange)
        assert tracemalloc.get_traced_memory()[1] < 1024 * 1024
    finally:
        tracemalloc.stop()

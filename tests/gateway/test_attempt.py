"""Attempts: what is tried again, where, and when an upstream is left alone."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from msgspec import structs

from ailink_gateway.backends.breakers import MemoryBreakers
from ailink_gateway.exchange import Exchange
from ailink_gateway.grant import Breaker, Grant, Retry, Snapshot, Upstream
from ailink_gateway.stages import attempt
from ailink_provider.errors import Failure
from ailink_provider.transport import Request, Response

Call = Callable[..., Awaitable[Any]]
MakeUpstream = Callable[..., Upstream]

CHAT = b'{"model":"gpt-4o","messages":[{"role":"user","content":"hi"}]}'
REPLY = (
    b'{"id":"c","object":"chat.completion","model":"gpt-4o","choices":[{"index":0,"message":{"role":"assistant",'
    b'"content":"ok"},"finish_reason":"stop"}],"usage":{"prompt_tokens":11,"completion_tokens":7,"total_tokens":18}}'
)
EVENT = (
    b'data: {"id":"c","object":"chat.completion.chunk","model":"m",'
    b'"choices":[{"index":0,"delta":{"content":"w"}}]}\n\n'
)
ENDING = (
    b'data: {"id":"c","object":"chat.completion.chunk","model":"m","choices":[{"index":0,"delta":{},'
    b'"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'
)
BROKEN = Failure("upstream_failed", "It closed the connection.")
UNREACHED = Failure("upstream_failed", "It could not be connected to.", reason="connect_failed")
CODES = frozenset({429, 503})


def ok() -> Response:
    return Response(200, [(b"content-type", b"application/json")], REPLY)


def error(status: int, retry_after: bytes | None = None) -> Response:
    headers = [(b"content-type", b"application/json")]
    if retry_after is not None:
        headers.append((b"retry-after", retry_after))
    return Response(status, headers, b'{"error":{"message":"no"}}')


class Pieces:
    """A body that comes in pieces, with a failure at the end, or none."""

    def __init__(self, *pieces: bytes, failure: Failure | None = None) -> None:
        self.pieces = list(pieces)
        self.failure = failure
        self.closed = False

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        if self.pieces:
            return self.pieces.pop(0)
        if self.failure is not None:
            raise self.failure
        raise StopAsyncIteration

    def close(self) -> None:
        self.closed = True


def stream(*pieces: bytes, failure: Failure | None = None) -> Response:
    return Response(200, [(b"content-type", b"text/event-stream")], Pieces(*pieces, failure=failure))


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses that were made, none of which takes time."""
    made: list[float] = []

    async def sleep(seconds: float) -> None:
        made.append(seconds)

    monkeypatch.setattr(attempt, "sleep", sleep)
    return made


@pytest.fixture
def grant(make_upstream: MakeUpstream) -> Grant:
    return Grant("tok", "t", "p", own=make_upstream("openai"), requests_per_minute=0)


@pytest.fixture
def api(make_upstream: MakeUpstream) -> Grant:
    own = make_upstream(None, "https://api.example", generic=True)
    return Grant("tok", "t", "p", own=own, requests_per_minute=0)


@pytest.fixture
def chat(call: Call, grant: Grant) -> Call:
    """Asks a model through ``grant``, or another one; with a retry config where one is given."""

    async def ask(by: Grant | None = None, retry: Retry | None = None, body: bytes = CHAT, **more: Any) -> Any:
        return await call(by or grant, "POST", "/v1/chat/completions", body, prepare=retrying(retry), **more)

    return ask


def retrying(retry: Retry | None) -> Callable[[Exchange], None]:
    def prepare(exchange: Exchange) -> None:
        exchange.retry = retry

    return prepare


def two(make_upstream: MakeUpstream, **fields: Any) -> Grant:
    """A token with a first and a second upstream."""
    first = make_upstream("openai", "https://first.example/v1")
    second = make_upstream("openai", "https://second.example/v1")
    return Grant("tok", "t", "p", own=first, further=(second,), requests_per_minute=0, **fields)


def hosts(listener: Any) -> list[str]:
    return [request.url.host for request in listener.asked]


def state(answer: Any) -> str:
    return str(answer.headers["x-ailink-cb-state"])


class TestBreaker:
    async def test_it_opens_is_left_alone_and_comes_back(self, chat: Call, listener: Any, clock: Any) -> None:
        listener.answers = [error(500), BROKEN, Failure("upstream_timeout", "late", reason="first_byte_timeout")]
        states = [state(await chat()) for _ in range(3)]
        assert states == ["closed", "closed", "open"]
        refused = await chat()
        assert (refused.status, state(refused)) == (503, "open")
        assert refused.headers["x-ailink-error"] == "circuit_open"
        assert refused.headers["retry-after"] == "30"
        assert refused.headers["x-ailink-upstream"] == "https://api.openai.com/v1"
        assert len(listener.asked) == 3
        clock.now += 30
        answered = await chat()
        assert (answered.status, state(answered)) == (200, "closed")

    async def test_a_probe_that_fails_opens_it_again(self, chat: Call, listener: Any, clock: Any) -> None:
        listener.answers = [error(500)] * 4
        for _ in range(3):
            await chat()
        clock.now += 30
        assert state(await chat()) == "open"
        clock.now += 29
        assert (await chat()).headers["retry-after"] == "1"
        assert len(listener.asked) == 4

    @pytest.mark.parametrize("status", [302, 400, 401, 403, 404, 408, 422, 429])
    async def test_what_speaks_not_against_the_upstream(self, chat: Call, listener: Any, status: int) -> None:
        listener.answers = [error(status) for _ in range(5)]
        assert [state(await chat()) for _ in range(5)] == ["closed"] * 5

    @pytest.mark.parametrize("reason", ["pool_full", "pool_timeout", "address_not_allowed"])
    async def test_what_is_our_own_doing(self, chat: Call, listener: Any, reason: str) -> None:
        listener.answers = [Failure("upstream_failed", "no", reason=reason) for _ in range(5)]
        assert [state(await chat()) for _ in range(5)] == ["closed"] * 5

    async def test_failures_count_in_a_row_only(self, chat: Call, listener: Any, breakers: MemoryBreakers) -> None:
        listener.answers = [error(500), error(500), ok(), error(500), error(429), error(500)]
        assert [state(await chat()) for _ in range(6)] == ["closed"] * 6
        assert breakers.health("tok")[0].failures == 2

    async def test_it_may_be_switched_off(self, chat: Call, grant: Grant, listener: Any) -> None:
        listener.answers = [error(500)] * 5
        grant = structs.replace(grant, breaker=Breaker(enabled=False))
        answers = [await chat(grant) for _ in range(5)]
        assert {(answer.status, state(answer)) for answer in answers} == {(502, "disabled")}

    async def test_what_the_gateway_refuses_itself_is_not_counted(
        self, chat: Call, grant: Grant, listener: Any, breakers: MemoryBreakers
    ) -> None:
        listener.answers = [error(500), error(500)]
        await chat()
        await chat()
        refused = await chat(body=b'{"model":"gpt-4o","messages":[]}', headers=[(b"x-real-authorization", b"Bearer x")])
        assert refused.status == 403
        assert breakers.health("tok")[0].failures == 2

    async def test_an_apis_own_error_passes_untouched_and_counts(
        self, call: Call, api: Grant, listener: Any
    ) -> None:
        listener.answers = [error(503), error(500), error(501)]
        answers = [await call(api, "GET", "/v1/things") for _ in range(4)]
        assert [answer.status for answer in answers] == [503, 500, 501, 503]
        assert answers[0].body == b'{"error":{"message":"no"}}'
        assert "x-ailink-error" not in answers[0].headers
        assert [state(answer) for answer in answers] == ["closed", "closed", "open", "open"]
        assert answers[3].headers["x-ailink-error"] == "circuit_open"

    async def test_a_stream_that_breaks_counts(self, chat: Call, listener: Any) -> None:
        listener.answers = [stream(EVENT, failure=Failure("upstream_failed", "cut")) for _ in range(3)]
        body = CHAT[:-1] + b',"stream":true}'
        answers = [await chat(body=body) for _ in range(4)]
        assert [answer.status for answer in answers] == [200, 200, 200, 503]
        assert [state(answer) for answer in answers] == ["closed", "closed", "closed", "open"]

    async def test_a_stream_that_ends_well_forgets_failures(
        self, chat: Call, listener: Any, breakers: MemoryBreakers
    ) -> None:
        listener.answers = [error(500), stream(EVENT, ENDING)]
        await chat()
        assert (await chat(body=CHAT[:-1] + b',"stream":true}')).status == 200
        assert breakers.health("tok")[0].failures == 0

    async def test_an_apis_reply_that_breaks_counts(
        self, call: Call, api: Grant, listener: Any, breakers: MemoryBreakers
    ) -> None:
        listener.answers = [stream(b"half", failure=Failure("upstream_failed", "cut"))]
        with pytest.raises(Failure):
            await call(api, "GET", "/v1/things")
        assert breakers.health("tok")[0].failures == 1

    async def test_settings_are_followed_and_failures_kept(
        self, chat: Call, grant: Grant, listener: Any, clock: Any
    ) -> None:
        listener.answers = [error(500)] * 3
        await chat()
        await chat(structs.replace(grant, token_name="renamed"))
        stricter = structs.replace(grant, breaker=Breaker(failure_threshold=2, recovery_cooldown_secs=90))
        assert state(await chat(stricter)) == "open"
        assert (await chat(stricter)).headers["retry-after"] == "90"
        clock.now += 10
        assert (await chat(structs.replace(grant, breaker=Breaker(recovery_cooldown_secs=5)))).status == 200

    async def test_each_token_and_each_upstream_has_its_own(
        self, chat: Call, grant: Grant, listener: Any, make_upstream: MakeUpstream
    ) -> None:
        listener.answers = [error(500)] * 3
        for _ in range(3):
            await chat()
        assert (await chat()).status == 503
        listener.answers = [ok(), ok()]
        assert (await chat(structs.replace(grant, token_id="other"))).status == 200
        elsewhere = make_upstream("openai", "https://elsewhere.example/v1")
        assert (await chat(structs.replace(grant, own=elsewhere, resolved={}))).status == 200


class Gate:
    """An upstream that lets calls in and answers when it is told to."""

    def __init__(self) -> None:
        self.asked = 0
        self.entered = asyncio.Event()
        self.open = asyncio.Event()
        self.answer = ok()

    async def send(self, request: Request, deadline: float | None = None) -> Response:
        self.asked += 1
        self.entered.set()
        await self.open.wait()
        return self.answer


async def test_who_comes_when_told_finds_the_cooldown_over(chat: Call, listener: Any, clock: Any) -> None:
    listener.answers = [error(500)] * 3
    for _ in range(3):
        await chat()
    clock.now += 1.7
    refused = await chat()
    assert refused.headers["retry-after"] == "29", "28.3 seconds are left"
    clock.now += float(refused.headers["retry-after"])
    listener.answers = [ok()]
    assert (await chat()).status == 200


class TestHalfOpen:
    @pytest.fixture
    def gate(self) -> Gate:
        return Gate()

    @pytest.fixture
    async def half_open(
        self, chat: Call, grant: Grant, listener: Any, clock: Any, gate: Gate
    ) -> Grant:
        """A token whose upstream has failed, its cooldown over; it now ends at ``gate``."""
        listener.answers = [error(500)] * 3
        for _ in range(3):
            await chat()
        clock.now += 30
        assert grant.own is not None
        return structs.replace(grant, own=structs.replace(grant.own, sender=gate), resolved={})

    async def test_fifty_racers_one_probe(self, chat: Call, half_open: Grant, gate: Gate) -> None:
        racers = [asyncio.create_task(chat(half_open)) for _ in range(50)]
        refused = [await racer for racer in racers[1:]]
        assert {(answer.status, state(answer), answer.headers["retry-after"]) for answer in refused} == {
            (503, "half_open", "1")
        }
        gate.open.set()
        assert state(await racers[0]) == "closed"
        assert gate.asked == 1

    async def test_a_probe_that_is_cancelled_gives_its_place_back(
        self, chat: Call, half_open: Grant, gate: Gate
    ) -> None:
        probe = asyncio.create_task(chat(half_open))
        await gate.entered.wait()
        probe.cancel()
        with pytest.raises(asyncio.CancelledError):
            await probe
        gate.open.set()
        assert (await chat(half_open)).status == 200

    async def test_a_probe_that_sends_nothing_gives_its_place_back(
        self, chat: Call, half_open: Grant, gate: Gate
    ) -> None:
        gate.open.set()
        assert (await chat(half_open, headers=[(b"x-real-authorization", b"Bearer x")])).status == 403
        assert gate.asked == 0
        assert (await chat(half_open)).status == 200

    async def test_too_many_requests_say_nothing_of_its_health(
        self, chat: Call, grant: Grant, listener: Any, clock: Any
    ) -> None:
        listener.answers = [error(500)] * 3 + [error(429)]
        for _ in range(3):
            await chat()
        clock.now += 30
        limited = await chat()
        assert (limited.status, state(limited)) == (429, "half_open")
        assert (await chat()).status == 200


    async def test_a_call_from_before_says_nothing_of_what_a_probe_finds(
        self, chat: Call, grant: Grant, listener: Any, clock: Any
    ) -> None:
        assert grant.own is not None
        gates = [Gate(), Gate()]
        gates[0].answer = error(500)
        at = [structs.replace(grant, own=structs.replace(grant.own, sender=gate), resolved={}) for gate in gates]
        before = asyncio.create_task(chat(at[0]))
        await gates[0].entered.wait()
        listener.answers = [error(500)] * 3
        for _ in range(3):
            await chat()
        clock.now += 30
        probe = asyncio.create_task(chat(at[1]))
        await gates[1].entered.wait()
        gates[0].open.set()
        assert state(await before) == "half_open"
        gates[1].open.set()
        answer = await probe
        assert (answer.status, state(answer)) == (200, "closed")


class TestFailover:
    async def test_the_second_answers_when_the_first_fails(
        self, chat: Call, listener: Any, make_upstream: MakeUpstream, journal: Any
    ) -> None:
        listener.answers = [error(500), ok()]
        answer = await chat(two(make_upstream))
        assert answer.status == 200
        assert answer.headers["x-ailink-upstream"] == "https://second.example/v1"
        assert hosts(listener) == ["first.example", "second.example"]
        record = journal.records[0]
        assert (record.attempts, record.upstream, record.upstream_status) == (2, "https://second.example/v1", 200)

    async def test_an_open_circuit_is_passed_over(
        self, chat: Call, listener: Any, make_upstream: MakeUpstream, journal: Any
    ) -> None:
        grant = two(make_upstream)
        listener.answers = [answer for _ in range(3) for answer in (BROKEN, ok())]
        for _ in range(4):
            assert (await chat(grant)).status == 200
        assert hosts(listener)[6:] == ["second.example"]
        assert journal.records[3].attempts == 1

    async def test_what_is_passed_over_hides_none_that_was_asked(
        self, chat: Call, listener: Any, make_upstream: MakeUpstream, journal: Any, breakers: MemoryBreakers
    ) -> None:
        grant = two(make_upstream)
        second = breakers.of("tok", "https://second.example/v1", grant.breaker)
        assert second is not None
        for _ in range(3):
            second.record_failure()
        listener.answers = [error(500)]
        answer = await chat(grant)
        assert answer.headers["x-ailink-error"] == "all_upstreams_unavailable"
        assert (answer.headers["x-ailink-upstream"], state(answer)) == ("https://first.example/v1", "closed")
        record = journal.records[0]
        assert (record.upstream, record.upstream_status, record.attempts) == ("https://first.example/v1", 500, 1)

    async def test_none_is_left(self, chat: Call, listener: Any, make_upstream: MakeUpstream, clock: Any) -> None:
        grant = two(make_upstream)
        listener.answers = [error(500)] * 6
        answers = [await chat(grant) for _ in range(4)]
        assert {(answer.status, answer.headers["x-ailink-error"]) for answer in answers} == {
            (503, "all_upstreams_unavailable")
        }
        assert b"All providers unavailable" in answers[0].body
        assert len(listener.asked) == 6
        assert answers[3].headers["retry-after"] == "30"
        assert state(answers[3]) == "open"

    async def test_warnings_of_a_failed_attempt_are_not_the_answers(
        self, chat: Call, listener: Any, make_upstream: MakeUpstream
    ) -> None:
        first = make_upstream("anthropic", "https://first.example", )
        second = make_upstream("openai", "https://second.example/v1")
        grant = Grant("tok", "t", "p", own=first, further=(second,), requests_per_minute=0)
        listener.answers = [error(500), ok()]
        body = CHAT.replace(b"gpt-4o", b"some-model")[:-1] + b',"logit_bias":{"1":2}}'
        warning = (await chat(grant, body=body)).headers["x-ailink-warning"]
        assert "logit_bias" not in warning, "only that the price of the model that answered is unknown"
        assert warning.count("price") == 1

    async def test_what_another_cannot_cure_is_told(
        self, chat: Call, listener: Any, make_upstream: MakeUpstream
    ) -> None:
        listener.answers = [error(400)]
        assert (await chat(two(make_upstream))).status == 400
        assert len(listener.asked) == 1

    @pytest.mark.parametrize("word", [b"invalid_api_key", b"insufficient_quota"])
    async def test_another_account_may_be_a_good_one(
        self, chat: Call, listener: Any, make_upstream: MakeUpstream, word: bytes
    ) -> None:
        """A key that was withdrawn or has no credit left is what a second upstream is for."""
        status = 401 if word == b"invalid_api_key" else 429
        refused = Response(status, [], b'{"error":{"message":"no","type":"x","code":"%s"}}' % word)
        listener.answers = [refused, ok()]
        answer = await chat(two(make_upstream))
        assert (answer.status, answer.headers["x-ailink-upstream"]) == (200, "https://second.example/v1")

    async def test_accounts_that_are_all_bad_are_told_as_one_is(
        self, chat: Call, listener: Any, make_upstream: MakeUpstream
    ) -> None:
        listener.answers = [error(401), error(401)]
        answer = await chat(two(make_upstream))
        assert (answer.status, answer.headers["x-ailink-error"]) == (502, "upstream_auth")
        assert answer.headers["x-should-retry"] == "false"
        assert len(listener.asked) == 2

    async def test_an_upstream_that_hangs_leaves_another_its_share_of_the_time(
        self, call: Call, listener: Any, make_upstream: MakeUpstream, breakers: MemoryBreakers
    ) -> None:
        grant = two(make_upstream)
        assert grant.own is not None
        grant = structs.replace(grant, own=structs.replace(grant.own, sender=Gate()))
        listener.answers = [ok()]

        def prepare(exchange: Exchange) -> None:
            exchange.deadline = asyncio.get_running_loop().time() + 1

        answer = await call(grant, "POST", "/v1/chat/completions", CHAT, prepare=prepare)
        assert (answer.status, answer.headers["x-ailink-upstream"]) == (200, "https://second.example/v1")
        hung = breakers.of("tok", "https://first.example/v1", grant.breaker)
        assert hung is not None and hung.failures == 1

    async def test_a_write_is_not_given_up_for_one_that_may_not_be_asked(
        self, call: Call, listener: Any, make_upstream: MakeUpstream
    ) -> None:
        class Late:
            async def send(self, request: Request, deadline: float | None = None) -> Response:
                await asyncio.sleep(0.15)
                return ok()

        first = make_upstream(None, "https://first.example", generic=True)
        second = make_upstream(None, "https://second.example", generic=True)
        first = structs.replace(first, sender=Late())
        grant = Grant("tok", "t", "p", own=first, further=(second,), requests_per_minute=0)

        def prepare(exchange: Exchange) -> None:
            exchange.deadline = asyncio.get_running_loop().time() + 0.2

        answer = await call(grant, "POST", "/things", b"{}", prepare=prepare)
        assert (answer.status, answer.headers["x-ailink-upstream"]) == (200, "https://first.example")

    async def test_declared_fallbacks_come_after_the_models_own_targets(
        self, chat: Call, grant: Grant, listener: Any
    ) -> None:
        snapshot = Snapshot(fallbacks={"gpt-4o": ("gpt-4o-mini", "gpt-4o")})
        listener.answers = [error(500), ok()]
        assert (await chat(snapshot=snapshot)).status == 200
        assert [b'"gpt-4o-mini"' in request.body for request in listener.asked] == [False, True]

    async def test_fallbacks_are_restricted_like_any_model(self, chat: Call, grant: Grant, listener: Any) -> None:
        snapshot = Snapshot(fallbacks={"gpt-4o": ("gpt-4o-mini",)})
        listener.answers = [error(500), ok()]
        only = structs.replace(grant, allowed_models=("gpt-4o",))
        assert (await chat(only, snapshot=snapshot)).status == 502
        assert len(listener.asked) == 1

    @pytest.mark.parametrize(
        ("method", "first", "asked"),
        [
            ("GET", BROKEN, 2),
            ("GET", 503, 2),
            ("GET", 429, 2),
            ("GET", 404, 1),
            ("POST", BROKEN, 1),
            ("POST", 503, 1),
            ("POST", UNREACHED, 2),
        ],
    )
    async def test_of_an_api(
        self, call: Call, listener: Any, make_upstream: MakeUpstream, method: str, first: Any, asked: int
    ) -> None:
        """A write goes elsewhere only if the first upstream cannot have got it."""
        upstreams = [make_upstream(None, f"https://{name}.example", generic=True) for name in ("a", "b")]
        grant = Grant("tok", "t", "p", own=upstreams[0], further=(upstreams[1],), requests_per_minute=0)
        listener.answers = [error(first) if isinstance(first, int) else first, ok()]
        headers = [(b"idempotency-key", b"k")]
        answer = await call(grant, method, "/things", b"{}", headers=headers, prepare=with_key)
        assert len(listener.asked) == asked
        assert (answer.status == 200) == (asked == 2)

    async def test_the_answer_that_is_not_used_is_given_up(
        self, call: Call, listener: Any, make_upstream: MakeUpstream
    ) -> None:
        upstreams = [make_upstream(None, f"https://{name}.example", generic=True) for name in ("a", "b")]
        grant = Grant("tok", "t", "p", own=upstreams[0], further=(upstreams[1],), requests_per_minute=0)
        unused = Pieces(b"...")
        listener.answers = [Response(503, [], unused), ok()]
        assert (await call(grant, "GET", "/things")).status == 200
        assert unused.closed

    async def test_upstreams_of_one_priority_share_by_weight(
        self, chat: Call, listener: Any, make_upstream: MakeUpstream
    ) -> None:
        names = {"heavy": (1, 9), "light": (1, 1), "spare": (2, 100)}
        upstreams = [
            structs.replace(make_upstream("openai", f"https://{name}.example/v1"), priority=priority, weight=weight)
            for name, (priority, weight) in names.items()
        ]
        grant = Grant("tok", "t", "p", own=upstreams[0], further=tuple(upstreams[1:]), requests_per_minute=0)
        listener.answers = [ok() for _ in range(1000)]
        for _ in range(1000):
            await chat(grant)
        asked = hosts(listener)
        assert asked.count("spare.example") == 0
        assert 850 <= asked.count("heavy.example") <= 940  # 900, and six of its standard deviations


    async def test_the_callers_key_goes_to_no_other_vendor(
        self, chat: Call, listener: Any, make_upstream: MakeUpstream
    ) -> None:
        further = (make_upstream("anthropic", "https://second.example"),)
        first = make_upstream("openai", "https://first.example/v1")
        grant = Grant("tok", "t", "p", own=first, further=further, allow_upstream_key=True, requests_per_minute=0)
        headers = [(b"x-real-authorization", b"Bearer sk-openai"), (b"x-ailink-allow-override", b"true")]
        listener.answers = [error(503), ok()]
        body = CHAT.replace(b"gpt-4o", b"any-model")
        assert (await chat(grant, body=body, headers=headers)).status == 403
        assert [dict(request.headers)[b"authorization"] for request in listener.asked] == [b"Bearer sk-openai"]


def with_key(exchange: Exchange) -> None:
    exchange.idempotency_key = "k"


class TestRetry:
    async def test_the_same_target_is_asked_again_then_the_next(
        self, chat: Call, listener: Any, make_upstream: MakeUpstream, pauses: list[float], journal: Any
    ) -> None:
        listener.answers = [error(503), BROKEN, error(503), ok()]
        retry = Retry(max_retries=2, base_delay_ms=100, max_backoff_ms=1000, jitter_ms=0, status_codes=CODES)
        answer = await chat(two(make_upstream, breaker=Breaker(failure_threshold=9)), retry)
        assert answer.status == 200
        assert hosts(listener) == ["first.example"] * 3 + ["second.example"]
        assert pauses == [0.1, 0.2]
        assert journal.records[0].attempts == 4

    async def test_only_what_is_listed_or_got_no_answer(
        self, chat: Call, listener: Any, pauses: list[float]
    ) -> None:
        retry = Retry(max_retries=3, jitter_ms=0, status_codes=CODES)
        for failing, asked in ((error(500), 1), (error(400), 1), (error(429), 2), (BROKEN, 2)):
            listener.asked.clear()
            listener.answers = [failing, ok()]
            await chat(retry=retry)
            assert len(listener.asked) == asked

    async def test_pauses_grow_to_their_bound_with_jitter(
        self, chat: Call, grant: Grant, listener: Any, pauses: list[float]
    ) -> None:
        grant = structs.replace(grant, breaker=Breaker(enabled=False))
        listener.answers = [error(503)] * 6
        retry = Retry(max_retries=5, base_delay_ms=500, max_backoff_ms=3000, jitter_ms=100, status_codes=CODES)
        assert (await chat(grant, retry)).status == 503
        for pause, least in zip(pauses, (0.5, 1, 2, 3, 3), strict=True):
            assert least <= pause <= least + 0.1

    async def test_an_upstream_may_ask_for_more_time(
        self, chat: Call, listener: Any, pauses: list[float], make_upstream: MakeUpstream
    ) -> None:
        retry = Retry(max_retries=1, base_delay_ms=100, max_backoff_ms=1000, jitter_ms=0, status_codes=CODES)
        listener.answers = [error(429, b"7"), ok()]
        assert (await chat(retry=retry)).status == 200
        assert pauses == [7.0]
        listener.asked.clear()
        listener.answers = [error(429, b"7"), ok()]
        assert (await chat(two(make_upstream), retry)).status == 200
        assert hosts(listener) == ["first.example", "second.example"], "another one is there at once"

    async def test_nothing_is_tried_beyond_the_deadline(
        self, call: Call, grant: Grant, listener: Any, pauses: list[float]
    ) -> None:
        listener.answers = [error(429, b"5"), ok()]

        def prepare(exchange: Exchange) -> None:
            exchange.retry = Retry(max_retries=1, jitter_ms=0, status_codes=CODES)
            exchange.deadline = asyncio.get_running_loop().time() + 4

        answer = await call(grant, "POST", "/v1/chat/completions", CHAT, prepare=prepare)
        assert (answer.status, answer.headers["retry-after"], pauses) == (429, "5", [])

    async def test_an_upstream_is_given_the_time_that_is_left(
        self, call: Call, grant: Grant, make_upstream: MakeUpstream
    ) -> None:
        deadlines: list[float | None] = []

        class Watch:
            async def send(self, request: Request, deadline: float | None = None) -> Response:
                deadlines.append(deadline)
                return ok()

        assert grant.own is not None
        grant = structs.replace(grant, own=structs.replace(grant.own, sender=Watch()), resolved={})
        now = asyncio.get_running_loop().time()
        await call(grant, "POST", "/v1/chat/completions", CHAT)
        assert deadlines[0] is not None and 599 <= deadlines[0] - now <= 660

    async def test_a_circuit_that_opens_ends_it(
        self, chat: Call, listener: Any, pauses: list[float]
    ) -> None:
        listener.answers = [error(503)] * 5
        answer = await chat(retry=Retry(max_retries=9, jitter_ms=0, status_codes=CODES))
        assert (answer.status, state(answer), len(listener.asked)) == (503, "open", 3)
        assert answer.headers["x-ailink-error"] == "upstream_overloaded"

    @pytest.mark.parametrize(
        ("method", "key", "first", "asked"),
        [
            ("GET", False, 503, 2),
            ("HEAD", False, 503, 2),
            ("GET", False, BROKEN, 2),
            ("POST", False, 503, 1),
            ("DELETE", False, BROKEN, 1),
            ("POST", True, 503, 2),
            ("PUT", True, BROKEN, 2),
            ("POST", False, UNREACHED, 2),
        ],
    )
    async def test_a_write_is_not_sent_twice_without_a_key(
        self, call: Call, api: Grant, listener: Any, pauses: list[float], method: str, key: bool, first: Any, asked: int
    ) -> None:
        listener.answers = [error(first) if isinstance(first, int) else first, ok()]

        def prepare(exchange: Exchange) -> None:
            exchange.retry = Retry(max_retries=3, jitter_ms=0, status_codes=CODES)
            exchange.idempotency_key = "k" if key else None

        answer = await call(api, method, "/v1/things", b"{}", prepare=prepare)
        assert len(listener.asked) == asked
        assert (answer.status == 200) == (asked == 2)

    async def test_an_apis_error_passes_untouched_after_the_last_retry(
        self, call: Call, api: Grant, listener: Any, pauses: list[float], journal: Any
    ) -> None:
        listener.answers = [error(503, b"2"), error(503)]
        retry = Retry(max_retries=1, jitter_ms=0, status_codes=CODES)
        answer = await call(api, "GET", "/v1/things", prepare=retrying(retry))
        assert (answer.status, answer.body) == (503, b'{"error":{"message":"no"}}')
        assert pauses == [2.0]
        assert (journal.records[0].attempts, journal.records[0].upstream_status) == (2, 503)

    @pytest.mark.parametrize(
        ("said", "waited"),
        [(b"0.75", 0.75), (b"Thu, 01 Jan 2026 00:00:05 GMT", 5.0), (b"Wed, 31 Dec 2025 00:00:00 GMT", 0.1),
         (b"99999999999", None), (b"soon", 0.1)],
    )  # fmt: skip
    async def test_an_api_may_ask_for_time_in_every_way_that_http_has(
        self, call: Call, api: Grant, listener: Any, pauses: list[float], monkeypatch: pytest.MonkeyPatch,
        said: bytes, waited: float | None,
    ) -> None:
        monkeypatch.setattr(attempt, "time", lambda: 1_767_225_600.0)
        listener.answers = [error(503, said), ok()]
        retry = Retry(max_retries=1, base_delay_ms=100, jitter_ms=0, status_codes=CODES)
        answer = await call(api, "GET", "/v1/things", prepare=retrying(retry))
        assert (answer.status, pauses) == ((503, []) if waited is None else (200, [waited]))

    async def test_what_was_sent_once_is_never_told_as_unsent(
        self, call: Call, api: Grant, listener: Any, pauses: list[float]
    ) -> None:
        """Else an idempotency key would be set free although the first attempt may have had its effect."""
        seen: list[Exchange] = []

        def prepare(exchange: Exchange) -> None:
            exchange.retry = Retry(max_retries=1, jitter_ms=0, status_codes=CODES)
            exchange.idempotency_key = "k"
            seen.append(exchange)

        listener.answers = [BROKEN, Failure("upstream_failed", "It could not be reached.", reason="connect_failed")]
        answer = await call(api, "POST", "/v1/things", b"{}", prepare=prepare)
        assert answer.status == 502
        assert b"connect_failed" not in answer.body

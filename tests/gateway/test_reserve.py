"""A call that a budget applies to is made only if what it may cost at most fits, and is charged what it cost."""

import asyncio
from collections.abc import Callable
from time import time
from typing import Any

import msgspec
import pytest

from ailink_gateway.backends.breakers import MemoryBreakers
from ailink_gateway.backends.ledger import MemoryLedger
from ailink_gateway.backends.settlement import SettlingJournal
from ailink_gateway.backends.thoughts import MemoryThoughts
from ailink_gateway.bound import DEFAULT_OUTPUT
from ailink_gateway.exchange import Exchange, Reply
from ailink_gateway.grant import Grant, Snapshot, Target
from ailink_gateway.pipeline import compose
from ailink_gateway.pricing import PriceRule
from ailink_gateway.stages import reserve as module
from ailink_gateway.stages.attempt import Attempt
from ailink_gateway.stages.dispatch import Dispatch
from ailink_gateway.stages.record import Record
from ailink_gateway.targets import Resolver
from ailink_provider.catalog import Facts
from ailink_provider.errors import Failure
from ailink_provider.prices import Price, Rates, with_service_tiers
from ailink_provider.transport import Response

PATIENCE = 5.0
OUTPUT = 1_000_000  # pico-dollars a token: a micro-dollar, a thousand nano
FREE_INPUT = Price((Rates(0, 0, OUTPUT, 0, 0, 0, 0, OUTPUT),))
RULES = (PriceRule("*", "m*", FREE_INPUT),)
CHAT = "/v1/chat/completions"
USAGE = {"prompt_tokens": 3, "completion_tokens": 7, "total_tokens": 10}


def body(**fields: Any) -> bytes:
    return msgspec.json.encode({"model": "m", "messages": [{"role": "user", "content": "x"}], **fields})


def answer(usage: dict[str, int] | None = USAGE, status: int = 200, text: str = "hello", **more: Any) -> Response:
    choices = [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}]
    reply = {"id": "c", "object": "chat.completion", "model": "m", "choices": choices} | more
    return Response(status, [], msgspec.json.encode(reply | ({"usage": usage} if usage is not None else {})))


class Pieces:
    """A stream's body: pieces of bytes, a failure to raise, or None to hang."""

    def __init__(self, *pieces: Any) -> None:
        self._pieces = list(pieces)
        self.hanging = asyncio.Event()

    def __aiter__(self) -> "Pieces":
        return self

    async def __anext__(self) -> bytes:
        if not self._pieces:
            raise StopAsyncIteration
        piece = self._pieces.pop(0)
        if piece is None:
            self.hanging.set()
            await asyncio.Event().wait()
        if isinstance(piece, Failure):
            raise piece
        return bytes(piece)

    def close(self) -> None:
        pass


def stream(*pieces: Any) -> Response:
    return Response(200, [(b"content-type", b"text/event-stream")], Pieces(*pieces))


def event(**chunk: Any) -> bytes:
    head = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": []}
    return b"data: " + msgspec.json.encode(head | chunk) + b"\n\n"


WORDS = event(choices=[{"index": 0, "delta": {"role": "assistant", "content": "x" * 40}, "finish_reason": None}])
END = event(choices=[{"index": 0, "delta": {}, "finish_reason": "stop"}])
DONE = b"data: [DONE]\n\n"
ERROR = b'data: {"error":{"message":"overloaded","type":"server_error","code":null,"param":null}}\n\n'
CUT = Failure("upstream_failed", "it closed the connection")


class Money:
    """A token with a limit, and what it asks."""

    def __init__(self, ledger: MemoryLedger, grant: Grant, call: Any, journal: Any, listener: Any) -> None:
        self.ledger, self.grant, self.call, self.journal, self.listener = ledger, grant, call, journal, listener
        self.limits: dict[str, int] = {}
        self.limit(100_000)

    def limit(self, nano: int, kind: str = "daily") -> None:
        self.limits[kind] = nano
        self.ledger.open(("token", "tok_a"), {}, self.limits, 1)
        self.ledger.open(("project", "p"), {}, {}, 1)

    async def ask(self, path: str = CHAT, content: bytes | None = None, **fields: Any) -> Any:
        more = {name: fields.pop(name) for name in ("caller", "headers", "snapshot", "grant") if name in fields}
        sent = body(**fields) if content is None else content
        return await self.call(more.pop("grant", self.grant), "POST", path, sent, **more)

    @property
    def left(self) -> int:
        return self.ledger.remaining("tok_a", "p", time())["daily"]

    @property
    def held(self) -> int:
        return self.ledger._accounts["token", "tok_a"].total("lifetime").held

    @property
    def sent(self) -> Any:
        """The body of the last request that left."""
        return msgspec.json.decode(self.listener.asked[-1].body)


@pytest.fixture
def money(ledger: MemoryLedger, call: Any, journal: Any, listener: Any, make_upstream: Any) -> Money:
    grant = Grant("tok_a", "a", "p", own=make_upstream("openai"), prices=RULES, requests_per_minute=0)
    return Money(ledger, grant, call, journal, listener)


def refused(found: Any, reason: str, code: str = "budget_exceeded") -> Any:
    error = msgspec.json.decode(found.body)
    assert (found.status, found.headers["x-ailink-error"]) == (402, code)
    assert error["error"].get("reason", reason) == reason  # some dialects have no place for it
    assert found.headers["x-should-retry"] == "false"
    return error


# --- fits, or does not -------------------------------------------------------------------------------


async def test_a_call_is_charged_what_it_cost(money: Money) -> None:
    money.listener.answers = [answer()]
    found = await money.ask(max_tokens=50)
    assert found.status == 200
    assert (money.left, money.held) == (93_000, 0)
    (opened,), (record,) = money.journal.opened, money.journal.records
    assert (opened.held_nano, record.cost_nano) == (50_000, 7000)
    assert found.headers["x-ailink-budget-remaining-daily-usd"] == "0.000093000"
    assert money.sent["max_tokens"] == 50 and "x-ailink-warning" not in found.headers


async def test_what_does_not_fit_is_refused_before_anything_is_sent(money: Money) -> None:
    money.limit(6000)
    found = await money.ask(max_tokens=7)
    error = refused(found, "budget_spent")
    assert error["detail"] == error["error"]["message"] == "Budget exceeded. Request would exceed spending limit."
    assert error["error"]["details"]["needed_usd"] == 0.000007
    assert found.headers["x-ailink-budget-remaining-daily-usd"] == "0.000006000"
    assert money.listener.asked == [] and money.journal.opened == []
    assert (money.left, money.held, money.journal.records[0].cost_nano) == (6000, 0, None)


async def test_a_limit_that_is_used_up_says_so(money: Money) -> None:
    money.limit(0)
    refused(await money.ask(max_tokens=7), "budget_spent", "spend_cap_reached")


async def test_every_period_that_is_limited_has_a_header(money: Money) -> None:
    money.limit(2_000_000_000, "monthly")
    money.listener.answers = [answer()]
    headers = (await money.ask(max_tokens=7)).headers
    assert headers["x-ailink-budget-remaining-monthly-usd"] == "1.999993000"
    assert "x-ailink-budget-remaining-lifetime-usd" not in headers


async def test_a_stream_has_the_header_less_what_is_held_for_it(money: Money) -> None:
    money.listener.answers = [stream(WORDS, END, event(usage=USAGE), DONE)]
    found = await money.ask(max_tokens=50, stream=True)
    assert found.headers["x-ailink-budget-remaining-daily-usd"] == "0.000050000"
    assert (money.left, money.held) == (93_000, 0)


async def test_no_budget_no_hold_no_header(money: Money, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "Claim", None)
    money.listener.answers = [answer()]
    money.ledger.open(("token", "tok_a"), {}, {}, 2)
    found = await money.ask()
    assert found.status == 200 and not [name for name in found.headers if "budget" in name]
    assert money.journal.opened[0].held_nano is None
    money.ledger.open(("token", "tok_a"), {}, money.limits, 3)
    assert money.left == 93_000, "the total is kept, for a limit that is set later"


async def test_counting_tokens_costs_nothing(money: Money, make_upstream: Any) -> None:
    money.limit(0)
    money.listener.answers = [Response(200, [], b'{"input_tokens":5}')]
    grant = Grant("tok_a", "a", "p", own=make_upstream("anthropic"))
    assert (await money.ask("/v1/messages/count_tokens", grant=grant, model="claude-opus-5")).status == 200


# --- the limit of output -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "fields", "name"),
    [
        (CHAT, {"max_tokens": 500}, "max_tokens"),
        (CHAT, {"max_completion_tokens": 500}, "max_completion_tokens"),
        (CHAT, {}, "max_tokens"),
        ("/v1/responses", {"max_output_tokens": 500, "input": "x"}, "max_output_tokens"),
        ("/v1/completions", {"max_tokens": 500, "prompt": "x"}, "max_tokens"),
    ],
)
async def test_the_limit_is_lowered_when_little_is_left(
    money: Money, path: str, fields: dict[str, Any], name: str
) -> None:
    money.listener.answers = [answer()]
    found = await money.ask(path, content=msgspec.json.encode({"model": "m", **fields}) if path != CHAT else None,
                            **(fields if path == CHAT else {}))  # fmt: skip
    assert money.sent[name] == 100
    assert f"{name}: lowered to 100" in found.headers["x-ailink-warning"]
    assert money.journal.opened[0].held_nano == 100_000
    assert "tools" not in money.sent


async def test_the_limit_is_lowered_in_translation_as_well(money: Money, make_upstream: Any) -> None:
    """The other dialect's own words get the lowered limit, and both texts name the client's own field."""
    grant = Grant("tok_a", "a", "p", own=make_upstream("anthropic"),
                  prices=(PriceRule("*", "claude*", FREE_INPUT),))  # fmt: skip
    generate = {"contents": [{"parts": [{"text": "x"}]}], "generationConfig": {"maxOutputTokens": 500}}
    found = await money.ask(
        "/v1beta/models/claude-opus-5:generateContent", grant=grant, content=msgspec.json.encode(generate)
    )
    assert money.sent["max_tokens"] == 100 - 16
    assert "generationConfig.maxOutputTokens: lowered to 84" in found.headers["x-ailink-warning"]


async def test_a_limit_is_not_lowered_below_sense(money: Money) -> None:
    money.limit(63_000)
    refused(await money.ask(max_tokens=500), "budget_spent")


async def test_thinking_is_never_cut(money: Money, make_upstream: Any) -> None:
    grant = Grant("tok_a", "a", "p", own=make_upstream("anthropic"),
                  prices=(PriceRule("*", "claude*", FREE_INPUT),))  # fmt: skip
    thinking = {"type": "enabled", "budget_tokens": 2000}
    asking = {"model": "claude-opus-4-5", "max_tokens": 4000, "thinking": thinking}
    refused(await money.ask("/v1/messages", grant=grant, **asking), "budget_spent")
    money.limit(2_100_000)
    await money.ask("/v1/messages", grant=grant, **asking)
    assert (money.sent["thinking"], money.sent["max_tokens"]) == (thinking, 2100)


async def test_a_model_that_nobody_knows_gets_a_limit(money: Money) -> None:
    money.limit(10**9)
    money.listener.answers = [answer()]
    found = await money.ask()
    assert money.sent["max_tokens"] == DEFAULT_OUTPUT
    assert f"max_tokens: set to {DEFAULT_OUTPUT}" in found.headers["x-ailink-warning"]


async def test_an_approved_request_is_never_changed(money: Money, make_exchange: Callable[..., Exchange]) -> None:
    async def answered(_: Exchange) -> Reply:
        return Reply(200)

    reserve = module.Reserve(money.ledger)
    for limit, status in ((500, 402), (90, None)):
        exchange = make_exchange("POST", CHAT)
        exchange.grant, exchange.approval_id, exchange.body = money.grant, "apr_1", body(max_tokens=limit)
        exchange.members = msgspec.json.decode(exchange.body, type=dict[str, msgspec.Raw])
        exchange.targets = Resolver(Snapshot()).targets("m", money.grant)
        approved = exchange.body
        try:
            await reserve(exchange, answered)
            assert status is None
        except Failure as failure:
            assert failure.status == status
        assert exchange.body == approved


# --- prices ------------------------------------------------------------------------------------------


async def test_a_price_that_nobody_knows_is_refused_under_a_budget(money: Money) -> None:
    found = await money.ask(model="unheard-of", max_tokens=7)
    assert "/api/v1/prices" in refused(found, "price_unknown")["detail"]
    assert money.listener.asked == []


async def test_the_fallback_counts_and_is_told(money: Money) -> None:
    money.listener.answers = [answer()]
    found = await money.ask(model="unheard-of", max_tokens=7, snapshot=Snapshot(unknown_price=FREE_INPUT))
    assert (found.status, money.left) == (200, 93_000)
    assert "price: that of unheard-of at openai is unknown" in found.headers["x-ailink-warning"]


async def test_without_a_budget_an_unknown_price_is_told(money: Money, make_upstream: Any) -> None:
    money.listener.answers = [answer()]
    found = await money.ask(model="unheard-of", grant=Grant("tok_b", "b", "p", own=make_upstream("openai")))
    assert (found.status, money.journal.records[0].cost_nano) == (200, None)
    assert "its cost is not counted" in found.headers["x-ailink-warning"]


async def test_a_list_of_models_to_fall_back_to_has_no_price(money: Money) -> None:
    refused(await money.ask(models=["m", "dearer"], max_tokens=7), "price_unknown")


@pytest.mark.parametrize(("method", "path"), [("POST", "/v1/anything/new"), ("GET", "/v2/anything")])
async def test_a_raw_path_of_a_vendor_has_no_price(money: Money, make_upstream: Any, method: str, path: str) -> None:
    grant = Grant("tok_a", "a", "p", own=make_upstream("openai"), raw_paths=True)
    refused(await money.call(grant, method, path, b"{}"), "price_unknown")
    assert money.listener.asked == []


async def test_any_other_api_costs_nothing(money: Money, make_upstream: Any) -> None:
    money.limit(0)
    grant = Grant("tok_a", "a", "p", own=make_upstream(None, generic=True))
    found = await money.call(grant, "POST", "/v1/charges", b"{}")
    assert (found.status, money.journal.opened[0].held_nano) == (200, None)


# --- what is charged ---------------------------------------------------------------------------------

SENT_OR_NOT = [
    (lambda: Failure("upstream_failed", "broke off"), 50_000),
    (lambda: Failure("upstream_timeout", "late", reason="first_byte_timeout"), 50_000),
    (lambda: Response(200, [], b"<html>"), 50_000),
    (lambda: answer(usage=None), 50_000),
    (lambda: Response(504, [], b"the proxy gave up"), 50_000),
    (lambda: Response(200, [], b'{"error":{"message":"no"}}'), 0),
    (lambda: Response(500, [], b'{"error":{"message":"no"}}'), 0),
    (lambda: Response(429, [], b'{"error":{"message":"no"}}'), 0),
    (lambda: Response(400, [], b'{"error":{"message":"no"}}'), 0),
]


@pytest.mark.parametrize(("upstream", "cost"), SENT_OR_NOT)
async def test_what_was_sent_and_brought_no_usage_counts_for_what_was_held(
    money: Money, upstream: Callable[[], Any], cost: int
) -> None:
    money.listener.answers = [upstream()]
    await money.ask(max_tokens=50)
    assert (money.left, money.held) == (100_000 - cost, 0)
    assert (money.journal.records[0].cost_nano or 0) == cost


async def test_translated_embeddings_that_nobody_counted_are_not_free(money: Money, make_upstream: Any) -> None:
    money.listener.answers = [Response(200, [], b'{"embeddings":[{"values":[1.0,2.0]}]}')]
    rules = (PriceRule("*", "m", Price((Rates(0, OUTPUT, 0, 0, 0, 0, 0, 0),))),)
    grant = Grant("tok_a", "a", "p", own=make_upstream("gemini"), prices=rules, requests_per_minute=0)
    sent = b'{"model":"m","input":"some words"}'
    assert (await money.ask("/v1/embeddings", sent, grant=grant)).status == 200
    record = money.journal.records[0]
    assert record.usage_estimated
    assert record.prompt_tokens == len(sent) // 4
    assert record.cost_nano == 100_000 - money.left > 0


async def test_what_failed_before_it_was_sent_is_free(money: Money) -> None:
    async def unreachable(request: Any, deadline: float | None = None) -> Response:
        raise Failure("upstream_failed", "no connection", reason="connect_failed")

    money.listener.send = unreachable
    assert (await money.ask(max_tokens=50)).status == 502
    assert (money.left, money.held) == (100_000, 0)


STREAMS = [
    ((WORDS, END, event(usage=USAGE), DONE), 7000),
    ((WORDS, END, DONE), 50_000),  # whole, and nobody counted
    ((WORDS, CUT), 10_000),  # cut: what was produced, at four characters a token
    ((WORDS, WORDS), 20_000),
    ((CUT,), 50_000),
    ((), 50_000),
    ((ERROR,), 0),
    ((WORDS, ERROR), 10_000),
]


@pytest.mark.parametrize(("pieces", "cost"), STREAMS)
async def test_a_stream_is_charged_for_what_it_produced(money: Money, pieces: tuple[Any, ...], cost: int) -> None:
    money.listener.answers = [stream(*pieces)]
    await money.ask(max_tokens=50, stream=True)
    assert (money.left, money.held) == (100_000 - cost, 0)
    assert (money.journal.records[0].cost_nano or 0) == cost


# --- service tiers -----------------------------------------------------------------------------------

TIERED = with_service_tiers(FREE_INPUT, {
    "flex": Price((Rates(0, 0, OUTPUT // 2, 0, 0, 0, 0, OUTPUT // 2),)),
    "priority": Price((Rates(0, 0, OUTPUT * 2, 0, 0, 0, 0, OUTPUT * 2),)),
})  # fmt: skip


@pytest.fixture
def tiered(money: Money, make_upstream: Any) -> Money:
    rules = (PriceRule("*", "m", TIERED),)
    money.grant = Grant("tok_a", "a", "p", own=make_upstream("openai"), prices=rules, requests_per_minute=0)
    return money


@pytest.mark.parametrize(("asked", "told", "cost"), [
    (None, None, 7000), (None, "default", 7000), (None, "priority", 14_000), ("auto", "flex", 3500),
    ("flex", "flex", 3500), ("flex", "default", 7000), ("priority", "priority", 14_000), ("priority", "default", 7000),
    ("flex", None, 7000), ("priority", None, 14_000), ("auto", None, 7000), ("scale", "scale", 7000),
])  # fmt: skip
async def test_a_call_costs_what_its_service_tier_does(
    tiered: Money, asked: str | None, told: str | None, cost: int
) -> None:
    tiered.listener.answers = [answer(service_tier=told)]
    found = await tiered.ask(max_tokens=50, **({"service_tier": asked} if asked else {}))
    assert (found.status, tiered.left) == (200, 100_000 - cost)


async def test_a_stream_costs_what_its_service_tier_does(tiered: Money) -> None:
    tier = {"service_tier": "priority"}
    for pieces, cost in (((END, event(usage=USAGE, **tier), DONE), 14_000), ((event(**tier), WORDS, CUT), 20_000)):
        tiered.listener.answers = [stream(*pieces)]
        before = tiered.left
        await tiered.ask(max_tokens=20, stream=True)
        assert before - tiered.left == cost


@pytest.mark.parametrize(("asked", "limit"), [
    ("default", 60), ("flex", 60), (None, 50), ("auto", 50), ("priority", 50), ("PRIORITY", 50),
])
async def test_what_a_dear_service_tier_may_cost_is_held(tiered: Money, asked: str | None, limit: int) -> None:
    tiered.listener.answers = [answer()]
    await tiered.ask(max_tokens=60, **({"service_tier": asked} if asked else {}))
    assert tiered.sent["max_tokens"] == limit if limit == 60 else tiered.listener.asked == []


@pytest.mark.parametrize(("asked", "warned"), [
    ("scale", True), ("x" * 500, True), ("fast", True), ("priority", False), ("flex", False), ("auto", False),
    ("default", False), (7, False),
])  # fmt: skip
async def test_a_service_tier_without_a_price_is_told(tiered: Money, asked: Any, warned: bool) -> None:
    tiered.listener.answers = [answer()]
    found = await tiered.ask(max_tokens=20, service_tier=asked)
    warning = found.headers.get("x-ailink-warning", "")
    assert ("service tier" in warning) is warned
    assert len(warning) < 200


@pytest.mark.parametrize(("pieces", "cost"), [((None,), 50_000), ((WORDS, None), 10_000)])
async def test_a_client_that_leaves_is_charged(
    money: Money, make_client: Any, pieces: tuple[Any, ...], cost: int
) -> None:
    caller, response = make_client(), stream(*pieces)
    money.listener.answers = [response]
    asking = asyncio.ensure_future(money.ask(max_tokens=50, stream=True, caller=caller))
    await asyncio.wait_for(caller.receiving.wait(), PATIENCE)
    caller.gone.set()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(asking, PATIENCE)
    assert (money.left, money.held, money.journal.records[0].cost_nano) == (100_000 - cost, 0, cost)


async def test_a_client_that_leaves_the_line_is_not_charged(money: Money, make_client: Any) -> None:
    await money.ledger.reserve("other", "tok_a", "p", time(), least=100_000, most=100_000, until=10**9)
    caller = make_client()
    asking = asyncio.ensure_future(money.ask(max_tokens=50, caller=caller))
    await asyncio.wait_for(caller.receiving.wait(), PATIENCE)
    caller.gone.set()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(asking, PATIENCE)
    assert (money.left, money.held) == (100_000, 100_000)
    assert money.listener.asked == []


async def test_a_call_that_cannot_be_recorded_counts_for_what_was_held(money: Money) -> None:
    money.listener.answers = [answer()]
    money.journal.broken = Failure("spool_full", "The audit spool is full.", retry_after=5)
    assert (await money.ask(max_tokens=50)).status == 503
    assert (money.left, money.held) == (50_000, 0)


# --- several attempts --------------------------------------------------------------------------------


async def attempts(money: Money, make_upstream: Any, make_exchange: Any, *answers: Any, limit: int) -> Any:
    """Run the stages behind Choose with two targets."""
    settling = SettlingJournal(money.journal, money.ledger)

    async def choose(exchange: Exchange, proceed: Any) -> Any:
        exchange.grant, exchange.model = money.grant, "m"
        await exchange.read_body()
        exchange.members = msgspec.json.decode(exchange.body, type=dict[str, msgspec.Raw])
        one = Target(make_upstream("openai"), "m", Facts(), own_price=FREE_INPUT)
        exchange.targets = [one, one]
        return await proceed(exchange)

    money.listener.answers = list(answers)
    exchange = make_exchange("POST", CHAT, body=body(max_tokens=limit))
    stages = (Record(settling), choose, module.Reserve(money.ledger), Attempt(MemoryBreakers()))
    stages = (*stages, Dispatch(settling, MemoryThoughts()))
    await compose(stages)(exchange)
    return exchange


async def test_an_attempt_in_doubt_counts_beside_the_one_that_answers(
    money: Money, make_upstream: Any, make_exchange: Any
) -> None:
    exchange = await attempts(money, make_upstream, make_exchange, CUT, answer(), limit=30)
    assert exchange.status == 200
    assert [opened.held_nano for opened in money.journal.opened] == [30_000, 60_000]
    assert (money.left, money.held, money.journal.records[0].cost_nano) == (63_000, 0, 37_000)


async def test_all_attempts_in_doubt_count(money: Money, make_upstream: Any, make_exchange: Any) -> None:
    await attempts(money, make_upstream, make_exchange, CUT, CUT, limit=30)
    assert (money.left, money.held) == (40_000, 0)


async def test_no_attempt_is_made_that_the_budget_has_no_room_for(
    money: Money, make_upstream: Any, make_exchange: Any
) -> None:
    exchange = await attempts(money, make_upstream, make_exchange, CUT, answer(), limit=60)
    assert (exchange.status, exchange.error_code) == (402, "budget_exceeded")
    assert len(money.listener.asked) == 1
    assert (money.left, money.held) == (40_000, 0)


async def test_an_attempt_that_was_refused_leaves_its_hold_to_the_next(
    money: Money, make_upstream: Any, make_exchange: Any
) -> None:
    busy = Response(503, [], b'{"error":{"message":"busy"}}')
    exchange = await attempts(money, make_upstream, make_exchange, busy, answer(), limit=60)
    assert exchange.status == 200
    assert [opened.held_nano for opened in money.journal.opened] == [60_000]
    assert (money.left, money.held) == (93_000, 0)


# --- many at once ------------------------------------------------------------------------------------


async def test_many_small_calls_use_almost_all_of_a_limit(money: Money, make_client: Any) -> None:
    """Each may cost 50 times what it does; nobody is refused while others only might spend what is left."""
    money.limit(3_000_000)
    money.listener.answers = [answer({"prompt_tokens": 3, "completion_tokens": 1}) for _ in range(4000)]
    found = await asyncio.gather(*(money.ask(max_tokens=50, caller=make_client()) for _ in range(4000)))
    assert money.left <= 150_000, "at least 95 % is used"
    done = sum(one.status == 200 for one in found)
    assert done * 1000 == 3_000_000 - money.left
    assert money.held == 0


async def test_who_waits_is_given_up_at_the_deadline(money: Money, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WAIT_SECONDS", 0.0)
    await money.ledger.reserve("other", "tok_a", "p", time(), least=100_000, most=100_000, until=10**9)
    found = await money.ask(max_tokens=50)
    refused(found, "budget_held_by_others")
    assert found.headers["retry-after"] == "1"

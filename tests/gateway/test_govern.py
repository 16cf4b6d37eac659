"""Govern: policies over whole calls, from the client's request to what an upstream gets and back."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from time import time
from typing import Any

import pytest

from ailink_gateway.backends.ledger import MemoryLedger
from ailink_gateway.exchange import Exchange, Reply
from ailink_gateway.grant import Grant, Retry, Snapshot, Upstream
from ailink_gateway.policy.compiled import gather
from ailink_gateway.policy.compiler import compile_policy
from ailink_gateway.ports import Spent
from ailink_gateway.stages.govern import Govern
from ailink_gateway.targets import Resolver
from ailink_provider.errors import Failure
from ailink_provider.transport import Response
from tests.gateway.policy.test_compiler import ACTIONS

Call = Callable[..., Awaitable[Any]]
GrantOf = Callable[..., Grant]
CHAT = "/v1/chat/completions"
JSON = [(b"content-type", b"application/json")]


def spent(**some: int) -> Spent:
    return Spent(**{**dict.fromkeys(Spent.__struct_fields__, 0), **some})


def chat(model: str = "gpt-4o", **fields: Any) -> bytes:
    return json.dumps({"model": model, "messages": [{"role": "user", "content": "Hi"}], **fields}).encode()


def reply(text: str = "Hello there") -> Response:
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    usage = {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18}
    return Response(200, [], json.dumps({
        "id": "c", "object": "chat.completion", "created": 1, "model": "gpt-4o", "choices": [choice], "usage": usage,
    }).encode())  # fmt: skip


class Stream:
    """A reply in pieces, and whether it was closed."""

    def __init__(self, *pieces: bytes) -> None:
        self.pieces = list(pieces)
        self.closed = False

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        if not self.pieces or self.closed:
            raise StopAsyncIteration
        return self.pieces.pop(0)

    def close(self) -> None:
        self.closed = True


def stream(*texts: str) -> Stream:
    def event(**fields: Any) -> bytes:
        chunk = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "gpt-4o", **fields}
        return b"data: " + json.dumps(chunk).encode() + b"\n\n"

    pieces = [event(choices=[{"index": 0, "delta": {"content": text}, "finish_reason": None}]) for text in texts]
    usage = {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18}
    pieces.append(event(choices=[{"index": 0, "delta": {}, "finish_reason": "stop"}]))
    return Stream(*pieces, event(choices=[], usage=usage), b"data: [DONE]\n\n")


@pytest.fixture
def grant_of(make_upstream: Callable[..., Upstream]) -> GrantOf:
    """Makes the grant of a token with policies: each a list of rules, or a document."""

    def make(*policies: Any, of_project: Any = (), **fields: Any) -> Grant:
        def compiled(number: int, policy: Any) -> Any:
            document = policy if isinstance(policy, dict) else {"rules": policy}
            return compile_policy({"name": f"policy-{number}", **document}, policy_id=f"pol_{number}")

        attached = gather(
            [compiled(number, policy) for number, policy in enumerate(of_project, 100)],
            [compiled(number, policy) for number, policy in enumerate(policies)],
        )
        known = {"own": make_upstream(None, "https://api.example"), "project": {"openai": make_upstream("openai")}}
        return Grant(**{"token_id": "tok_1", "token_name": "t", "project_id": "p", "policies": attached, **known,
            **fields})

    return make


def error(answer: Any) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(answer.body)["error"]
    return found


# --- refusing --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("rule", "method", "path", "body", "reason"), [
    ({"type": "methods", "allow": ["GET"]}, "DELETE", "/v1/charges", b"", "method_not_allowed"),
    ({"type": "methods", "deny": ["delete"]}, "DELETE", "/v1/charges", b"", "method_not_allowed"),
    ({"type": "paths", "allow": ["/v1/charges*"]}, "GET", "/v1/refunds", b"", "path_not_allowed"),
    ({"type": "paths", "deny": ["*/admin/*"]}, "GET", "/v1/admin/keys", b"", "path_not_allowed"),
    ({"type": "paths", "deny": ["/v1/*"]}, "GET", "//v1/charges", b"", "path_not_allowed"),
    ({"type": "models", "allow": ["gpt-4o-mini"]}, "POST", CHAT, chat(), "model_not_allowed"),
    ({"type": "models", "deny": ["openai/gpt-4*"]}, "POST", CHAT, chat(), "model_not_allowed"),
    ({"type": "models", "deny": ["o3"]}, "POST", CHAT, chat(models=["gpt-4o", "o3"]), "model_not_allowed"),
    ({"type": "models", "deny": ["GPT-4o"]}, "POST", CHAT, chat("openai/gpt-4O"), "model_not_allowed"),
    ({"type": "deny", "when": {"field": "request.body.amount", "op": "gt", "value": 100}}, "POST", "/v1/charges",
     b'{"amount":"250.5"}', "denied"),
    ({"type": "deny", "when": {"field": "request.body.amount", "op": "gt", "value": 100}}, "POST", "/v1/charges",
     b"amount=5000&amount=1", "body_unreadable"),
    ({"type": "validate_schema", "schema": {"required": ["amount"]}}, "POST", "/v1/charges", b'{"a":1}',
    "schema_not_met"),
    ({"type": "require_approval"}, "POST", "/v1/charges", b'{"a":1}', "approval_required"),
])  # fmt: skip
async def test_a_refusal_names_its_policy_and_reason_and_nothing_is_sent(
    call: Call, grant_of: GrantOf, listener: Any, journal: Any, rule: Any, method: str, path: str, body: bytes,
        reason: str
) -> None:
    form = b"application/x-www-form-urlencoded" if b"=" in body else b"application/json"
    own = {"own": None} if path == CHAT else {}
    answer = await call(grant_of([rule], **own), method, path, body, headers=[(b"content-type", form)])
    assert answer.status == 403
    assert answer.headers["x-ailink-error"] == "policy_denied"
    assert (error(answer)["policy_name"], error(answer)["reason"]) == ("policy-0", reason)
    assert json.loads(answer.body)["detail"] == error(answer)["message"]
    assert not listener.asked
    record = journal.records[0]
    assert (record.policy_result, record.policy_name, record.status) == ("deny", "policy-0", 403)


@pytest.mark.parametrize(("rule", "method", "path", "body"), [
    ({"type": "methods", "allow": ["GET"]}, "GET", "/v1/charges", b""),
    ({"type": "paths", "allow": ["/v1/charges*"]}, "GET", "/v1/charges/ch_1", b""),
    ({"type": "models", "allow": ["gpt-4o*"]}, "POST", CHAT, chat()),
    ({"type": "models", "deny": ["*"]}, "GET", "/x", b""),
    ({"type": "deny", "when": {"field": "request.body.amount", "op": "gt", "value": 100}}, "POST", "/x",
    b'{"amount":5}'),
    ({"type": "validate_schema", "schema": {"required": ["amount"]}}, "POST", "/x", b'{"amount":1}'),
    ({"type": "log", "level": "error"}, "GET", "/x", b""), ({"type": "throttle", "delay_ms": 1}, "GET", "/x", b""),
    ({"type": "route", "targets": [{"model": "gpt-4o"}]}, "GET", "/x", b""),
])  # fmt: skip
async def test_what_no_rule_refuses_goes_on(
    call: Call, grant_of: GrantOf, listener: Any, journal: Any, rule: Any, method: str, path: str, body: bytes
) -> None:
    answer = await call(grant_of([rule]), method, path, body, headers=JSON)
    assert answer.status == 200
    assert len(listener.asked) == 1
    assert (journal.records[0].policy_result, journal.records[0].policy_name) == ("allow", None)


async def test_a_deny_has_its_own_status_and_message_in_every_dialect(call: Call, grant_of: GrantOf) -> None:
    grant = grant_of([{"type": "deny", "status": 451, "message": "Not in this country."}])
    openai = await call(grant, "POST", CHAT, chat())
    assert (openai.status, error(openai)["message"]) == (451, "Not in this country.")
    anthropic = await call(grant, "POST", "/v1/messages", b'{"model":"gpt-4o","messages":[],"max_tokens":5}')
    assert (anthropic.status, error(anthropic)["policy_name"]) == (451, "policy-0")
    gemini = await call(grant, "POST", "/v1beta/models/gpt-4o:generateContent", b'{"contents":[]}')
    assert gemini.status == 451
    assert b"policy-0" in gemini.body


@pytest.mark.parametrize("path", ["/v1/models", "/v1/models/gpt-4o", "/v1beta/models"])
async def test_the_list_of_models_is_governed_too(call: Call, grant_of: GrantOf, journal: Any, path: str) -> None:
    refused = await call(grant_of([{"type": "paths", "deny": ["*/models*"]}]), "GET", path)
    assert refused.status == 403
    limited = grant_of([{"type": "rate_limit", "window": "1m", "max_requests": 1}], requests_per_minute=0)
    assert (await call(limited, "GET", path)).status == 200
    assert (await call(limited, "GET", path)).status == 429
    for index, (name, action) in enumerate(ACTIONS.items()):
        if name != "webhook":
            answer = await call(grant_of([{"type": name, **action}], token_id=f"tok_{index}"), "GET", path)
            assert answer.status in (200, 403, 451), name
    tagged = await call(grant_of([{"type": "tag", "key": "a", "value": "b"}]), "GET", path)
    assert (tagged.status, journal.records[-1].tags, journal.records[-1].model) == (200, {"a": "b"}, None)


async def test_the_record_tells_the_model_that_was_asked_and_the_one_that_answered(
    call: Call, grant_of: GrantOf, listener: Any, journal: Any
) -> None:
    listener.answers = [reply()]
    rule = {"type": "override", "set_body_fields": {"model": "gpt-4o-mini"}}
    assert (await call(grant_of([rule], own=None), "POST", CHAT, chat("gpt-4o"))).status == 200
    assert (journal.records[0].requested_model, journal.records[0].model) == ("gpt-4o", "gpt-4o-mini")


async def test_guardrails_that_are_asked_for_and_not_there_are_told(
    call: Call, grant_of: GrantOf, listener: Any
) -> None:
    listener.answers = [reply()]
    answer = await call(grant_of(own=None), "POST", CHAT, chat(), headers=[(b"x-ailink-guardrails", b"pii_strict")])
    assert "nothing is screened" in answer.headers["x-ailink-warning"]


async def test_project_policies_come_first_and_a_refusal_ends_everything(
    call: Call, grant_of: GrantOf, journal: Any
) -> None:
    tag = {"type": "tag", "key": "seen", "value": "1"}
    grant = grant_of([tag, {"type": "deny"}], of_project=[[{"type": "tag", "key": "project", "value": "1"},
        {"type": "deny"}]])
    answer = await call(grant, "GET", "/v1/charges")
    assert error(answer)["policy_name"] == "policy-100"
    assert journal.records[0].tags == {"project": "1"}


async def test_allow_ends_its_policy_alone(call: Call, grant_of: GrantOf) -> None:
    allow = [{"type": "allow", "when": {"field": "request.method", "op": "eq", "value": "GET"}}, {"type": "deny"}]
    assert (await call(grant_of(allow), "GET", "/x")).status == 200
    assert (await call(grant_of(allow), "POST", "/x")).status == 403
    assert (await call(grant_of(allow, [{"type": "deny"}]), "GET", "/x")).status == 403


async def test_a_method_that_poses_as_another_is_judged_by_both(call: Call, grant_of: GrantOf, listener: Any) -> None:
    grant = grant_of([{"type": "methods", "allow": ["POST", "PATCH"]}])
    names = (b"x-http-method-override", b"x_http_method_override", b"x-http_method-override", b"x_http-method",
             b"x-method_override")  # fmt: skip
    for name in names:
        for method, status in ((b"delete", 403), (b"PATCH", 200)):
            answer = await call(grant, "POST", "/v1/charges", headers=[(name, method)])
            assert answer.status == status, name
    assert len(listener.asked) == len(names)


async def test_a_body_that_no_rule_needs_is_never_parsed(call: Call, grant_of: GrantOf, listener: Any) -> None:
    rules = [{"type": "paths", "allow": ["/v1/*"]}, {"type": "rate_limit", "window": "1m", "max_requests": 9}]
    answer = await call(grant_of(rules), "POST", "/v1/charges", b'{"a":1,"a":2', headers=JSON)
    assert answer.status == 200
    assert listener.asked[0].body == b'{"a":1,"a":2'


# --- limits ----------------------------------------------------------------------------------------


async def test_a_rate_limit_lets_so_many_through_and_tells_of_it(call: Call, grant_of: GrantOf, listener: Any) -> None:
    grant = grant_of([{"type": "rate_limit", "window": "1m", "max_requests": 2}])
    answers = [await call(grant, "GET", "/v1/charges") for _ in range(3)]
    assert [answer.status for answer in answers] == [200, 200, 429]
    assert [answer.headers["x-ratelimit-remaining"] for answer in answers] == ["1", "0", "0"]
    last = answers[-1]
    assert json.loads(last.body)["detail"] == "Rate limit exceeded"
    assert (error(last)["code"], error(last)["reason"]) == ("rate_limit_exceeded", "rate_limit_exceeded")
    assert error(last)["policy_name"] == "policy-0"
    assert last.headers["x-ratelimit-limit"] == "2"
    assert 1 <= int(last.headers["retry-after"]) <= 60
    assert len(listener.asked) == 2


@pytest.mark.parametrize(("key", "same", "other"), [
    ("agent", {"headers": [(b"x-ailink-agent-name", b"a")]}, {"headers": [(b"x-ailink-agent-name", b"b")]}),
    ("user", {"headers": [(b"x-user-id", b"a")]}, {"headers": [(b"x-user-id", b"b")]}),
])  # fmt: skip
async def test_a_rate_limit_counts_by_its_key(
    call: Call, grant_of: GrantOf, key: str, same: dict[str, Any], other: dict[str, Any]
) -> None:
    grant = grant_of([{"type": "rate_limit", "window": "1h", "max_requests": 1, "key": key}])
    statuses = [(await call(grant, "GET", "/x", **who)).status for who in (same, same, other)]
    assert statuses == [200, 429, 200]


async def test_limits_by_token_part_tokens_and_global_ones_do_not(call: Call, grant_of: GrantOf) -> None:
    for key, second in (("token", 200), ("global", 429), ("ip", 429)):
        rule = {"type": "rate_limit", "window": "1d", "max_requests": 1, "key": key}
        assert (await call(grant_of([rule], token_id="tok_1"), "GET", "/x")).status == 200
        assert (await call(grant_of([rule], token_id="tok_2"), "GET", "/x")).status == second


@pytest.mark.parametrize(("key", "header"), [("agent", b"x-ailink-agent-name"), ("user", b"x-user-id")])
async def test_a_name_that_callers_give_themselves_counts_for_their_own_token(
    call: Call, grant_of: GrantOf, key: str, header: bytes
) -> None:
    """Else a token could use up what the agents and users of another have, by calling itself what they do."""
    rule = {"type": "rate_limit", "window": "1h", "max_requests": 1, "key": key}
    headers = [(header, b"a")]
    statuses = [
        (await call(grant_of([rule], token_id=token), "GET", "/x", headers=headers)).status
        for token in ("tok_1", "tok_1", "tok_2")
    ]
    assert statuses == [200, 429, 200]


async def test_whoever_invents_names_is_held_to_the_limit_of_the_token(call: Call, grant_of: GrantOf) -> None:
    rule = {"type": "rate_limit", "window": "1h", "max_requests": 1, "key": "user"}
    grant = grant_of([rule], requests_per_minute=2)
    names = [[(b"x-user-id", b"%d" % number)] for number in range(3)]
    assert [(await call(grant, "GET", "/x", headers=name)).status for name in names] == [200, 200, 429]


async def test_the_tightest_limit_is_told(call: Call, grant_of: GrantOf) -> None:
    wide, tight = ({"type": "rate_limit", "window": window, "max_requests": most} for window,
        most in (("1h", 50), ("1s", 5)))
    for rules in ([wide, tight], [tight, wide]):
        answer = await call(grant_of(rules, token_id=f"tok_{rules[0]['max_requests']}"), "GET", "/x")
        assert (answer.headers["x-ratelimit-limit"], answer.headers["x-ratelimit-remaining"]) == ("5", "4")


async def test_the_limit_that_refuses_is_told(call: Call, grant_of: GrantOf) -> None:
    def limit(window: str, most: int) -> dict[str, Any]:
        return {"type": "rate_limit", "window": window, "max_requests": most}

    grant = grant_of([limit("1m", 2), limit("1h", 1)])
    answers = [await call(grant, "GET", "/x") for _ in range(2)]
    assert [answer.status for answer in answers] == [200, 429]
    headers = answers[1].headers
    assert (headers["x-ratelimit-limit"], headers["x-ratelimit-remaining"]) == ("1", "0")
    assert headers["x-ratelimit-reset"] == headers["retry-after"] == "3600"


@pytest.fixture
def accounts(ledger: MemoryLedger) -> MemoryLedger:
    """The ledger as the directory leaves it when it has found the grant of a token."""
    ledger.open(("token", "tok_1"), {}, {}, 1)
    ledger.open(("project", "p"), {}, {}, 1)
    return ledger


@pytest.mark.usefixtures("accounts")
@pytest.mark.parametrize("period", ["daily", "monthly", "lifetime"])
async def test_a_spend_cap_refuses_once_it_is_reached(call: Call, grant_of: GrantOf, books: Any, period: str) -> None:
    grant = grant_of([{"type": "spend_cap", "period": period, "limit_usd": 1.5}])
    name = {"daily": "today_nano", "monthly": "month_nano", "lifetime": "lifetime_nano"}[period]
    assert (await call(grant, "GET", "/x")).status == 200
    books.spendings["token", "tok_1"] = spent(**{name: 1_499_999_999})
    assert (await call(grant, "GET", "/x")).status == 200
    books.spendings["token", "tok_1"] = spent(**{name: 1_500_000_000})
    answer = await call(grant, "GET", "/x")
    assert answer.status == 402
    assert (error(answer)["code"], error(answer)["reason"]) == ("spend_cap_reached", "spend_cap_reached")
    assert json.loads(answer.body)["detail"] == "Budget exceeded. Request would exceed spending limit."
    assert error(answer)["details"] == {"scope": "token", "period": period, "limit_usd": 1.5, "spent_usd": 1.5}


@pytest.mark.usefixtures("accounts")
async def test_a_projects_spend_cap_is_of_the_project(call: Call, grant_of: GrantOf, books: Any) -> None:
    grant = grant_of(of_project=[[{"type": "spend_cap", "period": "daily", "limit_usd": 1}]])
    books.spendings["token", "tok_1"] = spent(today_nano=10**10)
    assert (await call(grant, "GET", "/x")).status == 200
    books.spendings["project", "p"] = spent(today_nano=10**9)
    assert (await call(grant, "GET", "/x")).status == 402


@pytest.mark.parametrize("attached", ["token", "project"])
async def test_a_spend_cap_counts_what_calls_under_way_may_cost(
    call: Call, grant_of: GrantOf, accounts: MemoryLedger, listener: Any, journal: Any, attached: str
) -> None:
    rule = [{"type": "spend_cap", "period": "daily", "limit_usd": 1}]
    grant = grant_of(rule, own=None) if attached == "token" else grant_of(of_project=[rule], own=None)
    await accounts.reserve("other", "tok_1", "p", time(), least=1, most=10**9 - 1, until=0)

    def in_a_hurry(exchange: Exchange) -> None:
        exchange.deadline = asyncio.get_running_loop().time()

    waited = await call(grant, "POST", CHAT, chat(), prepare=in_a_hurry)
    assert (waited.status, error(waited)["reason"]) == (402, "budget_held_by_others")
    accounts.settle("other", "tok_1", "p", time(), 10**9 - 1)
    answer = await call(grant, "POST", CHAT, chat())
    assert answer.status == 402
    assert (error(answer)["code"], error(answer)["reason"]) == ("spend_cap_reached", "spend_cap_reached")
    assert json.loads(answer.body)["detail"] == "Budget exceeded. Request would exceed spending limit."
    name = "policy-0" if attached == "token" else "policy-100"
    assert (error(answer)["policy_name"], journal.records[-1].policy_name) == (name, name)
    assert not listener.asked


async def test_what_a_spend_cap_leaves_is_told(
    call: Call, grant_of: GrantOf, accounts: MemoryLedger, listener: Any
) -> None:
    caps = [{"type": "spend_cap", "period": period, "limit_usd": usd} for period, usd in (("daily", 5), ("daily", 2))]
    monthly = [{"type": "spend_cap", "period": "monthly", "limit_usd": 9}]
    accounts.settle("earlier", "tok_1", "p", time(), 500_000_000)
    accounts.open(("token", "tok_1"), {}, {"daily": 4_000_000_000}, 2)
    listener.answers.append(reply())
    answer = await call(grant_of(caps, of_project=[monthly], own=None), "POST", CHAT, chat())
    assert answer.status == 200, answer.body
    told = {name: value for name, value in answer.headers.items() if "budget" in name}
    cost = 97_500  # nano-dollars, of 11 and 7 tokens
    assert told == {
        "x-ailink-budget-remaining-daily-usd": f"1.{500_000_000 - cost:09}",
        "x-ailink-budget-remaining-monthly-usd": f"8.{500_000_000 - cost:09}",
    }


async def test_a_throttle_is_ended_by_the_client_that_leaves_and_by_the_deadline(
    make_exchange: Callable[..., Exchange], grant_of: GrantOf, limiter: Any, listener: Any
) -> None:
    async def proceed(exchange: Exchange) -> Reply:
        return Reply(200)

    govern = Govern(limiter, Resolver(Snapshot()), listener)
    exchange = make_exchange("GET", "/x")
    exchange.grant = grant_of([{"type": "throttle", "delay_ms": 60_000}])
    exchange.deadline = asyncio.get_running_loop().time()
    assert (await govern(exchange, proceed)).status == 200
    exchange.deadline = None
    waiting = asyncio.create_task(govern(exchange, proceed))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting


async def test_where_spend_is_not_counted_a_rule_that_goes_by_it_refuses(
    make_exchange: Callable[..., Exchange], grant_of: GrantOf, limiter: Any, listener: Any
) -> None:
    async def proceed(exchange: Exchange) -> Reply:
        raise AssertionError("it was let through")

    usage = {"field": "usage.requests_today", "op": "gt", "value": 5}
    for rule in ({"type": "spend_cap", "period": "daily", "limit_usd": 1}, {"type": "deny", "when": {"not": usage}}):
        exchange = make_exchange("GET", "/x")
        exchange.grant = grant_of([rule])
        with pytest.raises(Failure) as caught:
            await Govern(limiter, Resolver(Snapshot()), listener)(exchange, proceed)
        assert caught.value.reason == "spend_unknown"
        assert (caught.value.status, caught.value.policy_name) == (403, "policy-0")


# --- where calls go ----------------------------------------------------------------------------------


async def test_an_override_of_the_model_asks_the_other_model(
    call: Call, grant_of: GrantOf, listener: Any, journal: Any
) -> None:
    listener.answers.append(reply())
    grant = grant_of([{"type": "override", "set_body_fields": {"model": "gpt-4o-mini", "temperature": 0}}])
    await call(grant, "POST", CHAT, chat())
    sent = json.loads(listener.asked[0].body)
    assert (sent["model"], sent["temperature"]) == ("gpt-4o-mini", 0)
    assert journal.records[0].model == "gpt-4o-mini"


async def test_an_override_of_a_model_that_stands_in_the_path(
    call: Call, grant_of: GrantOf, listener: Any, make_upstream: Any
) -> None:
    grant = grant_of(
        [{"type": "override", "set_body_fields": {"model": "gemini-2.5-pro", "labels": {}}}],
        project={"gemini": make_upstream("gemini")}, own=None,
    )  # fmt: skip
    await call(grant, "POST", "/v1beta/models/gemini-2.0-flash:generateContent", b'{"contents":[]}')
    assert listener.asked[0].target == b"/v1beta/models/gemini-2.5-pro:generateContent"
    assert json.loads(listener.asked[0].body) == {"contents": [], "labels": {}}


@pytest.mark.parametrize("rule", [
    {"type": "override", "set_body_fields": {"model": "gpt-4o-mini"}},
    {"type": "route", "targets": [{"model": "gpt-4o-mini"}]},
    {"type": "split", "variants": [{"weight": 1, "set_body_fields": {"model": "gpt-4o-mini"}}]},
])  # fmt: skip
async def test_restrictions_hold_for_what_rules_ask_for(
    call: Call, grant_of: GrantOf, listener: Any, rule: Any
) -> None:
    answer = await call(grant_of([rule], allowed_models=("gpt-4o",)), "POST", CHAT, chat())
    assert (answer.status, error(answer)["reason"]) == (403, "model_not_allowed")
    restricted = grant_of([rule], of_project=[[{"type": "models", "allow": ["gpt-4o"]}]])
    answer = await call(restricted, "POST", CHAT, chat())
    assert (answer.status, error(answer)["policy_name"]) == (403, "policy-100")
    assert not listener.asked


async def test_a_route_has_others_answer_in_its_order(
    call: Call, grant_of: GrantOf, listener: Any, make_upstream: Any, journal: Any
) -> None:
    listener.answers += [Response(500, [], b"{}"), reply()]
    targets = [{"model": "no-such-model", "provider": "groq"}, {"model": "gpt-4o-mini", "provider": "openai"},
        {"model": "gpt-4o"}]
    grant = grant_of([{"type": "route", "targets": targets}], own=None)
    answer = await call(grant, "POST", CHAT, chat("o3"))
    assert answer.status == 200
    assert [json.loads(request.body)["model"] for request in listener.asked] == ["gpt-4o-mini", "gpt-4o"]
    assert (journal.records[0].requested_model, journal.records[0].model) == ("o3", "gpt-4o")


async def test_a_route_to_nothing_says_why(call: Call, grant_of: GrantOf) -> None:
    grant = grant_of([{"type": "route", "targets": [{"model": "claude-sonnet-4-5", "provider": "anthropic"}]}],
        own=None)
    answer = await call(grant, "POST", CHAT, chat())
    assert (answer.status, error(answer)["code"]) == (502, "credential_missing")


async def test_the_cheapest_of_a_routes_models_is_asked_first(call: Call, grant_of: GrantOf, listener: Any) -> None:
    listener.answers.append(reply())
    targets = [{"model": "gpt-4o"}, {"model": "gpt-4o-mini"}]
    await call(grant_of([{"type": "route", "targets": targets, "strategy": "cost_optimized"}]), "POST", CHAT, chat())
    assert json.loads(listener.asked[0].body)["model"] == "gpt-4o-mini"


async def test_a_balanced_route_takes_all_models_and_one_for_a_session(
    call: Call, grant_of: GrantOf, listener: Any
) -> None:
    targets = [{"model": "gpt-4o"}, {"model": "gpt-4o-mini"}]
    grant = grant_of([{"type": "route", "targets": targets, "strategy": "load_balanced"}])
    for _ in range(40):
        await call(grant, "POST", CHAT, chat())
    asked = {json.loads(request.body)["model"] for request in listener.asked}
    assert asked == {"gpt-4o", "gpt-4o-mini"}
    listener.asked.clear()
    for _ in range(5):
        await call(grant, "POST", CHAT, chat(), headers=[(b"x-session-id", b"s-1")])
    assert len({json.loads(request.body)["model"] for request in listener.asked}) == 1


async def test_a_split_goes_by_weight_and_keeps_to_a_session(
    call: Call, grant_of: GrantOf, listener: Any, journal: Any
) -> None:
    variants = [
        {"weight": 3, "name": "warm", "set_body_fields": {"temperature": 1}}, {"weight": 1, "name": "cold"},
        {"weight": 0, "name": "never", "set_body_fields": {"temperature": 2}},
    ]  # fmt: skip
    grant = grant_of([{"type": "split", "variants": variants}])
    for number in range(400):
        await call(grant, "POST", CHAT, chat(), headers=[(b"x-session-id", b"s-%d" % (number // 2))])
    chosen = [record.tags["split.policy-0"] for record in journal.records]
    assert chosen[::2] == chosen[1::2]
    assert 250 < chosen.count("warm") < 350
    assert set(chosen) == {"warm", "cold"}
    for request, name in zip(listener.asked, chosen, strict=True):
        assert ("temperature" in json.loads(request.body)) is (name == "warm")


async def test_the_retry_of_the_policies_is_left_for_the_attempts(
    make_exchange: Callable[..., Exchange], grant_of: GrantOf, limiter: Any, listener: Any
) -> None:
    async def proceed(exchange: Exchange) -> Reply:
        return Reply(200)

    exchange = make_exchange("GET", "/x")
    exchange.grant = grant_of({"retry": {"max_retries": 1}}, {"rules": [{"type": "log"}], "retry": {"max_retries": 4}})
    await Govern(limiter, Resolver(Snapshot()), listener)(exchange, proceed)
    assert exchange.retry == Retry(max_retries=4)


# --- approvals -------------------------------------------------------------------------------------


async def test_approvals_merge_and_those_that_were_given_count(
    make_exchange: Callable[..., Exchange], grant_of: GrantOf, limiter: Any, listener: Any
) -> None:
    seen: list[list[dict[str, Any]]] = []

    async def proceed(exchange: Exchange) -> Reply:
        seen.append(list(exchange.approvals_needed))
        return Reply(200)

    notify = [{"type": "webhook", "url": "https://hooks.example/a"}]
    grant = grant_of(
        [{"type": "require_approval", "timeout": "1h", "notify": notify}], [{"type": "require_approval"}]
    )
    govern = Govern(limiter, Resolver(Snapshot()), listener, approvals=True)
    exchange = make_exchange("POST", "/x")
    exchange.grant = grant
    await govern(exchange, proceed)
    assert [(need["policy_name"], need["timeout_seconds"], need["notify"]) for need in seen[0]] == [
        ("policy-0", 3600, notify), ("policy-1", 600, [])
    ]  # fmt: skip
    assert (exchange.policy_result, exchange.policy_name) == ("approval", "policy-0")
    again = make_exchange("POST", "/x")
    again.grant = grant
    again.approved_rules = frozenset((need["policy_name"], need["rule"]) for need in seen[0])
    await govern(again, proceed)
    assert seen[1] == []
    assert again.policy_result == "allow"


# --- webhooks --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("answers", "on_fail", "status"), [
    ([Response(204, [], b"")], "deny", 200), ([Response(500, [], b"")], "deny", 403),
    ([Response(302, [], b"")], "deny", 403),
    ([Failure("upstream_failed", "address")], "deny", 403), ([Failure("upstream_timeout", "late")], "allow", 200),
    ([Response(500, [], b"")], "allow", 200),
])  # fmt: skip
async def test_a_webhook_is_told_and_decides_only_where_it_cannot_be(
    call: Call, grant_of: GrantOf, listener: Any, answers: Any, on_fail: str, status: int
) -> None:
    listener.answers += answers
    rule = {"type": "webhook", "url": "https://hooks.example:8443/told", "on_fail": on_fail}
    headers = [(b"x-ailink-agent-name", b"bot"), (b"x-secret", b"s3cret")]
    answer = await call(grant_of([rule]), "POST", "/v1/charges", b'{"card":"4242"}', headers=headers)
    assert answer.status == status
    hook = listener.asked[0]
    assert (str(hook.url), hook.target, hook.method) == ("https://hooks.example:8443", b"/told", "POST")
    told = json.loads(hook.body)
    assert (told["policy_name"], told["rule"], told["path"], told["agent_name"]) == ("policy-0", 0, "/v1/charges",
        "bot")
    assert b"4242" not in hook.body + repr(hook.headers).encode()
    assert b"s3cret" not in hook.body + repr(hook.headers).encode()
    assert len(listener.asked) == (2 if status == 200 else 1)


# --- shadow ----------------------------------------------------------------------------------------


async def test_shadow_judges_the_request_as_it_came_and_does_nothing(
    call: Call, grant_of: GrantOf, listener: Any, journal: Any
) -> None:
    shadow = {"mode": "shadow", "rules": [
        {"type": "override", "set_body_fields": {"amount": 9}}, {"type": "webhook", "url": "https://hooks.example"},
        {"type": "deny", "when": {"field": "request.body.amount", "op": "eq", "value": 5}},
        {"type": "tag", "key": "a", "value": "b"},
    ]}  # fmt: skip
    enforced = {"rules": [{"type": "override", "set_body_fields": {"amount": 1}}]}
    answer = await call(grant_of(enforced, shadow), "POST", "/v1/charges", b'{"amount":5}', headers=JSON)
    assert answer.status == 200
    assert [request.body for request in listener.asked] == [b'{"amount":1}']
    record = journal.records[0]
    assert record.shadow_violations == [
        "policy-1: rules[0]: set amount", "policy-1: rules[1]: call the webhook https://hooks.example",
        "policy-1: rules[2]: deny (denied)",
    ]  # fmt: skip
    assert (record.policy_result, record.tags) == ("allow", None)


async def test_shadow_counts_for_itself(call: Call, grant_of: GrantOf, journal: Any) -> None:
    rules = [{"type": "rate_limit", "window": "1m", "max_requests": 1}]
    shadow = grant_of({"mode": "shadow", "rules": rules})
    answers = [await call(shadow, "GET", "/x") for _ in range(3)]
    assert [answer.status for answer in answers] == [200] * 3
    assert answers[0].headers["x-ratelimit-limit"] == "600", "the default limit is told, and not that of a shadow"
    assert [record.shadow_violations for record in journal.records] == [
        None, *[["policy-0: rules[0]: deny (rate_limit_exceeded)"]] * 2
    ]  # fmt: skip
    assert (await call(grant_of(rules), "GET", "/x")).status == 200


async def test_shadow_says_what_it_could_not_decide(call: Call, grant_of: GrantOf, journal: Any) -> None:
    rules = [{"type": "deny", "when": {"field": "request.body.a", "op": "exists"}}]
    answer = await call(grant_of({"mode": "shadow", "rules": rules}), "POST", "/x", b"{", headers=JSON)
    assert answer.status == 200
    assert journal.records[0].shadow_violations[0].startswith("policy-0: rules[0]: not decided: ")


# --- replies ---------------------------------------------------------------------------------------

SAYS_SECRET = {"field": "response.body.choices[*].message.content", "op": "contains", "value": "secret"}


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize(("texts", "status"), [(("All is ", "well"), 200), (("The sec", "ret is out"), 403)])
async def test_a_rule_on_the_reply_reads_all_of_it_before_the_client_does(
    call: Call, grant_of: GrantOf, listener: Any, journal: Any, streaming: bool, texts: tuple[str, ...], status: int
) -> None:
    listener.answers.append(Response(200, [], stream(*texts)) if streaming else reply("".join(texts)))
    grant = grant_of({"phase": "post", "rules": [{"type": "deny", "when": SAYS_SECRET, "message": "It told."}]})
    answer = await call(grant, "POST", CHAT, chat(stream=streaming))
    assert answer.status == status
    if status == 200:
        assert b"well" in answer.body
        assert answer.body.endswith(b"data: [DONE]\n\n") is streaming
        assert answer.headers["content-type"].startswith("text/event-stream" if streaming else "application/json")
    else:
        assert b"out" not in answer.body
        assert (error(answer)["message"], error(answer)["policy_name"]) == ("It told.", "policy-0")
    record = journal.records[0]
    assert (record.cost_nano, record.completion_tokens) == (97_500, 7)
    assert record.policy_result == ("allow" if status == 200 else "deny")


async def test_a_streams_reply_reads_alike_in_every_dialect(call: Call, grant_of: GrantOf, listener: Any) -> None:
    fields = {
        "/v1/messages": ("response.body.content[0].text",
        b'{"model":"gpt-4o","messages":[{"role":"user","content":"Hi"}],"max_tokens":5,"stream":true}'),
        "/v1/responses": ("response.body.output[*].content[*].text", b'{"model":"gpt-4o","input":"Hi","stream":true}'),
        "/v1beta/models/gpt-4o:streamGenerateContent": (
            "response.body.candidates[0].content.parts[*].text", b'{"contents":[{"parts":[{"text":"Hi"}]}]}'),
    }  # fmt: skip
    for path, (field, body) in fields.items():
        for query in (b"alt=sse", b"") if "Content" in path else (b"",):
            rule = {"type": "deny", "when": {"field": field, "op": "contains", "value": "secret"}}
            listener.answers.append(Response(200, [], stream("sec", "ret")))
            answer = await call(grant_of({"phase": "post", "rules": [rule]}), "POST", path, body, query=query)
            assert answer.status == 403, (path, answer.body)


async def test_a_rule_on_the_status_holds_no_stream_up_and_bills_what_it_gives_up(
    call: Call, grant_of: GrantOf, listener: Any, journal: Any
) -> None:
    pieces = stream("Hello ", "there")
    listener.answers.append(Response(200, [], pieces))
    rule = {"type": "deny", "when": {"field": "response.status", "op": "eq", "value": 200}}
    answer = await call(grant_of({"phase": "post", "rules": [rule]}), "POST", CHAT, chat(stream=True))
    assert answer.status == 403
    assert pieces.closed
    record = journal.records[0]
    assert record.usage_estimated
    assert record.completion_tokens == 2


async def test_the_replies_of_apis_are_judged_and_changed(call: Call, grant_of: GrantOf, listener: Any) -> None:
    operations = [
        {"type": "regex_replace", "pattern": r"\d{3}-\d{2}", "replacement": "***", "field": "people[*].ssn"},
        {"type": "remove_body_field", "path": "internal"}, {"type": "set_header", "name": "X-Seen", "value": "yes"},
        {"type": "remove_header", "name": "X-Debug"},
    ]  # fmt: skip
    body = b'{"people": [{"ssn": "123-45-6789"}], "internal": 1, "kept": 1.50}'
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body)), (b"X-Debug", b"1")]
    listener.answers.append(Response(201, headers, body))
    grant = grant_of({"phase": "post", "rules": [{"type": "transform", "operations": operations}]})
    answer = await call(grant, "GET", "/v1/people")
    assert answer.status == 201
    assert answer.body == b'{"people":[{"ssn":"***-6789"}],"kept":1.50}'
    assert answer.headers["content-length"] == str(len(answer.body))
    assert answer.headers["x-seen"] == "yes"
    assert "X-Debug" not in answer.headers


async def test_a_reply_that_cannot_be_read_is_refused_where_a_rule_needs_it(
    call: Call, grant_of: GrantOf, listener: Any, journal: Any
) -> None:
    rules = [{"type": "deny", "when": {"field": "response.body.a", "op": "exists"}}]
    for headers, body in ((JSON, b"{"), ([*JSON, (b"content-encoding", b"br")], b"\x1f"),
        ([(b"content-type", b"text/html")], b"<")):
        listener.answers.append(Response(200, headers, body))
        answer = await call(grant_of({"phase": "post", "rules": rules}), "GET", "/x")
        assert (answer.status, error(answer)["reason"]) == (403, "body_unreadable")
        listener.answers.append(Response(200, headers, body))
        answer = await call(grant_of({"phase": "post", "mode": "shadow", "rules": rules}), "GET", "/x")
        assert (answer.status, answer.body) == (200, body)
        assert "not decided" in journal.records[-1].shadow_violations[0]


async def test_a_rewritten_stream_is_a_stream(call: Call, grant_of: GrantOf, listener: Any) -> None:
    operations = [{"type": "regex_replace", "pattern": "secret", "replacement": "[hidden]"}]
    grant = grant_of({"phase": "post", "rules": [{"type": "transform", "operations": operations}]})
    listener.answers.append(Response(200, [], stream("The sec", "ret is out")))
    answer = await call(grant, "POST", CHAT, chat(stream=True))
    chunks = [json.loads(line[6:]) for line in answer.body.split(b"\n\n") if line.startswith(b"data: {")]
    text = "".join(choice["delta"].get("content") or "" for chunk in chunks for choice in chunk["choices"])
    assert text == "The [hidden] is out"
    assert answer.body.endswith(b"data: [DONE]\n\n")


@pytest.mark.parametrize("streaming", [False, True])
async def test_shadow_judges_replies_without_holding_them(
    call: Call, grant_of: GrantOf, listener: Any, journal: Any, make_client: Any, streaming: bool
) -> None:
    pieces = stream("The sec", "ret is out")
    listener.answers.append(Response(200, [], pieces) if streaming else reply("The secret is out"))
    grant = grant_of({"phase": "post", "mode": "shadow", "rules": [{"type": "deny", "when": SAYS_SECRET}]})
    caller = make_client()
    answer = await call(grant, "POST", CHAT, chat(stream=streaming), caller=caller)
    assert answer.status == 200
    assert b"out" in answer.body
    assert journal.records[0].shadow_violations == ["policy-0: rules[0]: deny (denied)"]
    if streaming:
        assert len(caller.got) > 4  # in pieces, as they came


async def test_rules_after_a_call_see_failures_too(call: Call, grant_of: GrantOf, listener: Any, journal: Any) -> None:
    listener.answers.append(Response(500, [], b'{"error":{"message":"down"}}'))
    rules = [{"type": "tag", "key": "failed", "value": "yes", "when": {"field": "response.status", "op": "gte",
        "value": 500}}]
    answer = await call(grant_of({"phase": "post", "rules": rules}, own=None), "POST", CHAT, chat())
    assert answer.status == 502
    assert journal.records[0].tags == {"failed": "yes"}


async def test_a_token_without_policies_pays_for_none(call: Call, grant_of: GrantOf, journal: Any) -> None:
    answer = await call(grant_of(), "GET", "/x")
    assert answer.status == 200
    assert journal.records[0].policy_result is None

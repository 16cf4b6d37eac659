"""Conditions: every operator and every field, what is missing, and what is refused when it is saved."""

from collections.abc import Callable
from typing import Any

import pytest

from ailink_gateway.exchange import Exchange
from ailink_gateway.grant import Upstream
from ailink_gateway.policy.bodies import Unreadable
from ailink_gateway.policy.compiled import Policy
from ailink_gateway.policy.conditions import Reader
from ailink_gateway.policy.facts import Facts
from ailink_gateway.policy.judge import enforce
from ailink_gateway.policy.replies import Answer
from ailink_gateway.policy.run import Run
from ailink_gateway.ports import Spent
from ailink_provider.errors import Failure

Ask = Callable[..., Exchange]
FactsOf = Callable[..., Facts]


def met(condition: Any, facts: Facts, phase: str = "pre") -> bool:
    return Reader(phase).read(condition, "when")(facts)


def holds(field: str, op: str, value: Any, facts: Facts) -> bool:
    return met({"field": field, "op": op, "value": value}, facts)


BODY = {
    "amount": 5000, "text": "25", "ratio": 0.5, "name": "Refund of ORDER-7", "flag": True, "none": None, "big": 2**70,
    "items": [{"price": 3, "tags": ["a", "b"]}, {"price": 12}], "nested": {"deep": {"er": "x"}}, "list": [1, "2", True],
}  # fmt: skip


@pytest.mark.parametrize(("field", "op", "value", "expected"), [
    ("amount", "eq", 5000, True), ("amount", "eq", "5000", True), ("amount", "eq", 5000.0, True),
    ("amount", "eq", "5000.0", True), ("text", "eq", 25, True), ("text", "eq", "25.0", True),
    ("text", "eq", "x", False),
    ("flag", "eq", True, True), ("flag", "eq", 1, False), ("flag", "eq", "true", False), ("none", "eq", None, True),
    ("name", "eq", "Refund of ORDER-7", True), ("amount", "neq", 1, True), ("amount", "neq", 5000, False),
    ("nested", "eq", {"deep": {"er": "x"}}, True), ("nested", "eq", {"deep": {}}, False),
    ("list", "eq", [1, 2, True], True), ("list", "eq", [1, 2, 1], False), ("big", "eq", str(2**70), True),
    ("big", "eq", str(2**70 + 1), False), ("big", "gt", 2**70 - 1, True),
    ("amount", "gt", 4999, True), ("amount", "gt", "4999.5", True), ("amount", "gt", 5000, False),
    ("amount", "gte", 5000, True), ("amount", "lt", 5001, True), ("amount", "lte", 4999, False),
    ("text", "gt", "9", True), ("text", "lt", "100", True), ("name", "gt", "A", True), ("name", "gt", 5, False),
    ("flag", "gt", 0, False), ("none", "lt", 5, False), ("ratio", "gt", ".4", True),
    ("amount", "in", [1, "5000"], True), ("amount", "not_in", [1, 2], True), ("amount", "not_in", [5000], False),
    ("nested.deep.er", "in", ["x", "y"], True), ("nested.deep.er", "in", ["z"], False), ("flag", "in", [1], False),
    ("name", "glob", "Refund*", True), ("name", "glob", "refund*", False), ("name", "glob", "*ORDER-?", True),
    ("name", "glob", "Refund of ORDER-[0-9]", True), ("name", "glob", "Refund of ORDER-[!0-9]", False),
    ("name", "regex", r"ORDER-\d+$", True), ("name", "regex", "^ORDER", False), ("amount", "regex", "^50", True),
    ("flag", "regex", ".", False), ("name", "regex", "(?i)refund", True),
    ("name", "contains", "of", True), ("list", "contains", 2, True), ("list", "contains", "1", True),
    ("list", "contains", 3, False), ("amount", "contains", "00", True), ("nested", "contains", "deep", False),
    ("name", "starts_with", "Refund", True), ("name", "ends_with", "-7", True), ("amount", "starts_with", "5", True),
    ("items[0].price", "eq", 3, True), ("items[1].price", "gt", 10, True), ("items[2].price", "gt", 0, False),
    ("items[*].price", "gt", 10, True), ("items[*].price", "gt", 100, False), ("items[*].tags[*]", "eq", "b", True),
    ("items[*].tags[0]", "eq", "a", True), ("items.price", "gt", 0, False), ("amount.x", "eq", 1, False),
])  # fmt: skip
def test_an_operator_on_a_field_of_the_body(
    ask: Ask, facts_of: FactsOf, field: str, op: str, value: Any, expected: bool
) -> None:
    assert holds(f"request.body.{field}", op, value, facts_of(ask(body=BODY))) is expected


@pytest.mark.parametrize("op", ["eq", "neq", "gt", "gte", "lt", "lte", "glob", "regex", "contains", "starts_with"])
@pytest.mark.parametrize("field", ["request.body.nothing", "request.body.items[*].nothing", "request.headers.x-no",
                                   "request.query.no", "request.model"])  # fmt: skip
def test_a_comparison_on_what_is_missing_is_false_and_not_inverts_it(
    ask: Ask, facts_of: FactsOf, field: str, op: str
) -> None:
    facts = facts_of(ask(body=BODY))
    comparison = {"field": field, "op": op, "value": "1"}
    assert not met(comparison, facts)
    assert met({"not": comparison}, facts)
    assert not met({"field": field, "op": "in", "value": ["1"]}, facts)
    assert not met({"field": field, "op": "not_in", "value": ["1"]}, facts)


def test_exists_asks_whether_something_is_there(ask: Ask, facts_of: FactsOf) -> None:
    facts = facts_of(ask(body=BODY))
    for field, there in {"amount": True, "none": True, "no": False, "items[*].price": True,
        "items[*].no": False}.items():
        comparison = {"field": f"request.body.{field}", "op": "exists"}
        assert met(comparison, facts) is there
        assert met({**comparison, "value": True}, facts) is there
        assert met({**comparison, "value": False}, facts) is not there


def test_conditions_combine_under_all_their_names(ask: Ask, facts_of: FactsOf) -> None:
    facts = facts_of(ask(body=BODY))
    yes = {"field": "request.method", "op": "eq", "value": "POST"}
    no = {"field": "request.method", "op": "eq", "value": "GET"}
    for every in ("all", "and", "all_of"):
        assert met({every: [yes, yes]}, facts)
        assert not met({every: [yes, no]}, facts)
    for one in ("any", "or", "any_of"):
        assert met({one: [no, yes]}, facts)
        assert not met({one: [no, no]}, facts)
    assert met({"not": {"any": [no, {"all": [yes, {"not": yes}]}]}}, facts)


def test_every_field_of_a_request_is_read(ask: Ask, facts_of: FactsOf) -> None:
    exchange = ask(
        "POST", "/v1/chat/completions", {"model": "gpt-4o", "messages": [], "n": 2},
        {"X-AILink-Agent-Name": "bot", "X-Twice": "a"}, b"tag=a&tag=b&empty=",
    )  # fmt: skip
    exchange.raw_headers.append((b"x-twice", b"b"))
    spent = Spent(1_500_000_000, 7_000_000_000, 9_000_000_000, requests_today=4, requests_this_hour=2)
    facts = facts_of(exchange, spent)
    for field, value in {
        "request.method": "POST", "request.path": "/v1/chat/completions", "request.body_size": len(exchange.body),
        "request.model": "gpt-4o", "request.body.n": 2, "request.body.model": "gpt-4o",
        "request.headers.X-Twice": "a, b",
        "request.query.tag": "b", "request.query.empty": "", "target.model": "gpt-4o", "target.provider": "openai",
        "agent.name": "bot", "token.id": "tok_1", "token.name": "billing", "token.project_id": "default",
        "context.ip": "203.0.113.9", "context.time.hour": 13, "context.time.weekday": "thu",
        "context.time.date": "2026-07-02", "usage.spend_today_usd": 1.5, "usage.spend_month_usd": 7,
        "usage.requests_today": 4, "usage.requests_this_hour": 2,
    }.items():  # fmt: skip
        assert holds(field, "eq", value, facts), field


IS_PROD = {"field": "request.headers.x-env", "op": "eq", "value": "prod"}
IS_TEAM = {"field": "request.query.team", "op": "eq", "value": "a"}


@pytest.mark.parametrize("order", [("prod", "dev"), ("dev", "prod"), ("prod", "prod")])
async def test_nobody_gets_past_a_rule_by_sending_a_header_twice(
    ask: Ask, run_of: Callable[..., Run], policy_of: Callable[..., Policy], order: tuple[str, str]
) -> None:
    """Its reader may take either, or both joined: a refusal holds for any of these, what is allowed for all."""

    async def passes(*rules: Any, values: tuple[str, ...]) -> bool:
        exchange = ask("GET", "/x", headers={"X-Env": values[-1]}, query=b"team=" + b"&team=".join(
            {"prod": b"a"}.get(value, b"b") for value in values
        ))  # fmt: skip
        exchange.raw_headers = [(b"x-env", value.encode()) for value in values]
        try:
            await enforce([policy_of(*rules)], run_of(exchange))
        except Failure:
            return False
        return True

    for is_prod in (IS_PROD, IS_TEAM):
        no_prod, only_prod = {"when": is_prod, "then": {"deny": {}}}, {"when": {"not": is_prod}, "then": {"deny": {}}}
        assert not await passes(no_prod, values=order)
        twice_alike = is_prod is IS_TEAM and order == ("prod", "prod")  # of a query's values none joins the others
        assert await passes(only_prod, values=order) is twice_alike
        deny = {"type": "deny"}
        assert await passes({"when": is_prod, "then": {"allow": {}}}, deny, values=order) is twice_alike
        assert not await passes({"when": {"not": is_prod}, "then": {"allow": {}}}, deny, values=order)
        for value, is_open in (("prod", True), ("dev", False)):
            assert await passes(only_prod, values=(value,)) is is_open
            assert await passes({"when": is_prod, "then": {"allow": {}}}, deny, values=(value,)) is is_open


def test_a_header_that_is_missing_meets_no_test_and_every_negated_one(ask: Ask, facts_of: FactsOf) -> None:
    facts = facts_of(ask("GET", "/x"))
    for certain in (False, True):
        assert not Reader("pre").read(IS_PROD, "when", certain=certain)(facts)
        assert Reader("pre").read({"not": IS_PROD}, "when", certain=certain)(facts)


@pytest.mark.parametrize("order", [("prod", "dev"), ("dev", "prod")])
def test_a_header_that_is_sent_twice_is_each_of_its_values(
    ask: Ask, facts_of: FactsOf, order: tuple[str, str]
) -> None:
    exchange = ask("GET", "/x", headers={"X-Env": order[0]})
    exchange.raw_headers.append((b"x-env", order[1].encode()))
    facts = facts_of(exchange)
    for value in (*order, ", ".join(order)):
        assert holds("request.headers.x-env", "eq", value, facts)
    assert holds("request.headers.x-env", "exists", True, facts)
    assert holds("request.headers.x-env", "neq", "dev", facts)
    assert not holds("request.headers.x-env", "eq", "test", facts)


def test_a_query_parameter_behind_a_semicolon_is_seen(ask: Ask, facts_of: FactsOf) -> None:
    facts = facts_of(ask("GET", "/x", query=b"a=1;mode=live"))
    assert holds("request.query.mode", "eq", "live", facts)
    assert holds("request.query.a", "eq", "1;mode=live", facts)


def test_every_field_of_a_reply_is_read_in_phase_post_only(ask: Ask, facts_of: FactsOf) -> None:
    exchange = ask()
    facts = facts_of(exchange)
    facts.answer = Answer(
        exchange, 201, [(b"content-type", b"application/json"), (b"X-Kind", b"a")], b'{"data":[{"id":1},{"id":2}]}'
    )
    for field, value in {
        "response.status": 201, "response.headers.x-kind": "a", "response.body.data[1].id": 2,
        "response.body.data[*].id": 1,
    }.items():  # fmt: skip
        assert met({"field": field, "op": "eq", "value": value}, facts, "post"), field
        with pytest.raises(Failure, match="phase post only"):
            Reader("pre").read({"field": field, "op": "eq", "value": value}, "when")


def test_a_body_that_is_a_list_is_read_from_its_root(ask: Ask, facts_of: FactsOf) -> None:
    facts = facts_of(ask(body=[{"a": 1}, {"a": 2}]))
    assert holds("request.body[1].a", "eq", 2, facts)
    assert holds("request.body[*].a", "eq", 1, facts)
    assert not holds("request.body.a", "eq", 1, facts)


@pytest.mark.parametrize(("path", "base", "seen"), [
    ("/v1/charges", "https://api.example", "/v1/charges"), ("/v1/charges", "https://api.example/v1", "/v1/charges"),
    ("/charges", "https://api.example/v1", "/v1/charges"), ("/charges", "https://api.example/rest", "/charges"),
    ("/v1/charges", "https://api.example/rest/v1", "/v1/charges"), ("/v1", "https://api.example/v1", "/v1"),
])  # fmt: skip
def test_one_path_of_an_api_has_one_spelling(
    ask: Ask, facts_of: FactsOf, make_upstream: Callable[..., Upstream], path: str, base: str, seen: str
) -> None:
    exchange = ask("GET", path)
    exchange.targets = [exchange.targets[0]._replace(upstream=make_upstream(None, base))]
    assert facts_of(exchange).path == seen


def test_one_path_of_a_model_has_one_spelling(ask: Ask, facts_of: FactsOf) -> None:
    chat = {"model": "m", "messages": []}
    for path in ("/v1/chat/completions", "/chat/completions"):
        assert facts_of(ask("POST", path, chat)).path == "/v1/chat/completions"
    for path in ("/v1/models/gemini-2.0-flash:generateContent", "/v1beta/models/gemini-2.0-flash:generateContent"):
        assert facts_of(ask("POST", path, {"contents": []})).path == "/v1beta/models/gemini-2.0-flash:generateContent"


def test_a_path_that_servers_read_differently_is_refused_once_a_rule_reads_it(ask: Ask, facts_of: FactsOf) -> None:
    with pytest.raises(Failure) as caught:
        holds("request.path", "glob", "/v1/*", facts_of(ask("GET", "//v1/charges")))
    assert (caught.value.code, caught.value.reason) == ("policy_denied", "path_not_allowed")


def test_a_body_is_parsed_only_when_a_rule_comes_to_need_it(ask: Ask, facts_of: FactsOf) -> None:
    facts = facts_of(ask(body=b"not json", headers={"content-type": "application/json"}))
    needs = {"field": "request.body.a", "op": "eq", "value": 1}
    assert not met({"all": [{"field": "request.method", "op": "eq", "value": "GET"}, needs]}, facts)
    assert met({"any": [{"field": "request.method", "op": "eq", "value": "POST"}, needs]}, facts)
    with pytest.raises(Unreadable) as caught:
        met(needs, facts)
    assert (caught.value.status, caught.value.code) == (403, "policy_denied")


def test_a_plain_member_of_a_models_body_is_read_alone(ask: Ask, facts_of: FactsOf) -> None:
    facts = facts_of(ask("POST", "/v1/chat/completions",
        b'{"n":3,"big":123456789012345678901,"messages":[{"a":1,"a":2}]}'))
    assert holds("request.body.n", "eq", 3, facts)
    assert holds("request.body.big", "eq", "123456789012345678901", facts)
    with pytest.raises(Failure, match="stands twice"):
        holds("request.body.messages[0].a", "eq", 1, facts)


@pytest.mark.parametrize(("condition", "place"), [
    ({}, "when"), (None, "when"), ([], "when"), (True, "when"), ("always", "when"), ({"all": []}, "when.all"),
    ({"any": []}, "when.any"), ({"all": {}}, "when.all"), ({"not": {}}, "when.not"), ({"not": []}, "when.not"),
    ({"all": [{"field": "request.method", "op": "eq"}]}, "when.all[0].value"),
    ({"all": [{"field": "request.method", "op": "like", "value": 1}]}, "when.all[0].op"),
    ({"or": [{"field": "request.method", "value": 1}]}, "when.or[0].op"),
    ({"field": "request.method", "op": "eq", "value": 1, "extra": 2}, "when.extra"),
    ({"field": "request.method", "op": "eq", "value": 1, "all": []}, "when.all"),
    ({"all": [{"field": "request.method", "op": "exists"}], "any": []}, "when.any"),
    ({"field": "request.verb", "op": "eq", "value": 1}, "when.field"),
    ({"field": "request.body", "op": "exists"}, "when.field"),
    ({"field": "request.bodyx", "op": "exists"}, "when.field"),
    ({"field": "request.body.", "op": "exists"}, "when.field"), ({"field": 5, "op": "exists"}, "when.field"),
    ({"field": "request.body.a..b", "op": "exists"}, "when.field"),
    ({"field": "request.body.a[x]", "op": "exists"}, "when.field"),
    ({"field": "request.body.a[1", "op": "exists"}, "when.field"),
    ({"field": "request.headers.a b", "op": "exists"}, "when.field"),
    ({"field": "request.method", "op": "exists", "value": 1}, "when.value"),
    ({"field": "request.method", "op": "in", "value": "GET"}, "when.value"),
    ({"field": "request.method", "op": "in", "value": []}, "when.value"),
    ({"field": "request.method", "op": "gt", "value": True}, "when.value"),
    ({"field": "request.method", "op": "gt", "value": [1]}, "when.value"),
    ({"field": "request.method", "op": "glob", "value": 1}, "when.value"),
    ({"field": "request.method", "op": "glob", "value": "[a"}, "when.value"),
    ({"field": "request.method", "op": "regex", "value": "("}, "when.value"),
    ({"field": "request.method", "op": "regex", "value": r"(a)\1"}, "when.value"),
    ({"field": "request.method", "op": "regex", "value": "(?=a)"}, "when.value"),
    ({"field": "request.method", "op": "regex", "value": "((a{100}){100}){100}"}, "when.value"),
    ({"field": "request.method", "op": "contains", "value": {}}, "when.value"),
])  # fmt: skip
def test_what_is_no_condition_is_refused_where_it_stands(condition: Any, place: str) -> None:
    with pytest.raises(Failure) as caught:
        Reader("pre").read(condition, "when")
    assert (caught.value.code, caught.value.status, caught.value.param) == ("validation_error", 422, place)
    assert caught.value.details[0]["field"] == place


def test_conditions_are_bounded_in_depth_and_number() -> None:
    leaf: Any = {"field": "request.method", "op": "exists"}
    deep = leaf
    for _ in range(13):
        deep = {"not": deep}
    for condition in (deep, {"all": [{"all": [leaf] * 100}] * 6}, {"all": [leaf] * 101}):
        with pytest.raises(Failure) as caught:
            Reader("pre").read(condition, "when")
        assert caught.value.code == "validation_error"

"""Documents of policies: what they may say, and what is refused, named by its place."""

from collections.abc import Callable
from typing import Any

import pytest

from ailink_gateway.grant import Retry
from ailink_gateway.policy.compiled import NO_POLICIES, Policy, gather
from ailink_gateway.policy.compiler import compile_policy
from ailink_provider.errors import Failure

ACTIONS: dict[str, dict[str, Any]] = {
    "allow": {}, "deny": {"status": 451, "message": "No."}, "methods": {"allow": ["get"]},
    "paths": {"deny": ["/admin*"]},
    "require_approval": {"timeout": "1h", "notify": [{"type": "slack", "url": "https://hooks.example/T/B"}]},
    "models": {"allow": ["gpt-*"], "deny": ["gpt-5*"]}, "rate_limit": {"window": "1m", "max_requests": 100},
    "throttle": {"delay_ms": 5}, "override": {"set_body_fields": {"a.b": 1}},
    "tag": {"key": "team", "value": "billing"},
    "transform": {"operations": [
        {"type": "set_header", "name": "X-A", "value": "b"}, {"type": "remove_header", "name": "x-b"},
        {"type": "append_system_prompt", "text": "Be brief."}, {"type": "prepend_system_prompt", "text": "Hear me."},
        {"type": "regex_replace", "pattern": "a(b)", "replacement": r"\1"}, {"type": "remove_body_field", "path": "x"},
        {"type": "set_body_field", "path": "y[*].z", "value": None},
    ]},
    "validate_schema": {"schema": {"type": "object"}, "message": "Not so."}, "log": {"level": "warn"},
    "split": {"variants": [{"weight": 1, "name": "a", "set_body_fields": {"model": "m"}}, {"weight": 3}]},
    "route": {"targets": [{"model": "gpt-4o"}, {"model": "m", "provider": "openai"}], "strategy": "failover"},
    "webhook": {"url": "https://hooks.example/x", "timeout_ms": 100, "on_fail": "allow"},
    "spend_cap": {"period": "daily", "limit_usd": 5},
}  # fmt: skip


def refused(document: Any) -> Failure:
    with pytest.raises(Failure) as caught:
        compile_policy(document)
    assert (caught.value.code, caught.value.status) == ("validation_error", 422)
    return caught.value


@pytest.mark.parametrize("name", ACTIONS)
def test_an_action_may_be_written_in_each_of_its_ways(name: str) -> None:
    action = ACTIONS[name]
    for rule in (
        {"type": name, **action}, {"then": {"type": name, **action}}, {"then": {"action": name, **action}},
        {"then": {name: action}}, {"then": [{name: action}]}, {"action": name, **action, "mandatory": True},
        {"type": name, **action, "when": {"field": "request.method", "op": "exists"}},
    ):  # fmt: skip
        (compiled,) = compile_policy({"name": "p", "rules": [rule]}).rules
        assert [each.name for each in compiled.actions] == [name]
        assert (compiled.when is None) is ("when" not in rule)


@pytest.mark.parametrize("name", ACTIONS)
def test_an_action_refuses_what_it_does_not_know(name: str) -> None:
    failure = refused({"name": "p", "rules": [{"type": name, **ACTIONS[name], "extra": 1}]})
    assert failure.param == "rules[0].extra"


@pytest.mark.parametrize("name", ["content_filter", "redact"])
def test_what_guardrails_bring_is_refused_until_then(name: str) -> None:
    failure = refused({"name": "p", "rules": [{"then": {"type": name, "patterns": ["ssn"]}}]})
    assert failure.param == "rules[0].then.type"
    assert "guardrails" in failure.message


@pytest.mark.parametrize(("rule", "place"), [
    ({}, "rules[0].then"), (None, "rules[0]"), ([], "rules[0]"), ("deny", "rules[0]"), ({"then": {}}, "rules[0].then"),
    ({"then": []}, "rules[0].then"), ({"then": "deny"}, "rules[0].then"), ({"then": {"deny": 1}}, "rules[0].then.deny"),
    ({"then": {"type": "deny", "action": "deny"}}, "rules[0].then.action"), ({"type": "nope"}, "rules[0].type"),
    ({"type": 5}, "rules[0].type"), ({"type": "deny", "then": {"type": "allow"}}, "rules[0].then"),
    ({"when": None, "type": "deny"}, "rules[0].when"), ({"when": {}, "type": "deny"}, "rules[0].when"),
    ({"mandatory": 1, "type": "deny"}, "rules[0].mandatory"), ({"then": {"type": "deny"}, "if": 1}, "rules[0].if"),
    ({"type": "deny", "status": 200}, "rules[0].status"), ({"type": "deny", "status": True}, "rules[0].status"),
    ({"type": "deny", "message": ""}, "rules[0].message"), ({"type": "deny", "message": "\x00"}, "rules[0].message"),
    ({"type": "require_approval", "timeout": "soon"}, "rules[0].timeout"),
    ({"type": "require_approval", "timeout": "8d"}, "rules[0].timeout"),
    ({"type": "require_approval", "notify": [{"type": "mail", "url": "https://a.example"}]}, "rules[0].notify[0].type"),
    ({"type": "require_approval", "notify": [{"type": "slack", "url": "ftp://a"}]}, "rules[0].notify[0].url"),
    ({"type": "require_approval", "notify": [{"type": "slack", "url": "https://a?b=\r\n"}]}, "rules[0].notify[0].url"),
    ({"type": "rate_limit", "window": "1m"}, "rules[0].max_requests"),
    ({"type": "rate_limit", "window": "0m", "max_requests": 1}, "rules[0].window"),
    ({"type": "rate_limit", "window": 60, "max_requests": 1}, "rules[0].window"),
    ({"type": "rate_limit", "window": "1m", "max_requests": 0}, "rules[0].max_requests"),
    ({"type": "rate_limit", "window": "1m", "max_requests": 1, "key": "session"}, "rules[0].key"),
    ({"type": "throttle", "delay_ms": 10**6}, "rules[0].delay_ms"), ({"type": "methods"}, "rules[0]"),
    ({"type": "methods", "allow": []}, "rules[0].allow"), ({"type": "paths", "allow": "/v1"}, "rules[0].allow"),
    ({"type": "models", "deny": ["["]}, "rules[0].deny[0]"), ({"type": "models", "deny": [1]}, "rules[0].deny[0]"),
    ({"type": "spend_cap", "period": "hourly", "limit_usd": 1}, "rules[0].period"),
    ({"type": "spend_cap", "period": "daily", "limit_usd": -1}, "rules[0].limit_usd"),
    ({"type": "override", "set_body_fields": {}}, "rules[0].set_body_fields"),
    ({"type": "override", "set_body_fields": {"a[": 1}}, "rules[0].set_body_fields.a["),
    ({"type": "override", "set_body_fields": {"model": "../x"}}, "rules[0].set_body_fields.model"),
    ({"type": "override", "set_body_fields": {"model": 5}}, "rules[0].set_body_fields.model"),
    ({"type": "transform", "operations": [{"type": "shout"}]}, "rules[0].operations[0].type"),
    ({"type": "transform", "operations": [{"type": "set_header", "name": "Authorization", "value": "x"}]},
     "rules[0].operations[0].name"),
    ({"type": "transform", "operations": [{"type": "set_header", "name": "X_AILINK-x", "value": "x"}]},
     "rules[0].operations[0].name"),
    ({"type": "transform", "operations": [{"type": "set_header", "name": "x-a", "value": "a\nb"}]},
     "rules[0].operations[0].value"),
    ({"type": "transform", "operations": [{"type": "regex_replace", "pattern": "(a", "replacement": ""}]},
     "rules[0].operations[0].pattern"),
    ({"type": "transform", "operations": [{"type": "regex_replace", "pattern": "a", "replacement": r"\1"}]},
     "rules[0].operations[0].replacement"),
    ({"type": "transform", "operations": [{"type": "regex_replace", "pattern": "a", "replacement": "\\"}]},
     "rules[0].operations[0].replacement"),
    ({"type": "validate_schema", "schema": {"type": "objekt"}}, "rules[0].schema.type"),
    ({"type": "validate_schema", "schema": True}, "rules[0].schema"),
    ({"type": "validate_schema", "schema": {"properties": {"a": {"pattern": "(?!x)"}}}},
     "rules[0].schema.properties.a.pattern"),
    ({"type": "validate_schema", "schema": {"patternProperties": {}}}, "rules[0].schema.patternProperties"),
    ({"type": "validate_schema", "schema": {"$ref": "https://evil.example/s.json"}}, "rules[0].schema.$ref"),
    ({"type": "validate_schema", "schema": {"$ref": "#"}}, "rules[0].schema.$ref"),
    ({"type": "split", "variants": [{"weight": 0}]}, "rules[0].variants"),
    ({"type": "split", "variants": [{"weight": 1, "share": 2}]}, "rules[0].variants[0].share"),
    ({"type": "route", "targets": []}, "rules[0].targets"), ({"type": "route", "targets": [{}]},
    "rules[0].targets[0].model"),
    ({"type": "route", "targets": [{"model": "m"}], "strategy": "best"}, "rules[0].strategy"),
    ({"type": "route", "targets": [{"model": "m"}], "strategy": "latency_optimized"}, "rules[0].strategy"),
    ({"type": "tag", "key": "k", "value": {}}, "rules[0].value"), ({"type": "log", "level": "loud"}, "rules[0].level"),
    ({"type": "webhook", "url": "http://user@a.example"}, "rules[0].url"),
    ({"type": "webhook", "url": "https://a.example", "on_fail": "ask"}, "rules[0].on_fail"),
])  # fmt: skip
def test_what_is_wrong_in_a_rule_is_named(rule: Any, place: str) -> None:
    failure = refused({"name": "p", "rules": [rule]})
    assert failure.param == place
    assert failure.details[0]["field"] == place


@pytest.mark.parametrize(("document", "place"), [
    (None, ""), ([], ""), ({}, "name"), ({"name": 5}, "name"), ({"name": "p"}, "rules"),
    ({"name": "p", "rules": {}}, "rules"),
    ({"name": "p", "rules": [], "mode": "off"}, "mode"), ({"name": "p", "rules": [], "phase": "during"}, "phase"),
    ({"name": "p", "rules": [{"type": "deny"}], "more": 1}, "more"), ({"name": "p", "retry": 3}, "retry"),
    ({"name": "p", "retry": {"max_retries": 11}}, "retry.max_retries"),
    ({"name": "p", "retry": {"tries": 1}}, "retry.tries"),
    ({"name": "p", "retry": {"status_codes": [200]}}, "retry.status_codes[0]"),
    ({"name": "p", "rules": [{"type": "deny"}] * 101}, "rules"),
])  # fmt: skip
def test_what_is_wrong_in_a_policy_is_named(document: Any, place: str) -> None:
    assert refused(document).param == place


def test_every_rule_that_is_wrong_is_listed() -> None:
    failure = refused({"name": "p", "rules": [{"type": "nope"}, {"type": "deny"}, {"type": "deny", "status": 1}]})
    assert [detail["field"] for detail in failure.details] == ["rules[0].type", "rules[2].status"]


@pytest.mark.parametrize("name", ["require_approval", "methods", "paths", "models", "rate_limit", "spend_cap", "split",
                                  "route"])  # fmt: skip
def test_what_decides_before_a_call_stands_in_no_post_policy(name: str) -> None:
    failure = refused({"name": "p", "phase": "post", "rules": [{"type": name, **ACTIONS[name]}]})
    assert failure.param == "rules[0].type"


def test_system_prompts_are_of_requests_alone() -> None:
    operations = [{"type": "append_system_prompt", "text": "x"}]
    failure = refused({"name": "p", "phase": "post", "rules": [{"type": "transform", "operations": operations}]})
    assert failure.param == "rules[0].operations[0].type"


def test_a_policy_may_have_a_retry_alone_and_what_it_leaves_out_is_the_default() -> None:
    policy = compile_policy({"name": "p", "retry": {"max_retries": 3, "base_delay_ms": 50}})
    assert policy.retry == Retry(max_retries=3, base_delay_ms=50)


def test_a_recursive_or_exploding_schema_is_refused() -> None:
    circle = {"$defs": {"a": {"items": {"$ref": "#/$defs/a"}}}, "$ref": "#/$defs/a"}
    doubling: dict[str, Any] = {"$defs": {"s0": {"type": "string"}}, "$ref": "#/$defs/s20"}
    for number in range(1, 21):
        reference = {"$ref": f"#/$defs/s{number - 1}"}
        doubling["$defs"][f"s{number}"] = {"anyOf": [reference, dict(reference)]}
    for schema in (circle, doubling):
        failure = refused({"name": "p", "rules": [{"type": "validate_schema", "schema": schema}]})
        assert str(failure.param).startswith("rules[0].schema.$defs.")


# --- as a grant has them -------------------------------------------------------------------------


def test_project_policies_come_first_and_the_last_retry_wins(policy_of: Callable[..., Policy]) -> None:
    first = policy_of({"type": "deny"}, retry={"max_retries": 1})
    second = policy_of({"type": "deny"}, retry={"max_retries": 2})
    watching = policy_of({"type": "deny"}, mode="shadow", retry={"max_retries": 9})
    after = policy_of({"type": "deny"}, phase="post")
    found = gather([first, watching], [second, after])
    assert [policy.scope for policy in found.pre] == ["project", "token"]
    assert [policy.retry for policy in found.pre] == [Retry(max_retries=1), Retry(max_retries=2)]
    assert found.retry == Retry(max_retries=2)
    assert (len(found.post), len(found.shadow_pre), len(found.shadow_post)) == (1, 1, 0)
    assert gather([], []) is NO_POLICIES


LIMIT = {"type": "rate_limit", "window": "1m", "max_requests": 5}


@pytest.mark.parametrize(("rules", "fields", "replaces"), [
    ([LIMIT], {}, True), ([{"type": "tag", "key": "a", "value": "b"}, LIMIT], {}, True),
    ([LIMIT], {"mode": "shadow"}, False),
    ([{**LIMIT, "key": "ip"}], {}, False), ([{**LIMIT, "when": {"field": "request.method", "op": "exists"}}], {},
    False),
    ([{"type": "allow", "when": {"field": "request.headers.x", "op": "exists"}}, LIMIT], {}, False),
    ([{"then": [LIMIT, {"type": "allow"}]}], {}, True), ([{"type": "deny"}], {}, False),
])  # fmt: skip
def test_only_an_enforced_unconditional_limit_by_token_replaces_the_default(
    policy_of: Callable[..., Policy], rules: list[Any], fields: dict[str, Any], replaces: bool
) -> None:
    assert gather([], [policy_of(*rules, **fields)]).own_rate_limit is replaces


def test_a_rules_key_is_its_own_content(policy_of: Callable[..., Policy]) -> None:
    keys = [
        policy_of({"type": "require_approval", "timeout": timeout}).rules[0].key for timeout in ("10m", "10m", "11m")
    ]
    assert keys[0] == keys[1] != keys[2]

"""Policies in a whole gateway: the official SDK and plain HTTP in front, strict mocks behind, the audit beside."""

import json
import secrets
from collections.abc import Callable, Iterator
from typing import Any

import httpx2
import openai
import pytest

from ailink import AIlinkClient
from ailink.models import AuditLog
from ailink_provider.testing import KEYS, MockUpstream

from .conftest import Caller, Gateway

HI: Any = [{"role": "user", "content": "hi"}]


class Desk:
    """Manages policies as an operator does, over HTTP."""

    def __init__(self, gateway: Gateway, make_token: Callable[..., str]) -> None:
        self.http = httpx2.Client(base_url=f"{gateway.url}/api/v1", headers={"X-Admin-Key": gateway.admin_key},
            timeout=20)
        self._make_token = make_token

    def save(self, *rules: Any, **fields: Any) -> dict[str, Any]:
        answer = self.http.post("/policies", json={"name": f"p-{secrets.token_hex(6)}", "rules": list(rules), **fields})
        assert answer.status_code == 201, answer.text
        made: dict[str, Any] = answer.json()
        return made

    def token(self, *policies: dict[str, Any], provider: str | None = None, **fields: Any) -> str:
        return self._make_token(provider, policy_ids=[policy["id"] for policy in policies], **fields)

    def change(self, policy: dict[str, Any], **fields: Any) -> dict[str, Any]:
        answer = self.http.patch(f"/policies/{policy['id']}", json=fields)
        assert answer.status_code == 200, answer.text
        changed: dict[str, Any] = answer.json()
        return changed


@pytest.fixture
def desk(gateway: Gateway, make_token: Callable[..., str]) -> Iterator[Desk]:
    made = Desk(gateway, make_token)
    yield made
    made.http.close()


@pytest.fixture
def sdk(gateway: Gateway) -> Iterator[Callable[[str], openai.OpenAI]]:
    made: list[openai.OpenAI] = []

    def make(token: str) -> openai.OpenAI:
        made.append(openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=token, max_retries=0))
        return made[-1]

    yield make
    for client in made:
        client.close()


def test_calls_are_refused_by_method_path_and_model(
    desk: Desk, call: Caller, sdk: Callable[[str], openai.OpenAI], upstream: MockUpstream,
    record_of: Callable[[str], AuditLog],
) -> None:  # fmt: skip
    policy = desk.save({"type": "methods", "allow": ["GET", "POST"]}, {"type": "paths", "deny": ["/v1/refunds*"]})
    token = desk.token(policy, provider="generic", upstream_url=upstream.url("/v1"))
    assert call.request("GET", "/v1/charges", token=token).status_code == 200
    for method, path, reason in (
        ("DELETE", "/v1/charges/ch_1", "method_not_allowed"), ("POST", "/v1/refunds", "path_not_allowed"),
        ("POST", "/refunds", "path_not_allowed"), ("GET", "/v1//refunds", "path_not_allowed"),
    ):  # fmt: skip
        answer = call.request(method, path, token=token)
        error = answer.json()["error"]
        assert (answer.status_code, error["code"], error["reason"]) == (403, "policy_denied", reason)
        assert error["policy_name"] == policy["name"]
        row = record_of(answer.headers["X-Request-ID"])
        assert (row.policy_result, row.upstream_status, row.error_code) == ("deny", None, "policy_denied")
    assert [request.target for request in upstream.requests] == ["/v1/charges"]
    models = desk.save({"type": "models", "allow": ["gpt-4o-*"]})
    client = sdk(desk.token(models))
    with pytest.raises(openai.PermissionDeniedError) as refused:
        client.chat.completions.create(model="gpt-4o", messages=HI)
    body: Any = refused.value.body
    assert (body["policy_name"], body["reason"]) == (models["name"], "model_not_allowed")
    assert client.chat.completions.create(model="gpt-4o-mini", messages=HI).choices[0].message.content
    upstream.assert_clean()


def test_a_rate_limit_answers_429_with_its_headers(
    desk: Desk, call: Caller, sdk: Callable[[str], openai.OpenAI], upstream: MockUpstream
) -> None:
    token = desk.token(desk.save({"type": "rate_limit", "window": "1h", "max_requests": 3}))
    client = sdk(token)
    for left in (2, 1, 0):
        answer = client.chat.completions.with_raw_response.create(model="gpt-4o", messages=HI)
        assert (answer.headers["x-ratelimit-limit"], answer.headers["x-ratelimit-remaining"]) == ("3", str(left))
    with pytest.raises(openai.RateLimitError) as limited:
        client.chat.completions.create(model="gpt-4o", messages=HI)
    headers = limited.value.response.headers
    assert (headers["x-ratelimit-remaining"], headers["x-ailink-error"]) == ("0", "rate_limit_exceeded")
    assert 3500 <= int(headers["retry-after"]) <= 3600
    assert limited.value.response.json()["detail"] == "Rate limit exceeded"
    assert len(upstream.requests) == 3


def test_an_apis_own_limits_are_not_told_beside_a_policys(desk: Desk, call: Caller, upstream: MockUpstream) -> None:
    policy = desk.save({"type": "rate_limit", "window": "1h", "max_requests": 3})
    token = desk.token(policy, provider="generic", upstream_url=upstream.url())
    upstream.script(body=b"{}", headers=[("X-RateLimit-Limit", "77"), ("X-RateLimit-Used", "5"), ("X-Other", "1")])
    headers = call.request("GET", "/things", token=token).headers
    assert headers.get_list("x-ratelimit-limit") == ["3"]
    assert (headers["x-ratelimit-remaining"], headers["x-other"]) == ("2", "1")
    assert "x-ratelimit-used" not in headers


def test_what_rules_rewrite_is_what_the_vendor_sees(
    desk: Desk, sdk: Callable[[str], openai.OpenAI], upstream: MockUpstream, record_of: Callable[[str], AuditLog]
) -> None:
    policy = desk.save(
        {"type": "override", "set_body_fields": {"temperature": 0.25}},
        {"type": "transform", "operations": [
            {"type": "append_system_prompt", "text": "Answer in one word."},
            {"type": "regex_replace", "pattern": r"\b\d{3}-\d{2}-\d{4}\b", "replacement": "[ssn]",
            "field": "messages[*].content"},
        ]},
        {"type": "route", "targets": [{"model": "claude-opus-4-6"}],
         "when": {"field": "request.headers.x-hard", "op": "eq", "value": "1"}},
    )  # fmt: skip
    client = sdk(desk.token(policy))
    messages: Any = [{"role": "system", "content": "Be kind."},
        {"role": "user", "content": "My number is 123-45-6789."}]
    for hard, streaming in (("0", False), ("1", False), ("0", True)):
        answer: Any = client.chat.completions.with_raw_response.create(
            model="gpt-4o", messages=messages, stream=streaming, max_completion_tokens=50,
                extra_headers={"X-Hard": hard}
        )
        if streaming:
            assert "".join(chunk.choices[0].delta.content or "" for chunk in answer.parse() if chunk.choices)
        sent = upstream.requests[-1].json
        system = sent["system"] if hard == "1" else sent["messages"][0]["content"]
        text = system if isinstance(system, str) else "".join(block["text"] for block in system)
        assert text == "Be kind.\n\nAnswer in one word."
        assert sent["temperature"] == 0.25
        assert "123-45" not in json.dumps(sent)
        assert "[ssn]" in json.dumps(sent)
        row = record_of(answer.headers["x-request-id"])
        assert (row.policy_result, row.provider) == ("allow", "anthropic" if hard == "1" else "openai")
    upstream.assert_clean()


def test_shadow_is_recorded_and_holds_nothing_until_it_is_enforced(
    desk: Desk, call: Caller, upstream: MockUpstream, record_of: Callable[[str], AuditLog]
) -> None:
    rule = {"when": {"field": "request.body.amount", "op": "gt", "value": "1000"}, "then": {"action": "deny"}}
    policy = desk.save(rule, mode="shadow")
    token = desk.token(policy, provider="generic", upstream_url=upstream.url())
    for body, violations in ((b'{"amount": 50000}', 1), (b'{"amount": 5}', 0)):
        answer = call.request("POST", "/v1/charges", token=token, content=body)
        assert answer.status_code == 200
        row = record_of(answer.headers["X-Request-ID"])
        assert row.policy_result == "allow"
        assert [policy["name"] in violation for violation in row.shadow_violations or []] == [True] * violations
    assert desk.change(policy, mode="enforce")["version"] == 2
    assert call.request("POST", "/v1/charges", token=token, content=b'{"amount": 50000}').status_code == 403
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    assert call.request("POST", "/v1/charges", token=token, content=b"amount=50000", headers=form).status_code == 403
    assert call.request("POST", "/v1/charges", token=token, content=b"amount=5", headers=form).status_code == 200
    assert call.request("POST", "/v1/charges", token=token, content=b"amount=5&amount=50000",
        headers=form).status_code == 403
    versions = desk.http.get(f"/policies/{policy['id']}/versions").json()["data"]
    assert [(version["version"], version["document"]["mode"]) for version in versions] == [(2, "enforce"),
        (1, "shadow")]
    assert len(upstream.requests) == 3


def test_a_policy_of_the_project_holds_for_all_its_tokens(
    desk: Desk, call: Caller, upstream: MockUpstream
) -> None:
    project = desk.http.post("/projects", json={"name": f"team-{secrets.token_hex(4)}"}).json()["id"]
    policy = desk.save({"type": "methods", "allow": ["GET"]}, project_id=project)
    token = desk.token(project_id=project, upstream_url=upstream.url())
    headers = {"X-Real-Authorization": f"Bearer {KEYS['openai']}"}
    assert call.request("POST", "/v1/charges", token=token, headers=headers).status_code == 200
    desk.http.patch(f"/projects/{project}", json={"policy_ids": [policy["id"]]}).raise_for_status()
    assert call.request("POST", "/v1/charges", token=token, headers=headers).status_code == 403
    assert call.request("GET", "/v1/charges", token=token, headers=headers).status_code == 200


@pytest.mark.parametrize("streaming", [False, True])
def test_a_refused_reply_is_the_answer_under_its_idempotency_key(
    desk: Desk, call: Caller, upstream: MockUpstream, streaming: bool
) -> None:
    policy = desk.save({"when": {"field": "response.status", "op": "lt", "value": 500}, "then": {"type": "deny"}},
        phase="post")  # fmt: skip
    charges = {"token": desk.token(policy, provider="generic", upstream_url=upstream.url())}
    chats = {"token": desk.token(policy)}
    for path, body, where in (
        ("/v1/charges", {"amount": 5}, charges),
        ("/v1/chat/completions", {"model": "gpt-4o", "messages": HI, "stream": streaming}, chats),
    ):
        upstream.forget()
        answers = [call.request("POST", path, json=body, headers={"Idempotency-Key": "k"}, **where) for _ in range(2)]
        assert [answer.headers["x-ailink-error"] for answer in answers] == ["policy_denied"] * 2
        assert (answers[0].status_code, answers[0].content) == (answers[1].status_code, answers[1].content)
        assert len(upstream.requests) == 1, "it was executed, and is paid for, once"


def test_replies_are_held_back_in_streams_too(
    desk: Desk, sdk: Callable[[str], openai.OpenAI], upstream: MockUpstream
) -> None:
    policy = desk.save(
        {"when": {"field": "response.body.choices[*].message.content", "op": "regex", "value": "(?i)launch code"},
         "then": {"type": "deny", "status": 403, "message": "The reply was held back."}}, phase="post",
    )  # fmt: skip
    client = sdk(desk.token(policy))
    for streaming in (False, True):
        upstream.script("The launch", chunks=["The launch", " code is 0000"])
        upstream.script("All quiet", chunks=["All ", "quiet"])
        with pytest.raises(openai.PermissionDeniedError, match="held back") as refused:
            client.chat.completions.create(model="gpt-4o", messages=HI, stream=streaming)
        assert "0000" not in refused.value.response.text
        quiet: Any = client.chat.completions.create(model="gpt-4o", messages=HI, stream=streaming)
        parts = [chunk.choices[0].delta.content or "" for chunk in quiet if chunk.choices] if streaming else []
        assert ("".join(parts) if streaming else quiet.choices[0].message.content) == "All quiet"


def test_a_policy_is_tried_before_it_is_saved(desk: Desk, call: Caller, upstream: MockUpstream) -> None:
    wrong = desk.http.post("/policies", json={"name": "x", "rules": [{"when": {"all": [{"field": "a", "op": "eq"}]},
        "then": {"type": "deny"}}]})
    assert (wrong.status_code, wrong.json()["error"]["param"]) == (422, "rules[0].when.all[0].field")
    draft = {"rules": [{"type": "paths", "deny": ["/v1/refunds*"]}]}
    calls = [{"method": "GET", "path": path} for path in ("/v1/refunds/1", "/v1/charges")]
    tried = desk.http.post("/policies/test", json={"policy": draft, "requests": calls}).json()
    assert [trial["decision"] for trial in tried["data"]] == ["deny", "allow"]
    assert tried["affected"] == 1
    assert not upstream.requests


def test_webhooks_go_through_the_guard(
    desk: Desk, start_gateway: Callable[..., Gateway], call: Caller, upstream: MockUpstream
) -> None:
    told = desk.save({"type": "webhook", "url": upstream.url("/told"), "timeout_ms": 5000})
    token = desk.token(told, provider="generic", upstream_url=upstream.url())
    assert call.request("GET", "/v1/charges", token=token).status_code == 200
    assert [request.target for request in upstream.requests] == ["/told", "/v1/charges"]
    assert upstream.requests[0].json["policy_name"] == told["name"]
    # What was saved while it was allowed is asked again at each call.
    policy = {"name": "private", "rules": [{"type": "webhook", "url": "http://169.254.169.254/latest"}]}
    assert desk.http.post("/policies", json=policy).status_code == 422
    lenient = start_gateway(AILINK_ALLOW_UPSTREAMS="127.0.0.0/8,169.254.0.0/16")
    with lenient.admin() as admin:
        saved = admin.policies.create(**policy)
        agent = admin.tokens.create(name="agent", upstream_url=upstream.url(), policy_ids=[saved["id"]])
    lenient.stop()
    environment = lenient.environment | {"AILINK_ALLOW_UPSTREAMS": "127.0.0.0/8"}
    strict = start_gateway(data=lenient.data, **environment)
    headers = {"Authorization": f"Bearer {agent['token_id']}"}
    answer = httpx2.get(f"{strict.url}/v1/charges", headers=headers)
    assert (answer.status_code, answer.json()["error"]["reason"]) == (403, "webhook_failed")


def test_the_documents_own_example_runs(admin: AIlinkClient) -> None:
    name = f"rate-limit-100-{secrets.token_hex(4)}"
    policy = admin.policies.create(
        name=name, mode="enforce", rules=[{"type": "rate_limit", "window": "1m", "max_requests": 100}],
        retry={"max_retries": 3, "base_delay_ms": 500, "max_backoff_ms": 10000},
    )  # fmt: skip
    admin.policies.update(policy["id"], mode="shadow")
    assert [version["document"]["mode"] for version in admin.policies.versions(policy["id"])] == ["shadow", "enforce"]
    tried = admin.policies.test(policy_id=policy["id"], requests=[{"path": "/v1/charges"}])
    assert tried["data"][0]["decision"] == "allow"
    admin.policies.delete(policy["id"])
    assert name not in [each.name for each in admin.policies.list(limit=100)]

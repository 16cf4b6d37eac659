from collections.abc import Awaitable, Callable
from typing import Any

import httpx2
import pytest

from ailink_gateway.store.store import Store
from tests.gateway.rows import insert_records

Create = Callable[..., Awaitable[dict[str, Any]]]
POLICIES, TOKENS, PROJECTS = "/api/v1/policies", "/api/v1/tokens", "/api/v1/projects"
DENY = {"type": "deny"}
BIG = {"when": {"field": "request.body.amount", "op": "gt", "value": 100},
    "then": {"type": "deny", "message": "Too much."}}


async def test_a_policy_is_made_read_changed_and_deleted(admin: httpx2.AsyncClient, create: Create) -> None:
    retry = {"max_retries": 3, "base_delay_ms": 500, "max_backoff_ms": 10000}
    rules = [{"type": "rate_limit", "window": "1m", "max_requests": 100}]
    policy = await create("policies", name="rate-limit-100", mode="enforce", rules=rules, retry=retry)
    assert policy["id"].startswith("pol_")
    assert (policy["project_id"], policy["phase"], policy["version"], policy["rules"]) == ("default", "pre", 1, rules)
    assert policy["retry"] == {**retry, "jitter_ms": 100, "status_codes": [429, 500, 502, 503, 504, 529]}
    path = f"{POLICIES}/{policy['id']}"
    assert (await admin.get(path)).json() == policy
    assert (await admin.get(POLICIES)).json()["data"] == [policy]
    assert (await admin.get(POLICIES, params={"project_id": "other"})).json()["data"] == []
    for number, (method, change) in enumerate({"PATCH": {"mode": "shadow"},
        "PUT": {"rules": [BIG], "retry": None}}.items(), 2):
        changed = (await admin.request(method, path, json=change)).json()
        assert changed["version"] == number
        assert {name: changed[name] for name in change} == change
    assert (await admin.patch(path, json={"mode": "shadow"})).json()["version"] == 3
    assert (await admin.delete(path)).json() == {"id": policy["id"], "deleted": True}
    for method, body in (("GET", None), ("PATCH", {"mode": "shadow"}), ("DELETE", None)):
        assert (await admin.request(method, path, json=body)).status_code == 404
    assert (await admin.get(f"{path}/versions")).status_code == 404
    await create("policies", name="rate-limit-100", rules=rules)


async def test_of_a_retry_only_what_is_given_changes(admin: httpx2.AsyncClient, create: Create) -> None:
    policy = await create("policies", name="p", rules=[DENY], retry={"max_retries": 3, "base_delay_ms": 50})
    path = f"{POLICIES}/{policy['id']}"
    changed = (await admin.patch(path, json={"retry": {"max_retries": 5}})).json()
    assert changed["retry"] == {**policy["retry"], "max_retries": 5}
    assert (await admin.patch(path, json={"retry": {"max_retries": 5}})).json()["version"] == changed["version"]
    assert (await admin.patch(path, json={"retry": None})).json()["retry"] is None
    made = (await admin.patch(path, json={"retry": {"base_delay_ms": 9}})).json()["retry"]
    assert (made["base_delay_ms"], made["max_retries"]) == (9, 2)


async def test_every_version_is_kept(admin: httpx2.AsyncClient, create: Create) -> None:
    policy = await create("policies", name="p", rules=[DENY])
    path = f"{POLICIES}/{policy['id']}"
    await admin.patch(path, json={"rules": [BIG], "name": "q"})
    await admin.patch(path, json={"phase": "pre", "mode": "shadow"})
    page = (await admin.get(f"{path}/versions", params={"limit": 2})).json()
    assert [version["version"] for version in page["data"]] == [3, 2]
    assert page["has_more"] is True
    assert page["data"][1]["document"] == {"name": "q", "mode": "enforce", "phase": "pre", "rules": [BIG],
        "retry": None}
    last = (await admin.get(f"{path}/versions", params={"starting_after": 2})).json()
    assert [(version["version"], version["document"]["rules"]) for version in last["data"]] == [(1, [DENY])]
    assert last["has_more"] is False
    assert last["data"][0]["created_at"] == policy["created_at"]


@pytest.mark.parametrize(("fields", "param"), [
    ({"rules": [{"type": "nope"}]}, "rules[0].type"), ({"rules": []}, "rules"), ({"rules": "all"}, "rules"),
    ({}, "rules"),
    ({"rules": [DENY, {"when": {"all": [{"field": "request.path", "op": "like", "value": 1}]}, "then": DENY}]},
     "rules[1].when.all[0].op"),
    ({"rules": [{"then": {"type": "redact"}}]}, "rules[0].then.type"), ({"rules": [DENY], "mode": "off"}, "mode"),
    ({"rules": [DENY], "retry": {"max_retries": 99}}, "retry.max_retries"), ({"rules": [DENY], "extra": 1}, "extra"),
    ({"rules": [DENY], "retry": {"status_codes": [200]}}, "retry.status_codes[0]"),
    ({"rules": [{"when": {"field": "response.status", "op": "eq", "value": 1}, "then": DENY}]}, "rules[0].when.field"),
])  # fmt: skip
async def test_what_does_not_compile_is_not_saved(
    admin: httpx2.AsyncClient, create: Create, fields: dict[str, Any], param: str
) -> None:
    answer = await admin.post(POLICIES, json={"name": "p", **fields})
    assert answer.status_code == 422
    assert answer.json()["error"]["param"] == param
    assert answer.json()["error"]["details"][0]["field"] == param
    assert (await admin.get(POLICIES)).json()["data"] == []
    policy = await create("policies", name="p", rules=[DENY])
    if fields:
        answer = await admin.patch(f"{POLICIES}/{policy['id']}", json=fields)
        assert answer.status_code == 422
        assert (await admin.get(f"{POLICIES}/{policy['id']}")).json() == policy


async def test_a_name_is_one_policys_in_its_project(admin: httpx2.AsyncClient, create: Create) -> None:
    await create("policies", name="a", rules=[DENY])
    second = await create("policies", name="b", rules=[DENY])
    other = (await create("projects", name="other"))["id"]
    await create("policies", name="a", rules=[DENY], project_id=other)
    for answer in (
        await admin.post(POLICIES, json={"name": "a", "rules": [DENY]}),
        await admin.patch(f"{POLICIES}/{second['id']}", json={"name": "a"}),
    ):
        assert (answer.status_code, answer.json()["error"]["param"]) == (409, "name")
    answer = await admin.post(POLICIES, json={"name": "c", "rules": [DENY], "project_id": "nowhere"})
    assert (answer.status_code, answer.json()["error"]["param"]) == (422, "project_id")


async def test_policies_are_attached_to_tokens_and_projects_of_their_project(
    admin: httpx2.AsyncClient, create: Create
) -> None:
    first, second = [(await create("policies", name=name, rules=[DENY]))["id"] for name in "ab"]
    other = (await create("projects", name="other"))["id"]
    foreign = (await create("policies", name="a", rules=[DENY], project_id=other))["id"]
    token = await create("tokens", name="t", policy_ids=[second, first])
    assert token["policy_ids"] == [second, first]
    path = f"{TOKENS}/{token['id']}"
    assert (await admin.patch(path, json={"policy_ids": [first]})).json()["policy_ids"] == [first]
    for wrong in ([foreign], [first, first], ["pol_none"]):
        for answer in (
            await admin.patch(path, json={"policy_ids": wrong}),
            await admin.patch(f"{PROJECTS}/default", json={"policy_ids": wrong}),
            await admin.post(TOKENS, json={"name": "u", "policy_ids": wrong}),
        ):  # fmt: skip
            assert (answer.status_code, answer.json()["error"]["param"]) == (422, "policy_ids")
    changed = await admin.patch(f"{PROJECTS}/default", json={"policy_ids": [second], "name": "Default"})
    assert (changed.json()["policy_ids"], changed.json()["name"]) == ([second], "Default")
    assert (await admin.get(f"{PROJECTS}/default")).json()["policy_ids"] == [second]
    for policy, user in ((first, f"t ({token['id']})"), (second, "the project default")):
        answer = await admin.delete(f"{POLICIES}/{policy}")
        assert answer.status_code == 409
        assert user in answer.json()["error"]["message"]
    await admin.delete(path)
    assert (await admin.delete(f"{POLICIES}/{first}")).status_code == 200


# --- trying ----------------------------------------------------------------------------------------


async def test_a_draft_is_tried_on_given_calls(admin: httpx2.AsyncClient) -> None:
    rules = [
        BIG, {"type": "paths", "deny": ["/v1/admin*"]}, {"type": "override", "set_body_fields": {"checked": True}},
        {"type": "require_approval", "when": {"field": "request.body.amount", "op": "gt", "value": 50}},
        {"type": "deny", "when": {"field": "usage.requests_today", "op": "gt", "value": 5}},
    ]  # fmt: skip
    calls = [{"path": "/v1/charges", "body": {"amount": amount}} for amount in (5, 60, 500)]
    calls += [{"method": "GET", "path": "/v1/admin?x=1"}, {"path": "/v1/charges", "body": "{", "headers": {"X": "1"}}]
    answer = await admin.post(f"{POLICIES}/test", json={"policy": {"rules": rules}, "requests": calls})
    assert answer.status_code == 200, answer.text
    small, middle, big, path, broken = answer.json()["data"]
    assert (small["decision"], small["body"]) == ("undecided", '{"amount":5,"checked":true}')
    assert small["undecided"] == ["rules[4]: usage is not known"]
    assert middle["decision"] == "approval"
    assert middle["effects"] == ["draft: rules[2]: set checked", "draft: rules[3]: require approval"]
    assert (big["decision"], big["status"], big["message"], big["body"]) == ("deny", 403, "Too much.", None)
    assert (path["decision"], path["reason"]) == ("deny", "path_not_allowed")
    assert (broken["decision"], broken["reason"]) == ("deny", "body_unreadable")
    assert answer.json()["affected"] == 5


async def test_a_policy_is_tried_on_the_path_that_would_be_sent(admin: httpx2.AsyncClient, store: Store) -> None:
    called = "/v1/proxy/services/stripe/v1/charges"
    await store.write(insert_records, [{
        "id": "req_a", "created_at": 1.0, "method": "GET", "path": called, "outcome": "answered", "status": 200,
        "token_id": "tok_1", "project_id": "default",
    }])
    answer = await admin.post(f"{POLICIES}/test", json={
        "policy": {"rules": [{"when": {"field": "request.path", "op": "eq", "value": "/v1/charges"}, "then": DENY}]},
        "requests": [{"path": called}, {"path": "/v1/%63harges"}, {"path": "/v1/refunds"}],
        "last": 1,
    })
    assert [trial["decision"] for trial in answer.json()["data"]] == ["deny", "deny", "allow", "deny"]


async def test_a_call_is_tried_at_a_time_in_utc(admin: httpx2.AsyncClient) -> None:
    rule = {"when": {"field": "context.time.hour", "op": "eq", "value": 3}, "then": DENY}
    moments = ["2026-07-02T03:30:00", "2026-07-02T03:30:00Z", "2026-07-02T05:30:00+02:00", "0001-01-01T03:00:00"]
    requests = [{"method": "GET", "path": "/x", "at": moment} for moment in moments]
    tried = await admin.post(f"{POLICIES}/test", json={"policy": {"rules": [rule]}, "requests": requests})
    assert [trial["decision"] for trial in tried.json()["data"]] == ["deny"] * 4


async def test_a_saved_policy_is_tried_on_models_and_replies(admin: httpx2.AsyncClient, create: Create) -> None:
    policy = await create("policies", name="p", rules=[{"type": "models", "allow": ["gpt-4o"]}])
    calls = [{"body": {"model": model, "messages": []}} for model in ("gpt-4o", "o3")]
    answer = await admin.post(f"{POLICIES}/test", json={"policy_id": policy["id"],
        "requests": [*calls, {**calls[0], "provider": "openai"}]})
    allowed, denied, known = answer.json()["data"]
    assert (allowed["decision"], denied["decision"], known["decision"]) == ("undecided", "undecided", "allow")
    rewriting = [{"type": "override", "set_body_fields": {"model": "o3-mini"}}, {"type": "models", "deny": ["o3-*"]}]
    calls = [{**calls[0], "provider": provider} for provider in ("openai", "anthropic")]
    answer = await admin.post(f"{POLICIES}/test", json={"policy": {"rules": rewriting}, "requests": calls})
    assert [trial["decision"] for trial in answer.json()["data"]] == ["deny", "undecided"], "as in earnest"
    post = {"phase": "post", "rules": [{"when": {"field": "response.body.ok", "op": "eq", "value": False},
        "then": DENY}]}
    replies = [{"path": "/x", "response": {"body": {"ok": ok}}} for ok in (True, False)]
    answer = await admin.post(f"{POLICIES}/test", json={"policy": post, "requests": [*replies, {"path": "/x"}]})
    assert [trial["decision"] for trial in answer.json()["data"]] == ["allow", "deny", "undecided"]


async def test_a_policy_is_tried_on_what_was_recorded(admin: httpx2.AsyncClient, store: Store) -> None:
    def row(number: int, **fields: Any) -> dict[str, Any]:
        return {
            "id": f"req_{number}", "created_at": 1000.0 + number, "method": "POST", "path": "/v1/charges",
            "outcome": "answered",
            "status": 200, "token_id": "tok_1", "project_id": "default", "agent_name": "bot", **fields,
        }  # fmt: skip

    await store.write(insert_records, [
        row(1), row(2, method="GET"), row(3, agent_name="other"), row(4, token_id="tok_2"),
        row(200, path="/v1/chat/completions", model="gpt-4o", requested_model="fast", provider="openai"),
    ])  # fmt: skip
    rules = [
        {"type": "methods", "allow": ["POST"]}, {"type": "rate_limit", "window": "1m", "max_requests": 1,
        "key": "agent"},
        {"type": "tag", "key": "a", "value": "b", "when": {"field": "target.model", "op": "eq", "value": "gpt-4o"}},
        BIG,
    ]  # fmt: skip
    body = {"policy": {"rules": rules}, "last": 100, "token_id": "tok_1"}
    answer = await admin.post(f"{POLICIES}/test", json=body)
    trials = answer.json()["data"]
    assert [trial["record"]["id"] for trial in trials] == ["req_1", "req_2", "req_3", "req_200"]
    assert [trial["decision"] for trial in trials] == ["undecided", "deny", "undecided", "undecided"]
    assert trials[0]["undecided"] == ["rules[3]: request.body is not known"]
    assert trials[1]["reason"] == "method_not_allowed"
    assert trials[3]["effects"] == ["draft: rules[2]: tag a=b"]
    assert (trials[0]["record"]["status"], answer.json()["affected"]) == (200, 2)
    body["last"] = 1
    assert len((await admin.post(f"{POLICIES}/test", json=body)).json()["data"]) == 1


async def test_a_limit_is_counted_as_it_would_have_been(admin: httpx2.AsyncClient) -> None:
    policy = {"rules": [{"type": "rate_limit", "window": "1m", "max_requests": 2}]}
    calls = [{"path": "/x", "token_id": "tok_1", "at": f"2026-07-02T10:0{minute}:00Z"} for minute in (0, 0, 0, 1, 1)]
    answer = await admin.post(f"{POLICIES}/test", json={"policy": policy, "requests": calls})
    assert [trial["decision"] for trial in answer.json()["data"]] == ["allow", "allow", "deny", "allow", "allow"]


@pytest.mark.parametrize(("body", "status", "param"), [
    ({}, 422, "policy_id"), ({"policy_id": "pol_none"}, 404, "id"),
    ({"policy": {"rules": [{"type": "x"}]}}, 422, "policy.rules[0].type"),
    ({"policy": {"rules": [DENY]}, "policy_id": "p"}, 422, "policy_id"),
    ({"policy": {"rules": [DENY]}, "last": 101}, 422, "last"),
    ({"policy": {"rules": [DENY]}, "requests": [{"path": "x"}]}, 422, "requests.0.path"),
    ({"policy": {"rules": [DENY]}, "requests": [{"body": "{"}]}, 422, "requests[0].body"),
])  # fmt: skip
async def test_what_cannot_be_tried_is_refused(
    admin: httpx2.AsyncClient, body: dict[str, Any], status: int, param: str
) -> None:
    answer = await admin.post(f"{POLICIES}/test", json=body)
    assert (answer.status_code, answer.json()["error"]["param"]) == (status, param)


async def test_deleting_a_project_takes_its_policies_with_it(admin: httpx2.AsyncClient, create: Create) -> None:
    project = (await create("projects", name="gone"))["id"]
    policy = (await create("policies", name="p", rules=[DENY], project_id=project))["id"]
    await admin.delete(f"{PROJECTS}/{project}")
    assert (await admin.get(f"{POLICIES}/{policy}")).status_code == 404


async def test_an_imported_policy_is_checked_as_a_saved_one(admin: httpx2.AsyncClient) -> None:
    text = 'version: "1.0"\npolicies: [{name: p, rules: [{type: nope}]}]\n'
    answer = await admin.post("/api/v1/config/import", content=text)
    assert (answer.status_code, answer.json()["error"]["param"]) == (422, "policies[p].rules[0].type")
    assert (await admin.get(POLICIES)).json()["data"] == []

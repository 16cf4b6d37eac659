"""Approvals over HTTP: who sees which, who decides, and what an answer looks like."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import httpx2
import pytest

from ailink_gateway import routes
from ailink_gateway.approval import Approval, CanonicalRequest
from ailink_gateway.backends.approvals import StoreApprovals
from ailink_gateway.exchange import Exchange
from ailink_gateway.grant import Grant

Caller = Callable[..., httpx2.AsyncClient]
Create = Callable[..., Awaitable[dict[str, Any]]]
Ask = Callable[..., Awaitable[Approval]]
PATH = "/api/v1/approvals"


class Pipeline:
    """Answers what is approved with ``reply``; counts how often."""

    def __init__(self) -> None:
        self.sent = 0
        self.reply: tuple[int, list[tuple[bytes, bytes]], bytes] = (201, [(b"x-a", b"1"), (b"x-a", b"2")], b"made")

    async def __call__(self, exchange: Exchange) -> None:
        self.sent += 1
        status, headers, body = self.reply
        await exchange.send({"type": "http.response.start", "status": status, "headers": headers})
        await exchange.send({"type": "http.response.body", "body": body})


@pytest.fixture
async def pipeline(approvals: StoreApprovals) -> Pipeline:
    pipeline = Pipeline()
    await approvals.start(pipeline)
    return pipeline


@pytest.fixture
async def token(create: Create) -> dict[str, Any]:
    return await create("tokens", name="agent")


@pytest.fixture
def ask(approvals: StoreApprovals, pipeline: Pipeline, token: dict[str, Any]) -> Ask:
    """Asks for an approval, as the token."""

    async def make(body: bytes = b'{"amount": 100}', token_id: str | None = None, **need: Any) -> Approval:
        headers = [(b"x-ailink-agent-name", b"billing-bot")]
        scope = {
            "type": "http", "method": "POST", "path": "/charges", "raw_path": b"/charges", "query_string": b"",
            "headers": headers, "client": None,
        }
        exchange = Exchange.of(scope, pytest.fail, pytest.fail, routes.match("POST", "/charges", b""))
        exchange.grant = Grant(token_id=token_id or token["id"], token_name="agent", project_id="default")
        exchange.approvals_needed = [{"policy_name": "payments", "rule": 0, "timeout_seconds": 600, **need}]
        request = CanonicalRequest("POST", b"/charges", b"", headers, body, None, [("https://api.example", "")])
        return await approvals.ask(exchange, request)

    return make


async def test_a_pending_approval_shows_what_was_asked(admin: httpx2.AsyncClient, ask: Ask, token: Any) -> None:
    approval = await ask(b"x" * 600)
    shown = (await admin.get(f"{PATH}/{approval.id}")).json()
    assert shown == {
        "id": approval.id, "project_id": "default", "token_id": token["id"], "status": "pending", "execution": "none",
        "reason": None, "policy_names": ["payments"], "created_at": shown["created_at"],
        "expires_at": shown["expires_at"], "decided_at": None, "decided_by": None, "response": None,
        "request_summary": {
            "method": "POST", "path": "/charges", "agent_name": "billing-bot", "upstream": "https://api.example",
            "body_preview": "x" * 500,
        },
    }


async def test_approving_sends_it_and_the_answer_is_kept(
    admin: httpx2.AsyncClient, ask: Ask, pipeline: Pipeline,
) -> None:
    approval = await ask()
    decided = await admin.post(f"{PATH}/{approval.id}/approve")
    assert decided.json() == {"id": approval.id, "status": "approved", "updated": True}
    shown = (await admin.get(f"{PATH}/{approval.id}", params={"wait": 25})).json()
    assert (shown["status"], shown["execution"], shown["decided_by"]) == ("approved", "done", "operator")
    assert shown["response"] == {
        "status_code": 201, "headers": {"x-a": "1, 2"}, "body": "made", "encoding": None, "truncated": False,
    }
    assert pipeline.sent == 1


@pytest.mark.parametrize(("body", "encoding"), [
    ("é".encode(), None), (b"\xff\xfe", "base64"), (b"x" * (1024 * 1024), None), (b"x" * (1024 * 1024 + 1), "base64"),
])
async def test_bodies_that_are_no_text_or_large_are_base64(
    admin: httpx2.AsyncClient, ask: Ask, pipeline: Pipeline, body: bytes, encoding: str | None,
) -> None:
    from base64 import b64decode

    pipeline.reply = (200, [], body)
    approval = await ask()
    await admin.post(f"{PATH}/{approval.id}/decision", json={"decision": "approved"})
    response = (await admin.get(f"{PATH}/{approval.id}?wait=25")).json()["response"]
    assert response["encoding"] == encoding
    assert (b64decode(response["body"]) if encoding else response["body"].encode()) == body


async def test_the_same_decision_again_is_fine_and_the_opposite_is_not(
    admin: httpx2.AsyncClient, ask: Ask, pipeline: Pipeline,
) -> None:
    approval = await ask()
    reject = {"decision": "rejected", "reason": " too much "}
    assert (await admin.post(f"{PATH}/{approval.id}/decision", json=reject)).json()["updated"] is True
    for path, body in (("reject", {"reason": "other"}), ("decision", reject), ("reject", None)):
        again = await admin.post(f"{PATH}/{approval.id}/{path}", json=body)
        assert (again.status_code, again.json()["updated"]) == (200, False)
    for path, body in (("approve", None), ("decision", {"decision": "approved"})):
        opposite = await admin.post(f"{PATH}/{approval.id}/{path}", json=body)
        assert (opposite.status_code, opposite.json()["error"]["code"]) == (409, "conflict")
    shown = (await admin.get(f"{PATH}/{approval.id}")).json()
    assert (shown["status"], shown["reason"], shown["response"]) == ("rejected", "too much", None)
    assert pipeline.sent == 0


async def test_fifty_racers_make_one_call(admin: httpx2.AsyncClient, ask: Ask, pipeline: Pipeline) -> None:
    approval = await ask()
    answers = await asyncio.gather(*(admin.post(f"{PATH}/{approval.id}/approve") for _ in range(50)))
    assert {answer.status_code for answer in answers} == {200}
    assert sum(answer.json()["updated"] for answer in answers) == 1
    await admin.get(f"{PATH}/{approval.id}?wait=25")
    assert pipeline.sent == 1


async def test_a_token_sees_its_own_and_decides_nothing(
    caller: Caller, ask: Ask, create: Create, token: dict[str, Any], pipeline: Pipeline,
) -> None:
    mine, other = await ask(), await create("tokens", name="other")
    theirs = await ask(token_id=other["id"])
    client = caller(authorization=f"Bearer {token['token_id']}")
    assert (await client.get(f"{PATH}/{mine.id}")).json()["id"] == mine.id
    assert [entry["id"] for entry in (await client.get(PATH)).json()["data"]] == [mine.id]
    listed = (await client.get(PATH, params={"token_id": other["id"]})).json()["data"]
    assert [entry["id"] for entry in listed] == [mine.id]
    hidden, missing = await client.get(f"{PATH}/{theirs.id}"), await client.get(f"{PATH}/apr_nothing")
    assert hidden.status_code == missing.status_code == 404
    assert hidden.json()["detail"].replace(theirs.id, "") == missing.json()["detail"].replace("apr_nothing", "")
    for path in ("approve", "reject", "decision"):
        response = await client.post(f"{PATH}/{mine.id}/{path}", json={"decision": "approved"})
        assert response.status_code == 403
    assert (await client.get(f"{PATH}/{mine.id}/deliveries")).status_code == 403
    assert (await client.get(f"{PATH}/{mine.id}")).json()["status"] == "pending"
    assert pipeline.sent == 0


@pytest.mark.parametrize(("scope", "reads", "decides"), [
    ("approvals:decide", True, True), ("approvals:read", True, False), ("tokens:write", False, False),
])
async def test_deciding_needs_its_scope(
    caller: Caller, create: Create, ask: Ask, scope: str, reads: bool, decides: bool,
) -> None:
    approval, key = await ask(), await create("admin-keys", name="k", scopes=[scope])
    client = caller(x_admin_key=key["key"])
    assert ((await client.get(f"{PATH}/{approval.id}")).status_code == 200) is reads
    decided = await client.post(f"{PATH}/{approval.id}/approve")
    assert decided.status_code == (200 if decides else 403)
    if decides:
        shown = (await client.get(f"{PATH}/{approval.id}?wait=25")).json()
        assert shown["decided_by"] == key["id"]


async def test_looking_never_decides(admin: httpx2.AsyncClient, ask: Ask, pipeline: Pipeline) -> None:
    approval = await ask()
    for method in ("GET", "HEAD", "PUT", "PATCH", "DELETE"):
        for path in ("", "/approve", "/reject", "/decision", "/deliveries"):
            await admin.request(method, f"{PATH}/{approval.id}{path}")
    assert (await admin.get(f"{PATH}/{approval.id}")).json()["status"] == "pending"
    assert pipeline.sent == 0


async def test_the_list_is_of_pending_ones_unless_it_says_otherwise(
    admin: httpx2.AsyncClient, ask: Ask, pipeline: Pipeline,
) -> None:
    asked = [await ask(b"%d" % number) for number in range(4)]
    await admin.post(f"{PATH}/{asked[1].id}/reject")
    ids = [entry["id"] for entry in (await admin.get(PATH)).json()["data"]]
    assert ids == [asked[3].id, asked[2].id, asked[0].id]
    rejected = (await admin.get(PATH, params={"status": "rejected"})).json()["data"]
    assert [entry["id"] for entry in rejected] == [asked[1].id]
    page = (await admin.get(PATH, params={"limit": 1, "starting_after": asked[3].id})).json()
    assert ([entry["id"] for entry in page["data"]], page["has_more"]) == ([asked[2].id], True)
    assert (await admin.get(PATH, params={"status": "done"})).status_code == 422
    assert (await admin.get(PATH, params={"project_id": "other"})).json()["data"] == []


async def test_waiting_ends_with_the_decision(admin: httpx2.AsyncClient, ask: Ask, approvals: StoreApprovals) -> None:
    approval = await ask()
    waiting = asyncio.ensure_future(admin.get(f"{PATH}/{approval.id}", params={"wait": 25}))
    await asyncio.sleep(0)
    await approvals.decide(approval.id, "rejected", "adm_1", None)
    assert (await waiting).json()["status"] == "rejected"
    short = await admin.get(f"{PATH}/{(await ask()).id}", params={"wait": 0.01})
    assert short.json()["status"] == "pending"
    for wait in (-1, 61, "x"):
        assert (await admin.get(f"{PATH}/{approval.id}", params={"wait": wait})).status_code == 422


@pytest.mark.parametrize("body", [
    {}, {"decision": "maybe"}, {"decision": "approve"}, {"decision": "approved", "by": "me"},
    {"decision": "approved", "reason": "x" * 501}, [],
])
async def test_what_is_no_decision_is_refused(admin: httpx2.AsyncClient, ask: Ask, body: Any) -> None:
    approval = await ask()
    response = await admin.post(f"{PATH}/{approval.id}/decision", json=body)
    assert response.status_code == 422
    assert (await admin.get(f"{PATH}/{approval.id}")).json()["status"] == "pending"


async def test_webhook_secrets_are_a_projects_own(admin: httpx2.AsyncClient, create: Create) -> None:
    project = await create("projects", name="p")
    secrets = [
        (await admin.get(f"/api/v1/webhook-secrets/{id}")).json()["secret"]
        for id in ("default", project["id"], "default")
    ]
    assert secrets[0] == secrets[2] != secrets[1]
    assert secrets[0].startswith("whsec_")
    assert (await admin.get("/api/v1/webhook-secrets/nothing")).status_code == 404

"""People decide about calls: over a gateway process and its restarts, with real webhooks and the approver's page."""

import hmac
import json
import re
import secrets
import signal
import socket
import threading
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import httpx2
import pytest
from openai import APIStatusError, OpenAI

from ailink import AIlinkClient
from ailink_provider.testing import KEYS, Fault, MockUpstream

from .clients import Secrets
from .conftest import Gateway, following, wait_for

CHAT: Any = {"model": "gpt-4o", "messages": [{"role": "user", "content": "Hello"}]}
PUBLIC = "https://gateway.test"
SECRET_IN_BODY = "body-secret-5f2c9a"


class Agent(NamedTuple):
    """A token whose calls need approval, and the gateway and admin around it."""

    gateway: Gateway
    admin: httpx2.Client
    http: httpx2.Client

    def decide(self, approval_id: str, what: str, **body: str) -> httpx2.Response:
        return self.admin.post(f"/api/v1/approvals/{approval_id}/{what}", json=body or None)

    def see(self, approval_id: str, wait: int = 20) -> Any:
        return self.http.get(f"/api/v1/approvals/{approval_id}", params={"wait": wait}).json()

    def pending(self, number: int = 1) -> list[dict[str, Any]]:
        """Wait until so many approvals of this agent are pending, and return them."""
        found: list[dict[str, Any]] = []

        def there() -> bool:
            found[:] = self.http.get("/api/v1/approvals").json()["data"]
            return len(found) >= number

        wait_for(there)
        return found


class World:
    """Makes agents, at a gateway that can be stopped and started again on its data."""

    def __init__(self, start: Callable[..., Gateway], known: Secrets, clouds: MockUpstream, data: Path) -> None:
        self._start, self._known, self._clouds = start, known, clouds
        self._settings = {
            "data": data, "AILINK_PUBLIC_URL": PUBLIC,
            "AILINK_MASTER_KEY": known.add(secrets.token_hex(32)),
            "AILINK_ADMIN_KEY": known.add(f"ailink_admin_{secrets.token_hex(20)}"),
        }  # fmt: skip
        self._clients: list[httpx2.Client] = []
        self.gateway = self._start(**self._settings)

    def restart(self, how: signal.Signals = signal.SIGTERM) -> None:
        self.gateway.stop(how)
        self.gateway = self._start(**self._settings)

    def client(self, **headers: str) -> httpx2.Client:
        client = httpx2.Client(base_url=self.gateway.url, timeout=30, headers=headers)
        self._clients.append(client)
        return client

    def close(self) -> None:
        for client in self._clients:
            client.close()

    @property
    def admin(self) -> httpx2.Client:
        return self.client(authorization=f"Bearer {self.gateway.admin_key}")

    def create(self, resource: str, **fields: Any) -> Any:
        response = self.admin.post(f"/api/v1/{resource}", json={"name": secrets.token_hex(6), **fields})
        assert response.status_code == 201, response.text
        return response.json()

    def make(
        self, provider: str = "generic", notify: list[dict[str, str]] | None = None, timeout: int = 600,
        rules: Sequence[dict[str, Any]] = (), **fields: Any,
    ) -> str:
        """Make a token whose calls need approval, once they have met ``rules``, and return it."""
        secret = KEYS.get(provider) or self._known.add(f"rest-{secrets.token_hex(12)}")
        credential = self.create("credentials", provider=provider, secret=secret)
        url = self._clouds.url("/v1" if provider == "openai" else "")
        action = {"type": "require_approval", "timeout": f"{timeout}s", **({"notify": notify} if notify else {})}
        policy = self.create("policies", rules=[*rules, {"then": action}])
        made = self.create(
            "tokens", credential_id=credential["id"], upstream_url=url, policy_ids=[policy["id"]], **fields
        )
        return self._known.add(str(made["token_id"]))

    def agent(self, token: str) -> Agent:
        return Agent(self.gateway, self.admin, self.client(authorization=f"Bearer {token}"))


@pytest.fixture
def world(
    start_gateway: Callable[..., Gateway], known_secrets: Secrets, upstream: MockUpstream, tmp_path: Path
) -> Iterator[World]:
    world = World(start_gateway, known_secrets, upstream, tmp_path / "data")
    yield world
    world.close()


def test_a_charge_waits_for_a_person(world: World, upstream: MockUpstream) -> None:
    agent = world.agent(world.make())
    with following(world.gateway) as record_of:
        answer = agent.http.post("/v1/charges?expand=a%2Fb", json={"amount": 5000}, headers={"X-Order": "7"})
        assert answer.status_code == 202, answer.text
        told = answer.json()
        assert told["status"] == "pending"
        assert told["poll_url"] == f"{PUBLIC}/api/v1/approvals/{told['request_id']}"
        assert datetime.fromisoformat(told["expires_at"])
        assert upstream.requests == []
        assert agent.see(told["request_id"], wait=0)["status"] == "pending"
        assert agent.decide(told["request_id"], "approve").json()["updated"] is True
        seen = agent.see(told["request_id"])
        assert (seen["status"], seen["execution"], seen["response"]["status_code"]) == ("approved", "done", 200)
        echo = json.loads(seen["response"]["body"])
        assert (echo["method"], echo["path"], echo["query"]) == ("POST", "/v1/charges", [["expand", "a/b"]])
        assert (echo["body"], echo["headers"]["x-order"]) == ('{"amount":5000}', "7")
        record = record_of(seen["response"]["headers"]["x-request-id"])
        assert (record.upstream_status, record.status) == (200, 200)
        asked = record_of(answer.headers["x-request-id"])
        assert (asked.upstream_status, asked.status) == (None, 202)
    assert len(upstream.requests) == 1


def test_the_client_waits_for_a_person(world: World, upstream: MockUpstream) -> None:
    agent = world.agent(token := world.make())
    with (
        AIlinkClient(api_key=token, gateway_url=world.gateway.url) as client,
        world.gateway.admin() as people,
        ThreadPoolExecutor(2) as pool,
    ):
        waiting = pool.submit(
            client.post, "/v1/charges", json={"amount": 1}, wait_for_approval=True, approval_timeout=30,
            idempotency_key="charge-order-12345",
        )  # fmt: skip
        agent.pending()
        people.approvals.approve(people.approvals.list()[0].id)
        answer = waiting.result()
        assert (answer.status_code, answer.json()["method"]) == (200, "POST")
        asked = client.post("/v1/charges", json={"amount": 2})
        assert asked.status_code == 202
        result = pool.submit(client.wait_for_approval, asked.json()["request_id"], timeout=30)
        people.approvals.reject(people.approvals.list()[0].id, reason="no")
        assert (result.result().approved, result.result().reason) == (False, "no")
    assert len(upstream.requests) == 1


def test_a_rejected_and_an_expired_request_are_never_sent(world: World, upstream: MockUpstream) -> None:
    agent = world.agent(world.make())
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(agent.http.post, "/v1/charges", json={}, headers={"Prefer": "wait=30"})
        [pending] = agent.pending()
        agent.decide(pending["id"], "reject", reason="not in the plan")
        answer = waiting.result()
    assert (answer.status_code, answer.headers["x-ailink-error"]) == (403, "approval_rejected")
    assert "not in the plan" in answer.json()["detail"]
    assert agent.decide(pending["id"], "reject").json()["updated"] is False
    assert agent.decide(pending["id"], "approve").status_code == 409
    hasty = world.agent(world.make(timeout=1))
    answer = hasty.http.post("/v1/charges", json={}, headers={"Prefer": "wait=30"})
    assert (answer.status_code, answer.headers["x-ailink-error"]) == (408, "approval_timeout")
    assert upstream.requests == []


def test_a_models_call_waits_and_is_answered(world: World, upstream: MockUpstream) -> None:
    agent = world.agent(token := world.make("openai"))
    client = OpenAI(api_key=token, base_url=f"{world.gateway.url}/v1", max_retries=0, timeout=30)

    def stream() -> str:
        chunks = client.chat.completions.create(**CHAT, stream=True)
        return "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)

    with ThreadPoolExecutor(3) as pool:
        whole = [pool.submit(client.chat.completions.create, **CHAT) for _ in range(2)]
        [shared] = agent.pending()
        streamed = pool.submit(stream)
        for pending in agent.pending(2):
            agent.decide(pending["id"], "approve")
        assert {answer.result().choices[0].message.content for answer in whole} == {"echo: Hello"}
        assert streamed.result() == "echo: Hello"
        assert len(upstream.requests) == 2, f"equal requests share {shared['id']}"
        refused = pool.submit(client.chat.completions.create, **CHAT)
        agent.decide(agent.pending()[0]["id"], "reject")
        with pytest.raises(APIStatusError) as caught:
            refused.result()
    assert (caught.value.status_code, caught.value.code) == (403, "approval_rejected")
    client.close()


def test_one_request_counts_once_however_often_it_is_checked(world: World, upstream: MockUpstream) -> None:
    hourly = {"type": "rate_limit", "window": "1h", "max_requests": 1}
    limits: list[dict[str, Any]] = [{"rules": [hourly]}, {"requests_per_minute": 1}, {"tokens_per_minute": 1200}]
    for number, limit in enumerate(limits, 1):
        agent = world.agent(world.make("openai", **limit))
        with ThreadPoolExecutor(1) as pool:
            answer = pool.submit(agent.http.post, "/v1/chat/completions", json=CHAT)
            agent.decide(agent.pending()[0]["id"], "approve")
            assert answer.result().status_code == 200, answer.result().text
        assert len(upstream.requests) == 2 * number - 1
        agent = world.agent(world.make(**limit))
        told = agent.http.post("/v1/charges", json={"amount": 1}).json()
        agent.decide(told["request_id"], "approve")
        assert agent.see(told["request_id"])["execution"] == "done"
        if "tokens_per_minute" not in limit:  # an API uses none
            assert agent.http.post("/v1/charges", json={"amount": 2}).status_code == 429
        assert len(upstream.requests) == 2 * number


def test_a_models_caller_that_leaves_takes_its_request_back(world: World, upstream: MockUpstream) -> None:
    agent = world.agent(token := world.make("openai"))
    with socket.create_connection(world.gateway.address) as waiting:
        body = json.dumps(CHAT).encode()
        head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {token}\r\n"
        waiting.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        [pending] = agent.pending()
    assert agent.see(pending["id"])["reason"] == "the caller left"
    assert agent.decide(pending["id"], "approve").status_code == 409
    assert upstream.requests == []


def test_what_is_pending_outlives_the_process(world: World, upstream: MockUpstream) -> None:
    token = world.make()
    asked = [world.agent(token).http.post("/v1/charges", json={"number": n}).json()["request_id"] for n in range(2)]
    world.restart()
    agent = world.agent(token)
    agent.decide(asked[0], "approve")
    assert agent.see(asked[0])["execution"] == "done"
    world.restart(signal.SIGKILL)
    agent = world.agent(token)
    agent.decide(asked[1], "approve")
    assert agent.see(asked[1])["execution"] == "done"
    assert [json.loads(request.body) for request in upstream.requests] == [{"number": 0}, {"number": 1}]


def test_a_kill_while_a_models_call_waits_leaves_its_key_and_its_approval(world: World, upstream: MockUpstream) -> None:
    token, key = world.make("openai"), {"Idempotency-Key": "order-1"}
    agent = world.agent(token)
    with ThreadPoolExecutor(2) as pool:
        killed = pool.submit(agent.http.post, "/v1/chat/completions", json=CHAT, headers=key)
        [pending] = agent.pending()
        hasty = {**key, "X-AILink-Approval-Timeout": "0.1"}

        def waits_too() -> bool:  # until the key leads to the approval, the same request is 409
            answer = agent.http.post("/v1/chat/completions", json=CHAT, headers=hasty)
            return answer.headers["x-ailink-error"] == "approval_timeout"

        wait_for(waits_too)
        world.restart(signal.SIGKILL)
        assert isinstance(killed.exception(), httpx2.TransportError)
        agent = world.agent(token)
        back = pool.submit(agent.http.post, "/v1/chat/completions", json=CHAT, headers=key)
        agent.decide(pending["id"], "approve")
        assert back.result().status_code == 200
    assert len(upstream.requests) == 1


def test_a_kill_while_it_is_sent_leaves_it_unknown(world: World, upstream: MockUpstream) -> None:
    token = world.make()
    agent = world.agent(token)
    asked = agent.http.post("/v1/charges", json={}).json()["request_id"]
    upstream.script(fault=Fault("hang"))
    agent.decide(asked, "approve")
    wait_for(lambda: len(upstream.requests) == 1)
    world.restart(signal.SIGKILL)
    agent = world.agent(token)
    seen = agent.see(asked)
    assert (seen["status"], seen["execution"], seen["response"]) == ("approved", "unknown", None)
    assert agent.decide(asked, "approve").json()["updated"] is False
    assert agent.see(asked)["execution"] == "unknown"
    world.restart()
    assert world.agent(token).see(asked)["execution"] == "unknown"
    assert len(upstream.requests) == 1, "it is not sent again"


def test_fifty_racers_make_one_call(world: World, upstream: MockUpstream) -> None:
    agent = world.agent(world.make())
    asked = agent.http.post("/v1/charges", json={}).json()["request_id"]
    start = threading.Barrier(10)

    def race(_number: int) -> list[Any]:
        start.wait()
        return [agent.decide(asked, "approve").json()["updated"] for _ in range(5)]

    with ThreadPoolExecutor(10) as pool:
        updates = [updated for updates in pool.map(race, range(10)) for updated in updates]
    assert sorted(updates) == [False] * 49 + [True]
    assert agent.see(asked)["execution"] == "done"
    assert len(upstream.requests) == 1


def test_a_token_that_was_revoked_meanwhile_sends_nothing(world: World, upstream: MockUpstream) -> None:
    agent = world.agent(token := world.make())
    asked = agent.http.post("/v1/charges", json={}).json()["request_id"]
    agent.admin.delete(f"/api/v1/tokens/{token}")
    agent.decide(asked, "approve")
    seen = agent.admin.get(f"/api/v1/approvals/{asked}", params={"wait": 20}).json()
    assert (seen["execution"], seen["response"]["status_code"]) == ("failed", 401)
    assert upstream.requests == []


def test_people_are_told_and_decide_on_a_page(world: World, upstream: MockUpstream, known_secrets: Secrets) -> None:
    """Webhook, link, sign-in, form: and no secret in any of it, nor the body in a message."""
    upstream.script(status=500, when=lambda request: request.path == "/hook")
    hooks = [{"type": "webhook", "url": upstream.url("/hook")}, {"type": "slack", "url": upstream.url("/slack?a=b")}]
    agent = world.agent(world.make(notify=hooks))
    body = json.dumps({"to": "Bob \u202e", "note": SECRET_IN_BODY, "html": "<script>"}, ensure_ascii=False)
    asked = agent.http.post("/v1/charges", content=body.encode()).json()["request_id"]
    wait_for(lambda: len(upstream.requests) == 3)  # the webhook's receiver failed once
    by_path = {request.path: request for request in upstream.requests}
    hook, slack = by_path["/hook"], by_path["/slack"]
    assert slack.query == [("a", "b")]
    told = agent.admin.get("/api/v1/webhook-secrets/default").json()["secret"]
    signed = f"{hook.headers['webhook-id']}.{hook.headers['webhook-timestamp']}.".encode() + hook.body
    code = hmac.digest(b64decode(told.removeprefix("whsec_")), signed, "sha256")
    assert hook.headers["webhook-signature"] == f"v1,{b64encode(code).decode()}"
    event = json.loads(hook.body)
    assert (event["type"], event["data"]["id"]) == ("approval.requested", asked)
    link = event["data"]["url"]
    assert link == json.loads(slack.body)["blocks"][1]["elements"][0]["url"]
    for message in (hook.body, slack.body):
        assert SECRET_IN_BODY.encode() not in message
        assert not known_secrets.found(message)

    def log() -> list[tuple[str, str]]:
        data = agent.admin.get(f"/api/v1/approvals/{asked}/deliveries").json()["data"]
        return sorted((row["channel"], row["status"]) for row in data)

    expected = [("slack", "delivered"), ("webhook", "delivered"), ("webhook", "failed")]
    wait_for(lambda: log() == expected)

    key = known_secrets.add(str(world.create("admin-keys", scopes=["approvals:decide"])["key"]))
    browser = world.client()
    url = link.removeprefix(PUBLIC)
    assert browser.get(url.replace("signature=", "signature=A")).status_code == 403
    assert browser.get(re.sub(r"expires=(\d+)", "expires=9999999999", url)).status_code == 403
    page = browser.get(url)
    assert page.status_code == 200
    assert "U+202E RIGHT-TO-LEFT OVERRIDE" in page.text and "<script" not in page.text
    assert SECRET_IN_BODY in page.text, "who has the link sees the exact request"
    assert not known_secrets.found(page.content)
    assert browser.get(f"/ailink/approvals/{asked}").status_code == 403
    assert browser.post(url, data={"decision": "approved"}).status_code == 403
    signed_in = browser.post(f"/ailink/approvals/{asked}/sign-in", data={"key": key})
    assert signed_in.status_code == 303
    # The address of these tests is plain HTTP, where a browser would not send the cookie that is made for HTTPS.
    cookie = signed_in.headers["set-cookie"].partition(";")[0]
    assert "Secure" in signed_in.headers["set-cookie"]
    page = browser.get(f"/ailink/approvals/{asked}", headers={"Cookie": cookie})
    csrf = re.search(r'name="csrf" value="([^"]+)"', page.text)
    assert csrf is not None
    form = {"csrf": csrf[1], "decision": "approved", "reason": "fine"}
    decided = browser.post(f"/ailink/approvals/{asked}", data=form, headers={"Cookie": cookie})
    assert decided.status_code == 303
    seen = agent.see(asked)
    assert (seen["execution"], seen["reason"]) == ("done", "fine")
    assert json.loads(seen["response"]["body"])["body"] == body
    assert known_secrets.found(page.content + decided.content + json.dumps(seen).encode()) == []


def test_a_webhook_that_hangs_holds_up_nothing(world: World, upstream: MockUpstream) -> None:
    upstream.script(fault=Fault("hang"), when=lambda request: request.path == "/hook", times=None)
    agent = world.agent(world.make(notify=[{"type": "webhook", "url": upstream.url("/hook")}]))
    asked = [agent.http.post("/v1/charges", json={}).json()["request_id"] for _ in range(3)]
    wait_for(lambda: len(upstream.requests) == 3)
    for approval_id in asked:
        agent.decide(approval_id, "approve")
        assert agent.see(approval_id)["execution"] == "done"
    assert world.gateway.stop() == 0


def test_the_stored_request_is_hidden_in_the_database(world: World, upstream: MockUpstream) -> None:
    agent = world.agent(world.make())
    asked = agent.http.post("/v1/charges", json={"note": SECRET_IN_BODY}).json()["request_id"]
    agent.decide(asked, "approve")
    assert SECRET_IN_BODY in agent.see(asked)["response"]["body"]
    world.gateway.stop()
    digest = sha256(json.dumps({"note": SECRET_IN_BODY}, separators=(",", ":")).encode()).digest()
    for file in world.gateway.data.rglob("*"):
        if file.is_file():
            assert SECRET_IN_BODY.encode() not in file.read_bytes()
            assert digest not in file.read_bytes()

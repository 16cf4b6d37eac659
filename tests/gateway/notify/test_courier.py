"""What is told of an approval, to whom, how often; and that nothing of it gives a request's content away."""

import asyncio
import hmac
import json
import shutil
from base64 import b64decode, b64encode
from collections.abc import AsyncIterator, Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from ailink_gateway.approval import About, Approval
from ailink_gateway.control import unlock
from ailink_gateway.links import Links
from ailink_gateway.notify import slack, webhook
from ailink_gateway.notify.courier import Courier
from ailink_gateway.store.approvals import insert_approval, insert_delivery, list_deliveries
from ailink_gateway.store.store import Store, StoreUnavailable
from ailink_gateway.vault import Vault
from ailink_provider.errors import Failure
from ailink_provider.transport import Guard, Request, Response, Transport

MASTER_KEY = bytes(range(32))
NOW = 1_783_000_000.0
HOOK = {"type": "webhook", "url": "https://hooks.example/approvals/?team=a"}
SLACK = {"type": "slack", "url": "https://hooks.slack.example/services/T0/B0/verysecretpath"}


class Receiver:
    """Takes what is delivered. ``answers`` come in order, then 200s, from ``gone`` 410s; one that is None never
    comes.
    """

    def __init__(self) -> None:
        self.got: list[Request] = []
        self.answers: list[int | Failure | None] = []
        self.arrived = asyncio.Event()
        self.gone: str | None = None

    async def send(self, request: Request, deadline: float | None = None) -> Response:
        assert deadline is not None and 0 < deadline - asyncio.get_running_loop().time() <= 10
        self.got.append(request)
        self.arrived.set()
        answer = self.answers.pop(0) if self.answers else 410 if str(request.url) == self.gone else 200
        if answer is None:
            await asyncio.get_running_loop().create_future()
        if isinstance(answer, Failure):
            raise answer
        assert isinstance(answer, int)
        return Response(answer, [], b"")


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("courier") / "ailink.db"
    store = Store(path)
    store.upgrade()
    unlock(store, Vault(MASTER_KEY))
    store.close()
    return path


@pytest.fixture
def receiver() -> Receiver:
    return Receiver()


class World:
    def __init__(self, path: Path, receiver: Any) -> None:
        self.store = Store(path)
        self.vault = Vault(MASTER_KEY)
        unlock(self.store, self.vault)
        self.links = Links(self.vault, "https://gateway.example")
        self.courier = self.make(receiver)

    def make(self, sender: Any) -> Courier:
        return Courier(self.store, self.vault, sender, self.links, backoff=(0.0, 0.0, 0.0), now=lambda: NOW)

    async def approval(self, *notify: dict[str, Any], number: int = 1, **about: Any) -> Approval:
        made = Approval(
            id=f"apr_{number}", project_id="default", token_id="tok_1", kind="api", policy_names=["payments"],
            status="pending", execution="none", reason=None, created_at=NOW, expires_at=NOW + 600,
            about=About(**{
                "method": "POST", "path": "/charges", "agent_name": "bot", "upstream": "https://api.example",
                "preview": "secret-in-body", "notify": list(notify), "keyed": False, **about,
            }),
        )  # fmt: skip
        await self.store.write(insert_approval, {
            "id": made.id, "project_id": "default", "token_id": "tok_1", "kind": "api", "policy_names": [],
            "rules": [], "status": "pending", "execution": "none", "request_hash": b"", "sealed_about": b"",
            "created_at": NOW, "expires_at": NOW,
        })  # fmt: skip
        return made

    async def told(self, approval: Approval) -> list[dict[str, Any]]:
        """Wait until all is delivered or given up, and return the log, oldest first."""
        while tasks := self.courier._tasks.get(approval.id):
            await asyncio.wait(tasks)
        rows, _ = await self.store.read(list_deliveries, approval.id, 100, None)
        return sorted(rows, key=lambda row: (row["message"], row["attempt"]))


@pytest.fixture
async def world(prepared: Path, tmp_path: Path, receiver: Receiver) -> AsyncIterator[World]:
    shutil.copy(prepared, tmp_path / "ailink.db")
    world = World(tmp_path / "ailink.db", receiver)
    yield world
    await world.courier.close()
    world.store.close()


def verify(request: Request, secret: str) -> Any:
    """Check a webhook as the libraries of Standard Webhooks do, and return its event."""
    headers = {name.decode(): value.decode() for name, value in request.headers}
    assert isinstance(request.body, bytes)
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + request.body
    key = b64decode(secret.removeprefix("whsec_"))
    expected = "v1," + b64encode(hmac.new(key, signed, sha256).digest()).decode()
    assert headers["webhook-signature"].split(" ") == [expected]
    return json.loads(request.body)


async def test_a_webhook_is_signed_and_says_what_waits(world: World, receiver: Receiver) -> None:
    approval = await world.approval(HOOK)
    world.courier.announce(approval)
    [row] = await world.told(approval)
    assert (row["channel"], row["attempt"], row["status"], row["detail"]) == (
        "webhook", 1, "delivered", "answered 200",
    )  # fmt: skip
    [request] = receiver.got
    assert (request.method, str(request.url), request.target) == (
        "POST", "https://hooks.example", b"/approvals/?team=a",
    )  # fmt: skip
    event = verify(request, webhook.spelled(webhook.secret_of(world.vault, "default")))
    assert event == {
        "type": "approval.requested", "timestamp": "2026-07-02T13:46:40Z",
        "data": {
            "id": "apr_1", "project_id": "default", "token_id": "tok_1", "policy_names": ["payments"],
            "method": "POST", "path": "/charges", "agent_name": "bot", "upstream": "https://api.example",
            "expires_at": "2026-07-02T13:56:40Z", "url": world.links.to("apr_1", NOW + 600),
        },
    }  # fmt: skip
    assert event["data"]["url"].startswith("https://gateway.example/ailink/approvals/apr_1?expires=")


async def test_slack_gets_a_message_that_no_request_can_style(world: World, receiver: Receiver) -> None:
    approval = await world.approval(SLACK, path="/a?<!channel>&*b*\u202e", agent_name="<@U1> `x`")
    world.courier.announce(approval)
    await world.told(approval)
    [request] = receiver.got
    assert isinstance(request.body, bytes)
    message = json.loads(request.body)
    section, actions = message["blocks"]
    text = section["text"]["text"]
    assert "&lt;!channel&gt;&amp;" in text and "<@U1>" not in text and "*b*" not in text
    assert "[U+202E RIGHT-TO-LEFT OVERRIDE]" in text
    assert actions["elements"][0]["url"] == world.links.to("apr_1", NOW + 600)
    assert "secret-in-body" not in request.body.decode()
    assert not any(name == b"webhook-signature" for name, _ in request.headers)


def test_a_long_path_is_cut_in_slack(world: World) -> None:
    about = About("GET", "/" + "x" * 5000, None, None, "", [], False)
    approval = Approval(
        id="apr_1", project_id="p", token_id=None, kind="api", policy_names=[], status="pending", execution="none",
        reason=None, about=about, created_at=NOW, expires_at=NOW,
    )  # fmt: skip
    assert len(slack.message(approval, "https://link")) < 2000


@pytest.mark.parametrize("character", ["\u202e", "&", "`", "x"])
def test_slack_takes_a_message_however_its_request_is_named(character: str) -> None:
    """A section's text has 3,000 characters at most: Slack refuses a longer one, and nobody would be told."""
    long = character * 5000
    about = About("POST", long, long, long, "", [], False)
    approval = Approval(
        id="apr_1", project_id="p", token_id=None, kind="api", policy_names=[long] * 3, status="pending",
        execution="none", reason=None, about=about, created_at=NOW, expires_at=NOW,
    )  # fmt: skip
    message = json.loads(slack.message(approval, "https://link"))
    text = message["blocks"][0]["text"]["text"]
    assert len(text) <= 3000
    assert text.count("…") == 4


async def test_a_store_that_fails_keeps_nobody_from_being_told(
    world: World, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, failing = world.store.write, [True]

    async def fail_once(*given: Any) -> Any:
        if given[0] is insert_delivery and failing:
            failing.clear()
            raise StoreUnavailable("locked")
        return await write(*given)

    receiver.answers = [500]
    approval = await world.approval(HOOK)
    monkeypatch.setattr(world.store, "write", fail_once)
    world.courier.announce(approval)
    assert [(row["attempt"], row["status"]) for row in await world.told(approval)] == [(2, "delivered")]
    assert len(receiver.got) == 2


async def test_it_tries_again_until_it_arrives(world: World, receiver: Receiver) -> None:
    receiver.answers = [500, Failure("upstream_timeout", "hooks.example did not answer.")]
    approval = await world.approval(HOOK)
    world.courier.announce(approval)
    log = await world.told(approval)
    assert [(row["attempt"], row["status"], row["detail"]) for row in log] == [
        (1, "failed", "answered 500"), (2, "failed", "hooks.example did not answer."), (3, "delivered", "answered 200"),
    ]  # fmt: skip
    ids = {dict(request.headers)[b"webhook-id"] for request in receiver.got}
    assert len(ids) == 1, "a receiver can tell that it is the same message"


@pytest.mark.parametrize(("answer", "attempts"), [
    (500, 3), (404, 3), (302, 3), (410, 1),
    (Failure("upstream_failed", "It is private.", reason="address_not_allowed"), 1),
])
async def test_it_gives_up(world: World, receiver: Receiver, answer: Any, attempts: int) -> None:
    receiver.answers = [answer] * 9
    approval = await world.approval(HOOK)
    world.courier.announce(approval)
    log = await world.told(approval)
    assert [row["status"] for row in log] == ["failed"] * attempts


@pytest.mark.parametrize("url", ["ftp://x", "https://user:pw@x/", "javascript:1", "https://x/\r\nHost: y", "", "//x"])
async def test_urls_that_cannot_be_called(world: World, receiver: Receiver, url: str) -> None:
    approval = await world.approval({"type": "webhook", "url": url})
    world.courier.announce(approval)
    [row] = await world.told(approval)
    assert (row["status"], receiver.got) == ("failed", [])
    assert "pw" not in row["target"] + row["detail"]


async def test_private_addresses_are_out_of_reach(world: World) -> None:
    transport = Transport(guard=Guard())
    world.courier = world.make(transport)
    approval = await world.approval({"type": "webhook", "url": "http://127.0.0.1:9/hook"})
    world.courier.announce(approval)
    [row] = await world.told(approval)
    assert "not on the public internet" in row["detail"]
    await transport.close()


async def test_one_that_hangs_holds_up_nobody(world: World, receiver: Receiver) -> None:
    receiver.answers = [None]
    hanging, other = await world.approval(HOOK, number=1), await world.approval(HOOK, SLACK, number=2)
    world.courier.announce(hanging)
    await receiver.arrived.wait()
    world.courier.announce(other)
    assert [row["status"] for row in await world.told(other)] == ["delivered", "delivered"]
    world.courier.forget(hanging.id)
    assert await world.told(hanging) == []


async def test_who_was_told_is_not_told_again_after_a_restart(world: World, receiver: Receiver) -> None:
    receiver.gone = "https://hooks.example"
    approval = await world.approval(HOOK, SLACK)
    world.courier.announce(approval)
    await world.told(approval)
    await world.courier.close()
    receiver.gone = None
    world.courier = world.make(receiver)
    world.courier.announce(approval)
    log = await world.told(approval)
    assert sorted((row["channel"], row["status"]) for row in log) == [
        ("slack", "delivered"), ("webhook", "delivered"), ("webhook", "failed"),
    ]  # fmt: skip


async def test_the_log_shows_no_path(world: World, receiver: Receiver) -> None:
    approval = await world.approval(SLACK)
    world.courier.announce(approval)
    [row] = await world.told(approval)
    assert row["target"] == "https://hooks.slack.example/…"
    assert "verysecretpath" not in repr(row)


def test_secrets_are_a_projects_own(world: World) -> None:
    secrets: Callable[[str], bytes] = lambda project: webhook.secret_of(world.vault, project)  # noqa: E731
    assert secrets("a") != secrets("b") and len(secrets("a")) == 32

"""What waits for approval: who gets which answer, and that what is sent is what was approved, once."""

import asyncio
import json
import shutil
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from ailink_gateway.approval import Approval
from ailink_gateway.backends import approvals as module
from ailink_gateway.backends import resume
from ailink_gateway.backends.approvals import StoreApprovals
from ailink_gateway.backends.breakers import MemoryBreakers
from ailink_gateway.backends.claims import StoreClaims
from ailink_gateway.backends.limiter import MemoryLimiter
from ailink_gateway.backends.thoughts import MemoryThoughts
from ailink_gateway.control import unlock
from ailink_gateway.exchange import Exchange, Reply
from ailink_gateway.grant import Grant, Key, Service, Snapshot
from ailink_gateway.pipeline import compose
from ailink_gateway.stages import Proceed
from ailink_gateway.stages.admit import Admit
from ailink_gateway.stages.attempt import Attempt
from ailink_gateway.stages.authenticate import Authenticate
from ailink_gateway.stages.choose import Choose
from ailink_gateway.stages.dispatch import Dispatch
from ailink_gateway.stages.hold import Hold
from ailink_gateway.stages.record import Record
from ailink_gateway.stages.replay import Replay
from ailink_gateway.store.approvals import find_approval
from ailink_gateway.store.store import Store
from ailink_gateway.targets import Resolver
from ailink_gateway.vault import Vault
from ailink_provider.errors import Failure
from ailink_provider.transport import Response

MASTER_KEY = bytes(range(32))
CHAT = json.dumps({"model": "gpt-4o", "messages": [{"role": "user", "content": "Hello"}]}).encode()
ANSWER = json.dumps({
    "id": "c", "object": "chat.completion", "model": "gpt-4o", "created": 1,
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hi"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
}).encode()  # fmt: skip
NEED = {"policy_name": "payments", "rule": 0, "timeout_seconds": 600, "notify": []}


class Messenger:
    def __init__(self) -> None:
        self.told: list[Approval] = []
        self.forgotten: list[str] = []

    def announce(self, approval: Approval) -> None:
        self.told.append(approval)

    def forget(self, approval_id: str) -> None:
        self.forgotten.append(approval_id)


class Ask:
    """Stands in for the policies: what it wants approved, unless it was; ``rewrite`` changes bodies on their way."""

    def __init__(self) -> None:
        self.needs: list[dict[str, Any]] = [NEED]
        self.rewrite: Callable[[bytes], bytes] = lambda body: body

    async def __call__(self, exchange: Exchange, proceed: Proceed) -> Reply:
        exchange.approvals_needed = [
            need for need in self.needs if (need["policy_name"], need["rule"]) not in exchange.approved_rules
        ]
        exchange.body = self.rewrite(exchange.body)
        return await proceed(exchange)


async def until(condition: Callable[[], bool]) -> None:
    """Wait for what other tasks bring about, and tell nobody of."""
    while not condition():  # noqa: ASYNC110
        await asyncio.sleep(0)


class World:
    """A gateway without sockets: all stages, a real store, and an upstream that is a list."""

    def __init__(self, path: Path, fixtures: dict[str, Any]) -> None:
        self.store = Store(path)
        self.vault = Vault(MASTER_KEY)
        unlock(self.store, self.vault)
        self.now = 1_783_000_000.0
        self.journal, self.listener = fixtures["journal"], fixtures["listener"]
        self.make_exchange, self.make_client = fixtures["make_exchange"], fixtures["make_client"]
        self.ask = Ask()
        key = Key(b"our-secret", b"authorization", b"Bearer our-secret")
        api = fixtures["make_upstream"](None, "https://api.example", key, generic=True)
        model = fixtures["make_upstream"]("openai")
        common = {"token_name": "t", "project_id": "default"}
        self.grants = {
            "api": Grant(token_id="tok_api", own=api, **common),
            "model": Grant(token_id="tok_model", project={"openai": model}, **common),
            "other": Grant(token_id="tok_other", project={"openai": model}, **common),
        }
        self.directory = fixtures["callers"](**self.grants)

    async def start(self) -> None:
        self.messenger = Messenger()
        self.approvals = StoreApprovals(self.store, self.vault, self.messenger, lambda: self.now)
        self.pipeline = compose((
            Record(self.journal),
            Authenticate(self.directory),
            Admit(MemoryLimiter()),
            Replay(StoreClaims(self.store, self.vault, lambda: self.now)),
            Choose(Resolver(Snapshot())),
            self.ask,
            Hold(self.approvals, "https://gateway.example"),
            Attempt(MemoryBreakers()),
            Dispatch(self.journal, MemoryThoughts()),
        ))
        await self.approvals.start(self.pipeline)

    async def restart(self) -> None:
        await self.approvals.stop()
        await self.start()

    def call(self, token: str = "api", **request: Any) -> "Call":
        return Call(self, token, **request)

    def model(self, token: str = "model", body: bytes = CHAT, **request: Any) -> "Call":
        return Call(self, token, method="POST", path="/v1/chat/completions", body=body, **request)

    async def asked(self, number: int = 1) -> Approval:
        """Wait until so many approvals were asked for, and return the last of them."""
        await until(lambda: len(self.messenger.told) >= number)
        return self.messenger.told[-1]

    async def flush(self) -> None:
        """Wait until what is on its way to the store, and what follows from it, is there."""
        for _ in range(3):
            await self.store.write(lambda connection: None)

    async def approve(self, approval_id: str) -> Approval:
        await self.approvals.decide(approval_id, "approved", "adm_1", None)
        return await self.approvals.wait(approval_id)


class Call:
    """One request on its way. ``await`` it for its answer."""

    def __init__(
        self, world: World, token: str, method: str = "POST", path: str = "/charges", body: bytes = b'{"amount":100}',
        headers: Any = (), query: bytes = b"",
    ) -> None:
        self.client = world.make_client()
        headers = [(b"authorization", f"Bearer {token}".encode()), *headers]
        exchange = world.make_exchange(method, path, headers, query, body, self.client)
        self.task = asyncio.ensure_future(self._run(world, exchange))

    async def _run(self, world: World, exchange: Exchange) -> None:
        try:
            await world.pipeline(exchange)
        except asyncio.CancelledError:
            if not exchange.cancelled_by_client:
                raise

    def __await__(self) -> Any:
        yield from self.task.__await__()
        return self

    def leave(self) -> None:
        self.client.gone.set()

    @property
    def status(self) -> int:
        return int(self.client.status)

    @property
    def json(self) -> Any:
        return json.loads(self.client.body)

    @property
    def id(self) -> str:
        return str(self.json["request_id"])


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("approvals") / "ailink.db"
    store = Store(path)
    store.upgrade()
    unlock(store, Vault(MASTER_KEY))
    store.close()
    return path


@pytest.fixture
async def world(
    prepared: Path, tmp_path: Path, journal: Any, listener: Any, make_exchange: Any, make_client: Any,
    make_upstream: Any, callers: Any, monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[World]:
    shutil.copy(prepared, tmp_path / "ailink.db")
    monkeypatch.setattr(module, "LEAVE_SECONDS", 0.0)
    monkeypatch.setattr(module, "STOP_SECONDS", 0.01)
    world = World(tmp_path / "ailink.db", {
        "journal": journal, "listener": listener, "make_exchange": make_exchange, "make_client": make_client,
        "make_upstream": make_upstream, "callers": callers,
    })  # fmt: skip
    await world.start()
    yield world
    await world.approvals.stop()
    world.store.close()


async def test_what_needs_no_approval_goes_straight_on(world: World) -> None:
    world.ask.needs = []
    call = await world.call()
    assert call.status == 200
    assert len(world.listener.asked) == 1
    assert world.messenger.told == []


class TestApis:
    """Any other API answers 202 at once, and is sent when it is approved."""

    async def test_it_is_told_where_to_ask(self, world: World) -> None:
        call = await world.call()
        assert call.status == 202
        path = f"/api/v1/approvals/{call.id}"
        assert call.client.headers["location"] == path
        assert call.json["poll_url"] == f"https://gateway.example{path}"
        assert call.json["status"] == "pending"
        assert call.id.startswith("apr_")
        assert call.json["expires_at"] == "2026-07-02T13:56:40Z"
        assert world.listener.asked == []
        assert world.journal.records[-1].approval_id == call.id

    async def test_exactly_what_was_asked_is_sent_once(self, world: World) -> None:
        world.listener.answers = [Response(201, [(b"content-type", b"text/plain"), (b"x-theirs", b"1")], b"made")]
        call = await world.call(
            method="PATCH", path="/v1/a%20b", query=b"x=1&y=%2B", body=b"\x00\xffraw",
            headers=[(b"x-mine", b"2"), (b"cookie", b"c=1"), (b"connection", b"x-hop"), (b"x-hop", b"3"),
                     (b"x-forwarded-for", b"1.2.3.4"), (b"x-ailink-agent-name", b"bot")],
        )  # fmt: skip
        approval = await world.approve(call.id)
        assert (approval.status, approval.execution) == ("approved", "done")
        assert approval.reply is not None
        assert (approval.reply.status, approval.reply.body) == (201, b"made")
        assert (b"x-theirs", b"1") in approval.reply.headers
        [sent] = world.listener.asked
        assert (sent.method, sent.target, sent.body) == ("PATCH", b"/v1/a%20b?x=1&y=%2B", b"\x00\xffraw")
        assert [header for header in sent.headers if header[0] != b"accept-encoding"] == [
            (b"x-mine", b"2"), (b"authorization", b"Bearer our-secret"),
        ]  # fmt: skip
        record = world.journal.records[-1]
        assert (record.approval_id, record.token_id, record.upstream_status) == (call.id, "tok_api", 201)
        assert record.agent_name == "bot"

    @pytest.mark.parametrize("prefer", [b"wait=30", b"respond-async, wait = 30", b'wait="30"'])
    async def test_prefer_wait_holds_it(self, world: World, prefer: bytes) -> None:
        world.listener.answers = [Response(200, [], b"done")]
        call = world.call(headers=[(b"prefer", prefer)])
        approval = await world.asked()
        await world.approve(approval.id)
        assert (await call).status == 200
        assert call.client.body == b"done"

    async def test_prefer_wait_ends(self, world: World) -> None:
        call = await world.call(headers=[(b"prefer", b"wait=0")])
        assert call.status == 202

    async def test_a_caller_that_waited_is_told_of_a_rejection(self, world: World) -> None:
        call = world.call(headers=[(b"prefer", b"wait=30")])
        approval = await world.asked()
        await world.approvals.decide(approval.id, "rejected", "adm_1", "not today")
        await call
        assert call.status == 403
        assert call.json["error"]["code"] == "approval_rejected"
        assert call.json["error"]["policy_name"] == "payments"
        assert "not today" in call.json["detail"]
        assert world.listener.asked == []

    async def test_a_caller_that_leaves_cancels_nothing(self, world: World) -> None:
        call = world.call(headers=[(b"prefer", b"wait=30")])
        approval = await world.asked()
        call.leave()
        await call
        assert (await world.approve(approval.id)).execution == "done"

    @pytest.mark.parametrize("path", ["/a%2fb", "/a;b", "/../b"])
    async def test_nobody_is_asked_about_a_path_that_is_never_sent(self, world: World, path: str) -> None:
        call = await world.call(path=path)
        assert (call.status, call.json["error"]["param"]) == (400, "path")
        assert world.messenger.told == []

    async def test_what_a_refused_call_gets_is_kept_as_its_answer(self, world: World) -> None:
        call = await world.call()
        del world.directory.grants["api"]
        approval = await world.approve(call.id)
        assert (approval.status, approval.execution) == ("approved", "failed")
        assert approval.reply is not None and approval.reply.status == 401
        assert world.listener.asked == []

    async def test_an_upstreams_own_refusal_is_an_answer(self, world: World) -> None:
        world.listener.answers = [Response(404, [], b"no")]
        call = await world.call()
        approval = await world.approve(call.id)
        assert approval.execution == "done"
        assert approval.reply is not None and approval.reply.status == 404

    async def test_a_long_answer_is_cut(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(resume, "RESPONSE_LIMIT", 10)
        world.listener.answers = [Response(200, [], b"x" * 11)]
        call = world.call(headers=[(b"prefer", b"wait=30")])
        approval = await world.approve((await world.asked()).id)
        assert approval.reply is not None
        assert (approval.reply.body, approval.reply.truncated) == (b"x" * 10, True)
        assert (await call).status == 409

    async def test_a_callers_own_upstream_key_is_not_stored(self, world: World, make_upstream: Any) -> None:
        own = make_upstream(None, "https://api.example", None, generic=True)
        world.directory.grants["byok"] = Grant(
            token_id="tok_byok", token_name="b", project_id="default", own=own, passthrough=True
        )
        call = await world.call("byok", headers=[(b"x-real-authorization", b"Bearer their-very-own-key")])
        stored = await world.approvals.request(call.id)
        assert stored is not None and "their-very-own-key" not in repr(stored)
        await world.approve(call.id)
        assert (b"authorization", b"Bearer their-very-own-key") in world.listener.asked[0].headers
        later = await world.call("byok", headers=[(b"x-real-authorization", b"Bearer their-very-own-key")])
        await world.restart()
        approval = await world.approve(later.id)
        assert approval.execution == "failed"
        assert approval.reply is not None and b"X-Real-Authorization" in approval.reply.body
        assert len(world.listener.asked) == 1

    async def test_services_are_called_again_by_name(self, world: World, make_upstream: Any) -> None:
        from ailink_gateway.grant import Service

        upstream = make_upstream(None, "https://stripe.example/v1", b"k", generic=True)
        world.directory.grants["svc"] = Grant(
            token_id="tok_svc", token_name="s", project_id="default", services={"stripe": Service(upstream)}
        )
        call = await world.call("svc", path="/v1/proxy/services/stripe/charges", query=b"a=b")
        approval = await world.approve(call.id)
        assert approval.execution == "done"
        assert world.listener.asked[0].target == b"/v1/charges?a=b"


class TestModels:
    """A model's call waits on its connection."""

    async def test_it_is_answered_when_it_is_approved(self, world: World) -> None:
        world.listener.answers = [Response(200, [(b"content-type", b"application/json")], ANSWER)]
        call = world.model()
        approval = await world.asked()
        assert not call.task.done()
        await world.approve(approval.id)
        await call
        assert call.status == 200
        assert call.json["choices"][0]["message"]["content"] == "Hi"
        assert len(world.listener.asked) == 1
        sent, waited = world.journal.records
        assert (sent.prompt_tokens, sent.approval_id) == (1, approval.id)
        assert (waited.prompt_tokens, waited.upstream_status, waited.status) == (None, None, 200)
        assert [opened.id for opened in world.journal.opened] == [sent.id]

    async def test_a_rejection_is_in_the_callers_dialect(self, world: World) -> None:
        call = world.model()
        await world.approvals.decide((await world.asked()).id, "rejected", "adm_1", None)
        await call
        assert (call.status, call.json["error"]["code"]) == (403, "approval_rejected")
        assert call.client.headers["x-should-retry"] == "false"

    async def test_equal_requests_share_one_approval_and_its_answer(self, world: World) -> None:
        world.listener.answers = [Response(200, [], ANSWER)]
        calls = [world.model(headers=[(b"x-stainless-retry-count", b"%d" % number)]) for number in range(3)]
        approval = await world.asked()
        await until(lambda: sum(live.waiters for live in world.approvals._live.values()) == 3)
        await world.approve(approval.id)
        for call in calls:
            assert (await call).status == 200
        assert len(world.listener.asked) == len(world.messenger.told) == 1

    async def test_an_sdk_does_not_have_a_person_asked_again_when_the_upstream_fails(self, world: World) -> None:
        world.listener.answers = [Response(500, [], b"{}")] * 9
        call = world.model()
        await world.approve((await world.asked()).id)
        assert (await call).status == 502
        assert call.client.headers["x-should-retry"] == "false"

    async def test_other_requests_and_other_tokens_do_not_share(self, world: World) -> None:
        calls = [world.model(), world.model(body=CHAT.replace(b"Hello", b"Hallo")), world.model("other")]
        await world.asked(3)
        ids = {approval.id for approval in world.messenger.told}
        assert len(ids) == 3
        for approval_id in ids:
            await world.approvals.decide(approval_id, "rejected", "adm_1", None)
        for call in calls:
            assert (await call).status == 403

    async def test_the_same_request_of_two_services_is_two(self, world: World) -> None:
        upstream = world.grants["model"].project["openai"]
        services = {name: Service(upstream=upstream, serves_models=True) for name in ("one", "two")}
        world.directory.grants["model"] = replace(world.grants["model"], services=services)
        paths = [f"/v1/proxy/services/{name}/v1/chat/completions" for name in services]
        calls = [world.call("model", method="POST", path=path, body=CHAT) for path in paths]
        await world.asked(2)
        for approval in world.messenger.told:
            await world.approvals.decide(approval.id, "rejected", "adm_1", None)
        for call in calls:
            assert (await call).status == 403

    async def test_callers_who_bring_other_keys_do_not_share(self, world: World, make_upstream: Any) -> None:
        own = make_upstream("openai", "https://api.openai.com", None)
        world.directory.grants["model"] = replace(world.grants["model"], own=own, project={}, passthrough=True)
        calls = [world.model(headers=[(b"x-real-authorization", b"Bearer key-%d" % number)]) for number in range(2)]
        await world.asked(2)
        for approval in world.messenger.told:
            world.listener.answers.append(Response(200, [], ANSWER))
            await world.approve(approval.id)
        assert [(await call).status for call in calls] == [200, 200]
        keys = {dict(request.headers)[b"authorization"] for request in world.listener.asked}
        assert keys == {b"Bearer key-0", b"Bearer key-1"}

    async def test_a_stream_is_played_back(self, world: World) -> None:
        chunk = {"id": "c", "object": "chat.completion.chunk", "model": "gpt-4o", "created": 1}
        first = {**chunk, "choices": [{"index": 0, "delta": {"content": "Hi"}, "finish_reason": None}]}
        last = {**chunk, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
        stream = b"".join(b"data: %b\n\n" % json.dumps(event).encode() for event in (first, last)) + b"data: [DONE]\n\n"
        world.listener.answers = [Response(200, [(b"content-type", b"text/event-stream")], stream)]
        call = world.model(body=CHAT[:-1] + b', "stream": true}')
        await world.approve((await world.asked()).id)
        await call
        assert call.status == 200
        assert call.client.headers["content-type"] == "text/event-stream"
        assert b'"Hi"' in call.client.body and call.client.body.endswith(b"data: [DONE]\n\n")

    async def test_a_caller_may_wait_for_so_long_only(self, world: World) -> None:
        call = await world.model(headers=[(b"x-ailink-approval-timeout", b"0.001")])
        assert (call.status, call.json["error"]["code"]) == (408, "approval_timeout")
        assert not world.listener.asked
        kept, other = [(b"x-ailink-approval-timeout", b"0.001"), (b"idempotency-key", b"k")], CHAT[:-1] + b', "n": 1}'
        call = await world.model(headers=kept, body=other)
        assert call.status == 408
        world.listener.answers = [Response(200, [], ANSWER)]
        await world.approve((await world.asked(2)).id)
        assert (await world.model(headers=kept[1:], body=other)).status == 200, "it may come back for the answer"
        assert len(world.listener.asked) == 1

    async def test_a_caller_that_leaves_cancels_it(self, world: World) -> None:
        call = world.model()
        approval = await world.asked()
        call.leave()
        await call
        over = await world.approvals.wait(approval.id)
        assert (over.status, over.reason) == ("expired", "the caller left")
        with pytest.raises(Failure, match="expired"):
            await world.approvals.decide(approval.id, "approved", "adm_1", None)
        assert world.journal.records[-1].outcome == "cancelled"

    async def test_one_of_two_callers_may_leave(self, world: World) -> None:
        world.listener.answers = [Response(200, [], ANSWER)]
        first, second = world.model(), world.model()
        approval = await world.asked()
        await until(lambda: world.approvals._live[approval.id].waiters == 2)
        first.leave()
        await first
        await world.approve(approval.id)
        assert (await second).status == 200

    async def test_a_caller_with_an_idempotency_key_may_come_back(self, world: World) -> None:
        world.listener.answers = [Response(200, [], ANSWER)]
        key = [(b"idempotency-key", b"k-1")]
        call = world.model(headers=key)
        approval = await world.asked()
        call.leave()
        await call
        back = world.model(headers=key)
        await asyncio.sleep(0)
        await world.approve(approval.id)
        assert (await back).status == 200
        again = await world.model(headers=key)
        assert again.status == 200
        assert again.client.headers["idempotent-replayed"] == "true"
        assert len(world.listener.asked) == len(world.messenger.told) == 1

    async def test_who_waits_does_not_take_the_place_of_what_is_sent(self, world: World) -> None:
        world.listener.answers = [Response(200, [], ANSWER)]
        only = msgspec.structs.replace(world.grants["model"], concurrent_requests=1)
        world.directory.grants["model"] = only
        call = world.model()
        await world.approve((await world.asked()).id)
        assert (await call).status == 200

    async def test_a_stopping_gateway_lets_it_go_and_keeps_the_approval(self, world: World) -> None:
        world.listener.answers = [Response(200, [], ANSWER)]
        call = world.model()
        approval = await world.asked()
        world.approvals.closing()
        assert (await call).status == 503
        await world.restart()
        again = world.model()
        await until(lambda: world.approvals._live[approval.id].waiters == 1)
        await world.approve(approval.id)
        assert (await again).status == 200


class TestIdempotencyKeys:
    """An API's request under a key has one approval, and one execution."""

    async def test_the_same_request_gets_its_running_approval_then_its_answer(self, world: World) -> None:
        world.listener.answers = [Response(200, [], b"charged")]
        key = [(b"idempotency-key", b"charge-1")]
        first, second = await world.call(headers=key), await world.call(headers=key)
        assert (first.status, second.status) == (202, 202)
        assert first.id == second.id
        await world.approve(first.id)
        third, fourth = await world.call(headers=key), await world.call(headers=key)
        assert third.client.body == fourth.client.body == b"charged"
        [sent] = world.listener.asked
        forwarded = dict(sent.headers)[b"idempotency-key"]
        assert forwarded != b"charge-1" and len(forwarded) == 64

    async def test_a_rejected_one_stays_rejected(self, world: World) -> None:
        key = [(b"idempotency-key", b"charge-2")]
        call = await world.call(headers=key)
        await world.approvals.decide(call.id, "rejected", "adm_1", None)
        for _ in range(2):
            assert (await world.call(headers=key)).status == 403
        assert len(world.messenger.told) == 1

    @pytest.mark.parametrize("kind", ["model", "api"])
    async def test_a_crash_while_it_waits_takes_no_key_from_its_approval(self, world: World, kind: str) -> None:
        world.listener.answers = [Response(200, [], ANSWER)]
        key = [(b"idempotency-key", b"charge-3"), (b"prefer", b"wait=60")]
        call = world.model(headers=key) if kind == "model" else world.call(headers=key)
        approval = await world.asked()
        await world.flush()
        crashed = world.approvals
        await world.start()  # nothing of the one before was told that it ends
        again = world.model(headers=key) if kind == "model" else world.call(headers=key)
        await world.flush()
        await world.approve(approval.id)
        assert (await again).status == 200
        assert len(world.listener.asked) == 1
        call.leave()
        await call
        await crashed.stop()

    async def test_the_same_request_at_once_waits_for_the_same_approval(self, world: World) -> None:
        world.listener.answers = [Response(200, [], ANSWER)]
        key = [(b"idempotency-key", b"k-2")]
        first = world.model(headers=key)
        approval = await world.asked()
        await world.flush()
        second = world.model(headers=key)
        await until(lambda: second.task.done() or world.approvals._live[approval.id].waiters == 2)
        await world.approve(approval.id)
        assert ((await first).status, (await second).status) == (200, 200)
        assert len(world.listener.asked) == len(world.messenger.told) == 1

    async def test_a_key_outlasts_its_approval(self, world: World) -> None:
        world.ask.needs = [{**NEED, "timeout_seconds": 3 * 86_400}]
        key = [(b"idempotency-key", b"charge-4")]
        call = await world.call(headers=key)
        world.now += 2 * 86_400
        assert (await world.call(headers=key)).id == call.id
        assert len(world.messenger.told) == 1

    async def test_a_caller_that_leaves_while_its_request_is_stored_has_asked(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        loop, insert = asyncio.get_running_loop(), module.table.insert_approval
        began, go = asyncio.Event(), threading.Event()

        def slow(*given: Any) -> None:
            loop.call_soon_threadsafe(began.set)
            assert go.wait(10)
            insert(*given)

        key = [(b"idempotency-key", b"charge-5")]
        monkeypatch.setattr(module.table, "insert_approval", slow)
        call = world.call(headers=key)
        await began.wait()
        call.task.cancel()
        for _ in range(20):  # the store stands still; whatever else the leaving brings about does not
            await asyncio.sleep(0)
        go.set()
        with pytest.raises(asyncio.CancelledError):
            await call
        approval = await world.asked()
        await world.flush()
        assert (await world.call(headers=key)).id == approval.id
        assert len(world.messenger.told) == 1


class TestWhatIsApprovedIsWhatIsSent:
    """A request that would be sent otherwise than it was approved is not sent."""

    async def refused(self, world: World, approval_id: str) -> str:
        approval = await world.approve(approval_id)
        assert (approval.status, approval.execution) == ("approved", "failed")
        assert approval.reply is not None and approval.reply.status == 403
        error = json.loads(approval.reply.body)["error"]
        assert error["reason"] == "approval_outdated"
        assert world.listener.asked == []
        return str(error["message"])

    async def test_a_rewritten_body(self, world: World) -> None:
        call = await world.call()
        world.ask.rewrite = lambda body: body.replace(b"100", b"999")
        assert "changed" in await self.refused(world, call.id)

    async def test_what_was_rewritten_before_is_what_was_approved(self, world: World) -> None:
        world.ask.rewrite = lambda body: body.replace(b"100", b"200")
        call = await world.call()
        await world.approve(call.id)
        assert world.listener.asked[0].body == b'{"amount":200}'

    async def test_another_upstream(self, world: World, make_upstream: Any) -> None:
        call = await world.call()
        elsewhere = make_upstream(None, "https://elsewhere.example", b"k", generic=True)
        world.directory.grants["api"] = Grant(
            token_id="tok_api", token_name="t", project_id="default", own=elsewhere
        )
        assert "somewhere else" in await self.refused(world, call.id)

    async def test_upstreams_are_asked_in_the_order_that_was_shown(self, world: World, make_upstream: Any) -> None:
        shown, other = (
            make_upstream(None, f"https://{host}.example", b"k", generic=True) for host in ("shown", "other")
        )
        grant = Grant(token_id="tok_api", token_name="t", project_id="default", own=shown, further=(other,))
        world.directory.grants["api"] = grant
        call = await world.call()
        world.directory.grants["api"] = replace(grant, own=other, further=(shown,))  # as a drawn order may be
        await world.approve(call.id)
        assert [str(request.url) for request in world.listener.asked] == ["https://shown.example"]

    async def test_a_rule_that_nobody_was_asked_about(self, world: World) -> None:
        call = await world.call()
        world.ask.needs = [NEED, {**NEED, "policy_name": "new rule"}]
        assert "new rule" in await self.refused(world, call.id)

    async def test_several_rules_merge_into_one_approval(self, world: World) -> None:
        hook = {"type": "webhook", "url": "https://hooks.example"}
        world.ask.needs = [
            {**NEED, "notify": [hook]}, {**NEED, "rule": 1, "timeout_seconds": 30, "notify": [hook]},
            {**NEED, "policy_name": "second"},
        ]  # fmt: skip
        call = await world.call()
        [approval] = world.messenger.told
        assert approval.policy_names == ["payments", "second"]
        assert approval.about.notify == [hook]
        assert approval.expires_at == world.now + 30
        assert (await world.approve(call.id)).execution == "done"


class TestRestarts:
    """Nothing that was promised is lost, and nothing is sent twice."""

    async def test_what_is_pending_survives_and_is_sent(self, world: World) -> None:
        call = await world.call()
        await world.restart()
        assert [approval.id for approval in world.messenger.told] == [call.id]
        assert (await world.approve(call.id)).execution == "done"
        assert len(world.listener.asked) == 1

    async def test_what_was_approved_and_not_claimed_is_sent_at_the_start(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        call = await world.call()

        async def died(live: Any) -> None:
            """The process ends between the decision and the claim."""

        monkeypatch.setattr(world.approvals, "_execute", died)
        await world.approvals.decide(call.id, "approved", "adm_1", None)
        await world.restart()
        approval = await world.approvals.wait(call.id)
        assert approval.execution == "done"
        assert len(world.listener.asked) == 1

    async def test_what_was_under_way_is_unknown_and_not_sent_again(self, world: World) -> None:
        entered = asyncio.Event()

        async def hang(request: Any, deadline: float | None = None) -> Response:
            world.listener.asked.append(request)
            entered.set()
            await asyncio.get_running_loop().create_future()
            raise AssertionError

        object.__setattr__(world.listener, "send", hang)
        call = await world.call()
        await world.approvals.decide(call.id, "approved", "adm_1", None)
        await entered.wait()
        await world.restart()
        approval = await world.approvals.wait(call.id)
        assert (approval.status, approval.execution, approval.reply) == ("approved", "unknown", None)
        await world.restart()
        assert (await world.approvals.wait(call.id)).execution == "unknown"
        assert len(world.listener.asked) == 1

    async def test_what_expired_meanwhile_is_expired(self, world: World) -> None:
        call = await world.call()
        world.now += 601
        with pytest.raises(Failure, match="has expired"):
            await world.approvals.decide(call.id, "approved", "adm_1", None)
        await world.restart()
        approval = await world.approvals.wait(call.id)
        assert (approval.status, approval.reason) == ("expired", "nobody decided in time")
        assert world.messenger.told == [], "there is nothing left to decide"

    async def test_a_models_call_whose_caller_does_not_come_back_is_cancelled(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        call = world.model()
        approval = await world.asked()
        world.approvals.closing()
        await call
        monkeypatch.setattr(module, "RESTART_SECONDS", 0.0)
        await world.restart()
        assert (await world.approvals.wait(approval.id)).reason == "the caller left"


async def test_fifty_racers_make_one_call(world: World) -> None:
    call = await world.call()
    results = await asyncio.gather(
        *(world.approvals.decide(call.id, "approved", f"adm_{number}", None) for number in range(50))
    )
    assert sorted(changed for _, changed in results) == [False] * 49 + [True]
    await world.approvals.wait(call.id)
    assert len(world.listener.asked) == 1


async def test_fifty_racers_of_two_minds_make_one_decision(world: World) -> None:
    call = await world.call()
    results = await asyncio.gather(
        *(
            world.approvals.decide(call.id, "approved" if number % 2 else "rejected", "adm_1", None)
            for number in range(50)
        ),
        return_exceptions=True,
    )
    refused = [result for result in results if isinstance(result, Failure)]
    assert len(refused) == 25 and {failure.code for failure in refused} == {"conflict"}
    approval = await world.approvals.wait(call.id)
    assert len(world.listener.asked) == (approval.status == "approved")


async def test_a_request_expires_by_itself(world: World) -> None:
    world.ask.needs = [{**NEED, "timeout_seconds": 0.01}]
    call = world.call(headers=[(b"prefer", b"wait=30")])
    await call
    assert call.status == 408
    assert call.json["error"]["code"] == "approval_timeout"
    assert world.approvals._live == {}


async def test_what_is_stored_is_sealed(world: World) -> None:
    marks = (b"secret-in-body", b"secret-in-header", b"secret-in-query", b"secret-in-answer")
    world.listener.answers = [Response(200, [], b"secret-in-answer")]
    call = await world.call(body=b"secret-in-body", query=b"q=secret-in-query", headers=[(b"x-h", b"secret-in-header")])
    await world.approve(call.id)
    row = await world.store.read(find_approval, call.id, "sealed_request", "sealed_response")
    assert row["sealed_request"] and row["sealed_response"]
    await world.approvals.stop()
    world.store.close()
    files = [path.read_bytes() for path in world.store.path.parent.iterdir() if path.is_file()]
    assert files and not any(mark in data for mark in marks for data in files)


async def test_contents_are_erased_in_time(world: World) -> None:
    call, pending = await world.call(), await world.call()
    await world.approve(call.id)
    world.now += 500
    await world.restart()
    assert await world.approvals.request(call.id) is not None
    world.now += module.KEEP_SECONDS
    await world.approvals.stop()
    await world.start()
    while world.approvals._tasks:
        await asyncio.wait(world.approvals._tasks)
    assert await world.approvals.request(call.id) is None
    approval = await world.approvals.wait(call.id)
    assert (approval.execution, approval.reply, approval.about.preview) == ("done", None, "")
    expired = await world.approvals.wait(pending.id)
    assert (expired.status, expired.about.preview) == ("expired", '{"amount":100}')


async def test_a_token_has_a_bounded_number_of_requests_waiting(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PENDING_A_TOKEN", 2)
    first = await world.call()
    assert (await world.call()).status == 202
    assert (await world.call()).status == 429
    await world.approvals.decide(first.id, "rejected", "adm_1", None)
    assert (await world.call()).status == 202
    await world.restart()
    assert (await world.call()).status == 429


async def test_a_store_that_fails_refuses_the_request(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_args: object) -> None:
        raise module.StoreUnavailable("it is locked")

    monkeypatch.setattr(module.table, "insert_approval", broken)
    for call in (world.call(), world.model()):
        assert (await call).status == 503
    assert world.approvals._live == {} and world.approvals._shared == {} and not world.approvals._pending
    assert world.messenger.told == []

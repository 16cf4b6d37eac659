"""One idempotency key, one execution: whatever is sent again, by whom, and however the first time ended."""

import asyncio
import contextlib
import shutil
import sqlite3
import threading
from collections.abc import AsyncGenerator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ailink_gateway.backends import claims as module
from ailink_gateway.backends.claims import StoreClaims
from ailink_gateway.control import rewrap, unlock
from ailink_gateway.exchange import Exchange, Reply
from ailink_gateway.grant import Grant
from ailink_gateway.stages.replay import Replay
from ailink_gateway.store import engine
from ailink_gateway.store.store import Store
from ailink_gateway.vault import Vault
from ailink_provider.errors import Failure

MASTER_KEY = bytes(range(32))
Make = Callable[..., Exchange]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("claims") / "ailink.db"
    store = Store(path)
    store.upgrade()
    unlock(store, Vault(MASTER_KEY))
    store.close()
    return path


class World:
    """A store, the stage on it, and what it proceeds to: ``replies`` in order, each a reply or what is raised."""

    def __init__(self, path: Path, make_exchange: Make) -> None:
        self.store = Store(path)
        self.vault = Vault(MASTER_KEY)
        unlock(self.store, self.vault)
        self.now = 1000.0
        self.make_exchange = make_exchange
        self.executed = 0
        self.replies: list[Any] = []
        self.entered = asyncio.Event()
        self.hold: asyncio.Event | None = None
        self.restart()

    def restart(self) -> None:
        """Let another process take over."""
        self.stage = Replay(StoreClaims(self.store, self.vault, lambda: self.now))

    async def proceed(self, exchange: Exchange) -> Reply:
        self.executed += 1
        exchange.opened = True
        exchange.measured.complete = True
        self.entered.set()
        if self.hold is not None:
            await self.hold.wait()
        reply = self.replies.pop(0) if self.replies else Reply(200, [(b"x-n", b"%d" % self.executed)], b"done")
        if isinstance(reply, BaseException):
            raise reply
        assert isinstance(reply, Reply)
        return reply

    async def send(self, key: str | None = "k", tenant: str | None = "tok_a", **request: Any) -> Reply:
        headers = [] if key is None else [(b"idempotency-key", key.encode("latin-1"))]
        request = {"method": "POST", "path": "/charges", "body": b'{"a":1}', "headers": headers} | request
        caller = type(self).client()  # type: ignore[attr-defined]
        exchange = self.make_exchange(caller=caller, **request)
        exchange.grant = Grant(token_id=tenant, token_name="t", project_id="p")
        reply = await self.stage(exchange, self.proceed)
        if not isinstance(reply.body, bytes):
            reply = Reply(reply.status, reply.headers, b"".join([chunk async for chunk in reply.body]))
        return reply

    async def refused(self, **request: Any) -> Failure:
        with pytest.raises(Failure) as caught:
            await self.send(**request)
        return caught.value


@pytest.fixture
def world(prepared: Path, tmp_path: Path, make_exchange: Make, make_client: Any) -> Iterator[World]:
    path = tmp_path / "ailink.db"
    shutil.copy(prepared, path)
    World.client = make_client  # type: ignore[attr-defined]
    world = World(path, make_exchange)
    yield world
    world.store.close()


async def test_the_same_request_gets_the_stored_answer(world: World) -> None:
    first = await world.send()
    again = await world.send()
    assert world.executed == 1
    assert (again.status, again.body) == (first.status, first.body)
    assert again.headers == [*first.headers, (b"idempotent-replayed", b"true")]


async def test_the_answer_outlives_the_process_and_is_kept_sealed(world: World) -> None:
    world.replies.append(Reply(200, [], b"the balance is 5000"))
    await world.send()
    world.restart()
    assert (await world.send()).body == b"the balance is 5000"
    assert world.executed == 1
    assert not [file for file in world.store.path.parent.glob("ailink.db*") if b"balance" in file.read_bytes()]


async def test_the_answer_outlives_a_rotation_of_the_master_key(world: World) -> None:
    await world.send()
    rotated = Vault(bytes(reversed(MASTER_KEY)), retired=[MASTER_KEY])
    unlock(world.store, rotated)
    rewrap(world.store, rotated)
    world.vault = Vault(bytes(reversed(MASTER_KEY)))
    unlock(world.store, world.vault)
    world.restart()
    assert (await world.send()).body == b"done"


async def test_a_request_without_a_key_or_without_effect_is_executed_each_time(world: World) -> None:
    for _ in range(2):
        await world.send(key=None)
        await world.send(method="GET")
    assert world.executed == 4


@pytest.mark.parametrize("other", [
    {"method": "PUT"}, {"path": "/refunds"}, {"query": b"a=1"}, {"body": b'{"a":2}'}, {"body": b""},
])
async def test_another_request_under_the_key_is_refused(world: World, other: dict[str, Any]) -> None:
    await world.send()
    failure = await world.refused(**other)
    assert (failure.code, failure.status, failure.param) == ("idempotency_conflict", 422, "Idempotency-Key")
    assert world.executed == 1


async def test_tenants_share_no_keys(world: World) -> None:
    for tenant in ("tok_a", "tok_b", None):
        await world.send(tenant=tenant)
    assert world.executed == 3


async def test_of_fifty_at_once_one_is_executed(world: World) -> None:
    world.hold = asyncio.Event()
    first = asyncio.ensure_future(world.send())
    await world.entered.wait()
    failures = await asyncio.gather(*(world.refused() for _ in range(49)))
    assert {(failure.code, failure.status, failure.reason) for failure in failures} == {
        ("idempotency_conflict", 409, "in_flight")
    }
    world.hold.set()
    await first
    assert (await world.send()).body == b"done"
    assert world.executed == 1


@pytest.mark.parametrize("reason", ["connect_failed", "connect_timeout", "name_not_found", "pool_timeout"])
async def test_what_never_arrived_may_come_again(world: World, reason: str) -> None:
    world.replies.append(Failure("upstream_failed", "refused", reason=reason))
    await world.refused()
    assert (await world.send()).body == b"done"
    assert world.executed == 2


async def test_what_may_have_had_an_effect_is_not_sent_again(world: World) -> None:
    world.replies.append(Failure("upstream_timeout", "late", reason="total_timeout"))
    await world.refused()
    assert (await world.refused()).code == "outcome_unknown"
    assert world.executed == 1


async def test_a_crash_leaves_an_unknown_outcome(world: World) -> None:
    world.hold = asyncio.Event()
    lost = asyncio.ensure_future(world.send())
    await world.entered.wait()
    world.restart()
    failure = await world.refused()
    assert (failure.code, failure.status) == ("outcome_unknown", 409)
    assert world.executed == 1
    lost.cancel()
    await asyncio.gather(lost, return_exceptions=True)


async def test_a_client_that_leaves_a_models_call_may_ask_again(world: World) -> None:
    body = b'{"model":"gpt-4o","messages":[]}'
    world.hold = asyncio.Event()
    left = asyncio.ensure_future(world.send(path="/v1/chat/completions", body=body))
    await world.entered.wait()
    left.cancel()
    await asyncio.gather(left, return_exceptions=True)
    world.hold = None
    assert (await world.send(path="/v1/chat/completions", body=body)).body == b"done"


@pytest.mark.parametrize(("status", "executed"), [(200, 1), (201, 1), (404, 1), (500, 1), (429, 2), (503, 2)])
async def test_which_answers_are_the_last_word(world: World, status: int, executed: int) -> None:
    world.replies.append(Reply(status, [], b"answer"))
    await world.send()
    await world.send()
    assert world.executed == executed


async def test_a_stream_is_kept_once_it_was_whole(world: World) -> None:
    async def chunks() -> AsyncGenerator[bytes, None]:
        yield b"data: 1\n\n"
        yield b"data: 2\n\n"

    world.replies.append(Reply(200, [(b"content-type", b"text/event-stream")], chunks()))
    first = await world.send()
    assert (await world.send()).body == first.body == b"data: 1\n\ndata: 2\n\n"
    assert world.executed == 1


async def test_an_answer_too_large_to_keep_is_not_executed_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "ANSWER_LIMIT", 3)
    assert (await world.send()).body == b"done"
    assert (await world.refused()).reason == "answer_not_kept"
    assert world.executed == 1


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stores that are opened from now on wait for no other process."""
    monkeypatch.setattr(engine, "BUSY_SECONDS", 0.01)


@pytest.mark.parametrize(("reply", "again"), [
    (Reply(200, [], b"paid"), (200, b"paid")), (Reply(503, [], b"later"), (200, b"done")),
    (Failure("upstream_failed", "It is down.", reason="connect_failed"), (200, b"done")),
])
async def test_a_store_that_fails_meanwhile_takes_no_answer_away(
    impatient: None, world: World, reply: Any, again: tuple[int, bytes]
) -> None:
    world.replies.append(reply)
    world.hold = asyncio.Event()
    sending = asyncio.create_task(world.send())
    await world.entered.wait()
    with contextlib.closing(sqlite3.connect(world.store.path, isolation_level=None)) as another_process:
        another_process.execute("BEGIN IMMEDIATE")
        world.hold.set()
        [told] = await asyncio.gather(sending, return_exceptions=True)
        assert told is reply or told.body == reply.body
        assert (await world.refused()).status == 503, "a claim is durable"
    told = await world.send()
    assert (told.status, told.body) == again
    assert world.executed == (1 if again[1] == b"paid" else 2)


async def test_a_client_that_leaves_while_the_key_is_claimed_may_come_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop, claim = asyncio.get_running_loop(), module.table.claim
    began, go = asyncio.Event(), threading.Event()

    def slow(*given: Any) -> Any:
        loop.call_soon_threadsafe(began.set)
        assert go.wait(10)
        return claim(*given)

    with monkeypatch.context() as patched:
        patched.setattr(module.table, "claim", slow)
        sending = asyncio.create_task(world.send())
        await began.wait()
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending
    go.set()
    for _ in range(2):  # the first is behind it, the second behind what follows from it
        await world.store.write(lambda connection: None)
    assert (await world.send()).body == b"done"
    assert world.executed == 1


async def test_a_key_is_free_again_after_a_day(world: World) -> None:
    await world.send()
    world.now += module.KEPT_SECONDS - 1
    await world.send()
    assert world.executed == 1
    world.now += 1
    await world.send()
    assert world.executed == 2


@pytest.mark.parametrize("key", ["", "x" * 256, "ä", "a\tb"])
async def test_a_key_that_cannot_be_one_is_refused(world: World, key: str) -> None:
    assert (await world.refused(key=key)).param == "Idempotency-Key"
    assert world.executed == 0


async def test_both_headers_may_carry_the_key_but_not_two_keys(world: World) -> None:
    same = [(b"idempotency-key", b"k"), (b"x-ailink-idempotency-key", b"k")]
    await world.send(headers=same)
    await world.send(headers=same[1:])
    assert world.executed == 1
    for name, _ in same:
        assert (await world.refused(headers=[(b"idempotency-key", b"l"), (name, b"k")])).code == "invalid_request"
    await world.send(headers=[same[0], same[0]])
    assert world.executed == 1


ENDINGS = {
    "answered": Reply(200, [], b"a"), "refused": Reply(409, [], b"b"), "later": Reply(503, [], b"c"),
    "unsent": Failure("upstream_failed", "x", reason="connect_failed"), "lost": Failure("upstream_timeout", "x"),
}


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.sampled_from(["tok_a", "tok_b"]), st.sampled_from("kl"), st.sampled_from([*ENDINGS]),
                          st.booleans()), max_size=12))
async def test_against_a_model(world: World, steps: list[tuple[str, str, str, bool]]) -> None:
    """A key is executed until it has an answer, or nobody knows; never after."""
    world.now += module.KEPT_SECONDS  # what an earlier example left is forgotten
    known: dict[tuple[str, str], str] = {}
    for tenant, key, ending, restarts in steps:
        if restarts:
            world.restart()
        before = world.executed
        outcome = ENDINGS[ending]
        world.replies[:] = [Reply(outcome.status, [], outcome.body) if isinstance(outcome, Reply) else outcome]
        settled = known.get((tenant, key))
        if settled == "lost":
            assert (await world.refused(key=key, tenant=tenant)).code == "outcome_unknown"
        elif settled is not None:
            stored = ENDINGS[settled]
            assert isinstance(stored, Reply)
            assert (await world.send(key=key, tenant=tenant)).body == stored.body
        elif isinstance(outcome, Failure):
            assert await world.refused(key=key, tenant=tenant) is outcome
        else:
            await world.send(key=key, tenant=tenant)
        assert world.executed == before + (settled is None)
        if settled is None and ending not in ("later", "unsent"):
            known[tenant, key] = ending

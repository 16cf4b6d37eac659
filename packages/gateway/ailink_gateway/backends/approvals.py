"""Approvals on the store: asked once, decided once, sent at most once, whatever ends the process in between.

What is decided and claimed is SQL's to say, by compare-and-set; memory only knows who waits for what and when to look.
A request is sealed before anybody is told of it, and what is sent is what was sealed.
"""

import asyncio
import contextlib
import logging
import secrets
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine
from time import time
from typing import Any, Concatenate, Literal, ParamSpec, Protocol, TypeVar

from sqlalchemy import Connection

from ailink_gateway.approval import About, Approval, CanonicalRequest, Resumed, Status, Terms
from ailink_gateway.backends.resume import Collected, refusal, run_again
from ailink_gateway.backends.seals import Seals
from ailink_gateway.exchange import Exchange
from ailink_gateway.forward import REAL_AUTHORIZATION
from ailink_gateway.store import approvals as table
from ailink_gateway.store.rows import Row
from ailink_gateway.store.store import Store, StoreUnavailable
from ailink_gateway.tokens import random_base62
from ailink_gateway.vault import Vault
from ailink_provider.errors import Failure

logger = logging.getLogger("ailink.approvals")

ID_LENGTH = 22
PREVIEW_CHARACTERS = 500
PENDING_A_TOKEN = 100
KEEP_SECONDS = 7 * 86_400.0
SWEEP_SECONDS = 3600.0
# A model's caller that breaks off often comes back at once, as SDKs do after a timeout.
LEAVE_SECONDS = 3.0
RESTART_SECONDS = 60.0
STOP_SECONDS = 20.0
RETRY_SECONDS = 1.0

P = ParamSpec("P")
T = TypeVar("T")
Pipeline = Callable[[Exchange], Awaitable[object]]


class Messenger(Protocol):
    """Who tells of approvals."""

    def announce(self, approval: Approval) -> None:
        """Begin to tell whom ``about.notify`` names; returns at once."""

    def forget(self, approval_id: str) -> None:
        """Tell no more of an approval that is decided."""


class Live:
    """An approval that something may still happen to."""

    __slots__ = (
        "caller_key",
        "id",
        "keyed",
        "kind",
        "leaving",
        "over",
        "shared",
        "stored",
        "timer",
        "token_id",
        "waiters",
    )

    def __init__(self, approval_id: str, token_id: str | None, kind: str, keyed: bool) -> None:
        self.id, self.token_id, self.kind, self.keyed = approval_id, token_id, kind, keyed
        self.waiters = 0
        self.over = asyncio.Event()
        self.caller_key: bytes | None = None
        self.shared: bytes | None = None
        self.stored: asyncio.Task[Approval] | None = None
        self.timer: asyncio.TimerHandle | None = None
        self.leaving: asyncio.TimerHandle | None = None


class StoreApprovals:
    """The approvals of one process.

    Args:
        messenger: who tells the people that decide.
        now: the time, in Unix seconds.
    """

    def __init__(self, store: Store, vault: Vault, messenger: Messenger, now: Callable[[], float] = time) -> None:
        self._store, self._messenger, self._now = store, messenger, now
        self._seals = Seals(vault)
        self._boot = secrets.token_hex(8)
        self._live: dict[str, Live] = {}
        self._shared: dict[bytes, Live] = {}
        self._pending: Counter[str | None] = Counter()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._sweeper: asyncio.TimerHandle | None = None
        self._pipeline: Pipeline | None = None
        self._closing = False

    # --- the life of the process -------------------------------------------------------------------

    async def start(self, pipeline: Pipeline) -> None:
        """Take up what an earlier process left; what is approved is sent through ``pipeline`` from now on."""
        self._pipeline = pipeline
        for row in await self._store.write(table.recover, self._boot):
            approval = self._seals.approval(row)
            live = Live(approval.id, approval.token_id, approval.kind, approval.about.keyed)
            self._live[live.id] = live
            if approval.status == "approved":
                self._spawn(self._execute(live))
                continue
            self._watch(live, approval.expires_at)
            if live.kind == "model":
                live.shared = row["request_hash"]
                self._shared[live.shared] = live
                if not live.keyed:
                    live.leaving = asyncio.get_running_loop().call_later(RESTART_SECONDS, self._abandon, live)
            if approval.expires_at > self._now():  # else nobody could decide any more
                self._messenger.announce(approval)
        self._sweep()

    def closing(self) -> None:
        """Let everybody who waits go: the process is about to end, and the approvals are stored."""
        self._closing = True
        for live in self._live.values():
            live.over.set()

    async def stop(self) -> None:
        """Finish what is being sent, if that does not take too long; what is not stays claimed, and so unknown."""
        self.closing()
        for live in self._live.values():
            _cancel(live.timer, live.leaving)
        _cancel(self._sweeper)
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=STOP_SECONDS)
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # --- for those who ask -------------------------------------------------------------------------

    @property
    def pending(self) -> int:
        """How many approvals wait for someone to decide."""
        return self._pending.total()

    async def ask(self, exchange: Exchange, request: CanonicalRequest) -> Approval:
        """See ``ports.Approvals.ask``."""
        assert exchange.grant is not None  # Authenticate stands before this
        token_id = exchange.grant.token_id
        keyed = not {b"idempotency-key", b"x-ailink-idempotency-key"}.isdisjoint(exchange.headers)
        terms = Terms.of(exchange.approvals_needed)
        digest = self._seals.digest(exchange, request, terms.rules)
        live = self._shared.get(digest) if exchange.route.kind == "model" else None
        if live is None:
            if self._pending[token_id] >= PENDING_A_TOKEN:
                message = f"{PENDING_A_TOKEN} requests of this token wait for approval: have some decided first."
                raise Failure("rate_limit_exceeded", message, retry_after=30)
            live = Live(f"apr_{random_base62(ID_LENGTH)}", token_id, exchange.route.kind, keyed)
            live.caller_key = exchange.headers.get(REAL_AUTHORIZATION)
            self._live[live.id] = live
            self._pending[token_id] += 1
            if live.kind == "model":
                live.shared, self._shared[digest] = digest, live
            live.stored = self._spawn(self._insert(live, exchange, request, digest, terms))
        live.keyed = live.keyed or keyed
        exchange.approval_id = live.id  # at once: a caller that leaves meanwhile has asked
        self._join(live)
        try:
            return await asyncio.shield(self._spawn(self._asked(live, exchange)))
        except BaseException as error:
            if isinstance(error, Exception):  # nothing is stored
                exchange.approval_id = None
            self.leave(live.id)
            raise

    async def _asked(self, live: Live, exchange: Exchange) -> Approval:
        # Without ``stored`` it was there when the process started.
        approval = await self.wait(live.id, 0) if live.stored is None else await asyncio.shield(live.stored)
        if exchange.note_approval is not None:
            await exchange.note_approval(approval.id, approval.expires_at)
        return approval

    async def ask_again(self, approval_id: str) -> Approval:
        """See ``ports.Approvals.ask_again``."""
        if (live := self._live.get(approval_id)) is not None:
            self._join(live)
        return await self.wait(approval_id, 0)

    def _join(self, live: Live) -> None:
        live.waiters += live.kind == "model"
        _cancel(live.leaving)

    async def _insert(
        self, live: Live, exchange: Exchange, request: CanonicalRequest, digest: bytes, terms: Terms
    ) -> Approval:
        grant, now = exchange.grant, self._now()
        assert grant is not None
        agent = exchange.headers.get(b"x-ailink-agent-name")
        approval = Approval(
            id=live.id,
            project_id=grant.project_id,
            token_id=grant.token_id,
            kind="model" if live.kind == "model" else "api",
            policy_names=terms.policy_names,
            status="pending",
            execution="none",
            reason=None,
            about=About(
                method=exchange.method,
                path=exchange.path,
                agent_name=agent.decode("utf-8", "replace")[:256] if agent is not None else None,
                upstream=request.targets[0][0] if request.targets else None,
                preview=request.body[: 4 * PREVIEW_CHARACTERS].decode("utf-8", "replace")[:PREVIEW_CHARACTERS],
                notify=terms.notify,
                keyed=live.keyed,
                own_key=live.caller_key is not None,
            ),
            created_at=now,
            expires_at=now + terms.seconds,
        )

        def insert(connection: Connection) -> None:
            # Sealed in the store's thread: a request may be large.
            table.insert_approval(connection, {
                "id": approval.id, "project_id": approval.project_id, "token_id": approval.token_id,
                "kind": approval.kind, "policy_names": approval.policy_names, "rules": terms.rules,
                "status": "pending", "execution": "none", "request_hash": digest, "created_at": now,
                "expires_at": approval.expires_at,
                "sealed_about": self._seals.seal(approval.project_id, live.id, "about", approval.about),
                "sealed_request": self._seals.seal(approval.project_id, live.id, "request", request),
            })  # fmt: skip

        try:
            await self._store.write(insert)
        except BaseException:
            self._settled(live)
            self._end(live)
            raise
        self._watch(live, approval.expires_at)
        self._messenger.announce(approval)
        return approval

    async def wait(self, approval_id: str, seconds: float | None = None) -> Approval:
        """See ``ports.Approvals.wait``."""
        live = self._live.get(approval_id)
        if live is not None and seconds != 0:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await live.over.wait()
        return await self._store.read(self._find, approval_id)

    def leave(self, approval_id: str) -> None:
        """See ``ports.Approvals.leave``."""
        live = self._live.get(approval_id)
        if live is None or live.kind != "model":
            return
        live.waiters -= 1
        if live.waiters <= 0 and not live.keyed and not self._closing and not live.over.is_set():
            live.leaving = asyncio.get_running_loop().call_later(LEAVE_SECONDS, self._abandon, live)

    # --- for those who decide ----------------------------------------------------------------------

    async def page(
        self, limit: int, after: str | None, filters: dict[str, str | None]
    ) -> tuple[list[Approval], bool]:
        """See ``ports.Desk.page``."""

        def query(connection: Connection) -> tuple[list[Approval], bool]:
            found, has_more = table.list_approvals(connection, limit, after, filters)
            return [self._seals.approval(row) for row in found], has_more

        return await self._store.read(query)

    async def request(self, approval_id: str) -> CanonicalRequest | None:
        """See ``ports.Desk.request``."""

        def query(connection: Connection) -> CanonicalRequest | None:
            row = table.find_approval(connection, approval_id, "sealed_request")
            return self._seals.request(row) if row["sealed_request"] is not None else None

        return await self._store.read(query)

    async def decide(
        self, approval_id: str, decision: Literal["approved", "rejected"], by: str, reason: str | None
    ) -> tuple[Status, bool]:
        """See ``ports.Desk.decide``."""
        # In a task of its own: a decision that was taken is carried out even if its caller is gone.
        return await asyncio.shield(self._spawn(self._decide(approval_id, decision, by, reason)))

    async def _decide(
        self, approval_id: str, decision: Literal["approved", "rejected"], by: str, reason: str | None
    ) -> tuple[Status, bool]:
        row, changed = await self._store.write(table.decide, approval_id, decision, by, reason, self._now())
        live = self._live.get(approval_id)
        if changed and live is not None:
            _cancel(live.timer, live.leaving)
            self._settled(live)
            if decision == "approved":
                self._spawn(self._execute(live))
            else:
                self._end(live)
        status: Status = row["status"]
        return status, changed

    # --- what happens by itself --------------------------------------------------------------------

    def _watch(self, live: Live, expires_at: float) -> None:
        if live.stored is None:
            self._pending[live.token_id] += 1
        wait = max(0.0, expires_at - self._now())
        live.timer = asyncio.get_running_loop().call_later(wait, self._expire, live, "nobody decided in time")

    def _abandon(self, live: Live) -> None:
        if live.waiters <= 0:
            self._expire(live, "the caller left")

    def _expire(self, live: Live, reason: str) -> None:
        if not self._closing and not live.over.is_set():
            self._spawn(self._expired(live, reason))

    async def _expired(self, live: Live, reason: str) -> None:
        if await self._persist(table.expire, live.id, reason, self._now()):
            self._settled(live)
            self._end(live)

    async def _execute(self, live: Live) -> None:
        # Claimed before anything is sent: from here on only this task may send it, and no other after it.
        row = await self._persist(table.claim, live.id, self._boot, self._now())
        if row is None:
            return
        try:
            collected = await self._send(row, live)
        except Failure as failure:
            logger.error("the approved request %s was not sent: %s", live.id, failure.message)
            collected = refusal(live.id, failure)

        def finish(connection: Connection) -> bool:
            reply = collected.reply()
            sealed = self._seals.seal(row["project_id"], live.id, "response", reply) if reply is not None else None
            return table.finish(connection, live.id, self._boot, "failed" if collected.failed else "done", sealed)

        await self._persist(finish)
        self._end(live)

    async def _send(self, row: Row, live: Live) -> Collected:
        assert self._pipeline is not None
        request = await asyncio.to_thread(self._seals.request, row)
        resumed = Resumed(row["token_id"], row["id"], request, asked_at=row["created_at"])
        rules = frozenset((policy, rule) for policy, rule in row["rules"])
        extra = [(REAL_AUTHORIZATION, live.caller_key)] if live.caller_key is not None else []
        if not extra and self._seals.approval(row).about.own_key:
            message = (
                "Nothing was sent: the caller's own key (X-Real-Authorization) is never stored, and the gateway was "
                "restarted meanwhile. Send the request again."
            )
            raise Failure("credential_missing", message)
        return await run_again(self._pipeline, resumed, rules, extra)

    def _settled(self, live: Live) -> None:
        """It is decided: nobody needs to be told of it, and it counts no longer as waiting."""
        self._pending[live.token_id] -= 1
        if self._pending[live.token_id] <= 0:
            del self._pending[live.token_id]
        self._messenger.forget(live.id)

    def _end(self, live: Live) -> None:
        """Nothing more happens to it: whoever waits may look."""
        _cancel(live.timer, live.leaving)
        live.over.set()
        self._live.pop(live.id, None)
        if live.shared is not None and self._shared.get(live.shared) is live:
            del self._shared[live.shared]

    def _sweep(self) -> None:
        async def sweep() -> None:
            await self._persist(table.erase_contents, self._now() - KEEP_SECONDS, self._seals.without_preview)

        self._spawn(sweep())
        self._sweeper = asyncio.get_running_loop().call_later(SWEEP_SECONDS, self._sweep)

    async def _persist(
        self, function: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Write, again and again until the store takes it: what it says decides what may be sent."""
        while True:
            try:
                return await self._store.write(function, *args, **kwargs)
            except StoreUnavailable as failure:
                if self._closing:
                    raise
                logger.warning("an approval waits for the store: %s", failure.message)
                await asyncio.sleep(RETRY_SECONDS)

    def _spawn(self, work: Coroutine[Any, Any, T]) -> "asyncio.Task[T]":
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: "asyncio.Task[Any]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None and not isinstance(error, Failure):
            logger.error("an approval could not go on", exc_info=error)

    def _find(self, connection: Connection, approval_id: str) -> Approval:
        return self._seals.approval(table.find_approval(connection, approval_id, "sealed_response"))


def _cancel(*timers: asyncio.TimerHandle | None) -> None:
    for timer in timers:
        if timer is not None:
            timer.cancel()

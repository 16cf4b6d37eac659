"""The states of an approval, against a model: whatever happens in whatever order, one decision and one call at most."""

import asyncio
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, multiple, rule, run_state_machine_as_test

from ailink_gateway import routes
from ailink_gateway.approval import Approval, CanonicalRequest
from ailink_gateway.backends import approvals as module
from ailink_gateway.backends.approvals import StoreApprovals
from ailink_gateway.control import unlock
from ailink_gateway.exchange import Exchange
from ailink_gateway.grant import Grant
from ailink_gateway.store.store import Store
from ailink_gateway.vault import Vault
from ailink_provider.errors import Failure

MASTER_KEY = bytes(range(32))
NEED = {"policy_name": "p", "rule": 0, "timeout_seconds": 600, "notify": []}


class Silent:
    def announce(self, approval: Approval) -> None:
        """Nobody is told."""

    def forget(self, approval_id: str) -> None:
        """There is nothing to stop."""


def exchange_of(kind: str, body: bytes, keyed: bool) -> Exchange:
    path = "/v1/chat/completions" if kind == "model" else "/charges"
    headers = [(b"idempotency-key", b"k")] if keyed else []
    scope = {
        "type": "http", "method": "POST", "path": path, "raw_path": path.encode(), "query_string": b"",
        "headers": headers, "client": None,
    }  # fmt: skip

    async def nothing(*_args: Any) -> Any:
        raise AssertionError

    exchange = Exchange.of(scope, nothing, nothing, routes.match("POST", path, b""))
    exchange.grant = Grant(token_id="tok_1", token_name="t", project_id="default")
    exchange.approvals_needed = [NEED]
    exchange.body = body
    return exchange


class Expected:
    """What the model knows of an approval."""

    def __init__(self, kind: str, body: bytes, keyed: bool, expires_at: float) -> None:
        self.kind, self.body, self.keyed, self.expires_at = kind, body, keyed, expires_at
        self.status, self.execution = "pending", "none"
        self.waiters = 1


class Machine(RuleBasedStateMachine):
    """One gateway that is restarted now and then. ``hanging`` keeps what is being sent from ending."""

    known = Bundle("known")

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.folder = tempfile.TemporaryDirectory()
        self.store = Store(Path(self.folder.name) / "ailink.db")
        self.store.upgrade()
        self.vault = Vault(MASTER_KEY)
        unlock(self.store, self.vault)
        self.now = 1000.0
        self.hanging = False
        self.sent: Counter[str] = Counter()
        self.expected: dict[str, Expected] = {}
        self.runner.run(self._start())

    def teardown(self) -> None:
        self.runner.run(self.approvals.stop())
        self.runner.close()
        self.store.close()
        self.folder.cleanup()

    async def _start(self) -> None:
        self.approvals = StoreApprovals(self.store, self.vault, Silent(), lambda: self.now)
        await self.approvals.start(self._send)

    async def _send(self, exchange: Exchange) -> None:
        assert exchange.approval_id is not None
        self.sent[exchange.approval_id] += 1
        await exchange.read_body()
        if self.hanging:
            await asyncio.get_running_loop().create_future()
        await exchange.send({"type": "http.response.start", "status": 200, "headers": []})
        await exchange.send({"type": "http.response.body", "body": exchange.body})

    async def _settle(self) -> None:
        """Let everything end that can."""
        while waiting := [task for task in self.approvals._tasks if not self._hangs(task)]:
            await asyncio.wait(waiting, timeout=0.001)

    def _hangs(self, task: "asyncio.Task[Any]") -> bool:
        begun = all(self.sent[key] for key, expected in self.expected.items() if expected.execution == "running")
        return self.hanging and begun and "_execute" in repr(task.get_coro())

    @rule(
        target=known, kind=st.sampled_from(["model", "api"]), body=st.sampled_from([b"a", b"b"]), keyed=st.booleans()
    )
    def ask(self, kind: str, body: bytes, keyed: bool) -> Any:
        async def asking() -> Approval:
            exchange = exchange_of(kind, body, keyed)
            request = CanonicalRequest("POST", exchange.raw_path, b"", [], body, None, [])
            return await self.approvals.ask(exchange, request)

        approval = self.runner.run(asking())
        equal = [
            approval_id for approval_id, e in self.expected.items()
            if kind == "model" == e.kind and e.body == body and self._open(e)
        ]  # fmt: skip
        if equal:
            assert [approval.id] == equal
            expected = self.expected[approval.id]
            expected.waiters += 1
            expected.keyed = expected.keyed or keyed
            return multiple()
        assert approval.id not in self.expected
        assert approval.status == "pending"
        self.expected[approval.id] = Expected(kind, body, keyed, self.now + 600)
        return approval.id

    def _open(self, expected: Expected) -> bool:
        return expected.status == "pending" or expected.execution == "running"

    @rule(approval_id=known, decision=st.sampled_from(["approved", "rejected"]))
    def decide(self, approval_id: str, decision: Any) -> None:
        expected = self.expected[approval_id]
        late = expected.status == "pending" and expected.expires_at <= self.now

        async def deciding() -> tuple[str, bool]:
            try:
                return await self.approvals.decide(approval_id, decision, "adm_1", None)
            finally:
                if not late and expected.status == "pending":
                    expected.status = decision
                    if decision == "approved":
                        expected.execution = "running" if self.hanging else "done"
                await self._settle()

        before = expected.status
        try:
            status, changed = self.runner.run(deciding())
        except Failure as failure:
            assert failure.code == "conflict"
            assert late or before not in ("pending", decision)
            return
        assert status == decision
        assert changed == (before == "pending")

    @rule(approval_id=known)
    def leave(self, approval_id: str) -> None:
        expected = self.expected[approval_id]
        if expected.kind != "model" or expected.waiters == 0 or not self._open(expected):
            return
        expected.waiters -= 1

        async def leaving() -> None:
            self.approvals.leave(approval_id)
            if expected.waiters == 0 and not expected.keyed and expected.status == "pending":
                await self.approvals.wait(approval_id)
                expected.status = "expired"

        self.runner.run(leaving())

    @rule()
    def time_passes(self) -> None:
        self.now += 601

    @rule()
    def the_upstream_hangs_or_not(self) -> None:
        if not any(expected.execution == "running" for expected in self.expected.values()):
            self.hanging = not self.hanging

    @rule()
    def restart(self) -> None:
        async def restarting() -> None:
            await self.approvals.stop()
            self.hanging = False
            await self._start()
            for approval_id, expected in self.expected.items():
                if expected.execution == "running":
                    expected.execution = "unknown"
                if expected.status == "pending":
                    expected.waiters = 0
                    if expected.expires_at <= self.now:
                        await self.approvals.wait(approval_id)
                        expected.status = "expired"
            await self._settle()

        self.runner.run(restarting())

    @invariant()
    def what_is_stored_is_what_the_model_says(self) -> None:
        for approval_id, expected in self.expected.items():
            approval = self.runner.run(self.approvals.wait(approval_id, 0))
            assert (approval.status, approval.execution) == (expected.status, expected.execution)
            assert self.sent[approval_id] == (expected.status == "approved")
            assert (approval.reply is not None) == (expected.execution == "done")
            if approval.reply is not None:
                assert approval.reply.body == expected.body


def test_approvals_keep_to_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LEAVE_SECONDS", 0.0)
    monkeypatch.setattr(module, "STOP_SECONDS", 0.01)
    run_state_machine_as_test(Machine, settings=settings(max_examples=25, stateful_step_count=30, deadline=None))

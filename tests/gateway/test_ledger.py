"""What is settled and held never passes a limit, and who waits is served in order."""

import asyncio
import contextlib
from collections import defaultdict
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from ailink_gateway.backends import ledger as module
from ailink_gateway.backends.accounts import KEPT
from ailink_gateway.backends.ledger import MemoryLedger
from ailink_gateway.ports import Spent
from ailink_gateway.store.spend import KINDS, periods
from ailink_provider.errors import Failure

NOON = 1_790_000_000.0 // 86_400 * 86_400 + 43_200
DAY = 86_400.0
PATIENCE = 10.0


class Clock:
    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> float:
        return self.now


def opened(token: dict[str, int] | None = None, project: dict[str, int] | None = None, **totals: int) -> MemoryLedger:
    """Return a ledger with one token "t" in one project "p"; totals are the token's, by period's kind."""
    ledger = MemoryLedger(Clock())
    names = dict(zip(KINDS, periods(NOON), strict=True))
    stored = {names[kind]: (nano, 1) for kind, nano in totals.items()}
    ledger.open(("token", "t"), stored, token or {}, 1)
    ledger.open(("project", "p"), {}, project or {}, 1)
    return ledger


async def reserve(ledger: MemoryLedger, call: str, most: int, least: int | None = None, **other: Any) -> int:
    until = asyncio.get_running_loop().time() + other.pop("wait", PATIENCE)
    where = {"token_id": "t", "project_id": "p", "at": NOON} | other
    return await ledger.reserve(call, least=most if least is None else least, most=most, until=until, **where)


def settle(ledger: MemoryLedger, call: str, nano: int | None, token: str | None = "t", at: float = NOON) -> None:
    ledger.settle(call, token, "p", at, nano)


async def waiting(ledger: MemoryLedger, call: str, most: int, **other: Any) -> "asyncio.Task[int]":
    """Return the task of a reservation that is in line, or done, by now."""
    task = asyncio.create_task(reserve(ledger, call, most, **other))
    await asyncio.sleep(0)
    return task


async def refused(ledger: MemoryLedger, call: str, most: int, **other: Any) -> Failure:
    with pytest.raises(Failure) as caught:
        await reserve(ledger, call, most, **other)
    assert (caught.value.status, caught.value.message) == (402, "Budget exceeded. Request would exceed spending limit.")
    return caught.value


# --- room --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("scope", ["token", "project"])
async def test_a_limit_of_any_kind_holds(scope: str, kind: str) -> None:
    ledger = opened(**{scope: {kind: 100}})
    assert await reserve(ledger, "a", 60) == 60
    settle(ledger, "a", 60)
    failure = await refused(ledger, "b", 41)
    assert (failure.code, failure.reason) == ("budget_exceeded", "budget_spent")
    assert failure.details["scope"] == scope and failure.details["period"] == kind
    assert await reserve(ledger, "c", 40) == 40
    settle(ledger, "c", 40)
    assert (await refused(ledger, "d", 1)).code == "spend_cap_reached"


async def test_without_a_limit_there_is_room_for_anything() -> None:
    ledger = opened()
    assert await reserve(ledger, "a", 10**15) == 10**15
    settle(ledger, "a", 10**15)
    assert ledger.remaining("t", "p", NOON) == {}


async def test_all_accounts_or_none() -> None:
    ledger = opened(token={"daily": 100}, project={"daily": 50})
    await refused(ledger, "a", 60)
    assert await reserve(ledger, "b", 50) == 50
    settle(ledger, "b", 0)
    assert await reserve(ledger, "c", 50) == 50, "what was refused holds nothing anywhere"


async def test_less_is_granted_only_where_settled_spend_leaves_less() -> None:
    ledger = opened(token={"daily": 100}, daily=70)
    assert await reserve(ledger, "a", 80, least=30) == 30
    settle(ledger, "a", 5)
    await refused(ledger, "b", 80, least=26)
    assert await reserve(ledger, "c", 80, least=20) == 25


async def test_what_stands_in_the_store_counts() -> None:
    ledger = opened(token={"lifetime": 100}, lifetime=99)
    await refused(ledger, "a", 2)
    assert ledger.remaining("t", "p", NOON) == {"lifetime": 1}


async def test_totals_of_the_store_count_once_and_limits_whenever_they_are_newer() -> None:
    ledger = opened(token={"daily": 10}, daily=5)
    settle(ledger, "a", 2)
    ledger.open(("token", "t"), {periods(NOON)[0]: (500, 1)}, {"daily": 100}, 3)
    assert ledger.remaining("t", "p", NOON) == {"daily": 93}
    ledger.open(("token", "t"), {}, {"daily": 1}, 2)
    assert ledger.remaining("t", "p", NOON) == {"daily": 93}, "an older reading that comes late changes nothing"
    ledger.open(("token", "t"), {}, {}, 4)
    assert ledger.remaining("t", "p", NOON) == {}


async def test_spend_without_a_limit_counts_when_one_is_set() -> None:
    ledger = opened()
    settle(ledger, "a", 70)
    ledger.open(("token", "t"), {}, {"monthly": 100}, 2)
    await refused(ledger, "b", 31)
    assert await reserve(ledger, "c", 30) == 30


# --- the end of a call -------------------------------------------------------------------------------


async def test_settling_is_done_once() -> None:
    ledger = opened(token={"daily": 100})
    await reserve(ledger, "a", 50)
    settle(ledger, "a", 20)
    assert ledger.remaining("t", "p", NOON) == {"daily": 80}
    assert await reserve(ledger, "b", 80) == 80, "its hold is gone"


async def test_a_cost_that_nobody_knows_is_what_was_held() -> None:
    ledger = opened(token={"daily": 100})
    await reserve(ledger, "a", 50)
    settle(ledger, "a", None)
    assert ledger.remaining("t", "p", NOON) == {"daily": 50}


async def test_a_hold_grows_where_there_is_room() -> None:
    ledger = opened(token={"daily": 100})
    await reserve(ledger, "a", 40)
    ledger.hold("a", 40)
    ledger.hold("a", 80)
    with pytest.raises(Failure) as caught:
        ledger.hold("a", 101)
    assert caught.value.code == "budget_exceeded"
    assert (await waiting(ledger, "b", 21)).done() is False
    settle(ledger, "a", 0)
    ledger.hold("of no call", 5)


async def test_a_call_counts_for_the_day_of_its_start() -> None:
    ledger = opened(token={"daily": 100})
    before_midnight = NOON + 43_199
    await reserve(ledger, "a", 100, at=before_midnight)
    assert await reserve(ledger, "b", 100, at=before_midnight + 2) == 100
    settle(ledger, "a", 90, at=before_midnight)
    settle(ledger, "b", 10, at=before_midnight + 2)
    assert ledger.remaining("t", "p", before_midnight) == {"daily": 10}
    assert ledger.remaining("t", "p", before_midnight + 2) == {"daily": 90}


async def test_days_that_are_over_are_forgotten_and_the_month_is_not() -> None:
    ledger = opened(token={"monthly": 10**6})
    for day in range(40):
        settle(ledger, f"c{day}", 1, at=NOON + day * DAY)
    account = ledger._accounts["token", "t"]
    assert len(account.totals) == 2 * KEPT + 1
    assert account.total("lifetime").spent == 40


async def test_what_was_spent_is_told() -> None:
    ledger = opened(daily=5, monthly=6, lifetime=7)
    settle(ledger, "a", 10)
    assert ledger.spent("token", "t") == Spent(15, 16, 17, 2, 1)
    assert ledger.spent("project", "p") == Spent(10, 10, 10, 1, 1)
    assert ledger.spent("token", "unknown") is None
    ledger._now.now += 3600  # type: ignore[attr-defined]
    assert ledger.spent("token", "t") == Spent(15, 16, 17, 2, 0)


async def test_a_caller_without_a_token_spends_for_the_project() -> None:
    ledger = opened(project={"daily": 10})
    assert await reserve(ledger, "a", 10, token_id=None) == 10
    settle(ledger, "a", 4, token=None)
    assert ledger.remaining(None, "p", NOON) == {"daily": 6}
    assert ledger.spent("token", "t") == Spent(0, 0, 0, 0, 0)


# --- the line ----------------------------------------------------------------------------------------


async def test_who_is_kept_out_by_other_holds_waits_in_order() -> None:
    ledger = opened(token={"daily": 100})
    await reserve(ledger, "a", 100)
    tasks = [await waiting(ledger, f"w{number}", 40) for number in range(4)]
    small = await waiting(ledger, "small", 1)
    settle(ledger, "a", 20)
    await asyncio.sleep(0)
    assert [task.done() for task in tasks] == [True, True, False, False]
    assert not small.done(), "it came last, and does not overtake"
    settle(ledger, "w0", 0)
    await asyncio.sleep(0)
    assert [task.done() for task in tasks] == [True, True, True, False]
    settle(ledger, "w1", 0)
    settle(ledger, "w2", 0)
    assert await asyncio.gather(*tasks, small) == [40, 40, 40, 40, 1]


async def test_nobody_overtakes_even_where_there_is_room() -> None:
    ledger = opened(token={"daily": 100})
    await reserve(ledger, "a", 60)
    large, small = await waiting(ledger, "large", 50), await waiting(ledger, "small", 10)
    assert not small.done(), "a line that small calls pass by would never move for a large one"
    settle(ledger, "a", 0)
    assert await asyncio.gather(large, small) == [50, 10]


async def test_who_waits_is_refused_when_what_is_spent_leaves_no_room() -> None:
    ledger = opened(token={"daily": 100})
    await reserve(ledger, "a", 100)
    hopeless, modest = await waiting(ledger, "b", 50), await waiting(ledger, "c", 10)
    settle(ledger, "a", 90)
    with pytest.raises(Failure):
        await hopeless
    assert await modest == 10


async def test_one_token_does_not_hold_up_another_of_its_project() -> None:
    ledger = opened(token={"daily": 10}, project={"daily": 1000})
    ledger.open(("token", "u"), {}, {}, 1)
    await reserve(ledger, "a", 10)
    stuck = await waiting(ledger, "b", 10)
    assert await reserve(ledger, "c", 900, token_id="u") == 900
    settle(ledger, "a", 0)
    assert await stuck == 10


async def test_who_finds_another_line_at_the_end_of_the_first_keeps_his_place() -> None:
    ledger = opened(token={"daily": 10}, project={"daily": 20})
    ledger.open(("token", "u"), {}, {}, 1)
    await reserve(ledger, "a", 10)
    first = await waiting(ledger, "first", 10)
    await reserve(ledger, "b", 10, token_id="u")
    second = await waiting(ledger, "second", 20, token_id="u")
    settle(ledger, "a", 0)
    assert await first == 10, "there is room in the project as well, and it came before"
    settle(ledger, "first", 0)
    settle(ledger, "b", 0)
    assert await second == 20


async def test_a_raised_limit_lets_in_who_waits() -> None:
    ledger = opened(token={"daily": 10})
    await reserve(ledger, "a", 10)
    task = await waiting(ledger, "b", 10)
    ledger.open(("token", "t"), {}, {"daily": 20}, 2)
    assert await task == 10


async def test_waiting_ends_at_the_deadline_and_leaves_no_trace() -> None:
    ledger = opened(token={"daily": 10})
    await reserve(ledger, "a", 10)
    late = await waiting(ledger, "late", 10, wait=0.0)
    next_one = await waiting(ledger, "next", 10)
    with pytest.raises(Failure) as caught:
        await late
    assert (caught.value.code, caught.value.reason) == ("budget_exceeded", "budget_held_by_others")
    assert caught.value.retry_after is not None
    settle(ledger, "a", 0)
    assert await next_one == 10


async def test_who_leaves_the_line_lets_the_next_one_through() -> None:
    ledger = opened(token={"daily": 10})
    await reserve(ledger, "a", 5)
    large, small = await waiting(ledger, "large", 10), await waiting(ledger, "small", 5)
    large.cancel()
    assert await small == 5
    with pytest.raises(asyncio.CancelledError):
        await large


@pytest.mark.parametrize("first", ["cancelled", "granted"])
async def test_who_leaves_as_his_turn_comes_holds_nothing(first: str) -> None:
    ledger = opened(token={"daily": 10})
    await reserve(ledger, "a", 10)
    task, next_one = await waiting(ledger, "b", 10), await waiting(ledger, "c", 10)
    steps = [lambda: task.cancel(), lambda: settle(ledger, "a", 0)]
    for step in steps if first == "cancelled" else reversed(steps):
        step()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await next_one == 10
    assert ledger._accounts["token", "t"].total("lifetime").held == 10


async def test_the_line_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "QUEUE", 2)
    ledger = opened(token={"daily": 10})
    await reserve(ledger, "a", 10)
    tasks = [await waiting(ledger, f"w{number}", 10) for number in range(2)]
    failure = await refused(ledger, "b", 10)
    assert failure.reason == "budget_queue_full" and failure.retry_after is not None
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    last = await waiting(ledger, "c", 10)
    settle(ledger, "a", 0)
    assert await last == 10


async def test_as_many_as_fit_go_through_and_no_more() -> None:
    ledger = opened(token={"daily": 300 * 7})

    async def call(number: int) -> bool:
        try:
            await reserve(ledger, f"c{number}", 7)
        except Failure:
            return False
        await asyncio.sleep(0)
        settle(ledger, f"c{number}", 7)
        return True

    done = await asyncio.gather(*(call(number) for number in range(1000)))
    assert done == [True] * 300 + [False] * 700
    assert ledger.remaining("t", "p", NOON) == {"daily": 0}


# --- against a model ---------------------------------------------------------------------------------

TOKENS = ("t", "u")
LIMITS = st.dictionaries(st.sampled_from(KINDS), st.integers(0, 200), max_size=2)


class Accounts(RuleBasedStateMachine):
    """Any order of calls, ends, changes of mind, midnights and restarts: the books agree with a plain sum of what
    ended, and no limit is passed.
    """

    @initialize(token=LIMITS, project=LIMITS)
    def begin(self, token: dict[str, int], project: dict[str, int]) -> None:
        self.loop = asyncio.new_event_loop()
        self.clock = Clock()
        self.limits = {("token", "t"): token, ("token", "u"): {}, ("project", "p"): project}
        self.spent: dict[tuple[tuple[str, str], str], int] = defaultdict(int)
        self.calls: dict[str, tuple[str, float, asyncio.Future[int], int, int]] = {}
        self.number = 0
        self.generation = 1
        self.start()

    def start(self) -> None:
        self.ledger = MemoryLedger(self.clock)
        for scope in self.limits:
            self.tell(scope)

    def tell(self, scope: tuple[str, str]) -> None:
        totals = {period: (nano, 0) for (known, period), nano in self.spent.items() if known == scope}
        self.ledger.open(scope, totals, self.limits[scope], self.generation)

    def turn(self) -> None:
        self.loop.run_until_complete(asyncio.sleep(0))
        self.loop.run_until_complete(asyncio.sleep(0))

    def scopes(self, token: str) -> list[tuple[str, str]]:
        return [("token", token), ("project", "p")]

    @rule(token=st.sampled_from(TOKENS), most=st.integers(0, 80), part=st.integers(0, 80))
    def call(self, token: str, most: int, part: int) -> None:
        self.number += 1
        name, at, least = f"c{self.number}", self.clock.now, min(most, part)
        task = self.loop.create_task(
            self.ledger.reserve(name, token, "p", at, least=least, most=most, until=self.loop.time() + 3600)
        )
        self.calls[name] = (token, at, task, least, most)
        self.turn()

    @rule(token=st.sampled_from(TOKENS), nano=st.integers(0, 80))
    def call_that_does_not_wait(self, token: str, nano: int) -> None:
        self.number += 1
        name, at = f"c{self.number}", self.clock.now
        granted = self.ledger.reserve_at_once(name, token, "p", at, nano)
        waits = any(account.queue for account in self.ledger._accounts.values())
        room = all(
            self.spent[scope, period] + self.held_in(scope, period) + nano <= self.limits[scope].get(kind, 10**9)
            for scope in self.scopes(token) for kind, period in zip(KINDS, periods(at), strict=True)
        )  # fmt: skip
        assert granted is (room and not waits)
        if granted:
            held: asyncio.Future[int] = self.loop.create_future()
            held.set_result(nano)
            self.calls[name] = (token, at, held, nano, nano)

    @precondition(lambda self: self.held())
    @rule(data=st.data(), share=st.integers(0, 100), known=st.booleans())
    def end(self, data: st.DataObject, share: int, known: bool) -> None:
        name = data.draw(st.sampled_from(sorted(self.held())))
        token, at, task, _, _ = self.calls.pop(name)
        cost = task.result() * share // 100
        self.ledger.settle(name, token, "p", at, cost if known else None)
        self.add(token, at, cost if known else task.result())
        self.turn()

    @rule(token=st.sampled_from(TOKENS), cost=st.integers(0, 50))
    def end_of_a_call_without_a_hold(self, token: str, cost: int) -> None:
        if any(self.limits[scope] for scope in self.scopes(token)):
            return  # such calls are made only where no limit applies
        self.ledger.settle("unheld", token, "p", self.clock.now, cost)
        self.add(token, self.clock.now, cost)

    @precondition(lambda self: self.calls)
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.calls)))
        token, at, task, _, _ = self.calls.pop(name)
        if not task.done():
            task.cancel()
            self.turn()
            assert task.cancelled()
        self.ledger.settle(name, token, "p", at, 0)
        assert name not in self.ledger._held
        self.add(token, at, 0)
        self.turn()

    @rule(scope=st.sampled_from([("token", "t"), ("project", "p")]), more=st.integers(0, 50),
          kind=st.sampled_from(KINDS))  # fmt: skip
    def raise_a_limit(self, scope: tuple[str, str], more: int, kind: str) -> None:
        if kind in self.limits[scope]:
            self.limits[scope] = self.limits[scope] | {kind: self.limits[scope][kind] + more}
            self.generation += 1
            self.tell(scope)
            self.turn()

    @rule()
    def midnight(self) -> None:
        self.clock.now += DAY

    @rule()
    def restart(self) -> None:
        """What is held when the process dies counts as spent; who waits has cost nothing."""
        for token, at, task, _, _ in self.calls.values():
            if task.done() and not task.exception():
                self.add(token, at, task.result())
            task.cancel()
        self.turn()
        self.calls.clear()
        self.start()

    def add(self, token: str, at: float, nano: int) -> None:
        for scope in self.scopes(token):
            for period in periods(at):
                self.spent[scope, period] += nano

    def held_in(self, scope: tuple[str, str], period: str) -> int:
        mine = [self.calls[name] for name in self.held() if scope in self.scopes(self.calls[name][0])]
        return sum(call.result() for _, at, call, _, _ in mine if period in periods(at))

    def held(self) -> list[str]:
        return [name for name, (_, _, task, _, _) in self.calls.items() if task.done() and not task.exception()]

    @invariant()
    def the_books_agree(self) -> None:
        today = periods(self.clock.now)
        for scope, limits in self.limits.items():
            account = self.ledger._accounts[scope]
            for kind, period in zip(KINDS, today, strict=True):
                held = self.held_in(scope, period)
                assert account.total(period).spent == self.spent[scope, period]
                assert account.total(period).held == held
                if kind in limits:
                    assert self.spent[scope, period] + held <= limits[kind]

    @invariant()
    def what_is_granted_is_what_was_asked_for(self) -> None:
        for _, _, task, least, most in self.calls.values():
            if task.done() and not task.exception():
                assert least <= task.result() <= most

    @invariant()
    def nobody_waits_in_vain(self) -> None:
        """The first of a line finds other calls' holds in its way; whom nothing can help has been sent away."""
        for account in self.ledger._accounts.values():
            for place, waiting in enumerate(account.queue):
                assert waiting.parked is account
                if place == 0:
                    totals = dict(zip(KINDS, account.at(periods(waiting.at)), strict=True))
                    assert any(totals[kind].held for kind in account.limits)
            assert [waiting.number for waiting in account.queue] == sorted(w.number for w in account.queue)

    def teardown(self) -> None:
        for _, _, task, _, _ in self.calls.values():
            task.cancel()  # does nothing to those that are over
            with contextlib.suppress(asyncio.CancelledError, Failure):
                self.loop.run_until_complete(task)
        self.loop.close()


TestAccounts = Accounts.TestCase
TestAccounts.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)

"""The ledger in memory: what tokens and projects have spent, what is held for calls under way, and who waits for room.

SQL holds the truth: an account is opened with the totals that stand there when its token first calls, and what is
settled here is what is written there. Nothing here waits for I/O, so every step is whole.
"""

import asyncio
from bisect import insort
from collections.abc import Callable, Iterable, Mapping, Sequence
from time import time

from ailink_gateway.exchange import Cap
from ailink_gateway.ports import Spent
from ailink_gateway.store.spend import KINDS, LIFETIME, Periods, periods
from ailink_provider.errors import Failure

QUEUE = 10_000  # calls that wait, in all
KEPT = 2  # days, and months, of which an account knows the totals
MESSAGE = "Budget exceeded. Request would exceed spending limit."
RETRY_SECONDS = 1.0

_HOUR = 3600

Scope = tuple[str, str]
Totals = tuple["Total", "Total", "Total"]


class Total:
    """One period of an account, in nano-dollars."""

    __slots__ = ("held", "requests", "spent")

    def __init__(self, spent: int = 0, requests: int = 0) -> None:
        self.spent = spent
        self.held = 0
        self.requests = requests


class Account:
    """A token or a project: its limits by kind, its totals by period, and the calls that wait for room in it."""

    __slots__ = ("bounds", "generation", "hour", "hour_requests", "latest", "limits", "queue", "scope", "totals")

    def __init__(self, scope: Scope, totals: Mapping[str, Total]) -> None:
        self.scope = scope
        self.totals = dict(totals)
        self.limits: Mapping[str, int] = {}
        self.bounds: tuple[tuple[int, int], ...] = ()  # the place of a kind in ``KINDS``, and its limit
        self.latest: tuple[Periods, Totals] | None = None
        self.generation = -1
        self.hour = 0
        self.hour_requests = 0
        self.queue: list[_Waiting] = []

    def at(self, where: Periods) -> "Totals":
        """Return the totals of the periods that ``periods`` returned, in their order."""
        latest = self.latest
        if latest is None or latest[0] is not where:
            day, month, lifetime = where
            latest = self.latest = (where, (self.total(day), self.total(month), self.total(lifetime)))
        return latest[1]

    def limit(self, limits: Mapping[str, int]) -> None:
        """Let these limits, by kind, take the place of those before."""
        self.limits = dict(limits)
        self.bounds = tuple((KINDS.index(kind), nano) for kind, nano in limits.items())

    def total(self, period: str) -> Total:
        """Return the total of a period; a new one begins at nothing."""
        total = self.totals.get(period)
        if total is None:
            total = self.totals[period] = Total()
            self._forget(len(period))
        return total

    def _forget(self, length: int) -> None:
        alike = sorted(period for period in self.totals if len(period) == length and period != LIFETIME)
        for period in alike[:-KEPT]:
            if not self.totals[period].held:
                del self.totals[period]

    def add(self, at: float, where: Periods, nano: int) -> None:
        """Add a call that has ended, and what it cost."""
        for total in self.at(where):
            total.spent += nano
            total.requests += 1
        hour = int(at) // _HOUR
        if hour > self.hour:
            self.hour, self.hour_requests = hour, 0
        if hour == self.hour:
            self.hour_requests += 1


class _Held:
    """What is held for one call, in all its accounts and periods."""

    __slots__ = ("accounts", "caps", "nano", "totals", "where")

    def __init__(self, accounts: list[Account], where: Periods, caps: Sequence[Cap]) -> None:
        self.accounts, self.where, self.caps, self.nano = accounts, where, caps, 0
        self.totals = [total for account in accounts for total in account.at(where)]

    def change(self, nano: int) -> None:
        """Hold so much more, or less."""
        self.nano += nano
        for total in self.totals:
            total.held += nano


class _Waiting:
    """A call that wants room. It stands in the line of the one account that it found in its way."""

    __slots__ = ("accounts", "call_id", "caps", "future", "least", "most", "number", "parked", "where")

    def __init__(
        self, call_id: str, number: int, accounts: list[Account], where: Periods, least: int, most: int,
        caps: Sequence[Cap],
    ) -> None:
        self.call_id, self.number, self.accounts, self.where = call_id, number, accounts, where
        self.least, self.most, self.caps = least, most, caps
        self.parked: Account | None = None
        self.future: asyncio.Future[int] | None = None

    def __lt__(self, other: "_Waiting") -> bool:
        return self.number < other.number


class MemoryLedger:
    """The ledger of one process. ``now`` is the time in Unix seconds."""

    def __init__(self, now: Callable[[], float] = time) -> None:
        self._now = now
        self._accounts: dict[Scope, Account] = {}
        self._held: dict[str, _Held] = {}
        self._waiting = 0
        self._number = 0

    # --- what the directory tells ------------------------------------------------------------------

    def open(
        self,
        scope: Scope,
        totals: Mapping[str, tuple[int, int]],
        limits: Mapping[str, int],
        generation: int,
        requests_this_hour: int = 0,
    ) -> None:
        """Take note of an account as it stands in SQL: totals (nano-dollars, requests) by period, limits by kind.

        Totals count at the first time only: from then on this ledger knows better. Limits count unless a later
        generation of them is known.
        """
        account = self._accounts.get(scope)
        if account is None:
            account = self._accounts[scope] = Account(scope, {name: Total(*total) for name, total in totals.items()})
            account.hour, account.hour_requests = int(self._now()) // _HOUR, requests_this_hour
        if generation >= account.generation:
            account.limit(limits)
            account.generation = generation
            self._advance(account)

    @property
    def waiting(self) -> int:
        """How many calls wait for others to settle."""
        return self._waiting

    # --- what stages ask ---------------------------------------------------------------------------

    def limited(self, token_id: str | None, project_id: str) -> bool:
        """Whether any limit applies. See ``ports.Ledger``."""
        account = self._accounts.get(("project", project_id))
        if account is not None and account.bounds:
            return True
        account = None if token_id is None else self._accounts.get(("token", token_id))
        return account is not None and bool(account.bounds)

    async def reserve(
        self, call_id: str, token_id: str | None, project_id: str, at: float, *, least: int, most: int, until: float,
        caps: Sequence[Cap] = (),
    ) -> int:
        """Hold money for a call. See ``ports.Ledger``."""
        self._number += 1
        accounts = self._of(token_id, project_id)
        waiting = _Waiting(call_id, self._number, accounts, periods(at), least, most, caps)
        granted = self._try(waiting)
        if isinstance(granted, int):
            return granted
        if self._waiting >= QUEUE:
            raise Failure("budget_exceeded", MESSAGE, reason="budget_queue_full", retry_after=RETRY_SECONDS)
        loop = asyncio.get_running_loop()
        waiting.future = loop.create_future()
        self._park(waiting, granted)
        self._waiting += 1
        alarm = loop.call_at(until, self._expire, waiting)
        try:
            return await waiting.future
        except asyncio.CancelledError:
            self._leave(waiting)
            raise
        finally:
            self._waiting -= 1
            alarm.cancel()

    def remaining(self, token_id: str | None, project_id: str, at: float) -> Mapping[str, int]:
        """Return what limits leave. See ``ports.Ledger``."""
        left: dict[str, int] = {}
        for account in self._of(token_id, project_id):
            for place, limit in account.bounds:
                rest = limit - account.at(periods(at))[place].spent
                kind = KINDS[place]
                left[kind] = min(left.get(kind, rest), rest)
        return left

    def spent(self, scope: str, scope_id: str) -> Spent | None:
        """Return what was spent. See ``ports.Ledger``."""
        account = self._accounts.get((scope, scope_id))
        if account is None:
            return None
        now = self._now()
        today, month, lifetime = account.at(periods(now))
        in_this_hour = account.hour_requests if account.hour == int(now) // _HOUR else 0
        return Spent(today.spent, month.spent, lifetime.spent, today.requests, in_this_hour)

    # --- what the journal tells --------------------------------------------------------------------

    def hold(self, call_id: str, nano: int) -> None:
        """Raise what is held for a call to ``nano``. Raises ``Failure`` (``budget_exceeded``) if there is no room."""
        held = self._held.get(call_id)
        if held is None or nano <= held.nano:
            return
        more = nano - held.nano
        for account in held.accounts:
            totals = account.at(held.where)
            for place, limit, cap in _bounds(account, held.caps):
                if totals[place].spent + totals[place].held + more > limit:
                    raise _refusal(account, place, limit, totals[place].spent, more, cap, "budget_held_by_attempts")
        held.change(more)

    def settle(self, call_id: str, token_id: str | None, project_id: str, at: float, nano: int | None) -> None:
        """End a call: what was held for it is free, and what it cost is spent. None counts for what was held."""
        held = self._held.pop(call_id, None)
        if held is not None:
            nano = held.nano if nano is None else nano
            held.change(-held.nano)
        if held is not None:
            accounts = held.accounts
        else:
            scopes = ("token", token_id or ""), ("project", project_id)
            accounts = [self._accounts[scope] for scope in scopes if scope in self._accounts]
        where = periods(at)
        for account in accounts:
            account.add(at, where, nano or 0)
        for account in accounts:
            if account.queue:
                self._advance(account)

    # --- the lines ---------------------------------------------------------------------------------

    def _of(self, token_id: str | None, project_id: str) -> list[Account]:
        project = self._accounts[("project", project_id)]
        return [project] if token_id is None else [self._accounts[("token", token_id)], project]

    def _try(self, waiting: _Waiting) -> int | Account:
        """Hold what a call wants and return how much, or return the account in whose line it must stand.

        Raises ``Failure`` if settled spend leaves too little: that will not change.
        """
        amount = waiting.most
        for account in waiting.accounts:
            for place, limit, cap in _bounds(account, waiting.caps):
                spent = account.at(waiting.where)[place].spent
                if limit - spent < waiting.least:
                    raise _refusal(account, place, limit, spent, waiting.least, cap)
                amount = min(amount, limit - spent)
        for account in waiting.accounts:
            if account.queue and account.queue[0].number < waiting.number:
                return account
            for place, limit, _ in _bounds(account, waiting.caps):
                total = account.at(waiting.where)[place]
                if total.spent + total.held + amount > limit:
                    return account
        held = self._held[waiting.call_id] = _Held(waiting.accounts, waiting.where, waiting.caps)
        held.change(amount)
        return amount

    def _park(self, waiting: _Waiting, account: Account) -> None:
        waiting.parked = account
        insort(account.queue, waiting)

    def _advance(self, account: Account) -> None:
        """Let in whom there is room for, first come, first served."""
        while account.queue:
            waiting = account.queue[0]
            assert waiting.future is not None
            if waiting.future.done():  # it was cancelled, and its task does not know that yet
                account.queue.pop(0)
                waiting.parked = None
                continue
            try:
                outcome = self._try(waiting)
            except Failure as failure:
                account.queue.pop(0)
                waiting.parked = None
                waiting.future.set_exception(failure)
                continue
            if outcome is account:
                return
            account.queue.pop(0)
            waiting.parked = None
            if isinstance(outcome, Account):
                self._park(waiting, outcome)
            else:
                waiting.future.set_result(outcome)

    def _expire(self, waiting: _Waiting) -> None:
        assert waiting.future is not None
        if waiting.parked is not None and not waiting.future.done():
            self._unpark(waiting)
            waiting.future.set_exception(
                Failure("budget_exceeded", MESSAGE, reason="budget_held_by_others", retry_after=RETRY_SECONDS)
            )

    def _leave(self, waiting: _Waiting) -> None:
        """A call went away, from the line or with what it had just been given."""
        if waiting.parked is not None:
            self._unpark(waiting)
        elif waiting.future is not None and not waiting.future.cancelled() and waiting.future.exception() is not None:
            return  # it was refused
        elif (held := self._held.pop(waiting.call_id, None)) is not None:
            held.change(-held.nano)
            for account in held.accounts:
                self._advance(account)

    def _unpark(self, waiting: _Waiting) -> None:
        account = waiting.parked
        assert account is not None
        account.queue.remove(waiting)
        waiting.parked = None
        self._advance(account)


def _bounds(account: Account, caps: Sequence[Cap]) -> Iterable[tuple[int, int, Cap | None]]:
    """Return what holds in an account for a call: the place of a kind in ``KINDS``, the limit, and its cap if it is
    one.
    """
    bounds: list[tuple[int, int, Cap | None]] = [(place, limit, None) for place, limit in account.bounds]
    return bounds + [(KINDS.index(cap.period), cap.nano, cap) for cap in caps if cap.scope == account.scope[0]]


def _refusal(
    account: Account, place: int, limit: int, spent: int, wanted: int, cap: Cap | None, reason: str = "budget_spent"
) -> Failure:
    details = {
        "scope": account.scope[0],
        "period": KINDS[place],
        "limit_usd": limit / 1e9,
        "spent_usd": spent / 1e9,
        "needed_usd": wanted / 1e9,
    }
    if cap is not None:
        message = f"The {cap.period} spend cap of the policy {cap.policy_name} leaves too little for this call."
        return Failure("spend_cap_reached", message, reason="spend_cap_reached", policy_name=cap.policy_name,
                       details=details)  # fmt: skip
    code = "spend_cap_reached" if spent >= limit else "budget_exceeded"
    return Failure(code, MESSAGE, reason=reason, details=details)

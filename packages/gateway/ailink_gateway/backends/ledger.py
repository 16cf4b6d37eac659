"""The ledger in memory: what tokens and projects have spent, what is held for calls under way, and who waits for room.

SQL holds the truth: an account is opened with the totals that stand there when its token first calls, and what is
settled here is what is written there. Nothing here waits for I/O, so every step is whole.
"""

import asyncio
from bisect import insort
from collections.abc import Callable, Mapping, Sequence
from time import time

from ailink_gateway.backends.accounts import Account, Bound, Call, Payers, Purse, Scope, Total
from ailink_gateway.charges import BUDGET_EXCEEDED
from ailink_gateway.exchange import Cap
from ailink_gateway.ports import Spent
from ailink_gateway.store.spend import DAY, periods
from ailink_provider.errors import Failure

QUEUE = 10_000  # calls that wait, in all
RETRY_SECONDS = 1.0

_HOUR = 3600


class MemoryLedger:
    """The ledger of one process. ``now`` is the time in Unix seconds."""

    def __init__(self, now: Callable[[], float] = time) -> None:
        self._now = now
        self._accounts: dict[Scope, Account] = {}
        self._purses: dict[Payers, Purse] = {}
        self._edition = 0  # of all limits
        self._held: dict[str, Call] = {}
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
            account.limits = dict(limits)
            account.hour, account.hour_requests = int(self._now()) // _HOUR, requests_this_hour
        if generation >= account.generation:
            account.generation = generation
            if limits != account.limits:
                account.limits = dict(limits)
                self._edition += 1  # every purse is put together anew
            self._advance(account)

    @property
    def waiting(self) -> int:
        """How many calls wait for others to settle."""
        return self._waiting

    # --- what stages ask ---------------------------------------------------------------------------

    def limited(self, token_id: str | None, project_id: str) -> bool:
        """Whether any limit applies. See ``ports.Ledger``."""
        account = self._accounts.get(("project", project_id))
        if account is not None and account.limits:
            return True
        account = None if token_id is None else self._accounts.get(("token", token_id))
        return account is not None and bool(account.limits)

    def reserve_at_once(
        self, call_id: str, token_id: str | None, project_id: str, at: float, nano: int, caps: Sequence[Cap] = ()
    ) -> bool:
        """Hold money for a call if nothing stands in the way. See ``ports.Ledger``."""
        payers = token_id, project_id
        purse = self._purse(payers, at)
        assert len(purse.accounts) == 1 + (token_id is not None)  # who makes a grant opens its accounts
        if self._waiting:
            return False
        for _, total, limit, _, _ in purse.bounds_of(caps) if caps else purse.bounds:
            if total.spent + total.held + nano > limit:
                return False
        call = self._held[call_id] = Call(call_id, payers, at, caps, purse)
        call.hold(nano)
        return True

    async def reserve(
        self, call_id: str, token_id: str | None, project_id: str, at: float, *, least: int, most: int, until: float,
        caps: Sequence[Cap] = (),
    ) -> int:
        """Hold money for a call, and wait for it. See ``ports.Ledger``."""
        self._number += 1
        payers = token_id, project_id
        purse = self._purse(payers, at)
        assert len(purse.accounts) == 1 + (token_id is not None)
        call = Call(call_id, payers, at, caps, purse, number=self._number, least=least, most=most)
        granted = self._try(call)
        if isinstance(granted, int):
            return granted
        if self._waiting >= QUEUE:
            raise Failure("budget_exceeded", BUDGET_EXCEEDED, reason="budget_queue_full", retry_after=RETRY_SECONDS)
        loop = asyncio.get_running_loop()
        call.future = loop.create_future()
        self._park(call, granted)
        self._waiting += 1
        alarm = loop.call_at(until, self._expire, call)
        try:
            return await call.future
        except asyncio.CancelledError:
            self._leave(call)
            raise
        finally:
            self._waiting -= 1
            alarm.cancel()

    def remaining(
        self, token_id: str | None, project_id: str, at: float, caps: Sequence[Cap] = ()
    ) -> Mapping[str, int]:
        """Return what limits and caps leave. See ``ports.Ledger``."""
        left: dict[str, int] = {}
        purse = self._purse((token_id, project_id), at)
        for _, total, limit, kind, _ in purse.bounds_of(caps) if caps else purse.bounds:
            rest = limit - total.spent
            if kind not in left or rest < left[kind]:
                left[kind] = rest
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
        call = self._held.get(call_id)
        if call is None or nano <= call.nano:
            return
        more = nano - call.nano
        for bound in self._purse(call.payers, call.at).bounds_of(call.caps):
            if bound.total.spent + bound.total.held + more > bound.limit:
                raise _refusal(bound, more, "budget_held_by_attempts")
        call.hold(nano)

    def settle(self, call_id: str, token_id: str | None, project_id: str, at: float, nano: int | None) -> None:
        """End a call: what was held for it is free, and what it cost is spent. None counts for what was held."""
        call, held = self._held.pop(call_id, None), 0
        if call is None:
            purse = self._purse((token_id, project_id), at)
        else:
            purse, held = call.purse, call.nano
        spent, hour = (held if nano is None else nano), int(at) // _HOUR
        for total in purse.totals:
            total.held -= held
            total.spent += spent
            total.requests += 1
        for account in purse.accounts:
            if account.hour == hour:
                account.hour_requests += 1
            elif account.hour < hour:
                account.hour, account.hour_requests = hour, 1
            if account.queue:
                self._advance(account)

    # --- the lines ---------------------------------------------------------------------------------

    def _purse(self, payers: Payers, at: float) -> Purse:
        """Return what a call that starts ``at`` spends from. Of an account that is not open, nothing is known."""
        purse, day = self._purses.get(payers), int(at // DAY)
        if purse is None or purse.day != day or purse.edition != self._edition:
            scopes = ("token", payers[0] or ""), ("project", payers[1])
            accounts = tuple(self._accounts[scope] for scope in scopes if scope in self._accounts)
            purse = Purse(accounts, day, self._edition)
            if len(accounts) == len(scopes) - (payers[0] is None):
                self._purses[payers] = purse
        return purse

    def _try(self, call: Call) -> int | Account:
        """Hold what a call wants and return how much, or return the account in whose line it must stand.

        Raises ``Failure`` if settled spend leaves too little: that will not change.
        """
        purse = call.purse
        bounds = purse.bounds_of(call.caps) if call.caps else purse.bounds
        amount = call.most
        for bound in bounds:
            left = bound.limit - bound.total.spent
            if left < call.least:
                raise _refusal(bound, call.least)
            if left < amount:
                amount = left
        for account in purse.accounts:
            if account.queue and account.queue[0].number < call.number:
                return account
        for account, total, limit, _, _ in bounds:
            if total.spent + total.held + amount > limit:
                return account
        self._held[call.id] = call
        call.hold(amount)
        return amount

    def _park(self, call: Call, account: Account) -> None:
        call.parked = account
        insort(account.queue, call)

    def _advance(self, account: Account) -> None:
        """Let in whom there is room for, first come, first served."""
        while account.queue:
            call = account.queue[0]
            assert call.future is not None
            if call.future.done():  # it was cancelled, and its task does not know that yet
                account.queue.pop(0)
                call.parked = None
                continue
            call.purse = self._purse(call.payers, call.at)  # a limit may be another by now
            try:
                outcome = self._try(call)
            except Failure as failure:
                account.queue.pop(0)
                call.parked = None
                call.future.set_exception(failure)
                continue
            if outcome is account:
                return
            account.queue.pop(0)
            call.parked = None
            if isinstance(outcome, Account):
                self._park(call, outcome)
            else:
                call.future.set_result(outcome)

    def _expire(self, call: Call) -> None:
        assert call.future is not None
        if call.parked is not None and not call.future.done():
            self._unpark(call)
            call.future.set_exception(
                Failure("budget_exceeded", BUDGET_EXCEEDED, reason="budget_held_by_others", retry_after=RETRY_SECONDS)
            )

    def _leave(self, call: Call) -> None:
        """A call went away, from the line or with what it had just been given."""
        if call.parked is not None:
            self._unpark(call)
        elif call.future is not None and not call.future.cancelled() and call.future.exception() is not None:
            return  # it was refused
        elif self._held.pop(call.id, None) is not None:
            call.hold(0)
            for account in call.purse.accounts:
                self._advance(account)

    def _unpark(self, call: Call) -> None:
        account = call.parked
        assert account is not None
        account.queue.remove(call)
        call.parked = None
        self._advance(account)


def _refusal(bound: Bound, wanted: int, reason: str = "budget_spent") -> Failure:
    cap, spent = bound.cap, bound.total.spent
    details = {
        "scope": bound.account.scope[0],
        "period": bound.kind,
        "limit_usd": bound.limit / 1e9,
        "spent_usd": spent / 1e9,
        "needed_usd": wanted / 1e9,
    }
    if cap is not None:
        return Failure("spend_cap_reached", BUDGET_EXCEEDED, reason="spend_cap_reached", policy_name=cap.policy_name,
                       details=details)  # fmt: skip
    code = "spend_cap_reached" if spent >= bound.limit else "budget_exceeded"
    return Failure(code, BUDGET_EXCEEDED, reason=reason, details=details)

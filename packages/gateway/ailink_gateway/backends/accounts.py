"""What tokens and projects have spent in each period, what is held, and what bounds it: the books of the ledger.

Data and sums. Who is let in, and who waits, is the ledger's to say.
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from msgspec import Struct

from ailink_gateway.exchange import Cap
from ailink_gateway.store.spend import DAY, KINDS, LIFETIME, Periods, periods

KEPT = 2  # days, and months, of which an account knows the totals

Scope = tuple[str, str]
Totals = tuple["Total", "Total", "Total"]
Payers = tuple[str | None, str]
"""The token, if there is one, and the project that a call spends for."""


class Total:
    """One period of an account, in nano-dollars."""

    __slots__ = ("held", "requests", "spent")

    def __init__(self, spent: int = 0, requests: int = 0) -> None:
        self.spent = spent
        self.held = 0
        self.requests = requests


class Account:
    """A token or a project: its limits by kind, its totals by period, and the calls that wait for room in it."""

    __slots__ = ("generation", "hour", "hour_requests", "latest", "limits", "queue", "scope", "totals")

    def __init__(self, scope: Scope, totals: Mapping[str, Total]) -> None:
        self.scope = scope
        self.totals = dict(totals)
        self.limits: Mapping[str, int] = {}
        self.latest: tuple[Periods, Totals] | None = None
        self.generation = -1
        self.hour = 0
        self.hour_requests = 0
        self.queue: list[Call] = []

    def at(self, where: Periods) -> "Totals":
        """Return the totals of the periods that ``periods`` returned, in their order."""
        latest = self.latest
        if latest is None or latest[0] is not where:
            day, month, lifetime = where
            latest = self.latest = (where, (self.total(day), self.total(month), self.total(lifetime)))
        return latest[1]

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


class Bound(NamedTuple):
    """What must not be passed: a limit of an account, or the cap of a policy, in a period."""

    account: Account
    total: Total
    limit: int
    kind: str
    cap: Cap | None


class Purse:
    """What a call spends from: the totals of all its accounts in the periods of one day, and what bounds them. Made
    once for many calls, and again when a day (counted from 1970) or a limit is another.
    """

    __slots__ = ("accounts", "bounds", "day", "edition", "totals", "where")

    def __init__(self, accounts: tuple[Account, ...], day: int, edition: int) -> None:
        self.accounts, self.day, self.edition = accounts, day, edition
        self.where = where = periods(day * DAY)
        self.totals = tuple(total for account in accounts for total in account.at(where))
        self.bounds = tuple(
            self._bound(account, kind, limit) for account in accounts for kind, limit in account.limits.items()
        )

    def bounds_of(self, caps: Sequence[Cap]) -> tuple[Bound, ...]:
        """Return what holds for a call with these caps."""
        return self.bounds + tuple(
            self._bound(account, cap.period, cap.nano, cap)
            for account in self.accounts for cap in caps if cap.scope == account.scope[0]
        )  # fmt: skip

    def _bound(self, account: Account, kind: str, limit: int, cap: Cap | None = None) -> Bound:
        return Bound(account, account.at(self.where)[KINDS.index(kind)], limit, kind, cap)


class Call(Struct, eq=False):
    """A call that holds money, or waits to: then it stands in the line of the one account that it found in its way."""

    id: str
    payers: Payers
    at: float
    caps: Sequence[Cap]
    purse: Purse
    nano: int = 0
    number: int = 0
    least: int = 0
    most: int = 0
    parked: Account | None = None
    future: "asyncio.Future[int] | None" = None

    def __lt__(self, other: "Call") -> bool:
        return self.number < other.number

    def hold(self, nano: int) -> None:
        """Hold this much from now on."""
        more = nano - self.nano
        self.nano = nano
        for total in self.purse.totals:
            total.held += more

"""Actions that hold back how much is called: rate_limit, throttle, spend_cap."""

import asyncio
from collections.abc import Callable
from decimal import Decimal
from typing import TYPE_CHECKING, Literal

from msgspec import Struct

from ailink_gateway.charges import BUDGET_EXCEEDED
from ailink_gateway.exchange import Cap
from ailink_gateway.policy.compiled import Foresight, Rule, Verdict
from ailink_gateway.policy.facts import Facts
from ailink_gateway.policy.shapes import Members
from ailink_provider.errors import Failure

if TYPE_CHECKING:
    from ailink_gateway.policy.run import Run

LONGEST_WINDOW = 31 * 86_400
LONGEST_DELAY = 60_000
LONGEST_NAME = 256  # characters of what agents and users are told apart by
PERIODS = {"daily": "today_nano", "monthly": "month_nano", "lifetime": "lifetime_nano"}
Key = Literal["token", "agent", "ip", "user", "global"]


class RateLimit(Struct, frozen=True):
    """Lets so many calls through in any ``window`` seconds, by ``key``. ``place`` tells a policy's limits apart.

    Agents and users are named by the caller, so each token counts its own.
    """

    window: int
    most: int
    key: Key
    place: str

    name = "rate_limit"
    rewrites = False
    reads_reply = False

    def apply(self, run: "Run", rule: Rule) -> Failure | None:
        """See ``Action``."""
        key = ("policy", run.policy.id, self.place, run.mode, self.key, *COUNTED[self.key](run.facts))
        resumed, now = run.exchange.resumed, run.exchange.created_at
        amount = 0 if resumed is not None and resumed.is_counted(now, self.window) else 1
        taken = run.tools.limiter.take(key, self.most, self.window, amount)
        if run.mode == "enforce":
            run.tell_limit(self.most, taken)
        if taken.allowed:
            return None
        return Failure(
            "rate_limit_exceeded",
            "Rate limit exceeded",
            retry_after=max(taken.reset_seconds, 1),
            reason="rate_limit_exceeded",
        )

    foresee = apply  # in shadow mode it has counters of its own


def _named(facts: Facts, name: object) -> tuple[str, ...]:
    # What a caller says of itself is believed of its own token only: else it could use up what others have.
    return str(facts.token_id or ""), str(name or "")[:LONGEST_NAME]


COUNTED: dict[Key, Callable[[Facts], tuple[str, ...]]] = {
    "token": lambda facts: (str(facts.token_id or ""),),
    "agent": lambda facts: _named(facts, facts.agent_name),
    "ip": lambda facts: (str(facts.ip or ""),),
    "user": lambda facts: _named(facts, facts.header(b"x-user-id")),
    "global": lambda facts: ("",),
}


class Throttle(Struct, frozen=True):
    """Holds a call back for some milliseconds, though not past its deadline."""

    delay_ms: int

    name = "throttle"
    rewrites = False
    reads_reply = False

    def apply(self, run: "Run", rule: Rule) -> Verdict:
        """See ``Action``."""
        return self._wait(run.exchange.deadline)

    def foresee(self, run: "Run", rule: Rule) -> Foresight:
        """See ``Action``."""
        return f"hold it back for {self.delay_ms} ms"

    async def _wait(self, deadline: float | None) -> None:
        seconds = self.delay_ms / 1000
        if deadline is not None:
            seconds = min(seconds, max(deadline - asyncio.get_running_loop().time(), 0))
        await asyncio.sleep(seconds)


class SpendCap(Struct, frozen=True):
    """Lets so much be spent in a period, by the token or the project that the policy is attached to: refuses calls once
    it is, and has what others may cost be held before they are made.
    """

    period: str
    limit_nano: int

    name = "spend_cap"
    rewrites = False
    reads_reply = False

    def apply(self, run: "Run", rule: Rule) -> Verdict:
        """See ``Action``."""
        grant = run.exchange.grant
        scope = "project" if grant is None or grant.token_id is None else run.policy.scope
        run.exchange.caps.append(Cap(scope, self.period, self.limit_nano, run.policy.name))
        return self._judge(run)

    def foresee(self, run: "Run", rule: Rule) -> Foresight:
        """See ``Action``."""
        return self._judge(run)

    def _judge(self, run: "Run") -> Failure | None:
        scope = run.policy.scope
        spent: int = getattr(
            run.facts.spent if scope == "token" else run.facts.spent_by_project, PERIODS[self.period]
        )
        if spent < self.limit_nano:
            return None
        return Failure(
            "spend_cap_reached",
            BUDGET_EXCEEDED,
            reason="spend_cap_reached",
            details={
                "scope": scope,
                "period": self.period,
                "limit_usd": self.limit_nano / 1e9,
                "spent_usd": spent / 1e9,
            },
        )


def read_rate_limit(members: Members, phase: str) -> RateLimit:
    """Read ``rate_limit{window, max_requests, key}``."""
    return RateLimit(
        members.seconds("window", most=LONGEST_WINDOW),
        members.integer("max_requests", least=1, most=1_000_000_000),
        members.choice("key", COUNTED, "token"),
        members.place,
    )


def read_throttle(members: Members, phase: str) -> Throttle:
    """Read ``throttle{delay_ms}``."""
    return Throttle(members.integer("delay_ms", least=1, most=LONGEST_DELAY))


def read_spend_cap(members: Members, phase: str) -> SpendCap:
    """Read ``spend_cap{period, limit_usd}``."""
    period = members.choice("period", PERIODS)
    usd = members.number("limit_usd", least=0, most=1_000_000_000)
    return SpendCap(period, round(Decimal(str(usd)) * 1_000_000_000))

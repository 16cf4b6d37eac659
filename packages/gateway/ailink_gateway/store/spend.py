"""What tokens and projects may spend, and what they have spent: limits by kind, totals by period.

A kind is daily, monthly or lifetime; a period a day ("2026-11-24"), a month ("2026-11") or "lifetime", in UTC. Money is
nano-dollars. Totals change with the records they sum up, in one transaction, and never otherwise.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import NamedTuple

from sqlalchemy import Connection, delete, func, select
from sqlalchemy.dialects.sqlite import insert

from ailink_gateway.record import Record
from ailink_gateway.store.tables import records, spend_limits, spend_totals
from ailink_provider.errors import Failure

KINDS = ("daily", "monthly", "lifetime")
LIFETIME = "lifetime"
_HOUR = 3600
DAY = 86_400

Periods = tuple[str, str, str]

_ADD = (
    "INSERT INTO spend_totals (scope, scope_id, period, spent_nano, requests, tokens) VALUES (?, ?, ?, ?, ?, ?) "
    "ON CONFLICT (scope, scope_id, period) DO UPDATE SET spent_nano = spent_nano + excluded.spent_nano, "
    "requests = requests + excluded.requests, tokens = tokens + excluded.tokens"
)


class Spend(NamedTuple):
    """An account as it stands: limits by kind, (nano-dollars, requests) by period, and requests since the hour began.

    Of periods that have ended, those are there that a call which is still under way may belong to.
    """

    limits: Mapping[str, int]
    totals: Mapping[str, tuple[int, int]]
    requests_this_hour: int


def periods(at: float) -> Periods:
    """Return the periods that a moment (Unix seconds) lies in, in the order of ``KINDS``."""
    return _periods(int(at) // DAY)


@lru_cache(maxsize=64)
def _periods(day: int) -> Periods:
    date = datetime.fromtimestamp(day * DAY, UTC)
    return date.strftime("%Y-%m-%d"), date.strftime("%Y-%m"), LIFETIME


def load_spend(connection: Connection, scope: str, scope_id: str, now: float) -> Spend:
    """Return an account. ``scope`` is "token" or "project"; the requests of the hour are counted for tokens only."""
    yesterday = (datetime.fromtimestamp(now, UTC) - timedelta(days=1)).timestamp()
    wanted = {*periods(now), *periods(yesterday)}
    mine = spend_totals.c.scope == scope, spend_totals.c.scope_id == scope_id, spend_totals.c.period.in_(wanted)
    query = select(spend_totals.c.period, spend_totals.c.spent_nano, spend_totals.c.requests).where(*mine)
    totals = {period: (spent, requests) for period, spent, requests in connection.execute(query)}
    hour = 0
    if scope == "token" and totals:
        since = records.c.token_id == scope_id, records.c.created_at >= now // _HOUR * _HOUR
        hour = connection.execute(select(func.count()).select_from(records).where(*since)).scalar_one()
    return Spend(read_limits(connection, scope, scope_id), totals, hour)


def read_limits(connection: Connection, scope: str, scope_id: str) -> dict[str, int]:
    """Return the limits of an account by kind."""
    mine = spend_limits.c.scope == scope, spend_limits.c.scope_id == scope_id
    query = select(spend_limits.c.period, spend_limits.c.limit_nano).where(*mine)
    return {kind: limit for kind, limit in connection.execute(query)}  # noqa: C416 - rows are no pairs to a type checker


def set_limit(connection: Connection, scope: str, scope_id: str, kind: str, limit_nano: int, now: float) -> None:
    """Limit what an account may spend, whether or not it was limited."""
    row = {"scope": scope, "scope_id": scope_id, "period": kind, "limit_nano": limit_nano, "created_at": now}
    statement = insert(spend_limits).values(row)
    connection.execute(
        statement.on_conflict_do_update(
            index_elements=["scope", "scope_id", "period"], set_={"limit_nano": limit_nano, "created_at": now}
        )
    )


def remove_limit(connection: Connection, scope: str, scope_id: str, kind: str) -> None:
    """Take a limit away. Raises ``Failure`` (``not_found``) if there is none."""
    mine = spend_limits.c.scope == scope, spend_limits.c.scope_id == scope_id, spend_limits.c.period == kind
    if connection.execute(delete(spend_limits).where(*mine)).rowcount == 0:
        raise Failure("not_found", f"There is no {kind} limit on this {scope}.", param="period")


def add_to_totals(connection: Connection, batch: Sequence[Record]) -> None:
    """Add records that were just inserted to the totals of their tokens and projects. One without a cost is a request.
    """
    # By caller and day, as most records of a batch have both in common; the database adds up what those share.
    sums: defaultdict[tuple[str | None, str | None, int], list[int]] = defaultdict(lambda: [0, 0, 0])
    for record in batch:
        total = sums[record.token_id, record.project_id, int(record.created_at) // DAY]
        total[0] += record.cost_nano or 0
        total[1] += 1
        total[2] += (record.prompt_tokens or 0) + (record.completion_tokens or 0)
    rows = [
        (scope, scope_id, period, *total)
        for (token_id, project_id, day), total in sums.items()
        for scope, scope_id in (("token", token_id), ("project", project_id)) if scope_id is not None
        for period in _periods(day)
    ]  # fmt: skip
    if rows:
        connection.exec_driver_sql(_ADD, rows)

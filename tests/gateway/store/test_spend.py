"""Totals are the sums of the records, each counted once, however often it is shipped."""

from collections import defaultdict
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, select

from ailink_gateway.store.spend import KINDS, load_spend, periods, read_limits, remove_limit, set_limit
from ailink_gateway.store.store import Store
from ailink_gateway.store.tables import records, spend_totals
from ailink_provider.errors import Failure
from tests.gateway.rows import insert_records

Make = Callable[..., dict[str, Any]]
NOON = datetime(2026, 11, 24, 12, tzinfo=UTC).timestamp()
DAY = 86_400.0


def totals(connection: Connection) -> dict[tuple[str, str, str], tuple[int, int, int]]:
    return {(row[0], row[1], row[2]): (row[3], row[4], row[5]) for row in connection.execute(select(spend_totals))}


async def test_a_record_is_added_to_its_token_and_its_project(store: Store, record: Make) -> None:
    row = record(token_id="t", project_id="p", created_at=NOON, cost_nano=5, prompt_tokens=2, completion_tokens=3)
    await store.write(insert_records, [row])
    assert await store.read(totals) == {
        (scope, name, period): (5, 1, 5)
        for scope, name in (("token", "t"), ("project", "p"))
        for period in ("2026-11-24", "2026-11", "lifetime")
    }


async def test_a_record_that_comes_again_is_not_added_again(store: Store, record: Make) -> None:
    row = record(token_id="t", created_at=NOON, cost_nano=5)
    assert await store.write(insert_records, [row, row]) == 1
    assert await store.write(insert_records, [row, record(2, token_id="t", created_at=NOON, cost_nano=1)]) == 1
    assert (await store.read(totals))["token", "t", "lifetime"] == (6, 2, 0)


async def test_nobodys_record_is_nobodys_spend(store: Store, record: Make) -> None:
    await store.write(insert_records, [record(cost_nano=5)])
    assert await store.read(totals) == {}


async def test_a_record_without_a_cost_is_a_request(store: Store, record: Make) -> None:
    await store.write(insert_records, [record(token_id="t", created_at=NOON)])
    assert (await store.read(totals))["token", "t", "2026-11"] == (0, 1, 0)


async def test_totals_and_records_are_one_transaction(store: Store, record: Make) -> None:
    def broken(connection: Connection) -> None:
        insert_records(connection, [record(token_id="t", created_at=NOON, cost_nano=5)])
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await store.write(broken)
    assert await store.read(totals) == {}


ROWS = st.lists(
    st.tuples(
        st.integers(0, 20), st.sampled_from("tu"), st.sampled_from("pq"), st.integers(0, 70), st.integers(0, 10**9)
    ),
    max_size=30,
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(ROWS, max_size=4))
async def test_whatever_is_shipped_in_whatever_order_the_totals_are_the_sums(
    store: Store, record: Make, batches: list[Any]
) -> None:
    seen = {row["id"]: row for row in await store.read(everything)}
    expected: dict[tuple[str, str, str], int] = defaultdict(int)
    for row in seen.values():
        count(expected, row)
    for batch in batches:
        rows = [
            record(number, token_id=token, project_id=project, created_at=NOON + day * DAY, cost_nano=cost)
            for number, token, project, day, cost in batch
        ]
        for row in rows:
            if row["id"] not in seen:
                seen[row["id"]] = row
                count(expected, row)
        await store.write(insert_records, rows)
    found = await store.read(totals)
    assert {key: total[0] for key, total in found.items()} == expected


def everything(connection: Connection) -> list[dict[str, Any]]:
    return [dict(row) for row in connection.execute(select(records)).mappings()]


def count(expected: dict[tuple[str, str, str], int], row: dict[str, Any]) -> None:
    for period in periods(row["created_at"]):
        expected["token", row["token_id"], period] += row["cost_nano"]
        expected["project", row["project_id"], period] += row["cost_nano"]


async def test_an_account_is_read_with_what_calls_under_way_may_belong_to(store: Store, record: Make) -> None:
    midnight = NOON + DAY / 2
    await store.write(insert_records, [
        record(1, token_id="t", created_at=midnight - 3 * DAY, cost_nano=1),
        record(2, token_id="t", created_at=midnight - 1, cost_nano=10),
        record(3, token_id="t", created_at=midnight + 1, cost_nano=100),
        record(4, token_id="u", created_at=midnight + 1, cost_nano=1000),
    ])  # fmt: skip
    await store.write(set_limit, "token", "t", "daily", 500, 1.0)
    found = await store.read(load_spend, "token", "t", midnight + 2)
    assert found.limits == {"daily": 500}
    assert found.totals == {"2026-11-24": (10, 1), "2026-11-25": (100, 1), "2026-11": (111, 3), "lifetime": (111, 3)}
    assert found.requests_this_hour == 1


async def test_limits_are_set_changed_and_taken_away(store: Store) -> None:
    for kind in KINDS:
        await store.write(set_limit, "project", "p", kind, 5, 1.0)
    await store.write(set_limit, "project", "p", "daily", 6, 2.0)
    assert await store.read(read_limits, "project", "p") == {"daily": 6, "monthly": 5, "lifetime": 5}
    assert await store.read(read_limits, "token", "p") == {}
    await store.write(remove_limit, "project", "p", "daily")
    assert await store.read(read_limits, "project", "p") == {"monthly": 5, "lifetime": 5}
    with pytest.raises(Failure) as caught:
        await store.write(remove_limit, "project", "p", "daily")
    assert caught.value.code == "not_found"

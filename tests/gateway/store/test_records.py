import contextlib
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Connection, event, text
from sqlalchemy.exc import IntegrityError

from ailink_gateway.chain import Checkpoint
from ailink_gateway.record import Record
from ailink_gateway.store.bodies import expire_bodies
from ailink_gateway.store.chains import (
    count_unchained,
    find_checkpoints,
    keep_checkpoint,
    last_boot,
    list_chains,
    rows_of_chain,
)
from ailink_gateway.store.records import (
    FILTERS,
    find_record,
    known_ids,
    last_sequence,
    list_records,
    records_after,
    records_in_order,
)
from ailink_gateway.store.sessions import find_session, list_sessions, list_steps, prune_sessions
from ailink_gateway.store.store import Store
from ailink_gateway.store.tables import records
from ailink_provider.errors import Failure
from tests.gateway.rows import insert_records

Make = Callable[..., dict[str, Any]]


async def test_a_row_is_inserted_once(store: Store, record: Make) -> None:
    assert await store.write(insert_records, [record(1), record(2), record(1)]) == 2
    assert await store.write(insert_records, [record(2, status=500), record(3)]) == 1
    assert (await store.read(find_record, "req_000002"))["status"] is None, "the first one stays"
    assert await store.write(insert_records, []) == 0


async def test_only_rows_that_are_new_count_for_their_session(store: Store, record: Make) -> None:
    def row(number: int, **fields: Any) -> dict[str, Any]:
        return record(number, session_id="s", project_id="p", cost_nano=number, **fields)

    await store.write(insert_records, [row(1), row(2), row(2, status=500)])
    await store.write(insert_records, [row(3), row(1, status=500), row(3, status=500), row(4), row(2)])
    session = await store.read(find_session, "s", "p")
    assert (session["requests"], session["errors"], session["cost_nano"]) == (4, 0, 10)
    assert (await store.read(find_record, "req_000003"))["status"] is None, "the first of a batch stays, too"


async def test_rows_of_a_batch_may_have_values_in_different_columns(store: Store, record: Make) -> None:
    await store.write(insert_records, [record(1), record(2, shadow_violations=["a"], model="m", chain_code="00")])
    first, second = [await store.read(find_record, f"req_00000{number}") for number in (1, 2)]
    assert (first["shadow_violations"], first["model"], first["chain_code"]) == (None, None, None)
    assert (second["shadow_violations"], second["model"], second["chain_code"]) == (["a"], "m", b"\0")
    assert first["agent_name"] is second["agent_name"] is None


def test_the_table_holds_whatever_the_data_plane_records() -> None:
    assert set(Record.__struct_fields__) <= set(records.columns.keys())


async def test_a_batch_is_all_or_nothing(store: Store, record: Make) -> None:
    with pytest.raises(IntegrityError) as caught:
        await store.write(insert_records, [record(1, path="/private"), record(2, method=None)])
    assert "/private" not in str(caught.value), "logs are no place for what was sent"
    assert await store.read(last_sequence) == 0


async def test_pages_are_newest_first_and_complete(store: Store, record: Make) -> None:
    # Several rows of one moment: the id decides, so that none is shown twice or left out.
    await store.write(insert_records, [record(number, created_at=float(number // 3)) for number in range(20)])
    seen: list[str] = []
    after, more = None, True
    while more:
        page, more = await store.read(list_records, 7, after, {})
        seen += [row["id"] for row in page]
        after = seen[-1]
        await store.write(insert_records, [record(100 + len(seen), created_at=1000.0)])
    assert seen == [f"req_{number:06}" for number in reversed(range(20))]


async def test_an_unknown_place_to_start_after_is_refused(store: Store) -> None:
    with pytest.raises(Failure) as caught:
        await store.read(list_records, 5, "nowhere", {})
    assert caught.value.param == "starting_after"


@pytest.mark.parametrize("name", FILTERS)
async def test_every_filter_finds_its_rows_alone(store: Store, record: Make, name: str) -> None:
    value = 429 if name == "status" else "it"
    other = 200 if name == "status" else "it%"
    await store.write(insert_records, [record(1, **{name: value}), record(2, **{name: other}), record(3)])
    page, more = await store.read(list_records, 5, None, {name: value})
    assert [row["id"] for row in page] == ["req_000001"]
    assert not more


async def test_filters_are_joined_and_times_include_the_first_moment_only(store: Store, record: Make) -> None:
    await store.write(insert_records, [record(number, model="m" if number % 2 else "n") for number in range(1, 9)])
    page, _ = await store.read(list_records, 10, None, {"model": "m", "since": 3.0, "until": 7.0})
    assert [row["created_at"] for row in page] == [5.0, 3.0]


@pytest.mark.parametrize("name", [None, *FILTERS])
async def test_no_list_sorts_or_scans_the_table(store: Store, record: Make, name: str | None) -> None:
    statements: list[tuple[str, Any]] = []

    def plan(connection: Connection) -> list[str]:
        def note(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
            statements.append((statement, parameters))

        event.listen(connection, "before_cursor_execute", note)
        list_records(connection, 10, None, {name: 1} if name else {})
        event.remove(connection, "before_cursor_execute", note)
        statement, parameters = statements[0]
        return [row[3] for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)]

    [step] = await store.read(plan)
    assert f"USING INDEX ix_records_{f'{name}_' if name else ''}created_at_id" in step


@pytest.mark.parametrize(
    ("query", "index"),
    [
        ((records_in_order, (5.0, "x"), 10, {}), "ix_records_created_at_id"),
        *(
            ((records_in_order, (5.0, "x"), 10, {name: 1}), f"ix_records_{name}_created_at_id") for name in FILTERS
        ),
        ((list_steps, 10, None, "s", None), "ix_records_session_id_created_at_id"),
        ((list_sessions, 10, None, None), "ix_sessions_created_at_id_project_id"),
        ((list_sessions, 10, None, "p"), "ix_sessions_project_id_created_at_id"),
        ((find_session, "s", None), "sqlite_autoindex_sessions_1"),
        ((rows_of_chain, "node-1", 5, 10), "ix_records_chain_chain_sequence"),
        ((count_unchained,), "ix_records_chain_chain_sequence"),
        ((expire_bodies, 5.0, 10), "ix_record_bodies_expires_at"),
        ((prune_sessions, 5.0, 10), "ix_sessions_last_at"),
    ],
    ids=lambda part: getattr(part[0], "__name__", None) if isinstance(part, tuple) else part,
)
async def test_everything_that_is_asked_often_has_its_index(store: Store, query: Any, index: str) -> None:
    def plan(connection: Connection) -> list[str]:
        statements: list[tuple[str, Any]] = []

        def note(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
            statements.append((statement, parameters))

        event.listen(connection, "before_cursor_execute", note)
        with contextlib.suppress(Failure):
            query[0](connection, *query[1:])
        event.remove(connection, "before_cursor_execute", note)
        statement, parameters = statements[0]
        return [row[3] for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)]

    steps = await store.write(plan)
    assert any(index in step for step in steps), steps
    # Along an index up to its limit is no scan of the table.
    assert not [step for step in steps if "TEMP B-TREE" in step or ("SCAN" in step and index not in step)], steps


async def test_the_chains_are_told_without_reading_the_rows(store: Store, record: Make) -> None:
    rows = [record(number, chain=f"node-{number % 3}", chain_sequence=number, chain_code="00") for number in range(9)]
    await store.write(insert_records, rows)
    assert sorted(await store.read(list_chains)) == ["node-0", "node-1", "node-2"]
    for boot in (1, 10, 9):
        await store.write(keep_checkpoint, Checkpoint(f"node-{boot}", "tail", 5, b"c", b"s"))
    await store.write(keep_checkpoint, Checkpoint("node_-99", "tail", 5, b"c", b"s"))
    assert await store.read(last_boot, "node") == 10
    assert await store.read(last_boot, "nod_") == 0


async def test_a_checkpoint_only_moves_on(store: Store) -> None:
    for sequence in (5, 9, 7):
        await store.write(keep_checkpoint, Checkpoint("node-1", "tail", sequence, b"%d" % sequence, b"s"))
    assert (await store.read(find_checkpoints, "node-1"))["tail"].code == b"9"


async def test_those_that_are_known_are_told_from_any_number(store: Store, record: Make) -> None:
    await store.write(insert_records, [record(number) for number in range(0, 3000, 2)])
    asked = [f"req_{number:06}" for number in range(3000)]
    assert await store.read(known_ids, asked) == frozenset(asked[::2])


async def test_rows_are_followed_in_the_order_of_arrival(store: Store, record: Make) -> None:
    await store.write(insert_records, [record(5), record(1)])
    rows, position = await store.read(records_after, 0, 10, {})
    assert [row["id"] for row in rows] == ["req_000005", "req_000001"]
    assert position == await store.read(last_sequence)
    assert await store.read(records_after, position, 10, {}) == ([], position)
    await store.write(insert_records, [record(0), record(9), record(8)])
    rows, position = await store.read(records_after, position, 2, {})
    assert [row["id"] for row in rows] == ["req_000000", "req_000009"]
    rows, position = await store.read(records_after, position, 2, {})
    assert [row["id"] for row in rows] == ["req_000008"]


async def test_rows_that_do_not_fit_are_passed_once(store: Store, record: Make) -> None:
    await store.write(insert_records, [record(number, model="other") for number in range(5)])
    rows, position = await store.read(records_after, 0, 10, {"model": "mine"})
    assert rows == []
    assert position == await store.read(last_sequence)


async def test_a_position_never_comes_again(store: Store, record: Make) -> None:
    await store.write(insert_records, [record(1), record(2)])
    before = await store.read(last_sequence)
    await store.write(lambda connection: connection.execute(text("DELETE FROM records")))
    await store.write(insert_records, [record(3)])
    assert await store.read(last_sequence) > before

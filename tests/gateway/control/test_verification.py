"""Whatever is done to stored rows without the key is found, and the first row that it was done to is named."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, text

from ailink_gateway.app import begin_chain
from ailink_gateway.chain import PRUNED, TAIL, Chain, ChainKey, Node, NodeFile
from ailink_gateway.control import verification as module
from ailink_gateway.control.retention import DAY, Retention
from ailink_gateway.control.verification import Fault, Verification
from ailink_gateway.record import Opened, Record, unknown
from ailink_gateway.store.bodies import find_body, insert_bodies
from ailink_gateway.store.chains import insert_chained, keep_checkpoint
from ailink_gateway.store.records import find_record, insert_records
from ailink_gateway.store.sessions import find_session
from ailink_gateway.store.store import Store
from ailink_gateway.vault import AUDIT_CHAIN, Vault
from ailink_provider.errors import Failure

ROWS = 12
JULY = 1_783_000_000.0
WRITER = Node("node", 2)


@pytest.fixture
def key(vault: Vault) -> ChainKey:
    return ChainKey(vault.derive(AUDIT_CHAIN))


def record(number: int, **fields: Any) -> Record:
    opened = Opened(f"req_{number:03}", JULY + number, "tok_x", "p", "POST", "/v1/chat/completions", "chat", "m", "v")
    return msgspec.structs.replace(unknown(opened, JULY), **fields)


def write(store: Store, key: ChainKey, boot: int, numbers: range, batch: int = 5, **fields: Any) -> None:
    """Write rows as one boot of a gateway does."""
    chain = Chain(key, Node("node", boot))
    store.call(keep_checkpoint, key.sign(chain.name, TAIL, 0, chain.code))
    lines = []
    for number in numbers:
        line, code = chain.link(record(number, **fields))
        chain.advance(code)
        lines.append(msgspec.json.decode(line, type=Record))
    for start in range(0, len(lines), batch):
        store.call(insert_chained, lines[start : start + batch], key.sign)


@pytest.fixture(autouse=True)
def small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "STEP", 5)


@pytest.fixture
def written(store: Store, key: ChainKey) -> Store:
    """Two boots: the first wrote rows 1 to 12, the second 13 to 15."""
    write(store, key, 1, range(1, ROWS + 1))
    write(store, key, 2, range(ROWS + 1, ROWS + 4))
    return store


def verified(store: Store, key: ChainKey, writer: Node | None = WRITER) -> Verification:
    verification = Verification(key, writer)
    while store.look(verification.step):
        assert verification.fault is None
    return verification


def fault_of(store: Store, key: ChainKey, writer: Node | None = WRITER) -> Fault:
    fault = verified(store, key, writer).fault
    assert fault is not None
    return fault


def execute(store: Store, *statements: str) -> None:
    def run(connection: Connection) -> None:
        for statement in statements:
            assert connection.execute(text(statement)).rowcount

    store.call(run)


def test_what_was_not_touched_is_valid(written: Store, key: ChainKey) -> None:
    found = verified(written, key)
    assert (found.fault, found.rows, found.chains, found.pruned) == (None, ROWS + 3, 2, 0)


def test_an_empty_database_is_valid(store: Store, key: ChainKey) -> None:
    assert verified(store, key, None).fault is None


def test_another_key_proves_nothing(written: Store) -> None:
    assert fault_of(written, ChainKey(bytes(32))).kind == "checkpoint"


@pytest.mark.parametrize("place", [1, 5, 6, ROWS])
@pytest.mark.parametrize(
    "change",
    ["cost_nano = 1", "agent_name = 'x'", "created_at = created_at + 0.001", "outcome = 'answered'", "tags = '{}'",
     "usage_estimated = 0", "token_id = NULL", "chain_code = zeroblob(32)", "chain_code = NULL", "tags = 'no json'",
     "path = x'ff'", "model = 5"],
)  # fmt: skip
def test_an_altered_row_is_named(written: Store, key: ChainKey, place: int, change: str) -> None:
    execute(written, f"UPDATE records SET {change} WHERE id = 'req_{place:03}'")
    fault = fault_of(written, key)
    assert (fault.kind, fault.record_id, fault.chain, fault.sequence) == (
        "altered", f"req_{place:03}", "node-1", place,
    )  # fmt: skip
    assert f"req_{place:03}" in fault.message


@pytest.mark.parametrize(("gone", "first"), [((1,), 1), ((6,), 6), ((5, 6, 7), 5), (range(1, 7), 1)])
def test_missing_rows_are_named_by_their_place(written: Store, key: ChainKey, gone: Any, first: int) -> None:
    execute(written, *(f"DELETE FROM records WHERE id = 'req_{number:03}'" for number in gone))
    fault = fault_of(written, key)
    assert (fault.kind, fault.chain, fault.sequence) == ("missing", "node-1", first)


@pytest.mark.parametrize("first", [1, 5, 6, ROWS])
def test_a_tail_that_was_cut_off_is_missed(written: Store, key: ChainKey, first: int) -> None:
    execute(written, f"DELETE FROM records WHERE chain = 'node-1' AND chain_sequence >= {first}")
    fault = fault_of(written, key)
    assert (fault.kind, fault.chain, fault.sequence) == ("missing", "node-1", first)


def swap(one: int, other: int, *columns: str) -> list[str]:
    """Swap two rows' places, with or without their codes."""
    return [
        "CREATE TEMP TABLE taken AS SELECT id, chain_sequence, chain_code FROM records",
        f"UPDATE records SET chain_sequence = -1 WHERE id = 'req_{one:03}'",
        *(
            f"UPDATE records SET {column} = (SELECT {column} FROM taken WHERE id = 'req_{of:03}') "
            f"WHERE id = 'req_{at:03}'"
            for at, of in ((other, one), (one, other))
            for column in ("chain_sequence", *columns)
        ),
        "DROP TABLE taken",
    ]


def run_all(store: Store, statements: list[str]) -> None:
    store.call(lambda connection: [connection.execute(text(statement)) for statement in statements])


@pytest.mark.parametrize(("one", "other"), [(2, 3), (1, ROWS), (4, 9)])
def test_rows_that_changed_places_are_named(written: Store, key: ChainKey, one: int, other: int) -> None:
    run_all(written, swap(one, other))
    fault = fault_of(written, key)
    assert (fault.kind, fault.record_id, fault.sequence) == ("moved", f"req_{one:03}", one)
    assert f"stands at {other}" in fault.message


def test_a_row_that_took_anothers_place_and_code_is_named(written: Store, key: ChainKey) -> None:
    run_all(written, swap(2, 7, "chain_code"))
    fault = fault_of(written, key)
    assert (fault.kind, fault.sequence, fault.record_id) == ("altered", 2, "req_007")


def test_a_row_moved_behind_the_end_is_named(written: Store, key: ChainKey) -> None:
    execute(written, "UPDATE records SET chain_sequence = 99 WHERE id = 'req_004'")
    fault = fault_of(written, key)
    assert (fault.kind, fault.record_id, fault.sequence) == ("moved", "req_004", 4)


def test_a_row_moved_to_another_chain_is_missed(written: Store, key: ChainKey) -> None:
    execute(written, "UPDATE records SET chain = 'node-2', chain_sequence = 4 WHERE id = 'req_012'")
    assert (fault_of(written, key).kind, fault_of(written, key).chain) == ("missing", "node-1")


def test_rows_that_were_slipped_in_are_found(written: Store, key: ChainKey) -> None:
    written.call(insert_records, [record(99, chain="node-2", chain_sequence=4, chain_code="00" * 32)])
    assert (fault_of(written, key).kind, fault_of(written, key).record_id) == ("altered", "req_099")
    execute(written, "UPDATE records SET chain = NULL, chain_sequence = NULL WHERE id = 'req_099'")
    assert fault_of(written, key).kind == "unchained"


@pytest.mark.parametrize("chain", ["node-1", "node-2"])
def test_a_whole_boot_that_is_gone_is_missed(written: Store, key: ChainKey, chain: str) -> None:
    execute(written, f"DELETE FROM records WHERE chain = '{chain}'", f"DELETE FROM checkpoints WHERE chain = '{chain}'")
    fault = fault_of(written, key)
    assert (fault.kind, fault.chain) == ("missing", chain)


def test_everything_that_is_gone_is_missed_by_the_data_directory(written: Store, key: ChainKey) -> None:
    execute(written, "DELETE FROM records", "DELETE FROM checkpoints")
    assert (fault_of(written, key).kind, fault_of(written, key).chain) == ("missing", "node-1")


@pytest.mark.parametrize(
    "statement",
    ["DELETE FROM checkpoints WHERE chain = 'node-2'", "UPDATE checkpoints SET chain_sequence = 1",
     "UPDATE checkpoints SET chain_code = zeroblob(32)", "UPDATE checkpoints SET signature = zeroblob(32)",
     "UPDATE checkpoints SET kind = 'pruned'"],
)  # fmt: skip
def test_a_forged_checkpoint_is_found(written: Store, key: ChainKey, statement: str) -> None:
    execute(written, statement)
    assert fault_of(written, key).kind == "checkpoint"


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(order=st.permutations(range(1, 7)), gone=st.sets(st.integers(1, 6), max_size=3))
def test_any_order_and_any_gap_is_found(
    prepared: Path, tmp_path_factory: pytest.TempPathFactory, key: ChainKey, order: list[int], gone: set[int]
) -> None:
    path = tmp_path_factory.mktemp("order") / "ailink.db"
    shutil.copy(prepared, path)
    store = Store(path)
    try:
        write(store, key, 1, range(1, 7))
        run_all(store, [
            "UPDATE records SET chain_sequence = -chain_sequence",
            *(f"UPDATE records SET chain_sequence = {place} WHERE id = 'req_{number:03}'"
              for place, number in enumerate(order, 1)),
            *(f"DELETE FROM records WHERE id = 'req_{number:03}'" for number in gone),
        ])  # fmt: skip
        wrong = [place for place, number in enumerate(order, 1) if number != place or number in gone]
        fault = verified(store, key, Node("node", 1)).fault
        assert (fault.sequence if fault else None) == (min(wrong) if wrong else None)
        if fault is not None:
            belongs = fault.sequence
            assert fault.kind == "moved" if belongs not in gone else fault.kind in ("missing", "altered")
    finally:
        store.close()


# --- by HTTP -----------------------------------------------------------------------------------------


async def test_the_api_says_whether_it_is_valid(admin: httpx2.AsyncClient, store: Store, key: ChainKey) -> None:
    write(store, key, 1, range(1, 8))
    answer = (await admin.get("/api/v1/audit/verify")).json()
    assert answer == {"valid": True, "rows": 7, "pruned": 0, "chains": 1, "fault": None}
    execute(store, "UPDATE records SET status = 200 WHERE id = 'req_006'")
    answer = (await admin.get("/api/v1/audit/verify")).json()
    assert (answer["valid"], answer["rows"]) == (False, 5)
    assert answer["fault"] == {
        "kind": "altered", "chain": "node-1", "sequence": 6, "record_id": "req_006",
        "message": "Row req_006 was altered; it stands at place 6 of chain node-1.",
    }  # fmt: skip


async def test_one_verification_runs_at_a_time(written: Store, vault: Vault) -> None:
    auditor = module.Auditor(vault, WRITER)

    class Asking:
        """A store that has the audit verified once more in the middle of it."""

        refused: Failure | None = None

        async def read(self, step: Callable[[Connection], bool]) -> bool:
            if self.refused is None:
                with pytest.raises(Failure) as caught:
                    await auditor.verify(self)  # type: ignore[arg-type]
                self.refused = caught.value
            return await written.read(step)

    asking = Asking()
    assert (await auditor.verify(asking)).rows == ROWS + 3  # type: ignore[arg-type]
    assert asking.refused is not None and asking.refused.code == "rate_limit_exceeded"
    assert (await auditor.verify(written)).fault is None


# --- retention ---------------------------------------------------------------------------------------


def retention(store: Store, key: ChainKey, days: float | None, now: float) -> Retention:
    return Retention(store, key, days, lambda: now)


@pytest.mark.parametrize("kept", [0, 1, 4, 5, 6, 11, 12])
async def test_old_rows_go_and_the_rest_is_proved(
    written: Store, key: ChainKey, kept: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ailink_gateway.control.retention.BATCH", 5)
    await retention(written, key, 1, JULY + DAY + (ROWS - kept) + 0.5).sweep()
    found = verified(written, key)
    assert (found.fault, found.rows, found.pruned) == (None, kept + 3, ROWS - kept)
    await retention(written, key, 1, JULY + DAY + (ROWS - kept) + 0.5).sweep()
    assert verified(written, key).rows == kept + 3
    if kept < ROWS:
        with pytest.raises(Failure, match="no record"):
            written.look(find_record, "req_001")


async def test_a_chain_that_is_gone_by_its_age_is_valid(written: Store, key: ChainKey) -> None:
    await retention(written, key, 1, JULY + DAY + 100).sweep()
    found = verified(written, key)
    assert (found.fault, found.rows, found.pruned, found.chains) == (None, 0, ROWS + 3, 2)


async def test_rows_that_are_pruned_while_they_are_proved_are_not_missed(written: Store, key: ChainKey) -> None:
    verification = Verification(key, WRITER)
    for _ in range(3):
        assert written.look(verification.step)
    assert verification.rows == 5
    await retention(written, key, 1, JULY + DAY + 8.5).sweep()
    while written.look(verification.step):
        pass
    assert (verification.fault, verification.pruned) == (None, 8)


@pytest.mark.parametrize("statement", [
    "DELETE FROM records WHERE id = 'req_009'", "UPDATE records SET cost_nano = 1 WHERE id = 'req_009'",
])  # fmt: skip
async def test_what_is_wrong_behind_the_pruned_rows_is_found_and_kept(
    written: Store, key: ChainKey, statement: str, caplog: pytest.LogCaptureFixture
) -> None:
    execute(written, statement)
    await retention(written, key, 1, JULY + DAY + 100).sweep()
    fault = fault_of(written, key)
    assert fault.sequence == 9 and fault.chain == "node-1"
    assert "is broken at row" in caplog.text
    assert written.look(find_record, "req_010")


async def test_rows_cut_off_in_the_name_of_age_are_missed(written: Store, key: ChainKey) -> None:
    execute(written, "DELETE FROM records WHERE chain_sequence <= 3")
    assert fault_of(written, key).sequence == 1
    forged = key.sign("node-1", TAIL, 3, b"x" * 32)._replace(kind=PRUNED)
    written.call(keep_checkpoint, forged)
    assert fault_of(written, key).kind == "checkpoint"


async def test_nothing_goes_unless_it_is_said(written: Store, key: ChainKey) -> None:
    await retention(written, key, None, JULY + 10_000 * DAY).sweep()
    assert verified(written, key).rows == ROWS + 3


async def test_sessions_and_bodies_go_with_their_age(store: Store, key: ChainKey) -> None:
    write(store, key, 1, range(1, 3), session_id="old")
    write(store, key, 2, range(100, 102), session_id="new")
    bodies = [{"record_id": f"req_{number:03}", "project_id": "p", "sealed": b"s", "created_at": JULY,
               "expires_at": JULY + number} for number in (1, 2, 100)]  # fmt: skip
    store.call(insert_bodies, bodies)
    await retention(store, key, None, JULY + 1.5).sweep()
    assert store.look(find_body, "req_001", 0.0) is None
    assert store.look(find_body, "req_002", 0.0) is not None
    assert store.look(find_body, "req_002", JULY + 2.0) is None, "what has expired is not shown, swept or not"
    await retention(store, key, 1, JULY + DAY + 50).sweep()
    assert store.look(find_body, "req_002", 0.0) is None
    with pytest.raises(Failure, match="no session"):
        store.look(find_session, "old", None)
    assert store.look(find_session, "new", None)["requests"] == 2


def test_the_beginning_of_a_boot_is_proved(tmp_path: Path, store: Store, vault: Vault, key: ChainKey) -> None:
    first = begin_chain(tmp_path, store, vault)
    assert verified(store, key, NodeFile(tmp_path).last).fault is None
    # As when it died between its two notes.
    (tmp_path / "node.json").write_bytes(msgspec.json.encode(Node(first.node.name, 0)))
    second = begin_chain(tmp_path, store, vault)
    assert (first.node.boot, second.node.boot) == (1, 2)
    assert verified(store, key, NodeFile(tmp_path).last).chains == 2

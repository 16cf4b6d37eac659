"""The spool loses nothing: not when the store is down, not when the process dies, not when the disk is full."""

import asyncio
import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from ailink_gateway.backends.spool import LINE_LIMIT, PAGE, SEGMENT_BYTES, Segment, Spool, SpoolBusy
from ailink_gateway.chain import Chain, ChainKey, Node, body_of
from ailink_gateway.record import Opened, Record, unknown
from ailink_provider.errors import Failure

SEGMENT = 4 * LINE_LIMIT
KEY = ChainKey(bytes(32))


def opened(name: str) -> Opened:
    return Opened(
        id=name,
        created_at=1.0,
        token_id="tok_x",
        project_id="default",
        method="POST",
        path="/v1/chat/completions",
        operation="chat",
        model="m",
        provider="p",
    )


def record(name: str) -> Record:
    return msgspec.structs.replace(unknown(opened(name), 2.0), outcome="answered", error_code=None, status=200)


def journal(folder: Path, boot: int = 1, segment_bytes: int = SEGMENT, **limits: int) -> Spool:
    """Return the spool of one boot, with its chain."""
    spool = Spool(folder, segment_bytes=segment_bytes, **limits)
    spool.chain = Chain(KEY, Node("node", boot))
    return spool


class Table:
    """A store that can be down."""

    def __init__(self) -> None:
        self.rows: dict[str, Record] = {}
        self.inserts = 0
        self.down = False
        self.asked = asyncio.Event()

    async def insert(self, records: Sequence[Record]) -> None:
        self.asked.set()
        if self.down:
            raise Failure("internal_error", "down")
        self.inserts += len(records)
        for row in records:
            self.rows.setdefault(row.id, row)

    async def known(self, ids: Sequence[str]) -> frozenset[str]:
        if self.down:
            raise Failure("internal_error", "down")
        return frozenset(ids) & self.rows.keys()

    @property
    def plain(self) -> dict[str, Record]:
        """The rows as they were before they were chained."""
        unchained = {"chain": None, "chain_sequence": None, "chain_code": None}
        return {name: msgspec.structs.replace(row, **unchained) for name, row in self.rows.items()}

    def prove(self) -> dict[str, int]:
        """Check every chain from its beginning without a gap, and return how long each is."""
        lengths: dict[str, int] = {}
        codes: dict[str, bytes] = {}
        for row in sorted(self.rows.values(), key=lambda row: (row.chain, row.chain_sequence)):
            assert row.chain is not None and row.chain_code is not None
            assert row.chain_sequence == lengths.get(row.chain, 0) + 1, f"a gap before {row.id}"
            body = body_of(msgspec.structs.asdict(row))
            assert body is not None
            codes[row.chain] = KEY.code(codes.get(row.chain, KEY.origin(row.chain)), body)
            assert row.chain_code == codes[row.chain].hex()
            lengths[row.chain] = row.chain_sequence
        return lengths


async def drain(spool: Spool, table: Table) -> None:
    spool.stop()
    await spool.run(table.insert, table.known, lambda: 9.0)
    spool.release()


async def test_records_reach_the_store(tmp_path: Path) -> None:
    spool, table = journal(tmp_path), Table()
    for number in range(100):
        spool.open(opened(f"r{number}"))
        spool.close(record(f"r{number}"))
        if number % 9 == 0:  # as when the journal is synced meanwhile
            spool._segments[-1].turn_page(keep=spool._reserved)
    assert spool.backlog_bytes > 0
    await drain(spool, table)
    assert list(table.rows) == [f"r{number}" for number in range(100)]
    assert not list(tmp_path.glob("*.journal")), "what was shipped is not kept"


async def test_a_call_refused_before_the_upstream_is_recorded_too(tmp_path: Path) -> None:
    spool, table = journal(tmp_path), Table()
    spool.close(record("refused"))
    await drain(spool, table)
    assert list(table.rows) == ["refused"]


async def test_death_loses_no_record_and_finds_open_calls(tmp_path: Path) -> None:
    spool = journal(tmp_path)
    spool.open(opened("finished"))
    spool.close(record("finished"))
    spool.open(opened("running"))
    # As the kernel would after kill -9: the lock is gone, the files are as they were, the last line is torn.
    os.close(spool._lock)
    segment = next(tmp_path.glob("*.journal"))
    with segment.open("r+b") as file:
        file.seek(segment.read_bytes().index(b"\0"))
        file.write(b'{"type":"record","id":"torn')

    table = Table()
    again = journal(tmp_path, boot=2)
    await drain(again, table)
    assert table.plain["finished"] == record("finished")
    assert table.rows["running"].outcome == "unknown"
    assert table.rows["running"].finished_at == 9.0
    assert set(table.rows) == {"finished", "running"}
    assert table.prove() == {"node-1": 1, "node-2": 1}


async def test_what_other_versions_left_is_read(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """They had zeros where a page was left unfinished, and may have had fields that this one does not know."""
    spool, table = journal(tmp_path), Table()
    path = next(tmp_path.glob("*.journal"))
    die(spool)
    first, second = (msgspec.to_builtins(record(name)) for name in "ab")
    lines = [msgspec.json.encode(line) + b"\n" for line in (first, second | {"of_a_later_version": [1]})]
    path.write_bytes((b"\0" * 100).join(lines) + msgspec.json.encode(opened("c")) + b"\n" + b"\0" * 5000)
    await drain(journal(tmp_path, boot=2), table)
    assert {name: row.outcome for name, row in table.rows.items()} == {"a": "answered", "b": "answered", "c": "unknown"}
    assert not caplog.records


async def test_a_synced_journal_is_recovered_without_a_complaint(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    spool, table = journal(tmp_path), Table()
    for name in ("a", "b"):
        spool.close(record(name))
        spool._segments[-1].turn_page(keep=0)
        assert spool._segments[-1].written % PAGE == 0
    die(spool)
    await drain(journal(tmp_path, boot=2), table)
    assert list(table.rows) == ["a", "b"]
    assert not caplog.records


async def test_recovery_may_be_interrupted_and_repeated(tmp_path: Path) -> None:
    spool = journal(tmp_path)
    spool.close(record("a"))
    os.close(spool._lock)
    table = Table()
    table.down = True
    second = journal(tmp_path, boot=2)
    running = asyncio.create_task(second.run(table.insert, table.known, lambda: 9.0))
    await table.asked.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    os.close(second._lock)
    table.down = False
    await drain(journal(tmp_path, boot=3), table)
    assert list(table.rows) == ["a"]


async def test_a_store_that_is_down_delays_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ailink_gateway.backends.spool.RETRY_SECONDS", 0.001)
    spool, table = journal(tmp_path), Table()
    table.down = True
    running = asyncio.create_task(spool.run(table.insert, table.known, lambda: 9.0))
    spool.close(record("a"))
    await table.asked.wait()
    assert not table.rows
    table.down = False
    spool.stop()
    await running
    spool.release()
    assert list(table.rows) == ["a"]


async def test_who_asks_gets_what_is_written_by_then(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table, spool = Table(), journal(tmp_path)
    await spool.caught_up()
    running = asyncio.create_task(spool.run(table.insert, table.known, lambda: 3.0))
    for name in "abcdef":
        spool.open(opened(name))
        spool.close(record(name))
        await spool.caught_up()
        assert name in table.rows
    monkeypatch.setattr("ailink_gateway.backends.spool.CATCH_UP_SECONDS", 0.01)
    monkeypatch.setattr("ailink_gateway.backends.spool.RETRY_SECONDS", 0.001)
    table.down = True
    spool.close(record("g"))
    await spool.caught_up()
    assert "g" not in table.rows, "a store that is down holds nobody up"
    table.down = False
    spool.stop()
    await running
    spool.release()
    assert "g" in table.rows


async def test_a_full_spool_refuses_new_calls_and_still_takes_the_records_of_open_ones(tmp_path: Path) -> None:
    spool = journal(tmp_path, limit_bytes=2 * SEGMENT)
    names: list[str] = []
    with pytest.raises(Failure) as caught:
        while True:
            spool.open(opened(f"r{len(names)}"))
            names.append(f"r{len(names)}")
    assert caught.value.code == "spool_full"
    assert names
    for name in names:
        spool.close(record(name))
    table = Table()
    await drain(spool, table)
    assert list(table.rows) == names


async def test_it_is_not_ready_while_the_next_call_would_be_refused(tmp_path: Path) -> None:
    spool = journal(tmp_path, limit_bytes=2 * SEGMENT)
    await spool.ready()
    with pytest.raises(Failure):
        for number in range(100):
            spool.open(opened(f"r{number}"))
    with pytest.raises(Failure) as caught:
        await spool.ready()
    assert caught.value.code == "spool_full"
    table = Table()
    shipping = asyncio.create_task(spool.run(table.insert, table.known, lambda: 9.0))
    for name in list(spool._home):
        spool.close(record(name))
    await table.asked.wait()
    spool.stop()
    await shipping
    await spool.ready()
    spool.release()


async def test_no_space_for_a_segment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spool = journal(tmp_path)

    def full(descriptor: int, size: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("ailink_gateway.backends.spool._allocate", full)
    with pytest.raises(Failure, match="disk is full"):
        for number in range(100):
            spool.open(opened(f"r{number}"))
    spool.release()


@pytest.mark.parametrize("size", [5000, SEGMENT_BYTES, SEGMENT_BYTES + 5000])
def test_a_segment_has_all_its_space_from_the_beginning(tmp_path: Path, size: int) -> None:
    segment = Segment(tmp_path / "1.journal", size)
    segment.append(b"line")
    assert segment.path.read_bytes() == b"line" + bytes(size - len(b"line"))
    assert segment.path.stat().st_blocks * 512 >= size
    segment.remove()


async def test_two_processes_never_share_a_directory(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool", segment_bytes=SEGMENT)
    with pytest.raises(SpoolBusy, match="Another ailink process"):
        Spool(tmp_path / "spool", segment_bytes=SEGMENT)
    spool.release()
    Spool(tmp_path / "spool", segment_bytes=SEGMENT).release()


async def test_a_segment_with_an_open_call_is_kept_until_it_ends(tmp_path: Path) -> None:
    spool, table = journal(tmp_path), Table()
    spool.open(opened("long"))
    for number in range(60):
        spool.close(record(f"r{number}"))
    await spool._ship(table.insert)
    assert len(list(tmp_path.glob("*.journal"))) > 1
    assert b'"long"' in (tmp_path / "00000001.journal").read_bytes()
    spool.close(record("long"))
    await spool._ship(table.insert)
    assert not (tmp_path / "00000001.journal").exists()
    await drain(spool, table)
    assert len(table.rows) == 61


async def test_stopping_does_not_wait_for_a_dead_store(tmp_path: Path) -> None:
    spool, table = journal(tmp_path), Table()
    table.down = True
    spool.close(record("a"))
    await drain(spool, table)
    table.down = False
    await drain(journal(tmp_path, boot=3), table)
    assert list(table.rows) == ["a"]


async def test_a_second_opening_takes_the_place_of_the_first(tmp_path: Path) -> None:
    """A call that is tried again holds more; its record is due once, wherever the lines lie."""
    folder = tmp_path / "spool"
    spool, table = journal(folder), Table()
    again = msgspec.structs.replace(opened("req_again"), held_nano=5)
    spool.open(again)
    for number in range(40):  # on into other segments
        spool.open(opened(f"req_{number}"))
        spool.close(record(f"req_{number}"))
    spool.open(msgspec.structs.replace(again, held_nano=9))
    assert spool._reserved == LINE_LIMIT
    await drain(spool, table)
    assert len(list(folder.glob("*.journal"))) == 1, "the segment of the first line is needed no more"
    following = journal(folder, boot=2)
    await following.recover(table.insert, table.known, lambda: 9.0)
    assert [(row.id, row.cost_nano) for row in table.rows.values() if row.outcome == "unknown"] == [("req_again", 9)]
    many = len(table.rows)
    await following.recover(table.insert, table.known, lambda: 9.0)
    assert len(table.rows) == many, "and only once"
    following.release()


# --- the chain ---------------------------------------------------------------------------------------


def die(spool: Spool) -> None:
    """End as kill -9 does: the lock is gone, the files are as they were."""
    os.close(spool._lock)


async def test_a_recovery_that_dies_too_leaves_no_gap(tmp_path: Path) -> None:
    first, table = journal(tmp_path), Table()
    for name in ("a", "b", "c"):
        first.open(opened(name))
    first.close(record("b"))
    die(first)

    class Dying(Table):
        async def insert(self, records: Sequence[Record]) -> None:
            if any(row.outcome == "unknown" for row in records):
                await table.insert(records[:1])
                raise KeyboardInterrupt
            await table.insert(records)

    dying = Dying()
    second = journal(tmp_path, boot=2)
    with pytest.raises(KeyboardInterrupt):
        await second.run(dying.insert, dying.known, lambda: 9.0)
    die(second)
    await drain(journal(tmp_path, boot=3), table)
    assert {name: row.outcome for name, row in table.rows.items()} == {"a": "unknown", "b": "answered", "c": "unknown"}
    assert table.prove() == {"node-1": 1, "node-2": 2}


async def test_a_record_that_outlived_its_segment_is_not_accounted_for_twice(tmp_path: Path) -> None:
    first, table = journal(tmp_path), Table()
    first.open(opened("long"))
    first.open(opened("short"))
    while len(list(tmp_path.glob("*.journal"))) < 2:
        first.close(record(f"r{len(table.rows)}{first.backlog_bytes}"))
    first.close(record("short"))
    while len(list(tmp_path.glob("*.journal"))) < 3:
        first.close(record(f"s{first.backlog_bytes}"))
    await first._ship(table.insert)
    left = b"".join(path.read_bytes() for path in tmp_path.glob("*.journal"))
    assert b'"opened","id":"short"' in left and b'"record","id":"short"' not in left
    die(first)
    await drain(journal(tmp_path, boot=2), table)
    assert (table.rows["short"].outcome, table.rows["long"].outcome) == ("answered", "unknown")
    assert table.prove()["node-2"] == 1


async def test_a_record_that_was_refused_leaves_no_gap(tmp_path: Path) -> None:
    spool, table = journal(tmp_path, limit_bytes=SEGMENT), Table()
    count = 0
    with pytest.raises(Failure, match="spool is full"):
        while True:
            spool.close(record(f"r{count}"))
            count += 1
    await spool._ship(table.insert)
    await drain(spool, table)
    assert table.prove() == {"node-1": count}


class Life(RuleBasedStateMachine):
    """Calls begin and end, the shipper runs, the process dies: every call has one row, every chain is whole."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.table, self.boot, self.count = Table(), 0, 0
        self.begun: list[str] = []
        self.ended: set[str] = set()
        self.start()

    def start(self) -> None:
        self.boot += 1
        self.spool = journal(self.folder, self.boot)
        self.running: list[str] = []

    @rule()
    def begin(self) -> None:
        self.count += 1
        self.spool.open(opened(f"r{self.count}"))
        self.running.append(f"r{self.count}")
        self.begun.append(f"r{self.count}")

    @rule(which=st.integers(0, 100))
    def end(self, which: int) -> None:
        if self.running:
            name = self.running.pop(which % len(self.running))
            self.spool.close(record(name))
            self.ended.add(name)

    @rule(times=st.integers(1, 12))
    def refuse(self, times: int) -> None:
        for _ in range(times):
            self.count += 1
            self.spool.close(record(f"x{self.count}"))
            self.ended.add(f"x{self.count}")
            self.begun.append(f"x{self.count}")

    @rule()
    def ship(self) -> None:
        asyncio.run(self.spool._ship(self.table.insert))

    @rule(recovers=st.booleans())
    def kill(self, recovers: bool) -> None:
        die(self.spool)
        self.start()
        if recovers:
            asyncio.run(self.spool.recover(self.table.insert, self.table.known, lambda: 9.0))

    @invariant()
    def whole(self) -> None:
        self.table.prove()

    def teardown(self) -> None:
        die(self.spool)
        asyncio.run(drain(journal(self.folder, self.boot + 1), self.table))
        assert set(self.table.rows) == set(self.begun)
        assert {name for name, row in self.table.rows.items() if row.outcome == "answered"} == self.ended
        self.table.prove()
        shutil.rmtree(self.folder)


class TestLife(Life.TestCase):  # type: ignore[misc]
    settings = settings(max_examples=25, stateful_step_count=25, deadline=None)

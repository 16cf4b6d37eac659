"""The spool loses nothing: not when the store is down, not when the process dies, not when the disk is full."""

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest

from ailink_gateway.backends.spool import LINE_LIMIT, Row, Spool, SpoolBusy
from ailink_gateway.record import Opened, Record, unknown
from ailink_provider.errors import Failure

SEGMENT = 4 * LINE_LIMIT


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


class Table:
    """A store that can be down."""

    def __init__(self) -> None:
        self.rows: dict[str, Record] = {}
        self.inserts = 0
        self.down = False
        self.asked = asyncio.Event()

    async def insert(self, records: Sequence[Row]) -> None:
        self.asked.set()
        if self.down:
            raise Failure("internal_error", "down")
        self.inserts += len(records)
        for row in records:
            self.rows.setdefault(row["id"], msgspec.convert(row, Record))


async def drain(spool: Spool, table: Table) -> None:
    spool.stop()
    await spool.run(table.insert, lambda: 9.0)
    spool.release()


async def test_records_reach_the_store(tmp_path: Path) -> None:
    spool, table = Spool(tmp_path, segment_bytes=SEGMENT), Table()
    for number in range(100):
        spool.open(opened(f"r{number}"))
        spool.close(record(f"r{number}"))
    assert spool.backlog_bytes > 0
    await drain(spool, table)
    assert list(table.rows) == [f"r{number}" for number in range(100)]
    assert not list(tmp_path.glob("*.journal")), "what was shipped is not kept"


async def test_a_call_refused_before_the_upstream_is_recorded_too(tmp_path: Path) -> None:
    spool, table = Spool(tmp_path, segment_bytes=SEGMENT), Table()
    spool.close(record("refused"))
    await drain(spool, table)
    assert list(table.rows) == ["refused"]


async def test_death_loses_no_record_and_finds_open_calls(tmp_path: Path) -> None:
    spool = Spool(tmp_path, segment_bytes=SEGMENT)
    spool.open(opened("finished"))
    spool.close(record("finished"))
    spool.open(opened("running"))
    # As the kernel would after kill -9: the lock is gone, the files are as they were, the last line is torn.
    os.close(spool._lock)
    journal = next(tmp_path.glob("*.journal"))
    with journal.open("r+b") as file:
        file.seek(journal.read_bytes().index(b"\0"))
        file.write(b'{"type":"record","id":"torn')

    table = Table()
    again = Spool(tmp_path, segment_bytes=SEGMENT)
    await drain(again, table)
    assert table.rows["finished"] == record("finished")
    assert table.rows["running"].outcome == "unknown"
    assert table.rows["running"].finished_at == 9.0
    assert set(table.rows) == {"finished", "running"}


async def test_recovery_may_be_interrupted_and_repeated(tmp_path: Path) -> None:
    spool = Spool(tmp_path, segment_bytes=SEGMENT)
    spool.close(record("a"))
    os.close(spool._lock)
    table = Table()
    table.down = True
    second = Spool(tmp_path, segment_bytes=SEGMENT)
    running = asyncio.create_task(second.run(table.insert, lambda: 9.0))
    await table.asked.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    os.close(second._lock)
    table.down = False
    await drain(Spool(tmp_path, segment_bytes=SEGMENT), table)
    assert list(table.rows) == ["a"]


async def test_a_store_that_is_down_delays_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ailink_gateway.backends.spool.RETRY_SECONDS", 0.001)
    spool, table = Spool(tmp_path, segment_bytes=SEGMENT), Table()
    table.down = True
    running = asyncio.create_task(spool.run(table.insert, lambda: 9.0))
    spool.close(record("a"))
    await table.asked.wait()
    assert not table.rows
    table.down = False
    spool.stop()
    await running
    spool.release()
    assert list(table.rows) == ["a"]


async def test_a_full_spool_refuses_new_calls_and_still_takes_the_records_of_open_ones(tmp_path: Path) -> None:
    spool = Spool(tmp_path, segment_bytes=SEGMENT, limit_bytes=2 * SEGMENT)
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


async def test_no_space_for_a_segment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spool = Spool(tmp_path, segment_bytes=SEGMENT)

    def full(descriptor: int, size: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("ailink_gateway.backends.spool._allocate", full)
    with pytest.raises(Failure, match="disk is full"):
        for number in range(100):
            spool.open(opened(f"r{number}"))
    spool.release()


async def test_two_processes_never_share_a_directory(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool", segment_bytes=SEGMENT)
    with pytest.raises(SpoolBusy, match="Another ailink process"):
        Spool(tmp_path / "spool", segment_bytes=SEGMENT)
    spool.release()
    Spool(tmp_path / "spool", segment_bytes=SEGMENT).release()


async def test_a_segment_with_an_open_call_is_kept_until_it_ends(tmp_path: Path) -> None:
    spool, table = Spool(tmp_path, segment_bytes=SEGMENT), Table()
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
    spool, table = Spool(tmp_path, segment_bytes=SEGMENT), Table()
    table.down = True
    spool.close(record("a"))
    await drain(spool, table)
    table.down = False
    await drain(Spool(tmp_path, segment_bytes=SEGMENT), table)
    assert list(table.rows) == ["a"]

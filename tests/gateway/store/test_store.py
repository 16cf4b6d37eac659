import asyncio
import contextlib
import sqlite3
import stat
import threading
from pathlib import Path

import pytest
from sqlalchemy import Connection, insert, select, text
from sqlalchemy.exc import IntegrityError

from ailink_gateway.store import engine
from ailink_gateway.store import store as module
from ailink_gateway.store.meta import read_meta, write_meta
from ailink_gateway.store.store import Store, StoreUnavailable, read_generation
from ailink_gateway.store.tables import meta
from ailink_provider.errors import Failure


def put(connection: Connection, name: str, value: bytes = b"") -> str:
    connection.execute(insert(meta).values(name=name, value=value))
    return name


def names(connection: Connection) -> list[str]:
    return list(connection.scalars(select(meta.c.name).order_by(meta.c.name)))


async def test_what_is_written_is_read(store: Store) -> None:
    assert await store.write(put, "a", value=b"1") == "a"
    assert await store.read(read_meta, "a") == b"1"
    await store.write(write_meta, "a", b"2")
    assert await store.read(read_meta, "a") == b"2"
    assert await store.read(read_meta, "b") is None


async def test_what_fails_is_undone(store: Store) -> None:
    def half(connection: Connection) -> None:
        put(connection, "half")
        raise ValueError("no more")

    before = await store.read(read_generation)
    for method in (store.write, store.change):
        with pytest.raises(ValueError, match="no more"):
            await method(half)
    assert await store.read(names) == []
    assert await store.read(read_generation) == before


async def test_a_change_bumps_the_generation_and_tells_before_it_returns(store: Store) -> None:
    told: list[int] = []
    store.on_change(told.append)
    before = await store.read(read_generation)
    await store.change(put, "a")
    assert told == [before + 1] == [await store.read(read_generation)]
    await store.write(put, "b")
    assert told == [await store.read(read_generation)], "a mere write bumps nothing"


async def test_listeners_hear_nothing_of_a_change_that_failed(store: Store) -> None:
    told: list[int] = []
    store.on_change(told.append)
    await store.change(put, "a")
    with pytest.raises(IntegrityError):
        await store.change(put, "a")
    assert len(told) == 1


async def test_a_cancelled_change_is_finished_and_told(store: Store) -> None:
    begun, go_on, told = threading.Event(), threading.Event(), asyncio.Event()
    store.on_change(lambda generation: told.set())

    def slow(connection: Connection) -> None:
        begun.set()
        assert go_on.wait(5)
        put(connection, "slow")

    change = asyncio.create_task(store.change(slow))
    await asyncio.to_thread(begun.wait, 5)
    change.cancel()
    with pytest.raises(asyncio.CancelledError):
        await change
    go_on.set()
    await asyncio.wait_for(told.wait(), 5)
    assert await store.read(names) == ["slow"]


async def test_readers_do_not_wait_for_the_writer_and_see_one_state(store: Store) -> None:
    written, go_on = threading.Event(), threading.Event()

    def slow(connection: Connection) -> None:
        put(connection, "slow")
        written.set()
        assert go_on.wait(5)

    write = asyncio.create_task(store.write(slow))
    await asyncio.to_thread(written.wait, 5)
    assert await asyncio.wait_for(store.read(names), 5) == []
    go_on.set()
    await write
    assert await store.read(names) == ["slow"]


async def test_many_writers_at_once_lose_nothing(store: Store) -> None:
    told: list[int] = []
    store.on_change(told.append)
    before = await store.read(read_generation)

    def count(connection: Connection) -> None:
        # Read, then write: a second writer between the two would lose a step.
        write_meta(connection, "count", b"%d" % (int(read_meta(connection, "count") or b"0") + 1))

    reads = [store.read(read_meta, "count") for _ in range(100)]
    await asyncio.gather(*(store.change(count) for _ in range(200)), *reads)
    assert await store.read(read_meta, "count") == b"200"
    assert told == list(range(before + 1, before + 201))


async def test_readers_cannot_write(store: Store) -> None:
    with pytest.raises(StoreUnavailable, match="readonly"):
        await store.read(put, "a")


async def test_how_the_connections_are_set_up(store: Store) -> None:
    def pragmas(connection: Connection) -> list[object]:
        asked = ("journal_mode", "synchronous", "foreign_keys", "wal_autocheckpoint", "query_only", "busy_timeout")
        return [connection.scalar(text(f"PRAGMA {name}")) for name in asked]

    assert await store.write(pragmas) == ["wal", 2, 1, 1000, 0, 5000]
    assert (await store.read(pragmas))[3:] == [0, 1, 5000], "readers do not checkpoint"


async def test_all_writes_run_in_one_thread_and_never_in_the_loops(store: Store) -> None:
    def thread(_connection: Connection) -> int:
        return threading.get_ident()

    writers = set(await asyncio.gather(*(store.write(thread) for _ in range(20))))
    assert len(writers) == 1
    readers = set(await asyncio.gather(*(store.read(thread) for _ in range(20))))
    assert not readers & {*writers, threading.get_ident()}


async def test_who_waits_too_long_in_line_is_not_served(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    loop, began, held = asyncio.get_running_loop(), asyncio.Event(), threading.Event()

    def hold(_connection: Connection) -> bool:
        loop.call_soon_threadsafe(began.set)
        return held.wait(10)

    first = asyncio.create_task(store.write(hold))
    await began.wait()
    monkeypatch.setattr(module, "LINE_SECONDS", -1.0)
    second = asyncio.create_task(store.write(put, "a"))
    held.set()
    assert await first
    with pytest.raises(StoreUnavailable, match="busy"):
        await second
    monkeypatch.undo()
    assert await store.write(put, "a") == "a"


async def test_a_write_holds_the_lock_from_its_beginning(store: Store) -> None:
    # Were it taken at the first statement that writes, two processes could overwrite what the other read.
    def another_process(_connection: Connection) -> None:
        with contextlib.closing(sqlite3.connect(store.path, isolation_level=None, timeout=0)) as other:
            other.execute("BEGIN IMMEDIATE")

    with pytest.raises(sqlite3.OperationalError, match="locked"):
        await store.write(another_process)


async def test_a_database_that_another_process_holds_is_unavailable(
    store: Store, monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(engine, "BUSY_SECONDS", 0.01)
    with contextlib.closing(sqlite3.connect(store.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreUnavailable, match="locked") as caught:
            await store.write(put, "a")
        assert caught.value.status == 503
        assert caught.value.retry_after
        other.execute("ROLLBACK")
    assert await store.write(put, "a") == "a"


async def test_a_closed_store_says_so_and_leaves_one_file(store: Store) -> None:
    await store.write(put, "a")
    store.close()
    for method in (store.read, store.write, store.change):
        with pytest.raises(StoreUnavailable, match="closed"):
            await method(names)
    assert [path.name for path in store.path.parent.glob("ailink.db*")] == ["ailink.db"]
    with contextlib.closing(sqlite3.connect(store.path)) as reader:
        assert reader.execute("SELECT name FROM meta").fetchall() == [("a",)]


def test_the_file_is_its_owners_alone(tmp_path: Path) -> None:
    store = Store(tmp_path / "data" / "ailink.db")
    store.upgrade()
    try:
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "data").iterdir()}
        assert set(modes.values()) == {0o600}
        assert stat.S_IMODE((tmp_path / "data").stat().st_mode) == 0o700
    finally:
        store.close()


def test_a_url_names_the_same_file_as_its_path(tmp_path: Path) -> None:
    path = tmp_path / "with space ?#%.db"
    store = Store(path)
    store.upgrade()
    store.close()
    assert path.exists()
    assert engine.locate(f"sqlite:///{tmp_path}/a.db") == engine.locate(str(tmp_path / "a.db")) == tmp_path / "a.db"
    assert engine.locate("a.db") == Path("a.db")


@pytest.mark.parametrize("where", [
    "postgresql://user:secret@host/ailink", "mysql+pymysql://host/ailink", "nonsense://host", "://", "sqlite://",
    "sqlite:///:memory:", ":memory:", "file:ailink.db?mode=memory",
])
def test_other_databases_are_refused_in_words(where: str) -> None:
    with pytest.raises(Failure) as caught:
        Store(where)
    assert caught.value.param == "AILINK_DATABASE_URL"
    assert "secret" not in caught.value.message

"""The store: one writer thread, a few reader threads, and a number that says when what was read is stale.

All SQL runs in these threads, each call in one transaction, so nothing blocks the event loop. Writers are never in each
other's way, as there is one.
"""

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from typing import Concatenate, ParamSpec, TypeVar

from sqlalchemy import Connection, Engine, select, update
from sqlalchemy.exc import DatabaseError, OperationalError

from ailink_gateway.store import engine, migrations
from ailink_gateway.store.migrations import Status
from ailink_gateway.store.tables import generation
from ailink_provider.errors import Failure

READERS = 4
LINE_SECONDS = 10.0  # for which one waits for its turn: behind a lock each of those before takes seconds to fail

P = ParamSpec("P")
T = TypeVar("T")
Query = Callable[Concatenate[Connection, P], T]


class StoreUnavailable(Failure):
    """The database did not answer: it is locked by another process, out of space, or closed. Asking again may help."""

    def __init__(self, reason: str) -> None:
        message = f"The gateway's database did not answer ({reason}); try again soon."
        super().__init__("internal_error", message, status=503, retry_after=1)


class Store:
    """The database of one gateway.

    Args:
        where: the SQLite file, as a path or a ``sqlite:///`` URL. Raises ``Failure`` for any other.

    Opens nothing until it is used. ``read``, ``write`` and ``change`` run ``function(connection, ...)`` in one
    transaction and return what it returns; what it raises undoes the transaction. All raise ``StoreUnavailable`` when
    the database does not answer.
    """

    def __init__(self, where: str | Path) -> None:
        self.path = engine.locate(where)
        self._writing = engine.writing(self.path)
        self._reading = engine.reading(self.path, READERS)
        self._writer = ThreadPoolExecutor(1, "ailink-store-writer")
        self._readers = ThreadPoolExecutor(READERS, "ailink-store-reader")
        self._listeners: list[Callable[[int], None]] = []

    # --- at start, and on the command line: these block --------------------------------------------

    def status(self) -> Status:
        """Return how the database stands to this version, making none. Raises ``Failure`` if it is not AIlink's."""
        if not self.path.exists():
            return Status(None, migrations.HEAD)
        with self._readable():
            return self._readers.submit(_transact, self._reading, migrations.status).result()

    def upgrade(self) -> Status:
        """Make the tables or bring them up to date, and return what was found.

        Raises ``Failure`` for a database that a newer version, or something else, made.
        """
        with self._readable():
            return self.call(migrations.upgrade)

    @contextmanager
    def _readable(self) -> Iterator[None]:
        try:
            yield
        except DatabaseError:
            message = f"{self.path} is damaged or no SQLite database: move it away, or give another data directory."
            raise Failure("internal_error", message) from None

    def call(self, function: Query[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Write, and wait for it."""
        return self._writer.submit(_transact, self._writing, function, *args, **kwargs).result()

    def look(self, function: Query[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Read, and wait for it."""
        return self._readers.submit(_transact, self._reading, function, *args, **kwargs).result()

    def close(self) -> None:
        """Finish what was begun and close the file. The writer goes last, as it folds the WAL into the file."""
        self._readers.shutdown()
        self._reading.dispose()
        self._writer.shutdown()
        self._writing.dispose()

    # --- from the event loop -----------------------------------------------------------------------

    async def read(self, function: Query[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a query on one consistent view of the database."""
        return await _submit(self._readers, self._reading, function, *args, **kwargs)

    async def write(self, function: Query[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a write that changes nothing a grant is made from. It is finished even if the caller is cancelled."""
        return await asyncio.shield(_submit(self._writer, self._writing, function, *args, **kwargs))

    async def change(self, function: Query[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a write that changes what tokens may do: it bumps the generation with it, and tells the listeners.

        They hear of it before this returns, and also when the caller was cancelled meanwhile.
        """
        done = _submit(self._writer, self._writing, _bumping(function), *args, **kwargs)
        done.add_done_callback(self._announce)
        return (await asyncio.shield(done))[0]

    def on_change(self, listener: Callable[[int], None]) -> None:
        """Have ``listener`` called in the event loop with the new generation after every change."""
        self._listeners.append(listener)

    def _announce(self, done: asyncio.Future[tuple[T, int]]) -> None:
        if done.exception() is None:
            for listener in self._listeners:
                listener(done.result()[1])


def read_generation(connection: Connection) -> int:
    """Return the number that every change increases."""
    number: int = connection.execute(select(generation.c.number)).scalar_one()
    return number


def bump(connection: Connection) -> int:
    """Increase the generation within the transaction that changes something, and return it."""
    increased = update(generation).values(number=generation.c.number + 1).returning(generation.c.number)
    number: int = connection.execute(increased).scalar_one()
    return number


def _bumping(function: Query[P, T]) -> Query[P, tuple[T, int]]:
    def both(connection: Connection, /, *args: P.args, **kwargs: P.kwargs) -> tuple[T, int]:
        return function(connection, *args, **kwargs), bump(connection)

    return both


def _submit(
    threads: ThreadPoolExecutor, on: Engine, function: Query[P, T], /, *args: P.args, **kwargs: P.kwargs,
) -> asyncio.Future[T]:
    until = monotonic() + LINE_SECONDS

    def in_turn() -> T:
        if monotonic() > until:
            raise StoreUnavailable("it is too busy")
        return _transact(on, function, *args, **kwargs)

    try:
        return asyncio.wrap_future(threads.submit(in_turn))
    except RuntimeError:
        raise StoreUnavailable("it is closed") from None


def _transact(on: Engine, function: Query[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    try:
        with on.begin() as connection:
            return function(connection, *args, **kwargs)
    except OperationalError as error:
        raise StoreUnavailable(str(error.orig)) from error

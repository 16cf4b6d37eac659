"""Connections to the SQLite file: where it lies and how each is set up. Runs no query of its own.

The file is in WAL mode. The one writing connection alone checkpoints, because SQLite before 3.51.3 can lose commits
when a second connection checkpoints at the same moment. It syncs every commit (``synchronous=FULL``): a revoked token
must stay revoked through a power cut, and the spool forgets what was shipped.
"""

import os
import sqlite3
import time
from pathlib import Path
from urllib.parse import quote

from sqlalchemy import Connection, Engine, QueuePool, StaticPool, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError

from ailink_provider.errors import Failure

BUSY_SECONDS = 5.0
WRITING = (
    "journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "wal_autocheckpoint=1000", "journal_size_limit=67108864",
)
READING = ("query_only=ON", "wal_autocheckpoint=0")


def locate(where: str | Path) -> Path:
    """Return the file that a path or a ``sqlite:///`` URL names. Raises ``Failure`` for any other kind of database."""
    if isinstance(where, Path) or "://" not in where:
        path = str(where)
    else:
        try:
            url = make_url(where)
        except ArgumentError:
            raise _refused("it is not a database URL") from None
        if url.get_backend_name() != "sqlite":
            raise _refused(f"{url.get_backend_name()} databases are not supported yet")
        path = url.database or ":memory:"
    if path == ":memory:" or path.startswith("file:"):
        raise _refused("the database must be a file on disk")
    return Path(path)


def writing(path: Path) -> Engine:
    """Return the engine of the only connection that writes; it makes the file, readable by its owner alone."""
    def connect() -> sqlite3.Connection:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
        return _open(path, WRITING)

    return _engine(connect, "BEGIN IMMEDIATE", poolclass=StaticPool)


def reading(path: Path, connections: int) -> Engine:
    """Return an engine with so many read-only connections to a file that exists."""
    return _engine(lambda: _open(path, READING), "BEGIN", poolclass=QueuePool, pool_size=connections, max_overflow=0)


def _engine(connect: object, begin: str, **pool: object) -> Engine:
    # Errors end in logs, which are no place for what was sent.
    engine = create_engine("sqlite://", creator=connect, hide_parameters=True, **pool)

    @event.listens_for(engine, "begin")
    def _(connection: Connection) -> None:
        # The driver is in autocommit, so that transactions begin where and as we say.
        connection.exec_driver_sql(begin)

    return engine


def _open(path: Path, pragmas: tuple[str, ...]) -> sqlite3.Connection:
    connection = sqlite3.connect(
        f"file:{quote(str(path))}?mode=rw", uri=True, timeout=BUSY_SECONDS, isolation_level=None,
        check_same_thread=False,
    )
    for pragma in pragmas:
        _set(connection, pragma)
    return connection


def _set(connection: sqlite3.Connection, pragma: str) -> None:
    # To change a new file to WAL needs it alone, and SQLite does not wait for that as it does for everything else: of
    # two processes that start at once, one would fail.
    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            connection.execute(f"PRAGMA {pragma}")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
        time.sleep(0.01)


def _refused(reason: str) -> Failure:
    return Failure("invalid_request", f"AILINK_DATABASE_URL cannot be used: {reason}. Give a path or sqlite:///path/to/file.",
                   param="AILINK_DATABASE_URL")

"""How a database gets from any older state to the newest. A step is a file in ``versions``, numbered in order.

An empty database is made from the tables as they are now, without walking all steps; a test checks that both ways lead
to the same. ``HEAD`` spares the start of an up-to-date gateway from importing Alembic; a test checks it against the
files.
"""

from pathlib import Path
from time import time
from typing import Literal

from msgspec import Struct
from sqlalchemy import Connection, insert, inspect, text

from ailink_gateway.store.tables import generation, metadata, projects
from ailink_provider.errors import Failure

HEAD = "0002"


class Status(Struct, frozen=True):
    """In what state a database is: its revision (None without tables of ours), and the one this version works with."""

    revision: str | None
    head: str

    def __str__(self) -> str:
        return f"{self.state} (revision {self.revision or 'none'}, this version works with {self.head})"

    @property
    def state(self) -> Literal["empty", "older", "current", "newer"]:
        """How the database stands to this version."""
        if self.revision is None:
            return "empty"
        if self.revision == self.head:
            return "current"
        return "older" if self.revision < self.head else "newer"


def status(connection: Connection) -> Status:
    """Return the state. Raises ``Failure`` for a database that something else made."""
    names = inspect(connection).get_table_names()
    if not names:
        return Status(None, HEAD)
    ours = {"alembic_version", "generation"}.issubset(names)
    revision = connection.scalar(text("SELECT version_num FROM alembic_version")) if ours else None
    if not isinstance(revision, str) or not revision.isdecimal():
        raise Failure("conflict", "The database file holds tables that are not AIlink's: name another file.")
    return Status(revision, HEAD)


def upgrade(connection: Connection) -> Status:
    """Bring the database to ``HEAD`` within the transaction that is open, and return the state it was in.

    Raises ``Failure`` for a database that a newer version, or something else, made.
    """
    found = status(connection)
    if found.state == "newer":
        raise Failure(
            "conflict",
            f"The database is at revision {found.revision}, newer than this version of AIlink knows ({HEAD}): "
            "run the version that upgraded it, or restore a backup from before.",
        )
    if found.state == "empty":
        _make(connection)
    elif found.state == "older":
        run(connection)
    return found


def _make(connection: Connection) -> None:
    metadata.create_all(connection)
    connection.execute(insert(generation).values(id=1, number=1))
    connection.execute(insert(projects).values(id="default", name="default", created_at=time()))
    connection.exec_driver_sql("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL PRIMARY KEY)")
    connection.execute(text("INSERT INTO alembic_version VALUES (:head)"), {"head": HEAD})


def run(connection: Connection) -> None:
    """Walk all steps from the revision that the database has, within the transaction that is open."""
    from alembic import command
    from alembic.config import Config

    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    command.upgrade(config, "head")

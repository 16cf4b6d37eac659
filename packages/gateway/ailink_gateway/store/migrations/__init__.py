"""How a database gets from any older state to the newest. A step is a file in ``versions``, numbered in order.

``HEAD`` spares the start of an up-to-date gateway from importing Alembic; a test checks it against the files.
"""

from pathlib import Path
from typing import Literal

from msgspec import Struct
from sqlalchemy import Connection, inspect, text

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
    if found.state != "current":
        _run(connection)
    return found


def _run(connection: Connection) -> None:
    from alembic import command
    from alembic.config import Config

    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    command.upgrade(config, "head")

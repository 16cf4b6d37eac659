import shutil
import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, inspect, text

from ailink_gateway.store import migrations
from ailink_gateway.store.migrations import HEAD
from ailink_gateway.store.store import Store
from ailink_gateway.store.tables import metadata
from ailink_provider.errors import Failure

VERSIONS = Path(migrations.__file__).parent / "versions"
NEXT = '''
"""A later step."""
import sqlalchemy as sa
from alembic import op
revision = "{revision}"
down_revision = "{before}"
def upgrade() -> None:
    op.add_column("projects", sa.Column("motto", sa.String))
    {more}
'''


@pytest.fixture
def later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A later version of the gateway: it has one more migration than this one. Returns that migration's file."""
    folder = tmp_path / "later"
    shutil.copytree(VERSIONS.parent, folder)
    revision = f"{int(migrations.HEAD) + 1:04}"
    path = folder / "versions" / f"{revision}_later.py"
    path.write_text(NEXT.format(revision=revision, before=migrations.HEAD, more="pass"))
    monkeypatch.setattr(migrations, "__file__", str(folder / "__init__.py"))
    monkeypatch.setattr(migrations, "HEAD", revision)
    return path


def test_an_empty_database_gets_the_tables_and_the_default_project(tmp_path: Path) -> None:
    store = Store(tmp_path / "deep" / "ailink.db")
    try:
        assert store.status().state == "empty"
        assert not store.path.exists(), "to ask makes nothing"
        assert store.upgrade().state == "empty"
        assert store.status().state == "current"
        assert str(store.status()) == f"current (revision {HEAD}, this version works with {HEAD})"
        assert store.call(lambda connection: connection.scalar(text("SELECT name FROM projects"))) == "default"
    finally:
        store.close()


def test_head_is_the_last_file_and_the_files_are_numbered() -> None:
    names = sorted(path.name[:4] for path in VERSIONS.glob("*.py"))
    assert names == [f"{number:04}" for number in range(1, len(names) + 1)]
    assert names[-1] == migrations.HEAD


def test_migrations_make_what_the_tables_say(store: Store) -> None:
    def differences(connection: Connection) -> list[object]:
        return compare_metadata(MigrationContext.configure(connection), metadata)

    assert store.call(differences) == []


def test_an_empty_database_is_made_as_the_steps_would_make_it(store: Store, tmp_path: Path) -> None:
    def shape(connection: Connection) -> dict[str, object]:
        seen = inspect(connection)
        return {
            name: (
                sorted(({**column, "type": str(column["type"])} for column in seen.get_columns(name)), key=str),
                seen.get_pk_constraint(name)["constrained_columns"],
                sorted(seen.get_foreign_keys(name), key=str),
                sorted(seen.get_unique_constraints(name), key=str),
                sorted(
                    (one["name"], one["column_names"], one["unique"], str(one["dialect_options"].get("sqlite_where")))
                    for one in seen.get_indexes(name)
                ),
                connection.execute(text(f"SELECT * FROM {name}")).all() if name != "projects" else None,
            )
            for name in sorted(seen.get_table_names())
        }

    by_steps = Store(tmp_path / "steps.db")
    try:
        by_steps.call(migrations.run)
        assert by_steps.status().state == "current"
        assert store.call(shape) == by_steps.call(shape)
    finally:
        by_steps.close()


def test_neither_a_new_nor_a_current_database_needs_alembic(tmp_path: Path) -> None:
    script = (
        "import sys; from ailink_gateway.store.store import Store; store = Store(sys.argv[1]); "
        "assert [store.upgrade().state for _ in range(2)] == ['empty', 'current']; store.close(); "
        "assert 'alembic' not in sys.modules"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", script, str(tmp_path / "new.db")], check=True)


def test_an_older_database_is_brought_up_and_keeps_its_rows(store: Store, later: Path) -> None:
    assert store.status().state == "older"
    assert store.upgrade().state == "older"
    assert store.status().state == "current"
    rows = store.call(lambda connection: connection.execute(text("SELECT name, motto FROM projects")).all())
    assert rows == [("default", None)]


def test_an_upgrade_that_fails_leaves_the_database_as_it_was(store: Store, later: Path) -> None:
    later.write_text(NEXT.format(revision=migrations.HEAD, before=HEAD, more='raise RuntimeError("power cut")'))
    with pytest.raises(RuntimeError, match="power cut"):
        store.upgrade()
    assert store.status().state == "older"
    columns = store.call(lambda connection: connection.execute(text("PRAGMA table_info(projects)")).all())
    assert "motto" not in [column[1] for column in columns]


def test_a_newer_database_is_refused_in_words(store: Store) -> None:
    store.call(lambda connection: connection.execute(text("UPDATE alembic_version SET version_num = '9999'")))
    assert store.status().state == "newer"
    with pytest.raises(Failure, match="revision 9999, newer than this version of AIlink knows"):
        store.upgrade()


@pytest.mark.parametrize("statement", [
    "CREATE TABLE other (id)",
    "CREATE TABLE alembic_version (version_num)",
    "CREATE TABLE generation (id); CREATE TABLE alembic_version (version_num);"
    "INSERT INTO alembic_version VALUES ('ae1027a6acf')",
])
def test_another_programs_database_is_left_alone(tmp_path: Path, statement: str) -> None:
    path = tmp_path / "other.db"
    connection = sqlite3.connect(path)
    connection.executescript(statement)
    connection.close()
    store = Store(path)
    try:
        for look in (store.status, store.upgrade):
            with pytest.raises(Failure, match="not AIlink's"):
                look()
    finally:
        store.close()


def test_two_processes_that_start_at_once_upgrade_once(tmp_path: Path) -> None:
    stores = [Store(tmp_path / "ailink.db") for _ in range(2)]
    try:
        with ThreadPoolExecutor(2) as threads:
            found = sorted(status.state for status in threads.map(Store.upgrade, stores))
        assert found == ["current", "empty"]
    finally:
        for store in stores:
            store.close()

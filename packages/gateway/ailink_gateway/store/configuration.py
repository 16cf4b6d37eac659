"""The questions that a configuration file asks: everything that it may hold, by name, and the writes that no resource
has of its own. Decides nothing.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, Select, Table, insert, select, update

from ailink_gateway.store.rows import Row
from ailink_gateway.store.tables import credentials, policies, policy_versions, projects, services, tokens

_IN_USE = projects.c.deleted_at.is_(None)
_DOCUMENT = ("name", "mode", "phase", "rules", "retry")


class Present(NamedTuple):
    """What there is, newest last. Rows of credentials have their id, project and name alone."""

    projects: list[Row]
    credentials: list[Row]
    policies: list[Row]
    services: list[Row]
    tokens: list[Row]


def read_configuration(connection: Connection) -> Present:
    """Return every project, policy, service and token in use, and how credentials are called."""
    named = select(credentials.c.id, credentials.c.project_id, credentials.c.name)
    return Present(
        _rows(connection, select(projects).where(_IN_USE).order_by(projects.c.created_at, projects.c.id)),
        _rows(connection, named.where(credentials.c.deleted_at.is_(None))),
        _of_projects(connection, policies, policies.c.deleted_at.is_(None)),
        _of_projects(connection, services, services.c.deleted_at.is_(None)),
        _of_projects(connection, tokens, tokens.c.revoked_at.is_(None)),
    )


def set_project_policies(connection: Connection, project_id: str, policy_ids: Sequence[str]) -> None:
    """Attach these policies to a project, and no others."""
    connection.execute(update(projects).where(projects.c.id == project_id).values(policy_ids=list(policy_ids)))


def insert_policy(connection: Connection, row: Mapping[str, Any]) -> None:
    """Add a policy as its first version."""
    connection.execute(insert(policies).values(**row, version=1, updated_at=row["created_at"]))
    _keep_version(connection, row, 1)


def update_policy(connection: Connection, row: Mapping[str, Any], fields: Mapping[str, Any], now: float) -> None:
    """Change a policy, as its next version; ``row`` is how it stands."""
    version = row["version"] + 1
    connection.execute(
        update(policies).where(policies.c.id == row["id"]).values(**fields, version=version, updated_at=now)
    )
    _keep_version(connection, {**row, **fields, "created_at": now}, version)


def _keep_version(connection: Connection, row: Mapping[str, Any], version: int) -> None:
    document = {name: row[name] for name in _DOCUMENT}
    connection.execute(
        insert(policy_versions).values(
            policy_id=row["id"], version=version, document=document, created_at=row["created_at"]
        )
    )


def _of_projects(connection: Connection, table: Table, present: ColumnElement[bool]) -> list[Row]:
    query = select(table).join(projects, table.c.project_id == projects.c.id).where(present, _IN_USE)
    return _rows(connection, query.order_by(table.c.created_at, table.c.id))


def _rows(connection: Connection, query: Select[Any]) -> list[Row]:
    return [dict(row) for row in connection.execute(query).mappings()]

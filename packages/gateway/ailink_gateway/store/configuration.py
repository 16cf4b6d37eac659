"""The question that a configuration file asks: everything that it may hold, by name. Changes nothing."""

from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, Select, Table, select

from ailink_gateway.store.rows import Row
from ailink_gateway.store.tables import credentials, policies, projects, services, tokens

_IN_USE = projects.c.deleted_at.is_(None)


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


def _of_projects(connection: Connection, table: Table, present: ColumnElement[bool]) -> list[Row]:
    query = select(table).join(projects, table.c.project_id == projects.c.id).where(present, _IN_USE)
    return _rows(connection, query.order_by(table.c.created_at, table.c.id))


def _rows(connection: Connection, query: Select[Any]) -> list[Row]:
    return [dict(row) for row in connection.execute(query).mappings()]

"""The queries on projects. A deleted project takes its tokens and credentials with it and leaves its records."""

from sqlalchemy import Connection, insert, update

from ailink_gateway.store import rows
from ailink_gateway.store.rows import Row
from ailink_gateway.store.tables import credentials, policies, projects, services, tokens
from ailink_provider.errors import Failure

DEFAULT = "default"
_PRESENT = projects.c.deleted_at.is_(None)


def insert_project(connection: Connection, project_id: str, name: str, now: float) -> Row:
    """Add a project and return it. Raises ``Failure`` if the name is taken."""
    rows.claim_name(connection, projects, name, [_PRESENT])
    connection.execute(insert(projects).values(id=project_id, name=name, created_at=now))
    return find_project(connection, project_id)


def find_project(connection: Connection, project_id: str) -> Row:
    """Return a project that is not deleted. Raises ``Failure`` (``not_found``)."""
    row = rows.find(connection, projects, project_id)
    if row is None or row["deleted_at"] is not None:
        raise Failure("not_found", f"There is no project {project_id!r}.", param="id")
    return row


def list_projects(connection: Connection, limit: int, after: str | None) -> tuple[list[Row], bool]:
    """Return one page, as ``rows.page`` does."""
    return rows.page(connection, projects, [_PRESENT], limit, after)


def rename_project(connection: Connection, project_id: str, name: str) -> Row:
    """Give a project another name and return it. Raises ``Failure`` if there is none or the name is taken."""
    find_project(connection, project_id)
    rows.claim_name(connection, projects, name, [_PRESENT, projects.c.id != project_id])
    connection.execute(update(projects).where(projects.c.id == project_id).values(name=name))
    return find_project(connection, project_id)


def delete_project(connection: Connection, project_id: str, now: float) -> None:
    """Delete a project, revoke its tokens and erase its secrets.

    Raises ``Failure`` if there is no such project, or if it is the default one.
    """
    if project_id == DEFAULT:
        raise Failure("conflict", "The project 'default' cannot be deleted: what names no project belongs to it.")
    find_project(connection, project_id)
    connection.execute(update(projects).where(projects.c.id == project_id).values(deleted_at=now))
    connection.execute(
        update(tokens).where(tokens.c.project_id == project_id, tokens.c.revoked_at.is_(None))
        .values(revoked_at=now, is_active=False)
    )
    connection.execute(
        update(credentials).where(credentials.c.project_id == project_id, credentials.c.deleted_at.is_(None))
        .values(deleted_at=now, sealed=None, key_id=None)
    )
    connection.execute(
        update(services).where(services.c.project_id == project_id, services.c.deleted_at.is_(None))
        .values(deleted_at=now)
    )
    connection.execute(
        update(policies).where(policies.c.project_id == project_id, policies.c.deleted_at.is_(None))
        .values(deleted_at=now)
    )


def refer_to_project(connection: Connection, project_id: str) -> None:
    """Raise ``Failure`` (``validation_error``) if a new row cannot belong to this project, as it does not exist."""
    row = rows.find(connection, projects, project_id)
    if row is None or row["deleted_at"] is not None:
        raise Failure("validation_error", f"There is no project {project_id!r}: create it first.", param="project_id")

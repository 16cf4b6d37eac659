"""The queries on services: the APIs that a project's tokens may call by name."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, insert, update

from ailink_gateway.store import rows
from ailink_gateway.store.credentials import refer_to_credential
from ailink_gateway.store.projects import refer_to_project
from ailink_gateway.store.rows import Row
from ailink_gateway.store.tables import services
from ailink_provider.errors import Failure

_PRESENT = services.c.deleted_at.is_(None)


def insert_service(connection: Connection, row: Mapping[str, Any]) -> Row:
    """Add a service and return it.

    Raises ``Failure`` if its project does not exist, its name is taken there or its credential is not that project's.
    """
    refer_to_project(connection, row["project_id"])
    refer_to_credential(connection, row["project_id"], row["credential_id"])
    rows.claim_name(connection, services, row["name"], [_PRESENT, services.c.project_id == row["project_id"]])
    connection.execute(insert(services).values(**row))
    return find_service(connection, row["id"])


def find_service(connection: Connection, service_id: str) -> Row:
    """Return a service that is not deleted. Raises ``Failure`` (``not_found``)."""
    row = rows.find(connection, services, service_id)
    if row is None or row["deleted_at"] is not None:
        raise Failure("not_found", f"There is no service {service_id!r}.", param="id")
    return row


def list_services(
    connection: Connection, limit: int, after: str | None, project_id: str | None,
) -> tuple[list[Row], bool]:
    """Return one page, as ``rows.page`` does, of all or of one project's."""
    conditions = [_PRESENT] if project_id is None else [_PRESENT, services.c.project_id == project_id]
    return rows.page(connection, services, conditions, limit, after)


def update_service(connection: Connection, service_id: str, fields: Mapping[str, Any]) -> Row:
    """Change a service and return it.

    Raises ``Failure`` if there is none, its new name is taken or the credential is not its project's.
    """
    row = find_service(connection, service_id)
    if "name" in fields:
        others = [_PRESENT, services.c.project_id == row["project_id"], services.c.id != service_id]
        rows.claim_name(connection, services, fields["name"], others)
    refer_to_credential(connection, row["project_id"], fields.get("credential_id"))
    if fields:
        connection.execute(update(services).where(services.c.id == service_id).values(**fields))
    return find_service(connection, service_id)


def delete_service(connection: Connection, service_id: str, now: float) -> None:
    """Delete a service. Raises ``Failure`` if there is none."""
    find_service(connection, service_id)
    connection.execute(update(services).where(services.c.id == service_id).values(deleted_at=now))

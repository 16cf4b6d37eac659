"""The queries on policies. Every change is a version of its own, and all versions are kept."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, insert, select, update

from ailink_gateway.store import rows
from ailink_gateway.store.projects import find_project, refer_to_project, rename_project
from ailink_gateway.store.rows import Row
from ailink_gateway.store.tables import policies, policy_versions, projects, tokens
from ailink_provider.errors import Failure

DOCUMENT = ("name", "mode", "phase", "rules", "retry")
_PRESENT = policies.c.deleted_at.is_(None)
_NAMED_AT_MOST = 5


def insert_policy(connection: Connection, row: Mapping[str, Any]) -> Row:
    """Add a policy, as its first version, and return it.

    Raises ``Failure`` if its project does not exist or its name is taken there.
    """
    refer_to_project(connection, row["project_id"])
    rows.claim_name(connection, policies, row["name"], [_PRESENT, policies.c.project_id == row["project_id"]])
    connection.execute(insert(policies).values(**row))
    return _versioned(connection, row["id"])


def find_policy(connection: Connection, policy_id: str) -> Row:
    """Return a policy that is not deleted. Raises ``Failure`` (``not_found``)."""
    row = rows.find(connection, policies, policy_id)
    if row is None or row["deleted_at"] is not None:
        raise Failure("not_found", f"There is no policy {policy_id!r}.", param="id")
    return row


def list_policies(
    connection: Connection, limit: int, after: str | None, project_id: str | None,
) -> tuple[list[Row], bool]:
    """Return one page, as ``rows.page`` does, of all or of one project's."""
    conditions = [_PRESENT] if project_id is None else [_PRESENT, policies.c.project_id == project_id]
    return rows.page(connection, policies, conditions, limit, after)


def update_policy(connection: Connection, policy_id: str, fields: Mapping[str, Any], version: int, now: float) -> Row:
    """Make the next version of a policy that stands at ``version``, and return it.

    Raises ``Failure`` if there is none, its new name is taken or somebody else changed it meanwhile.
    """
    row = find_policy(connection, policy_id)
    if row["version"] != version:
        raise Failure("conflict", f"The policy {policy_id!r} was changed meanwhile: read it and try again.")
    if "name" in fields:
        others = [_PRESENT, policies.c.project_id == row["project_id"], policies.c.id != policy_id]
        rows.claim_name(connection, policies, fields["name"], others)
    connection.execute(
        update(policies).where(policies.c.id == policy_id).values(**fields, version=version + 1, updated_at=now)
    )
    return _versioned(connection, policy_id)


def delete_policy(connection: Connection, policy_id: str, now: float) -> None:
    """Delete a policy; its versions stay. Raises ``Failure`` if there is none, or it is attached."""
    row = find_policy(connection, policy_id)
    users = _users(connection, policy_id, row["project_id"])
    if users:
        named = ", ".join(users[:_NAMED_AT_MOST]) + ("" if len(users) <= _NAMED_AT_MOST else ", ...")
        raise Failure("conflict", f"The policy is attached to {named}: take it out of their policy_ids first.")
    connection.execute(update(policies).where(policies.c.id == policy_id).values(deleted_at=now))


def list_versions(connection: Connection, policy_id: str, limit: int, after: int | None) -> tuple[list[Row], bool]:
    """Return up to ``limit`` versions of a policy, newest first and before ``after``, and whether there are more.

    Raises ``Failure`` if there is no such policy.
    """
    find_policy(connection, policy_id)
    query = select(policy_versions).where(policy_versions.c.policy_id == policy_id)
    if after is not None:
        query = query.where(policy_versions.c.version < after)
    query = query.order_by(policy_versions.c.version.desc()).limit(limit + 1)
    found = [dict(row) for row in connection.execute(query).mappings()]
    return found[:limit], len(found) > limit


def attach_to_project(connection: Connection, project_id: str, fields: Mapping[str, Any]) -> Row:
    """Have these ``policy_ids`` hold for a project, which may get another ``name`` with it, and return the project.

    Raises ``Failure`` if there is no such project, a policy is not its own or the name is taken.
    """
    row = find_project(connection, project_id)
    if "name" in fields:
        row = rename_project(connection, project_id, fields["name"])
    refer_to_policies(connection, project_id, fields["policy_ids"])
    connection.execute(update(projects).where(projects.c.id == project_id).values(policy_ids=fields["policy_ids"]))
    return {**row, "policy_ids": fields["policy_ids"]}


def refer_to_policies(connection: Connection, project_id: str, policy_ids: Sequence[str]) -> None:
    """Raise ``Failure`` (``validation_error``) unless these are policies of the project, each named once."""
    if len(set(policy_ids)) != len(policy_ids):
        raise Failure("validation_error", "policy_ids names a policy twice.", param="policy_ids")
    if not policy_ids:
        return
    query = select(policies.c.id).where(_PRESENT, policies.c.project_id == project_id, policies.c.id.in_(policy_ids))
    known = set(connection.scalars(query))
    for policy_id in policy_ids:
        if policy_id not in known:
            message = f"The project {project_id!r} has no policy {policy_id!r}: create it first."
            raise Failure("validation_error", message, param="policy_ids")


def _versioned(connection: Connection, policy_id: str) -> Row:
    row = find_policy(connection, policy_id)
    connection.execute(
        insert(policy_versions).values(
            policy_id=policy_id, version=row["version"], created_at=row["updated_at"],
            document={name: row[name] for name in DOCUMENT},
        )
    )
    return row


def _users(connection: Connection, policy_id: str, project_id: str) -> list[str]:
    project = connection.execute(select(projects.c.policy_ids).where(projects.c.id == project_id)).scalar_one()
    users = [f"the project {project_id}"] if policy_id in project else []
    query = select(tokens.c.name, tokens.c.id, tokens.c.policy_ids).where(
        tokens.c.project_id == project_id, tokens.c.revoked_at.is_(None)
    )
    return users + [f"{name} ({token_id})" for name, token_id, ids in connection.execute(query) if policy_id in ids]

"""Projects: what keeps one tenant's tokens and credentials from another's."""

from typing import Annotated

from fastapi import Query
from pydantic import BaseModel, Field

from ailink_gateway.control.context import Given
from ailink_gateway.control.errors import refusals
from ailink_gateway.control.fields import Deleted, Input, Listing, Moment, Name, Page, Reference, changes, optional
from ailink_gateway.control.resource import resource
from ailink_gateway.store import policies
from ailink_gateway.store import projects as table
from ailink_gateway.tokens import random_base62

ID_LENGTH = 12

router = resource("projects")


class ProjectInput(Input):
    """A new project."""

    name: Name = Field(examples=["finance-bot"])


class ProjectChange(Input):
    """What is to change."""

    name: Name = optional(examples=["finance"])
    policy_ids: list[Reference] = optional(
        max_length=50, description="Policies that hold for all its tokens, in their order, before the tokens' own.",
    )


class Project(BaseModel):
    """A project."""

    id: str = Field(examples=["default", "7vQm2LkPz0aX"])
    name: str = Field(examples=["finance-bot"])
    policy_ids: list[str]
    created_at: Moment


@router.post("", status_code=201, responses=refusals(409))
async def create_project(body: ProjectInput, given: Given) -> Project:
    """Create a project."""
    row = await given.store.change(table.insert_project, random_base62(ID_LENGTH), body.name, given.now())
    return Project.model_validate(row)


@router.get("")
async def list_projects(listing: Annotated[Listing, Query()], given: Given) -> Page[Project]:
    """List projects, newest first."""
    rows, has_more = await given.store.read(table.list_projects, listing.limit, listing.starting_after)
    return Page(data=[Project.model_validate(row) for row in rows], has_more=has_more)


@router.get("/{id}", responses=refusals(404))
async def get_project(id: str, given: Given) -> Project:
    """Get one project."""
    return Project.model_validate(await given.store.read(table.find_project, id))


@router.patch("/{id}", responses=refusals(404, 409))
@router.put("/{id}", include_in_schema=False)
async def update_project(id: str, body: ProjectChange, given: Given) -> Project:
    """Change a project. PUT does the same."""
    fields = changes(body)
    if not fields:
        return Project.model_validate(await given.store.read(table.find_project, id))
    if "policy_ids" in fields:
        return Project.model_validate(await given.store.change(policies.attach_to_project, id, fields))
    return Project.model_validate(await given.store.change(table.rename_project, id, body.name))


@router.delete("/{id}", responses=refusals(404, 409))
async def delete_project(id: str, given: Given) -> Deleted:
    """Delete a project.

    Its tokens are revoked and its credentials erased; its audit records stay. `default` cannot be deleted (409).
    """
    await given.store.change(table.delete_project, id, given.now())
    return Deleted(id=id)

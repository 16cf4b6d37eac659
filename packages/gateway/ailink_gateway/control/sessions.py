"""Sessions: the calls that agents made under one X-Session-ID, what they add up to, and in which order they came."""

from typing import Annotated

from fastapi import Query
from pydantic import BaseModel, Field

from ailink_gateway.control.audit import AuditRecord
from ailink_gateway.control.context import Given
from ailink_gateway.control.errors import refusals
from ailink_gateway.control.fields import Input, Listing, Moment, Page, Reference, Usd
from ailink_gateway.control.resource import resource
from ailink_gateway.store import sessions as table
from ailink_gateway.store.rows import Row

router = resource("sessions")


class SessionListing(Listing):
    """Which sessions are asked for."""

    starting_after: str | None = Field(
        None, max_length=300,
        description="The id of the last session of the page before; project/id where several projects have it.",
    )
    project_id: Reference | None = None


class StepListing(Input):
    """Which requests of a session are asked for."""

    project_id: Reference | None = Field(None, description="Whose session, where several projects have one of this id.")
    limit: int = Field(100, ge=1, le=1000, description="How many requests at most.")
    starting_after: str | None = Field(None, max_length=256, description="The last request of the page before.")


class Session(BaseModel):
    """What the calls of a session add up to."""

    id: str = Field(examples=["conv-abc123"])
    project_id: str | None = Field(description="null where sessions of several projects were added up.")
    created_at: Moment = Field(description="When its first call began.")
    last_request_at: Moment = Field(description="When its latest call began.")
    request_count: int
    error_count: int = Field(description="Calls that failed or were refused.")
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    cost_usd: Usd


class SessionDetail(Session):
    """A session with its requests in the order of their beginning.

    A request's `parent_span_id` names the span that made it: one of the agent's own, or another request's `span_id`.
    """

    requests: list[AuditRecord]
    has_more: bool = Field(description="Whether later requests follow: ask again with starting_after.")


@router.get("")
async def list_sessions(listing: Annotated[SessionListing, Query()], given: Given) -> Page[Session]:
    """List sessions, newest first by their first call."""
    await given.caught_up()
    rows, has_more = await given.store.read(
        table.list_sessions, listing.limit, listing.starting_after, listing.project_id
    )
    return Page(data=[Session.model_validate(_shown(row)) for row in rows], has_more=has_more)


@router.get("/{id}", responses=refusals(404))
async def get_session(id: str, listing: Annotated[StepListing, Query()], given: Given) -> SessionDetail:
    """Get what a session adds up to, and its requests in order."""
    await given.caught_up()
    total = await given.store.read(table.find_session, id, listing.project_id)
    steps, has_more = await given.store.read(
        table.list_steps, listing.limit, listing.starting_after, id, listing.project_id
    )
    requests = [AuditRecord.model_validate(row) for row in steps]
    return SessionDetail(**_shown(total), requests=requests, has_more=has_more)


def _shown(row: Row) -> Row:
    return {
        "id": row["id"], "project_id": row["project_id"], "created_at": row["created_at"],
        "last_request_at": row["last_at"], "request_count": row["requests"], "error_count": row["errors"],
        "prompt_tokens": row["prompt_tokens"], "completion_tokens": row["completion_tokens"],
        "total_tokens": row["prompt_tokens"] + row["completion_tokens"], "cost_usd": row["cost_nano"],
    }

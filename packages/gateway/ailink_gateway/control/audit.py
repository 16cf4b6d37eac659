"""The audit: what was called, by whom, with what result and at what cost. Read only; rows come from the spool."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import Header, Query
from fastapi.responses import StreamingResponse
from pydantic import AfterValidator, BaseModel, BeforeValidator, Field
from starlette.types import Receive, Scope, Send

from ailink_gateway.control.broadcaster import Broadcaster
from ailink_gateway.control.context import Context, Given
from ailink_gateway.control.errors import refusals
from ailink_gateway.control.fields import Input, Listing, Moment, Page, Usd, either_form, seconds
from ailink_gateway.control.resource import resource
from ailink_gateway.store import records as table
from ailink_gateway.store.rows import Row
from ailink_gateway.store.store import StoreUnavailable

STREAM_BATCH = 100
KEEP_ALIVE_SECONDS = 15.0
_EVENT_EXAMPLE = 'id: 7\nevent: record\ndata: {"id": "req_9f1c2ab47c6e05d1b33a80e4", "status": 200}\n\n'

router = resource("audit")


def _utc(moment: datetime) -> datetime:
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


Text = Annotated[str, Field(min_length=1, max_length=256)]
Instant = Annotated[datetime, AfterValidator(_utc)]
Flag = Annotated[bool, BeforeValidator(bool)]


class Filters(Input):
    """Which records are asked for; all that is given must fit."""

    session_id: Text | None = None
    parent_span_id: Text | None = None
    agent_name: Text | None = None
    token_id: Annotated[Text, AfterValidator(either_form)] | None = None
    model: Text | None = None
    status: int | None = Field(None, ge=100, le=599, description="The status that the client got.")
    since: Instant | None = Field(None, alias="from", description="From this moment on; UTC unless it says otherwise.")
    until: Instant | None = Field(None, alias="to", description="Before this moment.")

    def wanted(self) -> dict[str, Any]:
        """Return the filters as the table's queries take them."""
        values = {name: getattr(self, name) for name in table.FILTERS}
        return {**values, "since": seconds(self.since), "until": seconds(self.until)}


class AuditListing(Listing, Filters):
    """Which page of which records."""


class AuditRecord(BaseModel):
    """One call."""

    id: str
    request_id: str = Field(description="What the client got as X-Request-ID.")
    created_at: Moment = Field(description="When the call began.")
    finished_at: Moment | None
    token_id: str | None
    project_id: str | None
    method: str
    path: str
    operation: str | None = Field(description="What was asked: chat, embeddings ...; null for other APIs.")
    dialect: str | None = Field(description="How the client spoke.")
    outcome: str = Field(description="answered, failed, cancelled (the client left) or unknown (the gateway died).")
    status: int | None = Field(description="What the client got.")
    upstream_status: int | None = Field(description="What the upstream answered; null when nothing was sent.")
    error_code: str | None
    response_latency_ms: float | None
    first_byte_ms: float | None
    attempts: int | None
    agent_name: str | None
    session_id: str | None
    parent_span_id: str | None
    model: str | None = Field(description="The model that was called.")
    requested_model: str | None = Field(description="The model that was asked for.")
    provider: str | None
    upstream: str | None
    prompt_tokens: int | None
    completion_tokens: int | None
    cache_read_tokens: int | None
    cache_write_tokens: int | None
    reasoning_tokens: int | None
    usage_estimated: Flag = Field(description="Whether the tokens were counted by the gateway, not by the upstream.")
    cost_usd: Usd | None = Field(validation_alias="cost_nano", description="null when no price is known.")
    policy_result: str | None
    shadow_violations: Annotated[list[Any], BeforeValidator(lambda value: value or [])]
    cache_hit: Flag
    is_streaming: Flag
    finish_reason: str | None


@router.get("")
async def list_records(listing: Annotated[AuditListing, Query()], given: Given) -> Page[AuditRecord]:
    """List calls, newest first."""
    rows, has_more = await given.store.read(table.list_records, listing.limit, listing.starting_after, listing.wanted())
    return Page(data=[AuditRecord.model_validate(row) for row in rows], has_more=has_more)


class RecordStream(StreamingResponse):
    """Server-sent events, in one of the broadcaster's places. Raises ``Failure`` if none is free."""

    media_type = "text/event-stream"

    def __init__(self, events: AsyncIterator[bytes], broadcaster: Broadcaster) -> None:
        # A proxy that gathers the answer before it passes it on would hold events back.
        super().__init__(events, headers={"X-Accel-Buffering": "no"})
        self._broadcaster = broadcaster

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send events until the client leaves or the server stops."""
        with self._broadcaster.place():
            await super().__call__(scope, receive, send)


@router.get(
    "/stream", response_class=StreamingResponse,
    responses={200: {"content": {"text/event-stream": {"example": _EVENT_EXAMPLE}}}, **refusals(429)},
)
async def stream_records(
    filters: Annotated[Filters, Query()], given: Given,
    last_event_id: Annotated[int | None, Header(ge=0, lt=2**63, description="Go on after this event.")] = None,
) -> StreamingResponse:
    """Follow calls as their records arrive, as server-sent events named `record`.

    Without Last-Event-ID it begins with the next one. Every event has an id to resume from.
    """
    position = last_event_id
    if position is None:
        position = await given.store.read(table.last_sequence)
    return RecordStream(_events(given, filters.wanted(), position), given.broadcaster)


@router.get("/{id}", responses=refusals(404))
async def get_record(id: str, given: Given) -> AuditRecord:
    """Get one call."""
    return AuditRecord.model_validate(await given.store.read(table.find_record, id))


async def _events(given: Context, filters: dict[str, Any], position: int) -> AsyncIterator[bytes]:
    broadcaster = given.broadcaster
    while not broadcaster.closed:
        news = broadcaster.news
        try:
            rows, position = await given.store.read(table.records_after, position, STREAM_BATCH, filters)
        except StoreUnavailable:
            return  # the client comes back with Last-Event-ID
        if rows:
            yield b"".join(map(_event, rows))
        if len(rows) == STREAM_BATCH:
            continue
        try:
            async with asyncio.timeout(KEEP_ALIVE_SECONDS):
                await news.wait()
        except TimeoutError:
            yield b": keep-alive\n\n"


def _event(row: Row) -> bytes:
    data = AuditRecord.model_validate(row).model_dump_json()
    return f"id: {row['sequence']}\nevent: record\ndata: {data}\n\n".encode()

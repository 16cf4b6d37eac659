"""The audit: what was called, by whom, with what result and at what cost. Read only; rows come from the spool."""

import asyncio
import csv
import io
import json
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from typing import Annotated, Any, Literal

from fastapi import Header, Query
from fastapi.responses import StreamingResponse
from pydantic import AfterValidator, BaseModel, BeforeValidator, Field
from starlette.types import Receive, Scope, Send

from ailink_gateway.control.broadcaster import Broadcaster
from ailink_gateway.control.context import Context, Given
from ailink_gateway.control.errors import refusals
from ailink_gateway.control.fields import Input, Instant, Listing, Moment, Page, Usd, either_form, seconds
from ailink_gateway.control.resource import resource
from ailink_gateway.store import records as table
from ailink_gateway.store.bodies import find_body
from ailink_gateway.store.rows import Row
from ailink_gateway.store.store import StoreUnavailable
from ailink_gateway.vault import body_place
from ailink_provider.errors import Failure

STREAM_BATCH = 100
EXPORT_BATCH = 500
KEEP_ALIVE_SECONDS = 15.0
_EVENT_EXAMPLE = 'id: 7\nevent: record\ndata: {"id": "req_9f1c2ab47c6e05d1b33a80e4", "status": 200}\n\n'

router = resource("audit")


def _hex(code: object) -> object:
    return code.hex() if isinstance(code, bytes) else code


Text = Annotated[str, Field(min_length=1, max_length=256)]
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
    policy_result: str | None = Field(description="What policies decided: allow, deny, approval ...")
    policy_name: str | None = Field(description="The policy that decided.")
    shadow_violations: Annotated[list[Any], BeforeValidator(lambda value: value or [])]
    tags: Annotated[dict[str, str], BeforeValidator(lambda value: value or {})]
    service: str | None = Field(description="The registered service that was called.")
    approval_id: str | None
    trace_id: str | None = Field(description="The caller's trace, from traceparent.")
    span_id: str | None = Field(description="The gateway's own span in it, the parent of the upstream's.")
    cache_hit: Flag
    is_streaming: Flag
    finish_reason: str | None
    chain: str | None = Field(description="The audit chain that this row stands in: the node and its boot.")
    chain_sequence: int | None = Field(description="Its place there, from 1.")
    chain_code: Annotated[str, BeforeValidator(_hex)] | None = Field(description="The code over it and all before it.")


class Fault(BaseModel):
    """The first thing that is wrong with the audit."""

    kind: Literal["altered", "missing", "moved", "unchained", "checkpoint"]
    message: str
    chain: str | None
    sequence: int | None = Field(description="The place in the chain.")
    record_id: str | None


class Verified(BaseModel):
    """Whether the audit is as it was written."""

    valid: bool
    rows: int = Field(description="How many rows were proved, up to the first fault.")
    pruned: int = Field(description="How many were removed because of their age.")
    chains: int
    fault: Fault | None


class Side(BaseModel):
    """One body."""

    content_type: str | None
    size_bytes: int
    truncated: bool = Field(description="Whether only its beginning was kept.")
    encoding: Literal["utf-8", "base64"]
    body: str | None


class Bodies(BaseModel):
    """What a call carried."""

    id: str
    level: str
    expires_at: Moment
    request: Side
    response: Side


class ExportFilters(Filters):
    """Which records to export, and as what."""

    format: Literal["jsonl", "csv"] = "jsonl"


@router.get("")
async def list_records(listing: Annotated[AuditListing, Query()], given: Given) -> Page[AuditRecord]:
    """List calls, newest first. A call is there as soon as its client has the answer."""
    await given.caught_up()
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


@router.get(
    "/export", response_class=StreamingResponse,
    responses={200: {"content": {"application/x-ndjson": {}, "text/csv": {}}}},
)
async def export_records(filters: Annotated[ExportFilters, Query()], given: Given) -> StreamingResponse:
    """Export calls, oldest first, as JSON lines or CSV.

    In CSV, text that a spreadsheet would take for a formula has a `'` before it.
    """
    wanted = filters.wanted()
    await given.caught_up()

    async def lines() -> AsyncIterator[str]:
        yield head(filters.format)
        after = None
        while rows := await given.store.read(table.records_in_order, after, EXPORT_BATCH, wanted):
            yield FORMATS[filters.format](rows)
            after = (rows[-1]["created_at"], rows[-1]["id"])

    return StreamingResponse(
        lines(), media_type="application/x-ndjson" if filters.format == "jsonl" else "text/csv; charset=utf-8",
        headers={"Content-Disposition": f'attachment; filename="audit.{filters.format}"'},
    )


@router.get("/verify", responses=refusals(429))
async def verify_audit(given: Given) -> Verified:
    """Prove that no row was altered, removed or moved since it was written, and name the first that was.

    Reads every row: a million take about half a minute. One verification runs at a time.
    """
    found = await given.auditor.verify(given.store)
    fault = None if found.fault is None else Fault.model_validate(found.fault._asdict())
    return Verified(valid=fault is None, rows=found.rows, pruned=found.pruned, chains=found.chains, fault=fault)


@router.get("/{id}/body", responses=refusals(404))
async def get_record_body(id: str, given: Given) -> Bodies:
    """Get what a call carried, if its token keeps bodies (`log_level`) and they have not expired."""
    row = await given.store.read(find_body, id, given.now())
    if row is None:
        message = f"No body is kept of {id!r}: its token keeps metadata alone, or what was kept has expired."
        raise Failure("not_found", message, param="id")
    kept = json.loads(given.vault.open(row["sealed"], body_place(row["project_id"], id)))
    return Bodies(id=id, expires_at=row["expires_at"], **kept)


@router.get("/{id}", responses=refusals(404))
async def get_record(id: str, given: Given) -> AuditRecord:
    """Get one call."""
    await given.caught_up()
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


# --- export: the same rows as files ----------------------------------------------------------------


def head(format: str) -> str:
    """Return what stands before the rows of an export."""
    return ",".join(AuditRecord.model_fields) + "\r\n" if format == "csv" else ""


def _jsonl(rows: Iterable[Row]) -> str:
    return "".join(AuditRecord.model_validate(row).model_dump_json() + "\n" for row in rows)


def _csv(rows: Iterable[Row]) -> str:
    text = io.StringIO()
    writer = csv.writer(text)
    for row in rows:
        record = AuditRecord.model_validate(row).model_dump(mode="json")
        writer.writerow([_cell(value) for value in record.values()])
    return text.getvalue()


def _cell(value: object) -> object:
    if isinstance(value, dict | list):
        return json.dumps(value, ensure_ascii=False) if value else ""
    # Spreadsheets take such text for a formula and may send what stands beside it elsewhere.
    return f"'{value}" if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r")) else value


FORMATS: Mapping[str, Callable[[Iterable[Row]], str]] = {"jsonl": _jsonl, "csv": _csv}

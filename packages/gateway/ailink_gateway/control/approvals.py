"""Approvals: requests that wait for somebody to decide. Looking never decides, and whoever asked never does.

A token sees its own; admins see all, and decide with the scope ``approvals:decide``.
"""

from base64 import b64encode
from typing import Annotated, Literal

from fastapi import Query
from pydantic import AfterValidator, BaseModel, Field, StringConstraints

from ailink_gateway.approval import Approval as Stored
from ailink_gateway.approval import KeptReply
from ailink_gateway.control.authentication import Caller, Principal
from ailink_gateway.control.context import Context, Given
from ailink_gateway.control.errors import refusals
from ailink_gateway.control.fields import Input, Listing, Moment, Page, Reference, either_form
from ailink_gateway.control.resource import resource, scope
from ailink_gateway.store.approvals import list_deliveries, unknown_approval

LONGEST_WAIT = 60
TEXT_BYTES = 1024 * 1024

router = resource("approvals")

Status = Literal["pending", "approved", "rejected", "expired"]
Reason = Annotated[str, StringConstraints(strip_whitespace=True, max_length=500)]


class RequestSummary(BaseModel):
    """What was asked, in short."""

    method: str
    path: str
    agent_name: str | None
    upstream: str | None = Field(description="Where it goes first.")
    body_preview: str = Field(description="The first 500 characters of the body.")


class Response(BaseModel):
    """The answer to the request, once it was sent."""

    status_code: int
    headers: dict[str, str]
    body: str
    encoding: Literal["base64"] | None = Field(
        None, description="base64 where the body is no UTF-8 text, or larger than 1 MiB."
    )
    truncated: bool = Field(False, description="Whether the body is cut after the 16 MiB that are kept, or broke off.")


class ApprovalRequest(BaseModel):
    """A request that waits, or waited, for somebody to decide."""

    id: str = Field(examples=["apr_0ZbY21qKx8Pq3VnR7sLw0d"])
    project_id: str
    token_id: str | None
    status: Status
    execution: Literal["none", "running", "done", "failed", "unknown"] = Field(
        description="Whether it was sent. failed: the gateway refused it or got no answer; unknown: the gateway died "
        "meanwhile, and it is not sent again."
    )
    reason: str | None
    policy_names: list[str] = Field(description="The policies that want the approval.")
    request_summary: RequestSummary
    created_at: Moment
    expires_at: Moment
    decided_at: Moment | None
    decided_by: str | None = Field(description="The admin key that decided: its id, or `operator`.")
    response: Response | None = Field(description="Not in lists.")


class ApprovalDecision(BaseModel):
    """How an approval stands now."""

    id: str
    status: Status
    updated: bool = Field(description="Whether this call decided it; false if it was decided so before.")


class DecisionReason(Input):
    """Why."""

    reason: Reason | None = Field(None, description="Told to the caller.")


class DecisionInput(DecisionReason):
    """A decision."""

    decision: Literal["approved", "rejected"]


class Delivery(BaseModel):
    """One attempt to tell somebody."""

    id: str
    approval_id: str
    channel: str = Field(examples=["webhook", "slack"])
    target: str = Field(description="Where to, without its path.", examples=["https://hooks.example.com/…"])
    attempt: int
    status: Literal["delivered", "failed"]
    detail: str | None
    created_at: Moment


class ApprovalListing(Listing):
    """Which approvals are asked for."""

    status: Status = Field("pending", description="Only pending ones unless it says otherwise.")
    token_id: Annotated[str, AfterValidator(either_form)] | None = Field(None, max_length=256)
    project_id: Reference | None = None


@router.get("")
async def list_approvals(
    listing: Annotated[ApprovalListing, Query()], given: Given, caller: Caller
) -> Page[ApprovalRequest]:
    """List approvals, newest first: those that wait, unless `status` says otherwise. A token sees its own."""
    filters = {
        "status": listing.status, "token_id": caller.token_id or listing.token_id, "project_id": listing.project_id,
    }
    found, has_more = await given.approvals.page(listing.limit, listing.starting_after, filters)
    return Page(data=[_shown(approval) for approval in found], has_more=has_more)


@router.get("/{id}", responses=refusals(404))
async def get_approval(
    id: str, given: Given, caller: Caller,
    wait: Annotated[float, Query(ge=0, le=LONGEST_WAIT, description="Seconds to wait until it is over.")] = 0,
) -> ApprovalRequest:
    """Get one approval, with the answer to its request once there is one. A token sees its own."""
    approval = _visible(await given.approvals.wait(id, 0), caller)
    if wait and not approval.over:
        approval = await given.approvals.wait(id, wait)
    return _shown(approval)


@router.post("/{id}/approve", responses=refusals(404, 409), openapi_extra=scope("approvals:decide"))
async def approve_request(
    id: str, given: Given, caller: Caller, body: DecisionReason | None = None
) -> ApprovalDecision:
    """Approve a request: it is sent now, once. The same decision again changes nothing; the opposite is 409."""
    return await _decide(id, given, caller, "approved", body)


@router.post("/{id}/reject", responses=refusals(404, 409), openapi_extra=scope("approvals:decide"))
async def reject_request(
    id: str, given: Given, caller: Caller, body: DecisionReason | None = None
) -> ApprovalDecision:
    """Reject a request: it is never sent. The same decision again changes nothing; the opposite is 409."""
    return await _decide(id, given, caller, "rejected", body)


@router.post("/{id}/decision", responses=refusals(404, 409), openapi_extra=scope("approvals:decide"))
async def decide_request(id: str, body: DecisionInput, given: Given, caller: Caller) -> ApprovalDecision:
    """Approve or reject a request. The same decision again changes nothing; the opposite is 409."""
    return await _decide(id, given, caller, body.decision, body)


@router.get("/{id}/deliveries", responses=refusals(404))
async def list_approval_deliveries(id: str, listing: Annotated[Listing, Query()], given: Given) -> Page[Delivery]:
    """List the attempts to tell somebody of an approval, newest first."""
    rows, has_more = await given.store.read(list_deliveries, id, listing.limit, listing.starting_after)
    return Page(data=[Delivery.model_validate(row) for row in rows], has_more=has_more)


async def _decide(
    approval_id: str, given: Context, caller: Principal, decision: Literal["approved", "rejected"],
    body: DecisionReason | None,
) -> ApprovalDecision:
    reason = body.reason or None if body is not None else None
    status, updated = await given.approvals.decide(approval_id, decision, caller.key_id or "", reason)
    return ApprovalDecision(id=approval_id, status=status, updated=updated)


def _visible(approval: Stored, caller: Principal) -> Stored:
    if caller.token_id is not None and approval.token_id != caller.token_id:
        raise unknown_approval(approval.id)
    return approval


def _shown(approval: Stored) -> ApprovalRequest:
    about = approval.about
    return ApprovalRequest(
        **{name: getattr(approval, name) for name in (
            "id", "project_id", "token_id", "status", "execution", "reason", "policy_names", "created_at",
            "expires_at", "decided_at", "decided_by",
        )},
        request_summary=RequestSummary(
            method=about.method, path=about.path, agent_name=about.agent_name, upstream=about.upstream,
            body_preview=about.preview,
        ),
        response=_response(approval.reply) if approval.reply is not None else None,
    )


def _response(reply: KeptReply) -> Response:
    headers: dict[str, str] = {}
    for raw, value in reply.headers:
        name, text = raw.decode("latin-1"), value.decode("latin-1")
        headers[name] = f"{headers[name]}, {text}" if name in headers else text
    encoding: Literal["base64"] | None = None
    try:
        body = reply.body.decode() if len(reply.body) <= TEXT_BYTES else None
    except UnicodeDecodeError:
        body = None
    if body is None:
        body, encoding = b64encode(reply.body).decode(), "base64"
    return Response(
        status_code=reply.status, headers=headers, body=body, encoding=encoding, truncated=reply.truncated
    )

"""Policies: rules over calls, attached to tokens and projects by ``policy_ids``. Each change is kept as a version."""

from typing import Annotated, Any, Literal

from fastapi import Query
from pydantic import BaseModel, Field, JsonValue

from ailink_gateway.control.context import Given
from ailink_gateway.control.errors import refusals
from ailink_gateway.control.fields import (
    Deleted,
    Input,
    Listing,
    Moment,
    Name,
    Page,
    ProjectId,
    Reference,
    changes,
    optional,
)
from ailink_gateway.control.resource import resource
from ailink_gateway.control.trials import Trial, TrialInput, of_records, of_requests
from ailink_gateway.control.upstreams import checked_policy
from ailink_gateway.policy.compiler import compile_policy
from ailink_gateway.store import policies as table
from ailink_gateway.store.projects import DEFAULT
from ailink_gateway.store.records import list_records
from ailink_gateway.store.rows import Row
from ailink_gateway.tokens import random_base62
from ailink_provider.errors import Failure

ID_LENGTH = 24

router = resource("policies")

Mode = Literal["enforce", "shadow"]
Phase = Literal["pre", "post"]

_MODE = "shadow: records what it would have done, and does nothing."
_PHASE = "pre: before the call is made; post: on its reply."
_RULES = "Each {when, then}, or an action by itself. See the page on policies."
_RULES_EXAMPLE = [
    {"type": "rate_limit", "window": "1m", "max_requests": 100},
    {
        "when": {"all": [
            {"field": "request.method", "op": "eq", "value": "POST"},
            {"field": "request.body.amount", "op": "gt", "value": 10000},
        ]},
        "then": {"type": "deny", "message": "Too much for an agent."},
    },
]  # fmt: skip


class Retry(Input):
    """When a failed attempt is made again."""

    max_retries: int = Field(2, ge=0, le=10)
    base_delay_ms: int = Field(500, ge=1, le=60_000, description="The first pause; each next one is twice as long.")
    max_backoff_ms: int = Field(10_000, ge=1, le=300_000, description="The longest pause.")
    jitter_ms: int = Field(100, ge=0, le=60_000, description="Up to so much is added to a pause by chance.")
    status_codes: list[int] = Field([429, 500, 502, 503, 504, 529], min_length=1, max_length=50)


class PolicyInput(Input):
    """A new policy."""

    name: Name = Field(examples=["rate-limit-100"])
    project_id: ProjectId = DEFAULT
    mode: Mode = Field("enforce", description=_MODE)
    phase: Phase = Field("pre", description=_PHASE)
    rules: list[JsonValue] = Field([], max_length=100, description=_RULES, examples=[_RULES_EXAMPLE])
    retry: Retry | None = None


class PolicyChange(Input):
    """What is to change; rules are replaced as a whole. null takes the retry away."""

    name: Name = optional()
    mode: Mode = optional(description=_MODE)
    phase: Phase = optional(description=_PHASE)
    rules: list[JsonValue] = optional(max_length=100, description=_RULES)
    retry: Retry | None = None


class Policy(BaseModel):
    """A policy as it stands."""

    id: str = Field(examples=["pol_2Rk9TzQf4LmX0vBnYw6hJcUa"])
    name: str
    project_id: str
    mode: Mode
    phase: Phase
    rules: list[JsonValue]
    retry: Retry | None
    version: int = Field(description="How often it was saved.")
    created_at: Moment
    updated_at: Moment


class PolicyDocument(BaseModel):
    """What a policy said."""

    name: str
    mode: Mode
    phase: Phase
    rules: list[JsonValue]
    retry: Retry | None


class PolicyVersion(BaseModel):
    """One version of a policy."""

    policy_id: str
    version: int
    created_at: Moment
    document: PolicyDocument


class PolicyListing(Listing):
    """Which policies are asked for."""

    project_id: Reference | None = None


class VersionListing(Input):
    """Which versions are asked for."""

    limit: int = Field(20, ge=1, le=100)
    starting_after: int | None = Field(None, ge=1, le=2**31, description="The last version of the page before.")


class TestInput(TrialInput):
    """Which policy is tried on which calls: a saved one, or a draft."""

    policy_id: Reference | None = None
    policy: dict[str, JsonValue] | None = Field(None, description="A draft {name, mode, phase, rules, retry}.")


class TestResult(BaseModel):
    """What became of each call, in the order given; of records the oldest first."""

    data: list[Trial]
    affected: int = Field(description="For how many calls something would have changed.")


@router.post("", status_code=201, responses=refusals(409))
async def create_policy(body: PolicyInput, given: Given) -> Policy:
    """Create a policy. It does nothing until a token or a project names it in its policy_ids."""
    fields = body.model_dump()
    checked_policy(given.guard, _document(fields))
    return Policy.model_validate(await given.store.change(table.insert_policy, new_policy(fields, given.now())))


@router.get("")
async def list_policies(listing: Annotated[PolicyListing, Query()], given: Given) -> Page[Policy]:
    """List policies, newest first."""
    rows, has_more = await given.store.read(
        table.list_policies, listing.limit, listing.starting_after, listing.project_id,
    )
    return Page(data=[Policy.model_validate(row) for row in rows], has_more=has_more)


@router.post("/test", responses=refusals(404))
async def try_policy(body: TestInput, given: Given) -> TestResult:
    """Try a policy, saved or draft, on given calls or on the last recorded ones. Nothing is called and nothing counted.

    Records keep no bodies, headers and addresses: rules that need them are reported as undecided.
    """
    if (body.policy_id is None) == (body.policy is None):
        raise Failure("validation_error", "Give policy_id or policy, and not both.", param="policy_id")
    if body.policy_id is not None:
        policy = compile_policy(_document(await given.store.read(table.find_policy, body.policy_id)))
    else:
        policy = checked_policy(given.guard, {"name": "draft", **(body.policy or {})}, place="policy")
    trials: list[Trial] = []
    if body.requests:
        trials += of_requests(policy, body.requests, given.now())
    if body.last:
        filters = {"token_id": body.token_id}
        rows, _ = await given.store.read(list_records, body.last, None, filters)
        trials += of_records(policy, rows[::-1])
    return TestResult(data=trials, affected=sum(bool(trial.effects) for trial in trials))


@router.get("/{id}", responses=refusals(404))
async def get_policy(id: str, given: Given) -> Policy:
    """Get one policy."""
    return Policy.model_validate(await given.store.read(table.find_policy, id))


@router.patch("/{id}", responses=refusals(404, 409))
@router.put("/{id}", include_in_schema=False)
async def update_policy(id: str, body: PolicyChange, given: Given) -> Policy:
    """Change a policy. Before the answer, its next version is the one that holds. PUT does the same; of `retry`, too,
    only what is given changes.
    """
    row = await given.store.read(table.find_policy, id)
    sent = changes(body)
    if body.retry is not None and row["retry"] is not None:
        sent["retry"] = {**row["retry"], **changes(body.retry)}
    fields = {name: value for name, value in sent.items() if row[name] != value}
    if not fields:
        return Policy.model_validate(row)
    checked_policy(given.guard, _document({**row, **fields}))
    return Policy.model_validate(
        await given.store.change(table.update_policy, id, fields, row["version"], given.now())
    )


@router.delete("/{id}", responses=refusals(404, 409))
async def delete_policy(id: str, given: Given) -> Deleted:
    """Delete a policy that no token and no project names any more."""
    await given.store.change(table.delete_policy, id, given.now())
    return Deleted(id=id)


@router.get("/{id}/versions", responses=refusals(404))
async def list_policy_versions(
    id: str, listing: Annotated[VersionListing, Query()], given: Given,
) -> Page[PolicyVersion]:
    """List what a policy said before and says now, newest first."""
    rows, has_more = await given.store.read(table.list_versions, id, listing.limit, listing.starting_after)
    return Page(data=[PolicyVersion.model_validate(row) for row in rows], has_more=has_more)


def new_policy(fields: dict[str, Any], now: float) -> Row:
    """Return the row of a policy that begins with these fields."""
    return {**fields, "id": f"pol_{random_base62(ID_LENGTH)}", "version": 1, "created_at": now, "updated_at": now}


def _document(row: Row | dict[str, Any]) -> dict[str, Any]:
    return {name: row[name] for name in table.DOCUMENT}

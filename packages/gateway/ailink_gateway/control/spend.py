"""Spend: what a token or a project may spend a day, a month and in all, and what it has spent."""

from decimal import Decimal
from typing import Annotated, Literal

from fastapi import APIRouter, Path
from pydantic import BaseModel, Field

from ailink_gateway.control.context import Context, Given
from ailink_gateway.control.errors import refusals
from ailink_gateway.control.fields import Input, Usd
from ailink_gateway.control.resource import resource
from ailink_gateway.control.tokens import TokenId
from ailink_gateway.store import spend as table
from ailink_gateway.store.projects import find_project
from ailink_gateway.store.tokens import find_token

Period = Literal["daily", "monthly", "lifetime"]
ThePeriod = Annotated[Period, Path(description="Which limit.")]
_Project = Annotated[str, Path(description="The project's id.", examples=["default"])]

_tokens = resource("tokens")
_projects = resource("projects")
_NANO = 1_000_000_000


class SpendLimit(Input):
    """A limit on what may be spent. Days and months are UTC."""

    period: Period = Field(examples=["daily"])
    limit_usd: Decimal = Field(
        ge=0, le=1_000_000_000, description="Rounded to a billionth of a dollar.", examples=[5.0]
    )


class Spend(BaseModel):
    """What may be spent, null where there is no limit, and what was: without what is held for calls under way."""

    daily_limit_usd: Usd | None
    monthly_limit_usd: Usd | None
    lifetime_limit_usd: Usd | None
    current_daily_usd: Usd
    current_monthly_usd: Usd
    current_lifetime_usd: Usd


@_tokens.get("/{id}/spend", responses=refusals(404))
async def get_token_spend(id: TokenId, given: Given) -> Spend:
    """Get what a token may spend, and what it has spent."""
    await given.store.read(find_token, id)
    return await _spend(given, "token", id)


@_tokens.put("/{id}/spend", responses=refusals(404))
async def set_token_spend_limit(id: TokenId, body: SpendLimit, given: Given) -> Spend:
    """Limit what a token may spend in a period. It applies before the answer; the other limits stay."""
    await given.store.read(find_token, id)
    return await _limit(given, "token", id, body)


@_tokens.delete("/{id}/spend/{period}", responses=refusals(404))
async def remove_token_spend_limit(id: TokenId, period: ThePeriod, given: Given) -> Spend:
    """Take a token's limit away."""
    await given.store.change(table.remove_limit, "token", id, period)
    return await _spend(given, "token", id)


@_projects.get("/{id}/spend", responses=refusals(404))
async def get_project_spend(id: _Project, given: Given) -> Spend:
    """Get what a project's tokens may spend together, and what they have spent."""
    await given.store.read(find_project, id)
    return await _spend(given, "project", id)


@_projects.put("/{id}/spend", responses=refusals(404))
async def set_project_spend_limit(id: _Project, body: SpendLimit, given: Given) -> Spend:
    """Limit what a project's tokens may spend together in a period. It applies before the answer."""
    await given.store.read(find_project, id)
    return await _limit(given, "project", id, body)


@_projects.delete("/{id}/spend/{period}", responses=refusals(404))
async def remove_project_spend_limit(id: _Project, period: ThePeriod, given: Given) -> Spend:
    """Take a project's limit away."""
    await given.store.change(table.remove_limit, "project", id, period)
    return await _spend(given, "project", id)


router = APIRouter(routes=[*_tokens.routes, *_projects.routes])


async def _limit(given: Context, scope: str, scope_id: str, body: SpendLimit) -> Spend:
    nano = round(body.limit_usd * _NANO)
    await given.store.change(table.set_limit, scope, scope_id, body.period, nano, given.now())
    return await _spend(given, scope, scope_id)


async def _spend(given: Context, scope: str, scope_id: str) -> Spend:
    now = given.now()
    stored = await given.store.read(table.load_spend, scope, scope_id, now)
    spent = given.ledger.spent(scope, scope_id) if given.ledger is not None else None
    if spent is not None:
        amounts = (spent.today_nano, spent.month_nano, spent.lifetime_nano)
    else:
        day, month, lifetime = (stored.totals.get(period, (0, 0))[0] for period in table.periods(now))
        amounts = (day, month, lifetime)
    return Spend.model_validate(
        {f"{kind}_limit_usd": stored.limits.get(kind) for kind in table.KINDS}
        | {f"current_{kind}_usd": nano for kind, nano in zip(table.KINDS, amounts, strict=True)}
    )

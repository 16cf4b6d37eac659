"""Prices: what models cost where the published prices do not say, or not what is paid. They apply at once."""

from decimal import Decimal
from typing import Annotated, Any

from fastapi import Query
from pydantic import BaseModel, Field

from ailink_gateway.control.context import Given
from ailink_gateway.control.errors import refusals
from ailink_gateway.control.fields import Deleted, Input, Listing, Model, Moment, Name, Page, changes, optional
from ailink_gateway.control.resource import resource
from ailink_gateway.store import prices as table
from ailink_gateway.store.rows import Row
from ailink_gateway.tokens import random_base62

ID_LENGTH = 12

router = resource("prices")

# USD per million tokens; the sixth decimal is a pico-dollar a token.
Rate = Annotated[Decimal, Field(ge=0, le=1_000_000, decimal_places=6)]
_KINDS = ("input", "output", "cache_read", "cache_write", "cache_write_1h", "input_audio", "output_audio")


class PriceInput(Input):
    """A new price, in USD per million tokens. What is left out costs what plain input or output does."""

    provider: Name = Field(description="A provider's name, or * for any.", examples=["my_provider"])
    model: Model = Field(description="A model's name, or a glob.", examples=["my-model-*"])
    input: Rate = Field(examples=[2.5])
    output: Rate = Field(examples=[10.0])
    cache_read: Rate | None = None
    cache_write: Rate | None = None
    cache_write_1h: Rate | None = None
    input_audio: Rate | None = None
    output_audio: Rate | None = None


class PriceChange(Input):
    """What is to change. null takes a rate away where there may be none."""

    provider: Name = optional()
    model: Model = optional()
    input: Rate = optional()
    output: Rate = optional()
    cache_read: Rate | None = None
    cache_write: Rate | None = None
    cache_write_1h: Rate | None = None
    input_audio: Rate | None = None
    output_audio: Rate | None = None


class Price(BaseModel):
    """A price, in USD per million tokens."""

    id: str = Field(examples=["price_4fT0aZbY21qK"])
    name: str = Field(description="The provider and the model that it is for.", examples=["my_provider/my-model-*"])
    provider: str
    model: str
    input: float
    output: float
    cache_read: float | None
    cache_write: float | None
    cache_write_1h: float | None
    input_audio: float | None
    output_audio: float | None
    created_at: Moment


@router.post("", status_code=201, responses=refusals(409))
async def create_price(body: PriceInput, given: Given) -> Price:
    """Set a price. Of several that fit a model, the one applies that names it most precisely."""
    row = {
        "id": f"price_{random_base62(ID_LENGTH)}", "provider": body.provider, "model": body.model,
        "rates": {kind: str(rate) for kind in _KINDS if (rate := getattr(body, kind)) is not None},
        "created_at": given.now(),
    }
    return _shown(await given.store.change(table.insert_price, row))


@router.get("")
async def list_prices(listing: Annotated[Listing, Query()], given: Given) -> Page[Price]:
    """List prices of your own, newest first."""
    rows, has_more = await given.store.read(table.list_prices, listing.limit, listing.starting_after)
    return Page(data=[_shown(row) for row in rows], has_more=has_more)


@router.get("/{id}", responses=refusals(404))
async def get_price(id: str, given: Given) -> Price:
    """Get one price."""
    return _shown(await given.store.read(table.find_price, id))


@router.patch("/{id}", responses=refusals(404, 409))
@router.put("/{id}", include_in_schema=False)
async def update_price(id: str, body: PriceChange, given: Given) -> Price:
    """Change a price. PUT does the same."""
    fields: dict[str, Any] = changes(body)
    rates = {kind: None if fields[kind] is None else str(fields[kind]) for kind in _KINDS if kind in fields}
    fields = {name: value for name, value in fields.items() if name not in _KINDS}
    if rates:
        fields["rates"] = rates
    return _shown(await given.store.change(table.update_price, id, fields))


@router.delete("/{id}", responses=refusals(404))
async def delete_price(id: str, given: Given) -> Deleted:
    """Delete a price: from now on the config's or the published one applies."""
    await given.store.change(table.delete_price, id, given.now())
    return Deleted(id=id)


def _shown(row: Row) -> Price:
    rates = {kind: row["rates"].get(kind) for kind in _KINDS}
    return Price.model_validate({**row, **rates, "name": f"{row['provider']}/{row['model']}"})

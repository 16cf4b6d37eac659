"""The queries on the operator's own prices. ``rates`` are USD per million tokens by kind, as decimal text."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, insert, select, update

from ailink_gateway.store import rows
from ailink_gateway.store.rows import Row
from ailink_gateway.store.tables import prices
from ailink_provider.errors import Failure

_PRESENT = prices.c.deleted_at.is_(None)


def insert_price(connection: Connection, row: Mapping[str, Any]) -> Row:
    """Add a price and return it. Raises ``Failure`` (``conflict``) if there is one for the same provider and model."""
    _claim(connection, row["provider"], row["model"], None)
    connection.execute(insert(prices).values(**row))
    return find_price(connection, row["id"])


def find_price(connection: Connection, price_id: str) -> Row:
    """Return a price that is not deleted. Raises ``Failure`` (``not_found``)."""
    row = rows.find(connection, prices, price_id)
    if row is None or row["deleted_at"] is not None:
        raise Failure("not_found", f"There is no price {price_id!r}.", param="id")
    return row


def list_prices(connection: Connection, limit: int, after: str | None) -> tuple[list[Row], bool]:
    """Return one page, as ``rows.page`` does."""
    return rows.page(connection, prices, [_PRESENT], limit, after)


def all_prices(connection: Connection) -> list[Row]:
    """Return all prices, in no order."""
    return [dict(row) for row in connection.execute(select(prices).where(_PRESENT)).mappings()]


def update_price(connection: Connection, price_id: str, fields: Mapping[str, Any]) -> Row:
    """Change a price and return it; of ``rates`` only what is given, None takes a rate away.

    Raises ``Failure`` if there is none, or one for the same provider and model already.
    """
    row = find_price(connection, price_id)
    fields = dict(fields)
    if "rates" in fields:
        rates = {**row["rates"], **fields["rates"]}
        fields["rates"] = {kind: rate for kind, rate in rates.items() if rate is not None}
    merged = {**row, **fields}
    _claim(connection, merged["provider"], merged["model"], price_id)
    if fields:
        connection.execute(update(prices).where(prices.c.id == price_id).values(**fields))
    return find_price(connection, price_id)


def delete_price(connection: Connection, price_id: str, now: float) -> None:
    """Delete a price. Raises ``Failure`` if there is none."""
    find_price(connection, price_id)
    connection.execute(update(prices).where(prices.c.id == price_id).values(deleted_at=now))


def _claim(connection: Connection, provider: str, model: str, own: str | None) -> None:
    query = select(prices.c.id).where(_PRESENT, prices.c.provider == provider, prices.c.model == model)
    taken = connection.scalar(query)
    if taken is not None and taken != own:
        raise Failure("conflict", f"{taken} is the price of {model} at {provider} already: change that.", param="model")

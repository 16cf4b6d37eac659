from collections.abc import Awaitable, Callable
from decimal import Decimal
from typing import Any

import httpx2
import pytest

from ailink_gateway.store.prices import all_prices
from ailink_gateway.store.store import Store

Create = Callable[..., Awaitable[dict[str, Any]]]
PRICES = "/api/v1/prices"
PRICE = {"provider": "openai", "model": "gpt-4o*", "input": 2.5, "output": 10}


async def test_a_price_is_made_read_changed_and_deleted(admin: httpx2.AsyncClient, create: Create) -> None:
    price = await create("prices", **PRICE, cache_read=1.25)
    assert price["name"] == "openai/gpt-4o*" and price["id"].startswith("price_")
    assert (price["input"], price["output"], price["cache_read"], price["cache_write"]) == (2.5, 10.0, 1.25, None)
    path = f"{PRICES}/{price['id']}"
    assert (await admin.get(path)).json() == price
    changed = (await admin.patch(path, json={"output": "9.999999", "cache_read": None, "cache_write": 3})).json()
    assert changed == {**price, "output": 9.999999, "cache_read": None, "cache_write": 3.0}
    renamed = (await admin.put(path, json={"model": "gpt-4o-mini", "provider": "*"})).json()
    assert renamed == {**changed, "model": "gpt-4o-mini", "provider": "*", "name": "*/gpt-4o-mini"}
    assert (await admin.delete(path)).json() == {"id": price["id"], "deleted": True}
    for method, body in (("GET", None), ("PATCH", {"input": 1}), ("DELETE", None)):
        assert (await admin.request(method, path, json=body)).status_code == 404
    assert (await admin.get(PRICES)).json() == {"data": [], "has_more": False}


async def test_prices_are_listed_newest_first(admin: httpx2.AsyncClient, create: Create) -> None:
    made = [(await create("prices", **PRICE | {"model": f"m{number}"}))["id"] for number in range(3)]
    page = (await admin.get(PRICES, params={"limit": 2})).json()
    assert ([price["id"] for price in page["data"]], page["has_more"]) == ([made[2], made[1]], True)
    rest = (await admin.get(PRICES, params={"starting_after": made[1]})).json()
    assert [price["id"] for price in rest["data"]] == [made[0]]


async def test_there_is_one_price_for_a_model_at_a_provider(admin: httpx2.AsyncClient, create: Create) -> None:
    first, second = await create("prices", **PRICE), await create("prices", **PRICE | {"provider": "*"})
    assert (await admin.post(PRICES, json=PRICE)).status_code == 409
    response = await admin.patch(f"{PRICES}/{second['id']}", json={"provider": "openai"})
    assert (response.status_code, response.json()["error"]["code"]) == (409, "conflict")
    assert (await admin.patch(f"{PRICES}/{first['id']}", json={"provider": "openai"})).status_code == 200
    await admin.delete(f"{PRICES}/{first['id']}")
    assert (await admin.post(PRICES, json=PRICE)).status_code == 201


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"input": None}, "input"),
        ({"output": -1}, "output"),
        ({"output": "0.0000001"}, "output"),
        ({"input": "NaN"}, "input"),
        ({"input": 10_000_000}, "input"),
        ({"model": ""}, "model"),
        ({"provider": " x"}, "provider"),
        ({"reasoning": 1}, "reasoning"),
    ],
)
async def test_what_is_no_price_is_refused(admin: httpx2.AsyncClient, change: dict[str, Any], field: str) -> None:
    response = await admin.post(PRICES, json={**PRICE, **change})
    assert response.status_code == 422
    assert [detail["field"] for detail in response.json()["error"]["details"]] == [field]


async def test_rates_are_kept_as_they_were_written(create: Create, store: Store) -> None:
    await create("prices", **PRICE | {"input": "0.1", "output": 0.3})
    (row,) = await store.read(all_prices)
    assert {kind: Decimal(rate) for kind, rate in row["rates"].items()} == {
        "input": Decimal("0.1"), "output": Decimal("0.3"),
    }  # fmt: skip

from collections.abc import Awaitable, Callable
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI

from ailink_gateway.control import create_control
from ailink_gateway.ports import Spent
from ailink_gateway.store.store import Store
from ailink_gateway.vault import Vault
from tests.gateway.rows import insert_records

Create = Callable[..., Awaitable[dict[str, Any]]]
NOTHING = {
    "daily_limit_usd": None, "monthly_limit_usd": None, "lifetime_limit_usd": None,
    "current_daily_usd": 0, "current_monthly_usd": 0, "current_lifetime_usd": 0,
}  # fmt: skip


@pytest.fixture(params=["tokens", "projects"])
async def path(request: pytest.FixtureRequest, create: Create) -> str:
    made = await create(request.param, name="spender")
    return f"/api/v1/{request.param}/{made['id']}/spend"


async def test_limits_are_set_one_by_one_and_taken_away(admin: httpx2.AsyncClient, path: str) -> None:
    assert (await admin.get(path)).json() == NOTHING
    response = await admin.put(path, json={"period": "daily", "limit_usd": 5})
    assert (response.status_code, response.json()) == (200, NOTHING | {"daily_limit_usd": 5.0})
    await admin.put(path, json={"period": "monthly", "limit_usd": 0.000000001})
    await admin.put(path, json={"period": "daily", "limit_usd": "7.5"})
    expected = NOTHING | {"daily_limit_usd": 7.5, "monthly_limit_usd": 1e-9}
    assert (await admin.get(path)).json() == expected
    response = await admin.delete(f"{path}/daily")
    assert (response.status_code, response.json()) == (200, expected | {"daily_limit_usd": None})
    response = await admin.delete(f"{path}/daily")
    assert (response.status_code, response.json()["error"]["param"]) == (404, "period")


async def test_a_limit_that_was_computed_is_rounded(admin: httpx2.AsyncClient, path: str) -> None:
    response = await admin.put(path, json={"period": "daily", "limit_usd": 300 * 0.0000975})
    assert (response.status_code, response.json()["daily_limit_usd"]) == (200, 0.02925)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"period": "hourly", "limit_usd": 5}, "period"),
        ({"period": "daily"}, "limit_usd"),
        ({"period": "daily", "limit_usd": -1}, "limit_usd"),
        ({"period": "daily", "limit_usd": 1e10}, "limit_usd"),
        ({"period": "daily", "limit_usd": "NaN"}, "limit_usd"),
        ({"period": "daily", "limit_usd": 5, "limit": 5}, "limit"),
    ],
)
async def test_a_limit_that_is_none_is_refused(
    admin: httpx2.AsyncClient, path: str, body: dict[str, Any], field: str
) -> None:
    response = await admin.put(path, json=body)
    assert response.status_code == 422
    assert [detail["field"] for detail in response.json()["error"]["details"]] == [field]
    assert (await admin.get(path)).json() == NOTHING


@pytest.mark.parametrize("resource", ["tokens", "projects"])
async def test_what_does_not_exist_has_no_spend(admin: httpx2.AsyncClient, resource: str) -> None:
    path = f"/api/v1/{resource}/nobody/spend"
    for response in (
        await admin.get(path),
        await admin.put(path, json={"period": "daily", "limit_usd": 5}),
        await admin.delete(f"{path}/daily"),
    ):
        assert response.status_code == 404
    assert (await admin.delete(f"{path}/weekly")).status_code == 422


async def test_what_was_spent_is_what_the_store_knows(
    admin: httpx2.AsyncClient, create: Create, store: Store, clock: Any
) -> None:
    token = await create("tokens", name="spender")
    rows = [
        {"id": f"req_{number}", "created_at": clock.now - days * 86_400, "method": "POST", "path": "/x",
         "outcome": "answered", "token_id": token["id"], "project_id": "default", "cost_nano": nano}
        for number, (days, nano) in enumerate([(0, 1_000_000_000), (1, 20_000_000_000), (300, 300_000_000_000)])
    ]  # fmt: skip
    await store.write(insert_records, rows)
    spent = (await admin.get(f"/api/v1/tokens/{token['id']}/spend")).json()
    assert spent == NOTHING | {"current_daily_usd": 1, "current_monthly_usd": 21, "current_lifetime_usd": 321}
    by_whole_token = (await admin.get(f"/api/v1/tokens/{token['token_id']}/spend")).json()
    assert by_whole_token == spent == (await admin.get("/api/v1/projects/default/spend")).json()


async def test_the_ledger_knows_sooner(
    create: Create, store: Store, vault: Vault, admin_key: str, approvals: Any
) -> None:
    class Ledger:
        def spent(self, scope: str, scope_id: str) -> Spent | None:
            return Spent(1_000_000_000, 2_000_000_000, 3_000_000_000, 1, 1) if scope == "project" else None

    control: FastAPI = create_control(
        store, vault, admin_key, approvals_desk=approvals, ledger=Ledger(),  # type: ignore[arg-type]
    )
    token = await create("tokens", name="spender")
    headers = {"X-Admin-Key": admin_key}
    async with httpx2.AsyncClient(
        transport=httpx2.ASGITransport(control), base_url="http://gateway", headers=headers
    ) as admin:
        known = (await admin.get("/api/v1/projects/default/spend")).json()
        assert known == NOTHING | {"current_daily_usd": 1, "current_monthly_usd": 2, "current_lifetime_usd": 3}
        assert (await admin.get(f"/api/v1/tokens/{token['id']}/spend")).json() == NOTHING


async def test_a_token_may_not_set_its_own_limit(caller: Callable[..., httpx2.AsyncClient], create: Create) -> None:
    token = await create("tokens", name="spender")
    holder = caller(authorization=f"Bearer {token['token_id']}")
    response = await holder.put(f"/api/v1/tokens/{token['id']}/spend", json={"period": "daily", "limit_usd": 5})
    assert response.status_code == 403


async def test_a_limit_changes_what_tokens_may_do(admin: httpx2.AsyncClient, store: Store, path: str) -> None:
    heard: list[int] = []
    store.on_change(heard.append)
    await admin.put(path, json={"period": "daily", "limit_usd": 5})
    await admin.delete(f"{path}/daily")
    assert len(heard) == 2

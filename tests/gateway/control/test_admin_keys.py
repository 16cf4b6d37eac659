"""Admin keys: shown once, scoped, and never a way to more than their maker had."""

from collections.abc import Awaitable, Callable
from typing import Any

import httpx2
import pytest

from ailink_gateway.store.admin_keys import find_admin_key
from ailink_gateway.store.store import Store
from ailink_gateway.tokens import is_admin_key

Caller = Callable[..., httpx2.AsyncClient]
Create = Callable[..., Awaitable[dict[str, Any]]]


async def test_a_key_is_shown_once_and_only_its_fingerprint_is_stored(
    admin: httpx2.AsyncClient, create: Create, store: Store,
) -> None:
    made = await create("admin-keys", name="on-call", scopes=["approvals:decide"])
    assert is_admin_key(made["key"])
    assert made["id"].startswith("adm_")
    for response in (
        await admin.get("/api/v1/admin-keys"), await admin.get(f"/api/v1/admin-keys/{made['id']}"),
        await admin.patch(f"/api/v1/admin-keys/{made['id']}", json={"name": "other"}),
    ):
        assert response.status_code == 200
        assert made["key"] not in response.text
        assert "fingerprint" not in response.text
    row = await store.read(find_admin_key, made["id"])
    assert made["key"].encode() not in row["fingerprint"]
    assert row["name"] == "other"
    assert made["key"].encode() not in store.path.read_bytes()


async def test_a_key_stops_at_once_when_it_is_revoked_rotated_or_over(
    admin: httpx2.AsyncClient, caller: Caller, create: Create, clock: Any,
) -> None:
    made = await create("admin-keys", name="k", scopes=["projects:read"], expires_at="2030-01-01T00:00:00Z")

    async def works(key: str) -> bool:
        return (await caller(authorization=f"Bearer {key}").get("/api/v1/projects")).status_code == 200

    assert await works(made["key"])
    rotated = (await admin.post(f"/api/v1/admin-keys/{made['id']}/rotate")).json()
    assert rotated["key"] != made["key"]
    assert not await works(made["key"])
    assert await works(rotated["key"])
    clock.now, before = 1893456000.0, clock.now
    assert not await works(rotated["key"])
    clock.now = before
    assert await works(rotated["key"])
    for _ in range(2):
        response = await admin.delete(f"/api/v1/admin-keys/{made['id']}")
        assert response.json() == {"id": made["id"], "deleted": True}
    assert not await works(rotated["key"])
    assert (await admin.post(f"/api/v1/admin-keys/{made['id']}/rotate")).status_code == 409
    listed = (await admin.get("/api/v1/admin-keys")).json()["data"]
    assert listed[0]["revoked_at"] is not None
    # The name is free again.
    await create("admin-keys", name="k", scopes=["projects:read"])


async def test_a_key_gives_only_what_it_has(caller: Caller, create: Create) -> None:
    made = await create("admin-keys", name="limited", scopes=["admin-keys:write", "tokens:write"])
    limited = caller(x_admin_key=made["key"])
    for scopes in (["*"], ["approvals:decide"], ["tokens:read", "projects:read"]):
        response = await limited.post("/api/v1/admin-keys", json={"name": "child", "scopes": scopes})
        assert response.status_code == 403, scopes
        assert response.json()["error"]["reason"] == "scope_missing"
    child = await limited.post("/api/v1/admin-keys", json={"name": "child", "scopes": ["tokens:read"]})
    assert child.status_code == 201
    path = f"/api/v1/admin-keys/{child.json()['id']}"
    assert (await limited.patch(path, json={"scopes": ["*"]})).status_code == 403
    assert (await limited.patch(path, json={"scopes": ["tokens:write"]})).status_code == 200


@pytest.mark.parametrize("how", ["PATCH", "DELETE", "rotate"])
async def test_a_stronger_key_is_out_of_reach(caller: Caller, create: Create, how: str) -> None:
    strong = await create("admin-keys", name="strong", scopes=["*"])
    weak = await create("admin-keys", name="weak", scopes=["admin-keys:write"])
    client, path = caller(x_admin_key=weak["key"]), f"/api/v1/admin-keys/{strong['id']}"
    if how == "rotate":
        response = await client.post(f"{path}/rotate")
    else:
        response = await client.request(how, path, **({"json": {"name": "mine"}} if how == "PATCH" else {}))
    assert response.status_code == 403
    assert "key" not in response.json()


async def test_a_child_does_not_outlive_its_parent(caller: Caller, create: Create) -> None:
    parent = await create(
        "admin-keys", name="parent", scopes=["admin-keys:write"], expires_at="2030-01-01T00:00:00Z",
    )
    client = caller(x_admin_key=parent["key"])
    fields = {"name": "child", "scopes": ["admin-keys:read"]}
    later = await client.post("/api/v1/admin-keys", json={**fields, "expires_at": "2031-01-01T00:00:00Z"})
    assert later.status_code == 403
    assert later.json()["error"]["param"] == "expires_at"
    child = (await client.post("/api/v1/admin-keys", json=fields)).json()
    assert child["expires_at"] == "2030-01-01T00:00:00Z"
    forever = await client.patch(f"/api/v1/admin-keys/{child['id']}", json={"expires_at": None})
    assert forever.status_code == 403


@pytest.mark.parametrize("fields", [
    {"scopes": ["nothing:read"]}, {"scopes": ["tokens:*"]}, {"scopes": []}, {"scopes": ["*"] * 51}, {},
    {"scopes": ["*"], "expires_at": "2001-01-01T00:00:00Z"}, {"scopes": ["*"], "key": "ailink_admin_mine"},
])
async def test_what_makes_no_sense_is_refused(admin: httpx2.AsyncClient, fields: dict[str, Any]) -> None:
    response = await admin.post("/api/v1/admin-keys", json={"name": "n", **fields})
    assert response.status_code == 422, response.text


async def test_a_mistyped_key_is_refused_before_any_look_up(
    caller: Caller, create: Create, store: Store, monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = await create("admin-keys", name="k", scopes=["*"])
    wrong = made["key"][:-1] + ("0" if made["key"][-1] != "0" else "1")

    def no_read(*_args: object) -> None:
        raise AssertionError

    monkeypatch.setattr(store, "read", no_read)
    assert (await caller(x_admin_key=wrong).get("/api/v1/projects")).status_code == 401

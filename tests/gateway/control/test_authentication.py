from collections.abc import Awaitable, Callable
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute
from starlette.routing import Route

from ailink_gateway.control.authentication import PAGES, PUBLIC, TOKEN_MAY, Admins, Authenticator
from ailink_gateway.control.scopes import allows, scope_of
from ailink_gateway.store.store import Store
from ailink_gateway.vault import Vault

Caller = Callable[..., httpx2.AsyncClient]
Create = Callable[..., Awaitable[dict[str, Any]]]


def routes(control: FastAPI) -> list[tuple[str, str]]:
    """Every method and path that the router knows."""
    return [
        (method, route.path)
        for route in control.routes if isinstance(route, Route | APIRoute) for method in route.methods or ()
    ]


async def test_every_route_that_is_not_listed_as_public_needs_a_key(control: FastAPI, caller: Caller) -> None:
    client = caller()
    public = set()
    for method, path in routes(control):
        response = await client.request(method, path.replace("{id}", "some"))
        if response.status_code != 401:
            public.add((method, path))
            continue
        body = response.json()
        assert body["error"]["code"] == response.headers["x-ailink-error"] == "invalid_api_key"
        assert body["detail"].startswith("Invalid API key: ")
    reads = {("GET", path) for path in PUBLIC if "static" not in path}
    assert {(method, path) for method, path in public if method != "HEAD"} == reads | PAGES


async def test_every_public_path_is_there(caller: Caller) -> None:
    for path in PUBLIC:
        assert (await caller().get(path)).status_code == 200, path


@pytest.mark.parametrize("path", [
    "/", "/api", "/api/v1", "/api/v1/", "/api/v1/nothing", "/healthz/", "//healthz", "/healthz/..", "/HEALTHZ",
    "/docs/", "/static-offline-docs", "/static-offline-docs/", "/static-offline-docs/../core.py",
    "/static-offline-docs/__init__.py", "/docs/oauth2-redirect",
])
async def test_what_is_like_a_public_path_is_not(caller: Caller, path: str) -> None:
    assert (await caller().get(path)).status_code == 401


async def test_public_paths_are_for_reading(caller: Caller) -> None:
    assert (await caller().post("/healthz")).status_code == 401


async def test_the_admin_key_comes_in_its_header_or_as_bearer(caller: Caller, admin_key: str) -> None:
    for headers in (
        {"x_admin_key": admin_key}, {"authorization": f"Bearer {admin_key}"},
        {"authorization": f"bearer   {admin_key} "}, {"x_admin_key": f" {admin_key} "},
        {"x_admin_key": admin_key, "authorization": f"Bearer {admin_key}"},
        {"x_admin_key": admin_key, "authorization": "Basic dXNlcjpwYXNz"},
    ):
        assert (await caller(**headers).get("/api/v1/projects")).status_code == 200, headers


async def test_the_admin_key_opens_through_no_other_header(caller: Caller, admin_key: str) -> None:
    for header in ("x_api_key", "x_goog_api_key", "authorization", "cookie"):
        assert (await caller(**{header: admin_key}).get("/api/v1/projects")).status_code == 401, header
    assert (await caller().get("/api/v1/projects", params={"key": admin_key})).status_code == 401


@pytest.mark.parametrize("key", [
    "", "ailink_admin_", "ailink_admin_0123456789abcdefABCDE", "ailink_admin_0123456789abcdefABCDEFG",
    "AILINK_ADMIN_0123456789abcdefABCDEF", "é" * 35,
])
async def test_another_key_is_refused_and_not_quoted(caller: Caller, key: str) -> None:
    for name, value in ((b"x-admin-key", key), (b"authorization", f"Bearer {key}")):
        response = await caller().get("/api/v1/projects", headers=[(name, value.encode("latin-1"))])
        assert response.status_code == 401
        assert not key or key not in response.text.replace("ailink_admin_...", "")


async def test_two_different_secrets_are_refused(caller: Caller, create: Create, admin_key: str) -> None:
    token = (await create("tokens", name="t"))["token_id"]
    for headers in (
        {"x_admin_key": admin_key, "authorization": f"Bearer {token}"},
        {"x_admin_key": admin_key, "x_api_key": token},
        {"x_admin_key": admin_key, "authorization": "Bearer nonsense"},
        {"authorization": f"Bearer {token}", "x_goog_api_key": "other"},
    ):
        response = await caller(**headers).get("/api/v1/tokens")
        assert response.status_code == 401, headers
        assert "two different" in response.json()["detail"]


async def test_a_header_that_comes_twice_is_two_secrets(caller: Caller, admin_key: str) -> None:
    headers = [("X-Admin-Key", "other"), ("X-Admin-Key", admin_key)]
    assert (await caller().get("/api/v1/projects", headers=headers)).status_code == 401


async def test_a_gateway_without_an_admin_key_has_no_admin(store: Store, vault: Vault) -> None:
    for nothing in (None, ""):
        admins = Admins(store, vault, nothing, lambda: 0.0)
        authenticate = Authenticator(store, vault, admins, lambda method, path: None, lambda: 0.0)
        for secret in (b"", b"None"):
            with pytest.raises(Exception, match="Invalid API key"):
                await authenticate("GET", "/api/v1/projects", [(b"x-admin-key", secret)])


def test_the_authenticator_does_not_show_the_key(store: Store, vault: Vault, admin_key: str) -> None:
    admins = Admins(store, vault, admin_key, lambda: 0.0)
    authenticator = Authenticator(store, vault, admins, lambda method, path: None, lambda: 0.0)
    assert admin_key not in f"{authenticator!r}{vars(authenticator)}{vars(admins)}"


async def test_a_token_sees_itself_alone(caller: Caller, create: Create) -> None:
    mine, _other = await create("tokens", name="mine"), await create("tokens", name="other")
    for headers in ({"authorization": f"Bearer {mine['token_id']}"}, {"x_api_key": mine["token_id"]}):
        client = caller(**headers)
        listed = (await client.get("/api/v1/tokens")).json()
        assert [token["id"] for token in listed["data"]] == [mine["id"]]
        assert not listed["has_more"]
        assert (await client.get("/api/v1/tokens/self")).json()["id"] == mine["id"]
        assert mine["token_id"] not in str(listed)


async def test_a_token_may_do_nothing_else(control: FastAPI, caller: Caller, create: Create) -> None:
    token = await create("tokens", name="t")
    client = caller(authorization=f"Bearer {token['token_id']}")
    for method, path in routes(control):
        if (method, path) in TOKEN_MAY | PAGES or path in PUBLIC:
            continue
        response = await client.request(method, path.replace("{id}", token["id"]))
        assert response.status_code == 403, (method, path)
        assert response.json()["error"]["reason"] == "admin_only"


async def test_a_token_is_refused_as_soon_as_it_may_not_call(
    caller: Caller, create: Create, admin: httpx2.AsyncClient, clock: Any,
) -> None:
    token = await create("tokens", name="t", expires_at="2030-01-01T00:00:00Z")
    client = caller(authorization=f"Bearer {token['token_id']}")

    async def why() -> str:
        response = await client.get("/api/v1/tokens/self")
        return "" if response.status_code == 200 else response.json()["detail"]

    assert await why() == ""
    await admin.patch(f"/api/v1/tokens/{token['id']}", json={"is_active": False})
    assert "inactive" in await why()
    await admin.patch(f"/api/v1/tokens/{token['id']}", json={"is_active": True})
    assert await why() == ""
    clock.now, before = 1893456000.0, clock.now
    assert "expired" in await why()
    clock.now = before
    await admin.delete(f"/api/v1/tokens/{token['id']}")
    assert "revoked" in await why()


async def test_a_token_of_another_gateway_is_unknown(caller: Caller) -> None:
    token = "ailink_v1_proj_default_tok_0123456789ABabcdefghijklmnopqrstuvwxyzABCDEF44ViFR"
    response = await caller(authorization=f"Bearer {token}").get("/api/v1/tokens")
    assert response.status_code == 401
    assert token not in response.text


async def test_every_route_has_a_scope_and_only_the_public_ones_have_none(control: FastAPI) -> None:
    for route in control.routes:
        if isinstance(route, APIRoute) and route.path.startswith("/api/"):
            scope = scope_of(route)
            assert scope is not None, route.path
            resource, _, verb = scope.partition(":")
            assert resource == route.path.split("/")[3], route.path
            reads = (route.methods or set()) <= {"GET", "HEAD"}
            assert verb in (("read",) if reads else ("write", "decide")), route.path
        elif isinstance(route, Route):
            assert scope_of(route) is None
            public = route.path in PUBLIC or {(method, route.path) for method in route.methods or ()} <= PAGES
            assert public or route.path == "/docs/oauth2-redirect", route.path


async def test_an_admin_key_does_what_its_scopes_say_and_no_more(
    control: FastAPI, caller: Caller, create: Create,
) -> None:
    scopes = {"projects:read", "tokens:write", "approvals:decide"}
    key = await create("admin-keys", name="some", scopes=sorted(scopes))
    client = caller(x_admin_key=key["key"])
    for route in control.routes:
        wanted = scope_of(route)
        if not isinstance(route, APIRoute) or wanted is None or route.path.endswith("/stream"):
            continue
        for method in route.methods:
            response = await client.request(method, route.path.replace("{id}", "some"))
            if allows(scopes, wanted):
                assert response.status_code not in (401, 403), (method, route.path)
            else:
                assert response.status_code == 403, (method, route.path)
                assert response.json()["error"]["reason"] == "scope_missing"
                assert wanted in response.json()["detail"]
    assert (await client.get("/api/v1/nothing")).status_code == 404


@pytest.mark.parametrize(("scopes", "wanted", "allowed"), [
    ({"*"}, "anything:at-all", True), ({"tokens:write"}, "tokens:read", True), ({"tokens:read"}, "tokens:write", False),
    ({"approvals:decide"}, "approvals:read", True), ({"approvals:decide"}, "approvals:write", False),
    ({"approvals:write"}, "approvals:decide", False), ({"tokens:write"}, "projects:read", False),
    (set(), "tokens:read", False), ({"tokens:*"}, "tokens:read", False), ({"tokens:write"}, "*", False),
])
def test_scopes_include_what_is_weaker(scopes: set[str], wanted: str, allowed: bool) -> None:
    assert allows(scopes, wanted) is allowed

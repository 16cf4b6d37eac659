"""What the control plane as a whole promises: its documentation, its health, what it owns, its keys."""

import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI

from ailink_gateway.control import misdirected, owned, rewrap, unlock
from ailink_gateway.control.authentication import PUBLIC
from ailink_gateway.store.credentials import find_credential
from ailink_gateway.store.store import Store
from ailink_gateway.vault import AUDIT_CHAIN, Vault, WrongMasterKey, credential_place

Caller = Callable[..., httpx2.AsyncClient]
Create = Callable[..., Awaitable[dict[str, Any]]]


async def test_health_and_readiness(caller: Caller, failing: set[str]) -> None:
    client = caller()
    assert (await client.get("/healthz")).json() == {"status": "healthy"}
    assert (await client.get("/readyz")).json() == {"status": "ready", "checks": {"store": "ok", "spool": "ok"}}
    failing.add("spool")
    response = await client.get("/readyz")
    assert response.status_code == 503
    assert response.json() == {"status": "unavailable", "checks": {"store": "ok", "spool": "failed"}}
    assert (await client.get("/healthz")).status_code == 200


@pytest.mark.parametrize(("path", "status"), [("/healthz", 200), ("/readyz", 503)])
async def test_a_monitor_may_ask_with_head(caller: Caller, failing: set[str], path: str, status: int) -> None:
    failing.add("spool")
    assert (await caller().request("HEAD", path)).status_code == status


async def test_a_dead_database_is_not_ready(caller: Caller, store: Store) -> None:
    store.close()
    response = await caller().get("/readyz")
    assert response.status_code == 503
    assert response.json()["checks"]["store"] == "failed"


async def test_the_viewers_come_from_the_gateway_itself(caller: Caller) -> None:
    client = caller()
    for page, assets in (("/docs", ["swagger-ui-bundle.js", "swagger-ui.css"]), ("/redoc", ["redoc.standalone.js"])):
        html = (await client.get(page)).text
        assert "https://" not in html.replace("https://github.com", "")
        for asset in assets:
            path = f"/static-offline-docs/{asset}"
            assert path in html
            assert len((await client.get(path)).content) > 100_000


async def test_the_api_documents_itself(caller: Caller) -> None:
    document = (await caller().get("/openapi.json")).json()
    assert document["openapi"].startswith("3.1")
    assert set(document["components"]["securitySchemes"]) == {"AdminKey", "Bearer"}
    operations = {
        (path, method): operation
        for path, methods in document["paths"].items() for method, operation in methods.items()
    }
    names = [operation["operationId"] for operation in operations.values()]
    assert len(names) == len(set(names))
    for (path, method), operation in operations.items():
        assert operation["summary"], (path, method)
        assert operation["description"], (path, method)
        if path in PUBLIC:
            continue
        assert operation["security"] == [{"AdminKey": []}, {"Bearer": []}]
        for status in ("400", "401", "403", "422", *(["413"] if method in ("post", "put", "patch") else [])):
            schema = operation["responses"][status]["content"]["application/json"]["schema"]
            assert schema == {"$ref": "#/components/schemas/ErrorBody"}
    assert "secret" not in document["components"]["schemas"]["Credential"]["properties"]
    assert "default" not in document["components"]["schemas"]["TokenChange"]["properties"]["name"]


@pytest.mark.parametrize(("method", "path"), [
    ("GET", "/api/v1/tokens"), ("POST", "/api/v1/tokens"), ("GET", "/api/v1/tokens/tok_1"),
    ("DELETE", "/api/v1/tokens/self"), ("PATCH", "/api/v1/tokens/tok_1/circuit-breaker"),
    ("PUT", "/api/v1/projects/default"), ("GET", "/api/v1/audit/stream"), ("GET", "/healthz"), ("GET", "/docs"),
    ("GET", "/openapi.json"), ("GET", "/static-offline-docs/swagger-ui.css"),
    # A wrong method is refused here and goes to no upstream.
    ("GET", "/ailink/approvals/apr_1"), ("POST", "/ailink/approvals/apr_1/sign-in"),
    ("DELETE", "/api/v1/audit"), ("BREW", "/api/v1/tokens/tok_1/rotate"),
])
def test_the_control_plane_owns_its_routes(control: FastAPI, method: str, path: str) -> None:
    assert owned(control)(method, path)


@pytest.mark.parametrize(("method", "path"), [
    ("POST", "/api/chat.postMessage"), ("GET", "/api"), ("GET", "/api/v1"), ("GET", "/api/v1/"),
    ("GET", "/api/v1/tokens/"), ("GET", "/api/v1/customers"), ("GET", "/api/v1/tokens/a/b"), ("GET", "/api/v2/tokens"),
    ("GET", "/API/v1/tokens"), ("POST", "/v1/chat/completions"), ("GET", "/"), ("GET", ""), ("POST", "/docs"),
    ("POST", "/healthz"), ("GET", "/healthz/x"), ("GET", "/static-offline-docs/other.js"), ("GET", "//api/v1/tokens"),
    ("GET", "/api//v1/tokens"), ("GET", "*"), ("GET", "/ailink"), ("GET", "/ailink/approvals"),
    ("GET", "/ailink/approvals/"), ("GET", "/approvals/apr_1"),
])
def test_all_else_is_the_data_planes(control: FastAPI, method: str, path: str) -> None:
    assert not owned(control)(method, path)


@pytest.mark.parametrize(("path", "header", "expected"), [
    ("/api/v1/token", (b"x-admin-key", b"ailink_admin_1"), True),
    ("/api/chat.postMessage", (b"authorization", b"Bearer ailink_admin_1"), True),
    ("/api/v1/token", (b"authorization", b"Bearer ailink_v1_proj_1"), False),  # a token's upstream has such paths
    ("/api/v1/token", (b"x-api-key", b"ailink_admin_1"), False),  # nowhere an admin key's place
    ("/v1/models", (b"x-admin-key", b"ailink_admin_1"), False),
    ("/api", (b"x-admin-key", b"ailink_admin_1"), False),
])
def test_an_admin_key_below_api_means_management(path: str, header: tuple[bytes, bytes], expected: bool) -> None:
    assert misdirected(path, [(b"host", b"gateway"), header]) is expected


async def test_a_start_with_another_master_key_is_refused(store: Store, vault: Vault) -> None:
    with pytest.raises(WrongMasterKey):
        unlock(store, Vault(bytes(32)))


def test_the_root_key_is_made_once(tmp_path: Path) -> None:
    keys = []
    for _ in range(2):
        store, vault = Store(tmp_path / "ailink.db"), Vault(bytes(range(32)))
        store.upgrade()
        unlock(store, vault)
        keys.append(vault.derive(AUDIT_CHAIN))
        store.close()
    assert keys[0] == keys[1]


async def test_the_master_key_is_rotated(create: Create, store: Store, vault: Vault) -> None:
    made = [await create("credentials", name=f"c{number}", secret=f"s{number}") for number in range(3)]
    token_key = vault.derive("anything")
    new = bytes(reversed(range(32)))
    both = Vault(new, retired=[bytes(range(32))])
    assert rewrap(store, both) == 4, "three secrets and the root key"
    assert rewrap(store, both) == 0
    alone = Vault(new)
    unlock(store, alone)
    assert alone.derive("anything") == token_key
    for number, credential in enumerate(made):
        row = await store.read(find_credential, credential["id"])
        assert alone.open(row["sealed"], credential_place("default", row["id"])) == f"s{number}".encode()
        assert row["key_id"] == alone.key_id


async def test_a_rotation_that_was_interrupted_goes_on(
    create: Create, store: Store, vault: Vault, monkeypatch: pytest.MonkeyPatch,
) -> None:
    for number in range(3):
        await create("credentials", name=f"c{number}", secret=f"s{number}")
    monkeypatch.setattr("ailink_gateway.control.keyring._BATCH", 1)
    both = Vault(bytes(reversed(range(32))), retired=[bytes(range(32))])
    steps = 0

    def killed(sealed: bytes, place: object) -> bytes:
        nonlocal steps
        steps += 1
        if steps == 3:
            raise KeyboardInterrupt
        return Vault.rewrap(both, sealed, place)  # type: ignore[arg-type]

    class Killed:
        key_id = both.key_id
        rewrap = staticmethod(killed)

    with pytest.raises(KeyboardInterrupt):
        rewrap(store, Killed())  # type: ignore[arg-type]
    unlock(store, both)
    assert rewrap(store, both) == 2


def test_importing_it_does_nothing_and_needs_no_alembic() -> None:
    script = (
        "import sys, threading, ailink_gateway.control; assert threading.active_count() == 1; "
        "assert not {'alembic', 'uvicorn', 'httpx2'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", script], check=True)

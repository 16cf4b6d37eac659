import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI
from sqlalchemy import update

from ailink_gateway.approval import Approval
from ailink_gateway.backends.approvals import StoreApprovals
from ailink_gateway.chain import Node
from ailink_gateway.control import Broadcaster, create_control, unlock
from ailink_gateway.control.context import Exposition
from ailink_gateway.store.store import Store
from ailink_gateway.store.tables import projects
from ailink_gateway.vault import Vault
from ailink_provider.errors import Failure

ADMIN_KEY = "ailink_admin_0123456789abcdefABCDEF"
MASTER_KEY = bytes(range(32))
NODE = Node("node", 1)
JULY = 1_783_000_000.25


class Clock:
    """A time that stands still until a test moves it."""

    def __init__(self) -> None:
        self.now = JULY

    def __call__(self) -> float:
        self.now += 0.001
        return self.now


@pytest.fixture
def admin_key() -> str:
    return ADMIN_KEY


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("prepared") / "ailink.db"
    store = Store(path)
    store.upgrade()
    unlock(store, Vault(MASTER_KEY))
    # Older than whatever a test makes by its own clock.
    store.call(lambda connection: connection.execute(update(projects).values(created_at=0.0)))
    store.close()
    return path


@pytest.fixture
def store(prepared: Path, tmp_path: Path) -> Iterator[Store]:
    path = tmp_path / "ailink.db"
    shutil.copy(prepared, path)
    store = Store(path)
    yield store
    store.close()


@pytest.fixture
def vault(store: Store) -> Vault:
    vault = Vault(MASTER_KEY)
    unlock(store, vault)
    return vault


@pytest.fixture
def broadcaster() -> Broadcaster:
    return Broadcaster(streams=2)


@pytest.fixture
def failing() -> set[str]:
    """The readiness checks that fail; a test adds to it."""
    return set()


class Messenger:
    """Tells nobody, and remembers of what."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def announce(self, approval: Approval) -> None:
        self.told.append(approval.id)

    def forget(self, approval_id: str) -> None:
        """There is nothing to stop."""


@pytest.fixture
async def approvals(store: Store, vault: Vault, clock: Clock) -> AsyncIterator[StoreApprovals]:
    approvals = StoreApprovals(store, vault, Messenger(), clock)
    yield approvals
    await approvals.stop()


@pytest.fixture
def control(
    approvals: StoreApprovals, store: Store, vault: Vault, broadcaster: Broadcaster, clock: Clock, failing: set[str],
) -> FastAPI:
    async def spool() -> None:
        if "spool" in failing:
            raise Failure("spool_full", "The spool is full.")

    return create_control(
        store, vault, ADMIN_KEY, approvals_desk=approvals, known_providers=["openai", "anthropic"],
        broadcaster=broadcaster, checks={"spool": spool}, node=NODE, exposition=Exposition(lambda: "# metrics\n"),
        now=clock,
    )


@pytest.fixture
async def caller(control: FastAPI) -> AsyncIterator[Callable[..., httpx2.AsyncClient]]:
    """Makes clients that send the given headers."""
    clients: list[httpx2.AsyncClient] = []

    def make(**headers: str) -> httpx2.AsyncClient:
        transport = httpx2.ASGITransport(control, raise_app_exceptions=False)
        client = httpx2.AsyncClient(
            transport=transport, base_url="http://gateway",
            headers={name.replace("_", "-"): value for name, value in headers.items()},
        )
        clients.append(client)
        return client

    yield make
    for client in clients:
        await client.aclose()


@pytest.fixture
def admin(caller: Callable[..., httpx2.AsyncClient]) -> httpx2.AsyncClient:
    return caller(x_admin_key=ADMIN_KEY)


@pytest.fixture
def create(admin: httpx2.AsyncClient) -> Callable[..., Awaitable[dict[str, Any]]]:
    """Creates one of a resource and returns it, or fails."""
    async def make(resource: str, **fields: Any) -> dict[str, Any]:
        response = await admin.post(f"/api/v1/{resource}", json=fields)
        assert response.status_code == 201, response.text
        created: dict[str, Any] = response.json()
        return created

    return make

from collections.abc import Awaitable, Callable
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI

from ailink_gateway.backends.breakers import MemoryBreakers
from ailink_gateway.grant import Breaker

Create = Callable[..., Awaitable[dict[str, Any]]]
HEALTH = "/api/v1/health/upstreams"
URL = "https://api.example/v1"


@pytest.fixture
def breakers(control: FastAPI) -> MemoryBreakers:
    """The breakers that the control plane is told of, with a clock that stands still."""
    breakers = MemoryBreakers(clock=lambda: 100.0)
    control.state.context = control.state.context._replace(breakers=breakers)
    return breakers


def fail(breakers: MemoryBreakers, token: dict[str, Any], url: str, times: int) -> None:
    for _ in range(times):
        breaker = breakers.of(token["id"], url, Breaker())
        assert breaker is not None
        breaker.record_failure()


async def test_how_every_tokens_upstreams_stand(
    admin: httpx2.AsyncClient, create: Create, breakers: MemoryBreakers
) -> None:
    token = await create("tokens", name="a", upstream_url=f"{URL}/", upstreams=[{"url": "https://b.example"}])
    other = await create("tokens", name="b", upstream_url=URL)
    everywhere = await create("tokens", name="c")
    fail(breakers, token, URL, 3)
    fail(breakers, everywhere, "https://provider.example", 1)
    revoked = await create("tokens", name="d", upstream_url=URL)
    await admin.delete(f"/api/v1/tokens/{revoked['id']}")
    well = {"is_healthy": True, "failure_count": 0, "cooldown_remaining_secs": 0.0}
    assert (await admin.get(HEALTH)).json() == [
        {"token_id": everywhere["id"], "url": "https://provider.example", **well, "failure_count": 1},
        {"token_id": other["id"], "url": URL, **well},
        {"token_id": token["id"], "url": URL, "is_healthy": False, "failure_count": 3, "cooldown_remaining_secs": 30.0},
        {"token_id": token["id"], "url": "https://b.example", **well},
    ]


@pytest.mark.parametrize("path", ["/circuit-breaker", ""])
async def test_to_switch_a_breaker_off_closes_its_circuits(
    admin: httpx2.AsyncClient, create: Create, breakers: MemoryBreakers, path: str
) -> None:
    token = await create("tokens", name="a", upstream_url=URL)
    fail(breakers, token, URL, 3)

    async def change(**fields: Any) -> bool:
        body = fields if path else {"circuit_breaker": fields}
        assert (await admin.patch(f"/api/v1/tokens/{token['id']}{path}", json=body)).status_code == 200
        healthy: bool = (await admin.get(HEALTH)).json()[0]["is_healthy"]
        return healthy

    assert not await change(failure_threshold=5)
    assert await change(enabled=False)
    assert await change(enabled=True)


async def test_an_upstream_that_a_token_has_no_more_is_not_listed(
    admin: httpx2.AsyncClient, create: Create, breakers: MemoryBreakers
) -> None:
    """It would stay unhealthy for ever, as nobody calls it again."""
    token = await create("tokens", name="a", upstream_url=f"{URL}/", upstreams=[{"url": "https://b.example"}])
    for url in (URL, "https://b.example", "https://provider.example"):
        fail(breakers, token, url, 3)
    change = {"upstream_url": "https://c.example"}
    assert (await admin.patch(f"/api/v1/tokens/{token['id']}", json=change)).status_code == 200
    listed = {entry["url"]: entry["is_healthy"] for entry in (await admin.get(HEALTH)).json()}
    assert listed == {"https://c.example": True, "https://b.example": False, "https://provider.example": False}


async def test_only_the_admin_sees_it(caller: Callable[..., httpx2.AsyncClient], create: Create) -> None:
    token = (await create("tokens", name="a"))["token_id"]
    assert (await caller().get(HEALTH)).status_code == 401
    assert (await caller(authorization=f"Bearer {token}").get(HEALTH)).status_code == 403

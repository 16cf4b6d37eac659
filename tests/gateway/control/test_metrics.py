from collections.abc import Callable

import httpx2
import pytest
from fastapi import FastAPI

from ailink_gateway.control.context import Exposition
from ailink_gateway.control.metrics import CONTENT_TYPE


def asking(control: FastAPI, host: str, **headers: str) -> httpx2.AsyncClient:
    transport = httpx2.ASGITransport(control, client=(host, 1))
    return httpx2.AsyncClient(transport=transport, base_url="http://gateway", headers=headers)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.0.1", "::1"])
async def test_this_machine_reads_them_without_a_key(control: FastAPI, host: str) -> None:
    async with asking(control, host) as client:
        answer = await client.get("/metrics")
    assert (answer.status_code, answer.text) == (200, "# metrics\n")
    assert answer.headers["content-type"] == CONTENT_TYPE


@pytest.mark.parametrize(
    ("host", "headers"),
    [("10.0.0.5", {}), ("8.8.8.8", {}), ("", {}), ("127.0.0.1", {"X-Forwarded-For": "8.8.8.8"}),
     ("127.0.0.1", {"Forwarded": "for=8.8.8.8"}), ("127.0.0.1", {"Via": "1.1 proxy"})],
)  # fmt: skip
async def test_others_do_not(control: FastAPI, host: str, headers: dict[str, str]) -> None:
    async with asking(control, host, **headers) as client:
        answer = await client.get("/metrics")
    assert answer.status_code == 403
    assert answer.json()["error"]["reason"] == "loopback_only"
    assert "AILINK_METRICS_OPEN" in answer.text


async def test_unless_the_operator_opens_them(control: FastAPI) -> None:
    control.state.context = control.state.context._replace(metrics=Exposition(lambda: "# open\n", open=True))
    async with asking(control, "8.8.8.8") as client:
        assert (await client.get("/metrics")).text == "# open\n"


async def test_they_are_only_read(control: FastAPI, caller: Callable[..., httpx2.AsyncClient]) -> None:
    assert (await caller().post("/metrics")).status_code == 401

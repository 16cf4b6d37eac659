"""Limits on spend, over real sockets: what fits goes through, whoever comes, and what was spent is told."""

import asyncio
import json
import secrets
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx2
import pytest

from ailink_provider.chat import Usage
from ailink_provider.testing import Fault, MockUpstream

from .clients import CLIENTS, Client, Secrets
from .conftest import Caller, Gateway, wait_for

OUTPUT_USD = 1000.0  # a million tokens; a token is a thousandth of a dollar, and each answer of the mock has seven
MODELS = [client.model for client in CLIENTS]


@pytest.fixture(scope="module")
def gateway(vendors: dict[str, str], start_gateway: Callable[..., Gateway]) -> Gateway:
    """A gateway where only output costs."""
    gateway = start_gateway(**vendors)
    with admin_of(gateway) as admin:
        price = {"provider": "*", "model": "*", "input": 0, "output": OUTPUT_USD}
        assert admin.post("/api/v1/prices", json=price).status_code == 201
    return gateway


def admin_of(gateway: Gateway) -> httpx2.Client:
    return httpx2.Client(base_url=gateway.url, headers={"X-Admin-Key": gateway.admin_key}, timeout=20)


@pytest.fixture(scope="module")
def http(gateway: Gateway) -> Iterator[httpx2.Client]:
    with admin_of(gateway) as admin:
        yield admin


class Spender:
    """A token with limits, and its books."""

    def __init__(self, http: httpx2.Client, project: str = "default") -> None:
        self._http = http
        body = {"name": f"s-{secrets.token_hex(6)}", "requests_per_minute": 0}
        made = http.post("/api/v1/tokens", json={**body, "project_id": project})
        self.id, self.secret = made.json()["id"], made.json()["token_id"]

    def limit(self, usd: float, period: str = "daily") -> None:
        response = self._http.put(f"/api/v1/tokens/{self.id}/spend", json={"period": period, "limit_usd": usd})
        assert response.status_code == 200, response.text

    @property
    def books(self) -> Any:
        return self._http.get(f"/api/v1/tokens/{self.id}/spend").json()

    @property
    def spent(self) -> float:
        return float(self.books["current_daily_usd"])

    def records(self) -> list[Any]:
        """Return its records, which reach the store moments after the answers."""
        found: list[Any] = []
        after: dict[str, str] = {}
        while True:
            query = {"token_id": self.id, "limit": 100, **after}
            page = self._http.get("/api/v1/audit", params=query).json()
            found += page["data"]
            if not page["has_more"]:
                return found
            after = {"starting_after": page["data"][-1]["id"]}


@pytest.fixture
def spender(http: httpx2.Client, known_secrets: Secrets) -> Spender:
    spender = Spender(http)
    known_secrets.add(spender.secret)
    return spender


@pytest.fixture
def ask(gateway: Gateway, spender: Spender, known_secrets: Secrets) -> Iterator[Caller]:
    caller = Caller(gateway.url, spender.secret, known_secrets)
    yield caller
    caller.http.close()


def limited(client: Client, tokens: int) -> dict[str, Any]:
    """Return the fields that limit an answer, in the client's words."""
    if "generateContent" in client.path(client.model):
        return {"generationConfig": {"maxOutputTokens": tokens}}
    return {"max_tokens": tokens}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("client", CLIENTS, ids=lambda client: client.name)
@pytest.mark.parametrize("model", MODELS)
def test_each_client_and_each_family_is_held_charged_and_told(
    upstream: MockUpstream, ask: Caller, spender: Spender, client: Client, model: str, stream: bool
) -> None:
    spender.limit(0.1)
    answer = ask(client, model, stream=stream, **limited(client, 20))
    assert answer.status_code == 200, answer.text
    left = float(answer.headers["x-ailink-budget-remaining-daily-usd"])
    assert left == pytest.approx(0.093, abs=1e-9) if not stream else 0.05 <= left <= 0.08
    wait_for(lambda: spender.spent == pytest.approx(0.007))
    upstream.assert_clean()


@pytest.mark.parametrize("client", CLIENTS, ids=lambda client: client.name)
def test_a_call_that_does_not_fit_is_refused_in_the_clients_own_words(
    upstream: MockUpstream, ask: Caller, spender: Spender, client: Client
) -> None:
    spender.limit(0.001)
    answer = ask(client, **limited(client, 20))
    assert (answer.status_code, answer.headers["x-ailink-error"]) == (402, "budget_exceeded")
    assert "Budget exceeded. Request would exceed spending limit." in answer.text
    assert answer.headers["x-should-retry"] == "false"
    with pytest.raises(client.exception(402)):
        client.play(answer)
    assert upstream.requests == []
    spender.limit(0)
    assert ask(client, **limited(client, 20)).headers["x-ailink-error"] == "spend_cap_reached"


@pytest.mark.parametrize("client", CLIENTS, ids=lambda client: client.name)
def test_the_limit_of_an_answer_is_lowered_to_what_is_left(
    upstream: MockUpstream, ask: Caller, spender: Spender, client: Client
) -> None:
    spender.limit(0.09)
    answer = ask(client, **limited(client, 500))
    assert answer.status_code == 200
    assert "lowered to 90" in answer.headers["x-ailink-warning"]
    (request,) = upstream.requests
    assert limited(client, 90).items() <= json.loads(request.body).items()
    upstream.assert_clean()


def test_a_change_of_a_limit_bites_at_once(upstream: MockUpstream, ask: Caller, spender: Spender) -> None:
    client = CLIENTS[0]
    for usd, status in ((None, 200), (0.0, 402), (1.0, 200), (0.01, 402)):
        if usd is not None:
            spender.limit(usd)
        assert ask(client, **limited(client, 20)).status_code == status
    assert spender.books["daily_limit_usd"] == 0.01


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_a_call_that_was_under_way_when_the_first_limit_was_set_counts(
    upstream: MockUpstream, ask: Caller, spender: Spender, stream: bool
) -> None:
    """It was not held, as nothing limited it; what it cost is spent when it ends."""
    client = CLIENTS[0]
    upstream.script(fault=Fault("delay", seconds=1.5))
    with ThreadPoolExecutor(1) as thread:
        call = thread.submit(ask, client, stream=stream)
        wait_for(lambda: len(upstream.requests) == 1)
        spender.limit(0.01)
        assert spender.spent == 0
        assert call.result().status_code == 200
    wait_for(lambda: spender.spent == pytest.approx(0.007))
    assert ask(client, **limited(client, 20)).headers["x-ailink-error"] == "budget_exceeded"


def test_a_project_limits_its_tokens_together(
    gateway: Gateway, http: httpx2.Client, upstream: MockUpstream, known_secrets: Secrets
) -> None:
    project = http.post("/api/v1/projects", json={"name": f"p-{secrets.token_hex(4)}"}).json()["id"]
    http.put(f"/api/v1/projects/{project}/spend", json={"period": "monthly", "limit_usd": 0.035})
    statuses = []
    for _ in range(3):
        spender = Spender(http, project)
        caller = Caller(gateway.url, known_secrets.add(spender.secret), known_secrets)
        statuses += [caller(CLIENTS[0], **limited(CLIENTS[0], 7)).status_code for _ in range(2)]
        caller.http.close()
    assert statuses == [200] * 5 + [402]
    assert http.get(f"/api/v1/projects/{project}/spend").json()["current_monthly_usd"] == pytest.approx(0.035)


def test_a_price_applies_from_the_next_call_on(
    http: httpx2.Client, upstream: MockUpstream, ask: Caller, spender: Spender
) -> None:
    client = CLIENTS[0]
    body = {"provider": "openai", "model": client.model, "input": 0, "output": 2 * OUTPUT_USD}
    price = http.post("/api/v1/prices", json=body).json()["id"]
    try:
        ask(client, **limited(client, 20))
        http.patch(f"/api/v1/prices/{price}", json={"output": 3 * OUTPUT_USD})
        ask(client, **limited(client, 20))
    finally:
        http.delete(f"/api/v1/prices/{price}")
    ask(client, **limited(client, 20))
    assert spender.spent == pytest.approx(0.014 + 0.021 + 0.007)


def test_a_stream_that_a_client_leaves_is_charged_for_what_it_produced(
    gateway: Gateway, upstream: MockUpstream, spender: Spender
) -> None:
    client = CLIENTS[0]
    spender.limit(10)
    upstream.script(chunks=["x" * 40] * 10, fault=Fault("hang", at=3))
    headers = {"Authorization": f"Bearer {spender.secret}"}
    body = client.body(client.model, True, **limited(client, 500))
    with httpx2.Client(timeout=20) as http, http.stream(
        "POST", gateway.url + client.path(client.model), headers=headers, json=body
    ) as answer:
        for line in answer.iter_lines():
            if "x" * 40 in line:
                break
    wait_for(lambda: spender.spent > 0)
    assert 0.010 <= spender.spent <= 0.030


def test_a_thousand_calls_at_once_and_a_limit_that_fits_three_hundred(
    gateway: Gateway, upstream: MockUpstream, spender: Spender
) -> None:
    """Exactly three hundred go through, and the others are refused without having been sent."""
    spender.limit(300 * 0.007)
    statuses = asyncio.run(all_at_once(gateway, spender.secret, 1000, 7))
    assert statuses == {200: 300, 402: 700}
    assert len(upstream.requests) == 300
    assert spender.spent == pytest.approx(2.1)
    wait_for(lambda: len(spender.records()) == 1000)
    assert sum(record["cost_usd"] or 0 for record in spender.records()) == pytest.approx(2.1)


def test_a_spend_cap_of_a_policy_is_not_passed_however_many_come(
    gateway: Gateway, upstream: MockUpstream, spender: Spender, http: httpx2.Client
) -> None:
    rule = {"type": "spend_cap", "period": "daily", "limit_usd": 50 * 0.007}
    policy = http.post("/api/v1/policies", json={"name": f"cap-{spender.id}", "rules": [rule]}).json()["id"]
    assert http.patch(f"/api/v1/tokens/{spender.id}", json={"policy_ids": [policy]}).status_code == 200
    assert asyncio.run(all_at_once(gateway, spender.secret, 200, 7)) == {200: 50, 402: 150}
    assert len(upstream.requests) == 50
    assert spender.spent == pytest.approx(0.35)


def test_many_small_calls_use_almost_all_of_a_limit(
    gateway: Gateway, upstream: MockUpstream, spender: Spender
) -> None:
    """Each holds fourteen times what it costs in the end; who waits for the others' holds is not refused."""
    spender.limit(2.1)
    statuses = asyncio.run(all_at_once(gateway, spender.secret, 400, 100))
    assert set(statuses) == {200, 402}
    assert 0.95 * 2.1 <= spender.spent <= 2.1
    assert statuses[200] == len(upstream.requests)


def test_what_an_upstream_reports_is_what_is_charged(
    upstream: MockUpstream, ask: Caller, spender: Spender, http: httpx2.Client
) -> None:
    """Cached and written input, and thoughts, at their own rates."""
    rates = {"provider": "anthropic", "model": "claude-opus-5", "input": 10, "output": 50, "cache_read": 1,
             "cache_write": 12.5}  # fmt: skip
    price = http.post("/api/v1/prices", json=rates).json()["id"]
    try:
        usage = Usage(input_tokens=1000, output_tokens=100, cache_read_tokens=600, cache_write_tokens=300)
        upstream.script(usage=usage)
        messages = next(client for client in CLIENTS if client.path(client.model) == "/v1/messages")
        assert ask(messages, "claude-opus-5", **limited(messages, 500)).status_code == 200
    finally:
        http.delete(f"/api/v1/prices/{price}")
    assert spender.spent == pytest.approx((100 * 10 + 600 * 1 + 300 * 12.5 + 100 * 50) / 1e6)


async def all_at_once(gateway: Gateway, token: str, calls: int, tokens: int) -> Counter[int]:
    """Send so many calls at one moment, each over a connection of its own, and count the answers by status."""
    body = json.dumps(CLIENTS[0].body("gpt-4o", **limited(CLIENTS[0], tokens))).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {token}\r\n"
    request = f"{head}Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body
    host, port = gateway.address
    open_now = asyncio.Semaphore(64)  # the handshakes; all connections stand before the first byte is sent

    async def connect() -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        async with open_now:
            return await asyncio.open_connection(host, port)

    async def call(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> int:
        writer.write(request)
        status = int((await reader.readuntil(b"\r\n\r\n")).split(b" ", 2)[1])
        writer.close()
        return status

    connections = await asyncio.gather(*(connect() for _ in range(calls)))
    async with asyncio.timeout(60):
        return Counter(await asyncio.gather(*(call(*connection) for connection in connections)))

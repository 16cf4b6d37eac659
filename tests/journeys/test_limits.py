"""Limits, from outside: over real sockets exactly as many calls pass as may, whatever comes at once."""

import asyncio
import secrets
from collections import Counter
from collections.abc import Callable
from typing import Any

import httpx2
import pytest

from ailink_provider.testing import Fault, MockUpstream

from .clients import CLIENTS
from .conftest import Caller, Gateway, wait_for

MakeToken = Callable[..., str]
RecordOf = Callable[[str], Any]
OPENAI = CLIENTS[0]
WORDS = " ".join(f"word{number}" for number in range(40))


async def all_at_once(gateway: Gateway, token: str, count: int) -> list[httpx2.Response]:
    """Send ``count`` calls, each on a connection of its own, and return what was answered."""
    limits = httpx2.Limits(max_connections=count)
    async with httpx2.AsyncClient(base_url=gateway.url, timeout=60, limits=limits) as client:
        return await asyncio.gather(
            *(
                client.post(
                    OPENAI.path(OPENAI.model),
                    json=OPENAI.body(OPENAI.model),
                    headers={"Authorization": f"Bearer {token}"},
                )
                for _ in range(count)
            )
        )


async def test_a_limit_of_100_lets_100_of_500_through(
    gateway: Gateway, make_token: MakeToken, upstream: MockUpstream
) -> None:
    token = make_token(requests_per_minute=100)
    answers = await all_at_once(gateway, token, 500)
    assert Counter(answer.status_code for answer in answers) == {200: 100, 429: 400}
    assert len(upstream.requests) == 100
    remaining = sorted(int(answer.headers["x-ratelimit-remaining"]) for answer in answers if answer.is_success)
    assert remaining == list(range(100))
    for refused in answers:
        if not refused.is_success:
            assert refused.json()["detail"] == "Rate limit exceeded"
            assert 0 < int(refused.headers["retry-after"]) <= 60
            assert refused.headers["x-ratelimit-limit"] == "100"
            assert "x-should-retry" not in refused.headers


async def test_so_many_calls_at_once(gateway: Gateway, make_token: MakeToken, upstream: MockUpstream) -> None:
    token = make_token(concurrent_requests=5)
    upstream.script(fault=Fault("hang"), times=5)
    calls = asyncio.create_task(all_at_once(gateway, token, 40))
    await upstream.received(5)
    # The other 35 are refused whenever they come: the first five hang until they are let go.
    assert (await all_at_once(gateway, token, 1))[0].status_code == 429
    for _ in range(5):
        upstream.release()
    statuses = Counter(answer.status_code for answer in await calls)
    assert statuses[200] >= 5 and statuses[200] + statuses[429] == 40
    again = await all_at_once(gateway, token, 5)
    assert [answer.status_code for answer in again] == [200] * 5, "all places are free again"


def test_a_stream_holds_its_place_to_its_end(
    gateway: Gateway, make_token: MakeToken, upstream: MockUpstream, call: Caller, record_of: RecordOf
) -> None:
    token = make_token(concurrent_requests=1)
    upstream.script(text=WORDS, fault=Fault("hang", at=20))
    headers = {"Authorization": f"Bearer {token}"}
    body = OPENAI.body(OPENAI.model, stream=True)
    with call.http.stream("POST", OPENAI.path(OPENAI.model), json=body, headers=headers) as answer:
        chunks = answer.iter_bytes()  # kept: an iterator that is dropped ends the answer
        next(chunks)
        assert call(OPENAI, token=token).status_code == 429
        request_id = answer.headers["x-request-id"]
    assert record_of(request_id).outcome == "cancelled"
    assert call(OPENAI, token=token).status_code == 200


def test_what_is_changed_bites_at_once(
    gateway: Gateway, make_token: MakeToken, call: Caller, upstream: MockUpstream
) -> None:
    token = make_token()
    assert call(OPENAI, token=token).headers["x-ratelimit-limit"] == "600"
    with gateway.admin() as admin:
        admin.tokens.update(token, requests_per_minute=1)
        assert call(OPENAI, token=token).status_code == 429
        admin.tokens.update(token, requests_per_minute=0)
        assert "x-ratelimit-limit" not in call(OPENAI, token=token).headers


def test_tokens_a_minute(make_token: MakeToken, call: Caller, upstream: MockUpstream) -> None:
    """Each call is estimated before, and counts with the 11 + 7 tokens that it used after."""
    token = make_token(tokens_per_minute=100)
    answers = [call(OPENAI, token=token, max_tokens=10) for _ in range(8)]
    assert [answer.status_code for answer in answers] == [200] * 4 + [429] * 4
    assert answers[0].headers["x-ratelimit-limit-tokens"] == "100"
    assert answers[4].json()["error"]["reason"] == "tokens_per_minute"


@pytest.mark.parametrize("stream", [False, True])
def test_every_clients_sdk_sees_a_rate_limit(
    make_token: MakeToken, call: Caller, upstream: MockUpstream, stream: bool
) -> None:
    for client in CLIENTS:
        token = make_token(requests_per_minute=1)
        assert call(client, token=token, stream=stream).status_code == 200
        refused = call(client, token=token, stream=stream)
        assert client.told(refused.json()).message == "Rate limit exceeded"
        with pytest.raises(client.exception(429)):
            client.play(refused, stream)


def test_anonymous_callers_are_told_apart_by_address(
    start_gateway: Callable[..., Gateway], upstream: MockUpstream
) -> None:
    dev = start_gateway("dev", AILINK_TRUSTED_PROXIES="127.0.0.1")
    with httpx2.Client(base_url=dev.url, timeout=20) as client:

        def remaining(forwarded: str) -> int:
            answer = client.post(
                "/v1/chat/completions", json=OPENAI.body(OPENAI.model), headers={"X-Forwarded-For": forwarded}
            )
            assert answer.status_code == 200
            return int(answer.headers["x-ratelimit-remaining"])

        assert remaining("198.51.100.1") == 599
        assert remaining("6.6.6.6, 198.51.100.1") == 598, "what a client wrote itself does not count"
        assert remaining("198.51.100.2") == 599


def test_limits_hold_while_the_token_is_changed(
    gateway: Gateway, make_token: MakeToken, call: Caller, upstream: MockUpstream
) -> None:
    token = make_token(requests_per_minute=10)
    passed = 0
    with gateway.admin() as admin:
        for number in range(15):
            passed += call(OPENAI, token=token).is_success
            admin.tokens.update(token, name=f"t-{number}-{secrets.token_hex(4)}")
    assert passed == 10
    wait_for(lambda: len(upstream.requests) == 10)

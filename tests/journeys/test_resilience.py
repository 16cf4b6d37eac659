"""Upstreams that fail, from outside: they are left alone and come back, others answer meanwhile, and it shows."""

import asyncio
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest

from ailink import AIlinkClient
from ailink_provider.testing import KEYS, Fault, MockUpstream

from .clients import CLIENTS, Client, Secrets
from .conftest import Caller, Gateway, wait_for

MakeToken = Callable[..., str]
RecordOf = Callable[[str], Any]
OPENAI = CLIENTS[0]
WORDS = " ".join(f"word{number}" for number in range(40))

every_client = pytest.mark.parametrize("client", CLIENTS, ids=lambda client: client.name)


class Admin:
    """What an operator sees and sets of breakers."""

    def __init__(self, gateway: Gateway) -> None:
        self._http = httpx2.Client(
            base_url=f"{gateway.url}/api/v1", headers={"X-Admin-Key": gateway.admin_key}, timeout=20
        )

    def health(self, token: str) -> list[dict[str, Any]]:
        token_id = self._http.get(f"/tokens/{token}").json()["id"]
        entries: list[dict[str, Any]] = self._http.get("/health/upstreams").raise_for_status().json()
        return [entry for entry in entries if entry["token_id"] == token_id]

    def set_breaker(self, token: str, **fields: Any) -> None:
        self._http.patch(f"/tokens/{token}/circuit-breaker", json=fields).raise_for_status()

    def close(self) -> None:
        self._http.close()


@pytest.fixture
def operator(gateway: Gateway) -> Any:
    made = Admin(gateway)
    yield made
    made.close()


def state(answer: httpx2.Response) -> str:
    return str(answer.headers["x-ailink-cb-state"])


def open_circuit(call: Caller, upstream: MockUpstream, token: str) -> None:
    upstream.script(fault=Fault("status", status=500), times=3)
    assert [state(call(OPENAI, token=token)) for _ in range(3)] == ["closed", "closed", "open"]


@every_client
def test_an_upstream_that_fails_is_left_alone(
    client: Client, call: Caller, make_token: MakeToken, upstream: MockUpstream, operator: Admin, record_of: RecordOf
) -> None:
    path = "/v1" if client.name == "openai" else ""
    token = make_token(client.name, upstream_url=upstream.url(path))
    assert operator.health(token) == [
        {
            "token_id": operator.health(token)[0]["token_id"],
            "url": upstream.url(path),
            "is_healthy": True,
            "failure_count": 0,
            "cooldown_remaining_secs": 0.0,
        }
    ]
    upstream.script(fault=Fault("status", status=500), times=3)
    for stream in (False, True, False):
        assert call(client, token=token, stream=stream).status_code == 502
    refused = call(client, token=token)
    assert refused.headers["x-ailink-error"] == "circuit_open"
    assert (state(refused), refused.headers["x-ailink-upstream"]) == ("open", upstream.url(path))
    assert 25 <= int(refused.headers["retry-after"]) <= 30
    assert len(upstream.requests) == 3
    entry = operator.health(token)[0]
    assert (entry["is_healthy"], entry["failure_count"]) == (False, 3)
    assert 25 <= entry["cooldown_remaining_secs"] <= 30
    record = record_of(refused.headers["x-request-id"])
    assert (record.error_code, record.upstream_status) == ("circuit_open", None)


def test_it_is_reset_and_switched_off_at_run_time(
    call: Caller, make_token: MakeToken, upstream: MockUpstream, operator: Admin
) -> None:
    token = make_token("openai", upstream_url=upstream.url("/v1"))
    open_circuit(call, upstream, token)
    operator.set_breaker(token, half_open_max_requests=2)
    assert state(call(OPENAI, token=token)) == "open", "another setting changes nothing about that"
    operator.set_breaker(token, enabled=False)
    upstream.script(fault=Fault("status", status=500), times=5)
    assert [state(call(OPENAI, token=token)) for _ in range(5)] == ["disabled"] * 5
    assert operator.health(token)[0]["is_healthy"]
    operator.set_breaker(token, enabled=True)
    answered = call(OPENAI, token=token)
    assert (answered.status_code, state(answered)) == (200, "closed")


async def test_after_its_cooldown_one_of_fifty_racers_probes(
    gateway: Gateway, call: Caller, make_token: MakeToken, upstream: MockUpstream, operator: Admin
) -> None:
    token = make_token("openai", upstream_url=upstream.url("/v1"), circuit_breaker={"recovery_cooldown_secs": 1})
    open_circuit(call, upstream, token)
    wait_for(lambda: operator.health(token)[0]["cooldown_remaining_secs"] == 0)
    assert not operator.health(token)[0]["is_healthy"], "nobody has seen it well yet"
    upstream.forget()
    upstream.script(fault=Fault("hang"))
    limits = httpx2.Limits(max_connections=50)
    headers = {"Authorization": f"Bearer {token}"}
    async with httpx2.AsyncClient(base_url=gateway.url, timeout=60, limits=limits, headers=headers) as client:
        racers = [
            asyncio.create_task(client.post(OPENAI.path(OPENAI.model), json=OPENAI.body(OPENAI.model)))
            for _ in range(50)
        ]
        done: set[asyncio.Task[httpx2.Response]] = set()
        waiting: set[asyncio.Task[httpx2.Response]] = set(racers)
        while len(waiting) > 1:
            finished, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            done |= finished
        seen = {(racer.result().status_code, state(racer.result())) for racer in done}
        assert seen == {(503, "half_open")}
        upstream.release()
        probe = await waiting.pop()
    assert (probe.status_code, state(probe)) == (200, "closed")
    assert len(upstream.requests) == 1
    assert operator.health(token)[0]["is_healthy"]


async def test_a_client_that_leaves_says_nothing_of_the_upstream(
    call: Caller, make_token: MakeToken, upstream: MockUpstream, operator: Admin, record_of: RecordOf
) -> None:
    token = make_token("openai", upstream_url=upstream.url("/v1"))
    upstream.script(fault=Fault("status", status=500), times=2)
    for _ in range(2):
        call(OPENAI, token=token)
    upstream.script(text=WORDS, fault=Fault("hang", at=20))
    headers = {"Authorization": f"Bearer {token}"}
    body = OPENAI.body(OPENAI.model, stream=True)
    with call.http.stream("POST", OPENAI.path(OPENAI.model), json=body, headers=headers) as answer:
        next(answer.iter_bytes())
        assert state(answer) == "closed"
        request_id = answer.headers["x-request-id"]
    assert record_of(request_id).outcome == "cancelled"
    assert operator.health(token)[0]["failure_count"] == 2


@every_client
def test_a_stream_that_breaks_counts_and_is_not_tried_elsewhere(
    client: Client, call: Caller, make_token: MakeToken, upstream: MockUpstream, operator: Admin
) -> None:
    path = "/v1" if client.name == "openai" else ""
    token = make_token(client.name, upstream_url=upstream.url(path), upstreams=[{"url": upstream.url(path + "/")}])
    upstream.script(text=WORDS, fault=Fault("cut", at=20))
    answer = call(client, token=token, stream=True)
    assert answer.status_code == 200 and "word5" in answer.text
    assert len(upstream.requests) == 1
    assert operator.health(token)[0]["failure_count"] == 1


def test_another_upstream_answers_in_the_middle_of_an_outage(
    call: Caller, make_token: MakeToken, record_of: RecordOf, operator: Admin
) -> None:
    with MockUpstream() as second:
        with MockUpstream() as first:
            token = make_token(
                "openai", upstream_url=first.url("/v1"), upstreams=[{"url": second.url("/v1"), "priority": 1}]
            )
            urls = [first.url("/v1"), second.url("/v1")]
            before = [call(OPENAI, token=token, stream=stream) for stream in (False, True)]
            first.script(fault=Fault("status", status=503))
            failing = call(OPENAI, token=token)
        # now the first one is gone altogether
        after = [call(OPENAI, token=token, stream=stream) for stream in (False, True, False)]
        assert [answer.headers["x-ailink-upstream"] for answer in before] == [urls[0]] * 2
        for answer in (failing, *after):
            assert answer.status_code == 200
            assert answer.headers["x-ailink-upstream"] == urls[1]
            assert state(answer) == "closed"
        attempts = [record_of(answer.headers["x-request-id"]).attempts for answer in (before[0], failing, *after)]
        assert attempts == [1, 2, 2, 2, 1], "after three failures the first one is passed over"
        assert [entry["is_healthy"] for entry in operator.health(token)] == [False, True]
        second.script(fault=Fault("status", status=500), times=None)
        refused = call(OPENAI, token=token)
        assert (refused.status_code, refused.headers["x-ailink-error"]) == (503, "all_upstreams_unavailable")
        assert refused.json()["detail"] == "All providers unavailable"
        assert int(refused.headers["retry-after"]) <= 30


def test_another_upstream_answers_for_one_that_hangs(
    start_gateway: Callable[..., Gateway], known_secrets: Secrets, tmp_path: Path
) -> None:
    """One that takes the whole time of a call would be all that was ever asked."""
    config = tmp_path / "ailink.yaml"
    config.write_text("call_timeout_seconds: 2\n")
    gateway = start_gateway(AILINK_CONFIG=str(config))
    with MockUpstream() as first, MockUpstream() as second, gateway.admin() as admin:
        credential = admin.credentials.create(name="c", provider="openai", secret=known_secrets.add(KEYS["openai"]))
        made = admin.tokens.create(
            name="t", credential_id=credential["id"], upstream_url=first.url("/v1"),
            upstreams=[{"url": second.url("/v1")}],
        )  # fmt: skip
        call = Caller(gateway.url, known_secrets.add(str(made["token_id"])), known_secrets)
        first.script(fault=Fault("hang"), times=2)
        answers = [call(OPENAI, stream=stream) for stream in (False, True)]
        call.http.close()
        assert [answer.status_code for answer in answers] == [200, 200]
        assert {answer.headers["x-ailink-upstream"] for answer in answers} == {second.url("/v1")}
        assert [entry["failure_count"] for entry in admin.tokens.upstream_health()] == [2, 0]
        first.release()


def test_upstreams_of_one_priority_share_the_calls(call: Caller, make_token: MakeToken) -> None:
    with MockUpstream() as one, MockUpstream() as other:
        token = make_token(
            "openai", upstreams=[{"url": mock.url("/v1"), "weight": weight} for mock, weight in ((one, 1), (other, 3))]
        )
        seen = Counter(call(OPENAI, token=token).headers["x-ailink-upstream"] for _ in range(60))
        assert set(seen) == {one.url("/v1"), other.url("/v1")}
        assert seen[other.url("/v1")] > seen[one.url("/v1")]


def test_an_apis_own_error_passes_untouched(call: Caller, make_token: MakeToken, upstream: MockUpstream) -> None:
    token = make_token("generic", upstream_url=upstream.url())
    theirs = [("retry-after", "9"), ("x-ailink-cb-state", "closed")]
    upstream.script(status=503, body=b"<down>", headers=theirs, times=3)
    answers = [call.request("GET", "/v1/things", token) for _ in range(4)]
    assert [answer.status_code for answer in answers] == [503] * 4
    assert [answer.content for answer in answers[:3]] == [b"<down>"] * 3
    assert answers[0].headers["retry-after"] == "9"
    assert [state(answer) for answer in answers] == ["closed", "closed", "open", "open"]
    assert answers[3].json()["error"]["code"] == "circuit_open"


def test_a_write_to_an_api_is_sent_once(call: Caller, make_token: MakeToken) -> None:
    with MockUpstream() as first, MockUpstream() as second:
        token = make_token("generic", upstream_url=first.url(), upstreams=[{"url": second.url()}])
        first.script(status=503, body=b"", times=2)
        assert call.request("POST", "/v1/charges", token, json={}).status_code == 503
        assert (len(first.requests), len(second.requests)) == (1, 0)
        assert call.request("GET", "/v1/charges", token).status_code == 200
        assert (len(first.requests), len(second.requests)) == (2, 1)


def test_upstreams_that_are_given_later_get_the_calls(
    call: Caller, make_token: MakeToken, admin: AIlinkClient, upstream: MockUpstream
) -> None:
    token = make_token("generic")
    credential = admin.tokens.get(token)["credential_id"]
    for given in ({"url": upstream.url()}, {"url": upstream.url(), "credential_id": credential}):
        assert admin.tokens.update(token, upstreams=[given])["upstreams"][0] == {
            "credential_id": None, "weight": 1, "priority": 1, **given
        }
        assert call.request("GET", "/v1/customers", token).status_code == 200
    assert len(upstream.requests) == 2

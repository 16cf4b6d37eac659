"""What is sent twice under one key happens once, through a gateway process and its restart."""

import signal
import socket
from collections.abc import Callable

import httpx2
import pytest
from openai import OpenAI

from ailink_provider.testing import Fault, MockUpstream

from .clients import Secrets
from .conftest import Gateway, wait_for

CHAT = {"model": "gpt-4o", "messages": [{"role": "user", "content": "Hello"}]}


def send(gateway: Gateway, token: str, path: str, key: str, **body: object) -> httpx2.Response:
    headers = {"Authorization": f"Bearer {token}", "Idempotency-Key": key}
    return httpx2.post(f"{gateway.url}{path}", json=body, headers=headers, timeout=20)


def test_a_charge_is_made_once(gateway: Gateway, make_token: Callable[..., str], upstream: MockUpstream) -> None:
    token = make_token("generic", "sk_test_stripe_secret", upstream_url=upstream.url())
    first = send(gateway, token, "/v1/charges", "charge-order-12345", amount=5000)
    again = send(gateway, token, "/v1/charges", "charge-order-12345", amount=5000)
    other = send(gateway, token, "/v1/charges", "charge-order-12345", amount=1)
    assert (first.status_code, again.status_code, other.status_code) == (200, 200, 422)
    assert again.content == first.content
    assert again.headers["idempotent-replayed"] == "true"
    assert other.json()["error"]["code"] == "idempotency_conflict"
    assert len(upstream.requests) == 1
    key = upstream.requests[0].headers["idempotency-key"]
    assert len(key) == 64, "the API gets a key that no other token can send"
    assert key != "charge-order-12345"


@pytest.mark.parametrize("stream", [False, True])
def test_a_model_is_asked_once(gateway: Gateway, token: str, upstream: MockUpstream, stream: bool) -> None:
    key = f"chat-{stream}"
    answers = [send(gateway, token, "/v1/chat/completions", key, **CHAT, stream=stream) for _ in range(2)]
    assert answers[0].content == answers[1].content
    assert "echo: Hello" in answers[0].text or stream
    assert answers[0].headers["content-type"] == answers[1].headers["content-type"]
    assert len(upstream.requests) == 1


def test_the_official_client_reads_a_replayed_stream(gateway: Gateway, token: str, upstream: MockUpstream) -> None:
    client = OpenAI(api_key=token, base_url=f"{gateway.url}/v1", default_headers={"Idempotency-Key": "sdk-stream"})
    said = [
        "".join(
            chunk.choices[0].delta.content or ""
            for chunk in client.chat.completions.create(**CHAT, stream=True)  # type: ignore[call-overload]
            if chunk.choices
        )
        for _ in range(2)
    ]
    client.close()
    assert said == ["echo: Hello"] * 2
    assert len(upstream.requests) == 1


def test_a_kill_leaves_the_answer_or_an_unknown_outcome(
    start_gateway: Callable[..., Gateway], upstream: MockUpstream, known_secrets: Secrets
) -> None:
    gateway = start_gateway()
    with gateway.admin() as admin:
        credential = admin.credentials.create(
            name="c", provider="generic", secret=known_secrets.add("sk_test_of_the_kill")
        )
        token = known_secrets.add(str(
            admin.tokens.create(name="t", credential_id=credential["id"], upstream_url=upstream.url())["token_id"]
        ))
    answered = send(gateway, token, "/v1/charges", "answered", amount=1)
    upstream.script(fault=Fault("hang"))
    with socket.create_connection(gateway.address) as waiting:
        body = b'{"amount":2}'
        head = f"POST /v1/charges HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {token}\r\nIdempotency-Key: lost\r\n"
        waiting.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        wait_for(lambda: len(upstream.requests) == 2)
        gateway.stop(signal.SIGKILL)
    again = start_gateway(data=gateway.data, **gateway.environment)
    replayed = send(again, token, "/v1/charges", "answered", amount=1)
    assert replayed.content == answered.content
    lost = send(again, token, "/v1/charges", "lost", amount=2)  # the same bytes: compact JSON
    assert (lost.status_code, lost.json()["error"]["code"]) == (409, "outcome_unknown")
    assert len(upstream.requests) == 2

"""The front door: how clients are made and closed, and the vendors' clients that they lend their connections to."""

import sys
from concurrent.futures import ThreadPoolExecutor

import anthropic
import openai
import pytest

from ailink import AIlinkClient, AsyncClient

COMPLETION = {
    "id": "c", "object": "chat.completion", "created": 1, "model": "gpt-4o",
    "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "Hello!"}}],
}
MESSAGE = {
    "id": "m", "type": "message", "role": "assistant", "model": "claude-sonnet-5", "stop_reason": "end_turn",
    "stop_sequence": None, "content": [{"type": "text", "text": "Hello!"}],
    "usage": {"input_tokens": 1, "output_tokens": 1},
}
MESSAGES = [{"role": "user", "content": "Hello"}]
CHUNKS = b'data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":[]}\n\ndata: [DONE]\n\n'


def test_a_closed_client_sends_nothing(gateway):
    with AIlinkClient("key", gateway_url=gateway.url) as client:
        client.get("/v1/models")
    with pytest.raises(RuntimeError, match="closed"):
        client.get("/v1/models")
    assert client.is_healthy() is False
    assert len(gateway.calls) == 1


async def test_a_closed_async_client_sends_nothing(gateway):
    async with AsyncClient("key", gateway_url=gateway.url) as client:
        await client.get("/v1/models")
    with pytest.raises(RuntimeError, match="closed"):
        await client.get("/v1/models")
    assert await client.is_healthy() is False
    assert len(gateway.calls) == 1


@pytest.mark.parametrize("kind", [AIlinkClient, AsyncClient])
def test_an_admin_is_a_client_with_another_key(kind, monkeypatch):
    monkeypatch.setenv("AILINK_GATEWAY_URL", "https://gateway.example.com")
    admin = kind.admin(admin_key="ailink_admin_key", timeout=5, retries=1, verify_ssl=False)
    assert type(admin) is kind
    assert admin._configuration == kind(
        api_key="ailink_admin_key", gateway_url="https://gateway.example.com", timeout=5, retries=1, verify_ssl=False
    )._configuration


def test_one_client_serves_many_threads(gateway):
    with AIlinkClient("key", gateway_url=gateway.url) as client, ThreadPoolExecutor(8) as threads:
        paths = [f"/v1/things/{number}" for number in range(32)]
        statuses = list(threads.map(lambda path: client.get(path).status_code, paths))
    assert statuses == [200] * 32
    assert sorted(call.path for call in gateway.calls) == sorted(paths)


# --- the vendors' clients ------------------------------------------------------------------------


def test_openai_calls_through_the_gateway(gateway, token):
    with AIlinkClient(token, gateway_url=gateway.url, agent_name="bot") as client:
        gateway.answer(200, COMPLETION)
        reply = client.openai().chat.completions.create(model="gpt-4o", messages=MESSAGES)
    assert reply.choices[0].message.content == "Hello!"
    call = gateway.calls[0]
    assert (call.path, call.json["model"]) == ("/v1/chat/completions", "gpt-4o")
    assert call.headers["authorization"] == f"Bearer {token}"
    assert call.headers["x-ailink-agent-name"] == "bot"


async def test_async_openai_calls_through_the_gateway(gateway, token):
    async with AsyncClient(token, gateway_url=gateway.url, agent_name="bot") as client:
        gateway.answer(200, COMPLETION)
        reply = await client.openai().chat.completions.create(model="gpt-4o", messages=MESSAGES)
    assert reply.choices[0].message.content == "Hello!"
    call = gateway.calls[0]
    assert (call.path, call.headers["authorization"]) == ("/v1/chat/completions", f"Bearer {token}")
    assert call.headers["x-ailink-agent-name"] == "bot"


def test_openai_streams(gateway, token):
    with AIlinkClient(token, gateway_url=gateway.url) as client:
        gateway.answer(200, CHUNKS, headers={"Content-Type": "text/event-stream"})
        stream = client.openai().chat.completions.create(model="gpt-4o", messages=MESSAGES, stream=True)
        assert [chunk.id for chunk in stream] == ["c"]


def test_anthropic_calls_through_the_gateway(gateway, token):
    with AIlinkClient(token, gateway_url=gateway.url, agent_name="bot") as client:
        gateway.answer(200, MESSAGE)
        reply = client.anthropic().messages.create(model="claude-sonnet-5", max_tokens=9, messages=MESSAGES)
    assert reply.content[0].text == "Hello!"
    call = gateway.calls[0]
    assert (call.path, call.headers["x-ailink-agent-name"]) == ("/v1/messages", "bot")
    assert token in (call.headers.get("x-api-key"), call.headers.get("authorization", "").removeprefix("Bearer "))


async def test_async_anthropic_calls_through_the_gateway(gateway, token):
    async with AsyncClient(token, gateway_url=gateway.url) as client:
        gateway.answer(200, MESSAGE)
        reply = await client.anthropic().messages.create(model="claude-sonnet-5", max_tokens=9, messages=MESSAGES)
    assert reply.content[0].text == "Hello!"
    assert gateway.calls[0].path == "/v1/messages"


@pytest.mark.parametrize(("kind", "vendor", "expected"), [
    (AIlinkClient, "openai", openai.OpenAI), (AsyncClient, "openai", openai.AsyncOpenAI),
    (AIlinkClient, "anthropic", anthropic.Anthropic), (AsyncClient, "anthropic", anthropic.AsyncAnthropic),
])
def test_vendors_clients_take_over_the_settings(kind, vendor, expected, monkeypatch):
    for name in ("API_KEY", "BASE_URL", "AUTH_TOKEN"):
        monkeypatch.setenv(f"{vendor.upper()}_{name}", "https://another.example.com")
    made = getattr(kind("key", "https://gateway.example.com/ailink", timeout=7, retries=5), vendor)()
    assert type(made) is expected
    assert str(made.base_url) == f"https://gateway.example.com/ailink/{'v1/' if vendor == 'openai' else ''}"
    assert (made.api_key, made.timeout, made.max_retries) == ("key", 7, 5)
    assert made.auth_headers.get("X-Api-Key", made.auth_headers.get("Authorization")) in ("key", "Bearer key")


def test_a_vendors_client_closes_nothing_but_itself(gateway):
    with AIlinkClient("key", gateway_url=gateway.url) as client:
        with client.openai() as borrower:
            gateway.answer(200, COMPLETION)
            borrower.chat.completions.create(model="gpt-4o", messages=MESSAGES)
        client.anthropic().close()
        assert client.get("/v1/models").status_code == 200


async def test_a_vendors_async_client_closes_nothing_but_itself(gateway):
    async with AsyncClient("key", gateway_url=gateway.url) as client:
        async with client.openai() as borrower:
            gateway.answer(200, COMPLETION)
            await borrower.chat.completions.create(model="gpt-4o", messages=MESSAGES)
        await client.anthropic().close()
        assert (await client.get("/v1/models")).status_code == 200


def test_vendors_clients_follow_no_redirect_either(gateway, make_gateway):
    elsewhere = make_gateway()
    elsewhere.start()
    gateway.answer(307, headers={"Location": elsewhere.url})
    with AIlinkClient("key", gateway_url=gateway.url) as client, pytest.raises(openai.APIStatusError):
        client.openai().chat.completions.create(model="gpt-4o", messages=MESSAGES)
    assert elsewhere.calls == []


@pytest.mark.parametrize("kind", [AIlinkClient, AsyncClient])
@pytest.mark.parametrize("vendor", ["openai", "anthropic"])
def test_a_missing_vendors_package_is_named(kind, vendor, monkeypatch):
    monkeypatch.setitem(sys.modules, vendor, None)
    with pytest.raises(ImportError, match=rf"pip install ailink\[{vendor}\]"):
        getattr(kind("key"), vendor)()

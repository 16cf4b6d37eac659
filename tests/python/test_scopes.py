"""Blocks: a session's calls, an upstream key of the caller's own, a way around a gateway that is down."""

import asyncio
import threading
import time
import warnings
from contextlib import AsyncExitStack

import openai
import pytest

import ailink
from ailink import AIlinkClient, AsyncClient
from ailink.health import AsyncHealthPoller, HealthPoller


class Entered:
    """A block of either client, entered; its value is driven like ``client``."""

    def __init__(self, scope):
        self.scope = scope

    async def __aenter__(self):
        if hasattr(self.scope, "__aenter__"):
            return await self.scope.__aenter__()
        return self.scope.__enter__()

    async def __aexit__(self, *how):
        if hasattr(self.scope, "__aexit__"):
            await self.scope.__aexit__(*how)
        else:
            self.scope.__exit__(*how)


@pytest.fixture
def drive(client):
    """Return what makes the value of a block awaitable whether it is synchronous or not."""
    return type(client)


async def test_every_call_of_a_trace_is_tagged(client, drive, gateway):
    async with Entered(client.target.trace(session_id="conv-abc123", parent_span_id="span-root-001")) as inner:
        traced = drive(inner)
        await traced.post("/v1/chat/completions", json={})
        await traced.get("/v1/models")
    await client.get("/v1/models")
    sessions = [call.headers.get("x-session-id") for call in gateway.calls]
    assert sessions == ["conv-abc123", "conv-abc123", None]
    assert gateway.calls[0].headers["x-parent-span-id"] == "span-root-001"


async def test_a_trace_without_a_name_gets_one_of_its_own(client, drive, gateway):
    for _ in range(2):
        async with Entered(client.target.trace()) as inner:
            await drive(inner).get("/v1/models")
    first, second = (call.headers["x-session-id"] for call in gateway.calls)
    assert first != second
    assert "x-parent-span-id" not in gateway.calls[0].headers


async def test_the_vendors_client_is_in_the_trace_too(client, gateway):
    async with Entered(client.target.trace(session_id="s")) as inner:
        assert inner.openai().default_headers["X-Session-ID"] == "s"
        assert inner.anthropic().default_headers["X-Session-ID"] == "s"


@pytest.mark.parametrize(("header", "sent"), [({}, "Bearer sk-mine"), ({"header": ""}, "sk-mine")])
async def test_a_key_of_the_callers_own_goes_with_every_call(client, drive, gateway, header, sent):
    gateway.answer(200, {"id": "tok_1", "name": "t", "credential_id": None})
    async with Entered(client.target.with_upstream_key("sk-mine", **header)) as inner:
        await drive(inner).post("/v1/chat/completions", json={})
        assert "sk-mine" not in repr(inner) + repr(inner._configuration)
    assert gateway.calls[0].path == "/api/v1/tokens/self"
    assert gateway.calls[1].headers["x-real-authorization"] == sent
    assert "x-ailink-allow-override" not in gateway.calls[1].headers


async def test_a_token_with_a_credential_is_refused_unless_the_caller_insists(client, drive, gateway):
    gateway.answer(200, {"id": "tok_1", "name": "t", "credential_id": "cred_1"})
    with pytest.raises(ailink.AIlinkError, match="allow_override"):
        async with Entered(client.target.with_upstream_key("sk-mine")):
            pass
    async with Entered(client.target.with_upstream_key("sk-mine", allow_override=True)) as inner:
        await drive(inner).get("/v1/data")
    assert gateway.calls[-1].headers["x-ailink-allow-override"] == "true"
    assert len(gateway.calls) == 2


async def test_blocks_stack(client, drive, gateway):
    async with AsyncExitStack() as stack:
        byok = await stack.enter_async_context(
            Entered(client.target.with_upstream_key("sk-mine", allow_override=True))
        )
        traced = await stack.enter_async_context(Entered(byok.trace(session_id="conv-xyz")))
        await drive(traced).post("/v1/chat/completions", json={})
    headers = gateway.calls[0].headers
    assert (headers["x-session-id"], headers["x-real-authorization"]) == ("conv-xyz", "Bearer sk-mine")


@pytest.mark.parametrize("key", ["", "a\r\nX-Evil: 1", "schlüssel"])
async def test_what_no_header_can_carry_is_refused_and_not_shown(client, key):
    with pytest.raises(ValueError, match="X-Real-Authorization must be") as caught:
        client.target.with_upstream_key(key, header="")
    assert not key or key not in str(caught.value)


async def test_with_a_fallback_the_gateway_comes_first(client, gateway):
    fallback = object()
    async with Entered(client.target.with_fallback(fallback)) as oai:
        assert isinstance(oai, openai.OpenAI | openai.AsyncOpenAI)
    gateway.answer(503)
    with pytest.warns(UserWarning, match="no policy, limit or record"):
        async with Entered(client.target.with_fallback(fallback)) as oai:
            assert oai is fallback


def test_a_poller_asks_in_the_background(gateway, token):
    gateway.answer(503)
    with AIlinkClient(token, gateway_url=gateway.url) as client:
        with HealthPoller(client, interval=0.01) as poller:
            assert poller.is_healthy is False
            end = time.monotonic() + 10
            while not poller.is_healthy:
                assert time.monotonic() < end
        assert "ailink-health" not in [thread.name for thread in threading.enumerate()]


async def test_a_poller_asks_in_a_task(gateway, token):
    asked = asyncio.Event()

    class Watched(AsyncClient):
        async def is_healthy(self):
            healthy = await super().is_healthy()
            if healthy:
                asyncio.get_running_loop().call_soon(asked.set)
            return healthy

    gateway.answer(503)
    async with Watched(token, gateway_url=gateway.url) as client:
        async with AsyncHealthPoller(client, interval=0.01) as poller:
            assert poller.is_healthy is False
            async with asyncio.timeout(10):
                await asked.wait()
            assert poller.is_healthy is True
        assert poller._task.done()


@pytest.mark.parametrize("kind", [HealthPoller, AsyncHealthPoller])
@pytest.mark.parametrize("interval", [0, -1])
def test_an_interval_is_positive(kind, interval):
    with pytest.raises(ValueError, match="interval"):
        kind(None, interval=interval)


def test_a_block_that_is_never_entered_does_nothing(gateway, token):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with AIlinkClient(token, gateway_url=gateway.url) as client:
            client.trace()
            client.with_fallback(object())
            client.with_upstream_key("sk-mine")
    assert gateway.calls == []

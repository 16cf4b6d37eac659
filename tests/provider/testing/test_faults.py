"""Every fault, as it looks on the wire of every vendor."""

import asyncio
import json
from typing import Any

import httpx2
import openai
import pytest
from anthropic import AsyncAnthropic
from google.genai.client import AsyncClient as AsyncGemini
from openai import AsyncOpenAI

from ailink_provider.chat import Text, collect
from ailink_provider.dialects import Sent
from ailink_provider.registry import dialects
from ailink_provider.testing import Fault, MockUpstream
from ailink_provider.testing.vendor import GARBAGE

from .conftest import HEADERS

ASKS: dict[str, tuple[str, dict[str, Any]]] = {
    "openai": ("/v1/chat/completions", {
        "model": "gpt-4o", "stream": True, "messages": [{"role": "user", "content": "Hi"}]}),
    "anthropic": ("/v1/messages", {
        "model": "claude-haiku-4-5", "stream": True, "max_tokens": 5, "messages": [{"role": "user", "content": "Hi"}]}),
    "gemini": ("/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse", {
        "contents": [{"parts": [{"text": "Hi"}]}]}),
    "responses": ("/v1/responses", {"model": "gpt-4o", "stream": True, "input": "Hi"}),
    "bedrock": ("/model/amazon.nova-pro-v1%3A0/converse-stream", {
        "messages": [{"role": "user", "content": [{"text": "Hi"}]}]}),
    "ollama": ("/api/chat", {"model": "llama3.1:8b", "messages": [{"role": "user", "content": "Hi"}]}),
}
TERMINAL = {"openai": b"[DONE]", "anthropic": b"message_stop", "gemini": b'"finishReason":"STOP"',
            "responses": b"response.completed", "bedrock": b"metadata", "ollama": b'"done":true'}
VENDORS = pytest.mark.parametrize("vendor", list(ASKS))


async def stream(send: Any, vendor: str) -> httpx2.Response:
    path, body = ASKS[vendor]
    return await send(vendor, body, path)


def split(vendor: str, content: bytes) -> list[bytes]:
    """Return the events of a stream, as the vendor frames them."""
    if vendor == "bedrock":
        cuts = []
        while content:
            length = int.from_bytes(content[:4], "big")
            cuts.append(content[:length])
            content = content[length:]
        return cuts
    separator = b"\n" if vendor == "ollama" else b"\n\n"
    return [event for event in content.replace(b"\r\n", b"\n").split(separator) if event]


async def events(send: Any, vendor: str) -> list[bytes]:
    reply = await stream(send, vendor)
    assert reply.status_code == 200
    return split(vendor, reply.content)


@VENDORS
async def test_without_a_fault_the_last_event_is_the_terminal_one(send: Any, vendor: str) -> None:
    seen = await events(send, vendor)
    assert TERMINAL[vendor] in seen[-1] and not any(TERMINAL[vendor] in event for event in seen[:-1])


@VENDORS
async def test_eof_leaves_the_terminal_event_out(upstream: MockUpstream, send: Any, vendor: str) -> None:
    upstream.script(text="a b c")
    whole = await events(send, vendor)
    upstream.script(text="a b c", fault=Fault("eof"))
    ended = await events(send, vendor)
    assert len(ended) == len(whole) - 1 and TERMINAL[vendor] not in b"".join(ended)
    upstream.script(text="a b c", fault=Fault("eof", at=2))
    assert len(await events(send, vendor)) == 2


@VENDORS
async def test_cut_closes_the_socket_in_mid_stream(upstream: MockUpstream, http: Any, vendor: str) -> None:
    upstream.script(text="a b c", fault=Fault("cut", at=2))
    path, body = ASKS[vendor]
    seen = b""
    with pytest.raises(httpx2.RemoteProtocolError, match="incomplete chunked read"):
        async with http.stream("POST", path, json=body, headers=HEADERS[vendor]) as reply:
            async for chunk in reply.aiter_bytes():
                seen += chunk
    assert len(split(vendor, seen)) == 2
    assert upstream.requests[-1].outcome.result(0) == "cut"


async def test_cut_in_the_middle_of_a_whole_body_and_before_any(upstream: MockUpstream, http: Any) -> None:
    upstream.script(fault=Fault("cut", at=0))
    with pytest.raises(httpx2.RemoteProtocolError, match="without sending complete message body"):
        await http.get("/x")
    upstream.script(fault=Fault("cut"))
    with pytest.raises(httpx2.RemoteProtocolError, match="without sending a response"):
        await http.get("/x")


async def test_reset(upstream: MockUpstream, http: Any) -> None:
    upstream.script(fault=Fault("reset"))
    with pytest.raises(httpx2.ReadError):
        await http.get("/x")
    upstream.assert_clean()


@VENDORS
async def test_malformed(upstream: MockUpstream, send: Any, vendor: str) -> None:
    upstream.script(text="a b c", fault=Fault("malformed", at=1))
    seen = await events(send, vendor)
    assert GARBAGE in seen[1]
    with pytest.raises(json.JSONDecodeError):
        json.loads(GARBAGE)
    assert TERMINAL[vendor] in seen[-1]


async def test_malformed_whole(upstream: MockUpstream, http: Any) -> None:
    upstream.script(fault=Fault("malformed"))
    reply = await http.get("/x")
    with pytest.raises(json.JSONDecodeError):
        reply.json()


@VENDORS
async def test_html_and_any_status(upstream: MockUpstream, send: Any, vendor: str) -> None:
    upstream.script(fault=Fault("html", status=504))
    reply = await stream(send, vendor)
    assert reply.status_code == 504 and reply.text.startswith("<html>")
    upstream.script(fault=Fault("status", status=418, message="I am a teapot."))
    reply = await stream(send, vendor)
    said = reply.json()
    error = said if vendor == "bedrock" else {"message": said["error"]} if vendor == "ollama" else said["error"]
    assert (reply.status_code, error["message"]) == (418, "I am a teapot.")


@VENDORS
async def test_an_error_event_ends_a_stream_in_the_vendor_s_words(
        upstream: MockUpstream, send: Any, vendor: str) -> None:
    upstream.script(text="a b c", fault=Fault("error_event", at=2, status=429, message="Slow down."))
    seen = await events(send, vendor)
    assert len(seen) == 3 and b"Slow down." in seen[-1]


@VENDORS
@pytest.mark.parametrize("status", [429, 529])
async def test_a_limit_and_an_overload(upstream: MockUpstream, send: Any, vendor: str, status: int) -> None:
    upstream.script(fault=Fault("status", status=status, retry_after=2))
    reply = await stream(send, vendor)
    assert reply.status_code == status
    assert reply.headers.get("retry-after") == (None if vendor == "gemini" else "2")


@pytest.mark.parametrize("kind", ["drip", "noise"])
@pytest.mark.parametrize("vendor", ["responses", "bedrock", "ollama"])
async def test_a_dialect_reads_through_drip_and_noise(
        upstream: MockUpstream, send: Any, vendor: str, kind: Any) -> None:
    upstream.script(text="Grüße, 世界!", fault=Fault(kind))
    name = {"responses": "openai_responses", "bedrock": "bedrock_converse"}.get(vendor, vendor)
    reader = dialects()[name].operations["chat"].reader(Sent({}))
    heard = [*reader.feed((await stream(send, vendor)).content), *reader.close()]
    assert collect(heard).choices[0].parts == [Text("Grüße, 世界!")]


async def test_hang_before_the_head_until_released(upstream: MockUpstream, http: Any) -> None:
    upstream.script(fault=Fault("hang"))
    asking = asyncio.create_task(http.get("/x"))
    await upstream.received()
    assert not asking.done()
    upstream.release()
    assert (await asking).status_code == 200


async def test_a_release_may_come_first(upstream: MockUpstream, http: Any) -> None:
    upstream.release()
    upstream.script(fault=Fault("hang"))
    assert (await http.get("/x")).status_code == 200


async def test_hang_in_mid_stream(upstream: MockUpstream, openai_client: AsyncOpenAI) -> None:
    upstream.script(text="a b c", fault=Fault("hang", at=3))
    answer = await openai_client.chat.completions.create(**ASKS["openai"][1])
    seen = [(await anext(answer)).choices[0].delta.content for _ in range(3)]
    assert seen == ["", "a", " b"]
    upstream.release()
    assert [chunk.choices[0].delta.content async for chunk in answer] == [" c", None]


async def test_a_client_that_leaves_a_hanging_answer_is_seen(
        upstream: MockUpstream, openai_client: AsyncOpenAI) -> None:
    upstream.script(fault=Fault("hang"), times=None)
    with pytest.raises(openai.APITimeoutError):
        await openai_client.chat.completions.create(**ASKS["openai"][1], timeout=0.05)
    await upstream.disconnected()


async def test_delay(upstream: MockUpstream, http: Any) -> None:
    upstream.script(fault=Fault("delay", seconds=0.05))
    started = asyncio.get_running_loop().time()
    await http.get("/x")
    assert asyncio.get_running_loop().time() - started >= 0.05


@pytest.mark.parametrize("kind", ["drip", "noise"])
async def test_the_sdks_read_through_drip_and_noise(
        upstream: MockUpstream, openai_client: AsyncOpenAI, anthropic_client: AsyncAnthropic,
        gemini_client: AsyncGemini, kind: Any) -> None:
    upstream.script(text="Grüße, 世界!", fault=Fault(kind), times=2)
    async with openai_client.chat.completions.stream(
            model="gpt-4o", messages=[{"role": "user", "content": "Hi"}]) as answer:
        assert (await answer.get_final_completion()).choices[0].message.content == "Grüße, 世界!"
    async with anthropic_client.messages.stream(
            model="claude-haiku-4-5", max_tokens=5, messages=[{"role": "user", "content": "Hi"}]) as reply:
        assert await reply.get_final_text() == "Grüße, 世界!"
    # Google's SDK takes a comment for JSON: to it, only the bytes come one by one.
    upstream.script(text="Grüße, 世界!", fault=Fault("drip"))
    chunks = [chunk async for chunk in await gemini_client.models.generate_content_stream(
        model="gemini-2.5-flash", contents="Hi")]
    assert "".join(chunk.text or "" for chunk in chunks) == "Grüße, 世界!"


async def test_drip_sends_single_bytes(upstream: MockUpstream) -> None:
    upstream.script(text="a", fault=Fault("drip"))
    reader, writer = await asyncio.open_connection("127.0.0.1", upstream.port)
    writer.write(b"GET /x HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    await reader.readuntil(b"\r\n\r\n")
    pieces = []
    while piece := await reader.read(4096):
        pieces.append(piece)
    writer.close()
    assert json.loads(b"".join(pieces))["path"] == "/x"
    assert len(pieces) > 20


async def test_noise_is_what_it_says(upstream: MockUpstream, send: Any) -> None:
    upstream.script(text="a", fault=Fault("noise"))
    raw = (await stream(send, "openai")).content
    assert b": keep-alive\r\n\r\n" in raw and b"data:{" in raw and b"data: " not in raw
    assert raw.count(b"\n") == raw.count(b"\r\n")

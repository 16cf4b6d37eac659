"""The mock's HTTP: framing, connections, back-pressure, departures, and nothing left behind."""

import asyncio
import json
import ssl
import threading

import httpx2
import openai
import pytest
import trustme

from ailink_provider.testing import KEYS, Fault, MockUpstream

GET = b"GET /%b HTTP/1.1\r\nHost: x\r\n\r\n"
CHAT = {"model": "gpt-4o", "messages": [{"role": "user", "content": "Hi"}]}
HEADERS = {"authorization": f"Bearer {KEYS['openai']}"}


async def read_reply(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    """Return the head and the body of a reply with a Content-Length."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
    return head, await reader.readexactly(length)


async def test_answers_pipelined_requests_in_order_on_one_connection(upstream: MockUpstream) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", upstream.port)
    writer.write(GET % b"one" + GET % b"two?a=1&a=%C3%A9")
    bodies = [json.loads((await read_reply(reader))[1]) for _ in range(2)]
    writer.close()
    assert [body["path"] for body in bodies] == ["/one", "/two"]
    assert bodies[1]["query"] == [["a", "1"], ["a", "é"]]
    assert [request.connection for request in upstream.requests] == [1, 1]
    assert [request.target for request in upstream.requests] == ["/one", "/two?a=1&a=%C3%A9"]


async def test_reads_chunked_requests(upstream: MockUpstream) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", upstream.port)
    writer.write(b"PUT /x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n")
    _, body = await read_reply(reader)
    writer.close()
    assert json.loads(body)["body"] == "abcde"


async def test_closes_when_the_client_asks_for_it(upstream: MockUpstream) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", upstream.port)
    writer.write(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    await read_reply(reader)
    assert await reader.read() == b""
    writer.close()


async def test_answers_what_is_not_http_and_remembers_it(upstream: MockUpstream) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", upstream.port)
    writer.write(b"nonsense\r\n\r\n")
    assert (await reader.read()).startswith(b"HTTP/1.1 400 ")
    writer.close()
    with pytest.raises(AssertionError, match="not HTTP"):
        upstream.assert_clean()


async def test_waits_for_a_slow_reader(upstream: MockUpstream) -> None:
    upstream.script(chunks=["x" * 100_000] * 100)
    reader, writer = await asyncio.open_connection("127.0.0.1", upstream.port, limit=1000)
    body = json.dumps({**CHAT, "stream": True}).encode()
    writer.write(b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                 b"Connection: close\r\nAuthorization: %b\r\nContent-Length: %d\r\n\r\n%b"
                 % (HEADERS["authorization"].encode(), len(body), body))
    request = await upstream.received()
    sent, still = -1, 0
    while still < 500:
        sent, still = request.sent, still + 1 if request.sent == sent else 0
        await asyncio.sleep(0)
    assert 0 < sent < 9_000_000
    assert len(await reader.read()) > 10_000_000
    writer.close()


async def test_sees_the_client_leave(upstream: MockUpstream) -> None:
    upstream.script(chunks=["x" * 100_000] * 100)
    async with httpx2.AsyncClient(base_url=upstream.url(), verify=False) as client:
        async with client.stream("POST", "/v1/chat/completions", json={**CHAT, "stream": True}, headers=HEADERS):
            pass
        await upstream.disconnected()
        await client.post("/v1/chat/completions", json=CHAT, headers=HEADERS)
    with pytest.raises(AssertionError, match="was answered"):
        await upstream.disconnected()


async def test_waits_for_requests(upstream: MockUpstream, http: httpx2.AsyncClient) -> None:
    waiting = asyncio.create_task(upstream.received(2))
    await http.get("/one")
    assert not waiting.done()
    await http.get("/two")
    assert (await waiting).path == "/two"
    assert (await upstream.received(1)).path == "/one"
    with pytest.raises(TimeoutError):
        await upstream.received(3, timeout=0)
    await http.get("/three")
    assert upstream.requests[2].path == "/three"


async def test_drops_idle_connections_only(upstream: MockUpstream) -> None:
    idle_reader, idle = await asyncio.open_connection("127.0.0.1", upstream.port)
    idle.write(GET % b"idle")
    await read_reply(idle_reader)
    upstream.script(fault=Fault("hang"))
    busy_reader, busy = await asyncio.open_connection("127.0.0.1", upstream.port)
    busy.write(GET % b"busy")
    await upstream.received(2)
    upstream.drop_idle_connections()
    assert await idle_reader.read() == b""
    upstream.release()
    assert json.loads((await read_reply(busy_reader))[1])["path"] == "/busy"
    idle.close()
    busy.close()


async def test_serves_in_tls() -> None:
    authority = trustme.CA()
    server, client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
    authority.issue_cert("127.0.0.1").configure_cert(server)
    authority.configure_trust(client)
    async with MockUpstream(tls=server) as upstream, httpx2.AsyncClient(verify=client) as http:
        assert upstream.url().startswith("https://")
        assert (await http.get(upstream.url("/x"))).json()["path"] == "/x"


async def test_leaves_nothing_behind_even_when_answers_hang() -> None:
    async with MockUpstream() as upstream:
        upstream.script(fault=Fault("hang"), times=None)
        reader, writer = await asyncio.open_connection("127.0.0.1", upstream.port)
        writer.write(GET % b"x")
        await upstream.received()
        port = upstream.port
    assert asyncio.all_tasks() == {asyncio.current_task()}
    with pytest.raises(ConnectionError):
        await asyncio.open_connection("127.0.0.1", port)
    with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
        await reader.readexactly(1)
    writer.close()


def test_serves_tests_that_block_from_a_thread_of_its_own() -> None:
    before = set(threading.enumerate())
    with MockUpstream() as upstream:
        upstream.script(text="From afar.")
        with openai.OpenAI(base_url=upstream.url("/v1"), api_key=KEYS["openai"], max_retries=0) as client:
            reply = client.chat.completions.create(**CHAT)
        assert reply.choices[0].message.content == "From afar."
        assert upstream.requests[-1].outcome.result(10) == "answered"
        upstream.assert_clean()
    assert not [thread for thread in set(threading.enumerate()) - before if thread.name == "mock-upstream"]


def test_a_port_that_is_taken_is_an_error_in_either_way_of_life() -> None:
    async def again(port: int) -> None:
        async with MockUpstream(port=port):
            pass

    with MockUpstream() as upstream:
        with pytest.raises(OSError, match="address already in use"):
            asyncio.run(again(upstream.port))
        with pytest.raises(OSError, match="address already in use"), MockUpstream(port=upstream.port):
            pass


async def test_a_script_that_cannot_be_played_fails_the_test() -> None:
    """Anthropic's whole replies carry tool input as an object: there is no saying this."""
    body = {"model": "claude-haiku-4-5", "max_tokens": 5, "messages": [{"role": "user", "content": "Hi"}]}
    headers = {"x-api-key": KEYS["anthropic"], "anthropic-version": "2023-06-01"}
    with pytest.raises(json.JSONDecodeError):
        async with MockUpstream() as upstream, httpx2.AsyncClient(verify=False) as http:
            upstream.script(tool_calls=[("f", "{broken")])
            with pytest.raises(httpx2.RemoteProtocolError):
                await http.post(upstream.url("/v1/messages"), json=body, headers=headers)
            with pytest.raises(AssertionError, match="the mock itself failed"):
                upstream.assert_clean()
    with pytest.raises(json.JSONDecodeError), MockUpstream() as blocking, httpx2.Client(verify=False) as client:
        blocking.script(tool_calls=[("f", "{broken")])
        with pytest.raises(httpx2.RemoteProtocolError):
            client.post(blocking.url("/v1/messages"), json=body, headers=headers)

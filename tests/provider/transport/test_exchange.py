"""Requests and answers over real sockets: what arrives, what is kept alive, what is sent again."""

import asyncio
from collections.abc import AsyncIterator, Callable
from math import inf
from typing import Any

import pytest

from ailink_provider.errors import Failure
from ailink_provider.transport import Request, Transport

OK = b"HTTP/1.1 200 OK\r\n"
HELLO = OK + b"Content-Length: 5\r\n\r\nhello"
STREAM = OK + b"Transfer-Encoding: chunked\r\n\r\n"


async def exchange(transport: Transport, request: Request, server: Any, answer: bytes, peer: Any = None) -> Any:
    """Have ``answer`` sent to ``request``; return the response and the peer, which is a new one unless given."""
    sending = asyncio.create_task(transport.send(request))
    peer = peer or await server.accept()
    await peer.request()
    peer.send(answer)
    return await sending, peer


async def test_a_request_as_it_goes_out(transport: Transport, server: Any) -> None:
    request = Request("POST", server.origin, b"/v1/x?y=%7b", [(b"X-Key", b"k"), (b"host", b"evil")], b"body")
    sending = asyncio.create_task(transport.send(request))
    peer = await server.accept()
    head, body = await peer.request()
    assert head == (
        b"POST /v1/x?y=%%7b HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nX-Key: k\r\nContent-Length: 4\r\n\r\n"
        % server.origin.port
    )
    assert body == b"body"
    peer.send(b"HTTP/1.1 418 Teapot\r\nX-A: B\r\nContent-Length: 2\r\n\r\nno")
    response = await sending
    assert (response.status, response.headers) == (418, [(b"x-a", b"B"), (b"content-length", b"2")])
    assert await response.read(10) == b"no"


async def test_one_connection_serves_one_exchange_after_another(transport: Transport, server: Any) -> None:
    peer = None
    for method, answer, body in [
        ("GET", HELLO, b"hello"), ("GET", STREAM + b"1\r\na\r\n0\r\n\r\n", b"a"), ("HEAD", HELLO[:-5], b""),
        ("GET", b"HTTP/1.1 204 No\r\n\r\n", b""), ("GET", HELLO, b"hello"),
        ("GET", b"HTTP/1.1 103 Hint\r\n\r\n" + HELLO, b"hello"),
    ]:
        response, peer = await exchange(transport, Request(method, server.origin, b"/", []), server, answer, peer)
        assert await response.read(10) == body
    assert server.accepted == 1
    assert transport.statistics() == {server.origin: (1, 1, 0)}


@pytest.mark.parametrize("answer", [
    OK + b"Connection: close\r\nContent-Length: 5\r\n\r\nhello",
    b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    HELLO + b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison",
    HELLO + b"garbage",
])
async def test_a_connection_that_must_not_be_reused_is_closed(
    transport: Transport, server: Any, get: Request, answer: bytes,
) -> None:
    response, peer = await exchange(transport, get, server, answer)
    assert await response.read(10) == b"hello"
    await peer.gone()
    assert transport.statistics() == {}
    response, _ = await exchange(transport, get, server, HELLO)
    assert await response.read(10) == b"hello"
    assert server.accepted == 2


async def test_a_body_arrives_in_pieces(transport: Transport, server: Any, get: Request) -> None:
    response, peer = await exchange(transport, get, server, STREAM)
    assert transport.statistics() == {server.origin: (1, 0, 0)}
    pieces = aiter(response)
    for piece in (b"one", b"two"):
        peer.send(b"3\r\n", piece, b"\r\n")
        assert await anext(pieces) == piece
    peer.send(b"0\r\n\r\n")
    assert [piece async for piece in pieces] == []
    assert transport.statistics() == {server.origin: (1, 1, 0)}
    response, _ = await exchange(transport, get, server, HELLO, peer)
    assert await response.read(5) == b"hello"


async def test_a_finished_answer_gives_its_connection_back_before_it_is_read(
    transport: Transport, server: Any, get: Request, until: Any,
) -> None:
    first, peer = await exchange(transport, get, server, OK + b"Content-Length: 3\r\n\r\n")
    peer.send(b"abc")
    await until(lambda: transport.statistics() == {server.origin: (1, 1, 0)})
    second, _ = await exchange(transport, get, server, HELLO, peer)
    assert await first.read(3) == b"abc"
    assert await second.read(5) == b"hello"


async def test_a_body_until_the_connections_end(transport: Transport, server: Any, get: Request) -> None:
    response, peer = await exchange(transport, get, server, OK + b"\r\nab")
    peer.send(b"cd")
    peer.close()
    assert await response.read(10) == b"abcd"
    assert transport.statistics() == {}


@pytest.mark.parametrize("answer", [
    b"", b"HT", OK, OK + b"X: y\r\n", OK + b"Content-Length: 5\r\n\r\n", HELLO[:-1], STREAM, STREAM + b"5\r\nhel",
    STREAM + b"5\r\nhello\r\n", STREAM + b"5\r\nhello\r\n0\r\n", b"HTTP/1.1 100 Continue\r\n\r\n",
])
@pytest.mark.parametrize("end", ["close", "reset"])
async def test_an_answer_cut_short_is_a_failure(
    transport: Transport, server: Any, get: Request, answer: bytes, end: str,
) -> None:
    get.resend = True  # no licence: these connections are new, or the answer has begun
    sending = asyncio.create_task(transport.send(get))
    peer = await server.accept()
    await peer.request()
    await peer.send_all(answer)
    getattr(peer, end)()
    with pytest.raises(Failure) as raised:
        await (await sending).read(100)
    assert (raised.value.code, raised.value.retryable) == ("upstream_failed", True)
    assert server.origin.authority in raised.value.message
    assert transport.statistics() == {}
    assert server.accepted == 1


async def test_a_reset_ends_no_body_that_runs_until_close(transport: Transport, server: Any, get: Request) -> None:
    response, peer = await exchange(transport, get, server, OK + b"\r\nab")
    assert await anext(aiter(response)) == b"ab"
    peer.reset()
    with pytest.raises(Failure, match="before the end"):
        await response.read(10)


@pytest.mark.parametrize("answer", [
    b"SSH-2.0-OpenSSH_9.6\r\n", OK + b"X: " + b"y" * 70_000, OK + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
])
async def test_garbage_is_a_failure_and_closes(
    transport: Transport, server: Any, get: Request, answer: bytes,
) -> None:
    sending = asyncio.create_task(transport.send(get))
    peer = await server.accept()
    await peer.request()
    peer.send(answer)
    with pytest.raises(Failure) as raised:
        await sending
    assert raised.value.code == "upstream_failed"
    await peer.gone()


async def test_garbage_within_a_body_is_a_failure(transport: Transport, server: Any, get: Request) -> None:
    response, peer = await exchange(transport, get, server, STREAM + b"1\r\na\r\n")
    pieces = aiter(response)
    assert await anext(pieces) == b"a"
    peer.send(b"no chunk\r\n")
    with pytest.raises(Failure):
        await anext(pieces)
    await peer.gone()


async def test_a_redirect_is_an_answer_like_any_other(transport: Transport, server: Any, get: Request) -> None:
    moved = b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:%d/other\r\nContent-Length: 0\r\n\r\n"
    response, _ = await exchange(transport, get, server, moved % server.origin.port)
    assert response.status == 302
    assert server.accepted == 1


async def test_proxy_variables_are_not_read(
    transport: Transport, server: Any, get: Request, monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    response, _ = await exchange(transport, get, server, HELLO)
    assert await response.read(5) == b"hello"


async def test_nothing_is_sent_of_a_request_that_cannot_be_written(
    transport: Transport, server: Any, get: Request,
) -> None:
    get.headers = [(b"X", b"a\r\nY: b")]
    with pytest.raises(Failure) as raised:
        await transport.send(get)
    assert raised.value.code == "invalid_request"
    assert server.accepted == 0


# --- connections at rest -----------------------------------------------------------------------------


@pytest.mark.parametrize("unasked", [b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n", b"x", b"\r\n"])
async def test_unasked_bytes_close_a_connection_at_rest(
    transport: Transport, server: Any, get: Request, unasked: bytes,
) -> None:
    _, peer = await exchange(transport, get, server, HELLO)
    peer.send(unasked)
    await peer.gone()
    assert transport.statistics() == {}


@pytest.mark.parametrize("end", ["close", "reset"])
async def test_a_connection_that_ends_at_rest_is_forgotten(
    transport: Transport, server: Any, get: Request, end: str, until: Any,
) -> None:
    _, peer = await exchange(transport, get, server, HELLO)
    getattr(peer, end)()
    await until(lambda: not transport.statistics())
    response, _ = await exchange(transport, get, server, HELLO)
    assert await response.read(5) == b"hello"


async def test_connections_at_rest_expire(connect: Callable[..., Transport], server: Any, get: Request) -> None:
    transport = connect(keep_alive=0.03)
    _, peer = await exchange(transport, get, server, HELLO)
    assert transport.statistics() == {server.origin: (1, 1, 0)}
    await peer.gone()
    assert transport.statistics() == {}


async def test_an_upstreams_own_keep_alive_is_heeded(transport: Transport, server: Any, get: Request) -> None:
    hint = OK + b"Keep-Alive: timeout=1, max=100\r\nContent-Length: 0\r\n\r\n"
    _, peer = await exchange(transport, get, server, hint)
    await peer.gone()
    assert transport.statistics() == {}


@pytest.mark.parametrize("end", ["close", "reset"])
@pytest.mark.parametrize("body", [None, b"again"])
async def test_a_dead_connection_is_replaced_once(
    transport: Transport, server: Any, get: Request, end: str, body: bytes | None,
) -> None:
    get.resend, get.body = True, body
    _, peer = await exchange(transport, get, server, HELLO)
    sending = asyncio.create_task(transport.send(get))
    first = await peer.request()
    getattr(peer, end)()
    fresh = await server.accept()
    assert await fresh.request() == first
    fresh.send(HELLO)
    assert await (await sending).read(5) == b"hello"
    assert server.accepted == 2


async def test_a_replacement_is_not_replaced(transport: Transport, server: Any, get: Request) -> None:
    get.resend = True
    _, peer = await exchange(transport, get, server, HELLO)
    sending = asyncio.create_task(transport.send(get))
    for _ in range(2):
        await peer.request()
        peer.close()
        if server.accepted == 1:
            peer = await server.accept()
    with pytest.raises(Failure, match="without an answer"):
        await sending
    assert server.accepted == 2


async def test_a_replacement_goes_first_and_only_once(connect: Callable[..., Transport], server: Any) -> None:
    transport = connect(connections_per_host=1)

    async def ask(number: int) -> bytes:
        request = Request("GET", server.origin, b"/%d" % number, [], resend=True)
        return await (await transport.send(request)).read(5)

    async def asked() -> bytes:
        return (await peer.head()).split()[1]

    tasks = [asyncio.create_task(ask(0))]
    peer = await server.accept()
    assert await asked() == b"/0"
    peer.send(HELLO)
    await tasks[0]
    for number in (1, 2, 3):
        tasks.append(asyncio.create_task(ask(number)))
        await asyncio.sleep(0)
    assert await asked() == b"/1"
    peer.close()
    peer = await server.accept()
    assert await asked() == b"/2"  # its turn came with the place that the lost connection left
    peer.send(HELLO)
    assert await asked() == b"/1"
    peer.close()
    peer = await server.accept()
    assert await asked() == b"/3"
    peer.send(HELLO)
    with pytest.raises(Failure, match="without an answer"):
        await tasks[1]
    assert await asyncio.gather(tasks[2], tasks[3]) == [b"hello", b"hello"]


async def test_a_replacement_takes_what_rests_if_no_place_is_left(
    connect: Callable[..., Transport], server: Any, get: Request,
) -> None:
    transport = connect(connections_per_host=1)
    await exchange(transport, get, server, HELLO)
    [pool] = transport._pools.values()
    [connection] = pool.idle
    assert await pool.acquire(inf, True) is connection
    assert transport.statistics() == {server.origin: (1, 0, 0)}


async def test_a_replacement_is_rather_new_than_at_rest(
    connect: Callable[..., Transport], server: Any, get: Request,
) -> None:
    """Those at rest are likely to be just as dead."""
    transport = connect(connections_per_host=2)
    get.resend = True
    tasks = [asyncio.create_task(transport.send(get)) for _ in range(2)]
    peers = [await server.accept() for _ in range(2)]
    for peer in peers:
        await peer.request()
        peer.send(HELLO)
    await asyncio.gather(*tasks)
    assert transport.statistics() == {server.origin: (2, 2, 0)}
    sending = asyncio.create_task(transport.send(get))
    used = peers[1]  # the one used last
    await used.request()
    used.close()
    fresh = await server.accept()
    await fresh.request()
    fresh.send(HELLO)
    assert await (await sending).read(5) == b"hello"
    assert transport.statistics()[server.origin].open <= 2


async def test_a_dead_connection_is_a_failure_without_leave_to_resend(
    transport: Transport, server: Any, get: Request,
) -> None:
    _, peer = await exchange(transport, get, server, HELLO)
    sending = asyncio.create_task(transport.send(get))
    await peer.request()
    peer.close()
    with pytest.raises(Failure, match="without an answer"):
        await sending
    assert server.accepted == 1


async def test_an_answer_that_began_is_not_asked_for_again(transport: Transport, server: Any, get: Request) -> None:
    get.resend = True
    _, peer = await exchange(transport, get, server, HELLO)
    sending = asyncio.create_task(transport.send(get))
    await peer.request()
    await peer.send_all(b"HTTP/1.1 2")
    peer.close()
    with pytest.raises(Failure, match="before the end"):
        await sending
    assert server.accepted == 1


# --- uploads -----------------------------------------------------------------------------------------


async def test_a_large_body_goes_out_whole(transport: Transport, server: Any) -> None:
    body = bytes(range(256)) * 4096
    sending = asyncio.create_task(transport.send(Request("PUT", server.origin, b"/", [], body)))
    peer = await server.accept()
    assert (await peer.request())[1] == body
    peer.send(HELLO)
    assert await (await sending).read(5) == b"hello"
    assert transport.statistics() == {server.origin: (1, 1, 0)}


async def test_a_streamed_body_goes_out_chunked(transport: Transport, server: Any) -> None:
    async def body() -> AsyncIterator[bytes]:
        yield b"one"
        yield b""
        yield b"x" * 26

    sending = asyncio.create_task(transport.send(Request("POST", server.origin, b"/", [], body())))
    peer = await server.accept()
    head, sent = await peer.request()
    assert b"Content-Length" not in head
    assert sent == b"3\r\none\r\n1a\r\n" + b"x" * 26 + b"\r\n0\r\n\r\n"
    peer.send(HELLO)
    assert await (await sending).read(5) == b"hello"
    assert transport.statistics() == {server.origin: (1, 1, 0)}


async def test_a_streamed_body_is_never_sent_again(transport: Transport, server: Any, get: Request) -> None:
    async def body() -> AsyncIterator[bytes]:
        yield b"once"

    _, peer = await exchange(transport, get, server, HELLO)
    sending = asyncio.create_task(transport.send(Request("POST", server.origin, b"/", [], body(), resend=True)))
    await peer.request()
    peer.close()
    with pytest.raises(Failure):
        await sending
    assert server.accepted == 1


async def test_an_early_answer_ends_the_upload(transport: Transport, server: Any) -> None:
    closed = asyncio.Event()

    async def body() -> AsyncIterator[bytes]:
        try:
            yield b"first"
            await asyncio.Event().wait()
        finally:
            closed.set()

    sending = asyncio.create_task(transport.send(Request("POST", server.origin, b"/", [], body())))
    peer = await server.accept()
    await peer.head()
    peer.send(b"HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nbig")
    response = await sending
    assert (response.status, await response.read(3)) == (413, b"big")
    await peer.gone()  # what is left of the request must not become the next one's
    await closed.wait()
    assert transport.statistics() == {}


async def test_an_early_answer_to_a_body_that_is_not_taken(transport: Transport, server: Any) -> None:
    sending = asyncio.create_task(transport.send(Request("POST", server.origin, b"/", [], b"x" * 20_000_000)))
    peer = await server.accept()
    await peer.head()
    peer.send(HELLO)
    assert await (await sending).read(5) == b"hello"
    await peer.gone()
    assert transport.statistics() == {}


async def test_upload_and_download_overlap(transport: Transport, server: Any) -> None:
    told = asyncio.Event()

    async def body() -> AsyncIterator[bytes]:
        yield b"ask"
        await told.wait()
        yield b"more"

    sending = asyncio.create_task(transport.send(Request("POST", server.origin, b"/", [], body())))
    peer = await server.accept()
    await peer.head()
    assert await peer.take(8) == b"3\r\nask\r\n"
    peer.send(STREAM + b"2\r\nhm\r\n")
    pieces = aiter(await sending)
    assert await anext(pieces) == b"hm"
    told.set()
    assert await peer.take(14) == b"4\r\nmore\r\n0\r\n\r\n"
    peer.send(b"2\r\nok\r\n0\r\n\r\n")
    assert [piece async for piece in pieces] == [b"ok"]
    assert transport.statistics() == {server.origin: (1, 1, 0)}


@pytest.mark.parametrize("answered", [False, True])
async def test_a_body_that_raises_ends_the_exchange(transport: Transport, server: Any, answered: bool) -> None:
    trouble = asyncio.Event()

    async def body() -> AsyncIterator[bytes]:
        yield b"first"
        await trouble.wait()
        raise Failure("client_closed", "gone")

    sending = asyncio.create_task(transport.send(Request("POST", server.origin, b"/", [], body())))
    peer = await server.accept()
    await peer.head()
    if answered:
        peer.send(STREAM)
        response = await sending
        trouble.set()
        with pytest.raises(Failure, match="gone"):
            await response.read(10)
    else:
        trouble.set()
        with pytest.raises(Failure, match="gone"):
            await sending
    await peer.gone()
    assert transport.statistics() == {}

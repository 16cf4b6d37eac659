"""Readers that are slow, go away or forget: what is held in memory, and what becomes of the socket."""

import asyncio
import gc
import ssl
import weakref
from typing import Any

import pytest
import trustme

from ailink_provider.errors import Failure
from ailink_provider.transport import Request, Transport
from ailink_provider.transport.connection import Connection
from ailink_provider.transport.response import BUFFERED

OK = b"HTTP/1.1 200 OK\r\n"
HELLO = OK + b"Content-Length: 5\r\n\r\nhello"
STREAM = OK + b"Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n"
LARGE = 40_000_000
ONE_READ = 256 * 1024  # of the socket, as much as either loop takes at once


async def begin(transport: Transport, request: Request, server: Any, answer: bytes) -> Any:
    sending = asyncio.create_task(transport.send(request))
    peer = await server.accept()
    await peer.request()
    peer.send(answer)
    return await sending, peer


@pytest.mark.parametrize("secure", [False, True])
async def test_a_slow_reader_holds_the_upstream_back(
    transport: Transport, serve: Any, authority: trustme.CA, secure: bool,
) -> None:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(tls)
    server = await serve(tls=tls if secure else None)
    get = Request("GET", server.origin, b"/", [])
    size = LARGE // 4
    response, peer = await begin(transport, get, server, OK + b"Content-Length: %d\r\n\r\n" % size)
    pushing = asyncio.create_task(peer.send_all(b"x" * size))
    total = 0
    async for piece in response:
        assert len(piece) <= BUFFERED + ONE_READ * (2 if secure else 1)  # TLS reads ahead of its reader
        total += len(piece)
        for _ in range(20):
            await asyncio.sleep(0)  # let whatever would come, come
    await pushing
    assert total == size
    assert transport.statistics() == {server.origin: (1, 1, 0)}


async def test_who_does_not_read_gets_no_more(transport: Transport, server: Any, get: Request, until: Any) -> None:
    response, peer = await begin(transport, get, server, OK + b"Content-Length: %d\r\n\r\n" % LARGE)
    peer.send(b"x" * LARGE)
    loop = asyncio.get_running_loop()
    unsent, since = peer.unsent, loop.time()
    while loop.time() < since + 0.05:  # until nothing has moved for a while
        await asyncio.sleep(0.005)
        if peer.unsent != unsent:
            unsent, since = peer.unsent, loop.time()
    assert unsent > 0
    assert len(await anext(aiter(response))) <= BUFFERED + ONE_READ
    response.close()
    await peer.gone()


@pytest.mark.parametrize("when", ["headers", "body"])
async def test_cancelling_closes_the_socket_at_once(
    transport: Transport, server: Any, get: Request, when: str,
) -> None:
    async def call() -> bytes:
        return await (await transport.send(get)).read(100)

    calling = asyncio.create_task(call())
    peer = await server.accept()
    await peer.request()
    if when == "body":
        peer.send(STREAM)
        await asyncio.wait([calling], timeout=0.02)
    calling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await calling
    assert transport.statistics() == {}
    await peer.gone()


@pytest.mark.parametrize("answer", [HELLO, STREAM])
async def test_cancelling_after_the_answer_was_handed_over(
    transport: Transport, server: Any, get: Request, monkeypatch: pytest.MonkeyPatch, answer: bytes,
) -> None:
    """The receiver is cancelled before it can run."""
    original = Connection.start

    def start(*arguments: Any) -> Any:
        waiter = original(*arguments)
        waiter.add_done_callback(lambda _: sending.cancel())  # runs before the receiver is woken
        return waiter

    monkeypatch.setattr(Connection, "start", start)
    sending = asyncio.create_task(transport.send(get))
    peer = await server.accept()
    await peer.request()
    peer.send(answer)
    with pytest.raises(asyncio.CancelledError) as raised:
        await sending
    assert raised.tb  # at once, even while a traceback keeps the answer alive
    if answer is STREAM:
        assert transport.statistics() == {}
        await peer.gone()
    else:  # it was complete: the connection is at rest, perhaps at work for another already
        assert transport.statistics() == {server.origin: (1, 1, 0)}


@pytest.mark.parametrize("answer", [HELLO, STREAM, b"garbage"])
async def test_an_answer_after_cancelling(transport: Transport, server: Any, get: Request, answer: bytes) -> None:
    """The answer comes before the cancelled receiver can run."""
    sending = asyncio.create_task(transport.send(get))
    peer = await server.accept()
    await peer.request()
    [pool] = transport._pools.values()
    [connection] = pool._connections
    sending.cancel()
    connection.data_received(answer)
    with pytest.raises(asyncio.CancelledError):
        await sending
    await peer.gone()
    assert transport.statistics() == {}


async def test_an_answer_may_end_after_a_pause(transport: Transport, server: Any, get: Request) -> None:
    """TLS may have read ahead; the connection must not rest deaf."""
    response, peer = await begin(transport, get, server, OK + b"Content-Length: 5\r\n\r\nhell")
    [pool] = transport._pools.values()
    [connection] = pool._connections
    connection.pause()
    connection.data_received(b"o")
    assert await response.read(5) == b"hello"
    assert transport.statistics() == {server.origin: (1, 1, 0)}
    second = asyncio.create_task(transport.send(get))
    await peer.request()
    peer.send(HELLO)
    assert await (await second).read(5) == b"hello"


async def test_breaking_off_and_dropping_closes(transport: Transport, server: Any, get: Request) -> None:
    response, peer = await begin(transport, get, server, STREAM)
    async for piece in response:
        assert piece == b"a"
        break
    gc.disable()
    try:
        del response
        await peer.gone()
    finally:
        gc.enable()
    assert transport.statistics() == {}


async def test_closing_a_response_closes_the_socket(transport: Transport, server: Any, get: Request) -> None:
    response, peer = await begin(transport, get, server, STREAM)
    response.close()
    assert transport.statistics() == {}
    await peer.gone()


async def test_an_answer_larger_than_allowed_closes_the_socket(
    transport: Transport, server: Any, get: Request,
) -> None:
    response, peer = await begin(transport, get, server, STREAM)
    peer.send(b"5\r\nhello\r\n")
    with pytest.raises(Failure, match="longer than 3 bytes"):
        await response.read(3)
    await peer.gone()


async def test_connections_do_not_outlive_their_sockets(transport: Transport, server: Any, get: Request) -> None:
    """No circle of references is left for the collector."""
    response, peer = await begin(transport, get, server, STREAM)
    [pool] = transport._pools.values()
    gone = [weakref.ref(part) for connection in pool._connections for part in (connection, connection._answer)]
    lost = [connection.lost for connection in pool._connections]
    del pool
    gc.collect()
    gc.disable()
    try:
        peer.send(b"0\r\n\r\n")
        await response.read(10)
        peer.close()
        await lost[0]
        await asyncio.sleep(0)
        assert [reference() for reference in gone] == [None, None]
    finally:
        gc.enable()

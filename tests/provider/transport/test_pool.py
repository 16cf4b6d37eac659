"""Who gets a connection, in which order, and what becomes of those who go away."""

import asyncio
import ssl
from collections.abc import Callable
from typing import Any

import pytest
import trustme

from ailink_provider.errors import Failure
from ailink_provider.transport import Origin, Request, Transport
from ailink_provider.transport.connector import Connector

OK = b"HTTP/1.1 200 OK\r\n"
HELLO = OK + b"Content-Length: 5\r\n\r\nhello"
CLOSE = OK + b"Connection: close\r\nContent-Length: 0\r\n\r\n"
STREAM = OK + b"Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n"


def numbered(origin: Origin, number: int) -> Request:
    return Request("GET", origin, b"/%d" % number, [])


async def line_up(transport: Transport, server: Any, count: int) -> list[asyncio.Task[Any]]:
    """Start ``count`` exchanges, each when the one before is in its place."""
    tasks = []
    for number in range(count):
        tasks.append(asyncio.create_task(transport.send(numbered(server.origin, number))))
        await asyncio.sleep(0)
    return tasks


async def asked(peer: Any) -> int:
    return int((await peer.head()).split()[1][1:])


@pytest.mark.parametrize("answer", [HELLO, CLOSE])
async def test_first_come_first_served(connect: Callable[..., Transport], server: Any, answer: bytes) -> None:
    transport = connect(connections_per_host=1)
    tasks = await line_up(transport, server, 8)
    peer = await server.accept()
    assert transport.statistics() == {server.origin: (1, 0, 7)}
    for number, task in enumerate(tasks):
        if number and answer is CLOSE:
            peer = await server.accept()
        assert await asked(peer) == number
        peer.send(answer)
        assert (await task).status == 200
    assert server.accepted == (1 if answer is HELLO else 8)


async def test_never_more_connections_than_allowed(connect: Callable[..., Transport], server: Any) -> None:
    transport = connect(connections_per_host=3)
    tasks = await line_up(transport, server, 20)
    served = 0
    peers = [await server.accept() for _ in range(3)]
    while served < 20:
        for peer in peers[: 20 - served]:
            await asked(peer)
            assert transport.statistics()[server.origin].open == 3
            peer.send(HELLO)
            served += 1
    await asyncio.gather(*tasks)
    assert server.accepted == 3
    assert transport.statistics() == {server.origin: (3, 3, 0)}


async def test_origins_do_not_share(connect: Callable[..., Transport], serve: Any) -> None:
    transport = connect(connections_per_host=1)
    one, other = await serve(), await serve()
    busy = asyncio.create_task(transport.send(numbered(one.origin, 0)))
    await one.accept()
    sending = asyncio.create_task(transport.send(numbered(other.origin, 1)))
    peer = await other.accept()
    peer.send(HELLO)
    await sending
    assert transport.statistics() == {one.origin: (1, 0, 0), other.origin: (1, 1, 0)}
    busy.cancel()


async def test_the_line_is_bounded(connect: Callable[..., Transport], server: Any, get: Request) -> None:
    transport = connect(connections_per_host=1, queue_per_host=2)
    tasks = await line_up(transport, server, 3)
    with pytest.raises(Failure) as raised:
        await transport.send(get)
    assert (raised.value.code, raised.value.reason) == ("upstream_overloaded", "pool_full")
    tasks[1].cancel()
    await asyncio.wait([tasks[1]])
    again = asyncio.create_task(transport.send(get))
    await asyncio.sleep(0)
    assert transport.statistics()[server.origin].waiting == 2
    for task in [*tasks, again]:
        task.cancel()
    await asyncio.wait([*tasks, again])
    assert transport.statistics() == {}


async def test_who_goes_away_gives_the_place_to_the_next(connect: Callable[..., Transport], server: Any) -> None:
    transport = connect(connections_per_host=1)
    tasks = await line_up(transport, server, 4)
    peer = await server.accept()
    assert await asked(peer) == 0
    tasks[1].cancel()
    tasks[2].cancel()
    peer.send(HELLO)
    assert await asked(peer) == 3
    peer.send(HELLO)
    await tasks[3]
    assert server.accepted == 1


@pytest.mark.parametrize("answer", [HELLO, CLOSE])
async def test_a_turn_that_comes_too_late_is_passed_on(
    connect: Callable[..., Transport], server: Any, answer: bytes,
) -> None:
    """The turn is given to a task that is cancelled before it can run."""
    transport = connect(connections_per_host=1)
    tasks = await line_up(transport, server, 3)
    peer = await server.accept()
    assert await asked(peer) == 0
    [pool] = transport._pools.values()
    [connection] = pool._connections
    connection.data_received(answer)
    tasks[1].cancel()
    if answer is CLOSE:
        peer = await server.accept()
    assert await asked(peer) == 2
    peer.send(HELLO)
    await tasks[2]
    assert tasks[1].cancelled()
    assert transport.statistics() == {server.origin: (1, 1, 0)}


async def test_a_connection_that_dies_while_it_is_handed_over(
    connect: Callable[..., Transport], server: Any,
) -> None:
    transport = connect(connections_per_host=1)
    tasks = await line_up(transport, server, 2)
    peer = await server.accept()
    assert await asked(peer) == 0
    [pool] = transport._pools.values()
    [connection] = pool._connections
    connection.data_received(HELLO)
    connection.data_received(b"HTTP/1.1 408 Timeout\r\n")
    peer = await server.accept()
    assert await asked(peer) == 1
    peer.send(HELLO)
    assert await (await tasks[1]).read(5) == b"hello"


async def test_a_connection_that_dies_as_it_is_made_frees_its_place(
    connect: Callable[..., Transport], server: Any, monkeypatch: pytest.MonkeyPatch,
) -> None:
    original = Connector.connect

    async def stillborn(*arguments: Any) -> Any:
        connection = await original(*arguments)
        connection.close()
        return connection

    transport = connect(connections_per_host=1)
    monkeypatch.setattr(Connector, "connect", stillborn)
    with pytest.raises(Failure, match="without an answer"):
        await transport.send(numbered(server.origin, 0))
    assert transport.statistics() == {}


async def test_a_failed_connect_frees_its_place(connect: Callable[..., Transport], server: Any) -> None:
    addresses = iter([OSError("no"), OSError("no"), ["127.0.0.1"]])

    async def resolver(host: str, port: int) -> list[str]:
        answer = next(addresses)
        if isinstance(answer, OSError):
            raise answer
        return answer

    transport = connect(connections_per_host=1, resolver=resolver)
    tasks = await line_up(transport, server, 3)
    peer = await server.accept()
    assert await asked(peer) == 2
    peer.send(HELLO)
    await tasks[2]
    for task in tasks[:2]:
        with pytest.raises(Failure, match="has no address"):
            await task


async def test_a_cancelled_connect_frees_its_place(connect: Callable[..., Transport], server: Any) -> None:
    looking = asyncio.Event()
    calls = 0

    async def resolver(host: str, port: int) -> list[str]:
        nonlocal calls
        calls += 1
        looking.set()
        if calls == 1:
            await asyncio.Event().wait()
        return ["127.0.0.1"]

    transport = connect(connections_per_host=1, resolver=resolver)
    tasks = await line_up(transport, server, 2)
    await looking.wait()
    tasks[0].cancel()
    peer = await server.accept()
    assert await asked(peer) == 1
    peer.send(HELLO)
    await tasks[1]


async def test_close_ends_everything(connect: Callable[..., Transport], server: Any, get: Request) -> None:
    transport = connect(connections_per_host=3)
    tasks = await line_up(transport, server, 5)
    peers = [await server.accept() for _ in range(3)]
    for peer in peers:
        await asked(peer)
    peers[0].send(HELLO)
    peers[1].send(STREAM)
    done = [await task for task in tasks[:2]]
    await asked(peers[0])  # the fourth took over the first's connection
    await transport.close()
    for peer in peers:
        await peer.gone()
    assert await done[0].read(5) == b"hello"
    for task in tasks[2:]:
        with pytest.raises(Failure) as raised:
            await task
        assert raised.value.code == "all_upstreams_unavailable"
    with pytest.raises(Failure, match="shutting down"):
        await done[1].read(10)
    with pytest.raises(Failure, match="shutting down"):
        await transport.send(get)
    await transport.close()
    assert transport.statistics() == {}


@pytest.mark.parametrize("secure", [False, True])
async def test_close_waits_for_the_sockets(
    connect: Callable[..., Transport], serve: Any, authority: trustme.CA, secure: bool,
) -> None:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(tls)
    server = await serve(tls=tls if secure else None)
    transport = connect()
    sending = asyncio.create_task(transport.send(numbered(server.origin, 0)))
    peer = await server.accept()
    await asked(peer)
    peer.send(HELLO)
    await sending
    [pool] = transport._pools.values()
    [connection] = pool.idle
    await transport.close()
    assert connection.lost.done()


async def test_close_ends_what_is_still_connecting(
    connect: Callable[..., Transport], server: Any, get: Request,
) -> None:
    proceed = asyncio.Event()

    async def resolver(host: str, port: int) -> list[str]:
        await proceed.wait()
        return ["127.0.0.1"]

    transport = connect(resolver=resolver)
    sending = asyncio.create_task(transport.send(get))
    await asyncio.sleep(0)
    await transport.close()
    proceed.set()
    with pytest.raises(Failure, match="shutting down"):
        await sending
    await (await server.accept()).gone()


async def test_a_storm_leaves_nothing_behind(connect: Callable[..., Transport], server: Any) -> None:
    """Answers, cancellations, closes and resets in a jumble: every place is free again afterwards."""
    transport = connect(connections_per_host=4, queue_per_host=1000)

    async def answer() -> None:
        while True:
            serving.append(asyncio.create_task(serve_one(await server.accept())))

    async def serve_one(peer: Any) -> None:
        while True:
            number = await asked(peer)
            if number % 7 == 3:
                return peer.reset() if number % 2 else peer.close()
            peer.send(CLOSE if number % 5 == 0 else STREAM + b"0\r\n\r\n" if number % 3 == 0 else HELLO)
            if number % 5 == 0:
                return None

    async def ask(number: int) -> bytes:
        request = numbered(server.origin, number)
        request.resend = number % 2 == 0
        return await (await transport.send(request)).read(100)

    serving: list[asyncio.Task[None]] = []
    answering = asyncio.create_task(answer())
    tasks = [asyncio.create_task(ask(number)) for number in range(300)]
    for number, task in enumerate(tasks):
        if number % 11 == 0:
            tasks[number - number % 3].cancel()
            await asyncio.wait([task])
    results = await asyncio.gather(*tasks, return_exceptions=True)
    for number, result in enumerate(results):
        if isinstance(result, bytes):
            assert result == (b"" if number % 5 == 0 else b"a" if number % 3 == 0 else b"hello")
        elif isinstance(result, Failure):
            assert number % 7 == 3
        else:
            assert isinstance(result, asyncio.CancelledError)
    counts = transport.statistics().get(server.origin, (0, 0, 0))
    assert counts[0] == counts[1] <= 4
    assert counts[2] == 0
    for task in [answering, *serving]:
        task.cancel()
    await asyncio.gather(answering, *serving, return_exceptions=True)

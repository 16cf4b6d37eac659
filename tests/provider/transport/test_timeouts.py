"""Each limit, as it runs out and as it does not."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from ailink_provider.errors import Failure
from ailink_provider.transport import Request, Timeouts, Transport

OK = b"HTTP/1.1 200 OK\r\n"
HELLO = OK + b"Content-Length: 5\r\n\r\nhello"
STREAM = OK + b"Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n"
BRIEF = 0.04


def assert_late(failure: Failure, server: Any, limit: str) -> None:
    assert (failure.code, failure.reason) == ("upstream_timeout", f"{limit}_timeout")
    assert server.origin.authority in failure.message
    assert limit in failure.message


async def begin(transport: Transport, request: Request, server: Any, answer: bytes) -> Any:
    sending = asyncio.create_task(transport.send(request))
    peer = await server.accept()
    await peer.request()
    peer.send(answer)
    return await sending, peer


async def test_first_byte(connect: Callable[..., Transport], server: Any, get: Request) -> None:
    transport = connect(timeouts=Timeouts(first_byte=BRIEF))
    sending = asyncio.create_task(transport.send(get))
    peer = await server.accept()
    with pytest.raises(Failure) as raised:
        await sending
    assert_late(raised.value, server, "first_byte")
    await peer.gone()
    assert transport.statistics() == {}


async def test_first_byte_is_not_prolonged_by_a_trickle_of_headers(
    connect: Callable[..., Transport], server: Any, get: Request,
) -> None:
    transport = connect(timeouts=Timeouts(first_byte=BRIEF))
    sending = asyncio.create_task(transport.send(get))
    peer = await server.accept()
    peer.send(OK)
    while not sending.done():
        peer.send(b"X: y\r\n")
        await asyncio.wait([sending], timeout=BRIEF / 5)
    with pytest.raises(Failure) as raised:
        await sending
    assert_late(raised.value, server, "first_byte")


async def test_first_byte_of_a_second_exchange(connect: Callable[..., Transport], server: Any, get: Request) -> None:
    """The one alarm of a connection was set for another limit before."""
    transport = connect(timeouts=Timeouts(first_byte=BRIEF), keep_alive=60.0)
    _, peer = await begin(transport, get, server, HELLO)
    sending = asyncio.create_task(transport.send(get))
    await peer.request()
    with pytest.raises(Failure) as raised:
        await sending
    assert_late(raised.value, server, "first_byte")


async def test_between_bytes(connect: Callable[..., Transport], server: Any, get: Request) -> None:
    transport = connect(timeouts=Timeouts(between_bytes=BRIEF))
    response, peer = await begin(transport, get, server, STREAM)
    pieces = aiter(response)
    assert await anext(pieces) == b"a"
    with pytest.raises(Failure) as raised:
        await anext(pieces)
    assert_late(raised.value, server, "between_bytes")
    await peer.gone()
    assert transport.statistics() == {}


async def test_between_bytes_starts_again_with_each(
    connect: Callable[..., Transport], server: Any, get: Request,
) -> None:
    transport = connect(timeouts=Timeouts(first_byte=4 * BRIEF, between_bytes=4 * BRIEF))
    response, peer = await begin(transport, get, server, STREAM)
    loop = asyncio.get_running_loop()
    start = loop.time()
    pieces = aiter(response)
    while loop.time() < start + 5 * BRIEF:
        await anext(pieces)
        loop.call_later(BRIEF, peer.send, b"1\r\na\r\n")
    with pytest.raises(Failure) as raised:
        while True:
            await anext(pieces)
    assert_late(raised.value, server, "between_bytes")
    assert loop.time() > start + 8 * BRIEF


async def test_between_bytes_stands_still_while_the_reader_is_slow(
    connect: Callable[..., Transport], server: Any, get: Request,
) -> None:
    transport = connect(timeouts=Timeouts(between_bytes=BRIEF))
    size = 20_000_000
    response, peer = await begin(transport, get, server, OK + b"Content-Length: %d\r\n\r\n" % size)
    peer.send(b"x" * size)
    await asyncio.sleep(4 * BRIEF)  # what is tested: time passes and nothing happens
    assert len(await response.read(size)) == size
    assert transport.statistics() == {server.origin: (1, 1, 0)}


async def test_between_bytes_runs_again_after_a_pause(
    connect: Callable[..., Transport], server: Any, get: Request, until: Any,
) -> None:
    transport = connect(timeouts=Timeouts(between_bytes=BRIEF))
    response, peer = await begin(transport, get, server, OK + b"Content-Length: 400001\r\n\r\n")
    peer.send(b"x" * 400_000)
    await asyncio.sleep(2 * BRIEF)
    with pytest.raises(Failure) as raised:
        await response.read(1_000_000)
    assert_late(raised.value, server, "between_bytes")


async def test_total(connect: Callable[..., Transport], server: Any, get: Request) -> None:
    transport = connect(timeouts=Timeouts(total=3 * BRIEF))
    response, peer = await begin(transport, get, server, STREAM)
    loop = asyncio.get_running_loop()
    start = loop.time()
    with pytest.raises(Failure) as raised:
        async for _ in response:
            loop.call_later(BRIEF / 2, peer.send, b"1\r\na\r\n")
    assert_late(raised.value, server, "total")
    assert loop.time() - start < 5 * BRIEF


@pytest.mark.parametrize("where", ["head", "body", "paused"])
async def test_a_deadline(transport: Transport, server: Any, get: Request, where: str) -> None:
    loop = asyncio.get_running_loop()
    sending = asyncio.create_task(transport.send(get, loop.time() + BRIEF))
    peer = await server.accept()
    await peer.request()
    with pytest.raises(Failure) as raised:
        if where != "head":
            peer.send(STREAM if where == "body" else OK + b"Content-Length: 9999999\r\n\r\n" + b"x" * 9_000_000)
        response = await sending
        if where == "paused":
            await peer.gone()
        await response.read(10_000_000)
    assert_late(raised.value, server, "total")
    assert transport.statistics() == {}


async def test_a_deadline_ends_with_its_exchange(transport: Transport, server: Any, get: Request) -> None:
    loop = asyncio.get_running_loop()
    sending = asyncio.create_task(transport.send(get, loop.time() + BRIEF))
    peer = await server.accept()
    await peer.request()
    peer.send(HELLO)
    await sending
    second = asyncio.create_task(transport.send(get))
    await peer.request()
    await asyncio.wait([second], timeout=2 * BRIEF)
    peer.send(HELLO)
    assert await (await second).read(5) == b"hello"


async def test_a_deadline_that_has_passed_sends_nothing(transport: Transport, server: Any, get: Request) -> None:
    await begin(transport, get, server, HELLO)
    with pytest.raises(Failure) as raised:
        await transport.send(get, asyncio.get_running_loop().time())
    assert_late(raised.value, server, "total")
    assert transport.statistics() == {server.origin: (1, 1, 0)}


async def test_write(connect: Callable[..., Transport], server: Any) -> None:
    transport = connect(timeouts=Timeouts(write=BRIEF, first_byte=60.0))
    sending = asyncio.create_task(transport.send(Request("PUT", server.origin, b"/", [], b"x" * 20_000_000)))
    peer = await server.accept()
    with pytest.raises(Failure) as raised:
        await sending
    assert_late(raised.value, server, "write")
    assert transport.statistics() == {}
    await peer.gone()


async def test_write_of_a_stream_that_is_held_back(connect: Callable[..., Transport], server: Any) -> None:
    given = 0

    async def body() -> AsyncIterator[bytes]:
        nonlocal given
        for _ in range(1000):
            given += 1
            yield b"x" * 65536

    transport = connect(timeouts=Timeouts(write=BRIEF, first_byte=60.0))
    with pytest.raises(Failure) as raised:
        await transport.send(Request("PUT", server.origin, b"/", [], body()))
    assert_late(raised.value, server, "write")
    assert given < 400  # what the kernel's buffers and ours hold, and no more


async def test_write_runs_from_the_last_progress(connect: Callable[..., Transport], server: Any) -> None:
    transport = connect(timeouts=Timeouts(write=4 * BRIEF, first_byte=60.0))
    body = b"x" * 16_000_000
    sending = asyncio.create_task(transport.send(Request("PUT", server.origin, b"/", [], body)))
    peer = await server.accept()
    await peer.head()
    for _ in range(8):
        await peer.take(2_000_000)
        await asyncio.wait([sending], timeout=BRIEF)
    peer.send(HELLO)
    assert await (await sending).read(5) == b"hello"


async def test_first_byte_runs_from_the_end_of_an_upload(connect: Callable[..., Transport], server: Any) -> None:
    async def body() -> AsyncIterator[bytes]:
        yield b"a"
        await asyncio.sleep(4 * BRIEF)  # our own caller is slow; the upstream is not to blame
        yield b"b"

    transport = connect(timeouts=Timeouts(write=BRIEF, first_byte=2 * BRIEF))
    sending = asyncio.create_task(transport.send(Request("PUT", server.origin, b"/", [], body())))
    peer = await server.accept()
    assert (await peer.request())[1] == b"1\r\na\r\n1\r\nb\r\n0\r\n\r\n"
    with pytest.raises(Failure) as raised:
        await sending
    assert_late(raised.value, server, "first_byte")


async def test_first_byte_runs_from_the_end_of_a_large_body(connect: Callable[..., Transport], server: Any) -> None:
    transport = connect(timeouts=Timeouts(write=60.0, first_byte=BRIEF))
    sending = asyncio.create_task(transport.send(Request("PUT", server.origin, b"/", [], b"x" * 12_000_000)))
    peer = await server.accept()
    await peer.head()
    await asyncio.wait([sending], timeout=3 * BRIEF)
    assert not sending.done()
    await peer.take(12_000_000)
    with pytest.raises(Failure) as raised:
        await sending
    assert_late(raised.value, server, "first_byte")


async def test_pool(connect: Callable[..., Transport], server: Any, get: Request) -> None:
    transport = connect(timeouts=Timeouts(pool=BRIEF), connections_per_host=1)
    response, _ = await begin(transport, get, server, STREAM)
    with pytest.raises(Failure) as raised:
        await transport.send(get)
    assert (raised.value.code, raised.value.reason) == ("upstream_overloaded", "pool_timeout")
    assert server.origin.authority in raised.value.message
    assert transport.statistics()[server.origin].waiting == 0
    response.close()


async def test_a_deadline_in_the_line(connect: Callable[..., Transport], server: Any, get: Request) -> None:
    transport = connect(connections_per_host=1)
    response, _ = await begin(transport, get, server, STREAM)
    with pytest.raises(Failure) as raised:
        await transport.send(get, asyncio.get_running_loop().time() + BRIEF)
    assert_late(raised.value, server, "total")
    response.close()

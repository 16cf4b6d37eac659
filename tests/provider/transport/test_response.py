import asyncio
import gc

import pytest

from ailink_provider.errors import Failure
from ailink_provider.transport import Response
from ailink_provider.transport.response import BUFFERED, Stream


class Tap:
    """A source that writes down what it is asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def pause(self) -> None:
        self.asked.append("pause")

    def resume(self) -> None:
        self.asked.append("resume")

    def close(self) -> None:
        self.asked.append("close")

    def close_soon(self) -> None:
        self.asked.append("close_soon")


@pytest.fixture
def tap() -> Tap:
    return Tap()


@pytest.fixture
async def stream(tap: Tap) -> Stream:
    return Stream(tap, asyncio.get_running_loop())


def finish_at_once(coroutine: object) -> object:
    """Run a coroutine that must not suspend."""
    with pytest.raises(StopIteration) as raised:
        coroutine.send(None)  # type: ignore[attr-defined]
    return raised.value.value


def test_a_whole_body_is_read_without_suspending() -> None:
    response = Response(200, [], b"body")
    assert finish_at_once(response.read(4)) == b"body"
    assert finish_at_once(response.read(4)) == b""


async def test_a_whole_body_is_iterated_once() -> None:
    response = Response(200, [], b"body")
    assert [piece async for piece in response] == [b"body"]
    assert [piece async for piece in response] == []
    assert [piece async for piece in Response(204, [])] == []


def test_a_whole_body_may_be_closed() -> None:
    response = Response(200, [], b"body")
    response.close()
    response.close()


def test_header_finds_the_first() -> None:
    response = Response(200, [(b"a", b"1"), (b"b", b"2"), (b"b", b"3")])
    assert response.header(b"b") == b"2"
    assert response.header(b"c") is None


def test_a_whole_body_has_a_limit() -> None:
    with pytest.raises(Failure) as raised:
        finish_at_once(Response(200, [], b"body").read(3))
    assert (raised.value.code, raised.value.reason) == ("upstream_failed", "response_too_large")


async def test_a_stream_joins_what_has_come(stream: Stream) -> None:
    stream.feed(b"a")
    stream.feed(b"b")
    pieces = aiter(stream)
    assert finish_at_once(anext(pieces)) == b"ab"
    reading = asyncio.create_task(anext(pieces))  # type: ignore[arg-type]
    await asyncio.sleep(0)
    stream.feed(b"c")
    stream.end(b"d")
    assert await reading == b"cd"
    with pytest.raises(StopAsyncIteration):
        await anext(pieces)


async def test_a_stream_is_read_whole(tap: Tap, stream: Stream) -> None:
    reading = asyncio.create_task(Response(200, [], stream).read(6))
    for piece in (b"ab", b"cd"):
        await asyncio.sleep(0)
        stream.feed(piece)
    await asyncio.sleep(0)
    stream.end(b"ef")
    assert await reading == b"abcdef"
    assert tap.asked == []


async def test_a_stream_has_a_limit(tap: Tap, stream: Stream) -> None:
    stream.feed(b"abcd")
    with pytest.raises(Failure) as raised:
        await Response(200, [], stream).read(3)
    assert raised.value.reason == "response_too_large"
    assert tap.asked == ["close"]


async def test_a_failure_comes_after_what_came_before_it(tap: Tap, stream: Stream) -> None:
    stream.feed(b"a")
    stream.fail(Failure("upstream_failed", "broken"))
    assert await anext(stream) == b"a"
    for _ in range(2):
        with pytest.raises(Failure, match="broken"):
            await anext(stream)
    stream.close()
    assert tap.asked == []


async def test_a_failure_wakes_the_reader(stream: Stream) -> None:
    reading = asyncio.create_task(Response(200, [], stream).read(10))
    await asyncio.sleep(0)
    stream.fail(Failure("upstream_timeout", "late"))
    with pytest.raises(Failure, match="late"):
        await reading


async def test_the_source_is_held_back_and_let_go(tap: Tap, stream: Stream) -> None:
    stream.feed(b"x" * BUFFERED)
    assert tap.asked == []
    stream.feed(b"x")
    stream.feed(b"x")
    assert tap.asked == ["pause"]
    assert len(await anext(stream)) == BUFFERED + 2
    assert tap.asked == ["pause", "resume"]
    stream.feed(b"x")
    await anext(stream)
    assert tap.asked == ["pause", "resume"]


async def test_closing_forgets_the_rest(tap: Tap, stream: Stream) -> None:
    stream.feed(b"a")
    response = Response(200, [], stream)
    async for _ in response:
        break
    stream.feed(b"b")
    response.close()
    response.close()
    assert tap.asked == ["close"]
    with pytest.raises(Failure, match="closed"):
        await anext(stream)


async def test_closing_wakes_the_reader(stream: Stream) -> None:
    reading = asyncio.create_task(Response(200, [], stream).read(10))
    await asyncio.sleep(0)
    stream.close()
    with pytest.raises(Failure, match="closed"):
        await reading


async def test_a_cancelled_read_closes(tap: Tap, stream: Stream) -> None:
    reading = asyncio.create_task(Response(200, [], stream).read(10))
    await asyncio.sleep(0)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    assert tap.asked == ["close"]


async def test_two_readers_at_once_are_a_mistake(stream: Stream) -> None:
    reading = asyncio.create_task(Response(200, [], stream).read(10))
    await asyncio.sleep(0)
    with pytest.raises(RuntimeError, match="already being read"):
        await anext(stream)
    stream.end(b"")
    assert await reading == b""


async def test_a_dropped_stream_closes_its_source(tap: Tap) -> None:
    gc.disable()
    try:
        response = Response(200, [], Stream(tap, asyncio.get_running_loop()))
        del response
        assert tap.asked == ["close_soon"]
    finally:
        gc.enable()


async def test_a_dropped_stream_that_ended_does_not(tap: Tap) -> None:
    stream = Stream(tap, asyncio.get_running_loop())
    stream.end(b"x")
    del stream
    assert tap.asked == []

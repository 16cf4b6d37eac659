"""A reply reaches its client at the client's own pace; one that leaves or stalls ends the call, and is told apart."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from typing import Any

import pytest

from ailink_gateway import delivery
from ailink_gateway.delivery import Departures, deliver
from ailink_gateway.exchange import Exchange, Reply

PATIENCE = 5.0
MakeExchange = Callable[..., Exchange]


class Settling:
    """Counts how often a call was settled, and how much its client had by then."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self.when: list[int] = []

    def __call__(self) -> None:
        self.when.append(len(self._client.got))


class Source:
    """The chunks of a reply; says how many were taken and whether it was closed."""

    def __init__(self, *chunks: bytes | BaseException, exchange: Exchange | None = None) -> None:
        self.chunks = chunks
        self.taken = 0
        self.closed = False
        self._exchange = exchange

    async def stream(self) -> AsyncGenerator[bytes, None]:
        try:
            for chunk in self.chunks:
                self.taken += 1
                if isinstance(chunk, BaseException):
                    raise chunk
                if self._exchange is not None and chunk == self.chunks[-1]:
                    self._exchange.measured.complete = True
                yield chunk
        finally:
            self.closed = True


@pytest.fixture
def settling(client: Any) -> Settling:
    return Settling(client)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivery, "WATCH_SECONDS", 0.001)


def read(exchange: Exchange) -> Exchange:
    """Return the exchange with its body received, after which the client's departure may be waited for."""
    exchange.body_read = True
    exchange.receive.__self__.incoming.clear()  # type: ignore[attr-defined]
    return exchange


# --- a whole reply -----------------------------------------------------------------------------------


async def test_a_whole_reply_is_settled_before_anything_is_sent(
    make_exchange: MakeExchange, client: Any, settling: Settling
) -> None:
    exchange = make_exchange()
    exchange.response_headers = [(b"x-ailink-upstream", b"u")]
    await deliver(exchange, Reply(201, [(b"a", b"b")], b"body"), settling, Departures().expect(exchange))
    assert settling.when == [0]
    assert (client.status, client.body, client.ended, exchange.status) == (201, b"body", True, 201)
    assert client.headers == {"x-request-id": exchange.id, "x-ailink-upstream": "u", "a": "b", "content-length": "4"}


@pytest.mark.parametrize(("method", "status"), [("HEAD", 200), ("GET", 204), ("GET", 304)])
async def test_no_length_is_made_up_where_there_is_no_body(
    make_exchange: MakeExchange, client: Any, settling: Settling, method: str, status: int
) -> None:
    exchange = make_exchange(method, "/x")
    await deliver(exchange, Reply(status), settling, Departures().expect(exchange))
    assert "content-length" not in client.headers


async def test_warnings_cannot_break_a_header(make_exchange: MakeExchange, client: Any, settling: Settling) -> None:
    exchange = make_exchange()
    exchange.warnings = ["a\r\nx-evil: 1", "é\x00", "long " * 1000]
    await deliver(exchange, Reply(200), settling, Departures().expect(exchange))
    warning = client.headers["x-ailink-warning"]
    assert warning.startswith("a??x-evil: 1; ??; long ") and len(warning) == 2000
    assert "x-evil" not in client.headers


# --- a stream ----------------------------------------------------------------------------------------


async def test_a_stream_goes_out_as_it_comes_and_is_settled_before_its_end(
    make_exchange: MakeExchange, client: Any, settling: Settling
) -> None:
    exchange, source = make_exchange(), Source(b"a", b"b")
    await deliver(exchange, Reply(200, [], source.stream()), settling, Departures().expect(exchange))
    assert [message.get("body") for message in client.got] == [None, b"a", b"b", b""]
    assert client.ended and source.closed
    assert settling.when == [3], "after the last chunk, before the end"
    assert exchange.first_byte_at is not None


async def test_a_stream_that_says_it_is_complete_is_settled_before_its_last_chunk(
    make_exchange: MakeExchange, client: Any
) -> None:
    exchange = make_exchange()
    settling = Settling(client)
    source = Source(b"a", b"last", exchange=exchange)
    await deliver(exchange, Reply(200, [], source.stream()), settling, Departures().expect(exchange))
    assert settling.when[0] == 2, "with the start and one chunk out, the last is not"


async def test_nothing_is_pulled_before_the_last_chunk_is_on_its_way(
    make_exchange: MakeExchange, client: Any, settling: Settling
) -> None:
    exchange, source = make_exchange(), Source(*[b"x"] * 100)
    gate, waiting = asyncio.Event(), asyncio.Event()

    async def send(message: Any) -> None:
        if "body" in message and len(client.got) == 3:
            waiting.set()
            await gate.wait()
        await client.send(message)

    exchange.send = send
    sending = asyncio.create_task(
        deliver(exchange, Reply(200, [], source.stream()), settling, Departures().expect(exchange))
    )
    await asyncio.wait_for(waiting.wait(), PATIENCE)
    for _ in range(20):
        await asyncio.sleep(0)
    assert source.taken == 3, "a slow reader slows the source down"
    gate.set()
    await asyncio.wait_for(sending, PATIENCE)
    assert (source.taken, len(client.body)) == (100, 100)


async def test_a_source_that_breaks_leaves_the_reply_without_an_end(
    make_exchange: MakeExchange, client: Any, settling: Settling
) -> None:
    exchange, source = make_exchange(), Source(b"a", ZeroDivisionError())
    with pytest.raises(ZeroDivisionError):
        await deliver(exchange, Reply(200, [], source.stream()), settling, Departures().expect(exchange))
    assert source.closed and not client.ended
    assert settling.when == [], "whoever called knows that it did not end"


async def test_a_source_is_closed_when_its_client_cannot_be_written_to(
    make_exchange: MakeExchange, client: Any, settling: Settling
) -> None:
    exchange, source = make_exchange(), Source(b"a", b"b")

    async def send(message: Any) -> None:
        if "body" in message:
            raise OSError("gone")

    exchange.send = send
    with pytest.raises(OSError, match="gone"):
        await deliver(exchange, Reply(200, [], source.stream()), settling, Departures().expect(exchange))
    assert source.closed and source.taken == 1


# --- departures --------------------------------------------------------------------------------------


class Call:
    """A call in a task of its own: waits for the upstream, as a stage would."""

    def __init__(self, exchange: Exchange, departures: Departures) -> None:
        self.exchange, self._departures = exchange, departures
        self.waits = asyncio.Event()
        self.task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        self.departure = self._departures.expect(self.exchange)
        try:
            self.waits.set()
            await asyncio.Event().wait()
        finally:
            self.departure.cancel()

    async def ended(self) -> bool:
        """Wait for its cancellation; return whether it was put down to the client."""
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(self.task, PATIENCE)
        return self.departure.noticed


async def test_a_client_that_leaves_ends_its_call_at_once(make_exchange: MakeExchange, client: Any) -> None:
    call = Call(read(make_exchange()), Departures())
    await asyncio.wait_for(client.receiving.wait(), PATIENCE)
    left = asyncio.get_running_loop().time()
    client.gone.set()
    assert await call.ended()
    assert asyncio.get_running_loop().time() - left < 0.2


async def test_one_that_left_before_it_was_watched_is_noticed_soon(make_exchange: MakeExchange, client: Any) -> None:
    began = asyncio.get_running_loop().time()
    client.gone.set()
    assert await Call(read(make_exchange()), Departures()).ended()
    assert asyncio.get_running_loop().time() - began < 0.5


async def test_what_still_arrives_of_a_request_is_no_departure(
    make_exchange: MakeExchange, client: Any, quick: None
) -> None:
    exchange = make_exchange(body=b"unread")
    exchange.body_read = True  # a route that is closed does not wait for its body
    call = Call(exchange, Departures())
    await asyncio.wait_for(client.receiving.wait(), PATIENCE)
    assert not call.task.done() and client.incoming == []
    client.gone.set()
    assert await call.ended()


async def test_the_body_is_left_to_its_reader(make_exchange: MakeExchange, client: Any, quick: None) -> None:
    exchange, departures = make_exchange(body=b"body"), Departures()
    other = read(make_exchange(caller=type(client)()))
    unread, watched = Call(exchange, departures), Call(other, departures)
    await asyncio.wait_for(other.receive.__self__.receiving.wait(), PATIENCE)  # type: ignore[attr-defined]
    assert len(client.incoming) == 1, "nobody took it"
    assert await exchange.read_body() == b"body"
    await asyncio.wait_for(client.receiving.wait(), PATIENCE)
    for call in (unread, watched):
        call.exchange.receive.__self__.gone.set()  # type: ignore[attr-defined]
        assert await call.ended()


async def test_a_server_that_stops_is_not_a_client_that_leaves(make_exchange: MakeExchange, client: Any) -> None:
    call = Call(read(make_exchange()), Departures())
    await asyncio.wait_for(client.receiving.wait(), PATIENCE)
    call.task.cancel()
    assert not await call.ended()


@pytest.mark.parametrize("stuck", ["http.response.start", "http.response.body"])
async def test_a_reader_that_takes_nothing_is_given_up(
    make_exchange: MakeExchange, settling: Settling, monkeypatch: pytest.MonkeyPatch, stuck: str
) -> None:
    monkeypatch.setattr(delivery, "STALL_SECONDS", 0.02)
    exchange, source = read(make_exchange()), Source(b"a", b"b")

    async def send(message: Any) -> None:
        if message["type"] == stuck:
            await asyncio.Event().wait()

    exchange.send = send
    departure = Departures().expect(exchange)
    sending = asyncio.create_task(deliver(exchange, Reply(200, [], source.stream()), settling, departure))
    departure._task = sending
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(sending, PATIENCE)
    assert departure.noticed and settling.when == []
    assert source.closed or source.taken == 0
    departure.cancel()


async def test_a_reader_is_given_up_once_however_long_the_end_takes(
    make_exchange: MakeExchange, settling: Settling, monkeypatch: pytest.MonkeyPatch, quick: None
) -> None:
    monkeypatch.setattr(delivery, "STALL_SECONDS", 0.005)
    exchange, ended = read(make_exchange()), []

    async def slow_to_end() -> AsyncGenerator[bytes, None]:
        try:
            yield b"a"
        finally:
            await asyncio.sleep(0.05)
            ended.append(True)

    async def send(message: Any) -> None:
        if "body" in message:
            await asyncio.Event().wait()

    exchange.send = send
    departure = Departures().expect(exchange)
    departure._task = sending = asyncio.create_task(
        deliver(exchange, Reply(200, [], slow_to_end()), settling, departure)
    )
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(sending, PATIENCE)
    assert departure.noticed and ended
    departure.cancel()


async def test_a_chunk_starts_no_timer(
    make_exchange: MakeExchange, client: Any, settling: Settling, monkeypatch: pytest.MonkeyPatch
) -> None:
    exchange, source = read(make_exchange()), Source(*[b"x"] * 20)
    departure = Departures().expect(exchange)
    started: list[Any] = []
    monkeypatch.setattr(asyncio.get_running_loop(), "call_at", lambda *timer, **_: started.append(timer))
    await deliver(exchange, Reply(200, [], source.stream()), settling, departure)
    assert client.ended and started == []


async def test_a_reader_that_is_slow_is_not_given_up(
    make_exchange: MakeExchange, client: Any, settling: Settling, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery, "STALL_SECONDS", 0.05)
    exchange, source = read(make_exchange()), Source(*[b"x"] * 20)

    async def send(message: Any) -> None:
        await asyncio.sleep(0.005)
        await client.send(message)

    exchange.send = send
    departure = Departures().expect(exchange)
    departure._task = None
    await deliver(exchange, Reply(200, [], source.stream()), settling, departure)
    assert client.ended and not departure.noticed, "each chunk has its own time"


async def test_an_upstream_that_is_slow_is_not_the_readers_fault(
    make_exchange: MakeExchange, client: Any, settling: Settling, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery, "STALL_SECONDS", 0.01)
    exchange = read(make_exchange())

    async def slow() -> AsyncGenerator[bytes, None]:
        for _ in range(3):
            await asyncio.sleep(0.03)
            yield b"x"

    departure = Departures().expect(exchange)
    await deliver(exchange, Reply(200, [], slow()), settling, departure)
    assert client.ended and not departure.noticed


async def test_one_timer_watches_all_and_none_is_left(make_exchange: MakeExchange, client: Any, quick: None) -> None:
    departures = Departures()
    clients = [type(client)() for _ in range(50)]
    calls = [Call(read(make_exchange(caller=one)), departures) for one in clients]
    for one in clients:
        await asyncio.wait_for(one.receiving.wait(), PATIENCE)
    for one, call in zip(clients, calls, strict=True):
        one.gone.set()
        assert await call.ended()
    short = departures.expect(read(make_exchange()))
    short.cancel()
    assert departures._calls == set(), "a call that is over is not looked at"
    departures._tick()
    assert departures._timer is None, "nothing to watch, nothing to wake up for"
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_a_departure_after_the_end_cancels_nobody(
    make_exchange: MakeExchange, client: Any, settling: Settling
) -> None:
    exchange = read(make_exchange())
    departure = Departures().expect(exchange)
    departure.watch()
    await asyncio.wait_for(client.receiving.wait(), PATIENCE)
    await deliver(exchange, Reply(200, [], b"x"), settling, departure)
    client.gone.set()
    for _ in range(5):
        await asyncio.sleep(0)
    assert not departure.noticed and client.ended

"""The HTTP server's patience, over real sockets: nobody holds a connection, memory or an upstream by being slow."""

import asyncio
import contextlib
import math
import socket
from collections.abc import AsyncIterator, Callable, MutableMapping
from typing import Any

import pytest
import pytest_asyncio

from ailink_gateway import http1 as module
from ailink_gateway.http1 import Connection as End
from ailink_gateway.http_call import BODY_BYTES
from ailink_gateway.server import Server, server

pytestmark = pytest.mark.asyncio(loop_scope="module")  # one server for all: to start and stop one takes 0.2 s

GET = b"GET /%b HTTP/1.1\r\nHost: gateway\r\n\r\n"
POST = b"POST /%b HTTP/1.1\r\nHost: gateway\r\nContent-Length: %d\r\n\r\n"
SHORT, LONG = 0.08, 30.0
PATIENCE = 10.0  # how long a test waits for what must happen


class App:
    """Answers with the body it got; ``/hold`` waits for its client to leave, ``/large`` is more than sockets hold."""

    large = b"x" * (32 * 1024 * 1024)

    def __init__(self) -> None:
        self.began = asyncio.Event()
        self.left = asyncio.Event()
        self.release = asyncio.Event()
        self.paths: list[str] = []
        self.headers: list[list[bytes]] = []
        self.pieces: list[int] = []  # how much of a body came at once
        self.scripts: dict[str, list[dict[str, Any]]] = {}  # what is sent, by path

    async def __call__(self, scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            for step in ("startup", "shutdown"):
                await receive()
                await send({"type": f"lifespan.{step}.complete"})
            return
        self.paths.append(scope["path"])
        self.headers.append([name for name, _ in scope["headers"]])
        self.began.set()
        body = b""
        message = await receive()
        while message["type"] == "http.request":
            body += message["body"]
            self.pieces.append(len(message["body"]))
            if not message["more_body"]:
                break
            message = await receive()
        if message["type"] == "http.disconnect" or scope["path"] == "/hold":
            if message["type"] != "http.disconnect":
                await receive()
            self.left.set()
            return
        if scope["path"] == "/wait":
            await self.release.wait()
        if scope["path"] in self.scripts:
            for message in self.scripts[scope["path"]]:
                await send(message)
            return
        if scope["path"] == "/large":
            body = self.large
        length = b"%d" % len(body)
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", length)]})
        await send({"type": "http.response.body", "body": body})


class Connection:
    """A client's socket."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def answer(self) -> bytes:
        """Return the body of one answer."""
        head = await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), PATIENCE)
        assert head.startswith(b"HTTP/1.1 200 "), head
        length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
        return await asyncio.wait_for(self.reader.readexactly(int(length.split(b":")[1])), PATIENCE)

    async def closed(self) -> bytes:
        """Return what came before the server closed the connection; fail if it does not."""
        try:
            return await asyncio.wait_for(self.reader.read(), PATIENCE)
        except ConnectionResetError:
            return b""


class Running:
    """A server on a port of its own. What it serves changes from test to test."""

    def __init__(self) -> None:
        self.app = App()
        self.events: list[str] = []
        self.connections: list[Connection] = []
        self._port: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self.closing = asyncio.Event()
        self.instance: Server = server(self, "127.0.0.1", 0, self._listens, self._closes)

    async def start(self) -> None:
        self._task = asyncio.create_task(self.instance.serve())
        self.port = await asyncio.wait_for(self._port, PATIENCE)

    async def stop(self) -> None:
        self.instance.should_exit = True
        await asyncio.wait_for(self._task, PATIENCE)

    async def __call__(self, scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        await self.app(scope, receive, send)

    def _listens(self, port: int) -> None:
        self.events.append("listening")
        self._port.set_result(port)

    def _closes(self) -> None:
        self.events.append("closing")
        self.closing.set()

    async def connect(self, receive_buffer: int | None = None) -> Connection:
        plain = socket.socket()
        if receive_buffer is not None:
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        plain.setblocking(False)
        await asyncio.get_running_loop().sock_connect(plain, ("127.0.0.1", self.port))
        connection = Connection(*await asyncio.open_connection(sock=plain, limit=64 * 1024))
        self.connections.append(connection)
        return connection

    def end_of(self, connection: Connection) -> End | None:
        """Return the server's end of a connection, None when it has none any more."""
        address = connection.writer.get_extra_info("sockname")
        ends = [end for end in self.instance.server_state.connections if end.client == address]
        assert all(isinstance(end, End) for end in ends)
        return ends[0] if ends else None  # type: ignore[return-value]

    async def forget(self) -> None:
        """Break all connections, and serve afresh."""
        for connection in self.connections:
            connection.writer.transport.abort()
            with contextlib.suppress(ConnectionError):
                await connection.writer.wait_closed()
        self.connections.clear()
        self.app = App()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def served() -> AsyncIterator[Running]:
    served = Running()
    await served.start()
    yield served
    await served.stop()


@pytest_asyncio.fixture(loop_scope="module")
async def running(served: Running) -> AsyncIterator[Running]:
    yield served
    await served.forget()


@pytest.fixture
def patience(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Sets the deadlines; those that are not named are too long for any test."""

    def set_to(**seconds: float) -> None:
        for name in ("HEADER_SECONDS", "BODY_SECONDS", "STALL_SECONDS"):
            monkeypatch.setattr(module, name, seconds.get(name, LONG))

    return set_to


async def trickle(connection: Connection, data: bytes) -> None:
    """Send one byte after another, for as long as the connection is open."""
    for byte in data:
        if connection.reader.at_eof() or connection.writer.is_closing():
            return
        connection.send(bytes([byte]))
        await asyncio.sleep(SHORT / 10)


# --- headers -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("sent", [b"", b"\r\n", b"\r\n\r\n\r\n", b"GET / HT", GET[:-2] % b"", POST[:-2] % (b"", 3)])
@pytest.mark.parametrize("kept_alive", [False, True])
async def test_headers_have_their_time(
    running: Running, patience: Callable[..., None], sent: bytes, kept_alive: bool
) -> None:
    patience(HEADER_SECONDS=SHORT)
    connection = await running.connect()
    if kept_alive:
        connection.send(GET % b"first")
        await connection.answer()
        if not sent:
            return  # what is idle between two requests has the time of a kept-alive connection
    connection.send(sent)
    assert await connection.closed() == b""
    assert running.app.paths == (["/first"] if kept_alive else [])


@pytest.mark.parametrize("sent", [GET % (b"slow" * 40), b"\r\n" * 100])
async def test_headers_that_keep_coming_have_no_more(
    running: Running, patience: Callable[..., None], sent: bytes
) -> None:
    patience(HEADER_SECONDS=SHORT)
    connection = await running.connect()
    sending = asyncio.create_task(trickle(connection, sent))
    await connection.closed()
    sending.cancel()
    assert running.app.paths == []


async def test_headers_without_end_are_not_kept(running: Running, patience: Callable[..., None]) -> None:
    patience()
    connection = await running.connect()
    connection.send(b"GET / HTTP/1.1\r\nHost: gateway\r\nX-Endless: ")

    async def send_on() -> None:
        while True:
            connection.send(b"x" * 8192)
            await connection.writer.drain()

    sending = asyncio.create_task(send_on())
    await connection.closed()
    with pytest.raises(ConnectionError):
        await asyncio.wait_for(sending, PATIENCE)
    assert running.app.paths == []


async def test_long_headers_are_told_so(running: Running, patience: Callable[..., None]) -> None:
    patience()
    connection = await running.connect()
    connection.send(b"GET / HTTP/1.1\r\nHost: gateway\r\nX-Long: ")
    for _ in range(module.HEADER_BYTES // 4096 + 80):
        connection.send(b"x" * 4096)
    assert (await connection.closed()).startswith((b"HTTP/1.1 400 ", b"")), "unless the refusal met what still came"
    assert running.app.paths == []


async def test_large_headers_within_the_limit_pass(running: Running, patience: Callable[..., None]) -> None:
    patience()
    connection = await running.connect()
    connection.send(b"POST / HTTP/1.1\r\nHost: gateway\r\nContent-Length: 2\r\nX-Long: ")
    for _ in range(12):
        connection.send(b"x" * 4096)
        await connection.writer.drain()
    connection.send(b"\r\n\r\nok")
    assert await connection.answer() == b"ok"


# --- bodies ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kept_alive", [False, True])
async def test_a_body_has_its_time(running: Running, patience: Callable[..., None], kept_alive: bool) -> None:
    patience(BODY_SECONDS=SHORT)
    connection = await running.connect()
    if kept_alive:
        connection.send(GET % b"first")
        await connection.answer()
    connection.send(POST % (b"slow", 1000))
    sending = asyncio.create_task(trickle(connection, b"x" * 1000))
    assert await connection.closed() == b""
    sending.cancel()
    await asyncio.wait_for(running.app.left.wait(), PATIENCE)


@pytest.mark.parametrize("kept_alive", [False, True])
async def test_it_is_not_the_time_of_headers(running: Running, patience: Callable[..., None], kept_alive: bool) -> None:
    patience(HEADER_SECONDS=SHORT)
    connection = await running.connect()
    if kept_alive:
        connection.send(GET % b"first")
        await connection.answer()
    connection.send(POST % (b"second", 40))
    await trickle(connection, b"x" * 40)
    assert await connection.answer() == b"x" * 40


async def test_what_an_answer_takes_is_nobodys_deadline(running: Running, patience: Callable[..., None]) -> None:
    patience(HEADER_SECONDS=SHORT, BODY_SECONDS=SHORT)
    connection = await running.connect()
    connection.send(POST % (b"wait", 2) + b"ok")
    await asyncio.wait_for(running.app.began.wait(), PATIENCE)
    end = running.end_of(connection)
    assert end is not None and end.due == math.inf
    await asyncio.sleep(2 * SHORT)
    running.app.release.set()
    assert await connection.answer() == b"ok"


async def test_a_body_that_trickles_in_wakes_the_application_once(
    running: Running, patience: Callable[..., None]
) -> None:
    patience()
    connection = await running.connect()
    connection.send(POST % (b"slow", 40))
    await trickle(connection, b"x" * 40)
    assert await connection.answer() == b"x" * 40
    assert running.app.pieces == [40]
    connection.send(POST % (b"large", 3 * BODY_BYTES) + b"x" * 3 * BODY_BYTES)
    assert len(await connection.answer()) == len(running.app.large)
    assert sum(running.app.pieces) == 40 + 3 * BODY_BYTES


# --- keeping alive, pipelines ------------------------------------------------------------------------


async def test_a_connection_is_used_again(running: Running, patience: Callable[..., None]) -> None:
    patience(HEADER_SECONDS=SHORT, BODY_SECONDS=SHORT)
    connection = await running.connect()
    for number in range(5):
        connection.send(POST % (b"%d" % number, 1) + b"%d" % number)
        assert await connection.answer() == b"%d" % number
    await asyncio.sleep(2 * SHORT)
    connection.send(POST % (b"later", 2) + b"ok")
    assert await connection.answer() == b"ok"


async def test_a_pipeline_is_answered_in_order(running: Running, patience: Callable[..., None]) -> None:
    patience()
    connection = await running.connect()
    connection.send(b"".join(POST % (b"%d" % number, 1) + b"%d" % number for number in range(5)))
    assert [await connection.answer() for _ in range(5)] == [b"0", b"1", b"2", b"3", b"4"]


@pytest.mark.parametrize("behind", [b"", GET % b"second", GET % b"second" + GET % b"third", GET[:-2] % b"half"])
async def test_a_client_that_leaves_is_noticed_whatever_it_sent_ahead(
    running: Running, patience: Callable[..., None], behind: bytes
) -> None:
    patience()
    connection = await running.connect()
    connection.send(GET % b"hold" + behind)
    await asyncio.wait_for(running.app.began.wait(), PATIENCE)
    connection.writer.close()
    await asyncio.wait_for(running.app.left.wait(), PATIENCE)
    assert running.app.paths == ["/hold"]


# --- readers -----------------------------------------------------------------------------------------


async def test_a_reader_that_takes_nothing_is_given_up(running: Running, patience: Callable[..., None]) -> None:
    patience(STALL_SECONDS=SHORT)
    connection = await running.connect(receive_buffer=4096)
    connection.send(GET % b"large")
    await asyncio.wait_for(running.app.began.wait(), PATIENCE)
    end = running.end_of(connection)
    assert end is not None
    lost, ended = asyncio.Event(), end.connection_lost
    end.connection_lost = lambda error: (ended(error), lost.set())  # type: ignore[method-assign,assignment,func-returns-value]
    await asyncio.wait_for(lost.wait(), PATIENCE)
    assert running.end_of(connection) is None, "closed for good, though not all was written"


async def test_a_reader_that_is_slow_gets_everything(running: Running, patience: Callable[..., None]) -> None:
    patience(STALL_SECONDS=SHORT)
    connection = await running.connect()
    connection.send(GET % b"large")
    await connection.reader.readuntil(b"\r\n\r\n")
    size = 0
    while size < len(running.app.large):
        piece = await asyncio.wait_for(connection.reader.read(1024 * 1024), PATIENCE)
        assert piece, "it was cut off"
        size += len(piece)
        if size % 7 == 0:
            await asyncio.sleep(SHORT / 20)
    assert size == len(running.app.large)


# --- requests of strange shape -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "path"),
    [
        (b"GET http://evil.example/x?y HTTP/1.1", "/x"),
        (b"OPTIONS * HTTP/1.1", "*"),
        (b"GET //evil.example/x HTTP/1.1", "//evil.example/x"),
        (b"GET /a%2fb HTTP/1.1", "/a/b"),
    ],
)
async def test_the_path_is_the_request_lines(
    running: Running, patience: Callable[..., None], line: bytes, path: str
) -> None:
    patience()
    connection = await running.connect()
    connection.send(line + b"\r\nHost: gateway\r\n\r\n")
    await connection.answer()
    assert running.app.paths == [path]


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"GET http://evil.example HTTP/1.1\r\nHost: g\r\n\r\n",
        b"CONNECT evil.example:443 HTTP/1.1\r\nHost: g\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: g\r\nBad Header: x\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: g\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: g\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        b"POST / HTTP/1.1\r\nHost: g\r\nContent-Length: -1\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ],
)
async def test_what_is_no_clear_request_reaches_nobody(
    running: Running, patience: Callable[..., None], request_bytes: bytes
) -> None:
    patience()
    connection = await running.connect()
    connection.send(request_bytes)
    assert (await connection.closed()).startswith(b"HTTP/1.1 400 ")
    assert running.app.paths == []


# --- answers -----------------------------------------------------------------------------------------


def start(*headers: tuple[bytes, bytes], status: int = 200) -> dict[str, Any]:
    return {"type": "http.response.start", "status": status, "headers": list(headers)}


def piece(body: bytes, more: bool = False) -> dict[str, Any]:
    return {"type": "http.response.body", "body": body, "more_body": more}


LENGTH_2 = (b"content-length", b"2")


async def exchange_once(running: Running, script: list[dict[str, Any]], request: bytes) -> bytes:
    """Return all that a server says that closes the connection after its answer."""
    running.app.scripts["/script"] = script
    connection = await running.connect()
    connection.send(request)
    return await connection.closed()


CLOSING = b"GET /script HTTP/1.1\r\nHost: g\r\nConnection: close\r\n\r\n"


async def test_a_whole_answer_is_one_write(
    running: Running, patience: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    patience()
    written: list[bytes] = []
    made = End.connection_made

    def connection_made(end: End, transport: asyncio.BaseTransport) -> None:
        made(end, transport)
        write = end.transport.write
        end.transport = _Noting(end.transport, lambda data: (written.append(data), write(data)))  # type: ignore[assignment]

    monkeypatch.setattr(End, "connection_made", connection_made)
    connection = await running.connect()
    connection.send(POST % (b"", 2) + b"ok")
    assert await connection.answer() == b"ok"
    [whole] = written
    assert whole.startswith(b"HTTP/1.1 200 OK\r\n")
    assert whole.endswith(b"\r\n\r\nok")


class _Noting:
    """A transport whose writes are noted."""

    def __init__(self, transport: Any, write: Callable[[bytes], Any]) -> None:
        self._transport, self.write = transport, write

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


async def test_an_answer_without_a_length_is_chunked_and_its_headers_do_not_wait(
    running: Running, patience: Callable[..., None]
) -> None:
    patience()
    script = [start(), piece(b"one", more=True), piece(b"", more=True), piece(b"three", more=True), piece(b"")]
    head, _, body = (await exchange_once(running, script, CLOSING)).partition(b"\r\n\r\n")
    assert b"\r\ntransfer-encoding: chunked" in head
    assert b"\r\nconnection: close" in head
    assert body == b"3\r\none\r\n5\r\nthree\r\n0\r\n\r\n"

    class Slow(App):
        async def __call__(self, scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
            await send(start())
            await self.release.wait()
            await send(piece(b"late"))

    running.app = app = Slow()
    connection = await running.connect()
    connection.send(GET % b"slow")
    await asyncio.wait_for(connection.reader.readuntil(b"\r\n\r\n"), PATIENCE)
    app.release.set()
    assert await asyncio.wait_for(connection.reader.readuntil(b"0\r\n\r\n"), PATIENCE) == b"4\r\nlate\r\n0\r\n\r\n"


async def test_a_client_of_http_1_0_gets_no_chunks(running: Running, patience: Callable[..., None]) -> None:
    patience()
    request = b"GET /script HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"
    head, _, body = (
        await exchange_once(running, [start(), piece(b"one", more=True), piece(b"two")], request)
    ).partition(b"\r\n\r\n")
    assert b"chunked" not in head
    assert b"\r\nconnection: close" in head
    assert body == b"onetwo"


@pytest.mark.parametrize(
    ("method", "script"),
    [
        (b"HEAD", [start(LENGTH_2), piece(b"ok")]),
        (b"HEAD", [start(), piece(b"ok", more=True), piece(b"more")]),
        (b"GET", [start(status=204), piece(b"")]),
        (b"GET", [start(LENGTH_2, status=304), piece(b"")]),
    ],
)
async def test_an_answer_that_has_no_body_is_none(
    running: Running, patience: Callable[..., None], method: bytes, script: list[dict[str, Any]]
) -> None:
    patience()
    said = await exchange_once(running, script, CLOSING.replace(b"GET", method))
    assert said.endswith(b"\r\n\r\n")
    assert said.count(b"\r\n\r\n") == 1
    assert b"chunked" not in said


@pytest.mark.parametrize(
    "header",
    [
        (b"x-split", b"one\r\nset-cookie: two"),
        (b"x-split", b"one\ntwo"),
        (b"x-nul", b"one\0two"),
        (b"x bad", b"name"),
        (b"x-bad:", b"name"),
        (b"", b"nameless"),
    ],
)
async def test_no_header_can_write_another(
    running: Running, patience: Callable[..., None], header: tuple[bytes, bytes]
) -> None:
    patience()
    said = await exchange_once(running, [start(header, LENGTH_2), piece(b"ok")], CLOSING)
    assert said.startswith(b"HTTP/1.1 500 ")
    assert header[1] not in said
    assert b"set-cookie" not in said


@pytest.mark.parametrize("script", [[], [piece(b"early")], [start(LENGTH_2), start(LENGTH_2)], [start(), start()]])
async def test_an_application_that_gives_no_answer_is_answered_for_or_cut_off(
    running: Running, patience: Callable[..., None], script: list[dict[str, Any]]
) -> None:
    patience()
    said = await exchange_once(running, script, GET % b"script")
    begun = script[:1] == [start()]
    assert said.startswith(b"HTTP/1.1 200 " if begun else b"HTTP/1.1 500 " if len(script) < 2 else b"")
    assert not said.endswith(b"0\r\n\r\n"), "nobody takes it for whole"


@pytest.mark.parametrize("body", [b"", b"o", b"too long"])
async def test_a_body_of_another_length_than_said_is_cut_off(
    running: Running, patience: Callable[..., None], body: bytes
) -> None:
    patience()
    said = await exchange_once(running, [start(LENGTH_2), piece(body)], GET % b"script")
    assert not said.partition(b"\r\n\r\n")[2]


async def test_who_waits_for_leave_to_send_gets_it(running: Running, patience: Callable[..., None]) -> None:
    patience()
    connection = await running.connect()
    connection.send(b"POST / HTTP/1.1\r\nHost: g\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n")
    assert (
        await asyncio.wait_for(connection.reader.readuntil(b"\r\n\r\n"), PATIENCE) == b"HTTP/1.1 100 Continue\r\n\r\n"
    )
    connection.send(b"ok")
    assert await connection.answer() == b"ok"


@pytest.mark.parametrize("endless", [b"x" * 8192, b"X-Trailer: x\r\n" * 512])
async def test_trailers_without_end_are_not_kept(
    running: Running, patience: Callable[..., None], endless: bytes
) -> None:
    patience()
    connection = await running.connect()
    connection.send(b"POST / HTTP/1.1\r\nHost: g\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-Endless: ")

    async def send_on() -> None:
        while True:
            connection.send(endless)
            await connection.writer.drain()

    sending = asyncio.create_task(send_on())
    await connection.closed()
    with pytest.raises(ConnectionError):
        await asyncio.wait_for(sending, PATIENCE)


async def test_a_long_body_in_small_chunks_passes(running: Running, patience: Callable[..., None]) -> None:
    patience()
    connection = await running.connect()
    connection.send(b"POST / HTTP/1.1\r\nHost: g\r\nTransfer-Encoding: chunked\r\n\r\n")
    for _ in range(200):
        connection.send(b"1;note=%b\r\nx\r\n" % (b"n" * 1000))
        await connection.writer.drain()
    connection.send(b"0\r\n\r\n")
    assert await connection.answer() == b"x" * 200


async def test_who_waits_for_leave_to_send_and_gets_none_is_not_listened_to(
    running: Running, patience: Callable[..., None]
) -> None:
    patience()

    async def refusing(scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        await send(start(LENGTH_2))
        await send(piece(b"no"))

    running.app = refusing  # type: ignore[assignment]
    connection = await running.connect()
    connection.send(b"POST / HTTP/1.1\r\nHost: g\r\nContent-Length: 50\r\nExpect: 100-continue\r\n\r\n")
    assert b"\r\nconnection: close\r\n\r\nno" in await connection.closed()


async def test_a_request_to_upgrade_is_answered_as_any_and_is_the_last(
    running: Running, patience: Callable[..., None]
) -> None:
    patience()
    running.app.scripts["/script"] = [start(LENGTH_2), piece(b"ok")]
    connection = await running.connect()
    connection.send(b"GET /script HTTP/1.1\r\nHost: g\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n" + GET % b"behind")
    said = await connection.closed()
    assert said.startswith(b"HTTP/1.1 200 ")
    assert b"\r\nconnection: close" in said
    assert running.app.paths == ["/script"]


async def test_what_is_no_request_behind_one_does_not_spoil_its_answer(
    running: Running, patience: Callable[..., None]
) -> None:
    patience()
    connection = await running.connect()
    connection.send(POST % (b"wait", 2) + b"ok" + b"\x16\x03 nonsense\r\n\r\n")
    await asyncio.wait_for(running.app.began.wait(), PATIENCE)
    running.app.release.set()
    assert await connection.answer() == b"ok"
    assert await connection.closed() == b""


async def test_a_body_that_breaks_off_in_nonsense_is_refused(running: Running, patience: Callable[..., None]) -> None:
    patience()
    connection = await running.connect()
    connection.send(b"POST / HTTP/1.1\r\nHost: g\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\nnonsense\r\n")
    assert (await connection.closed()).startswith(b"HTTP/1.1 400 ")


async def test_trailers_are_no_headers(running: Running, patience: Callable[..., None]) -> None:
    patience()
    connection = await running.connect()
    chunked = b"POST / HTTP/1.1\r\nHost: g\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-Admin-Key: x\r\n\r\n"
    connection.send(chunked + GET % b"next")
    assert await connection.answer() == b"ok"
    assert await connection.answer() == b""
    assert running.app.headers == [[b"host", b"transfer-encoding"], [b"host"]]


# --- the end -----------------------------------------------------------------------------------------


async def test_it_says_when_it_listens_and_ends_and_finishes_what_is_under_way(patience: Callable[..., None]) -> None:
    patience()
    own = Running()
    await own.start()
    assert own.events == ["listening"]
    connection = await own.connect()
    connection.send(POST % (b"wait", 2) + b"ok")
    await asyncio.wait_for(own.app.began.wait(), PATIENCE)
    stopping = asyncio.create_task(own.stop())
    await asyncio.wait_for(own.closing.wait(), PATIENCE)
    assert own.events == ["listening", "closing"]
    own.app.release.set()
    assert await connection.answer() == b"ok"
    assert await connection.closed() == b"", "and it is not kept alive"
    await stopping
    connection.writer.close()

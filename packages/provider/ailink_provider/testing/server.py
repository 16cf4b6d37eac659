"""A small HTTP/1.1 server on a loopback port whose every byte is under a test's control.

It parses requests and hands each, whole, to one handler; the handler writes the answer through an ``Exchange``,
which can also break the connection. It knows no vendor and judges nothing, and it is no server for production:
it trusts its client with memory and time.
"""

import asyncio
import json
import socket
import ssl
import struct
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import Future
from functools import cached_property
from http.client import responses
from typing import Any, Literal, TypeAlias, cast
from urllib.parse import parse_qsl, unquote

import httptools

Headers: TypeAlias = list[tuple[str, str]]
Outcome: TypeAlias = Literal["answered", "cut", "disconnected"]


class Received:
    """One request as it arrived.

    ``path`` is percent-decoded, ``target`` is not; ``query`` and ``raw_headers`` are pairs in order, header names
    as they were sent; ``connection`` numbers the connection it came on. ``outcome`` is resolved once: "answered",
    "cut" (by this server) or "disconnected" (by the client). ``sent`` counts the body bytes answered so far.
    """

    def __init__(self, method: str, target: str, headers: Headers, body: bytes, connection: int = 0,
                 keep_alive: bool = True) -> None:
        self.method = method
        self.target = target
        self.raw_headers = headers
        self.body = body
        self.connection = connection
        self.keep_alive = keep_alive
        path, _, query = target.partition("?")
        self.path = unquote(path)
        self.query = parse_qsl(query, keep_blank_values=True)
        self.sent = 0
        self.outcome: Future[Outcome] = Future()

    @cached_property
    def headers(self) -> Mapping[str, str]:
        """Headers by lower-case name; the values of a repeated one are joined by ", "."""
        joined: dict[str, str] = {}
        for name, value in self.raw_headers:
            key = name.lower()
            joined[key] = f"{joined[key]}, {value}" if key in joined else value
        return joined

    @cached_property
    def json(self) -> Any:
        """The body, decoded. Raises ``ValueError`` if it is not JSON."""
        return json.loads(self.body)

    def settle(self, outcome: Outcome) -> None:
        """Resolve ``outcome`` unless it already is."""
        if not self.outcome.done():
            self.outcome.set_result(outcome)

    def __repr__(self) -> str:
        return f"<{self.method} {self.target}, {len(self.body)} bytes>"


class Exchange:
    """One request and the means to answer it. Writing waits while the client does not read."""

    def __init__(self, request: Received, connection: "Connection") -> None:
        self.request = request
        self._connection = connection
        self._chunked = False

    async def start(self, status: int, headers: Headers, length: int | None = None) -> None:
        """Send the head. ``length`` is the body's in bytes; None sends it in chunks."""
        self._chunked = length is None
        phrase = responses.get(status, "")
        framing = ("transfer-encoding", "chunked") if length is None else ("content-length", str(length))
        lines = [f"{name}: {value}\r\n" for name, value in [*headers, framing]]
        await self._connection.write(f"HTTP/1.1 {status} {phrase}\r\n{''.join(lines)}\r\n".encode("latin-1"))

    async def write(self, data: bytes) -> None:
        """Send a piece of the body."""
        if data and self.request.method != "HEAD":
            self.request.sent += len(data)
            await self._connection.write(b"%x\r\n%b\r\n" % (len(data), data) if self._chunked else data)

    async def finish(self) -> None:
        """End the body."""
        # Settled first: whoever has read the last byte must find the outcome there.
        self.request.settle("answered")
        if self._chunked and self.request.method != "HEAD":
            await self._connection.write(b"0\r\n\r\n")

    def cut(self) -> None:
        """Close the connection, whatever is still owed; what was written before is delivered."""
        self.request.settle("cut")
        self._connection.drop()

    def reset(self) -> None:
        """Reset the connection (TCP RST); what was written before may be lost with it."""
        self.request.settle("cut")
        self._connection.reset()


Handler: TypeAlias = Callable[[Exchange], Awaitable[None]]


class Connection(asyncio.Protocol):
    """One client connection: parses requests and lets the handler answer them one after the other."""

    def __init__(self, server: "Server", number: int) -> None:
        self._server = server
        self._number = number
        self._parser = httptools.HttpRequestParser(self)
        self._requests: asyncio.Queue[Received] = asyncio.Queue()
        self._current: Received | None = None
        self._writable = asyncio.Event()
        self._writable.set()
        self._closed = asyncio.Event()
        self._transport: asyncio.Transport
        self._task: asyncio.Task[None]

    # --- what asyncio calls ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._task = asyncio.get_running_loop().create_task(self._answer())
        self._task.add_done_callback(self._ended)
        self._server.connections.add(self)

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade, UnicodeDecodeError) as error:
            self._server.malformed.append(f"connection {self._number}: {error}")
            self._transport.write(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
            self._transport.close()

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def connection_lost(self, error: Exception | None) -> None:
        if self._current is not None:
            self._current.settle("disconnected")
        self._task.cancel()
        self._server.connections.discard(self)
        self._closed.set()

    # --- what httptools calls ---

    def on_message_begin(self) -> None:
        self._target, self._headers, self._body = b"", list[tuple[str, str]](), bytearray()

    def on_url(self, url: bytes) -> None:
        self._target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers.append((name.decode("latin-1"), value.decode("latin-1")))

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        method = self._parser.get_method().decode("ascii")
        target = self._target.decode("ascii")
        keep_alive = self._parser.should_keep_alive()
        self._requests.put_nowait(
            Received(method, target, self._headers, bytes(self._body), self._number, keep_alive))

    # --- what the handler and the server call ---

    async def write(self, data: bytes) -> None:
        """Send bytes, waiting while the client does not read."""
        self._transport.write(data)
        await self._writable.wait()

    def drop(self) -> None:
        """Close without the end of an answer that may be under way."""
        self._transport.close()

    def reset(self) -> None:
        """Close with a TCP reset."""
        raw = self._transport.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._transport.abort()

    async def stop(self) -> None:
        """Close at once and wait until nothing of the connection is left."""
        self._transport.abort()
        await self._closed.wait()
        await asyncio.gather(self._task, return_exceptions=True)

    @property
    def idle(self) -> bool:
        """Whether no request is being answered."""
        return self._current is None

    async def _answer(self) -> None:
        while True:
            request = await self._requests.get()
            self._current = request
            await self._server.handler(Exchange(request, self))
            self._current = None
            if not request.keep_alive:
                self.drop()

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self._server.errors.append(error)
            self._transport.abort()


class Server:
    """Listens on 127.0.0.1, on a free port unless one is given, and in TLS if there is a context for it.

    ``malformed`` tells of everything that was not HTTP; ``errors`` holds what the handler raised. Start and stop it
    in the same event loop.
    """

    def __init__(self, handler: Handler, *, port: int = 0, tls: ssl.SSLContext | None = None) -> None:
        self.handler = handler
        self.port = port
        self.tls = tls
        self.connections: set[Connection] = set()
        self.malformed: list[str] = []
        self.errors: list[BaseException] = []
        self._accepted = 0

    async def start(self) -> None:
        """Start listening; afterwards ``port`` is the real one."""
        loop = asyncio.get_running_loop()
        self._listener = await loop.create_server(self._accept, "127.0.0.1", self.port, ssl=self.tls)
        self.port = self._listener.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Stop listening and drop every connection."""
        self._listener.close()
        await asyncio.gather(*(connection.stop() for connection in list(self.connections)))
        await self._listener.wait_closed()

    def drop_idle(self) -> None:
        """Close the kept-alive connections on which no request is being answered."""
        for connection in list(self.connections):
            if connection.idle:
                connection.drop()

    def _accept(self) -> Connection:
        self._accepted += 1
        return Connection(self, self._accepted)

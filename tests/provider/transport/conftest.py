"""Upstreams that speak raw bytes, scripted line by line, and transports that are closed behind each test.

Every test runs on asyncio's own loop and on uvloop, which differ in how they close, pause and report.
"""

import asyncio
import re
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
import trustme
import uvloop

from ailink_provider.transport import Guard, Origin, Request, Timeouts, Transport
from ailink_provider.transport.connector import trust_system

PATIENCE = 5.0  # seconds until a script that waits for what never comes gives up


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


class Peer:
    """The upstream's end of one connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def head(self) -> bytes:
        """Read a request up to and with its empty line."""
        return await asyncio.wait_for(self._reader.readuntil(b"\r\n\r\n"), PATIENCE)

    async def request(self) -> tuple[bytes, bytes]:
        """Read a whole request: its head, and its body as it was on the wire."""
        head = await self.head()
        if b"\r\nTransfer-Encoding: chunked\r\n" in head:
            return head, await asyncio.wait_for(self._reader.readuntil(b"0\r\n\r\n"), PATIENCE)
        length = re.search(rb"\r\nContent-Length: (\d+)\r\n", head)
        return head, await self.take(int(length[1]) if length else 0)

    async def take(self, count: int) -> bytes:
        """Read exactly ``count`` bytes."""
        return await asyncio.wait_for(self._reader.readexactly(count), PATIENCE)

    def send(self, *pieces: bytes) -> None:
        for piece in pieces:
            self._writer.write(piece)

    async def send_all(self, data: bytes) -> None:
        """Send, and wait until the other end takes it."""
        self._writer.write(data)
        await self._writer.drain()

    @property
    def unsent(self) -> int:
        return self._writer.transport.get_write_buffer_size()

    def close(self) -> None:
        """End the connection in order."""
        self._writer.close()

    def reset(self) -> None:
        """End the connection with RST."""
        connected = self._writer.get_extra_info("socket")
        connected.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.abort()

    def abort(self) -> None:
        self._writer.transport.abort()

    async def gone(self) -> None:
        """Wait until the other end has closed."""
        try:
            while await asyncio.wait_for(self._reader.read(65536), PATIENCE):
                pass
        except ConnectionError:
            pass


class Server:
    """An upstream on a local port. ``origin`` leads to it; ``accepted`` counts its connections."""

    def __init__(self, origin: Origin) -> None:
        self.origin = origin
        self.accepted = 0
        self.peers: list[Peer] = []
        self._arrivals: asyncio.Queue[Peer] = asyncio.Queue()

    async def greet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = Peer(reader, writer)
        self.accepted += 1
        self.peers.append(peer)
        self._arrivals.put_nowait(peer)

    async def accept(self) -> Peer:
        """Return the next connection in the order they came."""
        return await asyncio.wait_for(self._arrivals.get(), PATIENCE)


@pytest.fixture
def until() -> Callable[[Callable[[], object]], Awaitable[None]]:
    """Wait for what the other end of a socket causes: ``await until(lambda: ...)``."""

    async def wait(condition: Callable[[], object]) -> None:
        async with asyncio.timeout(PATIENCE):
            while not condition():  # noqa: ASYNC110
                await asyncio.sleep(0.001)

    return wait


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="session")
def trusting(authority: trustme.CA) -> ssl.SSLContext:
    """The context of the product, with the tests' own authority besides the system's."""
    context = trust_system()
    authority.configure_trust(context)
    return context


@pytest.fixture
async def serve() -> AsyncIterator[Callable[..., Awaitable[Server]]]:
    """Start upstreams: ``await serve()``, ``await serve(tls=context)``."""
    listeners: list[tuple[asyncio.Server, Server]] = []

    async def start(tls: ssl.SSLContext | None = None, host: str = "127.0.0.1") -> Server:
        listening = socket.create_server((host, 0))
        for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):  # what is not taken shall soon be felt
            listening.setsockopt(socket.SOL_SOCKET, option, 65536)
        port = listening.getsockname()[1]
        server = Server(Origin("https" if tls else "http", host, port))
        listeners.append((await asyncio.start_server(server.greet, sock=listening, ssl=tls), server))
        return server

    yield start
    for listener, server in listeners:
        for peer in server.peers:
            peer.abort()
        listener.close()
        await listener.wait_closed()


@pytest.fixture
async def server(serve: Callable[..., Awaitable[Server]]) -> Server:
    return await serve()


@pytest.fixture
async def connect(trusting: ssl.SSLContext) -> AsyncIterator[Callable[..., Transport]]:
    """Make transports that may reach this machine: ``connect(timeouts=..., ...)``."""
    transports: list[Transport] = []

    def make(**options: Any) -> Transport:
        options.setdefault("guard", Guard(["127.0.0.0/8", "::1"]))
        options.setdefault("ssl_context", trusting)
        transport = Transport(**options)
        transports.append(transport)
        return transport

    yield make
    for transport in transports:
        await transport.close()
        assert transport.statistics() == {}


@pytest.fixture
def transport(connect: Callable[..., Transport]) -> Transport:
    return connect(timeouts=Timeouts(connect=PATIENCE, first_byte=PATIENCE, between_bytes=PATIENCE, pool=PATIENCE))


@pytest.fixture
def get(server: Server) -> Request:
    return Request("GET", server.origin, b"/thing", [(b"Accept", b"*/*")])

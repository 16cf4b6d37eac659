"""The HTTP server: uvicorn on uvloop, with the gateway's own protocol. It knows not what is served."""

import asyncio
import os
import socket
from collections.abc import Callable
from types import FrameType
from typing import Any

import uvicorn

from ailink_gateway.http1 import Connection

SHUTDOWN_SECONDS = 30
ACCEPTED_AT_ONCE = 64  # connections, each time that one is


class Server(uvicorn.Server):
    """A server that says when it listens, and on which port, and when it begins to stop.

    It accepts connections faster than uvloop, which takes one each time round its loop: with thousands of streams under
    way one round takes so long that who comes new would wait for seconds.
    """

    def __init__(self, config: uvicorn.Config, announce: Callable[[int], None], closing: Callable[[], None]) -> None:
        super().__init__(config)
        self._announce, self._closing = announce, closing
        self._listeners: list[socket.socket] = []
        self._accepting: set[asyncio.Task[None]] = set()
        config.http = self._accepted  # type: ignore[assignment]

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start listening, then announce it."""
        await super().startup(sockets)
        if self.started:
            listening = [own for server in self.servers for own in server.sockets]
            self._listeners = [socket.socket(fileno=os.dup(own.fileno())) for own in listening]
            for listener in self._listeners:
                listener.setblocking(False)
            self._announce(listening[0].getsockname()[1])

    def _accepted(self, **given: Any) -> Connection:
        """Return the protocol of a connection that was accepted, and accept those that wait behind it."""
        loop = asyncio.get_running_loop()
        for listener in self._listeners:
            for _ in range(ACCEPTED_AT_ONCE):
                try:
                    client, _address = listener.accept()
                except OSError:  # nobody waits, or no descriptor is free: they are asked for again next time
                    break
                task = loop.create_task(self._take(client, given))
                self._accepting.add(task)
                task.add_done_callback(self._accepting.discard)
        return Connection(**given)

    async def _take(self, client: socket.socket, given: dict[str, Any]) -> None:
        try:
            client.setblocking(False)
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await asyncio.get_running_loop().connect_accepted_socket(lambda: Connection(**given), client)
        except OSError:  # it has left again
            client.close()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to stop. A stop that was asked for is no failure, so the signal is not raised again at the end."""
        super().handle_exit(sig, frame)
        self._captured_signals.clear()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Announce the end, then wait for what is under way."""
        self._closing()
        for listener in self._listeners:
            listener.close()
        self._listeners.clear()
        await super().shutdown(sockets)


def server(app: Any, host: str, port: int, announce: Callable[[int], None], closing: Callable[[], None]) -> Server:
    """Return a server for an ASGI application, not yet started.

    ``announce`` is called with the port it listens on, ``closing`` when it begins to stop.
    """
    return Server(
        uvicorn.Config(
            app,
            host=host,
            port=port,
            loop="uvloop",
            ws="none",
            lifespan="on",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=SHUTDOWN_SECONDS,
            backlog=4096,
        ),
        announce,
        closing,
    )

"""The HTTP server: uvicorn on uvloop, with the gateway's own protocol. It knows not what is served."""

import socket
from collections.abc import Callable
from types import FrameType
from typing import Any

import uvicorn

from ailink_gateway.http1 import Connection

SHUTDOWN_SECONDS = 30


class Server(uvicorn.Server):
    """A server that says when it listens, and on which port, and when it begins to stop."""

    def __init__(self, config: uvicorn.Config, announce: Callable[[int], None], closing: Callable[[], None]) -> None:
        super().__init__(config)
        self._announce, self._closing = announce, closing

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start listening, then announce it."""
        await super().startup(sockets)
        if self.started:
            self._announce(self.servers[0].sockets[0].getsockname()[1])

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to stop. A stop that was asked for is no failure, so the signal is not raised again at the end."""
        super().handle_exit(sig, frame)
        self._captured_signals.clear()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Announce the end, then wait for what is under way."""
        self._closing()
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
            http=Connection,
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

"""The HTTP server: uvicorn on uvloop and httptools, with the deadlines that it lacks. It knows not what is served."""

import asyncio
import socket
from collections.abc import Callable
from types import FrameType
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

HEADER_SECONDS = 20.0
BODY_SECONDS = 120.0
KEEP_ALIVE_SECONDS = 75
STALL_SECONDS = 120.0
SHUTDOWN_SECONDS = 30
HEADER_BYTES = 64 * 1024  # beyond what one read of the socket brings


class DeadlineProtocol(HttpToolsProtocol):
    """Closes a connection that makes the server wait or hoard.

    A request's headers have ``HEADER_SECONDS`` and ``HEADER_BYTES``, its body has ``BODY_SECONDS``, and a client that
    takes nothing of what is written to it has ``STALL_SECONDS``. A request that arrives in one piece, as most do, costs
    no timer.
    """

    _deadline: asyncio.TimerHandle | None = None
    _stall: asyncio.TimerHandle | None = None
    _in_headers = _in_body = False
    _header_bytes = 0
    _running: RequestResponseCycle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the clock of the first request."""
        super().connection_made(transport)
        self._expect(HEADER_SECONDS)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the clocks, and tell the request that is being answered; uvicorn tells only the newest of a pipeline."""
        self._arrived()
        self._caught_up()
        super().connection_lost(exc)
        if self._running is not None and not self._running.response_complete:
            self._running.disconnected = True
            self._running.message_event.set()

    def data_received(self, data: bytes) -> None:
        """Start the clock unless a whole request is here: also for bytes that begin none, such as empty lines."""
        began = self._in_headers
        super().data_received(data)
        self._header_bytes = self._header_bytes + len(data) if began and self._in_headers else 0
        if self._header_bytes > HEADER_BYTES:
            self.send_400_response("The headers of this request are too large.")
        answering = self.cycle is not None and not self.cycle.response_complete
        if answering and not self._in_headers and not self._in_body:
            self._arrived()
        elif self._deadline is None:
            self._expect(BODY_SECONDS if self._in_body else HEADER_SECONDS)

    def on_message_begin(self) -> None:
        """Note that a request has begun."""
        self._in_headers = True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Give the body its own time, where one was running for the headers."""
        self._in_headers, self._in_body = False, True
        if self._deadline is not None:
            self._arrived()
            self._expect(BODY_SECONDS)
        super().on_headers_complete()
        self.headers = []  # what comes now are trailers: no header of the request, whatever they are called

    def on_message_complete(self) -> None:
        """Note that the request is here."""
        self._in_body = False
        super().on_message_complete()

    def pause_writing(self) -> None:
        """Begin to watch whether the client takes what waits for it."""
        super().pause_writing()
        self._watch_reader(self.transport.get_write_buffer_size())

    def resume_writing(self) -> None:
        """Stop watching."""
        self._caught_up()
        super().resume_writing()

    def _watch_reader(self, waiting: int) -> None:
        self._stall = self.loop.call_later(STALL_SECONDS, self._look_again, waiting)

    def _look_again(self, waited: int) -> None:
        waiting = self.transport.get_write_buffer_size()
        if waiting == waited:
            self.transport.abort()  # to close would mean to wait until all is written
        else:
            self._watch_reader(waiting)

    def _caught_up(self) -> None:
        if self._stall is not None:
            self._stall.cancel()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._running = cycle
        super()._start_asgi_task(cycle, app)

    def _expect(self, seconds: float) -> None:
        self._deadline = self.loop.call_later(seconds, self.transport.close)

    def _arrived(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


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
            http=DeadlineProtocol,
            ws="none",
            lifespan="on",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=SHUTDOWN_SECONDS,
            backlog=4096,
        ),
        announce,
        closing,
    )

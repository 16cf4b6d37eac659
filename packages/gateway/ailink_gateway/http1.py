"""HTTP/1.1 as the gateway serves it: clients' connections, read by llhttp, and the ASGI calls that are made on them.

In place of uvicorn's own protocol (docs/decisions/serving-http.md): a whole answer goes out in one write, and a request
that arrives in one piece starts no timer. It knows not what is served, and speaks nothing else: a request to upgrade is
answered as if it had not asked. What a call is to the application stands in ``http_call``.
"""

import asyncio
import logging
from collections import deque
from math import inf
from typing import Any, cast
from urllib.parse import unquote

import httptools
from uvicorn import Config
from uvicorn.server import ServerState

from ailink_gateway.http_call import Call

logger = logging.getLogger("ailink.server")

HEADER_SECONDS = 20.0
BODY_SECONDS = 120.0
KEEP_ALIVE_SECONDS = 75.0
STALL_SECONDS = 120.0
HEADER_BYTES = 64 * 1024  # of headers, or of chunks' framing and trailers; beyond what one read of the socket brings

_REFUSAL = b"HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain\r\ncontent-length: %d\r\nconnection: close\r\n\r\n%b"
_ASGI = {"version": "3.0", "spec_version": "2.3"}

# What a connection waits for. Each has its time, but for the gateway's own answer.
_IDLE, _HEADERS, _BODY, _ANSWER = "idle", "headers", "body", "answer"


class Connection(asyncio.Protocol):
    """A client's connection, which is closed when it makes the server wait or hoard.

    A request's headers have ``HEADER_SECONDS`` and ``HEADER_BYTES``, its body has ``BODY_SECONDS``, and what stands
    between its pieces or behind them ``HEADER_BYTES``, the next request ``KEEP_ALIVE_SECONDS`` to begin, and a client
    that takes nothing of what is written to it has ``STALL_SECONDS``.

    Args:
        config, server_state, app_state, _loop: what uvicorn's server makes a protocol with. Of ``server_state`` it
            closes ``connections`` by their ``shutdown`` and waits for ``tasks``.
    """

    transport: asyncio.Transport

    def __init__(
        self, config: Config, server_state: ServerState, app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        self.loop = _loop or asyncio.get_event_loop()
        self.client: tuple[str, int] | None = None
        self.due = inf  # when time is up, by the loop's clock
        self.drained: asyncio.Event | None = None  # while the client does not take what is written
        self._application: Any = config.loaded_app
        self._state = server_state
        self._parser = httptools.HttpRequestParser(self)
        self._call: Call | None = None  # the one that is being answered
        self._arriving: Call | None = None  # the one whose body is on its way: that, or the last of the pipeline
        self._pipeline: deque[Call] = deque()
        self._phase = _HEADERS
        self._alarm: asyncio.TimerHandle | None = None  # one for all phases; it finds out what is due when it rings
        self._alarm_at = inf
        self._stall: asyncio.TimerHandle | None = None
        self._deaf = False  # nothing more is understood: what is under way is answered, and that is all
        self._paused = False
        self._in_headers = False
        self._header_bytes = 0  # since a request, its body or a piece of that began
        self._url = b""
        self._headers: list[tuple[bytes, bytes]] = []

    # --- asyncio.Protocol ----------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Expect the first request."""
        self.transport = cast(asyncio.Transport, transport)
        self._state.connections.add(self)  # type: ignore[arg-type]
        self._server = _address(transport, "sockname")
        self.client = _address(transport, "peername")
        self._expect(_HEADERS, HEADER_SECONDS)

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the call that is being answered. Those behind it are never made."""
        self._state.connections.discard(self)
        self._deaf = True
        self._pipeline.clear()
        if self._alarm is not None:
            self._alarm.cancel()
        self.resume_writing()
        if self._call is not None:
            self._call.leave()
        del self._parser  # the two refer to each other

    def data_received(self, data: bytes) -> None:
        """Read on, and give what is awaited now its time."""
        if self._deaf:
            return
        self._header_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._deafen()  # llhttp takes what comes for another protocol
        except httptools.HttpParserError:
            self._refuse(b"Invalid HTTP request received.")
            return
        if self._header_bytes > HEADER_BYTES:
            self._refuse(b"The headers of this request are too large.")
        elif self._in_headers:
            self._expect(_HEADERS, HEADER_SECONDS)
        elif self._arriving is not None:
            self._expect(_BODY, BODY_SECONDS)
        elif self._call is not None:
            self._phase, self.due = _ANSWER, inf
        elif self._phase is _BODY:  # of a request that was answered before it was here
            self._expect(_IDLE, KEEP_ALIVE_SECONDS)
        else:  # empty lines
            self._expect(_HEADERS, HEADER_SECONDS)

    def eof_received(self) -> None:
        """Close: who sends no more is taken to have left."""

    def pause_writing(self) -> None:
        """Have whoever writes wait, and begin to watch whether the client takes what waits for it."""
        self.drained = asyncio.Event()
        self._watch_reader(self.transport.get_write_buffer_size())

    def resume_writing(self) -> None:
        """Go on writing."""
        if self.drained is not None:
            self.drained.set()
            self.drained = None
        if self._stall is not None:
            self._stall.cancel()

    # --- what uvicorn's server and the calls ask for ---------------------------------------------------

    def shutdown(self) -> None:
        """Close after the answers to what is there; at once if nothing is."""
        if self._call is None:
            self.transport.close()
        else:
            self._last().keep_alive = False

    def common_headers(self) -> list[tuple[bytes, bytes]]:
        """Return what every answer carries."""
        return self._state.default_headers

    def read_on(self) -> None:
        """Receive again, if too much had come before."""
        if self._paused and not self.transport.is_closing():
            self._paused = False
            self.transport.resume_reading()

    def hold_back(self) -> None:
        """Receive nothing until ``read_on``."""
        if not self._paused and not self.transport.is_closing():
            self._paused = True
            self.transport.pause_reading()

    def answered(self, call: Call) -> None:
        """Go on to the next call, or wait for one."""
        self._state.total_requests += 1
        self._call = None
        if not call.keep_alive:
            self.transport.close()
            return
        self.read_on()
        if self._pipeline:
            self._begin(self._pipeline.popleft())
        elif self._phase is _ANSWER:
            self._expect(_IDLE, KEEP_ALIVE_SECONDS)

    # --- called by the parser --------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        self._in_headers = True
        self._header_bytes = 0
        self._url = b""
        self._headers = []  # without the trailers of the request before

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        self._in_headers = False
        self._header_bytes = 0
        self._phase, self.due = _ANSWER, inf  # unless ``data_received`` finds that more is awaited
        parser = self._parser
        version = parser.get_http_version()
        raw_path, query = _split(self._url)
        path = raw_path.decode("ascii")
        headers, self._headers = self._headers, []  # what comes behind the body is no header of this request
        scope = {
            "type": "http", "asgi": _ASGI, "http_version": version, "method": parser.get_method().decode("ascii"),
            "scheme": "http", "path": unquote(path) if "%" in path else path, "raw_path": raw_path,
            "query_string": query, "root_path": "", "headers": headers, "client": self.client, "server": self._server,
        }  # fmt: skip
        expects_continue = dict(headers).get(b"expect", b"").lower() == b"100-continue"
        call = Call(self, scope, parser.should_keep_alive() and version != "1.0", expects_continue)
        self._arriving = call
        if self._call is None:
            self._begin(call)
        else:
            self._pipeline.append(call)
            self.hold_back()

    def on_body(self, body: bytes) -> None:
        self._header_bytes = 0
        if self._arriving is not None:
            self._arriving.feed(body)

    def on_message_complete(self) -> None:
        self._header_bytes = 0
        call, self._arriving = self._arriving, None
        if call is not None:
            call.end()

    # --- calls -----------------------------------------------------------------------------------------

    def _begin(self, call: Call) -> None:
        self._call = call
        task = self.loop.create_task(self._serve(call))
        self._state.tasks.add(task)
        task.add_done_callback(self._state.tasks.discard)

    async def _serve(self, call: Call) -> None:
        try:
            await self._application(call.scope, call.receive, call.send)
        except asyncio.CancelledError:
            self.transport.abort()
            raise
        except Exception as error:  # whatever is served, the connection has to be told
            logger.error("a call ended in an error", exc_info=error)
        if not call.complete:
            if call.started or call.gone:
                self.transport.close()  # in the middle, so that nobody takes it for the whole
            else:
                await call.fail()

    def _last(self) -> Call:
        assert self._call is not None
        return self._pipeline[-1] if self._pipeline else self._call

    def _deafen(self) -> None:
        self._deaf = True
        self._phase, self.due = _ANSWER, inf
        if self._call is not None:
            self._last().keep_alive = False
        else:
            self.transport.close()

    def _refuse(self, why: bytes) -> None:
        """Answer what is no request with 400. What is under way before it is answered first, and then that is all."""
        call, broken, self._arriving = self._call, self._arriving, None
        if call is None or (call is broken and not call.started):
            self._deaf = True
            self.transport.write(_REFUSAL % (len(why), why))
            self.transport.close()
            return
        if call is broken:
            call.leave()  # the rest of what it asks will not come
        elif broken is not None:
            self._pipeline.remove(broken)
        self._deafen()

    # --- time ------------------------------------------------------------------------------------------

    def _expect(self, phase: str, seconds: float) -> None:
        """Give a phase its time, unless it has begun before."""
        if phase is self._phase and self.due != inf:
            return
        self._phase = phase
        self.due = due = self.loop.time() + seconds
        if due < self._alarm_at:
            if self._alarm is not None:
                self._alarm.cancel()
            self._alarm_at = due
            self._alarm = self.loop.call_at(due, self._ring)

    def _ring(self) -> None:
        self._alarm, self._alarm_at = None, inf
        if self.loop.time() >= self.due:
            self.transport.close()
        elif self.due != inf:
            self._alarm_at = self.due
            self._alarm = self.loop.call_at(self.due, self._ring)

    def _watch_reader(self, waiting: int) -> None:
        self._stall = self.loop.call_later(STALL_SECONDS, self._look_again, waiting)

    def _look_again(self, waited: int) -> None:
        waiting = self.transport.get_write_buffer_size()
        if waiting == waited:
            self.transport.abort()  # to close would mean to wait until all is written
        else:
            self._watch_reader(waiting)


def _split(url: bytes) -> tuple[bytes, bytes]:
    """Return path and query of what a request line names. Raises ``httptools.HttpParserError`` if it has no path."""
    if url.startswith(b"/") and b"#" not in url:
        path, _, query = url.partition(b"?")
        return path, query
    parsed = httptools.parse_url(url)
    if parsed.path is None:
        raise httptools.HttpParserInvalidURLError(f"{url[:64]!r} has no path")
    return parsed.path, parsed.query or b""


def _address(transport: asyncio.BaseTransport, which: str) -> tuple[str, int] | None:
    address = transport.get_extra_info(which)
    return (address[0], address[1]) if isinstance(address, tuple) else None

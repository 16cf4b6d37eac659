"""One request and its answer, as ASGI has them: what an application receives, and what is written of what it sends.

Writes a connection's bytes, and frames them; opens, reads and closes nothing.
"""

import asyncio
import re
from collections.abc import Iterable
from functools import lru_cache
from http import HTTPStatus
from math import inf
from typing import Any, Protocol

BODY_BYTES = 64 * 1024  # of a body that is not complete, for which the application is woken and no more is read

_TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9a-z]+")  # RFC 9110 section 5.6.2, in lower case
_OURS = frozenset((b"transfer-encoding", b"connection"))  # of the connection, so that no application may write them
_BODILESS = frozenset((204, 304))
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class Line(Protocol):
    """A client's connection, as far as a call knows it. ``drained`` is there while the client takes nothing."""

    transport: asyncio.Transport
    drained: asyncio.Event | None

    def common_headers(self) -> list[tuple[bytes, bytes]]:
        """Return what every answer carries."""

    def read_on(self) -> None:
        """Receive again."""

    def hold_back(self) -> None:
        """Receive nothing until ``read_on``."""

    def answered(self, call: "Call") -> None:
        """All of the answer is written."""


class Call:
    """One request and its answer: ``receive`` and ``send`` of ASGI."""

    __slots__ = (
        "_bodiless", "_connection", "_expects_continue", "_head", "_left", "_news", "_pieces", "_size", "_wake",
        "_whole", "complete", "gone", "keep_alive", "scope", "started",
    )  # fmt: skip

    def __init__(self, connection: Line, scope: dict[str, Any], keep_alive: bool, expects_continue: bool) -> None:
        self.scope = scope
        self.keep_alive = keep_alive
        self.started = False  # the answer's headers are known
        self.complete = False  # all of the answer is written
        self.gone = False  # the client has left
        self._connection = connection
        self._expects_continue = expects_continue
        self._pieces: list[bytes] = []  # of the body, which the application has not taken
        self._size = 0
        self._whole = False
        self._news = False  # something for ``receive`` to return
        self._wake: asyncio.Event | None = None
        self._head = b""  # kept until the first of the body, so that both are one write
        self._bodiless = False
        self._left: float | None = None  # bytes of the answer that are still to come; None if it is chunked

    # --- the connection's side -------------------------------------------------------------------------

    def feed(self, body: bytes) -> None:
        """Take a piece of the body, and wake the application for much of it only: whoever sends a byte at a time costs
        next to nothing. One that is answered already needs no more.
        """
        if self.complete:
            return
        self._pieces.append(body)
        self._size += len(body)
        if self._size > BODY_BYTES:
            self._connection.hold_back()
            self._tell()

    def end(self) -> None:
        """The body is complete."""
        self._whole = True
        self._tell()

    def leave(self) -> None:
        """The client has left."""
        self.gone = True
        self._tell()

    def _tell(self) -> None:
        self._news = True
        if self._wake is not None:
            self._wake.set()

    async def fail(self) -> None:
        """Answer that the application did not."""
        self.keep_alive = False
        headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", b"21")]
        await self.send({"type": "http.response.start", "status": 500, "headers": headers})
        await self.send({"type": "http.response.body", "body": b"Internal Server Error"})

    # --- the application's side ------------------------------------------------------------------------

    async def receive(self) -> dict[str, Any]:
        """Return the next of the body, or, once that is taken, wait for the client to leave."""
        if self._expects_continue:
            self._expects_continue = False
            if not self.gone:
                self._connection.transport.write(_CONTINUE)
        while not (self._news or self.gone or self.complete):
            self._connection.read_on()
            if self._wake is None:
                self._wake = asyncio.Event()
            self._wake.clear()
            await self._wake.wait()
        if self.gone or self.complete:
            return {"type": "http.disconnect"}
        pieces = self._pieces
        body = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        self._pieces, self._size, self._news = [], 0, False
        return {"type": "http.request", "body": body, "more_body": not self._whole}

    async def send(self, message: Any) -> None:
        """Write the answer's beginning or more of it, as fast as the client takes it. Nothing happens once it left."""
        if self._connection.drained is not None:
            await self._connection.drained.wait()
        if self.gone:
            return
        kind = message["type"]
        if kind == "http.response.body" and self.started and not self.complete:
            self._write(message.get("body", b""), last=not message.get("more_body", False))
        elif kind == "http.response.start" and not self.started:
            self._start(message["status"], message.get("headers", ()))
        else:
            raise RuntimeError(f"{kind} was sent where it has no place in an answer")

    def _start(self, status: int, headers: Iterable[tuple[bytes, bytes]]) -> None:
        headers = [*self._connection.common_headers(), *headers]
        named = dict(headers)
        if not _OURS.isdisjoint(named):
            self.keep_alive = self.keep_alive and b"close" not in named.get(b"connection", b"").lower()
            headers = [header for header in headers if header[0] not in _OURS]
        length = int(named[b"content-length"]) if b"content-length" in named else None
        block = _status_line(status) + b"".join([_line_start(name) + value for name, value in headers])
        # Each line brings one CR and one LF: any other came in a value. Counting is far cheaper than a look at each.
        if block.count(b"\r") != len(headers) or block.count(b"\n") != len(headers) or 0 in block:
            raise RuntimeError("A header's value holds a line break or NUL.")
        if self.scope["method"] == "HEAD" or status in _BODILESS:
            self._bodiless = True
        elif length is not None:
            self._left = length
        elif self.scope["http_version"] == "1.0":
            self._left = inf  # it ends with the connection
        else:
            block += b"\r\ntransfer-encoding: chunked"
        self.started = True
        if self._expects_continue and not self._whole:
            self.keep_alive = False  # nobody knows whether the body comes: the next request might be taken for it
        self._expects_continue = False
        self._head = block + (b"\r\n\r\n" if self.keep_alive else b"\r\nconnection: close\r\n\r\n")
        if length is None and not self._bodiless:  # its first piece may be long in coming
            self._connection.transport.write(self._head)
            self._head = b""

    def _write(self, body: bytes, last: bool) -> None:
        data = body
        if self._bodiless:
            data = b""
        elif self._left is None:
            data = b"%x\r\n%b\r\n" % (len(body), body) if body else b""
            if last:
                data += b"0\r\n\r\n"
        else:
            self._left -= len(body)
            if self._left < 0 or (last and 0 < self._left < inf):
                raise RuntimeError("The answer has another length than its Content-Length.")
        if self._head:
            data, self._head = self._head + data, b""
        if data:
            self._connection.transport.write(data)
        if last:
            self.complete = True
            if self._wake is not None:
                self._wake.set()
            self._connection.answered(self)


@lru_cache(maxsize=128)
def _status_line(status: int) -> bytes:
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = ""
    return f"HTTP/1.1 {status} {phrase}".encode()


@lru_cache(maxsize=1024)
def _line_start(name: bytes) -> bytes:
    if not _TOKEN.fullmatch(name):
        raise RuntimeError(f"{name[:64]!r} is no name of a header in lower case.")
    return b"\r\n%b: " % name

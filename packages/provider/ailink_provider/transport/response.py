"""The answer as its reader sees it: whole when it came at once, otherwise a stream that holds back its sender.

Neither knows HTTP. A ``Stream`` keeps at most ``BUFFERED`` bytes and what one read of the socket brings.
"""

from asyncio import AbstractEventLoop, Future
from collections.abc import AsyncIterator
from typing import Protocol

from ailink_provider.errors import Failure

BUFFERED = 64 * 1024


class Body(Protocol):
    """A body on its way: an asynchronous iterator of pieces that can be given up."""

    def __aiter__(self) -> AsyncIterator[bytes]: ...
    async def __anext__(self) -> bytes: ...
    def close(self) -> None: ...


class Source(Protocol):
    """What a stream asks of the connection behind it."""

    def pause(self) -> None:
        """Stop receiving."""

    def resume(self) -> None:
        """Receive again."""

    def close(self) -> None:
        """Give the answer up: close the socket at once."""

    def close_soon(self) -> None:
        """The same, from whatever thread the garbage collector runs in."""


class Response:
    """An answer. ``headers`` have lower-case names, in the order they came; no coding but chunked is taken off.

    The body is read once, by ``read`` or by iterating. A body that was read to its end has given its connection
    back; ``close``, dropping the response or cancelling a read closes the socket.
    """

    __slots__ = ("_body", "headers", "status")

    def __init__(self, status: int, headers: list[tuple[bytes, bytes]], body: bytes | Body = b"") -> None:
        self.status = status
        self.headers = headers
        self._body = body

    def header(self, name: bytes) -> bytes | None:
        """Return the first value of the header ``name`` (lower case), None without one."""
        for key, value in self.headers:
            if key == name:
                return value
        return None

    async def read(self, limit: int) -> bytes:
        """Return the whole body, without suspending if it is there already.

        Raises ``Failure`` (``upstream_failed``, reason ``response_too_large``) and closes if it is longer than
        ``limit`` bytes; otherwise as iterating does.
        """
        body = self._body
        if not isinstance(body, bytes):
            return await _collect(body, limit)
        self._body = b""
        if len(body) > limit:
            raise _too_large(limit)
        return body

    def __aiter__(self) -> AsyncIterator[bytes]:
        """Yield the body in pieces as they arrive. Raises ``Failure`` if it is cut short or late."""
        body = self._body
        if not isinstance(body, bytes):
            return body.__aiter__()
        self._body = b""
        return _once(body)

    def close(self) -> None:
        """Give up what was not read. Never waits; may be called twice."""
        if not isinstance(self._body, bytes):
            self._body.close()


class Stream:
    """A body on its way from a connection: ``feed``, ``end`` and ``fail`` are the connection's to call."""

    __slots__ = ("__weakref__", "_failure", "_loop", "_pieces", "_size", "_source", "_wake")

    def __init__(self, source: Source, loop: AbstractEventLoop) -> None:
        self._loop = loop
        self._source: Source | None = source  # None once the connection has done its part
        self._pieces: list[bytes] = []
        self._size = 0
        self._failure: BaseException | None = None
        self._wake: Future[None] | None = None

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        while not self._pieces:
            if self._source is None:
                raise self._failure or StopAsyncIteration
            if self._wake is not None:
                raise RuntimeError("This body is already being read.")
            self._wake = self._loop.create_future()
            try:
                await self._wake
            except BaseException:
                self.close()
                raise
            finally:
                self._wake = None
        pieces, self._pieces = self._pieces, []
        if self._size > BUFFERED and self._source is not None:
            self._source.resume()
        self._size = 0
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def feed(self, piece: bytes) -> None:
        """Take a piece; hold back the source when the reader lags behind."""
        self._pieces.append(piece)
        if self._size <= BUFFERED < self._size + len(piece) and self._source is not None:
            self._source.pause()
        self._size += len(piece)
        self._rouse()

    def end(self, rest: bytes) -> None:
        """With ``rest``, all is there."""
        if rest:
            self._pieces.append(rest)
        self._source = None
        self._rouse()

    def fail(self, failure: BaseException) -> None:
        """No more will come. The reader sees ``failure`` after what did."""
        self._source, self._failure = None, failure
        self._rouse()

    def close(self) -> None:
        """Give the rest up, and what was not read of it."""
        source = self._source
        if source is not None:
            self._pieces = []
            self.fail(Failure("upstream_failed", "The answer was closed before its end.", reason="closed"))
            source.close()

    def _rouse(self) -> None:
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)

    def __del__(self) -> None:
        if self._source is not None:
            self._source.close_soon()


async def _once(body: bytes) -> AsyncIterator[bytes]:
    if body:
        yield body


async def _collect(body: Body, limit: int) -> bytes:
    pieces: list[bytes] = []
    size = 0
    async for piece in body:
        pieces.append(piece)
        size += len(piece)
        if size > limit:
            body.close()
            raise _too_large(limit)
    return b"".join(pieces)


def _too_large(limit: int) -> Failure:
    return Failure("upstream_failed", f"The answer is longer than {limit} bytes.", reason="response_too_large")

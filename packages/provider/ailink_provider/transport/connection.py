"""One connection to an upstream: it sends a request, hands the answer over, keeps time and holds back who is too fast.

An ``asyncio.Protocol``, so that a kept-alive exchange costs one write, one read and one wake-up. It opens nothing,
parses nothing, and decides about reuse only that its exchange left it fit for another.
"""

import asyncio
import re
import ssl
from collections.abc import AsyncIterable
from contextlib import suppress
from math import inf
from typing import Protocol, cast
from weakref import ref

from ailink_provider.errors import Failure
from ailink_provider.transport.answer import AnswerReader
from ailink_provider.transport.request import Request
from ailink_provider.transport.response import Response, Stream
from ailink_provider.transport.timeouts import Timeouts, late

_JOINED = 64 * 1024  # a longer body is handed over beside its head instead of being copied behind it
_KEEP_ALIVE_HINT = re.compile(rb"\btimeout=(\d{1,6})")


class Owner(Protocol):
    """The pool, as far as a connection knows it."""

    authority: str
    timeouts: Timeouts
    keep_alive: float

    def release(self, connection: "Connection") -> None:
        """This connection has served its request and may serve another."""

    def closed(self, connection: "Connection") -> None:
        """This connection serves no more."""


class Dropped(Failure):
    """A kept-alive connection turned out dead before any byte of the answer."""


class Connection(asyncio.Protocol):
    """A connection of ``owner``'s: idle, or at work from ``start`` to the last byte of the answer.

    Its life: ``connection_made``, any number of exchanges, ``close`` or ``fail``, ``connection_lost``. ``lost`` is
    done when the socket is closed.
    """

    def __init__(self, owner: Owner, loop: asyncio.AbstractEventLoop) -> None:
        self.lost = loop.create_future()
        self._owner = owner
        self._loop = loop
        self._answer = AnswerReader(owner.authority)
        self._closed = False
        self._served = False  # it has completed an exchange
        # Who is to be told of the answer: the waiter until there are headers, then the stream. Neither when idle.
        self._waiter: asyncio.Future[Response] | None = None
        self._stream: ref[Stream] | None = None
        self._paused = False  # the reader lags behind
        self._uploader: asyncio.Task[None] | None = None
        self._drained: asyncio.Future[None] | None = None  # while the upstream takes no more of the request
        self._unsent = 0
        # At most one timer, which finds out what is due when it rings.
        self._keep_alive = owner.keep_alive
        self._limits = owner.timeouts
        self._deadline = inf
        self._since = 0.0  # when the present phase began or last made progress
        self._alarm: asyncio.TimerHandle | None = None
        self._alarm_at = inf

    # --- an exchange ---------------------------------------------------------------------------------

    def usable(self) -> bool:
        """Whether a request may be started: the socket may be closing without anybody having been told."""
        return not self._closed and not self._transport.is_closing()

    def start(self, request: Request, head: bytes, deadline: float) -> "asyncio.Future[Response]":
        """Send a request on an idle connection; return the future of its answer.

        The future raises ``Failure``, or what a streamed body raised; the connection is closed then.
        """
        waiter = self._waiter = self._loop.create_future()
        self._answer.begin(request.method == "HEAD")
        self._deadline = deadline
        self._since = now = self._loop.time()
        body = request.body
        if body is None:
            self._transport.write(head)
        elif not isinstance(body, bytes):
            self._transport.write(head)
            self._uploader = self._loop.create_task(self._upload(body))
            self._uploader.add_done_callback(self._uploaded)
        elif len(body) < _JOINED:
            self._transport.write(head + body)
        else:
            self._transport.writelines((head, body))
        due = min(now + self._limits.first_byte, deadline)
        if due < self._alarm_at:
            self._watch(due)
        return waiter

    def abandon(self, waiter: "asyncio.Future[Response]") -> None:
        """Nobody waits for what ``start`` returned any more: close whatever it still occupies."""
        if waiter is self._waiter:
            self.close()
        elif not waiter.cancelled() and waiter.exception() is None:
            waiter.result().close()

    def fail(self, failure: BaseException) -> None:
        """Close the socket at once; the exchange under way, if any, ends with ``failure``."""
        waiter = self._waiter
        stream = self._reader()
        self.close()
        if stream is not None:
            stream.fail(failure)
        elif waiter is not None and not waiter.done():
            waiter.set_exception(failure)

    def close(self) -> None:
        """Close the socket at once, and forget the exchange under way. May be called twice."""
        if self._closed:
            return
        self._closed = True
        self._waiter = self._stream = None
        if self._uploader is not None:
            self._uploader.cancel()
            self._uploader = None
        if self._alarm is not None:
            self._alarm.cancel()
        self._transport.abort()
        self._owner.closed(self)

    def _advance(self) -> None:
        """Hand over the headers if they are new, and what has come of the body."""
        stream: Stream | None
        if self._waiter is None:
            stream = self._reader()
        elif self._waiter.done():  # cancelled, and about to call ``abandon``
            stream = None
        else:
            stream = Stream(self, self._loop)
            self._stream = ref(stream)
            self._waiter.set_result(Response(self._answer.status, self._answer.headers, stream))
            self._waiter = None
            self._count()
        if stream is None:
            self.close()
        elif self._answer.pieces:
            self._since = self._loop.time()
            stream.feed(self._answer.take())

    def _finish(self) -> None:
        """Hand over the end of the answer, and pass the connection on."""
        waiter, self._waiter = self._waiter, None
        stream = self._reader()
        self._stream = None
        answer = self._answer
        body = answer.end()
        reusable = answer.reusable and self._uploader is None and self._drained is None
        if stream is not None:
            stream.end(body)
        elif waiter is not None and not waiter.done():
            waiter.set_result(Response(answer.status, answer.headers, body))
        else:  # bytes on an idle connection, or nobody is there to take the answer
            reusable = False
        if reusable:
            self._rest()
        else:
            self.close()

    def _rest(self) -> None:
        if not self._served:
            self._served = True
            self._heed_keep_alive()
        if self._paused:
            self.resume()
        self._since = now = self._loop.time()
        if now + self._keep_alive < self._alarm_at:
            self._watch(now + self._keep_alive)
        self._owner.release(self)

    def _heed_keep_alive(self) -> None:
        """Let go of the connection a second before the upstream will, if it says when (Keep-Alive: timeout=5)."""
        for name, value in self._answer.headers:
            if name == b"keep-alive" and (hint := _KEEP_ALIVE_HINT.search(value)):
                self._keep_alive = min(self._keep_alive, max(int(hint[1]) - 1, 0))

    def _reader(self) -> Stream | None:
        return None if self._stream is None else self._stream()

    # --- what a stream asks for ----------------------------------------------------------------------

    def pause(self) -> None:
        """Stop receiving until ``resume``: the reader lags behind."""
        if not self._paused and not self._closed:
            self._paused = True
            self._transport.pause_reading()

    def resume(self) -> None:
        """Receive again; the upstream's silence counts from now."""
        if self._paused and not self._closed:
            self._paused = False
            self._transport.resume_reading()
            self._count()

    def close_soon(self) -> None:
        """Close from any thread."""
        with suppress(RuntimeError):  # the loop is closed, and all its sockets with it
            self._loop.call_soon_threadsafe(self.close)

    # --- asyncio.Protocol ----------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        answer = self._answer
        try:
            answer.feed(data)
        except Failure as failure:
            self.fail(failure)
            return
        if answer.complete:
            self._finish()
        elif answer.headed:
            self._advance()

    def eof_received(self) -> None:
        if self._said_goodbye() and self._answer.eof():
            self._finish()
        else:
            self.fail(self.cut())

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._closed:
            self.fail(self.cut())
        self._answer.release()
        self.lost.set_result(None)

    def pause_writing(self) -> None:
        self._drained = self._loop.create_future()
        self._unsent = self._transport.get_write_buffer_size()
        self._count()

    def resume_writing(self) -> None:
        drained, self._drained = self._drained, None
        if drained is not None and not drained.done():
            drained.set_result(None)
        self._count()

    def _said_goodbye(self) -> bool:
        """Whether the upstream itself ended the connection. Anyone on the way can end TCP, but not TLS."""
        tls = self._transport.get_extra_info("ssl_object")
        try:
            return tls is None or not tls.read(1)
        except ssl.SSLError:  # it expects to read more
            return False

    def cut(self) -> Failure:
        """Return what to say of a connection that the upstream has closed."""
        authority = self._owner.authority
        if self._answer.started:
            return Failure("upstream_failed", f"{authority} closed the connection before the end of its answer.")
        kind = Dropped if self._served else Failure
        return kind("upstream_failed", f"{authority} closed the connection without an answer.")

    # --- a streamed request --------------------------------------------------------------------------

    async def _upload(self, body: AsyncIterable[bytes]) -> None:
        write = self._transport.writelines
        async for piece in body:
            if piece:  # an empty chunk would be the end
                write((b"%x\r\n" % len(piece), piece, b"\r\n"))
                if self._drained is not None:
                    await self._drained
        write((b"0\r\n\r\n",))
        self._uploader = None
        self._count()

    def _uploaded(self, task: "asyncio.Task[None]") -> None:
        failure = None if task.cancelled() else task.exception()
        if task is self._uploader:  # otherwise it came to its end, or the exchange did
            broken = f"The request to {self._owner.authority} was broken off."
            self.fail(failure or Failure("upstream_failed", broken))

    # --- time ----------------------------------------------------------------------------------------

    def _count(self) -> None:
        """A phase begins: count from now."""
        self._since = self._loop.time()
        self._watch(self._due()[0])

    def _due(self) -> tuple[float, str]:
        """Return when time is up as things stand, and by which limit."""
        if self._waiter is None and self._stream is None:
            return self._since + self._keep_alive, "keep_alive"
        if self._drained is not None:
            limit = "write"
        elif self._uploader is not None or self._paused:  # it is not the upstream that is waited for
            return self._deadline, "total"
        else:
            limit = "between_bytes" if self._answer.headed else "first_byte"
        return min((self._since + getattr(self._limits, limit), limit), (self._deadline, "total"))

    def _watch(self, due: float) -> None:
        """See to it that the alarm rings no later than ``due``."""
        if due < self._alarm_at and not self._closed:
            if self._alarm is not None:
                self._alarm.cancel()
            self._alarm_at = due
            self._alarm = self._loop.call_at(due, self._ring)

    def _ring(self) -> None:
        self._alarm, self._alarm_at = None, inf
        now = self._loop.time()
        if self._drained is not None and (unsent := self._transport.get_write_buffer_size()) != self._unsent:
            self._unsent, self._since = unsent, now
        due, limit = self._due()
        if now < due:
            self._watch(due)
        elif limit == "keep_alive":
            self.close()
        else:
            self.fail(late(self._owner.authority, limit, getattr(self._limits, limit) or 0))

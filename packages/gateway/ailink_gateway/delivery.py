"""Sending a reply to the client, and noticing that the client has gone. Decides nothing about what is sent.

A streamed body is pulled one chunk at a time and only when the last one is on its way, so a slow reader slows the
upstream down instead of filling memory; a reader that takes nothing for ``STALL_SECONDS`` is given up.
"""

import asyncio
from collections.abc import Callable
from time import monotonic

from ailink_gateway.exchange import Exchange, Reply

STALL_SECONDS = 120.0
WATCH_SECONDS = 0.05


class Departures:
    """Begins to watch the calls that have lasted ``WATCH_SECONDS``: watching costs a task, and most are over by then.

    One timer serves all calls.
    """

    def __init__(self) -> None:
        self._waiting: set[Departure] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def expect(self, exchange: Exchange) -> "Departure":
        """Return the departure of a call that begins now, in the task that serves it."""
        loop = self._loop
        if loop is None:
            loop = self._loop = asyncio.get_running_loop()
        departure = Departure(exchange, self._waiting, asyncio.current_task(loop))
        self._waiting.add(departure)
        if self._timer is None:
            self._timer = loop.call_later(WATCH_SECONDS, self._tick)
        return departure

    def _tick(self) -> None:
        loop = asyncio.get_running_loop()
        due = monotonic() - WATCH_SECONDS
        for departure in [departure for departure in self._waiting if departure.is_due(due)]:
            self._waiting.discard(departure)
            departure.watch()
        self._timer = loop.call_later(WATCH_SECONDS, self._tick) if self._waiting else None


class Departure:
    """Cancels the running task when the client closes its connection, or reads nothing for ``STALL_SECONDS``.

    ``noticed`` tells a client that left from a server that stops.
    """

    __slots__ = ("_exchange", "_stall", "_task", "_waiting", "_watch", "noticed")

    def __init__(
        self, exchange: Exchange, waiting: "set[Departure]", task: "asyncio.Task[None] | None"
    ) -> None:
        self.noticed = False
        self._exchange = exchange
        self._waiting = waiting
        self._task = task
        self._watch: asyncio.Task[None] | None = None
        self._stall: asyncio.TimerHandle | None = None

    def is_due(self, due: float) -> bool:
        """Whether the call began before ``due``, and ``receive`` is no longer needed to bring its body."""
        return self._exchange.body_read and self._exchange.started_at <= due

    def watch(self) -> None:
        """Begin to wait for the client to leave."""
        self._watch = asyncio.get_running_loop().create_task(self._wait())

    async def _wait(self) -> None:
        message = await self._exchange.receive()
        while message["type"] != "http.disconnect":
            message = await self._exchange.receive()
        self._leave()

    def _leave(self) -> None:
        self.noticed = True
        if self._task is not None:
            self._task.cancel()

    def sending(self) -> None:
        """A chunk is about to be sent: the client's patience is on trial until ``sent``."""
        self._stall = asyncio.get_running_loop().call_later(STALL_SECONDS, self._leave)

    def sent(self) -> None:
        """The chunk was taken."""
        if self._stall is not None:
            self._stall.cancel()

    def cancel(self) -> None:
        """Stop watching."""
        self.sent()
        self._waiting.discard(self)
        if self._watch is not None:
            self._watch.cancel()


async def deliver(exchange: Exchange, reply: Reply, settle: Callable[[], None], departure: Departure) -> None:
    """Send ``reply``; call ``settle`` once it is known how it ends, before its last byte goes out."""
    exchange.status = reply.status
    headers = [(b"x-request-id", exchange.id.encode()), *exchange.response_headers, *reply.headers]
    if exchange.warnings:
        headers.append((b"x-ailink-warning", _ascii("; ".join(exchange.warnings))))
    start = {"type": "http.response.start", "status": reply.status, "headers": headers}
    body, send = reply.body, exchange.send
    if isinstance(body, bytes):
        if exchange.method != "HEAD" and reply.status not in (204, 304):
            headers.append((b"content-length", b"%d" % len(body)))
        settle()
        departure.cancel()
        await send(start)
        await send({"type": "http.response.body", "body": body})
        return
    exchange.first_byte_at = monotonic()
    try:
        departure.sending()
        await send(start)
        departure.sent()
        async for chunk in body:
            if exchange.measured.complete:
                settle()
            departure.sending()
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
            departure.sent()
    finally:
        await body.aclose()
    settle()
    departure.cancel()
    await send({"type": "http.response.body", "body": b""})


def _ascii(text: str) -> bytes:
    return "".join(character if " " <= character <= "~" else "?" for character in text)[:2000].encode()

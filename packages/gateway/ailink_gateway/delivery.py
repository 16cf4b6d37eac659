"""Sending a reply to the client, and noticing that the client has gone. Decides nothing about what is sent.

A streamed body is pulled one chunk at a time and only when the last one is on its way, so a slow reader slows the
upstream down instead of filling memory; a reader that takes nothing for ``STALL_SECONDS`` is given up.
"""

import asyncio
from collections.abc import Callable
from math import ceil, inf
from time import monotonic

from msgspec.json import encode

from ailink_gateway.exchange import Exchange, Reply
from ailink_provider.errors import Failure

STALL_SECONDS = 120.0
LONGEST_WAIT = 86_400  # seconds that an upstream may have a client wait
WATCH_SECONDS = 0.05


class Departures:
    """Looks at the calls under way every ``WATCH_SECONDS``. One timer serves all: no call needs one, and no chunk."""

    def __init__(self) -> None:
        self._calls: set[Departure] = set()
        self._timer: asyncio.TimerHandle | None = None

    def expect(self, exchange: Exchange) -> "Departure":
        """Return the departure of a call that begins now, in the task that serves it."""
        loop = asyncio.get_running_loop()
        departure = Departure(exchange, self._calls, asyncio.current_task(loop))
        self._calls.add(departure)
        if self._timer is None:
            self._timer = loop.call_later(WATCH_SECONDS, self._tick)
        return departure

    def _tick(self) -> None:
        loop = asyncio.get_running_loop()
        now = monotonic()
        for departure in self._calls:
            departure.look(now)
        self._timer = loop.call_later(WATCH_SECONDS, self._tick) if self._calls else None


class Departure:
    """Cancels the running task when the client closes its connection, or reads nothing for ``STALL_SECONDS``.

    ``noticed`` tells a client that left from a server that stops. ``sending_since`` is when the chunk was sent that the
    client has not taken yet, infinite if it has taken all.
    """

    __slots__ = ("_calls", "_exchange", "_task", "_watch", "noticed", "sending_since")

    def __init__(self, exchange: Exchange, calls: "set[Departure]", task: "asyncio.Task[None] | None") -> None:
        self.noticed = False
        self.sending_since = inf
        self._exchange = exchange
        self._calls = calls
        self._task = task
        self._watch: asyncio.Task[None] | None = None

    def look(self, now: float) -> None:
        """Begin to watch a call that lasts, as that costs a task and most are over by then; give up who has stalled."""
        if self._watch is None and self._exchange.started_at <= now - WATCH_SECONDS and self._exchange.body_read:
            self.watch()  # not before the body is read: ``receive`` brings that, too
        if self.sending_since <= now - STALL_SECONDS:
            self._leave()

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
        self.sending_since = inf  # once is enough
        if self._task is not None:
            self._task.cancel()

    def cancel(self) -> None:
        """Stop watching."""
        self._calls.discard(self)
        if self._watch is not None:
            self._watch.cancel()
        # What a task was cancelled in refers to this, and such circles wait long for the garbage collector.
        self._watch = self._task = None


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
        departure.sending_since = monotonic()
        await send(start)
        departure.sending_since = inf
        async for chunk in body:
            if exchange.measured.complete:
                settle()
            departure.sending_since = monotonic()
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
            departure.sending_since = inf
    finally:
        await body.aclose()
    settle()
    departure.cancel()
    await send({"type": "http.response.body", "body": b""})


def refuse(exchange: Exchange, failure: Failure) -> Reply:
    """Return the reply that tells the client of ``failure``, in its dialect."""
    exchange.error_code = failure.code
    status, body = exchange.route.dialect.write_error(failure, exchange.id)
    headers = [(b"content-type", b"application/json"), (b"x-ailink-error", failure.code.encode())]
    if failure.retry_after is not None:
        seconds = min(LONGEST_WAIT, max(1, failure.retry_after))
        headers.append((b"retry-after", b"%d" % ceil(seconds)))
    if not failure.retryable:
        headers.append((b"x-should-retry", b"false"))
    if failure.code == "payload_too_large":
        headers.append((b"connection", b"close"))
    return Reply(status, headers, encode(body))


def _ascii(text: str) -> bytes:
    return "".join(character if " " <= character <= "~" else "?" for character in text)[:2000].encode()

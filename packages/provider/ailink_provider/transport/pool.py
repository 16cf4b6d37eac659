"""The connections to one origin: those at rest, those at work, and the line of those who wait for one.

A place is held by every connection and by every attempt to open one; there are never more than ``limit``. Who
comes when none is free stands in line, first come, first served, and takes the place when leaving.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from ailink_provider.errors import Failure
from ailink_provider.transport.connection import Connection
from ailink_provider.transport.connector import Connector
from ailink_provider.transport.origin import Origin
from ailink_provider.transport.timeouts import Timeouts, late


class Counts(NamedTuple):
    """What one origin occupies: connections open or being opened, those of them at rest, and callers in line."""

    open: int
    idle: int
    waiting: int


class Pool:
    """At most ``limit`` connections, at most ``queue`` callers in line; ``emptied`` is called when all are gone."""

    def __init__(
        self, origin: Origin, connector: Connector, *, timeouts: Timeouts, limit: int, queue: int, keep_alive: float,
        emptied: Callable[[], object],
    ) -> None:
        self.loop = asyncio.get_running_loop()
        self.host_line = b" HTTP/1.1\r\nHost: " + origin.host_header
        self.authority = origin.authority
        self.timeouts = timeouts
        self.keep_alive = keep_alive
        self.idle: list[Connection] = []  # the one used last is the last
        self._connector = connector
        self._connections: set[Connection] = set()
        self._opening = 0
        self._line: deque[asyncio.Future[Connection | None]] = deque()
        self._limit = limit
        self._queue = queue
        self._emptied = emptied
        self._closed = False

    def counts(self) -> Counts:
        """Return what is occupied now."""
        waiting = sum(not turn.done() for turn in self._line)
        return Counts(len(self._connections) + self._opening, len(self.idle), waiting)

    async def acquire(self, deadline: float, urgent: bool) -> Connection:
        """Return a new connection, or one that another caller has just done with. Ask whether it is still ``usable``.

        ``urgent`` callers had one that was lost: they go first, and take no other from rest while a place is free.
        Raises ``Failure``: ``upstream_overloaded`` if the line is full or did not move in time, or as connecting does.
        """
        if not self._full():
            self._opening += 1
        elif self.idle:  # somebody took the place of the connection that was lost, and this one has come free
            return self.idle.pop()
        elif (given := await self._wait(deadline, urgent)) is not None:
            return given
        try:
            connection = await self._connector.connect(
                partial(Connection, self, self.loop), self.timeouts.connect, deadline,
            )
            if self._closed or not connection.usable():
                connection.close()
                raise closing() if self._closed else connection.cut()
        except BaseException:
            self._opening -= 1
            self._vacate()
            raise
        self._opening -= 1
        self._connections.add(connection)
        return connection

    def release(self, connection: Connection) -> None:
        """Give a connection that may serve again to the first in line, or let it rest."""
        turn = self._next()
        if turn is not None:
            turn.set_result(connection)
        else:
            self.idle.append(connection)

    def closed(self, connection: Connection) -> None:
        """Forget a connection; its place is free."""
        if connection in self._connections:
            self._connections.remove(connection)
            if connection in self.idle:
                self.idle.remove(connection)
            self._vacate()

    async def close(self) -> None:
        """Close every connection, at work or not, and send home who waits; return when the sockets are closed."""
        self._closed = True
        while (turn := self._next()) is not None:
            turn.set_exception(closing())
        connections = list(self._connections)
        for connection in connections:
            connection.fail(closing())
        for connection in connections:
            await connection.lost

    def _full(self) -> bool:
        return len(self._connections) + self._opening >= self._limit

    def _next(self) -> "asyncio.Future[Connection | None] | None":
        while self._line:
            turn = self._line.popleft()
            if not turn.done():
                return turn
        return None

    def _vacate(self) -> None:
        """A place is free: the first in line may open a connection in it."""
        turn = self._next()
        if turn is not None:
            self._opening += 1
            turn.set_result(None)
        elif not self._connections and not self._opening:
            self._emptied()

    async def _wait(self, deadline: float, urgent: bool) -> Connection | None:
        """Return a connection when it is one's turn, or None for the place to open one."""
        if len(self._line) >= self._queue and not urgent:
            raise self._busy(f"{self._queue} callers wait for one already", "pool_full")
        turn: asyncio.Future[Connection | None] = self.loop.create_future()
        if urgent:
            self._line.appendleft(turn)
        else:
            self._line.append(turn)
        until = min(self.loop.time() + self.timeouts.pool, deadline)
        alarm = self.loop.call_at(until, self._expire, turn, until == deadline)
        try:
            return await turn
        except BaseException:
            self._leave(turn)
            raise
        finally:
            alarm.cancel()

    def _leave(self, turn: "asyncio.Future[Connection | None]") -> None:
        """Somebody left the line, or took a turn and went away: nobody else must suffer from it."""
        if turn in self._line:
            self._line.remove(turn)
        elif not turn.cancelled() and turn.exception() is None:
            connection = turn.result()
            if connection is None:
                self._opening -= 1
                self._vacate()
            elif connection.usable():
                self.release(connection)

    def _expire(self, turn: "asyncio.Future[Connection | None]", by_deadline: bool) -> None:
        if not turn.done():
            turn.set_exception(late(self.authority, "total") if by_deadline else self._busy(
                f"none became free within {self.timeouts.pool:g} s (limit: pool)", "pool_timeout",
            ))

    def _busy(self, what: str, reason: str) -> Failure:
        message = f"All {self._limit} connections to {self.authority} are busy, and {what}."
        return Failure("upstream_overloaded", message, reason=reason)


def closing() -> Failure:
    """Return what callers are told when the transport closes under them."""
    return Failure("all_upstreams_unavailable", "The gateway is shutting down.", reason="closed")

"""The front door: sends a request to its origin over a pooled connection and returns the answer."""

import ssl
from functools import partial
from math import inf

from ailink_provider.transport.connection import Dropped
from ailink_provider.transport.connector import Connector, Resolve, resolve, trust_system
from ailink_provider.transport.guard import Guard
from ailink_provider.transport.origin import Origin
from ailink_provider.transport.pool import Counts, Pool, closing
from ailink_provider.transport.request import Request, write_head
from ailink_provider.transport.response import Response
from ailink_provider.transport.timeouts import Timeouts, late


class Transport:
    """A pooled HTTP/1.1 client. Belongs to the event loop that first sends with it.

    Args:
        guard: which addresses upstreams may have.
        timeouts: the limits of every exchange.
        connections_per_host: connections that one origin may have open.
        queue_per_host: callers that may wait for one of them; more are refused.
        keep_alive: seconds that an unused connection is kept; less if the upstream announces that it keeps less.
        ssl_context: instead of the system's authorities. It must verify certificates and names.
        resolver: instead of the system's look-up: (host, port) to addresses, raising ``OSError``.
    """

    def __init__(
        self, *, guard: Guard, timeouts: Timeouts | None = None, connections_per_host: int = 4096,
        queue_per_host: int = 4096, keep_alive: float = 30.0, ssl_context: ssl.SSLContext | None = None,
        resolver: Resolve = resolve,
    ) -> None:
        self._tls = ssl_context or trust_system()
        if not self._tls.check_hostname or self._tls.verify_mode is not ssl.CERT_REQUIRED:
            raise ValueError("The TLS context of upstreams must verify certificates and host names.")
        self._guard = guard
        self._timeouts = timeouts or Timeouts()
        self._limits = {"limit": connections_per_host, "queue": queue_per_host}
        self._keep_alive = keep_alive
        self._resolver = resolver
        self._pools: dict[Origin, Pool] = {}
        self._closed = False

    async def send(self, request: Request, deadline: float | None = None) -> Response:
        """Send ``request``; return the answer once its headers are there, with its whole body if that came along.

        ``deadline`` is a moment of the running loop's clock by which the body must have ended. Cancelling closes
        the socket at once. Raises ``Failure``:
            ``invalid_request``: the request cannot be written as HTTP; nothing was sent.
            ``upstream_timeout``: a limit passed; ``reason`` is its name in ``Timeouts`` and ``_timeout``.
            ``upstream_overloaded``: all connections are busy and the line is full, or did not move in time.
            ``upstream_failed``: no connection, or one that broke, or an answer that is not HTTP; ``reason`` is
            ``address_not_allowed``, ``name_not_found``, ``connect_failed``, ``tls_failed`` or none.
            ``all_upstreams_unavailable``: ``close`` was called.
        A streamed body's own exceptions are raised as they are.
        """
        pool = self._pools.get(request.url) or self._open(request.url)
        head = write_head(request, pool.host_line)
        until = self._until(pool, deadline)
        urgent = False
        while True:
            connection = pool.idle.pop() if pool.idle and not urgent else await pool.acquire(until, urgent)
            if connection.usable():  # otherwise it has ended meanwhile, and its place is free or soon will be
                request.begun = True
                waiter = connection.start(request, head, until)
                try:
                    return await waiter
                except Dropped:
                    if urgent or not request.resend or not isinstance(request.body, bytes | None):
                        raise
                    urgent = True
                except BaseException:
                    connection.abandon(waiter)
                    raise
            pool = self._pools.get(request.url) or self._open(request.url)

    def statistics(self) -> dict[Origin, Counts]:
        """Return what each origin occupies that occupies anything."""
        return {origin: pool.counts() for origin, pool in self._pools.items()}

    async def close(self) -> None:
        """Close every connection, fail what is under way, refuse what comes; return when all is closed."""
        self._closed = True
        pools = list(self._pools.values())
        self._pools.clear()
        for pool in pools:
            await pool.close()

    def _open(self, origin: Origin) -> Pool:
        if self._closed:
            raise closing()
        pool = self._pools[origin] = Pool(
            origin, Connector(origin, self._guard, self._resolver, self._tls), timeouts=self._timeouts,
            keep_alive=self._keep_alive, emptied=partial(self._pools.pop, origin, None), **self._limits,
        )
        return pool

    def _until(self, pool: Pool, deadline: float | None) -> float:
        """Return the moment by which all must have ended."""
        total = self._timeouts.total
        if deadline is None and total is None:
            return inf
        now = pool.loop.time()
        until = min(inf if deadline is None else deadline, inf if total is None else now + total)
        if until <= now:
            raise late(pool.authority, "total")
        return until

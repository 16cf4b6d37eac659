"""From an origin to an open connection: look the name up once, have the guard judge every address, connect to one.

The address that was judged is the address that is connected to; the name stays in Host, in SNI and in the
certificate's check. Reads no proxy variable.
"""

import asyncio
import os
import socket
import ssl
from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias, TypeVar

from ailink_provider.errors import Failure
from ailink_provider.transport.guard import Guard
from ailink_provider.transport.origin import Origin
from ailink_provider.transport.timeouts import late

P = TypeVar("P", bound=asyncio.BaseProtocol)
Resolve: TypeAlias = Callable[[str, int], Awaitable[list[str]]]

# Seconds for which an answer of the resolver serves: it spares a burst of new connections a look-up each.
ADDRESSES_KEPT = 5.0
# An idle TCP connection is probed, so that a long silence neither hides a dead peer nor lets a NAT forget us.
_PROBES = {"TCP_KEEPIDLE": 60, "TCP_KEEPINTVL": 30, "TCP_KEEPCNT": 5}


async def resolve(host: str, port: int) -> list[str]:
    """Return the addresses of ``host``, best first, as the system knows them. Raises ``OSError``."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def trust_system() -> ssl.SSLContext:
    """Return a context that trusts the system's authorities and verifies names, for HTTP/1.1 on TLS 1.2 or later."""
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    return context


class Connector:
    """Opens connections to one origin. ``tls`` is used if its scheme is https."""

    def __init__(self, origin: Origin, guard: Guard, resolver: Resolve, tls: ssl.SSLContext) -> None:
        self._origin = origin
        self._guard = guard
        self._resolver = resolver
        self._secure: dict[str, Any] = {"ssl": tls, "server_hostname": origin.host} if origin.scheme == "https" else {}
        self._looking_up = asyncio.Lock()
        self._addresses: list[str] = []
        self._addresses_until = 0.0

    async def connect(self, make: Callable[[], P], seconds: float, deadline: float) -> P:
        """Return a connected protocol, made by ``make``. Takes ``seconds`` at most, and ends at ``deadline``.

        Raises ``Failure``: ``upstream_timeout``, or ``upstream_failed`` with the guard's reason, ``tls_failed``,
        ``name_not_found`` or ``connect_failed``.
        """
        until = asyncio.get_running_loop().time() + seconds
        try:
            async with asyncio.timeout_at(min(until, deadline)):
                return await self._try_each(make, await self._look_up(), min(until, deadline))
        except TimeoutError:
            raise late(self._origin.authority, "connect" if until < deadline else "total", seconds) from None

    async def _look_up(self) -> list[str]:
        loop = asyncio.get_running_loop()
        async with self._looking_up:
            if loop.time() >= self._addresses_until:
                try:
                    addresses = await self._resolver(self._origin.host, self._origin.port)
                except (OSError, UnicodeError) as problem:
                    why = getattr(problem, "strerror", None) or problem
                    raise self._failed(f"has no address: {why}", "name_not_found") from None
                self._guard.check(self._origin, addresses)
                self._addresses = addresses
                self._addresses_until = loop.time() + ADDRESSES_KEPT
            return self._addresses

    async def _try_each(self, make: Callable[[], P], addresses: list[str], until: float) -> P:
        loop = asyncio.get_running_loop()
        problem = OSError()
        for place, address in enumerate(addresses):
            share = (until - loop.time()) / (len(addresses) - place)
            try:
                async with asyncio.timeout(share):
                    transport, protocol = await loop.create_connection(
                        make, address, self._origin.port, flags=socket.AI_NUMERICHOST, **self._secure,
                    )
            except ssl.SSLError as error:
                why = getattr(error, "verify_message", None) or error.reason
                raise self._failed(f"could not be trusted: {why}", "tls_failed") from None
            except OSError as error:
                problem = error
            else:
                _probe(transport.get_extra_info("socket"))
                return protocol
        if isinstance(problem, TimeoutError):
            raise problem
        why = os.strerror(problem.errno) if problem.errno else "it does not answer"  # never an address
        raise self._failed(f"could not be connected to: {why}", "connect_failed")

    def _failed(self, what: str, reason: str) -> Failure:
        return Failure("upstream_failed", f"{self._origin.authority} {what}.", reason=reason)


def _probe(connected: socket.socket) -> None:
    connected.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _PROBES.items():
        if (option := getattr(socket, name, None)) is not None:
            connected.setsockopt(socket.IPPROTO_TCP, option, value)

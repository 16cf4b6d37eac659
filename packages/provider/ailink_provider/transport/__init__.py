"""The only code that opens a socket to an upstream: a pooled HTTP/1.1 client on asyncio protocols and llhttp.

It connects to the very address that the guard has seen, verifies host names, and bounds every buffer, queue and
wait. It never follows a redirect, never reads a proxy variable, never decodes a body and never sends a request
again unless told that it may.
"""

from typing import Protocol

from ailink_provider.transport.client import Transport
from ailink_provider.transport.guard import Guard
from ailink_provider.transport.origin import Origin
from ailink_provider.transport.pool import Counts
from ailink_provider.transport.request import Request
from ailink_provider.transport.response import Body, Response
from ailink_provider.transport.timeouts import Timeouts


class Sender(Protocol):
    """Whatever answers requests: ``Transport``, or a simulator in its place."""

    async def send(self, request: Request, deadline: float | None = None) -> Response:
        """Return the answer as soon as its headers are there; its body may still be on the way.

        ``deadline`` is a moment of the running loop's clock by which the body must have ended, too.
        Raises ``Failure``: see ``Transport.send``.
        """


__all__ = ["Body", "Counts", "Guard", "Origin", "Request", "Response", "Sender", "Timeouts", "Transport"]

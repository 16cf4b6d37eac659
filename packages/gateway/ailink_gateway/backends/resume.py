"""Sending a stored request: the exchange that it becomes, and the answer gathered in memory. Nobody is connected to it.

It takes the same way as any other call, so everything that is checked, limited, paid for and recorded is so here.
"""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import unquote

from msgspec.json import encode

from ailink_gateway import routes
from ailink_gateway.approval import KeptReply, Resumed
from ailink_gateway.exchange import Exchange, Headers
from ailink_gateway.services import PREFIX
from ailink_provider.errors import Failure

RESPONSE_LIMIT = 16 * 1024 * 1024


class Collected:
    """The answer to a request that nobody waits for on a connection. Keeps ``RESPONSE_LIMIT`` bytes of its body."""

    def __init__(self, failed: bool = False) -> None:
        self.failed = failed
        self.broken = False
        self._status: int | None = None
        self._headers: Headers = []
        self._chunks: list[bytes] = []
        self._size = 0

    def take(self, status: int, headers: Headers, body: bytes) -> None:
        """Take a whole answer."""
        self._status, self._headers, self._chunks = status, headers, [body]

    async def send(self, message: MutableMapping[str, Any]) -> None:
        """Take a message of ASGI."""
        if message["type"] == "http.response.start":
            self._status, self._headers = message["status"], list(message["headers"])
            return
        chunk = message.get("body", b"")
        if self._size < RESPONSE_LIMIT:
            self._chunks.append(bytes(chunk[: RESPONSE_LIMIT - self._size]))
        self._size += len(chunk)

    def reply(self) -> KeptReply | None:
        """Return the answer as far as it is kept, None if there was none."""
        if self._status is None:
            return None
        cut = self.broken or self._size > RESPONSE_LIMIT
        return KeptReply(self._status, self._headers, b"".join(self._chunks), cut)


def refusal(approval_id: str, failure: Failure) -> Collected:
    """Return the answer to a request that could not be sent at all."""
    collected = Collected(failed=True)
    error = {"message": failure.message, "type": failure.kind, "code": failure.code, "param": failure.param}
    body = {"error": {**error, "request_id": approval_id}, "detail": failure.message}
    headers = [(b"content-type", b"application/json"), (b"x-ailink-error", failure.code.encode())]
    collected.take(failure.status, [*headers, (b"x-should-retry", b"false")], encode(body))
    return collected


async def run_again(
    pipeline: Callable[[Exchange], Awaitable[object]],
    resumed: Resumed,
    rules: frozenset[tuple[str, Any]],
    extra_headers: Headers,
) -> Collected:
    """Send an approved request and return its answer. ``failed`` says that it is the gateway's, and no upstream's."""
    request, collected = resumed.request, Collected()
    incoming: list[MutableMapping[str, Any]] = [{"type": "http.request", "body": request.body, "more_body": False}]

    async def receive() -> MutableMapping[str, Any]:
        if incoming:
            return incoming.pop()
        await asyncio.get_running_loop().create_future()  # nobody leaves
        raise AssertionError

    raw_path = request.raw_path
    if request.service is not None:
        raw_path = f"{PREFIX}{request.service}".encode() + raw_path
    path = unquote(raw_path.decode("latin-1"))
    scope = {
        "type": "http",
        "method": request.method,
        "path": path,
        "raw_path": raw_path,
        "query_string": request.query,
        "headers": [*request.headers, *extra_headers],
        "client": (request.client_ip, 0) if request.client_ip else None,
    }
    exchange = Exchange.of(scope, receive, collected.send, routes.match(request.method, path, request.query))
    exchange.resumed = resumed
    exchange.approved_rules = rules
    exchange.approval_id = resumed.approval_id
    try:
        await pipeline(exchange)
    except Failure:  # it broke off in the middle, and is recorded as such
        collected.failed = collected.broken = True
    collected.failed = collected.failed or exchange.error_code is not None
    return collected

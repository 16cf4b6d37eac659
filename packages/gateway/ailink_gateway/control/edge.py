"""The outermost layer of the control plane: names the request, lets in only who may, bounds what is read."""

import asyncio
import json
import random
from collections.abc import Awaitable, Callable

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ailink_gateway.control.authentication import Principal
from ailink_gateway.control.errors import answer
from ailink_provider.dialects.halves import HALF
from ailink_provider.errors import Failure

BODY_LIMIT = 1024 * 1024
BODY_SECONDS = 30.0
WITH_BODY = frozenset({"POST", "PUT", "PATCH"})

Authenticate = Callable[[str, str, list[tuple[bytes, bytes]]], Awaitable[Principal | None]]


class Edge:
    """Wraps the application. Leaves ``request_id`` and ``principal`` in the scope's state."""

    def __init__(self, app: ASGIApp, authenticate: Authenticate) -> None:
        self._app = app
        self._authenticate = authenticate

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or refuse it before anything of the application sees it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = f"req_{random.getrandbits(96):024x}"
        state = scope.setdefault("state", {})
        state["request_id"] = request_id
        try:
            state["principal"] = await self._authenticate(scope["method"], scope["path"], scope["headers"])
            if scope["method"] in WITH_BODY:
                body = await _read_body(scope, receive)
                _check_text(body)
                receive = _replay(body, receive)
        except Failure as failure:
            await answer(failure, request_id)(scope, receive, send)
            return

        async def send_named(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers["X-Request-ID"] = request_id
                headers["X-Content-Type-Options"] = "nosniff"
                if scope["path"].startswith("/api/"):
                    headers["Cache-Control"] = "no-store"
            await send(message)

        await self._app(scope, receive, send_named)


async def _read_body(scope: Scope, receive: Receive) -> bytes:
    declared = Headers(scope=scope).get("content-length", "")
    if declared.isdecimal() and int(declared) > BODY_LIMIT:
        raise _too_large()
    body = b""
    try:
        async with asyncio.timeout(BODY_SECONDS):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise Failure("client_closed", "The client closed the connection before its request was complete.")
                body += bytes(message.get("body", b""))
                if len(body) > BODY_LIMIT:
                    raise _too_large()
                if not message.get("more_body", False):
                    return body
    except TimeoutError:
        raise Failure("request_timeout", f"The body did not arrive within {BODY_SECONDS:.0f} seconds.") from None


def _check_text(body: bytes) -> None:
    """Raise ``Failure`` for JSON that holds half a character: Python reads it, and could neither store nor send it."""
    try:
        tree = json.loads(body)
        if _is_text(tree):
            return
    except (ValueError, RecursionError):
        return  # no JSON, which whoever reads it says
    members = tree.items() if isinstance(tree, dict) else ()
    field = next((name for name, value in members if _is_text(name) and not _is_text(value)), "body")
    raise Failure("validation_error", f"{field} {HALF}.", param=field)


def _is_text(tree: object) -> bool:
    try:
        json.dumps(tree, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True


def _replay(body: bytes, receive: Receive) -> Receive:
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def again() -> Message:
        return messages.pop() if messages else await receive()

    return again


def _too_large() -> Failure:
    return Failure("payload_too_large", f"The body is larger than {BODY_LIMIT // 1024} KiB.")

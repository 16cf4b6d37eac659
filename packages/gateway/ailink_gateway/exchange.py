"""One request's life, as data: what came in, what was decided, what went out. Stages read and write it; it decides
nothing.
"""

import random
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, MutableMapping
from time import monotonic, time
from typing import Any
from urllib.parse import parse_qsl

from msgspec import Raw, Struct, field

from ailink_gateway.approval import Resumed
from ailink_gateway.grant import Grant, Key, Retry, Target
from ailink_gateway.routes import Route
from ailink_provider.dialects import Measured
from ailink_provider.errors import Failure

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]

BODY_LIMIT = 25 * 1024 * 1024
NO_RULES: frozenset[tuple[str, Any]] = frozenset()


class Reply(Struct):
    """What the client gets. ``body`` is whole, or a generator that is closed whether it ends or not. ``close`` gives up
    what stands behind a generator that was never begun.
    """

    status: int
    headers: Headers = field(default_factory=list)
    body: bytes | AsyncGenerator[bytes, None] = b""
    close: Callable[[], None] | None = None


class Cap(Struct, frozen=True):
    """What a policy lets a token or a project (``scope``) spend in a period (daily, monthly, lifetime)."""

    scope: str
    period: str
    nano: int
    policy_name: str


class Exchange:
    """One request.

    ``headers`` has lower-case names; of a repeated one the last value (``raw_headers`` has them all). ``raw_path`` is
    what the client sent, undecoded, and what is forwarded: of a service's call what stands behind its name. Times are
    monotonic seconds except ``created_at`` (Unix). ``targets`` are in the order of preference and ``target`` is the one
    last tried; ``retry`` says how often one may be tried again, ``deadline`` (of the loop's clock) until when.
    ``endings`` are called once, when it is known how the exchange ends and before the client can know; they must not
    fail. ``approvals_needed`` are the rules that want someone to decide, ``approved_rules`` those (policy name, rule)
    that someone has; ``resumed`` is set where the gateway itself sends what was approved.

    Money: ``caps`` are those of policies that the call is held to, beside the limits of its token and project;
    ``held_nano`` is the most that one attempt may cost, where a budget holds it; ``outstanding`` that an attempt
    was sent and nobody knows what it used; ``lost_nano`` what such attempts before this one count for.
    """

    __slots__ = (
        "approval_id",
        "approvals_needed",
        "approved_rules",
        "attempts",
        "body",
        "body_read",
        "caller_key",
        "cancelled_by_client",
        "caps",
        "client_ip",
        "created_at",
        "deadline",
        "endings",
        "error_code",
        "first_byte_at",
        "grant",
        "headers",
        "held_nano",
        "id",
        "idempotency_key",
        "lost_nano",
        "measured",
        "members",
        "method",
        "model",
        "opened",
        "outstanding",
        "path",
        "policy_name",
        "policy_result",
        "query",
        "raw_headers",
        "raw_path",
        "receive",
        "recorded",
        "response_headers",
        "resumed",
        "retry",
        "route",
        "send",
        "service",
        "shadow_violations",
        "started_at",
        "status",
        "streaming",
        "tags",
        "target",
        "targets",
        "upstream_status",
        "usage_estimated",
        "warnings",
    )

    def __init__(self, scope: Mapping[str, Any], receive: Receive, send: Send, route: Route) -> None:
        self.created_at = time()
        # In the order of time, so that an index on it grows at its end; the rest is chance.
        self.id = f"req_{int(self.created_at * 1e6):014x}{random.getrandbits(64):016x}"
        self.started_at = monotonic()
        self.receive = receive
        self.send = send
        self.method: str = scope["method"]
        self.path: str = scope["path"]
        self.raw_path: bytes = scope["raw_path"]
        self.query: bytes = scope["query_string"]
        self.raw_headers: Headers = scope["headers"]
        self.headers: dict[bytes, bytes] = dict(self.raw_headers)
        self.client_ip: str | None = scope["client"][0] if scope["client"] else None
        self.route = route
        self.body = b""
        self.body_read = False
        self.grant: Grant | None = None
        self.caller_key: Key | None = None
        self.idempotency_key: str | None = None
        self.approval_id: str | None = None
        self.model: str | None = None
        self.service: str | None = None
        self.streaming = False
        self.targets: list[Target] = []
        self.target: Target | None = None
        self.retry: Retry | None = None
        self.deadline: float | None = None
        self.endings: list[Callable[[], None]] = []
        self.attempts = 0
        self.opened = False
        self.recorded = False
        self.members: dict[str, Raw] = {}
        self.measured = Measured()
        self.usage_estimated = False
        self.upstream_status: int | None = None
        self.status: int | None = None
        self.error_code: str | None = None
        self.first_byte_at: float | None = None
        self.cancelled_by_client = False
        self.caps: list[Cap] = []
        self.held_nano: int | None = None
        self.lost_nano = 0
        self.outstanding = False
        self.warnings: list[str] = []
        self.response_headers: Headers = []
        self.policy_result: str | None = None
        self.policy_name: str | None = None
        self.shadow_violations: list[Any] = []
        self.tags: dict[str, str] = {}
        self.approvals_needed: list[dict[str, Any]] = []
        self.approved_rules: frozenset[tuple[str, Any]] = NO_RULES
        self.resumed: Resumed | None = None

    def header(self, name: bytes) -> str | None:
        """Return a request header as text, or None."""
        value = self.headers.get(name)
        return None if value is None else value.decode("latin-1")

    def parameters(self) -> list[tuple[str, str]]:
        """Return the query's parameters in order, decoded."""
        return parse_qsl(self.query.decode("latin-1"), keep_blank_values=True)

    async def read_body(self, limit: int = BODY_LIMIT) -> bytes:
        """Receive the whole body, once. Raises ``Failure`` when it is larger than ``limit`` bytes, compressed, late or
        cut short.
        """
        if self.body_read:
            return self.body
        declared = self.headers.get(b"content-length")
        if declared is not None and int(declared) > limit:
            raise _too_large(limit)
        coding = self.headers.get(b"transfer-encoding", b"chunked").lower()
        if coding != b"chunked" or self.headers.get(b"content-encoding", b"identity") != b"identity":
            raise Failure(
                "invalid_request",
                "Compressed request bodies are not accepted: send the body without Content-Encoding.",
                param="content-encoding",
                status=415,
            )
        self.body = await self._receive_all(limit)
        self.body_read = True
        return self.body

    async def _receive_all(self, limit: int) -> bytes:
        message = await self.receive()
        if message["type"] == "http.request" and not message.get("more_body"):
            body = message.get("body", b"")
            if len(body) > limit:
                raise _too_large(limit)
            return bytes(body)
        chunks: list[bytes] = []
        size = 0
        while message["type"] == "http.request":
            chunk = message.get("body", b"")
            size += len(chunk)
            if size > limit:
                raise _too_large(limit)
            chunks.append(chunk)
            if not message.get("more_body"):
                return b"".join(chunks)
            message = await self.receive()
        self.cancelled_by_client = True
        raise Failure("client_closed", "The client closed the connection before its request was complete.")


def _too_large(limit: int) -> Failure:
    return Failure("payload_too_large", f"The request body is larger than {limit} bytes ({limit // 1048576} MiB).")

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


class Exchange(Struct, eq=False):
    """One request.

    ``headers`` has lower-case names; of a repeated one the last value (``raw_headers`` has them all). ``raw_path`` is
    what the client sent, undecoded, and what is forwarded: of a service's call what stands behind its name. Times are
    monotonic seconds except ``created_at`` (Unix). ``targets`` are in the order of preference and ``target`` is the one
    last tried; ``retry`` says how often one may be tried again, ``deadline`` (of the loop's clock) until when.
    ``endings`` are called once, when it is known how the exchange ends and before the client can know; they must not
    fail. ``requested_model`` is what the client asked, ``model`` what is asked in its place. ``answer`` is what the
    gateway answers by itself, once policies allow it. ``approvals_needed`` are the rules that want someone to decide,
    ``approved_rules`` those (policy name, rule) that someone has; ``note_approval`` has the idempotency key lead to an
    approval (its id, when it expires); ``resumed`` is set where the gateway itself sends what was approved.

    Money: ``caps`` are those of policies that the call is held to, beside the limits of its token and project;
    ``held_nano`` is the most that one attempt may cost, where a budget holds it; ``outstanding`` that an attempt
    was sent and nobody knows what it used; ``lost_nano`` what such attempts before this one count for; ``cost_nano``
    what all of it cost, where that was found before its record.
    """

    id: str
    created_at: float
    started_at: float
    receive: Receive
    send: Send
    method: str
    path: str
    raw_path: bytes
    query: bytes
    raw_headers: Headers
    headers: dict[bytes, bytes]
    client_ip: str | None
    route: Route
    body: bytes = b""
    body_read: bool = False
    grant: Grant | None = None
    caller_key: Key | None = None
    idempotency_key: str | None = None
    approval_id: str | None = None
    requested_model: str | None = None
    model: str | None = None
    service: str | None = None
    answer: Reply | None = None
    streaming: bool = False
    targets: list[Target] = field(default_factory=list)
    target: Target | None = None
    retry: Retry | None = None
    deadline: float | None = None
    endings: list[Callable[[], None]] = field(default_factory=list)
    attempts: int = 0
    opened: bool = False
    recorded: bool = False
    members: dict[str, Raw] = field(default_factory=dict)
    measured: Measured = field(default_factory=Measured)
    usage_estimated: bool = False
    upstream_status: int | None = None
    status: int | None = None
    error_code: str | None = None
    first_byte_at: float | None = None
    cancelled_by_client: bool = False
    caps: list[Cap] = field(default_factory=list)
    held_nano: int | None = None
    lost_nano: int = 0
    cost_nano: int | None = None
    outstanding: bool = False
    warnings: list[str] = field(default_factory=list)
    response_headers: Headers = field(default_factory=list)
    policy_result: str | None = None
    policy_name: str | None = None
    shadow_violations: list[Any] = field(default_factory=list)
    tags: dict[str, str] = field(default_factory=dict)
    approvals_needed: list[dict[str, Any]] = field(default_factory=list)
    approved_rules: frozenset[tuple[str, Any]] = NO_RULES
    note_approval: Callable[[str, float], Awaitable[None]] | None = None
    resumed: Resumed | None = None

    @classmethod
    def of(cls, scope: Mapping[str, Any], receive: Receive, send: Send, route: Route) -> "Exchange":
        """Return the exchange of a request as ASGI brings it, which begins now."""
        now = time()
        raw_headers: Headers = scope["headers"]
        client = scope["client"]
        return cls(
            # In the order of time, so that an index on it grows at its end; the rest is chance.
            f"req_{int(now * 1e6):014x}{random.getrandbits(64):016x}",
            now,
            monotonic(),
            receive,
            send,
            scope["method"],
            scope["path"],
            scope["raw_path"],
            scope["query_string"],
            raw_headers,
            dict(raw_headers),
            client[0] if client else None,
            route,
        )

    def __repr__(self) -> str:
        return f"Exchange({self.id})"

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
        headers = self.headers
        declared = headers.get(b"content-length")
        if declared is not None and int(declared) > limit:
            raise _too_large(limit)
        if self._sent_otherwise(b"transfer-encoding", b"chunked") or self._sent_otherwise(
            b"content-encoding", b"identity"
        ):
            raise Failure(
                "invalid_request",
                "Compressed request bodies are not accepted: send the body without Content-Encoding.",
                param="content-encoding",
                status=415,
            )
        self.body = await self._receive_all(limit)
        self.body_read = True
        return self.body

    def _sent_otherwise(self, name: bytes, value: bytes) -> bool:
        """Whether a header, or one of its repetitions, says anything but ``value``."""
        return name in self.headers and any(said.lower() != value for key, said in self.raw_headers if key == name)

    async def _receive_all(self, limit: int) -> bytes:
        chunks: list[bytes] = []
        size = 0
        while (message := await self.receive())["type"] == "http.request":
            chunk: bytes = message.get("body", b"")
            size += len(chunk)
            if size > limit:
                raise _too_large(limit)
            if not message.get("more_body"):
                return b"".join((*chunks, chunk)) if chunks else chunk
            chunks.append(chunk)
        self.cancelled_by_client = True
        raise Failure("client_closed", "The client closed the connection before its request was complete.")


def _too_large(limit: int) -> Failure:
    return Failure("payload_too_large", f"The request body is larger than {limit} bytes ({limit // 1048576} MiB).")

"""What stages are given: protocols only. Their implementations live in ``backends`` and are chosen in ``app``."""

from typing import Literal, NamedTuple, Protocol

from ailink_gateway.exchange import Reply
from ailink_gateway.grant import Grant
from ailink_gateway.record import Opened, Record
from ailink_gateway.thoughts import Turn


class Directory(Protocol):
    """Who may call."""

    def cached(self, secret: str) -> Grant | None:
        """Return the grant of a token if it is known and current. Takes about a microsecond and does no I/O."""

    async def find(self, secret: str) -> Grant:
        """Return the grant of a token. Raises ``Failure`` (``invalid_api_key``) for one that may not call."""

    async def anonymous(self) -> Grant | None:
        """Return the grant of callers without a token, or None where there are none."""


class Journal(Protocol):
    """Where calls are written down."""

    def open(self, opened: Opened) -> None:
        """Note that a call is about to be made. Raises ``Failure`` (``spool_full``) if its record could not be kept."""

    def close(self, record: Record) -> None:
        """Write the record of a call, once. Raises ``Failure`` (``spool_full``) or ``OSError`` if it cannot be kept."""


class Claim(NamedTuple):
    """How an idempotency key stands.

    ``state``: new (it is this request's now), running (the same request is under way), done (``reply`` was the answer),
    unkept (answered, by more than is kept), unknown (nobody knows how it ended), other (another request has the key).
    ``approval_id`` is set where a person decides, or did.
    """

    tenant: str
    key_hash: bytes
    state: Literal["new", "running", "done", "unkept", "unknown", "other"]
    reply: Reply | None = None
    approval_id: str | None = None


class Claims(Protocol):
    """Who may execute what is sent under an idempotency key. Everything is durable when it returns."""

    async def claim(self, tenant: str, key: str, request_hash: bytes) -> Claim:
        """Take ``key`` for a request, or return how the one stands that has it. Tenants share no keys."""

    async def answer(self, claim: Claim, reply: Reply) -> None:
        """Keep the answer, its body whole."""

    async def release(self, claim: Claim) -> None:
        """Set the key free: the request had no effect, and may come again."""

    async def lose(self, claim: Claim) -> None:
        """Note that nobody knows what the request brought about."""

    async def await_approval(self, claim: Claim, approval_id: str) -> None:
        """Note which approval decides about the request."""


class Thoughts(Protocol):
    """What models thought before they called tools, for the turns that clients send back without it."""

    def keep(self, tenant: str, turn: Turn) -> None:
        """Keep a turn for a while. Takes microseconds and does no I/O."""

    def find(self, tenant: str, call_id: str) -> Turn | None:
        """Return the turn of this tenant that made a tool call, None if it is not known (any more)."""

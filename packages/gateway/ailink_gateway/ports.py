"""What stages are given: protocols only. Their implementations live in ``backends`` and are chosen in ``app``."""

from typing import Literal, NamedTuple, Protocol

from ailink_gateway.exchange import Reply
from ailink_gateway.grant import Grant
from ailink_gateway.record import Opened, Record
from ailink_gateway.transcript import Transcript


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


class Meter(Protocol):
    """What counts calls."""

    def count(self, record: Record) -> None:
        """Count a call that has its record. Takes about two microseconds."""

    def refuse(self, code: str, request_id: str, client_ip: str | None) -> None:
        """Count a request of someone who could not be told, and note it in the log now and then."""


class Bodies(Protocol):
    """What keeps the bodies of calls."""

    def keep(self, transcript: Transcript) -> None:
        """Take a transcript, to be stored later. Never waits and never raises."""

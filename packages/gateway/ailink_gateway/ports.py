"""What stages are given: protocols only. Their implementations live in ``backends`` and are chosen in ``app``."""

from collections.abc import Hashable, Mapping, Sequence
from typing import Literal, NamedTuple, Protocol, TypeAlias

from msgspec import Struct

from ailink_gateway.approval import Approval, CanonicalRequest, Status
from ailink_gateway.exchange import Cap, Exchange, Reply
from ailink_gateway.grant import Breaker, Grant
from ailink_gateway.record import Opened, Record
from ailink_gateway.thoughts import Turn
from ailink_gateway.transcript import Transcript
from ailink_provider.resilience import CircuitBreaker


class Directory(Protocol):
    """Who may call."""

    def cached(self, secret: str) -> Grant | None:
        """Return the grant of a token if it is known and current. Takes about a microsecond and does no I/O."""

    async def find(self, secret: str) -> Grant:
        """Return the grant of a token. Raises ``Failure`` (``invalid_api_key``) for one that may not call."""

    async def anonymous(self) -> Grant | None:
        """Return the grant of callers without a token, or None where there are none."""

    async def by_id(self, token_id: str | None) -> Grant:
        """Return the grant of a token by its public id, or of callers without one, compiled anew.

        Raises ``Failure`` (``invalid_api_key``) for one that may not call.
        """


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
    """Who may execute what is sent under an idempotency key. A claim is durable when it returns; what becomes of it is
    written as soon as the store takes it, and until then holds in this process.
    """

    async def claim(self, tenant: str, key: str, request_hash: bytes) -> Claim:
        """Take ``key`` for a request, or return how the one stands that has it. Tenants share no keys."""

    async def answer(self, claim: Claim, reply: Reply) -> None:
        """Keep the answer, its body whole."""

    async def release(self, claim: Claim) -> None:
        """Set the key free: the request had no effect, and may come again."""

    async def lose(self, claim: Claim) -> None:
        """Note that nobody knows what the request brought about."""

    async def await_approval(self, claim: Claim, approval_id: str, expires_at: float) -> None:
        """Note which approval decides about the request; the claim outlasts it (``expires_at`` is Unix seconds)."""


class Thoughts(Protocol):
    """What models thought before they called tools, for the turns that clients send back without it."""

    def keep(self, tenant: str, turn: Turn) -> None:
        """Keep a turn for a while. Takes microseconds and does no I/O."""

    def find(self, tenant: str, call_id: str) -> Turn | None:
        """Return the turn of this tenant that made a tool call, None if it is not known (any more)."""


LimitKey: TypeAlias = tuple[Hashable, ...]
"""What a limit is counted by: the kind first, such as ("token", its id); what a caller may choose freely comes last."""


class Taken(Struct, frozen=True, gc=False):
    """What became of a take.

    ``remaining`` is how much more would be let through now. ``reset_seconds`` is the time until more will be: for one
    that was refused until it would fit, else until the oldest of what counts is over. ``at`` names the take, for
    ``correct``.
    """

    allowed: bool
    remaining: int
    reset_seconds: float
    at: float


class Limiter(Protocol):
    """How much is let through. Every call takes effect before it returns, and none does I/O."""

    def take(self, key: LimitKey, limit: int, window_seconds: float, amount: int = 1) -> Taken:
        """Let ``amount`` through if no more than ``limit`` passes in any ``window_seconds``; what is refused counts for
        nothing. A key has a count for each length of window that it is asked with.
        """

    def correct(self, key: LimitKey, window_seconds: float, at: float, difference: int) -> None:
        """Count more, from now on, or less of what was taken ``at`` that moment: it was an estimate."""

    def enter(self, key: LimitKey, most: int) -> bool:
        """Return whether there is a place among ``most`` at once, and take it. Each one is followed by a ``leave``."""

    def leave(self, key: LimitKey) -> None:
        """Give a place back."""


class Health(NamedTuple):
    """How a token's calls to an upstream have gone: failures in a row, and the seconds until it is asked again."""

    url: str
    is_healthy: bool
    failures: int
    cooldown: float


class Breakers(Protocol):
    """The circuit breakers of all tokens. They outlive grants."""

    def of(self, token_id: str | None, url: str, setting: Breaker) -> CircuitBreaker | None:
        """Return the breaker between a token and the upstream at ``url``, going by ``setting`` from now on; None where
        that is switched off.
        """

    def health(self, token_id: str) -> list[Health]:
        """Return how the upstreams stand that the token has called."""

    def forget(self, token_id: str, url: str | None = None) -> None:
        """Close all circuits of a token, or only the one to the upstream at ``url``, and forget its failures."""


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


class Spent(Struct, frozen=True):
    """What a token or a project has spent so far, in nano-dollars, and how often it called. Days and months are UTC."""

    today_nano: int
    month_nano: int
    lifetime_nano: int
    requests_today: int
    requests_this_hour: int


class Spending(Protocol):
    """What was spent."""

    def spent(self, scope: str, scope_id: str) -> Spent | None:
        """Return what a "token" or a "project" has spent; None if it has made no call since the start."""


class Ledger(Spending, Protocol):
    """What may be spent, and what was. A call spends for its token, if it has one, and for its project, in the day and
    month of its start. What is settled and held never passes a limit.
    """

    def limited(self, token_id: str | None, project_id: str) -> bool:
        """Whether any limit applies to the calls of a token. Takes a fraction of a microsecond."""

    def reserve_at_once(
        self, call_id: str, token_id: str | None, project_id: str, at: float, nano: int, caps: Sequence[Cap] = ()
    ) -> bool:
        """Hold ``nano`` as ``reserve`` does, if there is room for all of it now and nobody waits; return whether it is
        held. False says nothing of why not.
        """

    async def reserve(
        self, call_id: str, token_id: str | None, project_id: str, at: float, *, least: int, most: int, until: float,
        caps: Sequence[Cap] = (),
    ) -> int:
        """Hold up to ``most`` nano-dollars for a call that starts ``at`` (Unix seconds), and return how many are held.
        ``caps`` hold for this call as limits do for all.

        That is less only where settled spend leaves less, and never below ``least``. Where other calls' holds stand in
        the way, this waits in the order of arrival, at most ``until`` (the loop's clock). Raises ``Failure``
        (``budget_exceeded``, ``spend_cap_reached``). A call that is cancelled meanwhile holds nothing.
        """

    def remaining(
        self, token_id: str | None, project_id: str, at: float, caps: Sequence[Cap] = ()
    ) -> Mapping[str, int]:
        """Return what limits, and the ``caps`` of a call, leave beside settled spend, by period (daily, monthly,
        lifetime), where there are any: in nano-dollars, the least of token and project.
        """


class Approvals(Protocol):
    """Requests that wait for somebody to decide."""

    async def ask(self, exchange: Exchange, request: CanonicalRequest) -> Approval:
        """Store the request of an exchange that needs approval, tell whom it concerns, and return the approval.

        It is durable when this returns, and noted in the exchange and beside its idempotency key, even if the caller is
        gone by then. A model's request that equals one of the same token that waits already joins it. Raises
        ``Failure``.
        """

    async def ask_again(self, approval_id: str) -> Approval:
        """Return the approval that an earlier call of the same request asked for, and wait for it as that one did.

        Raises ``Failure`` (``not_found``).
        """

    async def wait(self, approval_id: str, seconds: float | None = None) -> Approval:
        """Return the approval once nothing more will happen to it, or after ``seconds``, or when the gateway stops.

        Raises ``Failure`` (``not_found``).
        """

    def leave(self, approval_id: str) -> None:
        """Note that a model's caller that asked waits no more."""


class Desk(Protocol):
    """Where approvals are looked at and decided."""

    async def wait(self, approval_id: str, seconds: float | None = None) -> Approval:
        """See ``Approvals.wait``; 0 seconds is now."""

    async def page(
        self, limit: int, after: str | None, filters: dict[str, str | None]
    ) -> tuple[list[Approval], bool]:
        """Return one page of approvals, newest first and without their answers, and whether there are more."""

    async def request(self, approval_id: str) -> CanonicalRequest | None:
        """Return the request, None once it is erased. Raises ``Failure`` (``not_found``)."""

    async def decide(
        self, approval_id: str, decision: Literal["approved", "rejected"], by: str, reason: str | None
    ) -> tuple[Status, bool]:
        """Decide what is pending; return how it stands now, and whether this call decided it.

        Raises ``Failure``: ``not_found``, or ``conflict`` if it was decided otherwise or its time has passed.
        """

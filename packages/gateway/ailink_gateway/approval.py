"""An approval as data: what was asked, the request that waits, and the answer it got. Stores, sends and decides
nothing.
"""

from typing import Any, Literal

from msgspec import Struct

Headers = list[tuple[bytes, bytes]]
Status = Literal["pending", "approved", "rejected", "expired"]
Execution = Literal["none", "running", "done", "failed", "unknown"]

DEFAULT_SECONDS = 600.0


class CanonicalRequest(Struct, frozen=True):
    """A request as it was decided on, which is as it is sent: after every rewrite, before any credential.

    ``raw_path`` and ``query`` are undecoded, ``raw_path`` is what stands behind the name of ``service`` where one is
    called; ``headers`` are without the caller's secrets. ``targets`` are where it may go, as (label, model).
    """

    method: str
    raw_path: bytes
    query: bytes
    headers: Headers
    body: bytes
    client_ip: str | None
    targets: list[tuple[str, str]]
    service: str | None = None


class About(Struct, frozen=True):
    """What a list shows of a request, and what happens around it.

    ``notify`` are the channels to tell, as policies have them ({type, url}); ``keyed`` that the caller sent an
    idempotency key, and so may come back for the answer, and ``own_key`` that it brought its own upstream key;
    ``preview`` is the beginning of the body.
    """

    method: str
    path: str
    agent_name: str | None
    upstream: str | None
    preview: str
    notify: list[dict[str, Any]]
    keyed: bool
    own_key: bool = False


class Terms(Struct, frozen=True):
    """What several rules that want an approval ask for together."""

    policy_names: list[str]
    rules: list[list[Any]]
    seconds: float
    notify: list[dict[str, Any]]

    @classmethod
    def of(cls, needed: list[dict[str, Any]]) -> "Terms":
        """Return the terms of what ``Exchange.approvals_needed`` holds."""
        notify: list[dict[str, Any]] = []
        for need in needed:
            notify += [dict(channel) for channel in need.get("notify") or () if channel not in notify]
        return cls(
            policy_names=list(dict.fromkeys(str(need["policy_name"]) for need in needed)),
            rules=[[need["policy_name"], need["rule"]] for need in needed],
            seconds=min((need.get("timeout_seconds") or DEFAULT_SECONDS for need in needed), default=DEFAULT_SECONDS),
            notify=notify,
        )


class KeptReply(Struct, frozen=True):
    """The answer to an approved request. ``truncated`` says that it was longer than is kept, or
    broke off."""

    status: int
    headers: Headers
    body: bytes
    truncated: bool = False


class Approval(Struct, frozen=True, kw_only=True):
    """One approval as it stands. Times are Unix seconds."""

    id: str
    project_id: str
    token_id: str | None
    kind: Literal["model", "api"]
    policy_names: list[str]
    status: Status
    execution: Execution
    reason: str | None
    about: About
    created_at: float
    expires_at: float
    decided_at: float | None = None
    decided_by: str | None = None
    reply: KeptReply | None = None

    @property
    def over(self) -> bool:
        """Whether nothing more will happen to it."""
        return self.status in ("rejected", "expired") or self.execution in ("done", "failed", "unknown")


class Resumed(Struct, frozen=True):
    """What a stored request brings along when the gateway sends it: whose it is, what was approved, and when it came in
    (Unix seconds).
    """

    token_id: str | None
    approval_id: str
    request: CanonicalRequest
    asked_at: float

    def is_counted(self, at: float, seconds: float) -> bool:
        """Whether a limit over so many seconds has counted the request already, when its approval was asked for."""
        return at - self.asked_at < seconds

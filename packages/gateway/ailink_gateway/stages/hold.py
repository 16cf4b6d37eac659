"""Hold: keeps a request that needs approval until somebody has decided. Nothing behind it changes the request.

A model's call waits on its connection; any other gets 202 and is sent once it is approved. Either way the approved
request runs through the pipeline again as an exchange of its own (``exchange.resumed``), and only if it is still the
one that was approved.
"""

import re
from collections.abc import Awaitable
from datetime import UTC, datetime
from time import monotonic

import msgspec

from ailink_gateway.approval import Approval, CanonicalRequest, KeptReply
from ailink_gateway.exchange import Exchange, Headers, Reply
from ailink_gateway.forward import api_target, kept_headers
from ailink_gateway.ports import Approvals
from ailink_gateway.stages import Proceed
from ailink_provider.errors import Failure

LONGEST_WAIT = 300.0  # seconds that ``Prefer: wait`` may ask for
POLL_PATH = "/api/v1/approvals/"
PATIENCE = b"x-ailink-approval-timeout"
SHOULD_RETRY = b"x-should-retry"
EARLY = 0.1  # seconds by which a timer may be over too soon
_SECONDS = re.compile(rb"[0-9]{1,6}(?:\.[0-9]{1,3})?")
_PREFER_WAIT = re.compile(rb"(?:^|[,;\s])wait\s*=\s*\"?([0-9]{1,6})", re.IGNORECASE)
# What an answer said of its own connection, or of the exchange that fetched it.
_OF_ITS_OWN = frozenset({b"content-length", b"transfer-encoding", b"connection", b"x-request-id"})


class Hold:
    """Needs where approvals are kept.

    Args:
        public_url: the gateway's own URL as clients know it, None to tell them paths only.
    """

    def __init__(self, approvals: Approvals, public_url: str | None = None) -> None:
        self._approvals = approvals
        self._public_url = public_url or ""

    def __call__(self, exchange: Exchange, proceed: Proceed) -> Awaitable[Reply]:
        if exchange.answer is not None:
            return _at_once(exchange.answer)
        if exchange.resumed is not None:
            exchange.approval_id = exchange.resumed.approval_id
            _check_unchanged(exchange, exchange.resumed.request)
            return proceed(exchange)
        if exchange.approval_id is None and not exchange.approvals_needed:
            return proceed(exchange)
        return self._ask(exchange)

    async def _ask(self, exchange: Exchange) -> Reply:
        if exchange.approval_id is not None:  # this very request, by its idempotency key, has asked before
            approval = await self._approvals.ask_again(exchange.approval_id)
        else:
            if exchange.route.kind == "api":
                api_target(exchange, exchange.targets[0].upstream)  # nobody is asked about what could never be sent
            approval = await self._approvals.ask(exchange, capture(exchange))
        if exchange.route.kind == "model":
            return await self._hold(exchange, approval)
        if not approval.over and (seconds := _preferred_wait(exchange)):
            approval = await self._approvals.wait(approval.id, seconds)
        return _answer(exchange, approval) if approval.over else self._accepted(approval)

    async def _hold(self, exchange: Exchange, approval: Approval) -> Reply:
        patience, since = _patience(exchange), monotonic()
        try:
            approval = await self._approvals.wait(approval.id, patience)
            if approval.status == "approved":  # it is being sent: what comes of it is the answer
                approval = await self._approvals.wait(approval.id)
        finally:
            self._approvals.leave(approval.id)
        if approval.status == "pending" and patience is not None and monotonic() - since > patience - EARLY:
            message = f"Nobody approved this request within the {patience:g} seconds that it waits."
            raise _timeout(message, approval, patience)
        if not approval.over:
            message = "The gateway is about to stop while this request waits for approval: send it again."
            raise Failure("all_upstreams_unavailable", message, retry_after=2)
        reply = _answer(exchange, approval)
        if reply.status >= 400 and all(name != SHOULD_RETRY for name, _ in reply.headers):
            reply.headers.append((SHOULD_RETRY, b"false"))  # an SDK that tries again would have a person asked again
        return reply

    def _accepted(self, approval: Approval) -> Reply:
        path = POLL_PATH + approval.id
        body = {
            "status": "pending",
            "request_id": approval.id,
            "expires_at": datetime.fromtimestamp(approval.expires_at, UTC),
            "poll_url": self._public_url + path,
        }
        headers = [(b"content-type", b"application/json"), (b"location", path.encode())]
        return Reply(202, [*headers, (b"cache-control", b"no-store")], msgspec.json.encode(body))


def capture(exchange: Exchange) -> CanonicalRequest:
    """Return what would be sent for this exchange."""
    return CanonicalRequest(
        method=exchange.method,
        raw_path=exchange.raw_path,
        query=exchange.query,
        headers=kept_headers(exchange),
        body=exchange.body,
        client_ip=exchange.client_ip,
        targets=[(target.upstream.label, target.model) for target in exchange.targets],
        service=exchange.service,
    )


def _check_unchanged(exchange: Exchange, approved: CanonicalRequest) -> None:
    """Keep the exchange to what was approved. Raises ``Failure`` if that is not what would be sent."""
    if exchange.approvals_needed:
        names = ", ".join(sorted({str(need["policy_name"]) for need in exchange.approvals_needed}))
        raise _outdated(f"{names} wants an approval that was not asked for when this request was approved")
    now = capture(exchange)
    # In the order that was shown: those that take turns would have it drawn anew.
    places = {shown: place for place, shown in enumerate(approved.targets)}
    kept = [target for target in exchange.targets if (target.upstream.label, target.model) in places]
    exchange.targets = sorted(kept, key=lambda target: places[target.upstream.label, target.model])
    if not exchange.targets:
        raise _outdated("the request would go somewhere else now")
    if msgspec.structs.replace(now, targets=approved.targets) != approved:
        raise _outdated("it would be sent changed now")


def _outdated(why: str) -> Failure:
    message = f"The approval no longer holds, and nothing was sent: {why}. Send the request again."
    return Failure("policy_denied", message, reason="approval_outdated")


def _patience(exchange: Exchange) -> float | None:
    """Return how many seconds a model's caller waits for a decision; None as long as it takes."""
    found = _SECONDS.fullmatch(exchange.headers.get(PATIENCE, b""))
    return float(found[0]) if found else None


def _preferred_wait(exchange: Exchange) -> float:
    found = _PREFER_WAIT.search(exchange.headers.get(b"prefer", b""))
    return min(float(found[1]), LONGEST_WAIT) if found else 0.0


async def _at_once(answer: Reply) -> Reply:
    """Return what the gateway answers by itself: nothing is sent, so there is nothing to approve."""
    return answer


def _answer(exchange: Exchange, approval: Approval) -> Reply:
    """Return what the caller gets of an approval that is over. Raises ``Failure`` where that is no answer."""
    policies = ", ".join(approval.policy_names)
    if approval.status == "rejected":
        why = f": {approval.reason}" if approval.reason else "."
        raise Failure("approval_rejected", f"This request was rejected{why}", policy_name=policies)
    if approval.status == "expired":
        message = "Nobody approved this request in time; nothing was sent."
        raise _timeout(message, approval, round(approval.expires_at - approval.created_at))
    reply = approval.reply
    if approval.execution == "unknown":
        message = "The request was approved, but whether it was carried out is unknown: it is not sent again."
        raise Failure("outcome_unknown", message)
    if reply is None or reply.truncated:
        what = "was larger than is kept" if reply is not None else "is not kept"
        raise Failure("outcome_unknown", f"The request was approved and sent, but its answer {what}.")
    return _replayed(exchange, reply)


def _timeout(message: str, approval: Approval, seconds: float) -> Failure:
    """Return what a caller is told whose request nobody decided on within so many seconds."""
    policies = ", ".join(approval.policy_names)
    return Failure("approval_timeout", message, policy_name=policies, details={"timeout": seconds})


def _replayed(exchange: Exchange, reply: KeptReply) -> Reply:
    said = _OF_ITS_OWN.union(name for name, _ in exchange.response_headers)
    headers: Headers = []
    for name, value in reply.headers:
        if name == b"x-ailink-error":
            exchange.error_code = value.decode("latin-1")
        if name not in said:
            headers.append((name, value))
    return Reply(reply.status, headers, reply.body)

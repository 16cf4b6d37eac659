"""Trying policies on calls: how calls are given, and what is told of each. The policies do the judging."""

import json
from collections.abc import Sequence
from typing import Any, NoReturn
from urllib.parse import quote, unquote

from pydantic import BaseModel, Field, JsonValue

from ailink_gateway import routes
from ailink_gateway.control.fields import Input, Instant, Moment, Reference, seconds
from ailink_gateway.envelope import read_members
from ailink_gateway.exchange import Exchange
from ailink_gateway.grant import Grant
from ailink_gateway.policy.compiled import Policy
from ailink_gateway.policy.replies import Answer
from ailink_gateway.policy.trial import GivenFacts, Outcome, RecordFacts, TrialLimiter, attempt
from ailink_gateway.services import name_service
from ailink_gateway.store.projects import DEFAULT
from ailink_gateway.store.rows import Row
from ailink_provider.errors import Failure

MOST_REQUESTS = 100
MOST_RECORDS = 100


class GivenReply(Input):
    """A reply that an upstream might give."""

    status: int = Field(200, ge=100, le=599)
    headers: dict[str, str] = {}
    body: JsonValue = None


class GivenRequest(Input):
    """A call that might be made."""

    method: str = Field("POST", pattern=r"^[A-Z]{3,16}$")
    path: str = Field("/v1/chat/completions", max_length=2048, pattern=r"^/[!-~]*$", examples=["/v1/charges?limit=3"])
    headers: dict[str, str] = Field({}, examples=[{"X-AILink-Agent-Name": "billing-bot"}])
    body: JsonValue = Field(None, description="JSON; a text is sent as it is.", examples=[{"amount": 50000}])
    model: str | None = Field(None, max_length=256, description="The model that would answer, if not the body's.")
    provider: str | None = Field(None, max_length=256, description="Who serves it.")
    token_id: str | None = None
    token_name: str | None = None
    project_id: str = DEFAULT
    client_ip: str | None = None
    at: Instant | None = Field(None, description="When, in UTC unless it says otherwise; now if it is left out.")
    response: GivenReply | None = Field(None, description="What comes back, for policies with phase post.")


class TrialInput(Input):
    """Which calls a policy is tried on."""

    requests: list[GivenRequest] = Field([], max_length=MOST_REQUESTS)
    last: int = Field(0, ge=0, le=MOST_RECORDS, description="Try it on so many of the last recorded calls.")
    token_id: Reference | None = Field(None, description="Only on recorded calls of this token.")


class Recorded(BaseModel):
    """How a recorded call went."""

    id: str
    created_at: Moment
    status: int | None
    policy_result: str | None
    error_code: str | None


class Trial(BaseModel):
    """What a policy would have done to one call."""

    method: str
    path: str
    record: Recorded | None = Field(description="How it went, for a recorded call.")
    decision: str = Field(description="allow, deny, approval, or undecided where a rule needs what is not known.")
    status: int | None = Field(description="What the client would have got, if it were refused.")
    reason: str | None
    message: str | None
    effects: list[str] = Field(description="What rules would have done, in order.")
    undecided: list[str] = Field(description="Rules that need what is not known of the call, and what that is.")
    body: str | None = Field(description="The body as rules would have rewritten it; null if they would not have.")


def of_requests(policy: Policy, requests: Sequence[GivenRequest], now: float) -> list[Trial]:
    """Return what a policy does to given calls, in their order. Raises ``Failure`` for one that is malformed."""
    limiter = TrialLimiter()
    trials = []
    for index, request in enumerate(requests):
        try:
            exchange = _exchange(request)
        except Failure as failure:
            place = f"requests[{index}].body"
            raise Failure("validation_error", f"{place}: {failure.message}", param=place) from None
        at = seconds(request.at) or now
        facts = GivenFacts(exchange, at, (request.model or exchange.model, request.provider))
        if request.response is not None:
            facts.answer = _answer(exchange, request.response)
        limiter.now = at
        trials.append(_trial(exchange, None, attempt(policy, facts, limiter, rewrite=True)))
    return trials


def of_records(policy: Policy, rows: Sequence[Row]) -> list[Trial]:
    """Return what a policy would have done to recorded calls, in their order."""
    limiter = TrialLimiter()
    trials = []
    for row in rows:
        headers = [
            (name, row[column].encode())
            for name, column in ((b"x-ailink-agent-name", "agent_name"), (b"x-session-id", "session_id"))
            if row[column]
        ]
        exchange = _made(row["method"], quote(row["path"]), b"", headers, None)
        exchange.id = row["id"]
        exchange.grant = Grant(token_id=row["token_id"], token_name="", project_id=row["project_id"] or "")
        limiter.now = row["created_at"]
        outcome = attempt(policy, RecordFacts(exchange, row), limiter, rewrite=False)
        trials.append(_trial(exchange, Recorded.model_validate(row, from_attributes=False), outcome))
    return trials


def _exchange(request: GivenRequest) -> Exchange:
    body = request.body
    data = b"" if body is None else body.encode() if isinstance(body, str) else json.dumps(body).encode()
    headers = [(name.lower().encode(), value.encode()) for name, value in request.headers.items()]
    path, _, query = request.path.partition("?")
    exchange = _made(request.method, path, query.encode(), headers, request.client_ip)
    exchange.body = data
    exchange.grant = Grant(request.token_id, request.token_name or "", request.project_id)
    if exchange.route.kind == "model":
        exchange.members = read_members(data)
        asked = exchange.members.get("model")
        named = json.loads(bytes(asked)) if asked is not None else None
        exchange.model = exchange.route.model or (named if isinstance(named, str) else request.model)
    return exchange


def _made(method: str, raw_path: str, query: bytes, headers: list[tuple[bytes, bytes]], ip: str | None) -> Exchange:
    path = unquote(raw_path)
    scope: dict[str, Any] = {
        "method": method, "path": path, "raw_path": raw_path.encode(), "query_string": query, "headers": headers,
        "client": (ip, 0) if ip is not None else None,
    }  # fmt: skip
    exchange = Exchange.of(scope, _never, _never_send, routes.match(method, path, query))
    if exchange.route.service is not None:
        name_service(exchange, exchange.route.service)
    return exchange


def _answer(exchange: Exchange, reply: GivenReply) -> Answer:
    headers = [(name.lower().encode(), value.encode()) for name, value in reply.headers.items()]
    body = reply.body
    if body is not None and not isinstance(body, str):
        headers = [*headers, (b"content-type", b"application/json")]
    data = b"" if body is None else body.encode() if isinstance(body, str) else json.dumps(body).encode()
    return Answer(exchange, reply.status, headers, data)


def _trial(exchange: Exchange, record: Recorded | None, outcome: Outcome) -> Trial:
    body = outcome.body
    return Trial(
        method=exchange.method, path=exchange.path, record=record, decision=outcome.decision, status=outcome.status,
        reason=outcome.reason, message=outcome.message, effects=outcome.effects, undecided=outcome.undecided,
        body=None if body is None else body.decode("utf-8", "replace"),
    )  # fmt: skip


async def _never() -> NoReturn:
    raise AssertionError("a call that is tried is not received")


async def _never_send(message: Any) -> None:
    raise AssertionError("a call that is tried is not answered")

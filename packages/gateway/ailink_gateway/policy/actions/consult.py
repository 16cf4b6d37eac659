"""The action that tells a service of the operator's: webhook. It goes out through the gateway's guarded transport."""

import asyncio
from typing import TYPE_CHECKING, Literal

from msgspec import Struct
from msgspec.json import encode

from ailink_gateway.policy.compiled import Foresight, Rule, Verdict
from ailink_gateway.policy.shapes import Members, refuse
from ailink_provider.errors import Failure
from ailink_provider.transport import Origin, Request

if TYPE_CHECKING:
    from ailink_gateway.policy.run import Run

LONGEST = 30_000  # milliseconds
LARGEST_ANSWER = 64 * 1024
_HEADERS = [(b"content-type", b"application/json"), (b"user-agent", b"ailink/0.1"), (b"accept-encoding", b"identity")]


class Webhook(Struct, frozen=True):
    """Posts what is called by whom to a URL. Only an answer of 2xx in time counts as told; else ``on_fail`` decides."""

    url: str
    origin: Origin
    path: str
    timeout_ms: int
    on_fail: Literal["allow", "deny"]

    name = "webhook"
    rewrites = False
    reads_reply = False

    def apply(self, run: "Run", rule: Rule) -> Verdict:
        """See ``Action``."""
        return self._tell(run, rule)

    def foresee(self, run: "Run", rule: Rule) -> Foresight:
        """See ``Action``."""
        return f"call the webhook {self.url}"

    async def _tell(self, run: "Run", rule: Rule) -> Failure | None:
        try:
            told = await self._post(run, rule)
        except Failure:
            told = False
        if told or self.on_fail == "allow":
            return None
        message = f"The policy {run.policy.name} must tell a webhook of this call, and it did not take it."
        return Failure("policy_denied", message, reason="webhook_failed")

    async def _post(self, run: "Run", rule: Rule) -> bool:
        sender = run.tools.sender
        if sender is None:
            return False
        deadline = asyncio.get_running_loop().time() + self.timeout_ms / 1000
        if run.exchange.deadline is not None:
            deadline = min(deadline, run.exchange.deadline)
        response = await sender.send(
            Request("POST", self.origin, (self.path or "/").encode(), list(_HEADERS), encode(_said(run, rule))),
            deadline,
        )
        await response.read(LARGEST_ANSWER)
        return 200 <= response.status < 300


def _said(run: "Run", rule: Rule) -> dict[str, object]:
    facts, policy = run.facts, run.policy
    known = {
        "policy_id": policy.id,
        "policy_name": policy.name,
        "rule": rule.index,
        "phase": policy.phase,
        "request_id": run.exchange.id,
        "token_id": facts.token_id,
        "project_id": facts.project_id,
        "agent_name": facts.agent_name,
        "method": facts.method,
        "path": facts.path,
        "model": facts.model,
        "status": facts.status,
    }
    return {name: value or None for name, value in known.items() if name != "rule"} | {"rule": rule.index}


def read_webhook(members: Members, phase: str) -> Webhook:
    """Read ``webhook{url, timeout_ms, on_fail}``."""
    url = members.text("url")
    origin, path = checked_url(url, members.at("url"))
    return Webhook(
        url,
        origin,
        path,
        members.integer("timeout_ms", 5000, least=1, most=LONGEST),
        members.choice("on_fail", ("allow", "deny"), "deny"),
    )


def checked_url(url: str, place: str) -> tuple[Origin, str]:
    """Return origin and path of a URL that may be called. Refuses what is none."""
    try:
        return Origin.parse(url)
    except Failure as failure:
        refuse(place, f"is no URL that can be called: {failure.message.rstrip('.')}")

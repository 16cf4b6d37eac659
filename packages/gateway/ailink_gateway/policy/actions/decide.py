"""Actions that decide at once: allow, deny, require_approval."""

import re
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from ailink_gateway.policy.actions.consult import checked_url
from ailink_gateway.policy.compiled import ALLOW, Foresight, Rule, Verdict
from ailink_gateway.policy.shapes import Members, refuse
from ailink_provider.errors import Failure

if TYPE_CHECKING:
    from ailink_gateway.policy.run import Run

LONGEST_APPROVAL = 7 * 86_400
CHANNELS = 5
# What a receiver knows a sender by often stands there.
_QUERY = re.compile(r"[A-Za-z0-9._~!$&'()*+,;=:@/?%-]*")


class Allow(Struct, frozen=True):
    """Ends its policy: the rules after it are not looked at."""

    name = "allow"
    rewrites = False
    reads_reply = False

    def apply(self, run: "Run", rule: Rule) -> Verdict:
        """See ``Action``."""
        return ALLOW

    def foresee(self, run: "Run", rule: Rule) -> Foresight:
        """See ``Action``."""
        return ALLOW


class Deny(Struct, frozen=True):
    """Refuses the call."""

    status: int
    message: str | None

    name = "deny"
    rewrites = False
    reads_reply = False

    def apply(self, run: "Run", rule: Rule) -> Verdict:
        """See ``Action``."""
        return self._failure(run)

    def foresee(self, run: "Run", rule: Rule) -> Foresight:
        """See ``Action``."""
        return self._failure(run)

    def _failure(self, run: "Run") -> Failure:
        message = self.message or f"The policy {run.policy.name} does not allow this call."
        return Failure("policy_denied", message, status=self.status, reason="denied")


class RequireApproval(Struct, frozen=True):
    """Has a person decide. ``notify`` are the channels to tell, each {type, url}; ``timeout`` is in seconds."""

    timeout: int
    notify: tuple[dict[str, str], ...]

    name = "require_approval"
    rewrites = False
    reads_reply = False

    def apply(self, run: "Run", rule: Rule) -> Verdict:
        """See ``Action``. An approval that was given for this very rule counts."""
        exchange, policy = run.exchange, run.policy
        if (policy.name, rule.key) not in exchange.approved_rules:
            need: dict[str, Any] = {
                "policy_name": policy.name,
                "rule": rule.key,
                "timeout_seconds": self.timeout,
                "notify": [dict(channel) for channel in self.notify],
            }
            exchange.approvals_needed.append(need)
        return None

    def foresee(self, run: "Run", rule: Rule) -> Foresight:
        """See ``Action``."""
        return "require approval"


def read_allow(members: Members, phase: str) -> Allow:
    """Read ``allow{}``."""
    return Allow()


def read_deny(members: Members, phase: str) -> Deny:
    """Read ``deny{status, message}``."""
    return Deny(members.integer("status", 403, least=400, most=599), members.text("message", None, most=500))


def read_approval(members: Members, phase: str) -> RequireApproval:
    """Read ``require_approval{timeout, notify}``."""
    timeout = members.seconds("timeout", "10m", most=LONGEST_APPROVAL)
    channels = []
    for index, entry in enumerate(members.list("notify", (), most=CHANNELS)):
        channel = Members(entry, f"{members.at('notify')}[{index}]")
        kind = channel.choice("type", ("webhook", "slack"))
        url = channel.text("url")
        address, _, query = url.partition("?")
        checked_url(address, channel.at("url"))
        if _QUERY.fullmatch(query) is None:
            refuse(channel.at("url"), "has a query with characters that must be percent-encoded")
        channel.done()
        channels.append({"type": kind, "url": url})
    return RequireApproval(timeout, tuple(channels))

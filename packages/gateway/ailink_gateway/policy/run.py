"""One call on its way through the policies: what actions are given, and what they leave behind."""

from collections.abc import Callable
from math import ceil
from typing import TYPE_CHECKING

from msgspec import Struct

from ailink_gateway.policy.compiled import Mode, Policy
from ailink_gateway.policy.facts import Facts
from ailink_gateway.policy.rewriting import checked_model
from ailink_gateway.targets import spread
from ailink_provider.errors import Failure

if TYPE_CHECKING:
    from ailink_gateway.exchange import Exchange
    from ailink_gateway.grant import Target
    from ailink_gateway.ports import Limiter, Taken
    from ailink_gateway.targets import Resolver
    from ailink_provider.transport import Sender

_LIMIT, _REMAINING, _RESET = b"x-ratelimit-limit", b"x-ratelimit-remaining", b"x-ratelimit-reset"
_TOLD = (_LIMIT, _REMAINING, _RESET)


class Tools(Struct, frozen=True):
    """What actions need from outside. Without a resolver nothing is routed, without a sender no webhook is called."""

    limiter: "Limiter"
    resolver: "Resolver | None" = None
    sender: "Sender | None" = None


class Run:
    """A call that is judged. ``policy`` is the one at work; ``mode`` tells whether it is only watched."""

    policy: Policy

    __slots__ = ("_restrictions", "exchange", "facts", "mode", "policy", "tools")

    def __init__(self, exchange: "Exchange", facts: Facts, tools: Tools, mode: Mode) -> None:
        self.exchange, self.facts, self.tools = exchange, facts, tools
        self.mode: Mode = mode
        self._restrictions: list[tuple[str, Callable[[Target], bool]]] = []

    def ask_model(self, model: object) -> None:
        """Have another model asked. Raises ``Failure`` if there is none of that name, or none that may be."""
        name = checked_model(model)
        targets = self.resolve(name)
        self.exchange.model = name
        if targets:
            self.exchange.targets = targets

    def resolve(self, model: str) -> "list[Target]":
        """Return the targets of a model that may be asked, none without a resolver. Raises ``Failure`` if there are
        none.
        """
        exchange, resolver = self.exchange, self.tools.resolver
        if resolver is None or exchange.route.kind != "model" or exchange.grant is None:
            return []
        if exchange.service is not None:
            targets = resolver.within(exchange.targets[0].upstream, model, exchange.grant)
        else:
            targets = resolver.targets(model, exchange.grant)
        return spread(self._held(targets)) if exchange.grant.further else self._held(targets)

    def restrict(self, test: "Callable[[Target], bool]") -> None:
        """Leave only targets that meet ``test``, now and after any later rule. Raises ``Failure`` if none is left."""
        self._restrictions.append((self.policy.name, test))
        targets = self.exchange.targets
        if not targets or not all(map(test, targets)):
            self.exchange.targets = self._held(targets)

    def _held(self, targets: "list[Target]") -> "list[Target]":
        for policy, test in self._restrictions:
            kept = list(filter(test, targets))
            if not kept:
                raise not_allowed(policy, [target.model for target in targets])
            targets = kept
        return targets

    def tell_limit(self, limit: int, taken: "Taken") -> None:
        """Have the client told of a limit, unless it is let through and told of a tighter one already."""
        headers = self.exchange.response_headers
        for name, value in headers:
            if name == _REMAINING:
                if taken.allowed and int(value) <= taken.remaining:
                    return
                headers = [header for header in headers if header[0] not in _TOLD]
                break
        self.exchange.response_headers = [
            *headers,
            (_LIMIT, b"%d" % limit),
            (_REMAINING, b"%d" % taken.remaining),
            (_RESET, b"%d" % ceil(taken.reset_seconds)),
        ]


def not_allowed(policy: str, models: list[str]) -> Failure:
    """Return the refusal of a call of which no model is allowed."""
    names = ", ".join(dict.fromkeys(model[:128] for model in models[:3]))
    return Failure(
        "policy_denied",
        f"The policy {policy} does not allow the model {names}.",
        param="model",
        reason="model_not_allowed",
        policy_name=policy,
    )

"""Trying a policy on calls that are not made: given ones, or records of the past. Nothing leaves, nothing is counted.

What a call's record does not tell is not guessed: a rule that needs it is reported as undecided.
"""

from collections.abc import Mapping
from typing import Any, NoReturn

from msgspec import Struct

from ailink_gateway.exchange import Exchange
from ailink_gateway.policy.bodies import Body
from ailink_gateway.policy.compiled import ALLOW, Policy, Rule
from ailink_gateway.policy.facts import Facts, Undecidable
from ailink_gateway.policy.judge import violation
from ailink_gateway.policy.paths import MISSING, Path
from ailink_gateway.policy.run import Run, Tools
from ailink_gateway.ports import LimitKey, Spent, Taken
from ailink_gateway.targets import family
from ailink_provider.builtin import providers
from ailink_provider.errors import Failure

# The headers that have a column of their own.
_KEPT = {b"x-ailink-agent-name": "agent_name", b"x-session-id": "session_id", b"x-parent-span-id": "parent_span_id"}


class Outcome(Struct):
    """What a policy would have done to one call.

    ``decision`` is allow, deny, approval or, where a rule before any refusal could not be decided, undecided. ``body``
    is what rewriting rules make of it, None if they leave it alone.
    """

    decision: str = "allow"
    status: int | None = None
    reason: str | None = None
    message: str | None = None
    effects: list[str] = []
    undecided: list[str] = []
    body: bytes | None = None


class TrialLimiter:
    """Counts calls by the times that they were made at, as a rate limit would have."""

    def __init__(self) -> None:
        self.now = 0.0
        self._taken: dict[tuple[LimitKey, float], list[float]] = {}

    def take(self, key: LimitKey, limit: int, window_seconds: float, amount: int = 1) -> Taken:
        """See ``ports.Limiter``."""
        times = self._taken.setdefault((key, window_seconds), [])
        times[:] = [at for at in times if at > self.now - window_seconds]
        if len(times) + amount > limit:
            return Taken(False, max(limit - len(times), 0), window_seconds, self.now)
        times += [self.now] * amount
        return Taken(True, limit - len(times), window_seconds, self.now)

    def correct(self, key: LimitKey, window_seconds: float, at: float, difference: int) -> None:
        """No policy corrects."""

    def enter(self, key: LimitKey, most: int) -> bool:
        """No policy counts what is under way."""
        return True

    def leave(self, key: LimitKey) -> None:
        """No policy counts what is under way."""


class GivenFacts(Facts):
    """The facts of a call that was made up: its targets are those it names, until a rule has another model asked."""

    __slots__ = ("_asked", "_target")

    def __init__(self, exchange: Exchange, at: float, target: tuple[str | None, str | None]) -> None:
        super().__init__(exchange, _no_spending, clock=lambda: at)
        self._asked, self._target = exchange.model, target

    @property
    def target_models(self) -> list[Any]:
        """The model, if it is given."""
        if self.exchange.route.kind != "model":
            return []
        model = self._target[0] if self.exchange.model == self._asked else self.exchange.model
        return [model] if model is not None else _unknown("target.model")

    @property
    def target_providers(self) -> list[Any]:
        """The provider, if it is given, and another model's name does not tell of another one."""
        model, provider = self.exchange.model, self._target[1]
        if model is not None and model != self._asked and (vendor := family(model, providers())) is not None:
            provider = provider if provider == vendor.name else None
        return [provider] if provider is not None else _unknown("target.provider")

    @property
    def status(self) -> Any:
        """The status of the reply that is given with the call."""
        return super().status if self.answer is not None else _unknown("response.status")

    def reply_header(self, name: bytes) -> Any:
        """Return a header of the reply that is given."""
        return super().reply_header(name) if self.answer is not None else _unknown("response.headers")

    def reply_value(self, path: Path) -> Any:
        """Return what a path in the reply that is given leads to."""
        return super().reply_value(path) if self.answer is not None else _unknown("response.body")

    def reply_values(self, path: Path) -> list[Any]:
        """Return everything that a path in the reply that is given leads to."""
        return super().reply_values(path) if self.answer is not None else _unknown("response.body")


class RecordFacts(GivenFacts):
    """The facts that a record keeps of a call."""

    __slots__ = ("_record",)

    def __init__(self, exchange: Exchange, record: Mapping[str, Any]) -> None:
        super().__init__(exchange, record["created_at"], (record["model"], record["provider"]))
        self._record = record

    @property
    def model(self) -> Any:
        """The model that was asked for."""
        return self._record["requested_model"] or MISSING

    @property
    def body_size(self) -> Any:
        """Not kept."""
        return _unknown("request.body_size")

    def read_body(self) -> Body | None:
        """Not kept."""
        _unknown("request.body")

    def body_member(self, name: str) -> Any:
        """Not kept."""
        _unknown("request.body")

    def header(self, name: bytes) -> Any:
        """Return a header that has a column of its own."""
        if name not in _KEPT:
            _unknown(f"request.headers.{name.decode()}")
        return self._record[_KEPT[name]] or MISSING

    def query(self, name: str) -> list[Any]:
        """Not kept."""
        _unknown("request.query")

    @property
    def token_name(self) -> Any:
        """Not kept: a token may have had another name then."""
        return _unknown("token.name")

    @property
    def ip(self) -> Any:
        """Not kept."""
        return _unknown("context.ip")

    @property
    def status(self) -> Any:
        """What the client got."""
        return self._record["status"] or MISSING


def attempt(policy: Policy, facts: Facts, limiter: TrialLimiter, *, rewrite: bool) -> Outcome:
    """Return what a policy would do to a call. Where ``rewrite`` is set its exchange is changed as the rules say, so
    that later rules see it.
    """
    outcome = Outcome()
    run = Run(facts.exchange, facts, Tools(limiter), "shadow")
    run.policy = policy
    before = facts.exchange.body if facts.answer is None else facts.answer.data
    for rule in policy.rules:
        if _ends(rule, run, outcome, rewrite=rewrite):
            break
    after = facts.exchange.body if facts.answer is None else facts.answer.data
    outcome.body = after if after != before else None
    if outcome.undecided and outcome.decision == "allow":
        outcome.decision = "undecided"
    return outcome


def _ends(rule: Rule, run: Run, outcome: Outcome, *, rewrite: bool) -> bool:
    try:
        if rule.when is not None and not rule.when(run.facts):
            return False
        for action in rule.actions:
            effect = action.foresee(run, rule)
            if effect is ALLOW:
                return True
            if isinstance(effect, Failure):
                raise effect
            if effect is not None:
                outcome.effects.append(violation(run.policy, rule, effect))
            if action.name == "require_approval":
                outcome.decision = "approval"
            if action.rewrites and rewrite:
                action.apply(run, rule)
    except Undecidable as unknown:
        outcome.undecided.append(f"rules[{rule.index}]: {unknown.args[0]} is not known")
    except Failure as failure:
        outcome.decision = "undecided" if outcome.undecided else "deny"
        outcome.status, outcome.reason, outcome.message = failure.status, failure.reason, failure.message
        outcome.effects.append(violation(run.policy, rule, failure))
        return True
    return False


def _unknown(what: str) -> NoReturn:
    raise Undecidable(what)


def _no_spending(scope: str) -> Spent:
    _unknown("usage")

"""Actions that say where a call goes: route to given models, split calls among variants."""

from collections.abc import Callable
from hashlib import sha256
from typing import TYPE_CHECKING

from msgspec import Struct

from ailink_gateway.policy.actions.rewrite import check_model, read_fields
from ailink_gateway.policy.compiled import Foresight, Rule, Verdict
from ailink_gateway.policy.rewriting import SetField, rewrite
from ailink_gateway.policy.shapes import Members, refuse
from ailink_provider.errors import Failure
from ailink_provider.prices import price

if TYPE_CHECKING:
    from ailink_gateway.grant import Target
    from ailink_gateway.policy.run import Run

MOST_VARIANTS = 20
MOST_TARGETS = 10
HEAVIEST = 1_000_000
LATER = "latency_optimized"


class Variant(Struct, frozen=True):
    """One way of many: taken as often as its weight is of all."""

    weight: int
    label: str
    fields: tuple[SetField, ...]


class Split(Struct, frozen=True):
    """Takes one of its variants, always the same for a session; for a call without one, by chance of its id."""

    variants: tuple[Variant, ...]
    total: int
    reads_reply = False

    name = "split"
    rewrites = True

    def apply(self, run: "Run", rule: Rule) -> Verdict:
        """See ``Action``."""
        variant = self._chosen(run, rule)
        run.exchange.tags[f"split.{run.policy.name}"[:64]] = variant.label
        if variant.fields:
            rewrite(run, variant.fields)
        return None

    def foresee(self, run: "Run", rule: Rule) -> Foresight:
        """See ``Action``."""
        return f"take the variant {self._chosen(run, rule).label}"

    def _chosen(self, run: "Run", rule: Rule) -> Variant:
        drawn = _drawn(run, rule) % self.total
        for variant in self.variants:
            drawn -= variant.weight
            if drawn < 0:
                return variant
        raise AssertionError("the weights are not their total")


class Route(Struct, frozen=True):
    """Has one of these models answer in place of the one that was asked for; the others stand behind it."""

    models: tuple[str, ...]
    strategy: str

    name = "route"
    rewrites = False
    reads_reply = False

    def apply(self, run: "Run", rule: Rule) -> Verdict:
        """See ``Action``. Models that may not or cannot be asked are left out, unless all are."""
        if run.exchange.route.kind != "model":
            return None
        groups: list[list[Target]] = []
        refusals: list[Failure] = []
        for model in self.models:
            try:
                groups.append(run.resolve(model))
            except Failure as failure:
                refusals.append(failure)
        if not groups:
            return refusals[0]
        groups = STRATEGIES[self.strategy](groups, run, rule)
        run.exchange.targets = [target for group in groups for target in group]
        return None

    def foresee(self, run: "Run", rule: Rule) -> Foresight:
        """See ``Action``."""
        return "route to " + ", ".join(self.models)


def _in_order(groups: "list[list[Target]]", run: "Run", rule: Rule) -> "list[list[Target]]":
    return groups


def _in_turn(groups: "list[list[Target]]", run: "Run", rule: Rule) -> "list[list[Target]]":
    first = _drawn(run, rule) % len(groups)
    return groups[first:] + groups[:first]


def _cheapest(groups: "list[list[Target]]", run: "Run", rule: Rule) -> "list[list[Target]]":
    return sorted(groups, key=lambda group: _rate(group[0], run.exchange.created_at) if group else 0)


def _rate(target: "Target", now: float) -> float:
    found = price(target.prices, target.model, now)
    # A model without a price is the last to be taken for a cheap one.
    return float("inf") if found is None else found.tiers[0].input + found.tiers[0].output


STRATEGIES: "dict[str, Callable[[list[list[Target]], Run, Rule], list[list[Target]]]]" = {
    "failover": _in_order,
    "load_balanced": _in_turn,
    "cost_optimized": _cheapest,
}


def _drawn(run: "Run", rule: Rule) -> int:
    session = run.exchange.headers.get(b"x-session-id")
    seed = session if session is not None else run.exchange.id.encode()
    return int.from_bytes(sha256(f"{run.policy.id}\n{rule.index}\n".encode() + seed).digest()[:8], "big")


def read_split(members: Members, phase: str) -> Split:
    """Read ``split{variants: [{weight, set_body_fields, name}]}``."""
    variants = []
    for index, entry in enumerate(members.list("variants", most=MOST_VARIANTS)):
        variant = Members(entry, f"{members.at('variants')}[{index}]")
        weight = variant.integer("weight", least=0, most=HEAVIEST)
        label = variant.text("name", f"variant-{index}", most=64)
        fields: tuple[SetField, ...] = ()
        if variant.has("set_body_fields"):
            fields = read_fields(variant.take("set_body_fields"), variant.at("set_body_fields"), phase)
        variant.done()
        variants.append(Variant(weight, label, fields))
    total = sum(variant.weight for variant in variants)
    if total == 0:
        refuse(members.at("variants"), "must have a variant with a weight above 0")
    return Split(tuple(variants), total)


def read_route(members: Members, phase: str) -> Route:
    """Read ``route{targets: [{model, provider}], strategy}``."""
    models = []
    for index, entry in enumerate(members.list("targets", most=MOST_TARGETS)):
        target = Members(entry, f"{members.at('targets')}[{index}]")
        model = target.text("model", most=256)
        provider = target.text("provider", None, most=64)
        target.done()
        models.append(check_model(model if provider is None else f"{provider}/{model}", target.at("model")))
    strategy = members.choice("strategy", (*STRATEGIES, LATER), "failover")
    if strategy == LATER:
        refuse(members.at("strategy"), f"is {LATER}, which is not available yet")
    return Route(tuple(models), strategy)

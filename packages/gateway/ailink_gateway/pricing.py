"""Prices of the operator's own: which of them is a model's. Pure; where they come from is not known here."""

from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import NamedTuple

from ailink_provider.prices import Price

ANY = "*"
_GLOB = "*?["


class PriceRule(NamedTuple):
    """A price for the models that fit ``model``, a name or a glob, at ``provider``, a name or ``ANY``."""

    provider: str
    model: str
    price: Price


def in_order(rules: Iterable[PriceRule]) -> tuple[PriceRule, ...]:
    """Return rules so that the one that says most precisely what it is about comes first."""
    return tuple(sorted(rules, key=_vagueness))


def own_price_of(model: str, providers: Iterable[str], rules: Iterable[PriceRule]) -> Price | None:
    """Return the price of the first rule that fits a model at any of its ``providers``, or None."""
    names = {ANY, *providers}
    return next((rule.price for rule in rules if rule.provider in names and fnmatchcase(model, rule.model)), None)


def _vagueness(rule: PriceRule) -> tuple[bool, int, bool, str, str]:
    glob = any(character in rule.model for character in _GLOB)
    return glob, -len(rule.model), rule.provider == ANY, rule.model, rule.provider

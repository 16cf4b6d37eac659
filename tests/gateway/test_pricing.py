"""Which of the operator's own prices is a model's."""

from decimal import Decimal
from typing import Any

import pytest

from ailink_gateway.grant import Grant, Snapshot, Target
from ailink_gateway.pricing import PriceRule, in_order, own_price_of
from ailink_gateway.targets import Resolver
from ailink_provider.catalog import Facts
from ailink_provider.prices import Price, own_price, price

NOW = 1_790_000_000.0


def costing(usd: int) -> Price:
    return own_price({"input": Decimal(usd), "output": Decimal(usd)})


RULES = in_order([
    PriceRule("*", "*", costing(1)),
    PriceRule("*", "gpt-*", costing(2)),
    PriceRule("openai", "gpt-*", costing(3)),
    PriceRule("openai", "gpt-4o", costing(4)),
    PriceRule("other", "gpt-4o", costing(5)),
    PriceRule("openai", "gpt-4o-mini*", costing(6)),
])  # fmt: skip


@pytest.mark.parametrize(
    ("provider", "model", "usd"),
    [
        ("openai", "gpt-4o", 4),
        ("other", "gpt-4o", 5),
        ("third", "gpt-4o", 2),
        ("openai", "gpt-4o-mini-2024", 6),
        ("openai", "gpt-5", 3),
        ("openai", "o3", 1),
    ],
)
def test_the_most_precise_rule_speaks(provider: str, model: str, usd: int) -> None:
    assert own_price_of(model, [provider], RULES) == costing(usd)


def test_without_a_rule_there_is_no_own_price() -> None:
    assert own_price_of("gpt-4o", ["openai"], RULES[:1]) is not None
    assert own_price_of("o3", ["openai"], RULES[:1]) is None


def resolved(make_upstream: Any, model: str, *rules: PriceRule, **reach: Any) -> Target:
    grant = Grant("t", "t", "p", own=make_upstream(reach.pop("own", "openai")), prices=in_order(rules))
    (target,) = Resolver(Snapshot(**reach)).targets(model, grant)
    return target


def test_own_prices_go_before_the_published_ones_and_the_stores_before_the_configs(make_upstream: Any) -> None:
    rule = PriceRule("openai", "gpt-4o", costing(4))
    published = price("openai", "gpt-4o", NOW)
    assert published is not None
    assert resolved(make_upstream, "gpt-4o").price(NOW) == published
    assert resolved(make_upstream, "gpt-4o", prices=(rule,)).price(NOW) == costing(4)
    vague = PriceRule("*", "*", costing(9))
    assert resolved(make_upstream, "gpt-4o", vague, prices=(rule,)).price(NOW) == costing(9)


def test_the_fallback_is_for_what_nobody_knows(make_upstream: Any) -> None:
    known = resolved(make_upstream, "gpt-4o", unknown_price=costing(7))
    unknown = resolved(make_upstream, "gpt-unheard-of", unknown_price=costing(7))
    assert known.price(NOW) == price("openai", "gpt-4o", NOW)
    assert (unknown.known_price(NOW), unknown.price(NOW)) == (None, costing(7))
    assert Target(make_upstream("openai"), "gpt-unheard-of", Facts(), "openai").price(NOW) is None


def test_a_proxy_in_front_of_a_vendor_has_the_vendors_prices(make_upstream: Any) -> None:
    rule = PriceRule("openai", "gpt-4o", costing(4))
    assert resolved(make_upstream, "gpt-4o", rule, own=None).price(NOW) == costing(4)

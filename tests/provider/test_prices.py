"""Costs are exact integers."""

import re
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from genai_prices.data_snapshot import get_snapshot
from genai_prices.types import Usage as Published
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from ailink_provider.chat import Usage
from ailink_provider.prices import Price, Rates, own_price, price, with_service_tiers

NOW = 1_790_000_000.0


def test_a_small_call() -> None:
    found = price("openai", "gpt-4o", NOW)
    assert found is not None
    assert found.cost(Usage(input_tokens=11, output_tokens=7)) == 97_500


def test_cached_input_is_cheaper_and_written_input_dearer() -> None:
    found = price("anthropic", "claude-3-5-sonnet-20241022", NOW)
    assert found is not None
    assert found.cost(Usage(input_tokens=1_000_000)) == 3_000_000_000
    assert found.cost(Usage(input_tokens=100_000, cache_read_tokens=100_000)) == 30_000_000
    assert found.cost(Usage(input_tokens=100_000, cache_write_tokens=100_000)) == 375_000_000


def test_a_tier_reprices_the_whole_call() -> None:
    found = price("anthropic", "claude-sonnet-4-5", NOW)
    assert found is not None
    assert found.cost(Usage(input_tokens=200_000)) == 600_000_000
    assert found.cost(Usage(input_tokens=200_001)) == 1_200_006_000


@pytest.mark.parametrize(
    ("source", "model"), [("openai", "no-such-model"), ("", "gpt-4o"), ("no-such-provider", "gpt-4o")]
)
def test_an_unknown_price_is_unknown(source: str, model: str) -> None:
    assert price(source, model, NOW) is None


tokens = st.integers(0, 10**7)


@given(tokens, tokens, tokens, tokens)
def test_rounded_once_half_up(plain: int, output: int, read: int, written: int) -> None:
    rates = Rates(
        above=0,
        input=2_500_001,
        output=10_000_003,
        cache_read=1_250_007,
        cache_write=3_000_009,
        cache_write_1h=0,
        input_audio=0,
        output_audio=0,
    )
    usage = Usage(
        input_tokens=plain + read + written, output_tokens=output, cache_read_tokens=read, cache_write_tokens=written
    )
    exact = (
        sum(
            Decimal(count * rate)
            for count, rate in (
                (plain, rates.input),
                (output, rates.output),
                (read, rates.cache_read),
                (written, rates.cache_write),
            )
        )
        / 1000
    )
    assert Price((rates,)).cost(usage) == int((exact + Decimal("0.5")).to_integral_value(rounding="ROUND_FLOOR"))


def every_model() -> Iterator[tuple[str, str, Any]]:
    """Yield source, name and published prices of all models that can be found by their names."""
    for provider in get_snapshot().providers:
        for known in provider.models:
            with suppress(LookupError):
                _, model = get_snapshot().find_provider_model(known.id, None, provider.id, None)
                yield provider.id, known.id, model.get_prices(datetime.fromtimestamp(NOW // 3600 * 3600, UTC))


# What tokens are priced by, and the count that each kind of rate is for.
MEASURED = {
    "input_mtok", "output_mtok", "cache_read_mtok", "cache_write_mtok", "cache_write_1h_mtok", "input_audio_mtok",
    "output_audio_mtok", "output_reasoning_mtok", "requests_kcount",
}  # fmt: skip


@pytest.mark.parametrize("size", [1, 1000, 150_000, 3_000_000])
def test_the_cost_of_every_published_model_is_the_published_one(size: int) -> None:
    """Plain input and output, and what was read from and written to a cache, to the nano-dollar."""
    compared = 0
    for source, name, published in every_model():
        found = price(source, name, NOW)
        rates = {kind for kind, rate in vars(published).items() if rate is not None}
        if found is None:
            assert not rates & {"input_mtok", "output_mtok"}, (source, name)
            continue
        # A twelfth of a dollar, or a float's noise: no whole number of pico-dollars a token.
        inexact = any(isinstance(rate, Decimal) and rate * 10**6 % 1 for rate in vars(published).values())
        usages = [{"input_tokens": 7 * size, "output_tokens": 3 * size}]
        if "cache_read_mtok" in rates:
            usages.append({"input_tokens": 7 * size, "output_tokens": size, "cache_read_tokens": 5 * size})
        if "cache_write_mtok" in rates:
            usages.append({"input_tokens": 7 * size, "output_tokens": 0, "cache_write_tokens": 2 * size})
        for usage in usages:
            counted = {kind: count for kind, count in usage.items() if _is_priced(kind, rates)}
            counted["input_tokens"] = usage["input_tokens"]  # it decides about tiers, priced or not
            exact = published.calc_price(Published(**counted))["total_price"]
            ours = found.cost(Usage(**usage))
            published_nano = int((exact * 10**9 + Decimal("0.5")).to_integral_value("ROUND_FLOOR"))
            tolerated = published_nano // 10**5 + 1 if inexact else 0
            assert abs(ours - published_nano) <= tolerated, (source, name, usage)
            compared += 1
    assert compared > 2000


def _is_priced(kind: str, rates: set[str]) -> bool:
    return kind.replace("_tokens", "_mtok") in rates


def test_no_rate_of_tokens_is_left_out() -> None:
    unknown = set()
    for _, _, published in every_model():
        unknown |= {kind for kind, rate in vars(published).items() if rate is not None}
    # What upstreams do not report in tokens that any dialect reads.
    unread = re.compile(r"image|video|searches|hours|pages|mchars|citation|messages_kcount|cache_audio")
    assert {kind for kind in unknown - MEASURED if not unread.search(kind)} == set()


def test_thoughts_cost_what_they_are_priced_at() -> None:
    rates = Rates(0, 0, 1000, 0, 0, 0, 0, 0, reasoning=5000)
    assert Price((rates,)).cost(Usage(output_tokens=10, reasoning_tokens=4)) == 6 + 20


def test_each_call_may_cost_something_of_its_own() -> None:
    assert Price((Rates(0, 0, 0, 0, 0, 0, 0, 0, call=7000),)).cost(Usage()) == 7


NOVEMBER = datetime(2026, 11, 18, tzinfo=UTC).timestamp()


@pytest.mark.parametrize(("source", "model", "tier", "times"), [
    ("openai", "gpt-5", "flex", 0.5), ("openai", "gpt-5", "priority", 2), ("openai", "gpt-5", "fast", 2),
    ("openai", "gpt-4o", "priority", 1.7), ("anthropic", "claude-opus-5", "fast", 2), ("openai", "gpt-5", "default", 1),
    ("openai", "gpt-5", "unheard-of", 1), ("openai", "gpt-4o", "flex", 1), ("openai", "gpt-5", None, 1),
])  # fmt: skip
def test_a_service_tier_has_its_own_price(source: str, model: str, tier: str | None, times: float) -> None:
    found = price(source, model, NOVEMBER)
    assert found is not None
    usage = Usage(input_tokens=1000, output_tokens=3000, cache_read_tokens=200)
    assert found.at(tier).cost(usage) == found.cost(usage) * times


def test_at_any_service_tier_a_call_costs_at_most_what_the_dearest_one_does() -> None:
    found = price("openai", "gpt-5", NOVEMBER)
    assert found is not None
    most = [one.most(1000, caching=True, hears=True, speaks=True).nano(500)
            for one in (found.dearest, found.at("priority"), found) if one is not None]  # fmt: skip
    assert most[0] == most[1] == 2 * most[2]
    own = own_price({"input": Decimal(1), "output": Decimal(2)})
    assert (own.at("priority"), own.dearest) == (own, None)


rate = st.integers(0, 100)
tiers = st.dictionaries(
    st.sampled_from([0, 100, 500]),
    st.builds(Rates, above=st.just(0), input=rate, output=rate, cache_read=rate, cache_write=rate, cache_write_1h=rate,
              input_audio=rate, output_audio=rate, reasoning=st.none() | rate, call=rate),
    min_size=1,
).map(lambda found: Price(tuple(
    replace(rates, above=above if place else 0) for place, (above, rates) in enumerate(sorted(found.items()))
)))  # fmt: skip


@given(
    tiers,
    st.dictionaries(st.sampled_from(["flex", "fast"]), tiers, min_size=1),
    st.integers(0, 1000),
    *[st.booleans()] * 3,
)
def test_the_dearest_price_is_the_most_of_all_service_tiers(
    usual: Price, others: dict[str, Price], tokens: int, caching: bool, hears: bool, speaks: bool
) -> None:
    flags = {"caching": caching, "hears": hears, "speaks": speaks}
    found = with_service_tiers(usual, others)
    assert found.dearest is not None
    every = [one.most(tokens, **flags) for one in (usual, *others.values())]
    most = found.dearest.most(tokens, **flags)
    assert most.output == max(one.output for one in every)
    assert max(one.fixed for one in every) <= most.fixed


@given(tiers, st.data())
def test_no_call_costs_more_than_its_most(found: Price, data: st.DataObject) -> None:
    count = st.integers(0, 1000)
    usage = Usage(input_tokens=data.draw(count), output_tokens=data.draw(count))
    usage.cache_read_tokens = data.draw(st.integers(0, usage.input_tokens))
    usage.reasoning_tokens = data.draw(st.integers(0, usage.output_tokens))
    most = found.most(usage.input_tokens, caching=False, hears=False, speaks=False)
    assert found.cost(usage) <= most.nano(usage.output_tokens)


def test_a_price_of_ones_own() -> None:
    found = own_price({"input": Decimal("2.5"), "output": Decimal(10), "cache_write": Decimal(3)})
    assert found.cost(Usage(input_tokens=11, output_tokens=7)) == 97_500
    (rates,) = found.tiers
    assert (rates.cache_read, rates.cache_write, rates.cache_write_1h) == (2_500_000, 3_000_000, 3_000_000)
    assert (rates.input_audio, rates.output_audio) == (2_500_000, 10_000_000)
    assert own_price({"input": Decimal("0.0000001"), "output": Decimal(0)}).tiers[0].input == 1, "never rounded to free"


def test_free_output_has_no_limit() -> None:
    free = own_price({"input": Decimal(1), "output": Decimal(0)})
    most = free.most(10, caching=False, hears=False, speaks=False)
    assert (most.output_for(10_000), most.output_for(9999)) == (None, -1)
    assert most.nano(10**9) == 10_000

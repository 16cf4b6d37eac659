"""Costs are exact integers."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ailink_provider.chat import Usage
from ailink_provider.prices import Price, Rates, price

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

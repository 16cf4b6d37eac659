"""What a call costs: integer arithmetic over rates that are looked up once a model and hour.

Rates come from the ``genai-prices`` package (USD per million tokens). They are held in pico-dollars a token, exact
for every published price; a cost is rounded once, to nano-dollars. An unknown price is None, never zero.
"""

from datetime import UTC, datetime
from decimal import Decimal
from functools import lru_cache
from typing import Any

from msgspec import Struct

from ailink_provider.chat import Usage

_PICO_A_TOKEN = 1_000_000  # one USD per million tokens, in pico-dollars a token
_HOUR = 3600


class Rates(Struct, frozen=True):
    """Pico-dollars a token. ``above`` is the number of input tokens from which (exclusively) they hold."""

    above: int
    input: int
    output: int
    cache_read: int
    cache_write: int
    cache_write_1h: int
    input_audio: int
    output_audio: int


class Price(Struct, frozen=True):
    """A model's price: its tiers, cheapest threshold first. Crossing a threshold reprices the whole call."""

    tiers: tuple[Rates, ...]

    def cost(self, usage: Usage) -> int:
        """Return what ``usage`` costs, in nano-dollars, rounded half up."""
        rates = self.tiers[0]
        for tier in self.tiers[1:]:
            if usage.input_tokens > tier.above:
                rates = tier
        written = usage.cache_write_tokens
        written_1h = min(usage.cache_write_1h_tokens, written)
        plain = usage.input_tokens - usage.cache_read_tokens - written - usage.input_audio_tokens
        pico = (
            max(plain, 0) * rates.input
            + usage.cache_read_tokens * rates.cache_read
            + (written - written_1h) * rates.cache_write
            + written_1h * rates.cache_write_1h
            + usage.input_audio_tokens * rates.input_audio
            + max(usage.output_tokens - usage.output_audio_tokens, 0) * rates.output
            + usage.output_audio_tokens * rates.output_audio
        )
        return (pico + 500) // 1000


def price(source: str, model: str, now: float) -> Price | None:
    """Return the price of ``model``, or None if it is not known.

    Args:
        source: the provider's name in genai-prices ("" knows no price).
        model: the model's name, bare or with a vendor prefix.
        now: Unix seconds; some prices depend on the date and the time of day.
    """
    return _price(source, model, int(now // _HOUR)) if source else None


def warm() -> None:
    """Load the price table (about 0.2 s), so that no request waits for it."""
    _price("openai", "gpt-4o", 0)


@lru_cache(maxsize=4096)
def _price(source: str, model: str, hour: int) -> Price | None:
    from genai_prices.data_snapshot import get_snapshot  # 160 ms: paid by whoever needs a price, not at start

    for name in dict.fromkeys((model, model.rpartition("/")[2])):
        try:
            _, found = get_snapshot().find_provider_model(name, None, source, None)
        except LookupError:
            continue
        return _compile(found.get_prices(datetime.fromtimestamp(hour * _HOUR, UTC)))
    return None


def _compile(prices: Any) -> Price | None:
    if prices.input_mtok is None and prices.output_mtok is None:
        return None
    thresholds = {0}
    for value in vars(prices).values():
        thresholds.update(tier.start for tier in getattr(value, "tiers", ()))
    return Price(tuple(_rates(prices, threshold) for threshold in sorted(thresholds)))


def _rates(prices: Any, above: int) -> Rates:
    def rate(*names: str) -> int:
        for name in names:
            value = getattr(prices, name)
            if value is not None:
                reached = [tier.price for tier in getattr(value, "tiers", ()) if tier.start <= above]
                return int(Decimal(reached[-1] if reached else getattr(value, "base", value)) * _PICO_A_TOKEN)
        return 0

    return Rates(
        above=above,
        input=rate("input_mtok"),
        output=rate("output_mtok"),
        cache_read=rate("cache_read_mtok", "input_mtok"),
        cache_write=rate("cache_write_mtok", "input_mtok"),
        cache_write_1h=rate("cache_write_1h_mtok", "cache_write_mtok", "input_mtok"),
        input_audio=rate("input_audio_mtok", "input_mtok"),
        output_audio=rate("output_audio_mtok", "output_mtok"),
    )

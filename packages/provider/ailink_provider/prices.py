"""What a call costs, and the most that it may: integer arithmetic over rates that are looked up once a model and hour.

Rates come from the ``genai-prices`` package (USD per million tokens), or from whoever has prices of their own. They are
held in pico-dollars a token, exact for every published price that is no third or the like; a cost is rounded once, to
nano-dollars. An unknown price is None, never zero.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import ROUND_CEILING, Decimal
from functools import lru_cache
from typing import Any

from msgspec import Struct

from ailink_provider.chat import Usage

_PICO_A_TOKEN = 1_000_000  # one USD per million tokens, in pico-dollars a token
_PICO_A_CALL = 1_000_000_000  # one USD per thousand calls, in pico-dollars a call
HOUR = 3600
_NANO = 1000  # pico-dollars
_SERVICE_TIER_KEYS = ("service_tier", "speed")  # what the vendors call it

# What a price of one's own may say, in USD per million tokens; which kind stands in for one that it leaves out.
KINDS: Mapping[str, str | None] = {
    "input": None,
    "output": None,
    "cache_read": "input",
    "cache_write": "input",
    "cache_write_1h": "cache_write",
    "input_audio": "input",
    "output_audio": "output",
}


class Rates(Struct, frozen=True):
    """Pico-dollars a token. ``above`` is the number of input tokens from which (exclusively) they hold.

    ``reasoning`` is None where thoughts cost what other output does; ``call`` is what each call costs beside its
    tokens.
    """

    above: int
    input: int
    output: int
    cache_read: int
    cache_write: int
    cache_write_1h: int
    input_audio: int
    output_audio: int
    reasoning: int | None = None
    call: int = 0


class Most(Struct, frozen=True):
    """The most that a call costs: ``fixed`` for all but its output, and ``output`` for each token of that. In
    pico-dollars.
    """

    fixed: int
    output: int

    def nano(self, output_tokens: int) -> int:
        """Return what it costs with so many tokens of output, in nano-dollars, rounded up."""
        return -(-(self.fixed + output_tokens * self.output) // _NANO)

    def output_for(self, nano: int) -> int | None:
        """Return how many tokens of output ``nano`` nano-dollars pay for beside the rest: negative if not even that,
        None if any number, as they are free.
        """
        left = nano * _NANO - self.fixed
        if self.output == 0:
            return None if left >= 0 else -1
        return left // self.output


class Price(Struct, frozen=True):
    """A model's price: its tiers, cheapest threshold first. Crossing a threshold reprices the whole call.

    ``service_tiers`` are its prices where it is served otherwise than usual ("flex", "priority", "fast"), as published,
    and ``dearest`` is what ``most`` is asked of where any of them may serve a call.
    """

    tiers: tuple[Rates, ...]
    service_tiers: Mapping[str, "Price"] = {}
    dearest: "Price | None" = None

    def at(self, service_tier: str | None) -> "Price":
        """Return the price at a service tier: this one where none of its own is known."""
        return self.service_tiers.get(service_tier or "", self)

    def cost(self, usage: Usage) -> int:
        """Return what ``usage`` costs, in nano-dollars, rounded half up."""
        rates = self.tiers[0]
        if len(self.tiers) > 1:
            for tier in self.tiers:
                if usage.input_tokens > tier.above:
                    rates = tier
        plain, spoken = usage.input_tokens, usage.output_tokens
        pico = rates.call
        if read := usage.cache_read_tokens:
            plain -= read
            pico += read * rates.cache_read
        if written := usage.cache_write_tokens:
            plain -= written
            for_an_hour = min(usage.cache_write_1h_tokens, written)
            pico += (written - for_an_hour) * rates.cache_write + for_an_hour * rates.cache_write_1h
        if heard := usage.input_audio_tokens:
            plain -= heard
            pico += heard * rates.input_audio
        if sound := usage.output_audio_tokens:
            spoken -= sound
            pico += sound * rates.output_audio
        if rates.reasoning is not None and usage.reasoning_tokens:
            thought = min(usage.reasoning_tokens, usage.output_tokens)
            spoken -= thought
            pico += thought * rates.reasoning
        pico += max(plain, 0) * rates.input + max(spoken, 0) * rates.output
        return (pico + _NANO // 2) // _NANO

    def most(self, input_tokens: int, *, caching: bool, hears: bool, speaks: bool) -> "Most":
        """Return what a call costs at most that has so many tokens of input.

        Args:
            caching, hears, speaks: whether input may be written to a cache, or be sound; whether sound may come back.
        """
        if len(self.tiers) == 1 and not (caching or hears or speaks):  # nearly always
            [rates] = self.tiers
            dearest = max(rates.input, rates.cache_read)
            return Most(rates.call + input_tokens * dearest, max(rates.output, rates.reasoning or 0))
        input_rate = output_rate = call = 0
        for rates in self.tiers:
            if rates.above and rates.above >= input_tokens:
                continue  # so many tokens cannot come to be
            input_rate = max(input_rate, rates.input, rates.cache_read)
            output_rate = max(output_rate, rates.output, rates.reasoning or 0)
            call = max(call, rates.call)
            if caching:
                input_rate = max(input_rate, rates.cache_write, rates.cache_write_1h)
            if hears:
                input_rate = max(input_rate, rates.input_audio)
            if speaks:
                output_rate = max(output_rate, rates.output_audio)
        return Most(call + input_tokens * input_rate, output_rate)


def own_price(usd: Mapping[str, Decimal]) -> Price:
    """Return the price that ``usd`` says in USD per million tokens, by ``KINDS``; ``input`` and ``output`` at least.

    Fractions of a pico-dollar a token are rounded up.
    """
    rates: dict[str, int] = {}
    for kind, instead in KINDS.items():
        value = usd.get(kind)
        if value is not None:
            rates[kind] = int((value * _PICO_A_TOKEN).to_integral_value(ROUND_CEILING))
        else:
            assert instead is not None  # input and output are there
            rates[kind] = rates[instead]
    return Price((Rates(above=0, **rates),))


def with_service_tiers(usual: Price, others: Mapping[str, Price]) -> Price:
    """Return the price of a model that is served at other tiers, too, by their names."""
    return Price(usual.tiers, others, _dearest([usual, *others.values()])) if others else usual


def _dearest(every: list[Price]) -> Price:
    """Return what is, from each threshold on, the highest of every rate."""
    tiers: list[Rates] = []
    for above in sorted({rates.above for one in every for rates in one.tiers}):
        there = [[rates for rates in one.tiers if rates.above <= above][-1] for one in every]
        highest = {name: max(getattr(rates, name) or 0 for rates in there) for name in Rates.__struct_fields__}
        tiers.append(Rates(**{**highest, "above": above}))
    return Price(tuple(tiers))


def price(source: str, model: str, now: float) -> Price | None:
    """Return the price of ``model``, or None if it is not known.

    Args:
        source: the provider's name in genai-prices ("" knows no price).
        model: the model's name, bare or with a vendor prefix.
        now: Unix seconds; some prices depend on the date and the time of day.
    """
    return price_in_hour(source, model, int(now // HOUR))


def warm() -> None:
    """Load the price table (about 0.2 s), so that no request waits for it."""
    price_in_hour("openai", "gpt-4o", 0)


@lru_cache(maxsize=4096)
def price_in_hour(source: str, model: str, hour: int) -> Price | None:
    """Return what ``price`` does, for an hour that is counted from 1970."""
    if not source:
        return None
    from genai_prices.data_snapshot import get_snapshot  # 160 ms: paid by whoever needs a price, not at start

    for name in dict.fromkeys((model, model.rpartition("/")[2])):
        try:
            _, found = get_snapshot().find_provider_model(name, None, source, None)
        except LookupError:
            continue
        return _priced(found, datetime.fromtimestamp(hour * HOUR, UTC))
    return None


def _priced(found: Any, at: datetime) -> Price | None:
    usual = _compile(found.get_prices(at))
    if usual is None:
        return None
    variants = [variant.when for variant in found.price_variants or ()]
    names = {when[key] for when in variants for key in _SERVICE_TIER_KEYS if key in when}
    compiled = {name: _compile(found.get_prices(at, dict.fromkeys(_SERVICE_TIER_KEYS, name))) for name in names}
    return with_service_tiers(usual, {name: other for name, other in compiled.items() if other not in (None, usual)})


def _compile(prices: Any) -> Price | None:
    if prices.input_mtok is None and prices.output_mtok is None:
        return None
    thresholds = {0}
    for value in vars(prices).values():
        thresholds.update(tier.start for tier in getattr(value, "tiers", ()))
    return Price(tuple(_rates(prices, threshold) for threshold in sorted(thresholds)))


def _rates(prices: Any, above: int) -> Rates:
    def rate(*names: str, unit: int = _PICO_A_TOKEN) -> int:
        for name in names:
            value = getattr(prices, name)
            if value is not None:
                reached = [tier.price for tier in getattr(value, "tiers", ()) if tier.start <= above]
                usd = Decimal(reached[-1] if reached else getattr(value, "base", value))
                return int((usd * unit).to_integral_value())  # some have a float's noise: 0.1299999...
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
        reasoning=rate("output_reasoning_mtok") if prices.output_reasoning_mtok is not None else None,
        call=rate("requests_kcount", unit=_PICO_A_CALL),
    )

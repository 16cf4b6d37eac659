"""What a call is charged: its true cost, or what was held for it where nobody knows that. Pure."""

from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec.structs import astuple

from ailink_gateway.exchange import Exchange
from ailink_gateway.record import COST_LIMIT, COUNT_LIMIT
from ailink_provider.chat import Usage

BUDGET_EXCEEDED = "Budget exceeded. Request would exceed spending limit."
FREE = frozenset({"count_tokens"})

# Answers of something in front of the upstream, which may go on regardless; all other refusals cost nothing.
IN_DOUBT = frozenset({408, 499, 502, 504, *range(520, 529), 530})

# Service tiers that a request may ask for: those that never cost more than usual, those that may be what the account
# with the vendor has, and those that cost more. What other names cost, only a price list can say.
CHEAP = frozenset({"default", "flex", "standard", "standard_only"})
USUAL = CHEAP | {None, "auto"}
DEAR = frozenset({"auto", "fast", "priority"})
_TIER_FIELDS = ("service_tier", "serviceTier", "speed")
_none_stands_in = frozenset(_TIER_FIELDS).isdisjoint
_LONGEST = 32  # characters of a name that may be anything
_any = msgspec.json.Decoder(Any)


def asked_tier(members: Mapping[str, msgspec.Raw]) -> str | None:
    """Return the service tier that a request asks for, the dear one if it asks for two; None if it does not say."""
    if _none_stands_in(members):  # nearly always
        return None
    words = [_any.decode(members[field]) for field in _TIER_FIELDS if field in members]
    tiers = [word.lower()[:_LONGEST] for word in words if isinstance(word, str)]
    return next((tier for tier in tiers if tier not in USUAL), tiers[0] if tiers else None)


def plausible(usage: Usage) -> Usage:
    """Return usage in which every count can be stored: an upstream may say anything, and one row that the store refuses
    would hold up all behind it.
    """
    counts = astuple(usage)
    if min(counts) >= 0 and max(counts) <= COUNT_LIMIT:
        return usage
    return Usage(*(min(max(count, 0), COUNT_LIMIT) for count in counts))


def charge(exchange: Exchange) -> int | None:
    """Return what an exchange is charged as far as it came, in nano-dollars; None if it has no cost that is known.

    An attempt that was sent and brought no usage counts for what was held for it, whichever attempt it was.
    """
    if exchange.route.operation in FREE:
        return None
    usage = None if exchange.measured.usage is None else plausible(exchange.measured.usage)
    held, target = exchange.held_nano, exchange.target
    cost = None
    if exchange.outstanding and held is not None:
        cost = held
    elif target is not None and usage is not None:
        price = target.price(exchange.created_at)
        cost = price.at(_served_at(exchange)).cost(usage) if price is not None else None
    if exchange.lost_nano:
        cost = (cost or 0) + exchange.lost_nano
    return None if cost is None else min(cost, COST_LIMIT)


def _served_at(exchange: Exchange) -> str | None:
    """Return the service tier that answered. Where nobody says so, one that costs less is not believed in."""
    if (told := exchange.measured.service_tier) is not None:
        return told
    asked = asked_tier(exchange.members)
    return asked if asked in DEAR else None

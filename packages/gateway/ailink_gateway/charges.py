"""What a call is charged: its true cost, or what was held for it where nobody knows that. Pure."""

from ailink_gateway.exchange import Exchange
from ailink_gateway.record import COST_LIMIT
from ailink_provider.chat import Usage

FREE = frozenset({"count_tokens"})

# Answers of something in front of the upstream, which may go on regardless; all other refusals cost nothing.
IN_DOUBT = frozenset({408, 499, 502, 504, *range(520, 529), 530})


def charge(exchange: Exchange, usage: Usage | None) -> int | None:
    """Return what an exchange is charged as far as it came, in nano-dollars; None if it has no cost that is known.

    An attempt that was sent and brought no usage counts for what was held for it, whichever attempt it was.
    """
    held, target = exchange.held_nano, exchange.target
    cost = None
    if exchange.outstanding and held is not None:
        cost = held
    elif target is not None and usage is not None:
        price = target.price(exchange.created_at)
        cost = price.cost(usage) if price is not None else None
    if exchange.lost_nano:
        cost = (cost or 0) + exchange.lost_nano
    return None if cost is None else min(cost, COST_LIMIT)

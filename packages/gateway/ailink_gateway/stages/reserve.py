"""Reserve: holds what a call may cost at most, before it is made, where a budget applies. Its record settles it.

Without a budget nothing is computed here. Where settled spend leaves too little, the limit of the output is lowered;
nothing else of a request is ever changed, and nothing at all of an approved one.
"""

import asyncio
from collections.abc import Awaitable

from ailink_gateway.bound import DEFAULT_OUTPUT, Claim, limit_output
from ailink_gateway.charges import FREE, charge
from ailink_gateway.exchange import Exchange, Reply
from ailink_gateway.grant import Grant
from ailink_gateway.ports import Ledger
from ailink_gateway.routes import match
from ailink_gateway.stages import Proceed
from ailink_provider.errors import Failure

WAIT_SECONDS = 30.0
_REMAINING = {kind: b"x-ailink-budget-remaining-%s-usd" % kind.encode() for kind in ("daily", "monthly", "lifetime")}


class Reserve:
    """Needs the ledger."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def __call__(self, exchange: Exchange, proceed: Proceed) -> Awaitable[Reply]:
        grant = exchange.grant
        assert grant is not None  # Authenticate stands before this stage
        if not exchange.caps and not self._ledger.limited(grant.token_id, grant.project_id):
            return proceed(exchange)
        return self._within_budget(exchange, proceed, grant)

    async def _within_budget(self, exchange: Exchange, proceed: Proceed, grant: Grant) -> Reply:
        streamed = False
        try:
            if exchange.route.kind != "model":
                _refuse_unpriced_path(exchange)
            elif exchange.route.operation not in FREE:
                claim = _claim(exchange)
                limit = DEFAULT_OUTPUT if claim.sends_default else claim.asked.limit
                most = claim.most(limit)
                payers = grant.token_id, grant.project_id
                if self._ledger.reserve_at_once(exchange.id, *payers, exchange.created_at, most, exchange.caps):
                    exchange.held_nano = most
                else:
                    await self._reserve(exchange, grant, claim, most)
                if claim.sends_default or exchange.held_nano != most:
                    _limit(exchange, claim, lowered=exchange.held_nano != most)
            reply = await proceed(exchange)
            streamed = not isinstance(reply.body, bytes)
            if not streamed:
                exchange.cost_nano = charge(exchange)
            return reply
        finally:
            own = exchange.held_nano if streamed else exchange.cost_nano or charge(exchange)
            left = self._ledger.remaining(grant.token_id, grant.project_id, exchange.created_at, exchange.caps)
            for period, nano in left.items():
                exchange.response_headers.append((_REMAINING[period], _usd(max(nano - (own or 0), 0))))

    async def _reserve(self, exchange: Exchange, grant: Grant, claim: Claim, most: int) -> None:
        """Hold as much of ``most`` as there is, once there is room."""
        until = asyncio.get_running_loop().time() + WAIT_SECONDS
        try:
            exchange.held_nano = await self._ledger.reserve(
                exchange.id,
                grant.token_id,
                grant.project_id,
                exchange.created_at,
                least=min(most, claim.most(claim.least_limit)) if claim.where is not None else most,
                most=most,
                until=until if exchange.deadline is None else min(until, exchange.deadline),
                caps=exchange.caps,
            )
        except Failure as failure:
            if failure.policy_name is not None:
                exchange.policy_result, exchange.policy_name = "deny", failure.policy_name
            raise


def _claim(exchange: Exchange) -> Claim:
    """Return what a call may cost, and leave it the targets whose price is known. Raises ``Failure`` if there is none.
    """
    claim = Claim(exchange)
    if exchange.approval_id is not None:
        claim.where = None  # what was approved is sent as it is
    exchange.targets = claim.targets
    if not exchange.targets:
        raise _price_unknown(
            f"A budget applies, and the price of {exchange.model!r} is not known: "
            "set one under /api/v1/prices, or unknown_price in the config.",
            "model",
        )
    if "models" in exchange.members:
        raise _price_unknown("A budget applies, so a list of `models` to fall back to cannot be priced: send `model`.",
                             "models")  # fmt: skip
    return claim


def _limit(exchange: Exchange, claim: Claim, *, lowered: bool) -> None:
    """Send a limit of the output, and say so: what the budget pays for, or the default."""
    if claim.where is None:
        return
    assert exchange.held_nano is not None
    if lowered:
        limit = claim.limit_for(exchange.held_nano)
        why = f"lowered to {limit}, as the budget pays for no more"
    else:
        limit = DEFAULT_OUTPUT
        why = f"set to {limit}, as a budget applies and the model's own limit is not known"
    exchange.warnings.append(f"{limit_output(exchange, claim.where, limit)}: {why}")


def _refuse_unpriced_path(exchange: Exchange) -> None:
    """Raise ``Failure`` for a path on a vendor's host that is no model's route. Other APIs cost nothing."""
    upstream = exchange.targets[0].upstream
    listing = match(exchange.method, exchange.raw_path.decode("latin-1"), b"").kind == "models"
    if upstream.provider is not None and not upstream.generic and not listing:
        raise _price_unknown(f"A budget applies, and the price of {exchange.path[:128]} is not known.", "path")


def _price_unknown(message: str, param: str) -> Failure:
    return Failure("budget_exceeded", message, param=param, reason="price_unknown")


def _usd(nano: int) -> bytes:
    return b"%d.%09d" % divmod(nano, 1_000_000_000)

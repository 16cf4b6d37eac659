"""Reserve: holds what a call may cost at most, before it is made, where a budget applies. Its record settles it.

Without a budget nothing is computed here. Where settled spend leaves too little, the limit of the output is lowered;
nothing else of a request is ever changed, and nothing at all of an approved one.
"""

import asyncio
from collections.abc import Awaitable

from ailink_gateway.bound import DEFAULT_OUTPUT, Claim, limit_output
from ailink_gateway.charges import FREE, billed, charge
from ailink_gateway.exchange import Exchange, Headers, Reply
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
                await self._reserve(exchange, grant)
            reply = await proceed(exchange)
            streamed = not isinstance(reply.body, bytes)
            return reply
        finally:
            exchange.response_headers.extend(self._headers(exchange, grant, streamed))

    async def _reserve(self, exchange: Exchange, grant: Grant) -> None:
        claim = Claim(exchange)
        _leave_out_unpriced(exchange, claim)
        where = claim.where if exchange.approval_id is None else None
        limit = claim.asked.limit
        if claim.sends_default:
            limit = DEFAULT_OUTPUT
        granted = most = claim.most(limit)
        who = exchange.id, grant.token_id, grant.project_id, exchange.created_at
        if not self._ledger.reserve_at_once(*who, most, exchange.caps):
            until = asyncio.get_running_loop().time() + WAIT_SECONDS
            try:
                granted = await self._ledger.reserve(
                    *who,
                    least=most if where is None else min(most, claim.most(claim.least_limit)),
                    most=most,
                    until=until if exchange.deadline is None else min(until, exchange.deadline),
                    caps=exchange.caps,
                )
            except Failure as failure:
                if failure.policy_name is not None:
                    exchange.policy_result, exchange.policy_name = "deny", failure.policy_name
                raise
        exchange.held_nano = granted
        if where is None:
            return
        if granted < most:
            limit = claim.limit_for(granted)
            name = limit_output(exchange, where, limit)
            exchange.warnings.append(f"{name}: lowered to {limit}, as the budget pays for no more")
        elif claim.sends_default:
            name = limit_output(exchange, where, DEFAULT_OUTPUT)
            exchange.warnings.append(
                f"{name}: set to {DEFAULT_OUTPUT}, as a budget applies and the model's own limit is not known"
            )

    def _headers(self, exchange: Exchange, grant: Grant, streamed: bool) -> Headers:
        own = exchange.held_nano or 0
        if not streamed and exchange.held_nano is not None:
            exchange.cost_nano = charge(exchange, billed(exchange))
            own = exchange.cost_nano or 0
        left = self._ledger.remaining(grant.token_id, grant.project_id, exchange.created_at, exchange.caps)
        return [(_REMAINING[kind], _usd(max(nano - own, 0))) for kind, nano in left.items()]


def _leave_out_unpriced(exchange: Exchange, claim: Claim) -> None:
    """Keep the targets whose price is known. Raises ``Failure`` if there is none."""
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

"""Attempt: tries the targets in their order until one answers. Nothing is repeated once an answer has begun."""

from ailink_gateway.exchange import Exchange, Reply
from ailink_gateway.stages import Proceed
from ailink_provider.errors import Failure


class Attempt:
    """Fails over on what another upstream may cure; any other failure is the client's to see."""

    async def __call__(self, exchange: Exchange, proceed: Proceed) -> Reply:
        last: Failure | None = None
        for target in exchange.targets:
            exchange.target = target
            exchange.attempts += 1
            try:
                return await proceed(exchange)
            except Failure as failure:
                last = failure
                if not failure.retryable:
                    raise
        if last is None or len(exchange.targets) > 1:
            retry_after = last.retry_after if last is not None else None
            raise Failure("all_upstreams_unavailable", "All providers unavailable", retry_after=retry_after) from last
        raise last

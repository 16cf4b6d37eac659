"""What happens to a request, in order. Each stage is one file in ``stages``; to answer early is not to call
``proceed``.

Record         time it, deliver it, write one record: exactly once, whatever happens below
Authenticate   who calls
Admit          rate and concurrency limits
Replay         idempotency: a stored answer, a conflict, or a durable claim before any side effect
Choose         model -> ordered targets; restrictions are checked on what was resolved
Govern         policies: deny, limit, rewrite, route, tag, ask for approval; replies, too
Hold           approvals: wait, or 202 now; what is approved is sent once, and nothing changes it after
Reserve        hold what it may cost, where a budget applies
Attempt        breaker, retry, failover: before the first event only
Dispatch       translate, send, translate back
"""

from collections.abc import Awaitable, Sequence
from functools import partial
from typing import Protocol

from ailink_gateway.exchange import Exchange, Reply
from ailink_gateway.stages import Proceed
from ailink_gateway.stages.admit import Admit
from ailink_gateway.stages.attempt import Attempt
from ailink_gateway.stages.authenticate import Authenticate
from ailink_gateway.stages.choose import Choose
from ailink_gateway.stages.dispatch import Dispatch
from ailink_gateway.stages.govern import Govern
from ailink_gateway.stages.hold import Hold
from ailink_gateway.stages.record import Record
from ailink_gateway.stages.replay import Replay
from ailink_gateway.stages.reserve import Reserve

STAGES = (Record, Authenticate, Admit, Replay, Choose, Govern, Hold, Reserve, Attempt, Dispatch)


class Stage(Protocol):
    """One verb of the pipeline. Raises ``Failure`` for what the client should be told."""

    def __call__(self, exchange: Exchange, proceed: Proceed) -> Awaitable[Reply]:
        """Return the reply of this exchange, its own or the one that ``proceed`` brings."""


def compose(stages: Sequence[Stage]) -> Proceed:
    """Return one callable that runs ``stages`` from the first inwards. The last one never proceeds."""

    async def end(exchange: Exchange) -> Reply:
        raise AssertionError(f"the last stage proceeded with {exchange.id}")

    proceed: Proceed = end
    for stage in reversed(stages):
        proceed = partial(stage, proceed=proceed)
    return proceed

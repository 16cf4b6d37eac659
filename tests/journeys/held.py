"""`ailink` with a stage that stands in for policies: of the tokens that a file names, every call needs approval.

The file is the one that HELD_TOKENS names: {token's name: {policy_name, rule, timeout_seconds, notify}}.
"""

import json
import os
from collections.abc import Sequence
from pathlib import Path

from ailink_gateway import app, cli, pipeline
from ailink_gateway.exchange import Exchange, Reply
from ailink_gateway.pipeline import Stage
from ailink_gateway.stages import Proceed
from ailink_gateway.stages.hold import Hold


async def needs_approval(exchange: Exchange, proceed: Proceed) -> Reply:
    assert exchange.grant is not None
    need = json.loads(Path(os.environ["HELD_TOKENS"]).read_text()).get(exchange.grant.token_name)
    if need is not None and (need["policy_name"], need["rule"]) not in exchange.approved_rules:
        exchange.approvals_needed.append(need)
    return await proceed(exchange)


def compose(stages: Sequence[Stage]) -> Proceed:
    before = [type(stage) for stage in stages].index(Hold)
    return pipeline.compose([*stages[:before], needs_approval, *stages[before:]])


if __name__ == "__main__":
    app.compose = compose  # type: ignore[attr-defined]
    cli.main()

"""Measures what policies cost: microseconds a call for two policies of five rules each, beside a token without any.

The stage alone is measured, between a call that is chosen and one that is sent; nothing is sent. Medians of rounds, in
processor time.
"""

import asyncio
import statistics
import time
from typing import Any

import msgspec

from ailink_gateway import routes
from ailink_gateway.backends.limiter import MemoryLimiter
from ailink_gateway.backends.upstreams import upstream
from ailink_gateway.envelope import read_members
from ailink_gateway.exchange import Exchange, Reply
from ailink_gateway.grant import Grant, Snapshot, Target
from ailink_gateway.policy.compiled import gather
from ailink_gateway.policy.compiler import compile_policy
from ailink_gateway.ports import Spent
from ailink_gateway.stages.govern import Govern
from ailink_gateway.targets import Resolver
from ailink_provider.builtin import providers
from ailink_provider.catalog import facts
from ailink_provider.transport import Guard, Transport

CALLS, ROUNDS = 5_000, 7

OF_PROJECT: list[dict[str, Any]] = [
    {"type": "methods", "allow": ["GET", "POST"]},
    {"type": "paths", "deny": ["/v1/admin*", "*/keys"]},
    {"type": "models", "allow": ["gpt-*", "claude-*"]},
    {"type": "rate_limit", "window": "1m", "max_requests": 1_000_000_000},
    {"when": {"field": "context.time.hour", "op": "lt", "value": 0}, "then": {"type": "deny"}},
]
OF_TOKEN: list[dict[str, Any]] = [
    {"when": {"field": "agent.name", "op": "in", "value": ["intern", "test"]}, "then": {"type": "deny"}},
    {"when": {"field": "request.body.max_tokens", "op": "gt", "value": 4096}, "then": {"type": "deny"}},
    {
        "when": {"all": [
            {"field": "request.headers.x-team", "op": "exists"},
            {"field": "request.path", "op": "glob", "value": "/v1/*"},
        ]},
        "then": {"type": "tag", "key": "team", "value": "known"},
    },
    {"when": {"field": "usage.spend_today_usd", "op": "gte", "value": 50}, "then": {"type": "deny"}},
    {"type": "tag", "key": "cost-center", "value": "4711"},
]  # fmt: skip
READS_BODY: list[dict[str, Any]] = [
    {"when": {"field": "request.body.messages[*].content", "op": "regex", "value": "(?i)secret"},
        "then": {"type": "deny"}}
]
REWRITES: list[dict[str, Any]] = [{"type": "override", "set_body_fields": {"temperature": 0}}]


class Books:
    """A ledger with nothing in it."""

    def spent(self, scope: str, scope_id: str) -> Spent | None:
        """Return nothing."""
        return None


async def measure(policies: list[list[dict[str, Any]]]) -> float:
    """Return microseconds a call, the median of rounds."""
    transport = Transport(guard=Guard())
    provider = providers()["openai"]
    target = Target(upstream(provider, str(provider.base_url), transport, None), "gpt-4o", facts("gpt-4o"))
    compiled = [
        compile_policy({"name": f"p{number}", "rules": rules}, policy_id=f"p{number}") for number,
            rules in enumerate(policies)
    ]
    grant = Grant("tok_1", "bench", "default", policies=gather(compiled[:1], compiled[1:]))
    govern = Govern(MemoryLimiter(), Resolver(Snapshot()), transport, ledger=Books())
    body = msgspec.json.encode({
        "model": "gpt-4o", "max_tokens": 100,
        "messages": [{"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Say hello to them. " * 20}],
    })  # fmt: skip
    members = read_members(body)
    path = "/v1/chat/completions"
    scope = {
        "method": "POST", "path": path, "raw_path": path.encode(), "query_string": b"", "client": ("127.0.0.1", 1),
        "headers": [(b"content-type", b"application/json"), (b"x-ailink-agent-name", b"bot"), (b"x-team", b"a")],
    }  # fmt: skip
    route = routes.match("POST", path, b"")
    reply = Reply(200)

    async def proceed(exchange: Exchange) -> Reply:
        return reply

    rounds = []
    for _ in range(ROUNDS):
        exchanges = []
        for _ in range(CALLS):
            exchange = Exchange.of(scope, None, None, route)  # type: ignore[arg-type]
            exchange.grant, exchange.body, exchange.model = grant, body, "gpt-4o"
            exchange.members, exchange.targets = dict(members), [target]
            exchanges.append(exchange)
        began = time.process_time()
        for exchange in exchanges:
            await govern(exchange, proceed)
        rounds.append((time.process_time() - began) / CALLS * 1e6)
    await transport.close()
    return statistics.median(rounds)


async def main() -> None:
    """Print the table."""
    table: tuple[tuple[str, list[list[dict[str, Any]]]], ...] = (
        ("no policy", []),
        ("2 policies with 5 rules each", [OF_PROJECT, OF_TOKEN]),
        ("the same, and a regex over all messages", [OF_PROJECT, OF_TOKEN, READS_BODY]),
        ("the same, and a field set", [OF_PROJECT, OF_TOKEN, READS_BODY, REWRITES]),
    )
    for name, policies in table:
        print(f"{name:45} {await measure(policies):8.2f} µs")


if __name__ == "__main__":
    asyncio.run(main())

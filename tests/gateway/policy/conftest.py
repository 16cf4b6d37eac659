"""Calls and documents for policies: nothing here has a socket or a store."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from ailink_gateway import routes
from ailink_gateway.backends.limiter import MemoryLimiter
from ailink_gateway.envelope import read_members
from ailink_gateway.exchange import Exchange
from ailink_gateway.grant import Grant, Target, Upstream
from ailink_gateway.policy.compiled import Policy
from ailink_gateway.policy.compiler import compile_policy
from ailink_gateway.policy.facts import Facts
from ailink_gateway.policy.run import Run, Tools
from ailink_gateway.ports import Spent
from ailink_provider.catalog import Facts as ModelFacts

NOON = 1_783_000_000.0  # Thursday, 2 July 2026, 13:46 UTC


@pytest.fixture
def ask(make_upstream: Callable[..., Upstream]) -> Callable[..., Exchange]:
    """Makes the exchange of a call as it reaches the policies. A ``body`` that is no bytes is sent as JSON."""

    def make(
        method: str = "POST", path: str = "/v1/charges", body: Any = b"", headers: dict[str, str] | None = None,
        query: bytes = b"", model: str = "gpt-4o", **grant: Any,
    ) -> Exchange:  # fmt: skip
        named = [(name.lower().encode(), value.encode()) for name, value in (headers or {}).items()]
        if not isinstance(body, bytes):
            body = msgspec.json.encode(body)
            named.append((b"content-type", b"application/json"))

        async def receive() -> Any:
            raise AssertionError

        async def send(message: Any) -> None:
            raise AssertionError

        scope = {
            "method": method, "path": path, "raw_path": path.encode(), "query_string": query, "headers": named,
            "client": ("203.0.113.9", 1),
        }  # fmt: skip
        exchange = Exchange.of(scope, receive, send, routes.match(method, path, query))
        exchange.grant = Grant(**{"token_id": "tok_1", "token_name": "billing", "project_id": "default", **grant})
        exchange.body = body
        if exchange.route.kind == "model":
            exchange.members = read_members(body)
            exchange.model = exchange.route.model or model
            exchange.targets = [Target(make_upstream("openai"), model, ModelFacts())]
            exchange.streaming = bytes(exchange.members.get("stream", b"")) == b"true"
        else:
            exchange.targets = [Target(make_upstream(None, "https://api.example"), "", ModelFacts())]
        return exchange

    return make


@pytest.fixture
def facts_of() -> Callable[..., Facts]:
    """Makes the facts of an exchange, at noon, with what was spent."""

    def make(exchange: Exchange, spent: Spent | None = None) -> Facts:
        return Facts(exchange, lambda scope: spent or Spent(0, 0, 0, 0, 0), clock=lambda: NOON)

    return make


@pytest.fixture
def run_of(facts_of: Callable[..., Facts]) -> Callable[..., Run]:
    """Makes the run of an exchange, with a limiter of its own unless one is given."""

    def make(exchange: Exchange, *, limiter: Any = None, spent: Spent | None = None, **tools: Any) -> Run:
        return Run(exchange, facts_of(exchange, spent), Tools(limiter or MemoryLimiter(), **tools), "enforce")

    return make


@pytest.fixture
def policy_of() -> Callable[..., Policy]:
    """Compiles a policy of these rules."""

    def make(*rules: Any, **fields: Any) -> Policy:
        return compile_policy({"name": "p", "rules": list(rules), **fields})

    return make

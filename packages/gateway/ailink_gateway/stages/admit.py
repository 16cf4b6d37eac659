"""Admit: how many calls a token may make a minute, how many at once, and how many tokens of models it may use a minute.

Who has no token is limited by address. What is counted by policies is not counted here.
"""

import math
import re
from collections.abc import Awaitable
from functools import partial
from typing import Any

import msgspec

from ailink_gateway.exchange import Exchange, Reply
from ailink_gateway.grant import Grant
from ailink_gateway.ports import Limiter, LimitKey, Taken
from ailink_gateway.stages import Proceed
from ailink_provider.chat import Embed
from ailink_provider.errors import Failure

REQUESTS_PER_MINUTE = 600
MINUTE = 60.0
CHARACTERS_A_TOKEN = 4
MEDIUM_TOKENS = 1000  # of an image or a file in the body
MEDIUM_BYTES = 1024  # what is longer, and no text, is one
OUTPUT_TOKENS = 1000  # of a reply, unless the request allows less

# Base64 stands in one string without a space, an escape or any other alphabet.
_MEDIUM = re.compile(rb'(?<=")[^"\\ \x80-\xff]{%d,}(?=")' % (MEDIUM_BYTES + 1))

_OF_REQUESTS = (b"x-ratelimit-limit", b"x-ratelimit-remaining", b"x-ratelimit-reset")
_OF_TOKENS = (b"x-ratelimit-limit-tokens", b"x-ratelimit-remaining-tokens", b"x-ratelimit-reset-tokens")


class _Allowance(msgspec.Struct):
    """Where requests say how long a reply may become."""

    max_tokens: Any = None
    max_completion_tokens: Any = None
    max_output_tokens: Any = None
    generationConfig: Any = None


_ALLOWANCE = msgspec.json.Decoder(_Allowance)


class Admit:
    """Needs the limiter. ``requests_per_minute`` is the limit of those who have none of their own."""

    def __init__(self, limiter: Limiter, requests_per_minute: int = REQUESTS_PER_MINUTE) -> None:
        self._limiter, self._default = limiter, requests_per_minute

    def __call__(self, exchange: Exchange, proceed: Proceed) -> Awaitable[Reply]:
        grant = exchange.grant
        assert grant is not None  # Authenticate stands before this stage
        # What was approved has no client: the one that waits for it, if any, has a place already.
        if grant.concurrent_requests and exchange.resumed is None:
            self._enter(exchange, grant)
        limit = grant.requests_per_minute
        if limit is None:
            limit = 0 if grant.own_rate_limit else self._default
        if limit:
            amount = 0 if _is_counted(exchange) else 1
            taken = self._limiter.take(_key(exchange, grant, "requests"), limit, MINUTE, amount)
            _tell(exchange, limit, taken, _OF_REQUESTS)
            if not taken.allowed:
                raise _refusal("requests_per_minute", taken.reset_seconds)
        if grant.tokens_per_minute and _may_use_tokens(exchange, grant):
            return self._take_tokens(exchange, proceed, grant)
        return proceed(exchange)

    def _enter(self, exchange: Exchange, grant: Grant) -> None:
        key = _key(exchange, grant, "at_once")
        if not self._limiter.enter(key, grant.concurrent_requests):
            raise _refusal("concurrent_requests", 1)
        exchange.endings.append(partial(self._limiter.leave, key))

    async def _take_tokens(self, exchange: Exchange, proceed: Proceed, grant: Grant) -> Reply:
        await exchange.read_body()
        key, limit = _key(exchange, grant, "tokens"), grant.tokens_per_minute
        # One that is estimated at more than the whole limit is let through when nothing else runs: it is an estimate.
        estimated = 0 if _is_counted(exchange) else min(estimate(exchange), limit)
        taken = self._limiter.take(key, limit, MINUTE, estimated)
        _tell(exchange, limit, taken, _OF_TOKENS)
        if not taken.allowed:
            raise _refusal("tokens_per_minute", taken.reset_seconds)
        exchange.endings.append(partial(self._correct, exchange, key, taken.at, estimated))
        return await proceed(exchange)

    def _correct(self, exchange: Exchange, key: LimitKey, at: float, estimated: int) -> None:
        usage = exchange.measured.usage if exchange.route.operation != "count_tokens" else None
        used = usage.input_tokens + usage.output_tokens if usage is not None else 0
        self._limiter.correct(key, MINUTE, at, max(used, 0) - estimated)


def _may_use_tokens(exchange: Exchange, grant: Grant) -> bool:
    """Whether a model may be asked: also by way of a service, though not at an API that owns all paths."""
    if exchange.route.kind != "model":
        return exchange.route.service is not None
    return grant.own is None or not grant.own.generic


def estimate(exchange: Exchange) -> int:
    """Return about how many tokens a call to a model will use, at least 1, which it is for a service's call: it may be
    one or not. Reads no more of it than a length and the limit of its output.
    """
    if exchange.route.kind != "model":
        return 1
    tokens = _input(exchange.body)
    operation = exchange.route.dialect.operations[exchange.route.operation]
    if operation.speaks is not Embed and exchange.route.operation != "count_tokens":
        tokens += _output(exchange.body)
    return max(tokens, 1)


def _input(body: bytes) -> int:
    size, media = len(body), 0
    if size > MEDIUM_BYTES:
        for found in _MEDIUM.finditer(body):
            size -= found.end() - found.start()
            media += 1
    return size // CHARACTERS_A_TOKEN + media * MEDIUM_TOKENS


def _output(body: bytes) -> int:
    try:
        asked = _ALLOWANCE.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return OUTPUT_TOKENS  # whoever reads it next refuses it
    nested = asked.generationConfig.get("maxOutputTokens") if isinstance(asked.generationConfig, dict) else None
    said = (asked.max_tokens, asked.max_completion_tokens, asked.max_output_tokens, nested)
    return min(OUTPUT_TOKENS, *(limit for limit in said if isinstance(limit, int) and limit > 0), OUTPUT_TOKENS)


def _is_counted(exchange: Exchange) -> bool:
    return exchange.resumed is not None and exchange.resumed.is_counted(exchange.created_at, MINUTE)


def _key(exchange: Exchange, grant: Grant, what: str) -> LimitKey:
    if grant.token_id is None:
        return "ip", what, exchange.client_ip
    return "token", what, grant.token_id


def _tell(exchange: Exchange, limit: int, taken: Taken, names: tuple[bytes, bytes, bytes]) -> None:
    exchange.response_headers += (
        (names[0], b"%d" % limit),
        (names[1], b"%d" % taken.remaining),
        (names[2], b"%d" % math.ceil(taken.reset_seconds)),
    )


def _refusal(limit: str, seconds: float) -> Failure:
    return Failure("rate_limit_exceeded", "Rate limit exceeded", reason=limit, retry_after=math.ceil(seconds))

"""The provider that a builder makes: handlers, and around them what keeps an upstream and its callers from harm.

Limits, deadline, breaker and retries go around a completion and around the start of a stream; once a stream has begun
nothing is repeated, and the breaker hears how it ended. It looks into no request and knows no dialect.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable
from dataclasses import dataclass
from dataclasses import replace as changed
from inspect import isawaitable
from time import monotonic, time
from typing import Any, TypeAlias, TypeVar

from msgspec.structs import replace

from ailink_provider.chat import Collector, Event, unfold
from ailink_provider.contain import failure_of
from ailink_provider.endpoint import Endpoint
from ailink_provider.errors import Failure
from ailink_provider.provider import (
    CompletionRequest,
    CompletionResponse,
    CostEstimate,
    HealthCheckResult,
    HealthStatus,
)
from ailink_provider.resilience import CircuitBreaker, CircuitState, RateLimiter, RetryConfig, retry_with_backoff
from ailink_provider.streaming import Piece, as_events, closing

Complete: TypeAlias = Callable[[CompletionRequest], Awaitable[CompletionResponse]]
Stream: TypeAlias = Callable[[CompletionRequest], AsyncIterable[Piece]]
CostEstimator: TypeAlias = Callable[[CompletionRequest], CostEstimate | None]
HealthChecker: TypeAlias = Callable[[], Awaitable[HealthCheckResult]]
T = TypeVar("T")

_ONCE = RetryConfig(max_retries=0)
_REACH_SECONDS = 10.0
# What says that the upstream, or the code that asks it, is down, not that it declined.
_OUTAGES = frozenset(
    {"upstream_failed", "upstream_overloaded", "upstream_timeout", "all_upstreams_unavailable", "internal_error"}
)


@dataclass(frozen=True, slots=True)
class Parts:
    """What a provider is made of. ``complete``, ``stream`` or both are there."""

    name: str
    type: str
    logger: logging.Logger
    capabilities: frozenset[str]
    complete: Complete | None = None
    stream: Stream | None = None
    model: str = ""
    max_tokens: int | None = None
    endpoint: Endpoint | None = None
    limiter: RateLimiter | None = None
    retry: RetryConfig | None = None
    breaker: CircuitBreaker | None = None
    timeout: float | None = None
    cost_estimator: CostEstimator | None = None
    health_checker: HealthChecker | None = None


class BuiltProvider:
    """A ``Provider``. Used as an asynchronous context manager, or closed, it gives its connections back."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        retry = parts.retry or _ONCE
        # A breaker that opens between two attempts has said that there is no point in a third.
        self._retry = changed(retry, retry_if=lambda error: not _is_open(error) and retry.retry_if(error))

    @property
    def name(self) -> str:
        """What routes, logs and records call this instance."""
        return self._parts.name

    @property
    def type(self) -> str:
        """What kind of provider it is."""
        return self._parts.type

    @property
    def model(self) -> str:
        """What a request without a model gets, "" if there is no such default."""
        return self._parts.model

    @property
    def endpoint(self) -> str:
        """The base URL that is called, "" if none is."""
        return self._parts.endpoint.url if self._parts.endpoint is not None else ""

    async def complete(self, request: CompletionRequest) -> CompletionResponse:
        """Return the whole reply. Raises what the handler raised last; ``Failure`` (``upstream_timeout``,
        ``circuit_open``) where it was not let finish, or begin."""
        request = self._filled(request, stream=self._parts.complete is None)
        response = await self._guarded("complete", lambda: self._complete(request))
        self._went_well()
        return response

    async def stream(self, request: CompletionRequest) -> AsyncGenerator[Event, None]:
        """Yield the reply as events; all at once if there is nothing to stream with. Raises as ``complete`` does, and
        the failure of a reply that breaks."""
        request = self._filled(request, stream=self._parts.stream is not None)
        first, rest = await self._guarded("stream", lambda: self._begin(request))
        broken = False
        try:
            async with closing(rest):
                yield first
                async for event in rest:
                    yield event
        except Exception as error:
            broken = True
            self._failed("stream", failure_of(error, self.name).code)
            raise
        finally:
            if not broken:  # one that is left early was going well
                self._went_well()

    async def health_check(self) -> HealthCheckResult:
        """Return what the health checker finds. Without one: whether the breaker is open, else whether the endpoint
        answers at all, without a key and at no cost, else ``UNKNOWN``."""
        parts = self._parts
        if parts.health_checker is not None:
            return await parts.health_checker()
        if parts.breaker is not None and parts.breaker.state is CircuitState.OPEN:
            return HealthCheckResult(HealthStatus.UNHEALTHY, "The circuit is open.", last_checked=time())
        if parts.endpoint is not None:
            return await _reach(parts.endpoint)
        return HealthCheckResult(HealthStatus.UNKNOWN, "There is no health checker and no endpoint.")

    def capabilities(self) -> frozenset[str]:
        """Return what it can be asked for."""
        return self._parts.capabilities

    def supports_streaming(self) -> bool:
        """Whether a stream comes in pieces."""
        return self._parts.stream is not None

    def estimate_cost(self, request: CompletionRequest) -> CostEstimate | None:
        """Return what the cost estimator says, None without one."""
        estimator = self._parts.cost_estimator
        return estimator(self._filled(request, request.stream)) if estimator is not None else None

    async def close(self) -> None:
        """Close the connections that are this provider's own."""
        if self._parts.endpoint is not None:
            await self._parts.endpoint.close()

    async def __aenter__(self) -> "BuiltProvider":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"BuiltProvider({self.name!r}, type={self.type!r}, model={self.model!r}, endpoint={self.endpoint!r})"

    # --- one call --------------------------------------------------------------------------------

    def _filled(self, request: CompletionRequest, stream: bool) -> CompletionRequest:
        return request.replace(
            model=request.model or self._parts.model, stream=stream,
            max_tokens=request.max_tokens if request.max_tokens is not None else self._parts.max_tokens,
        )

    async def _complete(self, request: CompletionRequest) -> CompletionResponse:
        if self._parts.complete is None:
            collector = Collector()
            async with closing(self._events(request)) as events:
                async for event in events:
                    collector.feed(event)
            return CompletionResponse.of(collector.reply)
        made: Any = self._parts.complete(request)
        response = await made if isawaitable(made) else None
        if not isinstance(response, CompletionResponse):
            what = type(made if response is None else response).__name__
            raise Failure(
                "internal_error",
                f"The complete function of {self.name} gave {what}: it must be async and return a CompletionResponse.",
            )
        return response if response.model else CompletionResponse.of(replace(response.reply, model=request.model))

    async def _begin(self, request: CompletionRequest) -> tuple[Event, AsyncGenerator[Event, None]]:
        """Return the first event of a reply and the generator of the others."""
        events = self._events(request)
        return await anext(events), events

    def _events(self, request: CompletionRequest) -> AsyncGenerator[Event, None]:
        if self._parts.stream is None:
            return self._unfolded(request)
        return as_events(self._parts.stream(request), request.model)

    async def _unfolded(self, request: CompletionRequest) -> AsyncGenerator[Event, None]:
        for event in unfold((await self._complete(request)).reply):
            yield event

    # --- what keeps it from harm -----------------------------------------------------------------

    async def _guarded(self, what: str, attempt: Callable[[], Awaitable[T]]) -> T:
        """Return what an attempt returns. Every one that fails is told to the breaker; the caller tells of success."""
        timeout = self._parts.timeout
        deadline = asyncio.get_running_loop().time() + timeout if timeout is not None else None
        cut_short = False

        async def once() -> T:
            nonlocal cut_short
            await self._admit()
            try:
                return await attempt()
            except asyncio.CancelledError:
                cut_short = True
                raise
            except Exception as error:
                self._failed(what, failure_of(error, self.name).code)
                raise

        try:
            return await retry_with_backoff(self._retry, once, deadline)
        except Failure as failure:
            if cut_short:  # by the deadline: a caller who leaves brings no failure
                self._failed(what, failure.code)
            raise

    async def _admit(self) -> None:
        breaker, limiter = self._parts.breaker, self._parts.limiter
        if breaker is not None and not breaker.allow():
            raise Failure(
                "circuit_open", f"{self.name} has failed repeatedly and is left alone for a while.",
                retry_after=breaker.cooldown,
            )
        if limiter is not None:
            await limiter.wait()

    def _went_well(self) -> None:
        if self._parts.breaker is not None:
            self._parts.breaker.record_success()

    def _failed(self, what: str, code: str) -> None:
        self._parts.logger.warning("provider %s: %s failed: %s", self.name, what, code)
        breaker = self._parts.breaker
        if breaker is not None:
            (breaker.record_failure if code in _OUTAGES else breaker.record_success)()


async def _reach(endpoint: Endpoint) -> HealthCheckResult:
    started = monotonic()
    try:
        async with asyncio.timeout(_REACH_SECONDS):
            response = await endpoint.send("GET", "", signed=False)
        response.close()
        well = response.status < 500
        message = f"{endpoint.url} answered {response.status}."
    except Failure as failure:
        well, message = False, failure.message
    except TimeoutError:
        well, message = False, f"{endpoint.url} did not answer within {_REACH_SECONDS:g} s."
    status = HealthStatus.HEALTHY if well else HealthStatus.UNHEALTHY
    return HealthCheckResult(status, message, monotonic() - started, time())


def _is_open(error: Exception) -> bool:
    return isinstance(error, Failure) and error.code == "circuit_open"

"""A provider in one expression: ``ProviderBuilder`` gathers what it is made of, and ``build`` says what is amiss.

    provider = (ProviderBuilder("my-provider", "custom")
                .with_model("my-model-v1")
                .with_endpoint("https://api.myprovider.com/v1")
                .with_auth(APIKeyAuth(key))
                .with_complete_func(handler)
                .build())

It opens nothing and calls nobody: that begins with the first request.
"""

import inspect
import logging
from collections.abc import AsyncIterable, Awaitable, Callable, Iterator
from typing import Any, Self, TypeAlias

from ailink_provider.auth import Auth
from ailink_provider.built import BuiltProvider, Complete, CostEstimator, HealthChecker, Parts, Stream
from ailink_provider.builtin import dialects
from ailink_provider.endpoint import Endpoint
from ailink_provider.errors import Failure
from ailink_provider.provider import Capability, CompletionRequest, CompletionResponse, check_name
from ailink_provider.resilience import CircuitBreaker, RateLimiter, RetryConfig
from ailink_provider.speaker import Speaker, base_url
from ailink_provider.streaming import Piece
from ailink_provider.transport import Sender

CompleteFunc: TypeAlias = Complete | Callable[[CompletionRequest, Endpoint], Awaitable[CompletionResponse]]
StreamFunc: TypeAlias = Stream | Callable[[CompletionRequest, Endpoint], AsyncIterable[Piece]]

# Each kind of function is easily written in place of the other.
_MISTAKEN: dict[str, Callable[[Any], bool]] = {
    "with_complete_func": inspect.isasyncgenfunction, "with_stream_func": inspect.iscoroutinefunction,
}


class ProviderBuilder:
    """Every ``with_...`` returns the builder; a second call replaces the first. Nothing is checked before ``build``.

    Args:
        name: of this instance: 1 to 64 letters, digits, dots, hyphens and underscores.
        type: of the provider, in the same characters; "custom" for one of your own.
    """

    def __init__(self, name: str, type: str) -> None:
        self._name, self._type = name, type
        self._model = ""
        self._max_tokens: int | None = None
        self._endpoint = ""
        self._auth: Auth | None = None
        self._http_client: Sender | None = None
        self._limiter: RateLimiter | None = None
        self._retry: RetryConfig | None = None
        self._breaker: CircuitBreaker | None = None
        self._timeout: float | None = None
        self._logger = logging.getLogger("ailink")
        self._capabilities: frozenset[str] | None = None
        self._cost_estimator: CostEstimator | None = None
        self._health_checker: HealthChecker | None = None
        self._streaming: bool | None = None
        self._dialect = ""
        self._moved = ("", "")
        self._complete: CompleteFunc | None = None
        self._stream: StreamFunc | None = None

    # --- how requests are answered: one of these -------------------------------------------------

    def with_complete_func(self, handler: CompleteFunc) -> Self:
        """Answer with ``async def handler(request) -> CompletionResponse``, or ``handler(request, endpoint)``, which
        is given the ``Endpoint`` that ``with_endpoint``, ``with_auth`` and ``with_http_client`` describe."""
        self._complete = handler
        return self

    def with_stream_func(self, handler: StreamFunc) -> Self:
        """Answer streams with an asynchronous generator of texts or canonical events, called as the complete function
        is. Alone, it answers completions, too."""
        self._stream = handler
        return self

    def with_dialect(self, name: str) -> Self:
        """Speak a wire format of ``registry.dialects()`` at the endpoint: no function is needed."""
        self._dialect = name
        return self

    def with_moved_paths(self, beginning: str, place: str) -> Self:
        """Ask at ``place`` what the dialect asks at paths that begin with ``beginning``."""
        self._moved = (beginning, place)
        return self

    # --- where and as whom -----------------------------------------------------------------------

    def with_model(self, model: str) -> Self:
        """Ask ``model`` where a request names none."""
        self._model = model
        return self

    def with_max_tokens(self, max_tokens: int) -> Self:
        """Limit the output, in tokens, where a request does not."""
        self._max_tokens = max_tokens
        return self

    def with_endpoint(self, url: str) -> Self:
        """Call the API at ``url``. A dialect's version ("/v1") may be left out."""
        self._endpoint = url
        return self

    def with_auth(self, auth: Auth) -> Self:
        """Sign every request to the endpoint."""
        self._auth = auth
        return self

    def with_http_client(self, client: Sender) -> Self:
        """Let ``client`` carry the requests, such as a ``Transport`` that providers share. It is not closed here."""
        self._http_client = client
        return self

    # --- within which limits ---------------------------------------------------------------------

    def with_rate_limiter(self, limiter: RateLimiter) -> Self:
        """Wait for ``limiter`` before every attempt."""
        self._limiter = limiter
        return self

    def with_retry(self, config: RetryConfig) -> Self:
        """Try again as ``config`` has it; without it there is one attempt."""
        self._retry = config
        return self

    def with_circuit_breaker(self, breaker: CircuitBreaker) -> Self:
        """Ask ``breaker`` before every attempt, and tell it of outages."""
        self._breaker = breaker
        return self

    def with_timeout(self, seconds: float) -> Self:
        """End a completion, or the wait for a stream's first event, after so many seconds, retries and waits
        included."""
        self._timeout = seconds
        return self

    # --- what it says of itself ------------------------------------------------------------------

    def with_logger(self, logger: logging.Logger) -> Self:
        """Log failed attempts to ``logger`` instead of "ailink"."""
        self._logger = logger
        return self

    def with_capabilities(self, *capabilities: str) -> Self:
        """Declare what it can be asked for, instead of chat and completion. Streaming is added where it streams."""
        self._capabilities = frozenset(capabilities)
        return self

    def with_streaming(self, enabled: bool = True) -> Self:
        """Insist that it streams, or that it does not even where it could."""
        self._streaming = enabled
        return self

    def with_cost_estimator(self, estimator: CostEstimator) -> Self:
        """Estimate costs with ``estimator(request)``."""
        self._cost_estimator = estimator
        return self

    def with_health_checker(self, checker: HealthChecker) -> Self:
        """Look after its health with ``await checker()``."""
        self._health_checker = checker
        return self

    # --- done ------------------------------------------------------------------------------------

    def build(self) -> BuiltProvider:
        """Return the provider. Raises ``Failure`` (``invalid_request``) naming the calls that are missing or clash, or
        the value that cannot be used; ``param`` is the call."""
        check_name(self._name)
        check_name(self._type, "type")
        if (problem := next(self._problems(), None)) is not None:
            raise self._misuse(*problem)
        endpoint = self._reached()
        complete, stream = self._handlers(endpoint)
        if self._streaming is False:
            stream = None
        declared = self._capabilities or frozenset({Capability.CHAT, Capability.COMPLETION})
        return BuiltProvider(Parts(
            name=self._name, type=self._type, model=self._model, max_tokens=self._max_tokens, logger=self._logger,
            capabilities=declared | {Capability.STREAMING} if stream is not None else declared,
            complete=complete, stream=stream, endpoint=endpoint, limiter=self._limiter, retry=self._retry,
            breaker=self._breaker, timeout=self._timeout, cost_estimator=self._cost_estimator,
            health_checker=self._health_checker,
        ))

    def _problems(self) -> Iterator[tuple[str, str]]:
        """Yield the call at fault and what is wrong with it."""
        given = {"with_complete_func": self._complete, "with_stream_func": self._stream}
        functions = [call for call, handler in given.items() if handler is not None]
        if not functions and not self._dialect:
            yield "with_complete_func", ("missing, nothing says how requests are answered: call it, "
                                         "with_stream_func(handler) or with_dialect(name).")
        if functions and self._dialect:
            yield "with_dialect", f"it answers requests itself: leave it out, or {' and '.join(functions)}."
        if self._dialect and self._dialect not in dialects():
            yield "with_dialect", f"there is no dialect {self._dialect!r}: use one of {', '.join(dialects())}."
        for call in functions:
            wanted = _arguments(given[call])
            if not wanted:
                yield call, "it needs a function that takes (request) or (request, endpoint)."
            if _MISTAKEN[call](given[call]):
                yield call, "a complete function is an async def that returns, a stream function one that yields."
            if wanted == 2 and not self._endpoint:
                yield "with_endpoint", f"missing, and the function of {call} takes an endpoint: call it."
        users = {"with_dialect": self._dialect, "with_auth": self._auth, "with_http_client": self._http_client}
        for call, value in users.items():
            if value and not self._endpoint:
                yield "with_endpoint", f"missing, and {call} is for calls to an endpoint: call it."
        yield from self._doubts()

    def _doubts(self) -> Iterator[tuple[str, str]]:
        streams = self._stream is not None or bool(self._dialect)
        if self._streaming and not streams:
            yield "with_streaming", "nothing streams: call with_stream_func(handler) or with_dialect(name)."
        if self._streaming is False and self._stream is not None:
            yield "with_streaming", "switched off beside with_stream_func: leave one of them out."
        if Capability.STREAMING in (self._capabilities or ()) and (not streams or self._streaming is False):
            yield "with_capabilities", "streaming is declared and nothing streams: call with_stream_func(handler)."
        if self._timeout is not None and not self._timeout > 0:
            yield "with_timeout", "it must be more than 0 seconds."
        if self._max_tokens is not None and self._max_tokens < 1:
            yield "with_max_tokens", "it must be 1 token or more."

    def _reached(self) -> Endpoint | None:
        if not self._endpoint:
            return None
        try:
            url = base_url(dialects()[self._dialect], self._endpoint) if self._dialect else self._endpoint
            return Endpoint(url, self._auth, self._http_client)
        except Failure as failure:
            raise self._misuse("with_endpoint", failure.message) from None

    def _misuse(self, call: str, problem: str) -> Failure:
        return Failure("invalid_request", f"{self._name}: {call}: {problem}", param=call)

    def _handlers(self, endpoint: Endpoint | None) -> tuple[Complete | None, Stream | None]:
        if self._dialect:
            assert endpoint is not None  # _problems has seen to it
            speaker = Speaker(dialects()[self._dialect], endpoint, self._logger, self._moved)
            return speaker.complete, speaker.stream
        return _bound(self._complete, endpoint), _bound(self._stream, endpoint)


def _bound(handler: Any, endpoint: Endpoint | None) -> Any:
    """Return ``handler`` as a function of the request alone."""
    if handler is None or _arguments(handler) == 1:
        return handler
    return lambda request: handler(request, endpoint)


def _arguments(handler: Any) -> int:
    """Return how many arguments a handler must be given, 1 or 2; 0 if it can be called with neither."""
    for count in (1, 2):
        try:
            inspect.signature(handler).bind(*[None] * count)
        except (TypeError, ValueError):
            continue
        return count
    return 0

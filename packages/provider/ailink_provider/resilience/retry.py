"""A second attempt, and a third: exponential backoff with jitter, never sooner than the upstream asked for and never
beyond the caller's deadline.

Decides by the error alone; whether an attempt had an effect, and may be repeated, is the caller's to know.
"""

import asyncio
import math
import random
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

from ailink_provider.errors import Failure

T = TypeVar("T")

_STATUSES = frozenset({408, 425, 429})
_KINDS = frozenset({"rate_limit_error", "overloaded_error", "timeout_error"})
_FINAL_KINDS = frozenset({"insufficient_quota"})  # money does not come back within a backoff


class APIError(Exception):
    """What an API answered instead of a result: for functions that call one by themselves.

    Args:
        status_code: the answer's HTTP status; that of the stream, where the error stood in one.
        message: what the API said.
        type: the API's word for the kind of error, where it has one.
        retry_after: seconds until another attempt makes sense, where it said so.
    """

    def __init__(
        self, status_code: int, message: str, type: str | None = None, retry_after: float | None = None
    ) -> None:
        super().__init__(message)
        self.status_code = status_code
        self.message = message
        self.type = type
        self.retry_after = retry_after

    def __repr__(self) -> str:
        return f"APIError({self.status_code}, {self.message!r}, type={self.type!r})"


def default_retryable(error: BaseException) -> bool:
    """Return whether another attempt may go well: after 429, any 5xx, overload, a timeout or a lost connection.

    The first error that tells, from ``error`` along its causes and contexts, decides: a ``Failure``, anything with
    an HTTP ``status_code`` such as ``APIError``, a ``TimeoutError`` or a ``ConnectionError``.
    """
    return next((verdict for link in _chain(error) if (verdict := _verdict(link)) is not None), False)


@dataclass(frozen=True, slots=True)
class RetryConfig:
    """How often and after which pauses to try again. All times are in seconds.

    The pause before the n-th retry is ``initial_backoff * backoff_factor ** (n - 1)``, at most ``max_backoff``, more or
    less by up to ``jitter`` of it. ``retry_if`` says for an error whether to try again at all. Raises ``ValueError``
    for values that make no sense.
    """

    max_retries: int = 3
    initial_backoff: float = 0.1
    max_backoff: float = 30.0
    backoff_factor: float = 2.0
    jitter: float = 0.1
    retry_if: Callable[[Exception], bool] = default_retryable

    def __post_init__(self) -> None:
        least = {"max_retries": 0, "initial_backoff": 0, "max_backoff": 0, "backoff_factor": 1, "jitter": 0}
        for name, bound in least.items():
            if not getattr(self, name) >= bound:
                raise ValueError(f"{name} must be {bound} or more, not {getattr(self, name)}")
        if self.jitter > 1:
            raise ValueError(f"jitter is a share of the pause, at most 1, not {self.jitter}")

    def pauses(self) -> Iterator[float]:
        """Yield the pause before each retry, jitter included."""
        backoff = min(self.initial_backoff, self.max_backoff)
        for _ in range(self.max_retries):
            yield min(backoff * random.uniform(1 - self.jitter, 1 + self.jitter), self.max_backoff)  # noqa: S311
            backoff = min(backoff * self.backoff_factor, self.max_backoff)


async def retry_with_backoff(config: RetryConfig, func: Callable[[], Awaitable[T]], deadline: float | None = None) -> T:
    """Return what ``func`` returns, calling it again as ``config`` has it.

    A pause is never shorter than the ``retry_after`` of the error, even where that is longer than ``max_backoff``.
    ``deadline`` is a moment of the running loop's clock: no pause reaches beyond it, and an attempt that does is
    cancelled.

    Raises the last error of ``func`` when no attempt is left, none makes sense or none would begin in time;
    ``Failure`` (``upstream_timeout``) when the deadline passes during an attempt. Cancellation passes through.
    """
    pauses = config.pauses()
    while True:
        try:
            return await _attempt(func, deadline)
        except Exception as error:
            pause = next(pauses, None) if config.retry_if(error) else None
            if pause is None:
                raise
            pause = max(pause, _retry_after(error))
            if deadline is not None and asyncio.get_running_loop().time() + pause >= deadline:
                raise
        await asyncio.sleep(pause)


async def _attempt(func: Callable[[], Awaitable[T]], deadline: float | None) -> T:
    if deadline is None:
        return await func()
    if asyncio.get_running_loop().time() >= deadline:
        raise _late()
    try:
        async with asyncio.timeout_at(deadline) as limit:
            return await func()
    except TimeoutError as error:
        if not limit.expired():
            raise
        raise _late() from error


def _late() -> Failure:
    return Failure("upstream_timeout", "The call did not end before its deadline.", reason="total_timeout")


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and what led to it, as a traceback would show it; a loop of errors ends."""
    seen: set[int] = set()
    link: BaseException | None = error
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        yield link
        link = link.__cause__ if link.__cause__ is not None or link.__suppress_context__ else link.__context__


def _verdict(error: BaseException) -> bool | None:
    """Return whether another attempt may go well after this very error, None if it does not tell."""
    if isinstance(error, Failure):
        return error.retryable
    status, kind = getattr(error, "status_code", None), str(getattr(error, "type", None))
    if isinstance(status, int):
        return kind not in _FINAL_KINDS and (status >= 500 or status in _STATUSES or kind in _KINDS)
    return True if isinstance(error, TimeoutError | ConnectionError) else None


def _retry_after(error: Exception) -> float:
    """Return the seconds that the first error of the chain that says so asks to wait, else 0."""
    for link in _chain(error):
        seconds = getattr(link, "retry_after", None)
        if isinstance(seconds, int | float) and math.isfinite(seconds):
            return max(float(seconds), 0.0)
    return 0.0

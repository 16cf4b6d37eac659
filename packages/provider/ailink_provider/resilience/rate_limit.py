"""Token buckets: so many calls a second, with a burst, first come, first served. Nothing polls: one timer wakes the
one who is next.

Levels are kept in whole units so small that every rate is a whole number of them a nanosecond, so nothing is lost to
rounding however long a bucket lives. A bucket serves one event loop; it is not made for threads.
"""

import asyncio
import math
import time
from collections import OrderedDict
from collections.abc import Callable
from fractions import Fraction

_NANOSECONDS = 1_000_000_000
# How many tenants are looked at to forget one: if somebody waits for each of these, the next new one tries again.
_LOOKS = 16


class RateLimiter:
    """Lets ``burst`` calls through at once and ``rate`` a second after that.

    Args:
        rate: tokens a second, 0 or more; with 0, nothing flows until it is raised.
        burst: tokens that a full bucket holds, at least 1; it begins full.
        clock: seconds that never go back.

    Raises ``ValueError`` for a rate or a burst that is none.
    """

    def __init__(self, rate: float, burst: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._waiters: OrderedDict[asyncio.Future[None], None] = OrderedDict()
        self._timer: asyncio.TimerHandle | None = None
        self._filled_at = self._now()
        self._rate, self._burst = _fraction(rate), _burst(burst)
        self._scale = self._rate.denominator
        self._measure()
        self._level = self._capacity

    @property
    def rate(self) -> float:
        """Tokens a second."""
        return float(self._rate)

    @property
    def burst(self) -> int:
        """Tokens that a full bucket holds."""
        return self._burst

    @property
    def waiting(self) -> int:
        """How many are in ``wait``."""
        return len(self._waiters)

    def available(self) -> float:
        """Return how many tokens there are."""
        self._serve()
        return self._level / self._token

    def try_acquire(self) -> bool:
        """Take a token if there is one that nobody waits for; return whether one was taken."""
        self._serve()
        if self._level < self._token:  # as it always is while somebody waits
            return False
        self._level -= self._token
        return True

    async def wait(self) -> None:
        """Return when it is this caller's turn, with a token taken. Cancelled, it takes none and holds up nobody."""
        if self.try_acquire():
            return
        waiter = asyncio.get_running_loop().create_future()
        self._waiters[waiter] = None
        self._wake()
        try:
            await waiter
        except asyncio.CancelledError:
            if waiter in self._waiters:
                del self._waiters[waiter]
            elif not waiter.cancelled():  # it was served, and cancelled before it could know
                self._level += self._token
            self._serve()
            raise

    def set_rate(self, rate: float) -> None:
        """Change the rate from now on. What has flowed until now is kept."""
        new = _fraction(rate)
        self._serve()
        scale = math.lcm(self._scale, new.denominator)
        self._level *= scale // self._scale
        self._rate, self._scale = new, scale
        self._measure()
        self._serve()

    def set_burst(self, burst: int) -> None:
        """Change the size of the bucket from now on. Tokens beyond it are gone; none come with a bigger one."""
        new = _burst(burst)
        self._serve()
        self._burst = new
        self._measure()
        self._serve()

    def _measure(self) -> None:
        """Set the sizes, in units, of a token and of a full bucket, and what flows in a nanosecond."""
        self._token = self._scale * _NANOSECONDS
        self._capacity = self._burst * self._token
        self._flow = self._rate.numerator * (self._scale // self._rate.denominator)

    def _now(self) -> int:
        return round(self._clock() * _NANOSECONDS)

    def _serve(self) -> None:
        """Let in what has flowed, give it to those who wait, in their order, and have the next one woken.

        A bucket overflows only where nobody waits: a loop that wakes late must not slow the rate down.
        """
        now = self._now()
        if now > self._filled_at:
            self._level += (now - self._filled_at) * self._flow
            self._filled_at = now
        while self._waiters and self._level >= self._token:
            waiter, _ = self._waiters.popitem(last=False)
            if not waiter.done():
                self._level -= self._token
                waiter.set_result(None)
        self._level = min(self._level, self._capacity)
        self._wake()

    def _wake(self) -> None:
        """Set the timer for the moment at which the first in the queue has its token; none if nobody waits."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._waiters and self._flow:
            missing = -(-(self._token - self._level) // self._flow)
            loop = next(iter(self._waiters)).get_loop()
            self._timer = loop.call_later(missing / _NANOSECONDS, self._serve)


class MultiTenantRateLimiter:
    """A limiter for each tenant, made when it first calls.

    Args:
        factory: makes the limiter of a tenant.
        limit: how many tenants are remembered, at least 1. Beyond it the one that was idle longest is forgotten and
            would begin with a full bucket; one that somebody waits for is kept.
    """

    def __init__(self, factory: Callable[[], RateLimiter], limit: int = 10_000) -> None:
        if limit < 1:
            raise ValueError(f"limit must be at least 1, not {limit}")
        self._factory = factory
        self._limit = limit
        self._limiters: OrderedDict[str, RateLimiter] = OrderedDict()

    def __len__(self) -> int:
        """How many tenants are remembered."""
        return len(self._limiters)

    async def wait(self, tenant: str) -> None:
        """Return when it is this caller's turn among those of ``tenant``, with a token taken."""
        await self._limiter(tenant).wait()

    def try_acquire(self, tenant: str) -> bool:
        """Take a token of ``tenant`` if there is one that nobody waits for; return whether one was taken."""
        return self._limiter(tenant).try_acquire()

    def remove_tenant(self, tenant: str) -> None:
        """Forget a tenant, known or not. Those who wait are served at the rate they began to wait under."""
        self._limiters.pop(tenant, None)

    def _limiter(self, tenant: str) -> RateLimiter:
        limiter = self._limiters.get(tenant)
        if limiter is None:
            limiter = self._limiters[tenant] = self._factory()
            self._forget()
        else:
            self._limiters.move_to_end(tenant)
        return limiter

    def _forget(self) -> None:
        """Forget the tenant that was idle longest if there are too many; never the newest."""
        for _ in range(min(len(self._limiters) - 1, _LOOKS)):
            if len(self._limiters) <= self._limit:
                return
            tenant, limiter = self._limiters.popitem(last=False)
            if limiter.waiting:
                self._limiters[tenant] = limiter


def _fraction(rate: float) -> Fraction:
    """Return the number that the decimals of ``rate`` say: 0.1 is a tenth."""
    if not math.isfinite(rate) or rate < 0:
        raise ValueError(f"rate must be a number of tokens a second, 0 or more, not {rate}")
    return Fraction(str(rate))


def _burst(burst: int) -> int:
    if not isinstance(burst, int) or burst < 1:
        raise ValueError(f"burst must be a whole number of tokens, at least 1, not {burst}")
    return burst

"""A circuit breaker: after so many failures in a row an upstream is left alone for a while, then asked carefully.

It counts what it is told and decides nothing about what a failure is. Cheap enough for every call, and safe to share
among threads: only a circuit that is not plainly closed takes a lock.
"""

import threading
import time
from collections import deque
from collections.abc import Callable
from enum import StrEnum


class CircuitState(StrEnum):
    """closed: calls go through. open: none do. half_open: a few do, to see whether the upstream is back."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


_CLOSED, _OPEN, _HALF_OPEN = CircuitState.CLOSED, CircuitState.OPEN, CircuitState.HALF_OPEN

Observer = Callable[[CircuitState, CircuitState], None]


class CircuitBreaker:
    """Ask ``allow`` before a call, and tell ``record_success`` or ``record_failure`` after it, or ``release`` if it
    ended without either.

    Args:
        failure_threshold: how many failures in a row open the circuit, at least 1.
        reset_timeout: seconds until an open circuit lets probes through.
        half_open_max_requests: how many probes go through then until one of them has told how it went. A success
            closes the circuit, a failure opens it again. A probe that tells nothing for ``reset_timeout`` gives its
            place to another.
        clock: seconds that never go back.

    Raises ``ValueError`` for values that make no sense.
    """

    def __init__(
        self,
        failure_threshold: int,
        reset_timeout: float,
        half_open_max_requests: int = 1,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock = clock
        self.configure(failure_threshold, reset_timeout, half_open_max_requests)
        self._lock = threading.Lock()
        self._observers: list[Observer] = []
        self._state = _CLOSED
        self._failures = 0
        self._opened_at = 0.0
        self._probes: deque[float] = deque()  # when each of those that are out began

    def configure(self, failure_threshold: int, reset_timeout: float, half_open_max_requests: int = 1) -> None:
        """Go on with other values, as the constructor takes them; what was counted is kept.

        An open circuit is judged by the new ``reset_timeout`` at once, failures by the new threshold when one comes.
        """
        if failure_threshold < 1 or half_open_max_requests < 1:
            raise ValueError("failure_threshold and half_open_max_requests must be at least 1")
        if not reset_timeout > 0:
            raise ValueError(f"reset_timeout must be more than 0 seconds, not {reset_timeout}")
        self._threshold = failure_threshold
        self._timeout = reset_timeout
        self._places = half_open_max_requests

    @property
    def state(self) -> CircuitState:
        """Where the circuit stands now. An open one is half open as soon as its time is over."""
        if self._state is _OPEN:
            self._change(self._settle)
        return self._state

    @property
    def failures(self) -> int:
        """Failures in a row, as far as they count: none since the last success, no more than the threshold."""
        return self._failures

    @property
    def reset_timeout(self) -> float:
        """Seconds that an open circuit stays so."""
        return self._timeout

    @property
    def cooldown(self) -> float:
        """Seconds until an open circuit lets probes through, 0.0 in any other state."""
        return max(self._opened_at + self._timeout - self._clock(), 0.0) if self.state is _OPEN else 0.0

    def on_change(self, observer: Observer) -> None:
        """Have ``observer(old, new)`` called after every change of state, within the call that noticed it."""
        self._observers.append(observer)

    def allow(self) -> bool:
        """Return whether a call may be made now; in a half-open circuit this takes one of its places."""
        return self._state is _CLOSED or self._change(self._admit)

    def record_success(self) -> None:
        """Tell that an allowed call went well. Where no call is awaited it is late news and changes nothing."""
        if self._failures:
            self._change(self._succeed)

    def record_failure(self) -> None:
        """Tell that an allowed call failed. Where no call is awaited it is late news and changes nothing."""
        self._change(self._fail)

    def release(self) -> None:
        """Tell that a probe ended without news, so that another may take its place."""
        self._change(self._give_back)

    def reset(self) -> None:
        """Close the circuit and forget all failures."""
        self._change(self._close)

    def _change(self, step: Callable[[], bool]) -> bool:
        """Take a step that may change the state, and tell the observers once the lock is free again."""
        with self._lock:
            before = self._state
            result = step()
            after = self._state
        if before is not after:
            for observer in list(self._observers):
                observer(before, after)
        return result

    def _settle(self) -> bool:
        """Let an open circuit be half open once its time is over; return whether it is."""
        if self._state is _OPEN and self._clock() >= self._opened_at + self._timeout:
            self._state = _HALF_OPEN
        return self._state is _HALF_OPEN

    def _admit(self) -> bool:
        if not self._settle():
            return self._state is _CLOSED
        now = self._clock()
        if len(self._probes) >= self._places:
            if now < self._probes[0] + self._timeout:
                return False
            self._probes.popleft()
        self._probes.append(now)
        return True

    def _succeed(self) -> bool:
        if self._state is _CLOSED or self._probes:
            self._close()
        return True

    def _fail(self) -> bool:
        if self._state is _CLOSED:
            self._failures += 1
        if self._probes or (self._state is _CLOSED and self._failures >= self._threshold):
            self._state = _OPEN
            self._opened_at = self._clock()
            self._probes.clear()
        return True

    def _give_back(self) -> bool:
        if self._probes:
            self._probes.popleft()
        return True

    def _close(self) -> bool:
        self._state = _CLOSED
        self._failures = 0
        self._probes.clear()
        return True

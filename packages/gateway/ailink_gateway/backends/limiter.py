"""The limiter in memory: how much of something a key has taken in the last so many seconds, and how much it holds now.

The window slides, and no take waits for another: the state is changed in one step of the event loop, so what is let
through in any window is never more than its limit, whatever comes at once. It decides nothing about what a key is.
"""

from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Callable
from time import monotonic

from ailink_gateway.ports import LimitKey, Taken

WINDOWS = 200_000  # that have a count of their own
MARKS = 4096  # moments that a window tells apart before it begins to join neighbours
_COMPACT = 64


class MemoryLimiter:
    """Counts for one process, on one event loop.

    Args:
        most: how many windows have a count of their own. Those that come when as many are in use share one with their
            neighbours (keys that differ in their last part alone), so that a caller who invents keys gains nothing.
        clock: seconds that never go back.
    """

    def __init__(self, most: int = WINDOWS, *, clock: Callable[[], float] = monotonic) -> None:
        self._most, self._clock = most, clock
        self._windows: OrderedDict[tuple[LimitKey, float], _Window] = OrderedDict()
        self._crowds: dict[tuple[LimitKey, float], _Window] = {}
        self._inside: dict[LimitKey, int] = {}

    def __len__(self) -> int:
        """How many windows are remembered."""
        return len(self._windows) + len(self._crowds)

    def take(self, key: LimitKey, limit: int, window_seconds: float, amount: int = 1) -> Taken:
        """See ``ports.Limiter``."""
        now = self._clock()
        window = self._windows.get((key, window_seconds))
        if window is None:
            if amount > limit:
                return Taken(False, max(limit, 0), window_seconds, now)
            window = self._begin(key, window_seconds, now)
        times = window.times
        if times and times[window.head] <= now - window_seconds:
            window.expire(now - window_seconds)
        left = limit - window.total - amount
        if left < 0:
            return Taken(False, max(left + amount, 0), window.wait(amount, limit, window_seconds, now), now)
        window.add(now, amount, window_seconds)
        return Taken(True, left, window_seconds - (now - times[window.head]), now)

    def correct(self, key: LimitKey, window_seconds: float, at: float, difference: int) -> None:
        """See ``ports.Limiter``."""
        window = self._windows.get((key, window_seconds)) or self._crowds.get((key[:-1], window_seconds))
        now = self._clock()
        if window is None:
            if difference <= 0:
                return
            window = self._begin(key, window_seconds, now)
        if difference > 0:
            window.add(now, difference, window_seconds)
        elif difference < 0 and at > now - window_seconds:
            window.give_back(at, -difference)

    def enter(self, key: LimitKey, most: int) -> bool:
        """See ``ports.Limiter``."""
        inside = self._inside.get(key, 0)
        if inside >= most:
            return False
        self._inside[key] = inside + 1
        return True

    def leave(self, key: LimitKey) -> None:
        """See ``ports.Limiter``."""
        inside = self._inside[key] - 1
        if inside:
            self._inside[key] = inside
        else:
            del self._inside[key]

    def _begin(self, key: LimitKey, seconds: float, now: float) -> "_Window":
        """Return the window of a key that has none of its own: a new one, or that of the crowd."""
        self._forget(now)
        place = (key[:-1], seconds)
        crowd = self._crowds.get(place)
        if crowd is not None and crowd.is_idle(now - seconds):
            # Not before: what a key took as one of the crowd has to be over when it begins to count by itself.
            del self._crowds[place]
            crowd = None
        if crowd is not None:
            return crowd
        window = _Window()
        if len(self._windows) < self._most:
            self._windows[key, seconds] = window
        else:
            self._crowds[place] = window
        return window

    def _forget(self, now: float) -> None:
        """Look at the two windows that were not looked at for longest, and drop those that hold nothing: two for each
        new one, so that idle ones never outnumber those in use.
        """
        for _ in range(min(2, len(self._windows))):
            place, window = self._windows.popitem(last=False)
            if not window.is_idle(now - place[1]):
                self._windows[place] = window


class _Window:
    """What was taken and when, oldest first from ``head``; ``total`` of it counts. A mark that joins several takes has
    the time of the newest, so that nothing of it is forgotten too early.
    """

    __slots__ = ("amounts", "began", "head", "times", "total")

    def __init__(self) -> None:
        self.times: list[float] = []
        self.amounts: list[int] = []
        self.head = 0
        self.total = 0
        self.began = 0.0  # when the newest mark was begun

    def is_idle(self, until: float) -> bool:
        """Whether nothing was taken after ``until``."""
        return not self.times or self.times[-1] <= until

    def expire(self, until: float) -> None:
        """Forget what was taken until then."""
        times, amounts, head = self.times, self.amounts, self.head
        marks = len(times)
        while head < marks and times[head] <= until:
            self.total -= amounts[head]
            head += 1
        if (head > _COMPACT and head * 2 > marks) or head == marks:
            del times[:head], amounts[:head]
            head = 0
        self.head = head

    def add(self, now: float, amount: int, seconds: float) -> None:
        """Count ``amount`` from now on."""
        times = self.times
        self.total += amount
        if times and (now == times[-1] or (len(times) - self.head >= MARKS and now - self.began < seconds / MARKS)):
            times[-1] = now
            self.amounts[-1] += amount
        else:
            times.append(now)
            self.amounts.append(amount)
            self.began = now

    def give_back(self, at: float, amount: int) -> None:
        """Count less of what was taken ``at`` that moment, which still counts."""
        place = bisect_left(self.times, at, self.head)
        if place < len(self.times):
            amount = min(amount, self.amounts[place])
            self.amounts[place] -= amount
            self.total -= amount

    def wait(self, amount: int, limit: int, seconds: float, now: float) -> float:
        """Return the seconds until ``amount`` more fits under ``limit``; the whole window if it never does."""
        excess = self.total + amount - limit
        for place in range(self.head, len(self.times)):
            excess -= self.amounts[place]
            if excess <= 0:
                return seconds - (now - self.times[place])
        return seconds

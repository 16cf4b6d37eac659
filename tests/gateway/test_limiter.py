"""The limiter against a log that forgets nothing: never more than the limit in any window, and never less than fits."""

from collections.abc import Callable

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from ailink_gateway.backends import limiter as limiter_module
from ailink_gateway.backends.limiter import MemoryLimiter

WINDOW = 60.0
KEYS = [("token", "a"), ("token", "b"), ("ip", "a")]
LIMITS = {KEYS[0]: 1, KEYS[1]: 5, KEYS[2]: 40}


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class AgainstALog(RuleBasedStateMachine):
    """Every take is compared with the sum of a plain log."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.limiter = MemoryLimiter(clock=self.clock)
        self.log: dict[tuple[str, str], list[list[float]]] = {key: [] for key in KEYS}

    def used(self, key: tuple[str, str]) -> int:
        return int(sum(amount for at, amount in self.log[key] if at > self.clock.now - WINDOW))

    @rule(seconds=st.one_of(st.integers(0, 70), st.sampled_from([0.25, 0.5, 59.75, 60.0, 60.25])))
    def time_passes(self, seconds: float) -> None:
        self.clock.now += seconds

    @rule(key=st.sampled_from(KEYS), amount=st.integers(1, 6))
    def take(self, key: tuple[str, str], amount: int) -> None:
        limit, used = LIMITS[key], self.used(key)
        taken = self.limiter.take(key, limit, WINDOW, amount)
        assert taken.allowed == (used + amount <= limit)
        assert taken.remaining == max(limit - used - (amount if taken.allowed else 0), 0)
        assert 0 <= taken.reset_seconds <= WINDOW
        if taken.allowed:
            assert taken.at == self.clock.now
            self.log[key].append([self.clock.now, amount])
        elif amount <= limit:
            then = self.clock.now + taken.reset_seconds
            freed = sum(each for at, each in self.log[key] if then - WINDOW >= at > self.clock.now - WINDOW)
            assert used - freed + amount <= limit, "it would not fit when it was told to come back"

    @rule(key=st.sampled_from(KEYS), which=st.integers(0, 5), difference=st.integers(-6, 6))
    def correct(self, key: tuple[str, str], which: int, difference: int) -> None:
        if not self.log[key]:
            return
        entry = self.log[key][-1 - which % len(self.log[key])]
        self.limiter.correct(key, WINDOW, entry[0], difference)
        if difference > 0:
            self.log[key].append([self.clock.now, difference])
        else:
            # Takes of one moment are one to the limiter.
            at_once = [each for each in self.log[key] if each[0] == entry[0]]
            for each in at_once:
                less = min(int(each[1]), -difference)
                each[1] -= less
                difference += less

    @invariant()
    def idle_keys_take_no_room(self) -> None:
        assert len(self.limiter) <= len(KEYS)


TestAgainstALog = AgainstALog.TestCase
TestAgainstALog.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)


@given(st.lists(st.tuples(st.floats(0, 10), st.integers(1, 400)), max_size=300), st.integers(1, 2000))
@settings(deadline=None, max_examples=100)
def test_joined_marks_never_let_more_through(steps: list[tuple[float, int]], limit: int) -> None:
    """With more takes than a window has marks for, it may let less through, by less than one part of a window."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(limiter_module, "MARKS", 8)
        clock = Clock()
        limiter = MemoryLimiter(clock=clock)
        log: list[tuple[float, int]] = []
        for seconds, amount in steps:
            clock.now += seconds
            if limiter.take(("token", "a"), limit, WINDOW, amount).allowed:
                log.append((clock.now, amount))
                assert sum(each for at, each in log if at > clock.now - WINDOW) <= limit
            elif amount <= limit:
                part = WINDOW / 8
                assert sum(each for at, each in log if at > clock.now - WINDOW - part) + amount > limit
        assert all(len(window.times) < 8 * 4 + 128 for window in limiter._windows.values())


def test_a_limit_of_a_million_is_kept_in_little_memory() -> None:
    clock = Clock()
    limiter = MemoryLimiter(clock=clock)
    passed = 0
    for _ in range(120_000):
        clock.now += 0.0001
        passed += limiter.take(("token", "a"), 100_000, WINDOW).allowed
    assert passed == 100_000
    assert len(limiter._windows[("token", "a"), WINDOW].times) <= 2 * limiter_module.MARKS


class TestMemory:
    """Callers may invent keys; that must cost neither memory nor anybody's limit."""

    def test_idle_keys_go_as_new_ones_come(self) -> None:
        clock = Clock()
        limiter = MemoryLimiter(clock=clock)
        for number in range(1000):
            limiter.take(("agent", f"a{number}"), 5, WINDOW)
        clock.now += WINDOW
        for number in range(1000):
            limiter.take(("agent", f"b{number}"), 5, WINDOW)
        assert len(limiter) == 1000

    def test_keys_beyond_the_bound_share_one_limit(self) -> None:
        clock = Clock()
        limiter = MemoryLimiter(10, clock=clock)
        allowed = [limiter.take(("agent", f"a{number}"), 5, WINDOW).allowed for number in range(100)]
        assert allowed == [True] * 15 + [False] * 85
        assert len(limiter) == 11
        assert limiter.take(("agent", "a3"), 5, WINDOW).remaining == 3, "who was there before keeps a limit alone"
        assert limiter.take(("ip", "a"), 5, WINDOW).allowed, "others have a crowd of their own"

    def test_who_was_in_the_crowd_is_counted_there_until_that_is_over(self) -> None:
        clock = Clock()
        limiter = MemoryLimiter(1, clock=clock)
        limiter.take(("agent", "first"), 2, WINDOW)
        clock.now += 30
        assert [limiter.take(("agent", "a"), 2, WINDOW).allowed for _ in range(3)] == [True, True, False]
        clock.now += 30  # the first one's place is free, and what "a" took still counts
        assert not limiter.take(("agent", "a"), 2, WINDOW).allowed
        clock.now += 30
        assert [limiter.take(("agent", "a"), 2, WINDOW).allowed for _ in range(3)] == [True, True, False]

    def test_takes_that_are_given_back_leave_no_trail(self) -> None:
        clock = Clock()
        limiter = MemoryLimiter(clock=clock)
        for _ in range(30_000):
            clock.now += 0.001
            taken = limiter.take(("token", "a"), 100, WINDOW, 10)
            assert taken.allowed
            limiter.correct(("token", "a"), WINDOW, taken.at, -10)
        assert len(limiter._windows[("token", "a"), WINDOW].times) <= 2 * limiter_module.MARKS

    def test_what_is_refused_at_once_leaves_nothing(self) -> None:
        limiter = MemoryLimiter()
        taken = limiter.take(("agent", "a"), 0, WINDOW)
        assert (taken.allowed, taken.remaining, taken.reset_seconds) == (False, 0, WINDOW)
        assert limiter.take(("agent", "a"), 5, WINDOW, 6).remaining == 5
        assert len(limiter) == 0


def test_a_correction_counts_also_when_its_window_is_forgotten() -> None:
    clock = Clock()
    limiter = MemoryLimiter(clock=clock)
    taken = limiter.take(("token", "a"), 100, WINDOW, 10)
    clock.now += 2 * WINDOW
    limiter.take(("token", "b"), 100, WINDOW)
    assert len(limiter) == 1
    limiter.correct(("token", "a"), WINDOW, taken.at, 70)
    assert limiter.take(("token", "a"), 100, WINDOW, 30).remaining == 0
    assert not limiter.take(("token", "a"), 100, WINDOW, 1).allowed


@given(now=st.integers(0, 10**9).map(lambda milliseconds: milliseconds / 1000), window=st.sampled_from([60.0, 3600.0]))
@example(now=30535.444, window=3600.0)
def test_no_wait_is_longer_than_the_window(now: float, window: float) -> None:
    limiter = MemoryLimiter(clock=lambda: now)
    waits = [limiter.take(KEYS[0], 1, window).reset_seconds for _ in range(2)]
    assert waits == [window, window], "a fraction more would be told as a whole second"


def test_windows_of_different_length_have_their_own_counts() -> None:
    limiter = MemoryLimiter(clock=Clock())
    assert limiter.take(("token", "a"), 1, 1.0).allowed
    assert limiter.take(("token", "a"), 1, 60.0).allowed
    assert not limiter.take(("token", "a"), 1, 1.0).allowed


@pytest.mark.parametrize("most", [1, 3])
def test_places_at_once(most: int) -> None:
    limiter = MemoryLimiter()
    enter: Callable[[], bool] = lambda: limiter.enter(("token", "a"), most)  # noqa: E731
    assert [enter() for _ in range(most + 1)] == [True] * most + [False]
    limiter.leave(("token", "a"))
    assert enter() and not enter()
    for _ in range(most):
        limiter.leave(("token", "a"))
    assert limiter._inside == {}

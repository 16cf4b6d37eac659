"""The circuit breaker: opens in time, lets exactly as many probes through as it may, and comes back."""

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from ailink_provider.resilience import CircuitBreaker, CircuitState

CLOSED, OPEN, HALF_OPEN = CircuitState.CLOSED, CircuitState.OPEN, CircuitState.HALF_OPEN


@pytest.fixture
def opened(clock: Any) -> Callable[..., CircuitBreaker]:
    """Make a breaker that has just opened, for 30 seconds."""

    def make(places: int = 1) -> CircuitBreaker:
        breaker = CircuitBreaker(2, 30, places, clock=clock)
        for _ in range(2):
            assert breaker.allow()
            breaker.record_failure()
        assert breaker.state is OPEN
        return breaker

    return make


def test_it_opens_after_so_many_failures_in_a_row(clock: Any) -> None:
    breaker = CircuitBreaker(3, 30, clock=clock)
    for outcome in (breaker.record_failure, breaker.record_failure, breaker.record_success, breaker.record_failure):
        assert breaker.allow()
        outcome()
    assert (breaker.state, breaker.failures, breaker.cooldown) == (CLOSED, 1, 0.0)
    breaker.record_failure()
    assert breaker.allow()
    breaker.record_failure()
    assert not breaker.allow()
    assert (breaker.state, breaker.failures, breaker.cooldown) == (OPEN, 3, 30.0)


def test_a_probe_that_goes_well_closes_it(opened: Callable[..., CircuitBreaker], clock: Any) -> None:
    breaker = opened()
    clock.now += 29.9
    assert not breaker.allow()
    assert round(breaker.cooldown, 6) == 0.1
    clock.now += 0.1
    assert (breaker.state, breaker.cooldown) == (HALF_OPEN, 0.0)
    assert [breaker.allow() for _ in range(3)] == [True, False, False]
    breaker.record_success()
    assert (breaker.state, breaker.failures) == (CLOSED, 0)
    assert breaker.allow()


def test_a_probe_that_fails_opens_it_for_the_whole_time_again(
    opened: Callable[..., CircuitBreaker], clock: Any
) -> None:
    breaker = opened()
    clock.now += 40
    assert breaker.allow()
    clock.now += 1
    breaker.record_failure()
    assert (breaker.state, breaker.cooldown) == (OPEN, 30.0)
    clock.now += 30
    assert breaker.allow()


@pytest.mark.parametrize("places", [1, 3])
def test_a_probe_that_tells_nothing_gives_its_place_back(
    opened: Callable[..., CircuitBreaker], clock: Any, places: int
) -> None:
    breaker = opened(places)
    clock.now += 30
    for _ in range(places):
        assert breaker.allow()
        clock.now += 1
    clock.now += 30 - places
    assert [breaker.allow() for _ in range(2)] == [True, False], "the first has been silent for 30 seconds"
    clock.now += 29
    assert [breaker.allow() for _ in range(places + 1)] == [True] * (places - 1) + [False] * 2
    breaker.record_success()
    assert breaker.state is CLOSED


def test_late_news_changes_nothing(opened: Callable[..., CircuitBreaker], clock: Any) -> None:
    breaker = opened()
    breaker.record_success()
    assert breaker.state is OPEN
    clock.now += 10
    breaker.record_failure()
    assert breaker.cooldown == 20.0
    clock.now += 20
    breaker.record_failure()
    assert breaker.state is HALF_OPEN, "no probe is out, so this was none"
    breaker.record_success()
    assert breaker.state is HALF_OPEN


def test_it_can_be_reset(opened: Callable[..., CircuitBreaker]) -> None:
    breaker = opened()
    breaker.reset()
    assert (breaker.state, breaker.failures) == (CLOSED, 0)
    assert breaker.allow()


def test_a_probe_without_news_gives_its_place_to_another(opened: Callable[..., CircuitBreaker], clock: Any) -> None:
    breaker = opened(2)
    breaker.release()
    assert breaker.state is OPEN
    clock.now += 30
    assert [breaker.allow() for _ in range(3)] == [True, True, False]
    breaker.release()
    assert [breaker.allow() for _ in range(2)] == [True, False]
    for _ in range(3):
        breaker.release()
    assert [breaker.allow() for _ in range(3)] == [True, True, False]


def test_it_goes_on_with_other_values(opened: Callable[..., CircuitBreaker], clock: Any) -> None:
    breaker = opened()
    clock.now += 10
    breaker.configure(5, 60)
    assert (breaker.state, breaker.cooldown, breaker.reset_timeout) == (OPEN, 50.0, 60)
    breaker.configure(5, 10, 3)
    assert [breaker.allow() for _ in range(4)] == [True, True, True, False]
    breaker.record_success()
    for _ in range(4):
        breaker.record_failure()
    assert breaker.state is CLOSED
    breaker.configure(2, 10)
    assert breaker.state is CLOSED, "until the next failure"
    breaker.record_failure()
    assert breaker.state is OPEN
    with pytest.raises(ValueError, match="reset_timeout"):
        breaker.configure(2, 0)


def test_observers_see_every_change_once(opened: Callable[..., CircuitBreaker], clock: Any) -> None:
    seen: list[tuple[str, str]] = []
    breaker = CircuitBreaker(1, 30, clock=clock)
    breaker.on_change(lambda old, new: seen.append((old, new)))
    breaker.on_change(lambda old, new: seen.append((new, breaker.state)))  # it may ask
    breaker.record_success()
    breaker.record_failure()
    assert seen == [("closed", "open"), ("open", "open")]
    clock.now += 30
    assert (breaker.state, breaker.state) == (HALF_OPEN, HALF_OPEN)
    breaker.allow()
    breaker.record_success()
    breaker.reset()
    assert seen[2::2] == [("open", "half_open"), ("half_open", "closed")]


@pytest.mark.parametrize(
    ("arguments", "word"), [((0, 30), "failure_threshold"), ((1, 30, 0), "half_open"), ((1, 0), "reset_timeout"),
                            ((1, float("nan")), "reset_timeout")]
)  # fmt: skip
def test_values_that_make_no_sense(arguments: tuple[Any, ...], word: str) -> None:
    with pytest.raises(ValueError, match=word):
        CircuitBreaker(*arguments)


@pytest.mark.parametrize("places", [1, 3])
async def test_so_many_probes_and_no_more_among_tasks(
    opened: Callable[..., CircuitBreaker], clock: Any, places: int
) -> None:
    breaker = opened(places)
    clock.now += 30

    async def call() -> bool:
        allowed = breaker.allow()
        await asyncio.sleep(0)
        return allowed

    assert sum(await asyncio.gather(*[call() for _ in range(50)])) == places


@pytest.mark.parametrize("places", [1, 3])
def test_so_many_probes_and_no_more_among_threads(
    opened: Callable[..., CircuitBreaker], clock: Any, places: int
) -> None:
    breaker = opened(places)
    clock.now += 30
    together = threading.Barrier(16)
    allowed: list[bool] = []

    def call() -> None:
        together.wait()
        allowed.extend([breaker.allow() for _ in range(20)])

    threads = [threading.Thread(target=call) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(allowed) == places


class BreakerMachine(RuleBasedStateMachine):
    """Whatever happens in whatever order, the breaker does what its words say."""

    THRESHOLD, TIMEOUT, PLACES = 2, 5, 2

    def __init__(self) -> None:
        super().__init__()
        self.now = 0
        self.breaker = CircuitBreaker(self.THRESHOLD, self.TIMEOUT, self.PLACES, clock=lambda: self.now)
        self.seen: list[tuple[str, str]] = []
        self.breaker.on_change(lambda old, new: self.seen.append((old, new)))
        self.in_a_row = 0
        self.opened_at: int | None = None
        self.probes: list[int] = []

    @property
    def expected(self) -> CircuitState:
        if self.opened_at is None:
            return CLOSED
        return OPEN if self.now < self.opened_at + self.TIMEOUT else HALF_OPEN

    @rule(seconds=st.integers(0, 7))
    def time_passes(self, seconds: int) -> None:
        self.now += seconds

    @rule()
    def allow(self) -> None:
        silent = [begun for begun in self.probes if self.now >= begun + self.TIMEOUT]
        expected = self.expected is CLOSED or (
            self.expected is HALF_OPEN and (len(self.probes) < self.PLACES or bool(silent))
        )
        assert self.breaker.allow() is expected
        if expected and self.expected is HALF_OPEN:
            if len(self.probes) == self.PLACES:
                self.probes.remove(min(silent))
            self.probes.append(self.now)

    @rule()
    def success(self) -> None:
        self.breaker.record_success()
        if self.opened_at is None or self.probes:
            self.in_a_row, self.opened_at, self.probes = 0, None, []

    @rule()
    def failure(self) -> None:
        self.breaker.record_failure()
        if self.opened_at is None:
            self.in_a_row += 1
        if self.probes or (self.opened_at is None and self.in_a_row == self.THRESHOLD):
            self.opened_at, self.probes = self.now, []

    @rule()
    def reset(self) -> None:
        self.breaker.reset()
        self.in_a_row, self.opened_at, self.probes = 0, None, []

    @invariant()
    def agrees(self) -> None:
        assert self.breaker.state is self.expected
        assert self.breaker.failures == self.in_a_row
        waiting = self.opened_at is not None and self.expected is OPEN
        assert self.breaker.cooldown == (self.opened_at + self.TIMEOUT - self.now if waiting else 0)  # type: ignore[operator]

    @invariant()
    def observers_see_one_unbroken_story(self) -> None:
        story = ["closed", *[new for _, new in self.seen]]
        assert [old for old, _ in self.seen] == story[:-1]
        assert all(old != new for old, new in self.seen)
        assert story[-1] == self.breaker.state


TestBreakerMachine = BreakerMachine.TestCase
TestBreakerMachine.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)

"""Token buckets: the rate is kept exactly, and those who wait are served in their order."""

import asyncio
import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from ailink_provider.resilience import MultiTenantRateLimiter, RateLimiter

Run = Callable[..., Any]


def limiter_of_loop(rate: float, burst: int) -> RateLimiter:
    """A limiter on the running loop's own clock."""
    return RateLimiter(rate, burst, clock=asyncio.get_running_loop().time)


def test_a_burst_and_then_the_rate(clock: Any) -> None:
    limiter = RateLimiter(10, 3, clock=clock)
    assert (limiter.available(), limiter.rate, limiter.burst) == (3.0, 10.0, 3)
    assert [limiter.try_acquire() for _ in range(4)] == [True, True, True, False]
    clock.now += 0.0625
    assert limiter.available() == 0.625
    assert not limiter.try_acquire()
    clock.now += 0.0375
    assert limiter.try_acquire()
    clock.now += 1000
    assert limiter.available() == 3.0


@pytest.mark.parametrize("rate", [0.1, 0.3, 3, 7, 1 / 3, 1e-3, 123456.789])
def test_nothing_is_lost_to_rounding(clock: Any, rate: float) -> None:
    limiter = RateLimiter(rate, 10**9, clock=clock)
    limiter.set_burst(1)
    limiter.set_burst(10**9)
    start = clock.now
    for step in range(1, 5001):  # a look at every moment is a rounding at every moment
        clock.now = start + step / 1000
        limiter.available()
    assert limiter.available() == float(1 + Fraction(str(rate)) * 5)


def test_a_clock_that_goes_back_takes_nothing(clock: Any) -> None:
    limiter = RateLimiter(1, 5, clock=clock)
    assert limiter.try_acquire()
    clock.now -= 100
    assert limiter.available() == 4.0
    clock.now += 100.5
    assert limiter.available() == 4.5


def test_changes_count_from_now_on(clock: Any) -> None:
    limiter = RateLimiter(1, 4, clock=clock)
    while limiter.try_acquire():
        pass
    clock.now += 0.5
    limiter.set_rate(0.1)
    clock.now += 2.5
    assert limiter.available() == 0.75
    limiter.set_rate(0)
    clock.now += 1e6
    assert (limiter.available(), limiter.rate) == (0.75, 0.0)
    limiter.set_rate(3)
    clock.now += 100
    limiter.set_burst(2)
    assert (limiter.available(), limiter.burst) == (2.0, 2)
    limiter.set_burst(10)
    assert limiter.available() == 2.0


@pytest.mark.parametrize("rate", [-1, float("nan"), float("inf")])
def test_a_rate_that_is_none(rate: float) -> None:
    with pytest.raises(ValueError, match="rate"):
        RateLimiter(rate, 1)
    limiter = RateLimiter(1, 1)
    with pytest.raises(ValueError, match="rate"):
        limiter.set_rate(rate)
    assert limiter.rate == 1.0


@pytest.mark.parametrize("burst", [0, -1, 1.5, float("inf")])
def test_a_burst_that_is_none(burst: Any) -> None:
    with pytest.raises(ValueError, match="burst"):
        RateLimiter(1, burst)
    limiter = RateLimiter(1, 1)
    with pytest.raises(ValueError, match="burst"):
        limiter.set_burst(burst)
    assert limiter.burst == 1


def test_who_waits_is_served_in_order_and_on_time(run: Run) -> None:
    async def main() -> list[tuple[int, float]]:
        loop = asyncio.get_running_loop()
        limiter, start = limiter_of_loop(4, 2), loop.time()
        served: list[tuple[int, float]] = []

        async def call(number: int) -> None:
            await limiter.wait()
            served.append((number, loop.time() - start))

        await asyncio.gather(*[call(number) for number in range(6)])
        return served

    assert [(number, round(moment, 6)) for number, moment in run(main())] == [
        (0, 0.0), (1, 0.0), (2, 0.25), (3, 0.5), (4, 0.75), (5, 1.0),
    ]  # fmt: skip


def test_one_timer_serves_any_number_and_nothing_polls(run: Run) -> None:
    async def main() -> None:
        loop: Any = asyncio.get_running_loop()
        limiter = limiter_of_loop(0.5, 1)
        tasks = [asyncio.create_task(limiter.wait()) for _ in range(1000)]
        await asyncio.sleep(0)
        assert (loop.pending(), limiter.waiting) == (1, 999)
        before = loop.timers
        await asyncio.sleep(100.5)
        assert limiter.waiting == 949
        assert loop.timers - before <= 2 * 50 + 1
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert (loop.pending(), limiter.waiting) == (0, 0)

    run(main())


def test_nobody_overtakes_those_who_wait(run: Run) -> None:
    async def main() -> None:
        limiter = limiter_of_loop(1, 1)
        assert limiter.try_acquire()
        waiter = asyncio.create_task(limiter.wait())
        await asyncio.sleep(0.5)
        assert not limiter.try_acquire()
        await asyncio.sleep(0.5)  # the token is there, and whose turn it is has not run yet
        assert not limiter.try_acquire()
        await waiter

    run(main())


def test_who_leaves_takes_nothing_and_holds_up_nobody(run: Run) -> None:
    async def main() -> float:
        loop = asyncio.get_running_loop()
        limiter, start = limiter_of_loop(1, 1), loop.time()
        assert limiter.try_acquire()
        first, second, third = (asyncio.create_task(limiter.wait()) for _ in range(3))
        await asyncio.sleep(0.5)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        await second
        assert round(loop.time() - start, 6) == 1.0
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(limiter.wait(), 0.25)
        await third
        return loop.time() - start

    assert round(run(main()), 6) == 2.0


def test_a_token_that_was_given_to_one_who_left_goes_to_the_next(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        limiter, now = RateLimiter(1, 1, clock=lambda: clock[0]), loop.time()
        assert limiter.try_acquire()
        first, second = (asyncio.create_task(limiter.wait()) for _ in range(2))
        await asyncio.sleep(0)
        clock[0] += 1
        assert limiter.available() == 0.0, "the first is served, but does not know it yet"
        assert limiter.waiting == 1
        first.cancel()
        await second
        assert first.cancelled()
        assert loop.time() == now
        first = asyncio.create_task(limiter.wait())
        await asyncio.sleep(0)
        clock[0] += 1
        limiter.available()
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        assert limiter.available() == 1.0, "with nobody waiting it goes back"

    clock = [0.0]
    run(main())


def test_changes_reach_those_who_wait(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        limiter = limiter_of_loop(0, 1)
        assert limiter.try_acquire()
        waiter = asyncio.create_task(limiter.wait())
        await asyncio.sleep(1e6)
        assert not waiter.done()
        limiter.set_rate(0.5)
        start = loop.time()
        await asyncio.sleep(1)
        limiter.set_rate(5)
        await waiter
        assert round(loop.time() - start, 6) == 1.1

    run(main())


def test_a_timer_that_fires_early_serves_nobody_early(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        limiter = RateLimiter(1, 1, clock=lambda: loop.time() * 0.5)  # a slow clock: every timer is early by half
        assert limiter.try_acquire()
        start = loop.time()
        await limiter.wait()
        assert round(loop.time() - start, 6) == 2.0

    run(main())


def test_a_loop_that_wakes_late_does_not_slow_the_rate_down(run: Run) -> None:
    async def main() -> list[float]:
        loop: Any = asyncio.get_running_loop()
        limiter, start = limiter_of_loop(1000, 1), loop.time()
        call_at, moments = loop.call_at, []
        loop.call_at = lambda when, *rest, **more: call_at(when + 0.0025, *rest, **more)
        for _ in range(2):
            await asyncio.gather(*[limiter.wait() for _ in range(50)])
            moments.append(loop.time() - start)
        await asyncio.sleep(1)
        assert limiter.available() == 1.0, "where nobody waits it overflows"
        return moments

    first, second = run(main())
    assert first < 0.054
    assert second < 0.104


# --- against a model -----------------------------------------------------------------------------

RATES = st.sampled_from([0, 0.1, 0.5, 1, 3, 7.25, 10, 64, 1 / 3])
STEP = Fraction(1, 64)  # exact in the loop's floating seconds, and a whole number of nanoseconds


class LimiterMachine(RuleBasedStateMachine):
    """Whatever happens in whatever order: as many are served as the exact rate allows, and in their order."""

    loop_factory: Any = None

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner(loop_factory=self.loop_factory)
        self.limiter = RateLimiter(1, 2, clock=self.runner.get_loop().time)
        self.tasks: dict[int, asyncio.Task[None]] = {}
        self.served: list[int] = []
        self.rate, self.burst, self.level = Fraction(1), 2, Fraction(2)
        self.queue: list[int] = []
        self.due: list[int] = []
        self.count = 0

    def teardown(self) -> None:
        self.runner.close()

    def settle(self) -> None:
        """Serve in the model whoever can be, and let those who were served run."""
        while self.queue and self.level >= 1:
            self.level -= 1
            self.due.append(self.queue.pop(0))
        self.level = min(self.level, Fraction(self.burst))
        self.limiter.available()
        self.runner.run(self.pause(0))

    async def pause(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
        for _ in range(4):
            await asyncio.sleep(0)

    async def begin(self, number: int) -> None:
        async def call() -> None:
            await self.limiter.wait()
            self.served.append(number)

        self.tasks[number] = asyncio.create_task(call())
        await self.pause(0)

    @rule(steps=st.integers(0, 200))
    def time_passes(self, steps: int) -> None:
        self.level += self.rate * steps * STEP
        self.runner.run(self.pause(float(steps * STEP)))
        # By its timer alone: what is due at this very moment may be a nanosecond late.
        certain = min(len(self.queue), math.floor(self.level - Fraction(1, 10**6)))
        assert self.served[len(self.due) :] >= self.queue[: max(certain, 0)]
        self.settle()

    @rule()
    def acquire(self) -> None:
        expected = not self.queue and self.level >= 1
        assert self.limiter.try_acquire() is expected
        self.level -= expected

    @rule()
    def wait(self) -> None:
        self.count += 1
        self.queue.append(self.count)
        self.runner.run(self.begin(self.count))
        self.settle()

    @precondition(lambda self: self.queue)
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        number = self.queue.pop(data.draw(st.integers(0, len(self.queue) - 1)))
        self.tasks[number].cancel()
        self.settle()
        assert self.tasks[number].cancelled()

    @rule(rate=RATES)
    def change_rate(self, rate: float) -> None:
        self.rate = Fraction(str(rate))
        self.limiter.set_rate(rate)

    @rule(burst=st.integers(1, 4))
    def change_burst(self, burst: int) -> None:
        self.burst = burst
        self.limiter.set_burst(burst)
        self.settle()

    @invariant()
    def agrees(self) -> None:
        assert self.served == self.due
        assert self.limiter.waiting == len(self.queue)
        assert self.limiter.available() == float(self.level)
        assert self.runner.get_loop().pending() == bool(self.queue and self.rate)  # type: ignore[attr-defined]


def test_the_limiter_agrees_with_its_model(virtual_loop: Any) -> None:
    from hypothesis.stateful import run_state_machine_as_test

    machine = type("Machine", (LimiterMachine,), {"loop_factory": virtual_loop})
    run_state_machine_as_test(machine, settings=settings(max_examples=40, stateful_step_count=25, deadline=None))


# --- tenants -------------------------------------------------------------------------------------


def test_tenants_do_not_share(clock: Any) -> None:
    limiters = MultiTenantRateLimiter(lambda: RateLimiter(1, 1, clock=clock))
    assert [limiters.try_acquire(tenant) for tenant in "aabb"] == [True, False, True, False]
    limiters.remove_tenant("a")
    limiters.remove_tenant("unknown")
    assert [limiters.try_acquire(tenant) for tenant in "ab"] == [True, False]
    assert len(limiters) == 2


def test_memory_is_bounded_and_the_longest_idle_goes_first(clock: Any) -> None:
    limiters = MultiTenantRateLimiter(lambda: RateLimiter(1, 1, clock=clock), limit=3)
    for tenant in "abc":
        assert limiters.try_acquire(tenant)
    assert not limiters.try_acquire("a")
    assert limiters.try_acquire("d")
    assert len(limiters) == 3
    assert [limiters.try_acquire(tenant) for tenant in "acd"] == [False, False, False]
    assert limiters.try_acquire("b"), "it was forgotten"
    for number in range(1000):
        limiters.try_acquire(f"tenant {number}")
    assert len(limiters) == 3
    with pytest.raises(ValueError, match="limit"):
        MultiTenantRateLimiter(lambda: RateLimiter(1, 1), limit=0)


def test_a_tenant_that_somebody_waits_for_is_not_forgotten(run: Run) -> None:
    async def main() -> None:
        limiters = MultiTenantRateLimiter(lambda: limiter_of_loop(1, 1), limit=2)
        await limiters.wait("a")
        waiter = asyncio.create_task(limiters.wait("a"))
        await asyncio.sleep(0)
        for number in range(40):
            assert limiters.try_acquire(f"tenant {number}")
        assert len(limiters) == 2
        assert not limiters.try_acquire("a"), "somebody waits"
        await waiter
        assert not limiters.try_acquire("a"), "and took the token"

    run(main())


def test_where_all_are_waited_for_none_is_lost_until_they_are_served(run: Run) -> None:
    async def main() -> None:
        limiters = MultiTenantRateLimiter(lambda: limiter_of_loop(1, 1), limit=2)
        waiters = []
        for tenant in "abcdef":
            await limiters.wait(tenant)
            waiters.append(asyncio.create_task(limiters.wait(tenant)))
            await asyncio.sleep(0)
        assert len(limiters) == 6
        await asyncio.gather(*waiters)
        assert limiters.try_acquire("g")
        assert len(limiters) == 2

    run(main())


def test_who_waits_for_a_removed_tenant_is_served(run: Run) -> None:
    async def main() -> None:
        limiters = MultiTenantRateLimiter(lambda: limiter_of_loop(1, 1))
        assert limiters.try_acquire("a")
        waiter = asyncio.create_task(limiters.wait("a"))
        await asyncio.sleep(0)
        limiters.remove_tenant("a")
        await asyncio.sleep(1)
        assert waiter.done()
        await waiter

    run(main())

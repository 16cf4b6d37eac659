"""The keeper of breakers: in bounded memory, and as if a failing upstream had a plain counter."""

from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from ailink_gateway.backends.breakers import MemoryBreakers
from ailink_gateway.grant import Breaker
from ailink_provider.resilience import CircuitBreaker

URL = "https://api.example"


def failing(breakers: MemoryBreakers, token_id: str | None, times: int = 1) -> None:
    for _ in range(times):
        breaker = breakers.of(token_id, URL, Breaker())
        assert breaker is not None
        breaker.record_failure()


def test_it_remembers_across_equal_settings() -> None:
    breakers = MemoryBreakers()
    failing(breakers, "t")
    assert breakers.of("t", URL, Breaker()) is breakers.of("t", URL, Breaker())
    assert breakers.health("t") == [(URL, True, 1, 0.0)]


def test_it_counts_circuits_by_their_state() -> None:
    breakers = MemoryBreakers()
    failing(breakers, "well")
    failing(breakers, "ill", 3)
    assert breakers.states() == {"closed": 1, "open": 1, "half_open": 0}


def test_it_tells_how_upstreams_stand(clock: Any) -> None:
    breakers = MemoryBreakers(clock=clock)
    failing(breakers, "t", 3)
    clock.now += 10
    assert breakers.health("t") == [(URL, False, 3, 20.0)]
    clock.now += 20
    assert breakers.health("t") == [(URL, False, 3, 0.0)], "it is asked again, but has not answered"
    assert breakers.health("nobody") == []


def test_to_switch_it_off_is_to_forget() -> None:
    breakers = MemoryBreakers()
    failing(breakers, "t", 3)
    assert breakers.of("t", URL, Breaker(enabled=False)) is None
    breaker = breakers.of("t", URL, Breaker())
    assert breaker is not None and breaker.allow()
    failing(breakers, "t", 3)
    breakers.forget("t")
    breakers.forget("nobody")
    assert breakers.health("t") == []


def test_tokens_without_failures_go_first() -> None:
    breakers = MemoryBreakers(10)
    failing(breakers, "broken", 3)
    for number in range(100):
        breakers.of(f"t{number}", URL, Breaker())
    assert len(breakers) == 10
    assert not breakers.health("broken")[0].is_healthy
    for number in range(100):
        failing(breakers, f"f{number}")
    assert len(breakers) == 10


class AgainstACounter(RuleBasedStateMachine):
    """A breaker whose settings change at any time, and whose calls end in any order, or not at all."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.breakers = MemoryBreakers(clock=lambda: self.now)
        self.setting = Breaker()
        self.failures = 0
        self.opened_at: float | None = None
        self.probes = 0
        self.calls = 0  # made while the circuit was closed, and under way

    @property
    def breaker(self) -> CircuitBreaker:
        breaker = self.breakers.of("t", URL, self.setting)
        assert breaker is not None
        return breaker

    @property
    def state(self) -> str:
        if self.opened_at is None:
            return "closed"
        return "open" if self.now < self.opened_at + self.setting.recovery_cooldown_secs and not self.probes else (
            "half_open"
        )

    @rule(threshold=st.integers(1, 5), cooldown=st.integers(10, 60), places=st.integers(1, 3))
    @precondition(lambda self: self.state != "half_open")
    def is_set(self, threshold: int, cooldown: int, places: int) -> None:
        if self.state == "open" and self.now >= (self.opened_at or 0) + cooldown:
            cooldown = 60
        self.setting = Breaker(True, threshold, cooldown, places)

    @rule(seconds=st.integers(1, 9))
    @precondition(lambda self: not self.probes)
    def time_passes(self, seconds: int) -> None:
        self.now += seconds
        assert self.breaker.state.value == self.state

    @rule()
    def call(self) -> None:
        allowed = self.breaker.allow()
        if self.state == "closed":
            assert allowed
            self.calls += 1
        elif self.state == "open":
            assert not allowed
        else:
            assert allowed == (self.probes < self.setting.half_open_max_requests)
            self.probes += allowed

    @rule()
    @precondition(lambda self: self.calls and self.state == "closed")
    def call_succeeds(self) -> None:
        self.calls -= 1
        self.breaker.record_success()
        self.failures = 0

    @rule()
    @precondition(lambda self: self.calls and self.state == "closed")
    def call_fails(self) -> None:
        self.calls -= 1
        self.breaker.record_failure()
        self.failures += 1
        if self.failures >= self.setting.failure_threshold:
            self.opened_at = self.now

    @rule(how=st.sampled_from(["succeeds", "fails", "is cancelled"]))
    @precondition(lambda self: self.probes)
    def probe(self, how: str) -> None:
        if how == "is cancelled":
            self.breaker.release()
            self.probes -= 1
        elif how == "fails":
            self.breaker.record_failure()
            self.opened_at, self.probes = self.now, 0
        else:
            self.breaker.record_success()
            self.opened_at, self.failures, self.probes = None, 0, 0

    @invariant()
    def they_agree(self) -> None:
        assert self.breaker.state.value == self.state
        assert self.breakers.health("t")[0].is_healthy == (self.state == "closed")


TestAgainstACounter = AgainstACounter.TestCase
TestAgainstACounter.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)

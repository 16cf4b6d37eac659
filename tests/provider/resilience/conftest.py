"""Time that passes only when everybody waits: a loop whose clock jumps to the next timer instead of sleeping."""

import asyncio
import selectors
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest


class _Selector(selectors.SelectSelector):
    """Waits for nothing; counts the seconds it would have waited."""

    now = 1024.0

    def select(self, timeout: float | None = None) -> Any:
        if timeout is None:
            raise RuntimeError("everybody waits, and for nothing that will ever come")
        self.now += max(timeout, 0.0)
        return super().select(0)


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop in virtual time. ``timers`` counts those that were ever set."""

    def __init__(self) -> None:
        self._virtual = _Selector()
        self.timers = 0
        super().__init__(self._virtual)

    def time(self) -> float:
        return self._virtual.now

    def call_at(self, when: float, *arguments: Any, **more: Any) -> asyncio.TimerHandle:
        self.timers += 1
        return super().call_at(when, *arguments, **more)

    def pending(self) -> int:
        """Return how many timers are set now."""
        return sum(not handle.cancelled() for handle in self._scheduled)  # type: ignore[attr-defined]


@pytest.fixture(scope="session")
def virtual_loop() -> type[VirtualLoop]:
    """The class, for tests that run a loop step by step."""
    return VirtualLoop


@pytest.fixture
def run() -> Iterator[Callable[[Coroutine[Any, Any, Any]], Any]]:
    """Run a coroutine in virtual time."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        yield runner.run


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()

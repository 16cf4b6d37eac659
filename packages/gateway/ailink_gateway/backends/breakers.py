"""The breakers in memory: one between each token and each upstream that it calls, kept while grants come and go."""

from collections import Counter, OrderedDict
from collections.abc import Callable
from time import monotonic

from ailink_gateway.grant import Breaker
from ailink_gateway.ports import Health
from ailink_provider.resilience import CircuitBreaker, CircuitState

TOKENS = 100_000
_LOOKS = 16


class MemoryBreakers:
    """Breakers of one process.

    Args:
        most: how many tokens are remembered. Beyond it those without a failure go first, for whom nothing is lost.
        clock: seconds that never go back.
    """

    def __init__(self, most: int = TOKENS, *, clock: Callable[[], float] = monotonic) -> None:
        self._most, self._clock = most, clock
        self._tokens: OrderedDict[str | None, dict[str, _Kept]] = OrderedDict()

    def __len__(self) -> int:
        """How many tokens are remembered."""
        return len(self._tokens)

    def states(self) -> dict[CircuitState, int]:
        """Return how many circuits stand in each state."""
        found = Counter(kept.breaker.state for upstreams in self._tokens.values() for kept in upstreams.values())
        return {state: found[state] for state in CircuitState}

    def of(self, token_id: str | None, url: str, setting: Breaker) -> CircuitBreaker | None:
        """See ``ports.Breakers``. To switch a breaker off is to forget what it knew."""
        if not setting.enabled:
            if token_id in self._tokens:
                del self._tokens[token_id]
            return None
        upstreams = self._tokens.get(token_id)
        if upstreams is None:
            self._make_room()
            upstreams = self._tokens[token_id] = {}
        kept = upstreams.get(url)
        if kept is None:
            kept = upstreams[url] = _Kept(setting, self._clock)
        elif kept.setting is not setting:
            kept.follow(setting)
        return kept.breaker

    def health(self, token_id: str) -> list[Health]:
        """See ``ports.Breakers``."""
        return [
            Health(url, kept.breaker.state is CircuitState.CLOSED, kept.breaker.failures, kept.breaker.cooldown)
            for url, kept in self._tokens.get(token_id, {}).items()
        ]

    def forget(self, token_id: str, url: str | None = None) -> None:
        """See ``ports.Breakers``."""
        if url is None:
            self._tokens.pop(token_id, None)
        else:
            self._tokens.get(token_id, {}).pop(url, None)

    def _make_room(self) -> None:
        for _ in range(_LOOKS):
            if len(self._tokens) < self._most:
                return
            token_id, upstreams = self._tokens.popitem(last=False)
            if any(kept.breaker.failures for kept in upstreams.values()):
                self._tokens[token_id] = upstreams
        if len(self._tokens) >= self._most:
            self._tokens.popitem(last=False)


class _Kept:
    """A breaker, and what it was last set to."""

    __slots__ = ("breaker", "setting")

    def __init__(self, setting: Breaker, clock: Callable[[], float]) -> None:
        self.setting = setting
        self.breaker = CircuitBreaker(*_values(setting), clock=clock)

    def follow(self, setting: Breaker) -> None:
        if self.setting != setting:
            self.breaker.configure(*_values(setting))
        self.setting = setting


def _values(setting: Breaker) -> tuple[int, float, int]:
    return setting.failure_threshold, setting.recovery_cooldown_secs, setting.half_open_max_requests

"""The providers of one application, by name: made when first asked for, watched, and chosen among.

It speaks to no upstream itself and polls nothing unless ``start`` was called. It serves one event loop.
"""

import asyncio
import logging
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from math import inf, log
from time import monotonic, time
from types import TracebackType
from typing import Any, Literal, Self, TypeAlias

from ailink_provider.builtin import dialects, providers, vendor_of
from ailink_provider.contain import contained
from ailink_provider.errors import Failure
from ailink_provider.factory import ProviderConfig, create
from ailink_provider.provider import HealthCheckResult, HealthStatus, Provider
from ailink_provider.transport import Sender

__all__ = ["Registry", "Strategy", "dialects", "providers", "vendor_of"]

Strategy: TypeAlias = Literal["weighted", "round_robin", "failover"]
CHECK_SECONDS = 10.0
_UNKNOWN = HealthCheckResult(HealthStatus.UNKNOWN)
logger = logging.getLogger("ailink")


@dataclass(eq=False)
class _Entry:
    """A registered provider. ``making`` is under way for all who asked; ``turn`` counts up to when it was chosen."""

    config: ProviderConfig
    provider: Provider | None = None
    making: "asyncio.Task[Provider] | None" = None
    health: HealthCheckResult = field(default=_UNKNOWN)
    turn: int = 0


class Registry:
    """Providers by name.

    Args:
        http_client: carries the requests of all providers whose configuration names no other, such as one
            ``Transport`` that they share. It is not closed here.
        chance: where weighted choices come from.
    """

    def __init__(self, *, http_client: Sender | None = None, chance: random.Random | None = None) -> None:
        self._http_client = http_client
        self._chance = chance or random.Random()  # noqa: S311  # it spreads load, it guards nothing
        self._entries: dict[str, _Entry] = {}
        self._turn = 0
        self._occupied = asyncio.Event()
        self._watching: asyncio.Task[None] | None = None

    # --- what there is ---------------------------------------------------------------------------

    def register(self, config: ProviderConfig) -> None:
        """Add a provider; it is made when first asked for. Raises ``Failure`` (``conflict``) if the name is taken."""
        if config.name in self._entries:
            raise Failure("conflict", f"There is a provider {config.name!r} already: unregister it.", param="name")
        if config.http_client is None:
            config = replace(config, http_client=self._http_client)
        self._entries[config.name] = _Entry(config)
        self._notice()

    async def unregister(self, name: str) -> None:
        """Forget a provider and close it, if it was made. Calls under way fail. Raises ``Failure`` (``not_found``)."""
        entry = self._entry(name)
        del self._entries[name]
        self._notice()
        await _let_go(entry)

    def enable(self, name: str) -> None:
        """Let a provider be asked. Raises ``Failure`` (``not_found``)."""
        self._switch(name, True)

    def disable(self, name: str) -> None:
        """Keep a provider, but let nobody ask it. Raises ``Failure`` (``not_found``)."""
        self._switch(name, False)

    def list(self) -> tuple[ProviderConfig, ...]:
        """Return the configurations in the order of their registration."""
        return tuple(entry.config for entry in self._entries.values())

    async def get(self, name: str) -> Provider:
        """Return a provider, made now if it was not before; callers who come meanwhile get the same one.

        Raises ``Failure``: ``not_found`` for one that is unknown or disabled, else as ``create`` does; then the next
        call tries anew.
        """
        entry = self._entry(name)
        if not entry.config.enabled:
            raise Failure("not_found", f"The provider {name!r} is disabled: enable it first.", param="name")
        if entry.provider is not None:
            return entry.provider
        if entry.making is None:
            entry.making = asyncio.create_task(self._make(entry))
            entry.making.add_done_callback(_seen)
        making = entry.making
        try:
            # One caller who gives up takes nothing from the others.
            return await asyncio.shield(making)
        except asyncio.CancelledError:
            caller = asyncio.current_task()
            if making.cancelled() and caller is not None and not caller.cancelling():
                raise _gone(name) from None
            raise

    # --- how it is -------------------------------------------------------------------------------

    def health(self, name: str) -> HealthCheckResult:
        """Return what the last check found; ``UNKNOWN`` before the first. Raises ``Failure`` (``not_found``)."""
        return self._entry(name).health

    async def check_health(self) -> Mapping[str, HealthCheckResult]:
        """Look after every enabled provider, all at once, and return what was found. One that cannot be made, that
        raises, or that takes longer than ``CHECK_SECONDS`` is unhealthy."""
        entries = [entry for entry in self._entries.values() if entry.config.enabled]
        await asyncio.gather(*map(self._check, entries))
        return {entry.config.name: entry.health for entry in entries}

    def start(self, interval: float = 30.0) -> None:
        """Check everybody's health now and every ``interval`` seconds, until ``stop``; asleep while nobody is there."""
        if self._watching is None:
            self._watching = asyncio.create_task(self._watch(interval))

    async def stop(self) -> None:
        """End what ``start`` began."""
        watching, self._watching = self._watching, None
        if watching is not None:
            watching.cancel()
            await asyncio.wait([watching])

    async def close(self) -> None:
        """Stop watching, forget all providers and close them."""
        await self.stop()
        entries = list(self._entries.values())
        self._entries.clear()
        self._notice()
        await asyncio.gather(*map(_let_go, entries))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None,
                        trace: TracebackType | None) -> None:
        await self.close()

    # --- which one -------------------------------------------------------------------------------

    async def find(self, capability: str) -> tuple[str, ...]:
        """Return the names of the enabled providers that have ``capability``. One that cannot be made is left out."""
        names = [entry.config.name for entry in self._entries.values() if entry.config.enabled]
        return tuple([name for name in names if await self._able(name, capability) is not None])

    async def select(self, strategy: Strategy = "weighted", capability: str | None = None) -> Provider:
        """Return the provider to ask now, among those that are enabled, not unhealthy and, if given, capable.

        Args:
            strategy: "weighted" by chance, each in proportion to its weight (0: only if no other is left);
                "round_robin" in turns; "failover" the highest priority, the first registered among equals.
            capability: what it must be able to do.

        Raises ``Failure`` (``all_upstreams_unavailable``) if there is none.
        """
        orders: dict[str, Callable[[_Entry], float]] = {
            "weighted": self._by_chance, "round_robin": lambda entry: entry.turn,
            "failover": lambda entry: -entry.config.priority,
        }
        if strategy not in orders:
            raise Failure("invalid_request", f"The strategies are {', '.join(orders)}.", param="strategy")
        fit = [entry for entry in self._entries.values()
               if entry.config.enabled and entry.health.status is not HealthStatus.UNHEALTHY]
        for entry in sorted(fit, key=orders[strategy]):
            provider = await self._able(entry.config.name, capability)
            if provider is not None:
                self._turn += 1
                entry.turn = self._turn
                return provider
        wanted = f" that can do {capability!r}" if capability else ""
        raise Failure(
            "all_upstreams_unavailable",
            f"None of {len(self._entries)} providers{wanted} can be asked: they are disabled, unhealthy or broken.",
        )

    # --- inside ----------------------------------------------------------------------------------

    def _entry(self, name: str) -> _Entry:
        entry = self._entries.get(name)
        if entry is None:
            known = ", ".join(self._entries) or "none"
            raise Failure("not_found", f"There is no provider {name!r}; registered: {known}.", param="name")
        return entry

    def _switch(self, name: str, enabled: bool) -> None:
        entry = self._entry(name)
        entry.config = replace(entry.config, enabled=enabled)
        entry.health = _UNKNOWN
        self._notice()

    def _notice(self) -> None:
        if any(entry.config.enabled for entry in self._entries.values()):
            self._occupied.set()
        else:
            self._occupied.clear()

    async def _make(self, entry: _Entry) -> Provider:
        try:
            provider = await create(entry.config)
        finally:
            entry.making = None
        entry.provider = provider
        if self._entries.get(entry.config.name) is not entry:
            await _let_go(entry)
            raise _gone(entry.config.name)
        return provider

    async def _able(self, name: str, capability: str | None) -> Provider | None:
        """Return the provider if it can be made and has the capability."""
        try:
            with contained(f"The provider {name}"):
                provider = await self.get(name)
                return provider if capability is None or capability in provider.capabilities() else None
        except Failure as failure:
            logger.warning("provider %s is passed over: %s", name, failure.message)
            return None

    async def _check(self, entry: _Entry) -> None:
        started = monotonic()
        try:
            with contained(f"The health check of {entry.config.name}"):
                async with asyncio.timeout(CHECK_SECONDS):
                    found: Any = await (await self.get(entry.config.name)).health_check()
            if not isinstance(found, HealthCheckResult):
                raise Failure("internal_error", f"The health check returned {type(found).__name__}.")
        except Failure as failure:
            found = HealthCheckResult(
                HealthStatus.UNHEALTHY, failure.message, monotonic() - started, time(),
                entry.health.consecutive_failures + 1,
            )
        if found.status is not entry.health.status:
            logger.info("provider %s is %s: %s", entry.config.name, found.status, found.message)
        entry.health = found

    async def _watch(self, interval: float) -> None:
        while True:
            await self._occupied.wait()
            await self.check_health()
            await asyncio.sleep(interval)

    def _by_chance(self, entry: _Entry) -> float:
        # Exponential variates of rate w: the smallest is each one's with probability w / sum of weights.
        return -log(1.0 - self._chance.random()) / entry.config.weight if entry.config.weight else inf


async def _let_go(entry: _Entry) -> None:
    """Close a provider that knows how."""
    if entry.making is not None:
        entry.making.cancel()
    close = getattr(entry.provider, "close", None)
    if close is None:
        return
    try:
        with contained(f"Closing {entry.config.name}"):
            await close()
    except Failure as failure:
        logger.warning("provider %s: %s", entry.config.name, failure.message)


def _gone(name: str) -> Failure:
    return Failure("not_found", f"The provider {name!r} was unregistered while it was being made.", param="name")


def _seen(task: "asyncio.Task[Provider]") -> None:
    if not task.cancelled():
        task.exception()  # seen, even if nobody waits any more

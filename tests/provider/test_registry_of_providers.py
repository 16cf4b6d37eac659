"""The registry: made once, chosen fairly, watched only when asked to."""

import asyncio
import contextlib
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable

import pytest

from ailink_provider import (
    CompletionRequest,
    CompletionResponse,
    HealthCheckResult,
    HealthStatus,
    Provider,
    ProviderBuilder,
    ProviderConfig,
    Registry,
    factory,
    register_factory,
)
from ailink_provider import (
    registry as module,
)
from ailink_provider.errors import Failure
from ailink_provider.registry import Strategy
from ailink_provider.transport import Request, Response


async def echo(request: CompletionRequest) -> CompletionResponse:
    return CompletionResponse(request.prompt)


class Workshop:
    """A factory that counts what it makes and answers health checks as it is told."""

    def __init__(self) -> None:
        self.made: list[ProviderConfig] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.error: Exception | None = None
        self.health: dict[str, HealthStatus | Exception | Callable[[], object]] = {}
        self.checked: list[str] = []
        self.check_seen = asyncio.Event()
        self.closed: list[str] = []

    async def make(self, config: ProviderConfig) -> Provider:
        self.made.append(config)
        await self.gate.wait()
        if self.error is not None:
            raise self.error

        async def check() -> HealthCheckResult:
            self.checked.append(config.name)
            self.check_seen.set()
            told = self.health.get(config.name, HealthStatus.HEALTHY)
            if isinstance(told, Exception):
                raise told
            if isinstance(told, HealthStatus):
                return HealthCheckResult(told)
            return told()  # type: ignore[return-value]

        builder = ProviderBuilder(config.name, config.type).with_complete_func(echo).with_health_checker(check)
        provider = builder.with_capabilities(*config.settings.get("can", ["chat"])).build()
        monitor = self.closed

        class Closing(type(provider)):  # type: ignore[misc]
            async def close(self) -> None:
                monitor.append(config.name)

        provider.__class__ = Closing
        return provider


@pytest.fixture
def workshop(monkeypatch: pytest.MonkeyPatch) -> Workshop:
    monkeypatch.setattr(factory, "_registered", {})
    shop = Workshop()
    register_factory("custom", shop.make)
    return shop


@pytest.fixture
async def registry(workshop: Workshop) -> AsyncIterator[Registry]:
    async with Registry(chance=random.Random(7)) as made:
        yield made


async def turns() -> None:
    """Let everything that is ready run."""
    for _ in range(20):
        await asyncio.sleep(0)


def config(name: str, **fields: object) -> ProviderConfig:
    return ProviderConfig(name, **fields)  # type: ignore[arg-type]


# --- what there is -------------------------------------------------------------------------------


async def test_a_provider_is_made_when_it_is_first_asked_for(registry: Registry, workshop: Workshop) -> None:
    registry.register(config("a"))
    assert workshop.made == []
    provider = await registry.get("a")
    assert provider.name == "a" and await registry.get("a") is provider
    assert len(workshop.made) == 1


async def test_many_who_ask_at_once_get_the_same_one(registry: Registry, workshop: Workshop) -> None:
    registry.register(config("a"))
    workshop.gate.clear()
    asking = [asyncio.create_task(registry.get("a")) for _ in range(50)]
    await asyncio.sleep(0)
    asking.pop().cancel()
    workshop.gate.set()
    assert len({id(provider) for provider in await asyncio.gather(*asking)}) == 1
    assert len(workshop.made) == 1


async def test_a_provider_that_could_not_be_made_is_tried_anew(registry: Registry, workshop: Workshop) -> None:
    registry.register(config("a"))
    workshop.error = KeyError("x")
    with pytest.raises(Failure):
        await registry.get("a")
    workshop.error = None
    assert (await registry.get("a")).name == "a"


async def test_names_are_unique_known_and_enabled(registry: Registry) -> None:
    registry.register(config("a"))
    with pytest.raises(Failure) as caught:
        registry.register(config("a"))
    assert caught.value.code == "conflict"
    with pytest.raises(Failure, match="registered: a"):
        await registry.get("b")
    registry.disable("a")
    with pytest.raises(Failure, match="disabled"):
        await registry.get("a")
    registry.enable("a")
    assert (await registry.get("a")).name == "a"
    for call in (registry.enable, registry.disable, registry.health):
        with pytest.raises(Failure):
            call("b")


async def test_it_lists_what_was_registered(registry: Registry) -> None:
    registry.register(config("b"))
    registry.register(config("a", enabled=False))
    assert [(entry.name, entry.enabled) for entry in registry.list()] == [("b", True), ("a", False)]


async def test_what_is_unregistered_is_closed(registry: Registry, workshop: Workshop) -> None:
    registry.register(config("a"))
    registry.register(config("never-made"))
    await registry.get("a")
    await registry.unregister("a")
    await registry.unregister("never-made")
    assert workshop.closed == ["a"] and registry.list() == ()
    with pytest.raises(Failure):
        await registry.unregister("a")


async def test_unregistering_stops_the_making(registry: Registry, workshop: Workshop) -> None:
    registry.register(config("a"))
    workshop.gate.clear()
    asking = asyncio.create_task(registry.get("a"))
    await turns()
    assert workshop.made
    await registry.unregister("a")
    with pytest.raises(Failure, match="unregistered"):
        await asking


async def test_what_is_made_too_late_is_closed(registry: Registry, workshop: Workshop) -> None:
    async def stubborn(making: ProviderConfig) -> Provider:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        return await workshop.make(making)

    register_factory("stubborn", stubborn)
    registry.register(config("a", type="stubborn"))
    asking = asyncio.create_task(registry.get("a"))
    await turns()
    await registry.unregister("a")
    with pytest.raises(Failure, match="unregistered"):
        await asking
    assert workshop.closed == ["a"]


async def test_closing_closes_everything_and_survives_what_cannot_be_closed(workshop: Workshop) -> None:
    registry = Registry()
    for name in ("a", "b"):
        registry.register(config(name))
        await registry.get(name)

    class Stuck(type(await registry.get("a"))):  # type: ignore[misc]
        async def close(self) -> None:
            raise RuntimeError("stuck")

    (await registry.get("a")).__class__ = Stuck
    await registry.close()
    assert workshop.closed == ["b"] and registry.list() == ()


async def test_providers_share_the_registrys_client(workshop: Workshop) -> None:
    class Carrier:
        async def send(self, request: Request, deadline: float | None = None) -> Response:
            raise AssertionError

    shared, own = Carrier(), Carrier()
    registry = Registry(http_client=shared)
    registry.register(config("a"))
    registry.register(config("b", http_client=own))
    assert [entry.http_client for entry in registry.list()] == [shared, own]


# --- health --------------------------------------------------------------------------------------


async def test_health_is_what_the_last_check_found(registry: Registry, workshop: Workshop) -> None:
    for name in ("well", "ill", "broken", "odd", "off"):
        registry.register(config(name))
    registry.disable("off")
    workshop.health = {"ill": HealthStatus.UNHEALTHY, "broken": KeyError("sk-secret"), "odd": lambda: "fine"}
    assert registry.health("well").status is HealthStatus.UNKNOWN
    found = await registry.check_health()
    assert {name: result.status.value for name, result in found.items()} == {
        "well": "healthy", "ill": "unhealthy", "broken": "unhealthy", "odd": "unhealthy"}
    assert registry.health("broken") is found["broken"] and "sk-secret" not in found["broken"].message
    assert found["broken"].consecutive_failures == 1
    assert (await registry.check_health())["broken"].consecutive_failures == 2
    assert "off" not in workshop.checked


async def test_a_check_that_hangs_is_unhealthy(
    registry: Registry, workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CHECK_SECONDS", 0.01)
    workshop.gate.clear()
    registry.register(config("a"))
    assert (await registry.check_health())["a"].status is HealthStatus.UNHEALTHY


async def test_nobody_is_watched_before_start_and_after_stop(registry: Registry, workshop: Workshop) -> None:
    registry.start(0.001)
    await turns()
    assert workshop.checked == []
    registry.register(config("a"))
    for _ in range(2):
        workshop.check_seen.clear()
        await asyncio.wait_for(workshop.check_seen.wait(), 5)
    assert registry.health("a").status is HealthStatus.HEALTHY
    await registry.unregister("a")
    await registry.stop()
    await registry.stop()
    seen = len(workshop.checked)
    registry.register(config("b"))
    await turns()
    assert len(workshop.checked) == seen


# --- which one -----------------------------------------------------------------------------------


async def chosen(registry: Registry, strategy: Strategy, times: int = 1, capability: str | None = None) -> list[str]:
    return [(await registry.select(strategy, capability)).name for _ in range(times)]


async def test_weighted_choices_follow_the_weights(registry: Registry) -> None:
    registry.register(config("half", weight=0.5))
    registry.register(config("third", weight=0.3))
    registry.register(config("spare", weight=0))
    counts = Counter(await chosen(registry, "weighted", 800))
    assert counts["spare"] == 0
    assert 430 < counts["half"] < 570
    registry.disable("half")
    registry.disable("third")
    assert await chosen(registry, "weighted") == ["spare"]


async def test_turns_are_taken_and_the_ill_are_passed_over(registry: Registry, workshop: Workshop) -> None:
    for name in "abc":
        registry.register(config(name))
    assert await chosen(registry, "round_robin", 4) == ["a", "b", "c", "a"]
    workshop.health = {"b": HealthStatus.UNHEALTHY, "c": HealthStatus.DEGRADED}
    await registry.check_health()
    assert await chosen(registry, "round_robin", 3) == ["c", "a", "c"]


async def test_failover_goes_by_priority(registry: Registry, workshop: Workshop) -> None:
    registry.register(config("second", priority=5))
    registry.register(config("first", priority=10))
    registry.register(config("also-second", priority=5))
    assert await chosen(registry, "failover", 2) == ["first", "first"]
    workshop.health = {"first": HealthStatus.UNHEALTHY}
    await registry.check_health()
    assert await chosen(registry, "failover") == ["second"]


async def test_a_capability_narrows_the_choice(registry: Registry) -> None:
    registry.register(config("plain", priority=9))
    registry.register(config("sighted", settings={"can": ["chat", "vision"]}))
    assert await registry.find("vision") == ("sighted",)
    assert await registry.find("chat") == ("plain", "sighted")
    assert await chosen(registry, "failover", capability="vision") == ["sighted"]
    with pytest.raises(Failure, match="'telepathy'") as caught:
        await registry.select(capability="telepathy")
    assert caught.value.code == "all_upstreams_unavailable"


async def test_what_cannot_be_made_is_passed_over(
    registry: Registry, workshop: Workshop, caplog: pytest.LogCaptureFixture
) -> None:
    registry.register(config("typo", type="klingon", priority=9))
    registry.register(config("a"))
    assert await chosen(registry, "failover") == ["a"]
    assert await registry.find("chat") == ("a",)
    assert any("typo" in record.getMessage() for record in caplog.records)


async def test_nobody_is_there_and_nobody_knows_how_to_choose(registry: Registry) -> None:
    with pytest.raises(Failure) as caught:
        await registry.select()
    assert caught.value.code == "all_upstreams_unavailable" and caught.value.retryable
    with pytest.raises(Failure) as caught:
        await registry.select("astrology")  # type: ignore[arg-type]
    assert caught.value.param == "strategy"

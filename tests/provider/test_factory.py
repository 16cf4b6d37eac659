"""Factories: built in, registered and installed, through one door; and what a configuration may say."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ailink_provider import (
    Capability,
    CompletionRequest,
    CompletionResponse,
    HealthCheckResult,
    HealthStatus,
    Provider,
    ProviderBuilder,
    ProviderConfig,
    factory,
    register_factory,
)
from ailink_provider.builtin import providers
from ailink_provider.errors import Failure
from ailink_provider.factory import create, discover, factories, open_provider
from ailink_provider.providers import Provider as Row
from ailink_provider.testing import KEYS, MockUpstream
from ailink_provider.transport import Request, Response

ASK = CompletionRequest("Hello, world!", max_tokens=100)


async def echo(request: CompletionRequest) -> CompletionResponse:
    return CompletionResponse(request.prompt)


def make(config: ProviderConfig) -> Provider:
    return ProviderBuilder(config.name, config.type).with_complete_func(echo).build()


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Factories that tests register are gone after each."""
    mine: dict[str, Any] = {}
    monkeypatch.setattr(factory, "_registered", mine)
    return mine


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """A folder with a package that offers providers, one of which works."""
    (tmp_path / "good_providers.py").write_text(
        "from ailink_provider import ProviderBuilder\n"
        "async def answer(request):\n    raise AssertionError\n"
        "def make(config):\n"
        "    return ProviderBuilder(config.name, config.type).with_complete_func(answer).build()\n"
    )
    (tmp_path / "broken_providers.py").write_text("class Oops(Exception): ...\nraise Oops('sk-secret')\n")
    package = tmp_path / "providers-1.dist-info"
    package.mkdir()
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: providers\nVersion: 1\n")
    (package / "entry_points.txt").write_text(
        "[ailink.providers]\nbroken = broken_providers:make\nabsent = not_there:make\ngood = good_providers:make\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    sys.modules.pop("good_providers", None)


# --- configurations ------------------------------------------------------------------------------


def test_a_configurations_repr_shows_no_secret() -> None:
    config = ProviderConfig("x", api_key="sk-secret", credentials={"token": "sk-secret"}, settings={"a": "sk-secret"})
    assert "sk-secret" not in repr(config) and "'x'" in repr(config)


@pytest.mark.parametrize(("fields", "param"), [
    ({"name": ""}, "name"), ({"name": "x", "type": "a b"}, "type"), ({"name": "x", "weight": -1}, "weight"),
    ({"name": "x", "weight": float("inf")}, "weight"),
])
def test_a_configuration_that_cannot_be_is_refused(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(Failure) as caught:
        ProviderConfig(**fields)
    assert caught.value.param == param


# --- factories -----------------------------------------------------------------------------------


async def test_a_registered_factory_makes_its_type() -> None:
    register_factory("mine", make)
    provider = await create(ProviderConfig("first", "mine"))
    assert (provider.name, provider.type) == ("first", "mine")
    assert "mine" in factories()


async def test_a_factory_may_take_its_time_and_the_place_of_a_built_in_one() -> None:
    async def slow(config: ProviderConfig) -> Provider:
        return make(config)

    register_factory("openai", slow)
    register_factory("custom", make)
    assert (await create(ProviderConfig("x", "openai"))).name == "x"
    assert (await (await create(ProviderConfig("y", "custom"))).complete(ASK)).content == "Hello, world!"


async def test_every_built_in_provider_has_a_factory() -> None:
    assert set(factories()) == {*providers(), "custom"}
    for name in set(providers()) - {"vertex"}:  # whose key is a file
        made = await create(ProviderConfig("x", name, api_key="k", endpoint="http://localhost:1"))
        assert (made.name, made.type) == ("x", name)


async def test_an_unknown_type_names_the_known_ones() -> None:
    with pytest.raises(Failure, match="register_factory") as caught:
        await create(ProviderConfig("x", "klingon"))
    assert caught.value.param == "type" and "anthropic" in caught.value.message


async def test_a_factory_that_makes_no_provider_is_told_so() -> None:
    register_factory("mine", lambda config: "not a provider")  # type: ignore[arg-type, return-value]
    with pytest.raises(Failure, match="str"):
        await create(ProviderConfig("x", "mine"))


async def test_a_factory_that_breaks_is_a_failure() -> None:
    def broken(config: ProviderConfig) -> Provider:
        raise KeyError(config.api_key)

    register_factory("mine", broken)
    with pytest.raises(Failure) as caught:
        await create(ProviderConfig("x", "mine", api_key="sk-secret"))
    assert "sk-secret" not in caught.value.message


async def test_a_type_without_a_name_is_refused() -> None:
    with pytest.raises(Failure):
        register_factory("", make)


# --- installed packages --------------------------------------------------------------------------


def test_installed_factories_are_found_and_broken_ones_skipped(
    installed: Path, caplog: pytest.LogCaptureFixture
) -> None:
    found = dict(discover())
    assert [name for name in found if name in ("good", "broken", "absent")] == ["good"]
    warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert all(any(f"'{name}'" in line for line in warnings) for name in ("broken", "absent"))
    assert not any("sk-secret" in line for line in warnings)


async def test_an_installed_factory_is_loaded_when_it_is_asked_for(installed: Path) -> None:
    assert "good" not in factories() and "good_providers" not in sys.modules
    provider = await create(ProviderConfig("x", "good"))
    assert (provider.name, provider.type) == ("x", "good")
    assert "broken_providers" not in sys.modules
    with pytest.raises(Failure, match="cannot be loaded"):
        await create(ProviderConfig("x", "broken"))


# --- built-in providers --------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["openai", "anthropic", "gemini"])
async def test_a_built_in_provider_speaks_to_its_vendor(name: str) -> None:
    async with MockUpstream() as upstream:
        async with open_provider(providers()[name], KEYS[name], endpoint=upstream.url()) as provider:
            reply = await provider.complete(ASK)
            assert reply.content == "echo: Hello, world!"
            assert Capability.FUNCTION_CALLING in provider.capabilities() and provider.supports_streaming()
            assert KEYS[name] not in repr(provider)
        upstream.assert_clean()
        assert provider.model == providers()[name].default_model


async def test_it_estimates_from_the_vendors_prices() -> None:
    provider = open_provider(providers()["openai"], "sk-1", model="gpt-4o-mini")
    small, large = (provider.estimate_cost(CompletionRequest("Hi", max_tokens=limit)) for limit in (10, 1000))
    assert small is not None and large is not None
    assert 0 < small.nano_usd < large.nano_usd and large.output_tokens == 1000
    assert open_provider(providers()["ollama"], "", "llama3", "http://localhost:11434").estimate_cost(ASK) is None


async def test_a_missing_key_or_address_is_named() -> None:
    with pytest.raises(Failure) as caught:
        open_provider(providers()["openai"], "")
    assert (caught.value.code, caught.value.param) == ("credential_missing", "api_key")
    with pytest.raises(Failure) as caught:
        open_provider(Row(name="mine", needs_key=False), "")
    assert caught.value.param == "endpoint"


async def test_a_custom_provider_speaks_openai_and_uses_what_it_is_given() -> None:
    class Carrier:
        sent: Request

        async def send(self, request: Request, deadline: float | None = None) -> Response:
            self.sent = request
            choice = {"index": 0, "message": {"role": "assistant", "content": "well"}, "finish_reason": "stop"}
            return Response(200, [], json.dumps({"id": "1", "model": "m", "choices": [choice]}).encode())

    carrier = Carrier()
    provider = await create(ProviderConfig(
        "mine", api_key="sk-1", model="m", endpoint="http://localhost:11434", max_tokens=9, timeout=5,
        http_client=carrier,
    ))
    assert (await provider.complete(CompletionRequest("x"))).content == "well"
    assert carrier.sent.target == b"/v1/chat/completions"
    assert dict(carrier.sent.headers)[b"authorization"] == b"Bearer sk-1"
    assert isinstance(carrier.sent.body, bytes) and json.loads(carrier.sent.body)["max_tokens"] == 9


async def test_a_provider_written_by_hand_goes_through_the_same_door() -> None:
    class Direct:
        name, type = "direct", "mine"
        complete = staticmethod(echo)

        async def stream(self, request: CompletionRequest) -> Any:
            yield

        async def health_check(self) -> HealthCheckResult:
            return HealthCheckResult(HealthStatus.HEALTHY)

        def capabilities(self) -> list[str]:
            return ["chat"]

        def supports_streaming(self) -> bool:
            return False

        def estimate_cost(self, request: CompletionRequest) -> None:
            return None

    register_factory("mine", lambda config: Direct())
    provider = await create(ProviderConfig("direct", "mine"))
    assert (await provider.complete(ASK)).content == "Hello, world!"

"""One row is the whole change: a service that speaks OpenAI's format is known everywhere by its row alone."""

import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from ailink_gateway.app import base_urls, snapshot
from ailink_gateway.control import create_control
from ailink_gateway.grant import Grant, Snapshot
from ailink_gateway.settings import Settings, load
from ailink_gateway.vault import Place, Vault
from ailink_provider import CompletionRequest, ProviderConfig, builtin, load_config
from ailink_provider import providers as rows
from ailink_provider.factory import create
from ailink_provider.registry import providers, vendor_of
from ailink_provider.testing import MockUpstream
from ailink_provider.testing.conformance import check_provider
from ailink_provider.transport import Guard, Transport

ROW = """
[example]
base_url = "https://api.example-models.com/v1"
hosts = ["api.example-models.com"]
families = ["example-"]
key_variable = "EXAMPLE_API_KEY"
base_url_variable = "EXAMPLE_BASE_URL"
default_model = "example-large"
"""
KEY = "sk-example-key-0123456789"
GRANT = Grant(token_id="tok_a", token_name="a", project_id="p")


@pytest.fixture(autouse=True)
def one_more_row(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Append the row to the table, as whoever adds a provider does."""
    table = tmp_path / "compatible.toml"
    table.write_text(rows.TABLE.read_text(encoding="utf-8") + ROW)
    monkeypatch.setattr(rows, "TABLE", table)
    for variable in ("EXAMPLE_API_KEY", "EXAMPLE_BASE_URL"):
        monkeypatch.delenv(variable, raising=False)
    builtin.providers.cache_clear()
    yield
    builtin.providers.cache_clear()


@pytest.fixture
async def cloud() -> AsyncIterator[MockUpstream]:
    async with MockUpstream(keys={"openai": KEY}) as cloud:
        yield cloud
        cloud.assert_clean()


def settings(tmp_path: Path, **environment: str) -> Settings:
    return load("dev", {"AILINK_DATA_DIR": str(tmp_path), **environment})


async def test_it_is_called_by_prefix_family_and_default(call: Any, cloud: MockUpstream, tmp_path: Path) -> None:
    made = settings(tmp_path, EXAMPLE_API_KEY=KEY, EXAMPLE_BASE_URL=cloud.url("/v1"))
    assert base_urls(made)["example"] == cloud.url("/v1")
    transport = Transport(guard=Guard(made.allow_upstreams))
    try:
        known = snapshot(made, transport, {})
        listed = json.loads((await call(GRANT, "GET", "/v1/models", snapshot=known)).body)["data"]
        assert {"id": "example-large", "object": "model", "created": 0, "owned_by": "example"} in listed
        for model in ("example/anything-at-all", "example-small"):
            asked = {"model": model, "messages": [{"role": "user", "content": "hi"}], "max_tokens": 50}
            body = json.dumps(asked).encode()
            for path in ("/v1/chat/completions", "/v1/messages"):
                answer = await call(GRANT, "POST", path, body, snapshot=known)
                assert answer.status == 200 and b"echo: hi" in answer.body
                assert answer.headers["x-ailink-upstream"] == cloud.url("/v1")
    finally:
        await transport.close()
    assert {request.json["model"] for request in cloud.requests} == {"anything-at-all", "example-small"}


async def test_whoever_lacks_its_key_is_told_the_variable(call: Any) -> None:
    body = b'{"model":"example/m","messages":[{"role":"user","content":"hi"}]}'
    answer = await call(GRANT, "POST", "/v1/chat/completions", body, snapshot=Snapshot())
    assert answer.status == 502 and b"EXAMPLE_API_KEY" in answer.body


async def test_a_credential_may_be_its() -> None:
    assert vendor_of("api.example-models.com") is providers()["example"]
    unused: Any = None
    vault, place = Vault(bytes(range(32))), Place("", "root", "test")
    vault.adopt_root(vault.make_root(place), place)
    control = create_control(unused, vault, None, approvals_desk=unused, known_providers=providers())
    assert "example" in control.state.context.providers


async def test_the_provider_sdk_has_it_too(
    cloud: MockUpstream, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("EXAMPLE_API_KEY", KEY)
    monkeypatch.setenv("EXAMPLE_BASE_URL", cloud.url("/v1"))
    provider = await create(ProviderConfig("mine", "example"))
    assert (await provider.complete(CompletionRequest("hi"))).content == "echo: hi"
    (tmp_path / "ailink.yaml").write_text("llm_providers: {example: {config: {model: other}}}")
    [config] = load_config(tmp_path / "ailink.yaml")
    assert (config.type, config.enabled, config.api_key) == ("example", True, KEY)


async def test_it_keeps_the_promises_of_a_provider(tmp_path: Path) -> None:
    # Which breaks rules on purpose, so this mock need not stay clean.
    async with MockUpstream(keys={"openai": KEY}) as cloud:
        provider = await create(ProviderConfig("mine", "example", api_key=KEY, endpoint=cloud.url("/v1")))
        await check_provider(provider, secrets=[KEY])

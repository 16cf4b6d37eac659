"""A provider of somebody's own, from a package that is installed beside the gateway: called through it by OpenAI's
client, and contained whatever it does.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest

from .clients import Secrets
from .conftest import Gateway, following, run_ailink

SECRET = "own-provider-secret-0123456789"
OTHER = "another-secret-of-its-own-98765"

# What its author wrote, with nothing but the provider SDK.
PACKAGE = '''
"""Providers that behave as their configuration says."""

import asyncio

from ailink_provider import (
    APIError, CircuitBreaker, CompletionResponse, HealthCheckResult, HealthStatus, ProviderBuilder, UsageStats,
)
from ailink_provider.chat import MessageDelta, Usage


def make(config):
    how = config.settings.get("how", "well")
    if how == "stubborn":
        return Stubborn(config.name)

    async def complete(request):
        if how == "raises":
            raise RuntimeError(f"broken, by {config.api_key}")
        if how == "refuses":
            raise APIError(500, f"refused, by {config.api_key} and {config.credentials['other']}")
        if how == "hangs":
            await asyncio.sleep(3600)
        if how == "wrong":
            return {"choices": [config.api_key]}
        return CompletionResponse(f"{request.model} says: {request.prompt}", usage=UsageStats(7, 5))

    async def stream(request):
        if how == "well":
            for word in (await complete(request)).content.split(" "):
                yield word + " "
            yield MessageDelta(usage=Usage(input_tokens=7, output_tokens=5))
        elif how == "breaks":
            yield "half a "
            raise RuntimeError(f"broken, by {config.api_key}")
        elif how == "wrong":
            yield object()
        else:
            yield (await complete(request)).content

    return (
        ProviderBuilder(config.name, "tests-own")
        .with_model(config.model)
        .with_circuit_breaker(CircuitBreaker(3, 3600))
        .with_timeout(config.timeout or 60)
        .with_complete_func(complete)
        .with_stream_func(stream)
        .build()
    )


class Stubborn:
    """Written by hand, and without any timeout of its own."""

    type = "tests-own"

    def __init__(self, name):
        self.name = name

    async def complete(self, request):
        await asyncio.sleep(3600)

    async def stream(self, request):
        await asyncio.sleep(3600)
        yield

    async def health_check(self):
        return HealthCheckResult(HealthStatus.HEALTHY)

    def capabilities(self):
        return ["chat"]

    def supports_streaming(self):
        return True

    def estimate_cost(self, request):
        return None
'''

WELL = """
version: "1.0"
llm_providers:
  my-provider:
    type: tests-own
    config: {model: my-model-v1}
    credentials: {api_key: "${OWN_SECRET}"}
"""
ILL = """
  HOW:
    type: tests-own
    config: {model: m, how: HOW, timeout: 0.4}
    credentials: {api_key: "${OWN_SECRET}", other: "OTHER"}
"""
WAYS = ("raises", "refuses", "hangs", "wrong", "stubborn", "breaks")
CONFIG = WELL + "".join(
    ILL.replace("  HOW:", f"  {how}-{kind}:").replace("HOW", how).replace("OTHER", OTHER)
    for how in WAYS
    for kind in ("whole", "stream")
)

# How it goes wrong -> what its caller is told.
TOLD = {
    "raises": (502, "upstream_failed"),
    "refuses": (502, "upstream_failed"),
    "hangs": (504, "upstream_timeout"),
    "wrong": (502, "upstream_failed"),
}


@pytest.fixture(scope="module")
def beside(start_gateway: Callable[..., Gateway], known_secrets: Secrets, tmp_path_factory: Any) -> Gateway:
    """A gateway with the package installed: its module and its distribution, as pip leaves them."""
    site: Path = tmp_path_factory.mktemp("site")
    (site / "tests_own.py").write_text(PACKAGE)
    distribution = site / "tests_own-1.2.dist-info"
    distribution.mkdir()
    (distribution / "METADATA").write_text("Metadata-Version: 2.1\nName: tests-own\nVersion: 1.2\n")
    (distribution / "RECORD").write_text("tests_own.py,,\n")
    (distribution / "entry_points.txt").write_text("[ailink.providers]\ntests-own = tests_own:make\n")
    config = site / "ailink.yaml"
    config.write_text(CONFIG)
    known_secrets.add(OTHER)
    return start_gateway(PYTHONPATH=str(site), AILINK_CONFIG=str(config), OWN_SECRET=known_secrets.add(SECRET))


@pytest.fixture(scope="module")
def client(beside: Gateway, known_secrets: Secrets) -> Iterator[openai.OpenAI]:
    with beside.admin() as admin:
        # Without the gateway's own breaker, what the provider's does is seen.
        made = admin.tokens.create(name="own", circuit_breaker={"enabled": False})
        token = known_secrets.add(str(made["token_id"]))
    with openai.OpenAI(base_url=f"{beside.url}/v1", api_key=token, max_retries=0) as client:
        yield client


def ask(client: openai.OpenAI, model: str, stream: bool = False) -> str:
    asked: Any = {"model": model, "messages": [{"role": "user", "content": "hello there"}]}
    if not stream:
        return client.chat.completions.create(**asked).choices[0].message.content or ""
    chunks = client.chat.completions.create(**asked, stream=True)
    return "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)


def test_a_package_of_ones_own_is_called_by_its_name(client: openai.OpenAI, beside: Gateway) -> None:
    for stream in (False, True):
        assert ask(client, "my-provider/my-model-v1", stream).strip() == "my-model-v1 says: hello there"
    raw = client.chat.completions.with_raw_response.create(
        model="my-provider/my-model-v1", messages=[{"role": "user", "content": "hello"}]
    )
    assert raw.parse().model == "my-model-v1"
    usage = raw.parse().usage
    assert usage is not None and (usage.prompt_tokens, usage.completion_tokens) == (7, 5)
    with following(beside) as find:
        record = find(raw.headers["x-request-id"])
    assert (record.provider, record.model, record.prompt_tokens) == ("my-provider", "my-model-v1", 7)
    assert ("my-model-v1", "my-provider") in {(model.id, model.owned_by) for model in client.models.list()}


@pytest.mark.parametrize("kind", ["whole", "stream"])
@pytest.mark.parametrize("how", TOLD)
def test_whatever_it_does_is_a_typed_failure_that_its_breaker_counts(
    client: openai.OpenAI, known_secrets: Secrets, how: str, kind: str
) -> None:
    for _ in range(3):
        with pytest.raises(openai.InternalServerError) as caught:
            ask(client, f"{how}-{kind}/m", stream=kind == "stream")
        assert (caught.value.status_code, caught.value.code) == TOLD[how]
        assert not known_secrets.found(caught.value.response.content)
    with pytest.raises(openai.InternalServerError) as caught:
        ask(client, f"{how}-{kind}/m", stream=kind == "stream")
    assert caught.value.code == "upstream_overloaded" and "left alone" in caught.value.message, "three were enough"
    assert int(caught.value.response.headers["retry-after"]) > 3500
    assert ask(client, "my-provider/my-model-v1"), "and nobody else is harmed"


@pytest.mark.parametrize("stream", [False, True])
def test_one_that_never_answers_is_given_up(client: openai.OpenAI, stream: bool) -> None:
    with pytest.raises(openai.InternalServerError) as caught:
        ask(client, f"stubborn-{'stream' if stream else 'whole'}/m", stream)
    assert (caught.value.status_code, caught.value.code) == (504, "upstream_timeout")


def test_a_stream_that_breaks_ends_with_an_error(
    client: openai.OpenAI, beside: Gateway, known_secrets: Secrets
) -> None:
    body = {"model": "breaks-stream/m", "stream": True, "messages": [{"role": "user", "content": "x"}]}
    headers = {"Authorization": f"Bearer {client.api_key}"}
    answer = httpx2.post(f"{beside.url}/v1/chat/completions", json=body, headers=headers)
    assert "half a " in answer.text and "upstream_failed" in answer.text and not known_secrets.found(answer.content)
    with pytest.raises(openai.APIError):
        ask(client, "breaks-stream/m", stream=True)
    with following(beside) as find:
        assert find(answer.headers["x-request-id"]).error_code == "upstream_failed"


def test_a_package_that_cannot_be_loaded_is_named_before_anything_starts(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text(f"raise RuntimeError('{SECRET}')\n")
    distribution = tmp_path / "broken-1.dist-info"
    distribution.mkdir()
    (distribution / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 1\n")
    (distribution / "entry_points.txt").write_text("[ailink.providers]\nbroken = broken:make\n")
    (tmp_path / "ailink.yaml").write_text("llm_providers: {mine: {type: broken}}")
    done = run_ailink("dev", "--port", "0", "--data", str(tmp_path / "data"), cwd=tmp_path, PYTHONPATH=str(tmp_path))
    assert done.returncode != 0 and "broken" in done.stdout and SECRET not in done.stdout

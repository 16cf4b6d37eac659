"""Providers whose front door is their own, through factory and registry: what they are opened with, where they ask, how
the calls are signed, and what becomes of those that cannot be.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from ailink_provider import CompletionRequest, HealthStatus, Provider, ProviderConfig, Registry, load_config
from ailink_provider.auth import AWSSigV4Auth, Fixed
from ailink_provider.builtin import open_access, providers, vendor_of
from ailink_provider.errors import Failure
from ailink_provider.factory import create
from ailink_provider.providers import Given
from ailink_provider.streaming import text_of
from ailink_provider.testing import KEYS
from ailink_provider.testing.conformance import check_provider
from ailink_provider.testing.server import Received
from tests.clouds import AWS_KEY, AZURE_KEY, BEDROCK_KEY, REGION, TEXT, Cloud, Refused, check_signature, model_of

ASK = CompletionRequest("Hello!", max_tokens=100)
ARN = "arn:aws:bedrock:eu-central-1:123456789012:inference-profile/eu.anthropic.claude-sonnet-4-5-v1:0"
SIGV4 = json.loads((Path(__file__).parent / "golden/sigv4.json").read_text("utf-8"))


@pytest.fixture
async def cloud() -> AsyncIterator[Cloud]:
    async with Cloud() as cloud:
        yield cloud


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for row in providers().values():
        sources = [source for names in row.settings.values() for source in names]
        for name in (row.key_variable, row.base_url_variable, row.key_file_variable, *row.key_parts.values(), *sources):
            if name:
                monkeypatch.delenv(name, raising=False)


def configs(cloud: Cloud) -> dict[str, ProviderConfig]:
    """A configuration of every type that is built in and speaks a format of its own or with a key of its own."""
    return {
        "bedrock": ProviderConfig("b", "bedrock", api_key=AWS_KEY.stored, model=ARN, endpoint=cloud.url(),
                                  settings={"region": REGION}),
        "azure": ProviderConfig("a", "azure", api_key=AZURE_KEY, model="my-deployment", endpoint=cloud.url()),
        "vertex": ProviderConfig("v", "vertex", api_key=cloud.account(), model="gemini-2.5-flash",
                                 endpoint=cloud.url()),
        "ollama": ProviderConfig("o", "ollama", model="qwen3:8b", endpoint=cloud.url()),
        "openai": ProviderConfig("c", "openai", api_key=KEYS["openai"], endpoint=cloud.url("/v1")),
        "anthropic": ProviderConfig("d", "anthropic", api_key=KEYS["anthropic"], endpoint=cloud.url()),
        "gemini": ProviderConfig("g", "gemini", api_key=KEYS["gemini"], endpoint=cloud.url()),
        "custom": ProviderConfig("e", "custom", api_key=KEYS["openai"], model="m", endpoint=cloud.url("/v1")),
    }


TYPES = ["bedrock", "azure", "vertex", "ollama", "openai", "anthropic", "gemini", "custom"]


@pytest.mark.parametrize("kind", TYPES)
async def test_every_built_in_type_completes_streams_and_is_healthy(cloud: Cloud, kind: str) -> None:
    async with Registry() as registry:
        config = configs(cloud)[kind]
        registry.register(config)
        provider = await registry.get(config.name)
        reply = await provider.complete(ASK)
        streamed = "".join([piece async for piece in text_of(provider.stream(ASK))])
        assert reply.content.replace(" ", "") == streamed.replace(" ", "") != ""
        assert reply.usage is not None and reply.usage.prompt_tokens > 0
        assert (await provider.health_check()).status is HealthStatus.HEALTHY
    cloud.assert_clean()


@pytest.mark.parametrize("kind", ["bedrock", "azure", "vertex"])
async def test_each_keeps_the_promises_of_a_provider(cloud: Cloud, kind: str) -> None:
    config = configs(cloud)[kind]
    secrets = [AWS_KEY.secret, AWS_KEY.session, AZURE_KEY, cloud.private_key]
    await check_provider(await create(config), secrets=secrets, repeatable=kind != "bedrock")


# --- AWS -----------------------------------------------------------------------------------------


def test_the_clouds_own_check_agrees_with_botocore() -> None:
    names = ["a model's id with a colon", "a model's ARN", "a body beyond ASCII", "a temporary key"]
    for name in names:
        case = SIGV4["requests"][name]
        origin, path = case["url"][:47], case["url"].partition(".com")[2]
        headers = [("Host", origin.partition("//")[2].partition("/")[0]), *case["headers"].items(),
                   *case["added"].items()]
        key = AWS_KEY._replace(id=SIGV4["access_key_id"], secret=SIGV4["secret_access_key"],
                               session=case["session_token"] or "")
        check_signature(Received(case["method"], path, headers, case["body"].encode()), key, case["region"])
        with pytest.raises(Refused, match="does not fit"):
            check_signature(Received(case["method"], path, headers, b"{}"), key, case["region"])


@pytest.mark.parametrize("model", ["anthropic.claude-sonnet-4-5-20250929-v1:0", ARN, "a model/with every:thing%2F é"])
async def test_a_signed_call_arrives_whatever_the_models_name(cloud: Cloud, model: str) -> None:
    provider = await create(configs(cloud)["bedrock"])
    assert (await provider.complete(ASK.replace(model=model))).content == TEXT
    [request] = cloud.arrived
    assert model_of(request) == model and ":" not in request.target
    assert request.headers["x-amz-security-token"] == AWS_KEY.session


async def test_the_usual_variables_of_aws_are_read(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in AWS_KEY.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)
    monkeypatch.setenv("AWS_ENDPOINT_URL_BEDROCK_RUNTIME", cloud.url())
    provider = await create(ProviderConfig("b", "bedrock", model="m"))
    assert (await provider.complete(ASK)).content == TEXT
    monkeypatch.setenv("AWS_REGION", "us-west-2")  # which comes first
    with pytest.raises(Failure, match="its region") as caught:
        await (await create(ProviderConfig("b", "bedrock", model="m"))).complete(ASK)
    assert caught.value.code == "upstream_auth"
    monkeypatch.setenv("AWS_BEARER_TOKEN_BEDROCK", BEDROCK_KEY)  # and so does a key of Bedrock's own
    await (await create(ProviderConfig("b", "bedrock", model="m"))).complete(ASK)
    assert cloud.arrived[-1].headers["authorization"] == f"Bearer {BEDROCK_KEY}"


@pytest.mark.parametrize(("url", "settings", "region", "asked"), [
    ("", {}, "us-east-1", "https://bedrock-runtime.us-east-1.amazonaws.com"),
    ("", {"region": "eu-west-3"}, "eu-west-3", "https://bedrock-runtime.eu-west-3.amazonaws.com"),
    ("https://bedrock-runtime.ap-south-1.amazonaws.com", {"region": "eu-west-3"}, "ap-south-1", ""),
    ("https://bedrock-runtime-fips.us-gov-west-1.amazonaws.com", {}, "us-gov-west-1", ""),
    ("https://bedrock-runtime.cn-north-1.amazonaws.com.cn", {}, "cn-north-1", ""),
    ("https://vpce-1.example.test", {"region": "eu-west-3"}, "eu-west-3", ""),
])
def test_the_region_is_that_of_who_is_asked(url: str, settings: dict[str, str], region: str, asked: str) -> None:
    access = open_access(providers()["bedrock"], Given("AKID:secret", url, settings))
    assert access.base_url == (asked or url)
    assert repr(access.auth) == f"AWSSigV4Auth({region}, bedrock)"


@pytest.mark.parametrize("key", ["a:", ":b", "a:b:", "a:b:c:d", "a:b\n", "::"])
def test_half_a_key_of_aws_is_refused(key: str) -> None:
    with pytest.raises(Failure) as caught:
        open_access(providers()["bedrock"], Given(key))
    assert caught.value.code == "credential_missing"


def test_a_region_is_no_way_into_another_host() -> None:
    with pytest.raises(Failure, match="AWS_REGION"):
        open_access(providers()["bedrock"], Given("a:b", "", {"region": "evil.test/"}))


async def test_all_that_is_signed_with_is_named_as_secret() -> None:
    auth = open_access(providers()["bedrock"], Given(AWS_KEY.stored)).auth
    assert isinstance(auth, AWSSigV4Auth)
    signed = await auth.apply("POST", "https://x.test/model/m/converse", {}, b"{}")
    assert {AWS_KEY.id, AWS_KEY.secret, AWS_KEY.session} <= set(signed.secrets)
    shown = f"{Given(AWS_KEY.stored)!r} {open_access(providers()['bedrock'], Given(AWS_KEY.stored))!r} {signed!r}"
    assert not any(secret in shown for secret in AWS_KEY)


# --- Azure ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("path", "asked"), [
    ("", "/openai/v1"), ("/", "/openai/v1"), ("/openai", "/openai/v1"), ("/openai/v1/", "/openai/v1"), ("/x", "/x"),
])
def test_the_way_below_a_resource(path: str, asked: str) -> None:
    access = open_access(providers()["azure"], Given("k", f"https://mine.openai.azure.com{path}"))
    assert access.base_url == f"https://mine.openai.azure.com{asked}"
    assert isinstance(access.auth, Fixed) and access.auth.signed.headers == {"api-key": "k"}


async def test_azure_needs_to_be_told_where_it_is(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Failure, match="endpoint"):
        await create(ProviderConfig("a", "azure", api_key="k"))
    monkeypatch.setenv("AZURE_OPENAI_API_KEY", AZURE_KEY)
    monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", cloud.url())
    reply = await (await create(ProviderConfig("a", "azure", model="d"))).complete(ASK)
    assert reply.content and cloud.arrived[0].path == "/openai/v1/chat/completions"


# --- Google --------------------------------------------------------------------------------------


async def test_a_token_is_fetched_once_for_many(cloud: Cloud) -> None:
    provider = await create(configs(cloud)["vertex"])
    await asyncio.gather(*[provider.complete(ASK) for _ in range(8)])
    assert len(cloud.tokens) == 1
    assert {request.path for request in cloud.arrived} == {
        "/token",
        "/v1/projects/mock-project/locations/global/publishers/google/models/gemini-2.5-flash:generateContent",
    }


async def test_a_token_that_is_refused_is_told(cloud: Cloud) -> None:
    provider = await create(configs(cloud)["vertex"])
    for cloud.refuse_tokens, said in ((401, r"\(invalid_grant\)"), (500, "500")):
        with pytest.raises(Failure, match=said) as caught:
            await provider.complete(ASK)
        assert caught.value.code == "upstream_auth" and "secret words" not in caught.value.message
    cloud.refuse_tokens = None
    assert (await provider.complete(ASK)).content


async def test_the_usual_variables_of_google_are_read(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "account.json"))
    with pytest.raises(Failure, match="GOOGLE_APPLICATION_CREDENTIALS") as caught:
        await create(ProviderConfig("v", "vertex", model="gemini-2.5-flash"))
    assert caught.value.code == "credential_missing"
    (tmp_path / "account.json").write_text(cloud.account())
    monkeypatch.setenv("GOOGLE_VERTEX_BASE_URL", cloud.url())
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "another-project")
    monkeypatch.setenv("GOOGLE_CLOUD_LOCATION", "europe-west4")
    await (await create(ProviderConfig("v", "vertex", model="gemini-2.5-flash"))).complete(ASK)
    assert cloud.arrived[-1].path.startswith("/v1/projects/another-project/locations/europe-west4/publishers/")


@pytest.mark.parametrize(("url", "settings", "asked", "location"), [
    ("", {}, "https://aiplatform.googleapis.com", "global"),
    ("", {"location": "us-central1"}, "https://us-central1-aiplatform.googleapis.com", "us-central1"),
    ("https://asia-east1-aiplatform.googleapis.com", {"location": "us-central1"}, "", "asia-east1"),
])
def test_the_location_is_that_of_who_is_asked(url: str, settings: dict[str, str], asked: str, location: str) -> None:
    access = open_access(providers()["vertex"], Given("", url, {"project": "p", **settings}))
    assert access.base_url == (asked or url)
    assert access.moved == ("/v1beta/models/", f"/v1/projects/p/locations/{location}/publishers/google/models/")


@pytest.mark.parametrize(("key", "settings"), [
    ("no JSON", {"project": "p"}), ("[]", {"project": "p"}), ("{}", {}), ('{"project_id": 7}', {}),
    ("", {"project": "p/../../x"}), ("", {"project": "p", "location": "evil.test/"}), ("", {"project": ""}),
])
def test_what_opens_no_project_is_refused(key: str, settings: dict[str, str]) -> None:
    with pytest.raises(Failure) as caught:
        open_access(providers()["vertex"], Given(key, "", settings))
    assert caught.value.code == "credential_missing" and "evil" not in caught.value.message


def test_a_key_file_leads_to_no_other_place_for_tokens(cloud: Cloud) -> None:
    account = cloud.account(token_uri="https://evil.test/token")
    with pytest.raises(Failure, match="token_uri"):
        open_access(providers()["vertex"], Given(account, cloud.url()))
    with pytest.raises(Failure, match="token_uri"):  # the mock's own is Google's only where the mock stands for Google
        open_access(providers()["vertex"], Given(cloud.account()))


# --- all -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("host", "name"), [
    ("bedrock-runtime.eu-west-1.amazonaws.com", "bedrock"), ("mine.openai.azure.com", "azure"),
    ("us-central1-aiplatform.googleapis.com", "vertex"), ("aiplatform.googleapis.com", "vertex"),
    ("mine.openai.azure.com.evil.test", None), ("s3.eu-west-1.amazonaws.com", None), ("openai.azure.com", None),
])
def test_a_vendor_is_known_by_its_hosts(host: str, name: str | None) -> None:
    found = vendor_of(host)
    assert (found.name if found else None) == name


async def test_a_file_names_settings_and_the_parts_of_a_key(cloud: Cloud, tmp_path: Path) -> None:
    path = tmp_path / "ailink.yaml"
    path.write_text(
        "llm_providers:\n  bedrock:\n    config: {model: m, region: eu-central-1, endpoint: '${AT}'}\n"
        "    credentials: {access_key_id: '${ID}', secret_access_key: '${SECRET}', session_token: '${SESSION}'}\n"
        "  azure: {}\n  vertex: {}\n"
    )
    environment = {"AT": cloud.url(), "ID": AWS_KEY.id, "SECRET": AWS_KEY.secret, "SESSION": AWS_KEY.session}
    bedrock, azure, vertex = load_config(path, environment)
    assert (await (await create(bedrock)).complete(ASK)).content == TEXT
    assert not azure.enabled and not vertex.enabled
    assert AWS_KEY.secret not in repr(bedrock)


def test_what_a_file_leaves_out_is_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "ailink.yaml"
    path.write_text("llm_providers: {bedrock: {}, azure: {}, vertex: {}, vllm: {}}")
    assert not any(config.enabled for config in load_config(path, {}))
    for said in ("AWS_BEARER_TOKEN_BEDROCK", "AZURE_OPENAI_ENDPOINT", "GOOGLE_APPLICATION_CREDENTIALS",
                 "VLLM_BASE_URL"):
        assert said in caplog.text


def test_half_an_aws_key_in_the_environment_is_none() -> None:
    row = providers()["bedrock"]
    for environment, key in (
        ({"AWS_ACCESS_KEY_ID": "a"}, ""), ({"AWS_SECRET_ACCESS_KEY": "s"}, ""), ({"AWS_SESSION_TOKEN": "t"}, ""),
        ({"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "s"}, "a:s"),
    ):
        variable: Any = environment.get
        assert row.key_of(variable, variable) == key


async def test_a_provider_is_made_with_what_it_was_told_first(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_BEARER_TOKEN_BEDROCK", "another")
    monkeypatch.setenv("AWS_REGION", "us-west-2")
    provider: Provider = await create(configs(cloud)["bedrock"])
    assert (await provider.complete(ASK)).content == TEXT

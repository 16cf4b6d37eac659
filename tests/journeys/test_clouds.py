"""The clouds with a front door of their own, through a gateway process: by the environment and by stored credentials,
whole and streamed, with official clients in front and the vendors' own checks behind.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest
from google import genai
from google.genai import types

from ailink import AIlinkClient
from tests.clouds import AWS_KEY, AZURE_KEY, BEDROCK_KEY, OLLAMA_MODELS, REGION, TEXT, Cloud, model_of

from .clients import Secrets
from .conftest import Gateway, following, wait_for

ARN = "arn:aws:bedrock:eu-central-1:123456789012:inference-profile/eu.anthropic.claude-sonnet-4-5-v1:0"
MODELS = {
    f"bedrock/{ARN}": TEXT,
    "azure/my-deployment": "echo: hi",
    "vertex/gemini-2.5-flash": "echo: hi",
    f"ollama/{OLLAMA_MODELS[0]}": TEXT,
    OLLAMA_MODELS[1]: TEXT,  # by its bare name, which Ollama itself told
}


@pytest.fixture(scope="module")
def cloud_of_all() -> Iterator[Cloud]:
    with Cloud() as cloud:
        yield cloud


@pytest.fixture
def cloud(cloud_of_all: Cloud) -> Cloud:
    cloud_of_all.forget()
    return cloud_of_all


@pytest.fixture(scope="module")
def environment(cloud_of_all: Cloud, known_secrets: Secrets, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What an operator has set for each."""
    file: Path = tmp_path_factory.mktemp("google") / "account.json"
    file.write_text(cloud_of_all.account())
    for secret in (AWS_KEY.secret, AWS_KEY.session, AZURE_KEY, BEDROCK_KEY, cloud_of_all.private_key[100:160]):
        known_secrets.add(secret)
    return AWS_KEY.environment | {
        "AWS_REGION": REGION,
        "AWS_ENDPOINT_URL_BEDROCK_RUNTIME": cloud_of_all.url(),
        "AZURE_OPENAI_API_KEY": AZURE_KEY,
        "AZURE_OPENAI_ENDPOINT": cloud_of_all.url(),
        "GOOGLE_APPLICATION_CREDENTIALS": str(file),
        "GOOGLE_CLOUD_LOCATION": "europe-west4",
        "GOOGLE_VERTEX_BASE_URL": cloud_of_all.url(),
        "OLLAMA_BASE_URL": cloud_of_all.url(),
    }


@pytest.fixture(scope="module")
def clouded(environment: dict[str, str], start_gateway: Callable[..., Gateway]) -> Gateway:
    return start_gateway(**environment)


@pytest.fixture(scope="module")
def make_client(clouded: Gateway, known_secrets: Secrets) -> Iterator[Callable[..., openai.OpenAI]]:
    """Return a function that makes a token with these fields, and OpenAI's client with it."""
    made: list[openai.OpenAI] = []
    with clouded.admin() as admin:

        def make(provider: str | None = None, secret: str = "", **fields: Any) -> openai.OpenAI:
            name = f"t{len(made)}"
            if provider is not None:
                kept = admin.credentials.create(name=name, provider=provider, secret=secret)
                fields["credential_id"] = kept["id"]
            token = known_secrets.add(str(admin.tokens.create(name=name, **fields)["token_id"]))
            made.append(openai.OpenAI(base_url=f"{clouded.url}/v1", api_key=token, max_retries=0))
            return made[-1]

        yield make
    for client in made:
        client.close()


def ask(client: openai.OpenAI, model: str, stream: bool = False) -> str:
    asked: Any = {"model": model, "messages": [{"role": "user", "content": "hi"}], "max_completion_tokens": 50}
    if not stream:
        return client.chat.completions.create(**asked).choices[0].message.content or ""
    chunks = client.chat.completions.create(**asked, stream=True)
    return "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("model", MODELS)
def test_each_is_reached_with_what_the_environment_holds(
    make_client: Callable[..., openai.OpenAI], cloud: Cloud, model: str, stream: bool
) -> None:
    client = make_client()
    wait_for(lambda: OLLAMA_MODELS[1] in {listed.id for listed in client.models.list()})
    assert ask(client, model, stream).replace(" ", "") == MODELS[model].replace(" ", "")
    cloud.assert_clean()
    if model.startswith("bedrock/"):
        assert model_of(cloud.arrived[-1]) == ARN


def test_gemini_s_own_client_reaches_vertex_untranslated(
    make_client: Callable[..., openai.OpenAI], clouded: Gateway, cloud: Cloud
) -> None:
    options = types.HttpOptions(base_url=clouded.url)
    with genai.Client(api_key=make_client().api_key, http_options=options) as client:
        model = "vertex/gemini-2.5-flash"
        assert client.models.generate_content(model=model, contents="hi").text == "echo: hi"
        streamed = client.models.generate_content_stream(model=model, contents="hi")
        assert "".join(reply.text or "" for reply in streamed) == "echo: hi"
        # Vertex counts in another way, so the gateway estimates.
        assert client.models.count_tokens(model=model, contents="hi").total_tokens
    place = "/v1/projects/mock-project/locations/europe-west4/publishers/google/models/"
    assert [request.path.partition(place)[2] for request in cloud.arrived if place in request.path] == [
        "gemini-2.5-flash:generateContent",
        "gemini-2.5-flash:streamGenerateContent",
    ]
    cloud.assert_clean()


def test_stored_credentials_reach_each(make_client: Callable[..., openai.OpenAI], cloud: Cloud) -> None:
    for provider, secret, model in (
        ("bedrock", AWS_KEY.stored, "bedrock/m"), ("bedrock", BEDROCK_KEY, "bedrock/m"),
        ("azure", AZURE_KEY, "azure/d"), ("vertex", cloud.account(), "vertex/gemini-2.5-flash"),
    ):  # fmt: skip
        assert ask(make_client(provider, secret), model)
    cloud.assert_clean()


def test_a_wrong_key_is_ours_to_mend_and_not_shown(
    make_client: Callable[..., openai.OpenAI], clouded: Gateway, cloud: Cloud, known_secrets: Secrets
) -> None:
    """AWS quotes what was signed, the session's token too, when a signature does not fit."""
    wrong = AWS_KEY._replace(secret=known_secrets.add("a-wrong-secret-of-aws-0123456789"))
    with pytest.raises(openai.InternalServerError) as caught:
        ask(make_client("bedrock", wrong.stored), "bedrock/m")
    answer = caught.value.response
    assert (answer.status_code, answer.headers["x-ailink-error"]) == (502, "upstream_auth")
    assert AWS_KEY.session not in answer.text and known_secrets.found(answer.content) == []
    with following(clouded) as find:
        record = find(answer.headers["x-request-id"])
    assert (record.provider, record.upstream_status, record.error_code) == ("bedrock", 403, "upstream_auth")


@pytest.mark.parametrize("status", [401, 503])
def test_no_token_for_an_account_is_a_typed_failure(
    make_client: Callable[..., openai.OpenAI], clouded: Gateway, cloud: Cloud, status: int
) -> None:
    # A credential of its own, so that no token is kept from before.
    client = make_client("vertex", cloud.account(private_key_id=f"key-{status}"))
    cloud.refuse_tokens = status
    with pytest.raises(openai.InternalServerError) as caught:
        ask(client, "vertex/gemini-2.5-flash")
    assert (caught.value.status_code, caught.value.code) == (502, "upstream_auth")
    assert "secret words" not in caught.value.response.text
    with following(clouded) as find:
        record = find(caught.value.response.headers["x-request-id"])
    assert (record.upstream_status, record.provider) == (None, "vertex"), "the model itself was not asked"
    cloud.refuse_tokens = None
    assert ask(client, "vertex/gemini-2.5-flash") == "echo: hi", "a failure is not kept"


def test_what_a_credential_may_hold_is_documented(clouded: Gateway) -> None:
    schemas = httpx2.get(f"{clouded.url}/openapi.json").json()["components"]["schemas"]
    text = schemas["CredentialInput"]["properties"]["secret"]["description"]
    assert "ACCESS_KEY:SECRET:SESSION_TOKEN" in text and "service account" in text


def test_the_same_services_by_the_config_file(
    start_gateway: Callable[..., Gateway], cloud: Cloud, known_secrets: Secrets, tmp_path: Path
) -> None:
    config = tmp_path / "mine.yaml"
    config.write_text(f"""
llm_providers:
  frankfurt:
    type: bedrock
    config: {{endpoint: "{cloud.url()}", region: "{REGION}", model: "m"}}
    credentials: {{access_key_id: "{AWS_KEY.id}", secret_access_key: "{AWS_KEY.secret}", session_token: "${{SESSION}}"}}
  azure:
    config: {{endpoint: "{cloud.url()}", model: "d"}}
    credentials: {{api_key: "{AZURE_KEY}"}}
  pictures:
    type: vertex
    config: {{endpoint: "{cloud.url()}", location: us-east5, project: other-project, model: gemini-2.5-flash}}
    credentials: {{api_key: '{cloud.account().replace(chr(10), "")}'}}
  cellar:
    type: ollama
    config: {{endpoint: "{cloud.url()}"}}
""")
    gateway = start_gateway(AILINK_CONFIG=str(config), SESSION=AWS_KEY.session)
    with AIlinkClient.admin(admin_key=gateway.admin_key, gateway_url=gateway.url) as admin:
        token = known_secrets.add(str(admin.tokens.create(name="all")["token_id"]))
    with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=token, max_retries=0) as client:
        for model in ("frankfurt/m", "azure/d", "pictures/gemini-2.5-flash", f"cellar/{OLLAMA_MODELS[0]}"):
            assert ask(client, model) and ask(client, model, stream=True)
        wait_for(lambda: set(OLLAMA_MODELS) <= {listed.id for listed in client.models.list()})
    assert any("/projects/other-project/locations/us-east5/" in request.path for request in cloud.arrived)
    cloud.assert_clean()
    assert gateway.stop() == 0

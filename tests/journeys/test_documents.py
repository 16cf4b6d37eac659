"""The users' documents, run as written: drop-in clients, switching models, streaming, async, management, errors.

Only hosts and keys differ from the documents.
"""

from collections.abc import Callable
from typing import Any

import pytest

from ailink import AIlinkClient, AsyncClient
from ailink.exceptions import (
    AIlinkError,
    AuthenticationError,
    GatewayError,
    NotFoundError,
    RateLimitError,
    ValidationError,
)
from ailink_provider.testing import KEYS, MockUpstream

from .conftest import AGENT, Gateway

MODELS = ["gpt-4o", "claude-3-5-sonnet-20241022", "gemini-2.0-flash"]


class TestQuickStart:
    """One line of client code, three model families."""

    @pytest.mark.parametrize("model", MODELS)
    def test_drop_in_with_the_openai_client(self, client: AIlinkClient, upstream: MockUpstream, model: str) -> None:
        oai = client.openai()
        response = oai.chat.completions.create(
            model=model, messages=[{"role": "user", "content": "Summarise this contract."}]
        )
        assert response.choices[0].message.content == "echo: Summarise this contract."
        assert response.usage is not None
        assert (response.usage.prompt_tokens, response.usage.completion_tokens) == (11, 7)
        upstream.assert_clean()

    @pytest.mark.parametrize("model", MODELS)
    def test_streaming(self, client: AIlinkClient, upstream: MockUpstream, model: str) -> None:
        stream = client.openai().chat.completions.create(
            model=model, messages=[{"role": "user", "content": "Write a poem."}], stream=True
        )
        poem = ""
        for chunk in stream:
            poem += chunk.choices[0].delta.content or ""
        assert poem == "echo: Write a poem."
        upstream.assert_clean()

    @pytest.mark.parametrize("model", MODELS)
    async def test_async(self, gateway: Gateway, token: str, upstream: MockUpstream, model: str) -> None:
        async with AsyncClient(api_key=token, gateway_url=gateway.url) as client:
            oai = client.openai()
            response = await oai.chat.completions.create(model=model, messages=[{"role": "user", "content": "Hello"}])
            stream = await oai.chat.completions.create(
                model=model, messages=[{"role": "user", "content": "Hello"}], stream=True
            )
            said = "".join([chunk.choices[0].delta.content or "" async for chunk in stream])
        assert response.choices[0].message.content == said == "echo: Hello"
        upstream.assert_clean()


class TestActionGateway:
    """Any REST API, its credential injected."""

    def test_get_and_post(self, gateway: Gateway, make_token: Callable[..., str], upstream: MockUpstream) -> None:
        token = make_token("generic", "sk_test_stripe_secret", upstream_url=upstream.url())
        client = AIlinkClient(api_key=token, gateway_url=gateway.url, agent_name="billing-agent")
        customers = client.get("/v1/customers")
        assert customers.status_code == 200
        assert upstream.requests[-1].path == "/v1/customers"
        assert upstream.requests[-1].headers["authorization"] == "Bearer sk_test_stripe_secret"
        charge = client.post("/v1/charges", json={"amount": 5000, "currency": "usd", "customer": "cus_abc123"})
        assert charge.status_code == 200
        assert upstream.requests[-1].json == {"amount": 5000, "currency": "usd", "customer": "cus_abc123"}
        assert "sk_test_stripe_secret" not in charge.text, "the echo of the key is masked"
        client.close()

    def test_configuration(self, gateway: Gateway, token: str) -> None:
        client = AIlinkClient(
            api_key=token, gateway_url=gateway.url, agent_name="my-agent", timeout=30, retries=3, verify_ssl=True
        )
        assert client.is_healthy()
        client.close()


class TestManagement:
    """Seed 001: an admin stores a credential and makes a token; the agent's call shows in the audit."""

    def test_from_credential_to_audit(
        self, gateway: Gateway, upstream: MockUpstream, record_of: Callable[[str], Any]
    ) -> None:
        admin = AIlinkClient.admin(admin_key=gateway.admin_key, gateway_url=gateway.url)
        cred = admin.credentials.create(name="prod-openai", provider="openai", secret=str(KEYS["openai"]))
        creds = admin.credentials.list()
        assert cred["id"] in [one.id for one in creds]
        token = admin.tokens.create(name="billing-bot", credential_id=cred["id"], upstream_url=upstream.url())
        api_key = token["token_id"]
        assert api_key.startswith("ailink_v1_")
        assert token["id"] in [one.id for one in admin.tokens.list()]

        client = AIlinkClient(api_key=api_key, gateway_url=gateway.url, agent_name=AGENT)
        answer = client.post(
            "/v1/chat/completions",
            json={"model": "gpt-4o", "messages": [{"role": "user", "content": "Hello!"}]},
            headers={"X-Session-ID": "conv-1", "X-Parent-Span-ID": "span-1"},
        )
        assert answer.json()["choices"][0]["message"]["content"] == "echo: Hello!"
        row = record_of(answer.headers["x-request-id"])
        assert (row.model, row.provider, row.prompt_tokens, row.completion_tokens) == ("gpt-4o", "openai", 11, 7)
        assert row.cost_usd == pytest.approx(0.0000975)
        assert (row.agent_name, row.session_id, row.parent_span_id) == (AGENT, "conv-1", "span-1")
        assert (row.method, row.path, row.upstream_status, row.finish_reason) == (
            "POST",
            "/v1/chat/completions",
            200,
            "stop",
        )
        assert row.response_latency_ms > 0
        assert row.token_id == token["id"]
        assert row.id in [one.id for one in admin.audit.list(limit=50)]
        assert [one.id for one in admin.audit.list(session_id="conv-1", agent_name=AGENT)] == [row.id]

        admin.tokens.revoke(api_key)
        with pytest.raises(AuthenticationError):
            client.post("/v1/chat/completions", json={"model": "gpt-4o", "messages": []})
        client.close()
        admin.close()

    def test_projects(self, admin: AIlinkClient) -> None:
        projects = admin.projects.list()
        assert "default" in [project.name for project in projects]
        new_proj = admin.projects.create(name="finance-bot")
        project_id = new_proj["id"]
        admin.projects.delete(project_id)
        assert project_id not in [project.id for project in admin.projects.list()]

    async def test_async_usage(self, gateway: Gateway, token: str) -> None:
        async with AsyncClient(api_key=token, gateway_url=gateway.url) as client:
            oai = client.openai()
            assert oai.api_key == token
            tokens = await client.tokens.list()
        assert [one.name for one in tokens] == ["everything"], "a token sees itself alone"

    def test_error_handling(self, admin: AIlinkClient, gateway: Gateway) -> None:
        assert issubclass(RateLimitError, AIlinkError) and issubclass(GatewayError, AIlinkError)
        with pytest.raises(NotFoundError) as caught:
            admin.tokens.revoke("nonexistent")
        assert caught.value.status_code == 404
        assert caught.value.message
        with pytest.raises(ValidationError) as invalid:
            admin.credentials.create(name="x" * 1000, provider="openai", secret="sk")
        assert invalid.value.status_code == 422
        with (
            AIlinkClient.admin(admin_key="ailink_admin_wrongwrongwrongwrong", gateway_url=gateway.url) as stranger,
            pytest.raises(AuthenticationError),
        ):
            stranger.tokens.list()

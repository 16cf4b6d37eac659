"""The users' documents on what decides about calls, run as written: approvals, keys for operations, breakers,
fallbacks, passthrough, traces, services, configuration, policies.

Only hosts, keys and ids differ from the documents.
"""

import asyncio
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

from ailink import (
    AIlinkClient,
    AIlinkError,
    ApprovalTimeoutError,
    AsyncClient,
    AsyncHealthPoller,
    AuthenticationError,
    HealthPoller,
    PolicyDeniedError,
)
from ailink_provider.testing import KEYS, MockUpstream

from .clients import Secrets
from .conftest import Gateway, wait_for

MESSAGES: Any = [{"role": "user", "content": "Hello"}]
DEAD = "http://127.0.0.1:9"  # nobody listens on the discard port


@pytest.fixture
def attach(admin: AIlinkClient) -> Iterator[Callable[..., str]]:
    """Return a function that makes a policy and holds a token to it; it returns the policy's id."""
    made: list[str] = []

    def make(token: str, name: str, rules: list[dict[str, Any]], **fields: Any) -> str:
        policy = admin.policies.create(name=name, rules=rules, **fields)
        admin.tokens.update(token, policy_ids=[policy["id"]])
        made.append(policy["id"])
        return str(policy["id"])

    yield make


@pytest.fixture
def charging(
    gateway: Gateway, make_token: Callable[..., str], upstream: MockUpstream, attach: Callable[..., str], request: Any
) -> Iterator[AIlinkClient]:
    """An agent whose large charges a human must approve."""
    token = make_token("generic", "sk_test_stripe_secret", upstream_url=upstream.url())
    rule = {
        "when": {"field": "request.body.amount", "op": "gte", "value": 10000},
        "then": {"type": "require_approval", "timeout": "10m"},
    }
    attach(token, f"large-charges-{request.node.name}", [rule])
    with AIlinkClient(api_key=token, gateway_url=gateway.url, agent_name="billing-agent") as client:
        yield client


class TestHumanInTheLoop:
    """HITL handling, async and sync."""

    @pytest.mark.parametrize("approve", [True, False])
    async def test_async_mode(
        self, charging: AIlinkClient, admin: AIlinkClient, upstream: MockUpstream, approve: bool
    ) -> None:
        client = charging
        response = client.post("/v1/charges", json={"amount": 50000})
        assert response.status_code == 202
        request_id = response.json()["request_id"]
        assert upstream.requests == []
        waiting = asyncio.ensure_future(client.wait_for_approval(request_id, timeout=300))
        pending = await asyncio.to_thread(admin.approvals.list)
        assert request_id in [entry.id for entry in pending]
        decide = admin.approvals.approve if approve else admin.approvals.reject
        await asyncio.to_thread(decide, request_id)
        result = await waiting
        if result.approved:
            assert result.response is not None
            assert result.response.status_code == 200
            assert upstream.requests[-1].json == {"amount": 50000}
        else:
            assert result.response is None
            assert upstream.requests == []
        assert result.approved is approve

    @pytest.mark.parametrize(("decision", "status"), [("approve", 200), ("reject", 403)])
    def test_sync_mode(
        self, charging: AIlinkClient, admin: AIlinkClient, upstream: MockUpstream, decision: str, status: int
    ) -> None:
        def decide() -> None:
            wait_for(lambda: bool(admin.approvals.list()))
            getattr(admin.approvals, decision)(admin.approvals.list()[0].id)

        human = threading.Thread(target=decide)
        human.start()
        response = charging.post(
            "/v1/charges", json={"amount": 50000}, wait_for_approval=True, approval_timeout=300
        )
        human.join()
        assert response.status_code == status
        assert len(upstream.requests) == (1 if status == 200 else 0)

    def test_nobody_decides(self, charging: AIlinkClient, admin: AIlinkClient) -> None:
        response = charging.post("/v1/charges", json={"amount": 50000}, wait_for_approval=True, approval_timeout=1)
        assert response.status_code == 408
        for entry in admin.approvals.list():
            admin.approvals.reject(entry.id)

    def test_a_models_call_that_nobody_decides_on_says_how_long_that_took(
        self, gateway: Gateway, admin: AIlinkClient, make_token: Callable[..., str], attach: Callable[..., str]
    ) -> None:
        token = make_token("openai")
        attach(token, "soon-over", [{"type": "require_approval", "timeout": "1s"}])
        with AIlinkClient(api_key=token, gateway_url=gateway.url) as client:
            for headers in ({}, {"X-AILink-Approval-Timeout": "0.5"}):
                with pytest.raises(ApprovalTimeoutError) as e:
                    client.post("/v1/chat/completions", json={"model": "gpt-4o", "messages": MESSAGES}, headers=headers)
                assert e.value.timeout == (0.5 if headers else 1)

    def test_small_charges_pass(self, charging: AIlinkClient) -> None:
        assert charging.post("/v1/charges", json={"amount": 500}).status_code == 200

    def test_idempotency_keys(self, charging: AIlinkClient, upstream: MockUpstream) -> None:
        for _ in range(2):
            response = charging.post(
                "/v1/charges", json={"amount": 5000}, idempotency_key="charge-order-12345",
            )
            assert response.status_code == 200
        assert len(upstream.requests) == 1


class TestErrorHandling:
    """What is denied says by which policy, and why."""

    def test_a_denial(
        self, gateway: Gateway, make_token: Callable[..., str], upstream: MockUpstream, attach: Callable[..., str]
    ) -> None:
        token = make_token("generic", upstream_url=upstream.url())
        attach(token, "read-only", [{"type": "methods", "allow": ["GET"]}])
        with AIlinkClient(api_key=token, gateway_url=gateway.url) as client:
            try:
                client.post("/v1/charges", json={"amount": 5000})
            except PolicyDeniedError as e:
                assert (e.policy_name, e.reason) == ("read-only", "method_not_allowed")
            except ApprovalTimeoutError as e:
                pytest.fail(f"Approval timed out after {e.timeout}s")
            except AIlinkError as e:
                pytest.fail(f"Gateway error: {e}")
            else:
                pytest.fail("it was not denied")


class TestCircuitBreaker:
    """The breaker's configuration, at creation and at run time, and its state."""

    def test_at_creation_and_at_run_time(
        self, admin: AIlinkClient, upstream: MockUpstream, known_secrets: Secrets, gateway: Gateway
    ) -> None:
        credential = admin.credentials.create(name="breaker", provider="openai", secret=KEYS["openai"])
        token = admin.tokens.create(
            name="prod-gpt",
            upstream_url=upstream.url("/v1"),
            credential_id=credential["id"],
            circuit_breaker={"enabled": True, "failure_threshold": 5, "recovery_cooldown_secs": 60},
        )
        known_secrets.add(token["token_id"])
        dev_token = admin.tokens.create(
            name="dev-test", upstream_url=upstream.url("/v1"), circuit_breaker={"enabled": False}
        )
        known_secrets.add(dev_token["token_id"])
        assert admin.tokens.get_circuit_breaker(dev_token["token_id"])["enabled"] is False
        config = admin.tokens.get_circuit_breaker(token["token_id"])
        assert (config["enabled"], config["failure_threshold"]) == (True, 5)
        updated = admin.tokens.set_circuit_breaker(
            token["token_id"], enabled=True, failure_threshold=3, recovery_cooldown_secs=30, half_open_max_requests=1,
        )
        assert (updated["failure_threshold"], updated["recovery_cooldown_secs"]) == (3, 30)
        with AIlinkClient(api_key=token["token_id"], gateway_url=gateway.url) as client:
            answer = client.post("/v1/chat/completions", json={"model": "gpt-4o", "messages": MESSAGES})
            assert answer.headers["X-AILink-CB-State"] == "closed"
            assert answer.headers["X-AILink-Upstream"] == upstream.url("/v1")
        health = admin.tokens.upstream_health()
        entry = next(entry for entry in health if entry["token_id"] == token["id"])
        assert (entry["is_healthy"], entry["url"], entry["cooldown_remaining_secs"]) == (True, upstream.url("/v1"), 0)

    async def test_async(self, gateway: Gateway, make_token: Callable[..., str], upstream: MockUpstream) -> None:
        token = make_token("openai", upstream_url=upstream.url("/v1"))
        async with AsyncClient.admin(admin_key=gateway.admin_key, gateway_url=gateway.url) as admin:
            config = await admin.tokens.get_circuit_breaker(token)
            health = await admin.tokens.upstream_health()
            updated = await admin.tokens.set_circuit_breaker(token, enabled=False)
        assert config["enabled"] is True
        assert health
        assert updated["enabled"] is False


class TestResilience:
    """Four ways to go on while the gateway is away."""

    @pytest.fixture
    def fallback_oai(self, upstream: MockUpstream) -> Iterator[openai.OpenAI]:
        with openai.OpenAI(api_key=str(KEYS["openai"]), base_url=upstream.url("/v1")) as client:
            yield client

    @pytest.mark.parametrize("away", [False, True])
    def test_one_time_check_and_automatic_fallback(
        self, gateway: Gateway, token: str, fallback_oai: openai.OpenAI, away: bool
    ) -> None:
        with AIlinkClient(api_key=token, gateway_url=DEAD if away else gateway.url) as client:
            oai = client.openai() if client.is_healthy() else fallback_oai
            assert (oai is fallback_oai) is away
            response = oai.chat.completions.create(model="gpt-4o", messages=MESSAGES)
            assert response.choices[0].message.content == "echo: Hello"
            if away:
                with pytest.warns(UserWarning, match="cannot be reached"), client.with_fallback(fallback_oai) as oai:
                    assert oai is fallback_oai
            else:
                with client.with_fallback(fallback_oai) as oai:
                    response = oai.chat.completions.create(model="gpt-4o", messages=MESSAGES)
                    assert response.choices[0].message.content == "echo: Hello"

    def test_background_polling(self, gateway: Gateway, token: str, fallback_oai: openai.OpenAI) -> None:
        client = AIlinkClient(api_key=token, gateway_url=gateway.url)
        with client, HealthPoller(client, interval=15) as poller:
            for message in ("one", "two"):
                oai = client.openai() if poller.is_healthy else fallback_oai
                assert oai is not fallback_oai
                response = oai.chat.completions.create(
                    model="gpt-4o", messages=[{"role": "user", "content": message}]
                )
                assert response.choices[0].message.content == f"echo: {message}"

    async def test_async(self, gateway: Gateway, token: str, upstream: MockUpstream) -> None:
        fallback = openai.AsyncOpenAI(api_key=str(KEYS["openai"]), base_url=upstream.url("/v1"))
        async with AsyncClient(api_key=token, gateway_url=gateway.url) as client, fallback:
            oai = client.openai() if await client.is_healthy() else fallback
            assert oai is not fallback
            async with client.with_fallback(fallback) as oai:
                response = await oai.chat.completions.create(model="gpt-4o", messages=MESSAGES)
                assert response.choices[0].message.content == "echo: Hello"
            async with AsyncHealthPoller(client, interval=15) as poller:
                assert poller.is_healthy


class TestPassthrough:
    """A token without a credential, and the caller's own key."""

    def test_the_callers_key(self, gateway: Gateway, make_token: Callable[..., str], upstream: MockUpstream) -> None:
        token = make_token(upstream_url=upstream.url())
        with AIlinkClient(api_key=token, gateway_url=gateway.url) as client:
            with client.with_upstream_key("my-api-key-0123456789", header="") as byok:
                resp = byok.get("/v1/data")
            assert resp.status_code == 200
            assert upstream.requests[-1].headers["authorization"] == "my-api-key-0123456789"
            with client.with_upstream_key("my-api-key-0123456789") as byok, byok.trace(session_id="conv-xyz") as t:
                t.post("/v1/charges", json={})
            assert upstream.requests[-1].headers["authorization"] == "Bearer my-api-key-0123456789"

    async def test_async(self, gateway: Gateway, make_token: Callable[..., str], upstream: MockUpstream) -> None:
        token = make_token(upstream_url=upstream.url())
        client = AsyncClient(api_key=token, gateway_url=gateway.url)
        async with client, client.with_upstream_key("sk-my-key-0123456789") as byok:
            resp = await byok.post("/v1/charges", json={})
        assert resp.status_code == 200

    def test_without_a_key_the_caller_is_told_to_send_one(
        self, gateway: Gateway, make_token: Callable[..., str], upstream: MockUpstream
    ) -> None:
        token = make_token(upstream_url=upstream.url())
        with (
            AIlinkClient(api_key=token, gateway_url=gateway.url) as client,
            pytest.raises(AuthenticationError, match="X-Real-Authorization") as refused,
        ):
            client.post("/v1/chat/completions", json={"model": "gpt-4o", "messages": MESSAGES})
        assert refused.value.status_code == 401

    def test_a_token_with_a_credential_is_bound(
        self, gateway: Gateway, make_token: Callable[..., str], upstream: MockUpstream
    ) -> None:
        token = make_token("generic", upstream_url=upstream.url())
        with (
            AIlinkClient(api_key=token, gateway_url=gateway.url) as client,
            pytest.raises(AIlinkError, match="allow_override"),
            client.with_upstream_key("sk-my-key-0123456789"),
        ):
            pass


class TestSessions:
    """Requests of one conversation, found together."""

    def test_a_trace(
        self, client: AIlinkClient, admin: AIlinkClient, upstream: MockUpstream, record_of: Callable[[str], Any]
    ) -> None:
        with client.trace(session_id="conv-abc123", parent_span_id="span-root-001") as t:
            first = t.post("/v1/chat/completions", json={"model": "gpt-4o", "messages": MESSAGES})
            second = t.post("/v1/chat/completions", json={"model": "gpt-4o", "messages": MESSAGES})
        for answer in (first, second):
            record_of(answer.headers["x-request-id"])
        rows = admin.audit.list(session_id="conv-abc123")
        assert [row.parent_span_id for row in rows] == ["span-root-001"] * 2
        session = admin.sessions.get("conv-abc123")
        assert session.id == "conv-abc123"


class TestManagement:
    """Projects, configuration, services, policies, approvals."""

    def test_projects(self, admin: AIlinkClient) -> None:
        new_proj = admin.projects.create(name="finance-bot")
        project_id = new_proj["id"]
        assert project_id in [project.id for project in admin.projects.list()]
        admin.projects.delete(project_id)

    def test_an_admin_key_and_its_rotation(
        self, gateway: Gateway, admin: AIlinkClient, known_secrets: Secrets
    ) -> None:
        made = admin.admin_keys.create(name="on-call", scopes=["tokens:read"])
        rotated = admin.admin_keys.rotate(made.id)
        assert made.key and rotated.key
        for key in (made.key, rotated.key):
            known_secrets.add(key)
            assert key not in repr(made) + repr(rotated)
        with AIlinkClient.admin(admin_key=rotated.key, gateway_url=gateway.url) as on_call:
            on_call.tokens.list()
            with pytest.raises(PolicyDeniedError) as denied:
                on_call.projects.list()
        assert denied.value.reason == "scope_missing"
        with (
            AIlinkClient.admin(admin_key=made.key, gateway_url=gateway.url) as old,
            pytest.raises(AuthenticationError),
        ):
            old.tokens.list()

    def test_config_export_and_import(self, admin: AIlinkClient, tmp_path: Path) -> None:
        yaml_config = admin.config.export()
        path = tmp_path / "ailink_config.yaml"
        path.write_text(yaml_config)
        import_result = admin.config.import_yaml(path.read_text())
        assert import_result is not None
        assert admin.config.export() == yaml_config

    def test_service_registry(
        self, gateway: Gateway, admin: AIlinkClient, token: str, upstream: MockUpstream, known_secrets: Secrets
    ) -> None:
        credential = admin.credentials.create(
            name="registry-stripe", provider="generic", secret=known_secrets.add("sk_live_of_the_registry")
        )
        admin.services.create(
            name="stripe", base_url=upstream.url(), description="Payment processing", service_type="generic",
            credential_id=credential["id"],
        )
        admin.services.create(name="github", base_url=upstream.url(), description="Repositories")
        admin.services.create(name="slack", base_url=upstream.url(), description="Slack notifications")
        services = admin.services.list()
        for svc in services:
            assert f"{svc.name} → {svc.base_url} ({svc.service_type})"
        with AIlinkClient(api_key=token, gateway_url=gateway.url, agent_name="billing-bot") as agent:
            charges = agent.post("/v1/proxy/services/stripe/v1/charges", json={"amount": 5000, "currency": "usd"})
            repos = agent.get("/v1/proxy/services/github/user/repos")
            note = agent.post(
                "/v1/proxy/services/slack/api/chat.postMessage", json={"channel": "#billing", "text": "Done!"}
            )
        assert [answer.status_code for answer in (charges, repos, note)] == [200, 200, 200]
        assert [request.path for request in upstream.requests] == [
            "/v1/charges", "/user/repos", "/api/chat.postMessage"
        ]
        for svc in services:
            admin.services.delete(service_id=svc.id)

    def test_separate_tokens(self, gateway: Gateway, make_token: Callable[..., str], upstream: MockUpstream) -> None:
        paths = {"stripe": "/v1/charges", "github": "/user/repos"}
        for name, path in paths.items():
            token = make_token("generic", f"key-of-{name}-0123", upstream_url=upstream.url())
            with AIlinkClient(api_key=token, gateway_url=gateway.url, agent_name="billing-bot") as agent:
                assert agent.get(path).status_code == 200
                assert agent.post("/api/chat.postMessage", json={"text": "Done!"}).status_code == 200
        assert [request.path for request in upstream.requests] == [
            "/v1/charges", "/api/chat.postMessage", "/user/repos", "/api/chat.postMessage"
        ]

    def test_policies_with_retry(self, admin: AIlinkClient) -> None:
        policy = admin.policies.create(
            name="rate-limit-100",
            mode="enforce",
            rules=[{"type": "rate_limit", "window": "1m", "max_requests": 100}],
            retry={"max_retries": 3, "base_delay_ms": 500, "max_backoff_ms": 10000},
        )
        assert admin.policies.update(policy["id"], mode="shadow").mode == "shadow"
        assert len(admin.policies.versions(policy["id"])) == 2
        admin.policies.delete(policy["id"])


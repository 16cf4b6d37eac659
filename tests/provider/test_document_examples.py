"""The examples of the provider SDK's first document, in Python, section by section, run as they stand."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ailink_provider import (
    APIError,
    APIKeyAuth,
    BasicAuth,
    BearerTokenAuth,
    Capability,
    ChainedAuth,
    CircuitBreaker,
    CircuitState,
    CompletionRequest,
    CompletionResponse,
    CostEstimate,
    HealthCheckResult,
    HealthStatus,
    MultiTenantRateLimiter,
    NoAuth,
    Provider,
    ProviderBuilder,
    ProviderConfig,
    RateLimiter,
    Registry,
    RetryConfig,
    UsageStats,
    default_retryable,
    factory,
    load_config,
    register_factory,
    retry_with_backoff,
)


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(factory, "_registered", {})
    monkeypatch.setenv("MY_API_KEY", "sk-your-api-key")
    yield


async def my_completion_handler(request: CompletionRequest) -> CompletionResponse:
    return CompletionResponse(
        content="Response from custom provider", model=request.model,
        usage=UsageStats(prompt_tokens=10, completion_tokens=20, total_tokens=30),
    )


async def test_the_fluent_builder() -> None:
    provider = (
        ProviderBuilder("my-provider", "custom")
        .with_model("my-model-v1")
        .with_endpoint("https://api.myprovider.com/v1")
        .with_auth(APIKeyAuth("sk-your-api-key"))
        .with_rate_limiter(RateLimiter(100, 100))
        .with_retry(RetryConfig())
        .with_complete_func(my_completion_handler)
        .build()
    )
    response = await provider.complete(CompletionRequest(prompt="Hello, world!", max_tokens=100))
    assert response.content == "Response from custom provider" and response.model == "my-model-v1"
    assert response.usage is not None and response.usage.total_tokens == 30


class MyProvider:
    """The interface, implemented directly."""

    type = "custom"

    def __init__(self, name: str) -> None:
        self.name = name
        self.limiter = RateLimiter(100, 100)
        self.calls = 0

    async def complete(self, request: CompletionRequest) -> CompletionResponse:
        await self.limiter.wait()

        async def call() -> CompletionResponse:
            self.calls += 1
            if self.calls == 1:
                raise APIError(503, "busy")
            return CompletionResponse(request.prompt)

        return await retry_with_backoff(RetryConfig(initial_backoff=0.001), call)

    async def stream(self, request: CompletionRequest) -> Any:
        raise APIError(501, "no streams")
        yield

    async def health_check(self) -> HealthCheckResult:
        return HealthCheckResult(HealthStatus.HEALTHY)

    def capabilities(self) -> list[Capability]:
        return [Capability.CHAT, Capability.COMPLETION]

    def supports_streaming(self) -> bool:
        return False

    def estimate_cost(self, request: CompletionRequest) -> CostEstimate:
        return CostEstimate(0)


async def test_the_interface_implemented_directly() -> None:
    mine = MyProvider("direct")
    assert isinstance(mine, Provider)
    assert (await mine.complete(CompletionRequest("Hello"))).content == "Hello" and mine.calls == 2


def test_authentication_providers() -> None:
    made = [
        APIKeyAuth("sk-your-api-key"), APIKeyAuth("sk-xxx", "X-API-Key"), APIKeyAuth("sk-xxx", query="api_key"),
        BasicAuth("username", "password"), BearerTokenAuth("your-token"), NoAuth(),
    ]
    assert "sk-" not in repr(ChainedAuth(*made))


async def test_rate_limiting() -> None:
    limiter = RateLimiter(100, 100)
    await limiter.wait()
    assert limiter.try_acquire() and limiter.available() < 100
    limiter.set_rate(50)
    limiter.set_burst(200)
    tenants = MultiTenantRateLimiter(lambda: RateLimiter(10, 10))
    await tenants.wait("tenant-123")
    assert tenants.try_acquire("tenant-456")
    tenants.remove_tenant("tenant-123")


async def test_retry_with_exponential_backoff() -> None:
    config = RetryConfig(
        max_retries=5, initial_backoff=0.1, max_backoff=30.0, backoff_factor=2.0, jitter=0.1,
        retry_if=default_retryable,
    )

    async def call_api() -> str:
        return "well"

    assert await retry_with_backoff(config, call_api) == "well"
    seen: list[int] = []

    async def limited() -> str:
        seen.append(1)
        raise APIError(500, "not a rate limit")

    only_limits = RetryConfig(retry_if=lambda error: isinstance(error, APIError) and error.status_code == 429)
    with pytest.raises(APIError):
        await retry_with_backoff(only_limits, limited)
    assert len(seen) == 1


def test_circuit_breaker() -> None:
    breaker = CircuitBreaker(5, 30)
    for _ in range(5):
        assert breaker.allow()
        breaker.record_failure()
    assert breaker.state is CircuitState.OPEN and not breaker.allow()
    breaker.reset()
    assert breaker.state is CircuitState.CLOSED and breaker.allow()
    breaker.record_success()
    assert list(CircuitState) == [CircuitState.CLOSED, CircuitState.OPEN, CircuitState.HALF_OPEN]


async def test_registering_with_the_factory() -> None:
    register_factory("custom", lambda config: (
        ProviderBuilder(config.name, "custom")
        .with_model(config.model)
        .with_endpoint(config.endpoint)
        .with_auth(APIKeyAuth(config.api_key))
        .with_rate_limiter(RateLimiter(100, 100))
        .with_retry(RetryConfig())
        .with_complete_func(my_completion_handler)
        .build()
    ))
    registry = Registry()
    registry.register(ProviderConfig(
        name="my-custom-llm", type="custom", api_key="sk-your-api-key", model="my-model-v1",
        endpoint="https://api.myprovider.com", enabled=True,
    ))
    provider = await registry.get("my-custom-llm")
    assert (await provider.complete(CompletionRequest("Hi"))).model == "my-model-v1"
    assert registry.health("my-custom-llm").status is HealthStatus.UNKNOWN
    registry.disable("my-custom-llm")
    registry.enable("my-custom-llm")
    assert [config.name for config in registry.list()] == ["my-custom-llm"]
    await registry.unregister("my-custom-llm")


async def test_the_documents_file_makes_providers(tmp_path: Path) -> None:
    (tmp_path / "axonflow.yaml").write_text("""
version: "1.0"

llm_providers:
  my_custom_provider:
    enabled: true
    display_name: "My Custom LLM"
    config:
      model: "my-model-v1"
      endpoint: "https://api.myprovider.com/v1"
      max_tokens: 4096
    credentials:
      api_key: ${MY_PROVIDER_API_KEY}
    priority: 10
    weight: 0.5

  ollama_local:
    enabled: true
    display_name: "Ollama (Local)"
    config:
      endpoint: ${OLLAMA_ENDPOINT:-http://localhost:11434}
      model: ${OLLAMA_MODEL:-llama3.1:70b}
    priority: 5
    weight: 0.3
""")
    async with Registry() as registry:
        for config in load_config(tmp_path / "axonflow.yaml", {"MY_PROVIDER_API_KEY": "sk-1"}):
            registry.register(config)
        chosen = await registry.select("failover")
        assert chosen.name == "my_custom_provider"
        assert [(config.model, config.weight) for config in registry.list()] == [
            ("my-model-v1", 0.5), ("llama3.1:70b", 0.3),
        ]


@pytest.mark.parametrize("type", ["openai", "anthropic", "ollama", "bedrock", "gemini", "custom"])
async def test_the_built_in_types_are_there(type: str) -> None:
    provider = await factory.create(ProviderConfig("x", type, api_key="k", endpoint="http://localhost:1"))
    assert provider.type == type and provider.supports_streaming()


async def test_the_documents_test_of_a_provider() -> None:
    async def mock(request: CompletionRequest) -> CompletionResponse:
        return CompletionResponse("mock response", model=request.model)

    provider = ProviderBuilder("test", "custom").with_complete_func(mock).build()
    assert (await provider.complete(CompletionRequest(prompt="test"))).content == "mock response"

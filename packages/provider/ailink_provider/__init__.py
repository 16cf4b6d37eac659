"""How to speak to a model: dialects, providers, transport, and the SDK for a provider of your own.

No server, no database. What is listed here is imported when it is first asked for, so that the package itself costs
nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ailink_provider.auth import APIKeyAuth, BasicAuth, BearerTokenAuth, ChainedAuth, NoAuth
    from ailink_provider.builder import ProviderBuilder
    from ailink_provider.config import load_config
    from ailink_provider.factory import ProviderConfig, register_factory
    from ailink_provider.provider import (
        Capability,
        CompletionRequest,
        CompletionResponse,
        CostEstimate,
        HealthCheckResult,
        HealthStatus,
        Provider,
        UsageStats,
    )
    from ailink_provider.registry import Registry
    from ailink_provider.resilience import (
        APIError,
        CircuitBreaker,
        CircuitState,
        MultiTenantRateLimiter,
        RateLimiter,
        RetryConfig,
        default_retryable,
        retry_with_backoff,
    )

_HOMES = {
    "APIError": "resilience",
    "APIKeyAuth": "auth",
    "BasicAuth": "auth",
    "BearerTokenAuth": "auth",
    "Capability": "provider",
    "ChainedAuth": "auth",
    "CircuitBreaker": "resilience",
    "CircuitState": "resilience",
    "CompletionRequest": "provider",
    "CompletionResponse": "provider",
    "CostEstimate": "provider",
    "HealthCheckResult": "provider",
    "HealthStatus": "provider",
    "MultiTenantRateLimiter": "resilience",
    "NoAuth": "auth",
    "Provider": "provider",
    "ProviderBuilder": "builder",
    "ProviderConfig": "factory",
    "RateLimiter": "resilience",
    "Registry": "registry",
    "RetryConfig": "resilience",
    "UsageStats": "provider",
    "default_retryable": "resilience",
    "load_config": "config",
    "register_factory": "factory",
    "retry_with_backoff": "resilience",
}

__all__ = [
    "APIError",
    "APIKeyAuth",
    "BasicAuth",
    "BearerTokenAuth",
    "Capability",
    "ChainedAuth",
    "CircuitBreaker",
    "CircuitState",
    "CompletionRequest",
    "CompletionResponse",
    "CostEstimate",
    "HealthCheckResult",
    "HealthStatus",
    "MultiTenantRateLimiter",
    "NoAuth",
    "Provider",
    "ProviderBuilder",
    "ProviderConfig",
    "RateLimiter",
    "Registry",
    "RetryConfig",
    "UsageStats",
    "default_retryable",
    "load_config",
    "register_factory",
    "retry_with_backoff",
]


if not TYPE_CHECKING:  # so that a type checker still finds names that are not there

    def __getattr__(name: str) -> Any:
        home = _HOMES.get(name)
        if home is None:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(f"{__name__}.{home}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

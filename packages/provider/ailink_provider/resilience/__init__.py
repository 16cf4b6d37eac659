"""What keeps a caller and an upstream from harming each other: a rate, a second attempt, a breaker.

Each works by itself, on one event loop, with no thread and no polling; all times are in seconds, and fractions work.
"""

from ailink_provider.resilience.breaker import CircuitBreaker, CircuitState
from ailink_provider.resilience.rate_limit import MultiTenantRateLimiter, RateLimiter
from ailink_provider.resilience.retry import APIError, RetryConfig, default_retryable, retry_with_backoff

__all__ = [
    "APIError",
    "CircuitBreaker",
    "CircuitState",
    "MultiTenantRateLimiter",
    "RateLimiter",
    "RetryConfig",
    "default_retryable",
    "retry_with_backoff",
]

"""The package's front page: every name is there, at its home, and costs nothing until it is used."""

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import ailink_provider


def test_every_name_can_be_imported_from_the_package() -> None:
    for name in ailink_provider.__all__:
        home = importlib.import_module(f"ailink_provider.{ailink_provider._HOMES[name]}")
        assert getattr(ailink_provider, name) is getattr(home, name)
        assert name in dir(ailink_provider)


def test_the_names_are_those_that_people_are_told() -> None:
    assert set(ailink_provider.__all__) == set(ailink_provider._HOMES) == {
        "ProviderBuilder", "Provider", "CompletionRequest", "CompletionResponse", "UsageStats", "HealthCheckResult",
        "HealthStatus", "Capability", "CostEstimate", "APIKeyAuth", "BasicAuth", "BearerTokenAuth", "NoAuth",
        "ChainedAuth", "RateLimiter", "MultiTenantRateLimiter", "RetryConfig", "retry_with_backoff",
        "default_retryable", "APIError", "CircuitBreaker", "CircuitState", "ProviderConfig", "register_factory",
        "Registry", "load_config",
    }


def test_what_type_checkers_see_is_what_there_is() -> None:
    source = Path(ailink_provider.__file__).read_text(encoding="utf-8")
    seen = {
        alias.name: node.module
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("ailink_provider.")
        for alias in node.names
    }
    assert seen == {name: f"ailink_provider.{home}" for name, home in ailink_provider._HOMES.items()}


def test_an_unknown_name_is_missing() -> None:
    with pytest.raises(AttributeError, match="Klingon"):
        getattr(ailink_provider, "Klingon")  # noqa: B009


def test_importing_the_package_loads_nothing_of_it() -> None:
    code = (
        "import sys, ailink_provider\n"
        "print([name for name in sys.modules if name.startswith(('ailink_provider.', 'msgspec'))])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30)
    assert done.stdout.strip() == "[]"


def test_what_only_some_need_is_loaded_by_them_alone() -> None:
    code = (
        "import sys\nfrom ailink_provider import *\n"
        "print([m for m in ('yaml', 'genai_prices', 'httpx2', 'cryptography', 'pytest') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30)
    assert done.stdout.strip() == "[]"

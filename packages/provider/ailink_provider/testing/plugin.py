"""A pytest plugin: name a fixture ``conforming_provider``, and its module has the conformance test.

    pytest_plugins = ["ailink_provider.testing.plugin"]      # in conftest.py

    @pytest.fixture                                          # in a test module
    def conforming_provider() -> Provider: ...

The fixture is an ordinary, synchronous one. ``provider_secrets`` may be overridden to name what must not be seen.
"""

import asyncio
from collections.abc import Sequence

import pytest

from ailink_provider.provider import Provider
from ailink_provider.testing.conformance import check_provider

FIXTURE = "conforming_provider"


@pytest.fixture
def provider_secrets() -> Sequence[str]:
    """What the provider under test must not show: override it."""
    return ()


def check_conformance(conforming_provider: Provider, provider_secrets: Sequence[str]) -> None:
    """The test that is collected."""
    asyncio.run(check_provider(conforming_provider, secrets=provider_secrets))


@pytest.hookimpl(tryfirst=True)
def pytest_pycollect_makeitem(collector: pytest.Module | pytest.Class, name: str) -> pytest.Item | None:
    """Collect the conformance test where a module defines the fixture."""
    if name != FIXTURE:
        return None
    item: pytest.Item = pytest.Function.from_parent(
        collector, name="test_provider_keeps_its_promises", callobj=check_conformance
    )
    return item

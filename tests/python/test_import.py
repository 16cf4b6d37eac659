"""Importing the package costs little and does nothing."""

import subprocess
import sys

import pytest

import ailink


def modules_after(statement):
    program = f"import sys; {statement}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_importing_the_package_loads_nothing_heavy():
    assert not modules_after("import ailink") & {"openai", "anthropic", "httpx2", "pydantic", "asyncio"}


def test_using_a_client_does_not_load_the_vendors_packages():
    loaded = modules_after("import ailink; ailink.AIlinkClient('key'); ailink.AsyncClient('key')")
    assert "httpx2" in loaded
    assert not loaded & {"openai", "anthropic"}


@pytest.mark.parametrize("name", ailink.__all__)
def test_every_public_name_is_there(name):
    assert getattr(ailink, name).__name__ == name
    assert name in dir(ailink)


def test_an_unknown_name_is_said_to_be_unknown():
    with pytest.raises(AttributeError, match="module 'ailink' has no attribute 'nonsense'"):
        _ = ailink.nonsense

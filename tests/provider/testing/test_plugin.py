"""The plug-in: a module that names the fixture has the conformance test, and no other module has."""

import subprocess
import sys
from pathlib import Path

PROVIDER = """
import pytest
from ailink_provider import CompletionResponse, ProviderBuilder

async def answer(request):
    return CompletionResponse({answer!r}, model="m")

@pytest.fixture
def conforming_provider():
    return ProviderBuilder("mine", "custom").with_complete_func(answer).build()
"""


def test_a_third_partys_provider_is_checked(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text('pytest_plugins = ["ailink_provider.testing.plugin"]\n')
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    (tmp_path / "test_good.py").write_text(PROVIDER.format(answer="Hello."))
    (tmp_path / "test_bad.py").write_text(PROVIDER.format(answer=""))
    (tmp_path / "test_other.py").write_text("def test_nothing():\n    pass\n")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-v", "-p", "no:cacheprovider"], cwd=tmp_path, capture_output=True, text=True,
        env={"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}, timeout=60, check=False,
    )
    assert "test_good.py::test_provider_keeps_its_promises PASSED" in done.stdout, done.stdout
    assert "test_bad.py::test_provider_keeps_its_promises FAILED" in done.stdout
    assert "complete answers without text" in done.stdout
    assert "2 passed" in done.stdout and "1 failed" in done.stdout

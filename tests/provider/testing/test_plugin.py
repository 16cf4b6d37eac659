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


# A class of a third party's own, which streams: well, or losing a word on the way, or showing its key.
STREAMING = """
import pytest
from ailink_provider import CompletionResponse, HealthCheckResult, HealthStatus
from ailink_provider.chat import Finish, MessageDelta, MessageEnd, MessageStart, Text, Usage, collect
from ailink_provider.chat import PartDelta, PartEnd, PartStart
from ailink_provider.errors import Failure

class Mine:
    name, type, key = "mine", "their-own", "top-secret-of-mine"
    words = {words!r}

    async def complete(self, request):
        if request.max_tokens == -1:
            raise Failure("invalid_request", "max_tokens must be positive", param="max_tokens")
        words = ["Hello", " there"]
        return CompletionResponse.of(collect(list(self.events(words))))

    async def stream(self, request):
        for event in self.events(self.words):
            yield event

    def events(self, words):
        yield MessageStart("1", "m")
        yield PartStart(0, Text(""))
        yield from (PartDelta(0, word) for word in words)
        yield PartEnd(0)
        yield MessageDelta(Finish("stop"), Usage(3, 2))
        yield MessageEnd()

    async def health_check(self):
        return HealthCheckResult(HealthStatus.HEALTHY, {health!r})

    def capabilities(self):
        return ["chat", "streaming"]

    def supports_streaming(self):
        return True

    def estimate_cost(self, request):
        return None

@pytest.fixture
def provider_secrets():
    return [Mine.key]

@pytest.fixture
def conforming_provider():
    return Mine()
"""


def run(where: Path, **modules: str) -> str:
    """Run pytest over a third party's modules, with the plug-in; return what it prints."""
    (where / "conftest.py").write_text('pytest_plugins = ["ailink_provider.testing.plugin"]\n')
    (where / "pytest.ini").write_text("[pytest]\n")
    for name, text in modules.items():
        (where / f"{name}.py").write_text(text)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-v", "-p", "no:cacheprovider"], cwd=where, capture_output=True, text=True,
        env={"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}, timeout=60, check=False,
    )
    return done.stdout


def test_a_third_partys_streams_are_checked(tmp_path: Path) -> None:
    words = ["Hello", " there"]
    printed = run(
        tmp_path, test_good=STREAMING.format(words=words, health="fine"),
        test_bad=STREAMING.format(words=words[:1], health="fine"),
        test_leaking=STREAMING.format(words=words, health="up, with top-secret-of-mine"))
    assert "test_good.py::test_provider_keeps_its_promises PASSED" in printed, printed
    assert "a stream says 'Hello', complete says 'Hello there'" in printed
    assert "its repr, an error or its health shows a secret" in printed
    assert "1 passed" in printed and "2 failed" in printed


def test_a_third_partys_provider_is_checked(tmp_path: Path) -> None:
    printed = run(tmp_path, test_good=PROVIDER.format(answer="Hello."), test_bad=PROVIDER.format(answer=""),
                  test_other="def test_nothing():\n    pass\n")
    assert "test_good.py::test_provider_keeps_its_promises PASSED" in printed, printed
    assert "test_bad.py::test_provider_keeps_its_promises FAILED" in printed
    assert "complete answers without text" in printed
    assert "2 passed" in printed and "1 failed" in printed

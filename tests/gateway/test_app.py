"""What an operator is told when the gateway starts."""

from typing import Any

import pytest

from ailink_gateway.app import warn_of_refused
from ailink_provider.transport import Guard


def test_a_provider_that_may_not_be_called_is_named(caplog: pytest.LogCaptureFixture, make_upstream: Any) -> None:
    upstreams = {
        "own": make_upstream("openai", "http://10.0.0.1:9000"),
        "unchosen": make_upstream("openai", "http://10.0.0.2"),
        "public": make_upstream("openai", "https://api.example"),
    }
    warn_of_refused(upstreams, ["own", "public", "without-key"], Guard())
    (line,) = caplog.messages
    assert "the provider own " in line and "10.0.0.1:9000" in line and "AILINK_ALLOW_UPSTREAMS" in line
    warn_of_refused(upstreams, ["own"], Guard(["10.0.0.0/8"]))
    assert len(caplog.messages) == 1

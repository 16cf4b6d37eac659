"""Golden requests: one rich request of a client of each dialect, and what every kind of model is sent for it.

``golden/rich.<inbound>.json`` is the client's body; ``golden/rich.<inbound>-to-<outbound>.json`` holds, for each model,
the body that is sent and the fields that are lost on the way. To write the latter anew run

    AILINK_REWRITE_GOLDEN=1 pytest tests/provider/dialects/between/test_golden_requests.py

and review the diff line by line: nothing else checks that what is sent means what was asked. What each body may contain
is checked against the vendor's own SDK and rules besides.
"""

from collections.abc import Callable
from typing import Any

import pytest

from ailink_provider.catalog import facts
from ailink_provider.registry import dialects

MODELS = {
    "openai_chat": ("gpt-4o", "gpt-5"),
    "anthropic_messages": ("claude-3-5-sonnet-20241022", "claude-sonnet-4-5", "claude-opus-5-5"),
    "gemini": ("gemini-2.5-flash", "gemini-3-pro-preview"),
}


@pytest.fixture
def translate(given: Callable[[str], Any]) -> Callable[[str, str, str], Any]:
    """Returns what a model of another vendor is sent for the rich request of a client of ``inbound``."""

    def run(inbound: str, outbound: str, model: str) -> Any:
        chat = dialects()[inbound].operations["chat"].read_request(given(f"rich.{inbound}.json"), model, True)
        return dialects()[outbound].operations["chat"].write_request(chat, facts(model))

    return run


@pytest.mark.parametrize("outbound", MODELS)
@pytest.mark.parametrize("inbound", MODELS)
def test_a_rich_request(translate: Any, golden: Any, inbound: str, outbound: str) -> None:
    written = {}
    for model in MODELS[outbound]:
        sent = translate(inbound, outbound, model)
        written[model] = {
            "body": sent.body,
            "losses": [f"{loss.field}: {loss.why}" for loss in sent.losses],
            "undone": {"names": sent.names, "custom": sorted(sent.custom), "schema_tool": sent.schema_tool},
        }
    golden(f"rich.{inbound}-to-{outbound}.json", written)


@pytest.mark.parametrize(("outbound", "model"), [(name, model) for name, models in MODELS.items() for model in models])
@pytest.mark.parametrize("inbound", MODELS)
def test_the_vendor_takes_it(translate: Any, breaches: Any, inbound: str, outbound: str, model: str) -> None:
    assert breaches(outbound, model, translate(inbound, outbound, model).body) == []

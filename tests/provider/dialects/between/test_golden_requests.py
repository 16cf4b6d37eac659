"""Golden requests: one rich request of a client of each dialect, and what every kind of model is sent for it.

``golden/rich.<inbound>.json`` is the client's body; ``golden/rich.<inbound>-to-<outbound>.json`` holds, for each model,
the body that is sent, the fields that are lost on the way, and the parts that had to be left out because the target
refuses them. To write the latter anew run

    AILINK_REWRITE_GOLDEN=1 pytest tests/provider/dialects/between/test_golden_requests.py

and review the diff line by line: nothing else checks that what is sent means what was asked. What each body may contain
is checked against the vendor's own SDK and rules besides.
"""

import re
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest

from ailink_provider.catalog import facts
from ailink_provider.chat import Chat
from ailink_provider.dialects import Sent
from ailink_provider.errors import Failure
from ailink_provider.registry import dialects

from .conftest import INBOUND, MODELS, OUTBOUND, TARGETS


class Translated(NamedTuple):
    """What is sent, and the parts of the request that had to be left out because the target cannot be sent them."""

    sent: Sent
    refused: list[str]


@pytest.fixture
def translate(given: Callable[[str], Any]) -> Callable[[str, str, str], Translated]:
    """Returns what a model of another vendor is sent for the rich request of a client of ``inbound``."""

    def run(inbound: str, outbound: str, model: str) -> Translated:
        chat = dialects()[inbound].operations["chat"].read_request(given(f"rich.{inbound}.json"), model, True)
        refused: list[str] = []
        while True:
            try:
                return Translated(dialects()[outbound].operations["chat"].write_request(chat, facts(model)), refused)
            except Failure as failure:
                assert failure.code == "unsupported_parameter"
                refused.append(f"{failure.param}: {failure.message}")
                take_away(chat, failure.param or "")

    return run


def take_away(chat: Chat, path: str) -> None:
    """Remove the part of a message, or of a result in it, that a failure names."""
    message, *way, last = map(int, re.findall(r"\[(\d+)\]", path))
    parts: Any = chat.messages[chat.apart + message].parts
    for step in way:
        parts = parts[step].parts
    del parts[last]


@pytest.mark.parametrize("outbound", OUTBOUND)
@pytest.mark.parametrize("inbound", INBOUND)
def test_a_rich_request(translate: Any, golden: Any, inbound: str, outbound: str) -> None:
    written = {}
    for model in MODELS[outbound]:
        sent, refused = translate(inbound, outbound, model)
        written[model] = {
            "body": sent.body,
            "losses": [f"{loss.field}: {loss.why}" for loss in sent.losses],
            "undone": {"names": sent.names, "custom": sorted(sent.custom), "schema_tool": sent.schema_tool},
        } | ({"refused": refused} if refused else {})
    golden(f"rich.{inbound}-to-{outbound}.json", written)


@pytest.mark.parametrize(("outbound", "model"), TARGETS)
@pytest.mark.parametrize("inbound", INBOUND)
def test_the_vendor_takes_it(translate: Any, breaches: Any, inbound: str, outbound: str, model: str) -> None:
    assert breaches(outbound, model, translate(inbound, outbound, model).sent.body) == []

"""Which service tier answered is told in every dialect that clients speak, and metered where a reply passes through."""

from typing import Any

import msgspec
import pytest

from ailink_provider.chat import Chat, Choice, Finish, Reply, Text, Usage, unfold
from ailink_provider.registry import dialects

from .conftest import INBOUND

ASKED = Chat("m", [], include_usage=True)
FAST = b'{"type":"message","content":[],"stop_reason":"end_turn","usage":{"input_tokens":1,"speed":"fast"}}'


def reply(tier: str) -> Reply:
    choice = Choice([Text("Hi")], Finish("stop"))
    return Reply(id="r", model="m", choices=[choice], usage=Usage(3, 7), service_tier=tier)


def chat(dialect: str) -> Any:
    return dialects()[dialect].operations["responses" if dialect == "openai_responses" else "chat"]


@pytest.mark.parametrize("dialect", INBOUND)
@pytest.mark.parametrize("tier", ["default", "priority"])
def test_it_is_metered(dialect: str, tier: str) -> None:
    operation = chat(dialect)
    whole = operation.measure(msgspec.json.encode(operation.write_reply(reply(tier), ASKED)))
    assert whole.service_tier == tier
    writer, meter = operation.writer(ASKED), operation.meter({})
    for event in unfold(reply(tier)):
        meter.feed(writer.write(event))
    meter.close()
    assert (meter.measured.service_tier, meter.measured.complete) == (tier, True)


def test_speed_is_a_tier_as_well() -> None:
    assert chat("anthropic_messages").measure(FAST).service_tier == "fast"

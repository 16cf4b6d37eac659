"""Golden replies: one canonical reply as the body and as the stream that clients of each dialect get, and one stream of
an upstream of each dialect as clients of every dialect see it.

``golden/upstream.<dialect>.*`` are the inputs: the bytes of a stream, but for Bedrock's, which are JSON for each of its
binary frames. To write the expectations anew, ``reply.<dialect>.json``, ``reply.<dialect>.sse`` and
``upstream.<inbound>-to-<outbound>.sse``, run

    AILINK_REWRITE_GOLDEN=1 pytest tests/provider/dialects/between/test_golden_replies.py

and review the diff event by event: ids, order, line ends and what is said of usage are what clients depend on. That the
official clients understand what is written is checked besides.
"""

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from ailink_provider.chat import (
    Chat,
    Event,
    Finish,
    MessageDelta,
    MessageEnd,
    MessageStart,
    PartDelta,
    PartEnd,
    PartStart,
    Reasoning,
    Text,
    Thinking,
    ToolCall,
    Usage,
    collect,
)
from ailink_provider.dialects import Sent
from ailink_provider.registry import dialects

from .conftest import INBOUND, OUTBOUND

ASKED = Chat("the-model", [], include_usage=True, reasoning=Reasoning(visible=True))
SENT = Sent({}, names={"weather_now_700b5356": "weather.now"})
PAGE = {"type": "url_citation", "url": "https://sky.test/paris", "title": "Sky", "start_index": 0, "end_index": 11}

pytestmark = pytest.mark.usefixtures("still")


def reply() -> Iterator[Event]:
    """Yield what a model thinks, says and calls, its two calls side by side."""
    yield MessageStart("resp_1", "a-model", 1_760_000_000, service_tier="default")
    yield PartStart(0, Thinking(signed_by="anthropic_messages"))
    yield PartDelta(0, "Paris first.")
    yield PartDelta(0, signature="EqQBCkYIARgCKkBm")
    yield PartEnd(0)
    yield PartStart(1, Text(""))
    yield PartDelta(1, "It may rain ")
    yield PartDelta(1, "in Pariš ☔.")
    yield PartDelta(1, annotation=PAGE)
    yield PartEnd(1)
    yield PartStart(2, ToolCall("call_1", "weather.now", signature="Q2FsbA==", signed_by="gemini"))
    yield PartStart(3, ToolCall("call_2", "clock"))
    yield PartDelta(2, '{"city":')
    yield PartDelta(3, "{}")
    yield PartDelta(2, '"Paris"}')
    yield PartEnd(3)
    yield PartEnd(2)
    yield MessageDelta(Finish("tool_calls"))
    yield MessageDelta(usage=Usage(120, 45, cache_read_tokens=80, cache_write_tokens=20, cache_write_1h_tokens=5,
                                   reasoning_tokens=15))
    yield MessageEnd()


@pytest.mark.parametrize("dialect", INBOUND)
def test_a_reply(golden: Any, dialect: str) -> None:
    golden(f"reply.{dialect}.json", dialects()[dialect].operations["chat"].write_reply(collect(reply()), ASKED))


@pytest.mark.parametrize("dialect", INBOUND)
def test_a_streamed_reply(write: Any, golden: Any, dialect: str) -> None:
    golden(f"reply.{dialect}.sse", write(dialect, reply()))


@pytest.mark.parametrize("dialect", INBOUND)
def test_its_vendor_s_client_understands_both(write: Any, understood: Any, dialect: str) -> None:
    said = {
        "text": "It may rain in Pariš ☔.", "finish": "tool_calls", "usage": (120, 45),
        "calls": [("call_1", "weather.now", {"city": "Paris"}), ("call_2", "clock", {})],
    }
    assert understood(dialect, dialects()[dialect].operations["chat"].write_reply(collect(reply()), ASKED)) == said
    assert understood(dialect, write(dialect, reply())) == said


@pytest.mark.parametrize("outbound", INBOUND)
@pytest.mark.parametrize("inbound", OUTBOUND)
def test_an_upstream_s_stream(
        read: Any, write: Any, upstream_of: Any, golden: Any, inbound: str, outbound: str) -> None:
    events = read(inbound, upstream_of(inbound), SENT)
    golden(f"upstream.{inbound}-to-{outbound}.sse", write(outbound, events))


@pytest.mark.parametrize("outbound", INBOUND)
@pytest.mark.parametrize("inbound", OUTBOUND)
def test_every_client_understands_the_same(
        read: Any, write: Any, upstream_of: Any, understood: Any, inbound: str, outbound: str) -> None:
    events = read(inbound, upstream_of(inbound), SENT)
    calls = [part for part in collect(events).choices[0].parts if isinstance(part, ToolCall)]
    assert understood(outbound, write(outbound, events)) == {
        "text": "It may rain in Pariš ☔.", "finish": "tool_calls", "usage": (120, 45),
        "calls": [(call.id, call.name, msgspec.json.decode(call.arguments or "{}")) for call in calls],
    }
    assert [call.name for call in calls] == ["weather.now", "clock"]

"""Events and replies are two forms of one thing."""

import pytest

from ailink_provider.chat import (
    Choice,
    Collector,
    Finish,
    MessageDelta,
    MessageEnd,
    MessageError,
    MessageStart,
    PartDelta,
    PartEnd,
    PartStart,
    Reply,
    Text,
    Thinking,
    TokenLogprob,
    ToolCall,
    Usage,
    collect,
    unfold,
)
from ailink_provider.errors import Failure

REPLY = Reply(
    id="r",
    model="m",
    created=5,
    service_tier="flex",
    choices=[
        Choice(
            [Thinking("hm", signature="s", signed_by="d"), Text("hello"), ToolCall("c", "f", '{"a":1}')],
            Finish("tool_calls", "tool_use"),
            [TokenLogprob("he", -0.5)],
        ),
        Choice([Text("other")], Finish("stop")),
    ],
    usage=Usage(input_tokens=3, output_tokens=4),
)


def test_a_reply_survives_being_a_stream() -> None:
    assert collect(unfold(REPLY)) == REPLY


def test_interleaved_parts_are_kept_apart() -> None:
    events = [
        MessageStart(id="r", model="m"),
        PartStart(0, ToolCall("a", "f")),
        PartStart(1, ToolCall("b", "g")),
        PartDelta(0, '{"x"'),
        PartDelta(1, '{"y"'),
        PartDelta(0, ":1}"),
        PartDelta(1, ":2}"),
        PartEnd(1),
        PartEnd(0),
        MessageDelta(finish=Finish("tool_calls")),
        MessageDelta(usage=Usage(1, 2)),
        MessageEnd(),
    ]
    reply = collect(events)
    assert reply.choices[0].parts == [ToolCall("a", "f", '{"x":1}'), ToolCall("b", "g", '{"y":2}')]
    assert reply.usage == Usage(1, 2)


def test_collecting_does_not_change_the_events() -> None:
    start = PartStart(0, Text(""))
    collect([MessageStart(), start, PartDelta(0, "x"), PartEnd(0), MessageEnd()])
    assert start.part == Text("")


def test_what_came_before_an_error_is_kept() -> None:
    collector = Collector()
    failure = Failure("upstream_failed", "broke")
    for event in (MessageStart(id="r"), PartStart(0, Text("a")), PartDelta(0, "b")):
        collector.feed(event)
    with pytest.raises(Failure) as caught:
        collector.feed(MessageError(failure))
    assert caught.value is failure
    assert collector.reply.choices[0].parts == [Text("ab")]

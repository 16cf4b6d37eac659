"""Canonical events, written: in the service's shapes, block after block, as botocore reads them."""

import pytest

from ailink_provider.chat import (
    Chat,
    Finish,
    Media,
    MessageDelta,
    MessageEnd,
    MessageError,
    MessageStart,
    Native,
    PartDelta,
    PartEnd,
    PartStart,
    Refusal,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
    Usage,
    collect,
    unfold,
)
from ailink_provider.dialects import Sent
from ailink_provider.errors import Failure

NAME = "bedrock_converse"
ENDED = [MessageDelta(Finish("stop")), MessageDelta(usage=Usage(3, 4)), MessageEnd()]


@pytest.fixture
def written(converse, events_of):
    """Writes events; returns the stream's events, without what begins and ends every stream."""
    def run(*events):
        writer = converse.writer(Chat("m", []))
        read = events_of(b"".join(writer.write(event) for event in [MessageStart("x", "m"), *events, *ENDED]))
        assert [name for name, _ in (read[0], *read[-2:])] == ["messageStart", "messageStop", "metadata"]
        return read[1:-2]

    return run


def said(index, **delta):
    return "contentBlockDelta", {"delta": delta, "contentBlockIndex": index}


def call(index, identifier, name):
    return "contentBlockStart", {"start": {"toolUse": {"toolUseId": identifier, "name": name}},
                                 "contentBlockIndex": index}


def end(index):
    return "contentBlockStop", {"contentBlockIndex": index}


def test_what_begins_and_ends_a_stream(converse, events_of):
    writer = converse.writer(Chat("m", []))
    assert writer.content_type == "application/vnd.amazon.eventstream"
    assert events_of(writer.write(MessageStart())) == [("messageStart", {"role": "assistant"})]
    assert writer.write(MessageDelta(Finish("length"), choice=0)) == b""
    assert writer.write(MessageDelta(usage=Usage(9, 4, cache_read_tokens=5), service_tier="flex")) == b""
    assert events_of(writer.write(MessageEnd())) == [
        ("messageStop", {"stopReason": "max_tokens"}),
        ("metadata", {"usage": {"inputTokens": 4, "outputTokens": 4, "totalTokens": 13, "cacheReadInputTokens": 5,
                                "cacheWriteInputTokens": 0, "cacheDetails": []},
                      "metrics": {"latencyMs": 0}, "serviceTier": {"type": "flex"}})]


def test_an_end_without_a_start_is_a_stream(converse, events_of):
    names = [name for name, _ in events_of(converse.writer(Chat("m", [])).write(MessageEnd()))]
    assert names == ["messageStart", "messageStop", "metadata"]


def test_a_reason_that_is_not_told(converse, events_of):
    writer = converse.writer(Chat("m", []))
    writer.write(PartStart(0, ToolCall("t", "f")))
    assert ("messageStop", {"stopReason": "tool_use"}) in events_of(writer.write(MessageEnd()))


@pytest.mark.parametrize(("events", "expected"), [
    ([PartStart(0, Text("")), PartDelta(0, "Hi"), PartDelta(0, "!"), PartEnd(0)],
     [said(0, text="Hi"), said(0, text="!"), end(0)]),
    ([PartStart(0, Text("Hi")), PartEnd(0), PartStart(1, Refusal("No")), PartEnd(1)],
     [said(0, text="Hi"), end(0), said(1, text="No"), end(1)]),
    ([PartStart(0, Text("")), PartEnd(0), PartStart(1, Text("a"))], [said(0, text="a"), end(0)]),
    ([PartStart(0, Thinking("", signed_by=NAME)), PartDelta(0, "hm"), PartDelta(0, signature="s"), PartEnd(0)],
     [said(0, reasoningContent={"text": "hm"}), said(0, reasoningContent={"signature": "s"}), end(0)]),
    ([PartStart(0, Thinking("hm", signature="s", signed_by="gemini")), PartEnd(0)],
     [said(0, reasoningContent={"text": "hm"}), said(0, reasoningContent={"signature": "ailink:gemini:s"}), end(0)]),
    ([PartStart(0, Thinking(redacted="aGk=", signed_by=NAME)), PartEnd(0)],
     [said(0, reasoningContent={"redactedContent": "aGk="}), end(0)]),
    ([PartStart(0, ToolCall("t", "f")), PartDelta(0, '{"a"'), PartDelta(0, ":1}"), PartEnd(0)],
     [call(0, "t", "f"), said(0, toolUse={"input": '{"a"'}), said(0, toolUse={"input": ":1}"}), end(0)]),
    ([PartStart(0, ToolCall("t x", "f")), PartEnd(0)],
     [call(0, "t_x_0ade987d", "f"), said(0, toolUse={"input": "{}"}), end(0)]),
    ([PartStart(0, ToolCall("t", "f", "{}")), PartEnd(0)],
     [call(0, "t", "f"), said(0, toolUse={"input": "{}"}), end(0)]),
    ([PartStart(0, Text("")), PartDelta(0, annotation={"url": "https://a.test", "title": "A"}), PartDelta(0, "Hi")],
     [said(0, text="Hi"), said(0, citation={"title": "A", "location": {"web": {"url": "https://a.test"}}}), end(0)]),
    ([PartStart(0, Text("Hi", annotations=[{"type": "odd"}, {"location": {"documentChar": {}}, "x": 1}])), PartEnd(0)],
     [said(0, text="Hi"), said(0, citation={"location": {"documentChar": {}}}), end(0)]),
    ([PartStart(0, Media("image", "image/png", "AAAA")), PartEnd(0)],
     [("contentBlockStart", {"start": {"image": {"format": "png"}}, "contentBlockIndex": 0}),
      said(0, image={"source": {"bytes": "AAAA"}}), end(0)]),
    ([PartStart(0, Native(NAME, {"toolUse": {"toolUseId": "s", "name": "n", "type": "server_tool_use",
                                             "input": {"q": 1}}})), PartEnd(0)],
     [("contentBlockStart", {"start": {"toolUse": {"toolUseId": "s", "name": "n", "type": "server_tool_use"}},
                             "contentBlockIndex": 0}), said(0, toolUse={"input": '{"q":1}'}), end(0)]),
    ([PartStart(0, Native(NAME, {"toolResult": {"toolUseId": "s", "content": [{"text": "A"}]}})), PartEnd(0)],
     [("contentBlockStart", {"start": {"toolResult": {"toolUseId": "s"}}, "contentBlockIndex": 0}),
      said(0, toolResult=[{"text": "A"}]), end(0)]),
    ([PartStart(0, Native("gemini", {"text": "x"})), PartEnd(0), PartStart(1, Native(NAME, {"video": {}})), PartEnd(1),
      PartStart(2, Media("audio", "audio/wav", "AAAA")), PartEnd(2), PartStart(3, ToolResult("t")), PartEnd(3)], []),
    ([PartStart(0, Text("a"), choice=1), PartDelta(0, "b", choice=1), PartEnd(0, choice=1), PartDelta(7, "c"),
      PartEnd(7)], []),
])
def test_a_part(written, events, expected):
    assert written(*events) == expected


def test_text_gives_way_to_a_call_and_goes_on_behind_it(written):
    assert written(
        PartStart(0, Text("")), PartDelta(0, "a"), PartStart(1, ToolCall("t", "f")), PartDelta(0, "b"),
        PartDelta(1, "{}"), PartDelta(0, "c"), PartEnd(1), PartEnd(0)) == [
        said(0, text="a"), end(0), call(1, "t", "f"), said(1, toolUse={"input": "{}"}), end(1),
        said(2, text="b"), said(2, text="c"), end(2)]


def test_calls_side_by_side_are_written_one_after_the_other(written):
    assert written(
        PartStart(0, ToolCall("a", "f")), PartStart(1, ToolCall("b", "g")), PartDelta(1, "{1"), PartDelta(0, "{0"),
        PartDelta(1, "1}"), PartEnd(1), PartDelta(0, "0}"), PartEnd(0)) == [
        call(0, "a", "f"), said(0, toolUse={"input": "{0"}), said(0, toolUse={"input": "0}"}), end(0),
        call(1, "b", "g"), said(1, toolUse={"input": "{1"}), said(1, toolUse={"input": "1}"}), end(1)]


def test_calls_keep_their_order_behind_text_that_goes_on(written):
    assert written(
        PartStart(0, Text("")), PartStart(1, ToolCall("a", "f")), PartDelta(0, "t"), PartStart(2, ToolCall("b", "f")),
        PartDelta(1, "{}"), PartEnd(1), PartStart(3, ToolCall("c", "f")), PartEnd(0), PartEnd(2), PartEnd(3)) == [
        call(0, "a", "f"), said(0, toolUse={"input": "{}"}), end(0), said(1, text="t"), end(1),
        call(2, "b", "f"), said(2, toolUse={"input": "{}"}), end(2),
        call(3, "c", "f"), said(3, toolUse={"input": "{}"}), end(3)]


def test_what_has_not_ended_ends_with_the_message(written):
    assert written(PartStart(0, ToolCall("a", "f")), PartStart(1, ToolCall("b", "g")), PartDelta(1, "{}")) == [
        call(0, "a", "f"), said(0, toolUse={"input": "{}"}), end(0),
        call(1, "b", "g"), said(1, toolUse={"input": "{}"}), end(1)]


def test_nothing_is_said_after_the_reason(converse):
    writer = converse.writer(Chat("m", []))
    writer.write(PartStart(0, Text("a")))
    writer.write(MessageDelta(Finish("stop")))
    assert writer.write(PartDelta(0, "b")) + writer.write(PartStart(1, Text("c"))) == b""


def test_a_reply_of_its_own_streams_as_the_golden_one(converse, golden):
    case = golden("written.json")["streams"]["reply"]
    events = converse.reader(Sent({})).feed(bytes.fromhex(case["hex"]))
    writer = converse.writer(Chat("m", []))
    assert b"".join(writer.write(event) for event in events).hex() == case["hex"]
    stops = [event for event in case["read"] if "messageStop" in event or "metadata" in event]
    assert [next(iter(event)) for event in stops] == ["messageStop", "metadata"]
    body = converse.write_reply(collect(events), Chat("m", []))
    assert body == golden("written.json")["reply"]["body"]
    again = converse.writer(Chat("m", []))
    assert b"".join(again.write(event) for event in unfold(collect(events))).hex() == case["hex"]


@pytest.mark.parametrize(("failure", "name"), [
    (Failure("rate_limit_exceeded", "Slow down."), "throttlingException"),
    (Failure("invalid_request", "No."), "validationException"),
    (Failure("upstream_overloaded", "Full."), "serviceUnavailableException"),
    (Failure("upstream_failed", "It broke."), "modelStreamErrorException"),
    (Failure("internal_error", "We broke."), "internalServerException")])
def test_a_failure_is_the_exception_that_botocore_raises(converse, golden, events_of, failure, name):
    case = golden("written.json")["streams"][failure.code]
    writer = converse.writer(Chat("m", []))
    stream = writer.write(MessageStart()) + writer.write(MessageError(failure))
    assert stream.hex() == case["hex"]
    assert case["read"] == [{"error": {"Code": name, "Message": failure.message}}]
    assert events_of(stream)[1] == (name, {"message": failure.message})


@pytest.mark.parametrize(("code", "name"), [
    ("upstream_timeout", "serviceUnavailableException"), ("policy_denied", "validationException"),
    ("budget_exceeded", "validationException"), ("insufficient_quota", "throttlingException")])
def test_every_failure_has_one_of_the_five_names(converse, events_of, code, name):
    assert events_of(converse.writer(Chat("m", [])).write(MessageError(Failure(code, "m")))) == [
        (name, {"message": "m"})]

"""The service's stream, read: whatever way it is cut, and however it breaks."""

import pytest

from ailink_provider.chat import (
    Choice,
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
    Reply,
    Text,
    Thinking,
    ToolCall,
    Usage,
    collect,
)
from ailink_provider.dialects import Sent
from ailink_provider.dialects.bedrock_converse.eventstream import encode

NAME = "bedrock_converse"
START = ("messageStart", {"role": "assistant"})
STOP = ("messageStop", {"stopReason": "end_turn"})
META = ("metadata", {"usage": {"inputTokens": 3, "outputTokens": 4, "totalTokens": 7}, "metrics": {"latencyMs": 5}})


def begin(index, **start):
    return "contentBlockStart", {"start": start, "contentBlockIndex": index}


def delta(index, **said):
    return "contentBlockDelta", {"delta": said, "contentBlockIndex": index}


def end(index):
    return "contentBlockStop", {"contentBlockIndex": index}


RICH = (
    START, delta(0, reasoningContent={"text": "h"}), delta(0, reasoningContent={"text": "m"}),
    delta(0, reasoningContent={"signature": "c2ln"}), end(0),
    delta(1, reasoningContent={"redactedContent": "aGk="}), delta(1, reasoningContent={"redactedContent": "ZGRlbg=="}),
    end(1), delta(2, text="Pariš "), delta(2, text="☔"),
    delta(2, citation={"title": "D", "location": {"web": {"url": "https://a.test"}}}), end(2),
    begin(3, toolUse={"toolUseId": "t1", "name": "f"}), delta(3, toolUse={"input": ""}),
    delta(3, toolUse={"input": '{"a":'}), delta(3, toolUse={"input": "1}"}), end(3),
    begin(4, toolUse={"toolUseId": "t2", "name": "g"}), delta(4, toolUse={"input": "{}"}), end(4),
    begin(5, toolUse={"toolUseId": "s1", "name": "search", "type": "server_tool_use"}),
    delta(5, toolUse={"input": '{"q":'}), delta(5, toolUse={"input": '"x"}'}), end(5),
    begin(6, toolResult={"toolUseId": "s1", "type": "t", "status": "success"}),
    delta(6, toolResult=[{"text": "A"}]), delta(6, toolResult=[{"json": {"b": 1}}]), end(6),
    begin(7, image={"format": "png"}), delta(7, image={"source": {"bytes": "iVBORw=="}}), end(7),
    ("messageStop", {"stopReason": "tool_use"}),
    ("metadata", {"usage": {"inputTokens": 3, "outputTokens": 4, "totalTokens": 12, "cacheReadInputTokens": 5},
                  "metrics": {"latencyMs": 5}, "serviceTier": {"type": "priority"}}),
)
PARTS = [
    Thinking("hm", signature="c2ln", signed_by=NAME), Thinking(redacted="aGlkZGVu", signed_by=NAME),
    Text("Pariš ☔", annotations=[
        {"title": "D", "url": "https://a.test", "location": {"web": {"url": "https://a.test"}}}]),
    ToolCall("t1", "f", '{"a":1}'), ToolCall("t2", "g", "{}"),
    Native(NAME, {"toolUse": {"toolUseId": "s1", "name": "search", "type": "server_tool_use", "input": {"q": "x"}}}),
    Native(NAME, {"toolResult": {"toolUseId": "s1", "type": "t", "status": "success",
                                 "content": [{"text": "A"}, {"json": {"b": 1}}]}}),
    Media("image", "image/png", "iVBORw==")]


def test_a_plain_stream_event_by_event(read_stream, frames):
    assert read_stream(frames(START, delta(0, text="Hi"), end(0), STOP, META)) == [
        MessageStart(), PartStart(0, Text("")), PartDelta(0, "Hi"), PartEnd(0),
        MessageDelta(Finish("stop", "end_turn"), Usage(3, 4)), MessageEnd()]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 11, 64, 1 << 20])
def test_a_rich_stream_however_it_is_cut(read_stream, frames, size):
    assert collect(read_stream(frames(*RICH), size=size)) == Reply(
        choices=[Choice(PARTS, Finish("tool_calls", "tool_use"))], usage=Usage(8, 4, cache_read_tokens=5),
        service_tier="priority")


def test_streaming_and_not_agree(converse, read_stream, frames):
    content = [
        {"reasoningContent": {"reasoningText": {"text": "hm", "signature": "c2ln"}}},
        {"reasoningContent": {"redactedContent": "aGlkZGVu"}},
        {"citationsContent": {"content": [{"text": "Pariš ☔"}], "citations": [
            {"title": "D", "location": {"web": {"url": "https://a.test"}}}]}},
        {"toolUse": {"toolUseId": "t1", "name": "f", "input": {"a": 1}}},
        {"toolUse": {"toolUseId": "t2", "name": "g", "input": {}}},
        {"toolUse": {"toolUseId": "s1", "name": "search", "type": "server_tool_use", "input": {"q": "x"}}},
        {"toolResult": {"toolUseId": "s1", "type": "t", "status": "success",
                        "content": [{"text": "A"}, {"json": {"b": 1}}]}},
        {"image": {"format": "png", "source": {"bytes": "iVBORw=="}}}]
    whole = converse.read_reply({"output": {"message": {"role": "assistant", "content": content}},
                                 **RICH[-2][1], **RICH[-1][1]}, Sent({}))
    assert collect(read_stream(frames(*RICH))) == whole


def test_parallel_calls_are_parts_of_their_own(read_stream, frames):
    events = read_stream(frames(
        START, begin(0, toolUse={"toolUseId": "a", "name": "f"}), begin(1, toolUse={"toolUseId": "b", "name": "g"}),
        delta(1, toolUse={"input": "{1"}), delta(0, toolUse={"input": "{0"}), end(0), end(1),
        ("messageStop", {"stopReason": "tool_use"}), META))
    assert [part.arguments for part in collect(events).choices[0].parts] == ["{0", "{1"]
    assert [event.index for event in events if isinstance(event, PartStart)] == [0, 1]


def test_a_block_that_changes_its_kind_is_two_parts(read_stream, frames):
    events = read_stream(frames(
        START, delta(0, reasoningContent={"text": "hm"}), delta(0, text="Hi"),
        delta(0, reasoningContent={"redactedContent": "aGk="}), delta(0, text="ya"), STOP, META))
    assert collect(events).choices[0].parts == [
        Thinking("hm", signed_by=NAME), Text("Hi"), Thinking(redacted="aGk=", signed_by=NAME), Text("ya")]
    assert [event.index for event in events if isinstance(event, PartEnd)] == [0, 1, 2, 3]


def test_what_is_open_at_the_end_ends(read_stream, frames):
    events = read_stream(frames(START, begin(0, toolUse={"toolUseId": "a", "name": "f"}), STOP, META))
    assert events[1:3] == [PartStart(0, ToolCall("a", "f")), PartEnd(0)]


def test_what_comes_after_the_end_is_nothing(read_stream, frames):
    plain = (START, delta(0, text="Hi"), end(0), STOP)
    assert read_stream(frames(*plain, delta(1, text="!"), end(1), META, START, META)) == read_stream(
        frames(*plain, META))


def test_a_stream_whose_start_got_lost_starts(read_stream, frames):
    assert read_stream(frames(delta(0, text="Hi"), STOP, META))[0] == MessageStart()


def test_a_stream_without_metadata_is_whole(read_stream, frames):
    assert read_stream(frames(START, delta(0, text="Hi"), STOP))[-2:] == [
        MessageDelta(Finish("stop", "end_turn")), MessageEnd()]


def test_events_that_nobody_knows_are_passed_over(read_stream, frames):
    odd = (("brandNew", {"a": 1}), delta(0, brandNew={"a": 1}), begin(0, brandNew={}), begin(0))
    plain = (START, delta(0, text="Hi"), end(0), STOP, META)
    assert read_stream(frames(*odd[:1], *plain[:1], *odd, *plain[1:])) == read_stream(frames(*plain))


def test_how_it_ended_is_explained(read_stream, frames):
    stop = ("messageStop", {"stopReason": "guardrail_intervened"})
    trace = ("metadata", {**META[1], "trace": {"guardrail": {"actionReason": "Blocked."}}})
    assert read_stream(frames(START, stop, trace))[-2].finish == Finish(
        "content_filter", "guardrail_intervened", explanation="Blocked.")
    stop = ("messageStop", {"stopReason": "stop_sequence", "additionalModelResponseFields": {"stop_sequence": "END"}})
    assert read_stream(frames(START, stop, META))[-2].finish == Finish("stop", "stop_sequence", "END")


def test_what_was_done_to_tools_is_undone(read_stream, frames):
    sent = Sent({}, names={"a_b_1": "a.b"}, custom=frozenset({"sh"}), schema_tool="answer")
    stream = frames(
        START, begin(0, toolUse={"toolUseId": "t", "name": "answer"}), delta(0, toolUse={"input": '{"a":'}),
        delta(0, toolUse={"input": "1}"}), end(0), ("messageStop", {"stopReason": "tool_use"}), META)
    assert collect(read_stream(stream, sent)).choices == [Choice([Text('{"a":1}')], Finish("stop", "tool_use"))]
    stream = frames(
        START, begin(0, toolUse={"toolUseId": "t", "name": "sh"}), delta(0, toolUse={"input": '{"input":"l'}),
        delta(0, toolUse={"input": 's"}'}), end(0), begin(1, toolUse={"toolUseId": "u", "name": "a_b_1"}), end(1),
        ("messageStop", {"stopReason": "tool_use"}), META)
    assert collect(read_stream(stream, sent)).choices == [Choice(
        [ToolCall("t", "sh", "ls", custom=True), ToolCall("u", "a.b")], Finish("tool_calls", "tool_use"))]


def test_free_text_that_was_cut_is_told_as_it_is(read_stream, frames):
    stream = frames(START, begin(0, toolUse={"toolUseId": "t", "name": "sh"}), delta(0, toolUse={"input": '{"inp'}),
                    end(0), STOP, META)
    assert collect(read_stream(stream, Sent({}, custom=frozenset({"sh"})))).choices[0].parts == [
        ToolCall("t", "sh", '{"inp', custom=True)]


# --- what breaks -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cut", range(len(RICH) - 1))
def test_a_stream_that_is_cut_short_is_an_error(read_stream, frames, cut):
    events = read_stream(frames(*RICH[:cut]))
    assert isinstance(events[-1], MessageError)
    assert (events[-1].failure.code, "ended before" in events[-1].failure.message) == ("upstream_failed", True)
    assert sum(isinstance(event, MessageError | MessageEnd) for event in events) == 1


def test_a_frame_that_is_cut_short_is_an_error(read_stream, frames):
    stream = frames(START, delta(0, text="Hi"))
    assert isinstance(read_stream(stream[:-1])[-1], MessageError)


@pytest.mark.parametrize(("name", "code"), [
    ("throttlingException", "rate_limit_exceeded"), ("validationException", "invalid_request"),
    ("serviceUnavailableException", "upstream_overloaded"), ("internalServerException", "upstream_failed"),
    ("modelStreamErrorException", "upstream_failed"), ("brandNewException", "upstream_failed")])
@pytest.mark.parametrize("after", range(4))
def test_an_exception_ends_it_wherever_it_comes(read_stream, frames, name, code, after):
    plain = (START, delta(0, text="Hi"), end(0), STOP)
    events = read_stream(frames(*plain[:after], (name, {"message": "Bad."}), *plain[after:], META))
    assert isinstance(events[-1], MessageError)
    assert (events[-1].failure.code, events[-1].failure.message) == (code, "Bad.")
    assert events[:-1] == read_stream(frames(*plain[:after]))[:-1]


def test_an_error_without_a_name_of_ours(read_stream, frames):
    error = encode({":message-type": "error", ":error-code": "InternalError", ":error-message": "It\nbroke."}, b"")
    (event,) = read_stream(error + frames(START))
    assert (event.failure.code, event.failure.message) == ("upstream_failed", "It broke.")
    (event,) = read_stream(encode({":message-type": "exception", ":exception-type": "throttlingException"}, b"<"))
    assert (event.failure.code, event.failure.message) == ("rate_limit_exceeded", "The upstream answered 429.")


@pytest.mark.parametrize("word", ["malformed_model_output", "malformed_tool_use"])
@pytest.mark.parametrize("closing", [(META,), ()])
def test_an_answer_that_is_none_is_an_error(read_stream, frames, word, closing):
    events = read_stream(frames(START, delta(0, text="a"), ("messageStop", {"stopReason": word}), *closing))
    assert (events[-1].failure.code, word in events[-1].failure.message) == ("upstream_failed", True)


@pytest.mark.parametrize("stream", [b"HTTP/1.1 500 Oops\r\n", b'{"message":"Too many"}', b"\x00" * 40])
def test_what_is_no_event_stream_is_an_error(read_stream, stream):
    (event,) = read_stream(stream)
    assert "event stream is broken" in event.failure.message


def test_what_came_before_broken_bytes_is_told(read_stream, frames):
    events = read_stream(frames(START, delta(0, text="Hi")) + b"garbage" * 4)
    assert [type(event) for event in events] == [MessageStart, PartStart, PartDelta, MessageError]


@pytest.mark.parametrize("event", [
    ("contentBlockDelta", {"delta": 3}), ("contentBlockDelta", {"contentBlockIndex": "x"}),
    delta(9, toolUse={"input": "{}"}), ("messageStop", {"stopReason": 3}), ("metadata", {"usage": []})])
def test_what_cannot_be_read_is_an_error(read_stream, frames, event):
    prior = (START, STOP) if event[0] == "metadata" else (START,)
    events = read_stream(frames(*prior, event, STOP, META))
    assert events[-1].failure.code == "upstream_failed"


@pytest.mark.parametrize("pieces", [
    (delta(0, reasoningContent={"redactedContent": "?"}), delta(0, reasoningContent={"redactedContent": "aa"})),
    (begin(0, toolUse={"toolUseId": "s", "name": "n", "type": "t"}), delta(0, toolUse={"input": "{"}))])
def test_pieces_that_make_no_whole_are_an_error(read_stream, frames, pieces):
    events = read_stream(frames(START, *pieces, end(0), STOP, META))
    assert (events[-1].failure.code, len(events)) == ("upstream_failed", 2)


def test_an_image_that_is_none_is_carried(read_stream, frames):
    reply = collect(read_stream(frames(START, begin(0, image={"format": "png"}),
                                       delta(0, image={"error": {"message": "no"}}), end(0), STOP, META)))
    assert reply.choices[0].parts == [Native(NAME, {"image": {"format": "png", "error": {"message": "no"}}})]

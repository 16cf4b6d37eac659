"""The vendor's streams become canonical events, however they are cut and whatever comes between."""

import pytest

from ailink_provider.chat import (
    Finish,
    MessageDelta,
    MessageEnd,
    MessageError,
    MessageStart,
    Native,
    PartDelta,
    PartEnd,
    PartStart,
    Text,
    Thinking,
    ToolCall,
    Usage,
    collect,
)
from ailink_provider.dialects import Sent
from ailink_provider.sse import EVENT_LIMIT

NAME = "anthropic_messages"
CITATION = {"type": "char_location", "cited_text": "x"}


def start(identifier="msg_1", **usage):
    return {"type": "message_start", "message": {
        "id": identifier, "type": "message", "role": "assistant", "model": "claude-x", "content": [],
        "stop_reason": None, "stop_sequence": None,
        "usage": {"input_tokens": 10, "output_tokens": 1, "service_tier": "priority", **usage}}}


def begin(index, **block):
    return {"type": "content_block_start", "index": index, "content_block": block}


def delta(index, kind, **content):
    return {"type": "content_block_delta", "index": index, "delta": {"type": kind, **content}}


def stop(index):
    return {"type": "content_block_stop", "index": index}


def ending(reason="end_turn", **usage):
    return {"type": "message_delta", "delta": {"stop_reason": reason, "stop_sequence": None},
            "usage": {"output_tokens": 9, **usage}}


END = {"type": "message_stop"}
PING = {"type": "ping"}

RICH = (
    start(cache_read_input_tokens=5),
    PING,
    begin(0, type="thinking", thinking="", signature=""),
    delta(0, "thinking_delta", thinking="Let "),
    delta(0, "thinking_delta", thinking="me sée"),
    delta(0, "signature_delta", signature="sig=="),
    stop(0),
    begin(1, type="redacted_thinking", data="rr"),
    stop(1),
    begin(2, type="text", text=""),
    delta(2, "text_delta", text="日本 "),
    delta(2, "citations_delta", citation=CITATION),
    delta(2, "text_delta", text="\U0001f600"),
    stop(2),
    begin(3, type="server_tool_use", id="s1", name="web_search", input={}),
    delta(3, "input_json_delta", partial_json='{"query":'),
    delta(3, "input_json_delta", partial_json='"cats"}'),
    stop(3),
    begin(4, type="web_search_tool_result", tool_use_id="s1", content=[]),
    stop(4),
    begin(5, type="tool_use", id="t1", name="f", input={}),
    delta(5, "input_json_delta", partial_json=""),
    delta(5, "input_json_delta", partial_json='{"a":'),
    delta(5, "input_json_delta", partial_json="[1,2]}"),
    stop(5),
    begin(6, type="tool_use", id="t2", name="g", input={}),
    stop(6),
    ending("tool_use", input_tokens=43),
    END,
)
WHOLE = {
    "id": "msg_1", "type": "message", "role": "assistant", "model": "claude-x", "stop_reason": "tool_use",
    "stop_sequence": None, "content": [
        {"type": "thinking", "thinking": "Let me sée", "signature": "sig=="},
        {"type": "redacted_thinking", "data": "rr"},
        {"type": "text", "text": "日本 \U0001f600", "citations": [CITATION]},
        {"type": "server_tool_use", "id": "s1", "name": "web_search", "input": {"query": "cats"}},
        {"type": "web_search_tool_result", "tool_use_id": "s1", "content": []},
        {"type": "tool_use", "id": "t1", "name": "f", "input": {"a": [1, 2]}},
        {"type": "tool_use", "id": "t2", "name": "g", "input": {}},
    ],
    "usage": {"input_tokens": 43, "output_tokens": 9, "cache_read_input_tokens": 5, "service_tier": "priority"},
}


def test_the_events_of_a_plain_answer(read_stream, frames):
    events = read_stream(frames(start(), begin(0, type="text", text=""), delta(0, "text_delta", text="Hi"), stop(0),
                                ending(), END))
    assert events == [
        MessageStart("msg_1", "claude-x", usage=Usage(10, 1), service_tier="priority"),
        PartStart(0, Text("")), PartDelta(0, "Hi"), PartEnd(0),
        MessageDelta(Finish("stop", "end_turn"), Usage(10, 9)), MessageEnd()]


def test_a_stream_says_the_same_as_the_whole(read_stream, frames, messages):
    assert collect(read_stream(frames(*RICH))) == messages.read_reply(WHOLE, Sent({}))


@pytest.mark.parametrize("size", [1, 2, 7, 64])
@pytest.mark.parametrize("newline", [b"\n", b"\r\n", b"\r"])
def test_cuts_and_line_ends_change_nothing(read_stream, frames, size, newline):
    stream = frames(*RICH)
    assert read_stream(stream.replace(b"\n", newline), size=size) == read_stream(stream)


def test_noise_changes_nothing(read_stream, frames):
    stream = frames(*RICH)
    noisy = [b"\xef\xbb\xbf: hello\n\n"]
    for frame in stream.split(b"\n\n")[:-1]:
        noisy += [frame + b"\n\n", b": keep-alive\n\n", frames(PING, {"type": "new", "index": "x"}),
                  b"data: [DONE]\n\n"]
    assert read_stream(b"".join(noisy)) == read_stream(stream)


def test_events_are_known_by_their_data(read_stream, frames):
    stream = frames(*RICH)
    unnamed = b"".join(line + b"\n" for line in stream.split(b"\n")[:-1] if not line.startswith(b"event:"))
    tight = stream.replace(b"data: ", b"data:").rstrip(b"\n")
    assert read_stream(unnamed) == read_stream(tight) == read_stream(stream)


def test_usage_is_cumulative_and_the_last_word_counts(read_stream, frames):
    details = {"ephemeral_5m_input_tokens": 1, "ephemeral_1h_input_tokens": 2}
    reply = collect(read_stream(frames(
        start(cache_creation_input_tokens=3, cache_creation=details),
        ending(input_tokens=61, output_tokens_details={"thinking_tokens": 4}), END)))
    assert reply.usage == Usage(64, 9, cache_write_tokens=3, cache_write_1h_tokens=2, reasoning_tokens=4)


def test_a_refusal_says_why(read_stream, frames):
    last = ending("refusal")
    last["delta"]["stop_details"] = {"type": "refusal", "category": None, "explanation": "Not that."}
    events = read_stream(frames(start(), last, END))
    assert events[1].finish == Finish("content_filter", "refusal", explanation="Not that.")


@pytest.mark.parametrize(("reason", "finish"), [("pause_turn", "pause"), ("max_tokens", "length"), ("odd", "stop")])
def test_reasons(read_stream, frames, reason, finish):
    assert read_stream(frames(start(), ending(reason), END))[1].finish == Finish(finish, reason)


def test_renamed_wrapped_and_stand_in_tools_are_undone(read_stream, frames):
    sent = Sent({}, names={"fs_read_1": "fs.read"}, custom=frozenset({"shell"}), schema_tool="structured_output")
    events = read_stream(frames(
        start(), begin(0, type="tool_use", id="a", name="fs_read_1", input={}),
        delta(0, "input_json_delta", partial_json="{}"), stop(0),
        begin(1, type="tool_use", id="b", name="shell", input={}),
        delta(1, "input_json_delta", partial_json='{"input":"l'), delta(1, "input_json_delta", partial_json='s"}'),
        stop(1),
        begin(2, type="tool_use", id="c", name="structured_output", input={}),
        delta(2, "input_json_delta", partial_json='{"x":'), delta(2, "input_json_delta", partial_json="1}"), stop(2),
        ending("tool_use"), END), sent)
    reply = collect(events)
    assert reply.choices[0].parts == [
        ToolCall("a", "fs.read", "{}"), ToolCall("b", "shell", "ls", custom=True), Text('{"x":1}')]
    assert reply.choices[0].finish.reason == "tool_calls"
    assert PartDelta(2, '{"x":') in events


@pytest.mark.parametrize("arguments", ['{"input":"l', "[1]"])
def test_a_wrapped_call_of_another_form_is_shown_as_it_is(read_stream, frames, arguments):
    events = read_stream(frames(
        start(), begin(0, type="tool_use", id="b", name="shell", input={}),
        delta(0, "input_json_delta", partial_json=arguments), stop(0), ending("max_tokens"), END),
        Sent({}, custom=frozenset({"shell"})))
    assert collect(events).choices[0].parts == [ToolCall("b", "shell", arguments, custom=True)]


def test_a_stand_in_alone_is_no_tool_call(read_stream, frames):
    reply = collect(read_stream(frames(
        start(), begin(0, type="tool_use", id="c", name="structured_output", input={}), stop(0), ending("tool_use"),
        END), Sent({}, schema_tool="structured_output")))
    assert reply.choices[0].parts == [Text("{}")]
    assert reply.choices[0].finish == Finish("stop", "tool_use")


@pytest.mark.parametrize("fragments", [[], [""], ["{}"]])
def test_a_call_without_arguments(read_stream, frames, fragments):
    events = read_stream(frames(
        start(), begin(0, type="tool_use", id="a", name="f", input={}),
        *[delta(0, "input_json_delta", partial_json=text) for text in fragments], stop(0), ending("tool_use"), END))
    assert collect(events).choices[0].parts == [ToolCall("a", "f", "{}")]


def test_an_input_that_comes_whole_at_the_start(read_stream, frames):
    events = read_stream(frames(start(), begin(0, type="tool_use", id="a", name="f", input={"x": 1}), stop(0),
                                ending("tool_use"), END))
    assert collect(events).choices[0].parts == [ToolCall("a", "f", '{"x":1}')]


def test_a_block_that_is_carried_unread_grows_before_it_is_said(read_stream, frames):
    events = read_stream(frames(
        start(), begin(0, type="compaction", content=""), delta(0, "compaction_delta", content="So far"),
        delta(0, "compaction_delta", content=", so good", encrypted_content="e"), stop(0), ending(), END))
    assert events[1] == PartStart(0, Native(NAME, {
        "type": "compaction", "content": "So far, so good", "encrypted_content": "e"}))


def test_blocks_left_open_are_closed(read_stream, frames):
    events = read_stream(frames(start(), begin(0, type="text", text="a"), ending(), END))
    assert events[-2:] == [PartEnd(0), MessageEnd()]
    assert collect(events).choices[0].parts == [Text("a")]


def test_a_second_start_of_the_same_message_is_passed_over(read_stream, frames):
    doubled = frames(RICH[0], *RICH)
    assert read_stream(doubled) == read_stream(frames(*RICH))
    late = frames(*RICH[:5], RICH[0], *RICH[5:])
    assert read_stream(late) == read_stream(frames(*RICH))


def test_another_message_before_any_output_takes_over(read_stream, frames):
    events = read_stream(frames(
        start("msg_0"), start("msg_1"), begin(0, type="text", text="a"), stop(0), ending(), END))
    assert [type(event).__name__ for event in events].count("MessageStart") == 1
    assert collect(events).choices[0].parts == [Text("a")]


def test_another_message_amid_the_output_is_an_error(read_stream, frames):
    events = read_stream(frames(*RICH[:4], start("msg_2"), *RICH[2:]))
    assert isinstance(events[-1], MessageError)
    assert events[-1].failure.code == "upstream_failed"
    assert sum(isinstance(event, MessageError) for event in events) == 1


@pytest.mark.parametrize("cut", range(len(RICH)))
def test_a_stream_without_its_end_is_an_error(read_stream, frames, cut):
    events = read_stream(frames(*RICH[:cut]))
    assert isinstance(events[-1], MessageError)
    assert events[-1].failure.code == "upstream_failed"


@pytest.mark.parametrize("cut", range(len(RICH)))
def test_an_error_at_any_place_is_the_last_event(read_stream, frames, cut):
    error = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
    events = read_stream(frames(*RICH[:cut], error, *RICH[cut:]))
    assert isinstance(events[-1], MessageError)
    assert (events[-1].failure.code, events[-1].failure.retryable) == ("upstream_overloaded", True)
    assert sum(isinstance(event, MessageError) for event in events) == 1


@pytest.mark.parametrize("data", [
    b"not json", b"[1]", b'{"type":"content_block_start","index":0}',
    b'{"type":"content_block_start","content_block":3}',
    b'{"type":"content_block_delta","index":9,"delta":{"type":"text_delta","text":"a"}}',
    b'{"type":"message_start","message":{"id":1}}', b'{"type":"message_delta","delta":{"stop_reason":1}}',
    b"[" * 100_000, b'{"type":"message_delta","usage":{"output_tokens":"x"}}'])
def test_what_cannot_be_read_is_the_upstream_s_failure(read_stream, data):
    events = read_stream(b"data: " + data + b"\n\n")
    assert [type(event) for event in events] == [MessageError]
    assert events[0].failure.code == "upstream_failed"


def test_a_delta_that_cannot_be_read(read_stream, frames):
    events = read_stream(frames(start(), begin(0, type="text", text=""), delta(0, "text_delta", text=3)))
    assert events[-1].failure.code == "upstream_failed"


def test_an_input_of_the_vendor_s_tool_that_is_no_json(read_stream, frames):
    events = read_stream(frames(start(), begin(0, type="server_tool_use", id="s", name="x", input={}),
                                delta(0, "input_json_delta", partial_json="{"), stop(0)))
    assert events[-1].failure.code == "upstream_failed"


def test_an_error_that_is_mere_text(read_stream, frames):
    events = read_stream(frames({"type": "error", "error": "boom"}))
    assert (events[0].failure.code, events[0].failure.message) == ("upstream_failed", "boom")


def test_nothing_follows_the_end(read_stream, frames):
    assert read_stream(frames(*RICH, begin(9, type="text", text="a"))) == read_stream(frames(*RICH))


def test_a_frame_without_end_is_refused(messages):
    reader = messages.reader(Sent({}))
    events = reader.feed(b"data: " + b"x" * EVENT_LIMIT)
    assert events[0].failure.code == "upstream_failed"
    assert reader.close() == []


def test_a_thought_that_begins_with_words(read_stream, frames):
    events = read_stream(frames(
        start(), begin(0, type="thinking", thinking="a", signature="s"), stop(0), ending(), END))
    assert collect(events).choices[0].parts == [Thinking("a", signature="s", signed_by=NAME)]

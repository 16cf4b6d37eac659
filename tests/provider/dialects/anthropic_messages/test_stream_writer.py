"""Canonical events become the vendor's stream, and the vendor's own client understands it."""

import anthropic
import msgspec
import pytest

from ailink_provider.chat import (
    Chat,
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
    Refusal,
    Reply,
    Text,
    Thinking,
    TokenLogprob,
    ToolCall,
    Usage,
    unfold,
)
from ailink_provider.errors import Failure
from ailink_provider.estimate import estimate_chat

NAME = "anthropic_messages"
START = MessageStart("msg_1", "claude-x")
REQUEST = Chat("claude-test", [])
CITATION = {"type": "char_location", "cited_text": "x", "document_index": 0, "document_title": None,
            "start_char_index": 0, "end_char_index": 1, "file_id": None}
SEARCH = {"type": "server_tool_use", "id": "s1", "name": "web_search", "input": {"query": "cats"}}
FOUND = {"type": "web_search_tool_result", "tool_use_id": "s1", "content": []}


@pytest.fixture
def write(messages):
    """Writes events; returns the stream."""
    def run(*events):
        writer = messages.writer(REQUEST)
        return b"".join([writer.write(event) for event in events])

    return run


@pytest.fixture
def final(client):
    """Has the vendor's client read a stream; returns the message it put together."""
    def run(stream):
        with client(stream, "text/event-stream").messages.stream(
                model="m", max_tokens=1, messages=[{"role": "user", "content": "Hi"}]) as events:
            return events.get_final_message()

    return run


def decoded(stream):
    events = []
    for frame in stream.decode().split("\n\n")[:-1]:
        name, data = frame.split("\n")
        events.append(msgspec.json.decode(data.removeprefix("data: ")))
        assert name == f"event: {events[-1]['type']}"
    return events


def content(stream):
    """Check that blocks follow one another without gap or overlap; return what they hold."""
    blocks, is_open = [], False
    for event in decoded(stream):
        if event["type"] == "content_block_start":
            assert (event["index"], is_open) == (len(blocks), False)
            blocks.append([event["content_block"]["type"]])
            is_open = True
        elif event["type"] == "content_block_delta":
            assert (event["index"], is_open) == (len(blocks) - 1, True)
            blocks[-1] += [value for key, value in event["delta"].items() if key != "type"]
        elif event["type"] == "content_block_stop":
            assert (event["index"], is_open) == (len(blocks) - 1, True)
            is_open = False
        elif event["type"] == "message_stop":
            assert not is_open
    return blocks


def test_a_plain_answer(write):
    stream = write(START, PartStart(0, Text("")), PartDelta(0, "H"), PartDelta(0, "i"), PartEnd(0),
                   MessageDelta(Finish("stop")), MessageDelta(usage=Usage(12, 3)), MessageEnd())
    events = decoded(stream)
    assert [event["type"] for event in events] == [
        "message_start", "content_block_start", "content_block_delta", "content_block_delta", "content_block_stop",
        "message_delta", "message_stop"]
    assert events[0]["message"]["usage"]["input_tokens"] == estimate_chat(REQUEST)  # until the truth is known
    assert events[5]["delta"] == {"stop_reason": "end_turn", "stop_sequence": None}
    assert (events[5]["usage"]["input_tokens"], events[5]["usage"]["output_tokens"]) == (12, 3)


def test_the_vendor_s_client_reads_every_kind_of_part(write, final):
    reply = Reply("msg_1", "claude-x", choices=[Choice([
        Thinking("hm", signature="s", signed_by=NAME), Thinking(redacted="r", signed_by=NAME),
        Text("Hi", annotations=[CITATION]), Native(NAME, SEARCH), Native(NAME, FOUND), Refusal("no"),
        ToolCall("t1", "f", '{"a":[1,2]}'), ToolCall("t2", "g")], Finish("tool_calls"))],
        usage=Usage(140, 7, 100, 30, 20, 5))
    message = final(write(*unfold(reply)))
    assert [block.type for block in message.content] == [
        "thinking", "redacted_thinking", "text", "server_tool_use", "web_search_tool_result", "text", "tool_use",
        "tool_use"]
    assert (message.content[0].thinking, message.content[0].signature) == ("hm", "s")
    assert message.content[2].citations[0].cited_text == "x"
    assert message.content[3].input == {"query": "cats"}
    assert (message.content[6].input, message.content[7].input) == ({"a": [1, 2]}, {})
    usage = message.usage
    assert (message.stop_reason, usage.input_tokens, usage.cache_read_input_tokens) == ("tool_use", 10, 100)
    assert usage.output_tokens_details.thinking_tokens == 5


def test_a_stream_says_the_same_as_the_whole(write, final, messages):
    reply = Reply("msg_1", "claude-x", choices=[Choice([
        Thinking("hm", signature="s", signed_by="gemini"), Text(""), Text("Hi"), ToolCall("a:b", "f", '{"a":1}')],
        Finish("content_filter", explanation="why"))], usage=Usage(5, 6), service_tier="default")
    whole = messages.write_reply(reply, REQUEST)
    streamed = final(write(*unfold(reply))).to_dict()
    for name in ("id", "model", "content", "stop_reason", "stop_details"):
        assert streamed[name] == whole[name]
    assert streamed["usage"] == whole["usage"]


def test_known_input_stands_in_the_first_event(write):
    events = decoded(write(MessageStart("m", "x", usage=Usage(30, 1, cache_read_tokens=10)), MessageEnd()))
    assert events[0]["message"]["usage"]["input_tokens"] == 20
    assert events[1]["usage"]["input_tokens"] == 20


def test_interleaved_calls_go_to_their_own_blocks(write, final):
    stream = write(
        START, PartStart(0, ToolCall("a", "f")), PartStart(1, ToolCall("b", "g")), PartDelta(0, '{"x":'),
        PartDelta(1, '{"y"'), PartDelta(0, "1}"), PartDelta(1, ":2}"), PartEnd(1), PartEnd(0),
        MessageDelta(Finish("tool_calls")), MessageEnd())
    assert content(stream) == [["tool_use", '{"x":', "1}"], ["tool_use", '{"y"', ":2}"]]
    assert [(block.id, block.input) for block in final(stream).content] == [("a", {"x": 1}), ("b", {"y": 2})]


def test_text_gives_way_and_goes_on_behind(write):
    stream = write(
        START, PartStart(0, Text("")), PartDelta(0, "one"), PartStart(1, ToolCall("a", "f")), PartDelta(1, "{"),
        PartDelta(0, "two"), PartDelta(1, "}"), PartEnd(1), PartDelta(0, "three"), PartEnd(0), MessageEnd())
    assert content(stream) == [["text", "one"], ["tool_use", "{", "}"], ["text", "two", "three"]]


def test_text_that_resumes_closes_a_thought_that_nobody_signs(write):
    stream = write(
        START, PartStart(0, Thinking("")), PartDelta(0, "hm"), PartStart(1, Text("")), PartDelta(1, "a"),
        PartDelta(0, "so"), PartDelta(1, "b"), PartEnd(0), PartEnd(1), MessageEnd())
    assert content(stream) == [["thinking", "hm"], ["text", "a"], ["thinking", "so"], ["text", "b"]]


def test_a_thought_that_is_yet_to_be_signed_is_waited_for(write):
    stream = write(
        START, PartStart(0, Thinking("", signed_by="gemini")), PartDelta(0, "hm"), PartStart(1, Text("")),
        PartDelta(1, "a"), PartDelta(0, signature="s"), PartEnd(0), PartEnd(1), MessageEnd())
    assert content(stream) == [["thinking", "hm", "ailink:gemini:s"], ["text", "a"]]


def test_parts_that_nobody_ends_are_ended(write):
    stream = write(
        START, PartStart(0, ToolCall("a", "f")), PartStart(1, ToolCall("b", "g")), PartDelta(1, "{}"),
        MessageDelta(Finish("stop")), MessageEnd())
    assert content(stream) == [["tool_use", "{}"], ["tool_use", "{}"]]
    assert decoded(stream)[-2]["delta"]["stop_reason"] == "tool_use"


def test_nothing_empty_is_begun(write):
    stream = write(
        START, PartStart(0, Text("")), PartDelta(0, ""), PartEnd(0), PartStart(1, Thinking()), PartEnd(1),
        PartStart(2, Native("gemini", {})), PartEnd(2), PartStart(4, Media("image", data="AAAA")), PartEnd(4),
        PartDelta(0, logprobs=[TokenLogprob("a", -1.0)]),
        PartStart(3, Text("a")), PartEnd(3), MessageEnd())
    assert content(stream) == [["text", "a"]]


def test_a_foreign_citation_is_left_out(write):
    stream = write(START, PartStart(0, Text("")), PartDelta(0, "a"), PartDelta(0, annotation={"type": "url_citation"}),
                   PartDelta(0, annotation=CITATION), PartEnd(0), MessageEnd())
    assert content(stream) == [["text", "a", CITATION]]


def test_a_web_page_cited_in_another_dialect_is_shown(write):
    page = {"url": "https://a.test", "title": "A", "start_index": 0, "end_index": 1}
    shown = {"type": "web_search_result_location", "url": "https://a.test", "title": "A", "cited_text": "",
             "encrypted_index": ""}
    stream = write(START, PartStart(0, Text("a", annotations=[page, {"url": 1}])), PartDelta(0, annotation=page),
                   PartEnd(0), MessageEnd())
    assert content(stream) == [["text", "a", shown, shown]]


def test_calls_keep_their_order_while_a_text_is_open(write):
    stream = write(START, PartStart(0, Text("")), PartStart(1, ToolCall("a", "f")), PartDelta(0, "x"),
                   PartStart(2, ToolCall("b", "f")), PartDelta(2, "{}"), PartEnd(2), PartDelta(1, "{}"), PartEnd(1),
                   PartStart(3, ToolCall("c", "f")), PartEnd(0), PartDelta(3, "{}"), PartEnd(3), MessageEnd())
    assert [event["content_block"].get("id") for event in decoded(stream) if "content_block" in event] == [
        "a", None, "b", "c"]


def test_a_citation_waits_for_its_text_and_makes_no_empty_block(write):
    stream = write(START, PartStart(0, Text("")), PartDelta(0, annotation=CITATION), PartDelta(0, "a"), PartEnd(0),
                   PartStart(1, Text("")), PartDelta(1, annotation=CITATION), PartEnd(1),
                   PartStart(2, ToolCall("t", "f", "{}")), PartEnd(2), PartDelta(0, annotation=CITATION), MessageEnd())
    assert [block[0] for block in content(stream)] == ["text", "tool_use"]
    assert content(stream)[0] == ["text", "a", CITATION]


def test_other_choices_have_no_place(write):
    stream = write(START, PartStart(0, Text("a")), PartStart(0, Text("b"), choice=1), PartDelta(0, "c", choice=1),
                   PartEnd(0, choice=1), PartEnd(0), MessageDelta(Finish("length"), choice=1),
                   MessageDelta(Finish("stop")), MessageEnd())
    assert content(stream) == [["text", "a"]]
    assert decoded(stream)[-2]["delta"]["stop_reason"] == "end_turn"


def test_what_comes_after_the_reason_is_ignored(write):
    stream = write(START, PartStart(0, Text("a")), MessageDelta(Finish("stop")), PartDelta(0, "late"),
                   PartStart(1, Text("late")), PartEnd(0), MessageEnd())
    assert content(stream) == [["text", "a"]]


def test_events_that_fit_nothing_write_nothing(write):
    assert write(PartDelta(3, "a"), PartEnd(3)) == b""


def test_an_answer_without_a_start_gets_one(write, final):
    message = final(write(MessageEnd()))
    assert (message.id[:4], message.model, message.content) == ("msg_", "claude-test", [])


@pytest.mark.parametrize(("failure", "raised"), [
    (Failure("upstream_overloaded", "Busy."), "overloaded_error"),
    (Failure("upstream_failed", "Broken."), "api_error"),
    (Failure("content_blocked", "No.", policy_name="p", reason="r", details={"a": 1}), "permission_error"),
])
def test_an_error_in_the_stream_is_raised_by_the_vendor_s_client(write, client, failure, raised):
    stream = write(START, PartStart(0, Text("a")), MessageError(failure))
    with (
        client(stream, "text/event-stream").messages.stream(
            model="m", max_tokens=1, messages=[{"role": "user", "content": "Hi"}]) as events,
        pytest.raises(anthropic.APIStatusError) as caught,
    ):
        events.get_final_message()
    assert (caught.value.type, caught.value.api_message) == (raised, failure.message)


def test_the_content_type(messages):
    assert messages.writer(REQUEST).content_type.startswith("text/event-stream")

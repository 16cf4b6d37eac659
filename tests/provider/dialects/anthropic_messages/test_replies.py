"""Whole replies, read from the vendor and written for its clients."""

import msgspec
import pytest

from ailink_provider.chat import (
    Chat,
    Choice,
    Finish,
    Media,
    Native,
    Refusal,
    Reply,
    Text,
    Thinking,
    ToolCall,
    Usage,
)
from ailink_provider.dialects import Sent
from ailink_provider.dialects.anthropic_messages import DIALECT
from ailink_provider.errors import Failure

NAME = "anthropic_messages"
REQUEST = Chat("claude-test", [])
PAGE = {"type": "url_citation", "url": "https://a.test"}
CITATION = {"type": "char_location", "cited_text": "x", "document_index": 0, "document_title": None,
            "start_char_index": 0, "end_char_index": 1, "file_id": None}
USAGE = {
    "input_tokens": 10, "cache_read_input_tokens": 100, "cache_creation_input_tokens": 30,
    "cache_creation": {"ephemeral_5m_input_tokens": 10, "ephemeral_1h_input_tokens": 20},
    "output_tokens": 7, "output_tokens_details": {"thinking_tokens": 5}, "service_tier": "standard",
}
TOTALS = Usage(input_tokens=140, output_tokens=7, cache_read_tokens=100, cache_write_tokens=30,
               cache_write_1h_tokens=20, reasoning_tokens=5)


def body(*content, stop_reason="end_turn", **members):
    return {"id": "msg_1", "type": "message", "role": "assistant", "model": "claude-x", "content": list(content),
            "stop_reason": stop_reason, "stop_sequence": None, "usage": {"input_tokens": 1, "output_tokens": 2},
            **members}


@pytest.fixture
def read(messages):
    def run(*content, sent=None, **members):
        return messages.read_reply(body(*content, **members), sent or Sent({}))

    return run


@pytest.fixture
def write(messages, client):
    """Writes a reply, has the vendor's client read it, and returns both."""
    def run(*parts, finish=None, **fields):
        reply = Reply("msg_1", "claude-x", choices=[Choice(list(parts), finish)], **fields)
        written = messages.write_reply(reply, REQUEST)
        parsed = client(msgspec.json.encode(written)).messages.create(
            model="m", max_tokens=1, messages=[{"role": "user", "content": "Hi"}])
        # The client checks nothing by itself: this holds what it built against the types it declares.
        type(parsed).model_validate(written)
        return written, parsed

    return run


def test_a_reply_is_read(read):
    reply = read({"type": "text", "text": "Hi"}, usage=USAGE)
    assert (reply.id, reply.model, reply.usage, reply.service_tier) == ("msg_1", "claude-x", TOTALS, "default")
    assert reply.choices == [Choice([Text("Hi")], Finish("stop", "end_turn"))]


@pytest.mark.parametrize(("block", "part"), [
    ({"type": "text", "text": "a", "citations": [CITATION]}, Text("a", annotations=[CITATION])),
    ({"type": "thinking", "thinking": "hm", "signature": "s"}, Thinking("hm", signature="s", signed_by=NAME)),
    ({"type": "thinking", "thinking": "", "signature": ""}, Thinking("", signed_by=NAME)),
    ({"type": "redacted_thinking", "data": "r"}, Thinking(redacted="r", signed_by=NAME)),
    ({"type": "tool_use", "id": "t", "name": "f", "input": {"a": [1]}, "caller": {"type": "direct"}},
     ToolCall("t", "f", '{"a":[1]}')),
    ({"type": "tool_use", "id": "t", "name": "f", "input": {}}, ToolCall("t", "f", "{}")),
    ({"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}},
     Native(NAME, {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}})),
])
def test_blocks_are_read(read, block, part):
    assert read(block).choices[0].parts == [part]


@pytest.mark.parametrize(("reason", "finish"), [
    ("end_turn", "stop"), ("stop_sequence", "stop"), ("max_tokens", "length"), ("tool_use", "tool_calls"),
    ("model_context_window_exceeded", "length"), ("pause_turn", "pause"), ("refusal", "content_filter"),
    ("something_new", "stop")])
def test_reasons_are_read(read, reason, finish):
    assert read(stop_reason=reason).choices[0].finish == Finish(finish, reason)


def test_a_refusal_says_why(read):
    details = {"type": "refusal", "category": "bio", "explanation": "Not that."}
    assert read(stop_reason="refusal", stop_details=details).choices[0].finish == Finish(
        "content_filter", "refusal", explanation="Not that.")


def test_renamed_wrapped_and_stand_in_tools_are_undone(read):
    sent = Sent({}, names={"fs_read_1": "fs.read"}, custom=frozenset({"shell"}), schema_tool="structured_output")
    reply = read({"type": "tool_use", "id": "a", "name": "fs_read_1", "input": {}},
                 {"type": "tool_use", "id": "b", "name": "shell", "input": {"input": "ls"}},
                 {"type": "tool_use", "id": "c", "name": "structured_output", "input": {"x": 1}},
                 sent=sent, stop_reason="tool_use")
    assert reply.choices[0].parts == [
        ToolCall("a", "fs.read", "{}"), ToolCall("b", "shell", "ls", custom=True), Text('{"x":1}')]
    assert reply.choices[0].finish.reason == "tool_calls"


@pytest.mark.parametrize(("arguments", "text"), [
    ({}, ""), ({"text": "ls"}, '{"text":"ls"}'), ({"input": 1}, '{"input":1}')])
def test_a_wrapped_call_of_another_form_is_shown_as_it_is(read, arguments, text):
    reply = read({"type": "tool_use", "id": "b", "name": "shell", "input": arguments},
                 sent=Sent({}, custom=frozenset({"shell"})))
    assert reply.choices[0].parts == [ToolCall("b", "shell", text, custom=True)]


def test_a_stand_in_alone_is_no_tool_call(read):
    reply = read({"type": "tool_use", "id": "c", "name": "structured_output", "input": {"x": 1}},
                 sent=Sent({}, schema_tool="structured_output"), stop_reason="tool_use")
    assert reply.choices[0] == Choice([Text('{"x":1}')], Finish("stop", "tool_use"))


@pytest.mark.parametrize("bad", [
    {}, {"content": None}, {"content": [1]}, {"content": [{}]}, {"content": [{"type": "text", "text": 1}]},
    {"content": [{"type": "tool_use", "id": "a", "name": "b", "input": "c"}]}, {"content": [], "usage": 3},
    {"content": [], "stop_reason": 1}])
def test_what_is_no_message_is_the_upstream_s_failure(messages, bad):
    with pytest.raises(Failure) as caught:
        messages.read_reply(bad, Sent({}))
    assert caught.value.code == "upstream_failed"


def test_an_error_in_place_of_a_message(messages, counting):
    error = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
    for operation in (messages, counting):
        with pytest.raises(Failure) as caught:
            operation.read_reply(error, Sent({}))
        assert caught.value.code == "upstream_overloaded"


def test_a_reply_is_written(write):
    written, parsed = write(
        Thinking("hm", signature="s", signed_by=NAME), Thinking(redacted="r", signed_by=NAME),
        Text("Hi", annotations=[CITATION, {"type": "file_path"}, {"groundingMetadata": {}}, PAGE]),
        ToolCall("t1", "fs.read", '{"a":1}'),
        ToolCall("t2", "now", ""), finish=Finish("tool_calls"), usage=TOTALS, service_tier="default")
    assert written["content"] == [
        {"type": "thinking", "thinking": "hm", "signature": "s"}, {"type": "redacted_thinking", "data": "r"},
        {"type": "text", "text": "Hi", "citations": [CITATION, {
            "type": "web_search_result_location", "url": "https://a.test", "title": None, "cited_text": "",
            "encrypted_index": ""}]},
        {"type": "tool_use", "id": "t1", "name": "fs.read", "input": {"a": 1}},
        {"type": "tool_use", "id": "t2", "name": "now", "input": {}}]
    assert written["usage"] == USAGE
    assert (parsed.stop_reason, parsed.usage.cache_creation.ephemeral_1h_input_tokens) == ("tool_use", 20)
    assert [block.type for block in parsed.content] == [
        "thinking", "redacted_thinking", "text", "tool_use", "tool_use"]


def test_a_tool_call_s_id_fits_this_wire(write):
    written, _ = write(ToolCall("functions.x:0", "f", ""))
    assert written["content"][0]["id"].startswith("functions_x_0_")


@pytest.mark.parametrize(("finish", "ending"), [
    (None, ("end_turn", None)),
    (Finish("stop"), ("end_turn", None)),
    (Finish("stop", stop_sequence="END"), ("stop_sequence", "END")),
    (Finish("stop", "stop_sequence", "END"), ("stop_sequence", "END")),
    (Finish("length", "model_context_window_exceeded"), ("model_context_window_exceeded", None)),
    (Finish("length", "MAX_TOKENS"), ("max_tokens", None)),
    (Finish("content_filter", "SAFETY"), ("refusal", None)),
    (Finish("pause", "pause_turn"), ("pause_turn", None)),
])
def test_reasons_are_written(write, finish, ending):
    written, _ = write(Text("a"), finish=finish)
    assert (written["stop_reason"], written["stop_sequence"]) == ending
    assert "stop_details" not in written


@pytest.mark.parametrize("finish", [None, Finish("stop", "stop"), Finish("tool_calls", "tool_calls")])
def test_a_call_ends_in_tool_use_whatever_the_upstream_called_it(write, finish):
    assert write(ToolCall("t", "f", "{}"), finish=finish)[0]["stop_reason"] == "tool_use"


def test_an_explanation_is_kept(write):
    _, parsed = write(Refusal("No."), finish=Finish("content_filter", explanation="Not that."))
    assert (parsed.stop_reason, parsed.stop_details.explanation) == ("refusal", "Not that.")
    assert parsed.content[0].text == "No."


def test_what_has_no_place_is_left_out(write):
    written, _ = write(Text(""), Thinking(), Media("image", data="AAAA"), Native("gemini", {}), Text("a"))
    assert written["content"] == [{"type": "text", "text": "a"}]


def test_foreign_proofs_come_back_through_the_client(write, messages):
    thoughts = [Thinking("hm", signature="s:1", signed_by="gemini"),
                Thinking(redacted="r", signed_by="openai_responses"), Thinking("own", signature="o", signed_by=NAME),
                Thinking("unsigned")]
    written, _ = write(*thoughts)
    chat = messages.read_request({"model": "m", "max_tokens": 1, "messages": [
        {"role": "assistant", "content": written["content"]}]})
    assert chat.messages[0].parts == [*thoughts[:3], Thinking("unsigned", signed_by=NAME)]


@pytest.mark.parametrize("arguments", ['{"a": "cut', "[1]", "no"])
def test_a_call_that_was_cut_short_is_told_apart(write, arguments):
    written, _ = write(ToolCall("t", "f", arguments), finish=Finish("length"))
    assert written["content"][0]["input"] == {"INVALID_JSON": arguments}


def test_a_nameless_reply_gets_an_id_and_the_model_that_was_asked(messages):
    written = messages.write_reply(Reply(), REQUEST)
    assert (written["id"][:4], written["model"], written["content"]) == ("msg_", "claude-test", [])
    assert written["usage"]["input_tokens"] == 0


def test_more_cached_than_counted_is_not_negative(messages):
    written = messages.write_reply(Reply(usage=Usage(input_tokens=5, cache_read_tokens=9)), REQUEST)
    assert written["usage"]["input_tokens"] == 0


def test_a_count(counting, client):
    reply = counting.read_reply({"input_tokens": 42}, Sent({}))
    written = counting.write_reply(reply, REQUEST)
    assert written == {"input_tokens": 42}
    counted = client(msgspec.json.encode(written)).messages.count_tokens(
        model="m", messages=[{"role": "user", "content": "Hi"}])
    assert counted.input_tokens == 42
    assert counting.write_reply(Reply(), REQUEST) == {"input_tokens": 0}


@pytest.mark.parametrize("bad", [{}, {"input_tokens": "1"}, {"input_tokens": None}])
def test_what_is_no_count_is_the_upstream_s_failure(counting, bad):
    with pytest.raises(Failure) as caught:
        counting.read_reply(bad, Sent({}))
    assert caught.value.code == "upstream_failed"


def test_a_count_is_not_streamed(counting):
    for start in (lambda: counting.reader(Sent({})), lambda: counting.writer(REQUEST), lambda: counting.meter({})):
        with pytest.raises(Failure) as caught:
            start()
        assert (caught.value.code, caught.value.param) == ("invalid_request", "stream")


def test_paths_and_headers(messages, counting):
    assert (messages.path("m", True), counting.path("m", False)) == ("/v1/messages", "/v1/messages/count_tokens")
    assert DIALECT.credential_header == ("x-api-key", "")
    assert DIALECT.fixed_headers == {"anthropic-version": "2023-06-01"}
    assert DIALECT.request_headers == ("anthropic-version", "anthropic-beta")
    assert {"request-id", "anthropic-ratelimit-unified-status", "anthropic-ratelimit-tokens-reset"} <= set(
        DIALECT.response_headers)


def test_only_the_model_is_amended(messages, plain):
    fields = msgspec.json.decode(b'{"model": "a", "x": {"y":  1}}', type=dict[str, msgspec.Raw])
    messages.amend(fields, "claude-é", plain)
    assert msgspec.json.encode(fields) == '{"model":"claude-é","x":{"y":  1}}'.encode()

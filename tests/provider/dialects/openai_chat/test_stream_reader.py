"""Upstreams' streams, read into canonical events."""

from collections.abc import Callable
from typing import Any

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
    Refusal,
    Reply,
    Text,
    Thinking,
    TokenLogprob,
    ToolCall,
    Usage,
    collect,
)
from ailink_provider.dialects import Sent
from ailink_provider.dialects.openai_chat import DIALECT
from ailink_provider.errors import Failure

CHAT = DIALECT.operations["chat"]
Make = Callable[..., Any]


def events(stream: bytes, size: int | None = None) -> list[Any]:
    reader = CHAT.reader(Sent({}, names={"wire": "client"}))
    found = []
    for start in range(0, len(stream), size or len(stream) or 1):
        found += reader.feed(stream[start:start + (size or len(stream))])
    return found + reader.close()


def call(index: int | None = 0, identifier: str | None = None, name: str | None = None, arguments: str | None = None,
         **members: Any) -> dict[str, Any]:
    function = {key: value for key, value in (("name", name), ("arguments", arguments)) if value is not None}
    given = {"index": index, "id": identifier, "function": function} | members
    return {"tool_calls": [{key: value for key, value in given.items() if value is not None}]}


def test_a_plain_stream_gives_the_events_in_their_order(sse: Make, chunk: Make) -> None:
    usage = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
    assert events(sse(
        chunk({"role": "assistant", "content": "", "refusal": None}, usage=None, service_tier="default"),
        chunk({"content": "he"}, usage=None), chunk({"content": "llo"}, usage=None), chunk({}, "stop", usage=None),
        {"id": "chatcmpl-1", "choices": [], "usage": usage},
    )) == [
        MessageStart("chatcmpl-1", "m-1", 1, service_tier="default"), PartStart(0, Text("")), PartDelta(0, "he"),
        PartDelta(0, "llo"), PartEnd(0), MessageDelta(Finish("stop", "stop")), MessageDelta(usage=Usage(3, 2)),
        MessageEnd()]


@pytest.mark.parametrize("pieces", [
    [call(0, "a", "f", ""), call(0, None, None, '{"x"'), call(0, None, None, ":1}"), call(1, "b", "wire", "{}")],
    [call(0, "a", "f", ""), call(1, "b", "wire", ""), call(0, None, None, '{"x"'), call(1, None, None, "{}"),
     call(0, None, None, ":1}")],
    [call(None, "a", "f", '{"x":1}'), call(None, "b", "wire", "{}")],
    [call(None, "a", "f", ""), call(None, "a", None, '{"x":1}'), call(None, "b", "wire", "{}")],
    [call(0, "a", "f", '{"x":1}'), call(0, "b", "wire", "{}")],
    [call(0, "a", None, ""), call(0, None, "f", '{"x":1}'), call(1, "b", "wire", "{}")],
    [call(0, None, None, '{"x"'), call(0, "a", "f", ":1}"), call(1, "b", "wire", "{}")],
    [call(0, "a", "f", {"x": 1}), call(7, "b", "wire", {})],
    [{"tool_calls": call(0, "a", "f", '{"x":1}')["tool_calls"] + call(1, "b", "wire", "{}")["tool_calls"]}],
], ids=["in turn", "interleaved", "no index", "no index, in pieces", "one index", "name later", "arguments first",
        "objects", "at once"])
def test_calls_are_told_apart(sse: Make, chunk: Make, pieces: list[dict[str, Any]]) -> None:
    reply = collect(events(sse(*map(chunk, pieces), chunk({}, "tool_calls"))))
    assert reply.choices[0].parts == [ToolCall("a", "f", '{"x":1}'), ToolCall("b", "client", "{}")]


def test_calls_without_ids_get_distinct_ones(sse: Make, chunk: Make) -> None:
    stream = sse(chunk(call(None, None, "f", "{")), chunk(call(None, None, None, "}")),
                 chunk(call(None, None, "f", "{}")),
                 chunk({}, "stop"))
    first, second = collect(events(stream)).choices[0].parts
    assert isinstance(first, ToolCall)
    assert isinstance(second, ToolCall)
    assert (first.arguments, second.arguments) == ("{}", "{}")
    assert first.id != second.id


@pytest.mark.parametrize(("delta", "parts"), [
    ([{"reasoning_content": "h"}, {"reasoning_content": "m"}, {"content": "x"}],
     [Thinking("hm", signed_by="openai_chat"), Text("x")]),
    ([{"reasoning": "hm", "content": ""}, {"content": "x", "reasoning": None}],
     [Thinking("hm", signed_by="openai_chat"), Text("x")]),
    ([{"reasoning": "h", "reasoning_details": [{"type": "reasoning.text", "text": "h",
                                                "format": "anthropic-claude-v1"}]},
      {"reasoning_details": [{"type": "reasoning.text", "signature": "s", "format": "anthropic-claude-v1"}]},
      {"content": "x"}], [Thinking("h", "s", signed_by="anthropic_messages"), Text("x")]),
    ([{"reasoning_content": "h", "thinking_blocks": [{"type": "thinking", "thinking": "h", "signed_by": "gemini"}]},
      {"thinking_blocks": [{"type": "thinking", "thinking": "", "signature": "s"}]},
      {"thinking_blocks": [{"type": "redacted_thinking", "data": "d"}]}, {"content": "x"}],
     [Thinking("h", "s", signed_by="gemini"), Thinking(redacted="d", signed_by="anthropic_messages"), Text("x")]),
    ([{"reasoning_content": "hm"}, {"thinking_blocks": [{"type": "thinking", "thinking": "hm", "signature": "s"}]},
      {"content": "x"}], [Thinking("hm", signed_by="openai_chat"), Text("x")]),
    ([{"reasoning_content": "h"}, {"reasoning_content": "m", "thinking_blocks": [
        {"type": "thinking", "thinking": "m", "signature": "s"}]}],
     [Thinking("h", signed_by="openai_chat"), Thinking("m", "s", signed_by="anthropic_messages")]),
    ([{"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}]},
      {"content": [{"type": "text", "text": "x"}]}], [Thinking("hm", signed_by="openai_chat"), Text("x")]),
    ([{"content": "a"}, call(0, "i", "f", "{}"), {"content": "b"}], [Text("a"), ToolCall("i", "f", "{}"), Text("b")]),
    ([{"refusal": "n"}, {"refusal": "o"}], [Refusal("no")]),
    ([{"content": "x"}, {"annotations": [{"type": "url_citation"}]}],
     [Text("x", annotations=[{"type": "url_citation"}])]),
    ([{"content": "x", "images": [{"image_url": {"url": "data:image/png;base64,AA=="}}]}],
     [Text("x"), Media("image", "image/png", "AA==")]),
    ([{"audio": {"id": "a", "transcript": "h"}}, {"audio": {"id": "a", "transcript": "i", "data": "AA=="}}],
     [Native("openai_chat", {"audio": {"id": "a", "transcript": "hi", "data": "AA=="}})]),
    ([{"function_call": {"name": "f", "arguments": ""}}, {"function_call": {"arguments": "{}"}}], None),
    ([call(0, "i", "g", None, type="custom", function=None, custom={"name": "g", "input": "r"}),
      call(0, None, None, None, function=None, custom={"input": "aw"})], [ToolCall("i", "g", "raw", True)]),
    ([call(0, "i", "f", "{}", extra_content={"google": {"thought_signature": "s"}})],
     [ToolCall("i", "f", "{}", signature="s", signed_by="gemini")]),
    ([{"content": 7, "tool_calls": "x", "reasoning": {}, "annotations": 1}, {"content": "x"}], [Text("x")]),
])
def test_deltas_become_parts(sse: Make, chunk: Make, delta: list[dict[str, Any]], parts: list[Any] | None) -> None:
    choice = collect(events(sse(*map(chunk, delta), chunk({}, "stop")))).choices[0]
    if parts is None:
        (part,) = choice.parts
        assert isinstance(part, ToolCall)
        assert (part.name, part.arguments) == ("f", "{}")
        assert choice.finish == Finish("tool_calls", "stop")
    else:
        assert choice.parts == parts


def test_several_choices(sse: Make, chunk: Make) -> None:
    reply = collect(events(sse(
        chunk({"content": "a"}), chunk({"content": "x"}, index=1), chunk({"content": "b"}), chunk({}, "stop"),
        chunk(call(0, "i", "f", "{}"), index=1), chunk({}, "tool_calls", 1))))
    assert reply.choices == [Choice([Text("ab")], Finish("stop", "stop")),
                             Choice([Text("x"), ToolCall("i", "f", "{}")], Finish("tool_calls", "tool_calls"))]


USAGE = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}


@pytest.mark.parametrize("shape", [
    lambda chunk: [chunk({"content": "x"}), chunk({}, "stop", usage=USAGE)],
    lambda chunk: [chunk({"content": "x"}, usage={"prompt_tokens": 3}), chunk({}, "stop", usage=USAGE)],
    lambda chunk: [chunk({"content": "x"}), chunk({}, "stop"), chunk(usage=USAGE, choices=None)],
    lambda chunk: [chunk({"content": "x"}), chunk({}, "stop"), chunk({"content": "late"}, usage=USAGE)],
    lambda chunk: [chunk(choices=[], id="", model="", prompt_filter_results=[{}]), chunk({"content": "x"}),
                   chunk({}, "stop"), chunk(choices=[], usage=USAGE)],
], ids=["with the finish", "on every chunk", "choices null", "after the finish", "azure"])
def test_usage_is_found(sse: Make, chunk: Make, shape: Callable[[Make], list[Any]]) -> None:
    found = events(sse(*shape(chunk)))
    assert found[0] == MessageStart("chatcmpl-1", "m-1", 1)
    assert collect(found) == Reply("chatcmpl-1", "m-1", 1, [Choice([Text("x")], Finish("stop", "stop"))], Usage(3, 2))


def test_the_same_usage_is_told_once(sse: Make, chunk: Make) -> None:
    found = events(sse(chunk({"content": "x"}, usage=USAGE), chunk({}, "stop", usage=USAGE)))
    assert sum(isinstance(event, MessageDelta) and event.usage is not None for event in found) == 1


def test_log_probabilities_are_read(sse: Make, chunk: Make) -> None:
    content = {"content": [{"token": "x", "logprob": -1, "bytes": [120], "top_logprobs": []}]}
    with_logprobs = chunk({"content": "x"})
    with_logprobs["choices"][0]["logprobs"] = content
    reply = collect(events(sse(with_logprobs, chunk({}, "stop"))))
    assert reply.choices[0].logprobs == [TokenLogprob("x", -1, [120])]


@pytest.mark.parametrize(("word", "finish"), [
    ("content_filter", Finish("content_filter", "content_filter")), ("weird", Finish("stop", "weird")),
    (None, Finish("stop")),
])
def test_a_finish_or_none(sse: Make, chunk: Make, word: str | None, finish: Finish) -> None:
    assert collect(events(sse(chunk({"content": "x"}), chunk({}, word)))).choices[0].finish == finish


@pytest.mark.parametrize(("error", "code"), [
    ({"message": "The server had an error", "type": "server_error", "code": None}, "upstream_failed"),
    ({"message": "Slow down", "type": "rate_limit_exceeded"}, "rate_limit_exceeded"),
    ({"message": "Provider disconnected", "code": 502}, "upstream_failed"),
    ({"message": "x", "type": "overloaded_error"}, "upstream_overloaded"),
    ({"message": "This model's maximum context length is 10 tokens", "type": "invalid_request_error"},
     "context_length_exceeded"),
    ("it broke", "upstream_failed"),
    ({"message": "Incorrect API key provided: sk-abc", "type": "authentication_error"}, "upstream_auth"),
])
def test_an_error_in_the_stream_ends_it(sse: Make, chunk: Make, error: Any, code: str) -> None:
    found = events(sse(chunk({"content": "x"}), {"error": error}, chunk({"content": "late"})))
    assert isinstance(found[-1], MessageError)
    assert found[-1].failure.code == code
    assert "sk-abc" not in found[-1].failure.message
    assert sum(isinstance(event, MessageError | MessageEnd) for event in found) == 1


def test_an_error_may_be_an_event_of_that_name_or_in_a_choice_or_the_chunk_itself(sse: Make, chunk: Make) -> None:
    named = b'event: error\ndata: {"message": "gone"}\n\n'
    choice = {"choices": [{"finish_reason": "error", "error": {"code": 429, "message": "x"}}]}
    bare = {"object": "error", "message": "Too long.", "type": "BadRequestError", "param": None, "code": 400}
    for stream, code in ((named, "upstream_failed"), (sse(choice), "rate_limit_exceeded"),
                         (sse(bare), "invalid_request")):
        found = events(sse(chunk({"content": "x"}), done=False) + stream)
        assert isinstance(found[-1], MessageError)
        assert found[-1].failure.code == code


@pytest.mark.parametrize("stream", [
    b"", b": hello\n\n", b"<html>oops</html>", b"data: {oops}\n\n", b'data: {"choices"', b"data: [DONE]\n\n",
    b'data: {"choices":[{"index":1000000,"delta":{"content":"x"}}]}\n\n', b"data: " + b"[" * 100_000 + b"\n\n",
    b'data: "\xff"\n\n',
])
def test_what_is_no_stream_of_a_reply_is_an_error(stream: bytes) -> None:
    found = events(stream)
    assert isinstance(found[-1], MessageError)
    assert found[-1].failure.code == "upstream_failed"


def test_a_stream_cut_before_its_end_is_an_error(sse: Make, chunk: Make) -> None:
    stream = sse(chunk({"content": "héllo"}), chunk(call(0, "i", "f", "{}")), chunk({}, "tool_calls"))
    for end in range(len(stream) - len(b"\n\ndata: [DONE]\n\n")):
        found = events(stream[:end])
        assert isinstance(found[-1], MessageError)
        assert not any(isinstance(event, MessageEnd) for event in found)
    assert events(stream.rstrip(b"\n")) == events(stream)


def test_a_stream_whose_choices_have_ended_needs_no_last_word(sse: Make, chunk: Make) -> None:
    said, usage = [chunk({"content": "héllo"}), chunk({}, "stop")], {"id": "i", "choices": [], "usage": USAGE}
    for chunks in (said, [*said, usage]):
        assert events(sse(*chunks, done=False)) == events(sse(*chunks))
    other = {"choices": [{"index": 1, "delta": {"content": "other"}}]}
    assert isinstance(events(sse(chunk({"content": "x"}), other, chunk({}, "stop"), done=False))[-1], MessageError)


def rich(sse: Make, chunk: Make) -> bytes:
    return sse(chunk({"role": "assistant", "content": ""}), chunk({"reasoning_content": "hä"}),
               chunk({"content": "günter 🙂"}),
               chunk(call(0, "a", "f", "")), chunk(call(0, None, None, '{"ü":1}')), chunk(call(1, "b", "wire", "{}")),
               chunk({}, "tool_calls"), {"id": "chatcmpl-1", "choices": [], "usage": USAGE})


@pytest.mark.parametrize("dress", [
    lambda stream: stream,
    lambda stream: stream.replace(b"\n", b"\r\n"),
    lambda stream: stream.replace(b"\n", b"\r"),
    lambda stream: stream.replace(b"data: ", b"data:"),
    lambda stream: b"\xef\xbb\xbf" + stream,
    lambda stream: stream.replace(b"data: {", b": OPENROUTER PROCESSING\n\nevent: message\nid: 1\ndata: {"),
    lambda stream: stream.replace(b"data: {", b'event: ping\ndata:\n\ndata: {"unknown":true}\n\ndata: {'),
    lambda stream: stream.rstrip(b"\n"),
], ids=["as it is", "CRLF", "CR", "no space", "BOM", "comments", "unknown events", "no blank line"])
def test_framing_and_cuts_change_nothing(sse: Make, chunk: Make, dress: Callable[[bytes], bytes]) -> None:
    expected = events(rich(sse, chunk))
    dressed = dress(rich(sse, chunk))
    assert all(events(dressed, size) == expected for size in (1, 2, 3, 7, 64, 4096))


def test_streaming_and_whole_replies_agree(sse: Make, chunk: Make) -> None:
    whole = CHAT.read_reply({"id": "chatcmpl-1", "model": "m-1", "created": 1, "usage": USAGE, "choices": [{
        "index": 0, "finish_reason": "tool_calls", "message": {
            "reasoning_content": "hä", "content": "günter 🙂", "tool_calls": [
                {"id": "a", "type": "function", "function": {"name": "f", "arguments": '{"ü":1}'}},
                {"id": "b", "type": "function", "function": {"name": "wire", "arguments": "{}"}}]}}]},
        Sent({}, names={"wire": "client"}))
    assert collect(events(rich(sse, chunk))) == whole


def test_a_reader_that_ended_says_no_more(sse: Make, chunk: Make) -> None:
    reader = CHAT.reader(Sent({}))
    reader.feed(sse(chunk({"content": "x"})))
    assert reader.feed(sse(chunk({"content": "y"}))) == []
    assert reader.close() == []


def test_an_endless_event_is_an_error() -> None:
    reader = CHAT.reader(Sent({}))
    found = [event for _ in range(6) for event in reader.feed(b"data: " + b"x" * 8_000_000)]
    assert isinstance(found[-1], MessageError)
    assert isinstance(found[-1].failure, Failure)
    assert len(found) == 1

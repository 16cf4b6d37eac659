"""Whole replies, read from upstreams and written for clients."""

from collections.abc import Callable
from typing import Any

import openai
import pytest
from openai.types.chat import ChatCompletion

from ailink_provider.chat import (
    Chat,
    Choice,
    Finish,
    Media,
    Message,
    Native,
    Refusal,
    Reply,
    Text,
    Thinking,
    TokenLogprob,
    ToolCall,
    Usage,
)
from ailink_provider.dialects import Sent
from ailink_provider.dialects.openai_chat import DIALECT
from ailink_provider.errors import Failure

CHAT = DIALECT.operations["chat"]
ASKED = Chat("m", [Message("user", [Text("hello")])])
Sdk = Callable[..., openai.OpenAI]


def read(message: dict[str, Any], finish: str | None = "stop", **members: Any) -> Reply:
    choice = {"index": 0, "message": message, "finish_reason": finish} | members
    return CHAT.read_reply({"id": "r", "model": "m", "created": 5, "choices": [choice]}, Sent({}))


def ask(sdk: Sdk, reply: Reply, chat: Chat = ASKED) -> ChatCompletion:
    """Write a reply and let OpenAI's own client read it."""
    return sdk(CHAT.write_reply(reply, chat)).chat.completions.create(
        model="m", messages=[{"role": "user", "content": "hello"}])


def answer(*parts: Any, finish: Finish | None = None, **members: Any) -> Reply:
    return Reply("r", "m", 5, [Choice(list(parts), finish or Finish("stop"), **members)], Usage(3, 4))


@pytest.mark.parametrize(("message", "parts"), [
    ({"role": "assistant", "content": "hi"}, [Text("hi")]),
    ({"content": None}, []),
    ({"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}, {"type": "text", "text": "a"},
                  {"type": "text", "text": "b"}]}, [Thinking("hm", signed_by="openai_chat"), Text("ab")]),
    ({"content": None, "refusal": "no"}, [Refusal("no")]),
    ({"content": "x", "reasoning_content": "t"}, [Thinking("t", signed_by="openai_chat"), Text("x")]),
    ({"content": "x", "reasoning": "t", "reasoning_details": [
        {"type": "reasoning.text", "text": "t", "signature": "s", "format": "anthropic-claude-v1"}]},
     [Thinking("t", "s", signed_by="anthropic_messages"), Text("x")]),
    ({"content": "x", "annotations": [{"type": "url_citation"}]}, [Text("x", annotations=[{"type": "url_citation"}])]),
    ({"content": None, "annotations": [{"type": "url_citation"}]}, [Text("", annotations=[{"type": "url_citation"}])]),
    ({"content": None, "images": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}},
                                  {"no": 1}]},
     [Media("image", "image/png", "AA==")]),
    ({"content": None, "audio": {"id": "a", "data": "AA=="}},
     [Native("openai_chat", {"audio": {"id": "a", "data": "AA=="}})]),
])
def test_a_message_is_read(message: dict[str, Any], parts: list[Any]) -> None:
    assert read(message).choices == [Choice(parts, Finish("stop", "stop"))]


def test_calls_are_read() -> None:
    reply = read({"content": "", "tool_calls": [
        {"id": "a", "type": "function", "function": {"name": "f", "arguments": ""}},
        {"id": "b", "type": "custom", "custom": {"name": "g", "input": "raw"}},
        {"id": "c", "function": {"name": "h", "arguments": {"x": 1}},
         "extra_content": {"google": {"thought_signature": "s"}}}]}, "tool_calls")
    assert reply.choices[0].parts == [ToolCall("a", "f"), ToolCall("b", "g", "raw", True),
                                      ToolCall("c", "h", '{"x":1}', signature="s", signed_by="gemini")]


def test_calls_without_ids_get_distinct_ones() -> None:
    call = {"function": {"name": "f", "arguments": "{}"}}
    first, second = read({"tool_calls": [call, call]}).choices[0].parts
    assert first.id != second.id
    assert first.id.startswith("call_")


def test_a_legacy_call_is_a_call() -> None:
    reply = read({"content": None, "function_call": {"name": "f", "arguments": "{}"}}, "function_call")
    assert reply.choices[0].parts[0].name == "f"
    assert reply.choices[0].finish == Finish("tool_calls", "function_call")


CALL = {"tool_calls": [{"id": "a", "function": {"name": "f", "arguments": "{}"}}]}


@pytest.mark.parametrize(("message", "choice", "finish"), [
    ({"content": "x"}, {"finish_reason": "length"}, Finish("length", "length")),
    ({"content": ""}, {"finish_reason": "content_filter"}, Finish("content_filter", "content_filter")),
    (CALL, {"finish_reason": "stop"}, Finish("tool_calls", "stop")),
    (CALL, {"finish_reason": None}, Finish("tool_calls")),
    ({"content": "x"}, {"finish_reason": None}, Finish("stop")),
    ({"content": "x"}, {"finish_reason": "insufficient_system_resource"},
     Finish("stop", "insufficient_system_resource")),
    ({"content": "x"}, {"finish_reason": "stop", "native_finish_reason": "end_turn"}, Finish("stop", "end_turn")),
    ({"content": "x"}, {"finish_reason": "stop", "stop_reason": "###"}, Finish("stop", "stop", "###")),
    ({"content": "x"}, {"finish_reason": "stop", "stop_reason": 128001}, Finish("stop", "stop")),
])
def test_why_it_ended(message: dict[str, Any], choice: dict[str, Any], finish: Finish) -> None:
    assert read(message, **choice).choices[0].finish == finish


@pytest.mark.parametrize(("usage", "expected"), [
    (None, None), ({}, None), (7, None),
    ({"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 13,
      "prompt_tokens_details": {"cached_tokens": 5, "cache_write_tokens": 2, "audio_tokens": 1},
      "completion_tokens_details": {"reasoning_tokens": 3, "audio_tokens": 1}}, Usage(9, 4, 5, 2, 0, 3, 1, 1)),
    ({"prompt_tokens": 9, "completion_tokens": 4, "prompt_tokens_details": None, "completion_tokens_details": None},
     Usage(9, 4)),
    ({"prompt_tokens": 9, "completion_tokens": 4, "prompt_cache_hit_tokens": 8, "prompt_cache_miss_tokens": 1},
     Usage(9, 4, 8)),
    ({"prompt_tokens": 9, "completion_tokens": 4, "cached_tokens": 7}, Usage(9, 4, 7)),
    ({"prompt_tokens": 9, "total_tokens": 13}, Usage(9, 4)),
    ({"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 23,
      "completion_tokens_details": {"reasoning_tokens": 10}}, Usage(9, 14, reasoning_tokens=10)),
    ({"prompt_tokens": "9", "completion_tokens": -4, "total_tokens": True}, Usage()),
])
def test_usage_is_total(usage: Any, expected: Usage | None) -> None:
    body = {"choices": [{"message": {"content": "x"}}], "usage": usage}
    assert CHAT.read_reply(body, Sent({})).usage == expected


def test_log_probabilities_survive() -> None:
    entry = {"token": "hé", "logprob": -0.5, "bytes": [104, 195, 169],
             "top_logprobs": [{"token": "ha", "logprob": -1.5, "bytes": None}]}
    reply = read({"content": "hé"}, logprobs={"content": [entry], "refusal": None})
    assert reply.choices[0].logprobs == [TokenLogprob("hé", -0.5, [104, 195, 169], [TokenLogprob("ha", -1.5)])]
    assert CHAT.write_reply(reply, ASKED)["choices"][0]["logprobs"] == {"content": [entry], "refusal": None}


def test_choices_are_ordered_by_their_index() -> None:
    reply = CHAT.read_reply({"choices": [{"index": 1, "message": {"content": "b"}},
                                         {"index": 0, "message": {"content": "a"}}]},
                            Sent({}))
    assert [choice.parts for choice in reply.choices] == [[Text("a")], [Text("b")]]


@pytest.mark.parametrize(("body", "code"), [
    ({}, "upstream_failed"), ({"choices": []}, "upstream_failed"), ({"choices": None}, "upstream_failed"),
    ([], "upstream_failed"),
    ({"error": {"message": "Provider returned error", "code": 429}}, "rate_limit_exceeded"),
    ({"choices": [{"finish_reason": "error", "error": {"code": 503, "message": "x"}}]}, "upstream_overloaded"),
])
def test_what_is_no_reply_fails(body: Any, code: str) -> None:
    with pytest.raises(Failure) as caught:
        CHAT.read_reply(body, Sent({}))
    assert caught.value.code == code


def test_a_reply_is_what_openais_client_expects(sdk: Sdk) -> None:
    reply = answer(Thinking("hm", "sig", signed_by="anthropic_messages"), Text("hello"),
                   finish=Finish("stop", "end_turn"))
    reply.usage = Usage(10, 5, 4, 3, 0, 2, 1, 1)
    reply.service_tier = "standard"
    body = CHAT.write_reply(reply, ASKED)
    assert body == {
        "id": "r", "object": "chat.completion", "created": 5, "model": "m", "service_tier": "default",
        "choices": [{"index": 0, "logprobs": None, "finish_reason": "stop", "native_finish_reason": "end_turn",
                     "message": {
            "role": "assistant", "content": "hello", "refusal": None, "reasoning_content": "hm",
            "thinking_blocks": [{"type": "thinking", "thinking": "hm", "signature": "sig"}]}}],
        "usage": {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15,
                  "prompt_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 3, "audio_tokens": 1},
                  "completion_tokens_details": {"reasoning_tokens": 2, "audio_tokens": 1}}}
    completion = ask(sdk, reply)
    assert completion.choices[0].message.content == "hello"
    assert completion.usage is not None
    assert completion.usage.prompt_tokens_details is not None
    assert completion.usage.prompt_tokens_details.cached_tokens == 4
    ChatCompletion.model_validate(body)


def test_calls_are_written(sdk: Sdk) -> None:
    reply = answer(ToolCall("a", "f", signature="s", signed_by="gemini"), ToolCall("b", "g", "raw", True),
                   finish=Finish("tool_calls", "tool_use"))
    message = CHAT.write_reply(reply, ASKED)["choices"][0]["message"]
    assert message == {"role": "assistant", "content": None, "refusal": None, "tool_calls": [
        {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"},
         "extra_content": {"google": {"thought_signature": "s"}}},
        {"id": "b", "type": "custom", "custom": {"name": "g", "input": "raw"}}]}
    completion = ask(sdk, reply)
    assert completion.choices[0].finish_reason == "tool_calls"
    assert [call.type for call in completion.choices[0].message.tool_calls or ()] == ["function", "custom"]


def test_a_legacy_client_gets_its_shape(sdk: Sdk) -> None:
    chat = Chat("m", ASKED.messages, legacy_functions=True)
    completion = ask(sdk, answer(ToolCall("a", "f", '{"x":1}'), finish=Finish("tool_calls")), chat)
    assert completion.choices[0].finish_reason == "function_call"
    called = completion.choices[0].message.function_call
    assert called is not None
    assert (called.name, called.arguments) == ("f", '{"x":1}')
    assert completion.choices[0].message.tool_calls is None


@pytest.mark.parametrize(("parts", "finish", "content", "refusal", "word"), [
    ([Text("a"), Text("b")], Finish("length"), "ab", None, "length"),
    ([], Finish("content_filter", "refusal", explanation="not this"), None, "not this", "content_filter"),
    ([Refusal("no")], Finish("content_filter", explanation="why"), None, "no", "content_filter"),
    ([], Finish("stop"), "", None, "stop"),
    ([Text("a")], Finish("pause", "pause_turn"), "a", None, "stop"),
    ([Text("a")], None, "a", None, "stop"),
])
def test_how_a_reply_ends(sdk: Sdk, parts: list[Any], finish: Finish | None, content: str | None, refusal: str | None,
                          word: str) -> None:
    choice = ask(sdk, Reply("r", "m", 5, [Choice(parts, finish)])).choices[0]
    assert (choice.message.content, choice.message.refusal, choice.finish_reason) == (content, refusal, word)


def test_citations_of_web_pages_become_openais(sdk: Sdk) -> None:
    own = {"url": "u1", "title": "t1", "start_index": 0, "end_index": 1}
    reply = answer(Text("ab", annotations=[{"type": "url_citation"} | own]), Text("cde", annotations=[
        {"type": "web_search_result_location", "url": "u2", "title": "t2", "cited_text": "x"},
        {"type": "char_location"}, {"groundingMetadata": {"groundingChunks": []}}]))
    citations = ask(sdk, reply).choices[0].message.annotations or []
    assert [citation.url_citation.model_dump() for citation in citations] == [
        own, {"url": "u2", "title": "t2", "start_index": 2, "end_index": 5}]


def test_a_citation_goes_back_into_the_wrapping_it_came_in(sdk: Sdk) -> None:
    note = {"type": "url_citation", "url_citation": {"url": "u", "title": "t", "start_index": 1, "end_index": 2,
                                                     "content": "what the page says"}}
    body = {"choices": [{"message": {"content": "abc", "annotations": [note]}, "finish_reason": "stop"}]}
    assert CHAT.write_reply(CHAT.read_reply(body, Sent({})), Chat("m", []))["choices"][0]["message"]["annotations"] == [
        note]


def test_pictures_and_native_members_are_written() -> None:
    message = CHAT.write_reply(answer(Media("image", "image/png", "AA=="),
                                      Native("openai_chat", {"audio": {"id": "a"}}),
                                      Native("gemini", {"x": 1})), ASKED)["choices"][0]["message"]
    assert message["images"] == [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}]
    assert message["audio"] == {"id": "a"}
    assert "x" not in message


def test_what_an_upstream_did_not_give_is_made() -> None:
    first, second = (CHAT.write_reply(Reply(choices=[Choice()]), ASKED) for _ in range(2))
    assert first["id"].startswith("chatcmpl-")
    assert first["id"] != second["id"]
    assert first["created"] > 1_700_000_000
    assert "usage" not in first
    assert first["model"] == ASKED.model


@pytest.mark.parametrize("thought", [
    Thinking("t", "s", signed_by="anthropic_messages"), Thinking(redacted="d", signed_by="anthropic_messages"),
    Thinking("", "s", signed_by="gemini"), Thinking("t", "s", signed_by="openai_responses"),
])
def test_a_thought_comes_back_as_it_went(thought: Thinking) -> None:
    message = CHAT.write_reply(answer(thought, Text("x")), ASKED)["choices"][0]["message"]
    back = CHAT.read_request({"model": "m", "messages": [message]})
    assert back.messages[0].parts == [thought, Text("x")]

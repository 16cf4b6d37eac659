"""Clients' chat requests, read into canonical words."""

from typing import Any

import pytest

from ailink_provider.chat import (
    CacheMark,
    Media,
    Message,
    Native,
    OutputFormat,
    Reasoning,
    Refusal,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
    WebSearch,
)
from ailink_provider.dialects.openai_chat import DIALECT
from ailink_provider.errors import Failure

CHAT = DIALECT.operations["chat"]
HELLO = [{"role": "user", "content": "hello"}]


def read(**fields: Any) -> Any:
    return CHAT.read_request({"model": "m", "messages": HELLO} | fields)


def read_messages(*messages: dict[str, Any]) -> list[Message]:
    return CHAT.read_request({"model": "m", "messages": list(messages)}).messages


def read_parts(role: str, content: Any, **members: Any) -> Any:
    return read_messages({"role": role, "content": content} | members)[0].parts


@pytest.mark.parametrize(("fields", "name", "expected"), [
    ({"temperature": 1}, "temperature", 1),
    ({"top_p": 0.5}, "top_p", 0.5),
    ({"top_k": 40}, "top_k", 40),
    ({"max_tokens": 5}, "max_tokens", 5),
    ({"max_completion_tokens": 6}, "max_tokens", 6),
    ({"max_tokens": 5, "max_completion_tokens": 6}, "max_tokens", 6),
    ({"stop": "x"}, "stop", ["x"]),
    ({"stop": ["\n", "", "b"]}, "stop", ["\n", "b"]),
    ({"stop": None}, "stop", []),
    ({"n": 3}, "n", 3),
    ({"n": None}, "n", 1),
    ({"seed": 0}, "seed", 0),
    ({"presence_penalty": 0.25}, "presence_penalty", 0.25),
    ({"frequency_penalty": -1}, "frequency_penalty", -1),
    ({"logprobs": True}, "logprobs", True),
    ({"top_logprobs": 2}, "top_logprobs", 2),
    ({"service_tier": "flex"}, "service_tier", "flex"),
    ({"user": "u"}, "user", "u"),
    ({"safety_identifier": "s"}, "user", "s"),
    ({"metadata": {"a": "b"}}, "metadata", {"a": "b"}),
    ({"stream": True}, "stream", True),
    ({"stream_options": {"include_usage": True}}, "include_usage", True),
    ({"reasoning_effort": "minimal"}, "reasoning", Reasoning(effort="minimal")),
    ({"reasoning_effort": None}, "reasoning", None),
    ({"parallel_tool_calls": False}, "parallel_tool_calls", False),
    ({"response_format": {"type": "text"}}, "output", OutputFormat("text")),
    ({"response_format": {"type": "json_object"}}, "output", OutputFormat("json")),
    ({"response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {}, "strict": True}}}, "output",
     OutputFormat("schema", "n", {}, True)),
    ({"tool_choice": "none"}, "tool_choice", ToolChoice("none")),
    ({"tool_choice": "required"}, "tool_choice", ToolChoice("required")),
    ({"tool_choice": {"type": "function", "function": {"name": "f"}}}, "tool_choice", ToolChoice("required", ["f"])),
    ({"tool_choice": {"type": "custom", "custom": {"name": "f"}}}, "tool_choice", ToolChoice("required", ["f"])),
    ({"tool_choice": {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [
        {"type": "function", "function": {"name": "f"}}, {"type": "custom", "custom": {"name": "g"}}]}}},
     "tool_choice", ToolChoice("auto", ["f", "g"])),
    ({"web_search_options": {"search_context_size": "low"}}, "tools", [WebSearch({"search_context_size": "low"})]),
    ({"tools": [{"type": "function", "function": {"name": "f"}, "cache_control": {"type": "ephemeral", "ttl": "1h"}}]},
     "tools", [Tool("f", cache=CacheMark("1h"))]),
    ({"tools": [{"type": "custom", "custom": {"name": "f", "format": {"type": "text"}}}]}, "tools",
     [Tool("f", custom=True, format={"type": "text"})]),
    ({"tools": [{"type": "live_search", "depth": 1}]}, "tools",
     [Native("openai_chat", {"type": "live_search", "depth": 1})]),
])
def test_a_field_is_read(fields: dict[str, Any], name: str, expected: Any) -> None:
    assert getattr(read(**fields), name) == expected


@pytest.mark.parametrize("fields", [
    {"logit_bias": {"1": 2}}, {"prediction": {"type": "content", "content": "x"}}, {"store": False},
    {"verbosity": "low"},
    {"anything": [1]}, {"reasoning_effort": "frantic"}, {"response_format": {"type": "grammar", "grammar": "x"}},
    {"tool_choice": {"type": "web_search"}}, {"stream_options": {"include_obfuscation": False}},
])
def test_what_has_no_canonical_word_rides_along(fields: dict[str, Any]) -> None:
    assert read(**fields).extras == fields


def test_both_names_of_the_end_user_are_kept() -> None:
    chat = read(user="u", safety_identifier="s")
    assert (chat.user, chat.extras) == ("u", {"safety_identifier": "s"})


def test_null_fields_are_absent() -> None:
    names = ("temperature", "tools", "functions", "tool_choice", "response_format", "stop", "metadata", "stream",
             "store")
    assert read(**dict.fromkeys(names)) == read()


def test_the_callers_model_and_stream_count_where_the_body_is_silent() -> None:
    chat = CHAT.read_request({"messages": HELLO}, "default", True)
    assert (chat.model, chat.stream, chat.dialect) == ("default", True, "openai_chat")
    assert CHAT.read_request({"model": "own", "messages": HELLO}, "default").model == "own"


def test_every_message_stays_one_message() -> None:
    messages = read_messages(
        {"role": "system", "content": "a"}, {"role": "developer", "content": "b"},
        {"role": "user", "name": "ada", "content": "c"}, {"role": "assistant", "content": "d"})
    assert messages == [Message("system", [Text("a")]), Message("developer", [Text("b")]),
                        Message("user", [Text("c")], "ada"), Message("assistant", [Text("d")])]


@pytest.mark.parametrize(("part", "expected"), [
    ({"type": "text", "text": ""}, Text("")),
    ({"type": "text", "text": "t", "cache_control": {"type": "ephemeral"}}, Text("t", CacheMark("5m"))),
    ({"type": "text", "text": "t", "prompt_cache_breakpoint": {"mode": "explicit"}}, Text("t", CacheMark())),
    ({"type": "text", "text": "t", "prompt_cache_breakpoint": {"mode": "explicit", "ttl": "12h"}},
     Text("t", CacheMark("12h"))),
    ({"type": "image_url", "image_url": {"url": "data:image/PNG;base64,AA==", "detail": "high"}},
     Media("image", "image/png", "AA==", detail="high")),
    ({"type": "image_url", "image_url": "HTTPS://a.test/b"}, Media("image", url="HTTPS://a.test/b")),
    ({"type": "input_audio", "input_audio": {"data": "AA==", "format": "mp3"}}, Media("audio", "audio/mpeg", "AA==")),
    ({"type": "input_audio", "input_audio": {"data": "AA==", "format": "flac"}}, Media("audio", "audio/flac", "AA==")),
    ({"type": "file", "file": {"file_data": "AA==", "filename": "a.pdf"}},
     Media("document", "application/pdf", "AA==", name="a.pdf")),
    ({"type": "file", "file": {"file_data": "data:image/gif;base64,AA=="}}, Media("image", "image/gif", "AA==")),
    ({"type": "file", "file": {"file_id": "file-1"}}, Media("document", file_id="file-1")),
    ({"type": "refusal", "refusal": "no"}, Refusal("no")),
    ({"type": "video_url", "video_url": {"url": "x"}},
     Native("openai_chat", {"type": "video_url", "video_url": {"url": "x"}})),
])
def test_a_content_part_is_read(part: dict[str, Any], expected: Any) -> None:
    assert read_parts("user", [part]) == [expected]


def test_a_mark_on_a_message_is_on_its_last_part() -> None:
    assert read_parts("system", "s", cache_control={"type": "ephemeral", "ttl": "1h"}) == [Text("s", CacheMark("1h"))]


@pytest.mark.parametrize("content", [None, "", []])
def test_an_assistant_that_only_calls_says_nothing(content: Any) -> None:
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    assert read_parts("assistant", content, tool_calls=[call]) == [ToolCall("c", "f", "{}")]


def test_calls_and_results_are_read() -> None:
    messages = read_messages(
        {"role": "assistant", "tool_calls": [
            {"id": "a", "type": "function", "function": {"name": "f", "arguments": ""},
             "extra_content": {"google": {"thought_signature": "sig"}}},
            {"id": "b", "type": "custom", "custom": {"name": "g", "input": "raw"}}]},
        {"role": "tool", "tool_call_id": "a", "content": "1"},
        {"role": "tool", "tool_call_id": "b", "content": [{"type": "text", "text": "2"}]},
        {"role": "tool", "tool_call_id": "orphan", "content": "3", "name": "h"})
    assert messages == [
        Message("assistant", [ToolCall("a", "f", signature="sig", signed_by="gemini"),
                              ToolCall("b", "g", "raw", True)]),
        Message("user", [ToolResult("a", [Text("1")], name="f")]),
        Message("user", [ToolResult("b", [Text("2")], name="g")]),
        Message("user", [ToolResult("orphan", [Text("3")], name="h")])]


def test_legacy_functions_are_tools() -> None:
    chat = CHAT.read_request({"model": "m", "functions": [{"name": "f", "parameters": {"type": "object"}},
                                                          {"name": "g"}],
                              "function_call": {"name": "f"}, "messages": [
        {"role": "user", "content": "x"},
        {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": "{}"}},
        {"role": "function", "name": "f", "content": "1"},
        {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": "{}"}},
        {"role": "function", "name": "f", "content": None}]})
    assert chat.legacy_functions
    assert chat.tools == [Tool("f", schema={"type": "object"}), Tool("g")]
    assert chat.tool_choice == ToolChoice("required", ["f"])
    assert chat.parallel_tool_calls is False
    first, second = chat.messages[1].parts[0], chat.messages[3].parts[0]
    assert first.id != second.id
    assert chat.messages[2].parts == [ToolResult(first.id, [Text("1")], name="f")]
    assert chat.messages[4].parts == [ToolResult(second.id, [], name="f")]


@pytest.mark.parametrize(("members", "expected"), [
    ({"reasoning_content": "t"}, [Thinking("t", signed_by="openai_chat")]),
    ({"reasoning": "t"}, [Thinking("t", signed_by="openai_chat")]),
    ({"reasoning_content": "t", "thinking_blocks": [{"type": "thinking", "thinking": "t", "signature": "s"},
                                                    {"type": "redacted_thinking", "data": "d"}]},
     [Thinking("t", "s", signed_by="anthropic_messages"), Thinking(redacted="d", signed_by="anthropic_messages")]),
    ({"thinking_blocks": [{"type": "thinking", "thinking": "", "signature": "s", "signed_by": "gemini"}]},
     [Thinking("", "s", signed_by="gemini")]),
    ({"thinking_blocks": [{"type": "thinking", "thinking": "a"}, {"type": "thinking", "thinking": "b"},
                          {"type": "thinking", "thinking": "", "signature": "s"},
                          {"type": "thinking", "thinking": "c", "signature": "s2"}]},
     [Thinking("ab", "s", signed_by="anthropic_messages"), Thinking("c", "s2", signed_by="anthropic_messages")]),
    ({"reasoning_details": [
        {"type": "reasoning.text", "text": "t", "signature": "s", "format": "anthropic-claude-v1"},
        {"type": "reasoning.encrypted", "data": "d", "format": "openai-responses-v1"},
        {"type": "reasoning.encrypted", "data": "e", "format": "google-gemini-v1"},
        {"type": "reasoning.summary", "summary": "u", "format": "unknown"}]},
     [Thinking("t", "s", signed_by="anthropic_messages"), Thinking(redacted="d", signed_by="openai_responses"),
      Thinking(redacted="e", signed_by="gemini"), Thinking("u", signed_by="openai_chat")]),
    ({"thinking_blocks": "junk", "reasoning_details": [7], "reasoning_content": 7}, []),
])
def test_thoughts_come_first(members: dict[str, Any], expected: list[Thinking]) -> None:
    assert read_parts("assistant", "x", **members) == [*expected, Text("x")]


def test_thinking_among_the_content_is_a_thought() -> None:
    content = [{"type": "thinking", "thinking": "t", "signature": "s"}, {"type": "text", "text": "x"}]
    assert read_parts("assistant", content) == [Thinking("t", "s", signed_by="anthropic_messages"), Text("x")]


def test_mistrals_thinking_stays_its_own() -> None:
    part = {"type": "thinking", "thinking": [{"type": "text", "text": "t"}]}
    assert read_parts("assistant", [part]) == [Native("openai_chat", part)]


def test_a_refusal_follows_what_was_said() -> None:
    assert read_parts("assistant", "x", refusal="no") == [Text("x"), Refusal("no")]


@pytest.mark.parametrize("mode", ["auto", "none"])
def test_a_legacy_choice_is_read(mode: str) -> None:
    chat = read(functions=[{"name": "f"}], function_call=mode)
    assert chat.tool_choice == ToolChoice(mode)


def test_members_that_only_this_dialect_has_ride_along_and_empty_ones_do_not() -> None:
    parts = read_parts("assistant", "x", audio={"id": "a"}, prefix=True, annotations=[{"type": "url_citation"}],
                       refusal=None, function_call=None, tool_calls=[], images=[])
    assert parts == [Text("x"), Native("openai_chat", {"audio": {"id": "a"}, "prefix": True})]


@pytest.mark.parametrize(("fields", "param"), [
    ({"model": None}, "model"),
    ({"model": 5}, "model"),
    ({"messages": None}, "messages"),
    ({"messages": []}, "messages"),
    ({"messages": {}}, "messages"),
    ({"messages": [7]}, "messages[0]"),
    ({"messages": [{"content": "x"}]}, "messages[0].role"),
    ({"messages": [{"role": "robot", "content": "x"}]}, "messages[0].role"),
    ({"messages": [{"role": "user"}]}, "messages[0].content"),
    ({"messages": [*HELLO, {"role": "user", "content": 7}]}, "messages[1].content"),
    ({"messages": [{"role": "user", "content": ["x"]}]}, "messages[0].content[0]"),
    ({"messages": [{"role": "user", "content": [{"text": "x"}]}]}, "messages[0].content[0].type"),
    ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "messages[0].content[0].text"),
    ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "messages[0].content[0].image_url"),
    ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]},
     "messages[0].content[0].image_url.url"),
    ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "file:///etc/passwd"}}]}]},
     "messages[0].content[0].image_url.url"),
    ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:image/png,x"}}]}]},
     "messages[0].content[0].image_url.url"),
    ({"messages": [{"role": "user", "content": [{"type": "input_audio", "input_audio": {"data": "x"}}]}]},
     "messages[0].content[0].input_audio.format"),
    ({"messages": [{"role": "user", "content": [{"type": "file", "file": {}}]}]}, "messages[0].content[0].file"),
    ({"messages": [{"role": "user", "content": "x", "name": 7}]}, "messages[0].name"),
    ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0].tool_call_id"),
    ({"messages": [{"role": "tool", "tool_call_id": "a"}]}, "messages[0].content"),
    ({"messages": [{"role": "function", "content": "x"}]}, "messages[0].name"),
    ({"messages": [{"role": "assistant", "tool_calls": {}}]}, "messages[0].tool_calls"),
    ({"messages": [{"role": "assistant", "tool_calls": [{"type": "function"}]}]}, "messages[0].tool_calls[0].id"),
    ({"messages": [{"role": "assistant", "tool_calls": [{"id": "a", "type": "function", "function": {"name": 7}}]}]},
     "messages[0].tool_calls[0].function.name"),
    ({"messages": [{"role": "assistant", "tool_calls": [
        {"id": "a", "type": "function", "function": {"name": "f", "arguments": {}}}]}]},
     "messages[0].tool_calls[0].function.arguments"),
    ({"messages": [{"role": "assistant", "refusal": {}}]}, "messages[0].refusal"),
    ({"messages": [{"role": "user", "content": "x", "cache_control": "yes"}]}, "messages[0].cache_control"),
    ({"temperature": "hot"}, "temperature"),
    ({"temperature": True}, "temperature"),
    ({"max_tokens": 1.5}, "max_tokens"),
    ({"max_completion_tokens": "1"}, "max_completion_tokens"),
    ({"n": 0}, "n"),
    ({"n": True}, "n"),
    ({"stop": [1]}, "stop"),
    ({"stop": {}}, "stop"),
    ({"metadata": {"a": 1}}, "metadata.a"),
    ({"stream": "yes"}, "stream"),
    ({"stream_options": []}, "stream_options"),
    ({"stream_options": {"include_usage": 1}}, "stream_options.include_usage"),
    ({"user": 1}, "user"),
    ({"safety_identifier": 1}, "safety_identifier"),
    ({"reasoning_effort": 1}, "reasoning_effort"),
    ({"response_format": "json"}, "response_format"),
    ({"response_format": {"type": "json_schema"}}, "response_format.json_schema"),
    ({"response_format": {"type": "json_schema", "json_schema": {"schema": []}}}, "response_format.json_schema.schema"),
    ({"tools": {}}, "tools"),
    ({"tools": [{"function": {}}]}, "tools[0].type"),
    ({"tools": [{"type": "function", "function": {}}]}, "tools[0].function.name"),
    ({"tools": [{"type": "function", "function": {"name": "f", "parameters": "x"}}]}, "tools[0].function.parameters"),
    ({"tools": [{"type": "custom"}]}, "tools[0].custom"),
    ({"tool_choice": "sometimes"}, "tool_choice"),
    ({"tool_choice": 7}, "tool_choice"),
    ({"tool_choice": {"type": "function"}}, "tool_choice.function"),
    ({"tool_choice": {"type": "allowed_tools", "allowed_tools": {"mode": "none", "tools": []}}},
     "tool_choice.allowed_tools.mode"),
    ({"tool_choice": {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [{"type": "function"}]}}},
     "tool_choice.allowed_tools.tools[0].function"),
    ({"functions": [{}]}, "functions[0].name"),
    ({"function_call": "always"}, "function_call"),
    ({"function_call": {}}, "function_call.name"),
    ({"web_search_options": True}, "web_search_options"),
])
def test_a_mistake_is_named_in_the_clients_words(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(Failure) as caught:
        read(**fields)
    assert (caught.value.code, caught.value.param, caught.value.status) == ("invalid_request", param, 400)
    assert param in caught.value.message

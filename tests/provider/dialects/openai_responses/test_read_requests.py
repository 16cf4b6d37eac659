"""Clients' requests, read into canonical chats."""

from typing import Any

import msgspec
import pytest

from ailink_provider.chat import (
    CacheMark,
    Chat,
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
from ailink_provider.dialects.openai_responses import DIALECT, reasoning
from ailink_provider.errors import Failure

OPERATION = DIALECT.operations["chat"]
NAME = "openai_responses"
DATA = "data:image/png;base64,iVBO"


def read(items: Any = "Hi", **fields: Any) -> Chat:
    chat: Chat = OPERATION.read_request({"model": "m", "input": items} | fields)
    return chat


def refused(**body: Any) -> Failure:
    with pytest.raises(Failure) as caught:
        OPERATION.read_request({"model": "m", "input": "Hi"} | body)
    assert (caught.value.code, caught.value.status) == ("invalid_request", 400)
    return caught.value


# --- the conversation ----------------------------------------------------------------------------


def test_a_string_is_a_users_message() -> None:
    chat = read(instructions="Be brief.")
    assert chat.messages == [Message("system", [Text("Be brief.")]), Message("user", [Text("Hi")])]
    assert (chat.model, chat.dialect, chat.stream, chat.extras, chat.bound) == ("m", NAME, False, {}, [])
    assert (chat.apart, read().apart) == (1, 0)


@pytest.mark.parametrize("role", ["user", "system", "developer"])
@pytest.mark.parametrize("kind", [{}, {"type": "message"}, {"type": None}])
def test_a_message_needs_no_type(role: str, kind: dict[str, Any]) -> None:
    assert read([{"role": role, "content": "x"} | kind]).messages == [Message(role, [Text("x")])]  # type: ignore[arg-type]


@pytest.mark.parametrize(("part", "canonical"), [
    ({"type": "input_text", "text": "a"}, Text("a")),
    ({"type": "input_text", "text": "a", "prompt_cache_breakpoint": {"mode": "explicit", "ttl": "30m"}},
     Text("a", CacheMark("30m"))),
    ({"type": "output_text", "text": "a", "annotations": [{"type": "x"}], "logprobs": []}, Text("a")),
    ({"type": "refusal", "refusal": "no"}, Refusal("no")),
    ({"type": "input_image", "image_url": "https://a.test/b", "detail": "high"},
     Media("image", url="https://a.test/b", detail="high")),
    ({"type": "input_image", "image_url": DATA}, Media("image", "image/png", "iVBO")),
    ({"type": "input_image", "file_id": "file-1", "image_url": None, "detail": "auto"},
     Media("image", file_id="file-1", detail="auto")),
    ({"type": "input_file", "file_data": "data:text/plain;base64,aGk=", "filename": "a.txt"},
     Media("document", "text/plain", "aGk=", name="a.txt")),
    ({"type": "input_file", "file_data": "JVBE"}, Media("document", "application/pdf", "JVBE")),
    ({"type": "input_file", "file_data": DATA}, Media("image", "image/png", "iVBO")),
    ({"type": "input_file", "file_url": "https://a.test/b.pdf"}, Media("document", url="https://a.test/b.pdf")),
    ({"type": "input_file", "file_id": "file-1"}, Media("document", file_id="file-1")),
    ({"type": "input_audio", "input_audio": {"data": "AA==", "format": "mp3"}}, Media("audio", "audio/mpeg", "AA==")),
    ({"type": "input_video", "video_url": "x"}, Native(NAME, {"type": "input_video", "video_url": "x"})),
])
def test_content(part: dict[str, Any], canonical: Any) -> None:
    assert read([{"role": "user", "content": [part]}]).messages == [Message("user", [canonical])]
    result = {"type": "function_call_output", "call_id": "a", "output": [part]}
    assert read([result]).messages == [Message("user", [ToolResult("a", [canonical])])]


def test_a_turn_of_the_models_is_one_message() -> None:
    thought = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gA="}
    search = {"type": "web_search_call", "id": "ws_1", "status": "completed"}
    chat = read([
        {"role": "user", "content": "Go"}, thought, search,
        {"type": "message", "id": "msg_1", "status": "completed", "role": "assistant",
         "content": [{"type": "output_text", "text": "I go.", "annotations": []}]},
        {"type": "function_call", "id": "fc_1", "status": "completed", "call_id": "a", "name": "f", "arguments": "{}",
         "caller": {"type": "direct"}},
        {"type": "custom_tool_call", "id": "ctc_1", "call_id": "b", "name": "run", "input": "ls", "namespace": "n"},
        {"type": "function_call_output", "call_id": "a", "output": "1"},
        {"type": "custom_tool_call_output", "call_id": "b", "output": [{"type": "input_text", "text": "2"}]},
        {"role": "assistant", "content": "Done."}])
    proof = msgspec.json.encode(thought).decode()
    assert chat.messages == [
        Message("user", [Text("Go")]),
        Message("assistant", [
            Thinking("", proof, signed_by=NAME), Native(NAME, search), Text("I go."), ToolCall("a", "f", "{}"),
            ToolCall("b", "run", "ls", custom=True, extra=Native(NAME, {"namespace": "n"}))]),
        Message("user", [ToolResult("a", [Text("1")], name="f")]),
        Message("user", [ToolResult("b", [Text("2")], name="run")]),
        Message("assistant", [Text("Done.")])]


def test_the_phase_of_a_message_is_kept() -> None:
    parts = read([{"role": "assistant", "content": "x", "phase": "commentary"}]).messages[0].parts
    assert parts == [Native(NAME, {"phase": "commentary"}), Text("x")]


@pytest.mark.parametrize(("item", "role"), [
    ({"type": "shell_call", "call_id": "a"}, "assistant"), ({"type": "mcp_list_tools", "id": "x"}, "assistant"),
    ({"type": "shell_call_output", "call_id": "a"}, "user"), ({"type": "brand_new"}, "user"),
])
def test_what_has_no_canonical_word_is_carried_whole(item: dict[str, Any], role: str) -> None:
    chat = read([item])
    assert chat.messages == [Message(role, [Native(NAME, item)])]  # type: ignore[arg-type]
    assert not chat.bound


# --- thoughts ------------------------------------------------------------------------------------


def test_a_thought_shows_its_words_and_its_summary() -> None:
    item = {"type": "reasoning", "id": "rs_1", "content": [{"type": "reasoning_text", "text": "a"}],
            "summary": [{"type": "summary_text", "text": "b"}, {"type": "summary_text", "text": "c"}]}
    [thought] = read([item]).messages[0].parts
    assert isinstance(thought, Thinking)
    assert thought.text == "a\n\nb\n\nc"
    assert msgspec.json.decode(thought.signature or "") == item


@pytest.mark.parametrize("thought", [
    Thinking("t", "s", signed_by="anthropic_messages"), Thinking("", None, "hidden", "anthropic_messages"),
    Thinking("t", signed_by="openai_chat"), Thinking("t"), Thinking("", '{"id":"rs_9"}', signed_by=NAME),
])
def test_a_sealed_thought_comes_back_as_it_was(thought: Thinking) -> None:
    assert read([reasoning.show(thought, "rs_1")]).messages[0].parts == [thought]


@pytest.mark.parametrize("sealed", ["ailink:", "ailink:{}", 'ailink:["a"]', "ailink:[1,2,3]", "ailink:\x00"])
def test_a_broken_seal_is_an_unsigned_thought(sealed: str) -> None:
    item = {"type": "reasoning", "summary": [{"text": "t"}], "encrypted_content": sealed}
    assert read([item]).messages[0].parts == [Thinking("t")]


def test_a_thought_too_deep_to_be_kept_is_refused() -> None:
    deep: Any = []
    for _ in range(20_000):
        deep = [deep]
    assert refused(input=[{"type": "reasoning", "summary": [], "brand_new": deep}]).param == "input[0]"


# --- what binds a request to its vendor -----------------------------------------------------------


@pytest.mark.parametrize(("field", "value"), [
    ("previous_response_id", "resp_1"), ("conversation", {"id": "conv_1"}), ("conversation", "conv_1"),
    ("background", True), ("prompt", {"id": "pmpt_1"}),
])
def test_what_only_the_vendor_keeps_is_an_extra_that_binds(field: str, value: Any) -> None:
    chat = read(**{field: value})
    assert chat.extras == {field: value}
    assert [(failure.code, failure.param) for failure in chat.bound] == [("unsupported_parameter", field)]


def test_a_conversation_that_the_vendor_keeps_needs_no_input() -> None:
    chat = OPERATION.read_request({"model": "m", "previous_response_id": "resp_1"})
    assert chat.messages == []
    assert chat.bound


@pytest.mark.parametrize("item", [{"type": "item_reference", "id": "msg_1"}, {"id": "msg_1"},
                                  {"type": None, "id": "msg_1"}])
def test_a_reference_binds(item: dict[str, Any]) -> None:
    [failure] = read([item]).bound
    assert (failure.code, failure.param) == ("invalid_request", "input[0]")


def test_a_compaction_binds() -> None:
    [failure] = read([{"type": "compaction", "encrypted_content": "x"}]).bound
    assert (failure.code, failure.param) == ("unsupported_parameter", "input[0]")


# --- fields --------------------------------------------------------------------------------------


def test_plain_fields() -> None:
    chat = read(temperature=0.5, top_p=1, max_output_tokens=9, service_tier="flex", parallel_tool_calls=False,
                metadata={"a": "b"}, user="u", stream=True)
    assert (chat.temperature, chat.top_p, chat.max_tokens, chat.service_tier) == (0.5, 1, 9, "flex")
    assert (chat.parallel_tool_calls, chat.metadata, chat.user, chat.stream) == (False, {"a": "b"}, "u", True)
    assert not chat.extras


@pytest.mark.parametrize("fields", [
    {"store": False}, {"background": False}, {"truncation": "disabled"},
    {"include": ["reasoning.encrypted_content"]}, {"stream_options": {"include_obfuscation": False}},
    {"top_logprobs": 3},
])
def test_what_means_nothing_elsewhere_is_an_aside(fields: dict[str, Any]) -> None:
    chat = read(**fields)
    assert chat.asides == fields
    assert not chat.extras


@pytest.mark.parametrize("fields", [
    {"store": True}, {"truncation": "auto"}, {"prompt_cache_key": "k"}, {"include": ["file_search_call.results"]},
    {"max_tool_calls": 3}, {"moderation": {"model": "x"}}, {"text": {"verbosity": "low"}},
    {"text": {"format": {"type": "brand_new"}}}, {"reasoning": {"effort": "brand_new"}},
    {"reasoning": {"mode": "pro"}}, {"tool_choice": {"type": "file_search"}},
    {"tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "mcp", "server_label": "s"}]}},
    {"brand_new": [1]},
])
def test_what_is_not_interpreted_is_an_extra(fields: dict[str, Any]) -> None:
    chat = read(**fields)
    assert chat.extras == fields
    assert not chat.asides


def test_nulls_are_absent() -> None:
    fields = ("previous_response_id", "conversation", "reasoning", "text", "tools", "tool_choice", "metadata",
              "temperature", "store", "truncation", "user", "instructions", "include", "stream", "brand_new")
    assert read(**dict.fromkeys(fields)) == read()


def test_a_user_has_two_names() -> None:
    assert read(safety_identifier="s").user == "s"
    both = read(user="u", safety_identifier="s")
    assert (both.user, both.extras) == ("u", {"safety_identifier": "s"})


@pytest.mark.parametrize(("asked", "canonical", "aside"), [
    ({"effort": "high"}, Reasoning("high"), {}), ({"effort": "none", "summary": None}, Reasoning("none"), {}),
    ({"summary": "auto"}, Reasoning(visible=True), {"reasoning": {"summary": "auto"}}),
    ({"effort": "low", "generate_summary": "concise"}, Reasoning("low", visible=True),
     {"reasoning": {"summary": "concise"}}),
    ({}, None, {}),
])
def test_reasoning(asked: dict[str, Any], canonical: Any, aside: dict[str, Any]) -> None:
    chat = read(reasoning=asked)
    assert (chat.reasoning, chat.asides, chat.extras) == (canonical, aside, {})


@pytest.mark.parametrize(("form", "output"), [
    ({"type": "text"}, OutputFormat("text")), ({"type": "json_object"}, OutputFormat("json")),
    ({"type": "json_schema", "name": "n", "schema": {"type": "object"}, "strict": True, "description": "d"},
     OutputFormat("schema", "n", {"type": "object"}, True, "d")),
])
def test_formats(form: dict[str, Any], output: OutputFormat) -> None:
    chat = read(text={"format": form, "verbosity": "low"})
    assert (chat.output, chat.extras) == (output, {"text": {"verbosity": "low"}})


def test_log_probabilities_are_asked_for_by_include() -> None:
    chat = read(include=["message.output_text.logprobs", "web_search_call.results"], top_logprobs=2)
    assert (chat.logprobs, chat.top_logprobs, chat.extras) == (True, 2, {"include": ["web_search_call.results"]})


@pytest.mark.parametrize(("tool", "canonical"), [
    ({"type": "function", "name": "f", "description": "d", "parameters": {"type": "object"}, "strict": True},
     Tool("f", "d", {"type": "object"}, True)),
    ({"type": "function", "name": "f", "defer_loading": True}, Tool("f", extra=Native(NAME, {"defer_loading": True}))),
    ({"type": "custom", "name": "c", "format": {"type": "grammar", "syntax": "lark", "definition": "x"}},
     Tool("c", custom=True, format={"type": "grammar", "syntax": "lark", "definition": "x"})),
    ({"type": "web_search", "search_context_size": "low"}, WebSearch({"search_context_size": "low"})),
    ({"type": "web_search_preview"}, WebSearch({"type": "web_search_preview"})),
    ({"type": "mcp", "server_label": "s"}, Native(NAME, {"type": "mcp", "server_label": "s"})),
])
def test_tools(tool: dict[str, Any], canonical: Any) -> None:
    assert read(tools=[tool]).tools == [canonical]


@pytest.mark.parametrize(("choice", "canonical"), [
    ("auto", ToolChoice("auto")), ("none", ToolChoice("none")), ("required", ToolChoice("required")),
    ({"type": "function", "name": "f"}, ToolChoice("required", ["f"])),
    ({"type": "custom", "name": "c"}, ToolChoice("required", ["c"])),
    ({"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "f"},
                                                         {"type": "custom", "name": "c"}]},
     ToolChoice("auto", ["f", "c"])),
])
def test_tool_choice(choice: Any, canonical: ToolChoice) -> None:
    chat = read(tool_choice=choice)
    assert (chat.tool_choice, chat.extras) == (canonical, {})


@pytest.mark.parametrize(("body", "param"), [
    ({"model": None}, "model"), ({"model": 1}, "model"), ({"input": None}, "input"), ({"input": []}, "input"),
    ({"input": 7}, "input"), ({"input": {}}, "input"), ({"input": ["x"]}, "input[0]"),
    ({"input": [{}]}, "input[0].id"), ({"input": [{"type": 1}]}, "input[0].type"),
    ({"input": [{"role": "critic", "content": "x"}]}, "input[0].role"),
    ({"input": [{"type": "message", "content": "x"}]}, "input[0].role"),
    ({"input": [{"role": "user"}]}, "input[0].content"),
    ({"input": [{"role": "user", "content": ["x"]}]}, "input[0].content[0]"),
    ({"input": [{"role": "user", "content": [{}]}]}, "input[0].content[0].type"),
    ({"input": [{"role": "user", "content": [{"type": "text", "text": "x"}]}]}, "input[0].content[0].type"),
    ({"input": [{"role": "user", "content": [{"type": "input_text"}]}]}, "input[0].content[0].text"),
    ({"input": [{"role": "user", "content": [{"type": "input_image"}]}]}, "input[0].content[0].file_id"),
    ({"input": [{"role": "user", "content": [{"type": "input_image", "image_url": "ftp://a"}]}]},
     "input[0].content[0].image_url"),
    ({"input": [{"role": "user", "content": [{"type": "input_image", "image_url": "data:image/png,x"}]}]},
     "input[0].content[0].image_url"),
    ({"input": [{"role": "user", "content": [{"type": "input_file", "filename": "a"}]}]}, "input[0].content[0]"),
    ({"input": [{"type": "function_call", "name": "f"}]}, "input[0].call_id"),
    ({"input": [{"type": "function_call", "call_id": "a"}]}, "input[0].name"),
    ({"input": [{"type": "function_call", "call_id": "a", "name": "f", "arguments": {}}]}, "input[0].arguments"),
    ({"input": [{"type": "function_call_output", "output": "x"}]}, "input[0].call_id"),
    ({"input": [{"type": "function_call_output", "call_id": "a"}]}, "input[0].output"),
    ({"input": [{"type": "reasoning", "summary": "x"}]}, "input[0].summary"),
    ({"input": [{"type": "reasoning", "encrypted_content": 1}]}, "input[0].encrypted_content"),
    ({"instructions": ["x"]}, "instructions"), ({"temperature": "hot"}, "temperature"),
    ({"temperature": True}, "temperature"), ({"max_output_tokens": 1.5}, "max_output_tokens"),
    ({"stream": "yes"}, "stream"), ({"metadata": {"a": 1}}, "metadata.a"), ({"user": 1}, "user"),
    ({"tools": {}}, "tools"), ({"tools": [1]}, "tools[0]"), ({"tools": [{}]}, "tools[0].type"),
    ({"tools": [{"type": "function"}]}, "tools[0].name"), ({"tools": [{"type": "custom", "name": "c", "format": 1}]},
                                                           "tools[0].format"),
    ({"tool_choice": "maybe"}, "tool_choice"), ({"tool_choice": 1}, "tool_choice"),
    ({"tool_choice": {}}, "tool_choice.type"), ({"tool_choice": {"type": "function"}}, "tool_choice.name"),
    ({"tool_choice": {"type": "allowed_tools", "mode": "none", "tools": []}}, "tool_choice.mode"),
    ({"tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function"}]}},
     "tool_choice.tools[0].name"),
    ({"parallel_tool_calls": 1}, "parallel_tool_calls"), ({"reasoning": "high"}, "reasoning"),
    ({"reasoning": {"effort": 1}}, "reasoning.effort"), ({"reasoning": {"summary": True}}, "reasoning.summary"),
    ({"text": "json"}, "text"), ({"text": {"format": "json"}}, "text.format"),
    ({"text": {"format": {}}}, "text.format.type"),
    ({"text": {"format": {"type": "json_schema", "name": "n"}}}, "text.format.schema"),
    ({"text": {"format": {"type": "json_schema", "schema": {}}}}, "text.format.name"),
    ({"include": "x"}, "include"), ({"include": [1]}, "include"), ({"top_logprobs": "x"}, "top_logprobs"),
    ({"stream_options": []}, "stream_options"),
])
def test_a_mistake_is_named_in_the_clients_words(body: dict[str, Any], param: str) -> None:
    assert refused(**body).param == param

"""A client's request becomes canonical words, or a failure that names the field."""

import msgspec
import pytest

from ailink_provider.chat import (
    CacheMark,
    Media,
    Message,
    Native,
    OutputFormat,
    Reasoning,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
    WebSearch,
)
from ailink_provider.errors import Failure

PNG = "iVBORw0KGgoAAAANSUhEUgAAAAE="
NAME = "anthropic_messages"


def block(own, value, role="user"):
    return own(messages=[{"role": role, "content": [value]}]).messages[0].parts[0]


def test_the_plain_fields(own):
    chat = own(stream=True, temperature=0.5, top_p=1, top_k=40, stop_sequences=["END"], metadata={"user_id": "u1"},
               service_tier="standard_only")
    assert (chat.model, chat.dialect, chat.max_tokens, chat.stream) == ("claude-test", NAME, 1000, True)
    assert (chat.temperature, chat.top_p, chat.top_k, chat.stop) == (0.5, 1, 40, ["END"])
    assert (chat.user, chat.service_tier) == ("u1", "default")
    assert chat.extras == {}
    assert chat.messages == [Message("user", [Text("Hi")])]


def test_system_comes_first_with_its_marks(own):
    chat = own(system=[{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral", "ttl": "1h"}}])
    assert chat.messages[0] == Message("system", [Text("Be brief.", cache=CacheMark("1h"))])
    assert own(system="Be brief.").messages[0] == Message("system", [Text("Be brief.")])
    assert own(system="").messages[0].role == "user"


def test_a_system_message_in_mid_conversation(own):
    chat = own(messages=[{"role": "user", "content": "Hi"}, {"role": "system", "content": "Now in French."}])
    assert chat.messages[1] == Message("system", [Text("Now in French.")])


def test_what_the_chat_has_no_word_for_is_carried_along(own):
    extras = {"container": "c1", "mcp_servers": [], "context_management": {"edits": []}, "speed": "fast",
              "cache_control": {"type": "ephemeral"}}
    assert own(**extras, inference_geo=None).extras == extras


@pytest.mark.parametrize(("value", "part"), [
    ({"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}}, Text("a", cache=CacheMark())),
    ({"type": "text", "text": "a", "citations": [{"type": "char_location"}]},
     Text("a", annotations=[{"type": "char_location"}])),
    ({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}},
     Media("image", media_type="image/png", data=PNG)),
    ({"type": "image", "source": {"type": "url", "url": "https://a.test/x.png"}},
     Media("image", url="https://a.test/x.png")),
    ({"type": "image", "source": {"type": "file", "file_id": "f1"}}, Media("image", file_id="f1")),
    ({"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBERg=="},
      "title": "T"}, Media("document", media_type="application/pdf", data="JVBERg==", name="T")),
    ({"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "é"}},
     Media("document", media_type="text/plain", data="w6k=")),
    ({"type": "document", "source": {"type": "url", "url": "https://a.test/x.pdf"}, "context": "c"},
     Media("document", url="https://a.test/x.pdf", extra=Native(NAME, {"context": "c"}))),
    ({"type": "document", "source": {"type": "content", "content": "x"}},
     Native(NAME, {"type": "document", "source": {"type": "content", "content": "x"}})),
    ({"type": "search_result", "source": "s", "title": "t", "content": []},
     Native(NAME, {"type": "search_result", "source": "s", "title": "t", "content": []})),
    ({"type": "thinking", "thinking": "hm", "signature": "sig"}, Thinking("hm", signature="sig", signed_by=NAME)),
    ({"type": "thinking", "thinking": "hm", "signature": ""}, Thinking("hm", signed_by=NAME)),
    ({"type": "thinking", "thinking": "hm", "signature": "ailink:gemini:sig"},
     Thinking("hm", signature="sig", signed_by="gemini")),
    ({"type": "redacted_thinking", "data": "xx"}, Thinking(redacted="xx", signed_by=NAME)),
    ({"type": "tool_use", "id": "t1", "name": "f", "input": {"a": 1}, "caller": {"type": "direct"}},
     ToolCall("t1", "f", '{"a":1}')),
    ({"type": "tool_use", "id": "t1", "name": "f", "input": {}, "caller": {"type": "code_execution", "tool_id": "s"}},
     ToolCall("t1", "f", "{}", extra=Native(NAME, {"caller": {"type": "code_execution", "tool_id": "s"}}))),
    ({"type": "tool_result", "tool_use_id": "t1"}, ToolResult("t1")),
    ({"type": "tool_result", "tool_use_id": "t1", "content": "no", "is_error": True},
     ToolResult("t1", [Text("no")], is_error=True)),
    ({"type": "tool_result", "tool_use_id": "t1", "content": [
        {"type": "text", "text": "see"}, {"type": "image", "source": {"type": "url", "url": "https://a.test"}},
        {"type": "tool_reference", "tool_name": "g"}]},
     ToolResult("t1", [Text("see"), Media("image", url="https://a.test"),
                       Native(NAME, {"type": "tool_reference", "tool_name": "g"})])),
])
def test_blocks(own, value, part):
    assert block(own, value) == part


@pytest.mark.parametrize(("value", "tool"), [
    ({"name": "f", "input_schema": {"type": "object"}}, Tool("f", schema={"type": "object"})),
    ({"type": "custom", "name": "f", "description": "d", "input_schema": {}, "strict": True, "defer_loading": True,
      "cache_control": {"type": "ephemeral"}},
     Tool("f", "d", {}, True, cache=CacheMark(), extra=Native(NAME, {"defer_loading": True}))),
    ({"type": "bash_20250124", "name": "bash"}, Native(NAME, {"type": "bash_20250124", "name": "bash"})),
    ({"type": "web_search_20260209", "name": "web_search", "max_uses": 2},
     WebSearch({"type": "web_search_20260209", "name": "web_search", "max_uses": 2})),
])
def test_tools(own, value, tool):
    assert own(tools=[value]).tools == [tool]


@pytest.mark.parametrize(("value", "choice", "parallel"), [
    ({"type": "auto"}, ToolChoice("auto"), None),
    ({"type": "any", "disable_parallel_tool_use": True}, ToolChoice("required"), False),
    ({"type": "tool", "name": "f", "disable_parallel_tool_use": False}, ToolChoice("required", ["f"]), True),
    ({"type": "none"}, ToolChoice("none"), None),
])
def test_tool_choice(own, value, choice, parallel):
    chat = own(tool_choice=value)
    assert (chat.tool_choice, chat.parallel_tool_calls) == (choice, parallel)


@pytest.mark.parametrize(("fields", "reasoning"), [
    ({"thinking": {"type": "enabled", "budget_tokens": 2000, "display": "omitted"}},
     Reasoning(budget=2000, visible=False)),
    ({"thinking": {"type": "disabled"}}, Reasoning("none", budget=0)),
    ({"thinking": {"type": "adaptive", "display": "summarized"}, "output_config": {"effort": "high"}},
     Reasoning("high", adaptive=True, visible=True)),
    ({"output_config": {"effort": "low"}}, Reasoning("low")),
    ({"thinking": {"type": "between_tools"}}, Reasoning(adaptive=True)),
])
def test_reasoning(own, fields, reasoning):
    assert own(**fields).reasoning == reasoning


def test_thinking_without_a_word_is_kept_as_it_is(own):
    assert own(thinking={"type": "between_tools"}).extras == {"thinking": {"type": "between_tools"}}


def test_structured_output(own):
    schema = {"type": "object", "properties": {"a": {"type": "string"}}, "additionalProperties": False}
    chat = own(output_config={"format": {"type": "json_schema", "schema": schema}, "task_budget": {"total": 5}})
    assert chat.output == OutputFormat("schema", schema=schema, strict=True)
    assert chat.extras == {"output_config": {"task_budget": {"total": 5}}}


def test_a_form_without_a_word_is_kept_as_it_is(own):
    chat = own(output_config={"format": {"type": "regex", "regex": "a+"}})
    assert (chat.output, chat.extras) == (None, {"output_config": {"format": {"type": "regex", "regex": "a+"}}})


def test_any_json_object(own):
    schema = {"type": "object", "additionalProperties": True}
    assert own(output_config={"format": {"type": "json_schema", "schema": schema}}).output == OutputFormat("json")


def test_the_count_needs_no_limit(counting):
    chat = counting.read_request({"model": "m", "messages": [{"role": "user", "content": "Hi"}]})
    assert chat.max_tokens is None


@pytest.mark.parametrize(("fields", "param"), [
    ({"model": None}, "model"),
    ({"model": 1}, "model"),
    ({"max_tokens": None}, "max_tokens"),
    ({"max_tokens": True}, "max_tokens"),
    ({"max_tokens": 1.5}, "max_tokens"),
    ({"messages": []}, "messages"),
    ({"messages": "Hi"}, "messages"),
    ({"messages": [1]}, "messages[0]"),
    ({"messages": [{"role": "tool", "content": ""}]}, "messages[0].role"),
    ({"messages": [{"role": "user"}]}, "messages[0].content"),
    ({"messages": [{"role": "user", "content": [1]}]}, "messages[0].content[0]"),
    ({"messages": [{"role": "user", "content": [{"text": "a"}]}]}, "messages[0].content[0].type"),
    ({"messages": [{"role": "user", "content": [{"type": 1}]}]}, "messages[0].content[0].type"),
    ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "messages[0].content[0].text"),
    ({"messages": [{"role": "user", "content": [{"type": "image", "source": {"type": "url"}}]}]},
     "messages[0].content[0].source.url"),
    ({"messages": [{"role": "assistant", "content": [{"type": "tool_use", "id": "a", "name": "b", "input": []}]}]},
     "messages[0].content[0].input"),
    ({"messages": [{"role": "user", "content": [{"type": "tool_result", "tool_use_id": "a", "content": [2]}]}]},
     "messages[0].content[0].content[0]"),
    ({"messages": [{"role": "user", "content": [{"type": "text", "text": "", "cache_control": {"type": "x"}}]}]},
     "messages[0].content[0].cache_control.type"),
    ({"system": 1}, "system"),
    ({"temperature": 1.2}, "temperature"),
    ({"temperature": "hot"}, "temperature"),
    ({"top_k": -1}, "top_k"),
    ({"stop_sequences": [1]}, "stop_sequences[0]"),
    ({"stream": "yes"}, "stream"),
    ({"metadata": []}, "metadata"),
    ({"metadata": {"user_id": 1}}, "metadata.user_id"),
    ({"tools": [{"name": "f"}]}, "tools[0].input_schema"),
    ({"tools": [{"type": "bash_1", "name": []}]}, "tools[0].name"),
    ({"tool_choice": {"type": "some"}}, "tool_choice.type"),
    ({"tool_choice": {"type": "tool"}}, "tool_choice.name"),
    ({"thinking": {"type": "enabled"}}, "thinking.budget_tokens"),
    ({"output_config": {"format": {"type": "json_schema"}}}, "output_config.format.schema"),
])
def test_what_is_malformed_is_named(own, fields, param):
    with pytest.raises(Failure) as caught:
        own(**fields)
    assert (caught.value.code, caught.value.param) == ("invalid_request", param)
    assert param in caught.value.message


def test_the_route_may_know_model_and_streaming(messages):
    chat = messages.read_request({"max_tokens": 1, "messages": [{"role": "user", "content": "a"}]}, "claude-x", True)
    assert (chat.model, chat.stream) == ("claude-x", True)


def test_the_client_s_body_is_not_changed(messages):
    body = {"model": "m", "max_tokens": 5, "thinking": {"type": "between_tools"},
            "messages": [{"role": "user", "content": [{"type": "search_result", "content": []}]}]}
    before = msgspec.json.encode(body)
    messages.read_request(body)
    assert msgspec.json.encode(body) == before

"""A client's body, read: every field that has a canonical word, the rest carried, anything malformed refused."""

import copy

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
)
from ailink_provider.errors import Failure

NAME = "bedrock_converse"
HI = [{"role": "user", "content": [{"text": "Hi"}]}]


def native(**block):
    return Native(NAME, block)


@pytest.fixture
def parts(own):
    """Reads the content of one message."""
    def read(*blocks, role="user"):
        (message,) = own(messages=[{"role": role, "content": list(blocks)}]).messages
        assert message.role == role
        return message.parts

    return read


def test_the_rich_request_is_read(converse, golden):
    chat = converse.read_request(golden("own_request.json"), "m", True)
    assert (chat.model, chat.dialect, chat.stream, chat.include_usage, chat.apart) == ("m", NAME, True, True, 1)
    assert chat.messages[0] == Message("system", [
        Text("You are helpful.", cache=CacheMark("1h")),
        native(guardContent={"text": {"text": "Stay kind.", "qualifiers": ["guard_content"]}})])
    user = chat.messages[1].parts
    assert user[1:4] == [
        Media("image", "image/png", data="iVBORw0KGgoAAAANSUhEUgAAAAE="),
        Media("image", "image/jpeg", file_id="s3://bucket/a.jpg"),
        native(image={"format": "jpeg", "source": {
            "s3Location": {"uri": "s3://bucket/b.jpg", "bucketOwner": "123456789012"}}})]
    assert user[4] == Media("document", "application/pdf", data="JVBERi0xLjQ=", name="Report (1)",
                            cache=CacheMark("5m"), extra=native(context="A report.", citations={"enabled": True}))
    assert user[5] == Media("audio", "audio/wav", data="UklGRiQ=")
    assert [next(iter(part.value)) for part in user[6:]] == ["video", "searchResult"]
    reply = chat.messages[2].parts
    assert reply[:2] == [Thinking("Let me look.", signature="c2ln", signed_by=NAME),
                         Thinking(redacted="aGlkZGVu", signed_by=NAME)]
    assert (reply[2].text, reply[2].annotations[0]["title"]) == ("Page one says so.", "Report (1)")
    assert reply[3] == ToolCall("tooluse_1.a:b", "look", '{"where":[1,2.5,null]}')
    assert isinstance(reply[4], Native)
    results = chat.messages[3].parts
    assert (results[0].call_id, results[0].is_error, results[0].cache) == ("tooluse_1.a:b", False, CacheMark())
    assert results[0].parts[:2] == [Text("here"), Media("image", "image/gif", data="R0lGODlh")]
    assert results[1] == ToolResult("tooluse_2", [Text("denied")], is_error=True)
    assert chat.messages[4].role == "system"
    assert chat.tools[0] == Tool("look", "Looks.", {
        "type": "object", "properties": {"where": {"type": "array", "maxItems": 9}}}, strict=True)
    assert (chat.tools[1].cache, chat.tools[2]) == (CacheMark("1h"), native(systemTool={"name": "nova_grounding"}))
    assert (chat.tool_choice, chat.max_tokens, chat.stop) == (ToolChoice("auto"), 9000, ["END", "\n\nHuman:"])
    assert chat.reasoning == Reasoning("high", adaptive=True, visible=True)
    assert chat.output == OutputFormat("schema", "answer", {
        "type": "object", "properties": {"a": {"type": "string", "minLength": 1}}}, True, "The answer.")
    assert (chat.service_tier, chat.metadata) == ("reserved", {"team": "red", "user_id": "ann"})
    assert chat.extras == {
        "guardrailConfig": {"guardrailIdentifier": "abc", "guardrailVersion": "DRAFT", "trace": "enabled"},
        "additionalModelResponseFieldPaths": ["/stop_sequence"], "performanceConfig": {"latency": "optimized"},
        "additionalModelRequestFields": {"anthropic_beta": ["x"]}}


def test_reading_leaves_the_body_as_it_was(converse, golden):
    body = golden("own_request.json")
    before = copy.deepcopy(body)
    converse.read_request(body, "m", False)
    assert body == before


def test_the_model_may_stand_in_the_body(converse):
    assert converse.read_request({"modelId": "m", "messages": HI}).model == "m"


@pytest.mark.parametrize(("body", "field", "value"), [
    ({"inferenceConfig": {"temperature": 0.5, "topP": 1, "topK": 9}}, "temperature", 0.5),
    ({"inferenceConfig": {"temperature": 0.5, "topP": 1, "topK": 9}}, "top_p", 1),
    ({"inferenceConfig": {"topK": 9}}, "extras", {"inferenceConfig": {"topK": 9}}),
    ({"inferenceConfig": None, "system": None, "toolConfig": None}, "extras", {}),
    ({"additionalModelRequestFields": {"top_k": 5}}, "top_k", 5),
    ({"additionalModelRequestFields": {"tool_choice": {"type": "auto", "disable_parallel_tool_use": True}}},
     "parallel_tool_calls", False),
    ({"additionalModelRequestFields": {"tool_choice": {"disable_parallel_tool_use": False}}},
     "parallel_tool_calls", True),
    ({"additionalModelRequestFields": {"tool_choice": {"type": "none"}}}, "extras",
     {"additionalModelRequestFields": {"tool_choice": {"type": "none"}}}),
    ({"additionalModelRequestFields": {"tool_choice": {"type": "any", "disable_parallel_tool_use": True}}}, "extras",
     {"additionalModelRequestFields": {"tool_choice": {"type": "any", "disable_parallel_tool_use": True}}}),
    ({"additionalModelRequestFields": {"thinking": {"type": "enabled", "budget_tokens": 2000}}}, "reasoning",
     Reasoning(budget=2000)),
    ({"additionalModelRequestFields": {"thinking": {"type": "adaptive", "display": "omitted"}}}, "reasoning",
     Reasoning(adaptive=True, visible=False)),
    ({"additionalModelRequestFields": {"thinking": {"type": "disabled"}}}, "reasoning", Reasoning("none", 0)),
    ({"additionalModelRequestFields": {"thinking": {"type": "between_tools"}}}, "reasoning", None),
    ({"additionalModelRequestFields": {"thinking": True}, "outputConfig": {"effort": "low"}}, "extras",
     {"additionalModelRequestFields": {"thinking": True}}),
    ({"additionalModelRequestFields": {"reasoning_effort": "low"}}, "extras",
     {"additionalModelRequestFields": {"reasoning_effort": "low"}}),
    ({"outputConfig": {"effort": "max", "new": 1}}, "reasoning", Reasoning("max")),
    ({"outputConfig": {"effort": "max", "new": 1}}, "extras", {"outputConfig": {"new": 1}}),
    ({"serviceTier": {"type": "flex"}}, "service_tier", "flex"),
    ({"toolConfig": {"tools": [], "toolChoice": {"any": {}}}}, "tool_choice", ToolChoice("required")),
    ({"toolConfig": {"tools": [], "toolChoice": {"tool": {"name": "f"}}}}, "tool_choice",
     ToolChoice("required", ["f"])),
    ({"toolConfig": {"tools": [{"cachePoint": {"type": "default"}}]}}, "tools",
     [native(cachePoint={"type": "default"})]),
    ({"promptVariables": {"a": {"text": "b"}}}, "extras", {"promptVariables": {"a": {"text": "b"}}}),
])
def test_a_field_has_its_word(own, body, field, value):
    assert getattr(own(**body), field) == value


@pytest.mark.parametrize(("block", "part"), [
    ({"text": ""}, Text("")),
    ({"text": "a", "image": None}, Text("a")),
    ({"document": {"name": "n", "source": {"text": "é"}}}, Media("document", "text/plain", "w6k=", name="n")),
    ({"document": {"name": "n", "source": {"content": [{"text": "a"}]}}},
     native(document={"name": "n", "source": {"content": [{"text": "a"}]}})),
    ({"document": {"name": "n", "source": {"bytes": "YQ=="}}},
     native(document={"name": "n", "source": {"bytes": "YQ=="}})),
    ({"document": {"name": "n", "format": "docx", "source": {"bytes": "YQ=="}}}, Media(
        "document", "application/vnd.openxmlformats-officedocument.wordprocessingml.document", "YQ==", name="n")),
    ({"image": {"format": "bmp", "source": {"bytes": "YQ=="}}},
     native(image={"format": "bmp", "source": {"bytes": "YQ=="}})),
    ({"audio": {"format": "mp3", "source": {"bytes": "YQ=="}}}, Media("audio", "audio/mpeg", "YQ==")),
    ({"toolUse": {"toolUseId": "a", "name": "f", "input": {}, "new": 1}},
     ToolCall("a", "f", "{}", extra=native(new=1))),
    ({"toolResult": {"toolUseId": "a", "content": [{"json": {"x": [1]}}]}}, ToolResult("a", [Text('{"x":[1]}')])),
    ({"toolResult": {"toolUseId": "a", "content": [], "type": "t"}},
     native(toolResult={"toolUseId": "a", "content": [], "type": "t"})),
    ({"reasoningContent": {"reasoningText": {"text": "t"}}}, Thinking("t", signed_by=NAME)),
    ({"reasoningContent": {"reasoningText": {"text": "t", "signature": "ailink:gemini:x:y"}}},
     Thinking("t", signature="x:y", signed_by="gemini")),
    ({"reasoningContent": {"redactedContent": "YWlsaW5rOmdlbWluaTp4"}}, Thinking(redacted="x", signed_by="gemini")),
    ({"reasoningContent": {"new": 1}}, native(reasoningContent={"new": 1})),
    ({"citationsContent": {"content": [{"text": "a"}, {"text": "b"}], "citations": [
        {"title": "T", "location": {"web": {"url": "https://a.test", "domain": "a.test"}}}]}},
     Text("ab", annotations=[{"title": "T", "url": "https://a.test",
                              "location": {"web": {"url": "https://a.test", "domain": "a.test"}}}])),
    ({"citationsContent": {"content": [{"new": 1}]}}, native(citationsContent={"content": [{"new": 1}]})),
    ({"brandNew": {"a": 1}}, native(brandNew={"a": 1})),
])
def test_a_block_is_a_part(parts, block, part):
    assert parts(block) == [part]


def test_a_point_marks_what_is_before_it_once(parts):
    point = {"cachePoint": {"type": "default", "ttl": "1h"}}
    assert parts(point, {"text": "a"}, point, point, {"video": {}}, point) == [
        native(**point), Text("a", cache=CacheMark("1h")), native(**point), native(video={}), native(**point)]


@pytest.mark.parametrize(("change", "param"), [
    ({"messages": None}, "messages"), ({"messages": []}, "messages"), ({"messages": [1]}, "messages[0]"),
    ({"messages": {}}, "messages"), ({"messages": [{"content": []}]}, "messages[0].role"),
    ({"messages": [{"role": "tool", "content": []}]}, "messages[0].role"),
    ({"messages": [{"role": "user"}]}, "messages[0].content"),
    ({"messages": [{"role": "user", "content": "Hi"}]}, "messages[0].content"),
    ({"messages": [{"role": "user", "content": [[]]}]}, "messages[0].content[0]"),
    ({"messages": [{"role": "user", "content": [{}]}]}, "messages[0].content[0]"),
    ({"messages": [{"role": "user", "content": [{"text": "a", "image": {}}]}]}, "messages[0].content[0]"),
    ({"messages": [{"role": "user", "content": [{"text": 1}]}]}, "messages[0].content[0].text"),
    ({"messages": [{"role": "user", "content": [{"image": {"format": "png"}}]}]},
     "messages[0].content[0].image.source"),
    ({"messages": [{"role": "user", "content": [{"image": {"format": 1, "source": {"bytes": ""}}}]}]},
     "messages[0].content[0].image.format"),
    ({"messages": [{"role": "user", "content": [{"image": {"format": "png", "source": {"bytes": 1}}}]}]},
     "messages[0].content[0].image.source.bytes"),
    ({"messages": [{"role": "user", "content": [{"document": {"format": "pdf", "source": {"bytes": ""}}}]}]},
     "messages[0].content[0].document.name"),
    ({"messages": [{"role": "user", "content": [{"cachePoint": {"type": "x"}}]}]},
     "messages[0].content[0].cachePoint"),
    ({"messages": [{"role": "user", "content": [{"toolUse": {"toolUseId": "a", "name": "f", "input": "{}"}}]}]},
     "messages[0].content[0].toolUse.input"),
    ({"messages": [{"role": "user", "content": [{"toolResult": {"toolUseId": "a", "content": [{"text": 1}]}}]}]},
     "messages[0].content[0].toolResult.content[0].text"),
    ({"messages": [{"role": "user", "content": [{"reasoningContent": {"reasoningText": {}}}]}]},
     "messages[0].content[0].reasoningContent.reasoningText.text"),
    ({"system": "You"}, "system"), ({"system": [{"text": 1}]}, "system[0].text"),
    ({"inferenceConfig": []}, "inferenceConfig"), ({"inferenceConfig": {"maxTokens": 0}}, "inferenceConfig.maxTokens"),
    ({"inferenceConfig": {"maxTokens": True}}, "inferenceConfig.maxTokens"),
    ({"inferenceConfig": {"temperature": 1.1}}, "inferenceConfig.temperature"),
    ({"inferenceConfig": {"topP": "1"}}, "inferenceConfig.topP"),
    ({"inferenceConfig": {"stopSequences": ["a", 1]}}, "inferenceConfig.stopSequences[1]"),
    ({"additionalModelRequestFields": {"top_k": -1}}, "additionalModelRequestFields.top_k"),
    ({"additionalModelRequestFields": {"thinking": {"type": "enabled"}}},
     "additionalModelRequestFields.thinking.budget_tokens"),
    ({"additionalModelRequestFields": {"thinking": {"type": "adaptive", "display": 1}}},
     "additionalModelRequestFields.thinking.display"),
    ({"toolConfig": {}}, "toolConfig.tools"), ({"toolConfig": {"tools": [{}]}}, "toolConfig.tools[0]"),
    ({"toolConfig": {"tools": [{"toolSpec": {"name": "f"}}]}}, "toolConfig.tools[0].toolSpec.inputSchema"),
    ({"toolConfig": {"tools": [{"toolSpec": {"name": "f", "inputSchema": {"yaml": ""}}}]}},
     "toolConfig.tools[0].toolSpec.inputSchema"),
    ({"toolConfig": {"tools": [{"toolSpec": {"name": "f", "inputSchema": {"json": {}}, "strict": 1}}]}},
     "toolConfig.tools[0].toolSpec.strict"),
    ({"toolConfig": {"tools": [], "toolChoice": {"none": {}}}}, "toolConfig.toolChoice"),
    ({"toolConfig": {"tools": [], "toolChoice": {"tool": {}}}}, "toolConfig.toolChoice.tool.name"),
    ({"toolConfig": {"tools": [], "toolChoice": {"any": 1}}}, "toolConfig.toolChoice.any"),
    ({"requestMetadata": {"a": 1}}, "requestMetadata.a"), ({"serviceTier": {}}, "serviceTier.type"),
    ({"serviceTier": "flex"}, "serviceTier"), ({"outputConfig": {"effort": 1}}, "outputConfig.effort"),
    ({"outputConfig": {"textFormat": {"type": "xml"}}}, "outputConfig.textFormat.type"),
    ({"outputConfig": {"textFormat": {"type": "json_schema"}}}, "outputConfig.textFormat.structure"),
    ({"outputConfig": {"textFormat": {"type": "json_schema", "structure": {"x": 1}}}},
     "outputConfig.textFormat.structure"),
    *(({"outputConfig": {"textFormat": {"type": "json_schema", "structure": {"jsonSchema": {"schema": schema}}}}},
       "outputConfig.textFormat.structure.jsonSchema.schema") for schema in ({}, "{", "[]", "[" * 3000)),
])
def test_what_is_malformed_is_refused(own, change, param):
    with pytest.raises(Failure) as caught:
        own(**change)
    assert (caught.value.code, caught.value.param) == ("invalid_request", param)
    assert caught.value.message.startswith(f"{param}: ")


def test_what_is_nested_beyond_reason_is_refused(own):
    deep = {}
    for _ in range(5000):
        deep = {"a": deep}
    call = {"toolUse": {"toolUseId": "a", "name": "f", "input": deep}}
    with pytest.raises(Failure, match="nested too deeply"):
        own(messages=[{"role": "assistant", "content": [call]}])


def test_a_model_is_needed(converse):
    with pytest.raises(Failure, match="modelId"):
        converse.read_request({"messages": HI})

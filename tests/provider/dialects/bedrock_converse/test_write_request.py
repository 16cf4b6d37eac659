"""Everything of a request but its conversation: limits, sampling, tools, thinking, the form of the answer, the rest."""

from hashlib import sha256

import pytest
from msgspec.json import decode

from ailink_provider.catalog import Facts
from ailink_provider.chat import (
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
from ailink_provider.dialects.bedrock_converse.schemas import LIMITS
from ailink_provider.dialects.constraints import restrict
from ailink_provider.errors import Failure

NAME = "bedrock_converse"
CLAUDE, NOVA, NOVA2, LLAMA, MISTRAL = (
    "us.anthropic.claude-x", "amazon.nova-pro", "amazon.nova-2-lite", "meta.llama4", "mistral.mistral-large")
OPEN, GPT, KIMI, UNNAMED = "openai.gpt-oss-120b", "openai.gpt-6", "moonshotai.kimi-k2.5", "arn:aws:x/y"
FREE = {"type": "object", "properties": {"input": {"type": "string"}}, "required": ["input"],
        "additionalProperties": False}
SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}}
CALLED = [Message("user", [Text("Hi")]), Message("assistant", [ToolCall("t", "f.x"), ToolCall("u", "g")]),
          Message("user", [ToolResult("t", [Text("1")]), ToolResult("u", [Text("2")])])]


def spec(name, **more):
    return {"toolSpec": {"name": name, "inputSchema": {"json": {"type": "object", "properties": {}}}, **more}}


def tools(*names):
    return [Tool(name) for name in names]


# --- limits, sampling, what is not there -----------------------------------------------------------------------------


@pytest.mark.parametrize(("fields", "config", "lost"), [
    ({}, None, []),
    ({"max_tokens": 5}, {"maxTokens": 5}, []),
    ({"max_tokens": 0}, {"maxTokens": 1}, ["max_tokens"]),
    ({"stop": ["", "a", "b"]}, {"stopSequences": ["a", "b"]}, []),
    ({"stop": [" \n"]}, None, ["stop"]),
    ({"temperature": 0.5, "top_p": 0.9}, {"temperature": 0.5, "topP": 0.9}, []),
    ({"temperature": 2}, {"temperature": 1}, ["temperature"]),
])
def test_inference_parameters(write, chat, fields, config, lost):
    body, losses = write(chat(model=NOVA, **fields))
    assert (body.get("inferenceConfig"), losses) == (config, lost)


@pytest.mark.parametrize(("fields", "config", "lost"), [
    ({"temperature": 0.5, "top_p": 0.9}, {"temperature": 0.5}, ["top_p"]), ({"top_p": 0.9}, {"topP": 0.9}, []),
    ({"temperature": 0.5, "top_p": 1}, {"temperature": 0.5}, [])])
def test_one_sampling_parameter_at_most(write, chat, budgeted, fields, config, lost):
    body, losses = write(chat(**fields), budgeted)
    assert (body["inferenceConfig"], losses) == (config, lost)


def test_sampling_that_a_model_does_not_take(write, chat, adaptive):
    body, losses = write(chat(temperature=0.5, top_p=0.9, top_k=3), adaptive)
    assert ("inferenceConfig" in body, losses) == (False, ["temperature", "top_p", "top_k"])
    assert write(chat(temperature=1, top_p=1), adaptive)[1] == []


@pytest.mark.parametrize(("model", "fields"), [
    (CLAUDE, {"top_k": 7}), (MISTRAL, {"top_k": 7}), ("cohere.command-r", {"k": 7}),
    (NOVA, {"inferenceConfig": {"topK": 7}}), (LLAMA, None), (UNNAMED, None)])
def test_top_k_stands_where_the_maker_has_it(write, chat, model, fields):
    body, losses = write(chat(model=model, top_k=7))
    assert (body.get("additionalModelRequestFields"), losses) == (fields, [] if fields else ["top_k"])


def test_its_own_client_s_top_k_stands_where_it_stood(write, own):
    body, losses = write(own(UNNAMED, additionalModelRequestFields={"top_k": 7}))
    assert (body["additionalModelRequestFields"], losses) == ({"top_k": 7}, [])


def test_which_sequence_stopped_it_is_asked_of_claude(write, chat, own):
    asked = ["/stop_sequence"]
    assert write(chat(stop=["a"]))[0]["additionalModelResponseFieldPaths"] == asked
    for other in (chat(model=NOVA, stop=["a"]), chat(), own(inferenceConfig={"stopSequences": ["a"]})):
        assert "additionalModelResponseFieldPaths" not in write(other)[0]


@pytest.mark.parametrize(("fields", "lost"), [
    ({"seed": 1}, ["seed"]), ({"presence_penalty": 0.1, "frequency_penalty": 1},
                             ["presence_penalty", "frequency_penalty"]),
    ({"logprobs": True, "top_logprobs": 3}, ["logprobs", "top_logprobs"]),
    ({"logprobs": False, "presence_penalty": 0, "top_logprobs": 0, "n": 1}, []),
    ({"extras": {"logit_bias": {}, "store": True}}, ["logit_bias", "store"]),
    ({"extras": {"inferenceConfig": {"topK": 1}, "additionalModelRequestFields": 3}, "dialect": "gemini"},
     ["inferenceConfig.topK", "additionalModelRequestFields"]),
])
def test_what_there_is_no_word_for_is_told(write, chat, fields, lost):
    body, losses = write(chat(**fields))
    assert (set(body), losses) == ({"messages"}, lost)


@pytest.mark.parametrize(("fields", "param"), [({"n": 2}, "n"), ({"stop": ["a"] * 2501}, "stop")])
def test_what_must_not_be_dropped_is_refused(write, chat, fields, param):
    with pytest.raises(Failure) as caught:
        write(chat(**fields))
    assert (caught.value.code, caught.value.param) == ("unsupported_parameter", param)


def test_what_only_another_vendor_can_serve_is_refused_first(write, chat):
    bound = Failure("unsupported_parameter", "It is kept elsewhere.", param="previous_response_id")
    with pytest.raises(Failure, match="kept elsewhere"):
        write(chat(bound=[bound], n=2))


@pytest.mark.parametrize(("asked", "sent"), [
    (None, None), ("auto", None), ("default", "default"), ("flex", "flex"), ("priority", "priority"),
    ("fast", "priority")])
def test_tiers(write, chat, asked, sent):
    body, losses = write(chat(service_tier=asked))
    assert (body.get("serviceTier"), losses) == (sent and {"type": sent}, [])


def test_a_tier_that_there_is_not(write, chat, own):
    assert write(chat(service_tier="scale"))[1] == ["service_tier"]
    assert write(chat(service_tier="reserved"))[1] == ["service_tier"]
    assert write(own(serviceTier={"type": "reserved"}))[0]["serviceTier"] == {"type": "reserved"}


def test_a_user_is_not_named(write, chat):
    body, losses = write(chat(user="ann@a.test", metadata={"team": "red/1"}))
    assert body["requestMetadata"] == {"user_id": sha256(b"ann@a.test").hexdigest(), "team": "red/1"}
    assert losses == []


@pytest.mark.parametrize("metadata", [
    {"ä": "b"}, {"a": "b;c"}, {"": "b"}, {"a" * 257: "b"}, {"a": "b" * 257}])
def test_metadata_that_do_not_fit_are_lost(write, chat, metadata):
    body, losses = write(chat(metadata=metadata))
    assert ("requestMetadata" in body, losses) == (False, [f"metadata.{key}" for key in metadata])


def test_no_more_than_sixteen_metadata(write, chat):
    body, losses = write(chat(user="u", metadata={f"k{number}": "v" for number in range(17)}))
    assert (len(body["requestMetadata"]), losses) == (16, ["metadata.k15", "metadata.k16"])


# --- tools -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("tool", "written", "lost"), [
    (Tool("f", "Does.", {"properties": {}}), spec("f", description="Does."), []),
    (Tool("f", " "), spec("f"), []),
    (Tool("f", schema={"type": "object", "properties": {"a": {"minimum": 1}}}),
     {"toolSpec": {"name": "f", "inputSchema": {"json": {"type": "object", "properties": {"a": {"minimum": 1}}}}}}, []),
    (Tool("f", strict=True, schema={"properties": {"a": {"minimum": 1, "description": "A."}}}),
     {"toolSpec": {"name": "f", "strict": True, "inputSchema": {"json": {
         "type": "object", "properties": {"a": {"description": "A. (minimum: 1)"}}, "additionalProperties": False}}}},
     ["tools[0]"]),
    (Tool("f", strict=False), spec("f"), []),
    (Tool("f", extra=Native("anthropic_messages", {"defer_loading": True})), spec("f"), ["tools[0].defer_loading"]),
    (Tool("sh", custom=True, format={"type": "text"}), {"toolSpec": {"name": "sh", "inputSchema": {"json": FREE}}}, []),
    (WebSearch(), None, ["tools[0]"]), (Native("gemini", {"codeExecution": {}}), None, ["tools[0]"]),
    (Native(NAME, {"systemTool": {"name": "nova_grounding"}}), {"systemTool": {"name": "nova_grounding"}}, []),
])
def test_a_tool(write, chat, tool, written, lost):
    body, losses = write(chat(tools=[tool]))
    assert body.get("toolConfig") == (None if written is None else {"tools": [written]})
    assert losses == lost


def test_a_strict_tool_of_a_model_that_holds_to_no_schema(write, chat, own):
    body, losses = write(chat(model=NOVA, tools=[Tool("f", strict=True)]))
    assert (body["toolConfig"]["tools"], losses) == ([spec("f")], ["tools[0].strict"])
    for strict in (True, False):
        tool = {"toolSpec": {"name": "f", "strict": strict, "inputSchema": {"json": {"type": "object", "maxItems": 1}}}}
        assert write(own(NOVA, toolConfig={"tools": [tool]}))[0]["toolConfig"]["tools"] == [tool]


def test_names_that_do_not_fit_are_renamed_and_found_again(converse, chat):
    sent = converse.write_request(chat(tools=tools("a.b", "a b", "ok"), tool_choice=ToolChoice("required", ["a.b"])),
                                  Facts())
    names = [tool["toolSpec"]["name"] for tool in sent.body["toolConfig"]["tools"]]
    assert sent.names == {names[0]: "a.b", names[1]: "a b"}
    assert sent.body["toolConfig"]["toolChoice"] == {"tool": {"name": names[0]}}


def test_a_grammar_is_refused(write, chat):
    with pytest.raises(Failure) as caught:
        write(chat(tools=[Tool("f", custom=True, format={"type": "grammar"})]))
    assert (caught.value.code, caught.value.param) == ("unsupported_parameter", "tools[0].format")


@pytest.mark.parametrize(("model", "choice", "written", "offered", "lost"), [
    (CLAUDE, None, None, 3, []), (CLAUDE, ToolChoice("auto"), None, 3, []),
    (CLAUDE, ToolChoice("auto", ["a", "b"]), None, 2, []), (CLAUDE, ToolChoice("auto", []), None, 0, []),
    (CLAUDE, ToolChoice("required"), {"any": {}}, 3, []), (CLAUDE, ToolChoice("none"), None, 0, []),
    (CLAUDE, ToolChoice("required", ["b"]), {"tool": {"name": "b"}}, 3, []),
    (CLAUDE, ToolChoice("required", ["a", "b"]), {"any": {}}, 2, []),
    (NOVA, ToolChoice("required", ["b"]), {"tool": {"name": "b"}}, 3, []),
    (MISTRAL, ToolChoice("required", ["b"]), {"any": {}}, 1, []),
    (UNNAMED, ToolChoice("required", ["b"]), {"tool": {"name": "b"}}, 3, []),
    (LLAMA, ToolChoice("required"), None, 3, ["tool_choice"]),
    (LLAMA, ToolChoice("required", ["b"]), None, 1, ["tool_choice"]),
])
def test_a_choice_among_tools(write, chat, model, choice, written, offered, lost):
    body, losses = write(chat(model=model, tools=tools("a", "b", "c"), tool_choice=choice))
    config = body.get("toolConfig", {"tools": []})
    assert (config.get("toolChoice"), len(config["tools"]), losses) == (written, offered, lost)


def test_a_model_that_cannot_be_forced(write, chat, stubborn):
    body, losses = write(chat(tools=tools("a"), tool_choice=ToolChoice("required")), stubborn)
    assert ("toolChoice" in body["toolConfig"], losses) == (False, ["tool_choice"])


def test_a_choice_without_tools(write, chat):
    body, losses = write(chat(tool_choice=ToolChoice("required"), parallel_tool_calls=False))
    assert (set(body), losses) == ({"messages"}, ["tool_choice"])
    with pytest.raises(Failure) as caught:
        write(chat(tools=tools("a"), tool_choice=ToolChoice("required", ["b"])))
    assert (caught.value.code, caught.value.param) == ("invalid_request", "tool_choice")


def test_a_conversation_that_had_calls_keeps_tools(write, chat):
    body, losses = write(chat(messages=CALLED))
    assert [tool["toolSpec"]["name"] for tool in body["toolConfig"]["tools"]] == ["f_x_fe798201", "g"]
    assert losses == ["tools"]
    body, losses = write(chat(messages=CALLED, tools=tools("h"), tool_choice=ToolChoice("none")))
    assert (body["toolConfig"], losses) == ({"tools": [spec("h")]}, ["tool_choice"])
    body, losses = write(chat(messages=CALLED, tool_choice=ToolChoice("none")))
    assert (len(body["toolConfig"]["tools"]), losses) == (2, ["tools"])
    body, losses = write(chat(messages=[Message("user", [ToolResult("t", [Text("1")])])]))
    assert [tool["toolSpec"]["name"] for tool in body["toolConfig"]["tools"]] == ["tool"]


@pytest.mark.parametrize(("choice", "written", "field"), [
    (None, None, {"type": "auto", "disable_parallel_tool_use": True}),
    (ToolChoice("auto"), None, {"type": "auto", "disable_parallel_tool_use": True}),
    (ToolChoice("required"), {"any": {}}, {"disable_parallel_tool_use": True}),
    (ToolChoice("required", ["a"]), {"tool": {"name": "a"}}, {"disable_parallel_tool_use": True})])
def test_one_call_at_a_time(write, chat, choice, written, field):
    body, losses = write(chat(tools=tools("a"), tool_choice=choice, parallel_tool_calls=False))
    assert body["toolConfig"].get("toolChoice") == written
    assert (body["additionalModelRequestFields"], losses) == ({"tool_choice": field}, [])


def test_one_call_at_a_time_is_claude_s_alone(write, chat, own):
    body, losses = write(chat(model=NOVA, tools=tools("a"), parallel_tool_calls=False))
    assert ("additionalModelRequestFields" in body, losses) == (False, ["parallel_tool_calls"])
    assert write(chat(tools=tools("a"), parallel_tool_calls=True)) == ({**write(chat(tools=tools("a")))[0]}, [])
    fields = {"tool_choice": {"type": "auto", "disable_parallel_tool_use": True}}
    body, losses = write(own(UNNAMED, toolConfig={"tools": [spec("a")]}, additionalModelRequestFields=fields))
    assert (body["additionalModelRequestFields"], losses) == (fields, [])


# --- thinking --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("wish", "limit", "thinking", "sent_limit", "lost"), [
    (Reasoning("low"), 9000, 2048, 9000, []), (Reasoning("high"), 9000, 4500, 9000, []),
    (Reasoning("max"), None, 16000, None, []), (Reasoning(adaptive=True), 40000, 8192, 40000, []),
    (Reasoning(budget=5000), 9000, 5000, 9000, []), (Reasoning(budget=5000), None, 5000, None, []),
    (Reasoning(budget=5000), 100, 5000, 5100, ["max_tokens"]),
    (Reasoning(budget=10), 9000, 1024, 9000, ["reasoning.budget"]),
    (Reasoning("low"), 100, 1024, 1124, ["max_tokens"]), (Reasoning(budget=-1), 9000, 4500, 9000, []),
])
def test_a_budget(write, chat, budgeted, wish, limit, thinking, sent_limit, lost):
    body, losses = write(chat(reasoning=wish, max_tokens=limit), budgeted)
    assert body["additionalModelRequestFields"] == {"thinking": {"type": "enabled", "budget_tokens": thinking}}
    assert (body.get("inferenceConfig", {}).get("maxTokens"), losses) == (sent_limit, lost)


@pytest.mark.parametrize(("wish", "thinking", "effort", "lost"), [
    (Reasoning("minimal"), {"type": "adaptive"}, "low", []), (Reasoning("xhigh"), {"type": "adaptive"}, "xhigh", []),
    (Reasoning("max", visible=True), {"type": "adaptive", "display": "summarized"}, "max", []),
    (Reasoning(adaptive=True, visible=False), {"type": "adaptive", "display": "omitted"}, None, []),
    (Reasoning(budget=9000), {"type": "adaptive"}, "high", ["reasoning.budget"]),
    (Reasoning(budget=-1), {"type": "adaptive"}, None, []), (Reasoning(visible=True), None, None, []),
    (Reasoning("odd"), {"type": "adaptive"}, None, ["reasoning"]),
    (Reasoning("none"), {"type": "disabled"}, None, []), (Reasoning(budget=0), {"type": "disabled"}, None, []),
    (Reasoning("low", budget=0), {"type": "disabled"}, "low", []),
])
def test_an_effort(write, chat, adaptive, wish, thinking, effort, lost):
    body, losses = write(chat(reasoning=wish), adaptive)
    assert body.get("additionalModelRequestFields") == (thinking and {"thinking": thinking})
    assert (body.get("outputConfig", {}).get("effort"), losses) == (effort, lost)


def test_a_model_that_always_thinks(write, chat, stubborn):
    body, losses = write(chat(reasoning=Reasoning("none")), stubborn)
    assert (body["outputConfig"], losses) == ({"effort": "low"}, ["reasoning"])
    assert "additionalModelRequestFields" not in body
    body, losses = write(chat(reasoning=Reasoning(visible=True)), stubborn)
    assert body["additionalModelRequestFields"] == {"thinking": {"type": "adaptive", "display": "summarized"}}


def test_a_model_that_does_not_think(write, chat):
    assert write(chat(reasoning=Reasoning("high"))) == (write(chat())[0], ["reasoning"])
    assert write(chat(reasoning=Reasoning("none"))) == (write(chat())[0], [])


def test_an_effort_that_a_budget_has_no_word_for(write, chat, budgeted):
    body, losses = write(chat(reasoning=Reasoning("low", budget=0)), budgeted)
    assert (body["additionalModelRequestFields"], losses) == ({"thinking": {"type": "disabled"}}, ["reasoning"])


def test_thinking_and_a_forced_call_exclude_each_other(write, chat, budgeted):
    body, losses = write(chat(reasoning=Reasoning("high"), tools=tools("a"), tool_choice=ToolChoice("required"),
                              temperature=0.3), budgeted)
    assert body["additionalModelRequestFields"] == {"thinking": {"type": "disabled"}}
    assert (body["inferenceConfig"], losses) == ({"temperature": 0.3}, ["reasoning"])


@pytest.mark.parametrize(("thought", "thinks"), [
    (None, False), (Thinking("t", signature="s", signed_by=NAME), True), (Thinking("t", signed_by=NAME), False),
    (Thinking("t", signature="s", signed_by="gemini"), False), (Thinking(redacted="r", signed_by=NAME), True)])
def test_a_budget_needs_the_thought_behind_a_call(write, chat, budgeted, adaptive, thought, thinks):
    calling = Message("assistant", [*([thought] if thought else []), ToolCall("t", "f")])
    messages = [Message("user", [Text("Hi")]), calling, Message("user", [ToolResult("t", [Text("1")])])]
    body, losses = write(chat(messages=messages, tools=tools("f"), reasoning=Reasoning("low")), budgeted)
    kind = body["additionalModelRequestFields"]["thinking"]["type"]
    assert (kind, losses) == (("enabled", []) if thinks else ("disabled", ["reasoning"]))
    body, losses = write(chat(messages=messages, tools=tools("f"), reasoning=Reasoning("low")), adaptive)
    assert (body["additionalModelRequestFields"]["thinking"], losses) == ({"type": "adaptive"}, [])


def test_thinking_leaves_room_for_little_sampling(write, chat, budgeted):
    body, losses = write(chat(reasoning=Reasoning("low"), temperature=0.5, top_p=0.97, top_k=3), budgeted)
    assert (body["inferenceConfig"], losses) == ({"topP": 0.97}, ["temperature", "top_k"])


@pytest.mark.parametrize(("model", "wish", "fields", "lost"), [
    (OPEN, Reasoning("minimal"), {"reasoning_effort": "low"}, []),
    (OPEN, Reasoning("xhigh"), {"reasoning_effort": "high"}, []),
    (OPEN, Reasoning("none"), {"reasoning_effort": "low"}, ["reasoning"]),
    (KIMI, Reasoning(budget=5000), {"reasoning_effort": "medium"}, ["reasoning.budget"]),
    (KIMI, Reasoning(visible=True), None, []),
    (GPT, Reasoning("max"), {"reasoning": {"effort": "max"}}, []),
    (GPT, Reasoning("none"), {"reasoning": {"effort": "none"}}, []),
    (GPT, Reasoning(budget=0), {"reasoning": {"effort": "none"}}, []),
    (NOVA2, Reasoning("low"), {"reasoningConfig": {"type": "enabled", "maxReasoningEffort": "low"}}, []),
    (NOVA2, Reasoning("none"), {"reasoningConfig": {"type": "disabled"}}, []),
    (NOVA2, Reasoning(adaptive=True), None, []), (NOVA, Reasoning("low"), None, ["reasoning"]),
    (NOVA, Reasoning("none"), None, []), (LLAMA, Reasoning("low"), None, ["reasoning"]),
    (UNNAMED, Reasoning("low"), None, ["reasoning"])])
def test_each_maker_is_told_in_its_own_way(write, chat, model, wish, fields, lost):
    body, losses = write(chat(model=model, reasoning=wish))
    assert (body.get("additionalModelRequestFields"), losses) == (fields, lost)


def test_nova_s_hardest_thinking_takes_no_limits(write, chat):
    fields = {"model": NOVA2, "max_tokens": 9, "temperature": 0.1, "top_k": 3}
    body, losses = write(chat(reasoning=Reasoning("high"), **fields))
    assert ("inferenceConfig" in body, losses) == (False, ["max_tokens", "temperature", "top_k"])
    body, losses = write(chat(reasoning=Reasoning("medium"), **fields))
    assert (body["inferenceConfig"], losses) == ({"maxTokens": 9, "temperature": 0.1}, [])


@pytest.mark.parametrize("model", [CLAUDE, NOVA2, GPT, UNNAMED])
def test_its_own_client_s_effort_stands_where_it_stood(write, own, model):
    body, losses = write(own(model, outputConfig={"effort": "high"}))
    assert (body["outputConfig"], losses) == ({"effort": "high"}, [])
    assert "additionalModelRequestFields" not in body


# --- the form of the answer ------------------------------------------------------------------------------------------


def test_a_schema_travels_as_a_string(write, chat):
    output = OutputFormat("schema", "a", {**SCHEMA, "minProperties": 1}, True, "An A.")
    body, losses = write(chat(output=output))
    definition = body["outputConfig"]["textFormat"]["structure"]["jsonSchema"]
    assert decode(definition.pop("schema")) == {
        **SCHEMA, "additionalProperties": False, "description": "minProperties: 1"}
    assert (definition, losses) == ({"name": "a", "description": "An A."}, ["response_format"])


@pytest.mark.parametrize("output", [OutputFormat("json"), OutputFormat("schema")])
def test_any_json_is_asked_for_in_words(write, chat, output):
    body, losses = write(chat(output=output))
    assert body["system"][-1]["text"].startswith("Answer with one JSON object")
    assert ("outputConfig" in body, losses) == (False, ["response_format"])
    assert write(chat(output=OutputFormat("text")))[0] == write(chat())[0]


@pytest.mark.parametrize("model", [NOVA, CLAUDE])
def test_a_tool_stands_in_for_a_schema(converse, accepted, chat, model):
    asked = chat(model=model, output=OutputFormat("schema", schema=SCHEMA), tools=tools("structured_output"),
                 tool_choice=ToolChoice("none"))
    sent = converse.write_request(asked, Facts(json_schema=False))
    config = accepted(sent.body)["toolConfig"]
    assert (sent.schema_tool, sent.losses) == ("structured_output_", [])
    assert config["toolChoice"] == {"tool": {"name": "structured_output_"}}
    assert config["tools"][1]["toolSpec"]["inputSchema"]["json"] == SCHEMA
    single = {"tool_choice": {"disable_parallel_tool_use": True}} if model == CLAUDE else None
    assert sent.body.get("additionalModelRequestFields") == single


def test_a_schema_beside_a_forced_tool_is_told_in_words(write, chat):
    body, losses = write(chat(model=NOVA, output=OutputFormat("schema", schema=SCHEMA), tools=tools("a"),
                              tool_choice=ToolChoice("required")))
    assert body["toolConfig"]["toolChoice"] == {"any": {}}
    assert '{"type":"object","properties":{"a":{"type":"string"}}}' in body["system"][-1]["text"]
    assert losses == ["response_format"]


def test_a_model_that_can_be_held_to_nothing_is_told_in_words(write, chat):
    body, losses = write(chat(model=LLAMA, output=OutputFormat("schema", schema=SCHEMA)))
    assert ("toolConfig" in body, "outputConfig" in body, losses) == (False, False, ["response_format"])
    assert '"a":{"type":"string"}' in body["system"][-1]["text"]


@pytest.mark.parametrize(("schema", "restricted", "refused"), [
    ({"type": "object"}, {"type": "object", "additionalProperties": False}, set()),
    ({"properties": {"a": {"type": "object", "additionalProperties": True}}},
     {"properties": {"a": {"type": "object", "additionalProperties": False}}, "additionalProperties": False},
     {"additionalProperties"}),
    ({"oneOf": [{"type": "string", "maxLength": 3}, True]},
     {"anyOf": [{"type": "string", "description": "maxLength: 3"}, True]}, {"maxLength"}),
    ({"items": {"minItems": 1, "items": {"minItems": 2}}, "$defs": {"x": {"format": "date"}, "y": {"format": "odd"}}},
     {"items": {"minItems": 1, "items": {"description": "minItems: 2"}},
      "$defs": {"x": {"format": "date"}, "y": {"description": 'format: "odd"'}}}, {"minItems", "format"}),
    ({"enum": [{"minimum": 1}], "items": 3, "properties": 4, "anyOf": 5},
     {"enum": [{"minimum": 1}], "items": 3, "properties": 4, "anyOf": 5, "additionalProperties": False}, set()),
])
def test_a_schema_within_limits(schema, restricted, refused):
    found: set[str] = set()
    assert (restrict(schema, LIMITS, found), found) == (restricted, refused)


def test_a_schema_nested_beyond_reason_is_left_as_it_is():
    schema = {"minimum": 1}
    for _ in range(70):
        schema = {"items": schema}
    found: set[str] = set()
    assert (restrict(schema, LIMITS, found), found) == (schema, set())

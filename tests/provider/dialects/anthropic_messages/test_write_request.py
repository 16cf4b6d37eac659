"""Everything beside the conversation: limits, sampling, thinking, tools, structured output, and what is lost."""

from hashlib import sha256

import pytest

from ailink_provider.catalog import Facts, facts
from ailink_provider.chat import (
    CacheMark,
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

NAME = "anthropic_messages"
F, G = Tool("f", schema={"type": "object", "properties": {}}), Tool("g")
BARE = {"type": "object", "properties": {}}


@pytest.fixture
def write(messages, chat, accepted):
    """Writes a chat with these fields; returns what is sent and the fields that were lost."""
    def run(facts=None, **fields):
        sent = messages.write_request(chat(**fields), facts or Facts())
        accepted(sent.body)
        return sent, [loss.field for loss in sent.losses]

    return run


# --- limits and sampling ---------------------------------------------------------------------------------------------


def test_a_limit_is_always_sent(write, plain):
    assert write(plain)[0].body["max_tokens"] == 8192
    assert write(plain, max_tokens=5)[0].body["max_tokens"] == 5


@pytest.mark.parametrize(("model", "asked", "sent", "lost"), [
    ("claude-3-5-sonnet-20241022", {"temperature": 0.5, "top_p": 0.9, "top_k": 5},
     {"temperature": 0.5, "top_p": 0.9, "top_k": 5}, []),
    ("claude-3-5-sonnet-20241022", {"temperature": 1.7}, {"temperature": 1}, ["temperature"]),
    ("claude-sonnet-4-5", {"temperature": 0, "top_p": 0.9}, {"temperature": 0}, ["top_p"]),
    ("claude-sonnet-4-5", {"temperature": 0, "top_p": 1}, {"temperature": 0}, []),
    ("claude-sonnet-4-6", {"top_p": 0.9}, {"top_p": 0.9}, []),
    ("claude-opus-4-7", {"temperature": 0.5, "top_k": 3}, {}, ["temperature", "top_k"]),
    ("claude-opus-4-7", {"temperature": 1, "top_p": 1.0}, {}, []),
    ("claude-opus-5-5", {"top_p": 0.5}, {}, ["top_p"]),
])
def test_sampling_is_as_the_model_takes_it(write, model, asked, sent, lost):
    written, losses = write(facts(model), model=model, **asked)
    assert {key: written.body[key] for key in ("temperature", "top_p", "top_k") if key in written.body} == sent
    assert losses == lost


def test_sampling_gives_way_to_thinking(write, budgeted):
    sent, losses = write(budgeted, reasoning=Reasoning("low"), temperature=0.2, top_k=4)
    assert sent.body["thinking"]["type"] == "enabled"
    assert not {"temperature", "top_k"} & sent.body.keys()
    assert losses == ["temperature", "top_k"]
    sent, losses = write(budgeted, reasoning=Reasoning("low"), temperature=1, top_p=0.97)
    assert (sent.body["top_p"], losses) == (0.97, [])


def test_stop_sequences(write):
    sent, losses = write(stop=["", "END", "\n"])
    assert (sent.body["stop_sequences"], losses) == (["END"], ["stop"])
    assert "stop_sequences" not in write(stop=[""])[0].body


def test_more_answers_than_one_are_refused(write):
    with pytest.raises(Failure) as caught:
        write(n=2)
    assert (caught.value.code, caught.value.param) == ("unsupported_parameter", "n")


@pytest.mark.parametrize("field", [
    {"seed": 0}, {"presence_penalty": 0.1}, {"frequency_penalty": -1.0}, {"logprobs": True}, {"top_logprobs": 3},
    {"metadata": {"a": "b"}}])
def test_parameters_of_others_are_reported(write, field):
    assert write(**field)[1] == list(field)


def test_parameters_that_change_nothing_are_not_reported(write):
    assert write(presence_penalty=0, frequency_penalty=0, logprobs=False, top_logprobs=0)[1] == []


@pytest.mark.parametrize(("tier", "sent", "lost"), [
    ("auto", {"service_tier": "auto"}, []), ("default", {"service_tier": "standard_only"}, []),
    ("priority", {"service_tier": "auto"}, []), ("fast", {"speed": "fast"}, []), ("flex", {}, ["service_tier"])])
def test_service_tiers(write, tier, sent, lost):
    written, losses = write(service_tier=tier)
    assert {key: written.body[key] for key in ("service_tier", "speed") if key in written.body} == sent
    assert losses == lost


def test_a_user_of_another_dialect_is_hashed(write):
    assert write(user="ann@a.test")[0].body["metadata"] == {"user_id": sha256(b"ann@a.test").hexdigest()}
    assert write(user="u1", dialect=NAME)[0].body["metadata"] == {"user_id": "u1"}


def test_what_only_the_vendor_may_understand_is_kept(messages, own):
    asked = {"metadata": {"user_id": "u1", "team": "red"}, "service_tier": "new_tier"}
    sent = messages.write_request(own(**asked), Facts())
    assert ({key: sent.body[key] for key in asked}, sent.losses) == (asked, [])


def test_extras_go_home_or_are_reported(write):
    sent, losses = write(extras={"logit_bias": {"1": 2}, "store": True})
    assert ("logit_bias" not in sent.body, losses) == (True, ["logit_bias", "store"])
    sent, losses = write(extras={"container": "c", "output_config": {"format": None}}, dialect=NAME,
                         reasoning=Reasoning("low"), facts=Facts(thinking="adaptive"))
    assert (sent.body["container"], losses) == ("c", [])
    assert sent.body["output_config"] == {"effort": "low", "format": None}


def test_streaming_is_asked_for(write):
    assert write(stream=True)[0].body["stream"] is True
    assert "stream" not in write()[0].body


# --- thinking --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("wish", "thinking", "effort", "lost"), [
    (Reasoning("medium"), {"type": "adaptive"}, "medium", []),
    (Reasoning("minimal"), {"type": "adaptive"}, "low", []),
    (Reasoning("max", visible=True), {"type": "adaptive", "display": "summarized"}, "max", []),
    (Reasoning(adaptive=True, visible=False), {"type": "adaptive", "display": "omitted"}, None, []),
    (Reasoning(budget=-1), {"type": "adaptive"}, None, []),
    (Reasoning(budget=9000), {"type": "adaptive"}, "high", ["reasoning.budget"]),
    (Reasoning("none"), {"type": "disabled"}, None, []),
    (Reasoning(budget=0), {"type": "disabled"}, None, []),
    (Reasoning(visible=True), None, None, []),
    (Reasoning("enormous"), {"type": "adaptive"}, None, ["reasoning"]),
    (None, None, None, []),
])
def test_models_that_decide_for_themselves(write, adaptive, wish, thinking, effort, lost):
    sent, losses = write(adaptive, reasoning=wish)
    assert sent.body.get("thinking") == thinking
    assert sent.body.get("output_config", {}).get("effort") == effort
    assert losses == lost


@pytest.mark.parametrize(("wish", "limit", "budget", "limit_sent", "lost"), [
    (Reasoning("low"), None, 2048, 32000, []),
    (Reasoning("high"), None, 16000, 32000, []),
    (Reasoning("medium"), 4000, 2000, 4000, []),
    (Reasoning("medium"), 500, 1024, 1524, ["max_tokens"]),
    (Reasoning(budget=8000), 8000, 8000, 16000, ["max_tokens"]),
    (Reasoning(budget=8000), 8001, 8000, 8001, []),
    (Reasoning(budget=500), 4000, 1024, 4000, ["reasoning.budget"]),
    (Reasoning(budget=-1), None, 8192, 32000, []),
    (Reasoning(adaptive=True), None, 8192, 32000, []),
])
def test_models_with_a_budget(write, budgeted, wish, limit, budget, limit_sent, lost):
    sent, losses = write(budgeted, reasoning=wish, max_tokens=limit)
    assert sent.body["thinking"] == {"type": "enabled", "budget_tokens": budget}
    assert (sent.body["max_tokens"], losses) == (limit_sent, lost)
    assert 1024 <= budget < limit_sent
    assert "output_config" not in sent.body


def test_a_model_that_does_not_think(write, plain):
    sent, losses = write(plain, reasoning=Reasoning("high"))
    assert ("thinking" in sent.body, losses) == (False, ["reasoning"])
    assert write(plain, reasoning=Reasoning("none"))[1] == []


def test_a_model_that_always_thinks(write, stubborn):
    sent, losses = write(stubborn, reasoning=Reasoning("none"))
    assert "thinking" not in sent.body
    assert (sent.body["output_config"], losses) == ({"effort": "low"}, ["reasoning"])
    assert write(stubborn, reasoning=Reasoning(visible=True))[0].body["thinking"] == {
        "type": "adaptive", "display": "summarized"}


def test_an_effort_of_its_own_client_is_no_wish_to_think(write, adaptive, budgeted):
    sent, losses = write(adaptive, reasoning=Reasoning("high"), dialect=NAME)
    assert ("thinking" in sent.body, sent.body["output_config"], losses) == (False, {"effort": "high"}, [])
    sent, losses = write(budgeted, reasoning=Reasoning("high"), dialect=NAME)
    assert ("thinking" in sent.body, "output_config" in sent.body, losses) == (False, False, ["reasoning"])


def test_thinking_that_is_off_may_still_have_an_effort(write, adaptive):
    sent, _ = write(adaptive, reasoning=Reasoning("low", budget=0), dialect=NAME)
    assert (sent.body["thinking"], sent.body["output_config"]) == ({"type": "disabled"}, {"effort": "low"})


def test_a_forced_call_excludes_thinking(write, adaptive):
    sent, losses = write(adaptive, reasoning=Reasoning("high"), tools=[F], tool_choice=ToolChoice("required"))
    assert (sent.body["thinking"], sent.body["tool_choice"]) == ({"type": "disabled"}, {"type": "any"})
    assert losses == ["reasoning"]


@pytest.mark.parametrize(("thought", "type_sent", "lost"), [
    ([], "disabled", ["reasoning"]),
    ([Thinking("hm", signed_by=NAME)], "disabled", ["reasoning"]),
    ([Thinking("hm", signature="s", signed_by=NAME)], "enabled", []),
    ([Thinking(redacted="r", signed_by=NAME)], "enabled", []),
])
def test_a_budget_needs_the_thought_behind_the_calls(write, budgeted, thought, type_sent, lost):
    conversation = [Message("user", [Text("Hi")]), Message("assistant", [*thought, ToolCall("t", "f")]),
                    Message("system", [Text("x")]), Message("user", [ToolResult("t", [Text("1")])])]
    sent, losses = write(budgeted, messages=conversation, tools=[F], reasoning=Reasoning("low"))
    assert sent.body["thinking"]["type"] == type_sent
    assert [loss for loss in losses if loss == "reasoning"] == lost
    later = [*conversation, Message("assistant", [Text("1")]), Message("user", [Text("Why?")])]
    sent, _ = write(budgeted, messages=later, tools=[F], reasoning=Reasoning("low"))
    assert sent.body["thinking"]["type"] == "enabled"


# --- tools -----------------------------------------------------------------------------------------------------------


def test_functions(write):
    tools = [Tool("f", "does f", {"properties": {"a": {"type": "string"}}}, strict=True, cache=CacheMark()), G,
             Tool("h", "", {}, strict=False, extra=Native(NAME, {"defer_loading": True}))]
    sent, losses = write(tools=tools)
    assert sent.body["tools"] == [
        {"name": "f", "description": "does f", "strict": True, "input_schema": {
            "type": "object", "properties": {"a": {"type": "string"}}, "additionalProperties": False},
         "cache_control": {"type": "ephemeral"}},
        {"name": "g", "input_schema": BARE},
        {"name": "h", "input_schema": BARE, "defer_loading": True}]
    assert ("tool_choice" in sent.body, losses) == (False, [])


def test_strictness_that_the_model_has_not_is_reported(write, plain):
    sent, losses = write(plain, tools=[Tool("f", schema=BARE, strict=True)])
    assert ("strict" in sent.body["tools"][0], losses) == (False, ["tools[0].strict"])


def test_names_fit_and_come_back(write):
    long = "get." + "x" * 70
    sent, _ = write(tools=[Tool(long), Tool("ok"), Tool("géo")], tool_choice=ToolChoice("required", [long]), messages=[
        Message("user", [Text("Hi")]), Message("assistant", [ToolCall("t", long)]), Message("user", [ToolResult("t")])])
    written = [tool["name"] for tool in sent.body["tools"]]
    assert all(len(name) <= 64 and name.isascii() for name in written)
    assert sent.names == {written[0]: long, written[2]: "géo"}
    assert sent.body["tool_choice"]["name"] == sent.body["messages"][1]["content"][0]["name"] == written[0]


@pytest.mark.parametrize(("choice", "parallel", "written", "seen"), [
    (None, None, None, ["f", "g"]),
    (None, True, None, ["f", "g"]),
    (None, False, {"type": "auto", "disable_parallel_tool_use": True}, ["f", "g"]),
    (ToolChoice("auto"), None, {"type": "auto"}, ["f", "g"]),
    (ToolChoice("none"), False, {"type": "none"}, ["f", "g"]),
    (ToolChoice("required"), None, {"type": "any"}, ["f", "g"]),
    (ToolChoice("required", ["g"]), False, {"type": "tool", "name": "g", "disable_parallel_tool_use": True},
     ["f", "g"]),
    (ToolChoice("auto", ["g"]), None, {"type": "auto"}, ["g"]),
    (ToolChoice("required", ["f", "g"]), None, {"type": "any"}, ["f", "g"]),
    (ToolChoice("auto", []), None, {"type": "none"}, ["f", "g"]),
])
def test_choices(write, choice, parallel, written, seen):
    sent, losses = write(tools=[F, G], tool_choice=choice, parallel_tool_calls=parallel)
    assert sent.body.get("tool_choice") == written
    assert ([tool["name"] for tool in sent.body["tools"]], losses) == (seen, [])


def test_a_choice_that_cannot_be_forced_is_left_to_the_model(write, stubborn):
    sent, losses = write(stubborn, tools=[F, G], tool_choice=ToolChoice("required", ["g"]), parallel_tool_calls=False)
    assert sent.body["tool_choice"] == {"type": "auto", "disable_parallel_tool_use": True}
    assert ([tool["name"] for tool in sent.body["tools"]], losses) == (["g"], ["tool_choice"])


def test_a_choice_without_tools(write):
    sent, losses = write(tool_choice=ToolChoice("auto"), parallel_tool_calls=False)
    assert ("tool_choice" in sent.body, losses) == (False, [])
    assert write(tool_choice=ToolChoice("required"))[1] == ["tool_choice"]


def test_a_choice_of_a_tool_that_is_not_there(write):
    with pytest.raises(Failure) as caught:
        write(tools=[F], tool_choice=ToolChoice("required", ["x"]))
    assert (caught.value.code, caught.value.param) == ("invalid_request", "tool_choice")


def test_free_text_tools_are_wrapped(write):
    call = ToolCall("t", "shell.run", "ls -l", custom=True)
    sent, losses = write(tools=[Tool("shell.run", "runs", custom=True, format={"type": "text"})], messages=[
        Message("user", [Text("Hi")]), Message("assistant", [call]), Message("user", [ToolResult("t")])])
    name = sent.body["tools"][0]["name"]
    assert sent.custom == frozenset({name})
    assert sent.body["tools"][0]["input_schema"]["required"] == ["input"]
    assert sent.body["messages"][1]["content"][0]["input"] == {"input": "ls -l"}
    assert losses == []


def test_a_grammar_is_refused(write):
    with pytest.raises(Failure) as caught:
        write(tools=[F, Tool("sql", custom=True, format={"type": "grammar", "grammar": {}})])
    assert (caught.value.code, caught.value.param) == ("unsupported_parameter", "tools[1].format")


def test_the_vendor_s_own_tools(write):
    bash = {"type": "bash_20250124", "name": "bash"}
    search = {"type": "web_search_20260209", "name": "web_search", "max_uses": 1}
    sent, losses = write(tools=[Native(NAME, bash), WebSearch(search), Native("gemini", {"codeExecution": {}})])
    assert (sent.body["tools"], losses) == ([bash, search], ["tools[2]"])


@pytest.mark.parametrize("location", [
    {"type": "approximate", "city": "Turin", "country": "IT"},
    {"type": "approximate", "approximate": {"city": "Turin", "country": "IT"}}])
def test_web_search_of_other_vendors(write, location):
    sent, losses = write(tools=[WebSearch({
        "type": "web_search", "user_location": location, "search_context_size": "low",
        "filters": {"allowed_domains": ["a.test"]}})])
    assert sent.body["tools"] == [{
        "type": "web_search_20250305", "name": "web_search", "allowed_domains": ["a.test"],
        "user_location": {"type": "approximate", "city": "Turin", "country": "IT"}}]
    assert losses == ["tools[0].search_context_size"]


# --- structured output -----------------------------------------------------------------------------------------------


SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"], "additionalProperties": False}


def test_a_schema_is_native(write):
    sent, losses = write(output=OutputFormat("schema", "n", SCHEMA, True), reasoning=Reasoning("low"),
                         facts=Facts(thinking="adaptive"))
    assert sent.body["output_config"] == {"format": {"type": "json_schema", "schema": SCHEMA}, "effort": "low"}
    assert (sent.schema_tool, losses) == (None, [])


def test_a_schema_is_brought_within_the_vendor_s_limits(write):
    loose = {"type": "object", "properties": {
        "n": {"type": "integer", "minimum": 1, "description": "a count"},
        "l": {"type": "array", "minItems": 2, "items": {
            "oneOf": [{"type": "string", "format": "regex"}, {"$ref": "#/$defs/o"}]}},
    }, "$defs": {"o": {"type": "object", "additionalProperties": True}}}
    sent, losses = write(output=OutputFormat("schema", description="What I want", schema=loose))
    assert sent.body["output_config"]["format"]["schema"] == {
        "description": "What I want", "type": "object", "additionalProperties": False, "properties": {
            "n": {"type": "integer", "description": "a count\n\n{minimum: 1}"},
            "l": {"type": "array", "description": "{minItems: 2}", "items": {
                "anyOf": [{"type": "string", "description": '{format: "regex"}'}, {"$ref": "#/$defs/o"}]}}},
        "$defs": {"o": {"type": "object", "additionalProperties": False}}}
    assert losses == ["response_format"]
    assert loose["properties"]["n"] == {"type": "integer", "minimum": 1, "description": "a count"}


def test_a_schema_without_bottom_is_left_as_it_is_from_some_depth_on(write):
    deep: dict = {"minimum": 1}
    for _ in range(80):
        deep = {"items": deep}
    sent, losses = write(output=OutputFormat("schema", schema=deep))
    assert "minimum" in str(sent.body)
    assert losses == []


def test_its_own_client_s_schema_is_not_touched(write):
    loose = {"type": "object", "properties": {"n": {"type": "integer", "minimum": 1}}}
    sent, losses = write(output=OutputFormat("schema", schema=loose), dialect=NAME)
    assert (sent.body["output_config"]["format"]["schema"], losses) == (loose, [])


@pytest.mark.parametrize("output", [OutputFormat("json"), OutputFormat("schema", "answer")])
def test_any_json_object_is_asked_for_in_words(write, adaptive, output):
    sent, losses = write(adaptive, output=output)
    assert "output_config" not in sent.body  # it takes closed schemas alone
    assert ("JSON" in sent.body["system"], losses) == (True, ["response_format"])
    sent, _ = write(adaptive, output=output,
                    messages=[Message("system", [Text("Be brief.")]), Message("user", [Text("Hi")])])
    assert [block["text"][:9] for block in sent.body["system"]] == ["Be brief.", "Answer wi"]


def test_a_schema_without_native_support_is_a_forced_tool(write, plain):
    sent, losses = write(plain, output=OutputFormat("schema", schema=SCHEMA))
    assert sent.body["tools"][0]["input_schema"] == SCHEMA
    assert sent.body["tool_choice"] == {
        "type": "tool", "name": sent.schema_tool, "disable_parallel_tool_use": True}
    assert losses == []


def test_the_stand_in_keeps_out_of_the_way_of_tools(write, plain):
    output = OutputFormat("schema", schema=SCHEMA)
    sent, _ = write(plain, output=output, tools=[F, Tool("structured_output")])
    assert (sent.schema_tool, sent.body["tool_choice"]["type"]) == ("structured_output_", "any")
    sent, _ = write(plain, output=output, tools=[F], tool_choice=ToolChoice("none"))
    assert sent.body["tool_choice"]["name"] == sent.schema_tool
    sent, _ = write(plain, output=output, tools=[F, G], tool_choice=ToolChoice("auto", ["g"]))
    assert [tool["name"] for tool in sent.body["tools"]] == ["g", sent.schema_tool]
    sent, _ = write(plain, output=output, tools=[F], tool_choice=ToolChoice("required", ["f"]))
    assert (sent.schema_tool, sent.body["tool_choice"]) == (None, {"type": "tool", "name": "f"})


# --- counting --------------------------------------------------------------------------------------------------------


def test_a_count_says_only_what_the_endpoint_takes(counting, chat, countable, adaptive):
    sent = counting.write_request(chat(
        tools=[F], tool_choice=ToolChoice("auto"), reasoning=Reasoning("low"), stop=["x"], user="u", stream=True,
        service_tier="auto", messages=[Message("system", [Text("s")]), Message("user", [Text("Hi")])]), adaptive)
    countable(sent.body)
    assert sent.body.keys() == {"model", "system", "messages", "tools", "tool_choice", "output_config", "thinking"}


def test_a_count_may_end_with_the_assistant(counting, chat, adaptive):
    sent = counting.write_request(chat(messages=[
        Message("user", [Text("Hi")]), Message("assistant", [Text("a")])]), adaptive)
    assert len(sent.body["messages"]) == 2

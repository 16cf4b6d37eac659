"""Canonical chats, written for a model that speaks this dialect."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from ailink_provider.catalog import Facts, facts
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
from ailink_provider.dialects import Sent
from ailink_provider.dialects.openai_responses import DIALECT
from ailink_provider.errors import Failure

OPERATION = DIALECT.operations["chat"]
HELLO = [Message("user", [Text("hello")])]
HOME, ABROAD, SIBLING = "openai_responses", "anthropic_messages", "openai_chat"
REASONS = Facts(thinking="adaptive")
OWN = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gA="}

Accept = Callable[[dict[str, Any]], dict[str, Any]]


def write(messages: list[Message] | None = None, known: Facts | None = None, dialect: str = ABROAD,
          **fields: Any) -> Sent:
    return OPERATION.write_request(Chat("gpt-4o", messages or HELLO, dialect, **fields), known or Facts())


def items(*parts: Any, role: Any = "user", dialect: str = ABROAD) -> list[dict[str, Any]]:
    sent = write([*HELLO, Message(role, list(parts))], dialect=dialect)
    found: list[dict[str, Any]] = sent.body["input"][1:]
    return found


def lost(sent: Sent) -> list[str]:
    return [loss.field for loss in sent.losses]


def test_a_rich_request_of_this_dialect(golden: Callable[[str], Any], accepted: Accept) -> None:
    sent = OPERATION.write_request(OPERATION.read_request(golden("rich.request")), facts("gpt-5"))
    assert sent.body == golden("rich.upstream")
    assert lost(sent) == ["temperature"]
    accepted(sent.body)


def test_a_rich_request_from_abroad(golden: Callable[[str], Any], accepted: Accept) -> None:
    long_id, dotted = "toolu_" + "x" * 60, "files.read/v2"
    chat = Chat("gpt-5", dialect=ABROAD, messages=[
        Message("system", [Text("Be brief."), Text("Be kind.", CacheMark("1h"))]),
        Message("user", [Text("Read both."), Media("document", "text/plain", "aGk=", name="a.txt"),
                         Media("document", "application/pdf", "JVBERi0="), Media("image", url="https://a.test/b.png")]),
        Message("assistant", [Thinking("foreign", "sig", signed_by=ABROAD), Text("I read."),
                              ToolCall(long_id, dotted, '{"p":1}'), ToolCall("b", "run", "ls", custom=True)]),
        Message("user", [ToolResult(long_id, [Text("one"), Media("image", "image/png", "iVBO")]),
                         ToolResult("b", [], is_error=True), Text("Go on.")]),
    ], tools=[Tool(dotted, "reads", {"type": "object"}), Tool("run", custom=True),
              WebSearch({"type": "web_search_20250305", "name": "web_search", "max_uses": 2,
                         "allowed_domains": ["a.test"], "user_location": {"type": "approximate", "city": "Rome"}}),
              Native(ABROAD, {"type": "bash_20250124"})],
        tool_choice=ToolChoice("required", [dotted]), parallel_tool_calls=False, max_tokens=1000, temperature=0.3,
        top_k=5, stop=["END"], user="abc", service_tier="standard_only", stream=True,
        reasoning=Reasoning(budget=5000, visible=True), extras={"speed": "fast"})
    sent = OPERATION.write_request(chat, facts("gpt-5"))
    assert sent.body == golden("abroad.upstream")
    assert lost(sent) == ["cache_control", "is_error", "temperature", "top_k", "stop", "tools[2].max_uses", "tools[3]",
                          "speed"]
    assert list(sent.names.values()) == [dotted]
    accepted(sent.body)


# --- the conversation ----------------------------------------------------------------------------


def test_a_plain_leading_prompt_becomes_instructions() -> None:
    system = Message("system", [Text("Be brief.")])
    assert write([system, *HELLO]).body["instructions"] == "Be brief."
    alone = write([system]).body
    assert "instructions" not in alone
    assert alone["input"] == [{"type": "message", "role": "system", "content": "Be brief."}]
    marked = write([Message("system", [Text("x", CacheMark("30m"))]), *HELLO]).body
    assert "instructions" not in marked
    assert marked["input"][0]["content"] == [
        {"type": "input_text", "text": "x", "prompt_cache_breakpoint": {"mode": "explicit", "ttl": "30m"}}]


def test_a_system_message_stands_where_it_was() -> None:
    body = write([*HELLO, Message("developer", [Text("Hurry.")]), *HELLO]).body
    assert [item["role"] for item in body["input"]] == ["user", "developer", "user"]


def test_own_thoughts_go_back_whole_and_others_stay_out() -> None:
    proof = msgspec.json.encode(OWN).decode()
    found = items(Thinking("t", proof, signed_by=HOME), Thinking("unsigned"), Thinking("t", "s", signed_by=ABROAD),
                  Thinking("", None, "r", "gemini"), Text("x"), role="assistant")
    assert found == [OWN, {"type": "message", "role": "assistant", "content": "x"}]


def test_encrypted_content_alone_is_an_item_too() -> None:
    found = items(Thinking("t", "gA=", signed_by=HOME), Thinking("", None, "gB=", HOME), Thinking("t", signed_by=HOME),
                  role="assistant")
    assert found == [
        {"type": "reasoning", "summary": [{"type": "summary_text", "text": "t"}], "encrypted_content": "gA="},
        {"type": "reasoning", "summary": [], "encrypted_content": "gB="}]


def test_a_name_alone_is_sent_only_where_the_vendor_may_have_kept_the_thought() -> None:
    named = Thinking("t", '{"type":"reasoning","id":"rs_1","summary":[]}', signed_by=HOME)
    assert items(named, role="assistant") == []
    assert items(named, role="assistant", dialect=HOME) == [{"type": "reasoning", "id": "rs_1", "summary": []}]


def test_empty_texts_of_the_models_stay_out() -> None:
    found = items(Text(""), Refusal(""), ToolCall("a", "f"), role="assistant")
    assert found == [{"type": "function_call", "call_id": "a", "name": "f", "arguments": "{}"}]


def test_a_phase_goes_with_its_message_alone() -> None:
    found = items(Native(HOME, {"phase": "commentary"}), Text("a"), ToolCall("x", "f"), Text("b"), role="assistant",
                  dialect=HOME)
    assert [item.get("phase") for item in found] == ["commentary", None, None]


def test_results_know_what_kind_of_call_they_answer() -> None:
    sent = write([Message("assistant", [ToolCall("a", "f"), ToolCall("b", "c", "x", custom=True)]),
                  Message("user", [Text("Look:"), ToolResult("b", [Text("1")]), ToolResult("a", [Text("2")]),
                                   Text("Well?")])])
    assert [(item["type"], item.get("call_id")) for item in sent.body["input"]] == [
        ("function_call", "a"), ("custom_tool_call", "b"), ("message", None), ("custom_tool_call_output", "b"),
        ("function_call_output", "a"), ("message", None)]


@pytest.mark.parametrize("identifier", ["x" * 65, "Bash:0 é", "functions.x:0" * 9, ""])
def test_ids_of_other_vendors_fit_and_still_agree(identifier: str, accepted: Accept) -> None:
    sent = write([Message("assistant", [ToolCall(identifier, "f")]), Message("user", [ToolResult(identifier, [])])])
    call, result = sent.body["input"]
    assert call["call_id"] == result["call_id"]
    assert 0 < len(call["call_id"]) <= 64
    assert call["call_id"].isascii()
    accepted(sent.body)


def test_ids_that_fit_are_kept() -> None:
    assert items(ToolCall("Bash:0", "f"), role="assistant")[0]["call_id"] == "Bash:0"


def test_items_of_its_own_are_said_again() -> None:
    call = {"type": "web_search_call", "id": "ws_1", "status": "completed"}
    assert items(Native(HOME, call), role="assistant") == [call]
    video = {"type": "input_video", "video_url": "x"}
    assert items(Text("a"), Native(HOME, video))[0]["content"][1] == video


def test_members_of_its_own_are_said_again() -> None:
    call = {"type": "function_call", "call_id": "a", "name": "f", "arguments": "{}", "namespace": "n"}
    sound = {"type": "input_audio", "input_audio": {"data": "AA==", "format": "mp3"}}
    spoken = {"type": "message", "role": "user", "content": [sound]}
    tool = {"type": "function", "name": "f", "parameters": None, "strict": None, "defer_loading": True}
    chat = OPERATION.read_request({"model": "m", "input": [spoken, call], "tools": [tool]})
    body = OPERATION.write_request(chat, Facts()).body
    assert (body["input"], body["tools"]) == ([spoken, call], [tool])


@pytest.mark.parametrize(("part", "role"), [
    (Native("gemini", {"x": 1}), "user"), (Native("gemini", {"x": 1}), "assistant"),
    (Media("image", url="https://a.test"), "assistant"),
])
def test_what_has_no_place_is_reported(part: Any, role: Any) -> None:
    sent = write([*HELLO, Message(role, [part])])
    assert lost(sent) == ["messages[1].content[0]"]


def test_paths_are_the_clients() -> None:
    messages = [Message("system", [Native("other", {})]), Message("user", [Native("other", {})], name="Ann")]
    assert lost(write(messages, apart=1)) == ["system.content[0]", "messages[0].name", "messages[0].content[0]"]
    assert lost(write(messages)) == ["messages[0].content[0]", "messages[1].name", "messages[1].content[0]"]


def test_members_of_another_dialects_objects_are_reported() -> None:
    extra = Native("gemini", {"scheduling": "x"})
    sent = write([Message("assistant", [ToolCall("a", "f", extra=extra)]),
                  Message("user", [ToolResult("a", [], extra=extra),
                                   Media("image", url="https://a.test", extra=extra)])],
                 tools=[Tool("f", extra=extra)])
    assert lost(sent) == ["messages[0].content[0].scheduling", "messages[1].content[0].scheduling",
                          "messages[1].content[1].scheduling", "tools[0].scheduling"]


@pytest.mark.parametrize(("media", "dialect"), [
    (Media("image", file_id="file-1"), ABROAD), (Media("document", file_id="file-1"), "gemini"),
    (Media("audio", "audio/wav", "AA=="), ABROAD), (Media("audio", "audio/wav", "AA=="), SIBLING),
    (Media("audio", url="https://a.test"), HOME),
])
def test_media_that_the_target_cannot_have_are_refused(media: Media, dialect: str) -> None:
    with pytest.raises(Failure) as caught:
        items(media, dialect=dialect)
    assert (caught.value.code, caught.value.param) == ("unsupported_parameter", "messages[1].content[0]")


def test_files_of_the_same_vendor_are_named() -> None:
    assert items(Media("document", file_id="file-1"), dialect=SIBLING)[0]["content"] == [
        {"type": "input_file", "file_id": "file-1"}]


def test_a_details_word_must_be_known() -> None:
    sent = write([Message("user", [Media("image", url="https://a.test", detail="media_resolution_low")])])
    assert sent.body["input"][0]["content"][0]["detail"] == "auto"
    assert lost(sent) == ["messages[0].content[0].detail"]


def test_broken_base64_of_a_text_is_the_clients_mistake() -> None:
    with pytest.raises(Failure) as caught:
        items(Media("document", "text/plain", "a"))
    assert caught.value.code == "invalid_request"


# --- settings ------------------------------------------------------------------------------------


def test_nothing_is_kept_for_clients_who_did_not_ask() -> None:
    assert write().body["store"] is False
    assert "store" not in write(dialect=HOME).body


def test_thoughts_are_asked_for_in_full_of_models_that_think() -> None:
    assert write(known=REASONS).body["include"] == ["reasoning.encrypted_content"]
    assert "include" not in write().body
    assert "include" not in write(known=REASONS, dialect=HOME).body


def test_extras_of_chat_completions_mean_the_same() -> None:
    sent = write(dialect=SIBLING, extras={"verbosity": "low", "prompt_cache_key": "k", "store": True, "logit_bias": {}},
                 output=OutputFormat("json"))
    assert sent.body["text"] == {"format": {"type": "json_object"}, "verbosity": "low"}
    assert (sent.body["prompt_cache_key"], sent.body["store"]) == ("k", True)
    assert lost(sent) == ["logit_bias"]


def test_extras_of_others_are_reported() -> None:
    assert lost(write(extras={"verbosity": "low", "store": True})) == ["verbosity", "store"]


@pytest.mark.parametrize(("reasoning", "known", "written", "losses"), [
    (Reasoning("high"), REASONS, {"effort": "high"}, []),
    (Reasoning(budget=0), REASONS, {"effort": "none"}, []),
    (Reasoning(budget=4096), REASONS, {"effort": "low"}, []),
    (Reasoning(budget=9999), REASONS, {"effort": "medium"}, []),
    (Reasoning(budget=99999, visible=True), REASONS, {"effort": "high", "summary": "auto"}, []),
    (Reasoning(budget=-1), REASONS, None, []), (Reasoning(adaptive=True), REASONS, None, []),
    (Reasoning("none"), Facts(thinking="adaptive", thinking_off=False), {"effort": "low"}, ["reasoning"]),
    (Reasoning("high", visible=True), Facts(), None, ["reasoning"]), (Reasoning("none"), Facts(), None, []),
])
def test_reasoning(reasoning: Reasoning, known: Facts, written: Any, losses: list[str]) -> None:
    sent = write(known=known, reasoning=reasoning)
    assert (sent.body.get("reasoning"), lost(sent)) == (written, losses)


@pytest.mark.parametrize(("fields", "losses"), [
    ({"top_k": 1}, ["top_k"]), ({"seed": 1}, ["seed"]), ({"stop": ["x"]}, ["stop"]),
    ({"presence_penalty": 0.5}, ["presence_penalty"]), ({"frequency_penalty": 0.0}, []),
    ({"temperature": 0.5}, ["temperature"]), ({"temperature": 1}, []), ({"top_p": 0.5}, ["top_p"]),
    ({"service_tier": "warp"}, ["service_tier"]), ({"max_tokens": 5}, ["max_tokens"]),
])
def test_fields_without_a_word_here(fields: dict[str, Any], losses: list[str], accepted: Accept) -> None:
    sent = write(known=Facts(sampling=()), **fields)
    assert lost(sent) == losses
    accepted(sent.body)


def test_only_one_sampling_parameter_where_they_exclude_each_other() -> None:
    sent = write(known=Facts(one_sampling=True), temperature=0.1, top_p=0.2)
    assert (sent.body["temperature"], "top_p" in sent.body, lost(sent)) == (0.1, False, ["top_p"])


def test_a_limit_below_the_least_is_raised() -> None:
    assert write(max_tokens=5).body["max_output_tokens"] == 16
    assert write(max_tokens=5, dialect=HOME).body["max_output_tokens"] == 5


def test_several_answers_are_refused() -> None:
    with pytest.raises(Failure) as caught:
        write(n=2)
    assert (caught.value.code, caught.value.param) == ("unsupported_parameter", "n")


def test_log_probabilities() -> None:
    body = write(logprobs=True, top_logprobs=3).body
    assert (body["include"], body["top_logprobs"]) == (["message.output_text.logprobs"], 3)


CLOSED = {"type": "object", "properties": {"x": {"type": "string"}}, "required": ["x"], "additionalProperties": False}
LOOSE = {"type": "object", "properties": {"x": {"type": "string"}}}


def test_what_strict_mode_refuses_is_not_sent_strictly() -> None:
    """Other vendors hold a model strictly to schemas with optional members."""
    sent = write(tools=[Tool("f", schema=LOOSE, strict=True), Tool("g", schema=CLOSED, strict=True)],
                 output=OutputFormat("schema", "reply", LOOSE, strict=True))
    assert [tool["strict"] for tool in sent.body["tools"]] == [False, True]
    assert "strict" not in sent.body["text"]["format"]
    assert [loss.field for loss in sent.losses] == ["response_format.strict", "tools[0].strict"]


def test_a_model_that_does_not_reason_is_asked_for_no_summary() -> None:
    body = {"model": "gpt-4o", "input": "Hi", "reasoning": {"effort": "low", "summary": "auto"}}
    chat = DIALECT.operations["chat"].read_request(body)
    assert "reasoning" not in DIALECT.operations["chat"].write_request(chat, facts("gpt-4o")).body
    assert DIALECT.operations["chat"].write_request(chat, facts("gpt-5")).body["reasoning"] == body["reasoning"]


@pytest.mark.parametrize(("output", "form"), [
    (OutputFormat("schema", "a b", CLOSED, True, "d"),
     {"type": "json_schema", "name": "a_b_c8687a08", "schema": CLOSED, "strict": True, "description": "d"}),
    (OutputFormat("schema", schema={}), {"type": "json_schema", "name": "reply", "schema": {}}),
    (OutputFormat("json"), {"type": "json_object"}), (OutputFormat("schema"), {"type": "json_object"}),
])
def test_formats(output: OutputFormat, form: dict[str, Any], accepted: Accept) -> None:
    body = accepted(write(output=output).body)
    assert body["text"] == {"format": form}


def test_json_is_asked_for_in_words_where_the_api_demands_it() -> None:
    assert write(output=OutputFormat("json")).body["input"][-1]["role"] == "developer"
    spoken = [Message("user", [Text("As JSON, please.")])]
    assert len(write(spoken, output=OutputFormat("json")).body["input"]) == 1
    assert len(write(output=OutputFormat("json"), dialect=HOME).body["input"]) == 1


def test_a_model_without_schemas_is_told_in_words() -> None:
    sent = write(known=Facts(json_schema=False), output=OutputFormat("schema", schema={"type": "object"}))
    assert sent.body["text"] == {"format": {"type": "json_object"}}
    assert '{"type":"object"}' in sent.body["input"][-1]["content"]
    assert lost(sent) == ["response_format"]


# --- tools ---------------------------------------------------------------------------------------


def test_leaving_strictness_out_means_none_for_clients_of_others(accepted: Accept) -> None:
    assert accepted(write(tools=[Tool("f")]).body)["tools"] == [
        {"type": "function", "name": "f", "parameters": {"type": "object", "properties": {}}, "strict": False}]
    assert accepted(write(tools=[Tool("f")], dialect=HOME).body)["tools"] == [
        {"type": "function", "name": "f", "parameters": None, "strict": None}]


def test_a_grammar_of_chat_completions_is_said_flat(accepted: Accept) -> None:
    grammar = {"syntax": "regex", "definition": "a+"}
    sent = write(tools=[Tool("c", custom=True, format={"type": "grammar", "grammar": grammar})], dialect=SIBLING)
    assert accepted(sent.body)["tools"][0]["format"] == {"type": "grammar"} | grammar


@pytest.mark.parametrize(("choice", "written"), [
    (ToolChoice("auto"), "auto"), (ToolChoice("none"), "none"), (ToolChoice("required"), "required"),
    (ToolChoice("required", ["c"]), {"type": "custom", "name": "c"}),
    (ToolChoice("auto", ["f"]), {"type": "allowed_tools", "mode": "auto", "tools": [
        {"type": "function", "name": "f"}]}),
    (ToolChoice("required", ["f", "c"]), {"type": "allowed_tools", "mode": "required", "tools": [
        {"type": "function", "name": "f"}, {"type": "custom", "name": "c"}]}),
])
def test_tool_choice(choice: ToolChoice, written: Any, accepted: Accept) -> None:
    body = write(tools=[Tool("f"), Tool("c", custom=True)], tool_choice=choice).body
    assert accepted(body)["tool_choice"] == written


def test_a_choice_needs_tools_and_a_model_that_obeys() -> None:
    assert lost(write(tool_choice=ToolChoice("required"))) == ["tool_choice"]
    assert "tool_choice" not in write(tool_choice=ToolChoice("auto")).body
    sent = write(known=Facts(forced_tools=False), tools=[Tool("f")], tool_choice=ToolChoice("required"))
    assert (sent.body["tool_choice"], lost(sent)) == ("auto", ["tool_choice"])


def test_a_search_of_chat_completions() -> None:
    options = {"search_context_size": "high", "user_location": {"type": "approximate", "approximate": {"city": "Rome"}}}
    sent = write(tools=[WebSearch(options)], dialect=SIBLING)
    assert sent.body["tools"] == [{"type": "web_search", "search_context_size": "high",
                                   "user_location": {"type": "approximate", "city": "Rome"}}]


# --- the way of a request that passes through -----------------------------------------------------


def amended(items: Any) -> Any:
    body = {"model": msgspec.Raw(b'"alias"'), "input": msgspec.Raw(msgspec.json.encode(items))}
    before = bytes(body["input"])
    OPERATION.amend(body, "gpt-5", Facts())
    assert bytes(body["model"]) == b'"gpt-5"'
    return msgspec.json.decode(body["input"]), bytes(body["input"]) == before


def test_only_the_model_of_a_request_is_changed() -> None:
    assert amended("Hi") == ("Hi", True)
    assert amended([OWN]) == ([OWN], True)
    body = {"model": msgspec.Raw(b'"x"'), "previous_response_id": msgspec.Raw(b'"resp_1"')}
    OPERATION.amend(body, "gpt-5", Facts())
    assert body == {"model": msgspec.Raw(b'"gpt-5"'), "previous_response_id": msgspec.Raw(b'"resp_1"')}


def test_sealed_thoughts_are_opened_on_the_way_to_their_vendor() -> None:
    def sealed(*proof: str | None) -> dict[str, Any]:
        return {"type": "reasoning", "id": "rs_x", "summary": [],
                "encrypted_content": "ailink:" + msgspec.json.encode(proof).decode()}

    quote = {"role": "user", "content": "ailink:"}
    found, _ = amended([quote, sealed(HOME, msgspec.json.encode(OWN).decode(), None), sealed(ABROAD, "s", None),
                        sealed(None, None, None)])
    assert found == [quote, OWN]


@pytest.mark.parametrize("raw", [b'"ailink:"', b'{"a":"ailink:"}', b'["ailink:"', b'["ailink:",1]',
                                 b'[{"type":"reasoning","summary":"ailink:"}]'])
def test_what_was_not_sealed_here_is_left_to_the_vendor(raw: bytes) -> None:
    body = {"input": msgspec.Raw(raw)}
    OPERATION.amend(body, "gpt-5", Facts())
    assert bytes(body["input"]) == raw

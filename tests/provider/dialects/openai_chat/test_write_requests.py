"""Canonical chats, written for a model that speaks this dialect."""

from collections.abc import Callable
from typing import Any, ClassVar

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
from ailink_provider.dialects import Loss, Sent
from ailink_provider.dialects.openai_chat import DIALECT
from ailink_provider.errors import Failure

CHAT = DIALECT.operations["chat"]
HELLO = [Message("user", [Text("hello")])]
ABROAD = "anthropic_messages"
AT_HOME = "openai_chat"
CLOSED = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"], "additionalProperties": False}
REASONS = Facts(thinking="adaptive")

Validate = Callable[[str, dict[str, Any]], None]


def write(messages: list[Message] | None = None, known: Facts | None = None, dialect: str = ABROAD,
          **fields: Any) -> Sent:
    return CHAT.write_request(Chat("gpt-4o", messages or HELLO, dialect, **fields), known or Facts())


def lost(sent: Sent) -> list[str]:
    return [loss.field for loss in sent.losses]


def test_a_rich_request_of_this_dialect(golden: Callable[[str], Any], validate: Validate) -> None:
    sent = CHAT.write_request(CHAT.read_request(golden("rich.request")), facts("gpt-5"))
    assert sent.body == golden("rich.upstream")
    assert lost(sent) == [
        "temperature", "top_p", "presence_penalty", "frequency_penalty", "logprobs", "top_logprobs"]
    validate("chat", sent.body)


def test_a_rich_request_from_abroad(golden: Callable[[str], Any], validate: Validate) -> None:
    long_id, dotted = "toolu_" + "x" * 60, "files.read/v2"
    chat = Chat("gpt-4o", dialect=ABROAD, messages=[
        Message("system", [Text("Be brief.", CacheMark("1h"))]),
        Message("user", [Text("Read both."), Media("document", "text/plain", "aGk=", name="a.txt"),
                         Media("document", "application/pdf", "JVBERi0=")]),
        Message("assistant", [Thinking("hm", "sig", signed_by=ABROAD), Text("Reading."), ToolCall(long_id, dotted, ""),
                              ToolCall("toolu_2", "look", '{"at":1}', signature="s", signed_by="gemini")]),
        Message("user", [ToolResult("toolu_2", [Text("a cat"), Media("image", "image/png", "iVBORw0KGgo=")]),
                         ToolResult(long_id, [], is_error=True), Text("And now?")]),
        Message("assistant", [Thinking("foreign alone", "sig", signed_by=ABROAD)]),
        Message("system", [Text("Hurry.")]),
    ], tools=[Tool(dotted, "Reads", {"type": "object"}, cache=CacheMark()), Tool("look"),
              Native(ABROAD, {"type": "bash_20250124", "name": "bash"}), WebSearch({"type": "web_search_20250305",
              "max_uses": 2, "user_location": {"type": "approximate", "city": "Rome"}})],
        tool_choice=ToolChoice("required", [dotted]), parallel_tool_calls=False, max_tokens=50, temperature=0.25,
        top_p=0.5, top_k=4, stop=["X"], user="u", service_tier="standard_only", stream=True, extras={"container": "c"},
        output=OutputFormat("schema", schema={"type": "object"}), reasoning=Reasoning(budget=9000))
    sent = CHAT.write_request(chat, facts("gpt-4o"))
    assert sent.body == golden("abroad.upstream")
    validate("chat", sent.body)
    assert set(sent.names.values()) == {dotted}
    assert lost(sent) == ["cache_control", "is_error", "top_k", "tools[2]", "max_uses", "reasoning_effort", "container"]


@pytest.mark.parametrize(("known", "name"), [(Facts(completion_limit=True), "max_completion_tokens"),
                                             (Facts(), "max_tokens")])
def test_the_token_limit_has_the_models_name_for_it(known: Facts, name: str) -> None:
    body = write(known=known, max_tokens=9).body
    assert body == {"model": "gpt-4o", "messages": [{"role": "user", "content": "hello"}], name: 9}


@pytest.mark.parametrize(("known", "fields", "kept", "missing"), [
    (Facts(sampling=("temperature",)), {"temperature": 0.5, "top_p": 0.5, "top_k": 1}, {"temperature"},
     ["top_p", "top_k"]),
    (Facts(sampling=()), {"temperature": 1, "top_p": 1.0}, set(), []),
    (Facts(one_sampling=True), {"temperature": 0.5, "top_p": 0.5}, {"temperature"}, ["top_p"]),
    (Facts(one_sampling=True), {"top_p": 0.5}, {"top_p"}, []),
    (Facts(), {"temperature": 2, "top_k": 5}, {"temperature", "top_k"}, []),
])
def test_sampling_is_what_the_model_takes(known: Facts, fields: dict[str, Any], kept: set[str],
                                          missing: list[str]) -> None:
    sent = write(known=known, **fields)
    assert sent.body.keys() - {"model", "messages"} == kept
    assert lost(sent) == missing


@pytest.mark.parametrize(("known", "reasoning", "effort", "missing"), [
    (REASONS, Reasoning(effort="xhigh"), "xhigh", []),
    (REASONS, Reasoning(budget=0), "none", []),
    (REASONS, Reasoning(budget=1024), "low", []),
    (REASONS, Reasoning(budget=8000), "medium", []),
    (REASONS, Reasoning(budget=32000), "high", []),
    (REASONS, Reasoning(budget=-1), None, []),
    (REASONS, Reasoning(adaptive=True), None, []),
    (REASONS, Reasoning(effort="low", visible=True), "low", ["reasoning"]),
    (Facts(), Reasoning(effort="low"), None, ["reasoning_effort"]),
    (Facts(), Reasoning(effort="none"), None, []),
    (Facts(), Reasoning(budget=0), None, []),
    (Facts(thinking="adaptive", thinking_off=False), Reasoning(effort="none"), "low", ["reasoning_effort"]),
])
def test_reasoning_is_an_effort(known: Facts, reasoning: Reasoning, effort: str | None, missing: list[str]) -> None:
    sent = write(known=known, reasoning=reasoning)
    assert sent.body.get("reasoning_effort") == effort
    assert lost(sent) == missing


@pytest.mark.parametrize(("tier", "written"), [("standard", "default"), ("priority", "priority"), ("batch", None)])
def test_service_tiers_are_translated(tier: str, written: str | None) -> None:
    sent = write(service_tier=tier)
    assert sent.body.get("service_tier") == written
    assert lost(sent) == ([] if written else ["service_tier"])
    assert write(dialect=AT_HOME, service_tier=tier).body["service_tier"] == tier


def test_a_stream_always_reports_usage() -> None:
    assert write(stream=True).body["stream_options"] == {"include_usage": True}
    at_home = write(dialect=AT_HOME, stream=True, extras={"stream_options": {"include_obfuscation": False}})
    assert at_home.body["stream_options"] == {"include_usage": True, "include_obfuscation": False}
    assert "stream_options" not in write().body


def test_extras_are_said_again_at_home_and_reported_abroad() -> None:
    extras = {"logit_bias": {"1": 2}, "best_of": 2}
    at_home = write(dialect=AT_HOME, extras=extras)
    assert at_home.body["logit_bias"] == {"1": 2}
    assert lost(at_home) == ["best_of"]
    assert lost(write(extras=extras)) == ["logit_bias", "best_of"]


def test_members_that_only_another_dialect_knows_are_reported() -> None:
    extra = Native(ABROAD, {"odd": 1})
    sent = write([
        Message("user", [Text("x"), Media("image", url="https://a.test", extra=extra)]),
        Message("assistant", [ToolCall("c", "f", extra=extra)]),
        Message("user", [ToolResult("c", [Media("image", url="https://a.test", extra=extra)], extra=extra)])],
        tools=[Tool("f", extra=extra)])
    assert lost(sent) == ["messages[0].content[1].odd", "messages[1].content[0].odd", "messages[2].content[0].odd",
                          "tools[0].odd"]
    assert "odd" not in str(sent.body)


class TestOutput:
    def test_a_schema_gets_the_name_it_needs(self, validate: Validate) -> None:
        sent = write(output=OutputFormat("schema", schema=CLOSED, strict=True))
        assert sent.body["response_format"] == {"type": "json_schema", "json_schema": {
            "name": "reply", "schema": CLOSED, "strict": True}}
        validate("chat", sent.body)

    @pytest.mark.parametrize("schema", [
        {"type": "object"}, {**CLOSED, "required": []}, {**CLOSED, "additionalProperties": True},
        {"type": ["object", "null"], "properties": {}}, {**CLOSED, "required": None}, {"properties": {"a": {}}},
        {**CLOSED, "properties": True}, {**CLOSED, "properties": ["a"]},
        *({"type": "array", key: value} for key, value in (
            ("items", {"type": "object"}), ("anyOf", [{"type": "object"}]), ("$defs", {"x": {"type": "object"}})))])
    def test_a_schema_that_is_not_strict_enough_is_kept_to_loosely(self, schema: dict[str, Any]) -> None:
        sent = write(tools=[Tool("f", schema=schema, strict=True)], output=OutputFormat("schema", schema=schema,
                                                                                        strict=True))
        assert "strict" not in str(sent.body)
        assert lost(sent) == ["tools[0].strict", "response_format.strict"]
        home = write(tools=[Tool("f", schema=schema, strict=True)], dialect=AT_HOME)
        assert (home.body["tools"][0]["function"]["strict"], home.losses) == (True, [])

    def test_a_model_that_knows_no_schema_is_asked_in_words(self) -> None:
        sent = write(known=Facts(json_schema=False), output=OutputFormat("schema", schema={"title": "Ünique"}))
        assert sent.body["response_format"] == {"type": "json_object"}
        assert '{"title":"Ünique"}' in sent.body["messages"][-1]["content"]
        assert lost(sent) == ["response_format"]

    def test_json_is_spoken_of_as_the_api_demands(self) -> None:
        assert "JSON" in write(output=OutputFormat("json")).body["messages"][-1]["content"]
        spoken = write([Message("user", [Text("in json please")])], output=OutputFormat("json"))
        assert len(spoken.body["messages"]) == 1
        assert len(write(dialect=AT_HOME, output=OutputFormat("json")).body["messages"]) == 1

    def test_plain_text_needs_no_word(self) -> None:
        assert "response_format" not in write(output=OutputFormat("text")).body
        assert write(dialect=AT_HOME, output=OutputFormat("text")).body["response_format"] == {"type": "text"}


class TestTools:
    GRAMMAR: ClassVar = {"type": "grammar", "syntax": "lark", "definition": "start: /x/"}
    TOOLS = (Tool("f"), Tool("g", custom=True, format=GRAMMAR))

    @pytest.mark.parametrize(("choice", "written"), [
        (ToolChoice("auto"), "auto"), (ToolChoice("none", ["f"]), "none"), (ToolChoice("required"), "required"),
        (ToolChoice("required", ["f"]), {"type": "function", "function": {"name": "f"}}),
        (ToolChoice("required", ["g"]), {"type": "custom", "custom": {"name": "g"}}),
        (ToolChoice("auto", ["f"]), {"type": "allowed_tools", "allowed_tools": {
            "mode": "auto", "tools": [{"type": "function", "function": {"name": "f"}}]}}),
        (ToolChoice("required", ["f", "g"]), {"type": "allowed_tools", "allowed_tools": {
            "mode": "required", "tools": [{"type": "function", "function": {"name": "f"}},
                                          {"type": "custom", "custom": {"name": "g"}}]}}),
    ])
    def test_a_choice_is_written(self, choice: ToolChoice, written: Any, validate: Validate) -> None:
        sent = write(tools=list(self.TOOLS), tool_choice=choice)
        assert sent.body["tool_choice"] == written
        assert not sent.losses
        validate("chat", sent.body)

    def test_a_grammar_of_the_responses_api_is_nested(self) -> None:
        custom = write(tools=list(self.TOOLS)).body["tools"][1]["custom"]
        assert custom["format"] == {"type": "grammar", "grammar": {"syntax": "lark", "definition": "start: /x/"}}

    def test_a_model_that_cannot_be_forced_may_choose(self) -> None:
        sent = write(known=Facts(forced_tools=False), tools=list(self.TOOLS), tool_choice=ToolChoice("required", ["f"]))
        assert sent.body["tool_choice"]["allowed_tools"]["mode"] == "auto"
        assert lost(sent) == ["tool_choice"]

    @pytest.mark.parametrize(("choice", "missing"), [(ToolChoice("auto"), []),
                                                     (ToolChoice("required"), ["tool_choice"])])
    def test_without_tools_there_is_no_choice(self, choice: ToolChoice, missing: list[str]) -> None:
        sent = write(tool_choice=choice, parallel_tool_calls=True)
        assert sent.body.keys() == {"model", "messages"}
        assert lost(sent) == missing

    def test_names_fit_and_are_given_back(self) -> None:
        name = "mcp.server/tool"
        sent = write([Message("assistant", [ToolCall("c", name)])], tools=[Tool(name)],
                     tool_choice=ToolChoice("required", [name]))
        wire = sent.body["tools"][0]["function"]["name"]
        assert wire == sent.body["messages"][0]["tool_calls"][0]["function"]["name"]
        assert wire == sent.body["tool_choice"]["function"]["name"] != name
        assert sent.names == {wire: name}
        reply = CHAT.read_reply({"choices": [{"message": {"tool_calls": [
            {"id": "c", "function": {"name": wire, "arguments": "{}"}}]}}]}, sent)
        assert reply.choices[0].parts[0].name == name

    def test_parameters_are_said_to_be_none_abroad_only(self) -> None:
        abroad = write(tools=[Tool("f")]).body["tools"][0]["function"]
        assert abroad == {"name": "f", "parameters": {"type": "object", "properties": {}}}
        assert write(tools=[Tool("f")], dialect=AT_HOME).body["tools"][0]["function"] == {"name": "f"}

    def test_a_tool_only_this_dialect_has_comes_back(self) -> None:
        native = {"type": "live_search", "depth": 1}
        assert write(tools=[Native(AT_HOME, native)]).body["tools"] == [native]

    def test_two_long_ids_stay_two(self) -> None:
        first, second = "a" * 60 + "1", "a" * 60 + "2"
        messages = [Message("assistant", [ToolCall(first, "f"), ToolCall(second, "f")]),
                    Message("user", [ToolResult(first), ToolResult(second)])]
        body = write(messages).body["messages"]
        calls = [call["id"] for call in body[0]["tool_calls"]]
        assert calls == [body[1]["tool_call_id"], body[2]["tool_call_id"]]
        assert len(set(calls)) == 2
        assert all(len(call) <= 40 for call in calls)


class TestTurns:
    def test_results_precede_the_rest_of_their_turn_and_media_follow_them(self) -> None:
        image = Media("image", "image/png", "AA==")
        body = write([
            Message("assistant", [ToolCall("a", "f"), ToolCall("b", "f")]),
            Message("user", [Text("wait"), ToolResult("a", [image])]),
            Message("user", [ToolResult("b", [Text("2"), Media("document", "application/pdf", "AA==")])], name=None),
        ]).body["messages"]
        assert [message["role"] for message in body] == ["assistant", "tool", "tool", "user", "user"]
        assert [message["content"] for message in body[1:3]] == [
            "[image attached]", [{"type": "text", "text": "2"}, {"type": "text", "text": "[document attached]"}]]
        assert [part["type"] for part in body[3]["content"]] == ["image_url", "file"]
        assert body[4] == {"role": "user", "content": "wait"}

    @pytest.mark.parametrize(("parts", "written"), [
        ([Text("")], {"content": ""}),
        ([], {"content": ""}),
        ([ToolCall("a", "f")], {"content": None, "tool_calls": [
            {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}]}),
        ([Text("x"), Text("y")], {"content": [{"type": "text", "text": "x"}, {"type": "text", "text": "y"}]}),
        ([Text("x"), Refusal("no")], {"content": "x", "refusal": "no"}),
        ([Native(AT_HOME, {"audio": {"id": "a"}})], {"content": None, "audio": {"id": "a"}}),
        ([Thinking("t", "s", signed_by=ABROAD), Text("x")], {"content": "x"}),
        ([Thinking("t"), Text("x")], {"content": "x"}),
        ([Thinking("t", signed_by=AT_HOME), Text("x")], {"content": "x", "reasoning_content": "t"}),
        ([Thinking(redacted="d", signed_by=AT_HOME), Text("x")],
         {"content": "x", "reasoning_details": [{"type": "reasoning.encrypted", "data": "d"}]}),
        ([Thinking("t", "s", signed_by=AT_HOME), Text("x")],
         {"content": "x", "reasoning_content": "t",
          "reasoning_details": [{"type": "reasoning.text", "text": "t", "signature": "s"}]}),
    ])
    def test_an_assistants_turn(self, parts: list[Any], written: dict[str, Any]) -> None:
        assert write([Message("assistant", parts)]).body["messages"] == [{"role": "assistant"} | written]

    def test_what_only_another_model_thought_is_no_turn(self) -> None:
        sent = write([*HELLO, Message("assistant", [Thinking("t", "s", signed_by=ABROAD)])])
        assert len(sent.body["messages"]) == 1
        assert not sent.losses

    @pytest.mark.parametrize("dialect", [AT_HOME, ABROAD])
    def test_a_thought_signature_goes_back_only_to_a_model_that_signs(self, dialect: str) -> None:
        messages = [Message("assistant", [ToolCall("a", "f", signature="s", signed_by="gemini")])]
        signing = write(messages, facts("google/gemini-3-pro"), dialect).body["messages"][0]["tool_calls"][0]
        assert signing["extra_content"] == {"google": {"thought_signature": "s"}}
        assert "extra_content" not in write(messages, facts("gpt-5"), dialect).body["messages"][0]["tool_calls"][0]

    def test_members_of_a_message_come_back(self) -> None:
        body = {"model": "m", "messages": [
            {"role": "user", "content": "", "weight": 1},
            {"role": "assistant", "content": "x", "audio": {"id": "a"}, "prefix": True},
            {"role": "tool", "tool_call_id": "t", "content": "y", "status": "done"}]}
        assert CHAT.write_request(CHAT.read_request(body), Facts()).body["messages"] == body["messages"]

    def test_paths_of_losses_do_not_count_a_system_prompt_that_is_elsewhere(self) -> None:
        native = Native(ABROAD, {"type": "server_tool_use"})
        sent = write([Message("system", [Text("s"), native]), *HELLO, Message("assistant", [Text("x"), native])],
                     apart=1)
        assert lost(sent) == ["system.content[1]", "messages[1].content[1]"]
        assert ABROAD in sent.losses[0].why

    def test_media_have_no_place_in_an_assistants_turn(self) -> None:
        sent = write([Message("assistant", [Media("image", "image/png", "AA=="), Text("x")])], dialect=AT_HOME)
        assert sent.body["messages"] == [{"role": "assistant", "content": "x"}]
        assert lost(sent) == ["messages[0].content[0]"]


class TestMedia:
    @pytest.mark.parametrize(("part", "written"), [
        (Native(AT_HOME, {"type": "video_url", "video_url": {}}), [{"type": "video_url", "video_url": {}}]),
        (Refusal("no"), "no"), (Native(AT_HOME, {"no": "type"}), ""),
    ])
    def test_other_parts_of_a_result_are_written(self, part: Any, written: Any) -> None:
        sent = write([Message("user", [ToolResult("a", [part])])])
        assert sent.body["messages"] == [{"role": "tool", "tool_call_id": "a", "content": written}]

    @pytest.mark.parametrize(("media", "written"), [
        (Media("image", "image/webp", "AA==", detail="low"),
         {"type": "image_url", "image_url": {"url": "data:image/webp;base64,AA==", "detail": "low"}}),
        (Media("image", url="https://a.test/b"), {"type": "image_url", "image_url": {"url": "https://a.test/b"}}),
        (Media("audio", "audio/x-wav", "AA=="),
         {"type": "input_audio", "input_audio": {"data": "AA==", "format": "wav"}}),
        (Media("audio", "audio/mpeg", "AA=="),
         {"type": "input_audio", "input_audio": {"data": "AA==", "format": "mp3"}}),
        (Media("document", "application/pdf", "AA=="),
         {"type": "file", "file": {"filename": "document.pdf", "file_data": "data:application/pdf;base64,AA=="}}),
        (Media("document", "text/plain", "w6k="), {"type": "text", "text": "é"}),
    ])
    def test_media_are_written(self, media: Media, written: dict[str, Any], validate: Validate) -> None:
        sent = write([Message("user", [Text("x"), media])])
        assert sent.body["messages"][0]["content"][1] == written
        validate("chat", sent.body)

    @pytest.mark.parametrize("media", [
        Media("document", file_id="file_011"), Media("image", file_id="file-1"),
        Media("document", url="https://a.test/b"),
        Media("audio", "audio/flac", "AA=="), Media("audio", url="https://a.test/b"),
    ])
    def test_media_the_target_cannot_have_fail(self, media: Media) -> None:
        with pytest.raises(Failure) as caught:
            write([Message("user", [Text("x"), media])])
        assert (caught.value.code, caught.value.param) == ("unsupported_parameter", "messages[0].content[1]")

    def test_a_text_that_is_not_base64_fails(self) -> None:
        with pytest.raises(Failure) as caught:
            write([Message("user", [Media("document", "text/plain", "a")])])
        assert caught.value.code == "invalid_request"

    def test_openais_own_file_ids_are_valid_in_both_its_dialects(self) -> None:
        media = Message("user", [Media("document", file_id="file-1")])
        assert write([media], dialect="openai_responses").body["messages"][0]["content"] == [
            {"type": "file", "file": {"file_id": "file-1"}}]

    def test_a_detail_the_target_does_not_know_is_lost(self) -> None:
        sent = write([Message("user", [Media("image", url="https://a.test/b", detail="medium")])])
        assert sent.losses == [Loss("messages[0].content[0].detail", "'medium' is no detail the target knows")]


@pytest.mark.parametrize(("mark", "dialect", "written"), [
    (CacheMark("1h"), AT_HOME, {"cache_control": {"type": "ephemeral", "ttl": "1h"}}),
    (CacheMark(), AT_HOME, {"prompt_cache_breakpoint": {"mode": "explicit"}}),
    (CacheMark("30m"), ABROAD, {"prompt_cache_breakpoint": {"mode": "explicit", "ttl": "30m"}}),
    (CacheMark("5m"), ABROAD, {}),
    (CacheMark(), ABROAD, {}),
])
def test_cache_marks(mark: CacheMark, dialect: str, written: dict[str, Any]) -> None:
    sent = write([Message("user", [Text("a", mark), Text("b", mark)])], dialect=dialect)
    assert [part.keys() - {"type", "text"} for part in sent.body["messages"][0]["content"]] == [written.keys()] * 2
    assert lost(sent) == ([] if written else ["cache_control"])


def test_web_search_options_are_translated() -> None:
    sent = write(tools=[WebSearch({"search_context_size": "high",
                                   "user_location": {"type": "approximate", "city": "Rome"},
                                   "blocked_domains": ["x"]})])
    assert sent.body["web_search_options"] == {
        "search_context_size": "high", "user_location": {"type": "approximate", "approximate": {"city": "Rome"}}}
    assert lost(sent) == ["blocked_domains"]


def test_members_of_a_turn_are_looked_for_once_however_many_results_it_has(monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[Message] = []

    def members(message: Message) -> dict[str, Any]:
        looked.append(message)
        return {}

    monkeypatch.setattr("ailink_provider.dialects.openai_chat.messages._members", members)
    calls = [ToolCall(f"call_{number}", "f", "{}") for number in range(50)]
    results = Message("user", [ToolResult(call.id, [Text("x")]) for call in calls])
    assert len(write([Message("assistant", [*calls]), results]).body["messages"]) == 51
    assert looked.count(results) == 1

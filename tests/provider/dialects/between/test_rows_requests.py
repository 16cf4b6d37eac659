"""What went wrong in gateways between wire formats: requests. The list of rows is in ``test_rows``."""

import json
from typing import Any

import pytest

from ailink_provider.catalog import facts
from ailink_provider.errors import Failure
from ailink_provider.registry import dialects

MODELS = ("gpt-4o", "gpt-5", "claude-3-5-sonnet-20241022", "claude-sonnet-4-5", "claude-opus-5-5", "gemini-2.5-flash",
          "gemini-3-pro-preview")
NAMES = ("openai_chat", "anthropic_messages", "gemini")
PNG, JPG, PDF = "iVBORw0KGgoAAAANSUhEUgAAAAE=", "/9j/4AAQSkZJRgABAQ==", "JVBERi0xLjcK"
NO_ARGUMENTS = {"type": "object", "properties": {}}


def openai_turn(*calls: tuple[str, str], content: Any = None, **members: Any) -> dict[str, Any]:
    """The assistant's turn that calls tools, each an id and a name."""
    return {"role": "assistant", "content": content, **members, "tool_calls": [
        {"id": key, "type": "function", "function": {"name": name, "arguments": "{}"}} for key, name in calls]}


def loop(inbound: str, results: list[Any], tool: str = "look") -> dict[str, Any]:
    """A conversation in which ``tool`` was called once for each result; a result is a text or the client's content."""
    ids = [f"call_{number}" for number in range(len(results))]
    if inbound == "openai_chat":
        answers = [{"role": "tool", "tool_call_id": key, "content": result}
                   for key, result in zip(ids, results, strict=True)]
        asked = [{"role": "user", "content": "Look."}, openai_turn(*((key, tool) for key in ids))]
        return {"messages": [*asked, *answers], "tools": [{"type": "function", "function": {"name": tool}}]}
    if inbound == "anthropic_messages":
        calls = [{"type": "tool_use", "id": key, "name": tool, "input": {}} for key in ids]
        blocks = [{"type": "tool_result", "tool_use_id": key, "content": result}
                  for key, result in zip(ids, results, strict=True)]
        return {"messages": [{"role": "user", "content": "Look."}, {"role": "assistant", "content": calls},
                             {"role": "user", "content": blocks}],
                "tools": [{"name": tool, "input_schema": NO_ARGUMENTS}]}
    parts = [{"functionCall": {"name": tool, "args": {}}} for _ in ids]
    said = [({"output": "see"}, result) if isinstance(result, list) else ({"output": result}, []) for result in results]
    responses = [{"functionResponse": {"name": tool, "response": response, "parts": shown}} for response, shown in said]
    return {"contents": [{"role": "user", "parts": [{"text": "Look."}]}, {"role": "model", "parts": parts},
                         {"role": "user", "parts": responses}],
            "tools": [{"functionDeclarations": [{"name": tool}]}]}


SHOWN = {
    "openai_chat": [{"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}},
                    {"type": "file", "file": {"filename": "a.pdf", "file_data": f"data:application/pdf;base64,{PDF}"}}],
    "anthropic_messages": [
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}},
        {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": PDF}}],
    "gemini": [{"inlineData": {"mimeType": "image/png", "data": PNG}},
               {"inlineData": {"mimeType": "application/pdf", "data": PDF}}],
}


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("inbound", NAMES)
def test_row_04_tool_result_with_image_or_pdf(ask: Any, breaches: Any, inbound: str, model: str) -> None:
    sent = ask(inbound, loop(inbound, [SHOWN[inbound], "text"]), model)
    outbound = next(name for name in NAMES if model[:3] in {"openai_chat": "gpt", "gemini": "gem"}.get(name, "cla"))
    assert breaches(outbound, model, sent.body) == []
    if outbound == "openai_chat":
        *_, first, second, shown = sent.body["messages"]
        assert [first["role"], second["role"], shown["role"]] == ["tool", "tool", "user"]
        place = shown["content"]
    elif outbound == "anthropic_messages":
        place = sent.body["messages"][-1]["content"][0]["content"]
    elif model == "gemini-3-pro-preview":
        place = sent.body["contents"][-1]["parts"][0]["functionResponse"]["parts"]
    else:
        place = sent.body["contents"][-1]["parts"][2:]
    assert [data in json.dumps(part) for data, part in zip((PNG, PDF), place[-2:], strict=True)] == [True, True]


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize(("inbound", "body"), [
    ("openai_chat", {"messages": [
        {"role": "system", "content": ""}, {"role": "user", "content": [{"type": "text", "text": " "},
                                                                        {"type": "text", "text": "Hi"}]},
        openai_turn(("a", "look"), content=""), {"role": "tool", "tool_call_id": "a", "content": ""},
        openai_turn(("b", "look"), content=None), {"role": "tool", "tool_call_id": "b", "content": " "},
        {"role": "user", "content": "Go on."}], "tools": [{"type": "function", "function": {"name": "look"}}]}),
    ("anthropic_messages", {"messages": [
        {"role": "user", "content": [{"type": "text", "text": "\n"}, {"type": "text", "text": "Hi"}]},
        {"role": "assistant", "content": [{"type": "text", "text": ""},
                                          {"type": "tool_use", "id": "a", "name": "look", "input": {}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "a"}, {"type": "text", "text": " "}]},
        {"role": "assistant", "content": [{"type": "text", "text": "Yes."}]}, {"role": "user", "content": "Go on."}],
        "tools": [{"name": "look", "input_schema": NO_ARGUMENTS}]}),
    ("gemini", {"contents": [
        {"role": "user", "parts": [{"text": ""}, {"text": "Hi"}]},
        {"role": "model", "parts": [{"text": ""}, {"functionCall": {"name": "look"}}]},
        {"role": "user", "parts": [{"functionResponse": {"name": "look", "response": {}}}]},
        {"role": "model", "parts": [{"text": "Yes."}]}, {"role": "user", "parts": [{"text": "Go on."}]}],
        "tools": [{"functionDeclarations": [{"name": "look"}]}]}),
])
def test_row_05_empty_text(ask: Any, breaches: Any, inbound: str, body: Any, model: str) -> None:
    sent = ask(inbound, body, model)
    outbound = {"gpt": "openai_chat", "cla": "anthropic_messages", "gem": "gemini"}[model[:3]]
    assert breaches(outbound, model, sent.body) == []
    assert "no content" not in json.dumps(sent.body)  # a filler would be taken for what was said
    if outbound == "openai_chat":
        turn = next(message for message in sent.body["messages"] if message.get("tool_calls"))
        assert turn["content"] in ("", None)


@pytest.mark.parametrize("model", MODELS[2:])
def test_row_06_one_turn_for_one_role(ask: Any, breaches: Any, model: str) -> None:
    body = loop("openai_chat", ["sun", "rain"])
    *asked, first, second = body["messages"]
    body["messages"] = [{"role": "user", "content": "One."}, *asked, first, {"role": "user", "content": "Two."}, second,
                        {"role": "user", "content": "Three."}]
    sent = ask("openai_chat", body, model)
    outbound = "gemini" if model.startswith("gemini") else "anthropic_messages"
    assert breaches(outbound, model, sent.body) == []
    turns = sent.body.get("contents") or sent.body["messages"]
    assert [turn["role"] for turn in turns] == ["user", "model" if outbound == "gemini" else "assistant", "user"]
    last = turns[-1].get("parts") or turns[-1]["content"]
    kinds = [part.get("type") or next(iter(part)) for part in last]
    result = "functionResponse" if outbound == "gemini" else "tool_result"
    assert kinds == [result, result, "text", "text"]


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("inbound", NAMES[:2])
def test_row_07_system_in_mid_conversation(ask: Any, breaches: Any, inbound: str, model: str) -> None:
    messages = [{"role": "user", "content": "Hi"}, {"role": "system", "content": "Be brief."},
                {"role": "assistant", "content": "Yes?"}, {"role": "user", "content": "Go on."}]
    sent = ask(inbound, {"messages": messages}, model)
    outbound = {"gpt": "openai_chat", "cla": "anthropic_messages", "gem": "gemini"}[model[:3]]
    assert breaches(outbound, model, sent.body) == []
    written = json.dumps(sent.body)
    assert written.index("Hi") < written.index("Be brief.") < written.index("Yes?")
    if outbound == "openai_chat" or model == "claude-opus-5-5":
        assert [turn["role"] for turn in sent.body["messages"]] == ["user", "system", "assistant", "user"]
        assert sent.losses == []
    else:
        assert "<system>" in written
        assert [loss.field for loss in sent.losses] in (["messages[1].role"], ["messages[1]"])


ODD_IDS = ["Bash:0", "Bash.0", "functions.x:0", "x" * 90, "x" * 91, "call|1", "", "ü"]


@pytest.mark.parametrize("model", MODELS)
def test_row_08_ids_of_other_providers(ask: Any, breaches: Any, model: str) -> None:
    turn = openai_turn(*((key, "look") for key in ODD_IDS))
    results = [{"role": "tool", "tool_call_id": key, "content": f"r{number}"} for number, key in enumerate(ODD_IDS)]
    sent = ask("openai_chat", {"messages": [{"role": "user", "content": "Hi"}, turn, *results],
                               "tools": [{"type": "function", "function": {"name": "look"}}]}, model)
    outbound = {"gpt": "openai_chat", "cla": "anthropic_messages", "gem": "gemini"}[model[:3]]
    assert breaches(outbound, model, sent.body) == []
    if outbound == "openai_chat":
        calls = [call["id"] for call in sent.body["messages"][1]["tool_calls"]]
        answers = [(message["tool_call_id"], message["content"]) for message in sent.body["messages"][2:]]
    elif outbound == "anthropic_messages":
        calls = [block["id"] for block in sent.body["messages"][1]["content"]]
        answers = [(block["tool_use_id"], block["content"]) for block in sent.body["messages"][2]["content"]]
    else:
        calls = [part["functionCall"]["id"] for part in sent.body["contents"][1]["parts"]]
        answers = [(part["functionResponse"]["id"], part["functionResponse"]["response"]["output"])
                   for part in sent.body["contents"][2]["parts"]]
    assert answers == [(key, f"r{number}") for number, key in enumerate(calls)]
    assert len(set(calls)) == len(ODD_IDS)


@pytest.mark.parametrize("inbound", NAMES[:2])
def test_row_09_the_name_of_a_function_response(ask: Any, inbound: str) -> None:
    sent = ask(inbound, loop(inbound, ["sun", "rain"], tool="see" if inbound == "openai_chat" else "look"),
               "gemini-2.5-flash")
    parts = sent.body["contents"][-1]["parts"]
    tool = "see" if inbound == "openai_chat" else "look"
    assert [(part["functionResponse"]["name"], part["functionResponse"]["response"]["output"]) for part in parts] == [
        (tool, "sun"), (tool, "rain")]


@pytest.mark.parametrize("change", ["no answer", "one missing", "an orphan", "a stranger", "twice"])
def test_row_10_as_many_responses_as_calls(ask: Any, change: str) -> None:
    body = loop("openai_chat", ["sun", "rain"])
    messages = body["messages"]
    if change == "no answer":
        messages[2:] = [{"role": "user", "content": "Never mind."}]
    elif change == "one missing":
        messages.pop()
    elif change == "an orphan":
        messages.pop(1)
    elif change == "a stranger":
        messages.append({"role": "tool", "tool_call_id": "other", "name": "look", "content": "?"})
    else:
        messages.append(messages[-1])
    with pytest.raises(Failure) as caught:
        ask("openai_chat", body, "gemini-2.5-flash")
    assert (caught.value.code, caught.value.param.startswith("messages")) == ("invalid_request", True)


@pytest.mark.parametrize("model", ["gemini-1.5-pro", "gemini-2.5-flash", "gemini-3-pro-preview"])
def test_row_13_json_schema_to_gemini(ask: Any, breaches: Any, model: str) -> None:
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema", "title": "Query", "type": "object",
        "additionalProperties": False, "required": ["place"],
        "properties": {"place": {"$ref": "#/$defs/place"}, "days": {"anyOf": [{"type": "integer"}, {"type": "null"}],
                                                                    "default": None, "title": "Days"}},
        "$defs": {"place": {"type": "object", "properties": {"city": {"type": "string", "const": "Paris"}},
                            "additionalProperties": False}},
    }
    body = loop("openai_chat", ['{"$ref": "#/$defs/place"}'])
    body["tools"][0]["function"]["parameters"] = schema
    sent = ask("openai_chat", body, model)
    assert breaches("gemini", model, sent.body) == []
    declaration = sent.body["tools"][0]["functionDeclarations"][0]
    if model == "gemini-1.5-pro":
        assert declaration["parameters"] == {
            "type": "OBJECT", "required": ["place"],
            "properties": {"place": {"type": "OBJECT", "properties": {"city": {"type": "STRING", "enum": ["Paris"]}}},
                           "days": {"type": "INTEGER", "nullable": True}}}
    else:
        assert declaration["parametersJsonSchema"] == schema
    answer = sent.body["contents"][-1]["parts"][0]["functionResponse"]["response"]
    assert answer == {"output": '{"$ref": "#/$defs/place"}'}  # Gemini would follow a reference in an object


MARK = {"type": "ephemeral"}
MARKED = {
    "system": [{"type": "text", "text": "s", "cache_control": MARK | {"ttl": "1h"}}],
    "messages": [
        {"role": "user", "content": [{"type": "text", "text": "u", "cache_control": MARK}]},
        {"role": "assistant", "content": [
            {"type": "tool_use", "id": "a", "name": "look", "input": {}, "cache_control": MARK}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "a", "content": "r"}]}],
    "tools": [{"name": "look", "input_schema": NO_ARGUMENTS, "cache_control": MARK | {"ttl": "1h"}}],
}


def test_row_14_cache_marks(ask: Any, breaches: Any) -> None:
    sent = ask("anthropic_messages", MARKED, "claude-sonnet-4-5")
    assert {key: sent.body[key] for key in MARKED} == MARKED
    assert sent.losses == []
    for model, outbound in (("gpt-5", "openai_chat"), ("gemini-2.5-flash", "gemini")):
        sent = ask("anthropic_messages", MARKED, model)
        assert breaches(outbound, model, sent.body) == []
        assert [loss.field for loss in sent.losses] == ["cache_control"]


@pytest.mark.parametrize("ttl", [None, "5m", "1h", "30m", "12h"])
def test_row_14_cache_marks_of_another_vendor(ask: Any, breaches: Any, ttl: str | None) -> None:
    mark = {"prompt_cache_breakpoint": {"mode": "explicit"} | ({"ttl": ttl} if ttl else {})}
    texts = [{"type": "text", "text": str(number), **mark} for number in range(6)]
    for model in MODELS:
        outbound = {"gpt": "openai_chat", "cla": "anthropic_messages", "gem": "gemini"}[model[:3]]
        sent = ask("openai_chat", {"messages": [{"role": "system", "content": texts[:2]},
                                                {"role": "user", "content": texts[2:]}]}, model)
        written = json.dumps(sent.body)
        if outbound == "anthropic_messages":
            assert breaches(outbound, model, sent.body) == []
            assert (written.count("cache_control"), "cache_control" in str(sent.body["system"])) == (4, True)
            assert any(loss.field == "cache_control.ttl" for loss in sent.losses) == (ttl in ("30m", "12h"))
        elif outbound == "gemini":
            assert ("cache" in written, [loss.field for loss in sent.losses]) == (False, ["cache_control"])
        else:
            assert (written.count("prompt_cache_breakpoint") + written.count("cache_control"), sent.losses) == (6, [])


@pytest.mark.parametrize(("model", "asked", "expected"), [
    ("gpt-4o", {"temperature": 0.5, "top_p": 0.9}, {"temperature": 0.5, "top_p": 0.9}),
    ("gpt-5", {"temperature": 0.5, "top_p": 0.9, "presence_penalty": 0.5, "logprobs": True}, {}),
    ("claude-3-5-sonnet-20241022", {"temperature": 1.5, "top_p": 0.9}, {"temperature": 1, "top_p": 0.9}),
    ("claude-sonnet-4-5", {"temperature": 0.5, "top_p": 0.9}, {"temperature": 0.5}),
    ("claude-sonnet-4-5", {"temperature": 0.5, "reasoning_effort": "low"}, {}),
    ("claude-opus-5-5", {"temperature": 0.5, "top_p": 0.9}, {}),
    ("gemini-2.5-flash", {"temperature": 1.5, "top_p": 0.9}, {"temperature": 1.5, "topP": 0.9}),
])
def test_row_26_sampling_by_model(ask: Any, breaches: Any, model: str, asked: Any, expected: Any) -> None:
    sent = ask("openai_chat", asked, model)
    outbound = {"gpt": "openai_chat", "cla": "anthropic_messages", "gem": "gemini"}[model[:3]]
    assert breaches(outbound, model, sent.body) == []
    place = sent.body.get("generationConfig", {}) if outbound == "gemini" else sent.body
    names = ("temperature", "top_p", "topP", "presence_penalty", "logprobs")
    assert {name: place[name] for name in names if name in place} == expected
    same = {"topP": "top_p"}
    changed = {name for name in asked if name != "reasoning_effort"} - {
        same.get(name, name) for name, value in expected.items() if asked.get(same.get(name, name)) == value}
    assert {loss.field for loss in sent.losses} == changed


def test_row_30_claude_code_counts_tokens(given: Any) -> None:
    """The counting endpoint exists, needs no limit, takes what the messages endpoint takes, and other vendors' counts
    answer it; the headers by which the client asks for betas travel on."""
    dialect = dialects()["anthropic_messages"]
    counting = dialect.operations["count_tokens"]
    assert counting.path("claude-opus-5-5", False) == "/v1/messages/count_tokens"
    assert {"anthropic-beta", "anthropic-version"} <= set(dialect.request_headers)
    body = {key: value for key, value in given("rich.anthropic_messages.json").items() if key != "max_tokens"}
    chat = counting.read_request(body, "claude-opus-5-5")
    assert "max_tokens" not in counting.write_request(chat, facts("claude-opus-5-5")).body
    gemini = dialects()["gemini"].operations["count_tokens"]
    asked = gemini.write_request(chat, facts("gemini-3-pro-preview"))
    assert set(asked.body["generateContentRequest"]) >= {"contents", "tools", "systemInstruction"}
    counted = gemini.read_reply({"totalTokens": 31}, asked)
    assert counting.write_reply(counted, chat) == {"input_tokens": 31}


@pytest.mark.parametrize(("model", "mode", "choice"), [
    ("claude-sonnet-4-5", "auto", {"type": "auto", "disable_parallel_tool_use": True}),
    ("claude-sonnet-4-5", "required", {"type": "any", "disable_parallel_tool_use": True}),
    ("claude-opus-5-5", "required", {"type": "auto", "disable_parallel_tool_use": True}),
])
def test_row_32_allowed_tools(ask: Any, breaches: Any, model: str, mode: str, choice: Any) -> None:
    tools = [{"type": "function", "function": {"name": name}} for name in "abc"]
    allowed = {"mode": mode, "tools": [tools[0], tools[2]]}
    sent = ask("openai_chat", {"tools": tools, "parallel_tool_calls": False,
                               "tool_choice": {"type": "allowed_tools", "allowed_tools": allowed}}, model)
    assert breaches("anthropic_messages", model, sent.body) == []
    assert ([tool["name"] for tool in sent.body["tools"]], sent.body["tool_choice"]) == (["a", "c"], choice)
    assert [loss.field for loss in sent.losses] == ["tool_choice"] * (model == "claude-opus-5-5")

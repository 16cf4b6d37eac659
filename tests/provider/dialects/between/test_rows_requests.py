"""What went wrong in gateways between wire formats: requests. The list of rows is in ``test_rows``."""

import json
from typing import Any

import pytest

from ailink_provider.catalog import facts
from ailink_provider.errors import Failure
from ailink_provider.registry import dialects

from .conftest import INBOUND, TARGETS

# The models of the three formats that the others descend from; what is said of all is said of ``TARGETS``.
MODELS = ("gpt-4o", "gpt-5", "claude-3-5-sonnet-20241022", "claude-sonnet-4-5", "claude-opus-5-5", "gemini-2.5-flash",
          "gemini-3-pro-preview")
NAMES = ("openai_chat", "anthropic_messages", "gemini")
EVERYWHERE = pytest.mark.parametrize(("outbound", "model"), TARGETS)
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
    if inbound == "openai_responses":
        items = [{"type": "function_call", "call_id": key, "name": tool, "arguments": "{}"} for key in ids]
        outputs = [{"type": "function_call_output", "call_id": key, "output": result}
                   for key, result in zip(ids, results, strict=True)]
        return {"input": [{"role": "user", "content": "Look."}, *items, *outputs],
                "tools": [{"type": "function", "name": tool, "parameters": NO_ARGUMENTS, "strict": False}]}
    parts = [{"functionCall": {"name": tool, "args": {}}} for _ in ids]
    said = [({"output": "see"}, result) if isinstance(result, list) else ({"output": result}, []) for result in results]
    responses = [{"functionResponse": {"name": tool, "response": response, "parts": shown}} for response, shown in said]
    return {"contents": [{"role": "user", "parts": [{"text": "Look."}]}, {"role": "model", "parts": parts},
                         {"role": "user", "parts": responses}],
            "tools": [{"functionDeclarations": [{"name": tool}]}]}


SHOWN = {
    "openai_responses": [
        {"type": "input_image", "image_url": f"data:image/png;base64,{PNG}", "detail": "auto"},
        {"type": "input_file", "filename": "a.pdf", "file_data": f"data:application/pdf;base64,{PDF}"}],
    "openai_chat": [{"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}},
                    {"type": "file", "file": {"filename": "a.pdf", "file_data": f"data:application/pdf;base64,{PDF}"}}],
    "anthropic_messages": [
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}},
        {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": PDF}}],
    "gemini": [{"inlineData": {"mimeType": "image/png", "data": PNG}},
               {"inlineData": {"mimeType": "application/pdf", "data": PDF}}],
}


def shown_by(outbound: str, model: str, body: dict[str, Any]) -> list[Any]:
    """Return where the media of a result stand in a request, and what stands before them."""
    if outbound == "openai_chat":
        *_, first, second, shown = body["messages"]
        assert [first["role"], second["role"], shown["role"]] == ["tool", "tool", "user"]
        return list(shown["content"])
    if outbound == "openai_responses":
        return list(body["input"][-2]["output"])
    if outbound == "anthropic_messages":
        return list(body["messages"][-1]["content"][0]["content"])
    if outbound == "bedrock_converse":
        return list(body["messages"][-1]["content"][0]["toolResult"]["content"])
    if model == "gemini-3-pro-preview":
        return list(body["contents"][-1]["parts"][0]["functionResponse"]["parts"])
    return list(body["contents"][-1]["parts"][2:])


@EVERYWHERE
@pytest.mark.parametrize("inbound", INBOUND)
def test_row_04_tool_result_with_image_or_pdf(
        ask: Any, breaches: Any, inbound: str, outbound: str, model: str) -> None:
    if outbound == "ollama":  # which takes images alone, and those beside a result: what it cannot take, it is not sent
        with pytest.raises(Failure, match="document"):
            ask(inbound, loop(inbound, [SHOWN[inbound], "text"]), model, outbound)
        sent = ask(inbound, loop(inbound, [SHOWN[inbound][:1], "text"]), model, outbound)
        assert [(turn["role"], turn.get("images")) for turn in sent.body["messages"]][-3:] == [
            ("tool", None), ("tool", None), ("user", [PNG])]
    else:
        sent = ask(inbound, loop(inbound, [SHOWN[inbound], "text"]), model, outbound)
        place = shown_by(outbound, model, sent.body)
        assert [data in json.dumps(part) for data, part in zip((PNG, PDF), place[-2:], strict=True)] == [True, True]
    assert breaches(outbound, model, sent.body) == []


@EVERYWHERE
@pytest.mark.parametrize(("inbound", "body"), [
    ("openai_responses", {"instructions": "", "input": [
        {"role": "user", "content": [{"type": "input_text", "text": " "}, {"type": "input_text", "text": "Hi"}]},
        {"role": "assistant", "content": [{"type": "output_text", "text": ""}]},
        {"type": "function_call", "call_id": "a", "name": "look", "arguments": ""},
        {"type": "function_call_output", "call_id": "a", "output": ""}, {"role": "user", "content": "Go on."}],
        "tools": [{"type": "function", "name": "look", "parameters": NO_ARGUMENTS, "strict": False}]}),
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
def test_row_05_empty_text(ask: Any, breaches: Any, inbound: str, body: Any, outbound: str, model: str) -> None:
    sent = ask(inbound, body, model, outbound)
    assert breaches(outbound, model, sent.body) == []
    assert "no content" not in json.dumps(sent.body)  # a filler would be taken for what was said
    if outbound == "openai_chat":
        turn = next(message for message in sent.body["messages"] if message.get("tool_calls"))
        assert turn["content"] in ("", None)


@pytest.mark.parametrize(("outbound", "model"), [
    row for row in TARGETS if row[0] in ("anthropic_messages", "gemini", "bedrock_converse")])
def test_row_06_one_turn_for_one_role(ask: Any, breaches: Any, outbound: str, model: str) -> None:
    body = loop("openai_chat", ["sun", "rain"])
    *asked, first, second = body["messages"]
    body["messages"] = [{"role": "user", "content": "One."}, *asked, first, {"role": "user", "content": "Two."}, second,
                        {"role": "user", "content": "Three."}]
    sent = ask("openai_chat", body, model, outbound)
    assert breaches(outbound, model, sent.body) == []
    turns = sent.body.get("contents") or sent.body["messages"]
    assert [turn["role"] for turn in turns] == ["user", "model" if outbound == "gemini" else "assistant", "user"]
    last = turns[-1].get("parts") or turns[-1]["content"]
    kinds = [part.get("type") or next(iter(part)) for part in last]
    result = {"gemini": "functionResponse", "bedrock_converse": "toolResult"}.get(outbound, "tool_result")
    assert kinds == [result, result, "text", "text"]


@EVERYWHERE
@pytest.mark.parametrize("inbound", INBOUND[:3])
def test_row_07_system_in_mid_conversation(
        ask: Any, breaches: Any, inbound: str, outbound: str, model: str) -> None:
    messages = [{"role": "user", "content": "Hi"}, {"role": "system", "content": "Be brief."},
                {"role": "assistant", "content": "Yes?"}, {"role": "user", "content": "Go on."}]
    sent = ask(inbound, {"input" if inbound == "openai_responses" else "messages": messages}, model, outbound)
    assert breaches(outbound, model, sent.body) == []
    written = json.dumps(sent.body)
    assert written.index("Hi") < written.index("Be brief.") < written.index("Yes?")
    if outbound in ("openai_chat", "openai_responses", "ollama") or "claude-opus-5-5" in model:
        turns = sent.body.get("input") or sent.body["messages"]
        assert [turn["role"] for turn in turns] == ["user", "system", "assistant", "user"]
        assert sent.losses == []
    else:
        assert "<system>" in written
        assert [loss.field for loss in sent.losses] in (["messages[1].role"], ["messages[1]"])


ODD_IDS = ["Bash:0", "Bash.0", "functions.x:0", "x" * 90, "x" * 91, "call|1", "", "ü"]


def calls_and_answers(outbound: str, body: dict[str, Any]) -> tuple[list[str], list[tuple[str, str]]]:
    """Return the ids of the calls of a request, and those of the results with what they say."""
    if outbound == "openai_chat":
        return ([call["id"] for call in body["messages"][1]["tool_calls"]],
                [(message["tool_call_id"], message["content"]) for message in body["messages"][2:]])
    if outbound == "openai_responses":
        items = body["input"][1:]
        return ([item["call_id"] for item in items if item["type"] == "function_call"],
                [(item["call_id"], item["output"]) for item in items if item["type"] == "function_call_output"])
    if outbound == "anthropic_messages":
        return ([block["id"] for block in body["messages"][1]["content"]],
                [(block["tool_use_id"], block["content"]) for block in body["messages"][2]["content"]])
    if outbound == "bedrock_converse":
        results = [block["toolResult"] for block in body["messages"][2]["content"]]
        return ([block["toolUse"]["toolUseId"] for block in body["messages"][1]["content"]],
                [(result["toolUseId"], result["content"][0]["text"]) for result in results])
    responses = [part["functionResponse"] for part in body["contents"][2]["parts"]]
    return ([part["functionCall"]["id"] for part in body["contents"][1]["parts"]],
            [(response["id"], response["response"]["output"]) for response in responses])


@EVERYWHERE
def test_row_08_ids_of_other_providers(ask: Any, breaches: Any, outbound: str, model: str) -> None:
    turn = openai_turn(*((key, "look") for key in ODD_IDS))
    results = [{"role": "tool", "tool_call_id": key, "content": f"r{number}"} for number, key in enumerate(ODD_IDS)]
    sent = ask("openai_chat", {"messages": [{"role": "user", "content": "Hi"}, turn, *results],
                               "tools": [{"type": "function", "function": {"name": "look"}}]}, model, outbound)
    assert breaches(outbound, model, sent.body) == []
    if outbound == "ollama":  # which knows results by their order
        said = [message["content"] for message in sent.body["messages"] if message["role"] == "tool"]
        assert said == [f"r{number}" for number in range(len(ODD_IDS))]
        return
    calls, answers = calls_and_answers(outbound, sent.body)
    assert answers == [(key, f"r{number}") for number, key in enumerate(calls)]
    assert len(set(calls)) == len(ODD_IDS)


@pytest.mark.parametrize("inbound", INBOUND[:3])
def test_row_09_the_name_of_a_function_response(ask: Any, inbound: str) -> None:
    tool = "see" if inbound == "openai_chat" else "look"
    body = loop(inbound, ["sun", "rain"], tool)
    told = ask(inbound, body, "qwen3:8b", "ollama").body["messages"][-2:]
    assert [(message["tool_name"], message["content"]) for message in told] == [(tool, "sun"), (tool, "rain")]
    parts = ask(inbound, body, "gemini-2.5-flash").body["contents"][-1]["parts"]
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

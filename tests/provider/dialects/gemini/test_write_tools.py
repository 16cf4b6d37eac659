"""Tools and tool choice, into what Google's own SDK accepts."""

from collections.abc import Callable
from typing import Any

import pytest

from ailink_provider.catalog import Facts
from ailink_provider.chat import Chat, Message, Native, Tool, ToolCall, ToolChoice, ToolResult, WebSearch
from ailink_provider.dialects import Sent
from ailink_provider.errors import Failure

Write = Callable[[Chat, Facts], Sent]
MakeChat = Callable[..., Chat]


def lost(sent: Sent) -> list[str]:
    return [loss.field for loss in sent.losses]


SCHEMA = {
    "type": "object",
    "properties": {"x": {"$ref": "#/$defs/X"}},
    "$defs": {"X": {"type": "integer"}},
    "additionalProperties": False,
}


def test_tools_are_one_list_with_json_schema(write: Write, chat: MakeChat, gemini3: Facts) -> None:
    sent = write(
        chat(
            tools=[
                Tool("f", "F", SCHEMA, strict=True),
                WebSearch({"search_context_size": "low"}),
                Tool("g"),
                Native("openai_responses", {"type": "computer"}),
            ],
            parallel_tool_calls=False,
        ),
        gemini3,
    )
    assert sent.body["tools"] == [
        {"functionDeclarations": [{"name": "f", "description": "F", "parametersJsonSchema": SCHEMA}, {"name": "g"}]},
        {"googleSearch": {}},
    ]
    assert lost(sent) == ["tools[1]", "tools[3]", "tools[].strict", "parallel_tool_calls"]


def test_older_models_get_openapi_without_references(write: Write, chat: MakeChat, old: Facts) -> None:
    schema = {**SCHEMA, "properties": {**SCHEMA["properties"], "y": {"type": "string", "format": "uuid"}}}  # type: ignore[dict-item]
    sent = write(chat(tools=[Tool("f", "F", schema), Tool("g", "G", {"type": "object", "properties": {}})]), old)
    assert sent.body["tools"][0]["functionDeclarations"] == [
        {
            "name": "f",
            "description": "F",
            "parameters": {"type": "OBJECT", "properties": {"x": {"type": "INTEGER"}, "y": {"type": "STRING"}}},
        },
        {"name": "g", "description": "G"},
    ]
    assert lost(sent) == ["tools[0].parameters.format"]


def test_names_that_gemini_refuses_are_replaced_and_restored(
    write: Write, chat: MakeChat, chats: Any, gemini3: Facts
) -> None:
    names = ["1st", "weather für/alle", "x" * 129, "ok.name:v-1"]
    sent = write(
        chat(
            Message("assistant", [ToolCall("a", names[0])]),
            Message("user", [ToolResult("a", [])]),
            tools=[Tool(name) for name in names],
            tool_choice=ToolChoice("required", names[:2]),
        ),
        gemini3,
    )
    wire = [declaration["name"] for declaration in sent.body["tools"][0]["functionDeclarations"]]
    assert wire[3] == names[3]
    assert [sent.names.get(name, name) for name in wire] == names
    assert sent.body["toolConfig"]["functionCallingConfig"]["allowedFunctionNames"] == wire[:2]
    assert sent.body["contents"][0]["parts"][0]["functionCall"]["name"] == wire[0]
    assert sent.body["contents"][1]["parts"][0]["functionResponse"]["name"] == wire[0]
    reply = chats.read_reply({"candidates": [{"content": {"parts": [{"functionCall": {"name": wire[1]}}]}}]}, sent)
    assert reply.choices[0].parts[0].name == names[1]


def test_a_free_text_tool_is_a_function_of_one_string(write: Write, chat: MakeChat, chats: Any, gemini3: Facts) -> None:
    sent = write(
        chat(
            Message("assistant", [ToolCall("a", "code", "print(1)", custom=True)]),
            Message("user", [ToolResult("a", [])]),
            tools=[Tool("code", "Run it", custom=True, format={"type": "text"})],
        ),
        gemini3,
    )
    assert sent.custom == {"code"}
    assert sent.body["tools"][0]["functionDeclarations"][0]["parametersJsonSchema"]["required"] == ["input"]
    assert sent.body["contents"][0]["parts"][0]["functionCall"]["args"] == {"input": "print(1)"}
    reply = chats.read_reply(
        {
            "candidates": [
                {
                    "content": {
                        "parts": [{"functionCall": {"id": "b", "name": "code", "args": {"input": "print(2)"}}}]
                    },
                    "finishReason": "STOP",
                }
            ]
        },
        sent,
    )
    assert reply.choices[0].parts == [ToolCall("b", "code", "print(2)", custom=True)]


def test_a_grammar_is_refused(write: Write, chat: MakeChat, gemini3: Facts) -> None:
    with pytest.raises(Failure) as failure:
        write(chat(tools=[Tool("code", custom=True, format={"type": "grammar", "syntax": "lark"})]), gemini3)
    assert (failure.value.code, failure.value.param) == ("unsupported_parameter", "tools[0].format")


@pytest.mark.parametrize(
    ("choice", "config", "offered"),
    [
        (None, None, ["f", "g"]),
        (ToolChoice("auto"), None, ["f", "g"]),
        (ToolChoice("auto", ["g"]), None, ["g"]),
        (ToolChoice("none"), {"mode": "NONE"}, ["f", "g"]),
        (ToolChoice("required"), {"mode": "ANY"}, ["f", "g"]),
        (ToolChoice("required", ["g"]), {"mode": "ANY", "allowedFunctionNames": ["g"]}, ["f", "g"]),
    ],
)
def test_tool_choice(
    write: Write,
    chat: MakeChat,
    gemini3: Facts,
    choice: ToolChoice | None,
    config: dict[str, Any] | None,
    offered: list[str],
) -> None:
    body = write(chat(tools=[Tool("f"), Tool("g")], tool_choice=choice), gemini3).body
    assert body.get("toolConfig") == (config and {"functionCallingConfig": config})
    assert [declaration["name"] for declaration in body["tools"][0]["functionDeclarations"]] == offered


def test_a_choice_that_cannot_be_forced_is_a_loss(write: Write, chat: MakeChat) -> None:
    for model, tools in ((Facts(forced_tools=False), [Tool("f")]), (Facts(), [WebSearch()])):
        sent = write(chat(tools=tools, tool_choice=ToolChoice("required")), model)
        assert "toolConfig" not in sent.body
        assert lost(sent) == ["tool_choice"]

"""Requests of clients that speak Gemini, into canonical words."""

from typing import Any

import pytest

from ailink_provider.catalog import facts
from ailink_provider.chat import (
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
from ailink_provider.registry import dialects

HI = {"contents": [{"parts": [{"text": "Hi"}]}]}


def read(chats: Any, **fields: Any) -> Any:
    return chats.read_request({**HI, **fields}, "gemini-2.5-flash", False)


def test_model_and_stream_come_from_the_path(chats: Any) -> None:
    chat = chats.read_request(HI, "models/gemini-2.5-flash", True)
    assert (chat.model, chat.stream, chat.dialect) == ("gemini-2.5-flash", True, "gemini")
    assert chat.messages == [Message("user", [Text("Hi")])]


def test_every_field_has_two_spellings(chats: Any) -> None:
    camel = read(
        chats,
        systemInstruction={"parts": [{"text": "Be brief."}]},
        serviceTier="flex",
        generationConfig={
            "topK": 40.0,
            "maxOutputTokens": 9,
            "stopSequences": ["x"],
            "thinkingConfig": {"thinkingBudget": 512},
        },
    )
    snake = read(
        chats,
        system_instruction={"parts": {"text": "Be brief."}},
        service_tier="flex",
        generation_config={
            "top_k": 40,
            "max_output_tokens": 9,
            "stop_sequences": ["x"],
            "thinking_config": {"thinking_budget": 512},
        },
    )
    assert camel == snake
    assert camel.messages[0] == Message("system", [Text("Be brief.")])
    assert (camel.top_k, camel.max_tokens, camel.stop, camel.service_tier) == (40, 9, ["x"], "flex")


def test_one_field_in_both_spellings_is_refused(chats: Any) -> None:
    with pytest.raises(Failure) as failure:
        read(chats, generationConfig={"topK": 1, "top_k": 2})
    assert (failure.value.code, failure.value.param) == ("invalid_request", "generationConfig.topK")


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"thinkingLevel": "HIGH"}, Reasoning(effort="high")),
        ({"thinkingLevel": "THINKING_LEVEL_UNSPECIFIED"}, Reasoning()),
        ({"thinkingBudget": 0}, Reasoning(effort="none")),
        ({"thinkingBudget": -1, "includeThoughts": True}, Reasoning(budget=-1, visible=True)),
        ({}, None),
    ],
)
def test_thinking(chats: Any, config: dict[str, Any], expected: Reasoning | None) -> None:
    assert read(chats, generationConfig={"thinkingConfig": config}).reasoning == expected


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"responseMimeType": "text/plain"}, OutputFormat("text")),
        ({"responseMimeType": "application/json"}, OutputFormat("json")),
        (
            {"responseMimeType": "application/json", "responseJsonSchema": {"type": "object"}},
            OutputFormat("schema", schema={"type": "object"}),
        ),
        (
            {"responseMimeType": "application/json", "responseSchema": {"type": "STRING", "nullable": True}},
            OutputFormat("schema", schema={"type": ["string", "null"]}),
        ),
    ],
)
def test_output_format(chats: Any, config: dict[str, Any], expected: OutputFormat) -> None:
    chat = read(chats, generationConfig=config)
    assert (chat.output, chat.extras) == (expected, {})


def test_what_has_no_canonical_word_stays_under_its_path(chats: Any) -> None:
    chat = read(
        chats,
        safetySettings=[{"category": "X"}],
        labels={"a": "b"},
        cachedContent="cachedContents/1",
        generationConfig={"responseMimeType": "text/x.enum", "responseSchema": {"type": "STRING"}, "speechConfig": {}},
        toolConfig={"retrievalConfig": {"languageCode": "de"}, "functionCallingConfig": {"mode": "VALIDATED"}},
    )
    assert chat.extras == {
        "safetySettings": [{"category": "X"}],
        "labels": {"a": "b"},
        "cachedContent": "cachedContents/1",
        "generationConfig.responseMimeType": "text/x.enum",
        "generationConfig.responseSchema": {"type": "STRING"},
        "generationConfig.speechConfig": {},
        "toolConfig.retrievalConfig": {"languageCode": "de"},
        "toolConfig.functionCallingConfig.mode": "VALIDATED",
    }


def test_tools(chats: Any) -> None:
    chat = read(
        chats,
        tools=[
            {
                "functionDeclarations": [
                    {
                        "name": "a",
                        "description": "A",
                        "parameters": {"type": "OBJECT", "properties": {"x": {"type": "INTEGER"}}},
                    },
                    {"name": "b", "parametersJsonSchema": {"type": "object"}, "behavior": "BLOCKING"},
                ],
                "codeExecution": {},
            },
            {"google_search": {"timeRangeFilter": {}}},
        ],
        tool_config={"function_calling_config": {"mode": "any", "allowed_function_names": ["a"]}},
    )
    assert chat.tools == [
        Tool("a", "A", {"type": "object", "properties": {"x": {"type": "integer"}}}),
        Tool("b", None, {"type": "object"}, extra=Native("gemini", {"behavior": "BLOCKING"})),
        Native("gemini", {"codeExecution": {}}),
        WebSearch({"timeRangeFilter": {}}),
    ]
    assert chat.tool_choice == ToolChoice("required", ["a"])


def test_media(chats: Any) -> None:
    chat = read(
        chats,
        contents=[
            {
                "parts": [
                    {
                        "inlineData": {"mimeType": "image/png", "data": "iVBORw0KGgo-_w"},
                        "mediaResolution": {"level": "MEDIA_RESOLUTION_LOW"},
                    },
                    {"inline_data": {"mime_type": "application/pdf", "data": "JVBERi0="}},
                    {
                        "fileData": {
                            "fileUri": "https://generativelanguage.googleapis.com/v1beta/files/a",
                            "mimeType": "audio/mp3",
                        }
                    },
                    {"fileData": {"fileUri": "https://example.com/cat.JPG?size=1"}},
                    {"inlineData": {"mimeType": "video/mp4", "data": "AAAA"}, "videoMetadata": {"fps": 1}},
                    {"fileData": {"fileUri": "https://youtu.be/x"}},
                ]
            }
        ],
    )
    assert chat.messages[0].parts == [
        Media("image", "image/png", data="iVBORw0KGgo+/w==", detail="low"),
        Media("document", "application/pdf", data="JVBERi0="),
        Media("audio", "audio/mp3", file_id="https://generativelanguage.googleapis.com/v1beta/files/a"),
        Media("image", None, url="https://example.com/cat.JPG?size=1"),
        Native("gemini", {"inlineData": {"mimeType": "video/mp4", "data": "AAAA"}, "videoMetadata": {"fps": 1}}),
        Native("gemini", {"fileData": {"fileUri": "https://youtu.be/x"}}),
    ]


def test_a_turn_that_was_streamed_is_one_message_again(chats: Any) -> None:
    chat = read(
        chats,
        contents=[
            {"role": "user", "parts": [{"text": "Add"}]},
            {"role": "model", "parts": [{"text": "Let ", "thought": True}]},
            {"role": "model", "parts": [{"text": "me", "thought": True, "thoughtSignature": "VGhp"}]},
            {"role": "model", "parts": [{"text": "It "}]},
            {"role": "model", "parts": [{"text": "is "}, {"text": "4", "thoughtSignature": "Rm91"}]},
            {"role": "model", "parts": [{"text": "."}]},
            {
                "role": "model",
                "parts": [{"functionCall": {"id": "c", "name": "f", "args": {}}, "thoughtSignature": "Q2Fs"}],
            },
        ],
    )
    assert chat.messages[1].parts == [
        Thinking("Let me", "VGhp", signed_by="gemini"),
        Text("It is "),
        Thinking("", "Rm91", signed_by="gemini"),
        Text("4"),
        Text("."),
        ToolCall("c", "f", "{}", signature="Q2Fs", signed_by="gemini"),
    ]


def test_results_without_ids_answer_the_open_calls_to_their_function_in_order(chats: Any) -> None:
    contents = [
        {
            "role": "model",
            "parts": [
                {"functionCall": {"name": "f", "args": {"x": 1}}},
                {"functionCall": {"name": "g"}},
                {"functionCall": {"name": "f", "args": {"x": 2}}},
            ],
        },
        {
            "role": "function",
            "parts": [
                {"functionResponse": {"name": "f", "response": {"output": "one"}}},
                {"functionResponse": {"name": "g", "response": {"error": {"code": 5}}}},
                {"functionResponse": {"name": "f", "response": {"result": {"n": 2}}}},
                {"functionResponse": {"name": "f", "response": {"output": "an orphan"}}},
            ],
        },
    ]
    calls, results = (message.parts for message in read(chats, contents=contents).messages)
    ids = [call.id for call in calls]
    assert len(set(ids)) == 3
    assert all(identity.startswith("call_") for identity in ids)
    assert results[:3] == [
        ToolResult(ids[0], [Text("one")], name="f"),
        ToolResult(ids[1], [Text('{"code":5}')], is_error=True, name="g"),
        ToolResult(ids[2], [Text('{"n":2}')], name="f"),
    ]
    assert results[3].call_id not in ids
    # The same history gets the same ids, or no upstream could cache it.
    assert ids == [call.id for call in read(chats, contents=contents).messages[0].parts]


def test_a_result_may_have_media_and_any_shape(chats: Any) -> None:
    chat = read(
        chats,
        contents=[
            {
                "parts": [
                    {
                        "functionResponse": {
                            "id": "c",
                            "name": "f",
                            "response": {"a": 1, "output": "x"},
                            "scheduling": "SILENT",
                            "parts": [{"inlineData": {"mimeType": "image/png", "data": "AAAA"}}],
                        }
                    }
                ]
            }
        ],
    )
    assert chat.messages[0].parts == [
        ToolResult(
            "c",
            [Text('{"a":1,"output":"x"}'), Media("image", "image/png", data="AAAA")],
            name="f",
            extra=Native("gemini", {"scheduling": "SILENT"}),
        )
    ]


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"contents": []}, "contents"),
        ({"contents": "Hi"}, "contents"),
        ({"contents": [5]}, "contents[0]"),
        ({"contents": [{"role": "system", "parts": []}]}, "contents[0].role"),
        ({"contents": [{"parts": [{"text": 5}]}]}, "contents[0].parts[0].text"),
        ({"contents": [{"parts": [{"functionCall": {"args": {}}}]}]}, "contents[0].parts[0].functionCall.name"),
        (
            {"contents": [{"parts": [{"functionCall": {"name": "f", "args": "{}"}}]}]},
            "contents[0].parts[0].functionCall.args",
        ),
        (
            {"contents": [{"parts": [{"inlineData": {"mimeType": "image/png"}}]}]},
            "contents[0].parts[0].inlineData.data",
        ),
        ({"systemInstruction": "Be brief."}, "systemInstruction"),
        ({"generationConfig": {"temperature": "hot"}}, "generationConfig.temperature"),
        ({"generationConfig": {"temperature": True}}, "generationConfig.temperature"),
        ({"generationConfig": {"candidateCount": 0}}, "generationConfig.candidateCount"),
        ({"generationConfig": {"stopSequences": [1]}}, "generationConfig.stopSequences[0]"),
        ({"generationConfig": {"stopSequences": "x"}}, "generationConfig.stopSequences"),
        (
            {"generationConfig": {"thinkingConfig": {"thinkingBudget": 1.5}}},
            "generationConfig.thinkingConfig.thinkingBudget",
        ),
        ({"tools": [{"functionDeclarations": [{"description": "x"}]}]}, "tools[0].functionDeclarations[0].name"),
        ({"tools": [{"googleSearch": True}]}, "tools[0].googleSearch"),
        ({"toolConfig": {"functionCallingConfig": {"mode": "SOMETIMES"}}}, "toolConfig.functionCallingConfig.mode"),
        ({"generationConfig.topK": 1}, "generationConfig.topK"),
    ],
)
def test_malformed_fields_are_named(chats: Any, fields: dict[str, Any], param: str) -> None:
    with pytest.raises(Failure) as failure:
        read(chats, **fields)
    assert (failure.value.code, failure.value.param) == ("invalid_request", param)
    assert param in failure.value.message


@pytest.mark.parametrize(
    ("tier", "canonical", "extras"),
    [("STANDARD", "default", {}), ("unspecified", None, {}), ("turbo", None, {"serviceTier": "turbo"})],
)
def test_service_tier(chats: Any, tier: str, canonical: str | None, extras: dict[str, Any]) -> None:
    chat = read(chats, serviceTier=tier)
    assert (chat.service_tier, chat.extras) == (canonical, extras)


def test_arguments_nested_beyond_measure_are_refused(chats: Any) -> None:
    deep: list[Any] = []
    for _ in range(10_000):
        deep = [deep]
    for part in (
        {"functionCall": {"name": "f", "args": {"x": deep}}},
        {"functionResponse": {"name": "f", "response": {"x": deep, "y": 1}}},
    ):
        with pytest.raises(Failure, match="nested"):
            read(chats, contents=[{"parts": [part]}])


def test_content_that_only_gemini_keeps_binds_a_request_to_it() -> None:
    operation = dialects()["gemini"].operations["chat"]
    chat = operation.read_request({"contents": [{"parts": [{"text": "Hi"}]}], "cachedContent": "cachedContents/x"}, "m")
    assert operation.write_request(chat, facts("gemini-2.5-flash")).body["cachedContent"] == "cachedContents/x"
    for name in ("openai_chat", "openai_responses", "anthropic_messages", "bedrock_converse", "ollama"):
        with pytest.raises(Failure) as caught:
            dialects()[name].operations["chat"].write_request(chat, facts("m"))
        assert (caught.value.code, caught.value.param) == ("unsupported_parameter", "cachedContent")

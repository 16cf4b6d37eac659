"""Whole replies, both ways."""

from collections.abc import Callable
from typing import Any

import pytest

from ailink_provider.chat import (
    Chat,
    Choice,
    Event,
    Finish,
    Media,
    MessageError,
    Native,
    Part,
    Refusal,
    Reply,
    Text,
    Thinking,
    TokenLogprob,
    ToolCall,
    Usage,
    collect,
)
from ailink_provider.dialects import Sent
from ailink_provider.errors import Failure


def reply(*parts: dict[str, Any], finish: str | None = "STOP", **more: Any) -> dict[str, Any]:
    end = {"finishReason": finish} if finish else {}
    return {
        "candidates": [{"content": {"role": "model", "parts": list(parts)}, **end, **more}],
        "modelVersion": "gemini-3-pro",
        "responseId": "r1",
    }


def read(chats: Any, body: dict[str, Any]) -> Reply:
    found: Reply = chats.read_reply(body, Sent({}))
    return found


def test_parts(chats: Any) -> None:
    found = read(
        chats,
        reply(
            {"text": "Hm", "thought": True},
            {"text": "A"},
            {"text": "nswer", "thoughtSignature": "VA=="},
            {"functionCall": {"id": "c", "name": "f", "args": {"x": [1]}}, "thoughtSignature": "Qw=="},
            {"inlineData": {"mimeType": "image/png", "data": "AAAA"}, "thoughtSignature": "SQ=="},
            {"executableCode": {"language": "PYTHON", "code": "1"}},
            {"inlineData": {"mimeType": "image/png", "data": "B"}, "thought": True},
        ),
    )
    assert (found.id, found.model) == ("r1", "gemini-3-pro")
    assert found.choices[0].parts == [
        Thinking("Hm", signed_by="gemini"),
        Text("A"),
        Thinking("", "VA==", signed_by="gemini"),
        Text("nswer"),
        ToolCall("c", "f", '{"x":[1]}', signature="Qw==", signed_by="gemini"),
        Thinking("", "SQ==", signed_by="gemini"),
        Media("image", "image/png", data="AAAA"),
        Native("gemini", {"executableCode": {"language": "PYTHON", "code": "1"}}),
        Native("gemini", {"inlineData": {"mimeType": "image/png", "data": "B"}, "thought": True}),
    ]


def test_calls_without_ids_get_some_of_their_own(chats: Any) -> None:
    body = reply({"functionCall": {"name": "f"}}, {"functionCall": {"name": "f"}})
    first, second = (part.id for part in read(chats, body).choices[0].parts if isinstance(part, ToolCall))
    assert first != second
    assert [first, second] == [part.id for part in read(chats, body).choices[0].parts if isinstance(part, ToolCall)]
    other, _ = (
        part.id for part in read(chats, {**body, "responseId": "r2"}).choices[0].parts if isinstance(part, ToolCall)
    )
    assert other not in (first, second)


@pytest.mark.parametrize(
    ("word", "reason"),
    [
        ("STOP", "stop"),
        ("MAX_TOKENS", "length"),
        ("CONTINUATION", "length"),
        ("SAFETY", "content_filter"),
        ("RECITATION", "content_filter"),
        ("BLOCKLIST", "content_filter"),
        ("PROHIBITED_CONTENT", "content_filter"),
        ("SPII", "content_filter"),
        ("IMAGE_SAFETY", "content_filter"),
        ("IMAGE_PROHIBITED_CONTENT", "content_filter"),
        ("IMAGE_RECITATION", "content_filter"),
        ("MODEL_ARMOR", "content_filter"),
        ("ESCALATION", "content_filter"),
        ("LANGUAGE", "stop"),
        ("OTHER", "stop"),
        ("NO_IMAGE", "stop"),
        ("FINISH_REASON_UNSPECIFIED", "stop"),
        ("NEXT_YEARS", "stop"),
    ],
)
def test_finish_reasons(chats: Any, word: str, reason: str) -> None:
    found = read(chats, reply({"text": "x"}, finish=word, finishMessage="why"))
    assert found.choices[0].finish == Finish(reason, native=word, explanation="why")  # type: ignore[arg-type]


def test_stop_with_a_call_is_tool_calls_and_a_limit_stays_one(chats: Any) -> None:
    call = {"functionCall": {"id": "c", "name": "f"}}
    assert read(chats, reply(call)).choices[0].finish == Finish("tool_calls", native="STOP")
    assert read(chats, reply(call, finish="MAX_TOKENS")).choices[0].finish == Finish("length", native="MAX_TOKENS")


@pytest.mark.parametrize(
    "word",
    [
        "MALFORMED_FUNCTION_CALL",
        "UNEXPECTED_TOOL_CALL",
        "TOO_MANY_TOOL_CALLS",
        "MALFORMED_RESPONSE",
        "MISSING_THOUGHT_SIGNATURE",
    ],
)
def test_broken_answers_are_retryable_failures(chats: Any, word: str) -> None:
    with pytest.raises(Failure) as failure:
        read(chats, reply(finish=word, finishMessage="print(f(x)"))
    assert failure.value.code == "upstream_failed"
    assert failure.value.retryable
    assert word in failure.value.message


def test_a_blocked_prompt_has_no_candidates(chats: Any) -> None:
    found = read(
        chats, {"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}, "usageMetadata": {"promptTokenCount": 9}}
    )
    assert found.choices == [
        Choice(
            [],
            Finish(
                "content_filter",
                native="PROHIBITED_CONTENT",
                explanation="The prompt was blocked (PROHIBITED_CONTENT).",
            ),
        )
    ]
    assert found.usage == Usage(input_tokens=9)
    told = read(chats, {"candidates": [], "promptFeedback": {"blockReason": "SAFETY", "blockReasonMessage": "No."}})
    assert told.choices[0].finish == Finish("content_filter", native="SAFETY", explanation="No.")


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"candidates": []},
        {"usageMetadata": {"promptTokenCount": 1}},
        {"candidates": "x"},
        {"candidates": [{"content": {"parts": [{"text": 1}]}}]},
        {"candidates": [{"index": 10**9}]},
        {"promptFeedback": 5},
        {"candidates": [{"content": {"parts": [{"functionCall": {}}]}}]},
    ],
)
def test_what_is_no_reply_is_the_upstreams_failure(chats: Any, body: dict[str, Any]) -> None:
    with pytest.raises(Failure) as failure:
        read(chats, body)
    assert failure.value.code == "upstream_failed"


def test_an_error_in_place_of_a_reply(chats: Any) -> None:
    with pytest.raises(Failure) as failure:
        read(chats, {"error": {"code": 429, "message": "Slow down", "status": "RESOURCE_EXHAUSTED"}})
    assert (failure.value.code, failure.value.upstream_status) == ("rate_limit_exceeded", 429)


def test_candidates_by_index(chats: Any) -> None:
    found = read(
        chats,
        {
            "candidates": [
                {"index": 1, "content": {"parts": [{"text": "b"}]}, "finishReason": "MAX_TOKENS"},
                {"index": 0, "content": {"parts": [{"text": "a"}]}, "finishReason": "STOP"},
            ]
        },
    )
    assert [(choice.parts, choice.finish and choice.finish.reason) for choice in found.choices] == [
        ([Text("a")], "stop"),
        ([Text("b")], "length"),
    ]


@pytest.mark.parametrize(
    ("metadata", "expected"),
    [
        (
            {"promptTokenCount": 29, "candidatesTokenCount": 15, "thoughtsTokenCount": 45, "totalTokenCount": 89},
            Usage(29, 60, reasoning_tokens=45),
        ),
        # Some backends count thoughts among the candidates' tokens; the total tells.
        (
            {"promptTokenCount": 29, "candidatesTokenCount": 60, "thoughtsTokenCount": 45, "totalTokenCount": 89},
            Usage(29, 60, reasoning_tokens=45),
        ),
        (
            {"promptTokenCount": 100, "cachedContentTokenCount": 80, "candidatesTokenCount": 5, "totalTokenCount": 105},
            Usage(100, 5, cache_read_tokens=80),
        ),
        (
            {"promptTokenCount": 10, "toolUsePromptTokenCount": 7, "candidatesTokenCount": 5, "totalTokenCount": 22},
            Usage(17, 5),
        ),
        (
            {
                "promptTokenCount": 10,
                "toolUsePromptTokenCount": 7,
                "candidatesTokenCount": 5,
                "thoughtsTokenCount": 3,
                "totalTokenCount": 25,
            },
            Usage(17, 8, reasoning_tokens=3),
        ),
        ({"promptTokenCount": 4}, Usage(4)),
        (
            {
                "promptTokenCount": 9,
                "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 2}, {"modality": "AUDIO", "tokenCount": 7}],
                "candidatesTokenCount": 3,
                "candidatesTokensDetails": [{"modality": "AUDIO", "tokenCount": 3}],
            },
            Usage(9, 3, input_audio_tokens=7, output_audio_tokens=3),
        ),
        ({"promptTokenCount": "nine"}, None),
    ],
)
def test_usage(chats: Any, metadata: dict[str, Any], expected: Usage | None) -> None:
    assert read(chats, {**reply({"text": "x"}), "usageMetadata": metadata}).usage == expected


@pytest.mark.parametrize(
    "usage",
    [
        Usage(),
        Usage(29, 60, reasoning_tokens=45),
        Usage(100, 5, cache_read_tokens=80),
        Usage(9, 3, input_audio_tokens=7, output_audio_tokens=3),
    ],
)
def test_usage_survives_the_way_to_a_client_and_back(chats: Any, chat: Callable[..., Chat], usage: Usage) -> None:
    body = chats.write_reply(Reply(choices=[Choice([Text("x")], Finish("stop"))], usage=usage), chat())
    assert read(chats, body).usage == usage
    assert body["usageMetadata"]["totalTokenCount"] == usage.total_tokens


def test_logprobs_both_ways(chats: Any, chat: Callable[..., Chat]) -> None:
    result = {
        "chosenCandidates": [{"token": "Hi", "logProbability": -0.1}, {"token": "!", "logProbability": -0.5}],
        "topCandidates": [
            {"candidates": [{"token": "Hi", "logProbability": -0.1}, {"token": "Yo", "logProbability": -2.0}]},
            {"candidates": []},
        ],
    }
    found = read(chats, reply({"text": "Hi!"}, logprobsResult=result))
    assert found.choices[0].logprobs == [
        TokenLogprob("Hi", -0.1, top=[TokenLogprob("Hi", -0.1), TokenLogprob("Yo", -2.0)]),
        TokenLogprob("!", -0.5),
    ]
    assert chats.write_reply(found, chat())["candidates"][0]["logprobsResult"] == result


def test_sources_are_annotations_of_the_text(chats: Any, chat: Callable[..., Chat]) -> None:
    sources = {
        "groundingMetadata": {"webSearchQueries": ["x"]},
        "citationMetadata": {"citationSources": [{"uri": "u"}]},
    }
    found = read(chats, reply({"text": "Hi"}, {"functionCall": {"id": "c", "name": "f"}}, **sources))
    assert found.choices[0].parts[0] == Text("Hi", annotations=[{key: value} for key, value in sources.items()])
    written = chats.write_reply(found, chat())["candidates"][0]
    assert {key: written[key] for key in sources} == sources


def test_the_web_pages_among_the_sources_are_told_apart(chats: Any, chat: Callable[..., Chat]) -> None:
    grounding = {
        "groundingChunks": [{"web": {"uri": "https://a.test", "title": "A"}}, {"maps": {"uri": "m"}}, 7, {"web": 1}]
    }
    found = read(chats, reply({"text": "Hi"}, groundingMetadata=grounding))
    page = {"url": "https://a.test", "title": "A"}
    assert found.choices[0].parts == [Text("Hi", annotations=[{"groundingMetadata": grounding}, page])]
    assert chats.write_reply(found, chat())["candidates"][0]["groundingMetadata"] == grounding


def test_web_pages_that_another_dialect_cites_ground_the_answer(chats: Any, chat: Callable[..., Chat]) -> None:
    notes = [{"type": "url_citation", "url": "https://a.test", "title": "A"}, {"type": "char_location"}, {"url": "b"}]
    cited = Reply("r", "m", choices=[Choice([Text("Hi", annotations=notes)], Finish("stop"))])
    assert chats.write_reply(cited, chat())["candidates"][0]["groundingMetadata"] == {
        "groundingChunks": [{"web": {"uri": "https://a.test", "title": "A"}}, {"web": {"uri": "b", "title": "b"}}]
    }


def test_the_tier_that_served(chats: Any, chat: Callable[..., Chat]) -> None:
    found = read(chats, {**reply({"text": "x"}), "usageMetadata": {"promptTokenCount": 1, "serviceTier": "standard"}})
    assert found.service_tier == "default"
    assert chats.write_reply(found, chat())["usageMetadata"]["serviceTier"] == "standard"


# --- to clients ----------------------------------------------------------------------------------


def test_writing_parts(chats: Any, chat: Callable[..., Chat]) -> None:
    body = chats.write_reply(
        Reply(
            "id",
            "gpt-5",
            choices=[
                Choice(
                    [
                        Thinking("", "VA==", signed_by="gemini"),
                        Text("Hi"),
                        Refusal("No"),
                        Text(""),
                        ToolCall("c", "f", '{"x": 1}'),
                        Media("image", "image/png", data="iVBORw0KGgo="),
                        Native("gemini", {"executableCode": {}}),
                        Native("other", {"type": "x"}),
                    ],
                    Finish("tool_calls"),
                )
            ],
        ),
        chat(),
    )
    assert body == {
        "candidates": [
            {
                "index": 0,
                "finishReason": "STOP",
                "content": {
                    "role": "model",
                    "parts": [
                        {"text": "Hi", "thoughtSignature": "VA=="},
                        {"text": "No"},
                        {"functionCall": {"id": "c", "name": "f", "args": {"x": 1}}},
                        {"inlineData": {"mimeType": "image/png", "data": "iVBORw0KGgo="}},
                        {"executableCode": {}},
                    ],
                },
            }
        ],
        "modelVersion": "gpt-5",
        "responseId": "id",
    }


@pytest.mark.parametrize(
    ("finish", "word", "message"),
    [
        (Finish("stop", native="end_turn"), "STOP", None),
        (Finish("length"), "MAX_TOKENS", None),
        (Finish("pause"), "STOP", None),
        (Finish("tool_calls", native="STOP"), "STOP", None),
        (Finish("content_filter", native="refusal", explanation="No."), "SAFETY", "No."),
        (Finish("content_filter", native="RECITATION"), "RECITATION", None),
        (None, "STOP", None),
        (Finish("stop", native="OTHER"), "OTHER", None),
    ],
)
def test_writing_finishes(
    chats: Any, chat: Callable[..., Chat], finish: Finish | None, word: str, message: str | None
) -> None:
    candidate = chats.write_reply(Reply(choices=[Choice([Text("x")], finish)]), chat())["candidates"][0]
    assert (candidate["finishReason"], candidate.get("finishMessage")) == (word, message)


def test_media_that_a_model_made(chats: Any, chat: Callable[..., Chat]) -> None:
    parts: list[Part] = [Media("audio", data="AAAA"), Media("image"), Media("image", url="https://example.com/a.gif")]
    body = chats.write_reply(Reply(choices=[Choice(parts, Finish("stop"))]), chat())
    assert body["candidates"][0]["content"]["parts"] == [
        {"inlineData": {"mimeType": "audio/wav", "data": "AAAA"}},
        {"fileData": {"fileUri": "https://example.com/a.gif", "mimeType": "image/gif"}},
    ]


def test_a_reply_without_words_still_has_a_part(chats: Any, chat: Callable[..., Chat]) -> None:
    body = chats.write_reply(Reply(choices=[Choice([], Finish("content_filter"))]), chat())
    assert body["candidates"][0]["content"]["parts"] == [{"text": ""}]


@pytest.mark.parametrize("arguments", ["{not json", "[1]", '"x"'])
def test_a_call_that_no_client_could_read_is_said_to_be_one(
    chats: Any, chat: Callable[..., Chat], arguments: str
) -> None:
    body = chats.write_reply(
        Reply(choices=[Choice([Text("x"), ToolCall("c", "f", arguments)], Finish("tool_calls"))]), chat()
    )
    assert body["candidates"][0]["finishReason"] == "MALFORMED_FUNCTION_CALL"


def test_a_whole_reply_and_its_stream_agree(
    chats: Any, stream: Callable[..., list[Event]], frames: Callable[..., bytes]
) -> None:
    parts = [
        {"text": "Think", "thought": True},
        {"text": "ing", "thought": True, "thoughtSignature": "VA=="},
        {"text": "Hel"},
        {"text": "lo"},
        {"text": "!", "thoughtSignature": "Uw=="},
        {"text": "?"},
        {"functionCall": {"name": "f", "args": {"a": "b"}}},
    ]
    whole = {
        **reply(*parts, groundingMetadata={"x": 1}),
        "usageMetadata": {"promptTokenCount": 3, "candidatesTokenCount": 4},
    }
    chunks = [reply(part, finish=None) for part in parts]
    last = {**reply(groundingMetadata={"x": 1}), "usageMetadata": whole["usageMetadata"]}
    events = stream(frames(*chunks, last))
    assert not any(isinstance(event, MessageError) for event in events)
    assert collect(events) == read(chats, whole)

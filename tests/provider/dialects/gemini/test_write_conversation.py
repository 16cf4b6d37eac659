"""Conversations, into contents that Google's own SDK accepts."""

from collections.abc import Callable

import pytest

from ailink_provider.catalog import Facts
from ailink_provider.chat import Chat, Media, Message, Native, Refusal, Text, Thinking, ToolCall, ToolResult
from ailink_provider.dialects import Sent
from ailink_provider.errors import Failure

Write = Callable[[Chat, Facts], Sent]
MakeChat = Callable[..., Chat]
PNG = "iVBORw0KGgoAAAANSUhEUg=="
SKIP = "skip_thought_signature_validator"


def lost(sent: Sent) -> list[str]:
    return [loss.field for loss in sent.losses]


def test_leading_system_messages_are_the_instruction_and_later_ones_the_users(
    write: Write, chat: MakeChat, gemini3: Facts
) -> None:
    sent = write(
        chat(
            Message("system", [Text("One.")]),
            Message("developer", [Text("Two.")]),
            Message("user", [Text("Hi")]),
            Message("system", [Text("Three.")]),
            Message("assistant", [Refusal("No.")]),
        ),
        gemini3,
    )
    assert sent.body["systemInstruction"] == {"parts": [{"text": "One."}, {"text": "Two."}]}
    assert sent.body["contents"] == [
        {"role": "user", "parts": [{"text": "Hi"}, {"text": "<system>\nThree.\n</system>"}]},
        {"role": "model", "parts": [{"text": "No."}]},
    ]
    assert lost(sent) == ["messages[3]"]


def test_a_conversation_of_system_messages_alone_still_has_a_turn(write: Write, chat: MakeChat, gemini3: Facts) -> None:
    sent = write(chat(Message("system", [Text("Say hi.")])), gemini3)
    assert sent.body["contents"] == [{"role": "user", "parts": [{"text": "<system>\nSay hi.\n</system>"}]}]
    assert "systemInstruction" not in sent.body


def test_neighbours_merge_and_results_come_first_in_one_turn(write: Write, chat: MakeChat, flash: Facts) -> None:
    sent = write(
        chat(
            Message("user", [Text("Go")]),
            Message("assistant", [Text("")]),
            Message("assistant", [Text("Sure.")]),
            Message("assistant", [ToolCall("a", "f", '{"x": 1}'), ToolCall("b", "g", "")]),
            Message("user", [ToolResult("a", [Text("1")])]),
            Message("user", [Text("Well?"), ToolResult("b", [Text("no")], is_error=True)]),
        ),
        flash,
    )
    assert sent.body["contents"] == [
        {"role": "user", "parts": [{"text": "Go"}]},
        {
            "role": "model",
            "parts": [
                {"text": "Sure."},
                {"functionCall": {"id": "a", "name": "f", "args": {"x": 1}}},
                {"functionCall": {"id": "b", "name": "g", "args": {}}},
            ],
        },
        {
            "role": "user",
            "parts": [
                {"functionResponse": {"id": "a", "name": "f", "response": {"output": "1"}}},
                {"functionResponse": {"id": "b", "name": "g", "response": {"error": "no"}}},
                {"text": "Well?"},
            ],
        },
    ]


def test_a_reused_id_takes_the_name_of_the_latest_call(write: Write, chat: MakeChat, flash: Facts) -> None:
    sent = write(
        chat(
            Message("assistant", [ToolCall("call_0", "f")]),
            Message("user", [ToolResult("call_0", [Text("1")])]),
            Message("assistant", [ToolCall("call_0", "g")]),
            Message("user", [ToolResult("call_0", [Text("2")])]),
        ),
        flash,
    )
    assert [sent.body["contents"][turn]["parts"][0]["functionResponse"]["name"] for turn in (1, 3)] == ["f", "g"]


def test_a_result_that_looks_like_json_stays_a_string(write: Write, chat: MakeChat, gemini3: Facts) -> None:
    text = '{"$ref": "#/x", "n": 1}'
    sent = write(
        chat(
            Message("assistant", [ToolCall("a", "f")]), Message("user", [ToolResult("a", [Text(text), Text("more")])])
        ),
        gemini3,
    )
    assert sent.body["contents"][1]["parts"][0]["functionResponse"]["response"] == {"output": f"{text}\nmore"}


def test_media_of_a_result_is_inside_it_or_beside_it_by_model(
    write: Write, chat: MakeChat, gemini3: Facts, flash: Facts
) -> None:
    request = chat(
        Message("assistant", [ToolCall("a", "f"), ToolCall("b", "f")]),
        Message("user", [ToolResult("a", [Media("image", "image/jpeg", data=PNG)]), ToolResult("b", [Text("x")])]),
    )
    image = {"inlineData": {"mimeType": "image/png", "data": PNG}}
    new = write(request, gemini3).body["contents"][1]["parts"]
    assert new[0]["functionResponse"] == {"id": "a", "name": "f", "response": {"output": ""}, "parts": [image]}
    earlier = write(request, flash).body["contents"][1]["parts"]
    assert [list(part) for part in earlier] == [["functionResponse"], ["functionResponse"], ["inlineData"]]


@pytest.mark.parametrize(
    ("messages", "param"),
    [
        ([Message("user", [ToolResult("lost", [Text("1")])])], "messages[0].content[0]"),
        (
            [Message("assistant", [ToolCall("a", "f"), ToolCall("b", "f")]), Message("user", [ToolResult("a", [])])],
            "messages",
        ),
        ([Message("assistant", [ToolCall("a", "f")]), Message("user", [Text("And?")])], "messages"),
        ([Message("assistant", [ToolCall("a", "f", "{not json")])], "messages"),
        ([Message("assistant", [ToolCall("a", "f", "[1]")])], "messages"),
        ([Message("user", [Media("image", data="AAAA")])], "messages[0].content[0]"),
        ([Message("user", [Media("image")])], "messages[0].content[0]"),
    ],
)
def test_a_conversation_that_gemini_cannot_follow_is_refused(
    write: Write, chat: MakeChat, gemini3: Facts, messages: list[Message], param: str
) -> None:
    with pytest.raises(Failure) as failure:
        write(chat(*messages), gemini3)
    assert (failure.value.code, failure.value.param) == ("invalid_request", param)


def test_media(write: Write, chat: MakeChat, gemini3: Facts) -> None:
    sent = write(
        chat(
            Message(
                "user",
                [
                    Media("image", "image/jpeg", data=PNG, detail="high"),
                    Media("image", url="https://example.com/a.webp?x=1"),
                    Media("image", url="https://example.com/a"),
                    Media("audio", "audio/wav", data="UklGRg=="),
                    Media("document", data="JVBERi0xLjc=", name="a.pdf"),
                    Media(
                        "document",
                        "application/pdf",
                        file_id="https://generativelanguage.googleapis.com/v1beta/files/a",
                    ),
                ],
            )
        ),
        gemini3,
    )
    assert sent.body["contents"][0]["parts"] == [
        {"inlineData": {"mimeType": "image/png", "data": PNG}},
        {"fileData": {"fileUri": "https://example.com/a.webp?x=1", "mimeType": "image/webp"}},
        {"fileData": {"fileUri": "https://example.com/a"}},
        {"inlineData": {"mimeType": "audio/wav", "data": "UklGRg=="}},
        {"inlineData": {"mimeType": "application/pdf", "data": "JVBERi0xLjc="}},
        {
            "fileData": {
                "fileUri": "https://generativelanguage.googleapis.com/v1beta/files/a",
                "mimeType": "application/pdf",
            }
        },
    ]
    assert sent.body["generationConfig"] == {"mediaResolution": "MEDIA_RESOLUTION_HIGH"}


def test_the_media_of_results_stand_right_behind_them(write: Write, chat: MakeChat, flash: Facts) -> None:
    called = Message("assistant", [ToolCall("a", "f"), ToolCall("b", "f")])
    shown = [ToolResult(name, [Media("image", "image/png", data=PNG)]) for name in ("a", "b")]
    sent = write(chat(called, Message("user", [*shown, Text("And?")])), flash)
    assert [next(iter(part)) for part in sent.body["contents"][1]["parts"]] == [
        "functionResponse", "functionResponse", "inlineData", "inlineData", "text"]


def test_paths_do_not_count_a_system_prompt_that_stands_apart(
    write: Write, chat: MakeChat, gemini3: Facts
) -> None:
    odd = Native("another", {"type": "x"})
    asked = chat(Message("system", [odd]), Message("user", [Text("Hi"), odd]), apart=1)
    assert lost(write(asked, gemini3)) == ["system.content[0]", "messages[0].content[1]"]


def test_what_a_result_cannot_hold_is_lost(write: Write, chat: MakeChat, gemini3: Facts) -> None:
    reference = Native("anthropic_messages", {"type": "tool_reference"})
    foreign = Native("anthropic_messages", {"citations": {"enabled": True}})
    sent = write(
        chat(
            Message("assistant", [ToolCall("a", "f", extra=Native("anthropic_messages", {"caller": {}}))]),
            Message("user", [ToolResult("a", [Text("x"), reference], extra=foreign)]),
        ),
        gemini3,
    )
    assert lost(sent) == ["messages[0].content[0].caller", "messages[1].content[0]", "messages[1].content[0].citations"]


def test_arguments_nested_beyond_measure_are_refused(write: Write, chat: MakeChat, gemini3: Facts) -> None:
    arguments = '{"x": ' + "[" * 100_000 + "]" * 100_000 + "}"
    with pytest.raises(Failure) as failure:
        write(chat(Message("assistant", [ToolCall("a", "f", arguments)])), gemini3)
    assert failure.value.code == "invalid_request"


def test_another_providers_file_is_refused(write: Write, chat: MakeChat, gemini3: Facts) -> None:
    with pytest.raises(Failure) as failure:
        write(chat(Message("user", [Media("document", file_id="file-abc")])), gemini3)
    assert failure.value.code == "unsupported_parameter"


# --- thoughts and their signatures ---------------------------------------------------------------


def test_only_thoughts_that_gemini_signed_go_back(write: Write, chat: MakeChat, flash: Facts) -> None:
    sent = write(
        chat(
            Message(
                "assistant",
                [
                    Thinking("unsigned"),
                    Thinking("foreign", "c2ln", signed_by="anthropic_messages"),
                    Thinking("own", "b3du", signed_by="gemini"),
                    Thinking(redacted="x", signed_by="anthropic_messages"),
                    Text("Four."),
                ],
            )
        ),
        flash,
    )
    assert sent.body["contents"][0]["parts"] == [
        {"text": "own", "thought": True, "thoughtSignature": "b3du"},
        {"text": "Four."},
    ]
    assert sent.losses == []


def test_a_mark_signs_the_part_after_it_or_stands_alone(write: Write, chat: MakeChat, flash: Facts) -> None:
    def mark(signature: str) -> Thinking:
        return Thinking("", signature, signed_by="gemini")

    sent = write(
        chat(
            Message(
                "assistant",
                [
                    mark("YQ=="),
                    Text("a"),
                    mark("Yg=="),
                    mark("Yw=="),
                    ToolCall("1", "f"),
                    mark("ZA=="),
                    ToolCall("2", "f", signature="ZQ==", signed_by="gemini"),
                    mark("Zg=="),
                ],
            )
        ),
        flash,
    )
    assert [(part.get("text"), part.get("thoughtSignature")) for part in sent.body["contents"][0]["parts"]] == [
        ("a", "YQ=="),
        ("", "Yg=="),
        (None, "Yw=="),
        ("", "ZA=="),
        (None, "ZQ=="),
        ("", "Zg=="),
    ]


def test_the_first_call_of_a_turn_is_always_signed_for_gemini_3(
    write: Write, chat: MakeChat, gemini3: Facts, flash: Facts
) -> None:
    request = chat(
        Message("user", [Text("Go")]),
        Message(
            "assistant",
            [Text("Yes."), ToolCall("a", "f", signature="eA==", signed_by="openai_chat"), ToolCall("b", "f")],
        ),
        Message("user", [ToolResult("a", []), ToolResult("b", [])]),
        Message("assistant", [ToolCall("c", "f", signature="Yw==", signed_by="gemini"), ToolCall("d", "f")]),
    )
    turns = [turn["parts"] for turn in write(request, gemini3).body["contents"] if turn["role"] == "model"]
    assert [[part.get("thoughtSignature") for part in turn] for turn in turns] == [[None, SKIP, None], ["Yw==", None]]
    plain = [turn["parts"] for turn in write(request, flash).body["contents"] if turn["role"] == "model"]
    assert [[part.get("thoughtSignature") for part in turn] for turn in plain] == [[None, None, None], ["Yw==", None]]

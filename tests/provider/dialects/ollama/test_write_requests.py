"""Chats that other dialects have read, to requests for Ollama."""

from collections.abc import Callable
from typing import Any

import pytest

from ailink_provider.catalog import Facts
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
from ailink_provider.errors import Failure

Make = Callable[..., Chat]
Write = Callable[..., Sent]
PNG = Media("image", "image/png", "iVBORw0KGgo=")
SCHEMA = {"type": "object", "properties": {"at": {}}}
LEVELS = Facts(thinking="level")
SWITCH = Facts(thinking="budget")
ALWAYS = Facts(thinking="level", thinking_off=False)


def lost(sent: Sent) -> set[str]:
    return {loss.field for loss in sent.losses}


def test_a_rich_request_from_abroad(write: Write, golden: Callable[[str], Any]) -> None:
    request = Chat(
        "gpt-oss:20b",
        [
            Message("developer", [Text("Be brief."), Text("Be kind.")]),
            Message("user", [Text("What is this?"), PNG]),
            Message(
                "assistant",
                [
                    Thinking("Hm", signature="s", signed_by="anthropic_messages"),
                    ToolCall("c1", "look", '{"at": 1}'),
                    ToolCall("c2", "note", "a cat?", custom=True),
                    ToolCall("c3", "look", ""),
                ],
            ),
            Message("user", [ToolResult("c3", [Text("two")])]),
            Message("user", [ToolResult("c2", [Text("noted"), Media("image", "image/jpeg", "/9j/AAAA")])]),
            Message(
                "user",
                [
                    ToolResult("c1", [Text("one")]),
                    Text("And now?"),
                    Media("document", "text/plain", "ZnJvbSBhIGZpbGU="),
                ],
            ),
            Message("assistant", [Thinking("Hm")]),
            Message("system", [Text("Answer at once.")]),
        ],
        dialect="openai_chat",
        tools=[Tool("look", "Looks.", SCHEMA), Tool("note", custom=True)],
        reasoning=Reasoning(effort="medium"),
        max_tokens=100,
        temperature=0.2,
        seed=1,
        stop=["x", "y"],
        stream=True,
        include_usage=True,
    )
    sent = write(request, LEVELS)
    assert sent.body == golden("abroad.upstream")
    assert sent.losses == []
    assert sent.custom == {"note"}


def test_what_has_no_word_is_reported(write: Write, chat: Make) -> None:
    sent = write(
        chat(
            Message("user", [Text("Hi", cache=CacheMark()), Native("openai_chat", {"type": "x"})], name="Ann"),
            Message("assistant", [ToolCall("c", "f", "{}", extra=Native("gemini", {"willContinue": True}))]),
            Message("user", [ToolResult("c", [Text("no")], is_error=True), ToolResult("?", [Text("orphan")])]),
            tools=[Tool("f", strict=True), Tool("g", strict=True), WebSearch(), Native("openai_chat", {"type": "x"})],
            tool_choice=ToolChoice("required"),
            parallel_tool_calls=False,
            user="u",
            metadata={"a": "b"},
            service_tier="flex",
            extras={"logit_bias": {}},
        )
    )
    assert lost(sent) == {
        "messages[0].name", "messages[0].content[1]", "messages[1].content[0].willContinue", "is_error",
        "messages[2].content[1].name", "tools[].strict", "tools[2]", "tools[3]", "tool_choice", "parallel_tool_calls",
        "user", "metadata", "service_tier", "logit_bias", "cache_control",
    }  # fmt: skip
    assert len(sent.losses) == len(set(sent.losses)), "each is told once"
    assert sent.body == {
        "model": "m",
        "messages": [
            {"role": "user", "content": "Hi"},
            {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "f", "arguments": {}}}]},
            {"role": "tool", "content": "no", "tool_name": "f"},
            {"role": "tool", "content": "orphan"},
        ],
        "stream": False,
        "tools": [
            {"type": "function", "function": {"name": name, "parameters": {"type": "object", "properties": {}}}}
            for name in "fg"
        ],
    }


def test_what_says_nothing_is_not_reported(write: Write, chat: Make) -> None:
    sent = write(
        chat(service_tier="auto", metadata={}, output=OutputFormat("text"), tool_choice=ToolChoice("auto")),
    )
    assert sent.losses == []
    assert sent.body == {"model": "m", "messages": [{"role": "user", "content": "Hi"}], "stream": False}


@pytest.mark.parametrize(
    ("message", "param"),
    [
        (Message("user", [Media("image", url="https://a.test/x.png")]), "messages[0].content[0]"),
        (Message("user", [Media("image", file_id="f")]), "messages[0].content[0]"),
        (Message("user", [Text("x"), Media("audio", "audio/wav", "AA==")]), "messages[0].content[1]"),
        (Message("user", [Media("document", "application/pdf", "AA==")]), "messages[0].content[0]"),
        (
            Message("user", [ToolResult("c", [Media("audio", "audio/wav", "AA==")])]),
            "messages[0].content[0].content[0]",
        ),
    ],
)
def test_media_that_would_be_missed_are_refused(write: Write, chat: Make, message: Message, param: str) -> None:
    with pytest.raises(Failure) as caught:
        write(chat(message))
    assert (caught.value.code, caught.value.param) == ("unsupported_parameter", param)


@pytest.mark.parametrize("arguments", ["{oops", "[1]", "7", "null", '"\ud800"', "[" * 9999])
def test_arguments_must_be_an_object(write: Write, chat: Make, arguments: str) -> None:
    with pytest.raises(Failure) as caught:
        write(chat(Message("assistant", [ToolCall("c", "f", arguments)])))
    assert (caught.value.code, caught.value.param) == ("invalid_request", "messages[0].content[0]")


@pytest.mark.parametrize(
    ("fields", "code", "param"),
    [
        ({"n": 2}, "unsupported_parameter", "n"),
        (
            {"tools": [Tool("f", custom=True, format={"type": "grammar"})]},
            "unsupported_parameter",
            "tools[0].format",
        ),
        (
            {"tools": [Tool("f")], "tool_choice": ToolChoice("auto", ["f", "g"])},
            "invalid_request",
            "tool_choice",
        ),
    ],
)
def test_what_would_change_the_answer_is_refused(
    write: Write, chat: Make, fields: dict[str, Any], code: str, param: str
) -> None:
    with pytest.raises(Failure) as caught:
        write(chat(**fields))
    assert (caught.value.code, caught.value.param) == (code, param)


@pytest.mark.parametrize(
    ("choice", "offered", "losses"),
    [
        (None, ["f", "g"], set()),
        (ToolChoice("auto"), ["f", "g"], set()),
        (ToolChoice("none"), [], set()),
        (ToolChoice("auto", ["g"]), ["g"], set()),
        (ToolChoice("required"), ["f", "g"], {"tool_choice"}),
        (ToolChoice("required", ["f"]), ["f"], {"tool_choice"}),
    ],
)
def test_a_choice_narrows_what_is_offered(
    write: Write, chat: Make, choice: ToolChoice | None, offered: list[str], losses: set[str]
) -> None:
    sent = write(chat(tools=[Tool("f"), Tool("g")], tool_choice=choice))
    assert [tool["function"]["name"] for tool in sent.body.get("tools", [])] == offered
    assert lost(sent) == losses


@pytest.mark.parametrize(
    ("facts", "reasoning", "think", "losses"),
    [
        (LEVELS, Reasoning(effort="minimal"), "low", set()),
        (LEVELS, Reasoning(effort="low"), "low", set()),
        (LEVELS, Reasoning(effort="xhigh"), "high", set()),
        (LEVELS, Reasoning(effort="max"), "max", set()),
        (LEVELS, Reasoning(effort="none"), False, set()),
        (LEVELS, Reasoning(effort="enormous"), True, {"reasoning"}),
        (LEVELS, Reasoning(budget=0), False, set()),
        (LEVELS, Reasoning(budget=2000), "low", {"reasoning.budget"}),
        (LEVELS, Reasoning(budget=9000), "medium", {"reasoning.budget"}),
        (LEVELS, Reasoning(budget=99000), "high", {"reasoning.budget"}),
        (LEVELS, Reasoning(budget=-1), True, set()),
        (LEVELS, Reasoning(adaptive=True), True, set()),
        (LEVELS, Reasoning(visible=True), None, set()),
        (Facts(thinking="adaptive"), Reasoning(effort="high"), "high", set()),
        (ALWAYS, Reasoning(effort="none"), "low", {"reasoning"}),
        (SWITCH, Reasoning(effort="high"), True, {"reasoning"}),
        (SWITCH, Reasoning(budget=5000), True, {"reasoning"}),
        (SWITCH, Reasoning(adaptive=True), True, set()),
        (SWITCH, Reasoning(effort="none"), False, set()),
        (Facts(), Reasoning(effort="high"), None, {"reasoning"}),
        (Facts(), Reasoning(effort="none"), False, set()),
        (Facts(), None, None, set()),
    ],
)
def test_thinking_is_as_the_model_has_it(
    write: Write, chat: Make, facts: Facts, reasoning: Reasoning | None, think: Any, losses: set[str]
) -> None:
    sent = write(chat(reasoning=reasoning), facts)
    assert sent.body.get("think") == think
    assert lost(sent) == losses


@pytest.mark.parametrize("effort", ["high", "none"])
def test_a_format_goes_before_thinking(write: Write, chat: Make, effort: str) -> None:
    output = OutputFormat("schema", schema={"type": "object"}, description="An animal.")
    sent = write(chat(output=output, reasoning=Reasoning(effort=effort)), LEVELS)
    assert sent.body["format"] == {"description": "An animal.", "type": "object"}
    assert "think" not in sent.body
    assert lost(sent) == {"reasoning"}


@pytest.mark.parametrize(
    ("output", "form"),
    [
        (OutputFormat("json"), "json"),
        (OutputFormat("schema"), "json"),
        (OutputFormat("schema", "n", {"type": "array"}, True), {"type": "array"}),
    ],
)
def test_formats(write: Write, chat: Make, output: OutputFormat, form: Any) -> None:
    assert write(chat(output=output), Facts(json_schema=False)).body["format"] == form


def test_sampling_is_what_the_model_takes(write: Write, chat: Make) -> None:
    request = chat(temperature=0.5, top_p=0.9, top_k=3, presence_penalty=0.1)
    sent = write(request, Facts(sampling=("top_k",)))
    assert sent.body["options"] == {"top_k": 3, "presence_penalty": 0.1}
    assert lost(sent) == {"temperature", "top_p"}
    sent = write(request, Facts(one_sampling=True))
    assert sent.body["options"] == {"temperature": 0.5, "top_k": 3, "presence_penalty": 0.1}
    assert lost(sent) == {"top_p"}
    assert write(chat(temperature=1, top_p=1), Facts(sampling=())).losses == []


def test_refusals_and_thoughts_of_its_own_are_sent_back(write: Write, chat: Make) -> None:
    said = [Thinking("Hm. ", signed_by="ollama"), Thinking("Oh.", signed_by="ollama"), Refusal("No."), Text("Sorry.")]
    sent = write(chat(Message("assistant", list(said))))
    assert sent.body["messages"] == [{"role": "assistant", "thinking": "Hm. Oh.", "content": "No.\nSorry."}]


def test_the_detail_of_an_image_is_reported(write: Write, chat: Make) -> None:
    detailed = Media("image", "image/png", "AA==", detail="high")
    assert lost(write(chat(Message("user", [detailed])))) == {"messages[0].content[0].detail"}
    detailed.detail = "auto"
    assert write(chat(Message("user", [detailed]))).losses == []


def test_paths_are_those_of_a_client_that_keeps_its_system_prompt_apart(write: Write, chat: Make) -> None:
    named = [Message("system", [Text("x")], name="a"), Message("user", [Text("x")], name="b")]
    assert lost(write(chat(*named, apart=1, dialect="anthropic_messages"))) == {"system.name", "messages[0].name"}


def test_what_another_vendor_keeps_cannot_be_asked_for_here(write: Write, chat: Make) -> None:
    with pytest.raises(Failure, match="kept there"):
        write(chat(bound=[Failure("unsupported_parameter", "It is kept there.", param="previous_response_id")]))


def test_a_text_that_is_not_base64(write: Write, chat: Make) -> None:
    with pytest.raises(Failure) as caught:
        write(chat(Message("user", [Media("document", "text/plain", "ä")])))
    assert (caught.value.code, caught.value.param) == ("invalid_request", "messages[0].content[0]")


def test_another_wording_of_ids_stays_abroad(write: Write, chat: Make) -> None:
    messages = [Message("assistant", [ToolCall("toolu_1", "f")]), Message("user", [ToolResult("toolu_1")])]
    foreign, own = (write(chat(*messages, dialect=name)).body["messages"] for name in ("openai_chat", "ollama"))
    assert "id" not in foreign[0]["tool_calls"][0]
    assert "tool_call_id" not in foreign[1]
    assert own[0]["tool_calls"][0]["id"] == own[1]["tool_call_id"] == "toolu_1"


@pytest.mark.parametrize("role", ["system", "developer", "assistant"])
def test_an_empty_message_is_none(chat: Any, write: Any, role: Any) -> None:
    """An empty system prompt would replace the one that the model comes with."""
    body = write(chat(Message(role, [Text("")]), Message("user", [Text("Hi")]))).body
    assert body["messages"] == [{"role": "user", "content": "Hi"}]

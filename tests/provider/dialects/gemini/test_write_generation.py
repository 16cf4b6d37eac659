"""Everything else that is asked of the model, and what is reported as lost."""

from collections.abc import Callable
from typing import Any

import pytest

from ailink_provider.catalog import Facts
from ailink_provider.chat import CacheMark, Chat, Media, Message, Native, OutputFormat, Reasoning, Text, Tool
from ailink_provider.dialects import Sent
from ailink_provider.errors import Failure

Write = Callable[[Chat, Facts], Sent]
MakeChat = Callable[..., Chat]
PNG = "iVBORw0KGgoAAAANSUhEUg=="


def lost(sent: Sent) -> list[str]:
    return [loss.field for loss in sent.losses]


def test_sampling_and_limits(write: Write, chat: MakeChat, gemini3: Facts) -> None:
    sent = write(
        chat(
            temperature=0.5,
            top_p=0.9,
            top_k=7,
            max_tokens=100,
            stop=["a", "", "b"],
            n=2,
            seed=7,
            presence_penalty=0.1,
            frequency_penalty=-0.1,
            logprobs=True,
            top_logprobs=3,
        ),
        gemini3,
    )
    assert sent.body["generationConfig"] == {
        "temperature": 0.5,
        "topP": 0.9,
        "topK": 7,
        "maxOutputTokens": 100,
        "stopSequences": ["a", "b"],
        "candidateCount": 2,
        "seed": 7,
        "presencePenalty": 0.1,
        "frequencyPenalty": -0.1,
        "responseLogprobs": True,
        "logprobs": 3,
    }
    assert sent.losses == []


def test_nothing_is_sent_that_was_not_asked_for(write: Write, chat: MakeChat, gemini3: Facts) -> None:
    assert write(chat(), gemini3).body == {"contents": [{"role": "user", "parts": [{"text": "Hi"}]}]}


def test_what_a_model_does_not_take_is_a_loss(write: Write, chat: MakeChat) -> None:
    sent = write(chat(temperature=2.5, top_p=0.9, top_k=7), Facts(sampling=("temperature", "top_p"), one_sampling=True))
    assert sent.body["generationConfig"] == {"temperature": 2.0}
    assert lost(sent) == ["temperature", "top_p", "top_k"]


def test_a_wide_seed_is_folded_always_in_the_same_way(write: Write, chat: MakeChat, gemini3: Facts) -> None:
    seeds = [write(chat(seed=2**40 + 5), gemini3).body["generationConfig"]["seed"] for _ in range(2)]
    assert seeds == [5, 5]


def test_more_than_five_stop_sequences_are_refused(write: Write, chat: MakeChat, gemini3: Facts) -> None:
    write(chat(stop=list("abcde")), gemini3)
    with pytest.raises(Failure) as failure:
        write(chat(stop=list("abcdef")), gemini3)
    assert (failure.value.code, failure.value.param) == ("unsupported_parameter", "stop")


@pytest.mark.parametrize(
    ("reasoning", "level", "budget", "always"),
    [
        (Reasoning(effort="none"), {"thinkingLevel": "LOW"}, {"thinkingBudget": 0}, {"thinkingBudget": 128}),
        (Reasoning(effort="minimal"), {"thinkingLevel": "MINIMAL"}, {"thinkingBudget": 1024}, {"thinkingBudget": 1024}),
        (Reasoning(effort="medium"), {"thinkingLevel": "MEDIUM"}, {"thinkingBudget": 8192}, {"thinkingBudget": 8192}),
        (Reasoning(effort="xhigh"), {"thinkingLevel": "XHIGH"}, {"thinkingBudget": 24576}, {"thinkingBudget": 24576}),
        (Reasoning(effort="max"), {"thinkingLevel": "HIGH"}, {"thinkingBudget": 24576}, {"thinkingBudget": 24576}),
        (
            Reasoning(budget=2000, visible=True),
            {"thinkingBudget": 2000, "includeThoughts": True},
            {"thinkingBudget": 2000, "includeThoughts": True},
            {"thinkingBudget": 2000, "includeThoughts": True},
        ),
        (Reasoning(budget=60000), {"thinkingBudget": 60000}, {"thinkingBudget": 24576}, {"thinkingBudget": 24576}),
        (Reasoning(adaptive=True), {}, {"thinkingBudget": -1}, {"thinkingBudget": -1}),
        (Reasoning(visible=False), {"includeThoughts": False}, {"includeThoughts": False}, {"includeThoughts": False}),
    ],
)
def test_reasoning(
    write: Write,
    chat: MakeChat,
    gemini3: Facts,
    flash: Facts,
    pro: Facts,
    reasoning: Reasoning,
    level: dict[str, Any],
    budget: dict[str, Any],
    always: dict[str, Any],
) -> None:
    for model, expected in ((gemini3, level), (flash, budget), (pro, always)):
        sent = write(chat(reasoning=reasoning), model)
        assert sent.body.get("generationConfig", {}).get("thinkingConfig", {}) == expected
        unmet = (reasoning.effort == "none" and not model.thinking_off) or (
            reasoning.budget == 60000 and model.thinking == "budget"
        )
        assert lost(sent) == (["reasoning"] if unmet else [])


def test_a_level_that_can_be_switched_off(write: Write, chat: MakeChat) -> None:
    sent = write(chat(reasoning=Reasoning(effort="none")), Facts(thinking="level"))
    assert sent.body["generationConfig"] == {"thinkingConfig": {"thinkingBudget": 0}}
    assert sent.losses == []


def test_a_model_that_does_not_think_is_not_told_how_to(write: Write, chat: MakeChat, old: Facts) -> None:
    assert lost(write(chat(reasoning=Reasoning(effort="high", visible=True)), old)) == ["reasoning"]
    sent = write(chat(reasoning=Reasoning(effort="none")), old)
    assert (sent.losses, "generationConfig" in sent.body) == ([], False)


def test_output_format(write: Write, chat: MakeChat, gemini3: Facts, old: Facts) -> None:
    schema = {"type": "object", "properties": {"a": {"anyOf": [{"type": "string"}, {"type": "null"}], "title": "A"}}}
    new = write(chat(output=OutputFormat("schema", "answer", schema, description="An answer")), gemini3).body[
        "generationConfig"
    ]
    assert new == {"responseMimeType": "application/json", "responseJsonSchema": {"description": "An answer", **schema}}
    flat = write(chat(output=OutputFormat("schema", "answer", schema)), old).body["generationConfig"]
    assert flat["responseSchema"] == {"type": "OBJECT", "properties": {"a": {"type": "STRING", "nullable": True}}}
    assert write(chat(output=OutputFormat("json")), old).body["generationConfig"] == {
        "responseMimeType": "application/json"
    }
    assert "generationConfig" not in write(chat(output=OutputFormat("text")), old).body


def test_beside_functions_only_gemini_3_takes_a_form(
    write: Write, chat: MakeChat, gemini3: Facts, flash: Facts
) -> None:
    asked = chat(tools=[Tool("f")], output=OutputFormat("schema", "answer", {"type": "object"}))
    assert write(asked, gemini3).body["generationConfig"]["responseJsonSchema"] == {"type": "object"}
    sent = write(asked, flash)
    assert ("generationConfig" in sent.body, lost(sent)) == (False, ["response_format"])
    assert sent.body["systemInstruction"]["parts"][0]["text"].endswith('JSON Schema: {"type":"object"}')
    asked = chat(
        Message("system", [Text("s")]), Message("user", [Text("u")]), tools=[Tool("f")], output=OutputFormat("json")
    )
    told = write(asked, flash).body["systemInstruction"]["parts"]
    assert (told[0]["text"], "JSON" in told[1]["text"], len(told)) == ("s", True, 2)


@pytest.mark.parametrize(
    ("details", "resolution", "losses"),
    [
        (("low", "low"), "LOW", []),
        (("low", None), None, ["detail"]),
        (("low", "high"), "HIGH", ["detail"]),
        (("auto", "high"), "HIGH", []),
        (("auto", None), None, []),
    ],
)
def test_no_image_is_seen_worse_than_asked(
    write: Write,
    chat: MakeChat,
    flash: Facts,
    details: tuple[str | None, ...],
    resolution: str | None,
    losses: list[str],
) -> None:
    images = [Media("image", url="https://a.test/a.png", detail=detail) for detail in details]
    sent = write(chat(Message("user", images)), flash)
    config = {"mediaResolution": f"MEDIA_RESOLUTION_{resolution}"} if resolution else {}
    assert (sent.body.get("generationConfig", {}), lost(sent)) == (config, losses)


@pytest.mark.parametrize(
    ("asked", "sent_tier"),
    [("auto", "standard"), ("default", "standard"), ("flex", "flex"), ("priority", "priority"), ("fast", "priority")],
)
def test_service_tier(write: Write, chat: MakeChat, gemini3: Facts, asked: str, sent_tier: str) -> None:
    assert write(chat(service_tier=asked), gemini3).body["serviceTier"] == sent_tier


def test_everything_that_has_no_word_is_reported(write: Write, chat: MakeChat, gemini3: Facts) -> None:
    foreign = Native("anthropic_messages", {"citations": {}})
    sent = write(
        chat(
            Message("system", [Text("Hi", cache=CacheMark("5m")), Media("image", data=PNG)]),
            Message(
                "user",
                [Text("Hi"), Native("anthropic_messages", {"type": "x"}), Media("image", data=PNG, extra=foreign)],
                name="Ann",
            ),
            tools=[Tool("f", extra=Native("anthropic_messages", {"defer_loading": True}))],
            service_tier="scale",
            user="u",
            metadata={"a": "b"},
            extras={"logit_bias": {}},
        ),
        gemini3,
    )
    assert lost(sent) == [
        "messages[0].content[1]",
        "messages[1].name",
        "messages[1].content[1]",
        "messages[1].content[2].citations",
        "tools[0].defer_loading",
        "service_tier",
        "logit_bias",
        "user",
        "metadata",
        "cache_control",
    ]


def test_one_rich_request(chats: Any, valid: Callable[..., Any], golden: Callable[[str], Any], gemini3: Facts) -> None:
    sent = chats.write_request(chats.read_request(golden("rich_request.json"), "gemini-3-pro-preview", False), gemini3)
    assert valid(sent.body) == golden("rich_body.json")
    assert sent.losses == []

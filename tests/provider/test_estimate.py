"""Estimates of tokens: near the documented four bytes, growing with everything that a model reads."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ailink_provider.chat import (
    Chat,
    Media,
    Message,
    Native,
    OutputFormat,
    Refusal,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolResult,
    WebSearch,
)
from ailink_provider.estimate import estimate_chat, estimate_text


def chat(*parts: Any, **more: Any) -> Chat:
    return Chat("m", [Message("user", list(parts))], **more)


@pytest.mark.parametrize(("text", "tokens"), [("", 0), ("a", 1), ("four", 1), ("fives", 2), ("日本", 2), ("é" * 4, 2)])
def test_four_bytes_are_a_token(text: str, tokens: int) -> None:
    assert estimate_text(text) == tokens


@given(st.text(), st.text())
def test_a_text_is_never_less_than_its_parts_nor_more_than_their_sum(one: str, other: str) -> None:
    whole = estimate_text(one + other)
    assert max(estimate_text(one), estimate_text(other)) <= whole <= estimate_text(one) + estimate_text(other)


def test_an_ordinary_question() -> None:
    assert estimate_chat(chat(Text("What is the weather in Paris?"))) == 3 + 4 + 8


@pytest.mark.parametrize("part", [
    Text("x"), Media("image", data="AA=="), Media("audio", data="AA=="), Media("document", url="https://x"),
    ToolCall("1", "f", '{"a":1}'), ToolResult("1", [Text("x")]), Thinking("x"), Thinking(redacted="x"), Refusal("x"),
    Native("d", {"a": 1}),
])
def test_every_part_counts(part: Any) -> None:
    assert estimate_chat(chat(part)) > estimate_chat(chat())


@pytest.mark.parametrize("more", [
    {"tools": [Tool("f", "d", {"type": "object"})]}, {"tools": [Native("d", {"type": "x"})]},
    {"output": OutputFormat("schema", schema={"type": "object"})},
])
def test_tools_and_output_schemas_count(more: dict[str, Any]) -> None:
    assert estimate_chat(chat(**more)) > estimate_chat(chat())


def test_what_is_not_read_does_not_count() -> None:
    assert estimate_chat(chat(tools=[WebSearch()], output=OutputFormat("json"))) == estimate_chat(chat())


def test_pictures_go_by_the_table_not_by_their_size() -> None:
    small, large = Media("image", data="AA=="), Media("image", data="A" * 100_000)
    assert estimate_chat(chat(small)) == estimate_chat(chat(large))
    assert estimate_chat(chat(Media("image", data="AA==", detail="low"))) < estimate_chat(chat(small))

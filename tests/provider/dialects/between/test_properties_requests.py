"""Any conversation survives the way from one dialect to another and back.

What must survive, as ``essence`` writes it down: the system prompt and the text of every turn, in order; every call
with its name and its arguments as equal JSON; every result, its text but for white space at the ends, and the call that
it answers (ids may change, but alike for both); images and documents of a turn in order, those of results first; which
tools the model may call, with description and schema, and whether it must; the schema of the answer, the limit,
temperature and stop sequences.
"""

import re
from collections.abc import Collection
from itertools import groupby, product
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ailink_provider.catalog import facts
from ailink_provider.chat import (
    Chat,
    Media,
    Message,
    OutputFormat,
    Text,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
)
from ailink_provider.dialects import Sent
from ailink_provider.registry import dialects

from .conftest import INBOUND, OUTBOUND

MODELS = {
    "openai_chat": "gpt-4o", "openai_responses": "gpt-4o", "anthropic_messages": "claude-sonnet-4-5",
    "gemini": "gemini-3-pro-preview", "bedrock_converse": "anthropic.claude-sonnet-4-5", "ollama": "qwen3:8b",
}
WAYS = list(product(INBOUND, OUTBOUND))
# What a dialect has no words for: it is lost, and told so.
UNSAID = {"openai_responses": {"stop"}, "ollama": {"choice", "lines"}}
# What a dialect refuses, or can say of other conversations only: it is not asked there.
UNASKED = {"bedrock_converse": {"url", "none", "tools unknown", "documents alone"},
           "ollama": {"url", "document", "none"}}
MARKER = re.compile(r"\[(image|document) attached\]")  # what a result says whose media had to be sent beside it
NOTHING = {"type": "object", "properties": {}}

words = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8).filter(str.strip)
names = st.from_regex(r"[a-zA-Z_][a-zA-Z0-9_-]{0,20}", fullmatch=True)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.floats(allow_nan=False, allow_infinity=False) | words,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(words, inner, max_size=2), max_leaves=4)
objects = st.dictionaries(words, json_values, max_size=2)
texts = st.builds(Text, words)
media = st.sampled_from([
    Media("image", "image/png", "iVBORw0KGgoAAAANSUhEUgAAAAE="), Media("image", "image/jpeg", "/9j/4AAQSkZJRgABAQ=="),
    Media("image", url="https://a.test/b.png"), Media("document", "application/pdf", "JVBERi0xLjcK", name="a.pdf")])
closed = st.dictionaries(names, st.sampled_from([{"type": "string"}, {"type": "integer"}]), min_size=1, max_size=3).map(
    lambda members: {"type": "object", "properties": members, "required": list(members), "additionalProperties": False})
tools = st.lists(st.builds(Tool, names, st.none() | words, st.none() | closed), max_size=3, unique_by=lambda t: t.name)


def shown(unasked: set[str]) -> st.SearchStrategy[Media]:
    """Media, but for what is refused."""
    return media.filter(lambda medium: not ({"url"} if medium.url else {medium.kind}) & unasked)


@st.composite
def chats(draw: st.DrawFn, unasked: set[str]) -> Chat:
    """Any chat that every dialect can say in full, but for what is not asked."""
    messages = [Message("system", [draw(texts)]) for _ in range(draw(st.integers(0, 2)))]
    results: list[Any] = []
    for turn in range(draw(st.integers(1, 3))):
        spoken = draw(st.lists(texts | shown(unasked), min_size=0 if results else 1, max_size=3))
        spoken += [Text("Look.")] * ("documents alone" in unasked)
        messages.append(Message("user", results + spoken))
        calls = [ToolCall(f"{draw(words)}{turn}.{number}", draw(names), msgspec.json.encode(draw(objects)).decode())
                 for number in range(draw(st.integers(0, 3)))]
        seen = st.lists(shown(unasked), max_size=1)
        results = [ToolResult(call.id, [Text(draw(words)), *draw(seen)]) for call in calls]
        messages.append(Message("assistant", [*draw(st.lists(texts, min_size=0 if calls else 1, max_size=2)), *calls]))
    messages.append(Message("user", [*results, draw(texts)]))
    offer = tools.filter(bool) if "tools unknown" in unasked else tools
    chat = Chat("m", messages, tools=draw(offer), max_tokens=draw(st.integers(16, 9999)),
                temperature=draw(st.none() | st.floats(0, 1)), stop=draw(st.lists(words, max_size=3)))
    if chat.tools:
        offered = st.lists(st.sampled_from([tool.name for tool in chat.tools]), min_size=1, unique=True)
        choices = st.none() | st.builds(ToolChoice, st.sampled_from(["auto", "required"]), st.none() | offered)
        chat.tool_choice = draw(choices if "none" in unasked else choices | st.just(ToolChoice("none")))
    chat.output = draw(st.none() | st.builds(OutputFormat, st.just("schema"), st.just("answer"), closed))
    return chat


def essence(chat: Chat, unsaid: Collection[str] = ()) -> dict[str, Any]:
    """Return what of a chat must survive, but for what is ``unsaid``."""

    def text(parts: list[Any]) -> str:
        said = "".join(part.text for part in parts if isinstance(part, Text))
        return said.replace("\n", "") if "lines" in unsaid else said

    ids: dict[str, int] = {}
    turns = []
    for role, group in groupby(chat.messages, key=lambda message: message.role):
        parts = [part for message in group for part in message.parts]
        for part in parts:
            if isinstance(part, ToolCall):
                ids[part.id] = len(ids)
        results = [part for part in parts if isinstance(part, ToolResult)]
        inside = [part for result in results for part in result.parts]
        turns.append({
            "role": role, "text": text(parts),
            "calls": [(ids[part.id], part.name, msgspec.json.decode(part.arguments or "{}")) for part in parts
                      if isinstance(part, ToolCall)],
            "results": [(ids[result.call_id], MARKER.sub("", text(result.parts)).strip()) for result in results],
            "media": [(part.kind, part.data, part.url) for part in inside + parts if isinstance(part, Media)],
        })
    choice = chat.tool_choice or ToolChoice("auto")
    offered = [(tool.name, tool.description, tool.schema or NOTHING) for tool in chat.tools if isinstance(tool, Tool)
               and (choice.names is None or tool.name in choice.names)]
    return {"turns": turns, "tools": offered, "choice": "auto" if "choice" in unsaid else choice.mode,
            "max_tokens": chat.max_tokens, "output": chat.output and chat.output.schema,
            "temperature": chat.temperature, "stop": [] if "stop" in unsaid else chat.stop}


def say(chat: Chat, dialect: str) -> tuple[Chat, Sent]:
    """Write a chat in a dialect and read what was written."""
    operation, model = dialects()[dialect].operations["chat"], MODELS[dialect]
    sent = operation.write_request(msgspec.structs.replace(chat, model=model), facts(model))
    return operation.read_request(msgspec.json.decode(msgspec.json.encode(sent.body)), model), sent


@pytest.mark.parametrize(("first", "second"), WAYS)
@settings(max_examples=8, deadline=None)
@given(data=st.data())
def test_there_and_back(breaches: Any, first: str, second: str, data: st.DataObject) -> None:
    chat = data.draw(chats(UNASKED.get(second, set())))
    unsaid = UNSAID.get(first, set()) | UNSAID.get(second, set())
    chat.dialect = first
    start, _ = say(chat, first)
    expected = essence(chat, unsaid)
    assert essence(start, unsaid) == expected
    there, sent = say(start, second)
    assert essence(there, unsaid) == expected
    assert breaches(second, MODELS[second], sent.body) == []
    back, _ = say(there, first)
    assert essence(back, unsaid) == expected


any_names = st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=70), min_size=1, max_size=4,
                     unique=True)


@pytest.mark.parametrize("dialect", MODELS)
@settings(max_examples=25, deadline=None)
@given(any_names)
def test_a_tool_has_one_name_wherever_it_is_named(breaches: Any, dialect: str, tool_names: list[str]) -> None:
    """Declared, called and answered under one name that the vendor takes, and which the reply undoes."""
    calls = [ToolCall(f"id{number}", name) for number, name in enumerate(tool_names)]
    chat = Chat("m", [
        Message("user", [Text("Hi")]), Message("assistant", list(calls)),
        Message("user", [ToolResult(call.id, [Text("r")]) for call in calls])],
        "another", tools=[Tool(name) for name in tool_names], tool_choice=ToolChoice("required", tool_names[:1]))
    heard, sent = say(chat, dialect)
    assert breaches(dialect, MODELS[dialect], sent.body) == []
    declared = [tool.name for tool in heard.tools if isinstance(tool, Tool)]
    called = [part.name for part in heard.messages[1].parts if isinstance(part, ToolCall)]
    answered = [part.name for message in heard.messages for part in message.parts
                if isinstance(part, ToolResult) and part.name]
    assert [sent.names.get(name, name) for name in called] == tool_names
    assert answered in ([], called)
    if dialect == "ollama":  # which is offered the tools that it may call, and no others
        assert declared == called[:1]
    else:
        assert (declared, heard.tool_choice) == (called, ToolChoice("required", called[:1]))

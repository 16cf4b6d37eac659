"""Traps between wire formats that are not among the rows: what vendors refuse, and what must not leak."""

import json
from itertools import product
from typing import Any

import pytest

from ailink_provider.catalog import facts
from ailink_provider.chat import (
    Chat,
    Choice,
    Finish,
    Media,
    Message,
    Native,
    Reply,
    Text,
    Tool,
    ToolCall,
    ToolResult,
    unfold,
)
from ailink_provider.dialects import Sent
from ailink_provider.registry import dialects

SPEAKERS = {
    "gpt-4o": "openai_chat", "gpt-5": "openai_chat", "claude-3-5-sonnet-20241022": "anthropic_messages",
    "claude-sonnet-4-5": "anthropic_messages", "claude-opus-5-5": "anthropic_messages", "gemini-1.5-pro": "gemini",
    "gemini-2.5-flash": "gemini", "gemini-3-pro-preview": "gemini",
}
NAMES = ("openai_chat", "anthropic_messages", "gemini")
ASKED = Chat("m", [])
TOOLS = [{"type": "function", "function": {"name": "look"}}]


@pytest.mark.parametrize("tools", [{}, {"tools": TOOLS}], ids=["alone", "beside tools"])
@pytest.mark.parametrize("model", SPEAKERS)
def test_any_json_object(ask: Any, breaches: Any, model: str, tools: Any) -> None:
    sent = ask("openai_chat", {"response_format": {"type": "json_object"}, "messages": [
        {"role": "user", "content": "As JSON, please."}], **tools}, model)
    assert breaches(SPEAKERS[model], model, sent.body) == []
    in_words = "JSON object" in json.dumps(sent.body)
    assert in_words == (model.startswith("claude") or (bool(tools) and model in ("gemini-1.5-pro", "gemini-2.5-flash")))
    assert [loss.field for loss in sent.losses] == ["response_format"] * in_words


@pytest.mark.parametrize("model", ["gpt-4o", "claude-3-5-sonnet-20241022", "claude-sonnet-4-5", "gemini-2.5-flash"])
@pytest.mark.parametrize("inbound", NAMES[:2])
def test_the_beginning_of_an_answer(ask: Any, breaches: Any, inbound: str, model: str) -> None:
    sent = ask(inbound, {"messages": [{"role": "user", "content": "Two and two?"},
                                      {"role": "assistant", "content": "The answer is: \n"}]}, model)
    assert breaches(SPEAKERS[model], model, sent.body) == []
    assert "The answer is:" in json.dumps(sent.body)


PAGE = "https://sky.test/paris"
CITED: dict[str, Any] = {
    "openai_chat": {"choices": [{"index": 0, "finish_reason": "stop", "message": {
        "role": "assistant", "content": "It rains.", "annotations": [
            {"type": "url_citation", "url_citation": {"url": PAGE, "title": "Sky", "start_index": 0, "end_index": 9}},
            {"type": "file", "file": {"hash": "odd"}}]}}]},
    "anthropic_messages": {"type": "message", "role": "assistant", "stop_reason": "end_turn", "content": [
        {"type": "text", "text": "It rains.", "citations": [
            {"type": "web_search_result_location", "url": PAGE, "title": "Sky", "cited_text": "rain",
             "encrypted_index": "odd"},
            {"type": "char_location", "cited_text": "x", "document_index": 0, "document_title": None, "file_id": None,
             "start_char_index": 0, "end_char_index": 1}]}]},
    "gemini": {"candidates": [{"index": 0, "finishReason": "STOP", "content": {"parts": [{"text": "It rains."}]},
                               "groundingMetadata": {"webSearchQueries": ["odd"], "groundingChunks": [
                                   {"web": {"uri": PAGE, "title": "Sky"}}]}}]},
}


def sources(dialect: str, turn: Any, answer: Any) -> list[tuple[str, str]]:
    """Return the web pages that a client sees, and fail if it sees anything that its vendor does not know."""
    if dialect == "openai_chat":
        notes = turn.get("annotations", [])
        assert {note["type"] for note in notes} <= {"url_citation"}
        return [(note["url_citation"]["url"], note["url_citation"]["title"]) for note in notes]
    if dialect == "anthropic_messages":
        notes = [note for block in turn["content"] for note in block.get("citations") or ()]
        assert {note["type"] for note in notes} <= {"web_search_result_location", "char_location"}
        return [(note["url"], note["title"]) for note in notes if "url" in note]
    shown = json.loads(answer) if isinstance(answer, str) else answer["candidates"][0]
    chunks = shown["groundingMetadata"]["groundingChunks"]
    return [(chunk["web"]["uri"], chunk["web"]["title"]) for chunk in chunks]


@pytest.mark.parametrize(("inbound", "outbound"), list(product(NAMES, NAMES)))
def test_pages_that_are_cited(turn_of: Any, write: Any, data_of: Any, inbound: str, outbound: str) -> None:
    """A web page is shown to every client in its own vendor's words; what only one vendor can say goes no further."""
    reply = dialects()[inbound].operations["chat"].read_reply(CITED[inbound], Sent({}))
    whole = dialects()[outbound].operations["chat"].write_reply(reply, ASKED)
    stream = write(outbound, unfold(reply))
    last = json.dumps(data_of(stream)[-1]["candidates"][0]) if outbound == "gemini" else ""
    assert sources(outbound, turn_of(outbound, whole), whole) == [(PAGE, "Sky")]
    assert sources(outbound, turn_of(outbound, stream), last) == [(PAGE, "Sky")]
    assert ("odd" in json.dumps(whole)) == (inbound == outbound != "openai_chat")


def test_a_page_shown_to_a_client_is_not_sent_to_a_vendor_that_never_saw_it(ask: Any, turn_of: Any) -> None:
    note = {"type": "url_citation", "url": PAGE, "title": "Sky"}
    reply = Reply("r", "m", choices=[Choice([Text("It rains.", annotations=[note])], Finish("stop"))])
    turn = turn_of("anthropic_messages", dialects()["anthropic_messages"].operations["chat"].write_reply(reply, ASKED))
    assert PAGE in json.dumps(turn)
    for model in SPEAKERS:
        sent = ask("anthropic_messages", {"messages": [{"role": "user", "content": "Hi"}, turn,
                                                       {"role": "user", "content": "And now?"}]}, model)
        assert PAGE not in json.dumps(sent.body)


@pytest.mark.parametrize("model", ["gpt-4o", "claude-sonnet-4-5", "gemini-3-pro-preview"])
def test_members_that_only_another_dialect_knows_are_reported(breaches: Any, model: str) -> None:
    extra = Native("another", {"odd": 1})
    chat = Chat(model, [
        Message("system", [Text("s")]),
        Message("user", [Text("u"), Media("image", "image/png", "iVBORw0KGgoAAAANSUhEUgAAAAE=", extra=extra)]),
        Message("assistant", [ToolCall("a", "look", extra=extra)]),
        Message("user", [ToolResult("a", [Text("r"), Media("image", "image/png", "iVBORw0KGgoAAAANSUhEUgAAAAE=",
                                                           extra=extra)], extra=extra), Native("another", {"x": 1})]),
    ], "another", tools=[Tool("look", extra=extra), Native("another", {"type": "own"})], apart=1)
    sent = dialects()[SPEAKERS[model]].operations["chat"].write_request(chat, facts(model))
    assert breaches(SPEAKERS[model], model, sent.body) == []
    assert "odd" not in json.dumps(sent.body)
    lost = {loss.field for loss in sent.losses}
    assert {"messages[0].content[1].odd", "messages[1].content[0].odd", "messages[2].content[0].odd",
            "messages[2].content[1]", "tools[0].odd", "tools[1]"} <= lost

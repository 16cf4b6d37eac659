"""What went wrong in gateways between wire formats: the rows that are about one family's own ways. The list of rows is
in ``test_rows``."""

import json
from typing import Any

import pytest

from ailink_provider.catalog import facts
from ailink_provider.dialects import Sent
from ailink_provider.errors import Failure
from ailink_provider.registry import dialects

from .conftest import INBOUND, MODELS
from .test_rows_requests import PDF, PNG, loop
from .test_rows_streams import lines

CLAUDE = MODELS["bedrock_converse"][0]


@pytest.mark.parametrize("model", MODELS["bedrock_converse"])
@pytest.mark.parametrize("inbound", INBOUND)
def test_row_27_bedrock_wants_tools_where_history_has_some(ask: Any, breaches: Any, inbound: str, model: str) -> None:
    body = loop(inbound, ["sun"])
    del body["tools"]
    sent = ask(inbound, body, model, "bedrock_converse")
    assert breaches("bedrock_converse", model, sent.body) == []
    assert [tool["toolSpec"]["name"] for tool in sent.body["toolConfig"]["tools"]] == ["look"]
    assert "toolChoice" not in sent.body["toolConfig"]
    assert "tools" in {loss.field for loss in sent.losses}


NONE: dict[str, Any] = {
    "openai_chat": {"tool_choice": "none"}, "openai_responses": {"tool_choice": "none"},
    "anthropic_messages": {"tool_choice": {"type": "none"}},
    "gemini": {"toolConfig": {"functionCallingConfig": {"mode": "NONE"}}},
}


@pytest.mark.parametrize("inbound", INBOUND)
def test_row_27_bedrock_has_no_word_for_no_tool(ask: Any, breaches: Any, inbound: str) -> None:
    """Without history the tools are kept from the model; with it they must stay, and the client is told."""
    talk = loop(inbound, ["sun"])
    fresh = {"tools": talk["tools"]} | NONE[inbound]
    sent = ask(inbound, fresh, CLAUDE, "bedrock_converse")
    assert ("toolConfig" in sent.body, sent.losses) == (False, [])
    sent = ask(inbound, talk | NONE[inbound], CLAUDE, "bedrock_converse")
    assert breaches("bedrock_converse", CLAUDE, sent.body) == []
    assert ("toolChoice" in sent.body["toolConfig"], [loss.field for loss in sent.losses]) == (False, ["tool_choice"])


FILES = ["report v1.2 (final).pdf", "report v1.2 (final).pdf", "日本.pdf", "a  b\tc.pdf", "x" * 250 + ".pdf", "", None]


def test_row_28_documents_of_bedrock_s_have_plain_names_and_words_beside_them(ask: Any, breaches: Any) -> None:
    data = f"data:application/pdf;base64,{PDF}"
    files = [{"type": "file", "file": {"file_data": data} | ({"filename": name} if name is not None else {})}
             for name in FILES]
    sent = ask("openai_chat", {"messages": [{"role": "user", "content": files}]}, CLAUDE, "bedrock_converse")
    assert breaches("bedrock_converse", CLAUDE, sent.body) == []
    content = sent.body["messages"][0]["content"]
    names = [block["document"]["name"] for block in content if "document" in block]
    assert (len(names), len(set(names))) == (len(FILES), len(FILES))
    assert any(block.get("text") for block in content)
    spoken = [{"type": "text", "text": "Read."}, files[0]]
    sent = ask("openai_chat", {"messages": [{"role": "user", "content": spoken}]}, CLAUDE, "bedrock_converse")
    assert [next(iter(block)) for block in sent.body["messages"][0]["content"]] == ["text", "document"]


ITEMS = [
    {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "Secretly."}],
     "encrypted_content": "gAAAAAsecret"},
    {"type": "function_call", "id": "fc_1", "call_id": "a", "name": "look", "arguments": "{}"},
    {"type": "function_call_output", "call_id": "a", "output": "ok"},
]


@pytest.mark.parametrize(("outbound", "model"), [
    ("openai_chat", "gpt-5"), ("anthropic_messages", "claude-opus-5-5"), ("gemini", "gemini-3-pro-preview"),
    ("bedrock_converse", "us.anthropic.claude-opus-5-5-v1:0"), ("ollama", "qwen3:8b")])
@pytest.mark.parametrize("store", [False, None])
def test_row_31_encrypted_reasoning_is_no_message(
        ask: Any, breaches: Any, outbound: str, model: str, store: bool | None) -> None:
    """Elsewhere it says nothing, neither as a turn nor as words, and its absence is no loss."""
    body = {"input": [{"role": "user", "content": "Hi"}, *ITEMS], "include": ["reasoning.encrypted_content"],
            "tools": [{"type": "function", "name": "look", "parameters": {"type": "object", "properties": {}},
                       "strict": False}]} | ({} if store is None else {"store": store})
    sent = ask("openai_responses", body, model, outbound)
    assert breaches(outbound, model, sent.body) == []
    written = json.dumps(sent.body)
    assert "secret" not in written.lower()
    turns = sent.body.get("contents") or sent.body["messages"]
    assert [turn["role"] for turn in turns][:2] == ["user", "model" if outbound == "gemini" else "assistant"]
    assert sent.losses == []


@pytest.mark.parametrize("store", [False, True, None])
def test_row_31_encrypted_reasoning_goes_back_as_it_came(ask: Any, store: bool | None) -> None:
    body = {"input": [{"role": "user", "content": "Hi"}, *ITEMS]} | ({} if store is None else {"store": store})
    sent = ask("openai_responses", body, "gpt-5", "openai_responses")
    assert sent.body["input"][1] == ITEMS[0]
    assert sent.body.get("store") == store


@pytest.mark.parametrize("outbound", INBOUND)
def test_row_33_arguments_of_ollama_s_calls_reach_every_client(
        read: Any, write: Any, framed: Any, understood: Any, outbound: str) -> None:
    arguments: dict[str, Any] = {"city": "Paris", "days": [1, 2], "deep": {"x": None, "y": "ü\n"}}
    calls = [{"id": f"t{number}", "function": {"index": number, "name": "look", "arguments": given}}
             for number, given in enumerate([arguments, {}, arguments])]
    for messages in ([{"tool_calls": calls}], [{"tool_calls": [call]} for call in calls]):
        events = read("ollama", framed("ollama", *lines(*messages)), size=7)
        said = understood(outbound, write(outbound, events))
        assert said["calls"] == [("t0", "look", arguments), ("t1", "look", {}), ("t2", "look", arguments)]
        assert said["finish"] == "tool_calls"


def test_an_image_that_cannot_be_fetched_is_refused_with_the_way_out(ask: Any) -> None:
    image = {"type": "image_url", "image_url": {"url": "https://pictures.test/a.png"}}
    for outbound, model in (("ollama", "qwen3:8b"), ("bedrock_converse", CLAUDE)):
        with pytest.raises(Failure, match="data") as caught:
            ask("openai_chat", {"messages": [{"role": "user", "content": [image]}]}, model, outbound)
        assert (caught.value.code, caught.value.param) == ("unsupported_parameter", "messages[0].content[0]")
        image["image_url"] = {"url": f"data:image/png;base64,{PNG}"}
        assert PNG in json.dumps(ask("openai_chat", {"messages": [{"role": "user", "content": [
            {"type": "text", "text": "See."}, image]}]}, model, outbound).body)
        image["image_url"] = {"url": "https://pictures.test/a.png"}


def test_what_the_families_take_for_granted() -> None:
    """The models that stand for the families are known for what they are."""
    assert (facts(CLAUDE).thinking, facts("us.anthropic.claude-opus-5-5-v1:0").forced_tools) == ("budget", False)
    assert dialects()["ollama"].operations["chat"].reader(Sent({})).close()

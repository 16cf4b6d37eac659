"""This dialect's clients with models of the others, and the other way round: what must survive the change of words."""

from collections.abc import Callable
from typing import Any

import msgspec
import openai
import pytest

from ailink_provider.catalog import facts
from ailink_provider.dialects import anthropic_messages, gemini, openai_chat, openai_responses
from ailink_provider.errors import Failure

HERE = openai_responses.DIALECT.operations["chat"]
CHAT = openai_chat.DIALECT.operations["chat"]
CLAUDE = anthropic_messages.DIALECT.operations["chat"]
GEMINI = gemini.DIALECT.operations["chat"]
OTHERS = [(CHAT, "gpt-4o"), (CLAUDE, "claude-sonnet-4-5"), (GEMINI, "gemini-2.5-pro")]
IDS = ["openai_chat", "anthropic_messages", "gemini"]

BOUND = [{"previous_response_id": "resp_1"}, {"conversation": "conv_1"}, {"background": True}, {"prompt": {"id": "p"}},
         {"input": [{"type": "item_reference", "id": "msg_1"}]},
         {"input": [{"type": "compaction", "encrypted_content": "x"}]}]


def asked(items: Any = "Hi", **fields: Any) -> Any:
    return HERE.read_request({"model": "m", "input": items} | fields)


@pytest.mark.parametrize(("target", "model"), OTHERS, ids=IDS)
@pytest.mark.parametrize("fields", BOUND, ids=lambda fields: next(iter(fields)))
def test_what_only_the_vendor_keeps_is_refused_elsewhere(target: Any, model: str, fields: dict[str, Any]) -> None:
    chat = asked(**{"items": "Hi"} | {"items" if key == "input" else key: value for key, value in fields.items()})
    with pytest.raises(Failure) as caught:
        target.write_request(chat, facts(model))
    assert caught.value.status == 400
    assert caught.value.param in (*fields, "input[0]")
    assert HERE.write_request(chat, facts(model)).body["model"] == "m"


@pytest.mark.parametrize(("target", "model"), OTHERS, ids=IDS)
def test_a_coding_agents_request_loses_nothing_that_matters(target: Any, model: str) -> None:
    chat = asked([{"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Hi"}]}],
                 instructions="Code.", store=False, stream=True, include=["reasoning.encrypted_content"],
                 parallel_tool_calls=True, tool_choice="auto", truncation="disabled",
                 tools=[{"type": "function", "name": "shell", "description": "d", "strict": False,
                         "parameters": {"type": "object", "properties": {"command": {"type": "string"}}}}])
    assert target.write_request(chat, facts(model)).losses == []


@pytest.mark.parametrize(("target", "model"), OTHERS, ids=IDS)
def test_encrypted_reasoning_never_becomes_words(target: Any, model: str) -> None:
    thought = {"type": "reasoning", "id": "rs_1", "encrypted_content": "SECRET",
               "summary": [{"type": "summary_text", "text": "SECRET"}]}
    call = {"type": "function_call", "call_id": "a", "name": "f", "arguments": "{}"}
    result = {"type": "function_call_output", "call_id": "a", "output": "42"}
    sent = target.write_request(asked([{"role": "user", "content": "Go"}, thought, call, result]), facts(model))
    written = msgspec.json.encode(sent.body)
    assert b"SECRET" not in written
    assert b"42" in written
    assert sent.losses == []


def test_parallel_calls_and_their_results_stay_together_in_chat() -> None:
    calls = [{"type": "function_call", "call_id": name, "name": "f", "arguments": "{}"} for name in ("a", "b")]
    results = [{"type": "function_call_output", "call_id": name, "output": name} for name in ("a", "b")]
    sent = CHAT.write_request(asked([{"role": "user", "content": "Go"}, *calls, *results]), facts("gpt-4o"))
    assert [message["role"] for message in sent.body["messages"]] == ["user", "assistant", "tool", "tool"]
    assert [call["id"] for call in sent.body["messages"][1]["tool_calls"]] == ["a", "b"]


def test_allowed_tools_and_their_number_reach_another_vendor() -> None:
    tools = [{"type": "function", "name": name, "parameters": {"type": "object"}} for name in ("f", "g", "h")]
    choice = {"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "f"},
                                                                     {"type": "function", "name": "g"}]}
    body = CLAUDE.write_request(asked(tools=tools, tool_choice=choice, parallel_tool_calls=False),
                                facts("claude-sonnet-4-5")).body
    assert [tool["name"] for tool in body["tools"]] == ["f", "g"]
    assert body["tool_choice"] == {"type": "any", "disable_parallel_tool_use": True}


@pytest.mark.parametrize(("source", "body"), [
    (CHAT, {"messages": [{"role": "user", "content": "Go"}, {"role": "assistant", "tool_calls": [
        {"id": "functions.x:0 " * 9, "type": "function", "function": {"name": "f", "arguments": ""}}]},
        {"role": "tool", "tool_call_id": "functions.x:0 " * 9, "content": "1"}]}),
    (CLAUDE, {"max_tokens": 99, "messages": [
        {"role": "user", "content": "Go"},
        {"role": "assistant", "content": [{"type": "tool_use", "id": "toolu_" + "x" * 99, "name": "f", "input": {}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_" + "x" * 99, "content": "1"}]}]}),
], ids=IDS[:2])
def test_long_ids_of_others_fit_and_agree(source: Any, body: dict[str, Any], accepted: Callable[..., Any]) -> None:
    sent = HERE.write_request(source.read_request({"model": "gpt-5"} | body), facts("gpt-5"))
    _, call, result = accepted(sent.body)["input"]
    assert call["call_id"] == result["call_id"]
    assert len(call["call_id"]) <= 64
    assert call["arguments"] == "{}"


def test_thoughts_of_this_vendors_survive_a_chat_client() -> None:
    greeting = {"role": "user", "content": "Hi"}
    first = CHAT.read_request({"model": "m", "messages": [greeting]})
    item = {"type": "reasoning", "id": "rs_1", "encrypted_content": "gA=", "summary": [
        {"type": "summary_text", "text": "a"}, {"type": "summary_text", "text": "b"}]}
    sent = HERE.write_request(first, facts("gpt-5"))
    reply = HERE.read_reply({"output": [item, {"type": "function_call", "call_id": "a", "name": "f",
                                               "arguments": "{}"}]}, sent)
    message = CHAT.write_reply(reply, first)["choices"][0]["message"]
    again = CHAT.read_request({"model": "m", "messages": [greeting, message, {"role": "tool", "tool_call_id": "a",
                                                                              "content": "1"}]})
    assert HERE.write_request(again, facts("gpt-5")).body["input"][1] == item


def chat_stream(*deltas: dict[str, Any], finish: str | None = "stop", done: bool = True) -> bytes:
    chunks = [{"id": "c-1", "object": "chat.completion.chunk", "created": 1, "model": "m",
               "choices": [{"index": 0, "delta": delta, "finish_reason": None}]} for delta in deltas]
    if finish is not None:
        chunks.append(chunks[0] | {"choices": [{"index": 0, "delta": {}, "finish_reason": finish}]})
    body = b"".join(b"data: " + msgspec.json.encode(chunk) + b"\n\n" for chunk in chunks)
    return body + (b"data: [DONE]\n\n" if done else b"")


def bridged(source: Any, stream: bytes, size: int = 1) -> bytes:
    """Bring another dialect's stream to a client of this one, cut into pieces of ``size`` bytes."""
    chat = asked(stream=True)
    sent = source.write_request(chat, facts("m"))
    reader, writer = source.reader(sent), HERE.writer(chat)
    found = [event for start in range(0, len(stream), size) for event in reader.feed(stream[start : start + size])]
    return b"".join([writer.write(event) for event in [*found, *reader.close()]])


def final(sdk: Callable[..., openai.OpenAI], stream: bytes) -> Any:
    with sdk(stream).responses.stream(model="m", input="Hi") as events:
        return events.get_final_response()


def piece(index: int, arguments: str, **opening: str) -> dict[str, Any]:
    """Return a delta of a call; the first of a call has its ``id`` and ``name``."""
    function = {"arguments": arguments} | ({"name": opening["name"]} if opening else {})
    return {"tool_calls": [{"index": index, "function": function} | ({"id": opening["id"]} if opening else {})]}


def test_parallel_calls_of_a_chat_model(sdk: Callable[..., openai.OpenAI]) -> None:
    stream = chat_stream(
        {"role": "assistant", "content": "Ok 🙂"}, piece(0, "", id="a", name="f"),
        piece(1, "", id="b", name="g"), piece(0, '{"x"'), piece(1, '{"y":2}'), piece(0, ":1}"),
        piece(2, "", id="c", name="h"), finish="tool_calls")
    for size in (1, 7, 4096):
        reply = final(sdk, bridged(CHAT, stream, size))
        assert reply.output_text == "Ok 🙂"
        assert [(call.call_id, call.name, call.arguments) for call in reply.output[1:]] == [
            ("a", "f", '{"x":1}'), ("b", "g", '{"y":2}'), ("c", "h", "{}")]


def test_a_chat_stream_that_is_cut_short_is_no_success(sdk: Callable[..., openai.OpenAI]) -> None:
    stream = bridged(CHAT, chat_stream({"content": "Hal"}, finish=None, done=False))
    with pytest.raises(openai.APIError, match="before it was complete"):
        final(sdk, stream)
    assert b"response.completed" not in stream


def claude_stream(*, error: bool = False) -> bytes:
    usage = {"input_tokens": 5, "output_tokens": 1}
    events: list[dict[str, Any]] = [
        {"type": "message_start", "message": {"id": "msg_1", "type": "message", "role": "assistant", "model": "c",
                                              "content": [], "usage": usage}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "thinking", "thinking": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "thinking_delta", "thinking": "Hm."}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "signature_delta", "signature": "sig"}},
        {"type": "content_block_stop", "index": 0},
        {"type": "content_block_start", "index": 1, "content_block": {"type": "redacted_thinking", "data": "hid"}},
        {"type": "content_block_stop", "index": 1},
        {"type": "content_block_start", "index": 2, "content_block": {"type": "tool_use", "id": "toolu_1", "name": "f",
                                                                      "input": {}}},
        {"type": "content_block_delta", "index": 2, "delta": {"type": "input_json_delta", "partial_json": '{"ü":1}'}},
        {"type": "content_block_stop", "index": 2},
        {"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": {"output_tokens": 9}},
        {"type": "message_stop"}]
    if error:
        events[7:] = [{"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}]
    return b"".join(b"event: " + event["type"].encode() + b"\ndata: " + msgspec.json.encode(event) + b"\n\n"
                    for event in events)


def test_signed_thoughts_of_claude_come_back_to_it(sdk: Callable[..., openai.OpenAI]) -> None:
    reply = final(sdk, bridged(CLAUDE, claude_stream()))
    assert [item.type for item in reply.output] == ["reasoning", "reasoning", "function_call"]
    assert reply.output[0].summary[0].text == "Hm."
    items = [item.to_dict(exclude_none=True) for item in reply.output]
    result = {"type": "function_call_output", "call_id": "toolu_1", "output": "1"}
    again = asked([{"role": "user", "content": "Go"}, *items, result], reasoning={"effort": "low"})
    messages = CLAUDE.write_request(again, facts("claude-sonnet-4-5")).body["messages"]
    assert messages[1]["content"] == [
        {"type": "thinking", "thinking": "Hm.", "signature": "sig"}, {"type": "redacted_thinking", "data": "hid"},
        {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {"ü": 1}}]


def test_an_error_amid_claudes_stream_raises_in_the_client(sdk: Callable[..., openai.OpenAI]) -> None:
    with pytest.raises(openai.APIError, match="verloaded") as caught:
        final(sdk, bridged(CLAUDE, claude_stream(error=True)))
    assert caught.value.code == "upstream_overloaded"


def test_signatures_of_gemini_come_back_on_their_calls() -> None:
    body = {"candidates": [{"content": {"role": "model", "parts": [
        {"functionCall": {"name": "f", "args": {"x": 1}, "id": "c1"}, "thoughtSignature": "c2ln"},
        {"functionCall": {"name": "g", "args": {}, "id": "c2"}}]}, "finishReason": "STOP"}]}
    chat = asked()
    reply = GEMINI.read_reply(body, GEMINI.write_request(chat, facts("gemini-3-pro-preview")))
    items = HERE.write_reply(reply, chat)["output"]
    results = [{"type": "function_call_output", "call_id": name, "output": "1"} for name in ("c1", "c2")]
    again = asked([{"role": "user", "content": "Go"}, *items, *results])
    turn = GEMINI.write_request(again, facts("gemini-3-pro-preview")).body["contents"][1]
    assert [part.get("thoughtSignature") for part in turn["parts"]] == ["c2ln", None]

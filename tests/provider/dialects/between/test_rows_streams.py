"""What went wrong in gateways between wire formats: answers and their streams. The list of rows is in ``test_rows``."""

from typing import Any

import anthropic
import openai
import pytest
from google.genai import errors as google_errors

from ailink_provider.chat import (
    Chat,
    Event,
    Finish,
    MessageDelta,
    MessageEnd,
    MessageError,
    MessageStart,
    PartDelta,
    PartEnd,
    PartStart,
    Text,
    ToolCall,
    collect,
)
from ailink_provider.dialects import Sent
from ailink_provider.registry import dialects

from .conftest import INBOUND, OUTBOUND

NAMES = INBOUND
# From each upstream to each client.
PAIRS = [(inbound, outbound) for inbound in OUTBOUND for outbound in INBOUND]
CHAT = Chat("m", [])
TEXT = "Ça va — 日本 \U0001f600"
HEAD = {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "m"}


def chunk(delta: Any = None, finish: Any = None, **more: Any) -> dict[str, Any]:
    """One chunk of OpenAI's."""
    return {**HEAD, "choices": [{"index": 0, "delta": delta or {}, "finish_reason": finish}], **more}


def candidate(*parts: Any, finish: str | None = None, **more: Any) -> dict[str, Any]:
    """One chunk of Gemini's."""
    ending = {"finishReason": finish} if finish else {}
    return {"candidates": [{"content": {"parts": list(parts), "role": "model"}, "index": 0, **ending}], **more}


def message(*events: dict[str, Any], stop: str = "end_turn", usage: Any = None, **ending: Any) -> list[dict[str, Any]]:
    """The events of Anthropic's around those of the content; the blocks are numbered here."""
    body = {"id": "m1", "type": "message", "role": "assistant", "model": "m", "content": [], "stop_reason": None,
            "stop_sequence": None, "usage": {"input_tokens": 7, "output_tokens": 1}}
    return [{"type": "message_start", "message": body}, *events,
            {"type": "message_delta", "delta": {"stop_reason": stop, "stop_sequence": None, **ending},
             "usage": {"output_tokens": 5, **(usage or {})}}, {"type": "message_stop"}]


def block(index: int, start: dict[str, Any], *deltas: dict[str, Any]) -> list[dict[str, Any]]:
    """The events of one block."""
    return [{"type": "content_block_start", "index": index, "content_block": start},
            *({"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas),
            {"type": "content_block_stop", "index": index}]


def said(text: str, index: int = 0) -> list[dict[str, Any]]:
    return block(index, {"type": "text", "text": ""}, {"type": "text_delta", "text": text})


def lines(*messages: dict[str, Any], reason: str = "stop") -> list[dict[str, Any]]:
    """The lines of Ollama's around those messages."""
    head = {"model": "m", "created_at": "2026-01-01T00:00:00.0Z"}
    said = [{**head, "message": {"role": "assistant", "content": "", **item}, "done": False} for item in messages]
    return [*said, {**head, "message": {"role": "assistant", "content": ""}, "done": True, "done_reason": reason,
                    "prompt_eval_count": 7, "eval_count": 5}]


def converse(*events: dict[str, Any], stop: str = "end_turn") -> list[dict[str, Any]]:
    """The events of Bedrock's around those of the content."""
    return [{"messageStart": {"role": "assistant"}}, *events, {"messageStop": {"stopReason": stop}},
            {"metadata": {"usage": {"inputTokens": 7, "outputTokens": 5, "totalTokens": 12},
                          "metrics": {"latencyMs": 1}}}]


def used(index: int, name: str, *inputs: str) -> list[dict[str, Any]]:
    """The events of one call of Bedrock's."""
    at = {"contentBlockIndex": index}
    return [{"contentBlockStart": {"start": {"toolUse": {"toolUseId": f"t{index}", "name": name}}, **at}},
            *({"contentBlockDelta": {"delta": {"toolUse": {"input": piece}}, **at}} for piece in inputs),
            {"contentBlockStop": at}]


def response(status: str = "completed", **more: Any) -> dict[str, Any]:
    """One reply of Responses', without its output."""
    return {"id": "r1", "object": "response", "created_at": 1, "model": "m", "status": status, "output": [], **more}


def responded(*events: dict[str, Any], status: str = "completed", **more: Any) -> list[dict[str, Any]]:
    """The events of Responses' around those of the items."""
    usage = {"input_tokens": 7, "input_tokens_details": {"cached_tokens": 0}, "output_tokens": 5,
             "output_tokens_details": {"reasoning_tokens": 0}, "total_tokens": 12}
    return [{"type": "response.created", "response": response("in_progress")}, *events,
            {"type": f"response.{status}", "response": response(status, usage=usage, **more)}]


def item_call(index: int, name: str, *pieces: str) -> list[dict[str, Any]]:
    """The events of one call of Responses'."""
    item = {"type": "function_call", "id": f"fc{index}", "call_id": f"t{index}", "name": name, "arguments": ""}
    at = {"output_index": index}
    deltas = [{"type": "response.function_call_arguments.delta", "delta": piece, **at} for piece in pieces]
    return [{"type": "response.output_item.added", "item": item, **at}, *deltas,
            {"type": "response.output_item.done", "item": item | {"arguments": "".join(pieces)}, **at}]


# One short answer as each vendor streams it.
PLAIN: dict[str, list[Any]] = {
    "openai_responses": responded({"type": "response.output_text.delta", "output_index": 0, "delta": TEXT}),
    "bedrock_converse": converse({"contentBlockDelta": {"delta": {"text": TEXT}, "contentBlockIndex": 0}},
                                 {"contentBlockStop": {"contentBlockIndex": 0}}),
    "ollama": lines({"content": TEXT}),
    "openai_chat": [chunk({"role": "assistant", "content": ""}), chunk({"content": TEXT}), chunk(finish="stop")],
    "anthropic_messages": message(*said(TEXT)),
    "gemini": [candidate({"text": TEXT}, finish="STOP")],
}


@pytest.mark.parametrize("inbound", OUTBOUND)
def test_row_01_parallel_calls_have_indexes_in_a_row(
        read: Any, write: Any, upstream_of: Any, data_of: Any, inbound: str) -> None:
    chunks = data_of(write("openai_chat", read(inbound, upstream_of(inbound))))
    calls = [call for item in chunks for choice in item["choices"] for call in choice["delta"].get("tool_calls", ())]
    named = [(call["index"], call["id"]) for call in calls if "id" in call]
    assert [index for index, _ in named] == [0, 1]
    assert len({key for _, key in named}) == 2
    assert {call["index"] for call in calls} == {0, 1}


def call_piece(index: int, arguments: str, **first: Any) -> dict[str, Any]:
    named = {"id": f"t{index}", "type": "function"} if first else {}
    return chunk({"tool_calls": [{"index": index, "function": {"arguments": arguments, **first}, **named}]})


def test_row_02_interleaved_deltas_find_their_block(
        read: Any, write: Any, framed: Any, data_of: Any, turn_of: Any) -> None:
    stream = framed("openai_chat", call_piece(0, "", name="a"), call_piece(1, '{"n"', name="b"),
                    call_piece(0, '{"n":'), chunk({"content": "x"}), call_piece(1, ":2}"), call_piece(0, "1}"),
                    chunk(finish="tool_calls"))
    written = write("anthropic_messages", read("openai_chat", stream))
    content = turn_of("anthropic_messages", written)["content"]
    assert {entry["name"]: entry["input"] for entry in content if entry["type"] == "tool_use"} == {
        "a": {"n": 1}, "b": {"n": 2}}
    open_blocks = 0
    for event in data_of(written):
        open_blocks += {"content_block_start": 1, "content_block_stop": -1}.get(event["type"], 0)
        assert 0 <= open_blocks <= 1
        assert open_blocks == 1 or event["type"] != "content_block_delta"


USE = {"type": "tool_use", "id": "t0", "name": "look", "input": {}}


@pytest.mark.parametrize("outbound", NAMES)
@pytest.mark.parametrize(("inbound", "events"), [
    ("openai_chat", [call_piece(0, "", name="look"), chunk(finish="tool_calls")]),
    ("openai_chat", [call_piece(0, "{}", name="look"), chunk(finish="tool_calls")]),
    ("openai_chat", [call_piece(0, "", name="look"), call_piece(0, "{"), call_piece(0, "}"), chunk(finish="stop")]),
    ("anthropic_messages", message(*block(0, USE), stop="tool_use")),
    ("anthropic_messages", message(*block(0, USE, {"type": "input_json_delta", "partial_json": ""}), stop="tool_use")),
    ("anthropic_messages", message(*block(0, USE, {"type": "input_json_delta", "partial_json": "{}"}),
                                   stop="tool_use")),
    ("gemini", [candidate({"functionCall": {"id": "t0", "name": "look"}}, finish="STOP")]),
    ("gemini", [candidate({"functionCall": {"id": "t0", "name": "look", "args": {}}}), candidate(finish="STOP")]),
    ("openai_responses", responded(*item_call(0, "look"))),
    ("openai_responses", responded(*item_call(0, "look", "{}"))),
    ("bedrock_converse", converse(*used(0, "look"), stop="tool_use")),
    ("bedrock_converse", converse(*used(0, "look", ""), stop="tool_use")),
    ("bedrock_converse", converse(*used(0, "look", "{}"), stop="tool_use")),
    ("ollama", lines({"tool_calls": [{"id": "t0", "function": {"name": "look", "arguments": {}}}]})),
    ("ollama", lines({"tool_calls": [{"id": "t0", "function": {"name": "look"}}]})),
])
def test_row_03_a_call_without_arguments(
        read: Any, write: Any, framed: Any, understood: Any, inbound: str, events: Any, outbound: str) -> None:
    stream = write(outbound, read(inbound, framed(inbound, *events)))
    assert understood(outbound, stream)["calls"] == [("t0", "look", {})]
    assert b"{}{}" not in stream
    assert b"}}{" not in stream


def test_row_11_thought_signatures_through_chat_history(ask: Any, read: Any, write: Any, given: Any,
                                                        turn_of: Any) -> None:
    """What Gemini 3 signed goes through a client of Chat Completions, streamed or whole, and back to the very call;
    the call beside it stays unsigned; history of another model has the documented stand-in."""
    sent = Sent({}, names={})
    events = read("gemini", given("upstream.gemini.sse"), sent)
    whole = dialects()["openai_chat"].operations["chat"].write_reply(collect(events), dialects()[
        "openai_chat"].operations["chat"].read_request({"model": "m", "messages": [{"role": "user", "content": "x"}]}))
    for answer in (write("openai_chat", events), whole):
        turn = turn_of("openai_chat", answer)
        results = [{"role": "tool", "tool_call_id": call["id"], "content": "ok"} for call in turn["tool_calls"]]
        history = {"messages": [{"role": "user", "content": "Hi"}, turn, *results]}
        parts = ask("openai_chat", history, "gemini-3-pro-preview").body["contents"][1]["parts"]
        assert [part.get("thoughtSignature") for part in parts if "functionCall" in part] == ["CiQBcsjafM+Q", None]
    for call in turn["tool_calls"]:
        call.pop("extra_content", None)
    parts = ask("openai_chat", history, "gemini-3-pro-preview").body["contents"][1]["parts"]
    assert [part.get("thoughtSignature") for part in parts if "functionCall" in part] == [
        "skip_thought_signature_validator", None]


THOUGHTS = [
    {"type": "thinking", "thinking": "First.", "signature": "c2lnbjE="},
    {"type": "redacted_thinking", "data": "aGlkZGVu"},
    {"type": "thinking", "thinking": "", "signature": "c2lnbjI="},  # shown to nobody, and yet it has to come back
]


@pytest.mark.parametrize("streamed", [True, False])
@pytest.mark.parametrize("outbound", NAMES)
def test_row_12_thinking_comes_back_as_it_was(ask: Any, read: Any, write: Any, framed: Any, turn_of: Any,
                                              outbound: str, streamed: bool) -> None:
    blocks = [
        *block(0, {**THOUGHTS[0], "thinking": "", "signature": ""}, {"type": "thinking_delta", "thinking": "First."},
               {"type": "signature_delta", "signature": "c2lnbjE="}),
        *block(1, THOUGHTS[1]),
        *block(2, {**THOUGHTS[2], "signature": ""}, {"type": "signature_delta", "signature": "c2lnbjI="}),
        *said("Let me look.", 3), *block(4, USE)]
    events = read("anthropic_messages", framed("anthropic_messages", *message(*blocks, stop="tool_use")))
    operation = dialects()[outbound].operations["chat"]
    answer = write(outbound, events) if streamed else operation.write_reply(collect(events), CHAT)
    turn = turn_of(outbound, answer)
    history: dict[str, Any] = {
        "openai_chat": {"messages": [{"role": "user", "content": "Hi"}, turn,
                                     {"role": "tool", "tool_call_id": "t0", "content": "ok"}]},
        "anthropic_messages": {"messages": [{"role": "user", "content": "Hi"}, turn, {
            "role": "user", "content": [{"type": "tool_result", "tool_use_id": "t0", "content": "ok"}]}]},
        "gemini": {"contents": [{"parts": [{"text": "Hi"}]}, turn, {"parts": [
            {"functionResponse": {"name": "look", "response": {"output": "ok"}}}]}]},
        "openai_responses": {"input": [{"role": "user", "content": "Hi"}, *(turn if outbound == "openai_responses"
                                                                            else []),
                                       {"type": "function_call_output", "call_id": "t0", "output": "ok"}]},
    }[outbound]
    content = ask(outbound, history, "claude-opus-5-5").body["messages"][1]["content"]
    assert content[:3] == THOUGHTS
    assert [entry["type"] for entry in content[3:]] == ["text", "tool_use"]
    for model, speaks in (("gpt-5", "openai_chat"), ("gemini-3-pro-preview", "gemini"), ("gpt-5", "openai_responses"),
                          ("us.anthropic.claude-opus-5-5-v1:0", "bedrock_converse"), ("qwen3:8b", "ollama")):
        assert "c2lnbj" not in str(ask(outbound, history, model, speaks).body)  # to others they say nothing


@pytest.mark.parametrize(("signer", "thinks"), [("anthropic_messages", True), ("gemini", False)])
def test_row_12_only_a_thought_of_its_own_lets_it_think_on(ask: Any, signer: str, thinks: bool) -> None:
    """Amid tool calls a model is not made to think when the thoughts before them are not its own: it would refuse."""
    thought = {"type": "thinking", "thinking": "Hm.", "signature": "c2ln", "signed_by": signer}
    turn = {"role": "assistant", "thinking_blocks": [thought], "tool_calls": [
        {"id": "a", "type": "function", "function": {"name": "look", "arguments": "{}"}}]}
    sent = ask("openai_chat", {"reasoning_effort": "high", "messages": [
        {"role": "user", "content": "Hi"}, turn, {"role": "tool", "tool_call_id": "a", "content": "r"}],
        "tools": [{"type": "function", "function": {"name": "look"}}]}, "claude-sonnet-4-5")
    assert (sent.body["thinking"]["type"] == "enabled", [loss.field for loss in sent.losses]) == (
        thinks, [] if thinks else ["reasoning"])


@pytest.mark.parametrize(("inbound", "outbound"), PAIRS)
def test_row_15_characters_split_at_every_byte(
        read: Any, write: Any, framed: Any, understood: Any, inbound: str, outbound: str) -> None:
    stream = framed(inbound, *PLAIN[inbound])
    for size in range(1, 8):
        assert understood(outbound, write(outbound, read(inbound, stream, size=size)))["text"] == TEXT


COUNTS = {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120,
          "prompt_tokens_details": {"cached_tokens": 60, "cache_write_tokens": 10}}


@pytest.mark.parametrize("outbound", NAMES)
@pytest.mark.parametrize("events", [
    [chunk({"content": "x"}, usage=None), chunk(finish="stop", usage=COUNTS)],
    [chunk({"content": "x"}, usage=COUNTS | {"completion_tokens": 1, "total_tokens": 101}),
     chunk(finish="stop", usage=COUNTS)],
    [chunk({"content": "x"}), chunk(finish="stop"), {**HEAD, "choices": [], "usage": COUNTS}],
    [chunk({"content": "x"}), chunk(finish="stop"), {**HEAD, "choices": None, "usage": COUNTS}],
    [chunk({"content": "x"}), {**HEAD, "choices": [], "usage": COUNTS}, chunk(finish="stop"),
     {**HEAD, "choices": [], "usage": COUNTS}],
])
def test_row_16_usage_wherever_it_is_in_the_stream(
        read: Any, write: Any, framed: Any, understood: Any, data_of: Any, events: Any, outbound: str) -> None:
    stream = write(outbound, read("openai_chat", framed("openai_chat", *events)))
    assert understood(outbound, stream)["usage"] == (100, 20)
    last = [item.get("usage") or item.get("usageMetadata") for item in data_of(stream)][-2:]
    if outbound == "openai_responses":
        usage = data_of(stream)[-1]["response"]["usage"]
        assert usage["input_tokens_details"] == {"cached_tokens": 60, "cache_write_tokens": 10}
    elif outbound == "anthropic_messages":
        assert last[0] | {"output_tokens_details": None} == {
            "input_tokens": 30, "cache_read_input_tokens": 60, "cache_creation_input_tokens": 10, "output_tokens": 20,
            "output_tokens_details": None}
    elif outbound == "gemini":
        assert (last[1]["promptTokenCount"], last[1]["cachedContentTokenCount"]) == (100, 60)
    else:
        assert last[1]["prompt_tokens_details"]["cached_tokens"] == 60
        assert last[1]["prompt_tokens_details"]["cache_write_tokens"] == 10
        assert last[0] is None  # told once


@pytest.mark.parametrize(("metadata", "usage", "cached", "thought"), [
    ({"promptTokenCount": 29, "candidatesTokenCount": 15, "thoughtsTokenCount": 45, "totalTokenCount": 89}, (29, 60), 0,
     45),
    ({"promptTokenCount": 29, "candidatesTokenCount": 60, "thoughtsTokenCount": 45, "totalTokenCount": 89}, (29, 60), 0,
     45),
    ({"promptTokenCount": 100, "cachedContentTokenCount": 80, "candidatesTokenCount": 5, "totalTokenCount": 105},
     (100, 5), 80, 0),
])
def test_row_17_gemini_counts_thoughts_beside_and_cached_within(
        read: Any, write: Any, framed: Any, data_of: Any, understood: Any, metadata: Any, usage: Any, cached: int,
        thought: int) -> None:
    events = read("gemini", framed("gemini", candidate({"text": "x"}, finish="STOP", usageMetadata=metadata)))
    for outbound in NAMES:
        assert understood(outbound, write(outbound, events))["usage"] == usage
    chat = data_of(write("openai_chat", events))[-1]["usage"]
    assert (chat["prompt_tokens_details"]["cached_tokens"], chat["completion_tokens_details"]["reasoning_tokens"]) == (
        cached, thought)
    anthropic_usage = data_of(write("anthropic_messages", events))[-2]["usage"]
    assert anthropic_usage["input_tokens"] == usage[0] - cached


@pytest.mark.parametrize("events", [
    [candidate({"functionCall": {"name": "f"}}, finish="STOP")],
    [candidate({"functionCall": {"name": "f"}}), candidate(finish="STOP")],
    [candidate({"functionCall": {"name": "f"}}), candidate({"text": ""}, finish="STOP")],
    [candidate({"text": "x"}), candidate({"functionCall": {"name": "f"}}), candidate({"text": "y"}, finish="STOP")],
])
def test_row_18_a_call_ends_as_a_call(read: Any, write: Any, framed: Any, data_of: Any, understood: Any,
                                      events: Any) -> None:
    heard = read("gemini", framed("gemini", *events))
    for outbound in NAMES:
        assert understood(outbound, write(outbound, heard))["finish"] == "tool_calls"
    finishes = [item["choices"][0]["finish_reason"] for item in data_of(write("openai_chat", heard)) if item["choices"]]
    assert finishes == [None] * (len(finishes) - 1) + ["tool_calls"]


@pytest.mark.parametrize("outbound", NAMES)
@pytest.mark.parametrize(("inbound", "events", "why"), [
    ("openai_chat", [chunk({"content": "I"}), chunk(finish="content_filter")], None),
    ("openai_chat", [chunk({"refusal": "I will not."}), chunk(finish="content_filter")], "I will not."),
    ("anthropic_messages", message(stop="refusal", stop_details={
        "type": "refusal", "category": "bio", "explanation": "I will not."}), "I will not."),
    ("gemini", [candidate(finish="SAFETY")], None),
    ("gemini", [{"candidates": [{"index": 0, "finishReason": "PROHIBITED_CONTENT", "finishMessage": "I will not."}]}],
     "I will not."),
])
def test_row_19_refusals_keep_their_reason(read: Any, write: Any, framed: Any, understood: Any, inbound: str,
                                           events: Any, why: str | None, outbound: str) -> None:
    stream = write(outbound, read(inbound, framed(inbound, *events)))
    assert (b"I will not." in stream) == (why is not None)
    if outbound == "openai_chat":  # whose client makes an exception of it
        with pytest.raises(openai.ContentFilterFinishReasonError):
            understood(outbound, stream)
    else:
        assert understood(outbound, stream)["finish"] == "content_filter"


@pytest.mark.parametrize("outbound", NAMES)
def test_row_20_a_prompt_that_is_blocked(read: Any, write: Any, framed: Any, understood: Any, outbound: str) -> None:
    blocked = {"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}, "usageMetadata": {
        "promptTokenCount": 9, "totalTokenCount": 9}, "modelVersion": "gemini-2.5-flash", "responseId": "r"}
    events = read("gemini", framed("gemini", blocked))
    operation = dialects()[outbound].operations["chat"]
    whole = operation.write_reply(dialects()["gemini"].operations["chat"].read_reply(blocked, Sent({})), CHAT)
    stream = write(outbound, events)
    if outbound == "openai_chat":
        with pytest.raises(openai.ContentFilterFinishReasonError):
            understood(outbound, stream)
    for answer in [whole] if outbound == "openai_chat" else [whole, stream]:
        found = understood(outbound, answer)
        assert (found["text"], found["finish"], found["usage"]) == ("", "content_filter", (9, 0))
    assert ("PROHIBITED_CONTENT" in str(whole), b"PROHIBITED_CONTENT" in stream) == (True, True)


ERRORS: dict[str, Any] = {
    "openai_responses": {"type": "error", "error": {"message": "Slow down.", "type": "rate_limit_error",
                                                    "code": "rate_limit_exceeded"}},
    "bedrock_converse": {"throttlingException": {"message": "Slow down."}},
    "ollama": {"error": "Slow down."},
    "openai_chat": {"error": {"message": "Slow down.", "type": "rate_limit_error", "code": "rate_limit_exceeded"}},
    "anthropic_messages": {"type": "error", "error": {"type": "rate_limit_error", "message": "Slow down."}},
    "gemini": {"error": {"code": 429, "message": "Slow down.", "status": "RESOURCE_EXHAUSTED"}},
}
RAISED = {"openai_chat": openai.APIError, "openai_responses": openai.APIError,
          "anthropic_messages": anthropic.APIStatusError,
          "gemini": google_errors.ClientError}


@pytest.mark.parametrize(("inbound", "outbound"), PAIRS)
def test_row_21_an_error_in_mid_stream(read: Any, write: Any, framed: Any, understood: Any, inbound: str,
                                       outbound: str) -> None:
    stream = framed(inbound, *PLAIN[inbound][:-1][:3] or [candidate({"text": TEXT})], ERRORS[inbound],
                    *PLAIN[inbound][-1:])
    events = read(inbound, stream)
    assert isinstance(events[-1], MessageError)
    code = "upstream_failed" if inbound == "ollama" else "rate_limit_exceeded"  # whose errors are texts in a stream
    assert (events[-1].failure.code, events[-1].failure.message) == (code, "Slow down.")
    raised = google_errors.APIError if outbound == "gemini" else RAISED[outbound]
    with pytest.raises(raised, match="Slow down"):
        understood(outbound, write(outbound, events))
    meter = dialects()[inbound].operations["chat"].meter({})
    meter.feed(stream)
    assert meter.measured.failure.code == code


@pytest.mark.parametrize(("inbound", "outbound"), PAIRS)
def test_row_22_an_end_that_is_none(read: Any, write: Any, framed: Any, understood: Any, inbound: str,
                                    outbound: str) -> None:
    ending = 2 if inbound == "bedrock_converse" else 1
    events = PLAIN[inbound][:-ending] or [candidate({"text": TEXT})]
    stream = framed(inbound, *events).removesuffix(b"data: [DONE]\n\n")
    events = read(inbound, stream)
    assert isinstance(events[-1], MessageError)
    with pytest.raises(RAISED[outbound] if outbound != "gemini" else google_errors.ServerError):
        understood(outbound, write(outbound, events))
    meter = dialects()[inbound].operations["chat"].meter({})
    rest = meter.feed(stream) + meter.close()
    assert meter.measured.failure.code == "upstream_failed"
    assert isinstance(read(inbound, rest)[-1], MessageError)


def test_row_23_other_framings_and_what_is_to_be_passed_over(read: Any, framed: Any) -> None:
    frames = framed("bedrock_converse", *PLAIN["bedrock_converse"])
    later = framed("bedrock_converse", {"laterEvent": {"p": "abc"}})
    assert read("bedrock_converse", later + frames) == read("bedrock_converse", frames, size=3)
    stream = framed("ollama", *PLAIN["ollama"])
    for heard in (stream.replace(b"\n", b"\r\n"), stream.replace(b"\n", b"\n\n"), stream.rstrip(b"\n")):
        assert read("ollama", heard) == read("ollama", stream)


@pytest.mark.parametrize("inbound", NAMES)
def test_row_23_however_it_is_framed(read: Any, framed: Any, inbound: str) -> None:
    stream = framed(inbound, *PLAIN[inbound]).replace(b"\r\n", b"\n")
    expected = read(inbound, stream)
    assert isinstance(expected[-1], MessageEnd)
    ping = b'event: ping\ndata: {"type":"ping"}\n\n' if inbound == "anthropic_messages" else b": PROCESSING\n\n"
    for heard in (
        stream.replace(b"\n", b"\r\n"), stream.replace(b"\n", b"\r"), stream.replace(b"data: ", b"data:"),
        b"\xef\xbb\xbf" + stream, stream.replace(b"\n\n", b"\n\n" + ping), stream.replace(b"\n\n", b"\n: x\n\n"),
        stream.replace(b"data: ", b"id: 7\nretry: 1\ndata: "), stream.rstrip(b"\n"),
    ):
        assert read(inbound, heard) == expected


@pytest.mark.parametrize("outbound", NAMES)
@pytest.mark.parametrize(("inbound", "headers", "body", "seconds"), [
    ("openai_chat", {"retry-after": "7"}, ERRORS["openai_chat"], 7),
    ("openai_chat", {"retry-after-ms": "1500", "retry-after": "2"}, ERRORS["openai_chat"], 1.5),
    ("anthropic_messages", {"retry-after": "7"}, ERRORS["anthropic_messages"], 7),
    ("gemini", {}, {"error": ERRORS["gemini"]["error"] | {"details": [
        {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "34.4s"}]}}, 34.4),
    ("gemini", {"retry-after": "7"}, ERRORS["gemini"], 7),
    ("openai_chat", {}, ERRORS["openai_chat"], None),
    ("openai_responses", {"retry-after": "7"}, ERRORS["openai_chat"], 7),
    ("bedrock_converse", {"x-amzn-errortype": "ThrottlingException", "retry-after": "7"}, {"message": "Slow down."}, 7),
    ("bedrock_converse", {"x-amzn-errortype": "ThrottlingException:http://x/"}, {"message": "Slow down."}, None),
    ("ollama", {"retry-after": "7"}, ERRORS["ollama"], 7),
])
def test_row_24_when_to_try_again(framed: Any, inbound: str, headers: Any, body: Any, seconds: Any,
                                  outbound: str) -> None:
    content = framed("gemini", body).removeprefix(b"data: ").strip()
    failure = dialects()[inbound].read_error(429, headers, content)
    assert (failure.code, failure.retry_after, failure.retryable) == ("rate_limit_exceeded", seconds, True)
    status, written = dialects()[outbound].write_error(failure, "req_1")
    assert (status, "Slow down." in str(written)) == (429, True)
    if outbound == "gemini" and seconds:
        assert f"'retryDelay': '{seconds:g}s'" in str(written)
    unified = {"anthropic-ratelimit-unified-status", "anthropic-ratelimit-unified-reset"}
    assert unified <= set(dialects()["anthropic_messages"].response_headers)


TOO_LONG: dict[str, Any] = {
    "openai_responses": [(400, {"message": "Your input exceeds the context window of this model.", "type":
                                "invalid_request_error", "code": "context_length_exceeded"})],
    "bedrock_converse": [(400, {"message": "Input is too long for requested model."}),
                         (413, {"message": "Too many tokens."})],
    "ollama": [(400, {"message": "the input length exceeds the context length"})],
    "openai_chat": [
        (400, {"message": "This model's maximum context length is 128000 tokens.", "type": "invalid_request_error",
               "code": "context_length_exceeded"}),
        (400, {"message": "Input token count exceeds the limit.", "type": "invalid_request_error"}),
        (413, {"message": "Request too large for model `x`: too many tokens."})],
    "anthropic_messages": [
        (400, {"type": "invalid_request_error", "message": "prompt is too long: 200001 tokens > 200000 maximum"}),
        (413, {"type": "request_too_large", "message": "Input is too long."})],
    "gemini": [
        (400, {"code": 400, "status": "INVALID_ARGUMENT",
               "message": "The input token count (1048577) exceeds the maximum number of tokens allowed (1048576)."})],
}


@pytest.mark.parametrize(("inbound", "outbound"), PAIRS)
def test_row_25_a_prompt_that_is_too_long(framed: Any, inbound: str, outbound: str) -> None:
    for status, error in TOO_LONG[inbound]:
        body = error if inbound == "bedrock_converse" else {"type": "error", "error": error}
        content = framed("gemini", body).removeprefix(b"data: ").strip()
        failure = dialects()[inbound].read_error(status, {}, content)
        assert failure.code == "context_length_exceeded"
        answered, written = dialects()[outbound].write_error(failure, "req_1")
        assert (answered, error["message"] in str(written)) == (400, True)
        word = {"openai_chat": "'code': 'context_length_exceeded'",
                "openai_responses": "'code': 'context_length_exceeded'", "anthropic_messages": "invalid_request_error",
                "gemini": "INVALID_ARGUMENT"}[outbound]
        assert word in str(written)


def test_what_the_rows_take_for_granted(read: Any, write: Any, understood: Any) -> None:
    """The readers of answers above tell a text and a call apart at all."""
    events: list[Event] = [
        MessageStart("i", "m"), PartStart(0, Text("")), PartDelta(0, TEXT), PartEnd(0),
        PartStart(1, ToolCall("t", "look", '{"n":1}')), PartEnd(1), MessageDelta(Finish("tool_calls")), MessageEnd()]
    for outbound in NAMES:
        found = understood(outbound, write(outbound, events))
        assert (found["text"], found["calls"]) == (TEXT, [("t", "look", {"n": 1})])

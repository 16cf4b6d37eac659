"""Canonical events, written as the stream that OpenAI's own client reads."""

from collections.abc import Callable
from typing import Any

import msgspec
import openai
import pytest
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from ailink_provider.chat import (
    Chat,
    Choice,
    Event,
    Finish,
    Media,
    Message,
    MessageDelta,
    MessageEnd,
    MessageError,
    MessageStart,
    Native,
    PartDelta,
    PartEnd,
    PartStart,
    Refusal,
    Reply,
    Text,
    Thinking,
    TokenLogprob,
    ToolCall,
    Usage,
    collect,
    unfold,
)
from ailink_provider.dialects import Sent
from ailink_provider.dialects.openai_chat import DIALECT
from ailink_provider.errors import Failure

CHAT = DIALECT.operations["chat"]
ASKED = Chat("m", [Message("user", [Text("hello")])], stream=True)
WITH_USAGE = Chat("m", ASKED.messages, stream=True, include_usage=True)
Sdk = Callable[..., openai.OpenAI]

REPLY = Reply("chatcmpl-1", "m-1", 7, [
    Choice([Thinking("hm", "sig", signed_by="anthropic_messages"),
            Thinking(redacted="d", signed_by="anthropic_messages"),
            Text("hé 🙂"), ToolCall("a", "f", '{"x":1}', signature="s", signed_by="gemini"), ToolCall("b", "g", "{}")],
           Finish("tool_calls", "tool_calls")),
    Choice([Refusal("no")], Finish("stop", "stop")),
], Usage(3, 4, 1, reasoning_tokens=2))


def write(found: list[Event], chat: Chat = ASKED) -> bytes:
    writer = CHAT.writer(chat)
    assert writer.content_type == "text/event-stream"
    return b"".join(writer.write(event) for event in found)


def chunks(stream: bytes) -> list[Any]:
    assert stream.endswith(b"data: [DONE]\n\n")
    return [msgspec.json.decode(event.removeprefix(b"data: ")) for event in stream.split(b"\n\n")[:-2]]


def deltas(stream: bytes) -> list[Any]:
    return [choice["delta"] for chunk in chunks(stream) for choice in chunk["choices"]]


def iterate(sdk: Sdk, stream: bytes) -> list[ChatCompletionChunk]:
    return list(sdk(stream).chat.completions.create(model="m", messages=[{"role": "user", "content": "x"}],
                                                    stream=True))


def gather(sdk: Sdk, stream: bytes) -> ChatCompletion:
    """Let OpenAI's own helper put the stream together."""
    with sdk(stream).chat.completions.stream(model="m", messages=[{"role": "user", "content": "x"}]) as events:
        for _ in events:
            pass
        return events.get_final_completion()


def test_the_chunks_are_openais() -> None:
    stream = write([MessageStart("i", "m", 5, service_tier="standard"), PartStart(0, Text("")), PartDelta(0, "hi"),
                    PartEnd(0), MessageDelta(Finish("stop", "end_turn")), MessageDelta(usage=Usage(3, 4)),
                    MessageEnd()],
                   WITH_USAGE)
    head = {"id": "i", "object": "chat.completion.chunk", "created": 5, "model": "m", "service_tier": "default"}
    none = {"logprobs": None, "finish_reason": None}
    assert chunks(stream) == [
        head | {"choices": [{"index": 0, "delta": {"role": "assistant", "content": "", "refusal": None}} | none],
                "usage": None},
        head | {"choices": [{"index": 0, "delta": {"content": "hi"}} | none], "usage": None},
        head | {"choices": [{"index": 0, "delta": {}, "logprobs": None, "finish_reason": "stop",
                             "native_finish_reason": "end_turn"}], "usage": None},
        head | {"choices": [], "usage": {
            "prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7,
            "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0, "cache_write_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0}}}]


def test_a_model_that_the_upstream_does_not_name_is_the_one_that_was_asked() -> None:
    stream = write([MessageStart(), PartStart(0, Text("hi")), PartEnd(0), MessageEnd()])
    assert {chunk["model"] for chunk in chunks(stream)} == {"m"}


@pytest.mark.parametrize("chat", [ASKED, WITH_USAGE])
def test_usage_is_shown_only_if_it_was_asked_for(sdk: Sdk, chat: Chat) -> None:
    found = iterate(sdk, write(list(unfold(REPLY)), chat))
    assert [chunk.usage is not None for chunk in found].count(True) == chat.include_usage
    assert all("usage" in chunk.model_fields_set for chunk in found) == chat.include_usage
    assert (found[-1].choices == []) == chat.include_usage


def test_openais_helper_gathers_the_reply(sdk: Sdk) -> None:
    completion = gather(sdk, write(list(unfold(REPLY)), WITH_USAGE))
    first, second = completion.choices
    assert (first.message.content, first.finish_reason) == ("hé 🙂", "tool_calls")
    calls: Any = first.message.tool_calls
    assert [(call.id, call.function.name, call.function.arguments) for call in calls] == [
        ("a", "f", '{"x":1}'), ("b", "g", "{}")]
    assert (second.message.refusal, second.finish_reason) == ("no", "stop")
    assert completion.usage is not None
    assert completion.usage.total_tokens == 7


def test_what_it_gathers_can_be_sent_back(sdk: Sdk) -> None:
    message = gather(sdk, write(list(unfold(REPLY)))).choices[0].message.model_dump(exclude_none=True)
    back = CHAT.read_request({"model": "m", "messages": [message]}).messages[0]
    assert back.parts == REPLY.choices[0].parts


@pytest.mark.parametrize("chat", [ASKED, WITH_USAGE])
def test_what_is_written_reads_back_the_same(chat: Chat) -> None:
    reader = CHAT.reader(Sent({}))
    found = reader.feed(write(list(unfold(REPLY)), chat))
    expected = collect(unfold(REPLY))
    if not chat.include_usage:
        expected.usage = None
    assert collect(found) == expected


def test_calls_are_counted_by_themselves_and_empty_arguments_are_an_object(sdk: Sdk) -> None:
    stream = write([
        MessageStart("i", "m", 5), PartStart(0, Thinking()), PartEnd(0), PartStart(1, Text("")), PartDelta(1, "x"),
        PartEnd(1),
        PartStart(2, ToolCall("a", "f")), PartStart(3, ToolCall("b", "g")), PartDelta(3, '{"y"'), PartDelta(2, ""),
        PartDelta(3, ":1}"), PartEnd(3), PartEnd(2), PartStart(4, ToolCall("c", "h", "{}")), PartEnd(4),
        PartStart(5, ToolCall("d", "k")), MessageDelta(Finish("tool_calls")), MessageEnd()])
    entries = [entry for delta in deltas(stream) for entry in delta.get("tool_calls", ())]
    assert [entry["index"] for entry in entries] == [0, 1, 1, 1, 0, 2, 3, 3]
    completion = gather(sdk, stream)
    calls: Any = completion.choices[0].message.tool_calls
    assert [call.function.arguments for call in calls] == ["{}", '{"y":1}', "{}", "{}"]


def test_a_thought_is_shown_as_text_and_proven_in_its_block() -> None:
    stream = write([MessageStart("i", "m", 5), PartStart(0, Thinking(signed_by="gemini")), PartDelta(0, "a"),
                    PartDelta(0, "b"),
                    PartDelta(0, signature="s"), PartEnd(0), PartStart(1, Thinking("unsigned")), PartEnd(1),
                    PartStart(2, Thinking(redacted="d", signed_by="anthropic_messages")), PartEnd(2), MessageEnd()])
    assert deltas(stream)[1:-1] == [
        {"reasoning_content": "a", "thinking_blocks": [
            {"index": 0, "type": "thinking", "thinking": "a", "signed_by": "gemini"}]},
        {"reasoning_content": "b", "thinking_blocks": [{"index": 0, "type": "thinking", "thinking": "b"}]},
        {"thinking_blocks": [{"index": 0, "type": "thinking", "thinking": "", "signature": "s"}]},
        {"reasoning_content": "unsigned"},
        {"thinking_blocks": [{"index": 1, "type": "redacted_thinking", "data": "d"}]}]


def test_a_legacy_client_gets_its_shape(sdk: Sdk) -> None:
    chat = Chat("m", ASKED.messages, legacy_functions=True)
    found = iterate(sdk, write([
        MessageStart("i", "m", 5), PartStart(0, ToolCall("a", "f")), PartDelta(0, '{"x":1}'), PartEnd(0),
        PartStart(1, ToolCall("b", "never")), PartDelta(1, "{}"), PartEnd(1), MessageDelta(Finish("tool_calls")),
        MessageEnd(),
    ], chat))
    called = [chunk.choices[0].delta.function_call for chunk in found if chunk.choices[0].delta.function_call]
    assert [(call.name, call.arguments) for call in called] == [("f", ""), (None, '{"x":1}')]
    assert not any(chunk.choices[0].delta.tool_calls for chunk in found)
    assert found[-1].choices[0].finish_reason == "function_call"


def test_a_custom_tools_call_is_free_text() -> None:
    stream = write([MessageStart("i", "m", 5), PartStart(0, ToolCall("a", "f", custom=True)), PartDelta(0, "raw"),
                    PartEnd(0),
                    PartStart(1, ToolCall("b", "f", custom=True)), PartEnd(1), MessageEnd()])
    assert [delta["tool_calls"][0] for delta in deltas(stream)[1:-1]] == [
        {"index": 0, "id": "a", "type": "custom", "custom": {"name": "f", "input": ""}},
        {"index": 0, "custom": {"input": "raw"}},
        {"index": 1, "id": "b", "type": "custom", "custom": {"name": "f", "input": ""}}]


def test_a_signature_that_comes_late_is_written() -> None:
    stream = write([MessageStart("i", "m", 5), PartStart(0, ToolCall("a", "f", signed_by="gemini")), PartDelta(0, "{}"),
                    PartDelta(0, signature="s"), PartEnd(0), MessageEnd()])
    assert deltas(stream)[-2] == {"tool_calls": [
        {"index": 0, "extra_content": {"google": {"thought_signature": "s"}}}]}


def test_deltas_of_what_has_no_form_here_are_passed_over() -> None:
    stream = write([MessageStart("i", "m", 5), PartDelta(9, "lost"), PartStart(0, Native("gemini", {})),
                    PartDelta(0, "x"),
                    PartStart(1, ToolCall("a", "f", signed_by="other")), PartDelta(1, "{}", signature="s"), PartEnd(7),
                    MessageEnd()])
    assert [list(delta) for delta in deltas(stream)] == [["role", "content", "refusal"], ["tool_calls"], ["tool_calls"],
                                                         []]


def test_nothing_follows_a_finish_whatever_the_order() -> None:
    stream = write([MessageStart("i", "m", 5), PartStart(0, ToolCall("a", "f")), MessageDelta(Finish("tool_calls")),
                    PartEnd(0), MessageDelta(usage=Usage(1, 1)), MessageEnd()], WITH_USAGE)
    found = chunks(stream)
    assert [choice["finish_reason"] for chunk in found for choice in chunk["choices"]][-1] == "tool_calls"
    assert found[-1]["choices"] == []


def test_citations_log_probabilities_and_explanations_find_their_place(sdk: Sdk) -> None:
    stream = write([
        MessageStart("i", "m", 5), PartStart(0, Text("")), PartDelta(0, "ab", logprobs=[TokenLogprob("ab", -0.5)]),
        PartEnd(0),
        PartStart(1, Text("")), PartDelta(1, "cd"), PartDelta(1, annotation={"type": "web", "url": "u", "title": "t"}),
        PartEnd(1), PartStart(2, Text("e", annotations=[{"groundingMetadata": {}}, {"url": "v"}])), PartEnd(2),
        PartDelta(2, logprobs=[TokenLogprob("e", -1.0)]),
        MessageDelta(Finish("stop", explanation="why")), MessageEnd()])
    last = deltas(stream)[-3:]
    assert last == [{"annotations": [
        {"type": "url_citation", "url_citation": {"url": "u", "title": "t", "start_index": 2, "end_index": 4}},
        {"type": "url_citation", "url_citation": {"url": "v", "title": "v", "start_index": 4, "end_index": 5}}]},
        {"refusal": "why"}, {}]
    completion = gather(sdk, stream)
    assert completion.choices[0].logprobs is not None
    assert [entry.token for entry in completion.choices[0].logprobs.content or ()] == ["ab", "e"]
    assert completion.choices[0].message.refusal == "why"


def test_pictures_and_native_members_are_deltas() -> None:
    stream = write([MessageStart("i", "m", 5), PartStart(0, Media("audio", "audio/wav", "AA==")), PartEnd(0),
                    PartStart(1, Media("image", "image/png", "AA==")), PartEnd(1),
                    PartStart(2, Native("openai_chat", {"audio": {"id": "a"}})), PartEnd(2),
                    PartStart(3, Native("gemini", {"x": 1})), PartEnd(3), MessageEnd()])
    assert deltas(stream)[1:-1] == [
        {"images": [{"index": 0, "type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}]},
        {"audio": {"id": "a"}}]


def test_every_choice_is_introduced_once() -> None:
    stream = write([MessageStart("i", "m", 5), PartStart(0, Text(""), 1), PartDelta(0, "y", choice=1),
                    PartStart(0, Text("x"), 0),
                    MessageDelta(Finish("stop"), choice=0), MessageDelta(Finish("length"), choice=1), MessageEnd()])
    found = [choice for chunk in chunks(stream) for choice in chunk["choices"]]
    assert [choice["index"] for choice in found if "role" in choice["delta"]] == [0, 1]
    assert [(choice["index"], choice["finish_reason"]) for choice in found[-2:]] == [(0, "stop"), (1, "length")]


def test_an_error_raises_in_openais_client(sdk: Sdk) -> None:
    stream = write([MessageStart("i", "m", 5), PartStart(0, Text("x")),
                    MessageError(Failure("upstream_overloaded", "Busy.", upstream_status=529))])
    with pytest.raises(openai.APIError, match=r"Busy\.") as caught:
        iterate(sdk, stream)
    assert caught.value.code == "upstream_overloaded"
    assert caught.value.type == "overloaded_error"
    assert not stream.endswith(b"[DONE]\n\n")


def test_what_an_upstream_did_not_give_is_made_once() -> None:
    found = chunks(write([MessageStart(), PartStart(0, Text("x")), MessageEnd()]))
    assert len({(chunk["id"], chunk["created"]) for chunk in found}) == 1
    assert found[0]["id"].startswith("chatcmpl-")
    assert found[0]["created"] > 1_700_000_000

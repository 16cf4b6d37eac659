"""Upstreams' streams, read into canonical events."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from ailink_provider.chat import (
    Event,
    Finish,
    MessageEnd,
    MessageError,
    MessageStart,
    PartDelta,
    PartEnd,
    PartStart,
    Text,
    Thinking,
    ToolCall,
    Usage,
    collect,
)
from ailink_provider.dialects import Sent
from ailink_provider.dialects.openai_responses import DIALECT
from ailink_provider.errors import Failure

OPERATION = DIALECT.operations["chat"]
Make = Callable[..., Any]


def read(stream: bytes, size: int | None = None, sent: Sent | None = None) -> list[Event]:
    reader = OPERATION.reader(sent or Sent({}))
    step = size or len(stream) or 1
    found = [event for start in range(0, len(stream), step) for event in reader.feed(stream[start : start + step])]
    return [*found, *reader.close()]


def failure_of(stream: bytes) -> Failure:
    last = read(stream)[-1]
    assert isinstance(last, MessageError)
    return last.failure


def done(**response: Any) -> dict[str, Any]:
    return {"type": "response.completed", "response": {"status": "completed"} | response}


def test_the_samples_are_the_apis(stream: Make, typed: Make) -> None:
    for number, event in enumerate(stream()):
        typed({"sequence_number": number} | event)


def test_a_stream_says_what_the_whole_reply_says(stream: Make, sse: Make, response: Make) -> None:
    assert collect(read(sse(*stream()))) == OPERATION.read_reply(response(), Sent({}))


@pytest.mark.parametrize("dress", [
    lambda data: data, lambda data: data.replace(b"\n", b"\r\n"), lambda data: data.replace(b"\n", b"\r"),
    lambda data: data.replace(b": ", b":", 1), lambda data: b"\xef\xbb\xbf: hello\n\n" + data,
    lambda data: data.replace(b"\n\n", b"\n\n: ping\n\n"), lambda data: data + b"data: [DONE]\n\n",
    lambda data: data.replace(b"\n\n", b"\n\nevent: keepalive\ndata: {\"type\":\"keepalive\"}\n\n"),
    lambda data: data.removesuffix(b"\n\n"),
    lambda data: b"\n\n".join(frame.split(b"\n")[-1] for frame in data.split(b"\n\n")),
], ids=["as it is", "crlf", "cr", "no space", "bom", "comments", "done", "unknown", "unended", "unnamed"])
def test_a_stream_is_read_however_it_comes(stream: Make, sse: Make, dress: Callable[[bytes], bytes]) -> None:
    expected = read(sse(*stream()))
    dressed = dress(sse(*stream()))
    for size in (1, 7, 4096):
        assert read(dressed, size) == expected


def test_interleaved_calls_keep_their_pieces_apart(stream: Make, sse: Make) -> None:
    found = read(sse(*stream()))
    calls = [event for event in found if isinstance(event, PartStart) and isinstance(event.part, ToolCall)]
    assert [event.index for event in calls] == [4, 5, 6]
    deltas = [(event.index, event.text) for event in found if isinstance(event, PartDelta) and event.index > 3]
    assert deltas == [(4, '{"x"'), (5, "{}"), (4, ":1}"), (6, "ls")]
    assert [event.index for event in found if isinstance(event, PartEnd)][-3:] == [5, 4, 6]


def test_the_first_event_waits_for_the_models_first_word(stream: Make, sse: Make) -> None:
    opening, rest = stream()[:2], stream()[2:]
    reader = OPERATION.reader(Sent({}))
    assert reader.feed(sse(*opening)) == []
    first = reader.feed(sse(*rest))[0]
    assert first == MessageStart("resp_1", "m-1", 1700000000, service_tier="default")


def test_items_alone_are_enough(stream: Make, sse: Make, response: Make) -> None:
    items = [event for event in stream() if event["type"] == "response.output_item.done"]
    items.sort(key=lambda event: event["output_index"])
    reply = collect(read(sse(stream()[0], *items, stream()[-1])))
    assert reply == OPERATION.read_reply(response(), Sent({}))


def test_the_last_event_alone_is_enough(stream: Make, sse: Make, response: Make) -> None:
    assert collect(read(sse(stream()[-1]))) == OPERATION.read_reply(response(), Sent({}))


def test_what_did_not_come_in_pieces_comes_with_the_item(sse: Make) -> None:
    message = {"type": "message", "id": "msg_1", "content": [{"type": "output_text", "text": "abc", "annotations": [
        {"url": "u"}, {"url": "v"}]}]}
    call = {"type": "function_call", "id": "fc_1", "call_id": "a", "name": "f", "arguments": '{"x":1}'}
    reply = collect(read(sse(
        {"type": "response.output_text.delta", "output_index": 0, "content_index": 0, "delta": "a"},
        {"type": "response.output_text.annotation.added", "output_index": 0, "content_index": 0,
         "annotation": {"url": "u"}},
        {"type": "response.output_item.done", "output_index": 0, "item": message},
        {"type": "response.output_item.done", "output_index": 0, "item": message},
        {"type": "response.output_item.added", "output_index": 1, "item": call},
        {"type": "response.function_call_arguments.delta", "output_index": 1, "delta": '{"x"'},
        {"type": "response.output_item.done", "output_index": 1, "item": call}, done())))
    assert reply.choices[0].parts == [Text("abc", annotations=[{"url": "u"}, {"url": "v"}]),
                                      ToolCall("a", "f", '{"x":1}')]


def test_parts_left_open_are_ended(sse: Make) -> None:
    found = read(sse({"type": "response.output_text.delta", "delta": "a"}, done()))
    assert [type(event) for event in found][2:4] == [PartDelta, PartEnd]
    assert collect(found).choices[0].parts == [Text("a")]


def test_a_models_own_words_are_read_as_its_thought(sse: Make) -> None:
    item = {"type": "reasoning", "id": "rs_1", "summary": [], "content": [{"type": "reasoning_text", "text": "ab"}]}
    reply = collect(read(sse(
        {"type": "response.output_item.added", "output_index": 0, "item": item | {"content": []}},
        {"type": "response.content_part.added", "output_index": 0, "content_index": 0,
         "part": {"type": "reasoning_text", "text": ""}},
        {"type": "response.reasoning_text.delta", "output_index": 0, "content_index": 0, "delta": "a"},
        {"type": "response.reasoning_text.delta", "output_index": 0, "content_index": 0, "delta": "b"},
        {"type": "response.output_item.done", "output_index": 0, "item": item}, done())))
    assert reply.choices[0].parts == [Thinking("ab", msgspec.json.encode(item).decode(), signed_by="openai_responses")]


def test_a_call_without_arguments_brings_none(sse: Make) -> None:
    call = {"type": "function_call", "id": "fc_1", "call_id": "a", "name": "f", "arguments": ""}
    found = read(sse({"type": "response.output_item.added", "item": call},
                     {"type": "response.output_item.done", "item": call}, done()))
    assert collect(found).choices[0].parts == [ToolCall("a", "f", "")]
    assert collect(found).choices[0].finish == Finish("tool_calls", "completed")


def test_log_probabilities_come_with_their_text(sse: Make) -> None:
    found = read(sse({"type": "response.output_text.delta", "delta": "a", "logprobs": [
        {"token": "a", "logprob": -1.0, "top_logprobs": []}]}, done()))
    assert [entry.token for entry in collect(found).choices[0].logprobs or ()] == ["a"]


def test_tools_get_their_own_names_back(stream: Make, sse: Make) -> None:
    reply = collect(read(sse(*stream()), sent=Sent({}, names={"f": "files/read"})))
    assert [part.name for part in reply.choices[0].parts if isinstance(part, ToolCall)] == ["files/read", "g", "run"]


@pytest.mark.parametrize(("kind", "members", "finish"), [
    ("incomplete", {"incomplete_details": {"reason": "max_output_tokens"}}, Finish("length", "max_output_tokens")),
    ("incomplete", {}, Finish("pause", "incomplete")), ("completed", {}, Finish("stop", "completed")),
])
def test_how_a_stream_ends(sse: Make, kind: str, members: dict[str, Any], finish: Finish) -> None:
    usage = {"input_tokens": 1, "output_tokens": 2}
    found = read(sse({"type": "response.output_text.delta", "delta": "a"},
                     {"type": f"response.{kind}", "response": members | {"usage": usage}}))
    assert collect(found).choices[0].finish == finish
    assert collect(found).usage == Usage(1, 2)
    assert isinstance(found[-1], MessageEnd)


@pytest.mark.parametrize(("event", "code", "message"), [
    ({"type": "error", "code": "rate_limit_exceeded", "message": "Slow.", "param": None}, "rate_limit_exceeded",
     "Slow."),
    ({"type": "error", "error": {"type": "server_error", "code": "server_error", "message": "Oops.", "param": None}},
     "upstream_failed", "Oops."),
    ({"type": "error", "error": {"type": "invalid_request_error", "code": "context_length_exceeded",
                                 "message": "Long."}}, "context_length_exceeded", "Long."),
    ({"type": "response.failed", "response": {"status": "failed", "error": {"code": "server_error", "message": "X."}}},
     "upstream_failed", "X."),
    ({"type": "response.failed", "response": {"error": {"code": "invalid_image_url", "message": "No."}}},
     "invalid_request", "No."),
    ({"type": "response.failed", "response": None}, "upstream_failed",
     "The upstream broke off its answer with an error."),
    ({"type": "response.cancelled", "response": {}}, "upstream_failed",
     "The upstream's reply is not complete; its status is 'cancelled'."),
    ({"type": "", "error": {"message": "Bare."}}, "upstream_failed", "Bare."),
])
def test_an_error_ends_the_stream(stream: Make, sse: Make, event: dict[str, Any], code: str, message: str) -> None:
    for before in (0, 2, 3, 20):
        failure = failure_of(sse(*stream()[:before], event, *stream()[2:]))
        assert (failure.code, failure.message) == (code, message)
    assert len(read(sse(*stream()[:2], event))) == 1


def test_an_error_may_be_known_by_its_name_alone() -> None:
    assert failure_of(b'event: error\ndata: {"message":"x"}\n\n').message == "x"


def test_a_stream_that_is_cut_short_is_an_error(stream: Make, sse: Make) -> None:
    whole = stream()
    for count in range(len(whole)):
        failure = failure_of(sse(*whole[:count]))
        assert (failure.code, failure.message) == ("upstream_failed",
                                                   "The upstream's stream ended before it was complete.")


@pytest.mark.parametrize("stream", [b"data: {oops\n\n", b"data: \xff\n\n", b"data: " + b"[" * 100_000 + b"\n\n"])
def test_what_is_not_json_is_an_error(stream: bytes) -> None:
    assert failure_of(stream).code == "upstream_failed"


def test_nothing_comes_after_the_end(stream: Make, sse: Make) -> None:
    reader = OPERATION.reader(Sent({}))
    assert isinstance(reader.feed(sse(*stream(), *stream()))[-1], MessageEnd)
    assert reader.feed(sse(*stream())) == []
    assert reader.close() == []

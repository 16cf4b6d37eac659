"""Canonical events, written as a client's stream."""

from collections.abc import Callable, Iterable
from typing import Any

import openai
import pytest

from ailink_provider.chat import (
    Chat,
    Choice,
    Event,
    Finish,
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
from ailink_provider.dialects.openai_responses import DIALECT
from ailink_provider.errors import Failure

OPERATION = DIALECT.operations["chat"]
ASKED: Chat = OPERATION.read_request({"model": "m", "input": "Hi", "stream": True, "tools": [
    {"type": "function", "name": "f", "parameters": {"type": "object"}, "strict": False}]})
START = MessageStart("chatcmpl-1", "m-1", 5)
REPLY = Reply("chatcmpl-1", "m-1", 5, [Choice([
    Thinking("hm", "sig", signed_by="anthropic_messages"), Text("hé 🙂", annotations=[{"url": "u", "title": "t"}]),
    Text("!"), ToolCall("a", "f", '{"x":1}'), ToolCall("b", "g"), ToolCall("c", "run", "ls", custom=True),
    Refusal("no")], Finish("tool_calls"))], Usage(30, 20, 10, 4, reasoning_tokens=5), "default")
PIECES: list[Event] = [
    START, PartStart(0, Thinking(signed_by="anthropic_messages")), PartDelta(0, "h"), PartDelta(0, "m"),
    PartDelta(0, signature="sig"), PartEnd(0),
    PartStart(1, Text("")), PartDelta(1, "hé "), PartDelta(1, "🙂"),
    PartDelta(1, annotation={"url": "u", "title": "t"}), PartEnd(1), PartStart(2, Text("!")), PartEnd(2),
    PartStart(3, ToolCall("a", "f")), PartStart(4, ToolCall("b", "g")), PartDelta(3, '{"x"'), PartDelta(3, ":1}"),
    PartEnd(3), PartEnd(4), PartStart(5, ToolCall("c", "run", custom=True)), PartDelta(5, "ls"), PartEnd(5),
    PartStart(6, Refusal("")), PartDelta(6, "no"), PartEnd(6),
    MessageDelta(Finish("tool_calls"), REPLY.usage, service_tier="default"), MessageEnd()]

Sdk = Callable[..., openai.OpenAI]
Read = Callable[[bytes], list[dict[str, Any]]]


def write(found: Iterable[Event], chat: Chat = ASKED) -> bytes:
    writer = OPERATION.writer(chat)
    return b"".join([writer.write(event) for event in found])


def gather(sdk: Sdk, stream: bytes) -> Any:
    with sdk(stream).responses.stream(model="m", input="Hi") as events:
        return events.get_final_response()


def kinds(events: list[dict[str, Any]]) -> list[str]:
    return [event["type"].removeprefix("response.") for event in events]


@pytest.mark.parametrize("found", [PIECES, list(unfold(REPLY))], ids=["pieces", "unfolded"])
def test_every_event_is_of_the_sdks_own_type(found: list[Event], events: Read, typed: Callable[..., Any]) -> None:
    for event in events(write(found)):
        typed(event)


@pytest.mark.parametrize("found", [PIECES, list(unfold(REPLY))], ids=["pieces", "unfolded"])
def test_a_stream_ends_with_the_whole_reply(found: list[Event], events: Read) -> None:
    last = events(write(found))[-1]
    assert last["type"] == "response.completed"
    assert last["response"] == OPERATION.write_reply(REPLY, ASKED)


def test_openais_helper_gathers_the_reply(sdk: Sdk) -> None:
    final = gather(sdk, write(PIECES))
    assert final.output_text == "hé 🙂!"
    assert [item.type for item in final.output] == ["reasoning", "message", "function_call", "function_call",
                                                    "custom_tool_call", "message"]
    assert final.usage.total_tokens == 50


def test_openais_plain_stream_brings_the_pieces(sdk: Sdk) -> None:
    found = list(sdk(write(PIECES)).responses.create(model="m", input="Hi", stream=True))
    assert "".join(event.delta for event in found if event.type == "response.output_text.delta") == "hé 🙂!"
    assert [event.sequence_number for event in found] == list(range(len(found)))
    assert found[-1].type == "response.completed"


def test_the_sequence_of_events(events: Read) -> None:
    text = ["content_part.added", "output_text.delta", "output_text.done", "content_part.done"]
    assert kinds(events(write([
        START, PartStart(0, Thinking("t")), PartEnd(0), PartStart(1, Text("x")), PartEnd(1), PartStart(2, Text("y")),
        PartEnd(2), PartStart(3, ToolCall("a", "f", "{}")), PartEnd(3), MessageDelta(Finish("tool_calls")),
        MessageEnd(),
    ]))) == [
        "created", "in_progress",
        "output_item.added", "reasoning_summary_part.added", "reasoning_summary_text.delta",
        "reasoning_summary_text.done", "reasoning_summary_part.done", "output_item.done",
        "output_item.added", *text, *text, "output_item.done",
        "output_item.added", "function_call_arguments.delta", "function_call_arguments.done", "output_item.done",
        "completed"]


def test_indexes_and_ids_belong_together(events: Read) -> None:
    found = events(write(PIECES))
    ids = {event["output_index"]: event["item"]["id"] for event in found
           if event["type"] == "response.output_item.added"}
    assert list(ids) == [0, 1, 2, 3, 4, 5]
    assert len(set(ids.values())) == 6
    for event in found:
        if "output_index" in event:
            assert event.get("item_id", ids[event["output_index"]]) == ids[event["output_index"]]
            assert event.get("item", {"id": event.get("item_id")})["id"] == ids[event["output_index"]]
    assert [item["id"] for item in found[-1]["response"]["output"]] == list(ids.values())


def test_what_was_begun_is_what_is_done(events: Read) -> None:
    found = events(write(PIECES))
    for opening, closing in (("output_item.added", "output_item.done"), ("content_part.added", "content_part.done"),
                             ("reasoning_summary_part.added", "reasoning_summary_part.done")):
        for kind in (opening, closing):
            assert kinds(found).count(kind) == kinds(found).count(opening)
    added = [event["item"] for event in found if event["type"] == "response.output_item.added"]
    assert [item.get("status") for item in added] == [None, "in_progress", "in_progress", "in_progress", None,
                                                      "in_progress"]
    assert all(not item.get("content") and not item.get("arguments") for item in added)
    done = [event["item"] for event in found if event["type"] == "response.output_item.done"]
    assert sorted(done, key=str) == sorted(found[-1]["response"]["output"], key=str)


def test_what_is_written_reads_back_the_same() -> None:
    reader = OPERATION.reader(Sent({}))
    found = reader.feed(write(PIECES)) + reader.close()
    body = OPERATION.write_reply(REPLY, ASKED)
    assert collect(found) == OPERATION.read_reply(body, Sent({}))
    back = collect(found).choices[0].parts
    assert [type(part) for part in back] == [type(part) for part in REPLY.choices[0].parts]
    assert back[3:] == [ToolCall("a", "f", '{"x":1}'), ToolCall("b", "g", "{}"), *REPLY.choices[0].parts[5:]]


def test_parallel_calls_have_places_of_their_own(events: Read, sdk: Sdk) -> None:
    stream = write([START, PartStart(0, ToolCall("a", "f")), PartStart(1, ToolCall("b", "f")), PartDelta(1, '{"y"'),
                    PartDelta(0, "{}"), PartDelta(1, ":1}"), PartEnd(1), PartEnd(0), MessageEnd()])
    deltas = [(event["output_index"], event["delta"]) for event in events(stream)
              if event["type"].endswith("arguments.delta")]
    assert deltas == [(1, '{"y"'), (0, "{}"), (1, ":1}")]
    assert [call.arguments for call in gather(sdk, stream).output] == ["{}", '{"y":1}']


def test_text_that_goes_on_beside_a_call_keeps_its_place(events: Read, sdk: Sdk) -> None:
    stream = write([START, PartStart(0, Text("a")), PartStart(1, ToolCall("x", "f", "{}")), PartDelta(0, "b"),
                    PartEnd(1), PartEnd(0), PartStart(2, Text("c")), PartEnd(2), MessageEnd()])
    final = gather(sdk, stream)
    assert [item.type for item in final.output] == ["message", "function_call", "message"]
    assert final.output_text == "abc"
    done = [event["output_index"] for event in events(stream) if event["type"] == "response.output_item.done"]
    assert done == [1, 0, 2]


def test_what_was_left_open_is_ended(sdk: Sdk) -> None:
    final = gather(sdk, write([START, PartStart(0, Thinking("t")), PartStart(1, Text("a")), PartStart(2, Text("b")),
                               PartStart(3, ToolCall("x", "f")), MessageEnd()]))
    assert [item.type for item in final.output] == ["reasoning", "message", "function_call"]
    assert (final.output_text, final.output[2].arguments) == ("ab", "{}")


def test_late_deltas_and_strange_ones_are_passed_over(events: Read) -> None:
    found = events(write([
        START, PartDelta(9, "lost"), PartEnd(9), PartStart(0, Text("a")), PartEnd(0), PartDelta(0, "late"), PartEnd(0),
        PartStart(1, ToolCall("x", "f", "{}")), PartEnd(1), PartDelta(1, "late"), PartEnd(1),
        PartStart(2, Native("gemini", {})), PartDelta(2, "x"), PartEnd(2), PartStart(0, Text("second"), 1),
        PartDelta(0, "second", choice=1), PartEnd(0, 1), MessageDelta(Finish("length"), choice=1), START,
        MessageEnd()]))
    assert kinds(found).count("created") == 1
    output = found[-1]["response"]["output"]
    assert [item["type"] for item in output] == ["message", "function_call"]
    assert output[0]["content"][0]["text"] == "a"
    assert found[-1]["type"] == "response.completed"


def test_no_message_is_empty(events: Read) -> None:
    found = events(write([START, PartStart(0, Text("")), PartEnd(0), PartStart(1, ToolCall("x", "f")), PartEnd(1),
                          MessageEnd()]))
    assert [item["type"] for item in found[-1]["response"]["output"]] == ["function_call"]


def test_log_probabilities_come_with_and_after_their_text(events: Read, typed: Callable[..., Any]) -> None:
    entry = TokenLogprob("a", -1.0, [97])
    found = events(write([START, PartStart(0, Text("")), PartDelta(0, "a", logprobs=[entry]), PartEnd(0),
                          PartStart(1, ToolCall("x", "f")), PartEnd(1), PartDelta(1, logprobs=[entry]), MessageEnd()]))
    for event in found:
        typed(event)
    shown = {"token": "a", "logprob": -1.0, "bytes": [97], "top_logprobs": []}
    assert [event["logprobs"] for event in found if event["type"] == "response.output_text.delta"] == [[shown]]
    assert found[-1]["response"]["output"][0]["content"][0]["logprobs"] == [shown, shown]


@pytest.mark.parametrize(("finish", "kind"), [(Finish("length"), "incomplete"), (Finish("stop"), "completed"),
                                              (Finish("content_filter"), "incomplete")])
def test_the_last_event_tells_how_it_ended(finish: Finish, kind: str, sdk: Sdk) -> None:
    stream = write([START, PartStart(0, Text("x")), PartEnd(0), MessageDelta(finish), MessageEnd()])
    last = list(sdk(stream).responses.create(model="m", input="Hi", stream=True))[-1]
    assert last.type == f"response.{kind}"
    assert last.response.status == kind


@pytest.mark.parametrize("before", [0, 1, 8, len(PIECES) - 1])
def test_an_error_raises_in_openais_client_and_ends_the_stream(before: int, sdk: Sdk, events: Read,
                                                               typed: Callable[..., Any]) -> None:
    broken = MessageError(Failure("rate_limit_exceeded", "Slow.", upstream_status=429))
    stream = write([*PIECES[:before], broken])
    with pytest.raises(openai.APIError, match=r"Slow\.") as caught:
        list(sdk(stream).responses.create(model="m", input="Hi", stream=True))
    assert (caught.value.code, caught.value.type) == ("rate_limit_exceeded", "rate_limit_error")
    error, failed = events(stream)[-2:]
    typed(error)
    typed(failed)
    assert (error["type"], error["code"], error["message"], error["param"]) == (
        "error", "rate_limit_exceeded", "Slow.", None)
    assert (failed["type"], failed["response"]["status"]) == ("response.failed", "failed")
    assert failed["response"]["error"] == {"code": "rate_limit_exceeded", "message": "Slow."}


@pytest.mark.parametrize(("code", "written"), [
    ("upstream_failed", "server_error"), ("upstream_overloaded", "server_error"), ("invalid_request", "invalid_prompt"),
    ("context_length_exceeded", "context_length_exceeded"),
])
def test_a_failed_reply_says_why_and_what_was_whole(code: str, written: str, events: Read) -> None:
    failed = events(write([START, PartStart(0, Text("x")), PartEnd(0), PartStart(1, ToolCall("a", "f")),
                           MessageError(Failure(code, "X."))]))[-1]["response"]
    assert failed["error"]["code"] == written
    assert [item["type"] for item in failed["output"]] == ["message"]  # the call was not whole


def test_what_an_upstream_did_not_give_is_made_once(events: Read) -> None:
    found = events(write([PartStart(0, Text("x")), MessageEnd()]))
    responses = [event["response"] for event in found if "response" in event]
    assert len({(response["id"], response["created_at"]) for response in responses}) == 1
    assert responses[0]["id"].startswith("resp_")
    assert responses[0]["created_at"] > 1_700_000_000

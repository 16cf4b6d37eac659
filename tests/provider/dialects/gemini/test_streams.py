"""Streams, both ways."""

import itertools
from collections.abc import Callable
from typing import Any

import msgspec
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
    PartDelta,
    PartEnd,
    PartStart,
    Reasoning,
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
from ailink_provider.errors import Failure

Stream = Callable[..., list[Event]]
Frames = Callable[..., bytes]


def chunk(*parts: dict[str, Any], index: int = 0, **more: Any) -> dict[str, Any]:
    usage = {"usageMetadata": more.pop("usage")} if "usage" in more else {}
    return {
        "candidates": [{"content": {"parts": list(parts), "role": "model"}, "index": index, **more}],
        **usage,
        "modelVersion": "gemini-3-pro",
        "responseId": "r1",
    }


END = chunk(
    {"text": ""}, finishReason="STOP", usage={"promptTokenCount": 5, "candidatesTokenCount": 2, "totalTokenCount": 7}
)


def failure_of(events: list[Event]) -> Failure:
    assert isinstance(events[-1], MessageError)
    assert not any(isinstance(event, MessageError | MessageEnd) for event in events[:-1])
    return events[-1].failure


def test_events_in_order(stream: Stream, frames: Frames) -> None:
    events = stream(
        frames(
            chunk({"text": "Hel"}, usage={"promptTokenCount": 5}),
            chunk({"text": "lo"}, usage={"promptTokenCount": 5}),
            chunk({"functionCall": {"id": "c", "name": "f", "args": {}}}),
            END,
        )
    )
    assert events == [
        MessageStart("r1", "gemini-3-pro"),
        MessageDelta(usage=Usage(5)),
        PartStart(0, Text("Hel")),
        PartDelta(0, "lo"),
        PartEnd(0),
        PartStart(1, ToolCall("c", "f", "{}")),
        PartEnd(1),
        MessageDelta(usage=Usage(5, 2)),
        MessageDelta(finish=Finish("tool_calls", native="STOP")),
        MessageEnd(),
    ]


def test_a_call_in_any_chunk_makes_the_end_a_tool_call(stream: Stream, frames: Frames) -> None:
    call = chunk({"functionCall": {"id": "c", "name": "f"}})
    for order in itertools.permutations((call, chunk({"text": "x"}), END)):
        finish = collect(stream(frames(*order))).choices[0].finish
        assert finish == Finish("tool_calls", native="STOP")


def test_parallel_calls_and_only_the_first_signed(stream: Stream, frames: Frames) -> None:
    reply = collect(
        stream(
            frames(
                chunk({"functionCall": {"name": "f", "args": {"x": 1}}, "thoughtSignature": "Uw=="}),
                chunk({"functionCall": {"name": "f", "args": {"x": 2}}}),
                END,
            )
        )
    )
    first, second = reply.choices[0].parts
    assert isinstance(first, ToolCall)
    assert isinstance(second, ToolCall)
    assert first.id != second.id
    assert [(call.arguments, call.signature) for call in (first, second)] == [('{"x":1}', "Uw=="), ('{"x":2}', None)]


@pytest.mark.parametrize("size", [1, 2, 3, 5, 64])
def test_wherever_it_is_cut(stream: Stream, frames: Frames, size: int) -> None:
    data = frames(chunk({"text": "Grüße, 🌍"}), chunk({"text": 'quo"te\\'}), END)
    array = (
        b"["
        + b"\n,\r\n".join(
            msgspec.json.encode(item) for item in (chunk({"text": "Grüße, 🌍"}), chunk({"text": 'quo"te\\'}), END)
        )
        + b"\n]\n"
    )
    whole = stream(data)
    assert collect(whole).choices[0].parts == [Text('Grüße, 🌍quo"te\\')]
    for form in (
        data,
        b"\xef\xbb\xbf" + data,
        data.replace(b"\r\n", b"\n"),
        data.replace(b"data: ", b"data:"),
        data.rstrip(),
        b": hello\n\n" + data.replace(b"\r\n\r\n", b"\r\n\r\n: ping\r\n\r\nevent: odd\r\n\r\n"),
        array,
    ):
        assert stream(form, size=size) == whole


def test_candidates_are_kept_apart(stream: Stream, frames: Frames) -> None:
    reply = collect(
        stream(
            frames(
                chunk({"text": "a"}),
                chunk({"text": "x"}, index=1),
                chunk({"text": "b"}, finishReason="STOP"),
                chunk({"text": "y"}, index=1, finishReason="MAX_TOKENS"),
            )
        )
    )
    assert [choice.parts for choice in reply.choices] == [[Text("ab")], [Text("xy")]]
    assert [choice.finish and choice.finish.reason for choice in reply.choices] == ["stop", "length"]


def test_the_last_usage_counts(stream: Stream, frames: Frames) -> None:
    reply = collect(
        stream(
            frames(
                chunk({"text": "a"}, usage={"promptTokenCount": 5, "totalTokenCount": 5}),
                chunk(
                    {"text": "b"},
                    usage={
                        "promptTokenCount": 5,
                        "candidatesTokenCount": 1,
                        "thoughtsTokenCount": 3,
                        "totalTokenCount": 9,
                    },
                ),
                END,
            )
        )
    )
    assert reply.usage == Usage(5, 2)


@pytest.mark.parametrize(
    "chunks",
    [
        [],
        [chunk({"text": "a"})],
        [chunk({"text": "a"}), chunk(index=1, finishReason="STOP")],
        [{"usageMetadata": {"promptTokenCount": 1}}],
    ],
)
def test_a_stream_without_its_end_is_a_failure(stream: Stream, frames: Frames, chunks: list[dict[str, Any]]) -> None:
    assert failure_of(stream(frames(*chunks))).code == "upstream_failed"


def test_a_stream_cut_within_a_chunk_is_a_failure(stream: Stream, frames: Frames) -> None:
    data = frames(chunk({"text": "Hello"}), END)
    for end in range(1, len(data) - len(b"}\r\n\r\n")):
        assert failure_of(stream(data[:end])).code == "upstream_failed"


def test_an_error_within_a_stream(stream: Stream, frames: Frames) -> None:
    error = {"error": {"code": 503, "message": "The model is overloaded.", "status": "UNAVAILABLE"}}
    for data in (frames(chunk({"text": "a"}), error, END), b"[" + msgspec.json.encode(error) + b"]"):
        failure = failure_of(stream(data))
        assert (failure.code, failure.upstream_status, failure.message) == (
            "upstream_overloaded",
            503,
            "The model is overloaded.",
        )


@pytest.mark.parametrize(
    "bad", [b"data: {oops}\n\n", b"data: [1]\n\n", b'data: {"candidates": 5}\n\n', b'data: "x"\n\n']
)
def test_a_chunk_that_is_none(stream: Stream, frames: Frames, bad: bytes) -> None:
    assert failure_of(stream(frames(chunk({"text": "a"})) + bad + frames(END))).code == "upstream_failed"


def test_a_failure_before_any_word_begins_nothing_but_is_billed(stream: Stream, frames: Frames) -> None:
    events = stream(
        frames(chunk(finishReason="MALFORMED_FUNCTION_CALL", usage={"promptTokenCount": 5, "thoughtsTokenCount": 9}))
    )
    assert [type(event) for event in events] == [MessageDelta, MessageError]
    assert events[0] == MessageDelta(usage=Usage(5, 9, reasoning_tokens=9))
    late = stream(frames(chunk({"text": "a"}), chunk(finishReason="MALFORMED_FUNCTION_CALL")))
    assert [type(event) for event in late] == [MessageStart, PartStart, MessageError]


def test_what_is_nested_too_deeply_is_no_chunk(stream: Stream, frames: Frames) -> None:
    for depth in (950, 100_000):
        call = b'{"functionCall": {"name": "f", "args": {"x": ' + b"[" * depth + b"]" * depth + b"}}}"
        data = b'data: {"candidates": [{"content": {"parts": [' + call + b"]}}]}\n\n"
        assert failure_of(stream(frames(chunk({"text": "a"})) + data)).code == "upstream_failed"


@pytest.mark.parametrize("opening", [b"data: ", b"["])
def test_a_chunk_without_end_is_a_failure(chats: Any, monkeypatch: pytest.MonkeyPatch, opening: bytes) -> None:
    reader = chats.reader(Sent({}))
    assert reader.feed(b" \n") == []
    reader.feed(opening)
    monkeypatch.setattr(reader._chunks._frames, "_limit", 100)
    failure = failure_of(reader.feed(b"{" + b" " * 200))
    assert failure.code == "upstream_failed"
    assert "more than 100 bytes" in failure.message
    assert reader.feed(b"}\n\n") + reader.close() == []


def test_a_blocked_prompt(stream: Stream, frames: Frames) -> None:
    reply = collect(
        stream(frames({"promptFeedback": {"blockReason": "SAFETY"}, "usageMetadata": {"promptTokenCount": 4}}))
    )
    assert reply.choices == [
        Choice([], Finish("content_filter", native="SAFETY", explanation="The prompt was blocked (SAFETY)."))
    ]
    assert reply.usage == Usage(4)


# --- to clients ----------------------------------------------------------------------------------


def written(operation: Any, request: Chat, events: list[Event]) -> list[dict[str, Any]]:
    writer = operation.writer(request)
    data = b"".join(writer.write(event) for event in events)
    if operation.name == "chat_array":
        found: list[dict[str, Any]] = msgspec.json.decode(data)
        return found
    assert data.endswith(b"\r\n\r\n")
    return [msgspec.json.decode(frame.removeprefix(b"data: ")) for frame in data.split(b"\r\n\r\n")[:-1]]


EVENTS: list[Event] = [
    MessageStart("m", "gpt-5", usage=Usage(3)),
    PartStart(0, Text("He")),
    PartDelta(0, "llo"),
    PartStart(1, ToolCall("c", "f")),
    PartDelta(1, '{"x"'),
    PartDelta(1, ": 1}"),
    PartEnd(0),
    PartStart(2, ToolCall("d", "g")),
    PartEnd(1),
    MessageDelta(finish=Finish("tool_calls")),
    MessageDelta(usage=Usage(3, 4, cache_read_tokens=1)),
    MessageEnd(),
]


def test_written_chunks(chats: Any, arrays: Any, chat: Callable[..., Chat]) -> None:
    stamp = {"modelVersion": "gpt-5", "responseId": "m"}

    def part(said: dict[str, Any], **more: Any) -> dict[str, Any]:
        return {"candidates": [{"content": {"parts": [said], "role": "model"}, "index": 0, **more}], **stamp}

    expected = [
        part({"text": "He"}),
        part({"text": "llo"}),
        part({"functionCall": {"id": "c", "name": "f", "args": {"x": 1}}}),
        part({"functionCall": {"id": "d", "name": "g", "args": {}}}),
        {
            **part({"text": ""}, finishReason="STOP"),
            "usageMetadata": {
                "promptTokenCount": 3,
                "candidatesTokenCount": 4,
                "totalTokenCount": 7,
                "cachedContentTokenCount": 1,
            },
        },
    ]
    assert written(chats, chat(), EVENTS) == expected
    assert written(arrays, chat(), EVENTS) == expected
    assert (chats.writer(chat()).content_type, arrays.writer(chat()).content_type) == (
        "text/event-stream",
        "application/json",
    )


def test_an_error_ends_the_stream_in_geminis_shape(chats: Any, arrays: Any, chat: Callable[..., Chat]) -> None:
    failure = Failure("upstream_timeout", "Too slow.")
    for operation in (chats, arrays):
        for events in (EVENTS[:3], []):
            last = written(operation, chat(), [*events, MessageError(failure)])[-1]
            assert list(last) == ["error"]
            assert {key: last["error"][key] for key in ("code", "message", "status")} == {
                "code": 504,
                "message": "Too slow.",
                "status": "DEADLINE_EXCEEDED",
            }


def test_thoughts_are_shown_to_those_who_ask(chats: Any, chat: Callable[..., Chat]) -> None:
    events: list[Event] = [
        MessageStart(),
        PartStart(0, Thinking("Hm")),
        PartDelta(0, "m"),
        PartEnd(0),
        PartStart(1, Text("Hi")),
        PartEnd(1),
        MessageEnd(),
    ]
    shown = written(chats, chat(reasoning=Reasoning(visible=True)), events)
    assert [item["candidates"][0]["content"]["parts"][0] for item in shown] == [
        {"text": "Hm", "thought": True},
        {"text": "m", "thought": True},
        {"text": "Hi"},
        {"text": ""},
    ]
    hidden = written(chats, chat(), events)
    assert [item["candidates"][0]["content"]["parts"][0] for item in hidden] == [{"text": "Hi"}, {"text": ""}]


def test_signatures_go_out_whether_or_not_thoughts_are_shown(chats: Any, chat: Callable[..., Chat]) -> None:
    events: list[Event] = [
        MessageStart(),
        PartStart(0, Thinking("Hm", signed_by="gemini")),
        PartDelta(0, "m", signature="VA=="),
        PartEnd(0),
        PartStart(1, Thinking("", "TQ==", signed_by="gemini")),
        PartEnd(1),
        PartStart(2, Text("Hi")),
        PartEnd(2),
        PartStart(3, ToolCall("c", "f", signed_by="gemini")),
        PartDelta(3, "{}", signature="Qw=="),
        PartEnd(3),
        MessageEnd(),
    ]
    shown = written(chats, chat(reasoning=Reasoning(visible=True)), events)
    call = {"functionCall": {"id": "c", "name": "f", "args": {}}, "thoughtSignature": "Qw=="}
    assert [item["candidates"][0]["content"]["parts"][0] for item in shown] == [
        {"text": "Hm", "thought": True},
        {"text": "m", "thought": True},
        {"text": "", "thought": True, "thoughtSignature": "VA=="},
        {"text": "", "thoughtSignature": "TQ=="},
        {"text": "Hi"},
        call,
        {"text": ""},
    ]
    hidden = written(chats, chat(), events)
    assert [item["candidates"][0]["content"]["parts"][0] for item in hidden] == [
        {"text": "Hmm", "thought": True, "thoughtSignature": "VA=="},
        {"text": "", "thoughtSignature": "TQ=="},
        {"text": "Hi"},
        call,
        {"text": ""},
    ]
    assert events[1] == PartStart(0, Thinking("Hm", signed_by="gemini")), "the event is not changed"


def test_what_is_still_open_at_the_end_is_written(chats: Any, chat: Callable[..., Chat]) -> None:
    chunks = written(
        chats, chat(), [MessageStart(), PartStart(0, ToolCall("c", "f")), PartDelta(0, '{"a":1}'), MessageEnd()]
    )
    assert chunks[0]["candidates"][0]["content"]["parts"] == [
        {"functionCall": {"id": "c", "name": "f", "args": {"a": 1}}}
    ]
    assert chunks[1]["candidates"][0]["finishReason"] == "STOP"


def test_a_call_that_no_client_could_read(chats: Any, chat: Callable[..., Chat]) -> None:
    chunks = written(
        chats,
        chat(),
        [
            MessageStart(),
            PartStart(0, ToolCall("c", "f", "{oops")),
            PartEnd(0),
            MessageDelta(finish=Finish("tool_calls")),
            MessageEnd(),
        ],
    )
    assert [item["candidates"][0].get("finishReason") for item in chunks] == ["MALFORMED_FUNCTION_CALL"]


def test_every_candidate_finishes_in_the_last_chunk(chats: Any, chat: Callable[..., Chat]) -> None:
    reply = Reply(
        "m",
        "x",
        choices=[
            Choice(
                [Text("a", annotations=[{"groundingMetadata": {"q": 1}}, {"type": "url_citation", "url": "u"}])],
                Finish("stop"),
                logprobs=[TokenLogprob("a", -0.5)],
            ),
            Choice([Text("b", annotations=[{"url": "u"}, {"url": "v"}])], Finish("content_filter", explanation="No.")),
        ],
        usage=Usage(1, 2),
        service_tier="flex",
    )
    chunks = written(chats, chat(), list(unfold(reply)))
    first, second = chunks[-1]["candidates"]
    assert (first["index"], first["finishReason"], first["groundingMetadata"]) == (0, "STOP", {"q": 1})
    assert (second["index"], second["finishReason"], second["finishMessage"]) == (1, "SAFETY", "No.")
    assert [chunk["web"]["uri"] for chunk in second["groundingMetadata"]["groundingChunks"]] == ["u", "v"]
    assert chunks[-1]["usageMetadata"]["serviceTier"] == "flex"
    assert [
        item["candidates"][0]["logprobsResult"]["chosenCandidates"]
        for item in chunks
        if "logprobsResult" in item["candidates"][0]
    ] == [[{"token": "a", "logProbability": -0.5}]]


def test_an_answer_that_says_nothing_finishes_too(chats: Any, arrays: Any, chat: Callable[..., Chat]) -> None:
    for operation in (chats, arrays):
        [last] = written(operation, chat(), [MessageStart("1", "m"), MessageDelta(), MessageEnd()])
        assert [candidate["finishReason"] for candidate in last["candidates"]] == ["STOP"]


def test_a_call_that_ends_first_waits_for_the_one_that_began_first(chats: Any, chat: Callable[..., Chat]) -> None:
    events = [
        MessageStart("r", "m"),
        PartStart(0, ToolCall("a", "f", signature="UQ==", signed_by="gemini")),
        PartStart(1, ToolCall("b", "g")),
        PartStart(0, ToolCall("c", "h"), choice=1),
        PartEnd(1),
        PartEnd(0, choice=1),
        PartEnd(0),
        PartStart(2, ToolCall("d", "i")),
        MessageEnd(),
    ]
    parts = [part for chunk in written(chats, chat(), events) for part in chunk["candidates"][0]["content"]["parts"]]
    assert [part["functionCall"]["id"] for part in parts if "functionCall" in part] == ["c", "a", "b", "d"]


def test_what_is_written_reads_back(chats: Any, arrays: Any, chat: Callable[..., Chat], stream: Stream) -> None:
    expected = collect(EVENTS)
    expected.choices[0].finish = Finish("tool_calls", native="STOP")
    expected.choices[0].parts = [Text("Hello"), ToolCall("c", "f", '{"x":1}'), ToolCall("d", "g", "{}")]
    for operation in (chats, arrays):
        writer = operation.writer(chat())
        assert collect(stream(b"".join(writer.write(event) for event in EVENTS), Sent({}))) == expected

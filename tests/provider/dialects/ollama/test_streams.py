"""Streams, both ways."""

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
from ailink_provider.dialects.ollama.framing import Lines
from ailink_provider.errors import Failure

Stream = Callable[..., list[Event]]
Make = Callable[..., Chat]
Frame = Callable[..., bytes]
Sdk = Callable[[bytes], list[dict[str, Any]]]
STAMP = {"model": "qwen3:8b", "created_at": "2026-01-02T03:04:05Z"}
CREATED = 1767323045


def line(*, done: bool = False, **message: Any) -> dict[str, Any]:
    return STAMP | {"message": {"role": "assistant", "content": ""} | message, "done": done}


def call(name: str, **arguments: Any) -> dict[str, Any]:
    return {"function": {"name": name, "arguments": arguments}}


END = line(done=True) | {"done_reason": "stop", "prompt_eval_count": 11, "eval_count": 7}
TALK = (line(thinking="H"), line(thinking="m."), line(content="Grüße, "), line(content='🌍 \\ "q"\n'), END)


def failure_of(events: list[Event]) -> Failure:
    assert isinstance(events[-1], MessageError)
    assert not any(isinstance(event, MessageError | MessageEnd) for event in events[:-1])
    return events[-1].failure


def test_events_in_order(stream: Stream, lines: Frame) -> None:
    events = stream(
        lines(line(thinking="Hm"), line(content="Lo"), line(content="ok"), line(tool_calls=[call("f", x=1)]), END)
    )
    made = events[8]
    assert isinstance(made, PartStart)
    assert isinstance(made.part, ToolCall)
    assert events == [
        MessageStart(model="qwen3:8b", created=CREATED),
        PartStart(0, Thinking(signed_by="ollama")),
        PartDelta(0, "Hm"),
        PartEnd(0),
        PartStart(1, Text("")),
        PartDelta(1, "Lo"),
        PartDelta(1, "ok"),
        PartEnd(1),
        PartStart(2, ToolCall(made.part.id, "f", '{"x":1}')),
        PartEnd(2),
        MessageDelta(Finish("tool_calls", "stop"), Usage(11, 7)),
        MessageEnd(),
    ]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64, 1 << 20])
def test_wherever_it_is_cut(stream: Stream, lines: Frame, size: int) -> None:
    data = lines(*TALK)
    whole = stream(data)
    assert collect(whole).choices[0].parts == [Thinking("Hm.", signed_by="ollama"), Text('Grüße, 🌍 \\ "q"\n')]
    assert collect(whole).usage == Usage(11, 7)
    for form in (
        data,
        data.replace(b"\n", b"\r\n"),
        data.replace(b"\n", b"\n\n \n"),
        data.rstrip(),
        data + b'{"odd": 1}\n',
        b'{"status": "loading"}\n' + data,
    ):
        assert stream(form, size=size) == whole


def test_parallel_calls_in_one_line_and_in_several(stream: Stream, lines: Frame) -> None:
    for cut in ([[call("f", x=1), call("f", x=2)]], [[call("f", x=1)], [call("f", x=2)]]):
        reply = collect(stream(lines(*[line(tool_calls=calls) for calls in cut], END)))
        first, second = reply.choices[0].parts
        assert isinstance(first, ToolCall)
        assert isinstance(second, ToolCall)
        assert (first.arguments, second.arguments) == ('{"x":1}', '{"x":2}')
        assert first.id != second.id
        assert reply.choices[0].finish == Finish("tool_calls", "stop")


def test_words_after_a_call_are_a_part_of_their_own(stream: Stream, lines: Frame) -> None:
    parts = collect(stream(lines(line(content="a"), line(tool_calls=[call("f")]), line(content="b"), END)))
    assert [type(part) for part in parts.choices[0].parts] == [Text, ToolCall, Text]


def test_a_whole_reply_and_its_stream_agree(chats: Any, stream: Stream, lines: Frame) -> None:
    logprobs = [{"token": "x", "logprob": -0.25}]
    whole = line(thinking="Hm.", content="Look.", tool_calls=[call("f", x=1), call("g")]) | END | {
        "logprobs": logprobs * 2,
        "message": {"thinking": "Hm.", "content": "Look.", "tool_calls": [call("f", x=1), call("g")]},
    }  # fmt: skip
    pieces = (
        line(thinking="Hm"),
        line(thinking="."),
        line(content="Lo") | {"logprobs": logprobs},
        line(content="ok.") | {"logprobs": logprobs},
        line(tool_calls=[call("f", x=1)]),
        line(tool_calls=[call("g")]),
        END,
    )
    assert collect(stream(lines(*pieces))) == chats.read_reply(whole, Sent({}))


def test_an_answer_of_nothing_is_one(stream: Stream, lines: Frame) -> None:
    reply = collect(stream(lines(END)))
    assert reply.choices == [Choice([], Finish("stop", "stop"))]


@pytest.mark.parametrize("count", range(len(TALK)))
def test_a_stream_without_its_end_is_a_failure(stream: Stream, lines: Frame, count: int) -> None:
    assert failure_of(stream(lines(*TALK[:count]))).code == "upstream_failed"


def test_a_stream_cut_anywhere_is_a_failure(stream: Stream, lines: Frame) -> None:
    data = lines(*TALK)
    for end in range(len(data) - 1):
        assert failure_of(stream(data[:end])).code == "upstream_failed"


@pytest.mark.parametrize(
    ("error", "code"),
    [
        ("an error was encountered while running the model", "upstream_failed"),
        ("server busy, please try again.  maximum pending requests exceeded", "upstream_overloaded"),
        ("the input length exceeds the context length", "context_length_exceeded"),
        ({"message": "odd"}, "upstream_failed"),
        (True, "upstream_failed"),
    ],
)
def test_an_error_in_a_stream(stream: Stream, lines: Frame, error: Any, code: str) -> None:
    late = stream(lines(TALK[0], {"error": error}, END))
    assert failure_of(late).code == code
    assert isinstance(late[0], MessageStart)
    early = stream(lines({"error": error}))
    assert failure_of(early).code == code
    assert len(early) == 1, "nothing of a reply has begun"


@pytest.mark.parametrize("bad", [b"{oops\n", b"[1]\n", b'"x"\n', b"<html>\n", b'{"a":"\xff"}\n', b"[" * 99_999 + b"\n"])
def test_a_line_that_is_none(stream: Stream, lines: Frame, bad: bytes) -> None:
    assert failure_of(stream(lines(TALK[0]) + bad + lines(END))).code == "upstream_failed"


def test_a_model_that_was_only_loaded_gave_no_answer(stream: Stream, lines: Frame) -> None:
    (event,) = stream(lines(END | {"done_reason": "load"}))
    assert isinstance(event, MessageError)
    assert "load" in event.failure.message


def test_a_line_without_end_is_a_failure(chats: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    reader = chats.reader(Sent({}))
    monkeypatch.setattr(reader, "_lines", Lines(100))
    assert reader.feed(b"{" + b" " * 90) == []
    assert "more than 100 bytes" in failure_of(reader.feed(b" " * 90)).message
    assert reader.feed(b"}\n") + reader.close() == []


def test_only_a_line_is_bounded_never_a_stream() -> None:
    lines = Lines(100)
    for _ in range(50):
        assert lines.feed(b"x" * 60) == []
        assert lines.feed(b"\n" + b"y" * 20) != []
        assert lines.feed(b"\n") == [b"y" * 20 + b"\n"]


# --- to clients ----------------------------------------------------------------------------------


def written(chats: Any, request: Chat, events: list[Event]) -> bytes:
    writer = chats.writer(request)
    return b"".join(writer.write(event) for event in events)


EVENTS: list[Event] = [
    MessageStart("id", "gpt-5", CREATED, usage=Usage(3)),
    PartStart(0, Thinking("H", signed_by="gemini")),
    PartDelta(0, "m", signature="s"),
    PartStart(1, Text("He")),
    PartDelta(1, "llo", logprobs=[TokenLogprob("llo", -0.5)]),
    PartDelta(1, annotation={"url": "x"}),
    PartStart(2, ToolCall("c", "f")),
    PartDelta(2, '{"x"'),
    PartEnd(1),
    PartStart(3, ToolCall("d", "g")),
    PartDelta(2, ": 1}"),
    PartEnd(3),
    PartStart(0, Text("another choice"), choice=1),
    MessageDelta(Finish("tool_calls")),
    MessageDelta(usage=Usage(3, 4)),
    MessageEnd(),
]


def test_written_lines(chats: Any, chat: Make, sdk: Sdk) -> None:
    head = {"model": "gpt-5", "created_at": "2026-01-02T03:04:05.000000Z"}

    def said(**message: Any) -> dict[str, Any]:
        return head | {"message": {"role": "assistant", "content": ""} | message, "done": False}

    assert sdk(written(chats, chat(), EVENTS)) == [
        said(thinking="H"),
        said(thinking="m"),
        said(content="He"),
        said(content="llo") | {"logprobs": [{"token": "llo", "logprob": -0.5, "top_logprobs": []}]},
        said(tool_calls=[{"id": "c", "function": {"name": "f", "arguments": {"x": 1}}}]),
        said(tool_calls=[{"id": "d", "function": {"name": "g", "arguments": {}}}]),
        said() | {"done": True, "done_reason": "stop", "prompt_eval_count": 3, "eval_count": 4},
    ]
    assert chats.writer(chat()).content_type == "application/x-ndjson"


def test_an_error_ends_the_stream_as_the_sdk_expects(chats: Any, chat: Make, sdk: Any) -> None:
    for events in (EVENTS[:4], []):
        data = written(chats, chat(), [*events, MessageError(Failure("upstream_timeout", "Too slow."))])
        with pytest.raises(sdk.error, match=r"Too slow\."):
            sdk(data)
        assert msgspec.json.decode(data.splitlines()[-1]) == {"error": "Too slow.", "code": "upstream_timeout"}


def test_a_call_that_no_client_could_read_breaks_the_stream(chats: Any, chat: Make, sdk: Any) -> None:
    bad: list[Event] = [MessageStart(), PartStart(0, ToolCall("c", "f", "{oops")), PartEnd(0), *EVENTS[3:]]
    data = written(chats, chat(), bad)
    with pytest.raises(sdk.error, match="'f'"):
        sdk(data)
    assert data.count(b"\n") == 1, "nothing follows an error"


def test_thoughts_are_hidden_from_those_who_want_none(chats: Any, chat: Make, sdk: Sdk) -> None:
    parts = sdk(written(chats, chat(reasoning=Reasoning(effort="none")), EVENTS))
    assert not any("thinking" in part["message"] for part in parts)


def test_a_refusal_is_told_once(chats: Any, chat: Make, sdk: Sdk) -> None:
    finish = Finish("content_filter", explanation="No.")
    for parts in ([], [Refusal("No.")]):
        found = sdk(written(chats, chat(), list(unfold(Reply(choices=[Choice(list(parts), finish)])))))
        assert "".join(part["message"]["content"] for part in found) == "No."
        assert found[-1]["done_reason"] == "content_filter"


def test_what_is_written_reads_back(chats: Any, chat: Make, stream: Stream) -> None:
    expected = Reply(
        model="gpt-5",
        created=CREATED,
        choices=[
            Choice(
                [
                    Thinking("Hm", signed_by="ollama"),
                    Text("Hello"),
                    ToolCall("c", "f", '{"x":1}'),
                    ToolCall("d", "g", "{}"),
                ],
                Finish("tool_calls", "stop"),
                [TokenLogprob("llo", -0.5)],
            )
        ],
        usage=Usage(3, 4),
    )
    assert collect(stream(written(chats, chat(), EVENTS))) == expected

"""Replies that pass through: what is forwarded and what is measured."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from ailink_provider.chat import Usage

Frames = Callable[..., bytes]
TEXT = {
    "candidates": [{"content": {"parts": [{"text": "Hello"}]}, "index": 0}],
    "usageMetadata": {"promptTokenCount": 5},
    "modelVersion": "gemini-2.5-flash",
}
END = {
    "candidates": [{"content": {"parts": [{"text": ""}]}, "finishReason": "STOP", "index": 0}],
    "usageMetadata": {"promptTokenCount": 5, "candidatesTokenCount": 2, "thoughtsTokenCount": 3, "totalTokenCount": 10},
}
ERROR = {"error": {"code": 503, "message": "Overloaded", "status": "UNAVAILABLE"}}


def array(*chunks: dict[str, Any]) -> bytes:
    return b"[" + b"\n,\r\n".join(map(msgspec.json.encode, chunks)) + b"\n]\n"


def run(meter: Any, data: bytes, size: int = 7) -> bytes:
    return b"".join(meter.feed(data[start : start + size]) for start in range(0, len(data), size)) + meter.close()


@pytest.mark.parametrize("size", [1, 7, 10_000])
def test_a_whole_stream_passes_untouched(chats: Any, arrays: Any, frames: Frames, size: int) -> None:
    for operation, data in (
        (chats, frames(TEXT, END)),
        (arrays, array(TEXT, END)),
        (chats, b": hi\n\n" + frames(TEXT, END).rstrip()),
    ):
        meter = operation.meter({})
        assert run(meter, data, size) == data
        measured = meter.measured
        assert (measured.model, measured.usage, measured.finish) == (
            "gemini-2.5-flash",
            Usage(5, 5, reasoning_tokens=3),
            "stop",
        )
        assert (measured.characters, measured.complete, measured.failure) == (5, True, None)


def test_only_whole_frames_are_forwarded(chats: Any, frames: Frames) -> None:
    data, meter = frames(TEXT, END), chats.meter({})
    assert meter.feed(data[:-5]) == frames(TEXT)
    assert not meter.measured.complete


def test_calls_count_and_decide_the_finish(chats: Any, frames: Frames) -> None:
    call = {"functionCall": {"name": "f", "args": {"x": 1}}}
    meter = chats.meter({})
    run(meter, frames({"candidates": [{"content": {"parts": [call]}}]}, END))
    assert meter.measured.finish == "tool_calls"
    assert meter.measured.characters == len(msgspec.json.encode(call["functionCall"]))


def test_an_error_that_comes_first_is_held_back(chats: Any, arrays: Any, frames: Frames) -> None:
    for operation, data in ((chats, frames(ERROR)), (arrays, array(ERROR)), (chats, frames(ERROR).rstrip())):
        meter = operation.meter({})
        assert run(meter, data).strip(b"[]\n") == b""
        assert meter.measured.failure is not None
        assert meter.measured.failure.code == "upstream_overloaded"


def test_an_error_later_is_forwarded_as_it_came(chats: Any, frames: Frames) -> None:
    meter, data = chats.meter({}), frames(TEXT, ERROR)
    assert run(meter, data) == data
    assert meter.measured.failure.code == "upstream_overloaded"
    assert meter.measured.usage == Usage(5)


def test_a_stream_that_was_cut_short_says_so(chats: Any, arrays: Any, frames: Frames) -> None:
    for cut in (frames(TEXT), frames(TEXT) + b'data: {"candidates": [{"cont', frames(TEXT).rstrip()):
        meter = chats.meter({})
        last = run(meter, cut).split(b"\r\n\r\n")[-2]
        assert msgspec.json.decode(last.removeprefix(b"data: "))["error"]["status"] == "UNAVAILABLE"
        assert (meter.measured.failure.code, meter.measured.complete) == ("upstream_failed", False)
    meter = arrays.meter({})
    chunks = msgspec.json.decode(run(meter, array(TEXT, END)[:-40]))
    assert (chunks[0], list(chunks[1])) == (TEXT, ["error"])
    assert meter.measured.failure.code == "upstream_failed"


def test_nothing_at_all_is_a_failure_without_a_word(chats: Any) -> None:
    meter = chats.meter({})
    assert meter.close() == b""
    assert meter.measured.failure.code == "upstream_failed"


def test_a_blocked_prompt_is_complete(chats: Any, frames: Frames) -> None:
    meter, data = chats.meter({}), frames({"promptFeedback": {"blockReason": "SAFETY"}})
    assert run(meter, data) == data
    assert (meter.measured.finish, meter.measured.complete, meter.measured.failure) == ("content_filter", True, None)


def test_every_candidate_has_to_finish(chats: Any, frames: Frames) -> None:
    meter = chats.meter({})
    second = {"candidates": [{"content": {"parts": [{"text": "x"}]}, "index": 1}]}
    meter.feed(frames(TEXT, END, second))
    assert not meter.measured.complete
    meter.feed(frames({"candidates": [{"finishReason": "MAX_TOKENS", "index": 1}]}))
    assert (meter.measured.complete, meter.measured.finish) == (True, "stop")


def test_chunks_that_are_not_understood_pass(chats: Any, frames: Frames) -> None:
    data = (
        frames(TEXT)
        + b"data: hello\r\n\r\n"
        + frames({"candidates": "?"}, {"usageMetadata": {"promptTokenCount": "?"}}, END)
    )
    meter = chats.meter({})
    assert run(meter, data) == data
    assert meter.measured.complete


def test_a_frame_without_end_is_refused(chats: Any, frames: Frames, monkeypatch: pytest.MonkeyPatch) -> None:
    meter = chats.meter({})
    meter.feed(frames(TEXT))
    monkeypatch.setattr(meter._chunks._frames, "_limit", 100)
    told = meter.feed(b"data: " + b"x" * 200)
    assert msgspec.json.decode(told.strip().removeprefix(b"data: "))["error"]["code"] == 502
    assert meter.measured.failure.code == "upstream_failed"
    assert meter.close() == b""


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"null", b"<html>", b'{"candidates": 5}', b'{"usageMetadata": {"promptTokenCount": -1.5}}']
)
def test_measuring_never_raises(chats: Any, body: bytes) -> None:
    assert chats.measure(body).usage is None


def test_measuring_a_whole_reply(chats: Any) -> None:
    measured = chats.measure(msgspec.json.encode({**TEXT, **END}))
    assert (measured.usage, measured.finish, measured.complete) == (Usage(5, 5, reasoning_tokens=3), "stop", True)
    assert chats.measure(msgspec.json.encode(ERROR)).failure.code == "upstream_overloaded"

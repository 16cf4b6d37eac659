"""What passes through is measured, and not a byte of it changes."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from msgspec import Raw

from ailink_provider.catalog import Facts
from ailink_provider.chat import Usage
from ailink_provider.dialects import Measured
from ailink_provider.dialects.ollama import DIALECT
from ailink_provider.dialects.ollama.framing import Lines

CHAT = DIALECT.operations["chat"]
Frame = Callable[..., bytes]
COUNTS = {"prompt_eval_count": 11, "eval_count": 7, "total_duration": 10**12}


def line(*, done: bool = False, **message: Any) -> dict[str, Any]:
    return {"model": "m", "created_at": "x", "message": {"role": "assistant", "content": ""} | message, "done": done}


END = line(done=True) | {"done_reason": "stop"} | COUNTS
CALL = line(tool_calls=[{"function": {"name": "f", "arguments": {"x": 1}}}])
WHOLE = (line(thinking="hm"), line(content="Hié"), CALL, END)


def metered(stream: bytes, size: int = 1 << 20) -> tuple[bytes, bytes, Measured]:
    meter = CHAT.meter({})
    out = b"".join([meter.feed(stream[start : start + size]) for start in range(0, len(stream), size)])
    return out, meter.close(), meter.measured


@pytest.mark.parametrize("size", [1, 3, 50, 1 << 20])
@pytest.mark.parametrize("newline", [b"\n", b"\r\n"])
def test_a_whole_stream_passes_byte_for_byte(lines: Frame, size: int, newline: bytes) -> None:
    stream = lines(*WHOLE).replace(b"\n", newline)
    out, rest, measured = metered(stream, size)
    assert out + rest == stream
    assert measured == Measured("m", Usage(11, 7), "tool_calls", 2 + 3 + len('{"x":1}'), True, None)


def test_the_last_line_may_lack_its_end(lines: Frame) -> None:
    out, rest, measured = metered(lines(*WHOLE).rstrip())
    assert out + rest == lines(*WHOLE)
    assert measured.complete


def test_an_error_that_comes_first_is_not_forwarded(lines: Frame) -> None:
    out, rest, measured = metered(lines({"error": "server busy"}, END))
    assert (out, rest, measured.complete) == (b"", b"", False)
    assert measured.failure is not None
    assert measured.failure.code == "upstream_overloaded"


def test_an_error_amid_the_stream_reaches_the_client(lines: Frame) -> None:
    out, rest, measured = metered(lines(*WHOLE[:2], {"error": "it broke", "key": "secret"}, END))
    assert out.startswith(lines(*WHOLE[:2]))
    assert msgspec.json.decode(out[len(lines(*WHOLE[:2])) :]) == {"error": "it broke", "code": "upstream_failed"}
    assert (rest, measured.complete, measured.characters) == (b"", False, 5)


@pytest.mark.parametrize("cut", range(1, len(WHOLE)))
def test_a_stream_that_is_cut_short_ends_in_an_error(lines: Frame, cut: int) -> None:
    out, rest, measured = metered(lines(*WHOLE[:cut]))
    assert out == lines(*WHOLE[:cut])
    assert msgspec.json.decode(rest)["code"] == "upstream_failed"
    assert measured.failure is not None
    assert not measured.complete


@pytest.mark.parametrize("stream", [b"", b"\n\n", b"<html></html>", b"{oops\n", b"[" * 99_999 + b"\n", b"[]\n"])
def test_what_never_was_a_stream_forwards_nothing(stream: bytes) -> None:
    out, rest, measured = metered(stream)
    assert (out, rest) == (b"", b"")
    assert measured.failure is not None
    assert measured.failure.code == "upstream_failed"


def test_an_endless_line_breaks_the_stream(lines: Frame, monkeypatch: pytest.MonkeyPatch) -> None:
    meter = CHAT.meter({})
    monkeypatch.setattr(meter, "_lines", Lines(1000))
    meter.feed(lines(WHOLE[0]))
    forwarded = b"".join(meter.feed(b"x" * 400) for _ in range(5))
    assert forwarded.count(b'"error"') == 1
    assert meter.close() == b""


def test_a_stream_of_odd_types_passes_and_is_counted_as_far_as_it_goes(lines: Frame) -> None:
    odd = {"model": 7, "message": {"content": 5, "tool_calls": [{"function": 1}, 2]}, "done": "yes", "eval_count": "x"}
    out, _, measured = metered(lines(odd, {"message": "x"}, END))
    assert out == lines(odd, {"message": "x"}, END)
    assert measured.complete
    assert measured.usage == Usage(11, 7)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (WHOLE[1] | END | {"message": {"content": "abc"}}, Measured("m", Usage(11, 7), "stop", 3, True)),
        (CALL | {"done": True}, Measured("m", None, "tool_calls", 7, True)),
        (END | {"done_reason": "length", "prompt_eval_count": None}, Measured("m", Usage(0, 7), "length", 0, True)),
        ({"model": "m", "embeddings": [[0.5]], "prompt_eval_count": 3}, Measured("m", Usage(3), None, 0, True)),
    ],
)
def test_a_whole_reply_is_measured(body: dict[str, Any], expected: Measured) -> None:
    assert CHAT.measure(msgspec.json.encode(body)) == expected


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b"7", b'"\xff"', b"[" * 99_999])
def test_measuring_never_raises(body: bytes) -> None:
    assert not CHAT.measure(body).complete


@pytest.mark.parametrize("body", [b'{"error":"x"}', b"{}", b'{"embeddings":[]}', b'{"message":null}'])
def test_what_is_no_reply_is_a_failure(body: bytes) -> None:
    measured = CHAT.measure(body)
    assert not measured.complete
    assert measured.failure is not None


@pytest.mark.parametrize("name", ["chat", "embeddings"])
def test_a_request_is_amended(name: str) -> None:
    body = {"model": Raw(b'"old"'), "stream": Raw(b"false"), "options": Raw(b'{"x": 1}')}
    DIALECT.operations[name].amend(body, "new:8b", Facts())
    assert {key: bytes(value) for key, value in body.items()} == {
        "model": b'"new:8b"', "stream": b"false", "options": b'{"x": 1}',
    }  # fmt: skip

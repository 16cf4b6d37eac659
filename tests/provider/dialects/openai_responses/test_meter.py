"""Replies that pass through: what is read off them, and what becomes of one that breaks."""

from collections.abc import Callable
from typing import Any

import msgspec
import openai
import pytest

from ailink_provider.chat import Usage
from ailink_provider.dialects.openai_responses import DIALECT

OPERATION = DIALECT.operations["responses"]
USAGE = Usage(30, 20, 10, 4, reasoning_tokens=5)
LENGTH = len("Firstthen") + len("hé 🙂") + len("no") + len('{"x":1}') + len("{}") + len("ls")
Make = Callable[..., Any]


def metered(stream: bytes, size: int | None = None) -> tuple[bytes, Any]:
    meter = OPERATION.meter({})
    step = size or len(stream) or 1
    forwarded = b"".join(meter.feed(stream[start : start + step]) for start in range(0, len(stream), step))
    return forwarded + meter.close(), meter.measured


@pytest.mark.parametrize("dress", [
    lambda data: data, lambda data: data.replace(b"\n", b"\r\n"), lambda data: data.replace(b": ", b":", 1),
    lambda data: data.replace(b"\n\n", b"\n\n: ping\n\n"), lambda data: data + b"data: [DONE]\n\n",
], ids=["as it is", "crlf", "no space", "comments", "done"])
def test_a_stream_is_measured_however_it_is_cut(stream: Make, sse: Make, dress: Callable[[bytes], bytes]) -> None:
    dressed = dress(sse(*stream()))
    for size in (1, 5, 64, 4096):
        forwarded, measured = metered(dressed, size)
        assert forwarded.replace(b": ping\n\n", b"") == dressed.replace(b": ping\n\n", b"")
        assert measured.complete
        assert measured.failure is None
        assert (measured.model, measured.finish, measured.usage) == ("m-1", "tool_calls", USAGE)
        assert measured.characters == LENGTH


def test_what_comes_before_the_first_word_waits_for_it(stream: Make, sse: Make) -> None:
    meter = OPERATION.meter({})
    opening, first = sse(*stream()[:2]), sse(stream()[2])
    assert meter.feed(b": hello\n\n" + opening) == b""
    assert meter.feed(first) == opening + first


def test_sound_is_not_counted_as_words(sse: Make) -> None:
    _, measured = metered(sse({"type": "response.audio.delta", "delta": "AAAA"},
                              {"type": "response.audio.transcript.delta", "delta": "ab"}))
    assert measured.characters == 2


@pytest.mark.parametrize("event", [
    {"type": "error", "code": "rate_limit_exceeded", "message": "Slow."},
    {"type": "error", "error": {"code": "rate_limit_exceeded", "message": "Slow."}},
    {"type": "response.failed", "response": {"status": "failed", "error": {"code": "rate_limit_exceeded",
                                                                           "message": "Slow."}}},
])
@pytest.mark.parametrize("before", [0, 1, 2])
def test_nothing_is_forwarded_of_an_error_that_comes_first(stream: Make, sse: Make, event: dict[str, Any],
                                                           before: int) -> None:
    forwarded, measured = metered(sse(*stream()[:before], event, *stream()))
    assert forwarded == b""
    assert (measured.failure.code, measured.failure.message, measured.complete) == (
        "rate_limit_exceeded", "Slow.", False)


def test_a_later_error_is_said_in_the_gateways_words(stream: Make, sse: Make, events: Make,
                                                     sdk: Callable[..., openai.OpenAI]) -> None:
    error = {"type": "error", "code": "server_error", "message": "Bad key sk-abcdef123456, sorry."}
    forwarded, measured = metered(sse(*stream()[:20], error, {"type": "response.failed", "response": {}}))
    assert forwarded.startswith(sse(*stream()[:20]))
    assert b"sk-abc" not in forwarded
    found = events(forwarded)
    assert [event["type"] for event in found[20:]] == ["error", "response.failed"]
    assert found[21]["response"]["id"] == "resp_1"
    assert found[21]["response"]["error"] == {"code": "server_error", "message": "Bad key ***, sorry."}
    assert measured.failure.message == "Bad key ***, sorry."
    with pytest.raises(openai.APIError, match="Bad key"):
        list(sdk(forwarded).responses.create(model="m", input="Hi", stream=True))


def test_a_stream_that_is_cut_short_breaks_for_the_client_too(stream: Make, sse: Make, events: Make) -> None:
    whole = stream()
    for count in range(len(whole)):
        forwarded, measured = metered(sse(*whole[:count]))
        assert measured.failure.code == "upstream_failed"
        if count < 3:
            assert forwarded == b""
        else:
            assert [event["type"] for event in events(forwarded)[count:]] == ["error", "response.failed"]


@pytest.mark.parametrize("odd", [b'data: {"type":7}\n\n', b"data: []\n\n", b'data: {"type":"new","delta":{}}\n\n'])
def test_what_is_unknown_is_forwarded(stream: Make, sse: Make, odd: bytes) -> None:
    whole = sse(*stream()[:9]) + odd + sse(*stream()[9:])
    forwarded, measured = metered(whole)
    assert (forwarded, measured.failure, measured.characters) == (whole, None, LENGTH)


@pytest.mark.parametrize("junk", [b"data: {oops\n\n", b"data: \xff\n\n"])
def test_what_is_not_an_event_breaks_the_stream(stream: Make, sse: Make, junk: bytes) -> None:
    forwarded, measured = metered(sse(*stream()[:9]) + junk + sse(*stream()[9:]))
    assert measured.failure.code == "upstream_failed"
    assert b"response.failed" in forwarded
    assert metered(junk)[0] == b""


def test_a_stream_that_ends_without_its_blank_line_is_whole(stream: Make, sse: Make) -> None:
    whole = sse(*stream())
    forwarded, measured = metered(whole.removesuffix(b"\n\n"))
    assert forwarded == whole
    assert measured.complete


@pytest.mark.parametrize(("members", "finish"), [
    ({}, "tool_calls"), ({"output": []}, "stop"),
    ({"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}}, "length"),
    ({"status": "queued"}, None), ({"status": "cancelled"}, None),
])
def test_a_whole_reply_is_measured(response: Make, members: dict[str, Any], finish: str | None) -> None:
    measured = OPERATION.measure(msgspec.json.encode(response(**members)))
    assert (measured.complete, measured.failure, measured.model, measured.finish) == (True, None, "m-1", finish)
    assert measured.usage == USAGE
    assert measured.characters == (0 if members.get("output") == [] else LENGTH)


@pytest.mark.parametrize(("body", "code"), [
    (b"", "upstream_failed"), (b"[]", "upstream_failed"), (b"{}", "upstream_failed"), (b"<html>", "upstream_failed"),
    (b'{"error":{"message":"x","code":"rate_limit_exceeded"}}', "rate_limit_exceeded"),
    (b'{"status":"failed","output":[],"error":{"message":"x","code":"server_error"}}', "upstream_failed"),
])
def test_what_is_no_reply_is_a_failure(body: bytes, code: str) -> None:
    measured = OPERATION.measure(body)
    assert not measured.complete
    assert measured.failure is not None
    assert measured.failure.code == code

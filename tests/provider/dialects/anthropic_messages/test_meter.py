"""What passes through is measured, and not a byte of it changes."""

import msgspec
import pytest

from ailink_provider.chat import Usage

START = {"type": "message_start", "message": {
    "id": "m", "type": "message", "role": "assistant", "model": "claude-x", "content": [],
    "usage": {"input_tokens": 10, "cache_read_input_tokens": 5, "output_tokens": 1}}}
OPEN = {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}
HI = {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hié"}}
THOUGHT = {"type": "content_block_delta", "index": 0, "delta": {"type": "thinking_delta", "thinking": "hm"}}
INPUT = {"type": "content_block_delta", "index": 0, "delta": {"type": "input_json_delta", "partial_json": "{}"}}
CLOSE = {"type": "content_block_stop", "index": 0}
ENDING = {"type": "message_delta", "delta": {"stop_reason": "tool_use"},
          "usage": {"input_tokens": 12, "output_tokens": 9}}
END = {"type": "message_stop"}
PING = {"type": "ping"}
ERROR = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
WHOLE = (START, PING, OPEN, HI, THOUGHT, INPUT, CLOSE, ENDING, END)


@pytest.fixture
def run(messages):
    """Passes a stream through a meter; returns the bytes of feeding, of closing, and what was measured."""
    def through(stream, size=1 << 20):
        meter = messages.meter({})
        out = b"".join([meter.feed(stream[start:start + size]) for start in range(0, len(stream), size)])
        return out, meter.close(), meter.measured

    return through


@pytest.mark.parametrize("size", [1, 3, 50, 1 << 20])
@pytest.mark.parametrize("newline", [b"\n", b"\r\n"])
def test_a_whole_stream_passes_byte_for_byte(run, frames, size, newline):
    stream = (b": hello\n\n" + frames(*WHOLE)).replace(b"\n", newline)
    out, rest, measured = run(stream, size)
    assert out + rest == stream
    assert measured.usage == Usage(17, 9, cache_read_tokens=5)
    assert (measured.model, measured.finish, measured.characters) == ("claude-x", "tool_calls", 7)
    assert (measured.complete, measured.failure) == (True, None)


def test_an_error_that_comes_first_is_not_forwarded(run, frames):
    out, rest, measured = run(frames(PING, ERROR, END))
    assert (out, rest) == (b"", b"")
    assert (measured.failure.code, measured.complete) == ("upstream_overloaded", False)


def test_pings_wait_for_the_first_event(messages, frames):
    meter = messages.meter({})
    assert meter.feed(b": hi\n\n" + frames(PING)) == b""
    assert meter.feed(frames(START)) == b": hi\n\n" + frames(PING, START)
    assert meter.feed(frames(PING)) == frames(PING)


def test_an_error_amid_the_stream_reaches_the_client(run, frames):
    out, rest, measured = run(frames(START, OPEN, HI, ERROR, CLOSE))
    assert (out, rest) == (frames(START, OPEN, HI, ERROR), b"")
    assert (measured.failure.code, measured.usage, measured.characters) == (
        "upstream_overloaded", Usage(15, 1, cache_read_tokens=5), 3)


@pytest.mark.parametrize("cut", range(1, len(WHOLE)))
def test_a_stream_that_is_cut_short_ends_in_an_error(run, frames, cut):
    out, rest, measured = run(frames(*WHOLE[:cut]))
    assert out == frames(*WHOLE[:cut])
    assert rest.startswith(b"event: error\ndata: ")
    assert msgspec.json.decode(rest.split(b"data: ")[1])["error"]["type"] == "api_error"
    assert (measured.failure.code, measured.complete) == ("upstream_failed", False)


def test_nothing_at_all_is_a_failure_without_bytes(run):
    out, rest, measured = run(b"")
    assert (out, rest, measured.failure.code) == (b"", b"", "upstream_failed")


def test_what_cannot_be_read_passes_uncounted(run, frames):
    odd = b'data: no json\n\ndata: [1]\n\nevent: message_delta\ndata: {"type":"message_delta","usage":"x"}\n\n'
    out, rest, measured = run(frames(START) + odd + frames(ENDING, END))
    assert out + rest == frames(START) + odd + frames(ENDING, END)
    assert (measured.usage.output_tokens, measured.complete) == (9, True)


def test_a_frame_without_end_breaks_the_stream(messages, frames):
    meter = messages.meter({})
    meter.feed(frames(START))
    assert meter.feed(b"data: " + b"x" * (32 << 20)).startswith(b"event: error")
    assert meter.feed(frames(HI)) == b""
    assert meter.close() == b""
    assert meter.measured.failure.code == "upstream_failed"


def test_a_whole_reply(messages):
    body = {"type": "message", "model": "claude-x", "stop_reason": "refusal", "content": [
        {"type": "text", "text": "Hi"}, {"type": "tool_use", "id": "t", "name": "f", "input": {"a": 1}},
        {"type": "thinking", "thinking": "hm", "signature": "s"}, {"type": "odd", "text": {"a": 1}}],
        "usage": {"input_tokens": 3, "output_tokens": 4}}
    measured = messages.measure(msgspec.json.encode(body))
    assert (measured.model, measured.usage, measured.finish) == ("claude-x", Usage(3, 4), "content_filter")
    assert (measured.characters, measured.complete) == (2 + 7 + 2, True)


@pytest.mark.parametrize(("body", "code"), [
    (b"<html>", "upstream_failed"), (b"", "upstream_failed"),
    (b'{"type":"error","error":{"type":"rate_limit_error","message":"slow"}}', "rate_limit_exceeded")])
def test_a_whole_reply_that_is_none(messages, body, code):
    measured = messages.measure(body)
    assert (measured.failure.code, measured.complete, measured.usage) == (code, False, None)


@pytest.mark.parametrize("body", [b"[]", b'{"content":3}', b'{"usage":[]}'])
def test_what_is_not_understood_is_not_counted(messages, body):
    measured = messages.measure(body)
    assert (measured.usage, measured.failure) == (None, None)


def test_counting_is_free(counting):
    assert counting.measure(b'{"input_tokens":5}').usage is None

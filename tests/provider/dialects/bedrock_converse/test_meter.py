"""What passes through is measured, and not a byte of it changes."""

import msgspec
import pytest

from ailink_provider.chat import Usage

START = ("messageStart", {"role": "assistant"})
HI = ("contentBlockDelta", {"delta": {"text": "Hié"}, "contentBlockIndex": 1})
THOUGHT = ("contentBlockDelta", {"delta": {"reasoningContent": {"text": "hm"}}, "contentBlockIndex": 0})
INPUT = ("contentBlockDelta", {"delta": {"toolUse": {"input": '{"a'}}, "contentBlockIndex": 2})
CLOSE = ("contentBlockStop", {"contentBlockIndex": 0})
STOP = ("messageStop", {"stopReason": "tool_use"})
META = ("metadata", {"usage": {"inputTokens": 12, "outputTokens": 9, "totalTokens": 26, "cacheReadInputTokens": 5},
                     "metrics": {"latencyMs": 1}})
WHOLE = (START, THOUGHT, CLOSE, HI, INPUT, STOP, META)
SLOW = ("throttlingException", {"message": "Slow down."})


@pytest.fixture
def run(converse):
    """Passes a stream through a meter; returns the bytes of feeding, of closing, and what was measured."""
    def through(stream, size=1 << 20):
        meter = converse.meter({})
        out = b"".join([meter.feed(stream[start:start + size]) for start in range(0, len(stream), size)])
        return out, meter.close(), meter.measured

    return through


@pytest.mark.parametrize("size", [1, 3, 50, 1 << 20])
def test_a_whole_stream_passes_byte_for_byte(run, frames, size):
    stream = frames(*WHOLE)
    out, rest, measured = run(stream, size)
    assert (out, rest) == (stream, b"")
    assert measured.usage == Usage(17, 9, cache_read_tokens=5)
    assert (measured.model, measured.finish, measured.characters) == (None, "tool_calls", 3 + 2 + 3)
    assert (measured.complete, measured.failure) == (True, None)


def test_an_exception_that_comes_first_is_not_forwarded(run, frames):
    out, rest, measured = run(frames(SLOW, START, META))
    assert (out, rest) == (b"", b"")
    assert (measured.failure.code, measured.complete) == ("rate_limit_exceeded", False)


def test_nothing_is_forwarded_after_an_exception(converse, frames):
    meter = converse.meter({})
    assert meter.feed(frames(START, SLOW)) == frames(START, SLOW)
    assert (meter.feed(frames(HI, META)), meter.close(), meter.measured.characters) == (b"", b"", 0)


def test_an_exception_amid_the_stream_reaches_the_client(run, frames):
    out, rest, measured = run(frames(START, HI, SLOW, CLOSE))
    assert (out, rest) == (frames(START, HI, SLOW), b"")
    assert (measured.failure.code, measured.characters) == ("rate_limit_exceeded", 3)


@pytest.mark.parametrize("cut", range(1, 6))
def test_a_stream_that_is_cut_short_ends_in_an_exception(run, frames, events_of, cut):
    out, rest, measured = run(frames(*WHOLE[:cut]) + frames(HI)[:-1])
    assert out == frames(*WHOLE[:cut])
    assert events_of(rest) == [("modelStreamErrorException", {
        "message": "The upstream's stream ended before its message did."})]
    assert (measured.failure.code, measured.complete) == ("upstream_failed", False)


def test_a_stream_without_metadata_is_whole(run, frames):
    out, rest, measured = run(frames(*WHOLE[:-1]))
    assert (out, rest) == (frames(*WHOLE[:-1]), b"")
    assert (measured.complete, measured.usage, measured.failure) == (True, None, None)


def test_nothing_at_all_is_a_failure_without_bytes(run):
    out, rest, measured = run(b"")
    assert (out, rest, measured.failure.code) == (b"", b"", "upstream_failed")


def test_what_cannot_be_read_passes_uncounted(run, frames):
    odd = (("contentBlockDelta", {"delta": 3}), ("brandNew", {"a": 1}),
           ("contentBlockDelta", {"delta": {"text": [1], "toolUse": {"input": 7}}}))
    out, _, measured = run(frames(START, *odd, STOP, META))
    assert out == frames(START, *odd, STOP, META)
    assert (measured.usage.output_tokens, measured.characters, measured.complete) == (9, 1, True)


def test_broken_bytes_break_the_stream(run, frames, events_of):
    out, rest, measured = run(frames(START, HI) + b"garbage" * 4)
    assert out.startswith(frames(START, HI))
    assert events_of(out)[-1][0] == "modelStreamErrorException"
    assert (rest, measured.failure.code) == (b"", "upstream_failed")
    out, rest, measured = run(b"<html>Bad gateway</html>")
    assert (out, rest, measured.failure.code) == (b"", b"", "upstream_failed")


def test_a_whole_reply(converse):
    body = {"output": {"message": {"role": "assistant", "content": [
        {"text": "Hi"}, {"toolUse": {"toolUseId": "t", "name": "f", "input": {"a": 1}}}, {"image": {"format": "png"}},
        {"reasoningContent": {"reasoningText": {"text": "hm", "signature": "s"}}}]}},
        "stopReason": "content_filtered", "usage": {"inputTokens": 3, "outputTokens": 4, "totalTokens": 7}}
    measured = converse.measure(msgspec.json.encode(body))
    assert (measured.model, measured.usage, measured.finish) == (None, Usage(3, 4), "content_filter")
    assert (measured.characters, measured.complete) == (2 + 7 + 2, True)


@pytest.mark.parametrize("body", [b"<html>", b"", b"{"])
def test_a_whole_reply_that_is_none(converse, body):
    measured = converse.measure(body)
    assert (measured.failure.code, measured.complete, measured.usage) == ("upstream_failed", False, None)


@pytest.mark.parametrize("body", [b"[]", b'{"output":3}', b'{"usage":[]}', b"{}", b'{"output":{"message":null}}'])
def test_what_is_not_understood_is_not_counted(converse, body):
    measured = converse.measure(body)
    assert (measured.usage, measured.failure, measured.characters) == (None, None, 0)

"""Replies that pass through untouched: what is read off them, what is kept back, and what a request gets on its way."""

from collections.abc import Callable
from typing import Any

import msgspec
import openai
import pytest
from msgspec import Raw

from ailink_provider.catalog import Facts
from ailink_provider.chat import Usage
from ailink_provider.dialects.openai_chat import DIALECT
from ailink_provider.errors import Failure

CHAT = DIALECT.operations["chat"]
USAGE = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
ASKS = {"stream_options": Raw(b'{"include_usage": true}')}
Make = Callable[..., Any]


def metered(stream: bytes, body: dict[str, Raw] | None = None, size: int | None = None) -> tuple[bytes, Any]:
    meter = CHAT.meter(body or {})
    step = size or len(stream) or 1
    forwarded = b"".join(meter.feed(stream[start:start + step]) for start in range(0, len(stream), step))
    return forwarded + meter.close(), meter.measured


def rich(sse: Make, chunk: Make) -> bytes:
    return sse(
        chunk({"role": "assistant", "content": ""}, usage=None), chunk({"reasoning_content": "hä"}),
        chunk({"content": "dü🙂"}),
        chunk({"tool_calls": [{"index": 0, "id": "a", "function": {"name": "f", "arguments": '{"x":1}'}}]}),
        chunk({"tool_calls": [{"index": 1, "id": "b", "custom": {"name": "g", "input": "raw"}}]}),
        chunk({"refusal": "no"}),
        chunk({"function_call": {"name": "f", "arguments": "{}"}}), chunk({}, "tool_calls"),
        chunk(choices=[], usage=USAGE))


@pytest.mark.parametrize("dress", [
    lambda stream: stream, lambda stream: stream.replace(b"\n", b"\r\n"),
    lambda stream: stream.replace(b"data: ", b"data:"),
])
def test_a_stream_is_measured_however_it_is_cut(sse: Make, chunk: Make, dress: Callable[[bytes], bytes]) -> None:
    stream = dress(rich(sse, chunk))
    for size in (1, 2, 5, 64, 4096):
        forwarded, measured = metered(stream, ASKS, size)
        assert forwarded == stream
        assert measured.complete
        assert measured.failure is None
        assert (measured.model, measured.finish, measured.usage) == ("m-1", "tool_calls", Usage(3, 2))
        assert measured.characters == len("hädü🙂") + len('{"x":1}') + len("raw") + len("no") + len("{}")


def test_events_that_come_one_by_one_are_counted_as_all_at_once_are(sse: Make, chunk: Make) -> None:
    said = chunk({"content": "wörd"})
    chunks = [
        (chunk({"content": "a"}, usage=USAGE),), (chunk({"content": "b"}, "stop"),), (said, said),
        (said | {"choices": said["choices"] * 2},), (said | {"service_tier": "flex"},),
        (said | {"usage": None, "error": {}},), (chunk({"content": ["c"], "refusal": "d"}),)]
    odd = [sse(*some, done=False) for some in chunks]
    odd += [b": comment\n\n", b"event: message\n" + sse(said, done=False), rich(sse, chunk)]
    for one in odd:
        stream = sse(chunk({"role": "assistant"}), said, done=False) + one + sse(said)
        meter = CHAT.meter(ASKS)
        forwarded = b"".join([meter.feed(event + b"\n\n") for event in stream.split(b"\n\n")[:-1]])
        assert (forwarded + meter.close(), meter.measured) == metered(stream, ASKS) == metered(stream, ASKS, 1)
        assert meter.measured.complete
        assert meter.measured.characters >= 2 * len("wörd")


def test_an_error_is_told_whatever_it_comes_with(sse: Make, chunk: Make) -> None:
    said = sse(chunk({"role": "assistant", "content": "x"}), done=False)
    for broken in (b"event: error\n" + said, said.replace(b'"choices"', b'"error":{"message":"m"},"choices"')):
        for before in (said, said + said):
            meter = CHAT.meter({})
            forwarded = meter.feed(said) + meter.feed(before + broken) + meter.close()
            assert forwarded.startswith(said + before)
            assert broken not in forwarded
            assert meter.measured.failure is not None
            assert not meter.measured.complete


@pytest.mark.parametrize(("body", "asks"), [
    ({}, False), (ASKS, True), ({"stream_options": Raw(b"null")}, False), ({"stream_options": Raw(b"[1]")}, False),
    ({"stream_options": Raw(b'{"include_usage":false}')}, False), ({"stream_options": Raw(b"{oops")}, False),
    ({"stream_options": Raw(b'{"include_usage":1}')}, False),
])
def test_only_who_asked_sees_the_usage_chunk(sse: Make, chunk: Make, body: dict[str, Raw], asks: bool) -> None:
    stream = rich(sse, chunk)
    hidden = b"data: " + msgspec.json.encode(chunk(choices=[], usage=USAGE)) + b"\n\n"
    assert stream.count(hidden) == 1
    forwarded, measured = metered(stream, body)
    assert forwarded == (stream if asks else stream.replace(hidden, b""))
    assert measured.usage == Usage(3, 2)


@pytest.mark.parametrize("shape", [
    lambda chunk: [chunk({"content": "x"}), chunk({}, "stop", usage=USAGE)],
    lambda chunk: [chunk({"content": "x"}, usage={"prompt_tokens": 3}), chunk({}, "stop", usage=USAGE)],
    lambda chunk: [chunk(choices=[], prompt_filter_results=[{}]), chunk({"content": "x"}),
                   chunk({}, "stop", usage=USAGE)],
    lambda chunk: [chunk({"content": [{"type": "text", "text": "x"}]}), chunk({}, "stop", usage=USAGE)],
    lambda chunk: [chunk({"content": "x"}), chunk({}, "stop"), chunk({"tool_calls": 7}, usage=USAGE)],
], ids=["with the finish", "on every chunk", "azure", "mistral", "odd"])
def test_chunks_with_choices_and_openings_are_never_kept_back(sse: Make, chunk: Make,
                                                              shape: Callable[[Make], Any]) -> None:
    stream = sse(*shape(chunk))
    forwarded, measured = metered(stream)
    assert forwarded == stream
    assert (measured.usage, measured.characters, measured.finish) == (Usage(3, 2), 1, "stop")


def test_usage_with_null_choices_is_kept_back(sse: Make, chunk: Make) -> None:
    start, end = chunk({"content": "x"}), chunk(choices=None, usage=USAGE)
    odd = chunk(choices=None, usage=USAGE, model=7)
    assert metered(sse(start, end, odd))[0] == sse(start)


def test_an_error_that_comes_first_is_not_forwarded(sse: Make, chunk: Make) -> None:
    error = {"error": {"message": "Slow down", "type": "rate_limit_exceeded"}}
    for opening in (b"", b": OPENROUTER PROCESSING\n\n"):
        forwarded, measured = metered(opening + sse(error))
        assert forwarded == b""
        assert (measured.failure.code, measured.complete) == ("rate_limit_exceeded", False)


def test_a_later_error_is_told_in_our_words_and_nothing_follows(sse: Make, chunk: Make, sdk: Make) -> None:
    error = {"error": {"message": "Incorrect API key provided: sk-proj-secret", "type": "authentication_error"}}
    forwarded, measured = metered(sse(chunk({"content": "x"}), error, chunk({"content": "y"})))
    assert measured.failure.code == "upstream_auth"
    assert measured.characters == 1
    assert b"secret" not in forwarded
    with pytest.raises(openai.APIError) as caught:
        list(sdk(forwarded).chat.completions.create(model="m", messages=[{"role": "user", "content": "x"}],
                                                    stream=True))
    assert caught.value.code == "upstream_auth"


@pytest.mark.parametrize("end", [b'data: {"error":"gone","choices":7}\n\n', b"event: error\ndata: {}\n\n",
                                 b'data: {"object":"error","message":"gone","code":500}\n\n',
                                 b'data: {"object":"error","message":"gone","model":7}\n\n',
                                 b"data: {oops\n\n", b'data: {"choices":[]', b""])
def test_a_stream_that_breaks_says_so(sse: Make, chunk: Make, end: bytes) -> None:
    start = sse(chunk({"content": "x"}), done=False)
    forwarded, measured = metered(start + end)
    assert forwarded.startswith(start)
    assert msgspec.json.decode(forwarded[len(start):].removeprefix(b"data: "))["error"]["code"] == "upstream_failed"
    assert isinstance(measured.failure, Failure)
    assert not measured.complete


@pytest.mark.parametrize("body", [{}, ASKS])
def test_a_stream_that_has_ended_gets_the_last_word_it_lacks(sse: Make, chunk: Make, body: dict[str, Raw]) -> None:
    said = chunk({"content": "x"}), chunk({}, "stop"), chunk(choices=[], usage=USAGE)
    forwarded, measured = metered(sse(*said, done=False), body)
    assert (forwarded, measured) == metered(sse(*said), body)
    assert (measured.complete, measured.failure, measured.usage) == (True, None, Usage(3, 2))


@pytest.mark.parametrize("stream", [b"", b": x\n\n", b"<html></html>", b"data: {oops\n\n",
                                    b"data: " + b"[" * 99_999 + b"\n\n"])
def test_what_never_was_a_stream_forwards_nothing(stream: bytes) -> None:
    forwarded, measured = metered(stream)
    assert forwarded == b""
    assert measured.failure.code == "upstream_failed"


def test_the_last_event_may_lack_its_blank_line(sse: Make, chunk: Make) -> None:
    stream = sse(chunk({"content": "x"}), chunk({}, "stop"))
    assert metered(stream.rstrip(b"\n")) == metered(stream)


def test_comments_pass_once_the_reply_began_and_empty_events_never(sse: Make, chunk: Make) -> None:
    start, end = sse(chunk({"content": "x"}), done=False), b"data: [DONE]\n\n"
    assert metered(b": early\n\n" + start + b": late\n\ndata:\n\n" + end)[0] == start + b": late\n\n" + end


def test_an_endless_event_breaks_the_stream(sse: Make, chunk: Make) -> None:
    meter = CHAT.meter({})
    meter.feed(sse(chunk({"content": "x"}), done=False))
    forwarded = b"".join(meter.feed(b"data: " + b"x" * 8_000_000) for _ in range(6))
    assert forwarded.count(b'"error"') == 1
    assert meter.close() == b""


@pytest.mark.parametrize(("body", "characters", "finish", "usage", "complete"), [
    ({"model": "m", "choices": [{"message": {"content": "abc", "tool_calls": [{"function": {"arguments": "{}"}}]},
                                 "finish_reason": "tool_calls"}], "usage": USAGE}, 5, "tool_calls", Usage(3, 2), True),
    ({"model": "m", "choices": [{"text": "abc", "finish_reason": "length"}], "usage": USAGE}, 3, "length", Usage(3, 2),
     True),
    ({"model": "m", "data": [{"embedding": [0.5]}], "usage": {"prompt_tokens": 3, "total_tokens": 3}}, 0, None,
     Usage(3),
     True),
    ({"model": "m", "choices": [{"message": {"content": [{"type": "text", "text": "abc"}]}}]}, 3, None, None, True),
    ({"model": "m", "choices": []}, 0, None, None, False),
])
def test_a_whole_reply_is_measured(body: dict[str, Any], characters: int, finish: str | None, usage: Usage | None,
                                   complete: bool) -> None:
    measured = CHAT.measure(msgspec.json.encode(body))
    assert (measured.model, measured.characters, measured.finish, measured.usage, measured.complete) == (
        "m", characters, finish, usage, complete)


def test_an_error_in_a_whole_reply_is_a_failure() -> None:
    measured = CHAT.measure(b'{"error":{"message":"x","code":429}}')
    assert measured.failure.code == "rate_limit_exceeded"
    assert not measured.complete


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b"7", b'"\xff"', b"[" * 99_999])
def test_measuring_never_raises(body: bytes) -> None:
    assert not CHAT.measure(body).complete


def amended(body: dict[str, Any], known: Facts | None = None, operation: str = "chat") -> Any:
    raw = {key: Raw(msgspec.json.encode(value)) for key, value in body.items()}
    DIALECT.operations[operation].amend(raw, "new", known or Facts())
    return msgspec.json.decode(msgspec.json.encode(raw))


@pytest.mark.parametrize(("body", "known", "expected"), [
    ({"model": "old", "x": {"deep": [1]}}, Facts(), {"model": "new", "x": {"deep": [1]}}),
    ({"stream": False, "stream_options": None}, Facts(), {"model": "new", "stream": False, "stream_options": None}),
    ({"stream": True}, Facts(), {"model": "new", "stream": True, "stream_options": {"include_usage": True}}),
    ({"stream": True, "stream_options": None}, Facts(),
     {"model": "new", "stream": True, "stream_options": {"include_usage": True}}),
    ({"stream": True, "stream_options": {"include_usage": False, "include_obfuscation": False}}, Facts(),
     {"model": "new", "stream": True, "stream_options": {"include_usage": True, "include_obfuscation": False}}),
    ({"max_tokens": 5}, Facts(completion_limit=True), {"model": "new", "max_completion_tokens": 5}),
    ({"max_tokens": 5, "max_completion_tokens": None}, Facts(completion_limit=True),
     {"model": "new", "max_completion_tokens": 5}),
    ({"max_tokens": 5, "max_completion_tokens": 6}, Facts(completion_limit=True),
     {"model": "new", "max_tokens": 5, "max_completion_tokens": 6}),
    ({"max_tokens": 5}, Facts(), {"model": "new", "max_tokens": 5}),
])
def test_a_request_is_amended(body: dict[str, Any], known: Facts, expected: dict[str, Any]) -> None:
    assert amended(body, known) == expected


def test_other_operations_are_amended_less() -> None:
    known = Facts(completion_limit=True)
    text = amended({"stream": True, "max_tokens": 5}, known, "completions")
    assert text == {"model": "new", "stream": True, "max_tokens": 5, "stream_options": {"include_usage": True}}
    body = {"input": "x", "stream": True}
    assert amended(body, known, "embeddings") == body | {"model": "new"}


@pytest.mark.parametrize("options", [7, [], "x"])
def test_malformed_stream_options_are_the_clients_mistake(options: Any) -> None:
    with pytest.raises(Failure) as caught:
        amended({"stream": True, "stream_options": options})
    assert (caught.value.code, caught.value.param) == ("invalid_request", "stream_options")

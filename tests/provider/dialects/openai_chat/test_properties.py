"""What must hold whatever comes: nothing but ``Failure`` is raised, nothing that can be said is lost on the way."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ailink_provider.catalog import Facts
from ailink_provider.chat import (
    Chat,
    Choice,
    Finish,
    Media,
    Message,
    MessageEnd,
    MessageError,
    Native,
    Refusal,
    Reply,
    Text,
    Thinking,
    ToolCall,
    Usage,
    collect,
    unfold,
)
from ailink_provider.dialects import Sent
from ailink_provider.dialects.openai_chat import DIALECT
from ailink_provider.errors import Failure

CHAT = DIALECT.operations["chat"]
EVERYTHING = Facts(thinking="adaptive", completion_limit=True)

WORDS = st.text(st.characters(codec="utf-8"), max_size=6)
SOME_WORDS = WORDS.filter(bool)
SCALARS = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), WORDS)
JSON = st.recursive(SCALARS, lambda inner: st.one_of(
    st.lists(inner, max_size=3), st.dictionaries(WORDS, inner, max_size=3)), max_leaves=6)

NAMES = (
    "model", "messages", "prompt", "input", "role", "content", "type", "text", "name", "tools", "function",
    "functions", "function_call", "tool_calls", "tool_call_id", "id", "arguments", "image_url", "url", "input_audio",
    "file", "data", "format", "file_data", "custom", "tool_choice", "allowed_tools", "response_format", "json_schema",
    "schema", "stop", "n", "stream", "stream_options", "metadata", "refusal", "thinking_blocks", "reasoning_details",
    "cache_control", "extra_content", "choices", "delta", "message", "usage", "error", "index", "logprobs",
    "finish_reason", "embedding",
)
VALUES = st.sampled_from([
    "user", "assistant", "tool", "function", "system", "text", "image_url", "file", "custom", "auto", "allowed_tools",
    "json_schema", "data:x;base64,AA", "https://a.test", "thinking", "refusal",
])
# JSON that goes deep into the readers: the API's own names, with values of any kind below them.
LIKELY = st.recursive(st.one_of(SCALARS, VALUES), lambda inner: st.one_of(
    st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(NAMES), inner, max_size=5)), max_leaves=25)
OBJECTS = st.dictionaries(st.sampled_from(NAMES), LIKELY, max_size=6)


@pytest.mark.parametrize("name", list(DIALECT.operations))
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=80)
@given(OBJECTS)
def test_no_request_raises_anything_but_failure(name: str, body: dict[str, Any]) -> None:
    operation = DIALECT.operations[name]
    try:
        request = operation.read_request({"model": "m", "messages": [{"role": "user", "content": "x"}]} | body)
        sent = operation.write_request(request, EVERYTHING)
    except Failure as failure:
        assert failure.status == 400
        assert failure.param
    else:
        msgspec.json.encode(sent.body)


@pytest.mark.parametrize("name", list(DIALECT.operations))
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=60)
@given(st.one_of(OBJECTS, JSON))
def test_no_reply_raises_anything_but_failure(name: str, body: Any) -> None:
    operation = DIALECT.operations[name]
    asked = operation.read_request({"model": "m", "prompt": "x", "input": "x",
                                    "messages": [{"role": "user", "content": "x"}]})
    try:
        reply = operation.read_reply(body, Sent({}))
    except Failure as failure:
        assert failure.status >= 400
    else:
        msgspec.json.encode(operation.write_reply(reply, asked))
    operation.measure(msgspec.json.encode(body))


CHOICES = st.lists(st.fixed_dictionaries({"index": st.sampled_from([0, 1, None]), "delta": OBJECTS}, optional={
    "finish_reason": st.sampled_from(["stop", None, 7]), "text": LIKELY, "logprobs": LIKELY}), max_size=2)


@pytest.mark.parametrize("name", ["chat", "completions"])
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=60)
@given(st.lists(st.one_of(OBJECTS, st.fixed_dictionaries({"choices": CHOICES}, optional={"usage": LIKELY})),
                max_size=5))
def test_no_stream_raises(name: str, chunks: list[Any]) -> None:
    operation = DIALECT.operations[name]
    stream = b"".join(b"data: " + msgspec.json.encode(chunk) + b"\n\n" for chunk in chunks)
    reader, meter = operation.reader(Sent({})), operation.meter({})
    writer = operation.writer(Chat("m", [], include_usage=True))
    found = reader.feed(stream) + reader.feed(b"data: [DONE]\n\n") + reader.close()
    assert sum(isinstance(event, MessageEnd | MessageError) for event in found) == 1
    assert isinstance(found[-1], MessageEnd | MessageError)
    for event in found:
        writer.write(event)
    meter.feed(stream)
    meter.close()
    assert meter.measured.complete is (meter.measured.failure is None)


@settings(deadline=None)
@given(st.binary(max_size=200), st.integers(100, 599))
def test_no_bytes_raise(body: bytes, status: int) -> None:
    assert DIALECT.read_error(status, {"retry-after": "x"}, body).upstream_status == status
    reader = CHAT.reader(Sent({}))
    assert len(reader.feed(body) + reader.close()) == 1
    CHAT.measure(body)


# --- requests that this dialect can say in full ---------------------------------------------------

MARKS = st.one_of(st.just({}), st.just({"prompt_cache_breakpoint": {"mode": "explicit"}}),
                  st.just({"cache_control": {"type": "ephemeral", "ttl": "1h"}}))
TEXT_PARTS = st.builds(lambda text, mark: {"type": "text", "text": text} | mark, WORDS, MARKS)
USER_PARTS = st.one_of(
    TEXT_PARTS,
    st.builds(lambda detail: {"type": "image_url", "image_url": {"url": "https://a.test", "detail": detail}},
              st.sampled_from(["low", "high", "auto"])),
    st.just({"type": "input_audio", "input_audio": {"data": "AA==", "format": "wav"}}),
    st.just({"type": "file", "file": {"filename": "a.txt", "file_data": "data:text/plain;base64,AA=="}}),
    st.just({"type": "file", "file": {"file_id": "file-1"}}),
    st.just({"type": "video_url", "video_url": {"url": "x"}}))
CONTENTS = st.one_of(WORDS, st.lists(TEXT_PARTS, min_size=1, max_size=3))
CALLS = st.one_of(
    st.builds(lambda key, name: {"id": key, "type": "function", "function": {"name": name, "arguments": "{}"}},
              SOME_WORDS, SOME_WORDS),
    st.builds(lambda key, text: {"id": key, "type": "custom", "custom": {"name": "c", "input": text}}, SOME_WORDS,
              WORDS))
MESSAGES = st.one_of(
    st.builds(lambda role, content: {"role": role, "content": content}, st.sampled_from(["system", "developer"]),
              CONTENTS),
    st.builds(lambda content: {"role": "user", "content": content}, st.one_of(WORDS, st.lists(USER_PARTS, min_size=1))),
    st.builds(lambda key, content: {"role": "tool", "tool_call_id": key, "content": content}, SOME_WORDS, CONTENTS),
    st.builds(lambda content, calls, thought: {"role": "assistant", "content": content, "tool_calls": calls} | thought,
              st.one_of(st.none(), CONTENTS), st.lists(CALLS, max_size=2),
              st.sampled_from([{}, {"reasoning_content": "t"}, {"refusal": "no"}, {"audio": {"id": "a"}}])))
OUTPUTS = st.sampled_from([
    {"type": "text"}, {"type": "json_object"},
    {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object"}, "strict": True}}])
TOOLS = st.builds(lambda name: {"type": "function", "function": {"name": name}}, SOME_WORDS)
ALWAYS = {"model": st.just("m"), "messages": st.lists(MESSAGES, min_size=1, max_size=5)}
BODIES = st.fixed_dictionaries(ALWAYS, optional={
    "temperature": st.floats(0, 2), "top_p": st.floats(0, 1), "max_tokens": st.integers(1, 9),
    "stop": st.lists(SOME_WORDS), "n": st.integers(1, 3), "seed": st.integers(), "user": WORDS,
    "metadata": st.dictionaries(WORDS, WORDS), "stream": st.booleans(), "store": st.booleans(),
    "reasoning_effort": st.sampled_from(["low", "max"]), "logit_bias": st.dictionaries(WORDS, st.integers()),
    "service_tier": st.sampled_from(["auto", "flex"]), "response_format": OUTPUTS, "tools": st.lists(TOOLS, min_size=1),
})


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=80)
@given(BODIES)
def test_a_request_says_the_same_after_the_round_trip(body: dict[str, Any]) -> None:
    once = CHAT.write_request(CHAT.read_request(body), EVERYTHING)
    twice = CHAT.write_request(CHAT.read_request(once.body), EVERYTHING)
    assert not once.losses
    assert msgspec.json.encode(twice.body) == msgspec.json.encode(once.body)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=60)
@given(body=BODIES)
def test_a_plain_request_fits_openais_schema(body: dict[str, Any],
                                             validate: Callable[[str, dict[str, Any]], None]) -> None:
    chat = CHAT.read_request(body)
    for message in chat.messages:  # leave out what only services that resemble OpenAI take
        message.parts = [part for part in message.parts if not isinstance(part, Thinking | Native)
                         and getattr(getattr(part, "cache", None), "ttl", None) is None]
        for part in message.parts:
            for inner in getattr(part, "parts", ()):
                inner.cache = None
    validate("chat", CHAT.write_request(chat, EVERYTHING).body)


# --- replies --------------------------------------------------------------------------------------

THOUGHTS = st.one_of(
    st.builds(lambda text, signature: Thinking(text, signature, signed_by="anthropic_messages"), SOME_WORDS,
              SOME_WORDS),
    st.builds(lambda data: Thinking(redacted=data, signed_by="anthropic_messages"), SOME_WORDS),
    st.builds(lambda text, signature: Thinking(text, signature, signed_by="gemini"), WORDS, SOME_WORDS))
TOOL_CALLS = st.builds(lambda name, custom, signature: ("call", name, custom, signature), SOME_WORDS, st.booleans(),
                       st.one_of(st.none(), SOME_WORDS))


@st.composite
def choices(draw: Callable[..., Any]) -> Choice:
    parts: list[Any] = draw(st.lists(THOUGHTS, max_size=3))
    parts += draw(st.one_of(st.just([]), st.builds(lambda text: [Text(text)], SOME_WORDS)))
    parts += draw(st.one_of(st.just([]), st.builds(lambda text: [Refusal(text)], SOME_WORDS)))
    parts += draw(st.one_of(st.just([]), st.just([Media("image", "image/png", "AA==")])))
    called = draw(st.lists(TOOL_CALLS, max_size=3))
    parts += [ToolCall(f"call_{number}", name, "raw" if custom else "{}", custom, signature,
                       "gemini" if signature else None)
              for number, (_, name, custom, signature) in enumerate(called)]
    word = "tool_calls" if called else draw(st.sampled_from(["stop", "length", "content_filter"]))
    return Choice(parts, Finish(word, word))


REPLIES = st.builds(lambda found, usage: Reply("i", "m", 7, found, usage), st.lists(choices(), min_size=1, max_size=3),
                    st.builds(Usage, st.integers(0, 9), st.integers(0, 9), st.integers(0, 9)))


@settings(deadline=None)
@given(REPLIES)
def test_a_whole_reply_says_the_same_after_the_round_trip(reply: Reply) -> None:
    assert CHAT.read_reply(CHAT.write_reply(reply, Chat("m", [])), Sent({})) == reply


@settings(deadline=None)
@given(REPLIES, st.integers(1, 50))
def test_a_streamed_reply_says_the_same_after_the_round_trip(reply: Reply, size: int) -> None:
    writer = CHAT.writer(Chat("m", [Message("user", [])], include_usage=True))
    stream = b"".join(writer.write(event) for event in unfold(reply))
    reader = CHAT.reader(Sent({}))
    found = [event for start in range(0, len(stream), size) for event in reader.feed(stream[start:start + size])]
    assert collect(found) == reply

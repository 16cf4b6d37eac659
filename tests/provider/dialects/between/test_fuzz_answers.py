"""Whatever an upstream answers, nothing but ``Failure`` is raised, and streams end once: with the reply or an error.

Every field of an answer of every dialect, whole or streamed, is taken away and replaced by values of every kind;
besides, bytes and frames are made up. What can be read is written for another dialect's client; meters see the same.
"""

from typing import Any

import msgspec
import pytest
from hypothesis import given as whatever
from hypothesis import settings
from hypothesis import strategies as st

from ailink_provider.chat import Chat, MessageEnd, MessageError, MessageStart, collect
from ailink_provider.dialects import Sent
from ailink_provider.errors import Failure
from ailink_provider.registry import dialects

from .conftest import INBOUND, OUTBOUND

CHATS = {name: dialects()[name].operations["chat"] for name in OUTBOUND}
NAMES = list(CHATS)
# Events that are known by their data as well, not by their names alone.
FRAMED = {"anthropic_messages": "openai_chat", "openai_responses": "openai_chat"}
ASKED = Chat("m", [], include_usage=True)
SENT = Sent({}, custom=frozenset({"clock"}), schema_tool="weather_now_700b5356")


def listen(dialect: str, stream: bytes, outbound: str) -> None:
    """Read a stream, write what was heard and meter it."""
    reader = CHATS[dialect].reader(SENT)
    heard = [*reader.feed(stream), *reader.close()]
    assert isinstance(heard[-1], MessageEnd | MessageError)
    assert sum(isinstance(event, MessageEnd | MessageError) for event in heard) == 1
    assert isinstance(heard[0], MessageStart) or isinstance(heard[-1], MessageError)
    assert not any(isinstance(event, MessageStart) for event in heard[1:])
    writer = CHATS[outbound].writer(ASKED)
    written = b"".join([writer.write(event) for event in heard])
    again = CHATS[outbound].reader(Sent({}))
    last = [*again.feed(written), *again.close()][-1]
    # Gemini has a word for arguments that are not JSON, and it is that of an answer that broke.
    assert type(last) is type(heard[-1]) or b"MALFORMED_FUNCTION_CALL" in written
    meter = CHATS[dialect].meter({})
    meter.feed(stream)
    meter.close()
    assert meter.measured.complete or meter.measured.failure is not None


@pytest.mark.parametrize("dialect", NAMES)
def test_every_field_of_every_event(
        upstream_of: Any, damaged: Any, framed: Any, data_of: Any, dialect: str) -> None:
    events = data_of(upstream_of(dialect))
    for number, event in enumerate(events):
        if event.get("type") == "response.in_progress":
            continue  # the same as the one before it, and long
        for count, wrong in enumerate(damaged(event)):
            stream = framed(FRAMED.get(dialect, dialect), *events[:number], wrong, *events[number + 1:])
            listen(dialect, stream, INBOUND[count % len(INBOUND)])


def hear(dialect: str, body: Any, outbound: str) -> None:
    """Read a whole reply, write it and measure it."""
    CHATS[dialect].measure(msgspec.json.encode(body))
    try:
        reply = CHATS[dialect].read_reply(body, SENT)
    except Failure as failure:
        assert failure.upstream_status is not None or failure.status >= 500
    else:
        msgspec.json.encode(CHATS[outbound].write_reply(reply, ASKED))


@pytest.mark.parametrize("dialect", NAMES)
def test_every_field_of_every_reply(upstream_of: Any, damaged: Any, dialect: str) -> None:
    operation = CHATS[dialect]
    reader = operation.reader(Sent({}))
    body = operation.write_reply(collect([*reader.feed(upstream_of(dialect)), *reader.close()]), ASKED)
    for count, wrong in enumerate(damaged(msgspec.json.decode(msgspec.json.encode(body)))):
        hear(dialect, wrong, INBOUND[count % len(INBOUND)])


@pytest.mark.parametrize(("dialect", "operation"), [
    ("openai_chat", "embeddings"), ("openai_chat", "completions"), ("anthropic_messages", "count_tokens"),
    ("gemini", "embeddings"), ("gemini", "embed_content"), ("gemini", "count_tokens")])
def test_every_field_of_the_other_operations(damaged: Any, dialect: str, operation: str) -> None:
    usage = {"prompt_tokens": 1, "total_tokens": 1, "promptTokenCount": 1, "prompt_tokens_details": {
        "cached_tokens": 1}}
    body = {
        "data": [{"index": 0, "embedding": [0.5, 1]}, {"index": 1, "embedding": "AACAPw=="}], "model": "m",
        "choices": [{"index": 0, "text": "x", "finish_reason": "stop", "logprobs": {
            "tokens": ["x"], "token_logprobs": [-0.5], "top_logprobs": [{"x": -0.5}], "text_offset": [0]}}],
        "embeddings": [{"values": [0.5, 1]}], "embedding": {"values": [0.5]}, "usage": usage, "usageMetadata": usage,
        "input_tokens": 5, "totalTokens": 5, "cachedContentTokenCount": 1,
    }
    chosen = dialects()[dialect].operations[operation]
    for wrong in damaged(body):
        chosen.measure(msgspec.json.encode(wrong))
        try:
            reply = chosen.read_reply(wrong, Sent({}))
        except Failure as failure:
            assert failure.status >= 500
        else:
            msgspec.json.encode(chosen.write_reply(reply, chosen.read_request({
                "model": "m", "input": "x", "prompt": "x", "content": {"parts": [{"text": "x"}]}, "max_tokens": 1,
                "requests": [{"content": {"parts": [{"text": "x"}]}}],
                "messages": [{"role": "user", "content": "x"}], "contents": [{"parts": [{"text": "x"}]}]}
                if dialect != "gemini" else {
                    "embeddings": {"requests": [{"content": {"parts": [{"text": "x"}]}}]},
                    "embed_content": {"content": {"parts": [{"text": "x"}]}},
                    "count_tokens": {"contents": [{"parts": [{"text": "x"}]}]}}[operation], "m")))


fragments = st.lists(st.sampled_from([
    b"data: ", b"event: error", b"event: message_start", b"\n", b"\r\n", b"\n\n", b"\r\n\r\n", b":", b"[DONE]", b"{",
    b"}", b'{"error":{}}', b'{"type":"message_start"}', b'{"type":"error"}', b'{"choices":[{}]}',
    b'{"candidates":[{}]}', b"[", b"]", b",", b'"', b"\\", b"\xff", b"null", b"[" * 2000]), max_size=12).map(b"".join)


@pytest.mark.parametrize("dialect", NAMES)
@settings(max_examples=50, deadline=None)
@whatever(stream=st.binary(max_size=80) | fragments, outbound=st.sampled_from(INBOUND))
def test_bytes_made_up(dialect: str, stream: bytes, outbound: str) -> None:
    listen(dialect, stream, outbound)
    for operation in dialects()[dialect].operations.values():
        operation.measure(stream)


words = st.text(max_size=4)
scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | words


@pytest.mark.parametrize("dialect", NAMES)
@settings(max_examples=25, deadline=None)
@whatever(data=st.data())
def test_frames_made_up(
        upstream_of: Any, names_in: Any, framed: Any, data_of: Any, dialect: str, data: st.DataObject) -> None:
    events = data_of(upstream_of(dialect))
    keys = st.sampled_from([*names_in(*events), "error"])
    kinds = st.sampled_from(["text", "tool_use", "thinking", "text_delta", "message_start", "content_block_start",
                             "content_block_delta", "content_block_stop", "message_delta", "message_stop", "STOP"])
    values = st.recursive(scalars | kinds, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(
        keys, inner, max_size=4), max_leaves=12)
    made = data.draw(st.lists(st.dictionaries(keys, values, max_size=4) | st.sampled_from(events), max_size=6))
    listen(dialect, framed(FRAMED.get(dialect, dialect), *made), data.draw(st.sampled_from(INBOUND)))
    hear(dialect, data.draw(st.dictionaries(keys | words, values, max_size=5)), data.draw(st.sampled_from(INBOUND)))

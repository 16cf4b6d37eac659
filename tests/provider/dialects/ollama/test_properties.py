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
    MessageEnd,
    MessageError,
    Reply,
    Text,
    Thinking,
    ToolCall,
    Usage,
    collect,
    unfold,
)
from ailink_provider.dialects import Sent
from ailink_provider.dialects.ollama import DIALECT
from ailink_provider.dialects.ollama.framing import Lines
from ailink_provider.errors import Failure

CHAT = DIALECT.operations["chat"]
KINDS = [Facts(), Facts(sampling=(), thinking="level", thinking_off=False), Facts(one_sampling=True, thinking="budget")]

WORDS = st.text(st.characters(codec="utf-8"), max_size=6)
SOME_WORDS = WORDS.filter(bool)
SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(-5, 10**30), st.floats(allow_nan=False, allow_infinity=False), WORDS
)
JSON = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(WORDS, inner, max_size=3)),
    max_leaves=6,
)
OBJECT = st.dictionaries(WORDS, JSON, max_size=3)
NAMES = (
    "model", "messages", "role", "content", "images", "thinking", "tool_calls", "tool_name", "tool_call_id", "id",
    "function", "name", "arguments", "tools", "type", "parameters", "format", "options", "num_predict", "temperature",
    "stop", "stream", "think", "logprobs", "top_logprobs", "message", "done", "done_reason", "created_at",
    "prompt_eval_count", "eval_count", "error", "input", "embeddings", "dimensions",
)  # fmt: skip
VALUES = st.sampled_from(["user", "assistant", "tool", "system", "function", "json", "stop", "load", "high"])
# JSON that goes deep into the readers: the API's own names, with values of any kind below them.
LIKELY = st.recursive(
    st.one_of(SCALARS, VALUES),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(NAMES), inner, max_size=5)),
    max_leaves=25,
)
OBJECTS = st.dictionaries(st.sampled_from(NAMES), LIKELY, max_size=6)
SLOW = [HealthCheck.too_slow]


@pytest.mark.parametrize("name", list(DIALECT.operations))
@settings(suppress_health_check=SLOW, max_examples=60)
@given(OBJECTS, st.sampled_from(KINDS), st.sampled_from(["ollama", "openai_chat"]))
def test_no_request_raises_anything_but_failure(name: str, body: dict[str, Any], facts: Facts, dialect: str) -> None:
    operation = DIALECT.operations[name]
    try:
        request = operation.read_request({"model": "m", "messages": [{"role": "user", "content": "x"}]} | body)
        request.dialect = dialect
        sent = operation.write_request(request, facts)
    except Failure as failure:
        assert failure.status == 400
        assert failure.param
    else:
        msgspec.json.encode(sent.body)


@pytest.mark.parametrize("name", list(DIALECT.operations))
@settings(suppress_health_check=SLOW, max_examples=60)
@given(st.one_of(OBJECTS, JSON))
def test_no_reply_raises_anything_but_failure(name: str, body: Any) -> None:
    operation = DIALECT.operations[name]
    asked = operation.read_request({"model": "m", "input": "x", "messages": [{"role": "user", "content": "x"}]})
    try:
        reply = operation.read_reply(body, Sent({}))
        msgspec.json.encode(operation.write_reply(reply, asked))
    except Failure as failure:
        assert failure.status >= 400
    operation.measure(msgspec.json.encode(body))


@settings(suppress_health_check=SLOW, max_examples=60)
@given(
    st.lists(
        OBJECTS | st.fixed_dictionaries({"message": OBJECTS}, optional={"done": st.booleans(), "error": LIKELY}),
        max_size=5,
    )
)
def test_any_stream_ends_once(objects: list[Any]) -> None:
    data = b"".join(msgspec.json.encode(value) + b"\n" for value in objects)
    reader, meter, writer = CHAT.reader(Sent({})), CHAT.meter({}), CHAT.writer(Chat("m", []))
    found = reader.feed(data) + reader.close()
    assert sum(isinstance(event, MessageEnd | MessageError) for event in found) == 1
    assert isinstance(found[-1], MessageEnd | MessageError)
    for event in found:
        writer.write(event)
    meter.feed(data)
    meter.close()
    assert meter.measured.complete or meter.measured.failure is not None


@given(st.binary(max_size=200), st.integers(100, 599))
def test_no_bytes_raise(body: bytes, status: int) -> None:
    assert DIALECT.read_error(status, {"retry-after": "x"}, body).upstream_status == status
    reader = CHAT.reader(Sent({}))
    assert len(reader.feed(body) + reader.close()) == 1
    CHAT.measure(body)


@given(st.lists(st.binary(max_size=12).map(lambda piece: piece.replace(b"\n", b""))), st.data())
def test_lines_do_not_depend_on_the_cuts(pieces: list[bytes], data: st.DataObject) -> None:
    whole = b"\n".join(pieces)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=8)))
    lines = Lines()
    found = [line for start, end in zip([0, *cuts], [*cuts, len(whole)], strict=True) for line in lines.feed(
        whole[start:end])]  # fmt: skip
    assert found == [piece + b"\n" for piece in pieces[:-1]]
    assert lines.close() == ([pieces[-1]] if pieces and pieces[-1].strip() else [])
    assert lines.close() == []


# --- requests that this dialect can say in full ---------------------------------------------------

IMAGES = st.lists(st.sampled_from(["iVBORw0KGgo=", "/9j/AAAA", "AAAA"]), min_size=1, max_size=2)
ARGUMENTS = st.dictionaries(SOME_WORDS, JSON, max_size=2)
CALLS = st.builds(
    lambda name, arguments, given: {**given, "function": {"name": name, "arguments": arguments}},
    st.sampled_from(["f", "g"]), ARGUMENTS, st.sampled_from([{}, {"id": "x1"}]),
)  # fmt: skip
PLAIN = st.builds(
    lambda role, content, more: {"role": role, "content": content, **more},
    st.sampled_from(["system", "user"]), WORDS, st.one_of(st.just({}), st.builds(lambda i: {"images": i}, IMAGES)),
)  # fmt: skip
ASSISTANT = st.builds(
    lambda content, more: {"role": "assistant", "content": content, **more},
    WORDS,
    st.fixed_dictionaries({}, optional={"thinking": SOME_WORDS, "tool_calls": st.lists(CALLS, min_size=1, max_size=3)}),
)
RESULT = st.builds(
    lambda content, name: {"role": "tool", "content": content, "tool_name": name}, WORDS, st.sampled_from(["f", "g"])
)
TOOLS = st.builds(
    lambda name, more: {
        "type": "function",
        "function": {"name": name, **more, "parameters": {"type": "object", "properties": {}}},
    },
    SOME_WORDS, st.one_of(st.just({}), st.builds(lambda text: {"description": text}, WORDS)),
)  # fmt: skip
OPTIONS = st.fixed_dictionaries({}, optional={
    "num_predict": st.integers(1, 9), "temperature": st.floats(0, 2), "top_p": st.floats(0, 1), "seed": st.integers(),
    "top_k": st.integers(1, 9), "stop": st.lists(SOME_WORDS, min_size=1), "num_ctx": st.integers(1, 9),
}).filter(bool)  # fmt: skip
BODIES = st.fixed_dictionaries(
    {
        "model": st.just("m"),
        "messages": st.lists(st.one_of(PLAIN, ASSISTANT, RESULT), min_size=1, max_size=6),
        "stream": st.booleans(),
    },
    optional={
        "tools": st.lists(TOOLS, min_size=1, max_size=2),
        "format": st.sampled_from(["json", {"type": "object"}]),
        "options": OPTIONS,
        "think": st.sampled_from([True, False, "low", "max"]),
        "keep_alive": st.sampled_from(["5m", 0]),
        "logprobs": st.booleans(),
        "top_logprobs": st.integers(0, 20),
    },
)


def without_ids(body: dict[str, Any]) -> dict[str, Any]:
    """A result that follows its call is told the call's id, which it may not have had."""
    messages = [{key: value for key, value in message.items() if key != "tool_call_id"} for message in body["messages"]]
    return body | {"messages": messages}


@settings(suppress_health_check=SLOW, max_examples=60)
@given(body=BODIES)
def test_a_request_of_its_own_comes_out_as_it_went_in(
    body: dict[str, Any], validate: Callable[[str, dict[str, Any]], None]
) -> None:
    sent = CHAT.write_request(CHAT.read_request(body), Facts())
    assert without_ids(sent.body) == body
    assert sent.losses == []
    validate("chat", sent.body)


# --- replies --------------------------------------------------------------------------------------

PARTS = st.builds(
    lambda thought, text, image, calls: [*thought, *text, *image, *calls],
    st.one_of(st.just([]), st.builds(lambda text: [Thinking(text, signed_by="ollama")], SOME_WORDS)),
    st.one_of(st.just([]), st.builds(lambda text: [Text(text)], SOME_WORDS)),
    st.one_of(st.just([]), st.just([Media("image", "image/png", "iVBORw0KGgo=")])),
    st.lists(st.builds(lambda key, name, value: ToolCall(key, name, msgspec.json.encode(value).decode()), SOME_WORDS,
                       SOME_WORDS, ARGUMENTS), max_size=3),
)  # fmt: skip
REPLIES = st.builds(
    lambda parts, word, usage: Reply(
        model="m", created=7,
        choices=[Choice(parts, Finish("tool_calls" if word == "stop" and any(
            isinstance(part, ToolCall) for part in parts) else word, word))],
        usage=usage,
    ),
    PARTS, st.sampled_from(["stop", "length", "content_filter"]),
    st.none() | st.builds(Usage, st.integers(0, 10**9), st.integers(0, 10**9)),
)  # fmt: skip


@settings(suppress_health_check=SLOW)
@given(REPLIES, st.integers(1, 60))
def test_a_reply_of_its_own_comes_out_as_it_went_in(reply: Reply, size: int) -> None:
    request = Chat("m", [])
    assert CHAT.read_reply(CHAT.write_reply(reply, request), Sent({})) == reply
    writer, reader = CHAT.writer(request), CHAT.reader(Sent({}))
    data = b"".join(writer.write(event) for event in unfold(reply))
    events = [event for start in range(0, len(data), size) for event in reader.feed(data[start : start + size])]
    assert collect(events + reader.close()) == reply

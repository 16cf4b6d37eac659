"""What must hold whatever comes: nothing but ``Failure`` is raised, nothing that can be said is lost on the way."""

from collections.abc import Callable
from typing import Any

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ailink_provider.catalog import Facts
from ailink_provider.chat import (
    Chat,
    Choice,
    Event,
    Finish,
    Media,
    MessageDelta,
    MessageEnd,
    MessageError,
    MessageStart,
    PartDelta,
    PartEnd,
    PartStart,
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
from ailink_provider.dialects.openai_responses import DIALECT
from ailink_provider.errors import Failure

OPERATION = DIALECT.operations["chat"]
EVERYTHING = Facts(thinking="adaptive")
ASKED: Chat = OPERATION.read_request({"model": "m", "input": "Hi"})
SLOW = settings(suppress_health_check=[HealthCheck.too_slow], max_examples=80, deadline=None)

WORDS = st.text(st.characters(codec="utf-8"), max_size=6)
SOME_WORDS = WORDS.filter(bool)
SCALARS = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), WORDS)
JSON = st.recursive(SCALARS, lambda inner: st.one_of(
    st.lists(inner, max_size=3), st.dictionaries(WORDS, inner, max_size=3)), max_leaves=6)

NAMES = (
    "model", "input", "instructions", "role", "content", "type", "text", "name", "tools", "tool_choice", "call_id",
    "id", "arguments", "output", "image_url", "file_id", "file_data", "file_url", "detail", "input_audio", "data",
    "format", "summary", "encrypted_content", "phase", "mode", "schema", "reasoning", "effort", "include", "metadata",
    "stream", "stream_options", "prompt_cache_breakpoint", "parameters", "response", "delta", "item", "part",
    "output_index", "content_index", "summary_index", "annotation", "annotations", "logprobs", "usage", "error",
    "status", "incomplete_details", "created_at", "previous_response_id", "refusal", "result",
)
VALUES = st.sampled_from([
    "user", "assistant", "system", "message", "reasoning", "function_call", "custom_tool_call", "function_call_output",
    "custom_tool_call_output", "item_reference", "web_search_call", "input_text", "output_text", "input_image",
    "input_file", "refusal", "function", "custom", "allowed_tools", "json_schema", "data:x;base64,AA",
    "https://a.test", "ailink:[null,null,null]", "completed", "incomplete", "failed", "image_generation_call",
])
KINDS = st.sampled_from([
    "response.created", "response.output_item.added", "response.output_item.done", "response.content_part.added",
    "response.output_text.delta", "response.output_text.annotation.added", "response.refusal.delta",
    "response.function_call_arguments.delta", "response.custom_tool_call_input.delta",
    "response.reasoning_summary_text.delta", "response.reasoning_text.delta", "response.incomplete", "keepalive",
])
# JSON that goes deep into the readers: the API's own names, with values of any kind below them.
LIKELY = st.recursive(st.one_of(SCALARS, VALUES), lambda inner: st.one_of(
    st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(NAMES), inner, max_size=5)), max_leaves=25)
OBJECTS = st.dictionaries(st.sampled_from(NAMES), LIKELY, max_size=6)
ITEMS = st.builds(lambda kind, rest: rest | {"type": kind}, VALUES, OBJECTS)


@SLOW
@given(OBJECTS, st.lists(ITEMS, min_size=1, max_size=3))
def test_no_request_raises_anything_but_failure(body: dict[str, Any], items: list[Any]) -> None:
    for asked in ({"model": "m", "input": "x"} | body, {"model": "m", "input": items}):
        try:
            request = OPERATION.read_request(asked)
            sent = OPERATION.write_request(request, EVERYTHING)
        except Failure as failure:
            assert failure.status == 400
            assert failure.param
        else:
            msgspec.json.encode(sent.body)
            msgspec.json.encode(OPERATION.write_reply(Reply(), request))
        raw = {key: msgspec.Raw(msgspec.json.encode(value)) for key, value in asked.items()}
        OPERATION.amend(raw, "m", EVERYTHING)


@SLOW
@given(st.one_of(OBJECTS, JSON, st.builds(lambda rest, items: rest | {"output": items}, OBJECTS,
                                          st.lists(ITEMS, max_size=3))))
def test_no_reply_raises_anything_but_failure(body: Any) -> None:
    try:
        reply = OPERATION.read_reply(body, Sent({}))
    except Failure as failure:
        assert failure.status >= 400
    else:
        msgspec.json.encode(OPERATION.write_reply(reply, ASKED))
    OPERATION.measure(msgspec.json.encode(body))


@SLOW
@given(st.lists(st.builds(lambda kind, rest, item: {"item": item} | rest | {"type": kind}, KINDS, OBJECTS, ITEMS),
                max_size=6))
def test_no_stream_raises(events: list[Any]) -> None:
    stream = b"".join(b"data: " + msgspec.json.encode(event) + b"\n\n" for event in events)
    reader, meter, writer = OPERATION.reader(Sent({})), OPERATION.meter({}), OPERATION.writer(ASKED)
    found = reader.feed(stream) + reader.close()
    assert sum(isinstance(event, MessageEnd | MessageError) for event in found) == 1
    assert isinstance(found[-1], MessageEnd | MessageError)
    for event in found:
        writer.write(event)
    meter.feed(stream)
    meter.close()
    assert meter.measured.complete is (meter.measured.failure is None)


@given(st.binary(max_size=200), st.integers(100, 599))
def test_no_bytes_raise(body: bytes, status: int) -> None:
    assert DIALECT.read_error(status, {"retry-after": "x"}, body).upstream_status == status
    reader = OPERATION.reader(Sent({}))
    assert len(reader.feed(body) + reader.close()) == 1
    OPERATION.measure(body)


# --- requests that this dialect can say in full ---------------------------------------------------

MARKS = st.sampled_from([{}, {"prompt_cache_breakpoint": {"mode": "explicit"}},
                         {"prompt_cache_breakpoint": {"mode": "explicit", "ttl": "12h"}}])
PARTS = st.one_of(
    st.builds(lambda text, mark: {"type": "input_text", "text": text} | mark, WORDS, MARKS),
    st.builds(lambda detail: {"type": "input_image", "image_url": "https://a.test", "detail": detail},
              st.sampled_from(["low", "high", "auto"])),
    st.just({"type": "input_image", "file_id": "file-1", "detail": "auto"}),
    st.just({"type": "input_file", "filename": "a.txt", "file_data": "data:text/plain;base64,AA=="}),
    st.just({"type": "input_file", "file_url": "https://a.test/b", "filename": "b"}),
    st.just({"type": "input_file", "file_id": "file-1"}))
CONTENTS = st.one_of(WORDS, st.lists(PARTS, min_size=1, max_size=3))
THOUGHTS = st.builds(lambda text, proof: {"type": "reasoning", "id": "rs_1", "encrypted_content": proof, "summary": [
    {"type": "summary_text", "text": text}]}, WORDS, st.sampled_from(["gA=", ""]))
CONVERSATION = st.one_of(
    st.builds(lambda role, content: {"role": role, "content": content},
              st.sampled_from(["user", "system", "developer"]), CONTENTS),
    st.builds(lambda text: {"role": "assistant", "content": text}, SOME_WORDS), THOUGHTS,
    st.builds(lambda key, name: {"type": "function_call", "call_id": key, "name": name, "arguments": "{}"},
              SOME_WORDS, SOME_WORDS),
    st.builds(lambda key, text: {"type": "custom_tool_call", "call_id": key, "name": "c", "input": text}, SOME_WORDS,
              WORDS),
    st.builds(lambda key, content: {"type": "function_call_output", "call_id": key, "output": content}, SOME_WORDS,
              CONTENTS),
    st.just({"type": "web_search_call", "id": "ws_1", "status": "completed",
             "action": {"type": "search", "query": "q"}}))
FORMATS = st.sampled_from([
    {"type": "text"}, {"type": "json_object"},
    {"type": "json_schema", "name": "n", "schema": {"type": "object"}, "strict": True}])
TOOLS = st.one_of(
    st.builds(lambda name: {"type": "function", "name": name, "parameters": {}, "strict": False}, SOME_WORDS),
    st.just({"type": "custom", "name": "c"}), st.just({"type": "web_search"}),
    st.just({"type": "code_interpreter", "container": "c"}))
ALWAYS = {"model": st.just("m"), "input": st.one_of(WORDS, st.lists(CONVERSATION, min_size=1, max_size=6))}
BODIES = st.fixed_dictionaries(ALWAYS, optional={
    "instructions": SOME_WORDS, "temperature": st.floats(0, 2), "top_p": st.floats(0, 1),
    "max_output_tokens": st.integers(16, 99), "user": WORDS, "metadata": st.dictionaries(WORDS, WORDS, min_size=1),
    "stream": st.booleans(), "store": st.booleans(), "truncation": st.sampled_from(["auto", "disabled"]),
    "reasoning": st.sampled_from([{"effort": "low"}, {"summary": "detailed"}, {"effort": "max", "summary": "auto"}]),
    "text": st.builds(lambda form: {"format": form, "verbosity": "low"}, FORMATS), "prompt_cache_key": WORDS,
    "include": st.lists(st.sampled_from(["reasoning.encrypted_content", "message.output_text.logprobs",
                                         "file_search_call.results"]), unique=True, min_size=1),
    "previous_response_id": WORDS, "service_tier": st.sampled_from(["auto", "flex"]),
    "tools": st.lists(TOOLS, min_size=1, max_size=3), "tool_choice": st.sampled_from(["auto", "none", "required"]),
})


@SLOW
@given(BODIES)
def test_a_request_says_the_same_after_the_round_trip(body: dict[str, Any]) -> None:
    once = OPERATION.write_request(OPERATION.read_request(body), EVERYTHING)
    twice = OPERATION.write_request(OPERATION.read_request(once.body), EVERYTHING)
    assert {loss.field for loss in once.losses} <= {"tool_choice"}
    assert msgspec.json.encode(twice.body, order="sorted") == msgspec.json.encode(once.body, order="sorted")
    kept = body.keys() - {"input", "include", "tools", "stream", "tool_choice", "instructions"}
    assert {key: once.body[key] for key in kept} == {key: body[key] for key in kept}


@settings(SLOW, max_examples=40)
@given(body=BODIES)
def test_a_request_fits_openais_schema(body: dict[str, Any], accepted: Callable[[Any], Any]) -> None:
    accepted(OPERATION.write_request(OPERATION.read_request(body), EVERYTHING).body)


# --- replies --------------------------------------------------------------------------------------

SIGNED = st.builds(Thinking, WORDS, st.sampled_from([None, "s"]), st.none(), st.sampled_from([None, "gemini"]))
REPLY_PARTS = st.one_of(
    SIGNED, st.builds(Text, SOME_WORDS), st.builds(Refusal, SOME_WORDS),
    st.builds(ToolCall, SOME_WORDS, SOME_WORDS, st.sampled_from(["{}", '{"x":1}'])),
    st.builds(lambda key, text: ToolCall(key, "c", text, custom=True), SOME_WORDS, WORDS),
    st.just(Media("image", "image/png", "iVBO")))
USAGES = st.builds(Usage, st.integers(0, 9), st.integers(0, 9), st.integers(0, 9), st.integers(0, 9), st.just(0),
                   st.integers(0, 9))
FINISHES = st.sampled_from(["stop", "length", "tool_calls", "content_filter", "pause"])
REPLIES = st.builds(
    lambda parts, reason, usage: Reply("r-1", "m", 5, [Choice(parts, Finish(reason))], usage, "default"),
    st.lists(REPLY_PARTS, max_size=5), FINISHES, st.one_of(st.none(), USAGES))


@SLOW
@given(reply=REPLIES)
def test_a_written_reply_is_of_the_sdks_type_and_is_its_stream(reply: Reply, typed: Callable[[Any], Any]) -> None:
    whole = OPERATION.write_reply(reply, ASKED)
    typed(whole)
    writer, reader = OPERATION.writer(ASKED), OPERATION.reader(Sent({}))
    stream = b"".join([writer.write(event) for event in unfold(reply)])
    read = OPERATION.read_reply(whole, Sent({}))
    assert collect(reader.feed(stream) + reader.close()) == read
    assert read.usage == reply.usage
    spoken = [part for part in reply.choices[0].parts if not isinstance(part, Thinking | ToolCall)]
    assert [part for part in read.choices[0].parts if not isinstance(part, Thinking | ToolCall)] == spoken


@SLOW
@given(reply=REPLIES)
def test_what_a_client_got_means_the_same_when_it_comes_back(reply: Reply) -> None:
    output = OPERATION.write_reply(reply, ASKED)["output"]
    back = OPERATION.read_request({"model": "m", "input": [*output, {"role": "user", "content": "x"}]}).messages
    turn = back[0].parts if len(back) > 1 else []
    kinds = Thinking | Text | Refusal
    assert [part for part in turn if isinstance(part, kinds)] == [
        part for part in reply.choices[0].parts if isinstance(part, kinds)]


@st.composite
def interleavings(draw: st.DrawFn) -> list[Event]:
    """Events of several parts that are open at once."""
    parts = draw(st.lists(st.sampled_from([Text(""), ToolCall("", "f"), Thinking("")]), min_size=1, max_size=4))
    events: list[Event] = [MessageStart("r-1", "m", 5)]
    for index, part in enumerate(parts):
        opened = ToolCall(f"call_{index}", "f") if isinstance(part, ToolCall) else part
        events.append(PartStart(index, opened))
        for other in draw(st.lists(st.integers(0, index), max_size=3)):
            events.append(PartDelta(other, draw(SOME_WORDS)))
    for index in draw(st.permutations(range(len(parts)))):
        events.append(PartEnd(index))
    return [*events, MessageDelta(Finish("stop")), MessageEnd()]


@SLOW
@given(interleavings())
def test_parts_that_interleave_keep_their_pieces_apart(events: list[Event]) -> None:
    writer, reader = OPERATION.writer(ASKED), OPERATION.reader(Sent({}))
    stream = b"".join([writer.write(event) for event in events])
    reply = collect(reader.feed(stream) + reader.close())
    expected = collect(events)
    calls = {call.id: call.arguments for call in reply.choices[0].parts if isinstance(call, ToolCall)}
    assert calls == {call.id: call.arguments or "{}" for call in expected.choices[0].parts
                     if isinstance(call, ToolCall)}
    for kind in (Text, Thinking):
        found = sorted(part.text for part in reply.choices[0].parts if isinstance(part, kind))
        wanted = [part.text for part in expected.choices[0].parts if isinstance(part, kind)]
        assert found == sorted(text for text in wanted if text or kind is Thinking)

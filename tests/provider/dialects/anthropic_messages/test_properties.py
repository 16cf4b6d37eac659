"""What holds for every request, reply and stream: nothing is invented, lost or reordered, and nothing blows up."""

import copy
import json
from pathlib import Path

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from ailink_provider.catalog import Facts
from ailink_provider.chat import (
    Chat,
    Choice,
    Finish,
    MessageDelta,
    MessageEnd,
    MessageError,
    MessageStart,
    Native,
    PartDelta,
    PartEnd,
    PartStart,
    Reply,
    Text,
    Thinking,
    ToolCall,
    Usage,
    collect,
    unfold,
)
from ailink_provider.dialects import Sent
from ailink_provider.dialects.anthropic_messages import DIALECT
from ailink_provider.errors import Failure

CHAT, COUNT = DIALECT.operations["chat"], DIALECT.operations["count_tokens"]
NAME = "anthropic_messages"
RICH = json.loads((Path(__file__).parent / "golden" / "own_request.json").read_text("utf-8"))
KINDS = [Facts(), Facts(sampling=(), thinking="adaptive", thinking_off=False, forced_tools=False, system_turns=True),
         Facts(one_sampling=True, thinking="budget", prefill=False), Facts(json_schema=False)]

words = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
said = words.filter(str.strip)
scalars = st.none() | st.booleans() | st.integers(-5, 10**30) | st.floats(allow_nan=False, allow_infinity=False) | words
json_values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3), max_leaves=6)
objects = st.dictionaries(words, json_values, max_size=3)
ids = st.from_regex(r"[a-zA-Z0-9_-]{1,40}", fullmatch=True)
marks = st.sampled_from([{}, {"cache_control": {"type": "ephemeral"}}])


# --- whatever comes in -----------------------------------------------------------------------------------------------


def places(value, path=()):
    yield path
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in inner:
        yield from places(item, (*path, key))


PLACES = [path for path in places(RICH) if path]


def spoil(path, value):
    body = copy.deepcopy(RICH)
    node = body
    for key in path[:-1]:
        node = node[key]
    node[path[-1]] = value
    return body


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(PLACES), json_values, st.sampled_from(KINDS))
def test_a_request_is_read_and_written_or_refused(path, value, facts):
    for operation in (CHAT, COUNT):
        try:
            chat = operation.read_request(spoil(path, value))
        except Failure as failure:
            assert (failure.code, bool(failure.param)) == ("invalid_request", True)
            continue
        for dialect in (NAME, "openai_chat"):
            chat.dialect = dialect
            try:
                body = operation.write_request(chat, facts).body
            except Failure as failure:
                assert failure.code in ("invalid_request", "unsupported_parameter")
            else:
                msgspec.json.encode(body)


@settings(max_examples=150, deadline=None)
@given(st.dictionaries(st.sampled_from([*RICH, "other"]), json_values))
def test_any_object_is_read_or_refused(body):
    try:
        CHAT.read_request(body)
    except Failure as failure:
        assert failure.code == "invalid_request"


@settings(max_examples=80, deadline=None)
@given(objects | st.fixed_dictionaries({"content": st.lists(objects | st.fixed_dictionaries({
    "type": st.sampled_from(["text", "thinking", "tool_use", "odd"]), "input": json_values, "text": json_values}))}))
def test_any_answer_is_read_or_the_upstream_s_failure(body):
    try:
        CHAT.read_reply(body, Sent({}))
    except Failure as failure:
        assert failure.upstream_status is not None or failure.code == "upstream_failed"


EVENTS = ["message_start", "content_block_start", "content_block_delta", "content_block_stop", "message_delta",
          "message_stop", "error", "ping"]
anything = st.fixed_dictionaries({"type": st.sampled_from(EVENTS)}, optional={
    "index": st.integers(0, 2) | scalars, "message": json_values, "usage": json_values, "error": json_values,
    "content_block": json_values | st.fixed_dictionaries({"type": st.sampled_from(["text", "tool_use", "odd"])}),
    "delta": json_values | st.fixed_dictionaries({"type": st.just("text_delta"), "text": words}),
})


@settings(max_examples=80, deadline=None)
@given(st.lists(anything, max_size=8), st.booleans())
def test_any_stream_ends_once(events, cut):
    stream = b"".join(b"data: " + msgspec.json.encode(event) + b"\n\n" for event in events)
    reader, meter = CHAT.reader(Sent({})), CHAT.meter({})
    read = reader.feed(stream) + reader.close()
    assert isinstance(read[-1], MessageEnd | MessageError)
    assert sum(isinstance(event, MessageEnd | MessageError) for event in read) == 1
    assert stream.startswith(meter.feed(stream))
    meter.close()
    assert meter.measured.complete or meter.measured.failure is not None


# --- there and back --------------------------------------------------------------------------------------------------

texts = st.builds(lambda text, mark: {"type": "text", "text": text, **mark}, said, marks)
urls = st.builds(lambda name: {"type": "url", "url": f"https://a.test/{name}"}, ids)
images = st.builds(lambda source, mark: {"type": "image", "source": source, **mark}, urls, marks)
thoughts = st.builds(lambda text, proof: {"type": "thinking", "thinking": text, "signature": proof}, words, ids)
calls = st.builds(lambda i, name, value: {"type": "tool_use", "id": i, "name": name, "input": value}, ids, ids, objects)
results = st.builds(
    lambda i, content: {"type": "tool_result", "tool_use_id": i, **content}, ids,
    st.builds(lambda shown: {"content": shown}, st.lists(images, min_size=1, max_size=2))
    | st.builds(lambda text: {"content": text, "is_error": True}, said) | st.just({}))
natives = st.builds(lambda value: {**value, "type": "search_result"},
                    objects.filter(lambda value: "cache_control" not in value))
user_content = st.builds(lambda first, rest: first + rest, st.lists(results, max_size=2),
                         st.lists(images | natives, min_size=1, max_size=3)) | said
assistant_content = st.builds(lambda thought, rest: thought + rest, st.lists(thoughts, min_size=1, max_size=2),
                              st.lists(texts | calls, min_size=1, max_size=3)) | said
bodies = st.builds(
    lambda pairs, last, options: {
        "model": "m", "max_tokens": 9, **options,
        "messages": [turn for user, reply in pairs for turn in (
            {"role": "user", "content": user}, {"role": "assistant", "content": reply})]
        + [{"role": "user", "content": last}]},
    st.lists(st.tuples(user_content, assistant_content), max_size=2), user_content,
    st.fixed_dictionaries({}, optional={
        "system": said, "temperature": st.floats(0, 1), "top_k": st.integers(0, 9), "stream": st.just(True),
        "stop_sequences": st.lists(said, min_size=1, max_size=2),
        "metadata": st.builds(lambda user: {"user_id": user}, words),
        "tools": st.lists(st.builds(lambda name, schema: {"name": name, "input_schema": {"type": "object", **schema}},
                                    ids, objects.filter(bool)), min_size=1, max_size=2, unique_by=lambda t: t["name"]),
        "container": ids, "mcp_servers": st.lists(objects, max_size=1)}))


@settings(max_examples=80, deadline=None)
@given(bodies)
def test_a_request_of_its_own_comes_out_as_it_went_in(body):
    if json.dumps(body).count('"cache_control"') > 4:
        return
    sent = CHAT.write_request(CHAT.read_request(body), Facts(thinking="adaptive"))
    assert sent.body == body
    assert sent.losses == []


parts = st.one_of(
    st.builds(Text, said), st.builds(lambda text, proof: Thinking(text, signature=proof, signed_by=NAME), words, ids),
    st.builds(lambda data: Thinking(redacted=data, signed_by=NAME), ids),
    st.builds(lambda i, name, value: ToolCall(i, name, msgspec.json.encode(value).decode()), ids, ids, objects),
    st.builds(lambda value: Native(NAME, {**value, "type": "server_tool_use", "input": value}), objects))
usages = st.builds(lambda fresh, read, five, hour, out: Usage(
    fresh + read + five + hour, out, read, five + hour, hour, out // 2), *[st.integers(0, 10**6)] * 5)
replies = st.builds(
    lambda content, usage, word: Reply("msg_1", "m", choices=[Choice(content, Finish(*word))], usage=usage),
    st.lists(parts, max_size=4), usages, st.sampled_from([
        ("stop", "stop_sequence", "END"), ("length", "max_tokens"), ("tool_calls", "tool_use"), ("pause", "pause_turn"),
        ("content_filter", "refusal", None, "because")]))


@settings(max_examples=80, deadline=None)
@given(replies, st.integers(1, 40))
def test_a_reply_of_its_own_comes_out_as_it_went_in(reply, size):
    request = Chat("m", [])
    if any(isinstance(part, ToolCall) for part in reply.choices[0].parts) and reply.choices[0].finish.reason == "stop":
        return
    assert CHAT.read_reply(CHAT.write_reply(reply, request), Sent({})) == reply
    writer, reader = CHAT.writer(request), CHAT.reader(Sent({}))
    stream = b"".join(writer.write(event) for event in unfold(reply))
    events = [event for start in range(0, len(stream), size) for event in reader.feed(stream[start:start + size])]
    assert collect(events + reader.close()) == reply


# --- whatever the order ----------------------------------------------------------------------------------------------

steps = st.lists(st.tuples(st.integers(0, 3), st.sampled_from(["delta", "delta", "end"])), max_size=25)


@settings(max_examples=120, deadline=None)
@given(st.lists(st.sampled_from(["text", "call", "thought", "signed"]), min_size=1, max_size=4), steps)
def test_interleaved_parts_keep_their_own_content(kinds, steps):
    """However the parts of an answer are interleaved, each one's words arrive in order and in a block of its kind."""
    make = {"text": lambda n: Text(""), "call": lambda n: ToolCall(f"t{n}", "f"), "thought": lambda n: Thinking(""),
            "signed": lambda n: Thinking("", signed_by=NAME)}
    events, expected, started, ended = [MessageStart("m", "m")], ["" for _ in kinds], set(), set()
    for number, (which, action) in enumerate(steps):
        index = min(which, len(kinds) - 1)
        if index not in started:
            started.add(index)
            events.append(PartStart(index, make[kinds[index]](index)))
        if index in ended:
            continue
        if action == "end":
            ended.add(index)
            events.append(PartEnd(index))
        else:
            expected[index] += f"<{number}>"
            events.append(PartDelta(index, f"<{number}>"))
    writer, reader = CHAT.writer(Chat("m", [])), CHAT.reader(Sent({}))
    stream = b"".join(writer.write(event) for event in [*events, MessageDelta(Finish("stop")), MessageEnd()])
    parts = collect(reader.feed(stream) + reader.close()).choices
    got = {"text": "", "call": [], "thought": ""}
    for part in parts[0].parts if parts else []:
        if isinstance(part, ToolCall):
            got["call"].append(part.arguments)
        else:
            got["text" if isinstance(part, Text) else "thought"] += part.text
    calls = [expected[index] or "{}" for index in started if kinds[index] == "call"]
    assert sorted(got["call"]) == sorted(calls)
    for name, members in (("text", ("text",)), ("thought", ("thought", "signed"))):
        all_words = sorted("".join(expected[index] for index in started if kinds[index] in members).split(">"))
        assert sorted(got[name].split(">")) == all_words
    for index in started:
        if kinds[index] == "text":
            found = [word for word in got["text"].split(">") if word and f"{word}>" in expected[index]]
            assert "".join(f"{word}>" for word in found) == expected[index]

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
from ailink_provider.dialects.bedrock_converse import DIALECT
from ailink_provider.dialects.bedrock_converse.eventstream import encode
from ailink_provider.errors import Failure

CONVERSE = DIALECT.operations["chat"]
NAME = "bedrock_converse"
RICH = json.loads((Path(__file__).parent / "golden" / "own_request.json").read_text("utf-8"))
KINDS = [Facts(), Facts(sampling=(), thinking="adaptive", thinking_off=False, forced_tools=False, system_turns=True),
         Facts(one_sampling=True, thinking="budget", prefill=False), Facts(json_schema=False)]
MODELS = ["us.anthropic.claude-x", "amazon.nova-2-lite", "openai.gpt-6", "meta.llama4", "arn:aws:x/y"]

words = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
said = words.filter(str.strip)
scalars = st.none() | st.booleans() | st.integers(-5, 10**30) | st.floats(allow_nan=False, allow_infinity=False) | words
json_values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3), max_leaves=6)
objects = st.dictionaries(words, json_values, max_size=3)
ids = st.from_regex(r"[a-zA-Z0-9_-]{1,40}", fullmatch=True)


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


@settings(max_examples=250, deadline=None)
@given(st.sampled_from(PLACES), json_values, st.sampled_from(KINDS), st.sampled_from(MODELS))
def test_a_request_is_read_and_written_or_refused(path, value, facts, model):
    try:
        chat = CONVERSE.read_request(spoil(path, value), model, False)
    except Failure as failure:
        assert (failure.code, bool(failure.param)) == ("invalid_request", True)
        return
    for dialect in (NAME, "openai_chat"):
        chat.dialect = dialect
        try:
            body = CONVERSE.write_request(chat, facts).body
        except Failure as failure:
            assert failure.code in ("invalid_request", "unsupported_parameter")
        else:
            msgspec.json.encode(body)


@settings(max_examples=150, deadline=None)
@given(st.dictionaries(st.sampled_from([*RICH, "modelId", "other"]), json_values))
def test_any_object_is_read_or_refused(body):
    try:
        CONVERSE.read_request(body)
    except Failure as failure:
        assert failure.code == "invalid_request"


BLOCKS = ["text", "image", "document", "audio", "toolUse", "toolResult", "reasoningContent", "citationsContent",
          "cachePoint", "odd"]
blocks = st.dictionaries(st.sampled_from(BLOCKS), json_values, min_size=1, max_size=1)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(["user", "assistant", "system"]), st.lists(blocks, max_size=3), st.sampled_from(KINDS))
def test_any_blocks_are_written_or_refused(role, content, facts):
    body = {"messages": [{"role": "user", "content": [{"text": "Hi"}]}, {"role": role, "content": content},
                         {"role": "user", "content": [{"text": "Hi"}]}]}
    try:
        msgspec.json.encode(CONVERSE.write_request(CONVERSE.read_request(body, MODELS[0]), facts).body)
    except Failure as failure:
        assert failure.code in ("invalid_request", "unsupported_parameter")


@settings(max_examples=100, deadline=None)
@given(objects | st.fixed_dictionaries({"output": st.fixed_dictionaries({"message": st.fixed_dictionaries({
    "content": json_values | st.lists(blocks, max_size=3)})})}, optional={
        "usage": json_values, "stopReason": words | json_values, "trace": json_values}))
def test_any_answer_is_read_or_the_upstream_s_failure(body):
    try:
        reply = CONVERSE.read_reply(body, Sent({}))
    except Failure as failure:
        assert failure.code == "upstream_failed"
    else:
        msgspec.json.encode(CONVERSE.write_reply(reply, Chat("m", [])))
    CONVERSE.measure(msgspec.json.encode(body))


EVENTS = ["messageStart", "contentBlockStart", "contentBlockDelta", "contentBlockStop", "messageStop", "metadata",
          "other"]
starts = st.dictionaries(st.sampled_from(["toolUse", "toolResult", "image"]), objects | st.fixed_dictionaries(
    {"toolUseId": words, "name": words}), max_size=1)
deltas = st.dictionaries(st.sampled_from(["text", "toolUse", "reasoningContent", "citation", "toolResult", "image"]),
                         json_values | st.fixed_dictionaries({"text": words}) | st.fixed_dictionaries(
                             {"redactedContent": words}), max_size=1)
payloads = st.fixed_dictionaries({}, optional={
    "contentBlockIndex": st.integers(0, 2) | scalars, "start": json_values | starts, "delta": json_values | deltas,
    "stopReason": words | scalars, "usage": json_values, "message": json_values})


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(EVENTS), payloads), max_size=8), st.sampled_from(["", "event", "exception"]),
       st.integers(1, 60))
def test_any_stream_ends_once(events, last, size):
    frames = [encode({":message-type": "event", ":event-type": name}, msgspec.json.encode(payload))
              for name, payload in events]
    stream = b"".join(frames) + (encode({":message-type": last}, b"{}") if last else b"")
    reader, meter = CONVERSE.reader(Sent({})), CONVERSE.meter({})
    chunks = [stream[start:start + size] for start in range(0, len(stream), size)]
    read = [event for chunk in chunks for event in reader.feed(chunk)] + reader.close()
    assert isinstance(read[-1], MessageEnd | MessageError)
    assert sum(isinstance(event, MessageEnd | MessageError) for event in read) == 1
    forwarded = b"".join([meter.feed(chunk) for chunk in chunks])
    assert stream.startswith(forwarded)
    meter.close()
    assert meter.measured.complete or meter.measured.failure is not None
    writer = CONVERSE.writer(Chat("m", []))
    assert b"".join(writer.write(event) for event in read)


# --- there and back --------------------------------------------------------------------------------------------------

points = st.sampled_from([[], [{"cachePoint": {"type": "default"}}]])
images = st.builds(lambda data: {"image": {"format": "png", "source": {"bytes": data}}}, st.just("iVBORw0KGgo="))
thoughts = st.builds(lambda text, proof: {"reasoningContent": {"reasoningText": {"text": text, "signature": proof}}},
                     words, ids)
calls = st.builds(lambda i, name, value: {"toolUse": {"toolUseId": i, "name": name, "input": value}}, ids, ids, objects)
results = st.builds(
    lambda i, content: {"toolResult": {"toolUseId": i, **content}}, ids,
    st.builds(lambda shown: {"content": shown}, st.lists(images, min_size=1, max_size=2))
    | st.builds(lambda text: {"content": [{"text": text}], "status": "error"}, said))
texts = st.builds(lambda text: {"text": text}, said)
natives = st.builds(lambda value: {"searchResult": value}, objects)
user_content = st.builds(lambda first, rest, point: first + rest + point, st.lists(results, max_size=2),
                         st.lists(images | natives | texts, min_size=1, max_size=3).filter(
                             lambda rest: "searchResult" not in rest[-1]), points)
assistant_content = st.builds(lambda thought, rest: thought + rest, st.lists(thoughts, min_size=1, max_size=2),
                              st.lists(texts | calls, min_size=1, max_size=3))
bodies = st.builds(
    lambda pairs, last, options: {
        **options,
        "messages": [turn for user, reply in pairs for turn in (
            {"role": "user", "content": user}, {"role": "assistant", "content": reply})]
        + [{"role": "user", "content": last}],
        "toolConfig": {"tools": [{"toolSpec": {"name": "f", "inputSchema": {"json": {"type": "object"}}}}]}},
    st.lists(st.tuples(user_content, assistant_content), max_size=2), user_content,
    st.fixed_dictionaries({}, optional={
        "system": st.builds(lambda text: [{"text": text}], said),
        "inferenceConfig": st.fixed_dictionaries({"temperature": st.floats(0, 1)}, optional={
            "maxTokens": st.integers(1, 9), "stopSequences": st.lists(said, min_size=1, max_size=2), "topK": ids}),
        "additionalModelRequestFields": st.fixed_dictionaries({"a": json_values.filter(lambda v: v is not None)}),
        "requestMetadata": st.dictionaries(words, words, min_size=1, max_size=3),
        "guardrailConfig": objects, "performanceConfig": objects}))


@settings(max_examples=100, deadline=None)
@given(bodies, st.sampled_from([MODELS[0], MODELS[4]]))
def test_a_request_of_its_own_comes_out_as_it_went_in(body, model):
    sent = CONVERSE.write_request(CONVERSE.read_request(body, model, False), Facts(thinking="adaptive"))
    assert sent.body == body
    assert sent.losses == []


parts = st.one_of(
    st.builds(Text, said), st.builds(lambda text, proof: Thinking(text, signature=proof, signed_by=NAME), words, ids),
    st.just(Thinking(redacted="aGk=", signed_by=NAME)),
    st.builds(lambda i, name, value: ToolCall(i, name, msgspec.json.encode(value).decode()), ids, ids, objects))
usages = st.builds(lambda fresh, read, five, hour, out: Usage(fresh + read + five + hour, out, read, five + hour, hour),
                   *[st.integers(0, 10**6)] * 5)
replies = st.builds(
    lambda content, usage, word, tier: Reply(choices=[Choice(content, Finish(*word))], usage=usage, service_tier=tier),
    st.lists(parts, min_size=1, max_size=4), usages, st.sampled_from([
        ("stop", "stop_sequence", "END"), ("length", "max_tokens"), ("tool_calls", "tool_use"),
        ("content_filter", "guardrail_intervened")]), st.sampled_from([None, "default", "reserved"]))


@settings(max_examples=100, deadline=None)
@given(replies, st.integers(1, 40))
def test_a_reply_of_its_own_comes_out_as_it_went_in(reply, size):
    request = Chat("m", [])
    assert CONVERSE.read_reply(CONVERSE.write_reply(reply, request), Sent({})) == reply
    writer, reader = CONVERSE.writer(request), CONVERSE.reader(Sent({}))
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
    events, expected, started, ended = [MessageStart()], ["" for _ in kinds], set(), set()
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
    writer, reader = CONVERSE.writer(Chat("m", [])), CONVERSE.reader(Sent({}))
    stream = b"".join(writer.write(event) for event in [*events, MessageDelta(Finish("stop")), MessageEnd()])
    found = [part for choice in collect(reader.feed(stream)).choices for part in choice.parts]
    arguments = {part.id: part.arguments for part in found if isinstance(part, ToolCall)}
    assert arguments == {f"t{index}": expected[index] or "{}" for index in started if kinds[index] == "call"}
    for name, kind in (("text", Text), ("thought", Thinking)):
        heard = [word for part in found if isinstance(part, kind) for word in part.text.split(">") if word]
        of_each = [expected[index] for index in started if kinds[index] == name or (
            name == "thought" and kinds[index] == "signed")]
        assert sorted(heard) == sorted(word for text in of_each for word in text.split(">") if word)
        for text in of_each:
            assert "".join(f"{word}>" for word in heard if f"{word}>" in text) == text

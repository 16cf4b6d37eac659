"""What holds for any input: no JSON breaks a reader, and what is written reads back."""

import copy
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ailink_provider.catalog import facts
from ailink_provider.chat import (
    Chat,
    Choice,
    Finish,
    Media,
    Message,
    MessageError,
    Part,
    Reply,
    Text,
    Thinking,
    ToolCall,
    Usage,
    collect,
    unfold,
)
from ailink_provider.dialects import Sent
from ailink_provider.dialects.gemini import DIALECT
from ailink_provider.dialects.gemini.framing import Elements
from ailink_provider.errors import Failure

CHATS = DIALECT.operations["chat"]
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-9, 9)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
QUICK = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, member in items:
        yield from places(member, (*path, key))


def damaged(body: dict[str, Any], data: st.DataObject) -> Any:
    """Put any JSON in any place of a good body."""
    path = data.draw(st.sampled_from(list(places(body))[1:]))
    body = copy.deepcopy(body)
    place: Any = body
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = data.draw(JSON)
    return body


@QUICK
@given(st.data())
def test_no_request_breaks_the_reader_or_then_the_writer(golden: Callable[[str], Any], data: st.DataObject) -> None:
    body = damaged(golden("rich_request.json"), data)
    try:
        chat = CHATS.read_request(body, "m", False)
        for model in ("gemini-3-pro", "gemini-1.5-pro"):
            sent = CHATS.write_request(chat, facts(model))
            msgspec.json.encode(sent.body)
    except Failure as failure:
        assert failure.code in ("invalid_request", "unsupported_parameter")


REPLY = {
    "candidates": [
        {
            "index": 0,
            "finishReason": "STOP",
            "finishMessage": "m",
            "groundingMetadata": {"x": 1},
            "content": {
                "role": "model",
                "parts": [
                    {"text": "t", "thought": True, "thoughtSignature": "VA=="},
                    {"text": "u", "thoughtSignature": "VA=="},
                    {"functionCall": {"id": "i", "name": "n", "args": {"input": "x"}}},
                    {"inlineData": {"mimeType": "image/png", "data": "A"}},
                ],
            },
            "logprobsResult": {
                "chosenCandidates": [{"token": "t", "logProbability": -1.0}],
                "topCandidates": [{"candidates": [{"token": "t", "logProbability": -1.0}]}],
            },
        }
    ],
    "usageMetadata": {"promptTokenCount": 1, "serviceTier": "flex"},
    "modelVersion": "v",
    "responseId": "r",
    "promptFeedback": {"blockReason": "SAFETY"},
    "error": None,
}


@QUICK
@given(st.data())
def test_no_reply_breaks_the_reader_the_meter_or_then_the_writer(data: st.DataObject) -> None:
    body = damaged(REPLY, data)
    frame = b"data: " + msgspec.json.encode(body) + b"\r\n\r\n"
    sent = Sent({}, custom=frozenset({"n"}))
    reader, meter = CHATS.reader(sent), CHATS.meter({})
    events = reader.feed(frame) + reader.close()
    writer = CHATS.writer(Chat("m", []))
    b"".join(map(writer.write, events))
    meter.feed(frame)
    meter.close()
    CHATS.measure(msgspec.json.encode(body))
    try:
        CHATS.write_reply(CHATS.read_reply(body, sent), Chat("m", []))
    except Failure:
        assert isinstance(events[-1], MessageError)


@QUICK
@given(
    st.dictionaries(
        st.sampled_from(["contents", "tools", "generationConfig", "toolConfig", "systemInstruction", "x"]), JSON
    )
)
def test_no_json_at_all_breaks_the_reader(body: dict[str, Any]) -> None:
    for operation in DIALECT.operations.values():
        try:
            operation.read_request(body, "m", False)
        except Failure as failure:
            assert failure.code in ("invalid_request", "unsupported_parameter")


WORDS = st.text(min_size=1, max_size=8)
SIGNATURES = st.sampled_from(["QQ==", "Qg==", "Qw=="])


@st.composite
def answers(draw: st.DrawFn) -> list[Part]:
    """The parts of an answer as Gemini gives them: two texts are apart only where the second is signed."""
    parts: list[Part] = []
    for kind in draw(st.lists(st.sampled_from(["text", "signed", "thought", "call", "image"]), min_size=1, max_size=6)):
        if kind == "text" and not (parts and isinstance(parts[-1], Text)):
            parts.append(Text(draw(WORDS)))
        elif kind == "signed":
            parts += [Thinking("", draw(SIGNATURES), signed_by="gemini"), Text(draw(WORDS))]
        elif kind == "thought":
            parts.append(Thinking(draw(WORDS), draw(SIGNATURES), signed_by="gemini"))
        elif kind == "call":
            signature = draw(st.none() | SIGNATURES)
            parts.append(
                ToolCall(
                    f"call_{len(parts)}",
                    "f",
                    msgspec.json.encode({"x": draw(JSON)}).decode(),
                    signature=signature,
                    signed_by="gemini" if signature else None,
                )
            )
        elif kind == "image":
            parts.append(Media("image", "image/png", data="iVBORw0KGgo="))
    return parts or [Text("x")]


@QUICK
@given(answers(), st.integers(1, 40))
def test_an_answer_survives_every_way(parts: list[Part], size: int) -> None:
    called = any(isinstance(part, ToolCall) for part in parts)
    reply = Reply(
        "r", "v", choices=[Choice(parts, Finish("tool_calls" if called else "stop", native="STOP"))], usage=Usage(3, 4)
    )
    request = Chat("m", [])
    body = CHATS.write_reply(reply, request)
    assert CHATS.read_reply(body, Sent({})) == reply
    writer, reader = CHATS.writer(request), CHATS.reader(Sent({}))
    data = b"".join(map(writer.write, unfold(reply)))
    pieces = [data[start : start + size] for start in range(0, len(data), size)]
    assert collect([event for piece in pieces for event in reader.feed(piece)] + reader.close()) == reply
    # The client sends it back, and Gemini gets what it had said.
    content = body["candidates"][0]["content"]
    history = CHATS.read_request({"contents": [content]}, "m", False)
    assert history.messages == [Message("assistant", parts)]
    assert CHATS.write_request(history, facts("gemini-2.5-flash")).body == {"contents": [content]}


@QUICK
@given(
    st.lists(st.dictionaries(st.text(max_size=4), JSON, max_size=3), max_size=4),
    st.integers(1, 9),
    st.sampled_from([b",", b"\n,\r\n", b" , "]),
)
def test_the_elements_of_an_array_wherever_it_is_cut(items: list[Any], size: int, comma: bytes) -> None:
    data = b" [" + comma.join(msgspec.json.encode(item) for item in items) + b"\n]\n"
    elements = Elements()
    frames = [
        frame for start in range(0, len(data), size) for frame in elements.feed(data[start : start + size])
    ] + elements.close()
    assert [msgspec.json.decode(frame.data) for frame in frames if frame.data is not None] == items
    assert b"".join(frame.raw for frame in frames) == data

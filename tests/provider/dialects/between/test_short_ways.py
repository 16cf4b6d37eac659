"""Common events of a stream take a short way through readers, writers and meters: it means what the long one does."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ailink_provider.builtin import dialects
from ailink_provider.chat import (
    Chat,
    Event,
    Finish,
    Message,
    MessageDelta,
    MessageEnd,
    MessageStart,
    PartDelta,
    PartEnd,
    PartStart,
    Refusal,
    Text,
    Thinking,
    ToolCall,
    Usage,
)
from ailink_provider.dialects import Measured, Sent
from ailink_provider.dialects.bedrock_converse import eventstream

Values = list[dict[str, Any]]
CLIENTS = ("openai_chat", "openai_responses", "anthropic_messages", "gemini")
TEXTS = ["", " word", "Grüße 😀", 'a "quoted" \\ and \n more', "data: x", "\u2028"]


# --- streams of upstreams, an event a value ---------------------------------------------------------------------------


def openai_chat(texts: list[str]) -> Values:
    def chunk(choices: Any, **more: Any) -> dict[str, Any]:
        return {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": choices, **more}

    def delta(**members: Any) -> list[dict[str, Any]]:
        return [{"index": 0, "delta": members, "logprobs": None, "finish_reason": None}]

    said = [chunk(delta(content=text), usage=None) for text in texts]
    call = {"index": 0, "id": "t", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    return [
        chunk(delta(role="assistant", content="")),
        *[chunk(delta(reasoning_content=text)) for text in texts],
        *said,
        chunk(delta(refusal="no")),
        *[chunk(delta(content=text, reasoning_content=None, tool_calls=None)) for text in texts],
        chunk([{"index": 1, "delta": {"content": "another"}, "finish_reason": None}]),
        *said,
        chunk(delta(content="with usage"), usage={"prompt_tokens": 1, "completion_tokens": 2}),
        chunk(delta(tool_calls=[call])),
        chunk([{"index": 0, "delta": {}, "finish_reason": "stop"}]),
        *said,
    ]


def anthropic_messages(texts: list[str]) -> Values:
    def block(index: int, content: dict[str, Any], deltas: Values) -> Values:
        return [
            {"type": "content_block_start", "index": index, "content_block": content},
            *[{"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas],
            {"type": "content_block_stop", "index": index},
        ]

    pieces: Values = [{"type": "input_json_delta", "partial_json": piece} for piece in ("", '{"in', 'put": "x"}')]
    message = {"id": "m", "model": "c", "content": [], "usage": {"input_tokens": 1, "output_tokens": 1}}
    return [
        {"type": "message_start", "message": message},
        *block(0, {"type": "thinking", "thinking": ""}, [
            *[{"type": "thinking_delta", "thinking": text} for text in texts],
            {"type": "signature_delta", "signature": "s"},
        ]),
        *block(1, {"type": "text", "text": ""}, [{"type": "text_delta", "text": text} for text in texts]),
        *block(2, {"type": "tool_use", "id": "a", "name": "f", "input": {}}, pieces),
        *block(3, {"type": "tool_use", "id": "b", "name": "free", "input": {}}, pieces),
        *block(4, {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}}, pieces),
        *block(5, {"type": "tool_use", "id": "c", "name": "f", "input": {}}, []),
        {"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": {"output_tokens": 9}},
        {"type": "message_stop"},
    ]  # fmt: skip


def gemini(texts: list[str]) -> Values:
    def chunk(part: dict[str, Any], count: int, **more: Any) -> dict[str, Any]:
        candidate = {"content": {"parts": [part], "role": "model"}, "index": 0, **more}
        usage = {"promptTokenCount": 1, "candidatesTokenCount": count, "totalTokenCount": count + 1}
        return {"candidates": [candidate], "usageMetadata": usage, "modelVersion": "g", "responseId": "r"}

    said = [chunk({"text": text}, count) for count, text in enumerate(texts)]
    return [
        *[chunk({"text": text, "thought": True}, 0) for text in texts],
        *said,
        chunk({"text": "signed", "thoughtSignature": "c2ln"}, 7),
        *said,
        chunk({"functionCall": {"id": "a", "name": "f", "args": {}}}, 8),
        *said,
        chunk({"text": ""}, 9, finishReason="STOP"),
    ]


def openai_responses(texts: list[str]) -> Values:
    place = {"item_id": "i", "output_index": 0, "content_index": 0}
    words: Values = [
        {"type": "response.output_text.delta", **place, "delta": text, "logprobs": [], "obfuscation": "x"}
        for text in texts
    ]
    text = "".join(texts)
    item = {"id": "i", "type": "message", "role": "assistant", "content": [{"type": "output_text", "text": text}]}
    events: Values = [
        {"type": "response.created", "response": {"id": "r", "model": "m"}},
        {"type": "response.output_item.added", "output_index": 0, "item": {**item, "content": []}},
        *words,
        {"type": "response.output_item.done", "output_index": 0, "item": item},
        {"type": "response.completed", "response": {"id": "r", "model": "m", "status": "completed", "output": [item]}},
    ]
    return [{**event, "sequence_number": number} for number, event in enumerate(events)]


def bedrock_converse(texts: list[str]) -> Values:
    def delta(block: int, value: dict[str, Any]) -> dict[str, Any]:
        return {"contentBlockDelta": {"contentBlockIndex": block, "delta": value, "p": "ab"}}

    return [
        {"messageStart": {"role": "assistant"}},
        *[delta(0, {"reasoningContent": {"text": text}}) for text in texts],
        *[delta(1, {"text": text}) for text in texts],
        delta(1, {"citation": {"title": "t"}}),
        *[delta(1, {"text": text}) for text in texts],
        *[delta(0, {"text": text}) for text in texts],
        {"messageStop": {"stopReason": "end_turn"}},
        delta(1, {"text": "too late"}),
        {"metadata": {"usage": {"inputTokens": 1, "outputTokens": 2, "totalTokens": 3}}},
    ]


def ollama(texts: list[str]) -> Values:
    def line(message: dict[str, Any], **more: Any) -> dict[str, Any]:
        moment = "2026-11-01T10:00:00.1Z"
        return {"model": "q", "created_at": moment, "message": {"role": "assistant", **message}, "done": False, **more}

    said = [line({"content": text}) for text in texts]
    call = {"id": "a", "function": {"name": "f", "arguments": {}}}
    return [
        *[line({"content": "", "thinking": text}) for text in texts],
        *said,
        line({"content": "with", "logprobs": None}, logprobs=[{"token": "with", "logprob": -1.0}]),
        *said,
        line({"content": "and", "tool_calls": [call]}),
        *said,
        line({"content": "last"}, done=True, done_reason="stop", prompt_eval_count=1, eval_count=2),
    ]


STREAMS: dict[str, Callable[[list[str]], Values]] = {
    "openai_chat": openai_chat,
    "openai_responses": openai_responses,
    "anthropic_messages": anthropic_messages,
    "gemini": gemini,
    "bedrock_converse": bedrock_converse,
    "ollama": ollama,
}


def framed(name: str, value: dict[str, Any]) -> bytes:
    """The event as its vendor frames it."""
    if name == "bedrock_converse":
        [(kind, payload)] = value.items()
        headers = {":event-type": kind, ":content-type": "application/json", ":message-type": "event"}
        return eventstream.encode(headers, msgspec.json.encode(payload))
    data = msgspec.json.encode(value)
    if name == "ollama":
        return data + b"\n"
    if name in ("anthropic_messages", "openai_responses"):
        return b"event: " + value["type"].encode() + b"\ndata: " + data + b"\n\n"
    return b"data: " + data + (b"\r\n\r\n" if name == "gemini" else b"\n\n")


def estranged(value: Any) -> Any:
    """The same with a member more in every object, which nobody knows: no short way takes it."""
    if isinstance(value, list):
        return [estranged(item) for item in value]
    if not isinstance(value, dict):
        return value
    free = ("args", "input", "arguments")
    return {key: item if key in free else estranged(item) for key, item in value.items()} | {"later": 1}


def long_way(name: str, value: dict[str, Any]) -> dict[str, Any]:
    if name == "bedrock_converse":
        return {kind: estranged(payload) for kind, payload in value.items()}
    if name == "gemini":
        return value | {"later": 1}  # what a part has beside its text is not passed over
    if name == "openai_responses" and value["type"].endswith("text.delta"):
        return {key: member for key, member in value.items() if key != "content_index"}  # which goes without saying
    return dict(estranged(value))


def ended(name: str, stream: list[bytes]) -> list[bytes]:
    return [*stream, b"data: [DONE]\n\n"] if name == "openai_chat" else stream


def joined(stream: list[bytes], size: int) -> list[bytes]:
    return [b"".join(stream[start : start + size]) for start in range(0, len(stream), size)]


sizes = st.integers(1, 7)
texts = st.lists(st.sampled_from(TEXTS) | st.text(st.characters(exclude_categories=["Cs"]), max_size=5), max_size=6)


@pytest.mark.parametrize("name", STREAMS)
@settings(deadline=None, max_examples=40)
@given(texts, sizes)
def test_readers(name: str, said: list[str], size: int) -> None:
    def read(stream: list[bytes]) -> list[Event]:
        reader = dialects()[name].operations["chat" if name != "gemini" else _generation()].reader(sent())
        return [event for chunk in stream for event in reader.feed(chunk)] + reader.close()

    values = STREAMS[name](said)
    short = joined(ended(name, [framed(name, value) for value in values]), size)
    long = ended(name, [framed(name, long_way(name, value)) for value in values])
    assert without_extras(read(short)) == without_extras(read(long))


def sent() -> Sent:
    return Sent({}, custom=frozenset({"free"}))


def _generation() -> str:
    return next(name for name, operation in dialects()["gemini"].operations.items() if operation.speaks is Chat)


def without_extras(events: list[Event]) -> list[Any]:
    """The events without what the strange members left in them."""

    def plain(value: Any) -> Any:
        if isinstance(value, list):
            return [plain(item) for item in value]
        if not isinstance(value, dict):
            return value
        return {key: plain(item) for key, item in value.items() if key not in ("later", "extra")}

    return [plain(msgspec.to_builtins(event)) for event in events]


@pytest.mark.parametrize("name", CLIENTS)
@settings(deadline=None, max_examples=40)
@given(texts, sizes, st.integers(0, 30))
def test_meters(name: str, said: list[str], size: int, kept: int) -> None:
    def metered(stream: list[bytes]) -> tuple[bytes, Measured]:
        meter = dialects()[name].operations["chat" if name != "gemini" else _generation()].meter({})
        out = b"".join([meter.feed(chunk) for chunk in stream])
        return out + meter.close(), meter.measured

    values = STREAMS[name](said)[: kept + 1]
    stream = [framed(name, value) for value in values]
    forwarded, measured = metered(joined(stream, size))
    # A byte order mark, and a comment behind every event: no chunk is an ordinary one.
    again, same = metered([b"\xef\xbb\xbf", *(event + b": note\n\n" for event in stream)])
    assert (measured.characters, measured.usage, measured.finish, measured.complete, measured.model) == (
        same.characters, same.usage, same.finish, same.complete, same.model)  # fmt: skip
    assert forwarded == again.replace(b": note\n\n", b"")


# --- canonical events to clients --------------------------------------------------------------------------------------

parts = st.sampled_from([Text(""), Text("So"), Refusal("No"), Thinking("", signed_by="other"), ToolCall("t", "f")])


@st.composite
def replies(draw: st.DrawFn) -> list[Event]:
    """Parts of two choices, whose deltas come in any order; some deltas come too late."""
    opened = draw(st.lists(st.tuples(parts, st.integers(0, 1)), min_size=1, max_size=4))
    events: list[Event] = [MessageStart("id-1", "model-1", 7, Usage(1, 1))]
    events += [PartStart(index, part, choice) for index, (part, choice) in enumerate(opened)]
    for _ in range(draw(st.integers(0, 8))):
        index = draw(st.integers(0, len(opened) - 1))
        choice = opened[index][1]
        if draw(st.integers(0, 5)):
            events.append(PartDelta(index, draw(st.sampled_from(TEXTS)), choice=choice))
        else:
            events.append(PartEnd(index, choice))
    events.append(MessageDelta(Finish("stop"), Usage(3, 4)))
    return [*events, *draw(st.sampled_from([[], [PartDelta(0, "late", choice=opened[0][1])]])), MessageEnd()]


@pytest.mark.parametrize("name", CLIENTS)
@settings(deadline=None, max_examples=100)
@given(replies(), st.booleans())
def test_writers(name: str, events: list[Event], usage: bool) -> None:
    chat = Chat("m", [Message("user", [Text("Hi")])], stream=True, include_usage=usage)

    def written(stream: list[Event]) -> bytes:
        writer = dialects()[name].operations["chat" if name != "gemini" else _generation()].writer(chat)
        return b"".join([writer.write(event) for event in stream])

    # Nothing that is there but empty: it says no more, and no short way takes it.
    long: list[Event] = [
        PartDelta(event.index, event.text, None, {}, [], event.choice) if isinstance(event, PartDelta) else event
        for event in events
    ]
    assert written(events) == written(long)

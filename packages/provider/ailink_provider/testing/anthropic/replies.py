"""Anthropic's answers: messages, whole and streamed, and token counts.

Written from its API reference; the shapes are checked against its SDK's response types in the tests.
"""

from base64 import b64encode
from collections.abc import Iterator
from hashlib import sha256
from json import loads
from typing import Any, NamedTuple

from ailink_provider.chat import Usage
from ailink_provider.testing.anthropic.errors import common_headers
from ailink_provider.testing.anthropic.models import model
from ailink_provider.testing.script import Answer
from ailink_provider.testing.vendor import Stream, Whole, encode, mint

_FRAGMENT = 8  # characters of tool input in one delta
_CALL = "toolu_01"  # how the id of a tool call begins
_FINISHES = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use", "content_filter": "refusal",
             "pause": "pause_turn"}


def messages(body: dict[str, Any], answer: Answer, serial: int) -> Whole | Stream:
    """Answer POST /v1/messages."""
    blocks = list(_blocks(body, answer, serial))
    message = _message(body, answer, blocks, serial)
    if not body.get("stream"):
        return Whole(200, [("content-type", "application/json"), *common_headers(serial)], encode(message))
    headers = [("content-type", "text/event-stream; charset=utf-8"), ("cache-control", "no-cache"),
               *common_headers(serial)]
    return Stream(headers, _frames(message, blocks, _usage(answer.usage)))


def count_tokens(body: dict[str, Any], answer: Answer, serial: int) -> Whole:
    """Answer POST /v1/messages/count_tokens."""
    headers = [("content-type", "application/json"), *common_headers(serial)]
    return Whole(200, headers, encode({"input_tokens": answer.usage.input_tokens}))


def sign(thinking: str, name: str) -> str:
    """Return the signature that this model's thinking block carries: whoever sends it back must send both."""
    return b64encode(sha256(f"{name}\0{thinking}".encode()).digest() * 3).decode()


def is_minted(identifier: str) -> bool:
    """Whether this is the id of a call that one of this vendor's models made."""
    return identifier.startswith(_CALL)


class _Block(NamedTuple):
    """A content block: as it is in the end, as it starts in a stream, and the deltas in between."""

    whole: dict[str, Any]
    opened: dict[str, Any]
    deltas: list[dict[str, Any]]


def _message(body: dict[str, Any], answer: Answer, blocks: list[_Block], serial: int) -> dict[str, Any]:
    refused = answer.refusal is not None or answer.finish == "content_filter"
    finish = answer.finish or ("tool_calls" if answer.tool_calls else "content_filter" if refused else "stop")
    reason = _FINISHES.get(finish, finish)
    stops = body.get("stop_sequences")
    details = {"type": "refusal", "category": None, "explanation": answer.refusal}
    return {
        "model": body["model"],
        "id": mint("msg_01", 22, serial),
        "type": "message",
        "role": "assistant",
        "content": [block.whole for block in blocks],
        "stop_reason": reason,
        "stop_sequence": stops[0] if reason == "stop_sequence" and stops else None,
        "stop_details": details if refused else None,
        "usage": {
            **_usage(answer.usage),
            "cache_creation": {
                "ephemeral_5m_input_tokens": answer.usage.cache_write_tokens - answer.usage.cache_write_1h_tokens,
                "ephemeral_1h_input_tokens": answer.usage.cache_write_1h_tokens,
            },
            "service_tier": "standard",
        },
    }


def _blocks(body: dict[str, Any], answer: Answer, serial: int) -> Iterator[_Block]:
    facts = model(body["model"])
    if answer.thinking is not None or facts.always_thinks:
        display = (body.get("thinking") or {}).get("display") or ("omitted" if facts.omits else "summarized")
        yield _thinking("" if display == "omitted" else answer.thinking or "", body["model"])
    pieces = answer.pieces(_last_words(body["messages"]))
    if pieces:
        text = {"type": "text", "text": "".join(pieces)}
        yield _Block(text, {"type": "text", "text": ""}, [{"type": "text_delta", "text": piece} for piece in pieces])
    for index, call in enumerate(answer.tool_calls):
        arguments = "" if call.arguments == "{}" else call.arguments
        fragments = ["", *(arguments[start:start + _FRAGMENT] for start in range(0, len(arguments), _FRAGMENT))]
        identifier = call.id or mint(_CALL, 22, serial, index)
        opened = {"type": "tool_use", "id": identifier, "name": call.name, "input": {}}
        yield _Block({**opened, "input": loads(arguments or "{}")}, opened,
                     [{"type": "input_json_delta", "partial_json": fragment} for fragment in fragments])


def _thinking(thinking: str, name: str) -> _Block:
    signature = sign(thinking, name)
    deltas = [{"type": "thinking_delta", "thinking": thinking}] if thinking else []
    return _Block(
        {"type": "thinking", "thinking": thinking, "signature": signature},
        {"type": "thinking", "thinking": "", "signature": ""},
        [*deltas, {"type": "signature_delta", "signature": signature}],
    )


def _frames(message: dict[str, Any], blocks: list[_Block], usage: dict[str, Any]) -> Iterator[bytes]:
    start = {**message, "content": [], "stop_reason": None, "stop_details": None, "stop_sequence": None,
             "usage": {**message["usage"], "output_tokens": min(1, usage["output_tokens"])}}
    yield _frame({"type": "message_start", "message": start})
    for index, block in enumerate(blocks):
        yield _frame({"type": "content_block_start", "index": index, "content_block": block.opened})
        if index == 0:
            yield _frame({"type": "ping"})
        for delta in block.deltas:
            yield _frame({"type": "content_block_delta", "index": index, "delta": delta})
        yield _frame({"type": "content_block_stop", "index": index})
    delta = {key: message[key] for key in ("stop_reason", "stop_sequence", "stop_details")}
    yield _frame({"type": "message_delta", "delta": delta, "usage": usage})
    yield _frame({"type": "message_stop"})


def _frame(event: dict[str, Any]) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (event["type"].encode(), encode(event))


def _usage(usage: Usage) -> dict[str, Any]:
    counted: dict[str, Any] = {
        "input_tokens": usage.input_tokens - usage.cache_read_tokens - usage.cache_write_tokens,
        "cache_creation_input_tokens": usage.cache_write_tokens,
        "cache_read_input_tokens": usage.cache_read_tokens,
        "output_tokens": usage.output_tokens,
    }
    if usage.reasoning_tokens:
        counted["output_tokens_details"] = {"thinking_tokens": usage.reasoning_tokens}
    return counted


def _last_words(turns: list[dict[str, Any]]) -> str:
    for turn in reversed(turns):
        if turn["role"] == "user":
            return _text(turn["content"])
    return ""


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    texts = (block["text"] if block["type"] == "text" else _text(block.get("content", ""))
             for block in content if block["type"] in ("text", "tool_result"))
    return "".join(texts)

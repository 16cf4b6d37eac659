"""Bedrock's answers: Converse in one piece, ConverseStream in frames.

Written from its API reference; the shapes are checked against those of Amazon's own SDK in the tests.
"""

from base64 import b64encode
from collections.abc import Iterator
from hashlib import sha256
from json import loads
from typing import Any, NamedTuple

from ailink_provider.chat import Usage
from ailink_provider.testing.bedrock.errors import common_headers
from ailink_provider.testing.bedrock.frames import CONTENT_TYPE, FRAMING, event
from ailink_provider.testing.bedrock.models import Model
from ailink_provider.testing.script import Answer
from ailink_provider.testing.vendor import Stream, Whole, encode, mint

_FRAGMENT = 8  # characters of tool input in one delta
_FINISHES = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use", "content_filter": "content_filtered"}
_METRICS = {"latencyMs": 12}


def converse(name: str, facts: Model, body: dict[str, Any], answer: Answer, serial: int, *,
             streamed: bool) -> Whole | Stream:
    """Answer POST /model/{name}/converse and /converse-stream."""
    blocks = list(_blocks(name, facts, body, answer, serial))
    finish = answer.finish or ("tool_calls" if answer.tool_calls else "content_filter" if answer.refusal else "stop")
    reason = _FINISHES.get(finish, finish)
    ending = {"usage": _usage(answer.usage), "metrics": _METRICS}
    if body.get("serviceTier"):
        ending["serviceTier"] = body["serviceTier"]
    if streamed:
        return Stream(common_headers(serial, CONTENT_TYPE), _frames(blocks, reason, ending), FRAMING)
    message = {"role": "assistant", "content": [block.whole for block in blocks]}
    return Whole(200, common_headers(serial), encode({"output": {"message": message}, "stopReason": reason, **ending}))


def sign(thinking: str, name: str) -> str:
    """Return the signature that this model's reasoning carries: whoever sends it back must send both."""
    return b64encode(sha256(f"bedrock\0{name}\0{thinking}".encode()).digest() * 3).decode()


class _Block(NamedTuple):
    """A content block: as it is in the end, as it starts in a stream, None where nothing announces it, and the deltas
    in between."""

    whole: dict[str, Any]
    opened: dict[str, Any] | None
    deltas: list[dict[str, Any]]


def _blocks(name: str, facts: Model, body: dict[str, Any], answer: Answer, serial: int) -> Iterator[_Block]:
    claude = facts.claude
    if answer.thinking is not None or (claude is not None and claude.always_thinks):
        shown = "" if claude is not None and claude.omits and not _displays(body) else answer.thinking or ""
        yield _thought(shown, sign(shown, name))
    pieces = answer.pieces(_last_words(body["messages"]))
    if answer.refusal is not None:
        pieces = [*pieces, answer.refusal]
    if pieces:
        yield _Block({"text": "".join(pieces)}, None, [{"text": piece} for piece in pieces])
    for index, call in enumerate(answer.tool_calls):
        arguments = call.arguments or "{}"
        opened = {"toolUseId": call.id or mint("tooluse_", 22, serial, index), "name": call.name}
        sent = "" if arguments == "{}" else arguments  # a call without arguments brings none at all
        fragments = [sent[start:start + _FRAGMENT] for start in range(0, len(sent), _FRAGMENT)] or [""]
        yield _Block({"toolUse": {**opened, "input": loads(arguments)}}, {"toolUse": opened},
                     [{"toolUse": {"input": fragment}} for fragment in fragments])


def _displays(body: dict[str, Any]) -> bool:
    thinking = (body.get("additionalModelRequestFields") or {}).get("thinking") or {}
    return bool(thinking.get("display") == "summarized")


def _thought(text: str, signature: str) -> _Block:
    deltas = [{"reasoningContent": {"text": text}}] if text else []
    return _Block({"reasoningContent": {"reasoningText": {"text": text, "signature": signature}}}, None,
                  [*deltas, {"reasoningContent": {"signature": signature}}])


def _frames(blocks: list[_Block], reason: str, ending: dict[str, Any]) -> Iterator[bytes]:
    yield event("messageStart", {"role": "assistant"})
    for index, block in enumerate(blocks):
        at = {"contentBlockIndex": index}
        if block.opened is not None:
            yield event("contentBlockStart", {"start": block.opened, **at})
        for delta in block.deltas:
            yield event("contentBlockDelta", {"delta": delta, **at})
        yield event("contentBlockStop", at)
    yield event("messageStop", {"stopReason": reason})
    yield event("metadata", ending)


def _usage(usage: Usage) -> dict[str, Any]:
    counted: dict[str, Any] = {
        "inputTokens": usage.input_tokens - usage.cache_read_tokens - usage.cache_write_tokens,
        "outputTokens": usage.output_tokens,
        "totalTokens": usage.total_tokens,
    }
    if usage.cache_read_tokens or usage.cache_write_tokens:
        counted |= {"cacheReadInputTokens": usage.cache_read_tokens, "cacheWriteInputTokens": usage.cache_write_tokens}
    return counted


def _last_words(turns: list[dict[str, Any]]) -> str:
    for turn in reversed(turns):
        if turn["role"] == "user":
            inner = [part for block in turn["content"]
                     for part in (block["toolResult"]["content"] if "toolResult" in block else [block])]
            return "".join(part.get("text", "") for part in inner)
    return ""

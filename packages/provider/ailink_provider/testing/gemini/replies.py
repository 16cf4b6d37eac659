"""Gemini's answers: generated content (whole, server-sent events, JSON array), token counts and embeddings.

Written from its API reference; the shapes are checked against its SDK's response types in the tests.
"""

from base64 import b64encode
from collections.abc import Iterator
from hashlib import sha256
from json import loads
from typing import Any

from ailink_provider.chat import ToolCall, Usage
from ailink_provider.testing.gemini.errors import common_headers
from ailink_provider.testing.gemini.models import Model
from ailink_provider.testing.script import Answer
from ailink_provider.testing.vendor import Stream, Whole, encode, mint, unit_vector

PROMPT_BLOCKED = "prompt_blocked"
_FINISHES = {"stop": "STOP", "tool_calls": "STOP", "length": "MAX_TOKENS", "content_filter": "SAFETY"}
_DIMENSIONS = {"gemini-embedding-001": 3072}
_JSON = "application/json; charset=UTF-8"


def generate(model: str, facts: Model, body: dict[str, Any], answer: Answer, serial: int) -> Whole:
    """Answer :generateContent."""
    shared = _shared(model, serial)
    parts = list(_parts(facts, body, answer, serial))
    texts = [part for part in parts if _plain(part)]
    if len(texts) > 1:
        first = parts.index(texts[0])
        joined = {"text": "".join(part["text"] for part in texts)}
        parts = [*parts[:first], joined, *(part for part in parts[first:] if not _plain(part))]
    candidates = _candidates(body, answer, parts, _finish(answer))
    return _whole({**candidates, "usageMetadata": _usage(answer.usage), **shared})


def stream(model: str, facts: Model, body: dict[str, Any], answer: Answer, serial: int, *, sse: bool) -> Stream:
    """Answer :streamGenerateContent, with ``?alt=sse`` or as one JSON array."""
    shared = _shared(model, serial)
    early = {key: value for key, value in _usage(answer.usage).items() if key.startswith(("prompt", "total"))}

    def chunks() -> Iterator[dict[str, Any]]:
        *parts, last = list(_parts(facts, body, answer, serial)) or [{"text": ""}]
        for part in parts if answer.finish != PROMPT_BLOCKED else ():
            yield {**_candidates(body, answer, [part], None), "usageMetadata": early, **shared}
        yield {**_candidates(body, answer, [last], _finish(answer)), "usageMetadata": _usage(answer.usage), **shared}

    if sse:
        return Stream(common_headers("text/event-stream"), (b"data: %b\r\n\r\n" % encode(chunk) for chunk in chunks()))
    return Stream(common_headers(_JSON), _array(chunks()))


def count_tokens(answer: Answer) -> Whole:
    """Answer :countTokens."""
    tokens = answer.usage.input_tokens
    return _whole({"totalTokens": tokens, "promptTokensDetails": [{"modality": "TEXT", "tokenCount": tokens}]})


def embed(model: str, body: dict[str, Any]) -> Whole:
    """Answer :embedContent."""
    return _whole({"embedding": _vector(model, body)})


def batch_embed(model: str, body: dict[str, Any]) -> Whole:
    """Answer :batchEmbedContents."""
    return _whole({"embeddings": [_vector(model, request) for request in body["requests"]]})


def sign(name: str) -> str:
    """Return the thought signature of a call of the function ``name``: it must come back with the call."""
    return b64encode(sha256(f"call {name}".encode()).digest()).decode()


def _parts(facts: Model, body: dict[str, Any], answer: Answer, serial: int) -> Iterator[dict[str, Any]]:
    thinking = (body.get("generationConfig") or {}).get("thinkingConfig") or {}
    if answer.thinking is not None and thinking.get("includeThoughts"):
        yield {"text": answer.thinking, "thought": True}
    for piece in answer.pieces(_last_words(body["contents"])):
        yield {"text": piece}
    for index, call in enumerate(answer.tool_calls):
        yield _call(facts, call, serial, index)
    if facts.signs and not answer.tool_calls:
        yield {"text": "", "thoughtSignature": sign("")}


def _call(facts: Model, call: ToolCall, serial: int, index: int) -> dict[str, Any]:
    function: dict[str, Any] = {"name": call.name, "args": loads(call.arguments or "{}")}
    if call.id or facts.signs:
        function["id"] = call.id or mint("", 8, serial, index).lower()
    # Of parallel calls only the first carries the signature.
    return {"functionCall": function, **({"thoughtSignature": sign(call.name)} if facts.signs and index == 0 else {})}


def _candidates(body: dict[str, Any], answer: Answer, parts: list[dict[str, Any]],
                finish: str | None) -> dict[str, Any]:
    if answer.finish == PROMPT_BLOCKED:
        return {"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}}
    ending = {"finishReason": finish} if finish else {}
    content = {"content": {"parts": parts, "role": "model"}} if finish != "SAFETY" else {}
    count = (body.get("generationConfig") or {}).get("candidateCount") or 1
    return {"candidates": [{**content, **ending, "index": index} for index in range(count)]}


def _finish(answer: Answer) -> str:
    finish = answer.finish or ("content_filter" if answer.refusal is not None else "stop")
    return _FINISHES.get(finish, finish)


def _array(chunks: Iterator[dict[str, Any]]) -> Iterator[bytes]:
    opening = b"["
    for chunk in chunks:
        yield opening + encode(chunk)
        opening = b",\r\n"
    yield b"]"


def _whole(value: dict[str, Any]) -> Whole:
    return Whole(200, common_headers(_JSON), encode(value))


def _shared(model: str, serial: int) -> dict[str, Any]:
    return {"modelVersion": model, "responseId": mint("", 22, serial)}


def _plain(part: dict[str, Any]) -> bool:
    return part.keys() == {"text"}


def _usage(usage: Usage) -> dict[str, Any]:
    counted: dict[str, Any] = {
        "promptTokenCount": usage.input_tokens,
        "candidatesTokenCount": usage.output_tokens - usage.reasoning_tokens,
        "totalTokenCount": usage.total_tokens,
        "promptTokensDetails": [{"modality": "TEXT", "tokenCount": usage.input_tokens}],
    }
    if usage.reasoning_tokens:
        counted["thoughtsTokenCount"] = usage.reasoning_tokens
    if usage.cache_read_tokens:
        counted["cachedContentTokenCount"] = usage.cache_read_tokens
    return counted


def _vector(model: str, request: dict[str, Any]) -> dict[str, Any]:
    text = "".join(part.get("text", "") for part in request["content"].get("parts") or ())
    return {"values": unit_vector(text, request.get("outputDimensionality") or _DIMENSIONS.get(model, 768))}


def _last_words(contents: list[dict[str, Any]]) -> str:
    for content in reversed(contents):
        if content.get("role", "user") == "user":
            return "".join(part.get("text") or "" for part in content["parts"])
    return ""

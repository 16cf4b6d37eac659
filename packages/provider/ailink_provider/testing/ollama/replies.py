"""Ollama's answers: a chat in one piece or as lines of JSON, embeddings, and the models that are there.

Written from its API reference and the types of its Go package ``api``.
"""

from collections.abc import Iterator
from json import loads
from typing import Any

from ailink_provider.chat import ToolCall
from ailink_provider.testing.script import Answer, split_words
from ailink_provider.testing.vendor import GARBAGE, Framing, Stream, Whole, encode, mint, unit_vector

MODELS = ("llama3.1:8b", "qwen3:8b", "gpt-oss:20b", "nomic-embed-text:latest")

_CREATED = "2025-10-09T08:53:20.123456789Z"
_FINISHES = {"tool_calls": "stop", "content_filter": "stop"}
_DURATIONS = {"total_duration": 5_043_500_667, "load_duration": 5_025_959}
_LINES = Framing(GARBAGE + b"\n", lambda line: b"\n" + line[:-1] + b" \r\n")


def chat(body: dict[str, Any], answer: Answer, serial: int) -> Whole | Stream:
    """Answer POST /api/chat; it streams unless it is told not to."""
    talk = _Chat(body, answer, serial)
    if body.get("stream") is False:
        return _whole(talk.whole())
    lines = (encode(line) + b"\n" for line in talk.lines())
    return Stream([("content-type", "application/x-ndjson")], lines, _LINES)


def embed(body: dict[str, Any], answer: Answer, serial: int) -> Whole:
    """Answer POST /api/embed: a unit vector for each input that depends on nothing else."""
    inputs = [body["input"]] if isinstance(body["input"], str) else body["input"]
    vectors = [unit_vector(text, body.get("dimensions") or 768) for text in inputs]
    return _whole({"model": body["model"], "embeddings": vectors, **_DURATIONS,
                   "prompt_eval_count": answer.usage.input_tokens})


def tags() -> Whole:
    """Answer GET /api/tags."""
    details = {"parent_model": "", "format": "gguf", "family": "llama", "families": ["llama"], "parameter_size": "8.0B",
               "quantization_level": "Q4_K_M"}
    listed = [{"name": name, "model": name, "modified_at": _CREATED, "size": 4_920_753_328,
               "digest": mint("", 64, name), "details": details} for name in MODELS]
    return _whole({"models": listed})


class _Chat:
    """One answer, in the words that its whole and its streamed form share."""

    def __init__(self, body: dict[str, Any], answer: Answer, serial: int) -> None:
        self._answer, self._serial = answer, serial
        self._shared = {"model": body["model"], "created_at": _CREATED}
        self._pieces = answer.pieces(_last_words(body["messages"]))
        if answer.refusal is not None:
            self._pieces = [*self._pieces, answer.refusal]
        self._thinking = answer.thinking if body.get("think") else None
        self._logprobs, self._rivals = bool(body.get("logprobs")), body.get("top_logprobs") or 0
        finish = answer.finish or "stop"
        self._ending = {"done": True, "done_reason": _FINISHES.get(finish, finish), **_DURATIONS,
                        "prompt_eval_count": answer.usage.input_tokens, "prompt_eval_duration": 325_953_000,
                        "eval_count": answer.usage.output_tokens, "eval_duration": 4_709_213_000}

    def whole(self) -> dict[str, Any]:
        """Return the body of an answer in one piece."""
        message: dict[str, Any] = {"role": "assistant", "content": "".join(self._pieces)}
        if self._thinking:
            message["thinking"] = self._thinking
        if calls := [self._call(call, index) for index, call in enumerate(self._answer.tool_calls)]:
            message["tool_calls"] = calls
        return {**self._shared, "message": message, **self._chances(self._pieces), **self._ending}

    def lines(self) -> Iterator[dict[str, Any]]:
        """Yield the lines of a streamed answer. A call comes whole, in a line of its own."""
        for piece in split_words(self._thinking or ""):
            yield self._line({"content": "", "thinking": piece})
        for piece in self._pieces:
            yield {**self._line({"content": piece}), **self._chances([piece])}
        for index, call in enumerate(self._answer.tool_calls):
            yield self._line({"content": "", "tool_calls": [self._call(call, index)]})
        yield {**self._line({"content": ""}), **self._ending}

    def _line(self, message: dict[str, Any]) -> dict[str, Any]:
        return {**self._shared, "message": {"role": "assistant", **message}, "done": False}

    def _call(self, call: ToolCall, index: int) -> dict[str, Any]:
        function = {"index": index, "name": call.name, "arguments": loads(call.arguments or "{}")}
        return {"id": call.id or mint("call_", 8, self._serial, index).lower(), "function": function}

    def _chances(self, pieces: list[str]) -> dict[str, Any]:
        if not self._logprobs:
            return {}
        entries = [{"token": piece, "logprob": -0.125, "bytes": list(piece.encode())} for piece in pieces]
        return {"logprobs": [{**entry, "top_logprobs": [entry][:self._rivals]} for entry in entries]}


def _whole(value: dict[str, Any]) -> Whole:
    return Whole(200, [("content-type", "application/json; charset=utf-8")], encode(value))


def _last_words(messages: list[dict[str, Any]]) -> str:
    for message in reversed(messages):
        if message["role"] in ("user", "tool") and message["content"]:
            return str(message["content"])
    return ""

"""OpenAI's answers: chat completions, completions, embeddings and the list of models, whole and streamed.

Written from its API reference; the shapes are checked against its SDK's response types in the tests.
"""

import struct
from base64 import b64encode
from collections.abc import Iterator
from itertools import chain, zip_longest
from typing import Any

from ailink_provider.chat import ToolCall, Usage
from ailink_provider.testing.openai.errors import common_headers
from ailink_provider.testing.script import Answer
from ailink_provider.testing.vendor import CREATED, Stream, Whole, encode, mint, unit_vector

_FINGERPRINT = "fp_ailinkmock"
_DONE = b"data: [DONE]\n\n"
_LOGPROB = -0.125
_FRAGMENT = 8  # characters of tool arguments in one delta
_DIMENSIONS = {"text-embedding-3-large": 3072}

MODELS = ("gpt-5", "gpt-4.1", "gpt-4o", "gpt-4o-mini", "o3", "gpt-3.5-turbo-instruct", "text-embedding-3-small")


def chat(body: dict[str, Any], answer: Answer, serial: int) -> Whole | Stream:
    """Answer POST /v1/chat/completions."""
    talk = _Chat(body, answer, serial)
    return _stream(talk.frames(), serial) if body.get("stream") else _whole(talk.whole(), serial)


def completions(body: dict[str, Any], answer: Answer, serial: int) -> Whole | Stream:
    """Answer POST /v1/completions: one choice for each of ``n`` and each prompt."""
    prompts = body["prompt"] if isinstance(body["prompt"], list) else [body["prompt"]]
    pieces = answer.pieces(str(prompts[-1]))
    count = (body.get("n") or 1) * (len(prompts) if isinstance(prompts[0], str) else 1)
    shared = {"id": mint("cmpl-", 29, serial), "object": "text_completion", "created": CREATED, "model": body["model"]}
    finish = answer.finish or "stop"

    def choice(index: int, text: str, finish: str | None) -> dict[str, Any]:
        return {"text": text, "index": index, "logprobs": None, "finish_reason": finish}

    def frames() -> Iterator[bytes]:
        counted = bool((body.get("stream_options") or {}).get("include_usage"))
        nothing = {"usage": None} if counted else {}
        for index in range(count):
            for piece in pieces:
                yield _frame({**shared, "choices": [choice(index, piece, None)], **nothing})
            yield _frame({**shared, "choices": [choice(index, "", finish)], **nothing})
        if counted:
            yield _frame({**shared, "choices": [], "usage": _usage(answer.usage)})
        yield _DONE

    if body.get("stream"):
        return _stream(frames(), serial)
    choices = [choice(index, "".join(pieces), finish) for index in range(count)]
    return _whole({**shared, "choices": choices, "usage": _usage(answer.usage)}, serial)


def embeddings(body: dict[str, Any], answer: Answer, serial: int) -> Whole:
    """Answer POST /v1/embeddings: a unit vector for each input that depends on nothing else."""
    given = body["input"]
    inputs = [given] if isinstance(given, str) or isinstance(given[0], int) else given
    dimensions = body.get("dimensions") or _DIMENSIONS.get(body["model"], 1536)
    vectors: list[Any] = [unit_vector(str(text), dimensions) for text in inputs]
    if body.get("encoding_format") == "base64":
        vectors = [b64encode(struct.pack(f"<{dimensions}f", *vector)).decode() for vector in vectors]
    data = [{"object": "embedding", "index": index, "embedding": vector} for index, vector in enumerate(vectors)]
    tokens = answer.usage.input_tokens
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return _whole({"object": "list", "data": data, "model": body["model"], "usage": usage}, serial)


def models(names: tuple[str, ...], serial: int) -> Whole:
    """Answer GET /v1/models."""
    return _whole({"object": "list", "data": [_model(name) for name in names]}, serial)


def model(name: str, serial: int) -> Whole:
    """Answer GET /v1/models/{name}."""
    return _whole(_model(name), serial)


class _Chat:
    """One chat completion, in the words that its whole and its streamed form share."""

    def __init__(self, body: dict[str, Any], answer: Answer, serial: int) -> None:
        self._body = body
        self._answer = answer
        self._shared = {
            "id": mint("chatcmpl-", 29, serial), "created": CREATED, "model": body["model"],
            "service_tier": _tier(body), "system_fingerprint": _FINGERPRINT,
        }
        self._pieces = answer.pieces(_last_words(body["messages"]))
        self._legacy = "functions" in body
        custom = {tool["custom"]["name"] for tool in body.get("tools", ()) if tool["type"] == "custom"}
        self._calls = [
            self._call(call, call.name in custom, call.id or mint("call_", 24, serial, index))
            for index, call in enumerate(answer.tool_calls)
        ]

    def whole(self) -> dict[str, Any]:
        """Return the body of an answer in one piece."""
        answer = self._answer
        message: dict[str, Any] = {
            "role": "assistant", "content": "".join(self._pieces) or None, "refusal": answer.refusal, "annotations": [],
        }
        if answer.thinking is not None:
            message["reasoning_content"] = answer.thinking
        if self._calls and self._legacy:
            message["function_call"] = self._calls[0]["function"]
        elif self._calls:
            message["tool_calls"] = self._calls
        choice = {"message": message, "logprobs": self._logprobs(self._pieces), "finish_reason": self._finish()}
        choices = [{"index": index, **choice} for index in range(self._body.get("n") or 1)]
        return {**self._shared, "object": "chat.completion", "choices": choices, "usage": _usage(answer.usage)}

    def frames(self) -> Iterator[bytes]:
        """Yield the events of a streamed answer."""
        options = self._body.get("stream_options") or {}
        extra: dict[str, Any] = {"usage": None} if options.get("include_usage") else {}
        if options.get("include_obfuscation") is not False:
            extra["obfuscation"] = "mock"
        for index in range(self._body.get("n") or 1):
            for delta in self._deltas():
                text = delta.get("content")
                logprobs = self._logprobs([text]) if text else None
                choice = {"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": None}
                yield self._chunk([choice], extra)
            yield self._chunk([{"index": index, "delta": {}, "logprobs": None, "finish_reason": self._finish()}], extra)
        if "usage" in extra:
            yield self._chunk([], {**extra, "usage": _usage(self._answer.usage)})
        yield _DONE

    def _chunk(self, choices: list[dict[str, Any]], extra: dict[str, Any]) -> bytes:
        return _frame({**self._shared, "object": "chat.completion.chunk", "choices": choices, **extra})

    def _deltas(self) -> Iterator[dict[str, Any]]:
        answer = self._answer
        opening: dict[str, Any] = {"role": "assistant", "content": "" if self._pieces else None, "refusal": None}
        calls = self._call_deltas()
        if len(self._calls) == 1 and not self._pieces and answer.thinking is None:
            # A lone call starts in the first chunk already, beside the role.
            opening |= next(calls)
        yield opening
        if answer.thinking is not None:
            yield {"reasoning_content": answer.thinking}
        yield from ({"content": piece} for piece in self._pieces)
        if answer.refusal is not None:
            yield {"refusal": answer.refusal}
        yield from calls

    def _call_deltas(self) -> Iterator[dict[str, Any]]:
        rows = [list(self._one_call_deltas(index, call)) for index, call in enumerate(self._calls)]
        if self._answer.interleave:
            return (delta for row in zip_longest(*rows) for delta in row if delta is not None)
        return chain.from_iterable(rows)

    def _one_call_deltas(self, index: int, call: dict[str, Any]) -> Iterator[dict[str, Any]]:
        kind = call["type"]
        field = "input" if kind == "custom" else "arguments"
        text = call[kind][field]
        first = {"index": index, **call, kind: {**call[kind], field: ""}}
        fragments = [{field: text[start:start + _FRAGMENT]} for start in range(0, len(text), _FRAGMENT)]
        if self._legacy:
            yield {"function_call": first[kind]}
            yield from ({"function_call": fragment} for fragment in fragments)
        else:
            yield {"tool_calls": [first]}
            yield from ({"tool_calls": [{"index": index, kind: fragment}]} for fragment in fragments)

    @staticmethod
    def _call(call: ToolCall, custom: bool, identifier: str) -> dict[str, Any]:
        kind, field = ("custom", "input") if custom else ("function", "arguments")
        return {"id": identifier, "type": kind, kind: {"name": call.name, field: call.arguments}}

    def _finish(self) -> str:
        default = "stop" if not self._calls else "function_call" if self._legacy else "tool_calls"
        return self._answer.finish or default

    def _logprobs(self, pieces: list[str]) -> dict[str, Any] | None:
        if not self._body.get("logprobs"):
            return None

        def entry(token: str) -> dict[str, Any]:
            return {"token": token, "logprob": _LOGPROB, "bytes": list(token.encode())}

        rivals = self._body.get("top_logprobs") or 0
        content = [{**entry(piece), "top_logprobs": [entry(piece)][:rivals]} for piece in pieces]
        return {"content": content, "refusal": None}


def _whole(value: dict[str, Any], serial: int) -> Whole:
    return Whole(200, [("content-type", "application/json"), *common_headers(serial)], encode(value))


def _stream(frames: Iterator[bytes], serial: int) -> Stream:
    return Stream([("content-type", "text/event-stream; charset=utf-8"), *common_headers(serial)], frames)


def _frame(value: dict[str, Any]) -> bytes:
    return b"data: %b\n\n" % encode(value)


def _model(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": CREATED, "owned_by": "system"}


def _tier(body: dict[str, Any]) -> str:
    asked = body.get("service_tier") or "auto"
    return {"auto": "default", "fast": "priority"}.get(asked, asked)


def _usage(usage: Usage) -> dict[str, Any]:
    return {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.total_tokens,
        "prompt_tokens_details": {
            "cached_tokens": usage.cache_read_tokens,
            "cache_write_tokens": usage.cache_write_tokens,
            "audio_tokens": usage.input_audio_tokens,
        },
        "completion_tokens_details": {
            "reasoning_tokens": usage.reasoning_tokens,
            "audio_tokens": usage.output_audio_tokens,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


def _last_words(messages: list[dict[str, Any]]) -> str:
    for message in reversed(messages):
        content = message.get("content")
        if message["role"] in ("user", "tool", "function") and content:
            parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
            return "".join(part["text"] for part in parts if part["type"] == "text")
    return ""

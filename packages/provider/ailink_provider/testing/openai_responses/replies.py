"""The answers of OpenAI's Responses API, whole and as events.

Written from its API reference; the shapes are checked against its SDK's response types in the tests.
"""

from base64 import urlsafe_b64encode
from collections.abc import Iterator
from hashlib import sha256
from itertools import chain, zip_longest
from typing import Any, TypeAlias

from ailink_provider.chat import ToolCall, Usage
from ailink_provider.testing.openai.errors import common_headers
from ailink_provider.testing.script import Answer, split_words
from ailink_provider.testing.vendor import CREATED, Stream, Whole, encode, mint

ENCRYPTED = "reasoning.encrypted_content"
_FRAGMENT = 8  # characters of tool arguments in one delta
_LOGPROB = -0.125
# finish -> (the status, the reason why it is not complete)
_FINISHES = {"length": ("incomplete", "max_output_tokens"), "content_filter": ("incomplete", "content_filter")}

Item: TypeAlias = dict[str, Any]
Events: TypeAlias = Iterator[dict[str, Any]]


def respond(body: dict[str, Any], answer: Answer, serial: int) -> Whole | Stream:
    """Answer POST /v1/responses."""
    response = _Response(body, answer, serial)
    if not body.get("stream"):
        headers = [("content-type", "application/json"), *common_headers(serial)]
        return Whole(200, headers, encode(response.whole()))
    headers = [("content-type", "text/event-stream; charset=utf-8"), *common_headers(serial)]
    return Stream(headers, _numbered(response.events()))


def seal(identifier: str, summary: str) -> str:
    """Return the encrypted content of a reasoning item: it must come back with the item's id and summary."""
    return "gAAAAA" + urlsafe_b64encode(sha256(f"{identifier}\0{summary}".encode()).digest() * 2).decode()


def summary_of(item: Item) -> str:
    """Return the text of a reasoning item's summary."""
    return "\n\n".join(section["text"] for section in item["summary"])


def frame(event: dict[str, Any]) -> bytes:
    """Return the bytes of an event."""
    return b"event: %b\ndata: %b\n\n" % (event["type"].encode(), encode(event))


class _Response:
    """One response, in the words that its whole and its streamed form share."""

    def __init__(self, body: dict[str, Any], answer: Answer, serial: int) -> None:
        self._body, self._answer, self._serial = body, answer, serial
        self._pieces = answer.pieces(_last_words(body.get("input", "")))
        self._logprobs = "message.output_text.logprobs" in (body.get("include") or ())
        custom = {tool["name"] for tool in body.get("tools") or () if tool["type"] == "custom"}
        self._calls = [self._call(call, call.name in custom, index) for index, call in enumerate(answer.tool_calls)]

    def whole(self, status: str | None = None, output: list[Item] | None = None) -> dict[str, Any]:
        """Return the response; while it is under way with a ``status`` and what there is of the output."""
        body, answer = self._body, self._answer
        finished, reason = _FINISHES.get(answer.finish or "", ("completed", None))
        reasoning = body.get("reasoning") or {}
        return {
            "id": mint("resp_", 48, self._serial), "object": "response", "created_at": CREATED,
            "status": status or finished, "background": False, "error": None,
            "incomplete_details": {"reason": reason} if reason and status is None else None,
            "instructions": body.get("instructions"), "max_output_tokens": body.get("max_output_tokens"),
            "max_tool_calls": None, "model": body["model"],
            "output": self._items() if output is None else output,
            "parallel_tool_calls": body.get("parallel_tool_calls", True), "previous_response_id": None,
            "prompt_cache_key": body.get("prompt_cache_key"),
            "reasoning": {"effort": reasoning.get("effort"), "summary": reasoning.get("summary")},
            "service_tier": _tier(body), "store": body.get("store", True), "temperature": body.get("temperature", 1.0),
            "text": {"format": {"type": "text"}, "verbosity": "medium", **(body.get("text") or {})},
            "tool_choice": body.get("tool_choice", "auto"), "tools": body.get("tools") or [],
            "top_logprobs": body.get("top_logprobs", 0), "top_p": body.get("top_p", 1.0), "truncation": "disabled",
            "usage": _usage(answer.usage) if status is None else None, "user": body.get("user"),
            "metadata": body.get("metadata") or {},
        }

    def events(self) -> Events:
        """Yield the events of a streamed response, without their numbers."""
        begun = self.whole("in_progress", [])
        yield {"type": "response.created", "response": begun}
        yield {"type": "response.in_progress", "response": begun}
        items = self._items()
        first_call = len(items) - len(self._calls)
        for place, item in enumerate(items[:first_call]):
            yield from self._thought(place, item) if item["type"] == "reasoning" else self._message(place, item)
        rows = [list(self._called(first_call + index, item)) for index, item in enumerate(self._calls)]
        mixed = self._answer.interleave
        steps = (step for row in zip_longest(*rows) for step in row if step) if mixed else chain.from_iterable(rows)
        yield from steps
        done = self.whole()
        yield {"type": f"response.{done['status']}", "response": done}

    # --- items -----------------------------------------------------------------------------------

    def _items(self) -> list[Item]:
        return [*self._thoughts(), *self._messages(), *self._calls]

    def _thoughts(self) -> list[Item]:
        if self._answer.thinking is None:
            return []
        # The thoughts themselves stay with the vendor; a summary is shown to who asks for one.
        shown = (self._body.get("reasoning") or {}).get("summary") is not None
        item: Item = {"id": mint("rs_", 48, self._serial), "type": "reasoning", "summary": [
            {"type": "summary_text", "text": self._answer.thinking}] if shown else []}
        if ENCRYPTED in (self._body.get("include") or ()):
            item["encrypted_content"] = seal(item["id"], summary_of(item))
        return [item]

    def _messages(self) -> list[Item]:
        content: list[Item] = []
        if self._pieces:
            content.append({"type": "output_text", "text": "".join(self._pieces), "annotations": [],
                            "logprobs": self._entries(self._pieces)})
        if self._answer.refusal is not None:
            content.append({"type": "refusal", "refusal": self._answer.refusal})
        if not content:
            return []
        return [{"id": mint("msg_", 48, self._serial), "type": "message", "status": "completed", "role": "assistant",
                 "content": content}]

    def _call(self, call: ToolCall, custom: bool, index: int) -> Item:
        kind, field, prefix = ("custom_tool_call", "input", "ctc_") if custom else ("function_call", "arguments", "fc_")
        return {"id": mint(prefix, 48, self._serial, index), "type": kind, "status": "completed",
                "call_id": call.id or mint("call_", 24, self._serial, index), "name": call.name,
                field: call.arguments or ("" if custom else "{}")}

    def _entries(self, pieces: list[str]) -> list[dict[str, Any]]:
        if not self._logprobs:
            return []
        rivals = self._body.get("top_logprobs") or 0
        entries = [{"token": piece, "logprob": _LOGPROB, "bytes": list(piece.encode())} for piece in pieces]
        return [{**entry, "top_logprobs": [entry][:rivals]} for entry in entries]

    # --- events ----------------------------------------------------------------------------------

    def _thought(self, place: int, item: Item) -> Events:
        yield _event("output_item.added", place, item={**item, "summary": []})
        for index, section in enumerate(item["summary"]):
            at = {"item_id": item["id"], "summary_index": index}
            yield _event("reasoning_summary_part.added", place, part={**section, "text": ""}, **at)
            for piece in split_words(section["text"]):
                yield _event("reasoning_summary_text.delta", place, delta=piece, obfuscation="mock", **at)
            yield _event("reasoning_summary_text.done", place, text=section["text"], **at)
            yield _event("reasoning_summary_part.done", place, part=section, **at)
        yield _event("output_item.done", place, item=item)

    def _message(self, place: int, item: Item) -> Events:
        yield _event("output_item.added", place, item={**item, "status": "in_progress", "content": []})
        for index, part in enumerate(item["content"]):
            at = {"item_id": item["id"], "content_index": index}
            kind = part["type"]
            field = "text" if kind == "output_text" else "refusal"
            empty: dict[str, Any] = {"logprobs": []} if kind == "output_text" else {}
            yield _event("content_part.added", place, part={**part, field: "", **empty}, **at)
            for piece in self._pieces if kind == "output_text" else split_words(part["refusal"]):
                said = {"logprobs": self._entries([piece])} if empty else {}
                yield _event(f"{kind}.delta", place, delta=piece, obfuscation="mock", **said, **at)
            yield _event(f"{kind}.done", place, **{field: part[field]}, **empty, **at)
            yield _event("content_part.done", place, part=part, **at)
        yield _event("output_item.done", place, item=item)

    def _called(self, place: int, item: Item) -> Events:
        custom = item["type"] == "custom_tool_call"
        field, word = ("input", "custom_tool_call_input") if custom else ("arguments", "function_call_arguments")
        at, text = {"item_id": item["id"]}, item[field]
        named = {} if custom else {"name": item["name"]}
        yield _event("output_item.added", place, item={**item, "status": "in_progress", field: ""})
        for start in range(0, len(text), _FRAGMENT):
            yield _event(f"{word}.delta", place, delta=text[start:start + _FRAGMENT], obfuscation="mock", **at)
        yield _event(f"{word}.done", place, **{field: text}, **named, **at)
        yield _event("output_item.done", place, item=item)


def _event(kind: str, place: int, **members: Any) -> dict[str, Any]:
    return {"type": f"response.{kind}", "output_index": place, **members}


def _numbered(events: Events) -> Iterator[bytes]:
    return (frame({**event, "sequence_number": number}) for number, event in enumerate(events))


def _tier(body: dict[str, Any]) -> str:
    asked = body.get("service_tier") or "auto"
    return {"auto": "default", "fast": "priority"}.get(asked, asked)


def _usage(usage: Usage) -> dict[str, Any]:
    return {
        "input_tokens": usage.input_tokens,
        "input_tokens_details": {"cached_tokens": usage.cache_read_tokens,
                                 "cache_write_tokens": usage.cache_write_tokens},
        "output_tokens": usage.output_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
        "total_tokens": usage.total_tokens,
    }


def _last_words(given: Any) -> str:
    if isinstance(given, str):
        return given
    for item in reversed(given):
        content = item.get("output") if item.get("type", "").endswith("_output") else item.get("content")
        if item.get("role", "user") != "assistant" and content:
            parts = [{"text": content}] if isinstance(content, str) else content
            return "".join(part.get("text", "") for part in parts)
    return ""

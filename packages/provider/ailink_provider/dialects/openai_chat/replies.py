"""Whole replies, read and written; and what streams share with them: finish reasons, log-probabilities.

Reading is lenient where services that resemble OpenAI differ; writing is exact.
"""

import time
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import msgspec

from ailink_provider.chat import (
    Chat,
    Choice,
    Finish,
    FinishReason,
    Media,
    Native,
    Part,
    Refusal,
    Reply,
    Text,
    Thinking,
    TokenLogprob,
    ToolCall,
)
from ailink_provider.dialects import Sent
from ailink_provider.dialects.members import as_count, as_object, as_objects, as_text
from ailink_provider.dialects.openai_chat import errors, reasoning
from ailink_provider.dialects.openai_chat.messages import read_signature, write_call, write_signature
from ailink_provider.dialects.openai_chat.parts import data_url, read_image_url
from ailink_provider.dialects.openai_chat.usage import read_usage, write_usage
from ailink_provider.dialects.openai_chat.words import NAME
from ailink_provider.errors import Failure

_FINISHES: dict[str, FinishReason] = {
    "stop": "stop", "length": "length", "tool_calls": "tool_calls", "function_call": "tool_calls",
    "content_filter": "content_filter", "model_length": "length", "max_tokens": "length",
}
_FINISH_WORDS: dict[FinishReason, str] = {"pause": "stop"}
_TIERS = {"standard": "default"}


def read_reply(body: dict[str, Any], sent: Sent) -> Reply:
    """Return the canonical reply. Raises ``Failure`` if the body is an error or no reply at all."""
    choices = as_objects(as_object(body).get("choices"))
    if not choices:
        if as_object(body).get("error"):
            raise errors.stream_error(body)
        raise Failure("upstream_failed", "The upstream's answer has no choices.")
    for choice in choices:
        if choice.get("error"):
            raise errors.stream_error(choice)
    choices.sort(key=lambda choice: as_count(choice.get("index")))
    return Reply(as_text(body.get("id")), as_text(body.get("model")), as_count(body.get("created")),
                 [_read_choice(choice, sent) for choice in choices], read_usage(body.get("usage")),
                 as_text(body.get("service_tier")) or None)


def _read_choice(source: dict[str, Any], sent: Sent) -> Choice:
    message = as_object(source.get("message"))
    parts: list[Part] = list(reasoning.read_thoughts(message))
    parts += spoken(message)
    if annotations := read_annotations(message):
        text = next((part for part in parts if isinstance(part, Text)), None)
        if text is None:
            text = Text("")
            parts.append(text)
        text.annotations = annotations
    parts += images(message)
    if (audio := as_object(message.get("audio"))):
        parts.append(Native(NAME, {"audio": audio}))
    for call in as_objects(message.get("tool_calls")):
        parts.append(_read_call(call, sent))
    if (legacy := as_object(message.get("function_call"))):
        parts.append(_read_call({"function": legacy}, sent))
    called = any(isinstance(part, ToolCall) for part in parts)
    finish = read_finish(source, called) or Finish("tool_calls" if called else "stop")
    return Choice(parts, finish, read_logprobs(source.get("logprobs")))


def _read_call(source: dict[str, Any], sent: Sent) -> ToolCall:
    identifier, name, arguments = call_pieces(source)
    call = ToolCall(identifier or new_call_id(), sent.names.get(name, name), arguments, is_custom(source))
    call.signature, call.signed_by = read_signature(source)
    return call


def spoken(message: dict[str, Any]) -> list[Text | Thinking | Refusal]:
    """Return what a message or a delta says, adjacent texts joined. Mistral's content is a list, thoughts included."""
    content = message.get("content")
    said: list[Text | Thinking | Refusal] = [Text(as_text(content))]
    for part in as_objects(content):
        inner = part.get("thinking")
        if inner is None:
            said.append(Text(as_text(part.get("text"))))
        else:
            texts = [inner] if isinstance(inner, str) else [thought.get("text") for thought in as_objects(inner)]
            said.append(Thinking("".join(map(as_text, texts)), signed_by=NAME))
    said.append(Refusal(as_text(message.get("refusal"))))
    parts: list[Text | Thinking | Refusal] = []
    for piece in said:
        if parts and type(parts[-1]) is type(piece):
            parts[-1].text += piece.text
        elif piece.text:
            parts.append(piece)
    return parts


def read_annotations(message: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the citations of a message or a delta. What is said of a web page is taken out of its wrapping."""
    return [{"type": "url_citation"} | inner if (inner := as_object(note.get("url_citation"))) else note
            for note in as_objects(message.get("annotations"))]


def images(message: dict[str, Any]) -> Iterator[Media]:
    """Yield the pictures a model drew, where OpenRouter puts them."""
    for image in as_objects(message.get("images")):
        try:
            yield read_image_url(image.get("image_url"), "images")
        except Failure:
            continue  # no picture that anyone could show


def call_pieces(source: dict[str, Any]) -> tuple[str, str, str]:
    """Return id, name and arguments of a call, or of a piece of one; "" where absent."""
    inner = as_object(source.get("function")) or as_object(source.get("custom"))
    arguments = inner.get("arguments", inner.get("input"))
    if isinstance(arguments, dict | list):
        arguments = msgspec.json.encode(arguments).decode()  # some servers send the object itself
    return as_text(source.get("id")), as_text(inner.get("name")), as_text(arguments)


def is_custom(source: dict[str, Any]) -> bool:
    """Return whether a call is one of a free-text tool."""
    return source.get("type") == "custom" or (bool(source.get("custom")) and not source.get("function"))


def new_call_id() -> str:
    """Return an id for a call that came without one: results are matched by it in turns to come."""
    return f"call_{uuid4().hex[:24]}"


def read_finish(source: dict[str, Any], called: bool) -> Finish | None:
    """Return why a choice ended, None if it has not. A "stop" after tool calls, as some servers have it, is a call."""
    word = as_text(source.get("finish_reason"))
    if not word:
        return None
    reason = _FINISHES.get(word, "stop")
    if reason == "stop" and called:
        reason = "tool_calls"
    native = as_text(source.get("native_finish_reason")) or word
    return Finish(reason, native, as_text(source.get("stop_reason")) or None)  # vLLM names the sequence it met


def read_logprobs(value: Any) -> list[TokenLogprob] | None:
    """Return a choice's log-probabilities, None if it has none."""
    content = as_object(value).get("content")
    return [_read_logprob(entry) for entry in as_objects(content)] if isinstance(content, list) else None


def _read_logprob(entry: dict[str, Any]) -> TokenLogprob:
    number, octets = entry.get("logprob"), entry.get("bytes")
    return TokenLogprob(
        as_text(entry.get("token")), float(number) if isinstance(number, int | float) else 0.0,
        [as_count(octet) for octet in octets] if isinstance(octets, list) else None,
        [_read_logprob(rival) for rival in as_objects(entry.get("top_logprobs"))])


def write_logprobs(logprobs: list[TokenLogprob]) -> dict[str, Any]:
    """Return the ``logprobs`` object of a choice."""
    return {"content": [_rival(entry) | {"top_logprobs": [_rival(rival) for rival in entry.top]}
                        for entry in logprobs], "refusal": None}


def _rival(entry: TokenLogprob) -> dict[str, Any]:
    return {"token": entry.token, "logprob": entry.logprob, "bytes": entry.bytes}


def write_reply(reply: Reply, chat: Chat) -> dict[str, Any]:
    """Return the client's body."""
    return head(reply.id, reply.model or chat.model, reply.created, "chat.completion", "chatcmpl") | {
        "choices": [_write_choice(choice, index, chat) for index, choice in enumerate(reply.choices)],
    } | ({"usage": write_usage(reply.usage)} if reply.usage is not None else {}) | tier(reply.service_tier)


def head(identifier: str, model: str, created: int, kind: str, prefix: str) -> dict[str, Any]:
    """Return the members every reply and every chunk starts with; those that an upstream does not give are made."""
    return {"id": identifier or f"{prefix}-{uuid4().hex}", "object": kind, "created": created or int(time.time()),
            "model": model}


def tier(name: str | None) -> dict[str, Any]:
    """Return the member that says how a request was served."""
    return {"service_tier": _TIERS.get(name, name)} if name else {}


def _write_choice(choice: Choice, index: int, chat: Chat) -> dict[str, Any]:
    finish = choice.finish or Finish("stop")
    return {"index": index, "message": _write_message(choice, finish, chat),
            "logprobs": write_logprobs(choice.logprobs) if choice.logprobs is not None else None,
            } | write_finish(finish, chat.legacy_functions)


def _write_message(choice: Choice, finish: Finish, chat: Chat) -> dict[str, Any]:
    parts = choice.parts
    calls = [part for part in parts if isinstance(part, ToolCall)]
    text, citations = "", []
    for part in parts:
        if isinstance(part, Text):
            for annotation in part.annotations or ():
                citations += citation(annotation, len(text), len(text) + len(part.text))
            text += part.text
    refusal = "".join(part.text for part in parts if isinstance(part, Refusal)) or finish.explanation
    message: dict[str, Any] = {"role": "assistant", "content": text if text or not (calls or refusal) else None,
                               "refusal": refusal}
    message |= reasoning.reply_fields(part for part in parts if isinstance(part, Thinking))
    if citations:
        message["annotations"] = citations
    if (drawn := [write_image(part) for part in parts if isinstance(part, Media) and part.kind == "image"]):
        message["images"] = drawn
    for part in parts:
        if isinstance(part, Native) and part.dialect == NAME:
            message |= part.value
    if calls and chat.legacy_functions:
        message["function_call"] = write_call(calls[0], "", calls[0].name)["function"]
    elif calls:
        message["tool_calls"] = [write_call(call, call.id, call.name) | write_signature(call) for call in calls]
    return message


def write_finish(finish: Finish, legacy: bool) -> dict[str, Any]:
    """Return the members that say why a choice ended; the upstream's own word is kept where it says more."""
    word = _FINISH_WORDS.get(finish.reason, finish.reason)
    if word == "tool_calls" and legacy:
        word = "function_call"
    native = {"native_finish_reason": finish.native} if finish.native not in (None, word) else {}
    return {"finish_reason": word} | native


def citation(annotation: dict[str, Any], start: int, end: int) -> list[dict[str, Any]]:
    """Return the ``url_citation`` for any dialect's citation of a web page, none for one of something else.

    ``start`` and ``end`` bound the text it stands on, in characters of the whole content; a citation may know better.
    """
    url = as_text(annotation.get("url"))
    if not url:
        return []
    first, last = annotation.get("start_index"), annotation.get("end_index")
    if isinstance(first, int) and isinstance(last, int):
        start, end = start + first, start + last
    more = annotation if annotation.get("type") == "url_citation" else {}
    inner = {key: value for key, value in more.items() if key != "type"} | {
        "url": url, "title": as_text(annotation.get("title")) or url, "start_index": start, "end_index": end}
    return [{"type": "url_citation", "url_citation": inner}]


def write_image(media: Media) -> dict[str, Any]:
    """Return a picture as OpenRouter's clients expect it."""
    return {"type": "image_url", "image_url": {"url": media.url or data_url(media)}}

"""Whole replies, read and written; and what streams share with the reading: items of the output, and why it ended."""

from collections.abc import Iterator
from typing import Any

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
    TokenLogprob,
    ToolCall,
    unfold,
)
from ailink_provider.dialects import Sent
from ailink_provider.dialects.members import as_count, as_object, as_objects, as_text
from ailink_provider.dialects.openai_responses import figures, reasoning
from ailink_provider.dialects.openai_responses.answer import Answer
from ailink_provider.dialects.openai_responses.errors import refusal_of
from ailink_provider.dialects.openai_responses.fields import NAME
from ailink_provider.dialects.openai_responses.items import CALLS, call_extra
from ailink_provider.errors import Failure

# Why a reply is incomplete -> why it ended. After any other reason it can be gone on with.
_INCOMPLETE: dict[str, FinishReason] = {"max_output_tokens": "length", "content_filter": "content_filter"}


def read_reply(body: dict[str, Any], sent: Sent) -> Reply:
    """Return the canonical reply. Raises ``Failure`` if the body is an error, a reply that failed, or no reply."""
    response = as_object(body)
    if response.get("error"):
        raise refusal_of(response)
    if not isinstance(response.get("output"), list):
        raise Failure("upstream_failed", "The upstream's answer has no output.")
    items = as_objects(response["output"])
    parts = [part for item in items for _, part in read_item(item, sent)]
    logprobs = [entry for item in items for entry in read_item_logprobs(item)]
    finish = read_finish(response, any(isinstance(part, ToolCall) for part in parts))
    return Reply(as_text(response.get("id")), as_text(response.get("model")), created_at(response),
                 [Choice(parts, finish, logprobs or None)], figures.read_usage(response.get("usage")),
                 as_text(response.get("service_tier")) or None)


def created_at(response: dict[str, Any]) -> int:
    """Return when a reply was begun, in Unix seconds; some servers give fractions."""
    value = response.get("created_at")
    return as_count(int(value) if isinstance(value, float) and 0 <= value < 1e12 else value)


def read_finish(response: dict[str, Any], called: bool) -> Finish:
    """Return why a reply ended. Raises ``Failure`` if it failed, or has not ended."""
    match as_text(response.get("status")) or "completed":
        case "completed" as status:
            return Finish("tool_calls" if called else "stop", status)
        case "incomplete" as status:
            reason = as_text(as_object(response.get("incomplete_details")).get("reason"))
            return Finish(_INCOMPLETE.get(reason, "pause"), reason or status)
        case "failed":
            raise refusal_of(as_object(response.get("error")))
        case status:
            raise Failure("upstream_failed", f"The upstream's reply is not complete; its status is '{status[:20]}'.")


def read_item(item: dict[str, Any], sent: Sent) -> Iterator[tuple[int, Part]]:
    """Yield the parts of an item of the output, each with its place in the item."""
    kind = as_text(item.get("type"))
    if kind == "message":
        for index, content in enumerate(as_objects(item.get("content"))):
            if (said := read_said(content)) is not None:
                yield index, said
    elif kind == "reasoning":
        yield 0, reasoning.read_output(item)
    elif kind in CALLS:
        yield 0, read_call(item, sent)
    elif kind == "image_generation_call" and as_text(item.get("result")):
        yield 0, Media("image", f"image/{as_text(item.get('output_format')) or 'png'}", item["result"])
    elif kind:
        yield 0, Native(NAME, item)


def read_said(content: dict[str, Any]) -> Text | Refusal | None:
    """Return a part of a message's content, None if it is of an unknown kind."""
    match content.get("type"):
        case "output_text":
            return Text(as_text(content.get("text")), annotations=as_objects(content.get("annotations")) or None)
        case "refusal":
            return Refusal(as_text(content.get("refusal")))
        case _:
            return None


def read_call(item: dict[str, Any], sent: Sent) -> ToolCall:
    """Return a call of one of the client's tools, with what is known of its arguments."""
    kind, name = as_text(item.get("type")), as_text(item.get("name"))
    identifier = as_text(item.get("call_id")) or as_text(item.get("id"))
    return ToolCall(identifier, sent.names.get(name, name), as_text(item.get(CALLS[kind])), kind == "custom_tool_call",
                    extra=call_extra(item))


def read_item_logprobs(item: dict[str, Any]) -> Iterator[TokenLogprob]:
    """Yield the log-probabilities of what a message says."""
    if item.get("type") == "message":
        for content in as_objects(item.get("content")):
            yield from figures.read_logprobs(content.get("logprobs"))


def write_reply(reply: Reply, chat: Chat) -> dict[str, Any]:
    """Return the client's body: what a stream of the reply would end with."""
    answer = Answer(chat)
    for event in unfold(reply):
        for _ in answer.take(event):
            pass
    return answer.response

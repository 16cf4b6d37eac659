"""Whole replies, both ways, and the blocks and endings that streams share with them.

Source: `Message` of the vendor's SDK 2.11. A block without a canonical word is carried unread.
"""

from typing import Any
from uuid import uuid4

import msgspec
from msgspec import Struct

from ailink_provider.chat import (
    Chat,
    Choice,
    Finish,
    Native,
    Part,
    Refusal,
    Reply,
    Text,
    Thinking,
    ToolCall,
    Usage,
)
from ailink_provider.dialects import Sent
from ailink_provider.dialects.anthropic_messages.errors import failure_of
from ailink_provider.dialects.anthropic_messages.parts import tool_use_extra
from ailink_provider.dialects.anthropic_messages.usage import WireUsage, write_usage
from ailink_provider.dialects.anthropic_messages.words import CITATIONS, FINISH, NAME, STOP, call_id
from ailink_provider.dialects.arguments import free_text
from ailink_provider.dialects.seals import seal
from ailink_provider.errors import Failure

_UNDERSTOOD = ("text", "thinking", "redacted_thinking", "tool_use")


class Ending(Struct):
    """How a message ended, as it stands in a message and in a ``message_delta``."""

    stop_reason: str | None = None
    stop_sequence: str | None = None
    stop_details: dict[str, Any] | None = None

    def finish(self, sent: Sent, called: bool) -> Finish | None:
        """Return the canonical reason. ``called`` tells whether a tool of the client's was called."""
        if self.stop_reason is None:
            return None
        explanation = (self.stop_details or {}).get("explanation")
        reason = FINISH.get(self.stop_reason, "stop")
        if reason == "tool_calls" and sent.schema_tool is not None and not called:
            reason = "stop"
        return Finish(reason, self.stop_reason, self.stop_sequence,
                      explanation if isinstance(explanation, str) else None)


class WireMessage(Ending):
    """A message, whole or as a stream begins it. The blocks of its content are read one by one."""

    id: str = ""
    model: str = ""
    content: list[dict[str, Any]] = []
    usage: WireUsage | None = None


class _Block(Struct):
    type: str
    text: str = ""
    thinking: str = ""
    signature: str | None = None
    data: str | None = None
    id: str = ""
    name: str = ""
    input: dict[str, Any] | None = None
    citations: list[dict[str, Any]] | None = None


class _Count(Struct):
    input_tokens: int


# --- reading -------------------------------------------------------------------------------------


def read_reply(body: dict[str, Any], sent: Sent) -> Reply:
    """Return the canonical reply. Raises ``Failure`` if the body is an error, or no message."""
    if isinstance(body.get("error"), dict):
        raise failure_of(body["error"])
    if "content" not in body:
        raise _unreadable("it has no content")
    try:
        message = msgspec.convert(body, WireMessage)
    except msgspec.ValidationError as error:
        raise _unreadable(str(error)) from None
    parts = [read_block(block, sent) for block in message.content]
    usage = message.usage or WireUsage()
    finish = message.finish(sent, called=any(isinstance(part, ToolCall) for part in parts))
    return Reply(message.id, message.model, choices=[Choice(parts, finish)],
                 usage=usage.canonical() if message.usage else None, service_tier=usage.tier())


def read_block(value: dict[str, Any], sent: Sent) -> Part:
    """Return the part of a block of a reply; the tool that stands in for structured output becomes text."""
    kind = value.get("type")
    if isinstance(kind, str) and kind not in _UNDERSTOOD:
        return Native(NAME, value)
    try:
        block = msgspec.convert(value, _Block)
    except msgspec.ValidationError as error:
        raise _unreadable(str(error)) from None
    match block.type:
        case "text":
            return Text(block.text, annotations=block.citations or None)
        case "thinking":
            return Thinking(block.thinking, signature=block.signature or None, signed_by=NAME)
        case "redacted_thinking":
            return Thinking(redacted=block.data, signed_by=NAME)
        case _:
            arguments = msgspec.json.encode(block.input or {}).decode()
            if block.name == sent.schema_tool:
                return Text(arguments)
            custom = block.name in sent.custom
            return ToolCall(block.id, sent.names.get(block.name, block.name),
                            free_text(arguments) if custom else arguments, custom, extra=tool_use_extra(value))


def read_count(body: dict[str, Any]) -> Reply:
    """Return a reply whose usage holds the counted input tokens."""
    if isinstance(body.get("error"), dict):
        raise failure_of(body["error"])
    try:
        count = msgspec.convert(body, _Count)
    except msgspec.ValidationError as error:
        raise _unreadable(str(error)) from None
    return Reply(usage=Usage(input_tokens=count.input_tokens))


def _unreadable(why: str) -> Failure:
    return Failure("upstream_failed", f"The upstream's answer is not a message: {why}.")


# --- writing -------------------------------------------------------------------------------------


def write_reply(reply: Reply, request: Chat) -> dict[str, Any]:
    """Return the message of a reply's first choice; this dialect has no others."""
    choice = reply.choices[0] if reply.choices else Choice()
    content = [block for part in choice.parts if (block := write_block(part)) is not None]
    return {
        "id": reply.id or new_id(), "type": "message", "role": "assistant", "model": reply.model or request.model,
        "content": content,
        **write_ending(choice.finish, called=any(block["type"] == "tool_use" for block in content)),
        "usage": write_usage(reply.usage, reply.service_tier),
    }


def new_id() -> str:
    """Return an id for a message of an upstream that gives none."""
    return f"msg_{uuid4().hex}"


def write_ending(finish: Finish | None, called: bool) -> dict[str, Any]:
    """Return the members that say why a message ended. ``called`` tells whether it calls a tool."""
    reason = finish.reason if finish is not None else "stop"
    if reason == "stop" and called:
        # Other vendors end a forced call with "stop"; clients of this dialect run tools only on "tool_use".
        reason = "tool_calls"
    stop_sequence = finish.stop_sequence if finish is not None else None
    word = "stop_sequence" if reason == "stop" and stop_sequence is not None else STOP[reason]
    if finish is not None and finish.native is not None and FINISH.get(finish.native) == reason:
        word = finish.native
    ending: dict[str, Any] = {"stop_reason": word, "stop_sequence": stop_sequence}
    if finish is not None and finish.explanation is not None:
        ending["stop_details"] = {"type": "refusal", "category": None, "explanation": finish.explanation}
    return ending


def write_block(part: Part) -> dict[str, Any] | None:
    """Return the block of a part, None where it would be empty or the part has no place in a reply."""
    if isinstance(part, Text | Refusal):
        return _text_block(part) if part.text else None
    if isinstance(part, Thinking):
        return thinking_block(part)
    if isinstance(part, ToolCall):
        return {**tool_use_block(part), "input": _input(part.arguments)}
    if isinstance(part, Native) and part.dialect == NAME:
        return part.value
    return None


def _text_block(part: Text | Refusal) -> dict[str, Any]:
    notes = part.annotations if isinstance(part, Text) else None
    citations = [citation for note in notes or () if (citation := write_citation(note)) is not None]
    return {"type": "text", "text": part.text, **({"citations": citations} if citations else {})}


def write_citation(annotation: dict[str, Any]) -> dict[str, Any] | None:
    """Return the citation for an annotation: this dialect's as it is, any other's if it is of a web page."""
    if annotation.get("type") in CITATIONS:
        return annotation
    url, title = annotation.get("url"), annotation.get("title")
    if not isinstance(url, str) or not url:
        return None
    return {"type": "web_search_result_location", "url": url, "title": title if isinstance(title, str) else None,
            "cited_text": "", "encrypted_index": ""}


def thinking_block(part: Thinking) -> dict[str, Any] | None:
    """Return the block of a thought. Its proof is kept for the dialect that signed it, whichever that was."""
    if part.redacted is not None:
        return {"type": "redacted_thinking", "data": seal(part.redacted, part.signed_by, NAME)}
    if not part.text and not part.signature:
        return None
    return {"type": "thinking", "thinking": part.text, "signature": seal(part.signature or "", part.signed_by, NAME)
            if part.signature else ""}


def tool_use_block(part: ToolCall) -> dict[str, Any]:
    """Return the block of a tool call, its input empty."""
    extra = part.extra.value if part.extra is not None and part.extra.dialect == NAME else {}
    return {"type": "tool_use", "id": call_id(part.id), "name": part.name, "input": {}, **extra}


def _input(arguments: str) -> dict[str, Any]:
    if not arguments.strip():
        return {}
    try:
        decoded = msgspec.json.decode(arguments)
    except (ValueError, RecursionError):
        decoded = None
    # A call that was cut short: the vendor's own wrapping for input that cannot be parsed.
    return decoded if isinstance(decoded, dict) else {"INVALID_JSON": arguments}

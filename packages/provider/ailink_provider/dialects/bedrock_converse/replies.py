"""Whole replies, both ways, and the blocks and endings that streams share with them.

Source: `ConverseResponse` of the Amazon Bedrock Runtime API. It names neither an id nor a model. A block without a
canonical word is carried unread.
"""

from typing import Any

import msgspec
from msgspec import Struct

from ailink_provider.chat import (
    Chat,
    Choice,
    Finish,
    Media,
    Native,
    Part,
    Refusal,
    Reply,
    Text,
    Thinking,
    ToolCall,
)
from ailink_provider.dialects import Sent
from ailink_provider.dialects.arguments import free_text
from ailink_provider.dialects.bedrock_converse.citations import cited, write_citation
from ailink_provider.dialects.bedrock_converse.media import shown_media
from ailink_provider.dialects.bedrock_converse.parts import IN_MESSAGES, read_content
from ailink_provider.dialects.bedrock_converse.usage import WireUsage, write_usage
from ailink_provider.dialects.bedrock_converse.words import FINISH, MALFORMED, NAME, STOP, TIERS, call_id, seal_blob
from ailink_provider.dialects.seals import seal
from ailink_provider.errors import Failure


class _Tier(Struct):
    type: str | None = None


class Closing(Struct, rename="camel"):
    """What a reply says of itself beside its content; in a stream two events share it."""

    stop_reason: str | None = None
    usage: WireUsage | None = None
    service_tier: _Tier | None = None
    additional_model_response_fields: Any = None
    trace: Any = None

    def tier(self) -> str | None:
        """Return the canonical name of the service tier that answered."""
        return self.service_tier.type if self.service_tier is not None and self.service_tier.type in TIERS else None

    def finish(self, sent: Sent, called: bool) -> Finish | None:
        """Return the canonical reason. ``called`` tells whether a tool of the client's was called. Raises ``Failure``
        (``upstream_failed``) for a reason that means there is no usable answer."""
        word = self.stop_reason
        if word is None:
            return None
        if word in MALFORMED:
            raise Failure("upstream_failed", f"The model wrote an answer that cannot be read ({word}). Another attempt "
                                             "may go well.")
        reason = FINISH.get(word, "stop")
        if reason == "tool_calls" and sent.schema_tool is not None and not called:
            reason = "stop"
        told = self.additional_model_response_fields if word == "stop_sequence" else None
        explanation = _inside(self.trace, "guardrail", "actionReason")
        return Finish(reason, word, stop_sequence=_inside(told, "stop_sequence"), explanation=explanation)


class _Body(Closing, rename="camel"):
    output: dict[str, Any] | None = None


# --- reading -------------------------------------------------------------------------------------


def read_reply(body: dict[str, Any], sent: Sent) -> Reply:
    """Return the canonical reply. Raises ``Failure`` (``upstream_failed``) if the body is none."""
    try:
        closing = msgspec.convert(body, _Body)
        message = (closing.output or {}).get("message")
        if not isinstance(message, dict):
            raise unreadable("it has no message")
        parts = [_as_asked(part, sent) for part in read_content(message.get("content"), "content", IN_MESSAGES)]
    except msgspec.ValidationError as error:
        raise unreadable(str(error)) from None
    except Failure as failure:
        # Reading is as strict as with requests, but here it is not the client who is at fault.
        raise failure if failure.code == "upstream_failed" else unreadable(failure.message) from None
    finish = closing.finish(sent, called=any(isinstance(part, ToolCall) for part in parts))
    usage = closing.usage.canonical() if closing.usage is not None else None
    return Reply(choices=[Choice(parts, finish)], usage=usage, service_tier=closing.tier())


def _as_asked(part: Part, sent: Sent) -> Part:
    """Undo on a part of a reply what was done to the tools of the request."""
    if isinstance(part, ToolCall):
        if part.name == sent.schema_tool:
            return Text(part.arguments)
        if part.name in sent.custom:
            part.arguments, part.custom = free_text(part.arguments), True
        part.name = sent.names.get(part.name, part.name)
    return part


def unreadable(why: str) -> Failure:
    """Return the failure of an answer that is not one."""
    return Failure("upstream_failed", f"The upstream's answer cannot be read: {why}")


def _inside(value: Any, *path: str) -> str | None:
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    return value if isinstance(value, str) else None


# --- writing -------------------------------------------------------------------------------------


def write_reply(reply: Reply, request: Chat) -> dict[str, Any]:
    """Return the client's body. Only the first choice has a place in it."""
    choice = reply.choices[0] if reply.choices else Choice()
    blocks = [block for part in choice.parts if (block := write_block(part)) is not None]
    called = any(isinstance(part, ToolCall) for part in choice.parts)
    return {
        "output": {"message": {"role": "assistant", "content": blocks}},
        **write_ending(choice.finish, called),
        "usage": write_usage(reply.usage),
        "metrics": {"latencyMs": 0},
        **write_tier(reply.service_tier),
    }


def write_ending(finish: Finish | None, called: bool) -> dict[str, Any]:
    """Return how a reply ended: the service's own word where it was one, else the nearest."""
    reason = finish.reason if finish is not None else "tool_calls" if called else "stop"
    native = finish.native if finish is not None else None
    word = native if native is not None and FINISH.get(native) == reason else STOP[reason]
    if finish is None or finish.stop_sequence is None or reason != "stop":
        return {"stopReason": word}
    return {"stopReason": "stop_sequence", "additionalModelResponseFields": {"stop_sequence": finish.stop_sequence}}


def write_tier(tier: str | None) -> dict[str, Any]:
    """Return the member that names the tier which answered, {} for one that the service does not have."""
    return {"serviceTier": {"type": tier}} if tier in TIERS else {}


def write_block(part: Part) -> dict[str, Any] | None:
    """Return the block of a part, None where it would be empty or the part has no place in a reply."""
    if isinstance(part, Text):
        citations = [citation for note in part.annotations or () if (citation := write_citation(note)) is not None]
        return cited(part.text, citations) if part.text else None
    if isinstance(part, Refusal):
        return {"text": part.text} if part.text else None
    if isinstance(part, Thinking):
        return thinking_block(part)
    if isinstance(part, ToolCall):
        return {"toolUse": {**tool_use(part), "input": _input(part.arguments)}}
    if isinstance(part, Media):
        return shown_media(part)
    return part.value if isinstance(part, Native) and part.dialect == NAME else None


def thinking_block(part: Thinking) -> dict[str, Any] | None:
    """Return the block of a thought. Its proof is kept for the dialect that signed it, whichever that was."""
    if part.redacted is not None:
        return {"reasoningContent": {"redactedContent": seal_blob(part.redacted, part.signed_by)}}
    if not part.text and not part.signature:
        return None
    proof = {"signature": seal(part.signature, part.signed_by, NAME)} if part.signature else {}
    return {"reasoningContent": {"reasoningText": {"text": part.text, **proof}}}


def tool_use(part: ToolCall) -> dict[str, Any]:
    """Return what a call is known by."""
    return {"toolUseId": call_id(part.id), "name": part.name}


def _input(arguments: str) -> Any:
    try:
        return msgspec.json.decode(arguments) if arguments.strip() else {}
    except (ValueError, RecursionError):
        # A call that was cut short, or free text: said as it is, in the one member that is left to it.
        return {"input": arguments}

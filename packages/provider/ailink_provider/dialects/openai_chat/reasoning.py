"""How thoughts travel in this format, which has no word of its own for them. Reads and writes fields, decides nothing.

Three shapes are in use. ``reasoning_content`` (DeepSeek and most who followed; OpenRouter says ``reasoning``) is bare
text. ``thinking_blocks`` (LiteLLM, and this gateway) are Anthropic's blocks; ours name another signer in ``signed_by``.
``reasoning_details`` (OpenRouter) name the signer's format. In a stream the latter two come in pieces.
"""

from collections.abc import Iterable
from typing import Any

from ailink_provider.chat import Thinking
from ailink_provider.dialects.members import as_objects, as_text
from ailink_provider.dialects.openai_chat.words import NAME

_DEFAULT_SIGNER = "anthropic_messages"

# How a detail's format begins -> the dialect that can use its signature.
_FORMATS = (("anthropic", "anthropic_messages"), ("google", "gemini"), ("openai", "openai_responses"))


def pieces(message: dict[str, Any]) -> list[Thinking]:
    """Return the thoughts in a message or a delta, in order. Bare text is "signed" by this dialect: it needs no proof
    to be sent back to where it came from, and is nothing to others."""
    if blocks := as_objects(message.get("thinking_blocks")):
        return [_read_block(block) for block in blocks]
    if details := as_objects(message.get("reasoning_details")):
        return [_read_detail(detail) for detail in details]
    text = bare(message)
    return [Thinking(text, signed_by=NAME)] if text else []


def bare(message: dict[str, Any]) -> str:
    """Return the bare text of the thoughts in a message or a delta."""
    return as_text(message.get("reasoning_content")) or as_text(message.get("reasoning"))


def read_thoughts(message: dict[str, Any]) -> list[Thinking]:
    """Return the whole thoughts of a message. A client may send a stream's pieces back unjoined: they are joined."""
    thoughts: list[Thinking] = []
    for piece in pieces(message):
        last = thoughts[-1] if thoughts else None
        if last is None or piece.redacted is not None or last.redacted is not None or last.signature is not None:
            thoughts.append(piece)
        else:
            last.text += piece.text
            last.signature = piece.signature
    return [thought for thought in thoughts if thought.text or thought.signature or thought.redacted]


def block(thought: Thinking) -> dict[str, Any]:
    """Return the thinking block for a thought, or for a piece of one."""
    value: dict[str, Any] = {"type": "thinking", "thinking": thought.text}
    if thought.redacted is not None:
        value = {"type": "redacted_thinking", "data": thought.redacted}
    elif thought.signature is not None:
        value["signature"] = thought.signature
    if thought.signed_by not in (None, _DEFAULT_SIGNER):
        value["signed_by"] = thought.signed_by
    return value


def reply_fields(thoughts: Iterable[Thinking]) -> dict[str, Any]:
    """Return the fields that show thoughts to a client, and let it send them back."""
    thoughts = list(thoughts)
    text = "".join(thought.text for thought in thoughts)
    proven = any(thought.signature or thought.redacted for thought in thoughts)
    blocks = [block(thought) for thought in thoughts] if proven else []
    return ({"reasoning_content": text} if text else {}) | ({"thinking_blocks": blocks} if blocks else {})


def request_fields(thoughts: Iterable[Thinking]) -> dict[str, Any]:
    """Return the fields that give a model its own thoughts back: only those that came in this format."""
    own = [thought for thought in thoughts if thought.signed_by == NAME]
    text = "".join(thought.text for thought in own)
    details = [_detail(thought) for thought in own if thought.signature or thought.redacted]
    return ({"reasoning_content": text} if text else {}) | ({"reasoning_details": details} if details else {})


def _read_block(value: dict[str, Any]) -> Thinking:
    signer = as_text(value.get("signed_by")) or _DEFAULT_SIGNER
    if value.get("type") == "redacted_thinking":
        return Thinking(redacted=as_text(value.get("data")), signed_by=signer)
    return Thinking(as_text(value.get("thinking")), as_text(value.get("signature")) or None, signed_by=signer)


def _read_detail(value: dict[str, Any]) -> Thinking:
    form = as_text(value.get("format"))
    signer = next((dialect for start, dialect in _FORMATS if form.startswith(start)), NAME)
    text = as_text(value.get("text")) or as_text(value.get("summary"))
    return Thinking(text, as_text(value.get("signature")) or None, as_text(value.get("data")) or None, signer)


def _detail(thought: Thinking) -> dict[str, Any]:
    if thought.redacted is not None:
        return {"type": "reasoning.encrypted", "data": thought.redacted}
    return {"type": "reasoning.text", "text": thought.text, "signature": thought.signature}

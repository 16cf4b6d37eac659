"""Words of this wire that several rooms share: its name, its reasons to stop, its patterns, whose model an id means.

Data and one-line rules only; nothing here reads a request or a reply.
"""

import re
from base64 import b64decode, b64encode

from ailink_provider.chat import FinishReason
from ailink_provider.dialects.identifiers import conform
from ailink_provider.dialects.seals import seal, unseal

NAME = "bedrock_converse"

FINISH: dict[str, FinishReason] = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "guardrail_intervened": "content_filter",
    "content_filtered": "content_filter",
}
STOP: dict[FinishReason, str] = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "pause": "end_turn",
    "content_filter": "content_filtered",
}
# Reasons that mean there is no answer to use; another attempt may bring one.
MALFORMED = ("malformed_model_output", "malformed_tool_use")

# The service's tiers and the canonical words for them.
TIERS = ("default", "flex", "priority", "reserved")

_VENDORS = frozenset({
    "ai21", "amazon", "anthropic", "cohere", "deepseek", "google", "meta", "minimax", "mistral", "moonshot",
    "moonshotai", "nvidia", "openai", "qwen", "stability", "writer", "zai",
})
_ID_CHARACTER = re.compile(r"[a-zA-Z0-9_.:-]")
_LIMIT = 64


def vendor(model: str) -> str:
    """Return whose model an id or ARN names ("us.anthropic.claude-...": "anthropic"), "" if it does not tell."""
    name = model.lower().rpartition("/")[2]
    named = next((word for word in name.split(".")[:-1] if word in _VENDORS), "")
    return "anthropic" if name.startswith("claude") else named


def call_id(identifier: str) -> str:
    """Return a tool call's id or the stand-in for it that fits ``[a-zA-Z0-9_.:-]{1,64}``: the same for call and
    result."""
    return conform(identifier, _ID_CHARACTER, _LIMIT)


# --- proofs of thoughts: a client keeps those of every dialect, marked with the one that can use them -----------------


def seal_blob(redacted: str, signed_by: str | None) -> str:
    """Return the hidden thought that a client is given to keep. Here it is base64, whatever it is elsewhere."""
    return redacted if signed_by in (None, NAME) else b64encode(seal(redacted, signed_by, NAME).encode()).decode()


def unseal_blob(kept: str) -> tuple[str, str]:
    """Return the hidden thought that a client gave back, and the dialect that can use it."""
    try:
        inner, signed_by = unseal(b64decode(kept, validate=True).decode(), NAME)
    except ValueError:
        return kept, NAME
    return (inner, signed_by) if inner is not None and signed_by != NAME else (kept, NAME)

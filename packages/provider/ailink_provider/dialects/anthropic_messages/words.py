"""Words of this wire that several rooms share: its name, its reasons to stop, its patterns for names and ids.

Data and one-line rules only; nothing here reads a request or a reply.
"""

import re

from ailink_provider.chat import FinishReason
from ailink_provider.dialects.identifiers import conform

NAME = "anthropic_messages"

FINISH: dict[str, FinishReason] = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "pause_turn": "pause",
    "refusal": "content_filter",
}

STOP: dict[FinishReason, str] = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "pause": "pause_turn",
    "content_filter": "refusal",
}

# The locations that a citation of this wire can have; annotations of any other type are another vendor's.
CITATIONS = (
    "char_location", "page_location", "content_block_location", "web_search_result_location",
    "search_result_location",
)

_CHARACTER = re.compile(r"[A-Za-z0-9_-]")
_ID_LIMIT = 256


def call_id(identifier: str) -> str:
    """Return a tool call's id or the stand-in for it that fits ``^[a-zA-Z0-9_-]+$``: the same for call and result."""
    return conform(identifier, _CHARACTER, _ID_LIMIT)

"""Tokens, estimated where nobody counted them: for count_tokens, the simulator and the bill of a stream that was cut.

An estimate, never a bound: about four bytes of UTF-8 a token, which is near the truth for English and code and low by
up to a third for other scripts; media by a table. It needs no vocabulary and takes microseconds. Real counts of an
upstream always go before it.
"""

from typing import Any

import msgspec

from ailink_provider.chat import Chat, Media, Native, Part, Thinking, Tool, ToolCall, ToolResult

BYTES_PER_TOKEN = 4
MESSAGE_TOKENS = 4  # a turn's role and borders
TOOL_TOKENS = 8  # the same for a tool, a call or a result
REPLY_TOKENS = 3  # what opens the model's own turn

# A medium-sized picture, half a minute of sound, a document of two pages.
MEDIA_TOKENS = {"image": 765, "audio": 640, "document": 3000}
LOW_DETAIL_TOKENS = 85


def estimate_text(text: str) -> int:
    """Return about how many tokens ``text`` is; 0 for none."""
    size = len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))
    return -(-size // BYTES_PER_TOKEN)


def estimate_chat(chat: Chat) -> int:
    """Return about how many tokens of input ``chat`` is: messages with their media, tools, output schema."""
    tokens = REPLY_TOKENS
    for message in chat.messages:
        tokens += MESSAGE_TOKENS + estimate_text(message.name or "") + sum(map(_part, message.parts))
    for tool in chat.tools:
        if isinstance(tool, Tool):
            tokens += TOOL_TOKENS + estimate_text(tool.name) + estimate_text(tool.description or "")
            tokens += _json(tool.schema) + _json(tool.format)
        elif isinstance(tool, Native):
            tokens += TOOL_TOKENS + _json(tool.value)
    return tokens + (_json(chat.output.schema) if chat.output is not None else 0)


def _part(part: Part) -> int:
    if isinstance(part, Media):
        return LOW_DETAIL_TOKENS if part.detail == "low" else MEDIA_TOKENS[part.kind]
    if isinstance(part, ToolCall):
        return TOOL_TOKENS + estimate_text(part.name) + estimate_text(part.arguments)
    if isinstance(part, ToolResult):
        return TOOL_TOKENS + sum(map(_part, part.parts))
    if isinstance(part, Thinking):
        return estimate_text(part.text) + estimate_text(part.redacted or "")
    if isinstance(part, Native):
        return _json(part.value)
    return estimate_text(part.text)


def _json(value: dict[str, Any] | None) -> int:
    return 0 if value is None else -(-len(msgspec.json.encode(value)) // BYTES_PER_TOKEN)

"""Content blocks of a client's request, read into canonical parts. Writes nothing.

A block or a member that has no canonical word is carried unread, so that it reaches a model of this vendor unchanged.
"""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from ailink_provider.chat import Native, Part, Text, Thinking, ToolCall, ToolResult
from ailink_provider.dialects import fields
from ailink_provider.dialects.anthropic_messages.caching import read_mark
from ailink_provider.dialects.anthropic_messages.media import read_document, read_image
from ailink_provider.dialects.anthropic_messages.words import NAME
from ailink_provider.dialects.seals import unseal

Reader = Callable[[dict[str, Any], str], Part]

_TOOL_USE = ("type", "id", "name", "input", "cache_control")
_TOOL_RESULT = ("type", "tool_use_id", "content", "is_error", "cache_control")
_DIRECT_CALLER = {"type": "direct"}


def read_content(value: Any, path: str, readers: Mapping[str, Reader]) -> list[Part]:
    """Return the parts of a ``content``: a string, or a list of blocks of which ``readers`` understand some types."""
    if isinstance(value, str):
        return [Text(value)]
    if not isinstance(value, list):
        raise fields.invalid(path, "must be a string or a list of content blocks")
    parts: list[Part] = []
    for index, item in enumerate(value):
        where = f"{path}[{index}]"
        block = fields.record(item, where)
        read = readers.get(fields.required(block, "type", fields.text, where))
        parts.append(Native(NAME, block) if read is None else read(block, where))
    return parts


def _text(block: dict[str, Any], path: str) -> Part:
    return Text(fields.required(block, "text", fields.text, path), cache=read_mark(block, path),
                annotations=fields.optional(block, "citations", fields.records, path) or None)


def _thinking(block: dict[str, Any], path: str) -> Part:
    signature, signed_by = unseal(fields.optional(block, "signature", fields.text, path), NAME)
    return Thinking(fields.required(block, "thinking", fields.text, path), signature=signature, signed_by=signed_by)


def _redacted_thinking(block: dict[str, Any], path: str) -> Part:
    redacted, signed_by = unseal(fields.required(block, "data", fields.text, path), NAME)
    return Thinking(redacted=redacted, signed_by=signed_by)


def _tool_use(block: dict[str, Any], path: str) -> Part:
    arguments = fields.required(block, "input", fields.record, path)
    return ToolCall(
        id=fields.required(block, "id", fields.text, path), name=fields.required(block, "name", fields.text, path),
        arguments=msgspec.json.encode(arguments).decode(), cache=read_mark(block, path), extra=tool_use_extra(block),
    )


def tool_use_extra(block: dict[str, Any]) -> Native | None:
    """Return the members of a tool call that only this dialect knows. Being called by the model itself is no news."""
    known = (*_TOOL_USE, "caller") if block.get("caller") == _DIRECT_CALLER else _TOOL_USE
    return fields.leftover(block, known, NAME)


def _tool_result(block: dict[str, Any], path: str) -> Part:
    content = block.get("content")
    return ToolResult(
        call_id=fields.required(block, "tool_use_id", fields.text, path),
        parts=[] if content is None else read_content(content, f"{path}.content", IN_RESULTS),
        is_error=fields.optional(block, "is_error", fields.flag, path) or False,
        cache=read_mark(block, path), extra=fields.leftover(block, _TOOL_RESULT, NAME),
    )


IN_SYSTEM: dict[str, Reader] = {"text": _text}
IN_RESULTS: dict[str, Reader] = {"text": _text, "image": read_image, "document": read_document}
IN_MESSAGES: dict[str, Reader] = {
    **IN_RESULTS,
    "thinking": _thinking,
    "redacted_thinking": _redacted_thinking,
    "tool_use": _tool_use,
    "tool_result": _tool_result,
}

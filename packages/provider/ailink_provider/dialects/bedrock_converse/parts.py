"""Content blocks of a client's request, read into canonical parts. Writes nothing.

A block is a union: an object with one member, named for what it is. One that has no canonical word is carried unread,
so that it reaches a model behind this API unchanged.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import msgspec

from ailink_provider.chat import Native, Part, Text, Thinking, ToolCall, ToolResult
from ailink_provider.dialects import fields
from ailink_provider.dialects.bedrock_converse.caching import mark_last, read_point
from ailink_provider.dialects.bedrock_converse.citations import read_cited
from ailink_provider.dialects.bedrock_converse.media import read_media
from ailink_provider.dialects.bedrock_converse.words import NAME, unseal_blob
from ailink_provider.dialects.seals import unseal

Reader = Callable[[Any, str], Part]

_TOOL_USE = ("toolUseId", "name", "input")
_TOOL_RESULT = ("toolUseId", "content", "status")


def read_content(value: Any, path: str, readers: Mapping[str, Reader]) -> list[Part]:
    """Return the parts of a list of blocks of which ``readers`` understand some."""
    parts: list[Part] = []
    for index, item in enumerate(fields.array(value, path)):
        kind, block = fields.member(item, f"{path}[{index}]")
        where = f"{path}[{index}].{kind}"
        if kind == "cachePoint":
            mark_last(parts, read_point(block, where))
        elif (read := readers.get(kind)) is not None:
            parts.append(read(block, where))
        else:
            parts.append(Native(NAME, {kind: block}))
    return parts


def _text(value: Any, path: str) -> Part:
    return Text(fields.text(value, path))


def _json(value: Any, path: str) -> Part:
    return Text(_encode(value, path))


def _media(kind: Any, value: Any, path: str) -> Part:
    return read_media(kind, fields.record(value, path), path)


def _tool_use(value: Any, path: str) -> Part:
    block = fields.record(value, path)
    if "type" in block:  # a call of a tool that the service itself runs
        return Native(NAME, {"toolUse": block})
    return ToolCall(
        id=fields.required(block, "toolUseId", fields.text, path),
        name=fields.required(block, "name", fields.text, path),
        arguments=_encode(fields.optional(block, "input", fields.record, path) or {}, f"{path}.input"),
        extra=fields.leftover(block, _TOOL_USE, NAME),
    )


def _tool_result(value: Any, path: str) -> Part:
    block = fields.record(value, path)
    if "type" in block:
        return Native(NAME, {"toolResult": block})
    return ToolResult(
        call_id=fields.required(block, "toolUseId", fields.text, path),
        parts=read_content(block.get("content"), f"{path}.content", IN_RESULTS),
        is_error=fields.optional(block, "status", fields.text, path) == "error",
        extra=fields.leftover(block, _TOOL_RESULT, NAME),
    )


def _reasoning(value: Any, path: str) -> Part:
    kind, thought = fields.member(value, path)
    where = f"{path}.{kind}"
    if kind == "redactedContent":
        redacted, signed_by = unseal_blob(fields.text(thought, where))
        return Thinking(redacted=redacted, signed_by=signed_by)
    if kind != "reasoningText":
        return Native(NAME, {"reasoningContent": value})
    words = fields.record(thought, where)
    signature, signed_by = unseal(fields.optional(words, "signature", fields.text, where), NAME)
    return Thinking(fields.required(words, "text", fields.text, where), signature=signature, signed_by=signed_by)


def _encode(value: Any, path: str) -> str:
    try:
        return msgspec.json.encode(value).decode()
    except RecursionError:
        raise fields.invalid(path, "is nested too deeply") from None


IN_SYSTEM: dict[str, Reader] = {"text": _text}
IN_RESULTS: dict[str, Reader] = {
    "text": _text,
    "json": _json,
    "image": partial(_media, "image"),
    "document": partial(_media, "document"),
}
IN_MESSAGES: dict[str, Reader] = {
    "text": _text,
    "image": partial(_media, "image"),
    "document": partial(_media, "document"),
    "audio": partial(_media, "audio"),
    "toolUse": _tool_use,
    "toolResult": _tool_result,
    "reasoningContent": _reasoning,
    "citationsContent": read_cited,
}

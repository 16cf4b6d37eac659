"""One Gemini Part, read into canonical words; and the pieces that requests and replies both write.

A Part holds exactly one of text, a call, a response, data ... and beside it, perhaps, a thought's signature. What has
no canonical word is carried as ``Native``, a whole part or what is left of one. Malformed input raises
``Failure("invalid_request")``.
"""

from typing import Any, NamedTuple

from ailink_provider.chat import Native, Part, Text, Thinking, ToolCall, ToolResult
from ailink_provider.dialects.gemini.fields import boolean, decode, join, json_text, many, members, record, text
from ailink_provider.dialects.gemini.media import DETAILS, read_media
from ailink_provider.dialects.gemini.names import NAME
from ailink_provider.errors import Failure

# The members of ``response`` that stand for the whole of it; Google's SDK says "result" for "output".
_OUTPUTS = ("output", "result")

_CALL = frozenset({"id", "name", "args"})
_RESPONSE = frozenset({"id", "name", "response", "parts"})
_MEDIA_PART = frozenset({"inlineData", "fileData", "mediaResolution", "thought", "thoughtSignature"})


class Piece(NamedTuple):
    """A part as it came, and the signature of it that the part itself has no place for."""

    part: Part
    signature: str | None = None


def read_part(value: Any, where: str) -> Piece:
    """Return what a Part says. A call or a response that came without an id has the id ""."""
    part = members(value, where)
    signature = text(part["thoughtSignature"], join(where, "thoughtSignature")) if "thoughtSignature" in part else None
    thought = boolean(part.get("thought", False), join(where, "thought"))
    if "text" in part or not part.keys() - {"thought", "thoughtSignature"}:
        words = text(part.get("text", ""), join(where, "text"))
        if thought:
            return Piece(Thinking(words, signature, signed_by=NAME))
        return Piece(Text(words), signature)
    if "functionCall" in part:
        return Piece(_read_call(part["functionCall"], join(where, "functionCall"), signature))
    if "functionResponse" in part:
        return Piece(_read_response(part["functionResponse"], join(where, "functionResponse")))
    if ("inlineData" in part or "fileData" in part) and not thought:
        media = read_media(part, where)
        if media is not None:
            media.detail = _read_detail(part, where)
            media.extra = leftover(part, _MEDIA_PART)
            return Piece(media, signature)
    return Piece(Native(NAME, part))


def leftover(fields: dict[str, Any], known: frozenset[str]) -> Native | None:
    """Return the members that only this dialect knows; None if all are ``known``."""
    rest = {key: value for key, value in fields.items() if key not in known}
    return Native(NAME, rest) if rest else None


def members_of(extra: Native | None) -> dict[str, Any]:
    """Return the members that ``leftover`` kept; none of another dialect's."""
    return extra.value if extra is not None and extra.dialect == NAME else {}


def call_part(call: ToolCall, name: str, signature: str | None) -> dict[str, Any]:
    """Return the Part of a call. Raises ``Failure`` (``invalid_request``) if its arguments are no JSON object."""
    return signed(
        {"functionCall": {"id": call.id, "name": name, "args": arguments(call), **members_of(call.extra)}}, signature
    )


def arguments(call: ToolCall) -> dict[str, Any]:
    """Return the arguments of ``call`` as an object; a free-text tool's text is its ``input``."""
    if call.custom:
        return {"input": call.arguments}
    try:
        found = decode(call.arguments or "{}")
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise Failure(
            "invalid_request", f"The arguments of tool call '{call.id}' are not a JSON object.", param="messages"
        )
    return found


def signed(part: dict[str, Any], signature: str | None) -> dict[str, Any]:
    """Return ``part`` with ``signature`` beside what it holds."""
    return {**part, "thoughtSignature": signature} if signature else part


def _read_call(value: Any, where: str, signature: str | None) -> ToolCall:
    call = members(value, where)
    return ToolCall(
        id=text(call.get("id", ""), join(where, "id")),
        name=text(call.get("name"), join(where, "name")),
        arguments=json_text(record(call.get("args", {}), join(where, "args")), join(where, "args")),
        signature=signature,
        signed_by=NAME if signature else None,
        extra=leftover(call, _CALL),
    )


def _read_response(value: Any, where: str) -> ToolResult:
    answer = members(value, where)
    result = ToolResult(
        call_id=text(answer.get("id", ""), join(where, "id")),
        name=text(answer.get("name"), join(where, "name")),
        extra=leftover(answer, _RESPONSE),
    )
    response = record(answer.get("response", {}), join(where, "response"))
    words: Any = response
    if len(response) == 1:
        ((key, only),) = response.items()
        result.is_error = key == "error"
        if result.is_error or key in _OUTPUTS:
            words = only
    if words not in ("", {}):
        result.parts.append(Text(words if isinstance(words, str) else json_text(words, join(where, "response"))))
    for position, nested in enumerate(many(answer.get("parts", []), join(where, "parts"))):
        result.parts.append(read_part(nested, f"{join(where, 'parts')}[{position}]").part)
    return result


def _read_detail(part: dict[str, Any], where: str) -> str | None:
    if "mediaResolution" not in part:
        return None
    where = join(where, "mediaResolution")
    level = members(part["mediaResolution"], where).get("level", "")
    return DETAILS.get(text(level, join(where, "level")))

"""What Gemini refuses in the contents of a conversation: empty parts, unpaired functions, lost thought signatures."""

from base64 import urlsafe_b64decode
from binascii import Error as Base64Error
from collections.abc import Iterator
from typing import Any

from ailink_provider.testing.gemini.errors import place
from ailink_provider.testing.gemini.models import Model
from ailink_provider.testing.gemini.replies import sign
from ailink_provider.testing.vendor import Breach, Path

_DATA = ("text", "inlineData", "fileData", "functionCall", "functionResponse", "executableCode", "codeExecutionResult",
         "toolCall", "toolResponse")
# What the vendor documents for history that another model made.
_PLACEHOLDERS = ("skip_thought_signature_validator", "context_engineering_is_the_way_to_go")


def _contents(body: dict[str, Any], _: Model) -> Iterator[Breach]:
    if not body["contents"]:
        yield Breach("* GenerateContentRequest.contents: contents is not specified", ("contents",))
    system = body.get("systemInstruction")
    contents = [*((("contents", index), content) for index, content in enumerate(body["contents"])),
                *([(("systemInstruction",), system)] if system is not None else [])]
    for where, content in contents:
        if content.get("role", "user") not in ("user", "model") and where[0] == "contents":
            yield Breach("Please use a valid role: user, model.", (*where, "role"))
        if not content.get("parts"):
            yield Breach(f"* GenerateContentRequest.{place(where)}.parts: contents.parts must not be empty.",
                         (*where, "parts"))
        for index, part in enumerate(content.get("parts") or ()):
            yield from _part(part, (*where, "parts", index))


def _part(part: dict[str, Any], where: Path) -> Iterator[Breach]:
    kinds = [kind for kind in _DATA if part.get(kind) is not None]
    blank = kinds == ["text"] and not part["text"] and not part.get("thoughtSignature")
    if len(kinds) != 1 or blank:
        yield Breach(f"* GenerateContentRequest.{place(where)}.data: required oneof field 'data' must have one "
                     "initialized field", where)
    for kind in ("functionCall", "functionResponse"):
        if part.get(kind) is not None and not part[kind].get("name"):
            yield Breach(f"* GenerateContentRequest.{place((*where, kind))}.name: Name cannot be empty.",
                         (*where, kind))
    blob = part.get("inlineData")
    if blob is not None and not (blob.get("mimeType") and blob.get("data") and _is_base64(blob["data"])):
        yield Breach(f"* GenerateContentRequest.{place(where)}.inline_data: needs a mime_type and base64 data",
                     (*where, "inlineData"))


def _parity(body: dict[str, Any], _: Model) -> Iterator[Breach]:
    """The turn after function calls answers all of them and nothing else; only such a turn answers."""
    asked: list[dict[str, Any]] = []
    before = ""
    for index, content in enumerate([*body["contents"], {"role": "user", "parts": []}]):
        where: Path = ("contents", index)
        parts = content.get("parts") or []
        calls = [part["functionCall"] for part in parts if part.get("functionCall") is not None]
        answers = [part["functionResponse"] for part in parts if part.get("functionResponse") is not None]
        if len(asked) != len(answers):
            yield Breach("Please ensure that the number of function response parts is equal to the number of function "
                         "call parts of the function call turn.", where)
        elif not _answered(asked, answers):
            yield Breach("Please ensure that each function response names the function call that it answers (name, and "
                         "id where the call has one).", where)
        if calls and before != "user":
            yield Breach("Please ensure that function call turn comes immediately after a user turn or after a "
                         "function response turn.", where)
        asked, before = calls, content.get("role", "user")


def _signatures(body: dict[str, Any], facts: Model) -> Iterator[Breach]:
    """In the current turn, the first call of every step carries the signature that came with it."""
    if not facts.signs:
        return
    contents = body["contents"]
    spoken = [index for index, content in enumerate(contents) if content.get("role", "user") == "user"
              and any(part.get("functionResponse") is None for part in content.get("parts") or ())]
    for index in range(spoken[-1] if spoken else 0, len(contents)):
        calls = [part for part in contents[index].get("parts") or () if part.get("functionCall") is not None]
        where: Path = ("contents", index)
        if calls and not calls[0].get("thoughtSignature"):
            name = calls[0]["functionCall"]["name"]
            yield Breach("Function call is missing a thought_signature in functionCall parts. This is required for "
                         "tools to work correctly, and missing thought_signature may lead to degraded model "
                         f"performance. Additional data, function call `default_api:{name}` , position {index + 1}.",
                         where)
        for call in calls:
            signature = _plain(call.get("thoughtSignature") or "")
            if signature and signature not in (*_PLACEHOLDERS, _plain(sign(call["functionCall"]["name"]))):
                yield Breach("Corrupted thought signature.", where)


def _answered(calls: list[dict[str, Any]], answers: list[dict[str, Any]]) -> bool:
    left = list(answers)
    for call in calls:
        identity = {key: call[key] for key in ("name", "id") if call.get(key)}
        match = next((answer for answer in left if identity.items() <= answer.items()), None)
        if match is None:
            return False
        left.remove(match)
    return True


def _plain(base64: str) -> str:
    """Bytes come in either alphabet of base64, padded or not."""
    return base64.replace("+", "-").replace("/", "_").rstrip("=")


def _is_base64(text: str) -> bool:
    try:
        urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except (Base64Error, ValueError):
        return False
    return True


RULES = (_contents, _parity, _signatures)

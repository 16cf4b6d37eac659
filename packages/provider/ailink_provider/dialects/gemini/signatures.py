"""Thought signatures: how a vendor's proof of a thought travels in ``thoughtSignature``.

Gemini's own go verbatim. Another vendor's, in an answer to a client that speaks Gemini, are sealed: base64 of
``ailink`` and a JSON list of who signed, the signature and the redacted text. Such clients send every signature back
as they got it, and it is opened again when they do. Nothing here verifies a signature; only its vendor can.
"""

from base64 import b64decode, b64encode
from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from ailink_provider.chat import Part, Thinking, ToolCall
from ailink_provider.dialects.gemini.names import NAME

# Gemini 3 refuses a call without a signature, except for this literal, meant for history from another model.
SKIP_VALIDATION = "skip_thought_signature_validator"

_SEAL = b"ailink"
_SEALED = b64encode(_SEAL).decode()
_SIGNABLE = {"text", "functionCall", "inlineData", "fileData"}
_URL_SAFE = str.maketrans("-_", "+/")


def mark(signature: str) -> Thinking:
    """Return the empty thought that carries the signature of the part after it, or one that stands alone."""
    return Thinking(signature=signature, signed_by=NAME)


def is_mark(part: Part) -> bool:
    """Whether ``part`` is a thought without text that Gemini signed."""
    return isinstance(part, Thinking) and not part.text and own(part) is not None


def write_marked(parts: Iterable[Part], write: Callable[[int, Part], dict[str, Any] | None]) -> list[dict[str, Any]]:
    """Return what ``write`` makes of each part (None leaves it out), with each mark's signature on the part after it.
    A mark that no part can take stands alone, as the empty text that Gemini itself sends."""
    written: list[dict[str, Any]] = []
    waiting: str | None = None
    for position, part in enumerate(parts):
        marked = is_mark(part)
        wire = None if marked else write(position, part)
        if wire is None and not marked:
            continue
        if waiting is not None:
            if wire is not None and wire.keys() & _SIGNABLE and not wire.keys() & {"thought", "thoughtSignature"}:
                wire["thoughtSignature"] = waiting
            else:
                written.append({"text": "", "thoughtSignature": waiting})
            waiting = None
        if isinstance(part, Thinking) and marked:
            waiting = part.signature
        elif wire is not None:
            written.append(wire)
    return written if waiting is None else [*written, {"text": "", "thoughtSignature": waiting}]


def own(part: Thinking | ToolCall) -> str | None:
    """Return the part's signature if it is Gemini's, the only kind that Gemini takes."""
    return part.signature if part.signed_by == NAME else None


def seal(part: Thinking | ToolCall) -> str | None:
    """Return what a client keeps in ``thoughtSignature`` for ``part``; None if no one signed it."""
    redacted = part.redacted if isinstance(part, Thinking) else None
    if not part.signature and not redacted:
        return None
    if part.signed_by == NAME and not redacted:
        return part.signature
    return b64encode(_SEAL + msgspec.json.encode([part.signed_by, part.signature, redacted])).decode()


def unseal(part: Part) -> None:
    """Give a part that came back from a client the signature that was sealed, in place."""
    if not isinstance(part, Thinking | ToolCall) or not (part.signature or "").startswith(_SEALED):
        return
    opened = _open(part.signature or "")
    if opened is None:
        return
    part.signed_by, part.signature, redacted = opened
    if isinstance(part, Thinking):
        part.redacted = redacted


def standard_base64(data: str) -> str:
    """Return base64 in the standard alphabet with its padding; clients of Gemini also send the URL-safe one."""
    if "-" in data or "_" in data:
        data = data.translate(_URL_SAFE)
    return data + "=" * (-len(data) % 4)


def _open(sealed: str) -> Any:
    try:
        content = b64decode(standard_base64(sealed))[len(_SEAL) :]
        return msgspec.json.decode(content, type=tuple[str | None, str | None, str | None])
    except ValueError:  # not base64, not JSON, not ours
        return None

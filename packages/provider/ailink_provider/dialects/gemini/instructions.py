"""Adding to the system instruction, a content of its own beside the conversation's."""

from typing import Any

_NAMES = ("systemInstruction", "system_instruction")


def instruct(body: dict[str, Any], text: str, first: bool) -> str | None:
    """See ``Dialect.instruct``. A count of tokens may carry a whole request, which is then the one that is changed."""
    inner = body.get("generateContentRequest")
    if isinstance(inner, dict):
        return "generateContentRequest" if instruct(inner, text, first) else None
    if "contents" not in body:
        return None
    name = next((name for name in _NAMES if name in body), _NAMES[0])
    present = body.get(name)
    part = {"text": text}
    if isinstance(present, str) and present:
        present = {"parts": [{"text": present}]}
    parts = present.get("parts") if isinstance(present, dict) else None
    if isinstance(present, dict) and isinstance(parts, dict):
        parts = [parts]
    if isinstance(present, dict) and isinstance(parts, list):
        body[name] = {**present, "parts": [part, *parts] if first else [*parts, part]}
    else:
        body[name] = {"parts": [part]}
    return name

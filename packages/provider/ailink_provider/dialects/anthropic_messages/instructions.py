"""Adding to the system prompt, which is a text or a list of blocks beside the messages."""

from typing import Any


def instruct(body: dict[str, Any], text: str, first: bool) -> str | None:
    """See ``Dialect.instruct``."""
    system = body.get("system")
    if isinstance(system, list):
        block = {"type": "text", "text": text}
        body["system"] = [block, *system] if first else [*system, block]
    elif isinstance(system, str) and system:
        body["system"] = f"{text}\n\n{system}" if first else f"{system}\n\n{text}"
    else:
        body["system"] = text
    return "system"

"""Adding to ``instructions``, which stand before everything else that the model reads."""

from typing import Any


def instruct(body: dict[str, Any], text: str, first: bool) -> str | None:
    """See ``Dialect.instruct``."""
    present = body.get("instructions")
    if isinstance(present, str) and present:
        body["instructions"] = f"{text}\n\n{present}" if first else f"{present}\n\n{text}"
    else:
        body["instructions"] = text
    return "instructions"

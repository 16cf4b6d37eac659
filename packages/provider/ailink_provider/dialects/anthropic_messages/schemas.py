"""JSON Schema as the vendor's constrained decoding takes it. Knows nothing of requests.

Source: the structured outputs guide, "JSON Schema limitations". What is refused is told as the vendor's own SDK does.
"""

from typing import Any

from ailink_provider.dialects.constraints import Limits

# What some clients send for any object. The vendor refuses it; other vendors have a word for what is meant.
ANY_OBJECT: dict[str, Any] = {"type": "object", "additionalProperties": True}


def _tell(said: str | None, gone: list[str]) -> str:
    limits = f"{{{', '.join(gone)}}}"
    return f"{said}\n\n{limits}" if said else limits


LIMITS = Limits(("anyOf", "allOf"), _tell)

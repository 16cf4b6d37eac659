"""The list of models, as ``GET /v1beta/models`` answers it. Which models there are is told from outside."""

from collections.abc import Sequence
from typing import Any

_METHODS = ["generateContent", "countTokens"]


def write_models(entries: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """Return the list of models, each a name and its owner."""
    return {
        "models": [
            {"name": f"models/{name}", "displayName": name, "supportedGenerationMethods": _METHODS}
            for name, _ in entries
        ]
    }

"""The list of models, as ``GET /v1/models`` answers it. Which models there are is told from outside."""

from collections.abc import Sequence
from typing import Any


def write_models(entries: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """Return the list of models, each a name and its owner."""
    data = [{"id": name, "object": "model", "created": 0, "owned_by": owner} for name, owner in entries]
    return {"object": "list", "data": data}

"""The list of models, as ``GET /v1/models`` answers it. Which models there are is told from outside."""

from collections.abc import Sequence
from typing import Any

_UNKNOWN = "1970-01-01T00:00:00Z"  # what the API documentation says of a release date that is not known


def write_models(entries: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """Return the list of models, each a name and its owner."""
    data = [{"type": "model", "id": name, "display_name": name, "created_at": _UNKNOWN} for name, _ in entries]
    ends = {"first_id": data[0]["id"], "last_id": data[-1]["id"]} if data else {"first_id": None, "last_id": None}
    return {"data": data, "has_more": False, **ends}

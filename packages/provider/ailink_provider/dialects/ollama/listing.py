"""The list of models, both ways: ``GET /api/tags`` tells what a server has, and is answered for clients."""

from collections.abc import Sequence
from typing import Any

from ailink_provider.dialects.members import as_object, as_objects, as_text
from ailink_provider.errors import Failure

MODELS_PATH = "/api/tags"

# A model's members that Ollama's clients expect, where nothing is known of it.
_UNKNOWN: dict[str, Any] = {"modified_at": "1970-01-01T00:00:00Z", "size": 0, "digest": "", "details": {}}


def read_models(body: dict[str, Any]) -> list[str]:
    """Return the names of the models that a server has, tags included, in its own order.

    ``body`` is the decoded answer to a GET of ``MODELS_PATH``. Raises ``Failure`` (``upstream_failed``) if it is none.
    """
    listed = as_object(body).get("models")
    if not isinstance(listed, list):
        raise Failure("upstream_failed", "The upstream's list of models cannot be read: it has no 'models'.")
    names = (as_text(entry.get("model")) or as_text(entry.get("name")) for entry in as_objects(listed))
    return list(dict.fromkeys(filter(None, names)))


def write_models(entries: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """Return the list of models, each a name and its owner; Ollama's has no place for the owner."""
    return {"models": [{"name": name, "model": name, **_UNKNOWN} for name, _ in entries]}

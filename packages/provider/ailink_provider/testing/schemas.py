"""Request schemas made from the vendors' own SDKs, closed against unknown fields, and one readable mistake per body.

The SDKs and jsonschema are needed only where a mock really checks something: they are imported on first use.
"""

from collections import defaultdict
from functools import lru_cache
from importlib import import_module
from typing import Any, NamedTuple

from ailink_provider.testing.vendor import Path

_DISCRIMINATORS = frozenset({"type", "role"})
_NAMES_TO_SCHEMAS = frozenset({"properties", "$defs"})


class Mistake(NamedTuple):
    """Where a body breaks its schema: the path, the JSON Schema keyword that failed, and a sentence."""

    where: Path
    keyword: str
    message: str


def load(module: str, distribution: str) -> Any:
    """Import a module that only the mock needs. Raises ``RuntimeError`` saying what to install."""
    try:
        return import_module(module)
    except ImportError as error:
        raise RuntimeError(
            f"The mock upstream checks requests with {distribution!r}, which is not installed: "
            f"pip install openai anthropic google-genai jsonschema"
        ) from error


class Schema:
    """A compiled JSON Schema (2020-12) in which every object with known properties takes no other; ``document`` is its
    text."""

    def __init__(self, schema: dict[str, Any]) -> None:
        jsonschema = load("jsonschema", "jsonschema")
        self.document: dict[str, Any] = _close(schema)
        self._validator = jsonschema.Draft202012Validator(self.document)

    def mistake(self, body: Any) -> Mistake | None:
        """Return the most telling way in which ``body`` does not fit, None if it does."""
        errors = list(self._validator.iter_errors(body))
        if not errors:
            return None
        error = _deepest(errors)
        while error.context:
            error = _deepest(_meant(error))
        where: Path = tuple(error.absolute_path)
        if error.validator == "additionalProperties":
            where += (next(name for name in error.instance if name not in error.schema["properties"]),)
        elif error.validator == "required":
            where += (_missing(error)[0],)
        return Mistake(where, error.validator, _shorten(error.message))


@lru_cache
def sdk_schema(module: str, name: str, distribution: str) -> Schema:
    """Return the schema of a ``TypedDict`` of an SDK's request parameters."""
    pydantic = load("pydantic", "pydantic")
    return Schema(pydantic.TypeAdapter(getattr(load(module, distribution), name)).json_schema())


def _close(node: Any) -> Any:
    if isinstance(node, list):
        return [_close(item) for item in node]
    if not isinstance(node, dict):
        return node
    closed = {key: _close(value) for key, value in node.items() if key not in _NAMES_TO_SCHEMAS}
    for key in _NAMES_TO_SCHEMAS & node.keys():
        closed[key] = {name: _close(schema) for name, schema in node[key].items()}
    if "properties" in closed:
        closed["additionalProperties"] = False
    return closed


def _deepest(errors: list[Any]) -> Any:
    return max(errors, key=lambda error: len(error.absolute_path))


def _meant(error: Any) -> list[Any]:
    """Of a failed union, return the errors of the branch that the body most likely meant: one whose role and type
    are right, then one of the right JSON type, then the one with least wrong."""
    branches: dict[Any, list[Any]] = defaultdict(list)
    for inner in error.context:
        branches[inner.schema_path[0]].append(inner)

    def distance(errors: list[Any]) -> tuple[int, int, int]:
        mislabelled = [item for item in errors if _DISCRIMINATORS & set(list(item.path)[:1] or _missing(item))]
        mistyped = [item for item in errors if item.validator == "type" and not item.path]
        return len(mislabelled), len(mistyped), len(errors)

    return min(branches.values(), key=distance)


def _missing(error: Any) -> list[str]:
    if error.validator != "required":
        return []
    return [name for name in error.validator_value if name not in error.instance]


def _shorten(message: str) -> str:
    return message if len(message) <= 200 else f"{message[:100]} ... {message[-90:]}"

"""JSON Schema within the limits of a service's constrained decoding. Knows no service; each tells its ``Limits``.

Every object must be closed, and sizes and ranges are refused: they are told to the model in the description instead.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec

from ailink_provider.dialects.draft import Draft

_REFUSED = frozenset({
    "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf", "minLength", "maxLength", "maxItems",
    "uniqueItems", "minContains", "maxContains", "minProperties", "maxProperties", "patternProperties",
    "propertyNames", "unevaluatedProperties", "dependentRequired",
})
_FORMATS = ("date-time", "time", "date", "duration", "email", "hostname", "uri", "ipv4", "ipv6", "uuid")
_MAPS = ("properties", "$defs", "definitions")
_DEPTH = 64


class Limits(NamedTuple):
    """``lists`` are the keywords that hold lists of schemas. ``tell`` returns the description of a schema from what it
    said, None for nothing, and from the keywords that had to go ("minimum: 1")."""

    lists: tuple[str, ...]
    tell: Callable[[str | None, list[str]], str]


def within_limits(schema: dict[str, Any], limits: Limits, path: str, draft: Draft) -> dict[str, Any]:
    """Return a schema that the service can decode by. Its own clients know the limits: theirs goes out as it is."""
    if draft.own:
        return schema
    refused: set[str] = set()
    schema = restrict(schema, limits, refused)
    if refused:
        draft.lose(path, f"the schema's {', '.join(sorted(refused))} cannot be enforced")
    return schema


def restrict(schema: dict[str, Any], limits: Limits, refused: set[str], depth: int = 0) -> dict[str, Any]:
    """Return ``schema`` within the limits, and add the keywords that had to go to ``refused``."""
    if depth > _DEPTH:
        return schema
    if "oneOf" in schema and "anyOf" not in schema:
        schema = {("anyOf" if key == "oneOf" else key): value for key, value in schema.items()}
    gone = {key: value for key, value in schema.items() if _is_refused(key, value)}
    kept = {key: _inner(key, value, limits, refused, depth + 1) for key, value in schema.items() if key not in gone}
    if kept.get("type") == "object" or "properties" in kept:
        if kept.get("additionalProperties", False) is not False:
            refused.add("additionalProperties")
        kept["additionalProperties"] = False
    if gone:
        refused.update(gone)
        told = [f"{key}: {msgspec.json.encode(value).decode()}" for key, value in gone.items()]
        kept["description"] = limits.tell(kept.get("description") or None, told)
    return kept


def _is_refused(key: str, value: Any) -> bool:
    if key == "minItems":
        return value not in (0, 1)
    if key == "format":
        return value not in _FORMATS
    return key in _REFUSED


def _inner(key: str, value: Any, limits: Limits, refused: set[str], depth: int) -> Any:
    if key in _MAPS and isinstance(value, dict):
        return {name: _schema(item, limits, refused, depth) for name, item in value.items()}
    if key in limits.lists and isinstance(value, list):
        return [_schema(item, limits, refused, depth) for item in value]
    return _schema(value, limits, refused, depth) if key == "items" else value


def _schema(value: Any, limits: Limits, refused: set[str], depth: int) -> Any:
    return restrict(value, limits, refused, depth) if isinstance(value, dict) else value

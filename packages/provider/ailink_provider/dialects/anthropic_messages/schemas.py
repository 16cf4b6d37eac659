"""JSON Schema as the vendor's constrained decoding takes it. Knows nothing of requests.

Source: the structured outputs guide, "JSON Schema limitations". Every object must be closed, and sizes and ranges are
refused; as the vendor's own SDK does, they are told to the model in the description instead.
"""

from typing import Any

import msgspec

# What some clients send for any object. The vendor refuses it; other vendors have a word for what is meant.
ANY_OBJECT: dict[str, Any] = {"type": "object", "additionalProperties": True}

_REFUSED = frozenset({
    "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf", "minLength", "maxLength", "maxItems",
    "uniqueItems", "minContains", "maxContains", "minProperties", "maxProperties", "patternProperties",
    "propertyNames", "unevaluatedProperties", "dependentRequired",
})
_FORMATS = frozenset({
    "date-time", "time", "date", "duration", "email", "hostname", "uri", "ipv4", "ipv6", "uuid",
})
_MAPS = ("properties", "$defs", "definitions")
_LISTS = ("anyOf", "allOf")
_DEPTH = 64


def restrict(schema: dict[str, Any], refused: set[str], depth: int = 0) -> dict[str, Any]:
    """Return ``schema`` within the vendor's limits, and add the keywords that had to go to ``refused``."""
    if depth > _DEPTH:
        return schema
    if "oneOf" in schema and "anyOf" not in schema:
        schema = {("anyOf" if key == "oneOf" else key): value for key, value in schema.items()}
    gone = {key: value for key, value in schema.items() if _is_refused(key, value)}
    kept = {key: _child(key, value, refused, depth + 1) for key, value in schema.items() if key not in gone}
    if kept.get("type") == "object" or "properties" in kept:
        if kept.get("additionalProperties", False) is not False:
            refused.add("additionalProperties")
        kept["additionalProperties"] = False
    if gone:
        refused.update(gone)
        limits = ", ".join(f"{key}: {msgspec.json.encode(value).decode()}" for key, value in gone.items())
        said = kept.get("description")
        kept["description"] = f"{said}\n\n{{{limits}}}" if said else f"{{{limits}}}"
    return kept


def _is_refused(key: str, value: Any) -> bool:
    if key == "minItems":
        return value not in (0, 1)
    if key == "format":
        return not isinstance(value, str) or value not in _FORMATS
    return key in _REFUSED


def _child(key: str, value: Any, refused: set[str], depth: int) -> Any:
    if key in _MAPS and isinstance(value, dict):
        return {name: _restricted(item, refused, depth) for name, item in value.items()}
    if key in _LISTS and isinstance(value, list):
        return [_restricted(item, refused, depth) for item in value]
    return _restricted(value, refused, depth) if key == "items" else value


def _restricted(value: Any, refused: set[str], depth: int) -> Any:
    return restrict(value, refused, depth) if isinstance(value, dict) else value

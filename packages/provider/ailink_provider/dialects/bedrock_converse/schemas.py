"""JSON Schema as the service's constrained decoding takes it. Knows nothing of requests.

Source: the structured outputs guide of Amazon Bedrock. Every object must be closed; sizes and ranges are refused, so
they are told to the model in the description instead.
"""

from typing import Any

import msgspec

_REFUSED = frozenset({
    "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf", "minLength", "maxLength", "maxItems",
    "uniqueItems", "minContains", "maxContains", "minProperties", "maxProperties", "patternProperties",
    "propertyNames", "unevaluatedProperties", "dependentRequired",
})
_FORMATS = ("date-time", "time", "date", "duration", "email", "hostname", "uri", "ipv4", "ipv6", "uuid")
_BY_NAME = ("properties", "$defs", "definitions")
_IN_ORDER = ("anyOf", "allOf", "prefixItems")
_DEPTH = 64


def restrict(schema: dict[str, Any], refused: set[str], depth: int = 0) -> dict[str, Any]:
    """Return ``schema`` within the limits, and add the keywords that had to go to ``refused``."""
    if depth > _DEPTH:
        return schema
    kept: dict[str, Any] = {}
    gone: dict[str, Any] = {}
    for key, value in schema.items():
        if key == "oneOf" and "anyOf" not in schema:
            key = "anyOf"
        if _is_refused(key, value):
            gone[key] = value
        else:
            kept[key] = _inner(key, value, refused, depth + 1)
    if kept.get("type") == "object" or "properties" in kept:
        if kept.get("additionalProperties", False) is not False:
            refused.add("additionalProperties")
        kept["additionalProperties"] = False
    if gone:
        refused.update(gone)
        told = "; ".join(f"{key}: {msgspec.json.encode(value).decode()}" for key, value in gone.items())
        kept["description"] = f"{kept['description']} ({told})" if kept.get("description") else told
    return kept


def _is_refused(key: str, value: Any) -> bool:
    if key == "minItems":
        return value not in (0, 1)
    if key == "format":
        return value not in _FORMATS
    return key in _REFUSED


def _inner(key: str, value: Any, refused: set[str], depth: int) -> Any:
    if key in _BY_NAME and isinstance(value, dict):
        return {name: _schema(item, refused, depth) for name, item in value.items()}
    if key in _IN_ORDER and isinstance(value, list):
        return [_schema(item, refused, depth) for item in value]
    return _schema(value, refused, depth) if key == "items" else value


def _schema(value: Any, refused: set[str], depth: int) -> Any:
    return restrict(value, refused, depth) if isinstance(value, dict) else value

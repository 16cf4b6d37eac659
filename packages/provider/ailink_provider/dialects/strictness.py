"""JSON Schema as OpenAI's strict mode takes it. Changes no schema.

Source: the structured outputs guide, "Supported schemas": every object is closed and requires all that it has.
"""

from typing import Any

_SCHEMAS = ("items",)
_LISTS_OF_SCHEMAS = ("anyOf",)
_MAPS_OF_SCHEMAS = ("properties", "$defs", "definitions")
_DEPTH = 64


def is_strict(schema: Any, depth: int = 0) -> bool:
    """Return whether a model can be held to ``schema`` strictly; other vendors' clients may be less strict."""
    if not isinstance(schema, dict) or depth > _DEPTH:
        return False
    kind = schema.get("type")
    if kind == "object" or (isinstance(kind, list) and "object" in kind) or "properties" in schema:
        properties, required = schema.get("properties", {}), schema.get("required", [])
        if not isinstance(properties, dict) or not isinstance(required, list):
            return False
        if schema.get("additionalProperties") is not False or any(name not in required for name in properties):
            return False
    inner = [schema[key] for key in _SCHEMAS if key in schema]
    inner += [item for key in _LISTS_OF_SCHEMAS if isinstance(schema.get(key), list) for item in schema[key]]
    inner += [item for key in _MAPS_OF_SCHEMAS if isinstance(schema.get(key), dict) for item in schema[key].values()]
    return all(is_strict(item, depth + 1) for item in inner)

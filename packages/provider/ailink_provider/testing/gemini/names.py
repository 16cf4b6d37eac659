"""Field names: the API documents camelCase and reads snake_case as well, as every proto3 JSON API does."""

import re
from typing import Any

_UNDERSCORE = re.compile(r"(?<=[a-z0-9])_([a-z])")
# What belongs to the caller, not to the API: kept as it is.
_OPAQUE = frozenset({"args", "response", "parametersJsonSchema", "responseJsonSchema", "labels", "partMetadata",
                     "default", "example", "enum"})
# Objects whose keys are the caller's, but whose values are the API's.
_KEYED = frozenset({"properties", "defs"})


def canonical(value: Any) -> Any:
    """Return a body with every field of the API's in camelCase."""
    if isinstance(value, list):
        return [canonical(item) for item in value]
    if not isinstance(value, dict):
        return value
    named = {_UNDERSCORE.sub(lambda match: match[1].upper(), key): inner for key, inner in value.items()}
    return {key: _member(key, inner) for key, inner in named.items()}


def _member(key: str, value: Any) -> Any:
    if key in _OPAQUE:
        return value
    if key in _KEYED and isinstance(value, dict):
        return {name: canonical(inner) for name, inner in value.items()}
    return canonical(value)

"""How the other rooms look at a client's members, as strictly as the server does. Knows no field by name.

A number may be written as a whole one and the other way round, which no other dialect allows.
"""

from collections.abc import Mapping
from typing import Any

from ailink_provider.dialects.members import Kind, invalid

NAME = "ollama"

_WORDS: dict[Any, str] = {
    str: "a string",
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    dict: "an object",
    list: "a list",
}


def optional(source: Mapping[str, Any], key: str, kind: type[Kind], where: str = "") -> Kind | None:
    """Return ``source[key]``, None if it is absent or null. Raises ``Failure`` if it is of another kind.

    ``where`` is the client's path to ``source``. A number may be written as a whole one and the other way round, as
    the server takes them; true and false are never numbers.
    """
    value = source.get(key)
    if value is None:
        return None
    if kind is int and isinstance(value, float) and value.is_integer():
        value = int(value)
    expected = (int, float) if kind is float else kind
    if not isinstance(value, expected) or (kind in (int, float) and isinstance(value, bool)):
        raise invalid(join(where, key), f"must be {_WORDS[kind]}")
    return value


def required(source: Mapping[str, Any], key: str, kind: type[Kind], where: str = "") -> Kind:
    """Return ``source[key]``. Raises ``Failure`` if it is absent, null or of another kind."""
    value = optional(source, key, kind, where)
    if value is None:
        raise invalid(join(where, key), f"is required and must be {_WORDS[kind]}")
    return value


def join(where: str, key: str) -> str:
    """Return the path of the member ``key`` of ``where``; the body itself has the empty path."""
    return f"{where}.{key}" if where else key

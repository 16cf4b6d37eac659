"""Strict reading of JSON members in the way of proto3 JSON, which is how Gemini defines its bodies.

camelCase and snake_case name the same field, null is absence, and one object may stand for a list of one. Whatever
does not fit raises ``Failure("invalid_request")`` with the path of the field; nothing here raises anything else.
"""

import re
from typing import Any

import msgspec

from ailink_provider.errors import Failure

_WORD_BREAK = re.compile(r"(?<=[A-Za-z0-9])_([A-Za-z0-9])")


def refuse(where: str, expected: str) -> Failure:
    """Return the failure of a member that is not what it should be."""
    return Failure("invalid_request", f"'{where}' must be {expected}.", param=where)


def members(value: Any, where: str) -> dict[str, Any]:
    """Return the members of an object under their camelCase names, without nulls; their values are left unread."""
    found: dict[str, Any] = {}
    for key, member in record(value, where).items():
        name = _WORD_BREAK.sub(lambda match: match[1].upper(), key) if "_" in key else key
        if member is None:
            continue
        if name in found:
            raise Failure(
                "invalid_request", f"'{join(where, name)}' is given twice, in two spellings.", param=join(where, name)
            )
        found[name] = member
    return found


def record(value: Any, where: str) -> dict[str, Any]:
    """Return an object whose keys are the client's own (arguments, a schema, a tool's response)."""
    if not isinstance(value, dict):
        raise refuse(where or "body", "an object")
    return value


def many(value: Any, where: str) -> list[Any]:
    """Return a list; a lone object is a list of one, as Gemini's own examples write it."""
    if isinstance(value, dict):
        return [value]
    if not isinstance(value, list):
        raise refuse(where, "a list")
    return value


def text(value: Any, where: str) -> str:
    """Return a string."""
    if not isinstance(value, str):
        raise refuse(where, "a string")
    return value


def texts(value: Any, where: str) -> list[str]:
    """Return a list of strings."""
    if not isinstance(value, list):
        raise refuse(where, "a list of strings")
    return [text(item, f"{where}[{position}]") for position, item in enumerate(value)]


def number(value: Any, where: str) -> float:
    """Return a number."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise refuse(where, "a number")
    return value


def integer(value: Any, where: str) -> int:
    """Return a whole number; ``40.0`` is one, since Gemini types some counts as floats."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise refuse(where, "a whole number")
    return value


def boolean(value: Any, where: str) -> bool:
    """Return a boolean."""
    if not isinstance(value, bool):
        raise refuse(where, "true or false")
    return value


def join(where: str, name: str) -> str:
    """Return the path of the member ``name`` of ``where``; the body itself has the empty path."""
    return f"{where}.{name}" if where else name


def decode(data: bytes | str) -> Any:
    """Return what JSON text says. Raises ``ValueError`` if it is none, or nested beyond what can be read."""
    try:
        return msgspec.json.decode(data)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def json_text(value: Any, where: str) -> str:
    """Return ``value`` as JSON text."""
    try:
        return msgspec.json.encode(value).decode()
    except RecursionError as error:
        raise refuse(where, "nested less deeply") from error

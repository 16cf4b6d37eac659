"""How rooms look at JSON member by member: strictly at a client's, leniently at an upstream's. Knows no field by name,
and no dialect; those that name a field in quotation marks share it.

A client's mistake is a ``Failure`` that names the field in the client's own words; an upstream's is read as absent,
because a reply that is only a little wrong is still worth delivering.
"""

from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec

from ailink_provider.errors import Failure

Kind = TypeVar("Kind", str, bool, int, float, dict[str, Any], list[Any])

_WORDS: dict[Any, str] = {str: "a string", bool: "a boolean", int: "an integer", float: "a number", dict: "an object",
                          list: "a list"}


def invalid(param: str, message: str) -> Failure:
    """Return the failure for a field that is not as the API has it."""
    return Failure("invalid_request", f"'{param}' {message}.", param=param)


def unsupported(param: str, message: str) -> Failure:
    """Return the failure for a field whose loss would change the meaning of the answer."""
    return Failure("unsupported_parameter", f"'{param}' {message}.", param=param)


def optional(source: Mapping[str, Any], key: str, kind: type[Kind], where: str = "") -> Kind | None:
    """Return ``source[key]``, None if it is absent or null. Raises ``Failure`` if it is of another kind.

    ``where`` is the client's path to ``source``. A number may be written as an integer; a boolean is never a number.
    """
    value = source.get(key)
    if value is None:
        return None
    expected = (int, float) if kind is float else kind
    if not isinstance(value, expected) or (kind in (int, float) and isinstance(value, bool)):
        raise invalid(f"{where}.{key}" if where else key, f"must be {_WORDS[kind]}")
    return value


def required(source: Mapping[str, Any], key: str, kind: type[Kind], where: str = "") -> Kind:
    """Return ``source[key]``. Raises ``Failure`` if it is absent, null or of another kind."""
    value = optional(source, key, kind, where)
    if value is None:
        raise invalid(f"{where}.{key}" if where else key, f"is required and must be {_WORDS[kind]}")
    return value


def one_object(value: Any, where: str) -> dict[str, Any]:
    """Return ``value``. Raises ``Failure`` if it is not an object."""
    if not isinstance(value, dict):
        raise invalid(where, "must be an object")
    return value


def json_text(value: Any, where: str) -> str:
    """Return ``value`` as JSON text. Raises ``Failure`` if it is nested beyond reason or no UTF-8."""
    try:
        return msgspec.json.encode(value).decode()
    except (RecursionError, UnicodeEncodeError):
        raise invalid(where, "must be JSON of reasonable depth, in UTF-8") from None


def as_text(value: Any) -> str:
    """Return ``value`` if it is a string, else ""."""
    return value if isinstance(value, str) else ""


def as_object(value: Any) -> dict[str, Any]:
    """Return ``value`` if it is an object, else an empty one."""
    return value if isinstance(value, dict) else {}


def as_objects(value: Any) -> list[dict[str, Any]]:
    """Return the objects in ``value`` if it is a list, else none."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def as_count(value: Any) -> int:
    """Return ``value`` if it is a count, else 0."""
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0

"""Reading JSON that nobody has checked: each function returns a value as the type it promises, or raises a
``Failure`` (``invalid_request``) whose ``param`` is the path of the field in the client's own body.

Nothing is coerced, and nothing else is ever raised, whatever the JSON is. Knows no dialect; those that name a field by
its bare path share it.
"""

from collections.abc import Callable, Collection
from typing import Any, TypeVar

from ailink_provider.chat import Native
from ailink_provider.errors import Failure

T = TypeVar("T")


def invalid(path: str, why: str) -> Failure:
    """Return the failure of the field at ``path``; ``why`` completes the sentence that the path begins."""
    return Failure("invalid_request", f"{path}: {why}.", param=path)


def unsupported(path: str, message: str) -> Failure:
    """Return the failure of a field whose loss would change the answer's meaning."""
    return Failure("unsupported_parameter", message, param=path)


def required(source: dict[str, Any], key: str, read: Callable[[Any, str], T], path: str = "") -> T:
    """Return ``source[key]`` as ``read`` makes it. ``path`` leads to ``source``."""
    where = f"{path}.{key}" if path else key
    if source.get(key) is None:
        raise invalid(where, "the field is required")
    return read(source[key], where)


def optional(source: dict[str, Any], key: str, read: Callable[[Any, str], T], path: str = "") -> T | None:
    """Return ``source[key]`` as ``read`` makes it, or None where it is absent or null."""
    return None if source.get(key) is None else required(source, key, read, path)


def text(value: Any, path: str) -> str:
    """Return a string."""
    if not isinstance(value, str):
        raise invalid(path, "must be a string")
    return value


def flag(value: Any, path: str) -> bool:
    """Return true or false."""
    if not isinstance(value, bool):
        raise invalid(path, "must be true or false")
    return value


def count(value: Any, path: str) -> int:
    """Return a whole number that is not negative."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise invalid(path, "must be a whole number that is not negative")
    return value


def limit(value: Any, path: str) -> int:
    """Return a whole number of at least 1."""
    if count(value, path) < 1:
        raise invalid(path, "must be at least 1")
    return int(value)


def share(value: Any, path: str) -> float:
    """Return a number from 0 to 1."""
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value <= 1:
        raise invalid(path, "must be a number from 0 to 1")
    return value


def record(value: Any, path: str) -> dict[str, Any]:
    """Return an object."""
    if not isinstance(value, dict):
        raise invalid(path, "must be an object")
    return value


def array(value: Any, path: str) -> list[Any]:
    """Return a list, its items unread."""
    if not isinstance(value, list):
        raise invalid(path, "must be a list")
    return value


def texts(value: Any, path: str) -> list[str]:
    """Return a list of strings."""
    return [text(item, f"{path}[{index}]") for index, item in enumerate(array(value, path))]


def records(value: Any, path: str) -> list[dict[str, Any]]:
    """Return a list of objects."""
    return [record(item, f"{path}[{index}]") for index, item in enumerate(array(value, path))]


def member(value: Any, path: str) -> tuple[str, Any]:
    """Return the one member of a union: its name and its value, unread."""
    present = [(key, item) for key, item in record(value, path).items() if item is not None]
    if len(present) != 1:
        raise invalid(path, "must have exactly one member")
    return present[0]


def rest(source: dict[str, Any], known: Collection[str]) -> dict[str, Any]:
    """Return the members of ``source`` that have a value and are not ``known``."""
    return {key: value for key, value in source.items() if key not in known and value is not None}


def leftover(source: dict[str, Any], known: Collection[str], dialect: str) -> Native | None:
    """Return what ``rest`` does, to be carried unread by the name of its ``dialect``; None where that is nothing."""
    left = rest(source, known)
    return Native(dialect, left) if left else None

"""A request's JSON, read no deeper than needed and written back as it was read.

Bounds are checked before anything is decoded; a key that stands twice where it is read is refused, because two readers
might each believe another one. Everything malformed is a ``Failure``.
"""

import json
import re
from math import isinf
from typing import Any

import msgspec
from msgspec import Raw

from ailink_provider.dialects.halves import HALF, mended
from ailink_provider.errors import Failure

DEPTH_LIMIT = 64
NUMBER_LIMIT = 512  # digits
CONTAINERS_LIMIT = 500_000  # objects and arrays: to read one costs far more than the bytes that it takes

_EXPLAINED = 1 << 20  # bytes of a body up to which it is looked at once more, to say what is wrong
_STRINGS = re.compile(rb'"[^"]*"')
_LONG_NUMBER = re.compile(rb"(?<![0-9])[0-9]{%d}" % NUMBER_LIMIT)  # looked for where digits begin: in linear time
_NOT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_members = msgspec.json.Decoder(dict[str, Raw])


def read_members(body: bytes) -> dict[str, Raw]:
    """Return the top-level members, their values undecoded. Raises ``Failure`` (``invalid_request``)."""
    check_bounds(body)
    try:
        if not body.isascii():
            body.decode()  # what stays raw is not looked at otherwise
        members = _members.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        if len(body) < _EXPLAINED and mended(body) != body:
            raise Failure("invalid_request", f"The request body {HALF}.") from None
        raise _malformed(error) from None
    if not _is_exactly(body, members):
        _decode(body)
    return members


def read_tree(body: bytes) -> dict[str, Any]:
    """Return the whole object, decoded. Raises ``Failure`` (``invalid_request``), also for a key that stands twice."""
    check_bounds(body)
    tree = _decode(body)
    if not isinstance(tree, dict):
        raise Failure("invalid_request", "The request body must be a JSON object.")
    return tree


def read_document(body: bytes) -> Any:
    """Return any JSON, decoded. Raises ``Failure`` as ``read_tree`` does."""
    check_bounds(body)
    return _decode(body)


def check_bounds(body: bytes) -> None:
    """Raise ``Failure`` for JSON nested deeper than 64 levels, in too many pieces or with absurd numbers. Small bodies
    cost nothing.
    """
    opening = body.count(b"[") + body.count(b"{")
    if opening > DEPTH_LIMIT:
        outside = _STRINGS.sub(b"", body.replace(b"\\\\", b"").replace(b'\\"', b""))
        _check_numbers(outside)
        brackets = outside.translate(None, _NOT_BRACKETS)
        if len(brackets) > 2 * CONTAINERS_LIMIT:
            raise Failure("invalid_request", f"The request body has more than {CONTAINERS_LIMIT} objects and arrays.")
        for _ in range(DEPTH_LIMIT):
            if not brackets:
                return
            brackets = brackets.replace(b"[]", b"").replace(b"{}", b"")
        if brackets:
            raise Failure(
                "invalid_request", f"The request body is nested deeper than {DEPTH_LIMIT} levels, or not JSON."
            )
    elif len(body) > NUMBER_LIMIT and _LONG_NUMBER.search(body):
        _check_numbers(_STRINGS.sub(b"", body.replace(b"\\\\", b"").replace(b'\\"', b"")))


def _check_numbers(outside: bytes) -> None:
    if _LONG_NUMBER.search(outside):
        raise Failure("invalid_request", f"The request body has a number of more than {NUMBER_LIMIT} digits.")


def _is_exactly(body: bytes, members: dict[str, Raw]) -> bool:
    """Whether ``body`` is these members, once each, as most clients write them: without white space between them, or
    with a space after each comma and colon.
    """
    if b'": ' in body[:64]:
        # Its length would prove nothing here: a member that stands twice may be as long as all the spaces.
        return body == b"{%b}" % b", ".join([b'"%b": %b' % (key.encode(), value) for key, value in members.items()])
    size = 1 + len(members) + (not members)
    for key, value in members.items():
        if not key.isascii():
            return False
        size += len(key) + 3 + len(value)
    return size == len(body)


def _decode(body: bytes) -> Any:
    try:
        return json.loads(body, object_pairs_hook=_once, parse_float=_finite, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise _malformed(error) from None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        twice = _first_twice([name for name, _ in pairs])
        raise Failure("invalid_request", f"The key {twice[:64]!r} stands twice in one JSON object.", param=twice[:64])
    return members


def _first_twice(names: list[str]) -> str:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            break
        seen.add(name)
    return name


def _finite(text: str) -> float:
    number = float(text)
    if isinf(number):
        raise Failure("invalid_request", f"The request body has a number beyond all bounds: {text[:32]}.")
    return number


def _no_number(text: str) -> float:
    raise ValueError(f"{text} is no JSON")


def _malformed(error: Exception) -> Failure:
    said = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
    return Failure("invalid_request", f"The request body is not valid JSON: {said[:200]}.")

"""JSON in which an upstream cut a text between the halves of a surrogate pair: an emoji at the end of what a model may
say, or of a chunk. Half a character is no text, so that no strict reader takes it; the rest of the reply is as good as
any. What is read has a replacement character in its place. Knows no dialect.
"""

import re
from collections.abc import Callable
from typing import TypeVar

import msgspec

from ailink_provider.dialects.failures import UNREADABLE

_SURROGATE = re.compile(
    rb"\\u[dD](?:[89abAB][0-9a-fA-F]{2}(\\u[dD][c-fC-F][0-9a-fA-F]{2})?|[c-fC-F][0-9a-fA-F]{2})"
)
_BACKSLASH = 0x5C
HALF = "holds half of a UTF-16 surrogate pair (such as U+D83D alone): send whole characters"
"""What is wrong with a text of which that is so."""

T = TypeVar("T")
_REPLACEMENT = rb"\ufffd"


def mended(data: bytes) -> bytes:
    """Return JSON text with whole characters only; it stays as long as it was."""
    return _SURROGATE.sub(_whole, data)


def _whole(found: re.Match[bytes]) -> bytes:
    data, start = found.string, found.start()
    first = start
    while first and data[first - 1] == _BACKSLASH:
        first -= 1
    escaped = (start - first) % 2  # by a backslash before it: then it is text
    return found[0] if found[1] or escaped else _REPLACEMENT


def decode(data: bytes, read: Callable[[bytes], T] = msgspec.json.decode) -> T:
    """Return what ``read`` makes of an upstream's JSON. Raises what it raises, of ``UNREADABLE``, if that is none."""
    try:
        return read(data)
    except UNREADABLE:
        return read(mended(data))

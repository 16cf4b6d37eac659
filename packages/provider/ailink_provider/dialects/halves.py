"""JSON in which an upstream cut a text between the halves of a surrogate pair: an emoji at the end of what a model may
say, or of a chunk. Half a character is no text, so that no strict reader takes it; the rest of the reply is as good as
any. What is read has a replacement character in its place. Knows no dialect.
"""

import re
from typing import Any

import msgspec

from ailink_provider.dialects.failures import UNREADABLE

_ESCAPE = re.compile(
    rb"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(u[dD][89a-fA-F][0-9a-fA-F]{2})|[^u]|u)", re.DOTALL
)
_REPLACEMENT = rb"\ufffd"


def mended(data: bytes) -> bytes:
    """Return JSON text with whole characters only; it stays as long as it was."""
    return _ESCAPE.sub(lambda found: _REPLACEMENT if found[1] else found[0], data)


def decode(data: bytes) -> Any:
    """Return what an upstream's JSON says. Raises what ``UNREADABLE`` lists if it is none."""
    try:
        return msgspec.json.decode(data)
    except UNREADABLE:
        return msgspec.json.decode(mended(data))

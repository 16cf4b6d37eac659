"""AWS's binary event stream, as the mock writes it: a witness of its own, which shares nothing with the dialect's.

A frame is: its length, the length of its headers and a CRC-32 of both; the headers; the payload; a CRC-32 of it all.
"""

from struct import pack
from typing import Any
from zlib import crc32

from ailink_provider.testing.vendor import GARBAGE, Framing, encode

CONTENT_TYPE = "application/vnd.amazon.eventstream"
_TEXT = 7
_PADDING = "abcdefghijklmnopqrstuvwxyz"


def event(name: str, payload: dict[str, Any]) -> bytes:
    """Return the frame of an event. Its payload is padded, which hides how long it is."""
    padded = {**payload, "p": _PADDING[:1 + len(encode(payload)) % len(_PADDING)]}
    return _frame("event", ":event-type", name, encode(padded))


def exception(name: str, message: str) -> bytes:
    """Return the frame of an exception, which ends a stream."""
    return _frame("exception", ":exception-type", name, encode({"message": message}))


def _frame(kind: str, naming: str, name: str, payload: bytes) -> bytes:
    headers = {naming: name, ":content-type": "application/json", ":message-type": kind}
    head = b"".join(pack(">B", len(key)) + key.encode() + pack(">BH", _TEXT, len(value)) + value.encode()
                    for key, value in headers.items())
    lengths = pack(">II", 16 + len(head) + len(payload), len(head))
    frame = lengths + pack(">I", crc32(lengths)) + head + payload
    return frame + pack(">I", crc32(frame))


# An event of a kind that came later than the client, which passes it over.
FRAMING = Framing(_frame("event", ":event-type", "messageStart", GARBAGE), lambda frame: event("later", {}) + frame)

"""AWS's binary event streams (``application/vnd.amazon.eventstream``), cut into frames and put together.

A frame is a prelude (total length, length of the headers, CRC-32 of both), headers, a payload and a CRC-32 of all
before it; numbers are big-endian. Source: the event stream encoding of the Amazon Transcribe and Smithy guides. What a
payload means is not known here.
"""

import struct
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import TypeAlias
from zlib import crc32

from msgspec import Struct

from ailink_provider.errors import Failure

CONTENT_TYPE = "application/vnd.amazon.eventstream"
FRAME_LIMIT = 24 * 1024 * 1024
HEADERS_LIMIT = 128 * 1024

Header: TypeAlias = str | bytes | int | bool

_PRELUDE = struct.Struct(">III")
_NUMBER = struct.Struct(">I")
_LENGTH = struct.Struct(">H")
_LEAST = _PRELUDE.size + _NUMBER.size
_TRUE, _FALSE, _BYTES, _STRING, _UUID = 0, 1, 6, 7, 9
# The types whose size is told by the type: a byte, a short, an int, a long and a time in milliseconds.
_INTEGERS = {2: struct.Struct(">b"), 3: struct.Struct(">h"), 4: struct.Struct(">i"), 5: struct.Struct(">q"),
             8: struct.Struct(">q")}


class Frame(Struct, gc=False):
    """One message: its headers, its payload and the bytes it came as."""

    headers: Mapping[str, Header]
    payload: bytes
    raw: bytes

    def word(self, name: str) -> str:
        """Return a header that is text, "" where it is absent or another type."""
        value = self.headers.get(name)
        return value if isinstance(value, str) else ""


class Frames:
    """Cuts a byte stream, however it is chopped, into frames. Memory is bounded by ``limit`` bytes a frame."""

    def __init__(self, limit: int = FRAME_LIMIT) -> None:
        self._pending = bytearray()
        self._limit = limit

    def feed(self, chunk: bytes) -> Iterator[Frame]:
        """Yield the frames that ``chunk`` completes; consume them all.

        Raises ``Failure`` (``upstream_failed``) on bytes that are no event stream or were changed on their way.
        """
        data: bytes | bytearray = chunk
        if self._pending:
            self._pending += chunk
            data = self._pending
        start = 0
        while start < len(data) and (frame := self._next(data, start)) is not None:
            yield frame
            start += len(frame.raw)
        if data is chunk:
            self._pending += data[start:]
        else:
            del self._pending[:start]

    def _next(self, data: bytes | bytearray, start: int) -> Frame | None:
        if len(data) - start < _PRELUDE.size:
            return None
        total, headers_length, checksum = _PRELUDE.unpack_from(data, start)
        if crc32(data[start : start + 8]) != checksum:
            raise _broken("it does not begin as a frame of an event stream does")
        if headers_length > HEADERS_LIMIT or total < _LEAST + headers_length:
            raise _broken("the lengths of a frame contradict each other")
        if total > self._limit:
            raise _broken(f"a frame has more than {self._limit} bytes")
        if len(data) - start < total:
            return None
        raw = bytes(data[start : start + total])
        payload_start = _PRELUDE.size + headers_length
        if crc32(raw[:-4]) != _NUMBER.unpack_from(raw, total - 4)[0]:
            raise _broken("the checksum of a frame is wrong")
        return Frame(_read_headers(raw[_PRELUDE.size : payload_start]), raw[payload_start:-4], raw)


def encode(headers: Mapping[str, str], payload: bytes) -> bytes:
    """Return the frame of these headers, all of them text, and this payload."""
    parts = []
    for name, value in headers.items():
        written_name, written = name.encode(), value.encode()
        parts += [bytes([len(written_name)]), written_name, bytes([_STRING]), _LENGTH.pack(len(written)), written]
    head = b"".join(parts)
    lengths = struct.pack(">II", _LEAST + len(head) + len(payload), len(head))
    frame = lengths + _NUMBER.pack(crc32(lengths)) + head + payload
    return frame + _NUMBER.pack(crc32(frame))


@lru_cache(maxsize=64)  # a stream says the same few over and over
def _read_headers(data: bytes) -> Mapping[str, Header]:
    headers: dict[str, Header] = {}
    place = 0
    try:
        while place < len(data):
            name_end = place + 1 + data[place]
            name = data[place + 1 : name_end].decode()
            headers[name], place = _read_value(data, name_end)
    except (IndexError, struct.error, UnicodeDecodeError):
        raise _broken("the headers of a frame cannot be read") from None
    return headers


def _read_value(data: bytes, place: int) -> tuple[Header, int]:
    """Return the value at ``place`` and where the next header begins."""
    kind = data[place]
    place += 1
    if kind in (_TRUE, _FALSE):
        return kind == _TRUE, place
    if (integer := _INTEGERS.get(kind)) is not None:
        return int(integer.unpack_from(data, place)[0]), place + integer.size
    if kind == _UUID:
        length = 16
    elif kind in (_BYTES, _STRING):
        length = _LENGTH.unpack_from(data, place)[0]
        place += _LENGTH.size
    else:
        raise _broken(f"a header has the unknown type {kind}")
    value = data[place : place + length]
    if len(value) < length:
        raise IndexError(place)
    return value.decode() if kind == _STRING else value, place + length


def _broken(why: str) -> Failure:
    return Failure("upstream_failed", f"The upstream's event stream is broken: {why}.")

"""Server-sent events, read incrementally. Knows the framing of WHATWG HTML section 9.2 and nothing of what is inside.

Tolerates what upstreams really send: CR, LF and CRLF, a BOM, ``data:`` without a space, several data lines,
comments, and a last event without its blank line. Memory is bounded by ``limit`` bytes an event.
"""

import re
from typing import NamedTuple

from ailink_provider.errors import Failure

EVENT_LIMIT = 32 * 1024 * 1024
_BLANK_LINE = re.compile(rb"\r\n\r\n|\n\n|\r\r|\n\r\n|\r\n\n")
_LINE = re.compile(rb"\r\n|\n|\r")
_BOM = b"\xef\xbb\xbf"


class Frame(NamedTuple):
    """One event as it came: its ``event`` name (b"" if none), its ``data`` (None for a mere comment),
    and the ``raw`` bytes with their blank line."""

    event: bytes
    data: bytes | None
    raw: bytes


class Frames:
    """Cuts a byte stream, however it is chopped, into frames."""

    def __init__(self, limit: int = EVENT_LIMIT) -> None:
        self._pending = b""
        self._limit = limit
        self._started = False

    def feed(self, chunk: bytes) -> list[Frame]:
        """Return the frames that ``chunk`` completes. Raises ``Failure`` when one event passes the limit."""
        data = self._pending + chunk if self._pending else chunk
        if not self._started:
            if len(data) < 3 and _BOM.startswith(data):
                self._pending = data
                return []
            self._started = True
            data = data.removeprefix(_BOM)
        frames: list[Frame] = []
        start = 0
        newline = _newline(data)
        if newline is not None:
            blank_line = newline * 2
            while (end := data.find(blank_line, start)) >= 0:
                end += len(blank_line)
                frames.append(_frame(data[start:end], newline))
                start = end
        else:
            # A final CR may be half of a CRLF: wait for the next byte before calling it a line end.
            usable = len(data) - 1 if data.endswith(b"\r") else len(data)
            for match in _BLANK_LINE.finditer(data, 0, usable):
                frames.append(_frame(data[start : match.end()], None))
                start = match.end()
        self._pending = data[start:] if start else data
        if len(self._pending) > self._limit:
            raise Failure("upstream_failed", f"The upstream sent one event of more than {self._limit} bytes.")
        return frames

    def close(self) -> list[Frame]:
        """Return the last frame if the stream ended without its blank line."""
        rest, self._pending = self._pending, b""
        return [_frame(rest, None)] if rest.strip() else []


def _newline(data: bytes) -> bytes | None:
    """Return the line end that all lines have, LF or CRLF; None if they are mixed, or CR."""
    if b"\r" not in data:
        return b"\n"
    return b"\r\n" if data.count(b"\r") == data.count(b"\n") == data.count(b"\r\n") else None


def _frame(raw: bytes, newline: bytes | None) -> Frame:
    lines = raw.split(newline) if newline is not None else _LINE.split(raw)
    # What nearly every frame is: a line of data, or a name and a line of data, and the blank line.
    if len(lines) == 3 and not lines[1] and lines[0].startswith(b"data: "):
        return Frame(b"", lines[0][6:], raw)
    if len(lines) == 4 and not lines[2] and lines[0].startswith(b"event: ") and lines[1].startswith(b"data: "):
        return Frame(lines[0][7:], lines[1][6:], raw)
    name = b""
    data: list[bytes] = []
    for line in lines:
        key, _, value = line.partition(b":")
        if key == b"data":
            data.append(value.removeprefix(b" "))
        elif key == b"event":
            name = value.removeprefix(b" ")
    return Frame(name, b"\n".join(data) if data else None, raw)

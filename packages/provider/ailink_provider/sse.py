"""Server-sent events, read incrementally. Knows the framing of WHATWG HTML section 9.2 and nothing of what is inside.

Tolerates what upstreams really send: CR, LF and CRLF, a BOM, ``data:`` without a space, several data lines,
comments, and a last event without its blank line. Memory is bounded by ``limit`` bytes an event.
"""

import re

from msgspec import Struct

from ailink_provider.errors import Failure

EVENT_LIMIT = 32 * 1024 * 1024
_BLANK_LINE = re.compile(rb"\r\n\r\n|\n\n|\r\r|\n\r\n|\r\n\n")
_LINE = re.compile(rb"\r\n|\n|\r")
_EVENTS = re.compile(rb"(?:event: ([^\n]*)\n)?data: ([^\n]*)\n\n").findall
_BOM = b"\xef\xbb\xbf"
_LF, _CR = b"\n\r"  # as numbers: these are found several times as fast as bytes


class Frame(Struct, gc=False):
    """One event as it came: its ``event`` name (b"" if none), its ``data`` (None for a mere comment),
    and the ``raw`` bytes with their blank line."""

    event: bytes
    data: bytes | None
    raw: bytes


class Frames:
    """Cuts a byte stream, however it is chopped, into frames. ``pending`` is the beginning of one that is not whole."""

    def __init__(self, limit: int = EVENT_LIMIT) -> None:
        self.pending = bytearray()
        self._limit = limit
        self._started = False

    def feed(self, chunk: bytes) -> list[Frame]:
        """Return the frames that ``chunk`` completes. Raises ``Failure`` when one event passes the limit."""
        data = chunk
        if self.pending:
            if not self._completes(chunk):
                return []
            data = bytes(self.pending)
        if not self._started:
            if len(data) < 3 and _BOM.startswith(data):
                self.pending = bytearray(data)
                return []
            self._started = True
            data = data.removeprefix(_BOM)
        events = ordinary(data)
        if events is None:
            return self._cut(data)
        self.pending = bytearray()
        return _frames(data, events)

    def _completes(self, chunk: bytes) -> bool:
        """Add ``chunk`` to what is pending; return whether a frame may be whole now.

        What was looked at before is not looked at again: an event of megabytes comes in hundreds of chunks.
        """
        seen = len(self.pending)
        self.pending += chunk
        if not self._started or len(self.pending) > self._limit:
            return True
        return _BLANK_LINE.search(self.pending, max(seen - 3, 0)) is not None

    def _cut(self, data: bytes) -> list[Frame]:
        """Return the frames of any bytes; what is left of them waits."""
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
        self.pending = bytearray(data[start:] if start else data)
        if len(self.pending) > self._limit:
            raise Failure("upstream_failed", f"The upstream sent one event of more than {self._limit} bytes.")
        return frames

    def close(self) -> list[Frame]:
        """Return the last frame if the stream ended without its blank line."""
        rest, self.pending = bytes(self.pending), bytearray()
        return [_frame(rest, None)] if rest.strip() else []


def ordinary(data: bytes) -> list[tuple[bytes, bytes]] | None:
    """Return name and data of the events of what nearly every chunk is: whole events, each a line of data or a name and
    a line of data, all lines ended alike. None for anything else, which ``Frames`` can cut.
    """
    if _CR in data:
        return _ordinary_crlf(data)
    if data[-2:] != b"\n\n":
        return None
    content = data[6:-2]  # one event is what most chunks are
    if data[:6] == b"data: " and _LF not in content:
        return [(b"", content)]
    lines = data.split(b"\n", 4)
    if len(lines) == 4:
        name, line, blank, rest = lines
        if blank or rest or name[:7] != b"event: " or line[:6] != b"data: ":
            return None
        return [(name[7:], line[6:])]
    events: list[tuple[bytes, bytes]] = _EVENTS(data)
    size = 8 * len(events)
    for name, content in events:
        size += len(content)
        if name:
            size += len(name) + 8
    # What was passed over is not ordinary.
    return events if size == len(data) else None


def _ordinary_crlf(data: bytes) -> list[tuple[bytes, bytes]] | None:
    """The same for lines that end in CRLF, which no vendor names its events in."""
    pieces = data.split(b"\r\n\r\n")
    if pieces.pop():
        return None
    events = []
    for piece in pieces:
        content = piece[6:]
        if piece[:6] != b"data: " or _LF in content or _CR in content:
            return None
        events.append((b"", content))
    return events


def _frames(data: bytes, events: list[tuple[bytes, bytes]]) -> list[Frame]:
    """Return the frames of ordinary events, which ``data`` holds one behind the other."""
    if len(events) == 1:
        name, content = events[0]
        return [Frame(name, content, data)]
    ends = 2 if _CR in data else 1
    frames = []
    end = 0
    for name, content in events:
        start, end = end, end + len(b"data: ") + len(content) + 2 * ends
        if name:
            end += len(b"event: ") + len(name) + ends
        frames.append(Frame(name, content, data[start:end]))
    return frames


def _newline(data: bytes) -> bytes | None:
    """Return the line end that all lines have, LF or CRLF; None if they are mixed, or CR."""
    if _CR not in data:
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

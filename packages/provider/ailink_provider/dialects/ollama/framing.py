"""How a streamed answer is framed: JSON objects, one a line. Knows nothing of what is inside a line."""

import re

from ailink_provider.errors import Failure
from ailink_provider.sse import EVENT_LIMIT

_LINE = re.compile(rb"[^\n]*\n")


class Lines:
    """Cuts a byte stream, however it is chopped, into lines with their ends. Memory is bounded by ``limit`` bytes."""

    def __init__(self, limit: int = EVENT_LIMIT) -> None:
        self._limit = limit
        self._pieces: list[bytes] = []
        self._size = 0

    def feed(self, chunk: bytes) -> list[bytes]:
        """Return the lines that ``chunk`` completes. Raises ``Failure`` when one grows past the limit."""
        end = chunk.rfind(b"\n") + 1
        lines: list[bytes] = []
        if end:
            lines = _LINE.findall(b"".join([*self._pieces, chunk[:end]]))
            self._pieces, self._size, chunk = [], 0, chunk[end:]
        if chunk:
            self._pieces.append(chunk)
            self._size += len(chunk)
        if self._size > self._limit:
            raise Failure("upstream_failed", f"The upstream sent one line of more than {self._limit} bytes.")
        return lines

    def close(self) -> list[bytes]:
        """Return the last line if the stream ended without its end."""
        rest = b"".join(self._pieces)
        self._pieces, self._size = [], 0
        return [rest] if rest.strip() else []

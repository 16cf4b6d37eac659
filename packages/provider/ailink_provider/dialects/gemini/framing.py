"""How the chunks of a streamed answer are framed: server-sent events, or the elements of one JSON array.

Gemini sends the array to whoever asks without ``alt=sse``. Which of the two it is, the first byte tells. Frames hold
bytes that are not yet read; nothing here knows what is inside.
"""

import re

from ailink_provider.errors import Failure
from ailink_provider.sse import EVENT_LIMIT, Frame, Frames

_STRUCTURE = re.compile(rb'["\\{}\[\]]')


class Elements:
    """Cuts a JSON array of objects, however its bytes are chopped, into frames; ``raw`` has the commas too."""

    def __init__(self, limit: int = EVENT_LIMIT) -> None:
        self._limit = limit
        self._pending = b""
        self._seen = 0  # how much of what is pending was looked at
        self._escaped = -1  # the place of a character that a backslash protects
        self._quoted = False
        self._depth = 0
        self._start = 0

    def feed(self, chunk: bytes) -> list[Frame]:
        """Return the frames that ``chunk`` completes; the end of the array is one without data."""
        data = self._pending + chunk
        frames: list[Frame] = []
        done = 0
        for match in _STRUCTURE.finditer(data, self._seen):
            place = match.start()
            if not self._step(match[0], place):
                continue
            end = match.end()
            element = data[self._start : end] if self._depth == 1 else None
            frames.append(Frame(b"", element, data[done:end]))
            done = end
        self._pending = data[done:]
        self._seen = len(self._pending)
        self._escaped -= done
        self._start -= done
        if len(self._pending) > self._limit:
            raise Failure("upstream_failed", f"The upstream sent one event of more than {self._limit} bytes.")
        return frames

    def close(self) -> list[Frame]:
        """Return what came after the last frame, if anything did, as a frame without data."""
        rest, self._pending = self._pending, b""
        return [Frame(b"", None, rest)] if rest else []

    def _step(self, mark: bytes, place: int) -> bool:
        """Take one structural byte; return whether an element or the array ends with it."""
        if place == self._escaped:
            return False
        if self._quoted:
            if mark == b"\\":
                self._escaped = place + 1
            self._quoted = mark != b'"'
            return False
        if mark == b'"':
            self._quoted = True
        elif mark in b"{[":
            if self._depth == 1:
                self._start = place
            self._depth += 1
        elif mark in b"}]":
            self._depth -= 1
            return self._depth < 2
        return False


class Chunks:
    """Cuts a streamed answer into frames, whichever way it is framed."""

    def __init__(self) -> None:
        self._frames: Frames | Elements | None = None
        self._held = b""

    @property
    def is_array(self) -> bool:
        """Whether the answer has shown itself to be a JSON array."""
        return isinstance(self._frames, Elements)

    def feed(self, chunk: bytes) -> list[Frame]:
        """Return the frames that ``chunk`` completes. Raises ``Failure`` when one grows past the limit."""
        if self._frames is None:
            self._held += chunk
            begun = self._held.lstrip()
            if not begun:
                return []
            self._frames = Elements() if begun.startswith(b"[") else Frames()
            chunk = self._held
        return self._frames.feed(chunk)

    def close(self) -> list[Frame]:
        """Return what is left when the upstream closes."""
        return self._frames.close() if self._frames is not None else []

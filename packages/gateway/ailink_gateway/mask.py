"""Keeps an injected secret from coming back: an upstream that echoes it sends asterisks to the client instead.

The length stays the same, so declared lengths stay true. A secret that is cut by a chunk's border is found as well.
"""

from collections.abc import Sequence

SHORTEST = 8  # bytes: anything shorter is no secret, and would match by chance


def masked(spellings: Sequence[bytes], body: bytes) -> bytes:
    """Return a complete body without the secret, however it is spelled."""
    for secret in spellings:
        if len(secret) >= SHORTEST and secret in body:
            body = body.replace(secret, b"*" * len(secret))
    return body


class Mask:
    """Masks one secret, in all its spellings, in one stream of bytes."""

    def __init__(self, spellings: Sequence[bytes]) -> None:
        self._spellings = [secret for secret in spellings if len(secret) >= SHORTEST]
        self._bytes = b"".join(self._spellings)
        self._held = b""

    def feed(self, chunk: bytes) -> bytes:
        """Return the bytes that are safe to send now; a tail that may begin the secret is held back."""
        if not self._spellings:
            return chunk
        data = masked(self._spellings, self._held + chunk if self._held else chunk)
        if not data or data[-1] not in self._bytes:  # no secret can have begun: nearly every chunk ends with a line
            self._held = b""
            return data
        keep = max(_begun(secret, data) for secret in self._spellings)
        self._held = data[len(data) - keep :]
        return data[: len(data) - keep] if keep else data

    def close(self) -> bytes:
        """Return what was held back when nothing more comes."""
        held, self._held = self._held, b""
        return held


def _begun(secret: bytes, data: bytes) -> int:
    """Return how many bytes at the end of ``data`` may begin the secret."""
    if secret[0] in data[-len(secret) + 1 :]:
        for size in range(min(len(secret) - 1, len(data)), 0, -1):
            if data.endswith(secret[:size]):
                return size
    return 0

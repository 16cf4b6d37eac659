"""Takes compression off an answer, so that an echo of the secret can be found in it.

Upstreams are asked for none, and some compress all the same. A piece has at most ``PIECE`` bytes, however much is
packed. What is compressed in another way, or is part of a whole, passes as it is.
"""

import zlib
from collections.abc import AsyncGenerator, AsyncIterator

from ailink_provider.errors import Failure
from ailink_provider.transport import Response

PIECE = 64 * 1024
_GZIP, _ZLIB, _BARE = 31, 15, -15  # zlib's numbers for formats
_FORMATS = {b"gzip": _GZIP, b"x-gzip": _GZIP, b"deflate": _ZLIB}
_NO_WHOLE = frozenset((204, 206, 304))  # such answers have no body, or a part of one


def compression(method: str, response: Response) -> int | None:
    """Return the format of an answer that has to be unpacked, None if there is nothing to do."""
    coding = response.header(b"content-encoding")
    if coding is None or method == "HEAD" or response.status in _NO_WHOLE:
        return None
    return _FORMATS.get(coding.strip().lower())


async def unpacked(body: AsyncIterator[bytes], form: int) -> AsyncGenerator[bytes, None]:
    """Yield what ``body`` holds. Raises ``Failure`` (``upstream_failed``) if it is cut short or something else."""
    reader = None
    async for chunk in body:
        if reader is None:
            # Some send what "deflate" means without its two bytes of a head, whose first says how: 8 is the one way.
            bare = form == _ZLIB and chunk[0] & 15 != 8
            reader = zlib.decompressobj(_BARE if bare else form)
        while chunk or not reader.eof:
            if reader.eof:
                if form != _GZIP or chunk[:1] != b"\x1f":
                    break  # behind the end
                reader = zlib.decompressobj(form)
            try:
                piece = reader.decompress(chunk, PIECE)
            except zlib.error:
                raise _broken() from None
            chunk = reader.unused_data if reader.eof else reader.unconsumed_tail
            if piece:
                yield piece
            if not chunk and len(piece) < PIECE:
                break
    if reader is not None and not reader.eof:
        raise _broken()


def _broken() -> Failure:
    return Failure("upstream_failed", "The upstream's answer is not compressed as it says.")

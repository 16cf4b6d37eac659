"""Compressed answers are read as what they hold, wherever they are cut, and a small one never becomes a large piece."""

import gzip
import zlib
from collections.abc import AsyncIterator, Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ailink_gateway.unpack import PIECE, compression, unpacked
from ailink_provider.errors import Failure
from ailink_provider.transport import Response

TEXT = b"".join(b"line %d\n" % number for number in range(500))
BARE = zlib.compress(TEXT, wbits=-15)
PACKED = {b"gzip": gzip.compress(TEXT), b"x-gzip": gzip.compress(TEXT), b"deflate": zlib.compress(TEXT)}


async def read(packed: bytes, coding: bytes = b"gzip", cuts: Sequence[int] = ()) -> list[bytes]:
    async def pieces() -> AsyncIterator[bytes]:
        places = [0, *sorted(cuts), len(packed)]
        for start, end in pairwise(places):
            if packed[start:end]:
                yield packed[start:end]

    form = compression("GET", Response(200, [(b"content-encoding", coding)]))
    assert form is not None
    return [piece async for piece in unpacked(pieces(), form)]


@given(st.sampled_from([*PACKED.items(), (b"deflate", BARE)]), st.lists(st.integers(0, 2000), max_size=6))
async def test_cut_anywhere_it_is_the_same(case: tuple[bytes, bytes], cuts: list[int]) -> None:
    coding, packed = case
    assert b"".join(await read(packed, coding, [min(cut, len(packed)) for cut in cuts])) == TEXT


async def test_members_follow_each_other_and_what_is_behind_them_is_left_out() -> None:
    packed = gzip.compress(b"one ") + gzip.compress(b"two")
    for cut in range(len(packed)):
        assert b"".join(await read(packed + bytes(10), cuts=[cut])) == b"one two"


async def test_no_piece_is_large_however_much_is_packed() -> None:
    pieces = await read(gzip.compress(bytes(40 * PIECE)))
    assert sum(map(len, pieces)) == 40 * PIECE
    assert max(map(len, pieces)) == PIECE


@pytest.mark.parametrize("packed", [PACKED[b"gzip"][:-9], b"plain text", PACKED[b"gzip"] + gzip.compress(b"x")[:12]])
async def test_what_is_cut_short_or_something_else_is_no_answer(packed: bytes) -> None:
    with pytest.raises(Failure) as caught:
        await read(packed)
    assert caught.value.code == "upstream_failed"


async def test_nothing_holds_nothing() -> None:
    assert await read(b"") == []


@pytest.mark.parametrize(("method", "status", "coding"), [
    ("HEAD", 200, b"gzip"), ("GET", 206, b"gzip"), ("GET", 304, b"gzip"), ("GET", 200, b"br"),
    ("GET", 200, b"identity"), ("GET", 200, None),
])  # fmt: skip
def test_what_has_no_body_or_cannot_be_read_is_left_alone(method: str, status: int, coding: bytes | None) -> None:
    headers = [] if coding is None else [(b"content-encoding", coding)]
    assert compression(method, Response(status, headers)) is None

"""An injected secret never comes back, wherever chunks are cut."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from ailink_gateway.mask import Mask

SECRET = b"sk-aabaabaac"


def through(chunks: list[bytes]) -> bytes:
    mask = Mask((SECRET,))
    return b"".join([mask.feed(chunk) for chunk in chunks]) + mask.close()


@given(
    st.lists(st.sampled_from([SECRET, SECRET[:5], SECRET[5:], b"sk-", b"a", b"sk-aab", b"x", b""]), max_size=8),
    st.lists(st.integers(0, 80), max_size=8),
)
def test_never_in_the_output_and_nothing_else_is_lost(pieces: list[bytes], cuts: list[int]) -> None:
    body = b"".join(pieces)
    places = [0, *sorted(min(cut, len(body)) for cut in cuts), len(body)]
    out = through([body[a:b] for a, b in itertools.pairwise(places)])
    assert SECRET not in out
    assert len(out) == len(body)
    assert out == body.replace(SECRET, b"*" * len(SECRET))


def test_a_secret_that_is_cut_may_be_held_back_and_turn_out_to_be_none() -> None:
    mask = Mask((SECRET, b"c2stYWFiYWFiYWFj"))
    assert mask.feed(b"data: c2stYWF") == b"data: "
    assert mask.feed(b"\n\n") == b"c2stYWF\n\n"
    assert mask.feed(b"c2stYWF") == b""
    assert mask.feed(b"iYWFiYWFj\n") == b"*" * 16 + b"\n"
    assert mask.close() == b""


def test_without_a_secret_nothing_is_held_back() -> None:
    mask = Mask(())
    assert mask.feed(b"s") == b"s"
    assert mask.close() == b""

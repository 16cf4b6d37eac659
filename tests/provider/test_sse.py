"""Frames: the same events, however the bytes are cut and whichever line ends they use."""

import re
from itertools import pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ailink_provider.errors import Failure
from ailink_provider.sse import Frame, Frames, ordinary

STREAM = (b'\xef\xbb\xbf: hello\n\nevent: a\ndata: {"x":1}\n\ndata:no space\ndata: two\n\n'
          b'id: 7\nretry: 1\ndata: \xf0\x9f\x98\x80\n\ndata: last')
EVENTS = [(b"", None), (b"a", b'{"x":1}'), (b"", b"no space\ntwo"), (b"", "😀".encode()), (b"", b"last")]


def read(*chunks: bytes) -> list[Frame]:
    frames = Frames()
    return [frame for chunk in chunks for frame in frames.feed(chunk)] + frames.close()


def content(frames: list[Frame]) -> list[tuple[bytes, bytes | None]]:
    return [(frame.event, frame.data) for frame in frames]


@pytest.mark.parametrize("ending", [b"\n", b"\r\n", b"\r"])
def test_every_line_ending_reads_the_same_cut_anywhere(ending: bytes) -> None:
    stream = STREAM.replace(b"\n", ending)
    for cut in range(len(stream) + 1):
        assert content(read(stream[:cut], stream[cut:])) == EVENTS


@settings(deadline=None)
@given(st.lists(st.integers(0, len(STREAM)), max_size=12))
def test_chopped_at_will(cuts: list[int]) -> None:
    places = [0, *sorted(cuts), len(STREAM)]
    assert content(read(*(STREAM[a:b] for a, b in pairwise(places)))) == EVENTS


def test_raw_is_what_came() -> None:
    stream = b": note\r\n\r\ndata: 1\r\n\r\nevent: x\ndata: 2\n\n"
    assert b"".join(frame.raw for frame in read(stream)) == stream


def test_an_event_without_end_is_refused() -> None:
    frames = Frames(limit=100)
    with pytest.raises(Failure) as caught:
        for _ in range(11):
            frames.feed(b"data: 1234")
    assert caught.value.code == "upstream_failed"


def test_silence_after_the_last_blank_line_is_no_event() -> None:
    assert [frame.data for frame in read(b"data: 1\n\n\n\n") if frame.data is not None] == [b"1"]


LINES = st.sampled_from([b"", b"", b"", b"data: 1", b"data: 2", b"data:  3", b"data", b"event: a", b"event:b", b": x"])
ENDS = st.sampled_from([[b"\n"], [b"\r\n"], [b"\r"], [b"\n", b"\r\n"]]).map(st.sampled_from)
ANY_STREAM = ENDS.flatmap(lambda ends: st.lists(st.tuples(LINES, ends), max_size=12))


def by_the_book(stream: bytes) -> list[tuple[bytes, bytes | None]]:
    """What the standard says, without any shortcut: line by line, an event at each blank one."""
    events: list[tuple[bytes, bytes | None]] = []
    name, data, seen = b"", [], False
    for line in [*re.split(rb"\r\n|\n|\r", stream), b""]:
        if not line:
            if seen:
                events.append((name, b"\n".join(data) if data else None))
            name, data, seen = b"", [], False
            continue
        seen = True
        key, _, value = line.partition(b":")
        if key == b"event":
            name = value.removeprefix(b" ")
        elif key == b"data":
            data.append(value.removeprefix(b" "))
    return events


@settings(deadline=None)
@example([(b"data: 1", b"\n"), (b"data: 2", b"\n")], [])
@example([(b"event: a", b"\n"), (b"data: 1", b"\n"), (b"data: 2", b"\n")], [])
@given(ANY_STREAM, st.lists(st.integers(0, 100), max_size=5))
def test_the_short_ways_mean_what_the_long_one_does(pieces: list[tuple[bytes, bytes]], cuts: list[int]) -> None:
    stream = b"".join(line + end for line, end in pieces)
    places = [0, *sorted(cuts), len(stream)]
    frames = read(*(stream[a:b] for a, b in pairwise(places)))
    assert [event for event in content(frames) if event != (b"", None)] == [
        event for event in by_the_book(stream) if event != (b"", None)]
    assert b"".join(frame.raw for frame in frames).strip() == stream.strip()


def test_a_large_event_is_looked_through_once(monkeypatch: pytest.MonkeyPatch) -> None:
    looked_at: list[int] = []

    def watched(data: bytes) -> list[tuple[bytes, bytes]] | None:
        looked_at.append(len(data))
        return ordinary(data)

    monkeypatch.setattr("ailink_provider.sse.ordinary", watched)
    event = b"event: image\ndata: " + b"a" * 100_000 + b"\ndata: b" * 1000 + b"\n\n"
    pieces = [event[start : start + 100] for start in range(0, len(event), 100)]
    [frame] = read(*pieces)
    assert frame.raw == event
    assert sum(looked_at) < 2 * len(event)

"""Frames, against what botocore reads and refuses, however their bytes are chopped."""

import random
import struct
from zlib import crc32

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ailink_provider.dialects.bedrock_converse.eventstream import FRAME_LIMIT, Frames, encode
from ailink_provider.errors import Failure

EMPTY = bytes.fromhex("000000100000000005c248eb7d98c8ff")
names = st.text(min_size=1, max_size=20).filter(lambda name: len(name.encode()) < 256)


def cut(stream, size=1 << 20):
    frames, found = Frames(), []
    for start in range(0, len(stream), size):
        found += frames.feed(stream[start:start + size])
    return found


@pytest.mark.parametrize("name", ["empty", "an event", "every type of header", "words"])
def test_a_frame_is_read_as_botocore_reads_it(golden, name):
    case = golden("frames.json")["whole"][name]
    raw = bytes.fromhex(case["hex"])
    (frame,) = cut(raw)
    headers = {key: value.hex() if isinstance(value, bytes) else value for key, value in frame.headers.items()}
    assert {"headers": headers, "payload": frame.payload.hex()} == case["read"]
    assert frame.raw == raw


@pytest.mark.parametrize("name", [
    "prelude", "checksum of the prelude", "payload", "checksum", "too long", "no event stream"])
def test_what_botocore_refuses_is_refused(golden, name):
    with pytest.raises(Failure, match=r"^The upstream's event stream is broken: ") as caught:
        cut(bytes.fromhex(golden("frames.json")["spoilt"][name]["hex"]))
    assert caught.value.code == "upstream_failed"


def test_an_empty_frame_is_the_one_of_the_specification():
    assert encode({}, b"") == EMPTY


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.dictionaries(names, st.text(max_size=30), max_size=3), st.binary(max_size=60)),
                max_size=4), st.integers(1, 50))
def test_frames_come_out_as_they_went_in(frames, size):
    stream = b"".join(encode(headers, payload) for headers, payload in frames)
    found = cut(stream, size)
    assert [(frame.headers, frame.payload) for frame in found] == frames
    assert b"".join(frame.raw for frame in found) == stream


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=80))
def test_any_bytes_are_frames_or_broken(data):
    try:
        cut(data)
    except Failure as failure:
        assert failure.code == "upstream_failed"


@settings(max_examples=150, deadline=None)
@given(st.binary(min_size=1, max_size=40))
def test_any_headers_are_read_or_broken(head):
    lengths = struct.pack(">II", 16 + len(head), len(head))
    frame = lengths + struct.pack(">I", crc32(lengths)) + head
    try:
        (read,) = cut(frame + struct.pack(">I", crc32(frame)))
    except Failure as failure:
        assert failure.code == "upstream_failed"
    else:
        assert read.headers


@pytest.mark.parametrize("head", [
    b"\x01a\x0a", b"\x01a\x07\x00\x05abc", b"\x01a\x09abc", b"\x01a\x05abc", b"\x01a\x07", b"\x01a", b"\x05a",
    b"\x01\xff\x00", b"\x01a\x07\x00\x01\xff"])
def test_headers_that_cannot_be_read_are_refused(head):
    lengths = struct.pack(">II", 16 + len(head), len(head))
    frame = lengths + struct.pack(">I", crc32(lengths)) + head
    with pytest.raises(Failure, match="header"):
        cut(frame + struct.pack(">I", crc32(frame)))


@pytest.mark.parametrize("place", range(16))
def test_no_changed_byte_goes_unnoticed(place):
    frame = bytearray(encode({"a": "b"}, b"c"))
    frame[place % len(frame)] ^= 0x10
    with pytest.raises(Failure):
        cut(bytes(frame))


def test_frames_before_a_broken_one_are_read():
    frames = Frames()
    found = []
    with pytest.raises(Failure):
        for frame in frames.feed(EMPTY + EMPTY + b"broken" * 4):
            found.append(frame)
    assert [frame.raw for frame in found] == [EMPTY, EMPTY]


@pytest.mark.parametrize(("total", "headers"), [
    (FRAME_LIMIT + 1, 0), (15, 0), (16, 1), (200_000, 150_000), (2**32 - 1, 2**32 - 1)])
def test_lengths_that_cannot_be_are_refused_at_once(total, headers):
    lengths = struct.pack(">II", total, headers)
    with pytest.raises(Failure):
        cut(lengths + struct.pack(">I", crc32(lengths)))


def test_a_header_of_another_type_is_no_word(golden):
    (frame,) = cut(bytes.fromhex(golden("frames.json")["whole"]["every type of header"]["hex"]))
    assert (frame.word("type7"), frame.word("type6"), frame.word("type2"), frame.word("none")) == ("héé", "", "", "")


def test_a_large_frame_in_many_pieces_is_read_once():
    payload = random.Random(1).randbytes(3_000_000)
    (frame,) = cut(encode({}, payload), 4096)
    assert frame.payload == payload

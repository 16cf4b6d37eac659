import gc
import weakref
from itertools import pairwise
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ailink_provider.errors import Failure
from ailink_provider.transport.answer import HEAD_LIMIT, AnswerReader

OK = b"HTTP/1.1 200 OK\r\n"


class Answer(NamedTuple):
    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes
    complete: bool
    reusable: bool


def read(*pieces: bytes, bodiless: bool = False, eof: bool = False) -> Answer:
    reader = AnswerReader("host:80")
    reader.begin(bodiless)
    body = b""
    for piece in pieces:
        reader.feed(piece)
        if reader.headed and reader.pieces and not reader.complete:
            body += reader.take()
    complete = reader.eof() if eof else reader.complete
    if complete:
        body += reader.end()
    return Answer(reader.status, reader.headers, body, complete, reader.reusable)


WHOLE = {
    "length": (OK + b"Content-Length: 3\r\n\r\nabc", Answer(200, [(b"content-length", b"3")], b"abc", True, True)),
    "empty": (OK + b"content-length:0\r\n\r\n", Answer(200, [(b"content-length", b"0")], b"", True, True)),
    "chunked": (
        OK + b"Transfer-Encoding: Chunked \r\n\r\n3;x=y\r\nabc\r\n0a\r\n0123456789\r\n0\r\n\r\n",
        Answer(200, [(b"transfer-encoding", b"Chunked")], b"abc0123456789", True, True),
    ),
    "trailers are not headers": (
        OK + b"Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nSet-Cookie: a=b\r\nX: y\r\n\r\n",
        Answer(200, [(b"transfer-encoding", b"chunked")], b"a", True, True),
    ),
    "headers keep order, repeats and values": (
        OK + b"Set-Cookie: a\r\nX:\t b c \t\r\nSET-COOKIE: B\r\nEmpty:\r\nL: \xe4\r\nContent-Length: 0\r\n\r\n",
        Answer(200, [
            (b"set-cookie", b"a"), (b"x", b"b c"), (b"set-cookie", b"B"), (b"empty", b""), (b"l", b"\xe4"),
            (b"content-length", b"0"),
        ], b"", True, True),
    ),
    "encodings stay on": (
        OK + b"Content-Encoding: gzip\r\nContent-Length: 2\r\n\r\n\x1f\x8b",
        Answer(200, [(b"content-encoding", b"gzip"), (b"content-length", b"2")], b"\x1f\x8b", True, True),
    ),
    "no reason": (b"HTTP/1.1 503\r\nContent-Length: 0\r\n\r\n",
                  Answer(503, [(b"content-length", b"0")], b"", True, True)),
    "close": (
        OK + b"Connection: close\r\nContent-Length: 1\r\n\r\na",
        Answer(200, [(b"connection", b"close"), (b"content-length", b"1")], b"a", True, False),
    ),
    "1.0": (b"HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\na",
            Answer(200, [(b"content-length", b"1")], b"a", True, False)),
    "1.0 kept alive": (
        b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 1\r\n\r\na",
        Answer(200, [(b"connection", b"keep-alive"), (b"content-length", b"1")], b"a", True, True),
    ),
    "204": (b"HTTP/1.1 204 No Content\r\n\r\n", Answer(204, [], b"", True, True)),
    "204 with a length": (b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n",
                          Answer(204, [(b"content-length", b"0")], b"", True, True)),
    "304": (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n",
            Answer(304, [(b"content-length", b"9")], b"", True, True)),
    "interim answers": (
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"
        b"HTTP/1.1 199 Odd\r\n\r\n" + OK + b"Content-Length: 1\r\n\r\na",
        Answer(200, [(b"content-length", b"1")], b"a", True, True),
    ),
}
UNTIL_CLOSE = {
    "1.1": (OK + b"X: y\r\n\r\nabc", Answer(200, [(b"x", b"y")], b"abc", True, False)),
    "1.0": (b"HTTP/1.0 200 OK\r\n\r\nabc", Answer(200, [], b"abc", True, False)),
    "empty": (OK + b"\r\n", Answer(200, [], b"", True, False)),
}


@pytest.mark.parametrize("name", WHOLE)
def test_reads_answers_wherever_they_are_cut(name: str) -> None:
    data, expected = WHOLE[name]
    assert read(data) == expected
    for cut in range(1, len(data)):
        assert read(data[:cut], data[cut:]) == expected
        assert read(data[:cut]) != expected
    assert read(*(data[at:at + 1] for at in range(len(data)))) == expected


@pytest.mark.parametrize("name", UNTIL_CLOSE)
def test_a_body_may_end_with_its_connection(name: str) -> None:
    data, expected = UNTIL_CLOSE[name]
    for cut in range(1, len(data)):
        assert read(data[:cut], data[cut:], eof=True) == expected
    assert not read(data).complete


@given(st.sampled_from(sorted(WHOLE)), st.sets(st.integers(1, 200)))
def test_any_number_of_cuts_reads_the_same(name: str, cuts: set[int]) -> None:
    data, expected = WHOLE[name]
    edges = [0, *sorted(cut for cut in cuts if cut < len(data)), len(data)]
    assert read(*(data[start:end] for start, end in pairwise(edges))) == expected


@pytest.mark.parametrize("data", [
    OK + b"Content-Length: 3\r\n\r\nab",
    OK + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
    OK + b"Transfer-Encoding: chunked\r\n\r\n3\r\nab",
    OK + b"Content-Le",
    b"",
])
def test_the_connections_end_does_not_complete_a_framed_answer(data: bytes) -> None:
    assert not read(data, eof=True).complete


@pytest.mark.parametrize(("data", "reusable"), [
    (OK + b"Content-Length: 5000\r\n\r\n", True),
    (OK + b"Transfer-Encoding: chunked\r\n\r\n", True),
    (OK + b"Content-Length: 0\r\n\r\n", True),
    (OK + b"\r\n", False),
    (OK + b"Connection: close\r\nContent-Length: 10\r\n\r\n", False),
    (OK + b"Content-Length: 3\r\n\r\nabc", False),  # a body that must not be
])
def test_heads_have_no_body(data: bytes, reusable: bool) -> None:
    answer = read(data, bodiless=True)
    assert (answer.body, answer.complete, answer.reusable) == (b"", True, reusable)


def test_reads_one_answer_after_another() -> None:
    reader = AnswerReader("host:80")
    for data, expected in [*WHOLE.values(), *WHOLE.values()]:
        if not expected.reusable:
            continue
        reader.begin(False)
        reader.feed(data)
        assert (reader.status, reader.headers, reader.end(), reader.complete) == expected[:4]
        reader.begin(True)
        reader.feed(OK + b"Content-Length: 7\r\n\r\n")
        assert (reader.complete, reader.end(), reader.reusable) == (True, b"", True)


@pytest.mark.parametrize("extra", [b"x", OK, OK + b"Content-Length: 1\r\n\r\nb", b"\r\n\r\nHTTP/1.1 200"])
@pytest.mark.parametrize("end", [b"Content-Length: 1\r\n\r\na", b"Connection: close\r\nContent-Length: 1\r\n\r\na"])
def test_bytes_behind_an_answer_are_not_part_of_it(end: bytes, extra: bytes) -> None:
    answer = read(OK + end + extra)
    assert (answer.body, answer.complete, answer.reusable) == (b"a", True, False)
    assert dict(answer.headers)[b"content-length"] == b"1"


def test_bytes_without_a_request_are_no_answer() -> None:
    reader = AnswerReader("host:80")
    reader.feed(OK + b"Content-Length: 1\r\n\r\na")
    assert (reader.complete, reader.headed, reader.end()) == (True, False, b"")


SMUGGLED = {
    "both": b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "both, turned": b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n",
    "two lengths": b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
    "the same twice": b"Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc",
    "a list": b"Content-Length: 3, 3\r\n\r\nabc",
    "signed": b"Content-Length: +3\r\n\r\nabc",
    "negative": b"Content-Length: -3\r\n\r\nabc",
    "hex": b"Content-Length: 0x3\r\n\r\nabc",
    "endless": b"Content-Length: 99999999999999999999\r\n\r\nabc",
    "no length": b"Content-Length:\r\n\r\n",
    "gzip": b"Transfer-Encoding: gzip\r\n\r\nabc",
    "gzip, chunked": b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "chunked, gzip": b"Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n",
    "two codings": b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "xchunked": b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "identity": b"Transfer-Encoding: identity\r\n\r\nabc",
    "space": b"Content-Length : 3\r\n\r\nabc",
    "folded": b"X: a\r\n b\r\nContent-Length: 0\r\n\r\n",
    "bare LF": b"X: a\nContent-Length: 0\r\n\r\n",
    "bare CR": b"X: a\rb\r\nContent-Length: 0\r\n\r\n",
    "NUL": b"X: a\0b\r\nContent-Length: 0\r\n\r\n",
    "no name": b": a\r\nContent-Length: 0\r\n\r\n",
    "length in a trailer": b"Transfer-Encoding: chunked\r\n\r\n0\r\nContent-Length: 3\r\n\r\n",
    "chunk size": b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
    "chunk size with 0x": b"Transfer-Encoding: chunked\r\n\r\n0x1\r\na\r\n0\r\n\r\n",
    "chunk size overflow": b"Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n",
    "chunk too long": b"Transfer-Encoding: chunked\r\n\r\n1\r\nabc\r\n0\r\n\r\n",
    "chunk with LF": b"Transfer-Encoding: chunked\r\n\r\n1\na\n0\n\n",
}


@pytest.mark.parametrize("name", SMUGGLED)
def test_refuses_ambiguous_framing(name: str) -> None:
    data = OK + SMUGGLED[name]
    for pieces in ([data], [data[at:at + 1] for at in range(len(data))]):
        with pytest.raises(Failure) as raised:
            read(*pieces, eof=True)
        assert raised.value.code == "upstream_failed"


@pytest.mark.parametrize("data", [
    b"SSH-2.0-OpenSSH_9.6\r\n", b"220 mail ESMTP\r\n", b"\x15\x03\x01\x00\x02\x02\x46", b"<html>",
    b"GET / HTTP/1.1\r\n\r\n",
    b"HTTP/1.1 20 OK\r\n\r\n", b"HTTP/1.1 2000 OK\r\n\r\n", b"HTTP/1.1 000 No\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 099 No\r\nContent-Length: 0\r\n\r\n", b"HTTP/1.1 600 No\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 200 OK\nContent-Length: 0\n\n", b"HTTP/3.0 200 OK\r\n\r\n",
    b"HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n\x81\x01a",
    b"HTTP/1.1 101 Switching\r\n\r\n",
    b"HTTP/1.1 104 Odd\r\nContent-Length: 1\r\n\r\na" + OK + b"Content-Length: 0\r\n\r\n",
])
def test_refuses_what_is_no_answer(data: bytes) -> None:
    with pytest.raises(Failure) as raised:
        read(data)
    assert raised.value.code == "upstream_failed"
    assert raised.value.message.startswith("host:80 ")


@pytest.mark.parametrize(("fields", "fine"), [
    (b"X: y\r\n" * 199, True),
    (b"X: y\r\n" * 200, False),
    (b"X: " + b"y" * 60_000 + b"\r\n", True),
    (b"X: " + b"y" * HEAD_LIMIT + b"\r\n", False),
    (b"X: " + b"y" * 400 + b"\r\n", True),
    ((b"X: " + b"y" * 400 + b"\r\n") * 180, False),
])
@pytest.mark.parametrize("step", [1_000, 10_000_000])
def test_headers_are_bounded(fields: bytes, fine: bool, step: int) -> None:
    data = OK + fields + b"Content-Length: 100000\r\n\r\n" + b"a" * 100_000
    pieces = [data[at:at + step] for at in range(0, len(data), step)]
    if fine:
        assert len(read(*pieces).body) == 100_000
    else:
        with pytest.raises(Failure, match="more headers"):
            read(*pieces)


@pytest.mark.parametrize("endless", [
    [b"HTTP/1.1 100 Continue\r\n\r\n"],
    [OK + b"X: ", b"y" * 100],
    [OK, b"X: y\r\n"],
    [OK + b"Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nX: ", b"y" * 100],
    [OK + b"Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n", b"X: y\r\n"],
    [OK + b"Transfer-Encoding: chunked\r\n\r\n1;", b"x" * 100],
    [OK + b"Transfer-Encoding: chunked\r\n\r\n", b"0" * 100],
    [b"\r\n"],
])
def test_framing_without_end_is_refused(endless: list[bytes]) -> None:
    fed = 0
    reader = AnswerReader("host:80")
    reader.begin(False)
    with pytest.raises(Failure):
        while True:
            piece = endless[min(fed, len(endless) - 1)]
            reader.feed(piece)
            if reader.headed and reader.pieces:
                reader.take()
            fed += 1
            assert fed < HEAD_LIMIT


def test_framing_between_pieces_is_counted_anew() -> None:
    reader = AnswerReader("host:80")
    reader.begin(False)
    reader.feed(OK + b"Transfer-Encoding: chunked\r\n\r\n")
    for _ in range(3):
        reader.feed(b"10000;x=y\r\n")
        reader.feed(b"a" * 0x10000)
        assert reader.take() == b"a" * 0x10000
        reader.feed(b"\r\n")
    reader.feed(b"0\r\n\r\n")
    assert reader.complete


def test_a_switch_of_protocols_is_named() -> None:
    with pytest.raises(Failure, match="status 101"):
        read(b"HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n")


@given(st.binary(max_size=200) | st.binary(max_size=80).map(OK.__add__), st.integers(0, 200), st.booleans())
def test_whatever_comes_is_an_answer_or_a_failure(data: bytes, cut: int, bodiless: bool) -> None:
    try:
        answer = read(data[:cut], data[cut:], bodiless=bodiless, eof=True)
    except Failure as failure:
        assert failure.code == "upstream_failed"
    else:
        assert len(answer.body) <= len(data)


def test_a_released_reader_leaves_no_circle() -> None:
    reader = AnswerReader("host:80")
    gone = weakref.ref(reader)
    gc.disable()
    try:
        reader.release()
        del reader
        assert gone() is None
    finally:
        gc.enable()

from collections.abc import AsyncIterator

import httptools
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ailink_provider.errors import Failure
from ailink_provider.transport import Origin, Request
from ailink_provider.transport.request import write_head

ORIGIN = Origin("http", "host", 80)
HOST = b" HTTP/1.1\r\nHost: host"
OWN = [
    b"connection", b"content-length", b"expect", b"host", b"keep-alive", b"proxy-connection", b"te", b"trailer",
    b"transfer-encoding", b"upgrade",
]


async def pieces() -> AsyncIterator[bytes]:
    yield b"x"


def head(
    method: str = "GET", target: bytes = b"/", headers: list[tuple[bytes, bytes]] | None = None,
    body: bytes | AsyncIterator[bytes] | None = None,
) -> bytes:
    return write_head(Request(method, ORIGIN, target, headers or [], body), HOST)


@pytest.mark.parametrize(("method", "body", "framing"), [
    ("GET", None, b""),
    ("GET", b"", b""),
    ("DELETE", None, b""),
    ("DELETE", b"ab", b"\r\nContent-Length: 2"),
    ("POST", b"abc", b"\r\nContent-Length: 3"),
    ("POST", b"", b"\r\nContent-Length: 0"),
    ("PUT", None, b"\r\nContent-Length: 0"),
    ("PATCH", None, b"\r\nContent-Length: 0"),
    ("POST", pieces(), b"\r\nTransfer-Encoding: chunked"),
])
def test_frames_the_body(method: str, body: bytes | AsyncIterator[bytes] | None, framing: bytes) -> None:
    assert head(method, body=body) == b"%b / HTTP/1.1\r\nHost: host%b\r\n\r\n" % (method.encode(), framing)


def test_writes_headers_as_given() -> None:
    written = head("QUERY", b"/a?b=%20c", [(b"X-One", b"1"), (b"x-one", b" \xff\t"), (b"Empty", b"")])
    assert written == (
        b"QUERY /a?b=%20c HTTP/1.1\r\nHost: host\r\nX-One: 1\r\nx-one:  \xff\t\r\nEmpty: \r\n\r\n"
    )


@pytest.mark.parametrize("name", [name.swapcase() for name in OWN] + [name.title() for name in OWN])
def test_leaves_out_what_is_the_transports(name: bytes) -> None:
    assert head("POST", headers=[(name, b"7"), (b"A", b"b")], body=b"xy") == (
        b"POST / HTTP/1.1\r\nHost: host\r\nA: b\r\nContent-Length: 2\r\n\r\n"
    )


@pytest.mark.parametrize("target", [
    b"", b"*", b"thing", b"http://other/", b"/a b", b"/a\r\nX: y", b"/a\n", b"/\0", b"/\x7f", b"/\xc3\xbc", b"/a#b",
])
def test_refuses_targets(target: bytes) -> None:
    with pytest.raises(Failure) as raised:
        head(target=target)
    assert (raised.value.code, raised.value.param) == ("invalid_request", "path")


@pytest.mark.parametrize("method", ["", "GE T", "GET\r\n", "GÉT", "\ud800", "GET /x HTTP/1.1", "CONNECT", "connect"])
def test_refuses_methods(method: str) -> None:
    with pytest.raises(Failure) as raised:
        head(method)
    assert (raised.value.code, raised.value.param) == ("invalid_request", "method")


@pytest.mark.parametrize(("name", "value", "param"), [
    (b"", b"x", "headers"), (b"a b", b"x", "headers"), (b"a:", b"x", "headers"), (b"a: b\r\nc", b"x", "headers"),
    (b"a\n", b"x", "headers"), (b"\xc3\xa4", b"x", "headers"), (b"a\0", b"x", "headers"), (b"a" * 257, b"", "headers"),
    (b"Key", b"secret\r\nX: y", "Key"), (b"Key", b"secret\n", "Key"), (b"Key", b"\rsecret", "Key"),
    (b"Key", b"secret\0", "Key"), (b"Key", b"secret\r\n\r\nGET / HTTP/1.1", "Key"),
])
def test_refuses_headers(name: bytes, value: bytes, param: str) -> None:
    with pytest.raises(Failure) as raised:
        head(headers=[(b"Fine", b"fine"), (name, value), (b"Also", b"fine")])
    assert (raised.value.code, raised.value.param) == ("invalid_request", param)
    assert "secret" not in raised.value.message


class Seen:
    """What a server's parser makes of a request."""

    def __init__(self, data: bytes) -> None:
        self.headers: list[tuple[bytes, bytes]] = []
        self.messages = 0
        httptools.HttpRequestParser(self).feed_data(data)

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name, value))

    def on_message_complete(self) -> None:
        self.messages += 1


hostile = st.binary(max_size=12) | st.text("\r\n\0:\t Ab", max_size=8).map(str.encode)


names = st.sampled_from([b"A", b"X-Key"]) | hostile.filter(lambda name: name.lower() not in OWN)


@given(st.lists(st.tuples(names, hostile), max_size=4))
def test_a_server_sees_what_was_given_or_nothing(headers: list[tuple[bytes, bytes]]) -> None:
    try:
        written = head(headers=headers)
    except Failure:
        return
    assert written.count(b"\n") == 3 + len(headers)
    controls = set(range(32)) - {9} | {127}
    if not any(controls & set(value) for _, value in headers):  # a strict server refuses these outright
        seen = Seen(written)
        assert seen.messages == 1
        expected = [(name, value.strip(b" \t")) for name, value in headers]
        assert [(name, value.strip(b" \t")) for name, value in seen.headers] == [(b"Host", b"host"), *expected]

"""A request and its bytes on the wire. Whatever could end a line or begin another request is refused here."""

import re
from collections.abc import AsyncIterable
from functools import lru_cache

from msgspec import Struct

from ailink_provider.errors import Failure
from ailink_provider.transport.origin import Origin

_TARGET = re.compile(rb"/[!\"$-~]*")  # visible ASCII without "#"
_TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,256}")  # RFC 9110 section 5.6.2; the length is ours
_BREAK = re.compile(rb"[\r\n\0]")
# They belong to the connection or to the framing, and both are the transport's.
_OWN = frozenset({
    b"connection", b"content-length", b"expect", b"host", b"keep-alive", b"proxy-connection", b"te", b"trailer",
    b"transfer-encoding", b"upgrade",
})


class Request(Struct):
    """What is sent.

    ``target`` is the raw path with its query. ``headers`` go out in order and as written, except those that the
    transport alone sets, which are left out: Host, Content-Length, Transfer-Encoding, Connection and the other
    fields of a connection. A streamed ``body`` goes out chunked. ``resend`` tells whether the request may be sent
    again when a kept-alive connection turns out dead before any byte of an answer; a streamed body never is.
    ``begun`` is set by who sends it, before the first byte leaves: what fails earlier has reached nobody.
    """

    method: str
    url: Origin
    target: bytes
    headers: list[tuple[bytes, bytes]]
    body: bytes | AsyncIterable[bytes] | None = None
    resend: bool = False
    begun: bool = False


def write_head(request: Request, host: bytes) -> bytes:
    """Return the request up to its empty line. ``host`` is " HTTP/1.1" and the Host line, made once an origin.

    Raises ``Failure`` (``invalid_request``) for a target, name or value that does not fit HTTP.
    """
    if not _TARGET.fullmatch(request.target):
        raise Failure("invalid_request", "The path must start with / and hold visible ASCII only.", param="path")
    body = request.body
    if body is None or isinstance(body, bytes):
        framing = b"\r\nContent-Length: %d" % len(body) if body else _empty(request.method)
    else:
        framing = b"\r\nTransfer-Encoding: chunked"
    return b"".join((
        _method(request.method), request.target, host, _write_headers(request.headers), framing, b"\r\n\r\n",
    ))


def _write_headers(headers: list[tuple[bytes, bytes]]) -> bytes:
    lines = [start + value for name, value in headers if (start := _line_start(name))]
    block = b"".join(lines)
    # Each line brings one CR and one LF: any other came in a value. Counting is far cheaper than a look at each.
    if block.count(b"\r") != len(lines) or block.count(b"\n") != len(lines) or 0 in block:
        name = next(name for name, value in headers if _BREAK.search(value))
        raise Failure("invalid_request", "A header's value holds a line break or NUL.", param=name.decode("ascii"))
    return block


@lru_cache(maxsize=1024)
def _line_start(name: bytes) -> bytes:
    if not _TOKEN.fullmatch(name):
        raise Failure("invalid_request", "A header's name may hold letters, digits and hyphens only.", param="headers")
    return b"" if name.lower() in _OWN else b"\r\n%b: " % name


@lru_cache(maxsize=64)
def _method(method: str) -> bytes:
    token = method.encode("utf-8", "surrogatepass")
    if not _TOKEN.fullmatch(token) or token.upper() == b"CONNECT":
        raise Failure("invalid_request", "This HTTP method cannot be sent.", param="method")
    return token + b" "


def _empty(method: str) -> bytes:
    """The framing of no body: said where one would be expected (RFC 9110 section 8.6)."""
    return b"\r\nContent-Length: 0" if method in {"POST", "PUT", "PATCH"} else b""

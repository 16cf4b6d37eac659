"""Answers read off a connection's bytes, one after another, by llhttp. Bytes in, facts out: no socket, no clock.

llhttp itself refuses what answers are smuggled with: a Content-Length twice or beside a Transfer-Encoding, bare CR
or LF, folded lines, spaces before a colon. The rest of what must not pass is refused here.
"""

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from ailink_provider.errors import Failure

HEAD_LIMIT = 64 * 1024  # bytes of an answer before its body, or of framing between two pieces of it
HEADERS_LIMIT = 200
_FRAMING = frozenset((b"content-length", b"transfer-encoding"))


class AnswerReader:
    """Reads the answers of the upstream at ``authority``: ``begin``, then ``feed`` until ``complete``.

    ``headed`` is set when ``status`` and ``headers`` are known; ``pieces`` is what has come of the body. Interim
    (1xx) answers and trailers are read over. ``reusable`` tells whether the connection may carry another exchange.
    """

    def __init__(self, authority: str) -> None:
        self._authority = authority
        self.complete = True  # nothing is expected
        self.headed = False
        self.status = 0
        self.headers: list[tuple[bytes, bytes]] = []
        self.pieces: list[bytes] = []
        self.reusable = False
        self._bodiless = False
        self._until_close = False
        self._received = 0  # bytes since ``begin`` or the last piece of the body
        self._fields: list[tuple[bytes, bytes]] = []
        self.on_body = self.pieces.append
        self._renew()

    def begin(self, bodiless: bool) -> None:
        """Expect an answer; if ``bodiless`` (it answers HEAD), one without a body whatever its headers say."""
        self.complete = self.headed = False
        self._bodiless = bodiless
        self._received = 0
        self._fields = []

    @property
    def started(self) -> bool:
        """Whether any byte of the answer has come."""
        return self.headed or self._received > 0

    def feed(self, data: bytes) -> None:
        """Read on. Raises ``Failure`` if this is no answer, or one with more headers or framing than allowed."""
        self._received += len(data)
        try:
            self._feed(data)
        except (HttpParserError, HttpParserUpgrade) as error:
            if not self.complete:
                raise self._reason(error) from None
            self.reusable = False  # bytes behind the answer, or unasked for
        if self._received > HEAD_LIMIT and not self.pieces and not self.complete:
            raise self._broken("sent more headers or framing than allowed")

    def take(self) -> bytes:
        """Return what has come of the body since the last time."""
        pieces = self.pieces
        body = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        pieces.clear()
        self._received = 0
        return body

    def end(self) -> bytes:
        """Return the rest of the body of a complete answer."""
        body = self.take() if self.pieces else b""
        if self._bodiless:
            self._renew()  # the old one waits for a body
            self.reusable = self.reusable and not body
            return b""
        return body

    def eof(self) -> bool:
        """The upstream ended the connection properly: return whether that completes the answer."""
        if self.headed and self._until_close:
            self.complete = True
        return self.complete

    def release(self) -> None:
        """Read no more. Undoes the circle of references between this and the parser."""
        del self._parser, self._feed

    def _renew(self) -> None:
        self._parser = HttpResponseParser(self)
        self._feed = self._parser.feed_data

    def _broken(self, what: str) -> Failure:
        return Failure("upstream_failed", f"{self._authority} {what}.")

    def _reason(self, error: Exception) -> Failure:
        cause = error.__context__  # what one of the callbacks below raised
        return cause if isinstance(cause, Failure) else self._broken(f"did not answer in HTTP/1.1 ({error})")

    # --- called by the parser ------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        if self.complete:
            raise self._broken("sent an answer that was not asked for")

    def on_header(self, name: bytes, value: bytes) -> None:
        self._fields.append((name.lower(), value.rstrip()))

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        fields, self._fields = self._fields, []  # what comes later is a trailer, which nobody reads
        if status < 200:
            if status == 101 or status < 100:
                raise self._broken(f"answered with status {status}")
            return
        if len(fields) > HEADERS_LIMIT or self._received > HEAD_LIMIT < _size(fields):
            raise self._broken("sent more headers than allowed")
        named = dict(fields)
        if status > 599 or (b"transfer-encoding" in named and not _is_chunked(fields)):
            raise self._broken("answered with an unknown status or transfer coding")
        self.status = status
        self.headers = fields
        self.headed = True
        self.reusable = self._parser.should_keep_alive()
        self._until_close = not self.reusable and _FRAMING.isdisjoint(named)
        if self._bodiless:
            self.complete = True

    def on_message_complete(self) -> None:
        if self.headed:
            self.complete = True
        elif self.pieces:
            raise self._broken("sent an interim answer with a body")


def _is_chunked(fields: list[tuple[bytes, bytes]]) -> bool:
    return [value.lower() for name, value in fields if name == b"transfer-encoding"] == [b"chunked"]


def _size(fields: list[tuple[bytes, bytes]]) -> int:
    return sum(len(name) + len(value) + 4 for name, value in fields)

"""Replies as post-phase rules see them: status, headers, and the body, whole. A stream is gathered before it is read.

What a rule makes of a gathered stream is written as a stream again, so that the client gets what it asked for.
"""

from collections.abc import AsyncGenerator, Callable
from typing import TYPE_CHECKING, Any

from ailink_gateway.envelope import read_tree
from ailink_gateway.policy.bodies import Body, JsonBody, Unreadable, read_body
from ailink_gateway.policy.paths import MISSING
from ailink_provider.chat import Chat, collect, unfold
from ailink_provider.dialects import Sent
from ailink_provider.errors import Failure

if TYPE_CHECKING:
    from ailink_gateway.exchange import Exchange, Headers, Reply

LARGEST = 64 * 1024 * 1024
WATCHED = 4 * 1024 * 1024
"""Bytes of a reply that shadow rules may read; a larger one they cannot decide on."""


class Answer:
    """What the client is about to get. ``data`` is the body, None where it is not all there."""

    def __init__(self, exchange: "Exchange", status: int, headers: "Headers", data: bytes | None) -> None:
        self.status, self.headers, self.data = status, headers, data
        self._exchange = exchange
        self._body: Body | None = None
        self._read = False

    def header(self, name: bytes) -> Any:
        """Return a header, a repeated one joined by commas, or MISSING."""
        values = [value for key, value in self.headers if key.lower() == name]
        return b", ".join(values).decode("utf-8", "replace") if values else MISSING

    @property
    def body(self) -> Body | None:
        """The body, read when it is first asked for; None if it is empty. Raises ``Unreadable``."""
        if not self._read:
            self._body = self._read_body()
            self._read = True
        return self._body

    def replace(self, data: bytes) -> None:
        """Put another body in the place of this one."""
        self.data = data

    def _read_body(self) -> Body | None:
        if self.data is None:
            raise Unreadable("the reply is too large to be looked at")
        exchange = self._exchange
        kind = self.header(b"content-type")
        if exchange.route.kind == "model" and exchange.streaming and 200 <= self.status < 300 and self.data:
            return StreamBody(exchange, self.data)
        if self.header(b"content-encoding") not in (MISSING, "identity"):
            raise Unreadable("the reply is compressed")
        return read_body(None if kind is MISSING else kind, self.data, model=False)


class StreamBody(JsonBody):
    """A reply that came as a stream, as the whole reply that it makes up."""

    def __init__(self, exchange: "Exchange", data: bytes) -> None:
        self._operation = exchange.route.dialect.operations[exchange.route.operation]
        try:
            self._request = self._operation.read_request(
                read_tree(exchange.body), exchange.model, exchange.route.stream
            )
            reader = self._operation.reader(Sent(body={}))
            reply = collect([*reader.feed(data), *reader.close()])
            tree = self._operation.write_reply(reply, self._request)
        except Failure as failure:
            raise Unreadable(f"the stream broke off: {failure.message.rstrip('.')}") from None
        super().__init__(data, tree)

    def encode(self) -> bytes:
        """Return the reply as a stream. Raises ``Unreadable`` if what a rule made of it is no reply any more."""
        if not isinstance(self._request, Chat) or not isinstance(self.tree, dict):
            raise Unreadable("only a chat's stream can be rewritten", "body_not_rewritable")
        try:
            reply = self._operation.read_reply(self.tree, Sent(body={}))
        except Failure:
            raise Unreadable("what a rule makes of the stream is no reply any more", "body_not_rewritable") from None
        writer = self._operation.writer(self._request)
        return b"".join([writer.write(event) for event in unfold(reply)])


async def gather(reply: "Reply") -> bytes:
    """Return the whole body of a reply. Raises ``Failure`` if it is cut short or larger than 64 MiB."""
    if isinstance(reply.body, bytes):
        return reply.body
    chunks: list[bytes] = []
    size = 0
    try:
        async for chunk in reply.body:
            chunks.append(chunk)
            size += len(chunk)
            if size > LARGEST:
                message = f"A policy must read the reply, and it is longer than {LARGEST} bytes."
                raise Failure("upstream_failed", message)
    finally:
        await reply.body.aclose()
    return b"".join(chunks)


async def abandon(reply: "Reply", *, begun: bool) -> None:
    """Give up a reply that the client will not get. A model's has ``begun``: what it cost so far is settled."""
    if not isinstance(reply.body, bytes):
        if begun:  # its first piece is there; a generator that never ran would not know that it ends
            await anext(reply.body, None)
        elif reply.close is not None:
            reply.close()
        await reply.body.aclose()


async def watched(
    body: AsyncGenerator[bytes, None], is_complete: Callable[[], bool], judge: Callable[[bytes | None], None]
) -> AsyncGenerator[bytes, None]:
    """Pass a body on as it comes, and have it judged, whole, before its last piece goes out and its record is written.

    ``judge`` gets None for one that is larger than ``WATCHED``.
    """
    chunks: list[bytes] = []
    size = 0
    judged = False
    try:
        async for chunk in body:
            size += len(chunk)
            if size <= WATCHED:
                chunks.append(chunk)
            if is_complete() and not judged:
                judged = True
                judge(b"".join(chunks) if size <= WATCHED else None)
            yield chunk
        if not judged:
            judged = True
            judge(b"".join(chunks) if size <= WATCHED else None)
    finally:
        await body.aclose()


def without_length(headers: "Headers") -> "Headers":
    """Return headers without the length of a body that may be another now."""
    return [header for header in headers if header[0].lower() != b"content-length"]

"""What a call carried, for tokens whose calls are kept with their bodies: collected on the way, within bounds."""

from collections.abc import AsyncGenerator

from msgspec import Struct

from ailink_gateway.exchange import Exchange, Headers, Reply

METADATA, REDACTED, FULL = LEVELS = ("metadata", "redacted", "full")
BODY_KEPT = 256 * 1024  # bytes of either body


class Transcript(Struct):
    """One call's bodies. Sizes are in bytes of the whole, also where less is kept."""

    record_id: str
    project_id: str
    level: str
    created_at: float
    request: bytes
    request_size: int
    request_type: str | None
    reply_type: str | None
    reply: bytearray
    reply_size: int = 0

    @property
    def size(self) -> int:
        """How many bytes it holds."""
        return len(self.request) + len(self.reply)

    def add(self, chunk: bytes) -> None:
        """Note what goes out to the client."""
        self.reply_size += len(chunk)
        if len(self.reply) < BODY_KEPT:
            self.reply += chunk[: BODY_KEPT - len(self.reply)]


def transcribe(exchange: Exchange, reply: Reply) -> Transcript | None:
    """Return the transcript of a call as its token wants it, to which the reply adds itself; None if it wants none."""
    grant = exchange.grant
    if grant is None or grant.log_level == METADATA:
        return None
    transcript = Transcript(
        record_id=exchange.id,
        project_id=grant.project_id,
        level=grant.log_level,
        created_at=exchange.created_at,
        request=exchange.body[:BODY_KEPT],
        request_size=len(exchange.body),
        request_type=exchange.header(b"content-type"),
        reply_type=_content_type(reply.headers),
        reply=bytearray(),
    )
    if isinstance(reply.body, bytes):
        transcript.add(reply.body)
    else:
        reply.body = _copied(reply.body, transcript)
    return transcript


async def _copied(body: AsyncGenerator[bytes, None], transcript: Transcript) -> AsyncGenerator[bytes, None]:
    try:
        async for chunk in body:
            transcript.add(chunk)
            yield chunk
    finally:
        await body.aclose()


def _content_type(headers: Headers) -> str | None:
    return next((value.decode("latin-1") for name, value in headers if name.lower() == b"content-type"), None)

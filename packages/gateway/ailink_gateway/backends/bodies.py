"""Keeps what calls carried: redacts, seals and stores it, behind the calls' backs.

It is given transcripts on the request path, where it only queues them. The queue is bounded: when the store does not
keep up, bodies are dropped and counted, never calls. What is queued when the process dies is lost; the record is not.
"""

import asyncio
import contextlib
import logging
from base64 import b64encode
from collections import deque
from collections.abc import Sequence
from typing import Any

from msgspec.json import encode
from sqlalchemy.exc import SQLAlchemyError

from ailink_gateway.redact import redacted
from ailink_gateway.store.bodies import insert_bodies
from ailink_gateway.store.rows import Row
from ailink_gateway.store.store import Store, StoreUnavailable
from ailink_gateway.transcript import BODY_KEPT, REDACTED, Transcript
from ailink_gateway.vault import Vault, body_place

logger = logging.getLogger("ailink.bodies")

QUEUE_BYTES = 64 * 1024 * 1024
BATCH = 50
RETRY_SECONDS = 1.0
GATHER_SECONDS = 0.1


class BodyKeeper:
    """Transcripts on their way to the store.

    Args:
        keep_seconds: how long a body is kept, from the beginning of its call.
    """

    def __init__(self, store: Store, vault: Vault, keep_seconds: float, *, queue_bytes: int = QUEUE_BYTES) -> None:
        self._store, self._vault, self._keep_seconds, self._queue_bytes = store, vault, keep_seconds, queue_bytes
        self._queue: deque[Transcript] = deque()
        self._held = 0
        self._wake = asyncio.Event()
        self._stop = asyncio.Event()
        self.dropped = 0

    def keep(self, transcript: Transcript) -> None:
        """Queue a transcript, or drop it if too much waits."""
        if self._held + transcript.size > self._queue_bytes:
            self.dropped += 1
            return
        self._held += transcript.size
        self._queue.append(transcript)
        self._wake.set()

    async def run(self) -> None:
        """Store what is queued until ``stop``, and then what is left."""
        dropped = 0
        while not (self._stop.is_set() and not self._queue):
            if not self._stop.is_set():
                await self._wake.wait()
                self._wake.clear()
            while self._queue:
                await self._store_some()
            if self.dropped > dropped:
                logger.warning("%d bodies were dropped: the store does not keep up", self.dropped - dropped)
                dropped = self.dropped
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stop.wait(), GATHER_SECONDS)

    def stop(self) -> None:
        """Let ``run`` end once the queue is empty."""
        self._stop.set()
        self._wake.set()

    async def _store_some(self) -> None:
        batch = [self._queue.popleft() for _ in range(min(BATCH, len(self._queue)))]
        rows = await asyncio.to_thread(self._seal, batch)
        while True:
            try:
                await self._store.write(insert_bodies, rows)
                break
            except (StoreUnavailable, SQLAlchemyError) as error:
                if self._stop.is_set():
                    self.dropped += len(batch)
                    logger.error("%d bodies could not be stored: %s", len(batch), type(error).__name__)
                    break
                await asyncio.sleep(RETRY_SECONDS)
        self._held -= sum(transcript.size for transcript in batch)

    def _seal(self, batch: Sequence[Transcript]) -> list[Row]:
        return [
            {
                "record_id": transcript.record_id,
                "project_id": transcript.project_id,
                "sealed": self._vault.seal(
                    encode(document(transcript)), body_place(transcript.project_id, transcript.record_id)
                ),
                "created_at": transcript.created_at,
                "expires_at": transcript.created_at + self._keep_seconds,
            }
            for transcript in batch
        ]


def document(transcript: Transcript) -> dict[str, Any]:
    """Return what is kept of a call, as the API shows it."""
    hide = transcript.level == REDACTED
    return {
        "level": transcript.level,
        "request": _side(transcript.request, transcript.request_size, transcript.request_type, hide),
        "response": _side(bytes(transcript.reply), transcript.reply_size, transcript.reply_type, hide),
    }


def _side(body: bytes, size: int, content_type: str | None, hide: bool) -> dict[str, Any]:
    cut = size > BODY_KEPT
    about = {"content_type": content_type, "size_bytes": size, "truncated": cut}
    try:
        # A cut may fall inside a character.
        text = body.decode("utf-8", "ignore" if cut else "strict")
    except UnicodeDecodeError:
        # What is no text cannot be searched for secrets.
        return {**about, "encoding": "base64", "body": None if hide else b64encode(body).decode()}
    return {**about, "encoding": "utf-8", "body": redacted(text) if hide else text}

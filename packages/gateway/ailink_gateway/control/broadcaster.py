"""Tells open audit streams that there are new rows. Holds no rows: each stream reads the table at its own pace."""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from ailink_provider.errors import Failure

STREAMS = 64


class Broadcaster:
    """One signal for all streams, so that a slow reader costs no memory.

    The shipper calls ``publish`` when rows are in the store, and the server ``close`` when it begins to stop: both in
    the event loop.
    """

    def __init__(self, streams: int = STREAMS) -> None:
        self._news = asyncio.Event()
        self._free = streams
        self.closed = False

    def publish(self, rows: Sequence[object]) -> None:
        """Wake the streams, if there are rows."""
        if rows:
            self._wake()

    def close(self) -> None:
        """End the streams."""
        self.closed = True
        self._wake()

    @property
    def news(self) -> asyncio.Event:
        """What is set when more rows arrive than were there when this was asked. Ask first, then read the table."""
        return self._news

    @contextmanager
    def place(self) -> Iterator[None]:
        """Hold one of the places for streams. Raises ``Failure`` when all are taken."""
        if self._free == 0:
            raise Failure("rate_limit_exceeded", "Too many audit streams are open: close one first.", retry_after=5)
        self._free -= 1
        try:
            yield
        finally:
            self._free += 1

    def _wake(self) -> None:
        self._news.set()
        self._news = asyncio.Event()

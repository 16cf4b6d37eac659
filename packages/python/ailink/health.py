"""The gateway's health, asked in the background, so that no request waits for the question."""

import asyncio
import contextlib
import threading
from types import TracebackType
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from ailink import AIlinkClient, AsyncClient

INTERVAL = 15.0  # seconds


class HealthPoller:
    """Asks every ``interval`` seconds, in a thread, whether the gateway of ``client`` is healthy.

    Use it as a context manager; it has asked once when the block begins. Raises ``ValueError`` for an interval that is
    not more than 0.
    """

    def __init__(self, client: "AIlinkClient", interval: float = INTERVAL) -> None:
        self._client, self._interval = client, _checked(interval)
        self._healthy = False
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def is_healthy(self) -> bool:
        """What the last answer was. Asks nothing."""
        return self._healthy

    def __enter__(self) -> Self:
        self._stop.clear()
        self._healthy = self._client.is_healthy()
        self._thread = threading.Thread(target=self._run, name="ailink-health", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(self._interval):
            self._healthy = self._client.is_healthy()


class AsyncHealthPoller:
    """The same for ``AsyncClient``, in a task."""

    def __init__(self, client: "AsyncClient", interval: float = INTERVAL) -> None:
        self._client, self._interval = client, _checked(interval)
        self._healthy = False
        self._task: asyncio.Task[None] | None = None

    @property
    def is_healthy(self) -> bool:
        """What the last answer was. Asks nothing."""
        return self._healthy

    async def __aenter__(self) -> Self:
        self._healthy = await self._client.is_healthy()
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self._interval)
            self._healthy = await self._client.is_healthy()


def _checked(interval: float) -> float:
    if interval <= 0:
        raise ValueError("interval must be more than 0 seconds")
    return interval

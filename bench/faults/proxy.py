"""A TCP proxy that is as bad as networks are: late, cut short, reset, or a black hole. Has a thread of its own."""

import asyncio
import socket
import struct
import threading
from types import TracebackType
from typing import NamedTuple, Self


class Weather(NamedTuple):
    """What happens to connections that are made from now on. ``late`` seconds each way; ``cut`` and ``reset`` after so
    many bytes of answer; ``hole``: nothing ever arrives.
    """

    late: float = 0.0
    cut: int | None = None
    reset: int | None = None
    hole: bool = False


class Proxy:
    """A proxy to one port of this machine."""

    def __init__(self, upstream: int) -> None:
        self._weather = Weather()
        self._open = set[asyncio.Task[None]]()
        self.port = 0
        self._upstream = upstream
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)

    def __enter__(self) -> Self:
        """Listen."""
        self._thread.start()
        self._ready.wait()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop."""
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    def change(self, weather: Weather) -> None:
        """Let the weather change: connections that were kept open through the one before are closed."""
        asyncio.run_coroutine_threadsafe(self._change(weather), self._loop).result()

    async def _change(self, weather: Weather) -> None:
        self._weather = weather
        for connection in self._open:
            connection.cancel()

    async def _serve(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        server = await asyncio.start_server(self._connect, "127.0.0.1", 0, backlog=1024)
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._stop.wait()
        server.close()
        await self._change(Weather())
        if self._open:
            await asyncio.wait(self._open)

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        weather = self._weather
        connection = asyncio.current_task()
        assert connection is not None
        self._open.add(connection)
        try:
            if weather.hole:
                while await reader.read(65_536):
                    pass
                return
            there, back = await asyncio.open_connection("127.0.0.1", self._upstream)
            up = asyncio.create_task(self._copy(reader, back, weather.late, None))
            try:
                await self._copy(there, writer, weather.late, weather.cut if weather.cut is not None else weather.reset)
            finally:
                up.cancel()
                back.close()
            if weather.reset is not None:
                # To close with a linger of nothing is to reset.
                writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        except OSError:
            pass  # an end broke off by itself
        except asyncio.CancelledError:
            pass  # the weather has changed: this task has nothing left to do but end
        finally:
            self._open.discard(connection)
            writer.close()

    async def _copy(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, late: float, most: int | None
    ) -> None:
        left = most
        while data := await source.read(65_536):
            if late:
                await asyncio.sleep(late)
            sink.write(data if left is None else data[:left])
            await sink.drain()
            if left is not None and (left := left - len(data)) <= 0:
                return

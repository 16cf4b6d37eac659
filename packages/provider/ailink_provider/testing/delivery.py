"""How an answer leaves the mock: whole or event by event, and broken where a test asked for it."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator
from itertools import chain, islice, pairwise

from ailink_provider.testing.script import Fault
from ailink_provider.testing.server import Exchange
from ailink_provider.testing.vendor import GARBAGE, Refusal, Stream, Vendor, Whole

_PAGE = (
    b"<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>\r\n<center><h1>502 Bad Gateway</h1></center>\r\n"
    b"<hr><center>nginx</center>\r\n</body>\r\n</html>\r\n"
)


class Delivery:
    """Sends one answer. ``hold`` waits for the test to let a hanging answer go on."""

    def __init__(self, exchange: Exchange, vendor: Vendor, hold: Callable[[], Awaitable[object]]) -> None:
        self._exchange = exchange
        self._vendor = vendor
        self._hold = hold

    async def send(self, reply: Whole | Stream, fault: Fault | None, model: str) -> None:
        """Send ``reply``, or what ``fault`` makes of it."""
        if fault is not None:
            if await self._strike_before_head(fault):
                return
            reply = self._replaced(reply, fault, model)
        if isinstance(reply, Whole):
            await self._whole(reply, fault)
        else:
            await self._stream(reply, fault, model)

    async def _strike_before_head(self, fault: Fault) -> bool:
        """Do what is to happen before a byte is sent; return whether that was all."""
        if fault.kind == "delay":
            await asyncio.sleep(fault.seconds)
        elif fault.kind == "hang" and fault.at is None:
            await self._hold()
        elif fault.kind == "reset":
            self._exchange.reset()
            return True
        elif fault.kind == "cut" and fault.at is None:
            self._exchange.cut()
            return True
        return False

    def _replaced(self, reply: Whole | Stream, fault: Fault, model: str) -> Whole | Stream:
        if fault.kind == "html":
            return Whole(fault.status or 502, [("content-type", "text/html; charset=utf-8")], _PAGE)
        if fault.kind in ("status", "context", "quota"):
            return self._vendor.refuse(self._refusal(fault, model))
        return reply

    def _refusal(self, fault: Fault, model: str) -> Refusal:
        kind: str = fault.kind
        if kind not in ("context", "quota"):
            status = fault.status or (503 if kind == "error_event" else 500)
            kind = self._vendor.errors.get(status, "server" if status >= 500 else "invalid")
        return Refusal(kind, fault.message, status=fault.status, retry_after=fault.retry_after, model=model)

    async def _whole(self, reply: Whole, fault: Fault | None) -> None:
        kind = None if fault is None else fault.kind
        body = GARBAGE if kind == "malformed" else reply.body
        await self._exchange.start(reply.status, reply.headers, len(body))
        if kind == "cut":
            await self._exchange.write(body[: len(body) // 2])
            self._exchange.cut()
            return
        for piece in _bytes_of([body]) if kind == "drip" else [body]:
            await self._exchange.write(piece)
            await asyncio.sleep(0)
        await self._exchange.finish()

    async def _stream(self, reply: Stream, fault: Fault | None, model: str) -> None:
        await self._exchange.start(200, reply.headers)
        frames = iter(reply.frames) if fault is None else self._broken(reply, fault, model)
        for number, frame in enumerate(frames):
            if fault is not None and fault.kind == "hang" and number == fault.at:
                await self._hold()
            await self._exchange.write(frame)
            # One turn of the loop an event, so that each leaves in a write of its own.
            await asyncio.sleep(0)
        if fault is not None and fault.kind == "cut":
            self._exchange.cut()
        else:
            await self._exchange.finish()

    def _broken(self, reply: Stream, fault: Fault, model: str) -> Iterator[bytes]:
        frames, at = iter(reply.frames), fault.at or 0
        if fault.kind == "cut":
            return islice(frames, at)
        if fault.kind == "error_event":
            return chain(islice(frames, at), [self._vendor.error_event(self._refusal(fault, model))])
        if fault.kind == "malformed":
            return chain(islice(frames, at), [reply.framing.garbage], frames)
        if fault.kind == "eof":
            return (frame for frame, _ in pairwise(frames)) if fault.at is None else islice(frames, at)
        if fault.kind == "drip":
            return _bytes_of(frames)
        return map(reply.framing.noisy, frames) if fault.kind == "noise" else frames


def _bytes_of(frames: Iterable[bytes]) -> Iterator[bytes]:
    return (bytes((byte,)) for frame in frames for byte in frame)

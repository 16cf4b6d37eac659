"""The spool: a local append-only journal that every call passes through before its last byte is sent.

Each call appends an ``Opened`` line before the upstream is asked and a ``Record`` line before the client has its
answer, by one write each, so that the death of the process loses neither; a background thread makes them durable
against the machine's (``fdatasync`` a few times a second). A shipper reads the journal and inserts records into the
store, in batches. It never drops a line: a store that fails delays rows, and a full disk refuses new calls before they
cost anything.

Segments are allocated in full when they are made, so a call that was admitted can always write its record.

Here every record becomes the next row of the audit chain: what is written is chained already, in the order of writing.
"""

import asyncio
import contextlib
import fcntl
import logging
import mmap
import os
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TypeVar

import msgspec

from ailink_gateway.chain import Chain
from ailink_gateway.record import Opened, Record, unknown
from ailink_provider.errors import Failure

logger = logging.getLogger("ailink.spool")

LINE_LIMIT = 6144  # bytes; records cap their own fields well below it
SEGMENT_BYTES = 2 * 1024 * 1024
LIMIT_BYTES = 2 * 1024 * 1024 * 1024
PAGE = 4096
FILL = b"\0 "  # what stands between lines and behind the last; earlier versions left zeros between them, too
MADVISE_POPULATE_WRITE = 23
ZEROS = bytes(SEGMENT_BYTES)  # never written to, so that they take no memory
BLOCK = 512 * 1024  # bytes that are shipped at once, a few hundred calls
SYNC_SECONDS = 0.1
RETRY_SECONDS = 1.0
CATCH_UP_SECONDS = 1.0  # so long a reader waits for what was just written; a store that is behind holds nobody up

Q = TypeVar("Q")
A = TypeVar("A")
Insert = Callable[[Sequence[Record]], Awaitable[None]]
Known = Callable[[Sequence[str]], Awaitable[frozenset[str]]]
"""Which of these ids the store has a record of."""

_decoder = msgspec.json.Decoder(Opened | Record)
_encoder = msgspec.json.Encoder()


class SpoolBusy(Exception):
    """Another process holds this data directory."""


class Segment:
    """One journal file. ``written`` and ``shipped`` are byte offsets, ``calls`` is how many were opened here and have
    no record yet.
    """

    def __init__(self, path: Path, size: int) -> None:
        self.path = path
        self.descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            _allocate(self.descriptor, size)
        except OSError:
            os.close(self.descriptor)
            path.unlink()
            raise
        self._map = mmap.mmap(self.descriptor, size)
        with contextlib.suppress(OSError, ValueError):
            # All pages at once (Linux 5.14) cost less than a fault for each, in the middle of a call.
            self._map.madvise(MADVISE_POPULATE_WRITE)
        self.size = size
        self.written = 0
        self.shipped = 0
        self.calls = 0

    def append(self, line: bytes) -> None:
        # A write into the mapping is in the kernel's hands as one by ``pwrite`` is, but keeps the interpreter's lock:
        # with a busy shipper, getting that back took ten times as long as the write.
        end = self.written + len(line)
        self._map[self.written : end] = line
        self.written = end

    def sync(self) -> None:
        """Make what was written so far outlast a power cut. Blocks; ``turn_page`` comes before."""
        os.fdatasync(self.descriptor)

    def turn_page(self, keep: int) -> None:
        """Go on at the next page: a writer has to wait while the page it writes to is on its way to the disk.

        ``keep`` bytes must stay free.
        """
        gap = -self.written % PAGE
        if gap and self.written + gap + keep <= self.size:
            self.append(b"\n".rjust(gap))

    def read(self, size: int) -> tuple[list[Record], int]:
        """Return the records in the next ``size`` bytes that are not shipped, and where they end."""
        end = self._map.rfind(b"\n", self.shipped, min(self.shipped + size, self.written)) + 1
        # The lines are not copied; a view must let go of the map before that can be closed.
        with memoryview(self._map) as everything, everything[self.shipped : end] as lines:
            return [entry for entry in _decoder.decode_lines(lines) if isinstance(entry, Record)], end

    def close(self) -> None:
        """Close the file and leave it."""
        self._map.close()
        os.close(self.descriptor)

    def remove(self) -> None:
        """Close the file and delete it."""
        self.close()
        self.path.unlink()


class Spool:
    """The journal of one process.

    Args:
        folder: where the segments lie; made if missing, and locked.
        segment_bytes, limit_bytes: the size of one segment, and of all unshipped ones together.

    ``chain`` is the audit chain that records become rows of; it is set before the first one.
    """

    chain: Chain

    def __init__(self, folder: Path, *, segment_bytes: int = SEGMENT_BYTES, limit_bytes: int = LIMIT_BYTES) -> None:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._folder = folder
        self._lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._lock)
            raise SpoolBusy(
                f"Another ailink process uses {folder.parent}: stop it, or give this one another --data."
            ) from None
        self._segment_bytes = segment_bytes
        self._most_segments = max(limit_bytes // segment_bytes, 1)
        self._left = sorted(folder.glob("*.journal"))
        self._next = int(self._left[-1].stem) + 1 if self._left else 1
        self._segments: list[Segment] = []
        self._home: dict[str, Segment] = {}
        self._reserved = 0
        self._dirty = False
        self._appended = self._arrived = 0  # records: written here, and of those in the store
        self._arrival = asyncio.Event()
        self._wake = asyncio.Event()
        self._stop = asyncio.Event()
        self._roll()

    # --- the request path --------------------------------------------------------------------------

    def open(self, opened: Opened) -> None:
        """Note that a call is about to be made. Raises ``Failure`` (``spool_full``) if its record could not be kept."""
        line = _encoder.encode(opened) + b"\n"
        segment = self._segments[-1]
        if segment.written + self._reserved + len(line) + LINE_LIMIT > segment.size:
            segment = self._roll()
        segment.append(line)
        home = self._home.get(opened.id)
        if home is None:
            self._reserved += LINE_LIMIT
        else:  # this line takes the place of the first
            home.calls -= 1
        segment.calls += 1
        self._home[opened.id] = segment

    async def ready(self) -> None:
        """Raise the ``Failure`` that the next call would be refused with."""
        segment = self._segments[-1]
        if segment.written + self._reserved + 2 * LINE_LIMIT > segment.size:
            self._roll()

    def close(self, record: Record) -> None:
        """Append the record of a call, opened before or refused without one. Raises ``OSError`` if it cannot be
        written.
        """
        line, code = self.chain.link(record)
        home = self._home.pop(record.id, None)
        segment = self._segments[-1]
        if home is None:
            if segment.written + self._reserved + len(line) >= segment.size:
                segment = self._roll()
        else:
            home.calls -= 1
            self._reserved -= LINE_LIMIT
        segment.append(line + b"\n")
        self.chain.advance(code)
        self._appended += 1
        self._dirty = True
        if not self._wake.is_set():
            self._wake.set()

    def _roll(self) -> Segment:
        if len(self._segments) >= self._most_segments:
            raise Failure(
                "spool_full",
                "The audit spool is full because the database does not take records; try again soon.",
                retry_after=5,
            )
        try:
            # Whatever is under way must fit, however many calls that are.
            size = max(self._segment_bytes, 2 * (self._reserved + LINE_LIMIT))
            segment = Segment(self._folder / f"{self._next:08d}.journal", size)
        except OSError as error:
            logger.error("spool segment cannot be made: %s", error.strerror)
            raise Failure(
                "spool_full",
                "The gateway's disk is full, so the call could not be recorded; free some space.",
                retry_after=30,
            ) from None
        self._next += 1
        self._segments.append(segment)
        return segment

    # --- behind it ---------------------------------------------------------------------------------

    @property
    def backlog_bytes(self) -> int:
        """Bytes that are not in the store yet."""
        return sum(segment.written - segment.shipped for segment in self._segments)

    @property
    def open_calls(self) -> int:
        """How many calls have begun and have no record yet."""
        return len(self._home)

    async def caught_up(self) -> None:
        """Return once the store has what is written by now, or is known to be behind: who made a call finds its row."""
        wanted = self._appended
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CATCH_UP_SECONDS):
                while self._arrived < wanted:
                    await self._arrival.wait()

    async def run(self, insert: Insert, known: Known, now: Callable[[], float]) -> None:
        """Ship until ``stop``: first what an earlier process left, unless it is recovered, then what this one writes.

        ``insert`` must be idempotent; when it raises ``Failure`` it is asked again, except after ``stop``: what could
        not be shipped then stays in the journal for the next start.
        """
        try:
            await self._run(insert, known, now)
        except Failure as failure:
            logger.error("records were left in the spool for the next start: %s", failure.message)

    async def _run(self, insert: Insert, known: Known, now: Callable[[], float]) -> None:
        await self.recover(insert, known, now)
        while not (self._stop.is_set() and self.backlog_bytes == 0):
            if not self._stop.is_set():
                await self._wake.wait()
                self._wake.clear()
            if self._dirty:
                self._dirty = False
                segment = self._segments[-1]
                segment.turn_page(keep=self._reserved)
                await asyncio.to_thread(segment.sync)
            await self._ship(insert)
            # Records gather meanwhile, so that a busy gateway inserts in batches.
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stop.wait(), SYNC_SECONDS)

    def stop(self) -> None:
        """Let ``run`` end once everything is in the store."""
        self._stop.set()
        self._wake.set()

    def release(self) -> None:
        """Close the files; what is not shipped stays for the next start."""
        for segment in self._segments:
            if segment.shipped == segment.written and not segment.calls:
                segment.remove()
            else:
                segment.close()
        self._segments.clear()
        os.close(self._lock)

    async def _ship(self, insert: Insert) -> None:
        for segment in list(self._segments):
            while segment.shipped < segment.written:
                records, end = segment.read(BLOCK)
                if records:
                    await self._ask(insert, records)
                segment.shipped = end
                self._arrived += len(records)
                self._arrival.set()
                self._arrival = asyncio.Event()
            if segment is not self._segments[-1] and not segment.calls:
                self._segments.remove(segment)
                segment.remove()

    async def _ask(self, store: Callable[[Sequence[Q]], Awaitable[A]], question: Sequence[Q]) -> A:
        """Return the store's answer, however often it has to be asked; after ``stop`` only once."""
        while True:
            try:
                return await store(question)
            except Failure as failure:
                if self._stop.is_set():
                    raise
                logger.warning("records wait in the spool: %s", failure.message)
                await asyncio.sleep(RETRY_SECONDS)

    async def recover(self, insert: Insert, known: Known, now: Callable[[], float]) -> None:
        """Insert what earlier processes wrote, and account for calls whose end they did not see.

        The rows of those are written here before they are inserted, so that this boot's chain has no gap should it die
        in between. A record may have been shipped from a segment that is gone while its opening was kept, hence
        ``known``: a row that the store refuses would be a gap, too.
        """
        opened: dict[str, Opened] = {}
        for path in self._left:
            data = await asyncio.to_thread(path.read_bytes)
            records: list[Record] = []
            for line in data.rstrip(b"\0").split(b"\n")[:-1]:
                if not (line := line.strip(FILL)):
                    continue
                try:
                    entry = _decoder.decode(line)
                except msgspec.DecodeError:
                    logger.error("a line of %s is damaged and was left out", path.name)
                    continue
                if isinstance(entry, Opened):
                    opened[entry.id] = entry
                else:
                    opened.pop(entry.id, None)
                    records.append(entry)
            if records:
                await self._ask(insert, records)
        ended = await self._ask(known, list(opened)) if opened else frozenset()
        for entry in opened.values():
            if entry.id not in ended:
                self.close(unknown(entry, now()))
        await self._ship(insert)
        for path in self._left:
            path.unlink()
        self._left = []


def _allocate(descriptor: int, size: int) -> None:
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(descriptor, 0, size)
    else:  # macOS: the space is not reserved, only the length set
        os.ftruncate(descriptor, size)
    # What is written in one piece lies in memory in large ones (2 MiB are the largest): to map, sync and give up those
    # takes a sixth of what single pages do.
    for start in range(0, size, len(ZEROS)):
        os.pwrite(descriptor, ZEROS[: size - start], start)

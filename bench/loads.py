"""The loads: wrk in a closed loop, arrivals at a given rate whatever the answers do, and many streams at once.

The last two are one thread on epoll over raw sockets: what is measured must not wait for what measures.
"""

import re
import select
import socket
import statistics
import subprocess
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from bench.machine import LOAD_CORE, pinned
from bench.wire import EVENTS, INTERVAL, MARK, Ask

STALL = 1.0  # seconds of silence in a stream that its reader notices
SCRIPT = Path(__file__).with_name("chat.lua")


class Closed(NamedTuple):
    """A run of wrk: requests a second, latencies in microseconds, answers that were no success or did not come."""

    rate: float
    median: float
    p99: float
    errors: int


class Opened(NamedTuple):
    """A run at an offered rate: what was asked and what came, a second; latencies, from the intended moment, in
    microseconds.
    """

    offered: float
    rate: float
    median: float
    p99: float
    errors: int


class Streamed(NamedTuple):
    """A run of streams. Seconds; ``whole`` are those that brought every event, ``calm`` those of them without a silence
    of a second.
    """

    streams: int
    whole: int
    calm: int
    events: int
    first_median: float
    first_p99: float
    gap_median: float
    gap_p99: float
    gap_longest: float


def wrk(ask: Ask, connections: int, seconds: float, folder: Path) -> Closed:
    """Ask again and again, over so many connections."""
    body = folder / "body"
    body.write_bytes(ask.body)
    command = [
        "wrk", "-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s", "--latency", "--timeout", "10s",
        "-s", str(SCRIPT), f"http://127.0.0.1:{ask.port}{ask.path}", "--", str(body), *ask.headers,
    ]  # fmt: skip
    done = subprocess.run(pinned(LOAD_CORE, command), capture_output=True, text=True, check=True, timeout=seconds + 60)
    rate = re.search(r"Requests/sec:\s+([\d.]+)", done.stdout)
    assert rate is not None, done.stdout
    failed = re.search(r"Non-2xx or 3xx responses: (\d+)", done.stdout)
    broken = re.search(r"connect (\d+), read (\d+), write (\d+), timeout (\d+)", done.stdout)
    errors = sum(int(number) for found in (failed, broken) if found for number in found.groups())
    return Closed(float(rate[1]), _percentile(done.stdout, 50), _percentile(done.stdout, 99), errors)


def _percentile(said: str, percent: int) -> float:
    found = re.search(rf"\s{percent}%\s+([\d.]+)(us|ms|s|m)\b", said)
    assert found is not None, said
    return float(found[1]) * {"us": 1.0, "ms": 1e3, "s": 1e6, "m": 6e7}[found[2]]


def share(values: Sequence[float], part: float) -> float:
    """Return the value that so large a part of ``values`` does not pass."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))] if ordered else 0.0


class Line:
    """One kept connection, and what is read of its answer so far."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=30)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.begun = self.last = self.silence = 0.0
        self.seen = 0
        self.read = bytearray()

    def send(self, request: bytes, moment: float) -> None:
        """Ask. The request is small enough for a socket that is idle."""
        self.begun = self.last = moment
        self.silence, self.seen = 0.0, 0
        self.read.clear()
        self.socket.sendall(request)

    def take(self, size: int) -> bytes:
        """Return what has arrived, up to ``size`` bytes; nothing if the connection has ended, however it did."""
        try:
            return self.socket.recv(size)
        except OSError:
            return b""

    def answered(self) -> bool:
        """Whether the answer that is being read is whole; only a plain one with its length, or in chunks."""
        head, found, body = self.read.partition(b"\r\n\r\n")
        if not found:
            return False
        lines = head.lower()
        at = lines.find(b"content-length:")
        return len(body) >= int(lines[at + 15 :].partition(b"\r\n")[0]) if at >= 0 else body.endswith(b"0\r\n\r\n")


def alone(asks: Sequence[Ask]) -> list[float]:
    """Ask one server over one connection, one request after another; return the seconds that each took."""
    line, took = Line(asks[0].port), []
    with line.socket:
        for ask in asks:
            request = ask.encoded()
            line.send(request, time.perf_counter())
            while not line.answered():
                data = line.take(262_144)
                assert data, "the connection was closed"
                line.read += data
            took.append(time.perf_counter() - line.begun)
            assert line.read.startswith(b"HTTP/1.1 2"), bytes(line.read[:300])
    return took


def arrivals(ask: Ask, rate: float, seconds: float, connections: int = 256) -> Opened:
    """Ask at ``rate`` a second, evenly, whether or not earlier ones were answered."""
    lines = {line.socket.fileno(): line for line in (Line(ask.port) for _ in range(connections))}
    request, poll = ask.encoded(), select.epoll()
    for line in lines.values():
        line.socket.setblocking(False)
        poll.register(line.socket, select.EPOLLIN)
    idle, waiting = deque(lines.values()), deque[float]()
    took: list[float] = []
    errors = sent = 0
    began = time.perf_counter()
    total = round(rate * seconds)
    end = began + seconds
    while len(took) < total:
        now = time.perf_counter()
        if now > end + 2:  # what is not answered by now is late beyond all counting
            break
        while sent < total and began + sent / rate <= now:
            waiting.append(began + sent / rate)
            sent += 1
        while waiting and idle:
            idle.popleft().send(request, waiting.popleft())
        next_one = began + sent / rate - time.perf_counter() if sent < total else 0.1
        for descriptor, _ in poll.poll(max(0.0, next_one)):
            line = lines[descriptor]
            data = line.take(262_144)
            if not data:  # the server keeps it no longer; what was under way on it has failed
                poll.unregister(descriptor)
                if line in idle:
                    idle.remove(line)
                else:
                    errors += 1
                    took.append(time.perf_counter() - line.begun)
                continue
            line.read += data
            if line.answered():
                errors += not line.read.startswith(b"HTTP/1.1 2")
                took.append(time.perf_counter() - line.begun)
                idle.append(line)
    elapsed = max(time.perf_counter() - began, seconds)
    poll.close()
    for line in lines.values():
        line.socket.close()
    took += [elapsed] * (total - len(took))
    answered = sum(one < elapsed for one in took)
    return Opened(rate, answered / elapsed, statistics.median(took) * 1e6, share(took, 0.99) * 1e6, errors)


def streams(ask: Ask, count: int, repeats: int, patience: float) -> Streamed:
    """Hold ``count`` streams open, each followed by another ``repeats`` times in all; their starts are spread over the
    length of one.
    """
    request, poll, lines = ask.encoded(), select.epoll(), dict[int, Line]()
    first: list[float] = []
    gaps: list[float] = []
    whole = calm = events = 0
    left = dict[int, int]()
    began = time.perf_counter()
    spread = EVENTS * INTERVAL / count
    while len(lines) < count or any(left.values()):
        now = time.perf_counter()
        if now - began > patience:
            break
        while len(lines) < count and began + len(lines) * spread <= now:
            line = Line(ask.port)
            line.socket.setblocking(False)
            poll.register(line.socket, select.EPOLLIN)
            lines[line.socket.fileno()], left[line.socket.fileno()] = line, repeats
            line.send(request, time.perf_counter())
        for descriptor, _ in poll.poll(spread if len(lines) < count else 0.1):
            line = lines[descriptor]
            data = line.take(65_536)
            now = time.perf_counter()
            if new := data.count(MARK):
                silence = now - line.last
                (gaps if line.seen else first).append(silence)
                line.silence, line.last = max(line.silence, silence), now
                line.seen += new
                events += new
            line.read += data[-8:]
            if data and not line.read.endswith(b"0\r\n\r\n"):
                continue
            whole += line.seen == EVENTS
            calm += line.seen == EVENTS and line.silence <= STALL
            left[descriptor] -= 1
            if data and left[descriptor]:
                line.send(request, time.perf_counter())
            else:
                left[descriptor] = 0
                poll.unregister(descriptor)
    poll.close()
    for line in lines.values():
        line.socket.close()
    return Streamed(
        count * repeats, whole, calm, events, statistics.median(first or [0.0]), share(first, 0.99),
        statistics.median(gaps or [0.0]), share(gaps, 0.99), max(gaps, default=0.0),
    )  # fmt: skip

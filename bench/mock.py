"""The mock upstream for streams: it sends 64 events at 20 ms, to thousands of connections at once, in either dialect.

One thread on epoll, because all that it is for is to be faster than what is measured. Answers requests without
``"stream": true`` at once. Run as ``python -m bench.mock PORT``.
"""

import heapq
import select
import socket
import sys
import time
from itertools import count

from bench.machine import allow_descriptors
from bench.wire import INTERVAL, SMALL, anthropic_answer, anthropic_events, big_events, chat_answer, chat_events, chunk

_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


def whole(answer: str) -> bytes:
    """Return an answer with its head."""
    head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(answer)}\r\n\r\n"
    return (head + answer).encode()


def frames(opening: bytes, events: list[bytes], end: bytes) -> list[bytes]:
    """Return what is written of a stream at each tick: its head goes with the first event."""
    ticks = [chunk(event) for event in events]
    ticks[0] = _HEAD + chunk(opening) + ticks[0]
    ticks[-1] += chunk(end) + b"0\r\n\r\n"
    return ticks


STREAMS = {False: frames(*chat_events()), True: frames(*anthropic_events())}
BIG = frames(*big_events())  # for paths with /big: 16 KiB an event
ANSWERS = {False: whole(chat_answer(SMALL)), True: whole(anthropic_answer(SMALL))}


class Connection:
    """A client: what came of its request, what of its stream is still to be sent, and what did not fit the socket."""

    def __init__(self, client: socket.socket) -> None:
        self.client, self.received, self.unsent = client, b"", b""
        self.stream: list[bytes] = []
        self.tick = 0


class Mock:
    """The server."""

    def __init__(self, port: int) -> None:
        self._listener = socket.create_server(("127.0.0.1", port), backlog=4096)
        self._listener.setblocking(False)
        self._poll = select.epoll()
        self._poll.register(self._listener, select.EPOLLIN)
        self._connections: dict[int, Connection] = {}
        self._due: list[tuple[float, int, Connection]] = []
        self._order = count()

    def run(self) -> None:
        """Serve for ever."""
        while True:
            wait = max(0.0, self._due[0][0] - time.perf_counter()) if self._due else -1
            for descriptor, what in self._poll.poll(wait):
                if descriptor == self._listener.fileno():
                    self._accept()
                elif (connection := self._connections.get(descriptor)) is not None:
                    self._ready(connection, what)
            now = time.perf_counter()
            while self._due and self._due[0][0] <= now:
                due, _, connection = heapq.heappop(self._due)
                self._step(connection, due)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except BlockingIOError:
                return
            client.setblocking(False)
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._connections[client.fileno()] = Connection(client)
            self._poll.register(client, select.EPOLLIN)

    def _ready(self, connection: Connection, what: int) -> None:
        if what & select.EPOLLOUT:
            unsent, connection.unsent = connection.unsent, b""
            self._poll.modify(connection.client, select.EPOLLIN)
            self._send(connection, unsent)
        if what & ~select.EPOLLOUT:
            try:
                data = connection.client.recv(262_144)
            except BlockingIOError:
                return
            except OSError:
                data = b""
            if not data:
                self._close(connection)
                return
            connection.received += data
            self._answer(connection)

    def _answer(self, connection: Connection) -> None:
        head, found, body = connection.received.partition(b"\r\n\r\n")
        if not found:
            return
        lines = head.lower()
        if (at := lines.find(b"content-length:")) >= 0:
            if len(body) < int(lines[at + 15 :].partition(b"\r\n")[0]):
                return
        elif b"chunked" in lines and not body.endswith(b"0\r\n\r\n"):
            return
        connection.received = b""
        anthropic = b"/messages" in head.partition(b"\r\n")[0]
        if b'"stream":true' in body or b'"stream": true' in body:
            connection.stream = BIG if b"/big/" in head.partition(b"\r\n")[0] else STREAMS[anthropic]
            connection.tick = 0
            self._step(connection, time.perf_counter())
        else:
            self._send(connection, ANSWERS[anthropic])

    def _step(self, connection: Connection, due: float) -> None:
        if not connection.stream:
            return
        payload = connection.stream[connection.tick]
        connection.tick += 1
        if connection.tick < len(connection.stream):
            heapq.heappush(self._due, (due + INTERVAL, next(self._order), connection))
        else:
            connection.stream = []
        self._send(connection, payload)

    def _send(self, connection: Connection, data: bytes) -> None:
        if connection.unsent:
            connection.unsent += data
            return
        try:
            sent = connection.client.send(data)
        except BlockingIOError:
            sent = 0
        except OSError:
            self._close(connection)
            return
        if sent < len(data):
            connection.unsent = data[sent:]
            self._poll.modify(connection.client, select.EPOLLIN | select.EPOLLOUT)

    def _close(self, connection: Connection) -> None:
        connection.stream = []
        if self._connections.pop(connection.client.fileno(), None) is not None:
            connection.client.close()


if __name__ == "__main__":
    allow_descriptors()
    Mock(int(sys.argv[1])).run()

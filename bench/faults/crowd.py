"""A crowd of bad clients, as a process: ``readers`` ask for long streams and take a little now and then, ``senders``
never end their request. Run as ``python -m bench.faults.crowd KIND PORT COUNT``; the token comes on standard input, and
``ready`` is printed when all have settled in.
"""

import contextlib
import socket
import sys
import time

from bench.machine import allow_descriptors
from bench.wire import CHAT, Ask, bearer, chat

TICK, SIP = 0.25, 512  # seconds between two reads or writes of one client, bytes that it takes
SLICES = 25  # of a tick: strangers do not act all at once, and the load shares its core with who measures
RECEIVE_BUFFER = 4096
SETTLED = 12  # ticks after which their arrival is over


def connect(port: int) -> socket.socket:
    """Return a connection that has little room for what arrives."""
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
    client.connect(("127.0.0.1", port))
    return client


def main() -> None:
    """Crowd until the process is ended."""
    kind, port, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    allow_descriptors()
    request = Ask(port, CHAT, bearer(sys.stdin.readline().strip()), chat(stream=kind == "readers")).encoded()
    clients = []
    for _ in range(count):
        client = connect(port)
        client.sendall(request if kind == "readers" else request[:-60])
        client.setblocking(False)
        clients.append(client)
    sent = 0
    while True:
        began = time.monotonic()
        for slice_ in range(SLICES):
            for client in clients[slice_::SLICES]:
                with contextlib.suppress(OSError):
                    if kind == "readers":
                        client.recv(SIP)
                    elif sent < 50:
                        client.send(request[-60 + sent : -59 + sent])
            time.sleep(max(0.0, began + TICK * (slice_ + 1) / SLICES - time.monotonic()))
        sent += 1
        if sent == SETTLED:
            print("ready", flush=True)


if __name__ == "__main__":
    main()

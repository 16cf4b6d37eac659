"""A crowd of bad clients, as a process: ``readers`` ask for long streams and take a little now and then, ``senders``
never end their request. Run as ``python -m bench.faults.crowd KIND PORT COUNT``; the token comes on standard input, and
``ready`` is printed when all have settled in.
"""

import contextlib
import select
import socket
import sys
import time

from bench.machine import allow_descriptors
from bench.wire import CHAT, Ask, bearer, chat

TICK, SIP = 0.25, 512  # seconds between two reads or writes of one client, bytes that it takes
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
        for client in clients:
            with contextlib.suppress(OSError):
                if kind == "readers":
                    client.recv(SIP)
                elif sent < 50:
                    client.send(request[-60 + sent : -59 + sent])
        sent += 1
        if sent == SETTLED:
            print("ready", flush=True)
        select.select([], [], [], max(0.0, TICK - (time.monotonic() - began)))


if __name__ == "__main__":
    main()

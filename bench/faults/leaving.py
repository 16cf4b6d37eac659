"""The client goes away at every phase of a call: what was asked upstream is recorded, once, and nothing else is."""

import socket
import struct
import time
from collections.abc import Callable

from bench.faults.scene import Scene, Told, ask_often, audit, ends, records, scene, told, traced
from bench.plan import Plan
from bench.wire import CHAT, Ask, bearer, chat

TIMES = 20
# When the client leaves: what of its request it has sent, what the upstream does, what it waits for; whether the call
# must then be recorded.
PHASES: dict[str, tuple[str, str, str, bool | None]] = {
    "connected": ("nothing", "", "", False),
    "halfway through the headers": ("head", "", "", False),
    "halfway through the body": ("body", "", "", None),
    "before the upstream was asked": ("all", "", "", None),
    "before the upstream answered": ("all", "hang", "asked", True),
    "after the first event": ("all", "hang-in-stream", "event", True),
    "after the last byte": ("all", "", "end", True),
}


def play(plan: Plan, name: str) -> Told:
    """Leave, politely and not, in each phase; then look whether all is well."""
    seen, held, made = [], True, 0
    with scene(plan, "leaving") as stage:
        _, secret = stage.token()
        request = Ask(stage.gateway.port, CHAT, bearer(secret, traced()), chat(stream=True)).encoded()
        for phase, (sent, upstream, until, recorded) in PHASES.items():
            before = len(stage.upstream.spans())
            for number in range(TIMES):
                if upstream:
                    stage.upstream.tell(f"{upstream} 1")
                leave(stage, part(request, sent), waiting(stage, until, before + number + 1), rudely=bool(number % 2))
            right, books = audit(
                stage.gateway, [stage.upstream], made + TIMES * recorded if recorded is not None else None
            )
            made = len(records(stage.gateway))
            held = held and right
            seen.append(f"{phase}: {books}")
        after = ask_often(stage.gateway.port, secret, 32)
    held = held and after["200"] == 32
    tried = f"{TIMES} clients gone in each of {len(PHASES)} phases, every other one by a reset; the books add up"
    return told(name, tried, [*seen, f"after it: {ends(after)}"], held)


def part(request: bytes, name: str) -> bytes:
    """Return so much of a request."""
    ends = {"nothing": 0, "head": 40, "body": request.index(b"\r\n\r\n") + 20, "all": len(request)}
    return request[: ends[name]]


def waiting(stage: Scene, until: str, number: int) -> Callable[[socket.socket], None]:
    """Return what waits, on a connection, until the moment to leave has come."""

    def wait(client: socket.socket) -> None:
        if until == "asked":
            end = time.monotonic() + 10
            while len(stage.upstream.spans()) < number and time.monotonic() < end:
                time.sleep(0.002)
        elif until:
            read, mark = b"", b"one" if until == "event" else b"0\r\n\r\n"
            while mark not in read.partition(b"\r\n\r\n")[2] and (data := client.recv(65_536)):
                read += data

    return wait


def leave(stage: Scene, sent: bytes, wait: Callable[[socket.socket], None], *, rudely: bool) -> None:
    """Send, wait, go."""
    with socket.create_connection(("127.0.0.1", stage.gateway.port), timeout=10) as client:
        client.sendall(sent)
        wait(client)
        if rudely:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

"""Plain calls: requests a second and latency over 1, 16 and 64 connections, for every server that is to be had.

All servers run at once, but those that are not being asked are suspended. Rounds are interleaved.
"""

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from typing import NamedTuple

from bench import peers
from bench.loads import Closed, wrk
from bench.machine import NotStarted, Running
from bench.plan import Plan, Results, say
from bench.servers import BARE, GOVERNED, Gateway, Upstreams, reverse_proxy, upstreams
from bench.wire import CHAT, Ask, bearer, chat

WOKEN = 0.2  # seconds in which a server that was suspended catches up
CONNECTIONS = (1, 16, 64)
LARGE_CONNECTIONS = 16
DIRECT, NGINX, AILINK_BARE, AILINK = "direct to the mock", "nginx", "AIlink, bare", "AIlink, governed"


class Server(NamedTuple):
    """One row: how it is asked for a small and, where that is measured, a large answer. Peers have a version."""

    name: str
    features: str
    version: str
    small: Ask
    large: Ask | None
    process: Running | None


def measure(plan: Plan) -> Results:
    """Measure all servers."""
    with ExitStack() as stack:
        ports = stack.enter_context(upstreams(plan.place("unary")))
        servers, missing = stand(stack, plan, ports)
        folder = plan.folder / "unary"
        return {"rows": rows(plan, servers, folder), "missing": missing, "connections": CONNECTIONS}


def stand(stack: ExitStack, plan: Plan, ports: Upstreams) -> tuple[list[Server], list[dict[str, str]]]:
    """Start every server; return them, suspended, and the peers that could not be, each with its reason."""
    small, large = chat(), "/large" + CHAT
    proxy, nginx = stack.enter_context(reverse_proxy(plan.folder / "unary", ports.whole))
    gateway = Gateway(plan.place("gateway") / "data")
    process = stack.enter_context(gateway.serve())
    where = f"http://127.0.0.1:{ports.whole}"
    servers = [
        Server(DIRECT, "", "", Ask(ports.whole, CHAT, (), small), Ask(ports.whole, large, (), small), None),
        Server(
            NGINX, "none: a plain reverse proxy", "", Ask(proxy, CHAT, (), small), Ask(proxy, large, (), small), nginx
        ),
    ]
    for name, features, make in (
        (AILINK_BARE, BARE, lambda upstream: gateway.token(upstream)[1]),
        (AILINK, GOVERNED, gateway.governed),
    ):
        plain, wide = (bearer(make(f"{where}{base}/v1")) for base in ("", "/large"))
        servers.append(
            Server(
                name, features, "", Ask(gateway.port, CHAT, plain, small), Ask(gateway.port, CHAT, wide, small), process
            )
        )
    missing = []
    for peer in peers.ALL:
        say(f"starting {peer.name}")
        try:
            found = stack.enter_context(peers.up(peer, plan.folder / peer.name, ports.whole))
        except (peers.NotInstalled, NotStarted) as error:
            missing.append({"name": peer.name, "why": str(error)})
            say(f"  left out: {error}")
            continue
        servers.append(Server(peer.name, peer.features, found.version, found.ask, None, found.process))
    for server in servers:
        pause(server.process)
    stack.callback(wake, servers)  # a suspended process cannot end
    return servers, missing


def wake(servers: list[Server]) -> None:
    """Let all servers go on."""
    for server in servers:
        resume(server.process)


def pause(process: Running | None) -> None:
    """Suspend a server."""
    for one in process.all() if process else ():
        one.suspend()


def resume(process: Running | None) -> None:
    """Let a server go on."""
    for one in process.all() if process else ():
        one.resume()


@contextmanager
def awake(server: Server) -> Iterator[None]:
    """Let one server run while the block does."""
    resume(server.process)
    time.sleep(WOKEN)
    try:
        yield
    finally:
        pause(server.process)


def rows(plan: Plan, servers: list[Server], folder: Path) -> list[Results]:
    """Return of each server what every round said."""
    found: dict[tuple[str, str], list[Closed]] = {}
    loads = [(str(connections), connections) for connections in CONNECTIONS] + [("large", LARGE_CONNECTIONS)]
    for label, connections in loads:
        asked = [(server, server.large if label == "large" else server.small) for server in servers]
        for turn in range(plan.rounds + 1):  # the first round only warms up
            for server, ask in asked:
                if ask is not None:
                    with awake(server):
                        seconds = plan.peer_seconds if server.version else plan.seconds
                        load = wrk(ask, connections, seconds if turn else 1, folder)
                    if turn:
                        found.setdefault((server.name, label), []).append(load)
        for server, _ in asked:
            if (loads_of := found.get((server.name, label))) is not None:
                say(f"{label:>6} connections  {server.name:20} {median(load.rate for load in loads_of):>9,.0f} req/s")
    return [
        {
            "name": server.name, "features": server.features, "version": server.version,
            "loads": {label: [load._asdict() for load in found[server.name, label]]
                      for label, _ in loads if (server.name, label) in found},
        }
        for server in servers
    ]  # fmt: skip

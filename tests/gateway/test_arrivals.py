"""Clients that come together are let in together, on the event loop that the gateway runs on."""

import asyncio
import socket
from collections.abc import MutableMapping
from typing import Any

import uvloop

from ailink_gateway.server import server

CLIENTS, ROUNDS = 60, 20  # uvloop by itself lets in one each round of its loop, and a round of a busy one is long
PATIENCE = 10.0


async def app(scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
    """Answer everything with nothing."""
    if scope["type"] == "lifespan":
        for step in ("startup", "shutdown"):
            await receive()
            await send({"type": f"lifespan.{step}.complete"})
        return
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body", "body": b""})


async def arrive_together() -> tuple[int, list[bytes]]:
    """Have clients connect while the loop does something else; return how many are connected some rounds of it later,
    and what all are answered.
    """
    port: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    running = server(app, "127.0.0.1", 0, port.set_result, lambda: None)
    serving = asyncio.create_task(running.serve())
    address = "127.0.0.1", await asyncio.wait_for(port, PATIENCE)
    clients = [socket.create_connection(address) for _ in range(CLIENTS)]
    for _ in range(ROUNDS):
        await asyncio.sleep(0)
    connected = len(running.server_state.connections)
    answers = []
    for client in clients:
        client.sendall(b"GET / HTTP/1.1\r\nHost: gateway\r\nConnection: close\r\n\r\n")
        reader, writer = await asyncio.open_connection(sock=client)
        answers.append((await asyncio.wait_for(reader.read(), PATIENCE))[:13])
        writer.close()
        await writer.wait_closed()
    running.should_exit = True
    await asyncio.wait_for(serving, PATIENCE)
    return connected, answers


def test_a_crowd_is_let_in_at_once() -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        connected, answers = runner.run(arrive_together())
    assert connected == CLIENTS
    assert answers == [b"HTTP/1.1 204 "] * CLIENTS

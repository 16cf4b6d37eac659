"""Names, addresses and certificates: who may be connected to, and as whom."""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Callable
from typing import Any

import pytest
import trustme

from ailink_provider.errors import Failure
from ailink_provider.transport import Guard, Origin, Request, Timeouts, Transport
from ailink_provider.transport.connector import trust_system

HELLO = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
SECRET = b"sk-very-secret"


def knowing(*addresses: str) -> Any:
    """Make a resolver that knows these addresses, and counts how often it was asked."""

    async def resolver(host: str, port: int) -> list[str]:
        resolver.asked.append((host, port))  # type: ignore[attr-defined]
        await asyncio.sleep(0)
        return list(addresses)

    resolver.asked = []  # type: ignore[attr-defined]
    return resolver


def fill(listening: socket.socket, fillers: contextlib.ExitStack) -> None:
    """Listen, and take every place in the backlog, so that whoever connects is kept waiting."""
    listening.listen(0)
    for _ in range(4):
        filler = fillers.enter_context(socket.socket())
        filler.setblocking(False)
        filler.connect_ex(listening.getsockname())


def tls(authority: trustme.CA, *names: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*names).configure_cert(context)
    context.set_alpn_protocols(["h2", "http/1.1"])
    return context


def request(origin: Origin) -> Request:
    return Request("GET", origin, b"/path?key=" + SECRET, [(b"Authorization", b"Bearer " + SECRET)])


async def refused(transport: Transport, origin: Origin) -> Failure:
    with pytest.raises(Failure) as raised:
        await transport.send(request(origin))
    assert SECRET.decode() not in raised.value.message
    assert transport.statistics() == {}
    return raised.value


async def answered(transport: Transport, origin: Origin, server: Any) -> bytes:
    """Have a request answered; return its head."""
    sending = asyncio.create_task(transport.send(request(origin)))
    peer = await server.accept()
    head = await peer.head()
    peer.send(HELLO)
    assert await (await sending).read(5) == b"hello"
    return bytes(head)


# --- names and addresses -----------------------------------------------------------------------------


async def test_connects_to_the_address_that_was_judged(connect: Callable[..., Transport], server: Any) -> None:
    resolver = knowing("127.0.0.1")
    transport = connect(resolver=resolver)
    origin = Origin("http", "api.example", server.origin.port)
    head = await answered(transport, origin, server)
    assert b"\r\nHost: api.example:%d\r\n" % server.origin.port in head
    assert resolver.asked == [("api.example", server.origin.port)]


@pytest.mark.parametrize("addresses", [
    ["127.0.0.1"], ["8.8.8.8", "127.0.0.1"], ["127.0.0.1", "8.8.8.8"], ["::1", "8.8.8.8"], ["::ffff:127.0.0.1"],
    ["169.254.169.254"],
])
async def test_one_address_that_is_not_global_refuses_all(
    connect: Callable[..., Transport], server: Any, addresses: list[str],
) -> None:
    transport = connect(guard=Guard(), resolver=knowing(*addresses))
    failure = await refused(transport, Origin("http", "rebind.example", server.origin.port))
    assert (failure.code, failure.reason) == ("upstream_failed", "address_not_allowed")
    assert server.accepted == 0


@pytest.mark.parametrize("host", [
    "127.0.0.1", "localhost", "127.1", "2130706433", "0x7f000001", "::1", "::ffff:127.0.0.1",
])
async def test_the_systems_resolver_is_judged_too(connect: Callable[..., Transport], server: Any, host: str) -> None:
    failure = await refused(connect(guard=Guard()), Origin("http", host, server.origin.port))
    assert failure.reason == "address_not_allowed"
    assert server.accepted == 0


async def test_a_second_answer_of_the_resolver_is_judged_anew(
    connect: Callable[..., Transport], server: Any, monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("ailink_provider.transport.connector.ADDRESSES_KEPT", 0.0)
    answers = iter([["127.0.0.1"], ["127.0.0.2"]])

    async def rebinding(host: str, port: int) -> list[str]:
        return next(answers)

    transport = connect(guard=Guard(["127.0.0.1"]), resolver=rebinding, connections_per_host=2)
    origin = Origin("http", "rebind.example", server.origin.port)
    first = asyncio.create_task(transport.send(request(origin)))
    await server.accept()
    with pytest.raises(Failure) as raised:
        await transport.send(request(origin))
    assert raised.value.reason == "address_not_allowed"
    first.cancel()


async def test_a_burst_looks_up_once(connect: Callable[..., Transport], server: Any) -> None:
    resolver = knowing("127.0.0.1")
    transport = connect(resolver=resolver)
    origin = Origin("http", "api.example", server.origin.port)
    tasks = [asyncio.create_task(transport.send(request(origin))) for _ in range(5)]
    for _ in tasks:
        peer = await server.accept()
        await peer.head()
        peer.send(HELLO)
    await asyncio.gather(*tasks)
    assert (server.accepted, len(resolver.asked)) == (5, 1)


async def test_a_failure_names_no_address(connect: Callable[..., Transport]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    failure = await refused(connect(resolver=knowing("127.0.0.1")), Origin("http", "inner.example", port))
    assert "127.0.0.1" not in failure.message


async def test_the_next_address_is_tried(connect: Callable[..., Transport], server: Any) -> None:
    transport = connect(resolver=knowing("127.0.0.9", "::1", "127.0.0.1"))
    await answered(transport, Origin("http", "api.example", server.origin.port), server)


async def test_a_dead_address_is_looked_up_anew(connect: Callable[..., Transport], server: Any) -> None:
    answers = iter([["127.0.0.9"], ["127.0.0.1"]])

    async def moving(host: str, port: int) -> list[str]:
        return next(answers)

    transport = connect(resolver=moving)
    origin = Origin("http", "api.example", server.origin.port)
    await refused(transport, origin)
    await answered(transport, origin, server)


async def test_an_address_that_hangs_leaves_time_for_the_next(connect: Callable[..., Transport], server: Any) -> None:
    transport = connect(resolver=knowing("127.0.0.2", "127.0.0.1"), timeouts=Timeouts(connect=0.2))
    with socket.socket() as deaf, contextlib.ExitStack() as fillers:
        deaf.bind(("127.0.0.2", server.origin.port))
        fill(deaf, fillers)
        await answered(transport, Origin("http", "api.example", server.origin.port), server)


async def test_connections_are_probed(connect: Callable[..., Transport], server: Any) -> None:
    transport = connect()
    await answered(transport, server.origin, server)
    [pool] = transport._pools.values()
    connected = pool.idle[0]._transport.get_extra_info("socket")
    assert connected.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)


async def test_an_ipv6_literal(connect: Callable[..., Transport], server: Any) -> None:
    failure = await refused(connect(), Origin("http", "::1", server.origin.port))
    assert f"[::1]:{server.origin.port}" in failure.message


async def test_no_such_name(connect: Callable[..., Transport]) -> None:
    async def resolver(host: str, port: int) -> list[str]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    failure = await refused(connect(resolver=resolver), Origin("http", "no.example", 80))
    assert (failure.code, failure.reason) == ("upstream_failed", "name_not_found")
    assert "no.example:80" in failure.message


@pytest.mark.parametrize("host", ["x" * 64 + ".example", ".example", "a..example"])
async def test_a_name_that_cannot_be_looked_up(connect: Callable[..., Transport], host: str) -> None:
    failure = await refused(connect(), Origin("http", host, 80))
    assert failure.code == "upstream_failed"


async def test_no_address(connect: Callable[..., Transport]) -> None:
    assert (await refused(connect(resolver=knowing()), Origin("http", "no.example", 80))).reason == "connect_failed"


async def test_nobody_listens(connect: Callable[..., Transport]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    failure = await refused(connect(), Origin("http", "127.0.0.1", port))
    assert (failure.code, failure.reason) == ("upstream_failed", "connect_failed")
    assert failure.message == f"127.0.0.1:{port} could not be connected to: Connection refused."


@pytest.mark.parametrize("deadline", [None, 0.03])
async def test_a_look_up_that_hangs(connect: Callable[..., Transport], deadline: float | None) -> None:
    async def resolver(host: str, port: int) -> list[str]:
        await asyncio.Event().wait()
        raise AssertionError

    transport = connect(resolver=resolver, timeouts=Timeouts(connect=0.03 if deadline is None else 60.0))
    until = None if deadline is None else asyncio.get_running_loop().time() + deadline
    with pytest.raises(Failure) as raised:
        await transport.send(request(Origin("http", "slow.example", 80)), until)
    expected = "connect_timeout" if deadline is None else "total_timeout"
    assert (raised.value.code, raised.value.reason) == ("upstream_timeout", expected)
    assert transport.statistics() == {}


async def test_a_connect_that_hangs(connect: Callable[..., Transport]) -> None:
    with socket.socket() as deaf, contextlib.ExitStack() as fillers:
        deaf.bind(("127.0.0.1", 0))
        fill(deaf, fillers)
        origin = Origin("http", "127.0.0.1", deaf.getsockname()[1])
        failure = await refused(connect(timeouts=Timeouts(connect=0.05)), origin)
    assert (failure.code, failure.reason) == ("upstream_timeout", "connect_timeout")


# --- certificates ------------------------------------------------------------------------------------


async def test_tls_keeps_the_name(connect: Callable[..., Transport], serve: Any, authority: trustme.CA) -> None:
    names: list[str | None] = []
    context = tls(authority, "api.example")
    context.sni_callback = lambda _, name, __: names.append(name)
    server = await serve(tls=context)
    transport = connect(resolver=knowing("127.0.0.1"))
    head = await answered(transport, Origin("https", "api.example", server.origin.port), server)
    assert b"\r\nHost: api.example:%d\r\n" % server.origin.port in head
    assert names == ["api.example"]
    connected = server.peers[0]._writer.get_extra_info("ssl_object")
    assert connected.selected_alpn_protocol() == "http/1.1"


async def test_tls_to_an_address(connect: Callable[..., Transport], serve: Any, authority: trustme.CA) -> None:
    server = await serve(tls=tls(authority, "127.0.0.1"))
    await answered(connect(), server.origin, server)


@pytest.mark.parametrize("names", [["other.example"], ["*.other.example"], ["127.0.0.1"]])
async def test_another_hosts_certificate_is_refused(
    connect: Callable[..., Transport], serve: Any, authority: trustme.CA, names: list[str],
) -> None:
    server = await serve(tls=tls(authority, *names))
    transport = connect(resolver=knowing("127.0.0.1"))
    failure = await refused(transport, Origin("https", "api.example", server.origin.port))
    assert (failure.code, failure.reason) == ("upstream_failed", "tls_failed")
    assert f"api.example:{server.origin.port}" in failure.message


async def test_an_unknown_authority_is_refused(connect: Callable[..., Transport], serve: Any) -> None:
    server = await serve(tls=tls(trustme.CA(), "127.0.0.1"))
    assert (await refused(connect(), server.origin)).reason == "tls_failed"
    assert (await refused(connect(ssl_context=None), server.origin)).reason == "tls_failed"


def test_the_default_context_is_strict() -> None:
    context = trust_system()
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2
    assert context.check_hostname
    assert context.verify_mode is ssl.CERT_REQUIRED


async def test_a_server_without_tls_is_refused(connect: Callable[..., Transport], server: Any) -> None:
    sending = asyncio.create_task(connect().send(request(server.origin._replace(scheme="https"))))
    peer = await server.accept()
    peer.send(HELLO)
    with pytest.raises(Failure) as raised:
        await sending
    assert (raised.value.code, raised.value.reason) == ("upstream_failed", "tls_failed")


async def test_a_handshake_that_is_cut(connect: Callable[..., Transport], server: Any) -> None:
    sending = asyncio.create_task(connect().send(request(server.origin._replace(scheme="https"))))
    peer = await server.accept()
    await peer.take(1)
    peer.reset()
    with pytest.raises(Failure) as raised:
        await sending
    assert raised.value.code == "upstream_failed"


async def test_a_handshake_that_hangs(connect: Callable[..., Transport], server: Any) -> None:
    transport = connect(timeouts=Timeouts(connect=0.05))
    failure = await refused(transport, server.origin._replace(scheme="https"))
    assert failure.reason == "connect_timeout"
    await (await server.accept()).gone()


async def test_tls_answers_of_every_kind(connect: Callable[..., Transport], serve: Any, authority: trustme.CA) -> None:
    server = await serve(tls=tls(authority, "127.0.0.1"))
    transport = connect()
    await answered(transport, server.origin, server)
    sending = asyncio.create_task(transport.send(Request("PUT", server.origin, b"/", [], b"x" * 3_000_000)))
    [peer] = server.peers
    assert len((await peer.request())[1]) == 3_000_000
    size = 5_000_000
    peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size, b"y" * size)
    assert len(await (await sending).read(size)) == size
    assert transport.statistics() == {server.origin: (1, 1, 0)}
    sending = asyncio.create_task(transport.send(request(server.origin)))
    await peer.head()
    peer.send(b"HTTP/1.1 200 OK\r\n\r\nuntil ")
    response = await sending
    peer.send(b"close")
    peer.close()
    assert await response.read(20) == b"until close"


async def test_tls_that_ends_without_a_goodbye_is_cut_short(
    connect: Callable[..., Transport], serve: Any, authority: trustme.CA,
) -> None:
    """Anyone on the way can end a TCP connection; only the upstream can end TLS."""
    server = await serve(tls=tls(authority, "127.0.0.1"))
    transport = connect()
    sending = asyncio.create_task(transport.send(request(server.origin)))
    peer = await server.accept()
    await peer.head()
    peer.send(b"HTTP/1.1 200 OK\r\n\r\nuntil ")
    pieces = aiter(await sending)
    assert await anext(pieces) == b"until "
    peer.abort()
    with pytest.raises(Failure, match="before the end"):
        await anext(pieces)


def test_a_context_that_does_not_verify_is_refused() -> None:
    context = ssl.create_default_context()
    context.check_hostname = False
    with pytest.raises(ValueError, match="must verify"):
        Transport(guard=Guard(), ssl_context=context)
    context.verify_mode = ssl.CERT_NONE
    with pytest.raises(ValueError, match="must verify"):
        Transport(guard=Guard(), ssl_context=context)

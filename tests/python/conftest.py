"""A gateway to talk to, over real sockets, and clients of both kinds to talk to it."""

import functools
import inspect
import json
import socket
import ssl
import threading
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
import trustme

from ailink import AIlinkClient, AsyncClient

SECRET = "a" * 32 + "b" * 6
TOKEN = f"ailink_v1_proj_default_tok_AbCdEf012345{SECRET}"
ADMIN_KEY = "ailink_admin_0123456789abcdef"


@dataclass
class Call:
    """A request as it arrived; header names in lower case."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    raw_headers: list[tuple[str, str]] = field(default_factory=list)

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Answer:
    status: int = 200
    body: bytes = b"{}"
    headers: dict[str, str] = field(default_factory=dict)
    drop: bool = False  # close the connection instead


class Handler(BaseHTTPRequestHandler):
    server: "Server"
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def answer(self) -> None:
        gateway = self.server.gateway
        body = self.read_body()
        headers = {name.lower(): value for name, value in self.headers.items()}
        call = Call(self.command, self.path, headers, body, self.headers.items())
        gateway.calls.append(call)
        answer = gateway.answers.popleft() if gateway.answers else gateway.otherwise(call)
        if answer.drop:
            self.close_connection = True
            return
        self.send_response(answer.status)
        for name, value in {"Content-Type": "application/json", **answer.headers}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.body)

    def read_body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = answer

    def log_message(self, *arguments: Any) -> None:
        """Says nothing."""


class Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    gateway: "Gateway"


class Gateway:
    """Answers what it was told to, in order, then ``{}``; remembers what it was asked."""

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        self.calls: list[Call] = []
        self.answers: deque[Answer] = deque()
        self.otherwise: Callable[[Call], Answer] = lambda call: Answer()
        # Bound but not yet listening: until ``start`` the system refuses connections to this port.
        self._server = Server(("127.0.0.1", 0), Handler, bind_and_activate=False)
        self._server.gateway = self
        self._server.server_bind()
        if context is not None:
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self._thread = threading.Thread(target=functools.partial(self._server.serve_forever, poll_interval=0.01))
        self.url = f"{'http' if context is None else 'https'}://127.0.0.1:{self._server.server_port}"

    def start(self) -> None:
        self._server.server_activate()
        self._thread.start()

    def stop(self) -> None:
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
        self._server.server_close()

    def answer(self, status: int = 200, body: Any = None, *, headers: dict[str, str] | None = None) -> None:
        content = body if isinstance(body, bytes) else json.dumps({} if body is None else body).encode()
        self.answers.append(Answer(status, content, headers or {}))

    def refuse(self, status: int, code: str, *, headers: dict[str, str] | None = None, **error: Any) -> None:
        """Answers with an error of the gateway's own."""
        body = {"error": {"message": f"refused: {code}", "code": code, **error}, "detail": f"refused: {code}"}
        self.answer(status, body, headers={"X-AILink-Error": code, **(headers or {})})

    def drop(self) -> None:
        """Closes the connection instead of answering."""
        self.answers.append(Answer(drop=True))


class Driven:
    """A client, or a part of one, whose methods are awaited whether it is synchronous or not."""

    def __init__(self, target: Any) -> None:
        self.target = target

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.target, name)
        if not callable(found):
            return Driven(found)

        async def call(*arguments: Any, **options: Any) -> Any:
            result = found(*arguments, **options)
            return await result if inspect.isawaitable(result) else result

        return call


@dataclass
class Waits:
    """The waits between attempts, in seconds. None is really waited; ``meanwhile`` runs instead."""

    seconds: list[float] = field(default_factory=list)
    meanwhile: Callable[[], None] = lambda: None

    def __call__(self, seconds: float) -> None:
        self.seconds.append(seconds)
        self.meanwhile()

    async def later(self, seconds: float) -> None:
        self(seconds)


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    """The one certificate authority that clients here trust."""
    return trustme.CA()


@pytest.fixture(scope="session")
def authority_file(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("authority") / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    return str(path)


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch, authority_file: str) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", authority_file)
    for name in ("AILINK_GATEWAY_URL", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.fixture(autouse=True)
def waits(monkeypatch: pytest.MonkeyPatch) -> Waits:
    waits = Waits()
    monkeypatch.setattr("ailink._sync.connection.sleep", waits)
    monkeypatch.setattr("ailink._async.connection.sleep", waits.later)
    return waits


@pytest.fixture
def make_gateway() -> Iterator[Callable[..., Gateway]]:
    """Makes gateways that do not listen yet."""
    made: list[Gateway] = []

    def make(context: ssl.SSLContext | None = None) -> Gateway:
        made.append(Gateway(context))
        return made[-1]

    yield make
    for gateway in made:
        gateway.stop()


@pytest.fixture
def gateway(make_gateway: Callable[..., Gateway]) -> Gateway:
    gateway = make_gateway()
    gateway.start()
    return gateway


@pytest.fixture
def serve_tls(make_gateway: Callable[..., Gateway]) -> Callable[[trustme.CA], Gateway]:
    """Starts a gateway whose certificate an authority has issued."""

    def serve(authority: trustme.CA) -> Gateway:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("127.0.0.1").configure_cert(context)
        gateway = make_gateway(context)
        gateway.start()
        return gateway

    return serve


@pytest.fixture
def silent_url() -> Iterator[str]:
    """A server that accepts connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


@pytest.fixture(params=[AIlinkClient, AsyncClient], ids=["sync", "async"])
async def connect(request: pytest.FixtureRequest, gateway: Gateway) -> AsyncIterator[Callable[..., Driven]]:
    """Makes clients, of each kind in turn, and closes them."""
    made: list[Driven] = []

    def connect(key: str = TOKEN, **options: Any) -> Driven:
        made.append(Driven(request.param(key, **{"gateway_url": gateway.url, **options})))
        return made[-1]

    yield connect
    for client in made:
        closing: Callable[[], Awaitable[None]] = client.aclose if request.param is AsyncClient else client.close
        await closing()


@pytest.fixture
def client(connect: Callable[..., Driven]) -> Driven:
    return connect()


@pytest.fixture
def admin(connect: Callable[..., Driven]) -> Driven:
    return connect(ADMIN_KEY)


@pytest.fixture
def token() -> str:
    """A whole token; its public id is ``tok_AbCdEf012345``."""
    return TOKEN


@pytest.fixture
def secret() -> str:
    """The part of ``token`` that nobody may see."""
    return SECRET


@pytest.fixture
def admin_key() -> str:
    return ADMIN_KEY

"""What stands around the data plane in unit tests: a client, a directory, a journal, an upstream; none has a socket."""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import unquote

import pytest

from ailink_gateway import routes
from ailink_gateway.backends.breakers import MemoryBreakers
from ailink_gateway.backends.ledger import MemoryLedger
from ailink_gateway.backends.limiter import MemoryLimiter
from ailink_gateway.backends.settlement import SettlingJournal
from ailink_gateway.backends.thoughts import MemoryThoughts
from ailink_gateway.backends.upstreams import upstream as compile_upstream
from ailink_gateway.exchange import Exchange
from ailink_gateway.grant import Grant, Key, Snapshot, Upstream
from ailink_gateway.pipeline import compose
from ailink_gateway.ports import Spent
from ailink_gateway.record import Opened, Record
from ailink_gateway.stages.admit import Admit
from ailink_gateway.stages.attempt import Attempt
from ailink_gateway.stages.authenticate import Authenticate
from ailink_gateway.stages.choose import Choose
from ailink_gateway.stages.dispatch import Dispatch
from ailink_gateway.stages.govern import Govern
from ailink_gateway.stages.hold import Hold
from ailink_gateway.stages.record import Record as RecordStage
from ailink_gateway.stages.reserve import Reserve
from ailink_gateway.targets import Resolver
from ailink_provider.errors import Failure
from ailink_provider.registry import dialects, providers
from ailink_provider.transport import Request, Response

Headers = Sequence[tuple[bytes, bytes]]


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Client:
    """The client's end of one request, as ASGI has it: what it sends, and what it got."""

    def __init__(self) -> None:
        self.incoming: list[dict[str, Any]] = []
        self.got: list[MutableMapping[str, Any]] = []
        self.gone = asyncio.Event()
        self.receiving = asyncio.Event()

    def asks(self, *chunks: bytes) -> None:
        """Let the body arrive in these pieces."""
        for chunk in chunks:
            self.incoming.append({"type": "http.request", "body": chunk, "more_body": True})
        self.incoming[-1]["more_body"] = False

    async def receive(self) -> MutableMapping[str, Any]:
        if self.incoming:
            return self.incoming.pop(0)
        self.receiving.set()
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: MutableMapping[str, Any]) -> None:
        self.got.append(message)

    @property
    def status(self) -> int:
        return int(self.got[0]["status"])

    @property
    def headers(self) -> dict[str, str]:
        return {name.decode(): value.decode() for name, value in self.got[0]["headers"]}

    @property
    def body(self) -> bytes:
        return b"".join(message["body"] for message in self.got[1:])

    @property
    def ended(self) -> bool:
        return len(self.got) > 1 and not self.got[-1].get("more_body", False)


class Journal:
    """Keeps what it is given; ``broken`` is raised instead."""

    def __init__(self) -> None:
        self.opened: list[Opened] = []
        self.records: list[Record] = []
        self.broken: Exception | None = None

    def open(self, opened: Opened) -> None:
        self.opened.append(opened)

    def close(self, record: Record) -> None:
        if self.broken is not None:
            raise self.broken
        self.records.append(record)


class Callers:
    """A directory of tokens in memory; ``nobody`` is the grant of callers without one."""

    def __init__(self, **grants: Grant) -> None:
        self.grants = grants
        self.nobody: Grant | None = None
        self.asked: list[str] = []

    def cached(self, secret: str) -> Grant | None:
        return None

    async def find(self, secret: str) -> Grant:
        self.asked.append(secret)
        if secret not in self.grants:
            raise Failure("invalid_api_key", "Invalid API key: this token is unknown here.")
        return self.grants[secret]

    async def anonymous(self) -> Grant | None:
        return self.nobody

    async def by_id(self, token_id: str | None) -> Grant:
        for grant in [*self.grants.values(), *([self.nobody] if self.nobody else [])]:
            if grant.token_id == token_id:
                return grant
        raise Failure("invalid_api_key", "Invalid API key: this token is unknown here.")


class Listener:
    """An upstream that remembers what it was asked and answers what it was told to, in order."""

    def __init__(self) -> None:
        self.asked: list[Request] = []
        self.answers: list[Response | Failure] = []

    async def send(self, request: Request, deadline: float | None = None) -> Response:
        request.begun = True
        self.asked.append(request)
        answer = self.answers.pop(0) if self.answers else Response(200, [], b"{}")
        if isinstance(answer, Failure):
            raise answer
        return answer


class Books:
    """A ledger in which a test writes what was spent, by scope and id."""

    def __init__(self) -> None:
        self.spendings: dict[tuple[str, str], Spent] = {}

    def spent(self, scope: str, scope_id: str) -> Spent | None:
        return self.spendings.get((scope, scope_id))


class Answer(NamedTuple):
    """What a client got."""

    status: int
    headers: dict[str, str]
    body: bytes


@pytest.fixture
def client() -> Client:
    return Client()


@pytest.fixture
def journal() -> Journal:
    return Journal()


@pytest.fixture
def ledger() -> MemoryLedger:
    return MemoryLedger()


@pytest.fixture
def listener() -> Listener:
    return Listener()


@pytest.fixture
def books() -> Books:
    return Books()


@pytest.fixture
def callers() -> type[Callers]:
    return Callers


@pytest.fixture
def make_client() -> type[Client]:
    return Client


@pytest.fixture
def make_exchange(client: Client) -> Callable[..., Exchange]:
    """Makes the exchange of a request of ``client``. The path is what stands in the request line."""

    def make(
        method: str = "POST",
        path: str = "/v1/chat/completions",
        headers: Headers = (),
        query: bytes = b"",
        body: bytes = b"",
        caller: Client | None = None,
    ) -> Exchange:
        caller = caller or client
        caller.asks(body)
        decoded = unquote(path)
        scope = {
            "type": "http",
            "method": method,
            "path": decoded,
            "raw_path": path.encode("latin-1"),
            "query_string": query,
            "headers": list(headers),
            "client": ("127.0.0.1", 1),
        }
        return Exchange.of(scope, caller.receive, caller.send, routes.match(method, decoded, query))

    return make


@pytest.fixture
def make_upstream(listener: Listener) -> Callable[..., Upstream]:
    """Makes an upstream at ``url`` that ends at ``listener``, of a provider by its name or of none."""

    def make(
        name: str | None = "openai",
        url: str | None = None,
        key: Key | bytes | None = b"sk-of-the-gateway",
        **fields: Any,
    ) -> Upstream:
        provider = providers()[name] if name is not None else None
        if isinstance(key, bytes):
            header, prefix = dialects()[provider.dialect if provider else "openai_chat"].credential_header
            key = Key(key, header.encode(), prefix.encode() + key)
        url = url or (provider.base_url if provider else "") or f"https://{name or 'unknown'}.example"
        return compile_upstream(provider, url, listener, key, **fields)

    return make


@pytest.fixture
def clock() -> Clock:
    """The clock of limits and breakers."""
    return Clock()


@pytest.fixture
def limiter(clock: Clock) -> MemoryLimiter:
    return MemoryLimiter(clock=clock)


@pytest.fixture
def breakers(clock: Clock) -> MemoryBreakers:
    return MemoryBreakers(clock=clock)


@pytest.fixture
def call(
    journal: Journal,
    ledger: MemoryLedger,
    make_client: type[Client],
    make_exchange: Callable[..., Exchange],
    listener: Listener,
    limiter: MemoryLimiter,
    books: Books,
    breakers: MemoryBreakers,
) -> Callable[..., Awaitable[Answer]]:
    """Runs a request through all stages, as the bearer of ``grant``; ``prepare`` may change the exchange first."""

    async def run(
        grant: Grant, method: str, path: str, body: bytes = b"", *, snapshot: Snapshot | None = None, **request: Any
    ) -> Answer:
        caller = request.pop("caller", None) or make_client()
        headers = [(b"authorization", b"Bearer t"), *request.pop("headers", ())]
        prepare = request.pop("prepare", None)
        exchange = make_exchange(method, path, headers, body=body, caller=caller, **request)
        if prepare is not None:
            prepare(exchange)
        settling = SettlingJournal(journal, ledger)
        resolver = Resolver(snapshot or Snapshot())
        stages = (
            RecordStage(settling),
            Authenticate(Callers(t=grant)),
            Admit(limiter),
            Choose(resolver),
            Govern(limiter, resolver, listener, ledger=books),
            Hold(None),  # type: ignore[arg-type]  # nobody decides here: what wants an approval is refused
            Reserve(ledger),
            Attempt(breakers),
            Dispatch(settling, MemoryThoughts()),
        )
        await compose(stages)(exchange)
        return Answer(caller.status, caller.headers, caller.body)

    return run

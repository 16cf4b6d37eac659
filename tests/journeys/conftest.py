"""The whole system over real sockets: a gateway process, strict mock clouds behind it, official clients in front of it.
"""

import os
import re
import secrets
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2
import pytest

from ailink import AIlinkClient
from ailink.models import AuditLog
from ailink_provider.testing import KEYS, MockUpstream

from .clients import Client, Secrets

AILINK = str(Path(sys.executable).with_name("ailink"))
BASE_URLS = {"OPENAI_BASE_URL": "/v1", "ANTHROPIC_BASE_URL": "", "GEMINI_BASE_URL": ""}
CREDENTIALS = {"openai": "/v1", "anthropic": "", "gemini": ""}
AGENT = "billing-agent"


class Gateway:
    """A gateway in a process of its own. ``lines`` is what it printed so far."""

    def __init__(self, command: str, data: Path, environment: dict[str, str]) -> None:
        self.command, self.data, self.environment = command, data, environment
        self.admin_key = environment.get("AILINK_ADMIN_KEY", "")
        self.lines: list[str] = []
        self.url = ""

    def start(self) -> "Gateway":
        """Start the process and wait until it has said where it listens."""
        self.process = subprocess.Popen(
            [AILINK, self.command, "--port", "0", "--data", str(self.data)],
            cwd=self.data.parent,
            text=True,
            env=clean_environment(self.environment),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            bufsize=1,
        )
        listening = threading.Event()
        self._reader = threading.Thread(target=self._read, args=(listening,))
        self._reader.start()
        assert listening.wait(20), "".join(self.lines)
        found = re.search(r"http://[\d.:\[\]]+", "".join(self.lines))
        assert found, "".join(self.lines)
        self.url = found[0]
        return self

    def _read(self, listening: threading.Event) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line)
            if "http://" in line:
                listening.set()
        listening.set()

    def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        """End the process and return its exit code."""
        self.process.send_signal(how)
        code = self.process.wait(20)
        self._reader.join()
        assert self.process.stdout is not None
        self.process.stdout.close()
        return code

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens."""
        where = urlsplit(self.url)
        assert where.hostname and where.port
        return where.hostname, where.port

    @property
    def output(self) -> str:
        """Everything that it printed."""
        return "".join(self.lines)

    def admin(self) -> AIlinkClient:
        """Return a client with the admin key."""
        return AIlinkClient.admin(admin_key=self.admin_key, gateway_url=self.url)


def clean_environment(settings: dict[str, str]) -> dict[str, str]:
    """Return this process's environment without what could reach a gateway by chance, and with ``settings``."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not re.search(r"AILINK|_API_KEY|_BASE_URL|PROXY|^AWS_|^AZURE_|^GOOGLE_", name, re.IGNORECASE)
    }
    return {**kept, **settings}


def run_ailink(*arguments: str, cwd: Path, **settings: str) -> "subprocess.CompletedProcess[str]":
    """Run a command to its end, which a server that starts does not reach; its output is in ``stdout``."""
    return subprocess.run(
        [AILINK, *arguments],
        cwd=cwd,
        env=clean_environment(settings),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=20,
        check=False,
    )


def wait_for(condition: Callable[[], bool]) -> None:
    """Wait for what another thread or process brings about, and tells nobody of."""
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.001)


@pytest.fixture(scope="session")
def known_secrets() -> Secrets:
    """Every secret that the journeys use: none may ever show."""
    known = Secrets()
    for key in KEYS.values():
        known.add(key)
    return known


@pytest.fixture(scope="session")
def clouds() -> Iterator[MockUpstream]:
    with MockUpstream() as upstream:
        yield upstream


@pytest.fixture
def upstream(clouds: MockUpstream) -> MockUpstream:
    """The vendors' clouds, with nothing remembered and nothing scripted."""
    clouds.forget()
    return clouds


@pytest.fixture(scope="session")
def start_gateway(
    clouds: MockUpstream, known_secrets: Secrets, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[..., Gateway]]:
    """Return a function that starts gateways; all are stopped at the end, and none may have given a secret away."""
    started: list[Gateway] = []

    def start(
        command: str = "serve", data: Path | None = None, **environment: str
    ) -> Gateway:
        base = {"AILINK_ALLOW_UPSTREAMS": "127.0.0.0/8"}
        if command == "serve":
            base |= {
                "AILINK_MASTER_KEY": known_secrets.add(secrets.token_hex(32)),
                "AILINK_ADMIN_KEY": known_secrets.add(f"ailink_admin_{secrets.token_hex(20)}"),
            }
        data = data or tmp_path_factory.mktemp("gateway") / "data"
        gateway = Gateway(command, data, base | environment).start()
        started.append(gateway)
        return gateway

    yield start
    for gateway in started:
        if gateway.process.poll() is None:
            for path, shown in everything_shown(gateway):
                assert not known_secrets.found(shown), f"{path} shows a secret"
            gateway.stop()
    for gateway in started:
        assert not known_secrets.found(gateway.output.encode()), "a gateway printed a secret"
        for file in gateway.data.rglob("*"):
            if file.is_file():
                assert not known_secrets.found(file.read_bytes()), f"{file} holds a secret"
            if file.name == "ailink.db":
                assert not known_secrets.found(everything_stored(file)), f"{file} holds a secret"


def everything_shown(gateway: Gateway) -> Iterator[tuple[str, bytes]]:
    """Yield what a gateway shows of itself, to anyone or to its operator: metrics, documents, every list and export."""
    headers = {"Authorization": f"Bearer {gateway.admin_key}"}
    with httpx2.Client(base_url=gateway.url, timeout=20) as http:
        document = http.get("/openapi.json")
        yield "/openapi.json", document.content
        yield "/metrics", http.get("/metrics").content
        if not gateway.admin_key:
            return
        for path, methods in document.json()["paths"].items():
            if "get" in methods and "{" not in path and not path.endswith("/stream"):
                answer = http.get(path, headers=headers)
                yield path, answer.content + repr(answer.headers.raw).encode()
            elif "get" in methods and path.endswith("/{id}"):
                listed = http.get(path.removesuffix("/{id}"), headers=headers, params={"limit": 100}).json()
                for row in listed.get("data", [])[:20]:
                    yield path, http.get(path.replace("{id}", row["id"]), headers=headers).content
        yield "an error", http.get("/api/v1/tokens/nothing", headers=headers).content


def everything_stored(database: Path) -> bytes:
    """Return every value of every table: in the file, a long one may lie in pieces."""
    with closing(sqlite3.connect(database)) as connection:
        tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        values = [row for table in tables for row in connection.execute(f'SELECT * FROM "{table}"')]
    return b"\n".join(
        value if isinstance(value, bytes) else str(value).encode() for row in values for value in row
    )


@pytest.fixture(scope="session")
def vendors(clouds: MockUpstream) -> dict[str, str]:
    """The environment that gives a gateway keys for the three families."""
    environment = {variable: clouds.url(path) for variable, path in BASE_URLS.items()}
    return environment | {f"{vendor.upper()}_API_KEY": KEYS[vendor] for vendor in ("openai", "anthropic", "gemini")}


@pytest.fixture(scope="session")
def gateway(vendors: dict[str, str], start_gateway: Callable[..., Gateway]) -> Gateway:
    """A production gateway whose environment has keys for the three families."""
    return start_gateway(**vendors)


@pytest.fixture(scope="session")
def admin(gateway: Gateway) -> Iterator[AIlinkClient]:
    with gateway.admin() as client:
        yield client


@pytest.fixture(scope="session")
def token(admin: AIlinkClient, known_secrets: Secrets) -> str:
    """A token that reaches what the environment provides, however often and however badly that goes."""
    made = admin.tokens.create(name="everything", requests_per_minute=0, circuit_breaker={"enabled": False})
    return known_secrets.add(str(made["token_id"]))


@pytest.fixture
def client(gateway: Gateway, token: str) -> Iterator[AIlinkClient]:
    with AIlinkClient(api_key=token, gateway_url=gateway.url, agent_name=AGENT) as made:
        yield made


@pytest.fixture
def make_token(admin: AIlinkClient, known_secrets: Secrets) -> Callable[..., str]:
    """Return a function that makes a token, with a credential of its own where a ``provider`` is given."""

    def make(
        provider: str | None = None, secret: str | None = None, credential: dict[str, Any] | None = None, **fields: Any
    ) -> str:
        name = f"t-{secrets.token_hex(6)}"
        if provider is not None:
            made = admin.credentials.create(
                name=name,
                provider=provider,
                secret=known_secrets.add(secret or KEYS.get(provider) or "rest-secret-123"),
                **(credential or {}),
            )
            fields["credential_id"] = made["id"]
        return known_secrets.add(str(admin.tokens.create(name=name, **fields)["token_id"]))

    return make


class Caller:
    """Calls the gateway as plain HTTP. No refusal that it sees may hold a secret."""

    def __init__(self, url: str, token: str, known: Secrets) -> None:
        self.http = httpx2.Client(base_url=url, timeout=20)
        self._token, self._known = token, known

    def __call__(
        self,
        client: Client,
        model: str | None = None,
        *,
        token: str | None = None,
        stream: bool = False,
        content: bytes | Iterator[bytes] | None = None,
        headers: dict[str, str] | None = None,
        **fields: Any,
    ) -> httpx2.Response:
        """Ask for a chat, with ``fields`` over it or ``content`` as its whole body. ``token`` "" sends none."""
        model = model or client.model
        body: Any = {"json": client.body(model, stream, **fields)} if content is None else {"content": content}
        return self.request("POST", client.path(model, stream), token=token, headers=headers, **body)

    def request(
        self, method: str, path: str, token: str | None = None, headers: dict[str, str] | None = None, **body: Any
    ) -> httpx2.Response:
        """Send anything else."""
        token = self._token if token is None else token
        sent = {"Content-Type": "application/json", **({"Authorization": f"Bearer {token}"} if token else {})}
        answer = self.http.request(method, path, headers={**sent, **(headers or {})}, **body)
        assert not self._known.found(answer.content + repr(answer.headers.raw).encode())
        return answer


@pytest.fixture(scope="session")
def call(gateway: Gateway, token: str, known_secrets: Secrets) -> Iterator[Caller]:
    caller = Caller(gateway.url, token, known_secrets)
    yield caller
    caller.http.close()


@contextmanager
def following(gateway: Gateway) -> Iterator[Callable[[str], AuditLog]]:
    """A function that waits for the record of a request, which reaches the store moments after the answer."""
    headers = {"Authorization": f"Bearer {gateway.admin_key}", "Last-Event-ID": "0"}
    url = f"{gateway.url}/api/v1/audit/stream"
    arrived: dict[str, AuditLog] = {}
    with httpx2.stream("GET", url, headers=headers, timeout=20) as stream:
        lines = stream.iter_lines()

        def find(request_id: str) -> AuditLog:
            while request_id not in arrived:
                line = next(lines)
                if line.startswith("data:"):
                    record = AuditLog.model_validate_json(line[5:])
                    arrived[record.id] = record
            return arrived[request_id]

        yield find


@pytest.fixture(scope="session")
def record_of(gateway: Gateway) -> Iterator[Callable[[str], AuditLog]]:
    with following(gateway) as find:
        yield find

"""The ends of a gateway, kind and unkind: nothing that was answered is lost, and what cannot start says why."""

import json
import secrets
import signal
import socket
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx2
import pytest

from ailink_provider.testing import Fault, MockUpstream

from .clients import CLIENTS
from .conftest import Gateway, following, run_ailink, wait_for

WORDS = " ".join(f"word{number}" for number in range(40))
KEEP = {"AILINK_MASTER_KEY": secrets.token_hex(32), "AILINK_ADMIN_KEY": f"ailink_admin_{secrets.token_hex(20)}"}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def start(start_gateway: Callable[..., Gateway], vendors: dict[str, str], data: Path) -> Callable[[], Gateway]:
    """Return a function that starts a gateway on the same data again and again."""
    return lambda: start_gateway(data=data, **vendors, **KEEP)


def make_token(gateway: Gateway) -> str:
    with gateway.admin() as admin:
        return str(admin.tokens.create(name="crash")["token_id"])


def ask(gateway: Gateway, token: str, stream: bool = False) -> tuple[str, dict[str, Any]]:
    """Return the URL of a call, and the rest of it."""
    client = CLIENTS[0]
    headers = {"Authorization": f"Bearer {token}"}
    return gateway.url + client.path(client.model), {"headers": headers, "json": client.body("gpt-4o", stream)}


def outcomes(gateway: Gateway, token: str) -> Counter[str]:
    """Count a token's records by outcome."""
    found: list[Any] = []
    with gateway.admin() as admin:
        after: dict[str, str] = {}
        while page := admin.audit.list(token_id=token, limit=100, **after):
            found += page
            after = {"starting_after": page[-1].id}
    return Counter(record.outcome for record in found)


class Load:
    """Clients that call as fast as they can until the gateway is gone; ``received`` are the answers that came whole."""

    CLIENTS = 4

    def __init__(self, gateway: Gateway, token: str) -> None:
        self.received: list[str] = []
        self._calls = [ask(gateway, token, stream=number % 2 == 1) for number in range(self.CLIENTS)]
        self._threads = [threading.Thread(target=self._run, args=call) for call in self._calls]
        for thread in self._threads:
            thread.start()

    def _run(self, url: str, call: dict[str, Any]) -> None:
        end = "data: [DONE]\n\n" if call["json"].get("stream") else "}"
        with httpx2.Client() as http:
            while True:
                try:
                    answer = http.post(url, **call)
                except httpx2.TransportError:
                    return
                if answer.status_code == 200 and answer.text.endswith(end):
                    self.received.append(answer.headers["x-request-id"])

    def join(self) -> None:
        """Wait until each has noticed."""
        for thread in self._threads:
            thread.join()


def test_kill(start: Callable[[], Gateway], upstream: MockUpstream) -> None:
    """kill -9: every answer that a client has received whole has its record; of calls under way nobody knows."""
    gateway = start()
    token = make_token(gateway)
    with httpx2.Client() as http:
        upstream.script(text=WORDS, fault=Fault("hang", at=20))
        url, call = ask(gateway, token, stream=True)
        with http.stream("POST", url, **call) as streaming, socket.create_connection(gateway.address) as waiting:
            chunks = streaming.iter_raw()
            received = b""
            while b"word0" not in received:
                received += next(chunks)
            upstream.script(fault=Fault("hang"))
            body = json.dumps(CLIENTS[0].body("gpt-4o")).encode()
            head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {token}\r\n"
            waiting.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
            wait_for(lambda: len(upstream.requests) == 2)
            load = Load(gateway, token)
            wait_for(lambda: len(load.received) >= 150)
            gateway.stop(signal.SIGKILL)
            load.join()
            with pytest.raises(httpx2.TransportError):
                list(chunks)

    gateway = start()
    with following(gateway) as record_of:
        for request_id in load.received:
            record = record_of(request_id)
            assert (record.outcome, record.status, record.completion_tokens) == ("answered", 200, 7)
        record = record_of(streaming.headers["x-request-id"])
    assert (record.outcome, record.error_code, record.status) == ("unknown", "outcome_unknown", None)
    assert (record.model, record.provider) == ("gpt-4o", "openai")
    found = outcomes(gateway, token)
    assert 2 <= found["unknown"] <= 2 + Load.CLIENTS
    assert set(found) == {"answered", "unknown"}
    gateway.stop(signal.SIGKILL)
    assert outcomes(start(), token) == found, "nothing is counted twice"


def test_sigterm(start: Callable[[], Gateway], upstream: MockUpstream, data: Path) -> None:
    """It answers what is under way, ends the audit stream, ships every record and exits with 0, all at once."""
    gateway = start()
    token = make_token(gateway)
    url, call = ask(gateway, token)
    rest: list[str] = []
    with httpx2.Client(timeout=20) as http:
        seen = [http.post(url, **call).headers["x-request-id"] for _ in range(20)]
        headers = {"Authorization": f"Bearer {gateway.admin_key}", "Last-Event-ID": "0"}
        with http.stream("GET", f"{gateway.url}/api/v1/audit/stream", headers=headers) as audit:
            lines = audit.iter_lines()
            next(lines)
            upstream.script(fault=Fault("hang"))
            answers: list[httpx2.Response] = []
            caller = threading.Thread(target=lambda: answers.append(httpx2.post(url, timeout=20, **call)))
            caller.start()
            wait_for(lambda: len(upstream.requests) == 21)
            began = time.monotonic()
            gateway.process.terminate()
            rest = list(lines)
            upstream.release()
            caller.join()
            code = gateway.process.wait(20)
            took = time.monotonic() - began
    gateway.stop()
    assert rest, "the stream ended as it should, not by a broken connection"
    assert answers[0].status_code == 200
    assert took < 5
    seen.append(answers[0].headers["x-request-id"])
    with closing(sqlite3.connect(data / "ailink.db")) as database:
        rows = dict(database.execute("SELECT id, outcome FROM records"))
    assert rows == dict.fromkeys(seen, "answered")
    assert not list(data.rglob("*.journal")), "all is shipped"
    assert not list(data.glob("ailink.db-*")), "the log is folded into the database"
    assert code == 0


def refused(data: Path, **settings: str) -> str:
    """Return what a start said that had to fail."""
    found = run_ailink("serve", "--port", "0", "--data", str(data), cwd=data.parent, **{**KEEP, **settings})
    assert found.returncode == 2, found.stdout
    assert "Traceback" not in found.stdout
    return found.stdout


class TestRefusedStarts:
    """What would do harm does not start, and says what to do instead."""

    def test_a_second_process(self, start: Callable[[], Gateway], data: Path) -> None:
        gateway = start()
        said = refused(data)
        assert str(data) in said and "--data" in said
        assert httpx2.get(f"{gateway.url}/readyz").status_code == 200, "the first one goes on"

    def test_another_master_key_and_a_newer_database(self, start: Callable[[], Gateway], data: Path) -> None:
        start().stop()
        assert "AILINK_MASTER_KEY" in refused(data, AILINK_MASTER_KEY=secrets.token_hex(32))
        with closing(sqlite3.connect(data / "ailink.db")) as database, database:
            database.execute("UPDATE alembic_version SET version_num = '9999'")
        assert "newer" in refused(data)

    def test_a_file_that_is_no_database(self, data: Path) -> None:
        data.mkdir()
        (data / "ailink.db").write_text("This is a text. " * 100)
        assert "ailink.db" in refused(data)

    def test_a_database_of_something_else(self, data: Path) -> None:
        data.mkdir()
        with closing(sqlite3.connect(data / "ailink.db")) as database, database:
            database.execute("CREATE TABLE theirs (id INTEGER)")
        assert "not AIlink's" in refused(data)

    def test_a_port_that_is_taken(self, data: Path) -> None:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            port = str(taken.getsockname()[1])
            found = run_ailink("serve", "--port", port, "--data", str(data), cwd=data.parent, **KEEP)
        assert found.returncode != 0
        assert "address already in use" in found.stdout
        assert port in found.stdout

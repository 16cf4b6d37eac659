"""The audit as its readers use it: proved, followed along a session, exported, and of no use to whoever forges it."""

import csv
import io
import json
import re
import secrets
import signal
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import httpx2
import pytest
import yaml

from ailink_provider.testing import KEYS, MockUpstream

from .clients import CLIENTS, Secrets
from .conftest import AGENT, Gateway, following, run_ailink, wait_for

MASTER = secrets.token_hex(32)
KEEP = {"AILINK_MASTER_KEY": MASTER, "AILINK_ADMIN_KEY": f"ailink_admin_{secrets.token_hex(20)}"}
OPENAI = CLIENTS[0]
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def start(
    start_gateway: Callable[..., Gateway], vendors: dict[str, str], data: Path
) -> Callable[..., Gateway]:
    """Return a function that starts a gateway on the same data again and again."""
    return lambda **settings: start_gateway(data=data, **vendors, **KEEP, **settings)


class Agent:
    """An agent with a token of its own."""

    def __init__(self, gateway: Gateway, known: Secrets, **token: Any) -> None:
        self.gateway = gateway
        self.admin = httpx2.Client(
            base_url=gateway.url, headers={"Authorization": f"Bearer {gateway.admin_key}"}, timeout=20
        )
        made = self.admin.post("/api/v1/tokens", json={"name": f"t-{secrets.token_hex(4)}", **token}).json()
        self.token, self.token_id = known.add(made["token_id"]), made["id"]

    def ask(self, text: str = "hi", stream: bool = False, **headers: str) -> str:
        """Make a call and return its request id."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        answer = httpx2.post(
            self.gateway.url + OPENAI.path(OPENAI.model),
            json=OPENAI.body(OPENAI.model, stream, text=text),
            headers={"Authorization": f"Bearer {self.token}", "X-AILink-Agent-Name": AGENT, **named},
        )
        assert answer.status_code == 200, answer.text
        return answer.headers["x-request-id"]

    def recorded(self, *request_ids: str) -> None:
        """Wait until these are in the audit."""
        with following(self.gateway) as record_of:
            for request_id in request_ids:
                record_of(request_id)

    def get(self, path: str, **query: Any) -> Any:
        """Read as the operator."""
        answer = self.admin.get(f"/api/v1/{path}", params=query)
        assert answer.status_code == 200, answer.text
        return answer.json()


@pytest.fixture
def make_agent(known_secrets: Secrets) -> Iterator[Callable[..., Agent]]:
    """Return a function that makes agents of a gateway."""
    with ExitStack() as stack:

        def make(gateway: Gateway, **token: Any) -> Agent:
            agent = Agent(gateway, known_secrets, **token)
            stack.callback(agent.admin.close)
            return agent

        yield make


MakeAgent = Callable[..., Agent]


def verify(data: Path, **settings: str) -> tuple[int, str]:
    """Run the command and return its exit code and what it said."""
    found = run_ailink("audit", "verify", "--data", str(data), cwd=data.parent, AILINK_MASTER_KEY=MASTER, **settings)
    return found.returncode, found.stdout


def alter(data: Path, statement: str) -> None:
    with closing(sqlite3.connect(data / "ailink.db")) as connection:
        assert connection.execute(statement).rowcount
        connection.commit()


def test_a_chain_outlives_kills_and_gives_every_forgery_away(
    start: Callable[..., Gateway], data: Path, make_agent: MakeAgent, upstream: MockUpstream
) -> None:
    gateway = start()
    agent = make_agent(gateway)
    ids = [agent.ask() for _ in range(20)]
    agent.recorded(ids[-1])
    assert agent.get("audit/verify") == {"valid": True, "rows": 20, "pruned": 0, "chains": 1, "fault": None}
    assert verify(data) == (0, "Valid: 20 rows in 1 chains; 0 rows were removed because of their age.\n")
    agent.ask()
    gateway.stop(signal.SIGKILL)
    gateway = start()
    ids.append(make_agent(gateway).ask())
    gateway.stop()
    code, said = verify(data)
    assert (code, said.split(" rows in ")[0]) == (0, "Valid: 22"), said

    (data / "kept.db").write_bytes((data / "ailink.db").read_bytes())
    for statement, named in (
        (f"UPDATE records SET cost_nano = 0 WHERE id = '{ids[6]}'", f"Row {ids[6]} was altered; it stands at place 7"),
        ("DELETE FROM records WHERE chain_sequence > 10", "The rows at places 11 to 21 are missing"),
    ):
        alter(data, statement)
        code, said = verify(data)
        assert (code, named in said) == (1, True), (statement, said)
        (data / "ailink.db").write_bytes((data / "kept.db").read_bytes())
    found = run_ailink("audit", "verify", "--data", str(data), cwd=data.parent, AILINK_MASTER_KEY=secrets.token_hex(32))
    assert (found.returncode, "sealed under master key" in found.stdout) == (2, True)
    (data / "kept.db").unlink()


def test_dev_proves_its_audit_with_the_key_that_it_keeps(start_gateway: Callable[..., Gateway]) -> None:
    dev = start_gateway("dev")
    answer = httpx2.post(dev.url + OPENAI.path(OPENAI.model), json=OPENAI.body(OPENAI.model))
    assert answer.status_code == 200
    dev.stop()
    found = run_ailink("audit", "verify", "--data", str(dev.data), cwd=dev.data.parent)
    assert (found.returncode, found.stdout.startswith("Valid: 1 rows")) == (0, True), found.stdout
    found = run_ailink("audit", "verify", "--data", str(dev.data / "nothing"), cwd=dev.data.parent)
    assert (found.returncode, "Start the gateway once" in found.stdout) == (2, True), found.stdout


def test_a_flood_of_bad_keys_leaves_the_audit_alone(gateway: Gateway, make_agent: MakeAgent) -> None:
    agent = make_agent(gateway)
    before = agent.get("audit/verify")["rows"]

    def refused() -> int:
        text = httpx2.get(f"{gateway.url}/metrics").text
        lines = [line for line in text.splitlines() if line.startswith("ailink_refused_callers_total{")]
        return sum(int(line.rsplit(" ", 1)[1]) for line in lines)

    counted = refused()
    with httpx2.Client(base_url=gateway.url) as http:
        for number in range(300):
            assert http.get("/v1/models", headers={"Authorization": f"Bearer bad-{number}"}).status_code == 401
    agent.recorded(agent.ask())
    assert refused() == counted + 300
    assert agent.get("audit/verify") == {
        "valid": True, "rows": before + 1, "pruned": 0, "chains": 1, "fault": None
    }  # fmt: skip


def test_a_session_is_followed_step_by_step(gateway: Gateway, make_agent: MakeAgent, upstream: MockUpstream) -> None:
    agent = make_agent(gateway)
    name = f"conv-{secrets.token_hex(4)}"
    root = agent.ask(X_Session_ID=name, traceparent=f"00-{TRACE}-00f067aa0ba902b7-01")
    sent = upstream.requests[-1].headers["traceparent"]
    child = agent.ask(stream=True, X_Session_ID=name, X_Parent_Span_ID=sent[36:52])
    agent.recorded(root, child)
    session = agent.get(f"sessions/{name}")
    first, second = session["requests"]
    assert [first["id"], second["id"]] == [root, child]
    assert sent == f"00-{TRACE}-{first['span_id']}-01"
    assert (first["trace_id"], first["parent_span_id"]) == (TRACE, "00f067aa0ba902b7")
    assert second["parent_span_id"] == first["span_id"]
    assert (session["request_count"], session["error_count"], session["total_tokens"]) == (2, 0, 36)
    assert session["cost_usd"] == pytest.approx(first["cost_usd"] + second["cost_usd"])
    assert agent.get("sessions", limit=100)["data"][0]["id"] == name
    assert [row["id"] for row in agent.get("audit", session_id=name)["data"]] == [child, root]


@pytest.mark.parametrize("stream", [True, False])
def test_bodies_are_kept_sealed_for_those_who_ask(
    gateway: Gateway, make_agent: MakeAgent, known_secrets: Secrets, upstream: MockUpstream, stream: bool
) -> None:
    secret = known_secrets.add(f"sk-{secrets.token_hex(16)}")
    for level in ("metadata", "redacted", "full"):
        agent = make_agent(gateway, log_level=level)
        request_id = agent.ask("tell me of whales" if level == "full" else f"my key is {secret}", stream)
        agent.recorded(request_id)
        path = f"/api/v1/audit/{request_id}/body"
        if level == "metadata":
            assert agent.admin.get(path).status_code == 404
            continue
        wait_for(lambda agent=agent, path=path: agent.admin.get(path).status_code == 200)  # type: ignore[misc]
        body = agent.admin.get(path).json()
        assert body["level"] == level
        said = json.loads(body["request"]["body"])["messages"][0]["content"]
        assert said == ("tell me of whales" if level == "full" else "my key is [redacted]")
        answered = body["response"]["body"]
        assert ("data: [DONE]" in answered) is stream
        assert body["response"]["size_bytes"] == len(answered.encode()) or level == "redacted"
    stored = b"".join(path.read_bytes() for path in gateway.data.rglob("*") if path.is_file())
    assert b"of whales" not in stored


def test_the_audit_is_exported_by_api_and_command(
    start: Callable[..., Gateway], data: Path, make_agent: MakeAgent, upstream: MockUpstream
) -> None:
    agent = make_agent(start())
    ids = [agent.ask() for _ in range(3)]
    agent.recorded(ids[-1])
    text = agent.admin.get("/api/v1/audit/export").text
    assert [json.loads(line)["id"] for line in text.splitlines()] == ids
    found = run_ailink("audit", "export", "--data", str(data), cwd=data.parent)
    assert (found.returncode, found.stdout) == (0, text)
    found = run_ailink("audit", "export", "--data", str(data), "--format", "csv", "--output", "a.csv", cwd=data.parent)
    assert found.returncode == 0, found.stdout
    rows = list(csv.DictReader(io.StringIO((data.parent / "a.csv").read_text(), newline="")))
    assert [row["id"] for row in rows] == ids


def test_metrics_tell_of_calls(gateway: Gateway, make_agent: MakeAgent, upstream: MockUpstream) -> None:
    make_agent(gateway).ask()
    text = httpx2.get(f"{gateway.url}/metrics").text
    labels = f'{{provider="openai",model="{OPENAI.model}",status="200"}}'
    sums = ("ailb_requests_total", "ailb_tokens_processed", "ailb_cost_total_usd", "ailb_request_latency_ms_count")
    for name in sums:
        (line,) = [line for line in text.splitlines() if line.startswith(name + labels)]
        assert float(line.rsplit(" ", 1)[1]) > 0
    assert "ailink_spool_backlog_bytes " in text
    assert re.search(r'^ailink_circuit_breakers{state="closed"} [1-9]', text, re.MULTILINE)
    assert re.search(r"^ailink_limiter_counts [1-9]", text, re.MULTILINE)
    assert "ailink_approvals_pending 0" in text
    assert "ailink_budget_waiting_calls 0" in text
    assert httpx2.get(f"{gateway.url}/metrics", headers={"X-Forwarded-For": "8.8.8.8"}).status_code == 403


def test_a_configuration_moves_to_another_gateway(
    start_gateway: Callable[..., Gateway], gateway: Gateway, vendors: dict[str, str], known_secrets: Secrets,
    upstream: MockUpstream,
) -> None:  # fmt: skip
    admin_key = {"Authorization": f"Bearer {gateway.admin_key}"}
    with httpx2.Client(base_url=gateway.url, headers=admin_key) as admin:
        name = f"moved-{secrets.token_hex(4)}"
        project = admin.post("/api/v1/projects", json={"name": name}).json()["id"]
        admin.post("/api/v1/tokens", json={"name": "bot", "project_id": project, "default_model": OPENAI.model})
        admin.post("/api/v1/services", json={"name": "api", "project_id": project, "base_url": "https://api.example"})
        text = admin.get("/api/v1/config/export").text
    assert not known_secrets.found(text.encode())
    # Only this project: others name credentials, which a file does not bring.
    document = {
        section: entries
        if section == "version"
        else [one for one in entries if (one["name"] if section == "projects" else one["project"]) == name]
        for section, entries in yaml.safe_load(text).items()
    }
    there = start_gateway(**vendors)
    admin_key = {"Authorization": f"Bearer {there.admin_key}"}
    with httpx2.Client(base_url=there.url, headers=admin_key) as admin:
        plan = admin.post("/api/v1/config/import", params={"dry_run": True}, content=json.dumps(document)).json()
        assert [change["kind"] for change in plan["changes"]] == ["service", "token", "project"]
        done = admin.post("/api/v1/config/import", content=json.dumps(document)).json()
        (token,) = done["tokens"]
        again = admin.post("/api/v1/config/import", content=json.dumps(document)).json()
        assert (again["changes"], again["tokens"]) == ([], [])
    secret = known_secrets.add(token["token_id"])
    body = OPENAI.body(OPENAI.model)
    del body["model"]
    answer = httpx2.post(f"{there.url}/v1/chat/completions", json=body, headers={"Authorization": f"Bearer {secret}"})
    assert (answer.status_code, answer.json()["model"]) == (200, OPENAI.model), answer.text
    assert upstream.requests[-1].headers["authorization"] == f"Bearer {KEYS['openai']}"


def test_a_call_is_in_the_audit_as_soon_as_it_is_answered(
    start: Callable[..., Gateway], make_agent: MakeAgent
) -> None:
    agent = make_agent(start())
    for number, stream in enumerate((False, True, False), 1):
        request_id = agent.ask(stream=stream, X_Session_ID="at-once")
        assert [row["id"] for row in agent.get("audit", limit=1)["data"]] == [request_id]
        assert agent.get(f"audit/{request_id}")["id"] == request_id
        assert agent.get("sessions/at-once")["request_count"] == number

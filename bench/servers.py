"""The servers that are measured, beside the peers: the mock upstream, nginx as a plain reverse proxy, and the gateway.

One gateway serves both rows: what a token may do is the token's affair, so ``bare`` and ``governed`` are two tokens.
"""

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import httpx2

from ailink_provider.providers import Provider
from bench.machine import LOAD_CORE, SERVER_CORE, Running, answers, free_port, running
from bench.wire import LARGE, SMALL, anthropic_answer, chat_answer

ROOT = Path(__file__).parent.parent
PYTHON = sys.executable
VENDOR_SECRET = "sk-bench-0123456789"

# Two policies, five rules each, of which none applies but all are judged.
POLICIES: tuple[list[dict[str, Any]], ...] = (
    [
        {"type": "methods", "allow": ["GET", "POST"]},
        {"type": "paths", "deny": ["/v1/admin*", "*/keys"]},
        {"type": "models", "allow": ["gpt-*", "claude-*"]},
        {"type": "rate_limit", "window": "1m", "max_requests": 100_000_000},
        {"when": {"field": "context.time.hour", "op": "lt", "value": 0}, "then": {"type": "deny"}},
    ],
    [
        {"when": {"field": "agent.name", "op": "in", "value": ["intern", "test"]}, "then": {"type": "deny"}},
        {"when": {"field": "request.body.max_tokens", "op": "gt", "value": 4096}, "then": {"type": "deny"}},
        {
            "when": {"field": "request.headers.x-team", "op": "exists"},
            "then": {"type": "tag", "key": "team", "value": "known"},
        },
        {"when": {"field": "usage.spend_today_usd", "op": "gte", "value": 900_000}, "then": {"type": "deny"}},
        {"type": "tag", "key": "cost-center", "value": "4711"},
    ],
)
GOVERNED = "virtual keys, rate limit, daily budget, two policies of five rules, audit records"
BARE = "virtual keys, audit records"


class Upstreams(NamedTuple):
    """Where the mock upstreams are: nginx with whole answers, and the one with streams."""

    whole: int
    streams: int


def nginx(folder: Path, name: str, port: int, locations: str, upstream: int | None = None) -> list[str]:
    """Return the command of an nginx with one worker."""
    mock = f"upstream mock {{ server 127.0.0.1:{upstream}; keepalive 4096; keepalive_requests 100000000; }}"
    scratch = " ".join(
        f"{kind}_temp_path {folder}/{name}-{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    config = folder / f"{name}.conf"
    config.write_text(f"""
user root; daemon off; worker_processes 1; worker_rlimit_nofile 20000; pid {folder}/{name}.pid;
error_log {folder}/{name}-errors.log;
events {{ worker_connections 16384; }}
http {{
  access_log off; keepalive_requests 100000000; keepalive_timeout 600s;
  client_body_buffer_size 1m; client_max_body_size 32m;
  open_file_cache max=16; tcp_nodelay on; {scratch}
  {mock if upstream else ""}
  server {{ listen 127.0.0.1:{port} backlog=4096; {locations} }}
}}""")
    return ["nginx", "-c", str(config)]


@contextmanager
def upstreams(folder: Path) -> Iterator[Upstreams]:
    """Run both mock upstreams on the core of the load."""
    files = folder / "answers"
    files.mkdir()
    folder.chmod(0o755)
    (files / "large.json").write_text(chat_answer(LARGE))
    ports = Upstreams(free_port(), free_port())
    locations = f"""
default_type application/json; root {files};
location / {{ return 200 '{chat_answer(SMALL)}'; }}
location /v1/messages {{ return 200 '{anthropic_answer(SMALL)}'; }}
location /large/ {{ error_page 405 =200 /large.json; try_files /large.json =404; }}
location = /large.json {{ error_page 405 =200 /large.json; }}
"""
    with (
        running(nginx(folder, "mock", ports.whole, locations), lambda: answers(ports.whole), folder / "mock.log",
                core=LOAD_CORE),
        running([PYTHON, "-m", "bench.mock", str(ports.streams)], lambda: answers(ports.streams, _PING),
                folder / "streams.log", core=LOAD_CORE, folder=ROOT),
    ):  # fmt: skip
        yield ports


_PING = b"POST / HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}"


@contextmanager
def reverse_proxy(folder: Path, upstream: int) -> Iterator[tuple[int, Running]]:
    """Run nginx as a plain reverse proxy of one upstream; yield its port."""
    port = free_port()
    locations = """location / {
  proxy_pass http://mock; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_buffering off; }"""
    command = nginx(folder, f"proxy-{port}", port, locations, upstream)
    with running(command, lambda: answers(port), folder / f"proxy-{port}.log", core=SERVER_CORE) as found:
        yield port, found


class Gateway:
    """A gateway on its own data, in a process of its own, that can be started again and again."""

    def __init__(self, data: Path, environment: Mapping[str, str] | None = None) -> None:
        self.data = data
        self.admin_key = f"ailink_admin_{os.urandom(20).hex()}"
        own = {provider.key_variable for provider in _providers().values() if provider.key_variable}
        self.environment = {
            **dict.fromkeys(own, ""),
            "AILINK_ADMIN_KEY": self.admin_key,
            "AILINK_MASTER_KEY": os.urandom(32).hex(),
            "AILINK_ALLOW_UPSTREAMS": "127.0.0.0/8",
            **(environment or {}),
        }
        self.port = 0
        self._names = 0

    @contextmanager
    def serve(self, *, core: int | None = SERVER_CORE, before: tuple[str, ...] = ()) -> Iterator[Running]:
        """Run it. ``before`` is what its command runs under."""
        self.data.parent.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        command = [*before, PYTHON, "-m", "bench.observed", "serve", "--port", str(self.port), "--data", str(self.data)]
        asked = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        with running(command, lambda: answers(self.port, asked), self.data.with_suffix(".log"), core=core,
                     environment=self.environment, folder=ROOT) as found:  # fmt: skip
            yield found

    def admin(self, method: str, path: str, body: Any = None) -> Any:
        """Manage it."""
        with httpx2.Client(trust_env=False, timeout=120) as client:
            url = f"http://127.0.0.1:{self.port}/api/v1{path}"
            response = client.request(method, url, headers={"X-Admin-Key": self.admin_key}, json=body)
        if response.is_error:
            raise RuntimeError(f"{method} {path}: {response.status_code} {response.text[:300]}")
        return response.json()

    def credential(self, provider: str) -> str:
        """Store a credential and return its id."""
        body = {"name": self._name(provider), "provider": provider, "secret": VENDOR_SECRET}
        return str(self.admin("POST", "/credentials", body)["id"])

    def token(self, upstream: str, provider: str = "openai", **fields: Any) -> tuple[str, str]:
        """Return the id and the secret of a token without limits of its own, whose calls go to ``upstream``."""
        made = self.admin("POST", "/tokens", {
            "name": self._name("token"), "credential_id": self.credential(provider), "upstream_url": upstream,
            "requests_per_minute": 0, **fields,
        })  # fmt: skip
        return made["id"], made["token_id"]

    def governed(self, upstream: str, provider: str = "openai") -> str:
        """Return the secret of a token with a rate limit, a budget and two policies."""
        policies = [self.policy(rules) for rules in POLICIES]
        token_id, secret = self.token(upstream, provider, policy_ids=policies, requests_per_minute=100_000_000)
        self.admin("PUT", f"/tokens/{token_id}/spend", {"period": "daily", "limit_usd": 1_000_000})
        return secret

    def policy(self, rules: list[dict[str, Any]]) -> str:
        """Return the id of a new policy."""
        return str(self.admin("POST", "/policies", {"name": self._name("policy"), "rules": rules})["id"])

    def _name(self, kind: str) -> str:
        self._names += 1
        return f"{kind}-{self._names}-{os.urandom(3).hex()}"


def _providers() -> Mapping[str, Provider]:
    from ailink_provider.builtin import providers

    return providers()

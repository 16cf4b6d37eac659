"""What people use today, each installed from its package registry into its own environment, with fair settings: one
worker, no retries, no callbacks, no database, nothing logged. Each says what it does beside passing calls on.

A peer that cannot be installed or started is a row that says why.
"""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from bench.machine import NotStarted, Running, answers, free_port, running
from bench.servers import ROOT, VENDOR_SECRET
from bench.wire import ANTHROPIC_MODEL, CHAT, OPENAI_MODEL, Ask, bearer, chat

CRLF = b"\r\n\r\n"
PEERS = ROOT / "bench" / "results" / "peers"
MASTER = "sk-bench-master-0123456789"


class NotInstalled(Exception):
    """A peer is not to be had here; says why."""


class Start(NamedTuple):
    """How an installed peer is run on ``port`` and asked."""

    command: list[str]
    environment: dict[str, str]
    headers: tuple[str, ...]
    model: str = OPENAI_MODEL
    translated_model: str | None = None  # asked in OpenAI's dialect, reached in Anthropic's
    extra: Mapping[str, Any] = {}
    before: tuple[str, Mapping[str, Any]] | None = None  # what is posted once, and where, before the first call


class Peer(NamedTuple):
    """A peer: ``install`` returns its version and raises ``NotInstalled``; ``start`` is given its folder, a folder for
    this run, its port and the port of the upstream.
    """

    name: str
    features: str
    install: Callable[[Path], str]
    start: Callable[[Path, Path, int, int], Start]


class Up(NamedTuple):
    """A peer that runs."""

    name: str
    features: str
    version: str
    ask: Ask
    stream: Ask
    translated: Ask | None
    process: Running


def _run(command: list[str], folder: Path, seconds: float = 600, **environment: str) -> str:
    try:
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, timeout=seconds, check=False,
            env={**os.environ, **environment},
        )  # fmt: skip
    except FileNotFoundError:
        raise NotInstalled(f"{command[0]} is not installed") from None
    except subprocess.TimeoutExpired:
        raise NotInstalled(f"{Path(command[0]).name} did not end within {seconds:.0f} s") from None
    if done.returncode:
        said = [line.strip() for line in (done.stdout + done.stderr).splitlines() if line.strip()]
        said = [re.sub(r"(reading )?https?://\S+", "the registry", line) for line in said[-2:]]
        raise NotInstalled(f"`{Path(command[0]).name}` said: {' / '.join(said)[-300:]}")
    return done.stdout


def _pip(package: str, distribution: str) -> Callable[[Path], str]:
    def install(folder: Path) -> str:
        python = folder / "bin" / "python"
        if not (folder / "installed").exists():
            _run([sys.executable, "-m", "venv", str(folder)], folder.parent)
            _run(
                [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", package], folder.parent
            )
            (folder / "installed").touch()
        ask = f"import importlib.metadata as m; print(m.version({distribution!r}))"
        return _run([str(python), "-c", ask], folder).strip()

    return install


def _npm(package: str) -> Callable[[Path], str]:
    def install(folder: Path) -> str:
        folder.mkdir(exist_ok=True)
        manifest = folder / "node_modules" / package / "package.json"
        if not manifest.exists():
            (folder / "package.json").write_text('{"private": true}')
            _run(["npm", "install", "--no-audit", "--no-fund", "--loglevel=error", package], folder)
        return str(json.loads(manifest.read_text())["version"])

    return install


def _go(package: str, binary: str) -> Callable[[Path], str]:
    def install(folder: Path) -> str:
        folder.mkdir(exist_ok=True)
        if (found := folder / "bin" / binary).exists() is False:
            _run(["go", "install", f"{package}@latest"], folder, GOBIN=str(folder / "bin"), GOFLAGS="-modcacherw")
        said = _run(["go", "version", "-m", str(found)], folder)
        return next((line.split()[2] for line in said.splitlines() if line.strip().startswith("mod\t")), "unknown")

    return install


def _cargo(package: str) -> Callable[[Path], str]:
    def install(folder: Path) -> str:
        folder.mkdir(exist_ok=True)
        if not (folder / "bin" / package).exists():
            # Some minutes: what cargo installs it compiles.
            _run(["cargo", "install", "--quiet", "--locked", "--root", str(folder), package], folder, seconds=2400)
        said = _run(["cargo", "install", "--list", "--root", str(folder)], folder)
        found = re.search(rf"^{package} v(\S+):", said, re.MULTILINE)
        return found[1] if found else "unknown"

    return install


def _on_path(binary: str, why: str) -> Callable[[Path], str]:
    def install(folder: Path) -> str:
        if shutil.which(binary) is None:
            raise NotInstalled(f"{why}; put {binary} on the PATH to have it measured")
        return "from the PATH"

    return install


def _litellm(folder: Path, work: Path, port: int, upstream: int) -> Start:
    config = work / "litellm.yaml"
    config.write_text(yaml.safe_dump({
        "model_list": [
            {"model_name": OPENAI_MODEL, "litellm_params": {
                "model": f"openai/{OPENAI_MODEL}", "api_base": f"http://127.0.0.1:{upstream}/v1",
                "api_key": VENDOR_SECRET,
            }},
            {"model_name": ANTHROPIC_MODEL, "litellm_params": {
                "model": f"anthropic/{ANTHROPIC_MODEL}", "api_base": f"http://127.0.0.1:{upstream}",
                "api_key": VENDOR_SECRET,
            }},
        ],
        "litellm_settings": {"num_retries": 0, "callbacks": [], "telemetry": False, "set_verbose": False},
        "general_settings": {"master_key": MASTER},
        "router_settings": {"num_retries": 0},
    }))  # fmt: skip
    return Start(
        [str(folder / "bin" / "litellm"), "--config", str(config), "--host", "127.0.0.1", "--port", str(port),
         "--num_workers", "1", "--telemetry", "False"],
        {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_LOG": "ERROR", "LITELLM_MODE": "PRODUCTION",
         "DISABLE_ADMIN_UI": "True", "NO_DOCS": "True", "PATH": f"{folder / 'bin'}:{os.environ['PATH']}"},
        bearer(MASTER), translated_model=ANTHROPIC_MODEL,
    )  # fmt: skip


def _portkey(folder: Path, work: Path, port: int, upstream: int) -> Start:
    server = folder / "node_modules" / "@portkey-ai" / "gateway" / "build" / "start-server.js"
    return Start(
        ["node", str(server), f"--port={port}", "--headless"],
        {"NODE_ENV": "production", "TRUSTED_CUSTOM_HOSTS": "127.0.0.1,localhost"},
        bearer(VENDOR_SECRET, "x-portkey-provider: openai",
               f"x-portkey-custom-host: http://127.0.0.1:{upstream}/v1"),
    )  # fmt: skip


def _any_llm(folder: Path, work: Path, port: int, upstream: int) -> Start:
    config = work / "any-llm.yaml"
    config.write_text(yaml.safe_dump({
        "database_url": f"sqlite:///{work / 'any-llm.db'}", "host": "127.0.0.1", "port": port, "master_key": MASTER,
        "providers": {"openai": {"api_key": VENDOR_SECRET, "api_base": f"http://127.0.0.1:{upstream}/v1"}},
    }))  # fmt: skip
    return Start(
        [str(folder / "bin" / "any-llm-gateway"), "serve", "--config", str(config)],
        {}, (f"X-AnyLLM-Key: Bearer {MASTER}",), model=f"openai:{OPENAI_MODEL}", extra={"user": "bench"},
        before=("/v1/users", {"user_id": "bench"}),
    )  # fmt: skip


def _gomodel(folder: Path, work: Path, port: int, upstream: int) -> Start:
    return Start(
        [str(folder / "bin" / "gomodel")],
        {"PORT": str(port), "OPENAI_API_KEY": VENDOR_SECRET, "OPENAI_BASE_URL": f"http://127.0.0.1:{upstream}/v1",
         "LOGGING_ENABLED": "false", "USAGE_ENABLED": "false", "METRICS_ENABLED": "false"},
        bearer(VENDOR_SECRET), model="openai/gpt-4o",
    )  # fmt: skip


def _crabllm(folder: Path, work: Path, port: int, upstream: int) -> Start:
    config = work / "crabllm.toml"
    config.write_text(f"""
listen = "127.0.0.1:{port}"
[[keys]]
name = "bench"
key = "{MASTER}"
models = ["*"]
[providers.openai]
api_key = "{VENDOR_SECRET}"
base_url = "http://127.0.0.1:{upstream}/v1"
models = ["{OPENAI_MODEL}"]
max_retries = 0
[providers.anthropic]
api_key = "{VENDOR_SECRET}"
base_url = "http://127.0.0.1:{upstream}/v1"
models = ["{ANTHROPIC_MODEL}"]
max_retries = 0
""")
    return Start(
        [str(folder / "bin" / "crabllm"), "serve", "--config", str(config)], {"RUST_LOG": "error"}, bearer(MASTER),
        translated_model=ANTHROPIC_MODEL,
    )


def _bifrost(folder: Path, work: Path, port: int, upstream: int) -> Start:
    (work / "config.json").write_text(json.dumps({
        "client": {"enable_logging": False},
        "providers": {"openai": {
            "keys": [{"name": "bench", "value": VENDOR_SECRET, "models": ["gpt-4o"], "weight": 1.0}],
            "network_config": {"base_url": f"http://127.0.0.1:{upstream}", "max_retries": 0},
        }},
    }))  # fmt: skip
    return Start(
        ["bifrost-http", "-host", "127.0.0.1", "-port", str(port), "-app-dir", str(work)], {}, (),
        model="openai/gpt-4o",
    )  # fmt: skip


def _agentgateway(folder: Path, work: Path, port: int, upstream: int) -> Start:
    provider = {"name": "mock", "hostOverride": f"127.0.0.1:{upstream}", "provider": {"openAI": {"model": "gpt-4o"}}}
    config = work / "agentgateway.yaml"
    config.write_text(yaml.safe_dump({
        "binds": [{"port": port, "listeners": [{"routes": [{"backends": [{"ai": provider}]}]}]}],
    }))  # fmt: skip
    return Start(["agentgateway", "-f", str(config)], {}, bearer(VENDOR_SECRET))


ALL = (
    Peer("LiteLLM proxy", "one master key; no virtual keys, limits, budget or records (they need PostgreSQL)",
         _pip("litellm[proxy]", "litellm"), _litellm),
    Peer("Portkey gateway", "none: the caller brings the vendor's key", _npm("@portkey-ai/gateway"), _portkey),
    Peer("any-llm gateway", "one master key, usage rows in SQLite",
         _pip("any-llm-sdk[gateway]==1.10.0", "any-llm-sdk"), _any_llm),
    Peer("crabllm", "virtual keys; no limits, budget or records", _cargo("crabllm"), _crabllm),
    Peer("GoModel", "none", _go("github.com/enterpilot/gomodel/cmd/gomodel", "gomodel"), _gomodel),
    Peer("Bifrost", "none; logging off",
         _on_path("bifrost-http", "its npm package fetches a binary from outside the registry, which is not run here"),
         _bifrost),
    Peer("agentgateway", "none",
         _on_path("agentgateway", "it is delivered as a binary or an image, by no package registry"), _agentgateway),
)  # fmt: skip


@contextmanager
def up(peer: Peer, work: Path, upstream: int) -> Iterator[Up]:
    """Run a peer before the upstream of that port, in a folder of its own.

    Raises ``NotInstalled`` or ``NotStarted``.
    """
    PEERS.mkdir(parents=True, exist_ok=True)
    home = home_of(peer.name)
    version = peer.install(home)
    work.mkdir(parents=True)
    port = free_port()
    start = peer.start(home, work, port, upstream)

    def ask(model: str, *, stream: bool = False) -> Ask:
        body = json.loads(chat(model, stream=stream)) | dict(start.extra)
        return Ask(port, CHAT, start.headers, json.dumps(body).encode())

    plain = ask(start.model)
    request = plain._replace(headers=(*start.headers, "Connection: close")).encoded()
    with running(start.command, lambda: answers(port, request), work / "log", environment=start.environment,
                 folder=work, patience=120) as process:  # fmt: skip
        if start.before is not None:
            path, body = start.before
            first_answer(Ask(port, path, start.headers, json.dumps(body).encode()))
        check(plain)
        translated = ask(start.translated_model) if start.translated_model else None
        yield Up(peer.name, peer.features, version, plain, ask(start.model, stream=True), translated, process)


def check(ask: Ask) -> None:
    """Raise ``NotStarted`` unless a server answers as it should."""
    said = first_answer(ask)
    if b" 200" not in said[:16]:
        raise NotStarted(f"it answers {said.rpartition(CRLF)[2][-200:].decode('utf-8', 'replace')}")


def home_of(name: str) -> Path:
    """Return where a peer that is installed by this run lies."""
    return PEERS / name.lower().replace(" ", "-")


def first_answer(ask: Ask) -> bytes:
    """Return the beginning of what a server answers."""
    with socket.create_connection(("127.0.0.1", ask.port), timeout=30) as line:
        line.sendall(ask.encoded())
        return line.recv(4096)

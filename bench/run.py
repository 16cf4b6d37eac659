"""Measures the gateway beside nginx as a plain reverse proxy, in one run: requests a second, added latency, memory,
start.

The gateway and nginx are pinned to one core, the load (wrk) and the mock upstream (nginx, a fixed 600-byte answer) to
another. Rounds are interleaved, because machines are noisy: believe the ratios, not the figures. Records are on.
"""

import argparse
import json
import os
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

import httpx2
import psutil

HERE = Path(__file__).parent
UPSTREAM, PROXY, GATEWAY = 18701, 18702, 18703
SERVER_CORE, LOAD_CORE = 0, 1
ADMIN_KEY = "ailink_admin_" + os.urandom(20).hex()


class Load(NamedTuple):
    """One run of wrk: requests a second, median latency in microseconds, errors."""

    rate: float
    median: float
    errors: int


def answer() -> str:
    """Return a chat completion of 600 bytes."""
    body = {
        "id": "chatcmpl-bench",
        "object": "chat.completion",
        "created": 1700000000,
        "model": "gpt-4o",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": ""}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18},
    }
    body["choices"][0]["message"]["content"] = "x" * (600 - len(json.dumps(body)))  # type: ignore[index]
    return json.dumps(body)


def nginx(folder: Path, name: str, port: int, core: int, location: str) -> list[str]:
    """Return the command of an nginx with one worker and one location."""
    config = folder / f"{name}.conf"
    config.write_text(f"""
daemon off; worker_processes 1; error_log {folder}/{name}.log; pid {folder}/{name}.pid;
events {{ worker_connections 4096; }}
http {{
  access_log off; keepalive_requests 100000000; client_body_buffer_size 64k;
  client_body_temp_path {folder}/{name}-body; proxy_temp_path {folder}/{name}-proxy; fastcgi_temp_path
  {folder}/{name}-f; uwsgi_temp_path {folder}/{name}-u; scgi_temp_path {folder}/{name}-s; upstream mock {{ server
  127.0.0.1:{UPSTREAM}; keepalive 256; keepalive_requests 100000000; }} server {{ listen 127.0.0.1:{port}; location / {{
  {location} }} }}
}}""")
    return ["taskset", "-c", str(core), "nginx", "-c", str(config)]


@contextmanager
def running(
    command: list[str], url: str, environment: dict[str, str] | None = None
) -> Iterator[tuple[psutil.Process, float]]:
    """Run a server until the block ends; yield its process and the seconds until its first answer."""
    began = time.perf_counter()
    process = subprocess.Popen(
        command, env={**os.environ, **(environment or {})}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        while True:
            try:
                httpx2.get(url, timeout=1)
                break
            except httpx2.TransportError:
                if process.poll() is not None or time.perf_counter() - began > 20:
                    raise SystemExit(f"{command[0]} {command[-1]} did not start") from None
        yield psutil.Process(process.pid), time.perf_counter() - began
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(20)


def wrk(port: int, connections: int, seconds: float, token: str) -> Load:
    """Load a server with one chat completion, again and again."""
    out = subprocess.run(
        [
            "taskset",
            "-c",
            str(LOAD_CORE),
            "wrk",
            "-t1",
            f"-c{connections}",
            f"-d{seconds:.0f}s",
            "--latency",
            "-s",
            str(HERE / "chat.lua"),
            f"http://127.0.0.1:{port}/v1/chat/completions",
            "--",
            token,
        ],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    rate = float(re.search(r"Requests/sec:\s+([\d.]+)", out)[1])  # type: ignore[index]
    value, unit = re.search(r"50%\s+([\d.]+)(us|ms|s)", out).groups()  # type: ignore[union-attr]
    errors = sum(int(count) for count in re.findall(r"Non-2xx or 3xx responses: (\d+)", out))
    return Load(rate, float(value) * {"us": 1, "ms": 1e3, "s": 1e6}[unit], errors)


def make_token() -> str:
    """Store a credential, make a token for the mock upstream, and return its secret."""
    with httpx2.Client(
        base_url=f"http://127.0.0.1:{GATEWAY}", headers={"Authorization": f"Bearer {ADMIN_KEY}"}
    ) as admin:
        credential = admin.post(
            "/api/v1/credentials", json={"name": "bench", "provider": "openai", "secret": "sk-bench-0123456789"}
        )
        token = admin.post(
            "/api/v1/tokens",
            json={
                "name": "bench",
                "credential_id": credential.raise_for_status().json()["id"],
                "upstream_url": f"http://127.0.0.1:{UPSTREAM}/v1",
                "requests_per_minute": 0,
            },
        )
        return str(token.raise_for_status().json()["token_id"])


def main() -> None:
    """Run the benchmark and print its table."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--seconds", type=float, default=5, help="length of one load (default 5)")
    options.add_argument("--rounds", type=int, default=3, help="interleaved rounds (default 3)")
    chosen = options.parse_args()
    missing = [name for name in ("wrk", "nginx", "taskset") if shutil.which(name) is None]
    if missing:
        sys.exit(f"Missing: {', '.join(missing)}. On Debian: apt-get install wrk nginx-light util-linux")
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        stack.enter_context(
            running(
                nginx(folder, "mock", UPSTREAM, LOAD_CORE, f"default_type application/json; return 200 '{answer()}';"),
                f"http://127.0.0.1:{UPSTREAM}",
            )
        )
        stack.enter_context(
            running(
                nginx(
                    folder,
                    "proxy",
                    PROXY,
                    SERVER_CORE,
                    'proxy_pass http://mock; proxy_http_version 1.1; proxy_set_header Connection "";',
                ),
                f"http://127.0.0.1:{PROXY}",
            )
        )
        gateway, start = stack.enter_context(
            running(
                [
                    "taskset",
                    "-c",
                    str(SERVER_CORE),
                    str(Path(sys.executable).with_name("ailink")),
                    "serve",
                    "--port",
                    str(GATEWAY),
                    "--data",
                    str(folder / "data"),
                ],
                f"http://127.0.0.1:{GATEWAY}/healthz",
                {
                    "AILINK_ADMIN_KEY": ADMIN_KEY,
                    "AILINK_MASTER_KEY": os.urandom(32).hex(),
                    "AILINK_ALLOW_UPSTREAMS": "127.0.0.0/8",
                },
            )
        )
        idle = gateway.memory_info().rss
        report(measure(make_token(), chosen.rounds, chosen.seconds), start, idle, gateway.memory_info().rss)


def measure(token: str, rounds: int, seconds: float) -> dict[tuple[str, int], list[Load]]:
    """Return all loads by server and number of connections."""
    servers = {"direct to the mock": UPSTREAM, "nginx": PROXY, "ailink": GATEWAY}
    loads: dict[tuple[str, int], list[Load]] = {}
    for connections in (32, 1):
        for port in servers.values():
            wrk(port, connections, 1, token)
        for _ in range(rounds):
            for name, port in servers.items():
                loads.setdefault((name, connections), []).append(wrk(port, connections, seconds, token))
    return loads


def report(loads: dict[tuple[str, int], list[Load]], start: float, idle: int, loaded: int) -> None:
    """Print the table. A run in which the mock was the bottleneck, or anything failed, says so."""
    rates = {key: statistics.median(load.rate for load in found) for key, found in loads.items()}
    medians = {key: statistics.median(load.median for load in found) for key, found in loads.items()}
    print(f"{'server':<20}{'req/s, 32 connections':>24}{'median us, 1 connection':>26}{'errors':>8}")
    for name in ("direct to the mock", "nginx", "ailink"):
        spread = [load.rate for load in loads[name, 32]]
        errors = sum(load.errors for (server, _), found in loads.items() if server == name for load in found)
        rate = f"{rates[name, 32]:>12,.0f} ±{(max(spread) - min(spread)) / 2:>8,.0f}"
        print(f"{name:<20}{rate}{medians[name, 1]:>27,.0f}{errors:>8}")
    print(f"\nailink / nginx         {rates['ailink', 32] / rates['nginx', 32]:.2f}")
    print(f"added at the median    {medians['ailink', 1] - medians['direct to the mock', 1]:.0f} us (one connection)")
    print(f"resident               {idle / 2**20:.0f} MiB idle, {loaded / 2**20:.0f} MiB after the load")
    print(f"start to first answer  {start:.2f} s")
    if rates["direct to the mock", 32] < 1.5 * max(rates["nginx", 32], rates["ailink", 32]):
        print("VOID: the mock upstream or the load generator was the bottleneck.")


if __name__ == "__main__":
    main()

"""The stage that faults are played on: a strict mock upstream in a process of its own, a gateway, callers, its books.

The books are right when each call that reached the upstream has exactly one record, and no record is there twice.
"""

import json
import os
import secrets
import signal
import sqlite3
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import NamedTuple

from bench.machine import Running
from bench.plan import Plan, say
from bench.servers import PYTHON, ROOT, Gateway
from bench.wire import CHAT, bearer, chat

PATIENCE = 30.0
SETTLED = 0.3  # seconds without a new record after which none is under way
CALLERS = 16


class Told(NamedTuple):
    """What came of a fault: what was tried, what was seen, whether all held; or why it was left out."""

    name: str
    tried: str
    seen: list[str]
    held: bool
    left_out: bool = False


class Fault(NamedTuple):
    """A fault that can be played."""

    name: str
    play: Callable[[Plan, str], Told]


class Upstream:
    """The mock upstream, which can be stopped and asked what it has seen."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [PYTHON, "-m", "bench.faults.upstream"], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        self.port = int(self._read())
        ask(self.port, "warm")  # what it judges by is loaded with its first call
        self.tell("forget")

    def _read(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline()

    def tell(self, word: str) -> str:
        """Give a command and return its answer."""
        assert self._process.stdin is not None
        self._process.stdin.write(word + "\n")
        self._process.stdin.flush()
        return self._read().strip()

    def spans(self) -> list[str]:
        """Return the span of each call that has arrived whole: the end of the call's id."""
        found: list[str] = json.loads(self.tell("spans"))
        return found

    def freeze(self) -> None:
        """Stop it as a machine does that hangs."""
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        self._process.send_signal(signal.SIGCONT)

    def close(self) -> None:
        """End it."""
        self.thaw()
        self._process.kill()
        self._process.communicate()


class Scene(NamedTuple):
    """A gateway that runs, its upstream, and a place for files."""

    gateway: Gateway
    upstream: Upstream
    process: Running
    folder: Path

    def token(self, port: int | None = None) -> tuple[str, str]:
        """Return the id and secret of a token that asks the upstream, or what listens on ``port``, come what may."""
        where = f"http://127.0.0.1:{port or self.upstream.port}/v1"
        return self.gateway.token(where, circuit_breaker={"enabled": False})


def records(gateway: Gateway) -> list[tuple[str, str, int]]:
    """Return id, outcome and attempts of each record."""
    with closing(sqlite3.connect(f"file:{gateway.data / 'ailink.db'}?mode=ro", uri=True, timeout=PATIENCE)) as database:
        return database.execute("SELECT id, outcome, coalesce(attempts, 1) FROM records").fetchall()


@contextmanager
def scene(
    plan: Plan, name: str, data: Path | None = None, environment: Mapping[str, str] | None = None
) -> Iterator[Scene]:
    """Set the stage."""
    folder = plan.place(name)
    upstream = Upstream()
    try:
        gateway = Gateway(data or folder / "data", environment)
        with gateway.serve(core=None) as process:
            yield Scene(gateway, upstream, process, folder)
    finally:
        upstream.close()


def ask(port: int, token: str, *, stream: bool = False, patience: float = PATIENCE) -> str:
    """Call once, traced so that the call is known upstream; return the status, or what went wrong, in a word."""
    headers = dict(header.split(": ", 1) for header in (*bearer(token), traced(), "Content-Type: application/json"))
    connection = HTTPConnection("127.0.0.1", port, timeout=patience)
    try:
        connection.request("POST", CHAT, chat(stream=stream), headers)
        response = connection.getresponse()
        read = response.read()
    except TimeoutError:
        return "given up"
    except (OSError, HTTPException):
        return "broken off"
    finally:
        connection.close()
    whole = not stream or response.status != 200 or read.endswith(b"data: [DONE]\n\n")
    return str(response.status) if whole else f"{response.status}, with an error inside"


def traced() -> str:
    """Return the header of a caller that traces: then the upstream is told the span of the call."""
    return f"traceparent: 00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-01"


def ask_often(port: int, token: str, times: int, *, patience: float = PATIENCE) -> Counter[str]:
    """Call so many times, 16 at once, every other one for a stream; return how often each end was seen."""
    with ThreadPoolExecutor(CALLERS) as callers:
        return Counter(
            callers.map(lambda number: ask(port, token, stream=bool(number % 2), patience=patience), range(times))
        )


def audit(gateway: Gateway, upstreams: Sequence[Upstream], made: int | None = None) -> tuple[bool, str]:
    """Return whether the books are right, and what stands in them; ``made`` are the calls that must have a record.
    Waits until what is under way has been shipped.
    """
    end = time.monotonic() + PATIENCE
    found, before = records(gateway), None
    while time.monotonic() < end and (found != before or wanting(found, arrived(upstreams), made)):
        before = found
        time.sleep(SETTLED)
        found = records(gateway)
    spans = arrived(upstreams)
    problem = wanting(found, spans, made)
    outcomes = ", ".join(f"{number:,} {outcome}" for outcome, number in Counter(row[1] for row in found).items())
    return not problem, problem or f"records: {outcomes or 'none'}; {len(spans):,} calls upstream, each in one record"


def arrived(upstreams: Sequence[Upstream]) -> list[str]:
    """Return the spans of all calls that have arrived anywhere."""
    return [span for upstream in upstreams for span in upstream.spans()]


def wanting(found: Sequence[tuple[str, str, int]], spans: Sequence[str], made: int | None) -> str:
    """Return what is wrong with records; nothing if nothing is."""
    ends = Counter(record_id[-16:] for record_id, _, _ in found)
    lost = [span for span in set(spans) if ends[span] != 1]
    if lost:
        return f"{len(lost)} calls that reached the upstream have no record or several"
    if len({record_id for record_id, _, _ in found}) != len(found):
        return "a record is there twice"
    if made is not None and len(found) != made:
        return f"{made} calls were made and {len(found)} are recorded"
    if sum(attempts for _, _, attempts in found) < len(spans):
        return f"{len(spans)} calls reached the upstream, more than the records' attempts"
    return ""


def ends(found: Counter[str]) -> str:
    """Return how calls ended, in words."""
    return ", ".join(f"{number:,} x {end}" for end, number in sorted(found.items()))


def told(name: str, tried: str, seen: list[str], held: bool) -> Told:
    """Tell what came of a fault."""
    say(f"{'held  ' if held else 'BROKEN'}  {name}")
    for line in seen:
        say(f"        {line}")
    return Told(name, tried, seen, held)


def left_out(name: str, why: str) -> Told:
    """Tell that a fault cannot be played here."""
    say(f"left out  {name}: {why}")
    return Told(name, "", [why], True, left_out=True)


def am_root() -> bool:
    """Whether this process may mount."""
    return os.geteuid() == 0

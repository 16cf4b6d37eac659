"""Kills a gateway (SIGKILL) at moments that are observed from outside, starts it again, and looks at its books.

After every round: each call that reached the upstream has exactly one record, and no record is there twice; every
answer that a client has received whole is recorded as answered; what a token has spent is the sum of its records, the
holds of those whose end nobody saw included; and that never passes its limit.
"""

import argparse
import json
import os
import random
import re
import secrets
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx2

from ailink_provider.testing import KEYS, Fault, MockUpstream

PATIENCE = 30.0
CLIENTS = 8
TOKEN_NANO = 1_000_000  # what a token of output costs; input is free
ANSWER_TOKENS, LIMIT_TOKENS = 7, 20  # of an answer of the mock, and of what each call holds
CAP_TOKENS = 100
# When the gateway is killed.
POINTS = (
    "some wait for the holds of others",
    "the upstream has been asked",
    "a stream has begun",
    "an answer has been received",
    "records are on their way to the database",
    "the start after a kill",
)


class Process:
    """A gateway in a process of its own, on the same data again and again."""

    def __init__(self, data: Path, upstream: MockUpstream) -> None:
        self._data = data
        kept = {
            name: value
            for name, value in os.environ.items()
            if not re.search(r"AILINK|_API_KEY|_BASE_URL|PROXY", name, re.IGNORECASE)
        }
        self.admin_key = f"ailink_admin_{secrets.token_hex(20)}"
        self._environment = kept | {
            "AILINK_MASTER_KEY": secrets.token_hex(32),
            "AILINK_ADMIN_KEY": self.admin_key,
            "AILINK_ALLOW_UPSTREAMS": "127.0.0.0/8",
            "OPENAI_API_KEY": KEYS["openai"],
            "OPENAI_BASE_URL": upstream.url("/v1"),
        }
        self.url = ""

    def spawn(self) -> None:
        """Begin to start."""
        self._process = subprocess.Popen(
            [str(Path(sys.executable).with_name("ailink")), "serve", "--port", "0", "--data", str(self._data)],
            cwd=self._data.parent,
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def start(self) -> None:
        """Start, and return once it listens."""
        self.spawn()
        assert self._process.stdout is not None
        said = ""
        while (found := re.search(r"http://[\d.:]+", said)) is None:
            line = self._process.stdout.readline()
            assert line, f"the gateway did not start: {said}"
            said += line
        self.url = found[0]

    def kill(self) -> None:
        """End it as a power cut to the process would."""
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()

    def admin(self, method: str, path: str, body: Any = None) -> Any:
        """Manage it."""
        headers = {"X-Admin-Key": self.admin_key}
        response = httpx2.request(method, self.url + path, headers=headers, json=body, timeout=PATIENCE)
        assert response.status_code < 300, response.text
        return response.json()

    def rows(self, query: str, *values: Any) -> list[Any]:
        """Ask its database."""
        where = f"file:{self._data / 'ailink.db'}?mode=ro"
        with closing(sqlite3.connect(where, uri=True, timeout=PATIENCE)) as database:
            return database.execute(query, values).fetchall()


class Load:
    """Clients that call until the gateway is gone or the limit is reached. ``begun`` are streams that have."""

    def __init__(self, url: str, token: str, number: int) -> None:
        self.answered: list[str] = []
        self.begun = threading.Event()
        self.called = 0
        self._number = number
        # All call at once, or the first could spend the whole limit before another has begun.
        self._ready = threading.Barrier(CLIENTS, timeout=PATIENCE)
        self._threads = [threading.Thread(target=self._run, args=(url, token, client)) for client in range(CLIENTS)]
        for thread in self._threads:
            thread.start()

    def _run(self, url: str, token: str, client: int) -> None:
        body = {"model": "gpt-4o", "messages": [{"role": "user", "content": "hi"}], "max_tokens": LIMIT_TOKENS}
        if client % 2:
            body |= {"stream": True}
        with httpx2.Client(timeout=PATIENCE) as http:
            self._ready.wait()
            while True:
                trace = f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-01"
                headers = {"Authorization": f"Bearer {token}", "traceparent": trace}
                self.called += 1
                try:
                    with http.stream("POST", f"{url}/v1/chat/completions", headers=headers, json=body) as response:
                        if response.status_code == 402:
                            return
                        text = ""
                        for piece in response.iter_text():
                            text += piece
                            if client % 2 and "content" in text:
                                self.begun.set()
                except httpx2.TransportError:
                    return
                if text.endswith("data: [DONE]\n\n" if client % 2 else "}"):
                    self.answered.append(response.headers["x-request-id"])

    def join(self) -> None:
        """Wait until all have ended."""
        for thread in self._threads:
            thread.join()


def wait_for(condition: Callable[[], bool]) -> None:
    """Wait for what happens elsewhere."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "what should happen did not"
        time.sleep(0.001)


def spans(upstream: MockUpstream) -> list[str]:
    """Return the span of each call that reached the upstream: the end of the call's id."""
    return [str(request.headers["traceparent"]).split("-")[2] for request in upstream.requests]


def play(process: Process, upstream: MockUpstream, point: str, chance: random.Random) -> str:
    """Load the gateway, kill it at ``point``, start it again and check. Returns what there was to see."""
    upstream.forget()
    token = process.admin("POST", "/api/v1/tokens", {"name": f"crash-{secrets.token_hex(6)}"})
    cap = CAP_TOKENS * TOKEN_NANO
    limit = {"period": "daily", "limit_usd": cap / 1e9}
    process.admin("PUT", f"/api/v1/tokens/{token['id']}/spend", limit)
    hanging = 0
    if point == POINTS[0]:
        hanging = CAP_TOKENS // LIMIT_TOKENS
        upstream.script(fault=Fault("hang"), times=hanging)
    elif point == POINTS[1]:
        hanging = chance.randint(1, 3)
        upstream.script(fault=Fault("hang"), times=hanging)
    elif point == POINTS[2]:
        hanging = 2
        upstream.script(text="one two three four", fault=Fault("hang", at=2), times=hanging,
                        when=lambda request: b'"stream":true' in request.body.replace(b" ", b""))  # fmt: skip
    load = Load(process.url, token["token_id"], hanging)
    if point == POINTS[0]:
        wait_for(lambda: len(upstream.requests) == hanging and load.called == CLIENTS)
    elif point == POINTS[1]:
        wait_for(lambda: len(upstream.requests) >= hanging)
    elif point == POINTS[2]:
        wait_for(load.begun.is_set)
    elif point == POINTS[4]:
        query = "SELECT count(*) FROM records WHERE token_id = ?"
        wait_for(lambda: process.rows(query, token["id"])[0][0] > 0)
    else:
        least = chance.randint(1, 8)
        wait_for(lambda: len(load.answered) >= least)
    process.kill()
    load.join()
    if point == POINTS[5]:
        process.spawn()
        time.sleep(chance.uniform(0.2, 1.2))  # somewhere in its start: there is nothing outside to see it by
        process.kill()
    process.start()
    return check(process, upstream, token["id"], token["token_id"], load, cap)


def check(process: Process, upstream: MockUpstream, token_id: str, token: str, load: Load, cap: int) -> str:
    """Look at the books of a token after a crash. Raises ``AssertionError``."""
    rows = process.rows("SELECT id, outcome, cost_nano FROM records WHERE token_id = ?", token_id)
    records = {row[0]: row[1:] for row in rows}
    assert len(rows) == len(records), "a call is recorded once"
    ends = Counter(record_id[-16:] for record_id in records)
    for span in spans(upstream):
        assert ends[span] == 1, f"the call {span} reached the upstream and has {ends[span]} records"
    for request_id in load.answered:
        assert records[request_id] == ("answered", ANSWER_TOKENS * TOKEN_NANO), request_id
    for outcome, cost in records.values():
        assert outcome != "unknown" or cost == LIMIT_TOKENS * TOKEN_NANO or 0 < cost < LIMIT_TOKENS * TOKEN_NANO
    spent = sum(cost or 0 for _, cost in records.values())
    assert spent <= cap, f"{spent} of {cap} nano-dollars were spent"
    query = "SELECT period, spent_nano, requests FROM spend_totals WHERE scope = 'token' AND scope_id = ?"
    for period, nano, requests in process.rows(query, token_id):
        assert (nano, requests) == (spent, len(records)), period
    books = process.admin("GET", f"/api/v1/tokens/{token_id}/spend")
    assert round(books["current_lifetime_usd"] * 1e9) == spent
    headers = {"Authorization": f"Bearer {token}"}
    body = {"model": "gpt-4o", "messages": [{"role": "user", "content": "hi"}], "max_tokens": LIMIT_TOKENS}
    url = f"{process.url}/v1/chat/completions"
    status = httpx2.post(url, headers=headers, content=json.dumps(body), timeout=PATIENCE).status_code
    fits = spent + LIMIT_TOKENS * TOKEN_NANO <= cap
    assert status == (200 if fits else 402), f"{status} with {spent} of {cap} spent"
    outcomes = Counter(outcome for outcome, _ in records.values())
    return f"{dict(outcomes)}, {spent / cap:.0%} of the limit"


def run(data: Path, rounds: int, seed: int, say: Callable[[str], object] = print) -> None:
    """Play so many rounds, each point in turn. Raises ``AssertionError`` for the first whose books are wrong."""
    chance = random.Random(seed)
    with MockUpstream() as upstream:
        process = Process(data, upstream)
        process.start()
        try:
            process.admin("POST", "/api/v1/prices", {"provider": "*", "model": "*", "input": 0, "output": 1000})
            for number in range(rounds):
                point = POINTS[number % len(POINTS)]
                say(f"{number + 1:4} {point}: {play(process, upstream, point, chance)}")
        finally:
            process.kill()


def main() -> None:
    """Run from the command line."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rounds", type=int, default=200)
    options.add_argument("--seed", type=int, default=random.randrange(2**32))
    chosen = options.parse_args()
    print(f"seed {chosen.seed}")
    with tempfile.TemporaryDirectory() as folder:
        run(Path(folder) / "data", chosen.rounds, chosen.seed)


if __name__ == "__main__":
    main()

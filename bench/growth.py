"""How cost grows: with the tokens in the store, the policies of a token, the messages of a request, the audit rows.

Tokens and rows are written into the database directly, by the million, while no gateway runs.
"""

import json
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from statistics import median
from typing import Any

import httpx2

from ailink_gateway import tokens
from ailink_gateway.control import unlock
from ailink_gateway.store.store import Store
from ailink_gateway.vault import TOKEN_FINGERPRINTS, Vault
from bench.loads import alone, share, wrk
from bench.plan import Plan, Results, say
from bench.servers import POLICIES, Gateway, Upstreams, upstreams
from bench.wire import CHAT, MESSAGES, OPENAI_MODEL, Ask, anthropic, bearer, chat

CONNECTIONS = 16
LOOKS = 9  # at each page of the audit
TOKENS_OF_RECORDS, MODELS_OF_RECORDS, STEPS = 100, 5, 20
MONTH = 30 * 86_400.0


def measure(plan: Plan) -> Results:
    """Measure all four."""
    with upstreams(plan.place("growth")) as ports:
        return {
            "tokens": of_tokens(plan, ports),
            "policies": of_policies(plan, ports),
            "messages": of_messages(plan, ports),
            "records": of_records(plan, ports),
        }


@contextmanager
def database(gateway: Gateway) -> Iterator[sqlite3.Connection]:
    """Write to the database of a gateway that does not run."""
    with closing(sqlite3.connect(gateway.data / "ailink.db", isolation_level=None)) as connection:
        connection.executescript("PRAGMA synchronous=OFF; PRAGMA cache_size=-400000; BEGIN")
        yield connection
        connection.execute("COMMIT")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def copies(connection: sqlite3.Connection, table: str, source: str, changed: dict[str, str], numbers: range) -> None:
    """Insert copies of the row of ``table`` with the id ``source``, one for each number ``n``; ``changed`` is the SQL
    of what differs.
    """
    columns = [row[1] for row in connection.execute(f"PRAGMA table_info({table})") if row[1] != "sequence"]
    values = ", ".join(changed.get(name, f"{table}.{name}") for name in columns)
    connection.execute(
        f"WITH RECURSIVE numbers(n) AS (SELECT ? UNION ALL SELECT n + 1 FROM numbers WHERE n + 1 < ?) "
        f"INSERT INTO {table} ({', '.join(columns)}) SELECT {values} FROM numbers, {table} WHERE {table}.id = ?",
        (numbers.start, numbers.stop, source),
    )


def of_tokens(plan: Plan, ports: Upstreams) -> list[Results]:
    """Return the cost of a token's first call, for which its grant is loaded, and of its next, by tokens there are."""
    gateway = Gateway(plan.place("tokens") / "data")
    with gateway.serve():
        first, secret = gateway.token(f"http://127.0.0.1:{ports.whole}/v1")
    key = fingerprint_key(gateway)
    there, rows, known = 1, [], [secret]
    for size in plan.tokens:
        grown = range(there, size)
        made = [tokens.mint("default") for _ in range(min(len(grown), plan.samples))]
        with database(gateway) as connection:
            if grown:
                copies(connection, "tokens", first, {
                    "id": "printf('tok_%012d', n)", "name": "printf('many-%d', n)", "fingerprint": "randomblob(32)",
                }, grown)  # fmt: skip
            for number, minted in zip(grown, made, strict=False):
                connection.execute("UPDATE tokens SET fingerprint = ? WHERE id = ?",
                                   (tokens.fingerprint(key, minted), f"tok_{number:012d}"))  # fmt: skip
        there, known = max(there, size), known + made
        with gateway.serve():
            asks = [Ask(gateway.port, CHAT, bearer(one), chat()) for one in known[-plan.samples :]]
            alone([asks[0]] * 20)  # what every first call of a process pays
            loaded = alone(asks[1:] or asks)
            kept = alone([asks[0]] * plan.samples)
        rows.append({"tokens": size, "first_us": median(loaded) * 1e6, "first_p99_us": share(loaded, 0.99) * 1e6,
                     "next_us": median(kept) * 1e6, "samples": len(loaded)})  # fmt: skip
        say(f"{size:>9,} tokens     first call {rows[-1]['first_us']:8.0f} us, the next {rows[-1]['next_us']:8.0f} us")
    return rows


def fingerprint_key(gateway: Gateway) -> bytes:
    """Return the key of the fingerprints in a gateway's store."""
    store = Store(gateway.data / "ailink.db")
    try:
        vault = Vault(bytes.fromhex(gateway.environment["AILINK_MASTER_KEY"]))
        unlock(store, vault)
        return vault.derive(TOKEN_FINGERPRINTS)
    finally:
        store.close()


def of_policies(plan: Plan, ports: Upstreams) -> list[Results]:
    """Return the cost of a call by the policies on its token; the API takes 50, what is beyond is written directly."""
    gateway = Gateway(plan.place("policies") / "data")
    with gateway.serve():
        token_id, secret = gateway.token(f"http://127.0.0.1:{ports.whole}/v1")
        made = [gateway.policy(POLICIES[1]) for _ in range(max(plan.policies))]
    rows = []
    for count in plan.policies:
        with database(gateway) as connection:
            connection.execute("UPDATE tokens SET policy_ids = ? WHERE id = ?", (json.dumps(made[:count]), token_id))
        with gateway.serve():
            ask = Ask(gateway.port, CHAT, bearer(secret), chat())
            alone([ask] * 50)
            took = alone([ask] * plan.samples)
            rate = wrk(ask, CONNECTIONS, plan.seconds, plan.folder / "policies").rate
        rows.append({"policies": count, "median_us": median(took) * 1e6, "rate": rate})
        say(f"{count:>9,} policies   {rows[-1]['median_us']:8.0f} us, {rate:>8,.0f} req/s")
    return rows


def of_messages(plan: Plan, ports: Upstreams) -> list[Results]:
    """Return the cost of a call by the messages in its request: direct, passed through, translated."""
    gateway = Gateway(plan.place("messages") / "data")
    rows = []
    with gateway.serve():
        headers = bearer(gateway.token(f"http://127.0.0.1:{ports.whole}/v1")[1])
        for turns in plan.turns:
            plain, other = chat(turns=turns), anthropic(OPENAI_MODEL, turns=turns)
            took = {
                name: median(alone([ask] * max(5, plan.samples // (1 + turns // 50)))[1:]) * 1e6
                for name, ask in {
                    "direct_us": Ask(ports.whole, CHAT, (), plain),
                    "passed_us": Ask(gateway.port, CHAT, headers, plain),
                    "translated_us": Ask(gateway.port, MESSAGES, headers, other),
                }.items()
            }
            rows.append({"messages": turns, "bytes": len(plain), **took})
            say(f"{turns:>9,} messages   direct {took['direct_us']:8.0f} us, passed {took['passed_us']:8.0f} us, "
                f"translated {took['translated_us']:8.0f} us")  # fmt: skip
    return rows


def of_records(plan: Plan, ports: Upstreams) -> list[Results]:
    """Return how long pages of the audit take by the rows in it."""
    gateway = Gateway(plan.place("records") / "data")
    with gateway.serve():
        token_id, secret = gateway.token(f"http://127.0.0.1:{ports.whole}/v1")
        alone([Ask(gateway.port, CHAT, bearer(secret, "X-Session-ID: first"), chat())])
    with database(gateway) as connection:
        source, began = connection.execute("SELECT id, created_at FROM records").fetchone()
    there, rows = 1, []
    for size in plan.records:
        began_writing = time.monotonic()
        with database(gateway) as connection:
            fill(connection, source, range(there, size), began, max(plan.records))
            oldest = connection.execute("SELECT id FROM records ORDER BY created_at, id LIMIT 1 OFFSET 200").fetchone()[
                0
            ]
        there = size
        say(f"{size:>9,} records    written in {time.monotonic() - began_writing:.1f} s")
        with gateway.serve():
            took = {name: look(gateway, path) for name, path in pages(oldest, token_id, began).items()}
        rows.append({"records": size, **took})
        say("           " + ", ".join(f"{name} {seconds * 1e3:.1f} ms" for name, seconds in took.items()))
    return rows


def fill(connection: sqlite3.Connection, source: str, numbers: range, began: float, most: int) -> None:
    """Insert records spread over a month, many tokens and sessions, and what their sessions add up to."""
    copies(connection, "records", source, {
        "id": "printf('req_%024x', n)", "request_id": "printf('req_%024x', n)",
        "created_at": f"{began - MONTH} + n * {MONTH / most}",
        "token_id": f"printf('tok_%012d', n % {TOKENS_OF_RECORDS})",
        "session_id": f"printf('session-%d', n / {STEPS})", "model": f"printf('model-%d', n % {MODELS_OF_RECORDS})",
        "status": "CASE WHEN n % 1000 = 0 THEN 502 ELSE 200 END", "chain": "NULL", "chain_sequence": "NULL",
        "chain_code": "NULL",
    }, numbers)  # fmt: skip
    copies(connection, "sessions", "first", {
        "id": "printf('session-%d', n)", "created_at": f"{began - MONTH} + n * {MONTH / most * STEPS}",
        "requests": str(STEPS),
    }, range(numbers.start // STEPS + 1, numbers.stop // STEPS + 1))  # fmt: skip


def pages(oldest: str, token_id: str, began: float) -> dict[str, str]:
    """Return what is asked of the audit."""
    return {
        "newest 100": "/audit?limit=100",
        "the last page": f"/audit?limit=100&starting_after={oldest}",
        "one token's": "/audit?limit=100&token_id=tok_000000000007",
        "one model's": "/audit?limit=100&model=model-3",
        "one failing status": "/audit?limit=100&status=502",
        "a status that is nowhere": "/audit?limit=100&status=418",
        "one session's, in order": "/sessions/session-7",
        "sessions, added up": "/sessions?limit=100",
        "a token's spend": f"/tokens/{token_id}/spend",
    }


def look(gateway: Gateway, path: str) -> float:
    """Return the median of the seconds that a page takes."""
    took = []
    with httpx2.Client(trust_env=False, timeout=120, headers={"X-Admin-Key": gateway.admin_key}) as client:
        for _ in range(LOOKS):
            began = time.perf_counter()
            found: Any = client.get(f"http://127.0.0.1:{gateway.port}/api/v1{path}").raise_for_status().json()
            took.append(time.perf_counter() - began)
            assert found
    return median(took[1:])

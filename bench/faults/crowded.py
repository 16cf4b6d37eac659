"""Hundreds of slow readers and hundreds of trickling senders beside healthy traffic, which must not feel them."""

import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from bench.faults.scene import Told, told
from bench.loads import Opened, arrivals
from bench.machine import LOAD_CORE, pinned
from bench.plan import Plan
from bench.servers import PYTHON, ROOT, Gateway, upstreams
from bench.wire import CHAT, Ask, bearer, chat

RATE = 300.0  # healthy calls a second, far below what the gateway can do
MOST, ALLOWED = 1.5, 500.0  # times the quiet p99; microseconds that are noise
ROUNDS = 3


def play(plan: Plan, name: str) -> Told:
    """Measure healthy calls alone and in the crowd, in turns; the best round of each counts, as noise only adds."""
    seconds = plan.open_seconds
    with ExitStack() as stack:
        ports = stack.enter_context(upstreams(plan.place("crowded")))
        gateway = Gateway(plan.place("crowded-gateway") / "data")
        process = stack.enter_context(gateway.serve())
        ask = Ask(gateway.port, CHAT, bearer(gateway.token(f"http://127.0.0.1:{ports.whole}/v1")[1]), chat())
        streamed = gateway.token(f"http://127.0.0.1:{ports.streams}/big/v1")[1]
        arrivals(ask, RATE, seconds)
        quiet: list[Opened] = []
        crowded: list[Opened] = []
        before = process.root.memory_info().rss
        held_memory = 0
        for _ in range(ROUNDS):
            quiet.append(arrivals(ask, RATE, seconds))
            with (
                crowd("readers", gateway.port, plan.slow, streamed),
                crowd("senders", gateway.port, plan.slow, streamed),
            ):
                crowded.append(arrivals(ask, RATE, seconds))
                held_memory = max(held_memory, process.root.memory_info().rss - before)
        after = arrivals(ask, RATE, seconds)
    calm, full = min(one.p99 for one in quiet), min(one.p99 for one in crowded)
    errors = sum(one.errors for one in (*quiet, *crowded, after))
    held = full <= MOST * calm + ALLOWED and not errors
    seen = [
        f"99th percentile {calm:,.0f} µs alone, {full:,.0f} µs in the crowd ({full / calm:.2f} x), "
        f"{after.p99:,.0f} µs after it",
        f"{errors} errors; the crowd took {held_memory / 2**20:.0f} MiB",
    ]
    tried = f"{plan.slow} readers of 2 KiB/s and {plan.slow} senders of 4 bytes/s beside {RATE:.0f} healthy calls/s"
    return told(name, tried, seen, held)


@contextmanager
def crowd(kind: str, port: int, count: int, token: str) -> Iterator[None]:
    """Have bad clients there while the block runs."""
    command = pinned(LOAD_CORE, [PYTHON, "-m", "bench.faults.crowd", kind, str(port), str(count)])
    process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write(token + "\n")
        process.stdin.flush()
        assert process.stdout.readline().strip() == "ready", f"the {kind} did not come"
        yield
    finally:
        process.kill()
        process.communicate()

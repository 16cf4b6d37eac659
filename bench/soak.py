"""Minutes of mixed load on a governed token: does memory grow, do descriptors or tasks stay behind?"""

import os
import signal
import time
from pathlib import Path

from bench.loads import streams, wrk
from bench.machine import PATIENCE, Running
from bench.plan import Plan, Results, say
from bench.servers import Gateway, upstreams
from bench.wire import CHAT, Ask, bearer, chat

CYCLE = 4.0  # seconds of plain calls between two looks
STREAMS = 100


def measure(plan: Plan) -> Results:
    """Alternate plain calls and streams, and look at the gateway whenever it has nothing to do."""
    folder = plan.place("soak")
    tasks = folder / "tasks"
    samples: list[dict[str, float]] = []
    calls = errors = 0.0
    with upstreams(folder) as ports:
        gateway = Gateway(plan.place("gateway") / "data", {"AILINK_BENCH_TASKS": str(tasks)})
        with gateway.serve() as process:
            plain = bearer(gateway.governed(f"http://127.0.0.1:{ports.whole}/v1"))
            streamed = bearer(gateway.governed(f"http://127.0.0.1:{ports.streams}/v1"))
            began = time.monotonic()
            while (elapsed := time.monotonic() - began) < plan.soak_seconds or len(samples) < 3:
                load = wrk(Ask(gateway.port, CHAT, plain, chat()), 32, CYCLE, folder)
                found = streams(Ask(gateway.port, CHAT, streamed, chat(stream=True)), STREAMS, 1, plan.stream_patience)
                calls += load.rate * CYCLE + found.streams
                errors += load.errors + found.streams - found.whole
                samples.append(look(process, tasks, elapsed))
                now = samples[-1]
                say(f"{elapsed:5.0f} s  {now['resident'] / 2**20:6.1f} MiB, {now['descriptors']:.0f} descriptors, "
                    f"{now['tasks']:.0f} tasks")  # fmt: skip
    return {"samples": samples, "calls": calls, "errors": errors, "slope_mib_minute": slope(samples) / 2**20 * 60}


def look(process: Running, tasks: Path, elapsed: float) -> dict[str, float]:
    """Return what the gateway has once the connections of the load are gone."""
    tasks.unlink(missing_ok=True)
    time.sleep(0.5)  # what ended is being shipped to the store
    os.kill(process.root.pid, signal.SIGUSR1)
    end = time.monotonic() + PATIENCE
    while not tasks.exists() and time.monotonic() < end:
        time.sleep(0.01)
    return {
        "seconds": elapsed, "resident": process.root.memory_info().rss, "descriptors": process.descriptors(),
        "threads": process.threads(), "tasks": float(tasks.read_text()),
    }  # fmt: skip


def slope(samples: list[dict[str, float]]) -> float:
    """Return by how many bytes a second memory grows in the later half, by least squares."""
    later = samples[len(samples) // 2 :]
    mean_time = sum(one["seconds"] for one in later) / len(later)
    mean_size = sum(one["resident"] for one in later) / len(later)
    spread = sum((one["seconds"] - mean_time) ** 2 for one in later)
    together = sum((one["seconds"] - mean_time) * (one["resident"] - mean_size) for one in later)
    return together / spread if spread else 0.0

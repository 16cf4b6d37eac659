"""Where a governed call's CPU time goes, by sampling the gateway's stacks with py-spy while wrk loads it.

Time of code that belongs to no room of the house (the standard library, C extensions) counts for who called it.
"""

import re
import shutil
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from bench.loads import wrk
from bench.plan import Plan, Results, say
from bench.servers import Gateway, upstreams
from bench.wire import CHAT, Ask, bearer, chat

CONNECTIONS = 32
RATE = 250  # samples a second
_OWNER = re.compile(r"(ailink_gateway|ailink_provider|uvicorn|sqlalchemy|fastapi|starlette)/([^: ]+)\.py")


def measure(plan: Plan) -> Results:
    """Sample, and return the shares of modules and functions and the CPU time of a call."""
    sampler = shutil.which("py-spy", path=str(Path(sys.executable).parent))
    if sampler is None:
        return {"why": "py-spy is not installed"}
    folder = plan.place("costs")
    with upstreams(folder) as ports:
        gateway = Gateway(plan.place("gateway") / "data")
        with gateway.serve() as process:
            ask = Ask(gateway.port, CHAT, bearer(gateway.governed(f"http://127.0.0.1:{ports.whole}/v1")), chat())
            wrk(ask, CONNECTIONS, 1, folder)
            before = process.cpu()
            load = wrk(ask, CONNECTIONS, plan.profile_seconds, folder)
            call = (process.cpu() - before) / (load.rate * plan.profile_seconds) * 1e6
            with ThreadPoolExecutor(1) as loader:
                loaded = loader.submit(wrk, ask, CONNECTIONS, plan.profile_seconds + 2, folder)
                stacks = sample(sampler, process.root.pid, plan.profile_seconds, folder)
                rate = loaded.result().rate
    if isinstance(stacks, str):
        return {"why": stacks}
    total = sum(stacks.values())
    modules, functions = Counter[str](), Counter[str]()
    for frames, number in stacks.items():
        modules[next((name for frame in reversed(frames) if (name := owner_of(frame))), "the event loop")] += number
        functions[frames[-1]] += number
    # The interpreter is held, too, while the process waits for its core: of that only a busy machine has much.
    python = min(call, total / (plan.profile_seconds * RATE) / rate * 1e6)
    say(f"a call takes {call:.0f} us of CPU time, {python:.0f} us of it with the interpreter")
    for name, number in modules.most_common(10):
        say(f"{number / total:6.1%}  {number / total * python:6.1f} us  {name}")
    return {
        "call_us": call, "python_us": python, "rate": load.rate, "samples": total,
        "modules": [[name, number / total] for name, number in modules.most_common(20)],
        "functions": [[name, number / total] for name, number in functions.most_common(20)],
    }  # fmt: skip


def sample(sampler: str, pid: int, seconds: float, folder: Path) -> dict[tuple[str, ...], int] | str:
    """Return how often each stack was seen to hold the interpreter, or why none could be."""
    raw = folder / "stacks"
    done = subprocess.run(
        [sampler, "record", "--pid", str(pid), "--duration", str(round(seconds)), "--rate", str(RATE), "--function",
         "--gil", "--nonblocking", "--format", "raw", "--output", str(raw)],
        capture_output=True, text=True, check=False, timeout=seconds + 60,
    )  # fmt: skip
    if done.returncode or not raw.exists():
        return f"py-spy said: {(done.stderr or done.stdout).strip()[-200:]}"
    stacks = Counter[tuple[str, ...]]()
    for line in raw.read_text().splitlines():
        frames, _, number = line.rpartition(" ")
        stacks[tuple(short(frame) for frame in frames.split(";"))] += int(number)
    return dict(stacks)


def short(frame: str) -> str:
    """Return a frame with its file as far as a reader needs it."""
    name, _, file = frame.partition(" (")
    found = _OWNER.search(file)
    return f"{name} ({found[1]}/{found[2]}.py)" if found else f"{name} ({Path(file.rstrip(')')).name})"


def owner_of(frame: str) -> str | None:
    """Return the module of the house, or the library, that a frame belongs to."""
    found = _OWNER.search(frame)
    if found is None:
        return None
    return f"{found[1]}/{found[2]}.py" if found[1].startswith("ailink") else found[1]

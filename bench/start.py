"""What it takes before the first call: the time to the first answer, idle memory, imports, and space on the disk."""

import re
import subprocess
import time
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from statistics import median

from bench import peers
from bench.machine import NotStarted, answers, pinned, running
from bench.plan import Plan, Results, say
from bench.servers import PYTHON, ROOT, Gateway, upstreams
from bench.wire import CHAT, Ask, bearer, chat

SETTLED = 2.0  # seconds after which a server that nobody asks is idle


def measure(plan: Plan) -> Results:
    """Start the gateway and each peer again and again."""
    rows, missing = [], []
    with upstreams(plan.place("start")) as ports:
        rows.append(gateway(plan, ports.whole))
        for peer in peers.ALL:
            seconds, resident = [], 0
            try:
                for turn in range(plan.starts):
                    with peers.up(peer, plan.folder / f"{peer.name} {turn}", ports.whole) as found:
                        seconds.append(found.process.started)
                        if not turn:
                            time.sleep(SETTLED)
                            resident = found.process.resident()
            except (peers.NotInstalled, NotStarted) as error:
                missing.append({"name": peer.name, "why": str(error)})
                continue
            rows.append(
                {"name": peer.name, "seconds": seconds, "resident": resident, "size": size_of(peers.home_of(peer.name))}
            )
    for row in rows:
        say(f"{row['name']:18} first answer {median(row['seconds']):6.2f} s, idle {row['resident'] / 2**20:6.1f} MiB, "
            f"installed {row['size'] / 2**20:6.0f} MiB")  # fmt: skip
    imports = {module: imported(module, plan.starts) for module in ("ailink", "ailink_gateway.app")}
    return {"rows": rows, "missing": missing, "imports": imports}


def gateway(plan: Plan, upstream: int) -> Results:
    """Start the gateway on data that has a token, until that token's call is answered."""
    own = Gateway(plan.place("gateway") / "data")
    with own.serve():
        headers = bearer(own.token(f"http://127.0.0.1:{upstream}/v1")[1])
    request = Ask(own.port, CHAT, (*headers, "Connection: close"), chat()).encoded()
    command = [str(Path(PYTHON).with_name("ailink")), "serve", "--port", str(own.port), "--data", str(own.data)]
    seconds, resident = [], 0
    for turn in range(plan.starts):
        with running(command, lambda: answers(own.port, request), own.data.with_suffix(".log"),
                     environment=own.environment, folder=own.data.parent) as process:  # fmt: skip
            seconds.append(process.started)
            if not turn:
                time.sleep(SETTLED)
                resident = process.resident()
    return {"name": "AIlink", "seconds": seconds, "resident": resident, "size": installed()}


def imported(module: str, times: int) -> float:
    """Return the seconds that an import adds to the start of the interpreter."""

    def took(code: str) -> float:
        began = time.perf_counter()
        subprocess.run(pinned(0, [PYTHON, "-c", code]), check=True)
        return time.perf_counter() - began

    took(f"import {module}")
    found = [took(f"import {module}") - took("pass") for _ in range(max(3, times))]
    return median(found)


def installed() -> int:
    """Return the bytes of the gateway and all that it needs."""
    lock = (ROOT / "locks" / "runtime.txt").read_text()
    names = re.findall(r"^([A-Za-z0-9_.-]+)==", lock, re.MULTILINE)
    total = sum(size_of(ROOT / "packages" / name) for name in ("provider/ailink_provider", "gateway/ailink_gateway"))
    for name in names:
        try:
            files = distribution(name).files or []
        except PackageNotFoundError:  # of another platform
            continue
        total += sum(place.stat().st_size for file in files if (place := Path(str(file.locate()))).is_file())
    return total


def size_of(folder: Path) -> int:
    """Return the bytes of all files in a folder; links count as what they are."""
    return sum(file.lstat().st_size for file in folder.rglob("*") if file.is_file() and not file.is_symlink())

"""Where the benchmark runs: the machine's description, free ports, and servers pinned to a core. Knows no server by
name, and ends only what it started.
"""

import os
import platform
import resource
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

SERVER_CORE, LOAD_CORE = 0, 1
DESCRIPTORS = 20_000  # that a process of the benchmark may have open, if the machine lets it
PATIENCE = 60.0


class NotStarted(Exception):
    """A server did not come up; says what it said last."""


class Running:
    """A server that runs, with its children, and the seconds from its start until it answered."""

    def __init__(self, process: subprocess.Popen[bytes], started: float) -> None:
        self.process, self.started = process, started
        self.root = psutil.Process(process.pid)

    def all(self) -> list[psutil.Process]:
        """Return its processes."""
        return [self.root, *self.root.children(recursive=True)]

    def cpu(self) -> float:
        """Return the seconds of CPU time that it has used, the kernel's for it included."""
        return sum(sum(process.cpu_times()[:2]) for process in self.all())

    def resident(self) -> int:
        """Return the bytes of memory that are its own: what processes share is counted once."""
        return sum(int(process.memory_full_info().uss) for process in self.all())

    def descriptors(self) -> int:
        """Return how many descriptors it has open."""
        return sum(process.num_fds() for process in self.all())

    def threads(self) -> int:
        """Return how many threads it has."""
        return sum(process.num_threads() for process in self.all())


def free_port() -> int:
    """Return a port of the loopback address that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def allow_descriptors() -> None:
    """Let this process and those it starts have thousands of connections."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    enough = DESCRIPTORS if most == resource.RLIM_INFINITY else min(DESCRIPTORS, most)
    resource.setrlimit(resource.RLIMIT_NOFILE, (enough, most))


def pin_load() -> None:
    """Keep this process, which makes loads, off the server's core."""
    if len(os.sched_getaffinity(0)) > 1:
        os.sched_setaffinity(0, {LOAD_CORE})


def pinned(core: int | None, command: Sequence[str]) -> list[str]:
    """Return the command that runs ``command`` on one core, or wherever there is room."""
    cores = "0-1" if core is None else str(core)
    return ["taskset", "-c", cores, *command]


def answers(port: int, ask: bytes = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n") -> bool:
    """Whether what listens there answers ``ask`` with anything but a 5xx status."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as asked:
            asked.sendall(ask)
            head = asked.recv(64)
    except OSError:
        return False
    return head.startswith(b"HTTP/1.") and head[9:10] != b"5"


@contextmanager
def running(
    command: Sequence[str],
    ready: Callable[[], bool],
    log: Path,
    *,
    core: int | None = SERVER_CORE,
    environment: Mapping[str, str] | None = None,
    folder: Path | None = None,
    patience: float = PATIENCE,
) -> Iterator[Running]:
    """Run a server until the block ends. Raises ``NotStarted``."""
    kept = {name: value for name, value in os.environ.items() if "PROXY" not in name.upper()}
    began = time.perf_counter()
    with log.open("wb") as out:
        process = subprocess.Popen(
            pinned(core, command), env={**kept, **(environment or {})}, cwd=folder,
            stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
    try:
        while not ready():
            if process.poll() is not None or time.perf_counter() - began > patience:
                said = log.read_text("utf-8", "replace").strip().splitlines()[-3:]
                how = "ended" if process.poll() is not None else f"did not answer within {patience:.0f} s"
                raise NotStarted(f"it {how}: {' / '.join(said)[-300:]}")
            time.sleep(0.002)
        yield Running(process, time.perf_counter() - began)
    finally:
        stop(process)


def stop(process: subprocess.Popen[bytes]) -> None:
    """End a process that ``running`` started, and its children: asked first, then not."""
    for how, patience in ((signal.SIGINT, 20), (signal.SIGKILL, 5)):
        try:
            os.killpg(process.pid, how)
        except ProcessLookupError:
            break
        try:
            process.wait(patience)
        except subprocess.TimeoutExpired:
            continue
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)  # what a leader leaves behind


def first_line(*command: str) -> str:
    """Return the first line that a command says, or that it is not there."""
    if shutil.which(command[0]) is None:
        return "not installed"
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return (done.stdout + done.stderr).strip().partition("\n")[0]


def describe(root: Path) -> dict[str, str]:
    """Return what a reader must know of the machine and of what was measured on it."""
    model = next(
        (line.partition(":")[2].strip() for line in Path("/proc/cpuinfo").read_text().splitlines()
         if line.startswith("model name")),
        platform.processor(),
    )  # fmt: skip
    siblings = Path("/sys/devices/system/cpu/cpu0/topology/thread_siblings_list")
    shared = siblings.read_text().strip() if siblings.exists() else "unknown"
    return {
        "processor": model,
        "cores": f"{os.cpu_count()}; threads of core 0: {shared}",
        "memory": f"{psutil.virtual_memory().total / 2**30:.0f} GiB",
        "system": f"{platform.system()} {platform.release()}",
        "load before": " ".join(f"{load:.2f}" for load in os.getloadavg()),
        "python": platform.python_version(),
        "nginx": first_line("nginx", "-v").removeprefix("nginx version: "),
        "wrk": first_line("wrk", "-v").partition(" [")[0],
        "node": first_line("node", "--version"),
        "revision": first_line("git", "-C", str(root), "describe", "--always", "--dirty"),
        "pinned": f"each server to core {SERVER_CORE}; load and mock upstream to core {LOAD_CORE}",
    }

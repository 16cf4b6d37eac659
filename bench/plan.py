"""How long and how often each part measures, where it writes, and how it tells of its progress."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

Results = dict[str, Any]


class Plan(NamedTuple):
    """The sizes of one run. Times in seconds. ``folder`` is the run's own, removed after it."""

    name: str
    folder: Path
    rounds: int = 3
    seconds: float = 2.0
    peer_seconds: float = 4.0  # peers may be slow: in less time some answer nothing
    open_seconds: float = 2.0
    stream_rounds: int = 2
    streams: tuple[int, ...] = (500, 2000)
    repeats: int = 3
    stream_patience: float = 40.0
    soak_seconds: float = 50.0
    starts: int = 3
    tokens: tuple[int, ...] = (1, 10, 1_000, 100_000, 1_000_000)
    policies: tuple[int, ...] = (0, 1, 5, 50, 500)
    turns: tuple[int, ...] = (1, 10, 100, 1_000, 10_000)
    records: tuple[int, ...] = (10_000, 100_000, 1_000_000)
    samples: int = 200
    crashes: int = 12
    profile_seconds: float = 12.0
    slow: int = 500

    def place(self, name: str) -> Path:
        """Return a new folder of this run."""
        place = self.folder / name
        place.mkdir()
        return place


class Part(NamedTuple):
    """A concern of the benchmark."""

    name: str
    about: str
    measure: Callable[[Plan], Results]


def default(folder: Path) -> Plan:
    """Return the plan of `make bench`: about twenty minutes."""
    return Plan("default", folder)


def quick(folder: Path) -> Plan:
    """Return a plan that only shows that everything works: believe none of its figures."""
    return Plan(
        "quick", folder, rounds=1, seconds=1, peer_seconds=1, open_seconds=1, stream_rounds=1, streams=(50, 200),
        repeats=1, stream_patience=30, soak_seconds=6, starts=1, tokens=(1, 100, 10_000), policies=(0, 5, 50),
        turns=(1, 100, 1_000), records=(1_000, 10_000), samples=20, crashes=2, profile_seconds=3, slow=50,
    )  # fmt: skip


def full(folder: Path) -> Plan:
    """Return the plan that leaves nothing out: a soak of five minutes, ten million records."""
    return default(folder)._replace(
        name="full", rounds=5, seconds=5, peer_seconds=8, open_seconds=5, stream_rounds=5, starts=5, soak_seconds=300,
        records=(10_000, 100_000, 1_000_000, 10_000_000), crashes=60,
    )  # fmt: skip


_began = time.monotonic()


def say(text: str) -> None:
    """Print a line of progress."""
    print(f"[{time.monotonic() - _began:6.1f} s] {text}", flush=True)

"""kill -9, at each of the moments that matter: the books are right when the gateway is back. ``bench/crash.py`` plays
more rounds of the same.
"""

import importlib.util
from pathlib import Path

CRASH = Path(__file__).parents[2] / "bench/crash.py"
ROUNDS = 20


def test_the_books_are_right_after_every_crash(tmp_path: Path) -> None:
    spec = importlib.util.spec_from_file_location("crash", CRASH)
    assert spec is not None and spec.loader is not None
    crash = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(crash)
    seen: list[str] = []
    crash.run(tmp_path / "data", ROUNDS, seed=1, say=seen.append)
    assert len(seen) == ROUNDS
    assert {point for point in crash.POINTS if any(point in line for line in seen)} == set(crash.POINTS)
    assert any("unknown" in line for line in seen) and any("answered" in line for line in seen)

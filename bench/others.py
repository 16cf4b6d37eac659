"""Measurements that are programs of their own, run from here so that one command runs all: what they print is shown."""

import subprocess
from pathlib import Path

from bench.machine import SERVER_CORE, pinned
from bench.plan import Plan, Results, say
from bench.servers import PYTHON, ROOT


def dialects(plan: Plan) -> Results:
    """What an event of a stream costs in each pair of dialects."""
    return _said(SERVER_CORE, "dialects.py")


def policies(plan: Plan) -> Results:
    """What the policies of a call cost."""
    return _said(SERVER_CORE, "policies.py")


def crash(plan: Plan) -> Results:
    """Whether the books are right after kill -9."""
    return _said(None, "crash.py", "--rounds", str(plan.crashes))


def _said(core: int | None, program: str, *options: str) -> Results:
    command = pinned(core, [PYTHON, str(Path("bench", program)), *options])
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=900)
    lines = (done.stdout + done.stderr[-2000:]).strip().splitlines()
    for line in lines[-6:]:
        say(line)
    return {
        "command": f"python bench/{program} {' '.join(options)}".strip(),
        "kept": done.returncode == 0,
        "lines": lines,
    }

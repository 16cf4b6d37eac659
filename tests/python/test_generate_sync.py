"""The synchronous client is what the generator makes of the asynchronous one."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "packages" / "python"


def run(script, *arguments):
    return subprocess.run([sys.executable, script, *arguments], capture_output=True, text=True, check=False)


@pytest.fixture
def copy(tmp_path):
    """A copy of the generator and of both halves, to spoil."""
    shutil.copy(PACKAGE / "generate_sync.py", tmp_path)
    for half in ("_async", "_sync"):
        shutil.copytree(PACKAGE / "ailink" / half, tmp_path / "ailink" / half)
    return tmp_path


def test_the_synchronous_half_is_current():
    done = run(PACKAGE / "generate_sync.py", "--check")
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("spoil", [
    lambda sync: (sync / "client.py").write_text("edited by hand"),
    lambda sync: (sync / "resources.py").unlink(),
    lambda sync: (sync / "left_over.py").touch(),
], ids=["edited", "missing", "left over"])
def test_a_difference_is_found_and_repaired(copy, spoil):
    script, sync = copy / "generate_sync.py", copy / "ailink" / "_sync"
    spoil(sync)
    spoilt = {path.name: path.read_text() for path in sync.glob("*.py")}
    checked = run(script, "--check")
    assert checked.returncode == 1
    assert "not current, run generate_sync.py: _sync/" in checked.stderr
    assert {path.name: path.read_text() for path in sync.glob("*.py")} == spoilt
    assert run(script).returncode == 0
    assert run(script, "--check").returncode == 0


def test_a_substitution_that_finds_nothing_is_an_error(copy):
    script = copy / "generate_sync.py"
    script.write_text(script.read_text().replace("SUBSTITUTIONS = [", 'SUBSTITUTIONS = [(r"nowhere", ""),'))
    done = run(script)
    assert done.returncode == 1
    assert "find nothing, remove them: nowhere" in done.stderr

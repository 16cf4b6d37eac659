"""Writes docs/benchmarks.md and its pictures from what the parts found. Nothing on the page is written by hand."""

import json
from pathlib import Path

from bench.sections import SECTIONS
from bench.targets import judge, slowed
from bench.writing import Album, Found, join, plain

WRITTEN = """\
Written by `make bench`, never by hand. Each server runs on one core, the load and the mock upstream on another; rounds
are interleaved, and medians are shown with half the spread between rounds. Believe ratios rather than figures: machines
differ. Run it yourself: `make bench` needs wrk, nginx and two cores, takes about twenty minutes, and installs the peers
by itself."""
QUICK = "**Some of these figures come from a quick run, whose rounds are too short to measure anything.**"


def write(results: Path, docs: Path) -> None:
    """Write the page from the results that are there."""
    told = {file.stem: json.loads(file.read_text()) for file in sorted(results.glob("*.json"))}
    found = {name: one["found"] for name, one in told.items()}
    album = Album(docs / "benchmarks")
    parts = [_head(told), _targets(found)]
    for name, title, section in SECTIONS:
        if name in found:
            failed = found[name].get("failed")
            parts.append(join(f"## {title}", f"This part failed: `{failed}`" if failed else section(found, album)))
    (docs / "benchmarks.md").write_text("\n\n".join(parts).rstrip() + "\n")


def _head(told: Found) -> str:
    plans = sorted({one["plan"] for one in told.values()})
    newest: Found = max(told.values(), key=lambda one: str(one["when"]), default={"machine": {}, "when": ""})
    machine: dict[str, str] = {**newest["machine"], "run": f"{', '.join(plans)}; {newest['when']}"}
    revisions = sorted({one["machine"]["revision"] for one in told.values()})
    return join(
        "# Benchmarks",
        WRITTEN,
        QUICK if "quick" in plans else "",
        f"The parts were run at different revisions: {', '.join(revisions)}." if len(revisions) > 1 else "",
        plain(("", ""), machine.items()),
    )


def _targets(found: Found) -> str:
    words = {True: "met", False: "**not met**", None: "not measured"}
    rows = [(verdict.target, verdict.measured, words[verdict.met]) for verdict in judge(found)]
    held_up = ", ".join(slowed(found))
    return join(
        "## What the project has set itself",
        f"**Void for {held_up}: the mock upstream was the bottleneck of the plain calls, so more may be possible.**"
        if held_up
        else "",
        plain(("target", "measured", ""), rows),
    )

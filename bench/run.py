"""The benchmark: measures the gateway beside what people use today, and writes the page that shows it.

`make bench` runs every part, about twenty minutes. The figures go to bench/results/NAME.json, the page to
docs/benchmarks.md. Believe ratios rather than figures, and none of a machine that does other work.
"""

import argparse
import json
import shutil
import sys
import tempfile
import traceback
from datetime import UTC, datetime
from pathlib import Path

from bench import costs, growth, others, page, plan, soak, start, streaming, sweep, translation, unary
from bench.faults import everything as faults
from bench.machine import allow_descriptors, describe, pin_load
from bench.plan import Part, say
from bench.servers import ROOT

RESULTS = ROOT / "bench" / "results"
PARTS = (
    Part("unary", "requests a second and added latency, beside the peers", unary.measure),
    Part("sweep", "arrivals at a given rate, up to the knee", sweep.measure),
    Part("streams", "hundreds and thousands of streams at once", streaming.measure),
    Part("translation", "callers and upstreams of different dialects", translation.measure),
    Part("start", "first answer, idle memory, imports, size", start.measure),
    Part("growth", "tokens, policies, messages, audit rows", growth.measure),
    Part("soak", "memory, descriptors and tasks over minutes", soak.measure),
    Part("costs", "where a call's CPU time goes", costs.measure),
    Part("dialects", "what an event costs in each pair of dialects", others.dialects),
    Part("policies", "what policies cost", others.policies),
    Part("crash", "kill -9 at the moments that matter", others.crash),
    Part("faults", "what goes wrong around the gateway", faults.measure),
)


def main() -> int:
    """Run from the command line. Returns 1 if a part failed."""
    options = argparse.ArgumentParser(prog="python -m bench.run", description=__doc__,
                                      formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    size = options.add_mutually_exclusive_group()
    size.add_argument("--quick", action="store_true", help="tiny rounds: shows that it works, measures nothing")
    size.add_argument("--full", action="store_true", help="five minutes of soak, ten million audit rows")
    options.add_argument(
        "--only",
        action="append",
        metavar="NAME",
        choices=[part.name for part in PARTS] + ["page"],
        help="run this part alone (may be given again): " + ", ".join(part.name for part in PARTS),
    )
    chosen = options.parse_args()
    missing = [name for name in ("wrk", "nginx", "taskset") if shutil.which(name) is None]
    if missing:
        sys.exit(f"Missing: {', '.join(missing)}. On Debian: apt-get install wrk nginx-light util-linux")
    RESULTS.mkdir(exist_ok=True)
    allow_descriptors()
    described = describe(ROOT)
    pin_load()
    for name, value in described.items():
        say(f"{name:12} {value}")
    failed = [part.name for part in PARTS if not chosen.only or part.name in chosen.only
              if not run(part, chosen.quick, chosen.full, described)]  # fmt: skip
    page.write(RESULTS, ROOT / "docs")
    say(f"written: docs/benchmarks.md{f'; failed: {failed}' if failed else ''}")
    return 1 if failed else 0


def run(part: Part, quick: bool, full: bool, described: dict[str, str]) -> bool:
    """Run one part and write down what it found. Returns whether it ended well."""
    say(f"--- {part.name}: {part.about}")
    with tempfile.TemporaryDirectory(prefix="ailink-bench-") as name:
        folder = Path(name)
        size = plan.quick(folder) if quick else plan.full(folder) if full else plan.default(folder)
        try:
            found = part.measure(size)
        except Exception:  # noqa: BLE001 - the other parts are measured all the same, and the page says that this was not
            traceback.print_exc()
            found = {"failed": traceback.format_exc().strip().splitlines()[-1]}
    told = {
        "plan": size.name,
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": described,
        "found": found,
    }
    (RESULTS / f"{part.name}.json").write_text(json.dumps(told, indent=1))
    return "failed" not in found


if __name__ == "__main__":
    sys.exit(main())

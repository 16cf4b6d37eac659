"""What the project has set itself, and whether a run met it. Reads results, measures nothing."""

from collections.abc import Callable, Mapping
from statistics import median
from typing import Any, NamedTuple

from bench import unary
from bench.streaming import BACK, GOVERNED, NGINX, PASSED, TRANSLATED, middle

Found = Mapping[str, Any]  # what each part found, by its name


class Verdict(NamedTuple):
    """One target: what was set, what was measured, and whether that meets it; None if it was not measured."""

    target: str
    measured: str
    met: bool | None


class NotMeasured(Exception):
    """A part that a target needs was not run, or failed, or lacks a row."""


def rate(found: Found, name: str) -> float:
    """Return a server's best median of requests a second, of small answers. Raises ``NotMeasured``."""
    return max(_loads(found, name, str(count), "rate") for count in (16, 64))


def latency(found: Found, name: str, connections: int) -> float:
    """Return a server's median latency in microseconds. Raises ``NotMeasured``."""
    return _loads(found, name, str(connections), "median")


def slowed(found: Found) -> list[str]:
    """Return the servers whose plain calls the mock upstream or the load may have held up: those that did more than two
    thirds of what the mock does by itself.
    """
    try:
        direct = rate(found, unary.DIRECT)
        return [row["name"] for row in found["unary"]["rows"][1:] if direct < 1.5 * rate(found, row["name"])]
    except NotMeasured:
        return []


def judge(found: Found) -> list[Verdict]:
    """Return the verdict on every target."""
    return [_verdict(target, measure, found) for target, measure in TARGETS]


def _verdict(target: str, measure: Callable[[Found], tuple[str, bool]], found: Found) -> Verdict:
    try:
        return Verdict(target, *measure(found))
    except NotMeasured as why:
        return Verdict(target, f"not measured: {why}", None)


def _loads(found: Found, name: str, label: str, key: str) -> float:
    loads = _row(found, "unary", name)["loads"].get(label)
    if not loads:
        raise NotMeasured(f"{name} over {label} connections")
    return float(median(load[key] for load in loads))


def _row(found: Found, part: str, name: str) -> Any:
    for row in _part(found, part)["rows"]:
        if row["name"] == name:
            return row
    raise NotMeasured(f"{name} was not there")


def _part(found: Found, part: str) -> Any:
    if part not in found or "failed" in found[part]:
        raise NotMeasured(f"the part `{part}` was not run or failed")
    return found[part]


def _times(name: str, least: float) -> Callable[[Found], tuple[str, bool]]:
    def measure(found: Found) -> tuple[str, bool]:
        ratio = rate(found, unary.AILINK) / rate(found, name)
        return f"{ratio:.1f} x" if ratio > 2 else f"{ratio:.2f} x", ratio >= least

    return measure


def _added(found: Found) -> tuple[str, bool]:
    added = latency(found, unary.AILINK, 1) - latency(found, unary.DIRECT, 1)
    return f"{added:.0f} us", added <= 200


def _governed(found: Found) -> tuple[str, bool]:
    bare, governed = rate(found, unary.AILINK_BARE), rate(found, unary.AILINK)
    # On a slower machine than the one the target was set on, the same share counts.
    enough = 10_000 if bare >= 12_000 else bare * 10 / 12
    return f"{governed:,.0f} req/s where bare does {bare:,.0f} ({1 - governed / bare:.0%} less)", governed >= max(
        enough, 0.85 * bare
    )


def _event(name: str, most: float) -> Callable[[Found], tuple[str, bool]]:
    def measure(found: Found) -> tuple[str, bool]:
        streams = _row(found, "streams", name)["streams"]
        count = max(streams, key=int)
        ratio = middle(streams[count], "cpu_event_us") / middle(
            _row(found, "streams", NGINX)["streams"][count], "cpu_event_us"
        )
        return f"{ratio:.1f} x, {count} streams", ratio <= most

    return measure


def _calm(found: Found) -> tuple[str, bool]:
    rows = [_row(found, "streams", name) for name in (PASSED, GOVERNED)]
    counts = [count for row in rows for count in row["streams"]]
    most = max(counts, key=int)
    runs = [run for row in rows for run in row["streams"][most]]
    calm, streams = sum(run["calm"] for run in runs), sum(run["streams"] for run in runs)
    return f"{calm:,.0f} of {streams:,.0f} streams, {most} at once", calm == streams and int(most) >= 2000


def _memory(found: Found) -> tuple[str, bool]:
    most = max(sample["resident"] for sample in _part(found, "soak")["samples"]) / 2**20
    return f"{most:.0f} MiB at most in the soak", most < 100


def _start(found: Found) -> tuple[str, bool]:
    seconds = median(_row(found, "start", "AIlink")["seconds"])
    return f"{seconds:.2f} s", seconds <= 1.5


def _tokens(found: Found) -> tuple[str, bool]:
    rows = _part(found, "growth")["tokens"]
    few = next(row for row in rows if row["tokens"] >= min(10, rows[-1]["tokens"]))
    many = rows[-1]
    # The first call looks its token up in the database, the next finds it in memory: neither may cost more.
    ratio = max(many[call] / few[call] for call in ("first_us", "next_us"))
    return (
        f"a first call {many['first_us']:.0f} us among {many['tokens']:,}, {few['first_us']:.0f} among "
        f"{few['tokens']:,}; the next {many['next_us']:.0f} and {few['next_us']:.0f}",
        ratio <= 1.1,
    )


def _slope(found: Found) -> tuple[str, bool]:
    slope = _part(found, "soak")["slope_mib_minute"]
    return f"{slope:+.2f} MiB a minute", slope < 1


def _nothing_lost(found: Found) -> tuple[str, bool]:
    rows = _part(found, "faults")["rows"]
    broken = [row["name"] for row in rows if not row["held"]]
    return f"{len(rows) - len(broken)} of {len(rows)} held" + (
        f"; not: {', '.join(broken)}" if broken else ""
    ), not broken


TARGETS: tuple[tuple[str, Callable[[Found], tuple[str, bool]]], ...] = (
    ("governed, at least 80 x LiteLLM's requests a second", _times("LiteLLM proxy", 80)),
    ("governed, at least 10 x Portkey's", _times("Portkey gateway", 10)),
    ("governed, at least 0.6 x nginx as a plain reverse proxy", _times(unary.NGINX, 0.6)),
    ("governed, at least 10,000 req/s where bare does 12,000, and within 15 % of bare", _governed),
    ("governed, at most 200 us added at the median, one connection", _added),
    ("streams passed through, at most 2 x nginx's CPU an event", _event(PASSED, 2)),
    ("streams translated from Anthropic, at most 4 x", _event(TRANSLATED, 4)),
    ("streams translated to Anthropic, at most 4 x", _event(BACK, 4)),
    ("2,000 concurrent streams without a stall", _calm),
    ("under 100 MB", _memory),
    ("memory does not grow (under 1 MiB a minute)", _slope),
    ("first answer within 1.5 s", _start),
    ("a token among a million costs no more than among ten (within 10 %)", _tokens),
    ("every fault held, nothing lost", _nothing_lost),
)

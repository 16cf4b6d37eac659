"""The page's sections, one a part of the benchmark: each turns what its part found into words, tables and pictures."""

from collections.abc import Callable
from statistics import median
from typing import Any

from bench import unary
from bench.streaming import DIRECT, middle
from bench.targets import latency, rate
from bench.writing import US, Album, Found, bullets, join, missing, spread, table

ARRIVALS = """\
Calls arrive whether or not earlier ones were answered; latency counts from the moment at which each was to be made. The
knee is the highest rate of which 97 % was answered in time, 99 of 100 within 20 ms."""
STREAMS = """\
64 events at 20 ms, one stream after another on each connection. A stream has stalled if nothing came for a second, or
not everything came. Milliseconds, and CPU time in µs."""
STREAM_HEAD = ("server", "first", "added", "p99", "gap", "p99", "longest", "CPU an event", "without a stall")
GROWTH: tuple[tuple[str, str, dict[str, str]], ...] = (
    ("tokens", "By tokens in the store", {"first_us": f"a token's first call, {US}", "next_us": f"its next, {US}"}),
    ("policies", "By policies on a token", {"median_us": f"a call, {US}", "rate": "req/s, 16 connections"}),
    (
        "messages",
        "By messages of a request",
        {
            "bytes": "bytes",
            "direct_us": f"direct, {US}",
            "passed_us": f"passed through, {US}",
            "translated_us": f"translated, {US}",
        },
    ),
)


def plain_calls(found: Found, album: Album) -> str:
    """Rates, latencies, and who is ahead."""
    part = found["unary"]
    rows = part["rows"]
    own = rate(found, unary.AILINK)
    others = [row["name"] for row in rows[1:] if not row["name"].startswith("AIlink")]
    ahead = [f"{name} ({rate(found, name) / own:.1f} x)" for name in others if rate(found, name) > own]
    return join(
        "Requests a second: answers of 600 bytes over 16 and 64 connections, of 64 KiB over 16.",
        table(("server", "16", "64", "64 KiB", "errors"), map(_rates, rows)),
        f"Median latency in {US}, over 1, 16 and 64 connections, and what is added to going directly to the mock:",
        table(("server", "1", "16", "64", "+ 1", "+ 16", "+ 64"), (_latencies(found, row["name"]) for row in rows)),
        f"Ahead of AIlink, governed, in requests a second: {', '.join(ahead) or 'none of those measured'}.",
        "What each does beside passing calls on:",
        bullets(f"{row['name']}: {row['features']}" for row in rows[1:]),
        missing(part),
    )


def _rates(row: Found) -> list[str]:
    loads = row["loads"]
    errors = sum(load["errors"] for rounds in loads.values() for load in rounds)
    measured = [spread([load["rate"] for load in loads[key]]) if key in loads else "" for key in ("16", "64", "large")]
    return [f"{row['name']} {row['version']}".strip(), *measured, f"{errors:,}"]


def _latencies(found: Found, name: str) -> list[str]:
    medians = [latency(found, name, count) for count in unary.CONNECTIONS]
    direct = [latency(found, unary.DIRECT, count) for count in unary.CONNECTIONS]
    added = [f"{one - other:+,.0f}" for one, other in zip(medians, direct, strict=True)]
    return [name, *(f"{one:,.0f}" for one in medians), *([""] * 3 if name == unary.DIRECT else added)]


def sweep(found: Found, album: Album) -> str:
    """Latency by the rate that is offered."""
    rows = found["sweep"]["rows"]

    def row_of(row: Found) -> list[str]:
        half = row["points"][2]
        return [row["name"], *(f"{one:,.0f}" for one in (row["closed"], row["knee"], half["median"], half["p99"]))]

    lines = {
        row["name"]: ([point["offered"] for point in row["points"]], [point["p99"] / 1e3 for point in row["points"]])
        for row in rows
    }
    head = ("server", "closed loop, req/s", "knee, req/s", f"p50 at half, {US}", f"p99 at half, {US}")
    axes = ("requests a second", "ms")
    return join(
        ARRIVALS,
        table(head, map(row_of, rows)),
        album.picture("sweep", "99th percentile by offered rate", axes, lines, log_x=True, log_y=True),
    )


def streams(found: Found, album: Album) -> str:
    """Times, CPU time and stalls of streams."""
    part, texts = found["streams"], []
    for count in sorted({count for row in part["rows"] for count in row["streams"]}, key=int):
        runs = {row["name"]: row["streams"][count] for row in part["rows"] if count in row["streams"]}
        base = middle(runs[DIRECT], "first_median") if DIRECT in runs else 0.0
        rows = (_stream(name, rounds, base) for name, rounds in runs.items())
        texts.append(join(f"{int(count):,} at once:", table(STREAM_HEAD, rows)))
    return join(STREAMS, *texts, missing(part))


def _stream(name: str, rounds: list[dict[str, float]], base: float) -> list[str]:
    def milliseconds(key: str, less: float = 0.0) -> str:
        return f"{(middle(rounds, key) - less) * 1e3:,.1f}"

    calm, all_of_them = (int(sum(one[key] for one in rounds)) for key in ("calm", "streams"))
    return [
        name,
        milliseconds("first_median"),
        "" if name == DIRECT else milliseconds("first_median", base),
        milliseconds("first_p99"),
        milliseconds("gap_median"),
        milliseconds("gap_p99"),
        f"{max(one['gap_longest'] for one in rounds) * 1e3:,.0f}",
        "" if name == DIRECT else f"{middle(rounds, 'cpu_event_us'):,.1f}",
        f"{calm:,} of {all_of_them:,}",
    ]


def translation(found: Found, album: Album) -> str:
    """Plain calls between dialects."""

    def row_of(row: Found) -> list[str]:
        loads = row["loads"]
        errors = sum(load["errors"] for load in loads)
        middle_of_them = median(load["median"] for load in loads)
        return [row["name"], spread([load["rate"] for load in loads]), f"{middle_of_them:,.0f}", f"{errors:,}"]

    head = ("", "req/s", f"median, {US}", "errors")
    return join("Plain calls of 600 bytes over 16 connections.", table(head, map(row_of, found["translation"]["rows"])))


def start(found: Found, album: Album) -> str:
    """What it takes before the first call."""
    part = found["start"]

    def row_of(row: Found) -> list[str]:
        figures = (row["resident"] / 2**20, row["size"] / 2**20)
        return [row["name"], f"{median(row['seconds']):.2f}", *(f"{one:,.0f}" for one in figures)]

    imports = ", ".join(f"`import {name}` {seconds * 1e3:.0f} ms" for name, seconds in part["imports"].items())
    return join(
        "From the start of the process to the first answered call.",
        table(("server", "first answer, s", "idle memory, MiB", "installed, MiB"), map(row_of, part["rows"])),
        f"Imports: {imports}.",
        missing(part),
    )


def growth(found: Found, album: Album) -> str:
    """How cost grows, four ways."""
    part, texts = found["growth"], []
    for key, title, columns in GROWTH:
        rows = part[key]
        cells = ([f"{row[key]:,}", *(f"{row[name]:,.0f}" for name in columns)] for row in rows)
        lines = {
            label: ([row[key] for row in rows], [row[name] for row in rows])
            for name, label in columns.items()
            if name.endswith("_us")
        }
        picture = album.picture(key, title, (key, US), lines, log_x=True, log_y=key == "messages")
        texts += [f"### {title}", table([key, *columns.values()], cells), picture]
    return join(*texts, _records(part["records"], album))


def _records(rows: list[dict[str, Any]], album: Album) -> str:
    names = [name for name in rows[0] if name != "records"]
    lines = {name: ([row["records"] for row in rows], [row[name] * 1e3 for row in rows]) for name in names}
    cells = ([name, *(f"{row[name] * 1e3:.1f}" for row in rows)] for name in names)
    title = "Pages of the audit by rows in it"
    return join(
        "### By rows of the audit",
        "Milliseconds over HTTP, median.",
        table(["page", *(f"{row['records']:,}" for row in rows)], cells),
        album.picture("records", title, ("rows", "ms"), lines, log_x=True, log_y=True),
    )


def soak(found: Found, album: Album) -> str:
    """Memory, descriptors and tasks over minutes."""
    part = found["soak"]
    samples = part["samples"]

    def row_of(one: Found) -> list[str]:
        counts = (f"{one[name]:.0f}" for name in ("descriptors", "threads", "tasks"))
        return [f"{one['seconds']:.0f} s", f"{one['resident'] / 2**20:.1f}", *counts]

    lines = {"resident": ([one["seconds"] for one in samples], [one["resident"] / 2**20 for one in samples])}
    return join(
        f"{part['calls']:,.0f} governed calls, plain and streamed, in {samples[-1]['seconds']:.0f} s; "
        f"{part['errors']:,.0f} failed. Memory grew by {part['slope_mib_minute']:+.2f} MiB a minute in the later half.",
        table(
            ("idle after", "MiB", "descriptors", "threads", "tasks"),
            map(row_of, (samples[0], samples[len(samples) // 2], samples[-1])),
        ),
        album.picture("soak", "Resident memory", ("seconds", "MiB"), lines),
    )


def costs(found: Found, album: Album) -> str:
    """Where a call's CPU time goes."""
    part = found["costs"]
    if "why" in part:
        return f"Not measured: {part['why']}."
    return join(
        f"A governed call takes {part['call_us']:.0f} {US} of CPU time, of which {part['python_us']:.0f} {US} hold the "
        "interpreter; the rest is the kernel's, the event loop's and SQLite's. What holds it, by module, from "
        f"{part['samples']:,} samples; [cost-of-a-call.md](decisions/cost-of-a-call.md) explains the largest.",
        table(
            ("module", "share", US),
            ((f"`{name}`", f"{share:.1%}", f"{share * part['python_us']:.1f}") for name, share in part["modules"]),
        ),
    )


def said(name: str) -> Callable[[Found, Album], str]:
    """Return the section that shows what a program printed."""

    def section(found: Found, album: Album) -> str:
        part = found[name]
        failed = "" if part["kept"] else ", **which failed**"
        lines = "\n".join(part["lines"])
        return join(f"`{part['command']}`{failed}", f"```\n{lines}\n```")

    return section


def faults(found: Found, album: Album) -> str:
    """What went wrong on purpose."""
    texts = ["Nothing is lost if each call that reached the upstream has exactly one record."]
    for row in found["faults"]["rows"]:
        state = "left out" if row["left_out"] else "held" if row["held"] else "**broken**"
        tried = f"Tried: {row['tried']}." if row["tried"] else ""
        texts.append(join(f"### {row['name'].capitalize()}: {state}", tried, bullets(row["seen"])))
    return join(*texts)


SECTIONS: tuple[tuple[str, str, Callable[[Found, Album], str]], ...] = (
    ("unary", "Plain calls", plain_calls),
    ("sweep", "Arrivals at a given rate", sweep),
    ("streams", "Streams", streams),
    ("translation", "Translation", translation),
    ("start", "Start", start),
    ("growth", "How cost grows", growth),
    ("soak", "Soak", soak),
    ("costs", "Where a call's time goes", costs),
    ("dialects", "What an event costs", said("dialects")),
    ("policies", "What policies cost", said("policies")),
    ("crash", "kill -9", said("crash")),
    ("faults", "What goes wrong around it", faults),
)

"""Streams: 64 events at 20 ms, hundreds and thousands at once. Added time to the first, gaps, CPU an event, stalls.

A server that cannot keep up with single events may bundle them: what counts against it are late ones and silence.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from statistics import median
from typing import NamedTuple

from bench import peers
from bench.loads import Streamed, streams
from bench.machine import NotStarted, Running
from bench.plan import Plan, Results, say
from bench.servers import Gateway, Upstreams, reverse_proxy, upstreams
from bench.wire import ANTHROPIC_MODEL, CHAT, MESSAGES, OPENAI_MODEL, Ask, anthropic, bearer, chat

PASSED, TRANSLATED, BACK = "AIlink, passed through", "AIlink, OpenAI to Anthropic", "AIlink, Anthropic to OpenAI"
GOVERNED = "AIlink, governed, passed through"
DIRECT, NGINX = "direct to the mock", "nginx"


class Case(NamedTuple):
    """One row: what is asked, of which server, and by how many at most."""

    name: str
    ask: Ask
    process: Running | None
    most: int = 1_000_000


def measure(plan: Plan) -> Results:
    """Measure streams through every server; peers with the smallest number only."""
    rows: dict[str, dict[str, list[dict[str, float]]]] = {}
    missing = []
    with upstreams(plan.place("streaming")) as ports:
        with cases(plan, ports) as own:
            for count in plan.streams:
                for _ in range(plan.stream_rounds):
                    for case in own:
                        note(rows, case, count, plan)
        for peer in peers.ALL:
            try:
                with peers.up(peer, plan.folder / f"{peer.name} streaming", ports.streams) as found:
                    peers.check(found.stream)
                    note(rows, Case(peer.name, found.stream, found.process), plan.streams[0], plan)
            except (peers.NotInstalled, NotStarted) as error:
                missing.append({"name": peer.name, "why": str(error)})
    return {"rows": [{"name": name, "streams": found} for name, found in rows.items()], "missing": missing}


def note(rows: dict[str, dict[str, list[dict[str, float]]]], case: Case, count: int, plan: Plan) -> None:
    """Run one case once."""
    before = case.process.cpu() if case.process else 0.0
    found = streams(case.ask, count, plan.repeats, plan.stream_patience)
    spent = case.process.cpu() - before if case.process else 0.0
    each = spent / max(found.events, 1) * 1e6
    rows.setdefault(case.name, {}).setdefault(str(count), []).append({**found._asdict(), "cpu_event_us": each})
    say(
        f"{count:>5} streams  {case.name:32} first {found.first_median * 1e3:7.1f} ms"
        f"  gap p99 {found.gap_p99 * 1e3:7.1f} ms  {each:6.1f} us CPU an event"
        f"  {found.whole} of {found.streams} whole, {found.calm} calm"
    )


@contextmanager
def cases(plan: Plan, ports: Upstreams) -> Iterator[list[Case]]:
    """Run nginx and the gateway; yield their rows."""
    with ExitStack() as stack:
        proxy, nginx = stack.enter_context(reverse_proxy(plan.folder / "streaming", ports.streams))
        gateway = Gateway(plan.place("gateway") / "data")
        process = stack.enter_context(gateway.serve())
        where = f"http://127.0.0.1:{ports.streams}/v1"
        openai, claude, governed = (
            gateway.token(where)[1],
            gateway.token(where, "anthropic")[1],
            gateway.governed(where),
        )
        plain = chat(stream=True)
        yield [
            Case(DIRECT, Ask(ports.streams, CHAT, (), plain), None),
            Case(NGINX, Ask(proxy, CHAT, (), plain), nginx),
            Case(PASSED, Ask(gateway.port, CHAT, bearer(openai), plain), process),
            Case(GOVERNED, Ask(gateway.port, CHAT, bearer(governed), plain), process),
            Case(TRANSLATED, Ask(gateway.port, CHAT, bearer(claude), chat(ANTHROPIC_MODEL, stream=True)), process),
            Case(BACK, Ask(gateway.port, MESSAGES, bearer(openai), anthropic(OPENAI_MODEL, stream=True)), process),
        ]


def middle(found: list[dict[str, float]], key: str) -> float:
    """Return the median of what the rounds said."""
    return median(one[key] for one in found)


__all__ = ["BACK", "DIRECT", "GOVERNED", "NGINX", "PASSED", "TRANSLATED", "Streamed", "measure", "middle"]

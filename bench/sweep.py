"""Plain calls that arrive at a given rate, whether or not earlier ones were answered: where the knee is.

The knee is the highest offered rate of which at least 97 % was answered in time and 99 of 100 answers took at most
20 ms, counted from the moment at which each call was to be made.
"""

from contextlib import ExitStack

from bench import unary
from bench.loads import Opened, arrivals, wrk
from bench.plan import Plan, Results, say
from bench.servers import upstreams

SHARES = (0.1, 0.25, 0.5, 0.7, 0.85, 1.0, 1.15)
KEPT, LATE = 0.97, 20_000.0  # the share answered, microseconds
CONNECTIONS = 64
MOST = 30_000.0  # a second: beyond it the load, not the server, would be measured


def measure(plan: Plan) -> Results:
    """Sweep every server but the mock, up to a little over what it did in a closed loop."""
    with ExitStack() as stack:
        folder = plan.place("unary")
        servers, missing = unary.stand(stack, plan, stack.enter_context(upstreams(folder)))
        rows = []
        for server in servers[1:]:
            with unary.awake(server):
                most = min(MOST, wrk(server.small, CONNECTIONS, max(1, plan.seconds / 2), folder).rate)
                if round(most * plan.open_seconds) == 0:
                    missing.append({"name": server.name, "why": f"it answers nothing to {CONNECTIONS} connections"})
                    continue
                points = [arrivals(server.small, most * share, plan.open_seconds) for share in SHARES]
            rows.append({
                "name": server.name, "closed": most, "points": [point._asdict() for point in points],
                "knee": knee(points),
            })  # fmt: skip
            say(f"{server.name:20} knee at {knee(points):>8,.0f} of {most:>8,.0f} req/s")
        return {"rows": rows, "missing": missing}


def knee(points: list[Opened]) -> float:
    """Return the highest rate, a second, that was kept up with; 0 if none was."""
    kept = [point.offered for point in points if point.rate >= KEPT * point.offered and point.p99 <= LATE]
    return max(kept, default=0.0)

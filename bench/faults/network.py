"""A network that is late, cuts answers short, resets connections or swallows calls."""

from bench.faults.proxy import Proxy, Weather
from bench.faults.scene import Told, ask_often, audit, ends, scene, told
from bench.plan import Plan

CALLS = 64
WEATHERS = (
    (Weather(late=0.05), "50 ms late each way"),
    (Weather(cut=300), "closed after 300 bytes of answer"),
    (Weather(cut=0), "closed before a byte of answer"),
    (Weather(reset=300), "reset after 300 bytes of answer"),
    (Weather(hole=True), "swallowed; the callers give up after 1 s"),
)


def play(plan: Plan, name: str) -> Told:
    """Call through each weather in turn, and through a good one after each."""
    seen, held = [], True
    with scene(plan, "network") as stage, Proxy(stage.upstream.port) as proxy:
        _, secret = stage.token(proxy.port)
        for number, (weather, about) in enumerate(WEATHERS):
            proxy.change(weather)
            bad = ask_often(stage.gateway.port, secret, CALLS, patience=1.0 if weather.hole else 30.0)
            proxy.change(Weather())
            good = ask_often(stage.gateway.port, secret, CALLS)
            right, books = audit(stage.gateway, [stage.upstream], 2 * CALLS * (number + 1))
            held = held and right and good["200"] == CALLS
            seen.append(f"{about}: {ends(bad)}; then {ends(good)}")
        seen.append(books)
    return told(
        name, f"{CALLS} calls, half of them streams, in each weather, and {CALLS} after it has cleared up", seen, held
    )

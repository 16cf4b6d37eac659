"""A clock that is an hour ahead, then an hour behind, over the gateway's restarts."""

from pathlib import Path

from bench.faults.scene import Told, Upstream, ask_often, audit, ends, left_out, told
from bench.plan import Plan
from bench.servers import Gateway

CALLS = 32
HOURS = ("+0", "+1h", "-1h")
# Without these the library bends timed waits, too, and a process with threads spins.
FAKED = {"FAKETIME_DONT_FAKE_MONOTONIC": "1", "FAKETIME_FORCE_MONOTONIC_FIX": "0"}
PLACES = ("/usr/lib/*/faketime/libfaketime.so.1", "/usr/lib*/faketime/libfaketime.so.1")


def play(plan: Plan, name: str) -> Told:
    """Serve under each clock, on the same data, and prove the audit in the end."""
    library = next((str(found) for place in PLACES for found in Path("/").glob(place[1:])), None)
    if library is None:
        return left_out(name, "libfaketime is not installed (on Debian: apt-get install libfaketime)")
    gateway, upstream = Gateway(plan.place("clock") / "data"), Upstream()
    seen, held, secret, clean = [], True, "", dict(gateway.environment)
    try:
        for number, hours in enumerate(HOURS):
            gateway.environment = clean | FAKED | {"LD_PRELOAD": library, "FAKETIME": hours}
            with gateway.serve(core=None):
                if not number:
                    _, secret = gateway.token(f"http://127.0.0.1:{upstream.port}/v1")
                found = ask_often(gateway.port, secret, CALLS)
                right, books = audit(gateway, [upstream], CALLS * (number + 1))
                proved = gateway.admin("GET", "/audit/verify")["valid"]
            held = held and right and found["200"] == CALLS and proved
            seen.append(f"{hours}: {ends(found)}; {books}; the audit is {'proved' if proved else 'not proved'}")
    finally:
        upstream.close()
    return told(name, f"{CALLS} calls under each of the clocks {', '.join(HOURS)}, with a restart between", seen, held)

"""All faults, one after another."""

import traceback

from bench.faults import clock, crowded, disk, frozen, leaving, network
from bench.faults.scene import Fault, Told, told
from bench.plan import Plan, Results

FAULTS = (
    Fault("a bad network", network.play),
    Fault("an upstream that hangs", frozen.play),
    Fault("a full disk", disk.play),
    Fault("clocks off by an hour", clock.play),
    Fault("a crowd of slow clients", crowded.play),
    Fault("clients gone at every phase", leaving.play),
)


def measure(plan: Plan) -> Results:
    """Play them all. One that fails in itself counts as broken, and the others are played all the same."""
    found: list[Told] = []
    for fault in FAULTS:
        try:
            found.append(fault.play(plan, fault.name))
        except Exception:  # noqa: BLE001 - whatever it is, it is a finding
            found.append(told(fault.name, "", [traceback.format_exc().strip().splitlines()[-1][:300]], held=False))
    return {"rows": [one._asdict() for one in found], "held": all(one.held for one in found)}

"""An upstream whose machine hangs: it keeps its connections and says nothing (SIGSTOP), then it goes on."""

import threading
import time
from collections import Counter

from bench.faults.scene import Told, ask_often, audit, ends, scene, told
from bench.plan import Plan

CALLS, HUNG, SECONDS = 64, 16, 3.0


def play(plan: Plan, name: str) -> Told:
    """Freeze the upstream under load; a second token's upstream stays well and must be served as ever."""
    with scene(plan, "frozen") as stage, scene(plan, "frozen-beside") as beside:
        _, secret = stage.token()
        _, other = stage.token(beside.upstream.port)
        before = ask_often(stage.gateway.port, secret, CALLS)
        stage.upstream.freeze()
        late = Counter[str]()
        caller = threading.Thread(target=lambda: late.update(ask_often(stage.gateway.port, secret, HUNG)))
        caller.start()
        began = time.monotonic()
        meanwhile = ask_often(stage.gateway.port, other, CALLS)
        took = time.monotonic() - began
        time.sleep(max(0.0, SECONDS - took))
        stage.upstream.thaw()
        caller.join()
        right, books = audit(stage.gateway, [stage.upstream, beside.upstream], 2 * CALLS + HUNG)
    held = right and before["200"] == CALLS and meanwhile["200"] == CALLS and late["200"] == HUNG
    seen = [
        f"before: {ends(before)}", f"meanwhile, another upstream's: {ends(meanwhile)}, in {took:.1f} s",
        f"those that hung, once it went on: {ends(late)}", books,
    ]  # fmt: skip
    return told(name, f"upstream stopped for {SECONDS:.0f} s under {HUNG} calls", seen, held)

"""A full disk under the spool and the database: calls are refused before they cost anything, and none is lost."""

import os
import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.faults.scene import Told, am_root, ask_often, audit, ends, left_out, scene, told
from bench.plan import Plan

SIZE_MIB = 32
BATCH = 400
TRIES = 200
MOST = 12_000  # calls until a segment of the spool is surely used up


def play(plan: Plan, name: str) -> Told:
    """Fill a small file system, call until the gateway refuses, free it, and call again."""
    if not am_root():
        return left_out(name, "a small file system can be mounted by root only")
    with small_disk(plan) as disk:
        if disk is None:
            return left_out(name, "mounting is not allowed here")
        with scene(plan, "disk", disk / "data") as stage:
            _, secret = stage.token()
            ask_often(stage.gateway.port, secret, 16)
            fill(disk / "ballast")
            full = Counter[str]()
            while not full["503"] and full.total() < MOST:
                full += ask_often(stage.gateway.port, secret, BATCH)
            refused, unasked = Counter[str](), False
            for _ in range(TRIES):
                reached = len(stage.upstream.spans())
                refused = ask_often(stage.gateway.port, secret, 16)
                unasked = len(stage.upstream.spans()) == reached
                if refused["503"] == 16:
                    break  # until then, room that was set aside for calls which have ended lets a few more through
            (disk / "ballast").unlink()
            tries, again = 0, Counter[str]()
            while again["200"] < 16 and tries < TRIES:  # the database is asked again once a second
                again, tries = ask_often(stage.gateway.port, secret, 16), tries + 1
            right, books = audit(stage.gateway, [stage.upstream])
    held = right and unasked and refused["503"] == 16 and again["200"] == 16
    seen = [
        f"full: {ends(full)}", f"then: {ends(refused)}, the upstream {'unasked' if unasked else 'asked all the same'}",
        f"freed: {ends(again)}", books,
    ]  # fmt: skip
    return told(name, f"a file system of {SIZE_MIB} MiB filled to the last byte under load, then freed", seen, held)


@contextmanager
def small_disk(plan: Plan) -> Iterator[Path | None]:
    """Mount a small file system in memory; None where that is not allowed."""
    place = plan.place("small-disk")
    command = ["mount", "-t", "tmpfs", "-o", f"size={SIZE_MIB}m", "tmpfs", str(place)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        yield None
        return
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=False)


def fill(file: Path) -> None:
    """Write until nothing more fits."""
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT)
    try:
        for size in (1 << 20, 1 << 12, 1):
            try:
                while True:
                    os.write(descriptor, b"\1" * size)
            except OSError:
                continue
    finally:
        os.close(descriptor)

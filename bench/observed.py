"""Runs the ``ailink`` command in a process that tells how many tasks it has: on SIGUSR1 it writes the number to the
file that ``AILINK_BENCH_TASKS`` names. Else it is that command.
"""

import asyncio
import os
import signal
from pathlib import Path
from types import FrameType

from ailink_gateway.cli import main


def tell(number: int, frame: FrameType | None) -> None:
    """Write how many tasks there are. The handler runs in the loop's own thread."""
    place = os.environ.get("AILINK_BENCH_TASKS")
    if place is not None:
        part = Path(f"{place}.part")
        part.write_text(str(len(asyncio.all_tasks(asyncio.get_running_loop()))))
        part.rename(place)


if __name__ == "__main__":
    signal.signal(signal.SIGUSR1, tell)
    main()

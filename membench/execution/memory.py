"""How much memory a worker may hold: its share of what this machine, or its container, has.

The reaper of each worker (`reaper.py`) looks twice a second. A worker that holds more than its
share while memory runs short is killed with the reason, before the kernel kills one that did no
wrong, or the whole container. `MEMBENCH_WORKER_MEMORY` sets another limit, which always holds.
"""

from __future__ import annotations

import os

from membench.execution import reaper

_SHARED = 0.9  #: of all memory; the rest is the driver's and the system's


def memory_share(workers: int) -> dict[str, str]:
    """Return the variable that tells a worker's reaper its share; {} where it is unknown.

    Args:
        workers: how many train at a time.
    """
    total = total_memory()
    return {reaper.MEMORY_SHARE: f"{_SHARED * total / 1e9 / workers:.2f}"} if total else {}


def total_memory() -> int:
    """Return the bytes of memory of the machine, or of the container; 0 if neither is known."""
    return min((total for total, _ in reaper.memory_in_use()), default=0)


def describe_excess(held: int, limit: int) -> str:
    """Describe the end of a worker that held too much, and the ways out; both in bytes."""
    setting = os.environ.get(reaper.MEMORY_LIMIT)
    rule = f"the {limit / 1e9:.1f} GB of {reaper.MEMORY_LIMIT}"
    if not setting:
        rule = (
            f"its share of {limit / 1e9:.1f} GB while memory ran short: fewer workers (-n) have "
            f"more each, {reaper.MEMORY_LIMIT}=GB sets a limit"
        )
    return f"it held {held / 1e9:.1f} GB of memory, more than {rule}"

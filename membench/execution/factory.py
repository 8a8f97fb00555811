"""The seam between the pool and the places where packs are trained.

A `WorkerFactory` starts the workers of one run: processes of this machine (`execution/local.py`),
or actors of a Ray cluster (`execution/ray_workers.py`). Retries, limits, signals, the display and
what is counted stay in the pool, which knows a worker by `WorkerProcess` alone: packs go in as
lines of JSON, the messages of `membench.execution.protocol` come out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from typing import Protocol

from membench.execution.process import Watched


class WorkerProcess(Watched, Protocol):
    """One worker, as the pool sees it. Nothing here blocks for long."""

    output: str  #: the end of what it printed since it was given its pack

    @property
    def alive(self) -> bool:
        """True until its end has been seen by `receive` or `kill`."""

    @property
    def timed_out(self) -> bool:
        """True if `kill_if_overdue` killed it."""

    @property
    def host_lost(self) -> bool:
        """True if it ended because its machine is gone, which its pack is not to blame for."""

    @property
    def exit_reason(self) -> str:
        """Its end in words, once it is not alive."""

    def set_time_limit(self, seconds: float) -> None:
        """Make it overdue so many seconds from now; infinity for never."""

    def send(self, data: bytes) -> None:
        """Give it a pack: one line of JSON. What does not fit at once is for `flush`."""

    def flush(self) -> None:
        """Hand over more of what was sent."""

    def receive(self) -> list[dict[str, Any]]:
        """Return its new messages. The records of a pack that is `stored` are in the run's store.

        Raises:
            MembenchError: they cannot be stored.
        """

    def kill_if_overdue(self) -> None:
        """Kill it if its time limit is exceeded. Its last messages can still be received."""

    def kill(self) -> None:
        """Kill it, and whatever it has started. Its last messages can still be received."""

    def close_stdin(self) -> None:
        """Tell it that no pack will follow; it then ends."""

    def close(self) -> None:
        """Kill it if it lives, and release what it holds."""


class WorkerFactory(Protocol):
    """Starts the workers of a run."""

    @property
    def idle_seconds(self) -> float:
        """After how many seconds a worker without a pack is let go."""

    def loading(self) -> Sequence[Watched]:
        """Return what to wait for before the first worker is started."""

    def start(self, slot: int, time_limit: float) -> WorkerProcess:
        """Start a worker.

        Args:
            slot: its place in the pool, from 0. One that replaces another has its slot.
            time_limit: seconds that it may take to be ready, from when it has a place to run.
        """

    def close(self) -> None:
        """Release what the workers share, once the last of them is closed."""

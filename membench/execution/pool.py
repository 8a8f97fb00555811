"""Trains packs in local worker processes: whatever a pack does to its worker costs that pack, and the run goes on.

The command line calls `run_packs`; records reach the store through the workers, here pass only messages about them.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from membench.errors import ExitCode
from membench.errors import MembenchError
from membench.execution.process import Worker
from membench.execution.process import wait_readable
from membench.execution.protocol import Event
from membench.execution.queue import Queue
from membench.execution.signals import Interrupts
from membench.execution.signals import deferred_signals
from membench.execution.summary import Failure
from membench.execution.summary import RunRecorder
from membench.execution.summary import Summary
from membench.planning.packs import Pack
from membench.store.store import Store
from membench.text import short

MAX_START_FAILURES = 3  #: workers in a row that did not get ready: the next one would not either
SHUTDOWN_GRACE = 2.0  #: seconds for idle workers to end by themselves


@dataclass(frozen=True)
class Limits:
    """When a pack, a worker or the run is given up."""

    pack: float  #: seconds that a pack may take, compilation included
    deaths: int = 1  #: how often a pack is given to a further worker after one died of it
    failures: int | None = None  #: failed packs that end the run
    start: float = 180.0  #: seconds for a worker to import torch and the plugins, on a busy machine


def run_packs(
    packs: Sequence[Pack],
    *,
    store: Store,
    command: Sequence[str],
    workers: int,
    time_limit: float,
    on_event: Callable[[Event], None] = lambda event: None,
    retries_on_death: int = 1,
    max_failures: int | None = None,
    reused: int = 0,
) -> Summary:
    """Train all packs.

    Args:
        command: starts a worker; from `membench.execution.worker.worker_command`.
        workers: how many at a time, each with one thread.
        time_limit: seconds that a pack may take, compilation included.
        on_event: told of everything, in this thread.
        retries_on_death: how often a pack is given to a further worker after one died of it.
        max_failures: end the run when so many packs have failed; 1 is `-x`.
        reused: cells that are in the store already, for the summary.

    Raises:
        MembenchError: records cannot be stored, or workers cannot start.
        KeyboardInterrupt: a second signal came before the first had ended the run.
    """
    tally = RunRecorder(store, on_event)
    pool = _Pool(packs, command, workers, Limits(time_limit, retries_on_death, max_failures), tally)
    try:
        with deferred_signals() as signals:
            pool.run(signals)
            return tally.summary(reused, signals.seen)
    finally:
        pool.close()
        tally.close()


class _Pool:
    def __init__(
        self,
        packs: Sequence[Pack],
        command: Sequence[str],
        size: int,
        limits: Limits,
        tally: RunRecorder,
    ) -> None:
        self._queue = Queue(packs)
        self._command, self._size, self._limits, self._tally = command, size, limits, tally
        self._workers: dict[int, Worker] = {}  #: by place, 0 to size - 1
        self._deaths: Counter[Pack] = Counter()
        self._bad_starts = 0

    def run(self, signals: Interrupts) -> None:
        """Until nothing is left to do, or a signal or too many failures end it."""
        while self._unfinished() and not signals.seen and not self._enough():
            self._hire()
            self._hand_out()
            self._wait(signals)
            for place, worker in list(self._workers.items()):
                self._attend(place, worker)
        self._say_farewell()

    def close(self) -> None:
        """Leave no process and no open pipe."""
        while self._workers:
            self._workers.popitem()[1].close()

    def _unfinished(self) -> bool:
        return len(self._queue) > 0 or any(worker.pack for worker in self._workers.values())

    def _enough(self) -> bool:
        return (
            self._limits.failures is not None and len(self._tally.failures) >= self._limits.failures
        )

    def _hire(self) -> None:
        """Start workers for the packs that no idle one will take."""
        idle = sum(1 for worker in self._workers.values() if not worker.pack)
        free = [place for place in range(self._size) if place not in self._workers]
        for place in free[: max(0, len(self._queue) - idle)]:
            self._workers[place] = Worker(self._command, self._limits.start)

    def _hand_out(self) -> None:
        for worker in self._workers.values():
            busy = [other.pack.program for other in self._workers.values() if other.pack]
            if worker.idle and (pack := self._queue.take(worker.compiled, busy)):
                worker.hand(pack, self._limits.pack)

    def _wait(self, signals: Interrupts) -> None:
        """Until a worker says something or is late, or a signal comes."""
        workers = self._workers.values()
        descriptors = [fd for worker in workers for fd in worker.descriptors()]
        until = min((worker.deadline for worker in workers), default=0.0)
        seconds = 0.05 if any(worker.sending for worker in workers) else until - time.monotonic()
        wait_readable(descriptors if signals.fd is None else [*descriptors, signals.fd], seconds)
        signals.drain()

    def _attend(self, place: int, worker: Worker) -> None:
        """Take in what a worker said, and act on its end or on its being late."""
        worker.flush()
        late, limit = time.monotonic() > worker.deadline, worker.limit
        if late:
            worker.kill()  # before it is heard for the last time: it may have ended its pack a moment ago
        self._hear(place, worker)
        if worker.alive:
            return
        ending = f"no result within {limit:g} s" if late else f"worker died: {worker.ending}"
        if worker.pack and not late and self._deaths[worker.pack] < self._limits.deaths:
            self._try_again(place, worker.pack, ending)
        elif worker.pack:
            self._fail(place, worker, "timeout" if late else "failed", ending)
        elif not worker.ready:
            self._count_bad_start(worker, ending)
        self._workers.pop(place).close()

    def _try_again(self, place: int, pack: Pack, reason: str) -> None:
        self._deaths[pack] += 1
        self._queue.put_back(pack)
        self._tally.tell(Event("retry", place, pack, reason=reason))

    def _fail(self, place: int, worker: Worker, status: str, reason: str) -> None:
        pack, worker.pack = worker.pack, None
        self._tally.failed(
            place, pack, Failure(pack.id, status, reason, worker.output), worker.versions
        )

    def _count_bad_start(self, worker: Worker, ending: str) -> None:
        self._bad_starts += 1
        if self._bad_starts == MAX_START_FAILURES:
            last = worker.output.strip().rpartition("\n")[2]
            raise MembenchError(f"workers cannot start: {ending}: {short(last)}", ExitCode.INTERNAL)

    def _hear(self, place: int, worker: Worker) -> None:
        for message in worker.hear():
            if message["kind"] == "broken":
                raise MembenchError(short(message["reason"]), ExitCode(message["code"]))
            if message["kind"] == "ready":
                self._bad_starts = 0
            elif worker.pack:
                self._take_in(place, worker, message)

    def _take_in(self, place: int, worker: Worker, message: dict[str, Any]) -> None:
        """A message about the pack at hand."""
        kind, reason = message["kind"], short(message.get("reason", ""))
        if kind == "stored":
            pack, worker.pack = worker.pack, None
            self._tally.stored(place, pack, Counter(message["counts"]), reason, worker.output)
        elif kind == "raised":
            self._fail(place, worker, "failed", reason)
            worker.kill()  # what an exception leaves behind, on a GPU above all, must not cost other packs
        else:
            self._tally.tell(Event(kind, place, worker.pack, done=float(message.get("done", 0.0))))

    def _say_farewell(self) -> None:
        """Packs at hand are given up; idle workers may end by themselves, which frees their shards' names if empty."""
        for worker in self._workers.values():
            if worker.idle:
                worker.retire()
            else:
                worker.kill()
        end = time.monotonic() + SHUTDOWN_GRACE
        while True:
            for place, worker in self._workers.items():
                self._hear(place, worker)
            alive = [worker for worker in self._workers.values() if worker.alive]
            if not alive or time.monotonic() > end:
                return
            wait_readable(
                [fd for worker in alive for fd in worker.descriptors()], end - time.monotonic()
            )

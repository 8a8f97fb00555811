"""Train packs in workers: a pack that breaks its worker costs itself, and no other.

The command line calls `run_packs`. Where workers live, and how their records come into the store,
is the factory's affair; only messages about packs pass through here.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable
from collections.abc import Collection
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from membench.errors import ExitCode
from membench.errors import MembenchError
from membench.execution.factory import WorkerFactory
from membench.execution.factory import WorkerProcess
from membench.execution.process import wait_for_news
from membench.execution.protocol import Event
from membench.execution.queue import Queue
from membench.execution.signals import Interrupts
from membench.execution.signals import deferred_signals
from membench.execution.summary import Failure
from membench.execution.summary import RunRecorder
from membench.execution.summary import Summary
from membench.planning.packs import Pack
from membench.planning.packs import ProgramId
from membench.records import digest
from membench.store.store import Store
from membench.text import short

MAX_START_FAILURES = 3  #: workers in a row that did not get ready: the next one would not either
MAX_START_LOSSES = 100  #: the same for those that lost their machine; many may be on one
SHUTDOWN_GRACE = 2.0  #: seconds for idle workers to exit
ENDING_GRACE = 10.0  #: seconds for packs that are about to end when a signal comes


@dataclass(frozen=True, kw_only=True)
class Limits:
    """The limits after which a pack, a worker or the run is given up."""

    pack_seconds: float  #: without progress of a pack, compilation included
    start_seconds: float = 180.0  #: for a worker to import torch and the plugins, on a busy machine
    retries: int = 1  #: how often a pack is given to a further worker after one died of it
    losses: int = 3  #: how often after the machine of one was lost, which is not the pack's fault
    failures: int | None = None  #: failed packs that end the run


def run_packs(
    packs: Sequence[Pack],
    *,
    store: Store,
    factory: WorkerFactory,
    workers: int,
    time_limit: float,
    environment: Mapping[str, Any] | None = None,
    on_event: Callable[[Event], None] = lambda event: None,
    on_notice: Callable[[str], None] = lambda text: None,
    retries_on_death: int = 1,
    max_failures: int | None = None,
    reused: int = 0,
    follow_up: Callable[[Pack], Sequence[Pack]] = lambda pack: (),
    elsewhere: Callable[[Mapping[str, Any], Any], Elsewhere] = lambda *new: Elsewhere(),
    begun: Collection[str] = (),
) -> Summary:
    """Train all packs, and those that follow from them.

    Args:
        packs: what to train.
        store: where failures are recorded, and where the workers' records come.
        factory: starts the workers.
        workers: how many at a time.
        time_limit: seconds that a pack may take to its first progress, compilation included, and
            from one progress to the next.
        environment: that the packs were planned for, the home of the run. A worker that reports
            another one is given packs of that one, or is let go, and its slot stays empty: no row
            mixes two. None = whatever they report.
        elsewhere: called once with each other environment that a worker reports, and with what it
            says of its machine; gives what may be trained there.
        begun: entries that have records of the run's environment: they stay in it.
        on_event: called with every event, in this thread.
        on_notice: called with what the user should know beside the packs, one line.
        retries_on_death: how often a pack is given to a further worker after one died of it.
        max_failures: end the run when so many packs have failed; 1 is `-x`.
        reused: cells that are in the store already, for the summary.
        follow_up: called with each pack that has ended, when its records are stored; gives packs
            to train too.

    Returns:
        What became of the cells, and whether a signal ended the run.

    Raises:
        MembenchError: records cannot be stored, workers cannot start, or none has the environment.
        KeyboardInterrupt: a second signal came before the first had ended the run.
    """
    recorder = RunRecorder(store, on_event)
    limits = Limits(pack_seconds=time_limit, retries=retries_on_death, failures=max_failures)
    crew = _Crew(
        factory=factory,
        size=workers,
        environment=environment,
        elsewhere=elsewhere,
        on_notice=on_notice,
    )
    queue = Queue(packs, home="" if environment is None else digest(environment))
    for entry in begun:
        queue.bind(entry, queue.home)
    pool = _Pool(queue, crew, limits, recorder, follow_up)
    try:
        with deferred_signals() as signals:
            pool.run(signals)
            return recorder.summary(reused, signals.seen)
    finally:
        pool.close()
        factory.close()
        recorder.close()


@dataclass(frozen=True)
class Elsewhere:
    """What may be trained in an environment that is not the home of the run."""

    packs: Sequence[Pack] = ()  #: those of entries that are at work in another one are left out
    begun: Collection[str] = ()  #: entries that have records of it, and are to stay in it


@dataclass(frozen=True, kw_only=True)
class _Crew:
    """Who works in a run: as `run_packs` was told."""

    factory: WorkerFactory
    size: int
    environment: Mapping[str, Any] | None
    elsewhere: Callable[[Mapping[str, Any], Any], Elsewhere]
    on_notice: Callable[[str], None]


class _Worker:
    """A worker, and what the pool knows of it."""

    def __init__(self, process: WorkerProcess, idle_seconds: float) -> None:
        self.process = process
        self._idle_seconds = idle_seconds  #: after which it is let go
        self.ready = False
        self.retired = False  #: it has said that it ends, and wants no other pack
        self.compiled: set[ProgramId] = set()  #: programs of the packs that it was given
        #: files of plugins that do not ship that it may have imported; None before its first pack.
        #: What they do to it, to torch above all, must not reach other plugins' packs.
        self.foreign_files: frozenset[str] | None = None
        self.versions: dict[str, Any] = {}  #: its environment, once it has reported it
        self.environment = ""  #: hash of that in which it is ready
        self._pack_seconds = float("inf")  #: its pack's limit, which progress starts anew
        self.done = 0.0  #: share of its pack that it has reported
        self._begun: tuple[float, float] | None = None  #: its first report: when, and what share
        self._heard = 0.0  #: when it has last reported

    def submit(self, pack: Pack, seconds: float) -> None:
        """Give it a pack, and so many seconds for it, which each progress starts anew."""
        self.process.output = ""
        self._pack_seconds, self.done, self._begun = seconds, 0.0, None
        self.process.set_time_limit(seconds)
        self.compiled.add(pack.program)
        self.foreign_files = pack.foreign_files
        self.process.send(json.dumps(pack.to_json()).encode() + b"\n")

    def receive(self) -> list[dict[str, Any]]:
        """Return its new messages."""
        messages = self.process.receive()
        for message in messages:
            self.versions = message.get("versions", self.versions)
            self.retired = self.retired or bool(message.get("last", False))
            if message["kind"] in ("ready", "stored"):
                self.ready = True
                self.process.set_time_limit(self._idle_seconds)
            elif message["kind"] == "progress":
                self._note_progress(float(message.get("done", 0.0)))
        return messages

    def _note_progress(self, done: float) -> None:
        self._heard = time.monotonic()
        if self._begun is None:
            self._begun = self._heard, done
        if done > self.done:
            self.done = done
            self.process.set_time_limit(self._pack_seconds)

    def seconds_left(self) -> float:
        """Return how long its pack takes still, at the rate so far; infinity before there is one.

        The end of a pack, which is evaluated and stored, counts for little.
        """
        if self._begun is None:
            return float("inf")
        when, done = self._begun
        if self.done == done:
            return float("inf")
        rate = (self._heard - when) / (self.done - done)
        return rate * (1 - self.done) - (time.monotonic() - self._heard)


class _Pool:
    """The workers of one run, and the packs that they have and have not been given."""

    def __init__(
        self,
        queue: Queue,
        crew: _Crew,
        limits: Limits,
        recorder: RunRecorder,
        follow_up: Callable[[Pack], Sequence[Pack]],
    ) -> None:
        self._queue = queue
        self._environments = {queue.home}  #: hashes of those that are known
        self._follow_up = follow_up
        self._crew = crew
        self._limits = limits
        self._recorder = recorder
        self._workers: dict[int, _Worker] = {}  #: by slot, 0 to size - 1
        self._running: dict[int, Pack] = {}  #: slot -> the pack that its worker trains
        self._crashes: Counter[Pack] = Counter()  #: how many workers died of a pack
        self._losses: Counter[Pack] = Counter()  #: how many workers of a pack lost their machine
        self._closed_slots: set[int] = set()  #: whose workers have another environment
        self._told: set[str] = set()  #: what was said of such environments
        #: workers in a row that did not get ready, by whether they lost their machine
        self._start_failures: Counter[bool] = Counter()

    def run(self, signals: Interrupts) -> None:
        """Train until every pack has ended, or a signal or too many failures end the run."""
        while self._unfinished() and not signals.seen and not self._too_many_failures():
            self._start_workers()
            self._dispatch()
            self._check_that_it_goes_on()
            self._wait(signals)
            self._poll_all()
        if signals.seen:
            self._let_packs_end(signals)
        self._shutdown()

    def _poll_all(self) -> None:
        for slot, worker in list(self._workers.items()):
            self._poll(slot, worker)

    def _let_packs_end(self, signals: Interrupts) -> None:
        """Wait for the packs that are about to end; the others are lost, and noted as such."""
        waited_for = set()
        for slot, pack in self._running.items():
            seconds = self._workers[slot].seconds_left()
            if seconds > ENDING_GRACE:
                self._note_lost(slot)
            else:
                waited_for.add(slot)
                reason = f"about to end, in {max(1.0, seconds):.0f} s; Ctrl-C again does not wait"
                self._recorder.emit(Event(kind="ending", worker=slot, pack=pack, reason=reason))
        end = time.monotonic() + ENDING_GRACE
        while waited_for & self._running.keys() and time.monotonic() < end:
            self._wait(signals, timeout=end - time.monotonic())
            self._poll_all()
        for slot in waited_for & self._running.keys():
            self._note_lost(slot)

    def _note_lost(self, slot: int) -> None:
        self._recorder.lost.append((len(self._running[slot].cells), self._workers[slot].done))

    def close(self) -> None:
        """Leave no process and no open pipe."""
        while self._workers:
            _, worker = self._workers.popitem()
            worker.process.close()

    def _unfinished(self) -> bool:
        return len(self._queue) > 0 or len(self._running) > 0

    def _too_many_failures(self) -> bool:
        most = self._limits.failures
        return most is not None and len(self._recorder.failures) >= most

    def _start_workers(self) -> None:
        """Start workers for the packs that no idle one will take, once it is known how."""
        factory = self._crew.factory
        if factory.loading():
            return
        idle = 0  # those that no pack may be left for do not count
        for slot, worker in self._workers.items():
            useful = not worker.ready or self._queue.waits_for(worker.environment)
            idle += slot not in self._running and useful
        needed = max(0, len(self._queue) - idle)
        taken = self._workers.keys() | self._closed_slots
        free_slots = [slot for slot in range(self._crew.size) if slot not in taken]
        for slot in free_slots[:needed]:
            process = factory.start(slot, self._limits.start_seconds)
            self._workers[slot] = _Worker(process, factory.idle_seconds)

    def _is_idle(self, slot: int, worker: _Worker) -> bool:
        if worker.retired or slot in self._running:
            return False
        return worker.ready and worker.process.alive

    def _dispatch(self) -> None:
        """Give every idle worker a pack; let one end that no pack is left for, but for others."""
        for slot, worker in self._workers.items():
            if not self._is_idle(slot, worker):
                continue
            busy = [pack.program for pack in self._running.values()]
            pack = self._queue.take(worker.compiled, busy, worker.foreign_files, worker.environment)
            if pack is not None:
                self._running[slot] = pack
                self._recorder.given(slot)
                worker.submit(pack, self._limits.pack_seconds)
            elif self._queue.waits_for(worker.environment):
                worker.retired = True
                worker.process.close_stdin()

    def _check_that_it_goes_on(self) -> None:
        """Check that there is, or comes, a worker for what waits.

        Raises:
            MembenchError: all workers are idle, and of other environments.
        """
        if self._running or len(self._workers) + len(self._closed_slots) < self._crew.size:
            return
        for worker in self._workers.values():
            if not worker.ready or self._queue.waits_for(worker.environment):
                return
        raise MembenchError(
            f"{len(self._queue)} packs are left for workers of an environment that none has any "
            "more: the same command goes on once there is one"
        )

    def _wait(self, signals: Interrupts, timeout: float = float("inf")) -> None:
        """Wait until there is something to do for a worker, a signal comes, or the time is over."""
        processes = [worker.process for worker in self._workers.values()]
        wait_for_news(
            [*processes, *self._crew.factory.loading()],
            wakeup_fds=[] if signals.fd is None else [signals.fd],
            timeout=timeout,
        )
        signals.drain()

    def _poll(self, slot: int, worker: _Worker) -> None:
        """Handle a worker's messages, and its end or its being overdue."""
        process = worker.process
        process.flush()
        self._read_messages(slot, worker)  # progress that has arrived renews the time limit
        # Killed before it is read for the last time: it may have ended its pack a moment ago.
        process.kill_if_overdue()
        self._read_messages(slot, worker)
        if process.alive:
            return
        pack = self._running.get(slot)
        if pack is None:
            if not worker.ready:
                self._count_start_failure(worker)
        elif process.host_lost and self._losses[pack] < self._limits.losses:
            self._losses[pack] += 1
            self._retry(slot, pack, process.exit_reason)
        elif process.timed_out:
            seconds = self._limits.pack_seconds
            self._fail(slot, pack, "timeout", f"no progress within {seconds:g} s")
        elif self._crashes[pack] < self._limits.retries:
            self._crashes[pack] += 1
            self._retry(slot, pack, f"worker died: {process.exit_reason}")
        else:
            self._fail(slot, pack, "failed", f"worker died: {process.exit_reason}")
        del self._workers[slot]
        process.close()

    def _read_messages(self, slot: int, worker: _Worker) -> None:
        for message in worker.receive():
            if message["kind"] == "broken":
                raise MembenchError(short(message["reason"]), ExitCode(message["code"]))
            if message["kind"] == "ready":
                self._start_failures.clear()
                self._check_environment(slot, worker, message)
            elif slot in self._running:
                self._handle_message(slot, self._running[slot], message)

    def _check_environment(self, slot: int, worker: _Worker, message: Mapping[str, Any]) -> None:
        """Note a worker's environment; let one end that nothing can be trained in.

        Raises:
            MembenchError: no slot is left.
        """
        expected, environment = self._crew.environment, message.get("environment") or {}
        if expected is None:
            return
        worker.environment = digest(environment)
        if worker.environment not in self._environments:
            self._environments.add(worker.environment)
            there = self._crew.elsewhere(environment, message.get("machine"))
            self._queue.add(there.packs)
            for entry in there.begun:
                self._queue.bind(entry, worker.environment)
        running = {pack.environment for pack in self._running.values()}
        if environment == expected or worker.environment in running:
            return
        if self._queue.waits_for(worker.environment):
            return
        worker.retired = True
        worker.process.close_stdin()
        self._closed_slots.add(slot)
        difference = _differences(environment, expected)
        if difference not in self._told:
            self._told.add(difference)
            self._crew.on_notice(
                f"worker {slot} is not used, nor are others like it, since no row mixes "
                f"environments: {difference}"
            )
        if len(self._closed_slots) == self._crew.size:
            raise MembenchError(f"no worker has the environment that was planned: {difference}")

    def _handle_message(self, slot: int, pack: Pack, message: dict[str, Any]) -> None:
        """Handle a message about the pack that a worker trains."""
        worker = self._workers[slot]
        kind = message["kind"]
        reason = short(message.get("reason", ""))
        if kind == "stored":
            del self._running[slot]
            counts = Counter(message["counts"])
            self._recorder.stored(slot, pack, counts, reason, worker.process.output)
            self._queue.add(self._follow_up(pack))
        elif kind == "raised":
            self._fail(slot, pack, "failed", reason)
            # What an exception leaves behind, on a GPU above all, must not cost other packs.
            worker.process.kill()
        else:
            done = float(message.get("done", 0.0))
            self._recorder.emit(Event(kind=kind, worker=slot, pack=pack, done=done))

    def _fail(self, slot: int, pack: Pack, status: str, reason: str) -> None:
        del self._running[slot]
        worker = self._workers[slot]
        failure = Failure.of(pack, status, reason, worker.process.output, len(pack.cells))
        self._recorder.failed(slot, pack, failure, worker.versions)
        self._queue.add(self._follow_up(pack))

    def _retry(self, slot: int, pack: Pack, reason: str) -> None:
        del self._running[slot]
        self._queue.put_back(pack)
        self._recorder.emit(Event(kind="retry", worker=slot, pack=pack, reason=reason))

    def _count_start_failure(self, worker: _Worker) -> None:
        process = worker.process
        self._start_failures[process.host_lost] += 1
        most = MAX_START_LOSSES if process.host_lost else MAX_START_FAILURES
        if self._start_failures[process.host_lost] == most:
            reason = process.exit_reason
            if not process.timed_out:
                reason = f"worker died: {reason}"
            last_line = process.output.strip().rpartition("\n")[2]
            raise MembenchError(
                f"workers cannot start: {reason}: {short(last_line)}", ExitCode.INTERNAL
            )

    def _shutdown(self) -> None:
        """Kill busy workers; let idle ones exit so that they remove their empty shards."""
        for slot, worker in self._workers.items():
            if self._is_idle(slot, worker):
                worker.process.close_stdin()
            else:
                worker.process.kill()
        end = time.monotonic() + SHUTDOWN_GRACE
        while True:
            for slot, worker in self._workers.items():
                self._read_messages(slot, worker)
            alive = [w.process for w in self._workers.values() if w.process.alive]
            seconds_left = end - time.monotonic()
            if not alive or seconds_left <= 0:
                return
            wait_for_news(alive, timeout=seconds_left)


def _differences(environment: Mapping[str, Any], expected: Mapping[str, Any]) -> str:
    """Say in which fields an environment differs: `device is X here, Y in this run`."""
    fields = []
    for name in sorted(environment.keys() | expected.keys()):
        here, planned = environment.get(name), expected.get(name)
        if here != planned:
            fields.append(f"{name} is {here} there, {planned} in this run")
    return short("; ".join(fields), 300)

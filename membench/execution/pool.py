"""Train packs in local worker processes: a pack that breaks its worker costs itself, and no other.

The command line calls `run_packs`. Workers write records to the store themselves; only messages
about packs pass through here.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from membench.errors import ExitCode
from membench.errors import MembenchError
from membench.execution.forkserver import ForkServer
from membench.execution.process import ChildProcess
from membench.execution.process import wait_for_news
from membench.execution.protocol import TRAINING_MESSAGES
from membench.execution.protocol import Event
from membench.execution.queue import Queue
from membench.execution.signals import Interrupts
from membench.execution.signals import deferred_signals
from membench.execution.summary import Failure
from membench.execution.summary import RunRecorder
from membench.execution.summary import Summary
from membench.execution.worker import worker_environ
from membench.planning.packs import Pack
from membench.planning.packs import ProgramId
from membench.store.store import Store
from membench.text import short

MAX_START_FAILURES = 3  #: workers in a row that did not get ready: the next one would not either
SHUTDOWN_GRACE = 2.0  #: seconds for idle workers to exit
ENDING_GRACE = 10.0  #: seconds for packs that are about to end when a signal comes


@dataclass(frozen=True, kw_only=True)
class Limits:
    """The limits after which a pack, a worker or the run is given up."""

    pack_seconds: float  #: without progress of a pack, compilation included
    start_seconds: float = 180.0  #: for a worker to import torch and the plugins, on a busy machine
    retries: int = 1  #: how often a pack is given to a further worker after one died of it
    failures: int | None = None  #: failed packs that end the run


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
    on_cpu: bool = True,
    server: ForkServer | None = None,
    follow_up: Callable[[Pack], Sequence[Pack]] = lambda pack: (),
) -> Summary:
    """Train all packs, and those that follow from them.

    Args:
        packs: what to train.
        store: where failures are recorded, and where the workers store their records.
        command: starts a worker; from `membench.execution.worker.worker_command`.
        workers: how many at a time, each with one thread.
        time_limit: seconds that a pack may take to its first progress, compilation included, and
            from one progress to the next.
        on_event: called with every event, in this thread.
        retries_on_death: how often a pack is given to a further worker after one died of it.
        max_failures: end the run when so many packs have failed; 1 is `-x`.
        reused: cells that are in the store already, for the summary.
        on_cpu: whether the workers train on a CPU, where each has one thread to compile with.
        server: forks the workers, once it is ready; None, or one that cannot: they are spawned.
        follow_up: called with each pack that has ended, when its records are stored; gives packs
            to train too.

    Returns:
        What became of the cells, and whether a signal ended the run.

    Raises:
        MembenchError: records cannot be stored, or workers cannot start.
        KeyboardInterrupt: a second signal came before the first had ended the run.
    """
    recorder = RunRecorder(store, on_event)
    limits = Limits(pack_seconds=time_limit, retries=retries_on_death, failures=max_failures)
    environ = worker_environ(on_cpu)
    starter = _Starter(command, environ, server)
    pool = _Pool(packs, starter, workers, limits, recorder, follow_up)
    try:
        with deferred_signals() as signals:
            pool.run(signals)
            return recorder.summary(reused, signals.seen)
    finally:
        pool.close()
        recorder.close()


@dataclass(frozen=True)
class _Starter:
    """Starts worker processes: a server forks them, or a command spawns them."""

    command: Sequence[str]
    environ: Mapping[str, str]
    server: ForkServer | None

    def loading(self) -> list[ChildProcess]:
        """Return the server while it is worth waiting for."""
        if self.server is None or self.server.process is None or not self.server.is_loading():
            return []
        return [self.server.process]

    def start(self, time_limit: float) -> ChildProcess:
        """Start a worker, and give it so many seconds to be ready."""
        process = None
        if self.server is not None and self.server.is_ready:
            process = self.server.fork(
                self.command, message_kinds=TRAINING_MESSAGES, time_limit=time_limit
            )
        return process or ChildProcess.spawn(
            lambda message_fd: [*self.command, "--fd", str(message_fd)],
            environ=self.environ,
            message_kinds=TRAINING_MESSAGES,
            time_limit=time_limit,
        )


class _Worker:
    """A training process, as the pool sees it."""

    def __init__(self, process: ChildProcess) -> None:
        self.process = process
        self.ready = False
        self.retired = False  #: it has said that it ends, and wants no other pack
        self.compiled: set[ProgramId] = set()  #: programs of the packs that it was given
        #: files of plugins that do not ship that it may have imported; None before its first pack.
        #: What they do to it, to torch above all, must not reach other plugins' packs.
        self.foreign_files: frozenset[str] | None = None
        self.versions: dict[str, Any] = {}  #: its environment, once it has reported it
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
                self.process.set_time_limit(float("inf"))
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
        packs: Sequence[Pack],
        starter: _Starter,
        size: int,
        limits: Limits,
        recorder: RunRecorder,
        follow_up: Callable[[Pack], Sequence[Pack]],
    ) -> None:
        self._queue = Queue(packs)
        self._follow_up = follow_up
        self._starter = starter
        self._size = size
        self._limits = limits
        self._recorder = recorder
        self._workers: dict[int, _Worker] = {}  #: by slot, 0 to size - 1
        self._running: dict[int, Pack] = {}  #: slot -> the pack that its worker trains
        self._crashes: Counter[Pack] = Counter()  #: how many workers died of a pack
        self._start_failures = 0  #: in a row

    def run(self, signals: Interrupts) -> None:
        """Train until every pack has ended, or a signal or too many failures end the run."""
        while self._unfinished() and not signals.seen and not self._too_many_failures():
            self._start_workers()
            self._dispatch()
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
        if self._starter.loading():
            return
        idle = len(self._workers) - len(self._running)
        needed = max(0, len(self._queue) - idle)
        free_slots = [slot for slot in range(self._size) if slot not in self._workers]
        for slot in free_slots[:needed]:
            self._workers[slot] = _Worker(self._starter.start(self._limits.start_seconds))

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
            pack = self._queue.take(worker.compiled, busy, worker.foreign_files)
            if pack is not None:
                self._running[slot] = pack
                self._recorder.given(slot)
                worker.submit(pack, self._limits.pack_seconds)
            elif self._queue:
                worker.retired = True
                worker.process.close_stdin()

    def _wait(self, signals: Interrupts, timeout: float = float("inf")) -> None:
        """Wait until there is something to do for a worker, a signal comes, or the time is over."""
        processes = [worker.process for worker in self._workers.values()]
        wait_for_news(
            processes + self._starter.loading(),
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
        elif process.timed_out:
            seconds = self._limits.pack_seconds
            self._fail(slot, pack, "timeout", f"no progress within {seconds:g} s")
        elif self._crashes[pack] < self._limits.retries:
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
                self._start_failures = 0
            elif slot in self._running:
                self._handle_message(slot, self._running[slot], message)

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
        self._crashes[pack] += 1
        self._queue.put_back(pack)
        self._recorder.emit(Event(kind="retry", worker=slot, pack=pack, reason=reason))

    def _count_start_failure(self, worker: _Worker) -> None:
        self._start_failures += 1
        if self._start_failures == MAX_START_FAILURES:
            process = worker.process
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

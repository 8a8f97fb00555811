"""The processes of one peer.

They are started cold, train all cells once, then take turns of some jobs each.
"""

from __future__ import annotations

import importlib
import importlib.util
import multiprocessing
import os
import tempfile
import time
import traceback
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from dataclasses import field
from itertools import cycle
from itertools import islice
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any
from typing import Protocol
from unittest.mock import patch

from speed_work import WIDTH
from speed_work import Work

from membench.execution.worker import KEEP_FREED_MEMORY
from membench.execution.worker import ONE_THREAD
from membench.records import Cell

Accuracies = dict[str, tuple[float, float]]  #: cell id -> (training accuracy, test accuracy)


class Peer(Protocol):
    """A way to train; a peer's module makes one in each process, from (work, precision, lanes)."""

    def warm_up(self, cells: Sequence[Cell]) -> None:
        """Compile and allocate what the first training of that many cells would wait for."""

    def train(self, cells: Sequence[Cell]) -> Any:
        """Train for the whole budget, from the initial weights; this is what is timed."""

    def read(self, trained: Any) -> list[tuple[float, float]]:
        """Return (training accuracy, test accuracy) of each trained cell."""


@dataclass(frozen=True)
class Kind:
    """How a peer is run."""

    name: str
    factory: str  #: module:function
    needs: str = ""  #: a package that may be missing
    #: a process a core, each on its core; else one process with the whole machine
    parallel: bool = True
    whole: bool = True  #: trains all cells from cold; else those whose accuracies are shown
    lanes: tuple[int, ...] = (1,)  #: cells trained at once; of several the fastest is kept
    environ: dict[str, str] = field(default_factory=dict)
    caches: bool = False  #: keeps what it has compiled: its start is measured a second time

    @property
    def installed(self) -> bool:
        """Whether it can be run here."""
        return not self.needs or importlib.util.find_spec(self.needs) is not None


PATIENCE = 10  #: seconds for a process to end by itself
#: the environment of membench's workers, for all peers that run as a process a core
WORKER = {**KEEP_FREED_MEMORY, **ONE_THREAD}
XLA = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
PEERS = (
    Kind("dataloader", "peer_torch:dataloader", parallel=False, whole=False),
    Kind("lightning", "peer_lightning:peer", needs="lightning", parallel=False, whole=False),
    Kind("pool", "peer_torch:pool", environ=WORKER),
    Kind(
        "jax",
        "peer_jax:peer",
        needs="jax",
        lanes=(1, 5, WIDTH),
        environ={**WORKER, "XLA_FLAGS": XLA, "JAX_PLATFORMS": "cpu"},
    ),
)
MEMBENCH = Kind(
    "membench",
    "peer_membench:peer",
    lanes=(WIDTH,),
    environ={**WORKER, "TORCHINDUCTOR_VEC_ISA_OK": "1"},
    caches=True,
)
CEILING = Kind("ceiling", "peer_ceiling:peer", whole=False, environ=WORKER)


class PeerError(Exception):
    """A peer's process raised; the message is its traceback."""


def cores() -> list[int]:
    """List the cores to use: one, or an even number, so that all get as many packs."""
    usable = sorted(os.sched_getaffinity(0))
    return usable[: max(1, len(usable) // 2 * 2)]


def serve(
    pipe: Connection, kind: Kind, work: Work, precision: str, lanes: int, core: int | None
) -> None:
    """Run a peer's process.

    It answers the command "all" with the seconds of a job and what the cells learned, and a number
    with the cell-steps of that many jobs.

    Args:
        pipe: to the driver; None ends the process.
        kind: of peer.
        work: to train.
        precision: of fp32 matrix products.
        lanes: cells of a job.
        core: to run on; None: any.
    """
    try:
        if core is not None:
            os.sched_setaffinity(0, {core})
        module, _, function = kind.factory.partition(":")
        peer: Peer = getattr(importlib.import_module(module), function)(work, precision, lanes)
        jobs = [work.cells[i : i + lanes] for i in range(0, len(work.cells), lanes)]
        peer.warm_up(jobs[0])
        pipe.send(None)
        upcoming = cycle(jobs)
        while (command := pipe.recv()) is not None:
            if command == "all":
                pipe.send(_train_all(peer, jobs))
            else:
                pipe.send(_train_turn(peer, list(islice(upcoming, command)), work))
    except Exception:
        pipe.send(PeerError(traceback.format_exc()))


def _train_all(peer: Peer, jobs: list[tuple[Cell, ...]]) -> tuple[float, Accuracies]:
    """Return the seconds of a job, and what the cells learned."""
    seconds, learned = 0.0, {}
    for job in jobs:
        started = time.perf_counter()
        trained = peer.train(job)
        seconds += time.perf_counter() - started
        for cell, accuracies in zip(job, peer.read(trained), strict=False):
            learned[cell.id] = accuracies
    return seconds / len(jobs), learned


def _train_turn(peer: Peer, jobs: list[tuple[Cell, ...]], work: Work) -> int:
    for job in jobs:
        peer.train(job)
    return work.size.steps * sum(map(len, jobs))


class Team:
    """A peer's running processes; the cells are shared out among them."""

    def __init__(
        self, kind: Kind, work: Work, precision: str, lanes: int, folder: str = ""
    ) -> None:
        """Start the processes.

        Args:
            kind: of peer.
            work: to train.
            precision: of fp32 matrix products.
            lanes: cells of a job.
            folder: of an earlier team, with what that has compiled; "" = a new one.
        """
        self.kind, self.lanes = kind, lanes
        self.memory = 0  #: bytes, the largest sum over its processes that was seen
        self._own_folder: tempfile.TemporaryDirectory | None = None
        if not folder:
            self._own_folder = tempfile.TemporaryDirectory(
                prefix="membench-speed-", ignore_cleanup_errors=True
            )
        self.folder = folder or self._own_folder.name
        self._processes: list[Any] = []
        self._pipes: list[Connection] = []
        started = time.perf_counter()
        places = cores() if kind.parallel else [None]
        for i, core in enumerate(places):
            self._start(kind, work.share(i, len(places)), precision, lanes, core)
        self.answers()
        self.start_seconds = time.perf_counter() - started

    def _start(self, kind: Kind, *arguments: Any) -> None:
        context = multiprocessing.get_context("spawn")
        pipe, child_end = context.Pipe()
        process = context.Process(target=serve, args=(child_end, kind, *arguments), daemon=True)
        # Some variables are read before Python starts.
        with patch.dict(os.environ, {"TMPDIR": self.folder, **kind.environ}):
            process.start()
        child_end.close()
        self._processes.append(process)
        self._pipes.append(pipe)

    def ask(self, command: str | int) -> list[Any]:
        """Send a command to all processes at once, and wait for all answers."""
        for pipe in self._pipes:
            pipe.send(command)
        return self.answers(watch=command == "all")

    def answers(self, watch: bool = True) -> list[Any]:
        """Wait for one answer of each process.

        Args:
            watch: the memory meanwhile; not while a turn is timed.

        Raises:
            PeerError: a process raised or died.
        """
        answers = []
        for pipe in self._pipes:
            while watch and not pipe.poll(0.1):
                self.memory = max(self.memory, sum(resident(p.pid) for p in self._processes))
            try:
                answers.append(pipe.recv())
            except EOFError as error:
                raise PeerError(f"a process of {self.kind.name} died: {self._exits()}") from error
        for answer in answers:
            if isinstance(answer, PeerError):
                raise answer
        return answers

    def _exits(self) -> str:
        for process in self._processes:
            process.join(1)  # the pipe closes a moment before the process has ended
        codes = [process.exitcode for process in self._processes]
        return ", ".join(f"exit code {code}" for code in codes if code is not None)

    def close(self) -> None:
        """End the processes and remove what they wrote."""
        for process, pipe in zip(self._processes, self._pipes, strict=True):
            with suppress(OSError):
                pipe.send(None)
            process.join(PATIENCE)
            process.kill()
            process.join()
            pipe.close()
        if self._own_folder is not None:
            self._own_folder.cleanup()


def resident(pid: int) -> int:
    """Count the resident bytes of a process and its descendants; 0 where there is no /proc."""
    children = []
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        for task in Path(f"/proc/{pid}/task").iterdir():
            children += (task / "children").read_text().split()
    except (OSError, IndexError):  # it ended meanwhile
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE") + sum(resident(int(child)) for child in children)

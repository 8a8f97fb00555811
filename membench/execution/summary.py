"""The outcomes of the packs of one run: counted, told to a listener, and failures recorded.

Workers store the records of packs that ended well; a pack without results is recorded here,
since its worker may be dead.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from membench.execution.protocol import Event
from membench.planning.packs import Pack
from membench.records import STATUSES
from membench.records import Record
from membench.records import digest
from membench.store.shards import Writer
from membench.store.store import Store


@dataclass(frozen=True, kw_only=True)
class Failure:
    """A pack that gave no results, or cells of it that did not."""

    pack: str  #: its id
    status: str  #: "failed" or "timeout"
    reason: str  #: one line
    output: str = ""  #: the end of what its worker printed, the traceback included
    regularizer: str = ""
    cells: int = 0  #: that gave no results
    files: tuple[str, ...] = ()  #: of its plugins that do not ship

    @classmethod
    def of(cls, pack: Pack, status: str, reason: str, output: str, cells: int) -> Failure:
        """Return the failure of a pack, or of some of its cells."""
        return cls(
            pack=pack.id,
            status=status,
            reason=reason,
            output=output,
            regularizer=pack.cells[0].regularizer,
            cells=cells,
            files=tuple(sorted(pack.foreign_files)),
        )


@dataclass(frozen=True, kw_only=True)
class Summary:
    """The result of a run: cells by status, and the packs that failed."""

    ok: int = 0
    diverged: int = 0
    failed: int = 0
    timeout: int = 0
    skipped: int = 0
    reused: int = 0  #: were in the store already
    damaged: int = 0  #: of those that ended, whose records in a shard were damaged after that
    interrupted: bool = False  #: by Ctrl-C or SIGTERM; cells that were not trained count nowhere
    #: cells of each pack that the signal ended, and the share of it that was trained
    lost: tuple[tuple[int, float], ...] = ()
    failures: tuple[Failure, ...] = ()
    durations: tuple[tuple[str, float], ...] = ()  #: of each pack that ended: id, seconds
    seconds: float = 0.0


class RunRecorder:
    """Collects what became of the packs of one run.

    Args:
        store: where failures are recorded; their shard appears with the first of them.
        emit: called with every event.
    """

    def __init__(self, store: Store, emit: Callable[[Event], None]) -> None:
        self.emit = emit
        self.failures: list[Failure] = []
        self.lost: list[tuple[int, float]] = []  #: as of `Summary`
        self._store = store
        self._writer: Writer | None = None
        self._counts: Counter[str] = Counter()
        self._started = time.monotonic()
        self._given: dict[int, float] = {}  #: worker -> when it was given its pack
        self._durations: list[tuple[str, float]] = []

    def given(self, worker: int) -> None:
        """Note that a worker has been given a pack."""
        self._given[worker] = time.monotonic()

    def stored(
        self, worker: int, pack: Pack, counts: Counter[str], reason: str, output: str
    ) -> None:
        """Count a pack whose records its worker has stored.

        Args:
            worker: the worker's slot.
            pack: the pack.
            counts: its cells by status.
            reason: why the first failed cell failed, if one did all the same.
            output: the end of what the worker printed.
        """
        self._counts += counts
        self._note_duration(worker, pack)
        if counts["failed"] or counts["timeout"]:
            cells = counts["failed"] + counts["timeout"]
            self.failures.append(Failure.of(pack, "failed", reason, output, cells))
        self.emit(
            Event(kind="stored", worker=worker, pack=pack, done=1.0, counts=counts, reason=reason)
        )

    def failed(self, worker: int, pack: Pack, failure: Failure, versions: dict[str, Any]) -> None:
        """Count a pack that gave no results, and store the reason for each of its cells.

        Args:
            worker: the worker's slot.
            pack: the pack.
            failure: what is recorded.
            versions: the worker's environment; empty if it had not reported it.
        """
        if self._writer is None:
            self._writer = self._store.writer()
        self._writer.append(failed_records(pack, failure, versions))
        self._note_duration(worker, pack)
        counts = Counter({failure.status: len(pack.cells)})
        self._counts += counts
        self.failures.append(failure)
        self.emit(
            Event(
                kind=failure.status,
                worker=worker,
                pack=pack,
                done=1.0,
                counts=counts,
                reason=failure.reason,
            )
        )

    def _note_duration(self, worker: int, pack: Pack) -> None:
        self._durations.append((pack.id, time.monotonic() - self._given.pop(worker)))

    def summary(self, reused: int, interrupted: bool) -> Summary:
        """Return what was counted so far."""
        counts = {status: self._counts[status] for status in STATUSES}
        return Summary(
            **counts,
            reused=reused,
            interrupted=interrupted,
            lost=tuple(self.lost),
            failures=tuple(self.failures),
            durations=tuple(self._durations),
            seconds=time.monotonic() - self._started,
        )

    def close(self) -> None:
        """Release the shard so that it can be merged."""
        if self._writer:
            self._writer.close()


def failed_records(pack: Pack, failure: Failure, versions: dict[str, Any]) -> list[Record]:
    """Return a record without results for each of the pack's cells."""
    records = []
    for cell, key in zip(pack.cells, pack.keys, strict=True):
        record = Record(
            key=key,
            env=digest(versions),
            id=cell.id,
            dataset=cell.dataset,
            architecture=cell.architecture,
            regularizer=cell.regularizer,
            strength=cell.strength,
            signal=cell.signal,
            seed=cell.seed,
            status=failure.status,
            reason=failure.reason,
            pack=pack.id,
            versions=versions,
        )
        records.append(record)
    return records

"""How packs ended: counted, told to the listener, and stored where the worker could not do it itself."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict
from dataclasses import dataclass
from typing import Any

from membench.execution.protocol import Event
from membench.planning.packs import Pack
from membench.records import STATUSES
from membench.records import Record
from membench.records import digest
from membench.store.shards import Writer
from membench.store.store import Store


@dataclass(frozen=True)
class Failure:
    """A pack that gave no results, or cells of it that did not."""

    pack: str  #: its id
    status: str  #: "failed" or "timeout"
    reason: str  #: one line
    output: str = ""  #: the end of what its worker printed, the traceback included


@dataclass(frozen=True)
class Summary:
    """How a run went; cells by status."""

    ok: int = 0
    diverged: int = 0
    failed: int = 0
    timeout: int = 0
    skipped: int = 0
    reused: int = 0  #: were in the store already
    interrupted: bool = False  #: by Ctrl-C or SIGTERM; cells that were not trained count nowhere
    failures: tuple[Failure, ...] = ()
    seconds: float = 0.0


class RunRecorder:
    """Collects the outcomes of one run. Its own shard appears with the first pack that fails."""

    def __init__(self, store: Store, on_event: Callable[[Event], None]) -> None:
        self.tell = on_event
        self.failures: list[Failure] = []
        self._store = store
        self._writer: Writer | None = None
        self._counts: Counter[str] = Counter()
        self._since = time.monotonic()

    def stored(
        self, worker: int, pack: Pack, counts: Counter[str], reason: str, output: str
    ) -> None:
        """A worker made the pack's records durable; `reason` is that of the first cell that failed all the same."""
        self._counts += counts
        if counts["failed"] or counts["timeout"]:
            self.failures.append(Failure(pack.id, "failed", reason, output))
        self.tell(Event("stored", worker, pack, 1.0, counts, reason))

    def failed(self, worker: int, pack: Pack, failure: Failure, versions: dict[str, Any]) -> None:
        """A pack gave nothing: store the reason for each of its cells.

        Args:
            versions: the worker's environment, as far as it said.
        """
        self._writer = self._writer or self._store.writer()
        self._writer.append(failed_records(pack, failure, versions))
        counts = Counter({failure.status: len(pack.cells)})
        self._counts += counts
        self.failures.append(failure)
        self.tell(Event(failure.status, worker, pack, 1.0, counts, failure.reason))

    def summary(self, reused: int, interrupted: bool) -> Summary:
        """What was counted so far."""
        counts = {status: self._counts[status] for status in STATUSES}
        seconds = time.monotonic() - self._since
        return Summary(
            **counts,
            reused=reused,
            interrupted=interrupted,
            failures=tuple(self.failures),
            seconds=seconds,
        )

    def close(self) -> None:
        """Give the shard free for merging."""
        if self._writer:
            self._writer.close()


def failed_records(pack: Pack, failure: Failure, versions: dict[str, Any]) -> list[Record]:
    """A record without results for each of the pack's cells."""
    shared = {
        "env": digest(versions),
        "status": failure.status,
        "reason": failure.reason,
        "pack": pack.id,
    }
    cells = zip(pack.cells, pack.keys, strict=True)
    return [
        Record(key=key, id=cell.id, **asdict(cell), **shared, versions=versions)
        for cell, key in cells
    ]

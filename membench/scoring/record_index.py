"""The index of a suite's records by cell, which the rest of scoring asks.

`index_records` builds it from a manifest and its records, once a board. `count_cells` counts what
has been run.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from membench.records import Cell
from membench.records import Entry
from membench.records import Manifest
from membench.records import Record
from membench.records import canonical
from membench.records import parse_signal
from membench.scoring.types import Strength

REAL = "real"
RAND = "randY"
WORST = ("failed", "timeout", "diverged")  #: statuses that count as the worst value


@dataclass(frozen=True, kw_only=True)
class RecordIndex:
    """A manifest with its records, by key."""

    manifest: Manifest
    records: dict[str, Record]
    #: real, mixed by level, randY, then the others: the order of the signals in every array of
    #: readings
    signals: tuple[str, ...]
    levels: tuple[float, ...]  #: p > 0, rising

    @property
    def num_graded(self) -> int:
        """|P|: how many of the signals, from the first, recovery reads."""
        return 1 + len(self.levels)

    @property
    def num_needed(self) -> int:
        """The number of signals, from the first, that a score needs: those of P, and randY."""
        return self.num_graded + (RAND in self.signals)

    def get(
        self, task: str, regularizer: str, strength: Strength, signal: str, seed: int
    ) -> Record | None:
        """Find the record of a cell.

        Args:
            task: "dataset/architecture".
            regularizer: its name, "a+b" for a composition.
            strength: one float a part; () for `none`.
            signal: as in `signals`.
            seed: the training seed.

        Returns:
            The record; None if the cell was not planned or has not been run yet.
        """
        dataset, architecture = task.split("/")
        cell = Cell(dataset, architecture, regularizer, strength, signal, seed)
        return self.records.get(self.manifest.cells.get(cell.id, ""))


@dataclass(frozen=True, kw_only=True)
class CellCounts:
    """The numbers of cells of one entry on one task, by how they have ended."""

    cells: int = 0  #: planned
    done: int = 0  #: with a record
    failed: int = 0  #: with a record whose status counts as the worst value
    missing: int = 0  #: without a record, at the seeds that count


def index_records(manifest: Manifest, records: Iterable[Record]) -> RecordIndex:
    """Index the records; of several with one key the choice does not depend on their order."""
    by_key: dict[str, Record] = {}
    for record in records:
        other = by_key.setdefault(record.key, record)
        if other is not record and other != record:
            by_key[record.key] = min(other, record, key=_canonical_json)
    mixed = []
    for signal in manifest.signals:
        name, level = parse_signal(signal)
        if name == "mixed" and level:
            mixed.append((level, signal))
    mixed.sort()
    signals = [REAL, *(signal for _, signal in mixed)]
    if RAND in manifest.signals:
        signals.append(RAND)
    signals += sorted(set(manifest.signals) - set(signals))
    return RecordIndex(
        manifest=manifest,
        records=by_key,
        signals=tuple(signals),
        levels=tuple(level for level, _ in mixed),
    )


def count_cells(
    index: RecordIndex, entry: Entry, task: str, counting_seeds: tuple[int, ...]
) -> CellCounts:
    """Count the cells of an entry on a task; none where the entry cannot act.

    Args:
        index: the suite's records.
        entry: a regularizer.
        task: "dataset/architecture".
        counting_seeds: seeds at which `none` ended well; a cell not run at another seed is not
            missing.
    """
    if task in entry.skipped:
        return CellCounts()
    cells = done = failed = missing = 0
    for strength in entry.strengths:
        for seed in index.manifest.seeds:
            for signal in index.signals:
                cells += 1
                record = index.get(task, entry.name, strength, signal, seed)
                if record is None:
                    missing += seed in counting_seeds
                else:
                    done += 1
                    failed += record.status in WORST
    return CellCounts(cells=cells, done=done, failed=failed, missing=missing)


def _canonical_json(record: Record) -> str:
    return canonical(record.to_json())

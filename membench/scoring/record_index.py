"""The index of one environment's records by cell, which the rest of scoring asks.

`index_records` builds it from a manifest and its records.
"""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Iterator
from dataclasses import dataclass
from dataclasses import replace

from membench.records import Entry
from membench.records import Manifest
from membench.records import Record
from membench.records import canonical
from membench.records import parse_signal
from membench.records import setting
from membench.scoring.types import FULL
from membench.scoring.types import NONE
from membench.scoring.types import Strength

REAL = "real"
RAND = "randY"
WORST = ("failed", "timeout", "diverged")  #: statuses that count as the worst value

#: The records of one setting on one task, by (signal, seed).
RecordsByCell = dict[tuple[str, int], Record]


@dataclass(frozen=True, kw_only=True)
class RecordIndex:
    """A manifest with its records of one environment, by key."""

    manifest: Manifest
    env: str  #: hash of the environment
    records: dict[str, Record]
    #: real, the noisy ones, randY if the suite has it, then the others: the order of the signals in
    #: every array of readings
    signals: tuple[str, ...]
    #: P without real: mixed@p by level; of a suite that has none, its other signals of label noise
    noisy: tuple[str, ...]

    @property
    def num_needed(self) -> int:
        """The number of signals, from the first, that a score needs: those of P, and randY."""
        return 1 + len(self.noisy) + (RAND in self.signals)

    @property
    def measures(self) -> bool:
        """Whether the suite has all signals that a score needs; S needs randY too."""
        return REAL in self.manifest.signals and bool(self.noisy)

    def runs(
        self, task: str, regularizer: str, strength: Strength, seeds: Iterable[int]
    ) -> RecordsByCell:
        """Find the records of one setting, of all signals.

        Args:
            task: "dataset/architecture".
            regularizer: its name, "a+b" for a composition.
            strength: one float a part; () for `none`.
            seeds: the training seeds.

        Returns:
            Those that there are; a cell that was not planned, or has not been run, is left out.
        """
        prefix = f"{task}/{setting(regularizer, strength)}"
        keys, records = self.manifest.cells, self.records
        found = {}
        for seed in seeds:
            for signal in self.signals:
                # the id of `membench.records.Cell`
                record = records.get(keys.get(f"{prefix}/{signal}/seed{seed}", ""))
                if record is not None:
                    found[signal, seed] = record
        return found


def index_records(manifest: Manifest, records: Iterable[Record], env: str = "") -> RecordIndex:
    """Index the records; of several with one key the choice does not depend on their order.

    Args:
        manifest: what the suite planned.
        records: of one environment; those of cells that are not planned are left out.
        env: its hash.
    """
    planned = set(manifest.cells.values())
    by_key: dict[str, Record] = {}
    for record in records:
        if record.key not in planned:
            continue
        other = by_key.setdefault(record.key, record)
        if other is not record and other != record:
            by_key[record.key] = min(other, record, key=_canonical_json)
    noisy = noisy_signals(manifest)
    signals = [REAL, *noisy]
    if RAND in manifest.signals:
        signals.append(RAND)
    signals += sorted(set(manifest.signals) - set(signals))
    return RecordIndex(
        manifest=manifest,
        env=env,
        records=by_key,
        signals=tuple(signals),
        noisy=noisy,
    )


def noisy_signals(manifest: Manifest) -> tuple[str, ...]:
    """Return P without real: mixed@p by level, or else what the manifest names."""
    mixed = []
    for signal in manifest.signals:
        name, level = parse_signal(signal)
        if name == "mixed" and level:
            mixed.append((level, signal))
    return tuple(signal for _, signal in sorted(mixed)) or manifest.noisy


def rows_of(entry: Entry) -> Iterator[tuple[str, Entry]]:
    """Yield (row's name, entry) of the rows that an entry has.

    A composition's full grid is a row of its own, whose name ends with FULL; `none` has none.
    """
    if entry.name == NONE:
        return
    if entry.strengths or not entry.full:
        yield entry.name, entry
    if entry.full:
        yield entry.name + FULL, replace(entry, strengths=entry.full)


def _canonical_json(record: Record) -> str:
    return canonical(record.to_json())

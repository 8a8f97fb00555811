"""Records to arrays: a cube of readings for `none`, and one for each entry, on one task. Called by gate and tasks."""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Iterator
from dataclasses import dataclass
from dataclasses import field

import numpy as np

from membench.errors import ExitCode
from membench.errors import MembenchError
from membench.records import Cell
from membench.records import Entry
from membench.records import Manifest
from membench.records import Record
from membench.records import canonical
from membench.records import parse_signal
from membench.scoring.formulas import Floats
from membench.scoring.formulas import by_chance
from membench.scoring.types import NONE
from membench.scoring.types import Strength

REAL = "real"
RAND = "randY"
WORST = ("failed", "timeout", "diverged")  #: statuses that count as the worst value
#: The last axis of a cube: V, A, fit of the labels as given, M, and q (chance of an honest mistake to hit the label).
VAL, TEST, TRAIN, WRONG, CHANCE_WRONG = range(5)


@dataclass(frozen=True)
class RecordIndex:
    """A manifest with its records, by key."""

    manifest: Manifest
    records: dict[str, Record]
    signals: tuple[
        str, ...
    ]  #: real, mixed by level, randY, then the others: the order of every cube
    levels: tuple[float, ...]  #: p > 0

    @property
    def graded(self) -> int:
        """|P|: how many of the signals, from the first, recovery reads."""
        return 1 + len(self.levels)

    @property
    def needed(self) -> int:
        """How many of the signals, from the first, a score needs: P and randY."""
        return self.graded + (RAND in self.signals)

    def get(
        self, task: str, regularizer: str, strength: Strength, signal: str, seed: int
    ) -> Record | None:
        """The cell's record; None if it was not planned or not yet run."""
        dataset, architecture = task.split("/")
        cell = Cell(dataset, architecture, regularizer, strength, signal, seed)
        return self.records.get(self.manifest.cells.get(cell.id, ""))


def index_records(manifest: Manifest, records: Iterable[Record]) -> RecordIndex:
    """Index the records; of several with one key the choice does not depend on their order."""
    by_key: dict[str, Record] = {}
    for record in records:
        other = by_key.setdefault(record.key, record)
        if other is not record and other != record:
            by_key[record.key] = min(other, record, key=lambda r: canonical(r.to_json()))
    mixed = sorted(
        (level, signal)
        for signal in manifest.signals
        for name, level in [parse_signal(signal)]
        if level
    )
    mixed = [(level, signal) for level, signal in mixed if parse_signal(signal)[0] == "mixed"]
    first = [REAL, *(signal for _, signal in mixed), *([RAND] if RAND in manifest.signals else [])]
    rest = sorted(set(manifest.signals) - set(first))
    return RecordIndex(manifest, by_key, (*first, *rest), tuple(level for level, _ in mixed))


@dataclass(frozen=True)
class Baseline:
    """`none` on one task, at the seeds that count."""

    task: str
    seeds: tuple[int, ...]
    signals: tuple[str, ...]
    levels: tuple[float, ...]
    cube: Floats  #: [s, signal, reading], last epoch
    chance: Floats  #: cF, [s]
    records: dict[
        tuple[str, int], Record
    ]  #: (signal, seed); a signal that no score needs may be missing
    epochs: int
    classes: int
    tests: int

    @property
    def accuracy(self) -> Floats:
        """A0, [s, p]."""
        return self.cube[:, : 1 + len(self.levels), TEST]

    @property
    def fit(self) -> Floats:
        """F0, [s]."""
        return self.cube[:, 1 + len(self.levels), TRAIN]


@dataclass(frozen=True)
class Grid:
    """One entry on one task; index 0 of every array is off."""

    strengths: tuple[Strength, ...]
    labels: tuple[str, ...]
    cube: Floats  #: [l, s, signal, reading]
    records: tuple[dict[tuple[str, int], Record], ...]  #: [l], by (signal, seed)
    failed: tuple[int, ...]  #: [l]
    epochs: tuple[int, ...] = field(
        default=()
    )  #: [l], where each is read, if not at the end: the control

    def graded(self, plain: Baseline, reading: int) -> Floats:
        """V or A over P: [l, s, p]."""
        return self.cube[:, :, : 1 + len(plain.levels), reading]


@dataclass(frozen=True)
class Count:
    """Cells of one entry on one task."""

    cells: int
    done: int
    failed: int
    missing: int  #: at the seeds that count


def strength_label(strength: Strength) -> str:
    """`0.5,0.3`; `off` for none."""
    return ",".join(f"{s:.6g}" for s in strength) or "off"


def readings_at(record: Record, index: int, classes: int) -> Floats:
    """[reading] of an `ok` record at one of its epochs; NaN where it was not read."""
    test = _number(record.test, index)
    return np.array(
        [
            _number(record.val, index),
            test,
            _number(record.train, index),
            _number(record.wrong, index),
            by_chance(np.float64(test), classes),
        ]
    )


def _number(curve: tuple[float | None, ...], index: int) -> float:
    value = curve[index] if curve else None
    return np.nan if value is None else float(value)


def effective_readings(record: Record, signal: str, plain: Floats, classes: int) -> Floats:
    """[reading] that counts for a cell: its own, those of `none` if it could not act, the worst if it did not end.

    The worst (V = A = 1/K, F = F0, M = M0) has `none`'s q too, so that it suppresses exactly nothing.
    """
    if record.status == "skipped":
        return plain
    if record.status in WORST:
        worst = plain.copy()
        worst[[VAL, TEST]] = 1 / classes
        if signal == REAL:
            worst[TRAIN] = 1 / classes
        return worst
    values = final_readings(record, signal, classes)
    return np.where(np.isnan(values), plain, values)


def final_readings(record: Record, signal: str, classes: int) -> Floats:
    """[reading] of an `ok` record at its last epoch.

    Raises:
        MembenchError: an accuracy that the score reads is not in the record.
    """
    values = readings_at(record, -1, classes)
    graded = parse_signal(signal)[0] in (REAL, "mixed")
    if np.isnan(values[[VAL, TEST, TRAIN] if graded else [TRAIN]]).any():
        raise MembenchError(
            f"record of {record.id}: `ok`, but without its last accuracies", ExitCode.STORE
        )
    return values


def _cells(source: RecordIndex, seeds: Iterable[int]) -> Iterator[tuple[str, int]]:
    return ((signal, seed) for seed in seeds for signal in source.signals)


def count_cells(source: RecordIndex, entry: Entry, task: str, seeds: tuple[int, ...]) -> Count:
    """How many cells the entry has on the task, and how many of them have ended, and how."""
    if task in entry.skipped:
        return Count(0, 0, 0, 0)
    keys = [
        (strength, *cell)
        for strength in entry.strengths
        for cell in _cells(source, source.manifest.seeds)
    ]
    found = {key: source.get(task, entry.name, *key) for key in keys}
    failed = sum(record is not None and record.status in WORST for record in found.values())
    missing = sum(record is None and key[-1] in seeds for key, record in found.items())
    return Count(len(keys), sum(record is not None for record in found.values()), failed, missing)


def grid_of(source: RecordIndex, plain: Baseline, entry: Entry) -> Grid:
    """The entry's cube: off, then every strength of which all cells are there."""
    strengths, cubes, found, failed = [()], [plain.cube], [plain.records], [0]
    for strength in () if plain.task in entry.skipped else entry.strengths:
        cells = {
            cell: source.get(plain.task, entry.name, strength, *cell)
            for cell in _cells(source, plain.seeds)
        }
        if any(record is None for record in cells.values()):
            continue
        strengths.append(strength)
        cubes.append(_readings_cube(plain, cells))
        found.append(cells)
        failed.append(sum(record.status in WORST for record in cells.values()))
    labels = tuple(strength_label(strength) for strength in strengths)
    return Grid(tuple(strengths), labels, np.stack(cubes), tuple(found), tuple(failed))


def _readings_cube(plain: Baseline, cells: dict[tuple[str, int], Record]) -> Floats:
    rows = [
        [
            effective_readings(cells[signal, seed], signal, plain.cube[s, i], plain.classes)
            for i, signal in enumerate(plain.signals)
        ]
        for s, seed in enumerate(plain.seeds)
    ]
    return np.array(rows)


def baseline_records(source: RecordIndex, task: str, seed: int) -> dict[str, Record | None]:
    """`none` at one seed, by signal."""
    return {signal: source.get(task, NONE, (), signal, seed) for signal in source.signals}

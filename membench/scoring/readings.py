"""Records to arrays of readings: those of `none` on a task, and those of an entry's strengths.

A reading is one number of one run: an accuracy, a fit, a share of wrong labels (README of this
folder, Readings). The arrays have the axes strengths l (grids only, off first), seeds s, signals,
readings; signals stand in the order of `RecordIndex.signals`, readings in that of the constants
below.
"""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from math import isnan
from math import nan

import numpy as np

from membench.errors import ExitCode
from membench.errors import MembenchError
from membench.records import Record
from membench.scoring.formulas import Floats
from membench.scoring.formulas import damage
from membench.scoring.record_index import RAND
from membench.scoring.record_index import REAL
from membench.scoring.record_index import WORST
from membench.scoring.record_index import RecordIndex
from membench.scoring.record_index import RecordsByCell
from membench.scoring.types import NONE
from membench.scoring.types import Strength

VAL = 0  #: V, accuracy on clean validation images
TEST = 1  #: A, accuracy on clean test images
TRAIN = 2  #: fit of the training labels as given; F on randY
WRONG = 3  #: M, share of the wrong labels predicted as given
CHANCE_WRONG = 4  #: q, how often an honest mistake hits the wrong label
NUM_READINGS = 5


@dataclass(frozen=True, kw_only=True)
class Baseline:
    """`none` on one task, at the seeds of one phase that count."""

    task: str
    seeds: tuple[int, ...]
    signals: tuple[str, ...]
    noisy_signals: tuple[str, ...]  #: P without real: p > 0
    readings: Floats  #: [s, signal, reading], at the last epoch
    #: [s], cF, the largest class's share of the labels of randY; NaN without randY
    chance: Floats
    records: RecordsByCell
    epochs: int  #: E, the budget
    num_classes: int  #: K
    num_test: int  #: m, test images
    num_train: int
    num_wrong: Floats  #: [p], wrong labels at p > 0, mean over seeds

    @property
    def graded(self) -> slice:
        """The signals of P, which recovery reads: real, then the noisy ones."""
        return slice(0, 1 + len(self.noisy_signals))

    @property
    def noisy(self) -> slice:
        """The signals of P but real."""
        return slice(1, 1 + len(self.noisy_signals))

    @property
    def has_rand(self) -> bool:
        """Whether the suite has randY, of which F and S are."""
        return RAND in self.signals

    @property
    def num_needed(self) -> int:
        """The number of signals, from the first, that a score needs; further ones follow."""
        return 1 + len(self.noisy_signals) + self.has_rand

    @property
    def accuracy(self) -> Floats:
        """A0, [s, p]."""
        return self.readings[:, self.graded, TEST]

    @property
    def fit(self) -> Floats:
        """F0, [s]."""
        return self.fit_of(self.readings)

    @property
    def is_measurable(self) -> bool:
        """Whether H, R and, with randY, S are defined: none of their denominators is 0."""
        denominators = [damage(self.accuracy).mean()]
        if self.has_rand:
            denominators.append((self.fit - self.chance).mean())
        denominators += list(self.wrong_beyond_chance(self.readings).mean(0))
        return min(denominators) > 0

    def fit_of(self, setting: Floats) -> Floats:
        """Read F: [..., signal, reading] -> [...]; NaN without randY."""
        if not self.has_rand:
            return np.full(setting.shape[:-2], nan)
        return setting[..., 1 + len(self.noisy_signals), TRAIN]

    def wrong_beyond_chance(self, setting: Floats) -> Floats:
        """Compute M - q: [..., s, signal, reading] -> [..., s, p], p > 0."""
        return setting[..., self.noisy, WRONG] - setting[..., self.noisy, CHANCE_WRONG]


@dataclass(frozen=True, kw_only=True)
class Phase:
    """`none` on one task, at the choosing or at the confirming seeds."""

    cells: int  #: planned
    done: int  #: with a record
    dropped: dict[int, str]  #: seed -> why `none` failed there
    baseline: Baseline | None  #: None where a cell has not been run, or `none` failed at all seeds

    @property
    def is_complete(self) -> bool:
        """Whether all cells have a record."""
        return self.done == self.cells


def read_phase(index: RecordIndex, task: str, seeds: Sequence[int]) -> Phase:
    """Read `none` at the seeds of one phase.

    A seed at which one of the runs that a score needs did not end well counts for nobody.

    Args:
        index: the records of one environment.
        task: "dataset/architecture".
        seeds: of the phase.
    """
    runs = index.runs(task, NONE, (), seeds)
    cells = len(seeds) * len(index.signals)
    dropped = {}
    counting = []
    for seed in seeds:
        needed = index.signals[: index.num_needed]
        failure = _failure([runs[signal, seed] for signal in needed if (signal, seed) in runs])
        if failure:
            dropped[seed] = failure
        else:
            counting.append(seed)
    baseline = None
    if len(runs) == cells and counting and index.measures:
        baseline = _read_baseline(index, task, counting, runs)
    return Phase(cells=cells, done=len(runs), dropped=dropped, baseline=baseline)


def _failure(records: Sequence[Record]) -> str:
    """Say why a seed is dropped for everybody: `none` did not end there. "" if it did."""
    failures = []
    for record in records:
        if record.status != "ok":
            reason = f", {record.reason}" if record.reason else ""
            failures.append(f"{record.id}: {record.status}{reason}")
    return "; ".join(failures)


def _read_baseline(
    index: RecordIndex, task: str, seeds: Sequence[int], runs: RecordsByCell
) -> Baseline:
    """Read `none` at the seeds that count."""
    readings = np.full((len(seeds), len(index.signals), NUM_READINGS), np.nan)
    records = {}
    for s, seed in enumerate(seeds):
        for i, signal in enumerate(index.signals):
            record = records[signal, seed] = runs[signal, seed]
            if record.status == "ok":
                graded = signal in (REAL, *index.noisy)
                readings[s, i] = final_readings(record, graded, record.num_classes)
    # M is None where no label really changed: nothing to memorize, and the gate says so
    noisy = slice(1, 1 + len(index.noisy))
    readings[:, noisy, WRONG] = np.nan_to_num(readings[:, noisy, WRONG])
    num_wrong = []
    for signal in index.noisy:
        num_wrong.append(np.mean([runs[signal, seed].num_wrong for seed in seeds]))
    first = runs[REAL, seeds[0]]
    chance = np.full(len(seeds), nan)
    if RAND in index.signals:
        chance = np.array([runs[RAND, seed].label_share for seed in seeds])
    return Baseline(
        task=task,
        seeds=tuple(seeds),
        signals=index.signals,
        noisy_signals=index.noisy,
        readings=readings,
        chance=chance,
        records=records,
        epochs=first.epochs[-1],
        num_classes=first.num_classes,
        num_test=first.num_test,
        num_train=first.num_train,
        num_wrong=np.array(num_wrong),
    )


@dataclass(frozen=True, kw_only=True)
class Grid:
    """Strengths of one entry on one task; index 0 of every axis l is off."""

    strengths: tuple[Strength, ...]  #: [l]
    labels: tuple[str, ...]  #: [l]
    readings: Floats  #: [l, s, signal, reading]
    failed: tuple[int, ...]  #: [l], how many of the cells count as the worst value
    cells: tuple[int, ...]  #: [l], of the seeds that count
    epochs: tuple[int, ...]  #: [l], the epoch at which each is read

    def graded(self, baseline: Baseline, reading: int) -> Floats:
        """Return V or A over P: [l, s, p]."""
        return self.readings[:, :, baseline.graded, reading]


def read_grid(baseline: Baseline, runs: Mapping[Strength, RecordsByCell]) -> Grid:
    """Read a grid: off comes first, then every strength of which all cells have been run.

    Args:
        baseline: `none` on the task.
        runs: strength -> its records, from weak to strong.
    """
    num_cells = len(baseline.seeds) * len(baseline.signals)
    strengths: list[Strength] = [()]
    readings = [baseline.readings]
    failed = [0]
    for strength, records in runs.items():
        counting = at_seeds(records, baseline.seeds)
        if len(counting) < num_cells:
            continue
        strengths.append(strength)
        readings.append(read_setting(baseline, counting))
        failed.append(sum(record.status in WORST for record in counting.values()))
    return Grid(
        strengths=tuple(strengths),
        labels=tuple(strength_label(strength) for strength in strengths),
        readings=np.stack(readings),
        failed=tuple(failed),
        cells=(num_cells,) * len(strengths),
        epochs=(baseline.epochs,) * len(strengths),
    )


def at_seeds(records: RecordsByCell, seeds: Sequence[int]) -> RecordsByCell:
    """Return the records of some seeds."""
    return {cell: record for cell, record in records.items() if cell[1] in seeds}


def strength_label(strength: Strength) -> str:
    """Spell a strength: `0.5,0.3`, and `off` for ()."""
    return ",".join(f"{s:.6g}" for s in strength) or "off"


def read_setting(baseline: Baseline, runs: RecordsByCell) -> Floats:
    """Read what counts for the runs of one setting: [s, signal, reading]."""
    of_none = baseline.readings.tolist()
    readings = []
    for s, seed in enumerate(baseline.seeds):
        of_seed = []
        for i, signal in enumerate(baseline.signals):
            record = runs[signal, seed]
            of_seed.append(effective_readings(baseline, record, signal, of_none[s][i]))
        readings.append(of_seed)
    return np.array(readings)


def effective_readings(
    baseline: Baseline, record: Record, signal: str, of_none: list[float]
) -> list[float]:
    """Return the readings that count for a cell (README, Runs that did not end).

    They are its own if it ended, those of `none` if it could not act, the worst if it failed. The
    worst (V = A = 1/K, F = F0, M = M0) has the q of `none` too, so that it holds back exactly
    nothing.

    Args:
        baseline: `none` on the task.
        record: of the cell.
        signal: of the cell.
        of_none: [reading] of `none` on the same signal and seed.
    """
    if record.status == "skipped":
        return of_none
    if record.status in WORST:
        worst = list(of_none)
        worst[VAL] = worst[TEST] = 1 / baseline.num_classes
        if signal == REAL:
            worst[TRAIN] = 1 / baseline.num_classes
        return worst
    graded = signal in (REAL, *baseline.noisy_signals)
    values = final_readings(record, graded, baseline.num_classes)
    for i, value in enumerate(values):
        if isnan(value):
            values[i] = of_none[i]
    return values


def final_readings(record: Record, graded: bool, classes: int) -> list[float]:
    """Read an `ok` record at its last epoch: [reading], NaN where a reading does not exist.

    Args:
        record: an `ok` record.
        graded: its signal is one of P, so that its accuracies must exist.
        classes: K.

    Raises:
        MembenchError: an accuracy that the score reads is not in the record.
    """
    values = readings_at(record, -1, classes)
    lacks_accuracy = graded and (isnan(values[VAL]) or isnan(values[TEST]))
    if lacks_accuracy or isnan(values[TRAIN]):
        raise MembenchError(
            f"record of {record.id}: `ok`, but without its last accuracies", ExitCode.STORE
        )
    return values


def readings_at(record: Record, index: int, classes: int) -> list[float]:
    """Read an `ok` record at one of its epochs: [reading], NaN where it was not read.

    Args:
        record: an `ok` record.
        index: the place of the epoch in `record.epochs`.
        classes: K.
    """
    test = _value_at(record.test, index)
    return [
        _value_at(record.val, index),
        test,
        _value_at(record.train, index),
        _value_at(record.wrong, index),
        (1 - test) / (classes - 1),  # `formulas.by_chance`
    ]


def _value_at(curve: tuple[float | None, ...], index: int) -> float:
    value = curve[index] if curve else None
    return nan if value is None else float(value)

"""Records to arrays of readings: one for `none` on a task, one for each entry.

A reading is one number of one run: an accuracy, a fit, a share of wrong labels (README of this
folder, Readings). The arrays have the axes strengths l (entries only, off first), seeds s, signals,
readings; signals stand in the order of `RecordIndex.signals`, readings in that of the constants
below.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from membench.errors import ExitCode
from membench.errors import MembenchError
from membench.records import Entry
from membench.records import Record
from membench.records import parse_signal
from membench.scoring.formulas import Floats
from membench.scoring.formulas import by_chance
from membench.scoring.record_index import REAL
from membench.scoring.record_index import WORST
from membench.scoring.record_index import RecordIndex
from membench.scoring.types import Strength

VAL = 0  #: V, accuracy on clean validation images
TEST = 1  #: A, accuracy on clean test images
TRAIN = 2  #: fit of the training labels as given; F on randY
WRONG = 3  #: M, share of the wrong labels predicted as given
CHANCE_WRONG = 4  #: q, how often an honest mistake hits the wrong label
NUM_READINGS = 5

#: The records of one setting on one task, by (signal, seed).
RecordsByCell = dict[tuple[str, int], Record]


@dataclass(frozen=True, kw_only=True)
class Baseline:
    """`none` on one task, at the seeds that count."""

    task: str
    seeds: tuple[int, ...]
    signals: tuple[str, ...]
    levels: tuple[float, ...]  #: p > 0
    readings: Floats  #: [s, signal, reading], at the last epoch
    chance: Floats  #: [s], cF, the largest class's share of the labels of randY
    records: RecordsByCell  #: a signal that no score needs may be missing
    epochs: int  #: E, the budget
    num_classes: int  #: K
    num_test: int  #: m

    @property
    def graded(self) -> slice:
        """The signals of P, which recovery reads: real, then mixed by level."""
        return slice(0, 1 + len(self.levels))

    @property
    def mixed(self) -> slice:
        """The signals mixed@p."""
        return slice(1, 1 + len(self.levels))

    @property
    def rand(self) -> int:
        """The place of randY among the signals."""
        return 1 + len(self.levels)

    @property
    def accuracy(self) -> Floats:
        """A0, [s, p]."""
        return self.readings[:, self.graded, TEST]

    @property
    def fit(self) -> Floats:
        """F0, [s]."""
        return self.readings[:, self.rand, TRAIN]


@dataclass(frozen=True, kw_only=True)
class Grid:
    """One entry on one task, all its strengths; index 0 of every axis l is off."""

    strengths: tuple[Strength, ...]  #: [l]
    labels: tuple[str, ...]  #: [l]
    readings: Floats  #: [l, s, signal, reading]
    records: tuple[RecordsByCell, ...]  #: [l]
    failed: tuple[int, ...]  #: [l], how many of the cells count as the worst value
    epochs: tuple[int, ...] = ()  #: [l], the epoch at which each is read; only the control has it

    def graded(self, baseline: Baseline, reading: int) -> Floats:
        """Return V or A over P: [l, s, p]."""
        return self.readings[:, :, baseline.graded, reading]


def read_grid(index: RecordIndex, baseline: Baseline, entry: Entry) -> Grid:
    """Read an entry's grid on the baseline's task.

    Off comes first, then every strength of which all cells have been run.
    """
    strengths: list[Strength] = [()]
    readings = [baseline.readings]
    records = [baseline.records]
    failed = [0]
    can_act = baseline.task not in entry.skipped
    planned = entry.strengths if can_act else ()
    for strength in planned:
        runs = _complete_runs(index, baseline, entry, strength)
        if runs is None:
            continue
        strengths.append(strength)
        readings.append(_read_strength(baseline, runs))
        records.append(runs)
        failed.append(sum(record.status in WORST for record in runs.values()))
    return Grid(
        strengths=tuple(strengths),
        labels=tuple(strength_label(strength) for strength in strengths),
        readings=np.stack(readings),
        records=tuple(records),
        failed=tuple(failed),
    )


def strength_label(strength: Strength) -> str:
    """Spell a strength: `0.5,0.3`, and `off` for ()."""
    return ",".join(f"{s:.6g}" for s in strength) or "off"


def _complete_runs(
    index: RecordIndex, baseline: Baseline, entry: Entry, strength: Strength
) -> RecordsByCell | None:
    """Find the records of one strength at the seeds that count; None if one has not been run."""
    runs = {}
    for seed in baseline.seeds:
        for signal in index.signals:
            record = index.get(baseline.task, entry.name, strength, signal, seed)
            if record is None:
                return None
            runs[signal, seed] = record
    return runs


def _read_strength(baseline: Baseline, runs: RecordsByCell) -> Floats:
    """Read what counts for the runs of one strength: [s, signal, reading]."""
    readings = np.empty_like(baseline.readings)
    for s, seed in enumerate(baseline.seeds):
        for i, signal in enumerate(baseline.signals):
            readings[s, i] = effective_readings(
                runs[signal, seed], signal, baseline.readings[s, i], baseline.num_classes
            )
    return readings


def effective_readings(record: Record, signal: str, baseline: Floats, classes: int) -> Floats:
    """Return the readings that count for a cell (README, Runs that did not end).

    They are its own if it ended, those of `none` if it could not act, the worst if it failed. The
    worst (V = A = 1/K, F = F0, M = M0) has the q of `none` too, so that it suppresses exactly
    nothing.

    Args:
        record: of the cell.
        signal: of the cell.
        baseline: [reading] of `none` on the same signal and seed.
        classes: K.
    """
    if record.status == "skipped":
        return baseline
    if record.status in WORST:
        worst = baseline.copy()
        worst[[VAL, TEST]] = 1 / classes
        if signal == REAL:
            worst[TRAIN] = 1 / classes
        return worst
    values = final_readings(record, signal, classes)
    return np.where(np.isnan(values), baseline, values)


def final_readings(record: Record, signal: str, classes: int) -> Floats:
    """Read an `ok` record at its last epoch: [reading], NaN where a reading does not exist.

    Args:
        record: an `ok` record.
        signal: its signal, which says which readings must exist.
        classes: K.

    Raises:
        MembenchError: an accuracy that the score reads is not in the record.
    """
    values = readings_at(record, -1, classes)
    graded = parse_signal(signal)[0] in (REAL, "mixed")
    needed = [VAL, TEST, TRAIN] if graded else [TRAIN]
    if np.isnan(values[needed]).any():
        raise MembenchError(
            f"record of {record.id}: `ok`, but without its last accuracies", ExitCode.STORE
        )
    return values


def readings_at(record: Record, index: int, classes: int) -> Floats:
    """Read an `ok` record at one of its epochs: [reading], NaN where it was not read.

    Args:
        record: an `ok` record.
        index: the place of the epoch in `record.epochs`.
        classes: K.
    """
    values = np.full(NUM_READINGS, np.nan)
    values[VAL] = _value_at(record.val, index)
    values[TEST] = _value_at(record.test, index)
    values[TRAIN] = _value_at(record.train, index)
    values[WRONG] = _value_at(record.wrong, index)
    values[CHANCE_WRONG] = by_chance(values[TEST], classes)
    return values


def _value_at(curve: tuple[float | None, ...], index: int) -> float:
    value = curve[index] if curve else None
    return np.nan if value is None else float(value)

"""The control: the unregularized network trained less (README of this folder, Control).

It is one entry whose "strengths" are `none` read at earlier epochs, then `none` trained at lower
rates. It chooses among them as every entry chooses among its own.
"""

from __future__ import annotations

import numpy as np

from membench.records import Entry
from membench.scoring.formulas import Floats
from membench.scoring.readings import WRONG
from membench.scoring.readings import Baseline
from membench.scoring.readings import Grid
from membench.scoring.readings import read_grid
from membench.scoring.readings import readings_at
from membench.scoring.record_index import RAND
from membench.scoring.record_index import RecordIndex


def control_grid(index: RecordIndex, baseline: Baseline, low_rate: Entry | None) -> Grid:
    """Read the control's grid: off, `none` at ever earlier epochs, then `none` at ever lower rates.

    Args:
        index: the suite's records.
        baseline: `none` on the task.
        low_rate: the entry that trains `none` at lower rates, if the suite has it.
    """
    early = _earlier_epochs(baseline)
    off_and_early = [baseline.readings]
    for epoch in early:
        off_and_early.append(_readings_at_epoch(baseline, epoch))
    count = len(off_and_early)
    low = read_grid(index, baseline, low_rate or Entry("", "control", ()))
    rates = low.strengths[1:]
    return Grid(
        strengths=((),) * count + rates,
        labels=(
            "off",
            *(f"epoch {epoch}" for epoch in early),
            *(f"rate x {strength[0]:.3g}" for strength in rates),
        ),
        readings=np.concatenate([np.stack(off_and_early), low.readings[1:]]),
        records=(baseline.records,) * count + low.records[1:],
        failed=(0,) * count + low.failed[1:],
        epochs=(baseline.epochs, *early) + (baseline.epochs,) * len(rates),
    )


def _earlier_epochs(baseline: Baseline) -> list[int]:
    """List the epochs before the last at which `none` can be read, latest first.

    Every run of it that a score needs must be stored there, and tested unless it is of randY.
    """
    stored = []
    for seed in baseline.seeds:
        for signal in baseline.signals[baseline.graded]:
            record = baseline.records[signal, seed]
            tested = set()
            for epoch, accuracy in zip(record.epochs, record.test, strict=True):
                if accuracy is not None:
                    tested.add(epoch)
            stored.append(tested)
        stored.append(set(baseline.records[RAND, seed].epochs))
    common = set.intersection(*stored)
    return sorted((epoch for epoch in common if epoch < baseline.epochs), reverse=True)


def _readings_at_epoch(baseline: Baseline, epoch: int) -> Floats:
    """Read `none` at an epoch: [s, signal, reading].

    NaN for a further signal that has no such epoch.
    """
    readings = np.full_like(baseline.readings, np.nan)
    for s, seed in enumerate(baseline.seeds):
        for i, signal in enumerate(baseline.signals):
            record = baseline.records.get((signal, seed))
            if record and epoch in record.epochs:
                place = record.epochs.index(epoch)
                readings[s, i] = readings_at(record, place, baseline.num_classes)
    mixed = baseline.mixed
    readings[:, mixed, WRONG] = np.nan_to_num(readings[:, mixed, WRONG])
    return readings

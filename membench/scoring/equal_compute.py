"""A setting read where it has cost what the plain network costs in all (README, Equal compute)."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from membench.records import Record
from membench.scoring.formulas import Floats
from membench.scoring.readings import TEST
from membench.scoring.readings import Baseline
from membench.scoring.readings import effective_readings
from membench.scoring.readings import readings_at
from membench.scoring.record_index import RecordsByCell


def read_at_equal_compute(baseline: Baseline, runs: RecordsByCell, cost: float) -> Floats | None:
    """Read the runs of a setting on the signals of P at the epoch of equal compute.

    Args:
        baseline: `none` on the task, at the budget.
        runs: of the setting, at the seeds of the baseline.
        cost: kappa of the setting, above 1.

    Returns:
        [s, signal, reading]; other signals have the readings of `none`. None if a run was not
        tested at that epoch.
    """
    epoch = max(1, round(baseline.epochs / cost))
    readings = baseline.readings.copy()
    for s, seed in enumerate(baseline.seeds):
        for i, signal in enumerate(baseline.signals[baseline.graded]):
            record = runs[signal, seed]
            of_none = baseline.readings[s, i].tolist()
            if record.status == "ok":
                of_run = _readings_at_epoch(record, epoch, baseline.num_classes)
                if of_run is None:
                    return None
                values = np.array(of_run)
                readings[s, i] = np.where(np.isnan(values), of_none, values)
            else:
                readings[s, i] = effective_readings(baseline, record, signal, of_none)
    return readings


def mean_at_equal_compute(
    tasks: Iterable[tuple[float, float, float, float | None]],
) -> float | None:
    """Average a reading at equal compute over tasks.

    Args:
        tasks: w_t, the cost, the reading at the budget, and that at equal compute, which None
            stands for where it was not read.

    Returns:
        The mean, in which the reading at the budget stands for a task that costs what `none`
        costs. None if no task costs more, or one that does has no reading.
    """
    mean, costly = 0.0, False
    for weight, cost, at_budget, at_equal_compute in tasks:
        value: float | None = at_budget
        if cost > 1:
            costly = True
            value = at_equal_compute
        if value is None:
            return None
        mean += weight * value
    return mean if costly else None


def _readings_at_epoch(record: Record, epoch: int, classes: int) -> list[float] | None:
    """Read a run at an epoch; None if it was not tested there."""
    if epoch not in record.epochs:
        return None
    values = readings_at(record, record.epochs.index(epoch), classes)
    return None if np.isnan(values[TEST]) else values

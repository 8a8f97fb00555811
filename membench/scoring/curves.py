"""Readings of the stored curves before the last epoch.

These are learning curves, late fitting (a flag), and recovery at equal compute. None of it chooses
a strength or ranks.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from membench.records import Record
from membench.scoring.formulas import Ints
from membench.scoring.formulas import damage
from membench.scoring.readings import TEST
from membench.scoring.readings import Baseline
from membench.scoring.readings import Grid
from membench.scoring.readings import RecordsByCell
from membench.scoring.record_index import RAND
from membench.scoring.record_index import REAL
from membench.scoring.types import Curve


def mean_curve(baseline: Baseline, runs: RecordsByCell, label: str) -> Curve | None:
    """Average the learning curves of one setting's runs that ended `ok`.

    Args:
        baseline: `none` on the task; its seeds and signals are read.
        runs: the setting's records.
        label: names the setting.

    Returns:
        Means at the epochs that all of the runs stored; None if a signal has no run that ended
        `ok`.
    """
    mixed_signals = baseline.signals[baseline.mixed]
    ended: dict[str, list[Record]] = {}
    for signal in (REAL, *mixed_signals, RAND):
        records = [runs[signal, seed] for seed in baseline.seeds]
        ended[signal] = [record for record in records if record.status == "ok"]
        if not ended[signal]:
            return None
    stored = []
    for records in ended.values():
        stored += [set(record.epochs) for record in records]
    epochs = tuple(sorted(set.intersection(*stored)))
    mixed_val = {}
    mixed_wrong = {}
    for level, signal in zip(baseline.levels, mixed_signals, strict=True):
        mixed_val[level] = _mean_accuracy(ended[signal], "val", epochs)
        mixed_wrong[level] = _mean_wrong(ended[signal], epochs)
    return Curve(
        label=label,
        epochs=epochs,
        real_train=_mean_accuracy(ended[REAL], "train", epochs),
        real_val=_mean_accuracy(ended[REAL], "val", epochs),
        rand_train=_mean_accuracy(ended[RAND], "train", epochs),
        mixed_val=mixed_val,
        mixed_wrong=mixed_wrong,
    )


def _mean_accuracy(
    records: Sequence[Record], name: str, epochs: tuple[int, ...]
) -> tuple[float, ...]:
    """Average the curve called `name` over records, at some of their epochs."""
    means = []
    for epoch in epochs:
        values = [getattr(record, name)[record.epochs.index(epoch)] for record in records]
        means.append(float(np.mean(values)))
    return tuple(means)


def _mean_wrong(records: Sequence[Record], epochs: tuple[int, ...]) -> tuple[float | None, ...]:
    """Average M over records, at some of their epochs; None where a run has no wrong labels."""
    means = []
    for epoch in epochs:
        values = [record.wrong[record.epochs.index(epoch)] for record in records]
        known = [value for value in values if value is not None]
        means.append(float(np.mean(known)) if len(known) == len(values) else None)
    return tuple(means)


def late_gain(grid: Grid, baseline: Baseline, chosen: Ints) -> float:
    """Compute F(E) - F(0.8 E) at the chosen strengths, mean over seeds (README, Flags).

    Args:
        grid: the entry's.
        baseline: `none` on the task.
        chosen: [s], each seed's index into the grid's strengths.

    Returns:
        A share; a run that did not end `ok` counts 0 in the mean.
    """
    gains = []
    for strength_index, seed in zip(chosen, baseline.seeds, strict=True):
        gains.append(_late_gain(grid.records[strength_index][RAND, seed]))
    return float(np.mean(gains))


def _late_gain(record: Record) -> float:
    if record.status != "ok":
        return 0.0
    until = 0.8 * record.epochs[-1] + 0.5
    early = None
    for epoch, fit in zip(record.epochs, record.train, strict=True):
        if epoch <= until:
            early = fit
    return 0.0 if early is None else record.train[-1] - early


def largest_cost(grid: Grid) -> float:
    """Find kappa, the largest cost of the entry's runs (README, Equal compute).

    1 if no run ended `ok`.
    """
    costs = []
    for runs in grid.records[1:]:
        costs += [record.cost for record in runs.values() if record.status == "ok"]
    return max(costs, default=1.0)


def equal_compute(grid: Grid, baseline: Baseline, chosen: Ints) -> float | None:
    """Compute R at the compute of `none` (README, Equal compute).

    Each run is read at epoch E / kappa, as the engine rounds it when it reads test accuracy there:
    max(1, round(E / kappa)). The strengths stay those that the last epoch chose.

    Args:
        grid: the entry's.
        baseline: `none` on the task.
        chosen: [s], each seed's index into the grid's strengths.

    Returns:
        R at equal compute; None if kappa = 1 throughout, or if the test accuracy of such an epoch
        was not stored.
    """
    # [s, p], a copy
    accuracy = grid.graded(baseline, TEST)[chosen, np.arange(len(baseline.seeds))]
    costly = False
    for s, (strength_index, seed) in enumerate(zip(chosen, baseline.seeds, strict=True)):
        for p, signal in enumerate(baseline.signals[baseline.graded]):
            record = grid.records[strength_index][signal, seed]
            if strength_index == 0 or record.status != "ok" or record.cost <= 1:
                continue
            costly = True
            epoch = max(1, round(baseline.epochs / record.cost))
            accuracy[s, p] = _test_accuracy_at(record, epoch)
    total = damage(baseline.accuracy).sum()
    value = float((accuracy - baseline.accuracy).sum() / total)
    return value if costly and not np.isnan(value) else None


def _test_accuracy_at(record: Record, epoch: int) -> float:
    """Test accuracy at an epoch; NaN where it was not read."""
    for stored, accuracy in zip(record.epochs, record.test, strict=True):
        if stored == epoch and accuracy is not None:
            return accuracy
    return float("nan")

"""Learning curves of one setting's runs, in means over seeds. Nothing chooses or ranks by them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from membench.records import Record
from membench.scoring.readings import Baseline
from membench.scoring.record_index import RAND
from membench.scoring.record_index import REAL
from membench.scoring.record_index import RecordsByCell
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
    ended: dict[str, list[Record]] = {}
    for signal in baseline.signals[: baseline.num_needed]:
        records = [runs[signal, seed] for seed in baseline.seeds]
        ended[signal] = [record for record in records if record.status == "ok"]
        if not ended[signal]:
            return None
    stored = []
    for records in ended.values():
        stored += [set(record.epochs) for record in records]
    epochs = tuple(sorted(set.intersection(*stored)))
    noisy_val = {}
    noisy_wrong = {}
    for signal in baseline.noisy_signals:
        noisy_val[signal] = _mean_accuracy(ended[signal], "val", epochs)
        noisy_wrong[signal] = _mean_wrong(ended[signal], epochs)
    return Curve(
        label=label,
        epochs=epochs,
        real_train=_mean_accuracy(ended[REAL], "train", epochs),
        real_val=_mean_accuracy(ended[REAL], "val", epochs),
        rand_train=_mean_accuracy(ended[RAND], "train", epochs) if baseline.has_rand else (),
        noisy_val=noisy_val,
        noisy_wrong=noisy_wrong,
    )


def _mean_accuracy(
    records: Sequence[Record], name: str, epochs: tuple[int, ...]
) -> tuple[float, ...]:
    """Average the curve called `name` over records, at some of their epochs."""
    values = [_at_epochs(record, name, epochs) for record in records]
    return tuple(np.mean(values, 0).tolist())


def _mean_wrong(records: Sequence[Record], epochs: tuple[int, ...]) -> tuple[float | None, ...]:
    """Average M over records, at some of their epochs; None where a run has no wrong labels."""
    values = []
    for record in records:
        of_run = _at_epochs(record, "wrong", epochs)
        values.append([np.nan if value is None else value for value in of_run])
    means = np.mean(values, 0).tolist()
    return tuple(None if np.isnan(mean) else mean for mean in means)


def _at_epochs(record: Record, name: str, epochs: tuple[int, ...]) -> Sequence[Any]:
    curve: tuple[Any, ...] = getattr(record, name)
    if record.epochs == epochs:
        return curve
    at = dict(zip(record.epochs, curve, strict=True))
    return [at[epoch] for epoch in epochs]

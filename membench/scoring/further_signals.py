"""The effect of an entry on signals that no score needs: randX, pair-flip@p, any plugin's."""

from __future__ import annotations

import numpy as np

from membench.records import parse_signal
from membench.scoring.formulas import Floats
from membench.scoring.formulas import ratio
from membench.scoring.formulas import suppression
from membench.scoring.readings import TEST
from membench.scoring.readings import TRAIN
from membench.scoring.readings import WRONG
from membench.scoring.readings import Baseline


def further_signals(baseline: Baseline, setting: Floats) -> dict[str, float]:
    """Compute what one setting does to each further signal (README, Further signals).

    All are ratios of means over the seeds that have both runs. None of it chooses a strength or
    ranks.

    Args:
        baseline: `none` on the task.
        setting: [s, signal, reading], readings of the setting.

    Returns:
        "R name@p" for a signal with a part of its labels wrong: the share of the accuracy that this
        noise costs `none` which is won back. "S name" for any other: the share of its fit that is
        gone.
    """
    values = {}
    for i in range(baseline.num_needed, len(baseline.signals)):
        signal = baseline.signals[i]
        level = parse_signal(signal)[1]
        has_wrong_labels = not np.isnan(baseline.readings[:, i, WRONG]).all()
        if level is not None and has_wrong_labels:
            share = _share_won_back(baseline, setting, i)
            name = f"R {signal}"
        else:
            share = _share_of_fit_gone(baseline, setting, i)
            name = f"S {signal}"
        if share is not None:
            values[name] = share
    return values


def _share_won_back(baseline: Baseline, setting: Floats, i: int) -> float | None:
    """Recovery from signal i alone; None if no seed has both runs."""
    accuracy, noisy = setting[:, i, TEST], baseline.readings[:, i, TEST]
    both = ~np.isnan(accuracy + noisy)
    if not both.any():
        return None
    real = baseline.accuracy[both, 0]
    return float(ratio((accuracy - noisy)[both].mean(), (real - noisy[both]).mean()))


def _share_of_fit_gone(baseline: Baseline, setting: Floats, i: int) -> float | None:
    """Suppression of signal i; None if no seed has both runs."""
    fit, baseline_fit = setting[:, i, TRAIN], baseline.readings[:, i, TRAIN]
    both = ~np.isnan(fit + baseline_fit)
    if not both.any():
        return None
    chance = []
    for seed, has_both in zip(baseline.seeds, both, strict=True):
        if has_both:
            chance.append(baseline.records[baseline.signals[i], seed].label_share)
    return float(suppression(fit[both], baseline_fit[both], np.array(chance)))

"""The points of the figures: every strength of an entry, in means over the choosing seeds."""

from __future__ import annotations

import numpy as np

from membench.scoring.choices import held_back_by_strength
from membench.scoring.choices import validation_gains
from membench.scoring.formulas import Floats
from membench.scoring.formulas import damage
from membench.scoring.formulas import gain
from membench.scoring.formulas import ratio
from membench.scoring.formulas import suppression
from membench.scoring.further_signals import further_signals
from membench.scoring.readings import TEST
from membench.scoring.readings import TRAIN
from membench.scoring.readings import VAL
from membench.scoring.readings import WRONG
from membench.scoring.readings import Baseline
from membench.scoring.readings import Grid
from membench.scoring.record_index import REAL
from membench.scoring.types import Point


def make_points(baseline: Baseline, grid: Grid) -> tuple[Point, ...]:
    """Make one point a strength, off first.

    Args:
        baseline: `none` on the task at the choosing seeds.
        grid: of an entry, or of the control.
    """
    gains = gain(grid.graded(baseline, TEST), baseline.accuracy).mean(-1)
    R = ratio(gains, damage(baseline.accuracy).mean())
    H = held_back_by_strength(baseline, grid.readings).mean(-1)
    rand_fit = baseline.fit_of(grid.readings)  # [l, s]
    S = suppression(rand_fit, baseline.fit, baseline.chance)
    means = grid.readings.mean(1)  # [l, signal, reading]
    dA = 100 * (means[:, 0, TEST] - baseline.accuracy[:, 0].mean())
    gains_val = validation_gains(baseline, grid)
    points = []
    for place, strength in enumerate(grid.strengths):
        mean = means[place]
        train = {}
        for signal, fit in zip(baseline.signals, mean[:, TRAIN].tolist(), strict=True):
            if not np.isnan(fit):
                train[signal] = fit
        point = Point(
            strength=strength,
            label=grid.labels[place],
            real=float(mean[0, TEST]),
            val=float(mean[0, VAL]),
            noisy_test=by_signal(baseline, mean[baseline.noisy, TEST]),
            noisy_val=by_signal(baseline, mean[baseline.noisy, VAL]),
            fit=float(rand_fit[place].mean()) if baseline.has_rand else None,
            wrong=by_signal(baseline, mean[baseline.noisy, WRONG]),
            train=train,
            H=float(H[place]),
            S=float(S[place]) if baseline.has_rand else None,
            dA=float(dA[place]),
            R=float(R[place]),
            gain_val=dict(
                zip((REAL, *baseline.noisy_signals), gains_val[place].tolist(), strict=True)
            ),
            seeds=len(baseline.seeds),
            failed=grid.failed[place],
            cells=grid.cells[place],
            extra=further_signals(baseline, grid.readings[place]),
        )
        points.append(point)
    return tuple(points)


def by_signal(baseline: Baseline, values: Floats) -> dict[str, float]:
    """Key [p] values, p > 0, by their signal."""
    return dict(zip(baseline.noisy_signals, values.tolist(), strict=True))

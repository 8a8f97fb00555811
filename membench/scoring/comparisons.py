"""Tests between two rows, and the test of the claim of one (README, Intervals and Claim)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from membench.scoring.confirmed import Reading
from membench.scoring.confirmed import all_above
from membench.scoring.confirmed import estimate
from membench.scoring.confirming import Readings
from membench.scoring.formulas import Floats
from membench.scoring.stats import Estimate
from membench.scoring.stats import TaskEstimate
from membench.scoring.stats import over_tasks
from membench.scoring.types import Claim

LEAST_HELD_BACK = 0.1  #: H that a claim must be above
MOST_LOST = -1.0  #: points of accuracy, on real data and on each noise level, likewise


def differences(tasks: Sequence[Sequence[Reading]], envs: Sequence[Sequence[str]]) -> Estimate:
    """Estimate the difference of every two rows, the first minus the second: [r, r].

    Rows of one environment on a task are compared seed by seed there; rows of two by Welch's
    variances, which is conservative: their seeds are shared.

    Args:
        tasks: one a task, the readings of all rows there, with weights.
        envs: the same of their environments.
    """
    parts = []
    for readings, env in zip(tasks, envs, strict=True):
        parts.append(_difference_on_task(readings, env))
    return over_tasks(parts)


def _difference_on_task(readings: Sequence[Reading], envs: Sequence[str]) -> TaskEstimate:
    """Estimate the differences on one task: value, variance and degrees of freedom, [r, r] each."""
    value = np.array([reading.value for reading in readings])
    floor = np.array([reading.floor for reading in readings])
    degrees = np.array([reading.influence.shape[-1] - 1 for reading in readings])
    failures = np.array([float(reading.failures) for reading in readings])
    spread = np.array([reading.influence.var(ddof=1) for reading in readings])
    variance = np.maximum(np.maximum(spread, floor**2), failures) / (degrees + 1)
    squares = variance**2 / degrees
    variance_of_pair = variance[:, None] + variance[None]
    degrees_of_pair = variance_of_pair**2 / (squares[:, None] + squares[None])
    for env in sorted(set(envs)):
        its = [row for row, of_row in enumerate(envs) if of_row == env]
        influence = np.stack([readings[row].influence for row in its])
        paired = influence[:, None] - influence[None]
        floors = np.maximum(floor[its][:, None], floor[its][None])
        block = np.ix_(its, its)
        expected = failures[its][:, None] + failures[its][None]
        spread_of_pair = np.maximum(np.maximum(paired.var(-1, ddof=1), floors**2), expected)
        variance_of_pair[block] = spread_of_pair / influence.shape[-1]
        degrees_of_pair[block] = influence.shape[-1] - 1
    return TaskEstimate(
        value=value[:, None] - value[None],
        variance=variance_of_pair,
        degrees=degrees_of_pair,
        weight=readings[0].weight,
    )


def make_claim(
    tasks: dict[str, Readings], levels: Sequence[float], weights: Sequence[float]
) -> Claim:
    """Test the claim of one row, at the strengths chosen by noise held back (README, Claim).

    Args:
        tasks: task -> readings there.
        levels: p > 0.
        weights: w_t.

    Returns:
        The claim, before Holm's correction.
    """
    readings = list(tasks.values())
    H = estimate(weighted([reading.H for reading in readings], weights))
    dA = estimate(weighted([reading.dA for reading in readings], weights))
    parts = [(H, LEAST_HELD_BACK), (dA, MOST_LOST)]
    bounds = {}
    for place, level in enumerate(levels):
        noisy = estimate(weighted([reading.noisy[place] for reading in readings], weights))
        parts.append((noisy, MOST_LOST))
        bounds[level] = float(noisy.lower)
    by_task = {task: float(reading.dA.value) for task, reading in tasks.items()}
    p = float(all_above(parts)) if min(by_task.values()) > MOST_LOST else 1.0
    return Claim(
        holds=False,
        p=p,
        H_bound=float(H.lower),
        dA_bound=float(dA.lower),
        noisy_bounds=bounds,
        dA_by_task=by_task,
    )


def weighted(readings: Sequence[Reading], weights: Sequence[float]) -> list[Reading]:
    """Return the readings, one a task, with the tasks' weights."""
    return [
        replace(reading, weight=weight) for reading, weight in zip(readings, weights, strict=True)
    ]


def only_attackers(p: Floats, may_attack: NDArray[np.bool_]) -> Floats:
    """Return p [r, r] of who beats whom, with 1 for those that count as beating nobody."""
    return np.where(may_attack[:, None], p, 1.0)

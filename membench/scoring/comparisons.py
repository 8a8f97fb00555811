"""Tests between two rows, and the test of the claim of one (README, Intervals and Claim)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from membench.scoring.confirmed import Reading
from membench.scoring.confirmed import all_above
from membench.scoring.confirmed import estimate
from membench.scoring.confirmed import estimate_on_task
from membench.scoring.formulas import Floats
from membench.scoring.outcomes import Readings
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
    alone = [estimate_on_task(reading) for reading in readings]
    value = np.array([row.value for row in alone])
    variance = np.array([row.variance for row in alone])
    squares = np.array([row.variance**2 / row.degrees for row in alone])
    variance_of_pair = variance[:, None] + variance[None]
    degrees_of_pair = variance_of_pair**2 / (squares[:, None] + squares[None])
    for env in sorted(set(envs)):
        its = [row for row, of_row in enumerate(envs) if of_row == env]
        paired = estimate_on_task(_stack([readings[row] for row in its]).pairs())
        variance_of_pair[np.ix_(its, its)] = paired.variance
        degrees_of_pair[np.ix_(its, its)] = paired.degrees
    return TaskEstimate(
        value=value[:, None] - value[None],
        variance=variance_of_pair,
        degrees=degrees_of_pair,
        weight=readings[0].weight,
    )


def _stack(readings: Sequence[Reading]) -> Reading:
    """Stack the readings of several rows of one environment: the rows r are the first axis."""
    return Reading(
        value=np.stack([reading.value for reading in readings]),
        influence=np.stack([reading.influence for reading in readings]),
        floor=max(reading.floor for reading in readings),  # that of `none`, so the same for all
        weight=readings[0].weight,
        failures=np.stack([reading.failures for reading in readings]),
    )


def make_claim(
    tasks: dict[str, Readings], noisy_signals: Sequence[str], weights: Sequence[float]
) -> Claim:
    """Test the claim of one row, at the strengths chosen by noise held back (README, Claim).

    Args:
        tasks: task -> readings there.
        noisy_signals: P without real.
        weights: w_t.

    Returns:
        The claim, before Holm's correction.
    """
    readings = list(tasks.values())
    H = estimate(weighted([reading.H for reading in readings], weights))
    dA = estimate(weighted([reading.dA for reading in readings], weights))
    parts = [(H, LEAST_HELD_BACK), (dA, MOST_LOST)]
    bounds = {}
    for place, signal in enumerate(noisy_signals):
        noisy = estimate(weighted([reading.noisy[place] for reading in readings], weights))
        parts.append((noisy, MOST_LOST))
        bounds[signal] = float(noisy.lower)
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

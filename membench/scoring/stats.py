"""Estimates over tasks, Holm's correction and rank intervals (README of this folder, Intervals).

`confirmed` makes the estimates from readings; this module knows no readings.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

from membench.scoring.formulas import Floats
from membench.scoring.formulas import Ints
from membench.studies import t_half_width

LEVEL = 0.95  #: of the two-sided intervals
ALPHA = 0.05  #: of claims and of ranks
FEWEST_SEEDS = 5  #: for ranks and claims


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A weighted mean of the tasks' ratios; arrays of the batch's shape."""

    mean: Floats
    error: Floats  #: standard error
    freedom: Floats  #: degrees of freedom, by Welch and Satterthwaite

    @property
    def half(self) -> Floats:
        """The half-width of the two-sided 95% interval."""
        return t_half_width(self.error, self.freedom, LEVEL)

    @property
    def p_above(self) -> Floats:
        """The one-sided p of "the mean is not above 0"."""
        return self.p_above_bound(0.0)

    def p_above_bound(self, bound: float) -> Floats:
        """Return the one-sided p of "the mean is not above the bound"."""
        return special.stdtr(self.freedom, (bound - self.mean) / self.error)

    @property
    def lower(self) -> Floats:
        """The one-sided 95% bound from below."""
        return self.mean - special.stdtrit(self.freedom, LEVEL) * self.error


@dataclass(frozen=True, kw_only=True)
class TaskEstimate:
    """One task's share of an estimate, with the variance of its value."""

    value: Floats
    variance: Floats
    degrees: Floats | int  #: of freedom
    weight: float


def over_tasks(parts: Sequence[TaskEstimate]) -> Estimate:
    """Average over tasks; freedom by Welch and Satterthwaite (README, Intervals)."""
    mean, variance, squares = np.zeros(()), np.zeros(()), np.zeros(())
    for part in parts:
        mean = mean + part.weight * part.value
        variance = variance + part.weight**2 * part.variance
        squares = squares + (part.weight**2 * part.variance) ** 2 / part.degrees
    return Estimate(
        mean=np.asarray(mean),
        error=np.sqrt(variance),
        freedom=np.asarray(variance) ** 2 / squares,
    )


def holm(p: Floats) -> Floats:
    """Adjust p-values along the last axis by Holm's step-down procedure (README, Ranks).

    What is below ALPHA is claimed.
    """
    order = np.argsort(p, -1)
    steps = np.take_along_axis(p, order, -1) * np.arange(p.shape[-1], 0, -1)
    adjusted = np.minimum(np.maximum.accumulate(steps, -1), 1.0)
    out = np.empty_like(adjusted)
    np.put_along_axis(out, order, adjusted, -1)
    return out


def rank_intervals(better: NDArray[np.bool_]) -> tuple[Ints, Ints]:
    """Compute rank intervals from who beats whom, [..., r, r] (README, Ranks).

    Returns:
        The ends, [..., r] each: 1 + number that beat r, N - number that r beats.
    """
    return 1 + better.sum(-2), better.shape[-1] - better.sum(-1)

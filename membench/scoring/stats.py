"""Intervals, tests and rank intervals from paired seeds (README of this folder: Intervals, Ranks).

The variance has a term for the choice of strength, forced by simulation
(tests/scoring/test_simulation.py). All folds share most seeds, so all tend to choose the same
strength, and the spread over seeds does not show that other seeds would have chosen another one.
`estimate` adds that part of the variance. Without it, with five seeds and near-ties, the 95%
intervals cover 77 to 92%, and 20 entries no better than the control give a false claim on up to
half of the boards; with it, 94 to 98% and at most 5%.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy import special

from membench.scoring.formulas import Floats
from membench.scoring.formulas import Ints
from membench.scoring.formulas import at_chosen
from membench.scoring.formulas import choose
from membench.scoring.formulas import gains_of_subsets
from membench.scoring.formulas import ratio
from membench.studies import t_half_width

LEVEL = 0.95  #: of the two-sided intervals
ALPHA = 0.05  #: of claims and of ranks
FEWEST_SEEDS = 5  #: for ranks and claims


@dataclass(frozen=True, kw_only=True)
class Stratum:
    """One task's share of an estimate; `a - b` is the paired difference of two entries."""

    gains: Floats  #: [..., s], N_s at the strengths that the folds chose
    subset_gains: Floats  #: [..., h], the mean N at the strength that each subset of seeds chose
    damage: Floats  #: [..., s], G_s
    num_test: int  #: m, test images
    weight: float = 1.0  #: w_t

    def __sub__(self, other: Stratum) -> Stratum:
        return replace(
            self,
            gains=self.gains - other.gains,
            subset_gains=self.subset_gains - other.subset_gains,
        )

    def pairs(self) -> Stratum:
        """Subtract every entry from every other: [..., r, s] -> [..., r, r, s]."""
        return replace(
            self,
            gains=self.gains[..., :, None, :] - self.gains[..., None, :, :],
            subset_gains=self.subset_gains[..., :, None, :] - self.subset_gains[..., None, :, :],
            damage=self.damage[..., None, :],
        )


def make_stratum(gain_val: Floats, gains: Floats, damage: Floats, num_test: int) -> Stratum:
    """Choose strengths leaving one seed out, and read the test gains there (README, Choice).

    Args:
        gain_val: [..., l, s], N on validation images.
        gains: [..., l, s], N on test images.
        damage: [..., s], G.
        num_test: m, test images.
    """
    return Stratum(
        gains=at_chosen(gains, choose(gain_val)),
        subset_gains=gains_of_subsets(gain_val, gains),
        damage=damage,
        num_test=num_test,
    )


def stack_entries(strata: Sequence[Stratum]) -> Stratum:
    """Stack the strata of several entries on one task: the entries r are the first axis."""
    return replace(
        strata[0],
        gains=np.stack([stratum.gains for stratum in strata]),
        subset_gains=np.stack([stratum.subset_gains for stratum in strata]),
    )


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

    def __sub__(self, other: Estimate) -> Estimate:
        """Subtract an estimate of other runs, unpaired (Welch, Biometrika 34, 1947)."""
        variances = self.error**2, other.error**2
        squares = variances[0] ** 2 / self.freedom + variances[1] ** 2 / other.freedom
        variance = variances[0] + variances[1]
        return Estimate(
            mean=self.mean - other.mean, error=np.sqrt(variance), freedom=variance**2 / squares
        )


def estimate(strata: Sequence[Stratum]) -> Estimate:
    """Estimate R = sum_t w_t R_t and its standard error by the delta method (README, Intervals).

    A spread below one test image is not believed. The variance over h of `subset_gains` is what the
    choice adds (0 where all subsets agree).

    Args:
        strata: one a task, of one entry or of the difference of two, with the same batch axes.
    """
    parts = []
    for stratum in strata:
        value, variance = _ratio_and_variance(stratum)
        parts.append(
            TaskEstimate(
                value=value,
                variance=variance,
                degrees=stratum.gains.shape[-1] - 1,
                weight=stratum.weight,
            )
        )
    return over_tasks(parts)


@dataclass(frozen=True, kw_only=True)
class TaskEstimate:
    """One task's share of an estimate, with the variance of its value."""

    value: Floats
    variance: Floats
    degrees: int  #: of freedom
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


def _ratio_and_variance(stratum: Stratum) -> tuple[Floats, Floats]:
    """Compute R_t and v_t of one task (README, Intervals and Term of choice)."""
    mean_damage = stratum.damage.mean(-1)
    value = ratio(stratum.gains.mean(-1), mean_damage)
    residuals = stratum.gains - value[..., None] * stratum.damage
    one_image = max(stratum.num_test, 1) ** -2.0
    spread = np.maximum(residuals.var(-1, ddof=1), one_image) / stratum.gains.shape[-1]
    return value, (spread + stratum.subset_gains.var(-1)) / mean_damage**2


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


def beats(strata: Sequence[Stratum]) -> NDArray[np.bool_]:
    """Test which entry beats which: one-sided paired t at .05 / (2 (N - 1)) (README, Ranks).

    The promise is to each row: its interval misses its rank at most once in 20 boards. It is not
    made to all rows of a board at once: of 20 equal entries some row was set apart on up to a third
    of the simulated boards.

    Args:
        strata: one a task, with all N entries (`stack_entries`): [..., r, s].

    Returns:
        [..., r, r]: the first beats the second.
    """
    count = strata[0].gains.shape[-2]
    differences = [stratum.pairs() for stratum in strata]
    return estimate(differences).p_above < ALPHA / (2 * max(count - 1, 1))


def rank_intervals(better: NDArray[np.bool_]) -> tuple[Ints, Ints]:
    """Compute rank intervals from who beats whom, [..., r, r] (README, Ranks).

    Returns:
        The ends, [..., r] each: 1 + number that beat r, N - number that r beats.
    """
    return 1 + better.sum(-2), better.shape[-1] - better.sum(-1)

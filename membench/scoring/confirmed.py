"""Readings on fresh seeds, for protocol 2: estimates, intervals, claims, ranks and the front.

Strengths are chosen on one set of seeds and read on another, so that nothing has to be taken off
for the choice. A reading is a ratio of means over the confirming seeds, or a mean of such ratios
over the noise levels; `Reading` holds it with its influence values, from which the variance of any
paired difference follows. All functions take batches: arrays [..., s] or [..., r, s], with entries
r and seeds s.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from membench.scoring.formulas import TIE
from membench.scoring.formulas import Floats
from membench.scoring.formulas import Ints
from membench.scoring.formulas import ratio
from membench.scoring.formulas import weakest_best
from membench.scoring.stats import ALPHA
from membench.scoring.stats import Estimate
from membench.scoring.stats import TaskEstimate
from membench.scoring.stats import over_tasks

MAX_LOSS = 0.005  #: of validation accuracy on real data, that a choice by noise held back allows


@dataclass(frozen=True, kw_only=True)
class Reading:
    """One reading of an entry on one task; `a - b` is the paired difference of two entries."""

    value: Floats  #: [...]
    influence: Floats  #: [..., s], e_s, which sum to 0 over the seeds
    floor: float  #: the spread of e below which none is believed: that of one image or label
    weight: float = 1.0  #: w_t
    #: [...], u, the least variance over seeds; 0 where no run has failed
    failures: Floats = field(default_factory=lambda: np.zeros(()))

    def __sub__(self, other: Reading) -> Reading:
        return replace(
            self,
            value=self.value - other.value,
            influence=self.influence - other.influence,
            floor=max(self.floor, other.floor),
            failures=self.failures + other.failures,
        )

    def pairs(self) -> Reading:
        """Subtract every entry from every other: [..., r, s] -> [..., r, r, s]."""
        failures = np.broadcast_to(self.failures, self.value.shape)
        return replace(
            self,
            value=self.value[..., :, None] - self.value[..., None, :],
            influence=self.influence[..., :, None, :] - self.influence[..., None, :, :],
            failures=failures[..., :, None] + failures[..., None, :],
        )

    def cut(self, most: float) -> Reading:
        """Count a value above `most` as `most`; the influence values stay."""
        return replace(self, value=np.minimum(self.value, most))


def read_ratio(
    numerator: Floats, denominator: Floats, steps: Floats, weight: float = 1.0
) -> Reading:
    """Read a mean over noise levels of ratios of means over seeds (README, Intervals).

    The variance of a ratio of means is that of its residuals over the mean of the denominator
    (the ratio estimator; Cochran, *Sampling Techniques*, 3rd ed. 1977, chapter 6).

    Args:
        numerator: [..., s, p], what is read at each level, as H's (M0 - q0) - (M - q).
        denominator: [..., s, p], what it is measured by, as M0 - q0.
        steps: [p], the least amount by which a numerator can change: 1 / m, of m images or labels.
        weight: w_t.
    """
    by = denominator.mean(-2)
    values = ratio(numerator.mean(-2), by)
    residuals = numerator - values[..., None, :] * denominator
    influence = ratio(residuals, by[..., None, :]).mean(-1)
    floor = float(np.max(ratio(steps, by).mean(-1)))
    return Reading(value=values.mean(-1), influence=influence, floor=floor, weight=weight)


def read_mean(values: Floats, step: float, weight: float = 1.0) -> Reading:
    """Read a plain mean over seeds, as dA.

    Args:
        values: [..., s].
        step: the least amount by which a value can change.
        weight: w_t.
    """
    mean = values.mean(-1)
    return Reading(value=mean, influence=values - mean[..., None], floor=step, weight=weight)


def expect_failures(
    reading: Reading, worst: Floats, failed: Ints, runs: Ints, earlier: Ints
) -> Reading:
    """Allow for failures that the confirming seeds may lack (README, Rare failures).

    Ten runs may all end where one in ten fails, and then show nothing of it in their spread. Where
    the entry has shown that it can fail, the share of this setting's runs that fails is taken as
    r = (failed + 1) / (runs + 2), Laplace's rule of succession, and the variance over seeds as
    u = r (1 - r) (value - worst)^2 at least.

    Args:
        reading: of one entry on one task, at one chosen setting.
        worst: [...], what the value would be, had every run of it failed.
        failed: [...], how many of the setting's confirming runs, over all signals, failed.
        runs: [...], how many there are; 0 for off.
        earlier: [...], how many choosing runs of this strength and the weaker ones failed.
    """
    rate = (failed + 1) / (runs + 2)
    failures = rate * (1 - rate) * (reading.value - worst) ** 2
    can_fail = np.asarray(failed + earlier) > 0
    return replace(reading, failures=np.where(can_fail, failures, 0.0))


def estimate(readings: Sequence[Reading]) -> Estimate:
    """Estimate the weighted mean of one reading over tasks.

    Degrees of freedom are those of Welch and Satterthwaite.

    Args:
        readings: one a task, of one entry or of the difference of two, with the same batch axes.
    """
    return over_tasks([estimate_on_task(reading) for reading in readings])


def estimate_on_task(reading: Reading) -> TaskEstimate:
    """Estimate a reading on its task, with v = max(var(e), floor^2, u) / n (README, Intervals)."""
    num_seeds = reading.influence.shape[-1]
    spread = np.maximum(reading.influence.var(-1, ddof=1), reading.floor**2)
    return TaskEstimate(
        value=reading.value,
        variance=np.maximum(spread, reading.failures) / num_seeds,
        degrees=num_seeds - 1,
        weight=reading.weight,
    )


# --- the choice of a strength, on the choosing seeds ----------------------------------------------


def choose_by_noise_held_back(held_back: Floats, gain_val: Floats) -> Ints:
    """Choose the strength that holds back most noise at no cost (README, Choice).

    On clean validation images it may lose half a point after training on real data, and nothing
    after training on noise: that stops a regularizer that quits where labels look random.

    Args:
        held_back: [..., l], H in means over the choosing seeds; off, H = 0, is the first.
        gain_val: [..., l, p], the mean of V_p - V0_p; p = 0 is the first.

    Returns:
        [...], the strength's index. Off is always a candidate; ties go to the weaker.
    """
    allowed = gain_val[..., 0] >= -MAX_LOSS - TIE
    allowed = allowed & (gain_val[..., 1:] >= -TIE).all(-1)
    allowed[..., 0] = True
    # fewer wrong labels than chance would hit count as none
    return weakest_best(np.where(allowed, np.minimum(held_back, 1.0), -np.inf), -1)


def choose_by_recovery(gain_val: Floats) -> Ints:
    """Choose the strength whose accuracy on validation images, summed over P, gains most.

    Args:
        gain_val: [..., l, p], the mean of V_p - V0_p over the choosing seeds; off is the first.

    Returns:
        [...], the strength's index. Off is always a candidate; ties go to the weaker.
    """
    return weakest_best(gain_val.sum(-1), -1)


# --- claims, ranks and the front, on the confirming seeds -----------------------------------------


def all_above(parts: Sequence[tuple[Estimate, float]]) -> Floats:
    """Test that every estimate is above its bound (README, Claim).

    An intersection-union test: the largest p of its parts.

    Args:
        parts: estimates, each with the bound that it must be above.

    Returns:
        [...], p of "one of them is not".
    """
    return np.max([part.p_above_bound(bound) for part, bound in parts], 0)


def p_of_pairs(readings: Sequence[Reading]) -> Floats:
    """Test which entry is above which, paired: [..., r, r], one-sided p of "the first is not".

    Args:
        readings: one a task, of all entries: [..., r, s].
    """
    return estimate([reading.pairs() for reading in readings]).p_above


def beats(p: Floats) -> NDArray[np.bool_]:
    """Decide who beats whom, for rank intervals: at .05 / (2 (N - 1)).

    Args:
        p: [..., r, r], of `p_of_pairs`.
    """
    return p < ALPHA / (2 * max(p.shape[-1] - 1, 1))


def may_be_first(p: Floats) -> NDArray[np.bool_]:
    """Tell which entries no other beats at .05 / (N - 1): [..., r].

    N - 1 comparisons with the best suffice (Hsu, *Multiple Comparisons*, 1996, chapter 4).

    Args:
        p: [..., r, r], of `p_of_pairs`.
    """
    return ~(p < ALPHA / max(p.shape[-1] - 1, 1)).any(-2)


def on_front(p_of_one: Floats, p_of_other: Floats) -> NDArray[np.bool_]:
    """Tell which entries no other beats in both readings, each at .05 / (N - 1): [..., r].

    Args:
        p_of_one: [..., r, r], of `p_of_pairs` of one reading.
        p_of_other: the same of the other reading.
    """
    level = ALPHA / max(p_of_one.shape[-1] - 1, 1)
    return ~((p_of_one < level) & (p_of_other < level)).any(-2)

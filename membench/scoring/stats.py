"""Intervals, tests and rank intervals from paired seeds (section 1, Intervals and Ranks); called by the board.

One amendment to the design's v_t, forced by simulation (tests/test_scoring_simulation.py): all folds share most seeds,
so all tend to choose the same strength, and the spread of e_s over seeds does not show that other seeds would have
chosen another one. `estimate` adds that part of the variance. Without it, with five seeds and near-ties, the 95%
intervals cover 77 to 92%, and 20 entries no better than the control give a false claim on up to half of the boards;
with it, 94 to 98% and at most 5%.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

from membench.scoring.formulas import Floats
from membench.scoring.formulas import Ints
from membench.scoring.formulas import alternatives
from membench.scoring.formulas import choose
from membench.scoring.formulas import ratio
from membench.scoring.formulas import take

LEVEL = 0.95
ALPHA = 0.05
FEWEST_SEEDS = 5  #: for ranks and claims


@dataclass(frozen=True)
class Stratum:
    """One task's share of an estimate; `a - b` is the paired difference of two entries."""

    gains: Floats  #: N_s at the folds' strengths, [..., s]
    choices: Floats  #: mean N at the strength that each subset of seeds chooses, [..., h]
    damage: Floats  #: G_s, [..., s]
    tests: int  #: m
    weight: float = 1.0  #: w_t

    def __sub__(self, other: Stratum) -> Stratum:
        gains, choices = self.gains - other.gains, self.choices - other.choices
        return Stratum(gains, choices, self.damage, self.tests, self.weight)

    def pairs(self) -> Stratum:
        """Every entry minus every other: [r, ...] -> [r, r, ...]."""
        gains = self.gains[..., :, None, :] - self.gains[..., None, :, :]
        choices = self.choices[..., :, None, :] - self.choices[..., None, :, :]
        return Stratum(gains, choices, self.damage[..., None, :], self.tests, self.weight)


def stratum(
    gain_val: Floats, gains: Floats, damage: Floats, tests: int, weight: float = 1.0
) -> Stratum:
    """Choose leaving one seed out and read the test gains there: [..., l, s] twice and [..., s]."""
    return Stratum(
        take(gains, choose(gain_val)), alternatives(gain_val, gains), damage, tests, weight
    )


def stacked(parts: Sequence[Stratum]) -> Stratum:
    """The entries' strata on one task as one: [r, ...]."""
    gains, choices = (
        np.stack([part.gains for part in parts]),
        np.stack([part.choices for part in parts]),
    )
    return Stratum(gains, choices, parts[0].damage, parts[0].tests, parts[0].weight)


@dataclass(frozen=True)
class Estimate:
    """A weighted mean of tasks' ratios; arrays of the batch's shape."""

    mean: Floats
    error: Floats  #: standard error
    freedom: Floats  #: Welch-Satterthwaite

    @property
    def half(self) -> Floats:
        """Half-width of the two-sided 95% interval."""
        return special.stdtrit(self.freedom, (1 + LEVEL) / 2) * self.error

    @property
    def p_above(self) -> Floats:
        """One-sided p of "the mean is not above 0"."""
        return special.stdtr(self.freedom, -self.mean / self.error)


def estimate(strata: Sequence[Stratum]) -> Estimate:
    """R = sum_t w_t R_t with R_t = sum N / sum G, and its standard error by the delta method.

    e_s = N_s - R_t G_s, v_t = (max(var(e), (1/m)^2) / n + c) / D_t^2: a spread below one test image is not believed,
    and c, the variance over h of `alternatives`, is what the choice adds (0 where all subsets agree).
    nu = (sum w^2 v)^2 / sum((w^2 v)^2 / (n_t - 1)).
    """
    mean, spread, square = 0.0, 0.0, 0.0
    for part in strata:
        value, variance = _task(part)
        mean = mean + part.weight * value
        spread = spread + part.weight**2 * variance
        square = square + (part.weight**2 * variance) ** 2 / (part.gains.shape[-1] - 1)
    return Estimate(np.asarray(mean), np.sqrt(spread), np.asarray(spread) ** 2 / square)


def _task(part: Stratum) -> tuple[Floats, Floats]:
    total = part.damage.mean(-1)
    value = ratio(part.gains.mean(-1), total)
    rest = part.gains - value[..., None] * part.damage
    within = np.maximum(rest.var(-1, ddof=1), max(part.tests, 1) ** -2.0) / part.gains.shape[-1]
    return value, (within + part.choices.var(-1)) / total**2


def holm(p: Floats) -> Floats:
    """Holm's step-down adjusted p-values along the last axis; below ALPHA = claimed."""
    order = np.argsort(p, -1)
    steps = np.take_along_axis(p, order, -1) * np.arange(p.shape[-1], 0, -1)
    adjusted = np.minimum(np.maximum.accumulate(steps, -1), 1.0)
    out = np.empty_like(adjusted)
    np.put_along_axis(out, order, adjusted, -1)
    return out


def beats(strata: Sequence[Stratum]) -> NDArray[np.bool_]:
    """Which entry beats which, [..., r, r]: one-sided paired t at .05 / (2 (N - 1)).

    The promise is to each row: its interval misses its rank at most once in 20 boards. Not to all rows of a board at
    once: of 20 equal entries some row was set apart on up to a third of the simulated boards.
    """
    count = strata[0].gains.shape[-2]
    return estimate([part.pairs() for part in strata]).p_above < ALPHA / (2 * max(count - 1, 1))


def rank_intervals(better: NDArray[np.bool_]) -> tuple[Ints, Ints]:
    """[1 + number that beat r, N - number that r beats]."""
    return 1 + better.sum(-2), better.shape[-1] - better.sum(-1)

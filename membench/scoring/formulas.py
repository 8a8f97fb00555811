"""The formulas of the score on plain arrays (README of this folder). No records, no names of tasks.

Axes, in this order: strengths l (off first), seeds s, noise levels p (0 first: the real data). Any
batch axes may stand in front, written `...`; the simulations of the tests use one for their boards.
"""

from __future__ import annotations

from functools import cache
from itertools import combinations
from math import comb

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

#: Accuracies are counts over images; two sums of them that differ by less than this are equal.
TIE = 1e-9
#: The most subsets of seeds that are looked at. Where there would be more, smaller subsets are
#: taken, which disagree more, not less.
MOST_SUBSETS = 5000


def gain(accuracy: Floats, baseline: Floats) -> Floats:
    """Compute N_s(l) = sum_{p in P} (A_p(l) - A0_p) (README, Gain and damage).

    The accuracy won over `none`, on real data and on every noise level.

    Args:
        accuracy: [..., l, s, p], A_p(l), or V_p(l) on validation images.
        baseline: [..., s, p], the same of `none`.

    Returns:
        [..., l, s]
    """
    return (accuracy - baseline[..., None, :, :]).sum(-1)


def damage(baseline: Floats) -> Floats:
    """Compute G_s = sum_{p > 0} (A0_0 - A0_p) (README, Gain and damage).

    The accuracy that label noise costs `none`. Its mean over the seeds is D_t. From [..., s, p] to
    [..., s].
    """
    return (baseline[..., :1] - baseline[..., 1:]).sum(-1)


def ratio(numerator: Floats, denominator: Floats) -> Floats:
    """Divide; 0 where the denominator is not positive.

    There `none` leaves nothing to win or to suppress.
    """
    positive = denominator > 0
    return np.where(positive, numerator / np.where(positive, denominator, 1.0), 0.0)


def choose(gain_val: Floats) -> Ints:
    """Choose each seed's strength by the validation gain of the *other* seeds (README, Choice).

    Computes l*_{t,-s}; ties go to the weaker strength. D_t > 0 is common to all strengths, so the
    gains stand for the recovery on validation images. From [..., l, s] to [..., s].
    """
    return weakest_best(gain_val.sum(-1, keepdims=True) - gain_val, -2)


def gains_of_subsets(gain_val: Floats, gains: Floats) -> Floats:
    """Compute what the entry would have gained, had fewer seeds chosen (README, Term of choice).

    Each subset h of a third of the seeds chooses a strength by the sum of its own validation gains.
    The spread over h of what those strengths give shows how much the choice itself matters (see
    `stats.estimate`).

    Args:
        gain_val: [..., l, s], N on validation images.
        gains: [..., l, s], N on test images.

    Returns:
        [..., h], the mean over *all* seeds of N at the strength that the subset chose.
    """
    chosen = weakest_best(gain_val @ subsets(gains.shape[-1]).T, -2)
    return np.take_along_axis(gains.mean(-1), chosen, -1)


@cache
def subsets(seeds: int) -> Floats:
    """List all subsets of a third of the seeds, as rows of 0 and 1: [h, s].

    README, Term of choice.
    """
    size = max(1, round(seeds / 3))
    while size > 1 and comb(seeds, size) > MOST_SUBSETS:
        size -= 1
    members = list(combinations(range(seeds), size))
    indicators = np.zeros((len(members), seeds))
    for row, subset in zip(indicators, members, strict=True):
        row[list(subset)] = 1.0
    return indicators


def weakest_best(total: Floats, axis: int) -> Ints:
    """Find the first strength whose total is the largest; the strengths are along the axis."""
    return (total >= total.max(axis, keepdims=True) - TIE).argmax(axis)


def at_chosen(values: Floats, chosen: Ints) -> Floats:
    """Take each seed's value at the strength of its fold: [..., l, s] and [..., s] -> [..., s]."""
    return np.take_along_axis(values, chosen[..., None, :], -2)[..., 0, :]


def suppression(fit: Floats, baseline: Floats, chance: Floats) -> Floats:
    """Compute S = (mean F0 - mean F) / (mean F0 - mean cF) (README, Suppression).

    The means are over seeds.

    Args:
        fit: [..., s], F, training accuracy on randY.
        baseline: [s], F0, the same of `none`.
        chance: [s], cF, what a constant answer reaches.

    Returns:
        [...]
    """
    return ratio(baseline.mean() - fit.mean(-1), baseline.mean() - chance.mean())


def by_chance(accuracy: Floats, classes: int) -> Floats:
    """Compute q = (1 - A_p) / (K - 1) (README, Suppression).

    This is how often an honest mistake hits the wrong label as given.
    """
    return (1 - accuracy) / (classes - 1)


def mixed_suppression(wrong: Floats, baseline: Floats) -> Floats:
    """Compute S_mix,p = 1 - mean (M - q) / mean (M0 - q0) (README, Suppression).

    The means are over seeds.

    Args:
        wrong: [..., s, p], M - q: wrong labels predicted as given, beyond what honest mistakes hit.
        baseline: [s, p], M0 - q0, the same of `none`.

    Returns:
        [..., p], for the levels p > 0 that were given.
    """
    to_suppress = baseline.mean(-2)
    return ratio(to_suppress - wrong.mean(-2), to_suppress)


def best_suppression(S: Floats, dA: Floats, budget: float) -> float:
    """Compute S@budget (README, Frontier).

    This is the largest S among strengths that cost at most `budget` points of real accuracy.

    Args:
        S: [l], suppression.
        dA: [l], mean change of real accuracy, in points; off, with S = dA = 0, is one of the
            strengths.
        budget: points of real accuracy, >= 0.
    """
    affordable = [s for s, d in zip(S, dA, strict=True) if d >= -budget - TIE]
    return float(max(affordable, default=0.0))


def frontier_area(S: Floats, dA: Floats, limit: float = 2.0) -> float:
    """Compute the mean of S@b over the budgets b in [0, limit] points (README, Frontier).

    This is the hypervolume of the frontier as a share of the box's. S@b is a step function of b
    that rises where b reaches the cost of a strength.

    Args:
        S: [l], suppression.
        dA: [l], mean change of real accuracy, in points.
        limit: the largest budget, in points.
    """
    costs = {0.0, limit}
    for change in dA:
        costs.add(min(max(-float(change), 0.0), limit))
    steps = sorted(costs)
    area = 0.0
    for cost, width in zip(steps[:-1], np.diff(steps), strict=True):
        area += best_suppression(S, dA, cost) * width
    return float(area / limit)

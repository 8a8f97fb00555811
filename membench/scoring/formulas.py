"""The mathematics of section 1 on plain arrays, any batch axes in front; called by the entries and by the simulations.

Axes: strengths l (off first), seeds s, noise levels p (0 first, it is the real data).
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
#: Most subsets of seeds that are looked at; with more, smaller subsets are taken, which disagree more, not less.
MOST_SUBSETS = 5000


def gain(accuracy: Floats, plain: Floats) -> Floats:
    """N_s(l) = sum_{p in P} (A_p(l) - A0_p): [..., l, s, p] and [..., s, p] -> [..., l, s]."""
    return (accuracy - plain[..., None, :, :]).sum(-1)


def damage(plain: Floats) -> Floats:
    """G_s = sum_{p > 0} (A0_0 - A0_p), what label noise costs `none`: [..., s, p] -> [..., s]; its mean is D_t."""
    return (plain[..., :1] - plain[..., 1:]).sum(-1)


def choose(gain_val: Floats) -> Ints:
    """l*_{t,-s} = argmax_l of the mean of Rval over the *other* seeds; ties to the weaker: [..., l, s] -> [..., s].

    D_t > 0 is common to all strengths, so the gains stand for Rval.
    """
    return _weakest_best(gain_val.sum(-1, keepdims=True) - gain_val)


def _weakest_best(total: Floats) -> Ints:
    """The first strength whose total is the largest: [..., l, any] -> [..., any]."""
    return (total >= total.max(-2, keepdims=True) - TIE).argmax(-2)


@cache
def subsets(seeds: int) -> Floats:
    """All subsets of a third of the seeds, as indicators: [h, s]."""
    size = max(1, round(seeds / 3))
    while size > 1 and comb(seeds, size) > MOST_SUBSETS:
        size -= 1
    picks = np.array(list(combinations(range(seeds), size)), dtype=np.int64)
    return (picks[:, :, None] == np.arange(seeds)).any(1).astype(np.float64)


def alternatives(gain_val: Floats, gains: Floats) -> Floats:
    """What the entry would have gained, had fewer seeds chosen: [..., l, s] twice -> [..., h].

    For every subset h of a third of the seeds: the strength that h chooses, and its mean N over all seeds. Their spread
    over h is how much the choice itself matters (see `stats.estimate`).
    """
    chosen = _weakest_best(gain_val @ subsets(gains.shape[-1]).T)
    return np.take_along_axis(gains.mean(-1), chosen, -1)


def take(values: Floats, chosen: Ints) -> Floats:
    """Each seed's value at the strength of its fold: [..., l, s] and [..., s] -> [..., s]."""
    return np.take_along_axis(values, chosen[..., None, :], -2)[..., 0, :]


def ratio(over: Floats, under: Floats) -> Floats:
    """over / under, 0 where `under` is not positive (`none` leaves nothing to win or to suppress)."""
    positive = under > 0
    return np.where(positive, over / np.where(positive, under, 1.0), 0.0)


def suppression(fit: Floats, plain: Floats, chance: Floats) -> Floats:
    """S = (mean F0 - mean F) / (mean F0 - mean cF), a ratio of means: [..., s], [s], [s] -> [...]."""
    return ratio(plain.mean() - fit.mean(-1), plain.mean() - chance.mean())


def by_chance(accuracy: Floats, classes: int) -> Floats:
    """q = (1 - A_p) / (K - 1): how often an honest mistake hits the wrong label."""
    return (1 - accuracy) / (classes - 1)


def mixed_suppression(wrong: Floats, plain: Floats) -> Floats:
    """S_mix = 1 - (M - q) / (M0 - q0), a ratio of means: M - q [..., s, p] and M0 - q0 [s, p] -> [..., p]."""
    under = plain.mean(-2)
    return ratio(under - wrong.mean(-2), under)


def best_suppression(S: Floats, dA: Floats, budget: float) -> float:
    """S@budget: the largest S with mean dA >= -budget points; off (0, 0) is always there."""
    return float(max((s for s, d in zip(S, dA, strict=True) if d >= -budget - TIE), default=0.0))


def frontier_area(S: Floats, dA: Floats, limit: float = 2.0) -> float:
    """Mean of S@b over the budgets b in [0, limit] points: the frontier's hypervolume as a share of the box's."""
    costs = sorted({0.0, limit, *(min(max(-float(d), 0.0), limit) for d in dA)})
    steps = [best_suppression(S, dA, cost) for cost in costs[:-1]]
    return float(sum(s * w for s, w in zip(steps, np.diff(costs), strict=True)) / limit)

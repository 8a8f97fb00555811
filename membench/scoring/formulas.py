"""The formulas of the score on plain arrays (README of this folder). No records, no names of tasks.

Axes, in this order: strengths l (off first), seeds s, noise levels p (0 first: the real data). Any
batch axes may stand in front, written `...`; the simulations of the tests use one for their boards.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

#: Accuracies are counts over images; two sums of them that differ by less than this are equal.
TIE = 1e-9


def gain(accuracy: Floats, baseline: Floats) -> Floats:
    """Compute N_s(l) = sum_{p in P} (A_p(l) - A0_p) (README, Measures).

    The accuracy won over `none`, on real data and on every noise level.

    Args:
        accuracy: [..., l, s, p], A_p(l), or V_p(l) on validation images.
        baseline: [..., s, p], the same of `none`.

    Returns:
        [..., l, s]
    """
    return (accuracy - baseline[..., None, :, :]).sum(-1)


def damage(baseline: Floats) -> Floats:
    """Compute G_s = sum_{p > 0} (A0_0 - A0_p) (README, Measures).

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


def weakest_best(total: Floats, axis: int) -> Ints:
    """Find the first strength whose total is the largest; the strengths are along the axis."""
    return (total >= total.max(axis, keepdims=True) - TIE).argmax(axis)


def suppression(fit: Floats, baseline: Floats, chance: Floats) -> Floats:
    """Compute S = (mean F0 - mean F) / (mean F0 - mean cF) (README, Measures).

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
    """Compute q = (1 - A_p) / (K - 1) (README, Readings).

    This is how often an honest mistake hits the wrong label as given.
    """
    return (1 - accuracy) / (classes - 1)


def mixed_suppression(wrong: Floats, baseline: Floats) -> Floats:
    """Compute H_p = 1 - mean (M - q) / mean (M0 - q0) (README, Measures).

    The means are over seeds.

    Args:
        wrong: [..., s, p], M - q: wrong labels predicted as given, beyond what honest mistakes hit.
        baseline: [s, p], M0 - q0, the same of `none`.

    Returns:
        [..., p], for the levels p > 0 that were given.
    """
    to_suppress = baseline.mean(-2)
    return ratio(to_suppress - wrong.mean(-2), to_suppress)

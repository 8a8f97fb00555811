"""Estimators for the analyses of studies: memorization, membership, and clustered resampling.

They take many training runs on parts of one training set. Arrays in, numbers out; numpy and scipy
only. Shapes: m models, n examples. `inside` [m, n] bool: which rows each model trained on
(`membench.data.trained_rows`).
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from membench.rng import Draws
from membench.rng import word
from membench.studies import interval

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


def memorization(right: Bools, inside: Bools) -> tuple[Floats, Floats]:
    """Estimate the memorization of each example.

    That is how much more often it is predicted as labelled by the models that trained on it than by
    the others: mem_i = mean(right_i | inside) - mean(right_i | outside), with the binomial standard
    error of the difference. Feldman and Zhang, "What Neural Networks Memorize and Why", NeurIPS
    2020, arXiv:2008.03703, eq. 4.

    Args:
        right: [m, n], the prediction is the label as given.
        inside: [m, n].

    Returns:
        ([n] in [-1, 1], [n] its standard error); NaN where all models trained on an example, or
        none did.
    """
    with_i, without = _rate(right, inside), _rate(right, ~inside)
    variance = with_i * (1 - with_i) / _count(inside) + without * (1 - without) / _count(~inside)
    return with_i - without, np.sqrt(variance)


def group_memorization(right: Bools, inside: Bools, group: Bools) -> tuple[float, float, float]:
    """Average `memorization` over a group of examples, with a standard error by the jackknife.

    Examples share their models, so the binomial errors of single examples do not average out.
    Models are independent, so each is left out in turn.

    Args:
        right: [m, n], the prediction is the label as given.
        inside: [m, n].
        group: [n].

    Returns:
        (mean, standard error, m - 1 degrees of freedom).

    Raises:
        ValueError: an example of the group has fewer than two models on either side.
    """
    right, inside = right[:, group], inside[:, group]
    _require_two_on_each_side(inside)
    mean = float((_rate(right, inside) - _rate(right, ~inside)).mean())
    without_each = (_left_out(right, inside) - _left_out(right, ~inside)).mean(axis=1)  # [m]
    return mean, _jackknife_error(without_each), len(without_each) - 1


def jackknife(whole: float, left_out: Floats) -> tuple[float, float, float]:
    """Compute a statistic's 95 % t interval by the jackknife.

    Args:
        whole: the statistic on all units.
        left_out: [m], the statistic without each of the m independent units in turn.

    Returns:
        (whole, low, high).
    """
    return interval(whole, _jackknife_error(left_out), len(left_out) - 1)


def membership_scores(margin: Floats, inside: Bools) -> Floats:
    """Score how much each model's margins speak for its having trained on each example.

    The score is log p(margin | trained on i) - log p(margin | not), where the other models are the
    model's shadows. The densities are Gaussians with a mean for each example and one variance a
    side for all of them, which is what few shadows can carry: Carlini et al., "Membership Inference
    Attacks From First Principles" (LiRA), S&P 2022, arXiv:2112.03570, sec. IV-C.

    Args:
        margin: [m, n], log p_y / (1 - p_y) at the label as given, finite.
        inside: [m, n].

    Returns:
        [m, n].

    Raises:
        ValueError: an example has fewer than two models on either side, so that a target lacks
            shadows.
    """
    _require_two_on_each_side(inside)
    return _log_density(margin, inside) - _log_density(margin, ~inside)


def true_positive_rate(scores: Floats, members: Bools, at: float) -> float:
    """Compute the share of members that a threshold finds at a given false positive rate.

    The threshold is the lowest one that at most a share `at` of the non-members exceeds. Ties with
    it do not count.

    Args:
        scores: of any shape, larger for members.
        members: of the same shape.
        at: the false positive rate, in [0, 1].

    Returns:
        In [0, 1]; 0 if there is no member.
    """
    others = np.sort(scores[~members])[::-1]
    allowed = int(np.floor(at * len(others) + 1e-9))
    threshold = others[allowed] if allowed < len(others) else -np.inf
    hits = scores[members]
    return float((hits > threshold).mean()) if len(hits) else 0.0


def resamples(n: int, draws: int, name: str) -> Ints:
    """Draw indices with replacement from range(n).

    Args:
        n: number of units.
        draws: number of resamples.
        name: of the stream of random numbers; the same bytes everywhere.

    Returns:
        [draws, n] int64.
    """
    uniform = Draws(word("resamples", name)).uniform("index", draws * n)
    return (uniform * n).astype(np.int64).reshape(draws, n)


def bootstrap(
    statistic: Callable[[Ints], float], n: int, name: str, draws: int = 1000
) -> tuple[float, float]:
    """Compute the percentile interval of a statistic over resamples of n independent units.

    Args:
        statistic: of indices [n], with repeats; a NaN is left out.
        n: number of units.
        name: of the stream of random numbers.
        draws: number of resamples.

    Returns:
        The 2.5 and 97.5 % points; -inf and inf if all values are NaN.
    """
    values = np.array([statistic(index) for index in resamples(n, draws, name)])
    finite = values[np.isfinite(values)]
    if len(finite) == 0:
        return float("-inf"), float("inf")
    low, high = np.quantile(finite, (0.025, 0.975))
    return float(low), float(high)


def cluster_bootstrap(
    statistic: Callable[[Ints], float], clusters: Sequence[object], name: str, draws: int = 2000
) -> tuple[float, float]:
    """Compute a percentile interval where whole clusters are drawn, since points of one are alike.

    Cameron, Gelbach and Miller, "Bootstrap-Based Improvements for Inference with Clustered Errors",
    REStat 90(3), 2008. With fewer than ten clusters it covers less than it says: see
    `tests/test_estimators.py`.

    Args:
        statistic: of the indices of points, with repeats.
        clusters: [n], the cluster of each point.
        name: of the stream of random numbers.
        draws: number of resamples.

    Returns:
        The 2.5 and 97.5 % points; -inf and inf if all values are NaN.
    """
    members: dict[object, list[int]] = {}
    for point, cluster in enumerate(clusters):
        members.setdefault(cluster, []).append(point)
    points = [np.array(indices) for indices in members.values()]

    def statistic_of_clusters(drawn: Ints) -> float:
        return statistic(np.concatenate([points[cluster] for cluster in drawn]))

    return bootstrap(statistic_of_clusters, len(points), name, draws)


def mean_ranks(values: Floats) -> Floats:
    """Rank values [n] from 1 on; ties get the mean of their ranks. With a NaN, all are NaN.

    `scipy.stats.rankdata` does it too, in ten times the time: bootstraps rank 40 000 samples.
    """
    if np.isnan(values).any():
        return np.full(len(values), np.nan)
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    is_first = np.concatenate(([True], ordered[1:] != ordered[:-1]))  # of a run of ties
    begins = np.append(np.flatnonzero(is_first), len(values))
    of_runs = (begins[:-1] + begins[1:] + 1) / 2
    ranks = np.empty(len(values))
    ranks[order] = of_runs[np.cumsum(is_first) - 1]
    return ranks


def spearman(x: Floats, y: Floats) -> float:
    """Compute the rank correlation of x [n] and y [n]; NaN if one of them is constant.

    Ties get their mean rank.
    """
    a, b = mean_ranks(x), mean_ranks(y)
    a, b = a - a.mean(), b - b.mean()
    scale = np.sqrt((a @ a) * (b @ b))
    return float(a @ b / scale) if scale > 0 else float("nan")


def envelope(u: Floats, v: Floats) -> tuple[Floats, Floats]:
    """Select the settings that no other setting beats.

    A setting is beaten if another has at least its suppression and more accuracy.

    Args:
        u: [l], suppression.
        v: [l], accuracy.

    Returns:
        The suppressions and accuracies that remain, u rising, v falling.
    """
    unbeaten = [i for i in range(len(u)) if not ((u >= u[i]) & (v > v[i])).any()]
    order = sorted(unbeaten, key=lambda i: (u[i], -v[i]))
    return u[order], v[order]


def price(u: Floats, v: Floats, top: float) -> float:
    """Compute the accuracy that suppression costs along `envelope`, against the first setting.

    Args:
        u: [l], suppression.
        v: [l], accuracy.
        top: the largest suppression.

    Returns:
        Percentage points, the mean over suppressions from 0 to `top`.
    """
    suppression, accuracy = envelope(u, v)
    along = np.interp(np.linspace(0, 1, 101) * top, suppression, accuracy)
    return 100 * float(v[0] - along.mean())


def _require_two_on_each_side(inside: Bools) -> None:
    if min(inside.sum(axis=0).min(), (~inside).sum(axis=0).min()) < 2:
        raise ValueError("each example needs two models that trained on it and two that did not")


def _jackknife_error(left_out: Floats) -> float:
    """Compute the standard error of a statistic from its values [m] without each unit in turn."""
    m = len(left_out)
    return float(np.sqrt((m - 1) / m * ((left_out - left_out.mean()) ** 2).sum()))


def _log_density(margin: Floats, side: Bools) -> Floats:
    """Compute log densities [m, n] of each target's margins, up to a constant.

    The Gaussian of a target is that of the other models of one side [m, n].
    """
    mean = _left_out(margin, side)
    square = (margin - _rate(margin, side)) ** 2 * side
    count = _count(side)
    # The pooled variance leaves out the target's residuals, its whole row, by the update of a mean.
    targets = (square * count / np.maximum(count - 1, 1)).sum(axis=1)
    freedom = (count - 1).sum() - side.sum(axis=1)
    variance = np.maximum((square.sum() - targets) / freedom, 1e-12)[:, None]
    return -0.5 * (np.log(variance) + (margin - mean) ** 2 / variance)


def _count(side: Bools) -> Floats:
    """Count the models of one side [m, n] for each example: [n]."""
    return side.sum(axis=0).astype(np.float64)


def _rate(values: Bools | Floats, side: Bools) -> Floats:
    """Average over the models of one side: [n]; NaN where there is none."""
    count = _count(side)
    return np.where(count > 0, (values * side).sum(axis=0) / np.maximum(count, 1), np.nan)


def _left_out(values: Bools | Floats, side: Bools) -> Floats:
    """Compute `_rate` without each model in turn: [m, n]."""
    one_side = values * side
    return (one_side.sum(axis=0) - one_side) / (_count(side) - side)

"""Estimators over many training runs on parts of one training set: memorization, membership, clustered resampling.

Arrays in, numbers out; numpy and scipy only. Called by the analyses of the studies.

Shapes: m models, n examples. `inside` [m, n] bool: which rows each model trained on (`membench.data.trained_rows`).
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
    """How much more often each example is predicted as labelled by the models that trained on it than by the others.

    mem_i = mean(right_i | inside) - mean(right_i | outside), with the binomial standard error of the difference.
    Feldman and Zhang, "What Neural Networks Memorize and Why", NeurIPS 2020, arXiv:2008.03703, eq. 4.

    Args:
        right: [m, n], the prediction is the label as given.
        inside: [m, n].

    Returns:
        ([n] in [-1, 1], [n] its standard error); NaN where all models trained on an example, or none.
    """
    with_i, without = _rate(right, inside), _rate(right, ~inside)
    spread = with_i * (1 - with_i) / _many(inside) + without * (1 - without) / _many(~inside)
    return with_i - without, np.sqrt(spread)


def group_memorization(right: Bools, inside: Bools, group: Bools) -> tuple[float, float, float]:
    """The mean of `memorization` over a group [n] bool, and its standard error by the jackknife over models.

    Examples share their models, so the binomial errors of single examples do not average out; models are independent.

    Returns:
        (mean, standard error, m - 1 degrees of freedom).

    Raises:
        ValueError: an example of the group has fewer than two models on either side.
    """
    r, s = right[:, group], inside[:, group]
    if (s.sum(axis=0) < 2).any() or (~s).sum(axis=0).min() < 2:
        raise ValueError("each example needs two models that trained on it and two that did not")
    gap = (_left_out(r, s) - _left_out(r, ~s)).mean(axis=1)  # [m], without each model
    return float((_rate(r, s) - _rate(r, ~s)).mean()), _jackknife_error(gap), len(gap) - 1


def jackknife(whole: float, left_out: Floats) -> tuple[float, float, float]:
    """A statistic and the ends of its 95 % t-interval, from its values [m] without each independent unit in turn."""
    return interval(whole, _jackknife_error(left_out), len(left_out) - 1)


def _jackknife_error(left_out: Floats) -> float:
    m = len(left_out)
    return float(np.sqrt((m - 1) / m * ((left_out - left_out.mean()) ** 2).sum()))


def membership_scores(margin: Floats, inside: Bools) -> Floats:
    """log p(margin | trained on i) - log p(margin | not) for each model, the other models being its shadows: [m, n].

    Gaussians with a mean for each example and one variance a side for all of them, which is what few shadows carry:
    Carlini et al., "Membership Inference Attacks From First Principles" (LiRA), S&P 2022, arXiv:2112.03570, sec. IV-C.

    Args:
        margin: [m, n], log p_y / (1 - p_y) at the label as given, finite.
        inside: [m, n].

    Raises:
        ValueError: an example has fewer than two models on either side, so that a target lacks shadows.
    """
    if min(inside.sum(axis=0).min(), (~inside).sum(axis=0).min()) < 2:
        raise ValueError("each example needs two models that trained on it and two that did not")
    return _log_density(margin, inside) - _log_density(margin, ~inside)


def _log_density(margin: Floats, side: Bools) -> Floats:
    """Of each target's margin under the Gaussian that the other models of one side have: [m, n]."""
    mean = _left_out(margin, side)
    square = (margin - _rate(margin, side)) ** 2 * side
    count = _many(side)
    # a target's own residuals are taken out of the pooled variance: all of the row, by the update of a mean
    own = (square * count / np.maximum(count - 1, 1)).sum(axis=1)
    freedom = (count - 1).sum() - side.sum(axis=1)
    variance = np.maximum((square.sum() - own) / freedom, 1e-12)[:, None]
    return -0.5 * (np.log(variance) + (margin - mean) ** 2 / variance)


def true_positive_rate(scores: Floats, members: Bools, at: float) -> float:
    """Share of the members above the lowest threshold that at most a share `at` of the others exceeds.

    Ties with the threshold do not count. 0 if there is no member.
    """
    others = np.sort(scores[~members])[::-1]
    allowed = int(np.floor(at * len(others) + 1e-9))
    threshold = others[allowed] if allowed < len(others) else -np.inf
    hits = scores[members]
    return float((hits > threshold).mean()) if len(hits) else 0.0


def resamples(n: int, draws: int, name: str) -> Ints:
    """[draws, n] int64, indices drawn with replacement from range(n); the same bytes everywhere, by `name`."""
    return (
        (Draws(word("resamples", name)).uniform("index", draws * n) * n)
        .astype(np.int64)
        .reshape(draws, n)
    )


def bootstrap(
    statistic: Callable[[Ints], float], n: int, name: str, draws: int = 1000
) -> tuple[float, float]:
    """The 2.5 and 97.5 % points of `statistic(indices [n])` over resamples of n independent units; NaN is left out."""
    values = np.array([statistic(index) for index in resamples(n, draws, name)])
    return _ends(values)


def cluster_bootstrap(
    statistic: Callable[[Ints], float], clusters: Sequence[object], name: str, draws: int = 2000
) -> tuple[float, float]:
    """Percentile interval where whole clusters are drawn with replacement, since points of one are alike.

    Args:
        statistic: of the indices of points, with repeats.
        clusters: [n], the cluster of each point.
        name: names the stream of random numbers.
        draws: how many resamples.

    Cameron, Gelbach and Miller, "Bootstrap-Based Improvements for Inference with Clustered Errors", REStat 90(3), 2008.
    With fewer than ten clusters it covers less than it says: see `tests/test_estimators.py`.
    """
    members = [np.flatnonzero([c == own for c in clusters]) for own in dict.fromkeys(clusters)]
    pick = lambda index: statistic(np.concatenate([members[k] for k in index]))  # noqa: E731
    return bootstrap(pick, len(members), name, draws)


def spearman(x: Floats, y: Floats) -> float:
    """Rank correlation, ties at their mean rank; NaN where one side does not vary."""
    from scipy.stats import (
        rankdata,  # most of a second to import: not for the estimators that do without
    )

    a, b = rankdata(x), rankdata(y)
    a, b = a - a.mean(), b - b.mean()
    scale = np.sqrt((a @ a) * (b @ b))
    return float(a @ b / scale) if scale > 0 else float("nan")


def envelope(u: Floats, v: Floats) -> tuple[Floats, Floats]:
    """Of settings with suppression u [l] and accuracy v [l], those not beaten in both: u rising, v falling."""
    kept = [
        i for i in range(len(u)) if not any(u[j] >= u[i] and v[j] > v[i] for j in range(len(u)))
    ]
    order = sorted(kept, key=lambda i: (u[i], -v[i]))
    return u[order], v[order]


def price(u: Floats, v: Floats, top: float) -> float:
    """Accuracy lost against the first setting, in points, mean over suppressions from 0 to `top`, along `envelope`."""
    return 100 * float(v[0] - np.interp(np.linspace(0, 1, 101) * top, *envelope(u, v)).mean())


def _ends(values: Floats) -> tuple[float, float]:
    known = values[np.isfinite(values)]
    if len(known) == 0:
        return float("-inf"), float("inf")
    low, high = np.quantile(known, (0.025, 0.975))
    return float(low), float(high)


def _many(side: Bools) -> Floats:
    return side.sum(axis=0).astype(np.float64)


def _rate(values: Bools | Floats, side: Bools) -> Floats:
    """Mean over the models of one side: [n]; NaN where there is none."""
    count = _many(side)
    return np.where(count > 0, (values * side).sum(axis=0) / np.maximum(count, 1), np.nan)


def _left_out(values: Bools | Floats, side: Bools) -> Floats:
    """`_rate` without each model in turn: [m, n]."""
    own = values * side
    return (own.sum(axis=0) - own) / (_many(side) - side)

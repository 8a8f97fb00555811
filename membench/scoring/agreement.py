"""Do two orders of the same entries agree: rank correlation, with an interval over entries."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from membench.estimators import spearman
from membench.scoring.formulas import Floats

FEWEST_ENTRIES = 5  #: in common, for a rank correlation
NORMAL = 1.959964  #: the quantile of a two-sided 95% interval

Order = Mapping[str, tuple[float, float]]  #: entry -> (H, R)


@dataclass(frozen=True, kw_only=True)
class Correlation:
    """Spearman's rank correlation and the ends of its 95% interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """How far two orders of entries agree."""

    entries: int  #: in common
    H: Correlation | None  #: None where all of them tie in one of the orders
    R: Correlation | None


def agreement(first: Order, second: Order) -> Agreement | None:
    """Compare two orders by the entries that both have (README, Agreement of orders).

    H counts up to 1, as it does in ranks.

    Returns:
        None where they have fewer than `FEWEST_ENTRIES` entries in common.
    """
    common = sorted(set(first) & set(second))
    if len(common) < FEWEST_ENTRIES:
        return None
    a = np.array([first[name] for name in common])  # [entry, (H, R)]
    b = np.array([second[name] for name in common])
    return Agreement(
        entries=len(common),
        H=rank_correlation(np.minimum(a[:, 0], 1), np.minimum(b[:, 0], 1)),
        R=rank_correlation(a[:, 1], b[:, 1]),
    )


def rank_correlation(x: Floats, y: Floats) -> Correlation | None:
    """Compute Spearman's rho of x [n] and y [n], n > 3, with its interval over entries.

    It is tanh(atanh(rho) +- 1.96 sqrt((1 + rho^2 / 2) / (n - 3))): Bonett and Wright, "Sample Size
    Requirements for Estimating Pearson, Kendall and Spearman Correlations", Psychometrika 65, 2000.
    Of equal orders that has no width: their interval reaches from where that of orders which differ
    by one exchange of neighbours begins to 1, and likewise of opposite ones.

    Returns:
        None where x or y is constant.
    """
    rho = spearman(x, y)
    if np.isnan(rho):
        return None
    n = len(x)
    one_exchange = 1 - 12 / (n * (n**2 - 1))
    inner = float(np.clip(rho, -one_exchange, one_exchange))
    half = NORMAL * np.sqrt((1 + inner**2 / 2) / (n - 3))
    low, high = np.tanh(np.arctanh(inner) - half), np.tanh(np.arctanh(inner) + half)
    return Correlation(
        value=rho,
        low=-1.0 if rho < -one_exchange else float(low),
        high=1.0 if rho > one_exchange else float(high),
    )

"""Rank correlation of two orders of entries: by hand, and how often its interval covers."""

from __future__ import annotations

from math import atanh
from math import sqrt
from math import tanh

import numpy as np
import pytest

from membench.scoring.agreement import agreement
from membench.scoring.agreement import rank_correlation


def order(*held_back: float) -> dict[str, tuple[float, float]]:
    """Entries a, b, ... with these H, and R = 1 - H."""
    return {name: (h, 1 - h) for name, h in zip("abcdefgh", held_back, strict=False)}


def test_the_correlation_is_of_ranks_and_has_bonett_and_wright_s_interval() -> None:
    # ranks 1 2 3 4 5 against 2 1 3 4 5: 1 - 6 (1 + 1) / (5 x 24) = .9
    found = agreement(order(0.1, 0.2, 0.3, 0.4, 0.5), order(0.3, 0.0, 0.4, 0.8, 0.9))
    assert found is not None
    assert found.entries == 5
    half = 1.959964 * sqrt((1 + 0.81 / 2) / 2)
    for correlation in (found.H, found.R):
        assert correlation is not None
        assert correlation.value == pytest.approx(0.9)
        assert correlation.low == pytest.approx(tanh(atanh(0.9) - half))
        assert correlation.high == pytest.approx(tanh(atanh(0.9) + half))


def test_equal_orders_of_few_entries_are_not_certain_to_agree() -> None:
    found = agreement(order(0.1, 0.2, 0.3, 0.4, 0.5), order(0.2, 0.3, 0.4, 0.5, 0.6))
    assert found is not None and found.H is not None
    half = 1.959964 * sqrt((1 + 0.81 / 2) / 2)  # of orders with one exchange, rho = .9
    assert found.H.value == pytest.approx(1.0)
    assert found.H.high == 1.0
    assert found.H.low == pytest.approx(tanh(atanh(0.9) - half))
    opposite = rank_correlation(np.arange(5.0), -np.arange(5.0))
    assert opposite is not None
    assert (opposite.low, opposite.high) == pytest.approx((-1.0, -found.H.low))


def test_only_entries_in_both_orders_count_and_they_must_be_five() -> None:
    first = order(0.1, 0.2, 0.3, 0.4, 0.5, 0.6)
    assert agreement(first, order(0.1, 0.2, 0.3, 0.4)) is None
    found = agreement(first, order(0.1, 0.2, 0.3, 0.4, 0.5))
    assert found is not None and found.entries == 5


def test_more_than_all_wrong_labels_count_as_all() -> None:
    found = agreement(order(0.1, 0.2, 0.3, 1.0, 1.1), order(0.1, 0.2, 0.3, 1.1, 1.0))
    assert found is not None and found.H is not None
    assert found.H.value == pytest.approx(1)


def test_where_all_entries_tie_there_is_no_correlation() -> None:
    found = agreement(order(0, 0, 0, 0, 0), order(0.1, 0.2, 0.3, 0.4, 0.5))
    assert found is not None
    assert found.H is None and found.R is None


def test_the_interval_covers_the_true_correlation() -> None:
    rng = np.random.default_rng(0)
    truth = 6 / np.pi * np.arcsin(0.8 / 2)  # Spearman's rho of normal values that correlate by .8
    covered = 0
    for _ in range(400):
        x = rng.normal(size=20)
        y = 0.8 * x + 0.6 * rng.normal(size=20)
        found = rank_correlation(x, y)
        assert found is not None
        covered += found.low < truth < found.high
    assert 0.92 <= covered / 400 <= 0.98

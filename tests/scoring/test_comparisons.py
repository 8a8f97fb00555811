"""Differences of rows: paired within an environment, unpaired between two."""

from __future__ import annotations

from dataclasses import replace
from math import sqrt

import numpy as np
import pytest
from scipy import stats

from membench.scoring.comparisons import differences
from membench.scoring.confirmed import Reading
from membench.scoring.confirmed import p_of_pairs
from membench.scoring.confirmed import read_mean

RNG = np.random.default_rng(7)
SEEDS = RNG.normal(0, 0.05, 10)  #: what is odd at a seed, for all rows
ROWS = [mean + SEEDS + RNG.normal(0, 0.01, 10) for mean in (0.50, 0.52, 0.55)]


def readings(weight: float = 1.0) -> list[Reading]:
    return [read_mean(row, 1e-6, weight) for row in ROWS]


def test_rows_of_one_environment_are_compared_as_if_there_were_no_other() -> None:
    tasks = [readings(0.25), readings(0.75)]
    stacked = []
    for of_task in tasks:
        value = np.stack([reading.value for reading in of_task])
        influence = np.stack([reading.influence for reading in of_task])
        stacked.append(replace(of_task[0], value=value, influence=influence))
    p = differences(tasks, [("a",) * 3] * 2).p_above
    assert p == pytest.approx(p_of_pairs(stacked))


def test_rows_of_two_environments_are_compared_by_welch() -> None:
    estimated = differences([readings()], [("a", "b", "a")])
    welch = stats.ttest_ind(ROWS[1], ROWS[0], equal_var=False, alternative="greater")
    paired = stats.ttest_rel(ROWS[2], ROWS[0], alternative="greater")
    assert estimated.p_above[1, 0] == pytest.approx(welch.pvalue)
    assert estimated.freedom[1, 0] == pytest.approx(welch.df)
    assert estimated.p_above[2, 0] == pytest.approx(paired.pvalue)


def test_a_pair_may_be_paired_on_one_task_and_unpaired_on_another() -> None:
    estimated = differences([readings(0.5), readings(0.5)], [("a", "a", "a"), ("a", "b", "b")])
    paired = (ROWS[1] - ROWS[0]).var(ddof=1) / 10
    own = [ROWS[0].var(ddof=1) / 10, ROWS[1].var(ddof=1) / 10]
    assert estimated.error[1, 0] == pytest.approx(sqrt((paired + sum(own)) / 4))
    # one component with 9 degrees of freedom each
    squares = (paired**2 + own[0] ** 2 + own[1] ** 2) / 9
    assert estimated.freedom[1, 0] == pytest.approx((paired + sum(own)) ** 2 / squares)


def test_environments_may_have_different_numbers_of_seeds() -> None:
    mixed = [read_mean(ROWS[0], 1e-6), read_mean(ROWS[1][:6], 1e-6)]
    estimated = differences([mixed], [("a", "b")])
    welch = stats.ttest_ind(ROWS[1][:6], ROWS[0], equal_var=False, alternative="greater")
    assert estimated.p_above[1, 0] == pytest.approx(welch.pvalue)


def test_a_spread_below_the_floor_is_believed_neither_paired_nor_unpaired() -> None:
    flat = [read_mean(np.full(10, value), 0.1) for value in (0.5, 0.6)]
    paired = differences([flat], [("a", "a")]).error[0, 1]
    unpaired = differences([flat], [("a", "b")]).error[0, 1]
    assert (paired, unpaired) == pytest.approx((0.1 / sqrt(10), 0.1 * sqrt(2 / 10)))


def test_expected_failures_of_both_rows_widen_their_difference() -> None:
    failing = [replace(reading, failures=np.array(0.04)) for reading in readings()]
    for envs in (("a", "a", "a"), ("a", "b", "c")):
        assert differences([failing], [envs]).error[0, 1] == pytest.approx(sqrt(0.08 / 10))

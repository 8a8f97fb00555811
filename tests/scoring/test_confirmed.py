"""Protocol 2 on fresh seeds: golden numbers, worked out by hand, and what holds of any numbers."""

from __future__ import annotations

from dataclasses import replace
from math import sqrt

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats as scipy_stats

from membench.scoring.confirmed import Reading
from membench.scoring.confirmed import all_above
from membench.scoring.confirmed import beats
from membench.scoring.confirmed import choose_by_noise_held_back
from membench.scoring.confirmed import choose_by_recovery
from membench.scoring.confirmed import estimate
from membench.scoring.confirmed import expect_failures
from membench.scoring.confirmed import may_be_first
from membench.scoring.confirmed import on_front
from membench.scoring.confirmed import p_of_pairs
from membench.scoring.confirmed import read_mean
from membench.scoring.confirmed import read_ratio
from membench.scoring.stats import Estimate
from membench.scoring.stats import holm

T2 = 4.302652729911275  # t quantile .975, 2 degrees of freedom, from tables
T2_ONE_SIDED = 2.919985580355516  # .95


def column(*values: float) -> np.ndarray:
    """One level: [s, 1]."""
    return np.array(values)[:, None]


def test_a_ratio_of_means_and_its_interval() -> None:
    # N = .1, .2, .3, mean .2; G = .5, .5, .6, mean .5333: 3/8 = .375
    # e = (N - .375 G) / .5333: (.1 - .1875, .2 - .1875, .3 - .225) = (-.0875, .0125, .075)
    reading = read_ratio(column(0.1, 0.2, 0.3), column(0.5, 0.5, 0.6), np.array([0.001]))
    assert reading.value == pytest.approx(0.375)
    mean_g = 1.6 / 3
    residuals = np.array([-0.0875, 0.0125, 0.075])
    assert reading.influence == pytest.approx(residuals / mean_g)
    assert reading.floor == pytest.approx(0.001 / mean_g)
    # var = (.0875^2 + .0125^2 + .075^2) / 2 = .0069.. / mean G^2, over 3 seeds
    variance = (0.0875**2 + 0.0125**2 + 0.075**2) / 2 / mean_g**2 / 3
    estimated = estimate([reading])
    assert estimated.half == pytest.approx(T2 * sqrt(variance))
    assert estimated.lower == pytest.approx(0.375 - T2_ONE_SIDED * sqrt(variance))


def test_noise_levels_count_alike_each_with_a_denominator_of_its_own() -> None:
    numerator = np.array([[0.1, 0.4], [0.3, 0.4]])
    denominator = np.array([[0.5, 1.0], [0.5, 1.0]])
    reading = read_ratio(numerator, denominator, np.array([0.01, 0.02]))
    # .2 / .5 = .4 and .4 / 1 = .4; e = (-.1 / .5 + 0) / 2, (.1 / .5 + 0) / 2
    assert reading.value == pytest.approx(0.4)
    assert reading.influence == pytest.approx([-0.1, 0.1])
    assert reading.floor == pytest.approx((0.01 / 0.5 + 0.02 / 1.0) / 2)


def test_a_spread_below_one_image_is_not_believed() -> None:
    reading = read_mean(np.array([1.0, 1.0, 1.0]), step=0.5)
    assert estimate([reading]).half == pytest.approx(T2 * 0.5 / sqrt(3))


def test_a_paired_difference_has_the_spread_of_the_differences() -> None:
    one, other = np.array([1.0, 2.0, 6.0]), np.array([0.0, 2.0, 4.0])
    paired = estimate([read_mean(one, 1e-6) - read_mean(other, 1e-6)])
    expected = scipy_stats.ttest_rel(one, other, alternative="greater")
    assert paired.mean == pytest.approx(1.0)
    assert paired.p_above == pytest.approx(expected.pvalue)


def test_tasks_are_weighted_and_their_variances_added() -> None:
    one = read_mean(np.array([1.0, 3.0, 5.0]), 1e-6, weight=0.25)
    other = read_mean(np.array([2.0, 2.0, 5.0]), 1e-6, weight=0.75)
    estimated = estimate([one, other])
    assert estimated.mean == pytest.approx(0.25 * 3 + 0.75 * 3)
    # variances 4 and 3, over 3 seeds
    parts = np.array([0.25**2 * 4 / 3, 0.75**2 * 3 / 3])
    assert estimated.error == pytest.approx(sqrt(parts.sum()))
    assert estimated.freedom == pytest.approx(parts.sum() ** 2 / (parts**2 / 2).sum())


def test_where_a_run_failed_failures_that_the_seeds_lack_are_expected() -> None:
    reading = read_mean(np.array([2.0, 2.1, 1.9]), 1e-6, weight=0.5)
    allowed = expect_failures(reading, np.array(-80.0), np.array(1), np.array(9), np.array(0))
    # r = 2 / 11; u = 2 / 11 * 9 / 11 * 82^2
    variance = 0.5**2 * (18 / 121 * 82**2) / 3
    assert estimate([allowed]).error == pytest.approx(sqrt(variance))
    assert estimate([allowed]).mean == pytest.approx(0.5 * 2.0)
    # both rows of a difference may fail
    both = estimate([allowed - allowed]).error
    assert both == pytest.approx(sqrt(2 * variance))


def test_where_no_run_failed_the_spread_is_that_of_the_seeds() -> None:
    reading = read_mean(np.array([2.0, 2.1, 1.9]), 1e-6)
    none = np.array(0)
    allowed = expect_failures(reading, np.array(-80.0), none, np.array(9), none)
    assert estimate([allowed]).error == estimate([reading]).error


def test_a_failure_in_the_choosing_runs_is_a_warning() -> None:
    reading = read_mean(np.array([2.0, 2.1, 1.9]), 1e-6)
    allowed = expect_failures(reading, np.array(-80.0), np.array(0), np.array(9), np.array(2))
    # r = 1 / 11: the choosing runs do not enter the rate
    assert estimate([allowed]).error == pytest.approx(sqrt(10 / 121 * 82**2 / 3))


def test_failures_that_the_seeds_show_already_are_not_counted_twice() -> None:
    values = np.array([2.0, 2.0, 2.0, -80.0])
    reading = read_mean(values, 1e-6)
    allowed = expect_failures(reading, np.array(-80.0), np.array(1), np.array(30), np.array(0))
    assert estimate([allowed]).error == estimate([reading]).error


def test_pairs_allow_for_the_failures_of_both() -> None:
    (reading,) = entries(0.1, 0.5, 0.9)
    reading = replace(reading, failures=np.array([0.0, 0.01, 0.04]))
    pairs = reading.pairs()
    assert pairs.failures == pytest.approx(
        np.array([[0.0, 0.01, 0.04], [0.01, 0.02, 0.05], [0.04, 0.05, 0.08]])
    )


@given(
    hnp.arrays(float, (4, 2), elements=st.floats(0, 1)),
    hnp.arrays(float, (4, 2), elements=st.floats(0.1, 1)),
)
def test_influence_values_sum_to_nothing(numerator: np.ndarray, denominator: np.ndarray) -> None:
    reading = read_ratio(numerator, denominator, np.array([0.1, 0.1]))
    assert reading.influence.sum() == pytest.approx(0.0, abs=1e-9)


# --- choices --------------------------------------------------------------------------------------


def test_the_choice_holds_back_the_most_noise_that_costs_nothing() -> None:
    held_back = np.array([0.0, 0.2, 0.5, 0.8, 0.9])
    gain_val = np.array([[0.0, 0.0], [0.01, 0.02], [-0.005, 0.0], [-0.0051, 0.1], [0.0, -0.001]])
    assert choose_by_noise_held_back(held_back, gain_val) == 2


def test_one_that_quits_where_labels_look_random_is_not_chosen() -> None:
    """It keeps all accuracy on real data, holds back nearly all noise and loses what is clean."""
    held_back = np.array([0.0, 0.95])
    assert choose_by_noise_held_back(held_back, np.array([[0.0, 0.0], [0.0, -0.3]])) == 0


def test_fewer_wrong_labels_than_chance_are_no_better_than_chance() -> None:
    held_back = np.array([0.0, 1.0, 1.1])
    assert choose_by_noise_held_back(held_back, np.zeros((3, 2))) == 1


def test_off_is_always_a_candidate_and_wins_ties() -> None:
    harmful = np.array([[0.0, 0.0], [-0.1, -0.1]])
    assert choose_by_noise_held_back(np.array([0.0, 0.9]), harmful) == 0
    assert choose_by_noise_held_back(np.array([0.0, 0.0]), np.zeros((2, 2))) == 0
    assert choose_by_recovery(harmful) == 0
    assert choose_by_recovery(np.array([[0.0, 0.0], [0.1, -0.1]])) == 0


def test_recovery_is_chosen_by_the_sum_over_real_data_and_noise() -> None:
    assert choose_by_recovery(np.array([[0.0, 0.0], [-0.02, 0.1], [0.03, 0.04]])) == 1


def test_choices_take_batches() -> None:
    rng = np.random.default_rng(0)
    held_back, gain_val = rng.normal(size=(3, 7, 5)), rng.normal(size=(3, 7, 5, 2))
    held_back[..., 0], gain_val[..., 0, :] = 0.0, 0.0
    chosen = choose_by_noise_held_back(held_back, gain_val), choose_by_recovery(gain_val)
    for place in np.ndindex(3, 7):
        assert chosen[0][place] == choose_by_noise_held_back(held_back[place], gain_val[place])
        assert chosen[1][place] == choose_by_recovery(gain_val[place])


# --- claims, ranks, the front ---------------------------------------------------------------------


def exact(mean: float, error: float = 0.01) -> Estimate:
    return Estimate(mean=np.array(mean), error=np.array(error), freedom=np.array(9.0))


def test_a_claim_is_as_sure_as_its_least_sure_part() -> None:
    parts = [(exact(0.5), 0.1), (exact(-0.9, 0.1), -1.0), (exact(3.0), -1.0)]
    assert all_above(parts) == pytest.approx(scipy_stats.t.sf(1.0, 9))
    assert all_above([*parts, (exact(-2.0), -1.0)]) > 0.99


def entries(*means: float, spread: float = 0.01) -> list[Reading]:
    """Entries on one task with ten seeds, whose noise is not shared."""
    noise = np.random.default_rng(3).normal(0, spread, (len(means), 10))
    return [read_mean(np.array(means)[:, None] + noise, 1e-4)]


def test_clear_differences_give_the_ranks_and_the_first() -> None:
    p = p_of_pairs(entries(0.1, 0.5, 0.9))
    better = beats(p)
    assert better.tolist() == [[False] * 3, [True, False, False], [True, True, False]]
    assert may_be_first(p).tolist() == [False, False, True]


def test_equal_entries_beat_nobody_and_may_all_be_first() -> None:
    p = p_of_pairs(entries(*[0.5] * 6))
    assert not beats(p).any() and may_be_first(p).all()


def test_an_entry_beats_itself_never() -> None:
    p = p_of_pairs(entries(0.1, 0.5))
    assert np.diagonal(p) == pytest.approx([0.5, 0.5])


def test_the_front_holds_what_no_other_beats_in_both_readings() -> None:
    held_back = p_of_pairs(entries(0.9, 0.5, 0.4, 0.9))
    real = p_of_pairs(entries(0.1, 0.9, 0.5, 0.1))
    # the second is better than the third in both; first and last are equal
    assert on_front(held_back, real).tolist() == [True, True, False, True]


def test_a_value_above_one_counts_as_one_in_ranks() -> None:
    (reading,) = entries(1.2, 1.05, 0.5)
    cut = reading.cut(1.0)
    assert cut.value.tolist() == pytest.approx([1.0, 1.0, reading.value[2]])
    p = p_of_pairs([cut])
    assert not beats(p)[:2, :2].any() and beats(p)[:2, 2].all()


def test_one_entry_alone_may_be_first() -> None:
    p = p_of_pairs(entries(0.3))
    assert may_be_first(p).all() and on_front(p, p).all() and not beats(p).any()
    assert holm(np.array([0.01])) == pytest.approx([0.01])

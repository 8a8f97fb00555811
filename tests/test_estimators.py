"""Estimators against hand-worked values, closed forms and simulations."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm
from scipy.stats import rankdata
from scipy.stats import spearmanr

from membench import estimators


def test_memorization_is_what_one_counts_by_hand() -> None:
    # Example 0: right in 2 of 2 models that trained on it, in 1 of 2 that did not.
    # Example 1: right in 1 of 3 that did, in 1 of 1 that did not.
    inside = np.array([[1, 1], [1, 1], [0, 1], [0, 0]], dtype=bool)
    right = np.array([[1, 1], [1, 0], [1, 0], [0, 1]], dtype=bool)
    value, error = estimators.memorization(right, inside)
    np.testing.assert_allclose(value, [0.5, 1 / 3 - 1])
    np.testing.assert_allclose(error, [np.sqrt(0.5 * 0.5 / 2), np.sqrt(1 / 3 * 2 / 3 / 3)])


def test_an_example_that_all_models_trained_on_has_no_memorization() -> None:
    value, error = estimators.memorization(np.ones((3, 1), bool), np.ones((3, 1), bool))
    assert np.isnan([value, error]).all()


def subsets(rng: np.random.Generator, models: int, n: int, share: float = 0.7) -> np.ndarray:
    return np.argsort(rng.random((models, n)), axis=1) < round(share * n)


def lookup(
    rng: np.random.Generator, inside: np.ndarray, wrong: np.ndarray, recall: float
) -> np.ndarray:
    """Simulate the answers [m, n] of a learner by lookup: right or not.

    It recalls the label of a row that it has seen with probability `recall`, else says the real
    class.
    """
    return ~wrong | (inside & (rng.random(inside.shape) < recall))


def test_subsets_find_the_leave_one_out_memorization_of_a_learner_with_a_closed_form() -> None:
    """Exact leave-one-out: `recall` for a wrong label, 0 for a real one, which is right anyway."""
    rng = np.random.default_rng(0)
    wrong, recall = np.arange(50) < 20, 0.6
    inside = subsets(rng, 400, 50)
    value, error = estimators.memorization(lookup(rng, inside, wrong, recall), inside)
    assert (value[~wrong] == 0).all()
    assert np.abs((value - recall)[wrong] / error[wrong]).max() < 3.5
    right = lookup(rng, inside, wrong, recall)
    mean, se, freedom = estimators.group_memorization(right, inside, wrong)
    assert abs(mean - recall) < 3 * se
    assert se == pytest.approx(np.sqrt(recall * (1 - recall) / (400 * 0.7 * 20)), rel=0.15)
    assert freedom == 399


def test_leaving_each_row_out_once_gives_ridge_regressions_own_leave_one_out() -> None:
    """Without row j, ridge predicts yhat_i - h_ij (y_j - yhat_j) / (1 - h_jj), h the hat matrix."""
    rng = np.random.default_rng(1)
    n, d = 40, 25
    x = rng.normal(size=(n, d))
    y = np.sign(x[:, 0] + 0.1 * rng.normal(size=n)) * np.where(np.arange(n) < 12, -1, 1)
    hat = x @ np.linalg.solve(x.T @ x + np.eye(d), x.T)
    fitted = hat @ y
    # [i, j]: at i, trained without j
    closed = fitted[:, None] - hat * ((y - fitted) / (1 - np.diag(hat)))
    hit = closed * y[:, None] > 0
    exact = (hit.sum(axis=1) - np.diag(hit)) / (n - 1) - np.diag(hit)

    inside = ~np.eye(n, dtype=bool)
    weights = [np.linalg.solve(x[s].T @ x[s] + np.eye(d), x[s].T @ y[s]) for s in inside]
    right = np.stack([x @ w * y > 0 for w in weights])
    np.testing.assert_allclose(estimators.memorization(right, inside)[0], exact)
    whole = (fitted * y > 0).astype(float) - np.diag(hit)  # with all of the rows against all but i
    assert whole[:12].mean() > whole[12:].mean() + 0.3
    assert exact[:12].mean() == pytest.approx(whole[:12].mean(), abs=0.05)


def test_the_jackknifes_error_is_the_spread_over_repetitions_with_shared_models() -> None:
    """All examples share half of a model's luck, which errors of single examples leave out."""
    rng = np.random.default_rng(2)
    means, errors, naive = [], [], []
    for _ in range(60):
        inside = subsets(rng, 40, 30)
        right = rng.random((40, 30)) < 0.2 + 0.6 * inside * rng.random((40, 1))
        mean, error, _ = estimators.group_memorization(right, inside, np.ones(30, bool))
        means.append(mean)
        errors.append(error)
        naive.append(np.sqrt((estimators.memorization(right, inside)[1] ** 2).sum()) / 30)
    spread = np.std(means, ddof=1)
    assert np.mean(errors) == pytest.approx(spread, rel=0.3)
    assert np.mean(naive) < 0.75 * spread


def test_a_group_needs_two_models_on_each_side() -> None:
    inside = np.array([[1], [1], [0]], dtype=bool)
    with pytest.raises(ValueError, match="two models"):
        estimators.group_memorization(inside, inside, np.ones(1, bool))
    with pytest.raises(ValueError, match="two models"):
        estimators.membership_scores(inside.astype(float), inside)


def test_membership_of_simulated_gaussians_is_found_as_often_as_the_best_test_can() -> None:
    """Check against the likelihood ratio for known means d apart and variance 1.

    At a share `a` of false positives it finds a share Phi(d - z(1 - a)) of the members.
    """
    rng = np.random.default_rng(3)
    inside, d = subsets(rng, 100, 200, 0.5), 2.0
    # Examples differ far more than members do: a common threshold finds few.
    hard = 5 * rng.normal(size=200)
    margin = hard + d * inside + rng.normal(size=inside.shape)
    scores = estimators.membership_scores(margin, inside)
    for at in (0.01, 0.1):
        best = norm.cdf(d - norm.ppf(1 - at))
        assert estimators.true_positive_rate(scores, inside, at) == pytest.approx(best, abs=0.03)
    assert estimators.true_positive_rate(margin, inside, 0.01) < 0.05


def test_a_target_is_not_among_its_own_shadows() -> None:
    """An estimator that leaves a target in its mean would find members of pure noise."""
    rng = np.random.default_rng(4)
    inside = subsets(rng, 6, 4000, 0.5)
    few = (inside.sum(axis=0) >= 2) & ((~inside).sum(axis=0) >= 2)
    scores = estimators.membership_scores(rng.normal(size=inside.shape)[:, few], inside[:, few])
    assert estimators.true_positive_rate(scores, inside[:, few], 0.01) == pytest.approx(
        0.01, abs=0.006
    )


def test_scores_are_the_written_out_density_ratio() -> None:
    rng = np.random.default_rng(5)
    inside = np.array([[1, 0], [1, 0], [1, 1], [0, 1], [0, 0], [0, 1]], dtype=bool)
    margin = rng.normal(size=(6, 2))
    others = np.arange(6) != 0

    def density(side: np.ndarray) -> float:
        groups = [margin[others & side[:, i], i] for i in range(2)]
        square = sum(((g - g.mean()) ** 2).sum() for g in groups) / sum(len(g) - 1 for g in groups)
        return norm.logpdf(margin[0, 0], groups[0].mean(), np.sqrt(square))

    expected = density(inside) - density(~inside)
    assert estimators.membership_scores(margin, inside)[0, 0] == pytest.approx(expected)


@pytest.mark.parametrize(
    ("at", "expected"),
    [
        (0.0, 1 / 3),  # above the highest of the others, 4
        (0.25, 2 / 3),  # one of four may be above: threshold 3, a tie with it does not count
        (0.999, 1.0),
    ],
)
def test_true_positives_by_hand(at: float, expected: float) -> None:
    scores = np.array([1.0, 2.0, 3.0, 4.0, 5.0, 3.5, 3.0])
    members = np.array([0, 0, 0, 0, 1, 1, 0], dtype=bool)
    scores, members = np.append(scores[:4], [5.0, 3.5, 3.0]), np.append(members[:4], [True] * 3)
    if at == 0.999:
        scores[6] = 1.5
    assert estimators.true_positive_rate(scores, members, at) == pytest.approx(expected)


@given(st.lists(st.integers(-3, 3) | st.floats(), min_size=1, max_size=12))
def test_ranks_are_those_of_scipy_to_the_last_bit(values: list[float]) -> None:
    x = np.array(values, float)
    assert np.array_equal(estimators.mean_ranks(x), rankdata(x), equal_nan=True)


def test_spearman_is_that_of_scipy() -> None:
    x, y = np.array([1.0, 2, 2, 4, 9]), np.array([3.0, 1, 5, 5, 7])
    assert estimators.spearman(x, y) == pytest.approx(spearmanr(x, y).statistic)
    assert np.isnan(estimators.spearman(x, np.ones(5)))


def test_whole_clusters_are_drawn() -> None:
    drawn = set()

    def record(index: np.ndarray) -> float:
        drawn.add(tuple(sorted(index)))
        return 0.0

    estimators.cluster_bootstrap(record, "aabbb", "test", draws=50)
    assert drawn == {(0, 0, 1, 1), (0, 1, 2, 3, 4), (2, 2, 3, 3, 4, 4)}


def test_equal_names_give_equal_resamples() -> None:
    assert (estimators.resamples(7, 3, "a") == estimators.resamples(7, 3, "a")).all()
    assert (estimators.resamples(7, 30, "a") != estimators.resamples(7, 30, "b")).any()


@pytest.mark.slow
@pytest.mark.parametrize(("clusters", "least"), [(8, 0.82), (14, 0.87)])
def test_intervals_over_clusters_cover_where_intervals_over_points_do_not(
    clusters: int, least: float
) -> None:
    """The Spearman correlation is 0; the three points of a cluster are nearly equal."""

    def values(rng: np.random.Generator) -> np.ndarray:
        return np.repeat(rng.normal(size=clusters), 3) + 0.3 * rng.normal(size=3 * clusters)

    def covers(rng: np.random.Generator, groups: list[int]) -> bool:
        x, y = values(rng), values(rng)
        low, high = estimators.cluster_bootstrap(
            lambda i: estimators.spearman(x[i], y[i]), groups, "coverage", draws=200
        )
        return low <= 0 <= high

    rng = np.random.default_rng(6)
    by_cluster = np.mean([covers(rng, [i // 3 for i in range(3 * clusters)]) for _ in range(150)])
    by_point = np.mean([covers(rng, list(range(3 * clusters))) for _ in range(150)])
    assert by_cluster > least
    assert by_point < by_cluster - 0.1

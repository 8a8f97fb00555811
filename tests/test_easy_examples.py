"""The dispersion ratio: by hand, against simulated binomials, and what the study concludes from records."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from matplotlib.figure import Figure
from numpy.typing import NDArray
from plugin_files import plugin

from membench.errors import MembenchError
from membench.records import Record

easy = plugin("studies/easy_examples.py")


def simulated(rng: np.random.Generator, p: NDArray[np.float64], runs: int) -> NDArray[np.bool_]:
    """[runs, n] outcomes: example i is wrong with probability p_i."""
    return rng.random((runs, len(p))) < p


def test_the_ratio_by_hand() -> None:
    wrong = np.array([[1, 0, 0, 1], [1, 0, 1, 0], [1, 0, 0, 1]], dtype=bool)
    found = easy.spread("real", wrong)
    rates = np.array([1, 0, 1 / 3, 2 / 3])
    assert np.array_equal(found.rates, rates)
    assert found.ratio == pytest.approx(rates.var() / (0.25 / 3))  # p_r (1 - p_r) is 1/4 in every run
    pairs = np.corrcoef(wrong)[np.triu_indices(3, 1)]
    assert found.agreement == pytest.approx(pairs.mean())


def test_without_a_run_is_the_mean_correlation_of_the_others() -> None:
    wrong = simulated(np.random.default_rng(0), np.linspace(0.1, 0.9, 50), 6)
    others = easy.spread("real", wrong[1:])
    assert easy.spread("real", wrong).left_out[0] == pytest.approx(1 + 5 * others.agreement)


def test_runs_that_differ_in_their_mean_but_not_in_their_examples_have_ratio_one() -> None:
    rng = np.random.default_rng(1)
    ratios = [easy.spread("x", rng.random((40, 300)) < rng.random((40, 1))).ratio for _ in range(200)]
    assert np.mean(ratios) == pytest.approx(1, abs=4 * np.std(ratios) / 200**0.5)
    assert np.std(ratios) / 200**0.5 < 0.02


def test_what_examples_differ_by_comes_back_as_variance_over_the_binomials() -> None:
    rng = np.random.default_rng(2)
    p = rng.beta(2, 3, 4000)
    expected = 1 + 59 * p.var() / (p.mean() * (1 - p.mean()))
    assert easy.spread("x", simulated(rng, p, 60)).ratio == pytest.approx(expected, rel=0.05)


@pytest.mark.parametrize(("a", "low", "high"), [(0.0, 0.95, 1.0), (1.0, 0.9, 0.99)])
def test_the_interval_covers_what_it_should(a: float, low: float, high: float) -> None:
    """With the examples fixed: nearly always where the ratio is 1, and about 95 % of the time where it is not."""
    rng = np.random.default_rng(3)
    p = 0.4 + 0.2 * a * np.sin(np.arange(300))
    true = 1 + 39 * p.var() / (p * (1 - p) + np.square(p - p.mean())).mean()
    hits = 0
    for _ in range(300):
        found = easy.spread("x", simulated(rng, p, 40))
        _, below, above = easy.jackknife(found.ratio, found.left_out)
        hits += below < true < above
    assert low <= hits / 300 <= high


def test_distance_from_the_binomial() -> None:
    rng = np.random.default_rng(4)
    assert easy.distance(simulated(rng, np.full(4000, 0.3), 30)) < 0.03
    always = np.arange(4000) % 10 < 3
    assert easy.distance(np.tile(always, (30, 1))) > 0.5


def test_runs_that_all_do_the_same_on_all_examples_have_no_ratio() -> None:
    with pytest.raises(MembenchError, match="at least 3 must differ"):
        easy.spread("randX", np.ones((5, 20), dtype=bool))


def records(rng: np.random.Generator, signal: str, p: NDArray[np.float64], runs: int = 40) -> Iterator[Record]:
    for seed, wrong in enumerate(simulated(rng, p, runs)):
        bits = np.packbits(~wrong).tobytes().hex()
        yield Record("", "", "", "mnist5k", "mlp", "none", (), signal, seed, "ok", train_bits=bits, num_train=len(p))


def verdicts(real: float, labels: float, inputs: float) -> list[str]:
    """What the three tests say where p varies by so much."""
    rng, wave = np.random.default_rng(5), np.sin(np.arange(500))
    given = zip(easy.SIGNALS, (real, labels, inputs), strict=True)
    own = tuple(r for signal, a in given for r in records(rng, signal, 0.5 + a * wave))
    finding = easy.analyse({"mnist5k": own})
    assert len(finding.table) == 4
    return [t.verdict for t in finding.tests]


def test_verdicts_follow_the_examples() -> None:
    assert verdicts(0.45, 0.2, 0.0) == ["holds"] * 3
    assert verdicts(0.2, 0.45, 0.0) == ["does not hold", "holds", "holds"]
    assert verdicts(0.45, 0.0, 0.3) == ["holds", "does not hold", "does not hold"]


def test_a_failed_run_takes_its_partners_with_it_and_is_told() -> None:
    rng = np.random.default_rng(6)
    own = [r for s, a in zip(easy.SIGNALS, (0.4, 0.2, 0), strict=True) for r in records(rng, s, 0.5 + a * np.ones(99))]
    broken = next(i for i, r in enumerate(own) if (r.signal, r.seed) == ("randY", 3))
    own[broken] = replace(own[broken], status="diverged", train_bits="")
    finding = easy.analyse({"mnist5k": tuple(own)})
    assert "39 runs" in finding.tests[0].method and any("3 cells" in note for note in finding.notes)


def test_the_figure_is_drawn() -> None:
    rng = np.random.default_rng(7)
    own = tuple(r for s in easy.SIGNALS for r in records(rng, s, np.linspace(0.2, 0.8, 64)))
    figure = Figure(figsize=(7, 3))
    easy.analyse({"mnist5k": own}).draw(figure)
    left, right = figure.axes
    assert len(left.lines) == 4 and right.get_yscale() == "log"

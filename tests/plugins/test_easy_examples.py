"""The dispersion ratio: by hand, against simulated binomials, and in the study's conclusion."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from matplotlib.figure import Figure
from numpy.typing import NDArray
from support.plugin_files import plugin

from membench.api import Arrays
from membench.api import Signal
from membench.api import Split
from membench.data import RunData
from membench.data import draw_run
from membench.errors import MembenchError
from membench.records import Record
from membench.rng import Draws
from membench.rng import chain
from membench.rng import word

easy = plugin("studies/easy_examples.py")


def simulated(rng: np.random.Generator, p: NDArray[np.float64], runs: int) -> NDArray[np.bool_]:
    """[runs, n] outcomes: example i is wrong with probability p_i."""
    return rng.random((runs, len(p))) < p


def test_the_ratio_by_hand() -> None:
    wrong = np.array([[1, 0, 0, 1], [1, 0, 1, 0], [1, 0, 0, 1]], dtype=bool)
    found = easy.spread("real", wrong)
    rates = np.array([1, 0, 1 / 3, 2 / 3])
    assert np.array_equal(found.rates, rates)
    assert found.ratio == pytest.approx(
        rates.var() / (0.25 / 3)
    )  # p_r (1 - p_r) is 1/4 in every run
    pairs = np.corrcoef(wrong)[np.triu_indices(3, 1)]
    assert (found.ratio - 1) / 2 == pytest.approx(pairs.mean())


def test_without_a_run_is_the_mean_correlation_of_the_others() -> None:
    wrong = simulated(np.random.default_rng(0), np.linspace(0.1, 0.9, 50), 6)
    others = easy.spread("real", wrong[1:])
    assert easy.spread("real", wrong).left_out[0] == pytest.approx(1 + 5 * (others.ratio - 1) / 4)


def test_runs_that_differ_in_their_mean_but_not_in_their_examples_have_ratio_one() -> None:
    rng = np.random.default_rng(1)
    ratios = [
        easy.spread("x", rng.random((40, 300)) < rng.random((40, 1))).ratio for _ in range(200)
    ]
    assert np.mean(ratios) == pytest.approx(1, abs=4 * np.std(ratios) / 200**0.5)
    assert np.std(ratios) / 200**0.5 < 0.02


def test_what_examples_differ_by_comes_back_as_variance_over_the_binomials() -> None:
    rng = np.random.default_rng(2)
    p = rng.beta(2, 3, 4000)
    expected = 1 + 59 * p.var() / (p.mean() * (1 - p.mean()))
    assert easy.spread("x", simulated(rng, p, 60)).ratio == pytest.approx(expected, rel=0.05)


@pytest.mark.parametrize(("a", "low", "high"), [(0.0, 0.95, 1.0), (1.0, 0.9, 0.99)])
def test_the_interval_covers_what_it_should(a: float, low: float, high: float) -> None:
    """With the examples fixed: nearly always if the ratio is 1, else about 95 % of the time."""
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


def records(
    rng: np.random.Generator, signal: str, p: NDArray[np.float64], runs: int = 40
) -> Iterator[Record]:
    for seed, wrong in enumerate(simulated(rng, p, runs)):
        bits = np.packbits(~wrong).tobytes().hex()
        yield Record(
            "",
            "",
            "",
            "mnist5k",
            "mlp",
            "none",
            (),
            signal,
            seed,
            "ok",
            train_bits=bits,
            num_train=len(p),
        )


def others(rng: np.random.Generator, p: float = 0.5) -> tuple[Record, ...]:
    """Runs where the kept inputs are all alike."""
    return tuple(records(rng, easy.REDRAWN, np.full(easy.KEPT + 100, p)))


def drawn(seed: int) -> RunData:
    signal = next(r for r in easy.register()[0].records if isinstance(r, Signal))
    n = easy.KEPT + 60
    x = (np.arange(n * 16) % 251).astype(np.uint8).reshape(n, 1, 4, 4)
    arrays = Arrays(x[: n - 20], np.arange(n - 20) % 3, 3, (x[n - 20 :], np.arange(20) % 3))
    return draw_run(arrays, Split(20, n - 40, 20), signal, None, "mnist5k/mlp", seed)


def test_the_kept_inputs_are_the_same_in_all_runs_and_found_again() -> None:
    rows = []
    for seed in (0, 1):
        found = drawn(seed)
        z = (found.train.x - found.mean[:, None, None]) / found.std[:, None, None]
        n = len(z)
        marks = np.packbits(found.train.y != found.train.y[0]).tobytes().hex()
        record = Record(
            "",
            "",
            "",
            "mnist5k",
            "mlp",
            "none",
            (),
            easy.REDRAWN,
            seed,
            "ok",
            train_bits=marks,
            num_train=n,
        )
        key = chain(word("task", "mnist5k/mlp", seed), word("blind", easy.REDRAWN, None))
        kept = np.argsort(Draws(key).permutation("examples", n))[: easy.KEPT]
        assert np.array_equal(easy.kept_bits([record])[0], found.train.y[kept] == found.train.y[0])
        rows.append(z[kept])
        classes = found.train.y[kept]
        assert (
            len(set(zip(classes, np.arange(easy.KEPT) % 3, strict=True))) == 3
        )  # labels go round, under hidden ids
    assert np.allclose(rows[0], rows[1], atol=1e-4)


def test_the_remark_says_who_makes_an_input_hard() -> None:
    rng, wave = np.random.default_rng(8), np.sin(np.arange(500))
    inputs = easy.spread("randX", simulated(rng, 0.5 + 0.3 * wave, 40))
    alike = easy.spread(easy.REDRAWN, simulated(rng, np.full(500, 0.5), 40))
    assert "chance correlations" in easy.why(inputs, alike)
    assert "is not what makes" in easy.why(inputs, inputs)


def verdicts(real: float, labels: float, inputs: float) -> list[str]:
    """What the three tests say where p varies by so much."""
    rng, wave = np.random.default_rng(5), np.sin(np.arange(500))
    given = zip(easy.SIGNALS, (real, labels, inputs), strict=True)
    own = tuple(r for signal, a in given for r in records(rng, signal, 0.5 + a * wave))
    finding = easy.analyse({"fixed": own, "redrawn": others(rng)})
    assert len(finding.table) == 5
    return [t.verdict for t in finding.tests]


def test_verdicts_follow_the_examples() -> None:
    assert verdicts(0.45, 0.2, 0.0) == ["holds"] * 3
    assert verdicts(0.2, 0.45, 0.0) == ["does not hold", "holds", "holds"]
    assert verdicts(0.45, 0.0, 0.3) == ["holds", "does not hold", "does not hold"]


def test_a_failed_run_takes_its_partners_with_it_and_is_told() -> None:
    rng = np.random.default_rng(6)
    own = [
        r
        for s, a in zip(easy.SIGNALS, (0.4, 0.2, 0), strict=True)
        for r in records(rng, s, 0.5 + a * np.ones(99))
    ]
    broken = next(i for i, r in enumerate(own) if (r.signal, r.seed) == ("randY", 3))
    own[broken] = replace(own[broken], status="diverged", train_bits="")
    finding = easy.analyse({"fixed": tuple(own), "redrawn": others(rng)})
    assert "39 runs" in finding.tests[0].method and any("3 cells" in note for note in finding.notes)


def test_the_figure_is_drawn() -> None:
    rng = np.random.default_rng(7)
    own = tuple(r for s in easy.SIGNALS for r in records(rng, s, np.linspace(0.2, 0.8, 64)))
    figure = Figure(figsize=(7, 3))
    easy.analyse({"fixed": own, "redrawn": others(rng)}).draw(figure)
    left, right = figure.axes
    assert len(left.lines) == 4 and right.get_yscale() == "log"

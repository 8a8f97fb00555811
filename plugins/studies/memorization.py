"""Memorization: how much more often is an example predicted as labelled by networks that were trained on it?

Feldman and Zhang, "What Neural Networks Memorize and Why: Discovering the Long Tail via Influence Estimation", NeurIPS
2020, arXiv:2008.03703: each run trains on its own 70 % of one fixed training set. With 100 runs the standard error of a
single example is about .1, so that only means over groups are read; their error is a jackknife over runs.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from membench import Arm
from membench import Finding
from membench import Recipe
from membench import Split
from membench import Study
from membench import Test
from membench import hookimpl
from membench.data import trained_rows
from membench.estimators import group_memorization
from membench.estimators import interval
from membench.estimators import memorization
from membench.studies import select

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from membench.records import Record
    from membench.studies import Results

    Bools = NDArray[np.bool_]
    Seen = tuple[Bools, Bools, Bools]  # right [m, n], inside [m, n], wrong [n]

# the cells of `membership` and `calibration` are these, so that they are trained once: see tests/test_memorization.py
QUICK = Arm(
    name="subsets",
    dataset="digits",
    architectures=("small-mlp",),
    signals=("mixed@0.4",),
    seeds=tuple(range(100)),
    split=Split(test=400, train=300, validation=300, fixed=0, share=0.7),
    recipe=Recipe(lr=0.1, batch=30, epochs=60),
    regularizers={"none": None, "dropout": ((0.5,),), "input-noise": ((2.0,),)},
    probes=("margins",),
    read=(60,),
    width=100,
    compiled=False,
)
PAPER = replace(
    QUICK,
    dataset="mnist",
    architectures=("mlp",),
    seeds=tuple(range(200)),
    split=Split(test=10000, train=10000, validation=10000, fixed=0, share=0.7),
    recipe=Recipe(lr=0.02, batch=100, epochs=60),
    width=50,
    compiled=True,
)
SPLITS = {arm.dataset: arm.split for arm in (QUICK, PAPER)}


def seen(records: Sequence[Record]) -> Seen:
    """(right [m, n], inside [m, n], wrong [n]) of the runs of one setting."""
    n = records[0].num_train
    bits = [np.unpackbits(np.frombuffer(bytes.fromhex(r.train_bits), np.uint8), count=n) for r in records]
    inside = [trained_rows(SPLITS[r.dataset], r.cell) for r in records]
    wrong = np.zeros(n, dtype=bool)
    wrong[np.array(records[0].probes["margins"]["canary"][0], dtype=int)] = True
    return np.array(bits, dtype=bool), np.array(inside), wrong


def by_setting(records: Sequence[Record]) -> dict[str, list[Record]]:
    """`dropout[0.5]` -> its runs that ended well, the plain network first."""
    found = {}
    for r in select(records):
        found.setdefault(r.id.split("/")[2], []).append(r)
    return found


def analyse(results: Results) -> Finding:
    groups = {setting: seen(records) for setting, records in by_setting(results["subsets"]).items()}
    means = {s: {g: mean_of(*data, g) for g in ("wrong", "other")} for s, data in groups.items()}
    tests = [more(*groups["none"]), *(less(s, groups["none"], groups[s]) for s in groups if s != "none")]
    header = ("setting", "runs", "memorization of wrong labels", "of the other labels", "error of one example")
    rows = []
    for s, (right, inside, _) in groups.items():
        error = np.nanmean(memorization(right, inside)[1])
        told = [f"{m:.3f} ± {high - m:.3f}" for m, _, high in means[s].values()]
        rows.append((s, str(len(right)), *told, f"{error:.3f}"))
    return Finding(
        tests=tuple(tests),
        table=(header, *rows),
        draw=lambda figure: draw(figure, groups),
        caption="Memorization of each training example, sorted within its group: how much more often runs that "
        "trained on it predict it as labelled. Solid: wrong labels; dashed: the other labels; a panel a setting.",
        notes=(
            "The error of a single example is too large to read one; the tests are on means over groups.",
            "A regularizer that holds noise back may turn the order around: what little is memorized then are hard "
            "examples with real labels.",
        ),
    )


def mean_of(right: Bools, inside: Bools, wrong: Bools, group: str) -> tuple[float, float, float]:
    return interval(*group_memorization(right, inside, wrong if group == "wrong" else ~wrong))


def more(right: Bools, inside: Bools, wrong: Bools) -> Test:
    """Wrong minus other labels in the plain network; the groups share their runs and are jackknifed together."""

    def gap(kept: Bools) -> float:
        own, other = (group_memorization(right[kept], inside[kept], group)[0] for group in (wrong, ~wrong))
        return own - other

    return jackknifed("none: memorization of wrong - of other labels", gap, len(right), threshold=0.3)


def less(setting: str, plain: Seen, other: Seen) -> Test:
    """How much less wrong labels are memorized; run by run on the same rows."""
    value = lambda k, seen: group_memorization(seen[0][k], seen[1][k], seen[2])[0]  # noqa: E731
    gap = lambda k: value(k, plain) - value(k, other)  # noqa: E731
    return jackknifed(f"memorization of wrong labels: none - {setting}", gap, min(len(plain[0]), len(other[0])))


def jackknifed(name: str, statistic: Callable[[Bools], float], runs: int, threshold: float = 0.0) -> Test:
    """The statistic of the runs that a mask keeps, with the jackknife's error."""
    out = np.array([statistic(np.arange(runs) != k) for k in range(runs)])
    error = float(np.sqrt((runs - 1) / runs * ((out - out.mean()) ** 2).sum()))
    whole = interval(float(statistic(np.ones(runs, bool))), error, runs - 1)
    return Test(name, *whole, threshold=threshold, method=f"jackknife over {runs} runs")


def draw(figure: Figure, groups: dict[str, Seen]) -> None:
    panels = figure.subplots(1, len(groups), sharey=True, squeeze=False)[0]
    for axes, (setting, (right, inside, wrong)) in zip(panels, groups.items(), strict=True):
        value = memorization(right, inside)[0]
        for rows, style, label in ((wrong, "-", "wrong labels"), (~wrong, "--", "other labels")):
            own = np.sort(value[rows])
            axes.plot(100 * (np.arange(len(own)) + 0.5) / len(own), own, style, color="#1a1a1a", lw=1.4, label=label)
        axes.set_title(setting, loc="left")
        axes.set_xlabel("examples of the group (%, sorted)")
    panels[0].set_ylabel("memorization (difference of shares)")
    panels[0].legend(frameon=False)


@hookimpl
def register() -> list[Study]:
    return [
        Study(
            "memorization",
            arms={"quick": (QUICK,), "paper": (PAPER,)},
            analyse=analyse,
            claim="The plain network memorizes wrong labels far more than the others, by more than .3 on average; "
            "under dropout and input noise they are memorized less.",
            scaled="300 digits of 8x8, 40 % of their labels random, two layers of 64 units, 100 runs; Feldman and "
            "Zhang train 2000 to 4000 networks on all of MNIST, CIFAR-100 and ImageNet.",
        )
    ]

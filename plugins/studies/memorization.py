"""Memorization: how much more often is an example predicted as labelled if trained on?

Feldman and Zhang, "What Neural Networks Memorize and Why: Discovering the Long Tail via Influence
Estimation", NeurIPS 2020, arXiv:2008.03703: each run trains on its own 70 % of one fixed training
set. With 100 runs the standard error of a single example is about .1, so that only means over
groups are read; their error is a jackknife over runs.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from membench import Finding
from membench import Study
from membench import Test
from membench import hookimpl
from membench import shadow_runs
from membench.estimators import group_memorization
from membench.estimators import jackknife
from membench.estimators import memorization
from membench.studies import by_setting
from membench.studies import interval

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from membench.records import Record
    from membench.studies import Results

    Bools = NDArray[np.bool_]
    Seen = tuple[Bools, Bools, Bools]  # right [m, n], inside [m, n], wrong [n]


def seen(records: Sequence[Record]) -> Seen:
    """Return right [m, n], inside [m, n] and wrong [n] of the runs of one setting."""
    found = shadow_runs.runs(records)
    return found.right, found.inside, found.wrong


def analyse(results: Results) -> Finding:
    groups = {setting: seen(records) for setting, records in by_setting(results["subsets"]).items()}
    means = {s: {g: mean_of(*data, g) for g in ("wrong", "other")} for s, data in groups.items()}
    tests = [
        more(*groups["none"]),
        *(less(s, groups["none"], groups[s]) for s in groups if s != "none"),
    ]
    header = (
        "setting",
        "runs",
        "memorization of wrong labels",
        "of the other labels",
        "error of one example",
    )
    rows = []
    for s, (right, inside, _) in groups.items():
        error = np.nanmean(memorization(right, inside)[1])
        told = [f"{m:.3f} ± {high - m:.3f}" for m, _, high in means[s].values()]
        rows.append((s, str(len(right)), *told, f"{error:.3f}"))
    return Finding(
        tests=tuple(tests),
        table=(header, *rows),
        draw=lambda figure: draw(figure, groups),
        caption="Memorization of each training example, sorted within its group: how much more "
        "often runs that trained on it predict it as labelled. Solid: wrong labels; dashed: the "
        "other labels; a panel a setting.",
        notes=(
            "The error of a single example is too large to read one; the tests are on means over "
            "groups.",
            "A regularizer that holds noise back may turn the order around: what little is "
            "memorized then are hard examples with real labels.",
        ),
    )


def mean_of(right: Bools, inside: Bools, wrong: Bools, group: str) -> tuple[float, float, float]:
    return interval(*group_memorization(right, inside, wrong if group == "wrong" else ~wrong))


def more(right: Bools, inside: Bools, wrong: Bools) -> Test:
    """Test wrong minus other labels in the plain network.

    The groups share their runs and are jackknifed together.

    Args:
        right: [m, n].
        inside: [m, n].
        wrong: [n].
    """

    def gap(kept: Bools) -> float:
        own, other = (
            group_memorization(right[kept], inside[kept], group)[0] for group in (wrong, ~wrong)
        )
        return own - other

    return jackknifed(
        "none: memorization of wrong - of other labels", gap, len(right), threshold=0.3
    )


def less(setting: str, plain: Seen, other: Seen) -> Test:
    """Test how much less wrong labels are memorized, run by run on the same rows.

    Args:
        setting: the regularizer and its strength.
        plain: the runs without it.
        other: the runs with it.
    """

    def value(kept: Bools, runs: Seen) -> float:
        right, inside, wrong = runs
        return group_memorization(right[kept], inside[kept], wrong)[0]

    def gap(kept: Bools) -> float:
        return value(kept, plain) - value(kept, other)

    return jackknifed(
        f"memorization of wrong labels: none - {setting}", gap, min(len(plain[0]), len(other[0]))
    )


def jackknifed(
    name: str, statistic: Callable[[Bools], float], runs: int, threshold: float = 0.0
) -> Test:
    """Test a statistic of the runs that a mask keeps, with the jackknife's error.

    Args:
        name: of the test.
        statistic: a mask of runs [m] -> the number.
        runs: m.
        threshold: of the claim.
    """
    out = np.array([statistic(np.arange(runs) != k) for k in range(runs)])
    whole = float(statistic(np.ones(runs, bool)))
    method = f"jackknife over {runs} runs"
    return Test(name, *jackknife(whole, out), threshold, method, freedom=runs - 1)


def draw(figure: Figure, groups: dict[str, Seen]) -> None:
    panels = figure.subplots(1, len(groups), sharey=True, squeeze=False)[0]
    for axes, (setting, (right, inside, wrong)) in zip(panels, groups.items(), strict=True):
        value = memorization(right, inside)[0]
        for rows, style, label in ((wrong, "-", "wrong labels"), (~wrong, "--", "other labels")):
            own = np.sort(value[rows])
            axes.plot(
                100 * (np.arange(len(own)) + 0.5) / len(own),
                own,
                style,
                color="#1a1a1a",
                lw=1.4,
                label=label,
            )
        axes.set_title(setting, loc="left")
        axes.set_xlabel("examples, sorted (%)")
    panels[0].set_ylabel("memorization (difference of shares)")
    panels[0].legend(frameon=False)


@hookimpl
def register() -> list[Study]:
    return [
        Study(
            "memorization",
            arms={"quick": (shadow_runs.QUICK,), "paper": (shadow_runs.PAPER,)},
            analyse=analyse,
            claim="The plain network memorizes wrong labels far more than the others, by more "
            "than .3 on average; under dropout and input noise they are memorized less.",
            scaled="300 digits of 8x8, 40 % of their labels random, two layers of 64 units, 100 "
            "runs; Feldman and Zhang train 2000 to 4000 networks on all of MNIST, CIFAR-100 and "
            "ImageNet.",
        )
    ]

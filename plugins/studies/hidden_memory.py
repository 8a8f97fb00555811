"""Hidden memory: is noise that is kept out of a network's answers out of its weights too?

Beyond Arpit et al., ICML 2017, arXiv:1706.05394, who read the fit of noise from the answers. The
trained network is trained on without its regularizer, once on its own wrong labels and once on new
ones: savings in relearning are memory.
"""

from __future__ import annotations

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
from membench.studies import by_setting
from membench.studies import mean_interval
from membench.studies import paired
from membench.studies import shown

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from membench.records import Record
    from membench.studies import Results

QUICK = Arm(
    name="main",
    dataset="mnist5k",
    architectures=("mlp",),
    signals=("mixed@0.4",),
    seeds=(0, 1, 2, 3, 4),
    split=Split(test=2000, train=1000, validation=1000),
    recipe=Recipe(lr=0.05, batch=100, epochs=50),
    regularizers={
        "dropout": ((0.5,), (0.8,)),
        "input-noise": ((2.0,), (4.0,)),
        "weight-decay": ((0.03,), (0.06,)),
        "early-stop": ((0.1,), (0.2,)),
    },
    probes=("hidden-memory",),
    read=(50,),
    width=10,
)
PAPER = replace(
    QUICK,
    dataset="cifar10",
    architectures=("cnn",),
    split=Split(test=10000, train=45000, validation=5000),
    recipe=Recipe(lr=0.05, batch=128, epochs=100),
    read=(100,),
)
#: where dropout breaks the plain recipe's training, is it the rate?
SLOWER = replace(
    QUICK,
    name="slower",
    recipe=Recipe(lr=0.02, batch=100, epochs=100),
    regularizers={"dropout": ((0.5,), (0.8,))},
    read=(100,),
)
CURVES = ("relearned", "new", "scratch")


def curve(record: Record, name: str) -> NDArray[np.float64]:
    """Return the share of the held-back labels that is predicted, [epochs + 1]; NaN for none."""
    return np.array([np.nan if v is None else v for v in record.probes["hidden-memory"][name][0]])


def savings(records: Sequence[Record], other: str) -> NDArray[np.float64]:
    """Average relearned and `other` over the epochs after the start, where some were held."""
    both = np.array([[curve(r, name)[1:].mean() for name in ("relearned", other)] for r in records])
    return both[np.isfinite(both[:, 0])].T


def half_way(values: NDArray[np.float64]) -> float:
    """Find when half of them are learned, by straight lines between epochs; inf = never."""
    above = np.flatnonzero(values >= 0.5)
    if len(above) == 0:
        return np.inf
    k = above[0]
    return 0.0 if k == 0 else k - (values[k] - 0.5) / (values[k] - values[k - 1])


def analyse(results: Results) -> Finding:
    settings = by_setting(results["main"])
    tests, rows = [], []
    notes = [
        "`early-stop` holds the noise back by training less; its rows say what that leaves in the "
        "weights."
    ]
    for setting, records in settings.items():
        pair = savings(records, "new")
        if len(pair[0]) < 2:
            notes.append(f"{setting} holds nothing back: it is in no test.")
            continue
        how = f"paired t over {len(pair[0])} seeds, mean over epochs"
        tests.append(Test(f"{setting}: relearned - new wrong labels", *paired(*pair), method=how))
        held, _, high = mean_interval([r.probes["hidden-memory"]["held"][0] for r in records])
        halves = [
            half_way(np.nanmean([curve(r, name) for r in records], axis=0)) for name in CURVES
        ]
        told = ["never" if h == np.inf else f"{h:.1f}" for h in halves]
        scratch = paired(*savings(records, "scratch"))
        rows.append((setting, f"{held:.2f} ± {high - held:.2f}", *told, f"{scratch[0]:+.2f}"))
    notes += slower(settings, by_setting(results.get("slower", ())))
    header = (
        "setting",
        "held back",
        *(f"epochs to half, {name}" for name in CURVES),
        "relearned - scratch",
    )
    return Finding(
        tests=tuple(tests),
        table=(header, *rows),
        draw=lambda figure: draw(figure, settings),
        caption="Wrong labels that the regularized network does not predict, trained on without "
        "the regularizer: share predicted after each epoch. Solid: the run's own wrong labels; "
        "dashed: new wrong labels for the same examples; dotted: its own from the initial "
        "weights.",
        notes=tuple(notes),
    )


def slower(settings: dict[str, list[Record]], again: dict[str, list[Record]]) -> list[str]:
    """Tell of the same settings at a lower rate, for more epochs: an explanation, in no test."""
    told = []
    for setting in settings.keys() & again.keys():
        first, second = (s[setting] for s in (settings, again))
        fast, slow = (mean_interval([100 * r.val[-1] for r in own])[0] for own in (first, second))
        rate, epochs = SLOWER.recipe.lr, SLOWER.recipe.epochs
        pair = savings(second, "new")
        if len(pair[0]) < 2:
            continue
        told.append(
            f"One more run, for an explanation: at a rate of {rate:g} for {epochs} epochs "
            f"{setting} has a validation accuracy of {slow:.0f} % instead of {fast:.0f} %, and "
            f"relearned - new is {shown(paired(*pair))}."
        )
    return sorted(told)


def draw(figure: Figure, settings: dict[str, list[Record]]) -> None:
    figure.set_size_inches(7, 3.6)
    columns = -(-len(settings) // 2)
    panels = figure.subplots(2, columns, sharex=True, sharey=True, squeeze=False)
    for axes, (setting, records) in zip(panels.T.ravel(), settings.items(), strict=False):
        for name, style in zip(CURVES, ("-", "--", ":"), strict=True):
            values = np.nanmean([curve(r, name) for r in records], axis=0)
            axes.plot(range(len(values)), 100 * values, style, color="#1a1a1a", lw=1.4, label=name)
        axes.set_title(setting, loc="left")
        axes.set_ylim(0, 103)
    for axes in panels[-1]:
        axes.set_xlabel("epochs without it")
    for axes in panels[:, 0]:
        axes.set_ylabel("predicted as given (%)")
    panels[1, 0].legend(frameon=False, loc="upper left", fontsize=7.5)


@hookimpl
def register() -> list[Study]:
    return [
        Study(
            "hidden-memory",
            arms={"quick": (QUICK, SLOWER), "paper": (PAPER,)},
            analyse=analyse,
            claim="Wrong labels that a regularizer holds back are relearned faster than new ones "
            "are learned: they are in the weights.",
            scaled="1000 MNIST digits, two layers of 256 units, 50 epochs with and 10 without the "
            "regularizer, five seeds.",
        )
    ]

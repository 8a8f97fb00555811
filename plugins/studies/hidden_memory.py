"""Hidden memory: is noise that is kept out of a network's answers out of its weights too?

Beyond Arpit et al., ICML 2017, arXiv:1706.05394, who read the fit of noise from the answers. The
trained network is trained on without its regularizer, once on its own wrong labels and once on new
ones: savings in relearning are memory. Of each regularizer the setting counts that the board would
choose: one that still learns the real labels.
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
from membench.scoring.confirmed import choose_by_noise_held_back
from membench.scoring.formulas import by_chance
from membench.studies import by_setting
from membench.studies import mean_interval
from membench.studies import paired
from membench.studies import select

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from membench.records import Record
    from membench.studies import Results

#: From hardly any noise held back to about the strongest that still learns the real labels.
REGULARIZERS = {
    "dropout": ((0.5,), (0.6,), (0.65,), (0.7,)),
    "input-noise": ((2.0,), (3.0,)),
    "adversarial": ((0.4,), (0.6,), (0.8,)),
    "weight-decay": ((0.01,), (0.03,)),
}
CONTROL = "early-stop"
QUICK = Arm(
    name="main",
    dataset="mnist5k",
    architectures=("mlp",),
    signals=("mixed@0.4",),
    seeds=(5, 6, 7, 8, 9, 10, 11, 12),  # others than those that settings are chosen on
    split=Split(test=2000, train=1000, validation=1000),
    recipe=Recipe(lr=0.05, batch=100, epochs=50),
    regularizers={**REGULARIZERS, CONTROL: ((0.1,), (0.2,))},
    probes=("hidden-memory",),
    read=(50,),
)
PAPER = replace(
    QUICK,
    dataset="cifar10",
    architectures=("cnn",),
    split=Split(test=10000, train=45000, validation=5000),
    recipe=Recipe(lr=0.05, batch=128, epochs=100),
    read=(100,),
)
CURVES = ("relearned", "new", "scratch")


def choosing(arm: Arm) -> Arm:
    """Return the arm that settings are chosen on: as on the board, on three seeds of its own."""
    return replace(
        arm,
        name="choosing",
        signals=("real", "mixed@0.4"),
        seeds=(0, 1, 2),
        regularizers={"none": None, **REGULARIZERS},
        probes=(),
    )


def choose(records: Sequence[Record]) -> dict[str, str]:
    """Choose each regularizer's setting by the board's rule for noise held back.

    Of the strengths whose validation accuracy is within half a point of the plain network's on real
    labels, and not below it among wrong ones, the one that holds back most wrong labels.

    Args:
        records: of the arm `choosing`.

    Returns:
        The setting of each regularizer that has such a strength, by its name.
    """
    real = by_setting(select(records, signal="real"))
    among_wrong = by_setting(select(records, signal="mixed@0.4"))
    chosen = {}
    for name in REGULARIZERS:
        runs = select(records, regularizer=name)
        settings = ["none", *by_setting(sorted(runs, key=lambda run: run.strength))]
        plain = memorized(among_wrong["none"])
        held = [1 - memorized(among_wrong[setting]) / plain for setting in settings]
        gains = []
        for runs_of in (real, among_wrong):
            val = [np.mean([run.val[-1] for run in runs_of[setting]]) for setting in settings]
            gains.append(np.array(val) - val[0])
        index = int(choose_by_noise_held_back(np.array(held), np.array(gains).T))
        if index:
            chosen[name] = settings[index]
    return chosen


def memorized(records: Sequence[Record]) -> float:
    """Average the share of wrong labels that is predicted, beyond honest mistakes."""
    wrong = np.array([run.wrong[-1] for run in records], dtype=float)
    accuracy = np.array([run.test[-1] for run in records], dtype=float)
    return float((wrong - by_chance(accuracy, records[0].num_classes)).mean())


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
    chosen = {}
    for name, setting in choose(results["choosing"]).items():
        if setting in settings:
            chosen[name] = setting
    plain = select(results["choosing"], regularizer="none", signal="mixed@0.4")
    accuracy = mean_interval([100 * run.val[-1] for run in plain])[0]
    notes = [
        "Settings in the tests are those that the board's rule chooses, on other seeds: the most "
        "noise held back by a network whose validation accuracy is within half a point of the "
        "plain one's on real labels and not below it among wrong ones. There the plain one has "
        f"{accuracy:.0f} %.",
        f"`{CONTROL}` holds the noise back by training less; its rows say what that leaves in the "
        "weights. It is in no test.",
    ]
    tests = []
    for name in REGULARIZERS:
        if name not in chosen:
            notes.append(f"{name} is in no test: no strength holds noise back by this rule.")
            continue
        pair = savings(settings[chosen[name]], "new")
        if len(pair[0]) < 2:
            notes.append(f"{chosen[name]} holds nothing back: it is in no test.")
            continue
        how = f"paired t over {len(pair[0])} seeds, mean over epochs"
        title = f"{chosen[name]}: relearned - new wrong labels"
        tests.append(Test(title, *paired(*pair), method=how, freedom=len(pair[0]) - 1))
    return Finding(
        tests=tuple(tests),
        table=table(settings, list(chosen.values())),
        draw=lambda figure: draw(figure, settings, list(chosen.values())),
        caption="Wrong labels that the regularized network does not predict, trained on without "
        "the regularizer: share predicted after each epoch. Solid: the run's own wrong labels; "
        "dashed: new wrong labels for the same examples; dotted: its own from the initial "
        "weights. The settings in the tests, then training less.",
        notes=tuple(notes),
    )


def table(settings: dict[str, list[Record]], chosen: Sequence[str]) -> tuple[tuple[str, ...], ...]:
    """Tabulate all settings, those that are not in the tests too."""
    header = (
        "setting",
        "in the tests",
        "validation accuracy (%)",
        "held back",
        "relearned - new",
        *(f"epochs to half, {name}" for name in CURVES),
    )
    rows = []
    for setting, records in settings.items():
        pair = savings(records, "new")
        if len(pair[0]) < 2:
            continue
        accuracy, _, high = mean_interval([100 * r.val[-1] for r in records])
        held, _, most = mean_interval([r.probes["hidden-memory"]["held"][0] for r in records])
        saved, _, top = paired(*pair)
        told = []
        for name in CURVES:
            half = half_way(np.nanmean([curve(r, name) for r in records], axis=0))
            told.append("never" if half == np.inf else f"{half:.1f}")
        row = (
            setting,
            "yes" if setting in chosen else "no",
            f"{accuracy:.1f} ± {high - accuracy:.1f}",
            f"{held:.2f} ± {most - held:.2f}",
            f"{saved:+.2f} ± {top - saved:.2f}",
            *told,
        )
        rows.append(row)
    return (header, *rows)


def draw(figure: Figure, settings: dict[str, list[Record]], chosen: Sequence[str]) -> None:
    shown = [*chosen, *(name for name in settings if name.startswith(CONTROL))]
    figure.set_size_inches(1.8 * len(shown), 2.6)
    panels = figure.subplots(1, len(shown), sharex=True, sharey=True, squeeze=False)[0]
    for axes, setting in zip(panels, shown, strict=True):
        for name, style in zip(CURVES, ("-", "--", ":"), strict=True):
            values = np.nanmean([curve(r, name) for r in settings[setting]], axis=0)
            axes.plot(range(len(values)), 100 * values, style, color="#1a1a1a", lw=1.4, label=name)
        axes.set_title(setting, loc="left")
        axes.set_ylim(0, 103)
        axes.set_xlabel("epochs without it")
    panels[0].set_ylabel("predicted as given (%)")
    lines, names = panels[0].get_legend_handles_labels()
    figure.legend(lines, names, loc="outside lower center", ncols=3, frameon=False, fontsize=7.5)


@hookimpl
def register() -> list[Study]:
    return [
        Study(
            "hidden-memory",
            arms={"quick": (QUICK, choosing(QUICK)), "paper": (PAPER, choosing(PAPER))},
            analyse=analyse,
            claim="Wrong labels that a well-tuned regularizer holds back are relearned faster than "
            "new ones are learned: they are in the weights.",
            scaled="1000 MNIST digits, two layers of 256 units, 50 epochs with and 10 without the "
            "regularizer; three seeds to choose on and eight to read.",
            version=2,
        )
    ]

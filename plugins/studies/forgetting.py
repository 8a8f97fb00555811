"""Forgetting: are examples with wrong labels learned and lost again more often than the others?

Toneva, Sordoni, Tachet des Combes, Trischler, Bengio and Gordon, "An Empirical Study of Example
Forgetting during Deep Neural Network Learning", ICLR 2019, arXiv:1812.05159: events are counted at
the presentations in mini-batches.
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
from membench.studies import mean_interval
from membench.studies import paired
from membench.studies import select

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from membench.records import Record
    from membench.studies import Results

QUICK = Arm(
    name="main",
    dataset="mnist5k",
    architectures=("mlp",),
    signals=("mixed@0.2", "mixed@0.4"),
    seeds=(0, 1, 2, 3, 4),
    split=Split(test=2000, train=1000, validation=1000),
    recipe=Recipe(lr=0.05, batch=100, epochs=50),
    regularizers={"none": None, "dropout": ((0.5,),), "input-noise": ((2.0,),)},
    probes=("forgetting",),
    read=(50,),
)
PAPER = replace(
    QUICK,
    dataset="cifar10",
    architectures=("cnn",),
    split=Split(test=10000, train=45000, validation=5000),
    recipe=Recipe(lr=0.05, batch=128, epochs=200),
    read=(200,),
)
GROUPS = ("wrong", "clean")
SHARES = ("events per time right (%)", "never forgotten (%)", "never learned (%)")


def values(records: Sequence[Record], group: str, metric: str) -> list[float]:
    return [r.probes["forgetting"][f"{group}-{metric}"][0] for r in records]


def analyse(results: Results) -> Finding:
    settings: dict[tuple[str, str], list[Record]] = {}
    for r in select(results["main"]):
        settings.setdefault((r.setting, r.signal), []).append(r)
    tests, rows = [], []
    for (setting, signal), records in settings.items():
        # what is seldom right cannot be forgotten often: under a regularizer events are counted per
        # time it was right
        plain = setting == "none"
        metric, what = "events" if plain else "rate", "events" if plain else "events per time right"
        wrong, clean = (values(records, g, metric) for g in GROUPS)
        name = f"{setting}, {signal}: {what}, wrong - clean labels"
        method, freedom = f"paired t over {len(records)} seeds", len(records) - 1
        tests.append(Test(name, *paired(wrong, clean), method=method, freedom=freedom))
        for g in GROUPS:
            mean, _, high = mean_interval(values(records, g, "events"))
            shares = [
                f"{100 * np.mean(values(records, g, m)):.1f}"
                for m in ("rate", "unforgettable", "unlearned")
            ]
            rows.append((setting, signal, g, f"{mean:.2f} ± {high - mean:.2f}", *shares))
    header = ("setting", "data", "labels", "events an example", *SHARES)
    epochs = select(results["main"])[0].epochs[-1]
    return Finding(
        tests=tuple(tests),
        table=(header, *rows),
        draw=lambda figure: draw(figure, settings),
        caption=f"Share of the examples with so many forgetting events in {epochs} presentations, "
        "the last bar 20 and more, at the highest noise level; dark: wrong labels, pale: clean "
        "ones.",
        notes=(
            "An example that is never learned has no event; the table counts those apart.",
            "With a regularizer, an example is right or wrong as the regularized network sees it, "
            "as in training.",
        ),
    )


def draw(figure: Figure, settings: dict[tuple[str, str], list[Record]]) -> None:
    noisiest = max(signal for _, signal in settings)
    shown = [
        (setting, records) for (setting, signal), records in settings.items() if signal == noisiest
    ]
    panels = figure.subplots(1, len(shown), sharey=True, squeeze=False)[0]
    for axes, (setting, records) in zip(panels, shown, strict=True):
        for shift, group, color in ((-0.2, "wrong", "#1a1a1a"), (0.2, "clean", "#bdbdbd")):
            share = 100 * np.mean(values(records, group, "histogram"), axis=0)
            axes.bar(
                np.arange(len(share)) + shift, share, 0.4, color=color, label=f"{group} labels"
            )
        axes.set_title(f"{setting}, {noisiest}", loc="left")
        axes.set_xlabel("forgetting events")
        axes.set_xticks((0, 5, 10, 15, 20), ("0", "5", "10", "15", "20+"))
    panels[0].set_ylabel("examples of the group (%)")
    panels[-1].legend(frameon=False)


@hookimpl
def register() -> list[Study]:
    return [
        Study(
            "forgetting",
            arms={"quick": (QUICK,), "paper": (PAPER,)},
            analyse=analyse,
            claim="Examples with wrong labels are forgotten more often than clean ones, also "
            "under dropout and input noise, where it is counted per time that they were right.",
            scaled="1000 MNIST digits, two layers of 256 units, 50 epochs, five seeds; Toneva et "
            "al. train residual networks on CIFAR-10 for 200.",
        )
    ]

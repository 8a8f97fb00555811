"""Effective capacity: the same network fits different data differently; does a norm tell?

Arpit et al., "A Closer Look at Memorization in Deep Networks", ICML 2017, arXiv:1706.05394,
conclusion: "explicit regularizers and data-independent measures of capacity are not enough", data
must enter. Measures: number of parameters, and products of Frobenius and spectral norms, path norm
and distance from initialisation of the trained weights.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from membench import Architecture
from membench import Arm
from membench import Finding
from membench import Recipe
from membench import Split
from membench import Study
from membench import Test
from membench import hookimpl
from membench.estimators import cluster_bootstrap
from membench.estimators import spearman
from membench.records import parse_signal
from membench.studies import mean_interval
from membench.studies import select

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from numpy.typing import NDArray
    from torch import nn

    from membench.records import Record
    from membench.studies import Results

    Columns = dict[str, NDArray[np.float64]]  # one value a run

WIDTHS = (32, 64, 128)
SIGNALS = ("real", "mixed@0.2", "mixed@0.4", "mixed@0.6", "randY")


def build(input_shape: tuple[int, int, int], num_classes: int, width: int) -> nn.Module:
    from membench.nn import MLP

    return MLP(math.prod(input_shape), (width, width), num_classes)


QUICK = Arm(
    name="main",
    dataset="digits",
    architectures=tuple(f"mlp-w{w}" for w in WIDTHS),
    signals=SIGNALS,
    seeds=(0, 1),
    split=Split(test=400, train=300, validation=300),
    recipe=Recipe(lr=0.03, batch=30, epochs=100),
    regularizers={
        "none": None,
        "dropout": ((0.3,), (0.5,)),
        "input-dropout": ((0.4,), (0.6,)),
        "input-noise": ((1.0,), (2.0,)),
        "label-smoothing": ((0.6,), (0.9,)),
        "max-norm": ((1.0,), (0.5,)),
        "weight-decay": ((0.01,), (0.03,)),
    },
    probes=("norms",),
    read=(100,),
    width=30,
    compiled=False,
)
PAPER = replace(
    QUICK,
    dataset="mnist",
    architectures=("mlp-w512", "mlp-w4096"),
    split=Split(test=10000, train=50000, validation=10000),
    recipe=Recipe(lr=0.01, batch=128, epochs=100),
    read=(100,),
    compiled=True,
)
MEASURES = {
    "parameters": "number of parameters",
    "frobenius": "log product of Frobenius norms",
    "spectral": "log product of spectral norms",
    "path": "log path norm",
    "distance": "distance from initialisation",
}


def share(signal: str) -> float | None:
    """Return the share of random labels of a signal."""
    return {"real": 0.0, "randY": 1.0}.get(signal) if "@" not in signal else parse_signal(signal)[1]


def columns(records: Sequence[Record]) -> Columns:
    """Read measures, the share of random labels, the gap and the labels fitted.

    The gap is training fit - clean validation accuracy.
    """
    found = {m: np.array([r.probes["norms"][m][0] for r in records]) for m in MEASURES}
    found["data"] = np.array([share(r.signal) for r in records])
    found["gap"] = np.array([r.train[-1] - r.val[-1] for r in records])
    found["fit"] = np.array([r.train[-1] for r in records])
    return found


def within_data(c: Columns, measure: str, target: str) -> float:
    """Average the rank correlation inside each data set.

    It is what the measure tells when the data are the same.

    Args:
        c: one value a run.
        measure: a column.
        target: another one.
    """
    inside = [
        spearman(c[measure][c["data"] == d], c[target][c["data"] == d])
        for d in np.unique(c["data"])
    ]
    return float(np.nanmean(inside)) if np.isfinite(inside).any() else float("nan")


def within_setting(c: Columns, names: NDArray[np.str_], target: str = "gap") -> float:
    """Compute how much of the target's standard deviation the data make.

    Args:
        c: one value a run.
        names: each run's network and regularizer; within one of them only the data differ.
        target: a column.
    """
    spread = [c[target][names == s].var() for s in np.unique(names)]
    return float(np.sqrt(np.mean(spread)) / c[target].std())


def analyse(results: Results) -> Finding:
    records = select(results["main"])
    c = columns(records)
    names = np.array([f"{r.architecture} {r.setting}" for r in records])
    clusters = [r.setting for r in records]
    norms = [m for m in MEASURES if m != "parameters"]
    best = max(norms, key=lambda m: abs(spearman(c[m], c["gap"])))
    tests = [ordered(c, names, clusters), *(fails(m, c, clusters) for m in MEASURES)]
    header = ("measure", "rho with the gap", "same data", "rho with the labels fitted", "same data")
    rows = [
        (
            label,
            *(
                f"{v:+.2f}"
                for t in ("gap", "fit")
                for v in (spearman(c[m], c[t]), within_data(c, m, t))
            ),
        )
        for m, label in {**MEASURES, "data": "share of random labels"}.items()
    ]
    plain = records[0].architecture
    own = 100 * c["gap"][names == f"{plain} none"]
    low, high = own.min(), own.max()
    notes = (
        f"At one network and regularizer the data make {100 * within_setting(c, names):.0f} % of "
        f"the standard deviation of the gap; the plain network of {plain} has gaps from {low:.0f} "
        f"to {high:.0f} points by data alone.",
        "The norms are those of the trained weights, which have seen the data; the "
        f"{MEASURES[best]} ranks best.",
        "Same data: mean over the five data sets of the rank correlation inside each; nan: the "
        "measure is constant.",
    )
    return Finding(
        tests=tuple(tests),
        table=(header, *rows),
        draw=lambda figure: draw(figure, c, best),
        caption="Training fit minus clean validation accuracy of every run against three "
        "measures; the marker's grey is the share of random labels, from white (real) to black "
        "(randY).",
        notes=notes,
    )


def ordered(c: Columns, names: NDArray[np.str_], clusters: Sequence[str]) -> Test:
    """Test that the data rank the gaps where no measure of the network can differ.

    Args:
        c: one value a run.
        names: each run's network and regularizer.
        clusters: each run's regularizer and strength.
    """
    of = dict(zip(names, clusters, strict=True))
    values: dict[str, list[float]] = {}
    for s in np.unique(names):
        values.setdefault(of[s], []).append(spearman(c["data"][names == s], c["gap"][names == s]))
    name = "same network and regularizer: rho of the share of random labels with the gap"
    ends = mean_interval([float(np.mean(v)) for v in values.values()])
    return Test(
        name, *ends, threshold=0.5, method=f"mean over networks, t over {len(values)} settings"
    )


def fails(measure: str, c: Columns, clusters: Sequence[str]) -> Test:
    """Test that a measure correlates by less than a half, whatever its sign, with what happened.

    Args:
        measure: a column.
        c: one value a run.
        clusters: each run's regularizer and strength.
    """

    def statistic(i: NDArray[np.int64]) -> float:
        rho = np.nan_to_num(spearman(c[measure][i], c["gap"][i]))  # a constant ranks nothing
        return 0.5 - abs(float(rho))

    name = f"0.5 - rho of the {MEASURES[measure]} with the gap"
    ends = cluster_bootstrap(statistic, clusters, name, draws=400)
    method = f"Spearman over all runs, bootstrap over {len(set(clusters))} settings"
    return Test(name, statistic(np.arange(len(c["gap"]))), *ends, method=method)


def draw(figure: Figure, c: Columns, best: str) -> None:
    shown = ("parameters", best, "path" if best != "path" else "frobenius")
    panels = figure.subplots(1, len(shown), sharey=True)
    for axes, measure in zip(panels, shown, strict=True):
        for d in np.unique(c["data"]):
            rows = c["data"] == d
            x = c[measure][rows] / (1000 if measure == "parameters" else 1)
            label = f"{d:.0%} random"
            axes.plot(
                x,
                100 * c["gap"][rows],
                "o",
                ms=4,
                mew=0.6,
                color="#1a1a1a",
                mfc=str(1 - d),
                label=label,
            )
        axes.set_xlabel("parameters (thousands)" if measure == "parameters" else MEASURES[measure])
    panels[0].set_ylabel("training fit - validation\naccuracy (points)")
    panels[-1].legend(frameon=False, fontsize=7)


@hookimpl
def register() -> list[Study]:
    own = tuple(Architecture(f"mlp-w{w}", partial(build, width=w)) for w in (*WIDTHS, 512, 4096))
    return [
        Study(
            "effective-capacity",
            arms={"quick": (QUICK,), "paper": (PAPER,)},
            analyse=analyse,
            claim="Capacity measures that do not look at the data fail to rank what happened: the "
            "same network, optimizer and regularizer generalize or memorize as the data are.",
            figure="Sec. 6",
            records=own,
            scaled="300 digits of 8x8 and two layers of 32, 64 and 128 units; thirteen settings, "
            "five data sets.",
        )
    ]

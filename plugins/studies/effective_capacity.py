"""Effective capacity: the same network and regularizer fit different data differently.

Arpit et al., "A Closer Look at Memorization in Deep Networks", ICML 2017, arXiv:1706.05394,
conclusion: "explicit regularizers and data-independent measures of capacity are not enough", data
must enter. A measure that does not look at the data, such as the number of parameters or a norm of
the initial weights, has one value at one network, optimizer, regularizer and seed. What the data
make of the gap there is out of its reach. The gap is the training fit minus the accuracy expected
on other images whose labels are as random: (1 - p) v + p / K for a share p of random labels among K
classes and clean validation accuracy v.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING
from typing import Any

import numpy as np

from membench import Architecture
from membench import Arm
from membench import Finding
from membench import Recipe
from membench import Split
from membench import Study
from membench import Test
from membench import hookimpl
from membench.errors import MembenchError
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

    Floats = NDArray[np.float64]

WIDTHS = (32, 64, 128)
SIGNALS = ("real", "mixed@0.3", "mixed@0.6", "randY")
NORMS = {
    "frobenius": "log product of Frobenius norms",
    "spectral": "log product of spectral norms",
    "path": "log path norm",
    "distance": "distance from initialisation",
}


def build(input_shape: tuple[int, int, int], num_classes: int, width: int) -> nn.Module:
    from membench.nn import MLP

    return MLP(math.prod(input_shape), (width, width), num_classes)


QUICK = Arm(
    name="main",
    dataset="digits",
    architectures=tuple(f"mlp-w{w}" for w in WIDTHS),
    signals=SIGNALS,
    seeds=tuple(range(10)),
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


@dataclass(frozen=True)
class Runs:
    """The runs of the seeds that have all of them, as arrays [seed, network, setting, data set].

    Data sets are in the order of their share of random labels.
    """

    networks: tuple[str, ...]
    settings: tuple[str, ...]  #: as "dropout[0.5]"
    shares: tuple[float, ...]  #: of random labels, ascending
    classes: int
    fit: Floats  #: accuracy on the training labels as given
    val: Floats  #: accuracy on clean validation
    norms: dict[str, Floats]  #: of the trained weights
    lost: tuple[int, ...]  #: seeds that lack a run

    @property
    def gap(self) -> Floats:
        """Training fit minus the accuracy expected on other labels that are as random."""
        random = np.array(self.shares)
        return self.fit - (1 - random) * self.val - random / self.classes


def share(signal: str) -> float:
    """Return the share of random labels of a signal."""
    name, level = parse_signal(signal)
    return {"real": 0.0, "randY": 1.0}[name] if level is None else level


def runs(records: Sequence[Record]) -> Runs:
    """Collect the runs of one arm.

    Raises:
        MembenchError: no seed has all of its runs.
    """
    found = {(r.seed, r.architecture, r.setting, share(r.signal)): r for r in select(records)}
    networks = tuple(dict.fromkeys(r.architecture for r in records))
    settings = tuple(dict.fromkeys(r.setting for r in records))
    shares = tuple(sorted({share(r.signal) for r in records}))
    seeds = sorted({r.seed for r in records})
    cells = [(n, s, d) for n in networks for s in settings for d in shares]
    whole = [seed for seed in seeds if all((seed, *cell) in found for cell in cells)]
    if not whole:
        raise MembenchError("effective-capacity: no seed has all of its runs")
    kept = [found[seed, *cell] for seed in whole for cell in cells]
    shape = (len(whole), len(networks), len(settings), len(shares))

    def array(values: Iterable[Any]) -> Floats:
        return np.array(list(values), dtype=float).reshape(shape)

    return Runs(
        networks,
        settings,
        shares,
        kept[0].num_classes,
        fit=array(r.train[-1] for r in kept),
        val=array(r.val[-1] for r in kept),
        norms={m: array(r.probes["norms"][m][0] for r in kept) for m in NORMS},
        lost=tuple(seed for seed in seeds if seed not in whole),
    )


def explained(gap: Floats, *known: int) -> float:
    """Compute the share of the variance of the gap that is between means over all other axes.

    No function of what is known explains more of it.

    Args:
        gap: [seed, network, setting, data set].
        known: the axes that such a function may look at.
    """
    others = tuple(axis for axis in range(gap.ndim) if axis not in known)
    return float(gap.mean(axis=others).var() / gap.var())


def analyse(results: Results) -> Finding:
    """Test at each regularizer and strength what random labels add to the gap."""
    r = runs(results["main"])
    return Finding(
        tests=tuple(moved(r, setting) for setting in r.settings),
        table=table(r),
        draw=partial(draw, r),
        caption=(
            "The gap: training fit minus the accuracy expected on other images with labels as "
            "random. The marker's grey is the share of random labels, from white (real) to black "
            f"(all random). Left: at each regularizer, mean of {len(r.networks)} networks and "
            f"{len(r.gap)} seeds. Right: of each network without a regularizer, 95 % intervals. "
            "Look at how far the markers of one row, or of one network, lie apart."
        ),
        notes=notes(r),
    )


def moved(r: Runs, setting: str) -> Test:
    """Test that random labels make the gap larger at one regularizer and strength."""
    gap = r.gap[:, :, r.settings.index(setting)].mean(axis=1)
    ends = mean_interval(100 * (gap[:, -1] - gap[:, 0]))
    name = f"{setting}: gap on random - on real labels (points)"
    method = f"paired t over {len(gap)} seeds, mean of {len(r.networks)} networks"
    return Test(name, *ends, method=method, freedom=len(gap) - 1)


def table(r: Runs) -> tuple[tuple[str, ...], ...]:
    """Make a row for each setting: gaps by data set, and what was learned of the extremes."""
    gaps = [f"gap, {share:.0%} random labels" for share in r.shares]
    rows = [("regularizer", *gaps, "validation, real labels", "fit, random labels")]
    for i, setting in enumerate(r.settings):
        by_share = (f"{100 * gap:.0f}" for gap in r.gap[:, :, i].mean(axis=(0, 1)))
        val, fit = r.val[:, :, i, 0].mean(), r.fit[:, :, i, -1].mean()
        rows.append((setting, *by_share, f"{val:.0%}", f"{fit:.0%}"))
    return tuple(rows)


def notes(r: Runs) -> tuple[str, ...]:
    """Say what measures could explain at most, and how the norms of trained weights rank."""
    gap, (seed, network, setting) = r.gap, range(3)
    blind = explained(gap, network, setting)
    best = max(NORMS, key=lambda m: abs(spearman(r.norms[m].ravel(), gap.ravel())))
    rho = spearman(r.norms[best].ravel(), gap.ravel())
    inside = [
        spearman(r.norms[best][..., d].ravel(), gap[..., d].ravel()) for d in range(len(r.shares))
    ]
    told = [
        f"Of the variance of the gap over all {gap.size} runs, a measure of the network and its "
        "initial weights, as the number of parameters or a norm, explains at most "
        f"{explained(gap, seed, network):.0%}, one that knows the regularizer too at most "
        f"{blind:.0%}; {1 - blind:.0%} are between runs at one network and regularizer. These "
        "shares depend on which were tried, the tests do not.",
        "Norms of the trained weights have seen the data, and test nothing here. Of them the "
        f"{NORMS[best]} ranks the gap best: rho {rho:+.2f}, {np.nanmean(inside):+.2f} between runs "
        "with as many random labels.",
    ]
    if r.lost:
        told.append(f"Seeds {r.lost} lack a run and do not count.")
    return tuple(told)


def draw(r: Runs, figure: Figure) -> None:
    """Draw the gaps of each setting, and those of the plain networks against their size."""
    figure.set_size_inches(7, 3.6)
    left, right = figure.subplots(1, 2, width_ratios=(1.5, 1))
    gap = 100 * r.gap
    plain = r.settings.index("none")
    places = np.arange(len(r.settings))
    for d, random in enumerate(r.shares):
        style = {"marker": "o", "ms": 5.5, "mew": 0.7, "color": "#1a1a1a", "mfc": str(1 - random)}
        left.plot(gap[..., d].mean(axis=(0, 1)), places, ls="", label=f"{random:.0%}", **style)
        ends = np.array([mean_interval(own) for own in gap[:, :, plain, d].T]).T
        bars = np.stack([ends[0] - ends[1], ends[2] - ends[0]])
        right.errorbar(r.networks, ends[0], bars, capsize=2, lw=0.8, **style)
    left.set_yticks(places, r.settings, fontsize=8)
    left.invert_yaxis()
    left.set_xlabel("gap (points)")
    right.set_xlabel("network without a regularizer")
    right.set_ylim(left.get_xlim())
    right.set_ylabel("gap (points)")
    handles, labels = left.get_legend_handles_labels()
    style = {"title": "random labels", "ncols": len(labels), "fontsize": 8}
    figure.legend(handles, labels, loc="outside upper center", **style)


@hookimpl
def register() -> list[Study]:
    own = tuple(Architecture(f"mlp-w{w}", partial(build, width=w)) for w in (*WIDTHS, 512, 4096))
    return [
        Study(
            "effective-capacity",
            arms={"quick": (QUICK,), "paper": (PAPER,)},
            analyse=analyse,
            claim="Explicit regularizers and measures of capacity that do not look at the data are "
            "not enough: the same network, optimizer and regularizer generalize or memorize as the "
            "data are.",
            figure="Sec. 6",
            records=own,
            scaled="300 digits of 8x8 and two layers of 32, 64 and 128 units; thirteen settings, "
            "four data sets.",
            version=2,
        )
    ]

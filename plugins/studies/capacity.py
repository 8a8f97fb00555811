"""Best validation accuracy against hidden units, with a part of the labels or inputs random.

Arpit et al., "A Closer Look at Memorization in Deep Networks", ICML 2017, arXiv:1706.05394, section
3.3.1 and figure 5. Two hidden layers of as many ReLU units each. A network's score is the best
validation accuracy over its checkpoints. The units that a noise level needs are those from which on
its curve is at 95 % of its largest value, interpolated linearly in log2 of the units: nearer the
top, what is largest is decided by the spread over runs.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from collections.abc import Sequence
from dataclasses import dataclass
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
from membench.records import parse_signal
from membench.studies import mean_interval

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from torch import nn

    from membench.records import Record
    from membench.studies import Results

SHARE = 0.95  #: of the largest accuracy, what counts as enough units
QUICK = (8, 16, 32, 64, 128, 256)
PAPER = (64, 128, 256, 512, 1024, 2048, 4096)
KINDS = {"mixed": "labels", "mixed-inputs": "inputs"}
SIGNALS = ("real", *(f"{kind}@{level}" for kind in KINDS for level in (0.2, 0.4, 0.6, 0.8)))


def network(units: int) -> Architecture:
    """Make `mlp-<units>`, known to this study only."""

    def build(shape: tuple[int, int, int], classes: int) -> nn.Module:
        from membench.nn import MLP

        return MLP(math.prod(shape), (units, units), classes)

    return Architecture(
        f"mlp-{units}", build, summary=f"Fully connected, two hidden layers of {units} ReLU units"
    )


@dataclass(frozen=True)
class Curves:
    """Best validation accuracy of one kind of noise."""

    kind: str  #: "labels" or "inputs"
    levels: tuple[float, ...]  #: 0 = real, ascending
    widths: tuple[int, ...]
    best: np.ndarray  #: [seed, level, width]

    def needed(self, share: float = SHARE) -> np.ndarray:
        """Compute log2 of the units that are needed, [seed, level]."""
        return np.array(
            [[needed(self.widths, curve, share) for curve in seed] for seed in self.best]
        )

    def slopes(self, share: float = SHARE) -> list[float]:
        """Fit each seed's slope of `needed` over the level: doublings from no noise to all."""
        return [float(np.polyfit(self.levels, row, 1)[0]) for row in self.needed(share)]


def needed(widths: Sequence[int], best: Sequence[float], share: float) -> float:
    """Compute log2 of the least number of units at which a curve reaches a share of its maximum.

    Args:
        widths: numbers of units, ascending.
        best: the curve at them; between them it is linear in log2.
        share: of the largest value.
    """
    target = share * max(best)
    i = next(i for i, value in enumerate(best) if value >= target)
    if i == 0:
        return math.log2(widths[0])
    part = (target - best[i - 1]) / (best[i] - best[i - 1])
    return math.log2(widths[i - 1]) + part * math.log2(widths[i] / widths[i - 1])


def curves(records: Iterable[Record], kind: str) -> tuple[Curves, tuple[int, ...]]:
    """Return one kind's curves of the seeds that have all of them, and the other seeds."""
    mine: dict[tuple[int, float, int], float] = {}
    for r in records:
        name, level = parse_signal(r.signal)
        if name in ("real", kind):
            mine[r.seed, level or 0.0, int(r.architecture.split("-")[1])] = (
                max(r.val) if r.status == "ok" else math.nan
            )
    seeds = tuple(sorted({seed for seed, _, _ in mine}))
    levels = tuple(sorted({level for _, level, _ in mine}))
    widths = tuple(sorted({width for _, _, width in mine}))
    best = np.array(
        [[[mine.get((s, p, w), math.nan) for w in widths] for p in levels] for s in seeds]
    )
    whole = np.isfinite(best).all(axis=(1, 2))
    lost = tuple(s for s, ok in zip(seeds, whole, strict=True) if not ok)
    return Curves(KINDS[kind], levels, widths, best[whole]), lost


def analyse(results: Results) -> Finding:
    """Test the slope of the units needed over the noise level, for each kind of noise."""
    found = [curves(results["widths"], kind) for kind in KINDS]
    both = [c for c, _ in found]
    notes = [
        f"Seeds {lost} lack runs with noisy {c.kind} and do not count there."
        for c, lost in found
        if lost
    ]
    for c in both:
        least = int((c.needed() == math.log2(c.widths[0])).sum())
        if least:
            notes.append(
                f"In {least} of {c.needed().size} curves ({c.kind}) already {c.widths[0]} units "
                "are enough."
            )
        value, low, high = mean_interval(c.slopes(0.99))
        notes.append(
            f"At 99 % instead of 95 % the slope on noisy {c.kind} is {value:.1f} [{low:.1f}, "
            f"{high:.1f}]."
        )
    caption = (
        "Best validation accuracy against units in each of two hidden layers, mean of "
        f"{len(both[0].best)} runs, 95 % intervals; a line for each share of noisy labels (left) "
        "or inputs (right). The cross marks where a line reaches 95 % of its largest value (of "
        "the mean curve): it lies further to the right, the more noise there is."
    )
    return Finding(
        tuple(slope(c) for c in both),
        table(both),
        lambda figure: draw(figure, both),
        caption,
        tuple(notes),
    )


def slope(c: Curves) -> Test:
    value, low, high = mean_interval(c.slopes())
    method = f"least-squares slope over {len(c.levels)} levels, t over {len(c.best)} seeds"
    return Test(
        f"doublings of the units needed, from no noisy {c.kind} to all",
        value,
        low,
        high,
        0.0,
        method,
    )


def table(both: Sequence[Curves]) -> tuple[tuple[str, ...], ...]:
    """Make a row a noise level: accuracy at each width, units needed."""
    rows = [("noise", *(f"{w} units" for w in both[0].widths), "units needed (95 % interval)")]
    for c in both:
        for i, level in enumerate(c.levels):
            value, low, high = (2**v for v in mean_interval(c.needed()[:, i]))
            means = (f"{v:.3f}" for v in c.best[:, i].mean(axis=0))
            rows.append(
                (f"{level:.0%} of {c.kind}", *means, f"{value:.0f} ({low:.0f} to {high:.0f})")
            )
    return tuple(rows)


def draw(figure: Figure, both: Sequence[Curves]) -> None:
    from matplotlib import colormaps

    figure.set_size_inches(7, 3.2)
    axes = figure.subplots(1, len(both), sharey=True)
    for ax, c in zip(axes, both, strict=True):
        for i, level in enumerate(c.levels):
            color = colormaps["viridis"](0.88 * i / (len(c.levels) - 1))
            spread = np.array([mean_interval(column) for column in c.best[:, i].T]).T
            bars = np.stack([spread[0] - spread[1], spread[2] - spread[0]])
            style = {"color": color, "marker": "osD^v"[i % 5], "ms": 4, "lw": 1.3, "capsize": 2}
            ax.errorbar(c.widths, spread[0], bars, label=f"{level:.0%}", **style)
            at = needed(c.widths, spread[0], SHARE)
            ax.plot(2**at, SHARE * spread[0].max(), "x", color="black", ms=7, mew=1.6, zorder=5)
        ax.set_xscale("log", base=2)
        ax.set_xticks(c.widths, [str(w) for w in c.widths])
        ax.set_xlabel("hidden units in each of 2 layers")
        ax.set_title(f"a share of the {c.kind} is random")
        ax.legend(title=f"random {c.kind}", fontsize=7, title_fontsize=7, loc="lower right")
    axes[0].set_ylim(0, 0.95)  # room for the legend under the lowest line
    axes[0].set_ylabel("best validation accuracy")


@hookimpl
def register() -> list[Study]:
    quick = Arm(
        "widths",
        dataset="mnist5k",
        architectures=tuple(f"mlp-{w}" for w in QUICK),
        signals=SIGNALS,
        seeds=(0, 1, 2, 3, 4),
        split=Split(test=2000, train=1000, validation=2000),
        recipe=Recipe(lr=0.05, batch=100, epochs=30),
        read=(1, 2, 3, 4, 5, 6, 8, 10, 14, 20, 30),
        compiled=False,
    )
    paper = Arm(
        "widths",
        dataset="mnist",
        architectures=tuple(f"mlp-{w}" for w in PAPER),
        signals=SIGNALS,
        seeds=(0, 1, 2, 3, 4),
        split=Split(test=10000, train=50000, validation=10000),
        recipe=Recipe(lr=0.01, momentum=0.0, batch=128, epochs=1000),
        read=(
            *range(1, 11),
            *range(12, 31, 2),
            *range(35, 101, 5),
            *range(120, 301, 20),
            *range(350, 1001, 50),
        ),
        width=9,
    )
    study = Study(
        "capacity",
        arms={"quick": (quick,), "paper": (paper,)},
        analyse=analyse,
        claim="The more of the training set is noise, the more hidden units the best validation "
        "accuracy needs.",
        figure="Fig. 5",
        records=tuple(network(w) for w in sorted({*QUICK, *PAPER})),
        scaled="1000 instead of 50000 MNIST digits, 8 to 256 instead of up to 4096 units, 30 "
        "instead of 1000 epochs, with momentum; noise on MNIST only, not on CIFAR-10.",
    )
    return [study]

"""Best validation accuracy against hidden units, with a part of the labels or inputs random.

Arpit et al., "A Closer Look at Memorization in Deep Networks", ICML 2017, arXiv:1706.05394, section
3.3.1 and figure 5. Two hidden layers of as many ReLU units each. A network's score is the best
validation accuracy over its checkpoints. How many units reach a share of the largest network's
score depends on the share; so the doublings that a noise level needs, beyond the smallest network,
are averaged over all shares from 0 to 1. That is the area above the curve: the integral of
1 - score / (largest network's score) over log2 of the units.
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
from membench.studies import shown

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from torch import nn

    from membench.records import Record
    from membench.studies import Results

SHARES = (0.9, 0.95, 0.99)  #: of the largest network's accuracy, told beside the mean over all
QUICK = (8, 16, 32, 64, 128, 256)
PAPER = (64, 128, 256, 512, 1024, 2048, 4096)
MISSING = (math.nan, False)  #: in place of a run's `peak`
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
    late: np.ndarray  #: [seed, level, width], the best checkpoint is the last

    @property
    def doublings(self) -> np.ndarray:
        """Those that are needed beyond the smallest network, mean over shares, [seed, level]."""
        return doublings(self.widths, self.best)

    @property
    def slopes(self) -> np.ndarray:
        """Each seed's slope of `doublings` over the level: from no noise to all, [seed]."""
        return np.polyfit(self.levels, self.doublings.T, 1)[0]


def doublings(widths: Sequence[int], best: np.ndarray) -> np.ndarray:
    """Integrate what curves lack of their last value, as a share of it, over log2 of the units.

    Of a rising curve it is the mean, over shares from 0 to 1 of the last value, of the doublings
    from the first width to where the curve reaches the share. The last value is taken and not the
    largest one, which would be the larger, the more the runs vary.

    Args:
        widths: numbers of units, ascending.
        best: [..., width], the curves; between widths they are linear in log2.

    Returns:
        [...].
    """
    lacking = 1 - best / best[..., -1:]
    between = (lacking[..., 1:] + lacking[..., :-1]) / 2
    return (between * np.diff(np.log2(widths))).sum(axis=-1)


def needed(widths: Sequence[int], best: Sequence[float], share: float) -> float:
    """Compute the least number of units at which a curve reaches a share of its last value.

    Args:
        widths: numbers of units, ascending.
        best: the curve at them; between them it is linear in log2.
        share: of the last value.
    """
    target = share * best[-1]
    i = next(i for i, value in enumerate(best) if value >= target)
    if i == 0:
        return float(widths[0])
    part = (target - best[i - 1]) / (best[i] - best[i - 1])
    return float(widths[i - 1] * (widths[i] / widths[i - 1]) ** part)


def peak(val: Sequence[float]) -> tuple[float, bool]:
    """Return the largest value, and whether it is the last and no earlier one."""
    return max(val), val.index(max(val)) == len(val) - 1


def curves(records: Iterable[Record], kind: str) -> tuple[Curves, tuple[int, ...]]:
    """Return one kind's curves of the seeds that have all of them, and the other seeds."""
    mine: dict[tuple[int, float, int], tuple[float, bool]] = {}
    for r in records:
        name, level = parse_signal(r.signal)
        if name in ("real", kind):
            place = (r.seed, level or 0.0, int(r.architecture.split("-")[1]))
            mine[place] = peak(r.val) if r.status == "ok" else MISSING
    seeds = tuple(sorted({seed for seed, _, _ in mine}))
    levels = tuple(sorted({level for _, level, _ in mine}))
    widths = tuple(sorted({width for _, _, width in mine}))
    cells = [mine.get((s, p, w), MISSING) for s in seeds for p in levels for w in widths]
    shape = (len(seeds), len(levels), len(widths))
    best = np.reshape([value for value, _ in cells], shape)
    late = np.reshape([is_last for _, is_last in cells], shape)
    whole = np.isfinite(best).all(axis=(1, 2))
    lost = tuple(s for s, ok in zip(seeds, whole.tolist(), strict=True) if not ok)
    return Curves(KINDS[kind], levels, widths, best[whole], late[whole]), lost


def analyse(results: Results) -> Finding:
    """Test the slope of the units needed over the noise level, for each kind of noise."""
    found = [curves(results["widths"], kind) for kind in KINDS]
    both = [c for c, _ in found]
    notes = [
        f"Seeds {lost} lack runs with noisy {c.kind} and do not count there."
        for c, lost in found
        if lost
    ]
    notes += [note(c) for c in both]
    caption = (
        "Best validation accuracy against units in each of two hidden layers, mean of "
        f"{len(both[0].best)} runs, 95 % intervals; a line for each share of noisy labels (left) "
        "or inputs (right). In the legend behind the share: the doublings of units needed, mean "
        "over all shares of the largest network's accuracy. Look at how much of it the smallest "
        "networks reach."
    )
    return Finding(
        tuple(slope(c) for c in both),
        table(both),
        lambda figure: draw(figure, both),
        caption,
        tuple(notes),
    )


def slope(c: Curves) -> Test:
    """Test that the doublings needed rise with the level of noise."""
    method = f"least-squares slope over {len(c.levels)} levels, t over {len(c.best)} seeds"
    name = f"doublings of the units needed, from no noisy {c.kind} to all"
    return Test(name, *mean_interval(c.slopes), method=method, freedom=len(c.best) - 1)


def note(c: Curves) -> str:
    """Say what else the slope could be: one in accuracy, or of a budget that ends too early."""
    lacking = c.best[..., -1:] - c.best
    points = 100 * lacking[..., :-1].mean(axis=2)  # the largest network lacks nothing
    more = mean_interval(np.polyfit(c.levels, points.T, 1)[0])
    smallest, largest = c.late[..., 0].mean(), c.late[..., -1].mean()
    return (
        f"Noisy {c.kind}: in accuracy, not as a share of the largest network's, the smaller ones "
        f"lack {shown(more, '.1f')} points more if all are noisy, on average. The best checkpoint "
        f"is the last in {smallest:.0%} of the runs of {c.widths[0]} units, in {largest:.0%} of "
        f"those of {c.widths[-1]}."
    )


def table(both: Sequence[Curves]) -> tuple[tuple[str, ...], ...]:
    """Make a row a noise level: accuracy at each width, what is needed on average and at shares."""
    head = ("noise", *(f"{w} units" for w in both[0].widths), "doublings needed")
    rows = [(*head, *(f"units for {share:.0%}" for share in SHARES))]
    for c in both:
        for i, level in enumerate(c.levels):
            mean = c.best[:, i].mean(axis=0)
            middle = (f"{v:.3f}" for v in mean)
            average = shown(mean_interval(c.doublings[:, i]), ".2f")
            units = (f"{needed(c.widths, mean, share):.0f}" for share in SHARES)
            rows.append((f"{level:.0%} of {c.kind}", *middle, average, *units))
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
            label = f"{level:.0%}: {c.doublings[:, i].mean():.2f}"
            ax.errorbar(c.widths, spread[0], bars, label=label, **style)
        ax.set_xscale("log", base=2)
        ax.set_xticks(c.widths, [str(w) for w in c.widths])
        ax.set_xlabel("hidden units in each of 2 layers")
        ax.set_title(f"a share of the {c.kind} is random")
        ax.legend(
            title=f"random {c.kind}: doublings", fontsize=7, title_fontsize=7, loc="lower right"
        )
    axes[0].set_ylim(0, 0.95)  # room for the legend under the lowest line
    axes[0].set_ylabel("best validation accuracy")


@hookimpl
def register() -> list[Study]:
    quick = Arm(
        "widths",
        dataset="mnist5k",
        architectures=tuple(f"mlp-{w}" for w in QUICK),
        signals=SIGNALS,
        seeds=(5, 6, 7, 8, 9),  # others than those that the statistic was chosen on
        split=Split(test=2000, train=1000, validation=2000),
        # with noisy inputs, accuracy still rises after 30 epochs, most in the smallest networks
        recipe=Recipe(lr=0.05, batch=100, epochs=60),
        read=(1, 2, 3, 4, 5, 6, 8, 10, 14, 20, 30, 45, 60),
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
        scaled="1000 instead of 50000 MNIST digits, 8 to 256 instead of up to 4096 units, 60 "
        "instead of 1000 epochs, with momentum; noise on MNIST only, not on CIFAR-10.",
        version=2,
    )
    return [study]

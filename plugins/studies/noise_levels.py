"""Accuracy and critical sample ratio in training, with 20 to 80 % of labels or inputs random.

Arpit et al., "A Closer Look at Memorization in Deep Networks", ICML 2017, arXiv:1706.05394, section
4.2, figures 7, 8. The epoch at which validation peaks is taken, for each run, from the mean curve
of the other seeds: a run's own largest value would lie above its last one by chance alone. Where a
claim is made of every level, the test is that of the least of the levels' means. The ratio is
that of `csr-3-monitor`, r = 3 grey levels; the paper's r = 0.3 finds one point in fifty where
little is noise, too few to tell levels apart, and stands beside it in table and notes.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING
from typing import Any

import numpy as np

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

    from membench.records import Record
    from membench.studies import Results

KINDS = {"mixed-inputs": "inputs", "mixed": "labels"}
SIGNALS = ("real", *(f"{kind}@{level}" for kind in KINDS for level in (0.2, 0.4, 0.6, 0.8)))
PEAK, ORDER = "peak before wrong labels are fitted", "order of the levels"  #: the claims
PROBES = ("csr-3-monitor", "csr-monitor")  #: what is tested; what stands beside it


@dataclass(frozen=True)
class Curves:
    """One arm's runs with one kind of noise; arrays are [seed, level, checkpoint]."""

    arm: str
    kind: str  #: "inputs" or "labels"
    levels: tuple[float, ...]  #: 0 = real, ascending
    epochs: tuple[int, ...]
    seeds: tuple[int, ...]
    lost: tuple[int, ...]  #: seeds with a run that failed: not in the arrays
    train: np.ndarray
    val: np.ndarray
    wrong: np.ndarray  #: share of the wrong labels predicted as given; NaN without any
    csr: np.ndarray  #: [probe, seed, level, checkpoint]

    def at_peak(self, curve: np.ndarray) -> np.ndarray:
        """Read a curve [seed, level, checkpoint] where the other seeds' validation is largest.

        Returns:
            [seed, level].
        """
        others = self.val.sum(axis=0) - self.val
        return np.take_along_axis(curve, others.argmax(axis=2)[:, :, None], axis=2)[:, :, 0]


def curves(arm: str, records: Iterable[Record], kind: str) -> Curves:
    """Read one arm's curves with one kind of noise.

    Args:
        arm: its name.
        records: its runs.
        kind: a key of KINDS.

    Raises:
        ValueError: no seed has all its runs.
    """
    runs: dict[tuple[int, float], Record] = {}
    for r in records:
        name, level = parse_signal(r.signal)
        if name in ("real", kind):
            runs[r.seed, level or 0.0] = r
    seeds = tuple(sorted({seed for seed, _ in runs}))
    levels = tuple(sorted({level for _, level in runs}))
    whole = tuple(
        s for s in seeds if all((s, p) in runs and runs[s, p].status == "ok" for p in levels)
    )
    if not whole:
        raise ValueError(f"{arm}, noisy {KINDS[kind]}: no seed has all its runs")

    def array(read: Callable[[Record], Any]) -> np.ndarray:
        return np.array([[read(runs[s, p]) for p in levels] for s in whole], dtype=float)

    def share(probe: str) -> np.ndarray:
        return array(lambda record: record.probes[probe]["share"])

    return Curves(
        arm=arm,
        kind=KINDS[kind],
        levels=levels,
        epochs=runs[whole[0], 0.0].epochs,
        seeds=whole,
        lost=tuple(s for s in seeds if s not in whole),
        train=array(lambda record: record.train),
        val=array(lambda record: record.val),
        wrong=array(lambda record: record.wrong),
        csr=np.stack([share(probe) for probe in PROBES]),
    )


def analyse(results: Results) -> Finding:
    """Test what follows the validation peak with noisy labels, and the order of the levels."""
    found = [curves(arm, records, kind) for arm, records in results.items() for kind in KINDS]
    several = len(results) > 1
    tests = [
        t for c in found for t in (*order(c, f"{c.arm}, " if several else ""), *(fall(c, several)))
    ]
    notes = [
        f"Seeds {c.lost} lack runs with noisy {c.kind} and do not count there."
        for c in found
        if c.lost
    ]
    notes += [beside(c) for c in found]
    caption = (
        "Above: accuracy on the training set as given (solid) and on clean validation (dotted). "
        "Below: critical sample ratio on validation points, r = 3 grey levels. Means of "
        f"{len(found[0].seeds)} runs over epochs (log scale), a shade for each share of noise. "
        "With noisy labels validation peaks while training accuracy is still low, then falls as "
        "the ratio climbs."
    )
    return Finding(
        tuple(tests), table(found), lambda figure: draw(figure, found), caption, tuple(notes)
    )


def weakest(
    claim: str, name: str, threshold: float, columns: Sequence[np.ndarray], seeds: int
) -> Test:
    """Test the least of the columns' means.

    Its interval begins with the lowest of theirs. Where it ends, it takes into account that the
    least of several means is below the true one by chance (Bonferroni).

    Args:
        claim: which part of the study's it tests.
        name: of the test.
        threshold: of the claim.
        columns: [seeds] each.
        seeds: how many.
    """
    plain = [mean_interval(column) for column in columns]
    wider = [mean_interval(column, 1 - 0.05 / len(columns)) for column in columns]
    return Test(
        name,
        value=min(value for value, _, _ in plain),
        low=min(low for _, low, _ in plain),
        high=min(high for _, _, high in wider),
        threshold=threshold,
        method=f"weakest of {len(columns)} (upper end: Bonferroni), paired t over {seeds} seeds",
        freedom=seeds - 1,
        claim=claim,
    )


def steps(last: np.ndarray, sign: int) -> list[np.ndarray]:
    """Return sign * (the noisier - the cleaner) of neighbouring levels, [seed] each."""
    return list(sign * np.diff(last, axis=1).T)


def order(c: Curves, prefix: str) -> tuple[Test, ...]:
    """Test that every next level has a higher ratio, and lower final and best validation."""
    said = (
        ("ratio at the end rises from level to level", steps(c.csr[0, :, :, -1], 1)),
        ("last validation accuracy falls from level to level", steps(c.val[:, :, -1], -1)),
        ("best validation accuracy falls from level to level", steps(c.at_peak(c.val), -1)),
    )
    return tuple(
        weakest(ORDER, f"{prefix}noisy {c.kind}: {name}", 0.0, columns, len(c.seeds))
        for name, columns in said
    )


def fall(c: Curves, several: bool) -> tuple[Test, ...]:
    """Test that validation peaks before noisy labels are fitted, then falls as the ratio rises."""
    if c.kind != "labels":
        return ()
    prefix = f"{c.arm}, " if several else ""
    unfitted = 1 - c.at_peak(c.wrong)[:, 1:]
    drop = (c.at_peak(c.val) - c.val[:, :, -1])[:, 1:]
    rise = (c.csr[0, :, :, -1] - c.at_peak(c.csr[0]))[:, 1:]
    return (
        weakest(
            PEAK,
            f"{prefix}share of wrong labels not fitted at the validation peak",
            0.5,
            list(unfitted.T),
            len(c.seeds),
        ),
        weakest(
            PEAK,
            f"{prefix}noisy labels: validation falls from its peak to the end",
            0.0,
            list(drop.T),
            len(c.seeds),
        ),
        weakest(
            PEAK,
            f"{prefix}noisy labels: ratio rises from that peak to the end",
            0.0,
            list(rise.T),
            len(c.seeds),
        ),
    )


def beside(c: Curves) -> str:
    """Tell the order of the levels at the paper's own radius, as a sentence."""
    slopes = [np.polyfit(c.levels, row, 1)[0] for row in c.csr[1, :, :, -1]]
    text = (
        f"{c.arm}, noisy {c.kind}: at r = 0.3 the ratio at the end rises by "
        f"{shown(mean_interval(slopes))}"
    )
    return f"{text} from no noise to nothing but noise (slope over the levels)."


def table(found: Sequence[Curves]) -> tuple[tuple[str, ...], ...]:
    """Make a row a noise level, means over seeds."""
    peak = ("validation, best", "at epoch", "wrong labels fitted there")
    head = ("noise", "training, last", *peak, "validation, last", "ratio r = 3", "r = 0.3")
    rows: list[tuple[str, ...]] = [head]
    for c in found:
        for i, level in enumerate(c.levels):
            fitted = c.at_peak(c.wrong)[:, i].mean()
            cells = (
                f"{c.train[:, i, -1].mean():.3f}",
                f"{c.at_peak(c.val)[:, i].mean():.3f}",
                f"{c.epochs[c.val[:, i].mean(axis=0).argmax()]}",
                "" if math.isnan(fitted) else f"{fitted:.2f}",
                f"{c.val[:, i, -1].mean():.3f}",
                *(f"{c.csr[probe, :, i, -1].mean():.3f}" for probe in range(len(PROBES))),
            )
            rows.append((f"{c.arm}, {level:.0%} of {c.kind}", *cells))
    return tuple(rows)


def draw(figure: Figure, found: Sequence[Curves]) -> None:
    from matplotlib import colormaps

    figure.set_size_inches(3.5 * len(found), 4.6)
    axes = figure.subplots(2, len(found), sharex="col", sharey="row", squeeze=False)
    for (top, bottom), c in zip(axes.T, found, strict=True):
        for i, level in enumerate(c.levels):
            color = colormaps["viridis"](0.88 * i / (len(c.levels) - 1))
            style = {"color": color, "lw": 1.3, "marker": "osD^v"[i % 5], "ms": 3}
            top.plot(c.epochs, c.train[:, i].mean(axis=0), "-", **style)
            top.plot(c.epochs, c.val[:, i].mean(axis=0), ":", **style)
            bottom.plot(c.epochs, c.csr[0, :, i].mean(axis=0), "-", label=f"{level:.0%}", **style)
        top.set_title(f"{c.arm}: a share of the {c.kind} is random")
        top.set_ylim(0, 1.02)
        bottom.set_xscale("log", base=2)
        bottom.set_xticks(*ticks(c.epochs))
        bottom.minorticks_off()
        bottom.set_xlabel("epoch (log scale)")
    # last: it ends the growth of the axis that the panels of a row share
    axes[1, 0].set_ylim(bottom=0)
    axes[0, 0].set_ylabel("accuracy")
    axes[1, 0].set_ylabel("critical sample ratio")
    axes[0, 0].plot([], [], "-", color="black", label="training")
    axes[0, 0].plot([], [], ":", color="black", label="validation")
    axes[0, 0].legend(fontsize=7, loc="lower right")
    axes[1, 0].legend(title="random", fontsize=7, title_fontsize=7, loc="upper right", ncols=2)


def ticks(epochs: Sequence[int]) -> tuple[list[int], list[str]]:
    """Choose checkpoints that lie apart by a factor of 1.4 and more: labels do not touch."""
    kept = [epochs[0]]
    for epoch in epochs[1:]:
        if epoch >= 1.4 * kept[-1]:
            kept.append(epoch)
    return kept, [str(e) for e in kept]


@hookimpl
def register() -> list[Study]:
    shared: dict[str, Any] = {"signals": SIGNALS, "probes": PROBES}
    quick = Arm(
        "mnist5k",
        dataset="mnist5k",
        architectures=("mlp",),
        split=Split(test=2000, train=1000, validation=1500),
        recipe=Recipe(lr=0.05, batch=100, epochs=60),
        # 5 seeds, 0 to 4, gave the least step of the ratio as .015 +- .027: 20 others halve that
        seeds=tuple(range(5, 25)),
        # the searches at each take most of the time, and what is tested needs a coarse peak only
        read=(1, 2, 4, 8, 20, 60),
        compiled=False,
        **shared,
    )
    mnist = Arm(
        "mnist",
        dataset="mnist",
        architectures=("mlp-4096",),
        split=Split(test=10000, train=50000, validation=10000),
        recipe=Recipe(lr=0.01, momentum=0.0, batch=128, epochs=1000),
        seeds=(0, 1, 2, 3, 4),
        read=(1, 2, 3, 5, 8, 12, 20, 35, 60, 100, 170, 300, 550, 1000),
        width=9,
        **shared,
    )
    cifar = Arm(
        "cifar10",
        dataset="cifar10",
        architectures=("cifar-cnn",),
        split=Split(test=10000, train=45000, validation=5000),
        recipe=Recipe(lr=0.01, batch=128, epochs=150),
        seeds=(0, 1, 2, 3, 4),
        read=(1, 2, 3, 5, 8, 12, 20, 35, 60, 100, 150),
        **shared,
    )
    study = Study(
        "noise-levels",
        arms={"quick": (quick,), "paper": (mnist, cifar)},
        analyse=analyse,
        claim="With random labels validation peaks before they are fitted, then falls while the "
        "critical sample ratio rises; the more noise, of labels or inputs, the higher that ratio "
        "and the lower the validation accuracy.",
        figure="Figs. 7, 8",
        scaled="1000 MNIST digits and 2 x 256 units for 60 epochs instead of 50000 and 2 x 4096 "
        "for 1000, no CIFAR-10; LASS with 10 iterations and ten times the paper's radius.",
        version=2,
    )
    return [study]

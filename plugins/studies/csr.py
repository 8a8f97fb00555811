"""Critical sample ratio while a network trains on real data, random inputs or random labels.

Arpit et al., "A Closer Look at Memorization in Deep Networks", ICML 2017, arXiv:1706.05394, section
4.1 and figure 9. The radius is 0.3 grey levels, as in the paper. Fashion-MNIST tests all that the
paper says; digits, which every installation has, only what leads: that the ratio ends higher after
noise. On digits a network soon has nearly all validation points right, wrong points are those near
boundaries, and so the ratio of real data follows their number down. On Fashion-MNIST a search takes
10 iterations instead of 100, which pays for 15 seeds; in trials it found a ratio of 0.37 instead of
0.38 where they differed most.

The ratio is read once rate times steps is 1.5 or more: before, when a network has hardly left its
initial weights, all logits are near each other and almost any point is near a boundary.
"""

from __future__ import annotations

from collections.abc import Mapping
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
from membench.studies import mean_interval
from membench.studies import paired
from membench.studies import select
from membench.studies import shown

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from membench.records import Record
    from membench.studies import Results

    Floats = NDArray[np.float64]

SIGNALS = ("real", "randX", "randY")
#: arm -> its data and network; the order is that of the tests, the table's rows and the panels
TITLES = {
    "fashion": "Fashion-MNIST, cnn",
    "cifar": "CIFAR-10, cifar-cnn",
    "digits": "digits, mlp",
}
WHOLE = ("fashion", "cifar")  #: arms that test all three claims
PAPERS_RADIUS = ("csr", "csr-monitor")  #: probes of it; an arm has one of them
RADII = {"csr": "r = 0.3", "csr-monitor": "r = 0.3", "csr-3": "r = 3"}

LEVEL = 3  #: a first half of this many times the second one's rise is a levelling off

ABOVE, RISES, LEVELS = "noise above real", "rises", "levels off"


@dataclass(frozen=True)
class Curves:
    """The runs of one arm, those of the seeds whose three runs all ended well."""

    epochs: tuple[int, ...]  #: [checkpoints]
    shares: Mapping[
        tuple[str, str], Floats
    ]  #: (probe, signal) -> critical points, [seeds, checkpoints]
    wrong: Mapping[
        str, Floats
    ]  #: signal -> points that the network has wrong, [seeds, checkpoints]
    both: Mapping[str, Floats]  #: signal -> points that are wrong and critical
    late: float  #: the most that the second half of the searches' iterations found in a run
    lost: tuple[int, ...]  #: seeds that lack a run

    @property
    def probes(self) -> tuple[str, ...]:
        """The probes that read these runs."""
        return tuple(dict.fromkeys(probe for probe, _ in self.shares))

    @property
    def tested(self) -> Mapping[str, Floats]:
        """Critical points at the paper's radius: signal -> [seeds, checkpoints]."""
        return {s: v for (probe, s), v in self.shares.items() if probe in PAPERS_RADIUS}

    @property
    def seeds(self) -> int:
        """How many seeds there are."""
        return len(self.wrong["real"])

    @property
    def half(self) -> int:
        """The index of the checkpoint at half of the epochs."""
        return self.epochs.index(self.epochs[-1] // 2)


def curves(records: Sequence[Record]) -> Curves:
    """Collect the runs of one arm.

    Raises:
        ValueError: no seed has all three runs.
    """
    found = {s: {r.seed: r for r in select(records, signal=s)} for s in SIGNALS}
    whole = sorted(set.intersection(*(set(own) for own in found.values())))
    if not whole:
        raise ValueError("no seed has all three runs")
    runs = {signal: [own[seed] for seed in whole] for signal, own in found.items()}
    first = runs["real"][0]
    tested = next(p for p in first.probes if p in PAPERS_RADIUS)
    shares = {}
    for probe in first.probes:
        for signal, own in runs.items():
            shares[probe, signal] = np.array([r.probes[probe]["share"] for r in own])
    return Curves(
        epochs=first.epochs,
        shares=shares,
        wrong={s: 1 - np.array([r.val for r in own]) for s, own in runs.items()},
        both={s: np.array([r.probes[tested]["wrong"] for r in own]) for s, own in runs.items()},
        late=max(max(r.probes[tested]["late"]) for own in runs.values() for r in own),
        lost=tuple(sorted({r.seed for r in records} - set(whole))),
    )


def analyse(results: Results) -> Finding:
    """Test whether the ratio is higher after noise, rises, and rises less as training goes on."""
    found = {arm: curves(results[arm]) for arm in TITLES if arm in results}
    tests: list[Test] = []
    for arm, own in found.items():
        tests += tests_above(TITLES[arm], own)
        if arm in WHOLE:
            tests += tests_of_course(TITLES[arm], own)
    return Finding(
        tuple(tests),
        table(found),
        lambda figure: draw(figure, found),
        caption(found),
        notes(found),
    )


def tests_above(title: str, own: Curves) -> list[Test]:
    """Test that the ratio at the end is higher after noise than after real data."""
    tests = []
    for signal in ("randY", "randX"):
        ends = paired(own.tested[signal][:, -1], own.tested["real"][:, -1])
        tests.append(over_seeds(f"{title}: ratio at the end, {signal} - real", ends, own, ABOVE))
    return tests


def tests_of_course(title: str, own: Curves) -> list[Test]:
    """Test that the ratio rises, and that it levels off.

    It levels off if the second half of the epochs adds less than a third of what the first half
    did: a ratio that grows with the logarithm of the epochs passes, one that grows with their
    square root does not. By half of them random labels are fitted: before, nothing can be level.
    """
    rises, levels = [], []
    for signal in SIGNALS:
        first, half, last = own.tested[signal][:, [0, own.half, -1]].T
        rise = paired(last, first)
        rises.append(over_seeds(f"{title}: rise from first to last, {signal}", rise, own, RISES))
        name = f"{title}: rise in the first half of the epochs - {LEVEL} x the second, {signal}"
        slower = paired(half - first, LEVEL * (last - half))
        levels.append(over_seeds(name, slower, own, LEVELS))
    return rises + levels


def over_seeds(name: str, numbers: tuple[float, float, float], own: Curves, claim: str) -> Test:
    method = f"paired t over {own.seeds} seeds"
    return Test(name, *numbers, method=method, freedom=own.seeds - 1, claim=claim)


def notes(found: Mapping[str, Curves]) -> tuple[str, ...]:
    """Say how long the searches looked, why the ratios moved, and what is missing."""
    told = []
    for arm, own in found.items():
        told.append(
            f"{TITLES[arm]}: the second half of the iterations of a search found at most "
            f"{own.late:.3f} of the points."
        )
        for signal in SIGNALS:
            why = split(signal, own.tested[signal], own.wrong[signal], own.both[signal])
            told.append(f"{TITLES[arm]}: {why}")
        if own.lost:
            told.append(f"{TITLES[arm]}: seeds {list(own.lost)} lack a run and do not count.")
    if not any(arm in WHOLE for arm in found):
        told.append(f"Without Fashion-MNIST, `{RISES}` and `{LEVELS}` are not tested.")
    return tuple(told)


def split(signal: str, share: Floats, wrong: Floats, critical: Floats) -> str:
    """Say why the ratio moves, from [seeds, checkpoints] shares: critical, wrong, and both.

    With w the share of wrong points and q, p the ratios among wrong and right ones, the ratio is w
    q + (1 - w) p; a change of it is the sum of three parts, each at the mean of first and last of
    the other factors.

    Args:
        signal: what was trained on.
        share: critical points, of all.
        wrong: points that the network has wrong.
        critical: points that are both.
    """
    w = wrong[:, [0, -1]]
    if not ((w > 0) & (w < 1)).all():
        return (
            f"{signal}: no split of the change by right and wrong points, since a run has none of "
            "one kind."
        )
    q, p = critical[:, [0, -1]] / w, (share - critical)[:, [0, -1]] / (1 - w)

    def rise(values: Floats) -> Floats:
        return values[:, 1] - values[:, 0]

    def change(values: Floats) -> str:
        return shown(mean_interval(values), "+.4f")

    parts = {
        "fewer or more wrong points": rise(w) * (q - p).mean(1),
        "the ratio among wrong points": w.mean(1) * rise(q),
        "the ratio among right points": (1 - w).mean(1) * rise(p),
    }
    told = ", ".join(f"{name} {change(v)}" for name, v in parts.items())
    (w0, w1), (q0, q1), (p0, p1) = (v.mean(0) for v in (w, q, p))
    return (
        f"{signal}, from first to last, {change(rise(share[:, [0, -1]]))} in all, of which {told}. "
        f"Wrong points go from {w0:.1%} to {w1:.1%} of all; the ratio among them from {q0:.3f} to "
        f"{q1:.3f}, among right ones from {p0:.3f} to {p1:.3f}."
    )


def table(found: Mapping[str, Curves]) -> tuple[tuple[str, ...], ...]:
    """Make a row an arm, radius and signal: the mean ratio at each checkpoint of any arm."""
    epochs = sorted({e for own in found.values() for e in own.epochs})
    rows = [("data, network", "radius", "trained on", *(f"epoch {e}" for e in epochs))]
    for arm, own in found.items():
        for (probe, signal), shares in own.shares.items():
            means = dict(zip(own.epochs, shares.mean(axis=0), strict=True))
            cells = [f"{means[e]:.3f}" if e in means else "" for e in epochs]
            rows.append((TITLES[arm], RADII[probe], signal, *cells))
    return tuple(rows)


def caption(found: Mapping[str, Curves]) -> str:
    seeds = ", ".join(f"{own.seeds} runs on {TITLES[arm]}" for arm, own in found.items())
    return (
        "Critical sample ratio on 500 validation points over epochs, mean with 95 % intervals "
        f"({seeds}), at the paper's radius of 0.3 grey levels and at ten times as much. Look at "
        "the height of the two noise lines above that of real data, and at where each goes flat."
    )


def draw(figure: Figure, found: Mapping[str, Curves]) -> None:
    panels = [(arm, probe) for arm, own in found.items() for probe in own.probes]
    for axes, (arm, probe) in zip(
        figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True
    ):
        draw_panel(axes, found[arm], probe)
        axes.set_title(f"{TITLES[arm]}\n{RADII[probe]} grey levels", fontsize=9)
    figure.axes[0].set_ylabel("critical sample ratio")
    figure.axes[-1].legend(title="trained on", fontsize=7, title_fontsize=7)


def draw_panel(axes: Axes, own: Curves, probe: str) -> None:
    """Draw the ratio of each signal over epochs, by one probe."""
    looks = {
        "real": ("#0072B2", "o", "-"),
        "randX": ("#D55E00", "s", "--"),
        "randY": ("#1a1a1a", "^", ":"),
    }
    for signal, (color, marker, line) in looks.items():
        shares = own.shares[probe, signal]
        mean, low, high = np.array([mean_interval(column) for column in shares.T]).T
        style: dict[str, Any] = {"color": color, "marker": marker, "ls": line, "ms": 4, "lw": 1.3}
        axes.errorbar(own.epochs, mean, [mean - low, high - mean], label=signal, capsize=2, **style)
    axes.set_xscale("log", base=2)
    axes.set_xticks(own.epochs, [str(e) for e in own.epochs], fontsize=7)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("epoch (log scale)")


@hookimpl
def register() -> list[Study]:
    # On another seed, random labels were 99 % fitted after 48 epochs, all after 72. At 0.05, the
    # network's own rate, they stayed at nine tenths, up and down.
    fashion = Arm(
        "fashion",
        dataset="fashion-mnist",
        architectures=("cnn",),
        signals=SIGNALS,
        # five seeds leave a difference of two rises at +-0.06 of the points, 15 at half of that
        seeds=tuple(range(15)),
        split=Split(test=1000, train=5000, validation=500),  # the points that the probe looks at
        recipe=Recipe(lr=0.02, batch=100, epochs=96),
        probes=("csr-monitor",),
        read=(3, 6, 12, 24, 48, 96),
        compiled=False,
        optional=True,
    )
    digits = Arm(
        "digits",
        dataset="mnist5k",
        architectures=("mlp",),
        signals=SIGNALS,
        seeds=(0, 1, 2, 3, 4),
        split=Split(test=2000, train=1000, validation=500),
        recipe=Recipe(lr=0.05, batch=100, epochs=96),
        probes=("csr", "csr-3"),
        read=(3, 6, 12, 24, 48, 96),
        compiled=False,
    )
    cifar = Arm(
        "cifar",
        dataset="cifar10",
        architectures=("cifar-cnn",),
        signals=SIGNALS,
        seeds=tuple(range(15)),
        split=Split(test=10000, train=45000, validation=500),
        recipe=Recipe(lr=0.01, batch=128, epochs=128),
        probes=("csr", "csr-3"),
        read=(1, 2, 4, 8, 16, 32, 64, 128),
    )
    study = Study(
        "csr",
        arms={"quick": (fashion, digits), "paper": (cifar,)},
        analyse=analyse,
        claim="The critical sample ratio on validation data is higher after training on noise than "
        "on real data; it rises in training, then levels off.",
        figure="Fig. 9",
        scaled="5000 Fashion-MNIST images and a small convolutional network instead of CIFAR-10, "
        "searched by 10 iterations instead of 100, and 1000 digits and a fully connected one for "
        "the first part of the claim; `paper` has the paper's, at a constant rate.",
        version=2,
    )
    return [study]

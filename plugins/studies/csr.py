"""Critical sample ratio while a network trains on real data, random inputs or random labels.

Arpit et al., "A Closer Look at Memorization in Deep Networks", ICML 2017, arXiv:1706.05394, section
4.1 and figure 9. The ratio is read by the probes `csr` (r = 0.3 grey levels, as in the paper) and
`csr-3` (ten times as much). It is read from the 30th step on: before, when a network has hardly
left its initial weights, all logits are near each other and almost any point is near a boundary.
"""

from __future__ import annotations

from collections.abc import Mapping
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
from membench.studies import shown

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from membench.records import Record
    from membench.studies import Results

    Floats = NDArray[np.float64]

SIGNALS = ("real", "randX", "randY")
PROBES = {"csr": "r = 0.3 grey levels", "csr-3": "r = 3 grey levels"}
TESTED = "csr"

Shares = Mapping[tuple[str, str], np.ndarray]  #: (probe, signal) -> [seed, checkpoint]


def analyse(results: Results) -> Finding:
    """Test whether the ratio is higher after noise, rises, and rises less in the second half."""
    records = results["curves"]
    whole = sorted(
        set.intersection(*({r.seed for r in select(records, signal=s)} for s in SIGNALS))
    )
    lost = sorted({r.seed for r in records} - set(whole))
    if not whole:
        raise ValueError("no seed has all three runs")
    epochs = select(records)[0].epochs
    shares, wrong = {}, {}
    for signal in SIGNALS:
        mine = {r.seed: r for r in select(records, signal=signal)}
        for probe in PROBES:
            shares[probe, signal] = np.array([mine[s].probes[probe]["share"] for s in whole])
        wrong[signal] = np.array([points_wrong(mine[s]) for s in whole])
    late = max(max(r.probes[TESTED]["late"]) for r in select(records))
    notes = [
        f"The second half of the 100 iterations of a search found at most {late:.3f} of the points."
    ]
    notes += [
        split(signal, shares[TESTED, signal], *wrong[signal].transpose(1, 0, 2))
        for signal in SIGNALS
    ]
    if lost:
        notes.append(f"Seeds {lost} lack a run and do not count.")
    caption = (
        f"Critical sample ratio on 500 validation points over epochs, mean of {len(whole)} runs "
        "with 95 % intervals, at the paper's radius (left) and ten times as much (right). Look at "
        "the height of the two noise lines above that of real data, and at where each goes flat."
    )
    return Finding(
        tests(shares),
        table(shares, epochs),
        lambda f: draw(f, shares, epochs),
        caption,
        tuple(notes),
    )


def points_wrong(record: Record) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return the shares of points that the network has wrong, and that are critical too."""
    return tuple(1 - v for v in record.val), record.probes[TESTED]["wrong"]


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


def middle(count: int) -> int:
    """Return which of `count` checkpoints, spaced by doublings, divides early from late."""
    return count // 2


def tests(shares: Shares) -> tuple[Test, ...]:
    found = []
    real = shares[TESTED, "real"]
    method = f"paired t over {len(real)} seeds"
    for signal in ("randY", "randX"):
        found.append(
            Test(
                f"ratio at the end, {signal} - real",
                *paired(shares[TESTED, signal][:, -1], real[:, -1]),
            )
        )
    for signal in SIGNALS:
        curve = shares[TESTED, signal]
        half = curve[:, middle(curve.shape[1])]
        found.append(Test(f"{signal}: rise from first to last", *paired(curve[:, -1], curve[:, 0])))
        rises = paired(half - curve[:, 0], curve[:, -1] - half)
        found.append(
            Test(f"{signal}: levels off (rise of the first half - that of the second)", *rises)
        )
    return tuple(Test(t.name, t.value, t.low, t.high, 0.0, method) for t in found)


def table(shares: Shares, epochs: tuple[int, ...]) -> tuple[tuple[str, ...], ...]:
    """Make a row a signal and radius: the mean ratio at each checkpoint."""
    rows = [("trained on", "radius", *(f"epoch {e}" for e in epochs))]
    for probe, radius in PROBES.items():
        for signal in SIGNALS:
            rows.append((signal, radius, *(f"{v:.3f}" for v in shares[probe, signal].mean(axis=0))))
    return tuple(rows)


def draw(figure: Figure, shares: Shares, epochs: tuple[int, ...]) -> None:
    looks = {
        "real": ("#0072B2", "o", "-"),
        "randX": ("#D55E00", "s", "--"),
        "randY": ("#1a1a1a", "^", ":"),
    }
    for ax, (probe, radius) in zip(figure.subplots(1, len(PROBES)), PROBES.items(), strict=True):
        for signal in SIGNALS:
            color, marker, line = looks[signal]
            mean, low, high = np.array([mean_interval(v) for v in shares[probe, signal].T]).T
            style = {"color": color, "marker": marker, "ls": line, "ms": 4, "lw": 1.3, "capsize": 2}
            ax.errorbar(epochs, mean, [mean - low, high - mean], label=signal, **style)
        ax.set_xscale("log", base=2)
        ax.set_xticks(epochs, [str(e) for e in epochs])
        ax.set_ylim(bottom=0)
        ax.set_xlabel("epoch (log scale)")
        ax.set_title(radius)
    figure.axes[0].set_ylabel("critical sample ratio")
    figure.axes[1].legend(title="trained on", fontsize=7, title_fontsize=7, loc="center right")


@hookimpl
def register() -> list[Study]:
    quick = Arm(
        "curves",
        dataset="mnist5k",
        architectures=("mlp",),
        signals=SIGNALS,
        seeds=(0, 1, 2, 3, 4),
        split=Split(test=2000, train=1000, validation=500),
        recipe=Recipe(lr=0.05, batch=100, epochs=96),
        probes=tuple(PROBES),
        read=(3, 6, 12, 24, 48, 96),
        compiled=False,
    )
    paper = Arm(
        "curves",
        dataset="cifar10",
        architectures=("cifar-cnn",),
        signals=SIGNALS,
        seeds=(0, 1, 2, 3, 4),
        split=Split(test=10000, train=45000, validation=500),  # the points that the probe looks at
        recipe=Recipe(lr=0.01, batch=128, epochs=128),
        probes=tuple(PROBES),
        read=(1, 2, 4, 8, 16, 32, 64, 128),
    )
    study = Study(
        "csr",
        arms={"quick": (quick,), "paper": (paper,)},
        analyse=analyse,
        claim="The critical sample ratio on validation data is higher after training on noise; it "
        "rises, then levels off.",
        figure="Fig. 9",
        scaled="1000 MNIST digits and a fully connected network instead of CIFAR-10 and a "
        "convolutional one; `paper` has both, at a constant rate.",
    )
    return [study]

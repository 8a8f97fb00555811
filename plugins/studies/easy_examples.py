"""Which examples a network has learned after one epoch: the same ones in every run, or any?

Arpit et al., "A Closer Look at Memorization in Deep Networks", ICML 2017, arXiv:1706.05394, section
3.1 and figure 1. A hundred runs of one epoch on the same examples, with other weights and another
order. Were all equally hard, the number of runs that get one wrong would be binomial, and its
variance over the binomial's, the dispersion ratio, 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING
from typing import Any

import numpy as np

from membench import Arm
from membench import Finding
from membench import Recipe
from membench import Signal
from membench import Split
from membench import Study
from membench import Test
from membench import hookimpl
from membench.data import shuffles
from membench.errors import MembenchError
from membench.estimators import jackknife
from membench.rng import Draws
from membench.rng import word
from membench.studies import select

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from membench.api import Draw
    from membench.records import Record
    from membench.studies import Results

SIGNALS = ("real", "randY", "randX")
REDRAWN = "randX-redrawn"
KEPT = 500  #: random inputs that are the same in all runs where the others are redrawn
#: a ratio below it counts as binomial: between examples, p varies by half a run's own spread at
#: most
SAME = 1.25
SHOWN = 1000  #: examples in the figure, as in the paper
STYLES = {
    "real": ("#D55E00", "-"),
    "randY": ("#0072B2", (0, (5, 1.5))),
    "randX": ("#009E73", (0, (1.5, 1.2))),
}


@dataclass(frozen=True)
class Spread:
    """How differently hard the examples of one signal are."""

    signal: str
    wrong: NDArray[np.bool_]  #: [runs, n]
    ratio: float  #: dispersion ratio
    left_out: NDArray[np.float64]  #: [runs], the ratio as it would be without one run

    @property
    def rates(self) -> NDArray[np.float64]:  # [n] share of runs that get the example wrong
        return self.wrong.mean(0)


def wrong_bits(records: Sequence[Record]) -> NDArray[np.bool_]:
    """Return which training examples a run gets wrong at its end, [runs, n]."""
    packed = [np.frombuffer(bytes.fromhex(r.train_bits), dtype=np.uint8) for r in records]
    return np.unpackbits(np.stack(packed), axis=1, count=records[0].num_train) == 0


def kept_bits(records: Sequence[Record]) -> NDArray[np.bool_]:
    """Return the same of the random inputs that are in every run (`redrawn`).

    Returns:
        [runs, KEPT], in one order for all.
    """
    hidden = [shuffles(word("task", r.cell.task, r.seed), r.signal, None) for r in records]
    orders = [draws.permutation("examples", records[0].num_train) for draws in hidden]
    return np.stack(
        [
            own[np.argsort(rows)[:KEPT]]
            for own, rows in zip(wrong_bits(records), orders, strict=True)
        ]
    )


def spread(signal: str, wrong: NDArray[np.bool_]) -> Spread:
    """Compute the dispersion ratio of [runs, n] outcomes, whole and without each run.

    With c_r a run's outcomes less their mean, it is |sum_r c_r|^2 / sum_r |c_r|^2: the variance
    over examples of the share of runs that get them wrong, over the mean of p_r (1 - p_r) / runs,
    the sampling variance of that share. Its expectation is exactly 1 where examples are
    exchangeable within a run, however much p_r differs between runs. Without a run, it is put back
    to the scale of all: 1 + (runs - 1) times the mean correlation of two runs. For a ratio of 1 the
    jackknife's interval is too wide, by up to the root of two: the first-order terms vanish there.
    """
    centred = wrong - wrong.mean(1, keepdims=True)
    total, own = centred.sum(0), np.square(centred).sum(1)
    runs, scale = len(wrong), own.sum()
    if runs < 3 or scale == 0:
        raise MembenchError(
            f"{signal}: {runs} runs with {scale:g} spread give no dispersion; at least 3 must "
            "differ"
        )
    ratio = total @ total / scale
    less = np.square(total - centred).sum(1) / (scale - own)
    return Spread(signal, wrong, float(ratio), 1 + (less - 1) * (runs - 1) / (runs - 2))


def distance(wrong: NDArray[np.bool_]) -> float:
    """Compute the Kolmogorov-Smirnov distance of [runs, n] outcomes from the binomial.

    It is that of how many runs get an example wrong, at the same mean.
    """
    from scipy.stats import binom

    runs, n = wrong.shape
    counts = np.bincount(wrong.sum(0), minlength=runs + 1)
    return float(
        np.abs(counts.cumsum() / n - binom.cdf(np.arange(runs + 1), runs, wrong.mean())).max()
    )


def analyse(results: Results) -> Finding:
    """Compare three signals; random inputs among redrawn ones say why some are easier."""
    records = results["fixed"]
    runs = {s: select(records, signal=s) for s in SIGNALS}
    seeds = set.intersection(*({r.seed for r in own} for own in runs.values()))
    spreads = [spread(s, wrong_bits([r for r in runs[s] if r.seed in seeds])) for s in SIGNALS]
    real, labels, inputs = spreads
    method = f"jackknife over {len(seeds)} runs"

    def differ(a: Spread, b: Spread) -> tuple[float, float, float]:
        return jackknife(a.ratio - b.ratio, a.left_out - b.left_out)

    tests = (
        Test("dispersion ratio, real - randY", *differ(real, labels), method=method),
        Test("dispersion ratio, randY - randX", *differ(labels, inputs), method=method),
        Test(
            f"{SAME} - dispersion ratio of randX",
            *jackknife(SAME - inputs.ratio, SAME - inputs.left_out),
            0,
            method,
        ),
    )
    others = spread(REDRAWN, kept_bits(select(results["redrawn"])))
    remarks = (why(inputs, others), *notes(results, runs, seeds))
    every = [*spreads, others]
    return Finding(tests, table(every), partial(draw, every), caption(every), remarks)


def why(inputs: Spread, others: Spread) -> str:
    """Say what the redrawn runs tell of the dispersion of random inputs."""
    low, high = jackknife(others.ratio, others.left_out)[1:]
    told = (
        f"Why random inputs are not all equally hard: of {KEPT} that are the same in every run, "
        f"among others that each run draws anew, the dispersion ratio is {others.ratio:.2f} "
        f"[{low:.2f}, {high:.2f}], against {inputs.ratio:.2f} where all are the same."
    )
    if high >= inputs.ratio:
        return f"{told} So the company of the same examples is not what makes one easy or hard."
    told += (
        " So what makes an example easy or hard is mostly the others, by their chance "
        "correlations with it;"
    )
    if low > 1:
        return f"{told} but the examples differ by themselves too."
    return (
        f"{told} by themselves they are not told apart from equally hard ones, nor, if {SAME} < "
        f"{high:.2f}, from nearly so."
    )


def table(spreads: list[Spread]) -> tuple[tuple[str, ...], ...]:
    head: tuple[str, ...] = (
        "training set",
        "wrong after one epoch",
        "always right",
        "always wrong",
        "dispersion ratio",
    )
    rows: list[tuple[str, ...]] = [
        (*head, "correlation of two runs", "distance from the binomial (KS)")
    ]
    for s in spreads:
        ratio, low, high = jackknife(s.ratio, s.left_out)
        shares = (s.wrong.mean(), (s.rates == 0).mean(), (s.rates == 1).mean())
        numbers = (*(f"{100 * v:.1f} %" for v in shares), f"{ratio:.2f} [{low:.2f}, {high:.2f}]")
        rows.append(
            (
                s.signal,
                *numbers,
                f"{(s.ratio - 1) / (len(s.wrong) - 1):.4f}",
                f"{distance(s.wrong):.3f}",
            )
        )
    return tuple(rows)


def notes(
    results: Results, runs: dict[str, tuple[Record, ...]], seeds: set[int]
) -> tuple[str, ...]:
    lost = sum(len(own) - len(seeds) for own in runs.values())
    lost += sum(r.status != "ok" for own in results.values() for r in own)
    own = (
        "The intervals are over runs, given these examples. The ratio grows with the runs, the "
        "correlation does not."
    )
    return (
        own,
        *([f"{lost} cells failed or miss their partners and are left out."] if lost else []),
    )


def caption(spreads: list[Spread]) -> str:
    runs, n = spreads[0].wrong.shape
    return (
        f"Left: the share of {runs} runs of one epoch that get an example wrong, examples sorted "
        f"by it for each training set ({min(n, SHOWN)} of {n}); thin grey: draws from the binomial "
        "with the mean of randX, which is what equally hard examples would give. Right: the "
        "dispersion ratio with its 95 % interval, logarithmic; line and shade = binomial, or as "
        f"good as that; hollow: {KEPT} random inputs that are the same in every run, among others "
        "drawn anew. Look at: how far each curve leaves the grey one at both ends."
    )


def draw(spreads: list[Spread], figure: Figure) -> None:
    left, right = figure.subplots(1, 2, width_ratios=(1.5, 1))
    runs, n = spreads[0].wrong.shape
    place = np.round(np.linspace(0, n - 1, min(n, SHOWN))).astype(int)
    at = np.linspace(0, 100, len(place))
    *shown, inputs, _ = spreads
    for s in (*shown, inputs):
        color, line = STYLES[s.signal]
        left.plot(
            at, np.sort(s.rates)[place], color=color, linestyle=line, linewidth=1.6, label=s.signal
        )
    reference = (
        np.random.Generator(np.random.PCG64(0)).binomial(runs, inputs.wrong.mean(), len(place))
        / runs
    )
    left.plot(at, np.sort(reference), color="#555555", linewidth=0.8, label="binomial (randX)")
    left.set(
        xlabel="examples, sorted (%)",
        ylabel="share of runs that get it wrong",
        ylim=(-0.02, 1.02),
        xlim=(0, 100),
    )
    left.legend(frameon=False)
    for i, s in enumerate(spreads):
        ratio, low, high = jackknife(s.ratio, s.left_out)
        color, _ = STYLES.get(s.signal, STYLES["randX"])
        style = {
            "color": color,
            "markerfacecolor": "white" if s.signal == REDRAWN else color,
            "capsize": 3,
        }
        right.errorbar(
            [i],
            [ratio],
            [[ratio - max(low, 0.3)], [high - ratio]],
            fmt="osDD"[i],
            markersize=5,
            **style,
        )
    right.axhspan(0.3, SAME, color="#e8e8e8", zorder=0, linewidth=0)
    right.axhline(1, color="#555555", linewidth=0.8)
    right.set(
        yscale="log",
        ylim=(0.5, 3 * max(s.ratio for s in spreads)),
        xlim=(-0.5, 3.5),
        ylabel="dispersion ratio (log scale)",
    )
    ticks = [t for t in (1, 3, 10, 30, 100) if t < 3 * max(s.ratio for s in spreads)]
    right.set_yticks(ticks, [f"{t}" for t in ticks])
    right.minorticks_off()
    right.set_xticks(range(len(spreads)), [s.signal.replace("-", "\n") for s in spreads])


def redrawn(
    x: NDArray[Any], y: NDArray[Any], level: float | None, draw: Draw, train: bool
) -> tuple[NDArray[Any], NDArray[Any], NDArray[np.bool_]]:
    """Draw random inputs, of which the first KEPT and their labels are the same whoever draws.

    Arguments and results are those of `membench.api.Signal.apply`.
    """
    if not train:
        return x, y, np.zeros(len(y), dtype=bool)
    noise = draw.normal("inputs", x.size).reshape(x.shape)
    kept = Draws(word(REDRAWN)).normal("inputs", noise[:KEPT].size)
    noise[:KEPT] = kept.reshape(noise[:KEPT].shape)
    labels = np.concatenate([np.arange(KEPT) % draw.num_classes, y[KEPT:]])
    mean, std = (
        f(x, axis=(0, 2, 3), dtype=np.float64, keepdims=True).astype(np.float32)
        for f in (np.mean, np.std)
    )
    return mean + std * noise, labels, np.ones(len(y), dtype=bool)


def arms(dataset: str, network: str, split: Split, recipe: Recipe, width: int) -> tuple[Arm, ...]:
    seeds, free = tuple(range(100)), replace(split, fixed=None)
    return (
        Arm("fixed", dataset, (network,), SIGNALS, seeds, split, recipe, width=width),
        Arm("redrawn", dataset, (network,), (REDRAWN,), seeds, free, recipe, width=width),
    )


@hookimpl
def register() -> list[Study]:
    recipe = Recipe(lr=0.01, momentum=0.0, batch=128, epochs=1)
    quick = arms("mnist5k", "mlp", Split(1000, 2000, 100, fixed=0), replace(recipe, batch=10), 20)
    paper = arms("cifar10", "mlp-4096", Split(10000, 45000, 5000, fixed=0), recipe, 2)
    claim = (
        "After one epoch some real examples are right in every run and some in none, far more "
        "than if all were equally hard; less so with random labels, and not at all with random "
        "inputs"
    )
    scaled = (
        "mnist5k with 2000 training images (the paper does not name its set), two layers of 256 "
        "units instead of 4096, batches of 10; 100 runs as in the paper"
    )
    signal = Signal(
        REDRAWN, redrawn, noise="inputs", summary="Gaussian inputs, most of them new in each run."
    )
    scales = {"quick": quick, "paper": paper}
    return [
        Study("easy-examples", scales, analyse, claim, "Fig. 1", records=(signal,), scaled=scaled)
    ]

"""Which examples a network has learned after one epoch: the same ones in every run, or any?

Arpit et al., "A Closer Look at Memorization in Deep Networks", ICML 2017, arXiv:1706.05394, section
3.1 and figure 1. A hundred runs of one epoch on the same examples, with other weights and another
order. Were all equally hard, the number of runs that get one wrong would be binomial, and its
variance over the binomial's, the dispersion ratio, 1. Random labels and those of random inputs name
every class equally often: of unequal classes the larger ones are right more often, and the ratio
would be that of class counts.
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
from membench import Arrays
from membench import Dataset
from membench import Finding
from membench import Recipe
from membench import Signal
from membench import Split
from membench import Study
from membench import Test
from membench import hookimpl
from membench.errors import MembenchError
from membench.estimators import jackknife
from membench.rng import Draws
from membench.rng import word
from membench.studies import select
from membench.studies import shown

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from membench.api import Draw
    from membench.records import Record
    from membench.studies import Results

    Array = NDArray[Any]

#: training set -> its arm and signal; the first three are of one size, so that they can be
#: compared; the last has about the size that MNIST and CIFAR-10 have, in batches of 128
SETS = {
    "real": ("images", "real"),
    "randY": ("images", "randY-balanced"),
    "randX": ("images", "randX-balanced"),
    "randX, 30 000": ("random", "real"),
}
#: A ratio below it counts as binomial. Between examples, the chance of an error then varies by at
#: most half of the sampling spread of a share of 100 runs. Such shares differ from the binomial by
#: a Kolmogorov-Smirnov distance of .03, while 1000 examples against 1000 binomial draws, the
#: paper's figure, show a difference at the 5 % level from .06 on.
SAME = 1.25
SHOWN = 1000  #: examples in the figure, as in the paper
STYLES = {
    "real": ("#D55E00", "-", "o"),
    "randY": ("#0072B2", (0, (5, 1.5)), "s"),
    "randX": ("#009E73", (0, (1.5, 1.2)), "D"),
    "randX, 30 000": ("#CC79A7", (0, (4, 1, 1, 1)), "^"),
}
BINOMIAL = "#555555"
RANDOM_TRAIN, RANDOM_VALIDATION, RANDOM_TEST = 30_000, 10, 100  #: images of `gaussian`


@dataclass(frozen=True)
class Spread:
    """How differently hard the examples of one training set are."""

    name: str  #: of the training set
    wrong: NDArray[np.bool_]  #: [runs, n]
    ratio: float  #: dispersion ratio
    left_out: NDArray[np.float64]  #: [runs], the ratio as it would be without one run

    @property
    def rates(self) -> NDArray[np.float64]:  # [n] share of runs that get the example wrong
        return self.wrong.mean(0)

    @property
    def interval(self) -> tuple[float, float, float]:  # the ratio and the ends of its interval
        return jackknife(self.ratio, self.left_out)


def wrong_bits(records: Sequence[Record]) -> NDArray[np.bool_]:
    """Return which training examples a run gets wrong at its end, [runs, n]."""
    packed = [np.frombuffer(bytes.fromhex(r.train_bits), dtype=np.uint8) for r in records]
    return np.unpackbits(np.stack(packed), axis=1, count=records[0].num_train) == 0


def spread(name: str, wrong: NDArray[np.bool_]) -> Spread:
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
            f"{name}: {runs} runs with {scale:g} spread give no dispersion; at least 3 must differ"
        )
    ratio = total @ total / scale
    less = np.square(total - centred).sum(1) / (scale - own)
    return Spread(name, wrong, float(ratio), 1 + (less - 1) * (runs - 1) / (runs - 2))


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
    """Compare three training sets of one size; test many random inputs against the binomial."""
    runs = {name: select(results[arm], signal=signal) for name, (arm, signal) in SETS.items()}
    seeds = set.intersection(*({r.seed for r in own} for own in runs.values()))
    if not seeds:
        raise MembenchError("easy-examples: no seed has a run on each of the training sets")
    spreads = [
        spread(name, wrong_bits([r for r in own if r.seed in seeds])) for name, own in runs.items()
    ]
    tests = compare(*spreads)
    lost = sum(r.status != "ok" for own in results.values() for r in own)
    notes = [
        "The intervals are over runs, given these examples. The ratio grows with the runs, the "
        "correlation does not.",
        note(spreads[-2], spreads[-1]),
    ]
    if lost:
        notes.append(f"{lost} cells failed and are left out, with their partners.")
    return Finding(tests, table(spreads), partial(draw, spreads), caption(spreads), tuple(notes))


def compare(real: Spread, labels: Spread, inputs: Spread, many: Spread) -> tuple[Test, ...]:
    """Test that real > randY > randX at one size, and that many random inputs are binomial."""
    runs = len(real.wrong)
    method = f"jackknife over {runs} runs"

    def more(a: Spread, b: Spread) -> Test:
        ends = jackknife(a.ratio - b.ratio, a.left_out - b.left_out)
        name = f"dispersion ratio, {a.name} - {b.name}"
        return Test(name, *ends, method=method, freedom=runs - 1)

    ends = jackknife(SAME - many.ratio, SAME - many.left_out)
    name = f"{SAME} - dispersion ratio of {many.name}"
    same = Test(name, *ends, method=method, freedom=runs - 1)
    return more(real, labels), more(labels, inputs), same


def note(few: Spread, many: Spread) -> str:
    """Say which random inputs are compared with what."""
    return (
        f"Random inputs: the ratio is {shown(few.interval, '.2f')} among {few.wrong.shape[1]}, "
        f"which are compared with as many images, and {shown(many.interval, '.2f')} among "
        f"{many.wrong.shape[1]}, which are compared with the binomial."
    )


def table(spreads: list[Spread]) -> tuple[tuple[str, ...], ...]:
    """Make a row for each training set."""
    head: tuple[str, ...] = (
        "training set",
        "examples",
        "wrong after one epoch",
        "always right",
        "always wrong",
    )
    rows: list[tuple[str, ...]] = [
        (*head, "dispersion ratio", "correlation of two runs", "distance from the binomial (KS)")
    ]
    for s in spreads:
        runs, n = s.wrong.shape
        shares = (s.wrong.mean(), (s.rates == 0).mean(), (s.rates == 1).mean())
        ratio, low, high = s.interval
        rows.append(
            (
                s.name,
                f"{n}",
                *(f"{100 * v:.1f} %" for v in shares),
                f"{ratio:.2f} [{low:.2f}, {high:.2f}]",
                f"{(ratio - 1) / (runs - 1):.4f}",
                f"{distance(s.wrong):.3f}",
            )
        )
    return tuple(rows)


def caption(spreads: list[Spread]) -> str:
    runs = len(spreads[0].wrong)
    return (
        f"Left: the share of {runs} runs of one epoch that get an example wrong, {SHOWN} examples "
        "of each training set, sorted by it; thin grey: draws from the binomial with the mean of "
        f"{spreads[-1].name}, which is what equally hard examples would give. Right: the "
        "dispersion ratio with its 95 % interval, logarithmic; line and shade = binomial, or as "
        "good as that. Look at: how far each curve leaves the grey one at both ends."
    )


def draw(spreads: list[Spread], figure: Figure) -> None:
    """Draw the sorted shares of wrong runs, and the dispersion ratios."""
    left, right = figure.subplots(1, 2, width_ratios=(1.5, 1))
    draw_shares(left, spreads)
    draw_ratios(right, spreads)


def draw_shares(axes: Any, spreads: list[Spread]) -> None:
    for s in spreads:
        color, line, _ = STYLES[s.name]
        place = np.round(np.linspace(0, len(s.rates) - 1, min(len(s.rates), SHOWN))).astype(int)
        at = np.linspace(0, 100, len(place))
        style = {"color": color, "linestyle": line, "linewidth": 1.6}
        axes.plot(at, np.sort(s.rates)[place], label=s.name, **style)
    many = spreads[-1].wrong
    uniform = np.random.Generator(np.random.PCG64(0))
    reference = uniform.binomial(len(many), many.mean(), SHOWN) / len(many)
    at = np.linspace(0, 100, SHOWN)
    axes.plot(at, np.sort(reference), color=BINOMIAL, linewidth=0.8, label="binomial")
    axes.set(
        xlabel="examples, sorted (%)",
        ylabel="share of runs that get it wrong",
        ylim=(-0.02, 1.02),
        xlim=(0, 100),
    )
    axes.legend(frameon=False)


def draw_ratios(axes: Any, spreads: list[Spread]) -> None:
    for i, s in enumerate(spreads):
        ratio, low, high = s.interval
        color, _, marker = STYLES[s.name]
        bars = [[ratio - max(low, 0.3)], [high - ratio]]  # a logarithm needs what is positive
        axes.errorbar([i], [ratio], bars, fmt=marker, markersize=5, color=color, capsize=3)
    axes.axhspan(0.3, SAME, color="#e8e8e8", zorder=0, linewidth=0)
    axes.axhline(1, color=BINOMIAL, linewidth=0.8)
    top = 3 * max(s.ratio for s in spreads)
    axes.set(yscale="log", ylim=(0.5, top), xlim=(-0.5, len(spreads) - 0.5))
    axes.set_ylabel("dispersion ratio (log scale)")
    ticks = [t for t in (1, 3, 10, 30, 100) if t < top]
    axes.set_yticks(ticks, [f"{t}" for t in ticks])
    axes.minorticks_off()
    axes.set_xticks(range(len(spreads)), [s.name.replace(", ", "\n") for s in spreads])


def balanced_labels(
    x: Array, y: Array, level: float | None, draw: Draw, train: bool
) -> tuple[Array, Array, Array]:
    """Label the training images, which come in a random order, with all classes in turn.

    Arguments and results are those of `membench.api.Signal.apply`.
    """
    if not train:
        return x, y, np.zeros(len(y), dtype=bool)
    return x, np.arange(len(y)) % draw.num_classes, np.ones(len(y), dtype=bool)


def balanced_inputs(
    x: Array, y: Array, level: float | None, draw: Draw, train: bool
) -> tuple[Array, Array, Array]:
    """Draw Gaussian inputs with the images' moments by channel, labelled as above."""
    _, labels, changed = balanced_labels(x, y, level, draw, train)
    if not train:
        return x, y, changed
    mean, std = (
        f(x, axis=(0, 2, 3), dtype=np.float64, keepdims=True).astype(np.float32)
        for f in (np.mean, np.std)
    )
    noise = draw.normal("inputs", x.size).reshape(x.shape)
    return mean + std * noise, labels, changed


def gaussian(folder: Path) -> Arrays:
    """Draw images of 28x28 independent Gaussian grey levels, with all classes in turn as labels.

    28 grey levels are one standard deviation: all 4.4 of `Draws.normal` fit between 0 and 255.
    """
    n = RANDOM_TRAIN + RANDOM_VALIDATION + RANDOM_TEST
    noise = Draws(word("gaussian")).normal("images", n * 28 * 28).reshape(n, 1, 28, 28)
    return Arrays(np.round(128 + 28 * noise).astype(np.uint8), np.arange(n) % 10, 10)


def arms(dataset: str, network: str, split: Split, recipe: Recipe, width: int) -> tuple[Arm, ...]:
    """Make the arm that compares three training sets, and that of many random inputs."""
    seeds = tuple(range(100))
    signals = tuple(signal for arm, signal in SETS.values() if arm == "images")
    many = Split(RANDOM_TEST, RANDOM_TRAIN, RANDOM_VALIDATION, fixed=0)
    large = replace(recipe, batch=128)
    return (
        Arm("images", dataset, (network,), signals, seeds, split, recipe, width=width),
        Arm("random", "gaussian", (network,), ("real",), seeds, many, large, width=width),
    )


@hookimpl
def register() -> list[Study]:
    recipe = Recipe(lr=0.01, momentum=0.0, batch=128, epochs=1)
    # 250 steps, about as many as the 234 that 30 000 examples give in batches of 128
    few = Split(900, 4000, 100, fixed=0)
    quick = arms("mnist5k", "mlp", few, replace(recipe, batch=16), 20)
    paper = arms("cifar10", "mlp-4096", Split(10000, 45000, 5000, fixed=0), recipe, 2)
    claim = (
        "After one epoch some real examples are right in every run and some in none, far more "
        "than if all were equally hard; less so with random labels, and not at all with random "
        "inputs"
    )
    scaled = (
        "mnist5k with 4000 training images in batches of 16 (the paper does not name its set) for "
        "the comparison of the three; 30 000 random inputs in batches of 128 for that with the "
        "binomial. Two layers of 256 units instead of 4096; 100 runs as in the paper"
    )
    records = (
        Signal(
            "randY-balanced",
            balanced_labels,
            noise="labels",
            summary="Random labels, each class equally often.",
        ),
        Signal(
            "randX-balanced",
            balanced_inputs,
            noise="inputs",
            summary="Gaussian inputs, each class equally often.",
        ),
        Dataset(
            "gaussian",
            gaussian,
            summary="Gaussian inputs of 28x28, each of ten classes equally often.",
            shape=(1, 28, 28),
            num_classes=10,
        ),
    )
    scales = {"quick": quick, "paper": paper}
    return [
        Study(
            "easy-examples",
            scales,
            analyse,
            claim,
            "Fig. 1",
            records=records,
            scaled=scaled,
            version=2,
        )
    ]

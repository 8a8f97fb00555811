"""Epochs until a network fits its training set, against hidden units and examples.

Arpit et al., "A Closer Look at Memorization in Deep Networks", ICML 2017, arXiv:1706.05394, section
3.3.2 and figure 6. Random inputs, its noise, and random labels are kept apart: the workshop
version, openreview.net/forum?id=rJv6ZgHYg, has the former fitted sooner than real data. A run that
the budget ends counts as one epoch more, and opens the end of an interval that a longer time would
move.

That a time grows faster on noise is two tests: it grows on noise, and by more than on real data.
The first is not idle. Some number of steps is needed however few the examples are, so with few of
them epochs fall as examples are added: from 80 to 320 digits in batches of 20 they do, on real data
and random inputs alike. So the fewest examples are 400 here, 20 steps an epoch; the paper's 6250
are 49.
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
from membench.studies import mean_interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from torch import nn

    from membench.records import Record
    from membench.studies import Results

    Panel = dict[str, "Times"]  # by signal

#: what is random: its name on the page, color, marker, dashes; in grey the last two tell lines
#: apart
LOOKS = {
    "real": ("nothing", "#000000", "o", "-"),
    "mixed-inputs@0.5": ("50 % of inputs", "#E69F60", "s", "--"),
    "randX": ("all inputs", "#B04A00", "D", "--"),
    "mixed@0.5": ("50 % of labels", "#3A8BC8", "^", ":"),
    "randY": ("all labels", "#003F73", "P", ":"),
}
QUICK = Arm(
    "examples",
    dataset="digits",
    architectures=("mlp-16", "mlp-32", "mlp-64", "mlp-128"),
    signals=("real", "randX", "randY"),
    seeds=tuple(range(20)),  # with 5, slopes of random inputs were known to +-.06 a doubling only
    split=Split(test=97, train=400, validation=100),
    recipe=Recipe(lr=0.02, batch=20, epochs=120),
    read=tuple(range(1, 121)),
    width=30,
    compiled=False,
)
SIZES = (400, 800, 1600)  #: 197 of the 1797 digits are left for test and validation
#: what is drawn and not tested takes fewer seeds
QUICK_SHARES = replace(
    QUICK, name="shares", signals=("mixed-inputs@0.5", "mixed@0.5"), seeds=(0, 1, 2, 3, 4)
)
PAPER = replace(
    QUICK,
    dataset="mnist",
    architectures=("mlp-256", "mlp-512", "mlp-1024", "mlp-2048", "mlp-4096"),
    signals=tuple(LOOKS),
    seeds=(0, 1, 2, 3, 4),
    split=Split(test=10000, train=50000, validation=10000),
    recipe=Recipe(lr=0.01, momentum=0.0, batch=128, epochs=1000),
    read=(*range(1, 101), *range(102, 301, 2), *range(305, 1001, 5)),
    width=9,
    compiled=True,
)


def sized(arm: Arm, *sizes: int) -> tuple[Arm, ...]:
    """Return an arm a number of examples; those not its own have its widest network only."""
    split, widest = arm.split, arm.architectures[-1:]
    others = {
        n: replace(arm, architectures=widest, split=replace(split, train=n))
        for n in sizes
        if n != split.train
    }
    return tuple(replace(others.get(n, arm), name=f"{arm.name}-{n}") for n in sizes)


def build(shape: tuple[int, int, int], classes: int, units: int) -> nn.Module:
    from membench.nn import MLP  # torch: not where only the report is made

    return MLP(math.prod(shape), (units, units), classes)


@dataclass(frozen=True)
class Times:
    """Epochs to 100 % training accuracy of one signal, against units or examples."""

    x: tuple[int, ...]  #: ascending
    epochs: np.ndarray  #: [seed, x] float; NaN = not within the budget
    budget: int
    batches: np.ndarray  #: [x], optimizer steps an epoch

    def medians(self) -> np.ndarray:
        """Return the medians over seeds, [x]; inf = longer than the budget."""
        return np.median(np.nan_to_num(self.epochs, nan=np.inf), axis=0)

    def slope(self, sign: int) -> np.ndarray:
        """Return weights [x] of the least-squares slope of log2 epochs over log2 x.

        It is per doubling (sign 1) or halving (-1) of x.
        """
        # the middle is 0: it opens no interval
        centred = sign * (np.log2(self.x) - np.log2(self.x).mean()).round(9)
        return centred / (centred**2).sum()

    def weighed(self, weights: np.ndarray) -> np.ndarray:
        """Sum weights [x] * log2 epochs over x, with budget + 1 where the budget ended a run.

        Returns:
            [3, seed]: the sum; the least and the greatest that it can be, whatever those runs took:
            -inf, inf where they leave it open.
        """
        ended = np.isnan(self.epochs)
        plain = np.log2(np.nan_to_num(self.epochs, nan=self.budget + 1)) @ weights
        least = np.where((ended & (weights < 0)).any(axis=1), -np.inf, plain)
        return np.stack(
            [plain, least, np.where((ended & (weights > 0)).any(axis=1), np.inf, plain)]
        )


def converged(record: Record) -> float:
    """Find the first epoch read with all training examples right; NaN if there is none."""
    return next(
        (float(e) for e, right in zip(record.epochs, record.train, strict=True) if right == 1.0),
        math.nan,
    )


def times(records: Iterable[tuple[int, Record]]) -> Panel:
    """Read times from (x, record), with every x at every seed of a signal."""
    runs = {(r.signal, r.seed, x): r for x, r in records}
    xs = tuple(sorted({x for _, _, x in runs}))
    panel = {}
    for signal in LOOKS:
        seeds = sorted({seed for s, seed, _ in runs if s == signal})
        first = [runs[signal, seeds[0], x] for x in xs]
        budget = first[0].epochs[-1]
        panel[signal] = Times(
            x=xs,
            epochs=np.array([[converged(runs[signal, k, x]) for x in xs] for k in seeds]),
            budget=budget,
            batches=np.array([record.steps for record in first]) // budget,
        )
    return panel


def ends(values: np.ndarray) -> tuple[float, float, float]:
    """Average [3, seed] of `weighed`, with the 95 % t-interval, infinite where a value is."""
    plain, least, most = values
    low = mean_interval(least)[1] if np.isfinite(least).all() else -math.inf
    return float(plain.mean()), low, mean_interval(most)[2] if np.isfinite(most).all() else math.inf


def compare(claim: str, name: str, values: np.ndarray, times: Sequence[Times]) -> Test:
    """Test that the mean of [3, seed] of `weighed`, or of a difference of two, is above 0.

    Args:
        claim: which part of the study's it tests.
        name: of the test.
        values: [3, seed].
        times: what they are made of, for the number of censored runs.
    """
    seeds = values.shape[1]
    ended = sum(int(np.isnan(t.epochs).sum()) for t in times)
    method = f"{'paired ' if len(times) > 1 else ''}t over {seeds} seeds"
    if ended:
        method += f"; {ended} runs censored"
    return Test(name, *ends(values), method=method, freedom=seeds - 1, claim=claim)


def against_real(claim: str, name: str, noise: Times, real: Times, weights: np.ndarray) -> Test:
    """Test that weights [x] * log2 epochs sum to more on noise than on real data."""
    # the least of a difference takes the greatest of what is subtracted
    values = noise.weighed(weights) - real.weighed(weights)[[0, 2, 1]]
    return compare(claim, f"{name} - real", values, (noise, real))


def tests(units: Panel, examples: Panel) -> Iterable[Test]:
    """Test each kind of noise: longer; growing with more examples and with fewer units, faster."""
    axes = (
        ("more so with more examples", "log2 of epochs per doubling of the examples", examples, 1),
        ("more so with fewer units", "log2 of epochs per halving of the units", units, -1),
    )
    for signal, noise in (("randX", "random inputs"), ("randY", "random labels")):
        real = examples["real"]
        mean = np.full(len(real.x), 1 / len(real.x))
        name = f"mean log2 of epochs, {noise}"
        yield against_real("longer on noise", name, examples[signal], real, mean)
        for claim, what, panel, sign in axes:
            slope = panel["real"].slope(sign)
            name = f"{what}, {noise}"
            yield compare(claim, name, panel[signal].weighed(slope), (panel[signal],))
            yield against_real(claim, name, panel[signal], panel["real"], slope)


def analyse(results: Results) -> Finding:
    """Compare the times to convergence.

    The name of an arm ends in its number of examples. At one number there are networks of all
    widths, at the others the widest.
    """
    runs = []
    for arm, records in results.items():
        for record in records:
            width = int(record.architecture.split("-")[1])
            runs.append((int(arm.split("-")[1]), width, record))
    lost = sorted({record.seed for _, _, record in runs if record.status != "ok"})
    runs = [(n, width, record) for n, width, record in runs if record.seed not in lost]
    for signal in LOOKS:
        if not any(record.signal == signal for _, _, record in runs):
            raise ValueError(f"{signal}: no seed has all its runs")
    widest = max(width for _, width, _ in runs)
    full = next(n for n, width, _ in runs if width != widest)
    panels = (
        times((w, r) for n, w, r in runs if n == full),
        times((n, r) for n, w, r in runs if w == widest),
    )
    real = panels[1]["real"]
    found = tuple(tests(*panels))
    notes = (
        *remarks(found[0], *panels),
        *([f"Seeds {lost} lack a run and do not count."] if lost else []),
    )
    caption = (
        f"Epochs until all of the training set is right: median of {len(real.epochs)} runs"
        f"{fewer(panels[1])}, bars from the fastest to the slowest, a line for what is random; all "
        "scales logarithmic. "
        "Hollow, at the dashed line: over half of the runs took longer than the budget, "
        f"{real.budget} epochs. Look at how far a line lies above that of real data (solid), and "
        "whether it is steeper."
    )
    drawn = partial(draw, (f"{full} training examples", f"{widest} units in each layer"), panels)
    return Finding(found, table(*panels), drawn, caption, notes)


def fewer(examples: Panel) -> str:
    """Say, in parentheses, of which signals there are fewer runs than of real data; "" if none."""
    runs = len(examples["real"].epochs)
    names = [
        f"{len(t.epochs)} of {LOOKS[s][0]}" for s, t in examples.items() if len(t.epochs) < runs
    ]
    return f" ({', '.join(names)})" if names else ""


def remarks(longer: Test, units: Panel, examples: Panel) -> Iterable[str]:
    """Tell what the two versions of the paper disagree on, of steps, and of censored runs.

    Args:
        longer: the test of random inputs, on which they disagree.
        units: times against units.
        examples: times against examples.
    """
    said = (
        "longer"
        if longer.low > 0
        else "shorter"
        if longer.high < 0
        else "neither clearly longer nor shorter"
    )
    value, low, high = (f"{2**v:.2f}" for v in (longer.value, longer.low, longer.high))
    yield (
        f"Random inputs take {value} ({low} to {high}) times the epochs of real data, geometric "
        "mean over the sizes."
    )
    yield (
        f"Training on them is {said} here; the paper's workshop version has it shorter, its ICML "
        "version longer."
    )
    yield (
        "Steps, of which an epoch of more examples has more, grow by 1 more per doubling: by as "
        "much on real data."
    )
    yield (
        "All numbers of examples are below the paper's least, 6250, and times of real data scatter "
        "much: growth that is faster on noise by a few hundredths a doubling stays undecided."
    )
    for x, panel in (("units", units), ("examples", examples)):
        ended = {s: int(np.isnan(t.epochs).sum()) for s, t in panel.items()}
        runs = ", ".join(
            f"{LOOKS[s][0]} {k} of {panel[s].epochs.size}" for s, k in ended.items() if k
        )
        if runs:
            yield (
                f"Runs against the number of {x} that the budget ended, by what is random: {runs}."
            )


def table(units: Panel, examples: Panel) -> tuple[tuple[str, ...], ...]:
    """Make a row a signal: median epochs, and steps where an epoch's number differs; slopes."""
    real, narrow = examples["real"], units["real"]
    columns = (
        *(f"{w} units" for w in narrow.x),
        "log2 per halving",
        *(f"{n} examples (steps)" for n in real.x),
    )
    rows = [("random", *columns, "log2 per doubling")]
    for s, t in examples.items():
        steps = (
            f"{text(t, m)} ({text(t, m, k)})" for m, k in zip(t.medians(), t.batches, strict=True)
        )
        slopes = [ends(units[s].weighed(narrow.slope(-1))), ends(t.weighed(real.slope(1)))]
        halving, doubling = (f"{v:+.2f} ({low:+.2f} to {high:+.2f})" for v, low, high in slopes)
        rows.append(
            (LOOKS[s][0], *(text(t, m) for m in units[s].medians()), halving, *steps, doubling)
        )
    return tuple(rows)


def text(t: Times, median: float, unit: int = 1) -> str:
    """Write `48`, or `>120` where the budget ended it.

    Args:
        t: the times.
        median: of them.
        unit: what an epoch counts.
    """
    return f"{median * unit:g}" if math.isfinite(median) else f">{t.budget * unit}"


def draw(titles: tuple[str, str], panels: tuple[Panel, Panel], figure: Figure) -> None:
    axes = figure.subplots(1, 2, sharey=True)
    for ax, panel, title in zip(axes, panels, titles, strict=True):
        ax.set_title(title)
        ax.loglog(base=2)
        for i, signal in enumerate(panel):
            line(ax, panel[signal], signal, 2 ** (0.05 * (i - (len(panel) - 1) / 2)))
        ax.axhline(panel["real"].budget + 1, color="#999999", ls=(0, (6, 4)), lw=0.8, zorder=0)
        ax.set_xticks(panel["real"].x, [str(x) for x in panel["real"].x])
        ax.yaxis.set_major_formatter("{x:g}")
    axes[0].set(
        xlabel="hidden units in each of 2 layers", ylabel="epochs to 100 % training accuracy"
    )
    axes[1].set_xlabel("training examples")
    figure.legend(
        *axes[0].get_legend_handles_labels(), title="random", loc="outside right center", fontsize=7
    )


def line(ax: Axes, t: Times, signal: str, shift: float) -> None:
    """Medians with the range over seeds; `shift` moves lines apart that would hide one another."""
    label, color, marker, dashes = LOOKS[signal]
    x, runs = np.array(t.x) * shift, np.nan_to_num(t.epochs, nan=t.budget + 1)
    y, hollow = np.minimum(t.medians(), t.budget + 1), np.isinf(t.medians())
    style: dict[str, Any] = {
        "color": color,
        "marker": marker,
        "ls": dashes,
        "ms": 4,
        "lw": 1.3,
        "capsize": 2,
        "elinewidth": 0.8,
    }
    ax.errorbar(x, y, [y - runs.min(axis=0), runs.max(axis=0) - y], label=label, **style)
    ax.plot(x[hollow], y[hollow], marker, color=color, mfc="white", ms=5.5, zorder=3)


@hookimpl
def register() -> list[Study]:
    own = (
        Architecture(
            name,
            partial(build, units=int(name.split("-")[1])),
            summary="Two hidden layers of ReLU units",
        )
        for name in (*QUICK.architectures, *PAPER.architectures)
    )
    study = Study(
        "time-to-convergence",
        arms={
            "quick": (*sized(QUICK, *SIZES), *sized(QUICK_SHARES, *SIZES)),
            "paper": sized(PAPER, 6250, 12500, 25000, 50000),
        },
        analyse=analyse,
        claim="Fitting the whole training set takes more epochs on noise than on real data, and "
        "with more examples or fewer hidden units this time grows faster on noise.",
        figure="Fig. 6",
        records=tuple(own),
        scaled="digits of 8x8, at most 1600, 128 units and 120 epochs instead of 50000, 4096 and "
        "1000; with momentum. Two doublings of the examples, not three.",
        version=2,
    )
    return [study]

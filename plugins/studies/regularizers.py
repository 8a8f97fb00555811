"""The paper's regularizers: how much noise does each still fit, and what does it cost on real data?

Arpit et al., "A Closer Look at Memorization in Deep Networks", ICML 2017, arXiv:1706.05394, section
5, Figures 10 and 11. A separate network for every data set, technique and strength; noise fit is
read in evaluation mode, unperturbed. All that is chosen is chosen on some seeds and read on others.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import replace
from itertools import combinations
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
from membench.estimators import jackknife
from membench.estimators import price
from membench.estimators import spearman
from membench.scoring.confirmed import choose_by_noise_held_back
from membench.studies import by_setting
from membench.studies import mean_interval
from membench.studies import paired
from membench.studies import select

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from membench.records import Record
    from membench.studies import Results
    from membench.studies import Strengths

    Floats = NDArray[np.float64]
    Records = Sequence[Record]
    Seeds = Sequence[int]

BOTH = "dropout+adversarial"
#: Strengths are chosen on these seeds; every number of a test is read on the other ones.
CHOOSING = (0, 1, 2, 3, 4)
READING = (5, 6, 7, 8, 9, 10, 11, 12, 13, 14)
#: Points of real accuracy. A setting that loses more is broken and on no curve: the question is
#: what noise a network holds back that still learns. It is twice what the first claim allows.
MOST_LOST = 2.0


def alone(*strengths: float) -> Strengths:
    """List the strengths of a regularizer that has one part."""
    return tuple((strength,) for strength in strengths)


#: From no effect to broken, in small steps where the fit of noise falls, so that curves are
#: measured there and not interpolated. The paper's strongest, as dropout[0.9], are far beyond.
DROPOUT = alone(0.1, 0.3, 0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8)
STRENGTHS: dict[str, Strengths | None] = {
    "none": None,
    "dropout": DROPOUT,
    "input-dropout": alone(0.2, 0.4, 0.6, 0.7, 0.8, 0.85, 0.9),
    "input-noise": alone(0.5, 1, 2, 2.5, 3, 4),
    "hidden-noise": alone(0.5, 1, 1.25, 1.5, 1.75, 2),
    "weight-decay": alone(0.003, 0.01, 0.02, 0.03, 0.04, 0.045, 0.05, 0.06),
    BOTH: ((0.1, 0.2), (0.3, 0.3), (0.4, 0.4), (0.5, 0.5), (0.6, 0.7)),
}
QUICK = Arm(
    name="main",
    dataset="mnist5k",
    architectures=("mlp",),
    signals=("real", "randY"),
    seeds=CHOOSING + READING,
    split=Split(test=2000, train=1000, validation=1000),
    recipe=Recipe(lr=0.05, batch=100, epochs=50),
    regularizers=STRENGTHS,
    read=(1, 2, 4, 7, 12, 20, 30, 40, 50),
)
PAPER = replace(
    QUICK,
    dataset="cifar10",
    architectures=("cifar-cnn",),
    seeds=CHOOSING[:2] + READING[:5],  # with 45000 images, seeds differ less
    split=Split(test=10000, train=45000, validation=5000),
    recipe=Recipe(lr=0.05, batch=128, epochs=100),
    read=(1, 2, 4, 8, 15, 25, 40, 60, 80, 100),
)


def mixed(arm: Arm) -> Arm:
    """Return the arm in which single networks must learn the real labels among wrong ones."""
    regularizers = {"none": None, "dropout": DROPOUT}
    last = (arm.recipe.epochs,)
    return replace(arm, name="mixed", signals=("mixed@0.4",), regularizers=regularizers, read=last)


#: marker, grey, dashes: told apart in print
LOOKS = {
    "dropout": ("o", "#000000", "-"),
    "input-dropout": ("s", "#7f7f7f", "-"),
    "input-noise": ("^", "#000000", "--"),
    "hidden-noise": ("v", "#7f7f7f", "--"),
    "weight-decay": ("D", "#000000", ":"),
    BOTH: ("*", "#444444", "-."),
    "none": ("", "#bdbdbd", "-"),
}
FREE = "dropout holds noise back for free"
CHEAPER = "dropout costs less than weight decay and input noise"
LEAST = "dropout+adversarial costs least, and the order of losses differs"


@dataclass(frozen=True)
class Readings:
    """What was read of every setting at some seeds: [s] by setting, in shares."""

    fit: Mapping[str, Floats]  #: of random labels, at the last epoch
    best: Mapping[str, Floats]  #: the best validation accuracy of any epoch, real labels
    classes: int

    def suppression(self, setting: str) -> Floats:
        """Compute u = (N0 - N) / (N0 - 1 / classes), N the fit of random labels: [s]."""
        plain = self.fit["none"]
        return (plain - self.fit[setting]) / (plain - 1 / self.classes)

    def lost(self, setting: str) -> Floats:
        """Compute the points of best validation accuracy that the plain network has more: [s]."""
        return 100 * (self.best["none"] - self.best[setting])

    def price(self, curve: Sequence[str], top: float, seeds: Sequence[int] | None = None) -> float:
        """Compute the `price` of a curve in means over seeds.

        Args:
            curve: its settings; `none` is put before them.
            top: the largest suppression.
            seeds: indices of the seeds that count; default: all.
        """
        kept = slice(None) if seeds is None else list(seeds)
        settings = ["none", *curve]
        u = np.array([self.suppression(setting)[kept].mean() for setting in settings])
        v = np.array([self.best[setting][kept].mean() for setting in settings])
        return price(u, v, top)


def read_each(
    records: Records, signal: str, seeds: Seeds, value: Callable[[Record], float | None]
) -> dict[str, Floats]:
    """Read one number of each run after training on a signal: [s] by setting, weak to strong."""
    found = {}
    for setting, runs in by_setting(select(records, signal=signal)).items():
        of_seed = {run.seed: value(run) for run in runs}
        found[setting] = np.array([of_seed[seed] for seed in seeds], dtype=float)
    return found


def read_all(records: Records, seeds: Seeds) -> Readings:
    """Read all settings at these seeds."""
    fit = read_each(records, "randY", seeds, lambda run: run.train[-1])
    best = read_each(records, "real", seeds, lambda run: max(run.val))
    return Readings(fit, best, records[0].num_classes)


def settings_of(records: Records, name: str) -> list[str]:
    """List a technique's settings, from weak to strong."""
    runs = select(records, regularizer=name, signal="real")
    return list(by_setting(sorted(runs, key=lambda run: run.strength)))


def usable(settings: Sequence[str], chosen_on: Readings) -> list[str]:
    """Take settings up to the first that loses more than `MOST_LOST`.

    What lies beyond is left out too, so that no line is drawn across a broken setting.
    """
    kept = []
    for setting in settings:
        if chosen_on.lost(setting).mean() > MOST_LOST:
            break
        kept.append(setting)
    return kept


def unbeaten(settings: Sequence[str], chosen_on: Readings) -> list[str]:
    """Leave out settings that another of the technique beats in suppression and in accuracy."""
    u = {setting: chosen_on.suppression(setting).mean() for setting in settings}
    lost = {setting: chosen_on.lost(setting).mean() for setting in settings}
    kept = []
    for setting in settings:
        beaten = [o for o in settings if u[o] >= u[setting] and lost[o] < lost[setting]]
        if not beaten:
            kept.append(setting)
    return kept


def free_tests(main: Records, mixed_runs: Records, choosing: Seeds, reading: Seeds) -> list[Test]:
    """Test the paper's own sentence, as the board does: noise is held back at no real cost.

    The strength of dropout is the one that the board's rule chooses: the largest suppression whose
    validation accuracy is within half a point of the plain network's on real labels and not below
    it on mixed ones.
    """
    at = read_all(main, choosing)
    candidates = ["none", *settings_of(main, "dropout")]
    suppression = np.array([at.suppression(setting).mean() for setting in candidates])
    gains = []
    for records, signal in ((main, "real"), (mixed_runs, "mixed@0.4")):
        val = read_each(records, signal, choosing, lambda run: run.val[-1])
        gains.append([(val[setting] - val["none"]).mean() for setting in candidates])
    index = choose_by_noise_held_back(suppression, np.array(gains).T)
    setting = candidates[int(index)]

    how = f"t over {len(reading)} seeds"
    held = mean_interval(read_all(main, reading).suppression(setting))
    tests = [Test(f"suppression, {setting}", *held, 0.1, how, len(reading) - 1, FREE)]
    for records, signal in ((main, "real"), (mixed_runs, "mixed@0.4")):
        accuracy = read_each(records, signal, reading, lambda run: run.test[-1])
        won = paired(100 * accuracy[setting], 100 * accuracy["none"])
        name = f"test accuracy (points), {setting} - none, {signal}"
        tests.append(Test(name, *won, -1.0, f"paired {how}", len(reading) - 1, FREE))
    return tests


def highest_common(curves: Mapping[str, Sequence[str]], read_on: Readings) -> float:
    """Find the suppression that every curve reaches, in means over the seeds."""
    reach = []
    for curve in curves.values():
        reach.append(max([read_on.suppression(setting).mean() for setting in curve], default=0.0))
    return min(reach)


def price_test(
    dearer: str, cheaper: str, curves: Mapping[str, Sequence[str]], read_on: Readings, claim: str
) -> Test:
    """Test that one technique costs more real accuracy than another, for the same suppression.

    Args:
        dearer: the name of the one that should cost more.
        cheaper: the name of the other.
        curves: settings by technique; all are read as far as every one reaches.
        read_on: seeds other than those that the curves were chosen on.
        claim: that it belongs to.
    """
    top = highest_common(curves, read_on)
    seeds = range(len(read_on.fit["none"]))

    def difference(kept: Sequence[int]) -> float:
        return read_on.price(curves[dearer], top, kept) - read_on.price(curves[cheaper], top, kept)

    left_out = [difference([seed for seed in seeds if seed != left]) for left in seeds]
    return Test(
        f"accuracy lost (points), {dearer} - {cheaper}",
        *jackknife(difference(seeds), np.array(left_out)),
        method=f"jackknife over {len(seeds)} seeds, suppression 0 to {top:.2f}",
        freedom=len(seeds) - 1,
        claim=claim,
    )


def order_test(records: Records, settings: Sequence[str], seeds: Seeds) -> Test:
    """Test whether settings keep their order of training loss within a signal more than across.

    The mean over epochs of log loss orders them; Spearman's correlation between orders, jackknifed
    over seeds.

    Args:
        records: of all techniques.
        settings: one of each.
        seeds: that it is read on.
    """
    level = {}
    for signal in ("real", "randY"):
        loss = read_each(records, signal, seeds, lambda run: float(np.log(run.loss).mean()))
        for i in range(len(seeds)):
            level[signal, i] = np.array([loss[setting][i] for setting in settings])

    def agreement(kept: Sequence[int]) -> float:
        within = []
        for signal in ("real", "randY"):
            for a, b in combinations(kept, 2):
                within.append(spearman(level[signal, a], level[signal, b]))
        across = []
        for a in kept:
            for b in kept:
                if a != b:
                    across.append(spearman(level["real", a], level["randY", b]))
        return float(np.mean(within) - np.mean(across))

    every = range(len(seeds))
    left_out = [agreement([i for i in every if i != left]) for left in every]
    return Test(
        "order of the loss curves: agreement within - across real and random labels",
        *jackknife(agreement(every), np.array(left_out)),
        method=f"Spearman, jackknife over {len(seeds)} seeds",
        freedom=len(seeds) - 1,
        claim=LEAST,
    )


def whole(records: Records, seeds: Seeds) -> tuple[list[int], list[str]]:
    """Return those of the seeds whose runs all ended well, and a sentence about the others."""
    trained = {run.seed for run in records} & set(seeds)
    bad = {run.seed for run in records if run.status != "ok"} & trained
    notes = [f"Seeds left out, since a run did not end well: {sorted(bad)}."] if bad else []
    return sorted(trained - bad), notes


@dataclass(frozen=True)
class Chosen:
    """What is chosen of each technique, by its name."""

    measured: Mapping[str, Sequence[str]]  #: all settings, weak to strong
    curves: Mapping[str, Sequence[str]]  #: those on the curve
    tuned: Mapping[str, str]  #: the one with the best validation accuracy on real labels


def choose(records: Records, seeds: Seeds) -> Chosen:
    """Choose each technique's curve and its tuned setting on these seeds."""
    at = read_all(records, seeds)
    measured = {name: settings_of(records, name) for name in LOOKS if name != "none"}
    curves, tuned = {}, {}
    for name, settings in measured.items():
        curves[name] = unbeaten(usable(settings, at), at)
        tuned[name] = min(settings, key=lambda setting: at.lost(setting).mean())
    return Chosen(measured, curves, tuned)


def analyse(results: Results) -> Finding:
    main, mixed_runs = results["main"], results["mixed"]
    choosing, notes = whole((*main, *mixed_runs), CHOOSING)
    reading, more = whole((*main, *mixed_runs), READING)
    chosen_on, read_on = read_all(main, choosing), read_all(main, reading)
    chosen = choose(main, choosing)
    curves = chosen.curves
    nearest = nearest_to_both(curves, chosen_on)
    notes += [
        *more,
        f"Strengths, curves, tuned settings and the technique nearest to {BOTH}, {nearest}, are "
        f"chosen on {len(choosing)} seeds; all numbers are read on {len(reading)} others.",
        *caveats(highest_common(curves, read_on)),
    ]
    tests = [
        *free_tests(main, mixed_runs, choosing, reading),
        price_test("weight-decay", "dropout", curves, read_on, CHEAPER),
        price_test("input-noise", "dropout", curves, read_on, CHEAPER),
        price_test(nearest, BOTH, curves, read_on, LEAST),
        order_test(main, ["none", *chosen.tuned.values()], reading),
    ]
    return Finding(
        tuple(tests),
        table(chosen, read_on),
        lambda figure: draw(figure, main, chosen, read_on, reading),
        CAPTION,
        tuple(notes),
    )


def nearest_to_both(curves: Mapping[str, Sequence[str]], chosen_on: Readings) -> str:
    """Find the technique that costs least beside `BOTH`."""
    top = highest_common(curves, chosen_on)
    others = [name for name in curves if name != BOTH]
    return min(others, key=lambda name: chosen_on.price(curves[name], top))


def caveats(top: float) -> tuple[str, ...]:
    return (
        "Accuracy lost: the best validation accuracy without a regularizer minus that on the "
        f"curve, averaged over the suppression of noise fit from 0 to {top:.2f}, which every "
        "technique reaches; below 0 is a gain. A curve ends before the first strength that loses "
        f"more than {MOST_LOST:g} points, and nothing is interpolated across such a one.",
        "Beyond that end the order of the techniques may be another: what it costs to hold back "
        "noise with a network that no longer learns the real data is not the question.",
        "Adversarial points are one-step attacks of 32 grey levels; the paper's are found by LASS "
        "within 0.3.",
    )


def table(chosen: Chosen, read_on: Readings) -> tuple[tuple[str, ...], ...]:
    """Tabulate the techniques, the one that costs least first."""
    top = highest_common(chosen.curves, read_on)
    header = (
        "regularizer",
        "accuracy lost (points)",
        f"most suppression for {MOST_LOST:g} points",
        "strengths on the curve, measured",
        "tuned setting",
    )
    rows = []
    for name in sorted(chosen.curves, key=lambda name: read_on.price(chosen.curves[name], top)):
        curve = chosen.curves[name]
        strongest = curve[-1] if curve else "none"
        reach, _, high = mean_interval(read_on.suppression(strongest))
        row = (
            name,
            f"{read_on.price(curve, top):+.2f}",
            f"{reach:.2f} ± {high - reach:.2f}, {strongest}",
            f"{len(curve)} of {len(chosen.measured[name])}",
            chosen.tuned[name],
        )
        rows.append(row)
    return (header, *rows)


CAPTION = (
    "Left: final fit of random labels against best validation accuracy on real labels, means over "
    "seeds; each technique's strengths are joined from weak to strong as far as they are on its "
    "curve, and loose where they are not; flat to the left is good. All curves are compared right "
    "of the dotted line; below the thin line more than "
    f"{MOST_LOST:g} points are lost. Right: training loss by epoch at each technique's tuned "
    "setting, random and real labels; what to compare is the order of the curves."
)
LOWEST = 6.0  #: points below the plain network, where the figure ends


def draw(figure: Figure, records: Records, chosen: Chosen, read_on: Readings, seeds: Seeds) -> None:
    figure.set_size_inches(9, 3.6)
    left, noise, real = figure.subplots(1, 3, width_ratios=(1.5, 1, 1))
    draw_curves(left, chosen, read_on)
    settings = {"none": "none", **chosen.tuned}
    for axes, signal, title in ((noise, "randY", "random labels"), (real, "real", "real labels")):
        runs = by_setting(select(records, signal=signal, seed=list(seeds)))
        for name, setting in settings.items():
            _, color, dashes = LOOKS[name]
            own = runs[setting]
            mean = np.exp(np.mean(np.log([run.loss for run in own]), axis=0))
            axes.plot(own[0].epochs, mean, color=color, ls=dashes, lw=1.3, label=setting)
        axes.set(yscale="log", xlabel="epoch")
        axes.yaxis.set_major_formatter(lambda loss, _: f"{loss:g}")
        axes.set_title(title, loc="left")
    noise.set_ylabel("training loss (nats)")
    noise.legend(frameon=False, fontsize=6)


def draw_curves(axes: Axes, chosen: Chosen, read_on: Readings) -> None:
    """Draw fit of noise against accuracy, a line a technique."""

    def means(settings: Sequence[str]) -> tuple[list[float], list[float]]:
        x = [100 * read_on.fit[setting].mean() for setting in settings]
        return x, [100 * read_on.best[setting].mean() for setting in settings]

    for name, curve in chosen.curves.items():
        marker, color, dashes = LOOKS[name]
        look: dict[str, Any] = {"marker": marker, "color": color, "ms": 4.5, "mfc": "white"}
        axes.plot(*means(["none", *curve]), ls=dashes, lw=1.2, label=name, **look)
        loose = [setting for setting in chosen.measured[name] if setting not in curve]
        axes.plot(*means(loose), ls="", alpha=0.5, **look)
    ([plain_fit], [plain]) = means(["none"])
    top = highest_common(chosen.curves, read_on)
    axes.axvline(plain_fit - top * (plain_fit - 100 / read_on.classes), color="#7f7f7f", ls=":")
    axes.axhline(plain - MOST_LOST, color="#bdbdbd", lw=0.8)
    axes.set_ylim(plain - LOWEST, None)
    axes.set_xlabel("random labels fitted (%, last epoch)")
    axes.set_ylabel("best validation accuracy, real labels (%)")
    axes.legend(frameon=False, fontsize=7, loc="lower right")


@hookimpl
def register() -> list[Study]:
    return [
        Study(
            "regularizers",
            arms={"quick": (QUICK, mixed(QUICK)), "paper": (PAPER, mixed(PAPER))},
            analyse=analyse,
            claim="Well-tuned dropout holds noise back without hurting generalization on real "
            "data. It costs less real accuracy than weight decay and input noise for the same "
            "suppression; dropout with adversarial training costs least, and the order of the "
            "training losses differs between noise and real data.",
            figure="Figs. 10-11",
            scaled="1000 MNIST digits and two layers of 256 units instead of CIFAR-10 and a "
            "convolutional network, 50 epochs; five seeds to choose on and ten to read; five to "
            "nine strengths a technique.",
            version=2,
        )
    ]

"""The paper's regularizers: how much noise does each still fit, and what does it cost on real data?

Arpit et al., "A Closer Look at Memorization in Deep Networks", ICML 2017, arXiv:1706.05394, section
5, Figures 10 and 11. A separate network for every data set, technique and strength; noise fit is
read in evaluation mode, unperturbed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations
from typing import TYPE_CHECKING

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
from membench.studies import by_setting
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
    Records = Sequence[Record]
    Seeds = Sequence[int]

BOTH = "dropout+adversarial"
QUICK = Arm(
    name="main",
    dataset="mnist5k",
    architectures=("mlp",),
    signals=("real", "randY"),
    seeds=(0, 1, 2, 3, 4),
    split=Split(test=2000, train=1000, validation=1000),
    recipe=Recipe(lr=0.05, batch=100, epochs=50),
    regularizers={
        "none": None,
        # to the paper's end of its range
        "dropout": ((0.1,), (0.3,), (0.5,), (0.7,), (0.8,), (0.9,)),
        "input-dropout": None,
        "input-noise": None,
        "hidden-noise": None,
        "weight-decay": None,
        BOTH: None,
    },
    read=(1, 2, 4, 7, 12, 20, 30, 40, 50),
)
SLOWER = replace(
    QUICK,
    name="slower",  # is it the rate at which dropout's curve is made?
    recipe=Recipe(lr=0.02, batch=100, epochs=100),
    regularizers={
        name: QUICK.regularizers[name]
        for name in ("none", "dropout", "input-noise", "weight-decay")
    },
    read=(1, 2, 4, 8, 14, 24, 40, 60, 80, 100),
)
PAPER = replace(
    QUICK,
    dataset="cifar10",
    architectures=("cifar-cnn",),
    split=Split(test=10000, train=45000, validation=5000),
    recipe=Recipe(lr=0.05, batch=128, epochs=100),
    read=(1, 2, 4, 8, 15, 25, 40, 60, 80, 100),
)
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


def by_strength(records: Records, name: str, seed: int, signal: str) -> Records:
    """Return the runs of one technique, from weak to strong."""
    return sorted(
        select(records, regularizer=name, seed=seed, signal=signal), key=lambda r: r.strength
    )


def from_off(records: Records, name: str, seed: int, signal: str) -> Records:
    """Return the plain run and those of one technique, from weak to strong."""
    plain = by_strength(records, "none", seed, signal)
    return (*plain, *by_strength(records, name, seed, signal))


def points(records: Records, name: str, seed: int) -> tuple[Floats, Floats]:
    """Read suppression [l] and best validation accuracy [l] of one seed, off first.

    Suppression is u = (N0 - N) / (N0 - 1 / classes), N the fit of random labels.

    Args:
        records: of all techniques.
        name: the technique.
        seed: the seed.
    """
    fit = np.array([r.train[-1] for r in from_off(records, name, seed, "randY")])
    best = np.array([max(r.val) for r in from_off(records, name, seed, "real")])
    return (fit[0] - fit) / (fit[0] - 1 / records[0].num_classes), best


def flatness(
    records: Records, names: Sequence[str], seeds: Seeds
) -> tuple[dict[str, list[float]], float]:
    """Compute each technique's `price` at each seed.

    Returns:
        By name, and the suppression up to which all are read: what each one reaches.
    """
    curves = {name: [points(records, name, seed) for seed in seeds] for name in names}
    top = min(u.max() for own in curves.values() for u, _ in own)
    return {name: [price(u, v, top) for u, v in own] for name, own in curves.items()}, top


def dropout_tests(flat: dict[str, list[float]], how: str) -> list[Test]:
    """Test whether dropout's curve is flatter than those of weight decay and of input noise."""
    name, others = "accuracy lost (points), {} - dropout", ("weight-decay", "input-noise")
    return [Test(name.format(n), *paired(flat[n], flat["dropout"]), method=how) for n in others]


def slower(records: Records) -> list[str]:
    """Tell of the same curves at a lower rate, for more epochs: an explanation, in no test."""
    if not (seeds := whole(records)[0]):
        return []
    flat, top = flatness(records, [name for name in SLOWER.regularizers if name != "none"], seeds)
    again = dropout_tests(flat, "")
    told = "; ".join(f"{t.name} {shown((t.value, t.low, t.high), '.2f')}" for t in again)
    recipe = (
        f"a rate of {SLOWER.recipe.lr:g} for {SLOWER.recipe.epochs} epochs, up to a suppression of "
        f"{top:.2f}"
    )
    cause = f"The rate {'may be' if min(t.low for t in again) > 0 else 'is not'} the reason."
    cost = f"dropout loses {mean_interval(flat['dropout'])[0]:.2f} points"
    return [f"One more run, for an explanation: at {recipe}, {cost}; {told}. {cause}"]


def order_test(records: Records, chosen: Sequence[str], seeds: Seeds) -> Test:
    """Test whether techniques keep their order of training loss within a signal more than across.

    The mean over epochs of log loss orders them; Spearman's correlation between orders, jackknifed
    over seeds.

    Args:
        records: of all techniques.
        chosen: one setting of each.
        seeds: the seeds that count.
    """

    def loss(setting: str, signal: str, seed: int) -> float:
        (record,) = select(records, id=cell_id(records, setting, signal, seed))
        return float(np.log(record.loss).mean())

    level = {
        (g, s): np.array([loss(c, g, s) for c in chosen]) for g in ("real", "randY") for s in seeds
    }

    def agreement(kept: Seeds) -> float:
        within = [
            spearman(level[g, a], level[g, b])
            for g in ("real", "randY")
            for a, b in combinations(kept, 2)
        ]
        across = [
            spearman(level["real", a], level["randY", b]) for a in kept for b in kept if a != b
        ]
        return float(np.mean(within) - np.mean(across))

    out = np.array([agreement([s for s in seeds if s != left]) for left in seeds])
    name = "order of the loss curves: agreement within - across real and random labels"
    return Test(
        name,
        *jackknife(agreement(seeds), out),
        method=f"Spearman, jackknife over {len(seeds)} seeds",
    )


def cell_id(records: Records, setting: str, signal: str, seed: int) -> str:
    return f"{records[0].cell.task}/{setting}/{signal}/seed{seed}"


def tuned(records: Records, names: Sequence[str]) -> dict[str, str]:
    """Choose each technique's setting with the best mean validation accuracy on real labels."""
    settings = {n: by_setting(select(records, regularizer=n, signal="real")) for n in names}
    return {
        n: max(own, key=lambda s: np.mean([max(r.val) for r in own[s]]))
        for n, own in settings.items()
    }


def whole(records: Records) -> tuple[list[int], list[str]]:
    """Return the seeds whose runs all ended well, and a sentence about the others."""
    bad = {r.seed for r in records if r.status != "ok"}
    seeds = sorted({r.seed for r in records} - bad)
    return seeds, [f"Seeds left out, since a run did not end well: {sorted(bad)}."] if bad else []


def analyse(results: Results) -> Finding:
    records = results["main"]
    names = [n for n in LOOKS if n != "none"]
    seeds, notes = whole(records)
    flat, top = flatness(records, names, seeds)
    how = f"paired t over {len(seeds)} seeds"
    tests = dropout_tests(flat, how)
    nearest = min((n for n in names if n != BOTH), key=lambda n: np.mean(flat[n]))
    tests.append(
        Test(
            f"accuracy lost (points), {nearest} - {BOTH}",
            *paired(flat[nearest], flat[BOTH]),
            method=how,
        )
    )
    chosen = tuned(records, names)
    tests.append(order_test(records, ["none", *chosen.values()], seeds))
    header = (
        "regularizer",
        "accuracy lost (points)",
        "lost to half",
        "strengths",
        "most suppression",
        "tuned setting",
    )
    rows = []
    for n in sorted(names, key=lambda n: np.mean(flat[n])):
        reach = np.mean([points(records, n, s)[0].max() for s in seeds])
        count = len(by_strength(records, n, seeds[0], "real"))
        half = mean_interval([price(*points(records, n, s), 0.5) for s in seeds])
        shown = [f"{m:.2f} ± {h - m:.2f}" for m, _, h in (mean_interval(flat[n]), half)]
        rows.append((n, *shown, str(count), f"{reach:.2f}", chosen[n]))
    notes += [
        "Accuracy lost: the best validation accuracy without a regularizer minus that on the "
        f"curve, averaged over the suppression of noise fit from 0 to {top:.2f}, which every "
        "technique reaches on every seed; 0 is a flat curve. Lost to half: up to a suppression of "
        ".5 only.",
        f"{BOTH} is compared with the flattest of the others, {nearest}.",
        "Adversarial points are one-step attacks of 32 grey levels; the paper's are found by LASS "
        "within 0.3.",
        *slower(results.get("slower", ())),
    ]
    return Finding(
        tuple(tests),
        (header, *rows),
        lambda figure: draw(figure, records, names, chosen, seeds),
        CAPTION,
        tuple(notes),
    )


CAPTION = (
    "Left: final fit of random labels against best validation accuracy on real labels, a curve a "
    "technique, its strengths joined from weak to strong, means over seeds; flat to the left is "
    "good. Right: training loss by epoch at each technique's tuned setting, random and real "
    "labels; what to compare is the order of the curves."
)


def draw(
    figure: Figure, records: Records, names: Sequence[str], chosen: dict[str, str], seeds: Seeds
) -> None:
    figure.set_size_inches(9, 3.6)
    left, noise, real = figure.subplots(1, 3, width_ratios=(1.5, 1, 1))
    for name in names:
        fits, best = (
            [
                [
                    read(r)
                    for r in (
                        *by_strength(records, "none", s, g),
                        *by_strength(records, name, s, g),
                    )
                ]
                for s in seeds
            ]
            for g, read in (
                ("randY", lambda r: 100 * r.train[-1]),
                ("real", lambda r: 100 * max(r.val)),
            )
        )
        marker, color, dashes = LOOKS[name]
        x, y = np.mean(fits, axis=0), np.mean(best, axis=0)
        left.plot(
            x, y, marker=marker, color=color, ls=dashes, lw=1.2, ms=4.5, mfc="white", label=name
        )
    tops = [100 * np.mean([points(records, n, s)[1] for s in seeds], axis=0) for n in names]
    left.set_ylim(max(0, min(80, np.min([t.min() for t in tops]))) - 1, None)
    left.set_xlabel("random labels fitted (%, last epoch)")
    left.set_ylabel("best validation accuracy, real labels (%)")
    left.legend(frameon=False, fontsize=7)
    for axes, signal, title in ((noise, "randY", "random labels"), (real, "real", "real labels")):
        for name, setting in {"none": "none", **chosen}.items():
            own = [select(records, id=cell_id(records, setting, signal, s))[0] for s in seeds]
            _, color, dashes = LOOKS[name]
            mean = np.exp(np.mean(np.log([r.loss for r in own]), axis=0))
            axes.plot(own[0].epochs, mean, color=color, ls=dashes, lw=1.3, label=setting)
        axes.set(yscale="log", xlabel="epoch")
        axes.yaxis.set_major_formatter(lambda loss, _: f"{loss:g}")
        axes.set_title(title, loc="left")
    noise.set_ylabel("training loss (nats)")
    noise.legend(frameon=False, fontsize=6)


@hookimpl
def register() -> list[Study]:
    return [
        Study(
            "regularizers",
            arms={"quick": (QUICK, SLOWER), "paper": (PAPER,)},
            analyse=analyse,
            claim="Dropout holds noise back at less cost on real data than weight decay and input "
            "noise, dropout with adversarial training at the least; the order of the training "
            "losses differs between noise and real data.",
            figure="Figs. 10-11",
            scaled="1000 MNIST digits and two layers of 256 units instead of CIFAR-10 and a "
            "convolutional network, 50 epochs, five seeds, five or six strengths a technique.",
        )
    ]

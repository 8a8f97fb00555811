"""Calibration: do H, S and R order regularizers as direct measures of memorization do?

membench, membench/scoring/README.md, Measures. Beside them: memorization of wrong labels by subsets
(Feldman and Zhang, NeurIPS 2020, arXiv:2008.03703) and leakage of mislabelled canaries (LiRA:
Carlini et al., S&P 2022, arXiv:2112.03570). Points are settings, a regularizer at a strength; those
of one regularizer are alike, so whole regularizers are resampled.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from membench import Arm
from membench import Finding
from membench import Study
from membench import Test
from membench import hookimpl
from membench import shadow_runs
from membench.estimators import cluster_bootstrap
from membench.estimators import group_memorization
from membench.estimators import membership_scores
from membench.estimators import spearman
from membench.estimators import true_positive_rate
from membench.scoring import formulas
from membench.scoring import gate
from membench.studies import select

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from membench.records import Record
    from membench.studies import Results

    Floats = NDArray[np.float64]

REGULARIZERS = {
    "none": None,
    "activation-penalty": ((0.1,), (0.5,), (1.5,)),
    "adversarial": ((0.2,), (0.6,), (1.0,)),
    "confidence-penalty": ((3.0,), (10.0,), (30.0,)),
    "dropconnect": ((0.1,), (0.3,), (0.5,)),
    "dropout": ((0.3,), (0.5,), (0.7,)),
    "gce": ((0.4,), (0.6,), (0.8,)),
    "gradient-clipping": ((0.3,), (0.1,), (0.03,)),
    "hidden-noise": ((0.5,), (1.0,), (2.0,)),
    "input-dropout": ((0.2,), (0.4,), (0.6,)),
    "input-noise": ((0.5,), (1.0,), (2.0,)),
    "l1": ((0.0005,), (0.0015,), (0.003,)),
    "label-smoothing": ((0.3,), (0.6,), (0.9,)),
    "max-norm": ((1.0,), (0.5,), (0.3,)),
    "mixup": ((0.1,), (0.5,), (1.0,)),
    "weight-decay": ((0.003,), (0.01,), (0.03,)),
    "weight-noise": ((0.03,), (0.06,), (0.1,)),
}


def scored(arm: Arm, width: int) -> Arm:
    """Return the arm as the board has it: every seed draws its own training set and uses it all."""
    split, signals = replace(arm.split, fixed=None, share=None), ("real", "mixed@0.4", "randY")
    return replace(
        arm,
        name="scored",
        signals=signals,
        seeds=tuple(range(5)),
        split=split,
        probes=(),
        width=width,
    )


SUBSETS = replace(shadow_runs.QUICK, seeds=tuple(range(32)), regularizers=REGULARIZERS, width=96)
SCORED = scored(SUBSETS, width=45)
LARGE = replace(shadow_runs.PAPER, seeds=SUBSETS.seeds, regularizers=REGULARIZERS, width=48)
#: as on the board: noise held back, suppression of randY, recovery
SCORES = ("H", "S", "R")
AXES = ("noise held back H", "suppression S of randY", "recovery R")
TRUTHS = ("memorization", "leakage")
IMAGES = {"digits": "digits of 8x8 pixels", "mnist": "MNIST digits"}
FOLLOW = "scores follow memorization"
BETTER = "H follows it more closely than R"


@dataclass(frozen=True)
class Point:
    """One setting; shares."""

    setting: str
    regularizer: str
    scores: tuple[float, ...]  # H, S, R
    truths: tuple[float, ...]  # memorization of wrong labels; canaries found at 1 % false positives


def truths(records: Sequence[Record]) -> tuple[float, float]:
    """Measure memorization of wrong labels and leakage of one setting's runs."""
    found = shadow_runs.runs(records)
    right, members = (side[:, found.canary] for side in (found.right, found.inside))
    mean, _, _ = group_memorization(right, members, np.ones(len(found.canary), bool))
    return mean, true_positive_rate(membership_scores(found.margin, members), members, 0.01)


def curves(records: Sequence[Record]) -> tuple[Floats, Floats, Floats, Floats]:
    """Read one setting's runs.

    Returns:
        Accuracy [s, 2] after real and mixed labels, fit of randY [s], wrong labels fitted [s], and
        the largest label's share [s].
    """
    of = {
        signal: sorted(select(records, signal=signal), key=lambda r: r.seed)
        for signal in SCORED.signals
    }
    accuracy = np.array([[r.test[-1] for r in of[signal]] for signal in ("real", "mixed@0.4")]).T
    fit = np.array([r.train[-1] for r in of["randY"]])
    wrong = np.array([r.wrong[-1] for r in of["mixed@0.4"]])
    return accuracy, fit, wrong, np.array([r.label_share for r in of["randY"]])


def scores(
    records: Sequence[Record], plain: Sequence[Record], classes: int
) -> tuple[float, float, float]:
    """Compute H, S and R of one setting against `none`, read at this very strength.

    Args:
        records: the setting's runs.
        plain: those of `none`, on the same seeds.
        classes: K.
    """
    (accuracy, fit, wrong, _), (accuracy0, fit0, wrong0, share0) = curves(records), curves(plain)
    damage = formulas.damage(accuracy0).mean()
    r = formulas.gain(accuracy[None], accuracy0)[0].mean() / damage
    s = formulas.suppression(fit, fit0, share0)
    honest, honest0 = (formulas.by_chance(a[:, 1], classes) for a in (accuracy, accuracy0))
    h = formulas.mixed_suppression((wrong - honest)[:, None], (wrong0 - honest0)[:, None])[0]
    return float(h), float(s), float(r)


def points(results: Results) -> tuple[list[Point], list[str]]:
    """Return one point a setting whose cells all ended well, and the settings left out."""
    settings: dict[tuple[str, str], dict[str, list[Record]]] = {}
    kept, lost = [], []
    for arm in ("subsets", "scored"):
        for r in results[arm]:
            settings.setdefault((r.setting, r.regularizer), {}).setdefault(arm, []).append(r)
    plain = settings["none", "none"]["scored"]
    for (setting, name), arms in settings.items():
        if any(r.status != "ok" for records in arms.values() for r in records):
            lost.append(setting)
            continue
        own = scores(arms["scored"], plain, plain[0].num_classes)
        kept.append(Point(setting, name, own, truths(arms["subsets"])))
    return kept, lost


def analyse(results: Results) -> Finding:
    every, lost = points(results)
    own = [p for p in every if p.regularizer != "none"]
    header = (
        "setting",
        *SCORES,
        "memorization of wrong labels",
        "canaries found at 1 % false positives",
    )
    rows = [
        (p.setting, *(f"{v:+.2f}" for v in p.scores), f"{p.truths[0]:.3f}", f"{p.truths[1]:.1%}")
        for p in every
    ]
    return Finding(
        tests=tuple(tests_of(own)),
        table=(header, *rows),
        draw=lambda figure: draw(figure, every),
        caption="Each dot is a setting. Above: memorization of wrong labels, below: canaries "
        "found at 1 % false positives, against the three scores; the star is the plain network. "
        "Spearman's rho in each panel.",
        notes=caveats(results, own, lost),
    )


def tests_of(own: Sequence[Point]) -> list[Test]:
    """Test each score against each direct measure, then the two headline scores, H and R."""
    names = [p.regularizer for p in own]
    score = {name: np.array([p.scores[i] for p in own]) for i, name in enumerate(SCORES)}
    less = {name: -np.array([p.truths[j] for p in own]) for j, name in enumerate(TRUTHS)}
    tests = []
    for truth in TRUTHS:
        for name in SCORES:
            test = correlation(f"{name} with less {truth}", score[name], less[truth], names)
            tests.append(test)
    for truth in TRUTHS:
        tests.append(advantage(truth, score["H"], score["R"], less[truth], names))
    return tests


def correlation(name: str, x: Floats, y: Floats, clusters: Sequence[str]) -> Test:
    ends = cluster_bootstrap(lambda i: spearman(x[i], y[i]), clusters, name)
    method = f"Spearman, bootstrap over {len(set(clusters))} regularizers"
    return Test(name, spearman(x, y), *ends, method=method, claim=FOLLOW)


def advantage(truth: str, h: Floats, r: Floats, less: Floats, clusters: Sequence[str]) -> Test:
    """Test that H is correlated more than R is; each resample gives both correlations."""

    def difference(drawn: NDArray[np.int64]) -> float:
        return spearman(h[drawn], less[drawn]) - spearman(r[drawn], less[drawn])

    name = f"H - R, with less {truth}"
    method = f"difference of Spearman's, bootstrap over {len(set(clusters))} regularizers"
    ends = cluster_bootstrap(difference, clusters, name)
    every = np.arange(len(less))
    return Test(name, difference(every), *ends, method=method, claim=BETTER)


def caveats(results: Results, own: Sequence[Point], lost: Sequence[str]) -> tuple[str, ...]:
    size = results["subsets"][0]
    names = {p.regularizer for p in own}
    plain = select(results["scored"], regularizer="none")
    fit = np.mean([r.train[-1] for r in plain if r.signal == "randY"])
    kept = np.mean([r.wrong[-1] for r in plain if r.signal == "mixed@0.4"])
    notes = [
        f"{len(own)} settings of {len(names)} regularizers on {size.num_train} "
        f"{IMAGES[size.dataset]}, {size.architecture}: not the board's data, networks or "
        "strengths. The plain network is shown and not counted.",
        "H and memorization read the same thing in two ways: how many wrong labels are predicted, "
        "beyond those that are without training on them. That they agree says that H measures it "
        "well; leakage is read by an attack on the margins and is the more independent of the two.",
        "R pays for accuracy, so a setting that learns nothing has no memorization and no R: the "
        "two need not agree.",
        f"The plain network fits {fit:.1%} of random labels and {kept:.1%} of wrong ones among "
        f"real ones; on the board {100 * gate.FIT:g} and {100 * gate.MEMORY:g} % are asked for.",
    ]
    if lost:
        notes.append(f"Left out, since a run did not end well: {', '.join(lost)}.")
    return tuple(notes)


def draw(figure: Figure, every: Sequence[Point]) -> None:
    figure.set_size_inches(7, 4.6)
    panels = figure.subplots(2, 3, sharex="col", sharey="row")
    plain, own = every[0], every[1:]
    for (row, column), axes in np.ndenumerate(panels):
        x, y = (
            np.array(v) for v in ([p.scores[column] for p in own], [p.truths[row] for p in own])
        )
        axes.plot(x, y, "o", color="#1a1a1a", mfc="white", ms=4, mew=0.9)
        axes.plot(plain.scores[column], plain.truths[row], "*", color="#1a1a1a", ms=11)
        axes.set_title(f"rho = {spearman(x, y):+.2f}", loc="right", fontsize=8)
        if row == 1:
            axes.set_xlabel(AXES[column])
    panels[0, 0].set_ylabel("memorization of\nwrong labels")
    panels[1, 0].set_ylabel("canaries found at 1 %\nfalse positives (share)")


@hookimpl
def register() -> list[Study]:
    return [
        Study(
            "calibration",
            arms={"quick": (SUBSETS, SCORED), "paper": (LARGE, scored(LARGE, width=48))},
            analyse=analyse,
            claim="The benchmark's scores H, S and R order settings as memorization of wrong "
            "labels and leakage of canaries do: the higher the score, the less of both. H does so "
            "more than R.",
            scaled="300 digits of 8x8 pixels, two layers of 64 units; 32 runs a setting for "
            "memorization and leakage, 5 seeds for the scores, which are read at each strength "
            "instead of the chosen one.",
            version=2,
        )
    ]

"""Membership: does a network's answer tell whether a mislabelled example was trained on?

Carlini, Chien, Nasr, Song, Terzis and Tramer, "Membership Inference Attacks From First Principles"
(LiRA), S&P 2022, arXiv:2112.03570; on mislabelled canaries after Aerni, Zhang and Tramer, CCS 2024,
arXiv:2404.17399. The shadow networks of a run are all other runs of its setting.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from membench import Finding
from membench import Study
from membench import Test
from membench import hookimpl
from membench import shadow_runs
from membench.estimators import bootstrap
from membench.estimators import membership_scores
from membench.estimators import true_positive_rate
from membench.studies import by_setting

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from membench.records import Record
    from membench.studies import Results

    Attack = tuple[NDArray[np.float64], NDArray[np.bool_]]  # scores and members, [m, n] each
    Rate = tuple[float, float, float]  # and its interval

RATES = (0.001, 0.01)  # false positives
LOOKS = ("-", "--", ":", "-.")


def attacked(records: Sequence[Record]) -> Attack:
    """Return scores and members, [m, n] each, of the canaries of one setting's runs."""
    found = shadow_runs.runs(records)
    members = found.inside[:, found.canary]
    return membership_scores(found.margin, members), members


def rate(name: str, scores: NDArray[np.float64], members: NDArray[np.bool_], at: float) -> Rate:
    """Compute (rate, low, high): the attacked runs are drawn again, their shadows are not.

    Args:
        name: of the setting.
        scores: [m, n].
        members: [m, n].
        at: false positives.
    """

    def again(index: NDArray[np.int64]) -> float:
        return true_positive_rate(scores[index], members[index], at)

    return true_positive_rate(scores, members, at), *bootstrap(
        again, len(scores), f"{name} {at}", draws=400
    )


def analyse(results: Results) -> Finding:
    attacks = {s: attacked(records) for s, records in by_setting(results["subsets"]).items()}
    rates = {s: [rate(s, *attack, at) for at in RATES] for s, attack in attacks.items()}
    tests = [
        Test(
            f"none: found at {at:.1%} false positives",
            *found,
            threshold=at,
            method="bootstrap over runs",
        )
        for at, found in zip(RATES, rates["none"], strict=True)
    ]
    tests += [less(s, attacks["none"], attacks[s]) for s in attacks if s != "none"]
    header = (
        "setting",
        "runs",
        "canaries",
        *(f"found at {at:.1%} false positives" for at in RATES),
    )
    rows = [
        (
            s,
            str(len(m)),
            str(m.shape[1]),
            *(f"{v:.1%} ({low:.1%} to {high:.1%})" for v, low, high in rates[s]),
        )
        for s, (_, m) in attacks.items()
    ]
    negatives = int((~attacks["none"][1]).sum())
    return Finding(
        tests=tuple(tests),
        table=(header, *rows),
        draw=lambda figure: draw(figure, attacks),
        caption="Share of the members among the canaries that the attack finds, against the share "
        "of the others that it takes for members, both on log scales; the dotted diagonal is "
        "guessing.",
        notes=(
            f"Pooled over runs: {negatives} answers about canaries that were not trained on, so "
            f"that 0.1 % of false positives is {int(0.001 * negatives)} of them. Intervals are "
            "over the attacked runs, given their shadows.",
        ),
    )


def less(setting: str, plain: Attack, other: Attack) -> Test:
    """Test that less is found at 1 % under a regularizer.

    The runs of both are drawn together, since they share their rows.

    Args:
        setting: the regularizer and its strength.
        plain: the attack without it.
        other: the attack with it.
    """
    shared = min(len(plain[0]), len(other[0]))

    def found(attack: Attack, index: NDArray[np.int64]) -> float:
        return true_positive_rate(attack[0][index], attack[1][index], 0.01)

    def gap(index: NDArray[np.int64]) -> float:
        return found(plain, index) - found(other, index)

    ends = bootstrap(gap, shared, f"less {setting}", draws=400)
    return Test(
        f"found at 1 %: none - {setting}",
        gap(np.arange(shared)),
        *ends,
        method="paired bootstrap over runs",
    )


def draw(figure: Figure, attacks: dict[str, Attack]) -> None:
    figure.set_size_inches(4.6, 3.6)
    axes = figure.subplots()
    for style, (setting, (scores, members)) in zip(LOOKS, attacks.items(), strict=False):
        order = np.argsort(-scores.ravel(), kind="stable")
        hit = members.ravel()[order]
        found, false = np.cumsum(hit) / hit.sum(), np.cumsum(~hit) / (~hit).sum()
        axes.plot(false, found, style, color="#1a1a1a", lw=1.4, label=setting)
    axes.plot([1e-4, 1], [1e-4, 1], color="#8c8c8c", lw=1, ls=(0, (1, 3)), label="guessing")
    axes.set(xscale="log", yscale="log", xlim=(3e-4, 1), ylim=(3e-4, 1.05))
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(lambda share, _: f"{100 * share:g}")
    axes.set_xlabel("others taken for members (%)")
    axes.set_ylabel("members found (%)")
    axes.legend(frameon=False, loc="lower right")


@hookimpl
def register() -> list[Study]:
    return [
        Study(
            "membership",
            arms={"quick": (shadow_runs.QUICK,), "paper": (shadow_runs.PAPER,)},
            analyse=analyse,
            claim="A mislabelled example gives its membership away, and less so under dropout and "
            "input noise.",
            scaled="300 digits of 8x8, two layers of 64 units, 100 runs, the cells of "
            "`memorization`; LiRA's authors attack wide residual networks on half of CIFAR-10 "
            "with up to 256 shadow networks.",
        )
    ]

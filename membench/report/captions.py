"""The caption and alternative text of a figure, in a sentence or two of plain text."""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Sequence

from membench.report.text import percent
from membench.report.text import plain
from membench.scoring import Point
from membench.scoring import TaskScore

BUDGET = 1.0  #: points of real accuracy that a setting may lose to be named
ScoredSetting = tuple[TaskScore, Point]


def fit_caption(scores: Sequence[TaskScore]) -> str:
    """Say who fits the least noise at next to no cost on real data."""
    off = scores[0].points[0]
    better = []
    for score, point in _settings(scores):
        if point.dA >= -BUDGET and point.fit < off.fit:
            better.append((score, point))
    if not better:
        return (
            f"No setting that loses at most {BUDGET:g} point of real accuracy fits random labels "
            "less than none does."
        )
    score, best = min(better, key=lambda setting: (setting[1].fit, setting[0].entry))
    return (
        f"Among the settings that lose at most {BUDGET:g} point of real test accuracy, "
        f"{_setting_name(score, best)} fits the random labels least: {percent(best.fit)}% of them "
        f"(none: {percent(off.fit)}%), at {percent(best.real)}% real test accuracy "
        f"(none: {percent(off.real)}%)."
    )


def wrong_caption(scores: Sequence[TaskScore], level: float) -> str:
    """Say who is best on clean images after noisy labels, and how many wrong ones it memorizes."""
    off = scores[0].points[0]
    score, best = max(
        _settings(scores), key=lambda setting: (setting[1].mixed[level], setting[0].entry)
    )
    if best.mixed[level] <= off.mixed[level]:
        return f"With {level:.0%} noisy labels no setting is better on clean test images than none."
    return (
        f"With {level:.0%} noisy labels {_setting_name(score, best)} is best on clean test images, "
        f"{percent(best.mixed[level])}% (none: {percent(off.mixed[level])}%); it memorizes "
        f"{percent(best.wrong[level])}% of the wrong labels (none: {percent(off.wrong[level])}%)."
    )


def group_caption(groups: Iterable[str]) -> str:
    """Say what the panels of a figure by group are."""
    return (
        f"Every entry, a group at a time on the same axes, the others in grey: {', '.join(groups)}."
    )


def curves_caption(scores: Sequence[TaskScore]) -> str:
    """Say how far the noise fits lie apart at the chosen strengths."""
    last = []
    for score in scores:
        if score.curve and score.curve.rand_train:
            last.append((score.curve.rand_train[-1], plain(score.entry)))
    if not last:
        return "No learning curves are stored."
    (low, lowest), (high, highest) = min(last), max(last)
    return (
        "At the chosen strengths the fit of random labels at the last epoch lies between "
        f"{percent(low)}% ({lowest}) and {percent(high)}% ({highest})."
    )


def _settings(scores: Sequence[TaskScore]) -> list[ScoredSetting]:
    """List every strength of every entry but off, which is the same for all of them."""
    settings = []
    for score in scores:
        for point in score.points[1:]:
            settings.append((score, point))
    return settings


def _setting_name(score: TaskScore, point: Point) -> str:
    return f"{plain(score.entry)}[{plain(point.label)}]"

"""What a figure shows, in a sentence or two of plain text: its caption, and its text for those who cannot see it."""

from __future__ import annotations

from collections.abc import Iterable

from membench.report.text import percent
from membench.report.text import plain
from membench.scoring import Point
from membench.scoring import TaskScore

BUDGET = 1.0  #: points of real accuracy that a setting may lose to be named

Setting = tuple[TaskScore, Point]


def fit(scores: Iterable[TaskScore]) -> str:
    """Who fits the least noise at next to no cost on real data."""
    settings, off = _settings(scores)
    kept = [(s, p) for s, p in settings if p.dA >= -BUDGET and p.fit < off.fit]
    if not kept:
        return (
            f"No setting that loses at most {BUDGET:g} point of real accuracy fits random labels less than none does."
        )
    score, best = min(kept, key=lambda pair: (pair[1].fit, pair[0].entry))
    return (
        f"Among the settings that lose at most {BUDGET:g} point of real test accuracy, {_name(score, best)} fits the "
        f"random labels least: {percent(best.fit)}% of them (none: {percent(off.fit)}%), "
        f"at {percent(best.real)}% real test accuracy (none: {percent(off.real)}%)."
    )


def wrong(scores: Iterable[TaskScore], level: float) -> str:
    """Who is best on clean images after noisy labels, and how many of the wrong ones it has learned by heart."""
    settings, off = _settings(scores)
    score, best = max(settings, key=lambda pair: (pair[1].mixed[level], pair[0].entry))
    if best.mixed[level] <= off.mixed[level]:
        return f"With {level:.0%} noisy labels no setting is better on clean test images than none."
    return (
        f"With {level:.0%} noisy labels {_name(score, best)} is best on clean test images, "
        f"{percent(best.mixed[level])}% (none: {percent(off.mixed[level])}%); it memorizes "
        f"{percent(best.wrong[level])}% of the wrong labels (none: {percent(off.wrong[level])}%)."
    )


def curves(scores: Iterable[TaskScore]) -> str:
    """How far the noise fits lie apart at the chosen strengths."""
    ends = sorted((s.curve.rand_train[-1], plain(s.entry)) for s in scores if s.curve and s.curve.rand_train)
    if not ends:
        return "No learning curves are stored."
    (low, least), (high, most) = ends[0], ends[-1]
    return (
        f"At the chosen strengths the fit of random labels at the last epoch lies between {percent(low)}% ({least}) "
        f"and {percent(high)}% ({most})."
    )


def _settings(scores: Iterable[TaskScore]) -> tuple[list[Setting], Point]:
    """All settings but off, and off itself, which is the same for every entry."""
    scores = list(scores)
    return [(s, p) for s in scores for p in s.points[1:]], scores[0].points[0]


def _name(score: TaskScore, point: Point) -> str:
    return f"{plain(score.entry)}[{plain(point.label)}]"

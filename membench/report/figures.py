"""What a figure shows, in a sentence or two of plain text: its caption, and its text for those who cannot see it."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from membench.records import Manifest
from membench.report import learning_curves
from membench.report import scatter
from membench.report.files import FIGURES
from membench.report.styles import Style
from membench.report.styles import styles
from membench.report.svg import render_svg
from membench.report.text import ascii_only
from membench.report.text import filename
from membench.report.text import percent
from membench.report.text import plain
from membench.report.text import ranks
from membench.scoring import Board
from membench.scoring import Control
from membench.scoring import Point
from membench.scoring import TaskScore

BUDGET = 1.0  #: points of real accuracy that a setting may lose to be named
SettingScore = tuple[TaskScore, Point]


def fit_caption(scores: Iterable[TaskScore]) -> str:
    """Who fits the least noise at next to no cost on real data."""
    settings, off = _settings(scores)
    kept = [(s, p) for s, p in settings if p.dA >= -BUDGET and p.fit < off.fit]
    if not kept:
        return f"No setting that loses at most {BUDGET:g} point of real accuracy fits random labels less than none does."
    score, best = min(kept, key=lambda pair: (pair[1].fit, pair[0].entry))
    return (
        f"Among the settings that lose at most {BUDGET:g} point of real test accuracy, {_setting_name(score, best)} fits the "
        f"random labels least: {percent(best.fit)}% of them (none: {percent(off.fit)}%), "
        f"at {percent(best.real)}% real test accuracy (none: {percent(off.real)}%)."
    )


def wrong_caption(scores: Iterable[TaskScore], level: float) -> str:
    """Who is best on clean images after noisy labels, and how many of the wrong ones it has learned by heart."""
    settings, off = _settings(scores)
    score, best = max(settings, key=lambda pair: (pair[1].mixed[level], pair[0].entry))
    if best.mixed[level] <= off.mixed[level]:
        return f"With {level:.0%} noisy labels no setting is better on clean test images than none."
    return (
        f"With {level:.0%} noisy labels {_setting_name(score, best)} is best on clean test images, "
        f"{percent(best.mixed[level])}% (none: {percent(off.mixed[level])}%); it memorizes "
        f"{percent(best.wrong[level])}% of the wrong labels (none: {percent(off.wrong[level])}%)."
    )


def curves_caption(scores: Iterable[TaskScore]) -> str:
    """How far the noise fits lie apart at the chosen strengths."""
    ends = sorted(
        (s.curve.rand_train[-1], plain(s.entry)) for s in scores if s.curve and s.curve.rand_train
    )
    if not ends:
        return "No learning curves are stored."
    (low, least), (high, most) = ends[0], ends[-1]
    return (
        f"At the chosen strengths the fit of random labels at the last epoch lies between {percent(low)}% ({least}) "
        f"and {percent(high)}% ({most})."
    )


def _settings(scores: Iterable[TaskScore]) -> tuple[list[SettingScore], Point]:
    """All settings but off, and off itself, which is the same for every entry."""
    scores = list(scores)
    return [(s, p) for s in scores for p in s.points[1:]], scores[0].points[0]


def _setting_name(score: TaskScore, point: Point) -> str:
    return f"{plain(score.entry)}[{plain(point.label)}]"


MAX_COLOURED = (
    16  #: entries, more of which make a figure dense: then it shows the leads, and each group apart
)
FIRST = 6  #: entries that may be first, at most, among the leads
#: The regularizers of the paper's Figure 10, and the part of one that stands alone here.
PAPER = (
    "dropout",
    "input-dropout",
    "input-noise",
    "hidden-noise",
    "weight-decay",
    "dropout+adversarial",
    "adversarial",
)
#: What the axes of the two scatter figures are.
_FIT = (
    "random labels fitted (% of the training set, last epoch)",
    "test accuracy after real labels (%, log-error scale)",
)
_WRONG = (
    "wrong labels memorized (% predicted as given, last epoch)",
    "test accuracy after {:.0%} noisy labels (%, log-error scale)",
)


@dataclass(frozen=True)
class Drawing:
    """One file, and what the page says of it."""

    name: str  #: relative to the page
    title: str
    finding: str  #: plain text: the alternative text and the caption
    svg: bytes


def stems(plan: Manifest) -> dict[str, str]:
    """task -> the start of its figures' file names, different for different tasks."""
    result: dict[str, str] = {}
    for task in plan.tasks:
        stem = filename(f"{plan.suite}-{task.replace('/', '-')}")
        while stem in result.values():
            stem += "_"
        result[task] = stem
    return result


def drawings(plan: Manifest, board: Board, task: str) -> list[Drawing]:
    """The figures of this task that its records are enough for."""
    stem = stems(plan)[task]
    found = []
    for kind, title, finding, size, paint in _figures(plan, board, task):
        name = f"{FIGURES}/{stem}-{kind}.svg"
        found.append(
            Drawing(
                name,
                title,
                finding,
                render_svg(size, f"{title}: {ascii_only(task)}", finding, paint),
            )
        )
    return found


def noise_level(board: Board, task: str) -> float | None:
    """The level of label noise that figures are drawn at: 0.4 where the suite has it."""
    levels = sorted(
        {
            p
            for (_, t), score in board.scores.items()
            if t == task
            for q in score.points
            for p in q.wrong
        }
    )
    return 0.4 if 0.4 in levels else next(iter(levels), None)


def entries(board: Board, task: str) -> list[TaskScore]:
    """The entries with something to draw here, best first; the controls are drawn apart."""
    scores = [board.scores.get((row.entry, task)) for row in (*board.rows, *board.unranked)]
    return [s for s in scores if s and s.entry != "none" and len(s.points) > 1]


_Figure = tuple[str, str, str, tuple[float, float], Callable[..., None]]


def _figures(plan: Manifest, board: Board, task: str) -> Iterator[_Figure]:
    shown = entries(board, task)
    if not shown:
        return
    scene = _scene(plan, board, task, lambda p: (p.fit, p.real), _FIT)
    yield from _scatters(
        "fit-vs-accuracy", "Noise fit against accuracy on real data", fit_caption(shown), scene
    )
    level = noise_level(board, task)
    if level is not None:
        axes = (_WRONG[0], _WRONG[1].format(level))
        scene = _scene(plan, board, task, lambda p: (p.wrong[level], p.mixed[level]), axes)
        title = "Wrong labels memorized against accuracy on clean images"
        yield from _scatters("wrong-vs-clean", title, wrong_caption(shown, level), scene)
    panels = _panels(plan, shown)
    if panels:
        control = board.controls.get(task)
        paint = partial(learning_curves.draw, panels, control.curve if control else None)
        title = "Learning curves at the chosen strength"
        yield (
            "learning-curves",
            title,
            curves_caption(shown),
            learning_curves.figure_size(panels),
            paint,
        )


def _scatters(
    kind: str, title: str, finding: str, scene: scatter.ScatterFigure
) -> Iterator[_Figure]:
    """The whole; and, if some of it is muted there, every group."""
    yield kind, title, finding, scatter.figure_size(scene), partial(scatter.draw, scene)
    if scene.leads != scene.trails:
        groups = scatter.by_group(scene)
        found = f"Every entry, a group at a time on the same axes, the others in grey: {', '.join(groups)}."
        yield (
            f"{kind}-by-group",
            f"{title}, by group",
            found,
            scatter.grouped_size(groups),
            partial(scatter.draw_grouped, groups),
        )


def highlighted(board: Board, names: Sequence[str]) -> set[str]:
    """Whom a figure of these entries, best first, shows in colour: all; of many, who may be first, and `PAPER`."""
    if len(names) <= MAX_COLOURED:
        return set(names)
    first = [row.entry for row in board.rows if row.rank and row.rank[0] == 1] or list(names)
    return {*first[:FIRST], *PAPER} & set(names)


def _scene(
    plan: Manifest,
    board: Board,
    task: str,
    dot: Callable[[Point], scatter.Dot],
    axes: tuple[str, str],
) -> scatter.ScatterFigure:
    look = styles(plan.entries)
    control = board.controls.get(task) or Control(task=task)
    order = {row.entry: ranks(row.rank) if row.rank else "" for row in board.rows}
    scores = entries(board, task)
    lead = highlighted(board, [s.entry for s in scores])
    return scatter.ScatterFigure(
        trails=tuple(
            _trail(s, look[s.entry], order.get(s.entry, ""), dot, s.entry not in lead)
            for s in scores
        ),
        early=tuple(dot(p) for p in control.early),
        epochs=control.epochs,
        low_rate=tuple(dot(p) for p in control.low_rate),
        x_label=axes[0],
        y_label=axes[1],
    )


def _trail(
    score: TaskScore, look: Style, rank: str, dot: Callable[[Point], scatter.Dot], muted: bool
) -> scatter.Series:
    labels = [p.label for p in score.points]
    chosen = labels.index(score.modal) if score.modal in labels else None
    return scatter.Series(look, tuple(dot(p) for p in score.points), chosen, rank, muted)


def _panels(plan: Manifest, shown: list[TaskScore]) -> list[learning_curves.Panel]:
    look = styles(plan.entries)
    crowd = len(shown) > MAX_COLOURED
    panels = []
    for score in (s for s in shown if s.curve):
        own, strength = look[score.entry], ascii_only(score.modal, 14)
        names = (own.label, strength, own.group) if crowd else (f"{own.label}[{strength}]", "", "")
        panels.append(learning_curves.Panel(*names, own.color, score.curve))
    return panels

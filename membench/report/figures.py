"""The figures of a task: two scatter figures, for many entries again by group, and the curves."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence
from dataclasses import dataclass

from membench.records import Manifest
from membench.report import captions
from membench.report.contents import Content
from membench.report.contents import Dot
from membench.report.contents import FigureData
from membench.report.contents import GroupedScatterFigure
from membench.report.contents import LearningCurves
from membench.report.contents import Panel
from membench.report.contents import ScatterFigure
from membench.report.contents import Series
from membench.report.figure_cache import FigureCache
from membench.report.files import FIGURES
from membench.report.styles import Style
from membench.report.styles import styles
from membench.report.text import ascii_only
from membench.report.text import filename
from membench.report.text import ranks
from membench.scoring import Board
from membench.scoring import Point
from membench.scoring import TaskScore

#: Entries up to which a figure shows all of them in colour. With more it highlights some, and a
#: second figure shows them by group.
MAX_COLOURED = 16
#: Entries that may be first, at most, among the highlighted ones.
MAX_FIRST = 6
#: The regularizers of the paper's Figure 10, and the part of one that stands alone here; they are
#: always highlighted.
PAPER_REGULARIZERS = (
    "dropout",
    "input-dropout",
    "input-noise",
    "hidden-noise",
    "weight-decay",
    "dropout+adversarial",
    "adversarial",
)


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """One file, and what the page says of it."""

    name: str  #: relative to the page
    title: str
    finding: str  #: plain text: the alternative text and the caption
    svg: bytes


@dataclass(frozen=True, kw_only=True)
class Quantities:
    """The quantities on the two axes of a scatter figure."""

    x_label: str
    y_label: str
    dot: Callable[[Point], Dot]  #: reads both off a strength


@dataclass(frozen=True, kw_only=True)
class _Plan:
    """A figure before it is drawn."""

    kind: str  #: the end of the file's name
    title: str
    finding: str
    content: Content


def drawings(
    plan: Manifest, board: Board, cache: FigureCache | None = None
) -> dict[str, list[Drawing]]:
    """Draw the figures of each task that its records are enough for.

    Args:
        plan: gives the styles of the entries.
        board: the scores.
        cache: holds figures that were drawn before, and gets the new ones; without it all are
            drawn.

    Returns:
        task -> its figures, in the order of the page.
    """
    planned = [(task, figure) for task in plan.tasks for figure in _figures(plan, board, task)]
    contents = []
    for task, figure in planned:
        title = f"{figure.title}: {ascii_only(task)}"
        contents.append(FigureData(title=title, finding=figure.finding, content=figure.content))
    stem = stems(plan)
    drawn: dict[str, list[Drawing]] = {task: [] for task in plan.tasks}
    for (task, figure), svg in zip(planned, _svgs(contents, cache), strict=True):
        drawing = Drawing(
            name=f"{FIGURES}/{stem[task]}-{figure.kind}.svg",
            title=figure.title,
            finding=figure.finding,
            svg=svg,
        )
        drawn[task].append(drawing)
    return drawn


def stems(plan: Manifest) -> dict[str, str]:
    """Map each task to the start of its figures' file names, which differ between tasks."""
    result: dict[str, str] = {}
    for task in plan.tasks:
        stem = filename(f"{plan.suite}-{task.replace('/', '-')}")
        while stem in result.values():
            stem += "_"
        result[task] = stem
    return result


def entries(board: Board, task: str) -> list[TaskScore]:
    """List the entries with something to draw, best first, without the controls."""
    scores = []
    for row in (*board.rows, *board.unranked):
        score = board.scores.get((row.entry, task))
        if score and score.entry != "none" and len(score.points) > 1:
            scores.append(score)
    return scores


def highlighted(board: Board, names: Sequence[str]) -> set[str]:
    """Select the entries that a figure shows in colour: of many, who may be first, and the paper's.

    Args:
        board: gives the ranks.
        names: the entries of the figure, best first.
    """
    if len(names) <= MAX_COLOURED:
        return set(names)
    first = [row.entry for row in board.rows if row.rank and row.rank[0] == 1] or list(names)
    return {*first[:MAX_FIRST], *PAPER_REGULARIZERS} & set(names)


def noise_level(board: Board, task: str) -> float | None:
    """Return the level of label noise that figures are drawn at: 0.4 where the suite has it."""
    levels: set[float] = set()
    for (_, scored_task), score in board.scores.items():
        if scored_task == task:
            for point in score.points:
                levels.update(point.wrong)
    if 0.4 in levels:
        return 0.4
    return min(levels, default=None)


def fit_quantities() -> Quantities:
    """Read the fit of random labels and the accuracy after real ones."""
    return Quantities(
        x_label="random labels fitted (% of the training set, last epoch)",
        y_label="test accuracy after real labels (%, log-error scale)",
        dot=lambda point: (point.fit, point.real),
    )


def wrong_quantities(level: float) -> Quantities:
    """Read the share of memorized wrong labels and the clean accuracy at one noise level."""
    return Quantities(
        x_label="wrong labels memorized (% predicted as given, last epoch)",
        y_label=f"test accuracy after {level:.0%} noisy labels (%, log-error scale)",
        dot=lambda point: (point.wrong[level], point.mixed[level]),
    )


def scatter_figure(
    plan: Manifest, board: Board, task: str, quantities: Quantities
) -> ScatterFigure:
    """Collect what a scatter figure shows.

    Args:
        plan: gives the styles of the entries.
        board: the scores.
        task: the one task.
        quantities: what the axes are.
    """
    known = styles(plan.entries)
    rank_of = {row.entry: ranks(row.rank) for row in board.rows if row.rank}
    scores = entries(board, task)
    in_colour = highlighted(board, [score.entry for score in scores])
    series = []
    for score in scores:
        labels = [point.label for point in score.points]
        one = Series(
            style=known[score.entry],
            dots=tuple(map(quantities.dot, score.points)),
            chosen=labels.index(score.modal) if score.modal in labels else None,
            rank=rank_of.get(score.entry, ""),
            muted=score.entry not in in_colour,
        )
        series.append(one)
    control = board.controls.get(task)
    return ScatterFigure(
        series=tuple(series),
        early=tuple(map(quantities.dot, control.early)) if control else (),
        epochs=control.epochs if control else (),
        low_rate=tuple(map(quantities.dot, control.low_rate)) if control else (),
        x_label=quantities.x_label,
        y_label=quantities.y_label,
    )


def _svgs(figures: Sequence[FigureData], cache: FigureCache | None) -> list[bytes]:
    """Take figures from the cache; draw the others."""
    svgs: dict[int, bytes] = {}
    missing = []
    for place, figure in enumerate(figures):
        svg = cache.get(figure) if cache else None
        if svg is None:
            missing.append(place)
        else:
            svgs[place] = svg
    if missing:
        # Only here, since matplotlib takes a third of a second to load.
        from membench.report import drawing

        drawn = drawing.draw_all([figures[place] for place in missing])
        for place, svg in zip(missing, drawn, strict=True):
            svgs[place] = svg
            if cache:
                cache.put(figures[place], svg)
    return [svgs[place] for place in range(len(figures))]


def _figures(plan: Manifest, board: Board, task: str) -> list[_Plan]:
    scores = entries(board, task)
    if not scores:
        return []
    figures = _scatter_figures(
        kind="fit-vs-accuracy",
        title="Noise fit against accuracy on real data",
        finding=captions.fit_caption(scores),
        content=scatter_figure(plan, board, task, fit_quantities()),
    )
    level = noise_level(board, task)
    if level is not None:
        figures += _scatter_figures(
            kind="wrong-vs-clean",
            title="Wrong labels memorized against accuracy on clean images",
            finding=captions.wrong_caption(scores, level),
            content=scatter_figure(plan, board, task, wrong_quantities(level)),
        )
    panels = _panels(scores, styles(plan.entries))
    if panels:
        control = board.controls.get(task)
        figure = _Plan(
            kind="learning-curves",
            title="Learning curves at the chosen strength",
            finding=captions.curves_caption(scores),
            content=LearningCurves(panels=panels, plain=control.curve if control else None),
        )
        figures.append(figure)
    return figures


def _scatter_figures(*, kind: str, title: str, finding: str, content: ScatterFigure) -> list[_Plan]:
    """Plan the whole figure and, if some of it is muted there, the one by group."""
    figures = [
        _Plan(
            kind=kind,
            title=title,
            finding=finding,
            content=content,
        )
    ]
    if content.muted:
        by_group = _Plan(
            kind=f"{kind}-by-group",
            title=f"{title}, by group",
            finding=captions.group_caption(content.groups),
            content=GroupedScatterFigure(whole=content),
        )
        figures.append(by_group)
    return figures


def _panels(scores: Sequence[TaskScore], known: dict[str, Style]) -> tuple[Panel, ...]:
    """Make a panel of each entry with a curve; those of many entries stand under their groups."""
    panels = []
    for score in scores:
        if score.curve is None:
            continue
        style = known[score.entry]
        strength = ascii_only(score.modal, 14)
        if len(scores) > MAX_COLOURED:
            panel = Panel(
                title=style.label,
                strength=strength,
                group=style.group,
                color=style.color,
                curve=score.curve,
            )
        else:
            title = f"{style.label}[{strength}]"
            panel = Panel(title=title, color=style.color, curve=score.curve)
        panels.append(panel)
    return tuple(panels)

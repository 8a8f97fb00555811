"""The figures of a board: its rows with their intervals, the front, and the figures of each task.

A task has two scatter figures, for many entries again by group, and learning curves.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence
from dataclasses import dataclass

from membench.records import Manifest
from membench.report import captions
from membench.report.contents import Content
from membench.report.contents import Dot
from membench.report.contents import Effect
from membench.report.contents import Effects
from membench.report.contents import FigureData
from membench.report.contents import ForestPlot
from membench.report.contents import FrontPlot
from membench.report.contents import GroupedScatterFigure
from membench.report.contents import LearningCurves
from membench.report.contents import Panel
from membench.report.contents import ScatterFigure
from membench.report.contents import Series
from membench.report.figure_cache import FigureCache
from membench.report.files import FIGURES
from membench.report.styles import GREY
from membench.report.styles import Style
from membench.report.styles import styles
from membench.report.text import ascii_only
from membench.report.text import filename
from membench.report.text import noise_words
from membench.report.text import ranks
from membench.scoring.types import CONTROL
from membench.scoring.types import EARLY_STOPPING
from membench.scoring.types import NONE
from membench.scoring.types import TRAINING_LESS
from membench.scoring.types import Board
from membench.scoring.types import Confirmed
from membench.scoring.types import Point
from membench.scoring.types import Row
from membench.scoring.types import TaskScore

BOARD = ""  #: the place of the figures of the whole board among those of the tasks
#: Entries up to which a figure shows all of them in colour. With more it highlights some, and a
#: second figure shows them by group.
MAX_COLOURED = 16
#: Learning curves of more entries nobody compares by eye, and each panel takes a tenth of a second.
MAX_PANELS = 120
#: Entries that hold the claim, at most, among the highlighted ones.
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


#: The controls are of no entry of the manifest.
_CONTROL_STYLES = {
    TRAINING_LESS: Style(
        label=TRAINING_LESS, group=CONTROL, color="#4d4d4d", marker="s", dashes="-"
    ),
    EARLY_STOPPING: Style(
        label=EARLY_STOPPING, group=CONTROL, color=GREY, marker="D", dashes=(0, (2, 1.5))
    ),
}


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
class PlannedFigure:
    """A figure before it is drawn."""

    kind: str  #: the end of the file's name
    title: str
    finding: str
    content: Content


def drawings(
    plan: Manifest, board: Board, cache: FigureCache | None = None
) -> dict[str, list[Drawing]]:
    """Draw the figures of the board, and of each task, that its records are enough for.

    Args:
        plan: gives the styles of the entries.
        board: the scores.
        cache: holds figures that were drawn before, and gets the new ones; without it all are
            drawn.

    Returns:
        task -> its figures, in the order of the page; `BOARD` -> those of the whole board.
    """
    in_order = [
        (task, figure) for task, all_of in planned(plan, board).items() for figure in all_of
    ]
    contents = []
    for task, figure in in_order:
        title = f"{figure.title}: {ascii_only(task or plan.suite)}"
        contents.append(FigureData(title=title, finding=figure.finding, content=figure.content))
    stem = {BOARD: filename(plan.suite), **stems(plan)}
    drawn: dict[str, list[Drawing]] = {task: [] for task in (BOARD, *plan.tasks)}
    for (task, figure), svg in zip(in_order, _svgs(contents, cache), strict=True):
        drawing = Drawing(
            name=f"{FIGURES}/{stem[task]}-{figure.kind}.svg",
            title=figure.title,
            finding=figure.finding,
            svg=svg,
        )
        drawn[task].append(drawing)
    return drawn


def planned(plan: Manifest, board: Board) -> dict[str, list[PlannedFigure]]:
    """Say what the figures of the board, and of each task, show.

    Args:
        plan: gives the styles of the entries.
        board: the scores.

    Returns:
        task -> its figures, in the order of the page; `BOARD` -> those of the whole board, first.
    """
    figures = {BOARD: _board_figures(plan, board)}
    for task in plan.tasks:
        figures[task] = _task_figures(plan, board, task)
    return figures


def stems(plan: Manifest) -> dict[str, str]:
    """Map each task to the start of its figures' file names, which differ between tasks."""
    result: dict[str, str] = {}
    for task in plan.tasks:
        stem = filename(f"{plan.suite}-{task.replace('/', '-')}")
        while stem in result.values():
            stem += "_"
        result[task] = stem
    return result


def effects(plan: Manifest, board: Board) -> Effects:
    """Collect what the figures of the whole board show.

    Args:
        plan: gives the styles of the entries.
        board: the scores.
    """
    known = styles(plan.entries)
    shown = []
    for row in board.rows:
        if row.entry != NONE:
            one = _effect(row, known[row.entry], claims=board.ranked)
            shown += [one] if one else []
    controls = {}
    for row in board.control_rows:
        if row.entry in _CONTROL_STYLES:
            controls[row.entry] = _effect(row, _CONTROL_STYLES[row.entry], claims=False)
    return Effects(
        entries=tuple(shown),
        training_less=controls.get(TRAINING_LESS),
        early_stopping=controls.get(EARLY_STOPPING),
        claims=board.ranked,
    )


def entries(board: Board, task: str) -> list[TaskScore]:
    """List the entries with something to draw, best first, without the controls."""
    scores = []
    for row in (*board.rows, *board.unranked):
        score = board.scores.get((row.entry, task))
        if score and score.entry != NONE and len(score.points) > 1:
            scores.append(score)
    return scores


def highlighted(board: Board, names: Sequence[str]) -> set[str]:
    """Select the entries that a figure shows in colour: of many, who holds the claim; the paper's.

    Args:
        board: says who holds the claim.
        names: the entries of the figure, best first.
    """
    if len(names) <= MAX_COLOURED:
        return set(names)
    holders = [row for row in board.rows if row.claim and row.claim.holds]
    holders.sort(key=lambda row: not row.on_front)  # the front first, each in the board's order
    first = [row.entry for row in holders] or list(names)
    return {*first[:MAX_FIRST], *PAPER_REGULARIZERS} & set(names)


def noise_of_figures(board: Board, task: str) -> str | None:
    """Return the label noise that figures are drawn at: mixed@0.4 where the suite has it."""
    signals: dict[str, None] = {}
    for (_, scored_task), score in board.scores.items():
        if scored_task == task:
            for point in score.points:
                signals.update(dict.fromkeys(point.wrong))
    if "mixed@0.4" in signals:
        return "mixed@0.4"
    return next(iter(signals), None)


def fit_quantities() -> Quantities:
    """Read the fit of random labels and the accuracy after real ones."""
    return Quantities(
        x_label="random labels fitted (% of the training set at the last epoch, choosing seeds)",
        y_label="test accuracy after real labels (%, log-error scale, choosing seeds)",
        dot=lambda point: (point.fit or 0.0, point.real),
    )


def wrong_quantities(signal: str) -> Quantities:
    """Read the share of memorized wrong labels and the clean accuracy with one label noise."""
    return Quantities(
        x_label="wrong labels memorized (% predicted as given at the last epoch, choosing seeds)",
        y_label=(
            f"test accuracy after {ascii_only(noise_words(signal))} noise "
            "(%, log-error scale, choosing seeds)"
        ),
        dot=lambda point: (point.wrong[signal], point.noisy_test[signal]),
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
    rank_of = {row.entry: ranks(row.rank_H) for row in board.rows if row.rank_H}
    scores = entries(board, task)
    in_colour = highlighted(board, [score.entry for score in scores])
    series = []
    for score in scores:
        one = Series(
            style=known[score.entry],
            dots=tuple(map(quantities.dot, score.points)),
            held_back=_place(score, score.held_back),
            recovery=_place(score, score.recovery),
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


def _place(score: TaskScore, setting: Confirmed | None) -> int | None:
    """Find a confirmed setting among the points over strengths."""
    strengths = [point.strength for point in score.points]
    return strengths.index(setting.strength) if setting and setting.strength in strengths else None


def _effect(row: Row, style: Style, claims: bool) -> Effect | None:
    """Read a row of the board; None if it has no numbers.

    Args:
        row: its H and dA.
        style: of its entry.
        claims: whether it is told apart from rows that do not hold the claim.
    """
    if row.H is None or row.dA is None:
        return None
    return Effect(
        style=style,
        held_back=row.H,
        real=row.dA,
        edge=row.H_edge,
        muted=claims and not (row.claim and row.claim.holds),
        on_front=claims and bool(row.on_front),
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


def _board_figures(plan: Manifest, board: Board) -> list[PlannedFigure]:
    shown = effects(plan, board)
    if not shown.entries:
        return []
    return [
        PlannedFigure(
            kind="forest",
            title="Noise held back, and real accuracy",
            finding=captions.forest_caption(shown),
            content=ForestPlot(effects=shown),
        ),
        PlannedFigure(
            kind="front",
            title="The front: noise held back against real accuracy",
            finding=captions.front_caption(shown),
            content=FrontPlot(effects=shown),
        ),
    ]


def _task_figures(plan: Manifest, board: Board, task: str) -> list[PlannedFigure]:
    scores = entries(board, task)
    if not scores:
        return []
    figures = []
    if "randY" in plan.signals:
        figures += _scatter_figures(
            kind="fit-vs-accuracy",
            title="Noise fit against accuracy on real data, over strengths",
            finding=captions.fit_caption(board, task, scores),
            content=scatter_figure(plan, board, task, fit_quantities()),
        )
    signal = noise_of_figures(board, task)
    if signal is not None:
        figures += _scatter_figures(
            kind="wrong-vs-clean",
            title="Wrong labels memorized against accuracy on clean images, over strengths",
            finding=captions.wrong_caption(board, task, scores, signal),
            content=scatter_figure(plan, board, task, wrong_quantities(signal)),
        )
    settings = [(score, setting) for score in scores if (setting := _setting_with_curve(score))]
    if settings:
        control = board.controls.get(task)
        shown = settings[:MAX_PANELS]
        figure = PlannedFigure(
            kind="learning-curves",
            title="Learning curves at the confirmed strength",
            finding=captions.curves_caption(
                [(score.entry, one) for score, one in shown], of=len(settings)
            ),
            content=LearningCurves(
                panels=_panels(shown, styles(plan.entries)),
                plain=control.curve if control else None,
            ),
        )
        figures.append(figure)
    return figures


def _setting_with_curve(score: TaskScore) -> Confirmed | None:
    """Select the setting by noise held back; where that is off, the one by recovery."""
    setting = score.held_back
    if setting and not setting.strength and score.recovery and score.recovery.curve:
        setting = score.recovery
    return setting if setting and setting.curve else None


def _scatter_figures(
    *, kind: str, title: str, finding: str, content: ScatterFigure
) -> list[PlannedFigure]:
    """Plan the whole figure and, if some of it is muted there, the one by group."""
    figures = [
        PlannedFigure(
            kind=kind,
            title=title,
            finding=finding,
            content=content,
        )
    ]
    if content.muted:
        by_group = PlannedFigure(
            kind=f"{kind}-by-group",
            title=f"{title}, by group",
            finding=captions.group_caption(content.groups),
            content=GroupedScatterFigure(whole=content),
        )
        figures.append(by_group)
    return figures


def _panels(
    settings: Sequence[tuple[TaskScore, Confirmed]], known: dict[str, Style]
) -> tuple[Panel, ...]:
    """Make a panel of each setting; those of many entries stand under their groups."""
    panels = []
    for score, setting in settings:
        if setting.curve is None:
            continue
        style = known[score.entry]
        is_by_recovery = score.held_back is not setting and setting.strength
        strength = ("R: " if is_by_recovery else "") + ascii_only(setting.label, 14)
        if len(settings) > MAX_COLOURED:
            panel = Panel(
                title=style.label,
                strength=strength,
                group=style.group,
                color=style.color,
                curve=setting.curve,
            )
        else:
            title = f"{style.label}[{strength}]"
            panel = Panel(title=title, color=style.color, curve=setting.curve)
        panels.append(panel)
    return tuple(panels)

"""The figures of one task: from a board to SVG files with the sentence that says what is to be seen in them."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from membench.records import Manifest
from membench.report import findings
from membench.report import grouped
from membench.report import multiples
from membench.report import scatter
from membench.report.files import FIGURES
from membench.report.looks import Look
from membench.report.looks import looks
from membench.report.svg import draw
from membench.report.text import ascii_only
from membench.report.text import filename
from membench.report.text import ranks
from membench.scoring import Board
from membench.scoring import Control
from membench.scoring import Point
from membench.scoring import TaskScore

CROWD = 16  #: entries, more of which make a figure dense: then it shows the leads, and each group apart
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
        found.append(Drawing(name, title, finding, draw(size, f"{title}: {ascii_only(task)}", finding, paint)))
    return found


def noise_level(board: Board, task: str) -> float | None:
    """The level of label noise that figures are drawn at: 0.4 where the suite has it."""
    levels = sorted({p for (_, t), score in board.scores.items() if t == task for q in score.points for p in q.wrong})
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
    yield from _scatters("fit-vs-accuracy", "Noise fit against accuracy on real data", findings.fit(shown), scene)
    level = noise_level(board, task)
    if level is not None:
        axes = (_WRONG[0], _WRONG[1].format(level))
        scene = _scene(plan, board, task, lambda p: (p.wrong[level], p.mixed[level]), axes)
        title = "Wrong labels memorized against accuracy on clean images"
        yield from _scatters("wrong-vs-clean", title, findings.wrong(shown, level), scene)
    panels = _panels(plan, shown)
    if panels:
        control = board.controls.get(task)
        paint = partial(multiples.paint, panels, control.curve if control else None)
        title = "Learning curves at the chosen strength"
        yield "learning-curves", title, findings.curves(shown), multiples.size(panels), paint


def _scatters(kind: str, title: str, finding: str, scene: scatter.Scene) -> Iterator[_Figure]:
    """The whole; and, if some of it is muted there, every group."""
    yield kind, title, finding, scatter.size(scene), partial(scatter.paint, scene)
    if scene.leads != scene.trails:
        groups = grouped.by_group(scene)
        found = f"Every entry, a group at a time on the same axes, the others in grey: {', '.join(groups)}."
        yield f"{kind}-by-group", f"{title}, by group", found, grouped.size(groups), partial(grouped.paint, groups)


def leads(board: Board, names: Sequence[str]) -> set[str]:
    """Whom a figure of these entries, best first, shows in colour: all; of many, who may be first, and `PAPER`."""
    if len(names) <= CROWD:
        return set(names)
    first = [row.entry for row in board.rows if row.rank and row.rank[0] == 1] or list(names)
    return {*first[:FIRST], *PAPER} & set(names)


def _scene(
    plan: Manifest, board: Board, task: str, dot: Callable[[Point], scatter.Dot], axes: tuple[str, str]
) -> scatter.Scene:
    look = looks(plan.entries)
    control = board.controls.get(task) or Control(task, (), (), (), None)
    order = {row.entry: ranks(row.rank) if row.rank else "" for row in board.rows}
    scores = entries(board, task)
    lead = leads(board, [s.entry for s in scores])
    return scatter.Scene(
        trails=tuple(_trail(s, look[s.entry], order.get(s.entry, ""), dot, s.entry not in lead) for s in scores),
        early=tuple(dot(p) for p in control.early),
        epochs=control.epochs,
        low_rate=tuple(dot(p) for p in control.low_rate),
        x_label=axes[0],
        y_label=axes[1],
    )


def _trail(score: TaskScore, look: Look, rank: str, dot: Callable[[Point], scatter.Dot], muted: bool) -> scatter.Trail:
    labels = [p.label for p in score.points]
    chosen = labels.index(score.modal) if score.modal in labels else None
    return scatter.Trail(look, tuple(dot(p) for p in score.points), chosen, rank, muted)


def _panels(plan: Manifest, shown: list[TaskScore]) -> list[multiples.Small]:
    look = looks(plan.entries)
    crowd = len(shown) > CROWD
    panels = []
    for score in (s for s in shown if s.curve):
        own, strength = look[score.entry], ascii_only(score.modal, 14)
        names = (own.label, strength, own.group) if crowd else (f"{own.label}[{strength}]", "", "")
        panels.append(multiples.Small(*names, own.color, score.curve))
    return panels

"""The paper's Figure 10: how much noise is still fitted against accuracy on clean images, a curve an entry."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import replace

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator
from matplotlib.ticker import FuncFormatter
from matplotlib.ticker import NullLocator

from membench.report import labels
from membench.report import legend
from membench.report.styles import INK
from membench.report.styles import Style
from membench.report.styles import group_order
from membench.report.svg import panel

_TICKS = (10, 20, 30, 40, 50, 60, 70, 80, 85, 90, 92, 94, 95, 96, 97, 98, 99, 99.5, 99.9)
_EPOCHS = (1, 2, 3, 5, 10, 20)  #: of the control, named where there is room
_MOST = 0.9995  #: an accuracy of 1 has no place on a scale of log error
_WIDTH, _PLOT = 9.2, 6.1  #: of the figure and of its axes, inches
Dot = tuple[float, float]  #: (noise fit, accuracy), shares
Name = tuple[str, str, Dot]  #: text, colour, what it belongs to


@dataclass(frozen=True)
class Series:
    """One entry's dots, off first, then from weak to strong."""

    look: Style
    dots: tuple[Dot, ...]
    chosen: int | None  #: the dot of the strength that most folds chose
    rank: str
    muted: bool = (
        False  #: behind the others: a thin grey line without marker, name and row in the legend
    )


@dataclass(frozen=True)
class ScatterFigure:
    """All that one scatter figure shows."""

    trails: tuple[Series, ...]
    early: tuple[Dot, ...]  #: the control, from the last epoch to the first
    epochs: tuple[int, ...]
    low_rate: tuple[Dot, ...]
    x_label: str
    y_label: str

    @property
    def leads(self) -> tuple[Series, ...]:
        """Those that are not muted."""
        return tuple(trail for trail in self.trails if not trail.muted)


def figure_size(scene: ScatterFigure) -> tuple[float, float]:
    """Width and height in inches."""
    return _WIDTH, max(4.7, legend.height(len(scene.leads) + (scene.leads != scene.trails)) + 0.35)


def draw(scene: ScatterFigure, figure: Figure) -> None:
    """Fill the figure."""
    height = figure_size(scene)[1]
    axes = panel(figure, (0.62, 0.55, _PLOT, height - 0.75))
    plot(axes, scene)
    axes.set_xlabel(scene.x_label)
    axes.set_ylabel(scene.y_label)
    control = [(e, dot) for e, dot in zip(scene.epochs, scene.early, strict=True) if e in _EPOCHS]
    names(axes, scene, [(f"epoch {e}", "#5c5c5c", dot) for e, dot in reversed(control)])
    others = len(scene.trails) - len(scene.leads)
    legend.draw(
        panel(figure, (_PLOT + 0.75, 0.2, _WIDTH - _PLOT - 0.8, height - 0.35)),
        samples(scene),
        others,
    )


def samples(scene: ScatterFigure) -> list[legend.LegendEntry]:
    """What the legend has a row for."""
    return [legend.LegendEntry(trail.look, trail.rank) for trail in scene.leads]


def plot(axes: Axes, scene: ScatterFigure) -> None:
    """The control, all trails and the scales: the same for every scene with these dots, whichever are muted."""
    _control(axes, scene)
    for order, trail in enumerate(scene.trails):
        _trail(axes, trail, zorder=4 - order / 100)
    _frame(axes, scene)


def _control(axes: Axes, scene: ScatterFigure) -> None:
    if scene.early:
        axes.plot(*_xy(scene.early), zorder=2, **legend.EARLY)
        axes.plot(*_xy(scene.early), color="#6b6b6b", marker="|", ms=5, ls="none", zorder=2.1)
    if scene.low_rate:
        axes.plot(*_xy(scene.low_rate), zorder=2.2, **legend.SLOW)


def _trail(axes: Axes, trail: Series, zorder: float) -> None:
    look = trail.look
    x, y = _xy(trail.dots)
    if trail.muted:
        axes.plot(x, y, **legend.MUTED)
        return
    axes.plot(x, y, color=look.color, ls=look.dashes, lw=1.2, alpha=0.9, zorder=zorder)
    style = {
        "color": look.color,
        "marker": look.marker,
        "ls": "none",
        "mew": 0.8,
        "zorder": zorder + 0.5,
    }
    axes.plot(x[1:], y[1:], ms=4, mfc="white", **style)
    if trail.chosen:
        axes.plot(x[trail.chosen], y[trail.chosen], ms=6.5, **style)


def _frame(axes: Axes, scene: ScatterFigure) -> None:
    x, y = _xy([*(d for t in scene.trails for d in t.dots), *scene.early, *scene.low_rate])
    axes.plot(
        *_xy([t.dots[0] for t in scene.trails][:1]),
        color=INK,
        marker="*",
        ms=12,
        ls="none",
        zorder=9,
    )
    low, high = float(_log_error(min(y))), float(_log_error(max(y)))
    pad = 0.07 * max(high - low, 0.2)
    bottom, top = max(0.0, float(_accuracy(low - pad))), float(_accuracy(high + pad))
    axes.set_yscale("function", functions=(_log_error, _accuracy))
    axes.set_ylim(bottom, top)
    axes.set_xlim(min(0.0, *x), 102)
    axes.yaxis.set_major_locator(FixedLocator(_ticks(bottom, top)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}"))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.text(
        0.012, 0.99, "↖ better", transform=axes.transAxes, va="top", fontsize=8, color="#666666"
    )


def _ticks(low: float, high: float) -> list[float]:
    """Those of the round numbers that do not stand closer than a fifteenth of the axis."""
    kept: list[float] = []
    gap = (_log_error(high) - _log_error(low)) / 15
    for tick in (t for t in reversed(_TICKS) if low <= t <= high):
        if not kept or _log_error(kept[-1]) - _log_error(tick) >= gap:
            kept.append(float(tick))
    return kept


def names(axes: Axes, scene: ScatterFigure, more: Sequence[Name] = ()) -> None:
    """Every lead's name at its strong end, then `more`, where they fit."""
    box = axes.get_window_extent()  # in points: the figure has 72 dots an inch, as SVG has
    room = labels.Box(box.x0 + 2, box.y0, box.x1, box.y1 - 12)
    ends = [*((t.look.label, t.look.color, t.dots[-1]) for t in scene.leads), *more]
    lines = [
        _spots(axes, line)
        for line in (*(t.dots for t in scene.trails), scene.early, scene.low_rate)
        if line
    ]
    clear = [
        _spots(axes, line)
        for line in (*(t.dots for t in scene.leads), scene.early, scene.low_rate)
        if line
    ]
    found = zip((text for text, *_ in ends), _spots(axes, [dot for *_, dot in ends]), strict=True)
    colors = {text: color for text, color, _ in ends}
    for label in labels.place(list(found), [spot for line in clear for spot in line], lines, room):
        style = {
            "va": "center_baseline",
            "fontsize": labels.POINTS,
            "color": colors[label.text],
            "zorder": 8,
        }
        axes.annotate(label.text, (label.x, label.y), xycoords="figure points", **style)


def _spots(axes: Axes, dots: Sequence[Dot]) -> list[labels.Spot]:
    return [(x, y) for x, y in axes.transData.transform(np.transpose(_xy(dots))).tolist()]


def _xy(dots: Sequence[Dot]) -> tuple[list[float], list[float]]:
    return [100 * x for x, _ in dots], [100 * min(y, _MOST) for _, y in dots]


def _log_error(percent: float | np.ndarray) -> np.ndarray:
    return -np.log10(1 - np.minimum(np.asarray(percent, float) / 100, _MOST))


def _accuracy(scale: float | np.ndarray) -> np.ndarray:
    return 100 * (1 - 10.0 ** -np.asarray(scale, float))


_GROUPED_WIDTH, _GROUPED_PLOT, _GROUPED_NAMES = (
    9.35,
    2.3,
    1.75,
)  #: of the figure, of a panel's axes, of the names beside them, inches
_GROUPED_HEIGHT, _GROUPED_STEP = 2.35, 2.85  #: of a panel, and from one row to the next
_GROUPED_LEFT, _GROUPED_TOP, _GROUPED_BOTTOM, _GROUPED_COLUMNS = 0.6, 0.4, 0.55, 2


def by_group(scene: ScatterFigure) -> dict[str, ScatterFigure]:
    """group -> the scene in which its entries lead, each in a colour of its own, and all others are muted."""
    groups = sorted({trail.look.group for trail in scene.trails}, key=group_order)
    return {
        g: replace(scene, trails=tuple(_highlight_group(trail, g) for trail in scene.trails))
        for g in groups
    }


def _highlight_group(trail: Series, group: str) -> Series:
    own = trail.look.group == group
    return replace(trail, look=replace(trail.look, color=trail.look.within), muted=not own)


def grouped_size(scenes: Mapping[str, ScatterFigure]) -> tuple[float, float]:
    """Width and height in inches."""
    rows = -(-len(scenes) // _GROUPED_COLUMNS)
    return _GROUPED_WIDTH, _GROUPED_TOP + _GROUPED_STEP * (
        rows - 1
    ) + _GROUPED_HEIGHT + _GROUPED_BOTTOM


def draw_grouped(scenes: Mapping[str, ScatterFigure], figure: Figure) -> None:
    """Fill the figure, row by row."""
    top = grouped_size(scenes)[1] - _GROUPED_TOP - _GROUPED_HEIGHT
    for place, (group, scene) in enumerate(scenes.items()):
        row, column = divmod(place, _GROUPED_COLUMNS)
        left, bottom = (
            _GROUPED_LEFT + column * (_GROUPED_WIDTH / _GROUPED_COLUMNS),
            top - _GROUPED_STEP * row,
        )
        axes = panel(figure, (left, bottom, _GROUPED_PLOT, _GROUPED_HEIGHT))
        plot(axes, scene)
        _label_axes(axes, group, scene, below=place + _GROUPED_COLUMNS < len(scenes))
        names(axes, scene)
        beside = panel(
            figure, (left + _GROUPED_PLOT + 0.02, bottom, _GROUPED_NAMES, _GROUPED_HEIGHT)
        )
        legend.rows(beside, [replace(sample, rank="") for sample in samples(scene)])


def _label_axes(axes: Axes, group: str, scene: ScatterFigure, below: bool) -> None:
    axes.set_title(group, loc="left", fontsize=9, pad=4, y=1, weight="bold")
    axes.tick_params(labelsize=7)
    axes.set_ylabel(_without_brackets(scene.y_label), fontsize=7.5)
    if not below:
        axes.set_xlabel(_without_brackets(scene.x_label), fontsize=7.5)


def _without_brackets(label: str) -> str:
    """Without what stands in brackets in the large figure."""
    return label.partition(" (")[0] + " (%)"

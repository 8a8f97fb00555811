"""Learning curves, a panel an entry: what real data teaches, and how fast the noise is fitted.

Every panel shows the curves of `none` in grey behind. A board of many entries has smaller panels,
group by group.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import nan
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from membench.report.contents import Panel
from membench.report.letters import text_width
from membench.report.styles import GREY
from membench.report.styles import INK
from membench.report.styles import Dashes
from membench.report.styles import group_order
from membench.report.svg import inch_panel
from membench.report.svg import panel
from membench.scoring import Curve

#: Inches: the figure's width and margins, between two panels, and what a group's heading takes.
_WIDTH = 9.35
_LEFT, _TOP, _BOTTOM = 0.6, 0.72, 0.5
_GAP = 0.2
_HEADING = 0.5
_OVERHANG = 1.05  #: where a panel's strength ends, over the width of its axes
_DASHED = (0, (3.5, 1.5))
_KEY: tuple[tuple[float, Dashes, str, str], ...] = (  #: x in inches, dashes, colour, label
    (0.0, "-", INK, "real labels: validation"),
    (1.85, _DASHED, INK, "random labels: training"),
    (3.75, "-", GREY, "the same for none"),
)
#: What the dashed curve is in a suite without random labels.
_WRONG_LABELS = "wrong labels: memorized"


@dataclass(frozen=True)
class _Grid:
    """The layout of panels; in inches: the height of one, and from one row to the next."""

    columns: int
    height: float = 1.05
    step: float = 1.42

    def rows(self, panels: Sequence[Panel]) -> int:
        return -(-len(panels) // self.columns)


def figure_size(panels: Sequence[Panel]) -> tuple[float, float]:
    """Return width and height in inches."""
    grid = _grid(panels)
    rows_height = 0.0
    headings = 0
    for group, members in _groups(panels).items():
        rows_height += grid.step * grid.rows(members)
        headings += bool(group)
    return _WIDTH, _TOP + rows_height + _HEADING * headings + _BOTTOM - 0.3


def draw(panels: Sequence[Panel], plain: Curve | None, figure: Figure) -> None:
    """Draw every panel on the same axes.

    Args:
        panels: best first.
        plain: the curve of `none`, if it is stored.
        figure: of `figure_size`.
    """
    grid = _grid(panels)
    _, height = figure_size(panels)
    top = height - _TOP
    for group, members in _groups(panels).items():
        if group:
            _draw_heading(figure, group, members[0].color, top)
            top -= _HEADING
        _draw_panels(members, plain, figure, grid, top)
        top -= grid.step * grid.rows(members)
    _draw_key(figure, height, has_random_labels=bool(panels[0].curve.rand_train))


def _groups(panels: Sequence[Panel]) -> dict[str, list[Panel]]:
    """Sort the panels by group, each group's in their order."""
    groups: dict[str, list[Panel]] = {}
    for group in sorted({one.group for one in panels}, key=group_order):
        groups[group] = [one for one in panels if one.group == group]
    return groups


def _grid(panels: Sequence[Panel]) -> _Grid:
    """Choose six columns of smaller panels for groups; else five or four, the fuller."""
    if panels[0].group:
        return _Grid(columns=6, height=0.82, step=1.12)
    empty_of_five = -len(panels) % 5
    empty_of_four = -len(panels) % 4
    return _Grid(columns=5 if empty_of_five <= empty_of_four else 4)


def _draw_heading(figure: Figure, group: str, color: str, top: float) -> None:
    # Nearer to the group's own panels than to the axis above.
    axes = panel(figure, (_LEFT, top - 0.3, 3.0, 0.2))
    axes.set_axis_off()
    axes.text(0, 0.5, group, color=color, va="center", fontsize=9, weight="bold")


def _draw_panels(
    panels: Sequence[Panel], plain: Curve | None, figure: Figure, grid: _Grid, top: float
) -> None:
    column_width = (_WIDTH - _LEFT) / grid.columns
    for place, one in enumerate(panels):
        row, column = divmod(place, grid.columns)
        left = _LEFT + column_width * column
        bottom = top - grid.step * row - grid.height
        axes = panel(figure, (left, bottom, column_width - _GAP, grid.height))
        if plain:
            _plot(axes, plain, GREY, 1.0)
        _plot(axes, one.curve, one.color, 1.5)
        has_panel_below = place + grid.columns < len(panels)
        _set_scales(axes, one, y_labels=column == 0, x_labels=not has_panel_below)


def _plot(axes: Axes, curve: Curve, color: str, width: float) -> None:
    real = [100 * value for value in curve.real_val]
    axes.plot(curve.epochs, real, color=color, lw=width)
    axes.plot(curve.epochs, _noise_fit(curve), color=color, lw=width, ls=_DASHED)


def _noise_fit(curve: Curve) -> list[float]:
    """Return the fit of random labels, or without these the wrong labels memorized, in percent."""
    values: Sequence[float | None] = curve.rand_train
    if not values:
        values = next(iter(curve.noisy_wrong.values()))
    return [nan if value is None else 100 * value for value in values]


def _set_scales(axes: Axes, one: Panel, *, y_labels: bool, x_labels: bool) -> None:
    axes.set_ylim(0, 103)
    axes.set_yticks((0, 50, 100))
    axes.set_xlim(0, None)
    axes.tick_params(labelleft=y_labels, labelbottom=x_labels, labelsize=7)
    title_size, strength_size = (6.8, 6.2) if one.group else (7.5, 0.0)
    width = text_width(f"{one.title} ", title_size) + text_width(one.strength, strength_size)
    shrink = min(1.0, _OVERHANG * axes.get_window_extent().width / width)
    title_size, strength_size = title_size * shrink, strength_size * shrink
    # With a given y nothing is laid out twice.
    axes.set_title(one.title, loc="left", fontsize=title_size, pad=3, y=1)
    if one.strength:
        style: dict[str, Any] = {"ha": "right", "fontsize": strength_size, "color": "#5c5c5c"}
        axes.text(_OVERHANG, 1.045, one.strength, transform=axes.transAxes, **style)
    if y_labels:
        axes.set_ylabel("accuracy (%)", fontsize=7.5)
    if x_labels and one.group:
        axes.set_xlabel("epoch", fontsize=7, labelpad=0)
    elif x_labels:
        axes.set_xlabel("epoch", fontsize=7.5, labelpad=1)


def _draw_key(figure: Figure, height: float, *, has_random_labels: bool) -> None:
    axes = inch_panel(figure, (_LEFT, height - 0.4, 5.2, 0.3))
    for x, dashes, color, meaning in _KEY:
        is_replaced = dashes == _DASHED and not has_random_labels
        label = _WRONG_LABELS if is_replaced else meaning
        axes.add_line(Line2D([x, x + 0.3], [0.15, 0.15], color=color, ls=dashes, lw=1.5))
        axes.text(x + 0.37, 0.15, label, va="center", fontsize=8)

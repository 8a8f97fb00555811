"""The scatter figures a group of entries at a time, small, on the same axes: where the whole has too many curves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from membench.report import legend
from membench.report import scatter
from membench.report.looks import group_order
from membench.report.svg import panel

_WIDTH, _PLOT, _NAMES = 9.35, 2.3, 1.75  #: of the figure, of a panel's axes, of the names beside them, inches
_HEIGHT, _STEP = 2.35, 2.85  #: of a panel, and from one row to the next
_LEFT, _TOP, _BOTTOM, _COLUMNS = 0.6, 0.4, 0.55, 2


def by_group(scene: scatter.Scene) -> dict[str, scatter.Scene]:
    """group -> the scene in which its entries lead, each in a colour of its own, and all others are muted."""
    groups = sorted({trail.look.group for trail in scene.trails}, key=group_order)
    return {g: replace(scene, trails=tuple(_lit(trail, g) for trail in scene.trails)) for g in groups}


def _lit(trail: scatter.Trail, group: str) -> scatter.Trail:
    own = trail.look.group == group
    return replace(trail, look=replace(trail.look, color=trail.look.within), muted=not own)


def size(scenes: Mapping[str, scatter.Scene]) -> tuple[float, float]:
    """Width and height in inches."""
    rows = -(-len(scenes) // _COLUMNS)
    return _WIDTH, _TOP + _STEP * (rows - 1) + _HEIGHT + _BOTTOM


def paint(scenes: Mapping[str, scatter.Scene], figure: Figure) -> None:
    """Fill the figure, row by row."""
    top = size(scenes)[1] - _TOP - _HEIGHT
    for place, (group, scene) in enumerate(scenes.items()):
        row, column = divmod(place, _COLUMNS)
        left, bottom = _LEFT + column * (_WIDTH / _COLUMNS), top - _STEP * row
        axes = panel(figure, (left, bottom, _PLOT, _HEIGHT))
        scatter.plot(axes, scene)
        _frame(axes, group, scene, below=place + _COLUMNS < len(scenes))
        scatter.names(axes, scene)
        beside = panel(figure, (left + _PLOT + 0.02, bottom, _NAMES, _HEIGHT))
        legend.rows(beside, [replace(sample, rank="") for sample in scatter.samples(scene)])


def _frame(axes: Axes, group: str, scene: scatter.Scene, below: bool) -> None:
    axes.set_title(group, loc="left", fontsize=9, pad=4, y=1, weight="bold")
    axes.tick_params(labelsize=7)
    axes.set_ylabel(_short(scene.y_label), fontsize=7.5)
    if not below:
        axes.set_xlabel(_short(scene.x_label), fontsize=7.5)


def _short(label: str) -> str:
    """Without what stands in brackets in the large figure."""
    return label.partition(" (")[0] + " (%)"

"""The paper's Figure 10: how much noise is still fitted against accuracy on clean images.

Every entry is a curve over its strengths, on the seeds that these are chosen on. A board of many
entries has a second figure with a panel for each group, on the same axes; there all entries of
other groups are muted.
"""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator
from matplotlib.ticker import FuncFormatter
from matplotlib.ticker import NullLocator

from membench.report import labels
from membench.report import legend
from membench.report.contents import Dot
from membench.report.contents import ScatterFigure
from membench.report.contents import Series
from membench.report.styles import INK
from membench.report.svg import panel

Name = tuple[str, str, Dot]  #: text, colour, what it belongs to

_TICKS = (10, 20, 30, 40, 50, 60, 70, 80, 85, 90, 92, 94, 95, 96, 97, 98, 99, 99.5, 99.9)
_NAMED_EPOCHS = (1, 2, 3, 5, 10, 20)  #: of the control, named where there is room
_MAX_ACCURACY = 0.9995  #: an accuracy of 1 has no place on a scale of log error

#: Inches: the figure's width, and that of its axes.
_WIDTH = 9.2
_PLOT_WIDTH = 6.1
#: Inches, of the figure by group: its width, its margins, a panel's axes, the names beside them,
#: and from one row of panels to the next.
_GROUPED_WIDTH = 9.35
_GROUPED_LEFT, _GROUPED_TOP, _GROUPED_BOTTOM = 0.6, 0.4, 0.55
_PANEL_WIDTH, _PANEL_HEIGHT = 2.3, 2.35
_NAMES_WIDTH = 1.75
_ROW_STEP = 2.85
_COLUMNS = 2


def figure_size(content: ScatterFigure) -> tuple[float, float]:
    """Return width and height in inches."""
    legend_rows = len(content.highlighted) + bool(content.muted)
    return _WIDTH, max(4.7, legend.height(legend_rows) + 0.35)


def draw(content: ScatterFigure, figure: Figure) -> None:
    """Draw the plot and its legend."""
    _, height = figure_size(content)
    axes = panel(figure, (0.62, 0.55, _PLOT_WIDTH, height - 0.75))
    plot(axes, content)
    axes.set_xlabel(content.x_label)
    axes.set_ylabel(content.y_label)
    epochs = []
    for epoch, dot in zip(content.epochs, content.early, strict=True):
        if epoch in _NAMED_EPOCHS:
            epochs.append((f"epoch {epoch}", legend.PALE_INK, dot))
    _draw_names(axes, content, more=epochs[::-1])
    beside = (_PLOT_WIDTH + 0.75, 0.2, _WIDTH - _PLOT_WIDTH - 0.8, height - 0.35)
    entries = [legend.LegendEntry(series.style, series.rank) for series in content.highlighted]
    legend.draw(figure, beside, entries, content.muted)


def by_group(content: ScatterFigure) -> dict[str, ScatterFigure]:
    """Make one figure a group: its entries in colours of their own, all others muted."""
    figures = {}
    for group in content.groups:
        series = tuple(_highlight_group(series, group) for series in content.series)
        figures[group] = replace(content, series=series)
    return figures


def grouped_size(groups: Mapping[str, ScatterFigure]) -> tuple[float, float]:
    """Return width and height in inches of the figure by group."""
    rows = -(-len(groups) // _COLUMNS)
    height = _GROUPED_TOP + _ROW_STEP * (rows - 1) + _PANEL_HEIGHT + _GROUPED_BOTTOM
    return _GROUPED_WIDTH, height


def draw_grouped(groups: Mapping[str, ScatterFigure], figure: Figure) -> None:
    """Draw a panel for each group, row by row, each with the names of its entries beside it."""
    _, height = grouped_size(groups)
    top_row = height - _GROUPED_TOP - _PANEL_HEIGHT
    for place, (group, content) in enumerate(groups.items()):
        row, column = divmod(place, _COLUMNS)
        left = _GROUPED_LEFT + column * (_GROUPED_WIDTH / _COLUMNS)
        bottom = top_row - _ROW_STEP * row
        axes = panel(figure, (left, bottom, _PANEL_WIDTH, _PANEL_HEIGHT))
        plot(axes, content)
        has_panel_below = place + _COLUMNS < len(groups)
        _label_panel(axes, group, content, x_label=not has_panel_below)
        _draw_names(axes, content)
        beside = (left + _PANEL_WIDTH + 0.02, bottom, _NAMES_WIDTH, _PANEL_HEIGHT)
        entries = [legend.LegendEntry(series.style, "") for series in content.highlighted]
        legend.draw_names(figure, beside, entries)


def plot(axes: Axes, content: ScatterFigure) -> None:
    """Draw the control, all series and the scales, which do not depend on who is muted."""
    _plot_control(axes, content)
    for order, series in enumerate(content.series):
        _plot_series(axes, series, zorder=4 - order / 100)
    _set_scales(axes, content)


def _highlight_group(series: Series, group: str) -> Series:
    style = replace(series.style, color=series.style.color_within_group)
    return replace(series, style=style, muted=series.style.group != group)


def _label_panel(axes: Axes, group: str, content: ScatterFigure, x_label: bool) -> None:
    axes.set_title(group, loc="left", fontsize=9, pad=4, y=1, weight="bold")
    axes.tick_params(labelsize=7)
    axes.set_ylabel(_short_label(content.y_label), fontsize=7.5)
    if x_label:
        axes.set_xlabel(_short_label(content.x_label, ", choosing seeds"), fontsize=7.5)


def _short_label(label: str, seeds: str = "") -> str:
    """Leave out what stands in brackets in the large figure, but for the unit and the seeds."""
    return f"{label.partition(' (')[0]} (%{seeds})"


def _plot_control(axes: Axes, content: ScatterFigure) -> None:
    if content.early:
        x, y = _percentages(content.early)
        axes.plot(x, y, zorder=2, **legend.EARLY)
        axes.plot(x, y, color="#6b6b6b", marker="|", ms=5, ls="none", zorder=2.1)
    if content.low_rate:
        x, y = _percentages(content.low_rate)
        axes.plot(x, y, zorder=2.2, **legend.SLOW)


def _plot_series(axes: Axes, series: Series, zorder: float) -> None:
    x, y = _percentages(series.dots)
    if series.muted:
        axes.plot(x, y, **legend.MUTED)
        return
    color = series.style.color
    axes.plot(x, y, color=color, ls=series.style.dashes, lw=1.2, alpha=0.9, zorder=zorder)
    dots: dict[str, Any] = {"color": color, "ls": "none", "mew": 0.8, "zorder": zorder + 0.5}
    axes.plot(x[1:], y[1:], marker=series.style.marker, ms=4, mfc="white", **dots)
    # Off, the first, is the star of `none`.
    if series.held_back:
        place = series.held_back
        axes.plot(x[place], y[place], marker=series.style.marker, ms=6.5, **dots)
    if series.recovery:
        axes.plot(x[series.recovery], y[series.recovery], marker="o", ms=10, mfc="none", **dots)


def _set_scales(axes: Axes, content: ScatterFigure) -> None:
    dots = [dot for series in content.series for dot in series.dots]
    x, y = _percentages([*dots, *content.early, *content.low_rate])
    off = [series.dots[0] for series in content.series][:1]
    off_x, off_y = _percentages(off)
    axes.plot(off_x, off_y, color=INK, marker="*", ms=12, ls="none", zorder=9)
    low, high = float(_log_error(min(y))), float(_log_error(max(y)))
    padding = 0.07 * max(high - low, 0.2)
    bottom, top = max(0.0, float(_accuracy(low - padding))), float(_accuracy(high + padding))
    axes.set_yscale("function", functions=(_log_error, _accuracy))
    axes.set_ylim(bottom, top)
    axes.set_xlim(min(0.0, *x), 102)
    axes.yaxis.set_major_locator(FixedLocator(_ticks(bottom, top)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.text(
        0.012, 0.99, "↖ better", transform=axes.transAxes, va="top", fontsize=8, color="#666666"
    )


def _ticks(low: float, high: float) -> list[float]:
    """Select round numbers, from above, that are at least a fifteenth of the axis from the last."""
    ticks: list[float] = []
    gap = (_log_error(high) - _log_error(low)) / 15
    for tick in reversed(_TICKS):
        on_axis = low <= tick <= high
        if on_axis and (not ticks or _log_error(ticks[-1]) - _log_error(tick) >= gap):
            ticks.append(float(tick))
    return ticks


def _draw_names(axes: Axes, content: ScatterFigure, more: Sequence[Name] = ()) -> None:
    """Write every highlighted entry's name at its strong end, then `more`, where they fit."""
    window = axes.get_window_extent()  # in points: the figure has 72 dots an inch, as SVG has
    room = labels.Box(window.x0 + 2, window.y0, window.x1, window.y1 - 12)
    names = [(s.style.label, s.style.color, s.dots[-1]) for s in content.highlighted]
    names += more
    controls = [content.early, content.low_rate]
    lines = _lines(axes, [*(series.dots for series in content.series), *controls])
    clear_lines = _lines(axes, [*(series.dots for series in content.highlighted), *controls])
    colors = {text: color for text, color, _ in names}
    ends = _positions(axes, [dot for _, _, dot in names])
    placed = labels.place(
        names=[labels.Name(text, end) for (text, _, _), end in zip(names, ends, strict=True)],
        dots=[position for line in clear_lines for position in line],
        lines=lines,
        room=room,
    )
    for label in placed:
        axes.annotate(
            label.text,
            (label.x, label.y),
            xycoords="figure points",
            va="center_baseline",
            fontsize=labels.FONT_SIZE,
            color=colors[label.text],
            zorder=8,
        )


def _lines(axes: Axes, lines: Sequence[Sequence[Dot]]) -> list[list[labels.Position]]:
    """Transform lines of dots to positions in points; lines without dots are left out."""
    return [_positions(axes, line) for line in lines if line]


def _positions(axes: Axes, dots: Sequence[Dot]) -> list[labels.Position]:
    percentages = np.transpose(_percentages(dots))
    return [(x, y) for x, y in axes.transData.transform(percentages).tolist()]


def _percentages(dots: Sequence[Dot]) -> tuple[list[float], list[float]]:
    """Split dots into x and y, in percent."""
    return [100 * x for x, _ in dots], [100 * min(y, _MAX_ACCURACY) for _, y in dots]


def _log_error(percent: float | np.ndarray) -> np.ndarray:
    """Map accuracies in percent to the scale: -log10 of the error."""
    return -np.log10(1 - np.minimum(np.asarray(percent, float) / 100, _MAX_ACCURACY))


def _accuracy(scale: float | np.ndarray) -> np.ndarray:
    """Map the scale back to accuracies in percent."""
    return 100 * (1 - 10.0 ** -np.asarray(scale, float))

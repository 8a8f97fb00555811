"""The legend of the scatter figures, beside the plot: the ranking with every entry's line."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from membench.report.styles import GREY
from membench.report.styles import INK
from membench.report.styles import Style
from membench.report.svg import Box
from membench.report.svg import inch_panel

EARLY: Mapping[str, Any] = {"color": GREY, "lw": 3.5, "alpha": 0.55, "solid_capstyle": "round"}
SLOW: Mapping[str, Any] = {"color": GREY, "lw": 1, "ls": ":", "marker": "x", "ms": 5, "mew": 1.4}
MUTED: Mapping[str, Any] = {"color": "#cfcfcf", "lw": 0.8, "zorder": 1}
PALE_INK = "#5c5c5c"
_STAR: Mapping[str, Any] = {"color": INK, "marker": "*", "ms": 10, "ls": "none", "markevery": [1]}
_ROW_HEIGHT = 0.185  #: inches
_ROWS_ABOVE = 4.6  #: rows of `none`, of the control and of the titles
_ROWS_BELOW = 3.4  #: rows of what fill and colour mean
_TEXT_LEFT = 0.5  #: inches, behind the sample of the line


@dataclass(frozen=True)
class LegendEntry:
    """One entry's row."""

    style: Style
    rank: str  #: "" where no ranks are given


def height(rows: int) -> float:
    """Return the height in inches of a legend with so many entries."""
    return _ROW_HEIGHT * (_ROWS_ABOVE + rows + _ROWS_BELOW)


def draw(figure: Figure, box: Box, entries: Sequence[LegendEntry], muted: int = 0) -> None:
    """Draw the whole legend.

    Args:
        figure: what it belongs to.
        box: its place, inches.
        entries: best first.
        muted: how many further entries the plot shows in grey.
    """
    axes = inch_panel(figure, box)
    right = box[2] - 0.05
    _sample(axes, 0, "none (no regularizer)", _STAR)
    _sample(axes, 1, "control: none, stopped early", EARLY)
    _sample(axes, 2, "control: none at a lower rate", {**SLOW, "markevery": [1]})
    _text(axes, 3.4, "regularizer", x=_TEXT_LEFT, color=PALE_INK)
    rank_title = "rank" if any(entry.rank for entry in entries) else ""
    _text(axes, 3.4, rank_title, x=right, color=PALE_INK, ha="right")
    row = _ROWS_ABOVE - 0.2
    _entries(axes, row, entries, right, fontsize=8)
    if muted:
        label = f"the other {muted}: by group, below"
        _sample(axes, row + len(entries), label, MUTED)
    _explanation(axes, _ROWS_ABOVE + len(entries) + bool(muted), entries, box[2])


def draw_names(figure: Figure, box: Box, entries: Sequence[LegendEntry]) -> None:
    """Draw the entries' rows alone, in smaller letters.

    Args:
        figure: what they belong to.
        box: their place, inches.
        entries: one a row.
    """
    _entries(inch_panel(figure, box), 0, entries, box[2] - 0.05, fontsize=7)


def _entries(
    axes: Axes, first_row: float, entries: Sequence[LegendEntry], right: float, fontsize: float
) -> None:
    for place, entry in enumerate(entries):
        row = first_row + place
        line = {
            "color": entry.style.color,
            "ls": entry.style.dashes,
            "lw": 1.2,
            "marker": entry.style.marker,
            "ms": 5,
            "markevery": [1],
        }
        _sample(axes, row, entry.style.label, line, fontsize=fontsize)
        _text(axes, row, entry.rank, x=right, color=PALE_INK, ha="right", fontsize=fontsize)


def _explanation(axes: Axes, row: float, entries: Sequence[LegendEntry], width: float) -> None:
    """Say what fill and colour mean; the groups are named in their own colour."""
    fill = "filled marker: strength chosen by validation"
    _text(axes, row + 0.3, fill, x=0.05, color=PALE_INK, fontsize=7)
    _text(axes, row + 1.2, "colour: where it acts", x=0.05, color=PALE_INK, fontsize=7)
    groups = dict.fromkeys((entry.style.group, entry.style.color) for entry in entries)
    x = 0.05
    row += 2.1
    for name, color in groups:
        name_width = 0.068 * len(name) + 0.09
        if x + name_width > width:
            x = 0.05
            row += 0.9
        _text(axes, row, name, x=x, color=color, fontsize=7, weight="bold")
        x += name_width


def _sample(
    axes: Axes, row: float, label: str, line: Mapping[str, Any], fontsize: float = 8
) -> None:
    """Draw a piece of the line with its marker, and the label behind it."""
    y = _row_y(row)
    axes.add_line(Line2D([0.05, 0.22, 0.4], [y, y, y], **line))
    _text(axes, row, label, x=_TEXT_LEFT, fontsize=fontsize)


def _text(
    axes: Axes, row: float, text: str, *, x: float, fontsize: float = 8, **style: Any
) -> None:
    axes.text(x, _row_y(row), text, va="center", fontsize=fontsize, **style)


def _row_y(row: float) -> float:
    """Return the middle of the row, inches from the upper edge."""
    return 0.1 + _ROW_HEIGHT * row

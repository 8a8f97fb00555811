"""The legend of the scatter figures, beside the plot: the ranking, with the colour, marker and line of every entry."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from membench.report.styles import GREY
from membench.report.styles import INK
from membench.report.styles import Style

ROW = 0.185  #: inches of a row
HEAD = 4.6  #: rows above the entries
FOOT = 3.4  #: rows below them
EARLY: Mapping[str, Any] = {"color": GREY, "lw": 3.5, "alpha": 0.55, "solid_capstyle": "round"}
SLOW: Mapping[str, Any] = {"color": GREY, "lw": 1, "ls": ":", "marker": "x", "ms": 5, "mew": 1.4}
MUTED: Mapping[str, Any] = {"color": "#cfcfcf", "lw": 0.8, "zorder": 1}
_STAR = {"color": INK, "marker": "*", "ms": 10, "ls": "none", "markevery": [1]}
_PALE = "#5c5c5c"


@dataclass(frozen=True)
class LegendEntry:
    """One entry's row."""

    look: Style
    rank: str


def height(entries: int) -> float:
    """In inches."""
    return ROW * (HEAD + entries + FOOT)


def draw(axes: Axes, samples: Sequence[LegendEntry], others: int = 0) -> None:
    """Fill the axes; `others` = how many entries are muted."""
    width = _inches(axes)
    _row(axes, 0, "none (no regularizer)", _STAR)
    _row(axes, 1, "control: none, stopped early", EARLY)
    _row(axes, 2, "control: none at a lower rate", {**SLOW, "markevery": [1]})
    _text(axes, 3.4, "regularizer", x=0.5, color=_PALE)
    _text(
        axes,
        3.4,
        "rank" if any(s.rank for s in samples) else "",
        x=width - 0.05,
        color=_PALE,
        ha="right",
    )
    _entries(axes, HEAD - 0.2, samples, width)
    if others:
        _row(axes, HEAD + len(samples) - 0.2, f"the other {others}: by group, below", MUTED)
    _foot(axes, HEAD + len(samples) + bool(others), samples)


def rows(axes: Axes, samples: Sequence[LegendEntry]) -> None:
    """Fill the axes with the entries alone, in smaller letters."""
    _entries(axes, 0, samples, _inches(axes), fontsize=7)


def _inches(axes: Axes) -> float:
    """Make the axes' units inches from their upper left corner; their width."""
    figure_width, figure_height = axes.figure.get_size_inches()
    box = axes.get_position()
    width, tall = box.width * figure_width, box.height * figure_height
    axes.set_axis_off()
    axes.set_xlim(0, width)
    axes.set_ylim(tall, 0)
    return width


def _entries(
    axes: Axes, first: float, samples: Sequence[LegendEntry], width: float, **style: Any
) -> None:
    for nth, sample in enumerate(samples):
        place, look = first + nth, sample.look
        line = {
            "color": look.color,
            "ls": look.dashes,
            "lw": 1.2,
            "marker": look.marker,
            "ms": 5,
            "markevery": [1],
        }
        _row(axes, place, look.label, line, **style)
        _text(axes, place, sample.rank, x=width - 0.05, **{"color": _PALE, "ha": "right", **style})


def _row(axes: Axes, place: float, label: str, line: Mapping[str, Any], **style: Any) -> None:
    y = _y(place)
    axes.add_line(Line2D([0.05, 0.22, 0.4], [y, y, y], **line))
    _text(axes, place, label, x=0.5, **style)


def _foot(axes: Axes, place: float, samples: Sequence[LegendEntry]) -> None:
    """What fill and colour mean; the groups are named in their own colour."""
    _text(
        axes,
        place + 0.3,
        "filled marker: strength chosen by validation",
        x=0.05,
        color=_PALE,
        fontsize=7,
    )
    groups = list(dict.fromkeys((s.look.group, s.look.color) for s in samples))
    _text(axes, place + 1.2, "colour: where it acts", x=0.05, color=_PALE, fontsize=7)
    x, row = 0.05, place + 2.1
    for name, color in groups:
        wide = 0.068 * len(name) + 0.09
        if x + wide > axes.get_xlim()[1]:
            x, row = 0.05, row + 0.9
        _text(axes, row, name, x=x, color=color, fontsize=7, weight="bold")
        x += wide


def _text(axes: Axes, place: float, text: str, x: float, **style: Any) -> None:
    axes.text(x, _y(place), text, va="center", **{"fontsize": 8, **style})


def _y(place: float) -> float:
    return 0.1 + ROW * place

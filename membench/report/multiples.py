"""Learning curves, a small panel an entry: what real data teaches, and how fast the noise is fitted, against `none`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from membench.report.looks import GREY
from membench.report.looks import INK
from membench.report.svg import panel
from membench.scoring import Curve

_WIDTH = 9.35  #: of the figure, inches
_HEIGHT, _STEP = 1.05, 1.42  #: of a panel, and from one row to the next
_LEFT, _TOP, _BOTTOM, _GAP = 0.6, 0.72, 0.5, 0.2
_DASHED = (0, (3.5, 1.5))


@dataclass(frozen=True)
class Small:
    """One panel."""

    title: str
    color: str
    curve: Curve


def size(panels: Sequence[Small]) -> tuple[float, float]:
    """Width and height in inches."""
    rows = -(-len(panels) // _columns(panels))
    return _WIDTH, _TOP + _STEP * rows + _BOTTOM - 0.3


def paint(panels: Sequence[Small], plain: Curve | None, figure: Figure) -> None:
    """Fill the figure: every panel on the same axes, `none` in grey behind."""
    top = size(panels)[1] - _TOP
    columns = _columns(panels)
    wide = (_WIDTH - _LEFT) / columns
    for place, small in enumerate(panels):
        row, column = divmod(place, columns)
        axes = panel(figure, (_LEFT + wide * column, top - _STEP * row - _HEIGHT, wide - _GAP, _HEIGHT))
        if plain:
            _pair(axes, plain, GREY, 1.0)
        _pair(axes, small.curve, small.color, 1.5)
        below = place + columns < len(panels)
        _frame(axes, small, outer=(column == 0, not below))
    _key(figure, size(panels))


def _columns(panels: Sequence[Small]) -> int:
    """Five or four, whichever leaves fewer places empty."""
    return min((5, 4), key=lambda columns: -len(panels) % columns)


def _pair(axes: Axes, curve: Curve, color: str, width: float) -> None:
    axes.plot(curve.epochs, [100 * v for v in curve.real_val], color=color, lw=width)
    axes.plot(curve.epochs, [100 * v for v in curve.rand_train], color=color, lw=width, ls=_DASHED)


def _frame(axes: Axes, small: Small, outer: tuple[bool, bool]) -> None:
    left, bottom = outer
    axes.set_ylim(0, 103)
    axes.set_yticks((0, 50, 100))
    axes.set_xlim(0, None)
    axes.tick_params(labelleft=left, labelbottom=bottom, labelsize=7)
    axes.set_title(small.title, loc="left", fontsize=7.5, pad=3, y=1)  # at a given height nothing is laid out twice
    if left:
        axes.set_ylabel("accuracy (%)", fontsize=7.5)
    if bottom:
        axes.set_xlabel("epoch", fontsize=7.5, labelpad=1)


def _key(figure: Figure, inches: tuple[float, float]) -> None:
    axes = panel(figure, (_LEFT, inches[1] - 0.4, 5.2, 0.3))
    axes.set_axis_off()
    axes.set_xlim(0, 5.2)
    axes.set_ylim(0, 0.3)
    for x, style, color, label in (
        (0.0, "-", INK, "real labels: validation"),
        (1.85, _DASHED, INK, "random labels: training"),
        (3.75, "-", GREY, "the same for none"),
    ):
        axes.add_line(Line2D([x, x + 0.3], [0.15, 0.15], color=color, ls=style, lw=1.5))
        axes.text(x + 0.37, 0.15, label, va="center", fontsize=8)

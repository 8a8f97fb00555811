"""Learning curves, a small panel an entry: what real data teaches, and how fast the noise is fitted, against `none`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from membench.report.styles import GREY
from membench.report.styles import INK
from membench.report.styles import group_order
from membench.report.svg import panel
from membench.scoring import Curve

_WIDTH = 9.35  #: of the figure, inches
_LEFT, _TOP, _BOTTOM, _GAP, _HEAD = 0.6, 0.72, 0.5, 0.2, 0.5
_LETTERS = 24  #: of title and strength together, for which a small panel has room at full size
_DASHED = (0, (3.5, 1.5))


@dataclass(frozen=True)
class Panel:
    """One panel. With a group it stands under the group's name, and its strength at the right of its title."""

    title: str
    strength: str
    group: str
    color: str
    curve: Curve


@dataclass(frozen=True)
class _Grid:
    """How panels are set out; in inches: the height of one, and from one row to the next."""

    columns: int
    height: float = 1.05
    step: float = 1.42

    def rows(self, block: Sequence[Panel]) -> int:
        return -(-len(block) // self.columns)


def figure_size(panels: Sequence[Panel]) -> tuple[float, float]:
    """Width and height in inches."""
    blocks = _blocks(panels)
    tall = sum(_grid(panels).step * _grid(panels).rows(block) for block in blocks.values())
    return _WIDTH, _TOP + tall + _HEAD * sum(map(bool, blocks)) + _BOTTOM - 0.3


def draw(panels: Sequence[Panel], plain: Curve | None, figure: Figure) -> None:
    """Fill the figure: every panel on the same axes, `none` in grey behind."""
    grid, top = _grid(panels), figure_size(panels)[1] - _TOP
    for group, block in _blocks(panels).items():
        if group:
            _heading(figure, group, block[0].color, top)
            top -= _HEAD
        _block(block, plain, figure, top)
        top -= grid.step * grid.rows(block)
    _key(figure, figure_size(panels))


def _blocks(panels: Sequence[Panel]) -> dict[str, list[Panel]]:
    """group -> its panels, in their order."""
    groups = sorted({small.group for small in panels}, key=group_order)
    return {group: [small for small in panels if small.group == group] for group in groups}


def _grid(panels: Sequence[Panel]) -> _Grid:
    """Groups: smaller panels in six columns; else five or four, whichever leaves fewer places empty."""
    if panels[0].group:
        return _Grid(6, height=0.82, step=1.12)
    return _Grid(min((5, 4), key=lambda columns: -len(panels) % columns))


def _block(panels: Sequence[Panel], plain: Curve | None, figure: Figure, top: float) -> None:
    grid = _grid(panels)
    wide = (_WIDTH - _LEFT) / grid.columns
    for place, small in enumerate(panels):
        row, column = divmod(place, grid.columns)
        axes = panel(
            figure,
            (_LEFT + wide * column, top - grid.step * row - grid.height, wide - _GAP, grid.height),
        )
        if plain:
            _pair(axes, plain, GREY, 1.0)
        _pair(axes, small.curve, small.color, 1.5)
        below = place + grid.columns < len(panels)
        _frame(axes, small, outer=(column == 0, not below))


def _heading(figure: Figure, group: str, color: str, top: float) -> None:
    axes = panel(
        figure, (_LEFT, top - 0.3, 3.0, 0.2)
    )  # nearer to its own panels than to the axis above
    axes.set_axis_off()
    axes.text(0, 0.5, group, color=color, va="center", fontsize=9, weight="bold")


def _pair(axes: Axes, curve: Curve, color: str, width: float) -> None:
    axes.plot(curve.epochs, [100 * v for v in curve.real_val], color=color, lw=width)
    axes.plot(curve.epochs, [100 * v for v in curve.rand_train], color=color, lw=width, ls=_DASHED)


def _frame(axes: Axes, small: Panel, outer: tuple[bool, bool]) -> None:
    left, bottom = outer
    axes.set_ylim(0, 103)
    axes.set_yticks((0, 50, 100))
    axes.set_xlim(0, None)
    axes.tick_params(labelleft=left, labelbottom=bottom, labelsize=7)
    shrunk = min(1.0, _LETTERS / len(small.title + small.strength))
    letters = 6.8 * shrunk if small.group else 7.5
    axes.set_title(
        small.title, loc="left", fontsize=letters, pad=3, y=1
    )  # at a given height nothing is laid out twice
    if small.strength:
        style = {"ha": "right", "fontsize": 6.2 * shrunk, "color": "#5c5c5c"}
        axes.text(1.05, 1.045, small.strength, transform=axes.transAxes, **style)
    if left:
        axes.set_ylabel("accuracy (%)", fontsize=7.5)
    if bottom:
        axes.set_xlabel(
            "epoch", fontsize=7 if small.group else 7.5, labelpad=0 if small.group else 1
        )


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

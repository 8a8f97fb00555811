"""The forest plot of a board: a line a row, with H on the left and dA on the right.

Rows that hold the claim are in colour. The first control is a band through all rows of H, the
second a line. What lies beyond an axis is drawn at its end, as a triangle.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.transforms import Affine2D

from membench.report import effect_scales
from membench.report import legend
from membench.report.contents import Effect
from membench.report.contents import Effects
from membench.report.effect_scales import Scale
from membench.report.legend import Key
from membench.report.letters import text_width
from membench.report.styles import GREY
from membench.report.styles import INK
from membench.report.svg import DOTS_PER_INCH
from membench.report.svg import Box
from membench.report.svg import panel
from membench.report.text import signed
from membench.scoring.types import Interval

#: Inches: the figure's width, the panels', between them, and what stands beside and around them.
_WIDTH = 9.35
_MARGIN = 0.1
_NAMES_MIN, _NAMES_MAX = 1.25, 2.7
_GAP = 0.3
_TAGS = 0.5
_LEFT_SHARE = 0.56  #: of both panels' width, that of H
_TITLES, _UPPER_TICKS = 0.34, 0.2  #: above the panels
_BOTTOM = 0.5
_FONT_SIZE = 8.5  #: of names, points
_NAME_MARGIN = 0.2  #: beside names, inches
_MANY_ROWS = 16  #: from here on rows are lower, and the axes have ticks above as well
_TRIANGLE: dict[str, Any] = {"ms": 5.5, "mew": 0.8, "ls": "none", "clip_on": False}
_EDGE_GAP = 6.0  #: from an interval to the triangle that says that H may be larger, points
_UNDER_NAMES = 0.7  #: rows between the controls and the entries


@dataclass(frozen=True)
class _Line:
    """One row, and where it stands."""

    effect: Effect
    y: float  #: rows from above
    is_control: bool = False


def figure_size(effects: Effects) -> tuple[float, float]:
    """Return width and height in inches."""
    above = _keys_height(effects) + _TITLES + (_UPPER_TICKS if _has_many(effects) else 0)
    return _WIDTH, above + _panels_height(effects) + _BOTTOM


def draw(effects: Effects, figure: Figure) -> None:
    """Draw the keys, the names, and both panels."""
    _, height = figure_size(effects)
    keys_height = _keys_height(effects)
    keys_box = (_MARGIN, height - keys_height, _WIDTH - 2 * _MARGIN, keys_height - 0.1)
    legend.draw_keys(figure, keys_box, _keys(effects))

    names = _names_width(effects)
    width = _WIDTH - names - _GAP - _TAGS - _MARGIN
    left_width = width * _LEFT_SHARE
    panels_height = _panels_height(effects)
    left: Box = (names, _BOTTOM, left_width, panels_height)
    right: Box = (names + left_width + _GAP, _BOTTOM, width - left_width, panels_height)

    lines = _lines(effects)
    held_back = _Panel(panel(figure, left), effect_scales.held_back_scale(effects))
    real = _Panel(panel(figure, right), effect_scales.real_scale(effects))
    for one in (held_back, real):
        _set_rows(one.axes, lines, one.scale)
    _draw_controls(held_back.axes, effects, held_back.scale)
    for value in (0.0, effect_scales.CLAIM_HELD_BACK):
        _draw_threshold(held_back.axes, value)
    for value in (0.0, effect_scales.CLAIM_REAL):
        _draw_threshold(real.axes, value)
    for line in lines:
        _draw_name(held_back.axes, line, names)
        held_back.draw(line, effect_scales.held_back, edge=line.effect.edge)
        real.draw(line, effect_scales.real)
        if line.effect.on_front:
            _draw_tag(real.axes, line)
    many = _has_many(effects)
    unit = "% of the wrong labels that are no longer memorized"
    _label(held_back.axes, "Noise held back, H", unit, many)
    unit = "points of test accuracy, against none"
    _label(real.axes, "Real accuracy, \N{GREEK CAPITAL LETTER DELTA}A", unit, many)


@dataclass(frozen=True)
class _Panel:
    """The axes of one reading."""

    axes: Axes
    scale: Scale

    def draw(self, line: _Line, read: Callable[[Effect], Interval], *, edge: bool = False) -> None:
        """Draw the mean and the interval of a row.

        Args:
            line: the row.
            read: what the panel shows of it.
            edge: the mean is a lower bound.
        """
        value = read(line.effect)
        color = _color(line)
        end = value.mean
        if value.low is not None and value.high is not None:
            ends = [self.scale.clip(value.low), self.scale.clip(value.high)]
            self.axes.plot(ends, [line.y, line.y], color=color, lw=1.5, solid_capstyle="butt")
            end = value.high
            if value.low < self.scale.low <= value.high:
                self._triangle(self.scale.low, line.y, "<", color)
            if value.low <= self.scale.high < value.high:
                self._triangle(self.scale.high, line.y, ">", color)
        if self.scale.shows(value.mean):
            style: dict[str, Any] = {"color": color, "marker": line.effect.style.marker}
            if line.is_control:
                style |= legend.HOLLOW
            self.axes.plot([value.mean], [line.y], ms=5, **style)
        else:
            self._draw_beyond(value, line.y, color)
        if edge:
            behind = self.axes.transData + Affine2D().translate(_EDGE_GAP, 0)
            arrow = {"mfc": "white", "transform": behind}
            self._triangle(self.scale.clip(end), line.y, ">", color, **arrow)

    def _triangle(self, x: float, y: float, marker: str, color: str, **style: Any) -> None:
        self.axes.plot([x], [y], color=color, marker=marker, **_TRIANGLE, **style)

    def _draw_beyond(self, value: Interval, y: float, color: str) -> None:
        """Draw a triangle at the end of the axis that the mean lies beyond, and write the mean."""
        is_low = value.mean < self.scale.low
        self._triangle(self.scale.clip(value.mean), y, "<" if is_low else ">", color)
        self.axes.annotate(
            signed(value.mean, 1),
            (self.scale.clip(value.mean), y),
            xytext=(7 if is_low else -7, 0),
            textcoords="offset points",
            ha="left" if is_low else "right",
            va="center",
            fontsize=7,
            color=INK,
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.8},
        )


def _lines(effects: Effects) -> list[_Line]:
    """Put the controls above the entries."""
    lines = []
    for place, one in enumerate(effects.controls):
        lines.append(_Line(one, place + 0.5, is_control=True))
    top = len(effects.controls) + (_UNDER_NAMES if effects.controls else 0)
    for place, one in enumerate(effects.entries):
        lines.append(_Line(one, top + place + 0.5))
    return lines


def _row_height(effects: Effects) -> float:
    """Return the height of a row in inches."""
    return 0.2 if _has_many(effects) else 0.26


def _has_many(effects: Effects) -> bool:
    return len(effects.entries) >= _MANY_ROWS


def _panels_height(effects: Effects) -> float:
    return _row_height(effects) * (_lines(effects)[-1].y + 0.5)


def _names_width(effects: Effects) -> float:
    longest = 0.0
    for line in _lines(effects):
        longest = max(longest, text_width(line.effect.style.label, _FONT_SIZE))
    return min(max(longest / DOTS_PER_INCH + _NAME_MARGIN, _NAMES_MIN), _NAMES_MAX)


def _color(line: _Line) -> str:
    return legend.NO_CLAIM if line.effect.muted else line.effect.style.color


def _set_rows(axes: Axes, lines: list[_Line], scale: Scale) -> None:
    """Set the scales, and a pale line for each row to follow it by."""
    axes.set_ylim(lines[-1].y + 0.5, lines[0].y - 0.5)
    axes.set_xlim(scale.low, scale.high)
    axes.set_yticks([line.y for line in lines], labels=[""] * len(lines))
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.grid(axis="y", color="#efefef", lw=0.7)


def _draw_controls(axes: Axes, effects: Effects, scale: Scale) -> None:
    if effects.training_less:
        value = effect_scales.held_back(effects.training_less)
        if value.low is not None and value.high is not None:
            ends = scale.clip(value.low), scale.clip(value.high)
            axes.axvspan(*ends, color=legend.BAND, lw=0, zorder=0.4)
        axes.axvline(scale.clip(value.mean), zorder=0.6, **legend.LESS)
    if effects.early_stopping:
        value = effect_scales.held_back(effects.early_stopping)
        axes.axvline(scale.clip(value.mean), zorder=0.6, **legend.STOPPING)


def _draw_threshold(axes: Axes, value: float) -> None:
    style = legend.BOUNDS if value else {"color": INK, "lw": 0.8}
    axes.axvline(value, zorder=0.7, **style)


def _draw_name(axes: Axes, line: _Line, width: float) -> None:
    name = line.effect.style.label
    room = (width - _NAME_MARGIN) * DOTS_PER_INCH
    axes.annotate(
        name,
        (0, line.y),
        xycoords=("axes fraction", "data"),
        xytext=(-7, 0),
        textcoords="offset points",
        ha="right",
        va="center_baseline",
        fontsize=_FONT_SIZE * min(1.0, room / text_width(name, _FONT_SIZE)),
        color=legend.PALE_INK if line.effect.muted else INK,
        style="italic" if line.is_control else "normal",
    )


def _draw_tag(axes: Axes, line: _Line) -> None:
    axes.annotate(
        "front",
        (1, line.y),
        xycoords=("axes fraction", "data"),
        xytext=(10, 0),
        textcoords="offset points",
        va="center_baseline",
        fontsize=8,
        weight="bold",
        color=_color(line),
    )


def _label(axes: Axes, title: str, unit: str, upper_ticks: bool) -> None:
    """Write title and unit, and the ticks.

    Args:
        axes: one panel.
        title: what it shows.
        unit: in what it shows it.
        upper_ticks: there are ticks above, too.
    """
    axes.tick_params(top=upper_ticks, labeltop=upper_ticks, labelsize=8)
    axes.spines["top"].set_visible(upper_ticks)
    pad = 20 if upper_ticks else 6
    axes.set_title(title, loc="left", fontsize=9.5, weight="bold", pad=pad, y=1)
    axes.set_xlabel(unit, fontsize=8.5, labelpad=3)


def _keys_height(effects: Effects) -> float:
    return legend.keys_height(_keys(effects), _WIDTH - 2 * _MARGIN) + 0.15


def _keys(effects: Effects) -> list[Key]:
    """Explain the marks that the figure has."""
    dot: dict[str, Any] = {"marker": "o", "ms": 5, "lw": 1.5}
    keys = []
    if effects.claims:
        keys.append(Key(label="holds the claim (coloured)", line={"color": INK, **dot}))
        keys.append(Key(label="does not", line={"color": legend.NO_CLAIM, **dot}))
    if effects.training_less:
        band = {"color": legend.BAND, "lw": 9, "solid_capstyle": "butt"}
        keys.append(Key(label="control: training less, 95% interval", line=band))
    if effects.early_stopping:
        keys.append(Key(label="early stopping", line=legend.STOPPING))
    keys.append(Key(label="bounds of the claim", line=legend.BOUNDS))
    triangle = {"color": GREY, **_TRIANGLE, "marker": ">"}
    if any(one.edge for one in (*effects.controls, *effects.entries)):
        keys.append(Key(label=legend.EDGE, line={**triangle, "mfc": "white"}))
    if not effect_scales.show_everything(effects):
        keys.append(Key(label=legend.BEYOND, line=triangle))
    coloured = [one.style for one in effects.entries if not one.muted]
    return keys + legend.group_keys(coloured)

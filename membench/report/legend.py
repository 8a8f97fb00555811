"""Legends: the ranking with every entry's line beside a scatter figure, and keys in rows."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from membench.report.letters import text_width
from membench.report.styles import GREY
from membench.report.styles import INK
from membench.report.styles import Style
from membench.report.styles import group_order
from membench.report.svg import DOTS_PER_INCH
from membench.report.svg import Box
from membench.report.svg import inch_panel

EARLY: Mapping[str, Any] = {"color": GREY, "lw": 3.5, "alpha": 0.55, "solid_capstyle": "round"}
SLOW: Mapping[str, Any] = {"color": GREY, "lw": 1, "ls": ":", "marker": "x", "ms": 5, "mew": 1.4}
MUTED: Mapping[str, Any] = {"color": "#cfcfcf", "lw": 0.8, "zorder": 1}
PALE_INK = "#5c5c5c"
_STAR: Mapping[str, Any] = {"color": INK, "marker": "*", "ms": 10, "ls": "none", "markevery": [1]}
_ROW_HEIGHT = 0.185  #: inches
_ROWS_ABOVE = 4.6  #: rows of `none`, of the control and of the titles
_ROWS_BELOW = 4.3  #: rows of what fill, ring and colour mean
_TEXT_LEFT = 0.5  #: inches, behind the sample of the line


#: How the two controls of the board are drawn: a band with a line in it, and a line.
BAND = "#e2e2e2"
LESS: Mapping[str, Any] = {"color": "#4d4d4d", "lw": 1.2, "ls": "-"}
STOPPING: Mapping[str, Any] = {"color": GREY, "lw": 1.2, "ls": (0, (1.2, 1.2))}
BOUNDS: Mapping[str, Any] = {"color": INK, "lw": 0.8, "ls": (0, (4, 2))}  #: of the claim
HOLLOW: Mapping[str, Any] = {"mfc": "white", "mew": 1.4}  #: the markers of the controls
NO_CLAIM = "#a3a3a3"  #: the colour of entries that do not hold the claim
#: Labels of keys of the board.
EDGE = "\N{GREATER-THAN OR EQUAL TO}: at an edge of the grid"
BEYOND = "goes on beyond the axis"
_FONT_SIZE = 8.0
_KEY_SAMPLE = 0.42  #: inches that the sample of a key takes
_KEY_GAP = 0.2  #: inches between two keys


@dataclass(frozen=True, kw_only=True)
class Key:
    """What one kind of mark means."""

    label: str
    line: Mapping[str, Any] | None = None  #: the sample; None: the label's colour is one, if any
    color: str = INK  #: of the label
    weight: str = "normal"
    starts_row: bool = False


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
    _sample(axes, 1, "control: none at earlier epochs", EARLY)
    _sample(axes, 2, "control: none at lower rates", {**SLOW, "markevery": [1]})
    _text(axes, 3.4, "regularizer", x=_TEXT_LEFT, color=PALE_INK)
    rank_title = "rank by H" if any(entry.rank for entry in entries) else ""
    _text(axes, 3.4, rank_title, x=right, color=PALE_INK, ha="right")
    row = _ROWS_ABOVE - 0.2
    _entries(axes, row, entries, right)
    if muted:
        label = f"the other {muted}: by group, below"
        _sample(axes, row + len(entries), label, MUTED)
    _explanation(axes, _ROWS_ABOVE + len(entries) + bool(muted), entries, box[2])


def keys_height(keys: Sequence[Key], width: float) -> float:
    """Return the height in inches of keys in rows of this width."""
    return _ROW_HEIGHT * (1 + max((row for row, _, _ in _laid_out(keys, width)), default=0))


def draw_keys(figure: Figure, box: Box, keys: Sequence[Key]) -> None:
    """Draw keys in rows.

    Args:
        figure: what they belong to.
        box: their place, inches; as high as `keys_height` says.
        keys: from left to right.
    """
    axes = inch_panel(figure, box)
    for row, x, key in _laid_out(keys, box[2]):
        text_left = x
        if key.line is not None:
            y = _row_y(row)
            axes.add_line(Line2D([x, x + 0.16, x + 0.32], [y, y, y], markevery=[1], **key.line))
            text_left += _KEY_SAMPLE
        _text(axes, row, key.label, x=text_left, color=key.color, weight=key.weight)


def group_keys(members: Sequence[Style]) -> list[Key]:
    """Make the keys that tell what the colours mean, in a row of their own."""
    if not members:
        return []
    keys = [Key(label="colour, where it acts:", starts_row=True)]
    for group in sorted({style.group for style in members}, key=group_order):
        color = next(style.color for style in members if style.group == group)
        keys.append(Key(label=group, color=color, weight="bold"))
    return keys


def _laid_out(keys: Sequence[Key], width: float) -> list[tuple[int, float, Key]]:
    """Give each key its row and its left edge, inches."""
    placed = []
    row, x = 0, 0.0
    for key in keys:
        label_width = text_width(key.label, _FONT_SIZE, bold=key.weight == "bold")
        key_width = label_width / DOTS_PER_INCH + (_KEY_SAMPLE if key.line is not None else 0)
        if x and (key.starts_row or x + key_width > width):
            row, x = row + 1, 0.0
        placed.append((row, x, key))
        x += key_width + _KEY_GAP
    return placed


def draw_names(figure: Figure, box: Box, entries: Sequence[LegendEntry]) -> None:
    """Draw the entries' rows alone, in smaller letters.

    Args:
        figure: what they belong to.
        box: their place, inches.
        entries: one a row.
    """
    room = (box[3] / _ROW_HEIGHT - 0.6) / max(len(entries), 1)
    axes, right = inch_panel(figure, box), box[2] - 0.05
    _entries(axes, 0, entries, right, fontsize=7 * min(1.0, room / 0.75), step=min(1.0, room))


def _entries(
    axes: Axes,
    first_row: float,
    entries: Sequence[LegendEntry],
    right: float,
    fontsize: float = _FONT_SIZE,
    step: float = 1.0,
) -> None:
    """Draw the entries' rows; a name that is too long for its row is drawn in smaller letters.

    Args:
        axes: of `inch_panel`.
        first_row: the row of the first entry.
        entries: best first.
        right: the right end of the rows, inches.
        fontsize: of names and ranks, points.
        step: from one entry to the next, rows.
    """
    for place, entry in enumerate(entries):
        row = first_row + place * step
        line = {
            "color": entry.style.color,
            "ls": entry.style.dashes,
            "lw": 1.2,
            "marker": entry.style.marker,
            "ms": 5,
            "markevery": [1],
        }
        rank_width = text_width(f" {entry.rank}", fontsize)
        room = (right - _TEXT_LEFT) * DOTS_PER_INCH - rank_width
        shrink = min(1.0, room / text_width(entry.style.label, fontsize))
        _sample(axes, row, entry.style.label, line, fontsize=fontsize * shrink)
        _text(axes, row, entry.rank, x=right, color=PALE_INK, ha="right", fontsize=fontsize)


def _explanation(axes: Axes, row: float, entries: Sequence[LegendEntry], width: float) -> None:
    """Say what fill and colour mean; the groups are named in their own colour."""
    lines = (
        "filled: strength chosen by noise held back",
        "ring: strength chosen by recovery",
        "colour: where it acts",
    )
    for text in lines:
        _text(axes, row + 0.3, text, x=0.05, color=PALE_INK, fontsize=7)
        row += 0.9
    groups = dict.fromkeys((entry.style.group, entry.style.color) for entry in entries)
    x = 0.05
    row += 0.3
    for name, color in groups:
        name_width = 0.068 * len(name) + 0.09
        if x + name_width > width:
            x = 0.05
            row += 0.9
        _text(axes, row, name, x=x, color=color, fontsize=7, weight="bold")
        x += name_width


def _sample(
    axes: Axes, row: float, label: str, line: Mapping[str, Any], fontsize: float = _FONT_SIZE
) -> None:
    """Draw a piece of the line with its marker, and the label behind it."""
    y = _row_y(row)
    axes.add_line(Line2D([0.05, 0.22, 0.4], [y, y, y], **line))
    _text(axes, row, label, x=_TEXT_LEFT, fontsize=fontsize)


def _text(
    axes: Axes, row: float, text: str, *, x: float, fontsize: float = _FONT_SIZE, **style: Any
) -> None:
    axes.text(x, _row_y(row), text, va="center", fontsize=fontsize, **style)


def _row_y(row: float) -> float:
    """Return the middle of the row, inches from the upper edge."""
    return 0.1 + _ROW_HEIGHT * row

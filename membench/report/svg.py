"""Matplotlib figures as SVG files whose bytes follow from what is drawn.

No date, no version, no setting of the user and no random identifier reaches a file.
"""

from __future__ import annotations

import gc
import io
import re
from collections.abc import Callable
from collections.abc import Iterator
from contextlib import contextmanager
from html import escape
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from membench.report.files import PAGE_MARK
from membench.report.styles import INK
from membench.report.text import LONG
from membench.report.text import plain

DOTS_PER_INCH = 72  #: one dot is one point, as in SVG
Box = tuple[float, float, float, float]  #: left, bottom, width and height, inches
_SETTINGS: dict[Any, Any] = {
    "svg.hashsalt": "membench",
    "svg.fonttype": "none",  # text stays text: to be searched, selected and read by `git diff`
    "text.parse_math": False,  # a "$" in a name is a "$"
    "font.family": "sans-serif",
    # Verdana has the same widths, where DejaVu is missing.
    "font.sans-serif": ["DejaVu Sans", "Verdana", "Arial"],
    "font.size": 8.5,
    "text.color": INK,
    "axes.edgecolor": "#666666",
    "axes.labelcolor": INK,
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 8.5,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": "#ececec",
    "grid.linewidth": 0.7,
    "xtick.color": "#444444",
    "ytick.color": "#444444",
    "xtick.major.width": 0.7,
    "ytick.major.width": 0.7,
    "xtick.major.size": 3,
    "ytick.major.size": 3,
    "axes.unicode_minus": True,
}
_NO_METADATA = {"Date": None, "Creator": None, "Format": None, "Type": None}
#: Attributes that hold coordinates, in points. Two decimals are finer than any screen, and hide a
#: difference in the last bit.
_COORDINATES = re.compile(r' (?:d|x|y|points|transform)="[^"]*"')


def render_svg(
    size: tuple[float, float], title: str, description: str, draw: Callable[[Figure], None]
) -> bytes:
    """Render an SVG.

    Args:
        size: width and height, inches.
        title: what a screen reader says first.
        description: what a screen reader says of the content.
        draw: fills the figure.
    """
    with own_settings(), _paused_collector():
        buffer = io.StringIO()
        make_figure(size, draw).savefig(buffer, format="svg", metadata=_NO_METADATA)
    return _describe(buffer.getvalue(), title, description).encode()


def make_figure(size: tuple[float, float], draw: Callable[[Figure], None]) -> Figure:
    """Draw a figure that is not saved yet, under `own_settings`.

    Args:
        size: width and height, inches.
        draw: fills the figure.
    """
    figure = Figure(figsize=size, dpi=DOTS_PER_INCH, facecolor="white")
    FigureCanvasSVG(figure)
    draw(figure)
    return figure


def panel(figure: Figure, box: Box) -> Axes:
    """Add axes at a place in inches, so that nothing depends on how wide this machine's font is."""
    figure_width, figure_height = figure.get_size_inches()
    left, bottom, width, height = box
    return figure.add_axes(
        (
            left / figure_width,
            bottom / figure_height,
            width / figure_width,
            height / figure_height,
        )
    )


def inch_panel(figure: Figure, box: Box) -> Axes:
    """Add invisible axes whose units are inches from their upper left corner."""
    axes = panel(figure, box)
    axes.set_axis_off()
    axes.set_xlim(0, box[2])
    axes.set_ylim(box[3], 0)
    return axes


@contextmanager
def own_settings() -> Iterator[None]:
    """Use matplotlib's defaults and ours, whatever the user's are; those are back afterwards."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_SETTINGS)
        yield


@contextmanager
def _paused_collector() -> Iterator[None]:
    """Keep Python from looking for unused objects while a figure is drawn.

    A figure is tens of thousands of objects that all live until it is saved. Their number alone
    makes Python search the whole process again and again: a quarter of the time that the figures
    of a large board take. Half of that is saved; the other half frees a figure that was saved.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _describe(svg: str, title: str, description: str) -> str:
    """Add title and description, and write the rest of the file in its shortest form."""
    start = svg.index("<svg ")
    end = svg.index(">", start)
    head = re.sub(r"\s+", " ", svg[start:end])
    words = (
        f' role="img" aria-labelledby="title desc">\n <!-- {PAGE_MARK} -->'
        f'\n <title id="title">{escape(plain(title))}</title>'
        f'\n <desc id="desc">{escape(plain(description, LONG))}</desc>'
    )
    body = re.sub(r"[ \t]+$", "", svg[end + 1 :], flags=re.MULTILINE)
    body = _COORDINATES.sub(_round_coordinates, body)
    return f'<?xml version="1.0" encoding="utf-8" standalone="no"?>\n{head}{words}{body}'


def _round_coordinates(attribute: re.Match[str]) -> str:
    return re.sub(r"-?\d+\.\d+", _round_coordinate, attribute[0])


def _round_coordinate(number: re.Match[str]) -> str:
    return f"{round(float(number[0]), 2) + 0.0:g}"

"""Matplotlib figures as SVG files whose bytes follow from what is drawn: no date, version, user setting, random id."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from collections.abc import Iterator
from contextlib import contextmanager
from html import escape

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from membench.report.files import MARK
from membench.report.styles import INK
from membench.report.text import LONG
from membench.report.text import plain

_SETTINGS = {
    "svg.hashsalt": "membench",
    "svg.fonttype": "none",  # text stays text: to be searched, selected and read by `git diff`
    "text.parse_math": False,  # a "$" in a name is a "$"
    "font.family": "sans-serif",
    "font.sans-serif": [
        "DejaVu Sans",
        "Verdana",
        "Arial",
    ],  # Verdana has the same widths, where DejaVu is missing
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
#: Attributes that hold coordinates, in points: two decimals are finer than any screen, and do not show a last bit.
_NUMBERS = re.compile(r' (?:d|x|y|points|transform)="[^"]*"')
_NO_METADATA = {"Date": None, "Creator": None, "Format": None, "Type": None}


def render_svg(
    size: tuple[float, float], title: str, description: str, paint: Callable[[Figure], None]
) -> bytes:
    """An SVG of `size` inches that `paint` fills; title and description are what a screen reader says."""
    with _own_settings():
        figure = Figure(figsize=size, dpi=72, facecolor="white")
        FigureCanvasSVG(figure)
        paint(figure)
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", metadata=_NO_METADATA)
    return _described(buffer.getvalue(), title, description).encode()


def panel(figure: Figure, box: tuple[float, float, float, float]) -> Axes:
    """Axes at (left, bottom, width, height) in inches: nothing depends on how wide this machine's font is."""
    width, height = figure.get_size_inches()
    left, bottom, w, h = box
    return figure.add_axes((left / width, bottom / height, w / width, h / height))


@contextmanager
def _own_settings() -> Iterator[None]:
    """Matplotlib's defaults and ours, whatever the user's matplotlibrc says; the user's are back afterwards."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_SETTINGS)
        yield


def _described(svg: str, title: str, description: str) -> str:
    start = svg.index("<svg ")
    end = svg.index(">", start)
    head = re.sub(r"\s+", " ", svg[start:end])
    words = (
        f' role="img" aria-labelledby="title desc">\n <!-- {MARK} -->'
        f'\n <title id="title">{escape(plain(title))}</title>'
        f'\n <desc id="desc">{escape(plain(description, LONG))}</desc>'
    )
    body = _NUMBERS.sub(_rounded, re.sub(r"[ \t]+$", "", svg[end + 1 :], flags=re.MULTILINE))
    return f'<?xml version="1.0" encoding="utf-8" standalone="no"?>\n{head}{words}{body}'


def _rounded(attribute: re.Match[str]) -> str:
    return re.sub(
        r"-?\d+\.\d+", lambda number: f"{round(float(number[0]), 2) + 0.0:g}", attribute[0]
    )

"""Draw the data of figures as SVG: the function and size for each kind of content.

`python -m membench.report.drawing` draws the pickled figures of its standard input: several
processes draw the figures of a board.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from collections.abc import Sequence
from contextlib import suppress
from functools import partial

from matplotlib.figure import Figure

from membench.report import forest
from membench.report import front
from membench.report import learning_curves
from membench.report import scatter
from membench.report.contents import Content
from membench.report.contents import FigureData
from membench.report.contents import ForestPlot
from membench.report.contents import FrontPlot
from membench.report.contents import GroupedScatterFigure
from membench.report.contents import ScatterFigure
from membench.report.svg import render_svg

FIGURES_A_PROCESS = 3  #: at least: a process takes as long to start as one or two to be drawn


def draw(data: FigureData) -> bytes:
    """Draw the figure: the same bytes for the same data."""
    size, fill = layout(data.content)
    return render_svg(size, data.title, data.finding, fill)


def layout(content: Content) -> tuple[tuple[float, float], Callable[[Figure], None]]:
    """Return width and height in inches, and what fills a figure of this size."""
    if isinstance(content, ForestPlot):
        return forest.figure_size(content.effects), partial(forest.draw, content.effects)
    if isinstance(content, FrontPlot):
        return front.figure_size(content.effects), partial(front.draw, content.effects)
    if isinstance(content, ScatterFigure):
        return scatter.figure_size(content), partial(scatter.draw, content)
    if isinstance(content, GroupedScatterFigure):
        groups = scatter.by_group(content.whole)
        return scatter.grouped_size(groups), partial(scatter.draw_grouped, groups)
    fill = partial(learning_curves.draw, content.panels, content.plain)
    return learning_curves.figure_size(content.panels), fill


def draw_all(figures: Sequence[FigureData]) -> list[bytes]:
    """Draw figures, in as many processes as there are cores if they are worth it.

    Args:
        figures: what to draw.

    Returns:
        The figures' SVGs: the same bytes as `draw` returns.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
    shares = max(1, min(cores, len(figures) // FIGURES_A_PROCESS))
    helpers = [_start_helper(figures[first::shares]) for first in range(1, shares)]
    svgs: list[bytes] = [b""] * len(figures)
    svgs[::shares] = [draw(figure) for figure in figures[::shares]]
    for first, helper in enumerate(helpers, start=1):
        output, _ = helper.communicate()
        if helper.returncode == 0:
            svgs[first::shares] = pickle.loads(output)
        else:
            svgs[first::shares] = [draw(figure) for figure in figures[first::shares]]
    return svgs


def _start_helper(figures: Sequence[FigureData]) -> subprocess.Popen[bytes]:
    """Start a process that draws some figures and prints the pickled list of their SVGs."""
    helper = subprocess.Popen(
        [sys.executable, "-m", "membench.report.drawing"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    if helper.stdin is not None:
        with suppress(BrokenPipeError):  # it has ended, and its exit status will say so
            helper.stdin.write(pickle.dumps(list(figures)))
            helper.stdin.flush()
    return helper


if __name__ == "__main__":
    drawn = [draw(figure) for figure in pickle.load(sys.stdin.buffer)]
    sys.stdout.buffer.write(pickle.dumps(drawn))

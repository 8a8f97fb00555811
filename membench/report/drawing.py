"""Draw the data of a figure as SVG: the function and size for each kind of content."""

from __future__ import annotations

from functools import partial

from membench.report import learning_curves
from membench.report import scatter
from membench.report.contents import FigureData
from membench.report.contents import GroupedScatterFigure
from membench.report.contents import ScatterFigure
from membench.report.svg import render_svg


def draw(data: FigureData) -> bytes:
    """Draw the figure: the same bytes for the same data."""
    content = data.content
    if isinstance(content, ScatterFigure):
        size = scatter.figure_size(content)
        fill = partial(scatter.draw, content)
    elif isinstance(content, GroupedScatterFigure):
        groups = scatter.by_group(content.whole)
        size = scatter.grouped_size(groups)
        fill = partial(scatter.draw_grouped, groups)
    else:
        size = learning_curves.figure_size(content.panels)
        fill = partial(learning_curves.draw, content.panels, content.plain)
    return render_svg(size, data.title, data.finding, fill)

"""The contents of figures, as frozen plain data.

`figures` fills these records from a board, and `drawing` makes an SVG of each. Nothing else decides
what is drawn, so that their spelling tells two figures apart (`figure_cache`). Needs no matplotlib.
"""

from __future__ import annotations

from dataclasses import dataclass

from membench.report.styles import Style
from membench.report.styles import group_order
from membench.scoring import Curve

Dot = tuple[float, float]  #: (noise fit, accuracy), shares


@dataclass(frozen=True, kw_only=True)
class Series:
    """One entry's dots, off first, then from weak to strong."""

    style: Style
    dots: tuple[Dot, ...]
    chosen: int | None  #: the dot of the strength that most folds chose
    rank: str  #: "" where no ranks are given
    muted: bool = False  #: a thin grey line behind the others, without marker, name and legend


@dataclass(frozen=True, kw_only=True)
class ScatterFigure:
    """All that one scatter figure shows."""

    series: tuple[Series, ...]
    early: tuple[Dot, ...]  #: the control, from the last epoch to the first
    epochs: tuple[int, ...]  #: of `early`
    low_rate: tuple[Dot, ...]  #: the control at lower rates
    x_label: str
    y_label: str

    @property
    def highlighted(self) -> tuple[Series, ...]:
        """The series that are not muted."""
        return tuple(series for series in self.series if not series.muted)

    @property
    def muted(self) -> int:
        """The number of muted series."""
        return len(self.series) - len(self.highlighted)

    @property
    def groups(self) -> tuple[str, ...]:
        """The groups of the entries, as the contract orders them."""
        return tuple(sorted({series.style.group for series in self.series}, key=group_order))


@dataclass(frozen=True, kw_only=True)
class GroupedScatterFigure:
    """A scatter figure once more, with a panel for each group."""

    whole: ScatterFigure


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One entry's panel."""

    title: str
    strength: str = ""  #: at the right of the title; "" if the title holds it
    group: str = ""  #: the heading that the panel stands under; "" if there are none
    color: str
    curve: Curve


@dataclass(frozen=True, kw_only=True)
class LearningCurves:
    """All that the figure of learning curves shows."""

    panels: tuple[Panel, ...]  #: best first
    plain: Curve | None  #: of `none`, if it is stored


Content = ScatterFigure | GroupedScatterFigure | LearningCurves


@dataclass(frozen=True, kw_only=True)
class FigureData:
    """A figure before it is drawn."""

    title: str  #: what a screen reader says first
    finding: str  #: what it says of the content
    content: Content

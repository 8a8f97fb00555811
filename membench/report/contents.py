"""The contents of figures, as frozen plain data.

`figures` fills these records from a board, and `drawing` makes an SVG of each. Nothing else decides
what is drawn, so that their spelling tells two figures apart (`figure_cache`). Needs no matplotlib.
"""

from __future__ import annotations

from dataclasses import dataclass

from membench.report.styles import Style
from membench.report.styles import group_order
from membench.scoring.types import Curve
from membench.scoring.types import Interval

Dot = tuple[float, float]  #: (noise fit, accuracy), shares


@dataclass(frozen=True, kw_only=True)
class Effect:
    """What a row of the board does at the strengths chosen by noise held back."""

    style: Style
    held_back: Interval  #: H, a share
    real: Interval  #: dA, points
    edge: bool = False  #: H is a lower bound
    muted: bool = False  #: in grey: it does not hold the claim
    on_front: bool = False


@dataclass(frozen=True, kw_only=True)
class Effects:
    """The rows of a board, and the two controls."""

    entries: tuple[Effect, ...]  #: by H from the largest
    training_less: Effect | None
    early_stopping: Effect | None
    claims: bool  #: the claim is tested; if not, no entry is muted or on the front

    @property
    def controls(self) -> tuple[Effect, ...]:
        """The controls that have been run."""
        return tuple(one for one in (self.training_less, self.early_stopping) if one)


@dataclass(frozen=True, kw_only=True)
class ForestPlot:
    """H and dA of every row with their intervals, a line a row."""

    effects: Effects


@dataclass(frozen=True, kw_only=True)
class FrontPlot:
    """H against dA, a dot a row."""

    effects: Effects


@dataclass(frozen=True, kw_only=True)
class Series:
    """One entry's dots, off first, then from weak to strong."""

    style: Style
    dots: tuple[Dot, ...]
    held_back: int | None  #: the dot of the strength chosen by noise held back
    recovery: int | None  #: that of the strength chosen by recovery
    rank: str  #: by H; "" where no ranks are given
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


Content = ForestPlot | FrontPlot | ScatterFigure | GroupedScatterFigure | LearningCurves


@dataclass(frozen=True, kw_only=True)
class FigureData:
    """A figure before it is drawn."""

    title: str  #: what a screen reader says first
    finding: str  #: what it says of the content
    content: Content

"""The scales of H and dA, the same in the forest plot and on the front.

They hold every entry that holds the claim, and the others as far as that leaves the figure
readable: an entry that loses forty points would press all the others together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from membench.report.contents import Effect
from membench.report.contents import Effects
from membench.scoring.types import Interval

CLAIM_HELD_BACK = 10.0  #: H that the claim asks for, percent
CLAIM_REAL = -1.0  #: dA that the claim asks for, points

#: What the axes always show, and what they show at most: H in percent, dA in points.
_HELD_BACK_ALWAYS, _HELD_BACK_MOST = (0.0, 100.0), (-15.0, 115.0)
_REAL_ALWAYS, _REAL_MOST = (-1.5, 1.0), (-4.0, 8.0)
_PADDING = 0.035  #: of the axis, at each end


@dataclass(frozen=True)
class Scale:
    """What one axis shows, in the units of the axis."""

    low: float
    high: float

    def clip(self, value: float) -> float:
        """Move a value that the axis does not show to its end."""
        return min(max(value, self.low), self.high)

    def shows(self, value: float) -> bool:
        """Tell whether the axis shows a value."""
        return self.low <= value <= self.high


def held_back(one: Effect) -> Interval:
    """Return H in percent."""
    half = one.held_back.half
    return Interval(100 * one.held_back.mean, None if half is None else 100 * half)


def real(one: Effect) -> Interval:
    """Return dA in points."""
    return one.real


def held_back_scale(effects: Effects) -> Scale:
    """Choose what the axis of H shows, in percent."""
    shown = (*effects.entries, *effects.controls)
    needed = [100 * one.held_back.mean for one in _holders(effects)]
    return _scale([held_back(one) for one in shown], needed, _HELD_BACK_ALWAYS, _HELD_BACK_MOST)


def real_scale(effects: Effects) -> Scale:
    """Choose what the axis of dA shows, in points."""
    shown = (*effects.entries, *effects.controls)
    needed = [one.real.mean for one in _holders(effects)]
    return _scale([real(one) for one in shown], needed, _REAL_ALWAYS, _REAL_MOST)


def show_everything(effects: Effects) -> bool:
    """Tell whether both axes show the means and intervals of all rows."""
    across, up = held_back_scale(effects), real_scale(effects)
    for one in (*effects.entries, *effects.controls):
        for scale, value in ((across, held_back(one)), (up, real(one))):
            if not all(scale.shows(end) for end in _ends(value)):
                return False
    return True


def _ends(value: Interval) -> list[float]:
    """Return the ends of an interval; the mean where there is none."""
    return [value.mean] if value.low is None or value.high is None else [value.low, value.high]


def _holders(effects: Effects) -> list[Effect]:
    return [one for one in effects.entries if effects.claims and not one.muted]


def _scale(
    intervals: Sequence[Interval],
    needed: Sequence[float],
    always: tuple[float, float],
    most: tuple[float, float],
) -> Scale:
    """Choose the ends of an axis.

    Args:
        intervals: what it shows if there is room.
        needed: means that it shows in any case.
        always: values that it shows in any case.
        most: the ends that it has at most, unless what it shows in any case is beyond.
    """
    values = []
    for one in intervals:
        values += _ends(one)
    low = min(always[0], max(most[0], min(values)), *needed)
    high = max(always[1], min(most[1], max(values)), *needed)
    padding = _PADDING * (high - low)
    return Scale(low - padding, high + padding)

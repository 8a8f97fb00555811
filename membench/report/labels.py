"""Where names fit beside their dots without covering other names or dots; called by the scatter figures."""

from __future__ import annotations

import math
from collections.abc import Iterator
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

POINTS = 6.8  #: font size
_ADVANCE = 0.58  #: width of a letter over the font size, a little more than the mean
_CLEAR = 3.2  #: half the side of the square that a dot keeps free, in points


Spot = tuple[float, float]  #: x and y, in points


@dataclass(frozen=True, order=True)
class Box:
    """A rectangle, in points."""

    left: float
    bottom: float
    right: float
    top: float

    def meets(self, other: Box) -> bool:
        """Do the two overlap?"""
        apart = self.right <= other.left or other.right <= self.left
        return not (apart or self.top <= other.bottom or other.top <= self.bottom)

    def holds(self, spot: Spot) -> bool:
        """Is the spot in it?"""
        return self.left <= spot[0] <= self.right and self.bottom <= spot[1] <= self.top

    def inside(self, other: Box) -> bool:
        """Is this one wholly in the other?"""
        wide = other.left <= self.left and self.right <= other.right
        return wide and other.bottom <= self.bottom and self.top <= other.top


@dataclass(frozen=True)
class Label:
    """A name with its place: the middle of its left edge, in points."""

    text: str
    x: float
    y: float


def place(
    names: Sequence[tuple[str, Spot]], dots: Sequence[Spot], lines: Sequence[Sequence[Spot]], room: Box
) -> list[Label]:
    """Names beside their dots, in order: of the free places around it, the one that hides least of the lines.

    Args:
        names: text, and the dot that it belongs to.
        dots: what must stay visible.
        lines: what had better stay visible, as corners.
        room: what must hold every name.

    Returns:
        The names that have a place; the legend has the others.
    """
    boxes = [Box(x - _CLEAR, y - _CLEAR, x + _CLEAR, y + _CLEAR) for x, y in dots]
    ink = [spot for line in lines for spot in _along(line)]
    placed = []
    for text, (x, y) in names:
        free = []
        for order, (left, middle) in enumerate(_around(x, y, _ADVANCE * POINTS * len(text))):
            box = Box(left, middle - POINTS / 2, left + _ADVANCE * POINTS * len(text), middle + POINTS / 2)
            if box.inside(room) and not any(box.meets(other) for other in boxes):
                free.append((sum(box.holds(spot) for spot in ink), order, box))
        if free:
            box = min(free)[-1]
            boxes.append(box)
            placed.append(Label(text, box.left, (box.bottom + box.top) / 2))
    return placed


def _along(line: Sequence[Spot]) -> Iterator[Spot]:
    """Spots along a line, three points apart."""
    for (x, y), (to_x, to_y) in pairwise(line):
        parts = max(1, round(math.hypot(to_x - x, to_y - y) / 3))
        yield from ((x + (to_x - x) * i / parts, y + (to_y - y) * i / parts) for i in range(parts))


def _around(x: float, y: float, width: float) -> list[Spot]:
    """Left, below, above, right of the dot, then its corners: most curves come from the right."""
    gap, step = 5.5, POINTS * 0.5 + 4.5
    beside = [(x - gap - width, y), (x - width / 2, y - step), (x - width / 2, y + step), (x + gap, y)]
    corners = [(x - gap - width, y + dy) for dy in (-step, step)] + [(x + gap, y + dy) for dy in (-step, step)]
    return beside + corners

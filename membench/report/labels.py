"""Where names fit beside their dots without covering other names or dots; called by the scatter figures."""

from __future__ import annotations

import math
from collections.abc import Iterator
from collections.abc import Sequence
from dataclasses import astuple
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

POINTS = 6.8  #: font size
_ADVANCE = 0.58  #: width of a letter over the font size, a little more than the mean
_CLEAR = 3.2  #: half the side of the square that a dot keeps free, in points
Spot = tuple[float, float]  #: x and y, in points
Floats = NDArray[np.float64]


@dataclass(frozen=True, order=True)
class Box:
    """A rectangle, in points."""

    left: float
    bottom: float
    right: float
    top: float

    def meets(self, left: Floats, bottom: Floats, right: Floats, top: Floats) -> bool:
        """Does it overlap with one of these?"""
        apart = (
            (self.right <= left)
            | (right <= self.left)
            | (self.top <= bottom)
            | (top <= self.bottom)
        )
        return not apart.all()

    def holds(self, x: Floats, y: Floats) -> int:
        """How many of the spots are in it?"""
        inside = (self.left <= x) & (x <= self.right) & (self.bottom <= y) & (y <= self.top)
        return int(np.count_nonzero(inside))

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
    names: Sequence[tuple[str, Spot]],
    dots: Sequence[Spot],
    lines: Sequence[Sequence[Spot]],
    room: Box,
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
    taken = (
        np.array([(x - _CLEAR, y - _CLEAR, x + _CLEAR, y + _CLEAR) for x, y in dots])
        .reshape(-1, 4)
        .T
    )
    ink = np.array([spot for line in lines for spot in _along(line)]).reshape(-1, 2).T
    placed = []
    for text, (x, y) in names:
        free = []
        for order, (left, middle) in enumerate(_around(x, y, _ADVANCE * POINTS * len(text))):
            box = Box(
                left, middle - POINTS / 2, left + _ADVANCE * POINTS * len(text), middle + POINTS / 2
            )
            if box.inside(room) and not box.meets(*taken):
                free.append((box.holds(*ink), order, box))
        if free:
            box = min(free)[-1]
            taken = np.column_stack([taken, astuple(box)])
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
    beside = [
        (x - gap - width, y),
        (x - width / 2, y - step),
        (x - width / 2, y + step),
        (x + gap, y),
    ]
    corners = [(x - gap - width, y + dy) for dy in (-step, step)] + [
        (x + gap, y + dy) for dy in (-step, step)
    ]
    return beside + corners

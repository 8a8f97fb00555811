"""Place names beside their dots in scatter figures, without covering other names or dots."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import astuple
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

FONT_SIZE = 6.8  #: points
LETTER_WIDTH = 0.58  #: of a letter over the font size, a little more than the mean
_CLEARANCE = 3.2  #: half the side of the square that a dot keeps free, points
_LINE_STEP = 3  #: distance of the positions that stand for a line, points

Position = tuple[float, float]  #: x and y, points
Floats = NDArray[np.float64]


@dataclass(frozen=True, order=True)
class Box:
    """A rectangle; its edges are in points."""

    left: float
    bottom: float
    right: float
    top: float

    def overlaps(self, others: Floats) -> bool:
        """Tell whether it shares area with one of the boxes [n, 4]: left, bottom, right, top."""
        left, bottom, right, top = others.T
        beside = (self.right <= left) | (right <= self.left)
        above_or_below = (self.top <= bottom) | (top <= self.bottom)
        return not (beside | above_or_below).all()

    def count_inside(self, positions: Floats) -> int:
        """Count the positions [n, 2] that lie in it."""
        x, y = positions.T
        inside = (self.left <= x) & (x <= self.right) & (self.bottom <= y) & (y <= self.top)
        return int(np.count_nonzero(inside))

    def is_inside(self, other: Box) -> bool:
        """Tell whether it lies wholly in the other box."""
        in_width = other.left <= self.left and self.right <= other.right
        return in_width and other.bottom <= self.bottom and self.top <= other.top


@dataclass(frozen=True)
class Label:
    """A name with its place: the middle of its left edge, points."""

    text: str
    x: float
    y: float


def place(
    names: Sequence[tuple[str, Position]],
    dots: Sequence[Position],
    lines: Sequence[Sequence[Position]],
    room: Box,
) -> list[Label]:
    """Place names beside their dots, in order: where a name is free, and hides least of the lines.

    Args:
        names: text, and the dot that it belongs to.
        dots: what must stay visible.
        lines: what had better stay visible, as corners.
        room: what must hold every name.

    Returns:
        The names that have a place; the legend has the others.
    """
    obstacles = np.array([_square(x, y) for x, y in dots]).reshape(-1, 4)
    along_lines: list[Position] = []
    for line in lines:
        along_lines += _positions_along(line)
    ink = np.array(along_lines).reshape(-1, 2)
    labels = []
    for text, (x, y) in names:
        free = []
        for order, box in enumerate(_boxes_around(x, y, LETTER_WIDTH * FONT_SIZE * len(text))):
            if box.is_inside(room) and not box.overlaps(obstacles):
                free.append((box.count_inside(ink), order, box))
        if free:
            _, _, box = min(free)
            obstacles = np.vstack([obstacles, astuple(box)])
            labels.append(Label(text, x=box.left, y=(box.bottom + box.top) / 2))
    return labels


def _square(x: float, y: float) -> tuple[float, float, float, float]:
    """Return the edges of what a dot keeps free."""
    return x - _CLEARANCE, y - _CLEARANCE, x + _CLEARANCE, y + _CLEARANCE


def _positions_along(line: Sequence[Position]) -> list[Position]:
    """Sample a line at equal steps between its corners."""
    positions = []
    for (x, y), (to_x, to_y) in pairwise(line):
        steps = max(1, round(math.hypot(to_x - x, to_y - y) / _LINE_STEP))
        for step in range(steps):
            positions.append((x + (to_x - x) * step / steps, y + (to_y - y) * step / steps))
    return positions


def _boxes_around(x: float, y: float, width: float) -> list[Box]:
    """List the places of a name: left, below, above, right of its dot, then the corners.

    Left and below come first since most curves come from the right.
    """
    gap = 5.5
    step = FONT_SIZE * 0.5 + 4.5
    left, centred, right = x - gap - width, x - width / 2, x + gap
    below, above = y - step, y + step
    places = [
        (left, y),
        (centred, below),
        (centred, above),
        (right, y),
        (left, below),
        (left, above),
        (right, below),
        (right, above),
    ]
    boxes = []
    for edge, middle in places:
        boxes.append(Box(edge, middle - FONT_SIZE / 2, edge + width, middle + FONT_SIZE / 2))
    return boxes

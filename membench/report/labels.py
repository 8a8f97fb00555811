"""Place names beside their dots in scatter figures, without covering other names or dots."""

from __future__ import annotations

import math
from collections.abc import Iterator
from collections.abc import Sequence
from dataclasses import astuple
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from membench.report.letters import text_width

FONT_SIZE = 6.8  #: points
_CLEARANCE = 3.2  #: half the side of the square that a dot keeps free, points
_LEADER_CLEARANCE = 1.0  #: the same of a point of a leader
_LINE_STEP = 3  #: distance of the positions that stand for a line, points
_RING_STEP = 6.0  #: from one circle of places around a dot to the next, points
_DIRECTIONS = 24  #: places on a circle

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

    def nearest(self, position: Position) -> Position:
        """Return its point that is nearest to a position."""
        x, y = position
        return min(max(x, self.left), self.right), min(max(y, self.bottom), self.top)


@dataclass(frozen=True)
class Name:
    """What is to be written beside a dot."""

    text: str
    dot: Position
    #: how far away it may stand if there is no place beside the dot, points; a leader joins them
    reach: float = 0.0


@dataclass(frozen=True)
class Label:
    """A name with its place: the middle of its left edge, points."""

    text: str
    x: float
    y: float
    leader: tuple[Position, Position] | None = None  #: a line to the dot, of a name away from it


def place(
    names: Sequence[Name],
    dots: Sequence[Position],
    lines: Sequence[Sequence[Position]],
    room: Box,
    font_size: float = FONT_SIZE,
) -> list[Label]:
    """Place names beside their dots, in order: where a name is free, and hides least of the lines.

    Args:
        names: the most important first.
        dots: what must stay visible.
        lines: what had better stay visible, as corners.
        room: what must hold every name.
        font_size: of the names, points.

    Returns:
        The names that have a place; the legend has the others.
    """
    taken = np.array([_square(dot, _CLEARANCE) for dot in dots]).reshape(-1, 4)
    along_lines: list[Position] = []
    for line in lines:
        along_lines += _positions_along(line)
    ink = np.array(along_lines).reshape(-1, 2)
    labels = []
    for name in names:
        width = text_width(name.text, font_size)
        box = _beside(_boxes_around(name.dot, width, font_size), taken, ink, room)
        leader = None
        if box is None:
            rings = _rings(name, width, font_size)
            box = _away(name.dot, rings, taken, ink, room)
            if box is not None:
                leader = (name.dot, box.nearest(name.dot))
                along = _positions_along(leader)
                taken = np.vstack([taken, *(_square(one, _LEADER_CLEARANCE) for one in along)])
        if box is not None:
            taken = np.vstack([taken, astuple(box)])
            middle = (box.bottom + box.top) / 2
            labels.append(Label(name.text, x=box.left, y=middle, leader=leader))
    return labels


def _beside(boxes: Sequence[Box], taken: Floats, ink: Floats, room: Box) -> Box | None:
    """Choose the free box that hides least of the lines, of equals the first."""
    free = []
    for order, box in enumerate(boxes):
        if box.is_inside(room) and not box.overlaps(taken):
            free.append((box.count_inside(ink), order, box))
    return min(free)[2] if free else None


def _away(
    dot: Position, rings: Iterator[list[Box]], taken: Floats, ink: Floats, room: Box
) -> Box | None:
    """Choose a free box on the first ring where the leader to it crosses no name and no dot.

    Args:
        dot: what the name belongs to.
        rings: boxes around it, from near to far.
        taken: boxes [n, 4] of names and dots.
        ink: positions [n, 2] on the lines.
        room: what must hold the name.
    """
    x, y = dot
    others = taken[~((taken[:, 0] < x) & (x < taken[:, 2]) & (taken[:, 1] < y) & (y < taken[:, 3]))]
    for boxes in rings:
        clear = []
        for box in boxes:
            leader = np.array(_positions_along([dot, box.nearest(dot)])).reshape(-1, 2)
            if not _touches(leader, others):
                clear.append(box)
        found = _beside(clear, taken, ink, room)
        if found is not None:
            return found
    return None


def _touches(positions: Floats, boxes: Floats) -> bool:
    """Tell whether one of the positions [n, 2] lies in one of the boxes [m, 4]."""
    x, y = positions.T[:, :, None]
    left, bottom, right, top = boxes.T
    return bool(((left < x) & (x < right) & (bottom < y) & (y < top)).any())


def _square(middle: Position, half: float) -> tuple[float, float, float, float]:
    """Return the edges of a square."""
    x, y = middle
    return x - half, y - half, x + half, y + half


def _positions_along(line: Sequence[Position]) -> list[Position]:
    """Sample a line at equal steps between its corners."""
    positions = []
    for (x, y), (to_x, to_y) in pairwise(line):
        steps = max(1, round(math.hypot(to_x - x, to_y - y) / _LINE_STEP))
        for step in range(steps):
            positions.append((x + (to_x - x) * step / steps, y + (to_y - y) * step / steps))
    return positions


def _boxes_around(dot: Position, width: float, font_size: float) -> list[Box]:
    """List the places of a name: left, below, above, right of its dot, then the corners.

    Left and below come first since most curves come from the right.
    """
    x, y = dot
    gap = 5.5
    step = font_size * 0.5 + 4.5
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
    return [_box(edge, middle, width, font_size) for edge, middle in places]


def _rings(name: Name, width: float, font_size: float) -> Iterator[list[Box]]:
    """Yield the places on circles around a dot: each touches its circle from outside."""
    x, y = name.dot
    for ring in range(2, int(name.reach / _RING_STEP) + 1):
        boxes = []
        for direction in range(_DIRECTIONS):
            angle = 2 * math.pi * direction / _DIRECTIONS
            across, up = math.cos(angle), math.sin(angle)
            touch = x + ring * _RING_STEP * across
            edge = touch - width * (1 - across) / 2
            middle = y + (ring * _RING_STEP + font_size / 2) * up
            boxes.append(_box(edge, middle, width, font_size))
        yield boxes


def _box(edge: float, middle: float, width: float, font_size: float) -> Box:
    return Box(edge, middle - font_size / 2, edge + width, middle + font_size / 2)

"""Place names beside their dots in scatter figures, without covering other names or dots."""

from __future__ import annotations

import math
from collections.abc import Iterable
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
_GAP = 5.5  #: from a dot to a name beside it, points
_NEAR = 7.0  #: up to here a leader may cross other dots, which overlap its own, points
_CROWD = 12.0  #: dots of a crowd are nearer to each other, points

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
    leaders = np.empty((0, 4))
    along_lines: list[Position] = []
    for line in lines:
        along_lines += _positions_along(line)
    ink = np.array(along_lines).reshape(-1, 2)
    labels = []
    for name in names:
        around = _Around(name.dot, text_width(name.text, font_size), font_size)
        # A name above or below its dot would shut in what else belongs to a dot there.
        may_be_centred = sum(math.dist(name.dot, other.dot) < _CROWD for other in names) <= 2
        view = _View(taken=taken, leaders=leaders, ink=ink, room=room)
        box = view.best(around.beside(may_be_centred))
        leader = None
        if box is None:
            box = view.best_away(name.dot, around.rings(name.reach))
            if box is not None:
                leader = (name.dot, box.nearest(name.dot))
                along = [_square(one, _LEADER_CLEARANCE) for one in _positions_along(leader)]
                leaders = np.vstack([leaders, *along])
        if box is not None:
            taken = np.vstack([taken, astuple(box)])
            middle = (box.bottom + box.top) / 2
            labels.append(Label(name.text, x=box.left, y=middle, leader=leader))
    return labels


@dataclass(frozen=True)
class _View:
    """What a name must not hide, and had better not."""

    taken: Floats  #: boxes [n, 4] of dots and names
    leaders: Floats  #: boxes [m, 4] along the leaders; a leader may cross another
    ink: Floats  #: positions [k, 2] on the lines
    room: Box

    def best(self, boxes: Sequence[Box]) -> Box | None:
        """Choose the free box that hides least of the lines, of equals the first."""
        free = []
        for order, box in enumerate(boxes):
            is_free = not (box.overlaps(self.taken) or box.overlaps(self.leaders))
            if is_free and box.is_inside(self.room):
                free.append((box.count_inside(self.ink), order, box))
        return min(free)[2] if free else None

    def best_away(self, dot: Position, rings: Iterable[Sequence[Box]]) -> Box | None:
        """Choose a free box on the first ring where the leader to it crosses no name and no dot.

        Args:
            dot: what the name belongs to.
            rings: boxes around it, from near to far.
        """
        others = self.taken[~_hold(dot, self.taken)]
        for boxes in rings:
            clear = []
            for box in boxes:
                leader = _positions_along([dot, box.nearest(dot)])
                away = [position for position in leader if math.dist(position, dot) > _NEAR]
                if not any(_hold(position, others).any() for position in away):
                    clear.append(box)
            found = self.best(clear)
            if found is not None:
                return found
        return None


def _hold(position: Position, boxes: Floats) -> NDArray[np.bool_]:
    """Tell which of the boxes [n, 4] hold a position inside: [n]."""
    x, y = position
    left, bottom, right, top = boxes.T
    held: NDArray[np.bool_] = (left < x) & (x < right) & (bottom < y) & (y < top)
    return held


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


@dataclass(frozen=True)
class _Around:
    """The places of one name around its dot."""

    dot: Position
    width: float  #: of the name, points
    font_size: float

    def beside(self, may_be_centred: bool) -> list[Box]:
        """List the nearest places: left, below, above, right of the dot, then the corners.

        Left and below come first since most curves come from the right.

        Args:
            may_be_centred: whether it may be straight below or above.
        """
        x, y = self.dot
        left, right = self._columns()
        centred = x - self.width / 2
        below, above = y - self._step(), y + self._step()
        places = [(left, y)]
        if may_be_centred:
            places += [(centred, below), (centred, above)]
        places += [(right, y), (left, below), (left, above), (right, below), (right, above)]
        return [self._box(edge, middle) for edge, middle in places]

    def rings(self, reach: float) -> Iterator[list[Box]]:
        """Yield places ever further away: on a circle, and in the columns left and right.

        Args:
            reach: of the last, points.
        """
        x, y = self.dot
        for ring in range(2, int(reach / _RING_STEP) + 1):
            boxes = []
            for edge in self._columns():
                for side in (-1, 1):
                    boxes.append(self._box(edge, y + side * ring * self._step()))
            for direction in range(_DIRECTIONS):
                angle = 2 * math.pi * direction / _DIRECTIONS
                across, up = math.cos(angle), math.sin(angle)
                touch = x + ring * _RING_STEP * across
                edge = touch - self.width * (1 - across) / 2
                boxes.append(self._box(edge, y + (ring * _RING_STEP + self.font_size / 2) * up))
            yield boxes

    def _columns(self) -> tuple[float, float]:
        """Return the left edges of the names left and right of the dot."""
        x, _ = self.dot
        return x - _GAP - self.width, x + _GAP

    def _step(self) -> float:
        """Return the distance from one name of a column to the next."""
        return self.font_size * 0.5 + 4.5

    def _box(self, edge: float, middle: float) -> Box:
        half = self.font_size / 2
        return Box(edge, middle - half, edge + self.width, middle + half)

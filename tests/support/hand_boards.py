"""Boards made by hand, with the numbers that a test of a page or a figure wants to see there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import replace

from membench.records import Entry
from membench.records import Manifest
from membench.scoring.types import CONTROL
from membench.scoring.types import EARLY_STOPPING
from membench.scoring.types import NONE
from membench.scoring.types import TRAINING_LESS
from membench.scoring.types import Board
from membench.scoring.types import Claim
from membench.scoring.types import Confirmed
from membench.scoring.types import Control
from membench.scoring.types import Curve
from membench.scoring.types import Interval
from membench.scoring.types import Point
from membench.scoring.types import Row
from membench.scoring.types import TaskScore

TASK = "mnist5k/mlp"
GRID = (0.1, 0.2, 0.4, 0.6, 0.8)
EPOCHS = (1, 2, 5, 10, 20, 40)
NOISY = "mixed@0.4"


@dataclass(frozen=True, kw_only=True)
class HandRow:
    """A row: its H (a share) and dA (points) with the half-widths of their intervals."""

    name: str
    H: float
    dA: float
    half_H: float | None = 0.02
    half_dA: float | None = 0.4
    group: str = "model"
    holds: bool = False
    front: bool = False
    edge: bool = False
    chosen: int = 3  #: place in the grid by noise held back, 0 = off
    recovery: int = 4  #: the same by recovery


ROWS = (
    HandRow(name="dropout+adversarial", H=0.9, dA=1.4, group="composition", holds=True, front=True),
    HandRow(name="adversarial", H=0.71, dA=3.0, group="data", holds=True, front=True),
    HandRow(name="dropout", H=0.3, dA=1.1, half_H=0.05, half_dA=0.2, holds=True),
    HandRow(name="label-smoothing", H=0.16, dA=-0.6, group="loss", half_H=0.12),
    HandRow(name="mixup", H=0.0, dA=0.0, group="data", half_H=0.0, half_dA=0.0, chosen=0),
    HandRow(name="bootstrapping", H=-0.04, dA=-0.3, group="loss", recovery=0),
)
CONTROLS = (
    HandRow(name=TRAINING_LESS, H=0.15, dA=-2.7, half_H=0.08, half_dA=0.5, group=CONTROL),
    HandRow(name=EARLY_STOPPING, H=0.95, dA=-0.4, half_H=0.01, half_dA=0.1, group=CONTROL),
)


def manifest(
    rows: Sequence[HandRow] = ROWS, tasks: tuple[str, ...] = (TASK,), suite: str = "quick"
) -> Manifest:
    """Plan a suite over `none` and the rows.

    Args:
        rows: the entries.
        tasks: "data set/architecture".
        suite: its name.
    """
    grid = tuple((strength,) for strength in GRID)
    entries = [Entry(name=NONE, group=CONTROL, strengths=((),))]
    entries += [Entry(name=row.name, group=row.group, strengths=grid) for row in rows]
    return Manifest(
        suite=suite,
        version=2,
        tasks=tasks,
        signals=("real", NOISY, "randY"),
        choosing=(0, 1, 2),
        confirming=tuple(range(3, 13)),
        recipes={},
        datasets={},
        entries=tuple(entries),
        cells={},
    )


def board(
    rows: Sequence[HandRow] = ROWS,
    controls: Sequence[HandRow] = CONTROLS,
    *,
    ranked: bool = True,
    tasks: tuple[str, ...] = (TASK,),
    suite: str = "quick",
) -> Board:
    """Make the board of these rows, in their order.

    Args:
        rows: the entries.
        controls: the control rows.
        ranked: ranks and claims are given.
        tasks: "data set/architecture"; all have the numbers of the row.
        suite: its name.
    """
    scores = {}
    for task in tasks:
        for row in (*rows, *controls):
            scores[row.name, task] = _score(row, task)
    made = []
    for place, row in enumerate(rows, start=1):
        one = _row(row, ranked)
        made.append(replace(one, rank_H=(place, place + 1)) if ranked else one)
    return Board(
        suite=suite,
        version=2,
        gates=(),
        rows=tuple(made),
        unranked=(),
        skipped=(),
        control_rows=tuple(_row(row, ranked=False) for row in controls),
        full_rows=(),
        scores=scores,
        controls={task: _control(task) for task in tasks},
        choosing=3,
        confirming=10 if ranked else 2,
        ranked=ranked,
    )


def _row(row: HandRow, ranked: bool) -> Row:
    claim = Claim(
        holds=row.holds, p=0.01, H_bound=0.2, dA_bound=0.0, noisy_bounds={}, dA_by_task={}
    )
    return Row(
        entry=row.name,
        group=row.group,
        H=Interval(row.H, row.half_H),
        dA=Interval(row.dA, row.half_dA),
        H_edge=row.edge,
        claim=claim if ranked else None,
        on_front=row.front if ranked and row.holds else None,
    )


def _score(row: HandRow, task: str) -> TaskScore:
    points = tuple(_point(row, place) for place in range(len(GRID) + 1))
    return TaskScore(
        task=task,
        entry=row.name,
        env="e",
        complete=True,
        points=points if row.group != CONTROL else (),
        held_back=_confirmed(row, row.chosen),
        recovery=_confirmed(row, row.recovery),
    )


def _point(row: HandRow, place: int) -> Point:
    """Make the dot of a strength: off is the plain network."""
    share = place / len(GRID)
    fit = min(max(1 - row.H * share, 0.1), 1.0)
    return Point(
        strength=(GRID[place - 1],) if place else (),
        label=f"{GRID[place - 1]:g}" if place else "off",
        real=0.9 + 0.01 * row.dA * share - 0.1 * share**6,
        val=0.9,
        noisy_test={NOISY: 0.65 + 0.2 * row.H * share - 0.05 * share**6},
        noisy_val={NOISY: 0.65},
        fit=fit,
        wrong={NOISY: min(max(1 - row.H * share, 0.02), 1.0)},
        train={},
        H=row.H * share,
        S=row.H * share,
        dA=row.dA * share,
        R=row.H * share,
        gain_val={},
        seeds=3,
        failed=0,
        cells=9,
    )


def _confirmed(row: HandRow, place: int) -> Confirmed:
    point = _point(row, place)
    return Confirmed(
        strength=point.strength,
        label="epoch 10" if row.group == CONTROL else point.label,
        edge=row.edge,
        H=Interval(row.H, row.half_H),
        S=Interval(0.8 * row.H, row.half_H),
        dA=Interval(row.dA, row.half_dA),
        R=Interval(row.H, row.half_H),
        noisy={NOISY: Interval(20 * row.H, 1.0 if row.half_H is not None else None)},
        real=point.real,
        noisy_test=point.noisy_test,
        fit=point.fit,
        wrong=point.wrong,
        runs=30,
        failed=0,
        curve=_curve(min(1 - 0.8 * row.H, 1.0)) if place else _curve(1.0),
    )


def _curve(fit: float) -> Curve:
    shares = [epoch / EPOCHS[-1] for epoch in EPOCHS]
    return Curve(
        label="",
        epochs=EPOCHS,
        real_train=tuple(1 - 0.5 * (1 - share) ** 6 for share in shares),
        real_val=tuple(0.9 - 0.5 * (1 - share) ** 9 for share in shares),
        rand_train=tuple(0.1 + (fit - 0.1) * share for share in shares),
        noisy_val={},
        noisy_wrong={},
    )


def _control(task: str) -> Control:
    plain = HandRow(name=TRAINING_LESS, H=1.0, dA=-10.0, group=CONTROL)
    early = tuple(_point(plain, place) for place in range(len(GRID) + 1))
    return Control(
        task=task, early=early, epochs=EPOCHS[::-1], low_rate=early[2:5], curve=_curve(1.0)
    )

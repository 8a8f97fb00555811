"""Boards made by hand, without records and scoring: what the report's tests show pages of.

The numbers follow no formula. `made_board` is a board of two networks with four entries, both
controls and two rows with a known answer; tests replace parts of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from membench.records import Entry
from membench.records import Manifest
from membench.records import digest
from membench.scoring.types import EARLY_STOPPING
from membench.scoring.types import TRAINING_LESS
from membench.scoring.types import Board
from membench.scoring.types import Claim
from membench.scoring.types import Confirmed
from membench.scoring.types import Control
from membench.scoring.types import Excess
from membench.scoring.types import Gate
from membench.scoring.types import Interval
from membench.scoring.types import Point
from membench.scoring.types import Row
from membench.scoring.types import Strength
from membench.scoring.types import TaskScore

TASKS = ("mnist5k/mlp", "mnist5k/cnn")
ENV = digest("here")
OTHER_ENV = digest("elsewhere")
VERSIONS = {
    ENV: {"device": "x86-64 avx512", "torch": "2.9.1", "precision": "medium", "threads": 1},
    OTHER_ENV: {"device": "x86-64 avx2", "torch": "2.9.1", "precision": "medium", "threads": 1},
}
GRID = (0.1, 0.3, 0.5)
NOISY = "mixed@0.4"


def made_row(
    name: str,
    held_back: float,
    real: float,
    *,
    rank: tuple[int, int] | None = None,
    first: bool = False,
    holds: bool | None = None,
    front: bool | None = None,
    beyond: tuple[bool, bool] = (False, False),
    recovery: float = 0.4,
    **changes: Any,
) -> Row:
    """Make a row with numbers.

    Args:
        name: of the entry.
        held_back: H; its interval is .05 wide to each side, the bound .04 below.
        real: dA, points; .3 to each side, the bound .25 below.
        rank: of both lists.
        first: it may be first in both.
        holds: whether it holds the claim; None: no claim is made of it.
        front: whether it is on the front.
        beyond: whether it is beyond training less, and beyond early stopping, in H and in R.
        recovery: R; its interval is .06 wide to each side.
        changes: further fields of the row.
    """
    claim = None
    if holds is not None:
        claim = Claim(
            holds=holds,
            p=0.002 if holds else 0.7,
            H_bound=held_back - 0.04,
            dA_bound=real - 0.25,
            noisy_bounds={NOISY: 4.0},
            dA_by_task=dict.fromkeys(TASKS, real),
        )
    ranked = holds is not None
    fields: dict[str, Any] = {
        "entry": name,
        "group": "model",
        "H": Interval(mean=held_back, half=0.05),
        "S": Interval(mean=held_back - 0.1, half=0.04),
        "dA": Interval(mean=real, half=0.3),
        "noisy": {NOISY: Interval(mean=5.0, half=0.8)},
        "R": Interval(mean=recovery, half=0.06),
        "dA_recovery": Interval(mean=real - 0.5, half=0.4),
        "rank_H": rank,
        "rank_R": rank,
        "first_H": first,
        "first_R": first,
        "claim": claim,
        "on_front": front,
        "excess_H": _excess(held_back - 0.15, beyond[0]) if ranked else None,
        "excess_R": _excess(recovery - 0.3, beyond[0]) if ranked else None,
        "stopping_H": _excess(held_back - 0.9, beyond[1]) if ranked else None,
        "stopping_R": _excess(recovery - 0.5, beyond[1]) if ranked else None,
        "image_half": 0.02,
        "cost": 1.0,
        "chosen_held_back": dict.fromkeys(TASKS, "0.3"),
        "chosen_recovery": dict.fromkeys(TASKS, "0.5"),
        "confirmed_runs": 120,
        "envs": dict.fromkeys(TASKS, ENV),
        "done": 210,
        "cells": 210,
    }
    return Row(**{**fields, **changes})


def made_board(**changes: Any) -> Board:
    """Make a board with ranks; `changes` replace its fields."""
    rows = (
        made_row("dropout", 0.9, 1.1, rank=(1, 1), first=True, holds=True, front=True),
        made_row("mixup", 0.3, 2.0, rank=(2, 3), holds=True, front=True, beyond=(True, False)),
        made_row("label-smoothing", 0.25, 0.4, rank=(2, 3), holds=True, front=False),
        made_row("weight-decay", 0.05, -2.3, rank=(4, 4), holds=False, recovery=0.7),
    )
    controls = (
        made_row(TRAINING_LESS, 0.15, -0.6, group="control", recovery=0.3),
        made_row(EARLY_STOPPING, 0.95, -0.4, group="control", recovery=0.5, S=None),
        made_row("oracle", 1.0, 0.1, group="control", recovery=0.92),
        made_row("placebo", 0.0, 0.0, group="control", recovery=0.0),
    )
    fields: dict[str, Any] = {
        "suite": "quick",
        "version": 3,
        "gates": tuple(made_gate(task) for task in TASKS),
        "rows": rows,
        "unranked": (),
        "skipped": (),
        "control_rows": controls,
        "full_rows": (),
        "scores": _scores([*rows, *controls]),
        "controls": {task: _control(task) for task in TASKS},
        "choosing": 3,
        "confirming": 10,
        "ranked": True,
        "envs": {ENV: VERSIONS[ENV]},
    }
    return Board(**{**fields, **changes})


def made_gate(task: str, **changes: Any) -> Gate:
    """Make the gate of a valid task; `changes` replace its fields."""
    values = {"F0(E)": 1.0, "F0(E/2)": 0.99, "A0_0": 0.9, "cA": 0.1, "M0@0.4": 0.98, "D@0.4": 0.25}
    fields: dict[str, Any] = {
        "task": task,
        "valid": True,
        "env": ENV,
        "values": values,
        "choosing": (0, 1, 2),
        "confirming": tuple(range(3, 13)),
        "epochs": 40,
        "classes": 10,
        "tests": 1000,
        "weight": 0.5,
    }
    return Gate(**{**fields, **changes})


def made_plan(board: Board, names: Sequence[str] = (), **changes: Any) -> Manifest:
    """Make the manifest of a board's entries, without cells.

    Args:
        board: has the rows.
        names: further entries.
        changes: of its fields.
    """
    entries = [Entry(name="none", group="control", strengths=((),), summary="The plain network.")]
    known = [row.entry for row in (*board.rows, *board.control_rows) if " " not in row.entry]
    for name in (*known, *names):
        entry = Entry(
            name=name,
            group="model",
            strengths=tuple((strength,) for strength in GRID),
            acts_on=("hidden",),
            summary=f"What {name} does",
            source="Someone et al. 2017, arXiv:1706.05394",
            origin=f"{name}.py",
        )
        entries.append(entry)
    fields: dict[str, Any] = {
        "suite": board.suite,
        "version": board.version,
        "tasks": tuple(gate.task for gate in board.gates),
        "signals": ("real", "mixed@0.4", "randY"),
        "choosing": (0, 1, 2),
        "confirming": tuple(range(3, 13)),
        "recipes": {},
        "datasets": {"mnist5k": digest("mnist5k")},
        "entries": tuple(entries),
        "cells": {},
        "envs": (ENV,),
    }
    return Manifest(**{**fields, **changes})


def made_point(label: str, strength: Strength, held_back: float) -> Point:
    """Make a dot of a strength.

    Args:
        label: of the strength.
        strength: () for off.
        held_back: H, from which all the rest follows.
    """
    return Point(
        strength=strength,
        label=label,
        real=0.9 + 0.01 * held_back,
        val=0.9,
        noisy_test={NOISY: 0.65 + 0.2 * held_back},
        noisy_val={NOISY: 0.65},
        fit=1 - 0.9 * held_back,
        wrong={NOISY: 1 - 0.95 * held_back},
        train={"real": 1.0, NOISY: 0.9, "randY": 1 - 0.9 * held_back},
        H=held_back,
        S=held_back,
        dA=held_back,
        R=0.8 * held_back,
        gain_val={"real": 0.01 * held_back, NOISY: 0.2 * held_back},
        seeds=3,
        failed=0,
        cells=9,
    )


def _excess(value: float, significant: bool) -> Excess:
    interval = Interval(mean=value, half=0.07)
    return Excess(value=interval, p=0.0004 if significant else 0.3, significant=significant)


def _scores(rows: Sequence[Row]) -> dict[tuple[str, str], TaskScore]:
    scores = {}
    for row in rows:
        assert row.H is not None
        points = [made_point("off", (), 0.0)]
        for strength in GRID:
            points.append(made_point(f"{strength:g}", (strength,), strength * row.H.mean))
        for task in TASKS:
            scores[row.entry, task] = TaskScore(
                task=task,
                entry=row.entry,
                env=ENV,
                complete=True,
                points=tuple(points),
                held_back=_confirmed(row, "0.3", (0.3,)),
                recovery=_confirmed(row, "0.5", (0.5,)),
            )
    return scores


def _confirmed(row: Row, label: str, strength: Strength) -> Confirmed:
    assert row.H is not None and row.dA is not None and row.R is not None
    return Confirmed(
        strength=strength,
        label=label,
        edge=False,
        H=row.H,
        S=row.S,
        dA=row.dA,
        R=row.R,
        noisy=row.noisy,
        real=0.9,
        noisy_test={NOISY: 0.7},
        fit=0.5,
        wrong={NOISY: 0.5},
        runs=30,
        failed=0,
    )


def _control(task: str) -> Control:
    early = (made_point("off", (), 0.0), made_point("epoch 12", (), 0.4))
    return Control(
        task=task,
        early=early,
        epochs=(40, 12),
        low_rate=(made_point("16 plain steps", (16.0,), 0.8),),
    )

"""Ranks, claims, excess and the front of the rows that are ranked (README, Ranks)."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from membench.scoring.comparisons import differences
from membench.scoring.comparisons import make_claim
from membench.scoring.comparisons import only_attackers
from membench.scoring.confirmed import beats
from membench.scoring.confirmed import may_be_first
from membench.scoring.confirmed import on_front
from membench.scoring.rows import EXCESSES
from membench.scoring.rows import MeasuredRow
from membench.scoring.rows import edges_of_control
from membench.scoring.rows import environments_by_task
from membench.scoring.rows import readings_by_task
from membench.scoring.stats import ALPHA
from membench.scoring.stats import holm
from membench.scoring.stats import rank_intervals
from membench.scoring.tasks import Site
from membench.scoring.types import Claim
from membench.scoring.types import Excess
from membench.scoring.types import Row


def rank(measured: Sequence[MeasuredRow], sites: Sequence[Mapping[str, Site]]) -> tuple[Row, ...]:
    """Give the rows their ranks, claims and places on the front.

    Args:
        measured: all rows that are ranked, in the order of the board.
        sites: the same of the sites that they were read at, by task.
    """
    if not measured:
        return ()
    envs = environments_by_task(measured)
    held_back = []
    for readings in readings_by_task(measured, "H"):
        # fewer wrong labels than chance would hit count as none
        held_back.append([reading.cut(1.0) for reading in readings])
    p_H = differences(held_back, envs).p_above
    p_R = differences(readings_by_task(measured, "R"), envs).p_above
    p_dA = differences(readings_by_task(measured, "dA"), envs).p_above
    claims = _claims(measured)
    holds = np.array([claim.holds for claim in claims])
    front = on_front(only_attackers(p_H, holds), only_attackers(p_dA, holds))
    low_H, high_H = rank_intervals(beats(p_H))
    low_R, high_R = rank_intervals(beats(p_R))
    first_H, first_R = may_be_first(p_H), may_be_first(p_R)
    rows = []
    for i, (row, claim) in enumerate(
        zip(_with_tested_excess(measured, sites), claims, strict=True)
    ):
        rows.append(
            replace(
                row,
                rank_H=(int(low_H[i]), int(high_H[i])),
                rank_R=(int(low_R[i]), int(high_R[i])),
                first_H=bool(first_H[i]),
                first_R=bool(first_R[i]),
                claim=claim,
                on_front=bool(front[i]) if claim.holds else None,
            )
        )
    return tuple(rows)


def _claims(measured: Sequence[MeasuredRow]) -> list[Claim]:
    """Test the claim of every row, by Holm's procedure over all of them."""
    claims = []
    for row in measured:
        readings = {task: o.held_back.readings for task, o in row.outcomes.items()}
        claims.append(make_claim(readings, list(row.row.noisy), row.weights))
    adjusted = holm(np.array([claim.p for claim in claims]))
    return [
        replace(claim, p=float(p), holds=bool(p < ALPHA))
        for claim, p in zip(claims, adjusted, strict=True)
    ]


def _with_tested_excess(
    measured: Sequence[MeasuredRow], sites: Sequence[Mapping[str, Site]]
) -> list[Row]:
    """Say whose excess is significant; each control and each of H and R is a family of its own.

    A row without an excess counts in the family, as one that has none. Nothing is said where the
    control's choice is an end of its grid.
    """
    rows = [row.row for row in measured]
    for name_of_field, (control, name) in EXCESSES.items():
        p = np.array([row.p_excess.get(name_of_field, 1.0) for row in measured])
        for i, adjusted in enumerate(holm(p)):
            excess: Excess | None = getattr(rows[i], name_of_field)
            if excess is None:
                continue
            at_edge = edges_of_control(measured[i].outcomes, sites[i], control, name)
            significant = None if at_edge else bool(adjusted < ALPHA)
            tested = replace(excess, p=float(adjusted), significant=significant)
            change: dict[str, Any] = {name_of_field: tested}
            rows[i] = replace(rows[i], **change)
    return rows

"""A row as named values: the columns of a data frame, of CSV and of JSON are the same."""

from __future__ import annotations

from typing import Any

from membench.scoring.types import Excess
from membench.scoring.types import Interval
from membench.scoring.types import Row

#: Types of a data frame's columns of whole numbers and truths, of which some rows have none.
DTYPES = {
    "rank_H_low": "Int64",
    "rank_H_high": "Int64",
    "rank_R_low": "Int64",
    "rank_R_high": "Int64",
    "claim": "boolean",
    "on_front": "boolean",
    "excess_H_significant": "boolean",
    "excess_R_significant": "boolean",
    "stopping_H_significant": "boolean",
    "stopping_R_significant": "boolean",
}


def row_values(row: Row, suite: str) -> dict[str, Any]:
    """Return a row's numbers under the names of columns; None: not known.

    H, S and R are shares, accuracies percentage points; `X_low` and `X_high` are the ends of the
    95% interval of X, `X_half` its half-width. `excess_X` is how far X is beyond training less,
    `stopping_X` beyond early stopping.

    Args:
        row: of the board, ranked or not.
        suite: the board's.
    """
    values: dict[str, Any] = {"suite": suite, "entry": row.entry, "group": row.group}
    readings = {"H": row.H, "dA": row.dA, "R": row.R, "dA_recovery": row.dA_recovery, "S": row.S}
    for name, interval in readings.items():
        values |= _interval_values(name, interval)
    for signal, interval in row.noisy.items():
        values |= _interval_values(f"dA {signal}", interval)
    for name, ranks in (("H", row.rank_H), ("R", row.rank_R)):
        values[f"rank_{name}_low"], values[f"rank_{name}_high"] = ranks or (None, None)
    claim = row.claim
    values["claim"] = claim.holds if claim else None
    values["claim_p"] = claim.p if claim else None
    values["on_front"] = row.on_front
    excesses = {
        "excess_H": row.excess_H,
        "excess_R": row.excess_R,
        "stopping_H": row.stopping_H,
        "stopping_R": row.stopping_R,
    }
    for name, excess in excesses.items():
        values |= _excess_values(name, excess)
    values["H_edge"], values["R_edge"] = row.H_edge, row.R_edge
    for task in row.chosen_held_back:
        values[f"strength_H {task}"] = row.chosen_held_back[task]
        values[f"strength_R {task}"] = row.chosen_recovery.get(task)
    for task, environment in row.envs.items():
        values[f"environment {task}"] = environment[:12]
    values["cost"] = row.cost
    values["confirmed_runs"], values["confirmed_failed"] = row.confirmed_runs, row.confirmed_failed
    values["incomplete"], values["reason"] = row.incomplete, row.reason
    values["done"], values["cells"], values["failed"] = row.done, row.cells, row.failed
    return values


def _interval_values(name: str, interval: Interval | None) -> dict[str, float | None]:
    """Return an estimate, and the ends and the half-width of its interval."""
    low, high, half = (interval.low, interval.high, interval.half) if interval else [None] * 3
    mean = interval.mean if interval else None
    return {name: mean, f"{name}_low": low, f"{name}_high": high, f"{name}_half": half}


def _excess_values(name: str, excess: Excess | None) -> dict[str, Any]:
    """Return how far a row is beyond a control, its p, and whether that is significant."""
    if excess is None:
        return {name: None, f"{name}_p": None, f"{name}_significant": None}
    return {
        name: excess.value.mean,
        f"{name}_p": excess.p,
        f"{name}_significant": excess.significant,
    }

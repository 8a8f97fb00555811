"""The scores of a board as data, and whether boards and networks order their entries alike.

Each board writes its numbers beside its page (`FILE`). A page compares its own suites and networks
with one another, and with the boards in the folders below it, whose `FILE` it reads.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from membench.report.columns import Column
from membench.report.columns import from_columns
from membench.report.text import escape_markdown
from membench.report.text import signed
from membench.scoring.agreement import Agreement
from membench.scoring.agreement import Correlation
from membench.scoring.agreement import Order
from membench.scoring.agreement import agreement
from membench.scoring.types import Board
from membench.scoring.types import Row

FILE = "scores.json"
DIGITS = 6  #: significant digits of the numbers in `FILE`


@dataclass(frozen=True, kw_only=True)
class Named:
    """The order that a suite, or one network of it, gives its ranked entries."""

    suite: str
    task: str  #: "" for the whole suite
    order: Order

    @property
    def label(self) -> str:
        """The suite, and the network if it is one network's order, as Markdown."""
        return escape_markdown(f"{self.suite}, {self.task}" if self.task else self.suite)


def scores_of(boards: Sequence[Board]) -> dict[str, Any]:
    """Collect the numbers of ranked rows and controls, ready for JSON.

    By suite: `version`; `entries` and `controls`, by name, with H, dA, R and the
    half-widths of their 95% intervals, and of entries the rank intervals, whether the claim holds
    and whether the entry is on the front; `tasks`, by name, with H, dA and R of each entry there.
    Noise held back H and recovery R are shares, real accuracy dA is in points.

    Args:
        boards: the suites of the page.
    """
    suites = {}
    for board in boards:
        tasks = {gate.task: _task(board, gate.task) for gate in board.gates if gate.valid}
        suites[board.suite] = {
            "version": board.version,
            "entries": {row.entry: _entry(row) for row in board.rows if board.ranked},
            "controls": {row.entry: _numbers(row) for row in board.control_rows if row.H},
            "tasks": tasks if board.ranked else {},
        }
    return suites


def encode(scores: Mapping[str, Any]) -> bytes:
    """Make the content of `FILE` from what `scores_of` returns."""
    return (json.dumps(scores, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()


def decode(content: bytes) -> dict[str, Any]:
    """Read the content of `FILE`.

    Raises:
        ValueError: it is damaged; the message says how.
    """
    try:
        scores: dict[str, Any] = json.loads(content)
        orders(scores)
    except (AttributeError, KeyError, TypeError) as error:
        raise ValueError(repr(error)) from error
    return scores


def _entry(row: Row) -> dict[str, Any]:
    return {
        **_numbers(row),
        "rank_H": row.rank_H,
        "rank_R": row.rank_R,
        "claim": row.claim.holds if row.claim else None,
        "front": row.on_front,
    }


def _numbers(row: Row) -> dict[str, Any]:
    numbers: dict[str, Any] = {}
    for name, value in (("H", row.H), ("dA", row.dA), ("R", row.R)):
        numbers[name] = _rounded(value.mean if value else None)
        numbers[f"{name}_half"] = _rounded(value.half if value else None)
    return numbers


def _task(board: Board, task: str) -> dict[str, Any]:
    entries = {}
    for row in board.rows:
        score = board.scores.get((row.entry, task))
        if score and score.held_back and score.recovery:
            entries[row.entry] = {
                "H": _rounded(score.held_back.H.mean),
                "dA": _rounded(score.held_back.dA.mean),
                "R": _rounded(score.recovery.R.mean),
            }
    return entries


def _rounded(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.{DIGITS}g}")


def orders(scores: Mapping[str, Any]) -> list[Named]:
    """List the orders in a board's scores: each suite, then each of its networks.

    A suite of one network has one order.

    Args:
        scores: as `scores_of` returns them.
    """
    found = []
    for suite, numbers in scores.items():
        found.append(Named(suite=suite, task="", order=_order(numbers["entries"])))
        if len(numbers["tasks"]) > 1:
            for task, entries in numbers["tasks"].items():
                found.append(Named(suite=suite, task=task, order=_order(entries)))
    return found


def _order(entries: Mapping[str, Any]) -> dict[str, tuple[float, float]]:
    order = {}
    for name, numbers in entries.items():
        order[name] = (float(numbers["H"]), float(numbers["R"]))
    return order


def agreements(own: Mapping[str, Any], below: Sequence[Mapping[str, Any]]) -> str:
    """Write the table of how far orders agree; "" where there is nothing to compare.

    Networks are compared within their suite, suites with one another.

    Args:
        own: the scores of the page's own boards, as `scores_of` returns them.
        below: those of each page in a folder below.
    """
    found = orders(own)
    for scores in below:
        found += orders(scores)
    pairs = []
    for first, second in combinations(found, 2):
        if bool(first.task) != bool(second.task):
            continue
        if first.task and first.suite != second.suite:
            continue
        compared = agreement(first.order, second.order)
        if compared:
            pairs.append((first.label, second.label, compared))
    return _table(pairs) if pairs else ""


def _table(pairs: Sequence[tuple[str, str, Agreement]]) -> str:
    return from_columns(
        [
            Column("one order", [first for first, _, _ in pairs], left=True),
            Column("the other", [second for _, second, _ in pairs], left=True),
            Column("entries", [str(compared.entries) for _, _, compared in pairs]),
            Column("of *H*", [_correlation(compared.H) for _, _, compared in pairs]),
            Column("of *R*", [_correlation(compared.R) for _, _, compared in pairs]),
        ]
    )


def _correlation(value: Correlation | None) -> str:
    if value is None:
        return "all tie"
    return f"{signed(value.value)} [{signed(value.low)}, {signed(value.high)}]"

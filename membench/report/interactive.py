"""The interactive page of a board: what it knows, as plain data.

`web_page` embeds the data; the scripts in `templates/interactive/board` draw lists and figures.
"""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from itertools import combinations
from typing import Any

from membench.records import Entry
from membench.records import Manifest
from membench.records import canonical
from membench.report.bibtex import works_of
from membench.report.confirmations import Confirmation
from membench.report.environments import HASH
from membench.report.environments import Environments
from membench.report.text import LONG
from membench.report.text import citation_parts
from membench.report.text import plain
from membench.report.web_page import Kind
from membench.report.web_page import render
from membench.report.web_page import rounded
from membench.scoring.types import CONTROL
from membench.scoring.types import EARLY_STOPPING
from membench.scoring.types import FULL
from membench.scoring.types import NONE
from membench.scoring.types import TRAINING_LESS
from membench.scoring.types import Board
from membench.scoring.types import Claim
from membench.scoring.types import Confirmed
from membench.scoring.types import Curve
from membench.scoring.types import Excess
from membench.scoring.types import Gate
from membench.scoring.types import Interval
from membench.scoring.types import Point
from membench.scoring.types import Row
from membench.scoring.types import TaskScore

KIND = Kind(
    template="board.html.j2",
    scripts=(
        "shared/words.js",
        "board/board.js",
        "shared/state.js",
        "shared/list.js",
        "shared/svg.js",
        "shared/panel.js",
        "shared/controls.js",
        "board/table.js",
        "board/figure.js",
        "board/compare.js",
        "board/entry.js",
        "board/page.js",
    ),
)
DECIMALS = 4  #: of a difference, its half-width, and a curve
#: Levels of the data that have a line for each member: a row has one.
_LINES = 4
#: What the rows are that no plugin describes.
_CONTROLS = {
    TRAINING_LESS: "The plain network read at a fixed earlier epoch or trained at a lower rate, "
    "chosen as every strength is. A control: it knows as little as a regularizer does.",
    EARLY_STOPPING: "Each run of the plain network read at the epoch that is best on clean "
    "validation images. A control: it knows more than a regularizer does.",
}

Pair = list[float | None] | None  #: mean and half-width


def interactive_page(
    suites: Sequence[tuple[Manifest, Board]],
    boards: Mapping[str, str] | None = None,
    confirmed: Mapping[str, Mapping[str, Confirmation]] | None = None,
) -> str:
    """Make the whole of `index.html`.

    Args:
        suites: what was planned, and the scores; in the order of the page.
        boards: address -> title of each page beside this one, as `pages_beside` finds them.
        confirmed: suite -> row's name -> that it was read anew and agreed.
    """
    confirmed = confirmed or {}
    of_suites = []
    for plan, board in suites:
        of_suites.append(suite_data(plan, board, confirmed.get(plan.suite, {})))
    title = ", ".join(plain(board.suite) for _, board in suites)
    return render(KIND, {"suites": of_suites}, _LINES, boards, title=title)


def suite_data(
    plan: Manifest, board: Board, confirmed: Mapping[str, Confirmation]
) -> dict[str, Any]:
    """Collect what the page knows of one suite, ready for JSON.

    Shares are shares, dA and changes under noise percentage points; a pair is a mean and the
    half-width of its 95% interval.

    Args:
        plan: what was planned.
        board: the scores of that.
        confirmed: row's name -> that it was read anew and agreed.
    """
    environments = Environments(board).hashes()
    rows = []
    kinds = _rows_by_kind(board)
    for kind, some in kinds:
        for row in some:
            line = _row(row, kind, plan, board, environments)
            if row.entry in confirmed:
                line["confirmed"] = _confirmation(confirmed[row.entry])
            rows.append(line)
    curves = []
    for task in plan.tasks:
        control = board.controls.get(task)
        curves.append(_curve(control.curve if control else None))
    return {
        "name": plain(board.suite),
        "version": board.version,
        "commit": plain(plan.commit),
        "tasks": [plain(task) for task in plan.tasks],
        "signals": [plain(signal) for signal in plan.signals],
        "noisy": [plain(signal) for signal in _noisy(board)],
        "further": [plain(reading) for reading in _further(board)],
        "choosing": len(plan.choosing),
        "confirming": len(plan.confirming),
        "ranked": board.ranked,
        "notes": [plain(note, LONG) for note in board.notes],
        "gates": [_gate(gate, environments) for gate in board.gates],
        "environments": [_environment(board, env) for env in environments],
        "plain": curves,
        "entries": _entries(plan),
        "rows": rows,
        "pairs": _pairs(board, [row for _, some in kinds for row in some]),
    }


def _rows_by_kind(board: Board) -> list[tuple[str, tuple[Row, ...]]]:
    """List the rows of the board by what they are: the page says it of each."""
    with_numbers = [row for row in board.control_rows if row.H]
    controls = tuple(row for row in with_numbers if row.entry in _CONTROLS)
    known = tuple(row for row in with_numbers if row.entry not in _CONTROLS)
    full = tuple(row for row in board.full_rows if row.H)
    return [
        ("ranked" if board.ranked else "measured", board.rows),
        ("control", controls),
        ("known answer", known),
        ("full grid", full),
        ("without numbers", (*board.unranked, *board.skipped)),
    ]


def _noisy(board: Board) -> list[str]:
    """List the signals of label noise that rows have readings of."""
    found: dict[str, None] = {}
    for row in (*board.rows, *board.control_rows, *board.full_rows):
        found.update(dict.fromkeys(row.noisy))
    return list(found)


def _further(board: Board) -> list[str]:
    """List the readings under further signals that rows have, as "R pair-flip@0.4"."""
    found: dict[str, None] = {}
    for row in (*board.rows, *board.control_rows, *board.full_rows):
        found.update(dict.fromkeys(row.extra))
    return list(found)


def _row(
    row: Row, kind: str, plan: Manifest, board: Board, environments: Sequence[str]
) -> dict[str, Any]:
    """Collect a row with all that its entry's panel shows."""
    tasks = []
    for task in plan.tasks:
        score = board.scores.get((row.entry, task))
        tasks.append(_task(score, environments) if score else None)
    numbers: dict[str, Any] = {}
    if row.H:
        numbers = {
            "values": _values(row),
            "claim": _claim(row.claim),
            "ranks": {"H": row.rank_H, "R": row.rank_R},
            "first": {"H": row.first_H, "R": row.first_R},
            "edge": {"H": row.H_edge, "R": row.R_edge},
            "front": bool(row.on_front),
            "beats": {
                "H": [_is_significant(row.excess_H), _is_significant(row.stopping_H)],
                "R": [_is_significant(row.excess_R), _is_significant(row.stopping_R)],
            },
            "cost": rounded(row.cost),
            "runs": [row.confirmed_failed, row.confirmed_runs],
        }
    return {
        "name": plain(row.entry),
        "kind": kind,
        "group": plain(row.group),
        "reason": plain(row.reason),
        "about": _CONTROLS.get(row.entry, ""),
        "entry": plain(row.entry.removesuffix(FULL)),
        **numbers,
        "cells": [row.done, row.cells, row.failed, row.diverged],
        "tasks": tasks,
    }


def _confirmation(confirmation: Confirmation) -> dict[str, Any]:
    return {
        "on": plain(confirmation.date),
        "seeds": len(confirmation.seeds),
        "values": {name: _pair(value) for name, value in confirmation.readings.items()},
    }


def _values(row: Row) -> dict[str, Pair]:
    """Collect the readings of a row by the names that the page's axes and columns have."""
    excesses = {
        "H-less": row.excess_H,
        "H-stop": row.stopping_H,
        "R-less": row.excess_R,
        "R-stop": row.stopping_R,
    }
    values = {"H": row.H, "S": row.S, "dA": row.dA, "R": row.R, "dA-R": row.dA_recovery}
    values |= _at_equal_compute(row.cost, row.H, row.H_equal, row.R, row.R_equal)
    return {
        **{name: _pair(value) for name, value in values.items()},
        **{f"dA {plain(signal)}": _pair(value) for signal, value in row.noisy.items()},
        **{name: _pair(excess.value if excess else None) for name, excess in excesses.items()},
        **{plain(name): _pair(Interval(value)) for name, value in row.extra.items()},
    }


def _at_equal_compute(
    cost: float | None,
    H: Interval | None,
    H_equal: float | None,
    R: Interval | None,
    R_equal: float | None,
) -> dict[str, Interval | None]:
    """Return H and R at equal compute: those at the budget where a step costs no more."""
    values = {"H-equal": (H, H_equal), "R-equal": (R, R_equal)}
    if cost is not None and cost <= 1:
        return {name: at_budget for name, (at_budget, _) in values.items()}
    return {name: None if value is None else Interval(value) for name, (_, value) in values.items()}


def _is_significant(excess: Excess | None) -> bool | None:
    return excess.significant if excess else None


def _claim(claim: Claim | None) -> dict[str, Any] | None:
    if claim is None:
        return None
    return {
        "holds": claim.holds,
        "p": rounded(claim.p),
        "H": rounded(claim.H_bound),
        "dA": rounded(claim.dA_bound),
        "noisy": [rounded(bound) for bound in claim.noisy_bounds.values()],
    }


def _task(score: TaskScore, environments: Sequence[str]) -> dict[str, Any]:
    """Collect what a row is on one network: its readings, its strengths and its curves."""
    held_back, recovery = score.held_back, score.recovery
    return {
        "env": environments.index(score.env) + 1 if score.env in environments else 0,
        "skipped": plain(score.skipped),
        "H": _confirmed(held_back) if held_back else None,
        "R": _confirmed(recovery) if recovery else None,
        "points": [_point(point) for point in score.points],
        "curve": _curve(_curve_of(held_back, recovery)),
    }


def _curve_of(*settings: Confirmed | None) -> Curve | None:
    """Return the one curve that a row has on a network: of either of its strengths."""
    for setting in settings:
        if setting and setting.curve:
            return setting.curve
    return None


def _confirmed(confirmed: Confirmed) -> dict[str, Any]:
    equal = _at_equal_compute(
        confirmed.cost, confirmed.H, confirmed.H_equal, confirmed.R, confirmed.R_equal
    )
    return {
        "strength": plain(confirmed.label),
        "H": _pair(confirmed.H),
        "S": _pair(confirmed.S),
        "dA": _pair(confirmed.dA),
        "R": _pair(confirmed.R),
        "noisy": [_pair(value) for value in confirmed.noisy.values()],
        **{name: _pair(value) for name, value in equal.items()},
        **{plain(name): _pair(Interval(value)) for name, value in confirmed.extra.items()},
        "runs": [confirmed.failed, confirmed.runs],
    }


def _point(point: Point) -> list[Any]:
    """Write a strength that was tried: label, H, dA, R, failed cells, cells."""
    numbers = [rounded(value) for value in (point.H, point.dA, point.R)]
    return [plain(point.label), *numbers, point.failed, point.cells]


def _curve(curve: Curve | None) -> dict[str, Any] | None:
    if curve is None:
        return None
    return {
        "strength": plain(curve.label),
        "epochs": curve.epochs,
        "real_train": _numbers(curve.real_train),
        "real_val": _numbers(curve.real_val),
        "rand_train": _numbers(curve.rand_train),
        "noisy_val": [_numbers(values) for values in curve.noisy_val.values()],
        "noisy_wrong": [_numbers(values) for values in curve.noisy_wrong.values()],
    }


def _gate(gate: Gate, environments: Sequence[str]) -> dict[str, Any]:
    return {
        "task": plain(gate.task),
        "valid": gate.valid,
        "reasons": [plain(reason) for reason in gate.reasons],
        "env": environments.index(gate.env) + 1 if gate.env in environments else 0,
        "epochs": gate.epochs,
    }


def _environment(board: Board, env: str) -> dict[str, str]:
    """Name an environment, and describe it by all facts that its records hold."""
    versions = board.envs.get(env, {})
    facts = []
    for name, value in sorted(versions.items()):
        text = value if isinstance(value, str) else canonical(value)
        facts.append(f"{plain(name)} {plain(text, limit=120)}")
    facts.append(f"hash {plain(env)[:HASH]}")
    name = str(versions.get("device", env[:HASH]))
    return {"name": plain(name, limit=40), "facts": "; ".join(facts)}


def _entries(plan: Manifest) -> dict[str, dict[str, Any]]:
    """Describe the entries, and the controls that are read from runs of the plain network."""
    table = {entry.name: entry for entry in plan.entries}
    for name in _CONTROLS:
        table[name] = Entry(name, CONTROL, ())
    return {plain(name): _entry(entry, table) for name, entry in table.items()}


def _entry(entry: Entry, table: Mapping[str, Entry]) -> dict[str, Any]:
    return {
        "group": plain(entry.group),
        "summary": plain(entry.summary),
        "source": citation_parts(entry.source),
        "bibtex": "\n\n".join(works_of(entry, table)),
        "file": plain(entry.origin) if entry.name != NONE else "",
        "acts_on": [plain(stage) for stage in entry.acts_on],
    }


def _pairs(board: Board, rows: Sequence[Row]) -> dict[str, Any]:
    """Write the differences of all rows, the first minus the second, in whole last decimals.

    Args:
        board: with the differences.
        rows: the page's, in its order.

    Returns:
        The names, in the order of the page; and by reading the means and the half-widths of row 0
        and 1, 0 and 2, and so on.
    """
    compared = {name for pairs in board.pairs.values() for both in pairs for name in both}
    names = [row.entry for row in rows if row.entry in compared]
    scale = 10**DECIMALS
    found: dict[str, Any] = {"names": [plain(name) for name in names]}
    for reading, pairs in board.pairs.items():
        means, halves = [], []
        for first, second in combinations(names, 2):
            is_there = (first, second) in pairs
            difference = pairs[first, second] if is_there else pairs[second, first]
            means.append(round((1 if is_there else -1) * difference.mean * scale))
            halves.append(round((difference.half or 0.0) * scale))
        found[reading] = [means, halves]
    return found


def _pair(value: Interval | None) -> Pair:
    return None if value is None else [rounded(value.mean), rounded(value.half)]


def _numbers(values: Iterable[float | None]) -> list[float | None]:
    """Round the values of a curve, which are shares."""
    return [None if value is None else round(value, DECIMALS) + 0.0 for value in values]

"""The folded tables of a suite: the claim part by part, the excesses, and each row by task."""

from __future__ import annotations

from collections.abc import Mapping

from membench.report.columns import Column
from membench.report.columns import extra_title
from membench.report.columns import from_columns
from membench.report.columns import in_parts
from membench.report.columns import joined_cells
from membench.report.columns import keys_in_order
from membench.report.columns import table
from membench.report.confirmations import Confirmation
from membench.report.tables import AT_LEAST
from membench.report.tables import MAX_STRENGTHS
from membench.report.tables import at_least
from membench.report.tables import short_task_names
from membench.report.tables import valid_tasks
from membench.report.text import MISSING
from membench.report.text import escape_markdown
from membench.report.text import format_interval
from membench.report.text import noise_index
from membench.report.text import p_value
from membench.report.text import rounded_down
from membench.report.text import share
from membench.report.text import share_interval
from membench.report.text import signed
from membench.report.text import times
from membench.report.text import unbroken
from membench.scoring.types import Board
from membench.scoring.types import Confirmed
from membench.scoring.types import Excess
from membench.scoring.types import Row
from membench.scoring.types import TaskScore


def claims(board: Board) -> str:
    """Write the table of the claim, part by part."""
    rows = [row for row in board.rows if row.claim]
    tasks = " · ".join(short_task_names(valid_tasks(board)))
    cells: list[list[str]] = []
    for row in rows:
        assert row.claim is not None
        by_task = [row.claim.dA_by_task.get(task) for task in valid_tasks(board)]
        noisy = [bound for _, bound in sorted(row.claim.noisy_bounds.items())]
        cells.append(
            [
                escape_markdown(row.entry),
                "holds" if row.claim.holds else "",
                p_value(row.claim.p),
                share(rounded_down(row.claim.H_bound, digits=2)),
                signed(rounded_down(row.claim.dA_bound, digits=2)),
                joined_cells([signed(rounded_down(bound, digits=2)) for bound in noisy]),
                joined_cells([signed(value) for value in by_task]),
            ]
        )
    header = [
        "entry",
        "claim",
        "*p*",
        f"*H* {AT_LEAST}",
        f"*ΔA* {AT_LEAST}",
        f"under noise {AT_LEAST}",
        f"*ΔA*: {tasks}",
    ]
    return table(header, cells, left=(0, 1))


def excesses(board: Board) -> str:
    """Write the table of what each row has beyond either control, in both readings."""
    rows = [row for row in board.rows if row.H]
    columns = [
        Column("entry", [escape_markdown(row.entry) for row in rows], left=True),
        Column("*H* beyond training less", [_tested(row.excess_H) for row in rows]),
        Column("*H* beyond early stopping", [_tested(row.stopping_H) for row in rows]),
        Column("*R* beyond training less", [_tested(row.excess_R) for row in rows]),
        Column("*R* beyond early stopping", [_tested(row.stopping_R) for row in rows]),
    ]
    return from_columns(columns)


def further(board: Board) -> str:
    """Write what else was read: accuracy under noise, image sampling, cost, further signals."""
    rows = _all_rows(board)
    columns = [
        Column("entry", [escape_markdown(row.entry) for row in rows], left=True),
        Column("group", [escape_markdown(row.group) for row in rows], left=True),
        Column("cost", [times(row.cost) for row in rows]),
    ]
    if any(row.H_equal is not None for row in rows):
        columns.append(Column("*H*, equal compute", [share(row.H_equal) for row in rows]))
        columns.append(Column("*R*, equal compute", [signed(row.R_equal) for row in rows]))
    for signal in keys_in_order(row.noisy for row in rows):
        cells = [unbroken(format_interval(row.noisy.get(signal))) for row in rows]
        columns.append(Column(f"*ΔA*@{noise_index(signal)}", cells))
    columns.append(Column("± images", [share(row.image_half) for row in rows]))
    for key in extra_readings(board):
        cells = [share(row.extra.get(key)) for row in rows]
        columns.append(Column(extra_title(key), cells))
    return in_parts(columns)


def confirmed(rows: Mapping[str, Confirmation]) -> str:
    """Write what rows read on the fresh seeds of those who have confirmed them."""
    found = list(rows.values())
    columns = [
        Column("entry", [escape_markdown(name) for name in rows], left=True),
        Column("on", [one.date for one in found], left=True),
        Column("fresh seeds", [str(len(one.seeds)) for one in found]),
        Column("*H*", [unbroken(share_interval(one.readings["H"])) for one in found]),
        Column("*ΔA*", [unbroken(format_interval(one.readings["dA"], digits=1)) for one in found]),
        Column("*R*", [unbroken(format_interval(one.readings["R"])) for one in found]),
        Column("device", [_devices(one) for one in found], left=True),
    ]
    return from_columns(columns)


def _devices(one: Confirmation) -> str:
    devices = (str(versions.get("device", "")) for versions in one.environments.values())
    return escape_markdown(", ".join(dict.fromkeys(devices)))


def by_task(board: Board) -> str:
    """Write noise held back, real accuracy and recovery of every row on each valid task."""
    tasks = valid_tasks(board)
    # a row that is whole on one network only has numbers there, and nowhere else on the page
    unfinished = []
    for row in board.unranked:
        scores = [board.scores.get((row.entry, task)) for task in tasks]
        if not row.H and any(score and score.held_back for score in scores):
            unfinished.append(row)
    rows = [*_all_rows(board), *unfinished]
    with_strengths = len(tasks) > MAX_STRENGTHS
    columns = [Column("entry", [escape_markdown(row.entry) for row in rows], left=True)]
    groups = []
    for task, name in zip(tasks, short_task_names(tasks), strict=True):
        scores = [board.scores.get((row.entry, task)) for row in rows]
        held_back = [score.held_back if score else None for score in scores]
        recovered = [score.recovery if score else None for score in scores]
        group = [
            Column(f"*H* {name}", [_reading(one, "H") for one in held_back]),
            Column(f"*ΔA* {name}", [_reading(one, "dA") for one in held_back]),
            Column(f"*R* {name}", [_reading(one, "R") for one in recovered]),
        ]
        if with_strengths:
            labels = [_both_labels(score) for score in scores]
            group.append(Column("strengths for *H*; *R*", labels, left=True))
        groups.append(group)
    return in_parts(columns, groups)


def extra_readings(board: Board) -> list[str]:
    """List what rows say of signals that are in no score: "R pair-flip@0.4", "S randX"."""
    return keys_in_order(row.extra for row in _all_rows(board))


def _all_rows(board: Board) -> list[Row]:
    rows = (*board.rows, *board.control_rows, *board.full_rows)
    return [row for row in rows if row.H]


def _tested(excess: Excess | None) -> str:
    """Write an excess with its p-value; in bold if it is significant."""
    if excess is None:
        return MISSING
    value = unbroken(format_interval(excess.value))
    if excess.significant:
        value = f"**{value}**"
    if excess.p is None:
        return value
    shown = p_value(excess.p)
    equals = "" if shown.startswith("&lt;") else "= "
    return f"{value} {unbroken(f'(p {equals}{shown})')}"


def _reading(confirmed: Confirmed | None, name: str) -> str:
    """Write one reading of a task: "H", "dA" or "R"."""
    if confirmed is None:
        return MISSING
    if name == "dA":
        return unbroken(format_interval(confirmed.dA, digits=1))
    if name == "H":
        return at_least(share_interval(confirmed.H), confirmed.edge)
    return at_least(format_interval(confirmed.R), confirmed.edge)


def _both_labels(score: TaskScore | None) -> str:
    """Name the strengths of both questions, once where they are the same."""
    if score is None or score.held_back is None or score.recovery is None:
        return MISSING
    labels = dict.fromkeys((score.held_back.label, score.recovery.label))
    return "; ".join(unbroken(escape_markdown(label)) for label in labels)

"""The lists of a suite: by noise held back and by recovery, the rows without rank, the validity.

Each function takes a board and returns a table, in Markdown.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Sequence

from membench.report.columns import Column
from membench.report.columns import from_columns
from membench.report.columns import in_parts
from membench.report.columns import keys_in_order
from membench.report.environments import Environments
from membench.report.text import MISSING
from membench.report.text import count
from membench.report.text import escape_markdown
from membench.report.text import filename
from membench.report.text import format_interval
from membench.report.text import percent
from membench.report.text import ranks
from membench.report.text import share
from membench.report.text import share_interval
from membench.report.text import signed
from membench.report.text import unbroken
from membench.scoring.types import EARLY_STOPPING
from membench.scoring.types import TRAINING_LESS
from membench.scoring.types import Board
from membench.scoring.types import Excess
from membench.scoring.types import Gate
from membench.scoring.types import Interval
from membench.scoring.types import Row

#: Tasks up to which a row of the main tables names the chosen strengths. With more they stand in
#: the tables by task.
MAX_STRENGTHS = 2
CONTROLS = (TRAINING_LESS, EARLY_STOPPING)  #: the reference rows of the main tables

#: In front of an entry's name.
ON_FRONT = "\N{BLACK DIAMOND}"  #: holds the claim, and is on the front
HOLDS = "\N{BLACK CIRCLE}"  #: holds the claim
NO_CLAIM = "\N{WHITE CIRCLE}"  #: does not
#: Behind an excess.
BEYOND_TRAINING_LESS = "\N{CHECK MARK}"
BEYOND_EARLY_STOPPING = "\N{BLACK STAR}"
AT_LEAST = "\N{GREATER-THAN OR EQUAL TO}"  #: in front of what may be larger beyond the grid
EDGE = "edge of grid"

#: As wide as an interval of two-digit ranks, which would else be broken at its dash.
RANK = "&nbsp;rank&nbsp;"
#: Titles of the gate's values by their names in `Gate.values`, without the noise level.
GATE_TITLES = {
    "M0": "*M*⁰",
    "D": "*D*",
    "F0(E)": "*F*⁰ %, end",
    "F0(E/2)": "*F*⁰ %, half-way",
    "A0_0": "*A*⁰ %, real",
    "cA": "constant answer %",
}


def anchor(entry: str) -> str:
    """Name the place where the page describes the entry."""
    return f"entry-{filename(entry)}"


def valid_tasks(board: Board) -> list[str]:
    """List the tasks that count."""
    return [gate.task for gate in board.gates if gate.valid]


def short_task_names(tasks: Sequence[str]) -> list[str]:
    """Name tasks without their data set if all have the same one."""
    datasets = {task.partition("/")[0] for task in tasks}
    if len(datasets) == 1:
        return [escape_markdown(task.partition("/")[2]) for task in tasks]
    return [escape_markdown(task) for task in tasks]


# --- the two lists -------------------------------------------------------------------------------


def noise_held_back(board: Board, environments: Environments) -> str:
    """Write the first list: by noise held back, with the two controls in their places.

    Args:
        board: the scores.
        environments: names those of the rows.
    """
    rows = with_controls(board.rows, board, lambda row: row.H)
    columns = [
        Column(RANK, [ranks(row.rank_H) for row in rows]),
        Column("entry", [_entry(row, board, first=row.first_H) for row in rows], left=True),
        Column("noise held back *H*", [_held_back(row) for row in rows]),
        *_suppression(rows),
        Column("real accuracy *ΔA*", [_real_accuracy(row.dA) for row in rows]),
        Column("*H* beyond training less", [_excess(row.excess_H, row.stopping_H) for row in rows]),
    ]
    if _few_tasks(board):
        columns.append(_chosen(board, rows, "H"))
    notes = [_notes(row, board, environments, edge=row.H_edge) for row in rows]
    columns.append(Column("notes", notes, left=True))
    return from_columns(columns)


def recovery(board: Board, environments: Environments) -> str:
    """Write the second list: by recovery, with the two controls in their places.

    Args:
        board: the scores.
        environments: names those of the rows.
    """
    rows = with_controls(board.by_recovery, board, lambda row: row.R)
    columns = [
        Column(RANK, [ranks(row.rank_R) for row in rows]),
        Column("entry", [_entry(row, board, first=row.first_R) for row in rows], left=True),
        Column("recovery *R*", [_recovery(row) for row in rows]),
        Column("real accuracy *ΔA*", [_real_accuracy(row.dA_recovery) for row in rows]),
        Column("*R* beyond training less", [_excess(row.excess_R, row.stopping_R) for row in rows]),
    ]
    if _few_tasks(board):
        columns.append(_chosen(board, rows, "R"))
    notes = [_notes(row, board, environments, edge=row.R_edge) for row in rows]
    columns.append(Column("notes", notes, left=True))
    return from_columns(columns)


def known_answer_rows(board: Board) -> list[Row]:
    """List the control rows beside the two that stand in the lists."""
    return [row for row in board.control_rows if row.entry not in CONTROLS and row.H]


def known_answers(board: Board, environments: Environments) -> str:
    """Write the table of the rows with a known answer.

    Args:
        board: the scores.
        environments: names those of the rows.
    """
    return _unranked(known_answer_rows(board), board, environments)


def full_grids(board: Board, environments: Environments) -> str:
    """Write the table of compositions that chose among all settings of their full grids.

    Args:
        board: the scores.
        environments: names those of the rows.
    """
    return _unranked([row for row in board.full_rows if row.H], board, environments)


def unfinished_rows(board: Board) -> list[Row]:
    """List the entries, full grids and controls that have no numbers yet."""
    others = [row for row in (*board.full_rows, *board.control_rows) if not row.H]
    return [*board.unranked, *others]


def unfinished(board: Board) -> str:
    """Write the table of entries that something is missing of."""
    rows = unfinished_rows(board)
    columns = [
        Column("entry", [escape_markdown(row.entry) for row in rows], left=True),
        Column("runs done", [_runs_done(row) for row in rows]),
        Column("why it has no numbers", [escape_markdown(row.reason) for row in rows], left=True),
    ]
    return from_columns(columns)


def gates(board: Board) -> str:
    """Write the table of what each task had to show with `none` alone."""
    columns = [
        Column("task", [escape_markdown(gate.task) for gate in board.gates], left=True),
        Column("valid", [_verdict(gate) for gate in board.gates], left=True),
    ]
    for name in keys_in_order(gate.values for gate in board.gates):
        values = [percent(gate.values.get(name)) for gate in board.gates]
        columns.append(Column(_gate_title(name), values))
    return in_parts(columns)


# --- cells ---------------------------------------------------------------------------------------


def with_controls(
    rows: Iterable[Row], board: Board, reading: Callable[[Row], Interval | None]
) -> list[Row]:
    """Put the two controls among the rows, each in front of the first that reads less.

    Args:
        rows: in their order.
        board: has the controls.
        reading: what the rows are in the order of.
    """
    placed = list(rows)
    for control in board.control_rows:
        value = reading(control)
        if control.entry not in CONTROLS or value is None:
            continue
        place = 0
        while place < len(placed):
            other = reading(placed[place])
            if other is None or other.mean < value.mean:
                break
            place += 1
        placed.insert(place, control)
    return placed


def _suppression(rows: Sequence[Row]) -> list[Column]:
    """Make the column of S, where the suite has random labels."""
    if not any(row.S for row in rows):
        return []
    return [Column("*S*", [share(row.S.mean if row.S else None) for row in rows])]


def _unranked(rows: Sequence[Row], board: Board, environments: Environments) -> str:
    columns = [
        Column("entry", [escape_markdown(row.entry) for row in rows], left=True),
        Column("noise held back *H*", [_held_back(row) for row in rows]),
        *_suppression(rows),
        Column("real accuracy *ΔA*", [_real_accuracy(row.dA) for row in rows]),
        Column("recovery *R*", [_recovery(row) for row in rows]),
    ]
    if _few_tasks(board):
        columns.append(_chosen(board, rows, "H", "strength for *H*"))
    notes = [_notes(row, board, environments, edge=row.H_edge or row.R_edge) for row in rows]
    columns.append(Column("notes", notes, left=True))
    return from_columns(columns)


def _entry(row: Row, board: Board, *, first: bool) -> str:
    """Link an entry to its description; mark its claim, and set it in bold if it may be first.

    Args:
        row: of an entry or a control.
        board: tells whether there are claims.
        first: nothing is shown to be better.
    """
    if row.entry in CONTROLS:
        return f"*{escape_markdown(row.entry)}*"
    link = f"[{escape_markdown(row.entry)}](#{anchor(row.entry)})"
    text = f"**{link}**" if first and board.ranked else link
    if row.claim is None:
        return text
    mark = NO_CLAIM
    if row.claim.holds:
        mark = ON_FRONT if row.on_front else HOLDS
    return unbroken(f"{mark} {text}")


def _held_back(row: Row) -> str:
    return at_least(share_interval(row.H), row.H_edge)


def _recovery(row: Row) -> str:
    return at_least(format_interval(row.R), row.R_edge)


def _real_accuracy(value: Interval | None) -> str:
    return unbroken(format_interval(value, digits=1))


def at_least(value: str, edge: bool) -> str:
    """Mark a number that may be larger beyond the grid."""
    return unbroken(f"{AT_LEAST} {value}" if edge else value)


def _excess(training_less: Excess | None, early_stopping: Excess | None) -> str:
    """Write the excess over training less, with the marks of both controls."""
    marks = ""
    if training_less and training_less.significant:
        marks += BEYOND_TRAINING_LESS
    if early_stopping and early_stopping.significant:
        marks += BEYOND_EARLY_STOPPING
    value = signed(training_less.value.mean if training_less else None)
    return unbroken(f"{value} {marks}".rstrip())


def _chosen(board: Board, rows: Sequence[Row], question: str, title: str = "strength") -> Column:
    """Make the column of the strengths that each row was given on each valid task.

    Args:
        board: has the tasks.
        rows: with numbers.
        question: "H" or "R".
        title: of the column, before the names of the tasks.
    """
    tasks = valid_tasks(board)
    cells = []
    for row in rows:
        chosen = row.chosen_held_back if question == "H" else row.chosen_recovery
        labels = [escape_markdown(chosen.get(task, MISSING)) for task in tasks]
        if row.entry == EARLY_STOPPING:  # it has no strength: what it reads is the same everywhere
            labels = list(dict.fromkeys(labels))
        cells.append(" · ".join(labels))
    if len(tasks) > 1:
        title = f"{title}: {' · '.join(short_task_names(tasks))}"
    return Column(title, cells, left=True)


def _few_tasks(board: Board) -> bool:
    """Tell whether the strengths on all valid tasks fit a cell."""
    return len(valid_tasks(board)) <= MAX_STRENGTHS


def _notes(row: Row, board: Board, environments: Environments, *, edge: bool) -> str:
    """Write in few words what a reader must know of a row.

    Args:
        row: with numbers.
        board: tells whether there are ranks at all; if not, the page says why above its lists.
        environments: names the row's, if it is not that of the reference.
        edge: a strength of this table is an end of its grid.
    """
    notes = []
    if row.reason and (board.ranked or len({other.reason for other in board.rows}) > 1):
        notes.append(escape_markdown(row.reason))
    if edge:
        notes.append(EDGE)
    if row.confirmed_failed:
        runs = count(row.confirmed_runs, "run")
        notes.append(f"{row.confirmed_failed} of {runs} failed")
    choosing_failed = row.failed - row.confirmed_failed
    if choosing_failed > 0:
        runs = count(row.cells - row.confirmed_runs, "choosing run")
        notes.append(f"{choosing_failed} of {runs} failed")
    for task in row.skipped:
        notes.append(f"cannot act on {escape_markdown(task)}")
    notes += environments.notes(row)
    return ", ".join(notes)


def _runs_done(row: Row) -> str:
    """Count a row's own runs; early stopping is read from those of `none`."""
    return f"{row.done} of {row.cells}" if row.cells else MISSING


def _gate_title(name: str) -> str:
    measure, at, level = name.partition("@")
    title = GATE_TITLES.get(measure, escape_markdown(measure))
    return f"{title}{at}{escape_markdown(level)} %" if level else title


def _verdict(gate: Gate) -> str:
    if gate.valid:
        return "yes"
    return "pending" if gate.pending else "**no**"

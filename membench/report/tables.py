"""The tables of the leaderboard's page: rankings, controls, strengths, validity, in Markdown.

Each function takes a board and returns one table. A column is written where its title is, so that a
title and its values cannot drift apart. Columns of a task's table that show what probes measured
are means over seeds of their single numbers at the budget.
"""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from tabulate import tabulate

from membench.records import Manifest
from membench.records import Record
from membench.report.text import MISSING
from membench.report.text import escape_markdown
from membench.report.text import filename
from membench.report.text import format_interval
from membench.report.text import number
from membench.report.text import percent
from membench.report.text import ranks
from membench.report.text import share
from membench.report.text import signed
from membench.report.text import times
from membench.report.text import unbroken
from membench.scoring import Board
from membench.scoring import Gate
from membench.scoring import Point
from membench.scoring import Row
from membench.scoring import TaskScore
from membench.scoring.types import FULL

BEATS = "\N{CHECK MARK}"  #: behind an excess that is significantly above 0
CHOSEN = "\N{BLACK LEFT-POINTING SMALL TRIANGLE}"  #: behind the strength that most folds chose
S_MIX = "*S*<sub>mix</sub>"
#: As wide as an interval of two-digit ranks, which would else be broken at its dash.
RANK = "&nbsp;rank&nbsp;"
#: Titles of the gate's values by their names in `Gate.values`; values by noise level keep theirs.
GATE_TITLES = {
    "F0(E)": "*F*0, end",
    "F0(E/2)": "*F*0, half-way",
    "A0_0": "*A*0",
    "cA": "constant answer",
}
#: Tasks up to which a row names the chosen strengths; with more it shows their stability instead.
MAX_STRENGTHS = 2

ProbeSetting = tuple[str, tuple[float, ...]]  #: regularizer, strength
ProbeColumn = tuple[str, str, str]  #: probe, metric, signal
ProbeMeans = Mapping[ProbeSetting, Mapping[ProbeColumn, float]]
Key = TypeVar("Key")


@dataclass(frozen=True)
class Column:
    """One column of a table: its title and its cells, all of them Markdown."""

    title: str
    cells: Sequence[str]
    left: bool = False  #: aligned left, as words are; numbers are aligned right


def table(header: Sequence[str], rows: Iterable[Sequence[str]], left: Iterable[int] = (0,)) -> str:
    """Write a Markdown table of cells that are Markdown already.

    Args:
        header: the titles of the columns.
        rows: the cells, row by row.
        left: places of the columns that are aligned left; the others are aligned right.
    """
    lines = [list(row) for row in rows]
    left_aligned = set(left)
    alignment = []
    for place in range(len(header)):
        alignment.append("left" if place in left_aligned else "right")
    return tabulate(
        lines,
        list(header),
        tablefmt="pipe",
        colalign=alignment if lines else None,
        disable_numparse=True,
    )


def anchor(entry: str) -> str:
    """Name the place where the page describes the entry."""
    return f"entry-{filename(entry)}"


def valid_tasks(board: Board) -> list[str]:
    """List the tasks that count."""
    return [gate.task for gate in board.gates if gate.valid]


def extra_readings(board: Board) -> list[str]:
    """List what rows say of signals that are in no score: "R pair-flip@0.4", "S randX"."""
    return _keys_in_order(row.extra for row in (*board.rows, *board.control_rows))


def ranking(board: Board) -> str:
    """Write the table of the board: complete entries, best first."""
    rows = board.rows
    columns = [
        Column(RANK, [ranks(row.rank) for row in rows]),
        Column("regularizer", [_entry_link(row, board) for row in rows], left=True),
        *_readings(rows, board),
    ]
    return _from_columns(columns)


def controls(board: Board) -> str:
    """Write the table of the control and the other rows that are read alike but never ranked."""
    return _unranked(board.control_rows, board)


def full_grids(board: Board) -> str:
    """Write the table of compositions that chose among all settings of their full grids."""
    return _unranked([row for row in board.full_rows if row.R], board)


def unfinished_rows(board: Board) -> list[Row]:
    """List the entries and full grids without an R."""
    return [*board.unranked, *(row for row in board.full_rows if not row.R)]


def unfinished(board: Board) -> str:
    """Write the table of entries without a rank because something is missing."""
    rows = unfinished_rows(board)
    columns = [
        Column("entry", [escape_markdown(row.entry) for row in rows], left=True),
        Column("cells done", [f"{row.done}/{row.cells}" for row in rows]),
        Column("why it is not ranked", [escape_markdown(row.reason) for row in rows], left=True),
    ]
    return _from_columns(columns)


def details(board: Board) -> str:
    """Write the table of the test against the control, of equal compute and of the frontier."""
    full_rows = [row for row in board.full_rows if row.R]
    rows = [*board.rows, *full_rows, *board.control_rows]
    columns = [
        Column("regularizer", [escape_markdown(row.entry) for row in rows], left=True),
        Column("group", [escape_markdown(row.group) for row in rows], left=True),
        Column("excess *X*", [unbroken(format_interval(row.X)) for row in rows]),
        Column("*p* of *X*", [_p_value(row.p_control) for row in rows]),
        Column("*R* at equal compute", [signed(row.equal_compute_R) for row in rows]),
    ]
    for budget in sorted(_keys_in_order(row.S_at for row in rows)):
        columns.append(Column(f"*S*@{budget:g}", [share(row.S_at.get(budget)) for row in rows]))
    columns.append(Column("frontier area", [share(row.area) for row in rows]))
    return _from_columns(columns)


def gates(board: Board) -> str:
    """Write the table of what each task had to show with `none` alone."""
    columns = [
        Column("task", [escape_markdown(gate.task) for gate in board.gates], left=True),
        Column("valid", [_verdict(gate) for gate in board.gates], left=True),
    ]
    for name in _keys_in_order(gate.values for gate in board.gates):
        title = GATE_TITLES.get(name) or f"*{name[0]}*{escape_markdown(name[1:])}"
        columns.append(Column(title, [percent(gate.values.get(name)) for gate in board.gates]))
    return _from_columns(columns)


def strengths(board: Board, plan: Manifest, task: str, probe_means: ProbeMeans) -> str:
    """Write the table of every strength of every entry on one task, in means over seeds.

    Args:
        board: the scores.
        plan: gives the order of the entries.
        task: the one task.
        probe_means: what probes measured there; its columns come last.
    """
    scores = _task_scores(board, plan, task)
    points = []
    names = []
    labels = []
    settings: list[ProbeSetting] = []
    with_points = [score for score in scores if score.points]
    if with_points:  # off is the same network for every entry: one line for all of them
        points.append(with_points[0].points[0])
        names.append("**none**")
        labels.append("")
        settings.append(("none", ()))
    for score in scores:
        if score.entry == "none":
            continue
        for place, point in enumerate(score.points[1:]):
            points.append(point)
            names.append("" if place else f"**{escape_markdown(score.entry)}**")
            mark = f" {CHOSEN}" if point.label == score.modal else ""
            labels.append(escape_markdown(point.label) + mark)
            settings.append(_probe_setting(score.entry, point.strength))
    every_point = [point for score in scores for point in score.points]
    columns = [
        Column("regularizer", names, left=True),
        Column("strength", labels),
        *_point_columns(points, every_point),
        *_probe_columns(settings, probe_means),
    ]
    return _from_columns(columns)


def training_less(board: Board, task: str) -> str:
    """Write the table of the control's settings on one task: `none` read early or trained slower.

    The task is one of `board.controls`.
    """
    control = board.controls[task]
    points = [*control.early, *control.low_rate]
    labels = [escape_markdown(point.label) for point in points]
    return _from_columns(
        [Column("none, read at", labels, left=True), *_point_columns(points, points)]
    )


def probe_means(records: Iterable[Record], task: str) -> ProbeMeans:
    """Average over seeds what probes measured at the budget; metrics of many numbers are left out.

    Args:
        records: of the suite.
        task: whose records count.

    Returns:
        (regularizer, strength) -> (probe, metric, signal) -> mean.
    """
    values: dict[ProbeSetting, dict[ProbeColumn, list[float]]] = {}
    for record in records:
        if record.cell.task != task:
            continue
        for probe, metrics in record.probes.items():
            for metric, curve in metrics.items():
                if curve and isinstance(curve[-1], (int, float)):
                    columns = values.setdefault((record.regularizer, record.strength), {})
                    columns.setdefault((probe, metric, record.signal), []).append(curve[-1])
    means: dict[ProbeSetting, dict[ProbeColumn, float]] = {}
    for setting, columns in values.items():
        means[setting] = {column: sum(some) / len(some) for column, some in columns.items()}
    return means


def _from_columns(columns: Sequence[Column]) -> str:
    rows = []
    for place in range(len(columns[0].cells)):
        rows.append([column.cells[place] for column in columns])
    left = [place for place, column in enumerate(columns) if column.left]
    return table([column.title for column in columns], rows, left)


def _keys_in_order(mappings: Iterable[Mapping[Key, object]]) -> list[Key]:
    """List the keys of all mappings once, in the order in which they come first."""
    keys: dict[Key, None] = {}
    for mapping in mappings:
        keys.update(dict.fromkeys(mapping))
    return list(keys)


def _unranked(rows: Sequence[Row], board: Board) -> str:
    names = [escape_markdown(row.entry) for row in rows]
    return _from_columns([Column("entry", names, left=True), *_readings(rows, board)])


def _readings(rows: Sequence[Row], board: Board) -> list[Column]:
    """Make the columns of what a row measures: the scores, the cost, the strengths and notes."""
    columns = [
        Column("recovery *R*", [unbroken(format_interval(row.R)) for row in rows]),
        Column("± images", [share(row.image_half) for row in rows]),
        Column("excess *X*", [_excess(row) for row in rows]),
        Column("*S*", [share(row.S) for row in rows]),
        Column("*ΔA*", [signed(row.dA) for row in rows]),
        Column(S_MIX, [share(row.S_mix) for row in rows]),
    ]
    for key in extra_readings(board):
        columns.append(Column(_extra_title(key), [share(row.extra.get(key)) for row in rows]))
    strength_title, chosen = _strengths(rows, valid_tasks(board))
    columns += [
        Column("cost", [times(row.cost) for row in rows]),
        Column(strength_title, chosen, left=True),
        Column("notes", [_notes(row) for row in rows], left=True),
    ]
    return columns


def _entry_link(row: Row, board: Board) -> str:
    """Link to the entry's description; entries that may be first are in bold."""
    link = f"[{escape_markdown(row.entry)}](#{anchor(row.entry)})"
    may_be_first = board.ranked and row.rank is not None and row.rank[0] == 1
    return f"**{link}**" if may_be_first else link


def _excess(row: Row) -> str:
    excess = signed(row.X.mean if row.X else None)
    return unbroken(f"{excess} {BEATS}" if row.beats_control else excess)


def _extra_title(key: str) -> str:
    measure, _, signal = key.partition(" ")
    return f"*{measure}* {escape_markdown(signal)}"


def _strengths(rows: Sequence[Row], tasks: Sequence[str]) -> tuple[str, list[str]]:
    """Make title and cells of the chosen strengths, or of their stability on many tasks."""
    if len(tasks) > MAX_STRENGTHS:
        stabilities = []
        for row in rows:
            stabilities.append(MISSING if row.stability is None else f"{row.stability:.0%}")
        return "stability", stabilities
    cells = []
    for row in rows:
        chosen = [unbroken(escape_markdown(row.chosen.get(task, MISSING))) for task in tasks]
        cells.append(" · ".join(chosen))
    if len(tasks) < 2:
        return "strength", cells
    return f"strength: {' · '.join(_short_task_names(tasks))}", cells


def _short_task_names(tasks: Sequence[str]) -> list[str]:
    """Name tasks without their data set if all have the same one."""
    datasets = {task.partition("/")[0] for task in tasks}
    if len(datasets) == 1:
        return [escape_markdown(task.partition("/")[2]) for task in tasks]
    return [escape_markdown(task) for task in tasks]


def _notes(row: Row) -> str:
    notes = [escape_markdown(flag) for flag in row.flags]
    if row.failed:
        notes.append(f"{row.failed}/{row.cells} failed")
    if not row.R:
        notes.append(escape_markdown(row.reason))
    return ", ".join(notes)


def _p_value(value: float | None) -> str:
    if value is None:
        return MISSING
    return "&lt; 0.001" if value < 0.001 else f"{value:.3f}"


def _verdict(gate: Gate) -> str:
    if gate.valid:
        return "yes"
    return "pending" if gate.pending else "**no**"


def _task_scores(board: Board, plan: Manifest, task: str) -> list[TaskScore]:
    """List the scores of the task in the manifest's order, each full grid behind its entry."""
    scores = []
    for entry in plan.entries:
        for name in (entry.name, entry.name + FULL):
            if (name, task) in board.scores:
                scores.append(board.scores[name, task])
    return scores


def _point_columns(points: Sequence[Point], every_point: Sequence[Point]) -> list[Column]:
    """Make the columns of what a strength measures.

    Args:
        points: one a row.
        every_point: those whose noise levels and further signals have columns.
    """
    levels = sorted(_keys_in_order(point.mixed for point in every_point))
    columns = [Column("real test acc. %", [percent(point.real) for point in points])]
    for level in levels:
        accuracies = [percent(point.mixed.get(level)) for point in points]
        columns.append(Column(f"mixed@{level:g} test acc. %", accuracies))
    columns.append(Column("randY fit *F* %", [percent(point.fit) for point in points]))
    for level in levels:
        memorized = [percent(point.wrong.get(level)) for point in points]
        columns.append(Column(f"wrong labels *M*@{level:g} %", memorized))
    columns.append(Column("*ΔA*", [signed(point.dA) for point in points]))
    columns.append(Column("*S*", [share(point.S) for point in points]))
    for level in levels:
        held_back = [share(point.S_mix.get(level)) for point in points]
        columns.append(Column(f"{S_MIX}@{level:g}", held_back))
    columns.append(Column("*R*", [signed(point.R) for point in points]))
    for key in _keys_in_order(point.extra for point in every_point):
        extras = [share(point.extra.get(key)) for point in points]
        columns.append(Column(_extra_title(key), extras))
    columns.append(Column("failed", [str(point.failed) for point in points]))
    return columns


def _probe_setting(entry: str, strength: tuple[float, ...]) -> ProbeSetting:
    """Name the setting as its records do: off is `none`, a full grid's is the entry's."""
    return (entry.removesuffix(FULL), strength) if strength else ("none", ())


def _probe_columns(settings: Sequence[ProbeSetting], means: ProbeMeans) -> list[Column]:
    """Make a column of each probe, metric and signal; a dash where nothing was measured."""
    columns = []
    for key in sorted(_keys_in_order(means.values())):
        probe, metric, signal = (escape_markdown(part) for part in key)
        cells = []
        for setting in settings:
            mean = means.get(setting, {}).get(key)
            cells.append(MISSING if mean is None else number(mean))
        columns.append(Column(f"{probe} {metric}, {signal}", cells))
    return columns

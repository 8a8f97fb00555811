"""The tables of the leaderboard's page, in Markdown.

Each function takes a board and returns a table. A column is written where its title is, so that a
title and its values cannot drift apart. No table has more than `MAX_COLUMNS` columns, which fit the
page as GitHub shows it; what has more is written as several tables with the same first column.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from tabulate import tabulate

from membench.records import Manifest
from membench.records import Record
from membench.report.environments import Environments
from membench.report.text import MISSING
from membench.report.text import count
from membench.report.text import escape_markdown
from membench.report.text import filename
from membench.report.text import format_interval
from membench.report.text import number
from membench.report.text import p_value
from membench.report.text import percent
from membench.report.text import ranks
from membench.report.text import rounded_down
from membench.report.text import share
from membench.report.text import share_interval
from membench.report.text import signed
from membench.report.text import times
from membench.report.text import unbroken
from membench.scoring.types import EARLY_STOPPING
from membench.scoring.types import FULL
from membench.scoring.types import LOW_RATE
from membench.scoring.types import NONE
from membench.scoring.types import TRAINING_LESS
from membench.scoring.types import Board
from membench.scoring.types import Confirmed
from membench.scoring.types import Excess
from membench.scoring.types import Gate
from membench.scoring.types import Interval
from membench.scoring.types import Point
from membench.scoring.types import Row
from membench.scoring.types import Strength
from membench.scoring.types import TaskScore

MAX_COLUMNS = 8
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
CHOSEN = "\N{BLACK LEFT-POINTING SMALL TRIANGLE}"  #: behind a strength that was chosen
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

ProbeSetting = tuple[str, Strength]  #: regularizer, strength
ProbeColumn = tuple[str, str, str]  #: probe, metric, signal
ProbeMeans = Mapping[ProbeSetting, Mapping[ProbeColumn, float]]
Key = TypeVar("Key")


@dataclass(frozen=True)
class Column:
    """One column of a table: its title and its cells, all of them Markdown."""

    title: str
    cells: Sequence[str]
    left: bool = False  #: aligned left, as words are; numbers are aligned right


@dataclass(frozen=True, kw_only=True)
class Setting:
    """A line of a task's table of strengths."""

    name: str  #: Markdown
    point: Point
    probe_setting: ProbeSetting


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
    rows = _with_controls(board.rows, board, lambda row: row.H)
    columns = [
        Column(RANK, [ranks(row.rank_H) for row in rows]),
        Column("entry", [_entry(row, board, first=row.first_H) for row in rows], left=True),
        Column("noise held back *H*", [_held_back(row) for row in rows]),
        Column("*S*", [share(row.S.mean if row.S else None) for row in rows]),
        Column("real accuracy *ΔA*", [_real_accuracy(row.dA) for row in rows]),
        Column("*H* beyond training less", [_excess(row.excess_H, row.stopping_H) for row in rows]),
    ]
    if _few_tasks(board):
        columns.append(_chosen(board, rows, "H"))
    notes = [_notes(row, board, environments, edge=row.H_edge) for row in rows]
    columns.append(Column("notes", notes, left=True))
    return _from_columns(columns)


def recovery(board: Board, environments: Environments) -> str:
    """Write the second list: by recovery, with the two controls in their places.

    Args:
        board: the scores.
        environments: names those of the rows.
    """
    rows = _with_controls(board.by_recovery, board, lambda row: row.R)
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
    return _from_columns(columns)


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
    return _from_columns(columns)


# --- more of each row ----------------------------------------------------------------------------


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
                _joined([signed(rounded_down(bound, digits=2)) for bound in noisy]),
                _joined([signed(value) for value in by_task]),
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
    return _from_columns(columns)


def further(board: Board) -> str:
    """Write what else was read: accuracy under noise, image sampling, cost, further signals."""
    rows = _all_rows(board)
    columns = [
        Column("entry", [escape_markdown(row.entry) for row in rows], left=True),
        Column("group", [escape_markdown(row.group) for row in rows], left=True),
        Column("cost", [times(row.cost) for row in rows]),
    ]
    for level in sorted(_keys_in_order(row.noisy for row in rows)):
        cells = [unbroken(format_interval(row.noisy.get(level))) for row in rows]
        columns.append(Column(f"*ΔA*@{level:g}", cells))
    columns.append(Column("± images", [share(row.image_half) for row in rows]))
    for key in extra_readings(board):
        cells = [share(row.extra.get(key)) for row in rows]
        columns.append(Column(_extra_title(key), cells))
    return _in_parts(columns)


def by_task(board: Board) -> str:
    """Write noise held back, real accuracy and recovery of every row on each valid task."""
    tasks = valid_tasks(board)
    rows = _all_rows(board)
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
    return _in_parts(columns, groups)


def extra_readings(board: Board) -> list[str]:
    """List what rows say of signals that are in no score: "R pair-flip@0.4", "S randX"."""
    return _keys_in_order(row.extra for row in _all_rows(board))


def gates(board: Board) -> str:
    """Write the table of what each task had to show with `none` alone."""
    columns = [
        Column("task", [escape_markdown(gate.task) for gate in board.gates], left=True),
        Column("valid", [_verdict(gate) for gate in board.gates], left=True),
    ]
    for name in _keys_in_order(gate.values for gate in board.gates):
        values = [percent(gate.values.get(name)) for gate in board.gates]
        columns.append(Column(_gate_title(name), values))
    return _in_parts(columns)


# --- every strength, on the choosing seeds -------------------------------------------------------


def settings(board: Board, plan: Manifest, task: str) -> list[Setting]:
    """List every strength of every entry on one task, with its name and the marks of choice.

    Args:
        board: the scores.
        plan: gives the order of the entries.
        task: the one task.
    """
    scores = [score for score in _task_scores(board, plan, task) if score.points]
    lines = []
    if scores:  # off is the same network for every entry: one line for all of them
        off = scores[0].points[0]
        lines.append(Setting(name="**none**", point=off, probe_setting=(NONE, ())))
    for score in scores:
        if score.entry in (NONE, LOW_RATE):  # the lower rates stand in the control's table
            continue
        for point in score.points[1:]:
            name = f"{escape_markdown(score.entry)} {escape_markdown(point.label)}"
            marks = _choice_marks(score, point.strength)
            line = Setting(
                name=unbroken(f"**{name}** {CHOSEN} {marks}" if marks else name),
                point=point,
                probe_setting=_probe_setting(score.entry, point.strength),
            )
            lines.append(line)
    return lines


def control_settings(board: Board, task: str) -> list[Setting]:
    """List what `TRAINING_LESS` chooses among: `none` read at each epoch, and each lower rate.

    Args:
        board: the scores.
        task: one that the board's `controls` has.
    """
    control = board.controls[task]
    score = board.scores.get((TRAINING_LESS, task))
    chosen: dict[str, str] = {}
    if score:
        for question, confirmed in (("*H*", score.held_back), ("*R*", score.recovery)):
            if confirmed:
                label = confirmed.label
                chosen[label] = f"{chosen[label]}, {question}" if label in chosen else question
    lines = []
    for point in (*control.early, *control.low_rate):
        name = escape_markdown(point.label)
        marks = chosen.get(point.label, "")
        line = Setting(
            name=unbroken(f"**{name}** {CHOSEN} {marks}" if marks else name),
            point=point,
            probe_setting=(NONE, ()),
        )
        lines.append(line)
    return lines


def setting_scores(lines: Sequence[Setting]) -> str:
    """Write the scores of each setting, and what the choices look at."""
    points = [line.point for line in lines]
    levels = sorted(level for level in _keys_in_order(p.gain_val for p in points) if level)
    real_gains = [signed(_points(point.gain_val.get(0.0))) for point in points]
    noisy_gains = []
    for point in points:
        noisy_gains.append(_joined([signed(_points(point.gain_val.get(p))) for p in levels]))
    columns = [
        Column("setting", [line.name for line in lines], left=True),
        Column("*H*", [share(point.H) for point in points]),
        Column("*S*", [share(point.S) for point in points]),
        Column("*ΔA*", [signed(point.dA) for point in points]),
        Column("*R*", [signed(point.R) for point in points]),
        Column("validation gain, `real`", real_gains),
        Column(f"validation gain, {_mixed_names(levels)}", noisy_gains),
        Column("failed", [_failures(point) for point in points]),
    ]
    return _from_columns(columns)


def setting_accuracies(lines: Sequence[Setting], probe_means: ProbeMeans) -> str:
    """Write what the scores of each setting are made of, and what probes measured.

    Args:
        lines: the settings.
        probe_means: as the function of this name returns them.
    """
    points = [line.point for line in lines]
    levels = sorted(_keys_in_order(point.mixed for point in points))
    columns = [
        Column("setting", [line.name for line in lines], left=True),
        Column("`real` test acc. %", [percent(point.real) for point in points]),
    ]
    for level in levels:
        accuracies = [percent(point.mixed.get(level)) for point in points]
        columns.append(Column(f"`mixed@{level:g}` test acc. %", accuracies))
    columns.append(Column("`randY` fit *F* %", [percent(point.fit) for point in points]))
    for level in levels:
        memorized = [percent(point.wrong.get(level)) for point in points]
        columns.append(Column(f"wrong labels *M*@{level:g} %", memorized))
    for key in _keys_in_order(point.extra for point in points):
        extras = [share(point.extra.get(key)) for point in points]
        columns.append(Column(_extra_title(key), extras))
    columns += _probe_columns([line.probe_setting for line in lines], probe_means)
    return _in_parts(columns)


def probe_means(records: Iterable[Record], plan: Manifest, board: Board, task: str) -> ProbeMeans:
    """Average over the choosing seeds what probes measured at the budget.

    Metrics of many numbers are left out, and records of other environments than the row's.

    Args:
        records: of the suite.
        plan: gives the choosing seeds.
        board: gives the rows' environments.
        task: whose records count.

    Returns:
        (regularizer, strength) -> (probe, metric, signal) -> mean.
    """
    values: dict[ProbeSetting, dict[ProbeColumn, list[float]]] = {}
    for record in records:
        if record.cell.task != task or record.seed not in plan.choosing:
            continue
        score = board.scores.get((record.regularizer, task))
        if score and score.env and record.env != score.env:
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


# --- tables of columns ---------------------------------------------------------------------------


def _from_columns(columns: Sequence[Column]) -> str:
    rows = []
    for place in range(len(columns[0].cells)):
        rows.append([column.cells[place] for column in columns])
    left = [place for place, column in enumerate(columns) if column.left]
    return table([column.title for column in columns], rows, left)


def _in_parts(columns: Sequence[Column], groups: Sequence[Sequence[Column]] = ()) -> str:
    """Write as many tables as the columns need, each with the first column.

    Args:
        columns: the first, then any others.
        groups: further columns, of which those of a group stay in one table.
    """
    first, *others = columns
    parts: list[list[Column]] = [[first]]
    for group in (*([column] for column in others), *groups):
        if len(parts[-1]) + len(group) > MAX_COLUMNS:
            parts.append([first])
        parts[-1] += group
    return "\n\n".join(_from_columns(part) for part in parts)


def _keys_in_order(mappings: Iterable[Mapping[Key, object]]) -> list[Key]:
    """List the keys of all mappings once, in the order in which they come first."""
    keys: dict[Key, None] = {}
    for mapping in mappings:
        keys.update(dict.fromkeys(mapping))
    return list(keys)


def _joined(cells: Sequence[str]) -> str:
    """Join what a cell says of several levels or tasks; it may be broken between them."""
    return " · ".join(unbroken(cell) for cell in cells)


# --- cells ---------------------------------------------------------------------------------------


def _with_controls(
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


def _all_rows(board: Board) -> list[Row]:
    rows = (*board.rows, *board.control_rows, *board.full_rows)
    return [row for row in rows if row.H]


def _unranked(rows: Sequence[Row], board: Board, environments: Environments) -> str:
    columns = [
        Column("entry", [escape_markdown(row.entry) for row in rows], left=True),
        Column("noise held back *H*", [_held_back(row) for row in rows]),
        Column("*S*", [share(row.S.mean if row.S else None) for row in rows]),
        Column("real accuracy *ΔA*", [_real_accuracy(row.dA) for row in rows]),
        Column("recovery *R*", [_recovery(row) for row in rows]),
    ]
    if _few_tasks(board):
        columns.append(_chosen(board, rows, "H", "strength for *H*"))
    notes = [_notes(row, board, environments, edge=row.H_edge or row.R_edge) for row in rows]
    columns.append(Column("notes", notes, left=True))
    return _from_columns(columns)


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
    return _at_least(share_interval(row.H), row.H_edge)


def _recovery(row: Row) -> str:
    return _at_least(format_interval(row.R), row.R_edge)


def _real_accuracy(value: Interval | None) -> str:
    return unbroken(format_interval(value, digits=1))


def _at_least(value: str, edge: bool) -> str:
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
    for task in row.skipped:
        notes.append(f"cannot act on {escape_markdown(task)}")
    notes += environments.notes(row)
    return ", ".join(notes)


def _runs_done(row: Row) -> str:
    """Count a row's own runs; early stopping is read from those of `none`."""
    return f"{row.done} of {row.cells}" if row.cells else MISSING


def _reading(confirmed: Confirmed | None, name: str) -> str:
    """Write one reading of a task: "H", "dA" or "R"."""
    if confirmed is None:
        return MISSING
    if name == "dA":
        return unbroken(format_interval(confirmed.dA))
    if name == "H":
        return _at_least(share_interval(confirmed.H), confirmed.edge)
    return _at_least(format_interval(confirmed.R), confirmed.edge)


def _both_labels(score: TaskScore | None) -> str:
    """Name the strengths of both questions, once where they are the same."""
    if score is None or score.held_back is None or score.recovery is None:
        return MISSING
    labels = dict.fromkeys((score.held_back.label, score.recovery.label))
    return "; ".join(unbroken(escape_markdown(label)) for label in labels)


def _choice_marks(score: TaskScore, strength: Strength) -> str:
    """Say by which question a strength was chosen: `*H*`, `*R*` or both."""
    questions = []
    if score.held_back and score.held_back.strength == strength:
        questions.append("*H*")
    if score.recovery and score.recovery.strength == strength:
        questions.append("*R*")
    return ", ".join(questions)


def _extra_title(key: str) -> str:
    measure, _, signal = key.partition(" ")
    return f"*{measure}* {escape_markdown(signal)}"


def _mixed_names(levels: Sequence[float]) -> str:
    return " · ".join(f"`mixed@{level:g}`" for level in levels)


def _points(gain: float | None) -> float | None:
    """Turn a difference of shares into percentage points."""
    return None if gain is None else 100 * gain


def _failures(point: Point) -> str:
    return f"{point.failed} of {point.cells}" if point.failed else ""


def _gate_title(name: str) -> str:
    measure, at, level = name.partition("@")
    title = GATE_TITLES.get(measure, escape_markdown(measure))
    return f"{title}{at}{level} %" if level else title


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


def _probe_setting(entry: str, strength: Strength) -> ProbeSetting:
    """Name the setting as its records do: off is `none`, a full grid's is the entry's."""
    return (entry.removesuffix(FULL), strength) if strength else (NONE, ())


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

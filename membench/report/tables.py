"""What probes measured, as columns of a task's table: their single numbers at the budget, in means over seeds."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence

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

ProbeSetting = tuple[str, tuple[float, ...]]
ProbeColumn = tuple[str, str, str]  #: probe, metric, signal
Probed = Mapping[ProbeSetting, Mapping[ProbeColumn, float]]


def probed(records: Iterable[Record], task: str) -> dict[ProbeSetting, dict[ProbeColumn, float]]:
    """(regularizer, strength) -> column -> mean over seeds. A metric of many numbers has no column."""
    found: dict[ProbeSetting, dict[ProbeColumn, list[float]]] = defaultdict(
        lambda: defaultdict(list)
    )
    for record in (r for r in records if r.cell.task == task):
        for probe, metrics in record.probes.items():
            for metric, values in metrics.items():
                if values and isinstance(values[-1], (int, float)):
                    at = found[record.regularizer, record.strength]
                    at[probe, metric, record.signal].append(values[-1])
    return {s: {c: sum(v) / len(v) for c, v in columns.items()} for s, columns in found.items()}


def probe_columns(table: Probed) -> list[ProbeColumn]:
    """All of them, sorted."""
    return sorted({column for row in table.values() for column in row})


def probe_heads(table: Probed) -> list[str]:
    """`csr share, randY`."""
    return [
        f"{escape_markdown(probe)} {escape_markdown(metric)}, {escape_markdown(signal)}"
        for probe, metric, signal in probe_columns(table)
    ]


def probe_cells(table: Probed, entry: str, strength: tuple[float, ...]) -> list[str]:
    """One row's; a dash where nothing was measured."""
    row = table.get((entry.removesuffix(FULL) if strength else "none", strength), {})
    return [number(row[c]) if c in row else MISSING for c in probe_columns(table)]


BEATS = "\N{CHECK MARK}"
CHOSEN = "\N{BLACK LEFT-POINTING SMALL TRIANGLE}"
RANK = "&nbsp;rank&nbsp;"  #: as wide as a range of two-digit ranks, which would else be broken at its dash
S_MIX = "*S*<sub>mix</sub>"
#: The gate's figures by their names in `Gate.values`; those by noise level keep theirs.
_GATE = {"F0(E)": "*F*0, end", "F0(E/2)": "*F*0, half-way", "A0_0": "*A*0", "cA": "constant answer"}
SHOWN = 2  #: strengths of so many tasks have room in a row; with more, their stability stands there alone


def table(header: Sequence[str], rows: Iterable[Sequence[str]], left: Iterable[int] = (0,)) -> str:
    """A Markdown table of cells that are already Markdown; columns not in `left` are right-aligned."""
    rows = [list(row) for row in rows]
    align = ["left" if i in set(left) else "right" for i in range(len(header))]
    return tabulate(
        rows, list(header), tablefmt="pipe", colalign=align if rows else None, disable_numparse=True
    )


def anchor(entry: str) -> str:
    """Where the page describes the entry."""
    return f"entry-{filename(entry)}"


def valid(board: Board) -> list[str]:
    """The tasks that count."""
    return [gate.task for gate in board.gates if gate.valid]


def extra(board: Board) -> list[str]:
    """What rows say of signals that are in no score: "R pair-flip@0.4", "S randX"."""
    return list(
        dict.fromkeys(key for row in (*board.rows, *board.control_rows) for key in row.extra)
    )


def _extra_head(key: str) -> str:
    measure, _, signal = key.partition(" ")
    return f"*{measure}* {escape_markdown(signal)}"


def shortened_table(tasks: Sequence[str]) -> dict[str, str]:
    """Task names without the data set where all have the same one."""
    datasets = {task.partition("/")[0] for task in tasks}
    return {
        task: escape_markdown(task.partition("/")[2] if len(datasets) == 1 else task)
        for task in tasks
    }


def ranking(board: Board) -> str:
    """The table of the board: complete entries, best first."""
    more = len(extra(board))
    return table(
        [RANK, "regularizer", *_measures(board)],
        [[ranks(row.rank), _named(row, board), *_measured(row, board)] for row in board.rows],
        left=(1, 9 + more, 10 + more),
    )


def controls(board: Board) -> str:
    """What training less, or other luck, gives: read like the rows above, never ranked."""
    return _unranked(board.control_rows, board)


def full_grids(board: Board) -> str:
    """Compositions with the choice among all settings of their full grids."""
    return _unranked([row for row in board.full_rows if row.R], board)


def _unranked(rows: Iterable[Row], board: Board) -> str:
    measured = [[escape_markdown(row.entry), *_measured(row, board)] for row in rows]
    more = len(extra(board))
    return table(["entry", *_measures(board)], measured, left=(0, 8 + more, 9 + more))


def unfinished(board: Board) -> list[Row]:
    """Entries and full grids without an R."""
    return [*board.unranked, *(row for row in board.full_rows if not row.R)]


def waiting(board: Board) -> str:
    """Entries without a rank because something is missing."""
    rows = [
        [escape_markdown(row.entry), f"{row.done}/{row.cells}", escape_markdown(row.reason)]
        for row in unfinished(board)
    ]
    return table(["entry", "cells done", "why it is not ranked"], rows, left=(0, 2))


def details(board: Board) -> str:
    """More of each row: equal compute, the test against the control, and the descriptive frontier."""
    rows = (*board.rows, *(row for row in board.full_rows if row.R), *board.control_rows)
    budgets = sorted({b for row in rows for b in row.S_at})
    header = ["regularizer", "group", "excess *X*", "*p* of *X*", "*R* at equal compute"]
    header += [*(f"*S*@{b:g}" for b in budgets), "frontier area"]
    return table(header, [_detail(row, budgets) for row in rows], left=(0, 1))


def gates(board: Board) -> str:
    """What each task had to show with `none` alone."""
    names = list(dict.fromkeys(name for gate in board.gates for name in gate.values))
    rows = [
        [escape_markdown(g.task), _verdict(g), *(percent(g.values.get(n)) for n in names)]
        for g in board.gates
    ]
    return table(
        ["task", "valid", *(_GATE.get(n) or f"*{n[0]}*{escape_markdown(n[1:])}" for n in names)],
        rows,
        left=(0, 1),
    )


def strengths(board: Board, plan: Manifest, task: str, seen: Probed) -> str:
    """Every strength of every entry on one task, in means over seeds; what probes have `seen` comes last."""
    names = [name for e in plan.entries for name in (e.name, e.name + FULL)]
    scores = [board.scores[name, task] for name in names if (name, task) in board.scores]
    levels = sorted({p for score in scores for point in score.points for p in point.mixed})
    more = list(
        dict.fromkeys(key for score in scores for point in score.points for key in point.extra)
    )
    rows = (
        [[*_off(scores, levels, more), *probe_cells(seen, "none", ())]]
        if any(score.points for score in scores)
        else []
    )
    for score in (s for s in scores if s.entry != "none"):
        name = f"**{escape_markdown(score.entry)}**"
        for point in score.points[1:]:
            mark = f" {CHOSEN}" if point.label == score.modal else ""
            measured = [
                *_point(point, levels, more),
                *probe_cells(seen, score.entry, point.strength),
            ]
            rows.append([name, escape_markdown(point.label) + mark, *measured])
            name = ""
    return table([*_heads(levels, more), *probe_heads(seen)], rows, left=(0,))


def training_less(board: Board, task: str) -> str:
    """The control's settings on one task: `none` read early, and at lower rates."""
    control = board.controls[task]
    points = (*control.early, *control.low_rate)
    levels = sorted({p for point in points for p in point.mixed})
    more = list(dict.fromkeys(key for point in points for key in point.extra))
    rows = [[escape_markdown(point.label), *_point(point, levels, more)] for point in points]
    return table(["none, read at", *_heads(levels, more)[2:]], rows)


def _measures(board: Board) -> list[str]:
    names = ["recovery *R*", "± images", "excess *X*", "*S*", "*ΔA*", S_MIX]
    return [*names, *map(_extra_head, extra(board)), "cost", _strength_head(board), "notes"]


def _measured(row: Row, board: Board) -> list[str]:
    return [
        unbroken(format_interval(row.R)),
        share(row.image_half),
        unbroken(signed(row.X and row.X.mean) + (f" {BEATS}" if row.beats_control else "")),
        share(row.S),
        signed(row.dA),
        share(row.S_mix),
        *(share(row.extra.get(key)) for key in extra(board)),
        times(row.cost),
        _strength(row, board),
        _notes(row),
    ]


def _notes(row: Row) -> str:
    failed = [f"{row.failed}/{row.cells} failed"] if row.failed else []
    return ", ".join(
        [escape_markdown(flag) for flag in row.flags]
        + failed
        + ([] if row.R else [escape_markdown(row.reason)])
    )


def _detail(row: Row, budgets: Sequence[float]) -> list[str]:
    compared = [unbroken(format_interval(row.X)), _p(row.p_control), signed(row.equal_compute_R)]
    return [
        escape_markdown(row.entry),
        escape_markdown(row.group),
        *compared,
        *(share(row.S_at.get(b)) for b in budgets),
        share(row.area),
    ]


def _named(row: Row, board: Board) -> str:
    """A link to the entry's description; the first group of the ranking stands out."""
    first = board.ranked and row.rank is not None and row.rank[0] == 1
    name = f"[{escape_markdown(row.entry)}](#{anchor(row.entry)})"
    return f"**{name}**" if first else name


def _strength_head(board: Board) -> str:
    tasks = valid(board)
    if len(tasks) > SHOWN:
        return "stability"
    return (
        "strength" if len(tasks) < 2 else f"strength: {' · '.join(shortened_table(tasks).values())}"
    )


def _strength(row: Row, board: Board) -> str:
    tasks = valid(board)
    if len(tasks) > SHOWN:
        return MISSING if row.stability is None else f"{row.stability:.0%}"
    return " · ".join(unbroken(escape_markdown(row.chosen.get(task, MISSING))) for task in tasks)


def _verdict(gate: Gate) -> str:
    return "yes" if gate.valid else "pending" if gate.pending else "**no**"


def _p(value: float | None) -> str:
    if value is None:
        return MISSING
    return "&lt; 0.001" if value < 0.001 else f"{value:.3f}"


def _heads(levels: Sequence[float], more: Sequence[str]) -> list[str]:
    return [
        "regularizer",
        "strength",
        "real test acc. %",
        *(f"mixed@{p:g} test acc. %" for p in levels),
        "randY fit *F* %",
        *(f"wrong labels *M*@{p:g} %" for p in levels),
        "*ΔA*",
        "*S*",
        *(f"{S_MIX}@{p:g}" for p in levels),
        "*R*",
        *map(_extra_head, more),
        "failed",
    ]


def _point(point: Point, levels: Sequence[float], more: Sequence[str]) -> list[str]:
    return [
        percent(point.real),
        *(percent(point.mixed.get(p)) for p in levels),
        percent(point.fit),
        *(percent(point.wrong.get(p)) for p in levels),
        signed(point.dA),
        share(point.S),
        *(share(point.S_mix.get(p)) for p in levels),
        signed(point.R),
        *(share(point.extra.get(key)) for key in more),
        str(point.failed),
    ]


def _off(scores: Sequence[TaskScore], levels: Sequence[float], more: Sequence[str]) -> list[str]:
    """Off is the same network for every entry: one line, not one an entry."""
    return ["**none**", "", *_point(next(s for s in scores if s.points).points[0], levels, more)]

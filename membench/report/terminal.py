"""The short board that ends `membench run`: a rich table that fits the terminal it is printed on."""

from __future__ import annotations

from rich.console import Group
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from membench.report.tables import MAX_STRENGTHS
from membench.report.text import format_interval
from membench.report.text import plain
from membench.report.text import ranks
from membench.report.text import share
from membench.report.text import signed
from membench.scoring import Board
from membench.scoring import Row
from membench.scoring.types import FULL
from membench.scoring.types import STILL_FITTING
from membench.scoring.types import TWO_NETWORK

WIDE = 100  #: columns from which all of the board fits
ROOMY = 112  #: columns from which there are two spaces between its columns
WORDY = 150  #: columns from which X has its interval again, and notes are words
FLAGS = {STILL_FITTING: "F", TWO_NETWORK: "2"}


def summary_table(board: Board, width: int = 100) -> RenderableType:
    """The board in `width` columns; below `WIDE` without S_mix, strengths (one a task) and notes. No rank, no column.

    Bold: may be first. Dim: the seeds do not show that it wins anything back; and what is never ranked.
    """
    full = [row for row in board.full_rows if row.R]
    if not board.rows and not full:
        return Text(_empty(board), style="yellow")
    gap = 1 if WIDE <= width < ROOMY else 2
    table = Table(box=None, pad_edge=False, padding=(0, gap, 0, 0), header_style="bold")
    rows = [(row, _style(row, board)) for row in board.rows]
    rows += [(row, "dim") for row in (*full, *board.control_rows) if row.R]
    cells = [_cells(row, width) for row, _ in rows]
    shown = [title for title in cells[0] if title != "rank" or board.ranked]
    for title in shown:
        justify = "left" if title in ("regularizer", "strength", "notes") else "right"
        table.add_column(title, justify=justify, no_wrap=title != "strength", overflow="fold")
    for own, (_, style) in zip(cells, rows, strict=True):
        table.add_row(*(Text(own[title]) for title in shown), style=style)
    return Group(table, *(Text(line, style="dim") for line in _below(board, width)))


def _cells(row: Row, width: int) -> dict[str, str]:
    """column -> what stands there."""
    excess = signed(row.X and row.X.mean) if WIDE <= width < WORDY else format_interval(row.X)
    cells = {"rank": ranks(row.rank) if row.rank else "", "regularizer": _name(row.entry)}
    cells |= {
        "recovery R": format_interval(row.R),
        "excess X": excess + _claim(row),
        "S": share(row.S),
        "dA": signed(row.dA),
    }
    if width >= WIDE:
        cells |= {"S_mix": share(row.S_mix), "strength": _chosen(row), "notes": _notes(row, width)}
    return cells


def _notes(row: Row, width: int) -> str:
    """`F2 3x`: flags as letters, runs that failed; or all in words."""
    if width >= WORDY:
        return ", ".join(
            [
                *(plain(flag, 30) for flag in row.flags),
                *([f"{row.failed} failed"] if row.failed else []),
            ]
        )
    flags = "".join(FLAGS.get(flag, "") for flag in row.flags)
    return f"{flags} {row.failed}x".strip() if row.failed else flags


def _chosen(row: Row) -> str:
    """The strength on each task, while they fit; how many folds agree is on the page."""
    if len(row.chosen) > MAX_STRENGTHS and row.stability is not None:
        return f"{row.stability:.0%} stable"
    labels = (
        label.partition(" (")[0].removeprefix("rate ").replace("x ", "x")
        for label in row.chosen.values()
    )
    return " \N{MIDDLE DOT} ".join(plain(label, 16) for label in labels)


def _name(entry: str) -> str:
    name = entry.removesuffix(FULL)
    return plain(name, 24 - len(entry) + len(name)) + entry.removeprefix(name)


def _claim(row: Row) -> str:
    return " *" if row.beats_control else "  "


def _style(row: Row, board: Board) -> str:
    if board.ranked and row.rank and row.rank[0] == 1:
        return "bold"
    return "dim" if row.R and row.R.low is not None and row.R.low <= 0 else ""


def _below(board: Board, width: int) -> list[str]:
    claims = any(row.beats_control for row in board.rows)
    lines = (
        ["* beats the control: does more than stopping early or training slower"] if claims else []
    )
    lines += [_flags(board)] if WIDE <= width < WORDY and _flags(board) else []
    return [*lines, *_without(board), *_said(board)]


def _said(board: Board) -> list[str]:
    """Who cannot act on any task, and the notes."""
    nowhere = [f"{plain(row.entry)} cannot act: {plain(row.reason, 200)}." for row in board.skipped]
    return [*nowhere, *(plain(note, 300) for note in board.notes)]


def _without(board: Board) -> list[str]:
    """Who has no row, by the reason."""
    names: dict[str, list[str]] = {}
    for row in board.unranked:
        names.setdefault("not ranked yet" if row.incomplete else row.reason, []).append(row.entry)
    for row in board.control_rows:
        if not row.R:
            names.setdefault(
                "controls, not complete yet" if row.incomplete else row.reason, []
            ).append(row.entry)
    return [
        f"{reason} ({len(some)}): {plain(', '.join(some), 600)}" for reason, some in names.items()
    ]


def _flags(board: Board) -> str:
    """What the letters mean that were used."""
    rows = (*board.rows, *board.full_rows, *board.control_rows)
    used = [
        f"{letter} {flag}"
        for flag, letter in FLAGS.items()
        if any(flag in row.flags for row in rows)
    ]
    used += [f"{row.failed}x: {row.failed} runs failed" for row in rows if row.failed][:1]
    return ", ".join(used)


def _empty(board: Board) -> str:
    done, cells = sum(row.done for row in board.unranked), sum(row.cells for row in board.unranked)
    start = f"nothing to rank yet, {done} of {cells} cells of its entries are done."
    if board.skipped and not board.unranked:
        start = "nothing to rank."
    return " ".join([f"{plain(board.suite)}: {start}", *_said(board)])

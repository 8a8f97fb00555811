"""The short board that ends `membench run`: a rich table that fits the terminal it is printed on."""

from __future__ import annotations

from rich.console import Group
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from membench.report.tables import SHOWN
from membench.report.text import interval
from membench.report.text import plain
from membench.report.text import ranks
from membench.report.text import share
from membench.report.text import signed
from membench.scoring import Board
from membench.scoring import Row
from membench.scoring.types import FULL

WIDE = 96  #: columns from which all of the board fits


def summary_table(board: Board, width: int = 100) -> RenderableType:
    """The board in `width` columns; below `WIDE` without S_mix, strengths (one a task) and notes."""
    full = [row for row in board.full_rows if row.R]
    if not board.rows and not full:
        return Text(_empty(board), style="yellow")
    wide = width >= WIDE
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for title, justify in _columns(wide):
        table.add_column(title, justify=justify, no_wrap=title not in ("strength", "notes"), overflow="fold")
    for row in board.rows:
        table.add_row(*_cells(row, wide), style=_style(row, board))
    for row in (*full, *board.control_rows):
        table.add_row(*_cells(row, wide), style="dim")
    return Group(table, *(Text(line, style="dim") for line in _below(board)))


def _columns(wide: bool) -> list[tuple[str, str]]:
    columns = [("rank", "right"), ("regularizer", "left"), ("recovery R", "right"), ("excess X", "right")]
    columns += [("S", "right"), ("dA", "right")]
    return [*columns, ("S_mix", "right"), ("strength", "left"), ("notes", "left")] if wide else columns


def _cells(row: Row, wide: bool) -> list[Text]:
    cells = [ranks(row.rank), _name(row.entry), interval(row.R), interval(row.X) + _claim(row)]
    cells += [share(row.S), signed(row.dA)]
    if wide:
        notes = [*(plain(flag, 30) for flag in row.flags), *([f"{row.failed} failed"] if row.failed else [])]
        cells += [share(row.S_mix), _chosen(row), ", ".join(notes)]
    return [Text(cell) for cell in cells]


def _chosen(row: Row) -> str:
    """The strength on each task, while they fit."""
    if len(row.chosen) > SHOWN and row.stability is not None:
        return f"{row.stability:.0%} stable"
    return ", ".join(plain(label, 16) for label in row.chosen.values())


def _name(entry: str) -> str:
    name = entry.removesuffix(FULL)
    return plain(name, 24 - len(entry) + len(name)) + entry.removeprefix(name)


def _claim(row: Row) -> str:
    return " *" if row.beats_control else "  "


def _style(row: Row, board: Board) -> str:
    return "bold" if board.ranked and row.rank and row.rank[0] == 1 else ""


def _below(board: Board) -> list[str]:
    claims = any(row.beats_control for row in board.rows)
    lines = ["* beats the control: does more than stopping early or training slower"] if claims else []
    if board.unranked:
        lines.append(f"not ranked yet: {plain(', '.join(row.entry for row in board.unranked), 200)}")
    return [*lines, *_said(board)]


def _said(board: Board) -> list[str]:
    """Who cannot act on any task, and the notes."""
    nowhere = [f"{plain(row.entry)} cannot act: {plain(row.reason, 200)}." for row in board.skipped]
    return [*nowhere, *(plain(note, 300) for note in board.notes)]


def _empty(board: Board) -> str:
    done, cells = sum(row.done for row in board.unranked), sum(row.cells for row in board.unranked)
    start = f"nothing to rank yet, {done} of {cells} cells of its entries are done."
    if board.skipped and not board.unranked:
        start = "nothing to rank."
    return " ".join([f"{plain(board.suite)}: {start}", *_said(board)])

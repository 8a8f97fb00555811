"""The short board that ends `membench run`: a rich table that fits the terminal."""

from __future__ import annotations

from typing import Literal

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

ALL_COLUMNS = 100  #: width of a terminal from which all columns of the board fit
WIDE_GAPS = 112  #: width from which there are two spaces between all columns
WORDS = 150  #: width from which X has its interval, and notes are words
FLAG_LETTERS = {STILL_FITTING: "F", TWO_NETWORK: "2"}


def summary_table(board: Board, width: int = 100) -> RenderableType:
    """Make the board for a terminal.

    Entries that may be first are bold. Dim are those of which the seeds do not show that they win
    anything back, and the rows that are never ranked. A board without ranks has no column of them.

    Args:
        board: the scores.
        width: of the terminal, in characters; below `ALL_COLUMNS` the table has no S_mix, no
            strengths (one a task) and no notes.
    """
    full_rows = [row for row in board.full_rows if row.R]
    if not board.rows and not full_rows:
        return Text(_nothing_to_rank(board), style="yellow")
    lines = []
    for row in board.rows:
        lines.append((_cells(row, width), _style(row, board)))
    for row in (*full_rows, *board.control_rows):
        if row.R:
            lines.append((_cells(row, width), "dim"))
    first_cells, _ = lines[0]
    titles = [title for title in first_cells if title != "rank" or board.ranked]

    gap = 1 if ALL_COLUMNS <= width < WIDE_GAPS else 2
    table = Table(box=None, pad_edge=False, padding=(0, gap, 0, 0), header_style="bold")
    for title in titles:
        is_text = title in ("regularizer", "strength", "notes")
        justify: Literal["left", "right"] = "left" if is_text else "right"
        table.add_column(title, justify=justify, no_wrap=title != "strength", overflow="fold")
    for cells, style in lines:
        table.add_row(*[Text(cells[title]) for title in titles], style=style)
    below = [Text(line, style="dim") for line in _lines_below(board, width)]
    return Group(table, *below)


def _cells(row: Row, width: int) -> dict[str, str]:
    """Map the title of each column to what stands there."""
    if ALL_COLUMNS <= width < WORDS:
        excess = signed(row.X.mean if row.X else None)
    else:
        excess = format_interval(row.X)
    cells = {
        "rank": ranks(row.rank) if row.rank else "",
        "regularizer": _name(row.entry),
        "recovery R": format_interval(row.R),
        "excess X": excess + (" *" if row.beats_control else "  "),
        "S": share(row.S),
        "dA": signed(row.dA),
    }
    if width >= ALL_COLUMNS:
        cells["S_mix"] = share(row.S_mix)
        cells["strength"] = _strength(row)
        cells["notes"] = _notes(row, width)
    return cells


def _name(entry: str) -> str:
    """Cut a long name, but keep the mark of a full grid."""
    name = entry.removesuffix(FULL)
    mark = entry.removeprefix(name)
    return plain(name, 24 - len(mark)) + mark


def _strength(row: Row) -> str:
    """Name the strength on each task, while they fit; how many folds agree is on the page."""
    if len(row.chosen) > MAX_STRENGTHS and row.stability is not None:
        return f"{row.stability:.0%} stable"
    strengths = []
    for label in row.chosen.values():
        strength, _, _ = label.partition(" (")
        strengths.append(plain(strength.removeprefix("rate ").replace("x ", "x"), 16))
    return " \N{MIDDLE DOT} ".join(strengths)


def _notes(row: Row, width: int) -> str:
    """Write flags as letters and the runs that failed, `F2 3x`; or all in words."""
    if width >= WORDS:
        notes = [plain(flag, 30) for flag in row.flags]
        if row.failed:
            notes.append(f"{row.failed} failed")
        return ", ".join(notes)
    letters = "".join(FLAG_LETTERS.get(flag, "") for flag in row.flags)
    return f"{letters} {row.failed}x".strip() if row.failed else letters


def _style(row: Row, board: Board) -> str:
    if board.ranked and row.rank and row.rank[0] == 1:
        return "bold"
    return "dim" if row.R and row.R.low is not None and row.R.low <= 0 else ""


def _lines_below(board: Board, width: int) -> list[str]:
    lines = []
    if any(row.beats_control for row in board.rows):
        lines.append("* beats the control: does more than stopping early or training slower")
    letters = _letters_explained(board)
    if letters and ALL_COLUMNS <= width < WORDS:
        lines.append(letters)
    return [*lines, *_rows_missing(board), *_remarks(board)]


def _letters_explained(board: Board) -> str:
    """Say what the letters mean that stand in the notes."""
    rows = (*board.rows, *board.full_rows, *board.control_rows)
    explained = []
    for flag, letter in FLAG_LETTERS.items():
        if any(flag in row.flags for row in rows):
            explained.append(f"{letter} {flag}")
    for row in rows:
        if row.failed:  # the first that failed is the example
            explained.append(f"{row.failed}x: {row.failed} runs failed")
            break
    return ", ".join(explained)


def _rows_missing(board: Board) -> list[str]:
    """Name the entries that have no row, by the reason."""
    names: dict[str, list[str]] = {}
    for row in board.unranked:
        reason = "not ranked yet" if row.incomplete else row.reason
        names.setdefault(reason, []).append(row.entry)
    for row in board.control_rows:
        if not row.R:
            reason = "controls, not complete yet" if row.incomplete else row.reason
            names.setdefault(reason, []).append(row.entry)
    lines = []
    for reason, entries in names.items():
        lines.append(f"{reason} ({len(entries)}): {plain(', '.join(entries), 600)}")
    return lines


def _remarks(board: Board) -> list[str]:
    """List the entries that cannot act on any task, and the notes."""
    remarks = []
    for row in board.skipped:
        remarks.append(f"{plain(row.entry)} cannot act: {plain(row.reason, 200)}.")
    return [*remarks, *(plain(note, 300) for note in board.notes)]


def _nothing_to_rank(board: Board) -> str:
    done = sum(row.done for row in board.unranked)
    cells = sum(row.cells for row in board.unranked)
    outcome = f"nothing to rank yet, {done} of {cells} cells of its entries are done."
    if board.skipped and not board.unranked:
        outcome = "nothing to rank."
    return " ".join([f"{plain(board.suite)}: {outcome}", *_remarks(board)])

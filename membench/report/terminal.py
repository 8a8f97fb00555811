"""The short board that ends `membench run`: a table that fits the terminal."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from rich.console import Console
from rich.console import ConsoleOptions
from rich.console import RenderableType
from rich.console import RenderResult
from rich.table import Table
from rich.text import Text

from membench.report.tables import MAX_STRENGTHS
from membench.report.text import count
from membench.report.text import format_interval
from membench.report.text import plain
from membench.report.text import ranks
from membench.report.text import share_interval
from membench.scoring.types import FULL
from membench.scoring.types import LOW_RATE
from membench.scoring.types import NONE
from membench.scoring.types import TRAINING_LESS
from membench.scoring.types import Board
from membench.scoring.types import Excess
from membench.scoring.types import Row

WIDE = 100  #: width of a terminal from which the strengths by H fit too
WIDE_GAPS = 112  #: width from which two spaces fit between all columns
WIDEST = 140  #: width from which those by R stand there too, where they are others
WORDS = ("entry", "marks", "strength")  #: columns that are aligned left
NAME = 22  #: characters of an entry's name, at most
#: Letter of each mark, in the order of the column, and what it means.
MARKS = {
    "C": "holds noise back at no real cost",
    "F": "on the front",
    "T": "holds back more than training less",
    "E": "more than early stopping",
    "g": "strength at an edge of its grid",
    "x": "some of its runs failed",
}
#: Spelling of a terminal that shows ASCII only.
ASCII = {
    "\N{PLUS-MINUS SIGN}": "+-",
    "\N{MINUS SIGN}": "-",
    "\N{EN DASH}": "-",
    "\N{EM DASH}": "-",
    "\N{MIDDLE DOT}": "/",
    "\N{HORIZONTAL ELLIPSIS}": "...",
}


def summary_table(board: Board, width: int | None = None) -> RenderableType:
    """Make the board for a terminal; one that shows ASCII only gets ASCII only.

    Entries that hold the claim are bold; rows that are never ranked are dim. A board without ranks
    has no column of them.

    Args:
        board: the scores.
        width: of the terminal, in characters: see `WIDE` and `WIDEST`; None: of the console that
            prints it.
    """
    return _Summary(board=board, width=width)


@dataclass(frozen=True, kw_only=True)
class RowLine:
    """A row that a run completes, as a line for a terminal."""

    line: RenderableType
    row: Row | None = None  #: None where there is no complete row, or for the plain network


def row_lines(board: Board, entry: str, seconds: float) -> list[RowLine]:
    """Write the rows of one entry, as a run completes them, each as a line.

    Args:
        board: with this entry and the plain network alone, so that it tells no ranks.
        entry: its name; that of the plain network has no row, only the reasons why a task is not
            valid.
        seconds: that its runs took, of one worker.
    """
    lines = []
    if entry == NONE:
        for gate in board.gates:
            if not gate.valid and not gate.pending:
                reasons = "; ".join(gate.reasons)
                line = f"{plain(gate.task)} is not valid: {plain(reasons, 300)}"
                lines.append(RowLine(line=_Line(text=line, style="yellow")))
        return lines
    for row in (*board.rows, *board.unranked, *board.full_rows, *board.control_rows):
        if row.entry in (entry, entry + FULL) or (entry == LOW_RATE and row.entry == TRAINING_LESS):
            complete = None if row.incomplete else row  # of `-k "dropout[0.5]"` no row comes
            lines.append(RowLine(line=_row_line(row, seconds), row=complete))
    return lines


def _row_line(row: Row, seconds: float) -> _Line:
    """Write `dropout    H 0.32 ± 0.02   dA +1.4 ± 0.3   R +0.42 ± 0.04   157 s`."""
    line = f"{_name(row.entry):{NAME}}"
    if row.H is None:
        text = f"{line}  {plain(row.reason, 300)}  {seconds:.0f} s"
        return _Line(text=text, style="yellow")
    line += f"  H {share_interval(row.H):11}"
    line += f"  dA {format_interval(row.dA):13}  R {format_interval(row.R):12}"
    return _Line(text=f"{line} {seconds:5.0f} s")  # 79 columns


@dataclass(frozen=True, kw_only=True)
class _Line:
    """One line of text, in ASCII where the terminal shows nothing else."""

    text: str
    style: str = ""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        show = _ascii if options.ascii_only else _as_it_is
        yield Text(show(self.text), style=self.style)


@dataclass(frozen=True, kw_only=True)
class _Summary:
    """What `rich` asks for the lines once it knows what the terminal can show."""

    board: Board
    width: int | None

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        show = _ascii if options.ascii_only else _as_it_is
        lines = shown_rows(self.board)
        if not lines:
            yield Text(show(nothing_to_rank(self.board)), style="yellow")
            return
        yield _table(self.board, lines, self.width or options.max_width, show)
        for line in lines_below(self.board):
            yield Text(show(line), style="dim")


def _table(
    board: Board, lines: Sequence[tuple[Row, str]], width: int, show: Callable[[str], str]
) -> Table:
    """Make the table.

    Args:
        board: the scores.
        lines: rows, each with its style.
        width: of the terminal.
        show: spells a text as the terminal can show it.
    """
    titles = titles_of(board, lines, width)
    gap = 1 if "strength" in titles and width < WIDE_GAPS else 2
    table = Table(box=None, pad_edge=False, padding=(0, gap, 0, 0), header_style="bold")
    for title in titles:
        justify: Literal["left", "right"] = "left" if title in WORDS else "right"
        table.add_column(title, justify=justify, no_wrap=title != "strength", overflow="fold")
    for row, style in lines:
        cells = cells_of(row, width)
        table.add_row(*[Text(show(cells[title])) for title in titles], style=style)
    return table


def titles_of(board: Board, lines: Sequence[tuple[Row, str]], width: int) -> list[str]:
    """List the titles of the columns that a table has.

    Args:
        board: the scores.
        lines: rows, each with its style; at least one.
        width: of the terminal.
    """
    left_out = set()
    if not board.ranked:
        left_out |= {"rank", "marks"} if not any(_marks(row) for row, _ in lines) else {"rank"}
    if width < WIDE or len(_tasks(board)) > MAX_STRENGTHS:
        left_out.add("strength")
    return [title for title in cells_of(lines[0][0], width) if title not in left_out]


def shown_rows(board: Board) -> list[tuple[Row, str]]:
    """List the rows with numbers, each with its style."""
    lines = []
    for row in board.rows:
        lines.append((row, "bold" if row.claim and row.claim.holds else ""))
    for row in (*board.full_rows, *board.control_rows):
        if row.H:
            lines.append((row, "dim"))
    return lines


def cells_of(row: Row, width: int) -> dict[str, str]:
    """Map the title of each column to what stands there."""
    return {
        "rank": ranks(row.rank_H) if row.rank_H else "",
        "entry": _name(row.entry),
        "held back H": share_interval(row.H),
        "real dA": format_interval(row.dA),
        "recovery R": format_interval(row.R),
        "marks": _marks(row),
        "strength": _strengths(row, width),
    }


def _name(entry: str) -> str:
    """Cut a long name, but keep the mark of a full grid."""
    name = entry.removesuffix(FULL)
    mark = entry.removeprefix(name)
    return plain(name, NAME - len(mark)) + mark


def _marks(row: Row) -> str:
    """Write a row's marks as letters of `MARKS`."""
    holds = {
        "C": row.claim is not None and row.claim.holds,
        "F": bool(row.on_front),
        "T": _is_significant(row.excess_H),
        "E": _is_significant(row.stopping_H),
        "g": row.H_edge or row.R_edge,
        "x": row.confirmed_failed > 0,
    }
    return "".join(letter for letter in MARKS if holds[letter])


def _is_significant(excess: Excess | None) -> bool:
    return excess is not None and bool(excess.significant)


def _strengths(row: Row, width: int) -> str:
    """Name the strength by H on each task, and in a wide terminal that by R if it is another."""
    strengths = []
    for task, label in row.chosen_held_back.items():
        labels = {_label(label): None}
        if width >= WIDEST:
            labels[_label(row.chosen_recovery.get(task, label))] = None
        strengths.append("|".join(labels))
    return " \N{MIDDLE DOT} ".join(strengths)


def _label(label: str) -> str:
    short = label.replace(" plain steps", " steps").replace("best validation epoch", "best epoch")
    return plain(short, 16)


def _tasks(board: Board) -> list[str]:
    return [gate.task for gate in board.gates if gate.valid]


def lines_below(board: Board) -> list[str]:
    """List the sentences that stand below the table."""
    return [*_counts(board), *_marks_explained(board), *_rows_missing(board), *_remarks(board)]


def _counts(board: Board) -> list[str]:
    """Count the entries that hold the claim; nothing where none is made."""
    tested = [row for row in board.rows if row.claim]
    if not tested:
        return []
    holding = [row for row in tested if row.claim and row.claim.holds]
    front = [row for row in holding if row.on_front]
    line = (
        f"{len(holding)} of {count(len(tested), 'entry', 'entries')} "
        f"{'holds' if len(holding) == 1 else 'hold'} noise back at no real cost, "
        f"{len(front)} on the front"
    )
    return [line]


def _marks_explained(board: Board) -> list[str]:
    """Say what the letters mean that stand in the table."""
    shown: set[str] = set()
    for row, _ in shown_rows(board):
        shown.update(_marks(row))
    explained = [f"{letter} {meaning}" for letter, meaning in MARKS.items() if letter in shown]
    return [", ".join(explained)] if explained else []


def _rows_missing(board: Board) -> list[str]:
    """Name the entries that have no row, by the reason."""
    names: dict[str, list[str]] = {}
    for row in board.unranked:
        reason = "not complete yet" if row.incomplete else row.reason
        names.setdefault(reason, []).append(row.entry)
    for row in board.control_rows:
        if not row.H:
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


def nothing_to_rank(board: Board) -> str:
    """Say in one sentence why a board has no row with numbers."""
    done = sum(row.done for row in board.unranked)
    cells = sum(row.cells for row in board.unranked)
    outcome = f"nothing to rank yet, {done} of {cells} runs of its entries are done."
    if not any(gate.valid or gate.pending for gate in board.gates):
        outcome = "nothing to rank, no task is valid."
    elif board.skipped and not board.unranked:
        outcome = "nothing to rank."
    return " ".join([f"{plain(board.suite)}: {outcome}", *_remarks(board)])


def _as_it_is(text: str) -> str:
    return text


def _ascii(text: str) -> str:
    for character, spelling in ASCII.items():
        text = text.replace(character, spelling)
    return text.encode("ascii", "replace").decode()

"""The board for a notebook: the terminal's table as HTML, and a row as columns of a data frame."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

from membench.report.terminal import WIDEST
from membench.report.terminal import WORDS
from membench.report.terminal import cells_of
from membench.report.terminal import lines_below
from membench.report.terminal import nothing_to_rank
from membench.report.terminal import shown_rows
from membench.report.terminal import titles_of
from membench.report.text import plain
from membench.scoring.types import Board
from membench.scoring.types import Excess
from membench.scoring.types import Interval
from membench.scoring.types import Row

#: How the styles of the terminal's rows are marked.
TAGS = {"bold": "strong", "dim": "em"}
#: Types of a data frame's columns of whole numbers and truths, of which some rows have none.
DTYPES = {
    "rank_H_low": "Int64",
    "rank_H_high": "Int64",
    "rank_R_low": "Int64",
    "rank_R_high": "Int64",
    "claim": "boolean",
    "on_front": "boolean",
    "excess_H_significant": "boolean",
    "excess_R_significant": "boolean",
    "stopping_H_significant": "boolean",
    "stopping_R_significant": "boolean",
}


def html_table(board: Board) -> str:
    """Write the table that ends a run as HTML, with a caption; text of plugins is escaped.

    Args:
        board: the scores.

    Returns:
        A table and the sentences below it, without a script or a style sheet.
    """
    lines = shown_rows(board)
    if not lines:
        return _paragraph(nothing_to_rank(board))
    titles = titles_of(board, lines, WIDEST)
    html = ["<table>", f"<caption>{escape(_caption(board))}</caption>", "<thead>"]
    html += [_html_row("th", titles, titles), "</thead>", "<tbody>"]
    for row, style in lines:
        cells = cells_of(row, WIDEST)
        texts = {title: escape(cells[title]) for title in titles}
        name = escape(plain(row.entry))  # whole, where a terminal has no room for it
        tag = TAGS.get(style)
        texts["entry"] = f"<{tag}>{name}</{tag}>" if tag else name
        html.append(_html_row("td", titles, list(texts.values())))
    html += ["</tbody>", "</table>"]
    html += [_paragraph(line) for line in lines_below(board)]
    return "\n".join(html)


def _caption(board: Board) -> str:
    caption = f"{plain(board.suite)} {board.version}"
    if board.confirming > 1:
        caption += f", {board.confirming} confirming seeds; ±: 95% interval"
    return caption


def _html_row(tag: str, titles: Sequence[str], cells: Sequence[str]) -> str:
    """Write a row of cells; those of words are aligned left.

    Args:
        tag: of each cell.
        titles: of the columns.
        cells: their HTML.
    """
    html = []
    for title, cell in zip(titles, cells, strict=True):
        side = "left" if title in WORDS else "right"
        html.append(f'<{tag} style="text-align: {side}">{cell}</{tag}>')
    return f"<tr>{''.join(html)}</tr>"


def _paragraph(line: str) -> str:
    return f"<p>{escape(line)}</p>"


def row_values(row: Row) -> dict[str, Any]:
    """Return a row's numbers under the names of a data frame's columns; None: not known.

    Args:
        row: of the board, ranked or not.
    """
    values: dict[str, Any] = {"entry": row.entry, "group": row.group}
    readings = {"H": row.H, "dA": row.dA, "R": row.R, "S": row.S}
    for name, interval in readings.items():
        values |= _interval_values(name, interval)
    for signal, interval in row.noisy.items():
        values |= _interval_values(f"dA {signal}", interval)
    for name, ranks in (("H", row.rank_H), ("R", row.rank_R)):
        values[f"rank_{name}_low"], values[f"rank_{name}_high"] = ranks or (None, None)
    claim = row.claim
    values["claim"] = claim.holds if claim else None
    values["claim_p"] = claim.p if claim else None
    values["on_front"] = row.on_front
    excesses = {
        "excess_H": row.excess_H,
        "excess_R": row.excess_R,
        "stopping_H": row.stopping_H,
        "stopping_R": row.stopping_R,
    }
    for name, excess in excesses.items():
        values |= _excess_values(name, excess)
    values["H_edge"], values["R_edge"] = row.H_edge, row.R_edge
    for task in row.chosen_held_back:
        values[f"strength_H {task}"] = row.chosen_held_back[task]
        values[f"strength_R {task}"] = row.chosen_recovery.get(task)
    values["cost"] = row.cost
    values["confirmed_runs"], values["confirmed_failed"] = row.confirmed_runs, row.confirmed_failed
    values["incomplete"], values["reason"] = row.incomplete, row.reason
    values["done"], values["cells"] = row.done, row.cells
    return values


def _interval_values(name: str, interval: Interval | None) -> dict[str, float | None]:
    """Return an estimate and the ends of its interval."""
    if interval is None:
        return {name: None, f"{name}_low": None, f"{name}_high": None}
    return {name: interval.mean, f"{name}_low": interval.low, f"{name}_high": interval.high}


def _excess_values(name: str, excess: Excess | None) -> dict[str, Any]:
    """Return how far a row is beyond a control, and whether that is significant."""
    if excess is None:
        return {name: None, f"{name}_significant": None}
    return {name: excess.value.mean, f"{name}_significant": excess.significant}

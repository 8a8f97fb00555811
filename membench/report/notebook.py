"""The board for a notebook: the terminal's table as HTML."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from membench.report.terminal import WIDEST
from membench.report.terminal import WORDS
from membench.report.terminal import cells_of
from membench.report.terminal import lines_below
from membench.report.terminal import nothing_to_rank
from membench.report.terminal import shown_rows
from membench.report.terminal import titles_of
from membench.report.text import plain
from membench.scoring.types import Board

#: How the styles of the terminal's rows are marked.
TAGS = {"bold": "strong", "dim": "em"}


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

"""Columns on the terminal that are never broken: a path is copied whole from them."""

from __future__ import annotations

from collections.abc import Collection
from collections.abc import Sequence

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text


def print_columns(
    console: Console,
    titles: Sequence[str],
    rows: Sequence[Sequence[str | Text]],
    right: Collection[str] = (),
) -> None:
    """Print rows below bold titles, each on one line however narrow the terminal is.

    Args:
        console: where to.
        titles: of the columns.
        rows: their cells; a `str` is literal text.
        right: titles of the columns that are aligned right.
    """
    lines = [[Text(title, "bold") for title in titles]]
    for row in rows:
        lines.append([cell if isinstance(cell, Text) else Text(cell) for cell in row])
    widths = [max(cell_len(cell.plain) for cell in column) for column in zip(*lines, strict=True)]
    for line in lines:
        text = Text()
        for title, cell, width in zip(titles, line, widths, strict=True):
            gap = " " * (width - cell_len(cell.plain))
            text += Text(gap) + cell if title in right else cell + Text(gap)
            text += Text("  ")
        text.rstrip()
        console.print(text, soft_wrap=True)

"""Markdown tables of columns: a title is written where its values are, so that they stay together.

No table has more than `MAX_COLUMNS` columns, which fit the page as GitHub shows it; what has more
is written as several tables with the same first column.
"""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from tabulate import tabulate

from membench.report.text import escape_markdown
from membench.report.text import unbroken

MAX_COLUMNS = 8

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


def from_columns(columns: Sequence[Column]) -> str:
    """Write a table of columns that have as many cells each."""
    rows = []
    for place in range(len(columns[0].cells)):
        rows.append([column.cells[place] for column in columns])
    left = [place for place, column in enumerate(columns) if column.left]
    return table([column.title for column in columns], rows, left)


def in_parts(columns: Sequence[Column], groups: Sequence[Sequence[Column]] = ()) -> str:
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
    return "\n\n".join(from_columns(part) for part in parts)


def keys_in_order(mappings: Iterable[Mapping[Key, object]]) -> list[Key]:
    """List the keys of all mappings once, in the order in which they come first."""
    keys: dict[Key, None] = {}
    for mapping in mappings:
        keys.update(dict.fromkeys(mapping))
    return list(keys)


def joined_cells(cells: Sequence[str]) -> str:
    """Join what a cell says of several levels or tasks; it may be broken between them."""
    return " · ".join(unbroken(cell) for cell in cells)


def extra_title(key: str) -> str:
    """Title what was read of a signal that is in no score: "R pair-flip@0.4", "S randX"."""
    measure, _, signal = key.partition(" ")
    return f"*{measure}* {escape_markdown(signal)}"

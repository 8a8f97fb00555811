"""The board's excerpt in README.md, checked by its tests.

`python tests/support/readme_board.py --write` renews it after `membench run` or `membench report`.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

REPO = Path(__file__).parents[2]
README = REPO / "README.md"
BOARD = REPO / "leaderboard" / "README.md"
BEGIN = "<!-- board:begin -->\n"
END = "<!-- board:end -->"
COLUMNS = (0, 1, 2, 4, 5, 6)  #: rank, entry, H, dA, excess, strength
ROWS = 6  #: entries, beside the controls


def excerpt(board: str, suite: str = "quick") -> str:
    """Cut out of the page what it says in short, and the first rows of a suite's list by *H*.

    These are the first entries and the controls; links lead to that page.
    """
    section = re.search(rf"^## {suite}, version .*?(?=^## |\Z)", board, re.MULTILINE | re.DOTALL)
    tables = [b for b in (section[0] if section else "").split("\n\n") if b.startswith("|")]
    if not tables or "noise held back" not in tables[0]:
        return "The board has not been made yet.\n"
    header, alignment, *rows = [_cells(line) for line in tables[0].splitlines()]
    kept = [header, alignment]
    entries = 0
    for row in rows:
        is_control = re.fullmatch(r"\*[^*]+\*", row[1]) is not None
        entries += not is_control
        if is_control or entries <= ROWS:
            kept.append(row)
    in_short = re.search(r"<!-- in short -->.*?(1\. .*?)\n<!-- in short: end", board, re.DOTALL)
    lines = [in_short[1], ""] if in_short else []
    for row in kept:
        lines.append("| " + " | ".join(row[place] for place in COLUMNS) + " |")
    return "\n".join(lines).replace("](#", "](leaderboard/README.md#").replace("&nbsp;", "") + "\n"


def current() -> str:
    """Return what README.md has to hold between the marks."""
    return excerpt(BOARD.read_text("utf-8") if BOARD.exists() else "")


def held(readme: str) -> str:
    """Return what the text of README.md holds between the marks."""
    return readme.partition(BEGIN)[2].partition(END)[0]


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


if __name__ == "__main__":
    text = README.read_text("utf-8")
    if "--write" in sys.argv:
        README.write_text(text.replace(BEGIN + held(text) + END, BEGIN + current() + END), "utf-8")
    sys.exit(held(README.read_text("utf-8")) != current())

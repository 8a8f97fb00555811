"""The board's excerpt in README.md: `python tests/support/readme_board.py --write` after `membench run` or `report`."""

from __future__ import annotations

import re
import sys
from pathlib import Path

REPO = Path(__file__).parents[2]
README = REPO / "README.md"
BOARD = REPO / "leaderboard" / "README.md"
BEGIN, END = "<!-- board:begin -->\n", "<!-- board:end -->"
COLUMNS = (0, 1, 2, 4, 5, 6, 7, 9)  #: rank, regularizer, R, X, S, dA, S_mix, strength
ROWS = 6


def excerpt(board: str, suite: str = "quick") -> str:
    """The first rows of the suite's ranking, and the control's; links lead to the board's page."""
    section = re.search(rf"^## {suite}, version .*?(?=^## |\Z)", board, re.MULTILINE | re.DOTALL)
    if section is None:
        return "The board has not been made yet.\n"
    tables = [block for block in section[0].split("\n\n") if block.startswith("|")]
    ranking = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in tables[0].splitlines()
    ]
    controls = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in tables[1].splitlines()[2:]
    ]
    rows = ranking[: 2 + ROWS] + [["", *row] for row in controls if row[0] == "control"]
    lines = ["| " + " | ".join(row[i] for i in COLUMNS) + " |" for row in rows]
    return "\n".join(lines).replace("](#", "](leaderboard/README.md#").replace("&nbsp;", "") + "\n"


def current() -> str:
    """What README.md has to hold between the marks."""
    return excerpt(BOARD.read_text("utf-8") if BOARD.exists() else "")


def held(readme: str) -> str:
    """What it holds."""
    return readme.partition(BEGIN)[2].partition(END)[0]


if __name__ == "__main__":
    text = README.read_text("utf-8")
    if "--write" in sys.argv:
        README.write_text(text.replace(BEGIN + held(text) + END, BEGIN + current() + END), "utf-8")
    sys.exit(held(README.read_text("utf-8")) != current())

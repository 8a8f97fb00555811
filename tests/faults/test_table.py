"""The table of promises names tests that there are."""

from __future__ import annotations

import re
from pathlib import Path

TESTS = Path(__file__).parents[1]
TABLE = (Path(__file__).parent / "README.md").read_text()
ROWS = [line.split(" | ") for line in TABLE.splitlines() if line.startswith("| R")]


def test_each_promise_has_a_row_a_test_and_a_figure() -> None:
    assert [row[0] for row in ROWS] == [f"| R{number}" for number in range(1, 21)]
    for row in ROWS:
        assert len(row) == 4
        assert "`" in row[2]
        figure = row[3].removesuffix(" |")
        assert re.search(r"\([ACDE]\)$", figure)  # where it is from, as said below the table


def test_every_test_that_the_table_names_is_there() -> None:
    path = ""
    named = re.findall(r"`([\w/]+\.py)?(?:::(\w+))?`", TABLE)
    for file, name in named:
        path = file or path  # "::name" is in the file that was named before
        text = (TESTS / path).read_text()
        assert f"def {name}(" in text or not name, f"{path}::{name}"
    assert sum(bool(name) for _, name in named) > 30

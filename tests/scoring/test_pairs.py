"""The differences of all rows of a board are those of two rows at a time."""

from __future__ import annotations

from itertools import combinations

import pytest
from support.scoring import LOW_RATE
from support.scoring import gaining
from support.scoring import holding_back
from support.scoring import make_entry
from support.scoring import make_suite
from support.scoring import with_effects

from membench.records import Manifest
from membench.records import Record
from membench.scoring import measured_rows
from membench.scoring import score
from membench.scoring.differences import differences_of

EFFECTS = {
    ("a", 0.3): holding_back(0.5, 0.6, 0.4, 0.5, 0.5),
    ("b", 0.2): holding_back(0.3, 0.2, 0.3, 0.4, 0.3),
    ("c", 0.2): gaining(0.08, 0.1, 0.12, 0.1, 0.1),
}


def suite(**options: object) -> tuple[Manifest, list[Record]]:
    entries = [make_entry(name) for name in "abc"]
    return make_suite(*entries, LOW_RATE, values=with_effects(EFFECTS), **options)


@pytest.mark.parametrize("tasks", [("d/a",), ("d/a", "e/a")])
def test_every_pair_has_the_difference_of_two_rows(tasks: tuple[str, ...]) -> None:
    board, rows = score(*suite(tasks=tasks)), measured_rows(*suite(tasks=tasks))
    assert set(board.pairs) == {"H", "dA", "R"}
    for reading, pairs in board.pairs.items():
        assert len(pairs) == len(list(combinations(rows, 2)))
        for (first, second), interval in pairs.items():
            found = {one.reading: one for one in differences_of(rows[second], rows[first])}
            assert interval.mean == pytest.approx(found[reading].value.mean)
            assert interval.half == pytest.approx(found[reading].value.half)


def test_one_confirming_seed_gives_no_differences() -> None:
    assert score(*suite(confirming=(3,))).pairs == {}

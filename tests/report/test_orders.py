"""A board's scores as data, and the table of how far boards and networks order entries alike."""

from __future__ import annotations

import json
from typing import Any

import pytest
from support.board_objects import made_board
from support.board_objects import made_row

from membench.report import orders

TASKS = ("d/mlp", "d/cnn")


def scores(suite: str, *held_back: float, tasks: tuple[str, ...] = ()) -> dict[str, Any]:
    """Scores of a suite with entries a, b, ...; its networks order them as it does."""
    entries = {}
    for name, value in zip("abcdefgh", held_back, strict=False):
        entries[name] = {"H": value, "R": value}
    return {suite: {"version": 1, "entries": entries, "tasks": dict.fromkeys(tasks, entries)}}


def lines(table: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]


def test_scores_hold_the_rows_the_controls_and_each_network() -> None:
    board = made_board()
    found = orders.decode(orders.encode(orders.scores_of([board])))["quick"]
    row = next(row for row in board.rows if row.entry == "dropout")
    entry = found["entries"]["dropout"]
    assert row.H and row.R and row.dA and row.claim
    assert (entry["H"], entry["H_half"]) == pytest.approx((row.H.mean, row.H.half))
    assert (entry["dA"], entry["R"]) == pytest.approx((row.dA.mean, row.R.mean))
    assert (tuple(entry["rank_H"]), entry["claim"]) == (row.rank_H, row.claim.holds)
    assert set(found["controls"]) == {row.entry for row in board.control_rows if row.H}
    for task in found["tasks"]:
        score = board.scores["dropout", task]
        assert score.held_back
        assert found["tasks"][task]["dropout"]["H"] == pytest.approx(score.held_back.H.mean)


def test_networks_are_compared_within_a_suite_and_suites_with_one_another() -> None:
    own = scores("quick", 0.1, 0.2, 0.3, 0.4, 0.5, tasks=TASKS)
    other = scores("fashion", 0.2, 0.1, 0.3, 0.4, 0.5, tasks=("e/mlp", "e/cnn"))
    _, _, *found = lines(orders.agreements(own, [other]))
    assert [line[:4] for line in found] == [
        ["quick", "fashion", "5", found[0][3]],
        ["quick, d/mlp", "quick, d/cnn", "5", found[1][3]],
        ["fashion, e/mlp", "fashion, e/cnn", "5", found[2][3]],
    ]
    assert found[0][3].startswith("+0.90 [")
    assert found[1][3].startswith("+1.00 [")


def test_there_is_no_table_where_too_few_entries_are_in_common() -> None:
    own = scores("quick", 0.1, 0.2, 0.3, 0.4, tasks=TASKS)
    assert orders.agreements(own, [scores("fashion", 0.1, 0.2, 0.3, 0.4)]) == ""


def test_a_suite_without_ranks_has_no_order() -> None:
    board = made_board()
    unranked = type(board)(**{**vars(board), "ranked": False, "rows": (made_row("a", 0.1, 0.0),)})
    found = orders.scores_of([unranked])["quick"]
    assert (found["entries"], found["tasks"]) == ({}, {})


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"{", b'{"quick": {}}', json.dumps({"q": {"entries": 3}}).encode()]
)
def test_damaged_scores_are_refused(content: bytes) -> None:
    with pytest.raises(ValueError):
        orders.decode(content)

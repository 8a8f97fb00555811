"""The claim, the two ranked lists and the front of a board."""

from __future__ import annotations

from math import sqrt
from typing import Any

import numpy as np
import pytest
from scipy.stats import t as student
from support.scoring import CONFIRMING
from support.scoring import LOW_RATE
from support.scoring import Effect
from support.scoring import baseline_values
from support.scoring import gaining
from support.scoring import holding_back
from support.scoring import make_entry
from support.scoring import score_suite
from support.scoring import with_effects

from membench.records import Cell
from membench.scoring import Board
from membench.scoring.stats import holm
from membench.scoring.stats import rank_intervals

T4_ONE_SIDED = 2.1318467863266495  # t quantile .95, 4 degrees of freedom, from tables


def board_of(effects: dict[str, Effect], **options: Any) -> Board:
    """Score entries that have an effect at their third strength, and do harm at all others."""
    at_third = {(name, 0.3): effect for name, effect in effects.items()}
    entries = [make_entry(name) for name in effects]
    return score_suite(*entries, values=with_effects(at_third), **options)


def claim_of(effect: Effect) -> Any:
    (row,) = board_of({"r": effect}).rows
    return row.claim


# --- the claim ------------------------------------------------------------------------------------


def test_the_claim_is_as_sure_as_its_least_sure_part() -> None:
    # H = .1, .2, .3, .2, .2: mean .2, var .02 / 4; above .1 at t = .1 / sqrt(.001)
    claim = claim_of(holding_back(0.1, 0.2, 0.3, 0.2, 0.2))
    error = sqrt(0.005 / 5)
    assert claim.p == pytest.approx(student.sf(0.1 / error, 4))
    assert claim.holds
    assert claim.H_bound == pytest.approx(0.2 - T4_ONE_SIDED * error)
    # one image of 200 is half a point
    assert claim.dA_bound == pytest.approx(-T4_ONE_SIDED * 0.5 / sqrt(5))
    assert claim.noisy_bounds == pytest.approx({"mixed@0.4": 10 - T4_ONE_SIDED * 0.5 / sqrt(5)})
    assert claim.dA_by_task == pytest.approx({"d/a": 0.0})


@pytest.mark.parametrize(
    "effect",
    [
        holding_back(0.102),  # too little noise held back
        holding_back(0.5) | {"real": {"acc": 0.893, "val": 0.9}},  # seven tenths of a point lost
        holding_back(0.5, acc=0.7) | {"mixed@0.4": {"acc": 0.693, "wrong": 0.5, "val": 0.7}},
    ],
    ids=["H", "dA", "noisy"],
)
def test_every_part_must_be_clear(effect: Effect) -> None:
    claim = claim_of(effect)
    assert not claim.holds and claim.p < 1


def test_one_that_quits_where_labels_look_random_holds_no_claim() -> None:
    """Were it chosen: validation images that do not see what the test images see."""
    quits = holding_back(0.95, acc=0.35)
    chosen = quits | {"mixed@0.4": dict(quits["mixed@0.4"]) | {"val": 0.7}}
    board = board_of({"r": chosen, "off": {}})
    by_name = {row.entry: row for row in board.rows}
    assert by_name["r"].H.mean == pytest.approx(0.95)
    assert (by_name["r"].claim.holds, by_name["r"].on_front) == (False, None)
    assert by_name["r"].claim.p == pytest.approx(1.0)


def test_a_point_of_real_accuracy_lost_on_one_task_denies_the_claim() -> None:
    def values(cell: Cell) -> dict[str, Any] | None:
        fields = with_effects({("r", 0.3): holding_back(0.5)})(cell)
        if fields and cell.strength == (0.3,) and cell.signal == "real":
            lost = 0.015 if cell.task == "d/b" else -0.015
            fields |= {"acc": 0.9 - lost, "val": 0.9}
        return fields

    (row,) = score_suite(make_entry("r"), values=values, tasks=("d/a", "d/b")).rows
    assert row.dA.mean == pytest.approx(0.0)
    assert row.claim.dA_by_task == pytest.approx({"d/a": 1.5, "d/b": -1.5})
    assert (row.claim.p, row.claim.holds) == (1.0, False)


def test_claims_are_corrected_for_the_number_of_ranked_rows() -> None:
    effect = holding_back(0.1, 0.2, 0.3, 0.2, 0.2)
    board = board_of({"r": effect, "b": {}, "c": {}, "d": {}, "e": {}})
    claim = next(row.claim for row in board.rows if row.entry == "r")
    assert claim.p == pytest.approx(5 * student.sf(0.1 / sqrt(0.001), 4))
    assert not claim.holds


# --- ranks ----------------------------------------------------------------------------------------


def test_rows_stand_by_noise_held_back_and_have_the_interval_of_their_rank() -> None:
    effects = {
        "c": holding_back(0.3, 0.31, 0.3, 0.31, 0.3),
        "a": holding_back(0.6, 0.61, 0.6, 0.61, 0.6),
        "b": holding_back(0.6, 0.6, 0.61, 0.61, 0.61),
    }
    rows = board_of(effects).rows
    # a - c = .3, far beyond t at .05 / 4; a and b differ by less than a label
    assert [(row.entry, row.rank_H, row.first_H) for row in rows] == [
        ("b", (1, 2), True),
        ("a", (1, 2), True),
        ("c", (3, 3), False),
    ]
    assert all(row.rank_R == (1, 3) and row.first_R for row in rows)


def test_recovery_has_a_list_of_its_own() -> None:
    effects = {"a": holding_back(0.6, acc=0.75), "b": holding_back(0.3, acc=0.85), "c": {}}
    board = board_of(effects)
    assert [row.entry for row in board.rows] == ["a", "b", "c"]
    assert [(row.entry, row.rank_R) for row in board.by_recovery] == [
        ("b", (1, 1)),
        ("a", (2, 2)),
        ("c", (3, 3)),
    ]


def test_all_noise_held_back_and_more_is_one_rank_ordered_by_recovery() -> None:
    effects = {"a": holding_back(1.2, acc=0.75), "b": holding_back(1.05, acc=0.8)}
    board = board_of(effects | {"c": holding_back(0.9, acc=0.85)})
    assert [(row.entry, row.rank_H) for row in board.rows] == [
        ("b", (1, 2)),
        ("a", (1, 2)),
        ("c", (3, 3)),
    ]


def test_equal_rows_stand_by_name() -> None:
    assert [row.entry for row in board_of({"b": {}, "a": {}, "c": {}}).rows] == ["a", "b", "c"]


def test_one_row_alone_is_first() -> None:
    (row,) = board_of({"r": gaining(0.1)}).rows
    assert (row.rank_H, row.rank_R, row.first_H, row.first_R) == ((1, 1), (1, 1), True, True)


def test_entries_at_the_bound_of_a_comparison() -> None:
    """Of two rows one beats the other at .05 / 2; it may not be first at .05."""
    t_025, t_050 = student.isf(0.025, 4), student.isf(0.05, 4)
    steps = np.array([-0.01, 0.01, 0.0, 0.01, -0.01])
    error = steps.std(ddof=1) / sqrt(5)
    for t, beaten, first in ((1.01 * t_025, True, False), (1.01 * t_050, False, False)):
        shares = 0.5 + t * error + steps
        effects = {"a": holding_back(*shares), "b": holding_back(0.5)}
        rows = board_of(effects).rows
        assert rows[1].rank_H == ((2, 2) if beaten else (1, 2))
        assert rows[1].first_H == first
    (_, second) = board_of(
        {"a": holding_back(*(0.5 + 0.9 * t_050 * error + steps)), "b": holding_back(0.5)}
    ).rows
    assert second.first_H


def test_rank_intervals_count_who_beats_whom() -> None:
    better = np.array([[0, 0, 1, 1], [0, 0, 0, 1], [0, 0, 0, 0], [0, 0, 0, 0]], dtype=bool)
    low, high = rank_intervals(better)
    assert (low.tolist(), high.tolist()) == ([1, 1, 2, 3], [2, 3, 4, 4])


def test_holm_steps_down() -> None:
    # sorted .01 .02 .04 -> x3, x2, x1 = .03 .04 .04; .03 again after .04 stays monotone
    assert holm(np.array([0.04, 0.01, 0.02])) == pytest.approx([0.04, 0.03, 0.04])
    assert holm(np.array([0.02, 0.021, 0.6])) == pytest.approx([0.06, 0.06, 0.6])


# --- the front ------------------------------------------------------------------------------------


def test_the_front_is_what_no_other_claim_beats_in_noise_held_back_and_real_accuracy() -> None:
    effects = {
        "strong": holding_back(0.9),
        "kind": holding_back(0.5, real=0.93),
        "both": holding_back(0.4, real=0.92),  # beaten by `kind` in both
        "weak": holding_back(0.05, real=0.96),  # holds no claim, so it is on no front
    }
    rows = board_of(effects).rows
    assert {row.entry: row.on_front for row in rows} == {
        "strong": True,
        "kind": True,
        "both": False,
        "weak": None,
    }


def test_a_row_without_the_claim_takes_nobody_off_the_front() -> None:
    quits = holding_back(0.95, acc=0.35, real=0.95)
    quits = quits | {"mixed@0.4": dict(quits["mixed@0.4"]) | {"val": 0.7}}
    rows = board_of({"cheat": quits, "honest": holding_back(0.6)}).rows
    assert {row.entry: row.on_front for row in rows} == {"cheat": None, "honest": True}


def test_the_level_of_the_front_counts_all_ranked_rows() -> None:
    """Between .05 and .05 / 3: on the front of four ranked rows, not of two."""
    t = (student.isf(0.05, 4) + student.isf(0.05 / 3, 4)) / 2
    steps = np.array([-0.01, 0.01, 0.0, 0.01, -0.01])
    shares = 0.5 + t * steps.std(ddof=1) / sqrt(5) + steps
    better = holding_back(*shares, real=0.93)
    effects = {"a": better, "b": holding_back(0.5)}
    assert board_of(effects).rows[1].on_front is False
    with_others = board_of(effects | {"c": {}, "d": {}}).rows
    assert {row.entry: row.on_front for row in with_others} == {
        "a": True,
        "b": True,
        "c": None,
        "d": None,
    }


# --- too few seeds --------------------------------------------------------------------------------


def test_four_confirming_seeds_give_intervals_but_no_ranks_and_no_claims() -> None:
    values = with_effects({("r", 0.3): holding_back(0.6)})
    board = score_suite(make_entry("r"), LOW_RATE, values=values, confirming=CONFIRMING[:4])
    (row,) = board.rows
    assert row.H.half > 0 and row.excess_H.value.half > 0
    assert (row.rank_H, row.rank_R, row.claim, row.on_front) == (None,) * 4
    assert (row.first_H, row.first_R) == (False, False)
    assert (row.excess_H.p, row.excess_H.significant) == (None, None)
    assert (board.ranked, board.confirming, board.choosing) == (False, 4, 3)
    assert row.reason == "4 confirming seeds: intervals, but no ranks and no claims"
    assert any(note.startswith("4 confirming seeds: intervals are given") for note in board.notes)


def test_one_confirming_seed_gives_no_intervals_and_the_board_says_so() -> None:
    board = board_of({"a": holding_back(0.3)}, confirming=CONFIRMING[:1])
    (row,) = board.rows
    assert (row.H.mean, row.H.half) == (pytest.approx(0.3), None)
    assert row.reason == "1 confirming seed: no intervals, no ranks and no claims"
    assert any(note.startswith("1 confirming seed: no intervals") for note in board.notes)


def test_rows_without_ranks_stand_by_noise_held_back_too() -> None:
    effects = {"a": holding_back(0.3), "b": holding_back(0.6)}
    board = board_of(effects, confirming=CONFIRMING[:2])
    assert [row.entry for row in board.rows] == ["b", "a"]


def test_a_seed_that_none_failed_at_may_cost_the_board_its_ranks() -> None:
    def values(cell: Cell) -> dict[str, Any]:
        fields = baseline_values(cell)
        if cell.regularizer == "none" and cell.seed == 4 and cell.signal == "randY":
            fields |= {"status": "timeout", "reason": "600 s"}
        return fields

    board = score_suite(make_entry("r"), values=values)
    assert board.gates[0].dropped == {4: "d/a/none/randY/seed4: timeout, 600 s"}
    assert board.gates[0].confirming == (3, 5, 6, 7)
    assert (board.confirming, board.ranked) == (4, False)
    assert any("seed 4 is dropped for every entry, because" in note for note in board.notes)

"""Golden numbers of the formulas, worked out by hand in the comments.

D = .2, K = 10, m = 200 in all of them. The formulas are in membench/scoring/README.md.
"""

from __future__ import annotations

from dataclasses import replace
from math import sqrt
from typing import Any

import numpy as np
import pytest
from support.scoring import CLASSES
from support.scoring import GRID
from support.scoring import baseline_values
from support.scoring import make_entry
from support.scoring import make_suite
from support.scoring import score_suite
from support.scoring import with_gains

from membench.errors import MembenchError
from membench.records import Cell
from membench.scoring import score
from membench.scoring.types import STILL_FITTING
from membench.scoring.types import TWO_NETWORK

T4 = 2.7764451051977987  # t quantile .975, 4 degrees of freedom, from tables
STEADY = {("r", 0.3): (0.08, 0.09, 0.10, 0.11, 0.12)}


def test_recovery_is_the_share_of_the_damage_won_back() -> None:
    board = score_suite(make_entry("r"), values=with_gains(STEADY))
    (row,) = board.rows
    # N = .08 .. .12, mean .10; G = .2: R = .5.
    # e = N - .5 x .2 = -.02, -.01, 0, .01, .02, var = 10e-4 / 4 = 2.5e-4
    # all subsets of seeds choose 0.3 (the others harm), so c = 0: v = 2.5e-4 / 5 / .2^2 = 1.25e-3
    assert row.R.mean == pytest.approx(0.5)
    assert row.R.half == pytest.approx(T4 * sqrt(1.25e-3))
    assert row.chosen == {"d/a": "0.3"}
    assert row.stability == 1.0
    assert [fold.R for fold in board.scores["r", "d/a"].folds] == pytest.approx(
        [0.4, 0.45, 0.5, 0.55, 0.6]
    )


def test_each_fold_is_chosen_by_the_other_seeds() -> None:
    gains = {("r", 0.1): (0.10,) * 5, ("r", 0.2): (0.30, 0.06, 0.06, 0.06, 0.06)}
    task_score = score_suite(make_entry("r"), values=with_gains(gains)).scores["r", "d/a"]
    # without seed 0: .40 against .24 -> 0.1; without another: .40 against .48 -> 0.2,
    # so N = .10, .06, .06, .06, .06
    assert [fold.label for fold in task_score.folds] == ["0.1", "0.2", "0.2", "0.2", "0.2"]
    # .34, where 0.2 on its own data has .54
    assert task_score.R.mean == pytest.approx((0.10 + 4 * 0.06) / 5 / 0.2)
    assert (task_score.modal, task_score.stability) == ("0.2", 0.8)
    # e = .10 - .068 = .032 and 4 x -.008: var = (.001024 + 4 x .000064) / 4 = .00032, / 5 = .000064
    # pairs of seeds: the 4 with seed 0 choose 0.2 (mean N .108), the 6 without choose 0.1 (.10):
    # c = .4 x .6 x .008^2
    c = 0.24 * 0.008**2
    assert task_score.R.half == pytest.approx(T4 * sqrt((0.000064 + c) / 0.04))


def test_a_spread_below_one_test_image_counts_as_one_image() -> None:
    row = score_suite(make_entry("r"), values=with_gains({("r", 0.3): (0.1,) * 5})).rows[0]
    assert row.R.half == pytest.approx(T4 * sqrt((1 / 200) ** 2 / 5 / 0.04))


def test_ties_go_to_the_weaker_strength_and_to_off_first() -> None:
    tie = {("r", 0.2): (0.1,) * 5, ("r", 0.3): (0.1,) * 5}
    assert score_suite(make_entry("r"), values=with_gains(tie)).rows[0].chosen == {"d/a": "0.2"}
    row = score_suite(make_entry("r")).rows[0]  # all strengths are exactly `none`
    assert row.chosen == {"d/a": "off"}
    assert (row.R.mean, row.S, row.dA, row.S_mix) == (0.0, 0.0, 0.0, 0.0)


def test_suppression_and_real_accuracy_are_read_at_the_chosen_strength() -> None:
    values = with_gains(
        {("r", 0.3): (0.1,) * 5}, randY={"train": 0.56}, mixed={"wrong": 0.4}, real={"acc": 0.89}
    )
    row = score_suite(make_entry("r"), values=values).rows[0]
    S = (1 - 0.56) / (1 - 0.12)  # cF = .12
    S_mix = 1 - (0.4 - 0.2 / 9) / (0.98 - 0.3 / 9)  # q = .2 / 9, q0 = .3 / 9
    R = (0.1 - 0.01) / 0.2
    assert (row.R.mean, row.S, row.dA, row.S_mix) == pytest.approx((R, S, -1.0, S_mix))


def test_noise_suppressed_only_in_a_network_of_its_own_is_flagged() -> None:
    values = with_gains(STEADY, randY={"train": 0.3}, mixed={"wrong": 0.9})
    row = score_suite(make_entry("r"), values=values).rows[0]
    assert row.flags == (TWO_NETWORK,)  # S = .7 / .88 = .80, S_mix = .07


@pytest.mark.parametrize(("last", "flags"), [(0.721, (STILL_FITTING,)), (0.719, ())])
def test_a_fit_that_still_rises_is_flagged(last: float, flags: tuple[str, ...]) -> None:
    values = with_gains(STEADY, randY={"train": (0.6, 0.7, last)}, mixed={"wrong": 0.7})
    row = score_suite(make_entry("r"), values=values).rows[0]
    assert row.flags == flags  # F(E) - F(.8 E) = .021 > .02, or .019


def test_budgets_and_area_read_the_frontier_of_all_strengths() -> None:
    # strength -> dA, S
    axes = {
        (0.1,): (0.0, 0.2),
        (0.2,): (-0.4, 0.3),
        (0.3,): (-0.8, 0.5),
        (0.4,): (-1.6, 0.6),
        (0.5,): (-9.0, 0.9),
    }

    def values(cell: Cell) -> dict[str, Any]:
        dA, S = axes.get(cell.strength, (0.0, 0.0))
        result = baseline_values(cell)
        if cell.signal == "real":
            result["acc"] = 0.9 + dA / 100
        if cell.signal == "randY":
            result["train"] = 1 - 0.88 * S
        return result

    row = score_suite(make_entry("r"), values=values).rows[0]
    assert row.S_at == pytest.approx({0.5: 0.3, 1.0: 0.5, 2.0: 0.6})
    # .2 on [0, .4], .3 on [.4, .8], .5 on [.8, 1.6], .6 on [1.6, 2], over 2 points
    assert row.area == pytest.approx((0.2 * 0.4 + 0.3 * 0.4 + 0.5 * 0.8 + 0.6 * 0.4) / 2)


def test_data_sets_count_the_same_however_many_tasks_they_have() -> None:
    by_task = {"d/a": 0.10, "d/b": 0.06, "e/a": 0.02}

    def values(cell: Cell) -> dict[str, Any]:
        result = baseline_values(cell)
        if cell.strength == (0.3,) and cell.signal == "mixed@0.4":
            result["acc"] = 0.7 + by_task[cell.task]
        return result

    board = score_suite(make_entry("r"), values=values, tasks=tuple(by_task))
    assert [gate.weight for gate in board.gates] == [0.25, 0.25, 0.5]
    assert board.rows[0].R.mean == pytest.approx(0.25 * 0.5 + 0.25 * 0.3 + 0.5 * 0.1)
    # three floors, v = (1/200)^2 / 5 / .04 each;
    # nu = (sum w^2)^2 / sum(w^4 / 4) = .375^2 / (.0703125 / 4) = 8
    v = (1 / 200) ** 2 / 5 / 0.04
    assert board.rows[0].R.half == pytest.approx(2.306004 * sqrt(0.375 * v), rel=1e-6)


def test_a_composition_chooses_among_tuples_of_strengths() -> None:
    pairs = tuple((s[0], 2 * s[0]) for s in GRID)

    def values(cell: Cell) -> dict[str, Any]:
        result = baseline_values(cell)
        if cell.strength == (0.2, 0.4) and cell.signal == "mixed@0.4":
            result["acc"] = 0.8
        return result

    row = score_suite(make_entry("a+b", strengths=pairs), values=values).rows[0]
    assert (row.chosen, row.R.mean) == ({"d/a": "0.2,0.4"}, pytest.approx(0.5))


@pytest.mark.parametrize("status", ["failed", "timeout", "diverged"])
def test_a_run_that_did_not_end_counts_as_the_worst_value(status: str) -> None:
    def values(cell: Cell) -> dict[str, Any]:
        result = with_gains(STEADY, randY={"train": 0.5})(cell)
        if cell.regularizer == "r" and cell.signal == "real" and cell.seed == 0:
            result["status"] = status
        return result

    board = score_suite(make_entry("r"), values=values)
    task_score, (row,) = board.scores["r", "d/a"], board.rows
    # seed 0: A_0 = 1/K = .1, N = -.8 + .08 = -.72;
    # the mean of N by validation is (-.72 + .42) / 5 < 0
    point = task_score.points[3]
    assert (point.R, point.dA) == pytest.approx(((-0.72 + 0.42) / 5 / 0.2, 100 * (0.1 - 0.9) / 5))
    assert (point.failed, row.failed, row.cells) == (1, 5, 75)
    # seed 0's own fold does not see its failure and pays: N = -.72; the other folds choose off
    assert [fold.label for fold in task_score.folds] == ["0.3", "off", "off", "off", "off"]
    assert row.R.mean == pytest.approx(-0.72 / 5 / 0.2)


def test_diverging_on_noise_suppresses_nothing() -> None:
    def values(cell: Cell) -> dict[str, Any]:
        result = baseline_values(cell)
        if cell.regularizer == "r" and cell.signal != "real":
            result["status"] = "diverged"
        return result

    point = score_suite(make_entry("r"), values=values).scores["r", "d/a"].points[2]
    readings = (point.S, point.S_mix[0.4], point.fit, point.R)
    assert readings == pytest.approx((0.0, 0.0, 1.0, (1 / CLASSES - 0.7) / 0.2))


def test_a_run_that_cannot_act_counts_as_off() -> None:
    skip = score_suite(
        make_entry("r", skipped={"d/b": "no taps"}),
        values=with_gains(STEADY),
        tasks=("d/a", "d/b"),
    ).rows[0]
    assert skip.R.mean == pytest.approx((0.5 + 0) / 2)
    assert skip.chosen == {"d/a": "0.3", "d/b": "skipped"}
    assert skip.skipped == {"d/b": "no taps"}

    def values(cell: Cell) -> dict[str, Any]:
        result = baseline_values(cell)
        if cell.regularizer == "r":
            result |= {"status": "skipped", "reason": "no taps"}
        return result

    board = score_suite(make_entry("r"), make_entry("q"), values=values)
    assert (board.scores["r", "d/a"].skipped, board.scores["r", "d/a"].R.mean) == ("no taps", 0.0)
    assert [(row.entry, row.reason, row.skipped) for row in board.skipped] == [
        ("r", "no taps", {"d/a": "no taps"})
    ]
    assert board.unranked == ()


def test_an_entry_that_cannot_act_on_any_task_is_listed_with_its_reason_whatever_has_run() -> None:
    nowhere = make_entry("r", skipped={"d/a": "no branch", "d/b": "no branch"})
    for values in (with_gains(STEADY), lambda cell: None):
        board = score_suite(nowhere, make_entry("q"), values=values, tasks=("d/a", "d/b"))
        assert [(row.entry, row.reason, row.incomplete) for row in board.skipped] == [
            ("r", "no branch", False)
        ]
        assert "r" not in [row.entry for row in (*board.rows, *board.unranked)]


def test_an_entry_that_can_act_on_an_invalid_task_only_is_not_ranked() -> None:
    def values(cell: Cell) -> dict[str, Any]:
        result = baseline_values(cell)
        if cell.task == "d/b":
            result["acc"] = 0.9  # label noise costs nothing there
        return result

    board = score_suite(
        make_entry("r", skipped={"d/a": "no branch"}), values=values, tasks=("d/a", "d/b")
    )
    assert ([row.entry for row in board.unranked], board.skipped) == (["r"], ())
    assert board.unranked[0].reason == "cannot act on any valid task"


def test_equal_compute_reads_the_curve_at_the_epoch_that_costs_as_much() -> None:
    def values(cell: Cell) -> dict[str, Any]:
        result = with_gains(STEADY)(cell)
        if cell.regularizer == "r":
            result["cost"] = 2.0
        return result

    manifest, records = make_suite(make_entry("r"), values=values)
    assert score(manifest, records).rows[0].equal_compute_R is None  # epoch 20 was not tested
    half_way = {"real": 0.9, "mixed@0.4": 0.76, "randY": None}
    for i, record in enumerate(records):
        if record.cost == 2:
            tests = (half_way[record.signal], None, record.test[-1])
            records[i] = replace(record, test=tests)
    row = score(manifest, records).rows[0]
    assert row.cost == 2.0
    assert row.equal_compute_R == pytest.approx(0.06 / 0.2)
    assert row.R.mean == pytest.approx(0.5)


def test_the_image_half_width_follows_from_the_bits_of_each_image() -> None:
    # 200 images, of which the entry wins the last 20 back in every seed with mixed labels:
    # N_i = 1 for 10%, R = .5, and G_i = 1 for the 20% that `none` loses to noise;
    # x_i = (N_i - .5 G_i) / .2 is 2.5 on 20, -2.5 on 20, 0 on 160
    def bits(right: int) -> str:
        return np.packbits(np.arange(200) < right).tobytes().hex()

    def values(cell: Cell) -> dict[str, Any]:
        result = with_gains({("r", 0.3): (0.1,) * 5})(cell)
        result["test_bits"] = bits(round(200 * result["acc"]))
        return result

    half = score_suite(make_entry("r"), values=values).rows[0].image_half
    assert half == pytest.approx(1.95996 * sqrt(40 * 2.5**2 / 199 / 200), rel=1e-5)
    assert score_suite(make_entry("r")).rows[0].image_half is None


def test_an_ok_record_without_its_last_accuracy_is_refused() -> None:
    manifest, records = make_suite(make_entry("r"))
    for i, record in enumerate(records):
        if record.regularizer == "r":
            records[i] = replace(record, test=(None,) * 3)
    with pytest.raises(MembenchError, match=r"d/a/r\[0.1\]/real/seed0"):
        score(manifest, records)

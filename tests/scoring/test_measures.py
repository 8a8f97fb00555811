"""Golden numbers of a row, worked out by hand in the comments.

The denominators are D = .2 for R and M0 - q0 = .98 - .3 / 9 for H; K = 10, 200 test images, 360
wrong labels, five confirming seeds. The formulas are in membench/scoring/README.md.
"""

from __future__ import annotations

from dataclasses import replace
from math import sqrt
from typing import Any

import numpy as np
import pytest
from support.scoring import BASELINE
from support.scoring import BEYOND_CHANCE
from support.scoring import CLASSES
from support.scoring import CONFIRMING
from support.scoring import GRID
from support.scoring import Effect
from support.scoring import baseline_values
from support.scoring import gaining
from support.scoring import holding_back
from support.scoring import make_entry
from support.scoring import make_suite
from support.scoring import record_of
from support.scoring import score_suite
from support.scoring import with_effects

from membench.errors import MembenchError
from membench.records import Cell
from membench.scoring import score
from membench.scoring.equal_compute import mean_at_equal_compute

T4 = 2.7764451051977987  # t quantile .975, 4 degrees of freedom, from tables


def row_of(effect: Effect) -> Any:
    """Score r, which has the effect at its third strength and does harm at all others."""
    (row,) = score_suite(make_entry("r"), values=with_effects({("r", 0.3): effect})).rows
    return row


def test_recovery_is_the_share_of_the_damage_won_back() -> None:
    row = row_of(gaining(0.08, 0.09, 0.10, 0.11, 0.12))
    # N = .08 .. .12, mean .10; G = .2: R = .5
    # e = (N - .5 x .2) / .2, var(N - .1) = 10e-4 / 4: v = 2.5e-4 / .04 / 5 = 1.25e-3
    assert row.chosen_recovery == {"d/a": "0.3"}
    assert (row.R.mean, row.R.half) == pytest.approx((0.5, T4 * sqrt(1.25e-3)))
    assert row.dA_recovery.mean == pytest.approx(0.0)


def test_noise_held_back_is_the_share_of_wrong_labels_not_memorized_beyond_chance() -> None:
    row = row_of(holding_back(0.5, 0.6, 0.7, 0.6, 0.6))
    # the denominator is the same at all seeds, so e = H_s - .6: var = .02 / 4, over 5 seeds
    assert row.chosen_held_back == {"d/a": "0.3"}
    assert (row.H.mean, row.H.half) == pytest.approx((0.6, T4 * sqrt(0.005 / 5)))
    # ten points more under noise, the same on real data; spreads below one image of 200
    one_image = T4 * 0.5 / sqrt(5)
    assert (row.noisy["mixed@0.4"].mean, row.noisy["mixed@0.4"].half) == pytest.approx(
        (10.0, one_image)
    )
    assert (row.dA.mean, row.dA.half) == pytest.approx((0.0, one_image))


def test_a_spread_below_one_wrong_label_is_not_believed() -> None:
    half = row_of(holding_back(0.6)).H.half
    assert half == pytest.approx(T4 / 360 / BEYOND_CHANCE / sqrt(5))


def test_suppression_is_read_in_networks_that_learn_noise_alone() -> None:
    row = row_of(holding_back(0.6) | {"randY": {"train": 0.56}})
    # cF = .12: (1 - .56) / .88; one of 1000 training images
    assert (row.S.mean, row.S.half) == pytest.approx((0.5, T4 * 1e-3 / 0.88 / sqrt(5)))


def test_more_noise_held_back_than_all_of_it_is_shown_as_it_is() -> None:
    assert row_of(holding_back(1.02)).H.mean == pytest.approx(1.02)


def test_levels_of_noise_count_alike() -> None:
    plain = BASELINE | {"mixed@0.2": {"acc": 0.8, "wrong": 0.99}}

    def values(cell: Cell) -> dict[str, Any]:
        fields = dict(plain[cell.signal])
        if cell.regularizer == "r" and cell.signal == "mixed@0.2":
            fields |= {"acc": 0.85, "wrong": 0.5}
        if cell.regularizer == "r" and cell.signal == "mixed@0.4":
            fields |= {"acc": 0.8, "wrong": 0.1}
        return fields

    signals = ("real", "mixed@0.4", "randY", "mixed@0.2")
    board = score_suite(make_entry("r"), values=values, signals=signals)
    (row,) = board.rows
    weak = 1 - (0.5 - 0.15 / 9) / (0.99 - 0.2 / 9)
    strong = 1 - (0.1 - 0.2 / 9) / BEYOND_CHANCE
    assert row.H.mean == pytest.approx((weak + strong) / 2)
    # (.05 + .1) of the damage .1 + .2
    assert row.R.mean == pytest.approx(0.5)
    assert {p: i.mean for p, i in row.noisy.items()} == pytest.approx(
        {"mixed@0.2": 5.0, "mixed@0.4": 10.0}
    )
    confirmed = board.scores["r", "d/a"].held_back
    assert confirmed.noisy_test == {"mixed@0.2": 0.85, "mixed@0.4": 0.8}
    assert confirmed.wrong == {"mixed@0.2": 0.5, "mixed@0.4": 0.1}


@pytest.mark.parametrize("signals", [("people", "real"), ("real", "randY", "people")])
def test_noise_of_ones_own_is_scored_as_mixed_labels_are(signals: tuple[str, ...]) -> None:
    def values(cell: Cell) -> dict[str, Any]:
        fields = dict(BASELINE["mixed@0.4" if cell.signal == "people" else cell.signal])
        if cell.regularizer == "r" and cell.signal == "people":
            fields |= {"acc": 0.8, "wrong": 0.1}
        return fields

    board = score_suite(make_entry("r"), values=values, signals=signals, noisy=("people",))
    (gate,) = board.gates
    assert gate.valid
    assert gate.values["M0@people"] == pytest.approx(0.98)
    assert ("F0(E)" in gate.values) == ("randY" in signals)
    (row,) = board.rows
    assert row.H.mean == pytest.approx(1 - (0.1 - 0.2 / 9) / BEYOND_CHANCE)
    assert (row.R.mean, row.dA.mean, row.noisy["people"].mean) == pytest.approx((0.5, 0.0, 10.0))
    assert row.claim.holds
    assert (row.S is None) == ("randY" not in signals)
    point = board.scores["r", "d/a"].points[1]
    assert (point.fit is None, point.S is None) == (row.S is None,) * 2
    assert point.gain_val == pytest.approx({"real": 0.0, "people": 0.1})


def test_further_noise_beside_mixed_labels_changes_no_score() -> None:
    plain = BASELINE | {"people": {"acc": 0.6, "wrong": 0.97}}

    def values(cell: Cell) -> dict[str, Any]:
        fields = dict(plain[cell.signal])
        if cell.regularizer == "r" and cell.signal != "real":
            fields |= {"acc": 0.8, "wrong": 0.1} if cell.signal == "mixed@0.4" else {"acc": 0.3}
        return fields

    signals = ("real", "people", "mixed@0.4", "randY")
    (row,) = score_suite(make_entry("r"), values=values, signals=signals).rows
    assert row.H.mean == pytest.approx(1 - (0.1 - 0.2 / 9) / BEYOND_CHANCE)
    assert list(row.noisy) == ["mixed@0.4"]


def test_every_number_is_read_on_the_confirming_seeds() -> None:
    """The choosing seeds see a wonder that does not come again."""
    effects = {("r", 0.3): holding_back(0.9, acc=0.85), ("r", 0.2): holding_back(0.5)}
    again = with_effects({("r", 0.3): holding_back(0.2, acc=0.75)})

    def values(cell: Cell) -> dict[str, Any] | None:
        return again(cell) if cell.seed in CONFIRMING else with_effects(effects)(cell)

    board = score_suite(make_entry("r"), values=values)
    (row,) = board.rows
    assert row.chosen_held_back == row.chosen_recovery == {"d/a": "0.3"}
    assert (row.H.mean, row.R.mean) == pytest.approx((0.2, 0.25))
    point = board.scores["r", "d/a"].points[3]
    readings = (point.H, point.R)
    assert readings == pytest.approx((0.9, 0.75))
    assert (point.label, point.seeds, point.cells) == ("0.3", 3, 9)


def test_each_question_is_read_at_its_own_strength() -> None:
    effects = {
        ("r", 0.2): holding_back(0.5, acc=0.75),
        # wins more accuracy back, and costs more than half a point of it on real data
        ("r", 0.4): holding_back(0.7, acc=0.82, real=0.88),
    }
    board = score_suite(make_entry("r"), values=with_effects(effects))
    (row,) = board.rows
    assert (row.chosen_held_back, row.chosen_recovery) == ({"d/a": "0.2"}, {"d/a": "0.4"})
    readings = (
        row.H.mean,
        row.dA.mean,
        row.noisy["mixed@0.4"].mean,
        row.R.mean,
        row.dA_recovery.mean,
    )
    assert readings == pytest.approx((0.5, 0.0, 5.0, 0.5, -2.0))
    task = board.scores["r", "d/a"]
    assert (task.held_back.strength, task.recovery.strength) == ((0.2,), (0.4,))
    assert task.recovery.H.mean == pytest.approx(0.7)
    assert (row.confirmed_runs, row.done, row.cells) == (30, 75, 75)


def test_one_strength_for_both_questions_is_trained_and_counted_once() -> None:
    row = row_of(holding_back(0.6))
    assert (row.confirmed_runs, row.done, row.cells) == (15, 60, 60)


def test_an_entry_equal_to_none_stays_off_and_has_nothing() -> None:
    (row,) = score_suite(make_entry("r")).rows
    assert row.chosen_held_back == row.chosen_recovery == {"d/a": "off"}
    assert (row.H.mean, row.S.mean, row.dA.mean, row.R.mean) == (0.0, 0.0, 0.0, 0.0)
    assert (row.confirmed_runs, row.cells) == (0, 45)
    assert not row.claim.holds and row.cost == 1.0


def test_data_sets_count_the_same_however_many_tasks_they_have() -> None:
    by_task = {"d/a": 0.10, "d/b": 0.06, "e/a": 0.02}

    def values(cell: Cell) -> dict[str, Any]:
        fields = baseline_values(cell)
        if cell.strength == (0.3,) and cell.signal == "mixed@0.4":
            fields["acc"] = 0.7 + by_task[cell.task]
        return fields

    board = score_suite(make_entry("r"), values=values, tasks=tuple(by_task))
    assert [gate.weight for gate in board.gates] == [0.25, 0.25, 0.5]
    R = board.rows[0].R
    assert R.mean == pytest.approx(0.25 * 0.5 + 0.25 * 0.3 + 0.5 * 0.1)
    # three floors, v = (1/200)^2 / 5 / .04 each;
    # nu = (sum w^2)^2 / sum(w^4 / 4) = .375^2 / (.0703125 / 4) = 8
    v = (1 / 200) ** 2 / 5 / 0.04
    assert R.half == pytest.approx(2.306004 * sqrt(0.375 * v), rel=1e-6)


def test_one_confirming_seed_gives_numbers_without_intervals() -> None:
    values = with_effects({("r", 0.3): holding_back(0.6)})
    (row,) = score_suite(make_entry("r"), values=values, choosing=(0,), confirming=(3,)).rows
    assert (row.H.mean, row.R.mean) == pytest.approx((0.6, 0.5))
    assert [i.half for i in (row.H, row.S, row.dA, row.R, row.noisy["mixed@0.4"])] == [None] * 5
    assert (row.claim, row.rank_H) == (None, None)


# --- runs that did not end ------------------------------------------------------------------------


def failing(signal: str, seed: int, status: str = "failed") -> Any:
    """Let r hold back 60% at its third strength, where one run of that does not end."""
    good = with_effects({("r", 0.3): holding_back(0.6)})

    def values(cell: Cell) -> dict[str, Any] | None:
        fields = good(cell)
        if fields and (cell.strength, cell.signal, cell.seed) == ((0.3,), signal, seed):
            fields["status"] = status
        return fields

    return values


@pytest.mark.parametrize("status", ["failed", "timeout", "diverged"])
def test_a_confirming_run_that_did_not_end_counts_as_the_worst_value(status: str) -> None:
    board = score_suite(make_entry("r"), values=failing("mixed@0.4", 3, status))
    (row,) = board.rows
    # at seed 3 H = 0 and A_.4 = .1, so N = .1 - .7 = -.6; .1 at the other four
    assert row.H.mean == pytest.approx(4 * 0.6 / 5)
    assert row.R.mean == pytest.approx((-0.6 + 0.4) / 5 / 0.2)
    assert row.noisy["mixed@0.4"].mean == pytest.approx(100 * (-0.6 + 0.4) / 5)
    assert (row.dA.mean, row.failed, row.confirmed_failed, row.confirmed_runs) == (0.0, 1, 1, 15)
    confirmed = board.scores["r", "d/a"].held_back
    assert (confirmed.failed, confirmed.runs) == (1, 15)
    assert confirmed.wrong["mixed@0.4"] == pytest.approx(
        (0.98 + 4 * (0.2 / 9 + 0.4 * BEYOND_CHANCE)) / 5
    )


def test_a_failure_widens_the_intervals_of_what_it_did_not_hit() -> None:
    row = score_suite(make_entry("r"), values=failing("mixed@0.4", 3)).rows[0]
    # k = 1 of r = 15 runs: rho = 2 / 17; dA = 0 would be 100 (.1 - .9) = -80 had all failed
    u = 2 / 17 * 15 / 17 * 80**2
    assert row.dA.half == pytest.approx(T4 * sqrt(u / 5))
    assert row.S.half == pytest.approx(T4 * 1e-3 / 0.88 / sqrt(5))  # worst as S is: nothing lost


@pytest.mark.parametrize(("strength", "warns"), [(0.1, True), (0.3, True), (0.5, False)])
def test_a_choosing_failure_of_a_strength_up_to_the_chosen_one_warns(
    strength: float, warns: bool
) -> None:
    good = with_effects({("r", 0.3): holding_back(0.6)})

    def values(cell: Cell) -> dict[str, Any] | None:
        fields = good(cell)
        if fields and (cell.strength, cell.signal, cell.seed) == ((strength,), "randY", 1):
            fields["status"] = "diverged"
        return fields

    (row,) = score_suite(make_entry("r"), values=values).rows
    assert (row.chosen_held_back, row.confirmed_failed) == ({"d/a": "0.3"}, 0)
    # k = 0 of r = 15: rho = 1 / 17; else one image of 200
    variance = 1 / 17 * 16 / 17 * 80**2 if warns else 0.25
    assert row.dA.half == pytest.approx(T4 * sqrt(variance / 5))


def test_a_failure_on_the_choosing_seeds_counts_in_the_choice() -> None:
    board = score_suite(make_entry("r"), values=failing("real", 0))
    (row,) = board.rows
    # V_0 = (.1 + .9 + .9) / 3: the strength is chosen by neither question
    assert row.chosen_held_back == row.chosen_recovery == {"d/a": "off"}
    point = board.scores["r", "d/a"].points[3]
    assert (point.failed, point.dA) == (1, pytest.approx(100 * (0.1 - 0.9) / 3))
    assert (row.failed, row.confirmed_failed) == (1, 0)


def test_diverging_on_noise_holds_back_nothing() -> None:
    def values(cell: Cell) -> dict[str, Any]:
        fields = baseline_values(cell)
        if cell.regularizer == "r" and cell.signal != "real":
            fields["status"] = "diverged"
        return fields

    point = score_suite(make_entry("r"), values=values).scores["r", "d/a"].points[2]
    readings = (point.S, point.H, point.fit, point.R)
    assert readings == pytest.approx((0.0, 0.0, 1.0, (1 / CLASSES - 0.7) / 0.2))


def test_a_run_that_cannot_act_counts_as_off() -> None:
    skipping = make_entry("r", skipped={"d/b": "no taps"})
    values = with_effects({("r", 0.3): holding_back(0.6)})
    board = score_suite(skipping, values=values, tasks=("d/a", "d/b"))
    (row,) = board.rows
    assert (row.H.mean, row.R.mean) == pytest.approx((0.3, 0.25))
    assert row.chosen_held_back == {"d/a": "0.3", "d/b": "skipped"}
    assert row.skipped == {"d/b": "no taps"}
    assert board.scores["r", "d/b"].complete

    def skipped_runs(cell: Cell) -> dict[str, Any]:
        fields = baseline_values(cell)
        if cell.regularizer == "r":
            fields |= {"status": "skipped", "reason": "no taps"}
        return fields

    board = score_suite(make_entry("r"), make_entry("q"), values=skipped_runs)
    assert board.scores["r", "d/a"].skipped == "no taps"
    assert [(row.entry, row.reason, row.skipped) for row in board.skipped] == [
        ("r", "no taps", {"d/a": "no taps"})
    ]
    assert board.unranked == ()


def test_an_ok_record_without_its_last_accuracy_is_refused() -> None:
    manifest, records = make_suite(make_entry("r"))
    for i, record in enumerate(records):
        if record.regularizer == "r":
            records[i] = replace(record, test=(None,) * 3)
    with pytest.raises(MembenchError, match=r"d/a/r\[0.1\]/real/seed0"):
        score(manifest, records)


# --- edges, cost, curves, images, further signals -------------------------------------------------


@pytest.mark.parametrize(
    ("strength", "limits", "edge"),
    [
        (0.1, (), True),
        (0.3, (), False),
        (0.5, (), True),
        (0.5, (None,), True),
        (0.5, (1.0,), True),
        (0.5, (0.5,), False),
    ],
)
def test_the_ends_of_a_grid_are_edges_but_not_a_natural_end(
    strength: float, limits: tuple[float | None, ...], edge: bool
) -> None:
    values = with_effects({("r", strength): holding_back(0.6)})
    (row,) = score_suite(make_entry("r", limits=limits), values=values).rows
    assert (row.H_edge, row.R_edge) == (edge, edge)


@pytest.mark.parametrize(("held_back", "edge"), [(0.09, False), (0.11, True)])
def test_the_weakest_strength_is_no_edge_where_off_does_nearly_as_well(
    held_back: float, edge: bool
) -> None:
    (row,) = score_suite(
        make_entry("r"), values=with_effects({("r", 0.1): holding_back(held_back, acc=0.705)})
    ).rows
    assert row.chosen_held_back == {"d/a": "0.1"}
    assert row.H_edge == edge


def test_a_composition_is_at_its_natural_end_where_every_part_is() -> None:
    pairs = tuple((s[0], 2 * s[0]) for s in GRID)
    values = with_effects({("a+b", 0.5): holding_back(0.6)})
    for limits, edge in (((0.5, 1.0), False), ((0.5, None), True), ((0.6, 1.0), True)):
        entry = make_entry("a+b", strengths=pairs, limits=limits)
        assert score_suite(entry, values=values).rows[0].H_edge == edge


def test_off_is_no_edge() -> None:
    (row,) = score_suite(make_entry("r")).rows
    assert not row.H_edge and not row.R_edge


def test_the_cost_is_the_largest_of_the_chosen_strengths() -> None:
    row = row_of(holding_back(0.6) | {"real": {"cost": 1.5}, "randY": {"cost": 2.0}})
    assert row.cost == 2.0


COSTLY = {"cost": 2.0}


def test_a_costly_row_is_also_read_where_it_has_cost_what_none_costs() -> None:
    early = (1 - 0.76) / 9 + 0.8 * BEYOND_CHANCE  # a fifth of the noise is held back at E / 2
    last = (1 - 0.8) / 9 + 0.4 * BEYOND_CHANCE
    row = row_of(
        {
            "real": COSTLY | {"test": (0.88, None, 0.9)},
            "mixed@0.4": COSTLY
            | {"acc": 0.8, "test": (0.76, None, 0.8), "wrong": (early, early, last)},
        }
    )
    assert row.cost == 2.0
    assert (row.H.mean, row.H_equal) == pytest.approx((0.6, 0.2))
    # N = -.02 + .06, G = .2
    assert (row.R.mean, row.R_equal) == pytest.approx((0.5, 0.2))


def test_a_row_that_was_not_tested_at_equal_compute_has_no_number_there() -> None:
    row = row_of(holding_back(0.6) | {"real": COSTLY})
    assert (row.cost, row.H_equal, row.R_equal) == (2.0, None, None)


def test_a_row_that_costs_what_none_costs_has_no_number_at_equal_compute() -> None:
    row = row_of(holding_back(0.6))
    assert (row.H_equal, row.R_equal) == (None, None)


def test_at_equal_compute_a_task_that_costs_no_more_has_its_reading_at_the_budget() -> None:
    tasks = [(0.5, 1.0, 0.4, None), (0.5, 1.6, 0.9, 0.2)]
    assert mean_at_equal_compute(tasks) == pytest.approx(0.5 * 0.4 + 0.5 * 0.2)


def test_the_curve_is_of_the_confirming_seeds_at_the_chosen_strength() -> None:
    effect = holding_back(0.6) | {"randY": {"train": (0.2, 0.3, 0.4)}}
    board = score_suite(make_entry("r"), values=with_effects({("r", 0.3): effect}))
    curve = board.scores["r", "d/a"].held_back.curve
    assert (curve.label, curve.epochs) == ("0.3", (20, 32, 40))
    assert curve.rand_train == pytest.approx((0.2, 0.3, 0.4))
    assert curve.noisy_val["mixed@0.4"] == pytest.approx((0.8,) * 3)
    assert board.controls["d/a"].curve.rand_train == (1.0,) * 3


def test_where_noise_is_not_held_back_the_curve_is_that_of_recovery() -> None:
    board = score_suite(make_entry("r"), values=with_effects({("r", 0.3): gaining(0.1)}))
    task = board.scores["r", "d/a"]
    assert (task.held_back.label, task.held_back.curve) == ("off", None)
    assert task.recovery.curve.label == "0.3"


def test_the_image_half_width_follows_from_the_bits_of_each_image() -> None:
    # 200 images, of which the entry wins the last 20 back in every seed with mixed labels:
    # N_i = 1 for 10%, R = .5, and G_i = 1 for the 20% that `none` loses to noise;
    # x_i = (N_i - .5 G_i) / .2 is 2.5 on 20, -2.5 on 20, 0 on 160
    def values(cell: Cell) -> dict[str, Any] | None:
        fields = with_effects({("r", 0.3): gaining(0.1)})(cell)
        if fields:
            right = np.arange(200) < round(200 * fields["acc"])
            fields["test_bits"] = np.packbits(right).tobytes().hex()
        return fields

    half = score_suite(make_entry("r"), values=values).rows[0].image_half
    assert half == pytest.approx(1.95996 * sqrt(40 * 2.5**2 / 199 / 200), rel=1e-5)
    assert score_suite(make_entry("r")).rows[0].image_half is None


def further(seeds_without: tuple[int, ...] = ()) -> dict[str, float]:
    """Score a suite that has pair-flip@0.4 and randX too.

    r[0.3] wins back half of what the flip costs, and suppresses a quarter of randX.

    Args:
        seeds_without: seeds at which `none` failed on randX.
    """
    of_none = BASELINE | {"pair-flip@0.4": {"acc": 0.5, "wrong": 0.97}, "randX": {"acc": 0.1}}
    of_r = {"mixed@0.4": {"acc": 0.8}, "pair-flip@0.4": {"acc": 0.7}, "randX": {"train": 0.775}}

    def values(cell: Cell) -> dict[str, Any]:
        fields = dict(of_none[cell.signal])
        if cell.regularizer == "r" and cell.strength == (0.3,):
            fields |= of_r.get(cell.signal, {})
        if cell.regularizer == "none" and cell.signal == "randX" and cell.seed in seeds_without:
            fields["status"] = "failed"
        return fields

    signals = (*BASELINE, "randX", "pair-flip@0.4")
    (row,) = score_suite(make_entry("r"), values=values, signals=signals).rows
    return dict(row.extra)


@pytest.mark.parametrize("seeds_without", [(), (3, 4)])
def test_further_signals_are_shown_and_do_not_count(seeds_without: tuple[int, ...]) -> None:
    # (.7 - .5) / (.9 - .5); (1 - .775) / (1 - .1)
    assert further(seeds_without) == pytest.approx({"R pair-flip@0.4": 0.5, "S randX": 0.25})


def test_a_further_signal_that_none_never_learned_is_left_out() -> None:
    assert further(CONFIRMING) == pytest.approx({"R pair-flip@0.4": 0.5})


def test_a_signal_that_no_score_needs_may_have_a_fit_alone() -> None:
    signals = (*BASELINE, "randX")
    manifest, records = make_suite(
        make_entry("r"), values=with_effects({("r", 0.3): gaining(0.1)}), signals=signals
    )
    for i, record in enumerate(records):
        if record.signal == "randX":
            records[i] = replace(record_of(record.cell), test=(None,) * 3)
    board = score(manifest, records)
    point = board.scores["r", "d/a"].points[1]
    assert point.train == {"real": 1.0, "mixed@0.4": 1.0, "randY": 1.0, "randX": 1.0}
    assert board.rows[0].R.mean == pytest.approx(0.5)

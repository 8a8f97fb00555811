"""The two controls: what they choose and give, the excess over them, and where nothing is said."""

from __future__ import annotations

from dataclasses import replace
from math import sqrt
from typing import Any

import pytest
from scipy.stats import t as student
from support.scoring import BEYOND_CHANCE
from support.scoring import CONFIRMING
from support.scoring import LOW_RATE
from support.scoring import Effect
from support.scoring import Values
from support.scoring import baseline_values
from support.scoring import gaining
from support.scoring import holding_back
from support.scoring import make_entry
from support.scoring import make_suite
from support.scoring import score_suite
from support.scoring import with_effects

from membench.records import Cell
from membench.scoring import score
from membench.scoring.types import EARLY_STOPPING
from membench.scoring.types import TRAINING_LESS

T4 = 2.7764451051977987  # t quantile .975, 4 degrees of freedom, from tables
GOOD = {("r", 0.3): holding_back(0.5, 0.6, 0.7, 0.6, 0.6)}


def stopped(
    held_back: float = 0.4,
    acc: float = 0.76,
    real: tuple[float, float] = (0.9, 0.9),
    effects: dict[tuple[str, float], Effect] | None = None,
) -> Values:
    """Let `none` be tested at E/2 too, where it has memorized less.

    Args:
        held_back: H at E/2.
        acc: accuracy on mixed labels at E/2.
        real: accuracy on real data at E/2, on test and on validation images.
        effects: of the entries; as in GOOD if not given.
    """

    def values(cell: Cell) -> dict[str, Any] | None:
        if cell.regularizer != "none":
            return with_effects(GOOD if effects is None else effects)(cell)
        fields = baseline_values(cell)
        last = fields["acc"]
        if cell.signal == "real":
            fields |= {"test": (real[0], None, last), "val": (real[1], last, last)}
        elif cell.signal == "mixed@0.4":
            wrong = (1 - acc) / 9 + (1 - held_back) * BEYOND_CHANCE
            fields |= {
                "test": (acc, None, last),
                "val": (acc, last, last),
                "wrong": (wrong, 0.9, 0.98),
            }
        return fields

    return values


# --- training less --------------------------------------------------------------------------------


def test_training_less_is_none_read_at_an_earlier_epoch() -> None:
    board = score_suite(make_entry("r"), LOW_RATE, values=stopped())
    control = board.control_rows[0]
    assert (control.entry, control.chosen_held_back) == (TRAINING_LESS, {"d/a": "epoch 20"})
    assert (control.H.mean, control.R.mean) == pytest.approx((0.4, 0.3))
    assert (control.rank_H, control.claim, control.excess_H) == (None, None, None)
    points = board.controls["d/a"]
    assert [p.label for p in points.early] == ["off", "epoch 20"]  # epoch 32 was not tested
    assert points.epochs == (40, 20)
    rates = [f"{rate:g} plain steps" for rate in (4, 2, 1.2, 0.8, 0.5)]
    assert [p.label for p in points.low_rate] == rates
    assert board.scores[TRAINING_LESS, "d/a"].points == (*points.early, *points.low_rate)


def test_training_less_may_train_at_a_lower_rate() -> None:
    values = with_effects({("low-lr", 1.2): holding_back(0.7), ("low-lr", 0.8): gaining(0.15)})
    control = score_suite(make_entry("r"), LOW_RATE, values=values).control_rows[0]
    assert control.chosen_held_back == {"d/a": "1.2 plain steps"}
    assert control.chosen_recovery == {"d/a": "0.8 plain steps"}
    assert (control.H.mean, control.R.mean) == pytest.approx((0.7, 0.75))
    assert (control.done, control.cells) == (45 + 30, 45 + 30)


def test_an_epoch_is_chosen_on_the_choosing_seeds_and_read_on_the_others() -> None:
    lucky, later = stopped(held_back=0.8), stopped(held_back=0.1)

    def values(cell: Cell) -> dict[str, Any] | None:
        return later(cell) if cell.seed in CONFIRMING else lucky(cell)

    control = score_suite(make_entry("r"), LOW_RATE, values=values).control_rows[0]
    assert control.chosen_held_back == {"d/a": "epoch 20"}
    assert control.H.mean == pytest.approx(0.1)


def test_without_low_lr_training_less_is_none_read_early_and_the_page_says_so() -> None:
    board = score_suite(make_entry("r"), values=stopped())
    assert board.control_rows[0].chosen_held_back == {"d/a": "epoch 20"}
    assert any("`low-lr` is not in this suite" in note for note in board.notes)
    skipping = replace(LOW_RATE, skipped={"d/a": "no rate"})
    board = score_suite(make_entry("r"), skipping, values=stopped())
    assert board.control_rows[0].chosen_held_back == {"d/a": "epoch 20"}
    assert any("`low-lr` cannot act (no rate)" in note for note in board.notes)


# --- early stopping -------------------------------------------------------------------------------


def best_at_the_first_epoch(seeds: tuple[int, ...]) -> Values:
    """Let the runs of `none` on mixed labels have their best validation accuracy at E/2.

    Args:
        seeds: where they do; at the others it is at E.
    """

    def values(cell: Cell) -> dict[str, Any]:
        fields = baseline_values(cell)
        if cell.regularizer == "none" and cell.signal == "mixed@0.4":
            early = 0.8 if cell.seed in seeds else 0.6
            fields |= {"val": (early, 1.0, 0.7), "test": (0.8, None, 0.7)}
            fields |= {"wrong": (0.5, 0.9, 0.98)}
        return fields

    return values


def test_early_stopping_reads_each_run_at_its_own_best_validation_epoch() -> None:
    board = score_suite(make_entry("r"), LOW_RATE, values=best_at_the_first_epoch((3, 4)))
    row = board.control_rows[1]
    assert (row.entry, row.chosen_held_back) == (EARLY_STOPPING, {"d/a": "best validation epoch"})
    # at two of five seeds E/2: epoch 32 has the best validation accuracy, but was not tested
    assert row.R.mean == pytest.approx(2 / 5 * 0.1 / 0.2)
    assert row.H.mean == pytest.approx(2 / 5 * (1 - (0.5 - 0.2 / 9) / BEYOND_CHANCE))
    confirmed = board.scores[EARLY_STOPPING, "d/a"].held_back
    assert confirmed.wrong["mixed@0.4"] == pytest.approx((2 * 0.5 + 3 * 0.98) / 5)
    assert (row.S, confirmed.S, confirmed.fit) == (None, None, None)


@pytest.mark.parametrize(("seeds", "at_end"), [((3, 4), False), ((3, 4, 5), True)])
def test_early_stopping_is_at_an_end_where_half_of_the_runs_are_best_at_their_first_epoch(
    seeds: tuple[int, ...], at_end: bool
) -> None:
    board = score_suite(make_entry("r"), values=best_at_the_first_epoch(seeds))
    assert board.control_rows[1].H_edge == at_end
    assert (board.rows[0].stopping_H.significant is None) == at_end


def test_of_equal_validation_accuracies_the_earliest_epoch_counts() -> None:
    values = stopped(acc=0.7)  # at E/2 as at E, with fewer wrong labels memorized
    row = score_suite(make_entry("r"), values=values).control_rows[1]
    assert row.H.mean == pytest.approx(0.4)


def test_early_stopping_may_read_real_and_mixed_labels_at_different_epochs() -> None:
    row = score_suite(make_entry("r"), values=stopped(real=(0.85, 0.85))).control_rows[1]
    assert (row.dA.mean, row.noisy["mixed@0.4"].mean) == pytest.approx((0.0, 6.0))
    row = score_suite(make_entry("r"), values=stopped(real=(0.88, 0.95))).control_rows[1]
    assert row.dA.mean == pytest.approx(-2.0)


# --- excess ---------------------------------------------------------------------------------------


def with_control(control: Effect) -> Values:
    """Let r be as in GOOD, and `low-lr` have an effect at a rate that is no end."""
    return with_effects(GOOD | {("low-lr", 1.2): control})


def test_the_excess_is_paired_with_the_control_at_its_own_strengths() -> None:
    control = holding_back(0.3, 0.5, 0.5, 0.4, 0.3, acc=0.76)
    board = score_suite(make_entry("r"), LOW_RATE, values=with_control(control))
    excess = board.rows[0].excess_H
    # differences .2, .1, .2, .2, .3: mean .2, var = .02 / 4
    error = sqrt(0.005 / 5)
    assert (excess.value.mean, excess.value.half) == pytest.approx((0.2, T4 * error))
    assert excess.p == pytest.approx(student.sf(0.2 / error, 4))
    assert excess.significant
    assert board.rows[0].excess_R.value.mean == pytest.approx(0.5 - 0.3)


def test_what_training_less_also_gives_is_no_excess() -> None:
    board = score_suite(make_entry("r"), LOW_RATE, values=with_control(GOOD["r", 0.3]))
    for excess in (board.rows[0].excess_H, board.rows[0].excess_R):
        assert excess.value.mean == pytest.approx(0.0)
        assert (excess.significant, excess.p) == (False, pytest.approx(0.5))


def test_noise_held_back_is_not_cut_in_an_excess() -> None:
    values = with_effects({("r", 0.3): holding_back(1.1), ("low-lr", 1.2): holding_back(1.05)})
    (row,) = score_suite(make_entry("r"), LOW_RATE, values=values).rows
    assert row.excess_H.value.mean == pytest.approx(0.05)


def test_the_excess_over_early_stopping_stands_beside_it() -> None:
    values = with_control(holding_back(0.1, acc=0.72))
    (row,) = score_suite(make_entry("r"), LOW_RATE, values=values).rows
    assert row.excess_H.value.mean == pytest.approx(0.5)
    assert row.stopping_H.value.mean == pytest.approx(0.6)  # `none` was not tested early: H = 0
    assert row.stopping_H.significant


def test_each_control_and_question_is_a_family_of_its_own() -> None:
    values = with_effects(
        {
            ("r", 0.3): holding_back(0.5, 0.6, 0.7, 0.6, 0.6),
            ("q", 0.3): gaining(0.08, 0.09, 0.10, 0.11, 0.12),
            ("low-lr", 1.2): holding_back(0.1, acc=0.71),
        }
    )
    rows = score_suite(make_entry("r"), make_entry("q"), LOW_RATE, values=values).rows
    by_name = {row.entry: row for row in rows}
    # of two rows: the smaller p twice, the larger once but not below the smaller's
    alone = student.sf(0.5 / sqrt(0.005 / 5), 4)
    assert by_name["r"].excess_H.p == pytest.approx(2 * alone)
    assert by_name["q"].excess_H.p > 0.9  # off: nothing held back


def test_an_incomplete_control_gives_no_excess_and_a_note() -> None:
    manifest, records = make_suite(make_entry("r"), LOW_RATE, values=stopped())
    board = score(manifest, [record for record in records if record.strength != (4.0,)])
    assert board.control_rows[0].incomplete
    row = board.rows[0]
    assert (row.excess_H, row.excess_R, row.rank_H) == (None, None, (1, 1))
    assert row.stopping_H.p < 0.05
    (note,) = [note for note in board.notes if "No excess" in note]
    assert "`training less`" in note and "`r`" in note


@pytest.mark.parametrize(
    ("rate", "significant"), [(4.0, True), (2.0, True), (0.8, True), (0.5, None)]
)
def test_nothing_is_claimed_over_a_control_at_its_lowest_rate(
    rate: float, significant: bool | None
) -> None:
    values = with_effects(GOOD | {("low-lr", rate): holding_back(0.2, acc=0.72)})
    board = score_suite(make_entry("r"), LOW_RATE, values=values)
    (row,) = board.rows
    assert (row.excess_H.significant, row.excess_R.significant) == (significant, significant)
    assert row.stopping_H.significant
    assert board.control_rows[0].H_edge == (significant is None)
    notes = [note for note in board.notes if "is at an end of its grid" in note]
    assert len(notes) == (0 if significant else 2)
    assert all("d/a (0.5 plain steps)" in note for note in notes)


def test_nothing_is_claimed_over_a_control_at_its_earliest_epoch() -> None:
    board = score_suite(make_entry("r"), LOW_RATE, values=stopped())
    (row,) = board.rows
    assert (row.excess_H.significant, row.excess_R.significant) == (None, None)
    # the runs on mixed labels are best at E/2, the earliest that was tested
    assert (row.stopping_H.significant, row.stopping_R.significant) == (None, None)
    notes = " ".join(board.notes)
    assert "`training less`, chosen by noise held back, is at an end" in notes
    assert "d/a (epoch 20)" in notes and "d/a (best validation epoch)" in notes


def test_an_epoch_between_others_is_no_end() -> None:
    base = stopped()

    def values(cell: Cell) -> dict[str, Any] | None:
        fields = base(cell)
        if fields and cell.regularizer == "none":
            for name in ("test", "val", "wrong"):
                if name in fields:
                    # one more epoch before it, at which nothing has been learned yet
                    start = 0.1 if name != "wrong" else 0.05
                    fields[name] = (start, fields[name][0], fields[name][2])
            fields["train"] = (0.5, 0.99, 1.0)
            fields["epochs"] = (5, 20, 40)
        return fields

    board = score_suite(make_entry("r"), LOW_RATE, values=values)
    assert board.control_rows[0].chosen_held_back == {"d/a": "epoch 20"}
    (row,) = board.rows
    assert (row.excess_H.significant, row.stopping_H.significant) == (True, True)
    assert not [note for note in board.notes if "is at an end" in note]


# --- the other controls ---------------------------------------------------------------------------


def test_further_controls_change_neither_the_two_nor_the_ranks() -> None:
    """An oracle that holds back all noise stands beside the controls, not in their choice."""
    effects = GOOD | {
        ("oracle", 0.5): holding_back(1.0, acc=0.9),
        ("low-lr", 1.2): holding_back(0.3, acc=0.75),
    }
    values = with_effects(effects)
    alone = score_suite(make_entry("r"), LOW_RATE, values=values)
    further = make_entry("oracle", "control"), make_entry("focal", "control")
    board = score_suite(make_entry("r"), LOW_RATE, *further, values=values)
    names = [row.entry for row in board.control_rows]
    assert names == [TRAINING_LESS, EARLY_STOPPING, "oracle", "focal"]
    assert board.rows == alone.rows and board.unranked == ()
    assert board.control_rows[:2] == alone.control_rows and board.controls == alone.controls
    oracle = board.control_rows[2]
    assert oracle.R.mean == pytest.approx(1.0)
    assert (oracle.rank_H, oracle.claim, oracle.on_front) == (None, None, None)
    assert oracle.excess_H.value.mean == pytest.approx(0.7)
    assert (oracle.excess_H.p, oracle.excess_H.significant) == (None, None)


def test_a_placebo_is_read_at_its_first_strength_whatever_the_choosing_seeds_say() -> None:
    placebo = make_entry("placebo", "control")
    values = with_effects({("placebo", 0.3): holding_back(0.6)})
    board = score_suite(make_entry("r"), placebo, values=values)
    (row,) = [row for row in board.control_rows if row.entry == "placebo"]
    assert (row.chosen_held_back, row.chosen_recovery) == ({"d/a": "0.1"}, {"d/a": "0.1"})
    assert not row.H_edge and not row.R_edge


def test_a_placebo_that_differs_from_none_is_named() -> None:
    placebo = make_entry("placebo", "control")
    tie = {("placebo", 0.1): gaining(0.01, -0.01, 0.02, -0.02, 0.005)}
    notes = score_suite(make_entry("r"), placebo, values=with_effects(tie)).notes
    assert not [note for note in notes if "placebo" in note and "does not tie" in note]
    better = {("placebo", 0.1): gaining(0.05, 0.06, 0.05, 0.06, 0.05)}
    notes = score_suite(make_entry("r"), placebo, values=with_effects(better)).notes
    (note,) = [note for note in notes if "does not tie" in note]
    assert "R (p = " in note and "dA" not in note

"""What the board makes of many entries: gate, control, excess, ranks, claims, missing cells."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from math import sqrt
from typing import Any

import numpy as np
import pytest
from scipy.stats import t as student
from support.scoring import BASELINE
from support.scoring import Values
from support.scoring import baseline_values
from support.scoring import make_entry
from support.scoring import make_suite
from support.scoring import record_of
from support.scoring import score_suite
from support.scoring import with_gains

from membench.records import Cell
from membench.records import digest
from membench.scoring import Board
from membench.scoring import score
from membench.scoring.stats import holm
from membench.scoring.stats import rank_intervals

LOW = make_entry("low-lr", "control", strengths=((0.333,), (0.1,), (0.0333,)))
GOOD = {("r", 0.3): (0.08, 0.09, 0.10, 0.11, 0.12)}


def with_early_stopping(half_way: float) -> Values:
    """Let `none` have the accuracy `half_way` on mixed labels at E/2, and entries gain as in GOOD.

    On the other signals `none` has at E/2 what it has at E. `low-lr` does harm.
    """

    def values(cell: Cell) -> dict[str, Any]:
        if cell.regularizer != "none":
            return with_gains(GOOD)(cell)
        result = baseline_values(cell)
        last = result["acc"]
        early = half_way if cell.signal == "mixed@0.4" else last
        result["test"] = (early, None, last)
        result["val"] = (early, last, last)
        return result

    return values


def test_the_control_is_none_stopped_early_at_no_cost() -> None:
    board = score_suite(make_entry("r"), LOW, values=with_early_stopping(0.76))
    control, (row,) = board.control_rows[0], board.rows
    assert (control.entry, control.chosen) == ("control", {"d/a": "epoch 20"})
    assert control.R.mean == pytest.approx(0.3)
    points = board.controls["d/a"]
    assert [p.label for p in points.early] == ["off", "epoch 20"]  # epoch 32 was not tested
    rates = ["rate x 0.333", "rate x 0.1", "rate x 0.0333"]
    assert [p.label for p in points.low_rate] == rates
    # N - N' = .02, .03, .04, .05, .06, mean .04: X = .2; e = -.02 .. .02 as before, and c = 0
    assert row.X.mean == pytest.approx(0.2)
    assert row.X.half == pytest.approx(2.7764451 * sqrt(1.25e-3))
    assert row.p_control == pytest.approx(student.sf(0.2 / sqrt(1.25e-3), 4))
    assert row.beats_control
    assert board.scores["r", "d/a"].X.mean == pytest.approx(0.2)


def test_the_control_may_train_at_a_lower_rate() -> None:
    gains = {("low-lr", 0.1): (0.1,) * 5}
    control = score_suite(make_entry("r"), LOW, values=with_gains(gains)).control_rows[0]
    assert (control.chosen, control.R.mean) == ({"d/a": "rate x 0.1"}, pytest.approx(0.5))


def test_recovery_that_early_stopping_also_gives_does_not_beat_the_control() -> None:
    (row,) = score_suite(make_entry("r"), LOW, values=with_early_stopping(0.8)).rows
    assert row.R.mean == pytest.approx(0.5)
    assert row.X.mean == pytest.approx(0.0)
    assert (row.beats_control, row.p_control) == (False, pytest.approx(0.5))


def test_without_low_lr_the_control_is_early_stopping_and_the_page_says_so() -> None:
    board = score_suite(make_entry("r"))
    assert any("`low-lr` is not in this suite" in note for note in board.notes)


def test_an_incomplete_control_gives_no_excess_and_no_claim() -> None:
    board = score_suite(
        make_entry("r"),
        LOW,
        values=lambda c: None if c.strength == (0.333,) else with_gains(GOOD)(c),
    )
    assert board.control_rows[0].incomplete
    assert (board.rows[0].X, board.rows[0].beats_control, board.rows[0].rank) == (
        None,
        None,
        (1, 1),
    )
    assert any("control is not complete" in note for note in board.notes)


def test_controls_have_rows_but_never_rank() -> None:
    board = score_suite(
        make_entry("r"), LOW, make_entry("placebo", "control"), values=with_gains(GOOD)
    )
    assert [row.entry for row in board.control_rows] == ["control", "placebo"]
    assert [row.rank for row in board.control_rows] == [None, None]
    assert [row.rank for row in board.rows] == [(1, 1)]  # N = 1


def test_further_controls_change_neither_the_control_nor_the_ranks() -> None:
    """An oracle that wins everything back stands beside the control, not in its choice."""
    gains = GOOD | {("oracle", 0.5): (0.2,) * 5, ("low-lr", 0.1): (0.05,) * 5}
    alone = score_suite(make_entry("r"), LOW, values=with_gains(gains))
    board = score_suite(
        make_entry("r"),
        LOW,
        make_entry("oracle", "control"),
        make_entry("focal", "control"),
        values=with_gains(gains),
    )
    assert [row.entry for row in board.control_rows] == ["control", "oracle", "focal"]
    assert board.rows == alone.rows and board.unranked == ()
    assert board.control_rows[0] == alone.control_rows[0] and board.controls == alone.controls
    oracle = board.control_rows[1]
    assert oracle.R.mean == pytest.approx(1.0)
    assert (oracle.rank, oracle.p_control, oracle.beats_control) == (None, None, None)


#: the full grid of a+b, from weak to strong
PRODUCT = tuple(
    sorted(
        product((0.1, 0.2, 0.3, 0.4, 0.5), repeat=2),
        key=lambda strength: (round(sum(strength), 3), strength),
    )
)
PAIRED = tuple((i / 10, i / 10) for i in range(1, 6))


def composed(gains: dict[tuple[float, float], tuple[float, ...]]) -> Any:
    """Let a+b gain at these settings and do harm at all others; r is as in GOOD."""

    def values(cell: Cell) -> dict[str, Any]:
        if cell.regularizer != "a+b":
            return with_gains(GOOD)(cell)
        result = baseline_values(cell)
        gain = gains.get(cell.strength)
        if cell.signal == "mixed@0.4":
            result["acc"] += gain[cell.seed] if gain else -0.1
        return result

    return values


def test_a_full_grid_has_a_second_row_that_is_not_ranked() -> None:
    gains = {(0.3, 0.3): (0.05,) * 5, (0.2, 0.5): (0.1,) * 5}
    pair = make_entry("a+b", "composition", strengths=PAIRED)
    alone = score_suite(make_entry("r"), pair, LOW, values=composed(gains))
    board = score_suite(make_entry("r"), replace(pair, full=PRODUCT), LOW, values=composed(gains))
    assert (board.rows, board.unranked, board.control_rows) == (
        alone.rows,
        alone.unranked,
        alone.control_rows,
    )
    assert [row.entry for row in board.rows] == ["r", "a+b"]
    (full,) = board.full_rows
    assert (full.entry, full.chosen, full.R.mean) == (
        "a+b (full)",
        {"d/a": "0.2,0.5"},
        pytest.approx(0.5),
    )
    assert (full.rank, full.p_control, full.beats_control) == (None, None, None)
    assert full.X.mean == pytest.approx(0.5)
    assert full.cells == 25 * 15 and len(board.scores["a+b (full)", "d/a"].points) == 26
    assert len(board.scores["a+b", "d/a"].points) == 6


def test_of_equal_settings_of_a_full_grid_the_weaker_is_chosen() -> None:
    gains = {(0.4, 0.1): (0.1,) * 5, (0.1, 0.4): (0.1,) * 5, (0.2, 0.2): (0.1,) * 5}
    board = score_suite(
        make_entry("a+b", "composition", strengths=PAIRED, full=PRODUCT), values=composed(gains)
    )
    assert board.full_rows[0].chosen == {"d/a": "0.2,0.2"}


def test_an_incomplete_full_grid_leaves_the_ranked_row_complete() -> None:
    pair = make_entry("a+b", "composition", strengths=PAIRED, full=PRODUCT)
    whole = composed({(0.3, 0.3): (0.05,) * 5})
    board = score_suite(pair, values=lambda c: None if c.strength == (0.1, 0.2) else whole(c))
    assert [row.rank for row in board.rows] == [(1, 1)]
    (full,) = board.full_rows
    assert (full.R, full.incomplete, full.reason) == (None, True, "incomplete on d/a")
    assert (full.done, full.cells) == (24 * 15, 25 * 15)


def test_a_composition_with_only_a_full_grid_has_one_row() -> None:
    only = make_entry("a+b", "control", strengths=(), full=PRODUCT)
    board = score_suite(make_entry("r"), only, values=composed({}))
    assert ([row.entry for row in board.rows], board.unranked) == (["r"], ())
    assert [row.entry for row in board.full_rows] == ["a+b (full)"]
    assert [row.entry for row in board.control_rows] == ["control"]


def test_ranks_are_intervals_and_equal_ones_tie() -> None:
    gains = {("a", 0.3): (0.16, 0.17, 0.16, 0.17, 0.16), ("b", 0.3): (0.16, 0.16, 0.17, 0.17, 0.17)}
    gains |= {("c", 0.3): (0.03, 0.02, 0.03, 0.02, 0.03)}
    entries = (make_entry("c"), make_entry("a"), make_entry("b"))
    board = score_suite(*entries, values=with_gains(gains))
    # a - c = .14 in the mean, far beyond t at .05 / 4; a and b differ by less than an image's worth
    ranks = [(row.entry, row.rank, row.tie) for row in board.rows]
    assert ranks == [("b", (1, 2), 1), ("a", (1, 2), 1), ("c", (3, 3), 2)]


def test_rank_intervals_count_who_beats_whom() -> None:
    better = np.array([[0, 0, 1, 1], [0, 0, 0, 1], [0, 0, 0, 0], [0, 0, 0, 0]], dtype=bool)
    low, high = rank_intervals(better)
    assert (low.tolist(), high.tolist()) == ([1, 1, 2, 3], [2, 3, 4, 4])


def test_holm_steps_down() -> None:
    # sorted .01 .02 .04 -> x3, x2, x1 = .03 .04 .04; .03 again after .04 stays monotone
    assert holm(np.array([0.04, 0.01, 0.02])) == pytest.approx([0.04, 0.03, 0.04])
    assert holm(np.array([0.02, 0.021, 0.6])) == pytest.approx([0.06, 0.06, 0.6])


def test_three_seeds_give_intervals_but_no_ranks_and_no_claims() -> None:
    board = score_suite(
        make_entry("r"), LOW, values=with_gains({("r", 0.3): (0.1, 0.11, 0.12)}), seeds=range(3)
    )
    (row,) = board.rows
    assert row.R.half > 0
    assert (row.rank, row.tie, row.beats_control, row.p_control) == (None, None, None, None)
    assert (board.ranked, board.seeds) == (False, 3)
    assert row.reason == "3 seeds: intervals, but no ranks and no claims"


def test_a_seed_at_which_none_fails_is_dropped_for_everybody_and_named() -> None:
    def values(cell: Cell) -> dict[str, Any]:
        result = with_gains(GOOD)(cell)
        if cell.regularizer == "none" and cell.seed == 4 and cell.signal == "randY":
            result |= {"status": "timeout", "reason": "600 s"}
        return result

    board = score_suite(make_entry("r"), values=values)
    assert board.gates[0].dropped == {4: "d/a/none/randY/seed4: timeout, 600 s"}
    assert board.rows[0].R.mean == pytest.approx((0.08 + 0.09 + 0.10 + 0.11) / 4 / 0.2)
    assert (board.seeds, board.ranked) == (4, False)
    assert any("seed 4 is dropped for every entry" in note for note in board.notes)


def test_a_cell_not_yet_run_leaves_the_row_incomplete() -> None:
    def values(cell: Cell) -> dict[str, Any] | None:
        if (cell.regularizer, cell.strength, cell.seed) == ("r", (0.5,), 1):
            return None
        return with_gains(GOOD)(cell)

    board = score_suite(make_entry("r"), make_entry("q"), values=values)
    assert [row.entry for row in board.rows] == ["q"]
    (row,) = board.unranked
    assert (row.entry, row.incomplete, row.R, row.done, row.cells) == ("r", True, None, 72, 75)
    assert row.reason == "incomplete on d/a"
    assert [p.label for p in board.scores["r", "d/a"].points] == ["off", "0.1", "0.2", "0.3", "0.4"]


def test_every_row_is_incomplete_before_none_has_run() -> None:
    board = score_suite(
        make_entry("r"),
        values=lambda c: None if c.regularizer == "none" and c.seed else baseline_values(c),
    )
    assert board.gates[0].pending
    assert [(row.entry, row.incomplete) for row in board.unranked] == [("r", True)]
    assert (board.rows, board.ranked, board.seeds) == ((), False, 0)


@pytest.mark.parametrize(
    ("signal", "change", "reason"),
    [
        ("randY", {"train": 0.98}, "F0(E) = 0.980 < 0.990"),
        ("randY", {"train": (0.94, 1.0, 1.0)}, "F0(E/2) = 0.940 < 0.950"),
        ("mixed@0.4", {"wrong": 0.94}, "M0@0.4 = 0.940 < 0.950"),
        ("real", {"acc": 0.54}, "A0_0 = 0.540 < 0.550"),  # cA = .1: .1 + .5 x .9
        ("mixed@0.4", {"acc": 0.81}, "D@0.4 = 0.090 < 0.100"),
    ],
)
def test_a_task_that_measures_nothing_is_shown_and_does_not_count(
    signal: str, change: dict, reason: str
) -> None:
    def values(cell: Cell) -> dict[str, Any]:
        result = with_gains(GOOD)(cell)
        if cell.task == "d/b" and cell.signal == signal and cell.regularizer == "none":
            result |= change
        return result

    board = score_suite(make_entry("r"), values=values, tasks=("d/a", "d/b"))
    assert [gate.valid for gate in board.gates] == [True, False]
    assert reason in board.gates[1].reasons
    assert board.rows[0].R.mean == pytest.approx(0.5)
    assert list(board.rows[0].chosen) == ["d/a"]


def test_without_a_valid_task_nothing_is_ranked_and_the_reason_is_given() -> None:
    board = score_suite(make_entry("r"), LOW, values=lambda c: baseline_values(c) | {"acc": 0.9})
    (row,) = board.unranked
    assert (row.entry, row.reason, row.incomplete) == ("r", "no task is valid", False)
    assert (board.rows, board.ranked) == ((), False)


def test_a_signal_that_no_score_needs_is_shown_as_fit_only() -> None:
    manifest, records = make_suite(make_entry("r"), values=with_gains(GOOD))
    extra = []
    for record in records:
        if record.signal == "randY":
            fit_only = replace(record, key=record.key + "x", signal="randX", test=(None,) * 3)
            extra.append(fit_only)
    manifest = replace(manifest, signals=(*manifest.signals, "randX"))
    manifest = replace(manifest, cells=manifest.cells | {r.cell.id: r.key for r in extra})
    board = score(manifest, records + extra)
    point = board.scores["r", "d/a"].points[1]
    assert point.train == {"real": 1.0, "mixed@0.4": 1.0, "randY": 1.0, "randX": 1.0}
    R = board.rows[0].R
    assert (R.mean, R.half) == pytest.approx((0.5, 2.7764451 * sqrt(1.25e-3)))


def score_with_further_signals(seeds_without: tuple[int, ...] = ()) -> Board:
    """Score a suite that has pair-flip@0.4 and randX too.

    r[0.3] wins back half of what the flip costs, and suppresses a quarter of randX.

    Args:
        seeds_without: seeds at which `none` failed on randX.
    """
    values_of_none = BASELINE | {
        "pair-flip@0.4": {"acc": 0.5, "wrong": 0.97},
        "randX": {"acc": 0.1},
    }
    values_of_r = {
        "mixed@0.4": {"acc": 0.8},
        "pair-flip@0.4": {"acc": 0.7},
        "randX": {"train": 0.775},
    }

    def values(cell: Cell) -> dict[str, Any]:
        result = dict(values_of_none[cell.signal])
        if cell.regularizer == "r" and cell.strength == (0.3,):
            result |= values_of_r.get(cell.signal, {})
        if cell.regularizer == "none" and cell.signal == "randX" and cell.seed in seeds_without:
            result["status"] = "failed"
        return result

    manifest, records = make_suite(make_entry("r"), values=values)
    keys = dict(manifest.cells)
    for record in records[:]:
        if record.signal == "real":
            for signal in ("pair-flip@0.4", "randX"):
                cell = replace(record.cell, signal=signal)
                keys[cell.id] = digest(cell.id)
                records.append(record_of(cell, **values(cell)))
    signals = (*manifest.signals, "pair-flip@0.4", "randX")
    return score(replace(manifest, signals=signals, cells=keys), records)


def test_further_signals_have_columns_and_do_not_rank() -> None:
    board = score_with_further_signals()
    (row,) = board.rows
    assert row.R.mean == pytest.approx(0.5)
    assert row.extra == pytest.approx({"R pair-flip@0.4": 0.5, "S randX": 0.225 / 0.9})
    (control,) = (r for r in board.control_rows if r.entry == "control")
    assert control.extra == pytest.approx({"R pair-flip@0.4": 0.0, "S randX": 0.0})
    points = {point.label: point.extra for point in board.scores["r", "d/a"].points}
    assert points["0.3"] == row.extra
    assert points["off"] == points["0.1"] == control.extra


def test_a_failure_of_none_on_a_further_signal_drops_no_seed() -> None:
    board = score_with_further_signals(seeds_without=(0, 2))
    assert board.seeds == 5
    assert board.rows[0].extra["S randX"] == pytest.approx(0.225 / 0.9)
    board = score_with_further_signals(seeds_without=(0, 1, 2, 3, 4))
    assert "S randX" not in board.rows[0].extra

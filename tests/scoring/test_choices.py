"""What `choose` picks from the choosing seeds, and where it picks nothing yet."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from typing import Any

import pytest
from support.scoring import CHOOSING
from support.scoring import LOW_RATE
from support.scoring import Effect
from support.scoring import all_cells
from support.scoring import baseline_values
from support.scoring import gaining
from support.scoring import holding_back
from support.scoring import make_entry
from support.scoring import make_records
from support.scoring import make_suite
from support.scoring import score_suite
from support.scoring import with_effects

from membench.records import Cell
from membench.scoring import Choice
from membench.scoring import choose
from membench.scoring import score

TASK = "d/a"
OFF = Choice(held_back=(), recovery=())


def choice_of(effects: dict[float, Effect]) -> Choice:
    """Let r have an effect at some strengths, do harm at the others, and choose."""
    values = with_effects({("r", strength): effect for strength, effect in effects.items()})
    return choose(*make_suite(make_entry("r"), values=values))[TASK, "r"]


def test_noise_held_back_is_chosen_where_it_costs_no_validation_accuracy() -> None:
    choice = choice_of(
        {
            0.1: holding_back(0.2),
            0.2: holding_back(0.5, real=0.896),  # less than half a point
            0.3: holding_back(0.8, real=0.894),  # more
            0.4: holding_back(0.9, acc=0.699),  # less than `none` under noise
        }
    )
    assert choice.held_back == (0.2,)


def test_recovery_is_chosen_by_the_sum_over_real_data_and_noise() -> None:
    choice = choice_of({0.1: gaining(0.05), 0.2: holding_back(0.1, acc=0.8, real=0.86)})
    assert choice.recovery == (0.2,)  # .1 - .04 > .05


def test_one_that_quits_where_labels_look_random_is_not_chosen_where_it_quits() -> None:
    """It keeps real accuracy, memorizes no wrong label, and learns nothing under noise."""
    assert choice_of({0.3: holding_back(0.95, acc=0.35)}) == OFF


def test_ties_go_to_the_weaker_strength() -> None:
    choice = choice_of({0.2: holding_back(0.6), 0.3: holding_back(0.6)})
    assert choice == Choice(held_back=(0.2,), recovery=(0.2,))
    assert choice.strengths == ((0.2,),)


def test_more_than_all_noise_held_back_counts_as_all_of_it() -> None:
    assert choice_of({0.2: holding_back(1.01), 0.4: holding_back(1.05)}).held_back == (0.2,)


def test_the_test_images_have_no_say_in_recovery() -> None:
    effect = {"mixed@0.4": {"acc": 0.9, "val": 0.65}}
    assert choice_of({0.3: effect}).recovery == ()


def test_the_confirming_seeds_have_no_say() -> None:
    manifest, records = make_suite(
        make_entry("r"), LOW_RATE, values=with_effects({("r", 0.3): holding_back(0.6)})
    )
    first_phase = [record for record in records if record.seed in CHOOSING]
    assert choose(manifest, first_phase) == choose(manifest, records)


def test_nothing_is_chosen_before_all_choosing_cells_have_been_run() -> None:
    manifest, records = make_suite(make_entry("r"), make_entry("q"))
    one = next(record for record in records if record.id == "d/a/r[0.5]/randY/seed1")
    assert set(choose(manifest, [record for record in records if record is not one])) == {
        (TASK, "q")
    }
    of_none = next(record for record in records if record.id == "d/a/none/randY/seed1")
    assert choose(manifest, [record for record in records if record is not of_none]) == {}


def test_an_entry_that_cannot_act_is_off() -> None:
    entry = make_entry("r", skipped={TASK: "no taps"})
    assert choose(*make_suite(entry))[TASK, "r"] == OFF


def test_an_entry_whose_runs_are_all_skipped_is_off() -> None:
    def values(cell: Cell) -> dict[str, Any]:
        skipped = {"status": "skipped"} if cell.regularizer == "r" else {}
        return baseline_values(cell) | skipped

    assert choose(*make_suite(make_entry("r"), values=values))[TASK, "r"] == OFF


def test_a_choosing_seed_at_which_none_failed_is_dropped_for_everybody() -> None:
    def values(cell: Cell) -> dict[str, Any] | None:
        fields = with_effects({("r", 0.3): holding_back(0.6), ("r", 0.4): holding_back(0.7)})(cell)
        if fields and cell.seed == 0 and cell.regularizer == "none" and cell.signal == "real":
            fields["status"] = "failed"
        if fields and cell.seed == 0 and cell.strength == (0.4,) and cell.signal == "real":
            fields["status"] = "failed"
        return fields

    manifest, records = make_suite(make_entry("r"), values=values)
    assert choose(manifest, records)[TASK, "r"].held_back == (0.4,)
    gate = score(manifest, records).gates[0]
    assert (gate.choosing, gate.dropped) == ((1, 2), {0: "d/a/none/real/seed0: failed"})


def test_where_none_failed_at_all_choosing_seeds_nothing_is_chosen() -> None:
    def values(cell: Cell) -> dict[str, Any]:
        failed = cell.regularizer == "none" and cell.seed in CHOOSING and cell.signal == "real"
        return baseline_values(cell) | ({"status": "failed"} if failed else {})

    manifest, records = make_suite(make_entry("r"), values=values)
    assert choose(manifest, records) == {}
    gate = score(manifest, records).gates[0]
    assert (gate.valid, gate.pending) == (False, False)
    assert gate.reasons == ("`none` failed at every choosing seed",)


def test_a_composition_chooses_among_tuples_of_strengths() -> None:
    pairs = tuple((i / 10, i / 5) for i in range(1, 6))
    values = with_effects({("a+b", 0.2): holding_back(0.6)})
    choices = choose(*make_suite(make_entry("a+b", strengths=pairs), values=values))
    assert choices[TASK, "a+b"].held_back == (0.2, 0.4)


# --- full grids -----------------------------------------------------------------------------------

#: the full grid of a+b, from weak to strong
PRODUCT = tuple(
    sorted(
        product((0.1, 0.2, 0.3, 0.4, 0.5), repeat=2),
        key=lambda strength: (round(sum(strength), 3), strength),
    )
)
PAIRED = tuple((i / 10, i / 10) for i in range(1, 6))
FULL_GRID = make_entry("a+b", "composition", strengths=PAIRED, full=PRODUCT)


def composed(effects: dict[tuple[float, ...], Effect]) -> Any:
    """Let a+b have an effect at some settings, and do harm at all others."""

    def values(cell: Cell) -> dict[str, Any] | None:
        effect = effects.get(cell.strength) if cell.regularizer == "a+b" else None
        if effect is None:
            return with_effects({("r", 0.3): holding_back(0.6)})(cell)
        return baseline_values(cell) | dict(effect.get(cell.signal, {}))

    return values


def test_a_full_grid_is_a_row_with_choices_of_its_own() -> None:
    values = composed({(0.3, 0.3): holding_back(0.3), (0.2, 0.5): holding_back(0.7)})
    choices = choose(*make_suite(FULL_GRID, values=values))
    assert choices[TASK, "a+b"].held_back == (0.3, 0.3)
    assert choices[TASK, "a+b (full)"].held_back == (0.2, 0.5)


def test_of_equal_settings_of_a_full_grid_the_weaker_is_chosen() -> None:
    equal = holding_back(0.6)
    values = composed({(0.4, 0.1): equal, (0.1, 0.4): equal, (0.2, 0.2): equal})
    choices = choose(*make_suite(FULL_GRID, values=values))
    assert choices[TASK, "a+b (full)"].held_back == (0.2, 0.2)


@pytest.mark.parametrize(
    ("setting", "edge"),
    [((0.3, 0.2), False), ((0.1, 0.3), True), ((0.3, 0.5), True), ((0.5, 0.3), False)],
)
def test_each_part_of_a_full_grid_is_held_against_its_own_values(
    setting: tuple[float, float], edge: bool
) -> None:
    entry = replace(FULL_GRID, limits=(0.5, None))  # the first part ends where it makes sense to
    board = score_suite(entry, values=composed({setting: holding_back(0.6)}))
    (full,) = board.full_rows
    assert (full.chosen_held_back[TASK], full.H_edge) == (f"{setting[0]},{setting[1]}", edge)


def test_a_full_grid_changes_nothing_for_the_ranked_rows() -> None:
    values = composed({(0.3, 0.3): holding_back(0.3), (0.2, 0.5): holding_back(0.7)})
    ranked = replace(FULL_GRID, full=())
    alone = score_suite(make_entry("r"), ranked, LOW_RATE, values=values)
    board = score_suite(make_entry("r"), FULL_GRID, LOW_RATE, values=values)
    assert (board.rows, board.control_rows) == (alone.rows, alone.control_rows)
    assert board.unranked == ()
    (full,) = board.full_rows
    assert full.entry == "a+b (full)"
    assert (full.rank_H, full.claim, full.excess_H.p) == (None, None, None)
    assert full.H.mean == pytest.approx(0.7)
    assert full.excess_H.value.mean == pytest.approx(0.7)
    assert full.cells == 25 * 9 + 30  # recovery is equal at both settings: (.3, .3) is weaker
    assert len(board.scores["a+b (full)", TASK].points) == 26


def test_an_incomplete_full_grid_leaves_the_ranked_row_complete() -> None:
    values = composed({(0.3, 0.3): holding_back(0.3)})
    manifest, records = make_suite(FULL_GRID, values=values)
    kept = [record for record in records if record.strength != (0.1, 0.2)]
    board = score(manifest, kept)
    assert [row.entry for row in board.rows] == ["a+b"]
    (full,) = board.full_rows
    assert (full.H, full.incomplete) == (None, True)
    assert full.reason == "d/a, choosing: 9 of 225 cells to go"


def test_a_composition_with_only_a_full_grid_has_one_row() -> None:
    only = make_entry("a+b", "composition", strengths=(), full=PRODUCT)
    board = score_suite(make_entry("r"), only, values=composed({}))
    assert ([row.entry for row in board.rows], board.unranked) == (["r"], ())
    assert [row.entry for row in board.full_rows] == ["a+b (full)"]


# --- the first control ----------------------------------------------------------------------------


def test_low_lr_is_chosen_where_training_less_chooses_it() -> None:
    values = with_effects({("low-lr", 1.2): holding_back(0.7), ("low-lr", 0.8): gaining(0.15)})
    choices = choose(*make_suite(LOW_RATE, values=values))
    assert choices == {(TASK, "low-lr"): Choice(held_back=(1.2,), recovery=(0.8,))}


def test_low_lr_is_off_where_training_less_chooses_an_epoch() -> None:
    def values(cell: Cell) -> dict[str, Any] | None:
        if cell.regularizer != "none":
            return with_effects({("low-lr", 1.2): gaining(0.05)})(cell)
        fields = baseline_values(cell)
        if cell.signal == "mixed@0.4":
            fields |= {"test": (0.8, None, 0.7), "val": (0.8, 0.7, 0.7), "wrong": (0.3, 0.9, 0.98)}
        elif cell.signal == "real":
            fields |= {"test": (0.9, None, 0.9)}
        return fields

    choices = choose(*make_suite(LOW_RATE, values=values))
    assert choices == {(TASK, "low-lr"): OFF}


def test_records_of_cells_that_are_not_planned_are_ignored() -> None:
    manifest, records = make_suite(make_entry("r"), values=with_effects({}))
    other = replace(manifest, entries=(*manifest.entries, make_entry("s")))
    stray = make_records(
        [cell for cell in all_cells(other) if cell.regularizer == "s"], baseline_values
    )
    assert choose(manifest, records + stray) == choose(manifest, records)
    assert score(manifest, records + stray) == score(manifest, records)

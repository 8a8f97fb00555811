"""The plan: which cells a suite and a selection come to."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st
from support.plans import CELL
from support.plans import SUITE
from support.plans import entry
from support.plans import grid
from support.plans import only_cell
from support.plans import plan_of
from support.plans import registry
from support.suites import shipped_suite

from membench.api import Split
from membench.errors import ExitCode
from membench.errors import MembenchError
from membench.planning.plan import Plan
from membench.planning.suites import PlannedSuite
from membench.planning.suites import narrow
from membench.records import Cell
from membench.records import parse_id
from membench.records import setting

RUNS = 2 * 3 * 2  #: architectures, signals, choosing seeds: the cells of each strength
PLAIN_RUNS = 2 * 3 * 3  #: those of the plain network, on all seeds


# --- cells ----------------------------------------------------------------------------------------


def test_every_regularizer_gets_every_task_signal_and_choosing_seed_at_every_strength() -> None:
    plan = plan_of()
    assert Counter(cell.regularizer for cell in plan.cells) == {
        "none": PLAIN_RUNS,
        "dropout": 2 * RUNS,
        "mixup": 2 * RUNS,
        "dropout+mixup": 2 * RUNS,
        "low-lr": RUNS,
    }
    assert len({cell.id for cell in plan.cells}) == len(plan.cells) == len(plan.manifest.cells)


def test_cell_ids_are_readable() -> None:
    ids = {cell.id for cell in plan_of().cells}
    assert {
        "dots/mlp/none/real/seed0",
        CELL,
        "dots/cnn/dropout+mixup[0.5,0.3]/randY/seed0",
        "dots/mlp/low-lr[0.333333]/real/seed1",
    } <= ids


def test_an_id_is_taken_apart_into_what_it_was_made_of() -> None:
    for cell in plan_of().cells:
        parts = parse_id(cell.id)
        assert (parts.task, parts.signal, parts.seed) == (cell.task, cell.signal, cell.seed)
        assert parts.setting == setting(cell.regularizer, cell.strength)
        assert parts.pair == (cell.task, cell.regularizer)


def test_cells_are_ordered_by_their_fields() -> None:
    assert Cell("a", "b", "c", (0.1,), "real", 0) < Cell("a", "b", "c", (0.2,), "real", 0)


def test_planning_twice_gives_the_same_plan() -> None:
    assert plan_of().cells == plan_of().cells
    assert plan_of().manifest == plan_of().manifest


def test_a_skipped_task_has_no_cells_and_its_reason_is_in_the_manifest() -> None:
    def skip(dataset: str, architecture: str, regularizer: str) -> str | None:
        return "has no taps" if (architecture, regularizer) == ("cnn", "dropout") else None

    plan = plan_of(plugins=registry(dropout={"has_skip": True}), skip=skip)
    assert {cell.task for cell in plan.cells if cell.regularizer == "dropout"} == {"dots/mlp"}
    skipped = {entry.name: entry.skipped for entry in plan.manifest.entries}
    assert skipped["dropout"] == {"dots/cnn": "has no taps"}
    assert skipped["mixup"] == {}


def test_regularizers_without_a_skip_are_not_asked() -> None:
    def skip(dataset: str, architecture: str, regularizer: str) -> None:
        raise AssertionError("needs torch")

    plan_of(skip=skip)


# --- selection ------------------------------------------------------------------------------------


def test_a_selection_adds_none_and_the_baseline_controls_of_its_tasks() -> None:
    plan = plan_of(select=only_cell)
    assert {cell.id for cell in plan.cells if cell.regularizer == "dropout"} == {CELL}
    baselines = [cell for cell in plan.cells if cell.regularizer != "dropout"]
    assert {cell.regularizer for cell in baselines} == {"none", "low-lr"}
    assert {cell.task for cell in baselines} == {"dots/mlp"}
    assert len(baselines) == 3 * 3 + 3 * 2  # every signal and seed: the board needs them all
    assert plan.manifest.tasks == ("dots/mlp",)
    assert [entry.name for entry in plan.manifest.entries] == ["none", "dropout", "low-lr"]


def test_a_selection_does_not_add_the_other_controls() -> None:
    def only_cell_and_oracle(cell: str) -> bool:
        return cell == CELL or "/oracle[" in cell

    plugins = registry(entry("regularizers", "oracle", group="control", **grid(1.0)))

    def regularizers(plan: Plan) -> set[str]:
        return {cell.regularizer for cell in plan.cells}

    assert "oracle" not in regularizers(plan_of(plugins=plugins, select=only_cell))
    assert "oracle" in regularizers(plan_of(plugins=plugins, select=only_cell_and_oracle))
    assert "oracle" in regularizers(plan_of(plugins=plugins))


def test_a_selection_of_none_holds_each_cell_once() -> None:
    plan = plan_of(select=lambda cell: "/none/" in cell)
    assert len(plan.cells) == len(set(plan.cells)) == PLAIN_RUNS + RUNS  # `none` and `low-lr`


def test_the_manifest_has_every_choosing_cell_of_a_regularizer_that_is_selected_in_part() -> None:
    plan = plan_of(select=only_cell)
    planned = {cell for cell in plan.manifest.cells if "/dropout[" in cell}
    assert planned == {
        cell.id for cell in plan_of().cells if cell.id.startswith("dots/mlp/dropout[")
    }


# --- the second phase -----------------------------------------------------------------------------


def test_chosen_strengths_are_confirmed_on_every_signal_and_confirming_seed() -> None:
    first = plan_of(replace(SUITE, confirming=(5, 6)))
    second = first.confirming(
        {("dots/mlp", "dropout"): [(0.1,), (0.5,)], ("dots/cnn", "dropout+mixup"): [(0.5, 0.3)]}
    )
    ids = [cell.id for cell in second.cells]
    assert len(ids) == len(set(ids)) == 3 * 3 * 2
    assert {
        "dots/mlp/dropout[0.1]/real/seed5",
        "dots/cnn/dropout+mixup[0.5,0.3]/randY/seed6",
    } <= set(ids)
    assert {cell.seed for cell in second.cells} == {5, 6}
    assert second.manifest.cells.keys() == first.manifest.cells.keys() | set(ids)
    assert first.manifest.cells.items() <= second.manifest.cells.items()


def test_nothing_chosen_is_nothing_to_confirm() -> None:
    first = plan_of()
    second = first.confirming({("dots/mlp", "dropout"): []})
    assert second.cells == () and second.packs() == []
    assert second.manifest == first.manifest


def test_the_second_phase_has_at_most_two_strengths_of_each_regularizer_on_each_task() -> None:
    plan = plan_of()
    assert plan.cells_of_strength == 3
    assert plan.most_confirming_cells == 2 * 3 * 2 * 4  # strengths, cells, tasks, regularizers
    assert plan_of(select=lambda cell: "/none/" in cell).most_confirming_cells == 2 * 3 * 2


def test_choosing_runs_are_read_at_the_end_alone_and_all_others_on_the_way() -> None:
    first = plan_of()
    for pack in first.packs():
        plain = pack.cells[0].regularizer == "none"
        assert pack.read == (() if plain else (pack.recipe.epochs,))
    second = first.confirming({("dots/mlp", "dropout"): [(0.1,)]})
    assert {pack.read for pack in second.packs()} == {()}


def test_quick_trains_75_cells_for_an_entry_and_task_whose_questions_choose_one_strength() -> None:
    quick = shipped_suite("quick")
    signals, confirming = len(quick.signals), len(quick.confirming)
    choosing = 5 * signals * len(quick.choosing)
    assert (quick.choosing, quick.confirming) == ((0, 1, 2), tuple(range(3, 13)))
    assert choosing + signals * confirming == 75
    assert choosing + 2 * signals * confirming == 105


@settings(deadline=None, max_examples=25)
@given(st.data())
def test_selected_cells_keep_the_order_and_the_keys_of_the_plan(data: st.DataObject) -> None:
    whole = plan_of()
    all_ids = [cell.id for cell in whole.cells]
    ids = data.draw(st.sets(st.sampled_from(all_ids), min_size=1))
    part = plan_of(select=ids.__contains__)
    assert ids <= set(part.manifest.cells)
    assert part.manifest.cells.items() <= whole.manifest.cells.items()
    selected = {cell for cell in part.cells if cell.regularizer == "dropout"}
    in_order = [cell for cell in whole.cells if cell in selected]
    assert [cell for cell in part.cells if cell.regularizer == "dropout"] == in_order


def test_an_empty_selection_ends_with_code_5() -> None:
    with pytest.raises(MembenchError, match="no cell is selected") as caught:
        plan_of(select=lambda cell: False)
    assert caught.value.code == ExitCode.NOTHING == 5


@pytest.mark.parametrize(
    ("suite", "message"),
    [
        (replace(SUITE, datasets=("dotz",)), "unknown dataset 'dotz': did you mean dots"),
        (replace(SUITE, architectures=("mpl",)), "unknown architecture 'mpl': did you mean mlp"),
        (
            replace(SUITE, signals=("real", "mixd@0.4")),
            "unknown signal 'mixd': did you mean mixed",
        ),
        (replace(SUITE, probes=("thre",)), "unknown probe 'thre'"),
    ],
)
def test_an_unknown_name_is_refused_with_the_nearest_one(suite: PlannedSuite, message: str) -> None:
    with pytest.raises(MembenchError, match=message) as caught:
        plan_of(suite)
    assert caught.value.code == ExitCode.USAGE == 4


def test_a_data_set_without_a_split_is_refused() -> None:
    suite = replace(SUITE, datasets=("more",), splits={"dots": Split(1, 1, 1)})
    message = "suite 'small' does not say how to split data set 'more'; it has dots"
    with pytest.raises(MembenchError, match=message):
        plan_of(suite)


def test_the_manifest_has_the_name_of_the_narrowed_suite() -> None:
    assert plan_of(narrow(SUITE, seeds=(7,))).manifest.suite.startswith("small-custom-")

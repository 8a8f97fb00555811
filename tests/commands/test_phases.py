"""The second phase: what is confirmed, when, and on which machine."""

from __future__ import annotations

from dataclasses import replace

import pytest
from support.phase_records import EFFECTS
from support.phase_records import record_of
from support.phase_records import records_of
from support.plans import SUITE
from support.plans import entry
from support.plans import grid
from support.plans import plan_of
from support.plans import registry

from membench.api import Recipe
from membench.commands.phases import SecondPhase
from membench.commands.phases import pairs_to_train
from membench.planning.plan import Pair
from membench.planning.plan import Plan

DROPOUT = ("dots/mlp", "dropout")
SMALL = replace(SUITE, architectures=("mlp",))


def confirmed(plan: Plan) -> set[str]:
    """Return task and setting of a plan's cells."""
    return {cell.id.rpartition("/")[0].rpartition("/")[0] for cell in plan.cells}


def test_nothing_is_confirmed_before_every_choosing_cell_and_those_of_none_have_records() -> None:
    plan = plan_of(SMALL)
    phase = SecondPhase(plan, plan.pairs, ())
    *all_but_one, last = records_of(plan, "dropout")
    assert phase.plan(all_but_one).cells == ()
    assert phase.plan([last]).cells == ()  # nothing to choose by yet
    of_none = records_of(plan, "none")
    fresh = [record for record in of_none if record.seed == 2]
    assert phase.plan(fresh).cells == ()
    second = phase.plan([record for record in of_none if record.seed != 2])
    assert confirmed(second) == {"dots/mlp/dropout[0.1]", "dots/mlp/dropout[0.5]"}
    assert {cell.seed for cell in second.cells} == {2}


def test_a_regularizer_is_confirmed_as_soon_as_it_can_be_and_once() -> None:
    plan = plan_of(SMALL)
    phase = SecondPhase(plan, plan.pairs, records_of(plan, "none"))
    assert phase.plan().cells == ()
    assert confirmed(phase.plan(records_of(plan, "mixup"))) == {"dots/mlp/mixup[0.2]"}
    assert phase.plan(records_of(plan, "mixup")).cells == ()
    assert confirmed(phase.plan(records_of(plan, "dropout"))) == {
        "dots/mlp/dropout[0.1]",
        "dots/mlp/dropout[0.5]",
    }
    assert any("mixup[0.2]/real/seed2" in cell for cell in phase.manifest.cells)


def test_where_both_questions_choose_off_nothing_is_trained() -> None:
    recipe = Recipe(batch=10, epochs=3)
    plan = plan_of(replace(SMALL, recipes={("dots", "mlp"): recipe}))
    phase = SecondPhase(plan, plan.pairs, records_of(plan, "none", "dropout+mixup"))
    assert phase.plan().cells == ()
    pairs = len(plan.pairs) - 1  # without `none`
    cells = plan.cells_of_strength
    assert phase.expected.cells == (pairs - 1) * cells
    assert len(phase.expected.steps) == pairs - 1
    steps = cells * recipe.steps(SMALL.splits["dots"].trained)
    assert phase.expected.steps["dots", "mlp", "dropout"] == steps > 0


def test_records_from_before_the_run_count() -> None:
    plan = plan_of(SMALL)
    phase = SecondPhase(plan, plan.pairs, records_of(plan, "none", "mixup"))
    assert confirmed(phase.plan()) == {"dots/mlp/mixup[0.2]"}


def test_a_failed_run_is_a_record_and_counts_as_the_worst() -> None:
    plan = plan_of(SMALL)
    failing = []
    for cell in plan.cells:
        if cell.regularizer == "mixup":
            status = "failed" if cell.strength == (0.2,) else "ok"
            failing.append(record_of(plan, cell, status))
    phase = SecondPhase(plan, plan.pairs, records_of(plan, "none"))
    assert phase.plan(failing).cells == ()  # the other strength costs real accuracy


def test_a_pair_of_another_machine_is_left_alone() -> None:
    plan = plan_of(SMALL)
    pairs = [pair for pair in plan.pairs if pair != DROPOUT]
    phase = SecondPhase(plan, pairs, records_of(plan, "none", "dropout", "mixup"))
    assert confirmed(phase.plan()) == {"dots/mlp/mixup[0.2]"}


def test_a_regularizer_of_which_only_a_strength_is_selected_is_not_confirmed() -> None:
    plan = plan_of(SMALL, select=lambda cell: "mixup[0.2]" in cell and "+" not in cell)
    phase = SecondPhase(plan, plan.pairs, records_of(plan, "none", "mixup", "low-lr"))
    assert phase.plan().cells == ()


def test_a_strength_that_only_the_full_grid_chooses_is_confirmed_too() -> None:
    plugins = registry().with_composition("dropout+mixup", full=True)
    plan = plan_of(SMALL, plugins)
    phase = SecondPhase(plan, plan.pairs, records_of(plan, "none"))
    cells = [cell for cell in plan.cells if cell.regularizer == "dropout+mixup"]
    effects = {**EFFECTS, "dropout+mixup[0.5,0.2]": (0.95, 0.85, 0.1)}
    records = [record_of(plan, cell, effects=effects) for cell in cells]
    assert confirmed(phase.plan(records)) == {"dots/mlp/dropout+mixup[0.5,0.2]"}


def test_a_full_grid_that_is_not_run_to_its_end_does_not_hold_up_the_row_of_pairs() -> None:
    """As when it was interrupted, and the composition is run again without it."""
    plan = plan_of(SMALL, registry().with_composition("dropout+mixup", full=True))
    phase = SecondPhase(plan, plan.pairs, records_of(plan, "none"))
    effects = {**EFFECTS, "dropout+mixup[0.1,0.2]": (0.95, 0.85, 0.1)}
    cells = [cell for cell in plan.cells if cell.regularizer == "dropout+mixup"]
    pairs = [cell for cell in cells if cell.strength in ((0.1, 0.2), (0.5, 0.3))]
    second = phase.plan([record_of(plan, cell, effects=effects) for cell in pairs])
    assert confirmed(second) == {"dots/mlp/dropout+mixup[0.1,0.2]"}
    # the full grid chooses the same setting later: it is not trained twice
    rest = [record_of(plan, cell) for cell in cells if cell not in pairs]
    assert phase.plan(rest).cells == ()


MINE: Pair = ("dots/mlp", "mixup")
NONE: Pair = ("dots/mlp", "none")
LOW: Pair = ("dots/mlp", "low-lr")


@pytest.mark.parametrize(
    ("complete", "expected"),
    [
        pytest.param({}, {DROPOUT, MINE, NONE, LOW}, id="nothing"),
        pytest.param(
            {DROPOUT: ("here",), MINE: ("here",), NONE: ("here",), LOW: ("here",)},
            set(),
            id="everything here",
        ),
        pytest.param(
            {DROPOUT: ("there",), MINE: ("there",), NONE: ("there",), LOW: ("there",)},
            set(),
            id="everything there",
        ),
        pytest.param(
            {DROPOUT: ("there",), NONE: ("there",), LOW: ("there",)},
            {MINE, NONE, LOW},
            id="a new one needs a baseline of this machine",
        ),
        pytest.param(
            {DROPOUT: ("there",), NONE: ("there", "here"), LOW: ("there",)},
            {MINE, LOW},
            id="a new one beside a baseline that is half here",
        ),
        pytest.param(
            {DROPOUT: ("there",), MINE: ("there",), NONE: ("there",)},
            {LOW},
            id="only a control is missing",
        ),
    ],
)
def test_only_what_no_machine_has_finished_is_trained_with_the_baseline_that_it_needs(
    complete: dict[Pair, tuple[str, ...]], expected: set[Pair]
) -> None:
    chosen = registry()
    plan = plan_of(
        SMALL,
        chosen,
        select=lambda cell: "/dropout[" in cell or "/mixup[" in cell,
    )
    assert pairs_to_train(plan, complete, here={"here"}) == expected


def test_a_baseline_is_trained_here_only_on_the_tasks_that_need_it() -> None:
    plugins = registry(entry("regularizers", "new", **grid(1.0)))
    plan = plan_of(plugins=plugins, select=lambda cell: "/new[" in cell)
    complete = {pair: ("there",) for pair in plan.pairs if pair != ("dots/mlp", "new")}
    assert pairs_to_train(plan, complete, here={"here"}) == {("dots/mlp", "new"), NONE, LOW}

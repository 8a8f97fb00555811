"""The board as a whole: the gate, rows that are not complete, the lists and their counts."""

from __future__ import annotations

from typing import Any

import pytest
from support.boards import Machine
from support.boards import manifest
from support.boards import records
from support.scoring import CHOOSING
from support.scoring import CONFIRMING
from support.scoring import LOW_RATE
from support.scoring import baseline_values
from support.scoring import holding_back
from support.scoring import make_entry
from support.scoring import make_suite
from support.scoring import score_suite
from support.scoring import with_effects

from membench.records import Cell
from membench.records import Record
from membench.scoring import score

GOOD = with_effects({("r", 0.3): holding_back(0.6)})


def without(runs: list[Record], *ids: str) -> list[Record]:
    return [record for record in runs if record.id not in ids]


# --- the gate -------------------------------------------------------------------------------------


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
    signal: str, change: dict[str, Any], reason: str
) -> None:
    def values(cell: Cell) -> dict[str, Any] | None:
        fields = GOOD(cell)
        is_none_on_b = cell.task == "d/b" and cell.regularizer == "none"
        if fields and is_none_on_b and cell.signal == signal:
            fields |= change
        return fields

    board = score_suite(make_entry("r"), values=values, tasks=("d/a", "d/b"))
    assert [gate.valid for gate in board.gates] == [True, False]
    assert [gate.weight for gate in board.gates] == [1.0, 0.0]
    assert reason in board.gates[1].reasons
    assert any(note.startswith("d/b does not count: ") for note in board.notes)
    (row,) = board.rows
    assert row.H.mean == pytest.approx(0.6)
    assert list(row.chosen_held_back) == ["d/a"]
    assert board.scores["r", "d/b"].complete


@pytest.mark.parametrize(
    ("seeds", "reasons"), [(CHOOSING, ()), (CONFIRMING, ("F0(E) = 0.960 < 0.990",))]
)
def test_the_gate_reads_the_confirming_seeds(
    seeds: tuple[int, ...], reasons: tuple[str, ...]
) -> None:
    def values(cell: Cell) -> dict[str, Any]:
        fields = baseline_values(cell)
        if cell.regularizer == "none" and cell.signal == "randY" and cell.seed in seeds:
            fields["train"] = 0.96
        return fields

    gate = score_suite(make_entry("r"), values=values).gates[0]
    assert gate.reasons == reasons
    assert (gate.choosing, gate.confirming) == (CHOOSING, CONFIRMING)
    assert (gate.epochs, gate.classes, gate.tests, gate.env) == (40, 10, 200, "env")


def test_without_a_valid_task_nothing_is_ranked_and_the_reason_is_given() -> None:
    board = score_suite(
        make_entry("r"), LOW_RATE, values=lambda cell: baseline_values(cell) | {"acc": 0.9}
    )
    (row,) = board.unranked
    assert (row.entry, row.reason, row.incomplete) == ("r", "no task is valid", False)
    assert (board.rows, board.ranked, board.choosing, board.confirming) == ((), False, 0, 0)


def test_a_suite_without_noise_measures_nothing() -> None:
    board = score_suite(make_entry("r"), signals=("real", "randY"))
    assert board.gates[0].reasons == ("the suite lacks real, or a signal of label noise",)
    assert board.unranked[0].reason == "no task is valid"


# --- what is not complete -------------------------------------------------------------------------


def test_a_missing_choosing_cell_leaves_the_row_incomplete() -> None:
    plan, runs = make_suite(make_entry("r"), make_entry("q"), values=GOOD)
    lost = [f"d/a/r[0.5]/real/seed{seed}" for seed in CHOOSING]
    board = score(plan, without(runs, *lost))
    assert [row.entry for row in board.rows] == ["q"]
    (row,) = board.unranked
    assert (row.entry, row.incomplete, row.H, row.done, row.cells) == ("r", True, None, 42, 45)
    assert row.reason == "d/a, choosing: 3 of 45 cells to go"
    task = board.scores["r", "d/a"]
    assert [p.label for p in task.points] == ["off", "0.1", "0.2", "0.3", "0.4"]
    assert (task.complete, task.held_back, task.recovery) == (False, None, None)


def test_a_missing_confirming_cell_leaves_the_row_incomplete() -> None:
    plan, runs = make_suite(make_entry("r"), values=GOOD)
    board = score(plan, without(runs, "d/a/r[0.3]/real/seed7"))
    (row,) = board.unranked
    assert (row.incomplete, row.done, row.cells) == (True, 59, 60)
    assert row.reason == "d/a, confirming: 1 of 15 cells to go"


def test_what_is_missing_is_told_of_every_task() -> None:
    plan, runs = make_suite(make_entry("r"), values=GOOD, tasks=("d/a", "d/b"))
    board = score(plan, without(runs, "d/a/r[0.3]/real/seed7", "d/b/r[0.1]/randY/seed0"))
    assert board.unranked[0].reason == (
        "d/a, confirming: 1 of 15 cells to go; d/b, choosing: 1 of 45 cells to go"
    )


def test_before_the_confirming_phase_the_points_are_there() -> None:
    plan, runs = make_suite(make_entry("r"), LOW_RATE, values=GOOD)
    board = score(plan, [record for record in runs if record.seed in CHOOSING])
    assert board.gates[0].pending
    assert board.gates[0].reasons == ("`none` is not complete: 15 of 24 cells have not run",)
    assert len(board.scores["r", "d/a"].points) == 6
    assert len(board.controls["d/a"].low_rate) == 5
    (row,) = board.unranked
    assert (row.incomplete, row.reason) == (True, "`none` has not been run on all of d/a")


def test_a_board_without_records_is_all_to_go() -> None:
    plan, _ = make_suite(make_entry("r"))
    board = score(plan, [])
    assert (board.rows, board.ranked, board.controls, board.envs) == ((), False, {}, {})
    assert [(row.entry, row.incomplete, row.cells) for row in board.unranked] == [("r", True, 45)]
    assert board.gates[0].pending and board.gates[0].env == ""


def test_an_entry_that_cannot_act_on_any_task_is_listed_with_its_reason_whatever_has_run() -> None:
    nowhere = make_entry("r", skipped={"d/a": "no branch", "d/b": "no branch"})
    plan, runs = make_suite(nowhere, make_entry("q"), tasks=("d/a", "d/b"))
    for some in (runs, []):
        board = score(plan, some)
        assert [(row.entry, row.reason, row.incomplete) for row in board.skipped] == [
            ("r", "no branch", False)
        ]
        assert "r" not in [row.entry for row in (*board.rows, *board.unranked)]


def test_an_entry_that_can_act_on_an_invalid_task_only_is_not_ranked() -> None:
    def values(cell: Cell) -> dict[str, Any]:
        fields = baseline_values(cell)
        if cell.task == "d/b":
            fields["acc"] = 0.9  # label noise costs nothing there
        return fields

    skipping = make_entry("r", skipped={"d/a": "no branch"})
    board = score_suite(skipping, values=values, tasks=("d/a", "d/b"))
    assert ([row.entry for row in board.unranked], board.skipped) == (["r"], ())
    assert board.unranked[0].reason == "cannot act on any valid task"


def test_the_board_names_its_suite_and_environments() -> None:
    board = score_suite(make_entry("r"), values=GOOD)
    assert (board.suite, board.version, board.ranked) == ("test", 1, True)
    assert board.envs == {"env": {"machine": "one"}}
    assert board.rows[0].envs == {"d/a": "env"}
    assert set(board.scores) == {
        ("training less", "d/a"),
        ("early stopping", "d/a"),
        ("r", "d/a"),
    }


def test_a_generated_board_of_two_machines_has_rows_of_both() -> None:
    """The boards of tests/support/boards.py, which the tests of the report draw, are whole."""
    machines = (
        Machine("one", entries=("dropout", "low-lr", "placebo")),
        Machine("two", entries=("mixup", "low-lr")),
    )
    plan = manifest(machines=machines)
    board = score(plan, records(plan, machines=machines))
    assert board.ranked and {gate.valid for gate in board.gates} == {True}
    envs = {row.entry: set(row.envs.values()) for row in board.rows}
    assert envs == {"dropout": {machines[0].env}, "mixup": {machines[1].env}}
    assert [row.entry for row in board.unranked] == ["label-smoothing"]
    assert all(row.excess_H is not None and row.stopping_R is not None for row in board.rows)

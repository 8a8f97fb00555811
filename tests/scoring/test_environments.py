"""Records of several environments on one board: which count, and how rows are compared."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy import stats
from support.scoring import CONFIRMING
from support.scoring import LOW_RATE
from support.scoring import Effect
from support.scoring import Values
from support.scoring import holding_back
from support.scoring import in_environment
from support.scoring import make_entry
from support.scoring import make_suite
from support.scoring import score_suite
from support.scoring import with_effects

from membench.records import Cell
from membench.records import Entry
from membench.records import Manifest
from membench.records import Record
from membench.scoring import choose
from membench.scoring import complete_pairs
from membench.scoring import score
from membench.scoring.types import TRAINING_LESS

TASK = "d/a"
P, Q, R = make_entry("p"), make_entry("q"), make_entry("r")
#: what r does in the environment "a" and in "b"
IN_A = {("r", 0.3): holding_back(0.5), ("q", 0.3): holding_back(0.4)}
IN_B = {("r", 0.2): holding_back(0.8), ("q", 0.3): holding_back(0.3)}


def two_environments(
    *entries: Entry, a: Values, b: Values, envs: tuple[str, ...] = ("a", "b"), **options: Any
) -> tuple[Manifest, dict[str, list[Record]]]:
    """Run a suite in the environments "a" and "b", each with its own choices.

    Args:
        entries: beside `none`.
        a: what each cell's record holds in "a".
        b: the same in "b".
        envs: the order in which they came.
        options: others of `make_suite`.
    """
    manifest, records_a = make_suite(*entries, values=a, **options)
    of_b, records_b = make_suite(*entries, values=b, **options)
    cells = manifest.cells | of_b.cells
    manifest = replace(manifest, cells=cells, envs=envs)
    return manifest, {"a": in_environment(records_a, "a"), "b": in_environment(records_b, "b")}


def of(records: Iterable[Record], *names: str) -> list[Record]:
    """Select the records of some entries, and those of `none`."""
    return [record for record in records if record.regularizer in (*names, "none")]


def test_a_row_complete_in_the_reference_environment_is_read_there() -> None:
    manifest, records = two_environments(Q, R, a=with_effects(IN_A), b=with_effects(IN_B))
    board = score(manifest, records["a"] + of(records["b"], "r"))
    row = next(row for row in board.rows if row.entry == "r")
    assert (row.envs, row.H.mean) == ({TASK: "a"}, pytest.approx(0.5))
    assert board.gates[0].env == "a"
    assert board.envs == {"a": {"machine": "a"}}


def test_the_reference_is_where_most_entries_are_complete_and_ties_go_to_the_smaller_hash() -> None:
    manifest, records = two_environments(
        Q, R, a=with_effects(IN_A), b=with_effects(IN_B), envs=("b", "a")
    )
    more_in_b = score(manifest, records["b"] + of(records["a"], "r"))
    assert (more_in_b.gates[0].env, more_in_b.rows[0].H.mean) == ("b", pytest.approx(0.8))
    assert score(manifest, records["a"] + records["b"]).gates[0].env == "a"


def test_an_entry_that_lacks_one_cell_does_not_count_for_the_reference() -> None:
    manifest, records = two_environments(Q, R, a=with_effects(IN_A), b=with_effects(IN_B))
    board = score(manifest, records["a"][:-1] + records["b"])
    assert board.gates[0].env == "b"


def test_a_row_of_another_environment_is_paired_with_the_none_of_its_own() -> None:
    """`none` is five points better on real data in "b", and so is r."""

    def in_b(cell: Cell) -> dict[str, Any] | None:
        fields = with_effects(IN_B)(cell)
        if fields and cell.signal == "real":
            fields["acc"] += 0.05
        return fields

    manifest, records = two_environments(Q, R, a=with_effects(IN_A), b=in_b)
    board = score(manifest, of(records["a"], "q") + of(records["b"], "r"))
    row = next(row for row in board.rows if row.entry == "r")
    assert (row.envs, row.chosen_held_back) == ({TASK: "b"}, {TASK: "0.2"})
    assert (row.H.mean, row.dA.mean) == pytest.approx((0.8, 0.0))
    assert board.scores["r", TASK].env == "b"
    assert list(board.envs) == ["a", "b"]
    (note,) = [note for note in board.notes if "another environment" in note]
    assert "`r`" in note and "`q`" not in note


@pytest.mark.parametrize(("envs", "first"), [(("z", "b", "c"), "b"), (("z", "c"), "c"), ((), "b")])
def test_of_other_environments_the_first_in_which_a_row_is_complete_counts(
    envs: tuple[str, ...], first: str
) -> None:
    """In the order in which they came, then of their hashes, however good the row is there."""
    manifest, records = two_environments(P, Q, R, a=with_effects(IN_A), b=with_effects(IN_B))
    # "z" has two entries, which makes it the reference
    everything = in_environment(of(records["a"], "p", "q"), "z")
    everything += of(records["b"], "r") + in_environment(of(records["b"], "r"), "c")
    board = score(replace(manifest, envs=envs), everything)
    row = next(row for row in board.rows if row.entry == "r")
    assert (board.gates[0].env, row.envs) == ("z", {TASK: first})


def test_an_environment_is_decided_on_each_task_apart() -> None:
    manifest, records = two_environments(
        Q, R, a=with_effects(IN_A), b=with_effects(IN_B), tasks=("d/a", "d/b")
    )
    on_a = [record for record in records["a"] if record.architecture == "a"]
    on_b = [record for record in records["b"] if record.architecture == "b"]
    board = score(manifest, on_a + on_b)
    assert [gate.env for gate in board.gates] == ["a", "b"]
    row = next(row for row in board.rows if row.entry == "r")
    assert row.envs == {"d/a": "a", "d/b": "b"}
    assert row.H.mean == pytest.approx((0.5 + 0.8) / 2)


def test_choosing_cells_of_one_environment_and_confirming_cells_of_another_are_no_row() -> None:
    manifest, records = two_environments(Q, R, a=with_effects(IN_A), b=with_effects(IN_B))
    mixed = of(records["a"], "q")
    mixed += [r for r in records["a"] if r.regularizer == "r" and r.seed not in CONFIRMING]
    mixed += [r for r in of(records["b"], "r") if r.seed in CONFIRMING]
    board = score(manifest, mixed)
    (row,) = board.unranked
    assert (row.entry, row.incomplete, row.H) == ("r", True, None)
    assert row.reason == "d/a, confirming: 15 of 15 cells to go"


def test_a_row_without_none_in_its_environment_is_incomplete() -> None:
    manifest, records = two_environments(Q, R, a=with_effects(IN_A), b=with_effects(IN_B))
    alone = [record for record in records["b"] if record.regularizer == "r"]
    board = score(manifest, of(records["a"], "q") + alone)
    (row,) = board.unranked
    assert (row.entry, row.incomplete) == ("r", True)
    kept = [r for r in records["b"] if r.regularizer != "none" or r.id != "d/a/none/real/seed3"]
    board = score(manifest, of(records["a"], "q") + of(kept, "r"))
    assert board.unranked[0].reason == "d/a, `none` beside it: 1 of 24 cells to go"


# --- failures, and `alone` ------------------------------------------------------------------------


def broken(record: Record, **fields: Any) -> Record:
    empty = {"epochs": (), "train": (), "val": (), "test": (), "wrong": ()}
    return replace(record, status="failed", **empty, **fields)


def test_a_failed_record_counts_in_its_own_environment() -> None:
    manifest, records = two_environments(Q, R, a=with_effects(IN_A), b=with_effects(IN_B))
    in_b = [
        broken(record) if record.id == "d/a/r[0.2]/real/seed3" else record
        for record in of(records["b"], "r")
    ]
    row = next(
        row for row in score(manifest, of(records["a"], "q") + in_b).rows if row.entry == "r"
    )
    assert (row.envs, row.confirmed_failed) == ({TASK: "b"}, 1)


def test_a_record_without_versions_counts_where_there_is_no_other_of_its_cell() -> None:
    manifest, records = two_environments(Q, R, a=with_effects(IN_A), b=with_effects(IN_B))
    everything = of(records["a"], "q") + of(records["b"], "r")
    place = next(i for i, r in enumerate(everything) if r.id == "d/a/r[0.2]/real/seed3")
    lost = broken(everything[place], env="0", versions={})
    instead = [*everything[:place], lost, *everything[place + 1 :]]
    row = next(row for row in score(manifest, instead).rows if row.entry == "r")
    assert (row.envs, row.confirmed_failed) == ({TASK: "b"}, 1)
    beside = score(manifest, [lost, *everything])
    assert next(row for row in beside.rows if row.entry == "r").confirmed_failed == 0
    assert set(beside.envs) == {"a", "b"}


def test_alone_counts_the_records_of_its_own_environments() -> None:
    manifest, records = two_environments(Q, R, a=with_effects(IN_A), b=with_effects(IN_B))
    everything = records["a"] + of(records["b"], "r")
    fresh = replace(manifest, alone=("b",))
    board = score(fresh, everything)
    assert (board.gates[0].env, [row.entry for row in board.rows]) == ("b", ["r"])
    assert complete_pairs(fresh, everything)[TASK, "q"] == ()


# --- comparisons ----------------------------------------------------------------------------------


def shaken(effects: dict[tuple[str, float], Effect], shift: float) -> Values:
    """Let the seeds differ: what is odd at one seed is so for all entries."""
    odd = dict(zip(range(8), (0.01, 0.02, -0.03, 0.05, -0.04, 0.03, -0.05, 0.01), strict=True))

    def values(cell: Cell) -> dict[str, Any] | None:
        fields = with_effects(effects)(cell)
        if fields and cell.signal == "mixed@0.4" and cell.regularizer != "none":
            fields["acc"] += odd[cell.seed] + shift
        return fields

    return values


def test_rows_of_two_environments_are_compared_unpaired() -> None:
    """r is three points above q: clear where seeds are paired, and lost in their spread if not."""
    effects = {("q", 0.3): holding_back(0.5), ("r", 0.3): holding_back(0.5, acc=0.83)}
    paired = score_suite(Q, R, values=shaken(effects, 0.0))
    assert [row.rank_R for row in paired.by_recovery] == [(1, 1), (2, 2)]
    manifest, records = two_environments(Q, R, a=shaken(effects, 0.0), b=shaken(effects, 0.0))
    unpaired = score(manifest, of(records["a"], "q") + of(records["b"], "r"))
    assert [row.rank_R for row in unpaired.by_recovery] == [(1, 2), (1, 2)]
    # each row by itself is what it was
    assert [row.R for row in unpaired.by_recovery] == [row.R for row in paired.by_recovery]


def test_unpaired_rows_have_the_p_of_welch() -> None:
    effects = {("q", 0.3): holding_back(0.5), ("r", 0.3): holding_back(0.5, acc=0.8)}
    gains = np.array([0.05, -0.04, 0.03, -0.05, 0.01])
    for shift in (0.05, 0.08, 0.09, 0.1, 0.15):
        manifest, records = two_environments(Q, R, a=shaken(effects, 0.0), b=shaken(effects, shift))
        board = score(manifest, of(records["a"], "q") + of(records["b"], "r"))
        p = stats.ttest_ind(gains + shift, gains, equal_var=False, alternative="greater").pvalue
        best = board.by_recovery[0]
        assert best.entry == "r"
        assert (best.rank_R == (1, 1)) == (p < 0.05 / 2)
        assert board.by_recovery[1].first_R == (p >= 0.05)


def test_the_excess_is_over_the_control_of_the_rows_environment() -> None:
    a = with_effects(IN_A | {("low-lr", 1.2): holding_back(0.1, acc=0.72)})
    b = with_effects(IN_B | {("low-lr", 0.8): holding_back(0.3, acc=0.74)})
    manifest, records = two_environments(Q, R, LOW_RATE, a=a, b=b)
    everything = of(records["a"], "q", "low-lr") + of(records["b"], "r", "low-lr")
    rows = {row.entry: row for row in score(manifest, everything).rows}
    assert rows["q"].excess_H.value.mean == pytest.approx(0.4 - 0.1)
    assert rows["r"].excess_H.value.mean == pytest.approx(0.8 - 0.3)


def test_a_row_whose_environment_lacks_the_control_has_no_excess_over_it() -> None:
    a = with_effects(IN_A | {("low-lr", 1.2): holding_back(0.1, acc=0.72)})
    manifest, records = two_environments(Q, R, LOW_RATE, a=a, b=with_effects(IN_B))
    everything = of(records["a"], "q", "low-lr") + of(records["b"], "r")
    board = score(manifest, everything)
    rows = {row.entry: row for row in board.rows}
    assert rows["r"].excess_H is None and rows["r"].excess_R is None
    assert rows["r"].stopping_H.value.mean == pytest.approx(0.8)
    # the family is that of both rows, so that r's lack does not make q's test easier
    alone = score(manifest, of(records["a"], "q", "low-lr")).rows[0]
    assert rows["q"].excess_H.p == pytest.approx(2 * alone.excess_H.p)
    (note,) = [note for note in board.notes if "No excess" in note]
    assert f"`{TRAINING_LESS}`" in note and "`r`" in note and "`q`" not in note


def test_a_row_whose_own_none_fails_the_gate_is_not_ranked() -> None:
    def in_b(cell: Cell) -> dict[str, Any] | None:
        fields = with_effects(IN_B)(cell)
        if fields and cell.regularizer == "none" and cell.signal == "randY":
            fields["train"] = 0.97
        return fields

    manifest, records = two_environments(Q, R, a=with_effects(IN_A), b=in_b)
    board = score(manifest, of(records["a"], "q") + of(records["b"], "r"))
    (row,) = board.unranked
    assert (row.entry, row.incomplete, row.H) == ("r", False, None)
    assert row.reason == "d/a is not valid in its environment b: F0(E) = 0.970 < 0.990"
    assert [row.entry for row in board.rows] == ["q"]


def test_a_row_with_too_few_seeds_in_its_environment_has_numbers_and_no_rank() -> None:
    def in_b(cell: Cell) -> dict[str, Any] | None:
        fields = with_effects(IN_B)(cell)
        if fields and cell.regularizer == "none" and cell.seed == 3:
            fields["status"] = "failed"
        return fields

    manifest, records = two_environments(Q, R, a=with_effects(IN_A), b=in_b)
    board = score(manifest, of(records["a"], "q") + of(records["b"], "r"))
    (row,) = board.unranked
    assert (row.entry, row.rank_H, row.H.mean) == ("r", None, pytest.approx(0.8))
    assert row.reason == "only 4 confirming seeds count in its environment"
    assert any("seed 3 is dropped for every entry of environment b" in note for note in board.notes)


# --- complete pairs -------------------------------------------------------------------------------


def test_complete_pairs_list_the_environments_in_the_order_of_the_manifest() -> None:
    manifest, records = two_environments(
        Q, R, LOW_RATE, a=with_effects(IN_A), b=with_effects(IN_B), envs=("b", "a")
    )
    everything = of(records["a"], "q", "r") + of(records["b"], "r", "low-lr")
    random.Random(0).shuffle(everything)
    assert complete_pairs(manifest, everything) == {
        (TASK, "none"): ("b", "a"),
        (TASK, "q"): ("a",),
        (TASK, "r"): ("b", "a"),
        (TASK, "low-lr"): ("b",),
    }


@pytest.mark.parametrize("phase", [range(3), CONFIRMING])
def test_a_pair_that_lacks_a_cell_of_either_phase_is_not_complete(phase: Iterable[int]) -> None:
    manifest, records = make_suite(Q, R, values=with_effects(IN_A))
    lost = next(r for r in records if r.regularizer == "r" and r.seed in phase)
    pairs = complete_pairs(manifest, [record for record in records if record is not lost])
    assert pairs == {(TASK, "none"): ("env",), (TASK, "q"): ("env",), (TASK, "r"): ()}


def test_no_pair_is_complete_before_none_is() -> None:
    manifest, records = make_suite(Q, values=with_effects(IN_A))
    lost = next(r for r in records if r.regularizer == "none" and r.seed == 7)
    pairs = complete_pairs(manifest, [record for record in records if record is not lost])
    assert pairs == {(TASK, "none"): (), (TASK, "q"): ()}


def test_a_composition_is_complete_with_both_its_rows() -> None:
    pair = make_entry("a+b", strengths=((0.1, 0.1),), full=((0.1, 0.1), (0.1, 0.2)))
    manifest, records = make_suite(pair)
    assert complete_pairs(manifest, records)[TASK, "a+b"] == ("env",)
    kept = [r for r in records if r.strength != (0.1, 0.2)]
    assert complete_pairs(manifest, kept)[TASK, "a+b"] == ()


def test_where_an_entry_cannot_act_it_is_complete_beside_none() -> None:
    manifest, records = make_suite(make_entry("r", skipped={TASK: "no taps"}))
    assert complete_pairs(manifest, records)[TASK, "r"] == ("env",)
    assert complete_pairs(manifest, [])[TASK, "r"] == ()


def test_the_choice_of_one_environment_is_not_that_of_another() -> None:
    manifest, records = two_environments(Q, R, a=with_effects(IN_A), b=with_effects(IN_B))
    assert choose(manifest, records["a"])[TASK, "r"].held_back == (0.3,)
    assert choose(manifest, records["b"])[TASK, "r"].held_back == (0.2,)

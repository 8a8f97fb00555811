"""What holds for all records: invariances of the score, and the areas against moocore."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import moocore
import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st
from support.scoring import SIGNALS
from support.scoring import baseline_values
from support.scoring import make_entry
from support.scoring import make_suite

from membench.records import Cell
from membench.records import Manifest
from membench.records import Record
from membench.scoring import score
from membench.scoring.formulas import best_suppression
from membench.scoring.formulas import choose
from membench.scoring.formulas import frontier_area
from membench.scoring.formulas import subsets

LOW = make_entry("low-lr", "control", strengths=((0.333,), (0.1,), (0.0333,)))
ENTRIES = (make_entry("r"), make_entry("q"), LOW)
FEW = settings(max_examples=15, deadline=None, derandomize=True)
seeds = st.integers(0, 2**32 - 1)


def noisy(seed: int, *entries: Any) -> tuple[Manifest, list[Record]]:
    """Make a suite with accuracies off those of `none` at random, and some cells failed.

    Every draw belongs to its cell, not to its place among the cells.
    """

    def values(cell: Cell) -> dict[str, Any]:
        rng = random.Random(f"{seed}/{cell.id}")

        def shift() -> float:
            return rng.randint(-20, 20) / 200

        result = baseline_values(cell)
        if cell.regularizer == "none":
            result["acc"] += shift() / 10
            return result
        if cell.signal != "randY":
            result["acc"] = min(result["acc"] + shift(), 1.0)
        result["train"] = 1 - abs(shift())
        if rng.random() < 0.03:
            result["status"] = "failed"
        result["val"] = min(result["acc"] + shift() / 4, 1.0)
        return result

    return make_suite(*(entries or ENTRIES), values=values)


@given(seeds, st.randoms(use_true_random=False))
@FEW
def test_the_order_of_the_records_makes_no_difference(seed: int, shuffler: random.Random) -> None:
    manifest, records = noisy(seed)
    shuffled = records[:]
    shuffler.shuffle(shuffled)
    assert score(manifest, shuffled) == score(manifest, records)


@given(seeds)
@FEW
def test_the_order_of_two_records_of_one_cell_makes_no_difference(seed: int) -> None:
    manifest, records = noisy(seed)
    again = []
    for record in records[::3]:
        halved = tuple(fit / 2 for fit in record.train)
        again.append(replace(record, env="other", train=halved))
    assert score(manifest, again + records) == score(manifest, records + again)


@given(seeds)
@FEW
def test_other_entries_do_not_change_recovery_or_excess(seed: int) -> None:
    alone = score(*noisy(seed, make_entry("r"), LOW))
    together = score(*noisy(seed, *ENTRIES))
    a = alone.rows[0]
    b = next(row for row in together.rows if row.entry == "r")
    assert (a.R, a.X, a.S, a.dA, a.S_mix) == (b.R, b.X, b.S, b.dA, b.S_mix)
    assert alone.scores["r", "d/a"] == together.scores["r", "d/a"]


@given(seeds, st.integers(0, 4), st.sampled_from(SIGNALS), st.integers(0, 4))
@FEW
def test_a_failure_lowers_its_strength_and_changes_no_other(
    seed: int, index: int, signal: str, at: int
) -> None:
    manifest, records = noisy(seed)
    failing = Cell("d", "a", "r", (round(0.1 * (index + 1), 1),), signal, at)
    (place,) = (i for i, record in enumerate(records) if record.cell == failing)
    with_failure = records[:]
    with_failure[place] = replace(records[place], status="failed")
    before = score(manifest, records).scores["r", "d/a"].points
    after = score(manifest, with_failure).scores["r", "d/a"].points
    for number, (old, new) in enumerate(zip(before, after, strict=True)):
        if number == index + 1:
            assert new.R <= old.R
            assert new.Rval <= old.Rval
            assert new.S <= old.S
            assert new.dA <= old.dA
        else:
            assert new == old


def test_a_failure_can_move_the_choice_to_a_better_strength() -> None:
    """No more than the above can be promised: the choice is made by noise too."""
    gains = np.array([[0.0] * 5, [0.10] * 5, [0.30, 0.06, 0.06, 0.06, 0.06]])
    assert choose(gains).tolist() == [1, 2, 2, 2, 2]
    # the lucky seed of the second strength fails: all folds now choose the first
    gains[2, 0] = -0.6
    assert choose(gains).tolist() == [1, 1, 1, 1, 1]


@given(seeds)
@FEW
def test_an_entry_with_the_results_of_none_recovers_nothing(seed: int) -> None:
    manifest, records = noisy(seed)
    baseline = {(r.signal, r.seed): r for r in records if r.regularizer == "none"}
    for i, record in enumerate(records):
        if record.regularizer == "r":
            same = baseline[record.signal, record.seed]
            records[i] = replace(
                record,
                status=same.status,
                train=same.train,
                val=same.val,
                test=same.test,
                wrong=same.wrong,
            )
    row = next(row for row in score(manifest, records).rows if row.entry == "r")
    assert (row.R.mean, row.S, row.dA, row.S_mix) == (0.0, 0.0, 0.0, 0.0)
    assert row.chosen == {"d/a": "off"}


@given(seeds)
@FEW
def test_the_choice_depends_on_the_other_seeds_gains_up_to_scale_and_order(seed: int) -> None:
    rng = np.random.default_rng(seed)
    table = rng.integers(-20, 20, (6, 5)) / 200
    table[0] = 0
    chosen = choose(table)
    assert (choose(3 * table) == chosen).all()  # D_t does not move the choice
    order = rng.permutation(5)
    assert (choose(table[:, order]) == chosen[order]).all()  # nor does the order of the seeds
    for s in range(5):  # a fold's own seed has no say
        changed = table.copy()
        changed[1:, s] = rng.random(5)
        assert choose(changed)[s] == chosen[s]


fronts = st.lists(st.tuples(st.floats(-0.2, 1), st.floats(-4, 1.5)), max_size=8)


@given(fronts)
@settings(max_examples=200, deadline=None, derandomize=True)
def test_the_area_of_the_frontier_equals_the_hypervolume_of_moocore(
    front: list[tuple[float, float]],
) -> None:
    S, dA = np.array([(0.0, 0.0), *front]).T  # off first
    # both to be minimized; gains count as no loss
    losses = np.column_stack([-S, np.maximum(-dA, 0.0)])
    oracle = moocore.hypervolume(losses, ref=[0.0, 2.0]) / 2
    assert frontier_area(S, dA) == pytest.approx(oracle, abs=1e-8)


@given(fronts, st.floats(0, 2), st.floats(0, 2))
@settings(max_examples=100, deadline=None, derandomize=True)
def test_a_larger_budget_never_suppresses_less(
    front: list[tuple[float, float]], a: float, b: float
) -> None:
    S, dA = np.array([(0.0, 0.0), *front]).T  # off first
    low = best_suppression(S, dA, min(a, b))
    high = best_suppression(S, dA, max(a, b))
    assert 0 <= low <= high


SUBSETS = [(2, 1, 2), (3, 1, 3), (5, 2, 10), (10, 3, 120), (20, 4, 4845), (24, 3, 2024)]


@pytest.mark.parametrize(("count", "size", "number"), SUBSETS)
def test_subsets_hold_a_third_of_the_seeds_or_less(count: int, size: int, number: int) -> None:
    indicators = subsets(count)
    assert indicators.shape == (number, count)
    assert (indicators.sum(1) == size).all()

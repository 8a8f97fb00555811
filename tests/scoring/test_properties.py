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
from support.scoring import bare
from support.scoring import entry
from support.scoring import world

from membench.records import Cell
from membench.records import Manifest
from membench.records import Record
from membench.scoring import score
from membench.scoring.formulas import best_suppression
from membench.scoring.formulas import choose
from membench.scoring.formulas import frontier_area
from membench.scoring.formulas import subsets

LOW = entry("low-lr", "control", strengths=((0.333,), (0.1,), (0.0333,)))
ENTRIES = (entry("r"), entry("q"), LOW)
FEW = settings(max_examples=15, deadline=None, derandomize=True)
seeds = st.integers(0, 2**32 - 1)


def noisy(seed: int, *entries: Any) -> tuple[Manifest, list[Record]]:
    """Accuracies off those of `none` at random, some cells failed; every draw belongs to its cell, not to its place."""

    def values(cell: Cell) -> dict[str, Any]:
        rng = random.Random(f"{seed}/{cell.id}")
        out = bare(cell)
        shift = lambda: rng.randint(-20, 20) / 200  # noqa: E731
        if cell.regularizer == "none":
            return out | {"acc": out["acc"] + shift() / 10}
        out |= {
            "acc": min(out["acc"] + shift() if cell.signal != "randY" else 0.1, 1.0),
            "train": 1 - abs(shift()),
        }
        return (
            out
            | ({"status": "failed"} if rng.random() < 0.03 else {})
            | {"val": min(out["acc"] + shift() / 4, 1.0)}
        )

    return world(*(entries or ENTRIES), values=values)


@given(seeds, st.randoms(use_true_random=False))
@FEW
def test_the_order_of_the_records_makes_no_difference(seed: int, shuffler: random.Random) -> None:
    manifest, records = noisy(seed)
    mixed = records[:]
    shuffler.shuffle(mixed)
    assert score(manifest, mixed) == score(manifest, records)


@given(seeds)
@FEW
def test_a_second_record_of_a_cell_is_settled_without_its_place(seed: int) -> None:
    manifest, records = noisy(seed)
    again = [replace(r, env="other", train=tuple(f / 2 for f in r.train)) for r in records[::3]]
    assert score(manifest, again + records) == score(manifest, records + again)


@given(seeds)
@FEW
def test_other_entries_change_no_one_s_recovery_or_excess(seed: int) -> None:
    alone, crowd = (score(*noisy(seed, *entries)) for entries in ((entry("r"), LOW), ENTRIES))
    one, many = alone.rows[0], next(row for row in crowd.rows if row.entry == "r")
    assert (one.R, one.X, one.S, one.dA, one.S_mix) == (many.R, many.X, many.S, many.dA, many.S_mix)
    assert alone.scores["r", "d/a"] == crowd.scores["r", "d/a"]


@given(seeds, st.integers(0, 4), st.sampled_from(SIGNALS), st.integers(0, 4))
@FEW
def test_a_failure_lowers_its_strength_and_touches_no_other(
    seed: int, index: int, signal: str, at: int
) -> None:
    manifest, records = noisy(seed)
    victim = ("r", (round(0.1 * (index + 1), 1),), signal, at)
    is_victim = [(r.regularizer, r.strength, r.signal, r.seed) == victim for r in records]
    assert sum(is_victim) == 1
    failed = [
        replace(r, status="failed") if hit else r for r, hit in zip(records, is_victim, strict=True)
    ]
    before, after = (score(manifest, rs).scores["r", "d/a"].points for rs in (records, failed))
    for number, (old, new) in enumerate(zip(before, after, strict=True)):
        if number == index + 1:
            worse = (new.R <= old.R, new.Rval <= old.Rval, new.S <= old.S, new.dA <= old.dA)
            assert all(worse)
        else:
            assert new == old


def test_a_failure_can_move_the_choice_to_a_better_strength() -> None:
    """Why no more than the above can be promised: the choice is made of noise too, and less of it can be luck."""
    gains = np.array([[0.0] * 5, [0.10] * 5, [0.30, 0.06, 0.06, 0.06, 0.06]])
    broken = gains.copy()
    broken[
        2, 0
    ] = -0.6  # the lucky seed of the second strength fails: all folds now choose the first
    assert choose(gains).tolist() == [1, 2, 2, 2, 2]
    assert choose(broken).tolist() == [1, 1, 1, 1, 1]


@given(seeds)
@FEW
def test_an_entry_that_is_none_recovers_nothing(seed: int) -> None:
    manifest, records = noisy(seed)
    plain = {(r.signal, r.seed): r for r in records if r.regularizer == "none"}
    keep = ("status", "train", "val", "test", "wrong")
    twins = [
        replace(r, **{f: getattr(plain[r.signal, r.seed], f) for f in keep})
        if r.regularizer == "r"
        else r
        for r in records
    ]
    row = next(row for row in score(manifest, twins).rows if row.entry == "r")
    assert (row.R.mean, row.S, row.dA, row.S_mix, row.chosen) == (
        0.0,
        0.0,
        0.0,
        0.0,
        {"d/a": "off"},
    )


@given(seeds)
@FEW
def test_recovery_is_in_units_of_the_damage(seed: int) -> None:
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
def test_the_frontier_s_area_is_moocore_s_hypervolume(front: list[tuple[float, float]]) -> None:
    S, dA = (np.array([0.0, *(p[i] for p in front)]) for i in (0, 1))
    losses = np.column_stack(
        [-S, np.maximum(-dA, 0.0)]
    )  # both to be minimized; gains count as no loss
    oracle = moocore.hypervolume(losses, ref=[0.0, 2.0]) / 2
    assert frontier_area(S, dA) == pytest.approx(oracle, abs=1e-8)


@given(fronts, st.floats(0, 2), st.floats(0, 2))
@settings(max_examples=100, deadline=None, derandomize=True)
def test_a_larger_budget_never_suppresses_less(
    front: list[tuple[float, float]], a: float, b: float
) -> None:
    S, dA = (np.array([0.0, *(p[i] for p in front)]) for i in (0, 1))
    low, high = (best_suppression(S, dA, budget) for budget in sorted((a, b)))
    assert 0 <= low <= high


SUBSETS = [(2, 1, 2), (3, 1, 3), (5, 2, 10), (10, 3, 120), (20, 4, 4845), (24, 3, 2024)]


@pytest.mark.parametrize(("count", "size", "number"), SUBSETS)
def test_subsets_hold_a_third_of_the_seeds_or_less(count: int, size: int, number: int) -> None:
    found = subsets(count)
    assert found.shape == (number, count)
    assert (found.sum(1) == size).all()

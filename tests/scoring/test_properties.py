"""What holds for all records: invariances of the score and of the choices."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st
from support.scoring import CHOOSING
from support.scoring import LOW_RATE
from support.scoring import SIGNALS
from support.scoring import baseline_values
from support.scoring import in_environment
from support.scoring import make_entry
from support.scoring import make_suite

from membench.records import Cell
from membench.records import Entry
from membench.records import Manifest
from membench.records import Record
from membench.scoring import Row
from membench.scoring import choose
from membench.scoring import complete_pairs
from membench.scoring import score

ENTRIES = (make_entry("r"), make_entry("q"), make_entry("s"), LOW_RATE)
FEW = settings(max_examples=8, deadline=None, derandomize=True)
seeds = st.integers(0, 2**32 - 1)
shufflers = st.randoms(use_true_random=False)


def noisy(seed: int, *entries: Entry) -> tuple[Manifest, list[Record]]:
    """Make a suite with accuracies off those of `none` at random, and some cells failed.

    Every draw belongs to its cell, not to its place among the cells.
    """

    def values(cell: Cell) -> dict[str, Any]:
        rng = random.Random(f"{seed}/{cell.id}")
        strength = random.Random(f"{seed}/{cell.regularizer}/{cell.strength}")

        def shift(of: random.Random = rng) -> float:
            return of.randint(-20, 20) / 200

        fields = baseline_values(cell)
        if cell.regularizer == "none":
            fields["acc"] += shift() / 10
            return fields
        if cell.signal != "randY":
            fields["acc"] = min(fields["acc"] + shift(strength) / 4 + shift() / 10, 1.0)
        if cell.signal == "mixed@0.4":
            fields["acc"] = min(fields["acc"] + strength.random() / 10, 1.0)
            fields["wrong"] = 0.98 - strength.random() * 0.8 + shift() / 5
        fields["train"] = 1 - abs(shift())
        if rng.random() < 0.02:
            fields["status"] = "failed"
        fields["val"] = min(fields["acc"] + shift() / 10, 1.0)
        return fields

    return make_suite(*(entries or ENTRIES), values=values)


def on_machines(seed: int) -> tuple[Manifest, list[Record]]:
    """Make a noisy suite whose entries have been run on three machines, some on several."""
    manifest, records = noisy(seed)
    rng = random.Random(seed)
    everything = []
    for env in ("x", "y", "z"):
        kept = [entry.name for entry in ENTRIES if rng.random() < 0.6]
        of_env = [record for record in records if record.regularizer in (*kept, "none")]
        everything += in_environment(of_env, env)
    return replace(manifest, envs=("y", "x")), everything


def row_of(rows: tuple[Row, ...], entry: str) -> Row:
    return next(row for row in rows if row.entry == entry)


@given(seeds, shufflers)
@FEW
def test_the_order_of_the_records_makes_no_difference(seed: int, shuffler: random.Random) -> None:
    manifest, records = on_machines(seed)
    shuffled = records[:]
    shuffler.shuffle(shuffled)
    assert score(manifest, shuffled) == score(manifest, records)
    assert complete_pairs(manifest, shuffled) == complete_pairs(manifest, records)
    of_x = [record for record in records if record.env == "x"]
    shuffled = [record for record in shuffled if record.env == "x"]
    assert choose(manifest, shuffled) == choose(manifest, of_x)


@given(seeds)
@FEW
def test_the_order_of_two_records_of_one_cell_makes_no_difference(seed: int) -> None:
    manifest, records = noisy(seed)
    again = []
    for record in records[::3]:
        halved = tuple(fit / 2 for fit in record.train)
        again.append(replace(record, train=halved, versions={"machine": "one", "cpu": "other"}))
    assert score(manifest, again + records) == score(manifest, records + again)


@given(seeds)
@FEW
def test_other_entries_change_neither_a_rows_numbers_nor_its_excess(seed: int) -> None:
    alone = score(*noisy(seed, make_entry("r"), LOW_RATE))
    together = score(*noisy(seed))
    a, b = row_of(alone.rows, "r"), row_of(together.rows, "r")
    for field in ("H", "S", "dA", "noisy", "R", "dA_recovery", "chosen_held_back", "H_edge"):
        assert getattr(a, field) == getattr(b, field)
    for field in ("excess_H", "excess_R", "stopping_H", "stopping_R"):
        assert getattr(a, field).value == getattr(b, field).value
    assert alone.scores["r", "d/a"] == together.scores["r", "d/a"]
    assert alone.control_rows == together.control_rows
    assert b.claim.p >= a.claim.p


@given(seeds)
@FEW
def test_a_row_is_what_its_environment_alone_makes_it(seed: int) -> None:
    manifest, records = on_machines(seed)
    board = score(manifest, records)
    for row in board.rows:
        env = row.envs["d/a"]
        alone = score(manifest, [record for record in records if record.env == env])
        same = row_of(alone.rows, row.entry)
        assert (row.H, row.dA, row.R, row.chosen_held_back) == (
            same.H,
            same.dA,
            same.R,
            same.chosen_held_back,
        )
        if row.excess_H is not None:
            assert row.excess_H.value == same.excess_H.value


@given(seeds)
@FEW
def test_a_row_stands_within_its_rank_interval(seed: int) -> None:
    board = score(*on_machines(seed))
    count = len(board.rows)
    by_H = [(row.rank_H, row.first_H) for row in board.rows]
    by_R = [(row.rank_R, row.first_R) for row in board.by_recovery]
    for ranks in (by_H, by_R):
        for place, (interval, first) in enumerate(ranks, 1):
            assert 1 <= interval[0] <= place <= interval[1] <= count
            assert interval[0] == 1 or not first
        if ranks:
            assert ranks[0][1]  # the best estimate is beaten by none


@given(seeds)
@FEW
def test_the_front_holds_the_claims_with_the_best_estimates(seed: int) -> None:
    rows = [row for row in score(*noisy(seed)).rows if row.claim.holds]
    if rows:
        best_dA = max(row.dA.mean for row in rows)
        assert rows[0].on_front
        assert any(row.on_front for row in rows if row.dA.mean == best_dA)


@given(seeds, st.integers(0, 4), st.sampled_from(SIGNALS), st.sampled_from(CHOOSING))
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
            for field in ("R", "S", "dA"):
                assert getattr(new, field) <= getattr(old, field)
            assert min(new.gain_val.values()) <= min(old.gain_val.values())
        else:
            assert new == old


@given(seeds)
@FEW
def test_an_entry_with_the_results_of_none_holds_back_nothing(seed: int) -> None:
    manifest, records = noisy(seed, make_entry("r"), make_entry("q"))
    baseline = {(r.signal, r.seed): r for r in records if r.regularizer == "none"}
    for i, record in enumerate(records):
        if record.regularizer == "r":
            same = baseline[record.signal, record.seed]
            as_none = {name: getattr(same, name) for name in ("train", "val", "test", "wrong")}
            records[i] = replace(record, status=same.status, **as_none)
    row = row_of(score(manifest, records).rows, "r")
    assert (row.R.mean, row.S.mean, row.dA.mean, row.H.mean) == (0.0, 0.0, 0.0, 0.0)
    assert row.chosen_held_back == row.chosen_recovery == {"d/a": "off"}
    assert not row.claim.holds


@given(seeds)
@FEW
def test_the_name_of_the_environment_makes_no_difference_to_the_numbers(seed: int) -> None:
    manifest, records = noisy(seed)
    one, other = score(manifest, records), score(manifest, in_environment(records, "another"))
    assert [replace(row, envs={}) for row in one.rows] == [
        replace(row, envs={}) for row in other.rows
    ]


@given(seeds)
@FEW
def test_the_points_are_read_on_the_choosing_seeds_alone(seed: int) -> None:
    manifest, records = noisy(seed)
    first_phase = [record for record in records if record.seed in CHOOSING]
    whole, half = score(manifest, records), score(manifest, first_phase)
    for name in ("r", "q", "s"):
        assert whole.scores[name, "d/a"].points == half.scores[name, "d/a"].points
    assert whole.controls["d/a"].early == half.controls["d/a"].early


def test_noisy_boards_have_claims_excess_and_failures() -> None:
    """The properties above are not those of empty boards."""
    boards = [score(*on_machines(seed)) for seed in range(6)]
    rows = [row for board in boards for row in board.rows]
    assert any(len({row.envs["d/a"] for row in board.rows}) > 1 for board in boards)
    assert {row.claim.holds for row in rows} == {True, False}
    assert any(row.excess_H and row.excess_H.significant for row in rows)
    assert sum(row.confirmed_failed for row in rows) > 0
    assert max(row.rank_H[1] for row in rows) == pytest.approx(3)

"""Two rows compared: seed by seed where both were read in one environment, unpaired elsewhere."""

from __future__ import annotations

from dataclasses import replace
from math import sqrt
from typing import Any

import pytest
from support.scoring import BASELINE
from support.scoring import LOW_RATE
from support.scoring import gaining
from support.scoring import holding_back
from support.scoring import in_environment
from support.scoring import make_entry
from support.scoring import make_suite
from support.scoring import with_effects

from membench.records import Cell
from membench.records import Manifest
from membench.records import Record
from membench.scoring import measured_rows
from membench.scoring import score
from membench.scoring.differences import Difference
from membench.scoring.differences import differences_of
from membench.scoring.rows import MeasuredRow
from membench.scoring.types import EARLY_STOPPING
from membench.scoring.types import TRAINING_LESS
from membench.studies import t_half_width

GAINS = (0.08, 0.1, 0.12, 0.1, 0.1)
OTHER_GAINS = (0.02, 0.05, 0.05, 0.05, 0.08)
EFFECTS = {
    ("a", 0.3): holding_back(0.5, 0.6, 0.4, 0.5, 0.5),
    ("b", 0.2): holding_back(0.3, 0.2, 0.3, 0.4, 0.3),
    ("c", 0.2): gaining(*GAINS),
    ("d", 0.2): gaining(*OTHER_GAINS),
}


def suite(**options: object) -> tuple[Manifest, list[Record]]:
    entries = [make_entry(name) for name in "abcd"]
    return make_suite(*entries, LOW_RATE, values=with_effects(EFFECTS), **options)


def rows() -> dict[str, MeasuredRow]:
    return measured_rows(*suite())


def by_reading(first: MeasuredRow, second: MeasuredRow) -> dict[str, Difference]:
    return {one.reading: one for one in differences_of(first, second)}


def test_the_second_row_minus_the_first_is_paired_within_an_environment() -> None:
    found = by_reading(rows()["d"], rows()["c"])
    assert list(found) == ["H", "S", "dA", "R", "dA mixed@0.4"]
    recovery = found["R"]
    assert recovery.paired
    # .05 and .1 of the damage, .2
    assert (recovery.first.mean, recovery.second.mean) == pytest.approx((0.25, 0.5))
    assert recovery.value.mean == pytest.approx(0.25)
    # seed by seed 6, 5, 7, 5, 2 points: variance 3.5
    assert recovery.value.half == pytest.approx(t_half_width(sqrt(3.5 / 5) / 20, 4))
    assert recovery.by_task["d/a"] == recovery.value


def test_a_difference_turned_round_has_the_other_sign() -> None:
    there, back = by_reading(rows()["a"], rows()["b"]), by_reading(rows()["b"], rows()["a"])
    for name, difference in there.items():
        assert difference.value.mean == pytest.approx(-back[name].value.mean)
        assert difference.value.half == pytest.approx(back[name].value.half)
        assert difference.p == pytest.approx(back[name].p)


@pytest.mark.parametrize("control", [TRAINING_LESS, EARLY_STOPPING])
def test_the_difference_from_a_control_is_the_excess_of_the_board(control: str) -> None:
    board, measured = score(*suite()), rows()
    of_h, of_r = (
        ("excess_H", "excess_R") if control == TRAINING_LESS else ("stopping_H", "stopping_R")
    )
    for row in board.rows:
        found = by_reading(measured[control], measured[row.entry])
        assert found["H"].value == getattr(row, of_h).value
        assert found["R"].value == getattr(row, of_r).value


def test_rows_of_two_environments_add_their_variances() -> None:
    manifest, records = suite()
    elsewhere = measured_rows(
        replace(manifest, envs=("elsewhere",)), in_environment(records, "elsewhere")
    )
    recovery = by_reading(rows()["d"], elsewhere["c"])["R"]
    assert not recovery.paired
    assert recovery.value.mean == pytest.approx(0.25)
    variances = (2.0 / 5, 4.5 / 5)  # of 8, 10, 12, 10, 10 and 2, 5, 5, 5, 8 points, over 5 seeds
    freedom = sum(variances) ** 2 / sum(v**2 / 4 for v in variances)
    assert recovery.value.half == pytest.approx(t_half_width(sqrt(sum(variances)) / 20, freedom))


def test_other_seeds_of_the_same_environment_are_not_paired() -> None:
    others = measured_rows(*suite(confirming=(13, 14, 15, 16, 17)))
    noisy = by_reading(rows()["a"], others["a"])["H"]
    assert not noisy.paired


def test_boards_of_other_tasks_are_compared_by_their_means() -> None:
    two_tasks = measured_rows(*suite(tasks=("d/a", "e/a")))
    found = by_reading(rows()["c"], two_tasks["c"])["R"]
    assert not found.paired
    assert found.value.mean == pytest.approx(0.0)
    assert set(found.by_task) == {"d/a"}
    alone, of_two = 2.0 / 5, 2.0 / 5 / 4
    variance = alone + 2 * of_two
    freedom = variance**2 / (alone**2 / 4 + 2 * of_two**2 / 4)
    assert found.value.half == pytest.approx(t_half_width(sqrt(variance) / 20, freedom))


def test_one_confirming_seed_gives_no_interval() -> None:
    measured = measured_rows(*suite(confirming=(3,)))
    found = by_reading(measured["a"], measured["b"])["H"]
    assert (found.value.half, found.p) == (None, None)


def test_a_row_compared_with_itself_differs_by_nothing_even_where_runs_of_it_failed() -> None:
    def values(cell: Cell) -> dict[str, Any] | None:
        fields = with_effects(EFFECTS)(cell)
        if cell.regularizer == "a" and cell.signal == "randY" and cell.seed == 4:
            return {**(fields or {}), "status": "diverged"}
        return fields

    row = measured_rows(*make_suite(make_entry("a"), LOW_RATE, values=values))["a"]
    other = measured_rows(*make_suite(make_entry("a"), LOW_RATE, values=values))["a"]
    found = by_reading(row, other)
    for name in ("H", "dA", "R"):
        difference = found[name]
        assert difference.value.mean == 0
        assert (difference.value.half or 0.0) < 0.1 * (difference.first.half or 0.0)


def test_boards_of_other_noise_are_not_paired() -> None:
    def values(cell: Cell) -> dict[str, Any]:
        return dict(BASELINE["mixed@0.4" if cell.signal == "people" else cell.signal])

    signals = ("real", "people", "randY")
    own = make_suite(make_entry("a"), LOW_RATE, values=values, signals=signals, noisy=("people",))
    assert not by_reading(rows()["a"], measured_rows(*own)["a"])["H"].paired

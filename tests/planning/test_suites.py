"""Suites are data; what is computed from them."""

from __future__ import annotations

from membench.api import Split
from membench.engine.schedule import checkpoints
from membench.engine.schedule import control_epochs
from membench.planning.suites import SUITES
from membench.planning.suites import default_split
from membench.planning.suites import narrow
from membench.planning.suites import split_of


def test_a_data_set_that_the_suite_does_not_name_gets_a_split_of_its_own() -> None:
    assert default_split(1797, 0) == Split(test=718, train=539, validation=539)
    assert default_split(60000, 10000) == Split(test=10000, train=1000, validation=1000)


def test_a_size_that_was_asked_for_leaves_something_to_validate_with() -> None:
    assert default_split(60000, 10000, 5000) == Split(test=10000, train=5000, validation=1000)
    assert default_split(60000, 10000, 59900) == Split(test=10000, train=59900, validation=100)
    assert default_split(1797, 0, 60) == Split(test=718, train=60, validation=539)
    assert split_of(narrow(SUITES["quick"], (), (), (), train=500), "mnist5k") == Split(
        2000, 500, 1000
    )


def test_a_part_of_a_suite_keeps_its_name_and_what_leaves_it_gets_another() -> None:
    quick = SUITES["quick"]
    assert narrow(quick, (), ("mlp",), (0, 1)).name == "quick"
    assert narrow(quick, ("digits",), (), ()).name == "quick-custom"
    assert narrow(quick, (), (), (1000,)).name == "quick-custom"
    assert narrow(quick, (), (), (), train=500).name == "quick-custom"
    assert narrow(quick, (), (), (), epochs=5).name == "quick-custom"


def test_checkpoints_hold_the_half_eight_tenths_and_the_whole_of_any_budget() -> None:
    for budget in range(1, 200):
        read = checkpoints(budget)
        assert {(budget + 1) // 2, round(0.8 * budget) or budget, budget} <= set(read)
        assert len(read) <= 10
        assert list(read) == sorted(set(read))


def test_the_control_is_read_at_every_epoch_to_ten_then_ever_fewer() -> None:
    assert control_epochs(50) == (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 15, 20, 25, 30, 40, 50)
    assert control_epochs(5) == (1, 2, 3, 4, 5)

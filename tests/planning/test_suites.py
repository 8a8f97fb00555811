"""Suites: their splits, and what a narrowed suite is called."""

from __future__ import annotations

from membench.api import Split
from membench.planning.suites import SUITES
from membench.planning.suites import default_split
from membench.planning.suites import narrow
from membench.planning.suites import split_of


def test_a_data_set_without_a_split_in_the_suite_gets_a_default_one() -> None:
    assert default_split(1797, 0) == Split(test=718, train=539, validation=539)
    assert default_split(60000, 10000) == Split(test=10000, train=1000, validation=1000)


def test_a_requested_training_size_leaves_images_for_validation() -> None:
    assert default_split(60000, 10000, 5000) == Split(test=10000, train=5000, validation=1000)
    assert default_split(60000, 10000, 59900) == Split(test=10000, train=59900, validation=100)
    assert default_split(1797, 0, 60) == Split(test=718, train=60, validation=539)
    assert split_of(narrow(SUITES["quick"], (), (), (), train=500), "mnist5k") == Split(
        2000, 500, 1000
    )


def test_a_part_of_a_suite_keeps_its_name_and_anything_else_gets_another() -> None:
    quick = SUITES["quick"]
    assert narrow(quick, (), (), ()) == quick
    part = narrow(quick, ("mnist5k",), ("mlp",), (0, 1))
    assert (part.name, part.architectures, part.seeds) == ("quick", ("mlp",), (0, 1))
    assert narrow(quick, ("digits",), (), ()).name == "quick-custom"
    assert narrow(quick, (), ("mlp", "vit"), ()).name == "quick-custom"
    assert narrow(quick, (), (), (0, 1000)).name == "quick-custom"
    assert narrow(quick, (), (), (1000,)).name == "quick-custom"
    assert narrow(quick, (), (), (), train=500).name == "quick-custom"
    assert narrow(quick, (), (), (), epochs=5).name == "quick-custom"

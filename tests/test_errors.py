"""A name that is unknown brings the nearest ones, never a list that nobody reads."""

from __future__ import annotations

from membench.errors import known_names
from membench.errors import unknown_name

MANY = [f"name-{place}" for place in range(48)]


def test_a_near_name_is_suggested() -> None:
    said = str(
        unknown_name("signal", "rnadY", ["randY", "randX", "mixed"], "membench list signals")
    )
    assert said == "unknown signal 'rnadY': did you mean randY or randX?"


def test_a_short_list_is_given_whole() -> None:
    assert str(unknown_name("kind", "zzz", ["b", "a"])) == "unknown kind 'zzz': known: a, b"


def test_of_a_long_list_the_nearest_are_named_and_the_command_that_shows_all() -> None:
    said = str(unknown_name("data set", "qqq-47", MANY, "membench list datasets"))
    assert said == (
        "unknown data set 'qqq-47': the nearest of 48 names: "
        "name-47, name-7, name-4 (membench list datasets shows all)"
    )
    assert known_names("zz", MANY).startswith("the nearest of 48 names: name-")
    assert len(known_names("zz", [f"{name}-{name}" for name in MANY])) < 100

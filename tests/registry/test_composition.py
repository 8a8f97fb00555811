"""Compositions of regularizers: their grids, and the parts that cannot be combined."""

from __future__ import annotations

import math
from itertools import product

import pytest
from support.workspace import Workspace
from support.workspace import registering
from support.workspace import shrinking

from membench.errors import MembenchError
from membench.registry.loading import load_records


def test_a_composition_keeps_the_order_of_its_parts_and_pairs_their_grids(
    workspace: Workspace,
) -> None:
    first = "grid('a', batch=act, limit=5)"
    second = "grid('b', strengths=(9, 8, 7, 6, 5), off=math.inf, hidden=act, skip=act)"
    workspace.write("plugins/ab.py", registering(f"{first}, {second}"))
    plain = workspace.discover()
    registry = plain.with_composition("b+a").with_composition("a+b")
    entry = registry.regularizers["b+a"]
    assert entry.strengths == ((9, 1), (8, 2), (7, 3), (6, 4), (5, 5))
    assert (entry.parts, entry.off, entry.group) == (("b", "a"), (math.inf, 0.0), "composition")
    assert entry.limits == (None, 5.0)
    assert (entry.acts_on, entry.has_skip) == (("batch", "hidden", "weights"), True)
    assert entry.code_hash != registry.regularizers["a+b"].code_hash
    assert [part.name for part in registry.regularizer("b+a")] == ["b", "a"]
    assert [part.name for part in plain.regularizer("a+b")] == ["a", "b"]
    assert "b+a" not in plain.regularizers
    assert registry.with_composition("a") is registry


def test_a_full_grid_is_added_to_the_paired_one_from_weak_to_strong(workspace: Workspace) -> None:
    first, second = (1, 2, 3, 4, 5), (0.9, 0.8, 0.7, 0.6, 0.5)
    records = f"grid('a', strengths={first}), grid('b', strengths={second}, off=1)"
    workspace.write("plugins/ab.py", registering(records))
    registry = workspace.discover().with_composition("a+b").with_composition("a+b", full=True)
    entry = registry.regularizers["a+b"]
    assert entry.strengths == ((1, 0.9), (2, 0.8), (3, 0.7), (4, 0.6), (5, 0.5))
    assert entry.full[:4] == ((1, 0.9), (1, 0.8), (2, 0.9), (1, 0.7))
    assert (len(entry.full), entry.full[-1]) == (25, (5, 0.5))
    assert set(entry.full) == set(product(first, second))
    assert registry.with_composition("a+b") is registry
    assert registry.with_composition("a+b", full=True) is registry


def test_parts_whose_grids_differ_in_length_have_only_a_full_grid(workspace: Workspace) -> None:
    control = "grid('c', strengths=(7, 8, 9), group='control')"
    workspace.write("plugins/ac.py", registering(f"grid('a'), {control}"))
    registry = workspace.discover()
    with pytest.raises(MembenchError, match="the parts' grids differ in length; register a Comp"):
        registry.with_composition("a+c")
    entry = registry.with_composition("a+c", full=True).regularizers["a+c"]
    assert (entry.strengths, len(entry.full), entry.group) == ((), 15, "control")
    # A worker needs the parts and not the grid.
    assert [part.name for part in registry.regularizer("a+c")] == ["a", "c"]


def test_a_registered_composite_keeps_its_grid_beside_the_full_one(workspace: Workspace) -> None:
    strengths = "tuple((10 + i, 20 + i) for i in range(5))"
    records = f"grid('a'), grid('b'), Composite('a+b', {strengths})"
    workspace.write("plugins/ab.py", registering(records))
    entry = workspace.discover().with_composition("a+b", full=True).regularizers["a+b"]
    assert entry.strengths == ((10, 20), (11, 21), (12, 22), (13, 23), (14, 24))
    assert len(set(entry.full)) == 25
    assert set(entry.full).isdisjoint(entry.strengths)


def test_the_parts_of_a_registered_composite_may_be_in_other_files(workspace: Workspace) -> None:
    strengths = "tuple((i, 1 - i / 4) for i in range(5))"
    composite = f"Composite('y+z', {strengths}, summary='both')"
    workspace.write("plugins/a.py", registering(composite))
    workspace.write("plugins/y.py", registering("grid('y')"))
    workspace.write("plugins/z.py", registering("grid('z', group='control')"))
    for _ in ("imported", "cached"):
        registry = workspace.discover()
        entry = registry.regularizers["y+z"]
        assert registry.problems == ()
        assert entry.strengths == ((0, 1), (1, 0.75), (2, 0.5), (3, 0.25), (4, 0))
        assert (entry.summary, entry.group, entry.origin) == ("both", "control", "plugins/a.py")
        assert registry.with_composition("y+z") is registry
        assert [part.name for part in load_records(entry)] == ["y", "z"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("a+a", "appears twice"),
        ("a+x", "unknown regularizer"),
        ("a+", "''"),
        ("a+none", "leave it out"),
    ],
)
def test_an_impossible_composition_is_refused(
    workspace: Workspace, name: str, message: str
) -> None:
    workspace.write("plugins/a.py", shrinking("a"))
    with pytest.raises(MembenchError, match=message):
        workspace.discover().with_composition(name)

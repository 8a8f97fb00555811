"""A plan cut into shards: every entry whole in one, the baseline in each, from the plan alone."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from functools import reduce
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st
from support import plans
from support.plans import entry
from support.plans import grid
from support.plans import registry

from membench.api import Recipe
from membench.errors import ExitCode
from membench.errors import MembenchError
from membench.planning.plan import BASELINES
from membench.planning.plan import Plan
from membench.planning.shards import Shard
from membench.planning.shards import assign
from membench.planning.shards import entry_costs
from membench.planning.shards import part_of
from membench.records import parse_id
from membench.store.joining import join_manifests

#: 30 training images: 60 are shown on the mlp, 90 on the cnn.
SUITE = replace(plans.SUITE, recipes={("dots", "mlp"): Recipe(batch=10, epochs=2)})
COSTS = st.dictionaries(st.sampled_from("abcdefghij"), st.integers(0, 9), max_size=8)


def plan_of(**changes: Any) -> Plan:
    """Plan the small suite, whose regularizers may all be skipped."""
    if "skip" in changes:
        asked = {name: {"has_skip": True} for name in ("dropout", "mixup", "dropout+mixup")}
        changes["plugins"] = registry(**asked)
    return plans.plan_of(SUITE, **changes)


def shards(plan: Plan, count: int) -> list[Plan]:
    return [part_of(plan, Shard(index, count)) for index in range(1, count + 1)]


def only_mlp(dataset: str, architecture: str, regularizer: str) -> str | None:
    """Let `mixup` act on the mlp alone."""
    return "why" if (architecture, regularizer) == ("cnn", "mixup") else None


def test_the_heaviest_entry_goes_first_to_the_lightest_shard_and_ties_go_by_name() -> None:
    costs = {"d": 3, "a": 3, "c": 5, "b": 4, "e": 2}
    # c to 1, b to 2, a to 2 (4 < 5), d to 1 (5 < 7), e to 2 (7 < 8)
    assert assign(costs, 2) == [["c", "d"], ["a", "b", "e"]]
    assert assign(costs, 3) == [["c"], ["b", "e"], ["a", "d"]]
    assert assign(dict.fromkeys("dbca", 1), 3) == [["a", "d"], ["b"], ["c"]]


def test_an_entry_that_costs_nothing_is_in_the_first_shard_and_makes_no_other_one() -> None:
    assert assign({"a": 1, "b": 0}, 3) == [["a", "b"], [], []]


@given(COSTS, st.integers(1, 5), st.randoms(use_true_random=False))
@settings(deadline=None)
def test_every_entry_is_in_one_shard_whatever_order_the_plan_has(
    costs: dict[str, int], count: int, rng: Random
) -> None:
    cut = assign(costs, count)
    assert len(cut) == count
    assert sorted(name for names in cut for name in names) == sorted(costs)
    items = list(costs.items())
    rng.shuffle(items)
    assert assign(dict(items), count) == cut


@given(COSTS, st.integers(1, 5))
@settings(deadline=None)
def test_no_shard_is_heavier_than_the_mean_and_one_entry(costs: dict[str, int], count: int) -> None:
    loads = [sum(costs[name] for name in names) for names in assign(costs, count)]
    assert max(loads) <= sum(costs.values()) / count + max(costs.values(), default=0)


def test_an_entry_costs_the_examples_of_its_choosing_cells_and_of_one_strength() -> None:
    cells = 2 * 3 * 2 + 3 * 1  # strengths x signals x choosing seeds, signals x confirming seeds
    both, mlp = cells * (60 + 90), cells * 60
    assert entry_costs(plan_of(skip=only_mlp)) == {
        "dropout": both,
        "mixup": mlp,
        "dropout+mixup": both,
    }


@pytest.mark.parametrize("count", [1, 2, 3])
def test_each_shard_has_whole_entries_of_the_plan_and_all_of_the_baseline(count: int) -> None:
    plan = plan_of()
    parts = shards(plan, count)
    of_plan = Counter(cell.id for cell in plan.cells)
    of_parts = Counter(cell.id for part in parts for cell in part.cells)
    assert of_parts.keys() == of_plan.keys()
    for cell_id, times in of_parts.items():
        assert times == (count if parse_id(cell_id).regularizer in BASELINES else 1)
    for part in parts:
        names = {cell.regularizer for cell in part.cells}
        assert {entry.name for entry in part.manifest.entries} == names
        assert {parse_id(cell_id).regularizer for cell_id in part.manifest.cells} == names
        for pack in part.packs():
            assert pack in plan.packs()


@pytest.mark.parametrize("count", [1, 2, 3])
def test_the_shards_plans_joined_are_the_plan(count: int) -> None:
    plan = plan_of(skip=only_mlp)
    joined = reduce(
        lambda one, other: join_manifests(one, other, "there"),
        [part.manifest for part in shards(plan, count)],
    )
    # a manifest that was joined has its entries in the order of their names
    in_order = sorted(plan.manifest.entries, key=lambda entry: (entry.name != "none", entry.name))
    assert joined == replace(plan.manifest, entries=tuple(in_order))


def test_the_cut_is_another_one_for_nothing_but_the_plan() -> None:
    """The order in which plugins were found, and what a shard has been cut to, change nothing."""
    plan = plan_of()
    turned = replace(
        plan,
        cells=plan.cells[::-1],
        manifest=replace(plan.manifest, entries=plan.manifest.entries[::-1]),
    )
    for index in (1, 2):
        one, other = part_of(plan, Shard(index, 2)), part_of(turned, Shard(index, 2))
        assert set(one.cells) == set(other.cells)


def test_a_task_without_its_entries_is_not_in_a_shard_but_one_without_any_is_in_the_first() -> None:
    mlp_alone = shards(plan_of(skip=only_mlp), 3)
    of_mixup = next(p for p in mlp_alone if any(c.regularizer == "mixup" for c in p.cells))
    assert of_mixup.manifest.tasks == ("dots/mlp",)
    assert set(of_mixup.manifest.recipes) == {"dots/mlp"}

    def nowhere_on_cnn(dataset: str, architecture: str, regularizer: str) -> str | None:
        return "why" if architecture == "cnn" and regularizer not in BASELINES else None

    first, second = shards(plan_of(skip=nowhere_on_cnn), 2)
    assert first.manifest.tasks == ("dots/cnn", "dots/mlp")
    assert second.manifest.tasks == ("dots/mlp",)


def test_the_baseline_alone_is_one_shard() -> None:
    plan = plan_of(select=lambda cell_id: "/none/" in cell_id)
    assert part_of(plan, Shard(1, 1)).cells == plan.cells


def test_more_shards_than_entries_leave_nothing_for_the_last_one() -> None:
    with pytest.raises(MembenchError, match=r"--shard 4/4: .*the plan has 3 entries") as caught:
        part_of(plan_of(), Shard(4, 4))
    assert caught.value.code is ExitCode.NOTHING


def test_further_strengths_weigh_more() -> None:
    wide = entry("regularizers", "wide", group="model", **grid(0.1, 0.2, 0.3, 0.4))
    costs = entry_costs(plan_of(plugins=registry(wide)))
    assert costs["wide"] == costs["dropout"] + 2 * 3 * 2 * (60 + 90)

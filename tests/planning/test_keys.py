"""The keys of cells: what they depend on, what they do not, and that they are what they were."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
from support.cli import REPO
from support.plans import ARCHITECTURE_RECIPE
from support.plans import CELL
from support.plans import SUITE
from support.plans import entry
from support.plans import grid
from support.plans import hash_of
from support.plans import never_skip
from support.plans import plan_of
from support.plans import registry
from support.suites import shipped_suite

from membench.api import Recipe
from membench.api import Split
from membench.planning import keys
from membench.planning.plan import make_plan
from membench.planning.suites import PlannedSuite
from membench.records import PROTOCOL
from membench.records import Manifest
from membench.registry.registry import Registry
from membench.registry.registry import discover


def key(
    suite: PlannedSuite = SUITE,
    plugins: Registry | None = None,
    hash_of: Callable[[str], str] = hash_of,
    cell: str = CELL,
) -> str:
    """Return the key of a cell of the small suite, with what the test changes."""
    return plan_of(suite, plugins, hash_of).manifest.cells[cell]


def with_recipe(**changes: Any) -> PlannedSuite:
    """Return the suite with another recipe for `dots/mlp`."""
    return replace(SUITE, recipes={("dots", "mlp"): replace(Recipe(lr=0.1), **changes)})


def with_split(split: Split) -> PlannedSuite:
    return replace(SUITE, splits={"dots": split})


CHANGES: dict[str, Callable[[], str]] = {
    "learning rate": lambda: key(with_recipe(lr=0.2)),
    "momentum": lambda: key(with_recipe(momentum=0.8)),
    "batch": lambda: key(with_recipe(batch=50)),
    "epochs": lambda: key(with_recipe(epochs=7)),
    "optimizer": lambda: key(with_recipe(optimizer="adamw")),
    "optimizer's code": lambda: key(plugins=registry(sgd={"code_hash": "new"})),
    "optimizer's version": lambda: key(plugins=registry(sgd={"version": 2})),
    "schedule": lambda: key(with_recipe(schedule="cosine")),
    "test size": lambda: key(with_split(Split(21, 30, 10))),
    "training size": lambda: key(with_split(Split(20, 31, 10))),
    "validation size": lambda: key(with_split(Split(20, 30, 11))),
    "arrays": lambda: key(hash_of=lambda name: "other arrays"),
    "regularizer's code": lambda: key(plugins=registry(dropout={"code_hash": "new"})),
    "regularizer's version": lambda: key(plugins=registry(dropout={"version": 2})),
    "architecture's code": lambda: key(plugins=registry(mlp={"code_hash": "new"})),
    "architecture's version": lambda: key(plugins=registry(mlp={"version": 2})),
    "signal's code": lambda: key(plugins=registry(mixed={"code_hash": "new"})),
    "signal's version": lambda: key(plugins=registry(mixed={"version": 2})),
    "strength": lambda: key(cell="dots/mlp/dropout[0.1]/mixed@0.4/seed1"),
    "seed": lambda: key(cell="dots/mlp/dropout[0.5]/mixed@0.4/seed0"),
    "signal": lambda: key(cell="dots/mlp/dropout[0.5]/randY/seed1"),
    "regularizer": lambda: key(cell="dots/mlp/none/mixed@0.4/seed1"),
    "architecture": lambda: key(
        replace(SUITE, recipes={}), cell="dots/cnn/dropout[0.5]/mixed@0.4/seed1"
    ),
    "level": lambda: key(
        replace(SUITE, signals=("real", "mixed@0.5", "randY")),
        cell="dots/mlp/dropout[0.5]/mixed@0.5/seed1",
    ),
}


@pytest.mark.parametrize("ingredient", CHANGES)
def test_a_key_changes_with(ingredient: str) -> None:
    assert CHANGES[ingredient]() != key()


def test_no_two_changes_give_the_same_key() -> None:
    changed = {change() for change in CHANGES.values()}
    assert len(changed | {key()}) == len(CHANGES) + 1


def test_a_key_changes_with_the_protocol(monkeypatch: pytest.MonkeyPatch) -> None:
    before = key()
    monkeypatch.setattr(keys, "PROTOCOL", PROTOCOL + 1)
    assert key() != before


IRRELEVANT: dict[str, Callable[[], str]] = {
    "other strengths beside it": lambda: key(plugins=registry(dropout=grid(0.5, 0.9, 0.1))),
    "another regularizer's code": lambda: key(plugins=registry(mixup={"code_hash": "new"})),
    "another architecture's code": lambda: key(plugins=registry(cnn={"code_hash": "new"})),
    "another optimizer's code": lambda: key(plugins=registry(adamw={"code_hash": "new"})),
    "another signal's code": lambda: key(plugins=registry(randY={"code_hash": "new"})),
    "the plugin's path": lambda: key(
        plugins=registry(dropout={"path": "/elsewhere.py", "origin": "elsewhere"})
    ),
    "the summary": lambda: key(
        plugins=registry(dropout={"summary": "New words.", "source": "A book"})
    ),
    "the group": lambda: key(plugins=registry(dropout={"group": "data"})),
    "another data set's arrays": lambda: key(
        hash_of=lambda name: hash_of(name) if name == "dots" else "new"
    ),
    "the suite's name and version": lambda: key(
        replace(SUITE, name="big", version=9, summary="big")
    ),
    "the width and the compiler": lambda: key(replace(SUITE, width=99, compiled=False)),
    "more seeds": lambda: key(replace(SUITE, choosing=(5, 1, 0), confirming=(3,))),
    "more signals": lambda: key(replace(SUITE, signals=("randY", "mixed@0.4"))),
    "more data sets": lambda: key(replace(SUITE, datasets=("more", "dots"))),
    "another task's recipe": lambda: key(
        replace(SUITE, recipes={**SUITE.recipes, ("dots", "cnn"): Recipe(lr=9.0)})
    ),
    "the architecture's recipe, where the suite has one": lambda: key(
        plugins=registry(mlp={"recipe": asdict(Recipe(lr=7.0))})
    ),
    "a selection": lambda: plan_of(
        select=lambda cell: "mixup" in cell or cell == CELL
    ).manifest.cells[CELL],
}


@pytest.mark.parametrize("change", IRRELEVANT)
def test_a_key_does_not_change_with(change: str) -> None:
    assert IRRELEVANT[change]() == key()


def test_a_composition_s_key_changes_with_the_code_of_each_part() -> None:
    cell = "dots/mlp/dropout+mixup[0.5,0.3]/real/seed0"
    first = key(plugins=registry(dropout={"version": 2}), cell=cell)
    second = key(plugins=registry(mixup={"version": 2}), cell=cell)
    assert len({key(cell=cell), first, second}) == 3


def test_the_architecture_s_recipe_counts_where_the_suite_has_none() -> None:
    assert plan_of().manifest.recipes == {
        "dots/mlp": asdict(Recipe(lr=0.1)),
        "dots/cnn": asdict(ARCHITECTURE_RECIPE),
    }
    cell = "dots/cnn/none/real/seed0"
    changed = registry(cnn={"recipe": asdict(Recipe(lr=7.0))})
    assert key(plugins=changed, cell=cell) != key(cell=cell)


def test_strengths_that_look_alike_have_different_keys() -> None:
    cell = "dots/mlp/dropout[0.3]/real/seed0"
    plain = key(plugins=registry(dropout=grid(0.5, 0.3)), cell=cell)
    assert key(plugins=registry(dropout=grid(0.5, 0.3000001)), cell=cell) != plain


def test_the_order_of_the_probes_is_not_in_the_key() -> None:
    plugins = registry(entry("probes", "one"), entry("probes", "two"))

    def key_with(*probes: str) -> str:
        return key(replace(SUITE, probes=probes), plugins)

    assert key_with("one", "two") == key_with("two", "one")
    assert len({key_with("one", "two"), key_with("one"), key_with()}) == 3
    assert key_with() == key()


@pytest.fixture(scope="module")
def committed() -> Manifest:
    """The manifest of the committed board."""
    text = (REPO / "leaderboard/records/quick.plan.json").read_text("utf-8")
    return Manifest.from_json(json.loads(text))


@pytest.fixture(scope="module")
def shipped() -> Registry:
    """The plugins that ship with membench."""
    return discover(folder=REPO)


def test_the_keys_of_the_committed_board_are_what_they_were(
    committed: Manifest, shipped: Registry
) -> None:
    plan = make_plan(shipped_suite("quick"), shipped, committed.datasets.__getitem__, never_skip)
    planned = plan.manifest.cells
    common = planned.keys() & committed.cells.keys()
    assert len(common) > 900
    assert {cell: planned[cell] for cell in common} == {
        cell: committed.cells[cell] for cell in common
    }


def test_probes_reading_epochs_and_fixed_or_shared_splits_are_in_the_key(
    shipped: Registry,
) -> None:
    plan = make_plan(shipped_suite("quick"), shipped, hash_of, never_skip)
    cell = plan.cells[0]
    split = shipped_suite("quick").splits["mnist5k"]
    key_of = partial(
        keys.cell_key,
        cell,
        shipped,
        arrays=hash_of("mnist5k"),
        recipe=plan.manifest.recipes[cell.task],
    )
    plain = key_of(split=split)
    assert plain == plan.manifest.cells[cell.id]
    others = {
        key_of(split=split, probes=["csr"]),
        key_of(split=split, read=(1, 2)),
        key_of(split=replace(split, fixed=0)),
        key_of(split=replace(split, share=0.7)),
    }
    assert len(others | {plain}) == 5

"""What a suite's manifest remembers of earlier plans, and what makes it forget."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from support.plans import CELL
from support.plans import SUITE
from support.plans import entry
from support.plans import grid
from support.plans import only_cell
from support.plans import plan_of
from support.plans import registry
from support.plans import without

from membench.api import Recipe
from membench.planning.manifest import merge_manifest
from membench.planning.suites import PlannedSuite
from membench.records import Entry
from membench.records import Manifest
from membench.registry.registry import Registry

PAIR = "dropout+mixup"
#: All choosing cells of the regularizer and task of `CELL`: it is planned as a whole.
DROPOUT = {cell for cell in plan_of().manifest.cells if cell.startswith("dots/mlp/dropout[")}
NEW_MIXUP = {"mixup": {"code_hash": "new"}}


def replanned(
    old: Manifest | None,
    plugins: Registry | None = None,
    suite: PlannedSuite = SUITE,
    **options: Any,
) -> Manifest:
    """Return the manifest after another plan."""
    plugins = plugins or registry()
    return merge_manifest(old, plan_of(suite, plugins, **options), plugins)


def ids(manifest: Manifest, part: str) -> set[str]:
    """Return the cells with this text in their ids, at the beginning of a part."""
    return {cell for cell in manifest.cells if f"/{part}" in cell}


def settings(cells: set[str]) -> set[str]:
    """Return the regularizers with their strengths, `dropout[0.5]`, of cells."""
    return {cell.split("/")[2] for cell in cells}


def names(manifest: Manifest) -> list[str]:
    return [entry.name for entry in manifest.entries]


def entry_of(manifest: Manifest, name: str) -> Entry:
    (found,) = [entry for entry in manifest.entries if entry.name == name]
    return found


def through_json(manifest: Manifest) -> Manifest:
    return Manifest.from_json(json.loads(json.dumps(manifest.to_json())))


def test_a_manifest_survives_json() -> None:
    manifest = plan_of().manifest
    assert through_json(manifest) == manifest


# --- what stays -----------------------------------------------------------------------------------


def test_without_an_earlier_manifest_the_new_plan_s_is_taken() -> None:
    assert replanned(None) == plan_of().manifest


def test_a_plan_of_a_part_keeps_what_was_planned_before() -> None:
    whole = plan_of().manifest
    again = replanned(whole, select=only_cell)
    assert again.cells == whole.cells
    assert again.entries == whole.entries
    assert again.tasks == whole.tasks
    assert again.recipes == whole.recipes


def test_plans_with_different_plugins_installed_add_up() -> None:
    manifest = None
    for installed in (("dropout",), ("mixup", "low-lr"), ("dropout", "mixup", PAIR)):
        plugins = registry()
        regularizers = {name: plugins.regularizers[name] for name in ("none", *installed)}
        manifest = replanned(manifest, replace(plugins, regularizers=regularizers))
    assert manifest == plan_of().manifest


def test_confirming_cells_stay_until_their_code_changes() -> None:
    plan = plan_of().confirming({("dots/mlp", "dropout"): [(0.5,)]})
    fresh = "dots/mlp/dropout[0.5]/real/seed2"
    assert fresh in plan.manifest.cells
    assert fresh not in plan_of().manifest.cells
    assert replanned(plan.manifest).cells == plan.manifest.cells
    assert fresh in replanned(plan.manifest, select=lambda cell: "mixup[" in cell).cells
    assert fresh not in replanned(plan.manifest, registry(dropout={"code_hash": "new"})).cells


def test_cells_whose_optimizer_is_not_installed_any_more_stay() -> None:
    by_lion = replace(SUITE, recipes={("dots", "cnn"): Recipe("lion")})
    old = plan_of(by_lion, registry(entry("optimizers", "lion"))).manifest
    manifest = replanned(old, suite=replace(by_lion, architectures=("mlp",)))
    assert {cell: old.cells[cell] for cell in ids(old, "cnn/")} == {
        cell: manifest.cells[cell] for cell in ids(manifest, "cnn/")
    }


def test_the_environments_in_which_a_suite_was_run_stay() -> None:
    old = replace(plan_of().manifest, envs=("b", "a"))
    assert replanned(old, select=only_cell).envs == ("b", "a")


def test_cells_with_a_probe_stay_after_a_run_without_it() -> None:
    plugins = registry(entry("probes", "one"))
    with_probe = replace(SUITE, probes=("one",))
    probed = plan_of(with_probe, plugins, select=lambda cell: "dropout[" in cell)
    plain = plan_of(plugins=plugins, select=lambda cell: "mixup[" in cell and "+" not in cell)
    merged = merge_manifest(probed.manifest, plain, plugins)
    assert merged.cells[CELL] == probed.manifest.cells[CELL]
    assert merged.probes == (("one",),)
    assert through_json(merged) == merged


def test_a_manifest_without_probes_is_written_as_before_there_were_any() -> None:
    assert "probes" not in plan_of().manifest.to_json()


def test_entries_are_those_of_the_newest_plan_with_none_first() -> None:
    plugins = registry(mixup={"summary": "New words"})
    manifest = replanned(plan_of().manifest, plugins, select=lambda cell: "/mixup[" in cell)
    assert names(manifest) == ["none", "dropout", PAIR, "low-lr", "mixup"]
    assert entry_of(manifest, "mixup").summary == "New words"


def test_where_an_entry_cannot_act_stays_known_after_a_plan_of_another_task() -> None:
    def skip(dataset: str, architecture: str, regularizer: str) -> str | None:
        return f"has no taps in {architecture}" if regularizer == "dropout" else None

    plugins = registry(dropout={"has_skip": True})
    old = plan_of(plugins=plugins, skip=skip).manifest
    part = replanned(old, plugins, replace(SUITE, architectures=("mlp",)), skip=skip)
    assert entry_of(part, "dropout").skipped == {
        "dots/mlp": "has no taps in mlp",
        "dots/cnn": "has no taps in cnn",
    }


# --- what is dropped ------------------------------------------------------------------------------


def test_cells_of_changed_code_are_replaced_or_dropped() -> None:
    old = plan_of().manifest
    plugins = registry(dropout={"code_hash": "new"})
    manifest = replanned(old, plugins, select=only_cell)
    assert ids(manifest, "dropout[") == DROPOUT  # on the cnn it was not planned again
    assert manifest.cells[CELL] == plan_of(plugins=plugins).manifest.cells[CELL]
    assert manifest.cells[CELL] != old.cells[CELL]
    for cell in ids(old, "mixup["):
        assert manifest.cells[cell] == old.cells[cell]


def test_a_changed_architecture_or_signal_drops_the_cells_that_use_it() -> None:
    old = plan_of().manifest
    manifest = replanned(old, registry(cnn={"code_hash": "new"}), select=only_cell)
    assert manifest.tasks == ("dots/mlp",)
    assert manifest.recipes.keys() == {"dots/mlp"}
    manifest = replanned(old, registry(randY={"version": 2}), select=only_cell)
    assert ids(manifest, "mixup[")
    assert not any("randY" in cell for cell in ids(manifest, "mixup["))


def test_a_strength_that_left_the_grid_is_dropped() -> None:
    plugins = registry(dropout=grid(0.1, 0.6))
    manifest = replanned(plan_of().manifest, plugins, select=lambda cell: "0.6" in cell)
    assert settings(ids(manifest, "dropout[")) == {"dropout[0.1]", "dropout[0.6]"}


def test_cells_of_other_arrays_are_dropped() -> None:
    manifest = replanned(plan_of().manifest, hash_of=lambda name: "new", select=only_cell)
    assert ids(manifest, "mlp/dropout[") == DROPOUT
    assert ids(manifest, "mlp/mixup[") == set()


def test_cells_of_another_recipe_are_dropped() -> None:
    suite = replace(SUITE, recipes={("dots", "mlp"): Recipe(lr=0.3)})
    manifest = replanned(plan_of().manifest, suite=suite, select=only_cell)
    assert ids(manifest, "mlp/dropout[") == DROPOUT
    assert ids(manifest, "mlp/mixup[") == set()
    assert ids(manifest, "cnn/mixup[")  # the recipe is the mlp's alone


@pytest.mark.parametrize(
    "suite",
    [
        replace(SUITE, version=2),
        replace(SUITE, signals=("real", "randY")),
        replace(SUITE, confirming=(8,)),
        replace(SUITE, choosing=(0, 1, 5)),
    ],
)
def test_another_version_and_other_signals_or_seeds_start_a_new_manifest(
    suite: PlannedSuite,
) -> None:
    def select(cell: str) -> bool:
        return cell.startswith("dots/mlp/dropout")

    expected = plan_of(suite, select=select).manifest
    assert replanned(plan_of().manifest, suite=suite, select=select) == expected


# --- compositions ---------------------------------------------------------------------------------


def test_a_changed_part_drops_its_compositions() -> None:
    manifest = replanned(plan_of().manifest, registry(**NEW_MIXUP), select=only_cell)
    assert not ids(manifest, f"{PAIR}[")
    assert PAIR not in names(manifest)


@pytest.mark.parametrize(
    "strengths",
    [
        pytest.param((), id="paired, requested by -r"),
        pytest.param(((0.1, 0.3), (0.5, 0.2)), id="given by a plugin that is missing now"),
    ],
)
def test_a_composition_that_is_not_requested_again_stays_until_a_part_changes(
    strengths: tuple[tuple[float, ...], ...],
) -> None:
    old = plan_of(plugins=registry(**{PAIR: {"strengths": strengths}})).manifest
    assert ids(old, f"{PAIR}[")
    manifest = replanned(old, without(PAIR), select=only_cell)
    assert ids(manifest, f"{PAIR}[") == ids(old, f"{PAIR}[")
    manifest = replanned(old, without(PAIR, **NEW_MIXUP), select=only_cell)
    assert not ids(manifest, f"{PAIR}[")


def test_a_composition_whose_parts_cannot_be_paired_any_more_stays() -> None:
    old = plan_of().manifest
    manifest = replanned(old, without(PAIR, mixup=grid(0.2)), select=only_cell)
    assert ids(old, f"{PAIR}[")
    assert ids(manifest, f"{PAIR}[") == ids(old, f"{PAIR}[")


# --- full grids -----------------------------------------------------------------------------------


def with_full_grid() -> Registry:
    return registry().with_composition(PAIR, full=True)


def test_a_full_grid_shares_its_cells_with_the_paired_one() -> None:
    paired = plan_of().manifest
    full = plan_of(plugins=with_full_grid()).manifest
    added = ids(full, f"{PAIR}[") - ids(paired, f"{PAIR}[")
    assert settings(added) == {"dropout+mixup[0.1,0.3]", "dropout+mixup[0.5,0.2]"}
    assert paired.cells.items() <= full.cells.items()
    composition = entry_of(full, PAIR)
    assert composition.strengths == ((0.1, 0.2), (0.5, 0.3))
    assert composition.full == ((0.1, 0.2), (0.1, 0.3), (0.5, 0.2), (0.5, 0.3))
    assert through_json(full) == full


def test_a_manifest_without_full_grids_is_written_as_before_there_were_any() -> None:
    for line in plan_of().manifest.to_json()["entries"]:
        assert "full" not in line  # so that old manifests keep their digest


@pytest.mark.parametrize("select", [None, only_cell])
@pytest.mark.parametrize(
    "plugins",
    [
        pytest.param(registry, id="a composite that a plugin registers"),
        pytest.param(lambda: without(PAIR), id="a composition that -r requested"),
    ],
)
def test_a_full_grid_stays_in_a_run_without_it(
    plugins: Callable[[], Registry], select: Callable[[str], bool] | None
) -> None:
    old = plan_of(plugins=with_full_grid()).manifest
    manifest = replanned(old, plugins(), select=select)
    assert ids(manifest, f"{PAIR}[") == ids(old, f"{PAIR}[")
    assert entry_of(manifest, PAIR).full == entry_of(old, PAIR).full


@pytest.mark.parametrize(
    "plugins", [lambda: registry(**NEW_MIXUP), lambda: without(PAIR, **NEW_MIXUP)]
)
def test_a_full_grid_is_dropped_when_a_part_changes(plugins: Callable[[], Registry]) -> None:
    old = plan_of(plugins=with_full_grid()).manifest
    manifest = replanned(old, plugins(), select=only_cell)
    assert not ids(manifest, f"{PAIR}[")
    assert PAIR not in names(manifest)


def test_a_changed_part_leaves_the_paired_grid_of_a_registered_composite() -> None:
    old = plan_of(plugins=with_full_grid()).manifest
    manifest = replanned(old, registry(**NEW_MIXUP))
    assert entry_of(manifest, PAIR).full == ()
    assert len(ids(manifest, f"{PAIR}[")) == 2 * 2 * 3 * 2

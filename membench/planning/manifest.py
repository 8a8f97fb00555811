"""Join the manifest of an earlier plan with that of a new one. Pure.

`membench run` calls `merge_manifest` before it trains, so that a run of a part leaves the rest of
the board as it was.
"""

from __future__ import annotations

from collections.abc import Collection
from contextlib import suppress
from dataclasses import replace
from typing import Any

from membench.errors import MembenchError
from membench.planning.plan import CellKeys
from membench.planning.plan import Plan
from membench.planning.suites import PlannedSuite
from membench.planning.suites import narrow
from membench.records import Cell
from membench.records import Entry
from membench.records import Manifest
from membench.records import parse_id
from membench.records import parse_signal
from membench.records import setting
from membench.registry.registry import Registry


def merge_manifest(old: Manifest | None, new: Plan, registry: Registry) -> Manifest:
    """Return the suite's manifest after a new plan; what was planned before stays while it holds.

    An old cell is kept if its key is unchanged, or if its key cannot be recomputed because a plugin
    is missing. A manifest with other seeds or signals, or of another version of the suite, is
    dropped.

    Args:
        old: the manifest of the earlier plans; None if there is none.
        new: the plan of this run.
        registry: the plugins that are installed now.
    """
    manifest = new.manifest
    if old is None or _frame(old) != _frame(manifest):
        return manifest
    hashes = {**old.datasets, **manifest.datasets}
    recipes = {**old.recipes, **manifest.recipes}
    kept_cells = _kept_cells(old, new, registry, hashes)

    tasks = set(manifest.tasks)
    for cell_id in kept_cells:
        tasks.add(parse_id(cell_id).task)
    datasets = {task.split("/")[0] for task in tasks}
    return replace(
        manifest,
        tasks=tuple(sorted(tasks)),
        recipes={task: recipes[task] for task in tasks},
        datasets={name: hashes[name] for name in datasets},
        entries=_merged_entries(old, manifest, kept_cells),
        cells={**kept_cells, **manifest.cells},
        envs=old.envs,
        probes=tuple(sorted({*manifest.probes, *old.probes})),
    )


def _frame(manifest: Manifest) -> tuple[Any, ...]:
    """Return what all cells of a manifest have in common."""
    return manifest.version, manifest.signals, manifest.choosing, manifest.confirming


def _kept_cells(
    old: Manifest, new: Plan, registry: Registry, hashes: dict[str, str]
) -> dict[str, str]:
    """Return id and key of the old cells that are not planned again and still hold."""
    again = new.manifest.cells
    cells = {cell_id: key for cell_id, key in old.cells.items() if cell_id not in again}
    return _holding_cells(replace(old, cells=cells), new.suite, registry, hashes)


def stale_cells(manifest: Manifest, registry: Registry) -> list[str]:
    """List the cells of a plan whose keys are not those that the plugins here would give them.

    One whose plugins are not here is none of them: its key cannot be computed again.

    Args:
        manifest: of a suite that is registered in the same version.
        registry: the plugins that are here.
    """
    suite = narrow(registry.suite(manifest.suite))
    holding = _holding_cells(manifest, suite, registry, dict(manifest.datasets))
    return [cell_id for cell_id in manifest.cells if cell_id not in holding]


def _holding_cells(
    old: Manifest, suite: PlannedSuite, registry: Registry, hashes: dict[str, str]
) -> dict[str, str]:
    """Return id and key of the cells that have these keys today, or whose keys cannot be computed.

    Args:
        old: the plan.
        suite: that it is of.
        registry: the plugins that are installed now.
        hashes: data set -> SHA-256 of its arrays.
    """
    strengths = _strengths_by_setting(old, registry)
    for entry in old.entries:
        with suppress(MembenchError):  # a part of the composition is missing
            registry = registry.with_composition(entry.name, full=True)
    # An old cell may have been run with any of the probes that were requested so far.
    tasks = []
    for task in old.tasks:
        dataset, architecture = task.split("/")
        if architecture in registry.architectures and dataset in suite.splits:
            tasks.append(task)
    all_keys = []
    for probes in ((), *old.probes):
        probed = replace(suite, probes=probes)
        all_keys.append(CellKeys.of_tasks(probed, registry, hashes, tasks))
    kept = {}
    for cell_id, key in old.cells.items():
        for keys in all_keys:
            if _still_holds(cell_id, key, keys, strengths):
                kept[cell_id] = key
                break
    return kept


def _strengths_by_setting(old: Manifest, registry: Registry) -> dict[str, tuple[float, ...]]:
    """Return the strength of each setting, such as `dropout[0.5]`, that a regularizer still has.

    The grids are those of the registry. A regularizer that is not registered now, such as a
    composition that was not requested again, has those of the old manifest.
    """
    for entry in old.entries:
        if entry.full and entry.name in registry.regularizers:
            registry = registry.with_composition(entry.name, full=True)
    grids = {}
    for entry in old.entries:
        grids[entry.name] = (*entry.strengths, *entry.full)
    for plugin in registry.regularizers.values():
        grids[plugin.name] = (*plugin.strengths, *plugin.full)
    strengths = {}
    for name, grid in grids.items():
        for strength in grid or ((),):
            strengths[setting(name, strength)] = strength
    return strengths


def _still_holds(
    cell_id: str, key: str, keys: CellKeys, strengths: dict[str, tuple[float, ...]]
) -> bool:
    """Say whether an old cell has the same key today, or whether its key cannot be recomputed.

    Args:
        cell_id: of the old cell.
        key: of the old cell.
        keys: makes today's keys.
        strengths: by setting, of today's grids.
    """
    parts = parse_id(cell_id)
    registry = keys.registry
    can_be_recomputed = (
        parts.task in keys.recipes
        and keys.recipes[parts.task].optimizer in registry.optimizers
        and parts.regularizer in registry.regularizers
        and parse_signal(parts.signal)[0] in registry.signals
        and set(keys.suite.probes) <= set(registry.probes)
    )
    if not can_be_recomputed:
        return True
    if parts.setting not in strengths:  # the regularizer does not have this strength any more
        return False
    cell = Cell(
        dataset=parts.dataset,
        architecture=parts.architecture,
        regularizer=parts.regularizer,
        strength=strengths[parts.setting],
        signal=parts.signal,
        seed=parts.seed,
    )
    return keys.of(cell) == key


def _merged_entries(old: Manifest, new: Manifest, kept_cells: Collection[str]) -> tuple[Entry, ...]:
    """Return the entries of the new plan, and the old ones that kept a cell or never had one."""
    kept = [parse_id(cell_id) for cell_id in kept_cells]
    kept_settings = {parts.setting for parts in kept}
    with_kept_cells = {parts.regularizer for parts in kept}
    with_old_cells = {parse_id(cell_id).regularizer for cell_id in old.cells}
    entries = {}
    for entry in old.entries:
        if entry.name in with_kept_cells or entry.name not in with_old_cells:
            entries[entry.name] = entry
    for entry in new.entries:
        before = entries.get(entry.name)
        skipped = dict(entry.skipped)
        for task, reason in before.skipped.items() if before else ():
            if task not in new.tasks:  # nobody asked about it this time
                skipped[task] = reason
        whole = replace(entry, skipped=skipped)
        entries[entry.name] = _with_full_grid(whole, before, kept_settings)
    return tuple(sorted(entries.values(), key=lambda entry: (entry.name != "none", entry.name)))


def _with_full_grid(new: Entry, old: Entry | None, kept_settings: set[str]) -> Entry:
    """Keep a full grid that was planned before, where its composition now runs without it."""
    if new.full or old is None or not old.full:
        return new
    full = []
    for strength in old.full:
        if strength in new.strengths or setting(new.name, strength) in kept_settings:
            full.append(strength)
    return replace(new, full=tuple(full))

"""Join the manifest of an earlier plan with that of a new one. Pure.

`membench run` calls `merge_manifest` before it trains, so that a run of a part leaves the rest of
the board as it was. `membench verify` plans the cells of a manifest again, with `replan`.
"""

from __future__ import annotations

from collections.abc import Collection
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from dataclasses import replace
from typing import Any

from membench.errors import MembenchError
from membench.planning.keys import CodeOfPlan
from membench.planning.packs import Pack
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
    return replan(manifest, registry).stale


@dataclass(frozen=True, kw_only=True)
class Replanned:
    """The cells of a manifest, planned again with the plugins that are here."""

    manifest: Manifest
    suite: PlannedSuite
    cells: dict[str, Cell]  #: id -> the cell, of those that have the same key today
    keys: dict[str, CellKeys]  #: id -> what gives it that key
    stale: list[str]  #: ids of those that have another key today
    unknown: list[str]  #: ids of those whose plugins are not here

    def pack(self, ids: Sequence[str], **changes: Any) -> Pack:
        """Return one pack of some cells.

        Args:
            ids: of cells of one program that are read at the same epochs.
            changes: other values of the pack's fields.
        """
        keys = self.keys[ids[0]]
        plan = Plan(
            suite=replace(keys.suite, width=len(ids)),
            manifest=self.manifest,
            cells=tuple(self.cells[cell_id] for cell_id in ids),
            keys=keys,
            code=CodeOfPlan(keys.registry).of,
        )
        (pack,) = plan.packs()
        return replace(pack, **changes)


def replan(manifest: Manifest, registry: Registry) -> Replanned:
    """Plan the cells of a manifest again, and compare their keys.

    Args:
        manifest: of a suite that is registered in the same version.
        registry: the plugins that are here.
    """
    return _replan(manifest, narrow(registry.suite(manifest.suite)), registry, manifest.datasets)


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
    stale = set(_replan(old, suite, registry, hashes).stale)
    return {cell_id: key for cell_id, key in old.cells.items() if cell_id not in stale}


def _replan(
    old: Manifest, suite: PlannedSuite, registry: Registry, hashes: dict[str, str]
) -> Replanned:
    """Plan the cells of a manifest again; the arguments are those of `_holding_cells`."""
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
    found = Replanned(manifest=old, suite=suite, cells={}, keys={}, stale=[], unknown=[])
    for cell_id, key in old.cells.items():
        computable = [keys for keys in all_keys if _can_be_computed(cell_id, keys)]
        cell = _cell(cell_id, strengths)
        for keys in computable:
            if cell is not None and keys.of(cell) == key:
                found.cells[cell_id] = cell
                found.keys[cell_id] = keys
                break
        else:
            missing = len(computable) < len(all_keys)
            (found.unknown if missing else found.stale).append(cell_id)
    return found


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


def _can_be_computed(cell_id: str, keys: CellKeys) -> bool:
    """Say whether the plugins of a cell are all here.

    Args:
        cell_id: of the old cell.
        keys: makes today's keys.
    """
    parts = parse_id(cell_id)
    registry = keys.registry
    return (
        parts.task in keys.recipes
        and keys.recipes[parts.task].optimizer in registry.optimizers
        and parts.regularizer in registry.regularizers
        and parse_signal(parts.signal)[0] in registry.signals
        and set(keys.suite.probes) <= set(registry.probes)
    )


def _cell(cell_id: str, strengths: dict[str, tuple[float, ...]]) -> Cell | None:
    """Return the cell of an id; None if its regularizer does not have this strength any more.

    Args:
        cell_id: of the old cell.
        strengths: by setting, of today's grids.
    """
    parts = parse_id(cell_id)
    if parts.setting not in strengths:
        return None
    return Cell(
        dataset=parts.dataset,
        architecture=parts.architecture,
        regularizer=parts.regularizer,
        strength=strengths[parts.setting],
        signal=parts.signal,
        seed=parts.seed,
    )


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

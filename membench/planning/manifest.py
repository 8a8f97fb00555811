"""What a suite planned over several runs: the manifest of an earlier plan joined with that of a new one. Pure.

`membench run` calls `merged` before it trains, so that a run of a part leaves the rest of the board standing.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import asdict
from dataclasses import replace

from membench.errors import MembenchError
from membench.planning.keys import Keys
from membench.planning.keys import resolved_recipe
from membench.planning.plan import Plan
from membench.planning.suites import Suite
from membench.records import Cell
from membench.records import Entry
from membench.records import Manifest
from membench.records import parse_signal
from membench.records import setting
from membench.registry.registry import Registry

Strengths = tuple[tuple[float, ...], ...]


def merge_manifest(old: Manifest | None, new: Plan, registry: Registry) -> Manifest:
    """The suite's manifest after this plan: what was planned before stays on the board as long as it is true.

    An earlier cell stays if its key would come out the same today, so that all it depends on is what it was; one whose
    plugin is not at hand cannot be told, and stays too. Another version of the suite starts afresh.
    """
    now = new.manifest
    if old is None or (old.version, old.signals) != (now.version, now.signals):
        return now
    hashes = {**old.datasets, **now.datasets}
    grids = _grids(old, registry)
    kept = {}
    suites = [replace(new.suite, probes=probes) for probes in ((), *old.probes)]
    for cell_id, key in old.cells.items():
        today = (_key_today(cell_id, suite, registry, hashes, grids) for suite in suites)
        if cell_id not in now.cells and any(k in (None, key) for k in today):
            kept[cell_id] = key
    tasks = {"/".join(cell_id.split("/")[:2]) for cell_id in kept} | set(now.tasks)
    recipes = {**old.recipes, **now.recipes}
    had, has = ({_regularizer(cell_id) for cell_id in cells} for cells in (old.cells, kept))
    entries = {e.name: e for e in old.entries if e.name in has or e.name not in had}
    entries |= {
        e.name: _with_full(e, entries.get(e.name), {i.split("/")[2] for i in kept})
        for e in now.entries
    }
    return replace(
        now,
        tasks=tuple(sorted(tasks)),
        seeds=tuple(
            sorted({*now.seeds, *(int(cell_id.rpartition("/seed")[2]) for cell_id in kept)})
        ),
        recipes={task: recipes[task] for task in tasks},
        datasets={name: hashes[name] for name in {task.split("/")[0] for task in tasks}},
        entries=tuple(sorted(entries.values(), key=lambda e: (e.name != "none", e.name))),
        cells={**kept, **now.cells},
        probes=tuple(sorted({*now.probes, *old.probes})),
    )


def _grids(old: Manifest, registry: Registry) -> dict[str, Strengths]:
    """The settings that are still true, by regularizer; what is not registered now has those that it had."""
    for entry in old.entries:
        if entry.full and entry.name in registry.regularizers:
            registry = registry.with_composition(entry.name, full=True)
    return {
        e.name: (*e.strengths, *e.full) for e in (*old.entries, *registry.regularizers.values())
    }


def _with_full(new: Entry, old: Entry | None, kept: set[str]) -> Entry:
    """A full grid that was planned before stays on the board when its composition runs without it."""
    if new.full or old is None or not old.full:
        return new
    return replace(
        new, full=tuple(s for s in old.full if s in new.strengths or setting(new.name, s) in kept)
    )


def _regularizer(cell_id: str) -> str:
    return cell_id.split("/")[2].partition("[")[0]


def _key_today(
    cell_id: str,
    suite: Suite,
    registry: Registry,
    hashes: dict[str, str],
    grids: dict[str, Strengths],
) -> str | None:
    """The key that an earlier plan's cell would get now; None where a plugin or the split is not at hand.

    "" for a strength that its regularizer no longer has. A composition that is not asked for now has its old grid.
    """
    dataset, architecture, what, signal, seed = cell_id.split("/")
    name = _regularizer(cell_id)
    with suppress(MembenchError):  # a part is not at hand
        registry = registry.with_composition(name, full=True)
    known = name in registry.regularizers and architecture in registry.architectures
    known = known and set(suite.probes) <= set(registry.probes)
    if not (known and parse_signal(signal)[0] in registry.signals and dataset in suite.splits):
        return None
    strengths = {setting(name, s): s for s in grids[name] or ((),)}
    if what not in strengths:
        return ""
    cell = Cell(
        dataset, architecture, name, strengths[what], signal, int(seed.removeprefix("seed"))
    )
    return Keys(
        suite, registry, {cell.task: asdict(resolved_recipe(suite, registry, cell.task))}, hashes
    )(cell)

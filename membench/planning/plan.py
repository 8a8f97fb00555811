"""Turn a suite and a registry into the cells that are to be trained, and their keys. Pure.

`membench plan`, `run` and `status` call `make_plan`. It needs no torch, unless the `skip` of a
plugin must look at a network.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Container
from collections.abc import Iterable
from dataclasses import asdict
from dataclasses import dataclass
from dataclasses import field
from itertools import product

from membench.api import Recipe
from membench.errors import ExitCode
from membench.errors import MembenchError
from membench.planning.keys import ArraysHash
from membench.planning.keys import CodeOf
from membench.planning.keys import CodeOfPlan
from membench.planning.keys import cell_key
from membench.planning.packs import Pack
from membench.planning.packs import ProgramId
from membench.planning.packs import chunk_by_program
from membench.planning.suites import Suite
from membench.planning.suites import recipe_of
from membench.planning.suites import split_of
from membench.records import Cell
from membench.records import Entry
from membench.records import Manifest
from membench.records import parse_signal
from membench.registry.discovery import PluginProblem
from membench.registry.entry import PluginEntry
from membench.registry.registry import Registry

#: Added to every selection because rows are compared with them; other controls run on request.
BASELINES = ("none", "low-lr", "placebo")

Select = Callable[[str], bool]  #: id of a cell -> whether it is selected
#: (dataset, architecture, regularizer) -> why it cannot act there, or None if it can
Skip = Callable[[str, str, str], str | None]


@dataclass(frozen=True)
class Plan:
    """The cells that a suite and a selection come to."""

    suite: Suite
    manifest: Manifest
    cells: tuple[Cell, ...]
    code: CodeOf = field(repr=False, compare=False)
    problems: tuple[PluginProblem, ...] = ()  #: regularizers left out because their `skip` failed

    def packs(self, done: Container[str] = ()) -> list[Pack]:
        """Cut the cells whose keys are not `done` into packs, in the order of the plan."""
        keys = [self.manifest.cells[cell.id] for cell in self.cells]
        packs = []
        for cells, pack_keys in chunk_by_program(self.cells, keys, done, self.suite.width):
            first = cells[0]
            pack = Pack(
                cells=cells,
                keys=pack_keys,
                recipe=Recipe(**self.manifest.recipes[first.task]),
                split=split_of(self.suite, first.dataset),
                compiled=self.suite.compiled,
                probes=self.suite.probes,
                code=self.code(cells, self.suite.probes),
                arrays=self.manifest.datasets[first.dataset],
            )
            packs.append(pack)
        return packs


def make_plan(
    suite: Suite, registry: Registry, hash_of: ArraysHash, skip: Skip, select: Select | None = None
) -> Plan:
    """Plan a suite.

    Args:
        suite: what to train, already narrowed.
        registry: gives the names and code hashes.
        hash_of: gives the hash of a data set's arrays.
        skip: gives the answer of a regularizer's `skip`.
        select: picks cells by id; the `BASELINES` of the tasks it touches are added. None = all.

    Raises:
        MembenchError: a name is unknown (exit 4), or nothing is selected (exit 5).
    """
    check_names(
        registry,
        datasets=suite.datasets,
        architectures=suite.architectures,
        signals=suite.signals,
        probes=suite.probes,
    )
    skipped = _skipped(suite, registry, skip)
    cells = []
    for entry in registry.regularizers.values():
        for cell in _cells(suite, entry):
            if (cell.dataset, cell.architecture, cell.regularizer) not in skipped:
                cells.append(cell)
    if select is not None:
        cells = _selected(cells, suite, registry, select)
    if not cells:
        raise MembenchError(
            "no cell is selected: `membench run --all --collect-only` prints the ids",
            ExitCode.NOTHING,
        )
    manifest = _manifest(suite, registry, hash_of, cells, skipped)
    code = CodeOfPlan(registry).of
    return Plan(suite=suite, manifest=manifest, cells=tuple(cells), code=code)


def check_names(registry: Registry, **names: Iterable[str]) -> None:
    """Check that names are registered; each keyword is a table of the registry.

    Raises:
        MembenchError: a name is unknown (exit 4).
    """
    for kind, names_of_kind in names.items():
        for name in names_of_kind:
            registry.entry(kind, parse_signal(name)[0])


def _skipped(suite: Suite, registry: Registry, skip: Skip) -> dict[ProgramId, str]:
    """Return where regularizers cannot act, and why."""
    reasons = {}
    for dataset, architecture in product(suite.datasets, suite.architectures):
        for entry in registry.regularizers.values():
            reason = skip(dataset, architecture, entry.name) if entry.has_skip else None
            if reason is not None:
                reasons[dataset, architecture, entry.name] = reason
    return reasons


def _cells(suite: Suite, entry: PluginEntry) -> list[Cell]:
    """Return the cells of a regularizer; a strength that is in both its grids is trained once."""
    strengths = list(dict.fromkeys([*entry.strengths, *entry.full])) or [()]
    axes = product(suite.datasets, suite.architectures, strengths, suite.signals, suite.seeds)
    cells = []
    for dataset, architecture, strength, signal, seed in axes:
        cell = Cell(
            dataset=dataset,
            architecture=architecture,
            regularizer=entry.name,
            strength=strength,
            signal=signal,
            seed=seed,
        )
        cells.append(cell)
    return cells


def _selected(cells: list[Cell], suite: Suite, registry: Registry, select: Select) -> list[Cell]:
    """Return the selected cells and the baselines of their tasks, in the order of the plan."""
    selected = {cell for cell in cells if select(cell.id)}
    tasks = {cell.task for cell in selected}
    for entry in registry.regularizers.values():
        if entry.name in BASELINES:
            selected |= {cell for cell in _cells(suite, entry) if cell.task in tasks}
    rank = {name: index for index, name in enumerate(registry.regularizers)}
    position = {cell: index for index, cell in enumerate(cells)}

    def order(cell: Cell) -> tuple[int, int, Cell]:
        return rank[cell.regularizer], position.get(cell, 0), cell

    return sorted(selected, key=order)


def _manifest(
    suite: Suite,
    registry: Registry,
    hash_of: ArraysHash,
    cells: list[Cell],
    skipped: dict[ProgramId, str],
) -> Manifest:
    """Return what the suite planned, with the key of every cell."""
    tasks = sorted({cell.task for cell in cells})
    recipes = {task: asdict(recipe_of(suite, registry, task)) for task in tasks}
    hashes = {dataset: hash_of(dataset) for dataset in {cell.dataset for cell in cells}}
    keys = {}
    for cell in cells:
        keys[cell.id] = cell_key(
            cell,
            registry,
            arrays=hashes[cell.dataset],
            split=split_of(suite, cell.dataset),
            recipe=recipes[cell.task],
            probes=suite.probes,
        )
    return Manifest(
        suite=suite.name,
        version=suite.version,
        tasks=tuple(tasks),
        signals=suite.signals,
        seeds=tuple(suite.seeds),
        recipes=recipes,
        datasets=hashes,
        entries=_entries(registry, cells, skipped),
        cells=keys,
        probes=(suite.probes,) if suite.probes else (),
    )


def _entries(
    registry: Registry, cells: list[Cell], skipped: dict[ProgramId, str]
) -> tuple[Entry, ...]:
    """Return an entry for each regularizer that has a cell, or that is skipped somewhere."""
    names = {cell.regularizer for cell in cells} | {name for _, _, name in skipped}
    entries = []
    for plugin in registry.regularizers.values():
        if plugin.name not in names:
            continue
        reasons = {}
        for (dataset, architecture, name), reason in skipped.items():
            if name == plugin.name:
                reasons[f"{dataset}/{architecture}"] = reason
        entry = Entry(
            name=plugin.name,
            group=plugin.group,
            strengths=plugin.strengths,
            acts_on=plugin.acts_on,
            summary=plugin.summary,
            source=plugin.source,
            origin=plugin.origin,
            skipped=reasons,
            full=plugin.full,
        )
        entries.append(entry)
    return tuple(entries)

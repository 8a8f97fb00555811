"""Turn a suite and a registry into the cells that are to be trained, and their keys. Pure.

A suite is trained in two phases. `make_plan` plans the first: the plain network on all seeds, and
every strength of every regularizer on the choosing seeds. Once these have records and strengths are
chosen by them, `Plan.confirming` plans the second: the chosen strengths on the confirming seeds.

It needs no torch, unless the `skip` of a plugin must look at a network.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Container
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import asdict
from dataclasses import dataclass
from dataclasses import field
from dataclasses import replace
from functools import cached_property
from itertools import product
from typing import Any

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
from membench.planning.suites import PlannedSuite
from membench.planning.suites import check_recipe
from membench.planning.suites import recipe_of
from membench.planning.suites import split_of
from membench.records import Cell
from membench.records import Entry
from membench.records import Manifest
from membench.registry.discovery import PluginProblem
from membench.registry.entry import PluginEntry
from membench.registry.registry import Registry

NONE = "none"  #: the plain network
#: Added to every selection because rows are compared with them; other controls run on request.
BASELINES = (NONE, "low-lr")

#: Signals of label noise that leave no label real but by chance.
ALL_RANDOM = ("randY", "randY-permuted")

Pair = tuple[str, str]  #: task and regularizer
Select = Callable[[str], bool]  #: id of a cell -> whether it is selected
#: (dataset, architecture, regularizer) -> why it cannot act there, or None if it can
Skip = Callable[[str, str, str], str | None]


class NothingSelectedError(MembenchError):
    """No cell of a suite is selected.

    Args:
        skipped: where regularizers cannot act, and why.
    """

    def __init__(self, skipped: Mapping[ProgramId, str]) -> None:
        message = "no cell is selected: `membench run --all --collect-only` prints the ids"
        super().__init__(message, ExitCode.NOTHING)
        self.skipped = skipped


@dataclass(frozen=True)
class CellKeys:
    """Makes the keys of a suite's cells."""

    suite: PlannedSuite
    registry: Registry
    arrays: Mapping[str, str]  #: data set -> SHA-256 of its arrays
    recipes: Mapping[str, Recipe]  #: by task

    @classmethod
    def of_tasks(
        cls,
        suite: PlannedSuite,
        registry: Registry,
        arrays: Mapping[str, str],
        tasks: Iterable[str],
    ) -> CellKeys:
        """Resolve the recipes of some tasks.

        Args:
            suite: whose cells get keys.
            registry: gives the code hashes.
            arrays: data set -> SHA-256 of its arrays.
            tasks: of the cells.
        """
        recipes = {task: recipe_of(suite, registry, task) for task in tasks}
        return cls(suite=suite, registry=registry, arrays=arrays, recipes=recipes)

    def of(self, cell: Cell) -> str:
        """Return the key of a cell."""
        task = cell.task
        return cell_key(
            cell,
            self.registry,
            arrays=self.arrays[cell.dataset],
            split=split_of(self.suite, cell.dataset),
            recipe=self._recipe_fields[task],
            probes=self.suite.probes,
            read=epochs_read(self.suite, cell, self.recipes[task]),
        )

    @cached_property
    def _recipe_fields(self) -> dict[str, dict[str, Any]]:
        return {task: asdict(recipe) for task, recipe in self.recipes.items()}


def epochs_read(suite: PlannedSuite, cell: Cell, recipe: Recipe) -> tuple[int, ...]:
    """Return the epochs at which a cell is read besides the last; () = the usual ones.

    Strengths are chosen by what was learned at the end: only the runs that a board shows, and the
    plain network's, are read on the way.

    Args:
        suite: says which seeds are for choosing.
        cell: of the suite.
        recipe: the cell's.
    """
    if cell.regularizer != NONE and cell.seed in suite.choosing:
        return (recipe.epochs,)
    return ()


@dataclass(frozen=True)
class Plan:
    """The cells that a suite and a selection come to, of one phase."""

    suite: PlannedSuite
    manifest: Manifest  #: has the keys of `cells`, and of all choosing cells beside them
    cells: tuple[Cell, ...]
    keys: CellKeys = field(repr=False, compare=False)
    code: CodeOf = field(repr=False, compare=False)
    problems: tuple[PluginProblem, ...] = ()  #: regularizers left out because their `skip` failed

    @property
    def pairs(self) -> tuple[Pair, ...]:
        """Where regularizers have cells, in the order of the plan."""
        return tuple(dict.fromkeys((cell.task, cell.regularizer) for cell in self.cells))

    @property
    def most_confirming_cells(self) -> int:
        """How many cells the second phase has at most: two strengths for each row of the board.

        A composition with a full grid has two rows.
        """
        with_full_grid = {entry.name for entry in self.manifest.entries if entry.full}
        rows = 0
        for _, regularizer in self.pairs:
            if regularizer != NONE:
                rows += 2 if regularizer in with_full_grid else 1
        return 2 * rows * self.cells_of_strength

    @property
    def cells_of_strength(self) -> int:
        """How many cells the second phase has for each strength."""
        return len(self.suite.signals) * len(self.suite.confirming)

    def confirming(self, chosen: Mapping[Pair, Iterable[tuple[float, ...]]]) -> Plan:
        """Plan the second phase of some regularizers.

        Args:
            chosen: the strengths to confirm, without off.

        Returns:
            A plan of these cells alone; its manifest has the keys of this plan's too.
        """
        cells = []
        for (task, regularizer), strengths in chosen.items():
            dataset, architecture = task.split("/")
            axes = product(strengths, self.suite.signals, self.suite.confirming)
            for strength, signal, seed in axes:
                cell = Cell(
                    dataset=dataset,
                    architecture=architecture,
                    regularizer=regularizer,
                    strength=strength,
                    signal=signal,
                    seed=seed,
                )
                cells.append(cell)
        keys = {cell.id: self.keys.of(cell) for cell in cells}
        manifest = replace(self.manifest, cells={**self.manifest.cells, **keys})
        return replace(self, cells=tuple(cells), manifest=manifest)

    def packs(self, done: Container[str] = ()) -> list[Pack]:
        """Cut the cells whose keys are not `done` into packs, in the order of the plan."""
        keys = [self.manifest.cells[cell.id] for cell in self.cells]
        packs = []
        for cells, pack_keys in chunk_by_program(self.cells, keys, done, self.suite.width):
            first = cells[0]
            recipe = Recipe(**self.manifest.recipes[first.task])
            pack = Pack(
                cells=cells,
                keys=pack_keys,
                recipe=recipe,
                split=split_of(self.suite, first.dataset),
                compiled=self.suite.compiled,
                read=epochs_read(self.suite, first, recipe),
                probes=self.suite.probes,
                code=self.code(cells, self.suite.probes, recipe.optimizer),
                arrays=self.manifest.datasets[first.dataset],
            )
            packs.append(pack)
        return packs


def make_plan(
    suite: PlannedSuite,
    registry: Registry,
    hash_of: ArraysHash,
    skip: Skip,
    select: Select | None = None,
) -> Plan:
    """Plan the first phase of a suite.

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
    cells: list[Cell] = []
    impossible: list[Cell] = []
    for entry in registry.regularizers.values():
        for cell in _cells(suite, entry):
            is_skipped = (cell.dataset, cell.architecture, cell.regularizer) in skipped
            (impossible if is_skipped else cells).append(cell)
    selected = cells
    if select is not None:
        selected = _selected(cells, select)
    if not selected:
        raise NothingSelectedError(skipped)
    arrays = {name: hash_of(name) for name in dict.fromkeys(cell.dataset for cell in selected)}
    tasks = sorted({cell.task for cell in selected})
    keys = CellKeys.of_tasks(suite, registry, arrays, tasks)
    for task, recipe in keys.recipes.items():
        check_recipe(recipe, registry, task)
    asked_for = {cell.regularizer for cell in impossible if select is None or select(cell.id)}
    unable = asked_for - {cell.regularizer for cell in cells}
    manifest = _manifest(registry, keys, cells, selected, skipped, unable)
    code = CodeOfPlan(registry).of
    return Plan(suite=suite, manifest=manifest, cells=tuple(selected), keys=keys, code=code)


def check_names(registry: Registry, **names: Iterable[str]) -> None:
    """Check that names are registered; each keyword is a table of the registry.

    Raises:
        MembenchError: a name is unknown, or the level of a signal is not right (exit 4).
    """
    for kind, names_of_kind in names.items():
        for name in names_of_kind:
            if kind == "signals":
                registry.signal_entry(name)
            else:
                registry.entry(kind, name)


def _skipped(suite: PlannedSuite, registry: Registry, skip: Skip) -> dict[ProgramId, str]:
    """Return where regularizers cannot act, and why."""
    reasons = {}
    for dataset, architecture in product(suite.datasets, suite.architectures):
        for entry in registry.regularizers.values():
            reason = skip(dataset, architecture, entry.name) if entry.has_skip else None
            if reason is not None:
                reasons[dataset, architecture, entry.name] = reason
    return reasons


def _cells(suite: PlannedSuite, entry: PluginEntry) -> list[Cell]:
    """Return the choosing cells of a regularizer; of the plain network those of all seeds.

    A strength that is in both its grids is trained once.
    """
    strengths = list(dict.fromkeys([*entry.strengths, *entry.full])) or [()]
    seeds = suite.choosing
    if entry.name == NONE:
        seeds = suite.choosing + suite.confirming
    axes = product(suite.datasets, suite.architectures, strengths, suite.signals, seeds)
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


def _selected(cells: list[Cell], select: Select) -> list[Cell]:
    """Return the selected cells, and all of the baselines of their tasks, in the order given."""
    chosen = {cell for cell in cells if select(cell.id)}
    tasks = {cell.task for cell in chosen}
    selected = []
    for cell in cells:
        if cell in chosen or (cell.regularizer in BASELINES and cell.task in tasks):
            selected.append(cell)
    return selected


def _manifest(
    registry: Registry,
    keys: CellKeys,
    cells: list[Cell],
    selected: list[Cell],
    skipped: dict[ProgramId, str],
    unable: set[str],
) -> Manifest:
    """Return what the suite planned.

    It has the keys of all choosing cells of the regularizers that are selected somewhere: a
    regularizer is complete only with all of them.

    Args:
        registry: what there is.
        keys: of the suite's cells.
        cells: all cells of the suite.
        selected: those that are selected.
        skipped: where regularizers cannot act, and why.
        unable: the selected regularizers that cannot act on any task.
    """
    suite = keys.suite
    noisy = scored_noise(suite.signals, registry)
    pairs = {(cell.task, cell.regularizer) for cell in selected}
    planned = {}
    for cell in cells:
        if (cell.task, cell.regularizer) in pairs:
            planned[cell.id] = keys.of(cell)
    return Manifest(
        suite=suite.name,
        version=suite.version,
        tasks=tuple(keys.recipes),
        signals=suite.signals,
        choosing=suite.choosing,
        confirming=suite.confirming,
        recipes={task: asdict(recipe) for task, recipe in keys.recipes.items()},
        datasets=dict(keys.arrays),
        entries=_entries(registry, {name for _, name in pairs} | unable, skipped),
        cells=planned,
        probes=(suite.probes,) if suite.probes else (),
        noisy=() if noisy and noisy[0].startswith("mixed@") else noisy,
    )


def scored_noise(signals: Sequence[str], registry: Registry) -> tuple[str, ...]:
    """Return the signals of label noise that a suite is scored by.

    They are mixed@p where it has that, so that further noise changes no score; else all but those
    whose labels are all random: there is nothing real to learn beside.

    Args:
        signals: of the suite.
        registry: says what is label noise.
    """
    mixed = tuple(signal for signal in signals if signal.startswith("mixed@"))
    if mixed:
        return mixed
    noisy = []
    for signal in signals:
        if registry.signal_entry(signal).noise == "labels" and signal not in ALL_RANDOM:
            noisy.append(signal)
    return tuple(noisy)


def _entries(
    registry: Registry, names: Container[str], skipped: Mapping[ProgramId, str]
) -> tuple[Entry, ...]:
    """Return an entry for each regularizer of these names.

    Args:
        registry: what there is.
        names: of the selected regularizers.
        skipped: where regularizers cannot act, and why.
    """
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
            limits=plugin.limits,
        )
        entries.append(entry)
    return tuple(entries)

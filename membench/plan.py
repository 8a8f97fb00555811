"""From a suite and a registry to the cells and packs that are to be trained. Pure: reads no stored result.

`make_plan` is called by `plan`, `run` and `status`; no torch, unless a plugin's `skip` must look at a network.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Container
from collections.abc import Iterable
from collections.abc import Iterator
from dataclasses import asdict
from dataclasses import dataclass
from dataclasses import replace
from itertools import groupby
from itertools import product
from typing import Any

from membench.api import Recipe
from membench.errors import ExitCode
from membench.errors import MembenchError
from membench.loading import PluginEntry
from membench.plugin_finding import PluginProblem
from membench.records import PROTOCOL
from membench.records import Cell
from membench.records import Entry
from membench.records import Manifest
from membench.records import digest
from membench.records import parse_signal
from membench.registry import Registry
from membench.studies import Split
from membench.suites import Suite
from membench.suites import split

#: What a selection brings along, because rows are compared with it; the other controls run when they are asked for.
YARDSTICKS = ("none", "low-lr", "placebo")

Select = Callable[[str], bool]
Hash = Callable[[str], str]  #: data set name -> SHA-256 of its arrays
Skip = Callable[[str, str, str], str | None]  #: (dataset, architecture, regularizer) -> why it cannot act there


@dataclass(frozen=True)
class Pack:
    """Cells of one (data set, architecture, regularizer, recipe) that train stacked: one job of a worker.

    Its records are written in one go; what kills it costs only these cells.
    """

    cells: tuple[Cell, ...]
    keys: tuple[str, ...]  #: the cells' keys, in the same order
    recipe: Recipe
    split: Split
    compiled: bool
    read: tuple[int, ...] = ()  #: epochs at which the cells are read, besides the last; () = the usual ones
    probes: tuple[str, ...] = ()  #: what is measured there
    study: str = ""  #: whose own records the names may be

    @property
    def id(self) -> str:
        """The first cell's id and the width: `mnist5k/mlp/dropout[0.5]/randY/seed0 x15`."""
        return f"{self.cells[0].id} x{len(self.cells)}"

    @property
    def program(self) -> tuple[str, str, str]:
        """Packs of one program share what was compiled: (dataset, architecture, regularizer)."""
        cell = self.cells[0]
        return cell.dataset, cell.architecture, cell.regularizer

    def to_json(self) -> dict[str, Any]:
        """A JSON-ready dict."""
        return asdict(self)

    @classmethod
    def from_json(cls, line: dict[str, Any]) -> Pack:
        """The inverse of `to_json`."""
        cells = tuple(Cell(**{**cell, "strength": tuple(cell["strength"])}) for cell in line["cells"])
        tuples = {name: tuple(line[name]) for name in ("keys", "read", "probes")}
        records = {"cells": cells, "recipe": Recipe(**line["recipe"]), "split": Split(**line["split"])}
        return cls(**{**line, **tuples, **records})


@dataclass(frozen=True)
class Plan:
    """What a suite and a selection come to."""

    suite: Suite
    manifest: Manifest
    cells: tuple[Cell, ...]
    problems: tuple[PluginProblem, ...] = ()  #: what was left out of it, since its plugin failed when asked

    def packs(self, done: Container[str] = ()) -> list[Pack]:
        """The cells whose keys are not `done`, cut into packs as the plan orders them."""
        keys = [self.manifest.cells[cell.id] for cell in self.cells]
        packs = []
        for cells, own in cut(self.cells, keys, done, self.suite.width):
            recipe, sizes = Recipe(**self.manifest.recipes[cells[0].task]), split(self.suite, cells[0].dataset)
            packs.append(Pack(cells, own, recipe, sizes, self.suite.compiled, probes=self.suite.probes))
        return packs


def cut(
    cells: Iterable[Cell], keys: Iterable[str], done: Container[str], width: int
) -> Iterator[tuple[tuple[Cell, ...], tuple[str, ...]]]:
    """Cells and keys of each pack: neighbours of one program whose keys are not `done`, `width` of them at most."""
    missing = [pair for pair in zip(cells, keys, strict=True) if pair[1] not in done]
    for _, group in groupby(missing, lambda pair: (pair[0].dataset, pair[0].architecture, pair[0].regularizer)):
        pairs = list(group)
        for start in range(0, len(pairs), width):
            yield tuple(zip(*pairs[start : start + width], strict=True))


def must_know(registry: Registry, **names: Iterable[str]) -> None:
    """Raises `MembenchError` (exit 4) for a name, of a table of the registry, that nobody registered."""
    for table, some in names.items():
        for name in some:
            registry.entry(table, parse_signal(name)[0])


def make_plan(suite: Suite, registry: Registry, hash_of: Hash, skip: Skip, select: Select | None = None) -> Plan:
    """Plan a suite.

    Args:
        suite: what to train, already narrowed.
        registry: where names and code hashes come from.
        hash_of: gives the hash of a data set's arrays.
        skip: asks a regularizer's `skip`.
        select: picks cells by id; the `YARDSTICKS` of the tasks it touches are added. None = all.

    Raises:
        MembenchError: an unknown name (exit 4), or nothing is selected (exit 5).
    """
    chosen = registry.regularizers.values()
    must_know(registry, **{axis: getattr(suite, axis) for axis in ("datasets", "architectures", "signals", "probes")})
    skipped = {
        (d, a, e.name): reason
        for d, a, e in product(suite.datasets, suite.architectures, chosen)
        if e.has_skip and (reason := skip(d, a, e.name)) is not None
    }
    cells = [c for e in chosen for c in _cells(suite, e) if (c.dataset, c.architecture, e.name) not in skipped]
    if select is not None:
        cells = _selected(cells, suite, registry, select)
    if not cells:
        raise MembenchError("no cell is selected: see `membench plan` for the ids", ExitCode.NOTHING)
    tasks = sorted({c.task for c in cells}, key=lambda t: t)
    entries = _entries({c.regularizer for c in cells} | {n for _, _, n in skipped}, registry, skipped)
    recipes = {task: asdict(resolved_recipe(suite, registry, task)) for task in tasks}
    hashes = {d: hash_of(d) for d in {c.dataset for c in cells}}
    key_of = Keys(suite, registry, recipes, hashes)
    manifest = Manifest(
        suite.name,
        suite.version,
        tuple(tasks),
        suite.signals,
        tuple(suite.seeds),
        recipes,
        hashes,
        entries,
        {c.id: key_of(c) for c in cells},
        probes=(suite.probes,) if suite.probes else (),
    )
    return Plan(suite, manifest, tuple(cells))


def _cells(suite: Suite, entry: PluginEntry) -> list[Cell]:
    settings = tuple(dict.fromkeys((*entry.strengths, *entry.full))) or ((),)
    axes = (suite.datasets, suite.architectures, settings, suite.signals, suite.seeds)
    return [Cell(d, a, entry.name, s, signal, seed) for d, a, s, signal, seed in product(*axes)]


def _selected(cells: list[Cell], suite: Suite, registry: Registry, select: Select) -> list[Cell]:
    """The picked cells, and what they are compared with."""
    picked = {c for c in cells if select(c.id)}
    tasks = {c.task for c in picked}
    for entry in registry.regularizers.values():
        if entry.name in YARDSTICKS:
            picked |= {c for c in _cells(suite, entry) if c.task in tasks}
    order = {name: i for i, name in enumerate(registry.regularizers)}
    place = {c: i for i, c in enumerate(cells)}
    return sorted(picked, key=lambda c: (order[c.regularizer], place.get(c, 0), c))


def _entries(names: set[str], registry: Registry, skipped: dict[tuple[str, str, str], str]) -> tuple[Entry, ...]:
    entries = []
    for e in registry.regularizers.values():
        if e.name in names:
            where = {f"{d}/{a}": reason for (d, a, n), reason in skipped.items() if n == e.name}
            text = (e.acts_on, e.summary, e.source, e.origin)
            entries.append(Entry(e.name, e.group, e.strengths, *text, where, e.full))
    return tuple(entries)


def resolved_recipe(suite: Suite, registry: Registry, task: str) -> Recipe:
    """The suite's recipe for the task, else the architecture's own; with the epochs that were asked for."""
    dataset, architecture = task.split("/")
    own = registry.entry("architectures", architecture).recipe
    recipe = suite.recipes.get((dataset, architecture)) or Recipe(**own)
    return replace(recipe, epochs=suite.epochs) if suite.epochs else recipe


class Keys:
    """Cell keys of a suite."""

    def __init__(self, suite: Suite, registry: Registry, recipes: dict[str, Any], hashes: dict[str, str]) -> None:
        self.suite, self.registry, self.recipes, self.hashes = suite, registry, recipes, hashes

    def __call__(self, cell: Cell) -> str:
        sizes, recipe = split(self.suite, cell.dataset), self.recipes[cell.task]
        return cell_key(cell, self.registry, self.hashes[cell.dataset], sizes, recipe, self.suite.probes)


def cell_key(
    cell: Cell,
    registry: Registry,
    data: str,
    sizes: Split,
    recipe: dict[str, Any],
    probes: Iterable[str] = (),
    read: tuple[int, ...] = (),
) -> str:
    """The hash of what changes a cell's record, and only that; never order, neighbours or clock.

    What few cells have (probes, epochs to be read at, a split that is fixed or shared) counts only where it is set.

    Args:
        data: SHA-256 of the data set's arrays.
        recipe: resolved, as a dict.
    """

    def code(kind: str, name: str) -> list[Any]:
        entry = registry.entry(kind, name)
        return [entry.name, entry.code_hash, entry.version]

    name, level = parse_signal(cell.signal)
    more = {"probes": sorted(code("probes", probe) for probe in probes), "read": list(read)}
    return digest(
        {
            "protocol": PROTOCOL,
            "dataset": [cell.dataset, data],
            "split": sizes.to_json(),
            "recipe": recipe,
            "architecture": code("architectures", cell.architecture),
            "regularizer": code("regularizers", cell.regularizer),
            "signal": [*code("signals", name), level],
            "strength": [repr(s) for s in cell.strength],
            "seed": cell.seed,
            **{field: value for field, value in more.items() if value},
        }
    )

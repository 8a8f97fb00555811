"""From a suite and a registry to the cells and packs that are to be trained. Pure: reads no stored result.

`make_plan` is called by `plan`, `run` and `status`; no torch, unless a plugin's `skip` must look at a network.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Container
from collections.abc import Iterable
from dataclasses import asdict
from dataclasses import dataclass
from itertools import product

from membench.api import Recipe
from membench.errors import ExitCode
from membench.errors import MembenchError
from membench.planning.keys import Hash
from membench.planning.keys import Keys
from membench.planning.keys import resolved_recipe
from membench.planning.packs import Pack
from membench.planning.packs import chunk_by_program
from membench.planning.suites import Suite
from membench.planning.suites import split_of
from membench.records import Cell
from membench.records import Entry
from membench.records import Manifest
from membench.records import parse_signal
from membench.registry.discovery import PluginProblem
from membench.registry.entry import PluginEntry
from membench.registry.registry import Registry

#: What a selection brings along, because rows are compared with it; the other controls run when they are asked for.
BASELINES = ("none", "low-lr", "placebo")
Select = Callable[[str], bool]
Skip = Callable[
    [str, str, str], str | None
]  #: (dataset, architecture, regularizer) -> why it cannot act there


@dataclass(frozen=True)
class Plan:
    """What a suite and a selection come to."""

    suite: Suite
    manifest: Manifest
    cells: tuple[Cell, ...]
    problems: tuple[
        PluginProblem, ...
    ] = ()  #: what was left out of it, since its plugin failed when asked

    def packs(self, done: Container[str] = ()) -> list[Pack]:
        """The cells whose keys are not `done`, cut into packs as the plan orders them."""
        keys = [self.manifest.cells[cell.id] for cell in self.cells]
        packs = []
        for cells, own in chunk_by_program(self.cells, keys, done, self.suite.width):
            recipe, sizes = (
                Recipe(**self.manifest.recipes[cells[0].task]),
                split_of(self.suite, cells[0].dataset),
            )
            pack = Pack(
                cells=cells,
                keys=own,
                recipe=recipe,
                split=sizes,
                compiled=self.suite.compiled,
                probes=self.suite.probes,
            )
            packs.append(pack)
        return packs


def check_names(registry: Registry, **names: Iterable[str]) -> None:
    """Raises `MembenchError` (exit 4) for a name, of a table of the registry, that nobody registered."""
    for table, some in names.items():
        for name in some:
            registry.entry(table, parse_signal(name)[0])


def make_plan(
    suite: Suite, registry: Registry, hash_of: Hash, skip: Skip, select: Select | None = None
) -> Plan:
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
    check_names(
        registry,
        **{
            axis: getattr(suite, axis)
            for axis in ("datasets", "architectures", "signals", "probes")
        },
    )
    skipped = {
        (d, a, e.name): reason
        for d, a, e in product(suite.datasets, suite.architectures, chosen)
        if e.has_skip and (reason := skip(d, a, e.name)) is not None
    }
    cells = [
        c
        for e in chosen
        for c in _cells(suite, e)
        if (c.dataset, c.architecture, e.name) not in skipped
    ]
    if select is not None:
        cells = _selected(cells, suite, registry, select)
    if not cells:
        raise MembenchError(
            "no cell is selected: see `membench plan` for the ids", ExitCode.NOTHING
        )
    tasks = sorted({c.task for c in cells}, key=lambda t: t)
    entries = _entries(
        {c.regularizer for c in cells} | {n for _, _, n in skipped}, registry, skipped
    )
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
        if entry.name in BASELINES:
            picked |= {c for c in _cells(suite, entry) if c.task in tasks}
    order = {name: i for i, name in enumerate(registry.regularizers)}
    place = {c: i for i, c in enumerate(cells)}
    return sorted(picked, key=lambda c: (order[c.regularizer], place.get(c, 0), c))


def _entries(
    names: set[str], registry: Registry, skipped: dict[tuple[str, str, str], str]
) -> tuple[Entry, ...]:
    entries = []
    for e in registry.regularizers.values():
        if e.name in names:
            where = {f"{d}/{a}": reason for (d, a, n), reason in skipped.items() if n == e.name}
            text = (e.acts_on, e.summary, e.source, e.origin)
            entries.append(Entry(e.name, e.group, e.strengths, *text, where, e.full))
    return tuple(entries)

"""What can be run: every record of every plugin by name, as plain data; the live functions come when asked for.

`discover` makes one registry a process; the plan, the list and the report read its entries, the engine loads from it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from dataclasses import field
from dataclasses import replace
from pathlib import Path

from membench.api import Architecture
from membench.api import Dataset
from membench.api import Regularizer
from membench.api import Signal
from membench.errors import MembenchError
from membench.errors import unknown_name
from membench.probes import Probe
from membench.registry.cache import PluginCache
from membench.registry.composition import NONE
from membench.registry.composition import Table
from membench.registry.composition import compose
from membench.registry.composition import full_grid
from membench.registry.discovery import PluginProblem
from membench.registry.discovery import find_sources
from membench.registry.discovery import shipped_folder
from membench.registry.entry import PluginEntry
from membench.registry.loading import load_records
from membench.registry.loading import read_cached
from membench.registry.validation import singular
from membench.studies import Study

__all__ = ["NONE", "PluginEntry", "PluginProblem", "Registry", "discover"]
TRAINED = (
    "regularizers",
    "architectures",
    "datasets",
    "signals",
    "probes",
)  #: what a cell can be made of
KINDS = (*TRAINED, "studies")


@dataclass(frozen=True)
class Registry:
    """Entries by name, sorted, `none` first; and what was refused."""

    regularizers: Table = field(default_factory=lambda: {"none": NONE})
    architectures: Table = field(default_factory=dict)
    datasets: Table = field(default_factory=dict)
    signals: Table = field(default_factory=dict)
    probes: Table = field(default_factory=dict)
    studies: Table = field(default_factory=dict)
    own: tuple[PluginEntry, ...] = ()  #: what studies keep to themselves, seen only by `for_study`
    problems: tuple[PluginProblem, ...] = ()

    def for_study(self, study: str) -> Registry:
        """As the cells of a study see it: its own records stand before others of the same name."""
        mine = [entry for entry in self.own if entry.study == study]
        tables = {
            kind: {**getattr(self, kind), **{e.name: e for e in mine if e.kind == kind}}
            for kind in TRAINED
        }
        return replace(self, **tables) if mine else self

    def entry(self, kind: str, name: str) -> PluginEntry:
        """One entry; `kind` as in `PluginEntry`. Raises `MembenchError` with the nearest names for an unknown one."""
        table: Table = getattr(self, kind)
        if name not in table:
            raise unknown_name(singular(kind), name, table)
        return table[name]

    def regularizer(self, name: str) -> tuple[Regularizer, ...]:
        """The parts in the order in which they act: one, several for `a+b`, () for `none`."""
        return load_records(self.with_composition(name, full=True).entry("regularizers", name))

    def architecture(self, name: str) -> Architecture:
        """The live record."""
        return load_records(self.entry("architectures", name))[0]

    def dataset(self, name: str) -> Dataset:
        """The live record."""
        return load_records(self.entry("datasets", name))[0]

    def signal(self, name: str) -> Signal:
        """The live record; of `mixed@0.4` as of `mixed`."""
        return load_records(self.entry("signals", name.partition("@")[0]))[0]

    def probe(self, name: str) -> Probe:
        """The live record."""
        return load_records(self.entry("probes", name))[0]

    def study(self, name: str) -> Study:
        """The live record."""
        return load_records(self.entry("studies", name))[0]

    def with_composition(self, name: str, full: bool = False) -> Registry:
        """This registry and `a+b`, its grid i-th with i-th; this one itself if that is known, or no composition.

        With `full` the entry also has the product of its parts' grids; if these differ in length it has nothing else.

        Raises:
            MembenchError: a part is unknown, stands there twice, or cannot be combined.
        """
        known = self.regularizers.get(name)
        if "+" not in name or (known and (known.full or not full)):
            return self
        entry = known or compose(
            PluginEntry(kind="regularizers", name=name, origin="-r"), self.regularizers, full
        )
        if full:
            entry = replace(entry, full=full_grid(entry.members))
        return replace(self, regularizers=_in_order({**self.regularizers, name: entry}))


def discover(
    requested: Iterable[str] = (), folder: Path | None = None, shipped: Path | None = None
) -> Registry:
    """All plugins that can be found.

    Args:
        requested: what `-p` named: files, folders, modules.
        folder: the working folder, whose `plugins/` and `pyproject.toml` count; default: the current one.
        shipped: where membench's own plugins are; default: where they were installed.

    Raises:
        MembenchError: a requested plugin is not there. All other faults are `problems` of the registry.
    """
    cache = PluginCache.open()
    entries: list[PluginEntry] = []
    problems: list[PluginProblem] = []
    for found in find_sources(requested, folder or Path.cwd(), shipped or shipped_folder()):
        if isinstance(found, PluginProblem):
            problems.append(found)
        else:
            new, wrong = read_cached(found, cache)
            entries += new
            problems += wrong
    cache.save()
    return build_registry(entries, problems)


def build_registry(entries: Iterable[PluginEntry], problems: Iterable[PluginProblem]) -> Registry:
    """Tables without doubles; compositions last, since their parts may be in any file. The first of a name stays."""
    tables: dict[str, Table] = {
        kind: {"none": NONE} if kind == "regularizers" else {} for kind in KINDS
    }
    refused, entries = list(problems), list(entries)
    for entry in sorted((e for e in entries if not e.study), key=lambda entry: bool(entry.parts)):
        table = tables[entry.kind]
        try:
            whole = compose(entry, table) if entry.parts else entry
        except MembenchError as error:
            refused.append(PluginProblem(entry.origin, str(error)))
            continue
        known = table.setdefault(entry.name, whole)
        if known is not whole and not _same(known, whole):
            refused.append(PluginProblem(entry.origin, _duplicate_message(known, whole)))
    own = tuple(
        e
        for e in entries
        if e.study in tables["studies"] and e.path == tables["studies"][e.study].path
    )
    return Registry(
        **{kind: _in_order(table) for kind, table in tables.items()},
        own=own,
        problems=tuple(refused),
    )


def _same(one: PluginEntry, other: PluginEntry) -> bool:
    """The same plugin found twice, as in a checkout and in the installed package."""
    alike = ("code_hash", "version", "strengths")
    return one.path != other.path and all(
        getattr(one, name) == getattr(other, name) for name in alike
    )


def _duplicate_message(known: PluginEntry, new: PluginEntry) -> str:
    what = f"{new.kind.removesuffix('s')} {new.name!r}"
    if known.path == new.path:
        return f"{what} is registered twice; rename one"
    return f"{what} is already registered by {known.origin}; rename it, or take one of the two out"


def _in_order(table: Table) -> Table:
    return dict(sorted(table.items(), key=lambda item: (item[0] != "none", item[0])))

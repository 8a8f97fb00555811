"""The registry: every record of every plugin by name, as plain data; live records on request.

`discover` makes one registry per process. Plans, lists and reports read its entries; the engine
loads records from it.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterable
from dataclasses import dataclass
from dataclasses import field
from dataclasses import replace
from pathlib import Path

from membench.api import Architecture
from membench.api import Dataset
from membench.api import Optimizer
from membench.api import Regularizer
from membench.api import Signal
from membench.api import Suite
from membench.errors import MembenchError
from membench.errors import unknown_name
from membench.probes import Probe
from membench.registry.apart import Reading
from membench.registry.apart import import_for_children
from membench.registry.apart import read_cached
from membench.registry.cache import PluginCache
from membench.registry.composition import NONE_ENTRY
from membench.registry.composition import Table
from membench.registry.composition import compose
from membench.registry.composition import full_grid
from membench.registry.discovery import Found
from membench.registry.discovery import PluginProblem
from membench.registry.discovery import PluginSource
from membench.registry.discovery import find_sources
from membench.registry.discovery import shipped_folder
from membench.registry.entry import PluginEntry
from membench.registry.entry import suite_of
from membench.registry.loading import load_records
from membench.registry.validation import singular
from membench.studies import Study

#: The tables that a cell is made from.
CELL_KINDS = ("regularizers", "architectures", "datasets", "signals", "optimizers", "probes")
KINDS = (*CELL_KINDS, "suites", "studies")


@dataclass(frozen=True, kw_only=True)
class Registry:
    """Entries by name, sorted, `none` first; and what was refused."""

    regularizers: Table = field(default_factory=lambda: {NONE_ENTRY.name: NONE_ENTRY})
    architectures: Table = field(default_factory=dict)
    datasets: Table = field(default_factory=dict)
    signals: Table = field(default_factory=dict)
    optimizers: Table = field(default_factory=dict)
    probes: Table = field(default_factory=dict)
    suites: Table = field(default_factory=dict)
    studies: Table = field(default_factory=dict)
    private: tuple[PluginEntry, ...] = ()  #: the records of studies, visible only in `for_study`
    problems: tuple[PluginProblem, ...] = ()

    def for_study(self, study: str) -> Registry:
        """Return the registry as the cells of a study see it.

        The private records of the study come before others of the same name.
        """
        private = [entry for entry in self.private if entry.study == study]
        if not private:
            return self
        tables: dict[str, Table] = {kind: dict(getattr(self, kind)) for kind in CELL_KINDS}
        for entry in private:
            tables[entry.kind][entry.name] = entry
        return Registry(
            **tables,
            suites=self.suites,
            studies=self.studies,
            private=self.private,
            problems=self.problems,
        )

    def with_composition(self, name: str, full: bool = False) -> Registry:
        """Return a registry that also has the composition `a+b`.

        Its grid pairs the i-th strengths of its parts. The registry itself is returned if it has
        the composition already, or if `name` is no composition.

        Args:
            name: of the composition.
            full: whether the entry also has the full grid, the product of its parts' grids. If the
                grids differ in length, it has nothing else.

        Raises:
            MembenchError: a part is unknown, appears twice, or cannot be combined.
        """
        known = self.regularizers.get(name)
        if "+" not in name or (known and (known.full or not full)):
            return self
        entry = known
        if entry is None:
            requested = PluginEntry(kind="regularizers", name=name, origin="-r")
            entry = compose(requested, self.regularizers, full)
        if full:
            entry = replace(entry, full=full_grid(entry.members))
        return replace(self, regularizers=_sorted({**self.regularizers, name: entry}))

    def entry(self, kind: str, name: str) -> PluginEntry:
        """Return one entry; `kind` is one of `KINDS`.

        Raises:
            MembenchError: the name is unknown; the message suggests the nearest ones.
        """
        table: Table = getattr(self, kind)
        if name not in table:
            raise unknown_name(singular(kind), name, table, f"membench list {kind}")
        return table[name]

    def signal_entry(self, signal: str) -> PluginEntry:
        """Return the entry of a signal that is named as in cells: `randY`, `mixed@0.4`.

        Raises:
            MembenchError: the name is unknown, or its level is missing, illegal or one too many.
        """
        name, _, level = signal.partition("@")
        entry = self.entry("signals", name)
        if not entry.levels:
            if signal != name:
                raise MembenchError(
                    f"signal {signal!r}: {name} takes no level; write {name}, "
                    "or give its Signal levels=True"
                )
            return entry
        if isinstance(entry.levels, tuple):
            if level not in entry.levels:
                known = " or ".join(f"{name}@{one}" for one in entry.levels)
                raise MembenchError(f"signal {signal!r}: write {known}")
            return entry
        if signal == name:
            raise MembenchError(f"signal {name!r} needs a level: write {name}@0.4, for example")
        try:
            p = float(level)
        except ValueError:
            p = 0.0
        if not 0 < p <= 1:
            raise MembenchError(
                f"signal {signal!r}: a level is above 0 and at most 1: "
                f"write {name}@0.4, for example"
            )
        if level != f"{p:g}":  # one level has one name, so one id
            raise MembenchError(f"signal {signal!r}: write {name}@{p:g}")
        return entry

    def regularizer(self, name: str) -> tuple[Regularizer, ...]:
        """Load the parts in the order in which they act: one, several for `a+b`, () for `none`."""
        return load_records(self.with_composition(name, full=True).entry("regularizers", name))

    def architecture(self, name: str) -> Architecture:
        """Load an architecture."""
        (record,) = load_records(self.entry("architectures", name))
        return record

    def dataset(self, name: str) -> Dataset:
        """Load a data set."""
        (record,) = load_records(self.entry("datasets", name))
        return record

    def signal(self, name: str) -> Signal:
        """Load a signal; the name may have a level, as in `mixed@0.4`."""
        (record,) = load_records(self.entry("signals", name.partition("@")[0]))
        return record

    def optimizer(self, name: str) -> Optimizer:
        """Load an optimizer."""
        (record,) = load_records(self.entry("optimizers", name))
        return record

    def probe(self, name: str) -> Probe:
        """Load a probe."""
        (record,) = load_records(self.entry("probes", name))
        return record

    def suite(self, name: str) -> Suite:
        """Return a suite, which is plain data: its plugin is not imported.

        Raises:
            MembenchError: there is no such suite; the message suggests the nearest ones.
        """
        return suite_of(self.entry("suites", name))

    def study(self, name: str) -> Study:
        """Load a study."""
        (record,) = load_records(self.entry("studies", name))
        return record


def discover(
    requested: Iterable[str] = (),
    folder: Path | None = None,
    shipped: Path | None = None,
    on_import: Callable[[], object] = lambda: None,
    read_foreign: Callable[[PluginSource], Reading] | None = None,
) -> Registry:
    """Return the registry of all plugins that can be found.

    Args:
        requested: what `-p` names: files, folders, modules.
        folder: the working folder, whose `plugins/` and `pyproject.toml` count; default: the
            current one.
        shipped: the folder of membench's own plugins; default: where they were installed.
        on_import: called before each plugin that must be imported to be read.
        read_foreign: reads a plugin that does not ship; default: `read_apart`.

    Raises:
        MembenchError: a requested plugin does not exist. Everything else that is wrong is one of
            the `problems` of the registry.
    """
    cache = PluginCache.open()
    all_found = list(find_sources(requested, folder or Path.cwd(), shipped or shipped_folder()))
    if read_foreign is None:
        import_for_children((one for one in all_found if isinstance(one, PluginSource)), cache)
    return read_registry(all_found, on_import, read_foreign, cache)


def read_registry(
    all_found: Iterable[Found],
    on_import: Callable[[], object] = lambda: None,
    read_foreign: Callable[[PluginSource], Reading] | None = None,
    cache: PluginCache | None = None,
) -> Registry:
    """Return the registry of plugins that were found.

    Args:
        all_found: in the order of precedence.
        on_import: called before each plugin that must be imported to be read.
        read_foreign: reads a plugin that does not ship; default: `read_apart`.
        cache: of plugins; default: the user's, read anew.
    """
    cache = cache or PluginCache.open()
    entries: list[PluginEntry] = []
    problems: list[PluginProblem] = []
    for found in all_found:
        if isinstance(found, PluginProblem):
            problems.append(found)
        else:
            plugin_entries, plugin_problems = read_cached(found, cache, on_import, read_foreign)
            entries += plugin_entries
            problems += plugin_problems
    cache.save()
    return build_registry(entries, problems)


def build_registry(
    entries: Iterable[PluginEntry], problems: Iterable[PluginProblem] = ()
) -> Registry:
    """Build the tables.

    The first entry of a name wins. Compositions are resolved last because their parts may be
    defined in any file.

    Args:
        entries: of all plugins, in the order of precedence.
        problems: what is known to be wrong already; refused entries are added to it.
    """
    entries = list(entries)
    problems = list(problems)
    tables: dict[str, Table] = {kind: {} for kind in KINDS}
    tables["regularizers"][NONE_ENTRY.name] = NONE_ENTRY
    public = [entry for entry in entries if not entry.study]
    public.sort(key=lambda entry: bool(entry.parts))
    for entry in public:
        table = tables[entry.kind]
        try:
            resolved = compose(entry, table) if entry.parts else entry
        except MembenchError as error:
            problems.append(PluginProblem(entry.origin, str(error)))
            continue
        known = table.setdefault(entry.name, resolved)
        if known is not resolved and not _is_same_plugin(known, resolved):
            problems.append(PluginProblem(entry.origin, _duplicate_message(known, resolved)))

    private = []
    for entry in entries:
        study = tables["studies"].get(entry.study)
        if study is not None and study.path == entry.path:
            private.append(entry)
    sorted_tables = {kind: _sorted(table) for kind, table in tables.items()}
    return Registry(**sorted_tables, private=tuple(private), problems=tuple(problems))


def _is_same_plugin(one: PluginEntry, other: PluginEntry) -> bool:
    """Say whether two files hold the same plugin, as a checkout and the installed package do."""
    return (
        one.path != other.path
        and one.code_hash == other.code_hash
        and one.version == other.version
        and one.strengths == other.strengths
    )


def _duplicate_message(known: PluginEntry, new: PluginEntry) -> str:
    what = f"{singular(new.kind)} {new.name!r}"
    if known.path == new.path:
        return f"{what} is registered twice; rename one"
    return f"{what} is already registered by {known.origin}; rename it, or remove one of the two"


def _sorted(table: Table) -> Table:
    """Sort by name, `none` first."""
    return dict(sorted(table.items(), key=lambda item: (item[0] != NONE_ENTRY.name, item[0])))

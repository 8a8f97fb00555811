"""Plain data about plugin records: all that the lists, the plans and the reports need to know.

`describe` makes a `PluginEntry` from a live record. The cache keeps entries as JSON, so that most
commands import no plugin; `membench.registry.loading` gives the live records of an entry.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from dataclasses import dataclass
from dataclasses import field
from dataclasses import replace
from pathlib import Path
from typing import Any

from membench.api import Architecture
from membench.api import Composite
from membench.api import Dataset
from membench.api import Recipe
from membench.api import Regularizer
from membench.api import Signal
from membench.api import Split
from membench.api import Suite
from membench.registry.discovery import PluginSource
from membench.registry.discovery import is_shipped
from membench.registry.fingerprint import CodeFacts
from membench.registry.fingerprint import private_record_hash
from membench.registry.local_files import PluginFiles
from membench.registry.validation import KIND_BY_TYPE
from membench.studies import Study
from membench.text import one_line
from membench.text import short

MAX_SOURCE = 1000  #: characters of a citation; a docstring may be a book
Strengths = tuple[tuple[float, ...], ...]  #: one tuple a setting, in it one float a part


@dataclass(frozen=True, kw_only=True)
class PluginEntry:
    """The facts about one record that are known without importing its plugin."""

    kind: str  #: a table of the registry: "regularizers", "suites", ...
    name: str
    #: Of regularizers; "baseline" is `none`, "composition" is `a+b`. Of studies the paper's figure.
    group: str = ""
    summary: str = ""
    source: str = ""  #: the citation
    origin: str = ""  #: the file or distribution, as shown to people
    path: str = ""  #: the defining file
    helpers: tuple[str, ...] = ()  #: the local files that it imports, relative to its folder
    acts_on: tuple[str, ...] = ()  #: stages; for signals what they make noisy
    strengths: Strengths = ()  #: from weak to strong
    off: tuple[float, ...] = ()  #: one float a part
    #: The natural end of the grid, one a part; None where a part has none.
    limits: tuple[float | None, ...] = ()
    #: Of a composition whose full grid was requested: every combination of its parts' strengths.
    full: Strengths = ()
    version: int = 1
    #: SHA-256 of the code that defines it (`membench.registry.fingerprint`); of a composition, of
    #: its parts' hashes.
    code_hash: str = ""
    study: str = ""  #: the study that the record is private to; "" = everybody may use it
    #: Of a private record: the hash of all of its plugin's code; `code_hash` covers only a part.
    file_hash: str = ""
    noise: str | None = None
    #: of a signal: whether its name takes a level, `name@p`; the levels where these have names
    levels: bool | tuple[str, ...] = False
    recipe: dict[str, Any] = field(default_factory=dict)
    suite: dict[str, Any] = field(default_factory=dict)  #: JSON-ready; `suite_of` reads it
    redraw: bool = False
    has_skip: bool = False
    has_fetch: bool = False
    #: Of a data set that says so: [c, h, w] of an image, and the number of classes.
    shape: tuple[int, ...] = ()
    num_classes: int = 0
    #: How to import the plugin; None for `none` and for compositions.
    plugin_source: PluginSource | None = field(default=None, repr=False)
    #: The parts of a composition, in the order in which they act.
    members: tuple[PluginEntry, ...] = field(default=(), repr=False)

    @property
    def parts(self) -> tuple[str, ...]:
        """The names that a composition joins; () for all others."""
        return tuple(self.name.split("+")) if "+" in self.name else ()

    @property
    def paths(self) -> tuple[str, ...]:
        """The files that its code is in: the defining file and the local ones that it imports.

        Those of its parts for a composition; none for `none`.
        """
        if self.members:
            return tuple(dict.fromkeys(path for member in self.members for path in member.paths))
        if not self.path:
            return ()
        folder = Path(self.path).parent
        return (self.path, *(str(folder / helper) for helper in self.helpers))

    @property
    def foreign_files(self) -> tuple[str, ...]:
        """Those of its files that do not ship with membench."""
        return tuple(path for path in self.paths if not is_shipped(path))

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-ready dict without the fields that depend on the working folder."""
        line = asdict(replace(self, plugin_source=None))
        for name in _NOT_CACHED:
            del line[name]
        return line

    @classmethod
    def from_json(cls, line: dict[str, Any], plugin_source: PluginSource) -> PluginEntry:
        """Return the entry that `to_json` wrote, found at `plugin_source` this time."""
        values = {name: _lists_to_tuples(value) for name, value in line.items()}
        return cls(
            **values,
            origin=plugin_source.origin,
            path=str(plugin_source.path),
            plugin_source=plugin_source,
        )


_NOT_CACHED = ("origin", "path", "plugin_source", "members")
_SUITE_TUPLES = ("datasets", "architectures", "signals", "choosing", "confirming", "probes")


def describe(record: Any, plugin_source: PluginSource, code: CodeFacts) -> PluginEntry:
    """Return the entry of a valid record.

    Args:
        record: one that passed `membench.registry.validation.first_error`.
        plugin_source: the plugin that registers it.
        code: of that plugin; the docstring stands in where the record has no summary or source.
    """
    return PluginEntry(
        kind=KIND_BY_TYPE[type(record)],
        name=record.name,
        summary=short(one_line(record.summary).removesuffix(".") or code.docstring.summary),
        source=short(one_line(record.source) or code.docstring.citation, MAX_SOURCE),
        origin=plugin_source.origin,
        path=str(plugin_source.path),
        version=record.version,
        code_hash=code.code_hash,
        helpers=code.helpers,
        plugin_source=plugin_source,
        **_kind_fields(record),
    )


def describe_private_records(
    study: Study,
    plugin_source: PluginSource,
    files: PluginFiles,
    code: CodeFacts,
) -> Iterator[tuple[Any, PluginEntry]]:
    """Yield each record that is private to a study, with its entry.

    Args:
        study: a valid study.
        plugin_source: the plugin that registers it.
        files: of that plugin.
        code: what is known of them.
    """
    for record in study.records:
        entry = describe(record, plugin_source, code)
        yield (
            record,
            replace(
                entry,
                code_hash=private_record_hash(record, files),
                study=study.name,
                file_hash=code.code_hash,
            ),
        )


def _kind_fields(record: Any) -> dict[str, Any]:
    """Return the fields of `PluginEntry` that only records of this kind have."""
    if isinstance(record, Regularizer):
        return {
            "group": record.group,
            "acts_on": record.acts_on,
            "strengths": tuple((float(strength),) for strength in record.strengths),
            "off": (float(record.off),),
            "limits": (None if record.limit is None else float(record.limit),),
            "redraw": bool(record.redraw),
            "has_skip": record.skip is not None,
        }
    if isinstance(record, Composite):
        settings = [tuple(float(strength) for strength in row) for row in record.strengths]
        return {"strengths": tuple(settings)}
    if isinstance(record, Architecture):
        return {"recipe": asdict(record.recipe)}
    if isinstance(record, Dataset):
        return {
            "has_fetch": record.fetch is not None,
            "shape": tuple(record.shape or ()),
            "num_classes": record.num_classes or 0,
        }
    if isinstance(record, Signal):
        return {
            "noise": record.noise,
            "acts_on": (record.noise,) if record.noise else (),
            "levels": record.levels,
            "has_fetch": record.fetch is not None,
        }
    if isinstance(record, Suite):
        return {"suite": _suite_fields(record)}
    if isinstance(record, Study):
        return {"group": short(record.figure)}
    return {}


def _suite_fields(suite: Suite) -> dict[str, Any]:
    """Return the fields of a suite that the entry itself does not have, JSON-ready."""
    fields: dict[str, Any] = {}
    for name in _SUITE_TUPLES:
        fields[name] = list(getattr(suite, name))
    fields["splits"] = {dataset: asdict(split) for dataset, split in suite.splits.items()}
    fields["recipes"] = {}
    for (dataset, architecture), recipe in suite.recipes.items():
        fields["recipes"][f"{dataset}/{architecture}"] = asdict(recipe)
    fields["width"] = suite.width
    fields["compiled"] = suite.compiled
    fields["uncalibrated"] = dict(suite.uncalibrated)
    return fields


def suite_of(entry: PluginEntry) -> Suite:
    """Return the suite that an entry describes, without importing its plugin."""
    fields = dict(entry.suite)
    for name in _SUITE_TUPLES:
        fields[name] = tuple(fields[name])
    fields["splits"] = {name: Split(**split) for name, split in fields["splits"].items()}
    recipes = {}
    for task, recipe in fields["recipes"].items():
        dataset, architecture = task.split("/")
        recipes[dataset, architecture] = Recipe(**recipe)
    fields["recipes"] = recipes
    return Suite(
        name=entry.name,
        summary=entry.summary,
        source=entry.source,
        version=entry.version,
        **fields,
    )


def _lists_to_tuples(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(_lists_to_tuples(item) for item in value)
    return value

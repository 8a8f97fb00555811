"""From a plugin's file to its records, and to the plain data that describes them; the only place that imports plugins.

The registry calls `read` for a file that the cache does not know, and `PluginEntry.load` when a record is to run.
"""

from __future__ import annotations

import ast
import contextlib
import hashlib
import importlib
import os
import re
import sys
import traceback
from collections.abc import Iterable
from collections.abc import Iterator
from dataclasses import asdict
from dataclasses import dataclass
from dataclasses import field
from dataclasses import replace
from functools import reduce
from importlib.machinery import ModuleSpec
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec
from typing import Any

import pluggy

from membench.api import PROJECT
from membench.api import Spec
from membench.errors import ExitCode
from membench.errors import MembenchError
from membench.registry.cache import PluginCache
from membench.registry.discovery import PluginProblem
from membench.registry.discovery import Source
from membench.registry.entry import kind_fields
from membench.registry.fingerprint import code_hash
from membench.registry.fingerprint import parse_docstring
from membench.registry.fingerprint import private_record_hash
from membench.registry.validation import KINDS
from membench.registry.validation import first_error
from membench.studies import Study
from membench.text import one_line


@dataclass(frozen=True)
class PluginEntry:
    """What is known of one record without importing its plugin: plain data, which the cache keeps."""

    kind: str  #: "regularizers", "architectures", "datasets", "signals", "probes" or "studies"
    name: str
    group: str = ""  #: of regularizers; "baseline" is `none`, "composition" is `a+b`; of studies the paper's figure
    summary: str = ""
    source: str = ""
    origin: str = ""  #: file or distribution, for people
    path: str = ""  #: the defining file
    acts_on: tuple[str, ...] = ()  #: stages; for signals what they make noisy
    strengths: tuple[tuple[float, ...], ...] = ()  #: from weak to strong; one float a part
    off: tuple[float, ...] = ()  #: one float a part
    full: tuple[
        tuple[float, ...], ...
    ] = ()  #: of a composition on request: all strengths of its parts with each other
    version: int = 1
    code_hash: str = (
        ""  #: SHA-256 of the defining file's syntax tree; of a composition, of its parts' hashes
    )
    study: str = ""  #: the study that keeps the record to itself; "" = everybody may use it
    file_hash: str = ""  #: of all of the defining file, where `code_hash` is of a part of it
    noise: str | None = None
    recipe: dict[str, Any] = field(default_factory=dict)
    redraw: bool = False
    has_skip: bool = False
    has_fetch: bool = False
    where: Source | None = field(
        default=None, repr=False
    )  #: how to import it; None for `none` and compositions
    members: tuple[PluginEntry, ...] = field(
        default=(), repr=False
    )  #: of a composition, in their order

    @property
    def parts(self) -> tuple[str, ...]:
        """The names that a composition joins; () for all else."""
        return tuple(self.name.split("+")) if "+" in self.name else ()

    def load(self) -> tuple[Any, ...]:
        """The live records: one, a composition's in order, or none for `none`. Imports the plugin at the first call.

        Raises:
            MembenchError: the plugin cannot be imported any more, or is no longer what it was when the plan was made.
        """
        if self.members:
            return tuple(record for member in self.members for record in member.load())
        return (_live(self, self.where),) if self.where else ()

    def to_json(self) -> dict[str, Any]:
        """What the cache keeps: all but where it came from, which depends on the working folder."""
        return {k: v for k, v in asdict(replace(self, where=None)).items() if k not in _PLACE}

    @classmethod
    def from_json(cls, line: dict[str, Any], where: Source) -> PluginEntry:
        """The inverse of `to_json`, at the place where the plugin was found this time."""
        values = {k: _tuples(v) for k, v in line.items()}
        return cls(**values, origin=where.origin, path=str(where.path), where=where)


_PLACE = ("origin", "path", "where", "members")
#: Records by source and code hash. A process imports a plugin once: compiled programs know functions by identity.
_imported: dict[tuple[str, str], tuple[Any, ...]] = {}


class _Refused(Exception):
    """What is wrong with a plugin, in a sentence that holds the fix."""


def read(source: Source) -> tuple[list[PluginEntry], list[PluginProblem]]:
    """Import a plugin; what is sound of it, and what is not."""
    try:
        code = source.path.read_bytes()
        tree = ast.parse(code)
        found = [
            (record, first_error(record)) for record in _records(source, code, code_hash(tree))
        ]
        sound = [record for record, wrong in found if wrong is None]
        entries = [entry for _, entry in _entries(sound, source, tree, parse_docstring(tree))]
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # whatever a stranger's file does, the others must go on
        return [], [PluginProblem(source.label, _explained(error, source))]
    return entries, [PluginProblem(source.label, wrong) for _, wrong in found if wrong]


def _live(entry: PluginEntry, source: Source) -> Any:
    """The record that the entry describes, if the plugin still gives it."""
    key = (source.key, entry.file_hash or entry.code_hash)
    if key not in _imported:
        _, problems = read(source)
        if problems and key not in _imported:
            raise MembenchError(str(problems[0]), ExitCode.FAILED)
    sound = [record for record in _imported.get(key, ()) if first_error(record) is None]
    tree = ast.parse(source.path.read_bytes()) if entry.study else ast.Module([], [])
    for record, known in _entries(sound, source, tree, (entry.summary, entry.source), key[1]):
        if known == entry:
            return record
    cache = PluginCache.open()
    cache.forget(source.key)
    cache.save()
    raise MembenchError(
        f"{source.label}: {entry.name} has changed since it was read; start again", ExitCode.FAILED
    )


def _records(source: Source, code: bytes, stamp: str) -> tuple[Any, ...]:
    key = (source.key, stamp)
    if key not in _imported:
        with contextlib.redirect_stdout(sys.stderr):  # stdout may be for JSON
            _imported[key] = tuple(_registered(_import(source, code)))
    return _imported[key]


def _import(source: Source, code: bytes) -> Any:
    """A module by its name; a file under a name of its own, from the very bytes that are hashed."""
    if source.module:
        module = importlib.import_module(source.module)
        return reduce(getattr, source.attr.split("."), module) if source.attr else module
    tag = hashlib.sha256(os.fsencode(source.path) + b"\0" + code).hexdigest()[:12]
    name = f"membench_plugin_{re.sub(r'[^0-9A-Za-z]', '_', source.path.stem)}_{tag}"
    module = module_from_spec(
        ModuleSpec(name, SourceFileLoader(name, str(source.path)), origin=str(source.path))
    )
    module.__file__ = str(source.path)
    sys.modules[name] = module  # dataclasses and pickle look a class's module up
    try:
        exec(compile(code, str(source.path), "exec", dont_inherit=True), module.__dict__)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _registered(plugin: Any) -> Iterator[Any]:
    """All that a plugin's hook returns. A manager for each: pluggy would not say whose result is whose."""
    manager = pluggy.PluginManager(PROJECT)
    manager.add_hookspecs(Spec)
    try:
        manager.register(plugin)
    except pluggy.PluginValidationError as error:
        raise _Refused("its hook has arguments; write `def register():`") from error
    callers = manager.get_hookcallers(plugin)
    if not callers:
        raise _Refused(
            "has no @hookimpl; write it above `def register():`, or let a helper's file name start with _"
        )
    for caller in callers:
        if not caller.has_spec():
            raise _Refused(
                f"@hookimpl is on {caller.name}(), but the only hook is register(); rename the function"
            )
    results = manager.hook.register()
    if not results:
        raise _Refused("register() returned None; return a list of records")
    for records in results:
        if isinstance(records, str) or not isinstance(records, Iterable):
            raise _Refused(
                f"register() returned one {type(records).__name__}; return a list of records"
            )
        yield from records


def _explained(error: BaseException, source: Source) -> str:
    if isinstance(error, _Refused):
        return str(error)
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if frame.filename == str(source.path)]
    line = error.lineno if isinstance(error, SyntaxError) else lines[-1] if lines else None
    what = one_line(traceback.format_exception_only(error)[-1])
    what = (
        "it calls sys.exit"
        if isinstance(error, SystemExit)
        else what
        if len(what) < 300
        else f"{what[:300]} ..."
    )
    return (
        f"cannot be loaded: {f'line {line}: ' if line else ''}{what}; mend the file or take it out"
    )


def _entries(
    records: list[Any], source: Source, tree: ast.Module, default: tuple[str, str], stamp: str = ""
) -> Iterator[tuple[Any, PluginEntry]]:
    """Each record with its plain data, and after a study the records that it keeps to itself."""
    stamp = stamp or code_hash(tree)
    for record in records:
        yield record, _entry(record, source, stamp, default)
        for own in record.records if isinstance(record, Study) and tree.body else ():
            entry = _entry(own, source, private_record_hash(own, tree), default)
            yield own, replace(entry, study=record.name, file_hash=stamp)


def _entry(record: Any, source: Source, stamp: str, default: tuple[str, str]) -> PluginEntry:
    """The plain data of a sound record; `default` is its summary and source where it gives none."""
    return PluginEntry(
        kind=KINDS[type(record)],
        name=record.name,
        summary=one_line(record.summary).removesuffix(".") or default[0],
        source=one_line(record.source) or default[1],
        origin=source.origin,
        path=str(source.path),
        version=record.version,
        code_hash=stamp,
        where=source,
        **kind_fields(record),
    )


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list) else value

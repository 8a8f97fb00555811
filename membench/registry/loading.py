"""Import plugins: from a plugin's file to the records that it registers.

No other module imports plugins. `read_plugin` gives the entries of a plugin, in a child of its own
as `membench.registry.apart` calls it; `load_records` gives the live records of an entry when they
are to run.
"""

from __future__ import annotations

import contextlib
import difflib
import importlib
import inspect
import re
import sys
import traceback
from collections.abc import Iterable
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pluggy

import membench
from membench.api import PROJECT
from membench.api import Spec
from membench.errors import ExitCode
from membench.errors import InputsChangedError
from membench.errors import MembenchError
from membench.registry.cache import PluginCache
from membench.registry.discovery import PluginProblem
from membench.registry.discovery import PluginSource
from membench.registry.entry import PluginEntry
from membench.registry.entry import describe
from membench.registry.entry import describe_private_records
from membench.registry.file_modules import execute
from membench.registry.fingerprint import CodeFacts
from membench.registry.fingerprint import Docstring
from membench.registry.local_files import PluginFiles
from membench.registry.local_files import read_plugin_files
from membench.registry.validation import first_error
from membench.studies import Study
from membench.text import short

#: Records by (source key, code hash). A process imports a plugin once: compiled programs know
#: functions by identity.
_imported: dict[tuple[str, str], tuple[Any, ...]] = {}


def read_plugin(source: PluginSource) -> tuple[list[PluginEntry], list[PluginProblem]]:
    """Import a plugin; return the entries of its valid records, and the problems of the others."""
    entries: list[PluginEntry] = []
    problems: list[PluginProblem] = []
    try:
        code = source.path.read_bytes()
        files = read_plugin_files(source.path, code)
        facts = CodeFacts.of(files)
        for record in _import_records(source, code, files, facts.code_hash):
            error = first_error(record)
            if error is not None:
                problems.append(PluginProblem(source.label, error))
                continue
            entries.append(describe(record, source, facts))
            if isinstance(record, Study):
                private = describe_private_records(record, source, files, facts)
                entries += [entry for _, entry in private]
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # whatever a foreign file does, the other plugins must go on
        return [], [PluginProblem(source.label, import_problem(error, source))]
    return entries, problems


def load_records(entry: PluginEntry) -> tuple[Any, ...]:
    """Return the live records of an entry, importing the plugin at the first call.

    Returns:
        One record; of a composition those of its parts, in order; of `none` no record.

    Raises:
        InputsChangedError: the plugin has changed since it was read.
        MembenchError: it cannot be imported any more.
    """
    if entry.members:
        records: list[Any] = []
        for member in entry.members:
            records += load_records(member)
        return tuple(records)
    if entry.plugin_source is None:
        return ()
    return (_load_record(entry, entry.plugin_source),)


def _load_record(entry: PluginEntry, source: PluginSource) -> Any:
    """Return the record that the entry describes, if the plugin still registers it."""
    file_hash = entry.file_hash or entry.code_hash
    key = (source.key, file_hash)
    if key not in _imported:
        _, problems = read_plugin(source)
        if problems and key not in _imported:
            raise MembenchError(str(problems[0]), ExitCode.FAILED)
    valid = [record for record in _imported.get(key, ()) if first_error(record) is None]
    for record, described in _described_like(entry, source, valid, file_hash):
        if described == entry:
            return record
    cache = PluginCache.open()
    cache.forget(source.key)
    cache.save()
    raise InputsChangedError(f"{source.label}: {entry.name} has changed since it was read")


def _described_like(
    entry: PluginEntry, source: PluginSource, records: list[Any], file_hash: str
) -> Iterator[tuple[Any, PluginEntry]]:
    """Yield the records that may be the entry's, each with the entry that describes it now."""
    facts = CodeFacts(
        code_hash=file_hash,
        helpers=entry.helpers,
        docstring=Docstring(summary=entry.summary, citation=entry.source),
    )
    if not entry.study:
        for record in records:
            yield record, describe(record, source, facts)
        return
    files = read_plugin_files(source.path)
    for record in records:
        if isinstance(record, Study):
            yield from describe_private_records(record, source, files, facts)


def import_module(source: PluginSource) -> Any:
    """Import what registers nothing, but is found as plugins are: an observer.

    Raises:
        MembenchError: it cannot be imported; names the line.
    """
    try:
        code = source.path.read_bytes()
        with contextlib.redirect_stdout(sys.stderr):  # stdout may be for JSON
            return _import_plugin(source, code, read_plugin_files(source.path, code))
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # whatever a foreign file does, the user sees one line
        raise MembenchError(f"{source.label}: {import_problem(error, source)}") from error


class _InvalidPlugin(Exception):
    """A fault of a plugin, in a sentence that says how to correct it."""


def _import_records(
    source: PluginSource, code: bytes, files: PluginFiles, file_hash: str
) -> tuple[Any, ...]:
    """Return the records that the plugin registers; import it unless this code already was.

    Args:
        source: where it is.
        code: its file's text.
        files: its file's tree, and the local files that it imports.
        file_hash: of all of that code.
    """
    key = (source.key, file_hash)
    if key not in _imported:
        with contextlib.redirect_stdout(sys.stderr):  # stdout may be for JSON
            _imported[key] = tuple(_registered_records(_import_plugin(source, code, files)))
    return _imported[key]


def _import_plugin(source: PluginSource, code: bytes, files: PluginFiles) -> Any:
    """Return the module or object that has the hook."""
    if not source.module:
        return execute(files, code)
    plugin: Any = importlib.import_module(source.module)
    if source.attr:
        for name in source.attr.split("."):
            plugin = getattr(plugin, name)
    return plugin


def _registered_records(plugin: Any) -> Iterator[Any]:
    """Yield the plugin's records.

    Each plugin gets its own PluginManager because pluggy does not attribute results.
    """
    manager = pluggy.PluginManager(PROJECT)
    manager.add_hookspecs(Spec)
    try:
        manager.register(plugin)
    except pluggy.PluginValidationError as error:
        raise _InvalidPlugin("its hook has arguments; write `def register():`") from error
    callers = manager.get_hookcallers(plugin)
    if not callers:
        raise _InvalidPlugin(
            "has no @hookimpl; write it above `def register():`, "
            "or let a helper's file name start with _"
        )
    for caller in callers:
        if not caller.has_spec():
            raise _InvalidPlugin(
                f"@hookimpl is on {caller.name}(), but the only hook is register(); "
                "rename the function, or give an observer with --observer, from another folder"
            )
    results = manager.hook.register()
    if not results:
        raise _InvalidPlugin("register() returned None; return a list of records")
    for records in results:
        if isinstance(records, str) or not isinstance(records, Iterable):
            raise _InvalidPlugin(
                f"register() returned one {type(records).__name__}; return a list of records"
            )
        yield from records


def import_problem(error: BaseException, source: PluginSource) -> str:
    """Say in one line why a plugin cannot be imported, and where in its file."""
    if isinstance(error, _InvalidPlugin):
        return str(error)
    if isinstance(error, SystemExit):
        reason = "it calls sys.exit"
    elif isinstance(error, SyntaxError) and _is_elsewhere(error, source.path):
        reason = short(f"SyntaxError: {error}")  # names the file
    else:
        reason = _unknown_field(error) or short(traceback.format_exception_only(error)[-1])
    line = _line_number(error, source.path)
    place = f"line {line}: " if line else ""
    return f"cannot be loaded: {place}{reason}; correct the file or remove it"


def _unknown_field(error: BaseException) -> str:
    """Say which field a record does not have, and which one may be meant; "" for other errors."""
    match = re.search(r"(\w+)\.__init__\(\) got an unexpected keyword argument '(\w+)'", str(error))
    record = getattr(membench, match[1], None) if match else None
    if match is None or record is None:
        return ""
    fields = list(inspect.signature(record).parameters)
    near = difflib.get_close_matches(match[2], fields, n=1, cutoff=0.6)
    hint = f"did you mean {near[0]}?" if near else f"it takes {', '.join(fields)}"
    return f"{match[1]} has no field {match[2]!r}: {hint}"


def _line_number(error: BaseException, path: Path) -> int | None:
    """Return the line of the file that the error comes from, if it comes from there."""
    if isinstance(error, SyntaxError) and not _is_elsewhere(error, path):
        return error.lineno
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if frame.filename == str(path):
            return frame.lineno
    return None


def _is_elsewhere(error: SyntaxError, path: Path) -> bool:
    """Tell whether the error is in another file that the plugin's file imports."""
    return error.filename not in (None, "<unknown>", str(path))

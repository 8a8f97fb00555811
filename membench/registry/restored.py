"""Believe of what a child says about a stranger's file only what a plugin may say.

The file was imported in that child and may have written its answer. So each entry is made again
here: from a record that stands in for the child's and passes the same checks, and from the text of
the file, whose hash nobody else is asked for.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from membench.api import STAGES
from membench.api import Architecture
from membench.api import Composite
from membench.api import Dataset
from membench.api import Optimizer
from membench.api import Recipe
from membench.api import Regularizer
from membench.api import Signal
from membench.probes import Probe
from membench.registry.discovery import PluginSource
from membench.registry.entry import PluginEntry
from membench.registry.entry import describe
from membench.registry.entry import suite_of
from membench.registry.fingerprint import CodeFacts
from membench.registry.local_files import read_plugin_files
from membench.registry.validation import NAME
from membench.registry.validation import first_error


def restore_entries(lines: Iterable[dict[str, Any]], source: PluginSource) -> list[PluginEntry]:
    """Make the entries of a file again from what was said of them.

    Args:
        lines: from `PluginEntry.to_json`, or anything else.
        source: the file, which is read and not run.

    Raises:
        Exception: of any kind; they are not what a plugin may say, or the file cannot be read.
    """
    code = CodeFacts.of(read_plugin_files(source.path))
    return [_restore(PluginEntry.from_json(line, source), source, code) for line in lines]


def _restore(entry: PluginEntry, source: PluginSource, code: CodeFacts) -> PluginEntry:
    if entry.kind == "studies":
        return _restored_study(entry, source, code)
    record = _stand_in(entry)
    error = first_error(record)
    if error is not None:
        raise ValueError(error)
    restored = describe(record, source, code)
    if not entry.study:
        return restored
    if not NAME.fullmatch(entry.study) or not re.fullmatch("[0-9a-f]{64}", entry.code_hash):
        raise ValueError(f"{entry.name} is private to no study")
    # Which part of the file the record depends on is known where it was imported.
    return replace(restored, code_hash=entry.code_hash, study=entry.study, file_hash=code.code_hash)


def _restored_study(entry: PluginEntry, source: PluginSource, code: CodeFacts) -> PluginEntry:
    """Make the entry of a study again; what it plans is in no entry."""
    if not NAME.fullmatch(entry.name) or type(entry.version) is not int:
        raise ValueError("a study has no legal name or version")
    stand_in = Dataset(entry.name, _nothing, None, entry.summary, entry.source, entry.version)
    described = describe(stand_in, source, code)
    return replace(described, kind="studies", has_fetch=False, group=str(entry.group)[:100])


def _nothing(*_: Any) -> Any:
    raise AssertionError("it stands in for a function of a plugin")


def _stand_in(entry: PluginEntry) -> Any:
    """Return a record that is described as the entry is, without its functions."""
    shared: dict[str, Any] = {
        "summary": entry.summary,
        "source": entry.source,
        "version": entry.version,
    }
    fetch = _nothing if entry.has_fetch else None
    if entry.kind == "regularizers" and "+" in entry.name:
        return Composite(entry.name, entry.strengths, **shared)
    if entry.kind == "regularizers":
        (off,), (limit,) = entry.off, entry.limits
        stages: dict[str, Any] = {stage: _nothing for stage in STAGES if stage in entry.acts_on}
        return Regularizer(
            entry.name,
            strengths=tuple(strength for (strength,) in entry.strengths),
            off=off,
            limit=limit,
            group=entry.group,
            redraw=entry.redraw,
            skip=_nothing if entry.has_skip else None,
            **stages,
            **shared,
        )
    if entry.kind == "architectures":
        return Architecture(entry.name, _nothing, recipe=Recipe(**entry.recipe), **shared)
    if entry.kind == "datasets":
        shape: Any = entry.shape or None
        classes = entry.num_classes or None
        return Dataset(
            entry.name, _nothing, fetch=fetch, shape=shape, num_classes=classes, **shared
        )
    if entry.kind == "signals":
        return Signal(
            entry.name, _nothing, noise=entry.noise, levels=entry.levels, fetch=fetch, **shared
        )
    if entry.kind == "optimizers":
        return Optimizer(entry.name, _nothing, _nothing, **shared)
    if entry.kind == "probes":
        return Probe(entry.name, _nothing, **shared)
    if entry.kind == "suites":
        return suite_of(entry)
    raise ValueError(f"there is no kind {entry.kind!r}")

"""The shipped suites by name, and a registry that also finds `tests/support/tiny_suite.py`."""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from membench.planning.suites import PlannedSuite
from membench.planning.suites import narrow
from membench.registry.discovery import Found
from membench.registry.discovery import PluginSource
from membench.registry.discovery import find_sources
from membench.registry.entry import suite_of
from membench.registry.loading import read_plugin
from support.cli import REPO

TINY = Path(__file__).with_name("tiny_suite.py").resolve()


@cache
def shipped_suite(name: str) -> PlannedSuite:
    """Return a suite of `plugins/suites/` as it is planned when nothing is narrowed."""
    path = REPO / "plugins" / "suites" / f"{name.replace('-', '_')}.py"
    ((entry,), _) = read_plugin(PluginSource(path, origin="membench"))
    return narrow(suite_of(entry))


def sources_and_tiny(requested: Iterable[str], folder: Path, shipped: Path) -> Iterator[Found]:
    """Do as `find_sources` does, and yield the suite `tiny` too."""
    yield from find_sources(requested, folder, shipped)
    yield PluginSource(TINY, origin="tests")

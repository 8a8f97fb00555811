"""`membench show NAME`: all that is known of a plugin, and its rows on the boards."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from membench.commands import session
from membench.commands.columns import print_columns
from membench.commands.list import report_problems
from membench.commands.report import read_scores
from membench.errors import unknown_name
from membench.registry.entry import PluginEntry
from membench.registry.entry import suite_of
from membench.registry.registry import KINDS
from membench.registry.registry import Registry
from membench.registry.validation import singular
from membench.text import display_path
from membench.text import one_line

PATHS = ("from", "file", "also")  #: facts that are paths
NUMBERS = ("H", "real dA", "R", "rank H", "rank R", "claim")  #: columns of a row on a board


def show(options: argparse.Namespace) -> int:
    """Print what is known of the plugins of a name, of every kind.

    Returns:
        0; 1 if plugins could not be read.

    Raises:
        MembenchError: there is none of this name.
    """
    registry = session.load_registry(options)
    entries = _entries(registry, options.name)
    console = Console(highlight=False)
    scores = read_scores(options.out)
    for entry in entries:
        console.print(Text(f"{singular(entry.kind)} {one_line(entry.name)}", style="bold"))
        _print_facts(console, entry)
        if entry.kind == "regularizers":
            _print_rows(console, entry.name, scores)
    return report_problems(registry)


def _entries(registry: Registry, name: str) -> list[PluginEntry]:
    """Return the entries of a name; a composition need not be registered."""
    found = [getattr(registry, kind)[name] for kind in KINDS if name in getattr(registry, kind)]
    if not found and "+" in name:
        found = [registry.with_composition(name).regularizers[name]]
    if not found:
        known: set[str] = set()
        for kind in KINDS:
            known |= getattr(registry, kind).keys()
        raise unknown_name("plugin", name, known, "membench list")
    return found


def _print_facts(console: Console, entry: PluginEntry) -> None:
    """Print a plugin's facts, without those that it does not have.

    Text is wrapped, but a path never is: who copies it gets all of it.
    """
    facts: dict[str, str] = {
        "what": entry.summary,
        "source": entry.source,
        "group": entry.group,
        "acts on": ", ".join(entry.acts_on),
        **_facts_of_kind(entry),
        "from": session.plugin_origin(entry),
        "file": display_path(entry.path) if entry.path else "",
        "also": ", ".join(display_path(path) for path in entry.paths[1:]),
        "version": str(entry.version),
        "code": entry.code_hash[:12],
    }
    width = 4 + max(len(name) for name, value in facts.items() if value)
    for name, value in facts.items():
        label, text = Text(f"  {name}".ljust(width), style="dim"), Text(one_line(value))
        if value and name in PATHS:
            console.print(label + text, soft_wrap=True)
        elif value:
            line = Table.grid()
            line.add_column(width=width, no_wrap=True)
            line.add_column(overflow="fold")
            line.add_row(label, text)
            console.print(line)


def _facts_of_kind(entry: PluginEntry) -> dict[str, str]:
    """Return the facts that only one kind of plugin has."""
    if entry.kind == "regularizers":
        strengths = [_strength(strength) for strength in entry.strengths]
        facts = {"strengths": ", ".join(strengths), "off": _strength(entry.off)}
        if any(limit is not None for limit in entry.limits):
            limits = ["-" if limit is None else f"{limit:g}" for limit in entry.limits]
            facts["limit"] = ", ".join(limits)
        return facts
    if entry.kind == "architectures":
        return {"recipe": ", ".join(f"{name} {value}" for name, value in entry.recipe.items())}
    if entry.kind == "signals":
        levels = ""
        if isinstance(entry.levels, tuple):
            levels = ", ".join(f"{entry.name}@{level}" for level in entry.levels)
        elif entry.levels:
            levels = f"{entry.name}@0.4, any share"
        fetch = f"membench data fetch {entry.name}" if entry.has_fetch else ""
        return {"levels": levels, "get it": fetch}
    if entry.kind == "datasets":
        fetch = f"membench data fetch {entry.name}"
        return {"get it": fetch if entry.has_fetch else "ships inside a package"}
    if entry.kind == "suites":
        suite = suite_of(entry)
        return {
            "data sets": ", ".join(suite.datasets),
            "networks": ", ".join(suite.architectures),
            "signals": ", ".join(suite.signals),
            "seeds": f"{len(suite.choosing)} to choose by, {len(suite.confirming)} to confirm",
        }
    return {}


def _strength(strength: Iterable[float]) -> str:
    """Write a strength, `0.5`, or that of a composition, `0.5,0.3`."""
    return ",".join(f"{value:.6g}" for value in strength)


def _print_rows(console: Console, name: str, scores: Mapping[Path, Mapping[str, Any]]) -> None:
    """Print the rows of a regularizer on the boards, or that it has none."""
    rows = []
    for folder, suites in scores.items():
        for suite, board in suites.items():
            row = board["entries"].get(name) or board["controls"].get(name)
            if row is not None:
                rows.append([str(folder), suite, *_cells(row)])
    if rows:
        console.print()
        print_columns(console, ("board", "suite", *NUMBERS), rows, right=NUMBERS)
    elif scores:
        boards = ", ".join(str(folder) for folder in scores)
        console.print(Text(f"  no ranked row yet ({boards})", style="dim"))


def _cells(row: Mapping[str, Any]) -> list[str]:
    """Write the numbers of a row as they stand on the page."""
    cells = []
    for name, sign in (("H", ""), ("dA", "+"), ("R", "+")):
        half = row.get(f"{name}_half")
        cells.append(f"{row[name]:{sign}.2f}" + ("" if half is None else f" ± {half:.2f}"))
    for name in ("rank_H", "rank_R"):
        rank = row.get(name)
        cells.append("" if rank is None else "-".join(str(end) for end in dict.fromkeys(rank)))
    claim = row.get("claim")
    cells.append("" if claim is None else "holds" if claim else "no")
    return cells

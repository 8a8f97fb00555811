"""`membench list`: all plugins and suites, as tables or as JSON for other programs.

The other commands report plugins that could not be read with the functions below.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

from rich.box import Box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from membench.commands import session
from membench.errors import ExitCode
from membench.planning.plan import Plan
from membench.registry.discovery import PluginProblem
from membench.registry.entry import PluginEntry
from membench.registry.entry import suite_of
from membench.registry.registry import KINDS
from membench.registry.registry import Registry
from membench.text import one_line

#: The only rule of a table is below its headings.
_RULE_BELOW_HEADINGS = Box("    \n    \n ── \n    \n    \n    \n    \n    \n")


def list_plugins(options: argparse.Namespace) -> int:
    """Print what can be run.

    Returns:
        0; 1 if plugins could not be read.
    """
    registry = session.load_registry(options)
    print_plugins(registry, as_json=options.json)
    return ExitCode.FAILED if registry.problems else ExitCode.OK


def print_plugins(registry: Registry, as_json: bool) -> None:
    """Print what can be run on stdout, as tables or one JSON object; what was refused on stderr."""
    if as_json:
        print(json.dumps(as_dict(registry), indent=1))
    else:
        _print_tables(registry)
    print_problems(registry.problems)


def print_problems(problems: Iterable[PluginProblem]) -> None:
    """Print problems in red on stderr.

    Each is one line that is not wrapped, so that it can be searched and copied.
    """
    console = Console(stderr=True)
    for problem in problems:
        console.print(Text(str(problem), style="red"), soft_wrap=True)


def report_problems(*sources: Registry | Plan) -> ExitCode:
    """Print what registries and plans refused; FAILED if there is anything."""
    problems: list[PluginProblem] = []
    for source in sources:
        problems += source.problems
    print_problems(problems)
    return ExitCode.FAILED if problems else ExitCode.OK


def as_dict(registry: Registry) -> dict[str, list[dict[str, Any]]]:
    """Return everything in plain JSON types, by kind, sorted by group and name.

    Infinity, which JSON does not have, is "inf".
    """
    shown = {}
    for kind in KINDS:
        shown[kind] = [_plugin_dict(entry) for entry in _sorted_entries(registry, kind)]
    return shown


def _sorted_entries(registry: Registry, kind: str) -> list[PluginEntry]:
    return sorted(getattr(registry, kind).values(), key=lambda entry: (entry.group, entry.name))


def _plugin_dict(entry: PluginEntry) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "name": one_line(entry.name),
        "group": one_line(entry.group),
        "summary": one_line(entry.summary),
        "source": one_line(entry.source),
        "origin": one_line(entry.origin),
        "acts_on": list(entry.acts_on),
    }
    if entry.kind == "suites":
        shown["version"] = entry.version
        shown |= entry.suite
    if entry.kind == "regularizers":
        shown["strengths"] = []
        for strength in entry.strengths:
            shown["strengths"].append([_json_number(value) for value in strength])
    return shown


def _json_number(value: float) -> float | str:
    """Return the number, or its name where JSON has none for it."""
    return value if math.isfinite(value) else str(value)


def _print_tables(registry: Registry) -> None:
    console = Console()
    for kind in KINDS:
        entries = _sorted_entries(registry, kind)
        console.print(Text(f"{len(entries)} {kind}", style="bold"))
        table = _suite_table if kind == "suites" else _plugin_table
        console.print(table(entries, console.width))
        console.print()


def _plugin_table(entries: Iterable[PluginEntry], width: int) -> Table:
    rows = []
    for entry in entries:
        # Not the path of what ships with membench: it would take the room of the summaries.
        origin = session.plugin_origin(entry)
        rows.append(
            {
                "name": _text(entry.name),
                "group": _text(entry.group),
                "acts on": _text(*entry.acts_on),
                "summary": _text(entry.summary),
                "origin": _text(origin),
            }
        )
    return _table(("name", "group", "acts on", "summary", "origin"), rows, width)


def _suite_table(entries: Iterable[PluginEntry], width: int) -> Table:
    rows = []
    for entry in entries:
        suite = suite_of(entry)
        origin = session.plugin_origin(entry)
        rows.append(
            {
                "name": _text(entry.name),
                "summary": _text(entry.summary),
                "data sets": _text(*suite.datasets),
                "architectures": _text(*suite.architectures),
                "signals": _text(*suite.signals),
                "seeds": _text(f"{len(suite.choosing)} + {len(suite.confirming)}"),
                # Only where it says something: the table has more columns than the others.
                "origin": _text("" if origin == "membench" else origin),
            }
        )
    columns = ("name", "summary", "data sets", "architectures", "signals", "seeds", "origin")
    return _table(columns, rows, width)


def _text(*lines: str) -> Text:
    """Return the lines as `Text`, in which a plugin's words are no markup."""
    return Text("\n".join(one_line(line) for line in lines))


def _table(columns: Iterable[str], rows: Sequence[Mapping[str, Text]], width: int) -> Table:
    """Make a table in which names are never broken and the summary takes the remaining width.

    Args:
        columns: the headings; a column without any text is left out.
        rows: the text of each column.
        width: of the terminal.
    """
    table = Table(box=_RULE_BELOW_HEADINGS, padding=(0, 1, 0, 0), show_edge=False)
    used = []
    for column in columns:
        if column != "name" and not any(row[column] for row in rows):
            continue
        used.append(column)
        table.add_column(
            column,
            no_wrap=column in ("name", "group"),
            overflow="fold",
            ratio=1 if column == "summary" else None,
            max_width=width // 6 if column == "origin" else None,
        )
    for row in rows:
        table.add_row(*[row[column] for column in used])
    return table

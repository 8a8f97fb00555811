"""`membench list`: all plugins and suites, as tables or as JSON for other programs.

The other commands report plugins that could not be read with the functions below.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import replace
from typing import Any

from rich.box import Box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from membench.commands import session
from membench.errors import ExitCode
from membench.errors import MembenchError
from membench.errors import unknown_name
from membench.planning.plan import Plan
from membench.planning.select import compile_expression
from membench.registry.discovery import PluginProblem
from membench.registry.entry import PluginEntry
from membench.registry.entry import suite_of
from membench.registry.registry import KINDS
from membench.registry.registry import Registry
from membench.registry.validation import singular
from membench.text import one_line

#: The only rule of a table is below its headings.
_RULE_BELOW_HEADINGS = Box("    \n    \n ── \n    \n    \n    \n    \n    \n")


def list_plugins(options: argparse.Namespace) -> int:
    """Print what can be run.

    Returns:
        0; 1 if plugins could not be read.
    """
    registry = session.load_registry(options)
    kinds = [kind_named(options.kind)] if options.kind else list(KINDS)
    if options.expression:
        shown = Listing(registry, kinds, compile_expression(options.expression))
        shown = replace(shown, kinds=[kind for kind in kinds if shown.entries(kind)])
    else:
        shown = Listing(registry, kinds)
    in_full = bool(options.kind or options.expression)
    if not shown.kinds:
        print_problems(registry.problems)
        what = options.kind or "plugin"
        raise MembenchError(
            f"no {what} has {options.expression!r} in its name, group, stages or summary",
            ExitCode.NOTHING,
        )
    print_plugins(shown, as_json=options.json, in_full=in_full)
    return ExitCode.FAILED if registry.problems else ExitCode.OK


def kind_named(word: str) -> str:
    """Return the kind of plugin that a word names, as in the plural or in the singular.

    Raises:
        MembenchError: there is none.
    """
    for kind in KINDS:
        if word.lower() in (kind, singular(kind)):
            return kind
    raise unknown_name("kind of plugin", word, KINDS)


@dataclass(frozen=True)
class Listing:
    """The part of a registry that is shown."""

    registry: Registry
    kinds: Sequence[str] = KINDS
    matches: Callable[[str], bool] = lambda text: True  #: of name, group, stages and summary

    def entries(self, kind: str) -> list[PluginEntry]:
        """Return the shown entries of a kind, sorted by group and name."""
        shown = []
        for entry in getattr(self.registry, kind).values():
            words = (entry.name, entry.group, *entry.acts_on, entry.summary)
            if self.matches(" ".join(words).lower()):
                shown.append(entry)
        return sorted(shown, key=lambda entry: (entry.group, entry.name))


def print_plugins(listing: Listing, as_json: bool, in_full: bool = True) -> None:
    """Print what can be run on stdout; what was refused on stderr.

    Args:
        listing: what is shown.
        as_json: whether as one JSON object.
        in_full: whether as tables; else the names alone, on one screen.
    """
    if as_json:
        print(json.dumps(as_dict(listing), indent=1))
    elif in_full:
        _print_tables(listing)
    else:
        _print_names(listing)
    print_problems(listing.registry.problems)


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


def as_dict(listing: Listing) -> dict[str, list[dict[str, Any]]]:
    """Return what is shown in plain JSON types, by kind, sorted by group and name.

    Infinity, which JSON does not have, is "inf".
    """
    shown = {}
    for kind in listing.kinds:
        shown[kind] = [_plugin_dict(entry) for entry in listing.entries(kind)]
    return shown


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


def _print_names(listing: Listing) -> None:
    """Print the names of each kind, of regularizers by group, and how to see more."""
    console = Console(highlight=False)
    for kind in listing.kinds:
        entries = listing.entries(kind)
        console.print(Text(f"{len(entries)} {kind}", style="bold"))
        groups: dict[str, list[str]] = {}
        for entry in entries:
            group = entry.group if kind == "regularizers" else ""
            groups.setdefault(group, []).append(one_line(entry.name))
        table = Table.grid(padding=(0, 2))
        table.add_column(style="dim", no_wrap=True)
        table.add_column(overflow="fold")
        for group, names in groups.items():
            table.add_row(Text(f"  {one_line(group)}".rstrip()), Text(", ".join(names)))
        console.print(table)
    console.print(Text("membench list KIND, list -k EXPR and show NAME tell more", style="dim"))


def _print_tables(listing: Listing) -> None:
    console = Console()
    for kind in listing.kinds:
        entries = listing.entries(kind)
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

"""`membench list`: all plugins and suites as tables, or as JSON for other programs. The command line calls it."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.box import Box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from membench.errors import ExitCode
from membench.planning.plan import Plan
from membench.planning.suites import Suite
from membench.registry.discovery import PluginProblem
from membench.registry.discovery import shipped_folder
from membench.registry.entry import PluginEntry
from membench.registry.registry import KINDS
from membench.registry.registry import Registry
from membench.text import one_line

_RULE = Box(
    "    \n    \n ── \n    \n    \n    \n    \n    \n"
)  #: a line below the headings, and no other


def list_plugins(registry: Registry, suites: Mapping[str, Suite], as_json: bool) -> None:
    """Print what can be run on stdout, and what was refused on stderr."""
    if as_json:
        print(json.dumps(as_dict(registry, suites), indent=1))
    else:
        _print_tables(registry, suites)
    print_problems(registry.problems)


def print_problems(problems: Iterable[PluginProblem]) -> None:
    """One red line each, on stderr; a long one is not broken, so that it can be searched and copied."""
    console = Console(stderr=True)
    for problem in problems:
        console.print(Text(str(problem), style="red"), soft_wrap=True)


def report_problems(*who: Registry | Plan) -> ExitCode:
    """Print what was refused; FAILED if anything was."""
    problems = [problem for one in who for problem in one.problems]
    print_problems(problems)
    return ExitCode.FAILED if problems else ExitCode.OK


def _print_tables(registry: Registry, suites: Mapping[str, Suite]) -> None:
    console = Console()
    for kind in KINDS:
        entries = _sorted(registry, kind)
        console.print(
            Text(f"{len(entries)} {kind}", style="bold"),
            _plugin_table(entries, console.width),
            "",
            sep="\n",
        )
    console.print(Text(f"{len(suites)} suites", style="bold"))
    console.print(_suite_table([suites[name] for name in sorted(suites)], console.width))


def as_dict(registry: Registry, suites: Mapping[str, Suite]) -> dict[str, list[dict[str, Any]]]:
    """Everything in plain JSON types, by kind, sorted by group and name; infinity is written "inf"."""
    plugins = {kind: [_plugin(entry) for entry in _sorted(registry, kind)] for kind in KINDS}
    return {**plugins, "suites": [_suite(suites[name]) for name in sorted(suites)]}


def _sorted(registry: Registry, kind: str) -> list[PluginEntry]:
    return sorted(getattr(registry, kind).values(), key=lambda entry: (entry.group, entry.name))


def _plugin(entry: PluginEntry) -> dict[str, Any]:
    told = {
        field: one_line(getattr(entry, field))
        for field in ("name", "group", "summary", "source", "origin")
    }
    shown = {**told, "acts_on": list(entry.acts_on)}
    if entry.kind == "regularizers":
        shown["strengths"] = [
            [_number(strength) for strength in setting] for setting in entry.strengths
        ]
    return shown


def _number(value: float) -> float | str:
    """JSON has no infinity."""
    return value if math.isfinite(value) else str(value)


def _suite(suite: Suite) -> dict[str, Any]:
    return {
        "name": suite.name,
        "version": suite.version,
        "summary": suite.summary,
        "datasets": list(suite.datasets),
        "architectures": list(suite.architectures),
        "signals": list(suite.signals),
        "seeds": len(suite.seeds),
    }


def _cell(*lines: str) -> Text:
    """`Text` and not a string, so that no plugin writes markup."""
    return Text("\n".join(map(one_line, lines)))


def _plugin_table(entries: list[PluginEntry], width: int) -> Table:
    columns = ("name", "group", "acts on", "summary", "origin")
    rows = [
        (_cell(e.name), _cell(e.group), _cell(*e.acts_on), _cell(e.summary), _cell(_from(e)))
        for e in entries
    ]
    return _table(columns, rows, width)


def _from(entry: PluginEntry) -> str:
    """What ships with membench needs no path: it would take the room of the summaries. The JSON has it."""
    return (
        "membench"
        if entry.path and Path(entry.path).is_relative_to(shipped_folder())
        else entry.origin
    )


def _suite_table(suites: list[Suite], width: int) -> Table:
    columns = ("name", "summary", "data sets", "architectures", "signals", "seeds")
    names = [
        (_cell(*s.datasets), _cell(*s.architectures), _cell(*s.signals), _cell(str(len(s.seeds))))
        for s in suites
    ]
    rows = [
        (_cell(s.name), _cell(s.summary), *cells) for s, cells in zip(suites, names, strict=True)
    ]
    return _table(columns, rows, width)


def _table(columns: tuple[str, ...], rows: list[tuple[Text, ...]], width: int) -> Table:
    """Names are never broken, empty columns are left out, and the summary takes what the others leave."""
    table = Table(box=_RULE, padding=(0, 1, 0, 0), show_edge=False)
    wide = {"summary": {"ratio": 1}, "origin": {"max_width": width // 6}}
    used = [
        i for i, column in enumerate(columns) if column == "name" or any(row[i] for row in rows)
    ]
    for column in (columns[i] for i in used):
        table.add_column(
            column, no_wrap=column in ("name", "group"), overflow="fold", **wide.get(column, {})
        )
    for row in rows:
        table.add_row(*(row[i] for i in used))
    return table

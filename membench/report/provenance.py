"""The provenance of the numbers: code, machine, data and seeds; and the time of the cells.

Wall-clock has a page of its own, since it differs between two runs of the same numbers.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

from membench.records import PROTOCOL
from membench.records import STATUSES
from membench.records import Manifest
from membench.records import Record
from membench.records import canonical
from membench.records import digest
from membench.report.columns import table
from membench.report.markdown import fill_template
from membench.report.text import code
from membench.report.text import count
from membench.report.text import escape_markdown
from membench.report.text import plain

MAX_SHOWN_VALUES = 4  #: different values of one fact that are spelled out

Fact = tuple[str, str]  #: what, and its value; both Markdown


def scored_records(plan: Manifest, records: Iterable[Record]) -> list[Record]:
    """Select the records of the planned cells, of all environments that count.

    They are in the order of their cells' ids, then of their environments.
    """
    id_of = {key: cell_id for cell_id, key in plan.cells.items()}
    selected = []
    for record in records:
        if record.key in id_of and plan.counts(record):
            selected.append(record)

    def order(record: Record) -> tuple[str, str]:
        return id_of[record.key], record.env

    return sorted(selected, key=order)


def facts(plan: Manifest, records: Sequence[Record]) -> str:
    """Write the table of all that a stranger needs to make the same numbers."""
    keys = {record.key for record in records}
    rows = [
        ("protocol", str(PROTOCOL)),
        ("runs", f"{len(keys)} of {len(plan.cells)} planned so far"),
        ("records", _statuses(records)),
        ("plan, SHA-256", digest(plan.to_json())),
        ("signals", ", ".join(map(code, plan.signals))),
        ("choosing seeds", ", ".join(map(str, plan.choosing))),
        ("confirming seeds", ", ".join(map(str, plan.confirming))),
    ]
    for task in plan.tasks:
        if task in plan.recipes:
            rows.append((f"recipe of {escape_markdown(task)}", _recipe(plan.recipes[task])))
    for name, sha in sorted(plan.datasets.items()):
        rows.append((f"data set {escape_markdown(name)}, SHA-256", escape_markdown(sha)))
    rows += _versions(records)
    rows += _remarks(records)
    return _fact_table(rows)


def report_facts(facts: Mapping[str, str]) -> str:
    """Write the table of facts about the report itself that its caller knows."""
    return _fact_table([(escape_markdown(k), escape_markdown(facts[k])) for k in sorted(facts)])


def timing(suites: Iterable[tuple[Manifest, Sequence[Record]]]) -> str:
    """Make the page of wall-clock times: seconds of each entry's cells on each task."""
    prepared = []
    for plan, records in suites:
        seconds = sum(record.seconds for record in records)
        prepared.append(
            {
                "name": plan.suite,
                "version": plan.version,
                "cells": len(records),
                "seconds": f"{seconds:.1f}",
                "hours": f"{seconds / 3600:.2f}",
                "table": _timing_table(plan, records) if records else "",
            }
        )
    return fill_template("timing.md.j2", suites=prepared)


def _fact_table(rows: Iterable[Fact]) -> str:
    return table(["what", "value"], rows, left=(0, 1))


def _statuses(records: Sequence[Record]) -> str:
    numbers = Counter(record.status for record in records)
    known = [f"{numbers[status]} {status}" for status in STATUSES if numbers[status]]
    return ", ".join(known) or "none"


def _recipe(recipe: Mapping[str, Any]) -> str:
    return escape_markdown(", ".join(f"{name} {value}" for name, value in sorted(recipe.items())))


def _versions(records: Sequence[Record]) -> list[Fact]:
    """List every fact of the records' `versions` with its values."""
    numbers = Counter(canonical(record.versions) for record in records)
    environments = [(json.loads(text), number) for text, number in numbers.items()]
    names: set[str] = set()
    for versions, _ in environments:
        names.update(versions)
    rows = []
    for name in sorted(names):
        rows.append((escape_markdown(name), _values(environments, name)))
    return rows


def _values(environments: Sequence[tuple[dict[str, Any], int]], name: str) -> str:
    """Spell out one fact's values and, if there are several, how many runs have each."""
    cells: Counter[str] = Counter()
    for versions, number in environments:
        cells[_value(versions.get(name))] += number
    ordered = sorted(cells.items(), key=lambda item: (-item[1], item[0]))
    if len(ordered) == 1:
        return escape_markdown(ordered[0][0])
    named = []
    for value, number in ordered[:MAX_SHOWN_VALUES]:
        named.append(f"{escape_markdown(value)} ({count(number, 'run')})")
    text = ", ".join(named)
    others = len(ordered) - MAX_SHOWN_VALUES
    return f"{text} and {others} others" if others > 0 else text


def _value(value: Any) -> str:
    if value is None:
        return "not recorded"
    return plain(value if isinstance(value, str) else canonical(value), limit=120)


def _remarks(records: Sequence[Record]) -> list[Fact]:
    """List what runs that ended well say all the same: that their step ran uncompiled, say."""
    cells: Counter[tuple[str, str]] = Counter()
    for record in records:
        if record.status == "ok" and record.reason:
            cells[record.regularizer, record.reason] += 1
    rows = []
    others = cells.total()
    for (regularizer, reason), number in cells.most_common(MAX_SHOWN_VALUES):
        others -= number
        text = f"{escape_markdown(regularizer)} {escape_markdown(plain(reason, limit=120))}"
        rows.append(("measured, but", f"{text} ({count(number, 'run')})"))
    if others:
        rows.append(("measured, but", f"others ({count(others, 'cell')})"))
    return rows


def _timing_table(plan: Manifest, records: Sequence[Record]) -> str:
    header = ["entry"]
    for task in plan.tasks:
        header.append(f"{escape_markdown(task)}, s a cell")
    header.append("all cells, s")
    by_entry: dict[str, list[Record]] = {}
    for record in records:
        by_entry.setdefault(record.regularizer, []).append(record)
    rows = []
    for entry in plan.entries:
        entry_records = by_entry.get(entry.name, [])
        row = [escape_markdown(entry.name)]
        for task in plan.tasks:
            seconds = [record.seconds for record in entry_records if record.cell.task == task]
            row.append(f"{sum(seconds) / len(seconds):.3f}" if seconds else "")
        row.append(f"{sum(record.seconds for record in entry_records):.1f}")
        rows.append(row)
    return table(header, rows)

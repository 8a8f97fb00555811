"""The leaderboard's page: from boards and drawings to the values of `templates/board.md.j2`.

The template and the one it includes, `suite.md.j2`, hold the sentences and the order of the page.
The functions below say what they are filled with; the tables come from `tables` and `provenance`.
"""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from membench.records import Entry
from membench.records import Manifest
from membench.records import Record
from membench.report import provenance
from membench.report import tables
from membench.report.figures import Drawing
from membench.report.markdown import fill_template
from membench.report.text import cite
from membench.report.text import escape_markdown
from membench.report.text import format_interval
from membench.report.text import sentence
from membench.scoring import Board
from membench.scoring import Row

NAMED_FIRST = 5  #: entries that may be first and are named in the headline, at most


@dataclass(frozen=True, kw_only=True)
class Section:
    """One suite: what was planned, what was counted, the scores, and the figures by task."""

    plan: Manifest
    records: Sequence[Record]
    board: Board
    drawings: Mapping[str, Sequence[Drawing]]


def page(sections: Sequence[Section], extra: Mapping[str, str], calibration: str = "") -> str:
    """Make the whole of README.md.

    Args:
        sections: the suites, in the order of the page.
        extra: facts about the report itself, for its provenance.
        calibration: Markdown on what the scores are worth, or "".
    """
    suites = []
    columns_explained = False
    for section in sections:
        suite = _suite(section)
        suite["explain_columns"] = not columns_explained
        columns_explained = columns_explained or suite["has_results"]
        suites.append(suite)
    return fill_template(
        "board.md.j2",
        suites=suites,
        explain_reading=any(section.board.rows for section in sections),
        calibration=calibration,
        entries=_entries(sections),
        report_facts=provenance.report_facts(extra) if extra else "",
    )


def _suite(section: Section) -> dict[str, Any]:
    board, plan = section.board, section.plan
    has_full_grids = any(row.R for row in board.full_rows)
    return {
        "name": board.suite,
        "version": board.version,
        "tasks": plan.tasks,
        "seeds": len(plan.seeds),
        "signals": plan.signals,
        "done": len(section.records),
        "planned": len(plan.cells),
        "missing": len(plan.cells) - len(section.records),
        "notes": board.notes if section.records else (),
        "nothing_to_rank": _nothing_to_rank(section, has_full_grids),
        **_headline(board),
        "ranking": tables.ranking(board) if board.rows else "",
        "has_results": bool(section.records) and (bool(board.rows) or has_full_grids),
        "has_extra_signals": bool(tables.extra_readings(board)),
        "controls": tables.controls(board) if board.control_rows else "",
        "known_answers": _known_answers(section),
        "full_grids": tables.full_grids(board) if has_full_grids else "",
        "unfinished": tables.unfinished(board) if tables.unfinished_rows(board) else "",
        "skipped_tasks": _skipped_tasks(board),
        "skipped_entries": [(row.entry, row.reason) for row in board.skipped],
        "details": tables.details(board),
        "gates": tables.gates(board),
        "drawn_tasks": [_task(section, task) for task in plan.tasks if section.drawings.get(task)],
        "provenance": provenance.facts(plan, section.records),
    }


def _nothing_to_rank(section: Section, has_full_grids: bool) -> str:
    """Say why the suite has no table of results; "" where it has one."""
    if section.records and (section.board.rows or has_full_grids):
        return ""
    if len(section.records) < len(section.plan.cells):
        return "incomplete"
    if any(gate.valid for gate in section.board.gates):
        return "no entry can act"
    return "no valid task"


def _headline(board: Board) -> dict[str, Any]:
    """Prepare the outcome: who may be first, and how many beat the control."""
    if not board.rows:
        return {}
    first = [row for row in board.rows if row.rank and row.rank[0] == 1]
    beat_control = [row.beats_control for row in board.rows]
    return {
        "first": [_recovery(row) for row in first[:NAMED_FIRST]],
        "single_first": len(first) == 1,
        "more_first": max(0, len(first) - NAMED_FIRST),
        "ranked": len(board.rows),
        "beating_control": None if None in beat_control else beat_control.count(True),
        "top": _recovery(board.rows[0]),
    }


def _recovery(row: Row) -> dict[str, str]:
    return {"entry": row.entry, "recovery": format_interval(row.R)}


def _known_answers(section: Section) -> list[dict[str, str]]:
    """Prepare the entries beside the control, each with its own summary."""
    entries = {entry.name: entry for entry in section.plan.entries}
    known = []
    for row in section.board.control_rows:
        if row.entry in entries:
            summary = escape_markdown(entries[row.entry].summary)
            known.append({"name": row.entry, "summary": sentence(summary)})
    return known


def _skipped_tasks(board: Board) -> list[tuple[str, str, str]]:
    """List entry, task and reason where an entry cannot act on one of the tasks."""
    skipped = []
    for row in (*board.rows, *board.unranked):
        for task, reason in sorted(row.skipped.items()):
            skipped.append((row.entry, task, reason))
    return skipped


def _task(section: Section, task: str) -> dict[str, Any]:
    board = section.board
    probe_means = tables.probe_means(section.records, task)
    return {
        "name": task,
        "valid": task in tables.valid_tasks(board),
        "drawings": section.drawings[task],
        "strengths": tables.strengths(board, section.plan, task, probe_means),
        "training_less": tables.training_less(board, task) if task in board.controls else "",
    }


def _entries(sections: Sequence[Section]) -> list[dict[str, Any]]:
    """Prepare every entry once; where suites share a name, the first suite's is described."""
    known: dict[str, Entry] = {}
    for section in sections:
        for entry in section.plan.entries:
            known.setdefault(entry.name, entry)
    return [_entry(entry) for entry in known.values()]


def _entry(entry: Entry) -> dict[str, Any]:
    about = [sentence(escape_markdown(entry.summary)), sentence(cite(entry.source))]
    strengths = []
    for strength in entry.strengths:
        if strength:
            strengths.append(",".join(f"{part:.6g}" for part in strength))
    return {
        "anchor": tables.anchor(entry.name),
        "name": entry.name,
        "group": entry.group,
        "acts_on": ", ".join(entry.acts_on),
        "about": [text for text in about if text],
        "strengths": "; ".join(strengths),
        "full_grid": len(entry.full),
        "origin": entry.origin,
    }

"""The leaderboard's page: from boards and drawings to the values of `templates/board.md.j2`.

The template and the one it includes, `suite.md.j2`, hold the sentences and the order of the page.
The functions below say what they are filled with; the tables come from `tables`, `details`,
`settings` and `provenance`, the numbers of a suite's first paragraphs from `summary`.
"""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field
from typing import Any

from membench.records import Entry
from membench.records import Manifest
from membench.records import Record
from membench.report import details
from membench.report import provenance
from membench.report import settings
from membench.report import summary
from membench.report import tables
from membench.report.confirmations import Confirmation
from membench.report.environments import Environments
from membench.report.figures import Drawing
from membench.report.files import row_counts_mark
from membench.report.markdown import fill_template
from membench.report.text import cite
from membench.report.text import escape_markdown
from membench.report.text import filename
from membench.report.text import sentence
from membench.scoring.types import NONE
from membench.scoring.types import Board

FEW_UNFINISHED = 3  #: rows without numbers that the command which finishes them names


@dataclass(frozen=True, kw_only=True)
class Section:
    """One suite: what was planned, what was counted, the scores, and the figures.

    The figures are by task; those of the whole board have the key "".
    """

    plan: Manifest
    records: Sequence[Record]
    board: Board
    drawings: Mapping[str, Sequence[Drawing]]
    #: row's name -> that it was read anew and agreed
    confirmed: Mapping[str, Confirmation] = field(default_factory=dict)


def page(
    sections: Sequence[Section],
    extra: Mapping[str, str],
    calibration: str = "",
    boards: Mapping[str, str] | None = None,
    agreements: str = "",
) -> str:
    """Make the whole of README.md.

    Args:
        sections: the suites, in the order of the page.
        extra: facts about the report itself, for its provenance.
        calibration: Markdown on what the scores are worth, or "".
        boards: address, seen from this page, -> title of each page beside it.
        agreements: the table of how far orders agree, or "".
    """
    suites = []
    for section in sections:
        suites.append(_suite(section))
    return fill_template(
        "board.md.j2",
        row_counts=row_counts_mark({s.board.suite: len(s.board.rows) for s in sections}),
        boards=boards or {},
        in_short=_in_short(sections),
        agreements=agreements,
        suites=suites,
        explain_reading=any(section.board.rows for section in sections),
        calibration=calibration,
        entries=_entries(sections),
        report_facts=provenance.report_facts(extra) if extra else "",
    )


def _in_short(sections: Sequence[Section]) -> summary.InShort | None:
    """Summarize the first suite that makes claims; None if none does."""
    for section in sections:
        short = summary.in_short(section.board)
        if short:
            return short
    return None


def _suite(section: Section) -> dict[str, Any]:
    board, plan = section.board, section.plan
    environments = Environments(board)
    has_full_grids = any(row.H for row in board.full_rows)
    nothing_to_rank = _nothing_to_rank(section, has_full_grids)
    keys = {record.key for record in section.records}
    unfinished = tables.unfinished_rows(board)
    return {
        "name": board.suite,
        "anchor": filename(board.suite),
        "version": board.version,
        "tasks": plan.tasks,
        "choosing": len(plan.choosing),
        "confirming": len(plan.confirming),
        "signals": plan.signals,
        "done": len(keys),
        "planned": len(plan.cells),
        "missing": len(plan.cells) - len(keys),
        "command": _command(plan, board),
        "notes": board.notes if section.records else (),
        "nothing_to_rank": nothing_to_rank,
        "question": summary.question(plan, board),
        "claim": summary.claim(board) if board.rows else None,
        "drawings": section.drawings.get("", ()),
        "held_back": tables.noise_held_back(board, environments) if board.rows else "",
        "recovery": tables.recovery(board, environments) if board.rows else "",
        "has_results": not nothing_to_rank,
        "ranked": board.ranked,
        "counting": board.confirming,
        "has_extra_signals": bool(details.extra_readings(board)),
        "known_answers": _known_answers(section, environments),
        "full_grids": tables.full_grids(board, environments) if has_full_grids else "",
        "unfinished": tables.unfinished(board) if unfinished else "",
        "incomplete": sum(row.incomplete for row in unfinished),
        "skipped_tasks": _skipped_tasks(board),
        "skipped_entries": [(row.entry, row.reason) for row in board.skipped],
        "claims": details.claims(board) if any(row.claim for row in board.rows) else "",
        "excesses": details.excesses(board) if board.rows else "",
        "further": details.further(board) if board.rows else "",
        "confirmed": details.confirmed(section.confirmed) if section.confirmed else "",
        "by_task": details.by_task(board) if board.rows and len(plan.tasks) > 1 else "",
        "environments": environments.listed(),
        "has_other_environments": environments.has_others,
        "gates": tables.gates(board),
        "task_sections": _task_sections(section),
        "provenance": provenance.facts(plan, section.records),
    }


def _command(plan: Manifest, board: Board) -> str:
    """Name the command that trains what is missing; "" where only its caller knows the options."""
    if "-custom-" in plan.suite:
        return ""
    unfinished = [row.entry for row in board.unranked if row.incomplete]
    if board.rows and 0 < len(unfinished) <= FEW_UNFINISHED:
        selected = " or ".join(f"/{name}[" for name in unfinished)
        return f"membench run --suite {plan.suite} -k '{selected}'"
    return f"membench run --suite {plan.suite} --all"


def _nothing_to_rank(section: Section, has_full_grids: bool) -> str:
    """Say why the suite has no table of results; "" where it has one."""
    if section.records and (section.board.rows or has_full_grids):
        return ""
    if any(row.incomplete for row in section.board.unranked) or not section.records:
        return "incomplete"
    if any(gate.pending for gate in section.board.gates):
        return "incomplete"
    if any(gate.valid for gate in section.board.gates):
        return "no entry can act"
    return "no valid task"


def _known_answers(section: Section, environments: Environments) -> dict[str, Any]:
    """Prepare the rows with a known answer: their table, and each with its own summary."""
    entries = {entry.name: entry for entry in section.plan.entries}
    rows = tables.known_answer_rows(section.board)
    described = []
    for row in rows:
        if row.entry in entries:
            text = sentence(escape_markdown(entries[row.entry].summary))
            described.append({"name": row.entry, "summary": text})
    return {
        "table": tables.known_answers(section.board, environments) if rows else "",
        "entries": described,
    }


def _skipped_tasks(board: Board) -> list[tuple[str, str, str]]:
    """List entry, task and reason where an entry cannot act on one of the tasks."""
    skipped = []
    for row in (*board.rows, *board.unranked):
        for task, reason in sorted(row.skipped.items()):
            skipped.append((row.entry, task, reason))
    return skipped


def _task_sections(section: Section) -> list[dict[str, Any]]:
    """Prepare the sections of the tasks that have something to show."""
    board = section.board
    sections = []
    for task in section.plan.tasks:
        lines = settings.settings(board, section.plan, task)
        drawings = section.drawings.get(task, ())
        if len(lines) < 2 and not drawings:  # one line is `none`, which stands under "Validity"
            continue
        means = settings.probe_means(section.records, section.plan, board, task)
        controls = settings.control_settings(board, task) if task in board.controls else []
        sections.append(
            {
                "name": task,
                "anchor": filename(f"{board.suite}-{task}"),
                "valid": task in tables.valid_tasks(board),
                "drawings": drawings,
                "scores": settings.setting_scores(lines),
                "accuracies": settings.setting_accuracies(lines, means),
                "training_less": settings.setting_scores(controls) if controls else "",
            }
        )
    return sections


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
        "strengths": "; ".join(strengths) if entry.name != NONE else "",
        "full_grid": len(entry.full),
        "origin": entry.origin,
    }

"""The leaderboard's page: the sections of every suite in order, from boards and drawings to one Markdown text."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass

from membench.records import Entry
from membench.records import Manifest
from membench.records import Record
from membench.report import prose
from membench.report import provenance
from membench.report import tables
from membench.report.figures import Drawing
from membench.report.tables import probed
from membench.report.text import LONG
from membench.report.text import cite
from membench.report.text import code
from membench.report.text import count
from membench.report.text import escape_markdown
from membench.report.text import format_interval
from membench.scoring import Board


@dataclass(frozen=True)
class Section:
    """One suite: what was planned, what was counted, what came out, and its figures by task."""

    plan: Manifest
    records: Sequence[Record]
    board: Board
    drawings: Mapping[str, Sequence[Drawing]]


def page(sections: Sequence[Section], extra: Mapping[str, str], trusted: str = "") -> str:
    """The whole of README.md."""
    parts = [prose.HEAD]
    for section in sections:
        explained = prose.COLUMNS in parts
        parts += _suite(section, "Columns as above." if explained else prose.COLUMNS)
    if any(s.board.rows for s in sections):
        parts += ["## How to read it", prose.READING]
    parts += ["## What the scores are worth", trusted] if trusted else []
    parts += [
        "## What it does not say",
        prose.LIMITS,
        "## Entries",
        *_entries(sections),
        "## Provenance",
    ]
    for section in sections:
        parts += [f"### {_name(section.board)}", provenance.facts(section.plan, section.records)]
    parts += ["### This report", provenance.given(extra)] if extra else []
    return "\n\n".join(part.strip("\n") for part in parts) + "\n"


def headline(board: Board) -> str:
    """The outcome in a sentence or two."""
    first = [row for row in board.rows if row.rank and row.rank[0] == 1]
    if not first:
        best = board.rows[0]
        return f"Highest recovery: {escape_markdown(best.entry)}, *R* = {format_interval(best.R)}; no ranks are given."
    names = ", ".join(
        f"**{escape_markdown(row.entry)}** ({format_interval(row.R)})" for row in first[:5]
    )
    more = f" and {len(first) - 5} more" if len(first) > 5 else ""
    lead = "First" if len(first) == 1 else "May be first"
    return f"{lead}, by recovery *R*: {names}{more}.{_claims(board)}"


def _claims(board: Board) -> str:
    claims = [row.beats_control for row in board.rows]
    if None in claims:
        return ""
    who = f"{sum(claims)} of the {count(len(claims), 'ranked entry')}".replace("entrys", "entries")
    return f" {who} do more than stopping the plain network early or training it slower."


def _name(board: Board) -> str:
    return f"{escape_markdown(board.suite)}, version {board.version}"


def _suite(section: Section, columns: str) -> list[str]:
    board, plan = section.board, section.plan
    parts = [f"## {_name(board)}", _extent(section)]
    if not section.records:
        return [*parts, _empty(section)]
    parts += (
        ["\n".join(f"> {escape_markdown(note)}" + "  " for note in board.notes)]
        if board.notes
        else []
    )
    full = any(row.R for row in board.full_rows)
    parts += (
        [headline(board), tables.ranking(board)]
        if board.rows
        else []
        if full
        else [_empty(section)]
    )
    if board.rows or full:
        parts += [columns, *([prose.EXTRA] if tables.extra(board) else [])]
        parts += _controls(section) if board.control_rows else []
    parts += (
        ["### Full grids (not ranked)", prose.FULL_GRIDS, tables.full_grids(board)] if full else []
    )
    parts += ["### Not ranked yet", tables.waiting(board)] if any(tables.unfinished(board)) else []
    parts += _skipped(board)
    parts += [_fold(prose.MORE, tables.details(board))] if board.rows or full else []
    parts += ["### Validity", prose.VALIDITY, tables.gates(board)]
    for task in plan.tasks:
        parts += _task(section, task)
    return parts


def _controls(section: Section) -> list[str]:
    """The control, and beside it, in their own words, the entries that have a known answer."""
    known = {entry.name: entry for entry in section.plan.entries}
    rows = [known[row.entry] for row in section.board.control_rows if row.entry in known]
    said = "\n".join(
        f"- {code(entry.name)}: {_sentence(escape_markdown(entry.summary))}" for entry in rows
    )
    head = ["### Controls (not ranked)", prose.CONTROLS, *([said] if said else [])]
    return [*head, tables.controls(section.board)]


def _extent(section: Section) -> str:
    plan = section.plan
    tasks = ", ".join(escape_markdown(task) for task in plan.tasks)
    signals = ", ".join(map(code, plan.signals))
    done = f"{len(section.records)} of {len(plan.cells)} runs are done."
    return f"{count(len(plan.tasks), 'task')} ({tasks}), {count(len(plan.seeds), 'seed')}, signals {signals}. {done}"


def _empty(section: Section) -> str:
    left = len(section.plan.cells) - len(section.records)
    if left:
        return (
            f"No entry is complete yet: {count(left, 'run')} to go. `membench run` does the rest."
        )
    if any(gate.valid for gate in section.board.gates):
        return "No entry can act on the tasks of this board, so there is nothing to rank; the reasons are below."
    return "No task of this suite is valid, so there is nothing to rank; the reasons are below."


def _fold(title: str, content: str) -> str:
    return f"<details><summary>{title}</summary>\n\n{content}\n\n</details>"


def _skipped(board: Board) -> list[str]:
    rows = (*board.rows, *board.unranked)
    lines = [
        f"- {escape_markdown(r.entry)} on {escape_markdown(task)}: {escape_markdown(why)}"
        for r in rows
        for task, why in sorted(r.skipped.items())
    ]
    nowhere = [
        f"- {escape_markdown(row.entry)}: {escape_markdown(row.reason)}" for row in board.skipped
    ]
    return [
        *(["Cannot act, and counts as off there:", "\n".join(lines)] if lines else []),
        *(
            ["Cannot act on any task of this suite, and has no row:", "\n".join(nowhere)]
            if nowhere
            else []
        ),
    ]


def _task(section: Section, task: str) -> list[str]:
    drawn = section.drawings.get(task, ())
    if not drawn:
        return []
    counts = "" if task in tables.valid(section.board) else " (does not count)"
    parts = [f"### {escape_markdown(section.board.suite)}: {escape_markdown(task)}{counts}"]
    for drawing in drawn:
        finding = escape_markdown(drawing.finding, LONG)
        parts += [f"**{drawing.title}.** {finding}", f"![{finding}]({drawing.name})"]
    seen = probed(section.records, task)
    parts += [_fold(prose.STRENGTHS, tables.strengths(section.board, section.plan, task, seen))]
    control = task in section.board.controls
    return parts + (
        [_fold(prose.TRAINING_LESS, tables.training_less(section.board, task))] if control else []
    )


def _entries(sections: Sequence[Section]) -> list[str]:
    """Every entry of any suite once; of two with one name the first suite's is described."""
    known: dict[str, Entry] = {}
    for section in sections:
        for entry in section.plan.entries:
            known.setdefault(entry.name, entry)
    return ["\n".join(_entry(entry) for entry in known.values())]


def _entry(entry: Entry) -> str:
    acts = f", acts on {escape_markdown(', '.join(entry.acts_on))}" if entry.acts_on else ""
    texts = [_sentence(escape_markdown(entry.summary)), _sentence(cite(entry.source))]
    grid = "; ".join(
        ",".join(f"{s:.6g}" for s in strength) for strength in entry.strengths if strength
    )
    texts += [f"Strengths {escape_markdown(grid)}."] if grid else []
    texts += (
        [f"Full grid: {len(entry.full)} settings, all strengths of each part with all."]
        if entry.full
        else []
    )
    texts += [f"From {escape_markdown(entry.origin)}."] if entry.origin else []
    name = f'<a id="{tables.anchor(entry.name)}"></a>**{escape_markdown(entry.name)}**'
    return f"- {name} ({escape_markdown(entry.group)}{acts}). " + " ".join(
        text for text in texts if text
    )


def _sentence(text: str) -> str:
    return text if not text or text[-1] in ".!?…>" else f"{text}."

"""The leaderboard as files: from manifests, records and boards to Markdown and SVG. Needs no plugin and no torch."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence

from membench.records import Manifest
from membench.records import Record
from membench.report.files import TIMING
from membench.report.files import differences
from membench.report.files import write
from membench.report.terminal import summary_table
from membench.report.text import plain
from membench.scoring import Board

__all__ = ["TIMING", "differences", "plain", "render", "summary_table", "write"]


def render(
    suites: Sequence[tuple[Manifest, Sequence[Record], Board]],
    provenance: Mapping[str, str] | None = None,
    trusted: str = "",
) -> dict[str, bytes]:
    """All files of the report, by their path inside the leaderboard's folder; pure, and the same bytes every time.

    Args:
        suites: what was planned, what was measured, and the scores of that; in the order of the page.
        provenance: facts that no record holds. They become part of the page: nothing that changes between two reports
            of the same records.
        trusted: Markdown on what the scores are worth, as `trust.section` has it.
    """
    # Drawing needs matplotlib, which takes half a second to load: only a report pays for it, not `membench run`.
    from membench.report import figures
    from membench.report.page import Section
    from membench.report.page import page
    from membench.report.provenance import count_records
    from membench.report.provenance import timing

    sections = [
        Section(
            plan,
            count_records(plan, records),
            board,
            {task: figures.drawings(plan, board, task) for task in plan.tasks},
        )
        for plan, records, board in suites
    ]
    files = {
        d.name: d.svg for section in sections for drawn in section.drawings.values() for d in drawn
    }
    files["README.md"] = page(sections, provenance or {}, trusted).encode()
    files[TIMING] = timing((section.plan, section.records) for section in sections).encode()
    return dict(sorted(files.items()))

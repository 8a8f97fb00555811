"""The leaderboard as files: from manifests, records and boards to Markdown and SVG.

`page` fills the templates with what `summary` puts into words, `tables`, `details` and `settings`
into columns, and `environments` into notes. `figures` says what the figures show and `drawing`
draws them, `figure_cache` keeps them, `files` writes and compares. `interactive` makes the page
with which a reader sorts, filters and compares; `confirmations` says which rows were read anew;
`latex` and `bibtex` are for a paper. `paper` makes the pages of `membench reproduce`, `terminal`
the short board that ends `membench run`, `notebook` the same board as HTML, `row_values` its rows
as columns. Needs no plugin and no torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

from membench.records import Manifest
from membench.records import Record
from membench.report.confirmations import Confirmation
from membench.report.confirmations import current
from membench.report.figure_cache import FigureCache
from membench.report.files import TIMING
from membench.report.files import differences
from membench.report.files import files_below
from membench.report.files import foreign_pages
from membench.report.files import other_page
from membench.report.files import pages_beside
from membench.report.files import write
from membench.report.terminal import RowLine
from membench.report.terminal import row_lines
from membench.report.terminal import summary_table
from membench.scoring.types import Board

__all__ = [
    "TIMING",
    "FigureCache",
    "RowLine",
    "differences",
    "files_below",
    "foreign_pages",
    "other_page",
    "pages_beside",
    "render",
    "row_lines",
    "summary_table",
    "write",
]


def render(
    suites: Sequence[tuple[Manifest, Sequence[Record], Board]],
    provenance: Mapping[str, str] | None = None,
    calibration: str = "",
    figure_cache: FigureCache | None = None,
    boards: Mapping[str, str] | None = None,
    scores_below: Sequence[Mapping[str, Any]] = (),
    confirmations: Mapping[str, Mapping[str, Confirmation]] | None = None,
) -> dict[str, bytes]:
    """Make all files of the report, by their path inside the leaderboard's folder.

    The result is the same bytes every time, with or without a cache.

    Args:
        suites: what was planned, what was measured, and the scores of that; in the order of the
            page.
        provenance: facts that no record holds. They become part of the page: nothing that changes
            between two reports of the same records.
        calibration: Markdown on what the scores are worth, as `calibration.section` writes it.
        figure_cache: holds figures that were drawn before, and gets the new ones; without it all
            are drawn.
        boards: address -> title of each page beside this one, as `pages_beside` finds them.
        scores_below: the scores of the boards in folders below, as `orders.decode` reads them.
        confirmations: suite -> row -> its confirmation, as `confirmations.decode` reads them. Those
            of rows that have changed since are not shown.
    """
    # Templates and tables take a while to load, and `summary_table` does not need them.
    from membench.report import figures
    from membench.report import orders
    from membench.report.files import INTERACTIVE
    from membench.report.interactive import interactive_page
    from membench.report.page import Section
    from membench.report.page import page
    from membench.report.provenance import scored_records
    from membench.report.provenance import timing

    sections = []
    files = {}
    for plan, records, board in suites:
        drawings = figures.drawings(plan, board, figure_cache)
        for drawn in drawings.values():
            for drawing in drawn:
                files[drawing.name] = drawing.svg
        section = Section(
            plan=plan,
            records=scored_records(plan, records),
            board=board,
            drawings=drawings,
            confirmed=current((confirmations or {}).get(plan.suite, {}), board, records),
        )
        sections.append(section)
    own_scores = orders.scores_of([section.board for section in sections])
    files[orders.FILE] = orders.encode(own_scores)
    agreements = orders.agreements(own_scores, scores_below)
    files["README.md"] = page(
        sections, provenance or {}, calibration=calibration, boards=boards, agreements=agreements
    ).encode()
    scored = [(section.plan, section.board) for section in sections]
    confirmed = {section.plan.suite: section.confirmed for section in sections}
    files[INTERACTIVE] = interactive_page(scored, boards, confirmed).encode()
    files[TIMING] = timing((section.plan, section.records) for section in sections).encode()
    return dict(sorted(files.items()))

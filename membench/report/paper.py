"""The pages of `membench reproduce`: a row and a section for each study, from findings and figures.

The sentences stand in `templates/studies.md.j2`; `studies_page` makes the interactive page of the
same rows. Needs no plugin and no torch.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.figure import Figure

from membench.report import calibration
from membench.report.files import INTERACTIVE
from membench.report.files import PAGE
from membench.report.markdown import fill_template
from membench.report.studies_page import studies_page
from membench.report.svg import render_svg
from membench.report.text import cite
from membench.report.text import escape_markdown
from membench.report.text import estimate
from membench.report.text import filename
from membench.report.text import number
from membench.studies import FAILS
from membench.studies import HOLDS
from membench.studies import UNDECIDED
from membench.studies import Finding
from membench.studies import Test

SIZE = (7.0, 3.0)  #: inches, unless the study sets another


@dataclass(frozen=True, kw_only=True)
class Facts:
    """The ends of a study's cells, counted."""

    planned: int = 0
    measured: int = 0  #: `ok` or `diverged`
    diverged: int = 0
    failed: int = 0
    seconds: float = 0.0  #: of one worker, all cells together
    where: tuple[str, ...] = ()  #: devices and torch versions
    skipped: tuple[str, ...] = ()  #: what could not act, and why
    left_out: tuple[str, ...] = ()  #: optional arms, and how to get their data


@dataclass(frozen=True, kw_only=True)
class StudyRow:
    """One study at one scale, as the page shows it; all text is foreign."""

    name: str
    scale: str
    figure: str
    claim: str
    summary: str = ""
    source: str = ""
    scaled: str = ""
    finding: Finding | None = None
    svg: bytes = b""
    problem: str = ""  #: why there is no finding, in one line
    facts: Facts = Facts()

    @property
    def verdict(self) -> str:
        """The last column."""
        if self.finding:
            return self.finding.verdict
        return "failed" if self.problem else "not finished"

    @property
    def title(self) -> str:
        """The name, and the scale unless it is the usual one."""
        return self.name if self.scale == "quick" else f"{self.name} ({self.scale})"

    @property
    def stem(self) -> str:
        """The name for files and anchors; it tells the scales apart."""
        return filename(self.name if self.scale == "quick" else f"{self.name}-{self.scale}")

    @property
    def file(self) -> str:
        """The figure's file."""
        return f"{self.stem}.svg"


def figure(name: str, finding: Finding) -> bytes:
    """Draw the study's SVG: the same bytes whenever it is drawn.

    Raises:
        Exception: whatever `finding.draw` raises.
    """

    def draw(canvas: Figure) -> None:
        canvas.set_layout_engine("constrained")
        finding.draw(canvas)

    return render_svg(SIZE, name, finding.caption, draw)


def pages(rows: Sequence[StudyRow], boards: Mapping[str, str] | None = None) -> dict[str, bytes]:
    """Make `README.md`, `index.html`, `findings.json` and the figures, by name.

    Args:
        rows: the studies, in any order.
        boards: address -> title of each page beside this one, as `pages_beside` finds them.
    """
    ordered = sorted(rows, key=_place_in_paper)
    page = fill_template(
        "studies.md.j2",
        studies=[_study(row) for row in ordered],
        boards=boards or {},
        holds=HOLDS,
        fails=FAILS,
        undecided=UNDECIDED,
    )
    findings = []
    figures = {}
    for row in ordered:
        if row.finding:
            findings.append(calibration.finding_to_json(row.name, row.scale, row.finding))
        if row.svg:
            figures[row.file] = row.svg
    return {
        PAGE: page.encode(),
        INTERACTIVE: studies_page(ordered, boards).encode(),
        calibration.FILE: calibration.findings_file(findings),
        **figures,
    }


def _place_in_paper(row: StudyRow) -> tuple[bool, float, str, str]:
    """Sort by the number of the paper's figure; studies without one come last."""
    figure = re.search(r"\d+", row.figure)
    return figure is None, float(figure[0]) if figure else 0.0, row.name, row.scale


def _study(row: StudyRow) -> dict[str, Any]:
    facts = row.facts
    return {
        "title": row.title,
        "anchor": f"study-{row.stem}",
        "figure": row.figure,
        "claim": row.claim,
        "verdict": row.verdict,
        "verdicts": _verdicts(row),
        "finding": row.finding,
        "file": row.file,
        "tests": _tests(row.finding) if row.finding else [],
        "table": _filled_up(row.finding.table) if row.finding else [],
        "problem": row.problem,
        "notes": _notes(row),
        "planned": facts.planned,
        "measured": facts.measured,
        "missing": facts.planned - facts.measured - facts.failed,
        "diverged": facts.diverged,
        "failed": facts.failed,
        "minutes": f"{facts.seconds / 60:.1f}",
        "where": "; ".join(facts.where),
        "about": _about(row),
    }


def _verdicts(row: StudyRow) -> list[dict[str, str]]:
    """Return claim and verdict of each claim; the claim is "" where there is one only."""
    if row.finding is None:
        return [{"claim": "", "verdict": row.verdict}]
    verdicts = []
    for claim, verdict in row.finding.verdicts.items():
        verdicts.append({"claim": claim, "verdict": verdict})
    return verdicts


def _tests(finding: Finding) -> list[dict[str, Any]]:
    """Return the tests as the page shows them, those of one claim together."""
    tests = []
    for claim in finding.verdicts:
        tests += [_test(test) for test in finding.tests if test.claim == claim]
    return tests


def _test(test: Test) -> dict[str, Any]:
    return {
        "claim": test.claim,
        "name": test.name,
        "estimate": estimate(test.value, test.low, test.high),
        "value": number(test.value),
        "low": number(test.low),
        "high": number(test.high),
        "has_threshold": test.threshold != 0,
        "threshold": number(test.threshold),
        "method": test.method,
        "verdict": test.verdict,
    }


def _filled_up(rows: Sequence[Sequence[str]]) -> list[list[str]]:
    """Give all rows as many cells as the longest has."""
    width = max((len(row) for row in rows), default=0)
    filled = []
    for row in rows:
        filled.append([*row, *[""] * (width - len(row))])
    return filled


def _notes(row: StudyRow) -> list[str]:
    notes = list(row.finding.notes) if row.finding else []
    notes += [f"Left out: {reason}" for reason in row.facts.skipped]
    notes += [f"Left out: arm {reason}" for reason in row.facts.left_out]
    if row.scaled and row.scale == "quick":
        notes.append(f"Scaled down: {row.scaled}")
    return notes


def _about(row: StudyRow) -> str:
    """Join summary and citation to Markdown that ends with a period; "" if there is neither."""
    texts = [text for text in (escape_markdown(row.summary), cite(row.source)) if text]
    return ". ".join(text.removesuffix(".") for text in texts) + "." if texts else ""

"""The interactive page of the studies: what it knows, as plain data.

`web_page` embeds the data; the scripts in `templates/interactive/studies` draw lists, intervals and
figures from it. `paper` makes the page as text from the same rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
from math import isnan
from typing import TYPE_CHECKING
from typing import Any

from membench.report.bibtex import bibtex
from membench.report.svg_data import figure_data
from membench.report.text import LONG
from membench.report.text import citation_parts
from membench.report.text import plain
from membench.report.web_page import Kind
from membench.report.web_page import render
from membench.report.web_page import rounded
from membench.studies import FAILS
from membench.studies import HOLDS
from membench.studies import UNDECIDED
from membench.studies import Finding
from membench.studies import Test

if TYPE_CHECKING:
    from membench.report.paper import StudyRow

KIND = Kind(
    template="studies.html.j2",
    scripts=(
        "shared/words.js",
        "studies/studies.js",
        "shared/state.js",
        "shared/list.js",
        "shared/svg.js",
        "shared/panel.js",
        "shared/controls.js",
        "studies/intervals.js",
        "studies/lists.js",
        "studies/study.js",
        "studies/page.js",
    ),
)
#: Levels of the data that have a line for each member: a test has one.
_LINES = 7


def studies_page(rows: Sequence[StudyRow], boards: Mapping[str, str] | None = None) -> str:
    """Make the whole of `index.html`.

    Args:
        rows: the studies in the order of the page.
        boards: address -> title of each page beside this one, as `pages_beside` finds them.
    """
    data = {"verdicts": [HOLDS, UNDECIDED, FAILS], "studies": [study_data(row) for row in rows]}
    return render(KIND, data, _LINES, boards, holds=HOLDS, fails=FAILS, undecided=UNDECIDED)


def study_data(row: StudyRow) -> dict[str, Any]:
    """Collect what the page knows of one study at one scale, ready for JSON.

    An end of an interval that is not finite is None: the interval is open there.
    """
    finding, facts = row.finding, row.facts
    return {
        "name": plain(row.name),
        "scale": plain(row.scale),
        "title": plain(row.title),
        "stem": row.stem,
        "figure": plain(row.figure),
        "claim": plain(row.claim, LONG),
        "question": plain(row.summary, LONG),
        "source": citation_parts(row.source),
        "bibtex": bibtex(plain(row.name), row.source),
        "verdict": plain(row.verdict, LONG),
        "problem": plain(row.problem, LONG),
        "scaled": plain(row.scaled, LONG) if row.scale == "quick" else "",
        "left_out": [plain(reason, LONG) for reason in (*facts.skipped, *facts.left_out)],
        "notes": [plain(note, LONG) for note in finding.notes] if finding else [],
        "planned": facts.planned,
        "measured": facts.measured,
        "diverged": facts.diverged,
        "failed": facts.failed,
        "seconds": rounded(facts.seconds),
        "where": [plain(machine) for machine in facts.where],
        "claims": _claims(finding) if finding else [],
        "table": [[plain(cell) for cell in line] for line in finding.table] if finding else [],
        "caption": plain(finding.caption, LONG) if finding else "",
        "drawing": figure_data(row.svg) if row.svg else None,
    }


def _claims(finding: Finding) -> list[dict[str, Any]]:
    claims = []
    for claim, verdict in finding.verdicts.items():
        tests = [_test(test) for test in finding.tests if test.claim == claim]
        claims.append({"claim": plain(claim), "verdict": verdict, "tests": tests})
    return claims


def _test(test: Test) -> dict[str, Any]:
    return {
        "name": plain(test.name),
        "value": rounded(test.value),
        "low": rounded(test.low),
        "high": rounded(test.high),
        "threshold": rounded(test.threshold),
        "p": None if isnan(test.p) else rounded(test.p),
        "method": plain(test.method),
        "verdict": test.verdict,
    }

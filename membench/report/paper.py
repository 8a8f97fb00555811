"""The page of `membench reproduce`: a row and a section a study, from findings and figures. No plugin, no torch."""

from __future__ import annotations

import re
from collections.abc import Iterator
from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.figure import Figure

from membench.report import calibration
from membench.report.svg import render_svg
from membench.report.text import LONG
from membench.report.text import cite
from membench.report.text import count
from membench.report.text import escape_markdown
from membench.report.text import estimate
from membench.report.text import filename
from membench.report.text import markdown_table
from membench.report.text import number
from membench.studies import FAILS
from membench.studies import HOLDS
from membench.studies import UNDECIDED
from membench.studies import Finding
from membench.studies import Test

SIZE = (7.0, 3.0)  #: inches, unless the study sets another
HEAD = """# The paper, reproduced

Arpit et al. 2017, [A Closer Look at Memorization in Deep Networks](https://arxiv.org/abs/1706.05394), and what grew out
of it: each row is an experiment, the claim that it was made for, and a test that could have come out the other way. No
curve of the paper is known as numbers, so what is tested is a claim's shape and ordering.

`membench reproduce` writes this page and its figures from the records beside it; what is there is not trained again.
What the paper's own sizes would take on a GPU: `membench reproduce --all --scale paper --collect-only`."""
READING = f"""Each test is a number with its 95 % interval, written so that larger values speak for the claim. It
*{HOLDS}* if all of the interval lies above the threshold, *{FAILS}* if all of it lies below, and is *{UNDECIDED}*
otherwise; a study holds if all of its tests do, and does not if any does not."""


@dataclass(frozen=True)
class Facts:
    """How a study's cells ended."""

    planned: int = 0
    measured: int = 0  #: `ok` or `diverged`
    diverged: int = 0
    failed: int = 0
    seconds: float = 0.0  #: of one worker, all cells together
    where: tuple[str, ...] = ()  #: devices and torch versions
    skipped: tuple[str, ...] = ()  #: what could not act, and why


@dataclass(frozen=True)
class StudyRow:
    """One study at one scale, as the page shows it; all text is a stranger's."""

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
        return (
            self.finding.verdict if self.finding else "failed" if self.problem else "not finished"
        )

    @property
    def file(self) -> str:
        """The figure's name; the larger scale is named apart."""
        return filename(self.name + ("" if self.scale == "quick" else f"-{self.scale}")) + ".svg"


def figure(name: str, finding: Finding) -> bytes:
    """The study's SVG: the same bytes whenever it is drawn. Whatever `finding.draw` raises passes through."""

    def paint(canvas: Figure) -> None:
        canvas.set_layout_engine("constrained")
        finding.draw(canvas)

    return render_svg(SIZE, name, finding.caption, paint)


def pages(shown: Sequence[StudyRow]) -> dict[str, bytes]:
    """`README.md`, `findings.json` and the figures, by name."""
    order = sorted(shown, key=_place)
    rows = [
        ("study", "figure", "claim", "test: value [95 % interval]", "verdict"),
        *map(_row, order),
    ]
    parts = [
        HEAD,
        markdown_table(rows),
        READING,
        *(part for one in order for part in _section(one)),
    ]
    files = {one.file: one.svg for one in order if one.svg}
    findings = [calibration.found(one.name, one.scale, one.finding) for one in order if one.finding]
    page = ("\n\n".join(part.strip("\n") for part in parts) + "\n").encode()
    return {"README.md": page, calibration.FILE: calibration.written(findings), **files}


def _place(one: StudyRow) -> tuple[bool, float, str, str]:
    """In the paper's order; what has no figure there comes last."""
    found = re.search(r"\d+", one.figure)
    return found is None, float(found[0]) if found else 0.0, one.name, one.scale


def _row(one: StudyRow) -> tuple[str, ...]:
    title = f"[{escape_markdown(_title(one))}](#{_anchor(one)})"
    tests = (
        "<br>".join(map(_test, one.finding.tests)) if one.finding else escape_markdown(one.problem)
    )
    return (
        title,
        escape_markdown(one.figure),
        escape_markdown(one.claim, LONG),
        tests,
        f"**{escape_markdown(one.verdict)}**",
    )


def _title(one: StudyRow) -> str:
    return one.name if one.scale == "quick" else f"{one.name} ({one.scale})"


def _anchor(one: StudyRow) -> str:
    return f"study-{one.file.removesuffix('.svg')}"


def _test(test: Test) -> str:
    bound = "" if test.threshold == 0 else f", threshold {number(test.threshold)}"
    return f"{escape_markdown(test.name)}: {estimate(test.value, test.low, test.high)}{bound}"


def _section(one: StudyRow) -> Iterator[str]:
    figure = f" ({escape_markdown(one.figure)})" if one.figure else ""
    yield f'<a id="{_anchor(one)}"></a>\n\n## {escape_markdown(_title(one))}{figure}'
    yield f"**Claim.** {escape_markdown(one.claim, LONG)} **Verdict: {escape_markdown(one.verdict)}.**"
    if one.finding:
        caption = escape_markdown(one.finding.caption, LONG)
        yield f"![{caption}]({one.file})"
        yield caption
        yield from _numbers(one.finding)
    else:
        left = one.facts.planned - one.facts.measured - one.facts.failed
        yield escape_markdown(
            one.problem
            or f"{left} of {count(one.facts.planned, 'cell')} to go: the same command does the rest."
        )
    notes = [
        *(one.finding.notes if one.finding else ()),
        *(f"Left out: {why}" for why in one.facts.skipped),
    ]
    yield "\n".join(f"- {escape_markdown(note, LONG)}" for note in [*notes, *_scaled(one)])
    yield _trained(one.facts)
    about = [text for text in (escape_markdown(one.summary), cite(one.source)) if text]
    if about:
        yield ". ".join(text.removesuffix(".") for text in about) + "."


def _numbers(finding: Finding) -> Iterator[str]:
    tests = [
        (
            escape_markdown(t.name),
            number(t.value),
            f"[{number(t.low)}, {number(t.high)}]",
            number(t.threshold),
            escape_markdown(t.method),
        )
        for t in finding.tests
    ]
    head = ("test", "value", "95 % interval", "above", "method", "verdict")
    yield markdown_table(
        [head, *((*row, test.verdict) for row, test in zip(tests, finding.tests, strict=True))]
    )
    if finding.table:
        yield markdown_table([tuple(map(escape_markdown, row)) for row in finding.table])


def _scaled(one: StudyRow) -> list[str]:
    return [f"Scaled down: {one.scaled}"] if one.scaled and one.scale == "quick" else []


def _trained(facts: Facts) -> str:
    ended = [f"{facts.measured} of {count(facts.planned, 'cell')} measured"]
    ended += [f"{facts.diverged} of them diverged"] if facts.diverged else []
    ended += [f"{facts.failed} failed"] if facts.failed else []
    where = f" on {escape_markdown('; '.join(facts.where))}" if facts.where else ""
    return f"{', '.join(ended)}; {facts.seconds / 60:.1f} minutes of one worker{where}."

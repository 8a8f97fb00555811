"""The page of the studies, and the board's section on what `calibration` found."""

from __future__ import annotations

import json
from math import inf
from math import nan

import pytest
from matplotlib.figure import Figure

from membench.report import calibration
from membench.report import paper
from membench.studies import Finding
from membench.studies import Test


def draw(figure: Figure) -> None:
    figure.subplots().plot([1, 2])


def finding(*bounds: tuple[float, float], notes: tuple[str, ...] = ()) -> Finding:
    """Make a finding with a test for each interval."""
    tests = []
    for place, (low, high) in enumerate(bounds):
        tests.append(Test(name=f"t{place}", value=(low + high) / 2, low=low, high=high))
    return Finding(
        tests=tuple(tests),
        table=(("a|b", "c"), ("1",)),
        draw=draw,
        caption="A <b> caption.",
        notes=notes,
    )


def calibrated(value: float, low: float, scale: str = "quick") -> paper.StudyRow:
    """Make the row of the study that says what the scores are worth."""
    test = Test(name="R with less memorization", value=value, low=low, high=value + 0.1)
    outcome = Finding(
        tests=(test,), table=(("a",),), draw=draw, caption="", notes=("48 settings <b>.",)
    )
    return paper.StudyRow(
        name="calibration", scale=scale, figure="", claim="claim", finding=outcome
    )


@pytest.mark.parametrize(
    ("bounds", "verdict"),
    [
        (((1, 2), (0.1, 3)), "holds"),
        (((1, 2), (-1, 3)), "undecided at this scale"),
        (((1, 2), (-1, 3), (-2, -1)), "does not hold"),
        (((nan, nan),), "undecided at this scale"),
        ((), "undecided at this scale"),
    ],
)
def test_a_verdict_follows_from_the_intervals(
    bounds: tuple[tuple[float, float], ...], verdict: str
) -> None:
    assert finding(*bounds).verdict == verdict


@pytest.mark.parametrize(
    ("value", "half", "freedom", "p"),
    [
        (-2.776, 2.776, 4, 0.025),  # from a table of t at 4 degrees of freedom
        (-4.604, 2.776, 4, 0.005),
        (2.132, 2.776, 4, 0.95),
        (-1.960, 1.960, inf, 0.025),  # and of the normal distribution
        (-5.152, 3.920, inf, 0.005),
        (-1.0, 0.0, 4, 0.0),  # nothing scatters
        (0.0, 0.0, 4, 1.0),
        (-1.0, inf, 4, 1.0),
        (-1.0, nan, 4, 1.0),
        (nan, 1.0, 4, 1.0),
    ],
)
def test_the_p_of_a_test_is_that_of_its_interval(
    value: float, half: float, freedom: float, p: float
) -> None:
    test = Test("t", value + 3, -inf, value + half + 3, threshold=3, freedom=freedom)
    assert test.p == pytest.approx(p, rel=1e-3)


def normal(z: float, claim: str = "") -> Test:
    """Make a test whose value lies z standard errors from the threshold."""
    return Test(f"z = {z}", z, z - 1.96, z + 1.96, claim=claim)


@pytest.mark.parametrize(
    ("z", "verdict"),
    [
        ((-2.0, 9.0), "undecided at this scale"),  # p = .023 is above .025 / 2
        ((-2.0,), "does not hold"),
        ((-2.37, 9.0, 9.0), "undecided at this scale"),  # p = .0089, above .025 / 3
        ((-2.41, 9.0, 9.0), "does not hold"),  # p = .0080
        ((-2.2,) * 8, "undecided at this scale"),  # p = .014: none passes the first step
    ],
)
def test_one_test_refutes_a_claim_if_it_would_among_all_of_the_studys(
    z: tuple[float, ...], verdict: str
) -> None:
    tests = tuple(normal(one) for one in z)
    assert tests[0].verdict == "does not hold"
    assert Finding(tests, table=(), draw=draw, caption="").verdict == verdict


def test_each_claim_of_a_study_has_its_own_verdict_on_the_page() -> None:
    # Of four tests, z = -2.6 (p = .0047) passes Holm's first step and -2.0 (.023) not the second.
    tests = (
        normal(3.0, "real | random"),
        normal(-2.6, "rises"),
        normal(4.0, "real | random"),
        normal(-2.0, "levels off"),
    )
    outcome = Finding(tests, table=(("a",),), draw=draw, caption="")
    assert outcome.verdicts == {
        "real | random": "holds",
        "rises": "does not hold",
        "levels off": "undecided at this scale",
    }
    row = paper.StudyRow(name="a", scale="quick", figure="", claim="claim", finding=outcome)
    text = paper.pages([row])["README.md"].decode()
    assert (
        r"| real \| random: **holds**<br>rises: **does not hold**"
        "<br>levels off: **undecided at this scale** |"
    ) in text
    table = text.partition("| claim | test |")[2]
    claims = [line.split(" | ")[0] for line in table.splitlines() if " | z = " in line]
    assert claims == [r"| real \| random", r"| real \| random", "| rises", "| levels off"]
    assert r"**Verdict: real \| random: holds; rises: does not hold; levels off: und" in text


def test_a_study_of_one_claim_has_no_column_of_claims() -> None:
    row = paper.StudyRow(name="a", scale="quick", figure="", claim="claim", finding=finding((1, 2)))
    text = paper.pages([row])["README.md"].decode()
    assert "claim | test | value" not in text
    assert "**Verdict: holds.**" in text


def test_text_of_a_study_is_text_on_the_page() -> None:
    outcome = finding((-inf, inf), notes=("<script>",))
    svg = paper.figure("a", outcome)
    row = paper.StudyRow(
        name="a", scale="quick", figure="Fig. 2", claim="x | y", finding=outcome, svg=svg
    )
    files = paper.pages([row])
    text = files["README.md"].decode()
    assert "<script>" not in text
    assert r"x \| y" in text
    assert r"a\|b" in text
    assert "[\N{MINUS SIGN}∞, ∞]" in text
    assert files["a.svg"] == paper.figure("a", outcome)


def test_rows_are_in_the_papers_order_and_scales_side_by_side() -> None:
    rows = []
    for name, scale, figure in [
        ("z", "quick", "Fig. 2"),
        ("a", "quick", ""),
        ("b", "quick", "Fig. 10"),
        ("z", "paper", "Fig. 2"),
    ]:
        rows.append(paper.StudyRow(name=name, scale=scale, figure=figure, claim="claim"))
    text = paper.pages(rows)["README.md"].decode()
    names = [line.split("]")[0][3:] for line in text.splitlines() if "](#study-" in line]
    assert names == ["z (paper)", "z", "b", "a"]
    assert text.count("**not finished**") == 4


def test_paragraphs_of_a_study_without_notes_have_one_blank_line_between_them() -> None:
    row = paper.StudyRow(name="a", scale="quick", figure="", claim="claim")
    assert "\n\n\n" not in paper.pages([row])["README.md"].decode()


def test_the_board_says_what_calibration_found_of_its_scores() -> None:
    other = paper.StudyRow(
        name="a", scale="quick", figure="Fig. 2", claim="claim", finding=finding((1, 2))
    )
    rows = [other, calibrated(0.25, -inf)]
    findings = json.loads(paper.pages(rows)["findings.json"])
    assert [one["study"] for one in findings] == ["a", "calibration"]
    section = calibration.section(findings, "paper/README.md")
    assert "| R with less memorization | 0.25 [\N{MINUS SIGN}∞, 0.35] |" in section
    assert "48 settings &lt;b>." in section.replace("&gt;", ">")
    assert "**undecided at this scale**" in section
    assert "(paper/README.md#study-calibration)" in section


def test_the_larger_scale_is_what_the_board_shows() -> None:
    rows = [calibrated(0.25, 0.1), calibrated(0.75, 0.5, "paper")]
    findings = json.loads(paper.pages(rows)["findings.json"])
    assert "| 0.75 [0.5, 0.85] |" in calibration.section(findings, "paper/README.md")


def test_the_last_bits_of_a_number_change_no_finding() -> None:
    """With another number of threads the same records gave .21072640983619628 and ...562."""
    one, other = (
        paper.pages([calibrated(value, 0.1)])["findings.json"]
        for value in (0.21072640983619628, 0.21072640983619562)
    )
    assert one == other
    assert b'"value": 0.210726409836,' in one


def test_without_calibration_the_board_says_nothing_of_it() -> None:
    assert calibration.section([], "paper/README.md") == ""

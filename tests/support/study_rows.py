"""Rows of studies in every state, for the tests of the studies' pages."""

from __future__ import annotations

from functools import cache
from math import inf

from matplotlib.figure import Figure

from membench.report import paper
from membench.studies import Finding
from membench.studies import Test
from support.interactive_board import HOSTILE

SOURCE = 'Arpit et al., "A Closer Look", ICML 2017, arXiv:1706.05394, figure 9'
TESTS = (
    Test("ratio, random - real", 0.33, 0.31, 0.35, method="paired t", freedom=4, claim="higher"),
    Test("ratio, at the end", 0.9, 0.8, 1.0, threshold=0.5, method="t", freedom=4, claim="higher"),
    Test("rise", -0.2, -0.25, -0.15, method="paired t", freedom=4, claim="rises"),
    Test("levels off", 0.01, -inf, 0.05, method="one seed", claim="levels off"),
)


def draw(figure: Figure) -> None:
    """Draw a curve in a colour, a map of values, and a picture."""
    left, middle, right = figure.subplots(1, 3)
    left.plot([1, 2, 3], [0.1, 0.4, 0.2], "o-", color="#0072b2", label=HOSTILE)
    left.legend()
    middle.pcolormesh([[0.0, 1.0], [1.0, 0.0]], cmap="Greys")
    right.imshow([[0, 255], [128, 0]], cmap="gray", interpolation="none")


@cache
def study_rows() -> tuple[paper.StudyRow, ...]:
    """Return a finished study, one with hostile words, and three that have no finding."""
    outcome = Finding(
        tests=TESTS,
        table=(("trained on", "epoch 3", "epoch 96"), ("real", "0.036", "0.052"), ("random", "1")),
        draw=draw,
        caption="Ratio over epochs. Look at the height.",
        notes=("Chaotic runs are left out.",),
    )
    hostile = Finding(
        tests=(Test(HOSTILE, 1.0, 0.5, 1.5, method=HOSTILE),),
        table=((HOSTILE,), (HOSTILE,)),
        draw=draw,
        caption=HOSTILE,
        notes=(HOSTILE,),
    )
    done = paper.Facts(
        planned=60, measured=60, diverged=1, seconds=1692.0, where=("cpu AVX512, torch 2.14",)
    )
    svg = paper.figure("csr", outcome)
    part = paper.Facts(planned=400, measured=160, failed=2, seconds=97.0, where=("cpu",))
    return (
        paper.StudyRow(
            name="csr",
            scale="quick",
            figure="Fig. 9",
            claim="The ratio is higher after noise.",
            summary="What does noise change?",
            source=SOURCE,
            scaled="ten iterations instead of 100",
            finding=outcome,
            svg=svg,
            facts=done,
        ),
        paper.StudyRow(
            name=HOSTILE,
            scale="quick",
            figure=f"Fig. 12 {HOSTILE}",
            claim=HOSTILE,
            summary=HOSTILE,
            source=HOSTILE,
            scaled=HOSTILE,
            finding=hostile,
            svg=svg,
            facts=paper.Facts(planned=1, measured=1, where=(HOSTILE,), skipped=(HOSTILE,)),
        ),
        paper.StudyRow(name="easy", scale="quick", figure="Fig. 1", claim="Easy.", facts=part),
        paper.StudyRow(name="csr", scale="paper", figure="Fig. 9", claim="The ratio is higher."),
        paper.StudyRow(
            name="broken", scale="quick", figure="", claim="", problem="ValueError: no such luck"
        ),
    )

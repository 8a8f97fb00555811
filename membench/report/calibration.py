"""What `membench reproduce` found, as data beside its page, and what the board says of it: the worth of its scores."""

from __future__ import annotations

import json
from collections.abc import Mapping
from collections.abc import Sequence
from math import inf
from math import isfinite
from math import nan
from typing import Any

from membench.report.text import LONG
from membench.report.text import escape_markdown
from membench.report.text import estimate
from membench.report.text import markdown_table
from membench.studies import Finding

STUDY = "calibration"
FILE = "findings.json"
ABOUT = """\
Do the scores order regularizers as direct measurements of memorization do? Rank correlations, each with its 95% \
interval, for which whole regularizers are resampled: 1 = the higher the score, the less is memorized; 0 = the score \
says nothing of it. *Memorization*: how much more often wrong labels are predicted by networks that trained on them \
(Feldman and Zhang 2020). *Leakage*: how many of them an attack recognises as training examples (LiRA, Carlini et \
al. 2022)."""


def found(study: str, scale: str, finding: Finding) -> dict[str, Any]:
    """One study's outcome, JSON-ready: its verdict, notes, and tests with name, value, low, high, threshold, method."""
    tests = [
        {k: v if isinstance(v, str) or isfinite(v) else None for k, v in vars(t).items()}
        for t in finding.tests
    ]
    return {
        "study": study,
        "scale": scale,
        "verdict": finding.verdict,
        "tests": tests,
        "notes": list(finding.notes),
    }


def written(findings: Sequence[Mapping[str, Any]]) -> bytes:
    """The file: a list of what was `found`."""
    return (
        json.dumps(list(findings), indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    ).encode()


def section(findings: Sequence[Mapping[str, Any]], link: str) -> str:
    """Markdown on the scores; "" where the study was not run. The larger scale is shown where there are both.

    Raises:
        KeyError, TypeError, ValueError: these are no findings.
    """
    mine = sorted(
        (one for one in findings if one["study"] == STUDY), key=lambda one: one["scale"] != "paper"
    )
    if not mine:
        return ""
    one = mine[0]
    rows = [(escape_markdown(t["name"]), _numbers(t)) for t in one["tests"]]
    notes = "\n".join(f"- {escape_markdown(note, LONG)}" for note in one["notes"])
    more = f"- That all of them agree: **{escape_markdown(one['verdict'])}**. Figure and settings: [{link}]({link}#study-{STUDY})."
    return "\n\n".join(
        [ABOUT, markdown_table([("score", "Spearman's rho"), *rows]), f"{notes}\n{more}".strip()]
    )


def _numbers(test: Mapping[str, Any]) -> str:
    """`0.90 [0.81, 0.96]`; a bound that was not finite is open."""
    opened = {"value": nan, "low": -inf, "high": inf}
    return estimate(*(instead if test[k] is None else test[k] for k, instead in opened.items()))

"""The findings of `membench reproduce` as data, and the board's section made of them.

The study named `calibration` compares the scores with direct measurements of memorization: it says
what the scores of the board are worth.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from collections.abc import Sequence
from math import inf
from math import isfinite
from math import nan
from typing import Any

from membench.report.markdown import fill_template
from membench.report.text import estimate
from membench.studies import Finding

STUDY = "calibration"
FILE = "findings.json"


def finding_to_json(study: str, scale: str, finding: Finding) -> dict[str, Any]:
    """Turn one study's finding into plain data; numbers that are not finite become None.

    The others have twelve digits: the last bits of a product of matrices depend on how many threads
    compute it, and on the processor.

    Args:
        study: its name.
        scale: "quick" or "paper".
        finding: its verdict, notes and tests with name, value, low, high, threshold and method.
    """
    tests = []
    for test in finding.tests:
        fields = {}
        for name, value in vars(test).items():
            fields[name] = value if isinstance(value, str) else _plain_number(value)
        tests.append(fields)
    return {
        "study": study,
        "scale": scale,
        "verdict": finding.verdict,
        "tests": tests,
        "notes": list(finding.notes),
    }


def _plain_number(value: float) -> float | None:
    if not isfinite(value):
        return None
    return float(f"{value:.12g}") if isinstance(value, float) else value


def findings_file(findings: Sequence[Mapping[str, Any]]) -> bytes:
    """Encode what `finding_to_json` made, as the content of `FILE`."""
    text = json.dumps(list(findings), indent=1, ensure_ascii=False, allow_nan=False)
    return (text + "\n").encode()


def section(findings: Sequence[Mapping[str, Any]], link: str) -> str:
    """Write the Markdown on the worth of the scores; "" where the study was not run.

    Args:
        findings: what `FILE` holds. Where the study was run at both scales, the larger is shown.
        link: the address of the studies' page, seen from the board's.

    Raises:
        KeyError, TypeError, ValueError: these are no findings.
    """
    calibrations = [one for one in findings if one["study"] == STUDY]
    if not calibrations:
        return ""
    finding = calibrations[0]
    for one in calibrations:
        if one["scale"] == "paper":
            finding = one
    tests = []
    for test in finding["tests"]:
        tests.append({"name": test["name"], "estimate": _estimate(test)})
    text = fill_template(
        "calibration.md.j2",
        tests=tests,
        notes=list(finding["notes"]),
        verdict=finding["verdict"],
        page=link,
        study=STUDY,
    )
    return text.rstrip("\n")


def _estimate(test: Mapping[str, Any]) -> str:
    """Format value and interval; a bound that was not finite is open."""
    value = nan if test["value"] is None else test["value"]
    low = -inf if test["low"] is None else test["low"]
    high = inf if test["high"] is None else test["high"]
    return estimate(value, low, high)

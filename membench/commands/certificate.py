"""The certificate of `membench check --markdown`: which plugin and code, which versions, what each check found."""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Iterable
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from membench import __version__
from membench.durable import disk_errors
from membench.report.text import code
from membench.report.text import md
from membench.testing.harness import Report
from membench.testing.subject import Outcome
from membench.testing.table import CHECKS

WORDS = {"passed": "✓ passed", "warned": "! warning", "failed": "✗ failed", "skipped": "· does not apply"}


def write(path: Path, reports: Iterable[Report]) -> None:
    """Write it whole; raises `MembenchError` if it cannot be written."""
    with disk_errors("write", path):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(certificate(reports), "utf-8")


def certificate(reports: Iterable[Report]) -> str:
    """Markdown; all that a plugin wrote is text in it."""
    versions = (
        f"membench {__version__}, torch {importlib.metadata.version('torch')}, Python {platform.python_version()}"
    )
    head = f"# Checked by membench\n\n{md(versions)}, {md(platform.machine())}.\n"
    return "\n".join([head, *(part for report in reports for part in _of_file(report))])


def _of_file(report: Report) -> Iterator[str]:
    for name, plugin in report.plugins.items():
        outcomes = [outcome for outcome in report.outcomes if outcome.plugin == name]
        if outcomes:
            yield "\n".join(_of_plugin(plugin, outcomes, report.problems))
    if report.problems and not report.plugins:
        yield f"## {md(report.source.origin)}\n\n{_told(report.problems)}\n"


def _told(problems: list[str]) -> str:
    return "\n".join(f"- **could not be checked**: {md(problem)}" for problem in problems)


def _of_plugin(plugin: dict[str, Any], outcomes: list[Outcome], problems: list[str]) -> Iterator[str]:
    failed = sum(outcome.status == "failed" for outcome in outcomes) + len(problems)
    whole = len(outcomes) == len(CHECKS[plugin["kind"]])
    verdict = (
        f"**{failed} failed**" if failed else "**All checks passed**" if whole else "**The selected checks passed**"
    )
    yield f"## {md(plugin['name'])} ({md(plugin['kind'].removesuffix('s'))})\n"
    yield f"{verdict}. From {md(plugin['origin'])}; SHA-256 of the code {code(plugin['hash'])}.\n"
    if problems:
        yield _told(problems) + "\n"
    yield "| check | holds | found | remark |\n| :-- | :-- | :-- | :-- |"
    for outcome in outcomes:
        title = CHECKS[plugin["kind"]][outcome.check].title
        remark = ": ".join(part for part in (outcome.where, outcome.what) if part)
        yield f"| {code(outcome.check)} | {md(title)} | {WORDS[outcome.status]} | {md(remark)} |"
    yield ""

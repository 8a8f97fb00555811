"""The certificate that `membench check --markdown` writes.

It holds which plugin and code was checked, with which versions, and what each check found.
"""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Iterable
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from membench import __version__
from membench.files import disk_errors
from membench.report.text import code
from membench.report.text import escape_markdown
from membench.testing.catalogue import CHECKS
from membench.testing.check import Outcome
from membench.testing.runner import FileReport

STATUS_WORDS = {
    "passed": "✓ passed",
    "warned": "! warning",
    "failed": "✗ failed",
    "skipped": "· does not apply",
}


def write_certificate(path: Path, reports: Iterable[FileReport]) -> None:
    """Write the certificate to a file. Raises `MembenchError` (DISK) if that is not possible."""
    with disk_errors("write", path):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(certificate(reports), "utf-8")


def certificate(reports: Iterable[FileReport]) -> str:
    """Render the outcomes of all files as Markdown; a plugin's words are escaped."""
    versions = (
        f"membench {__version__}, torch {importlib.metadata.version('torch')}, "
        f"Python {platform.python_version()}"
    )
    parts = [
        "# Checked by membench\n",
        f"{escape_markdown(versions)}, {escape_markdown(platform.machine())}.\n",
    ]
    for report in reports:
        for name, plugin in report.plugins.items():
            outcomes = [outcome for outcome in report.outcomes if outcome.plugin == name]
            if outcomes:
                parts += _plugin_section(plugin, outcomes, report.problems)
        if report.problems and not report.plugins:
            parts.append(f"## {escape_markdown(report.source.origin)}\n")
            parts.append(f"{_problem_list(report.problems)}\n")
    return "\n".join(parts)


def _plugin_section(
    plugin: dict[str, Any], outcomes: Sequence[Outcome], problems: Sequence[str]
) -> list[str]:
    """Render one plugin's verdict and table.

    Args:
        plugin: its name, kind, origin and hash.
        outcomes: of its checks.
        problems: of its file.
    """
    name, kind = escape_markdown(plugin["name"]), plugin["kind"]
    checks = CHECKS[kind]
    failed = sum(outcome.status == "failed" for outcome in outcomes) + len(problems)
    if failed:
        verdict = f"**{failed} failed**"
    elif len(outcomes) == len(checks):
        verdict = "**All checks passed**"
    else:
        verdict = "**The selected checks passed**"
    origin = escape_markdown(plugin["origin"])
    parts = [
        f"## {name} ({escape_markdown(kind.removesuffix('s'))})\n",
        f"{verdict}. From {origin}; SHA-256 of the code {code(plugin['hash'])}.\n",
    ]
    if problems:
        parts.append(f"{_problem_list(problems)}\n")
    parts.append("| check | holds | found | remark |\n| :-- | :-- | :-- | :-- |")
    for outcome in outcomes:
        title = escape_markdown(checks[outcome.check].title)
        remark = ": ".join(part for part in (outcome.where, outcome.what) if part)
        status = STATUS_WORDS[outcome.status]
        parts.append(f"| {code(outcome.check)} | {title} | {status} | {escape_markdown(remark)} |")
    parts.append("")
    return parts


def _problem_list(problems: Iterable[str]) -> str:
    return "\n".join(
        f"- **could not be checked**: {escape_markdown(problem)}" for problem in problems
    )

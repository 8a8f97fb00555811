"""The commit of the code that runs, which boards and confirmations name."""

from __future__ import annotations

import subprocess
from pathlib import Path


def commit_of_checkout() -> str:
    """Return the commit of the checkout that membench runs from; "" for an installed one.

    It ends with `-dirty` if the code or a shipped plugin is not as committed. Records and pages are
    not looked at: a run that goes on has changed them.
    """
    checkout = Path(__file__).resolve().parents[2]
    if not (checkout / ".git").exists():
        return ""
    commit = _git(checkout, "describe", "--always", "--abbrev=12")
    if commit and _git(checkout, "status", "--porcelain", "--", "membench", "plugins"):
        return f"{commit}-dirty"
    return commit


def _git(checkout: Path, *words: str) -> str:
    """Return what git prints, "" if it cannot be asked."""
    command = ["git", "-C", str(checkout), *words]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()

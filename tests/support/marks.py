"""Preparations of a fork server: one that leaves a mark, one that fails."""

from __future__ import annotations

import os
from pathlib import Path


def leave() -> None:
    """Write this process's id to the tests' notes."""
    Path(os.environ["POOL_TEST_NOTES"]).write_text(str(os.getpid()))


def fail() -> None:
    """Fail as a compiler may."""
    raise RuntimeError("no compiler")

"""The types of the fixtures in conftest.py: membench in this process, and as a user starts it."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

REPO = Path(__file__).parents[2]
TERMINAL = ("CI", "NO_COLOR", "FORCE_COLOR")  #: what a terminal or a CI system would change
Shell = Callable[..., subprocess.CompletedProcess[str]]
Cli = Callable[..., tuple[int, str, str]]

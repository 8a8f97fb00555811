"""The types of the fixtures in conftest.py: membench in this process, and as a user starts it."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

REPO = Path(__file__).parents[2]
#: Variables that a terminal, a CI system or its image sets. Without bytecode on disk each child
#: would compile membench anew.
TERMINAL = ("CI", "NO_COLOR", "FORCE_COLOR", "PYTHONDONTWRITEBYTECODE")
Shell = Callable[..., subprocess.CompletedProcess[str]]
Cli = Callable[..., tuple[int, str, str]]

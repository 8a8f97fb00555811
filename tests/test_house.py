"""The code as a whole: style, annotations, layers, and torch loaded only where it is needed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from support.cli import REPO

TOOLS = {
    "ruff check": ("ruff", "check", "."),
    "ruff format": ("ruff", "format", "--check", "."),
    "mypy": ("mypy",),
    "import-linter": ("lint-imports",),
}


@pytest.mark.parametrize("words", TOOLS.values(), ids=TOOLS)
def test_the_tools_find_nothing(words: tuple[str, ...]) -> None:
    tool = Path(sys.executable).with_name(words[0])
    done = subprocess.run([tool, *words[1:]], cwd=REPO, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_torch_is_not_loaded_without_need() -> None:
    modules = (
        "cli",
        "planning.plan",
        "scoring",
        "report",
        "commands.report",
        "commands.run",
        "engine.machine",
        "execution.worker",
        "testing.pytest_plugin",
    )
    imports = ", ".join(f"membench.{module}" for module in modules)
    code = f"import sys, {imports}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0

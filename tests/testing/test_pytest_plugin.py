"""The fixtures for authors: each check is a test of theirs; other runs do not notice the plugin."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
from support.cli import REPO
from support.mutants import NOISE
from support.mutants import Mutant

PLUGIN = ("-p", "membench.testing.pytest_plugin", "-p", "no:cacheprovider")
TESTS = """
import pytest
import torch

@pytest.mark.membench("PLUGIN")
def test_contract(membench_check):
    membench_check()

def test_formula(membench_act):
    h = torch.ones(4, 3)
    assert torch.equal(membench_act("PLUGIN", "hidden", 0.0, h), h)
    assert not torch.equal(membench_act("PLUGIN", "hidden", 0.5, h), h)
"""


def run_pytest(
    folder: Path, *words: str, env: dict[str, str], python: str = sys.executable
) -> tuple[int, str]:
    command = [python, "-m", "pytest", "--strict-markers", *words]
    done = subprocess.run(
        command, cwd=folder, env=env, capture_output=True, text=True, check=False, timeout=300
    )
    return done.returncode, done.stdout + done.stderr


@pytest.fixture
def env(environ: dict[str, str]) -> dict[str, str]:
    return {**environ, "PYTHONPATH": str(REPO), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}


def test_a_run_that_asks_for_nothing_does_not_import_torch(
    tmp_path: Path, env: dict[str, str]
) -> None:
    (tmp_path / "test_a.py").write_text(
        "import sys\ndef test_a():\n    assert 'torch' not in sys.modules\n"
    )
    code, out = run_pytest(tmp_path, *PLUGIN, "-W", "error", env=env)
    assert (code, "1 passed" in out) == (0, True), out


@pytest.mark.slow
def test_every_check_is_a_test_of_the_author_s(tmp_path: Path, env: dict[str, str]) -> None:
    (tmp_path / "mine.py").write_text(Mutant("", NOISE).text)
    (tmp_path / "bad.py").write_text(
        Mutant("", NOISE.replace("h + ", "0.5 * h + ")).text.replace("mutant", "bad")
    )
    (tmp_path / "test_mine.py").write_text(TESTS.replace("PLUGIN", "mine.py"))
    code, out = run_pytest(tmp_path, *PLUGIN, "-v", "test_mine.py", env=env)
    assert code == 0, out
    assert "test_contract[regularizers/mutant-off-value] PASSED" in out
    (tmp_path / "test_bad.py").write_text(TESTS.replace("PLUGIN", "bad.py"))
    code, out = run_pytest(tmp_path, *PLUGIN, "test_bad.py", "-k", "off-value", env=env)
    assert code == 1, out
    assert "hidden at off (0) changes what it is given" in out and "to mend it:" in out
    (tmp_path / "test_none.py").write_text(TESTS.replace("PLUGIN", "none.py"))
    code, out = run_pytest(tmp_path, *PLUGIN, "test_none.py", env=env)
    assert code != 0 and "no such Python file" in out, out


PROJECT = """
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[project]
name = "hidden-gain"
version = "1.0"

[project.entry-points.membench]
hidden-gain = "hidden_gain"

[tool.hatch.build.targets.wheel]
packages = ["hidden_gain"]
"""


@pytest.mark.slow
def test_a_plugin_that_is_a_package_is_built_installed_found_checked_and_tests_itself(
    tmp_path: Path, environ: dict[str, str]
) -> None:
    project = tmp_path / "project"
    (project / "hidden_gain").mkdir(parents=True)
    (project / "pyproject.toml").write_text(PROJECT)
    text = Mutant("", NOISE).text.replace('"mutant"', '"hidden-gain"')
    (project / "hidden_gain" / "__init__.py").write_text(text)
    (project / "test_it.py").write_text(TESTS.replace("PLUGIN", "hidden-gain"))
    env = {**environ, "PYTHONPATH": sysconfig.get_path("purelib")}

    def run(*words: str) -> str:
        done = subprocess.run(
            words, cwd=tmp_path, env=env, capture_output=True, text=True, check=False, timeout=300
        )
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        return done.stdout

    run(sys.executable, "-m", "venv", "venv")
    pip = (str(tmp_path / "venv" / "bin" / "python"), "-m", "pip")
    for source in (REPO, project):
        run(sys.executable, "-m", "pip", "wheel", "--no-deps", "-w", "wheels", str(source))
    run(*pip, "install", "--no-deps", "--no-index", *map(str, (tmp_path / "wheels").glob("*.whl")))
    membench = str(tmp_path / "venv" / "bin" / "membench")
    assert "hidden-gain" in run(membench, "list", "--json")
    done = run(membench, "check", "hidden-gain")
    assert "regularizers/hidden-gain ✓" in done and "1 plugin:" in done
    # the entry point pytest11 of the installed wheel brings the fixtures
    os.remove(project / "hidden_gain" / "__init__.py")
    (project / "hidden_gain").rmdir()
    out = run(
        str(tmp_path / "venv" / "bin" / "python"),
        "-m",
        "pytest",
        "-p",
        "no:cacheprovider",
        str(project),
    )
    assert "failed" not in out and " passed" in out

"""The built wheel, away from the checkout: it holds the plugins, lists them and trains."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest
from support.cli import REPO

pytestmark = pytest.mark.slow


def run(words: list[str], folder: Path, env: dict[str, str]) -> str:
    """Run a command; its output. Warnings and a failure are shown."""
    done = subprocess.run(
        words, cwd=folder, env=env, capture_output=True, text=True, check=False, timeout=560
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory, environ: dict[str, str]) -> Path:
    """Build the wheel as `pip install .` does."""
    folder = tmp_path_factory.mktemp("wheel")
    run(
        [sys.executable, "-m", "pip", "wheel", "--no-deps", "-w", str(folder), str(REPO)],
        folder,
        environ,
    )
    (wheel,) = folder.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def installed(
    wheel: Path, tmp_path_factory: pytest.TempPathFactory, environ: dict[str, str]
) -> tuple[Path, Path]:
    """Install the wheel into a virtual environment; also return an empty folder.

    All other packages are those of this environment, by PYTHONPATH. The checkout's editable
    installation is not among them: it is a `.pth` file, which is not read from PYTHONPATH.
    """
    venv = tmp_path_factory.mktemp("venv")
    run([sys.executable, "-m", "venv", str(venv)], venv, environ)
    run(
        [str(venv / "bin" / "pip"), "install", "--no-deps", "--no-index", str(wheel)], venv, environ
    )
    return venv / "bin" / "membench", tmp_path_factory.mktemp("empty")


@pytest.fixture(scope="module")
def env(environ: dict[str, str]) -> dict[str, str]:
    return {**environ, "PYTHONPATH": sysconfig.get_path("purelib")}


def test_the_wheel_holds_every_plugin_and_no_tests(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    ours = {
        f"membench/builtin/{path.relative_to(REPO / 'plugins')}"
        for path in (REPO / "plugins").rglob("*.py")
    }
    assert ours <= names
    assert {name.split("/")[0].partition("-")[0] for name in names} == {"membench"}


def test_all_plugins_are_found_in_the_package(
    installed: tuple[Path, Path], env: dict[str, str]
) -> None:
    membench, folder = installed
    code = "import membench; print(membench.__file__)"
    assert str(membench.parents[1]) in run(
        [str(membench.with_name("python")), "-c", code], folder, env
    )
    there = json.loads(run([str(membench), "list", "--json"], folder, env))
    here = json.loads(run([sys.executable, "-m", "membench", "list", "--json"], folder, env))
    for kind in ("regularizers", "architectures", "datasets", "signals", "suites", "optimizers"):
        assert [p["name"] for p in there[kind]] == [p["name"] for p in here[kind]]
        origins = {p["origin"] for p in there[kind] if p["name"] != "none"}
        assert all(origin.startswith(f"membench{os.sep}builtin{os.sep}") for origin in origins), (
            origins
        )


def test_it_trains_in_an_empty_folder(installed: tuple[Path, Path], env: dict[str, str]) -> None:
    membench, folder = installed
    run([str(membench), "run", "--suite", "smoke", "-k", "ema"], folder, env)
    page = (folder / "leaderboard" / "README.md").read_text("utf-8")
    assert "[ema](#entry-ema)" in page
    run([str(membench), "report", "--check"], folder, env)

"""Faults in the middle of whole runs, with the workers of any run. They take minutes: `-m slow`."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support.cli import REPO
from support.cli import Shell
from support.namespaces import needs_own_network
from support.namespaces import without_network

from membench.commands import training
from membench.errors import ExitCode
from membench.execution.display import Display
from membench.execution.protocol import Event
from membench.store.store import Store

WORDS = ["run", "--suite", "tiny", "-n", "1", "-k", "own"]
COMMAND = [sys.executable, str(REPO / "tests/support/tiny.py"), *WORDS]
PLUGIN = '''"""Leave the weights as they are.  A. Author, "Nothing", 2020."""
from membench import Regularizer, hookimpl

def weights(params, lane):
    return {name: w * (1 - 0 * lane.strength) for name, w in params.items()}

@hookimpl
def register():
    grid = (0.1, 0.2, 0.3, 0.4, 0.5)
    return [Regularizer("own", strengths=grid, weights=weights, group="weights")]
'''
pytestmark = pytest.mark.slow


@pytest.fixture
def env(environ: dict[str, str]) -> dict[str, str]:
    path = os.pathsep.join([str(REPO / "tests"), environ.get("PYTHONPATH", "")])
    return {**environ, "GIT_DIR": "/nonexistent", "PYTHONPATH": path}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "plugins").mkdir()
    (tmp_path / "plugins" / "own.py").write_text(PLUGIN)
    return tmp_path


@pytest.mark.parametrize("what", ["leaderboard/records/shards", "leaderboard"])
def test_a_run_whose_shards_are_deleted_ends_with_exit_code_11_and_never_ok(
    what: str, folder: Path, inside: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Deleting(Display):
        deleted = False

        def on_event(self, event: Event) -> None:
            super().on_event(event)
            if event.kind == "stored" and not self.deleted:
                self.deleted = True
                shutil.rmtree(folder / what)

    with monkeypatch.context() as patch:
        patch.setattr(training, "Display", Deleting)
        done = inside(WORDS, folder, GIT_DIR="/nonexistent")
    assert done.returncode == ExitCode.DISK, done.stderr
    assert "start again" in done.stderr or "trains these cells again" in done.stderr
    assert " ok in " not in done.stdout
    again = inside(WORDS, folder, GIT_DIR="/nonexistent")
    assert again.returncode == ExitCode.OK, again.stderr


def test_two_runs_of_the_same_cells_at_once_give_the_board_of_one(
    folder: Path, env: dict[str, str], inside: Shell
) -> None:
    alone = folder / "alone"
    shutil.copytree(folder / "plugins", alone / "plugins")
    assert inside(WORDS, alone, GIT_DIR="/nonexistent").returncode == ExitCode.OK
    runs = []
    for _ in range(2):
        process = subprocess.Popen(COMMAND, cwd=folder, env=env, stdout=subprocess.DEVNULL)
        runs.append(process)
    assert [run.wait(timeout=280) for run in runs] == [0, 0]
    page = (folder / "leaderboard/README.md").read_bytes()
    assert page == (alone / "leaderboard/README.md").read_bytes()
    contents = Store(folder / "leaderboard/records").read()
    assert contents.conflicts == ()
    assert contents.missing == ()
    assert len(contents.records) == len(Store(alone / "leaderboard/records").read().records)


@pytest.mark.parametrize("reader", ["| head -1", "> /dev/full", ">&- 2>&- <&-"])
def test_a_run_goes_on_whatever_happens_to_its_output(
    reader: str, folder: Path, env: dict[str, str]
) -> None:
    command = f"{shlex.join(COMMAND)} {reader}"
    subprocess.run(command, shell=True, cwd=folder, env=env, check=False, timeout=280)
    assert "own" in (folder / "leaderboard/README.md").read_text()
    records = Store(folder / "leaderboard/records").read().records.values()
    assert {record.regularizer for record in records} >= {"none", "own"}
    assert {record.status for record in records} == {"ok"}


@needs_own_network
def test_a_run_needs_no_network(folder: Path, env: dict[str, str], inside: Shell) -> None:
    """Without one, not even the loopback, its page is the same."""
    alone = folder / "alone"
    shutil.copytree(folder / "plugins", alone / "plugins")
    assert inside(WORDS, alone, GIT_DIR="/nonexistent").returncode == ExitCode.OK
    command = without_network(COMMAND)
    done = subprocess.run(
        command, cwd=folder, env=env, capture_output=True, text=True, check=False, timeout=900
    )
    assert done.returncode == ExitCode.OK, done.stderr
    page = (folder / "leaderboard/README.md").read_bytes()
    assert page == (alone / "leaderboard/README.md").read_bytes()
